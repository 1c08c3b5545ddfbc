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
        self._indexed: pd.DataFrame | None = None  # the frame that `_rows_of` was made of
        self._rows_of: dict[tuple[str, str, int], NDArray[np.intp]] = {}
        self._counted_images = 0  # the images that `_draws_of` was made of
        self._draws_of: dict[tuple[str, str, int], list[int]] = {}

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
        rows = self.rows_of().get((method, metric, labels))
        if rows is None:
            self._refuse_unknown(method=method, metric=metric, labels=labels)
            rows = np.array([], int)
        draws, of_rows = (self.frame[column].to_numpy()[rows] for column in ("draw", "value"))
        order = np.argsort(draws, kind="stable")
        values = dict(zip(draws[order].tolist(), of_rows[order].tolist(), strict=True))
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

    def rows_of(self) -> Mapping[tuple[str, str, int], NDArray[np.intp]]:
        """The places of the rows of each (method, metric, labels), found once for a frame."""
        if self._indexed is not self.frame:
            by_run = self.frame.groupby(["method", "metric", "labels"], sort=False)
            self._rows_of = by_run.indices
            self._indexed = self.frame
        return self._rows_of

    def _refuse_unknown(self, **asked: Any) -> None:
        """Raises CourseError for the first of the columns that has no such value."""
        for column, value in asked.items():
            if value not in self.known(column):
                raise unknown_name_error(column, value, map(str, self.known(column)))

    def mean(self, method: str, metric: str, labels: int) -> float:
        """The mean of `values` over the draws."""
        values = self.values(method, metric, labels)
        return float(np.mean(list(values.values())))

    def costs(self, method: str, metric: str, labels: int) -> dict[int, Cost]:
        """One cost a draw, with whether it is a bound."""
        values = self.values(method, metric, labels)
        if not any(known == metric + CENSORED for _, known, _ in self.rows_of()):
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
        draws = self._draws_of_images().get((method, metric, labels), [])
        if not draws:
            raise CourseError(
                f"{metric} of '{method}' at {labels} labels was not kept step by step: return one "
                "value a step, or compare other methods."
            )
        return {draw: self.images[method, labels, draw, metric] for draw in sorted(draws)}

    def _draws_of_images(self) -> Mapping[tuple[str, str, int], list[int]]:
        """The draws of each (method, metric, labels) with values by image or step."""
        if self._counted_images != len(self.images):
            self._draws_of = {}
            for method, labels, draw, metric in self.images:
                self._draws_of.setdefault((method, metric, labels), []).append(draw)
            self._counted_images = len(self.images)
        return self._draws_of

    def pretrain_seeds(self, counts: Iterable[int]) -> dict[int, int]:
        """The pretraining seed of each draw at these numbers of labels."""
        rows = self.rows_at(counts)
        draws, seeds = (self.frame[column].to_numpy()[rows] for column in ("draw", "pretrain_seed"))
        return dict(zip(draws.tolist(), seeds.tolist(), strict=True))

    def rows_at(self, counts: Iterable[int], metric: str | None = None) -> NDArray[np.intp]:
        """The places of the rows at these numbers of labels, of one metric or of all."""
        counts = set(counts)
        places = [
            rows
            for (_, of_metric, labels), rows in self.rows_of().items()
            if labels in counts and metric in (None, of_metric)
        ]
        return np.sort(np.concatenate([np.array([], int), *places]))

    def write(self, path: Path | str) -> None:
        """Writes the rows as CSV, whole or not at all."""
        write_whole(Path(path).expanduser(), self.frame.to_csv(index=False, lineterminator="\r\n"))


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
