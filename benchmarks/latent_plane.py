"""How quickly the latent plane answers in JupyterLab, beside the latent map that it replaces.

    python benchmarks/latent_plane.py [--rounds 3]

Opens one JupyterLab and, in a headless Chromium, two notebooks in turn: the map of commit 6a131b7,
whose kernel decoded and sent a picture at each step, and today's plane, which decodes in the
browser. In each round an arrow key is pressed 50 times on either, and the milliseconds until
another picture is there are measured by the page's own clock.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "helpers")]

from in_browser import chromium, jupyter, open_notebook, run_all  # noqa: E402

COMMIT = "6a131b7"
# A kernel may have been forked from a process that has imported today's package.
OLD = """\
import sys
for name in [name for name in sys.modules if name.split(".")[0] == "vaetl_helpers"]:
    del sys.modules[name]
sys.path.insert(0, {folder!r})
import torch
torch.set_num_threads(1)
from vaetl_helpers import vae, widgets
plane, facts = vae.pretrained("vae-mnist-2d")
widgets.latent_map(plane, alt="a map")
"""
NEW = """\
import torch
torch.set_num_threads(1)
from vaetl_helpers.living.latent_plane import latent_plane
latent_plane(alt="a plane")
"""
# Milliseconds from each of 51 presses to what is shown being another; the first does not count.
PRESS = """
async ([handle, shown]) => {
  const target = document.querySelector(handle);
  const look = () => {
    const tag = document.querySelector(shown);
    return tag.src ?? tag.dataset.state;
  };
  const times = [];
  for (let press = 0; press < 51; press++) {
    const before = look(), started = performance.now();
    target.dispatchEvent(new KeyboardEvent(
        'keydown', {key: 'ArrowRight', keyCode: 39, bubbles: true}));
    while (look() === before) {
      if (performance.now() - started > 5000) throw new Error('a key has changed nothing');
      await new Promise(resolve => setTimeout(resolve, 1));
    }
    times.push(performance.now() - started);
  }
  return times.slice(1);
}
"""
PLACES = {
    "old": (".noUi-handle", ".widget-output img, .jp-OutputArea img[alt]"),
    "new": (".vaetl-living .handle", "[data-state]"),
}


def notebook(path: Path, source: str) -> None:
    python = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    cells = [nbformat.v4.new_code_cell(source)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=python), path)


def presses(page: Any, address: str, name: str) -> list[float]:
    """Milliseconds of 50 answers of one of the two notebooks."""
    open_notebook(page, address, f"{name}.ipynb")
    run_all(page)
    handle, shown = PLACES[name]
    page.wait_for_selector(handle, timeout=90_000)
    page.wait_for_selector(shown, state="attached", timeout=90_000)
    page.wait_for_timeout(3000)  # until the lens is filled
    times: list[float] = page.evaluate(PRESS, [handle, shown])
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    times: dict[str, list[float]] = {"old": [], "new": []}
    with tempfile.TemporaryDirectory() as folder:
        old = Path(folder) / "old"
        archive = subprocess.run(
            ["git", "-C", str(ROOT), "archive", COMMIT, "vaetl_helpers"],
            capture_output=True,
            check=True,
        )
        old.mkdir()
        subprocess.run(["tar", "-x", "-C", str(old)], input=archive.stdout, check=True)
        work = Path(folder) / "work"
        work.mkdir()
        notebook(work / "old.ipynb", OLD.format(folder=str(old)))
        notebook(work / "new.ipynb", NEW)
        with jupyter(work, Path(folder) / "settings") as address, chromium() as page:
            for number in range(rounds):
                for name in ("old", "new") if number % 2 == 0 else ("new", "old"):
                    answers = presses(page, address, name)
                    times[name] += answers
                    print(f"round {number + 1}, {name}: {statistics.median(answers):.1f} ms")
    medians = {name: statistics.median(of_one) for name, of_one in times.items()}
    ratio = medians["new"] / medians["old"]
    print(
        f"median of {len(times['old'])}: {medians['old']:.1f} ms in {COMMIT}, "
        f"{medians['new']:.1f} ms now, {ratio:.2f} of it"
    )


if __name__ == "__main__":
    main()
