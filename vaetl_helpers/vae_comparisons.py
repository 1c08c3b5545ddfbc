"""What chapter 5's studies compare: accuracy, overfitting and costs, as records for the ledger."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vaetl_helpers.errors import unknown_name_error
from vaetl_helpers.output import IMAGES
from vaetl_helpers.recorded import Record, recorded_by_measure
from vaetl_helpers.study.choices import add_best
from vaetl_helpers.study.costs import adaptation_ratio, labels_ratio, tasks_that_repay
from vaetl_helpers.study.effects import Effect, paired
from vaetl_helpers.study.overfitting import excess_loss
from vaetl_helpers.study.table import Table
from vaetl_helpers.vae_transfer import SOURCES, TITLES, name_with_source


@dataclass(frozen=True)
class Comparison:
    """By how much method `a` lies above `b` in test accuracy: above 0 where it speaks for the VAE.

    `id` is the middle of the records' ids. A comparison that is `own_source_only` is made for the
    VAE of the target's own source alone.
    """

    id: str
    a: str
    b: str
    own_source_only: bool = False


COMPARISONS = (
    Comparison("accuracy/fine_tuned-scratch", "VAE fine-tuned", "scratch"),
    Comparison("accuracy/fine_tuned-raw_pixels", "VAE fine-tuned", "raw pixels"),
    Comparison("accuracy/fine_tuned-svm_pixels", "VAE fine-tuned", "SVM on pixels"),
    Comparison("accuracy/fine_tuned-supervised", "VAE fine-tuned", "supervised"),
    Comparison("accuracy/fine_tuned-random_encoder", "VAE fine-tuned", "random encoder"),
    # PCA and the SVM are on images and features of the target's own source.
    Comparison("accuracy/fine_tuned-pca", "VAE fine-tuned", "PCA", own_source_only=True),
    Comparison("accuracy/probe_mu-scratch", "probe on μ", "scratch"),
    Comparison("accuracy/probe_mu-raw_pixels", "probe on μ", "raw pixels"),
    Comparison("accuracy/probe_mu-supervised", "probe on μ", "supervised"),
    Comparison("accuracy/probe_mu-random_encoder", "probe on μ", "random encoder"),
    Comparison("accuracy/probe_mu-pca", "probe on μ", "PCA", own_source_only=True),
    Comparison("accuracy/fine_tuned-probe_mu", "VAE fine-tuned", "probe on μ"),
    Comparison("accuracy/svm_mu-svm_pixels", "SVM on μ", "SVM on pixels", own_source_only=True),
    Comparison(
        "accuracy/self_training_mu-self_training_pca",
        "self-training on μ",
        "self-training on PCA",
        own_source_only=True,
    ),
    Comparison("accuracy/best_with-best_without", "best with a VAE", "best without"),
)
# The candidates of "best with a VAE" and "best without".
WITH_A_VAE = ("VAE fine-tuned", "probe on μ", "SVM on μ", "self-training on μ")
WITHOUT = (
    "scratch",
    "raw pixels",
    "PCA",
    "SVM on pixels",
    "random encoder",
    "self-training on PCA",
)
# No part of the comparison with another source than the target's own: what is made of the images of
# that source alone, and the SVM on pixels, which has no SVM on the other source's μ against it.
OF_OWN_SOURCE = (
    "SVM on μ",
    "SVM on pixels",
    "self-training on μ",
    "PCA",
    "self-training on PCA",
)
# Labels of the comparison that decides: those that a pair of classes has at ten a class, or 100.
MAIN_LABELS = {"digits": 100, "mnist": 100, "fashion": 100, "tops": 20, "animals": 20}
COSTS = {"steps": "steps", "flops": "FLOPs"}  # of adaptation, by id
# "Labels to …" asks for scratch's accuracy at so many labels: between the fewest and the most of
# every study, since a draw that is there with the fewest leaves its end of the ratio open.
LABELS_OF_TARGET = 100


def effects(
    table: Table,
    data: str,
    main: int,
    source: str = "",
    conditional: Sequence[str] | None = None,
) -> list[dict[str, Any]]:
    """The records of a study's comparisons for the claims ledger.

    They are for the VAE of another `source` than the target's own if it is named. `main` is the
    number of labels at which costs are compared. `conditional` is what the intervals hold for,
    besides the images, if the table does not say it.
    """
    of_source = _StudyOfSource(table, data, source, conditional)
    of_source.add_the_best()
    records = [*of_source.accuracies(), *of_source.overfitting()]
    if main in of_source.counts:
        records += of_source.costs(main)
    if LABELS_OF_TARGET in of_source.counts and len(of_source.counts) > 1:
        records.append(of_source.fewer_labels(LABELS_OF_TARGET))
    return records


def study_effects(
    table: Table, target: str, size: str, conditional: Sequence[str] | None = None
) -> list[dict[str, Any]]:
    """`effects` of a target's study, for the VAE of each source that it has.

    `size` names the data: "full" or "embedded". Raises CourseError for an unknown target.
    """
    if target not in SOURCES:
        raise unknown_name_error("target", target, SOURCES)
    known = set(table.known("method"))
    _, *others = SOURCES[target]
    records = effects(table, f"{TITLES[target]}, {size}", MAIN_LABELS[target], "", conditional)
    for source in others:
        if name_with_source("VAE fine-tuned", source) in known:
            data = f"{source} → {TITLES[target]}, {size}"
            records += effects(table, data, MAIN_LABELS[target], source, conditional)
    return records


def recorded_effects(comparison: str) -> dict[str, dict[int, Record]]:
    """The recorded effects of a comparison, such as "accuracy/fine_tuned-scratch".

    They are by data, in the order of SOURCES, and then by number of labels; empty, with a line that
    says so, where nothing is recorded.
    """
    measure = comparison.partition("/")[0]
    found: dict[str, dict[int, Record]] = {}
    for record in recorded_by_measure("05", measure):
        id, _, labels = record["id"].rpartition("/")
        if id == f"05/{comparison}":
            data = record["data"].removesuffix(", full")
            found.setdefault(data, {})[int(labels)] = record
    order = [data for target in SOURCES for data in data_names(target)]
    return {data: dict(sorted(found[data].items())) for data in order if data in found}


def data_names(target: str) -> list[str]:
    """What the records of a target's study call its data, its own source first."""
    _, *others = SOURCES[target]
    return [TITLES[target], *(f"{source} → {TITLES[target]}" for source in others)]


