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
        selected = frame[rows].sort_values("draw", kind="stable")
        values = dict(zip(selected["draw"].tolist(), selected["value"].tolist(), strict=True))
        not_finite = [draw for draw, value in values.items() if not math.isfinite(value)]
        problem = f"is not finite in draw {not_finite[0]}" if not_finite else "was not measured"
        if not_finite or not values:
            raise CourseError(
                f"{metric} of '{method}' at {labels} labels {problem}: "
                "run these again before you compare."
            )
        return values

    def mean(self, method: str, metric: str, labels: int) -> float:
        """The mean of `values` over the draws."""
        return float(np.mean(list(self.values(method, metric, labels).values())))

    def costs(self, method: str, metric: str, labels: int) -> dict[int, Cost]:
        """One cost a draw, with whether it is a bound."""
        values = self.values(method, metric, labels)
        if metric + CENSORED not in self.known("metric"):
            return {draw: Cost(value) for draw, value in values.items()}
        censored = self.values(method, metric + CENSORED, labels)
        return {draw: Cost(values[draw], Censoring(int(censored[draw]))) for draw in values}

    def pretrain_seeds(self, counts: Iterable[int]) -> dict[int, int]:
        """The pretraining seed of each draw at these numbers of labels."""
        rows = self.frame[self.frame["labels"].isin(list(counts))]
        return dict(zip(rows["draw"].tolist(), rows["pretrain_seed"].tolist(), strict=True))

    def write(self, path: Path | str) -> None:
        """Writes the rows as CSV, whole or not at all."""
        path = Path(path)
        partial = path.with_name(f".{path.name}.partial")
        partial.write_bytes(self.frame.to_csv(index=False, lineterminator="\r\n").encode())
        partial.replace(path)


def row_key(run: Mapping[str, Any]) -> RunKey:
    """What tells a run from the others of its study."""
    return run["method"], run["labels"], run["draw"]


def recorded_table(chapter: str, name: str) -> Table:
    """The table of a recorded study, recorded/CHAPTER_NAME.csv, without values by image."""
    import pandas as pd

    text = read_recorded(f"{chapter}_{name}.csv", f"table {chapter}_{name}")
    # Numbers as they were written, to the last digit; an empty name is not a missing number.
    frame = pd.read_csv(io.StringIO(text), float_precision="round_trip", keep_default_na=False)
    return Table(frame)
