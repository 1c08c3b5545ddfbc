"""Peak memory of each chapter as Binder runs it: server and one kernel, in the profile it gets.

    python benchmarks/memory.py                  all chapters, about a minute each
    python benchmarks/memory.py 01 03 --json memory.json

Each learner's notebook is run, cell by cell and as it is, in a kernel that a JupyterLab server
started. Ten times a second the memory of the server and of all processes below it is added up.
PSS counts a page that several processes share once in all, RSS once for each of them. Both count
what was read from files, the libraries' code above all, which a machine short of memory can drop
and read again; "anonymous" is PSS without it, at its own peak. Needs Linux.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
from jupyter_client import BlockingKernelClient

from vaetl_helpers.chapters import chapters_in, choose, course_dir
from vaetl_helpers.output import format_table

LIMIT = 1.5  # GB; Binder promises 0.45 and ends a session at 2
GB = 1e9
START = Path(__file__).parents[1] / "binder" / "start"  # through which Binder starts everything


class Peak(threading.Thread):
    """Watches a process and its children until told to stop; `most` holds the largest sums in
    bytes.
    """

    def __init__(self, process: int) -> None:
        super().__init__(daemon=True)
        self.root, self.done, self.most = psutil.Process(process), threading.Event(), Counter()

    def run(self) -> None:
        while not self.done.wait(0.1):
            now: Counter[str] = Counter()
            try:
                family = [self.root, *self.root.children(recursive=True)]
            except psutil.Error:  # the first of them has ended
                return
            for process in family:
                with contextlib.suppress(OSError):  # it has ended in the meantime
                    lines = (
                        Path(f"/proc/{process.pid}/smaps_rollup")
                        .read_text("utf-8")
                        .splitlines()[1:]
                    )
                    now.update(
                        {
                            key: int(size.split()[0]) * 1024
                            for key, size in (x.split(":") for x in lines)
                        }
                    )
            self.most |= now  # the larger of the two, for each key


@contextlib.contextmanager
def lab(folder: Path) -> Iterator[tuple[str, int]]:
    """The address and the process number of a JupyterLab that believes to be on Binder and shows
    `folder`.
    """
    with contextlib.closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        str(START),
        sys.executable,
        "-m",
        "jupyterlab",
        "--no-browser",
        f"--port={port}",
        "--IdentityProvider.token=",
        "--ServerApp.disable_check_xsrf=True",
        f"--ServerApp.root_dir={folder}",
        "--allow-root",
        "--ServerApp.port_retries=0",
    ]
    binder = {
        "BINDER_SERVICE_HOST": "127.0.0.1",
        "JUPYTER_RUNTIME_DIR": str(folder),
        "JUPYTER_PREFER_ENV_PATH": "1",
    }
    with open(folder / "server.log", "w") as log:
        server = subprocess.Popen(command, env=os.environ | binder, stdout=log, stderr=log)
    try:
        for _ in range(300):
            with contextlib.suppress(OSError):
                ask(f"http://127.0.0.1:{port}/api")
                break
            time.sleep(0.3)
        yield f"http://127.0.0.1:{port}", server.pid
    finally:
        server.terminate()
        server.wait(30)


def ask(address: str, content: dict[str, Any] | None = None) -> Any:
    """What the server answers; with content, to a POST."""
    request = urllib.request.Request(
        address, data=json.dumps(content).encode() if content else None
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def run(notebook: str, address: str, folder: Path) -> str:
    """Runs a notebook in a kernel of the server; the line that `setup` printed, or the error."""
    cells = ask(f"{address}/api/contents/{notebook}")["content"]["cells"]
    about = {"path": notebook, "name": notebook, "type": "notebook", "kernel": {"name": "python3"}}
    kernel = ask(f"{address}/api/sessions", about)["kernel"]["id"]
    client = BlockingKernelClient(connection_file=str(folder / f"kernel-{kernel}.json"))
    client.load_connection_file()
    client.start_channels()
    for _ in range(20):  # a busy machine answers late, which the client takes for dead
        with contextlib.suppress(RuntimeError):
            client.wait_for_ready(timeout=30)
            break
    said: list[str] = []

    def hear(message: dict[str, Any]) -> None:
        said.append(message["content"].get("data", {}).get("text/plain", ""))

    for cell in cells:
        if cell["cell_type"] == "code":
            reply = client.execute_interactive(
                cell["source"], output_hook=hear, timeout=900, allow_stdin=False
            )
            if reply["content"]["status"] == "error":
                return f"{reply['content']['ename']}: {reply['content']['evalue']}"
    return next((text for text in said if text.startswith("Chapter ")), "no line of the set-up")


def measure(chapter: Any) -> dict[str, Any]:
    """One chapter's peak in GB, with the server's own before any kernel."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "course").mkdir()
        shutil.copy(chapter.path, folder / "course")
        with lab(folder) as (address, number):
            peak, started = Peak(number), time.perf_counter()
            peak.start()
            time.sleep(1)
            alone = peak.most["Pss"]
            said = run(f"course/{chapter.path.name}", address, folder)
            peak.done.set()
            peak.join()
    seconds = time.perf_counter() - started
    sizes = {
        "pss": peak.most["Pss"],
        "anonymous": peak.most["Pss_Anon"],
        "rss": peak.most["Rss"],
        "server": alone,
    }
    return {"chapter": chapter.number, "seconds": seconds, "setup": said} | {
        k: v / GB for k, v in sizes.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("chapters", nargs="*")
    parser.add_argument("--json", type=Path, help="a file for the numbers")
    options = parser.parse_args()
    found = [measure(chapter) for chapter in choose(options.chapters, chapters_in(course_dir()))]
    head = ("chapter", "PSS, GB", "anonymous, GB", "RSS, GB", "server alone, GB", "seconds", "said")
    keys = ("pss", "anonymous", "rss", "server", "seconds")
    print(
        format_table(
            head,
            [(row["chapter"], *(f"{row[key]:.2f}" for key in keys), row["setup"]) for row in found],
        )
    )
    most = max(row["pss"] for row in found)
    print(
        f"\nmost: {most:.2f} GB PSS, {'below' if most < LIMIT else 'ABOVE'} the {LIMIT} GB that "
        "were set as a limit"
    )
    if options.json:
        options.json.write_text(json.dumps(found, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
