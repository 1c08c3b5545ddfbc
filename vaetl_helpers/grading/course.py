"""One call of `vaetl grade` or `vaetl check-submission`, from the files to the pages.

Between the judge and the hand-over to gradebook, feedback and report, results live as JSON files in
the folder `graded`: what is graded stays graded when a run is interrupted, and everything that
people read is made of these files.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import sys
import zipfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from vaetl_helpers.chapters import chapters_in, course_dir, typed
from vaetl_helpers.errors import CourseError, unknown_name_error
from vaetl_helpers.grading.judge import (
    TRIALS,
    Grader,
    derive,
    fingerprint,
    grade_all,
    hidden_seeds,
    hidden_tests,
    parameters_source,
    secret_of,
)
from vaetl_helpers.grading.kept_runs import KeptRuns, tests_digests
from vaetl_helpers.grading.notebooks import (
    Assignment,
    Content,
    Unreadable,
    chapter_of,
    find_assignment,
    listed,
    read,
)
from vaetl_helpers.grading.pages import (
    class_page,
    feedback_page,
    problem_sentences,
    report_page,
    unknown_cells_sentences,
)
from vaetl_helpers.grading.result import GradedBy, Result
from vaetl_helpers.grading.sandbox import Limits, why_unavailable
from vaetl_helpers.grading.submissions import (
    ARCHIVES,
    MB,
    MEGABYTES,
    WITH_OUTPUTS,
    Submission,
    collect,
    find_submissions,
)
from vaetl_helpers.output import format_table, say, write_whole

UNSAFE = (
    "Without a sandbox each submission runs with your rights: "
    "it can read and delete your files and use the network."
)
INTERRUPTED = 130  # the exit code after Ctrl-C
LIMITS_OF_A_GRADER = (
    "and unless it is told otherwise with at most {cell_seconds} s for a cell, {seconds} s, "
    "{memory} MB of memory and {processes} processes and threads for the notebook."
)


@dataclass(frozen=True)
class CourseFolder:
    """The folder of an instructor's course, and where things lie in it."""

    path: Path

    @property
    def grades(self) -> Path:
        return self.path / "grades.csv"

    @property
    def report(self) -> Path:
        return self.path / "report.html"

    @property
    def class_view(self) -> Path:
        return self.path / "class.html"

    def graded(self, assignment: Assignment) -> Path:
        """The folder of the assignment's results."""
        return self.path / "graded" / assignment.number

    def result(self, assignment: Assignment, student: str) -> Path:
        return self.graded(assignment) / f"{student}.json"

    def runs(self, assignment: Assignment) -> Path:
        """The folder of what the sandbox has sent back."""
        return self.graded(assignment) / "runs"

    def left_out(self, assignment: Assignment) -> Path:
        """What lay among the submissions of the last call and is nobody's."""
        return self.graded(assignment) / "left_out.txt"

    def feedback(self, assignment: Assignment, student: str) -> Path:
        return self.path / "feedback" / student / assignment.number / f"{assignment.name}.html"

    def submitted(self, assignment: Assignment, student: str) -> Path:
        return self.path / "submitted" / student / assignment.number / assignment.file_name

    def release(self, assignment: Assignment) -> Path:
        return self.path / "release" / assignment.number / assignment.file_name


def grade(  # noqa: PLR0913  (the options of the command)
    source: Path,
    chapter: str,
    out: Path,
    *,
    jobs: int = 2,
    parameters: Mapping[str, str] | None = None,
    limits: Limits | None = None,
    sandboxed: bool = True,
    only: str | None = None,
) -> int:
    """Grades what lies in `source` into the course folder `out`; returns the exit code.

    That is 0, or 130 after Ctrl-C. A submission that is graded stays so until it, the tests, the
    parameters, the limits or the course change. With `only`, the id of an exercise, this one is
    judged again for everybody, and the others of a graded submission stay as they are. Raises
    CourseError where there can be no sandbox, and for wrong use.
    """
    from vaetl_helpers.grading import gradebook

    _refuse_or_warn(sandboxed, source, out)
    assignment = find_assignment(chapter)
    if only is not None and only not in assignment.ids:
        raise unknown_name_error("exercise", only, assignment.ids)
    submissions, left_out = collect(source, assignment)
    values = _parameters(assignment, parameters or {})
    folder = CourseFolder(out)
    if not _is_handed_out(assignment, folder):
        gradebook.assign(assignment, out)
    secret = secret_of(out, values.get("seed"))
    seed = derive(secret, "the notebook's seed")
    cell = parameters_source(assignment, {"profile": "smoke"} | values | {"seed": seed})
    limits = limits or Limits()
    settings = f"{cell}\n{limits}"
    digests = {}
    for submission in submissions:
        digests[submission.student] = fingerprint(submission, assignment, secret, settings)
    exit_code = 0
    with hidden_tests(assignment, hidden_seeds(assignment, secret)) as tests:
        kept = KeptRuns(folder.runs(assignment), assignment, tests_digests(tests.inputs), settings)
        grader = Grader(assignment, tests, cell, limits, sandboxed, kept, only)
        try:
            if _are_lowered(grader.limits):
                grader.try_out()
            _grade(grader, submissions, jobs, folder, digests)
        except KeyboardInterrupt:
            exit_code = INTERRUPTED
            say("\ninterrupted: what is graded stays graded; the same command goes on", flush=True)
    _keep_left_out(folder.left_out(assignment), left_out)
    _hand_over(assignment, folder, submissions)
    return exit_code


