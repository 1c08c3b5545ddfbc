"""The one schema of a graded submission: stored as JSON, read by pages and the gradebook."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from unicodedata import category


class Status(StrEnum):
    """What has become of an exercise; the values are the words of grades.csv and of all pages."""

    CORRECT = "correct"
    PARTLY_CORRECT = "partly correct"
    INCORRECT = "incorrect"
    CRASHED = "crashed"
    NOT_ATTEMPTED = "not attempted"
    MISSING = "missing"
    OVER_A_LIMIT = "over a limit"
    NOT_RUN = "not run"
    UNREADABLE = "unreadable"
    WRONG_NOTEBOOK = "wrong notebook"


UNGRADABLE = {Status.UNREADABLE, Status.WRONG_NOTEBOOK}


class GradedBy(StrEnum):
    """What points come from: tests judged outside the sandbox, or the checks in the notebook."""

    HIDDEN_TESTS = "hidden"
    PUBLIC_CHECKS = "public"


@dataclass(frozen=True)
class PartResult:
    """A part of an exercise: its name, the points that it has earned, and those it can give."""

    name: str
    points: float
    worth: float

    @property
    def text(self) -> str:
        """As in "the gradients: 0 of 1"."""
        return f"{self.name}: {self.points:g} of {self.worth:g}"


@dataclass(frozen=True)
class ExerciseResult:
    """One exercise of a submission.

    `worth` are the points that it can give, `seconds` what its cells and tests took, `code` its
    cells as they were handed in, `flags` what a person should look at, `notes` what was restored,
    `parts` how its points are made up, where it has parts.
    """

    id: str
    points: float
    worth: float
    status: Status
    message: str = ""
    seconds: float = 0.0
    code: str = ""
    flags: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    parts: list[PartResult] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """The exercise as it is stored, where `worth` is called "of"."""
        parts = []
        for part in self.parts:
            parts.append({"name": part.name, "points": part.points, "of": part.worth})
        return {
            "id": self.id,
            "points": self.points,
            "of": self.worth,
            "status": str(self.status),
            "message": self.message,
            "seconds": self.seconds,
            "code": self.code,
            "flags": self.flags,
            "notes": self.notes,
            "parts": parts,
        }

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> ExerciseResult:
        """The exercise that `to_dict` wrote; KeyError, TypeError or ValueError on anything else."""
        parts = []
        for part in fields.get("parts", []):
            parts.append(PartResult(part["name"], part["points"], part["of"]))
        return cls(
            id=fields["id"],
            points=fields["points"],
            worth=fields["of"],
            status=Status(fields["status"]),
            message=fields["message"],
            seconds=fields["seconds"],
            code=fields["code"],
            flags=fields["flags"],
            notes=fields["notes"],
            parts=parts,
        )

    @property
    def outcome(self) -> str:
        """Status and message in one line."""
        if not self.message:
            return str(self.status)
        return f"{self.status}: {self.message}"


@dataclass(frozen=True)
class Result:
    """A graded submission.

    `student` is safe as a folder's name, `name` is what people see. `flags` are those of the setup
    cells. `broken` means that the grader itself failed; `digest` tells whether anything has changed
    since (empty: to be graded again).
    """

    assignment: str
    student: str
    name: str
    tests: GradedBy
    exercises: list[ExerciseResult]
    broken: bool = False
    notes: list[str] = field(default_factory=list)
    flags: list[str] = field(default_factory=list)
    digest: str = ""

    @property
    def points(self) -> float:
        return sum(exercise.points for exercise in self.exercises)

    @property
    def worth(self) -> float:
        return sum(exercise.worth for exercise in self.exercises)

    @property
    def score(self) -> str:
        """As in "7 of 10 points"."""
        return f"{self.points:g} of {self.worth:g} points"

    @property
    def not_correct(self) -> list[ExerciseResult]:
        return [exercise for exercise in self.exercises if exercise.status != Status.CORRECT]

    def status_counts(self) -> Counter[Status]:
        return Counter(exercise.status for exercise in self.exercises)

    def with_digest(self, digest: str) -> Result:
        return dataclasses.replace(self, digest=digest)

    def exercise(self, id: str) -> ExerciseResult:
        """The exercise of this id, which must be there."""
        return next(exercise for exercise in self.exercises if exercise.id == id)

    def with_exercise(self, other: ExerciseResult) -> Result:
        """The result with this one in the place of the exercise that has the same id."""
        exercises = [other if each.id == other.id else each for each in self.exercises]
        return dataclasses.replace(self, exercises=exercises)

    def cleaned(self) -> Result:
        """The same with every text fit for a database and a page."""
        return Result.from_dict(clean(self.to_dict()))

    def to_dict(self) -> dict[str, Any]:
        return {
            "assignment": self.assignment,
            "student": self.student,
            "name": self.name,
            "tests": str(self.tests),
            "broken": self.broken,
            "notes": self.notes,
            "flags": self.flags,
            "exercises": [exercise.to_dict() for exercise in self.exercises],
            "digest": self.digest,
        }

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Result:
        """The result that `to_dict` wrote; KeyError, TypeError or ValueError on anything else."""
        return cls(
            assignment=fields["assignment"],
            student=fields["student"],
            name=fields["name"],
            tests=GradedBy(fields["tests"]),
            exercises=[ExerciseResult.from_dict(row) for row in fields["exercises"]],
            broken=fields.get("broken", False),
            notes=fields["notes"],
            flags=fields.get("flags", []),
            digest=fields.get("digest", ""),
        )

    def to_json(self) -> str:
        """The text of a file in the folder `graded`."""
        return json.dumps(self.to_dict(), indent=1)

    @classmethod
    def from_json(cls, text: str) -> Result:
        """The result that `to_json` wrote; ValueError on anything else."""
        try:
            return cls.from_dict(json.loads(text))
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"this is no stored result: {error!r}") from error


def clean(value: Any) -> Any:
    """A JSON value with every text in it fit for a database and a page.

    A submission's may hold anything: halves of characters, control characters, directions.
    """
    if isinstance(value, dict):
        return {key: clean(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [clean(inner) for inner in value]
    if isinstance(value, str):
        return _clean_text(value)
    return value


def _clean_text(text: str) -> str:
    whole_characters = text.encode("utf-8", "replace").decode()
    return "".join(_visible(character) for character in whole_characters)


def _visible(character: str) -> str:
    is_control = category(character).startswith("C") and character not in "\n\t"
    if is_control:
        return "\N{REPLACEMENT CHARACTER}"
    return character
