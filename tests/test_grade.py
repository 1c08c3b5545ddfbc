"""The trusted side of grading, without a kernel: secrets, inputs, and the judging of whatever comes back."""

from __future__ import annotations

import base64
import json
import stat
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from vaetl_helpers import exercises
from vaetl_helpers.errors import CourseError
from vaetl_helpers.grading import course as session
from vaetl_helpers.grading import judge as grading
from vaetl_helpers.grading.judge import Grader, HiddenTests, derive, fingerprint, secret_of
from vaetl_helpers.grading.sandbox import Limits
from vaetl_helpers.grading.submissions import Content, Submission, assignment

OF = assignment("03")
SECRET = bytes(32)
SEEDS = grading.hidden_seeds(OF, SECRET)


@pytest.fixture(scope="module")
def tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HiddenTests]:
    yield HiddenTests(OF, SEEDS, tmp_path_factory.mktemp("tests"))


def sent(tests: HiddenTests, id: str, function: Callable) -> list[str]:
    """What the sandbox would send for a function."""
    exercise = exercises.get(id)
    return [
        base64.b64encode(exercises.attempt(exercise, function, data)).decode()
        for data in tests.inputs[id]
    ]


@pytest.mark.parametrize("task", OF.tasks, ids=lambda task: task.id)
def test_references_pass_and_every_wrong_answer_fails(
    task: grading.Task, tests: HiddenTests
) -> None:
    exercise = exercises.get(task.id)
    assert tests.outcome(task.id, sent(tests, task.id, exercise.reference)).status == "correct"
    for wrong in exercise.wrong:
        assert tests.outcome(task.id, sent(tests, task.id, wrong.function)).status != "correct", (
            wrong.name
        )


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
    right = sent(tests, "vae.kl", exercises.get("vae.kl").reference)
    assert tests.outcome("vae.kl", right[:-1]).status == "crashed"
    assert tests.outcome("vae.kl", [*right[:-1], right[0]]).status == "incorrect"


def test_seeds_differ_by_exercise_by_trial_and_by_secret() -> None:
    seeds = [seed for many in SEEDS.values() for seed in many]
    other = [seed for many in grading.hidden_seeds(OF, b"\1" * 32).values() for seed in many]
    assert len({*seeds, *other, derive(SECRET, "the notebook's seed")}) == 2 * len(seeds) + 1
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert not {*seeds} & {*range(100)}  # those of the public checks


def test_the_secret_is_kept_and_nobody_else_can_read_it(tmp_path: Path) -> None:
    out = tmp_path / "course"
    first = secret_of(out, None)
    assert secret_of(out, None) == first != secret_of(out, 7)
    assert stat.S_IMODE((out / "secret.key").stat().st_mode) == 0o600
    assert secret_of(tmp_path / "other", None) != first


def test_a_submission_is_graded_again_if_anything_that_counts_has_changed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one = Submission("ada", "Ada", b"{}")
    first = fingerprint(one, OF, SECRET, "seed = 1")
    assert fingerprint(replace(one, name="Ada L."), OF, SECRET, "seed = 1") == first
    changed = [
        fingerprint(replace(one, data=b"{} "), OF, SECRET, "seed = 1"),
        fingerprint(replace(one, fault="too large"), OF, SECRET, "seed = 1"),
        fingerprint(one, OF, b"\1" * 32, "seed = 1"),
        fingerprint(one, OF, SECRET, "seed = 2"),
        fingerprint(one, replace(OF, tasks=OF.tasks[:-1]), SECRET, "seed = 1"),
    ]
    assert len({first, *changed}) == 6


def test_parameters_are_injected_below_the_courses_own() -> None:
    source = grading.parameters_source(OF, {"profile": "smoke", "seed": 5})
    values: dict[str, object] = {}
    exec(source, values)
    assert (values["profile"], values["seed"], values["epochs"]) == ("smoke", 5, None)


def test_later_cells_get_the_reference_whatever_the_answer_was() -> None:
    assert [grading._reference(task) for task in OF.tasks][
        1
    ] == 'kl_checked = check("vae.kl", None)'
    for number in ("01", "02", "03b", "04", "05"):
        for task in assignment(number).tasks:
            assert grading._reference(task) != task.checked


