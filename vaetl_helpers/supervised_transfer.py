"""Chapter 4's studies: a network that was trained with labels on a source, used for a target.

Methods are functions of a `Plan` and a label draw; `methods` makes them ready for
`study.run_study`. They return whether each test image is right, accuracies on shifted images, and
what was spent after each epoch.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from vaetl_helpers import nets, transfer
from vaetl_helpers.data import tasks
from vaetl_helpers.data.images import ImageSet, Splits
from vaetl_helpers.data.shifts import shifted
from vaetl_helpers.data.tasks import Task
from vaetl_helpers.errors import unknown_name_error
from vaetl_helpers.flops import count_flops
from vaetl_helpers.study.draws import Draw, Method
from vaetl_helpers.study.runs import run_study, training_options
from vaetl_helpers.study.table import Table
from vaetl_helpers.training.evaluation import History, LossFunction, classification_loss

HEAD_EPOCHS = 5  # of the first phase of fine-tuning
CHUNK = 200  # images of a forward pass
FACTOR = 2.6  # between the rates of a part and the part before it (Howard and Ruder 2018)
RATES = {  # chosen by a tuning study on other draws: chapter 4a's appendix, deep=True
    "tops": {"scratch": 1e-2, "fine-tuned": 3e-3},
    "animals": {"scratch": 1e-3, "fine-tuned": 1e-2},
}
SAME_RATES = {"dresses": "tops", "shirts": "tops", "wolves": "animals"}  # not tuned again
REMEDIES = ("none", "rehearsal", "L2-SP")
ALPHA = 1.0  # strength of L2-SP, not tuned
CHANGE_BY_SHIFT = "change of test accuracy by shifts"

Outcome = dict[str, Tensor]
Phase = tuple[History, float]  # of a training: what it did, and its FLOPs for one image


@dataclass(frozen=True)
class Plan:
    """What all methods of a study share: task, source models with the facts of one, steps.

    `steps` is about how many optimiser steps a training takes at most, and `shifts` are those of
    `shifts.SHIFTS` on which every network is tested as well.
    """

    task: Task
    sources: Sequence[nn.Sequential]
    facts: Mapping[str, Any]
    steps: int
    shifts: Sequence[str] = ()

    @classmethod
    def of(cls, task: Task, steps: int, shifts: Sequence[str] = ()) -> Plan:
        """The plan of a task with all its source models, on the task's device."""
        made = tasks.source_models(task)
        sources = []
        for model, _ in made:
            on_device = model.to(task.pool.device).to(memory_format=torch.channels_last)
            sources.append(on_device)
        return cls(task, sources, made[0][1], steps, shifts)

    def source_of(self, draw: Draw) -> nn.Sequential:
        """The source model whose turn it is in a draw."""
        return self.sources[draw.pretrain_seed % len(self.sources)]

    def labelled(self, draw: Draw) -> ImageSet:
        """The labelled images of a draw."""
        return self.task.pool.subset(draw.indices.to(self.task.pool.device))

    def options(self, images: ImageSet, draw: Draw) -> dict[str, Any]:
        """What every training shares: its steps, its patience, the draw's seed."""
        return training_options(len(images), self.steps) | {"seed": draw.seed}

    @property
    def rates(self) -> Mapping[str, float]:
        """The learning rates of scratch, and of the head in fine-tuning."""
        story = self.task.source_task
        return RATES[SAME_RATES.get(self.task.name, SAME_RATES.get(story, story))]

    @cached_property
    def work(self) -> dict[str, float]:
        """FLOPs of a training step for one image: of "all", and of the "head" on a frozen body."""
        one = self.task.pool.images[:1] / 255, self.task.pool.labels[:1]
        head_only = with_new_head(self.sources[0], self.task, 0)
        transfer.freeze(head_only[:-1])
        return {
            "all": count_flops(with_new_head(self.sources[0], self.task, 0), *one),
            "head": count_flops(head_only, *one),
        }

    @cached_property
    def imagenet_features(self) -> dict[str, Tensor]:
        """What EfficientNet-Lite0 makes of the pool, the validation set and the test sets."""
        task = self.task
        large = transfer.backbone("efficientnet-lite0").to(task.pool.device)
        sets = {"pool": task.pool, "validation": task.validation, "test": task.test}
        sets |= {kind: shifted(task.test, kind) for kind in self.shifts}
        seen = {}
        for part, images in sets.items():
            in_colour = images.images.expand(-1, 3, -1, -1)
            seen[part] = transfer.features(large, in_colour)
        return seen

    def run(
        self,
        methods: Sequence[Method],
        labels: int,
        draws: int,
        seed: int,
        out: Path | None = None,
        name: str = "",
    ) -> Table:
        """Runs methods on fresh draws of so many labels of all classes together.

        The source models take turns. `name` is added to the task's name, for another study of it.
        """
        return run_study(
            ": ".join(part for part in (self.task.name, name) if part),
            methods,
            [labels],
            draws,
            labels=self.task.pool.labels,
            data=self.task.name,
            seed=seed,
            pretrain_seeds=range(len(self.sources)),
            out=out,
        )


