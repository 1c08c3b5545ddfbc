"""The claims ledger in words: a table for each claim, a sentence for each row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from vaetl_helpers.claims import CONTRACT, RATIOS, Row, comparisons
from vaetl_helpers.output import format_table

HEADER = ("data", "measure", "effect, 95 % interval", "n", "verdict", "source", "")


def shown(row: Row) -> str:
    """The effect with its unit and interval, where "open" is an end that is not bounded."""
    return interval_text(row.effect, row.low, row.high, row.unit)


def interval_text(effect: float | None, low: float | None, high: float | None, unit: str) -> str:
    """A number with its unit and interval; an end that is None is "open"."""
    if effect is None:
        return "no number"
    parts = []
    if low is None and high is not None:
        parts.append("at most")
    if high is None and low is not None:
        parts.append("at least")
    parts.append(_rounded(effect))
    if unit:
        parts.append(unit)
    if low is not None or high is not None:
        parts.append(f"[{_rounded(low)}, {_rounded(high)}]")
    return " ".join(parts)


def _rounded(number: float | None) -> str:
    """Three digits, with commas between thousands."""
    return "open" if number is None else f"{float(f'{number:.3g}'):,g}"


def sentence(row: Row) -> str:
    """A row in one plain sentence that follows its verdict."""
    told = {
        "supported": _supported,
        "contradicted": _contradicted,
        "no gain": _no_gain,
        "undecided": _undecided,
    }[row.verdict](row)
    return f"{row.data}, {row.measure}: {told} (n = {row.n}, {row.source})."


def _supported(row: Row) -> str:
    return f"supported: {_size(row)}"


def _contradicted(row: Row) -> str:
    told = f"contradicted: {_size(row)}"
    if row.unit != "tasks" and _is_gain(row):  # what the row's guard has turned
        told += f", but with {CONTRACT['claims'][row.claim].get('price')}"
    return told


def _no_gain(row: Row) -> str:
    margin = f"{CONTRACT['margins'][row.unit]:g} {row.unit}"
    if margin == "1 points":
        margin = "a point"
    return f"no gain worth {margin}: {shown(row)}"


def _undecided(row: Row) -> str:
    return f"not decided: {shown(row)}, {_doubt(row)}"


def _null(row: Row) -> int:
    """The effect of no difference."""
    return 1 if row.unit in RATIOS else 0


def _is_gain(row: Row) -> bool:
    return row.effect is not None and row.effect > _null(row)


def _size(row: Row) -> str:
    """The effect as a gain or a loss: "better by 2 points", "2 times less", and their contraries."""
    if row.unit == "tasks":
        return shown(row)
    if row.unit == "times":
        more, less = CONTRACT["claims"][row.claim].get("times", ("larger", "smaller"))
        word = more if _is_gain(row) else less
        return shown(_as_positive(row)).replace("times", f"times {word}")
    word = "better" if _is_gain(row) else "worse"
    return f"{word} by {shown(_as_positive(row))}"


def _as_positive(row: Row) -> Row:
    """A loss as a positive number, for which the ends of the interval change places."""
    if _is_gain(row):
        return row
    effect, low, high = (_reversed(x, row.unit) for x in (row.effect, row.high, row.low))
    return replace(row, effect=effect, low=low, high=high)


def _reversed(number: float | None, unit: str) -> float | None:
    if number is None or number == 0:
        return number
    return 1 / number if unit == "times" else -number


def _doubt(row: Row) -> str:
    """Why a row is undecided."""
    null, low, high = _null(row), row.low, row.high
    if low is None and high is None:
        return "without an interval"
    if row.n < 5:
        return "from fewer than 5 repeats"
    if (low is None or low <= null) and (high is None or high >= null):
        return f"and the interval holds {null}"
    doubts = []
    if row.primary:
        doubts.append("is not enough among so many comparisons (Holm)")
    if "price" in CONTRACT["claims"][row.claim]:
        doubts.append(f"does not exclude {CONTRACT['claims'][row.claim]['price']}")
    if not doubts:
        doubts.append("lies outside it")
    return f"which {' or '.join(doubts)}"


def text(rows: Sequence[Row]) -> str:
    """The ledger in plain text: a table for each claim, and what was not measured."""
    lines = []
    for claim, entry in CONTRACT["claims"].items():
        quoted = f'The {entry["article"]} article, translated: "{entry["sentence"]}"'
        lines += [f"{claim}: {entry['text']}", quoted, ""]
        cells = [_cells(row) for row in rows if row.claim == claim]
        if cells:
            lines += [format_table(HEADER, cells), ""]
        lines += unmeasured(rows, claim)
    margins = ", ".join(f"{unit} {value:g}" for unit, value in CONTRACT["margins"].items())
    lines.append(
        f"Margins: {margins}. With fewer than 5 repeats a row is undecided. "
        "The primary rows are adjusted together"
    )
    primary_rows = sum(row.primary for row in rows)
    lines.append(f"(Holm, {primary_rows} comparisons), the others are exploratory.")
    return "\n".join(lines)


def _cells(row: Row) -> list[str]:
    rank = "primary" if row.primary else ""
    return [row.data, row.measure, shown(row), str(row.n), row.verdict, row.source, rank]


def unmeasured(rows: Sequence[Row], claim: str) -> list[str]:
    """Lines on the comparisons of a claim that no row answers, grouped by data sets."""
    answered = {(row.id, row.data) for row in rows if row.claim == claim}
    data_of_measure: dict[str, list[str]] = {}
    for comparison in comparisons():
        if comparison.claim == claim and (comparison.id, comparison.data_name) not in answered:
            data_of_measure.setdefault(comparison.measure, []).append(comparison.data_name)
    measures_of_data: dict[str, list[str]] = {}
    for measure, data_sets in data_of_measure.items():
        measures_of_data.setdefault("; ".join(data_sets), []).append(measure)
    lines = []
    for data_sets_named, measures in measures_of_data.items():
        lines.append(f"not measured: {data_sets_named}")
        lines += [f"  {measure}" for measure in measures]
        lines.append("")
    return lines