def _refuse_or_warn(sandboxed: bool, source: Path, out: Path) -> None:
    if out.resolve().is_relative_to(source.resolve()):
        raise CourseError(
            f"{out} lies in {source}, where submissions are looked for: choose another with --out."
        )
    if not sandboxed:
        say(f"WARNING: {UNSAFE}", file=sys.stderr, flush=True)
        return
    reason = why_unavailable()
    if reason:
        raise CourseError(
            f"No sandbox, so nothing was run: {reason}. "
            "--unsafe-no-sandbox does without, at your own risk."
        )


def _are_lowered(limits: Limits) -> bool:
    """Whether a submission may use less of anything than it may by default."""
    by_default = asdict(Limits())
    return any(value < by_default[name] for name, value in asdict(limits).items())


def _is_handed_out(assignment: Assignment, folder: CourseFolder) -> bool:
    """Whether the folder holds this assignment as the course has it now."""
    try:
        release = read(folder.release(assignment).read_bytes(), assignment)
    except (OSError, Unreadable):
        return False
    stubs = {exercise.id: (exercise.stub,) for exercise in assignment.exercises}
    unchanged = Content(setup=assignment.setup, cells=stubs)
    return release == unchanged and (folder.path / "gradebook.db").exists()


def _parameters(assignment: Assignment, texts: Mapping[str, str]) -> dict[str, Any]:
    """The values of the chapter's parameters that a person has set."""
    annotations = chapters_in(course_dir())[assignment.number].parameters
    values = {}
    for name, text in texts.items():
        if name not in annotations:
            raise unknown_name_error("parameter", name, annotations)
        values[name] = typed(name, text, annotations[name])
    return values


def _changed(
    submissions: Sequence[Submission],
    assignment: Assignment,
    folder: CourseFolder,
    digests: Mapping[str, str],
) -> list[Submission]:
    """The submissions that have no result, or one of another digest."""
    changed = []
    for submission in submissions:
        result = _load(folder.result(assignment, submission.student))
        if result is None or result.digest != digests[submission.student]:
            changed.append(submission)
    return changed


def _grade(
    grader: Grader,
    submissions: Sequence[Submission],
    jobs: int,
    folder: CourseFolder,
    digests: Mapping[str, str],
) -> None:
    """Grades what has changed, and keeps each result at once."""
    to_grade = submissions
    if grader.only is None:
        to_grade = _changed(submissions, grader.assignment, folder, digests)
    for submission in to_grade:
        if _load(folder.result(grader.assignment, submission.student)):
            grader.graded.add(submission.student)
    plans = {submission.student: grader.plan(submission) for submission in to_grade}
    to_run = sum(bool(plan.driven) for plan in plans.values())
    say(
        f"{len(submissions)} submissions of {grader.assignment.name}, {len(to_grade)} to grade, "
        f"{to_run} to run, results in {folder.path}",
        flush=True,
    )
    changes: list[tuple[str, str, str]] = []
    has_terminal = sys.stderr.isatty()
    bar = tqdm(total=len(to_grade), unit="submission", disable=not has_terminal)
    with bar, closing(grade_all(grader, to_grade, jobs)) as results:
        for number, result in enumerate(results, start=1):
            path = folder.result(grader.assignment, result.student)
            before = _load(path)
            if not result.broken:  # otherwise it is graded anew by the next call
                result = result.with_digest(digests[result.student])
            is_whole = plans[result.student].judged == grader.ids
            if before and grader.only and not is_whole:
                result = _with_new_judgement(before, result, grader.only)
            changes += _changes(before, result)
            _save(path, result)
            bar.update()
            if not has_terminal:
                say(f"{number}/{len(to_grade)} {result.student}: {result.score}", flush=True)
    if changes:
        header = ("student", "exercise", "points before and now")
        say("\nother points than before:\n" + format_table(header, sorted(changes)))


