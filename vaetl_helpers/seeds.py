"""Whole numbers that people hand over: seeds, and counts of images and epochs."""

from __future__ import annotations

import operator
from typing import Any

from vaetl_helpers.errors import CourseError

HIGHEST_SEED = 2**31 - 1  # what PyTorch, NumPy and scikit-learn all take


def whole_seed(seed: Any, name: str = "seed", highest: int = HIGHEST_SEED) -> int:
    """A seed as Python's own number: whatever is a whole number, NumPy's and PyTorch's as well.

    Raises CourseError for anything else, and outside 0 … `highest`.
    """
    return whole_number(seed, name, 0, highest, "0")


def whole_number(
    value: Any, name: str, lowest: int = 0, highest: int | None = None, example: str = "10"
) -> int:
    """A whole number between two bounds as Python's own; raises CourseError for anything else."""
    try:
        number = operator.index(value)
    except (TypeError, RuntimeError):  # the latter from tensors of several numbers
        number = lowest - 1
    if isinstance(value, bool) or number < lowest or (highest is not None and number > highest):
        bounds = f"of at least {lowest}" if highest is None else f"from {lowest} to {highest}"
        raise CourseError(
            f"{name} must be a whole number {bounds}, not {value!r}: try {name}={example}."
        )
    return number
