"""Ten small networks trained at once (`fit_together`) against one after the other (`fit_best`).

    python benchmarks/fit_together.py --json

The networks are chapter 5's (784-256-32-10), each on its own label draw from the embedded MNIST,
with 50, 100 and 500 labels, the same batches, epochs and validation images. Each number is seconds
one after the other over seconds at once, the median over turns; in a turn both take their time
directly after each other. One thread.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import platform
import statistics
import time

import torch

from vaetl_helpers import study, vae_transfer
from vaetl_helpers.data import Splits
from vaetl_helpers.training import fit_best, fit_together

EPOCHS = {50: 64, 100: 32, 500: 6}  # about 200 steps


def compare(target: Splits, labels: int, draws: int) -> float:
    """The ratio of seconds, and a check that both ended with the same validation accuracy."""
    label_draws = study.draw_labels(target.train.labels, labels // 10, draws, 0)
    sets = [target.train.subset(draw.indices) for draw in label_draws]
    stacked = [
        vae_transfer.classifier(vae_transfer.untrained_vae((1, 28, 28), k).encoder, 10, k)
        for k in range(draws)
    ]
    alone = copy.deepcopy(stacked)
    how = {"epochs": EPOCHS[labels], "batch_size": 16, "patience": EPOCHS[labels]}
    started = time.perf_counter()
    histories = fit_together(stacked, sets, target.validation, range(draws), rate=3e-3, **how)
    at_once = time.perf_counter() - started
    started = time.perf_counter()
    for number, (model, images) in enumerate(zip(alone, sets, strict=True)):
        adam = torch.optim.Adam(model.parameters(), 3e-3, fused=True)
        history = fit_best(model, images, target.validation, optimizer=adam, seed=number, **how)
        gap = max(history["validation_accuracy"]) - max(histories[number]["validation_accuracy"])
        assert abs(gap) < 0.02, "the two do not train the same network"
    return (time.perf_counter() - started) / at_once


def main() -> None:
    """Prints the ratios, as JSON with --json."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--turns", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    target = vae_transfer.load_target("mnist")
    ratios = {
        n: statistics.median(compare(target, n, options.draws) for _ in range(options.turns))
        for n in EPOCHS
    }
    facts = {"cores": os.cpu_count(), "machine": platform.machine(), "torch": torch.__version__}
    if options.json:
        print(json.dumps({"speedup": ratios} | facts))
        return
    for n, ratio in ratios.items():
        print(
            f"{n} labels: {options.draws} networks at once are {ratio:.1f} times faster "
            "than one after the other"
        )


if __name__ == "__main__":
    main()
