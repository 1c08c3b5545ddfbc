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

From scratch BatchNorm's running averages are no use after so few steps: they are averages over
weights that have changed since, and with them the network names all photos alike. So before each
test the statistics are taken anew, from the labelled photos and the weights as they are.
"""

from __future__ import annotations

import argparse
import copy
import json
from collections.abc import Iterable, Iterator
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vaetl_helpers import study, transfer
from vaetl_helpers.authoring.assets.facts import RECORDED, origin
from vaetl_helpers.data import tasks
from vaetl_helpers.data.images import ImageSet
from vaetl_helpers.output import record_id, say, write_whole
from vaetl_helpers.study.draws import Draw
from vaetl_helpers.study.journal import join_shards
from vaetl_helpers.study.runs import WHOLE, Shard
from vaetl_helpers.study.values import ENDING, write_values

SCRATCH, TUNED, PROBE = "large, from scratch", "large, fine-tuned", "large, probe"
PROBE_ALONE = "large, probe without validation images"
GRIDS = {SCRATCH: (1e-4, 3e-4, 1e-3, 3e-3), TUNED: (3e-6, 1e-5, 3e-5, 1e-4)}
RATES = {  # by `tune`, for so many labels of both classes
    20: {SCRATCH: 3e-4, TUNED: 3e-5},
    100: {SCRATCH: 1e-3, TUNED: 1e-5},
}
PAIRS = (  # whose difference is recorded
    (TUNED, SCRATCH),
    (PROBE, SCRATCH),
    (TUNED, PROBE),
    (PROBE, PROBE_ALONE),
    (PROBE_ALONE, TUNED),
)
BATCH = 10
STEPS = {20: 40, 100: 100}  # by labels: twenty passes, and ten
LOOKS = (10, 20, 40, 100)
DRAWS = {20: 16, 100: 6}  # without an image that two draws share
TUNING_DRAWS = 3
TUNING_SEED, SEED = 680_000, 690_000
OF_HEAD = 10  # times the rate of the body, whose weights need little change
MOMENTUM = 0.1  # of BatchNorm's running averages; the network's own 0.01 is for long trainings
CHUNK = 50  # images of a forward pass
DATA = "animals"
RUNNING = "test accuracy with running averages"


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


@torch.no_grad()
def with_statistics_of(model: nn.Module, images: Tensor) -> nn.Module:
    """A copy whose BatchNorm layers have the means and variances of these images [n, 3, 224, 224].

    Only these layers are in training mode meanwhile, so that nothing is dropped, as PyTorch's
    `update_bn` would do.
    """
    model = copy.deepcopy(model).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None  # a plain mean over the batches that follow
            module.train()
    for part in images.split(CHUNK):
        model(part)
    return model.eval()


def trained(
    photos: Photos, method: str, rate: float, draw: Draw, looks: Iterable[int] = ()
) -> Iterator[tuple[int, nn.Module]]:
    """Trains, and gives the steps and the network after each of `looks`, and after the last step.

    With weights from ImageNet BatchNorm keeps its statistics: twenty images give poor ones.
    """
    labelled = photos.task.pool.subset(draw.indices)
    x, y = photos.seen(labelled), labelled.labels
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
        if step in looks or step == steps:
            yield step, model
        if step == steps:
            return


def ready(photos: Photos, method: str, model: nn.Module, draw: Draw) -> nn.Module:
    """The network as it is tested."""
    if method == TUNED:
        return model
    return with_statistics_of(model, photos.seen(photos.task.pool.subset(draw.indices)))


def by_training(photos: Photos, method: str, draw: Draw) -> dict[str, Tensor]:
    """A method of the study: the accuracies at the end, and after fewer steps."""
    labelled = photos.task.pool.subset(draw.indices)
    x, truth = photos.seen(labelled), photos.task.test.labels
    rate = RATES[len(x)][method]
    results = {}
    for step, model in trained(photos, method, rate, draw, LOOKS):
        tested = ready(photos, method, model, draw)
        hits = right(tested, photos.tests["test"], truth)
        results[f"test accuracy after {step} steps"] = results["test accuracy"] = hits
        results[f"training accuracy after {step} steps"] = right(tested, x, labelled.labels)
    if method == SCRATCH:
        results[RUNNING] = right(model, photos.tests["test"], truth)
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


def tune(photos: Photos, labels: int) -> None:
    """Prints the accuracy on validation images of each rate, with so many labels."""
    draws = study.draw_labels(
        photos.task.pool.labels, labels // 2, TUNING_DRAWS, TUNING_SEED + labels
    )
    truth = photos.task.validation.labels
    for method, rates in GRIDS.items():
        for rate in rates:
            reached = []
            for draw in draws:
                ((_, model),) = trained(photos, method, rate, draw)
                tested = ready(photos, method, model, draw)
                hits = right(tested, photos.tests["validation"], truth)
                reached.append(100 * hits.float().mean().item())
            mean = sum(reached) / len(reached)
            say(f"{labels} labels, {method}, {rate:g}: {mean:.1f} %", flush=True)


def run(photos: Photos, labels: int, out: Path, shard: Shard) -> None:
    """A shard of the study at one number of labels."""
    methods = [
        study.Method(name, partial(by_training, photos, name), {"rate": rate})
        for name, rate in RATES[labels].items()
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
        for a, b in PAIRS:
            effect = study.paired(table, a, b, "test accuracy", count)
            title = f"test accuracy, {a} − {b}, {count} labels"
            id = record_id("04", "large", (a, b), f"{count} labels")
            record = effect.to_record(title, "points", id=id, data=DATA)
            records.append({"chapter": "04", **record})
    return records


def keep(table: study.Table) -> None:
    """Writes the table with its values, and the effects."""
    table.write(RECORDED / "04_large.csv")
    write_values(RECORDED / f"04_large{ENDING}", table.images)
    content = origin("record_large", ["run"], "two x86-64 cores")
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
    if options.what == "keep":
        keep(joined(options.out))
        return
    photos = Photos(options.root)
    for labels in STEPS:
        if options.what == "tune":
            tune(photos, labels)
        else:
            run(photos, labels, options.out, options.shard)


if __name__ == "__main__":
    main()
