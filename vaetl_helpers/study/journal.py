"""The journal of a study: one line a run, so that a study that was killed goes on where it was."""

from __future__ import annotations

import base64
import itertools
import json
import math
import os
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vaetl_helpers.errors import CourseError
from vaetl_helpers.output import say
from vaetl_helpers.study.draws import Draw, Method
from vaetl_helpers.study.table import CENSORED, COLUMNS, SHARED, Cost, RunKey, Table, row_key
from vaetl_helpers.training.identity import Identity, differences, listed

Entry = dict[str, Any]

JOURNAL = ".jsonl"
IDENTITY = "identity"  # what each method consists of
FAILED = "failed"  # a line that names a method which raised an error
MENDED = "mended"  # a line that names a method which was changed after it had failed
HEADER_KEYS = {"study", "data", "methods", "counts"}
RUN_KEYS = {"method", "labels", "draw", "pretrain_seed", "seconds", "metrics", "images"}


def journal_entry(method: str, draw: Draw, result: Mapping[str, Any], seconds: float) -> Entry:
    """A finished run: its metrics as numbers, and the values by image of those that have them."""
    metrics = {SHARED: draw.overlap}
    images = {}
    for metric, outcome in result.items():
        if metric == "seconds":
            seconds = float(outcome)
            continue
        value = outcome.value if isinstance(outcome, Cost) else outcome
        values, is_percent = _values_of(value)
        if values.ndim:
            images[metric] = values
        metrics[metric] = float(values.mean(dtype=np.float64))
        _check_metric(metric, metrics[metric], is_percent)
        if isinstance(outcome, Cost):
            metrics[metric + CENSORED] = float(outcome.censoring)
    return {
        "method": method,
        "labels": draw.labels,
        "draw": draw.number,
        "pretrain_seed": draw.pretrain_seed,
        "seconds": seconds,
        "metrics": metrics,
        "images": images,
    }


def _values_of(outcome: Any) -> tuple[NDArray[Any], bool]:
    """A metric's value, or values by image, and whether they are per cent beyond doubt."""
    tensor = torch.as_tensor(outcome).detach().cpu()
    is_percent = tensor.dtype == torch.bool
    values = tensor.double().numpy()
    if is_percent:
        values = 100 * values
    if values.ndim:  # as they are in the file, so that a resumed study has the same
        values = values.astype(np.float32)
    return values, is_percent


def _check_metric(metric: str, value: float, is_percent: bool) -> None:
    if not math.isfinite(value):
        raise CourseError(
            f"{metric} is not finite: return a number, or Cost(bound, Censoring.AT_LEAST) for a "
            "censored run"
        )
    if "accuracy" in metric and 0 < value <= 1 and not is_percent:
        raise CourseError(
            f"{metric} is {value:.3g}, but per cent were expected: multiply it by 100"
        )


def journal_path(out: Path | str) -> Path:
    """The journal beside a table: table.csv has table.jsonl, and any other name gets .jsonl too.

    So names with dots, such as res.lr0.1 and res.lr0.2, have journals of their own.
    """
    path = Path(out).expanduser()
    name = path.stem if path.suffix.lower() in (".csv", JOURNAL) else path.name
    return path.with_name(name + JOURNAL)


