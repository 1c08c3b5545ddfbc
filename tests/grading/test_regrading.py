"""Partial points in all tables; an exercise judged again from what the sandbox has sent back."""

from __future__ import annotations

import csv
import dataclasses
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from bs4 import BeautifulSoup
from hostile_cases import CHAPTER, HONEST, POINTS, Case, graded_with, packed, write_lean_course

from vaetl_helpers import exercises
from vaetl_helpers.errors import CourseError
from vaetl_helpers.grading import gradebook, judge, kept_runs
from vaetl_helpers.grading.course import grade
from vaetl_helpers.grading.kept_runs import KeptRuns, driving_source
from vaetl_helpers.grading.result import Result, Status
from vaetl_helpers.grading.sandbox.job import Ending, ExerciseRun, SubmissionRun
from vaetl_helpers.grading.submissions import Submission

BWRAP = pytest.mark.debian("bubblewrap", "/usr/bin/bwrap")
DETACHED = HONEST["reparameterise"].replace("+ mu", "+ mu.detach()")
DOUBLED = HONEST["kl"].replace(" / 2", "")
ADA = Case("ada", cells=HONEST)
BEN = Case("ben", cells=HONEST | {"reparameterise": DETACHED, "kl": DOUBLED})
ELI = Submission("eli", "Eli", b"{}")
PARTS = "the values: 1 of 1; the gradients: 0 of 1"