def _with_new_judgement(before: Result, now: Result, id: str) -> Result:
    """The stored result with one exercise as it is judged now; as it was where nothing has run."""
    if now.broken:
        say(f"{now.student} could not be run and keeps its points: {now.exercise(id).message}")
        return before
    return before.with_exercise(now.exercise(id))


def _changes(before: Result | None, now: Result) -> list[tuple[str, str, str]]:
    """Student, exercise and points of what is worth another number of points than before."""
    changes = []
    earlier = {exercise.id: exercise.points for exercise in before.exercises} if before else {}
    for exercise in now.exercises:
        points = earlier.get(exercise.id, exercise.points)
        if points != exercise.points:
            changes.append((now.student, exercise.id, f"{points:g} → {exercise.points:g}"))
    return changes


def _load(path: Path) -> Result | None:
    """A stored result; None where there is none, or a damaged one, which is graded anew."""
    try:
        return Result.from_json(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None


def _load_all(folder: Path) -> list[Result]:
    loaded = [_load(path) for path in sorted(folder.glob("*.json"))]
    results = [result for result in loaded if result]
    names = Counter(result.name for result in results)
    return [_told_apart(result) if names[result.name] > 1 else result for result in results]


def _told_apart(result: Result) -> Result:
    """The result with the name of its folder: there is another student of the same name."""
    return dataclasses.replace(result, name=f"{result.name} ({result.student})")


def _save(path: Path, result: Result) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, result.to_json())
    except OSError as error:
        raise CourseError(
            f"{path} cannot be written ({error.strerror or error}): free some space "
            "and run the same command again; what is graded is kept."
        ) from error


def _hand_over(
    assignment: Assignment, folder: CourseFolder, submissions: Sequence[Submission]
) -> None:
    """Writes what is made of the stored results: gradebook, feedback, grades.csv, report.html."""
    from vaetl_helpers.grading import gradebook

    results = _load_all(folder.graded(assignment))
    left_out = {}
    _keep_submitted(assignment, folder, submissions)
    gradebook.record(assignment, folder.path, results)
    for result in results:
        page = folder.feedback(assignment, result.student)
        page.parent.mkdir(parents=True, exist_ok=True)
        write_whole(page, feedback_page(result, assignment))
    results_of_course: list[Result] = []
    assignments = {}
    for graded in sorted((folder.path / "graded").iterdir()):
        assignments[graded.name] = find_assignment(graded.name)
        left_out[graded.name] = _left_out(folder.left_out(assignments[graded.name]))
        by_us = _load_all(graded)
        students = {result.student for result in by_us}
        by_formgrader = gradebook.public_only(assignments[graded.name], folder.path, students)
        results_of_course += by_us + by_formgrader
    table = grades_table(results_of_course)
    write_whole(folder.grades, table)
    report = report_page(results_of_course, assignments, left_out)
    write_whole(folder.report, report)
    write_whole(folder.class_view, class_page(results_of_course, assignments))
    _print_summary(folder, results)
    if left_out[assignment.number]:
        say(f"left out, being nobody's notebook: {listed(left_out[assignment.number])}")


