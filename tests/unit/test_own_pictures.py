"""Your own pictures: folders and zip files of all kinds, and chapter 4 on a folder of them."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from PIL import Image

from vaetl_helpers import chapters, data, plots
from vaetl_helpers.data import own, tasks
from vaetl_helpers.errors import CourseError


def clothes(count: int, name: str) -> torch.Tensor:
    """Embedded images uint8 [count, 28, 28] of a class."""
    images = data.load("fashion-mnist").test
    of_class = images.images[images.labels == images.classes.index(name)]
    return of_class[:count, 0]


def write(folder: Path, classes: dict[str, int], ending: str = "png") -> Path:
    """A folder of clothes: {"bag": 10} writes folder/bag/00.png to 09.png."""
    for name, count in classes.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number, pixels in enumerate(clothes(count, name)):
            picture = Image.fromarray(pixels.numpy()).resize((80, 60)).convert("RGB")
            picture.save(folder / name / f"{number:02d}.{ending}")
    return folder


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAETL_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("VAETL_DATA", raising=False)


def test_a_folder_is_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write(tmp_path / "wardrobe", {"bag": 5, "shirt": 4}, "jpg")
    (folder / "bag" / "notes.txt").write_text("nothing to see")
    pictures = data.own_pictures(folder)
    assert pictures.images.classes == ("bag", "shirt")
    assert pictures.images.images.shape == (9, 3, 224, 224)
    assert pictures.images.labels.tolist() == [0] * 5 + [1] * 4
    assert pictures.names[0] == "bag/00.jpg"
    said = capsys.readouterr().out
    assert "wardrobe, your pictures: bag 5, shirt 4" in said and ".txt 1" in said


@pytest.mark.parametrize("around", ["", "wardrobe/", "Download/wardrobe/"])
def test_a_zip_file_is_read_with_whatever_folders_are_around(around: str, tmp_path: Path) -> None:
    folder = write(tmp_path / "wardrobe", {"bag": 4, "shirt": 4})
    with zipfile.ZipFile(tmp_path / "mine.zip", "w") as archive:
        for path in folder.rglob("*.png"):
            archive.write(path, f"{around}{path.relative_to(folder)}")
            archive.writestr(f"__MACOSX/{around}{path.relative_to(folder)}", b"junk")
    zipped = data.own_pictures(tmp_path / "mine.zip")
    plain = data.own_pictures(folder)
    assert zipped.images.images.equal(plain.images.images)
    assert zipped.images.classes == ("bag", "shirt")
    assert zipped.source == "mine, your pictures: bag 4, shirt 4"


def test_a_turned_picture_is_upright(tmp_path: Path) -> None:
    folder = write(tmp_path / "mine", {"bag": 4, "shirt": 4})
    half = np.zeros((60, 60, 3), np.uint8)
    half[:30] = 255  # white above
    turned = Image.fromarray(half).rotate(90)
    exif = Image.Exif()
    exif[0x0112] = 6  # stored a quarter turn off, as telephones do
    turned.save(folder / "bag" / "00.png", exif=exif)
    picture = data.own_pictures(folder, size=60).images.images[0].float()
    assert picture[:, :25].mean() > 250 and picture[:, 35:].mean() < 5


def test_many_pictures_are_thinned_out_evenly(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write(tmp_path / "mine", {"bag": 12, "shirt": 4})
    pictures = data.own_pictures(folder, most=4)
    assert [name for name in pictures.names if "bag" in name] == [
        f"bag/{number:02d}.png" for number in (0, 3, 6, 9)
    ]
    assert "bag: 4 of 12 pictures are read" in capsys.readouterr().out


def heic(folder: Path, name: str, count: int) -> None:
    (folder / name).mkdir(parents=True, exist_ok=True)
    for number in range(count):
        (folder / name / f"IMG_{number}.HEIC").write_bytes(b"\0\0\0\x18ftypheic")


def test_heic_is_named_with_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write(tmp_path / "mine", {"bag": 4, "shirt": 4})
    heic(folder, "bag", 3)
    data.own_pictures(folder)
    assert "HEIC" in capsys.readouterr().out, "some could be read, and the others are named"
    heic(folder, "only", 10)
    with pytest.raises(CourseError, match="only.*no picture.*HEIC.*Most Compatible"):
        data.own_pictures(folder)


def unsafe_zip(path: Path, name: str) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, b"picture")
    return path


@pytest.mark.parametrize("name", ["../../evil.png", "bag/../../evil.png", "/etc/evil.png"])
def test_an_archive_that_leads_outside_is_refused(name: str, tmp_path: Path) -> None:
    archive = unsafe_zip(tmp_path / "mine.zip", name)
    with pytest.raises(CourseError, match="mine.zip holds .*evil.png, which leads out"):
        data.own_pictures(archive)
    assert not list(tmp_path.rglob("evil.png"))


def test_a_damaged_archive_is_named(tmp_path: Path) -> None:
    archive = unsafe_zip(tmp_path / "mine.zip", "bag/0.png")
    content = archive.read_bytes()
    place = content.rindex(b"PK\x01\x02")
    archive.write_bytes(content[:place] + b"PK\x01\x03" + content[place + 4 :])
    with pytest.raises(CourseError, match="mine.zip is damaged"):
        data.own_pictures(archive)


def test_an_archive_that_would_fill_the_disk_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own, "LARGEST_ARCHIVE", 1000)
    with zipfile.ZipFile(tmp_path / "mine.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bag/large.bmp", bytes(100_000))
    with pytest.raises(CourseError, match="would take .* once unpacked"):
        data.own_pictures(tmp_path / "mine.zip")


def test_a_huge_picture_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write(tmp_path / "mine", {"bag": 4, "shirt": 4})
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(CourseError, match="00.png cannot be read.*too large.*make it smaller"):
        data.own_pictures(folder)


def broken(folder: Path, kind: str) -> Path:
    """A place that holds no two classes of pictures, in one of many ways."""
    if kind == "nothing there":
        return folder / "nowhere"
    if kind == "a text":
        (folder / "mine.txt").write_text("mugs and glasses")
        return folder / "mine.txt"
    mine = folder / "mine"
    if kind == "no class folders":
        write(mine, {"bag": 4})
        for path in (mine / "bag").iterdir():
            shutil.move(path, mine / path.name)
        (mine / "bag").rmdir()
    elif kind == "one class":
        write(mine, {"bag": 4})
    elif kind == "one picture":
        write(mine, {"bag": 4, "shirt": 1})
    elif kind == "an empty class":
        write(mine, {"bag": 4})
        (mine / "shirt").mkdir()
    elif kind == "a broken picture":
        write(mine, {"bag": 4, "shirt": 4})
        (mine / "bag" / "02.png").write_bytes(b"no picture")
    else:
        write(mine / "train", {"bag": 4, "shirt": 4})
        write(mine / "val", {"bag": 4, "shirt": 4})
    return mine


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("nothing there", "no folder and no zip file .*nowhere"),
        ("a text", "neither a folder nor a zip file"),
        ("no class folders", "a folder of its own, such as mine/mug"),
        ("one class", "pictures of bag alone.*second thing"),
        ("one picture", "shirt holds 1 picture, and at least 4"),
        ("an empty class", "shirt holds no picture"),
        ("a broken picture", "02.png cannot be read as a picture"),
        ("parts of a data set", "train and val, which are parts of a data set.*mine/train"),
    ],
)
def test_what_is_no_two_classes_is_said_in_a_sentence(kind: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(CourseError, match=says):
        data.own_pictures(broken(tmp_path, kind))


def test_rows_are_filled_up_with_white(tmp_path: Path) -> None:
    rows = data.own_pictures(write(tmp_path / "mine", {"bag": 4, "shirt": 6})).rows(5)
    assert rows.shape == (10, 3, 224, 224)
    assert (rows[4] == 255).all() and not (rows[3] == 255).all() and not (rows[9] == 255).all()


# ---------------------------------------------------------------- the example


def test_the_example_shows_eight_garments_in_bursts_and_new_ones_are_others() -> None:
    example = data.example_pictures(3)
    assert len(example) == 20 and example.images.labels.bincount().tolist() == [10, 10]
    assert example.bursts is not None
    assert sorted(example.bursts.bincount().tolist()) == [2, 2, 2, 2, 3, 3, 3, 3]
    pixels = example.images.images.float()
    assert len(torch.unique(pixels.flatten(1), dim=0)) == 20, "no two pictures are the same"
    new = data.new_garments(5, 3)
    assert new.labels.bincount().tolist() == [5, 5]
    again = data.example_pictures(3, quiet=True)
    assert again.images.images.equal(example.images.images)


def test_too_many_new_garments_are_refused() -> None:
    with pytest.raises(CourseError, match="1 to 200 images of pullover"):
        data.new_garments(1000)


# ---------------------------------------------------------------- chapter 4


def test_a_folder_becomes_a_task(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write(tmp_path / "mine", {"bag": 30, "shirt": 24, "trouser": 25})
    task = tasks.load_task(str(folder))
    said = capsys.readouterr().out
    assert "No source model is related" in said and "cannot be shown" in said
    assert (task.name, task.source_task, task.is_own) == ("own_mine", "tops", True)
    assert task.pool.classes == ("bag", "shirt", "trouser")
    assert task.pool.labels.bincount().tolist() == [15, 12, 12]
    assert task.validation.labels.bincount().tolist() == [5, 4, 4]
    assert task.test.labels.bincount().tolist() == [10, 8, 9]
    assert task.pool.images.shape[1:] == task.rehearsal.images.shape[1:] == (3, 28, 28)
    assert task.keep == {}
    pool = {image.numpy().tobytes() for image in task.pool.images}
    assert pool.isdisjoint(image.numpy().tobytes() for image in task.test.images)


def test_its_source_models_see_colour_as_they_see_grey(tmp_path: Path) -> None:
    task = tasks.load_task(str(write(tmp_path / "mine", {"bag": 24, "shirt": 24})))
    models = tasks.source_models(task)
    assert len(models) == tasks.number_of_models("tops")
    model, facts = models[0]
    grey = tasks.load_task("tops").test.images[:20] / 255
    original, _ = tasks.source_model("tops")
    with torch.no_grad():
        expected = original(grey)
        torch.testing.assert_close(model(grey.expand(-1, 3, -1, -1)), expected)
    assert facts["classes"] == ["pullover", "coat"]
    packaged = tasks.source_models(tasks.load_task("tops"))
    assert packaged[0][0].block1[0].in_channels == 1


def test_too_few_pictures_for_chapter_4_are_said(tmp_path: Path) -> None:
    folder = write(tmp_path / "mine", {"bag": 24, "shirt": 23})
    with pytest.raises(CourseError, match="23 pictures of shirt.*needs 24 of each.*chapter 4d"):
        tasks.load_task(str(folder))


def test_numbers_of_labels_are_those_that_can_be_drawn_twice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = tasks.load_task(str(write(tmp_path / "mine", {"bag": 40, "shirt": 48})))
    capsys.readouterr()
    assert task.counts([10, 100]) == [10]
    assert "At most 10 labels a class" in capsys.readouterr().out
    assert task.counts([100]) == [10]
    assert task.counts([5, 10]) == [5, 10]
    assert tasks.load_task("tops").counts([10, 1000]) == [10, 1000], "packaged tasks stay"


def test_the_name_of_a_task_is_no_folder_and_a_path_is_made_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tops").mkdir()
    chapter = chapters.find("04")
    given = {"tops": "tops", "./mine": str(tmp_path / "mine"), "mine.zip": f"{tmp_path}/mine.zip"}
    for text, expected in given.items():
        assert chapters.share({"task": text}, [chapter])["04"]["task"] == expected
    with pytest.raises(CourseError, match=r"Unknown task 'mugs'.*named by their path, \./mugs"):
        tasks.load_task("mugs")


def test_titles_of_small_pictures_leave_out_the_middle_of_long_names() -> None:
    titles = ["ants/1269756697_0bce92cdab.jpg\ndistance 0.65", "two words"]
    figure = plots.image_grid(torch.zeros(2, 3, 8, 8), titles, "Two", alt="Two black pictures.")
    first, second = (axis.get_title() for axis in figure.axes[:2])
    name, distance = first.split("\n")
    assert name.startswith("ants") and name.endswith(".jpg") and "…" in name
    assert len(name) <= 15 and distance == "distance 0.65" and second == "two words"
    plt.close(figure)
