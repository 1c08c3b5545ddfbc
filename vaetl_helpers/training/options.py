"""How a run trains: the arguments of `fit` in one object."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch.optim import Optimizer

from vaetl_helpers.data.images import ImageSet
from vaetl_helpers.seeds import whole_seed
from vaetl_helpers.training.schedules import Schedule
from vaetl_helpers.training.stopping import EarlyStopping


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

    def __post_init__(self) -> None:
        object.__setattr__(self, "seed", whole_seed(self.seed))
