"""Image sets: checked once; and rows of a batch, which what is computed from them knows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision import tv_tensors

from vaetl_helpers.data import ImageSet
from vaetl_helpers.data.images import Rows, images_of_rows, rows_of
from vaetl_helpers.errors import CourseError

ROWS = Rows(2, 5, 10, is_last=False)


def image_set() -> ImageSet:
    pixels = torch.randint(0, 256, (10, 1, 4, 4), dtype=torch.uint8)
    return ImageSet(pixels, torch.arange(10) % 3, tuple("abc"))


def test_a_set_is_checked_when_it_is_built_and_not_again(monkeypatch: pytest.MonkeyPatch) -> None:
    checked = image_set()
    for name in ("min", "max", "any", "all"):
        monkeypatch.setattr(Tensor, name, lambda self: pytest.fail("a reduction"))
    moved = checked.to("cpu")
    some = checked.subset(torch.tensor([7, 1]))
    first = checked.subset(slice(0, 3))
    assert (len(moved), len(some), len(first)) == (10, 2, 3)
    assert torch.equal(some.images[1], checked.images[1])
    assert some.labels.tolist() == [1, 1]
    assert some.classes == checked.classes


def test_a_subset_of_nothing_is_refused() -> None:
    with pytest.raises(CourseError, match="n ≥ 1"):
        image_set().subset(slice(0, 0))


# ---------------------------------------------------------------- what people hand over

LEVELS = np.random.default_rng(0).integers(0, 256, (4, 6, 5), dtype=np.uint8)
RIGHT_LABELS = [0, 1, 1, 0]
NAMES = ("cat", "dog")


def message(error: pytest.ExceptionInfo[CourseError]) -> str:
    text = str(error.value)
    assert "\n" not in text
    assert text.endswith((".", "?"))
    return text


IMAGES: dict[str, Callable[[], Any]] = {
    "tensor": lambda: torch.from_numpy(LEVELS.copy()),
    "array": lambda: LEVELS,
    "floats": lambda: LEVELS / 255,
    "turned twice": lambda: LEVELS[:, ::-1][:, ::-1],
    "read only": lambda: np.broadcast_to(LEVELS, LEVELS.shape),
    "other byte order": lambda: (LEVELS / 255).astype(">f4"),
    "column order": lambda: np.asfortranarray(LEVELS),
    "list of tensors": lambda: list(torch.from_numpy(LEVELS.copy())),
    "tuple of arrays": lambda: tuple(LEVELS),
    "generator": lambda: (image for image in LEVELS),
    "array of objects": lambda: pd.Series(list(LEVELS), index=[7, 3, 9, 1]),
    "list of pictures": lambda: list(map(Image.fromarray, LEVELS)),
    "column of pictures": lambda: pd.Series(list(map(Image.fromarray, LEVELS)), index=[7, 3, 9, 1]),
    "gradients": lambda: torch.from_numpy(LEVELS / 255).requires_grad_(),
    "half": lambda: torch.from_numpy(LEVELS / 255).float(),
    "torchvision's tensor": lambda: tv_tensors.Image(LEVELS[:, None]),
    "a hair above 1": lambda: torch.from_numpy(LEVELS / 255) * (1 + 1e-7),
}


@pytest.mark.parametrize("kind", IMAGES)
def test_images_are_taken_in_any_form(kind: str) -> None:
    result = ImageSet(IMAGES[kind](), RIGHT_LABELS, NAMES).images
    assert np.array_equal(result.squeeze(1).numpy(), LEVELS)
    assert not result.requires_grad
    assert type(result) is Tensor


def test_mirrored_arrays_stay_mirrored() -> None:
    result = ImageSet(LEVELS[:, ::-1], RIGHT_LABELS, NAMES).images
    assert np.array_equal(result.squeeze(1).numpy(), LEVELS[:, ::-1])


def test_booleans_are_black_and_white() -> None:
    for images in (LEVELS > 127, torch.from_numpy(LEVELS > 127), list(LEVELS > 127)):
        result = ImageSet(images, RIGHT_LABELS, NAMES).images
        assert np.array_equal(result.squeeze(1).numpy(), 255 * (LEVELS > 127))


def test_an_array_that_changes_later_does_not_change_the_set() -> None:
    levels = LEVELS.copy()
    images = ImageSet(levels, RIGHT_LABELS, NAMES)
    levels[:] = 0
    assert images.images.max() > 0


@pytest.mark.parametrize(
    "images",
    [(LEVELS > 127).astype(np.uint8), LEVELS / 255 / 255],
    ids=["0 and 1", "divided twice"],
)
def test_images_that_would_be_nearly_black_are_refused(images: np.ndarray) -> None:
    with pytest.raises(CourseError) as error:
        ImageSet(images, RIGHT_LABELS, NAMES)
    assert "nearly black" in message(error)


def test_black_images_are_images() -> None:
    assert ImageSet(np.zeros((2, 4, 4), np.uint8), [0, 0], NAMES).images.max() == 0


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (LEVELS.astype(float), "divide by 255"),
        (torch.full((1, 2, 2), 1.0001), "1.0001"),
        (LEVELS.astype(np.int64), "cast levels from 0 to 255 to uint8"),
        ([np.zeros((2, 2)), np.zeros((3, 3))], "cannot be made into one tensor"),
        ([torch.zeros(2, 2), torch.zeros(3, 3)], "cannot be made into one tensor"),
        (["a.png", "b.png"], "cannot be made into one tensor"),
        (None, "cannot be made into one tensor"),
        (pd.DataFrame(LEVELS.reshape(4, -1)), "reshape"),
        (Image.fromarray(LEVELS[0]), "[6, 5]"),
        ([], "[0]"),
        (np.ma.masked_greater(LEVELS, 100), "masked values"),
        (list(np.ma.masked_greater(LEVELS, 100)), "masked values"),
        ([Image.new("L", (2, 2)), Image.new("L", (3, 2))], "pictures of one size"),
        ([Image.new("F", (1, 1), 7)], "floats from 7 to 7"),
    ],
)
def test_other_images_are_refused_in_a_sentence(images: Any, words: str) -> None:
    with pytest.raises(CourseError) as error:
        ImageSet(images, [0], NAMES)
    assert words in message(error)


def test_pictures_in_memory_are_as_a_person_sees_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    see_through = Image.new("RGBA", (2, 1))
    exif = Image.Exif()
    exif[0x0112] = 6
    lying = tmp_path / "lying.png"
    Image.new("RGB", (1, 2)).save(lying, exif=exif)
    with Image.open(lying) as opened:
        images = ImageSet([see_through, opened], [0, 1], NAMES).images
    assert images.shape == (2, 3, 1, 2)
    assert images[0].min() == 255
    deep = [Image.fromarray(np.array([[0, level]], np.uint16)) for level in (4095, 2048)]
    levels = ImageSet(deep, [0, 1], NAMES).images
    assert levels.flatten().tolist() == [0, 255, 0, 128]
    assert "(12 bits)" in capsys.readouterr().out


LABELS: dict[str, Callable[[], Any]] = {
    "array": lambda: np.array(RIGHT_LABELS),
    "bytes": lambda: np.array(RIGHT_LABELS, np.uint8),
    "tensor of 16 bits without sign": lambda: torch.tensor(RIGHT_LABELS, dtype=torch.uint16),
    "tensor of 64 bits without sign": lambda: torch.tensor(RIGHT_LABELS, dtype=torch.uint64),
    "other byte order": lambda: np.array(RIGHT_LABELS, ">i4"),
    "whole floats": lambda: np.array(RIGHT_LABELS, float),
    "tensors": lambda: list(torch.tensor(RIGHT_LABELS)),
    "column": lambda: pd.Series(RIGHT_LABELS, index=[7, 3, 9, 1]),
    "generator": lambda: (label for label in RIGHT_LABELS),
    "names": lambda: ["cat", "dog", "dog", "cat"],
    "array of names": lambda: np.array(["cat", "dog", "dog", "cat"]),
    "column of names": lambda: pd.Series(["cat", "dog", "dog", "cat"], index=[7, 3, 9, 1]),
    "categories": lambda: pd.Series(["cat", "dog", "dog", "cat"], dtype="category"),
}


@pytest.mark.parametrize("kind", LABELS)
def test_labels_are_taken_in_any_form(kind: str) -> None:
    assert ImageSet(LEVELS, LABELS[kind](), NAMES).labels.tolist() == RIGHT_LABELS


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (["cat", "dog", "dog", "cow"], "Unknown class 'cow'"),
        (["cat", "dog", "dog", None], "Unknown class 'None'"),
        (["cat", "dog", "dog", float("nan")], "Unknown class 'nan'"),
        ("cats", "labels must be a list"),
        (None, "labels must be a list"),
        (3, "labels must be a list"),
        ({"cat": 0}, "labels must be a list"),
        ({0, 1}, "labels must be a list"),
        (pd.DataFrame({"label": RIGHT_LABELS}), "[4, 1]"),
        ([0, 1, None, 0], "cannot be made into one tensor"),
    ],
)
def test_other_labels_are_refused_in_a_sentence(labels: Any, words: str) -> None:
    with pytest.raises(CourseError) as error:
        ImageSet(LEVELS, labels, NAMES)
    assert words in message(error)


@pytest.mark.parametrize("classes", ["cat", {"cat", "dog"}, 2, None, (), ("cat", "cat")])
def test_classes_that_are_no_list_of_names_are_refused(classes: Any) -> None:
    with pytest.raises(CourseError) as error:
        ImageSet(LEVELS, RIGHT_LABELS, classes)
    assert "classes must" in message(error)


ROWS_OF_SET = [
    [7, 2, 2],
    np.array([7, 2, 2]),
    torch.tensor([7, 2, 2], dtype=torch.uint8),  # which PyTorch takes for a mask
    pd.Series([7, 2, 2], index=[0, 0, 5]),
    [-3, 2, -8],
]


@pytest.mark.parametrize("rows", ROWS_OF_SET, ids=lambda rows: type(rows).__name__)
def test_rows_of_a_subset_are_taken_in_any_form(rows: Any) -> None:
    whole = image_set()
    some = whole.subset(rows)
    assert torch.equal(some.images, whole.images[[7, 2, 2]])
    assert some.labels.tolist() == whole.labels[[7, 2, 2]].tolist()


def test_a_mask_takes_its_rows() -> None:
    whole = image_set()
    mask = (whole.labels == 1).tolist()
    assert whole.subset(mask).labels.tolist() == [1, 1, 1]


@pytest.mark.parametrize("rows", [[10], [-11], [True, False], [0.5], ["a"]], ids=str)
def test_rows_outside_of_a_set_are_refused(rows: Any) -> None:
    with pytest.raises(CourseError) as error:
        image_set().subset(rows)
    message(error)


@pytest.mark.parametrize("size", [2.5, "64", None])
def test_a_batch_size_that_is_no_whole_number_is_refused(size: Any) -> None:
    with pytest.raises(CourseError, match="batch_size must be a whole number"):
        next(image_set().batches(size))
    assert len(next(image_set().batches(np.int64(4)))[1]) == 4


def batch() -> Tensor:
    return torch.rand(10, 1, 4, 4, generator=torch.Generator().manual_seed(0))


COMPUTED = {
    "the images": lambda x: x,
    "another type": lambda x: x.double(),
    "a network": nn.Sequential(nn.Flatten(), nn.Linear(16, 3), nn.ReLU()),
    "one of two halves": lambda x: x.flatten(1).chunk(2, 1)[1],
    "a named result": lambda x: x.flatten(1).max(1).values,
    "a keyword": lambda x: torch.relu(input=x),
    "a list": lambda x: torch.cat([torch.zeros(1, 1, 4, 4), x]),
    "in place": lambda x: torch.rand(3, 1, 4, 4).lt_(x),
    "a compiled network": torch.compile(nn.Flatten(), backend="eager"),
}


@pytest.mark.parametrize("name", COMPUTED)
def test_what_is_computed_from_rows_of_a_batch_knows_them(name: str) -> None:
    result = COMPUTED[name](images_of_rows(batch(), ROWS))
    assert rows_of(result) == ROWS
    assert rows_of(COMPUTED[name](batch()[2:5])) is None


def test_rows_do_not_change_values_or_gradients() -> None:
    plain, knowing = (nn.Sequential(nn.Flatten(), nn.Linear(16, 3)) for _ in range(2))
    knowing.load_state_dict(plain.state_dict())
    plain(batch()[2:5]).square().sum().backward()
    knowing(images_of_rows(batch(), ROWS)).square().sum().backward()
    for one, other in zip(plain.parameters(), knowing.parameters(), strict=True):
        assert torch.equal(one.grad, other.grad)
        assert type(other.grad) is Tensor
