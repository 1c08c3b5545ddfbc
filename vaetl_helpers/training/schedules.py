"""Schedules of the learning rate, as functions of the progress in [0, 1), and seeds of epochs."""

from __future__ import annotations

import math
from collections.abc import Callable

Schedule = Callable[[float], float]
WARM_UP_START = 1 / 25  # the factor at progress 0


def one_cycle(progress: float, rise: float = 0.25) -> float:
    """A factor of the learning rate that goes from 1/25 up to 1 and then down to 0.

    `progress` lies in [0, 1), and the factor rises over the first `rise` of it. Both ways are half-cosines.
    Source: Smith and Topin 2017, arXiv:1708.07120, with cosines for its straight lines.
    """
    if progress < rise:
        climbed = (1 - math.cos(math.pi * progress / rise)) / 2
        return WARM_UP_START + (1 - WARM_UP_START) * climbed
    return (1 + math.cos(math.pi * (progress - rise) / (1 - rise))) / 2


def seed_of_epoch(seed: int, epoch: int) -> int:
    """The seed of one epoch of a run with early stopping: none of them is another run's."""
    return 1000 * seed + epoch


def progress_by_epoch(epoch: int, epochs: int, step: int, steps: int) -> float:
    """The progress of a run with early stopping at a step (from 0) of `steps` in an epoch."""
    return (epoch + step / steps) / epochs


def progress_by_step(epoch: int, epochs: int, step: int, steps: int) -> float:
    """The progress of other runs, as the loop by hand counts it; it differs by rounding alone."""
    return (epoch * steps + step) / (epochs * steps)
