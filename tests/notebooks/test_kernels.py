"""Kernels that are forked: as an ordinary start makes them, and ended, interrupted and told of."""

from __future__ import annotations

import json
import logging
import operator
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.blocking import BlockingKernelClient
from jupyter_client.manager import KernelManager

from vaetl_helpers.app import kernels, warm

FACTS = """
import matplotlib, os, signal, sys, tqdm.auto, torch
print(dict(
    argv=sys.argv[:1] == ['ipykernel_launcher'] or sys.argv[0].endswith('ipykernel_launcher.py'),
    folder=os.getcwd(), path=sys.path, leader=os.getsid(0) == os.getpid(), flags=sys.flags,
    backend=matplotlib.get_backend(), bar=str(tqdm.auto.tqdm), threads=torch.get_num_threads(),
    signals=[signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)],
    variable=os.environ.get('VAETL_TABLES'),
    main=sorted(set(vars(sys.modules['__main__'])) - {'_i'}),
    targets=sorted(get_ipython().kernel.comm_manager.targets),
    socket=os.environ.get('VAETL_WARM_KERNELS')))
"""


class Kernel:
    """A kernel with its client."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.manager = KernelManager(kernel_name="python3")
        logging.getLogger(kernels.__name__).setLevel(logging.DEBUG)  # tells why one is not forked
        self.manager.start_kernel(cwd=str(folder), extra_arguments=["--log-level=50"], **options)
        self.client: BlockingKernelClient = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=60)

    @property
    def process(self) -> Any:
        return self.manager.provisioner.process

    @property
    def forked(self) -> bool:
        return isinstance(self.process, kernels.ForkedProcess)

    def run(self, code: str) -> str:
        """What the code prints, or the name of its error."""
        texts: list[str] = []

        def hear(message: dict[str, Any]) -> None:
            content = message["content"]
            texts.append(content.get("text") or content.get("ename") or "")

        self.client.execute_interactive(code, output_hook=hear, timeout=60)
        return "".join(texts)

    def close(self) -> None:
        self.client.stop_channels()
        if self.manager.has_kernel:
            self.manager.shutdown_kernel(now=True)


@pytest.fixture
def forked(tmp_path: Path, warm_kernels: None) -> Iterator[Kernel]:
    kernel = Kernel(tmp_path)
    assert kernel.forked
    yield kernel
    kernel.close()


def ends(process: Any) -> int:
    """The exit code of a process that is to end soon."""
    deadline = time.monotonic() + 30
    while process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return process.poll()


@pytest.mark.slow
def test_a_forked_kernel_is_as_an_ordinary_one(
    forked: Kernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(kernels.SOCKET, str(tmp_path / "nothing listens here"))
    ordinary = Kernel(tmp_path)
    assert not ordinary.forked
    try:
        told = ordinary.run("import ipywidgets" + FACTS).replace(kernels.SOCKET, "")
    finally:
        ordinary.close()
    without_socket = told.replace(repr(str(tmp_path / "nothing listens here")), "None")
    assert forked.run("import ipywidgets" + FACTS) == without_socket


@pytest.mark.slow
def test_forked_kernels_draw_different_numbers_where_nobody_gave_a_seed(
    forked: Kernel, tmp_path: Path
) -> None:
    code = """import numpy, random, torch
print(numpy.random.rand(), random.random(), torch.rand(1).item())"""
    other = Kernel(tmp_path)
    try:
        mine, theirs = forked.run(code).split(), other.run(code).split()
        assert len(mine) == 3 and all(map(operator.ne, mine, theirs))
    finally:
        other.close()


@pytest.mark.slow
def test_a_forked_kernel_is_interrupted_and_its_death_is_seen(forked: Kernel) -> None:
    asked = forked.client.execute("import time\nopen('begun', 'w')\ntime.sleep(600)")
    begun = Path(forked.manager.provisioner.cwd) / "begun"
    while not begun.exists():
        time.sleep(0.05)
    forked.manager.interrupt_kernel()
    reply = forked.client.get_shell_msg(timeout=30)
    while reply["parent_header"]["msg_id"] != asked:  # an answer from the start
        reply = forked.client.get_shell_msg(timeout=30)
    assert reply["content"]["ename"] == "KeyboardInterrupt"
    assert forked.run("print(1 + 1)").strip().endswith("2")
    assert forked.manager.is_alive()
    process = forked.process
    forked.client.execute("import os; os._exit(3)")
    assert ends(process) == 3
    assert not forked.manager.is_alive()


@pytest.mark.slow
def test_a_forked_kernel_can_be_killed_or_asked_to_end(tmp_path: Path, warm_kernels: None) -> None:
    kernel = Kernel(tmp_path)
    process = kernel.process
    kernels.end_kernels()
    assert ends(process) == -signal.SIGKILL
    kernel.close()
    kernel = Kernel(tmp_path)
    process = kernel.process
    kernel.client.stop_channels()
    kernel.manager.shutdown_kernel(now=False)
    assert process.returncode == 0


@pytest.mark.slow
def test_a_kernel_whose_client_has_gone_ends(forked: Kernel) -> None:
    number = forked.process.pid
    forked.process.connection.close()
    deadline = time.monotonic() + 30
    with pytest.raises(ProcessLookupError):
        while time.monotonic() < deadline:
            os.kill(number, 0)
            time.sleep(0.05)
    forked.process.returncode = -signal.SIGKILL


@pytest.mark.slow
@pytest.mark.parametrize("name", ["OMP_NUM_THREADS", "HF_HOME", "PYTHONPATH"])
def test_what_libraries_read_when_they_are_imported_makes_an_ordinary_start(
    tmp_path: Path, warm_kernels: None, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "3")
    command = [sys.executable, *kernels.LAUNCHER, "-f", "connection.json"]
    assert kernels.fork(command, {"cwd": str(tmp_path)}) is None


@pytest.mark.slow
def test_whoever_has_imported_the_same_libraries_gets_a_forked_kernel(
    forked: Kernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = "import json, os\nprint(json.dumps(dict(os.environ)))"
    variables = json.loads(forked.run(code))
    set_by_imports = {name for name in variables if name.startswith(("TORCH", "KMP"))}
    assert set_by_imports  # PyTorch and its company leave some
    for name in set_by_imports:
        monkeypatch.setenv(name, variables[name])
    another = Kernel(tmp_path)
    try:
        assert another.forked
    finally:
        another.close()


def test_another_command_is_no_kernel_of_this_interpreter() -> None:
    python = sys.executable
    launcher = [python, "-Xfrozen_modules=off", *kernels.LAUNCHER, "-f", "file"]
    assert kernels.arguments_of(launcher) == ["-f", "file"]
    for command in (["/usr/bin/false"], [python, "-m", "bash_kernel", "-f", "file"]):
        assert kernels.arguments_of(command) is None
    assert kernels.arguments_of(["/another/python", *launcher[1:]]) is None


def test_which_variables_may_differ() -> None:
    own = {"OMP_NUM_THREADS": "1", "VAETL_TABLES": "a", "HOME": "/home/a"}
    assert (
        warm.differences(own | {"VAETL_TABLES": "b", "JPY_SESSION_NAME": "c", "PATH": "d"}, own)
        == []
    )
    assert warm.differences(own | {"HF_HOME": "b", "HOME": "c"}, own) == ["HF_HOME", "HOME"]
    assert warm.differences({}, own) == ["HOME", "OMP_NUM_THREADS"]


def test_a_process_with_threads_is_not_forked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vaetl_helpers.app.warm.os.listdir", lambda path: ["1", "2"])
    assert warm.reason_against_forking() == "the process has 2 threads"
