"""A real JupyterLab in a real browser (Debian's Chromium, headless)."""

from __future__ import annotations

import contextlib
import os
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest

CHROMIUM = "/usr/bin/chromium"
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync")  # fmt: skip
pytestmark = [pytest.mark.slow, pytest.mark.debian("chromium", CHROMIUM)]
MAP = """\
import torch
torch.set_num_threads(1)
from vaetl_helpers import vae, widgets
plane, facts = vae.pretrained("vae-mnist-2d")
widgets.latent_map(plane, alt="a map of digits and the digit at one point")
"""
# The indicator says "idle" before there is a kernel, and cells that are run then are lost without a word.
READY = """
async () => {
  const notebook = window.jupyterapp?.shell.currentWidget?.context;
  if (!notebook) return false;
  await notebook.ready;
  await notebook.sessionContext.ready;
  return notebook.sessionContext.session?.kernel?.connectionStatus === 'connected';
}
"""
# Milliseconds from each of 51 presses of the arrow key to the new picture; the first does not count.
DRAG = """
async handle => {
  const image = () => document.querySelector('.widget-output img, .jp-OutputArea img[alt]').src;
  const times = [];
  for (let press = 0; press < 51; press++) {
    const before = image(), started = performance.now();
    handle.dispatchEvent(new KeyboardEvent('keydown', {key: 'ArrowRight', keyCode: 39, bubbles: true}));
    while (image() === before) {
      if (performance.now() - started > 5000) return times;
      await new Promise(resolve => setTimeout(resolve, 1));
    }
    times.push(performance.now() - started);
  }
  return times.slice(1);
}
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The address of a JupyterLab, and the folder that it shows."""
    folder = tmp_path_factory.mktemp("lab")
    with contextlib.closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", f"--port={port}", "--ServerApp.port_retries=0",
               "--IdentityProvider.token=", f"--ServerApp.root_dir={folder}", "--allow-root",
               "--LabApp.expose_app_in_browser=True"]  # fmt: skip
    environment = os.environ | {"JUPYTER_PREFER_ENV_PATH": "1", "OMP_NUM_THREADS": "1"}
    server = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 90
        while True:
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"{address}/api", timeout=2).close()
                break
            assert time.monotonic() < deadline and server.poll() is None, "JupyterLab does not start"
            time.sleep(0.3)
        yield address, folder
    finally:
        server.terminate()
        server.wait(20)


@pytest.fixture(scope="module")
def page(lab: tuple[str, Path]) -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        page = browser.new_page(viewport={"width": 1200, "height": 900})
        page.set_default_timeout(60_000)
        page.asked = []
        page.on("request", lambda request: page.asked.append(request.url))
        yield page
        browser.close()


def test_moving_the_latent_map_redraws_the_picture_at_once(lab: tuple[str, Path], page: Any, tmp_path: Path) -> None:
    address, folder = lab
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}  # else it asks
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(MAP)], metadata=kernel)
    nbformat.write(notebook, folder / "map.ipynb")
    page.goto(f"{address}/lab/tree/map.ipynb", timeout=90_000)
    page.wait_for_selector(".jp-Notebook-ExecutionIndicator", timeout=90_000)
    page.wait_for_function(READY, timeout=90_000)
    page.evaluate("void window.jupyterapp.commands.execute('notebook:run-all-cells')")
    page.wait_for_selector('.jp-OutputArea img[alt="a map of digits and the digit at one point"]', timeout=90_000)
    handle = page.wait_for_selector(".noUi-handle", timeout=30_000)
    handle.focus()
    times = handle.evaluate(DRAG)
    page.screenshot(path=tmp_path / "latent_map.png")
    assert len(times) == 50, f"only {len(times)} of 50 movements changed the picture"
    assert page.query_selector_all(".widget-label") and len(page.query_selector_all(".noUi-handle")) == 2
    outside = [
        url for url in page.asked if not url.startswith((address, address.replace("http", "ws"), "data:", "blob:"))
    ]
    assert not outside
    # No test asserts an absolute time: `pytest -s` prints it.
    print(f"latent map: {statistics.median(times):.0f} ms from key to picture, median of 50, {tmp_path}/latent_map.png")
