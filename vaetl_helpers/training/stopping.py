"""Early stopping: the best weights on validation so far, and how long there were none better."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

PREFIX = "best."  # of the best weights in a checkpoint


class EarlyStopping:
    """Keeps the weights of the best epoch on validation: highest accuracy, then lowest loss.

    `measured` is what validation gives before the first epoch: the start may be the best. Training
    is over after `patience` epochs without a better one.
    """

    def __init__(self, model: nn.Module, measured: Mapping[str, float], patience: int) -> None:
        self.patience = patience
        self.epochs_without_better = 0
        self.score = _score(measured)
        self.weights = copy.deepcopy(model.state_dict())

    @property
    def is_over(self) -> bool:
        return self.epochs_without_better >= self.patience

    def look(self, model: nn.Module, measured: Mapping[str, float]) -> None:
        """Compares the model after an epoch, by what validation gave for it, with the best."""
        self.epochs_without_better += 1
        score = _score(measured)
        if score > self.score:
            self.score = score
            self.weights = copy.deepcopy(model.state_dict())
            self.epochs_without_better = 0

    def tensors(self) -> dict[str, Tensor]:
        """The best weights, named for a checkpoint."""
        return {f"{PREFIX}{name}": value for name, value in self.weights.items()}

    def facts(self) -> dict[str, Any]:
        """The rest of the state, in what JSON takes."""
        return {
            "patience": self.patience,
            "score": self.score,
            "epochs_without_better": self.epochs_without_better,
        }

    def restore(self, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Goes back to the state that a checkpoint holds."""
        accuracy, negative_loss = facts["score"]
        self.score = (accuracy, negative_loss)
        self.epochs_without_better = facts["epochs_without_better"]
        for name in self.weights:
            self.weights[name] = tensors[f"{PREFIX}{name}"]


def _score(measured: Mapping[str, float]) -> tuple[float, float]:
    return measured.get("accuracy", 0.0), -measured["loss"]
