"""What `check` takes for an answer, what it hands on, and when it raises."""

import functools

import numpy as np
import pytest
import torch
from right import (
    boxes,
    combine,
    hardware,
    joint,
    latent,
    own,
    sentences,
    start,
    training,
    transfer,
    vae,
)

from vaetl_helpers import exercises, progress
from vaetl_helpers.errors import CourseError
from vaetl_helpers.exercises import check, evaluate, get

IDS = exercises.all_ids()
RIGHT = {}
for chapter in (
    start,
    training,
    hardware,
    vae,
    latent,
    transfer,
    sentences,
    boxes,
    own,
    combine,
    joint,
):
    RIGHT |= chapter.RIGHT


def wrong(*args, **kwargs):
    return None


class Holder:
    def __init__(self, function):
        self.function = function

    def __call__(self, *args, **kwargs):
        return self.function(*args, **kwargs)

    def method(self, *args, **kwargs):
        return self.function(*args, **kwargs)


def wrapped(function):
    @functools.wraps(function)
    def calling(*args, **kwargs):
        return function(*args, **kwargs)

    return calling


def in_a_generator(function):
    """The results of generators are asked for after the call."""

    def lazily(*args, **kwargs):
        yield from function(*args, **kwargs)

    return lazily


def within_other_work(function):
    def longer(*args, **kwargs):
        mine = [torch.ones(2).sum() for _ in range(3)]
        return function(*args, **kwargs) if mine else None

    return longer


DISGUISES = {
    "itself": lambda function: function,
    "in a lambda": lambda function: lambda *args, **kwargs: function(*args, **kwargs),
    "in a partial": functools.partial,
    "in an object": Holder,
    "in a method": lambda function: Holder(function).method,
    "decorated": wrapped,
    "in another function": within_other_work,
}


# A stand-in is no answer.


@pytest.mark.parametrize("id", IDS)
def test_what_check_hands_back_is_refused_when_it_is_checked_again(id, capsys):
    handed = check(id, wrong)
    for name, disguise in DISGUISES.items():
        assert evaluate(get(id), disguise(handed), [0], is_alone=True).status == "incorrect", name
    capsys.readouterr()
    handed = check(id, handed)  # the cell ran a second time
    out = capsys.readouterr().out
    assert out.startswith(f"[no] {id}: incorrect: this is, or calls, the reference solution")
    assert "run the cell with your own function again" in out
    assert handed is get(id).reference


def test_the_reference_in_a_generator_is_refused():
    exercise = get("hardware.batches_resident")
    answer = in_a_generator(exercise.reference)
    assert evaluate(exercise, answer, [0]).status == "correct"
    assert evaluate(exercise, answer, [0], is_alone=True).status == "incorrect"


@pytest.mark.parametrize("id", IDS)
def test_the_package_s_block_is_no_answer(id):
    module = __import__(f"vaetl_helpers.exercises.{id.partition('.')[0]}", fromlist=["x"])
    block = getattr(module, get(id).reference.__name__)
    assert "reference solution" in evaluate(get(id), block, [0], is_alone=True).message


@pytest.mark.parametrize("id", IDS)
def test_a_cell_that_is_run_again_is_judged_as_before(id, capsys):
    """Correct, run again under the same name, defined anew, and checked again."""
    function = RIGHT[id][0]
    handed = check(id, function)
    again = check(id, handed)
    anew = check(id, function)
    marks = [line for line in capsys.readouterr().out.splitlines() if line.startswith("[")]
    assert marks == 3 * [f"[ok] {id}: correct"]
    assert anew is not get(id).reference and again is not get(id).reference


def test_stand_ins_of_other_exercises_may_be_used():
    """As the notebook asks for in the ELBO."""
    checked = {id: check(id, wrong) for id in ("vae.kl", "vae.reparameterise")}

    def elbo(encode, decode, images, noise):
        mu, log_var = encode(images)
        z = checked["vae.reparameterise"](mu, log_var, noise)
        return vae.bernoulli(decode(z), images) - checked["vae.kl"](mu, log_var)

    assert evaluate(get("vae.elbo"), elbo, is_alone=True).status == "correct"


