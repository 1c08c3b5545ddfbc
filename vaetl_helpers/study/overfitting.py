"""Overfitting, measured so that it does not follow the learning rate or the moment of stopping.

The gap between the losses on unseen and on training images grows with training, so that whoever
trains less, by a smaller rate or an earlier stop, has the smaller one. Two methods are therefore
compared where both fit their training images equally well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vaetl_helpers.errors import CourseError
from vaetl_helpers.study.effects import Effect, check_same_draws, effect_over, images_of
from vaetl_helpers.study.table import Table

LEVELS = 20  # of the training loss, at which two paths are compared
# Metrics of a run: its losses in nats per image, epoch by epoch for a network, from a strong to a
# weak penalty for a classifier on fixed features.
TRAINING, UNSEEN = "training losses", "validation losses"
Path = tuple[NDArray[np.float64], NDArray[np.float64]]  # training and unseen losses


def unseen_losses_at(
    training: ArrayLike, unseen: ArrayLike, levels: ArrayLike
) -> NDArray[np.float64]:
    """The losses on unseen images where a path first reaches each level of the training loss.

    `training` and `unseen` are the losses [steps of the path], in nats per image; `levels` [k] lie
    between the first and the lowest training loss. Between two steps it is linear in the training
    loss. Raises CourseError for a level that the path does not reach.
    """
    path, losses = falling_path(training, unseen)
    levels = np.asarray(levels, float)
    if levels.max(initial=-np.inf) > path[0] or levels.min(initial=np.inf) < path[-1]:
        raise CourseError(
            f"A training loss between {path[-1]:.3g} and {path[0]:.3g} nats is on this path, but "
            "another was asked for: take levels that both paths reach."
        )
    at_levels: NDArray[np.float64] = np.interp(levels, path[::-1], losses[::-1])
    return at_levels


def falling_path(training: ArrayLike, unseen: ArrayLike) -> Path:
    """The steps of a path at which the training loss is lower than ever before, as two arrays."""
    training, unseen = np.asarray(training, float), np.asarray(unseen, float)
    lowest_so_far = np.minimum.accumulate(training)
    is_new_low = np.append(True, np.diff(lowest_so_far) < 0)
    return training[is_new_low], unseen[is_new_low]


def falling_paths(table: Table, method: str, labels: int) -> dict[int, Path]:
    """`falling_path` of each draw: what a method's networks lost, while they learned."""
    paths = _paths(table, method, labels)
    return {draw: falling_path(*path) for draw, path in paths.items()}


def shared_levels(
    a: Sequence[float], b: Sequence[float], count: int = LEVELS
) -> NDArray[np.float64]:
    """Training losses [count] that both paths reach, evenly from the first to the lowest."""
    highest = min(a[0], b[0])
    lowest = max(min(a), min(b))
    return np.linspace(highest, min(lowest, highest), count)


def excess_by_draw(table: Table, a: str, b: str, labels: int) -> dict[int, float]:
    """For each draw by how much the loss on unseen images is lower with `b` than with `a`.

    It is the mean over levels of the training loss that both reach, in nats per image. Runs gave
    TRAINING and UNSEEN.
    """
    paths_a, paths_b = _paths(table, a, labels), _paths(table, b, labels)
    check_same_draws(paths_a, paths_b, a, b)
    differences = {}
    for draw, (training_a, unseen_a) in paths_a.items():
        training_b, unseen_b = paths_b[draw]
        levels = shared_levels(list(training_a), list(training_b))
        lost_by_a = unseen_losses_at(training_a, unseen_a, levels)
        lost_by_b = unseen_losses_at(training_b, unseen_b, levels)
        differences[draw] = float(np.mean(lost_by_a - lost_by_b))
    return differences


def excess_loss(table: Table, a: str, b: str, labels: int) -> Effect:
    """The effect of `excess_by_draw`: above 0 `b` overfits less, on these validation images."""
    differences = excess_by_draw(table, a, b, labels)
    return effect_over(table, differences, [labels], conditional=images_of(UNSEEN))


def _paths(table: Table, method: str, labels: int) -> Mapping[int, Path]:
    training = table.by_step(method, labels, TRAINING)
    unseen = table.by_step(method, labels, UNSEEN)
    return {draw: (values, unseen[draw]) for draw, values in training.items()}
