"""Files that a person chooses in the browser: by ipywidgets, on Colab by its own dialogue."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vaetl_helpers.collecting.folders import FOLDER, ClassFolder, class_folders
from vaetl_helpers.output import is_interactive, say
from vaetl_helpers.settings import platform_name

NOBODY = (
    "Nobody is here to choose pictures: run this cell yourself, or give a folder as the parameter "
    "`pictures`."
)
FITTING = "image/*"


def upload(names: Sequence[str] = ("mug", "cup"), folder: str = FOLDER) -> Path | None:
    """Asks for the pictures of each thing, and returns the folder that they are written to.

    In JupyterLab and on Kaggle there is a button for each thing, and files arrive as they are
    chosen; on Colab a dialogue for each comes up, one after the other. Where nobody could choose
    anything, it says so and returns None.
    """
    if not is_interactive():
        say(NOBODY)
        return None
    folders = class_folders(names, folder)
    if platform_name() == "Colab":
        _ask_on_colab(folders)
    else:
        _show_buttons(folders)
    return folders[0].path.parent


def _ask_on_colab(folders: Iterable[ClassFolder]) -> None:
    from google.colab import files

    for folder in folders:
        say(f"Choose the pictures of {folder.name}:")
        _keep(folder, files.upload().items())
        say(_told(folder))


def _show_buttons(folders: Iterable[ClassFolder]) -> None:
    import ipywidgets
    from IPython.display import display

    rows = []
    for folder in folders:
        rows.append(_row(folder, ipywidgets))
    display(ipywidgets.VBox(rows))


def _row(folder: ClassFolder, ipywidgets: Any) -> Any:
    """A button for the pictures of one thing, and beside it how many there are."""
    button = ipywidgets.FileUpload(
        accept=FITTING,
        multiple=True,
        description=folder.name,
        tooltip=f"Choose pictures of {folder.name}",  # else ipywidgets 8.1.9 shows "null"
        layout={"width": "200px"},
    )
    told = ipywidgets.Label(_told(folder))

    def arrived(change: Mapping[str, Any]) -> None:
        _keep(folder, files_of(change["new"]))
        told.value = _told(folder)

    button.observe(arrived, "value")
    return ipywidgets.HBox([button, told])


def _told(folder: ClassFolder) -> str:
    count = folder.count
    return f"{count} {'picture' if count == 1 else 'pictures'} of {folder.name}"


def _keep(folder: ClassFolder, files: Iterable[tuple[str, Any]]) -> None:
    for name, content in files:
        folder.keep(name, bytes(content))


def files_of(value: Any) -> list[tuple[str, bytes]]:
    """Names and contents of a FileUpload's value.

    ipywidgets 7 gives {name: {"content": …}}, ipywidgets 8 a tuple of {"name": …, "content": …}.
    """
    if isinstance(value, Mapping):
        return [(name, bytes(file["content"])) for name, file in value.items()]
    return [(file["name"], bytes(file["content"])) for file in value]
