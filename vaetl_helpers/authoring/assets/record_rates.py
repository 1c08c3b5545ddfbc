"""Records whether it is the start or the learning rate that overfits less, or takes fewer steps.

    python -m vaetl_helpers.authoring.assets.record_rates --root DATA --out runs/rates

In chapter 5's studies a network from scratch and a fine-tuned VAE each have the learning rate that
was best for them, and the two often differ. Here both are trained at both rates, for the same pairs
of a fresh VAE and fresh labels, with seeds that no other study has. The study goes on after a kill.
The tables and their values by epoch are kept as recorded/05_rates_TARGET.csv and .npz, the effects
as recorded/05_vae_transfer_learning_rates.json.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from functools import partial
from math import inf
from pathlib import Path
from typing import Any

import torch

from vaetl_helpers import study, vae_transfer
from vaetl_helpers.authoring.assets.facts import RECORDED, origin
from vaetl_helpers.authoring.record_study import Plan, pretrained_of
from vaetl_helpers.output import say, write_whole
from vaetl_helpers.study.costs import adaptation_ratio
from vaetl_helpers.study.overfitting import excess_loss
from vaetl_helpers.study.runs import Shard
from vaetl_helpers.study.values import ENDING, write_values
from vaetl_helpers.tuned import tuned_settings

PAIRS, FIRST_SEED = 20, 20270201
LABELS = {"digits": (20, 50, 500), "fashion": (20, 500), "tops": (20, 50)}  # where they differ
STARTS = ("scratch", "VAE fine-tuned")
RATES = {"scratch's rate": "scratch", "the VAE's rate": "pretrained"}  # how each was tuned


def name_of(start: str, rate: str) -> str:
    """What a method is called."""
    return f"{start}, {rate}"


def run(
    target: str, counts: Sequence[int], plan: Plan, out: Path, root: Path | None = None
) -> study.Table:
    """Both starts at both rates, for `plan.draws` pairs of a VAE and labels."""
    images = vae_transfer.load_target(target, plan.full, root)
    own = vae_transfer.SOURCES[target][0]
    source = vae_transfer.load_source(own, plan.full, root)
    encoders = pretrained_of(own, source, Shard(1, 1), plan, out / "pretrained")
    starts = {
        "scratch": partial(vae_transfer.by_labels, vae_transfer.scratch, (images,)),
        "VAE fine-tuned": partial(
            vae_transfer.by_labels, vae_transfer.fine_tuned, (images, encoders)
        ),
    }
    methods = []
    for start, train in starts.items():
        for rate, kind in RATES.items():
            settings = tuned_settings(target, kind)
            told = {str(count): list(settings[count]) for count in counts}
            method = partial(train, settings=settings)
            methods.append(study.Method(name_of(start, rate), method, told, batched=True))
    return study.run_study(
        f"rates: {target}",
        methods,
        counts,
        plan.draws,
        labels=images.train.labels,
        data=target,
        seed=plan.seed,
        pretrain_seeds=plan.pretrain_seeds(),
        out=out / f"05_rates_{target}.csv",
        jobs=1,
        block=plan.block,
    )


def effects(table: study.Table, target: str) -> list[dict[str, Any]]:
    """Of both starts at each rate, and of both rates with each start: which overfits less.

    The first is scratch − VAE, the second the higher rate − the lower one, so that above 0 the VAE,
    or the lower rate, loses less on unseen images. Beside them, of both starts at each rate, how
    many times as many steps scratch takes to an accuracy that both reach, and how many points the
    VAE is ahead in test accuracy.
    """
    records = []
    data = vae_transfer.TITLES[target]
    for count in table.known("labels"):
        by_kind = {rate: tuned_settings(target, kind)[count].rate for rate, kind in RATES.items()}
        low, high = sorted(by_kind, key=lambda rate: by_kind[rate])
        asked = {
            f"start/{'low' if rate == low else 'high'}_rate": [name_of(s, rate) for s in STARTS]
            for rate in RATES
        }
        asked |= {
            f"rate/{id}": [name_of(start, high), name_of(start, low)]
            for id, start in zip(("scratch", "fine_tuned"), STARTS, strict=True)
        }
        for id, (a, b) in asked.items():
            effect = excess_loss(table, a, b, count)
            name = f"loss on unseen images at equal training loss, {a} − {b}, {count} labels"
            record = effect.to_record(name, "nats", id=f"05/rates/{id}/{count}", data=data)
            records.append({"chapter": "05", **record})
        for rate in RATES:
            scratch, tuned = (name_of(start, rate) for start in STARTS)
            kind = f"{'low' if rate == low else 'high'}_rate/{count}"
            effect = adaptation_ratio(table, tuned, scratch, "steps", count)
            name = f"steps to the lower of both bests, {scratch} ÷ {tuned}, {count} labels"
            record = effect.to_record(name, "times", id=f"05/rates/steps/{kind}", data=data)
            records.append({"chapter": "05", **record})
            effect = study.paired(table, tuned, scratch, "test accuracy", count)
            name = f"test accuracy, {tuned} − {scratch}, {count} labels"
            record = effect.to_record(name, "points", id=f"05/rates/accuracy/{kind}", data=data)
            records.append({"chapter": "05", **record})
    return records


def main() -> None:
    """Runs the studies and keeps them."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("--pairs", type=int, default=PAIRS)
    parser.add_argument("--root", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs/rates"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    plan = Plan(draws=options.pairs, seed=FIRST_SEED)
    records = []
    for target, counts in LABELS.items():
        table = run(target, counts, plan, options.out, options.root)
        table.write(RECORDED / f"05_rates_{target}.csv")
        write_values(RECORDED / f"05_rates_{target}{ENDING}", table.images)
        records += effects(table, target)
    for one in records:
        interval = f"[{one['low'] or 0:.3f}, {one['high'] or inf:.3f}]"
        say(f"{one['data']}: {one['name']}: {one['value']:.3f} {interval}")
    content = origin("record_rates", ["--pairs", str(options.pairs)], "two x86-64 cores")
    content["records"] = records
    path = RECORDED / "05_vae_transfer_learning_rates.json"
    write_whole(path, json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
