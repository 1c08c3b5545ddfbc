"""Pictures from the browser: chosen files, the camera, and the folders that they are kept in."""

from __future__ import annotations

import base64
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from vaetl_helpers import collecting
from vaetl_helpers.collecting import choosing, folders, webcam
from vaetl_helpers.errors import CourseError

JPEG = b"\xff\xd8\xff\xe0 a picture"
ADDRESS = f"{webcam.START}{base64.b64encode(JPEG).decode()}"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def somebody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choosing, "is_interactive", lambda: True)
    monkeypatch.setattr(webcam, "is_interactive", lambda: True)


def on_colab(monkeypatch: pytest.MonkeyPatch, **modules: Any) -> None:
    """A stand-in for google.colab with these modules."""
    package = ModuleType("google.colab")
    for name, module in modules.items():
        setattr(package, name, module)
    monkeypatch.setitem(sys.modules, "google", ModuleType("google"))
    monkeypatch.setitem(sys.modules, "google.colab", package)


@pytest.mark.parametrize(
    "value",
    [
        {"one.jpg": {"metadata": {}, "content": b"1"}, "two.jpg": {"content": b"2"}},
        (
            {"name": "one.jpg", "content": memoryview(b"1")},
            {"name": "two.jpg", "content": memoryview(b"2")},
        ),
    ],
    ids=["ipywidgets 7", "ipywidgets 8"],
)
def test_files_of_both_kinds_of_widgets_are_read(value: Any) -> None:
    assert collecting.files_of(value) == [("one.jpg", b"1"), ("two.jpg", b"2")]


def test_a_chosen_file_is_written_below_its_thing_and_replaces_none(here: Path) -> None:
    mug, cup = collecting.class_folders(("mug", "cup"))
    mug.keep("a.jpg", b"1")
    mug.keep("a.jpg", b"2")
    mug.keep("../../../etc/passwd.jpg", b"3")
    mug.keep("C:\\photos\\b.jpg", b"4")
    found = {path.name: path.read_bytes() for path in (here / "own_pictures" / "mug").iterdir()}
    assert found == {"a.jpg": b"1", "a-2.jpg": b"2", "passwd.jpg": b"3", "b.jpg": b"4"}
    assert (mug.count, cup.count) == (4, 0)


@pytest.mark.parametrize("names", [("mug",), ("mug", "Mug"), (), ("mug", "a/mug")])
def test_two_things_need_two_names(names: tuple[str, ...], here: Path) -> None:
    with pytest.raises(CourseError, match="each under a name of its own"):
        collecting.class_folders(names)


def test_a_name_of_nothing_is_refused_and_a_long_one_cut(here: Path) -> None:
    with pytest.raises(CourseError, match="is no name"):
        folders.plain_name("..")
    assert len(folders.plain_name("x" * 500 + ".jpg")) == folders.LONGEST
    assert folders.plain_name("x" * 500 + ".jpg").endswith(".jpg")


def test_where_nobody_is_the_example_stays(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert collecting.upload() is None and collecting.camera() is None
    said = capsys.readouterr().out
    assert "Nobody is here to choose pictures" in said and "no camera here" in said
    assert not list(here.iterdir())


def test_buttons_keep_what_arrives(
    here: Path, somebody: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[Any] = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    assert collecting.upload(("mug", "glass")) == here / "own_pictures"
    button, told = shown[0].children[1].children
    assert button.description == "glass" and button.accept == "image/*" and button.multiple
    button.notify_change(
        {
            "name": "value",
            "type": "change",
            "owner": button,
            "old": (),
            "new": ({"name": "one.jpg", "content": memoryview(JPEG)},),
        }
    )
    assert (here / "own_pictures" / "glass" / "one.jpg").read_bytes() == JPEG
    assert told.value == "1 picture of glass"


def test_colab_asks_by_its_own_dialogue(
    here: Path, somebody: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([{"one.jpg": b"1"}, {"one.jpg": b"2", "two.jpg": b"3"}])
    on_colab(monkeypatch, files=SimpleNamespace(upload=lambda: next(answers)))
    monkeypatch.setattr(choosing, "platform_name", lambda: "Colab")
    folder = collecting.upload(("mug", "glass"))
    assert folder is not None
    written = sorted(str(path.relative_to(folder)) for path in folder.rglob("*.jpg"))
    assert written == ["glass/one.jpg", "glass/two.jpg", "mug/one.jpg"]


def test_a_camera_on_colab_keeps_a_picture_by_a_callback(
    here: Path, somebody: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    callbacks: dict[str, Any] = {}
    shown: list[Any] = []
    on_colab(monkeypatch, output=SimpleNamespace(register_callback=callbacks.__setitem__))
    monkeypatch.setattr(webcam, "platform_name", lambda: "Colab")
    monkeypatch.setattr("IPython.display.display", shown.append)
    collecting.camera(("mug", "</script>glass"))
    page = shown[0].data
    assert "export" not in page and page.count("</script>") == 1
    answer = callbacks[webcam.CALLBACK](0, ADDRESS)
    assert answer.data == {"count": 1}
    assert (here / "own_pictures" / "mug" / "camera-01.jpg").read_bytes() == JPEG


@pytest.mark.parametrize("address", ["data:image/png;base64,AAAA", f"{webcam.START}*", "", "x"])
def test_what_is_no_picture_of_the_camera_is_refused(address: str) -> None:
    with pytest.raises(CourseError, match="no JPEG picture"):
        webcam.picture_of(address)


def test_without_anywidget_the_camera_says_what_else_to_do(
    here: Path,
    somebody: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(webcam, "can_move", lambda: False)
    assert collecting.camera() is None
    assert "bring them by upload()" in capsys.readouterr().out