class _StudyOfSource:
    """A study's table, seen with the VAE of one source."""

    def __init__(
        self, table: Table, data: str, source: str, conditional: Sequence[str] | None
    ) -> None:
        self.table = table
        self.data = data
        self.source = source
        self.conditional = conditional
        self.tuned = self.name("VAE fine-tuned")
        runs = table.frame[table.frame["method"] == self.tuned]
        self.counts = sorted(set(runs["labels"].tolist()))

    def name(self, method: str) -> str:
        return name_with_source(method, self.source)

    def has(self, *methods: str) -> bool:
        return set(methods) <= set(self.table.known("method"))

    def record(self, id: str, name: str, unit: str, effect: Effect) -> dict[str, Any]:
        conditional = self.conditional
        if conditional is not None:
            images = [condition for condition in effect.conditional if condition in IMAGES]
            conditional = [*images, *conditional]
        return effect.to_record(name, unit, id=f"05/{id}", data=self.data, conditional=conditional)

    def add_the_best(self) -> None:
        """Adds the best method with a VAE and the best without one, each chosen on validation."""
        groups = {"best with a VAE": WITH_A_VAE, "best without": WITHOUT}
        for best, candidates in groups.items():
            fitting = set(candidates) - set(OF_OWN_SOURCE if self.source else ())
            names = [self.name(method) for method in candidates if method in fitting]
            names = [method for method in names if self.has(method)]
            if len(names) > 1 and not self.has(self.name(best)):
                add_best(self.table, self.name(best), names)

    def accuracies(self) -> list[dict[str, Any]]:
        records = []
        for comparison in COMPARISONS:
            a, b = self.name(comparison.a), self.name(comparison.b)
            if not self.has(a, b) or (self.source and comparison.own_source_only):
                continue
            for count in self.counts:
                effect = paired(self.table, a, b, "test accuracy", count)
                name = f"test accuracy, {comparison.a} − {comparison.b}, {count} labels"
                records.append(self.record(f"{comparison.id}/{count}", name, "points", effect))
        return records

    def overfitting(self) -> list[dict[str, Any]]:
        """The loss on unseen images at equal training losses, of networks and of probes."""
        pairs = {
            "overfitting/scratch-fine_tuned": ("scratch", "VAE fine-tuned"),
            "overfitting/raw_pixels-probe_mu": ("raw pixels", "probe on μ"),
        }
        records = []
        for id, (other, of_vae) in pairs.items():
            if not self.has(other, self.name(of_vae)):
                continue
            for count in self.counts:
                effect = excess_loss(self.table, other, self.name(of_vae), count)
                name = f"loss on unseen images at equal training loss, {other} − {of_vae}"
                record = self.record(f"{id}/{count}", f"{name}, {count} labels", "nats", effect)
                records.append(record)
        return records

    def costs(self, labels: int) -> list[dict[str, Any]]:
        """What adaptation costs, and how many tasks repay the pretraining."""
        records = []
        for id, cost in COSTS.items():
            effect = adaptation_ratio(self.table, self.tuned, "scratch", cost, labels)
            name = f"{cost} to the lower of both bests, scratch ÷ VAE fine-tuned, {labels} labels"
            records.append(self.record(f"{id}/scratch-fine_tuned/{labels}", name, "times", effect))
        price = self.table.mean(self.tuned, "pretraining FLOPs", labels)
        repaid = tasks_that_repay(self.table, self.tuned, "scratch", "FLOPs", labels, price)
        if repaid:
            name = f"tasks of {labels} labels that repay the pretraining, in FLOPs"
            records.append(self.record(f"break_even/flops/{labels}", name, "tasks", repaid))
        return records

    def fewer_labels(self, labels: int) -> dict[str, Any]:
        """How many labels fewer than scratch the VAE needs for scratch's mean accuracy."""
        target = self.table.mean("scratch", "test accuracy", labels)
        effect = labels_ratio(self.table, self.tuned, "scratch", target)
        name = f"labels to scratch's accuracy at {labels} labels, scratch ÷ VAE fine-tuned"
        return self.record(f"labels/scratch-fine_tuned/{labels}", name, "times", effect)
