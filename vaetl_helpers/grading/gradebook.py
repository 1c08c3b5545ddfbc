"""nbgrader's side: a course folder with its database, releases, grades, notebooks to look at."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sys
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import bleach
import nbformat
from nbconvert.filters import strip_files_prefix
from nbformat import NotebookNode
from nbgrader.api import Gradebook, MissingEntry, Student
from nbgrader.apps import NbGraderAPI
from nbgrader.converters import Autograde
from nbgrader.preprocessors import DeduplicateIds, Execute
from nbgrader.utils import parse_utc
from sqlalchemy import make_url
from sqlalchemy.exc import SAWarning
from traitlets.config import Config

from vaetl_helpers.chapters import course_dir
from vaetl_helpers.errors import CourseError
from vaetl_helpers.grading.notebooks import CHECK, Assignment, grade_id_of
from vaetl_helpers.grading.result import ExerciseResult, GradedBy, Result, Status
from vaetl_helpers.grading.sandbox import SandboxedKernel

COURSE = "vaetl"
DATABASE = "gradebook.db"
# Seconds for each cell; the sandbox ends the whole notebook after Limits.seconds.
CELL_SECONDS = 120
# What nbgrader's exchange leaves in a submission, and needs beside the feedback to return it.
EXCHANGE_FILES = ("timestamp.txt", "submission_secret.txt")
STUB = {"python": "return ...  # your code"}
SOLUTION = re.compile(r"(?ms)^ *### BEGIN SOLUTION$.*?^ *### END SOLUTION$")
TO_LOOK_AT_IT = (
    "> **Before you hand in:** run `vaetl check-submission {}` in a terminal. "
    "It runs the exercises one by one and says what a grader would look at. "
    "nbgrader's button *Validate* runs all cells instead: "
    "it names the checks that fail, and below each of them the cells that need its function."
)
TAGS = {"p", "br", "hr", "h1", "h2", "h3", "h4", "h5", "h6", "pre", "span", "del"}
TAGS |= {"table", "thead", "tbody", "tr", "th", "td"}
CONFIG = """\
# nbgrader and Formgrader read this file; `vaetl assign` wrote it, and leaves it alone from then on.
from pathlib import Path

from vaetl_helpers.grading.gradebook import configure

c = get_config()
configure(c, Path(__file__).parent)
# For handing out on a shared machine (JupyterHub), name the folder that all users can reach:
# c.Exchange.root = "/srv/nbgrader/exchange"
"""


class SandboxedExecute(Execute):
    """Formgrader's autograde button and `nbgrader autograde`: public checks in the same sandbox."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **(options | {"kernel_manager_class": SandboxedKernel}))


class Deduplicate(DeduplicateIds):
    """Of cells with the same mark the last keeps it, and the others have none at all.

    JupyterLab copies a cell with its mark. nbgrader leaves an empty one, which it then refuses.
    """

    def preprocess_cell(
        self, cell: NotebookNode, resources: dict[str, Any], cell_index: int
    ) -> tuple[NotebookNode, dict[str, Any]]:
        cell, resources = super().preprocess_cell(cell, resources, cell_index)
        if cell.metadata.get("nbgrader") == {}:
            del cell.metadata["nbgrader"]
        return cell, resources


def configure(c: Config, root: Path) -> Config:
    """nbgrader's settings for the course in the folder `root`."""
    c.CourseDirectory.course_id = COURSE
    c.CourseDirectory.root = str(root)
    c.CourseDirectory.db_url = _database_url(root)
    c.Exchange.root = str(root / "exchange")
    c.ClearSolutions.code_stub = STUB
    steps = Autograde.autograde_preprocessors.default()
    c.Autograde.autograde_preprocessors = [
        SandboxedExecute if step is Execute else step for step in steps
    ]
    steps = Autograde.sanitize_preprocessors.default()
    c.Autograde.sanitize_preprocessors = [
        Deduplicate if step is DeduplicateIds else step for step in steps
    ]
    c.Execute.timeout = CELL_SECONDS
    # A submission's content is shown inside JupyterLab: a script would have the grader's rights.
    c.HTMLExporter.sanitize_html = True
    c.HTMLExporter.filters = {"strip_files_prefix": harmless}
    c.ExportPlugin.to = "gradebook.csv"  # grades.csv is ours
    return c


