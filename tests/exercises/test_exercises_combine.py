"""Chapter 5's exercises: crashes, forged outputs, references beside the package's studies."""

import pytest
import torch
from scipy import stats

from vaetl_helpers import study
from vaetl_helpers.exercises import (
    attempt,
    chapter_exercises,
    check,
    combine,
    evaluate,
    get,
    pack,
    source_of,
    unpack,
)


def verdict_by_the_package(low, high, n, delta):
    return study.verdict(study.Effect(effect=(low + high) / 2, low=low, high=high, n=n), delta)


def labels_with_assertion(labels, per_class, draws, seed):
    assert all((labels == name).sum() >= per_class * draws for name in labels.unique())
    return combine.few_labels(labels, per_class, draws, seed)


@pytest.mark.parametrize("exercise", chapter_exercises("combine"), ids=lambda exercise: exercise.id)
def test_crashes_and_stubs_are_told_apart(exercise, capsys):
    def broken(*args):
        raise KeyError("oh no")

    assert check(exercise.id, broken) is exercise.reference
    assert "crashed: KeyError: 'oh no' (line 2 of broken: raise KeyError" in capsys.readouterr().out
    assert check(exercise.id, lambda *args: ...) is exercise.reference
    assert capsys.readouterr().out.startswith(f"[--] {exercise.id}: not attempted")


def test_another_exception_than_the_one_asked_for_is_named():
    status, message = evaluate(get("combine.few_labels"), labels_with_assertion)
    assert status == "incorrect"
    assert message == "too small a pool must raise ValueError, and yours raises AssertionError"


def test_gradients_switched_off_for_good_do_not_leave_the_check():
    exercise = get("combine.features")
    evaluate(exercise, wrong_answer(exercise, "switched off"))
    assert torch.is_grad_enabled()


def test_the_reference_interval_is_the_known_one():
    for seed in range(5):
        inputs = get("combine.paired_interval").draw(seed)
        expected = stats.ttest_rel(inputs["a"], inputs["b"]).confidence_interval()
        assert combine.paired_interval(inputs["a"], inputs["b"])[1:] == pytest.approx(
            (expected.low, expected.high)
        )


def test_verdicts_are_those_of_the_ledger():
    """The exercise and the study judge every drawn interval alike, and every word comes up."""
    words = set()
    for seed in range(4):
        inputs = get("combine.verdict").draw(seed)
        for low, high, n in inputs["rows"].tolist():
            word = combine.verdict(low, high, n, inputs["delta"])
            assert word == verdict_by_the_package(low, high, n, inputs["delta"])
            words.add(word)
    assert words == set(combine.WORDS)


@pytest.mark.parametrize("seed", range(4))
def test_labels_and_outputs_of_a_forged_answer_are_refused(seed):
    """Draws that are right but for one image, as a process that is not trusted might send them."""
    exercise = get("combine.few_labels")
    inputs = exercise.draw(seed)
    outputs = unpack(attempt(exercise, combine.few_labels, pack(inputs)))
    assert exercise.judge(inputs, outputs) is None
    for name in (combine.FIRST, combine.AGAIN, combine.OTHERS):
        forged = outputs[name].clone()
        forged.flatten()[0] = forged.flatten()[1]
        assert exercise.judge(inputs, outputs | {name: forged}), name


def wrong_answer(exercise, name):
    return next(wrong.function for wrong in exercise.wrong if wrong.name == name)


def test_the_leaky_study_has_copies_of_test_images_and_its_repair_has_none():
    exercise = get("combine.leakage")
    for seed in range(4):
        inputs = exercise.draw(seed)
        leaky = exercise.drive(exercise.broken, inputs)
        repaired = exercise.drive(exercise.reference, inputs)
        assert leaky[combine.COPIED] >= 20 and repaired[combine.COPIED] == 0
        assert leaky[combine.FRESH] == repaired[combine.FRESH] == 40


def test_the_chosen_alpha_of_the_leaky_study_is_never_worse_on_the_test_set():
    """Choosing on the test labels can only raise the accuracy that is told."""
    exercise = get("combine.leakage")
    choosing = wrong_answer(exercise, "alpha is chosen on the test labels")
    gains = []
    for seed in range(4):
        inputs = exercise.draw(seed)
        told = exercise.drive(choosing, inputs)[combine.ACCURACIES]
        honest = exercise.drive(exercise.reference, inputs)[combine.ACCURACIES]
        assert (told >= honest).all()
        gains.append((told - honest).max().item())
    assert max(gains) > 0


def test_a_leak_is_named_together_with_the_others_that_are_left():
    exercise = get("combine.leakage")
    for wrong in exercise.wrong:
        leaks = [leak for leak in combine.LEAKS if leak in wrong.says]
        if leaks:
            message = evaluate(exercise, wrong.function, [11]).message
            assert message == f"still in it: {'; '.join(leaks)}"


def test_solutions_are_short_and_need_nothing_but_what_they_show():
    for exercise in chapter_exercises("combine"):
        source = source_of(exercise.reference)
        assert len(source.splitlines()) <= 25 and "array(" not in source and "inputs[" not in source
