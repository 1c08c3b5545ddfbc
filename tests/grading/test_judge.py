"""The trusted side of grading, without a kernel: secrets, inputs, judging whatever comes back."""

from __future__ import annotations

import base64
import errno
import json
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from graded_chapters import GRADED

from vaetl_helpers import exercises
from vaetl_helpers.errors import CourseError
from vaetl_helpers.grading import judge
from vaetl_helpers.grading.course import grade, grades_table
from vaetl_helpers.grading.judge import (
    Ended,
    Grader,
    HiddenTests,
    derive,
    fingerprint,
    grade_all,
    secret_of,
)
from vaetl_helpers.grading.notebooks import (
    AssignedExercise,
    Content,
    Problem,
    ProblemKind,
    find_assignment,
)
from vaetl_helpers.grading.result import ExerciseResult, GradedBy, PartResult, Result, Status
from vaetl_helpers.grading.sandbox.job import Ending, ExerciseRun, Limits, SubmissionRun
from vaetl_helpers.grading.submissions import Submission

ASSIGNMENT = find_assignment("03")
SECRET = bytes(32)
SEEDS = judge.hidden_seeds(ASSIGNMENT, SECRET)
ADA = Submission("ada", "Ada", b"{}")
ONE_ANSWER = Content(cells={"vae.kl": ("pass",)})


@pytest.fixture(scope="module")
def tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HiddenTests]:
    yield HiddenTests(ASSIGNMENT, SEEDS, tmp_path_factory.mktemp("tests"))


def as_sent(tests: HiddenTests, id: str, function: Callable) -> list[str]:
    """What the sandbox would send for a function."""
    exercise = exercises.get(id)
    return [
        base64.b64encode(exercises.attempt(exercise, function, data)).decode()
        for data in tests.inputs[id]
    ]


@pytest.mark.parametrize("assigned", ASSIGNMENT.exercises, ids=lambda assigned: assigned.id)
def test_references_pass_and_every_wrong_answer_fails(
    assigned: AssignedExercise, tests: HiddenTests
) -> None:
    exercise = exercises.get(assigned.id)
    assert (
        tests.outcome(assigned.id, as_sent(tests, assigned.id, exercise.reference)).status
        == "correct"
    )
    for wrong in exercise.wrong:
        assert (
            tests.outcome(assigned.id, as_sent(tests, assigned.id, wrong.function)).status
            != "correct"
        ), wrong.name


@pytest.mark.parametrize(
    ("outputs", "status"),
    [
        ([], "crashed"),
        (["not attempted"], "not attempted"),
        (["not callable"], "incorrect"),
        (["AAAA"] * 5, "crashed"),
        (["é"] * 5, "crashed"),
        ([base64.b64encode(exercises.pack({"the result": 1e9})).decode()] * 5, "incorrect"),
        (
            [base64.b64encode(exercises.pack({"correct": 1, "status": "correct"})).decode()] * 5,
            "incorrect",
        ),
        (
            [base64.b64encode(exercises.pack({"the result": torch.zeros(0, 2**40)})).decode()] * 5,
            "incorrect",
        ),
    ],
    ids=[
        "nothing",
        "stub",
        "no function",
        "no values",
        "no base64",
        "a number",
        "a claim",
        "a strange shape",
    ],
)
def test_whatever_comes_back_has_an_outcome(
    outputs: list[str], status: str, tests: HiddenTests
) -> None:
    assert tests.outcome("vae.kl", outputs).status == status


def test_answers_to_some_of_the_inputs_are_not_enough(tests: HiddenTests) -> None:
    right = as_sent(tests, "vae.kl", exercises.get("vae.kl").reference)
    assert tests.outcome("vae.kl", right[:-1]).status == "crashed"
    assert tests.outcome("vae.kl", [*right[:-1], right[0]]).status == "incorrect"


def test_seeds_differ_by_exercise_by_trial_and_by_secret() -> None:
    seeds = [seed for many in SEEDS.values() for seed in many]
    other = [seed for many in judge.hidden_seeds(ASSIGNMENT, b"\1" * 32).values() for seed in many]
    assert len({*seeds, *other, derive(SECRET, "the notebook's seed")}) == 2 * len(seeds) + 1
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert not {*seeds} & {*range(100)}  # those of the public checks


def test_the_secret_is_kept_and_nobody_else_can_read_it(tmp_path: Path) -> None:
    out = tmp_path / "course"
    first = secret_of(out, None)
    assert secret_of(out, None) == first != secret_of(out, 7)
    assert stat.S_IMODE((out / "secret.key").stat().st_mode) == 0o600
    assert secret_of(tmp_path / "other", None) != first


