"""Labels and bill: what methods reach with a budget of labels, and what each of them costs.

All numbers are of recorded studies. Where both methods are networks, the cost of a task is that of
`study.costs_to`, the FLOPs until both have the lower of their bests. Anything else is compared by
the seconds of a whole run.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes

from vaetl_helpers import plots, study
from vaetl_helpers.alt_texts import full_text
from vaetl_helpers.errors import CourseError, unknown_name_error
from vaetl_helpers.living import figure
from vaetl_helpers.output import say
from vaetl_helpers.recorded import origin, packaged_weights, recorded
from vaetl_helpers.study.effects import effect_over
from vaetl_helpers.vae_transfer import PER_CLASS, SOURCES, TITLES, name_with_source

ACCURACY = "test accuracy"
COSTS = ("FLOPs", "seconds")
NOBODY = "nobody: it starts from no source"
VAES = ("VAE fine-tuned", "probe on μ", "SVM on μ", "self-training on μ")
COMPARED = {  # the methods of each chapter, those that need a source first
    "04": (
        "fine-tuned",
        "LP-FT",
        "last block",
        "linear probe",
        "zero labels",
        "ImageNet probe",
        "raw pixels",
        "scratch",
    ),
    "05": (
        *VAES,
        "supervised",
        "PCA",
        "random encoder",
        "SVM on pixels",
        "raw pixels",
        "scratch",
    ),
}
OF_CLASSES = ("fine-tuned", "LP-FT", "last block", "linear probe", "zero labels", "supervised")


class Place(NamedTuple):
    """One pair of source and target, and the recorded study that it stands in."""

    chapter: str
    study: str
    source: str
    title: str
    is_own: bool = True  # whether methods' names have no source in them


def places(chapter: str) -> list[Place]:
    """The pairs of source and target of chapter "04" or "05", recorded or not."""
    if chapter not in COMPARED:
        raise unknown_name_error("chapter with labels and a bill", chapter, COMPARED)
    found = []
    for name, (own, *others) in SOURCES.items():
        if chapter == "04" and name not in ("tops", "animals"):
            continue
        title = TITLES[name]
        found.append(Place(chapter, name, own, title if "→" in title else f"{own} → {title}"))
        if chapter == "05":
            found += [
                Place(chapter, name, other, f"{other} → {title}", is_own=False) for other in others
            ]
    return found


def is_recorded(place: Place) -> bool:
    """Whether the study's table is here with its values by image, and with its facts."""
    try:
        recorded(place.chapter, place.study)
    except CourseError:
        return False
    return bool(_table(place.chapter, place.study).images)


@cache
def _table(chapter: str, name: str) -> study.Table:
    return study.recorded_study(chapter, name)


@cache
def _of_count(chapter: str, name: str, labels: int) -> study.Table:
    """The table's rows at one number of labels, which are searched for each pair of methods.

    Names are numbered, because to compare texts would take most of the figure's time.
    """
    table = _table(chapter, name)
    rows = table.frame[table.frame["labels"] == labels]
    by_image = {key: of for key, of in table.images.items() if key[1] == labels}
    return study.Table(rows.astype({"method": "category", "metric": "category"}), by_image)


@cache
def _accuracies(chapter: str, name: str, labels: int) -> study.Table:
    """`_of_count` with accuracies alone, a tenth of its rows."""
    table = _of_count(chapter, name, labels)
    is_needed = table.frame["metric"].isin([ACCURACY, study.SHARED])
    by_image = {key: of for key, of in table.images.items() if key[-1] == ACCURACY}
    return study.Table(table.frame[is_needed], by_image)


# ---------------------------------------------------------------- the figure


def labels_and_bill(
    alt: str, chapter: str, method: str, against: str = "scratch", labels: int = 100
) -> None:
    """What methods reach with a budget of labels, two of them compared, and their bill.

    Pairs of source and target that are not recorded are named below it; where none is, a line says
    so and there is no figure. `labels` are those of the whole task. Raises CourseError for an
    unknown chapter or method.
    """
    data = bill_data(chapter, method, against, labels)
    if not data["studies"]:
        say(f"No study of chapter {chapter} is recorded with its values by image yet.")
        return
    first = data["studies"][0]
    count = nearest(first["counts"], labels)
    text = f"{full_text(alt)} {in_words(first, method, against, count)}"
    figure.show("labels", data, _static(first, method, against, count), text)