def _database_url(root: Path) -> str:
    """SQLAlchemy's address of the database; `?`, `#` and `%` of a folder's name mean others there.

    From version 2.1 on SQLAlchemy reads percent signs as an address has them, before as they are.
    """
    path = str(root / DATABASE)
    for written in (path, quote(path)):
        address = make_url(f"sqlite:///{written}")
        if address.database == path and not address.query:
            return f"sqlite:///{written}"
    return f"sqlite:///file:{quote(path)}?uri=true"


def harmless(text: str) -> str:
    """HTML without scripts and pictures: what is not in TAGS is left out.

    nbgrader's templates pass Markdown cells through this filter whether or not they are told to
    sanitise.
    """
    return bleach.clean(strip_files_prefix(text), tags=TAGS | bleach.ALLOWED_TAGS, strip=True)


def make_course(out: Path) -> None:
    """Makes `out` a course folder of nbgrader; what is there stays as it is."""
    # nbgrader asks the command `alembic` for the version of a new database: it lies beside this
    # interpreter.
    programs = [str(Path(sys.executable).parent), os.environ.get("PATH", "")]
    os.environ["PATH"] = os.pathsep.join(programs)
    exchange = out / "exchange"
    config = out / "nbgrader_config.py"
    try:
        exchange.mkdir(parents=True, exist_ok=True)
        exchange.chmod(0o777)  # nbgrader asks for it
        if not config.exists():
            config.write_text(CONFIG, encoding="utf-8")
    except OSError as error:
        raise CourseError(
            f"{out} cannot hold a course ({error}): choose another folder with --out."
        ) from error


def assign(assignment: Assignment, out: Path) -> Path:
    """Writes the release version of an assignment and its cells into the database.

    Solutions become stubs; points, locks and checksums are set by nbgrader. Returns the path of the
    notebook, which lies in OUT/release.
    """
    make_course(out)
    source = out / "source" / assignment.number / assignment.file_name
    source.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(_source_notebook(assignment), source)
    api = NbGraderAPI(config=configure(Config(), out.resolve()))
    api.log.setLevel(logging.ERROR)
    report = api.generate_assignment(assignment.number, force=True)
    if not report["success"]:
        message = "\n".join(str(report.get(name, "")) for name in ("log", "error"))
        raise CourseError(
            f"nbgrader could not make the release of {assignment.number}: "
            f"mend this and try again: {message}"
        )
    return out / "release" / assignment.number / assignment.file_name


def _source_notebook(assignment: Assignment) -> NotebookNode:
    """The learner's notebook with solutions in it, of which nbgrader makes the learner's again."""
    notebook = nbformat.read(course_dir() / assignment.file_name, as_version=4)
    solutions = {exercise.grade_id: exercise.solution for exercise in assignment.exercises}
    for cell in notebook.cells:
        grade_id = cell.metadata.get("nbgrader", {}).get("grade_id")
        if grade_id in solutions:
            cell.source = _solved(cell.source, solutions[grade_id])
    notebook.cells[0].source += "\n\n" + TO_LOOK_AT_IT.format(assignment.file_name)
    return notebook


def _solved(stub: str, solution: str) -> str:
    """A stub with the marked solution in place of its last line; what stands above it stays."""
    marked = SOLUTION.search(solution)
    if marked is None:
        return stub
    return stub.replace(f"    {STUB['python']}", marked[0])


def open_book(out: Path) -> Gradebook:
    """The gradebook of the course in `out`."""
    return Gradebook(_database_url(out.resolve()), COURSE)