# ---------------------------------------------------------------- networks


def with_new_head(source: nn.Sequential, task: Task, seed: int) -> nn.Sequential:
    """A copy of a source model with a head for a task's classes; shared ones keep their rows."""
    model = copy.deepcopy(source).to(memory_format=torch.channels_last)
    head = cast(nn.Linear, model.head)
    generator = torch.Generator().manual_seed(seed)
    model.head = transfer.new_head(head, task.keep, len(task.pool.classes), generator)
    return model.to(task.pool.device)


def untrained(plan: Plan) -> nn.Sequential:
    """The source model's network for the target's classes, with random weights."""
    pool = plan.task.pool
    width = plan.facts["architecture"]["width"]
    model = nets.transfer_cnn(pool.images.shape[1], len(pool.classes), width)
    return model.to(pool.device).to(memory_format=torch.channels_last)


@torch.no_grad()
def correct(model: nn.Module, images: ImageSet) -> Tensor:
    """Whether each image gets its label: bool [images]. Logits beyond the classes are ignored."""
    model.eval()
    count = len(images.classes)
    right = [model(x)[:, :count].argmax(1) == y for x, y in images.batches(CHUNK)]
    return torch.cat(right)


# ---------------------------------------------------------------- what a run returns


def outcome(plan: Plan, model: nn.Module, *phases: Phase) -> Outcome:
    """The results of a training in one or two phases."""
    accuracies: list[float] = []
    spent: dict[str, list[float]] = {"steps": [], "seconds": [], "FLOPs": []}
    for history, flops in phases:
        for row in history.rows:
            accuracies.append(100 * row["validation_accuracy"])
            spent["steps"].append(row["steps"])
            spent["seconds"].append(row["seconds"])
            spent["FLOPs"].append(row["images"] * flops)
    by_epoch = {f"{cost} by epoch": torch.tensor(each).cumsum(0) for cost, each in spent.items()}
    return {
        "test accuracy": correct(model, plan.task.test),
        **on_shifted(plan, partial(correct, model)),
        "validation curve": torch.tensor(accuracies),
        **by_epoch,
    }


def on_shifted(plan: Plan, is_right: Callable[[ImageSet], Tensor]) -> Outcome:
    """The accuracy on a plan's shifted test images (%), of each shift, and of all by image."""
    test = plan.task.test
    return of_shifts({kind: is_right(shifted(test, kind)).cpu() for kind in plan.shifts})


def of_shifts(right: Mapping[str, Tensor]) -> Outcome:
    """The same from whether each image is right under each shift; nothing without a shift."""
    if not right:
        return {}
    results = {f"accuracy, {kind}": 100 * each.float().mean() for kind, each in right.items()}
    results["shifted accuracy"] = 100 * torch.stack(list(right.values())).float().mean(0)
    return results


