"""Drawn bars: they lie where their labels say."""

from __future__ import annotations

import math

import pytest
import torch

from vaetl_helpers.data.shapes import BINS, FACTORS, MARGIN, SIZE, bars_task, draw_bars
from vaetl_helpers.errors import CourseError


def test_a_bar_lies_where_it_is_said_to() -> None:
    images, column, direction = draw_bars(300)
    ink = images[:, 0].float() / 255
    at = torch.arange(SIZE) + 0.5
    mass = ink.sum((1, 2))
    x = (ink.sum(1) * at).sum(1) / mass
    y = (ink.sum(2) * at).sum(1) / mass
    assert torch.allclose(x, column, atol=0.15), "its middle, as its centre of mass"
    right, down = at[None, None, :] - x[:, None, None], at[None, :, None] - y[:, None, None]
    moments = [
        (ink * a * b).sum((1, 2)) / mass for a, b in ((right, right), (down, down), (right, down))
    ]
    axis = 0.5 * torch.atan2(2 * moments[2], moments[0] - moments[1]) % math.pi
    apart = (axis - direction).abs()
    assert torch.minimum(apart, math.pi - apart).max() < 0.06, "its direction, as its long axis"


@pytest.mark.parametrize("factor", FACTORS)
def test_tasks_have_eight_even_classes_and_no_image_twice(factor: str) -> None:
    task = bars_task(factor, train=800, test=400)
    assert len(task.validation) == 50 * BINS and len(task.train.classes) == BINS
    counts = torch.bincount(task.train.labels, minlength=BINS)
    assert counts.min() > 60 and counts.max() < 150
    every = torch.cat([part.images for part in (task.train, task.validation, task.test)])
    assert len(every.flatten(1).unique(dim=0)) == len(every)
    again = bars_task(factor, train=800, test=400)
    assert torch.equal(again.test.images, task.test.images)
    assert not torch.equal(bars_task(factor, 800, 400, seed=1).test.images, task.test.images)


def test_locations_rise_from_left_to_right() -> None:
    task = bars_task("location", train=400, test=100)
    at = torch.arange(SIZE) + 0.5
    ink = task.train.images[:, 0].float().sum(1)
    x = (ink * at).sum(1) / ink.sum(1)
    means = [x[task.train.labels == label].mean().item() for label in range(BINS)]
    assert means == sorted(means) and means[0] > MARGIN - 0.5


def test_another_factor_is_named() -> None:
    with pytest.raises(CourseError, match="did you mean 'location'"):
        bars_task("locations")
