"""Records what the controls of chapters 1 and 4 show.

    python -m vaetl_helpers.authoring.record_controls NAME MACHINE

NAME is 01_rates (minutes) or 04_thresholds (a quarter of an hour), MACHINE says in a few words what
it ran on. Writes recorded/NAME.safetensors: the arrays, with the command, commit, date, machine and
versions. Embedded images only.
"""

from __future__ import annotations

import copy
import datetime
import json
import subprocess
import sys
from functools import partial
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor, nn

from vaetl_helpers import nets, study, transfer
from vaetl_helpers.authoring.record import RECORDED
from vaetl_helpers.data import tasks
from vaetl_helpers.data.images import Splits
from vaetl_helpers.data.registry import load
from vaetl_helpers.settings import versions
from vaetl_helpers.training import loop
from vaetl_helpers.training.evaluation import NonFiniteLoss, evaluate
from vaetl_helpers.training.loop import fit

RATES = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
BATCHES = (16, 32, 64, 128, 256, 512)
SEEDS = 5
EPOCHS = 10
COUNTS = (5, 10, 25, 50, 100)  # labels of each class
DRAWS = 5
STEPS = 300  # as in chapter 4's study
METHODS = ("scratch", "linear probe", "fine-tuned")
SPLITS = ("validation", "test")


def losses(data: Splits, rate: float, batch_size: int, seed: int) -> Tensor:
    """Training and validation loss after 0, 1, … epochs of plain SGD, [2, EPOCHS + 1] nats.

    They are nan once it broke.
    """
    torch.manual_seed(seed)
    model = nets.mlp_classifier()
    curves = torch.full((2, EPOCHS + 1), torch.nan)
    for number, images in enumerate((data.train, data.validation)):
        curves[number, 0] = evaluate(model, images)["loss"]
    sgd = torch.optim.SGD(model.parameters(), rate)
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
        row = history.rows[0]
        curves[:, epoch + 1] = torch.tensor([row["loss"], row["validation_loss"]])
    return curves


def rates() -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The losses for each rate, batch size and seed, [rates, batches, seeds, EPOCHS + 1]."""
    data = load("fashion-mnist")
    curves = torch.empty(len(RATES), len(BATCHES), SEEDS, 2, EPOCHS + 1)
    for r, rate in enumerate(RATES):
        for b, batch_size in enumerate(BATCHES):
            for seed in range(SEEDS):
                curves[r, b, seed] = losses(data, rate, batch_size, seed)
    training, validation = curves.unbind(3)
    facts = {
        "rates": RATES,
        "batches": BATCHES,
        "data": data.source,
        "network": "784-128-10, plain SGD",
    }
    return {"training": training.contiguous(), "validation": validation.contiguous()}, facts


@torch.no_grad()
def _log_odds(task: tasks.Task, model: nn.Module) -> dict[str, Tensor]:
    """log p / (1 - p) of class 1 for the images of each split.

    In half precision p itself would round to 1/2 for a strongly regularised probe.
    """
    model.eval()
    log_odds = {}
    for split in SPLITS:
        logits = model(getattr(task, split).images / 255)
        log_odds[split] = logits[:, 1] - logits[:, 0]
    return log_odds


def trained(
    name: str, task: tasks.Task, source: nn.Sequential, draw: study.Draw
) -> dict[str, Tensor]:
    """Chapter 4's "scratch" or "fine-tuned": log-odds of class 1 for validation and test images."""
    images = task.pool.subset(draw.indices)
    options = study.training_options(len(images), STEPS)
    if name == "scratch":
        model = nets.transfer_cnn().to(memory_format=torch.channels_last)
        adam = torch.optim.Adam(model.parameters(), 1e-2, fused=True)
        loop.fit_best(model, images, task.validation, optimizer=adam, seed=draw.seed, **options)
    else:
        model = copy.deepcopy(source).to(memory_format=torch.channels_last)
        generator = torch.Generator().manual_seed(draw.seed)
        model.head = transfer.new_head(model.head, task.keep, 2, generator)
        transfer.fine_tune(
            model,
            images,
            task.validation,
            parts=list(model),
            rate=3e-3,
            head_epochs=5,
            seed=draw.seed,
            **options,
        )
    return _log_odds(task, model)


def probed(task: tasks.Task, source: nn.Sequential, draw: study.Draw) -> dict[str, Tensor]:
    """Chapter 4's linear probe: the same log-odds."""
    x = transfer.features(source[:-1], task.pool.subset(draw.indices), 200)
    y = task.pool.labels[draw.indices]
    x_validation = transfer.features(source[:-1], task.validation, 200)
    fitted = transfer.linear_probe(x, y, x_validation, task.validation.labels)
    return _log_odds(task, nn.Sequential(source[:-1], fitted.as_linear()))


def thresholds() -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The log-odds of class 1, [methods, counts, draws, images] as float16, and the labels."""
    task, source = tasks.load_task("tops"), tasks.source_model("tops")[0]
    runs = {name: partial(trained, name, task, source) for name in ("scratch", "fine-tuned")}
    runs["linear probe"] = partial(probed, task, source)
    methods = [study.Method(name, runs[name]) for name in METHODS]
    counts = [2 * count for count in COUNTS]
    table = study.run_study("tops", methods, counts, DRAWS, labels=task.pool.labels)
    arrays = {}
    for split in SPLITS:
        arrays[f"{split}_labels"] = getattr(task, split).labels.to(torch.uint8)
    for split in SPLITS:
        images = len(getattr(task, split))
        log_odds = np.empty((len(METHODS), len(counts), DRAWS, images), np.float32)
        for m, method in enumerate(METHODS):
            for c, count in enumerate(counts):
                for draw in range(DRAWS):
                    log_odds[m, c, draw] = table.images[method, count, draw, split]
        arrays[split] = torch.tensor(log_odds).half()
    return arrays, {
        "methods": METHODS,
        "counts": COUNTS,
        "classes": task.pool.classes,
        "data": task.source,
    }


def main(name: str, machine: str) -> None:
    """Runs, and writes recorded/NAME.safetensors."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    arrays, facts = {"01_rates": rates, "04_thresholds": thresholds}[name]()
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True
    ).stdout.strip()
    facts |= {
        "command": f"python -m vaetl_helpers.authoring.record_controls {name} '{machine}'",
        "commit": commit,
        "date": datetime.date.today().isoformat(),
        "machine": machine,
        "versions": versions(),
    }
    (RECORDED / f"{name}.safetensors").write_bytes(save(arrays, {"vaetl": json.dumps(facts)}))
    print(facts)


if __name__ == "__main__":
    main(*sys.argv[1:])
