"""Recorded numbers, recomputed from the recorded tables by code that shares nothing with the
package's: two numbers of each file, drawn at random by the file's own content.
"""

from __future__ import annotations

import csv
import json
import math
import random
import re
import zlib
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

import vaetl_helpers
from vaetl_helpers import study as studies
from vaetl_helpers import vae_comparisons
from vaetl_helpers.authoring.assets import record_pretraining, record_rates
from vaetl_helpers.vae_transfer import TITLES

RECORDED = Path(vaetl_helpers.__file__).parent / "recorded"
STEMS = [
    path.stem
    for path in sorted(RECORDED.glob("05_*.npz"))
    if not re.search("_rates_|_pretraining_|_confirmed_", path.stem)
]
SOURCES = {"Fashion-MNIST → MNIST": "Fashion-MNIST", "MNIST → Fashion-MNIST": "MNIST"}
NAMES = {  # of methods, by the words of an id
    "fine_tuned": "VAE fine-tuned",
    "scratch": "scratch",
    "raw_pixels": "raw pixels",
    "svm_pixels": "SVM on pixels",
    "svm_mu": "SVM on μ",
    "supervised": "supervised",
    "random_encoder": "random encoder",
    "pca": "PCA",
    "probe_mu": "probe on μ",
    "self_training_mu": "self-training on μ",
    "self_training_pca": "self-training on PCA",
}
WITH = ("VAE fine-tuned", "probe on μ", "SVM on μ", "self-training on μ")
WITHOUT = (
    "scratch",
    "raw pixels",
    "PCA",
    "SVM on pixels",
    "random encoder",
    "self-training on PCA",
)


class Study:
    """A recorded table and its values, read anew."""

    def __init__(self, folder: Path, stem: str) -> None:
        self.numbers: dict[tuple[str, int, str], dict[int, float]] = defaultdict(dict)
        with (folder / f"{stem}.csv").open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                key = row["method"], int(row["labels"]), row["metric"]
                self.numbers[key][int(row["draw"])] = float(row["value"])
                self.data = row["data"]
        self.series: dict[tuple[str, int, str], dict[int, Any]] = {}
        if not (folder / f"{stem}.npz").exists():
            return  # recorded without values by image
        with np.load(folder / f"{stem}.npz") as file:
            for number, entry in enumerate(json.loads(str(file["list"]))):
                whole = file[str(number)]
                if entry["is_bits"]:
                    whole = 100.0 * np.unpackbits(whole)[: sum(entry["lengths"])]
                if entry["is_by_image"]:  # all draws of the first image, of the second, and so on
                    whole = whole.reshape(-1, len(entry["draws"])).T.flatten()
                ends = np.cumsum(entry["lengths"])
                by_draw = {}
                for draw, end, length in zip(entry["draws"], ends, entry["lengths"], strict=True):
                    by_draw[draw] = whole[end - length : end].astype(float)
                self.series[entry["method"], entry["labels"], entry["metric"]] = by_draw

    def counts(self) -> list[int]:
        return sorted({labels for _, labels, _ in self.numbers})

    def overlap(self, counts: list[int]) -> float:
        shared = []
        for (_, labels, metric), by_draw in self.numbers.items():
            if metric == "shared labels" and labels in counts:
                shared += by_draw.values()
        return float(np.mean(shared))


def interval(differences: Any, overlap: float) -> tuple[float, float, float]:
    """Mean and 95 % interval of [draws] or [draws, images], term by term."""
    d = np.array(differences, float)
    rows = d.mean(1) if d.ndim == 2 else d
    n = len(rows)
    of_draws = np.sum((rows - rows.mean()) ** 2) / (n - 1) * (1 / n + overlap / (1 - overlap))
    of_images, m = 0.0, 2
    if d.ndim == 2:
        m = d.shape[1]
        columns = d.mean(0)
        rest = d - rows[:, None] - columns[None] + d.mean()
        mean_square = np.sum(rest**2) / ((n - 1) * (m - 1))
        spread = np.sum((columns - columns.mean()) ** 2) / (m - 1)
        of_images = max(0.0, spread - mean_square / n) / m
    freedom = (of_draws + of_images) ** 2 / (of_draws**2 / (n - 1) + of_images**2 / (m - 1))
    half = stats.t.ppf(0.975, freedom) * math.sqrt(of_draws + of_images)
    return rows.mean(), rows.mean() - half, rows.mean() + half


