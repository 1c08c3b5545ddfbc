"""Pages of the package's public functions, made by pdoc; they ask nothing of other machines."""

from __future__ import annotations

import warnings
from pathlib import Path

from vaetl_helpers.errors import CourseError

# What notebooks import; not the application, the graders' side, and former names.
MODULES = (
    "vaetl_helpers",
    "!vaetl_helpers.app",
    "!vaetl_helpers.authoring",
    "!vaetl_helpers.grading",
    "!vaetl_helpers.combine",
    "!vaetl_helpers.joint",
    "!vaetl_helpers.runtime",
    "!vaetl_helpers.start",
    "!vaetl_helpers.tasks",
)


def write_api(out: Path) -> Path:
    """Writes the pages into `out` and returns the path of the first one.

    Raises CourseError where pdoc is not installed: it is a tool of the authors.
    """
    try:
        import pdoc
        import pdoc.render
    except ModuleNotFoundError as error:
        raise CourseError(
            'pages of the functions need pdoc: python -m pip install "pdoc>=15.0"'
        ) from error
    # No formulas and no diagrams: pdoc would fetch the programs that draw them.
    pdoc.render.configure(docformat="markdown", math=False, mermaid=False, search=True)
    with warnings.catch_warnings():
        # jaxtyping's shapes, Float[Tensor, "batch latent"], are no names that pdoc could look up.
        warnings.simplefilter("ignore", UserWarning)
        pdoc.pdoc(*MODULES, output_directory=out)
    return out / "index.html"
