"""A Jupyter kernel in a sandbox.

No network, nothing to write but memory, no files but Python's and the package's.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
import signal
import site
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import zmq
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from traitlets import Bool, Instance, default

from vaetl_helpers.errors import CourseError
from vaetl_helpers.grading.sandbox.job import Limits
from vaetl_helpers.grading.sandbox.users import SpareUser

PACKAGE = Path(__file__).parents[2]
INSIDE = Path(__file__).with_name("inside.py")
WATCH = Path(__file__).with_name("watch.py")
SYSTEM_FOLDERS = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
SETTINGS = ("ld.so.cache", "alternatives", "fonts", "localtime")  # of /etc; no accounts, no keys
HIDDEN_FOLDERS = ("exercises", "grading", "course")  # of the package: checks and solutions
INSTALL = "sudo apt-get install bubblewrap  (Fedora: sudo dnf install bubblewrap)"
HOME = "/tmp/home"
SHORT = Path("/tmp")  # for sockets: their paths have at most 107 characters
MB = 2**20
TRIALS = 3
FROM_OUTSIDE = (signal.SIGHUP, signal.SIGINT, signal.SIGKILL, signal.SIGTERM)
OF_A_SIGNAL = 128  # with its number: bubblewrap's exit code where one has ended the command
OPEN_FILES = 512  # at once; every open socket has a buffer
# A folder in memory, for any user, of a size that follows.
WRITABLE = ["--perms", "1777", "--size"]


def why_unavailable() -> str | None:
    """Why there can be no sandbox here, and what to do; None where one has started."""
    try:
        return _why_unavailable()
    except TrialKilledError as error:  # says nothing of this system: it is asked again
        return str(error)


class TrialKilledError(Exception):
    """Somebody else has ended each empty sandbox that was started as a trial."""


@functools.cache
def _why_unavailable() -> str | None:
    if not sys.platform.startswith("linux"):
        return "bubblewrap needs Linux: grade on a Linux machine, in WSL 2 or in a virtual machine"
    if not shutil.which("bwrap"):
        return f"bubblewrap is missing: {INSTALL}"
    for _ in range(TRIALS):
        status, reason = _trial()
        if status == 0:
            return None
        if _ended_from_outside(status) is None:
            return (
                f"bubblewrap cannot start ({reason or f'ended with {status}'}): this system "
                "forbids user namespaces (sysctl kernel.apparmor_restrict_unprivileged_userns=0 "
                "allows them; in a container, --privileged does)"
            )
    raise TrialKilledError(
        f"bubblewrap, or what it started, was ended {TRIALS} times by a signal from outside "
        f"({_ended_from_outside(status)}{reason and ', '}{reason}): look at what ends processes "
        "here, such as a lack of memory, and grade again"
    )


def _ended_from_outside(status: int) -> str | None:
    """The signal by which somebody else has ended bubblewrap or its command, if it was one."""
    number = -status if status < 0 else status - OF_A_SIGNAL
    return signal.Signals(number).name if number in FROM_OUTSIDE else None


def _trial() -> tuple[int, str]:
    """Starts an empty sandbox: its exit code, below 0 where a signal ended it, and its message."""
    # A file: bubblewrap that is killed as it starts can leave a process that keeps a pipe open.
    with tempfile.TemporaryFile() as errors:
        trial = subprocess.run(
            [*bubblewrap(Limits()), "--", "/bin/true"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
        )
        errors.seek(0)
        return trial.returncode, errors.read().decode(errors="replace").strip()


def sandbox_command(
    arguments: list[str], folder: Path, limits: Limits, drawn_inputs: Path | None, uid: int = 0
) -> list[str]:
    """The command of a watched kernel, with its `arguments`, in a sandbox.

    `uid` is the user that it becomes where the grader is root, and otherwise 0. `drawn_inputs` is
    the folder of what `inside` needs to drive the exercises. With None the kernel is one for public
    checks: the package's own exercises are there, and `check` raises.
    """
    settings: dict[str, Any] = {"limits": resource_limits(limits), "uid": uid}
    if drawn_inputs is None:
        options = ["--setenv", "VAETL_GRADING", "1"]
    else:
        settings["folder"] = "/exercises"
        options = ["--ro-bind", str(drawn_inputs), "/exercises"]
        for hidden in hidden_folders():
            options += ["--tmpfs", str(hidden)]
    return [
        *_watch_command(limits, folder),
        *bubblewrap(limits),
        *["--ro-bind", str(INSIDE), "/inside.py"],
        *_bind("--bind", folder / "sockets"),
        *_bind("--ro-bind", folder / "connection.json"),
        *options,
        *["--remount-ro", "/"],
        "--",
        *[sys.executable, "/inside.py", json.dumps(settings)],
        *arguments,
    ]


def resource_limits(limits: Limits) -> dict[str, int]:
    """What the kernel of the system limits for each process, by the names in `resource`."""
    return {
        "RLIMIT_DATA": limits.memory * MB,
        "RLIMIT_FSIZE": limits.disk * MB,
        "RLIMIT_NPROC": limits.processes,
        "RLIMIT_CORE": 0,
        "RLIMIT_NOFILE": OPEN_FILES,
    }


def _watch_command(limits: Limits, folder: Path) -> list[str]:
    watched = {
        "memory": limits.memory * MB,
        "processes": limits.processes,
        "seconds": limits.seconds,
        "parent": os.getpid(),
    }
    return [sys.executable, str(WATCH), json.dumps(watched), str(folder)]


def hidden_folders() -> list[Path]:
    """Where checks and solutions lie.

    An editable installation has copies of the notebooks beside its packages. Where a folder is
    reached by a link, the sandbox may show it in the place of the link.
    """
    packages = {PACKAGE}
    for folder in sys.path:
        packages.add(Path(folder).absolute() / PACKAGE.name)
        packages.add(Path(folder).resolve() / PACKAGE.name)
    hidden = []
    for package in sorted(packages):
        for name in HIDDEN_FOLDERS:
            if (package / name).is_dir():
                hidden.append(package / name)
    return hidden


def bubblewrap(limits: Limits) -> list[str]:
    """bubblewrap with Python, the package and the system to read, and little memory to write."""
    program = shutil.which("bwrap") or "bwrap"
    size = str(limits.disk * MB)
    words = [program, "--die-with-parent", "--new-session", "--hostname", "sandbox"]
    words += _namespaces()
    words += _system()
    words += ["--proc", "/proc", "--dev", "/dev"]
    words += [*WRITABLE, size, "--tmpfs", "/dev/shm", "--remount-ro", "/dev"]
    words += [*WRITABLE, size, "--tmpfs", "/tmp"]
    words += ["--perms", "1777", "--dir", HOME, "--chdir", HOME]
    for path in python_folders():
        words += _bind("--ro-bind", path)
    return words + _environment()


def _namespaces() -> list[str]:
    if os.geteuid() != 0:
        return ["--unshare-all", "--unshare-user"]
    # The sandbox's process gives up being root itself: the kernel does not limit the processes of
    # root.
    unshared = ["ipc", "pid", "net", "uts", "cgroup-try"]
    words = [f"--unshare-{namespace}" for namespace in unshared]
    return [*words, "--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]


def _system() -> list[str]:
    words = []
    for path in map(Path, SYSTEM_FOLDERS):
        if path.is_symlink():
            words += ["--symlink", os.readlink(path), str(path)]
        elif path.exists():
            words += ["--ro-bind", str(path), str(path)]
    for name in SETTINGS:
        words += ["--ro-bind-try", f"/etc/{name}", f"/etc/{name}"]
    return words


def _bind(option: str, path: Path) -> list[str]:
    """Shows a path in its own place.

    The folders above it, empty otherwise, can be entered by any user.
    """
    words = []
    for parent in reversed(path.parents[:-1]):
        words += ["--dir", str(parent)]
    return [*words, option, str(path), str(path)]


def python_folders() -> list[Path]:
    """This interpreter, its packages and ours.

    Never the folder of a checkout, with its tests and solutions.
    """
    folders = {
        Path(sys.prefix),
        Path(sys.base_prefix),
        Path(sys.executable).resolve().parents[1],
        PACKAGE,
    }
    if site.ENABLE_USER_SITE:
        folders.add(Path(site.getusersitepackages()))
    present = sorted(path for path in folders if path.exists() and not path.is_relative_to("/usr"))
    return [path for path in present if not any(parent in present for parent in path.parents)]


def _environment() -> list[str]:
    variables = {
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        "HOME": HOME,
        "USER": "learner",
        "LANG": "C.UTF-8",
        "OMP_NUM_THREADS": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "TMPDIR": "/tmp",
        "PYTHONPATH": str(PACKAGE.parent),  # the package that grades, wherever it comes from
        "MPLCONFIGDIR": f"{HOME}/.matplotlib",
    }
    words = ["--clearenv"]
    for name, value in variables.items():
        words += ["--setenv", name, value]
    words += ["--perms", "1777", "--dir", f"{HOME}/.matplotlib"]
    fonts = font_list()
    if fonts:
        words += ["--ro-bind", str(fonts), f"{HOME}/.matplotlib/{fonts.name}"]
    return words


@functools.cache
def font_list() -> Path | None:
    """matplotlib's list of fonts, where it has made one: made anew it takes seconds."""
    import matplotlib

    lists = sorted(Path(matplotlib.get_cachedir()).glob("fontlist-*.json"))
    if not lists:
        return None
    return lists[0]