# ---------------------------------------------------------------- methods


def zero_labels(plan: Plan, draw: Draw) -> Outcome:
    """The source model as it is: what it calls its second class has the new name."""
    source, task = plan.source_of(draw), plan.task
    best = 100 * correct(source, task.validation).float().mean()
    return {
        "test accuracy": correct(source, task.test),
        **on_shifted(plan, partial(correct, source)),
        "validation curve": best[None].cpu(),
    }


def train_from_scratch(
    plan: Plan, images: ImageSet, draw: Draw, rate: float | None = None, **more: Any
) -> tuple[nn.Sequential, History]:
    """An untrained network, trained on the images, and its history.

    `more` are arguments of `fit_best` in place of the plan's.
    """
    model = untrained(plan)
    adam = torch.optim.Adam(model.parameters(), rate or plan.rates["scratch"], fused=True)
    options = plan.options(images, draw) | more
    validation = plan.task.validation
    history = transfer.fit_best(model, images, validation, optimizer=adam, **options)
    return model, history


def scratch(plan: Plan, draw: Draw, rate: float | None = None) -> Outcome:
    """The same network without a source task."""
    model, history = train_from_scratch(plan, plan.labelled(draw), draw, rate)
    return outcome(plan, model, (history, plan.work["all"]))


def fine_tuned(plan: Plan, draw: Draw, rate: float | None = None) -> Outcome:
    """The source model with a new head: first the head is trained, then all of it."""
    model = with_new_head(plan.source_of(draw), plan.task, draw.seed)
    images = plan.labelled(draw)
    _, (first, second) = transfer.fine_tune(
        model,
        images,
        plan.task.validation,
        parts=list(model),
        head_epochs=HEAD_EPOCHS,
        rate=rate or plan.rates["fine-tuned"],
        **plan.options(images, draw),
    )
    return outcome(plan, model, (first, plan.work["head"]), (second, plan.work["all"]))


def features_of(images: ImageSet, source: nn.Sequential) -> Tensor:
    """The source model's features [images, 64]."""
    return transfer.features(source[:-1], images, CHUNK)


def pixels_of(images: ImageSet, source: nn.Sequential) -> Tensor:
    """The pixels as features [images, channels · height · width]; the source is not asked."""
    return images.images.flatten(1).cpu() / 255


def probe(
    see: Callable[[ImageSet, nn.Sequential], Tensor], is_free: bool, plan: Plan, draw: Draw
) -> Outcome:
    """A linear probe on what `see` makes of images.

    In FLOPs it spends one pass of the body over the labelled images, and nothing where `is_free`;
    in seconds that pass, the features of the validation images and the fits of all settings.
    """
    task, source = plan.task, plan.source_of(draw)
    started = time.perf_counter()
    images = plan.labelled(draw)
    classifier = transfer.linear_probe(
        see(images, source), images.labels, see(task.validation, source), task.validation.labels
    )
    seconds = time.perf_counter() - started
    best = classifier.accuracy(see(task.validation, source), task.validation.labels)

    def is_right(images: ImageSet) -> Tensor:
        return classifier.predict(see(images, source)) == images.labels.cpu()

    flops = 0.0 if is_free else plan.work["head"] * len(images)
    return {
        "test accuracy": is_right(task.test),
        **on_shifted(plan, is_right),
        "validation curve": torch.tensor([100 * best]),
        "seconds by epoch": torch.tensor([seconds]),
        "FLOPs by epoch": torch.tensor([float(flops)]),
    }


