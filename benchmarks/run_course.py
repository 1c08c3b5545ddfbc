"""`vaetl run` of two commits on the same machine: seconds, processor seconds and peak memory.

    python benchmarks/run_course.py 6a131b7 HEAD
    python benchmarks/run_course.py 6a131b7 HEAD --chapters 00 03 --repeats 3
    python benchmarks/run_course.py 6a131b7 HEAD --profile cpu

Each commit is checked out and installed as `suite.py` does it; both run the course in one profile,
`smoke` unless told, in turns. Processor seconds are those of all processes and hardly depend on
what else the machine does; wall-clock seconds do, so the load before each run is noted. Memory is
the largest sum of PSS, which counts a page that several processes share once in all. Every
measurement is added to `--out`, one JSON line each; the last lines are the ratios of the second
commit to the first.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import Any

from memory import GB, Peak
from suite import adopt_orphans, checkout, wait_for_orphans

KEYS = ("wall_seconds", "cpu_seconds", "peak_gb")


def measure(clone: Path, chapters: list[str], profile: str) -> dict[str, Any]:
    """Runs the course once and returns what it took."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("VAETL_", "PYTHONPATH"))
    }
    load = os.getloadavg()[0]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "run")
        command = [clone / ".venv/bin/vaetl", "run", *chapters, "--profile", profile, "--out", out]
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True
        )
        peak = Peak(process.pid)
        peak.start()
        output, _ = process.communicate()
        wall = time.monotonic() - started
        peak.done.set()
        peak.join()
        entries = json.loads((out / "metrics.json").read_text("utf-8"))["chapters"]
    wait_for_orphans(10)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    if process.returncode:
        print(output)
    return {
        "load_before": load,
        "wall_seconds": round(wall, 1),
        "cpu_seconds": round(cpu, 1),
        "peak_gb": round(peak.most["Pss"] / GB, 2),
        "exit": process.returncode,
        "chapters": {number: entry.get("seconds") for number, entry in entries.items()},
    }


def ratio(records: list[dict[str, Any]], old: str, new: str, key: str) -> str:
    """One line: the medians of both commits, and the new over the old."""
    first, second = (
        statistics.median(record[key] for record in records if record["commit"] == commit)
        for commit in (old, new)
    )
    return f"{key:13} {first:8.1f} -> {second:8.1f}   ratio {second / first:.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("commits", nargs=2, help="the first is what the second is compared with")
    parser.add_argument("--chapters", nargs="*", default=[], help="all, unless named")
    parser.add_argument("--profile", default="smoke")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=Path("/tmp/vaetl-suite"))
    parser.add_argument("--out", type=Path, default=Path("/tmp/vaetl-suite/course.jsonl"))
    options = parser.parse_args()
    adopt_orphans()
    options.folder.mkdir(parents=True, exist_ok=True)
    clones = [checkout(commit, options.folder) for commit in options.commits]
    records = []
    for _ in range(options.repeats):
        for clone in clones:
            record = {
                "commit": clone.name,
                "date": date.today().isoformat(),
                "machine": platform.node(),
                "cores": os.cpu_count(),
                "profile": options.profile,
                **measure(clone, options.chapters, options.profile),
            }
            records.append(record)
            with options.out.open("a") as file:
                print(json.dumps(record), file=file)
            print(json.dumps(record), flush=True)
    for key in KEYS:
        print(ratio(records, clones[0].name, clones[1].name, key))


if __name__ == "__main__":
    main()
