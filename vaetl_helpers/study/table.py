"""The tidy table of a study's runs."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vaetl_helpers.errors import CourseError, unknown_name_error
from vaetl_helpers.recorded import read_recorded

COLUMNS = (
    "study",
    "data",
    "method",
    "labels",
    "draw",
    "pretrain_seed",
    "metric",
    "value",
    "seconds",
)
SHARED = "shared labels"  # a metric of every run: the mean fraction of its labels that another draw has too
CENSORED = " censored"  # ends the name of the metric that says whether a cost is a bound


class Reached(NamedTuple):
    """A cost at which a target was reached, or a bound: `censored` is 1 for "at least", -1 for "at most"."""

    value: float
    censored: int = 0


@dataclass
class Table:
    """A study's results: tidy rows with COLUMNS, and where runs gave them, values by image [images] of their metrics.

    `images` is keyed by (method, labels, draw, metric). Tables of one plan are joined by adding their rows and images.
    """

    rows: list[dict[str, Any]]
    images: dict[tuple[str, int, int, str], np.ndarray] = field(default_factory=dict)

    def known(self, column: str) -> list[Any]:
        """The different values of a column, in the order of the rows."""
        return list(dict.fromkeys(row[column] for row in self.rows))

    def values(self, method: str, metric: str, labels: int) -> dict[int, float]:
        """One value a draw; CourseError for an unknown name, and for a value that is not finite."""
        for column, value in (("method", method), ("metric", metric), ("labels", labels)):
            if value not in self.known(column):
                raise unknown_name_error(column, value, map(str, self.known(column)))
        wanted = (method, metric, labels)
        found = {
            r["draw"]: r["value"]
            for r in self.rows
            if (r["method"], r["metric"], r["labels"]) == wanted
        }
        broken = [draw for draw, value in found.items() if not math.isfinite(value)]
        if broken or not found:
            what = f"is not finite in draw {broken[0]}" if broken else "was not measured"
            raise CourseError(
                f"{metric} of '{method}' at {labels} labels {what}: run these again before you compare."
            )
        return dict(sorted(found.items()))

    def reached(self, method: str, metric: str, labels: int) -> dict[int, Reached]:
        """One cost a draw, with whether it is a bound."""
        values = self.values(method, metric, labels)
        bounds = (
            self.values(method, metric + CENSORED, labels)
            if metric + CENSORED in self.known("metric")
            else {}
        )
        return {draw: Reached(value, int(bounds.get(draw, 0))) for draw, value in values.items()}

    def write(self, path: Path | str) -> None:
        """Writes the rows as CSV, whole or not at all."""
        partial = Path(path).with_name(f".{Path(path).name}.partial")
        with partial.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(self.rows)
        partial.replace(path)


def row_key(run: dict[str, Any]) -> tuple[str, int, int]:
    return run["method"], run["labels"], run["draw"]


def recorded_table(chapter: str, name: str) -> Table:
    """The table of a recorded study, recorded/CHAPTER_NAME.csv, without values by image."""
    rows = csv.DictReader(
        read_recorded(f"{chapter}_{name}.csv", f"table {chapter}_{name}").splitlines()
    )
    numbers = {"labels": int, "draw": int, "pretrain_seed": int, "value": float, "seconds": float}
    return Table(
        [{column: numbers.get(column, str)(row[column]) for column in COLUMNS} for row in rows]
    )
