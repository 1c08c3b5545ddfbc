"""A process that has imported what notebooks import, and is forked once for each kernel.

    python -m vaetl_helpers.app.warm SOCKET

`vaetl_helpers.app.kernels` starts it and asks it for kernels; it ends when its standard input
does. Importing PyTorch and its company takes seconds of a processor and hundreds of megabytes for
each ordinary kernel; a forked one has them at once and shares the memory. What must not be
inherited is made after the fork: threads, ZeroMQ's contexts, random numbers, and anything of an
accelerator, which this process never touches.

A request is one line of JSON with the file descriptors of the kernel's output and errors. The
answers are lines, too: {"pid": 4321} or {"refused": "why"}, and {"exit": 0} when the kernel has
ended. A client that closes its connection ends its kernel.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import selectors
import signal
import socket
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

# What the notebooks import, so that no kernel needs to. An absent one is left out.
MODULES = (
    "matplotlib.pyplot",
    "sklearn.decomposition",
    "sklearn.linear_model",
    "sklearn.model_selection",
    "sklearn.pipeline",
    "sklearn.preprocessing",
    "sklearn.svm",
    "torch",
    "torchvision",
    "accelerate",
    "pandas",
    "vaetl_helpers.claims",
    "vaetl_helpers.data",
    "vaetl_helpers.exercises",
    "vaetl_helpers.hardware",
    "vaetl_helpers.living.film",
    "vaetl_helpers.living.latent_plane",
    "vaetl_helpers.living.rates",
    "vaetl_helpers.living.timeline",
    "vaetl_helpers.living.valley",
    "vaetl_helpers.nets",
    "vaetl_helpers.plots",
    "vaetl_helpers.settings",
    "vaetl_helpers.study",
    "vaetl_helpers.training",
    "vaetl_helpers.transfer",
    "vaetl_helpers.vae",
    "vaetl_helpers.vae_transfer",
    "vaetl_helpers.widgets",
)
INLINE = "module://matplotlib_inline.backend_inline"  # what a kernel chooses for matplotlib
# Variables that are read when a kernel runs, not when something is imported. All others must be
# the same for a kernel as for this process.
READ_LATE = (
    "VAETL_",
    "JPY_",
    "JUPYTER_",
    "IPYTHON",
    "PYTEST_",
    "MPLBACKEND",
    "PATH",
    "PWD",
    "OLDPWD",
)
LONGEST_REQUEST = 1 << 20


@dataclass
class Request:
    """A kernel to start: its arguments, folder and environment, and where its output goes."""

    arguments: list[str]
    folder: str
    environment: dict[str, str]
    outputs: list[int]


def read_late(name: str) -> bool:
    """Whether a variable may differ between this process and a kernel that it makes."""
    return name.startswith(READ_LATE)


def import_what_notebooks_import() -> dict[str, str]:
    """Imports kernel and libraries as in a kernel; returns the variables that the imports set."""
    os.environ["JPY_PARENT_PID"] = str(os.getpid())  # ipykernel reads it when it is imported
    os.environ["MPLBACKEND"] = INLINE
    # Else OpenBLAS starts its threads when it is loaded; `configure_threads` gives them back.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    before = dict(os.environ)
    import ipykernel.ipkernel
    import ipykernel.kernelapp  # noqa: F401  (for the kernels)
    import IPython

    # tqdm decides once, when it is imported, whether it runs in a kernel.
    kernel = SimpleNamespace(config={"IPKernelApp": {}})
    with mock.patch.object(IPython, "get_ipython", lambda: kernel):
        importlib.import_module("tqdm.auto")
    for name in MODULES:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    return {name: value for name, value in os.environ.items() if name not in before}


def reason_against_forking() -> str | None:
    """Why this process must not be forked; None where it can be."""
    threads = len(os.listdir("/proc/self/task"))
    if threads > 1:
        return f"the process has {threads} threads"
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        return "the process has opened an accelerator"
    return None


def differences(environment: dict[str, str], own: dict[str, str]) -> list[str]:
    """Names of variables that a kernel would have to know before anything is imported."""
    names = {name for name in environment.keys() | own.keys() if not read_late(name)}
    return sorted(name for name in names if environment.get(name) != own.get(name))


class Server:
    """Waits for requests, forks for each of them, and tells the clients how their kernels end."""

    def __init__(self, path: str, environment: dict[str, str]) -> None:
        self.environment = environment
        self.set_by_imports: dict[str, str] = {}
        self.clients: dict[int, socket.socket] = {}  # by the kernel's process number
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen()
        self.wake, self.woken = os.pipe()
        os.set_blocking(self.woken, False)
        signal.set_wakeup_fd(self.woken)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # the byte in the pipe is what counts
        self.selector = selectors.DefaultSelector()
        for source in (self.listener, self.wake, sys.stdin):
            self.selector.register(source, selectors.EVENT_READ)

    def serve(self) -> Request | None:
        """Returns a request in each process that is to be a kernel, and None here at the end."""
        while True:
            for key, _ in self.selector.select():
                if key.fileobj is sys.stdin:
                    self.end_all()
                    return None
                if key.fileobj is self.listener:
                    request = self.accept()
                    if request is not None:
                        return request
                elif key.fileobj == self.wake:
                    os.read(self.wake, 4096)
                    self.report_ends()
                else:  # a client writes only once: it has gone
                    self.end(key.data)

    def accept(self) -> Request | None:
        """Answers one client; returns the request in the new process, None in this one."""
        client, _ = self.listener.accept()
        client.settimeout(10)
        try:
            request = receive(client)
            reason = self.reason_against(request)
            if reason is not None:
                send(client, {"refused": reason})
                client.close()
                close_all(request.outputs)
                return None
        except (OSError, ValueError, KeyError):
            client.close()
            return None
        process = os.fork()
        if process == 0:
            client.close()
            self.close()
            return request
        close_all(request.outputs)
        self.clients[process] = client
        self.selector.register(client, selectors.EVENT_READ, process)
        with contextlib.suppress(OSError):  # a client that has gone is noticed by the loop
            send(client, {"pid": process})
        return None

    def reason_against(self, request: Request) -> str | None:
        """Why this request cannot be met by a fork."""
        # Whoever asks may have imported the same libraries, and so have the same variables.
        own = {
            name: value
            for name, value in self.set_by_imports.items()
            if request.environment.get(name) == value
        }
        unlike = differences(request.environment, self.environment | own)
        if unlike:
            return f"other values of {', '.join(unlike)}"
        return reason_against_forking()

    def report_ends(self) -> None:
        """Tells each client whose kernel has ended."""
        for process in list(self.clients):
            ended, status = os.waitpid(process, os.WNOHANG)
            if not ended:
                continue
            client = self.clients.pop(process)
            self.selector.unregister(client)
            with contextlib.suppress(OSError):
                send(client, {"exit": os.waitstatus_to_exitcode(status)})
            client.close()

    def end(self, process: int) -> None:
        """Ends a kernel that nobody listens to any more, with all that it has started."""
        self.selector.unregister(self.clients[process])
        self.clients.pop(process).close()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process, signal.SIGKILL)
        os.waitpid(process, 0)

    def end_all(self) -> None:
        for process in list(self.clients):
            self.end(process)

    def close(self) -> None:
        """Leaves the server's own files and signals, in a process that is to be a kernel."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self.selector.close()
        self.listener.close()
        for client in self.clients.values():
            client.close()
        close_all([self.wake, self.woken])


