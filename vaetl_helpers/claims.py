"""The claims ledger: what the two articles behind this course claim, and what runs measured of it.

`claims.yaml` says which record decides what, and what a gain must be worth; every number comes from
a record, which is found by its id and its data. A row is `live` (of the reader's run) or `recorded`
(in the package), and primary or exploratory. A live row gets no verdict: it holds for this run, and
often for its few pretrained models alone. `app.ledger_text` tells the rows in words.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from vaetl_helpers import study
from vaetl_helpers.errors import CourseError
from vaetl_helpers.output import RATIOS, conditions
from vaetl_helpers.recorded import recorded_records
from vaetl_helpers.study.effects import finite_or_none

__all__ = ["CONTRACT", "DELTAS", "LIVE", "RATIOS", "Comparison", "Row", "comparisons", "ledger"]

LIVE = "in this run"  # stands where a recorded row has its verdict

# What decides: `margins` by unit, groups of `data`, `names` of data, and `claims` by id.
CONTRACT: dict[str, Any] = yaml.safe_load(
    Path(__file__).with_name("claims.yaml").read_text("utf-8")
)
DELTAS = {
    unit: math.log(margin) if unit in RATIOS else margin
    for unit, margin in CONTRACT["margins"].items()
}

Record = Mapping[str, Any]
Records = Mapping[tuple[str, str], Record]  # by id and data


@dataclass(frozen=True)
class Comparison:
    """A question of the ledger: the record with this `id` on `data` answers it for `claim`."""

    claim: str
    id: str
    data: str
    data_name: str
    measure: str
    primary: bool


@dataclass(frozen=True)
class Row:
    """An answer to a comparison; `row["unit"]` is the same as `row.unit`.

    `se` is the standard error, of a ratio's logarithm, and `df` its degrees of freedom.
    An end of the interval that is None is open. `measure` says what the interval is conditional on,
    `question` is the same without it.
    """

    claim: str
    data: str
    measure: str
    effect: float | None
    unit: str
    low: float | None
    high: float | None
    n: int
    verdict: str
    source: str
    primary: bool
    id: str
    question: str
    conditional: tuple[str, ...] = ()
    se: float | None = None
    df: float | None = None

    def __getitem__(self, field: str) -> Any:
        return getattr(self, field)


def comparisons() -> list[Comparison]:
    """What claims.yaml asks for, claim by claim and data set by data set."""
    asked = []
    for claim, entry in CONTRACT["claims"].items():
        by_data: dict[str, list[Comparison]] = {}
        for spec in entry["rows"]:
            for comparison in _expand(claim, spec):
                by_data.setdefault(comparison.data_name, []).append(comparison)
        for of_data in by_data.values():
            asked += of_data
    return asked


def _expand(claim: str, spec: Mapping[str, Any]) -> list[Comparison]:
    """One comparison for each number of labels and each data set of a row of claims.yaml."""
    data_sets = _data_sets(spec["data"])
    primary_sets = data_sets
    if spec["primary"] is not True:
        primary_sets = _data_sets(spec["primary"] or ())
    expanded = []
    for labels in spec.get("labels", [""]):
        for data in data_sets:
            comparison = Comparison(
                claim=claim,
                id=spec["id"].format(n=labels),
                data=data,
                data_name=CONTRACT["names"].get(data, data),
                measure=spec["measure"].format(n=labels),
                primary=data in primary_sets,
            )
            expanded.append(comparison)
    return expanded


def _data_sets(names: Iterable[str]) -> list[str]:
    """The data sets of these names, of which some are groups."""
    return [data for name in names for data in CONTRACT["data"].get(name, [name])]


def ledger(run: Path | str | None = None, records: Sequence[Record] | None = None) -> list[Row]:
    """The rows: `live` of the folder `run` and of a notebook's own `records`, and `recorded`.

    The verdict of a recorded row is study.verdict's at the margin of claims.yaml; the primary rows
    of a claim are adjusted for each other by Holm, because one concludes about a claim from all of
    them. A live row is never primary. Raises CourseError where `run` is not the folder of a run.
    """
    live = [*_records_of_run(run), *(records or ())]
    sources = {"live": _by_id_and_data(live), "recorded": _by_id_and_data(recorded_records())}
    answers = []
    for comparison in comparisons():
        key = comparison.id, comparison.data
        for source, records_of_source in sources.items():
            if key in records_of_source:
                answers.append(_Answer(comparison, records_of_source, source))
    _adjust(answers)
    return [answer.row() for answer in answers]


class _Answer:
    """The record that answers a comparison, before the primary ones are adjusted for each other."""

    def __init__(self, comparison: Comparison, records: Records, source: str) -> None:
        self.comparison = comparison
        self.source = source
        self.primary = comparison.primary and source == "recorded"
        self.record = records[comparison.id, comparison.data]
        self.effect = study.Effect.from_record(self.record)
        self.delta = DELTAS.get(self.record.get("unit") or "", 0.0)
        self.adjusted_p: float | None = None
        self.adjusted_p_of_margin: float | None = None

    @property
    def p(self) -> float:
        return self.effect.p if self.effect else 1.0

    @property
    def p_of_margin(self) -> float:
        return self.effect.p_of_margin(self.delta) if self.effect else 1.0

    def row(self) -> Row:
        record, comparison = self.record, self.comparison
        unit = record.get("unit") or ""
        conditional = tuple(record.get("conditional") or ())
        phrases = [comparison.measure]
        for condition in conditional:
            phrases.append(conditions([condition]))
        return Row(
            claim=comparison.claim,
            data=comparison.data_name,
            measure=", ".join(phrases),
            effect=finite_or_none(record.get("value"), unit),
            unit=unit,
            low=finite_or_none(record.get("low"), unit),
            high=finite_or_none(record.get("high"), unit),
            n=record.get("n") or 0,
            verdict=self._verdict(),
            source=self.source,
            primary=self.primary,
            id=comparison.id,
            question=comparison.measure,
            conditional=conditional,
            se=finite_or_none(record.get("se")),
            df=finite_or_none(record.get("df")),
        )

    def _verdict(self) -> str:
        if self.source == "live":
            return LIVE
        if not self.effect:
            return "undecided"
        return study.verdict(self.effect, self.delta, self.adjusted_p, self.adjusted_p_of_margin)


def _adjust(answers: Sequence[_Answer]) -> None:
    """Adjusts the p values of each claim's primary rows by Holm, for effects and for "no gain"."""
    by_claim: dict[str, list[_Answer]] = {}
    for answer in answers:
        if answer.primary:
            by_claim.setdefault(answer.comparison.claim, []).append(answer)
    for family in by_claim.values():
        p_values = study.holm([answer.p for answer in family])
        p_of_margins = study.holm([answer.p_of_margin for answer in family])
        for answer, p, p_of_margin in zip(family, p_values, p_of_margins, strict=True):
            answer.adjusted_p = p
            answer.adjusted_p_of_margin = p_of_margin


def _by_id_and_data(records: Iterable[Record]) -> dict[tuple[str, str], Record]:
    """The records that have an id; of two with the same data the last one counts."""
    index = {}
    for record in records:
        if record.get("id"):
            index[record["id"], record.get("data") or ""] = record
    return index


def _records_of_run(run: Path | str | None) -> list[Record]:
    if run is None:
        return []
    try:
        content = json.loads((Path(run) / "metrics.json").read_text("utf-8"))
        return [dict(record) for record in content["records"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CourseError(
            f"{run} holds no readable metrics.json: name a folder that `vaetl run` wrote."
        ) from error
