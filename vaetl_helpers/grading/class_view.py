"""A class as a whole: how each exercise went, and which findings came how often, without names."""

from __future__ import annotations

import builtins
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from vaetl_helpers import exercises
from vaetl_helpers.errors import CourseError
from vaetl_helpers.grading.result import ExerciseResult, Result, Status

# Where a message quotes a line of somebody's own code; advice of the grader's may follow.
PLACE = re.compile(r" \(line \d+ of .*\)(?=;|$)", re.DOTALL)
OWN_WORDS = "an error of its own"
OTHER_FINDING = "another finding, of one student only"
# The others say all by themselves.
WITH_MESSAGE = (Status.INCORRECT, Status.PARTLY_CORRECT, Status.CRASHED)


@dataclass(frozen=True)
class Finding:
    """What went wrong in an exercise, and in how many of all answers to it."""

    exercise: str
    status: Status
    text: str
    count: int
    answers: int

    @property
    def share(self) -> float:
        return self.count / self.answers


@dataclass(frozen=True)
class PartOfClass:
    """A part of an exercise, and how many of all have earned it."""

    name: str
    count: int
    answers: int


@dataclass(frozen=True)
class ExerciseOfClass:
    """How an exercise went: the mean share of its points, how many have which status."""

    id: str
    share: float
    statuses: list[tuple[Status, int]]
    parts: list[PartOfClass]
    findings: list[Finding]


@dataclass(frozen=True)
class ClassView:
    """What the results of an assignment say of a class."""

    number: str
    title: str
    results: Sequence[Result]

    @property
    def exercises(self) -> list[ExerciseOfClass]:
        """In the order of the chapter."""
        rows = []
        for id in [exercise.id for exercise in self.results[0].exercises]:
            answers = [each for result in self.results for each in result.exercises]
            rows.append(_exercise(id, [answer for answer in answers if answer.id == id]))
        return rows

    @property
    def findings(self) -> list[Finding]:
        """What went wrong, the most frequent first."""
        rows = [finding for exercise in self.exercises for finding in exercise.findings]
        return sorted(rows, key=lambda row: (-row.count, row.exercise, row.text))


def _exercise(id: str, answers: Sequence[ExerciseResult]) -> ExerciseOfClass:
    worth = sum(answer.worth for answer in answers)
    statuses = Counter(answer.status for answer in answers)
    order = list(Status)
    return ExerciseOfClass(
        id=id,
        share=sum(answer.points for answer in answers) / worth if worth else 0.0,
        statuses=sorted(statuses.items(), key=lambda pair: order.index(pair[0])),
        parts=_parts(answers),
        findings=_findings(id, answers),
    )


def _parts(answers: Sequence[ExerciseResult]) -> list[PartOfClass]:
    earned: Counter[str] = Counter()
    for answer in answers:
        for part in answer.parts:
            earned[part.name] += part.points > 0
    return [PartOfClass(name, count, len(answers)) for name, count in earned.items()]


def _findings(id: str, answers: Sequence[ExerciseResult]) -> list[Finding]:
    messages: Counter[tuple[Status, str]] = Counter()
    for answer in answers:
        if answer.status in WITH_MESSAGE:
            messages[answer.status, PLACE.sub("", answer.message)] += 1
    ours = _sentences(id)
    shown: Counter[tuple[Status, str]] = Counter()
    for (status, message), count in messages.items():
        is_shown = count > 1 or message in ours
        shown[status, message if is_shown else _in_our_words(status, message)] += count
    findings = []
    for (status, text), count in shown.most_common():
        findings.append(Finding(id, status, text, count, len(answers)))
    return findings


def _in_our_words(status: Status, message: str) -> str:
    """For what one student alone has: their own words are on no page that a class is shown."""
    if status != Status.CRASHED:
        return OTHER_FINDING
    kind = message.partition(":")[0]
    error = getattr(builtins, kind, None)
    is_error = isinstance(error, type) and issubclass(error, Exception)
    return kind if is_error else OWN_WORDS


def _sentences(id: str) -> set[str]:
    """What the exercise's judge says in the course's own words."""
    try:
        exercise = exercises.get(id)
    except CourseError:
        return set()
    return {*exercise.says, *(answer.says for answer in exercise.wrong)}
