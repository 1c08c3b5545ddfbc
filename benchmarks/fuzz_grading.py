"""Mutated notebooks through check-submission, collection and grading: nothing crashes or is lost.

    python benchmarks/fuzz_grading.py                         1000 notebooks, 100 in the sandbox
    python benchmarks/fuzz_grading.py --count 60 --graded 0   a quick look
    python benchmarks/fuzz_grading.py --seed 0 --only 17      one of them again, in the sandbox too

Each notebook knows what it must get (`mutations.py`). All of them go through what `vaetl
check-submission` calls, and lie in the inboxes of a hundred students with ten attempts each, which
`vaetl grade` collects, grades and reports on. There the cells are run in this process, because a
thousand kernels would take hours; all else is the real thing. Some notebooks, `--graded`, are
graded as they are by an instructor: in the sandbox, by the hidden tests. Whatever is not as it must
be is printed with the command that repeats it, and the exit code is 1 then.
"""

from __future__ import annotations

import argparse
import asyncio
import builtins
import contextlib
import csv
import io
import os
import random
import re
import sys
import tempfile
import time
import traceback
import unicodedata
import zipfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import matplotlib.pyplot as plt
from IPython.core.inputtransformer2 import TransformerManager
from mutations import CHAPTERS, KINDS, Draft, assignment_of, drafted

from vaetl_helpers.errors import CourseError
from vaetl_helpers.grading import judge
from vaetl_helpers.grading.course import check_submission, grade
from vaetl_helpers.grading.notebooks import SHOWN_CHARACTERS, is_notebook
from vaetl_helpers.grading.result import Result, Status
from vaetl_helpers.grading.sandbox import inside, runner
from vaetl_helpers.grading.submissions import collect

ATTEMPTS = 10  # of a student
EVERY = 50  # notebooks between two lines of progress
START = 1_790_000_000  # when the first attempt was handed in, in seconds
FIRST_NAMES = (
    "Ada",
    "Zoë",
    "Jean-Luc",
    "李",
    "Siobhán",
    "O'Neil",
    "Ben",
    "Mary Ann",
    "Ömer",
    "Eve",
)
LAST_NAMES = (
    "Lovelace",
    "Ångström",
    "雷",
    "de la Cruz",
    "Núñez",
    "Smith",
    "Kowalski",
    "Ngô",
    "X",
    "Y",
)
NOT_OURS = {"class list.csv": b"name\n", "notes.txt": b"for myself", "Thumbs.db": b"\0"}
STATUSES = "|".join(Status)
KINDS_OF_FINDINGS = ("crash", "wrong mark", "missing in report", "wrongly read", "wrongly refused")

# What a notebook is called where a folder or a prefix says whose it is: {n} is the chapter's name.
INNER_NAMES = (
    "{n}.ipynb",
    "{n} (1).ipynb",
    "Copy of {n}.ipynb",
    "{number} (1).ipynb",
    "{n}.ipynb.txt",
    "Untitled.ipynb",
    "homework final FINAL.ipynb",
    "{n}(2).IPYNB",
    "{n}-1.ipynb",
    "{n}.ipynb.json",
    "notebook.json",
    "notebook",
)
# Attempts whose names say whose they are: {s} is the student.
FLAT_NAMES = (
    "{s}.ipynb",
    "{s} (1).ipynb",
    "Copy of {s}.ipynb",
    "{s} - Copy.ipynb",
    "{n}_{s}.ipynb",
    "{s}_{n}.ipynb",
    "{s}_{n} (1).ipynb",
    "{n} {s}.ipynb",
    "{s}.ipynb.txt",
    "{s} copy.ipynb",
    "{s}.IPYNB",
    "{s}.ipynb.json",
    "{s}-{n}.ipynb",
)
# Layouts of learning platforms: the path of an attempt, and the name that the report shows.
LAYOUTS = (
    ("{name}/{k:02d}/{file}", "{name}"),
    ("{flat}", "{s}"),
    ("{name}_{id}_assignsubmission_file_/{k:02d} {file}", "{name}"),
    ("{name}_{id}_assignsubmission_file_{k:02d} {file}", "{name}"),
    ("{s}_{id}_{upload}_{file}", "{s}"),
    ("{s}_LATE_{id}_{upload}_{file}", "{s}"),
    ("Assignment 3_{s}_attempt_2026-11-{day:02d}-10-11-12_{file}", "{s}"),
    ("{id}-678901 - {name} - Nov {day}, 2026 1011 AM/{file}", "{name}"),
)


