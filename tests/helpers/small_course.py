"""A course of small notebooks that need no torch, for the tests of the runner, the pages and the
command.
"""

from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

PARAMETERS = """profile: str = "auto"  # smoke, cpu, gpu, paper or auto
seed: int = 0
epochs: int | None = None  # passes over the data"""
SETUP = """from IPython.display import display
def show(kind, **content):
    display({"text/plain": str(content), f"application/vnd.vaetl.{kind}+json": content}, raw=True)
show("run", profile=profile, seed=seed, device="CPU, 2 cores", platform="JupyterLab")
show("data", source="Fashion-MNIST, embedded 9,000/1,000/2,000")"""
REPORT = """value = 86.0 + (epochs or 0)
show(
    "record", id="01/accuracy", name="test accuracy", value=value, unit="%", low=85.0, high=87.0,
    n=3, data="Fashion-MNIST",
)"""


def write(
    folder: Path,
    name: str,
    *cells: str,
    parameters: str = PARAMETERS,
    requires: tuple[str, ...] = (),
) -> Path:
    """Writes folder/NAME.ipynb of code cells; one that starts with a heading is Markdown."""
    number, _, title = name.partition("_")
    nodes = [new_code_cell(parameters, metadata={"tags": ["parameters"]})]
    for cell in cells:
        nodes.append(new_markdown_cell(cell) if cell[:2] in ("# ", "##") else new_code_cell(cell))
    for place, node in enumerate(nodes):
        node["id"] = f"{number}-{place}"
    about = {
        "chapter": number,
        "title": title.replace("_", " ").capitalize(),
        "requires": list(requires),
    }
    kernel = {"name": "python3", "language": "python", "display_name": "Python 3"}
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.ipynb"
    nbformat.write(new_notebook(cells=nodes, metadata={"kernelspec": kernel, "vaetl": about}), path)
    return path
