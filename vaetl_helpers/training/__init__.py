"""Training: the loop, its history and checkpoints, schedules, and many small networks at once."""

from vaetl_helpers.training.checkpoints import load_checkpoint, read_checkpoint, save_checkpoint
from vaetl_helpers.training.evaluation import (
    History,
    LossFunction,
    NonFiniteLoss,
    classification_loss,
    evaluate,
    evaluating,
    loss_and_monitored,
)
from vaetl_helpers.training.loop import fit, fit_best, training_epochs
from vaetl_helpers.training.options import RunOptions, Watch
from vaetl_helpers.training.run import MicroBatch, Run
from vaetl_helpers.training.schedules import one_cycle
from vaetl_helpers.training.stopping import EarlyStopping
from vaetl_helpers.training.together import fit_together

__all__ = [
    "EarlyStopping",
    "History",
    "LossFunction",
    "MicroBatch",
    "NonFiniteLoss",
    "Run",
    "RunOptions",
    "Watch",
    "classification_loss",
    "evaluate",
    "evaluating",
    "fit",
    "fit_best",
    "fit_together",
    "load_checkpoint",
    "loss_and_monitored",
    "one_cycle",
    "read_checkpoint",
    "save_checkpoint",
    "training_epochs",
]