def best_of(study: Study, names: list[str], labels: int) -> dict[int, str]:
    """In each draw the method that validation puts first."""
    scores = {n: study.numbers[n, labels, "validation accuracy"] for n in names}
    draws = set.intersection(*(set(s) for s in scores.values()))
    return {draw: max(names, key=lambda n: scores[n][draw]) for draw in sorted(draws)}


def loss_at(training: Any, unseen: Any, level: float) -> float:
    """The unseen loss where the training loss falls to a level for the first time."""
    lowest = math.inf
    points = []
    for t, u in zip(training, unseen, strict=True):
        if t < lowest:
            points.append((t, u))
            lowest = t
    for (t1, u1), (t2, u2) in zip(points, points[1:], strict=False):
        if t2 <= level <= t1:
            return u1 + (u2 - u1) * (t1 - level) / (t1 - t2)
    return points[0][1]


def excess(study: Study, a: str, b: str, labels: int) -> tuple[float, float, float]:
    """By how much `a` loses more than `b` on unseen images at equal training losses."""
    paths = []
    for method in (a, b):
        training = study.series[method, labels, "training losses"]
        paths.append((training, study.series[method, labels, "validation losses"]))
    (ta, ua), (tb, ub) = paths
    differences = []
    for draw in sorted(ta):
        top = min(ta[draw][0], tb[draw][0])
        bottom = min(top, max(min(ta[draw]), min(tb[draw])))
        levels = [top + (bottom - top) * i / 19 for i in range(20)]
        gaps = [loss_at(ta[draw], ua[draw], x) - loss_at(tb[draw], ub[draw], x) for x in levels]
        differences.append(np.mean(gaps))
    return interval(differences, study.overlap([labels]))


def recomputed(study: Study, record: dict[str, Any]) -> tuple[float, float, float] | None:
    """Value and interval of a record; None where it is of a kind that is left out here."""
    _, measure, compared, labels_text = record["id"].split("/")
    labels = int(labels_text)
    source = SOURCES.get(record["data"].partition(",")[0], "")
    first, _, second = compared.partition("-")

    def name(word: str) -> str:
        plain = NAMES[word]
        has_source = plain in ("VAE fine-tuned", "probe on μ", "supervised")
        return f"{plain} ({source})" if source and has_source else plain

    def method(plain: str) -> str:
        return f"{plain} ({source})" if source and plain in WITH[:2] else plain

    if measure == "accuracy":
        if first == "best_with":
            groups = []
            for group in (WITH, WITHOUT):
                # Of another source's VAE there are no SVM and no self-training, and PCA is not its.
                fair = [m for m in group if not (source and re.search("SVM|self|PCA", m))]
                known = [
                    m for m in map(method, fair) if (m, labels, "test accuracy") in study.series
                ]
                groups.append(best_of(study, known, labels))
            left, right = (
                {draw: study.series[m, labels, "test accuracy"][draw] for draw, m in g.items()}
                for g in groups
            )
        else:
            left, right = (study.series[name(w), labels, "test accuracy"] for w in (first, second))
        return interval([left[d] - right[d] for d in sorted(left)], study.overlap([labels]))
    if measure == "overfitting":
        return excess(study, name(first), name(second), labels)
    if measure in ("steps", "flops"):
        cost = {"steps": "steps by epoch", "flops": "FLOPs by epoch"}[measure]
        logs = []
        for draw in sorted(study.series[name(first), labels, "validation curve"]):
            curves = [
                study.series[name(w), labels, "validation curve"][draw] for w in (first, second)
            ]
            target = min(curve.max() for curve in curves)
            paid = []
            for w, curve in zip((first, second), curves, strict=True):
                epoch = next(i for i, x in enumerate(curve) if x >= target - 1e-3)
                paid.append(study.series[name(w), labels, cost][draw][epoch])
            logs.append(math.log(paid[0] / paid[1]))
        mean, low, high = interval(logs, study.overlap([labels]))
        return math.exp(mean), math.exp(low), math.exp(high)
    return None


