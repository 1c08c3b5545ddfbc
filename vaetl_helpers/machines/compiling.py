"""How long `torch.compile` takes to start, and what its step is worth; run by `in_child`.

    python -m vaetl_helpers.machines.compiling RESULT DEVICE BATCH REPEATS

The process is new, and so is the folder of compiled code: the start is a cold one.
`against_plain` compares whole passes, turn by turn, as chapter 2b's appendix does.
"""

from __future__ import annotations

import json
import logging
import os
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from vaetl_helpers.data.images import ImageSet
from vaetl_helpers.device import synchronise
from vaetl_helpers.hardware import time_it
from vaetl_helpers.machines.children import end_with_parent
from vaetl_helpers.machines.steps import (
    NETWORKS,
    Levers,
    Pass,
    Step,
    seconds_in_turns,
    timed_in_turns,
)
from vaetl_helpers.output import write_whole

CACHE = "TORCHINDUCTOR_CACHE_DIR"
CASES = {  # which network is compiled, with which levers
    "VAE": ("VAE", Levers()),
    "CNN": ("CNN", Levers()),
    "CNN, channels last": ("CNN", Levers(channels_last=True)),
}
CHAIN = "a chain of four operations"  # ((x + 1) * 2 - 3).relu()
NUMBERS = 16_000_000  # which it works on, as in chapter 2's appendix


@dataclass(frozen=True)
class Compared:
    """A compiled network beside a plain one: seconds of passes by turn, steps in a pass, start."""

    start: float
    steps: int
    plain: list[float]
    compiled: list[float]


@contextmanager
def cold_start() -> Iterator[None]:
    """Inside, what is compiled lies in a new folder, so that no earlier run flatters the start."""
    before = os.environ.get(CACHE)
    logger = logging.getLogger("torch.utils.cpp_extension")
    level = logger.level
    logger.setLevel(logging.ERROR)
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        os.environ[CACHE] = folder
        try:
            yield
        finally:
            logger.setLevel(level)
            del os.environ[CACHE]
            if before is not None:
                os.environ[CACHE] = before


def against_plain(case: str, images: ImageSet, turns: int) -> Compared:
    """Trains a plain and a compiled network of `CASES` in turns; the seconds of start and passes.

    The start is what the first pass of the compiled one takes longer than a later pass.
    """
    name, levers = CASES[case]
    plain, compiled = (Pass(NETWORKS[name], images, levers) for _ in range(2))
    compiled.model.compile()
    plain()  # what PyTorch itself needs to start is not the compiler's
    with cold_start():
        started = time.perf_counter()
        compiled()
        first = time.perf_counter() - started
        seconds = seconds_in_turns({"plain": plain, "compiled": compiled}, turns)
    steps = -(-len(images) // levers.batch_size)
    start = first - statistics.median(seconds["compiled"])
    return Compared(start, steps, **seconds)


def chain_against_plain(turns: int) -> Compared:
    """Four operations on many numbers, on the CPU, one after the other and compiled, in turns."""
    numbers = torch.rand(NUMBERS)

    def chain() -> torch.Tensor:
        return ((numbers + 1) * 2 - 3).relu()

    compiled = torch.compile(chain)
    with cold_start():
        started = time.perf_counter()
        compiled()
        first = time.perf_counter() - started
        seconds = timed_in_turns({"plain": chain, "compiled": compiled}, turns)
    return Compared(first - statistics.median(seconds["compiled"]), 1, **seconds)


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
    with cold_start():
        seconds = measure(torch.device(device), int(batch_size), int(repeats))
    write_whole(Path(result), json.dumps(seconds))


if __name__ == "__main__":
    main(sys.argv[1:])
