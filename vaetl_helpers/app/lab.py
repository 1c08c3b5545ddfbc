"""JupyterLab on a folder: what is open when it starts, and that it asks nothing of other machines."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from vaetl_helpers.errors import CourseError

# News, updates and extensions would be fetched; a folder that the user prefers would lie outside this one.
QUIET = (
    "--FileContentsManager.preferred_dir=",
    "--LabApp.news_url=None",
    "--LabApp.check_for_updates_class=jupyterlab.handlers.announcements.NeverCheckForUpdate",
    "--LabApp.extension_manager=readonly",
)
NO_NEWS = {
    "disabledExtensions": {"@jupyterlab/apputils-extension:announcements": True}
}  # nor the question about them
# The browser itself refuses whatever is not from this server: for a submission's pages, and for --offline.
POLICY = "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; frame-ancestors 'self'"
LOCAL = (f"--ServerApp.tornado_settings={ {'headers': {'Content-Security-Policy': POLICY}} }",)
OFFLINE = {"VAETL_OFFLINE": "1", "HF_HUB_OFFLINE": "1", "PIP_NO_INDEX": "1"}  # for the kernels
OWN = ".jupyter-course"  # this folder's layout and settings: the user's other work keeps its own


def own_folder(folder: Path) -> Path:
    """The folder below `folder` for JupyterLab's layout and settings; CourseError where it cannot be written."""
    try:
        (folder / OWN / "labconfig").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CourseError(
            f"{folder / OWN} cannot be written ({error}): choose another folder with --dir."
        ) from error
    return folder / OWN


def open_first(folder: Path, names: Sequence[str]) -> Path:
    """Writes the layout with which JupyterLab opens these notebooks, the first in front; one that is there stays."""
    from jupyterlab_server.workspaces_handler import WorkspacesManager

    layouts = own_folder(folder) / "workspaces"
    if not layouts.exists():
        tabs = [f"notebook:{name}" for name in names]
        area = {"type": "tab-area", "currentIndex": 0, "widgets": tabs}
        data: dict[str, object] = {
            "layout-restorer:data": {"main": {"dock": area, "current": tabs[0]}}
        }
        data |= {
            tab: {"data": {"path": name, "factory": "Notebook"}}
            for tab, name in zip(tabs, names, strict=True)
        }
        content = {"data": data, "metadata": {"id": "default"}}
        WorkspacesManager(str(layouts)).save("default", json.dumps(content))
    return layouts


def serve(
    folder: Path,
    url: str,
    browser: bool,
    port: int,
    options: Sequence[str] = (),
    *,
    local: bool,
    offline: bool,
) -> int:
    """Runs JupyterLab on a folder until it ends; returns its exit code.

    With `local` the browser loads from this server alone, with `offline` the kernels, too, ask no other machine.
    """
    config = own_folder(folder) / "labconfig" / "page_config.json"
    config.write_text(json.dumps(NO_NEWS), encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "jupyterlab",
        f"--ServerApp.root_dir={folder}",
        f"--port={port}",
    ]
    command += [
        f"--LabApp.default_url={url}",
        *([] if browser else ["--no-browser"]),
        *QUIET,
        *options,
    ]
    # With a browser nobody need read thirty lines; without one the address must be seen, whatever else is said.
    command += [
        f"--Application.log_level={'WARN' if browser else 'INFO'}",
        *(LOCAL if local else ()),
    ]
    command += ["--allow-root"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    # The kernel is this interpreter's, whatever kernels the user has registered elsewhere.
    environment = os.environ | {"JUPYTER_PREFER_ENV_PATH": "1"} | (OFFLINE if offline else {})
    found = os.environ.get("JUPYTER_CONFIG_PATH")
    environment["JUPYTER_CONFIG_PATH"] = os.pathsep.join(filter(None, (str(folder / OWN), found)))
    server = subprocess.Popen(command, env=environment, cwd=folder)
    while True:
        try:
            return server.wait()
        except KeyboardInterrupt:  # the server has received it too, and asks whether to stop
            continue
