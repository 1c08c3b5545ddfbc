"""One figure that moves: in JupyterLab by anywidget, on the course's pages by a script of the page.

Where neither is there (papermill, nbval, printing), it is a picture with its alternative text.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from functools import cache
from importlib import resources
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from packaging.version import Version

from vaetl_helpers import plots
from vaetl_helpers.alt_texts import full_text
from vaetl_helpers.errors import unknown_name_error
from vaetl_helpers.output import is_interactive, notebook_kernel

LIVING = "application/vnd.vaetl.living+json"
WIDGET = "application/vnd.jupyter.widget-view+json"
# Colab carries 7.7.1, whose front end is older than the one that our scripts are tested in.
OLDEST_WIDGETS = Version("8")
OFFER = "export default"  # how a script hands over its figure, once, at the start of a line
Data = Mapping[str, Any]  # what a script reads; JSON


def show(module: str, data: Data, static: Figure, alt: str) -> None:
    """Shows a living figure as one output of a notebook; a terminal gets the static one.

    `module` names a script in living/js, `data` are JSON, `static` is the picture for those who
    cannot move anything, and `alt` the sentence that says what it shows. Raises CourseError for a
    module that is not there.
    """
    alt = full_text(alt)
    script(module)  # an unknown name is told before anything is shown
    plots.describe(static, alt)
    if not notebook_kernel():
        return  # plt.show() shows it
    from IPython.display import display

    widget = _widget(module, data, alt)
    if widget is None and is_interactive():
        plots.tell_screen_readers(alt)
    png, metadata = plots.picture(static)
    bundle: dict[str, Any] = {
        "text/plain": alt,
        "image/png": base64.b64encode(png).decode(),
    }
    if widget is None:
        bundle[LIVING] = {"module": module, "data": data}
    else:
        # The page's copy is left out: a learner's notebook would grow by it at each save.
        bundle[WIDGET] = {
            "version_major": 2,
            "version_minor": 0,
            "model_id": widget.model_id,
        }
    plt.close(static)  # else the kernel shows it a second time
    display(bundle, metadata={"image/png": metadata}, raw=True)


def can_move() -> bool:
    """Whether somebody sees the figure in a front end that can run its script."""
    return is_interactive() and find_spec("anywidget") is not None and _widgets_are_new()


def _widgets_are_new() -> bool:
    try:
        return Version(version("ipywidgets")) >= OLDEST_WIDGETS
    except PackageNotFoundError:
        return False


def _widget(module: str, data: Data, alt: str) -> Any:
    """The figure as a widget, or None where it could not be moved."""
    return _widget_class(module)(data=data, alt=alt) if can_move() else None


@cache
def _widget_class(module: str) -> type:
    """anywidget is imported only here: without it the course works, with static figures."""
    import anywidget
    import traitlets

    fields = {
        "_esm": f"{common()}\n{script(module)}",
        "data": traitlets.Dict().tag(sync=True),
        "alt": traitlets.Unicode().tag(sync=True),
    }
    return type(f"Living_{module}", (anywidget.AnyWidget,), fields)


def common() -> str:
    """The text of the functions that all scripts share; it stands in front of each."""
    return _folder().joinpath("common.js").read_text("utf-8")


def script(module: str) -> str:
    """The text of a script of living/js; raises CourseError for an unknown name."""
    if module not in modules():
        raise unknown_name_error("living figure", module, modules())
    return _folder().joinpath(f"{module}.js").read_text("utf-8")


def modules() -> list[str]:
    """The names of all scripts, `common` apart."""
    names = [path.name.removesuffix(".js") for path in _folder().iterdir()]
    return sorted(name for name in names if name != "common")


def _folder() -> Any:
    return resources.files("vaetl_helpers").joinpath("living", "js")
