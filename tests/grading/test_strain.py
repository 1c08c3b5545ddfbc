"""Grading where the machine fails: processes killed from outside, too little memory, bombs."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from hostile_cases import (
    EASY,
    LIMITS,
    POINTS,
    Case,
    graded_with,
    packed,
    rows_of,
    write_lean_course,
)

from vaetl_helpers.errors import CourseError
from vaetl_helpers.grading.course import grade

pytestmark = [pytest.mark.slow, pytest.mark.debian("bubblewrap", "/usr/bin/bwrap")]
ADA = next(case for case in EASY if case.name == "ada")
BOMB = """
import os, time
while True:
    try:
        if os.fork() == 0:
            time.sleep(60)
    except OSError:
        pass
"""
THREADS = """
import threading, time
while True:
    try:
        threading.Thread(target=time.sleep, args=(60,)).start()
    except RuntimeError:
        pass
"""


@pytest.fixture(scope="module", autouse=True)
def lean(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The course, whose chapter 3 imports less."""
    with graded_with(write_lean_course(tmp_path_factory.mktemp("lean") / "course")):
        yield


def kill_one(has_command: Callable[[list[str]], bool], killed: list[int]) -> None:
    """Kills the first process below this one that has such a command."""
    deadline = time.monotonic() + 60
    while not killed and time.monotonic() < deadline:
        for process in psutil.Process().children(recursive=True):
            try:
                if has_command(process.cmdline()):
                    process.kill()
                    killed.append(process.pid)
                    return
            except psutil.Error:
                continue
        time.sleep(0.05)


def is_runner(command: list[str]) -> bool:
    return "vaetl_helpers.grading.sandbox.runner" in command


def is_watch(command: list[str]) -> bool:
    return len(command) > 1 and command[1].endswith("sandbox/watch.py")


def is_sandbox(command: list[str]) -> bool:
    return bool(command) and command[0].endswith("bwrap")


@pytest.mark.parametrize("victim", [is_runner, is_watch, is_sandbox])
def test_what_is_killed_from_outside_is_graded_all_the_same(
    victim: Callable[[list[str]], bool], tmp_path: Path
) -> None:
    killed: list[int] = []
    thread = threading.Thread(target=kill_one, args=(victim, killed))
    thread.start()
    grade(packed(tmp_path / "in.zip", [ADA]), "03", tmp_path / "out", jobs=1)
    thread.join()
    assert killed
    statuses = [row["status"] for row in rows_of(tmp_path / "out")]
    assert statuses == ["correct"] * len(POINTS)


def test_too_little_memory_for_anybody_is_refused(tmp_path: Path) -> None:
    inbox = packed(tmp_path / "in.zip", [ADA])
    with pytest.raises(CourseError, match="raise --memory"):
        grade(inbox, "03", tmp_path / "out", limits=replace(LIMITS, memory=150))
    assert not list((tmp_path / "out" / "graded").rglob("*.json"))


@pytest.mark.skipif(os.geteuid() != 0, reason="others have a user namespace for each sandbox")
def test_bombs_end_neither_the_call_nor_their_own_next_exercise(tmp_path: Path) -> None:
    bombs = {"bernoulli_log_likelihood": BOMB, "kl": THREADS}
    cases = [Case(f"bomb{number}", cells=bombs) for number in range(2)]
    grade(packed(tmp_path / "in.zip", [*cases, ADA]), "03", tmp_path / "out", limits=LIMITS)
    for row in rows_of(tmp_path / "out"):
        name = row["exercise"].partition(".")[2]
        is_bomb = row["student"] != "ada" and name in bombs
        assert (row["status"] == "correct") != is_bomb
