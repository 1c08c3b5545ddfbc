"""What a study is handed: checked before anything runs, so that an afternoon is not lost."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from vaetl_helpers.data.inputs import as_labels, as_list
from vaetl_helpers.errors import CourseError
from vaetl_helpers.output import user_path
from vaetl_helpers.seeds import whole_number, whole_seed


def class_numbers(labels: Any) -> Tensor:
    """The labels of a pool as class numbers int64 [pool]; names are numbered in their order.

    Raises CourseError where there are none, or other values than whole numbers and names.
    """
    if not isinstance(labels, Tensor) and getattr(labels, "ndim", 1) == 1:
        labels = as_list(labels, "labels", "[0, 1, 1]")
    names: tuple[str, ...] = ()
    if isinstance(labels, list) and labels and all(isinstance(label, str) for label in labels):
        names = tuple(sorted(set(labels)))
    numbers = as_labels(labels, names, "labels")
    if numbers.dim() != 1 or len(numbers) == 0 or (numbers.long() != numbers).any():
        raise CourseError(
            f"The labels of the pool must be class numbers in one dimension, not {numbers.dtype} "
            f"of shape {list(numbers.shape)}: pass one whole number for each image."
        )
    return numbers.long()


def whole_numbers(values: Any, name: str, lowest: int = 0) -> list[int]:
    """A list of whole numbers, NumPy's too; CourseError for a single number and for others."""
    listed = as_list(values, name, "[10, 100]")
    return [whole_number(value, name, lowest) for value in listed]


def seeds_in_turn(seeds: Iterable[int] | None) -> list[int] | None:
    """Pretraining seeds that are taken in turn; CourseError for an empty list."""
    if seeds is None:
        return None
    listed = as_list(seeds, "pretrain_seeds", "[0, 1, 2]")
    numbers = [whole_seed(seed, "each of pretrain_seeds") for seed in listed]
    if not numbers:
        raise CourseError(
            "pretrain_seeds must hold at least one seed: leave it out for fresh ones."
        )
    return numbers


def number_of_jobs(jobs: int | None) -> int | None:
    """A number of processes, -1 for all cores, None for what joblib is configured for."""
    if jobs is None:
        return None
    number = whole_number(jobs, "jobs", lowest=-1)
    if number == 0:
        raise CourseError("jobs must be at least 1, or -1 for all cores, not 0.")
    return number


def table_path(out: Path | str | None) -> Path | None:
    """The path of a study's table, with the home folder for "~"; CourseError for a folder."""
    if not out:
        return None
    path = user_path(out)
    if path.is_dir():
        raise CourseError(f"{path} is a folder: give `out` a file in it, such as {path}/study.csv.")
    return path


def finite_numbers(values: Any, name: str) -> NDArray[np.float64]:
    """Numbers [n] of a list, an array, a column or a generator.

    Raises CourseError where there are none, and where one is not finite.
    """
    listed = as_list(values, name, "[0.5, 1.5]")
    try:
        numbers = np.array([float(value) for value in listed])
    except (TypeError, ValueError):
        numbers = np.empty(0)
    if not len(numbers) or not np.isfinite(numbers).all():
        raise CourseError(f"{name} must be at least one finite number: check the list.")
    return numbers
