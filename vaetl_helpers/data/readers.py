"""Readers of the files in which data sets are published: idx, CIFAR, photos, folders of pictures."""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from vaetl_helpers.errors import CourseError

Arrays = dict[str, tuple[np.ndarray, np.ndarray]]  # {"train": (images, labels), ...}


def read_idx(path: Path) -> np.ndarray:
    """Reads an idx file (LeCun's format for MNIST), gzipped or not; CourseError where it is cut short."""
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rb") as file:
            content = file.read()
        rank = content[3]
        shape = struct.unpack(f">{rank}I", content[4 : 4 + 4 * rank])
        return np.frombuffer(content, np.uint8, offset=4 + 4 * rank).reshape(shape).copy()
    except (
        EOFError,
        gzip.BadGzipFile,
        IndexError,
        struct.error,
        ValueError,
        OSError,
        zlib.error,
    ) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise CourseError(
            f"{path} is damaged or cut short ({error}), so it does not hold what it announces: remove it, or fetch it "
            "again with `vaetl data fetch NAME`."
        ) from error


def read_mnist(folder: Path) -> Arrays:
    def part(stem: str) -> np.ndarray:
        unpacked = folder / stem  # torchvision leaves both
        return read_idx(unpacked if unpacked.exists() else folder / f"{stem}.gz")

    arrays = {
        split: (part(f"{stem}-images-idx3-ubyte"), part(f"{stem}-labels-idx1-ubyte"))
        for split, stem in (("train", "train"), ("test", "t10k"))
    }
    for split, (images, labels) in arrays.items():
        if images.shape != (len(labels), 28, 28) or labels.ndim != 1:
            raise CourseError(
                f"{folder} is damaged: its {split} files hold {list(images.shape)} pixels for {list(labels.shape)} "
                "labels, not 28 × 28 an image: remove them, or fetch them again with `vaetl data fetch NAME`."
            )
    return arrays


def read_cifar(name: str) -> Callable[[Path], Arrays]:
    def read(folder: Path) -> Arrays:
        from torchvision import datasets

        if not folder.is_dir():
            raise FileNotFoundError(folder)
        kind = getattr(datasets, name)
        try:
            parts = {
                "train": kind(folder.parent, train=True),
                "test": kind(folder.parent, train=False),
            }
        except RuntimeError as error:  # torchvision checks the md5 of every file
            raise CourseError(f"{folder} is damaged: remove it and fetch it again.") from error
        return {
            split: (d.data.transpose(0, 3, 1, 2), np.array(d.targets)) for split, d in parts.items()
        }

    return read


PHOTOS = {"train": 244, "val": 153}  # as published; the archive has no published hash to check


def read_photos(folder: Path, size: int = 224) -> Arrays:
    parts = {name: read_class_folders(folder / name, size)[:2] for name in PHOTOS}
    for name, expected in PHOTOS.items():
        if len(parts[name][0]) < expected:
            raise CourseError(
                f"{folder / name} holds {len(parts[name][0])} of {expected} photos: remove {folder} and fetch it again."
            )
    return {"train": parts["train"], "test": parts["val"]}


def read_class_folders(folder: Path, size: int) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Decodes folder/class/photo, the short side scaled to `size` and the centre cut out, once."""
    from PIL import Image, ImageOps, UnidentifiedImageError
    from torchvision.datasets import ImageFolder

    index = ImageFolder(folder)  # raises FileNotFoundError where a folder holds no photos
    photos = np.empty((len(index.samples), 3, size, size), np.uint8)
    for row, (path, _) in enumerate(index.samples):
        try:
            with Image.open(path) as photo:
                upright = ImageOps.exif_transpose(photo).convert(
                    "RGB"
                )  # phones store the turn apart
            photos[row] = np.asarray(ImageOps.fit(upright, (size, size))).transpose(2, 0, 1)
        except (
            UnidentifiedImageError,
            OSError,
            SyntaxError,
            ValueError,
        ) as error:  # Pillow's for broken files
            raise CourseError(
                f"{path} cannot be read as a picture: remove it or replace it by a whole one."
            ) from error
    return photos, np.array(index.targets), tuple(index.classes)


def read_text(folder: Path) -> Arrays:
    raise CourseError(
        "Sentences are no images: load them by vaetl_helpers.text.load_text('sentence-polarity')."
    )
