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

LossFunction = Callable[[nn.Module, Tensor, Tensor], Any]


class NonFiniteLoss(CourseError):
    """The loss became nan or infinite; the model is back at the end of the last epoch that was sound."""


def classification_loss(
    model: nn.Module, images: Tensor, labels: Tensor
) -> tuple[Tensor, dict[str, Tensor]]:
    """Mean cross-entropy in nats an image, and the fraction of the batch that is classified correctly."""
    logits = model(images)
    return F.cross_entropy(logits, labels), {
        "accuracy": (logits.argmax(1) == labels).float().mean()
    }


@dataclass
class History:
    """One row an epoch: epoch, loss, monitored values, validation_…, lr, steps, images, seconds (training only).

    `history["loss"]` is a column; CourseError for a name that was not recorded.
    """

    rows: list[dict[str, float]] = field(default_factory=list)
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
    loss, monitored = result if isinstance(result, tuple) and len(result) == 2 else (result, {})
    if not isinstance(monitored, dict):
        raise CourseError(
            f"A loss function may return (loss, dict of values), not (loss, {type(monitored).__name__})."
        )
    for name, value in [("loss", loss), *monitored.items()]:
        number = name != "loss" and isinstance(value, (int, float))
        if not number and (not isinstance(value, Tensor) or value.dim() != 0):
            got = (
                f"a tensor of shape {list(value.shape)}"
                if isinstance(value, Tensor)
                else type(value).__name__
            )
            raise CourseError(
                f"The loss function must return one number (a tensor without dimensions) as {name}, not {got}: average."
            )
    return loss, {
        name: torch.as_tensor(value).detach().to(loss) for name, value in monitored.items()
    }


def history_line(row: dict[str, float], epochs: int) -> str:
    skip = ("epoch", "steps", "images", "lr", "seconds")
    values = "  ".join(
        f"{name.replace('_', ' ')} {value:.4f}" for name, value in row.items() if name not in skip
    )
    return f"epoch {row['epoch']}/{epochs}  {values}  {row['seconds']:.1f} s"


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


@torch.no_grad()
def evaluate(
    model: nn.Module,
    data: ImageSet,
    loss_fn: LossFunction = classification_loss,
    batch_size: int = 1000,
) -> dict[str, float]:
    """Mean loss and monitored values over a whole set, in eval mode, each image weighted equally."""
    total: Tensor | float = 0.0
    names: list[str] = []
    with evaluating(model):
        for images, labels in data.batches(batch_size):
            loss, monitored = loss_and_monitored(loss_fn(model, images, labels))
            names = ["loss", *monitored]
            total = total + len(images) * torch.stack([loss, *monitored.values()])
    return dict(zip(names, (total / len(data)).tolist(), strict=True))
