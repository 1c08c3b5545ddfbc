"""How a run trains: the arguments of `fit` in one object."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import nn
from torch.optim import Optimizer

from vaetl_helpers.data.images import ImageSet
from vaetl_helpers.seeds import whole_number, whole_seed
from vaetl_helpers.training.evaluation import Row
from vaetl_helpers.training.inputs import (
    check_images,
    check_path,
    check_schedule,
    check_watch,
)
from vaetl_helpers.training.schedules import Schedule
from vaetl_helpers.training.stopping import EarlyStopping

Watch = Callable[[nn.Module, Row], None]  # called with the network and the epoch's row


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How a run trains: the arguments of `fit`, which explains them, and early stopping."""

    epochs: int
    batch_size: int = 128
    optimizer: Optimizer | None = None
    schedule: Schedule | None = None
    validation: ImageSet | None = None
    seed: int = 0
    checkpoint: Path | str | None = None
    max_seconds: float | None = None
    quiet: bool = False
    micro_batch: int | None = None
    precision: str | None = None
    stopping: EarlyStopping | None = None
    watch: Watch | None = None

    def __post_init__(self) -> None:
        wholes = {
            "seed": whole_seed(self.seed),
            "epochs": whole_number(self.epochs, "epochs", 0),
            "batch_size": whole_number(self.batch_size, "batch_size", 1, example="128"),
        }
        if self.micro_batch is not None:
            wholes["micro_batch"] = whole_number(self.micro_batch, "micro_batch", 1)
        for name, number in wholes.items():
            object.__setattr__(self, name, number)  # it is frozen for everybody else
        check_schedule(self.schedule)
        check_path(self.checkpoint, "checkpoint")
        check_watch(self.watch)
        if self.validation is not None:
            check_images(self.validation, "validation")
