"""What it costs a method to reach an accuracy, with runs that never do."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from vaetl_helpers.errors import CourseError
from vaetl_helpers.study.effects import Effect, check_same_draws, effect_over
from vaetl_helpers.study.table import CENSORED, RUN, Censoring, Cost, RunKey, Table


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
    facts = _facts_of_runs(table, labels)
    rows = []
    for (method, count, draw, metric), values in table.images.items():
        if (count, metric) != (labels, curve):
            continue
        target = table.images[target_of, labels, draw, curve].max()
        reached = np.flatnonzero(values >= target)
        epoch = reached[0] if len(reached) else -1
        censoring = Censoring.NONE if len(reached) else Censoring.AT_LEAST
        for cost in costs:
            spent = table.images.get((method, count, draw, f"{cost} by epoch"))
            if spent is None:
                continue
            name = f"{cost} to {target_of}'s accuracy"
            run = facts[method, count, draw]
            rows.append(run | {"metric": name, "value": float(spent[epoch])})
            rows.append(run | {"metric": name + CENSORED, "value": float(censoring)})
    table.add(rows)
    table.frame = table.frame.drop_duplicates([*RUN, "metric"], keep="last", ignore_index=True)


def _facts_of_runs(table: Table, labels: int) -> dict[RunKey, dict[str, Any]]:
    """A row of each run at `labels`, for what its metrics have in common."""
    rows = table.frame[table.frame["labels"] == labels].drop_duplicates(RUN)
    return {(row["method"], row["labels"], row["draw"]): row for row in rows.to_dict("records")}


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
        costs[draw] = _first_count_at(target, counts, curve)
    return costs


def _first_count_at(target: float, counts: Sequence[int], curve: Sequence[float]) -> Cost:
    reached = [number for number, value in enumerate(curve) if value >= target]
    if not reached:
        return Cost(counts[-1], Censoring.AT_LEAST)
    number = reached[0]
    if number == 0:
        return Cost(counts[0], Censoring.AT_MOST)
    before, after = curve[number - 1], curve[number]
    fraction = (target - before) / (after - before)
    ratio = counts[number] / counts[number - 1]
    return Cost(counts[number - 1] * ratio**fraction)


def cost_ratio(table: Table, a: str, b: str, metric: str, labels: int) -> Effect:
    """How much less of the cost `metric` method `a` takes than `b` at `labels` labels.

    The effect is log(b's cost / a's cost), above 0 where `a` needs less; `times` is the ratio. A
    censored cost counts as its bound, and the end of the interval that it leaves open is infinite:
    where `b` takes "at least" so much, the true ratio is larger, the lower end holds and there is
    no upper one.
    """
    costs_a, costs_b = (table.costs(method, metric, labels) for method in (a, b))
    check_same_draws(costs_a, costs_b, a, b)
    return _ratio(table, costs_a, costs_b, [labels], metric)


def labels_ratio(
    table: Table, a: str, b: str, target: float, metric: str = "test accuracy"
) -> Effect:
    """How many labels less method `a` takes than `b` until `metric` is at `target`.

    The effect is as in `cost_ratio`, with the labels as the cost.
    """
    costs_a, costs_b = (labels_to(table, method, target, metric) for method in (a, b))
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
    if any(cost.value <= 0 for cost in (*costs_a.values(), *costs_b.values())):
        raise CourseError(
            f"A ratio needs costs above 0, but {metric} is 0 in a draw: measure it in another unit."
        )
    logs = {draw: math.log(costs_b[draw].value / costs_a[draw].value) for draw in costs_a}
    may_be_larger = may_be_smaller = censored = 0
    for draw in costs_a:
        left, right = costs_a[draw].censoring, costs_b[draw].censoring
        may_be_larger += left is Censoring.AT_MOST or right is Censoring.AT_LEAST
        may_be_smaller += left is Censoring.AT_LEAST or right is Censoring.AT_MOST
        censored += left is not Censoring.NONE or right is not Censoring.NONE
    effect = effect_over(table, logs, counts)
    low = -math.inf if may_be_smaller else effect.low
    high = math.inf if may_be_larger else effect.high
    return replace(effect, low=low, high=high, censored=censored)
