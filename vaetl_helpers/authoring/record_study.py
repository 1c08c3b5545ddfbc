"""The long studies of chapter 5, run in shards that end within hours and are joined later.

`vaetl record 05 --shard 3/8` runs one shard of each target, on any machine. A shard is some blocks
of draws; its VAEs are pretrained block by block, so that the table does not depend on how many
shards there are. Each shard leaves a journal for each target, from which the same call goes on, and
`vaetl record 05 --join` makes the tables of all of them, or says what is missing.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from vaetl_helpers import study, vae_comparisons, vae_transfer
from vaetl_helpers.authoring.assets.facts import origin_of_command
from vaetl_helpers.data.images import ImageSet
from vaetl_helpers.errors import CourseError, unknown_name_error
from vaetl_helpers.output import say, write_whole
from vaetl_helpers.study import values
from vaetl_helpers.study.runs import Shard
from vaetl_helpers.study.table import Table
from vaetl_helpers.tuned import tuned_settings


@dataclass(frozen=True)
class Plan:
    """What is recorded: how many draws of which seed, and how much pretraining.

    `seed` is one that no run before had, so that nothing that was chosen can have seen the draws.
    The networks of a `block` of draws are trained together.
    """

    draws: int = 40
    block: int = 5
    seed: int = 20261129
    presentations: int = 500_000
    counts: tuple[int, ...] = (20, 50, 100, 500)
    counts_of_pairs: tuple[int, ...] = (20, 50, 100, 200)
    full: bool = True

    def pretrain_seeds(self) -> list[int]:
        """A fresh seed for each draw."""
        return [self.seed + number for number in range(self.draws)]


def journal_of(folder: Path, target: str, shard: Shard) -> Path:
    """Where a shard of a target is kept."""
    return folder / f"05_{target}-{shard.number}-of-{shard.of}.csv"


def record_target(
    target: str, shard: Shard, folder: Path, plan: Plan | None = None, root: Path | None = None
) -> Table:
    """Runs a shard of the study of one target, or what is missing of it.

    Raises CourseError for an unknown target, and where its pictures cannot be had.
    """
    plan = plan or Plan()
    if target not in vae_transfer.SOURCES:
        raise unknown_name_error("target", target, vae_transfer.SOURCES)
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    images = vae_transfer.load_target(target, plan.full, root)
    own, *others = vae_transfer.SOURCES[target]
    sources = {name: vae_transfer.load_source(name, plan.full, root) for name in (own, *others)}
    kept = folder / "pretrained"
    pretrained = {
        name: pretrained_of(name, of_source, shard, plan, kept)
        for name, of_source in sources.items()
    }
    # A VAE of the target's own images is compared with labels of the other source, not with all of
    # the target's own labels.
    labelled = others[-1] if others else own
    supervised = pretrained_of(labelled, sources[labelled], shard, plan, kept, with_labels=True)
    methods = vae_transfer.methods(
        images,
        own,
        pretrained,
        {"PCA": vae_transfer.fit_pca(sources[own]), "raw pixels": vae_transfer.pixels},
        {labelled: supervised},
        more=True,
        scratch_settings=tuned_settings(target, "scratch"),
        pretrained_settings=tuned_settings(target, "pretrained"),
    )
    is_pair = len(images.train.classes) == 2
    return study.run_study(
        target,
        methods,
        plan.counts_of_pairs if is_pair else plan.counts,
        plan.draws,
        labels=images.train.labels,
        data=target,
        seed=plan.seed,
        pretrain_seeds=plan.pretrain_seeds(),
        out=journal_of(folder, target, shard),
        jobs=1,
        block=plan.block,
        shard=shard,
    )


def pretrained_of(  # noqa: PLR0913  # a source, and what is recorded
    name: str,
    source: ImageSet,
    shard: Shard,
    plan: Plan,
    folder: Path,
    *,
    with_labels: bool = False,
) -> dict[int, vae_transfer.Pretrained]:
    """A VAE (or a classifier's encoder) for each draw of the shard; finished ones are read."""
    train = vae_transfer.pretrain_supervised if with_labels else vae_transfer.pretrain
    kind = "supervised" if with_labels else "vae"
    made: dict[int, vae_transfer.Pretrained] = {}
    blocks = shard.blocks(plan.pretrain_seeds(), plan.block)
    views = plan.presentations if source.images.shape[1] == 1 else plan.presentations // 4
    views = views // 5 if with_labels else views  # labels teach sooner
    started = time.monotonic()
    for number, seeds in enumerate(blocks, 1):
        by_source = vae_transfer.pretrain_all(
            {name: source}, seeds, views, train, label=kind, checkpoints=folder
        )
        made |= by_source[name]
        minutes = (time.monotonic() - started) / 60
        left = minutes / number * (len(blocks) - number)
        say(
            f"{name}, {kind}: block {number} of {len(blocks)}, {minutes:.1f} min so far, about "
            f"{left:.0f} to go"
        )
    return made


def join(target: str, folder: Path, machine: str) -> list[Path]:
    """Makes the record of a target of all its shards, and returns the files that it wrote.

    They are a table, its values by image and by epoch, and the effects for the ledger. `machine`
    says in a few words what the shards ran on. Raises CourseError where there is no shard, and for
    what is missing.
    """
    files = sorted(folder.glob(f"05_{target}-*-of-*.jsonl"))
    if not files:
        raise CourseError(
            f"{folder} holds no shard of {target}: run `vaetl record {target} --shard 1/8` first."
        )
    table = study.join_shards(files)
    paths = [folder / f"05_{target}.csv", folder / f"05_{target}{values.ENDING}"]
    table.write(paths[0])
    values.write_values(paths[1], table.images)
    facts = origin_of_command(f"vaetl record {target} --join", machine)
    content = facts | {"records": vae_comparisons.study_effects(table, target, "full")}
    paths.append(folder / f"05_vae_transfer_learning_{target}.json")
    write_whole(paths[-1], json.dumps(content, indent=1) + "\n")
    return paths