def test_a_wrong_answer_is_never_noted_as_solved(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("VAETL_GRADING", raising=False)
    monkeypatch.setattr(progress, "notebook_kernel", lambda: True)
    monkeypatch.setattr(progress, "is_interactive", lambda: True)
    kl = check("vae.kl", wrong)
    for disguise in DISGUISES.values():
        kl = check("vae.kl", disguise(kl))
    assert progress.solved() == set() and len((tmp_path / progress.FILE).read_text()) > 0
    check("vae.kl", vae.kl)
    assert progress.solved() == {"vae.kl"}


def test_a_profiler_of_the_user_s_goes_on():
    import sys

    seen = []
    sys.setprofile(lambda frame, event, argument: seen.append(frame.f_code.co_name))
    try:
        check("vae.kl", vae.kl)
        mine = sys.getprofile()
    finally:
        sys.setprofile(None)
    assert mine is not None and "kl" in seen


# What is handed on.


def test_an_answer_in_the_expected_form_is_handed_on_as_it_is(capsys):
    for id, function in (("vae.kl", vae.kl), ("training.accuracy", training.accuracy)):
        assert check(id, function) is function


def test_an_array_is_handed_on_as_a_tensor(capsys):
    def features(model, images):
        return combine.features(model, images).numpy()

    from vaetl_helpers.vae import mlp_vae

    handed = check("combine.features", features)
    result = handed(mlp_vae(latent=3), torch.rand(4, 1, 28, 28))
    assert isinstance(result, torch.Tensor) and result.shape == (4, 3)
    assert handed.__name__ == "features" and handed.__wrapped__ is features


def test_an_argument_that_an_answer_changes_is_not_changed_in_later_cells(capsys):
    handed = check("vae.reparameterise", vae.code_into_mu)
    mu = torch.zeros(2, 3)
    handed(mu, torch.zeros(2, 3), noise=torch.ones(2, 3))
    assert not mu.any()


# When it raises.


@pytest.mark.parametrize("what", ["validate", "autograde"])
def test_nbgrader_sees_an_exception_for_what_is_not_correct(what, monkeypatch, capsys):
    monkeypatch.delenv("VAETL_GRADING", raising=False)
    assert check("vae.kl", wrong) is get("vae.kl").reference
    monkeypatch.setenv("NBGRADER_EXECUTION", what)
    with pytest.raises(CourseError, match=r"vae\.kl"):
        check("vae.kl", wrong)
    with pytest.raises(CourseError, match="reference solution"):
        check("vae.kl", get("vae.kl").reference)
    assert check("vae.kl", vae.kl) is vae.kl


def test_arguments_in_the_other_order_are_told_so():
    with pytest.raises(CourseError, match=r'check\("vae\.kl", kl\)'):
        check(vae.kl, "vae.kl")


def test_an_unknown_id_names_only_the_nearest():
    with pytest.raises(CourseError) as refusal:
        check("vae.kll", vae.kl)
    assert str(refusal.value) == "Unknown exercise 'vae.kll': did you mean 'vae.kl'?"


# Reasons.


def in_place_on_a_saved_value(mu, log_var, noise):
    z = (0.5 * log_var).exp()
    z *= noise
    z += mu
    return z


def test_a_saved_value_that_is_changed_in_place_is_named_with_its_line():
    status, message = evaluate(get("vae.reparameterise"), in_place_on_a_saved_value, [0])
    assert status == "crashed" and "weights" not in message
    assert "a value that the gradients are computed from was changed in place" in message
    assert "line 3 of in_place_on_a_saved_value: z *= noise" in message


def test_weights_that_are_changed_too_early_are_named():
    (early,) = [
        answer.function
        for answer in get("training.step").wrong
        if answer.name == "update first, no zero_grad"
    ]
    assert "the weights were changed between" in evaluate(get("training.step"), early).message


def numpy_kl(mu, log_var):
    return torch.tensor(vae.kl(mu, log_var).detach().numpy())


def test_values_without_a_gradient_are_not_called_partly_detached():
    message = evaluate(get("vae.kl"), numpy_kl, [0]).message
    assert message.startswith("the values are right, but no gradient flows through them")


def by_logarithm(mu, log_var):
    return (mu.square() + log_var - 1 - log_var.log()).sum(1) / 2


def test_a_logarithm_of_the_log_variance_is_named():
    message = evaluate(get("vae.kl"), by_logarithm, [0]).message
    assert "log_var is log σ² already" in message


@pytest.mark.parametrize("seed", range(3))
def test_a_ruler_with_test_images_is_named_whatever_else_is_in_it(seed):
    def study(pretrain, fit, unlabelled, train, validation, test, draws, alphas):
        ruler = combine.of_ruler(lambda *_: torch.cat([validation[0], test[0][:9]]))
        return ruler(pretrain, fit, unlabelled, train, validation, test, draws, alphas)

    message = evaluate(get("combine.leakage"), study, [seed]).message
    assert message == "what fit is given changes with the test images: make the ruler without them"


def test_a_clock_that_cannot_be_reached_is_named():
    import time

    clocks = frozenset([time.perf_counter])

    def hidden(work, synchronise, repeats):
        return np.median(list(hardware.seconds_by(next(iter(clocks)), work, synchronise, repeats)))

    message = evaluate(get("hardware.time_it"), hidden, [0]).message
    assert "call time.perf_counter() by its name" in message


def test_a_clock_that_the_check_does_not_know_is_not_called_none():
    import datetime

    def by_date(work, synchronise, repeats):
        work()
        seconds = []
        for _ in range(repeats):
            synchronise()
            start = datetime.datetime.now()
            work()
            synchronise()
            seconds.append((datetime.datetime.now() - start).total_seconds())
        return np.median(seconds)

    message = evaluate(get("hardware.time_it"), by_date, [0]).message
    assert "no clock was read that the check knows" in message


# What stays behind.


def with_gradients_off(mu, log_var):
    result = vae.kl(mu, log_var)
    torch.set_grad_enabled(False)
    return result


def with_another_type(a, b):
    torch.set_default_dtype(torch.float64)
    return combine.interval(a, b)


@pytest.mark.parametrize(
    ("id", "function", "says"),
    [
        ("vae.kl", with_gradients_off, "gradients are switched off for all cells that follow"),
        ("combine.paired_interval", with_another_type, "torch.set_default_dtype is left changed"),
    ],
)
def test_what_is_left_switched_for_later_cells_is_no_right_answer(id, function, says):
    outcome = evaluate(get(id), function)
    assert outcome.status != "correct" and says in outcome.message
    assert torch.is_grad_enabled() and torch.get_default_dtype() == torch.float32


def test_a_class_that_an_answer_changes_is_put_back():
    kind = torch.nn.Sequential
    before = dict(vars(kind))

    def of_the_class(body):
        body.requires_grad_(False).eval()
        kind.train = lambda self, mode=True: self

    for _ in range(2):  # a second check judges as the first one
        message = evaluate(get("transfer.freeze"), of_the_class).message
        assert message.startswith("a class was changed")
        assert dict(vars(kind)) == before


def test_the_whole_set_as_floats_is_still_refused():
    def whole(images, labels, batch_size, generator):
        levels = (torch.arange(256) / 255)[images.long()]
        order = torch.randperm(len(images), generator=generator)
        return [(levels[rows], labels[rows]) for rows in order.split(batch_size)]

    for seed in range(4):
        message = evaluate(get("hardware.batches_resident"), whole, [seed]).message
        assert message.startswith("more than one batch was turned into floats")