def _keep_left_out(path: Path, names: Sequence[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, "\n".join(names).encode(errors="replace"))


def _left_out(path: Path) -> list[str]:
    with suppress(OSError):
        return path.read_text("utf-8").splitlines()
    return []


def _print_summary(folder: CourseFolder, results: Iterable[Result]) -> None:
    rows = []
    for result in results:
        rows.append((result.student, result.score, ", ".join(_failures(result))))
    say("\n" + format_table(("student", "points", "not correct"), rows))
    say(f"\ngrades: {folder.grades}")
    say(f"report: {folder.report}")
    say(f"to show in class, without names: {folder.class_view}")
    say(f"feedback: {folder.path / 'feedback'}")
    not_run = [result.name for result in results if result.broken]
    if not_run:
        say(
            f"not run, through no fault that is known: {listed(not_run)}. "
            "The same command tries again."
        )
    say(f"next: vaetl lab --instructor --dir {folder.path}  (Formgrader, with the same points)")


def _failures(result: Result) -> list[str]:
    """What is not correct, exercise by exercise; in one word where it is the same for all."""
    statuses = result.status_counts()
    if len(statuses) == 1 and result.not_correct:
        return [f"all: {status}" for status in statuses]
    return [f"{exercise.id}: {exercise.status}" for exercise in result.not_correct]


def grades_table(results: Iterable[Result]) -> str:
    """The table of all points as CSV, always in the same order."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("student", "exercise", "points", "status", "parts"))
    for result in sorted(results, key=lambda result: (result.assignment, result.student)):
        for exercise in result.exercises:
            status = str(exercise.status)
            if result.tests == GradedBy.PUBLIC_CHECKS:
                status += ", by public checks only"
            parts = "; ".join(part.text for part in exercise.parts)
            writer.writerow((result.student, exercise.id, f"{exercise.points:g}", status, parts))
    return text.getvalue()


def _keep_submitted(
    assignment: Assignment, folder: CourseFolder, submissions: Sequence[Submission]
) -> None:
    """Copies the files to where nbgrader looks for them."""
    for submission in submissions:
        path = folder.submitted(assignment, submission.student)
        is_there = path.exists() and path.read_bytes() == submission.data
        if submission.data and not is_there:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(submission.data)


def check_submission(file: Path, chapter: str | None = None) -> int:
    """What a learner runs before handing in: looks for all graded cells, runs the public checks.

    Returns 0 where all graded cells are there, otherwise 1, whatever the checks say.
    """
    submission, assignment = _own_submission(file, chapter)
    content = read(submission.data, assignment)
    say("\n".join([*_cells_to_look_at(content, assignment), *submission.notes]))
    say(f"running the setup cells and {len(content.cells)} exercises …", flush=True)
    result = _public_result(submission, assignment)
    rows = [(exercise.id, exercise.status, exercise.message) for exercise in result.exercises]
    say("\n" + format_table(("exercise", "status", "message"), rows))
    said_before = {*submission.notes, *content.notes}
    say("\n".join(note for note in result.notes if note not in said_before))
    say(
        f"{result.score} in the public checks, and only these were run.",
        "A grader draws other inputs, and runs the setup and exercise cells only,",
        LIMITS_OF_A_GRADER.format(**asdict(Limits())),
    )
    is_complete = all(exercise.id in content.cells for exercise in assignment.exercises)
    return 0 if is_complete else 1


def _own_submission(file: Path, chapter: str | None) -> tuple[Submission, Assignment]:
    """A learner's file as a grader would collect it, so that the same rules hold.

    CourseError where it would not be read.
    """
    try:
        with file.open("rb") as opened:
            data = opened.read(WITH_OUTPUTS * MEGABYTES * MB)
    except OSError as error:
        raise CourseError(
            f"{file} cannot be read ({error.strerror}): give the path of your notebook."
        ) from error
    if file.suffix.lower() in ARCHIVES or zipfile.is_zipfile(file):
        raise Unreadable(
            f"{file} is an archive, which a grader would not open: hand in the notebook itself."
        )
    if file.name.startswith("."):
        raise CourseError(f"{file.name} is hidden, and a grader would not see it: rename it.")
    if file.stat().st_size > WITH_OUTPUTS * MEGABYTES * MB:
        raise Unreadable(
            f"{file} has more than {WITH_OUTPUTS * MEGABYTES} MB, and a grader would not read it: "
            "clear its outputs (Edit, Clear Outputs of All Cells), save it, and hand in that."
        )
    assignment = find_assignment(chapter or chapter_of(data, file.name))
    (submission,) = find_submissions(file, assignment)
    if submission.fault:
        raise Unreadable(f"A grader could not read {file}: {submission.fault}.")
    return submission, assignment


def _cells_to_look_at(content: Content, assignment: Assignment) -> list[str]:
    """Lines on what was changed in the notebook."""
    lines = [f"  notebook: {note}" for note in content.notes]
    for exercise in assignment.exercises:
        for sentence in problem_sentences(content.problems_of(exercise)):
            lines.append(f"  {exercise.id}: {sentence}")
    for sentence in unknown_cells_sentences(content.unknown_cells, assignment.number):
        lines.append(f"  notebook: {sentence}")
    if not lines:
        return ["All graded cells are there."]
    return ["cells to look at:", *lines]


def _public_result(submission: Submission, assignment: Assignment) -> Result:
    """What comes of the checks whose seeds everybody knows, without a sandbox."""
    seeds = {exercise.id: range(TRIALS) for exercise in assignment.exercises}
    cell = parameters_source(assignment, {"profile": "smoke"})
    with hidden_tests(assignment, seeds) as tests:
        grader = Grader(assignment, tests, cell, Limits(), sandboxed=False)
        return next(grade_all(grader, [submission], jobs=1, tests=GradedBy.PUBLIC_CHECKS))