@dataclass(frozen=True)
class HandIn:
    """A notebook among the attempts of a student, and where it lies in the inbox."""

    index: int
    student: int
    attempt: int
    draft: Draft
    path: str

    @property
    def file_name(self) -> str:
        return self.draft.file_name or self.path.rpartition("/")[2]

    @property
    def is_counted(self) -> bool:
        """Whether it is a notebook by the end of its name, or by its content."""
        return self.path.lower().endswith(".ipynb") or is_notebook(self.draft.data)

    @property
    def is_to_be_named(self) -> bool:
        """Whether it is called a notebook and holds none; data may be called .json, too."""
        return ".ipynb" in self.path.lower() and not self.is_counted


@dataclass
class Findings:
    """What was counted, and what was not as it must be."""

    seed: int
    counts: Counter[str] = field(default_factory=Counter)
    lines: list[str] = field(default_factory=list)

    def add(self, kind: str, hand_in: HandIn, text: str) -> None:
        self.counts[kind] += 1
        line = f"{kind}: {' + '.join(hand_in.draft.kinds)}, {hand_in.path}: {text}"
        self.lines.append(f"{line}\n    --seed {self.seed} --only {hand_in.index}")
        print(self.lines[-1], flush=True)


# Cells in this process


class KernelHere:
    """Runs cells in this process, in place of `runner.Kernel`: they are the course's own text."""

    def __init__(self, limits: Any, drawn_inputs: Path, sandboxed: bool, job_folder: Path) -> None:
        self.drawn_inputs = drawn_inputs
        self.outputs: list[str] | None = None
        self.names: dict[str, Any] = {}

    async def start(self) -> None:
        inside.folder = self.drawn_inputs
        inside.shared.cache_clear()
        inside.references.clear()
        functions = vars(builtins) | {"__import__": import_for_learners}
        self.names = {"__name__": "__main__", "__builtins__": functions}
        self.names["get_ipython"] = self.get_ipython

    async def stop(self) -> None:
        plt.close("all")

    async def run(self, code: str, seconds: float) -> runner.CodeRun:
        self.outputs = None
        silent = contextlib.redirect_stdout(io.StringIO())
        try:
            with silent, patch("IPython.display.display", self.keep):
                self.execute(code)
        except (Exception, SystemExit) as error:
            return runner.CodeRun("error", f"{type(error).__name__}: {error}"[:300], self.outputs)
        return runner.CodeRun(outputs=self.outputs)

    def execute(self, code: str) -> None:
        """Runs a cell, magics included: those of a cell run what is below them."""
        code = TransformerManager().transform_cell(code)
        exec(compile(code, "<cell>", "exec"), self.names)

    def get_ipython(self) -> SimpleNamespace:
        def nothing(*arguments: Any) -> None:
            """What a magic of a line or a command of the system does here."""

        def run_cell_magic(name: str, line: str, body: str) -> None:
            self.execute(body)

        return SimpleNamespace(
            run_cell_magic=run_cell_magic, run_line_magic=nothing, system=nothing
        )

    def keep(self, data: Any, **options: Any) -> None:
        if isinstance(data, dict) and inside.OUTPUTS in data:
            self.outputs = data[inside.OUTPUTS]


def import_for_learners(name: str, *arguments: Any, **options: Any) -> Any:
    """As in the sandbox, `inside` takes the place of the exercises."""
    if name == runner.EXERCISES:
        return inside
    return builtins.__import__(name, *arguments, **options)


def run_here(grader: judge.Grader, command: list[str], folder: Path) -> judge.Ended:
    asyncio.run(runner.SubmissionRunner(folder).work())
    return judge.Ended(0)


@contextlib.contextmanager
def cells_run_here() -> Iterator[None]:
    with (
        patch.object(judge.Grader, "run_process", run_here),
        patch.object(runner, "Kernel", KernelHere),
    ):
        yield


# Whose notebooks they are


def chapter_of_student(seed: int, student: int) -> str:
    return random.Random(f"{seed} student {student}").choice(CHAPTERS)


def handed_in(seed: int, index: int, students: int) -> HandIn:
    """The notebook of this index, as one of a student's attempts."""
    student = index % students
    attempt = index // students
    number = chapter_of_student(seed, student)
    draft = drafted(seed, index, number)
    return HandIn(index, student, attempt, draft, path_of(student, attempt, number)[0])