def test_a_submission_is_graded_again_if_anything_that_counts_has_changed() -> None:
    first = fingerprint(ADA, ASSIGNMENT, SECRET, "seed = 1")
    assert fingerprint(replace(ADA, name="Ada L."), ASSIGNMENT, SECRET, "seed = 1") == first
    changed = [
        fingerprint(replace(ADA, data=b"{} "), ASSIGNMENT, SECRET, "seed = 1"),
        fingerprint(replace(ADA, fault="too large"), ASSIGNMENT, SECRET, "seed = 1"),
        fingerprint(ADA, ASSIGNMENT, b"\1" * 32, "seed = 1"),
        fingerprint(ADA, ASSIGNMENT, SECRET, "seed = 2"),
        fingerprint(
            ADA, replace(ASSIGNMENT, exercises=ASSIGNMENT.exercises[:-1]), SECRET, "seed = 1"
        ),
    ]
    assert len({first, *changed}) == 6


@pytest.mark.parametrize(
    ("name", "counts"),
    [("toolkit", True), ("forms", True), ("vae", True), ("latent", False)],
)
def test_what_judges_counts_in_the_fingerprint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, counts: bool
) -> None:
    first = fingerprint(ADA, ASSIGNMENT, SECRET, "")
    copy = Path(shutil.copytree(Path(exercises.__file__).parent, tmp_path / "exercises"))
    monkeypatch.setattr(exercises, "__file__", str(copy / "__init__.py"))
    assert fingerprint(ADA, ASSIGNMENT, SECRET, "") == first
    (copy / f"{name}.py").write_text("# another judge", "utf-8")
    assert (fingerprint(ADA, ASSIGNMENT, SECRET, "") != first) == counts


def test_parameters_are_injected_below_the_courses_own() -> None:
    source = judge.parameters_source(ASSIGNMENT, {"profile": "smoke", "seed": 5})
    values: dict[str, object] = {}
    exec(source, values)
    assert (values["profile"], values["seed"], values["epochs"]) == ("smoke", 5, None)


def test_later_cells_get_the_reference_whatever_the_answer_was() -> None:
    kl = ASSIGNMENT.exercises[1]
    asked = []

    def check(id: str, function: object) -> str:
        asked.append((id, function))
        return "reference"

    for number in GRADED:
        for exercise in find_assignment(number).exercises:
            code = judge.with_reference(exercise)
            assert not code.startswith(exercise.check_cell)
            names: dict[str, object] = {"check": check}
            exec(code, names)
            assert names[exercise.function] == "reference"
            assert asked == [(exercise.id, None)] * 2
            asked.clear()
    names = {"check": check}
    exec(judge.with_reference(kl), names)
    assert names["kl"] == names["kl_checked"] == "reference"


def test_outcomes_of_a_run_become_points(tests: HiddenTests) -> None:
    first_five = replace(ASSIGNMENT, exercises=ASSIGNMENT.exercises[:5])
    right, also_right, deadly, endless, missing = first_five.exercises
    runs = {
        deadly.id: ExerciseRun(Ending.DEAD, "memory", seconds=2.0),
        endless.id: ExerciseRun(Ending.TIME, "its tests", seconds=20.0),
    }
    for exercise in (right, also_right):
        outputs = as_sent(tests, exercise.id, exercises.get(exercise.id).reference)
        runs[exercise.id] = ExerciseRun(Ending.DRIVEN, outputs=outputs)
    content = Content(
        setup=("import os",),
        cells={exercise.id: ("pass",) for exercise in first_five.exercises[:-1]},
        problems=(
            Problem(missing.grade_id, ProblemKind.MISSING),
            Problem("strange", ProblemKind.NOT_IN_CHAPTER),
        ),
    )
    grader = Grader(first_five, tests, "", Limits())
    submission = replace(ADA, notes=("two files",))
    result = grader.judge(submission, content, SubmissionRun(notes=["n"], exercises=runs))
    assert [exercise.status for exercise in result.exercises] == [
        Status.CORRECT,
        Status.CORRECT,
        Status.OVER_A_LIMIT,
        Status.OVER_A_LIMIT,
        Status.MISSING,
    ]
    points = [exercise.points for exercise in result.exercises]
    assert points == [right.points, also_right.points, 0, 0, 0]
    assert result.exercises[2].message == "used more than 3000 MB of memory"
    assert result.exercises[3].message == "its tests took longer than 60 s"
    assert result.exercises[4].message == result.exercises[4].notes[0]
    assert "cell is missing" in result.exercises[4].message
    unknown_cells = "Graded cells that are not in chapter 03 are ignored: strange."
    assert result.notes == ["two files", unknown_cells, "n"]
    assert "os" in result.flags[0]
    lost = grader.judge(ADA, content, SubmissionRun())
    assert lost.status_counts().keys() == {Status.OVER_A_LIMIT, Status.MISSING}


