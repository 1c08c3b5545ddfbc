"""What chapter 4b shows of its studies: its recorded runs beside the learner's own."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import NamedTuple

from vaetl_helpers import plots
from vaetl_helpers.errors import CourseError
from vaetl_helpers.output import record_id
from vaetl_helpers.recorded import Record, recorded
from vaetl_helpers.study.effects import Effect
from vaetl_helpers.study.table import Table, recorded_table

CHAPTER = "04b"
ENCODER, WORDS = "frozen encoder", "TF-IDF"
METRIC = "test accuracy"


class Run(NamedTuple):
    """The table of a study, and how many classes its task has."""

    table: Table
    classes: int


# What each recorded task asks, and its number of classes.
TASKS = {
    "sentence-polarity": ("For or against the film?", 2),
    "banking77": ("What does a bank's customer want?", 77),
}


def recorded_tasks() -> list[str]:
    """The tasks of which the package has a recorded run."""
    tasks = []
    for task in TASKS:
        with suppress(CourseError):
            recorded(CHAPTER, task)
            tasks.append(task)
    return tasks


def recorded_runs(name: str) -> dict[str, Run]:
    """The recorded studies of this name, "labels" or "tuning", by what their task asks."""
    runs = {}
    for task in recorded_tasks():
        question, classes = TASKS[task]
        with suppress(CourseError):  # a task may lack the fine-tuning
            table = recorded_table(CHAPTER, f"{name}_{task}")
            runs[f"{question} (recorded)"] = Run(table, classes)
    return runs


def lead(table: Table) -> str:
    """By how many points the encoder leads with the fewest and with the most labels, in words."""
    fewest, most = min(table.known("labels")), max(table.known("labels"))
    ahead = [
        table.mean(ENCODER, METRIC, count) - table.mean(WORDS, METRIC, count)
        for count in (fewest, most)
    ]
    ends = f"{ahead[0]:+.0f} ({fewest:,} labels), {ahead[1]:+.0f} ({most:,})"
    return ends.replace("-", "−")


def draw_accuracies(runs: Mapping[str, Run], alt: str) -> None:
    """The test accuracy of each method over the labels, a panel a run, with a line at guessing."""
    titles = [f"{name}\nencoder's lead in points: {lead(run.table)}" for name, run in runs.items()]
    axes = plots.panels(titles, alt=alt, height=3.9)
    for axis, title, run in zip(axes, titles, runs.values(), strict=True):
        plots.learning_curves(run.table, METRIC, title, f"{METRIC} (%)", alt="", axis=axis)
        chance = 100 / run.classes
        axis.axhline(chance, color="grey", linestyle=":", label="chance")
        axis.set_xlabel("labelled sentences, all classes together")
        axis.set_ylim(bottom=min(axis.get_ylim()[0], chance - 2))
        plots.label_lines(axis)


def percent(table: Table, method: str, count: int) -> str:
    """A method's mean test accuracy at so many labels of all classes together, as a text."""
    return f"{table.mean(method, METRIC, count):.1f} %"


def accuracy_id(a: str, b: str, per_class: int) -> str:
    """The id of a difference in test accuracy at so many labels of each class."""
    return record_id(CHAPTER, "accuracy", (a, b), f"{per_class} a class")


def difference(a: str, b: str, per_class: int, effect: Effect, data: str) -> Record:
    """A record of by how many points of test accuracy `a` is better than `b`."""
    title = f"{a} − {b}, {per_class} a class"
    return effect.to_record(title, "points", id=accuracy_id(a, b, per_class), data=data)
