"""The same submissions graded on an idle machine and on one that has nothing to spare: equal marks.

    python benchmarks/grading_load.py
    python benchmarks/grading_load.py --submissions 4       a quick look

They are solved and partly solved notebooks of chapter 3, whose marks are known. The second time
four processes keep the processors busy, another one holds 90 % of the memory that is available, and
90 % of the users that sandboxes run as have a process, so that they are not free. The limit of
threads and processes of a submission is its own user's, whom nobody else is while it runs: it
cannot be taken from outside. Nine tenths as many threads run beside it. The memory is given back
step by step where less than 1.5 GB would be left: nothing on this machine is to be killed for lack
of it. To take users, this must be run by root.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import csv
import io
import mmap
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
from mutations import answers_to, assignment_of, stored_notebook, text_of, written

from vaetl_helpers.grading.course import grade
from vaetl_helpers.grading.result import Status
from vaetl_helpers.grading.sandbox.job import Limits
from vaetl_helpers.grading.sandbox.users import SPARE_UIDS, users_at_work
from vaetl_helpers.grading.sandbox.watch import die_with

NUMBER = "03"
PROCESSES = 4
SECONDS_TO_BEGIN = 300
PART = 0.9  # of what is available
KEPT = 1_500_000_000  # bytes that are always left
PIECE = 64 * 2**20  # bytes that are taken and given back at a time
FILLED = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE
LOOK = 0.05  # seconds between two looks at the memory
# Sleeping processes of the users in the arguments; each ends with the one that started it.
SLEEPERS = """
import ctypes, os, signal, sys, time
libc = ctypes.CDLL(None)
libc.prctl(1, signal.SIGKILL)
for uid in map(int, sys.argv[1:]):
    if os.fork() == 0:
        os.setresuid(uid, uid, uid)
        libc.prctl(1, signal.SIGKILL)
        time.sleep(10_000)
        os._exit(0)
time.sleep(1)
print("ready", flush=True)
time.sleep(10_000)
"""
Marks = dict[tuple[str, str], tuple[str, str]]


def submissions(folder: Path, count: int) -> Marks:
    """Writes them as students' folders; the points and the status that each exercise must get."""
    expected = {}
    assignment = assignment_of(NUMBER)
    for student in range(count):
        notebook = copy.deepcopy(stored_notebook(NUMBER, "."))
        for place, exercise in enumerate(assignment.exercises):
            answers = [one for one in answers_to(NUMBER, exercise.id) if len(one.statuses) == 1]
            # The first student has solved all, the last ones less and less.
            is_right = student % 5 <= place
            wanted = frozenset({Status.CORRECT if is_right else Status.NOT_ATTEMPTED})
            fitting = [one for one in answers if one.statuses == wanted]
            cell = cell_of(notebook, exercise.id)
            cell["source"] = fitting[student % len(fitting)].source
            points = exercise.points if is_right else 0
            expected[f"s{student:02d}", exercise.id] = (str(points), str(*wanted))
        path = folder / f"s{student:02d}" / assignment.file_name
        path.parent.mkdir(parents=True)
        path.write_bytes(written(notebook))
    return expected


def cell_of(notebook: dict[str, Any], id: str) -> dict[str, Any]:
    return next(
        cell
        for cell in notebook["cells"]
        if cell["metadata"].get("vaetl", {}).get("exercise") == id and text_of(cell)
    )


def graded(inbox: Path, out: Path, jobs: int) -> tuple[Marks, float]:
    """The marks in grades.csv, and the seconds that it took."""
    started = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        grade(inbox, NUMBER, out, jobs=jobs)
    seconds = time.perf_counter() - started
    rows = csv.DictReader(io.StringIO((out / "grades.csv").read_text("utf-8")))
    marks = {}
    for row in rows:
        marks[row["student"], row["exercise"]] = (row["points"], row["status"])
    return marks, seconds


# The load


@contextlib.contextmanager
def running(function: Callable[[Any], None]) -> Iterator[None]:
    """Runs a function in a process of its own, once it has said that it is ready."""
    receiver, connection = multiprocessing.Pipe(duplex=False)
    arguments = (function, os.getpid(), connection)
    process = multiprocessing.Process(target=begin, args=arguments)
    process.start()
    try:
        if not receiver.poll(SECONDS_TO_BEGIN):
            raise RuntimeError(f"{function.__name__} did not begin")
        print(f"  {receiver.recv()}", flush=True)
        yield
    finally:
        process.terminate()
        process.join()


