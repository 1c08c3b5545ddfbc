"""What a learner has solved: one line for each check in progress.jsonl, beside the notebooks."""

from __future__ import annotations

import contextlib
import datetime
import json
from pathlib import Path

from vaetl_helpers.output import is_interactive, is_on, notebook_kernel

FILE = "progress.jsonl"  # in the kernel's folder, which is the notebook's


def note(exercise: str, status: str) -> None:
    """Adds a line for the outcome of a check, where a person works on it.

    Runs, tests and graders add none.
    """
    if is_on("VAETL_GRADING") or not notebook_kernel() or not is_interactive():
        return
    time = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
    line = json.dumps({"time": time, "exercise": exercise, "status": status})
    # A full disk costs no answer.
    with contextlib.suppress(OSError), Path(FILE).open("a", encoding="utf-8") as file:
        file.write(f"{line}\n")


def solved(folder: Path | None = None) -> set[str]:
    """The exercises that were correct at least once, by the notes in `folder`.

    Damaged lines are left out.
    """
    return set(first_solved(folder))


def first_solved(folder: Path | None = None) -> dict[str, str]:
    """Each exercise that was correct at least once, and the day of the first time, as 2026-01-31.

    The day is empty where the note has none; damaged lines are left out.
    """
    path = (folder or Path()) / FILE
    try:
        lines = path.read_text("utf-8", errors="replace").splitlines()
    except OSError:
        return {}
    days: dict[str, str] = {}
    for line in lines:
        with contextlib.suppress(ValueError, KeyError, TypeError):
            entry = json.loads(line)
            if entry["status"] == "correct":
                days.setdefault(str(entry["exercise"]), _day(entry))
    return days


def _day(entry: dict[str, object]) -> str:
    try:
        return datetime.datetime.fromisoformat(str(entry.get("time"))).date().isoformat()
    except ValueError:
        return ""
