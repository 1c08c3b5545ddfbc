"""A Jupyter kernel in a sandbox: no network, nothing to write but memory, no files but Python's and the package's."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
import site
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import zmq
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from traitlets import Bool, Instance, default

PACKAGE = Path(__file__).parents[2]
INSIDE, WATCH = (Path(__file__).with_name(name) for name in ("inside.py", "watch.py"))
SPARE_UID = 64100  # a grader who is root gives the sandbox a user of its own, from here on
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
SETTINGS = ("ld.so.cache", "alternatives", "fonts", "localtime")  # of /etc; no accounts, no keys
INSTALL = "sudo apt-get install bubblewrap  (Fedora: sudo dnf install bubblewrap)"
HOME = "/tmp/home"
SHORT = Path("/tmp")  # for sockets: their paths have at most 107 characters


@dataclass(frozen=True)
class Limits:
    """What one submission may use; sizes in MB, times in seconds, threads count as processes."""

    cell_seconds: int = 60
    seconds: int = 600
    memory: int = 3000
    disk: int = 256
    processes: int = 128
    output: int = 20


@functools.cache
def problem() -> str | None:
    """Why there can be no sandbox here, and what to do; None where one was just started with success."""
    if not sys.platform.startswith("linux"):
        return "bubblewrap needs Linux: grade on a Linux machine, in WSL 2 or in a virtual machine"
    if not shutil.which("bwrap"):
        return f"bubblewrap is missing: {INSTALL}"
    tried = subprocess.run([*_bwrap(Limits()), "--", "/bin/true"], capture_output=True, text=True)
    if tried.returncode == 0:
        return None
    advice = "this system forbids user namespaces (sysctl kernel.apparmor_restrict_unprivileged_userns=0 allows them;"
    return f"bubblewrap cannot start ({tried.stderr.strip()}): {advice} in a container, --privileged does)"


def command(
    arguments: list[str], folder: Path, limits: Limits, exercises: Path | None
) -> list[str]:
    """The command of a watched kernel, with its `arguments`, in a sandbox.

    `exercises` is the folder of what `inside` needs to drive them. With None the kernel is one for public checks: the
    package's own exercises are there, and `check` raises.
    """
    size = {
        name: value * 2**20 for name, value in asdict(limits).items() if name in ("memory", "disk")
    }
    watched = {"memory": size["memory"], "processes": limits.processes, "seconds": limits.seconds}
    watched["parent"] = os.getpid()
    rlimits = {
        "RLIMIT_DATA": size["memory"],
        "RLIMIT_FSIZE": size["disk"],
        "RLIMIT_NPROC": limits.processes,
    }
    rlimits |= {"RLIMIT_CORE": 0, "RLIMIT_NOFILE": 512}  # every open socket has a buffer
    given = {"limits": rlimits, "uid": _spare_uid()}
    hidden = ["--setenv", "VAETL_GRADING", "1"]
    if exercises:
        given["folder"] = "/exercises"
        hidden = ["--ro-bind", str(exercises), "/exercises"]
        hidden += [word for folder in _hidden_folders() for word in ("--tmpfs", str(folder))]
    start = [sys.executable, "/inside.py", json.dumps(given), *arguments]
    sockets = _bind("--bind", folder / "sockets") + _bind("--ro-bind", folder / "connection.json")
    sandbox = [
        *_bwrap(limits),
        "--ro-bind",
        str(INSIDE),
        "/inside.py",
        *sockets,
        *hidden,
        "--remount-ro",
        "/",
    ]
    return [sys.executable, str(WATCH), json.dumps(watched), str(folder), *sandbox, "--", *start]


def _hidden_folders() -> list[Path]:
    """Where checks and solutions lie; an editable installation has copies of the notebooks beside its packages."""
    packages = {PACKAGE} | {Path(folder).resolve() / PACKAGE.name for folder in sys.path}
    parts = [
        package / name
        for package in sorted(packages)
        for name in ("exercises", "grading", "course")
    ]
    return [part for part in parts if part.is_dir()]


def _bwrap(limits: Limits) -> list[str]:
    """bubblewrap with Python, the package and the system to read, and memory of a limited size to write."""
    words = [
        shutil.which("bwrap") or "bwrap",
        "--die-with-parent",
        "--new-session",
        "--hostname",
        "sandbox",
    ]
    if os.geteuid() == 0:
        # The sandbox's process gives up being root itself: the kernel does not limit the processes of root.
        words += [
            "--unshare-ipc",
            "--unshare-pid",
            "--unshare-net",
            "--unshare-uts",
            "--unshare-cgroup-try",
        ]
        words += ["--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    else:
        words += ["--unshare-all", "--unshare-user"]
    for path in map(Path, SYSTEM):
        if path.is_symlink():
            words += ["--symlink", os.readlink(path), str(path)]
        elif path.exists():
            words += ["--ro-bind", str(path), str(path)]
    for name in SETTINGS:
        words += ["--ro-bind-try", f"/etc/{name}", f"/etc/{name}"]
    size, writable = str(limits.disk * 2**20), ["--perms", "1777", "--size"]
    words += [
        "--proc",
        "/proc",
        "--dev",
        "/dev",
        *writable,
        size,
        "--tmpfs",
        "/dev/shm",
        "--remount-ro",
        "/dev",
    ]
    words += [*writable, size, "--tmpfs", "/tmp", "--perms", "1777", "--dir", HOME, "--chdir", HOME]
    for path in _python_folders():
        words += _bind("--ro-bind", path)
    return words + _environment()


def _bind(how: str, path: Path) -> list[str]:
    """Shows a path in its own place; the folders above it, empty otherwise, can be entered by any user."""
    above = [word for parent in reversed(path.parents[:-1]) for word in ("--dir", str(parent))]
    return [*above, how, str(path), str(path)]


def _python_folders() -> list[Path]:
    """This interpreter, its packages and ours; never the folder of a checkout, with its tests and solutions."""
    folders = {
        Path(sys.prefix),
        Path(sys.base_prefix),
        Path(sys.executable).resolve().parents[1],
        PACKAGE,
    }
    folders |= {Path(site.getusersitepackages())} if site.ENABLE_USER_SITE else set()
    here = sorted(path for path in folders if path.exists() and not path.is_relative_to("/usr"))
    return [
        path
        for path in here
        if not any(path != other and path.is_relative_to(other) for other in here)
    ]


def _environment() -> list[str]:
    variables = {
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        "HOME": HOME,
        "USER": "learner",
    }
    variables |= {
        "LANG": "C.UTF-8",
        "OMP_NUM_THREADS": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "TMPDIR": "/tmp",
    }
    variables["PYTHONPATH"] = str(
        PACKAGE.parent
    )  # the package that grades, wherever it was imported from
    words = ["--clearenv"]
    for name, value in (variables | {"MPLCONFIGDIR": f"{HOME}/.matplotlib"}).items():
        words += ["--setenv", name, value]
    fonts = _font_list()  # made anew it takes seconds
    folder = ["--perms", "1777", "--dir", f"{HOME}/.matplotlib"]
    return words + (
        [*folder, "--ro-bind", str(fonts), f"{HOME}/.matplotlib/{fonts.name}"] if fonts else folder
    )


@functools.cache
def _font_list() -> Path | None:
    import matplotlib

    return next(iter(sorted(Path(matplotlib.get_cachedir()).glob("fontlist-*.json"))), None)


def _spare_uid() -> int:
    return SPARE_UID + os.getpid() % 400 if os.geteuid() == 0 else 0


def kernel_folder(parent: Path | None) -> Path:
    """A new folder for a kernel's connection file and its sockets; nobody but the grader can enter it."""
    folder = Path(tempfile.mkdtemp(prefix="vaetl-", dir=parent))
    (folder / "sockets").mkdir()
    (folder / "sockets").chmod(0o777)  # the sandbox's user may be another one
    return folder


