"""Gives the recorded runs their ids, once.

    python -m vaetl_helpers.authoring.convert_records

Until then a record was found by its display name, had no standard error, and told in the name of
its data what its interval is conditional on. This was run once on recorded/*.json; a file that it
has converted says so and is left alone. Each record gets

- `id`, from its chapter and name by the patterns below;
- `data` without notes, and `conditional`;
- `se` and `df` if it is an effect with an interval: from the study's table in recorded/ where that
  gives the same effect and interval, otherwise, where values by test image entered the interval and
  are not in the table, from the interval itself (`"se_from": "interval"`). The standard error is
  then that of the end towards the null with n - 1 degrees of freedom, which are at most those that
  the interval was made with: a p value below 0.05 is never smaller than the effect's own.

An end of a ratio that was written as 0 is open, so None. Chapter 5 has been recorded anew since,
with ids.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scipy import stats

from vaetl_helpers import study
from vaetl_helpers.authoring.assets.facts import RECORDED
from vaetl_helpers.errors import CourseError
from vaetl_helpers.output import TEST_IMAGES, record_id, say
from vaetl_helpers.study.effects import Effect

NAME = "vaetl_helpers/authoring/convert_records.py"
Record = dict[str, Any]

EXACT = {
    "cnn_test_accuracy": "01/test_accuracy/cnn",
    "cnn_training_seconds": "01/training_seconds/cnn",
    "cnn_training_flops": "01/training_flops/cnn",
    "years_for_resnet50": "01/years/resnet50",
    "years_for_gpt3": "01/years/gpt3",
    "peak_gflops": "02/peak_gflops",
    "bandwidth": "02/bandwidth",
    "share_of_peak": "02/share_of_peak",
    "accuracy of bf16 minus float32": "02/accuracy/bf16-float32",
    "mnist_test_elbo": "03/test_elbo/mnist",
    "fashion_test_elbo": "03/test_elbo/fashion",
    "entropy_of_grey_digits": "03/entropy/grey_digits",
    "entropy_of_grey_clothes": "03/entropy/grey_clothes",
    "variance_ratio_score_over_path": "03b/variance_ratio/score-path",
    "variance_ratio_baseline_over_path": "03b/variance_ratio/baseline-path",
    "best_beta_for_the_bound": "03b/best_beta/bound",
    "loaded_vae_nll": "03b/nll/loaded_vae",
    "seconds for 1000 sentences": "04b/seconds/1000_sentences",
    "seconds for twice the images": "05/seconds/twice_the_images",
    "test accuracy, one stage − two stages, 100 labels": "05b/accuracy/one_stage-two_stages/100",
}


# By chapter: a pattern of the whole name, and the parts of the id from the pattern's groups.
PATTERNS: dict[str, dict[str, Callable[[re.Match[str]], str]]] = {
    "01": {r"slope_(\w+)": lambda m: record_id("01", "slope", m[1])},
    "02": {
        r"speedup of (.+), (width \d+), (batch \d+)": lambda m: record_id(
            "02", "speedup", m[1], m[2], m[3]
        ),
        r"(VAE|CNN): (.+)": lambda m: record_id("02", "levers", m[1], m[2]),
    },
    "03b": {r"bound gain of: (.+)": lambda m: record_id("03b", "bound gain", m[1])},
    "04": {
        r"tuning: (.+), rate (.+)": lambda m: record_id("04", "tuning", m[1], m[2]),
        r"forgetting, remedy (.+), (\d+ a class)": lambda m: record_id(
            "04", "forgetting", m[1], m[2]
        ),
        r"(.+) − (.+), source accuracy, (\d+ a class)": lambda m: record_id(
            "04", "source accuracy", (m[1], m[2]), m[3]
        ),
        r"(.+) − (.+?)(?:, test accuracy)?, (\d+ a class)": lambda m: record_id(
            "04", "accuracy", (m[1], m[2]), m[3]
        ),
        r"labels saved by (.+)": lambda m: record_id("04", "labels", ("scratch", m[1])),
        r"(\w+) saved by (.+), (\d+ a class)": lambda m: record_id(
            "04", m[1], ("scratch", m[2]), m[3]
        ),
        r"break-even in (\w+), (\d+ a class)": lambda m: record_id("04", "break even", m[1], m[2]),
        r"test accuracy of (.+)": lambda m: record_id("04", "layers", m[1]),
        r"ants and bees, (.+)": lambda m: record_id("04", "ants bees", m[1]),
    },
    "04b": {
        r"(.+) − (.+) on the word 'the', (\d+ a class)": lambda m: record_id(
            "04b", "accuracy on the", (m[1], m[2]), m[3]
        ),
        r"(.+) − (.+), (\d+ a class)": lambda m: record_id("04b", "accuracy", (m[1], m[2]), m[3]),
    },
    "04c": {
        r"tuning: (.+), rate (.+)": lambda m: record_id("04c", "tuning", m[1], m[2]),
        r"(.+) − (.+), (\d+ scenes)": lambda m: record_id("04c", "ap50", (m[1], m[2]), m[3]),
        r"(.+), (\d+ scenes)": lambda m: record_id("04c", "ap50", m[1], m[2]),
    },
    "05b": {
        r"(.+) at the β (.+) − at the β (.+)": lambda m: record_id(
            "05b", f"{m[1]} at best β", (m[2], m[3])
        ),
        r"best β for (.+)": lambda m: record_id("05b", "best β", m[1]),
        r"(validation .+) at (β = .+)": lambda m: record_id("05b", m[1], m[2]),
        r"test bound, (.+) − (.+), (\d+ steps)": lambda m: record_id(
            "05b", "test bound", (m[1], m[2]), m[3]
        ),
        r"test error, (.+), 100 labels, (.+)": lambda m: record_id("05b", "test error", m[1], m[2]),
    },
}
NOTES = re.compile(
    r"(^|, )"
    r"(some censored|at least: .*|at most: .*|unknown: .*|for these test .*|conditional on .*)$"
)
EFFECT_UNITS = ("points", "points of AP@50", "nats", "times", "tasks")
MEANS = ("01", "02")  # chapters whose intervals are those of single means


def converted(record: Mapping[str, Any]) -> Record:
    """The record with an id, without notes in the name of its data, and with a standard error."""
    chapter, name, data = record["chapter"], record["name"], record.get("data")
    notes = data or ""
    if data is not None:
        data = NOTES.sub("", data) or None
    conditional = re.findall(r"conditional on ([^;,]+)", notes)
    if f"for {TEST_IMAGES}" in notes:
        conditional.insert(0, TEST_IMAGES)
    new: Record = {"chapter": chapter, "id": id_of(chapter, name)}
    new |= {key: record.get(key) for key in ("name", "value", "unit", "low", "high", "n")}
    if new["unit"] == "times":
        new |= {end: new[end] or None for end in ("low", "high")}
    new |= {"se": None, "df": None, "conditional": conditional, "data": data}
    effect = Effect.from_record(new)
    if effect and new["unit"] in EFFECT_UNITS and chapter not in MEANS:
        new |= _standard_error(new, effect)
    return new


def id_of(chapter: str, name: str) -> str:
    """The id of a record with this display name; CourseError where no pattern has it."""
    if name in EXACT:
        return EXACT[name]
    for pattern, make in PATTERNS.get(chapter, {}).items():
        match = re.fullmatch(pattern, name)
        if match:
            return make(match)
    raise CourseError(f"Chapter {chapter}: no pattern has the record '{name}': add one.")


def _standard_error(record: Record, effect: Effect) -> Record:
    again = _from_table(record)
    if again and _agree(again, effect):
        return {"se": again.se, "df": again.df}
    return {"se": _inverted(effect), "df": float(effect.n - 1), "se_from": "interval"}


def _inverted(effect: Effect) -> float:
    """The standard error of the interval's end towards the null, or of the one that is bounded."""
    ends = [effect.effect - effect.low, effect.high - effect.effect]
    if effect.effect <= 0:
        ends.reverse()
    half = ends[0] if math.isfinite(ends[0]) else ends[1]
    return half / float(stats.t.ppf(0.975, effect.n - 1))