def record(assignment: Assignment, out: Path, results: Iterable[Result]) -> None:
    """Writes points and comments to the database, and notebooks for Formgrader to show.

    Points that a person gave by hand stay, and count.
    """
    path = out / "release" / assignment.number / assignment.file_name
    release = nbformat.read(path, as_version=4)
    with warnings.catch_warnings(), open_book(out) as book:
        # nbgrader's own code has them for each new submission.
        warnings.simplefilter("ignore", SAWarning)
        for result in results:
            _name_student(book.update_or_create_student(result.student), result.name)
            facts = _from_exchange(assignment, out, result.student)
            book.update_or_create_submission(assignment.number, result.student, **facts)
            for exercise in result.exercises:
                _record_exercise(book, assignment, result.student, exercise)
            book.db.commit()
            _show(assignment, out, release, result)


def _name_student(student: Student, name: str) -> None:
    """Names a student who has no name; those of a class list stay."""
    if student.first_name or student.last_name:
        return
    student.first_name = ""
    student.last_name = name
    # nbgrader exports it as it is: no formula for a spreadsheet.
    if name.startswith(("=", "+", "-", "@")):
        student.last_name = f"'{name}"


def _record_exercise(
    book: Gradebook, assignment: Assignment, student: str, exercise: ExerciseResult
) -> None:
    cell = grade_id_of(exercise.id)
    grade = book.find_grade(cell + CHECK, assignment.name, assignment.number, student)
    grade.auto_score = exercise.points
    grade.needs_manual_grade = False
    comment = book.find_comment(cell, assignment.name, assignment.number, student)
    comment.auto_comment = exercise.outcome


def _from_exchange(assignment: Assignment, out: Path, student: str) -> dict[str, Any]:
    """When a submission came through nbgrader's exchange.

    Its files are copied to the places from which the feedback is returned.
    """
    source = out / "submitted" / student / assignment.number
    for name in EXCHANGE_FILES:
        if (source / name).is_symlink() or not (source / name).is_file():
            continue
        for kind in ("autograded", "feedback"):
            copy = out / kind / student / assignment.number / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.unlink(missing_ok=True)
            copy.write_bytes((source / name).read_bytes())
    try:
        timestamp = (source / "timestamp.txt").read_text("utf-8")
        return {"timestamp": parse_utc(timestamp.strip())}
    except (OSError, ValueError):
        return {}


def _show(assignment: Assignment, out: Path, release: NotebookNode, result: Result) -> None:
    """Writes OUT/autograded/…: the release with the student's code.

    Below it stands the outcome of the hidden tests.
    """
    notebook = nbformat.from_dict(release)
    exercises = {exercise.id: exercise for exercise in result.exercises}
    for cell in notebook.cells:
        facts = cell.metadata.get("vaetl", {})
        answered = exercises.get(facts.get("exercise"))
        checked = exercises.get(facts.get("check"))
        if answered:
            cell.source = answered.code or cell.source
        elif checked:
            text = f"hidden tests: {checked.outcome}\n"
            cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text=text)]
    path = out / "autograded" / result.student / assignment.number / assignment.file_name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)  # nbgrader leaves it without the right to write
    nbformat.write(notebook, path)


def public_only(assignment: Assignment, out: Path, graded: set[str]) -> list[Result]:
    """Results of students whom only Formgrader's button has graded; `graded` are by hidden tests.

    They come from public checks, run in the submission's own kernel.
    """
    results = []
    with open_book(out) as book:
        try:
            submissions = book.assignment_submissions(assignment.number)
        except MissingEntry:
            return []
        for submission in submissions:
            student = submission.student_id
            folder = out / "autograded" / student / assignment.number
            if student not in graded and folder.is_dir():
                results.append(_from_book(assignment, book, student))
    return results


def _from_book(assignment: Assignment, book: Gradebook, student: str) -> Result:
    results = []
    for exercise in assignment.exercises:
        points = 0.0
        with contextlib.suppress(MissingEntry):
            cell = (exercise.check_id, assignment.name, assignment.number, student)
            points = book.find_grade(*cell).score
        is_correct = points >= exercise.points
        results.append(
            ExerciseResult(
                id=exercise.id,
                points=points,
                worth=exercise.points,
                status=Status.CORRECT if is_correct else Status.INCORRECT,
                message="public checks only",
            )
        )
    return Result(assignment.number, student, student, GradedBy.PUBLIC_CHECKS, results)