def chosen(stem: str) -> list[dict[str, Any]]:
    """Two records of a study's file, by chance."""
    (path,) = RECORDED.glob(f"05_vae_transfer_learning_{stem.partition('_')[2]}.json")
    run = json.loads(path.read_text("utf-8"))
    kinds = ("accuracy", "overfitting", "steps", "flops")
    able = [r for r in run["records"] if r["id"].split("/")[1] in kinds]
    return random.Random(zlib.crc32(path.read_bytes())).sample(able, 2)


@pytest.mark.parametrize("stem", STEMS)
def test_two_recorded_numbers_come_out_again(stem: str) -> None:
    study = Study(RECORDED, stem)
    for record in chosen(stem):
        value, low, high = recomputed(study, record)
        assert record["value"] == pytest.approx(value, abs=1e-6, rel=1e-5), record["id"]
        ends = (record["low"], record["high"])
        assert ends == pytest.approx((low, high), abs=1e-5, rel=1e-4), record["id"]


@pytest.mark.parametrize("target", record_rates.LABELS)
def test_two_numbers_of_the_rates_come_out_again(target: str) -> None:
    study = Study(RECORDED, f"05_rates_{target}")
    path = RECORDED / "05_vae_transfer_learning_rates.json"
    records = json.loads(path.read_text("utf-8"))["records"]
    of_target = [r for r in records if r["data"] == TITLES[target]]
    in_nats = [r for r in of_target if r["unit"] == "nats"]
    for record in random.Random(zlib.crc32(path.read_bytes())).sample(in_nats, 2):
        _, _, methods = record["name"].partition("equal training loss, ")
        a, b = methods.rpartition(", ")[0].split(" − ")
        value, low, high = excess(study, a, b, int(record["id"].rpartition("/")[2]))
        found = (record["value"], record["low"], record["high"])
        assert found == pytest.approx((value, low, high), abs=1e-5, rel=1e-4), record["id"]
    made = record_rates.effects(studies.recorded_study("05", f"rates_{target}"), target)
    for record, known in zip(made, of_target, strict=True):
        assert numbers_of(record) == pytest.approx(numbers_of(known)), record["id"]


@pytest.mark.parametrize("name", ["pretraining", "confirmed"])
@pytest.mark.parametrize("target", record_pretraining.TARGETS)
def test_two_numbers_of_the_ways_of_pretraining_come_out_again(target: str, name: str) -> None:
    study = Study(RECORDED, f"05_{name}_{target}")
    path = RECORDED / f"05_vae_transfer_learning_{name}.json"
    every = json.loads(path.read_text("utf-8"))["records"]
    records = [r for r in every if r["data"] == record_pretraining.TARGETS[target]]
    for record in random.Random(zlib.crc32(path.read_bytes())).sample(records, 2):
        _, _, compared = record["name"].partition("test accuracy, ")
        methods, _, labels = compared.rpartition(", ")
        count = int(labels.split()[0])
        left, right = (
            study.series[method, count, "test accuracy"] for method in methods.split(" − ")
        )
        value, low, high = interval(
            [left[d] - right[d] for d in sorted(left)], study.overlap([count])
        )
        found = (record["value"], record["low"], record["high"])
        assert found == pytest.approx((value, low, high), abs=1e-5, rel=1e-4), record["id"]


FIELDS = ("value", "low", "high", "se")


def numbers_of(record: dict[str, Any]) -> dict[str, Any]:
    """The numbers of a record, with ends that are open as infinity."""
    return {name: math.inf if record[name] is None else record[name] for name in FIELDS}


@pytest.mark.parametrize("stem", STEMS)
def test_a_record_is_what_the_packages_own_rules_make_of_its_table(stem: str) -> None:
    """A rule that changes after a record was joined changes the record, too."""
    target = stem.partition("_")[2]
    path = RECORDED / f"05_vae_transfer_learning_{target}.json"
    kept = {(r["id"], r["data"]): r for r in json.loads(path.read_text("utf-8"))["records"]}
    made = vae_comparisons.study_effects(studies.recorded_study("05", target), target, "full")
    assert {(r["id"], r["data"]) for r in made} == set(kept)
    for record in made:
        known = kept[record["id"], record["data"]]
        assert numbers_of(record) == pytest.approx(numbers_of(known)), record["id"]
        assert record["conditional"] == known["conditional"], record["id"]


