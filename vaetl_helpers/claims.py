"""The claims ledger: what the two articles behind this course claim, what runs measured of it, and the verdicts.

`claims.yaml` says which record decides what, and what a gain must be worth; every number comes from a record. A row is
`live` (of the reader's run) or `recorded` (in the package), and primary or exploratory.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from scipy import stats

from vaetl_helpers import study
from vaetl_helpers.errors import CourseError

FIELDS = (
    "claim",
    "data",
    "measure",
    "effect",
    "unit",
    "low",
    "high",
    "n",
    "verdict",
    "source",
    "primary",
)
RATIOS = {
    "times": 1,
    "tasks": -1,
}  # units whose null is 1, tested by their logarithm; fewer tasks are better
Row = dict[str, Any]
# What decides: `margins` by unit, groups of `data`, `names` of data, and `claims` by id.
CONTRACT: dict[str, Any] = yaml.safe_load(
    Path(__file__).with_name("claims.yaml").read_text("utf-8")
)
DELTAS = {
    unit: math.log(value) if unit in RATIOS else value
    for unit, value in CONTRACT["margins"].items()
}


def comparisons() -> list[Row]:
    """What claims.yaml asks for, claim by claim and data set by data set: which record, and whether it is primary."""
    found = []
    for claim, entry in CONTRACT["claims"].items():
        own = [{"claim": claim} | each for spec in entry["rows"] for each in _expand(spec)]
        order = list(dict.fromkeys(each["name"] for each in own))
        found += sorted(own, key=lambda each: order.index(each["name"]))
    return found


def _expand(spec: Mapping[str, Any]) -> Iterator[Row]:
    """One comparison for each number of labels and each data set of a row."""
    first = _sets(spec["data"] if spec["primary"] is True else spec["primary"] or ())
    for n in spec.get("labels", [""]):
        filled = json.loads(json.dumps(spec).replace("{n}", str(n)))
        for data in _sets(spec["data"]):
            yield filled | {
                "data": data,
                "name": CONTRACT["names"].get(data, data),
                "primary": data in first,
            }


def _sets(names: Iterable[str]) -> list[str]:
    return [each for name in names for each in CONTRACT["data"].get(name, [name])]


def ledger(
    run: Path | str | None = None, records: Sequence[Mapping[str, Any]] | None = None
) -> list[Row]:
    """The rows, with FIELDS as keys: `live` of the folder `run` and of a notebook's own `records`, and `recorded`.

    An end of an interval that is None is open. The verdict is study.verdict's at the margin of claims.yaml; the primary
    rows are adjusted by Holm over all of them. Raises CourseError where `run` is not the folder of a run.
    """
    sources = {
        "live": _live(run) + [{"chapter": "05"} | dict(r) for r in records or ()],
        "recorded": _recorded(),
    }
    found: list[tuple[Row, study.Effect | None, str | None]] = []
    for each in comparisons():
        there = {
            source: record
            for source, known in sources.items()
            if (record := _find(known, each, each["record"]))
        }
        for source, record in there.items():
            # Where a comparison is recorded too, from fresh seeds, that row is the primary.
            row = _row(each, record, source, each["primary"] and source == [*there][-1])
            found.append((row, _effect(row), _guard(each, sources[source])))
    adjusted = iter(
        study.holm([effect.p if effect else 1.0 for row, effect, _ in found if row["primary"]])
    )
    for row, effect, guard in found:
        p = next(adjusted) if row["primary"] else None
        said = study.verdict(effect, DELTAS.get(row["unit"], 0), p) if effect else "undecided"
        row["verdict"] = guard if guard and said == "supported" else said
    return [row for row, *_ in found]


def _live(run: Path | str | None) -> list[Row]:
    try:
        return (
            [
                dict(r)
                for r in json.loads((Path(run) / "metrics.json").read_text("utf-8"))["records"]
            ]
            if run
            else []
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CourseError(
            f"{run} holds no readable metrics.json: name a folder that `vaetl run` wrote."
        ) from error


def _recorded() -> list[Row]:
    files = sorted(
        resources.files("vaetl_helpers").joinpath("recorded").iterdir(), key=lambda file: file.name
    )
    return [
        r
        for file in files
        if file.name.endswith(".json")
        for r in json.loads(file.read_text("utf-8"))["records"]
    ]


def _find(records: Sequence[Row], each: Row, name: str) -> Row | None:
    """The last record of that chapter, name and data; after its data a record may say more (", some censored")."""
    known = (
        r for r in reversed(records) if (r.get("chapter"), r.get("name")) == (each["chapter"], name)
    )
    return next(
        (r for r in known if f"{r.get('data') or ''}, ".startswith(f"{each['data']}, ")), None
    )


def _row(each: Row, record: Row, source: str, primary: bool) -> Row:
    unit, notes = (
        record.get("unit") or "",
        re.findall(r", conditional on [^;,]+", record.get("data") or ""),
    )
    numbers = [record.get(key) for key in ("value", "low", "high")]
    good = [
        isinstance(x, int | float) and math.isfinite(x) and (x > 0 or unit not in RATIOS)
        for x in numbers
    ]
    effect, low, high = (
        float(x) if ok else None for x, ok in zip(numbers, good, strict=True)
    )  # a ratio's 0 is open
    measure = "".join([each["measure"], *notes])
    facts = (
        each["claim"],
        each["name"],
        measure,
        effect,
        unit,
        low,
        high,
        record.get("n") or 0,
        "undecided",
    )
    return dict(zip(FIELDS, (*facts, source, primary), strict=True))


def _effect(row: Row) -> study.Effect | None:
    """The row as an effect that is above 0 where it speaks for the claim; None where it has no interval.

    The standard error is that of the interval's end towards the null, with n − 1 degrees of freedom. The record had
    Satterthwaite's, which are at least as many: a p value below 0.05 is never smaller than the record's own.
    """
    values = [row[key] for key in ("low", "effect", "high")]
    if values[1] is None or values[0] == values[2] is None or row["n"] < 2:
        return None
    low, effect, high = (
        math.copysign(math.inf, k - 1) if x is None else x for k, x in enumerate(values)
    )
    if sign := RATIOS.get(row["unit"]):
        low, effect, high = (
            sign * (math.log(x) if math.isfinite(x) else x) for x in (low, effect, high)[::sign]
        )
    if not low <= effect <= high:
        return None
    n, se = (
        row["n"],
        (effect - low if effect > 0 else high - effect) / float(stats.t.ppf(0.975, row["n"] - 1)),
    )
    return study.Effect(effect, low, high, n, se * math.sqrt(n), "", se, n - 1)


def _guard(each: Row, records: Sequence[Row]) -> str | None:
    """What `unless` leaves of "supported": the verdict on whether its record lies above `below`."""
    if "unless" not in each:
        return None
    record, below = _find(records, each, each["unless"]["record"]), each["unless"]["below"]
    if not record or not (effect := _effect(_row(each, record, "", False))):
        return "undecided"
    return study.verdict(replace(effect, low=effect.low - below, high=effect.high - below), 0)
