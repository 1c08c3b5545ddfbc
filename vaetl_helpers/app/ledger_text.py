"""The claims ledger in words: a table for each claim, a sentence for each row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vaetl_helpers.claims import CONTRACT, RATIOS, comparisons


def shown(row: Mapping[str, Any]) -> str:
    """The effect with its unit and interval, where "open" is an end that is not bounded."""
    if row["effect"] is None:
        return "no number"
    numbers = (row[key] for key in ("effect", "low", "high"))
    effect, low, high = ("open" if x is None else f"{float(f'{x:.3g}'):,g}" for x in numbers)
    bound = {(True, False): "at most", (False, True): "at least"}.get(
        (low == "open", high == "open"), ""
    )
    return " ".join(
        filter(
            None, (bound, effect, row["unit"], f"[{low}, {high}]" * (low != high or low != "open"))
        )
    )


def sentence(row: Mapping[str, Any]) -> str:
    """A row in one plain sentence that follows its verdict."""
    said, unit, told = row["verdict"], row["unit"], shown(row)
    if said == "undecided":
        told = f"not decided: {told}, {_doubt(row)}"
    elif said == "no gain":
        worth = f"{CONTRACT['margins'][unit]:g} {unit}".replace("1 points", "a point")
        told = f"no gain worth {worth}: {told}"
    else:
        told = f"{said}: {told if unit == 'tasks' else _size(row)}"
    return f"{row['data']}, {row['measure']}: {told} (n = {row['n']}, {row['source']})."


def _size(row: Mapping[str, Any]) -> str:
    """The effect as a gain or a loss: "better by 2 points", "2 times less", and their contraries."""
    times, entry = row["unit"] == "times", CONTRACT["claims"][row["claim"]]
    above = row["effect"] > times
    if not above:  # a loss as a positive number: the ends of the interval change places
        effect, low, high = (
            x and (1 / x if times else -x) for x in (row["effect"], row["high"], row["low"])
        )
        row = dict(row) | {"effect": effect, "low": low, "high": high}
    word = (
        entry.get("times", ("larger", "smaller"))[not above]
        if times
        else "better"
        if above
        else "worse"
    )
    told = shown(row).replace("times", f"times {word}") if times else f"{word} by {shown(row)}"
    # The two differ where what stands under `unless` has turned the verdict.
    return told + f", but with {entry.get('price')}" * (above != (row["verdict"] == "supported"))


def _doubt(row: Mapping[str, Any]) -> str:
    """Why a row is undecided."""
    null, low, high, entry = (
        int(row["unit"] in RATIOS),
        row["low"],
        row["high"],
        CONTRACT["claims"][row["claim"]],
    )
    if low is high is None:
        return "without an interval"
    if row["n"] < 5:
        return "from fewer than 5 repeats"
    if (low is None or low <= null) and (high is None or high >= null):
        return f"and the interval holds {null}"
    doubts = ["is not enough among so many comparisons (Holm)"] * row["primary"]
    doubts += [f"does not exclude {entry.get('price')}"] * ("price" in entry)
    return f"which {' or '.join(doubts) or 'lies outside it'}"


def text(rows: Sequence[Mapping[str, Any]]) -> str:
    """The ledger in plain text: a table for each claim, and what was not measured."""
    from vaetl_helpers.output import format_table

    parts, header = [], ("data", "measure", "effect, 95 % interval", "n", "verdict", "source", "")
    for claim, entry in CONTRACT["claims"].items():
        own = [
            dict(r) | {"shown": shown(r), "first": "primary" * r["primary"]}
            for r in rows
            if r["claim"] == claim
        ]
        cells = [
            [str(r[key]) for key in ("data", "measure", "shown", "n", "verdict", "source", "first")]
            for r in own
        ]
        parts += [
            f"{claim}: {entry['text']}",
            f'The {entry["article"]} article, translated: "{entry["sentence"]}"',
            "",
        ]
        parts += ([format_table(header, cells), ""] if own else []) + unmeasured(rows, claim)
    worth = ", ".join(f"{unit} {value:g}" for unit, value in CONTRACT["margins"].items())
    parts += [
        f"Margins: {worth}. With fewer than 5 repeats a row is undecided. The primary rows are adjusted together"
    ]
    return "\n".join(
        [
            *parts,
            f"(Holm, {sum(r['primary'] for r in rows)} comparisons), the others are exploratory.",
        ]
    )


def unmeasured(rows: Sequence[Mapping[str, Any]], claim: str) -> list[str]:
    """Lines on the comparisons of a claim that no row answers, grouped by data sets."""
    there = {
        (r["data"], r["measure"].partition(", conditional")[0]) for r in rows if r["claim"] == claim
    }
    lacking = [
        e for e in comparisons() if e["claim"] == claim and (e["name"], e["measure"]) not in there
    ]
    groups: dict[str, list[str]] = {}
    for measure in dict.fromkeys(each["measure"] for each in lacking):
        names = "; ".join(each["name"] for each in lacking if each["measure"] == measure)
        groups.setdefault(f"not measured: {names}", []).append(f"  {measure}")
    return [line for names, measures in groups.items() for line in (names, *measures, "")]
