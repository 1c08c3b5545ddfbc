"""Chooses learning rates and budgets of steps for chapter 5's networks, before a run is recorded.

    python -m vaetl_helpers.authoring.assets.tune digits mnist fashion tops animals

For each target and number of labels it trains networks from scratch and from a VAE on a grid of
rates and budgets of steps, on ten draws that no study has, with VAEs of their own. Where the best
rate lies at an edge of the grid, the grid grows there; a larger budget is tried as long as it is
better, up to 1,800 steps.

The learning rate follows its schedule over the whole budget of steps, so that a larger budget makes
every accuracy come later. So that steps can be compared, both kinds get the same budget: the
smallest at which each is within half a point of the best of its grid on validation. Then each kind
has the highest rate that is within half a point of its best with this budget, since accuracy cannot
tell these rates apart and the higher one needs fewer steps. The choices go to tuned.yaml, and the
whole grid beside the recorded results.
"""

from __future__ import annotations

import argparse
import csv
import io
import itertools
import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from vaetl_helpers import study, vae_transfer
from vaetl_helpers.authoring.assets.facts import RECORDED, origin
from vaetl_helpers.data.images import Splits
from vaetl_helpers.output import say, write_whole
from vaetl_helpers.study.draws import Draw
from vaetl_helpers.tuned import FILE, KINDS, Setting

RATES = (1e-3, 3e-3, 1e-2, 3e-2)
STEPS = (200, 600, 1800)
MOST_GROWTH = 3
STEP_OF_GRID = 10**0.5  # between neighbouring rates, about
TOLERANCE = 0.5  # points: half of the margin that a gain must be worth
DRAWS = 10
SEED = 910_000  # of draws and VAEs, which no study has
COUNTS = (20, 50, 100, 500)
COUNTS_OF_PAIRS = (20, 50, 100, 200)
COLUMNS = ("target", "kind", "labels", "rate", "steps", "validation accuracy", "draws")


class Tuning:
    """The grid of one kind of network on one target at one number of labels.

    What is measured goes to the file `kept`, if there is one, and isn't measured again.
    """

    def __init__(
        self,
        target: Splits,
        starts: vae_transfer.InitialEncoders | None,
        draws: Sequence[Draw],
        kept: Path | None = None,
    ) -> None:
        if starts is None:
            self.train = partial(vae_transfer.scratch, target, draws)
        else:
            self.train = partial(vae_transfer.fine_tuned, target, starts, draws)
        self.kept = kept
        known = json.loads(kept.read_text("utf-8")) if kept and kept.exists() else []
        self.accuracies = {Setting(rate, steps): value for rate, steps, value in known}

    def measure(self, setting: Setting) -> None:
        """The mean of the best validation accuracies of the draws."""
        if setting in self.accuracies:
            return
        results = self.train(rate=setting.rate, steps=setting.steps)
        self.accuracies[setting] = float(np.mean([run["validation accuracy"] for run in results]))
        if self.kept:
            rows = [[*known, value] for known, value in self.accuracies.items()]
            write_whole(self.kept, json.dumps(rows))

    def measure_budget(self, steps: int) -> None:
        """Measures a grid of rates that grows while the best one lies at its edge."""
        rates = list(RATES)
        for rate in rates:
            self.measure(Setting(rate, steps))
        for _ in range(MOST_GROWTH):
            best = self.best(steps).rate
            if best not in (rates[0], rates[-1]):
                break
            is_lowest = best == rates[0]
            further = best / STEP_OF_GRID if is_lowest else best * STEP_OF_GRID
            rates = [further, *rates] if is_lowest else [*rates, further]
            self.measure(Setting(further, steps))

    def best(self, steps: int | None = None) -> Setting:
        """The most accurate setting, or that with so many steps; of equals the first by rate."""
        known = [setting for setting in sorted(self.accuracies) if steps in (None, setting.steps)]
        return max(known, key=self.accuracies.__getitem__)

    def is_enough(self, steps: int) -> bool:
        """Whether this budget gives about the accuracy of the best one."""
        return self.accuracies[self.best(steps)] >= self.accuracies[self.best()] - TOLERANCE

    def fastest(self, steps: int) -> Setting:
        """With this budget the highest rate of those that are about as accurate as the best."""
        least = self.accuracies[self.best(steps)] - TOLERANCE
        return max(
            setting
            for setting, accuracy in self.accuracies.items()
            if setting.steps == steps and accuracy >= least
        )


def choose(grids: Mapping[str, Tuning]) -> dict[str, Setting]:
    """Measures as many budgets as it takes, and gives each kind a setting, all with one budget."""
    for grid in grids.values():
        grid.measure_budget(STEPS[0])
    for steps, more in itertools.pairwise(STEPS):
        for grid in grids.values():
            grid.measure_budget(more)
        if all(grid.is_enough(steps) for grid in grids.values()):
            break
    else:
        steps = STEPS[-1]
    return {kind: grid.fastest(steps) for kind, grid in grids.items()}


def tune(
    name: str, root: Path | None, kept: Path | None
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The choices of a target by kind and number of labels, and the rows of its grids.

    The folder `kept` holds VAEs and settings that are finished.
    """
    target = vae_transfer.load_target(name, full=True, root=root)
    own = vae_transfer.SOURCES[name][0]
    source = vae_transfer.load_source(own, full=True, root=root)
    seeds = range(SEED, SEED + DRAWS)
    views = 500_000 if source.images.shape[1] == 1 else 125_000
    by_source = vae_transfer.pretrain_all({own: source}, list(seeds), views, checkpoints=kept)
    starts = by_source[own]
    counts = COUNTS_OF_PAIRS if len(target.train.classes) == 2 else COUNTS
    choices: dict[str, Any] = {kind: {} for kind in KINDS}
    rows = []
    for labels in counts:
        per_class = labels // len(target.train.classes)
        draws = study.draw_labels(target.train.labels, per_class, DRAWS, SEED, pretrain_seeds=seeds)
        grids = {
            kind: Tuning(target, of_kind, draws, kept and kept / f"{name}-{labels}-{kind}.json")
            for kind, of_kind in (("scratch", None), ("pretrained", starts))
        }
        for kind, chosen in choose(grids).items():
            choices[kind][labels] = {"rate": float(f"{chosen.rate:.2g}"), "steps": chosen.steps}
            accuracies = grids[kind].accuracies
            say(f"{name}, {labels} labels, {kind}: {chosen}, {accuracies[chosen]:.1f} %")
            for setting, accuracy in sorted(accuracies.items()):
                values = (name, kind, labels, *setting, accuracy, DRAWS)
                rows.append(dict(zip(COLUMNS, values, strict=True)))
    return choices, rows


def main() -> None:
    """Tunes the targets that are named, and keeps what was chosen before for the others."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("targets", nargs="+", choices=list(vae_transfer.SOURCES))
    parser.add_argument("--root", type=Path)
    parser.add_argument("--kept", type=Path, help="a folder for what takes minutes")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    for name in options.targets:
        choices, rows = tune(name, options.root, options.kept)
        content = yaml.safe_load(FILE.read_text("utf-8")) if FILE.exists() else {}
        settings = content.get("settings", {}) | {name: choices}
        facts = origin("tune", options.targets, "one core of a x86-64 processor")
        write_whole(FILE, yaml.safe_dump(facts | {"settings": settings}, sort_keys=False))
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
        write_whole(RECORDED / f"05_tuning_{name}.csv", text.getvalue())


if __name__ == "__main__":
    main()