def receive(client: socket.socket) -> Request:
    """Reads a request; raises ValueError or KeyError for what is none."""
    text, outputs, _, _ = socket.recv_fds(client, LONGEST_REQUEST, 2)
    while not text.endswith(b"\n"):
        more = client.recv(LONGEST_REQUEST)
        if not more:
            raise ValueError("the request has no end")
        text += more
    fields = json.loads(text)
    return Request(fields["arguments"], fields["folder"], fields["environment"], list(outputs))


def send(client: socket.socket, message: dict[str, Any]) -> None:
    client.sendall(json.dumps(message).encode() + b"\n")


def close_all(descriptors: list[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def become_kernel(request: Request, set_by_imports: dict[str, str]) -> None:
    """Makes this process what an ordinary start of a kernel would have made; returns at its end."""
    os.setsid()
    devnull = os.open(os.devnull, os.O_RDONLY)
    os.dup2(devnull, 0)
    for number, descriptor in enumerate(request.outputs, start=1):
        os.dup2(descriptor, number)
    close_all([devnull, *request.outputs])
    os.chdir(request.folder)
    parent = os.environ["JPY_PARENT_PID"]
    os.environ.clear()
    os.environ.update(set_by_imports)
    os.environ.update(request.environment, JPY_PARENT_PID=parent)
    set_libraries_up()
    import ipykernel.kernelapp

    sys.argv = ["ipykernel_launcher", *request.arguments]
    kernel = ipykernel.kernelapp.IPKernelApp.instance()
    kernel.initialize(request.arguments)
    if "ipywidgets" in sys.modules:  # it would have done this itself, had there been a kernel
        sys.modules["ipywidgets"].register_comm_target(kernel.kernel)
    kernel.start()


def set_libraries_up() -> None:
    """What libraries would have made of this environment, had they been imported in it."""
    import matplotlib
    import numpy
    import torch

    matplotlib.rcParams["backend"] = os.environ.get("MPLBACKEND", INLINE)
    numpy.random.seed()  # else all kernels would draw the same numbers
    torch.default_generator.seed()
    configure_threads()


def configure_threads() -> None:
    """Gives OpenBLAS the threads that it would have taken by itself."""
    names = ("OPENBLAS_NUM_THREADS", "GOTO_NUM_THREADS", "OMP_NUM_THREADS")
    numbers = [os.environ[name] for name in names if os.environ.get(name, "").isdigit()]
    threads = int(numbers[0]) if numbers else len(os.sched_getaffinity(0))
    if threads > 1:
        import threadpoolctl  # comes with scikit-learn

        threadpoolctl.threadpool_limits(threads, user_api="blas")


def leave() -> None:
    """Ends a kernel without taking its libraries apart, which takes long; some complain, too."""
    threading._shutdown()  # type: ignore[attr-defined]  # as multiprocessing ends its forks
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def main() -> None:
    path = sys.argv[1]
    environment = dict(os.environ)
    # As ipykernel's launcher does: modules of the folder in which this starts are not the course's.
    if sys.path and Path(sys.path[0] or ".").resolve() == Path.cwd():
        del sys.path[0]
    server = Server(path, environment)  # who connects now waits until all is imported
    server.set_by_imports = import_what_notebooks_import()
    gc.collect()
    gc.freeze()  # the collector would copy shared memory by touching it
    request = server.serve()
    if request is not None:
        become_kernel(request, server.set_by_imports)
        leave()


if __name__ == "__main__":
    main()