def begin(function: Callable[[Any], None], parent: int, connection: Any) -> None:
    """Does what makes the load, and ends with the process that asked for it."""
    die_with(parent)
    function(connection)


def keep_busy(connection: Any) -> None:
    connection.send(f"a busy process, {os.getpid()}")
    while True:
        sum(range(10**6))


def hold_memory(connection: Any) -> None:
    """Takes memory down to a tenth of what is available, and gives back what others need."""
    Path("/proc/self/oom_score_adj").write_text("1000")  # if anything is killed, then this
    available = psutil.virtual_memory().available
    left = max(KEPT, int((1 - PART) * available))
    pieces = []
    while psutil.virtual_memory().available > left + PIECE:
        pieces.append(mmap.mmap(-1, PIECE, flags=FILLED))
    bytes_held = len(pieces) * PIECE
    connection.send(f"{bytes_held / 1e9:.1f} of {available / 1e9:.1f} GB of memory")
    while True:
        if psutil.virtual_memory().available < KEPT and pieces:
            pieces.pop().close()
            continue
        time.sleep(LOOK)


def take_users(connection: Any) -> None:
    """A sleeping process for nine of ten users of sandboxes."""
    at_work = users_at_work()
    free = [uid for uid in SPARE_UIDS if uid not in at_work]
    uids = [str(uid) for uid in free[: int(PART * len(SPARE_UIDS))]]
    with subprocess.Popen(
        [sys.executable, "-c", SLEEPERS, *uids], stdout=subprocess.PIPE
    ) as sleepers:
        assert sleepers.stdout
        sleepers.stdout.readline()
        taken = users_at_work() & set(map(int, uids))
        connection.send(f"{len(taken)} of {len(SPARE_UIDS)} users of sandboxes")
        signal.pause()


def take_threads(connection: Any) -> None:
    """As many threads as nine tenths of what a submission may have."""
    count = int(PART * Limits().processes)
    for _ in range(count):
        threading.Thread(target=time.sleep, args=(10_000,), daemon=True).start()
    connection.send(f"{count} threads, where a submission may have {Limits().processes}")
    signal.pause()


@contextlib.contextmanager
def loaded() -> Iterator[None]:
    loads = [hold_memory, *PROCESSES * [keep_busy], take_threads]  # memory first: it takes long
    if os.geteuid() == 0:
        loads.append(take_users)
    with contextlib.ExitStack() as stack:
        for load in loads:
            stack.enter_context(running(load))
        yield


class LeastMemory:
    """The least memory that was available while it looked, in bytes."""

    def __init__(self) -> None:
        self.least = psutil.virtual_memory().available
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self.look, daemon=True)

    def look(self) -> None:
        while not self.stopped.wait(LOOK):
            self.least = min(self.least, psutil.virtual_memory().available)

    def __enter__(self) -> LeastMemory:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopped.set()
        self.thread.join()


def summary(marks: Marks) -> str:
    counts = Counter(status for _, status in marks.values())
    points = sum(float(points) for points, _ in marks.values())
    listed = ", ".join(f"{number} {status}" for status, number in sorted(counts.items()))
    return f"{points:g} points in all; {listed}"


def main() -> None:
    """Prints a summary of both tables; the exit code is 1 where marks differ."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--submissions", type=int, default=20)
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        inbox = Path(name, "inbox")
        expected = submissions(inbox, options.submissions)
        idle, idle_seconds = graded(inbox, Path(name, "idle"), options.jobs)
        print(f"idle: {idle_seconds:.0f} s; {summary(idle)}", flush=True)
        print("taken:")
        with loaded(), LeastMemory() as memory:
            busy, busy_seconds = graded(inbox, Path(name, "busy"), options.jobs)
        print(f"loaded: {busy_seconds:.0f} s; {summary(busy)}")
        print(f"least memory that was available: {memory.least / 1e9:.1f} GB")
    for key in sorted(expected):
        if not expected[key] == idle.get(key) == busy.get(key):
            print(f"{key}: {expected[key]} expected, {idle.get(key)} idle, {busy.get(key)} loaded")
    is_equal = expected == idle == busy
    print("all marks are equal" if is_equal else "marks differ")
    sys.exit(0 if is_equal else 1)


if __name__ == "__main__":
    main()
