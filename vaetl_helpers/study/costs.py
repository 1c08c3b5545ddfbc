"""What it costs a method to reach an accuracy, with runs that never do."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from vaetl_helpers.errors import CourseError
from vaetl_helpers.study.effects import Effect, _over, _pairs
from vaetl_helpers.study.table import CENSORED, Reached, Table, row_key


def time_to(
    history: Any, target: float, metric: str = "validation_accuracy", cost: str = "steps"
) -> Reached:
    """The cost ("steps", "seconds" or "images", summed over epochs) after the first epoch that reaches `target`.

    `history`: fit's History, or any mapping of columns. A run that never does is kept, as "at least what it spent".
    """
    spent = np.cumsum(history[cost])
    hits = np.flatnonzero(np.asarray(history[metric]) >= target)
    if not len(spent):
        raise CourseError(
            "The history is empty, so nothing can be read from it: train for an epoch at least."
        )
    return Reached(float(spent[hits[0]])) if len(hits) else Reached(float(spent[-1]), 1)


def add_costs(
    table: Table,
    labels: int,
    target_of: str,
    curve: str = "validation curve",
    costs: Sequence[str] = ("steps",),
) -> None:
    """Adds to each run at `labels` what it cost to reach the accuracy that method `target_of` ended at, in that draw.

    Runs gave `curve` and "COST by epoch" (spent so far) as one value an epoch; the target is the best of the curve,
    where early stopping ends. A run that never gets there is censored. The new metrics are "COST to NAME's accuracy".
    """
    runs = {
        key[:3]: values
        for key, values in table.images.items()
        if key[1] == labels and key[3] == curve
    }
    for key, values in runs.items():
        row = next(row for row in table.rows if row_key(row) == key)
        hits = np.flatnonzero(values >= runs[target_of, labels, key[2]].max())
        for cost in costs:
            if (spent := table.images.get((*key, f"{cost} by epoch"))) is not None:
                name, last = f"{cost} to {target_of}'s accuracy", hits[0] if len(hits) else -1
                table.rows.append(row | {"metric": name, "value": float(spent[last])})
                table.rows.append(row | {"metric": name + CENSORED, "value": float(not len(hits))})


def labels_to(
    table: Table, method: str, target: float, metric: str = "test accuracy"
) -> dict[int, Reached]:
    """For each draw the labels at which `metric` first reaches `target`, linear in log labels between two counts.

    A draw that never does takes at least the largest count, one that does at the smallest count at most that.
    """
    counts = sorted(table.known("labels"))
    values = [table.values(method, metric, count) for count in counts]
    found = {}
    for draw in values[0]:
        curve = [value[draw] for value in values]
        k = next((k for k, value in enumerate(curve) if value >= target), len(curve))
        if 0 < k < len(curve):
            part = (target - curve[k - 1]) / (curve[k] - curve[k - 1])
            found[draw] = Reached(counts[k - 1] * (counts[k] / counts[k - 1]) ** part)
        else:
            found[draw] = Reached(counts[-1], 1) if k else Reached(counts[0], -1)
    return found


def saving(
    table: Table,
    a: str,
    b: str,
    metric: str,
    labels: int = 0,
    target: float | None = None,
    over: str = "draws",
) -> Effect:
    """How much less `a` takes than `b`: log(b's cost / a's cost), above 0 where `a` needs less; `times` is the ratio.

    The cost is `metric`, as `Reached` by the runs at `labels`; or with `target`, the labels until `metric` is there.
    A censored cost counts as its bound, and the end of the interval that it leaves open is infinite: where `b` takes
    "at least" so much, the true ratio is larger, the lower end holds and there is no upper one.
    """
    if bool(labels) != (target is None):
        raise CourseError(
            "Say either at which number of labels the cost counts, or the target for labels to reach it."
        )
    costs = [
        table.reached(m, metric, labels) if labels else labels_to(table, m, target, metric)
        for m in (a, b)
    ]
    pairs = _pairs(*costs, a, b)
    if any(cost.value <= 0 for pair in pairs.values() for cost in pair):
        raise CourseError(
            f"A ratio needs costs above 0, but {metric} is 0 in a draw: measure it in another unit."
        )
    logs = {draw: math.log(right.value / left.value) for draw, (left, right) in pairs.items()}
    beyond = [
        {-left.censored, right.censored} - {0} for left, right in pairs.values()
    ]  # 1: the true ratio is larger
    more, less = (any(end in ends for ends in beyond) for end in (1, -1))
    bound = "unknown" if more and less else "at least" if more else "at most"
    notes = (
        [f"{bound}: {sum(map(bool, beyond))} of {len(pairs)} pairs are censored"]
        if more or less
        else []
    )
    effect = _over(table, logs, [labels] if labels else table.known("labels"), over, notes)
    return replace(
        effect, low=-math.inf if less else effect.low, high=math.inf if more else effect.high
    )
