"""Schedules of the learning rate, as functions of the progress in [0, 1)."""

from __future__ import annotations

import math


def one_cycle(progress: float, warm_up: float = 0.25) -> float:
    """A factor of the learning rate: from 1/25 up to 1, then down to 0, along half-cosines; progress in [0, 1).

    Source: Smith and Topin 2017, arXiv:1708.07120, with cosines for its straight lines.
    """
    if progress < warm_up:
        return 1 / 25 + 24 / 25 * (1 - math.cos(math.pi * progress / warm_up)) / 2
    return (1 + math.cos(math.pi * (progress - warm_up) / (1 - warm_up))) / 2