def path_of(student: int, attempt: int, number: str) -> tuple[str, str]:
    """The path of an attempt in the inbox, and the name of the student in the report."""
    first = FIRST_NAMES[student % len(FIRST_NAMES)]
    last = LAST_NAMES[student // len(FIRST_NAMES) % len(LAST_NAMES)]
    words: dict[str, Any] = {
        "name": f"{first} {last}{student}",
        "s": f"student{student}",
        "n": assignment_of(number).name,
        "number": number,
        "id": 1000 + student,
        "upload": 50_000 + attempt,
        "k": attempt,
        "day": 1 + attempt,
    }
    words["flat"] = f"{words['s']} ({attempt}).ipynb"
    if attempt < len(FLAT_NAMES):
        words["flat"] = FLAT_NAMES[attempt].format(**words)
    words["file"] = INNER_NAMES[(student + attempt) % len(INNER_NAMES)].format(**words)
    path, name = LAYOUTS[student % len(LAYOUTS)]
    # macOS writes a letter and its accent as two characters, others as one.
    form = ("NFC", "NFD")[attempt % 2]
    return unicodedata.normalize(form, path.format(**words)), name.format(**words)


# `vaetl check-submission`


def check_all(hand_ins: Iterable[HandIn], total: int, findings: Findings) -> None:
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as name, cells_run_here():
        for number, hand_in in enumerate(hand_ins, start=1):
            folder = Path(name, str(hand_in.index))
            folder.mkdir()
            check_one(hand_in, folder / hand_in.file_name, findings)
            if number % EVERY == 0 or number == total:
                seconds = time.perf_counter() - began
                print(f"check-submission: {number}/{total}, {seconds:.0f} s", flush=True)
    findings.counts["seconds of check-submission"] = round(time.perf_counter() - began)


def check_one(hand_in: HandIn, path: Path, findings: Findings) -> None:
    """Compares what `vaetl check-submission` says to a file with what it must say."""
    draft = hand_in.draft
    path.write_bytes(draft.data)
    output = io.StringIO()
    try:
        with contextlib.redirect_stdout(output):
            code = check_submission(path, draft.chapter)
    except CourseError as error:
        check_refusal(hand_in, str(error), findings)
        return
    except Exception:
        findings.add("crash", hand_in, traceback.format_exc())
        return
    if draft.refused is not None or draft.check_refused:
        findings.add("wrongly read", hand_in, output.getvalue())
        return
    statuses = shown_statuses(output.getvalue())
    compare(hand_in, statuses, "check-submission", findings)
    is_missing = Status.MISSING in statuses.values()
    if code != is_missing:
        findings.add("wrong exit code", hand_in, f"{code}\n{output.getvalue()}")
    findings.counts["read by check-submission"] += 1


def check_refusal(hand_in: HandIn, sentence: str, findings: Findings) -> None:
    draft = hand_in.draft
    words = draft.check_refused or draft.refused
    if words is None and hand_in.is_counted:
        findings.add("wrongly refused", hand_in, sentence)
    elif not re.fullmatch(r"\S.{20,}[.]", sentence, re.DOTALL):
        findings.add("no sentence", hand_in, sentence)
    elif words not in sentence and is_notebook_by_name(hand_in):
        findings.add("another sentence", hand_in, f"{sentence!r} without {words!r}")
    findings.counts["refused by check-submission"] += 1


def is_notebook_by_name(hand_in: HandIn) -> bool:
    return hand_in.file_name.lower().endswith(".ipynb")


def shown_statuses(text: str) -> dict[str, Status]:
    """The statuses in the table that was printed."""
    rows = re.findall(rf"^(\w+\.\w+) +({STATUSES})\b", text, re.MULTILINE)
    return {id: Status(status) for id, status in rows}


def compare(hand_in: HandIn, statuses: dict[str, Status], where: str, findings: Findings) -> None:
    """Notes the exercises that have a mark which they must not have."""
    for exercise in hand_in.draft.assignment.exercises:
        allowed = hand_in.draft.statuses[exercise.id]
        status = statuses.get(exercise.id)
        if status not in allowed:
            expected = " or ".join(sorted(allowed))
            text = f"{where}: {exercise.id} is {status} and must be {expected}"
            findings.add("wrong mark", hand_in, text)


# The inbox


def grade_inbox(hand_ins: list[HandIn], findings: Findings) -> None:
    """All notebooks of a chapter in one inbox: what is collected, graded and reported."""
    number = hand_ins[0].draft.assignment.number
    with tempfile.TemporaryDirectory() as name, cells_run_here():
        inbox = Path(name, "inbox")
        for hand_in in hand_ins:
            write(inbox / hand_in.path, hand_in.draft.data, START + 60 * hand_in.attempt)
        for file_name, data in NOT_OURS.items():
            write(inbox / file_name, data, START)
        archive = zipped(inbox, Path(name, "inbox.zip"))
        for source in (inbox, archive):
            collection = collect(source, assignment_of(number))
            compare_collection(collection, hand_ins, findings)
        out = Path(name, "out")
        with contextlib.redirect_stdout(io.StringIO()):
            grade(inbox, number, out, jobs=1)
        compare_report(out, number, hand_ins, findings)


def write(path: Path, data: bytes, seconds: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    os.utime(path, (seconds, seconds))


def zipped(folder: Path, path: Path) -> Path:
    """The folder as a learning platform would export it."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, file.relative_to(folder))
    return path


def by_student(hand_ins: Iterable[HandIn]) -> dict[str, list[HandIn]]:
    """The attempts by the name that the report shows."""
    groups = defaultdict(list)
    for hand_in in hand_ins:
        number = hand_in.draft.assignment.number
        groups[path_of(hand_in.student, hand_in.attempt, number)[1]].append(hand_in)
    return groups


def expected_attempt(attempts: list[HandIn]) -> HandIn:
    """The newest one that can be graded, or the newest of all."""
    notebooks = [attempt for attempt in attempts if attempt.is_counted] or attempts
    return max(notebooks, key=lambda hand_in: (hand_in.draft.refused is None, hand_in.attempt))


def compare_collection(collection: Any, hand_ins: list[HandIn], findings: Findings) -> None:
    """Each file is one student's, and counted in the note on the choice, or left out by name."""
    submissions = {submission.name: submission for submission in collection.submissions}
    names = by_student(hand_ins)
    for name in NOT_OURS:
        if name not in collection.left_out:
            findings.add("missing in report", hand_ins[0], f"{name} is not left out by name")
    for name in submissions.keys() - names.keys():
        findings.add("wrong student", hand_ins[0], f"nobody is called {name}")
    for name, attempts in names.items():
        if name not in submissions:
            findings.add("missing in report", attempts[0], f"{name} is not collected")
            continue
        submission = submissions[name]
        attempt_that_counts = expected_attempt(attempts)
        if submission.data != attempt_that_counts.draft.data and not submission.fault:
            findings.add("wrong attempt", attempt_that_counts, f"{name}: {submission.notes}")
        count = sum(attempt.is_counted for attempt in attempts)
        notes = " ".join(submission.notes)
        is_told = count < 2 or f"There were {count} notebooks" in notes
        if not is_told:
            findings.add("missing in report", attempt_that_counts, f"{count} notebooks: {notes}")
        for attempt in attempts:
            start_of_name = attempt.path.rpartition("/")[2][:SHOWN_CHARACTERS]
            if count and attempt.is_to_be_named and start_of_name not in notes:
                findings.add("missing in report", attempt, f"it is not named: {notes}")


def compare_report(out: Path, number: str, hand_ins: list[HandIn], findings: Findings) -> None:
    """Marks in the results and in grades.csv are those of the attempt that counts."""
    results = {}
    for path in (out / "graded" / number).glob("*.json"):
        result = Result.from_json(path.read_text("utf-8"))
        results[result.name] = result
    rows = list(csv.DictReader(io.StringIO((out / "grades.csv").read_text("utf-8"))))
    points = {(row["student"], row["exercise"]): row["points"] for row in rows}
    report = (out / "report.html").read_text("utf-8")
    for name, attempts in by_student(hand_ins).items():
        attempt_that_counts = expected_attempt(attempts)
        if name not in results or results[name].student not in report:
            findings.add("missing in report", attempt_that_counts, f"{name} has no result")
            continue
        result = results[name]
        statuses = {exercise.id: exercise.status for exercise in result.exercises}
        compare(attempt_that_counts, statuses, "grade", findings)
        compare_points(attempt_that_counts, result, points, findings)
        findings.counts["students in reports"] += 1
    for name in NOT_OURS:
        if name not in report:
            findings.add("missing in report", hand_ins[0], f"{name} is not named")


def compare_points(
    hand_in: HandIn, result: Result, points: dict[tuple[str, str], str], findings: Findings
) -> None:
    for exercise in hand_in.draft.assignment.exercises:
        in_table = points.get((result.student, exercise.id), "none")
        allowed = {f"{number:g}" for number in hand_in.draft.points_allowed(exercise)}
        if in_table not in allowed:
            findings.add("wrong mark", hand_in, f"{exercise.id}: {in_table} points in grades.csv")


# The sandbox


def grade_in_sandbox(hand_ins: list[HandIn], jobs: int, findings: Findings) -> None:
    """Each notebook as a student of its own, graded as an instructor grades."""
    number = hand_ins[0].draft.assignment.number
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as name:
        inbox, out = Path(name, "inbox"), Path(name, "out")
        for hand_in in hand_ins:
            path = inbox / f"n{hand_in.index}" / hand_in.file_name
            write(path, hand_in.draft.data, START)
        grade(inbox, number, out, jobs=jobs)
        for hand_in in hand_ins:
            path = out / "graded" / number / f"n{hand_in.index}.json"
            if not path.exists():
                findings.add("missing in report", hand_in, "no result")
                continue
            result = Result.from_json(path.read_text("utf-8"))
            statuses = {exercise.id: exercise.status for exercise in result.exercises}
            compare(hand_in, statuses, "sandbox", findings)
            findings.counts["graded in the sandbox"] += 1
    findings.counts["seconds in the sandbox"] += round(time.perf_counter() - began)


def by_chapter(hand_ins: Iterable[HandIn]) -> dict[str, list[HandIn]]:
    groups = defaultdict(list)
    for hand_in in hand_ins:
        groups[hand_in.draft.assignment.number].append(hand_in)
    return groups


def fuzz(seed: int, count: int, graded: int, jobs: int = 2) -> Findings:
    """All of it; what was found."""
    findings = Findings(seed)
    students = max(1, count // ATTEMPTS)
    hand_ins = [handed_in(seed, index, students) for index in range(count)]
    check_all(hand_ins, count, findings)
    began = time.perf_counter()
    for number, group in sorted(by_chapter(hand_ins).items()):
        print(f"inbox of chapter {number}: {len(group)} files", flush=True)
        grade_inbox(group, findings)
    findings.counts["seconds of the inboxes"] = round(time.perf_counter() - began)
    chosen = random.Random(seed).sample(hand_ins, min(graded, count))
    for group in by_chapter(chosen).values():
        grade_in_sandbox(group, jobs, findings)
    for hand_in in hand_ins:
        findings.counts.update(f"kind: {kind}" for kind in hand_in.draft.kinds)
    return findings


def only(seed: int, count: int, index: int, is_sandboxed: bool) -> Findings:
    """One notebook again, with all attempts of its student."""
    findings = Findings(seed)
    students = max(1, count // ATTEMPTS)
    hand_in = handed_in(seed, index, students)
    print(f"{hand_in.path}: {' + '.join(hand_in.draft.kinds)}")
    check_all([hand_in], 1, findings)
    indices = range(index % students, count, students)
    grade_inbox([handed_in(seed, number, students) for number in indices], findings)
    if is_sandboxed:
        grade_in_sandbox([hand_in], 1, findings)
    return findings


def main() -> None:
    """Prints the figures; the exit code is 1 where something is not as it must be."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--graded", type=int, default=100, help="of them, in the sandbox")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", type=int, metavar="INDEX")
    options = parser.parse_args()
    began = time.perf_counter()
    if options.only is None:
        findings = fuzz(options.seed, options.count, options.graded, options.jobs)
    else:
        findings = only(options.seed, options.count, options.only, options.graded > 0)
    print()
    for name in KINDS_OF_FINDINGS:
        findings.counts[name] += 0  # it is to be seen that there is none
    for name, number in sorted(findings.counts.items()):
        print(f"{number:6d}  {name}")
    print(f"{len(KINDS)} kinds of mutations, seed {options.seed}")
    print(f"{len(findings.lines)} findings in {time.perf_counter() - began:.0f} s")
    sys.exit(1 if findings.lines else 0)


if __name__ == "__main__":
    main()
