"""What a learner does without a network, in an empty home: test_offline.py starts this in a sandbox.

    python offline_learner.py OUT      prints one JSON object a step; the last one is {"done": true}

Nothing is cleaned up: the home is the sandbox's, and gone with it.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from in_browser import chromium, jupyter, open_notebook, outside, run_all

OUT = Path(sys.argv[1])
VAETL = [sys.executable, "-c", "from vaetl_helpers.cli import main; main()"]


def say(**facts: object) -> None:
    print(json.dumps(facts), flush=True)


def who_and_where() -> None:
    import vaetl_helpers
    from vaetl_helpers.runtime import course_dir

    with socket.socket() as one:
        one.settimeout(3)
        reached = one.connect_ex(("192.0.2.1", 80)) == 0  # an address for examples: no route to it here
    writable = [str(path) for path in (Path(vaetl_helpers.__file__).parent, course_dir()) if os.access(path, os.W_OK)]
    say(uid=os.getuid(), home=os.listdir(Path.home()), writable=writable, network=reached)


def in_jupyterlab() -> None:
    """The start page and the latent map of chapter 3, in a browser."""
    home = Path.home()
    with jupyter(home / "vaetl-course", home / "settings", "--offline") as address, chromium() as page:
        open_notebook(page, address, "00_start_here.ipynb")
        cells = run_all(page)
        page.screenshot(path=OUT / "offline_start_page.png")
        errors = [cell["error"] for cell in cells if cell["error"] or not cell["ran"]]
        tested = next(cell["text"] for cell in cells if "tests passed" in cell["text"])
        say(notebooks=sorted(path.name for path in (home / "vaetl-course").glob("*.ipynb")), errors=errors,
            tested=tested, outside=outside(page, address))  # fmt: skip


def whole_course() -> None:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        done = subprocess.run([*VAETL, "run", "--out", str(out)], capture_output=True, text=True)
        entries = json.loads((out / "metrics.json").read_text("utf-8"))["chapters"]
        said = {number: entry["status"] for number, entry in entries.items()}
        say(run=said, code=done.returncode, end=(done.stdout + done.stderr)[-1500:])


if __name__ == "__main__":
    who_and_where()
    in_jupyterlab()
    whole_course()
    say(done=True)
