"""Training: the loop, its history and checkpoints, schedules, and many small networks at once."""

from vaetl_helpers.training.checkpoints import (
    load_checkpoint,
    read_checkpoint,
    save_checkpoint,
    set_state_tensors,
    state_tensors,
)
from vaetl_helpers.training.evaluation import (
    History,
    LossFunction,
    NonFiniteLoss,
    classification_loss,
    evaluate,
    evaluating,
    history_line,
    loss_and_monitored,
)
from vaetl_helpers.training.loop import fit, fit_best
from vaetl_helpers.training.run import Run
from vaetl_helpers.training.schedules import one_cycle
from vaetl_helpers.training.together import fit_together

__all__ = [
    "History",
    "LossFunction",
    "NonFiniteLoss",
    "Run",
    "classification_loss",
    "evaluate",
    "evaluating",
    "fit",
    "fit_best",
    "fit_together",
    "history_line",
    "load_checkpoint",
    "loss_and_monitored",
    "one_cycle",
    "read_checkpoint",
    "save_checkpoint",
    "set_state_tensors",
    "state_tensors",
]
