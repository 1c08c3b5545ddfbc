"""What the grader and the runner of a submission write for each other: a job, and how it went."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from vaetl_helpers.output import write_whole

JOB, OUTCOME, LOG = "job.json", "outcome.json", "log"


@dataclass(frozen=True)
class Limits:
    """What one submission may use; sizes in MB, times in seconds, threads count as processes.

    `start_seconds` are for the kernel and the libraries that the course imports, before anything of
    the submission has run: a slow machine is nobody's fault.
    """

    cell_seconds: int = 60
    seconds: int = 600
    memory: int = 3000
    disk: int = 256
    processes: int = 128
    output: int = 20
    start_seconds: int = 120


class Ending(StrEnum):
    """How the run of an exercise ended."""

    DRIVEN = "driven"  # its function was called, the outputs are here
    TIME = "time"
    ERROR = "error"
    DEAD = "dead"  # the kernel is gone
    NOT_RUN = "not run"


@dataclass(frozen=True)
class ExerciseRun:
    """An exercise after its run; the outputs are in base64, and come from the sandbox."""

    ending: Ending
    message: str = ""
    outputs: list[str] = field(default_factory=list)
    seconds: float = 0.0


@dataclass
class SubmissionRun:
    """A submission after its run, or so far.

    `broken` says what has failed that is not the submission's: no kernel has started, the course's
    own setup has not run, a process was ended from outside. Such a submission is to be tried again.
    """

    notes: list[str] = field(default_factory=list)
    exercises: dict[str, ExerciseRun] = field(default_factory=dict)
    broken: str | None = None

    def with_exercises_of(self, other: SubmissionRun, ids: Collection[str]) -> SubmissionRun:
        """This run with what has become of these exercises in another one, and its notes."""
        exercises = {id: run for id, run in self.exercises.items() if id not in ids}
        for id in ids:
            if id in other.exercises:
                exercises[id] = other.exercises[id]
        return SubmissionRun(other.notes, exercises, other.broken)

    def write(self, folder: Path) -> None:
        """Leaves it in the job's folder, whole or not at all: the writer may be killed."""
        write_whole(folder / OUTCOME, json.dumps(asdict(self)).encode())

    @classmethod
    def read(cls, folder: Path) -> SubmissionRun:
        """What was left in the job's folder; an empty one where that is nothing, or damaged."""
        try:
            content = json.loads((folder / OUTCOME).read_text("utf-8"))
        except (OSError, ValueError):
            return cls()
        return cls.from_dict(content)

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> SubmissionRun:
        """The run that was written down; KeyError, TypeError or ValueError on anything else."""
        exercises = {
            id: ExerciseRun(**(facts | {"ending": Ending(facts["ending"])}))
            for id, facts in content["exercises"].items()
        }
        return cls(content["notes"], exercises, content["broken"])


@dataclass(frozen=True)
class ExerciseJob:
    """An exercise to run: its cells as handed in, its function's name, the check cell below it.

    `reference` is pickled, in base64: the sandbox gets it when the exercise is done. The cells of
    an exercise that is not driven are run for those that follow.
    """

    id: str
    cells: list[str]
    function: str
    check_cell: str
    reference: str = ""
    is_driven: bool = True


@dataclass(frozen=True)
class Job:
    """All that the runner of a submission needs.

    `drawn_inputs` is the folder of what `inside` drives the functions on; `parent` the process that
    waits for the runner.
    """

    parameters: str
    own_setup: list[str]
    course_setup: list[str]
    exercises: list[ExerciseJob]
    limits: Limits
    sandboxed: bool
    drawn_inputs: Path
    parent: int

    def write(self, folder: Path) -> None:
        text = json.dumps(asdict(self), default=str)
        (folder / JOB).write_text(text, encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Job:
        content: dict[str, Any] = json.loads((folder / JOB).read_text("utf-8"))
        content["exercises"] = [ExerciseJob(**facts) for facts in content["exercises"]]
        content["limits"] = Limits(**content["limits"])
        content["drawn_inputs"] = Path(content["drawn_inputs"])
        return cls(**content)
