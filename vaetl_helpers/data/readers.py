"""Readers of the files in which data sets are published: idx, CIFAR, photos, class folders."""

from __future__ import annotations

import gzip
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from vaetl_helpers.data.pictures import PictureReader, Pictures, find_pictures
from vaetl_helpers.errors import CourseError

Arrays = dict[str, tuple[np.ndarray, np.ndarray]]  # {"train": (images, labels), ...}
Reader = Callable[[Path], Arrays]  # FileNotFoundError: not there; CourseError: damaged

# What the standard library raises for idx files and archives that are cut short or changed.
DAMAGED_IDX = (
    EOFError,
    IndexError,
    OSError,  # gzip.BadGzipFile is one
    ValueError,
    struct.error,
    zlib.error,
)
DAMAGED_ZIP = (
    EOFError,
    RuntimeError,  # a password is needed
    zipfile.BadZipFile,
    zlib.error,
)


# ---------------------------------------------------------------- idx


def read_idx(path: Path) -> np.ndarray:
    """Reads an idx file (LeCun's format for MNIST), gzipped or not, as uint8 of any shape.

    Raises FileNotFoundError, and CourseError where the file is cut short.
    """
    try:
        content = _unpacked_bytes(path)
        rank = content[3]
        header = 4 + 4 * rank
        shape = struct.unpack(f">{rank}I", content[4:header])
        return np.frombuffer(content, np.uint8, offset=header).reshape(shape).copy()
    except FileNotFoundError:
        raise
    except DAMAGED_IDX as error:
        raise CourseError(
            f"{path} is damaged or cut short ({error}), so it does not hold what it announces: "
            "remove it, or fetch it again with `vaetl data fetch NAME`."
        ) from error


def _unpacked_bytes(path: Path) -> bytes:
    if path.suffix != ".gz":
        return path.read_bytes()
    with gzip.open(path) as file:
        return file.read()


def read_mnist(folder: Path) -> Arrays:
    """Reads the four files of MNIST or Fashion-MNIST: uint8 images [n, 28, 28] and labels [n]."""
    arrays = {}
    for split, stem in (("train", "train"), ("test", "t10k")):
        images = _read_idx_or_gz(folder / f"{stem}-images-idx3-ubyte")
        labels = _read_idx_or_gz(folder / f"{stem}-labels-idx1-ubyte")
        if images.shape != (len(labels), 28, 28) or labels.ndim != 1:
            raise CourseError(
                f"{folder} is damaged: its {split} files hold {list(images.shape)} pixels for "
                f"{list(labels.shape)} labels, not 28 × 28 an image: remove them, or fetch them "
                "again with `vaetl data fetch NAME`."
            )
        arrays[split] = (images, labels)
    return arrays


def _read_idx_or_gz(path: Path) -> np.ndarray:
    """Reads the unpacked file where torchvision left it beside the packed one."""
    return read_idx(unpacked_idx(path) or path.with_name(f"{path.name}.gz"))


def unpacked_idx(path: Path) -> Path | None:
    """An unpacked idx file of this name, or None.

    Unpackers call it train-images.idx3-ubyte, too, and put it into a folder of its own name.
    """
    dotted = path.name.replace("-idx", ".idx")
    places = (path, path / path.name, path / dotted, path.with_name(dotted))
    return next((place for place in places if place.is_file()), None)


# ---------------------------------------------------------------- CIFAR


def has(*names: str) -> Callable[[Path], bool]:
    """Whether a folder holds all these files and folders."""

    def holds(folder: Path) -> bool:
        return all((folder / name).exists() for name in names)

    return holds


def cifar_reader(name: str) -> Reader:
    """A reader of torchvision's "CIFAR10" or "CIFAR100": uint8 [n, 3, 32, 32] and labels."""

    def read(folder: Path) -> Arrays:
        from torchvision import datasets

        if not any(folder.glob("*")):
            raise FileNotFoundError(folder)
        dataset_class = getattr(datasets, name)
        try:
            train = dataset_class(folder.parent, train=True)
            test = dataset_class(folder.parent, train=False)
        except RuntimeError as error:  # torchvision checks the md5 of every file
            raise CourseError(f"{folder} is damaged: remove it and fetch it again.") from error
        return {"train": _channels_first(train), "test": _channels_first(test)}

    return read


def _channels_first(dataset: Any) -> tuple[np.ndarray, np.ndarray]:
    """torchvision keeps its pixels as [n, 32, 32, 3]."""
    images = dataset.data.transpose(0, 3, 1, 2)
    return images, np.array(dataset.targets)


# ---------------------------------------------------------------- photos

PHOTOS = {"train": 244, "val": 153}  # as published; the archive has no published hash to check


def read_photos(folder: Path, size: int = 224) -> Arrays:
    """Reads ants and bees from folder/{train,val}/CLASS: uint8 images [n, 3, size, size]."""
    arrays = {}
    for split, count in PHOTOS.items():
        images, labels, classes = read_class_folders(folder / split, size, endings=(".jpg",))
        if classes != ("ants", "bees"):
            raise CourseError(
                f"{folder / split} holds the folders {', '.join(classes)}, not ants and bees: put "
                "the photos there, or set another VAETL_DATA."
            )
        if len(images) < count:
            raise CourseError(
                f"{folder / split} holds {len(images)} of {count} photos: remove {folder} and "
                "fetch it again."
            )
        arrays[split] = (images, labels)
    return {"train": arrays["train"], "test": arrays["val"]}


def is_photo_archive(path: Path) -> bool:
    """Whether a zip file holds as many photos as were published, each with the right checksum."""
    try:
        with zipfile.ZipFile(path) as archive:
            photos = [name for name in archive.namelist() if name.lower().endswith(".jpg")]
            return len(photos) >= sum(PHOTOS.values()) and archive.testzip() is None
    except DAMAGED_ZIP:
        return False


def read_class_folders(folder: Path, size: int, endings: Iterable[str] | None = None) -> Pictures:
    """Reads the pictures of folder/CLASS: uint8 [n, 3, size, size], labels [n] and the classes.

    Each is decoded once, its short side scaled to `size` and the centre cut out; `endings` are
    those to read, by default all that Pillow knows. Raises FileNotFoundError where a folder holds
    no pictures, and CourseError for a broken one.
    """
    (pictures,) = PictureReader(size).read([find_pictures(folder, endings)])
    return pictures


# ---------------------------------------------------------------- sentences


def read_text(folder: Path) -> Arrays:
    """Raises CourseError, because what is there are sentences."""
    raise CourseError(
        "Sentences are no images: load them by vaetl_helpers.text.load_text('sentence-polarity')."
    )