def lp_ft(plan: Plan, draw: Draw) -> Outcome:
    """Fine-tuning that begins with the head of a linear probe (Kumar et al. 2022)."""
    task, source = plan.task, plan.source_of(draw)
    model = copy.deepcopy(source).to(memory_format=torch.channels_last)
    images = plan.labelled(draw)
    x, x_validation = (features_of(part, source) for part in (images, task.validation))
    classifier = transfer.linear_probe(x, images.labels, x_validation, task.validation.labels)
    model.head = classifier.as_linear().to(task.pool.device)
    _, (_, history) = transfer.fine_tune(
        model,
        images,
        task.validation,
        parts=list(model),
        head_epochs=0,
        rate=plan.rates["fine-tuned"],
        **plan.options(images, draw),
    )
    return outcome(plan, model, (history, plan.work["all"]))


def last_block(plan: Plan, draw: Draw) -> Outcome:
    """Fine-tuning of the last block and the head; the first two blocks stay as they are."""
    model = with_new_head(plan.source_of(draw), plan.task, draw.seed)
    transfer.freeze(model[:2])
    groups = transfer.param_groups(list(model), plan.rates["fine-tuned"], model=model)
    adam = torch.optim.Adam(groups, fused=True)
    images, validation = plan.labelled(draw), plan.task.validation
    history = transfer.fit_best(
        model, images, validation, optimizer=adam, **plan.options(images, draw)
    )
    return outcome(plan, model, (history, plan.work["all"]))


def self_training(plan: Plan, draw: Draw) -> Outcome:
    """A network from scratch labels the rest of the pool, and a second one learns from that."""
    images, pool = plan.labelled(draw), plan.task.pool
    teacher, first = train_from_scratch(plan, images, draw, None)
    with torch.no_grad():
        answers = teacher.eval()(pool.images / 255).argmax(1)
    answers[draw.indices.to(answers.device)] = images.labels
    taught = ImageSet(pool.images, answers, pool.classes)
    student, second = train_from_scratch(plan, taught, draw, None)
    work = plan.work["all"]
    return outcome(plan, student, (first, work), (second, work))


def imagenet_probe(plan: Plan, draw: Draw) -> Outcome:
    """A linear probe on a network that was trained on a million photos of 1,000 classes."""
    task, see = plan.task, plan.imagenet_features
    classifier = transfer.linear_probe(
        see["pool"][draw.indices],
        plan.labelled(draw).labels,
        see["validation"],
        task.validation.labels,
    )
    truth = task.test.labels.cpu()
    right = {part: classifier.predict(see[part]) == truth for part in ("test", *plan.shifts)}
    return {"test accuracy": right.pop("test"), **of_shifts(right)}


METHODS: dict[str, Callable[[Plan, Draw], Outcome]] = {
    "zero labels": zero_labels,
    "scratch": scratch,
    "fine-tuned": fine_tuned,
    "linear probe": partial(probe, features_of, False),
    "raw pixels": partial(probe, pixels_of, True),
}
MORE_METHODS: dict[str, Callable[[Plan, Draw], Outcome]] = {
    "LP-FT": lp_ft,
    "last block": last_block,
    "self-training": self_training,
    "ImageNet probe": imagenet_probe,
}


def methods(plan: Plan, names: Sequence[str] = (), more: bool = False) -> list[Method]:
    """The study's methods on a plan, by default METHODS, and with `more` MORE_METHODS, too.

    Raises CourseError for a name that neither has.
    """
    known = METHODS | MORE_METHODS
    settings = {"steps": plan.steps, "rates": dict(plan.rates)}
    ready = []
    for name in names or (known if more else METHODS):
        if name not in known:
            raise unknown_name_error("method", name, known)
        ready.append(Method(name, partial(known[name], plan), settings))
    return ready


