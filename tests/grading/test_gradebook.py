"""nbgrader for real: release, database, exchange, autograde in a sandbox; the instructors' page."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shlex
import shutil
import socket
import stat
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
import typer
from bs4 import BeautifulSoup
from graded_chapters import GRADED
from hostile_cases import LEAN_IMPORTS
from jupyter_core.application import NoStart
from nbgrader.apps import NbGraderAPI
from nbgrader.apps.nbgraderapp import NbGraderApp
from nbgrader.utils import compute_checksum
from sqlalchemy.exc import SAWarning
from traitlets.config import Config
from typer.testing import CliRunner

from vaetl_helpers.app.cli import app
from vaetl_helpers.app.lab import POLICY
from vaetl_helpers.chapters import course_dir
from vaetl_helpers.grading import gradebook
from vaetl_helpers.grading.course import grade
from vaetl_helpers.grading.notebooks import Assignment, find_assignment
from vaetl_helpers.grading.result import ExerciseResult, GradedBy, Result, Status

CHAPTER = find_assignment("03")
FILE = CHAPTER.file_name
POINTS = {exercise.id: exercise.points for exercise in CHAPTER.exercises}
TOTAL = sum(POINTS.values())
BWRAP = pytest.mark.debian("bubblewrap", "/usr/bin/bwrap")
# nbgrader's own, where the tests call it.
pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SAWarning")
PAGE = Path(__file__).parents[2] / "docs" / "instructors" / "README.md"


def notebook(solved: tuple[str, ...] = (), short: bool = True, **changed: str) -> dict[str, Any]:
    """The learner's notebook of chapter 3 with some exercises solved.

    `changed` are other cells by their grade id. A short one holds the setup, which imports less,
    and the graded cells only; a whole one runs in the profile `smoke`.
    """
    content = json.loads((course_dir() / FILE).read_bytes())
    answers = {}
    for exercise in CHAPTER.exercises:
        if exercise.id in solved:
            answers[exercise.grade_id] = exercise.solution
    for id, source in changed.items():
        answers[id.replace("_", "-", 1)] = source
    short_cells = []
    for cell in content["cells"]:
        grade_id = cell["metadata"].get("nbgrader", {}).get("grade_id")
        source = "".join(cell["source"])
        if grade_id or source in (CHAPTER.parameters, *CHAPTER.setup):
            short_cells.append(cell)
        if source == CHAPTER.parameters:
            source = source.replace('"auto"', '"smoke"')
        if short and source == CHAPTER.setup[-1]:
            source = LEAN_IMPORTS
        cell["source"] = answers.get(grade_id, source)
    if short:
        content["cells"] = short_cells
    return content


def hand_in(path: Path, made: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(made), encoding="utf-8")
    return path


def result(student: str, *correct: str, name: str | None = None) -> Result:
    """What `judge` makes of a submission."""
    exercises = []
    for exercise in CHAPTER.exercises:
        is_correct = exercise.id in correct
        exercises.append(
            ExerciseResult(
                id=exercise.id,
                points=exercise.points if is_correct else 0,
                worth=exercise.points,
                status=Status.CORRECT if is_correct else Status.INCORRECT,
                message="" if is_correct else "the sum is over the batch",
                seconds=1.0,
                code=f"def {exercise.function}(): ...",
            )
        )
    hidden = GradedBy.HIDDEN_TESTS
    return Result("03", student, name or student, hidden, exercises, digest="d")


def scores(out: Path, number: str = "03") -> dict[str, float]:
    """Points by student, as the gradebook adds them up."""
    with gradebook.open_book(out) as book:
        return {found.student_id: found.score for found in book.assignment_submissions(number)}


def point_of(out: Path, student: str, id: str = "vae.kl") -> Any:
    with gradebook.open_book(out) as book:
        grade = book.find_grade(f"{id.replace('.', '-')}-check", CHAPTER.name, "03", student)
        return grade.score, grade.auto_score, grade.manual_score, grade.needs_manual_grade


def nbgrader_process(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess:
    """The command, as a person starts it in the folder of a course."""
    command = [str(Path(sys.executable).with_name("nbgrader")), *arguments]
    variables = os.environ | {"OMP_NUM_THREADS": "1"} | environment
    return subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, env=variables, timeout=300
    )


def nbgrader(*arguments: str, cwd: Path) -> bool:
    """Whether the command succeeds, given in the folder of a course; without its long start."""
    command = NbGraderApp()
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("JUPYTER_DATA_DIR", str(cwd / "jupyter"))
            patch.chdir(cwd)
            command.initialize(list(arguments))
            command.start()
    except NoStart:  # raised when a command of the command is done
        return True
    except SystemExit as end:
        return not end.code
    finally:
        application = command
        while application is not None:
            type(application).clear_instance()
            application = application.subapp
    return True


@pytest.fixture(scope="module")
def assigned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A course with chapter 3 alone, without a submission.

    All others are copies of it, since a new database takes seconds.
    """
    out = tmp_path_factory.mktemp("assigned")
    gradebook.assign(CHAPTER, out)
    return out


