"""The exercise engine and every exercise: right answers pass, wrong ones are refused by name."""

import random
import sys
import warnings
from collections import Counter

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from vaetl_helpers import exercises
from vaetl_helpers.errors import CourseError
from vaetl_helpers.exercises import (
    check,
    evaluate,
    get,
    hint,
    pack,
    solution,
    source_of,
    unpack,
    verdict,
)
from vaetl_helpers.exercises import training as chapter1
from vaetl_helpers.exercises.toolkit import judged

IDS = exercises.all_ids()
WRONG = [
    pytest.param(get(id), wrong, id=f"{id}-{wrong.name}") for id in IDS for wrong in get(id).wrong
]


def stub(*args, **kwargs):
    return ...  # your code


def outputs_of(exercise, function, seed):
    inputs = exercise.draw(seed)
    return inputs, unpack(exercises.attempt(exercise, function, pack(inputs)))


# Every exercise.


def test_chapters_1_to_1c_have_their_exercises():
    names = ("step", "cross_entropy", "accuracy", "overfit_one_batch", "debug_loop", "bill")
    assert [f"training.{name}" for name in names] == [
        id for id in IDS if id.startswith("training.")
    ]


@pytest.mark.parametrize("id", IDS)
def test_it_is_complete(id):
    exercise = get(id)
    assert exercise.minutes > 0 and exercise.points > 0 and len(exercise.hints) >= 3
    assert len(exercise.wrong) >= 4 and all(len(wrong.says) > 10 for wrong in exercise.wrong)


@pytest.mark.parametrize("id", IDS)
def test_it_says_how_hard_it_is_and_what_was_shown(id):
    exercise = get(id)
    assert exercise.stars in ("●○○", "●●○", "●●●")
    assert exercise.after.endswith(".") and len(exercise.after.split()) > 6
    is_long = len(source_of(exercise.reference).splitlines()) > 15
    assert exercise.steps or exercise.broken or not is_long


def test_each_level_has_some_exercises():
    assert Counter(get(id).stars for id in IDS).keys() == {"●○○", "●●○", "●●●"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "seeds",
    [
        pytest.param([*range(8), 2**40 + 1], id="few"),
        pytest.param(range(8, 40), id="many", marks=pytest.mark.nightly),
    ],
)
@pytest.mark.parametrize("id", IDS)
def test_the_reference_is_correct_over_many_seeds(id, seeds):
    exercise = get(id)
    outcome = evaluate(exercise, exercise.reference, seeds)
    assert outcome.status == "correct", outcome


@pytest.mark.parametrize("id", IDS)
def test_the_stub_is_not_attempted(id):
    assert evaluate(get(id), stub).status == "not attempted"
    assert evaluate(get(id), lambda *args: (..., 1)).status == "not attempted"
    assert evaluate(get(id), ...).status == "not attempted"


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.nightly) for seed in (1, 1234))]
)
@pytest.mark.parametrize(("exercise", "wrong"), WRONG)
def test_a_wrong_answer_is_refused_by_name_and_told_in_words(exercise, wrong, seed):
    status, message = evaluate(exercise, wrong.function, [seed])
    assert status in ("incorrect", "crashed")
    assert wrong.says in message
    assert len(message.split()) > 3 and not message.endswith((":", ",", "expected"))


@pytest.mark.parametrize("id", IDS)
def test_inputs_vary_with_the_seed_and_only_with_it(id):
    exercise = get(id)
    drawn = [exercise.draw(seed) for seed in range(8)]
    shapes = {
        tuple(tuple(x.shape) for x in inputs.values() if hasattr(x, "shape")) for inputs in drawn
    }
    assert len(shapes) >= 4
    anew = getattr(exercise.draw, "__wrapped__", exercise.draw)  # some are remembered
    again = anew(3)
    assert all(
        torch.equal(torch.as_tensor(again[k]), torch.as_tensor(v)) for k, v in drawn[3].items()
    )