def probes_by_preprocessing(large: transfer.Backbone, photos: Splits) -> dict[str, Tensor]:
    """Whether a probe on a backbone's features gets each test photo, for three preprocessings."""
    mean, std = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])[..., None, None]
    prepared: dict[str, Callable[[Tensor], Tensor]] = {
        "its own preprocessing": large.prepare,
        "torchvision's mean and std": lambda x: (x / 255 - mean) / std,
        "levels 0 to 255 as they are": lambda x: x.float(),
    }
    seen = torch.cat([photos.train.images, photos.validation.images])
    labels = torch.cat([photos.train.labels, photos.validation.labels])
    large.eval()
    right = {}
    for name, prepare in prepared.items():
        with torch.no_grad():
            x, x_test = (
                torch.cat([large.body(prepare(part)).flatten(1) for part in images.split(32)])
                for images in (seen, photos.test.images)
            )
        right[name] = transfer.linear_probe(x, labels).predict(x_test) == photos.test.labels
    return right


# ---------------------------------------------------------------- forgetting and layers


def untouched(plan: Plan, draw: Draw) -> Outcome:
    """The source accuracies of a draw's source model, before any training for the target."""
    source, test = plan.source_of(draw), plan.task.source_test
    return {
        "source accuracy": correct(source, test),
        "source accuracy, new head": refitted(source, plan.task).predict(features_of(test, source))
        == test.labels.cpu(),
    }


def refitted(model: nn.Sequential, task: Task) -> transfer.Probe:
    """A head for the source's task, fitted anew on a body's features of the old images."""
    old = task.rehearsal
    return transfer.linear_probe(
        features_of(old, model), old.labels, grid=[1.0], scalings=["one factor"]
    )


def remember(remedy: str, plan: Plan, draw: Draw) -> Outcome:
    """Fine-tuning with one of REMEDIES against forgetting.

    Beside the test accuracy it returns the source accuracies, with the saved head put back and with
    one that is fitted anew, and without a remedy the accuracies on shifted images, as `fine_tuned`
    does on the same draw.
    """
    task, model = plan.task, tuned_with(remedy, plan, draw)
    seen = features_of(task.source_test, model)
    results = {
        "test accuracy": correct(model, task.test),
        "source accuracy": correct(with_saved_head(model, plan, draw), task.source_test),
        "source accuracy, new head": refitted(model, task).predict(seen)
        == task.source_test.labels.cpu(),
    }
    return results if remedy != "none" else results | on_shifted(plan, partial(correct, model))


def tuned_with(remedy: str, plan: Plan, draw: Draw, old: int | None = None) -> nn.Sequential:
    """The network that fine-tuning with one of REMEDIES makes of a draw's source model.

    `old` images are rehearsed, as many as there are labels if nothing is said.
    """
    if remedy not in REMEDIES:
        raise unknown_name_error("remedy", remedy, REMEDIES)
    task, source = plan.task, plan.source_of(draw)
    model, images = with_new_head(source, task, draw.seed), plan.labelled(draw)
    loss: LossFunction = classification_loss
    if remedy == "rehearsal":
        model.head, images = _with_rehearsal(plan, source, images, draw, old or len(images))
    if remedy == "L2-SP":
        loss = transfer.l2_sp(loss, model, ALPHA, head=cast(nn.Linear, model.head))
    transfer.fine_tune(
        model,
        images,
        task.validation,
        parts=list(model),
        head_epochs=HEAD_EPOCHS,
        rate=plan.rates["fine-tuned"],
        loss_fn=loss,
        **plan.options(images, draw),
    )
    return model


def with_saved_head(model: nn.Sequential, plan: Plan, draw: Draw) -> nn.Sequential:
    """A draw's fine-tuned body under the head that its source model had, for the source's task."""
    return nn.Sequential(model[:-1], cast(nn.Linear, plan.source_of(draw).head))


def _with_rehearsal(
    plan: Plan, source: nn.Sequential, images: ImageSet, draw: Draw, old: int
) -> tuple[nn.Linear, ImageSet]:
    """A head with rows behind for the source's other classes, and `old` images more."""
    task = plan.task
    places, classes = task.keep.copy(), list(task.pool.classes)
    for row, name in enumerate(task.rehearsal.classes):
        if row not in places:
            places[row] = len(classes)
            classes.append(name)
    generator = torch.Generator().manual_seed(draw.seed)
    head = transfer.new_head(cast(nn.Linear, source.head), places, len(classes), generator)
    mixed = transfer.rehearsal(images, task.rehearsal, old, places, classes, draw.seed)
    return head.to(task.pool.device), mixed


