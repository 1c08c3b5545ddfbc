"""One training loop, its history and its checkpoints.

A loss function is called as `loss_fn(model, images, labels)` and returns the batch's mean loss, or that and a dict
of further means to monitor: `(loss, {"accuracy": ...})`.

`fit` gives the same weights, bit for bit on a CPU, as the loop by hand over `train.batches(batch_size, seed, epoch)`.
A network that draws numbers (dropout, a VAE's noise) needs `torch.manual_seed(seed * 1_000_003 + epoch)` before each
epoch for that, which is what `fit` calls.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from vaetl_helpers.data.images import ImageSet
from vaetl_helpers.nets import trainable
from vaetl_helpers.training.evaluation import History, LossFunction, classification_loss, evaluate
from vaetl_helpers.training.run import Run
from vaetl_helpers.training.schedules import one_cycle


def fit(
    model: nn.Module,
    train: ImageSet,
    loss_fn: LossFunction = classification_loss,
    *,
    epochs: int,
    batch_size: int = 128,
    optimizer: Optimizer | None = None,
    schedule: Callable[[float], float] | None = None,
    validation: ImageSet | None = None,
    seed: int = 0,
    checkpoint: Path | str | None = None,
    max_seconds: float | None = None,
    quiet: bool = False,
    micro_batch: int | None = None,
    precision: str | None = None,
) -> History:
    """Trains `model` in place and returns its history; the default optimiser is Adam with learning rate 1e-3.

    `schedule` maps progress in [0, 1) to a factor of the learning rate. With `checkpoint` (a .safetensors path) the
    same call continues a run that was cut off. `batch_size` counts the images of all processes; gradients are
    accumulated over pieces of `micro_batch`. `precision`: "no", "bf16", "fp16"; by default what suits the device.
    Raises NonFiniteLoss; CourseError for a checkpoint that is damaged, of another run, or cannot be written.
    """
    with Run(
        model,
        optimizer,
        train,
        batch_size,
        seed,
        checkpoint,
        epochs,
        max_seconds,
        micro_batch,
        precision,
    ) as run:
        while run.epoch < epochs and not run.expired():
            run.begin_epoch()
            try:
                for images, labels in run.progress(quiet):
                    run.set_learning_rate(schedule)
                    run.optimizer.zero_grad()
                    run.forward_backward(loss_fn, images, labels)
                    run.optimizer.step()
                    if run.expired(within_epoch=True):
                        break
            except RuntimeError as error:
                run.halve_micro_batch(error)  # raises again unless memory ran out
                continue
            run.end_epoch(loss_fn, validation, quiet)
    return run.history


def fit_best(
    model: nn.Module,
    train: ImageSet,
    validation: ImageSet,
    loss_fn: LossFunction = classification_loss,
    *,
    epochs: int,
    optimizer: Optimizer | None = None,
    schedule: Callable[[float], float] = one_cycle,
    patience: int = 10,
    seed: int = 0,
    **options: Any,
) -> History:
    """`fit` with early stopping: leaves the model as it was at its best on validation, the start included.

    Best: highest accuracy, then lowest loss. Ends after `patience` epochs without a better one. `options` go to `fit`.
    """
    optimizer = optimizer or torch.optim.Adam(trainable(model), lr=1e-3, fused=True)
    here = validation.to(next(model.parameters()).device)
    measured = evaluate(
        model, here, loss_fn, options.get("batch_size", 128)
    )  # as large a batch as in training
    row = {f"validation_{name}": value for name, value in measured.items()}
    best, state, waited, history = _score(row), copy.deepcopy(model.state_dict()), 0, History()
    for epoch in range(epochs):
        part = functools.partial(lambda epoch, done: schedule((epoch + done) / epochs), epoch)
        options = (
            {"quiet": True} | options | {"epochs": 1, "schedule": part, "validation": validation}
        )
        # A seed for each epoch, none of them another run's.
        row = fit(
            model, train, loss_fn, optimizer=optimizer, seed=1000 * seed + epoch, **options
        ).rows[0]
        history.rows.append(row | {"epoch": epoch + 1})
        waited += 1
        if _score(row) > best:
            best, state, waited = _score(row), copy.deepcopy(model.state_dict()), 0
        if waited >= patience:
            history.stopped = f"Stopped after epoch {epoch + 1} of {epochs}: {patience} epochs without a better one."
            break
    model.load_state_dict(state)
    return history


def _score(row: Mapping[str, float]) -> tuple[float, float]:
    return row.get("validation_accuracy", 0.0), -row["validation_loss"]