@pytest.mark.parametrize(
    ("outputs", "status"),
    [
        ([base64.b64encode(exercises.pack({"the result": 1e9})).decode()] * 5, Status.INCORRECT),
        (["not attempted"], Status.NOT_ATTEMPTED),
        ([], Status.CRASHED),
    ],
)
def test_only_a_correct_answer_has_points(
    outputs: list[str], status: Status, tests: HiddenTests
) -> None:
    run = SubmissionRun(exercises={"vae.kl": ExerciseRun(Ending.DRIVEN, outputs=outputs)})
    result = Grader(ASSIGNMENT, tests, "", Limits()).judge(ADA, ONE_ANSWER, run)
    (kl,) = (exercise for exercise in result.exercises if exercise.id == "vae.kl")
    assert (kl.status, kl.points) == (status, 0)
    assert kl.worth > 0
    assert result.points == 0


def test_grades_show_the_points_reached() -> None:
    half = ExerciseResult("vae.kl", points=1.5, worth=2, status=Status.INCORRECT)
    values = PartResult("the values", 1.5, 2)
    missing = ExerciseResult("vae.elbo", points=0, worth=3, status=Status.MISSING)
    hidden = Result(
        "03", "bob", "Bob", GradedBy.HIDDEN_TESTS, [replace(half, parts=[values]), missing]
    )
    public = Result("03", "ada", "Ada", GradedBy.PUBLIC_CHECKS, [half])
    assert grades_table([hidden, public]).splitlines() == [
        "student,exercise,points,status,parts",
        'ada,vae.kl,1.5,"incorrect, by public checks only",',
        "bob,vae.kl,1.5,incorrect,the values: 1.5 of 2",
        "bob,vae.elbo,0,missing,",
    ]


def test_texts_of_a_submission_are_cleaned(tests: HiddenTests) -> None:
    grader = Grader(ASSIGNMENT, tests, "", Limits())
    result = grader.judge(replace(ADA, name="A\x00da"), Content(), SubmissionRun())
    assert result.name == "A\N{REPLACEMENT CHARACTER}da"


def test_a_name_that_is_not_there_is_explained(tests: HiddenTests) -> None:
    run = ExerciseRun(Ending.ERROR, "NameError: name 'helper' is not defined", seconds=0.1)
    grader = Grader(ASSIGNMENT, tests, "", Limits())
    result = grader.judge(ADA, ONE_ANSWER, SubmissionRun(exercises={"vae.kl": run}))
    assert judge.ONLY in result.exercises[1].message


@pytest.mark.parametrize(
    "error",
    ["ModuleNotFoundError: No module named 'mine'", "FileNotFoundError: [Errno 2] No such file"],
)
def test_what_lies_beside_a_notebook_is_said_not_to_be_there(
    error: str, tests: HiddenTests
) -> None:
    run = ExerciseRun(Ending.ERROR, error, seconds=0.1)
    grader = Grader(ASSIGNMENT, tests, "", Limits())
    result = grader.judge(ADA, ONE_ANSWER, SubmissionRun(exercises={"vae.kl": run}))
    assert result.exercises[1].message == f"{error}; {judge.ALONE}"


def test_flags_know_the_courses_own_imports(tests: HiddenTests) -> None:
    grader = Grader(ASSIGNMENT, tests, "", Limits())
    for setup in (None, ("import os",)):
        content = Content(setup=setup, cells={"vae.kl": ('kl = check("vae.kl", None)',)})
        result = grader.judge(ADA, content, SubmissionRun())
        assert "vaetl_helpers.exercises.check" in str(result.exercises[1].flags)


def test_a_course_folder_among_the_submissions_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CourseError, match="choose another with --out"):
        grade(tmp_path, "03", tmp_path / "course", sandboxed=False)
    assert not (tmp_path / "course").exists()


FAULTS = {
    "no kernel": (SubmissionRun(broken="no kernel started: no room"), Ended(0), "no room"),
    "killed": (SubmissionRun(), Ended(-9), "ended from outside, by signal 9"),
    "crashed": (SubmissionRun(), Ended(1), "the log's last line"),
}


