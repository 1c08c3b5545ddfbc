"""The tidy table of a study's runs."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vaetl_helpers.errors import CourseError, unknown_name_error
from vaetl_helpers.output import write_whole
from vaetl_helpers.recorded import read_recorded

if TYPE_CHECKING:
    import pandas as pd

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
NUMBERS = {
    "labels": int,
    "draw": int,
    "pretrain_seed": int,
    "value": float,
    "seconds": float,
}
RUN = ["method", "labels", "draw"]  # the columns that tell runs apart
SHARED = "shared labels"  # a metric of every run: the mean fraction of its labels in another draw
CENSORED = " censored"  # ends the name of the metric that holds a cost's Censoring

RunKey = tuple[str, int, int]
ImageKey = tuple[str, int, int, str]


class Censoring(IntEnum):
    """Whether a cost is known or a bound; the numbers are those of the tables."""

    AT_MOST = -1
    NONE = 0
    AT_LEAST = 1


@dataclass(frozen=True)
class Cost:
    """What it cost to reach a target, or a bound on it."""

    value: float
    censoring: Censoring = Censoring.NONE


class Table:
    """A study's results: tidy rows in the data frame `frame`, and values by image beside them.

    `frame` has COLUMNS, a row for each run and metric. `images` has the values by test image
    [images] of the metrics that gave them, by (method, labels, draw, metric).
    """

    frame: pd.DataFrame
    images: dict[ImageKey, NDArray[Any]]

    def __init__(
        self,
        rows: Iterable[Mapping[str, Any]] | pd.DataFrame = (),
        images: Mapping[ImageKey, NDArray[Any]] | None = None,
    ) -> None:
        import pandas as pd

        content = rows if isinstance(rows, pd.DataFrame) else list(rows)
        self.frame = pd.DataFrame(content, columns=list(COLUMNS))
        self.images = dict(images or {})

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The tidy rows as dictionaries."""
        rows: list[dict[str, Any]] = self.frame.to_dict("records")
        return rows

    def add(self, other: Table | Iterable[Mapping[str, Any]]) -> None:
        """Adds the rows and images of another table of the same plan, or further rows."""
        import pandas as pd

        if not isinstance(other, Table):
            other = Table(other)
        # Without empty frames, whose columns have no type yet and would take it from the others.
        frames = [frame for frame in (self.frame, other.frame) if len(frame)]
        if frames:
            self.frame = pd.concat(frames, ignore_index=True)
        self.images |= other.images

    def known(self, column: str) -> list[Any]:
        """The different values of a column, in the order of the rows."""
        values: list[Any] = self.frame[column].unique().tolist()
        return values

    def values(self, method: str, metric: str, labels: int) -> dict[int, float]:
        """One value a draw, in the order of the draws.

        Raises CourseError for an unknown name, and for a value that is not finite.
        """
        frame = self.frame
        rows = np.ones(len(frame), bool)
        for column, value in (("method", method), ("metric", metric), ("labels", labels)):
            matches = (frame[column] == value).to_numpy()
            if not matches.any():
                raise unknown_name_error(column, value, map(str, self.known(column)))
            rows &= matches
        values = _by_draw(frame[rows].sort_values("draw", kind="stable"), "value")
        problem = "" if values else "was not measured"
        for draw, value in values.items():
            if not math.isfinite(value):
                problem = f"is not finite in draw {draw}"
                break
        if problem:
            raise CourseError(
                f"{metric} of '{method}' at {labels} labels {problem}: "
                "run these again before you compare."
            )
        return values

    def mean(self, method: str, metric: str, labels: int) -> float:
        """The mean of `values` over the draws."""
        values = self.values(method, metric, labels)
        return float(np.mean(list(values.values())))

    def costs(self, method: str, metric: str, labels: int) -> dict[int, Cost]:
        """One cost a draw, with whether it is a bound."""
        values = self.values(method, metric, labels)
        if metric + CENSORED not in self.known("metric"):
            return {draw: Cost(value) for draw, value in values.items()}
        censored = self.values(method, metric + CENSORED, labels)
        costs = {}
        for draw, value in values.items():
            costs[draw] = Cost(value, Censoring(int(censored[draw])))
        return costs

    def by_step(self, method: str, labels: int, metric: str) -> dict[int, NDArray[Any]]:
        """For each draw the values of a metric that runs gave step by step, such as by epoch.

        Raises CourseError for an unknown method, and where there are none.
        """
        if method not in self.known("method"):
            raise unknown_name_error("method", method, self.known("method"))
        values_by_draw = {}
        for (of_method, of_labels, draw, of_metric), values in self.images.items():
            if (of_method, of_labels, of_metric) == (method, labels, metric):
                values_by_draw[draw] = values
        if not values_by_draw:
            raise CourseError(
                f"{metric} of '{method}' at {labels} labels was not kept step by step: return one "
                "value a step, or compare other methods."
            )
        return dict(sorted(values_by_draw.items()))

    def pretrain_seeds(self, counts: Iterable[int]) -> dict[int, int]:
        """The pretraining seed of each draw at these numbers of labels."""
        of_counts = self.frame["labels"].isin(list(counts))
        return _by_draw(self.frame[of_counts], "pretrain_seed")

    def write(self, path: Path | str) -> None:
        """Writes the rows as CSV, whole or not at all."""
        write_whole(Path(path).expanduser(), self.frame.to_csv(index=False, lineterminator="\r\n"))


def _by_draw(rows: pd.DataFrame, column: str) -> dict[int, Any]:
    """A column's values by draw; of several rows of a draw the last one counts."""
    draws, values = rows["draw"].tolist(), rows[column].tolist()
    return dict(zip(draws, values, strict=True))


def row_key(run: Mapping[str, Any]) -> RunKey:
    """What tells a run from the others of its study."""
    return run["method"], run["labels"], run["draw"]


def recorded_table(chapter: str, name: str) -> Table:
    """The table of a recorded study, recorded/CHAPTER_NAME.csv, without values by image.

    `recorded_values` reads these, where they were kept.
    """
    import pandas as pd

    text = read_recorded(f"{chapter}_{name}.csv", f"table {chapter}_{name}")
    # As text first, so that numbers are read to their last digit, and an empty name is no number.
    frame = pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False)
    return Table(frame.astype(NUMBERS))
