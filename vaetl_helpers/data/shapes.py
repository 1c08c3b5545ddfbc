"""Drawn bars whose place and direction are known: tasks about *where*, not about *what*."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vaetl_helpers.data.images import ImageSet, Splits
from vaetl_helpers.errors import unknown_name_error
from vaetl_helpers.seeds import whole_number, whole_seed

SIZE = 28
BINS = 8  # classes of a task
HALF_LENGTH, HALF_WIDTH = 6.0, 2.0  # of a bar, in pixels; sizes vary by a quarter
MARGIN = 8.0  # from the edge to the middle of a bar
SOFTNESS = 0.4  # of the edges, in pixels
FACTORS = ("location", "orientation")


def draw_bars(count: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """White bars on black, anywhere and in any direction.

    Images uint8 [count, 1, 28, 28]; the column of each bar's middle in pixels, float [count]; its
    direction in radians, float [count], from 0 up to π, at which a bar looks as at 0.
    """
    count = whole_number(count, "count", lowest=1)
    generator = torch.Generator().manual_seed(whole_seed(seed))
    uniform = torch.rand(4, count, 1, 1, generator=generator)
    column, row = MARGIN + (SIZE - 2 * MARGIN) * uniform[:2]
    direction = math.pi * uniform[2]
    scale = 0.75 + 0.5 * uniform[3]
    at = torch.arange(SIZE, dtype=torch.float32) + 0.5
    right, down = at[None, None, :] - column, at[None, :, None] - row
    along = right * direction.cos() + down * direction.sin()
    across = down * direction.cos() - right * direction.sin()
    inside = torch.sigmoid((HALF_LENGTH * scale - along.abs()) / SOFTNESS)
    inside = inside * torch.sigmoid((HALF_WIDTH * scale - across.abs()) / SOFTNESS)
    images = (255 * inside).round().to(torch.uint8)[:, None]
    return images, column.flatten(), direction.flatten()


def bars_task(factor: str, train: int = 6000, test: int = 2000, seed: int = 0) -> Splits:
    """A task of eight classes: in which eighth of the range the "location" or "orientation" lies.

    `validation` has 50 images a class on average. Raises CourseError for another factor.
    """
    if factor not in FACTORS:
        raise unknown_name_error("factor", factor, FACTORS)
    sets = []
    for number, count in enumerate((train, 50 * BINS, test)):
        images, column, direction = draw_bars(count, 3 * seed + number)
        share = direction / math.pi
        if factor == "location":
            share = (column - MARGIN) / (SIZE - 2 * MARGIN)
        labels = (BINS * share).long().clamp(0, BINS - 1)
        sets.append(ImageSet(images, labels, tuple(f"{n + 1}/{BINS}" for n in range(BINS))))
    training, validation, testing = sets
    source = f"bars: {factor}, {train:,}/{50 * BINS}/{test:,}"
    return Splits(training, validation, testing, source)