OTHERS = {  # table: its records, those of its study, and how many numbers of labels a class has
    "04_tops": ("04_transfer_learning_tops", "04/accuracy/", 2),
    "04_animals": ("04_transfer_learning_animals", "04/accuracy/", 2),
    "04_shirts": ("04_transfer_learning_shirts", "04/accuracy/", 2),
    "04_large": ("04_transfer_learning_large", "04/large/", 1),
    "04_averages": ("04_transfer_learning_averages", "04/averages_test_accuracy/", 1),
    "04b_labels_sentence-polarity": ("04b_text_with_bert_sentence-polarity", "04b/accuracy/", 2),
    "04b_labels_banking77": ("04b_text_with_bert_banking77", "04b/accuracy/", 77),
    "04b_tuning_sentence-polarity": ("04b_text_with_bert_sentence-polarity", "04b/accuracy/", 2),
    "04b_tuning_banking77": ("04b_text_with_bert_banking77", "04b/accuracy/", 77),
    "04c_detection": ("04c_detection_with_coco", "04c/ap50/", 1),
    "05b_m2": ("05b_vae_transfer_in_depth", "05b/unlabelled/", 0),
}
WORDS = {  # of an id: the method of the table
    "zero_labels": "zero labels",
    "scratch": "scratch",
    "fine_tuned": "fine-tuned",
    "linear_probe": "linear probe",
    "raw_pixels": "raw pixels",
    "lp_ft": "LP-FT",
    "last_block": "last block",
    "self_training": "self-training",
    "imagenet_probe": "ImageNet probe",
    "scratch_running_averages": "scratch, running averages",
    "scratch_statistics_renewed": "scratch, statistics renewed",
    "large_from_scratch": "large, from scratch",
    "large_fine_tuned": "large, fine-tuned",
    "large_probe": "large, probe",
    "large_probe_without_validation_images": "large, probe without validation images",
    "minilm": "frozen encoder",
    "tfidf": "TF-IDF",
    "random_encoder": "random encoder",
    "minilm_fine_tuned": "fine-tuned",
    "frozen": "frozen encoder",
    "backbone_frozen": "backbone frozen",
    "from_scratch": "from scratch",
    "from_scratch_4_the_steps": "from scratch, 4 × the steps",
    "all_layers_fine_tuned": "all layers fine-tuned",
}


def two_sides(study: Study, id: str, per_class: int) -> tuple[Any, Any, int] | None:
    """By draw what the two sides of a comparison reached, and the labels; None where the table
    holds another study.
    """
    _, _, compared, last = id.split("/")
    if not per_class:  # M2 with all unlabelled images against none
        method = {"m2": "M2", "m1_plus_m2": "M1+M2"}[compared]
        after, before = (
            study.numbers[method, 100, f"test accuracy {when}"]
            for when in ("at the end", "from the labels alone")
        )
        return after, before, 100
    labels = int(last.partition("_")[0]) * per_class
    metric = "test AP@50" if "ap50" in id else "test accuracy"
    sides = []
    for word in compared.split("-"):
        key = WORDS.get(word, ""), labels, metric
        of_side = study.series.get(key) or study.numbers.get(key)
        if not of_side:
            return None
        sides.append(of_side)
    return sides[0], sides[1], labels


@pytest.mark.parametrize("stem", OTHERS)
def test_numbers_of_the_other_chapters_come_out_again(stem: str) -> None:
    """Two of each file by chance, where it has more."""
    study = Study(RECORDED, stem)
    name, prefix, per_class = OTHERS[stem]
    path = RECORDED / f"{name}.json"
    able = []
    for record in json.loads(path.read_text("utf-8"))["records"]:
        has_interval = record.get("se") is not None
        of_data = record.get("data") in (None, study.data)
        of_table = record["id"].startswith(prefix) and has_interval and of_data
        sides = two_sides(study, record["id"], per_class) if of_table else None
        if sides and len(sides[0].keys() & sides[1].keys()) == record["n"]:
            able.append((record, sides))
    chosen = random.Random(zlib.crc32(path.read_bytes())).sample(able, min(2, len(able)))
    assert chosen
    for record, (left, right, labels) in chosen:
        by_draw = [left[draw] - right[draw] for draw in sorted(left.keys() & right.keys())]
        found = interval(by_draw, study.overlap([labels]))
        kept = (record["value"], record["low"], record["high"])
        assert kept == pytest.approx(found, abs=1e-4, rel=1e-4), record["id"]


