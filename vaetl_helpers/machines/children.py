"""Measurements in a process of their own: what must start cold, or needs several processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from vaetl_helpers.errors import CourseError


class MeasurementError(CourseError):
    """A measurement cannot be made here, or was not made in time: says why."""


def in_child(
    module: Sequence[str],
    arguments: Sequence[str],
    seconds: float,
    environment: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """What `python -m MODULE FILE ARGUMENTS` writes into FILE, which must be a JSON object.

    The child and all that it starts end with this process, and after `seconds`. Raises
    MeasurementError with the last line that it said where it fails or takes longer.
    """
    with TemporaryDirectory() as folder:
        result = Path(folder, "result.json")
        complaint = Path(folder, "stderr.txt")
        command = [sys.executable, "-m", *module, str(result), *arguments]
        with complaint.open("wb") as stderr:
            child = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,  # it closes where this process ends: see `end_with_parent`
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                env={**os.environ, **(environment or {})},
                start_new_session=os.name == "posix",
            )
            _wait(child, seconds)
        if child.returncode or not result.exists():
            said = _last_line(complaint.read_text("utf-8", errors="replace"))
            raise MeasurementError(said or "its process ended without a word")
        content: dict[str, Any] = json.loads(result.read_text("utf-8"))
        return content


def _wait(child: subprocess.Popen[bytes], seconds: float) -> None:
    """Waits for the child; ends it with its own children where it takes longer, or on Ctrl-C."""
    assert child.stdin is not None
    try:
        child.wait(max(1.0, seconds))
    except subprocess.TimeoutExpired:
        raise MeasurementError(f"it took more than the {seconds:.0f} s that were left") from None
    finally:
        if child.poll() is None:
            if os.name == "posix":
                os.killpg(child.pid, signal.SIGKILL)
            child.kill()
            child.wait()
        child.stdin.close()


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:200] if lines else ""


def end_with_parent() -> None:
    """In a child: ends this process when the one that started it is gone, however that ended."""

    def wait() -> None:
        # Not by sys.stdin, whose lock a thread would still hold when the interpreter ends.
        while os.read(0, 1):
            pass
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