def layers(plan: Plan, draw: Draw) -> Outcome:
    """Test accuracies of AnB, AnB⁺, BnB and BnB⁺ for n = 1, 2, 3 (Yosinski et al. 2014)."""
    task, images = plan.task, plan.labelled(draw)

    def train(model: nn.Sequential) -> nn.Sequential:
        adam = torch.optim.Adam(transfer.trainable(model), plan.rates["scratch"], fused=True)
        how = plan.options(images, draw)
        transfer.fit_best(model, images, task.validation, optimizer=adam, **how)
        return model

    base = train(untrained(plan))
    results = {"test accuracy of base": correct(base, task.test)}
    for kind, donor in (("A", plan.source_of(draw)), ("B", base)):
        for n in (1, 2, 3):
            for plus in ("", "+"):
                model = untrained(plan)
                model[:n].load_state_dict(donor[:n].state_dict())
                if not plus:
                    transfer.freeze(model[:n])
                name = f"test accuracy of {kind}{n}B{plus}"
                results[name] = correct(train(model), task.test)
    return results


def rates(plan: Plan, draw: Draw) -> Outcome:
    """Test accuracies of the whole source with a new head, trained in one phase at other rates.

    All parts at the head's rate, all at the lower rate of the last block, each at a rate of its
    own (Howard and Ruder 2018), or the first two blocks frozen and the rest at the head's rate.
    """
    task, images, rate = plan.task, plan.labelled(draw), plan.rates["fine-tuned"]
    trainings = {
        "equal": (1.0, rate, 0),
        "equal, lower": (1.0, rate / FACTOR, 0),
        "by depth": (FACTOR, rate, 0),
        "two frozen": (1.0, rate, 2),
    }
    results = {}
    for name, (factor, head_rate, frozen) in trainings.items():
        model = with_new_head(plan.source_of(draw), task, draw.seed)
        transfer.freeze(model[:frozen])
        groups = transfer.param_groups(list(model), head_rate, factor, model)
        adam = torch.optim.Adam(groups, fused=True)
        how = plan.options(images, draw)
        transfer.fit_best(model, images, task.validation, optimizer=adam, **how)
        results[f"test accuracy of {name}"] = correct(model, task.test)
    return results


def with_change_by_shift(table: Table) -> Table:
    """A table with CHANGE_BY_SHIFT as well: by how much shifted images are worse or better.

    The difference of two methods in it is what a shift does to the lead of the one.
    """
    rows, images = [], {}
    for row in table.rows:
        if row["metric"] == "shifted accuracy":
            run = row["method"], row["labels"], row["draw"]
            clean = table.values(run[0], "test accuracy", run[1])[run[2]]
            change = {"metric": CHANGE_BY_SHIFT, "value": row["value"] - clean}
            rows.append(row | change)
            shifted_images = table.images.get((*run, "shifted accuracy"))
            clean_images = table.images.get((*run, "test accuracy"))
            if shifted_images is not None and clean_images is not None:
                images[*run, CHANGE_BY_SHIFT] = shifted_images.astype(float) - clean_images
    return Table([*table.rows, *rows], table.images | images)


def as_methods(table: Table) -> Table:
    """A table of `layers` or `rates` with each network as a method, so that two can be paired."""
    start, rows, images = "test accuracy of ", [], {}
    for row in table.rows:
        if row["metric"].startswith(start):
            network = row["metric"].removeprefix(start)
            row = row | {"method": network, "metric": "test accuracy"}
        rows.append(row)
    for (_, labels, draw, metric), values in table.images.items():
        images[metric.removeprefix(start), labels, draw, "test accuracy"] = values
    return Table(rows, images)