@pytest.mark.parametrize("id", IDS)
def test_packing_changes_no_verdict(id):
    exercise = get(id)
    for function in (exercise.reference, exercise.wrong[0].function):
        inputs = exercise.draw(5)
        outputs = exercise.drive(function, unpack(pack(inputs)))
        plainly = exercise.judge(inputs, outputs)
        assert exercise.judge(unpack(pack(inputs)), unpack(pack(outputs))) == plainly
        assert (plainly is None) == (function is exercise.reference)


HOSTILE = (float("nan"), float("inf"), 10**400, "hello", -7.5, torch.ones(2, 3, 4), torch.ones(0))
HOSTILE += (
    torch.tensor(1j),
    torch.tensor(True),
    torch.full((3,), torch.nan),
    torch.tensor(3.5).half(),
)


@pytest.mark.slow
@pytest.mark.parametrize("id", IDS)
def test_hostile_outputs_get_a_message(id):
    exercise = get(id)
    inputs, outputs = outputs_of(exercise, exercise.reference, 2)
    cases = [{}, {"other": 1}]
    for name, value in outputs.items():
        nan = torch.full_like(torch.as_tensor(value, dtype=torch.float64), torch.nan)
        cases.append({key: kept for key, kept in outputs.items() if key != name})
        bad = (*HOSTILE, nan, torch.as_tensor(value)[None])
        cases += [outputs | {name: other} for other in bad]
    for case in cases:
        message = exercise.judge(inputs, unpack(pack(case)))
        assert isinstance(message, str) and message, case
        assert "could not be compared" not in message, case  # that is for what nobody thought of


@pytest.mark.parametrize("id", IDS)
def test_no_number_of_the_outputs_is_free(id):
    """What `judge` accepts is what it computed itself: any output that is moved is refused."""
    exercise = get(id)
    inputs, outputs = outputs_of(exercise, exercise.reference, 3)
    free = {"gradients left"} if id == "training.step" else set()  # only used to name the error
    for name in outputs.keys() - free:
        moved = outputs | {name: torch.as_tensor(outputs[name]).double() + 0.5}
        assert exercise.judge(inputs, moved), name


@pytest.mark.parametrize("id", IDS)
def test_odd_returns_do_not_crash_the_engine(id):
    for odd in (
        None,
        "text",
        3,
        [],
        {},
        object(),
        [None, "x"],
        np.float32(0.5),
        (1, 2),
        torch.ones(2, 2),
    ):
        outcome = evaluate(get(id), lambda *args, odd=odd: odd, [0])
        assert outcome.status == "incorrect", (odd, outcome)


# Chapter 1: answers written by hand, right and wrong, as learners would.


def step_with_a_loss_object(model, optimizer, images, labels):
    model.zero_grad(set_to_none=False)
    loss = torch.nn.CrossEntropyLoss()(model(images), labels)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    return loss  # with its graph


def step_as_a_number(model, optimizer, images, labels):
    return step_with_a_loss_object(model, optimizer, images, labels).item()


def cross_entropy_naive(logits, labels):
    probabilities = logits.exp() / logits.exp().sum(1, keepdim=True)
    return -torch.stack(
        [row[label].log() for row, label in zip(probabilities, labels, strict=True)]
    ).mean()


def test_the_reference_cross_entropy_is_the_known_one():
    logits, labels = torch.randn(7, 4, requires_grad=True), torch.randint(4, (7,))
    loss = chapter1.cross_entropy(logits, labels)
    torch.testing.assert_close(loss, F.cross_entropy(logits, labels))
    expected = (logits.softmax(1) - F.one_hot(labels, 4)) / 7
    torch.testing.assert_close(torch.autograd.grad(loss, logits)[0], expected)


def test_one_batch_is_overfitted_to_almost_nothing():
    for seed in range(5):
        _, outputs = outputs_of(get("training.overfit_one_batch"), chapter1.overfit_one_batch, seed)
        losses = outputs["the list of losses"]
        assert losses[-1] < 0.2 * losses[0]


def test_the_planted_bugs_can_be_shown():
    source = source_of(get("training.debug_loop").broken)
    assert "zero_grad" not in source and "eval()" not in source
    assert source.index("optimizer.step()") < source.index("loss.backward()")