@pytest.fixture(scope="module")
def released(assigned: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A course with every chapter that has exercises."""
    out = shutil.copytree(assigned, tmp_path_factory.mktemp("released") / "teaching")
    for number in GRADED:
        if number != CHAPTER.number:
            invocation = CliRunner().invoke(app, ["assign", number, "--out", str(out)])
            assert invocation.exit_code == 0, invocation.output
            assert f"{out}/release/{number}/" in invocation.output
    return out


@pytest.fixture
def course(assigned: Path, tmp_path: Path) -> Path:
    """A course with chapter 3 alone, without a submission."""
    return shutil.copytree(assigned, tmp_path / "teaching")


# ---------------------------------------------------------------- the release


def graded(path: Path) -> dict[str, nbformat.NotebookNode]:
    found = nbformat.read(path, as_version=4)
    nbformat.validate(found)
    return {
        cell.metadata.nbgrader.grade_id: cell for cell in found.cells if "nbgrader" in cell.metadata
    }


def solution_lines(chapter: Assignment) -> dict[str, set[str]]:
    """The lines of each solution that the learner's notebook has nowhere."""
    handed = (course_dir() / f"{chapter.name}.ipynb").read_text("utf-8")
    lines = {
        t.id: {line.strip() for line in t.solution.splitlines()} - {""} for t in chapter.exercises
    }
    return {
        id: {line for line in many if json.dumps(line)[1:-1] not in handed}
        for id, many in lines.items()
    }


@pytest.mark.parametrize("number", GRADED)
def test_the_release_is_the_learners_notebook_with_points_and_checksums(
    number: str, released: Path
) -> None:
    chapter = find_assignment(number)
    release, learner = (
        path / f"{chapter.name}.ipynb" for path in (released / "release" / number, course_dir())
    )
    ours, theirs = graded(learner), graded(release)
    sources = [
        [cell.source for cell in nbformat.read(path, as_version=4).cells]
        for path in (learner, release)
    ]
    assert sources[0][1:] == sources[1][1:]
    note = sources[1][0].removeprefix(sources[0][0])
    assert f"vaetl check-submission {chapter.file_name}" in note
    assert "*Validate*" in note
    assert (
        list(ours)
        == list(theirs)
        == [t.grade_id + end for t in chapter.exercises for end in ("", "-check")]
    )
    for grade_id, cell in theirs.items():
        assert cell.metadata.nbgrader.checksum == compute_checksum(cell), grade_id
        assert cell.metadata.nbgrader.items() > ours[grade_id].metadata.nbgrader.items(), grade_id
        assert cell.outputs == [] and cell.execution_count is None
    assert {t.id: t.points for t in chapter.exercises} == {
        task.id: theirs[f"{task.grade_id}-check"].metadata.nbgrader.points
        for task in chapter.exercises
    }


@pytest.mark.parametrize("number", GRADED)
def test_no_line_of_a_solution_is_released(number: str, released: Path) -> None:
    chapter = find_assignment(number)
    files = [path for path in (released / "release" / number).rglob("*") if path.is_file()]
    assert [path.name for path in files] == [f"{chapter.name}.ipynb"]
    text = files[0].read_text("utf-8")
    assert "BEGIN SOLUTION" not in text and "END SOLUTION" not in text
    for id, lines in solution_lines(chapter).items():
        assert lines, f"{id}: nothing to look for"
        assert not {line for line in lines if json.dumps(line)[1:-1] in text}, id


@pytest.mark.parametrize("name", ["what? A#b 50%41&c=d ünï", "plain"])
def test_each_course_has_a_database_of_its_own(name: str, tmp_path: Path) -> None:
    out = tmp_path / name
    gradebook.make_course(out)
    with gradebook.open_book(out) as book:
        book.add_student("ada")
    assert (out / "gradebook.db").exists()
    assert [path.name for path in tmp_path.iterdir()] == [name]
    with gradebook.open_book(out) as book:
        assert [student.id for student in book.students] == ["ada"]


def test_of_copied_cells_the_last_keeps_its_mark() -> None:
    made = nbformat.from_dict(notebook(("vae.kl",)))
    checks = [cell for cell in made.cells if cell.metadata.get("nbgrader")]
    copies = [nbformat.from_dict(cell) for cell in checks]
    made.cells += copies
    done, _ = gradebook.Deduplicate().preprocess(made, {})
    assert all("nbgrader" not in cell.metadata for cell in checks)
    assert all(cell.metadata.nbgrader.grade_id for cell in copies)
    assert len(done.cells) == len(made.cells)


@pytest.mark.slow
@BWRAP
def test_autograde_grades_a_notebook_with_a_copied_check_cell(course: Path) -> None:
    made = notebook(("vae.kl",))
    check = next(
        cell
        for cell in made["cells"]
        if cell["metadata"].get("nbgrader", {}).get("grade_id") == "vae-kl-check"
    )
    copy = json.loads(json.dumps(check)) | {"id": "copied"}
    made["cells"].insert(made["cells"].index(check) + 1, copy)
    hand_in(course / "submitted" / "ada" / "03" / FILE, made)
    api = NbGraderAPI(config=gradebook.configure(Config(), course))
    done = api.autograde("03", "ada")
    assert done["success"], done
    assert scores(course)["ada"] == POINTS["vae.kl"]


def test_the_database_knows_all_assignments_and_their_points(released: Path) -> None:
    with gradebook.open_book(released) as book:
        found = {one.name: one.max_score for one in book.assignments}
    assert found == {number: find_assignment(number).points for number in GRADED}


def test_assigning_again_changes_nothing_and_keeps_grades(course: Path) -> None:
    release = course / "release" / "03" / FILE
    config, before = course / "nbgrader_config.py", release.read_bytes()
    config.write_text(config.read_text("utf-8") + "# mine\n", encoding="utf-8")
    gradebook.record(CHAPTER, course, [result("ada", "vae.kl")])
    gradebook.assign(CHAPTER, course)
    assert release.read_bytes() == before and scores(course) == {"ada": 2}
    assert config.read_text("utf-8").endswith("# mine\n")


def test_a_second_assignment_leaves_the_first(course: Path) -> None:
    gradebook.record(CHAPTER, course, [result("ada", "vae.kl")])
    before = (course / "release" / "03" / FILE).read_bytes()
    gradebook.assign(find_assignment("01"), course)
    assert (course / "release" / "03" / FILE).read_bytes() == before and scores(course) == {
        "ada": 2
    }
    assert scores(course, "01") == {}


def test_nbgraders_own_interface_finds_the_course(
    course: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gradebook.record(CHAPTER, course, [result("ada", "vae.kl"), result("bob")])
    for student in ("ada", "bob"):
        hand_in(course / "submitted" / student / "03" / FILE, notebook())
    (found,) = NbGraderAPI(config=gradebook.configure(Config(), course)).get_assignments()
    assert (found["name"], found["status"], found["num_submissions"]) == ("03", "draft", 2)
    assert (found["max_score"], found["average_score"]) == (sum(POINTS.values()), 1)
    assert nbgrader("db", "assignment", "list", cwd=course)
    assert "03_variational_autoencoder" in capsys.readouterr().out


# ---------------------------------------------------------------- the gradebook


def test_points_and_outcomes_reach_the_gradebook(course: Path) -> None:
    everything = result("ada", *POINTS, name='Ada "../x"')
    gradebook.record(CHAPTER, course, [everything, result("bob", "vae.kl"), result("eve")])
    assert scores(course) == {"ada": TOTAL, "bob": 2, "eve": 0}
    with gradebook.open_book(course) as book:
        assert book.find_student("ada").last_name == 'Ada "../x"'
        assert book.find_assignment("03").max_score == TOTAL
        comments = {
            id: book.find_comment(id, CHAPTER.name, "03", "bob").comment
            for id in ("vae-kl", "vae-elbo")
        }
        assert not book.find_submission("03", "bob").needs_manual_grade
    assert comments == {"vae-kl": "correct", "vae-elbo": "incorrect: the sum is over the batch"}
    shown = graded(course / "autograded" / "bob" / "03" / FILE)
    assert shown["vae-kl"].source == "def kl(): ..."
    assert (
        shown["vae-elbo-check"].outputs[0].text
        == "hidden tests: incorrect: the sum is over the batch\n"
    )


def test_points_given_by_hand_stay(course: Path) -> None:
    gradebook.record(CHAPTER, course, [result("ada"), result("bob", "vae.kl")])
    with gradebook.open_book(course) as book:
        book.find_grade("vae-kl-check", CHAPTER.name, "03", "ada").manual_score = 1.5
        book.find_comment(
            "vae-kl", CHAPTER.name, "03", "ada"
        ).manual_comment = "half of it is right"
        book.db.commit()
    gradebook.record(CHAPTER, course, [result("ada"), result("bob")])
    assert scores(course) == {"ada": 1.5, "bob": 0}
    assert point_of(course, "ada") == (1.5, 0, 1.5, False)
    with gradebook.open_book(course) as book:
        assert (
            book.find_comment("vae-kl", CHAPTER.name, "03", "ada").comment == "half of it is right"
        )


def test_names_of_a_class_list_stay(course: Path) -> None:
    with gradebook.open_book(course) as book:
        book.add_student("ada", first_name="Ada", last_name="Lovelace")
    gradebook.record(CHAPTER, course, [result("ada", name="ada_hw3"), result("bob", name="Bob B.")])
    with gradebook.open_book(course) as book:
        names = {one.id: (one.first_name, one.last_name) for one in book.students}
    assert names == {"ada": ("Ada", "Lovelace"), "bob": ("", "Bob B.")}


@pytest.mark.parametrize("name", ["=cmd()", "+1", "-1", "@SUM(A1)"])
def test_a_name_is_no_formula_in_the_exported_table(course: Path, name: str) -> None:
    gradebook.record(CHAPTER, course, [result("ada", name=name)])
    with gradebook.open_book(course) as book:  # nbgrader's export writes this name as it is
        assert book.find_student("ada").last_name == f"'{name}"


def test_recording_prints_no_warning_of_nbgraders_own(course: Path) -> None:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        gradebook.record(CHAPTER, course, [result("ada", "vae.kl")])
    assert not [str(one.message) for one in seen if issubclass(one.category, SAWarning)]


def test_export_gives_a_table_and_leaves_ours(course: Path) -> None:
    gradebook.record(CHAPTER, course, [result("ada", "vae.kl"), result("bob")])
    (course / "grades.csv").write_text("ours", encoding="utf-8")
    assert nbgrader("export", cwd=course)
    rows = list(csv.DictReader(io.StringIO((course / "gradebook.csv").read_text("utf-8"))))
    found = [
        (row["assignment"], row["student_id"], float(row["score"]), float(row["max_score"]))
        for row in rows
    ]
    assert found == [("03", "ada", 2, TOTAL), ("03", "bob", 0, TOTAL)]
    assert (course / "grades.csv").read_text("utf-8") == "ours"


# ---------------------------------------------------------------- what Formgrader shows

HOSTILE = (
    "<script>window.hacked = 1</script>"
    '<img src="https://evil.example/x.png" onerror="hacked()"><b>bold</b>'
)


def test_what_a_submission_holds_is_shown_without_scripts_and_pictures(course: Path) -> None:
    """By the exporter of Formgrader's pages, from a notebook of nbgrader's autograde."""
    from nbconvert.exporters import HTMLExporter
    from nbgrader.server_extensions.formgrader.formgrader import FormgradeExtension
    from nbgrader.server_extensions.formgrader.handlers import template_path

    display = nbformat.v4.new_output("display_data", {"text/html": HOSTILE})
    script = nbformat.v4.new_output("display_data", {"application/javascript": "window.hacked = 2"})
    cells = [nbformat.v4.new_markdown_cell(f"# A title\n\nSome *text*, $a < b$.\n\n{HOSTILE}\n")]
    cells += [nbformat.v4.new_code_cell(f"# {HOSTILE}", outputs=[display, script])]
    config = gradebook.configure(Config(), course)
    config.HTMLExporter.template_name = "formgrade"
    config.HTMLExporter.extra_template_basedirs = [template_path]
    assert FormgradeExtension().build_extra_config().HTMLExporter.template_name == "formgrade"
    where = {"index": 0, "total": 1, "base_url": "", "student": "ada"}
    html, _ = HTMLExporter(config=config).from_notebook_node(
        nbformat.v4.new_notebook(cells=cells), where
    )
    soup = BeautifulSoup(html, "html.parser").find(id="notebook")
    assert not soup.find_all(["script", "img", "iframe"]) and not soup.find_all(onerror=True)
    assert (
        soup.h1.get_text().startswith("A title")
        and soup.em.get_text() == "text"
        and "$a < b$" in soup.get_text()
    )


def test_the_instructors_browser_loads_nothing_from_elsewhere() -> None:
    rules = dict(rule.strip().partition(" ")[::2] for rule in POLICY.split(";"))
    allowed = set(" ".join(rules.values()).split())
    assert (
        allowed <= {"'self'", "'unsafe-inline'", "'unsafe-eval'", "data:", "blob:"}
        and "default-src" in rules
    )


# ---------------------------------------------------------------- the exchange


@pytest.fixture(scope="module")
def exchanged(assigned: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A course whose assignment a student has fetched, solved in part and handed in again."""
    out = shutil.copytree(assigned, tmp_path_factory.mktemp("exchanged") / "teaching")
    home = tmp_path_factory.mktemp("home")
    teacher = NbGraderAPI(config=gradebook.configure(Config(), out))
    where = (f"--Exchange.root={out / 'exchange'}", "--course", gradebook.COURSE)
    released = teacher.release_assignment("03")
    fetched = nbgrader("fetch_assignment", "03", *where, cwd=home)
    assert (home / "03" / FILE).read_bytes() == (out / "release" / "03" / FILE).read_bytes()
    hand_in(home / "03" / FILE, notebook(("vae.kl", "vae.elbo")))
    submitted = nbgrader("submit", "03", *where, cwd=home)
    collected = teacher.collect("03")
    assert released["success"] and collected["success"], (released, collected)
    assert fetched and submitted
    return out, home


@pytest.mark.slow
def test_the_exchange_hands_out_and_collects(exchanged: tuple[Path, Path]) -> None:
    out, _ = exchanged
    assert stat.S_IMODE((out / "exchange").stat().st_mode) == 0o777
    assert (out / "exchange" / "vaetl" / "outbound" / "03" / FILE).is_file()
    (collected,) = (out / "submitted").iterdir()
    assert {path.name for path in (collected / "03").iterdir()} >= {FILE, "timestamp.txt"}


@pytest.mark.slow
@BWRAP
def test_what_was_collected_is_graded_and_given_back(
    exchanged: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    out, home = exchanged
    assert grade(out / "submitted", "03", out) == 0
    (collected,) = (out / "submitted").iterdir()
    assert scores(out) == {collected.name: 5}
    with gradebook.open_book(out) as book:
        assert book.find_submission("03", collected.name).max_score == TOTAL
    said = capsys.readouterr()
    assert f"5 of {TOTAL} points" in said.out and said.err == ""
    (row,) = NbGraderAPI(config=gradebook.configure(Config(), out)).get_submissions("03")
    assert (row["autograded"], row["score"], row["timestamp"] is None) == (True, 5, False)
    released = nbgrader("release_feedback", "03", cwd=out)
    fetched = nbgrader(
        "fetch_feedback", "03", f"--Exchange.root={out / 'exchange'}", "--course", "vaetl", cwd=home
    )
    (page,) = (home / "03").rglob("*.html")
    assert released and fetched
    assert (
        f"5 of {TOTAL} points" in BeautifulSoup(page.read_text("utf-8"), "html.parser").get_text()
    )


# ---------------------------------------------------------------- Formgrader's autograde button

SPY = """
import json as _json, os as _os, socket as _socket
def _tried(what):
    try:
        what()
        return "done"
    except Exception as error:
        return type(error).__name__
print("SPIED", _json.dumps({
    "canary": _os.environ.get("CANARY"),
    "book": _tried(lambda: open(OUT + "/gradebook.db", "a").write("x")),
    "folder": _tried(lambda: open(OUT + "/evil", "w").write("x")),
    "home": _tried(lambda: open(REAL_HOME + "/vaetl-evil", "w").write("x")),
    "secret": _tried(lambda: open(OUT + "/secret.key").read()),
    "socket": _tried(lambda: _socket.create_connection(("127.0.0.1", PORT), 1)),
    "own": _tried(lambda: open("own.txt", "w").write("x")),
}))
"""
CHEAT = "check = lambda id, function: function\n"
LOOP = "import time\ndef kl(mu, log_var):\n    return 0\n\nwhile True:\n    time.sleep(0.1)\n"
EXIT = "import os\nos._exit(0)\n"


def spied(out: Path) -> dict[str, Any]:
    cell = graded(out / "autograded" / "honest" / "03" / FILE)["vae-kl"]
    text = "".join(output.text for output in cell.outputs if output.output_type == "stream")
    return json.loads(re.search(r"^SPIED (.*)$", text, re.MULTILINE)[1])


def public(out: Path) -> list[str]:
    """Students whom the report names as graded by public checks only."""
    soup = BeautifulSoup((out / "report.html").read_text("utf-8"), "html.parser")
    tables = [t for t in soup("table") if t.caption.get_text() == "Graded by public checks only"]
    return sorted(row.get_text(strip=True) for table in tables for row in table("tr")[1:])


def inbox(folder: Path, out: Path, *students: str) -> Path:
    """A folder with the files that these students have handed in."""
    for student in students:
        hand_in(
            folder / f"{student}.ipynb",
            json.loads((out / "submitted" / student / "03" / FILE).read_bytes()),
        )
    return folder


@pytest.fixture(scope="module")
def button(assigned: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """Autograde by nbgrader's command and by its API, then `vaetl grade`, then both again.

    The API is what Formgrader's button calls.
    """
    out = shutil.copytree(assigned, tmp_path_factory.mktemp("button") / "teaching")
    seen: dict[str, Any] = {}
    listening = socket.create_server(("127.0.0.1", 0))
    kl = next(exercise for exercise in CHAPTER.exercises if exercise.id == "vae.kl")
    given = (
        f"OUT, REAL_HOME, PORT = {str(out)!r}, {str(Path.home())!r}, {listening.getsockname()[1]}"
    )
    solved = tuple(POINTS.keys() - {"vae.elbo"})
    honest = notebook(solved, vae_kl=f"{kl.solution}\n{given}{SPY}")
    hand_in(out / "submitted" / "honest" / "03" / FILE, honest)
    hand_in(out / "submitted" / "exits" / "03" / FILE, notebook(vae_kl=EXIT))
    seen["command"] = nbgrader_process("autograde", "03", cwd=out, CANARY="tweet")
    hand_in(out / "submitted" / "cheat" / "03" / FILE, notebook(vae_kl=CHEAT + kl.stub))
    hand_in(
        out / "submitted" / "loop" / "03" / FILE, notebook(("vae.reparameterise",), vae_kl=LOOP)
    )
    config = gradebook.configure(Config(), out)
    config.Execute.timeout = 15
    api = NbGraderAPI(config=config)
    seen["api"] = [api.autograde("03", student) for student in ("cheat", "loop")]
    seen["spied"], seen["scores"] = spied(out), scores(out)
    late = hand_in(out.parent / "late" / "other.ipynb", {})  # no notebook: nothing is run
    seen["late"] = grade(late, "03", out), scores(out), public(out)
    both = inbox(out.parent / "inbox", out, "honest", "cheat")
    seen["all"] = grade(both, "03", out), scores(out), public(out)
    seen["again"] = api.autograde("03", "cheat"), scores(out)
    seen["last"] = grade(both, "03", out), scores(out), public(out)
    yield seen | {"out": out}
    listening.close()


@pytest.mark.slow
@BWRAP
def test_autograde_runs_in_the_sandbox(button: dict[str, Any]) -> None:
    spied = button["spied"]
    assert spied.pop("canary") is None and spied.pop("own") == "done", spied
    assert spied.keys() == {"book", "folder", "home", "secret", "socket"}
    assert all(said.endswith("Error") for said in spied.values()), spied
    assert not (button["out"] / "evil").exists() and not (Path.home() / "vaetl-evil").exists()


@pytest.mark.slow
@BWRAP
def test_autograde_gives_points_by_public_checks(button: dict[str, Any]) -> None:
    assert button["scores"]["honest"] == sum(POINTS.values()) - POINTS["vae.elbo"]
    assert button["scores"]["loop"] == POINTS["vae.reparameterise"]
    assert all(done["success"] for done in button["api"]), button["api"]
    # The checks run beside the answers: whoever replaces `check` has full marks from there on.
    assert (
        button["scores"]["cheat"] == sum(POINTS.values()) - POINTS["vae.bernoulli_log_likelihood"]
    )


@pytest.mark.slow
@BWRAP
def test_a_submission_that_ends_its_kernel_does_not_stop_the_others(button: dict[str, Any]) -> None:
    said = button["command"].stderr
    assert button["command"].returncode != 0 and "exits" in said
    assert (
        not (button["out"] / "autograded" / "exits" / "03").exists()
        and button["scores"]["exits"] == 0
    )
    assert "RuntimeWarning" not in said


@pytest.mark.slow
@BWRAP
def test_the_report_tells_public_checks_from_hidden_tests(button: dict[str, Any]) -> None:
    assert button["late"][2] == ["cheat", "honest", "loop"]
    assert button["all"][2] == button["last"][2] == ["loop"]
    rows = list(csv.DictReader(io.StringIO((button["out"] / "grades.csv").read_text("utf-8"))))
    assert {row["student"] for row in rows} == {"cheat", "honest", "loop", "other"}


@pytest.mark.slow
@BWRAP
def test_vaetl_grade_puts_the_points_of_the_hidden_tests_back(button: dict[str, Any]) -> None:
    hidden = {"honest": TOTAL - POINTS["vae.elbo"], "cheat": 0, "loop": 2, "other": 0, "exits": 0}
    assert button["late"][:2] == (0, button["scores"] | {"other": 0})
    assert button["all"][:2] == button["last"][:2] == (0, hidden)
    pressed, faked = button["again"]
    assert pressed["success"] and faked == hidden | {
        "cheat": TOTAL - POINTS["vae.bernoulli_log_likelihood"]
    }
    shown = button["out"] / "autograded" / "cheat" / "03" / FILE
    assert graded(shown)["vae-kl-check"].outputs[0].text == "hidden tests: not attempted\n"
    assert (
        shown.stat().st_mode & stat.S_IWUSR
    )  # nbgrader's own may only be read, and could not be written again


@pytest.mark.slow
@pytest.mark.nightly
@BWRAP
def test_autograde_of_a_whole_notebook(course: Path) -> None:
    hand_in(course / "submitted" / "ada" / "03" / FILE, notebook(tuple(POINTS), short=False))
    api = NbGraderAPI(config=gradebook.configure(Config(), course))
    assert api.autograde("03", "ada")["success"]
    assert scores(course) == {"ada": sum(POINTS.values())}


# ---------------------------------------------------------------- the instructors' page


def page_commands() -> list[str]:
    """The lines of the page's blocks of commands that start one of ours or of nbgrader's."""
    blocks = re.findall(r"^```bash\n(.*?)^```", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    lines = [line.split("  #")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if re.match(r"(vaetl|nbgrader) ", line)]


def test_the_page_shows_each_command_for_instructors() -> None:
    shown = {" ".join(line.split()[:2]) for line in page_commands()}
    assert shown >= {
        "vaetl assign",
        "vaetl check-submission",
        "vaetl grade",
        "vaetl lab",
        "nbgrader export",
    }


@pytest.mark.parametrize("line", page_commands() if PAGE.exists() else [])
def test_each_command_of_the_page_parses(line: str) -> None:
    name, command, *rest = shlex.split(line)
    if name == "nbgrader":
        assert command in NbGraderApp.subcommands
        options = {word.partition("=")[0].lstrip("-") for word in rest if word.startswith("-")}
        known = NbGraderApp.subcommands[command][0]
        assert options <= {*known.aliases, *known.flags}, line
    else:
        typer.main.get_command(app).commands[command].make_context(command, rest)


def test_the_page_names_every_option_of_grade_and_every_status() -> None:
    text = PAGE.read_text("utf-8")
    options = {
        p.opts[0]
        for p in typer.main.get_command(app).commands["grade"].params
        if p.opts[0].startswith("-")
    }
    assert len(options) > 8 and not {name for name in (*options, *Status) if f"`{name}" not in text}


def test_each_picture_of_the_page_is_there_small_and_described() -> None:
    pictures = re.findall(r"!\[(.*?)\]\((.*?)\)", PAGE.read_text("utf-8"), re.DOTALL)
    shots = {path for _, path in pictures if path.endswith(".png")}
    assert len(shots) >= 5 and shots == {path.name for path in PAGE.parent.glob("*.png")}
    for described, path in pictures:
        assert len(described) > 20 and (PAGE.parent / path).stat().st_size < 150_000, path


@pytest.mark.slow
@pytest.mark.parametrize("is_solved", [False, True])
def test_validate_of_nbgrader_succeeds_only_where_all_checks_do(
    tmp_path: Path, is_solved: bool
) -> None:
    solved = tuple(POINTS) if is_solved else ()
    path = tmp_path / FILE
    path.write_text(json.dumps(notebook(solved)), encoding="utf-8")
    command = [sys.executable, "-m", "nbgrader", "validate", str(path)]
    said = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path).stdout
    assert ("Success" in said) == is_solved, said
    for id in POINTS:
        assert (f"{id}: not attempted" in said) == (not is_solved)
