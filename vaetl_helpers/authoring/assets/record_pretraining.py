"""Records which pretraining helps, everything else being the same: chapter 5's recorded night.

    python -m vaetl_helpers.authoring.assets.record_pretraining explored --root DATA
    python -m vaetl_helpers.authoring.assets.record_pretraining confirmed --root DATA

One convolutional encoder is trained on the source's cats and dogs in six ways, or not at all, and
then tells dogs or wolves from foxes with few labels: fine-tuned, by a linear probe and by an SVM on
its codes. A probe and an SVM on the features of a network that was trained on ImageNet stand beside
them. All ways see as many images, in batches of one size, with one optimiser and schedule. Every
pair of seeds has encoders of its own. What is finished is kept in the folder, and the same call
goes on, also with more `--pairs`. The first call looked at everything. From what it showed,
`pretraining.ASKED` names two questions, and the second call answers them with seeds that no run had
before.

The tables are kept as recorded/05_NAME_TARGET.csv and .npz, the effects as
recorded/05_vae_transfer_learning_NAME.json; NAME is `pretraining` or `confirmed`.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vaetl_helpers import study, transfer, vae_transfer
from vaetl_helpers.authoring.assets.facts import RECORDED, origin
from vaetl_helpers.data import tasks
from vaetl_helpers.data.images import ImageSet, Splits
from vaetl_helpers.output import record_id, say, write_whole
from vaetl_helpers.pretraining import TARGETS, UNTRAINED, USES, VIEWS, WAYS, methods, pretrained
from vaetl_helpers.study.draws import Draw
from vaetl_helpers.study.values import ENDING, write_values


class Plan(NamedTuple):
    """What is pretrained and compared, and with which seeds; `labels` are of both classes."""

    name: str
    ways: Sequence[str]
    labels: Sequence[int]
    pairs: int
    first_seed: int


EXPLORED = Plan("pretraining", (UNTRAINED, *WAYS), (10, 20, 100, 200), 10, 640_000)
# The autoencoder shows what being a VAE adds, the source's labels how much there is to teach.
CONFIRMED = Plan(
    "confirmed", (UNTRAINED, "VAE, β = 1", "autoencoder", "supervised"), (20, 100), 30, 650_000
)
PLANS = {"explored": EXPLORED, "confirmed": CONFIRMED}


def fixed_features(
    target: Splits, of_set: dict[str, Tensor], images: ImageSet, draw: Draw
) -> Tensor:
    """Features that were computed before, as `vae_transfer.probe` asks for them."""
    if images is target.validation:
        return of_set["validation"]
    if images is target.test:
        return of_set["test"]
    return of_set["train"][draw.indices]


def imagenet_features(target: Splits) -> dict[str, Tensor]:
    """What a network that was trained on ImageNet makes of a target's images."""
    large = transfer.backbone("efficientnet-lite0")
    sets = {"train": target.train, "validation": target.validation, "test": target.test}
    return {name: transfer.features(large, images) for name, images in sets.items()}


def target_of(name: str, root: Path | None) -> Splits:
    """A task's sets as a study takes them."""
    task = tasks.load_task(name, root)
    return Splits(task.pool, task.validation, task.test, task.source)


def run(
    plan: Plan, names: Sequence[str], root: Path | None, out: Path, views: int = VIEWS
) -> dict[str, study.Table]:
    """Pretrains for each pair of seeds, then runs the studies of the targets."""
    source = tasks.source_data("animals", root).train
    seeds = [plan.first_seed + number for number in range(plan.pairs)]
    encoders: dict[str, vae_transfer.InitialEncoders] = {}
    started = time.monotonic()
    for number, way in enumerate(plan.ways):
        encoders[way] = {
            seed: pretrained(way, source, seed, views, kept=out / "encoders") for seed in seeds
        }
        minutes = (time.monotonic() - started) / 60
        left = minutes / max(number, 1) * (len(plan.ways) - 1 - number)
        say(f"{way}: {plan.pairs} encoders, {minutes:.1f} min so far, about {left:.0f} to go")
    tables = {}
    for name in names:
        target = target_of(name, root)
        features = {"ImageNet": partial(fixed_features, target, imagenet_features(target))}
        tables[name] = study.run_study(
            f"{plan.name}: {name}",
            methods(target, encoders, features),
            plan.labels,
            plan.pairs,
            labels=target.train.labels,
            data=name,
            seed=plan.first_seed,
            pretrain_seeds=seeds,
            out=out / f"05_{plan.name}_{name}.csv",
            jobs=1,
        )
    return tables


def effects(plan: Plan, table: study.Table, name: str) -> list[dict[str, Any]]:
    """By how many points each way is ahead of no pretraining in each use, the VAE of the
    autoencoder, and ImageNet's probe and the VAE's SVM of what the source's labels teach.
    """
    trained = [way for way in plan.ways if way != UNTRAINED]
    pairs = [(f"{way}, {use}", f"{UNTRAINED}, {use}") for use in USES for way in trained]
    pairs += [(f"VAE, β = 1, {use}", f"autoencoder, {use}") for use in USES]
    for one in ("ImageNet, probe", "VAE, β = 1, SVM"):
        pairs.append((one, "supervised, fine-tuned"))
    records = []
    for count in table.known("labels"):
        for a, b in pairs:
            effect = study.paired(table, a, b, "test accuracy", count)
            id = record_id("05", plan.name, (a, b), f"{count} labels")
            title = f"test accuracy, {a} − {b}, {count} labels"
            record = effect.to_record(title, "points", id=id, data=TARGETS[name])
            records.append({"chapter": "05", **record})
    return records


def keep(plan: Plan, tables: dict[str, study.Table], command: Sequence[str], **notes: str) -> None:
    """Writes the tables with their values, and the effects; `notes` say what else is known."""
    records = []
    for name, table in tables.items():
        table.write(RECORDED / f"05_{plan.name}_{name}.csv")
        write_values(RECORDED / f"05_{plan.name}_{name}{ENDING}", table.images)
        records += effects(plan, table, name)
    content = origin("record_pretraining", command, "two x86-64 cores") | notes
    content["records"] = records
    path = RECORDED / f"05_vae_transfer_learning_{plan.name}.json"
    write_whole(path, json.dumps(content, indent=1) + "\n")


def main() -> None:
    """Runs the studies and keeps their tables."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("plan", choices=list(PLANS))
    parser.add_argument("targets", nargs="*", default=list(TARGETS))
    parser.add_argument("--pairs", type=int, help="other than the plan's")
    parser.add_argument("--root", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs/pretraining"))
    options = parser.parse_args()
    plan = PLANS[options.plan]
    plan = plan._replace(pairs=options.pairs or plan.pairs)
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    tables = run(plan, options.targets, options.root, options.out)
    if set(options.targets) == set(TARGETS):  # else they would lack the other's records
        keep(plan, tables, [options.plan, *options.targets, "--pairs", str(plan.pairs)])
    for name, table in tables.items():
        for method in table.known("method"):
            means = (f"{table.mean(method, 'test accuracy', n):.1f}" for n in plan.labels)
            say(f"{name}: {method}: {', '.join(means)} %")


if __name__ == "__main__":
    main()
