"""Image sets that live on the device as uint8, their batches and their three splits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from vaetl_helpers.data.inputs import as_labels, as_names, as_tensor, rows_error
from vaetl_helpers.errors import CourseError
from vaetl_helpers.seeds import whole_number, whole_seed

HIGHEST_SEED_OF_BATCHES = 2**43  # a million times as much has 63 bits
Batch = tuple[Tensor, Tensor]  # float images in [0, 1] and labels


@dataclass
class ImageSet:
    """Images uint8 [n, channels, height, width] with labels int64 [n]; the range is checked once.

    Also takes float images in [0, 1], which are rounded to 256 levels, booleans, and [n, height,
    width] for one channel; arrays, lists of equal tensors, and Pillow's pictures of one size.
    Labels may be names of `classes`. Raises CourseError for another shape, range or type, and where
    the labels do not fit.
    """

    images: Tensor
    labels: Tensor
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        self.classes = as_names(self.classes, "classes")
        self.images = as_uint8(as_tensor(self.images, "images"))
        check_levels(self.images)
        labels = as_labels(self.labels, self.classes, "labels")
        self.labels = labels.long()
        if labels.shape != self.images.shape[:1] or (self.labels != labels).any():
            raise CourseError(
                f"{len(self.images)} images need as many whole numbers as labels, "
                f"in one dimension, but the labels are {labels.dtype} "
                f"of shape {list(labels.shape)}: pass one class number an image."
            )
        lowest = int(self.labels.min())
        highest = int(self.labels.max())
        if not 0 <= lowest <= highest < len(self.classes):
            raise CourseError(
                f"A label lies outside 0 … {len(self.classes) - 1}: name every class in `classes`."
            )

    @classmethod
    def _of_checked(cls, images: Tensor, labels: Tensor, classes: tuple[str, ...]) -> ImageSet:
        """A set of tensors that come from another set, which has checked their range.

        A check takes three reductions, and on a GPU Python waits for each of them.
        """
        _check_shape(images)
        image_set = cls.__new__(cls)
        image_set.images = images
        image_set.labels = labels
        image_set.classes = classes
        return image_set

    def __len__(self) -> int:
        return len(self.images)

    @property
    def device(self) -> torch.device:
        return self.images.device

    def to(self, device: torch.device | str) -> ImageSet:
        """The same set with its tensors on `device`."""
        images = self.images.to(device)
        return self._of_checked(images, self.labels.to(device), self.classes)

    def subset(self, indices: Tensor | slice) -> ImageSet:
        """The images at `indices` (numbers or a mask), in that order.

        Raises CourseError for none, and for numbers outside the set.
        """
        if not isinstance(indices, slice):
            indices = _as_index(indices)
        try:
            images = self.images[indices]
            labels = self.labels[indices]
        except IndexError as error:
            raise rows_error(len(self)) from error
        return self._of_checked(images, labels, self.classes)

    def batches(self, batch_size: int, seed: int | None = None, epoch: int = 0) -> Iterator[Batch]:
        """Yields float images in [0, 1] and labels; shuffled by (seed, epoch) if a seed is given.

        The last batch holds what is left. The order does not depend on the device or on other
        random numbers, so a training run that was interrupted sees the same batches again.
        """
        batch_size = whole_number(batch_size, "batch_size", 1, example="128")
        order = torch.arange(len(self))
        if seed is not None:
            order = shuffled(len(self), seed, epoch)
        for indices in order.to(self.device).split(batch_size):
            # Whole rows at a time: half the time of images[indices].float().
            images = self.images.index_select(0, indices).div(255)
            yield images, self.labels.index_select(0, indices)


def shuffled(count: int, seed: int, epoch: int = 0) -> Tensor:
    """The order [count] in which (seed, epoch) presents as many images."""
    seed = whole_seed(seed, highest=HIGHEST_SEED_OF_BATCHES)
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    return torch.randperm(count, generator=generator)


def shard(count: int, rank: int, world: int) -> tuple[int, int]:
    """Start and stop of what process `rank` of `world` takes of `count` images.

    The shards of all processes cover the images once, and their sizes differ by at most one.
    """
    start = count * rank // world
    stop = count * (rank + 1) // world
    return start, stop


class Rows(NamedTuple):
    """Rows start:stop of a batch of `whole` images.

    `is_last`: of the micro-batches in which a process works off its shard of the batch.
    """

    start: int
    stop: int
    whole: int
    is_last: bool

    @property
    def size(self) -> int:
        return self.stop - self.start


class ImagesOfRows(Tensor):
    """Images that know which rows of a batch they are.

    Who draws noise for a batch (`vae.draw_noise`) then draws it for the whole batch and keeps these
    rows: the result does not depend on how `fit` cuts the batch. What is computed from such images,
    by a network or by `images.double()` in a loss function, knows the rows as well. So they reach
    the noise through every function in between, and none of these needs an argument for them.
    """

    rows: Rows | None = None

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Computes as with plain tensors, and notes in the results which rows they are of."""
        result = super().__torch_function__(func, types, args, kwargs)
        tensors = result if isinstance(result, list | tuple) else (result,)
        for tensor in tensors:
            if isinstance(tensor, ImagesOfRows):
                tensor.rows = _rows_among(args)
                if tensor.rows is None and kwargs:
                    tensor.rows = _rows_among(kwargs.values())
        return result