def make_kernel_folder(parent: Path | None) -> Path:
    """A new folder for a kernel's connection file and its sockets.

    Nobody but the grader can enter it.
    """
    folder = Path(tempfile.mkdtemp(prefix="vaetl-", dir=parent))
    (folder / "sockets").mkdir()
    (folder / "sockets").chmod(0o777)  # the sandbox's user may be another one
    (folder / "home").mkdir()
    return folder


class SandboxedKernel(AsyncKernelManager):
    """Starts this interpreter's kernel in a sandbox, whatever kernel a notebook asks for."""

    limits = Instance(Limits, ())
    drawn_inputs = Instance(Path, allow_none=True)
    sandboxed = Bool(True)
    folder = Instance(Path)
    user = Instance(SpareUser, allow_none=True)  # held until everything of this kernel is removed

    @default("folder")
    def _folder_default(self) -> Path:
        if self.sandboxed:
            return make_kernel_folder(SHORT)
        return make_kernel_folder(None)

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        if self.sandboxed:
            self.transport = "ipc"
            self.ip = str(self.folder / "sockets" / "k")
        self.connection_file = str(self.folder / "connection.json")

    @property
    def home(self) -> Path:
        """An empty folder for a kernel without a sandbox."""
        return self.folder / "home"

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
        arguments = kernel[3:]
        if not self.sandboxed:
            settings = {}
            if self.drawn_inputs:
                settings["folder"] = str(self.drawn_inputs)
            return [sys.executable, str(INSIDE), json.dumps(settings), *arguments]
        reason = why_unavailable()
        if reason:
            raise CourseError(f"No sandbox, so nothing was run: {reason}.")
        Path(self.connection_file).chmod(0o644)
        uid = 0
        if os.geteuid() == 0:
            self.user = SpareUser()
            uid = self.user.uid
        return sandbox_command(arguments, self.folder, self.limits, self.drawn_inputs, uid)

    async def _async_interrupt_kernel(self) -> None:
        """Asks for an interrupt, and waits for nothing: a kernel may have broken its socket."""
        self._connect_control_socket()
        self._control_socket.sndtimeo = 0
        with contextlib.suppress(zmq.Again):
            await super()._async_interrupt_kernel()

    interrupt_kernel = _async_interrupt_kernel

    async def _async_cleanup_resources(self, restart: bool = False) -> None:
        """Removes the sockets too, and gives the user back."""
        await super()._async_cleanup_resources(restart=restart)
        if self.user:
            self.user.give_back()
        if not restart:
            shutil.rmtree(self.folder, ignore_errors=True)

    cleanup_resources = _async_cleanup_resources  # nbclient's name for it
