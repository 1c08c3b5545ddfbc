"""What a learner does without a network, in an empty home: test_offline.py starts it, confined.

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
import urllib.request
from pathlib import Path

import nbformat
from in_browser import chromium, jupyter, open_notebook, outside, run_all
from nbformat import v4

OUT = Path(sys.argv[1])
VAETL = [sys.executable, "-c", "from vaetl_helpers.app.cli import main; main()"]


def say(**facts: object) -> None:
    print(json.dumps(facts), flush=True)


def who_and_where() -> None:
    import vaetl_helpers
    from vaetl_helpers.chapters import course_dir

    with socket.socket() as one:
        one.settimeout(3)
        reached = (
            one.connect_ex(("192.0.2.1", 80)) == 0
        )  # an address for examples: no route to it here
    writable = [
        str(path)
        for path in (Path(vaetl_helpers.__file__).parent, course_dir())
        if os.access(path, os.W_OK)
    ]
    say(uid=os.getuid(), home=os.listdir(Path.home()), writable=writable, network=reached)


# Formulas, a control, and what the kernel was told: under the policy that --offline gives.
FORMULA = (
    r"A formula: $\frac{a}{b}$, and a picture: ![of another machine](https://example.org/a.png)"
)
KERNEL = (
    "import os\nprint(*(os.environ.get(name) for name in ('VAETL_OFFLINE', 'HF_HUB_OFFLINE', "
    "'PIP_NO_INDEX')))"
)
PLANE = """\
from vaetl_helpers.living.latent_plane import latent_plane
latent_plane(alt="two planes of codes")"""


def a_notebook(path: Path) -> None:
    python = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    cells = [v4.new_markdown_cell(FORMULA), v4.new_code_cell(KERNEL), v4.new_code_cell(PLANE)]
    nbformat.write(v4.new_notebook(metadata=python, cells=cells), path)


def in_jupyterlab() -> None:
    """The start page; a notebook with a formula, a control, and a picture that is not to be had."""
    home = Path.home()
    with (
        jupyter(home / "vaetl-course", home / "settings", "--offline") as address,
        chromium() as page,
    ):
        open_notebook(page, address, "00_start_here.ipynb")
        cells = run_all(page)
        page.screenshot(path=OUT / "offline_start_page.png")
        errors = [cell["error"] for cell in cells if cell["error"] or not cell["ran"]]
        tested = next(cell["text"] for cell in cells if "tests passed" in cell["text"])
        say(
            notebooks=sorted(path.name for path in (home / "vaetl-course").glob("*.ipynb")),
            errors=errors,
            tested=tested,
            outside=outside(page, address),
        )
        with urllib.request.urlopen(f"{address}/lab") as answer:
            say(policy=answer.headers["Content-Security-Policy"])
        a_notebook(home / "vaetl-course" / "mine.ipynb")
        open_notebook(page, address, "mine.ipynb")
        told = run_all(page)[0]["text"].strip()
        page.wait_for_selector(".vaetl-living .handle")
        page.wait_for_selector("mjx-container")
        picture = page.evaluate("document.querySelector('img[alt^=\"of another\"]').naturalWidth")
        say(
            told=told,
            maps=page.locator('[aria-label="two planes of codes"]').count(),
            picture=picture,
        )


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