# The engine.


def test_check_returns_the_function_if_correct_and_the_reference_otherwise(capsys):
    assert check("training.cross_entropy", F.cross_entropy) is F.cross_entropy
    assert capsys.readouterr().out.startswith("[ok] training.cross_entropy: correct\n")
    marks = {stub: "[--]", cross_entropy_naive: "[no]", (lambda x: x): "[!!]", 3.5: "[no]"}
    for function, mark in marks.items():
        assert check("training.cross_entropy", function) is chapter1.cross_entropy.reference
        out = capsys.readouterr().out
        assert (
            out.startswith(f"{mark} training.cross_entropy: ")
            and "use the reference solution" in out
        )


def test_a_right_answer_is_told_what_it_has_shown_and_another_way(capsys):
    exercise = get("training.cross_entropy")
    check(exercise.id, F.cross_entropy)
    printed = capsys.readouterr().out
    assert exercise.after in printed and exercise.alternative in printed
    check(exercise.id, cross_entropy_naive)
    printed = capsys.readouterr().out
    assert exercise.after not in printed and exercise.alternative not in printed


def test_a_crash_shows_type_reason_and_line(capsys):
    def accuracy(model, batches):
        total = 0
        raise ValueError(f"oh no, {total}")

    check("training.accuracy", accuracy)
    expected = (
        'crashed: ValueError: oh no, 0 (line 3 of accuracy: raise ValueError(f"oh no, {total}"))'
    )
    assert expected in capsys.readouterr().out


def test_a_crash_without_a_source_file_still_has_its_line(capsys):
    space = {}
    exec(
        "def accuracy(model, batches):\n    return 1 / 0\n", space
    )  # as on Colab, where no file is readable
    check("training.accuracy", space["accuracy"])
    assert "ZeroDivisionError: division by zero (line 2 of accuracy)" in capsys.readouterr().out


def test_exit_is_a_crash_and_an_interrupt_is_not_swallowed(capsys):
    def interrupted(*args):
        raise KeyboardInterrupt

    check("training.step", lambda *args: sys.exit(3))
    assert "crashed: SystemExit: 3" in capsys.readouterr().out
    with pytest.raises(KeyboardInterrupt):
        check("training.step", interrupted)


def test_a_call_instead_of_the_function_is_told_kindly(capsys):
    check("training.accuracy", 0.9)
    assert (
        "check needs the function itself, without brackets, and got: float"
        in capsys.readouterr().out
    )


@pytest.mark.parametrize("ask", [lambda id: check(id, stub), hint, solution, get])
def test_an_unknown_id_names_the_near_one(ask):
    with pytest.raises(CourseError, match="did you mean 'training.step'"):
        ask("training.stp")
    with pytest.raises(CourseError, match="training.accuracy"):
        ask(stub)


def test_grading_raises_unless_correct(monkeypatch, capsys):
    monkeypatch.setenv("VAETL_GRADING", "1")
    assert check("training.cross_entropy", F.cross_entropy) is F.cross_entropy
    for function in (stub, cross_entropy_naive, lambda: 0, None):
        with pytest.raises(CourseError, match="training.cross_entropy"):
            check("training.cross_entropy", function)


def test_check_leaves_no_trace(capfd):
    def noisy(logits, labels):
        torch.manual_seed(0), random.seed(0), np.random.seed(0)
        torch.set_default_dtype(torch.float64)
        torch.set_grad_enabled(False)
        warnings.warn("a warning", stacklevel=1)
        print("a message", file=sys.stderr)
        logits.data.zero_()
        labels.zero_()

    torch.manual_seed(7), random.seed(7), np.random.seed(7)
    expected = torch.rand(3), random.random(), np.random.rand()
    torch.manual_seed(7), random.seed(7), np.random.seed(7)
    with torch.no_grad(), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for function in (noisy, F.cross_entropy):
            check("training.cross_entropy", function)
        assert not torch.is_grad_enabled() and not caught
    assert torch.equal(torch.rand(3), expected[0])
    assert (random.random(), np.random.rand()) == expected[1:]
    assert torch.get_default_dtype() == torch.float32
    printed = capfd.readouterr()
    assert printed.err == "" and "a message" in printed.out and "[ok]" in printed.out


