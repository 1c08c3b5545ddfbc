"""`vaetl grade` and `vaetl check-submission` on ordinary submissions: again, refused, said."""

from __future__ import annotations

import inspect
import json
import os
import pickletools
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from graded_chapters import GRADED
from hostile_cases import (
    CHAPTER,
    EASY,
    HANDED_BACK,
    HONEST,
    POINTS,
    STORED,
    WHOLE,
    Case,
    gone,
    graded_with,
    packed,
    processes_of,
    results_of,
    rows_of,
    stored_sums,
    tamper,
    write_lean_course,
)

from vaetl_helpers import exercises
from vaetl_helpers.chapters import course_dir
from vaetl_helpers.errors import CourseError
from vaetl_helpers.grading import course, judge
from vaetl_helpers.grading.course import check_submission, grade
from vaetl_helpers.grading.judge import HiddenTests
from vaetl_helpers.grading.notebooks import Unreadable, find_assignment
from vaetl_helpers.grading.result import Status
from vaetl_helpers.grading.sandbox import Limits, inside, kernel, runner

BWRAP = pytest.mark.debian("bubblewrap", "/usr/bin/bwrap")
TOTAL = sum(POINTS.values())
WHOLE_CHAPTER = "05"  # it needs most; the table of hostile submissions grades chapter 03
NIGHTLY_CHAPTERS = tuple(
    number for number in GRADED if number not in (CHAPTER.number, WHOLE_CHAPTER)
)
BY_NAME = {case.name: case for case in EASY}
THREE = [BY_NAME["ada"], BY_NAME["partly right"], BY_NAME["unsolved"]]
# `vaetl grade` in a process of its own, with the notebooks of another folder.
GRADE = """
from pathlib import Path
from vaetl_helpers import chapters
chapters.course_dir = lambda: Path({course!r})
from vaetl_helpers.app.cli import main
main()
"""


