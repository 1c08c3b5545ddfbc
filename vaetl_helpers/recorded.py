"""What was run by the authors and is kept in the package: weights, records, tables and arrays."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open

from vaetl_helpers.errors import CourseError, unknown_name_error
from vaetl_helpers.output import UNKNOWN, is_unknown, number_texts, say, show_table

Record = dict[str, Any]


def packaged_weights(name: str) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The weights of a checkpoint in assets/, by the model's names.

    And its facts: command, data, seed, results, ….
    """
    asset = resources.files("vaetl_helpers").joinpath("assets", f"{name}.safetensors")
    weights = {}
    with resources.as_file(asset) as path, safe_open(path, framework="pt") as file:
        for key in file.keys():  # noqa: SIM118  # it is no dictionary
            name_in_model = key.removeprefix("model.")
            weights[name_in_model] = file.get_tensor(key)
        facts: dict[str, Any] = json.loads(file.metadata()["vaetl"])
    return weights, facts


def recorded(chapter: str, task: str = "") -> dict[str, Any]:
    """A chapter's recorded run, of one `task` if it has several.

    It has command, commit, date, machine, versions and records. Raises CourseError where the
    package has none.
    """
    pattern = f"{chapter}_*.json"
    description = f"run of chapter {chapter}"
    if task:
        pattern = f"{chapter}_*_{task}.json"
        description += f" with task {task}"
    run: dict[str, Any] = json.loads(read_recorded(pattern, description))
    return run


def read_recorded(pattern: str, description: str) -> str:
    """The text of the package's first recorded file of this pattern."""
    return recorded_path(pattern, description).read_text("utf-8")


def recorded_path(pattern: str, description: str) -> Path:
    """The package's first recorded file of this pattern; raises CourseError where it has none."""
    files = sorted(_folder().glob(pattern))
    if not files:
        raise CourseError(
            f"No recorded {description} is in the package: run it with --profile paper."
        )
    return files[0]


def recorded_records() -> list[Record]:
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

    With a `task`, the runs of the chapter's parts count, too. It has the fields of
    `output.record`, and `label`, 'recorded (machine, date)'.
    """
    records = _labelled_of_parts(chapter, task, data)
    for record in reversed(records):  # a part's before the whole chapter's
        if record["id"] == id:
            return record
    raise unknown_name_error("recorded number", id, [record["id"] for record in records])


def find_recorded(
    chapter: str, ids: Iterable[str], task: str = "", data: str | None = None
) -> list[Record]:
    """The recorded numbers with these ids, in their order, each with its `label`.

    With a `task`, the runs of the chapter's parts count, too. Ids that were not recorded are left
    out; without a recorded run it prints why and returns none.
    """
    try:
        records = _labelled_of_parts(chapter, task, data)
    except CourseError as error:
        say(error)
        return []
    by_id = {record["id"]: record for record in records}
    return [by_id[id] for id in ids if id in by_id]


def show_recorded(
    chapter: str, ids: Iterable[str], task: str = "", data: str | None = None
) -> None:
    """Shows the recorded numbers with these ids in a table, with the machine and the date.

    An end that is "open" is no end. There is no table where none of them was recorded.
    """
    rows = []
    records = find_recorded(chapter, ids, task, data)
    for record in records:
        value, low, high = number_texts(record["value"], record["low"], record["high"])
        text = f"{value} {record['unit']} [{low}, {high}]"
        if is_unknown(record):
            text = UNKNOWN
        rows.append((record["name"], text, _place_of(record), record["n"]))
    if rows:
        title = f"{data or task or chapter}, {records[0]['label']}"
        show_table(rows, (title, "value [95 % interval]", "the interval", "n"))


def _place_of(record: Record) -> str:
    """Where the interval of a difference or a ratio lies, seen from no difference."""
    if record["unit"] not in ("points", "times"):
        return ""
    none = 1 if record["unit"] == "times" else 0
    low, high = record["low"], record["high"]
    if low is not None and low > none:
        return f"above {none}"
    if high is not None and high < none:
        return f"below {none}"
    return "is open" if None in (low, high) else f"includes {none}"


def recorded_by_measure(chapter: str, *measures: str) -> list[Record]:
    """The recorded numbers of these measures, each with its `label`.

    A measure is the second part of an id. Without a recorded run it prints why and returns none.
    """
    records = []
    for run in _runs_or_none(chapter):
        for record in _labelled(run, None):
            _, measure, *_ = record["id"].split("/")
            if measure in measures:
                records.append(record)
    return records


def _runs_or_none(chapter: str) -> list[dict[str, Any]]:
    """All recorded runs of a chapter; none, and a line that says so, where there are none."""
    files = sorted(_folder().glob(f"{chapter}_*.json"))
    if not files:
        say(f"No recorded run of chapter {chapter} is in the package.")
    return [json.loads(path.read_text("utf-8")) for path in files]


def _labelled_of_parts(chapter: str, task: str, data: str | None) -> list[Record]:
    """The labelled records of a chapter's run and, where a task is named, of its parts' (04a, …).

    Raises CourseError where there is no such run.
    """
    files = sorted(_folder().glob(f"{chapter}*_{task}.json")) if task else []
    if not files:
        return _labelled(recorded(chapter, task), data)
    records = []
    for path in files:
        records += _labelled(json.loads(path.read_text("utf-8")), data)
    return records


def _labelled(run: Mapping[str, Any], data: str | None) -> list[Record]:
    """The run's records on `data` (None: on all), each with the `label` of the run."""
    label = origin(run)
    records = []
    for record in run["records"]:
        if data is None or record["data"] == data:
            records.append(record | {"label": label})
    return records


