"""An epoch of `fit` that one process makes, or several share; run by `in_child`.

python -m vaetl_helpers.machines.sharing RESULT IMAGES BATCH TURNS
python -m torch.distributed.run --standalone --nproc-per-node 2 -m … RESULT IMAGES BATCH TURNS
"""

from __future__ import annotations

import json
import os
import statistics
import sys
from pathlib import Path

import torch

from vaetl_helpers.device import best_device
from vaetl_helpers.machines.children import end_with_parent
from vaetl_helpers.machines.images import repeated_digits
from vaetl_helpers.machines.steps import NETWORKS
from vaetl_helpers.output import write_whole
from vaetl_helpers.training import fit


def epoch_seconds(images: int, batch_size: int, turns: int) -> float:
    """Median seconds of an epoch of the VAE, after one that does not count."""
    torch.manual_seed(0)
    network = NETWORKS["VAE"]
    history = fit(
        network.build(),
        repeated_digits(images).to(best_device().device),
        network.loss_fn,
        epochs=turns + 1,
        batch_size=batch_size,
        quiet=True,
    )
    return statistics.median(history["seconds"][1:])


def main(arguments: list[str]) -> None:
    """Writes the result as JSON, from the first process."""
    result, images, batch_size, turns = arguments
    end_with_parent()
    seconds = epoch_seconds(int(images), int(batch_size), int(turns))
    if os.environ.get("RANK", "0") == "0":
        write_whole(Path(result), json.dumps({"seconds": seconds}))


if __name__ == "__main__":
    main(sys.argv[1:])