@pytest.fixture(scope="module")
def lean_course(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The course, whose chapter 3 imports less."""
    return write_lean_course(tmp_path_factory.mktemp("lean") / "course")


@pytest.fixture
def lean(lean_course: Path) -> Iterator[None]:
    """Lets the test grade with the lean course."""
    with graded_with(lean_course):
        yield


@pytest.fixture(scope="module")
def killed(lean_course: Path, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """`vaetl grade`, killed when a submission is graded and the next one is at work."""
    root = tmp_path_factory.mktemp("killed")
    out = root / "out"
    (root / "temporary").mkdir()
    inbox = packed(root / "inbox.zip", THREE)
    variables = os.environ | {"TMPDIR": str(root / "temporary")}
    program = [sys.executable, "-c", GRADE.format(course=str(lean_course)), "grade"]
    options = ["--assignment", "03", "--out", str(out), "--jobs", "1"]
    process = subprocess.Popen(
        [*program, str(inbox), *options], env=variables, stdout=subprocess.DEVNULL
    )
    while not times(out):
        assert process.poll() is None
        time.sleep(0.05)
    process.kill()
    process.wait()
    return SimpleNamespace(root=root, out=out, inbox=inbox)


def times(out: Path) -> dict[Path, int]:
    """When each result was written."""
    paths = (out / "graded" / CHAPTER.number).glob("*.json")
    return {path: path.stat().st_mtime_ns for path in sorted(paths)}


def expected_table(out: Path, cases: list[Case]) -> str:
    """grades.csv of a run that nobody has killed."""
    results = results_of(out)
    rows = []
    for case in cases:
        for exercise, (points, status) in case.expected().items():
            parts = [part.text for part in results[case.name].exercise(exercise).parts]
            row = (results[case.name].student, exercise, points, status, "; ".join(parts))
            rows.append(row)
    rows.sort(key=lambda row: row[0])
    lines = [",".join(row) for row in rows]
    return "\n".join(["student,exercise,points,status,parts", *lines, ""])


@pytest.mark.slow
@pytest.mark.usefixtures("lean")
@BWRAP
class TestAgain:
    """A run that is killed, the same command again, other submissions, another seed: in order."""

    def test_nothing_goes_on_after_sigkill(self, killed: SimpleNamespace) -> None:
        assert gone(lambda: processes_of(killed.root), seconds=10)
        assert not (killed.out / "grades.csv").exists()

    def test_started_again_it_gives_the_table_of_a_whole_run(
        self, killed: SimpleNamespace, capsys: pytest.CaptureFixture[str]
    ) -> None:
        kept = times(killed.out)
        assert 0 < len(kept) < len(THREE)
        assert grade(killed.inbox, "03", killed.out) == 0
        to_grade = len(THREE) - len(kept)
        line = f"{len(THREE)} submissions of {CHAPTER.name}, {to_grade} to grade"
        assert line in capsys.readouterr().out
        now = times(killed.out)
        assert {path: now[path] for path in kept} == kept
        assert (killed.out / "grades.csv").read_text("utf-8") == expected_table(killed.out, THREE)

    def test_only_a_changed_submission_is_graded_again(
        self, killed: SimpleNamespace, capsys: pytest.CaptureFixture[str]
    ) -> None:
        corrected = Case("partly right")
        before = times(killed.out)
        inbox = packed(killed.root / "second.zip", [BY_NAME["unsolved"], corrected])
        grade(inbox, "03", killed.out)
        output = capsys.readouterr().out
        assert "2 submissions of" in output
        assert ", 1 to grade" in output
        result = results_of(killed.out)[corrected.name]
        now = times(killed.out)
        assert [path.stem for path in now if before[path] != now[path]] == [result.student]
        assert result.status_counts().keys() == {Status.CORRECT}
        folder = killed.out / "submitted" / result.student / CHAPTER.number
        assert (folder / CHAPTER.file_name).read_bytes() == corrected.notebook()

    def test_another_seed_grades_all_again(
        self, killed: SimpleNamespace, capsys: pytest.CaptureFixture[str]
    ) -> None:
        before = rows_of(killed.out)
        inbox = packed(killed.root / "third.zip", [Case("partly right")])
        grade(inbox, "03", killed.out, parameters={"seed": "7"})
        assert ", 1 to grade" in capsys.readouterr().out
        assert rows_of(killed.out) == before


def test_what_was_graded_with_other_limits_is_graded_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digests: list[dict[str, str]] = []
    monkeypatch.setattr(course, "_grade", lambda *arguments: digests.append(arguments[-1]))
    inbox = folder_of(tmp_path / "in", data=Case("right").notebook())
    for limits in (None, Limits(), Limits(memory=4000)):
        course.grade(inbox, "03", tmp_path / "out", limits=limits, sandboxed=False)
    by_default, the_same, other = digests
    assert by_default == the_same and by_default.keys() == other.keys()
    assert set(by_default.values()).isdisjoint(other.values())


def folder_of(path: Path, name: str = "ada", data: bytes | None = None) -> Path:
    path.mkdir()
    if data is None:
        data = BY_NAME["ada"].notebook()
    (path / f"{name}.ipynb").write_bytes(data)
    return path


def partly_solved() -> bytes:
    """All cells are there, and the last exercise is not attempted."""
    notebook = json.loads(WHOLE)
    exercise = CHAPTER.exercises[-1]
    for cell in notebook["cells"]:
        if cell["metadata"].get("nbgrader", {}).get("grade_id") == exercise.grade_id:
            cell["source"] = exercise.stub
    return json.dumps(notebook).encode()


class TestUse:
    """What is refused, and what is said."""

    def test_without_bubblewrap_nothing_is_run_or_written(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        inbox = folder_of(tmp_path / "inbox")
        monkeypatch.setattr("vaetl_helpers.grading.sandbox.kernel.shutil.which", lambda name: None)
        without_memory = inspect.unwrap(kernel._why_unavailable)
        monkeypatch.setattr("vaetl_helpers.grading.course.why_unavailable", without_memory)
        words = r"bubblewrap(.*apt-get install bubblewrap| needs Linux)"
        with pytest.raises(CourseError, match=words):
            grade(inbox, "03", tmp_path / "out")
        assert not (tmp_path / "out").exists()

    def test_an_unknown_parameter_is_refused(self, tmp_path: Path) -> None:
        inbox = folder_of(tmp_path / "in")
        with pytest.raises(CourseError, match="seed"):
            grade(inbox, "03", tmp_path / "out", parameters={"sead": "1"}, sandboxed=False)
        assert not (tmp_path / "out").exists()

    @pytest.mark.slow
    def test_without_a_sandbox_it_warns_and_grades(
        self, lean: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        grade(folder_of(tmp_path / "in"), "03", tmp_path / "out", sandboxed=False)
        assert "WARNING: Without a sandbox" in capsys.readouterr().err
        statuses = [row["status"] for row in rows_of(tmp_path / "out")]
        assert statuses == ["correct"] * len(POINTS)

    @pytest.mark.slow
    def test_check_submission_of_a_complete_notebook(
        self, lean: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        file = folder_of(tmp_path / "in", CHAPTER.name, partly_solved()) / CHAPTER.file_name
        assert check_submission(file) == 0  # whatever the checks say
        output = capsys.readouterr().out
        assert "All graded cells are there." in output
        assert "not attempted" in output
        right = TOTAL - CHAPTER.exercises[-1].points
        assert f"{right} of {TOTAL} points in the public checks" in output

    @pytest.mark.slow
    def test_without_a_sandbox_a_cell_has_more_memory_than_the_runner(
        self, lean: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        notebook = json.loads(WHOLE)
        exercise = CHAPTER.exercises[1]
        for cell in notebook["cells"]:
            if cell["metadata"].get("nbgrader", {}).get("grade_id") == exercise.grade_id:
                source = "".join(cell["source"])
                cell["source"] = f"room = bytearray({runner.MEMORY})\n\n{source}"
        file = folder_of(tmp_path / "in", "ada", json.dumps(notebook).encode()) / "ada.ipynb"
        assert check_submission(file, "03") == 0
        assert f"{TOTAL} of {TOTAL} points" in capsys.readouterr().out

    @pytest.mark.slow
    def test_files_beside_a_notebook_are_neither_run_nor_used(
        self,
        lean: None,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        notebook = json.loads(partly_solved())
        exercise = CHAPTER.exercises[1]
        for cell in notebook["cells"]:
            if cell["metadata"].get("nbgrader", {}).get("grade_id") == exercise.grade_id:
                cell["source"] = f"from mine import {exercise.function}"
        inbox = folder_of(tmp_path / "in", "ada", json.dumps(notebook).encode())
        (inbox / "mine.py").write_text(f"def {exercise.function}(*args): pass")
        # Modules that a runner imports: a student's files of these names were run with the
        # rights of whoever graded in this folder.
        for module in ("random", "queue", "copy"):
            (inbox / f"{module}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
        monkeypatch.chdir(inbox)
        assert check_submission(Path("ada.ipynb"), "03") == 0
        assert not (tmp_path / "ran").exists()
        assert f"No module named 'mine'; {judge.ALONE}" in capsys.readouterr().out

    @pytest.mark.slow
    def test_check_submission_of_a_tampered_notebook(
        self, lean: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        data = Case("", edit=tamper).notebook()
        file = folder_of(tmp_path / "in", CHAPTER.name, data) / CHAPTER.file_name
        assert check_submission(file) == 1
        output = capsys.readouterr().out
        assert "cells to look at:" in output
        assert "vae.elbo: The exercise's cell is missing" in output

    def test_check_submission_refuses_what_a_grader_would_not_read(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        inbox = folder_of(tmp_path / "in", ".mine")
        with pytest.raises(CourseError, match="hidden"):
            check_submission(inbox / ".mine.ipynb")
        monkeypatch.setattr("vaetl_helpers.grading.course.MB", 1)
        (inbox / "mine.ipynb").write_bytes(BY_NAME["ada"].notebook())
        with pytest.raises(Unreadable, match="clear its outputs"):
            check_submission(inbox / "mine.ipynb")

    @pytest.mark.parametrize("name", ["ada.zip", "ada.ipynb"])
    def test_check_submission_refuses_an_archive_whatever_it_is_called(
        self, tmp_path: Path, name: str
    ) -> None:
        file = packed(tmp_path / name, [BY_NAME["ada"], BY_NAME["unsolved"]])
        for chapter in (None, CHAPTER.number):
            with pytest.raises(Unreadable, match="hand in the notebook itself"):
                check_submission(file, chapter)

    @pytest.mark.slow
    def test_an_answer_in_the_cell_of_another_exercise_counts(
        self, lean: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        cells = {
            "bernoulli_log_likelihood": HONEST["bernoulli_log_likelihood"] + HONEST["kl"],
            "kl": "# see above",
            "elbo": HONEST["decoder_shape"],
            "decoder_shape": HONEST["elbo"],
        }
        notebook = Case("moved", cells=cells).notebook()
        file = folder_of(tmp_path / "in", CHAPTER.name, notebook) / CHAPTER.file_name
        check_submission(file)
        output = capsys.readouterr().out
        assert f"{TOTAL} of {TOTAL} points" in output
        for function in ("kl", "elbo", "grow"):
            assert f"was taken for it, since it defines {function}" in output

    @pytest.mark.slow
    def test_what_check_hands_back_is_no_answer(
        self, lean: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        file = folder_of(tmp_path / "in", CHAPTER.name, HANDED_BACK.notebook()) / CHAPTER.file_name
        assert check_submission(file) == 0
        output = capsys.readouterr().out
        right = TOTAL - POINTS["kl"] - POINTS["bernoulli_log_likelihood"]
        assert f"{right} of {TOTAL} points" in output

    @pytest.mark.slow
    def test_check_submission_of_a_renamed_notebook(
        self, lean: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        file = folder_of(tmp_path / "in") / "ada.ipynb"
        file = file.rename(file.with_name("ada.ipynb.txt"))
        assert check_submission(file) == 0
        output = capsys.readouterr().out
        assert f"rename it to {CHAPTER.file_name}" in output
        assert f"{TOTAL} of {TOTAL} points" in output

    @pytest.mark.slow
    @BWRAP
    def test_what_is_nobodys_is_in_the_report_and_namesakes_are_told_apart(
        self, lean: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        out = tmp_path / "out"
        for number in ("1234", "9999"):
            inbox = tmp_path / number
            (inbox / f"Ada Rossi_{number}_assignsubmission_file_").mkdir(parents=True)
            (inbox / "list.csv").write_text("a,b")
            grade(inbox, "03", out)  # without a notebook: nothing is run
        assert "left out, being nobody's notebook: list.csv" in capsys.readouterr().out
        assert "nobody's notebook: list.csv" in (out / "report.html").read_text("utf-8")
        students = {row["student"] for row in rows_of(out)}
        assert len(students) == 2
        pages = [(out / "feedback" / student).rglob("*.html") for student in students]
        texts = [next(page).read_text("utf-8") for page in pages]
        assert all(student in " ".join(texts) for student in students)

    @pytest.mark.parametrize("name", [CHAPTER.name, "mine"])
    def test_check_submission_refuses_a_damaged_file(self, tmp_path: Path, name: str) -> None:
        file = folder_of(tmp_path / "in", name, WHOLE[:1000]) / f"{name}.ipynb"
        with pytest.raises(Unreadable, match="cut off"):
            check_submission(file)


class TestChapters:
    """That what holds for chapter 3 holds for every chapter."""

    @pytest.mark.slow
    @BWRAP
    @pytest.mark.parametrize(
        "number",
        [
            WHOLE_CHAPTER,
            *(pytest.param(number, marks=pytest.mark.nightly) for number in NIGHTLY_CHAPTERS),
        ],
    )
    def test_the_solutions_get_all_points(self, tmp_path: Path, number: str) -> None:
        assignment = find_assignment(number)
        path = course_dir() / "solutions" / assignment.file_name
        grade(path, number, tmp_path / "out", jobs=1)
        expected = [
            (exercise.id, str(exercise.points), "correct") for exercise in assignment.exercises
        ]
        rows = rows_of(tmp_path / "out")
        assert [(row["exercise"], row["points"], row["status"]) for row in rows] == expected

    @pytest.mark.slow
    def test_the_references_are_driven_where_nothing_judges(self, tmp_path: Path) -> None:
        """As in the sandbox: without the package's exercises, by what is written out for it."""
        tests = {}
        for number in GRADED:
            assignment = find_assignment(number)
            seeds = {exercise.id: [7] for exercise in assignment.exercises}
            tests[number] = HiddenTests(assignment, seeds, tmp_path / number)
            for id, reference in tests[number].references.items():
                (tmp_path / number / id / "reference").write_text(reference)
        folder = Path(inside.__file__).parent
        process = subprocess.run(
            [sys.executable, "-c", DRIVE_REFERENCES, str(folder), str(tmp_path), *GRADED],
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert process.returncode == 0, process.stderr
        for line in process.stdout.splitlines():
            number, id, outputs = json.loads(line)
            outcome = tests[number].outcome(id, outputs)
            assert outcome.status == Status.CORRECT, (id, outcome.message)
        driven = [json.loads(line)[1] for line in process.stdout.splitlines()]
        assert driven == [id for hidden in tests.values() for id in hidden.exercises]

    @pytest.mark.parametrize("number", GRADED)
    def test_no_reference_lies_where_its_exercise_is_driven(
        self, tmp_path: Path, number: str
    ) -> None:
        assignment = find_assignment(number)
        seeds = {exercise.id: [7] for exercise in assignment.exercises}
        HiddenTests(assignment, seeds, tmp_path)
        pickled = (tmp_path / "shared.pickle").read_bytes()
        words = {word for _, word, _ in pickletools.genops(pickled) if isinstance(word, str)}
        for exercise in assignment.exercises:
            assert exercises.get(exercise.id).reference.__doc__ not in words

    @pytest.mark.parametrize("number", GRADED)
    def test_the_setup_has_what_answers_are_written_with(self, number: str) -> None:
        """Setup cells end at the first text: what is imported below it is not there."""
        setup = "\n".join(find_assignment(number).setup)
        assert re.search(r"^from vaetl_helpers.exercises import .*\bcheck\b", setup, re.MULTILINE)
        assert "import torch" in setup

    @pytest.mark.parametrize("number", GRADED)
    def test_the_sandbox_gets_nothing_that_judges(self, number: str) -> None:
        assigned = find_assignment(number).exercises
        pickled = judge.shared([exercises.get(exercise.id) for exercise in assigned])
        words = {word for _, word, _ in pickletools.genops(pickled) if isinstance(word, str)}
        judging = {"judge", "_judge", "careful", "judged", "recomputed"}
        assert not words & {*judging, "mutants", "Wrong", "Outcome"}
        assert {"attempt", "drive"} <= words


DRIVE_REFERENCES = """
import json, sys
from pathlib import Path
folder, root, *numbers = sys.argv[1:]
sys.path.insert(0, folder)
import inside
for number in numbers:
    inside.shared.cache_clear()
    inside.stand_in(Path(root, number))
    for id in inside.shared()["exercises"]:
        inside.learn(id, Path(root, number, id, "reference").read_text())
        outputs = inside.call_on_inputs(id, inside.check(id, None))
        print(json.dumps([number, id, outputs]))
assert not [name for name in sys.modules if name.startswith(inside.EXERCISES + ".")]
"""


class TestSecret:
    """The hidden tests cannot be told from what a submission gets."""

    def test_the_injected_seed_gives_no_hidden_test(self, tmp_path: Path) -> None:
        secret = judge.secret_of(tmp_path, None)
        seed = judge.derive(secret, "the notebook's seed")
        source = judge.parameters_source(CHAPTER, {"profile": "smoke", "seed": seed})
        assert f"seed = {seed}" in source
        assert secret.hex() not in source
        guesses = set()
        for exercise in CHAPTER.exercises:
            for trial in range(judge.TRIALS):
                guesses.add(judge.derive(str(seed).encode(), f"{exercise.id} {trial}"))
        for seeds in judge.hidden_seeds(CHAPTER, secret).values():
            assert not guesses.intersection(seeds)

    def test_stored_answers_pass_the_public_checks(self) -> None:
        import torch

        space = {"torch": torch}
        exec(STORED.format(stored=stored_sums()), space)
        exercise = exercises.get("vae.reparameterise")
        function = space["reparameterise"]
        assert exercises.evaluate(exercise, function).status == "correct"
        assert exercises.evaluate(exercise, function, range(100, 105)).status == "incorrect"