def _rows_among(values: Iterable[Any]) -> Rows | None:
    for value in values:
        rows = value.rows if isinstance(value, ImagesOfRows) else None
        if isinstance(value, list | tuple):  # as in torch.cat([images, images])
            rows = _rows_among(value)
        if rows is not None:
            return rows
    return None


def images_of_rows(images: Tensor, rows: Rows) -> Tensor:
    """Rows `rows` of a batch of images, as a view that knows them."""
    view = images[rows.start : rows.stop].as_subclass(ImagesOfRows)
    view.rows = rows
    return view


def rows_of(tensor: Tensor) -> Rows | None:
    """Which rows of a batch the tensor was computed from; None where batches stay whole."""
    return getattr(tensor, "rows", None)


def as_uint8(images: Tensor) -> Tensor:
    """Images as uint8 [n, channels, height, width]; CourseError for other shapes, ranges, types."""
    if images.dim() == 3:
        images = images.unsqueeze(1)
    _check_shape(images)
    if images.dtype == torch.uint8:
        return images
    if images.dtype == torch.bool:
        return images.to(torch.uint8) * 255
    if not images.is_floating_point():
        raise CourseError(
            f"Images are {images.dtype}, but uint8 or floats in [0, 1] were expected: cast levels "
            "from 0 to 255 to uint8, and divide others by the highest possible level."
        )
    low = images.min().item()
    high = images.max().item()
    if not (low >= -ROUNDING and high <= 1 + ROUNDING):  # also refuses NaN
        raise CourseError(
            f"Images lie in [{low:.8g}, {high:.8g}], but [0, 1] was expected: "
            "divide by 255, or undo a normalisation."
        )
    return images.clamp(0, 1).mul(255).round().to(torch.uint8)


ROUNDING = 1e-6  # which float32 may lie outside of [0, 1] after scaling or turning an image


def check_levels(images: Tensor) -> None:
    """Raises CourseError for uint8 images of 0 and 1, which are nearly black of 255 levels."""
    if images.max() == 1:
        raise CourseError(
            "Images have no level above 1 of 255, which is nearly black: multiply black and white "
            "by 255, or hand over booleans (images > 0); divide floats by 255 once."
        )


def _as_index(indices: Any) -> Tensor:
    """Numbers or a mask as a tensor; PyTorch would take uint8 for a mask."""
    rows = as_tensor(indices, "indices")
    if rows.dtype == torch.bool or rows.dim() != 1:
        return rows
    if rows.is_floating_point() and len(rows):
        raise CourseError("indices must be whole numbers or booleans: cast them with .long().")
    return rows.long()


def _check_shape(images: Tensor) -> None:
    is_batch_of_images = images.dim() == 4 and images.shape[1] in (1, 3)
    if not is_batch_of_images or images[:1].numel() == 0:
        raise CourseError(
            f"Images have the shape {list(images.shape)}, but [n, channels, height, width] with "
            "1 or 3 channels and n ≥ 1 was expected: "
            "add or move the missing dimension (reshape, unsqueeze, permute)."
        )


@dataclass
class Splits:
    """Three disjoint image sets, and one line that says what they are."""

    train: ImageSet
    validation: ImageSet
    test: ImageSet
    source: str

    def to(self, device: torch.device | str) -> Splits:
        """The same splits on `device`."""
        return Splits(
            self.train.to(device),
            self.validation.to(device),
            self.test.to(device),
            self.source,
        )


def image_hashes(images: Any) -> list[bytes]:
    """One sha256 digest an image, to tell whether two sets share images."""
    return [sha256(image.tobytes()).digest() for image in np.ascontiguousarray(images)]
