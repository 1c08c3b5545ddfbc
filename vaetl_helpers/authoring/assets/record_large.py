"""Records what a large network learns of dogs and foxes: from scratch, tuned, and by a probe.

    python -m vaetl_helpers.authoring.assets.record_large tune --root DATA
    python -m vaetl_helpers.authoring.assets.record_large run --root DATA
    python -m vaetl_helpers.authoring.assets.record_large keep --root DATA

Chapter 4's own network is small. Here EfficientNet-Lite0, which sees the photos at 224 × 224, is
trained on the same few labels: all of it with random weights, all of it with those from ImageNet,
or only a linear probe on its features. It is tested after several numbers of steps. `tune` compares
learning rates on validation images and on draws that `run` does not use. What is finished is kept
in the folder, and the same call goes on; two calls of `run` share the work by `--shard 1/2` and
`--shard 2/2`. `keep` joins what they left: the table as recorded/04_large.csv and .npz, the effects
as recorded/04_transfer_learning_large.json.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vaetl_helpers import study, transfer
from vaetl_helpers.authoring.assets.facts import RECORDED, origin
from vaetl_helpers.data import tasks
from vaetl_helpers.data.images import ImageSet
from vaetl_helpers.flops import count_flops
from vaetl_helpers.output import record_id, say, write_whole
from vaetl_helpers.study.draws import Draw
from vaetl_helpers.study.journal import join_shards
from vaetl_helpers.study.runs import WHOLE, Shard
from vaetl_helpers.study.values import ENDING, write_values

SCRATCH, TUNED, PROBE = "large, from scratch", "large, fine-tuned", "large, probe"
PROBE_ALONE = "large, probe without validation images"
GRIDS = {SCRATCH: (3e-4, 1e-3, 3e-3, 1e-2), TUNED: (1e-5, 3e-5, 1e-4, 3e-4, 1e-3)}
RATES = {SCRATCH: 1e-3, TUNED: 3e-5}  # by `tune`: 58 and 87 %, and no edge of a grid is best
BATCH = 10
STEPS = {20: 40, 100: 100}  # by labels of both classes: twenty passes, and ten
LOOKS = (10, 20, 40, 100)
DRAWS = {20: 16, 100: 6}  # without an image that two draws share
TUNING_DRAWS = 3
TUNING_SEED, SEED = 660_000, 670_000
OF_HEAD = 10  # times the rate of the body, whose weights need little change
MOMENTUM = 0.1  # of BatchNorm's statistics; the network's own 0.01 is for long trainings
CHUNK = 50  # images of a forward pass
DATA = "animals"


class Photos:
    """The target's photos, as the large network sees them."""

    def __init__(self, root: Path | None) -> None:
        self.task = tasks.load_task("animals", root)
        self.large = transfer.backbone()

    def seen(self, images: ImageSet) -> Tensor:
        """Images [n, 3, 224, 224], scaled for the network."""
        prepared: Tensor = self.large.prepare(images.images)
        return prepared.contiguous(memory_format=torch.channels_last)

    @cached_property
    def tests(self) -> dict[str, Tensor]:
        """The validation and the test images, as the network sees them."""
        return {"validation": self.seen(self.task.validation), "test": self.seen(self.task.test)}

    @cached_property
    def features(self) -> dict[str, Tensor]:
        """What the untouched network makes of all sets."""
        task = self.task
        sets = {"pool": task.pool, "validation": task.validation, "test": task.test}
        return {name: transfer.features(self.large, images) for name, images in sets.items()}


def network(method: str, seed: int) -> nn.Sequential:
    """The network with a new head for two classes."""
    torch.manual_seed(seed)
    large = transfer.backbone(pretrained=method == TUNED)
    if method == SCRATCH:
        for module in large.body.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = MOMENTUM
    model = nn.Sequential(large.body, nn.Linear(large.width, 2))
    return model.to(memory_format=torch.channels_last)


def batches(count: int, seed: int) -> Iterator[Tensor]:
    """Rows of so many images without end, in a new order in each pass."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        yield from torch.randperm(count, generator=generator).split(BATCH)


@torch.no_grad()
def right(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Whether each image gets its label: bool [n]."""
    model.eval()
    logits = torch.cat([model(part) for part in images.split(CHUNK)])
    return logits.argmax(1) == labels


