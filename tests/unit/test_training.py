"""Training: the same weights as a loop by hand, whatever interrupts it; checkpoints."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from vaetl_helpers import vae
from vaetl_helpers.data import ImageSet
from vaetl_helpers.device import DeviceStatus
from vaetl_helpers.errors import CourseError
from vaetl_helpers.nets import mlp_classifier, small_cnn
from vaetl_helpers.training import (
    History,
    NonFiniteLoss,
    RunOptions,
    checkpoints,
    classification_loss,
    evaluate,
    evaluating,
    fit,
    fit_best,
    load_checkpoint,
    one_cycle,
    save_checkpoint,
    training_epochs,
)
from vaetl_helpers.training.evaluation import evaluation_batch

State = dict[str, Tensor]
BATCH, STEPS = 16, 7  # 100 images: six whole batches and one of 4


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def images(count: int = 100, seed: int = 0) -> ImageSet:
    """Noise with a bright square whose place tells the class: 8 × 8, four classes."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 4, count)
    pixels = generator.integers(0, 128, (count, 1, 8, 8)).astype(np.uint8)
    for image, label in zip(pixels, labels, strict=True):
        image[0, 4 * (label // 2) :, 4 * (label % 2) :] += 100
    return ImageSet(pixels, labels, tuple("abcd"))


def build(kind: str, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    if kind == "mlp":
        return mlp_classifier(16, pixels=64, classes=4)
    if kind == "cnn":
        return small_cnn(4, size=8, classes=4)
    hidden = nn.Sequential(nn.Linear(64, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3))
    return nn.Sequential(nn.Flatten(), hidden, nn.Linear(16, 4))


OPTIMIZERS: dict[str, Callable[[nn.Module], torch.optim.Optimizer]] = {
    "sgd": lambda model: torch.optim.SGD(model.parameters(), lr=0.05),
    "momentum": lambda model: torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9),
    "adam": lambda model: torch.optim.Adam(model.parameters(), lr=3e-3),
    "fused": lambda model: torch.optim.Adam(model.parameters(), lr=1e-3, fused=True),
}


def state(model: nn.Module) -> State:
    return {name: value.clone() for name, value in model.state_dict().items()}


def identical(one: State, other: State) -> bool:
    """Bit for bit."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def close(one: State, other: State) -> bool:
    return all(torch.allclose(one[name], other[name], rtol=1e-4, atol=1e-6) for name in one)


def by_hand(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    train: ImageSet,
    epochs: int,
    seed: int = 0,
    seeded: bool = False,
    schedule: Callable[[float], float] | None = None,
) -> list[float]:
    """The loop of chapter 1; `seeded` as the module says for networks that draw numbers."""
    losses, rates, step = [], [group["lr"] for group in optimizer.param_groups], 0
    model.train()
    for epoch in range(epochs):
        if seeded:
            torch.manual_seed(seed * 1_000_003 + epoch)
        for x, y in train.batches(BATCH, seed, epoch):
            if schedule:
                for group, rate in zip(optimizer.param_groups, rates, strict=True):
                    group["lr"] = rate * schedule(step / (epochs * STEPS))
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            step += 1
    return losses


def train(model: nn.Module, epochs: int = 3, **more: Any) -> History:
    """`fit` on the images above, silent unless told."""
    options = {"batch_size": BATCH, "seed": 5, "quiet": True}
    return fit(model, images(), epochs=epochs, **options | more)


def ramp(progress: float) -> float:
    if not 0 <= progress < 1:  # no assert: pytest's would have another bytecode than a process's
        raise ValueError(progress)
    return 1 - 0.9 * progress


# ---------------------------------------------------------------- the loop by hand and fit


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("kind", ["mlp", "cnn", "dropout"])
def test_fit_and_the_loop_by_hand_give_the_same_bits(kind: str, optimizer: str) -> None:
    mine, theirs = build(kind), build(kind)
    losses = by_hand(
        mine, OPTIMIZERS[optimizer](mine), images(), 3, seed=5, seeded=kind == "dropout"
    )
    history = train(theirs, optimizer=OPTIMIZERS[optimizer](theirs))
    assert identical(state(mine), state(theirs))
    assert not identical(state(build(kind)), state(theirs)), "something was learnt"
    weights = torch.tensor([BATCH] * 6 + [4.0])
    means = (torch.tensor(losses).view(3, STEPS) * weights).sum(1) / 100
    assert torch.allclose(torch.tensor(history["loss"]), means), (
        "the epoch's loss is weighted by images"
    )


def test_default_optimiser_is_adam_at_a_thousandth() -> None:
    mine, theirs = build("mlp"), build("mlp")
    by_hand(mine, OPTIMIZERS["fused"](mine), images(), 2, seed=5)
    train(theirs, epochs=2)
    assert identical(state(mine), state(theirs))


def test_schedule_scales_every_group_by_progress_and_gives_the_rates_back() -> None:
    def groups(model: nn.Sequential) -> torch.optim.Optimizer:
        slow = {"params": model[1].parameters(), "lr": 0.01}
        return torch.optim.SGD([slow, {"params": model[3].parameters()}], lr=0.1, momentum=0.9)

    mine, theirs = build("mlp"), build("mlp")
    by_hand(mine, groups(mine), images(), 3, seed=5, schedule=ramp)
    optimizer = groups(theirs)
    history = train(theirs, optimizer=optimizer, schedule=ramp)
    assert identical(state(mine), state(theirs))
    assert history["lr"] == pytest.approx(
        [0.01 * ramp((n * STEPS - 1) / (3 * STEPS)) for n in (1, 2, 3)]
    )
    assert [group["lr"] for group in optimizer.param_groups] == [0.01, 0.1]


def test_schedule_may_return_any_number(tmp_path: Path) -> None:
    one, other = build("mlp"), build("mlp")
    train(one, schedule=lambda progress: torch.tensor(0.5), checkpoint=tmp_path / "run.safetensors")
    train(
        other, schedule=lambda progress: np.float32(0.5), checkpoint=tmp_path / "other.safetensors"
    )
    assert identical(state(one), state(other))


def test_gradients_left_over_from_before_do_not_count() -> None:
    fresh, used = build("mlp"), build("mlp")
    for parameter in used.parameters():
        parameter.grad = torch.full_like(parameter, 100)
    train(fresh, epochs=1)
    train(used, epochs=1)
    assert identical(state(fresh), state(used))


def test_fit_trains_in_train_mode_and_validates_without_a_trace() -> None:
    plain, checked = build("dropout"), build("dropout").eval()
    by_hand(plain, OPTIMIZERS["fused"](plain), images(), 3, seed=5, seeded=True)
    history = train(checked, validation=images(33, seed=1))
    assert identical(state(plain), state(checked))
    measured = evaluate(checked, images(33, seed=1))
    assert history["validation_loss"][-1] == pytest.approx(measured["loss"], rel=1e-5)
    assert history["validation_accuracy"][-1] == pytest.approx(measured["accuracy"])


def test_fit_does_not_depend_on_the_state_of_the_global_generator() -> None:
    one, other = build("dropout"), build("dropout")
    train(one)
    torch.manual_seed(123)
    train(other)
    assert identical(state(one), state(other))
    different = build("dropout")
    train(different, seed=6)
    assert not identical(state(one), state(different))


def test_fit_can_be_called_again_with_the_same_model_and_optimiser() -> None:
    model, mine = build("mlp"), build("mlp")
    optimizer, own = OPTIMIZERS["adam"](model), OPTIMIZERS["adam"](mine)
    for _ in range(2):
        train(model, epochs=1, optimizer=optimizer)
        by_hand(mine, own, images(), 1, seed=5)
    assert identical(state(mine), state(model))


# ---------------------------------------------------------------- history, progress, interruptions


def test_history_is_read_by_column() -> None:
    history = train(build("mlp"), epochs=2, validation=images(20))
    assert len(history) == 2
    assert history["epoch"] == [1, 2]
    assert history["steps"] == [STEPS, STEPS]
    assert history["images"] == [100, 100]
    assert history.seconds == sum(history["seconds"]) > 0
    assert list(history.rows[0]) == [
        "epoch",
        "loss",
        "accuracy",
        "lr",
        "steps",
        "images",
        "seconds",
        "validation_loss",
        "validation_accuracy",
    ]
    assert history.stopped is None
    with pytest.raises(CourseError, match="'val_loss': did you mean 'validation_loss'"):
        history["val_loss"]
    assert History()["loss"] == []


def test_no_epochs_leaves_the_model_alone() -> None:
    model = build("mlp")
    assert len(train(model, epochs=0)) == 0
    assert identical(state(model), state(build("mlp")))


@pytest.mark.parametrize("size", [0, -1])
def test_batch_size_below_one_is_refused(size: int) -> None:
    with pytest.raises(CourseError, match="batch_size"):
        train(build("mlp"), batch_size=size)


def test_one_line_an_epoch_on_stdout_and_nothing_on_stderr_where_nobody_watches(
    capfd: pytest.CaptureFixture[str],
) -> None:
    train(build("mlp"), epochs=2, validation=images(20), quiet=False)
    out, err = capfd.readouterr()
    first, second = out.splitlines()
    assert first.startswith("epoch 1/2  loss 1.")
    assert "validation accuracy 0." in second
    assert second.endswith(" s")
    assert err == ""
    train(build("mlp"), epochs=2)
    assert capfd.readouterr() == ("", "")


def test_progress_bar_where_a_person_watches_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    alone, watched = build("mlp"), build("mlp")
    train(alone, epochs=1)
    monkeypatch.setattr("vaetl_helpers.training.run.is_interactive", lambda: True)
    train(watched, epochs=1, quiet=False)
    assert identical(state(alone), state(watched))
    assert "epoch 1/1" in capfd.readouterr().err


class At:
    """A classification loss that does something at its n-th call, counting from 1."""

    def __init__(self, number: int, act: Callable[[], Any]) -> None:
        self.number, self.act, self.calls = number, act, 0

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor) -> Any:
        self.calls += 1
        if self.calls == self.number:
            self.act()
        return classification_loss(model, x, y)


def interrupt() -> None:
    raise KeyboardInterrupt


def at_pass(model: nn.Module, number: int, act: Callable[[], Any]) -> Any:
    """Does something at a network's n-th forward pass; the run stays the same one otherwise."""
    passes = Counter()

    def count(*_: object) -> None:
        passes.update(n=1)
        if passes["n"] == number:
            act()

    return model.register_forward_pre_hook(count)


@pytest.mark.parametrize("same_objects", [True, False], ids=["cell run again", "new kernel"])
def test_ctrl_c_says_what_is_kept_and_the_same_call_continues(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], same_objects: bool
) -> None:
    whole = build("dropout")
    expected = train(whole, optimizer=OPTIMIZERS["adam"](whole), schedule=ramp)
    model = build("dropout")
    options = {
        "checkpoint": tmp_path / "run.safetensors",
        "schedule": ramp,
        "optimizer": OPTIMIZERS["adam"](model),
    }
    hook = at_pass(model, STEPS + 3, interrupt)
    with pytest.raises(KeyboardInterrupt):
        train(model, **options)
    hook.remove()
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("Interrupted in epoch 2 of 3")
    assert str(tmp_path / "run.safetensors") in line
    if not same_objects:
        model = build("dropout")
        options["optimizer"] = OPTIMIZERS["adam"](model)
    history = train(model, **options)
    assert capsys.readouterr().out.startswith("Continuing after epoch 1 of 3")
    assert identical(state(whole), state(model))
    assert history["loss"] == expected["loss"], "the history holds the first epoch too"
    assert history["lr"] == expected["lr"]


def test_ctrl_c_without_a_checkpoint_says_how_to_have_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(build("mlp"), loss_fn=At(2, interrupt))
    assert "`checkpoint`" in capsys.readouterr().out


class Clock:
    """A clock that each training step moves on by a second."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.steps = Counter()
        monkeypatch.setattr(
            "vaetl_helpers.training.run.time", SimpleNamespace(monotonic=lambda: self.steps["n"])
        )

    def loss(self, model: nn.Module, x: Tensor, y: Tensor) -> Any:
        self.steps.update(n=int(model.training))
        return classification_loss(model, x, y)


@pytest.mark.parametrize(
    ("limit", "steps", "when"),
    [
        (10.5, [7, 4], "in epoch 2"),
        (7, [7], "after epoch 1"),
        (13.5, [7, 7], "after epoch 2"),
        (0, [], "after epoch 0"),
        (0.5, [1], "in epoch 1"),
    ],
)
def test_max_seconds_stops_cleanly_and_the_resumed_run_ends_the_same(
    limit: float,
    steps: list[int],
    when: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    clock, whole, model = Clock(monkeypatch), build("dropout"), build("dropout")
    options = {"loss_fn": clock.loss, "schedule": ramp, "validation": images(20)}
    expected = train(whole, **options)
    checkpoint = tmp_path / "run.safetensors"
    history = train(model, max_seconds=limit, checkpoint=checkpoint, **options)
    assert history["steps"] == steps
    assert history["images"] == [min(100, n * BATCH) for n in steps]
    assert history.stopped.startswith(f"Stopped by max_seconds {when} of 3")
    assert capsys.readouterr().out == history.stopped + "\n"
    again = build("dropout")
    resumed = train(again, max_seconds=1000, checkpoint=checkpoint, **options)
    assert identical(state(whole), state(again))
    assert resumed["loss"] == expected["loss"]
    assert resumed.stopped is None


# ---------------------------------------------------------------- epoch by epoch, early stopping


def test_an_epoch_is_trained_when_its_row_is_asked_for() -> None:
    whole, model = build("dropout"), build("dropout")
    expected = train(whole, epochs=2, schedule=lambda progress: 1 - progress / 2)
    adam = torch.optim.Adam(model.parameters(), 1e-3, fused=True)
    options = RunOptions(
        epochs=4, batch_size=BATCH, optimizer=adam, seed=5, quiet=True, schedule=lambda p: 1 - p
    )
    rows = training_epochs(model, images(), classification_loss, options)
    assert identical(state(model), state(build("dropout"))), "nothing has happened yet"
    losses = [next(rows)["loss"], next(rows)["loss"]]
    rows.close()
    assert losses == expected["loss"]
    assert identical(state(model), state(whole))
    assert [group["lr"] for group in adam.param_groups] == [1e-3], "its own rate again"


def train_best(model: nn.Module, **more: Any) -> History:
    """`fit_best` on the images above; it stops after the eighth epoch."""
    sgd = torch.optim.SGD(model.parameters(), lr=0.3, momentum=0.9)
    options = {"epochs": 20, "batch_size": BATCH, "seed": 3, "patience": 3, "optimizer": sgd}
    return fit_best(model, images(60), images(40, seed=1), **options | more)


def test_fit_best_seeds_each_epoch_as_a_run_of_its_own() -> None:
    model, by_runs = build("dropout"), build("dropout")
    history = train_best(model, epochs=3, patience=10)
    sgd = torch.optim.SGD(by_runs.parameters(), lr=0.3, momentum=0.9)
    best, kept = evaluate(by_runs, images(40, seed=1)), state(by_runs)
    for epoch in range(3):
        row = fit(
            by_runs,
            images(60),
            epochs=1,
            batch_size=BATCH,
            optimizer=sgd,
            schedule=lambda progress, epoch=epoch: one_cycle((epoch + progress) / 3),
            validation=images(40, seed=1),
            seed=3000 + epoch,
            quiet=True,
        ).rows[0]
        measured = {name: row[f"validation_{name}"] for name in best}
        if (measured["accuracy"], -measured["loss"]) > (best["accuracy"], -best["loss"]):
            best, kept = measured, state(by_runs)
        for name in ("loss", "lr", "validation_loss", "validation_accuracy"):
            assert history[name][epoch] == row[name]
    assert identical(state(model), kept)


@pytest.mark.parametrize("step", [1, 4 * 5 + 2, 4 * 7 + 1])
def test_early_stopping_continues_from_a_checkpoint_to_the_same_end(
    step: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = build("dropout")
    expected = train_best(whole)
    assert 7 < len(expected) < 20 and expected.stopped
    path = tmp_path / "run.safetensors"
    model, calls = build("dropout"), Counter()

    def count(network: nn.Module, _: object) -> None:
        calls.update(n=network.training)
        if calls["n"] == step:
            interrupt()

    model.register_forward_pre_hook(count)
    with pytest.raises(KeyboardInterrupt):
        train_best(model, checkpoint=path)
    out = capsys.readouterr().out
    assert out.startswith(f"Interrupted in epoch {1 + (step - 1) // 4} of 20: the model")
    history = train_best(build("dropout"), checkpoint=path)
    again = build("dropout")
    again.register_forward_pre_hook(untrained_only)
    stopped = train_best(again, checkpoint=path)
    for resumed in (history, stopped):
        assert resumed["loss"] == expected["loss"]
        assert resumed["validation_loss"] == expected["validation_loss"]
        assert resumed.stopped == expected.stopped
    assert identical(state(again), state(whole))


def untrained_only(model: nn.Module, _: object) -> None:
    assert not model.training, "early stopping was over"


def test_checkpoints_with_and_without_early_stopping_are_of_different_runs(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    train_best(build("mlp"), epochs=2, checkpoint=path)
    for patience, word in ((None, "none"), (4, "4")):
        with pytest.raises(CourseError, match=rf"another run \(.*patience 3 → {word}"):
            if patience is None:
                model = build("mlp")
                sgd = torch.optim.SGD(model.parameters(), lr=0.3, momentum=0.9)
                options = {"epochs": 20, "batch_size": BATCH, "seed": 3, "quiet": True}
                fit(model, images(60), optimizer=sgd, checkpoint=path, **options)
            else:
                train_best(build("mlp"), checkpoint=path, patience=patience)


def test_max_seconds_end_early_stopping_with_the_best_so_far(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock, model, short = Clock(monkeypatch), build("mlp"), build("mlp")
    history = train_best(model, loss_fn=clock.loss, max_seconds=8, epochs=20)
    assert len(history) == 2
    assert history.stopped.startswith("Stopped by max_seconds after epoch 2 of 20")
    train_best(short, loss_fn=clock.loss, schedule=lambda p: one_cycle(p / 10), epochs=2)
    assert identical(state(model), state(short))


def test_a_break_down_with_early_stopping_names_the_epoch() -> None:
    model = build("mlp")
    with pytest.raises(NonFiniteLoss, match="epoch 3, step 2 of 4.*the end of epoch 2"):
        train_best(model, loss_fn=at_training_step(10, float("nan")))


def at_training_step(step: int, factor: float) -> Callable:
    calls = Counter()

    def loss(model: nn.Module, x: Tensor, y: Tensor) -> Any:
        calls.update(n=model.training)
        mean, monitored = classification_loss(model, x, y)
        is_now = model.training and calls["n"] == step
        return (mean * factor if is_now else mean), monitored

    return loss


# ---------------------------------------------------------------- noise of micro-batches


def as_it_is(model: nn.Module, x: Tensor, y: Tensor) -> Any:
    return vae.vae_loss(warm_up_images=150)(model, x)


def in_another_type(model: nn.Module, x: Tensor, y: Tensor) -> Any:
    return vae.vae_loss(warm_up_images=150)(model, x.float().double(), y)


def by_its_parts(model: nn.Module, x: Tensor, y: Tensor) -> Any:
    terms = vae.elbo(model, vae.binarise(x))
    return (-terms.log_px / 64 + terms.kl.sum(1)).mean(), {"kl": terms.kl.sum(1).mean()}


def with_a_posterior(model: nn.Module, x: Tensor, y: Tensor) -> Any:
    posterior = model.encode(vae.binarise(x * 0.5))
    logits = model.decode(posterior.sample())
    return -model.log_likelihood(logits, x).mean()


@pytest.mark.parametrize("size", [1, 5, 7])
@pytest.mark.parametrize("loss", [as_it_is, in_another_type, by_its_parts, with_a_posterior])
def test_micro_batches_do_not_change_the_noise_of_a_vae(loss: Callable, size: int) -> None:
    def trained(**more: Any) -> tuple[nn.Module, History]:
        torch.manual_seed(1)
        model = vae.mlp_vae(4, (16,), (1, 8, 8)).double()
        sgd = torch.optim.SGD(model.parameters(), 1e-3)
        doubled = lambda network, x, y: loss(network, x.double(), y)  # noqa: E731
        return model, train(model, loss_fn=doubled, optimizer=sgd, **more)

    whole, expected = trained()
    cut, history = trained(micro_batch=size)
    for name, value in state(whole).items():
        torch.testing.assert_close(state(cut)[name], value, rtol=1e-10, atol=1e-10)
    assert history["loss"] == pytest.approx(expected["loss"], rel=1e-10)
    assert cut.seen == whole.seen
    if loss in (as_it_is, in_another_type):
        assert cut.seen == 3 * 100


# ---------------------------------------------------------------- killed


def in_a_process(target: Callable, *arguments: Any) -> int:
    """Runs a function in a process of its own; returns its exit code."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["vaetl_helpers.training", "accelerate", "torch._dynamo"]
    )  # slow to import
    process = context.Process(target=target, args=arguments)
    process.start()
    process.join(60)
    assert process.exitcode is not None, "it hangs"
    return process.exitcode