def bill_data(chapter: str, method: str, against: str, labels: int) -> dict[str, Any]:
    """What the script reads: every recorded study's numbers, and what is chosen at first."""
    for name in (method, against):
        if name not in COMPARED[chapter if chapter in COMPARED else "05"]:
            raise unknown_name_error("method", name, COMPARED["05"])
    every = places(chapter)
    here = [place for place in every if is_recorded(place)]
    return {
        "studies": [study_data(place) for place in here],
        "missing": [place.title for place in every if place not in here],
        "start": {"method": method, "against": against, "labels": labels},
    }


def nearest(counts: Sequence[int], labels: int) -> int:
    """The recorded number of labels that is nearest in ratio."""
    return min(counts, key=lambda count: abs(math.log(count / labels)))


@cache
def study_data(place: Place) -> dict[str, Any]:
    """One pair's methods, with accuracies in per cent, and all comparisons of two of them."""
    table = _table(place.chapter, place.study)
    known = table.known("method")
    names = {}  # as the figure says them → as the table has them
    for method in COMPARED[place.chapter]:
        full = _name_in_table(place, method)
        if full in known:
            names[method] = full
    counts = sorted(table.known("labels"))
    facts = recorded(place.chapter, place.study)
    return {
        "title": place.title,
        "source": origin(facts),
        "counts": counts,
        "validation": PER_CLASS if place.chapter == "05" else 0,  # labels a class
        "methods": [_method_data(place, name, names, counts) for name in names],
        "pairs": {
            f"{a}|{b}": [_comparison(place, names, a, b, count) for count in counts]
            for a, b in combinations(names, 2)
        },
    }


def _name_in_table(place: Place, method: str) -> str:
    return method if place.is_own else name_with_source(method, place.source)


def _method_data(
    place: Place, method: str, names: dict[str, str], counts: Sequence[int]
) -> dict[str, Any]:
    intervals = []
    for count in counts:
        table = _accuracies(place.chapter, place.study, count)
        values = table.values(names[method], ACCURACY, count)
        interval = study.mean_interval(list(values.values()))
        intervals.append([round(number, 2) for number in interval])
    return {
        "name": method,
        "accuracy": intervals,  # by number of labels: mean, low, high
        "price": _price(place, method),
        "paid": _who_paid(place, method),
        "needs_labels": method != "zero labels",
    }


# ---------------------------------------------------------------- who pays what


def _who_paid(place: Place, method: str) -> str:
    """Who has paid for what the method starts from."""
    if method in VAES:
        return f"whoever trained the VAE on {place.source}; no label was used"
    if method in OF_CLASSES:
        return f"whoever labelled {place.source} and trained on it"
    if method == "ImageNet probe":
        return "whoever labelled ImageNet and trained on it; that work is not counted here"
    if method == "PCA":
        return f"whoever kept the images of {place.source}; fitting the PCA was not timed"
    return NOBODY


@cache
def _price(place: Place, method: str) -> dict[str, float] | None:
    """What the method's source cost, once, in FLOPs and seconds; None where it was not recorded."""
    paid = _who_paid(place, method)
    if paid == NOBODY:
        return dict.fromkeys(COSTS, 0.0)
    if method == "ImageNet probe":
        return None
    if place.chapter == "04":
        _, facts = packaged_weights(f"source-{place.study}")
        return {"FLOPs": float(facts["flops"]), "seconds": float(facts["seconds"])}
    trained = "VAE fine-tuned" if method in VAES else method
    table = _table(place.chapter, place.study)
    metrics = {cost: f"pretraining {cost}" for cost in COSTS}
    rows = table.frame[table.frame["method"] == _name_in_table(place, trained)]
    if not set(metrics.values()) <= set(rows["metric"]):
        return None
    return {
        cost: float(rows.loc[rows["metric"] == metric, "value"].mean())
        for cost, metric in metrics.items()
    }


