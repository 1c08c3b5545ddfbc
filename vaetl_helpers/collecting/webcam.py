"""The camera of the machine that shows the notebook: a widget, on Colab a script of its output."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from vaetl_helpers.collecting.folders import FOLDER, ClassFolder, class_folders
from vaetl_helpers.errors import CourseError
from vaetl_helpers.living.figure import OFFER, can_move
from vaetl_helpers.output import is_interactive, say
from vaetl_helpers.settings import platform_name

START = "data:image/jpeg;base64,"
NO_CAMERA = (
    "The camera needs anywidget and ipywidgets 8 here, which are not both installed: take the "
    "pictures with a telephone, and bring them by upload() or as a folder."
)
CALLBACK = "vaetl.photograph"


def camera(names: Sequence[str] = ("mug", "cup"), folder: str = FOLDER) -> Path | None:
    """Shows what the camera sees, with a button for each thing; returns the pictures' folder.

    A click writes one picture. The browser asks for the camera first, and gives it to pages from
    this machine or by https alone. Where nobody sees the output, or the camera cannot be reached
    from here, it says so and returns None.
    """
    if not is_interactive() or platform_name() == "Kaggle":
        say("There is no camera here: bring pictures by upload(), or as a folder.")
        return None
    on_colab = platform_name() == "Colab"
    if not on_colab and not can_move():
        say(NO_CAMERA)
        return None
    folders = class_folders(names, folder)
    if on_colab:
        _show_on_colab(folders)
    else:
        _show_widget(folders)
    return folders[0].path.parent


def picture_of(address: str) -> bytes:
    """The JPEG in a data address of the camera's script; raises CourseError for anything else."""
    try:
        if not address.startswith(START):
            raise ValueError
        return base64.b64decode(address.removeprefix(START), validate=True)
    except (ValueError, binascii.Error) as error:
        raise CourseError(
            "What came from the camera is no JPEG picture: show the cell's output anew."
        ) from error


def take(folders: Sequence[ClassFolder], number: int, address: str) -> int:
    """Keeps a picture of thing `number`; returns how many there are of it now."""
    folder = folders[number]
    folder.keep(f"camera-{folder.count + 1:02d}.jpg", picture_of(address))
    return folder.count


def script() -> str:
    """The camera's script, an ES module that hands over `render` and `photograph`."""
    return resources.files("vaetl_helpers").joinpath("collecting", "webcam.js").read_text("utf-8")


def _show_widget(folders: Sequence[ClassFolder]) -> None:
    from IPython.display import display

    widget = _widget_class()(
        names=[folder.name for folder in folders], counts=[folder.count for folder in folders]
    )

    def taken(_: Any, content: Mapping[str, Any], __: Any) -> None:
        counts = list(widget.counts)
        counts[content["number"]] = take(folders, content["number"], content["picture"])
        widget.counts = counts

    widget.on_msg(taken)
    display(widget)


@cache
def _widget_class() -> type:
    import anywidget
    import traitlets

    fields = {
        "_esm": script(),
        "names": traitlets.List().tag(sync=True),
        "counts": traitlets.List().tag(sync=True),
    }
    return type("Camera", (anywidget.AnyWidget,), fields)


def _show_on_colab(folders: Sequence[ClassFolder]) -> None:
    """Colab runs the scripts of an output, and lets them call a function by name."""
    from google.colab import output
    from IPython.display import HTML, JSON, display

    def taken(number: int, address: str) -> Any:
        return JSON({"count": take(folders, number, address)})

    output.register_callback(CALLBACK, taken)
    names = [folder.name for folder in folders]
    counts = [folder.count for folder in folders]
    display(HTML(colab_page(names, counts)))


def colab_page(names: Sequence[str], counts: Sequence[int]) -> str:
    """The camera as HTML whose script asks Colab's kernel to keep each picture."""
    plain = script().partition(OFFER)[0].replace("export function", "function")
    # "</" would end the script where a name holds it.
    arguments = f"{json.dumps(list(names))}, {json.dumps(list(counts))}".replace("</", "<\\/")
    return f"""<div id="vaetl-camera"></div>
<script>
{plain}
async function send(number, picture) {{
  const answer = await google.colab.kernel.invokeFunction("{CALLBACK}", [number, picture], {{}});
  return answer.data["application/json"].count;
}}
photograph(document.getElementById("vaetl-camera"), {arguments}, send);
</script>"""
