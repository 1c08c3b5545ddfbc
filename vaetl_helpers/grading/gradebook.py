"""nbgrader's side: a course folder with its database, the release of an assignment, grades and notebooks to look at."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import bleach
import nbformat
from nbconvert.filters import strip_files_prefix
from nbgrader.api import Gradebook, MissingEntry
from nbgrader.apps import NbGraderAPI
from nbgrader.converters import Autograde
from nbgrader.preprocessors import Execute
from nbgrader.utils import parse_utc
from sqlalchemy.exc import SAWarning
from traitlets.config import Config

from vaetl_helpers.chapters import course_dir
from vaetl_helpers.errors import CourseError
from vaetl_helpers.grading.sandbox import SandboxedKernel
from vaetl_helpers.grading.submissions import Assignment

COURSE = "vaetl"
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
    """Formgrader's autograde button and `nbgrader autograde`: public checks, in the same sandbox."""

    def __init__(self, *arguments: Any, **given: Any) -> None:
        super().__init__(*arguments, **(given | {"kernel_manager_class": SandboxedKernel}))


def configure(c: Config, root: Path) -> Config:
    """nbgrader's settings for the course in the folder `root`."""
    c.CourseDirectory.course_id = COURSE
    c.CourseDirectory.root = str(root)
    c.CourseDirectory.db_url = f"sqlite:///{root / 'gradebook.db'}"
    c.Exchange.root = str(root / "exchange")
    c.ClearSolutions.code_stub = {"python": "return ...  # your code"}
    steps = Autograde.autograde_preprocessors.default()
    c.Autograde.autograde_preprocessors = [
        SandboxedExecute if step is Execute else step for step in steps
    ]
    c.Execute.timeout = (
        120  # seconds for each cell; the sandbox ends the whole notebook after Limits.seconds
    )
    # What a submission holds and prints is shown inside JupyterLab, where a script would have the grader's rights.
    c.HTMLExporter.sanitize_html = True
    c.HTMLExporter.filters = {"strip_files_prefix": harmless}
    c.ExportPlugin.to = "gradebook.csv"  # grades.csv is ours
    return c


def harmless(text: str) -> str:
    """HTML without scripts and pictures: what is not in TAGS is left out.

    nbgrader's templates pass Markdown cells through this filter whether or not they are told to sanitise.
    """
    return bleach.clean(strip_files_prefix(text), tags=TAGS | bleach.ALLOWED_TAGS, strip=True)


def make_course(out: Path) -> None:
    """Makes `out` a course folder of nbgrader; what is there stays as it is."""
    # nbgrader asks the command `alembic` for the version of a new database: it lies beside this interpreter.
    os.environ["PATH"] = os.pathsep.join(
        [str(Path(sys.executable).parent), os.environ.get("PATH", "")]
    )
    try:
        (out / "exchange").mkdir(parents=True, exist_ok=True)
        (out / "exchange").chmod(0o777)  # nbgrader asks for it
        if not (out / "nbgrader_config.py").exists():
            (out / "nbgrader_config.py").write_text(CONFIG, encoding="utf-8")
    except OSError as error:
        raise CourseError(
            f"{out} cannot hold a course ({error}): choose another folder with --out."
        ) from error


def assign(of: Assignment, out: Path) -> Path:
    """Writes the release version of an assignment into OUT/release and its cells into the database; returns its path.

    Solutions become stubs; points, locks and checksums are set by nbgrader.
    """
    make_course(out)
    notebook = nbformat.read(course_dir() / "solutions" / f"{of.name}.ipynb", as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
        if "tags" in cell.metadata:
            cell.metadata.tags = [tag for tag in cell.metadata.tags if tag != "nbval-check-output"]
    for key in ("executed", "profile"):
        notebook.metadata.vaetl.pop(key, None)
    source = out / "source" / of.number / f"{of.name}.ipynb"
    source.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, source)
    api = NbGraderAPI(config=configure(Config(), out.resolve()))
    api.log.setLevel(logging.ERROR)
    made = api.generate_assignment(of.number, force=True)
    if not made["success"]:
        said = "\n".join(str(made.get(part, "")) for part in ("log", "error"))
        raise CourseError(
            f"nbgrader could not make the release of {of.number}: mend this and try again: {said}"
        )
    return out / "release" / of.number / f"{of.name}.ipynb"


