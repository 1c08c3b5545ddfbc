"""What was run by the authors and is kept in the package: trained weights, records, tables and arrays."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open

from vaetl_helpers.errors import CourseError, unknown_name_error


def packaged_weights(name: str) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The weights of a checkpoint in assets/, by the model's names, and its facts: command, data, seed, results, …."""
    asset = resources.files("vaetl_helpers").joinpath("assets", f"{name}.safetensors")
    with resources.as_file(asset) as path, safe_open(path, framework="pt") as file:
        weights = {key.removeprefix("model."): file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        return weights, json.loads(file.metadata()["vaetl"])


def recorded(chapter: str, task: str = "") -> dict[str, Any]:
    """A chapter's recorded run, of one `task` if it has several: command, commit, date, machine, versions, records."""
    what = f"run of chapter {chapter}" + (f" with task {task}" if task else "")
    return json.loads(
        read_recorded(f"{chapter}_*_{task}.json" if task else f"{chapter}_*.json", what)
    )


def read_recorded(pattern: str, what: str) -> str:
    """The text of the package's first recorded file of this pattern."""
    if not (files := sorted((Path(__file__).parent / "recorded").glob(pattern))):
        raise CourseError(f"No recorded {what} is in the package: run it with --profile paper.")
    return files[0].read_text("utf-8")


def recorded_value(chapter: str, name: str, task: str = "") -> dict[str, Any]:
    """One record of a recorded run: value, unit, low, high, n, data, and `label`, 'recorded (machine, date)'."""
    run = recorded(chapter, task)
    record = next((r for r in run["records"] if r["name"] == name), None)
    if record is None:
        raise unknown_name_error("recorded number", name, [r["name"] for r in run["records"]])
    return record | {"label": f"recorded ({run['machine']}, {run['date']})"}


def recorded_arrays(name: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays of recorded/NAME.safetensors, and its facts: command, commit, date, machine, versions, what they are.

    Made by authoring/record_controls.py; `facts["label"]` is 'recorded (machine, date)'.
    """
    with safe_open(
        Path(__file__).parent / "recorded" / f"{name}.safetensors", framework="np"
    ) as file:
        facts = json.loads(file.metadata()["vaetl"])
        arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    return arrays, facts | {"label": f"recorded ({facts['machine']}, {facts['date']})"}