METHODS_OF_4 = {
    "zero_labels": "zero labels",
    "scratch": "scratch",
    "fine_tuned": "fine-tuned",
    "linear_probe": "linear probe",
    "raw_pixels": "raw pixels",
}


def effect_of_chapter_4(table: Any, measure: str, compared: str, labels: int) -> Any:
    """What the package makes of chapter 4's table; None for another comparison."""
    first, _, second = (METHODS_OF_4.get(word, "") for word in compared.partition("-"))
    if not (first and second):
        return None
    if measure == "accuracy":
        return studies.paired(table, first, second, "test accuracy", labels)
    cost = {"steps": "steps", "flops": "FLOPs"}.get(measure)
    return cost and studies.adaptation_ratio(table, second, first, cost, labels)


@pytest.mark.parametrize("task", ["tops", "animals", "shirts"])
def test_a_record_of_chapter_4_comes_out_of_its_table(task: str) -> None:
    table = studies.recorded_study("04", task)
    path = RECORDED / f"04_transfer_learning_{task}.json"
    compared = 0
    for known in json.loads(path.read_text("utf-8"))["records"]:
        _, measure, *rest = known["id"].split("/")
        if known["data"] != task or len(rest) != 2 or not rest[1].endswith("_a_class"):
            continue
        per_class = int(rest[1].partition("_")[0])
        effect = effect_of_chapter_4(table, measure, rest[0], 2 * per_class)
        if effect is None:
            continue
        record = effect.to_record("", known["unit"], id=known["id"], data=task)
        assert numbers_of(record) == pytest.approx(numbers_of(known)), known["id"]
        assert record["conditional"] == known["conditional"], known["id"]
        compared += 1
    assert compared >= 20


def test_what_is_forgotten_comes_out_of_its_table() -> None:
    table = studies.recorded_study("04", "tops_forgetting")
    path = RECORDED / "04f_what_a_network_forgets_tops.json"
    names = {"none": "none", "rehearsal": "rehearsal", "l2_sp": "L2-SP"}
    compared = 0
    for known in json.loads(path.read_text("utf-8"))["records"]:
        _, measure, remedy, *_ = known["id"].split("/")
        if measure == "forgetting":
            pair = names[remedy], "untouched", "source accuracy"
        elif measure == "shifted":
            pair = "none", "linear probe", "shifted accuracy"
        else:
            metric = {"accuracy": "test accuracy", "source_accuracy": "source accuracy"}[measure]
            pair = names[remedy.partition("-")[0]], "none", metric
        effect = studies.paired(table, *pair, 200, over="seeds")
        record = effect.to_record("", known["unit"], id=known["id"], data="tops")
        assert numbers_of(record) == pytest.approx(numbers_of(known)), known["id"]
        compared += 1
    assert compared == 8


@pytest.mark.parametrize(
    ("stem", "pattern", "condition"),
    [
        ("04b_text_with_bert_sentence-polarity", "04b/accuracy/", "this pretrained model"),
        ("05b_vae_transfer_in_depth", "05b/test_error/m1_plus_m2/", "this pretrained model"),
        ("05b_vae_transfer_in_depth_parts", "05b/test_bound/", "these 3 pretrained models"),
        ("04c_detection_with_coco", "04c/ap50/backbone_frozen-from_scratch/", "this pretrained"),
        # One source model alone, although those of chapter 4's main study take turns.
        ("04_transfer_learning_tops", "04/forgetting/", "this pretrained model"),
        ("04_transfer_learning_tops", "04/layers_gain/a", "this pretrained model"),
        ("04_transfer_learning_animals", "04/source_accuracy/", "this pretrained model"),
        ("04_transfer_learning_animals", "04/accuracy/imagenet-", "this pretrained model"),
    ],
)
def test_intervals_that_share_a_model_say_so(stem: str, pattern: str, condition: str) -> None:
    run = json.loads((RECORDED / f"{stem}.json").read_text("utf-8"))
    found = [r for r in run["records"] if r["id"].startswith(pattern)]
    assert found
    for record in found:
        assert any(said.startswith(condition) for said in record["conditional"]), record["id"]
