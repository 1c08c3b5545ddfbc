"""Keeps the numbers of a run as recorded results.

    python -m vaetl_helpers.authoring.record RUN MACHINE

RUN is a folder that `vaetl run --profile paper` wrote, MACHINE says in a few words what it ran on.
Each chapter's records go to recorded/NN_name.json (NN_name_TASK.json where a task was given), with
the command that makes them again, and its studies' tables beside them.
"""

import json
import shutil
import subprocess
import sys
from datetime import date
from pathlib import Path

RECORDED = Path(__file__).parent.parent / "recorded"


def record(run: Path, machine: str) -> list[Path]:
    """Writes one file for each chapter that passed, and returns their paths."""
    metrics = json.loads((run / "metrics.json").read_text("utf-8"))
    facts = metrics["run"]
    options = ""
    for name, value in facts["parameters"].items():
        options += f" -p {name}={value}"
    git = ["git", "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(git, capture_output=True, text=True).stdout.strip()
    written = []
    for number, chapter in metrics["chapters"].items():
        if chapter["status"] != "passed":
            continue
        records = [entry for entry in metrics["records"] if entry["chapter"] == number]
        content = {
            "command": f"vaetl run {number} --profile {facts['profile']}{options}",
            "commit": commit,
            "date": date.today().isoformat(),
            "machine": machine,
            "versions": facts["versions"],
            "records": records,
        }
        name = Path(chapter["notebook"]).stem
        if "task" in facts["parameters"]:
            name += f"_{facts['parameters']['task']}"
        path = RECORDED / f"{name}.json"
        text = json.dumps(content, indent=1)
        path.write_text(f"{text}\n", "utf-8")
        written.append(path)
    for table in sorted((run / "tables").glob("*.csv")):
        written.append(Path(shutil.copy(table, RECORDED)))
    return written


if __name__ == "__main__":
    run, machine = sys.argv[1:]
    print(*record(Path(run), machine), sep="\n")
