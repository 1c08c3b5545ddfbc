"""Repeated runs and what may be said of them: draws, studies, effects, costs and verdicts."""

from vaetl_helpers.recorded import (
    find_recorded,
    recorded,
    recorded_by_measure,
    recorded_value,
    show_recorded,
)
from vaetl_helpers.study.choices import add_best
from vaetl_helpers.study.costs import (
    adaptation_ratio,
    cost_ratio,
    costs_to,
    labels_ratio,
    labels_to,
    shared_targets,
    tasks_that_repay,
)
from vaetl_helpers.study.draws import Draw, Method, draw_labels
from vaetl_helpers.study.effects import (
    Effect,
    effect_of,
    holm,
    in_this_run,
    mean_interval,
    paired,
    side_of_zero,
    verdict,
    verdicts,
)
from vaetl_helpers.study.journal import join_shards
from vaetl_helpers.study.overfitting import (
    excess_loss,
    falling_paths,
    shared_levels,
    unseen_losses_at,
)
from vaetl_helpers.study.runs import Shard, run_study, training_options
from vaetl_helpers.study.table import (
    CENSORED,
    COLUMNS,
    SHARED,
    Censoring,
    Cost,
    Table,
    recorded_table,
)
from vaetl_helpers.study.values import recorded_study

__all__ = [
    "CENSORED",
    "COLUMNS",
    "SHARED",
    "Censoring",
    "Cost",
    "Draw",
    "Effect",
    "Method",
    "Shard",
    "Table",
    "adaptation_ratio",
    "add_best",
    "cost_ratio",
    "costs_to",
    "draw_labels",
    "effect_of",
    "excess_loss",
    "falling_paths",
    "find_recorded",
    "holm",
    "in_this_run",
    "join_shards",
    "labels_ratio",
    "labels_to",
    "mean_interval",
    "paired",
    "recorded",
    "recorded_by_measure",
    "recorded_study",
    "recorded_table",
    "recorded_value",
    "run_study",
    "shared_levels",
    "shared_targets",
    "show_recorded",
    "side_of_zero",
    "tasks_that_repay",
    "training_options",
    "unseen_losses_at",
    "verdict",
    "verdicts",
]
