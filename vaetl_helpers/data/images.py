"""Image sets that live on the device as uint8, their batches and their three splits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vaetl_helpers.errors import CourseError


@dataclass
class ImageSet:
    """Images with labels: uint8 [n, channels, height, width] and int64 [n]; the range is checked here, once.

    Also takes float images in [0, 1], which are rounded to 256 levels, and [n, height, width] for one channel.
    Raises CourseError for another shape, range or type, and where the labels do not fit.
    """

    images: Tensor
    labels: Tensor
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        self.images = as_uint8(torch.as_tensor(self.images))
        labels = torch.as_tensor(self.labels)
        self.labels = labels.long()
        if labels.shape != self.images.shape[:1] or (self.labels != labels).any():
            raise CourseError(
                f"{len(self.images)} images need as many whole numbers as labels, in one dimension, but the labels are "
                f"{labels.dtype} of shape {list(labels.shape)}: pass one class number an image."
            )
        if not 0 <= int(self.labels.min()) <= int(self.labels.max()) < len(self.classes):
            raise CourseError(
                f"A label lies outside 0 … {len(self.classes) - 1}: name every class in `classes`."
            )

    def __len__(self) -> int:
        return len(self.images)

    @property
    def device(self) -> torch.device:
        return self.images.device

    def to(self, device: torch.device | str) -> ImageSet:
        """The same set with its tensors on `device`."""
        return ImageSet(self.images.to(device), self.labels.to(device), self.classes)

    def subset(self, indices: Tensor | slice) -> ImageSet:
        """The images at `indices`, in that order."""
        return ImageSet(self.images[indices], self.labels[indices], self.classes)

    def batches(
        self,
        batch_size: int,
        seed: int | None = None,
        epoch: int = 0,
        rank: int = 0,
        world: int = 1,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields float images in [0, 1] and labels; shuffled by (seed, epoch) if a seed is given.

        The last batch holds what is left. The order does not depend on the device or on other random numbers,
        so a training run that was interrupted sees the same batches again. Of `world` processes number `rank` gets
        its `share` of each batch, at least one image.
        """
        if batch_size < 1:
            raise CourseError(
                f"batch_size must be at least 1, not {batch_size}: 64 or 128 is usual."
            )
        order = torch.arange(len(self))
        if seed is not None:
            order = torch.randperm(
                len(self), generator=torch.Generator().manual_seed(seed * 1_000_003 + epoch)
            )
        for chosen in order.to(self.device).split(batch_size):
            if world > 1:
                start, stop = shard(len(chosen), rank, world)
                chosen = chosen[start : max(stop, start + 1)]
            # Whole rows at a time: half the time of images[chosen].float().
            yield self.images.index_select(0, chosen).div(255), self.labels.index_select(0, chosen)


def shard(count: int, rank: int, world: int) -> tuple[int, int]:
    """Start and stop of what process `rank` of `world` takes of `count` images; the shares differ by at most one."""
    return count * rank // world, count * (rank + 1) // world


def as_uint8(images: Tensor) -> Tensor:
    if images.dim() == 3:
        images = images.unsqueeze(1)
    if images.dim() != 4 or images.shape[1] not in (1, 3) or not images[:1].numel():
        raise CourseError(
            f"Images have the shape {list(images.shape)}, but [n, channels, height, width] with 1 or 3 channels and "
            "n ≥ 1 was expected: add or move the missing dimension (unsqueeze, permute)."
        )
    if images.dtype == torch.uint8:
        return images
    if not images.is_floating_point():
        raise CourseError(
            f"Images are {images.dtype}, but uint8 or floats in [0, 1] were expected: cast them."
        )
    low, high = images.min().item(), images.max().item()
    if not (low >= 0 and high <= 1):  # also refuses NaN
        raise CourseError(
            f"Images lie in [{low:.4g}, {high:.4g}], but [0, 1] was expected: divide by 255, or undo a normalisation."
        )
    return images.mul(255).round().to(torch.uint8)


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
            self.train.to(device), self.validation.to(device), self.test.to(device), self.source
        )


def image_hashes(images: Any) -> list[bytes]:
    """One sha256 digest an image, to tell whether two sets share images."""
    return [sha256(image.tobytes()).digest() for image in np.ascontiguousarray(images)]
