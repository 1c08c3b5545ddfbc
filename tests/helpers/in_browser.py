"""A JupyterLab as `vaetl lab` starts it, and a headless Chromium on it: for tests, and for a
learner in a sandbox.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CHROMIUM = "/usr/bin/chromium"
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
SCREENS = Path(__file__).parents[2] / ".screens"  # where a person can look at what the tests saw
# The indicator says "idle" before there is a kernel, and cells that are run then are lost.
READY = """
async () => {
  const notebook = window.jupyterapp?.shell.currentWidget?.context;
  if (!notebook) return false;
  await notebook.ready;
  await notebook.sessionContext.ready;
  return notebook.sessionContext.session?.kernel?.connectionStatus === 'connected';
}
"""
# Opens a notebook without a kernel, brings every cell onto the screen, and says what became of it.
LOOK = """
async path => {
  const panel = await window.jupyterapp.commands.execute(
    'docmanager:open',
    {path, factory: 'Notebook', kernelPreference: {shouldStart: false, canStart: false}});
  await panel.context.ready;
  await panel.revealed;
  const cells = panel.content.widgets;
  const seen = {cells: cells.length, markdown: 0, formulas: 0, faults: []};
  for (const [number, cell] of cells.entries()) {
    await panel.content.scrollToItem(number);
    await cell.ready;
    if (cell.model.type !== 'markdown') continue;
    const source = cell.model.sharedModel.getSource(), end = performance.now() + 15000;
    const formulas = /\\$/.test(source.replace(/`[^`]*`/g, ''));
    const text = () => cell.node.querySelector('.jp-RenderedMarkdown')?.textContent.trim();
    const drawn = () => text() && (!formulas || cell.node.querySelector('mjx-container'));
    while (!drawn() && performance.now() < end)
      await new Promise(resolve => setTimeout(resolve, 20));
    if (!drawn()) seen.faults.push(`cell ${number} is not rendered: ${source.slice(0, 60)}`);
    if (cell.node.querySelector('mjx-merror'))
      seen.faults.push(`cell ${number}: a formula has an error`);
    for (const image of cell.node.querySelectorAll('img'))
      if (image.ariaHidden !== 'true' && (!image.alt || !image.naturalWidth))
        seen.faults.push(`cell ${number}: ${image.outerHTML.slice(0, 80)}`);
    seen.markdown += 1;
    seen.formulas += cell.node.querySelectorAll('mjx-container').length;
  }
  seen.title = cells[0].node.querySelector('h1')?.textContent;
  return seen;
}
"""
RUN_ALL = "() => window.jupyterapp.commands.execute('notebook:run-all-cells')"
# What the code cells of the notebook in front hold: whether each has run, its errors, and its text.
OUTPUTS = """
() => window.jupyterapp.shell.currentWidget.content.widgets
  .filter(cell => cell.model.type === 'code').map(cell => ({
  id: cell.model.id,
  ran: cell.model.executionCount !== null,
  error: cell.model.outputs.toJSON().find(output => output.output_type === 'error')?.evalue ?? null,
  text: cell.model.outputs.toJSON()
    .map(output => output.text ?? output.data?.['text/plain'] ?? '').flat().join('')}))
"""


@contextlib.contextmanager
def jupyter(folder: Path, settings: Path, *options: str, **environment: str) -> Iterator[str]:
    """`vaetl lab --dir FOLDER`; gives its address. `settings` is this server's; without a token all
    may enter.
    """
    with contextlib.closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings.mkdir(parents=True, exist_ok=True)
    config = {"LabApp": {"expose_app_in_browser": True}}
    config |= {} if "JUPYTER_TOKEN" in environment else {"IdentityProvider": {"token": ""}}
    (settings / "jupyter_lab_config.json").write_text(json.dumps(config), encoding="utf-8")
    given = {
        "JUPYTER_CONFIG_DIR": str(settings),
        "OMP_NUM_THREADS": "1",
        "IPYTHONDIR": str(settings / "ipython"),
    }
    given = os.environ | given | environment
    command = [
        sys.executable,
        "-c",
        "from vaetl_helpers.app.cli import main; main()",
        "lab",
        "--dir",
        str(folder),
    ]
    command += ["--no-browser", "--port", str(port), *options]
    with open(settings / "log", "w", encoding="utf-8") as log:
        server = subprocess.Popen(
            command, env=given, stdout=log, stderr=log, start_new_session=True
        )
    try:
        deadline = time.monotonic() + 90
        while True:
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/api", timeout=2).close()
                break
            said = (settings / "log").read_text("utf-8")
            assert time.monotonic() < deadline and server.poll() is None, (
                f"JupyterLab does not start: {said[-2000:]}"
            )
            time.sleep(0.3)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(20)


@contextlib.contextmanager
def chromium() -> Iterator[Any]:
    """A page of a browser; `page.asked` lists the addresses that it has asked for."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        page = browser.new_page(viewport={"width": 1200, "height": 900})
        page.set_default_timeout(60_000)
        page.asked = []
        page.on("request", lambda request: page.asked.append(request.url))
        yield page
        browser.close()


def outside(page: Any, address: str) -> list[str]:
    """What the page has asked of anyone but the server at `address`."""
    own = (address, address.replace("http", "ws"), "data:", "blob:")
    return [url for url in page.asked if not url.startswith(own)]


def open_notebook(page: Any, address: str, path: str) -> None:
    """Opens a notebook and waits for its kernel."""
    page.goto(f"{address}/lab/tree/{path}?reset", timeout=90_000)
    page.wait_for_selector(".jp-Notebook-ExecutionIndicator", timeout=90_000)
    page.wait_for_function(READY, timeout=90_000)


def run_all(page: Any, milliseconds: int = 180_000) -> list[dict[str, Any]]:
    """Runs all cells of the notebook in front, waits for the end, and returns what each code cell
    holds.
    """
    page.set_default_timeout(milliseconds)
    page.evaluate(RUN_ALL)
    page.set_default_timeout(60_000)
    return page.evaluate(OUTPUTS)