def recorded_arrays(name: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays of recorded/NAME.safetensors, and its facts.

    The facts are command, commit, date, machine, versions and what the arrays are, and `label`,
    'recorded (machine, date)'. Made by authoring/record_controls.py.
    """
    arrays = {}
    path = _folder() / f"{name}.safetensors"
    with safe_open(path, framework="np") as file:
        facts = json.loads(file.metadata()["vaetl"])
        for key in file.keys():  # noqa: SIM118  # it is no dictionary
            arrays[key] = file.get_tensor(key)
    return arrays, facts | {"label": origin(facts)}


@dataclass(frozen=True)
class RecordedMachine:
    """A machine as `vaetl record-machine` has measured it.

    `content` is its file: facts, and by measurement records and rows of figures.
    """

    path: Path
    content: Mapping[str, Any]

    @property
    def name(self) -> str:
        """What the machine is."""
        return str(self.content["machine"])

    @property
    def label(self) -> str:
        """'recorded (machine, date)', and that it had other work where it had."""
        label = origin(self.content)
        load = self.content.get("load") or 0
        if load > 1:
            label += f", beside other work (load {load:g})"
        return label

    def value(self, id: str) -> float | None:
        """The number with this id; None where it was not measured on this machine."""
        for measured in self.content["measured"].values():
            for record in measured["records"]:
                if record["id"] == id:
                    return float(record["value"])
        return None

    def rows(self, figure: str) -> list[dict[str, Any]]:
        """The rows of a figure, "crossover" or "roofline"; none where it was not measured."""
        rows: list[dict[str, Any]] = self.content["measured"].get(figure, {}).get(figure, [])
        return rows

    def crossover(self, width: int) -> dict[str, tuple[Sequence[float], Sequence[float]]]:
        """For each device of the machine the batch sizes, and milliseconds of a step at this width.

        As `plots.lines` takes them.
        """
        lines = {}
        for row in self.rows("crossover"):
            if row["width"] == width:
                lines[row["configuration"]] = row["batches"], row["milliseconds"]
        return lines


def recorded_machines(*more: Path) -> list[RecordedMachine]:
    """Every recorded machine of the package, by name, and before them those of the files `more`.

    Of a machine that stands twice the first is taken. Raises CourseError for a file that
    `vaetl record-machine` has not written.
    """
    machines: dict[str, RecordedMachine] = {}
    for path in [*more, *sorted((_folder() / "machines").glob("*.json"))]:
        machine = _read_machine(path)
        machines.setdefault(machine.name, machine)
    return list(machines.values())


def _read_machine(path: Path) -> RecordedMachine:
    try:
        content = json.loads(path.read_text("utf-8"))
        for key in ("machine", "date", "measured"):
            content[key]  # raises for another file
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CourseError(
            f"{path} is no file of `vaetl record-machine`: make one with it, or leave it out."
        ) from error
    return RecordedMachine(path, content)


def _folder() -> Path:
    return Path(__file__).parent / "recorded"
