"""Studies of chapter 5 in which there is nothing to find: a method against itself.

    python -m vaetl_helpers.authoring.assets.record_null --studies 200 --jobs 2 --out runs/null

Both sides are networks from scratch on the same label draws; only their starts and the order of
their images differ. So every effect is 0, and of the verdicts "supported" and "contradicted" each
should come up in 2.5 % of the studies. A study's verdicts are kept in the folder as soon as it is
done, and the same call goes on after a kill. All verdicts are kept in recorded/05_null.csv, and
their shares, with 95 % intervals, in recorded/05_vae_transfer_learning_null.json.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
from joblib import Parallel, delayed
from scipy import stats
from tqdm.auto import tqdm

from vaetl_helpers import study, vae_transfer
from vaetl_helpers.authoring.assets.facts import RECORDED, origin
from vaetl_helpers.data.images import Splits
from vaetl_helpers.output import record, record_id, say, write_whole
from vaetl_helpers.seeds import HIGHEST_SEED
from vaetl_helpers.study.draws import Draw
from vaetl_helpers.study.effects import Effect
from vaetl_helpers.tuned import Settings, setting_for, tuned_settings

LABELS = {"digits": 100, "fashion": 50, "tops": 20}
# What a study needs beside these for "labels to the accuracy at 100"; it takes longest, so not all.
MORE_LABELS = {"digits": (50, 500), "fashion": (), "tops": ()}
DRAWS = 10
FIRST_SEED = 700_000  # of the label draws, which no other study of the course has
CLAIMS = ("supported", "contradicted")
OTHER_SIDE = 1_000_003  # what the seeds of the second side are further on
Measure = Callable[[study.Table, int], Effect]
MEASURES: dict[str, Measure] = {
    "test accuracy": lambda table, labels: study.paired(table, "a", "b", "test accuracy", labels),
    "loss on unseen images at equal training loss": lambda table, labels: study.excess_loss(
        table, "a", "b", labels
    ),
    "steps to the lower of both bests": lambda table, labels: study.adaptation_ratio(
        table, "a", "b", "steps", labels
    ),
}


def labels_to_the_other(table: study.Table, labels: int) -> Effect:
    """Labels to the mean accuracy of the second side, as chapter 5 counts them."""
    target = table.mean("b", "test accuracy", labels)
    return study.labels_ratio(table, "a", "b", target)


def other_side(draw: Draw) -> Draw:
    """The same labels with another start and another order."""
    return replace(draw, seed=(draw.seed + OTHER_SIDE) % (HIGHEST_SEED + 1))


def measures_of(name: str) -> dict[str, Measure]:
    """The measures that a target's studies are judged by, by name."""
    if MORE_LABELS[name]:
        return MEASURES | {"labels to the accuracy at 100": labels_to_the_other}
    return MEASURES


def null_study(target: Splits, counts: Sequence[int], settings: Settings, seed: int) -> study.Table:
    """A study of two methods, "a" and "b", which are the same one."""

    def run(draws: Sequence[Draw]) -> list[dict[str, Any]]:
        setting = setting_for(settings, draws[0].labels)
        return vae_transfer.scratch(target, draws, rate=setting.rate, steps=setting.steps)

    methods = [
        study.Method("a", run, batched=True),
        study.Method("b", lambda draws: run([other_side(draw) for draw in draws]), batched=True),
    ]
    return study.run_study(
        "null", methods, counts, DRAWS, labels=target.train.labels, seed=seed, quiet=True
    )


def verdicts_of(name: str, seed: int) -> dict[str, str]:
    """What each measure says of one study, with a margin of 0."""
    labels = LABELS[name]
    target = vae_transfer.load_target(name)
    counts = sorted({labels, *MORE_LABELS[name]})
    table = null_study(target, counts, tuned_settings(name, "scratch"), seed)
    return {
        measure: study.verdict(effect_of(table, labels), delta=0)
        for measure, effect_of in measures_of(name).items()
    }


def share(name: str, measure: str, words: Sequence[str], counts: Counter[str]) -> dict[str, Any]:
    """The share of studies with one of these verdicts, in per cent, with its Wilson interval."""
    studies = counts.total()
    claimed = sum(counts[word] for word in words)
    interval = stats.binomtest(claimed, studies).proportion_ci(method="wilson")
    return record(
        f"{measure}, {' or '.join(words)}, {LABELS[name]} labels",
        100 * claimed / studies,
        "% of the studies",
        id=record_id("05", "null", measure, " or ".join(words), str(LABELS[name])),
        low=100 * float(interval.low),
        high=100 * float(interval.high),
        n=studies,
        data=name,
    )


def kept_verdicts(path: Path) -> dict[int, dict[str, str]]:
    """What a folder has of a target's studies: the verdicts by seed."""
    if not path.exists():
        return {}
    return {int(seed): verdicts for seed, verdicts in json.loads(path.read_text("utf-8")).items()}


def all_verdicts(name: str, studies: int, jobs: int, out: Path) -> pd.DataFrame:
    """The verdicts of each study, a row each; those that the folder lacks are run first."""
    path = out / f"{name}.json"
    kept = kept_verdicts(path)
    seeds = range(FIRST_SEED, FIRST_SEED + studies)
    missing = [seed for seed in seeds if seed not in kept]

    def seed_and_verdicts(seed: int) -> tuple[int, dict[str, str]]:
        return seed, verdicts_of(name, seed)

    calls = (delayed(seed_and_verdicts)(seed) for seed in missing)
    outcomes = Parallel(jobs, return_as="generator_unordered")(calls)
    out.mkdir(parents=True, exist_ok=True)
    for seed, verdicts in tqdm(outcomes, name, len(missing)):
        kept[seed] = verdicts
        write_whole(path, json.dumps(kept))
    return pd.DataFrame([{"data": name, "seed": seed} | kept[seed] for seed in seeds])


def shares(verdicts: pd.DataFrame) -> list[dict[str, Any]]:
    """Records of the false claims of each measure on one target."""
    name = str(verdicts["data"].iloc[0])
    records = []
    for measure in measures_of(name):
        counted = Counter(verdicts[measure])
        for words in (CLAIMS[:1], CLAIMS[1:], CLAIMS):
            records.append(share(name, measure, words, counted))
    return records


def main() -> None:
    """Runs the studies and writes what they claimed."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("targets", nargs="*", default=list(LABELS))
    parser.add_argument("--studies", type=int, default=200)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("runs/null"))
    options = parser.parse_args()
    tables = [
        all_verdicts(name, options.studies, options.jobs, options.out) for name in options.targets
    ]
    records = [one for table in tables for one in shares(table)]
    for one in records:
        interval = f"[{one['low']:.1f}, {one['high']:.1f}]"
        say(f"{one['data']}: {one['name']}: {one['value']:.1f} {interval}")
    command = [*options.targets, "--studies", str(options.studies)]
    content = origin("record_null", command, "two x86-64 cores")
    content["records"] = records
    write_whole(RECORDED / "05_null.csv", pd.concat(tables).to_csv(index=False))
    write_whole(
        RECORDED / "05_vae_transfer_learning_null.json", json.dumps(content, indent=1) + "\n"
    )


if __name__ == "__main__":
    main()
