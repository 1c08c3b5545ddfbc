"""Records what `torch.compile` is worth in chapter 2b, for its networks and for a chain of
operations on many numbers, which no learner waits for.

    python -m vaetl_helpers.authoring.assets.record_compile "two x86-64 cores, idle"

Each start is a cold one, in a process of its own; the first one's steps are timed in turns with a
plain network's, as the other levers are. On an idle machine this takes about five minutes. It is
kept as recorded/02b_levers_and_borrowed_gpus_compile.json, and holds for this machine.
"""

from __future__ import annotations

import json
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from vaetl_helpers import hardware_comparisons
from vaetl_helpers.authoring.assets.facts import RECORDED, origin
from vaetl_helpers.data import load
from vaetl_helpers.machines.compiling import (
    CASES,
    CHAIN,
    Compared,
    against_plain,
    chain_against_plain,
)
from vaetl_helpers.output import say, value_text, write_whole
from vaetl_helpers.settings import prepare

IMAGES = 12_800  # of Fashion-MNIST, in a hundred whole batches, as the recorded levers had
TURNS = 10
STARTS = 3


def measure(case: str, turns: int) -> Compared:
    """One cold start and so many turns, in this process, with as many threads as in a chapter."""
    prepare()
    if case == CHAIN:
        return chain_against_plain(turns)
    images = load("fashion-mnist", full=True, device="cpu").train.subset(slice(0, IMAGES))
    return against_plain(case, images, turns)


def in_new_process(case: str, turns: int) -> Compared:
    """The same in a process that has compiled nothing yet."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(measure, case, turns).result()


def main(machine: str) -> None:
    """Measures all cases and keeps the records."""
    records = []
    for name in (*CASES, CHAIN):
        first = in_new_process(name, TURNS)
        others = [in_new_process(name, 1) for _ in range(STARTS - 1)]
        starts = [one.start for one in (first, *others)]
        for one in hardware_comparisons.compiled_records(name, first, starts):
            say(f"{one['name']}: {value_text(one)}")
            records.append({"chapter": "02b", **one})
    content = origin("record_compile", [machine], machine)
    content["records"] = records
    path = RECORDED / "02b_levers_and_borrowed_gpus_compile.json"
    write_whole(path, json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
