"""Chapters 4, 4a, 4e, 4f and 4d from first to last cell, on folders of somebody's pictures."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from vaetl_helpers import data
from vaetl_helpers.chapters import collect

pytestmark = [pytest.mark.slow, pytest.mark.nightly]


def wardrobe(folder: Path, counts: dict[str, int], shots: int = 1) -> Path:
    """Embedded clothes as pictures in class folders, each garment `shots` times."""
    images = data.load("fashion-mnist").test
    for name, count in counts.items():
        (folder / name).mkdir(parents=True)
        of_class = images.images[images.labels == images.classes.index(name), 0]
        for number in range(count):
            garment = Image.fromarray(of_class[number // shots].numpy()).resize((120, 120))
            moved = garment.rotate(number % shots, translate=(number % shots, 0))
            moved.convert("RGB").save(folder / name / f"{number:03d}.jpg")
    return folder


def ran(chapter: str, parameter: str, here: Path) -> tuple[list[dict[str, Any]], str]:
    """The records of a run in `smoke`, and all the text that its notebook shows."""
    vaetl = Path(sys.executable).with_name("vaetl")
    command = [vaetl, "run", chapter, "--profile", "smoke", "-p", parameter, "--out", "out"]
    done = subprocess.run(command, cwd=here, capture_output=True, text=True, timeout=590)
    assert done.returncode == 0, done.stdout + done.stderr
    (notebook,) = (here / "out" / "notebooks").glob("*.ipynb")
    shown = []
    for cell in json.loads(notebook.read_text("utf-8"))["cells"]:
        for output in cell.get("outputs", ()):
            plain = output.get("text", output.get("data", {}).get("text/plain", ""))
            shown.append("".join(plain))
    return collect(notebook)["record"], "\n".join(shown)


@pytest.mark.parametrize(
    ("chapter", "id"),
    [
        ("04a", "04/accuracy/linear_probe-scratch/10_a_class"),
        ("04e", "04/accuracy/imagenet-our_source/10_a_class"),
        ("04f", "04/forgetting/rehearsal/10_a_class"),
    ],
)
def test_each_study_of_chapter_4_runs_on_a_folder_of_three_classes(
    tmp_path: Path, chapter: str, id: str
) -> None:
    wardrobe(tmp_path / "mine", {"bag": 40, "dress": 40, "trouser": 44})
    records, _ = ran(chapter, "task=./mine", tmp_path)
    assert id in {record["id"] for record in records if record["data"] == "own_mine"}


def test_chapter_4_says_what_a_folder_leaves_out(tmp_path: Path) -> None:
    wardrobe(tmp_path / "mine", {"bag": 40, "dress": 40, "trouser": 44})
    _, shown = ran("04", "task=./mine", tmp_path)
    assert "target task: bag or dress or trouser; shared: no class" in shown
    assert "No source model is related to your pictures" in shown
    assert "`vaetl run 04a -p task=" in shown


def test_chapter_4d_says_that_ten_pictures_of_one_thing_show_nothing(tmp_path: Path) -> None:
    wardrobe(tmp_path / "mine", {"bag": 10, "shirt": 10}, shots=10)
    records, shown = ran("04d", "pictures=./mine", tmp_path)
    (quoted,) = [one for one in records if one["id"] == "04d/share_right/leave_one_out"]
    assert quoted["value"] == 100 and quoted["low"] == pytest.approx(83.2, abs=0.1)
    assert "20 pictures form 2 groups" in shown
    assert "photograph more things" in shown
