"""Running a study: every method on every draw, in several processes."""

from __future__ import annotations

import json
import os
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from vaetl_helpers.errors import CourseError
from vaetl_helpers.output import is_interactive
from vaetl_helpers.study.draws import Draw, Method, draw_labels
from vaetl_helpers.study.journal import Journal, journal_entry
from vaetl_helpers.study.table import Table


def run_study(
    name: str,
    methods: Sequence[Method],
    counts: Sequence[int],
    draws: int,
    *,
    labels: Tensor,
    data: str = "",
    seed: int = 0,
    pretrain_seeds: Sequence[int] | None = None,
    out: Path | str | None = None,
    jobs: int | None = None,
    threads: int = 1,
    quiet: bool = False,
) -> Table:
    """Runs every method on `draws` label draws at each of `counts` labels (of all classes together) from one pool.

    `labels`: class numbers of the pool [pool]. `pretrain_seeds` are taken in turn; by default every draw has a fresh
    one. With `out` (a CSV path) finished runs are kept beside it in a .jsonl file, from which the same call continues.
    Runs go parallel in `jobs` processes. On a cluster leave `jobs` out and put one line around the call:
    `with distributed.Client("HOST:8786"), joblib.parallel_config("dask"):`, with your scheduler's address and this
    package on its workers; without a client joblib raises ValueError. Only the caller writes files. The table depends
    on none of this; each run has `threads` threads, because their number changes rounding.
    Raises CourseError for a method that fails, for other settings than the file's, and where the file is damaged.
    """
    plan = {
        int(count): _repeats(labels, int(count), draws, seed, pretrain_seeds) for count in counts
    }
    journal = Journal(
        out, _facts(methods, plan, labels, study=name, data=data, seed=seed, threads=threads)
    )
    for count, repeats in plan.items():
        started, tasks = time.monotonic(), journal.missing(methods, repeats)
        workers = joblib.Parallel(jobs, return_as="generator_unordered")
        runs = workers(joblib.delayed(_execute)(*task, threads, os.getpid()) for task in tasks)
        for entries in tqdm(
            runs, f"{count} labels", len(tasks), leave=False, disable=quiet or not is_interactive()
        ):
            journal.add(entries)
        if journal.failed:
            raise journal.failed
        if not quiet:
            print(
                f"{count} labels: {len(methods)} methods × {draws} draws, {time.monotonic() - started:.1f} s"
            )
    if out:
        journal.table().write(out)
    return journal.table()


def _seed(*key: int) -> int:
    return int(np.random.SeedSequence(key).generate_state(1)[0]) >> 1


def _repeats(
    labels: Tensor, count: int, draws: int, seed: int, pretrain_seeds: Sequence[int] | None
) -> list[Draw]:
    """The repeats at `count` labels, seeded by (study seed, labels, draw) and not by their order."""
    classes = len(labels.unique())
    if count % classes:
        raise CourseError(
            f"{count} labels cannot be split over {classes} classes: take a multiple of {classes}."
        )
    drawn = draw_labels(labels, count // classes, draws, seed)
    turn = (
        [_seed(0, seed, n) for n in range(draws)]
        if pretrain_seeds is None
        else list(pretrain_seeds)
    )
    return [
        Draw(
            count,
            number,
            chosen,
            drawn.shared[number],
            turn[number % len(turn)],
            _seed(1, seed, count, number),
        )
        for number, chosen in enumerate(drawn.indices)
    ]


def _facts(
    methods: Sequence[Method], plan: dict[int, list[Draw]], labels: Tensor, **others: Any
) -> dict[str, Any]:
    """What two studies must have in common to be the same one, as JSON."""
    settings = {method.name: dict(method.settings) for method in methods}
    if len(settings) < len(methods) or not plan or not methods:
        raise CourseError(
            "A study needs numbers of labels and methods, each with a name of its own: check the lists."
        )
    seeds = {draw.number: draw.pretrain_seed for repeats in plan.values() for draw in repeats}
    pool = sha256(labels.cpu().numpy().tobytes()).hexdigest()[:12]
    facts = others | {
        "pool": pool,
        "methods": settings,
        "counts": list(plan),
        "pretrain_seeds": seeds,
    }
    return json.loads(json.dumps(facts, default=str))


@cache
def _end_with(study: int) -> None:
    """Ends this worker process soon after the one that runs the study was killed; joblib would leave it 5 minutes."""

    def watch() -> None:
        while os.getppid() == study:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def _alone(seed: int, threads: int) -> Iterator[None]:
    """Seeds the generators and fixes the number of threads; both are put back afterwards."""
    from threadpoolctl import threadpool_limits

    with torch.random.fork_rng(devices=[]), threadpool_limits(threads), ExitStack() as afterwards:
        afterwards.callback(torch.set_num_threads, torch.get_num_threads())
        afterwards.callback(np.random.set_state, np.random.get_state())
        torch.set_num_threads(threads)
        torch.set_flush_denormal(True)  # as `setup` does, which another process has not called
        torch.manual_seed(seed)
        np.random.seed(seed)
        yield


def _execute(
    method: Method, repeats: list[Draw], threads: int, study: int
) -> list[dict[str, Any]] | CourseError:
    """Runs a method, perhaps in another process: one entry a repeat, or what went wrong, to be raised by the study."""
    if os.getppid() == study:
        _end_with(study)
    try:
        with _alone(repeats[0].seed, threads):
            started = time.perf_counter()
            results = method.run(repeats) if method.together else [method.run(repeats[0])]
            seconds = (time.perf_counter() - started) / len(repeats)
        return [
            journal_entry(method.name, draw, dict(r), seconds)
            for draw, r in zip(repeats, results, strict=True)
        ]
    except Exception as error:  # a method is the reader's own code
        which = "all draws" if method.together else f"draw {repeats[0].number}"
        failure = CourseError(
            f"Method '{method.name}' failed at {repeats[0].labels} labels, {which} ({type(error).__name__}: {error}): "
            "mend it and run the study again; with `out`, the runs that were finished are kept."
        )
        failure.__cause__ = error
        failure.add_note(
            traceback.format_exc()
        )  # survives the way back from another process, the cause does not
        return failure
