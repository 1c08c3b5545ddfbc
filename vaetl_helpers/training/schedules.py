"""Schedules of the learning rate, as functions of the progress in [0, 1), and seeds of epochs."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

Schedule = Callable[[float], float]
START = 1 / 25  # the factor at progress 0
RISE = 0.25  # the progress at which the factor is 1


def one_cycle(progress: float, rise: float = RISE) -> float:
    """A factor of the learning rate that goes from 1/25 up to 1 and then down to 0.

    `progress` lies in [0, 1), and the factor rises over the first `rise` of it. Both ways are
    half-cosines. Source: Smith and Topin 2017, arXiv:1708.07120, with cosines for its straight
    lines.
    """
    if progress < rise:
        angle = math.pi * progress / rise
        climbed = (1 - math.cos(angle)) / 2
        return START + (1 - START) * climbed
    angle = math.pi * (progress - rise) / (1 - rise)
    return (1 + math.cos(angle)) / 2


def seed_of_epoch(seed: int, epoch: int) -> int:
    """The seed of one epoch of a run with early stopping: none of them is another run's."""
    return 1000 * seed + epoch


class Step(NamedTuple):
    """A step of a run: epoch and step count from 0, `epochs` of `steps` each."""

    epoch: int
    epochs: int
    step: int
    steps: int

    def progress(self) -> float:
        """How far the run has come, as the loop by hand counts it."""
        steps_done = self.epoch * self.steps + self.step
        return steps_done / (self.epochs * self.steps)

    def progress_by_epoch(self) -> float:
        """The same as runs with early stopping count it; it differs by rounding alone."""
        epochs_done = self.epoch + self.step / self.steps
        return epochs_done / self.epochs
