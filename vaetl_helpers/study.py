"""Repeated runs and what may be said of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib import resources
from typing import Any

import numpy as np
from scipy import stats

from vaetl_helpers.runtime import CourseError, unknown


def mean_interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float, float]:
    """Mean and the ends of its Student t interval over independent repeats; the ends are nan for one repeat."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return mean, float("nan"), float("nan")
    half = float(stats.t.ppf((1 + level) / 2, len(values) - 1) * stats.sem(values))
    return mean, mean - half, mean + half


def recorded(chapter: str) -> dict[str, Any]:
    """A chapter's recorded run: command, commit, date, machine, versions and records; see recorded/README.md."""
    found = [
        f for f in resources.files("vaetl_helpers").joinpath("recorded").iterdir() if f.name.startswith(f"{chapter}_")
    ]
    if not found:
        raise CourseError(f"No recorded run of chapter {chapter} is in the package: run it with --profile paper.")
    return json.loads(found[0].read_text("utf-8"))


def recorded_value(chapter: str, name: str) -> dict[str, Any]:
    """One record of a recorded run: value, unit, low, high, n, data, and `label`, 'recorded (machine, date)'."""
    run = recorded(chapter)
    record = next((r for r in run["records"] if r["name"] == name), None)
    if record is None:
        raise unknown("recorded number", name, [r["name"] for r in run["records"]])
    return record | {"label": f"recorded ({run['machine']}, {run['date']})"}
