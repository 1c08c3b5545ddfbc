"""Running a study: every method on every draw, in several processes."""

from __future__ import annotations

import json
import multiprocessing
import os
import threading
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, TypedDict, TypeVar

import joblib
import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from vaetl_helpers.errors import CourseError
from vaetl_helpers.output import is_interactive, say
from vaetl_helpers.seeds import whole_number, whole_seed
from vaetl_helpers.study.arguments import (
    class_numbers,
    number_of_jobs,
    table_path,
    whole_numbers,
)
from vaetl_helpers.study.draws import Draw, Method, checked_methods, draw_labels
from vaetl_helpers.study.journal import IDENTITY, Entry, Journal, journal_entry
from vaetl_helpers.study.table import Table
from vaetl_helpers.training.identity import Identity, function_identity, python_identity

T = TypeVar("T")
Plan = Mapping[int, Sequence[Draw]]  # the draws at each number of labels


@dataclass(frozen=True)
class Shard:
    """Piece `number` of `of` that a study is run in, from 1 on.

    Raises CourseError for a number that is not among them.
    """

    number: int
    of: int

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.of:
            raise CourseError(
                f"There is no piece {self.number} of {self.of}: take one from 1 to {self.of}."
            )

    @classmethod
    def from_text(cls, text: str) -> Shard:
        """The shard that a person calls "3/8"."""
        number, _, of = text.partition("/")
        if not (number.isdecimal() and of.isdecimal()):
            raise CourseError(f"A shard is written as 3/8, the third of eight, not {text!r}.")
        return cls(int(number), int(of))

    def blocks(self, draws: Sequence[T], size: int) -> list[Sequence[T]]:
        """The shard's blocks of so many draws, or of what belongs to them."""
        blocks = [draws[start : start + size] for start in range(0, len(draws), size)]
        return blocks[self.number - 1 :: self.of]


WHOLE = Shard(1, 1)


def run_study(  # noqa: PLR0913  # notebooks call it by keywords
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
    block: int | None = None,
    shard: Shard | None = None,
) -> Table:
    """Runs every method on `draws` label draws at each of `counts` labels from one pool.

    `counts` are labels of all classes together, `labels` the class numbers of the pool [pool], or
    their names.
    `pretrain_seeds` are taken in turn; by default every draw has a fresh one. With `out` (a CSV
    path) finished runs are kept beside it in a .jsonl file, from which the same call continues.
    Runs go parallel in `jobs` processes. On a cluster leave `jobs` out and put one line around the
    call: `with distributed.Client("HOST:8786"), joblib.parallel_config("dask"):`, with your
    scheduler's address and this package on its workers; without a client joblib raises ValueError.
    To a cluster of a single thread joblib hands nothing over, and a line says so.
    Only the caller writes files. The table depends on none of this; each run has `threads` threads,
    because their number changes rounding.
    A batched method gets all draws at once, or with `block` so many of them. A long study runs in
    pieces: with `shard` only every so-and-so-many-th block is run, on another machine perhaps, and
    `join_shards` makes one table of their files, the same as of a study in one piece.
    Raises CourseError for arguments of another kind, a method that fails, other settings or another
    code of a method than the file's, and where the file is damaged. A method's code counts with
    what `training.identity` says: values of its enclosing function and arguments of a `partial`,
    for example. A method that has failed may be mended: all its runs are then run again, and those
    of the others are kept.
    """
    methods = checked_methods(methods)
    labels = class_numbers(labels)
    seed = whole_seed(seed)
    threads = whole_number(threads, "threads", lowest=1)
    jobs = number_of_jobs(jobs)
    out = table_path(out)
    plan: dict[int, list[Draw]] = {}
    for count in whole_numbers(counts, "counts", lowest=1):
        per_class = _labels_per_class(labels, count)
        plan[count] = draw_labels(labels, per_class, draws, seed, pretrain_seeds=pretrain_seeds)
    facts = _facts(methods, plan, labels)
    facts |= {"study": name, "data": data, "seed": seed, "threads": threads}
    block = whole_number(draws if block is None else block, "block", lowest=1)
    if block < draws:
        facts["block"] = block
    shard = shard or WHOLE
    facts[IDENTITY] = _identity(methods) if out else {}
    journal = Journal(out, json.loads(json.dumps(facts, default=str)))
    _say_where(jobs)
    for count, repeats in plan.items():
        start = time.monotonic()
        blocks = shard.blocks(repeats, block)
        _run_missing(journal, methods, blocks, jobs=jobs, threads=threads, quiet=quiet)
        if not quiet:
            seconds = time.monotonic() - start
            say(f"{count} labels: {len(methods)} methods × {draws} draws, {seconds:.1f} s")
    table = journal.table()
    if out:
        table.write(out)
    return table


def _say_where(jobs: int | None) -> None:
    """A line where the runs stay in this process although a cluster was asked for."""
    backend, _ = joblib.parallel.get_active_backend()
    is_cluster = type(backend).__module__ == "joblib._dask"
    if is_cluster and joblib.effective_n_jobs(-1 if jobs is None else jobs) == 1:
        say(
            "The cluster has one thread, and joblib then runs everything in this process instead: "
            "give it two threads or more, for example two workers."
        )


