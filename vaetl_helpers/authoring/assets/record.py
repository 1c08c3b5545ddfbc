"""Keeps the numbers of a run as recorded results.

    python -m vaetl_helpers.authoring.assets.record RUN MACHINE

RUN is a folder that `vaetl run --profile paper` wrote, MACHINE says in a few words what it ran on.
Each chapter's records go to recorded/NN_name.json (NN_name_TASK.json where a task was given), with
the command that makes them again, and its studies' tables beside them, under names that say the
task, too, with their values by image and by epoch.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

from vaetl_helpers.authoring.assets.facts import RECORDED
from vaetl_helpers.output import say, write_whole
from vaetl_helpers.provenance import commit, today
from vaetl_helpers.study.journal import join_shards
from vaetl_helpers.study.table import ImageKey
from vaetl_helpers.study.values import ENDING, write_values


def record(run: Path, machine: str, folder: Path = RECORDED) -> list[Path]:
    """Writes one file for each chapter that passed, and returns their paths."""
    metrics = json.loads((run / "metrics.json").read_text("utf-8"))
    parameters = metrics["run"]["parameters"]
    written = []
    for number, chapter in metrics["chapters"].items():
        if chapter["status"] != "passed":
            continue
        name = Path(chapter["notebook"]).stem
        if "task" in parameters:
            name += f"_{parameters['task']}"
        path = folder / f"{name}.json"
        content = _content(number, metrics, machine)
        write_whole(path, json.dumps(content, indent=1) + "\n")
        written.append(path)
    task = str(parameters.get("task", ""))
    for table in sorted((run / "tables").glob("*.csv")):
        stem = table.stem if task in table.stem else f"{table.stem}_{task}"
        written.append(Path(shutil.copy(table, folder / f"{stem}.csv")))
        images = images_beside(table)
        if images:
            written.append(folder / f"{stem}{ENDING}")
            write_values(written[-1], images)
    return written


def images_beside(table: Path) -> dict[ImageKey, Any]:
    """A study's values, from NAME.jsonl beside NAME.csv, or from its parts' NAME/LABELS.jsonl."""
    images: dict[ImageKey, Any] = {}
    whole = table.with_suffix(".jsonl")
    parts = table.with_suffix("").glob("[0-9]*.jsonl")
    for journal in [whole] if whole.exists() else sorted(parts):
        images |= join_shards([journal]).images
    return images


def _content(number: str, metrics: dict[str, Any], machine: str) -> dict[str, Any]:
    """A chapter's records, with where they come from."""
    run = metrics["run"]
    command = f"vaetl run {number} --profile {run['profile']}"
    for name, value in run["parameters"].items():
        command += f" -p {name}={value}"
    return {
        "command": command,
        "commit": commit(),
        "date": today(),
        "machine": machine,
        "versions": run["versions"],
        "records": [record for record in metrics["records"] if record["chapter"] == number],
    }


if __name__ == "__main__":
    say(*record(Path(sys.argv[1]), sys.argv[2]), sep="\n")