class SandboxedKernel(AsyncKernelManager):
    """Starts this interpreter's kernel in a sandbox, whatever kernel a notebook asks for."""

    limits = Instance(Limits, ())
    exercises = Instance(Path, allow_none=True)
    sandboxed = Bool(True)
    folder = Instance(Path)

    @default("folder")
    def _folder_default(self) -> Path:
        return kernel_folder(SHORT if self.sandboxed else None)

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        if self.sandboxed:
            self.transport, self.ip = "ipc", str(self.folder / "sockets" / "k")
        self.connection_file = str(self.folder / "connection.json")

    @property
    def kernel_spec(self) -> KernelSpec:
        argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        # By message: a signal would reach the process around the sandbox, and end it.
        return KernelSpec(
            argv=argv, display_name="Sandbox", language="python", interrupt_mode="message"
        )

    def format_kernel_cmd(self, extra_arguments: list[str] | None = None) -> list[str]:
        """The kernel's command; the connection file is written when this is called."""
        kernel = super().format_kernel_cmd(extra_arguments)
        if not self.sandboxed:
            given = {"folder": str(self.exercises)} if self.exercises else {}
            return [sys.executable, str(INSIDE), json.dumps(given), *kernel[3:]]
        if why := problem():
            from vaetl_helpers.errors import (
                CourseError,
            )  # not above: it brings torch, which `runner` does without

            raise CourseError(f"No sandbox, so nothing was run: {why}.")
        Path(self.connection_file).chmod(0o644)
        return command(kernel[3:], self.folder, self.limits, self.exercises)

    async def _async_interrupt_kernel(self) -> None:
        """Asks for an interrupt, and waits for nothing: a kernel may have broken its end of the socket."""
        self._connect_control_socket()
        self._control_socket.sndtimeo = 0
        with contextlib.suppress(zmq.Again):
            await super()._async_interrupt_kernel()

    interrupt_kernel = _async_interrupt_kernel

    async def _async_cleanup_resources(self, restart: bool = False) -> None:
        """Removes the sockets too."""
        await super()._async_cleanup_resources(restart=restart)
        if not restart:
            shutil.rmtree(self.folder, ignore_errors=True)

    cleanup_resources = _async_cleanup_resources  # nbclient's name for it