def _comparison(place: Place, names: dict[str, str], a: str, b: str, labels: int) -> dict[str, Any]:
    """By how much `a` lies above `b`, what a task costs with each, and when a source is repaid."""
    table = _accuracies(place.chapter, place.study, labels)
    effect = study.paired(table, names[a], names[b], ACCURACY, labels)
    unit, costs = _costs(place, names[a], names[b], labels)
    means = [float(np.mean(list(of_method.values()))) for of_method in costs]
    prices = [_price(place, name) for name in (a, b)]
    return {
        "effect": [round(number, 3) for number in (effect.effect, effect.low, effect.high)],
        "verdict": study.verdict(effect),
        "unit": unit,
        "costs": [float(f"{mean:.4g}") for mean in means],
        "repaid": _repaid(place, unit, costs, prices, labels),
    }


def _costs(place: Place, a: str, b: str, labels: int) -> tuple[str, list[dict[int, float]]]:
    """What a task costs with each method, by draw, and in which unit."""
    table = _of_count(place.chapter, place.study, labels)
    try:
        targets = study.shared_targets(table, a, b, labels)
        spent = [_flops(table, method, labels, targets) for method in (a, b)]
    except CourseError:  # at least one has no curve
        accuracies = _accuracies(place.chapter, place.study, labels)
        draws, seconds = (accuracies.frame[column].to_numpy() for column in ("draw", "seconds"))
        by_method = [accuracies.rows_of()[method, ACCURACY, labels] for method in (a, b)]
        return "seconds", [
            dict(zip(draws[rows].tolist(), seconds[rows].tolist(), strict=True))
            for rows in by_method
        ]
    return "FLOPs", spent


def _flops(
    table: study.Table, method: str, labels: int, targets: dict[int, float]
) -> dict[int, float]:
    """The FLOPs of each draw up to the accuracy that the two compared methods share."""
    if method == "zero labels":  # it is at its accuracy before any step
        return dict.fromkeys(targets, 0.0)
    costs = study.costs_to(table, method, "FLOPs", labels, targets)
    return {draw: cost.value for draw, cost in costs.items()}


def _repaid(
    place: Place,
    unit: str,
    costs: Sequence[dict[int, float]],
    prices: Sequence[dict[str, float] | None],
    labels: int,
) -> list[float | None] | None:
    """After how many tasks the dearer source is repaid: the number and its interval's ends.

    An end is None where the saving may be nothing. None where there is nothing to repay, where a
    price is not known, or where the mean saving is not above 0.
    """
    if prices[0] is None or prices[1] is None or prices[0][unit] == prices[1][unit]:
        return None
    extra = abs(prices[0][unit] - prices[1][unit])
    dear, cheap = costs if prices[0][unit] > prices[1][unit] else reversed(costs)
    savings = {draw: cheap[draw] - cost for draw, cost in dear.items()}
    saving = effect_over(_accuracies(place.chapter, place.study, labels), savings, [labels])
    if saving.effect <= 0:
        return None
    ends = [extra / end if end > 0 else None for end in (saving.high, saving.low)]
    return [_rounded(number) for number in (extra / saving.effect, *ends)]


def _rounded(tasks: float | None) -> float | None:
    return None if tasks is None else float(f"{tasks:.3g}")


# ---------------------------------------------------------------- words


def compared(data: dict[str, Any], method: str, against: str, labels: int) -> dict[str, Any]:
    """A comparison of a study's data in this direction; raises KeyError where there is none."""
    place = data["counts"].index(labels)
    if f"{method}|{against}" in data["pairs"]:
        return dict(data["pairs"][f"{method}|{against}"][place])
    found = data["pairs"][f"{against}|{method}"][place]
    middle, low, high = found["effect"]
    turned = {"supported": "contradicted", "contradicted": "supported"}
    return found | {
        "effect": [-middle, -high, -low],
        "verdict": turned.get(found["verdict"], found["verdict"]),
        "costs": found["costs"][::-1],
    }


def in_words(data: dict[str, Any], method: str, against: str, labels: int) -> str:
    """What a comparison says: accuracy, verdict, and when the source is repaid."""
    found = compared(data, method, against, labels)
    middle, low, high = map(_signed, found["effect"])
    return (
        f"{data['title']}, {labels:,} labels: {method} − {against} = {middle} points "
        f"[{low}, {high}], {found['verdict']}. {repaid_in_words(data, method, against, found)}"
    )


