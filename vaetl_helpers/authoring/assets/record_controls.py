"""Records what the controls of chapters 1b and 4a show.

    python -m vaetl_helpers.authoring.assets.record_controls NAME MACHINE

NAME is 01b_rates (minutes) or 04_thresholds (a quarter of an hour), MACHINE says in a few words
what it ran on. Writes recorded/NAME.safetensors: the arrays, with the command, commit, date,
machine and versions. Embedded images only.
"""

from __future__ import annotations

import copy
import json
import sys
from functools import partial
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor, nn

from vaetl_helpers import nets, study, transfer
from vaetl_helpers.authoring.assets.facts import RECORDED, origin
from vaetl_helpers.data import tasks
from vaetl_helpers.data.images import Splits
from vaetl_helpers.data.registry import load
from vaetl_helpers.output import say, write_whole
from vaetl_helpers.training import loop
from vaetl_helpers.training.evaluation import NonFiniteLoss, evaluate
from vaetl_helpers.training.loop import fit

Recording = tuple[dict[str, Tensor], dict[str, Any]]  # arrays by name, and what they are

RATES = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
BATCHES = (16, 32, 64, 128, 256, 512)
SEEDS, EPOCHS = 5, 10
COUNTS = (5, 10, 25, 50, 100)  # labels of each class
DRAWS = 5
STEPS = 300  # as in chapter 4a's study
METHODS = ("scratch", "linear probe", "fine-tuned")
SPLITS = ("validation", "test")


def losses(data: Splits, rate: float, batch_size: int, seed: int) -> Tensor:
    """Training and validation loss after 0, 1, … epochs of plain SGD.

    [2, EPOCHS + 1] in nats; nan once training broke.
    """
    torch.manual_seed(seed)
    model = nets.mlp_classifier()
    sgd = torch.optim.SGD(model.parameters(), rate)
    curves = torch.full((2, EPOCHS + 1), torch.nan)
    curves[0, 0] = evaluate(model, data.train)["loss"]
    curves[1, 0] = evaluate(model, data.validation)["loss"]
    for epoch in range(EPOCHS):
        try:
            history = fit(
                model,
                data.train,
                epochs=1,
                batch_size=batch_size,
                optimizer=sgd,
                validation=data.validation,
                seed=1000 * seed + epoch,
                quiet=True,
            )
        except NonFiniteLoss:
            break
        curves[0, epoch + 1] = history["loss"][0]
        curves[1, epoch + 1] = history["validation_loss"][0]
    return curves


def rates() -> Recording:
    """The losses for each rate, batch size and seed, [rates, batches, seeds, EPOCHS + 1]."""
    data = load("fashion-mnist")
    runs = torch.empty(len(RATES), len(BATCHES), SEEDS, 2, EPOCHS + 1)
    for row, rate in enumerate(RATES):
        for column, batch_size in enumerate(BATCHES):
            for seed in range(SEEDS):
                runs[row, column, seed] = losses(data, rate, batch_size, seed)
    training, validation = runs.unbind(3)
    facts = {
        "rates": RATES,
        "batches": BATCHES,
        "data": data.source,
        "network": "784-128-10, plain SGD",
    }
    return {"training": training.contiguous(), "validation": validation.contiguous()}, facts


@torch.no_grad()
def _log_odds(task: tasks.Task, model: nn.Module) -> dict[str, Tensor]:
    """log p / (1 - p) of class 1 for the images of both splits.

    In half precision, p itself would round to 1/2 for a strongly regularised probe.
    """
    model.eval()
    log_odds = {}
    for split in SPLITS:
        logits = model(getattr(task, split).images / 255)
        log_odds[split] = logits[:, 1] - logits[:, 0]
    return log_odds


def from_scratch(task: tasks.Task, draw: study.Draw) -> dict[str, Tensor]:
    """Chapter 4a's "scratch": log-odds of class 1 for validation and test images."""
    images = task.pool.subset(draw.indices)
    model = nets.transfer_cnn().to(memory_format=torch.channels_last)
    adam = torch.optim.Adam(model.parameters(), 1e-2, fused=True)
    options = study.training_options(len(images), STEPS)
    loop.fit_best(model, images, task.validation, optimizer=adam, seed=draw.seed, **options)
    return _log_odds(task, model)


def fine_tuned(task: tasks.Task, source: nn.Sequential, draw: study.Draw) -> dict[str, Tensor]:
    """Chapter 4a's "fine-tuned": the same log-odds."""
    images = task.pool.subset(draw.indices)
    model = copy.deepcopy(source).to(memory_format=torch.channels_last)
    generator = torch.Generator().manual_seed(draw.seed)
    head = model.head
    assert isinstance(head, nn.Linear)
    model.head = transfer.new_head(head, task.keep, 2, generator)
    transfer.fine_tune(
        model,
        images,
        task.validation,
        parts=list(model),
        rate=3e-3,
        head_epochs=5,
        seed=draw.seed,
        **study.training_options(len(images), STEPS),
    )
    return _log_odds(task, model)


def probed(task: tasks.Task, source: nn.Sequential, draw: study.Draw) -> dict[str, Tensor]:
    """Chapter 4a's linear probe: the same log-odds."""
    body = source[:-1]
    features = transfer.features(body, task.pool.subset(draw.indices), 200)
    labels = task.pool.labels[draw.indices]
    validation_features = transfer.features(body, task.validation, 200)
    probe = transfer.linear_probe(features, labels, validation_features, task.validation.labels)
    return _log_odds(task, nn.Sequential(body, probe.as_linear()))


def thresholds() -> Recording:
    """The log-odds of class 1, [methods, counts, draws, images] as float16, and the labels."""
    task = tasks.load_task("tops")
    source, _ = tasks.source_model("tops")
    runs = {
        "scratch": partial(from_scratch, task),
        "linear probe": partial(probed, task, source),
        "fine-tuned": partial(fine_tuned, task, source),
    }
    methods = [study.Method(name, runs[name]) for name in METHODS]
    counts = [2 * count for count in COUNTS]
    table = study.run_study("tops", methods, counts, DRAWS, labels=task.pool.labels)
    arrays = {}
    for split in SPLITS:
        arrays[f"{split}_labels"] = getattr(task, split).labels.to(torch.uint8)
    for split in SPLITS:
        images = len(arrays[f"{split}_labels"])
        log_odds = np.empty((len(METHODS), len(counts), DRAWS, images), np.float32)
        for row, method in enumerate(METHODS):
            for column, count in enumerate(counts):
                for draw in range(DRAWS):
                    log_odds[row, column, draw] = table.images[method, count, draw, split]
        arrays[split] = torch.tensor(log_odds).half()
    facts = {
        "methods": METHODS,
        "counts": COUNTS,
        "classes": task.pool.classes,
        "data": task.source,
    }
    return arrays, facts


RECORDINGS = {"01b_rates": rates, "04_thresholds": thresholds}


def main(name: str, machine: str) -> None:
    """Runs, and writes recorded/NAME.safetensors."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    arrays, facts = RECORDINGS[name]()
    facts |= origin("record_controls", [name, machine], machine)
    write_whole(RECORDED / f"{name}.safetensors", save(arrays, {"vaetl": json.dumps(facts)}))
    say(facts)


if __name__ == "__main__":
    main(*sys.argv[1:])