def test_check_works_under_another_default_device_and_type():
    torch.set_default_device("meta")  # as after set_default_device("cuda")
    torch.set_default_dtype(torch.float64)
    try:
        assert check("training.step", step_as_a_number) is step_as_a_number
        assert (torch.get_default_device().type, torch.get_default_dtype()) == (
            "meta",
            torch.float64,
        )
    finally:
        torch.set_default_device(None)
        torch.set_default_dtype(torch.float32)


def test_changing_the_inputs_in_place_changes_nothing_for_the_judge():
    exercise = get("training.cross_entropy")

    def cheat(logits, labels):
        logits.data.zero_()
        labels.zero_()
        return F.cross_entropy(logits, labels)

    inputs = exercise.draw(0)
    kept = {name: value.clone() for name, value in inputs.items()}
    outputs = unpack(exercises.attempt(exercise, cheat, pack(inputs)))
    assert verdict(exercise, inputs, outputs).status == "incorrect"
    assert all(torch.equal(inputs[name], kept[name]) for name in kept)


def test_hints_come_one_by_one(capsys, monkeypatch):
    monkeypatch.setattr("vaetl_helpers.exercises.engine.hint_counts", Counter())
    for _ in range(4):
        hint("training.step")
    lines = capsys.readouterr().out.splitlines()
    assert [line[:13] for line in lines[:4]] == [f"hint {n} of 3: "[:13] for n in (1, 2, 3, 3)]
    assert "solution(" in lines[4] and len(lines) == 5


def test_the_solution_is_printed_without_what_else_its_block_says(capsys):
    solution("training.step")
    printed = capsys.readouterr().out
    assert printed.startswith("def step(") and "optimizer.zero_grad()" in printed


@pytest.mark.parametrize("id", IDS)
def test_solutions_fit_into_a_notebook(id):
    exercise = get(id)
    for function in filter(None, (exercise.reference, exercise.broken)):
        assert function.__doc__
        assert all(len(line) <= 88 for line in source_of(function).splitlines())


def test_pack_takes_values_only():
    shared = torch.ones(4)
    values = {
        "turned": torch.arange(6).view(2, 3).T,
        "empty": torch.ones(0, 2),
        "n": 3,
        "f": 0.1,
        "s": "é",
    }
    values |= {"half": shared[:2], "all": shared, "yes": True}
    again = unpack(pack(values))
    assert again.keys() == values.keys()
    assert all(
        torch.equal(torch.as_tensor(again[k]), torch.as_tensor(values[k]))
        for k in values
        if k != "s"
    )
    assert again["s"] == "é"
    for bad in (None, [1], {"a": 1}, object(), (1,), torch.ones(2).to_sparse()):
        with pytest.raises(CourseError):
            pack({"bad": bad})


def test_damaged_bytes_are_refused():
    data = pack({"x": torch.arange(4.0), "n": 3})
    for size in range(len(data)):
        with pytest.raises(CourseError):
            unpack(data[:size])
    foreign = [
        b"",
        b"\x80\x04N.",
        data + b"x",
        b"\xff" * 40,
        data.replace(b'\\"n\\": 3', b'\\"n\\": []'),
    ]
    foreign += [data.replace(b'{\\"n\\": 3}', b"[[[[[[[[]"), data.replace(b'"values"', b'"valuez"')]
    for bad in foreign:
        with pytest.raises(CourseError):
            unpack(bad)
    for place in range(len(data)):  # some flips give other values, none anything else
        try:
            values = unpack(data[:place] + bytes([data[place] ^ 0x55]) + data[place + 1 :])
        except CourseError:
            continue
        assert all(isinstance(value, (torch.Tensor, int, float, str)) for value in values.values())


def test_a_judge_that_stumbles_refuses():
    judge = judged(lambda inputs, outputs: 1 / 0)
    assert "could not be compared" in judge({}, {})
