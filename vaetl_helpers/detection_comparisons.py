"""What chapter 4c's study compares: the AP@50 of detectors, as records and as rows of tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from vaetl_helpers.output import record, record_id, show_table
from vaetl_helpers.recorded import Record, find_recorded
from vaetl_helpers.study.effects import Effect, in_this_run, mean_interval, paired, verdict
from vaetl_helpers.study.table import Table

METRIC = "test AP@50"
SIZES = (5, 40, 320)  # numbers of scenes in the recorded run
STEPS = 150  # of a training in the recorded run
BUDGETS = (0.5, 1, 2, 4)  # times these steps
FROZEN, ALL, SCRATCH = "backbone frozen", "all layers fine-tuned", "from scratch"
LONGER = "from scratch, 4 × the steps"
FROZEN_LONGER = "backbone frozen, 4 × the steps"
VERDICTS = {  # of a recorded difference, whose first method has the frozen backbone
    "supported": "the frozen one is better",
    "contradicted": "the frozen one is worse",
    "no gain": "no difference worth a point",
    "undecided": "undecided",
}

Pair = tuple[str, str, int]  # two methods, and the number of scenes that they train on


def precision_id(compared: str | tuple[str, str], count: int) -> str:
    """The id of a method's AP@50 after `count` scenes, or of the difference of two methods."""
    return record_id("04c", "ap50", compared, f"{count} scenes")


def steps_id(name: str, times: float, count: int) -> str:
    """The id of a method's AP@50 after so many times the steps."""
    return record_id("04c", "ap50 by steps", name, f"{times:g} times", f"{count} scenes")


def tuning_id(name: str, rate: float) -> str:
    """The id of a method's validation AP@50 at a learning rate."""
    return record_id("04c", "tuning", name, f"{rate:g}")


def recorded_number(id: str) -> Record | None:
    """A number of the recorded run with its interval, or None where it was not recorded."""
    records = find_recorded("04c", [id])
    return records[0] if records else None


def mean_record(table: Table, method: str, count: int, id: str) -> Record:
    """The mean AP@50 of a method over the draws, as a record."""
    values = list(table.values(method, METRIC, count).values())
    mean, low, high = mean_interval(values)
    return record(
        f"{method}, {count} scenes",
        mean,
        "% AP@50",
        id=id,
        low=low,
        high=high,
        n=len(values),
        data="composed scenes",
    )


def mean_records(table: Table, methods: Sequence[str], counts: Sequence[int]) -> list[Record]:
    """The mean AP@50 of each method and number of scenes, as records."""
    records = []
    for method in methods:
        for count in counts:
            records.append(mean_record(table, method, count, precision_id(method, count)))
    return records


def show_differences(table: Table, pairs: Sequence[Pair], records: Sequence[Record] = ()) -> None:
    """Shows by how many points the first method of each pair is ahead, here and as recorded.

    The differences are attached to the table, and `records` as well.
    """
    rows, differences = [], []
    for a, b, count in pairs:
        effect = paired(table, a, b, METRIC, count)
        name = f"{a} − {b}, {count} scenes"
        differences.append(
            effect.to_record(name, "points of AP@50", id=precision_id((a, b), count))
        )
        live = _difference_text(effect), in_this_run(effect)
        rows.append((str(count), _pair_name(a, b), *live, *_recorded_cells(a, b, count)))
    header = ("scenes", "difference in AP@50 (points)", "run here", "its interval lies")
    show_table(rows, (*header, "recorded", "verdict recorded"), [*differences, *records])


def show_recorded_differences(pairs: Sequence[Pair], by_steps: Table) -> None:
    """Shows the recorded differences of the pairs, each with its verdict.

    Those of FROZEN_LONGER come from the recorded table `by_steps`.
    """
    rows = []
    for a, b, count in pairs:
        cells = _recorded_cells(a, b, count)
        if a == FROZEN_LONGER:
            cells = _cells(paired(by_steps, a, b, METRIC, count))
        rows.append((str(count), _pair_name(a, b), *cells))
    show_table(rows, ("scenes", "difference in AP@50 (points)", "recorded", "verdict"))


def show_by_steps(
    table: Table, curves: Mapping[str, tuple[str, float]], counts: Sequence[int]
) -> None:
    """Shows the mean AP@50 of each curve's label, for a method and times its steps, as records."""
    records = []
    for label, (name, times) in curves.items():
        for count in counts:
            records.append(mean_record(table, label, count, steps_id(name, times, count)))
    rows = [(kept["name"], f"{kept['value']:.1f}") for kept in records]
    show_table(rows, ("method, run here", "AP@50 (per cent)"), records)


def recorded_curve(name: str, count: int) -> dict[int, Record]:
    """The recorded AP@50 of a method after `count` scenes, by the number of steps."""
    curve = {}
    for times in BUDGETS:
        point = recorded_number(steps_id(name, times, count))
        if point is not None:
            curve[round(times * STEPS)] = point
    return curve


def _pair_name(a: str, b: str) -> str:
    return f"{a} − {b}".replace(", 4 ×", " with 4 ×")


def _difference_text(effect: Effect) -> str:
    """A difference in points with its interval and the number of draws."""
    ends = f"[{effect.low:+.1f}, {effect.high:+.1f}]"
    return f"{effect.effect:+.1f} {ends}, n = {effect.n}".replace("-", "−")


def _recorded_cells(a: str, b: str, count: int) -> tuple[str, str]:
    kept = recorded_number(precision_id((a, b), count))
    return _cells(Effect.from_record(kept) if kept else None)


def _cells(effect: Effect | None) -> tuple[str, str]:
    """A recorded difference and its verdict, or dashes where there is none."""
    if effect is None:
        return "–", "–"
    return _difference_text(effect), VERDICTS[verdict(effect)]