def trained(
    photos: Photos, method: str, rate: float, draw: Draw, test: str
) -> Iterator[tuple[int, Tensor]]:
    """Trains, and gives after each of LOOKS how many steps were made and which images are right.

    With weights from ImageNet BatchNorm keeps its statistics: twenty images give poor ones.
    """
    labelled = photos.task.pool.subset(draw.indices)
    x, y = photos.seen(labelled), labelled.labels
    truth = getattr(photos.task, test).labels
    model = network(method, draw.seed)
    body, head = model
    faster = OF_HEAD if method == TUNED else 1
    groups: list[dict[str, Any]] = [
        {"params": list(body.parameters()), "lr": rate},
        {"params": list(head.parameters()), "lr": faster * rate},
    ]
    adam = torch.optim.Adam(groups, fused=True)
    steps = STEPS[len(x)]
    for step, rows in enumerate(batches(len(x), draw.seed), start=1):
        model.train(method == SCRATCH)
        adam.zero_grad()
        nn.functional.cross_entropy(model(x[rows]), y[rows]).backward()
        adam.step()
        if step in LOOKS:
            yield step, right(model, photos.tests[test], truth)
        if step == steps:
            return


def by_training(photos: Photos, method: str, draw: Draw) -> dict[str, Tensor]:
    """A method of the study: the accuracy at the end, and after fewer steps."""
    results = {}
    for step, hits in trained(photos, method, RATES[method], draw, "test"):
        results[f"test accuracy after {step} steps"] = hits
        results["test accuracy"] = hits
    return results


def by_probe(photos: Photos, validates: bool, draw: Draw) -> dict[str, Tensor]:
    """A method of the study: a linear probe on the untouched network's features.

    Its settings are chosen on validation images, or else by cross-validation inside the labels.
    """
    task, seen = photos.task, photos.features
    validation = (seen["validation"], task.validation.labels) if validates else ()
    labelled = seen["pool"][draw.indices], task.pool.labels[draw.indices]
    classifier = transfer.linear_probe(*labelled, *validation)
    return {"test accuracy": classifier.predict(seen["test"]) == task.test.labels}


def tune(photos: Photos) -> None:
    """Prints the accuracy on validation images of each rate, with twenty labels."""
    draws = study.draw_labels(photos.task.pool.labels, 10, TUNING_DRAWS, TUNING_SEED)
    for method, rates in GRIDS.items():
        for rate in rates:
            reached = []
            for draw in draws:
                *_, (_, hits) = trained(photos, method, rate, draw, "validation")
                reached.append(100 * hits.float().mean().item())
            say(f"{method}, {rate:g}: {sum(reached) / len(reached):.1f} %", flush=True)


def run(photos: Photos, labels: int, out: Path, shard: Shard) -> None:
    """A shard of the study at one number of labels."""
    methods = [
        study.Method(name, partial(by_training, photos, name), {"rate": RATES[name]})
        for name in (SCRATCH, TUNED)
    ]
    for name in (PROBE, PROBE_ALONE):
        methods.append(study.Method(name, partial(by_probe, photos, name == PROBE)))
    study.run_study(
        "large",
        methods,
        [labels],
        DRAWS[labels],
        labels=photos.task.pool.labels,
        data="animals",
        seed=SEED + labels,
        out=out / f"04_large_{labels}_{shard.number}of{shard.of}.csv",
        jobs=1,
        block=1,
        shard=shard,
    )


def joined(out: Path) -> study.Table:
    """The table of both numbers of labels, from the files of all shards."""
    first, *others = [join_shards(sorted(out.glob(f"04_large_{n}_*.jsonl"))) for n in STEPS]
    for other in others:
        first.add(other)
    return first


def effects(table: study.Table) -> list[dict[str, Any]]:
    """By how many points each way is ahead of another one."""
    records = []
    for count in table.known("labels"):
        for a, b in ((TUNED, SCRATCH), (PROBE, SCRATCH), (TUNED, PROBE), (PROBE, PROBE_ALONE)):
            effect = study.paired(table, a, b, "test accuracy", count)
            title = f"test accuracy, {a} − {b}, {count} labels"
            id = record_id("04", "large", (a, b), f"{count} labels")
            record = effect.to_record(title, "points", id=id, data=DATA)
            records.append({"chapter": "04", **record})
    return records


def keep(photos: Photos, table: study.Table) -> None:
    """Writes the table with its values, and the effects."""
    table.write(RECORDED / "04_large.csv")
    write_values(RECORDED / f"04_large{ENDING}", table.images)
    content = origin("record_large", ["run"], "two x86-64 cores")
    x, y = photos.tests["test"][:1], photos.task.test.labels[:1]
    content["flops_per_image"] = count_flops(network(TUNED, 0), x, y)
    content["records"] = effects(table)
    path = RECORDED / "04_transfer_learning_large.json"
    write_whole(path, json.dumps(content, indent=1) + "\n")


def main() -> None:
    """Tunes, runs the study, or keeps it."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("what", choices=("tune", "run", "keep"))
    parser.add_argument("--root", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs/large"))
    parser.add_argument("--shard", type=Shard.from_text, default=WHOLE)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    photos = Photos(options.root)
    if options.what == "tune":
        tune(photos)
    elif options.what == "run":
        for labels in STEPS:
            run(photos, labels, options.out, options.shard)
    else:
        keep(photos, joined(options.out))


if __name__ == "__main__":
    main()