def open_book(out: Path) -> Gradebook:
    """The gradebook of the course in `out`."""
    return Gradebook(f"sqlite:///{out.resolve() / 'gradebook.db'}", COURSE)


def record(of: Assignment, out: Path, results: Sequence[dict[str, Any]]) -> None:
    """Writes points and comments of graded submissions to the database, and notebooks for Formgrader to show.

    Points that a person gave by hand stay, and count.
    """
    release = nbformat.read(out / "release" / of.number / f"{of.name}.ipynb", as_version=4)
    with warnings.catch_warnings(), open_book(out) as book:
        warnings.simplefilter(
            "ignore", SAWarning
        )  # nbgrader's own code has them for each new submission
        for result in results:
            student = result["student"]
            found = book.update_or_create_student(student)
            if not (found.first_name or found.last_name):  # names from a class list stay
                name = result["name"]  # nbgrader exports it as it is: no formula for a spreadsheet
                found.first_name, found.last_name = (
                    "",
                    f"'{name}" if name[:1] in ("=", "+", "-", "@") else name,
                )
            book.update_or_create_submission(of.number, student, **_collected(of, out, student))
            for row in result["exercises"]:
                name = row["id"].replace(".", "-")
                grade = book.find_grade(f"{name}-check", of.name, of.number, student)
                grade.auto_score, grade.needs_manual_grade = row["points"], False
                comment = book.find_comment(name, of.name, of.number, student)
                comment.auto_comment = said(row)
            book.db.commit()
            _show(of, out, release, result)


def _collected(of: Assignment, out: Path, student: str) -> dict[str, Any]:
    """When a submission came through nbgrader's exchange, which needs its files beside the feedback to return it."""
    source, found = out / "submitted" / student / of.number, {}
    for name in ("timestamp.txt", "submission_secret.txt"):
        if (source / name).is_symlink() or not (source / name).is_file():
            continue
        for kind in ("autograded", "feedback"):
            copy = out / kind / student / of.number / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.unlink(missing_ok=True)
            copy.write_bytes((source / name).read_bytes())
    with contextlib.suppress(OSError, ValueError):
        found["timestamp"] = parse_utc((source / "timestamp.txt").read_text("utf-8").strip())
    return found


def said(row: dict[str, Any]) -> str:
    """The outcome of an exercise in one line."""
    return ": ".join(filter(None, (row["status"], row["message"])))


def _show(
    of: Assignment, out: Path, release: nbformat.NotebookNode, result: dict[str, Any]
) -> None:
    """Writes OUT/autograded/…: the release with the student's code, and below it the outcome of the hidden tests."""
    notebook, rows = nbformat.from_dict(release), {row["id"]: row for row in result["exercises"]}
    for cell in notebook.cells:
        about = cell.metadata.get("vaetl", {})
        if about.get("exercise") in rows:
            cell.source = rows[about["exercise"]]["code"] or cell.source
        elif about.get("check") in rows:
            text = f"hidden tests: {said(rows[about['check']])}\n"
            cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text=text)]
    path = out / "autograded" / result["student"] / of.number / f"{of.name}.ipynb"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)  # nbgrader leaves it without the right to write
    nbformat.write(notebook, path)


def public_only(of: Assignment, out: Path, known: set[str]) -> list[dict[str, Any]]:
    """Results of students whom only Formgrader's button has graded: public checks, in the submission's own kernel."""
    found = []
    with open_book(out) as book:
        try:
            submissions = book.assignment_submissions(of.number)
        except MissingEntry:
            return []
        for submission in submissions:
            student = submission.student_id
            if student not in known and (out / "autograded" / student / of.number).is_dir():
                found.append(_from_book(of, book, student))
    return found


def _from_book(of: Assignment, book: Gradebook, student: str) -> dict[str, Any]:
    rows = []
    for task in of.tasks:
        points = 0.0
        with contextlib.suppress(MissingEntry):
            points = book.find_grade(f"{task.grade_id}-check", of.name, of.number, student).score
        status = "correct" if points >= task.points else "incorrect"
        row = {
            "id": task.id,
            "points": points,
            "of": task.points,
            "status": status,
            "message": "public checks only",
        }
        rows.append(row | {"seconds": 0.0, "code": "", "flags": [], "notes": []})
    facts = {
        "assignment": of.number,
        "student": student,
        "name": student,
        "tests": "public",
        "notes": [],
    }
    return facts | {"exercises": rows}