class Journal:
    """A study's facts and finished runs, kept in a file of one JSON line each.

    Without a path they are kept in memory only. Raises CourseError where the file is of another
    study, damaged, or cannot be written.
    """

    def __init__(self, path: Path | str | None, facts: dict[str, Any]) -> None:
        self.path = journal_path(path) if path else None
        self.facts = facts
        self.runs: dict[RunKey, Entry] = {}
        self.failed: set[str] = set()  # methods that have raised an error since they were changed
        lines = self._read()
        if not lines:
            self._append([facts])
            return
        self.facts = self._parse(1, lines[0])
        for number, line in enumerate(lines[1:], 2):
            self._note(self._parse(number, line))
        self._check_same_study(facts)

    def _note(self, entry: Entry) -> None:
        """Takes in a line below the header."""
        if FAILED in entry:
            self.failed.add(entry[FAILED])
        elif MENDED in entry:
            name = entry[MENDED]
            self.failed.discard(name)
            self.facts[IDENTITY][name] = entry[IDENTITY]
            self.runs = {key: run for key, run in self.runs.items() if key[0] != name}
        else:
            self.runs[row_key(entry)] = entry

    def _check_same_study(self, facts: Mapping[str, Any]) -> None:
        """Raises CourseError, with what differs."""
        changes = [
            f"{key} {self.facts.get(key)} there and {fact} here"
            for key, fact in facts.items()
            if key != IDENTITY and self.facts.get(key) != fact
        ]
        if not changes:
            changes = self._changes_of_methods(facts[IDENTITY])
        if changes:
            raise CourseError(
                f"{self.path} is of another study ({listed(changes)}): "
                "give another `out`, or remove the file."
            )

    def _changes_of_methods(self, identity: Mapping[str, Identity]) -> list[str]:
        """What has changed in the methods; one that had failed may be mended, and runs anew."""
        changes: list[str] = []
        stored = self.facts.setdefault(IDENTITY, identity)  # earlier versions did not note it
        for name, facts in identity.items():
            changes_of_method = differences(stored[name], facts)
            if changes_of_method and name in self.failed:
                count = sum(key[0] == name for key in self.runs)
                line = {MENDED: name, IDENTITY: facts}
                self._append([line])
                self._note(line)
                say(f"Method '{name}' was mended: its {count} finished runs are run again.")
            else:
                changes += changes_of_method
        return changes

    def _read(self) -> list[bytes]:
        """The whole lines; one that a kill has cut off is dropped, from the file too."""
        if not self.path or not self.path.exists():
            return []
        content = self.path.read_bytes()
        lines = content[: content.rfind(b"\n") + 1]
        if lines != content:
            os.truncate(self.path, len(lines))
        return lines.splitlines()

    def _parse(self, number: int, line: bytes) -> Entry:
        try:
            return _parse_header(line) if number == 1 else _parse_run(line)
        except (ValueError, TypeError, AttributeError, zlib.error) as error:
            raise CourseError(
                f"{self.path} is damaged in line {number}, which is no finished run: remove that "
                "line and run the study again, which makes up for it, or remove the file to start "
                "anew."
            ) from error

    def _append(self, entries: Sequence[Mapping[str, Any]]) -> None:
        if not self.path:
            return
        lines = [json.dumps(entry, default=_pack) + "\n" for entry in entries]
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab") as file:
                file.write("".join(lines).encode())
        except OSError as error:
            raise CourseError(
                f"{self.path} cannot be written ({error.strerror}): free some space or choose "
                "another `out`, and run the study again; what it holds is kept."
            ) from error

    def missing(
        self, methods: Sequence[Method], blocks: Sequence[Sequence[Draw]]
    ) -> list[tuple[Method, list[Draw]]]:
        """What is still to be run, draw by draw; of batched methods whole blocks, at the end."""
        tasks = [
            (method, [draw])
            for block in blocks
            for draw in block
            for method in methods
            if not method.batched and not self._is_finished(method, draw)
        ]
        for block in blocks:
            for method in methods:
                if method.batched and not all(self._is_finished(method, draw) for draw in block):
                    tasks.append((method, list(block)))
        return tasks

    def _is_finished(self, method: Method, draw: Draw) -> bool:
        return (method.name, draw.labels, draw.number) in self.runs

    def add(self, entries: Sequence[Entry]) -> None:
        """Keeps the entries of a finished run."""
        self._append(entries)
        for entry in entries:
            self.runs[row_key(entry)] = entry

    def add_failure(self, method: str) -> None:
        """Notes that the method raised an error: it may be mended before the study goes on."""
        self.failed.add(method)
        self._append([{FAILED: method}])

    def table(self) -> Table:
        """The table of all runs, in the plan's order whatever the order in which they ended."""
        methods, counts = list(self.facts["methods"]), self.facts["counts"]
        plan = sorted(
            self.runs, key=lambda key: (counts.index(key[1]), key[2], methods.index(key[0]))
        )
        rows, images = [], {}
        for key in plan:
            run = self.facts | self.runs[key]
            for metric, value in run["metrics"].items():
                row = run | {"metric": metric, "value": value}
                rows.append({column: row[column] for column in COLUMNS})
            for metric, values in run["images"].items():
                images[*key, metric] = values
        return Table(rows, images)


def join_shards(paths: Sequence[Path | str]) -> Table:
    """The table of a study that was run in shards, from the files of all of them.

    Raises CourseError where they are not of one study, and for runs that are in no file, by name.
    """
    if not paths:
        raise CourseError("There are no shards to join: give the .jsonl file of each.")
    first, *others = [_stored(path) for path in paths]
    for path, other in zip(paths[1:], others, strict=True):
        # What methods hold, such as the pretrained models of a shard's draws, may differ.
        for key in (first.facts.keys() | other.facts.keys()) - {IDENTITY}:
            if first.facts.get(key) != other.facts.get(key):
                raise CourseError(
                    f"{path} and {paths[0]} are of different studies: {key} differs. Join the "
                    "shards of one."
                )
        first.runs |= other.runs
    draws = [int(number) for number in first.facts["pretrain_seeds"]]
    expected = itertools.product(first.facts["methods"], first.facts["counts"], draws)
    missing = [run for run in expected if run not in first.runs]
    if missing:
        method, labels, draw = missing[0]
        raise CourseError(
            f"{len(missing)} of {len(missing) + len(first.runs)} runs are in none of the "
            f"{len(paths)} files, the first '{method}' at {labels} labels, draw {draw}: run the "
            "other shards, or finish them, and join again."
        )
    return first.table()


def _stored(path: Path | str) -> Journal:
    """A journal as it was written; CourseError where there is none."""
    file = journal_path(path)
    if not file.exists():
        raise CourseError(f"{file} is no file: give the .jsonl file of each shard.")
    header = file.read_bytes().partition(b"\n")[0]
    try:
        facts = _parse_header(header)
    except (ValueError, AttributeError) as error:
        raise CourseError(f"{file} is no journal of a study: give those of its shards.") from error
    return Journal(file, facts)


def _parse_header(line: bytes) -> Entry:
    """The facts of the study; ValueError where they are not whole."""
    facts: Entry = json.loads(line)
    if not facts.keys() >= HEADER_KEYS:
        raise ValueError("no header of a study")
    return facts


def _parse_run(line: bytes) -> Entry:
    """A finished run, or a note about a method; ValueError where it is not whole."""
    entry: Entry = json.loads(line)
    if entry.keys() in ({FAILED}, {MENDED, IDENTITY}):
        return entry
    if not entry.keys() >= RUN_KEYS:
        raise ValueError("no finished run")
    images = {metric: _unpack(text) for metric, text in entry["images"].items()}
    return entry | {"images": images}


def _pack(values: NDArray[Any]) -> str:
    return base64.b64encode(zlib.compress(values.tobytes())).decode()


def _unpack(text: str) -> NDArray[np.float32]:
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), np.float32)
