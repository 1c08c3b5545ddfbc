"""What was run by the authors and is kept in the package: weights, records, tables and arrays."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open

from vaetl_helpers.errors import CourseError, unknown_name_error


def packaged_weights(name: str) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The weights of a checkpoint in assets/, by the model's names.

    And its facts: command, data, seed, results, ….
    """
    asset = resources.files("vaetl_helpers").joinpath("assets", f"{name}.safetensors")
    weights = {}
    with resources.as_file(asset) as path, safe_open(path, framework="pt") as file:
        for key in file.keys():  # noqa: SIM118  # it is no dictionary
            weights[key.removeprefix("model.")] = file.get_tensor(key)
        return weights, json.loads(file.metadata()["vaetl"])


def recorded(chapter: str, task: str = "") -> dict[str, Any]:
    """A chapter's recorded run, of one `task` if it has several.

    It has command, commit, date, machine, versions and records. Raises CourseError where the
    package has none.
    """
    pattern, description = f"{chapter}_*.json", f"run of chapter {chapter}"
    if task:
        pattern, description = f"{chapter}_*_{task}.json", f"{description} with task {task}"
    run: dict[str, Any] = json.loads(read_recorded(pattern, description))
    return run


def read_recorded(pattern: str, description: str) -> str:
    """The text of the package's first recorded file of this pattern."""
    files = sorted(_folder().glob(pattern))
    if not files:
        raise CourseError(
            f"No recorded {description} is in the package: run it with --profile paper."
        )
    return files[0].read_text("utf-8")


def recorded_records() -> list[dict[str, Any]]:
    """The records of all recorded runs, file by file."""
    records = []
    for path in sorted(_folder().glob("*.json")):
        records += json.loads(path.read_text("utf-8"))["records"]
    return records


def origin(run: Mapping[str, Any]) -> str:
    """'recorded (machine, date)', as figures and tables label what was not run here."""
    return f"recorded ({run['machine']}, {run['date']})"


def recorded_value(
    chapter: str, id: str, task: str = "", data: str | None = None
) -> dict[str, Any]:
    """One record of a recorded run by its id, and by its data where several data sets have it.

    It has the fields of `output.record`, and `label`, 'recorded (machine, date)'.
    """
    run = recorded(chapter, task)
    for record in run["records"]:
        if record["id"] == id and data in (None, record["data"]):
            return record | {"label": origin(run)}
    raise unknown_name_error("recorded number", id, [record["id"] for record in run["records"]])


def find_recorded(
    chapter: str, ids: Iterable[str], task: str = "", data: str | None = None
) -> list[dict[str, Any]]:
    """The recorded numbers with these ids, in their order, each with its `label`.

    Ids that were not recorded are left out; without a recorded run it prints why and returns none.
    """
    by_id = {record["id"]: record for record in _labelled(chapter, task, data)}
    return [by_id[id] for id in ids if id in by_id]


def recorded_by_measure(chapter: str, *measures: str) -> list[dict[str, Any]]:
    """The recorded numbers of these measures, each with its `label`.

    A measure is the second part of an id. Without a recorded run it prints why and returns none.
    """
    records = _labelled(chapter)
    return [record for record in records if record["id"].split("/")[1] in measures]


def _labelled(chapter: str, task: str = "", data: str | None = None) -> list[dict[str, Any]]:
    try:
        run = recorded(chapter, task)
    except CourseError as error:
        print(error)
        return []
    label = {"label": origin(run)}
    return [record | label for record in run["records"] if data in (None, record["data"])]


def recorded_arrays(name: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays of recorded/NAME.safetensors, and its facts.

    The facts are command, commit, date, machine, versions and what the arrays are, and `label`,
    'recorded (machine, date)'. Made by authoring/record_controls.py.
    """
    arrays = {}
    with safe_open(_folder() / f"{name}.safetensors", framework="np") as file:
        facts = json.loads(file.metadata()["vaetl"])
        for key in file.keys():  # noqa: SIM118  # it is no dictionary
            arrays[key] = file.get_tensor(key)
    return arrays, facts | {"label": origin(facts)}


def _folder() -> Path:
    return Path(__file__).parent / "recorded"
