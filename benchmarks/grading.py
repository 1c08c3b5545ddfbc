"""`vaetl grade --jobs 2` against `nbgrader autograde`, on well-behaved submissions of chapter 3.

    python benchmarks/grading.py --json
    python benchmarks/grading.py --submissions 4       a quick look

Each submission is the solved notebook with a remark of its own, its parameters cell set to the
profile `smoke`. Both get the same files, and one thread for each kernel. `nbgrader autograde` is
used as it comes: one submission after the other, every cell of the notebook, no sandbox. `vaetl
grade` runs the setup and exercise cells only, in a sandbox, and adds the hidden tests, feedback
pages and the report. The ratio is seconds of the first over seconds of the second. Memory is what
all processes of a command hold together at its peak, without what they share.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import sys
import tempfile
import time
from pathlib import Path

import nbformat
import psutil

from vaetl_helpers.chapters import course_dir
from vaetl_helpers.grading import gradebook
from vaetl_helpers.grading.notebooks import find_assignment

NUMBER = "03"
PLAIN = """\
c = get_config()
c.CourseDirectory.course_id = "vaetl"
c.ClearSolutions.code_stub = {"python": "return ...  # your code"}
c.Execute.timeout = 600
"""


def inbox(folder: Path, count: int) -> None:
    """Writes the submissions as student folders."""
    name = find_assignment(NUMBER).name
    notebook = nbformat.read(course_dir() / "solutions" / f"{name}.ipynb", as_version=4)
    for cell in notebook.cells:
        if "parameters" in cell.metadata.get("tags", []):
            cell.source = cell.source.replace('profile: str = "auto"', 'profile: str = "smoke"')
    first = next(cell for cell in notebook.cells if "exercise" in cell.metadata.get("vaetl", {}))
    source = first.source
    for number in range(count):
        first.source = f"# student {number}\n{source}"
        path = folder / f"student{number:02d}" / NUMBER / f"{name}.ipynb"
        path.parent.mkdir(parents=True)
        nbformat.write(notebook, path)


def timed(command: list[str], folder: Path) -> tuple[float, float]:
    """Seconds of a command, and the most GB that it and all its children held at once."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "VAETL_GRADING": "1"}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    started, peak = time.perf_counter(), 0
    with open(folder / "log", "ab") as log:
        process = psutil.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
        while process.poll() is None:
            held = 0
            for one in [process, *process.children(recursive=True)]:
                with contextlib.suppress(psutil.Error):
                    info = one.memory_info()
                    held += info.rss - info.shared
            peak = max(peak, held)
            time.sleep(0.2)
    if process.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{(folder / 'log').read_text()[-2000:]}")
    return time.perf_counter() - started, peak / 1e9


def by_nbgrader(folder: Path, count: int) -> tuple[float, float]:
    """`nbgrader autograde` on a plain course folder; all must get full marks, or it failed."""
    folder.mkdir()
    gradebook.assign(find_assignment(NUMBER), folder)
    (folder / "nbgrader_config.py").write_text(PLAIN)
    inbox(folder / "submitted", count)
    spent = timed([sys.executable, "-m", "nbgrader", "autograde", NUMBER], folder)
    with gradebook.open_book(folder) as book:
        scores = [submission.score for submission in book.assignment_submissions(NUMBER)]
    points = find_assignment(NUMBER).points
    assert scores == [points] * count, scores
    return spent


def by_vaetl(folder: Path, count: int, jobs: int) -> tuple[float, float]:
    """`vaetl grade` on the same submissions, with the same result."""
    folder.mkdir()
    inbox(folder / "inbox", count)
    script = "from vaetl_helpers.app.cli import main; main()"
    options = ["grade", "inbox", "--assignment", NUMBER, "--out", "course", "--jobs", str(jobs)]
    spent = timed([sys.executable, "-c", script, *options], folder)
    rows = (folder / "course" / "grades.csv").read_text().splitlines()[1:]
    assert len(rows) == count * len(find_assignment(NUMBER).exercises)
    assert all(row.endswith(",correct") for row in rows), rows
    return spent


def main() -> None:
    """Prints seconds, memory and their ratio, as JSON with --json."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--submissions", type=int, default=40)
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        ours, memory = by_vaetl(Path(folder, "vaetl"), options.submissions, options.jobs)
        theirs, peer_memory = by_nbgrader(Path(folder, "nbgrader"), options.submissions)
    facts = {"submissions": options.submissions, "jobs": options.jobs, "seconds": round(ours, 1)}
    facts |= {
        "nbgrader_seconds": round(theirs, 1),
        "ratio": round(theirs / ours, 2),
        "GB": round(memory, 2),
    }
    facts |= {
        "nbgrader_GB": round(peer_memory, 2),
        "cores": os.cpu_count(),
        "machine": platform.machine(),
    }
    if options.json:
        print(json.dumps(facts))
        return
    print(
        f"{options.submissions} submissions: "
        f"vaetl grade --jobs {options.jobs} {ours:.0f} s, {memory:.1f} GB at most;"
    )
    print(f"nbgrader autograde {theirs:.0f} s, {peer_memory:.1f} GB; ratio {theirs / ours:.1f}")


if __name__ == "__main__":
    main()
