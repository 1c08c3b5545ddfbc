"""Certificates of a class: what hidden tests have found correct, signed by the instructor."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator
from pathlib import Path

from vaetl_helpers.app.certificate import key_pair, sign, write_certificate
from vaetl_helpers.app.certificate.statement import GRADED, LONGEST_NAME, state
from vaetl_helpers.errors import CourseError
from vaetl_helpers.grading.result import GradedBy, Result, Status


def certify(folder: Path) -> list[Path]:
    """Writes and signs FOLDER/certificates/STUDENT.html and .pdf for everybody who was graded.

    Only what hidden tests have found correct counts; who has nothing of that gets none. The key
    pair is made at the first call. Raises CourseError where nothing was graded.
    """
    private, _ = key_pair(folder)
    names: dict[str, str] = {}
    days: dict[str, dict[str, str]] = {}
    for result, day in _results(folder):
        names[result.student] = _printable(result.name) or result.student
        solved = days.setdefault(result.student, {})
        for exercise in result.exercises:
            if exercise.status == Status.CORRECT:
                solved.setdefault(exercise.id, day)
    if not names:
        raise CourseError(
            f"Nothing in {folder} was graded by hidden tests: run `vaetl grade` first, "
            "and give the same folder."
        )
    written = []
    for student, solved in days.items():
        if solved:
            statement = state(names[student], solved, GRADED)
            for path in write_certificate(statement, folder / "certificates" / student):
                sign(path, private)
                written.append(path)
    return written


def _printable(name: str) -> str:
    """A name from a submission without what no page can show, and no longer than a line."""
    letters = "".join(letter for letter in name if letter.isprintable())
    return letters[:LONGEST_NAME].strip()


def _results(folder: Path) -> Iterator[tuple[Result, str]]:
    """Every result by hidden tests, and the day on which it was graded."""
    for path in sorted((folder / "graded").glob("*/*.json")):
        try:
            result = Result.from_dict(json.loads(path.read_text("utf-8")))
        except (OSError, ValueError, KeyError, TypeError):
            continue  # `vaetl grade` grades it anew
        if result.tests == GradedBy.HIDDEN_TESTS:
            day = datetime.date.fromtimestamp(path.stat().st_mtime)
            yield result, day.isoformat()