def test_texts_of_a_submission_are_fit_for_a_database() -> None:
    value = {"a": ["x\ud800\x00\u202e\n", 3, None], "b": {"c": "é\xa0\t"}}
    cleaned = grading.clean(value)
    assert cleaned == {"a": ["x?��\n", 3, None], "b": {"c": "é\xa0\t"}}
    json.dumps(cleaned, ensure_ascii=False).encode("utf-8")


def test_outcomes_of_a_run_become_points(tests: HiddenTests) -> None:
    right = {
        task.id: sent(tests, task.id, exercises.get(task.id).reference) for task in OF.tasks[:2]
    }
    done = {
        id: {"status": "driven", "message": "", "outputs": outputs, "seconds": 1.0}
        for id, outputs in right.items()
    }
    others = [task.id for task in OF.tasks[2:]]
    done[others[0]] = {"status": "dead", "message": "memory", "outputs": [], "seconds": 2.0}
    done[others[1]] = {"status": "time", "message": "its tests", "outputs": [], "seconds": 20.0}
    cells = {task.id: ("pass",) for task in OF.tasks if task.id != others[2]}
    grader = Grader(OF, tests, "", Limits())
    content = Content(("import os",), cells, {others[2]: ("The cell is missing.",), "": ("odd",)})
    result = grader.judge(
        Submission("ada", "Ada", b"{}", ("two files",)), content, {"notes": ["n"], "tasks": done}
    )
    statuses = [row["status"] for row in result["exercises"]]
    assert statuses == ["correct", "correct", "over a limit", "over a limit", "missing"]
    assert [row["points"] for row in result["exercises"]] == [
        OF.tasks[0].points,
        OF.tasks[1].points,
        0,
        0,
        0,
    ]
    assert result["exercises"][2]["message"] == "used more than 3000 MB of memory"
    assert result["notes"] == ["two files", "odd", "n"] and "os" in result["flags"][0]
    lost = grader.judge(Submission("ada", "Ada", b"{}"), content, {"notes": [], "tasks": {}})
    assert {row["status"] for row in lost["exercises"]} == {"over a limit", "missing"}


def test_a_name_that_is_not_there_is_explained(tests: HiddenTests) -> None:
    ran = {
        "status": "error",
        "message": "NameError: name 'helper' is not defined",
        "outputs": [],
        "seconds": 0.1,
    }
    content = Content(None, {"vae.kl": ("pass",)}, {})
    grader, submission = Grader(OF, tests, "", Limits()), Submission("ada", "Ada", b"{}")
    result = grader.judge(submission, content, {"notes": [], "tasks": {"vae.kl": ran}})
    assert grading.ONLY in result["exercises"][1]["message"]


def test_a_course_folder_among_the_submissions_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CourseError, match="choose another with --out"):
        session.grade(tmp_path, "03", tmp_path / "course", safe=False)
    assert not (tmp_path / "course").exists()


def test_a_sandbox_that_does_not_start_is_nobodys_zero(
    tests: HiddenTests, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failed(self: Grader, command: list[str], folder: Path) -> int:
        (folder / "outcome.json").write_text('{"failed": "no kernel", "notes": [], "tasks": {}}')
        (folder / "log").write_text("bwrap: no room\n")
        return 0

    monkeypatch.setattr(Grader, "_wait", failed)
    with pytest.raises(CourseError, match="does not start .bwrap: no room"):
        Grader(OF, tests, "", Limits()).run(Content(None, {"vae.kl": ("pass",)}, {}))


def test_a_fault_of_the_grader_is_said_and_tried_again(tests: HiddenTests) -> None:
    content, submission = Content(None, {"vae.kl": ("pass",)}, {}), Submission("ada", "Ada", b"{}")
    grader = Grader(OF, tests, "", Limits())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grading.sys, "executable", "/bin/false")
        ran = grader.run(content)
    result = grader.judge(submission, content, ran)
    assert result["broken"] and {row["status"] for row in result["exercises"]} == {
        "missing",
        "not run",
    }
    assert not grader.judge(submission, content, {"notes": [], "tasks": {}})["broken"]
