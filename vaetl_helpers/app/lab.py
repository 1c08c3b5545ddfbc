"""JupyterLab on a folder: what is open when it starts, and that it asks no other machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vaetl_helpers.app.variables import kernel_environment
from vaetl_helpers.chapters import chapters_in, copy_course, course_dir
from vaetl_helpers.errors import CourseError
from vaetl_helpers.output import say

# News, updates and extensions would be fetched; a folder that the user prefers lies outside this.
QUIET = (
    "--FileContentsManager.preferred_dir=",
    "--LabApp.news_url=None",
    "--LabApp.check_for_updates_class=jupyterlab.handlers.announcements.NeverCheckForUpdate",
    "--LabApp.extension_manager=readonly",
)
# Nor shall it ask whether to fetch news; and the graders' buttons are no learner's.
NEWS = "@jupyterlab/apputils-extension:announcements"
GRADERS = "@jupyter/nbgrader"
# The file browser has room for whole names, by which 03 and 03b can be told apart.
SETTINGS = {"@jupyterlab/filebrowser-extension:browser": {"showLastModifiedColumn": False}}
FILES_IN_SIGHT = {
    "collapsed": False,
    "visible": True,
    "current": "filebrowser",
    "widgets": ["filebrowser", "running-sessions", "@jupyterlab/toc:plugin"],
}
FILES_WIDTH = 0.24  # of the window
# The browser itself refuses what is not from this server: for submissions, and for --offline.
POLICY = "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; frame-ancestors 'self'"
HEADERS = {"Content-Security-Policy": POLICY}
OFFLINE = {"VAETL_OFFLINE": "1", "HF_HUB_OFFLINE": "1", "PIP_NO_INDEX": "1"}  # for the kernels
OWN = ".jupyter-course"  # this folder's layout and settings: the user's other work keeps its own


def open_course(folder: Path, browser: bool, port: int, *, offline: bool) -> int:
    """Copies the course into the folder and opens JupyterLab on it; returns its exit code.

    The start page is in front, chapter 1 behind it.
    """
    copy_course(course_dir(), folder)
    names = [chapter.path.name for chapter in chapters_in(course_dir()).values()]
    layout = open_first(folder, names[:2])
    say(f"Your copy of the course: {folder}  (end with Ctrl-C)", flush=True)
    options = [f"--LabApp.workspaces_dir={layout}"]
    return serve(folder, "/lab", browser, port, options, offline=offline)


def open_formgrader(folder: Path, browser: bool, port: int, *, offline: bool) -> int:
    """Opens Formgrader on an assignment's folder; returns JupyterLab's exit code."""
    if not (folder / "nbgrader_config.py").exists():
        raise CourseError(
            f"{folder} is no folder of `vaetl assign`: give the one of --out as --dir."
        )
    say(f"Formgrader on {folder}  (end with Ctrl-C)", flush=True)
    # nbgrader's pages ask other machines for MathJax, and a submission could ask for more.
    return serve(folder, "/lab?formgrader=true", browser, port, offline=offline, instructor=True)


def own_folder(folder: Path) -> Path:
    """The folder below `folder` for JupyterLab's layout and settings.

    Raises CourseError where it cannot be written.
    """
    own = folder / OWN
    try:
        (own / "labconfig").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CourseError(
            f"{own} cannot be written ({error}): choose another folder with --dir."
        ) from error
    return own


def open_first(folder: Path, names: Sequence[str]) -> Path:
    """Writes the layout with which JupyterLab opens these notebooks, the first in front.

    A layout that is there stays. Returns the folder of layouts.
    """
    from jupyterlab_server.workspaces_handler import WorkspacesManager

    layouts = own_folder(folder) / "workspaces"
    if layouts.exists():
        return layouts
    tabs = [f"notebook:{name}" for name in names]
    area = {"type": "tab-area", "currentIndex": 0, "widgets": tabs}
    data: dict[str, Any] = {
        "layout-restorer:data": {
            "main": {"dock": area, "current": tabs[0]},
            "left": FILES_IN_SIGHT,
            "relativeSizes": [FILES_WIDTH, 1 - FILES_WIDTH, 0],
        }
    }
    for tab, name in zip(tabs, names, strict=True):
        data[tab] = {"data": {"path": name, "factory": "Notebook"}}
    layout = {"data": data, "metadata": {"id": "default"}}
    WorkspacesManager(str(layouts)).save("default", json.dumps(layout))
    return layouts


def serve(
    folder: Path,
    url: str,
    browser: bool,
    port: int,
    options: Sequence[str] = (),
    *,
    offline: bool,
    instructor: bool = False,
) -> int:
    """Runs JupyterLab on a folder until it ends; returns its exit code.

    An `instructor` sees the graders' buttons, and the browser loads from this server alone; with
    `offline` it does so too, and the kernels ask no other machine.
    """
    own = own_folder(folder)
    tornado: dict[str, Any] = {"static_custom_path": [str(_dress(own, instructor))]}
    if offline or instructor:
        tornado["headers"] = HEADERS
    command = [
        # -P: what lies in the folder, such as a random.py, is not the server's.
        *(sys.executable, "-P", "-m", "jupyterlab"),
        f"--ServerApp.root_dir={folder}",
        f"--port={port}",
        f"--LabApp.default_url={url}",
        *QUIET,
        *options,
        "--LabApp.custom_css=True",
        f"--ServerApp.tornado_settings={tornado}",
        # With a browser nobody need read thirty lines; without one the address must be seen.
        f"--Application.log_level={'WARN' if browser else 'INFO'}",
    ]
    if not browser:
        command.append("--no-browser")
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        command.append("--allow-root")
    server = subprocess.Popen(command, env=_environment(own, offline), cwd=folder)
    while True:
        try:
            return server.wait()
        except KeyboardInterrupt:  # the server has received it too, and asks whether to stop
            continue


def _dress(own: Path, instructor: bool) -> Path:
    """Writes which extensions are off, the settings and the style; returns the style's folder."""
    off = {NEWS: True}
    if not instructor:
        off[GRADERS] = True
    written = {
        own / "labconfig" / "page_config.json": json.dumps({"disabledExtensions": off}),
        own / "labconfig" / "default_setting_overrides.json": json.dumps(SETTINGS),
        own / "custom" / "custom.css": Path(__file__).with_name("lab.css").read_text("utf-8"),
    }
    for path, content in written.items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(content, encoding="utf-8")
    return own / "custom"


def _environment(own: Path, offline: bool) -> dict[str, str]:
    """The server's environment: its settings from `own`, its kernel from this interpreter."""
    environment = kernel_environment()
    # Whatever kernels the user has registered elsewhere.
    environment["JUPYTER_PREFER_ENV_PATH"] = "1"
    if offline:
        environment |= OFFLINE
    paths = [str(own), os.environ.get("JUPYTER_CONFIG_PATH", "")]
    environment["JUPYTER_CONFIG_PATH"] = os.pathsep.join(path for path in paths if path)
    return environment