class TrainingOptions(TypedDict):
    """What `fit_best` and `fit_together` need to know of a training with early stopping."""

    batch_size: int
    epochs: int
    patience: int


def training_options(images: int, steps: int) -> TrainingOptions:
    """How a study trains a network on few labelled images: `batch_size`, `epochs` and `patience`.

    About `steps` steps and at most, in batches that are small where images are few. `patience` is
    the number of epochs without a better validation after which early stopping ends it.
    """
    images = whole_number(images, "images", lowest=1)
    steps = whole_number(steps, "steps", lowest=1)
    batch_size = min(16, max(1, images // 4))
    epochs = max(5, steps * batch_size // images)
    return {"batch_size": batch_size, "epochs": epochs, "patience": max(5, epochs // 3)}


def _labels_per_class(labels: Tensor, count: int) -> int:
    classes = len(labels.unique())
    if count % classes:
        raise CourseError(
            f"{count} labels cannot be split over {classes} classes: take a multiple of {classes}."
        )
    return count // classes


def _facts(methods: Sequence[Method], plan: Plan, labels: Tensor) -> dict[str, Any]:
    """What two studies must have in common to be the same one, besides their settings."""
    settings = {method.name: dict(method.settings) for method in methods}
    if len(settings) < len(methods) or not plan or not methods:
        raise CourseError(
            "A study needs numbers of labels and methods, each with a name of its own: "
            "check the lists."
        )
    seeds = {draw.number: draw.pretrain_seed for draws in plan.values() for draw in draws}
    return {
        "pool": sha256(labels.cpu().numpy().tobytes()).hexdigest()[:12],
        "methods": settings,
        "counts": list(plan),
        "pretrain_seeds": seeds,
    }


def _identity(methods: Sequence[Method]) -> dict[str, Identity]:
    """What each method consists of: its code, and the values that it holds."""
    python = python_identity()
    return {
        method.name: python | function_identity(f"method '{method.name}'", method.run)
        for method in methods
    }


def _run_missing(
    journal: Journal,
    methods: Sequence[Method],
    blocks: Sequence[Sequence[Draw]],
    *,
    jobs: int | None,
    threads: int,
    quiet: bool,
) -> None:
    """Runs what the journal lacks; a failure is raised after the others, which a file keeps."""
    tasks = journal.missing(methods, blocks)
    workers = joblib.Parallel(jobs, return_as="generator_unordered")
    outcomes = workers(joblib.delayed(_execute)(*task, threads, os.getpid()) for task in tasks)
    hidden = quiet or not is_interactive()
    description = f"{blocks[0][0].labels} labels" if blocks else ""
    failures = []
    for outcome in tqdm(outcomes, description, len(tasks), leave=False, disable=hidden):
        journal.add(outcome.entries)
        if not outcome.failure:
            continue
        failures.append(outcome)
        journal.add_failure(outcome.method)
        if not journal.path:  # nothing would keep the runs that are still to come
            break
        say(outcome.failure)
    if failures:
        error = CourseError(failures[0].failure)
        error.add_note(failures[0].traceback)
        raise error


@dataclass(frozen=True)
class RunOutcome:
    """What comes back from a process: an entry for each draw, or why there is none."""

    method: str
    entries: list[Entry] = field(default_factory=list)
    failure: str = ""
    traceback: str = ""


def _execute(method: Method, draws: Sequence[Draw], threads: int, study_process: int) -> RunOutcome:
    """Runs a method, perhaps in another process than the study's."""
    parent = multiprocessing.parent_process()
    if parent is not None and parent.pid == study_process:  # also where it was killed meanwhile
        _end_with(study_process)
    try:
        with _seeded(draws[0].seed, threads):
            start = time.perf_counter()
            results = method.run(draws) if method.batched else [method.run(draws[0])]
            seconds = (time.perf_counter() - start) / len(draws)
        pairs = zip(draws, results, strict=True)
        entries = [journal_entry(method.name, draw, result, seconds) for draw, result in pairs]
    except Exception as error:  # a method is the reader's own code
        repeat = "all draws" if method.batched else f"draw {draws[0].number}"
        failure = (
            f"Method '{method.name}' failed at {draws[0].labels} labels, {repeat} "
            f"({type(error).__name__}: {error}): mend it and run the study again; with `out`, the "
            "runs that were finished are kept, its own as long as its code stays the same."
        )
        return RunOutcome(method.name, failure=failure, traceback=traceback.format_exc())
    return RunOutcome(method.name, entries)


@cache
def _end_with(study_process: int) -> None:
    """Ends this worker process soon after the study's was killed; joblib leaves it 5 minutes."""

    def watch() -> None:
        while os.getppid() == study_process:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def _seeded(seed: int, threads: int) -> Iterator[None]:
    """Seeds the generators and fixes the number of threads; both are put back afterwards."""
    from threadpoolctl import threadpool_limits

    threads_before, numpy_state = torch.get_num_threads(), np.random.get_state()
    with torch.random.fork_rng(devices=[]), threadpool_limits(threads):
        try:
            torch.set_num_threads(threads)
            torch.set_flush_denormal(True)  # as `setup` does, which a worker has not called
            torch.manual_seed(seed)
            np.random.seed(seed)
            yield
        finally:
            np.random.set_state(numpy_state)
            torch.set_num_threads(threads_before)
