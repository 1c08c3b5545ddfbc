"""What a learner has done: a line in progress.jsonl, beside the notebooks, for each check, bet,
answer and challenge.

Nothing is noted where no person works: in runs, tests and grading.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vaetl_helpers.output import is_interactive, is_on, notebook_kernel, say

FILE = "progress.jsonl"  # in the kernel's folder, which is the notebook's

Entry = dict[str, Any]
unwritten: list[Entry] = []  # where the folder cannot be written: of this session alone


def is_learner_here() -> bool:
    """Whether a person works in this notebook; not papermill, nbval, a grader or a terminal."""
    if is_on("VAETL_GRADING") or "NBGRADER_EXECUTION" in os.environ:
        return False
    return bool(notebook_kernel()) and is_interactive()


def note(exercise: str, status: str) -> None:
    """Adds a line for the outcome of a check, where a person works on it."""
    add(exercise=exercise, status=status)


def add(**fields: Any) -> None:
    """Adds a line with the time and these fields, where a person works.

    Where the folder cannot be written, it says so once and remembers the line for this session.
    """
    if not is_learner_here():
        return
    time = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
    entry = {"time": time, **fields}
    try:
        with Path(FILE).open("a", encoding="utf-8") as file:
            file.write(f"{json.dumps(entry)}\n")
    except OSError as error:  # a full disk costs no answer
        if not unwritten:
            reason = error.strerror or error
            say(
                f"{FILE} cannot be written here ({reason}): what you answer is remembered until "
                "this kernel stops. Copy the notebooks into a folder of your own to keep it."
            )
        unwritten.append(entry)


def entries(folder: Path | None = None) -> list[Entry]:
    """The lines noted in `folder`, oldest first, and those of this session that were not written.

    Damaged lines are left out.
    """
    return [*_written(folder), *unwritten]


def _written(folder: Path | None) -> Iterator[Entry]:
    path = (folder or Path()) / FILE
    try:
        lines = path.read_text("utf-8", errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        with contextlib.suppress(ValueError):
            entry = json.loads(line)
            if isinstance(entry, dict):
                yield entry


def solved(folder: Path | None = None) -> set[str]:
    """The exercises that were correct at least once, by the notes in `folder`."""
    return set(first_solved(folder))


def first_solved(folder: Path | None = None) -> dict[str, str]:
    """Each exercise that was correct at least once, and the day of the first time, as 2026-01-31.

    The day is empty where the note has none; damaged lines are left out.
    """
    days: dict[str, str] = {}
    for entry in _written(folder):
        if entry.get("status") == "correct" and "exercise" in entry:
            days.setdefault(str(entry["exercise"]), _day(entry))
    return days


def _day(entry: Entry) -> str:
    try:
        return datetime.datetime.fromisoformat(str(entry.get("time"))).date().isoformat()
    except ValueError:
        return ""
