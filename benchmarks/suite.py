"""The tests of two commits on one machine: processor seconds of all processes, and wall clock.

    python benchmarks/suite.py 6a131b7 HEAD
    python benchmarks/suite.py 6a131b7 HEAD --part quick --repeats 3

Each commit is checked out into a folder of its own and installed there, with compiled bytecode,
outside the timing. The parts are the whole suite (`pytest`) and the quick one (`pytest -m "not
slow"`). Processor seconds are those of every process that the tests started, also of orphans:
this program adopts them. They hardly depend on what else the machine does, wall-clock seconds do.
Every measurement is added to `--out`, one JSON line each, and the last lines printed are the
ratios of the second commit to the first; figures that an earlier call measured there on this
machine count as well.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

PARTS = {"whole": [], "quick": ["-m", "not slow"]}
EXTRAS = ".[lab,vision,text,detection,grading,certificate]"
PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


def adopt_orphans() -> None:
    """Makes this process the parent of grandchildren whose own parent ends, so that their time is
    counted here.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def wait_for_orphans(seconds: float) -> None:
    """Waits for processes that the tests left behind, at most this long."""
    deadline = time.monotonic() + seconds
    with contextlib.suppress(ChildProcessError):
        while time.monotonic() < deadline:
            pid, _ = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                time.sleep(0.1)


def checkout(commit: str, folder: Path) -> Path:
    """A clone of this repository at the commit, installed into its own environment; returns its
    folder.
    """
    here = Path(__file__).parents[1]
    full = subprocess.check_output(["git", "rev-parse", commit], cwd=here, text=True).strip()
    clone = folder / full[:7]
    python = clone / ".venv/bin/python"
    if not python.exists():
        subprocess.run(["git", "clone", "--quiet", str(here), str(clone)], check=True)
        subprocess.run(["git", "checkout", "--quiet", full], cwd=clone, check=True)
        subprocess.run([sys.executable, "-m", "venv", ".venv"], cwd=clone, check=True)
        subprocess.run([".venv/bin/pip", "install", "--quiet", "uv"], cwd=clone, check=True)
        install = [".venv/bin/uv", "pip", "install", "--quiet", "--compile-bytecode"]
        subprocess.run([*install, "-e", EXTRAS, "--group", "dev"], cwd=clone, check=True)
    return clone


def measure(clone: Path, part: str) -> dict[str, float | str | int]:
    """Runs one part of the tests and returns its seconds and pytest's last line."""
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith(("VAETL_", "PYTEST_"))
    }
    environment["PATH"] = f"{clone / '.venv/bin'}:{environment['PATH']}"
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.monotonic()
    command = [".venv/bin/python", "-m", "pytest", "-q", *PARTS[part]]
    run = subprocess.run(command, cwd=clone, env=environment, capture_output=True, text=True)
    wall = time.monotonic() - start
    wait_for_orphans(10)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    lines = run.stdout.strip().splitlines() or ["no output"]
    if run.returncode:
        print("\n".join(lines[-20:]), file=sys.stderr)
    return {
        "cpu_seconds": round(cpu, 1),
        "wall_seconds": round(wall, 1),
        "exit": run.returncode,
        "last": lines[-1],
    }


def ratios(records: list[dict], old: str, new: str) -> list[str]:
    """One line for each part that both commits have: medians, and new over old."""
    lines = []
    for part in PARTS:
        for key in ("cpu_seconds", "wall_seconds"):
            medians = []
            for commit in (old, new):
                values = [r[key] for r in records if r["part"] == part and r["commit"] == commit]
                medians.append(statistics.median(values) if values else None)
            if None not in medians:
                first, second = medians
                lines.append(
                    f"{part:6} {key:13} {first:8.1f} -> {second:8.1f}   ratio {second / first:.2f}"
                )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "commits",
        nargs="+",
        help="one or two commits; the first is what the second is compared with",
    )
    parser.add_argument("--part", choices=[*PARTS, "both"], default="both")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument(
        "--folder", type=Path, default=Path("/tmp/vaetl-suite"), help="where the checkouts are kept"
    )
    parser.add_argument("--out", type=Path, default=Path("/tmp/vaetl-suite/seconds.jsonl"))
    options = parser.parse_args()
    adopt_orphans()
    options.folder.mkdir(parents=True, exist_ok=True)
    clones = [checkout(commit, options.folder) for commit in options.commits]
    parts = list(PARTS) if options.part == "both" else [options.part]
    for _ in range(options.repeats):
        for part in parts:
            for clone in clones:
                load = os.getloadavg()[0]
                facts = {
                    "date": date.today().isoformat(),
                    "machine": platform.node(),
                    "cores": os.cpu_count(),
                }
                record = (
                    {"commit": clone.name, "part": part, "load_before": load}
                    | facts
                    | measure(clone, part)
                )
                with options.out.open("a") as file:
                    print(json.dumps(record), file=file)
                print(json.dumps(record), flush=True)
    records = [json.loads(line) for line in options.out.read_text().splitlines()]
    here = [record for record in records if record["machine"] == platform.node()]
    print(*ratios(here, clones[0].name, clones[-1].name), sep="\n")


if __name__ == "__main__":
    main()
