"""The same images as a careless camera would have taken them: noise, rotation, contrast, blur."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as transforms

from vaetl_helpers.data.images import ImageSet
from vaetl_helpers.errors import unknown_name_error

NOISE = 0.15  # standard deviation, of levels in [0, 1]
DEGREES = 20
CONTRAST = 0.4  # what is left of it
BLUR = 1.0  # standard deviation, in pixels


def _noisy(images: Tensor, generator: torch.Generator) -> Tensor:
    noise = NOISE * 255 * torch.randn(images.shape, generator=generator)
    return (images + noise).round().clamp(0, 255).to(torch.uint8)


def _rotated(images: Tensor, generator: torch.Generator) -> Tensor:
    """Each to the left or to the right, by chance."""
    turned = [
        transforms.rotate(images, angle, InterpolationMode.BILINEAR)
        for angle in (DEGREES, -DEGREES)
    ]
    is_left = torch.rand(len(images), 1, 1, 1, generator=generator) < 0.5
    return torch.where(is_left, turned[0], turned[1])


def _flat(images: Tensor, generator: torch.Generator) -> Tensor:
    flat: Tensor = transforms.adjust_contrast(images, CONTRAST)
    return flat


def _blurred(images: Tensor, generator: torch.Generator) -> Tensor:
    blurred: Tensor = transforms.gaussian_blur(images, [5, 5], [BLUR, BLUR])
    return blurred


_KINDS: dict[str, Callable[[Tensor, torch.Generator], Tensor]] = {
    "noise": _noisy,
    "rotation": _rotated,
    "contrast": _flat,
    "blur": _blurred,
}
SHIFTS = tuple(_KINDS)


def shifted(images: ImageSet, kind: str, seed: int = 0) -> ImageSet:
    """The images with one of SHIFTS done to them, with their labels; the seed decides the rest.

    "noise" has a standard deviation of 0.15 of the range, "rotation" is 20° to either side,
    "contrast" leaves 0.4 of it, "blur" is Gaussian with 1 pixel. Raises CourseError for another
    kind.
    """
    if kind not in _KINDS:
        raise unknown_name_error("shift", kind, SHIFTS)
    generator = torch.Generator().manual_seed(seed)
    pixels = _KINDS[kind](images.images.cpu(), generator)
    return ImageSet(pixels, images.labels.cpu(), images.classes).to(images.device)
