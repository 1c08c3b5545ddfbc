"""Records what BatchNorm's running averages cost the network from scratch in chapter 4.

    python -m vaetl_helpers.authoring.assets.record_averages [--draws 40] [--out FOLDER]

Chapter 4's network from scratch is validated after each epoch with BatchNorm's running averages,
which lag behind the weights. Here it is trained on the same draws of ten labels a class once more,
and validated with statistics that are taken anew from the labelled images. Beside both stands
fine-tuning as it is. Nothing is stopped early from scratch, so that both see the same training.
Writes recorded/04_averages.csv and .npz, and the effects as
recorded/04_transfer_learning_averages.json. Embedded clothes only; minutes.
"""

from __future__ import annotations

import argparse
import json
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vaetl_helpers import study
from vaetl_helpers import supervised_transfer as transfers
from vaetl_helpers.authoring.assets.facts import RECORDED, origin
from vaetl_helpers.authoring.assets.record_large import with_statistics_of
from vaetl_helpers.data import tasks
from vaetl_helpers.output import record_id, write_whole
from vaetl_helpers.study.draws import Draw
from vaetl_helpers.study.values import ENDING, write_values

RUNNING, RENEWED = "scratch, running averages", "scratch, statistics renewed"
TUNED = "fine-tuned"
TASK, LABELS, STEPS, SEED = "tops", 20, 300, 700_000


def from_scratch(plan: transfers.Plan, renews: bool, draw: Draw) -> dict[str, Tensor]:
    """A network from scratch, validated after each epoch; `renews`: with statistics taken anew."""
    images = plan.labelled(draw)
    curve: list[float] = []
    hits = torch.empty(0)

    def look(model: nn.Module, row: dict[str, Any]) -> None:
        nonlocal hits
        if row["epoch"] == 0:
            return
        tested = with_statistics_of(model, images.images / 255) if renews else model
        accuracy = 100 * transfers.correct(tested, plan.task.validation).float().mean().item()
        if accuracy > max(curve, default=-1):
            hits = transfers.correct(tested, plan.task.test)
        curve.append(accuracy)

    epochs = plan.options(images, draw)["epochs"]
    to_the_end = {"patience": epochs, "watch": look}
    model, history = transfers.train_from_scratch(plan, images, draw, **to_the_end)
    spent = transfers.outcome(plan, model, (history, plan.work["all"]))
    return {**spent, "test accuracy": hits, "validation curve": torch.tensor(curve)}


def effects(table: study.Table) -> list[dict[str, Any]]:
    """What renewing changes in accuracy and steps, and in fine-tuning's lead in FLOPs."""
    gain = study.paired(table, RENEWED, RUNNING, "test accuracy", LABELS)
    found = [("test accuracy", (RENEWED, RUNNING), gain, "points")]
    for cost, a, b in (
        ("steps", RENEWED, RUNNING),
        ("FLOPs", TUNED, RUNNING),
        ("FLOPs", TUNED, RENEWED),
    ):
        found.append((cost, (a, b), study.adaptation_ratio(table, a, b, cost, LABELS), "times"))
    records = []
    for measure, (a, b), effect, unit in found:
        id = record_id("04", f"averages {measure}", (a, b), f"{LABELS} labels")
        title = f"{measure}, {a} against {b}, {LABELS} labels"
        records.append({"chapter": "04", **effect.to_record(title, unit, id=id, data=TASK)})
    return records


def main() -> None:
    """Runs the study and keeps it."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("--draws", type=int, default=40)
    parser.add_argument("--out", type=Path, default=Path("runs/averages"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    plan = transfers.Plan.of(tasks.load_task(TASK), STEPS)
    methods = [
        study.Method(RUNNING, partial(from_scratch, plan, False)),
        study.Method(RENEWED, partial(from_scratch, plan, True)),
        *transfers.methods(plan, [TUNED]),
    ]
    table = plan.run(methods, LABELS, options.draws, SEED, options.out / "04_averages.csv")
    table.write(RECORDED / "04_averages.csv")
    write_values(RECORDED / f"04_averages{ENDING}", table.images)
    content = origin("record_averages", [], "one x86-64 core")
    content["records"] = effects(table)
    path = RECORDED / "04_transfer_learning_averages.json"
    write_whole(path, json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
