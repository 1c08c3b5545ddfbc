"""Shifted images: the same objects, other pixels."""

from __future__ import annotations

import pytest
import torch

from vaetl_helpers.data.images import ImageSet
from vaetl_helpers.data.shifts import SHIFTS, shifted
from vaetl_helpers.errors import CourseError


def pictures(channels: int, level: int = 128) -> ImageSet:
    """A square of ink on paper, in the middle."""
    images = torch.zeros(40, channels, 28, 28, dtype=torch.uint8)
    images[:, :, 8:20, 11:17] = level
    return ImageSet(images, torch.arange(40) % 2, ("a", "b"))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", SHIFTS)
def test_shifted_images_keep_shape_labels_and_most_of_the_picture(kind: str, channels: int) -> None:
    before = pictures(channels)
    after = shifted(before, kind)
    assert after.images.shape == before.images.shape and after.images.dtype == torch.uint8
    assert torch.equal(after.labels, before.labels) and after.classes == before.classes
    assert not torch.equal(after.images, before.images)
    pairs = torch.stack([before.images.flatten().float(), after.images.flatten().float()])
    assert torch.corrcoef(pairs)[0, 1] > 0.6, "the picture is still there"
    assert torch.equal(before.images, pictures(channels).images), "the original stays as it is"


def test_what_each_shift_does() -> None:
    before = pictures(1).images.float()
    noise = shifted(pictures(1), "noise").images.float() - before
    assert noise[:, :, 9:19, 12:16].std().item() == pytest.approx(0.15 * 255, rel=0.05)
    contrast = shifted(pictures(1), "contrast").images.float()
    spread = contrast.amax((1, 2, 3)) - contrast.amin((1, 2, 3))
    assert spread.mean().item() == pytest.approx(0.4 * 128, abs=1.5)
    blur = shifted(pictures(1), "blur").images.float()
    assert blur.sum().item() == pytest.approx(before.sum().item(), rel=0.01)
    assert blur[:, 0, 8, 11].max() < 128
    rotated = shifted(pictures(1), "rotation").images
    assert len(rotated.flatten(1).unique(dim=0)) == 2, "to the left and to the right"


def test_the_seed_decides() -> None:
    for kind in ("noise", "rotation"):
        once, again, other = (shifted(pictures(1), kind, seed).images for seed in (0, 0, 1))
        assert torch.equal(once, again) and not torch.equal(once, other)


def test_an_unknown_shift_is_named() -> None:
    with pytest.raises(CourseError, match="did you mean 'noise'"):
        shifted(pictures(1), "noises")
