"""The claims ledger in words: a table for each claim, a sentence for each row."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from vaetl_helpers.claims import CONTRACT, LIVE, RATIOS, Row, comparisons
from vaetl_helpers.output import UNKNOWN, format_table, is_unknown, number_texts

HEADER = ("data", "measure", "effect, 95 % interval", "n", "verdict", "source", "")


def shown(row: Row) -> str:
    """The effect with its unit and interval, where "open" is an end that is not bounded.

    An effect that is open at both ends is "unknown".
    """
    if is_unknown(row):
        return UNKNOWN
    return interval_text(row.effect, row.low, row.high, row.unit)


def record_text(record: Mapping[str, Any]) -> str:
    """`shown` of a record that was kept."""
    if is_unknown(record):
        return UNKNOWN
    return interval_text(record["value"], record["low"], record["high"], record["unit"])


def interval_text(effect: float | None, low: float | None, high: float | None, unit: str) -> str:
    """A number with its unit and interval; an end that is None is "open".

    A ratio with an open end is a bound, since some of its costs are. The tasks that repay a source
    are open where an interval holds no saving at all, and their number is none.
    """
    if effect is None:
        return "no number"
    parts = []
    if low is None and high is not None:
        parts.append("at most")
    if high is None and low is not None and unit != "tasks":
        parts.append("at least")
    value, lowest, highest = number_texts(effect, low, high)
    parts.append(value)
    if unit:
        parts.append(unit)
    if low is not None or high is not None:
        parts.append(f"[{lowest}, {highest}]")
    return " ".join(parts)


def place_text(row: Row) -> str:
    """The row's data and its number of labels, where its question names one."""
    data = row.data.removesuffix(", full")
    labels = re.search(r"[\d,]+ labels\b", row.question)
    return f"{data}, {labels[0]}" if labels else row.data


def sentence(row: Row) -> str:
    """A row in one plain sentence that follows its verdict."""
    in_words = {
        "supported": _supported,
        "contradicted": _contradicted,
        "no gain": _no_gain,
        "undecided": _undecided,
        LIVE: _live,
    }
    finding = in_words[row.verdict](row)
    question = f"{row.data}, {row.measure}"
    evidence = f"n = {row.n}, {row.source}"
    return f"{question}: {finding} ({evidence})."


def _claim(row: Row) -> dict[str, Any]:
    """What claims.yaml says of the row's claim."""
    entry: dict[str, Any] = CONTRACT["claims"][row.claim]
    return entry


def _supported(row: Row) -> str:
    return f"supported: {size(row)}"


def _contradicted(row: Row) -> str:
    return f"contradicted: {size(row)}"


def _no_gain(row: Row) -> str:
    number = CONTRACT["margins"][row.unit]
    margin = f"{number:g} {row.unit}"
    if margin == "1 points":
        margin = "a point"
    return f"no gain worth {margin}: {shown(row)}"


def _undecided(row: Row) -> str:
    return f"not decided: {shown(row)}, {_doubt(row)}"


def _live(row: Row) -> str:
    return f"{LIVE}: {shown(row)}"


def _null(row: Row) -> int:
    """The effect of no difference."""
    return 1 if row.unit in RATIOS else 0


def _is_gain(row: Row) -> bool:
    return row.effect is not None and row.effect > _null(row)


def size(row: Row) -> str:
    """The effect in the claim's words: "better by 2 points", "2 times less", or the contrary."""
    if row.unit == "tasks":
        return shown(row)
    if row.unit == "times":
        more, less = _claim(row).get("times", ("larger", "smaller"))
        word = more if _is_gain(row) else less
        ratio = _as_positive(row)
        return interval_text(ratio.effect, ratio.low, ratio.high, f"times {word}")
    better, worse = _claim(row).get("difference", ("better", "worse"))
    word = better if _is_gain(row) else worse
    return f"{word} by {shown(_as_positive(row))}"


def _as_positive(row: Row) -> Row:
    """A loss as a positive number, for which the ends of the interval change places."""
    if _is_gain(row):
        return row
    effect = _reversed(row.effect, row.unit)
    low = _reversed(row.high, row.unit)
    high = _reversed(row.low, row.unit)
    return replace(row, effect=effect, low=low, high=high)


def _reversed(number: float | None, unit: str) -> float | None:
    if number is None or number == 0:
        return number
    if unit == "times":
        return 1 / number
    return -number


def _doubt(row: Row) -> str:
    """Why a row is undecided."""
    if is_unknown(row):
        return "because it is open at both ends"
    if row.low is None and row.high is None:
        return "without an interval"
    if row.n < 5:
        return "from fewer than 5 repeats"
    null = _null(row)
    is_above = row.low is not None and row.low > null
    is_below = row.high is not None and row.high < null
    if not is_above and not is_below:
        return f"and the interval holds {null}"
    if row.primary:
        return "which is not enough among the comparisons of this claim (Holm)"
    return "which lies outside it"


def _quoted(entry: Mapping[str, Any]) -> str:
    """The sentence of a claim, who says so, and which of the words are the article's own."""
    if entry["article"] == "neither":
        return f'Often said, though in neither article: "{entry["sentence"]}"'
    said = f'The {entry["article"]} article, in our summary: "{entry["sentence"]}"'
    if "original" in entry:
        said += f' (its words: "{entry["original"]}", which is "{entry["translation"]}")'
    return said


def text(rows: Sequence[Row]) -> str:
    """The ledger in plain text: a table for each claim, and what was not measured."""
    lines = []
    for claim, entry in CONTRACT["claims"].items():
        lines += [f"{claim}: {entry['text']}", _quoted(entry), ""]
        cells = [_cells(row) for row in rows if row.claim == claim]
        if cells:
            lines += [format_table(HEADER, cells), ""]
        lines += unmeasured(rows, claim)
    margins = []
    for unit, margin in CONTRACT["margins"].items():
        margins.append(f"{unit} {margin:g}")
    lines.append(
        f"Margins: {', '.join(margins)}. With fewer than 5 repeats a row is undecided. "
        "The primary rows of a claim"
    )
    lines.append(
        "are adjusted for each other (Holm), the others are exploratory. Live rows get no verdict."
    )
    return "\n".join(lines)


def _cells(row: Row) -> list[str]:
    return [
        row.data,
        row.measure,
        shown(row),
        str(row.n),
        row.verdict,
        row.source,
        "primary" if row.primary else "",
    ]


def unmeasured(rows: Sequence[Row], claim: str) -> list[str]:
    """Lines on the comparisons of a claim that no row answers, grouped by data sets."""
    answered = {(row.id, row.data) for row in rows if row.claim == claim}
    data_of_measure: dict[str, list[str]] = {}
    for comparison in comparisons():
        key = comparison.id, comparison.data_name
        if comparison.claim == claim and key not in answered:
            data_of_measure.setdefault(comparison.measure, []).append(comparison.data_name)
    measures_of_data: dict[str, list[str]] = {}
    for measure, data_sets in data_of_measure.items():
        names = "; ".join(data_sets)
        measures_of_data.setdefault(names, []).append(measure)
    lines = []
    for names, measures in measures_of_data.items():
        lines.append(f"not measured: {names}")
        lines += [f"  {measure}" for measure in measures]
        lines.append("")
    return lines
