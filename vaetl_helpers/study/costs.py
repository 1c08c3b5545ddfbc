"""What it costs a method to reach an accuracy, with runs that never do."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from vaetl_helpers.errors import CourseError
from vaetl_helpers.output import VALIDATION_IMAGES
from vaetl_helpers.study.effects import Effect, check_same_draws, effect_over, images_of
from vaetl_helpers.study.table import Censoring, Cost, Table

CURVE = "validation curve"
# Points that rounding may leave between equal accuracies; an image in 10,000 is ten times as much.
ROUNDING = 1e-3


def shared_targets(
    table: Table, a: str, b: str, labels: int, curve: str = CURVE
) -> dict[int, float]:
    """For each draw an accuracy that both methods reach: the lower of their bests.

    A target that is one method's own best would favour it, because it stands on that method's
    luckiest epoch, which the other has to meet.
    """
    bests_of_a = _bests(table, a, labels, curve)
    bests_of_b = _bests(table, b, labels, curve)
    check_same_draws(bests_of_a, bests_of_b, a, b)
    return {draw: min(best, bests_of_b[draw]) for draw, best in bests_of_a.items()}


def costs_to(
    table: Table,
    method: str,
    cost: str,
    labels: int,
    targets: float | Mapping[int, float],
    curve: str = CURVE,
) -> dict[int, Cost]:
    """For each draw what a method had spent after the first epoch at the target accuracy.

    Runs gave `curve` and "COST by epoch" (spent so far) as one value an epoch. `targets` is one
    accuracy, named beforehand, or one for each draw. A run that never gets there takes at least
    what it spent in all.
    """
    spent = table.by_step(method, labels, f"{cost} by epoch")
    costs = {}
    for draw, accuracies in table.by_step(method, labels, curve).items():
        target = targets[draw] if isinstance(targets, Mapping) else targets
        epochs = np.flatnonzero(accuracies >= target - ROUNDING)
        if len(epochs):
            costs[draw] = Cost(float(spent[draw][epochs[0]]))
        else:
            costs[draw] = Cost(float(spent[draw][-1]), Censoring.AT_LEAST)
    return costs


def adaptation_ratio(
    table: Table, a: str, b: str, cost: str, labels: int, target: float | None = None
) -> Effect:
    """How much less of `cost` method `a` takes than `b` to reach an accuracy on validation.

    `target` is an accuracy in per cent that was named beforehand; by default it is that of
    `shared_targets`, which every run reaches. The effect is as in `cost_ratio`.
    """
    targets = shared_targets(table, a, b, labels) if target is None else target
    costs_a = costs_to(table, a, cost, labels, targets)
    costs_b = costs_to(table, b, cost, labels, targets)
    check_same_draws(costs_a, costs_b, a, b)
    return _ratio(table, costs_a, costs_b, [labels], cost, [VALIDATION_IMAGES])


def tasks_that_repay(
    table: Table, a: str, b: str, cost: str, labels: int, price: float, target: float | None = None
) -> Effect | None:
    """After how many target tasks method `a` has repaid the `price` of what it starts from.

    The number is `price` over the mean of what a task saves, b's cost − a's. As in every effect in
    "tasks", it is the logarithm of the number with the sign turned, so that fewer tasks lie above.
    An end is open where the saving may be 0 or less. None where the mean saving is not above 0, so
    that no number of tasks would repay it.
    """
    targets = shared_targets(table, a, b, labels) if target is None else target
    costs_a = costs_to(table, a, cost, labels, targets)
    costs_b = costs_to(table, b, cost, labels, targets)
    check_same_draws(costs_a, costs_b, a, b)
    savings = {draw: costs_b[draw].value - a_cost.value for draw, a_cost in costs_a.items()}
    saving = effect_over(table, savings, [labels], conditional=[VALIDATION_IMAGES])
    if saving.effect <= 0:
        return None
    censored = sum(bool(costs_a[draw].censoring or costs_b[draw].censoring) for draw in costs_a)
    return replace(
        saving,
        effect=math.log(saving.effect / price),
        low=math.log(saving.low / price) if saving.low > 0 else -math.inf,
        high=math.log(saving.high / price),
        se=saving.se / saving.effect,  # of a logarithm, to first order
        censored=censored,
    )


def _bests(table: Table, method: str, labels: int, curve: str) -> dict[int, float]:
    by_draw = table.by_step(method, labels, curve)
    return {draw: float(values.max()) for draw, values in by_draw.items()}


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
    counts = table.known("labels")
    return _ratio(table, costs_a, costs_b, counts, metric, images_of(metric))


def _ratio(  # noqa: PLR0913  # two lists of costs, and what they were counted on
    table: Table,
    costs_a: Mapping[int, Cost],
    costs_b: Mapping[int, Cost],
    counts: Sequence[int],
    metric: str,
    conditional: Sequence[str] = (),
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
    effect = effect_over(table, logs, counts, conditional=conditional)
    low = -math.inf if may_be_smaller else effect.low
    high = math.inf if may_be_larger else effect.high
    return replace(effect, low=low, high=high, censored=censored)
