"""Runs a command and kills it where all its processes together pass a limit; ends with the process that started it.

Limits of the kernel count a single process, so that many small ones would pass them.
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
from pathlib import Path
from typing import BinaryIO

import psutil

EVERY = 0.1  # seconds between two looks
BUFFER = 2 * 212992  # bytes that may wait in a socket, as Linux sets it where nobody has changed it
PR_SET_PDEATHSIG = 1


def main() -> int:
    """Arguments: JSON of `memory`, `processes`, `seconds` and `parent`; a folder for the verdict; the command."""
    limits, folder, command = json.loads(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]
    die_with(limits["parent"])
    started = time.monotonic()
    # No variable of the grader's: a process in the sandbox can read those of the process that started it.
    child = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env={}
    )
    reader = threading.Thread(target=first_words, args=(child.stderr,), daemon=True)
    reader.start()
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(EVERY)
            reader.join(1)
            return child.returncode
        reason = excess(psutil.Process(child.pid), limits, folder / "sockets")
        if time.monotonic() - started > limits["seconds"]:
            reason = "time"
        if reason:
            (folder / "killed").write_text(reason)
            child.kill()
            return child.wait()


def die_with(parent: int) -> None:
    """Ends this process when its parent ends, or now, where that has happened already."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit("the process that started this one has ended")


def first_words(pipe: BinaryIO) -> None:
    """Passes on why a sandbox did not start, and drops what a submission writes without end."""
    left = 4000
    while chunk := pipe.read1(2**16):
        sys.stderr.buffer.write(chunk[:left])
        sys.stderr.flush()
        left -= min(left, len(chunk))


def excess(root: psutil.Process, limits: dict[str, int], sockets: Path) -> str | None:
    """Which limit the processes below `root` pass together: "memory", "processes", "disk", or None."""
    try:
        processes = [process.pid for process in root.children(recursive=True)]
    except psutil.Error:  # it has just ended
        return None
    used, shared = Counter(), Counter()
    for pid in processes:
        used += memory(pid)
        shared |= mapped(pid)
    if used["Threads"] > limits["processes"]:
        return "processes"
    outside = sockets.stat().st_dev if sockets.exists() else None
    for pid in processes:
        used += nameless(pid, outside)
    if used["RssAnon"] + used["nameless"] + shared.total() > limits["memory"]:
        return "memory"
    return "disk" if used["outside"] or strange(sockets) else None


def memory(pid: int) -> Counter[str]:
    """A process's threads, and the bytes that are its own: the files of Python are shared."""
    found = Counter()
    with contextlib.suppress(OSError, ValueError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            name, _, value = line.partition(":")
            if name in ("Threads", "RssAnon"):
                found[name] = int(value.split()[0]) * (1 if name == "Threads" else 1024)
    return found


def mapped(pid: int) -> Counter[str]:
    """Bytes that processes share: mapped memory, whoever has filled it, and sockets, as if their buffers were full."""
    found = Counter()
    with contextlib.suppress(OSError):
        for entry in os.scandir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                facts = entry.stat()
                found[f"socket {facts.st_ino}"] = BUFFER if stat.S_ISSOCK(facts.st_mode) else 0
    with contextlib.suppress(OSError, ValueError):
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            where, access, _, device, inode, *_ = line.split(maxsplit=5)
            if (
                access[3] == "s" and device == "00:01"
            ):  # the kernel's own file system: mmap, memfd, System V
                start, end = (int(place, 16) for place in where.split("-"))
                found[inode] += end - start
    return found


def nameless(pid: int, outside: int | None) -> Counter[str]:
    """Bytes of files that a process holds open and no folder lists: in memory, or on the device of the sockets."""
    found = Counter()
    with contextlib.suppress(OSError):
        for entry in os.scandir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                facts = entry.stat()
                if stat.S_ISREG(facts.st_mode) and facts.st_nlink == 0:
                    found["outside" if facts.st_dev == outside else "nameless"] += (
                        facts.st_blocks * 512
                    )
    return found


def strange(sockets: Path) -> bool:
    """Whether there is more than the kernel's sockets in the one folder outside that the sandbox can write."""
    try:
        with os.scandir(sockets) as entries:
            kinds = [stat.S_ISSOCK(entry.stat(follow_symlinks=False).st_mode) for entry in entries]
    except FileNotFoundError:  # one has just gone
        return False
    except OSError:  # it has been made unreadable
        return True
    return len(kinds) > 16 or not all(kinds)


if __name__ == "__main__":
    sys.exit(main())
