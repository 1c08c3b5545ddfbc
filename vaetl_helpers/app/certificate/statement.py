"""What a certificate states: exercises with their days, bets, versions, and who says so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from vaetl_helpers.chapters import Chapter, chapters_in, course_dir
from vaetl_helpers.errors import CourseError
from vaetl_helpers.progress import FILE, first_solved
from vaetl_helpers.provenance import today
from vaetl_helpers.settings import versions

LONGEST_NAME = 200
SELF_CHECKED = (
    "This certificate is self-checked: it repeats what the checks in the notebooks noted on the "
    "learner's own machine. Nobody has watched, and the notes are a file that can be edited."
)
GRADED = (
    "The exercises were graded by hidden tests, on inputs that the learner had not seen. "
    "The instructor who signed this certificate answers for the name and for the grading."
)


@dataclass(frozen=True)
class Solved:
    """An exercise that was solved, and on which day (empty: not known)."""

    exercise: str
    day: str = ""


@dataclass(frozen=True)
class ChapterPart:
    """A chapter's solved exercises, of as many as it has."""

    number: str
    title: str
    solved: tuple[Solved, ...]
    count: int


@dataclass(frozen=True)
class Statement:
    """Who has solved what: `basis` is the sentence that says how far it can be trusted.

    `bets` are those that were kept, a sentence each; where there are none, nothing is shown.
    """

    name: str
    day: str
    versions: Mapping[str, str]
    parts: tuple[ChapterPart, ...]
    basis: str = SELF_CHECKED
    bets: tuple[str, ...] = ()

    @property
    def day_of_each(self) -> str:
        """What the day beside an exercise is."""
        return "graded on" if self.basis == GRADED else "solved on"

    @property
    def solved(self) -> int:
        return sum(len(part.solved) for part in self.parts)

    @property
    def count(self) -> int:
        return sum(part.count for part in self.parts)

    @property
    def period(self) -> str:
        """From the first day to the last one; empty where no day is known."""
        days = sorted(one.day for part in self.parts for one in part.solved if one.day)
        if not days:
            return ""
        return days[0] if days[0] == days[-1] else f"{days[0]} to {days[-1]}"


def own_statement(name: str, folder: Path) -> Statement:
    """What the notes in a learner's folder say; CourseError where there are none."""
    days = first_solved(folder)
    if not days:
        raise CourseError(
            f"There is no solved exercise in {folder / FILE}: solve one in a notebook of that "
            "folder, or say by --dir where your notebooks are."
        )
    return state(name, days)


def state(name: str, days: Mapping[str, str], basis: str = SELF_CHECKED) -> Statement:
    """The statement on exercises with the days on which they were solved.

    What the course does not have, of an older version perhaps, is left out. Raises CourseError for
    no name.
    """
    name = " ".join(name.split())
    if not 0 < len(name) <= LONGEST_NAME or not name.isprintable():
        raise CourseError(
            f"A certificate needs a name of at most {LONGEST_NAME} letters: --name 'Ada Lovelace'."
        )
    parts = []
    for chapter in chapters_in(course_dir()).values():
        if chapter.exercises:
            parts.append(_part(chapter, days))
    return Statement(name, today(), versions(), tuple(parts), basis)


def _part(chapter: Chapter, days: Mapping[str, str]) -> ChapterPart:
    exercises = list(dict.fromkeys(chapter.exercises))
    solved = [Solved(exercise, days[exercise]) for exercise in exercises if exercise in days]
    return ChapterPart(chapter.number, chapter.title, tuple(solved), len(exercises))
