"""Repeated runs and what may be said of them: label draws, studies, paired effects, costs and verdicts."""

from vaetl_helpers.recorded import recorded, recorded_value
from vaetl_helpers.study.costs import add_costs, labels_to, saving, time_to
from vaetl_helpers.study.draws import Draw, Draws, Method, draw_labels
from vaetl_helpers.study.effects import (
    Effect,
    effect_of,
    holm,
    mean_interval,
    paired,
    verdict,
    verdicts,
)
from vaetl_helpers.study.journal import Journal, journal_entry
from vaetl_helpers.study.runs import run_study
from vaetl_helpers.study.table import CENSORED, COLUMNS, SHARED, Reached, Table, recorded_table

__all__ = [
    "CENSORED",
    "COLUMNS",
    "Draw",
    "Draws",
    "Effect",
    "Journal",
    "Method",
    "Reached",
    "SHARED",
    "Table",
    "add_costs",
    "draw_labels",
    "effect_of",
    "holm",
    "journal_entry",
    "labels_to",
    "mean_interval",
    "paired",
    "recorded",
    "recorded_table",
    "recorded_value",
    "run_study",
    "saving",
    "time_to",
    "verdict",
    "verdicts",
]
