"""Kernels that are forked from a process which has imported what notebooks need; see `warm`.

    with forking():
        ...  # kernels that this process starts, by papermill or otherwise, are forked

Where that cannot be (no Linux, another interpreter, other variables, a process with threads),
a kernel is started as usual, without a word.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from jupyter_client.provisioning import KernelProvisionerFactory, LocalProvisioner

from vaetl_helpers.app.variables import kernel_environment

LOG = logging.getLogger(__name__)
SOCKET = "VAETL_WARM_KERNELS"  # names the socket of a warm process to processes started from here
NAME = "vaetl-forked"
LAUNCHER = ["-m", "ipykernel_launcher"]
STREAMS = ("stdout", "stderr")
PATIENCE = 120  # seconds that a warm process may need until it answers
STARTED: weakref.WeakSet[ForkingProvisioner] = weakref.WeakSet()


class OwnKernel(AsyncKernelManager):
    """Starts this interpreter, whatever kernels and variables the machine has."""

    async def start_kernel(  # type: ignore[override]  # a coroutine there, too
        self, **options: Any
    ) -> None:
        options["env"] = kernel_environment(options.get("env"))
        await super().start_kernel(**options)

    def _kernel_spec_manager_default(self) -> KernelSpecManager:
        return KernelSpecManager(kernel_dirs=[], parent=self)


class Refused(Exception):
    """The warm process cannot make this kernel."""


class ForkedProcess:
    """A kernel that is a child of the warm process, with the face of a subprocess.Popen."""

    stdin = stdout = stderr = None

    def __init__(self, path: str, request: dict[str, Any], outputs: list[int]) -> None:
        self.returncode: int | None = None
        self.received = b""
        self.connection = socket.socket(socket.AF_UNIX)
        try:
            self.connection.settimeout(PATIENCE)
            self.connection.connect(path)
            line = json.dumps(request).encode() + b"\n"
            sent = socket.send_fds(self.connection, [line], outputs)
            if sent < len(line):  # sendall sends even nothing, and fails where the answer is there
                self.connection.sendall(line[sent:])
            answer = self.next_message()
        except (OSError, ValueError) as error:
            self.connection.close()
            raise Refused(str(error)) from error
        if answer is None or "pid" not in answer:
            self.connection.close()
            raise Refused(str(answer))
        self.pid: int = answer["pid"]

    def next_message(self) -> dict[str, Any] | None:
        """The next answer of the warm process; None where it has gone."""
        while b"\n" not in self.received:
            more = self.connection.recv(4096)
            if not more:
                return None
            self.received += more
        line, _, self.received = self.received.partition(b"\n")
        return json.loads(line)

    def poll(self) -> int | None:
        """The exit code of the kernel, or None while it runs."""
        return self.look(0)

    def wait(self, timeout: float | None = None) -> int:
        """Waits for the end of the kernel and returns its exit code."""
        code = self.look(timeout)
        if code is None:
            raise subprocess.TimeoutExpired("kernel", timeout or 0)
        return code

    def look(self, timeout: float | None) -> int | None:
        """The exit code, if it comes within so many seconds."""
        if self.returncode is not None:
            return self.returncode
        self.connection.settimeout(timeout)
        try:
            message = self.next_message()
        except (BlockingIOError, TimeoutError):
            return None
        except OSError:
            message = None
        self.connection.close()
        # A warm process that dies takes its kernels with it.
        self.returncode = -signal.SIGKILL if message is None else message["exit"]
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class ForkingProvisioner(LocalProvisioner):
    """Forks a kernel of this interpreter from the warm process, and starts any other as usual."""

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> Any:
        STARTED.add(self)
        forked = fork(cmd, kwargs)
        if forked is None:
            return await super().launch_kernel(cmd, **kwargs)
        self.process = forked  # type: ignore[assignment]  # it has what is asked of a Popen
        self.pid = forked.pid
        self.pgid = forked.pid  # it leads a session of its own
        self.cwd = kwargs.get("cwd", Path.cwd())
        return self.connection_info


def fork(command: list[str], options: dict[str, Any]) -> ForkedProcess | None:
    """A kernel for this command from the warm process, or None where that cannot be."""
    path = os.environ.get(SOCKET)
    arguments = arguments_of(command)
    if not path or arguments is None:
        return None
    environment = dict(options.get("env") or os.environ)
    environment.pop(SOCKET, None)
    request = {
        "arguments": arguments,
        "folder": str(Path(options.get("cwd") or ".").absolute()),
        "environment": environment,
        "executable": sys.executable,
    }
    try:
        outputs = [descriptor(options.get(name), name) for name in STREAMS]
        return ForkedProcess(path, request, outputs)
    except (Refused, OSError, ValueError) as error:
        LOG.debug("this kernel is not forked: %s", error)
        return None


def arguments_of(command: list[str]) -> list[str] | None:
    """What stands behind `python -m ipykernel_launcher`; None for a command of another kind."""
    python, *words = command
    options_of_python = []
    while words and words[0].startswith("-X"):
        options_of_python.append(words.pop(0))
    if python != sys.executable or words[:2] != LAUNCHER:
        return None
    return words[2:]


def descriptor(stream: Any, name: str) -> int:
    """The file descriptor of an output as Popen takes it; its own one where none is given."""
    if stream is None:
        return {"stdout": 1, "stderr": 2}[name]
    if isinstance(stream, int):
        if stream < 0:  # subprocess.PIPE and its like
            raise ValueError("a forked kernel has no pipes")
        return stream
    return stream.fileno()


def end_kernels() -> None:
    """Ends all kernels that this process has started through `forking`, at once."""
    for provisioner in list(STARTED):
        process = provisioner.process
        if process is not None and process.poll() is None:
            with contextlib.suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)


class WarmProcess:
    """The process that is forked, and the socket under which it can be asked."""

    def __init__(self) -> None:
        self.folder = tempfile.mkdtemp(prefix="vaetl-")  # for its owner alone
        self.path = str(Path(self.folder, "kernels"))
        environment = kernel_environment()
        environment.pop(SOCKET, None)
        command = [sys.executable, "-Xfrozen_modules=off", "-m", "vaetl_helpers.app.warm"]
        self.process = subprocess.Popen(
            [*command, self.path],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,  # Ctrl-C is for those who ask it
        )

    def wait_for_socket(self) -> bool:
        """Waits until it can be connected to; False if it has ended instead."""
        while self.process.poll() is None:
            if os.path.exists(self.path):
                return True
            time.sleep(0.02)
        return False

    def stop(self) -> None:
        """Ends it, and every kernel of it that is left."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def start() -> WarmProcess | None:
    """Starts a warm process for this process and all it starts; None where there cannot be one."""
    if sys.platform != "linux" or os.environ.get(SOCKET):
        return None
    try:
        warm = WarmProcess()
    except OSError:
        return None
    if not warm.wait_for_socket():
        warm.stop()
        return None
    os.environ[SOCKET] = warm.path
    return warm


@contextlib.contextmanager
def forking() -> Iterator[None]:
    """Within it, kernels that this process starts are forked, where that can be."""
    factory = KernelProvisionerFactory.instance()
    factory.provisioners[NAME] = EntryPoint(
        NAME, f"{__name__}:{ForkingProvisioner.__name__}", KernelProvisionerFactory.GROUP_NAME
    )
    before = factory.default_provisioner_name
    factory.default_provisioner_name = NAME
    warm = start()
    try:
        yield
    finally:
        factory.default_provisioner_name = before
        if warm is not None:
            os.environ.pop(SOCKET, None)
            warm.stop()
