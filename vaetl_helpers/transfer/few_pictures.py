"""What a handful of pictures can show: leave one out, its interval, near-duplicates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from vaetl_helpers.errors import CourseError
from vaetl_helpers.transfer.probes import checked_features, checked_labels, linear_probe

C = 0.01  # of all probes on a handful of pictures: fixed, since there is nothing to choose it by
CLOSE = 0.55  # of the median distance: what lies nearer is taken for the same thing


class Interval(NamedTuple):
    """A share and the ends of its interval, from 0 to 1."""

    share: float
    low: float
    high: float


def leave_one_out(x: Tensor, y: Tensor, groups: Tensor | None = None, c: float = C) -> Tensor:
    """Probabilities of each row's classes, by a probe that has not seen it: float64 [n, k].

    `x` [n, d] are features, `y` [n] labels 0 … k − 1. With `groups` int [n] all rows of a row's
    group are left out with it. The probe has a fixed `c` and one factor for all features. Raises
    CourseError where no probe can be fitted without a group.
    """
    rows = torch.from_numpy(checked_features(x))
    labels = torch.from_numpy(checked_labels(y, len(rows)))
    held = torch.arange(len(rows)) if groups is None else checked_groups(groups, len(rows))
    classes = int(labels.max()) + 1
    if classes < 2:
        raise CourseError("A probe needs two classes or more: take pictures of another thing.")
    probabilities = torch.zeros(len(rows), classes, dtype=torch.float64)
    for group in held.unique():
        out = held == group
        kept = labels[~out]
        missing = set(range(classes)) - set(kept.tolist())
        if missing:
            raise CourseError(
                f"Without group {int(group)} no picture of class {min(missing)} is left to learn "
                "from: take pictures of more things of that class."
            )
        probe = linear_probe(rows[~out], kept, grid=(c,), scalings=("one factor",))
        probabilities[out] = torch.from_numpy(probe.pipeline.predict_proba(rows[out].numpy()))
    return probabilities


def checked_groups(groups: Any, count: int) -> Tensor:
    """Group numbers int64 [count]; raises CourseError for another number of them."""
    held = torch.as_tensor(groups)
    if held.shape != (count,) or held.is_floating_point():
        raise CourseError(f"{count} rows need as many group numbers, not {list(held.shape)}.")
    return held.long()


def share_interval(right: Tensor, groups: Tensor | None = None, level: float = 0.95) -> Interval:
    """The share of `right` bool [n], with Clopper and Pearson's exact interval (1934).

    With `groups` int [n] the interval is that of as many independent trials as there are groups
    (Korn and Graubard 1998, with the effective size at its smallest).
    """
    from scipy import stats

    right = torch.as_tensor(right)
    if right.dim() != 1 or not len(right):
        raise CourseError(f"`right` must be one truth value a picture, not {list(right.shape)}.")
    share = right.double().mean().item()
    trials = len(right) if groups is None else len(checked_groups(groups, len(right)).unique())
    hits = share * trials
    tail = (1 - level) / 2
    low = stats.beta.ppf(tail, hits, trials - hits + 1) if hits > 0 else 0.0
    high = stats.beta.ppf(1 - tail, hits + 1, trials - hits) if hits < trials else 1.0
    return Interval(share, float(low), float(high))


def distances(x: Tensor) -> Tensor:
    """How far each two rows of features [n, d] lie apart, in units of the median: [n, n]."""
    rows = torch.from_numpy(checked_features(x))
    apart = torch.cdist(rows, rows, compute_mode="donot_use_mm_for_euclid_dist")
    pairs = apart[np.triu_indices(len(rows), 1)]
    if len(pairs) == 0 or float(pairs.median()) == 0:
        raise CourseError("Distances need two pictures or more that are not all the same.")
    return apart / pairs.median()


def bursts(x: Tensor, close: float = CLOSE) -> Tensor:
    """Numbers the groups of pictures that are linked by near ones: int64 [n], 0, 1, … in order.

    Two pictures are linked where their features lie nearer than `close` of the median distance.
    """
    from scipy.sparse.csgraph import connected_components

    _, numbers = connected_components((distances(x) < close).numpy(), directed=False)
    return torch.from_numpy(numbers).long()


SILENT = (
    "No number here speaks of another room, light, camera or day, nor of things that are not like "
    "these: for those, test on pictures that were taken there."
)
TELLING_DROP = 0.1  # of the share that is right, by which a leak is plain


def verdict_on(
    alone: Interval,
    grouped: Interval | None,
    covered: Interval,
    guess: float,
    counts: Sequence[int],
) -> list[str]:
    """What a handful of pictures shows, in sentences.

    `alone` and `grouped` are the shares that leave-one-out and leave-one-group-out got right,
    `grouped` None where it could not be run; `covered` is the first with the middle of each picture
    covered; `guess` is the share of the most frequent class; `counts` are pictures and groups.
    """
    pictures, groups = counts
    sentences = [_on_the_classes(grouped, guess)]
    if grouped is not None and groups < pictures:
        drop = alone.share - grouped.share
        leak = (
            f"{pictures} pictures show {groups} different views; leaving out near-duplicates "
            f"together costs {100 * drop:.0f} points"
        )
        advice = ", so do not quote the first number." if drop >= TELLING_DROP else "."
        sentences.append(leak + advice)
    if covered.low > guess:
        sentences.append(
            f"With their middle covered, {100 * covered.share:.0f} % are still right, so the rim "
            "tells the classes apart, and perhaps not the things."
        )
    return [*sentences, SILENT]


def _on_the_classes(grouped: Interval | None, guess: float) -> str:
    if grouped is None:
        return (
            "All pictures of a class look like one another, so nothing can be said of another "
            "thing of its kind: photograph more things."
        )
    if grouped.low > guess:
        return (
            f"The classes can be told apart on pictures of this kind: {100 * grouped.share:.0f} % "
            f"are right, and the interval's lower end, {100 * grouped.low:.0f} %, lies above "
            f"always saying the same, {100 * guess:.0f} %."
        )
    return (
        "These pictures do not show that the classes can be told apart: the interval reaches down "
        f"to {100 * grouped.low:.0f} %, and always saying the same gets {100 * guess:.0f} %."
    )


def with_middle_covered(images: Tensor, side: float = 0.7) -> Tensor:
    """Pictures uint8 [n, 3, h, w] with a grey square over the middle, `side` of each side."""
    height, width = images.shape[-2:]
    covered = images.clone()
    top, left = (round(length * (1 - side) / 2) for length in (height, width))
    covered[..., top : height - top, left : width - left] = 128
    return covered
