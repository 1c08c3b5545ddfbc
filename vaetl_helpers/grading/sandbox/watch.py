"""Runs a command and kills it where all its processes together pass a limit.

It ends with the process that started it. Limits of the system's kernel count a single process, so
that many small ones would pass them.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import psutil

KILLED = "killed"  # the file with the reason of a kill
OUTSIDE = "outside"  # the reason where somebody else has killed it
EVERY = 0.1  # seconds between two looks
PAUSE = 0.02  # seconds, where processes are ending
SECONDS_TO_END = 10  # for processes that were killed
BUFFER = 2 * 212992  # bytes that may wait in a socket, as Linux sets it where nobody changed it
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
CHARACTERS_PASSED_ON = 4000
MOST_SOCKETS = 16
KERNELS_OWN = "00:01"  # the device of the system kernel's files: mmap, memfd, System V
BLOCK = 512  # bytes that stat counts in


def main() -> int:
    """Runs the command of the arguments; returns its exit code.

    Arguments: JSON of `memory`, `processes`, `seconds` and `parent`; a folder, where the reason of
    a kill is written to the file `killed`; the command.
    """
    limits = json.loads(sys.argv[1])
    folder = Path(sys.argv[2])
    die_with(limits["parent"])
    adopt_orphans()
    deadline = time.monotonic() + limits["seconds"]
    child = subprocess.Popen(
        sys.argv[3:],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        # No variable of the grader's: a process in the sandbox can read those of its parent.
        env={},
    )
    reader = threading.Thread(target=pass_on, args=(child.stderr,), daemon=True)
    reader.start()
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(EVERY)
            if child.returncode < 0:  # no process in the sandbox can send it a signal
                end_orphans()  # first: they may hold the pipe that the reader waits for
                note(OUTSIDE, folder)
            reader.join(1)
            return child.returncode
        reason = excess(psutil.Process(child.pid), limits, folder / "sockets")
        if time.monotonic() > deadline:
            reason = "time"
        if reason:
            note(reason, folder)
            return end(child)


def note(reason: str, folder: Path) -> None:
    """Leaves the reason; where that cannot be written, this process ends by a signal."""
    try:
        (folder / KILLED).write_text(reason)
    except OSError as error:
        print(error, file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)


def end(child: subprocess.Popen[bytes]) -> int:
    """Kills the command and all below it, and waits for them."""
    child.kill()
    status = child.wait()
    end_orphans()
    return status


def end_orphans() -> None:
    """Kills what is left of a command that has ended, and waits for it.

    A sandbox that was killed as it started, before it had asked to end with its parent, would stay.
    """
    deadline = time.monotonic() + SECONDS_TO_END
    while time.monotonic() < deadline:
        orphans = psutil.Process().children(recursive=True)
        if not orphans:
            return
        for process in orphans:
            with contextlib.suppress(psutil.Error):
                process.kill()
        with contextlib.suppress(ChildProcessError):
            os.waitpid(-1, os.WNOHANG)
        time.sleep(PAUSE)


def adopt_orphans() -> None:
    """Makes this process the parent of each process below it whose parent ends."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)


def die_with(parent: int) -> None:
    """Ends this process when its parent ends, or now, where that has happened already."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit("the process that started this one has ended")


def pass_on(pipe: IO[bytes]) -> None:
    """Passes on why a sandbox did not start, and drops what a submission writes without end."""
    left = CHARACTERS_PASSED_ON
    while True:
        chunk = os.read(pipe.fileno(), 2**16)
        if not chunk:
            return
        sys.stderr.buffer.write(chunk[:left])
        sys.stderr.flush()
        left = max(0, left - len(chunk))


def excess(root: psutil.Process, limits: dict[str, int], sockets: Path) -> str | None:
    """Which limit the processes below `root` pass together, "memory", "processes" or "disk"."""
    try:
        processes = [process.pid for process in root.children(recursive=True)]
    except psutil.Error:  # it has just ended
        return None
    used: Counter[str] = Counter()
    shared: Counter[str] = Counter()
    for pid in processes:
        used += memory(pid)
        shared |= mapped(pid)
    if used["Threads"] > limits["processes"]:
        return "processes"
    device = sockets.stat().st_dev if sockets.exists() else None
    for pid in processes:
        used += nameless(pid, device)
    if used["RssAnon"] + used["nameless"] + shared.total() > limits["memory"]:
        # Processes that were forked share pages, which the quick count has once for each of them.
        own = sum(proportional(pid) for pid in processes)
        if own + used["nameless"] + shared.total() > limits["memory"]:
            return "memory"
    if used["outside"] or has_strangers(sockets):
        return "disk"
    return None


def memory(pid: int) -> Counter[str]:
    """A process's threads, and the bytes that are its own: the files of Python are shared."""
    usage: Counter[str] = Counter()
    with contextlib.suppress(OSError, ValueError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            name, _, value = line.partition(":")
            if name == "Threads":
                usage[name] = int(value)
            elif name == "RssAnon":
                usage[name] = int(value.split()[0]) * 1024
    return usage


def proportional(pid: int) -> int:
    """A process's own bytes, of shared pages its part; all of them where the system does not say.

    It takes the system longer to count than `memory` does.
    """
    with contextlib.suppress(OSError, ValueError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            name, _, value = line.partition(":")
            if name == "Pss_Anon":
                return int(value.split()[0]) * 1024
    return memory(pid)["RssAnon"]


def mapped(pid: int) -> Counter[str]:
    """Bytes that processes share, by what holds them.

    That is mapped memory, whoever has filled it, and sockets, as if their buffers were full.
    """
    usage: Counter[str] = Counter()
    for facts in open_files(pid):
        if stat.S_ISSOCK(facts.st_mode):
            usage[f"socket {facts.st_ino}"] = BUFFER
    with contextlib.suppress(OSError, ValueError):
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            if f" {KERNELS_OWN} " not in line:  # nearly all: splitting them takes time
                continue
            addresses, access, _, device, inode, *_ = line.split(maxsplit=5)
            if access[3] == "s" and device == KERNELS_OWN:
                start, stop = addresses.split("-")
                usage[inode] += int(stop, 16) - int(start, 16)
    return usage


def nameless(pid: int, device: int | None) -> Counter[str]:
    """Bytes of files that a process holds open and no folder lists.

    They are "outside" on the `device` of the sockets, and otherwise in memory: "nameless".
    """
    usage: Counter[str] = Counter()
    for facts in open_files(pid):
        if stat.S_ISREG(facts.st_mode) and facts.st_nlink == 0:
            place = "outside" if facts.st_dev == device else "nameless"
            usage[place] += facts.st_blocks * BLOCK
    return usage


def open_files(pid: int) -> Iterator[os.stat_result]:
    """What is known of each file that a process holds open."""
    with contextlib.suppress(OSError):
        for entry in os.scandir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                yield entry.stat()


def has_strangers(sockets: Path) -> bool:
    """Whether more than the kernel's sockets lies in the one folder outside that it can write."""
    try:
        with os.scandir(sockets) as entries:
            modes = [entry.stat(follow_symlinks=False).st_mode for entry in entries]
    except FileNotFoundError:  # one has just gone
        return False
    except OSError:  # it has been made unreadable
        return True
    if len(modes) > MOST_SOCKETS:
        return True
    return not all(stat.S_ISSOCK(mode) for mode in modes)


if __name__ == "__main__":
    sys.exit(main())