def _agree(a: Effect, b: Effect) -> bool:
    if a.n != b.n:
        return False
    pairs = ((a.effect, b.effect), (a.low, b.low), (a.high, b.high))
    return all(math.isclose(x, y, rel_tol=1e-9, abs_tol=1e-9) for x, y in pairs)


@dataclass(frozen=True)
class Study:
    """A recorded table."""

    chapter: str
    table: str


STUDIES = {
    "tops": Study("04", "tops"),
    "animals": Study("04", "animals"),
}


def _from_table(record: Record) -> Effect | None:
    """The effect from the study's table; None where its metrics are not in there."""
    try:
        if record["chapter"] == "04c":
            return _average_precision(record["name"])
        origin = STUDIES.get(record["data"])
        if origin and origin.chapter == record["chapter"]:
            return _of_study(record, origin)
    except CourseError:  # a metric or a method that the table does not have
        pass
    return None


def _of_study(record: Record, origin: Study) -> Effect | None:
    table = study.recorded_table(origin.chapter, origin.table)
    if record["id"].split("/")[1] == "labels":
        method = record["name"].removeprefix("labels saved by ")
        target = table.mean("scratch", "test accuracy", max(table.known("labels")))
        return study.labels_ratio(table, method, "scratch", target)
    match = re.fullmatch(r"(?:test accuracy, )?(.+) − (.+), (\d+) (labels|a class)", record["name"])
    if not match:
        return None
    labels = int(match[3])
    if match[4] == "a class":
        labels *= 2
    return study.paired(table, match[1], match[2], "test accuracy", labels)


def _average_precision(name: str) -> Effect | None:
    """Chapter 4c's differences; the longer trainings have the first draws only."""
    match = re.fullmatch(r"(.+) − (.+), (\d+) scenes", name)
    if not match:
        return None
    table = study.recorded_table("04c", "detection")
    a, b, count = match[1], match[2], int(match[3])
    draws_of_a = table.values(a, "test AP@50", count)
    draws_of_b = table.values(b, "test AP@50", count)
    draws = draws_of_a.keys() & draws_of_b.keys()
    few = study.Table(table.frame[table.frame["draw"].isin(draws)])
    return study.paired(few, a, b, "test AP@50", count)


def main(folder: Path = RECORDED) -> None:
    """Converts the recorded runs in this folder, but for those that it has converted."""
    for path in sorted(folder.glob("*.json")):
        run = json.loads(path.read_text("utf-8"))
        has_ids = all("id" in record for record in run["records"])
        if "converted" in run or has_ids:
            continue
        records = [converted(record) for record in run.pop("records")]
        content = run | {"converted": NAME, "records": records}
        path.write_text(json.dumps(content, indent=1) + "\n", "utf-8")
        effects = sum(record["se"] is not None for record in records)
        inverted = sum("se_from" in record for record in records)
        say(f"{path.name}: {len(records)} records, {effects - inverted} exact effects,")
        say(f"  {inverted} from the interval")


if __name__ == "__main__":
    main()
