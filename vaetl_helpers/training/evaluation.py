"""Loss functions, the history of a run, and the evaluation of a model on a whole set."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vaetl_helpers.data.images import ImageSet
from vaetl_helpers.errors import CourseError, unknown_name_error
from vaetl_helpers.seeds import whole_number
from vaetl_helpers.training.inputs import (
    check_images,
    check_loss,
    check_network,
    check_outputs,
    explained,
)

LossFunction = Callable[[nn.Module, Tensor, Tensor], Any]
VALIDATION = "validation_"  # how the columns of the validation set begin
Row = dict[str, float]  # of a history
OF_THE_ROW = ("epoch", "loss", "steps", "images", "lr", "seconds")  # of every history
IN_NO_LINE = ("epoch", "steps", "images", "lr", "seconds")  # left out, or shown apart
SMALL_BATCH = 2**18  # numbers in a batch that fits anywhere: a megabyte


class NonFiniteLoss(CourseError):
    """The loss became nan or infinite; the model is back at the end of the last sound epoch."""


def classification_loss(
    model: nn.Module, images: Tensor, labels: Tensor
) -> tuple[Tensor, dict[str, Tensor]]:
    """Mean cross-entropy in nats an image, and the accuracy: the fraction that is right."""
    logits = model(images)
    check_outputs(logits, labels)
    accuracy = (logits.argmax(1) == labels).float().mean()
    return F.cross_entropy(logits, labels), {"accuracy": accuracy}


@dataclass
class History:
    """One row an epoch: epoch, loss, monitored values, validation_…, lr, steps, images, seconds.

    The seconds are those of training alone. `history["loss"]` is a column; CourseError for a name
    that was not recorded.
    """

    rows: list[Row] = field(default_factory=list)
    stopped: str | None = None  # why training ended before its last epoch

    def __getitem__(self, name: str) -> list[float]:
        if any(name not in row for row in self.rows):
            raise unknown_name_error("column of the history", name, self.rows[0])
        return [row[name] for row in self.rows]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def seconds(self) -> float:
        """Seconds of training, without validation."""
        return sum(self["seconds"])


def loss_and_monitored(result: Any) -> tuple[Tensor, dict[str, Tensor]]:
    """Takes apart what a loss function returned: the loss, and monitored values without gradients.

    Raises CourseError for anything but numbers, with what to return instead.
    """
    loss = result
    monitored: Any = {}
    if isinstance(result, tuple) and len(result) == 2:
        loss, monitored = result
    if not isinstance(monitored, dict):
        kind = type(monitored).__name__
        raise CourseError(f"A loss function may return (loss, dict of values), not (loss, {kind}).")
    _check_number("loss", loss)
    values = {}
    for name, value in monitored.items():
        if name in OF_THE_ROW or str(name).startswith(VALIDATION):
            raise CourseError(
                f"A monitored value cannot be called '{name}', which is a column of the history: "
                "give it another name."
            )
        if not isinstance(value, int | float):
            _check_number(name, value)
        values[name] = torch.as_tensor(value).detach().to(loss)
    return loss, values


def _check_number(name: str, value: Any) -> None:
    kind = type(value).__name__
    if isinstance(value, Tensor):
        if value.dim() == 0:
            return
        kind = f"a tensor of shape {list(value.shape)}"
    if callable(value) and not isinstance(value, Tensor):
        raise CourseError(
            f"The loss function returned a {kind}, not a number: call what makes a loss, as in "
            "vae_loss(), before you hand it over."
        )
    raise CourseError(
        "The loss function must return one number (a tensor without dimensions) "
        f"as {name}, not {kind}: average."
    )


def history_line(row: Row, epochs: int) -> str:
    """A row of a history as a line to print."""
    values = [
        f"{name.replace('_', ' ')} {value:.4f}"
        for name, value in row.items()
        if name not in IN_NO_LINE
    ]
    return f"epoch {row['epoch']}/{epochs}  {'  '.join(values)}  {row['seconds']:.1f} s"


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Inside, the model is in eval mode; afterwards each module is in the mode that it had before.

    The modes are noted one by one, because a frozen module stays in eval mode while others train.
    """
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def evaluation_batch(data: ImageSet, batch_size: int, micro_batch: int | None = None) -> int:
    """How many images to evaluate at once between epochs of training.

    Where training takes micro-batches memory is short, and as many are known to fit. Otherwise a
    batch, or more where images are small: with few labels a batch has a handful, and a validation
    set in such pieces would take longer than the training.
    """
    batch_size = whole_number(batch_size, "batch_size", 1, example="128")
    if micro_batch is not None:
        micro_batch = whole_number(micro_batch, "micro_batch", 1)
        if micro_batch < batch_size:
            return micro_batch
    return max(batch_size, SMALL_BATCH // data.images[0].numel())


@torch.no_grad()
def evaluate(
    model: nn.Module,
    data: ImageSet,
    loss_fn: LossFunction = classification_loss,
    batch_size: int = 1000,
) -> dict[str, float]:
    """Mean loss and monitored values over a whole set, in eval mode; each image counts equally.

    Raises CourseError for anything but a network, an ImageSet, and a loss as `fit` takes it.
    """
    check_network(model)
    check_images(data, "data")
    check_loss(loss_fn)
    totals: Tensor | float = 0.0
    names: list[str] = []
    with evaluating(model), explained(model, data):
        for images, labels in data.batches(batch_size):
            loss, monitored = loss_and_monitored(loss_fn(model, images, labels))
            means = torch.stack([loss, *monitored.values()])
            totals = totals + len(images) * means
            names = ["loss", *monitored]
    values = torch.as_tensor(totals / len(data)).tolist()
    return dict(zip(names, values, strict=True))
