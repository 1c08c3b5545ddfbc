"""What it costs a method to reach an accuracy, with runs that never do."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from vaetl_helpers.errors import CourseError
from vaetl_helpers.study.effects import Effect, check_same_draws, effect_over
from vaetl_helpers.study.table import CENSORED, RUN, Censoring, Cost, Table


def add_costs(
    table: Table,
    labels: int,
    target_of: str,
    curve: str = "validation curve",
    costs: Sequence[str] = ("steps",),
) -> None:
    """Adds to each run at `labels` what it cost to reach the accuracy that `target_of` ended at.

    Runs gave `curve` and "COST by epoch" (spent so far) as one value an epoch; the target is the
    best of `target_of`'s curve in that draw, where early stopping ends. A run that never gets there
    is censored. The new metrics are "COST to NAME's accuracy".
    """
    frame = table.frame
    runs = frame[frame["labels"] == labels].drop_duplicates(RUN)
    rows = []
    for run in runs.to_dict("records"):
        method, draw = run["method"], run["draw"]
        values = table.images.get((method, labels, draw, curve))
        if values is None:
            continue
        target = table.images[target_of, labels, draw, curve].max()
        reached = np.flatnonzero(values >= target)
        epoch = reached[0] if len(reached) else -1
        censoring = Censoring.NONE if len(reached) else Censoring.AT_LEAST
        for cost in costs:
            spent = table.images.get((method, labels, draw, f"{cost} by epoch"))
            if spent is None:
                continue
            metric = f"{cost} to {target_of}'s accuracy"
            rows.append(run | {"metric": metric, "value": float(spent[epoch])})
            rows.append(run | {"metric": metric + CENSORED, "value": float(censoring)})
    table.add(rows)
    of_metric = [*RUN, "metric"]  # a study that is looked at twice has its costs once
    table.frame = table.frame.drop_duplicates(of_metric, keep="last", ignore_index=True)


def labels_to(
    table: Table, method: str, target: float, metric: str = "test accuracy"
) -> dict[int, Cost]:
    """For each draw the labels at which `metric` first reaches `target`.

    Between two counts it is linear in the logarithm of the labels. A draw that never gets there
    takes at least the largest count, one that is there at the smallest count at most that.
    """
    counts = sorted(table.known("labels"))
    values = [table.values(method, metric, count) for count in counts]
    costs = {}
    for draw in values[0]:
        curve = [by_draw[draw] for by_draw in values]
        costs[draw] = _labels_at(target, counts, curve)
    return costs


def _labels_at(target: float, counts: Sequence[int], curve: Sequence[float]) -> Cost:
    """Where the curve over `counts` first reaches the target."""
    previous = None
    for count, value in zip(counts, curve, strict=True):
        if value < target:
            previous = (count, value)
            continue
        if previous is None:
            return Cost(count, Censoring.AT_MOST)
        fewer, lower = previous
        fraction = (target - lower) / (value - lower)
        ratio = count / fewer
        return Cost(fewer * ratio**fraction)
    return Cost(counts[-1], Censoring.AT_LEAST)


def cost_ratio(table: Table, a: str, b: str, metric: str, labels: int) -> Effect:
    """How much less of the cost `metric` method `a` takes than `b` at `labels` labels.

    The effect is log(b's cost / a's cost), above 0 where `a` needs less; `times` is the ratio. A
    censored cost counts as its bound, and the end of the interval that it leaves open is infinite:
    where `b` takes "at least" so much, the true ratio is larger, the lower end holds and there is
    no upper one.
    """
    costs_a = table.costs(a, metric, labels)
    costs_b = table.costs(b, metric, labels)
    check_same_draws(costs_a, costs_b, a, b)
    return _ratio(table, costs_a, costs_b, [labels], metric)


def labels_ratio(
    table: Table, a: str, b: str, target: float, metric: str = "test accuracy"
) -> Effect:
    """How many labels less method `a` takes than `b` until `metric` is at `target`.

    The effect is as in `cost_ratio`, with the labels as the cost.
    """
    costs_a = labels_to(table, a, target, metric)
    costs_b = labels_to(table, b, target, metric)
    check_same_draws(costs_a, costs_b, a, b)
    return _ratio(table, costs_a, costs_b, table.known("labels"), metric)


def _ratio(
    table: Table,
    costs_a: Mapping[int, Cost],
    costs_b: Mapping[int, Cost],
    counts: Sequence[int],
    metric: str,
) -> Effect:
    """The effect of log(b's cost / a's cost), with open ends where costs are bounds."""
    logs = {}
    may_be_larger = may_be_smaller = False
    censored = 0
    for draw, a in costs_a.items():
        b = costs_b[draw]
        if a.value <= 0 or b.value <= 0:
            raise CourseError(
                f"A ratio needs costs above 0, but {metric} is 0 in a draw: "
                "measure it in another unit."
            )
        logs[draw] = math.log(b.value / a.value)
        if a.censoring or b.censoring:
            censored += 1
        if a.censoring is Censoring.AT_MOST or b.censoring is Censoring.AT_LEAST:
            may_be_larger = True
        if a.censoring is Censoring.AT_LEAST or b.censoring is Censoring.AT_MOST:
            may_be_smaller = True
    effect = effect_over(table, logs, counts)
    low = -math.inf if may_be_smaller else effect.low
    high = math.inf if may_be_larger else effect.high
    return replace(effect, low=low, high=high, censored=censored)