def kill_myself(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def write_half(tensors: State, path: Path, metadata: dict[str, str] | None = None) -> None:
    save_file(tensors, path, metadata=metadata)
    content = Path(path).read_bytes()
    Path(path).write_bytes(content[: len(content) // 2])


def killed_run(checkpoint: str, optimizer: str, moment: str) -> None:
    """Trains until it is killed, in the third epoch of four."""
    torch.set_num_threads(1)
    model, saves = build("dropout"), Counter()
    if moment == "in an epoch":
        at_pass(model, 2 * STEPS + 4, kill_myself)
    elif moment == "before renaming":
        replace = os.replace
        os.replace = lambda *paths: (
            saves.update(n=1),
            kill_myself() if saves["n"] == 3 else replace(*paths),
        )
    else:

        def save(*arguments: Any, **named: Any) -> None:
            saves.update(n=1)
            (write_half if saves["n"] == 3 else save_file)(*arguments, **named)
            if saves["n"] == 3:
                kill_myself()

        checkpoints.save_file = save
    train(
        model,
        4,
        optimizer=OPTIMIZERS[optimizer](model),
        schedule=ramp,
        checkpoint=checkpoint,
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("moment", "optimizer"),
    [
        ("in an epoch", "momentum"),
        ("in an epoch", "adam"),
        ("before renaming", "fused"),
        ("in writing", "adam"),
    ],
)
def test_a_run_killed_by_sigkill_resumes_to_the_same_bits(
    moment: str, optimizer: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = build("dropout")
    expected = train(whole, 4, optimizer=OPTIMIZERS[optimizer](whole), schedule=ramp)
    checkpoint = tmp_path / "run.safetensors"
    assert in_a_process(killed_run, str(checkpoint), optimizer, moment) == -signal.SIGKILL
    facts = load_checkpoint(checkpoint, build("dropout"))
    assert [row["epoch"] for row in facts["history"]] == [1, 2], "the checkpoint before is whole"
    model = build("dropout")
    history = train(
        model, 4, optimizer=OPTIMIZERS[optimizer](model), schedule=ramp, checkpoint=checkpoint
    )
    assert "Continuing after epoch 2 of 4" in capsys.readouterr().out
    assert identical(state(whole), state(model))
    assert history["loss"] == expected["loss"]
    assert [path.name for path in tmp_path.iterdir()] == ["run.safetensors"], "nothing is left over"


# ---------------------------------------------------------------- losses that are not finite


def spoil(step: int, value: float, monitor: bool = False) -> Callable:
    """A loss that turns into `value` at one step."""
    calls = Counter()

    def loss(model: nn.Module, x: Tensor, y: Tensor) -> Any:
        calls.update(n=1)
        mean, monitored = classification_loss(model, x, y)
        bad = value if calls["n"] == step else 1.0
        return (mean if monitor else mean * bad), monitored | {
            "extra": torch.tensor(bad if monitor else 0.25)
        }

    return loss


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_non_finite_loss_names_the_step_and_goes_back_to_the_last_sound_epoch(
    value: float, tmp_path: Path
) -> None:
    sound, model = build("dropout"), build("dropout")
    train(sound, optimizer=(kept := OPTIMIZERS["adam"](sound)), epochs=1)
    optimizer, checkpoint = OPTIMIZERS["adam"](model), tmp_path / "run.safetensors"
    with pytest.raises(NonFiniteLoss) as error:
        train(model, loss_fn=spoil(STEPS + 3, value), optimizer=optimizer, checkpoint=checkpoint)
    message = str(error.value)
    assert f"epoch 2, step 3 of {STEPS} (loss {value}" in message
    for word in ("accuracy", "extra 0.25", "learning rate 0.003", "back at the end of epoch 1"):
        assert word in message
    assert identical(state(model), state(sound))
    mine, theirs = optimizer.state_dict()["state"], kept.state_dict()["state"]
    assert all(torch.equal(mine[n][k], theirs[n][k]) for n in theirs for k in theirs[n])
    assert [row["epoch"] for row in load_checkpoint(checkpoint, build("dropout"))["history"]] == [1]


def test_non_finite_loss_in_the_first_epoch_gives_the_model_back_untouched() -> None:
    model = build("dropout")
    with pytest.raises(NonFiniteLoss, match="epoch 1, step 2 .* the model is as it was before"):
        train(model, loss_fn=spoil(2, float("nan")))
    assert identical(state(model), state(build("dropout")))


def test_rate_far_too_large_is_found() -> None:
    model = build("mlp")
    with pytest.raises(NonFiniteLoss, match="learning rate 1e\\+20"):
        train(model, optimizer=torch.optim.SGD(model.parameters(), lr=1e20))


def test_weights_ruined_by_the_last_step_alone_never_reach_the_checkpoint(tmp_path: Path) -> None:
    calls = Counter()

    def loss(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        calls.update(n=1)
        weight = model[1].weight
        root = (
            (weight - weight.detach()).sqrt().sum() if calls["n"] == 2 * STEPS else 0
        )  # 0, with slope infinity
        return classification_loss(model, x, y)[0] + root

    sound, model = build("mlp"), build("mlp")
    train(sound, epochs=1)
    with pytest.raises(NonFiniteLoss, match=f"epoch 2, step {STEPS} of {STEPS}"):
        train(model, loss_fn=loss, checkpoint=tmp_path / "run.safetensors")
    assert identical(state(model), state(sound))
    assert len(load_checkpoint(tmp_path / "run.safetensors", model)["history"]) == 1
    assert identical(state(model), state(sound))


def test_monitored_value_that_is_not_finite_does_not_stop_training() -> None:
    model, plain = build("mlp"), build("mlp")
    history = train(model, loss_fn=spoil(3, float("nan"), monitor=True))
    train(plain)
    assert identical(state(model), state(plain))
    assert np.isnan(history["extra"]).tolist() == [True, False, False]


# ---------------------------------------------------------------- out of memory


def needs_memory(limit: int, error: type[RuntimeError], spare: int = 0) -> Callable:
    """A loss for which more than `limit` images do not fit, after the first `spare` calls."""
    calls = Counter()

    def loss(model: nn.Module, x: Tensor, y: Tensor) -> Any:
        calls.update(n=1)
        if len(x) > limit and calls["n"] > spare:
            raise error("CUDA out of memory. Tried to allocate 20.00 MiB.")
        return classification_loss(model, x, y)

    return loss


@pytest.mark.parametrize(
    ("limit", "spare", "sizes", "optimizer", "error"),
    [
        (8, 0, [8], "momentum", RuntimeError),
        (5, 10, [8, 4], "adam", torch.OutOfMemoryError),
        (3, 2, [8, 4, 2], "adam", RuntimeError),
        (1, 16, [8, 4, 2, 1], "momentum", torch.OutOfMemoryError),
    ],
)
def test_out_of_memory_goes_on_in_micro_batches_to_the_same_result(
    limit: int,
    spare: int,
    sizes: list[int],
    optimizer: str,
    error: type[RuntimeError],
    capsys: pytest.CaptureFixture[str],
) -> None:
    whole, model = build("cnn"), build("cnn")
    expected = train(whole, optimizer=OPTIMIZERS[optimizer](whole))
    history = train(
        model, loss_fn=needs_memory(limit, error, spare), optimizer=OPTIMIZERS[optimizer](model)
    )
    lines = capsys.readouterr().out.splitlines()
    assert [int(line.split("micro-batches of ")[1].split()[0]) for line in lines] == sizes
    assert all(
        line.startswith(f"Out of memory: epoch {1 + spare // STEPS} starts again") for line in lines
    )
    assert close(state(whole), state(model))
    assert history["steps"] == [STEPS] * 3, "one update a batch"
    assert history["loss"] == pytest.approx(expected["loss"], rel=1e-4)
    assert history["accuracy"] == pytest.approx(expected["accuracy"])


@pytest.mark.parametrize("batch", [7, 33, 1000])
def test_micro_batches_of_odd_sizes_weigh_every_image_the_same(batch: int) -> None:
    whole, model = build("mlp"), build("mlp")
    expected = train(whole, batch_size=batch, optimizer=OPTIMIZERS["sgd"](whole))
    loss = needs_memory(5, RuntimeError)
    history = train(model, batch_size=batch, loss_fn=loss, optimizer=OPTIMIZERS["sgd"](model))
    assert close(state(whole), state(model))
    assert history["loss"] == pytest.approx(expected["loss"], rel=1e-4)


def test_out_of_memory_with_one_image_is_the_end_and_leaves_the_model_as_it_was(
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = build("mlp")
    with pytest.raises(RuntimeError, match="out of memory"):
        train(model, loss_fn=needs_memory(0, RuntimeError, spare=3))
    assert len(capsys.readouterr().out.splitlines()) == 4, "16 → 8 → 4 → 2 → 1"
    assert identical(state(model), state(build("mlp")))


def test_validation_uses_batches_that_fit(capsys: pytest.CaptureFixture[str]) -> None:
    seen = Counter()

    def loss(model: nn.Module, x: Tensor, y: Tensor) -> Any:
        seen.update({len(x): 1})
        if len(x) > 4:
            raise RuntimeError("MPS backend out of memory (MPS allocated: 8.00 GB)")
        return classification_loss(model, x, y)

    history = train(build("mlp"), epochs=1, loss_fn=loss, validation=images(30))
    assert history["validation_loss"][0] > 0


@pytest.mark.parametrize(
    "error", [RuntimeError("mat1 and mat2 shapes cannot be multiplied"), ValueError("mine")]
)
def test_other_errors_pass_through(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise error

    with pytest.raises(type(error)) as raised:
        train(build("mlp"), loss_fn=At(STEPS + 1, fail))
    assert raised.value is error
    assert capsys.readouterr().out == ""


# ---------------------------------------------------------------- checkpoints


def test_checkpoint_round_trip_with_facts(tmp_path: Path) -> None:
    model = build("dropout")
    optimizer = OPTIMIZERS["adam"](model)
    train(model, epochs=1, optimizer=optimizer)
    path = save_checkpoint(
        tmp_path / "new folder" / "net.safetensors", model, optimizer, note="ü", sizes=[1, 2]
    )
    other = build("dropout", seed=9)
    own = OPTIMIZERS["adam"](other)
    assert load_checkpoint(str(path), other, own) == {"note": "ü", "sizes": [1, 2]}
    assert identical(state(model), state(other))
    by_hand(model, optimizer, images(), 1, seeded=True)
    by_hand(other, own, images(), 1, seeded=True)
    assert identical(state(model), state(other)), "the optimiser goes on too"


def test_network_with_tied_weights_can_be_saved(tmp_path: Path) -> None:
    def tied(seed: int) -> nn.Module:
        torch.manual_seed(seed)
        model = nn.Sequential(
            nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.Linear(64, 4)
        )
        model[3].weight = model[1].weight
        return model

    model, other = tied(0), tied(9)
    train(model, epochs=1, checkpoint=tmp_path / "run.safetensors")
    load_checkpoint(tmp_path / "run.safetensors", other)
    assert identical(state(model), state(other))
    assert other[3].weight is other[1].weight


def test_checkpoint_shares_no_memory_with_the_model(tmp_path: Path) -> None:
    model = build("mlp")
    path = save_checkpoint(tmp_path / "net.safetensors", model)
    content, other = path.read_bytes(), build("mlp", seed=9)
    load_checkpoint(path, other)
    train(other)
    assert path.read_bytes() == content


def no_space_error(tensors: State, path: Path, metadata: dict[str, str] | None = None) -> None:
    write_half(tensors, path, metadata)
    raise OSError(errno.ENOSPC, "No space left on device")


def no_space_in_safetensors(
    tensors: State, path: Path, metadata: dict[str, str] | None = None
) -> None:
    write_half(tensors, path, metadata)
    raise SafetensorError(
        "Error while serializing: I/O error: No space left on device (os error 28)"
    )


@pytest.mark.parametrize("full", [no_space_error, no_space_in_safetensors])
def test_full_disk_leaves_the_previous_checkpoint(
    full: Callable, tmp_path: Path, monkeypatch: Any
) -> None:
    path = tmp_path / "run.safetensors"
    train(build("mlp"), epochs=1, checkpoint=path)
    content = path.read_bytes()
    monkeypatch.setattr("vaetl_helpers.training.checkpoints.save_file", full)
    with pytest.raises(CourseError, match="No space left.*free some space.*untouched"):
        train(build("mlp"), epochs=2, checkpoint=path)
    assert path.read_bytes() == content
    assert [p.name for p in tmp_path.iterdir()] == ["run.safetensors"]
    monkeypatch.undo()
    whole, model = build("mlp"), build("mlp")
    train(whole, epochs=2)
    train(model, epochs=2, checkpoint=path)
    assert identical(state(whole), state(model))


def test_folder_that_cannot_be_made_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(CourseError, match="cannot be written.*another folder"):
        save_checkpoint(tmp_path / "file" / "run.safetensors", build("mlp"))
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("keep", [0, 1, 7, 8, 9, 200, 0.3, 0.9, -1])
def test_checkpoint_cut_short_is_refused_and_changes_nothing(keep: float, tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    train(build("mlp"), epochs=1, checkpoint=path)
    content = path.read_bytes()
    cut = content[: int(len(content) * keep) if isinstance(keep, float) else keep]
    path.write_bytes(cut)
    model = build("mlp", seed=9)
    optimizer = OPTIMIZERS["adam"](model)
    for attempt in (
        lambda: load_checkpoint(path, model, optimizer),
        lambda: train(model, checkpoint=path, optimizer=optimizer),
    ):
        with pytest.raises(
            CourseError, match="damaged or cut short.*nothing was changed.*remove it"
        ):
            attempt()
    assert identical(state(model), state(build("mlp", seed=9)))
    assert optimizer.state_dict()["state"] == {}
    assert path.read_bytes() == cut


FOREIGN = {
    "zeros": lambda path, model: path.write_bytes(b"\0" * 100),
    "ones": lambda path, model: path.write_bytes(b"\xff" * 100),
    "json": lambda path, model: path.write_text('{"a": 1}' * 20),
    "a few letters": lambda path, model: path.write_text("notes"),
    "folder": lambda path, model: path.mkdir(),
    "torch": lambda path, model: torch.save(model.state_dict(), path),
    "safetensors": lambda path, model: save_file(state(model), path),
    "with metadata": lambda path, model: save_file(state(model), path, {"format": "pt"}),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_files_of_others_are_never_called_damaged_and_stay_as_they_are(
    kind: str, tmp_path: Path
) -> None:
    path, model = tmp_path / "run.safetensors", build("mlp")
    FOREIGN[kind](path, model)
    content = None if path.is_dir() else path.read_bytes()
    for attempt in (
        lambda: load_checkpoint(path, model),
        lambda: train(model, checkpoint=path),
        lambda: train_best(model, checkpoint=path),
    ):
        with pytest.raises(
            CourseError, match="is no checkpoint of this course: choose another path"
        ):
            attempt()
    assert path.is_dir() if content is None else path.read_bytes() == content
    with pytest.raises(CourseError, match="no checkpoint.*missing.safetensors"):
        load_checkpoint(tmp_path / "missing.safetensors", build("mlp"))


def test_a_checkpoint_with_facts_that_cannot_be_read_is_damaged(tmp_path: Path) -> None:
    path, model = tmp_path / "x.safetensors", build("mlp")
    tensors = {f"model.{name}": value for name, value in state(model).items()}
    save_file(tensors, path, metadata={"vaetl": "{not json"})
    with pytest.raises(CourseError, match="damaged or cut short"):
        load_checkpoint(path, model)


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (
            lambda: mlp_classifier(17, pixels=64, classes=4),
            r"model.1.bias is \(17,\) there and \(16,\) here",
        ),
        (lambda: build("cnn"), "model.0.bias is .* there and missing here"),
        (lambda: build("mlp").append(nn.Linear(4, 4)), "model.4.bias is .* there and missing here"),
    ],
)
def test_checkpoint_of_another_network_is_refused_and_changes_nothing(
    other: Callable[[], nn.Module], words: str, tmp_path: Path
) -> None:
    path = tmp_path / "run.safetensors"
    train(other(), epochs=1, checkpoint=path)
    content, model = path.read_bytes(), build("mlp")
    for attempt in (lambda: load_checkpoint(path, model), lambda: train(model, checkpoint=path)):
        with pytest.raises(CourseError, match=words):
            attempt()
    assert identical(state(model), state(build("mlp")))
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"seed": 6}, "seed 5 → 6"),
        ({"batch_size": 8}, "batch_size 16 → 8"),
        ({"epochs": 1}, "epochs 2 → 1"),
        ({"seed": 6, "batch_size": 8}, "seed 5 → 6; batch_size 16 → 8"),
    ],
)
def test_checkpoint_of_another_run_is_refused_and_changes_nothing(
    change: dict[str, Any], words: str, tmp_path: Path
) -> None:
    path = tmp_path / "run.safetensors"
    train(build("mlp"), epochs=2, checkpoint=path)
    content, model = path.read_bytes(), build("mlp")
    with pytest.raises(
        CourseError, match=rf"belongs to another run \({words}\): .*another checkpoint path"
    ):
        train(model, **{"epochs": 3} | change, checkpoint=path)
    assert identical(state(model), state(build("mlp")))
    assert path.read_bytes() == content


def test_checkpoint_of_other_data_or_another_optimiser_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    train(build("mlp"), epochs=1, checkpoint=path)
    model = build("mlp", seed=9)
    with pytest.raises(CourseError, match="images 100 → 99"):
        fit(model, images(99), epochs=2, batch_size=BATCH, seed=5, checkpoint=path)
    with pytest.raises(CourseError, match="optimiser Adam of 4 tensors → SGD of 4 tensors"):
        train(model, checkpoint=path, optimizer=OPTIMIZERS["momentum"](model))
    body, head = {"params": model[1].parameters()}, {"params": model[3].parameters(), "lr": 1e-4}
    with pytest.raises(CourseError, match="parameter groups 1 → 2; .* and [0-9]+ more"):
        train(model, checkpoint=path, optimizer=torch.optim.Adam([body, head], fused=True))
    save_checkpoint(path, model)
    with pytest.raises(CourseError, match="seed none → 5"):
        train(model, checkpoint=path)
    assert identical(state(model), state(build("mlp", seed=9)))


def softened(softness: float) -> Callable[..., Tensor]:
    def loss(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return nn.functional.cross_entropy(model(x), y, label_smoothing=softness)

    return loss


SOFTNESS = 0.1


def by_a_global(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return softened(SOFTNESS)(model, x, y)


class Softened:
    def __init__(self, softness: float) -> None:
        self.softness = softness

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return softened(self.softness)(model, x, y)

    def mean(self, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return self(model, x, y)


def weighted(
    model: nn.Module, x: Tensor, y: Tensor, weights: tuple[float, ...], power: int = 1
) -> Tensor:
    return nn.functional.cross_entropy(model(x), y, weight=torch.tensor(weights) ** power)


def sgd(**settings: Any) -> Callable[[nn.Module], torch.optim.Optimizer]:
    return lambda model: torch.optim.SGD(model.parameters(), **{"lr": 0.1} | settings)


def slow_body(rate: float) -> Callable[[nn.Module], torch.optim.Optimizer]:
    def build_optimizer(model: nn.Module) -> torch.optim.Optimizer:
        body = {"params": model[1].parameters(), "lr": rate}
        return torch.optim.SGD([body, {"params": model[3].parameters()}], lr=0.1)

    return build_optimizer


def with_activation(activation: nn.Module) -> Callable[[], nn.Module]:
    def build_network() -> nn.Module:
        model = build("mlp")
        model[2] = activation
        return model

    return build_network


def frozen_body() -> nn.Module:
    model = build("mlp")
    model[1].requires_grad_(False)
    return model


def brighter(count: int = 100) -> ImageSet:
    pictures = images(count)
    changed = pictures.images.clone()
    changed[-1, 0, 7, 7] += 1
    return ImageSet(changed, pictures.labels, pictures.classes)


def another_label() -> ImageSet:
    pictures = images()
    labels = pictures.labels.clone()
    labels[0] = (labels[0] + 1) % 4
    return ImageSet(pictures.images, labels, pictures.classes)


@pytest.mark.parametrize(
    ("there", "here", "words"),
    [
        ({"optimizer": sgd()}, {"optimizer": sgd(lr=0.01)}, "learning rate 0.1 → 0.01"),
        ({"optimizer": sgd()}, {"optimizer": sgd(momentum=0.9)}, "momentum 0 → 0.9"),
        (
            {"optimizer": sgd()},
            {"optimizer": sgd(weight_decay=1e-4)},
            "weight_decay 0 → 0.0001",
        ),
        (
            {"optimizer": OPTIMIZERS["adam"]},
            {
                "optimizer": lambda model: torch.optim.Adam(
                    model.parameters(), lr=3e-3, betas=(0.8, 0.99)
                )
            },
            r"betas \(0.9, 0.999\) → \(0.8, 0.99\)",
        ),
        (
            {"optimizer": slow_body(0.01)},
            {"optimizer": slow_body(0.001)},
            "learning rate of group 1 0.01 → 0.001",
        ),
        ({}, {"schedule": ramp}, "schedule none → .*ramp; schedule code none → #"),
        (
            {"schedule": lambda progress: 1 - progress},
            {"schedule": lambda progress: 1 - progress**2},
            "schedule code changed",
        ),
        ({}, {"loss_fn": softened(0.1)}, "loss .*classification_loss → .*softened"),
        (
            {"loss_fn": softened(0.1)},
            {"loss_fn": softened(0.2)},
            "loss's softness 0.1 → 0.2",
        ),
        (
            {"loss_fn": Softened(0.1)},
            {"loss_fn": Softened(0.2)},
            "loss's softness 0.1 → 0.2",
        ),
        (
            {"loss_fn": Softened(0.1).mean},
            {"loss_fn": Softened(0.2).mean},
            "loss's softness 0.1 → 0.2",
        ),
        (
            {"loss_fn": partial(weighted, weights=(1.0, 1.0, 1.0, 1.0))},
            {"loss_fn": partial(weighted, weights=(1.0, 1.0, 1.0, 2.0))},
            r"loss's weights \(1.0, 1.0, 1.0, 1.0\) → \(1.0, 1.0, 1.0, 2.0\)",
        ),
        (
            {"loss_fn": partial(weighted, weights=(1.0, 1.0, 1.0, 2.0))},
            {"loss_fn": partial(weighted, weights=(1.0, 1.0, 1.0, 2.0), power=2)},
            "loss's power 1 → 2",
        ),
        ({}, {"network": with_activation(nn.GELU())}, r"layer 2 ReLU\(.*\) → GELU\("),
        (
            {"network": with_activation(nn.LeakyReLU(0.1))},
            {"network": with_activation(nn.LeakyReLU(0.2))},
            "layer 2 .*negative_slope=0.1.* → .*negative_slope=0.2",
        ),
        ({}, {"network": frozen_body}, "layer 1 .* → .*weight frozen"),
        ({}, {"network": lambda: build("mlp", seed=9)}, "weights at the start changed"),
        ({}, {"train": brighter()}, "training images and labels changed"),
        ({}, {"train": another_label()}, "training images and labels changed"),
        ({}, {"validation": images(20)}, "validation images and labels none → #"),
        (
            {"validation": images(20)},
            {"validation": brighter(20)},
            "validation images and labels changed",
        ),
        ({}, {"precision": "bf16"}, "precision no → bf16"),
    ],
)
def test_a_run_that_would_end_otherwise_is_another_run_and_the_difference_is_named(
    there: dict[str, Any], here: dict[str, Any], words: str, tmp_path: Path
) -> None:
    path = tmp_path / "run.safetensors"

    def run(epochs: int, changes: dict[str, Any]) -> History:
        options = {"batch_size": BATCH, "seed": 5, "quiet": True} | changes
        model = options.pop("network", lambda: build("mlp"))()
        optimizer = options.pop("optimizer", None)
        if optimizer is not None:
            options["optimizer"] = optimizer(model)
        data = options.pop("train", images())
        return fit(model, data, epochs=epochs, checkpoint=path, **options)

    run(1, there)
    content = path.read_bytes()
    with pytest.raises(CourseError, match=rf"another run \({words}.*another checkpoint path"):
        run(2, here)
    assert path.read_bytes() == content
    assert len(run(2, there)) == 2, "the same call goes on, and more epochs are allowed"


def test_a_value_that_a_loss_takes_from_its_module_tells_runs_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run.safetensors"
    train(build("mlp"), epochs=1, loss_fn=by_a_global, checkpoint=path)
    monkeypatch.setattr(sys.modules[__name__], "SOFTNESS", 0.2)
    with pytest.raises(CourseError, match="loss's SOFTNESS 0.1 → 0.2"):
        train(build("mlp"), epochs=2, loss_fn=by_a_global, checkpoint=path)


def test_an_optimiser_that_has_trained_before_starts_another_run(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    train(build("mlp"), epochs=1, optimizer=None, checkpoint=path)
    model = build("mlp")
    adam = OPTIMIZERS["fused"](model)
    start = state(model)
    train(model, epochs=1, optimizer=adam)
    model.load_state_dict(start)
    with pytest.raises(CourseError, match="optimiser's state at the start changed"):
        train(model, optimizer=adam, checkpoint=path)


def test_a_network_filled_from_the_checkpoint_goes_on_whatever_it_was_before(
    tmp_path: Path,
) -> None:
    path, whole, other = tmp_path / "run.safetensors", build("mlp"), build("mlp", seed=9)
    train(whole, epochs=3)
    train(build("mlp"), epochs=2, checkpoint=path)
    load_checkpoint(path, other)
    train(other, epochs=3, checkpoint=path)
    assert identical(state(whole), state(other))


def test_a_list_that_a_loss_fills_does_not_make_another_run_of_it(tmp_path: Path) -> None:
    seen: list[int] = []

    def loss(model: nn.Module, x: Tensor, y: Tensor) -> Any:
        seen.append(len(x))
        return classification_loss(model, x, y)

    path, model = tmp_path / "run.safetensors", build("mlp")
    train(model, epochs=1, loss_fn=loss, checkpoint=path)
    assert len(train(model, epochs=2, loss_fn=loss, checkpoint=path)) == 2
    assert len(seen) == 2 * STEPS


def test_an_object_that_counts_its_calls_is_the_same_loss_after_an_interruption(
    tmp_path: Path,
) -> None:
    class Counting:
        def __init__(self) -> None:
            self.calls = 0

        def __call__(self, model: nn.Module, x: Tensor, y: Tensor) -> Any:
            self.calls += 1
            return classification_loss(model, x, y)

    path, model, loss = tmp_path / "run.safetensors", build("mlp"), Counting()
    train(model, epochs=1, loss_fn=loss, checkpoint=path)
    train(model, epochs=2, loss_fn=loss, checkpoint=path)
    assert len(train(build("mlp"), epochs=3, loss_fn=Counting(), checkpoint=path)) == 3


def test_a_checkpoint_without_these_facts_goes_on_with_a_line_that_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, whole, model = tmp_path / "run.safetensors", build("mlp"), build("mlp")
    train(whole, epochs=2)
    train(model, epochs=1, checkpoint=path)
    facts = load_checkpoint(path, model)
    del facts["identity"]  # as earlier versions wrote it
    tensors = {}
    with safe_open(path, framework="pt") as file:
        for name in file.keys():  # noqa: SIM118  # it is no dictionary
            tensors[name] = file.get_tensor(name)
    save_file(tensors, path, metadata={"vaetl": json.dumps(facts)})
    train(model, epochs=2, checkpoint=path)
    assert "earlier version of the course: whether learning rate" in capsys.readouterr().out
    assert identical(state(whole), state(model))


@pytest.mark.parametrize("name", ["run.lr0.1", "a.b.c", "run"])
def test_names_with_dots_have_checkpoints_of_their_own(name: str, tmp_path: Path) -> None:
    train(build("mlp"), epochs=1, checkpoint=tmp_path / name)
    train(build("mlp"), epochs=1, seed=6, checkpoint=tmp_path / f"{name}2")
    assert sorted(path.name for path in tmp_path.iterdir()) == [name, f"{name}2"]


def test_home_folder_may_be_written_as_a_tilde(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    model = build("mlp")
    train(model, epochs=1, checkpoint="~/run.safetensors")
    save_checkpoint("~/net.safetensors", model)
    load_checkpoint("~/net.safetensors", build("mlp"))
    assert {path.name for path in tmp_path.iterdir()} == {"run.safetensors", "net.safetensors"}


def test_finished_run_is_not_trained_again_and_more_epochs_go_on(tmp_path: Path) -> None:
    path, whole, model = tmp_path / "run.safetensors", build("mlp"), build("mlp")
    train(whole, epochs=3)
    train(model, epochs=2, checkpoint=path)
    done = state(model)
    hook = at_pass(model, 1, interrupt)
    history = train(model, epochs=2, checkpoint=path)
    hook.remove()
    assert len(history) == 2
    assert identical(state(model), done)
    train(model, epochs=3, checkpoint=path)
    assert identical(state(model), state(whole))


def test_history_in_the_checkpoint_is_json(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    history = train(build("mlp"), epochs=2, validation=images(20), checkpoint=path)
    assert (
        load_checkpoint(path, build("mlp"))["history"]
        == history.rows
        == json.loads(json.dumps(history.rows))
    )


# ---------------------------------------------------------------- synchronisation


def test_one_synchronisation_an_epoch_however_many_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    def syncs(epochs: int, batch_size: int) -> Counter:
        calls, model = Counter(), build("mlp")
        with monkeypatch.context() as patch:
            for name in (
                "item",
                "cpu",
                "tolist",
                "numpy",
                "__bool__",
                "__float__",
                "__int__",
                "__index__",
            ):
                kept = getattr(Tensor, name)

                def counted(self: Tensor, *rest: Any, kept: Any = kept, name: str = name) -> Any:
                    caller = sys._getframe(1).f_code
                    if (
                        any(f"/{room}/" in caller.co_filename for room in ("training", "data"))
                        and caller.co_name != "__init__"
                    ):
                        calls.update({name: 1})
                    return kept(self, *rest)

                patch.setattr(Tensor, name, counted)
            fit(model, images(), epochs=epochs, batch_size=batch_size, quiet=True)
        return calls

    few, many = syncs(2, 50), syncs(2, 2)
    assert few == many, "the number does not grow with the steps"
    assert few["cpu"] == 2, "one transfer an epoch"
    assert syncs(4, 50)["cpu"] == 4


# ---------------------------------------------------------------- the device


@pytest.mark.parametrize("kind", ["cpu", "mps"])
def test_fit_uses_the_device_that_passed_the_probe(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def accelerator(**named: Any) -> None:
        asked.append(named)
        raise LookupError

    monkeypatch.setattr("accelerate.Accelerator", accelerator)
    monkeypatch.setattr(
        "vaetl_helpers.training.run.best_device",
        lambda: DeviceStatus(torch.device(kind), kind, None),
    )
    with pytest.raises(LookupError):
        train(build("mlp"))
    assert asked == [{"cpu": kind == "cpu", "mixed_precision": "no"}]


def test_precision_is_checked_before_anything_else() -> None:
    with pytest.raises(CourseError, match="did you mean 'bf16'"):
        train(build("mlp"), precision="bf15")
    with pytest.raises(CourseError, match="fp16 needs a GPU, and this is cpu"):
        train(build("mlp"), precision="fp16")


def test_bfloat16_is_of_the_training_alone_and_leaves_no_trace() -> None:
    seen, plain = [], build("mlp")

    def loss(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        seen.append(
            torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else torch.float32
        )
        return classification_loss(model, images, labels)[0]

    train(plain, loss_fn=loss, precision="bf16")
    assert set(seen) == {torch.bfloat16}
    assert "forward" not in vars(plain) and plain(torch.rand(4, 1, 8, 8)).dtype == torch.float32
    seen.clear()
    train(plain, loss_fn=loss)
    assert set(seen) == {torch.float32}


def test_a_network_is_trained_again_in_the_precision_asked_for() -> None:
    """Accelerate marks what it has prepared, and would leave it as it is."""
    model, outputs = build("mlp"), []

    def loss(network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        hidden = network[:2](images)
        outputs.append((hidden.dtype, network(images).dtype))
        return classification_loss(network, images, labels)[0]

    for precision in ("no", "bf16", "bf16"):
        outputs.clear()
        train(model, loss_fn=loss, precision=precision)
        hidden = torch.bfloat16 if precision == "bf16" else torch.float32
        assert set(outputs) == {(hidden, torch.float32)}


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_compiled_network_keeps_its_names_and_its_result(backend: str, tmp_path: Path) -> None:
    plain, compiled = build("mlp"), build("mlp")
    compiled.compile(backend=backend)
    train(plain)
    train(compiled, checkpoint=tmp_path / "c.safetensors")
    assert close(state(compiled), state(plain))
    load_checkpoint(tmp_path / "c.safetensors", build("mlp"))


def test_channels_last_gives_the_same_network() -> None:
    plain, last = build("cnn"), build("cnn").to(memory_format=torch.channels_last)
    train(plain)
    train(last)
    assert close(state(last), state(plain))


def test_evaluate_weighs_images_not_batches() -> None:
    model, data = build("cnn"), images(103)
    whole = evaluate(model, data, batch_size=103)
    for size in (1, 10, 100):
        assert evaluate(model, data, batch_size=size) == pytest.approx(whole, rel=1e-5)
    right = (model(data.images / 255).argmax(1) == data.labels).float().mean().item()
    assert whole["accuracy"] == pytest.approx(right)


def test_small_images_are_evaluated_in_larger_batches_than_they_are_trained_in() -> None:
    """Four labels a step, a hundred validation images: in one batch, where memory is not short."""
    small = images(10)
    photos = np.zeros((2, 3, 512, 512), np.uint8)
    large = ImageSet(photos, np.array([0, 1]), ("cat", "dog"))
    assert evaluation_batch(small, 4) >= 100
    assert evaluation_batch(large, 4) == 4, "what fits in training, and no more"
    assert evaluation_batch(small, 4, 2) == 2, "micro-batches say that memory is short"
    assert evaluation_batch(small, 4, 8) >= 100, "a micro-batch beyond the batch is none"


@pytest.mark.parametrize("sizes", [{"batch_size": "4"}, {"batch_size": 4, "micro_batch": "2"}])
def test_best_fit_refuses_sizes_that_are_no_numbers_before_it_measures(sizes: Any) -> None:
    with pytest.raises(CourseError, match="must be a whole number"):
        fit_best(mlp_classifier(8), images(), images(), epochs=1, **sizes)


def test_evaluate_leaves_no_trace() -> None:
    model = build("dropout")
    model.train()
    model[1][1].eval()  # a frozen part
    before, generator = state(model), torch.get_rng_state()
    modes = [module.training for module in model.modules()]
    first = evaluate(model, images())
    assert evaluate(model, images()) == first, "dropout is off"
    assert identical(before, state(model)), "BatchNorm has not moved"
    assert [module.training for module in model.modules()] == modes
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(generator, torch.get_rng_state())
    model.eval()
    evaluate(model, images())
    assert not model.training


def test_evaluating_puts_every_mode_back_after_an_error_too() -> None:
    model = build("dropout").train()
    model[1][1].eval()
    modes = [module.training for module in model.modules()]
    with pytest.raises(ValueError, match="inside"), evaluating(model):
        assert not any(module.training for module in model.modules())
        raise ValueError("inside")
    assert [module.training for module in model.modules()] == modes


def test_evaluate_restores_the_mode_after_an_error_and_records_no_gradients() -> None:
    model = build("dropout").train()
    seen = []

    def loss(network: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        mean = classification_loss(network, x, y)[0]
        seen.append((network.training, mean.requires_grad))
        if len(seen) == 2:
            raise ValueError("mine")
        return mean

    with pytest.raises(ValueError, match="mine"):
        evaluate(model, images(), loss, batch_size=50)
    assert seen == [(False, False)] * 2
    assert model.training


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (lambda mean: mean.expand(3), r"a tensor of shape \[3\]: average"),
        (lambda mean: mean.item(), "not float"),
        (lambda mean: None, "not NoneType"),
        (lambda mean: (mean, 1.0), "dict of values"),
        (lambda mean: (mean, {}, {}), "not tuple"),
        (lambda mean: (mean, {"hits": torch.ones(4)}), r"as hits, not a tensor of shape \[4\]"),
        (lambda mean: (mean, {"hits": "many"}), "as hits, not str"),
    ],
)
def test_wrong_results_of_a_loss_function_are_explained(
    result: Callable[[Tensor], Any], words: str
) -> None:
    def loss(model: nn.Module, x: Tensor, y: Tensor) -> Any:
        return result(classification_loss(model, x, y)[0])

    model = build("mlp")
    for attempt in (lambda: train(model, loss_fn=loss), lambda: evaluate(model, images(), loss)):
        with pytest.raises(CourseError, match=words):
            attempt()
    assert identical(state(model), state(build("mlp")))


def test_monitored_values_may_be_numbers_and_other_types() -> None:
    def loss(model: nn.Module, x: Tensor, y: Tensor) -> Any:
        mean, _ = classification_loss(model, x, y)
        return mean, {"one": 1, "half": 0.5, "count": torch.tensor(len(x)), "attached": mean * 2}

    history = train(build("mlp"), loss_fn=loss)
    assert history["one"] == [1, 1, 1]
    assert history["count"] == pytest.approx([(6 * 256 + 16) / 100] * 3)
    assert history["attached"] == pytest.approx([2 * mean for mean in history["loss"]])


# ---------------------------------------------------------------- the caller's own Accelerator


@pytest.mark.parametrize("fails", [False, True])
def test_the_callers_own_accelerator_is_as_it_was(fails: bool, tmp_path: Path) -> None:
    own = Accelerator(cpu=True, mixed_precision="bf16", gradient_accumulation_steps=4)
    path = tmp_path / "run.safetensors"
    path.write_text("mine")
    if fails:
        with pytest.raises(CourseError):
            train(build("mlp"), precision="no", checkpoint=path)
    else:
        train(build("mlp"), precision="no")
        train_best(build("mlp"), epochs=1, precision="no")
    assert (own.mixed_precision, own.gradient_accumulation_steps) == ("bf16", 4)
    other = Accelerator(cpu=True, mixed_precision="bf16", gradient_accumulation_steps=4)
    assert other.mixed_precision == "bf16"
    model = build("mlp")
    prepared, adam = own.prepare(model, OPTIMIZERS["adam"](model))
    with own.accumulate(prepared):
        own.backward(prepared(torch.rand(2, 1, 8, 8)).sum())
        assert not own.sync_gradients
    adam.step()


def test_an_accelerator_of_any_precision_can_be_made_after_training() -> None:
    for precision in ("no", "bf16"):
        train(build("mlp"), epochs=1)
        AcceleratorState._reset_state()
        train(build("mlp"), epochs=1, precision="no")
        assert Accelerator(cpu=True, mixed_precision=precision).mixed_precision == precision
