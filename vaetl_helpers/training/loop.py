"""The one training loop; `fit` runs it to its end, and `fit_best` stops it early.

A loss function is called as `loss_fn(model, images, labels)` and returns the batch's mean loss, or
that and a dict of further means to monitor: `(loss, {"accuracy": ...})`.

`fit` gives the same weights, bit for bit on a CPU, as the loop by hand over
`train.batches(batch_size, seed, epoch)`. A network that draws numbers (dropout, a VAE's noise)
needs `torch.manual_seed(seed * 1_000_003 + epoch)` before each epoch for that, which is what `fit`
calls.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from vaetl_helpers.data.images import ImageSet
from vaetl_helpers.errors import unknown_name_error
from vaetl_helpers.nets import trainable
from vaetl_helpers.training.evaluation import (
    History,
    LossFunction,
    Row,
    classification_loss,
    evaluate,
    evaluation_batch,
)
from vaetl_helpers.training.inputs import (
    check_images,
    check_network,
    check_optimiser,
    explained,
)
from vaetl_helpers.training.options import RunOptions, Watch
from vaetl_helpers.training.run import Run
from vaetl_helpers.training.schedules import Schedule, one_cycle
from vaetl_helpers.training.stopping import EarlyStopping

OPTIONS = tuple(option.name for option in fields(RunOptions) if option.name != "stopping")


def training_epochs(
    model: nn.Module,
    train: ImageSet,
    loss_fn: LossFunction,
    options: RunOptions,
    history: History | None = None,
) -> Generator[Row, None, None]:
    """Trains `model` in place, and yields each epoch's row of the history at the epoch's end.

    Training goes on when the next row is asked for. A run that continues from a checkpoint yields
    the rows of its earlier epochs first. `history` is filled with the same rows. Errors are those
    of `fit`, which explains the options.
    """
    with Run(model, train, loss_fn, options, history) as run, explained(model, train):
        optimizer = run.optimizer
        yield from list(run.history.rows)
        while run.goes_on():
            run.begin_epoch()
            try:
                for images, labels in run.batches():
                    run.set_learning_rate()
                    optimizer.zero_grad()
                    for piece in run.micro_batches(images, labels):  # mostly one
                        with run.autocast():
                            result = loss_fn(run.model, piece.images, piece.labels)
                        loss = run.record(result, piece)
                        run.backward(loss, piece)
                    optimizer.step()
                    if run.expired(within_epoch=True):
                        break
            except RuntimeError as error:
                run.halve_micro_batch(error)  # raises again unless memory ran out
                continue
            yield run.end_epoch()


def fit(  # noqa: PLR0913  (notebooks give them by name)
    model: nn.Module,
    train: ImageSet,
    loss_fn: LossFunction = classification_loss,
    *,
    epochs: int,
    batch_size: int = 128,
    optimizer: Optimizer | None = None,
    schedule: Schedule | None = None,
    validation: ImageSet | None = None,
    seed: int = 0,
    checkpoint: Path | str | None = None,
    max_seconds: float | None = None,
    quiet: bool = False,
    micro_batch: int | None = None,
    precision: str | None = None,
    watch: Watch | None = None,
) -> History:
    """Trains `model` in place and returns its history; the loop itself is `training_epochs`.

    The default optimiser is Adam with learning rate 1e-3. `schedule` maps progress in [0, 1) to a
    factor of the learning rate. With `checkpoint` (a .safetensors path) the same call continues a
    run that was cut off. `batch_size` counts the images of all processes; gradients are accumulated
    over micro-batches of `micro_batch` images. `precision`: "no", "bf16", "fp16"; by default what
    suits the device. `watch(model, row)` is called before the first epoch, with the row
    {"epoch": 0}, and after each one: the network is in eval mode then, and what `watch` draws at
    random does not change the run. The row's seconds are those of the training alone.

    Raises NonFiniteLoss; CourseError for arguments that do not fit each other, and for a checkpoint
    that is damaged, cannot be written, or is of a run that would end otherwise: with other settings
    (more epochs are allowed), images, loss, network, or weights at the start.
    """
    options = RunOptions(
        epochs=epochs,
        batch_size=batch_size,
        optimizer=optimizer,
        schedule=schedule,
        validation=validation,
        seed=seed,
        checkpoint=checkpoint,
        max_seconds=max_seconds,
        quiet=quiet,
        micro_batch=micro_batch,
        precision=precision,
        watch=watch,
    )
    history = History()
    for _row in training_epochs(model, train, loss_fn, options, history):
        pass  # the history keeps the rows
    return history


def fit_best(  # noqa: PLR0913  (notebooks give them by name)
    model: nn.Module,
    train: ImageSet,
    validation: ImageSet,
    loss_fn: LossFunction = classification_loss,
    *,
    epochs: int,
    optimizer: Optimizer | None = None,
    schedule: Schedule = one_cycle,
    patience: int = 10,
    seed: int = 0,
    **more: Any,
) -> History:
    """`fit` with early stopping: leaves the model as it was at its best on validation.

    Best: highest accuracy, then lowest loss; the start counts too. Ends after `patience` epochs
    without a better one. `more` are further arguments of `fit`, which is quiet unless told.
    """
    more = {"quiet": True, "batch_size": 128} | more
    for name in more:
        if name not in OPTIONS:
            raise unknown_name_error("argument of fit", name, OPTIONS)
    check_network(model)
    check_images(train, "train")
    check_images(validation, "validation")
    check_optimiser(optimizer, model)
    device = next(model.parameters()).device
    at_once = evaluation_batch(validation, more["batch_size"], more.get("micro_batch"))
    measured = evaluate(model, validation.to(device), loss_fn, at_once)
    stopping = EarlyStopping(model, measured, patience)
    options = RunOptions(
        epochs=epochs,
        optimizer=optimizer or torch.optim.Adam(trainable(model), lr=1e-3, fused=True),
        schedule=schedule,
        validation=validation,
        seed=seed,
        stopping=stopping,
        **more,
    )
    history = History()
    with closing(training_epochs(model, train, loss_fn, options, history)) as rows:
        for _row in rows:
            if stopping.is_over:
                history.stopped = (
                    f"Stopped after epoch {len(history)} of {epochs}: "
                    f"{patience} epochs without a better one."
                )
                break
    model.load_state_dict(stopping.weights)
    return history