@pytest.fixture(scope="module")
def lean_course(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_lean_course(tmp_path_factory.mktemp("lean") / "course")


@pytest.fixture(scope="module")
def graded_once(lean_course: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The inbox and the course folder of two students, graded for real."""
    root = tmp_path_factory.mktemp("graded")
    inbox = packed(root / "inbox.zip", [ADA, BEN])
    with graded_with(lean_course):
        assert grade(inbox, "03", root / "out") == 0
    return inbox, root / "out"


@pytest.fixture
def graded(graded_once: tuple[Path, Path], tmp_path: Path) -> tuple[Path, Path]:
    """A copy of it: what one test regrades, no other test sees."""
    inbox, out = graded_once
    return inbox, Path(shutil.copytree(out, tmp_path / "out"))


@pytest.fixture
def lean(lean_course: Path) -> Iterator[None]:
    with graded_with(lean_course):
        yield


def table(out: Path) -> dict[tuple[str, str], dict[str, str]]:
    with (out / "grades.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    names = {result.student: result.name for result in stored(out)}
    return {(names[row["student"]], row["exercise"]): row for row in rows}


def stored(out: Path) -> list[Result]:
    paths = sorted((out / "graded" / "03").glob("*.json"))
    return [Result.from_json(path.read_text("utf-8")) for path in paths]


def mended(monkeypatch: pytest.MonkeyPatch, id: str, **changes: Any) -> None:
    """Lets an exercise have another judge, or draw other inputs."""
    get = exercises.get

    def other(asked: str) -> exercises.Exercise:
        exercise = get(asked)
        return dataclasses.replace(exercise, **changes) if asked == id else exercise

    monkeypatch.setattr(exercises, "get", other)


def no_run(*arguments: Any) -> Any:
    raise AssertionError("something was run in a sandbox")


@pytest.mark.slow
@BWRAP
@pytest.mark.usefixtures("lean")
class TestGraded:
    """Each on its own copy of a course folder."""

    def test_a_part_that_is_right_earns_its_points_everywhere(
        self, graded: tuple[Path, Path]
    ) -> None:
        _, out = graded
        rows = table(out)
        row = rows["ben", "vae.reparameterise"]
        assert (row["points"], row["status"], row["parts"]) == ("1", "partly correct", PARTS)
        assert rows["ben", "vae.kl"]["points"] == "0"
        assert rows["ada", "vae.kl"]["parts"] == "the values: 1 of 1; the gradients: 1 of 1"
        ben = next(result for result in stored(out) if result.name == "ben")
        total = sum(POINTS.values())
        assert ben.points == total - 3
        page = out / "feedback" / ben.student / "03" / f"{CHAPTER.name}.html"
        items = BeautifulSoup(page.read_text("utf-8"), "html.parser").select("main li")
        assert {"the values: 1 of 1", "the gradients: 0 of 1"} <= {li.get_text() for li in items}
        with gradebook.open_book(out) as book:
            scores = {one.student_id: one.score for one in book.assignment_submissions("03")}
            cell = ("vae-reparameterise-check", CHAPTER.name, "03", ben.student)
            assert book.find_grade(*cell).score == 1
        assert scores[ben.student] == total - 3

    def test_a_mended_check_is_asked_again_without_a_run(
        self,
        graded: tuple[Path, Path],
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        inbox, out = graded
        before = table(out)
        mended(monkeypatch, "vae.kl", judge=lambda inputs, outputs: None)
        mended(monkeypatch, "vae.elbo", judge=lambda inputs, outputs: "not asked")
        monkeypatch.setattr(judge.Grader, "run_process", no_run)
        assert grade(inbox, "03", out, only="vae.kl") == 0
        output = capsys.readouterr().out
        assert "2 submissions of" in output and ", 0 to run" in output
        after = table(out)
        assert after["ben", "vae.kl"]["points"] == "2"
        assert {key for key in after if after[key] != before[key]} == {("ben", "vae.kl")}
        (line,) = [line for line in output.splitlines() if "0 → 2" in line]
        assert line.startswith("ben") and "vae.kl" in line

    def test_all_checks_are_asked_again_without_a_run_where_only_checks_have_changed(
        self, graded: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        inbox, out = graded
        with monkeypatch.context() as lenient:
            mended(lenient, "vae.kl", judge=lambda inputs, outputs: None)
            assert grade(inbox, "03", out, only="vae.kl") == 0
        assert table(out)["ben", "vae.kl"]["points"] == "2"
        sources = judge._sources_of
        monkeypatch.setattr(judge, "_sources_of", lambda chapter: sources(chapter) + "# mended")
        monkeypatch.setattr(judge.Grader, "run_process", no_run)
        assert grade(inbox, "03", out) == 0
        assert table(out)["ben", "vae.kl"]["points"] == "0"  # by the judge of now

    def test_other_inputs_drive_this_exercise_again_and_no_other(
        self, graded: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        inbox, out = graded
        before = table(out)
        draw = exercises.get("vae.kl").draw
        mended(monkeypatch, "vae.kl", draw=lambda seed: draw(seed + 1))
        driven: list[set[str]] = []
        run = judge.Grader.run

        def noted(self: judge.Grader, content: Any, ids: Any = None) -> SubmissionRun:
            driven.append(ids)
            return run(self, content, ids)

        monkeypatch.setattr(judge.Grader, "run", noted)
        assert grade(inbox, "03", out, only="vae.kl") == 0
        assert driven == [{"vae.kl"}] * 2
        assert table(out) == before
        driven.clear()
        assert grade(inbox, "03", out, only="vae.kl") == 0
        assert driven == []

    def test_a_run_that_fails_leaves_the_points(
        self,
        graded: tuple[Path, Path],
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        inbox, out = graded
        before = table(out)
        draw = exercises.get("vae.kl").draw
        mended(monkeypatch, "vae.kl", draw=lambda seed: draw(seed + 1))
        broken = SubmissionRun(broken="no kernel started")
        monkeypatch.setattr(judge.Grader, "run", lambda *arguments: broken)
        monkeypatch.setattr(judge.Grader, "try_out", lambda grader: None)
        assert grade(inbox, "03", out, only="vae.kl") == 0
        assert table(out) == before
        assert "ben could not be run and keeps its points" in capsys.readouterr().out


def test_an_exercise_that_is_not_in_the_chapter_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CourseError, match="vae.kl"):
        grade(tmp_path / "in", "03", tmp_path / "out", only="vae.kll", sandboxed=False)


def kept_in(folder: Path, settings: str = "", **tests: str) -> KeptRuns:
    return KeptRuns(folder, CHAPTER, {"vae.kl": "a", "vae.elbo": "b"} | tests, settings)


def a_run(*ids: str) -> SubmissionRun:
    runs = {id: ExerciseRun(Ending.DRIVEN, outputs=["not attempted"]) for id in ids}
    return SubmissionRun(exercises=runs)


def test_a_run_is_found_again_for_the_same_submission_and_settings_only(tmp_path: Path) -> None:
    kept_in(tmp_path).keep(ELI, a_run("vae.kl", "vae.elbo"), ["vae.kl", "vae.elbo"])
    found = kept_in(tmp_path).of(ELI)
    assert found and found.run == a_run("vae.kl", "vae.elbo")
    assert kept_in(tmp_path, settings="seed=7").of(ELI) is None
    assert kept_in(tmp_path).of(dataclasses.replace(ELI, data=b"[]")) is None
    other = kept_in(tmp_path, **{"vae.kl": "c"})
    assert other.stale(found) == {"vae.kl"}


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: b"",
        lambda data: data[:-9],
        lambda data: b"no gzip",
        lambda data: kept_runs.gzip.compress(b"[]"),
        lambda data: kept_runs.gzip.compress(b'{"submission": 1, "tests": [], "run": {}}'),
        lambda data: kept_runs.gzip.compress(b"[" * 10**5),
    ],
)
def test_a_damaged_run_is_run_again(tmp_path: Path, spoil: Callable[[bytes], bytes]) -> None:
    kept = kept_in(tmp_path)
    kept.keep(ELI, a_run("vae.kl"), ["vae.kl"])
    path = tmp_path / "eli.json.gz"
    path.write_bytes(spoil(path.read_bytes()))
    assert kept.of(ELI) is None


def test_what_is_too_large_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = kept_in(tmp_path)
    kept.keep(ELI, a_run("vae.kl"), ["vae.kl"])
    monkeypatch.setattr(kept_runs, "MOST_KEPT", 10)
    kept.keep(ELI, a_run("vae.kl"), ["vae.kl"])
    assert not list(tmp_path.iterdir())


def test_the_code_that_drives_has_no_judge_in_it() -> None:
    source = driving_source("joint.m2_sum")
    assert "def result_and_gradients" in driving_source("vae.kl")
    assert "@m2_sum.drive" in source and "def m2_sum" in source
    for word in ("m2_sum.compare", "@m2_sum.judge", "m2_sum.wrong", "m2_sum.part"):
        assert word not in source


def test_results_of_earlier_versions_have_no_parts() -> None:
    exercise = {"id": "vae.kl", "points": 2, "of": 2, "status": "correct", "message": ""}
    exercise |= {"seconds": 1.0, "code": "", "flags": [], "notes": []}
    fields = {"assignment": "03", "student": "ada", "name": "Ada", "tests": "hidden", "notes": []}
    result = Result.from_json(json.dumps(fields | {"exercises": [exercise]}))
    assert result.exercises[0].parts == []
    assert result.exercises[0].status == Status.CORRECT
