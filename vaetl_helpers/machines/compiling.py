"""How long `torch.compile` takes to start, and what its step is worth; run by `in_child`.

    python -m vaetl_helpers.machines.compiling RESULT DEVICE BATCH REPEATS

The process is new, and so is the folder of compiled code: the start is a cold one.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from vaetl_helpers.device import synchronise
from vaetl_helpers.hardware import time_it
from vaetl_helpers.machines.children import end_with_parent
from vaetl_helpers.machines.steps import NETWORKS, Step
from vaetl_helpers.output import write_whole


def measure(device: torch.device, batch_size: int, repeats: int) -> dict[str, float]:
    """Seconds of a plain and of a compiled step of the VAE, and of the start."""
    plain = Step(NETWORKS["VAE"], batch_size, device)
    compiled = Step(NETWORKS["VAE"], batch_size, device)
    compiled.model.compile()
    plain()  # what the device itself needs to start is not the compiler's
    synchronise(device)
    started = time.perf_counter()
    compiled()
    synchronise(device)
    first = time.perf_counter() - started
    compiled_step = time_it(compiled, device, repeats)
    return {
        "plain": time_it(plain, device, repeats),
        "compiled": compiled_step,
        "start": first - compiled_step,
    }


def main(arguments: list[str]) -> None:
    """Writes the result as JSON."""
    result, device, batch_size, repeats = arguments
    end_with_parent()
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    with TemporaryDirectory() as cache:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = cache
        seconds = measure(torch.device(device), int(batch_size), int(repeats))
    write_whole(Path(result), json.dumps(seconds))


if __name__ == "__main__":
    main(sys.argv[1:])