def _signed(number: float) -> str:
    text = f"{number:+.1f}".replace("-", "−")
    return "0.0" if text in ("+0.0", "−0.0") else text


def repaid_in_words(data: dict[str, Any], method: str, against: str, found: dict[str, Any]) -> str:
    """When the dearer source of the two is repaid, as a sentence."""
    prices = {of["name"]: of["price"] for of in data["methods"]}
    if prices[method] is None or prices[against] is None:
        return "What one of the sources cost was not recorded."
    mine, other = (prices[name][found["unit"]] for name in (method, against))
    if mine == other:
        return "Neither has a dearer source than the other, so there is nothing to repay."
    dear = method if mine > other else against
    if found["repaid"] is None:
        return f"The source of {dear} saves nothing per task, so no number of tasks repays it."
    tasks, low, high = found["repaid"]
    end = "open" if high is None else f"{high:,.0f}"
    return f"The source of {dear} is repaid after {tasks:,.0f} tasks [{low:,.0f}, {end}]."


# ---------------------------------------------------------------- where nothing moves


def _static(data: dict[str, Any], method: str, against: str, labels: int) -> Any:
    found = compared(data, method, against, labels)
    middle, low, high = map(_signed, found["effect"])
    titles = [
        f"{data['title']}, {labels:,} labels",
        f"{method} − {against}:\n{middle} points [{low}, {high}], {found['verdict']}",
    ]
    left, right = plots.panels(titles, "", height=4.2)
    _draw_methods(left, data, data["counts"].index(labels), (method, against))
    _draw_totals(right, data, (method, against), found)
    left.figure.suptitle(data["source"], fontsize=9, color=plots.GREY)
    return left.figure


def _draw_methods(axis: Axes, data: dict[str, Any], place: int, chosen: Sequence[str]) -> None:
    """A mark with its interval for each method, the best at the top."""
    methods = sorted(data["methods"], key=lambda of: of["accuracy"][place][0])
    for row, of in enumerate(methods):
        middle, low, high = of["accuracy"][place]
        colour = plots.GREY
        if of["name"] in chosen:
            colour = plots.COLOURS[chosen.index(of["name"])]
        axis.plot([low, high], [row, row], "-", color=colour, linewidth=2)
        axis.plot(middle, row, "o", color=colour, markersize=7)
    axis.set_yticks(range(len(methods)), [of["name"] for of in methods])
    axis.set_xlabel("test accuracy (%)")
    axis.grid(axis="y", visible=False)


def _draw_totals(
    axis: Axes, data: dict[str, Any], chosen: Sequence[str], found: dict[str, Any]
) -> None:
    """What many tasks cost in all, a line for each of the two, and where they cross."""
    prices = {of["name"]: of["price"] for of in data["methods"]}
    unit = found["unit"]
    most = 1e5 if found["repaid"] is None else 10 * found["repaid"][0]
    tasks = np.geomspace(1, most, 200)
    for number, name in enumerate(chosen):
        if prices[name] is None:
            continue
        total = prices[name][unit] + tasks * found["costs"][number]
        axis.plot(tasks, total, "-", color=plots.COLOURS[number], linewidth=2.5)
        other = prices[chosen[1 - number]]
        is_lower = other is not None and other[unit] > prices[name][unit]
        axis.annotate(
            name,
            (tasks[0], total[0]),
            xytext=(24, -2) if is_lower else (4, 6),
            textcoords="offset points",
            color=plots.COLOURS[number],
        )
    if found["repaid"] is not None:
        middle, low, high = found["repaid"]
        axis.axvspan(low, most if high is None else high, color=plots.GREY, alpha=0.15, linewidth=0)
        axis.axvline(middle, color=plots.GREY, linestyle=":")
        axis.annotate(
            f" {middle:,.0f} tasks",
            (middle, 0.04),
            xycoords=axis.get_xaxis_transform(),
            color=plots.GREY,
        )
    axis.set(xscale="log", yscale="log", xlabel="tasks", ylabel=f"{unit} in all, source included")