class FaultyMachine:
    """Fails the runs of a submission as often as `failures` says, in one of the ways of FAULTS."""

    def __init__(self, fault: str, failures: int) -> None:
        self.run, self.ended, self.says = FAULTS[fault]
        self.failures = failures

    def __call__(self, command: list[str], folder: Path) -> Ended:
        (folder / "log").write_text("the log's last line\n")
        if self.failures and (folder / "job.json").read_text().count("faulty"):
            self.failures -= 1
            self.run.write(folder)
            return self.ended
        outputs = ExerciseRun(Ending.DRIVEN, outputs=["not attempted"])
        SubmissionRun(exercises={"vae.kl": outputs}).write(folder)
        return Ended(0)


def notebook_with(source: str) -> bytes:
    metadata = {"nbgrader": {"grade_id": "vae-kl"}}
    cell = {"cell_type": "code", "source": source, "metadata": metadata}
    return json.dumps({"nbformat": 4, "metadata": {}, "cells": [cell]}).encode()


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("failures", [1, 2])
def test_what_the_machine_fails_is_tried_again_alone_and_is_nobodys_zero(
    fault: str, failures: int, tests: HiddenTests, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = FaultyMachine(fault, failures)
    grader = Grader(ASSIGNMENT, tests, "", Limits())
    monkeypatch.setattr(grader, "run_process", machine)
    faulty = Submission("faulty", "Faulty", notebook_with("faulty = 1"))
    well = Submission("well", "Well", notebook_with("kl = 1"))
    results = list(grade_all(grader, [faulty, well], jobs=1))
    assert [result.student for result in results] == ["well", "faulty"]
    kl = results[1].exercises[1]
    assert results[0].exercises[1].status == Status.NOT_ATTEMPTED
    if failures == 1:
        assert kl.status == Status.NOT_ATTEMPTED
        assert not results[1].broken
    else:
        assert kl.status == Status.NOT_RUN
        assert machine.says in kl.message
        assert "tries again" in kl.message
        assert results[1].broken  # so that it is stored without a digest


def test_what_we_have_ended_ourselves_is_not_tried_again(
    tests: HiddenTests, monkeypatch: pytest.MonkeyPatch
) -> None:
    grader = Grader(ASSIGNMENT, tests, "", Limits())
    monkeypatch.setattr(grader, "run_process", lambda command, folder: Ended(-9, by_us=True))
    assert grader.run(ONE_ANSWER).broken is None


def test_a_full_folder_for_temporary_files_is_nobodys_zero(
    tests: HiddenTests, monkeypatch: pytest.MonkeyPatch
) -> None:
    grader = Grader(ASSIGNMENT, tests, "", Limits())

    def refuse(command: list[str], folder: Path) -> Ended:
        raise OSError(errno.ENOSPC, "No space left on device", str(folder))

    monkeypatch.setattr(grader, "run_process", refuse)
    assert "No space left on device" in str(grader.run(ONE_ANSWER).broken)
    with monkeypatch.context() as patch, pytest.raises(CourseError, match="free some space"):
        patch.setattr(tempfile, "tempdir", "/nowhere")
        with judge.hidden_tests(ASSIGNMENT, SEEDS):
            pass


def test_limits_under_which_nothing_runs_are_refused(
    tests: HiddenTests, monkeypatch: pytest.MonkeyPatch
) -> None:
    grader = Grader(ASSIGNMENT, tests, "", Limits(memory=500))

    def die(command: list[str], folder: Path) -> Ended:
        run = ExerciseRun(Ending.DEAD, "memory")
        SubmissionRun(exercises={ASSIGNMENT.exercises[0].id: run}).write(folder)
        return Ended(0)

    monkeypatch.setattr(grader, "run_process", die)
    with pytest.raises(CourseError, match="used more than 500 MB of memory.*raise --memory"):
        grader.try_out()


def test_outputs_that_break_a_judge_are_one_submissions_own(
    tests: HiddenTests, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> None:
        raise RuntimeError("no room")

    outputs = as_sent(tests, "vae.kl", exercises.get("vae.kl").reference)
    monkeypatch.setattr(exercises, "verdict", fail)
    assert tests.outcome("vae.kl", outputs).status == Status.CRASHED


def test_a_fault_of_the_grader_is_said_and_tried_again(tests: HiddenTests) -> None:
    grader = Grader(ASSIGNMENT, tests, "", Limits())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vaetl_helpers.grading.judge.sys.executable", "/bin/false")
        run = grader.run(ONE_ANSWER)
    result = grader.judge(ADA, ONE_ANSWER, run)
    assert result.broken
    assert result.status_counts().keys() == {Status.MISSING, Status.NOT_RUN}
    assert not grader.judge(ADA, ONE_ANSWER, SubmissionRun()).broken
