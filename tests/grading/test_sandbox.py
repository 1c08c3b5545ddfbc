"""The sandbox's command and its watch, without a kernel: what a process in it can see and reach."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import platform
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from hostile_cases import gone

from vaetl_helpers.grading.sandbox import inside, kernel, runner, users, watch
from vaetl_helpers.grading.sandbox.job import ExerciseJob, Job, Limits, SubmissionRun
from vaetl_helpers.grading.sandbox.kernel import PACKAGE, WATCH
from vaetl_helpers.grading.sandbox.runner import CodeRun, warm_up

bubblewrap = pytest.mark.debian("bubblewrap", "/usr/bin/bwrap")
USERS = ("root", "ordinary user")
KERNEL = "vaetl_helpers.grading.sandbox.kernel"


@pytest.fixture(params=USERS)
def shell(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Runs a script in the sandbox of a grader who is root, and of one who is not.

    Returns what it wrote.
    """
    root = os.geteuid() == 0
    if request.param == "root" and not root:
        pytest.skip("needs to be root")
    given = (
        {"user": 65534, "group": 65534, "extra_groups": []}
        if request.param != "root" and root
        else {}
    )
    if given:
        monkeypatch.setattr(f"{KERNEL}.os.geteuid", lambda: 65534)
        # That user need not be able to read them.
        monkeypatch.setattr(f"{KERNEL}.python_folders", list)
        monkeypatch.setattr(f"{KERNEL}.font_list", lambda: None)

    def run(script: str) -> str:
        command = [
            *kernel.bubblewrap(Limits(disk=4)),
            "--remount-ro",
            "/",
            "--",
            "/bin/sh",
            "-c",
            script,
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd="/", **given)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@bubblewrap
def test_there_is_no_network(shell: Callable[[str], str]) -> None:
    assert [line.split(":")[0].strip() for line in shell("cat /proc/net/dev").splitlines()[2:]] == [
        "lo"
    ]


@bubblewrap
def test_only_the_system_python_and_the_package_are_there(shell: Callable[[str], str]) -> None:
    assert set(shell("ls /etc").split()) <= {*kernel.SETTINGS}
    assert not {"home", "mnt", "media", "srv", "var", "run", "sys"} & set(shell("ls /").split())
    checkout = PACKAGE.parent
    seen = set(shell(f"ls -A {checkout} 2>/dev/null; true").split())
    assert seen <= {"vaetl_helpers", ".venv"}  # no tests, no solutions, no history


@bubblewrap
def test_only_memory_of_a_limited_size_can_be_written(shell: Callable[[str], str]) -> None:
    places = (
        "/",
        "/usr",
        "/etc",
        "/dev",
        "/proc/sys/kernel",
        "/bin",
        "/tmp",
        "/tmp/home",
        "/dev/shm",
    )
    script = "".join(f"(echo x > {place}/file) 2>/dev/null && echo {place};" for place in places)
    assert shell(f"{script} true").split() == ["/tmp", "/tmp/home", "/dev/shm"]
    filled = shell(
        "head -c 9000000 /dev/zero > /tmp/a; head -c 9000000 /dev/zero > /dev/shm/b; "
        "stat -c %s /tmp/a /dev/shm/b"
    )
    assert all(int(size) <= 4 * 2**20 for size in filled.split())


@bubblewrap
def test_no_process_outside_is_seen(shell: Callable[[str], str]) -> None:
    assert len([name for name in shell("ls /proc").split() if name.isdigit()]) <= 4


@bubblewrap
def test_the_variables_are_the_sandboxs_own(
    shell: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CANARY", "bird")
    assert "bird" not in shell("env")


def test_the_process_around_the_sandbox_has_no_variables_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CANARY", "bird")  # a process in the sandbox can read /proc/1/environ
    done = watched(tmp_path, "/usr/bin/env >&2; echo x >&2")
    assert done.stderr.endswith("x\n") and "bird" not in done.stderr


def watched(folder: Path, script: str, **limits: int) -> subprocess.CompletedProcess[str]:
    limits = {"memory": 2**30, "processes": 40, "seconds": 30, "parent": os.getpid()} | limits
    (folder / "sockets").mkdir(exist_ok=True)
    command = [sys.executable, str(WATCH), json.dumps(limits), str(folder), "/bin/sh", "-c", script]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("for i in $(seq 60); do sleep 20 & done; wait", "processes"),
        ("x = bytearray(2**28)", "memory"),
        ("import mmap; m = mmap.mmap(-1, 2**28); m.write(bytes(2**28))", "memory"),
        (
            """import mmap, os
m = mmap.mmap(-1, 2**28)
for _ in range(4):  # each one is below the limit
    pid = os.fork()
    if pid == 0:
        [m.write(bytes(2**20)) for _ in range(2**6)]
        os._exit(0)
    os.waitpid(pid, 0)
    m.seek(2**6 * 2**20, os.SEEK_CUR)
""",
            "memory",
        ),
        ("import os; f = os.memfd_create('a'); os.write(f, bytes(2**28))", "memory"),
        ("sleep 20 & wait", "time"),
    ],
    ids=[
        "processes",
        "memory",
        "shared memory",
        "shared memory of one that has gone",
        "a file without a name",
        "time",
    ],
)
def test_all_processes_together_are_ended_at_a_limit(
    script: str, reason: str, tmp_path: Path
) -> None:
    limits = {"seconds": 1} if reason == "time" else {"memory": 2**27} if reason == "memory" else {}
    if reason == "memory":  # the watch looks at what its command has started
        script = f'{sys.executable} -c "{script}\nimport time; time.sleep(20)" & wait'
    assert watched(tmp_path, script, **limits).returncode != 0
    assert (tmp_path / "killed").read_text() == reason


FORKS = """import os, time
memory = bytearray(2**26)
for _ in range(4):
    if os.fork() == 0:
        break
time.sleep(2)
"""


def test_pages_that_forked_processes_share_count_once(tmp_path: Path) -> None:
    script = f"{sys.executable} -c '{FORKS}' & wait"
    done = watched(tmp_path, script, memory=2**27)
    assert not (tmp_path / "killed").exists()
    assert done.returncode == 0


def test_what_keeps_within_the_limits_ends_by_itself(tmp_path: Path) -> None:
    done = watched(tmp_path, "sleep 0.3; exit 3")
    assert done.returncode == 3 and not (tmp_path / "killed").exists()


@pytest.mark.parametrize("kind", ["file", "folder", "link", "many sockets"])
def test_only_sockets_may_lie_where_the_sandbox_can_write_outside(
    kind: str, tmp_path: Path
) -> None:
    assert not watch.has_strangers(tmp_path / "absent")
    made = [socket.socket(socket.AF_UNIX) for _ in range(20 if kind == "many sockets" else 1)]
    for number, one in enumerate(made):
        one.bind(str(tmp_path / str(number)))
    assert watch.has_strangers(tmp_path) == (kind == "many sockets")
    {"file": (tmp_path / "x").touch, "folder": (tmp_path / "x").mkdir}.get(kind, lambda: None)()
    if kind == "link":
        (tmp_path / "x").symlink_to("/etc/passwd")
    assert watch.has_strangers(tmp_path)
    for one in made:
        one.close()


def test_an_open_file_without_a_name_is_found_on_the_device_of_the_sockets(tmp_path: Path) -> None:
    with open(tmp_path / "x", "wb") as file:
        file.write(bytes(10**6))
        file.flush()
        assert watch.nameless(os.getpid(), tmp_path.stat().st_dev)["outside"] == 0
        (tmp_path / "x").unlink()
        assert watch.nameless(os.getpid(), tmp_path.stat().st_dev)["outside"] >= 10**6
    assert watch.memory(os.getpid())["RssAnon"] > 10**7
    assert watch.memory(2**22 + 1) == Counter()  # a process that has gone


@pytest.fixture
def not_tried() -> Iterator[None]:
    """Nobody has yet asked whether there is a sandbox here."""
    kernel._why_unavailable.cache_clear()
    yield
    kernel._why_unavailable.cache_clear()


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("sys.platform", "darwin", "needs Linux"),
        ("shutil.which", lambda name: None, "sudo apt-get install bubblewrap"),
        ("shutil.which", lambda name: "/bin/false", "forbids user namespaces"),
    ],
)
def test_without_a_sandbox_it_says_what_to_do(
    name: str, value: object, words: str, monkeypatch: pytest.MonkeyPatch, not_tried: None
) -> None:
    monkeypatch.setattr(f"{KERNEL}.{name}", value)
    assert words in kernel.why_unavailable()


# Killed as it starts, as `bwrap` may be: what it has started keeps its output open.
KILLED_AS_IT_STARTS = """#!/bin/sh
if test -e {folder}/tried; then exit {then}; fi
touch {folder}/tried
sleep 10 &
kill -9 $$
"""


@pytest.fixture
def killed_bwrap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, not_tried: None
) -> Callable[[int], None]:
    """Puts a program in bubblewrap's place that is killed, and then ends with the given code."""
    program = tmp_path / "bwrap"

    def put(then: int) -> None:
        program.write_text(KILLED_AS_IT_STARTS.format(folder=tmp_path, then=then))
        program.chmod(0o755)

    monkeypatch.setattr(f"{KERNEL}.shutil.which", lambda name: str(program))
    return put


@pytest.mark.parametrize(
    ("then", "words"),
    [(0, None), (1, "forbids user namespaces"), (128 + signal.SIGSYS, "ended with 159")],
)
def test_a_trial_that_is_killed_from_outside_is_made_again(
    then: int, words: str | None, killed_bwrap: Callable[[int], None]
) -> None:
    killed_bwrap(then)
    began = time.monotonic()
    reason = kernel.why_unavailable()
    assert words in reason if words else reason is None
    assert time.monotonic() - began < 5  # it does not wait for what was left


def test_what_kills_each_trial_is_no_word_on_the_system(
    killed_bwrap: Callable[[int], None],
) -> None:
    killed_bwrap(137)  # as bubblewrap ends whose command was killed
    reason = kernel.why_unavailable()
    assert "was ended 3 times by a signal from outside (SIGKILL)" in reason
    killed_bwrap(0)
    assert kernel.why_unavailable() is None, "it is asked again"


def masked_folders(command: list[str]) -> set[str]:
    """The folders that the sandbox shows empty."""
    pairs = itertools.pairwise(command)
    return {path for option, path in pairs if option == "--tmpfs"}


def test_a_graded_kernel_sees_neither_checks_nor_solutions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "site-packages" / "vaetl_helpers" / "course"
    copy.mkdir(parents=True)  # as an editable installation makes it
    (tmp_path / "linked").symlink_to(tmp_path / "site-packages")
    by_link = tmp_path / "linked" / "vaetl_helpers" / "course"
    monkeypatch.syspath_prepend(tmp_path / "linked")
    graded = kernel.sandbox_command(["-f", "c.json"], tmp_path, Limits(), tmp_path / "exercises")
    hidden = (PACKAGE / "exercises", PACKAGE / "grading", copy, by_link)
    assert {str(path) for path in hidden} <= masked_folders(graded)
    assert "VAETL_GRADING" not in graded
    public = kernel.sandbox_command(["-f", "c.json"], tmp_path, Limits(), None)
    assert str(PACKAGE / "exercises") not in public and "VAETL_GRADING" in public


def test_the_libraries_are_loaded_before_the_time_of_a_submission_begins(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stand_in = SimpleNamespace(shared=lambda: loaded.append("exercises"))
    loaded: list[str] = []
    monkeypatch.setitem(sys.modules, inside.EXERCISES, stand_in)
    setup = ["import math\nfrom os import path as p\nx = 1", "def f():\n    import json"]
    code = warm_up(setup)
    assert "import math" in code and "from os import path as p" in code and "json" not in code
    space: dict[str, object] = {}
    exec(code, space)
    assert space.keys() == {"__builtins__"}  # a submission has no name that it did not make
    assert loaded == ["exercises"]


class StartingKernel:
    """A kernel in whose place nothing runs; the first starts fail as often as `failures` says."""

    failures = 0

    def __init__(self, *arguments: object) -> None:
        pass

    async def start(self) -> None:
        if StartingKernel.failures > 0:
            StartingKernel.failures -= 1
            raise RuntimeError("can't start new thread")

    async def run(self, code: str, seconds: float) -> CodeRun:
        return CodeRun()

    async def stop(self) -> None:
        pass


@pytest.mark.parametrize(("failures", "ending"), [(0, "error"), (2, "error"), (3, None)])
def test_a_kernel_that_does_not_start_is_tried_three_times(
    failures: int, ending: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "Kernel", StartingKernel)
    monkeypatch.setattr(StartingKernel, "failures", failures)
    monkeypatch.setattr(runner, "PAUSES", (0, 0))
    exercise = ExerciseJob("vae.kl", ["pass"], "kl", "check")
    limits = Limits()
    Job("seed = 0", [], ["import math"], [exercise], limits, True, tmp_path, 1).write(tmp_path)
    asyncio.run(runner.SubmissionRunner(tmp_path).work())
    run = SubmissionRun.read(tmp_path)
    if ending is None:
        assert run.broken == "no kernel started: can't start new thread"
        assert run.exercises == {}
    else:
        assert run.broken is None
        assert run.exercises["vae.kl"].ending == ending  # nothing came back


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can have other users")
def test_two_sandboxes_never_share_a_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(users, "SPARE_UIDS", range(64100, 64103))
    first, second = users.SpareUser(), users.SpareUser()
    busy = ({64100, 64101, 64102} - {first.uid, second.uid}).pop()
    ending = subprocess.Popen(["/bin/sleep", "60"], user=busy)
    try:
        with pytest.raises(RuntimeError, match="each of the 3 users"):
            users.SpareUser()
        first.give_back()
        third = users.SpareUser()
        assert third.uid == first.uid
    finally:
        ending.kill()
        ending.wait()
    fourth = users.SpareUser()
    assert fourth.uid == busy
    for user in (second, third, fourth):
        user.give_back()


@pytest.mark.parametrize("culprit", ["watch", "command"])
def test_an_end_from_outside_is_told_from_one_from_inside(culprit: str, tmp_path: Path) -> None:
    (tmp_path / "sockets").mkdir()
    limits = {"memory": 2**30, "processes": 40, "seconds": 30, "parent": os.getpid()}
    command = [sys.executable, str(WATCH), json.dumps(limits), str(tmp_path), "/bin/sleep", "60"]
    process = psutil.Popen(command)
    assert gone(lambda: not process.children(), seconds=10)
    if culprit == "watch":
        process.kill()
        assert process.wait() < 0
        assert not (tmp_path / "killed").exists()
    else:
        process.children()[0].kill()
        process.wait()
        assert (tmp_path / "killed").read_text() == watch.OUTSIDE


def test_what_is_killed_from_outside_leaves_nothing_behind(tmp_path: Path) -> None:
    command = f"sleep 50 & echo $! > {tmp_path}/pid; kill -9 $$"
    watched(tmp_path, command)
    assert (tmp_path / "killed").read_text() == watch.OUTSIDE
    assert not psutil.pid_exists(int((tmp_path / "pid").read_text()))


def test_a_reason_that_cannot_be_written_is_no_submissions_fault(tmp_path: Path) -> None:
    (tmp_path / "killed").mkdir()  # in its place no file can be written
    assert watched(tmp_path, "sleep 20 & wait", seconds=1).returncode == -9


def test_the_watch_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    inner = [sys.executable, str(WATCH), "LIMITS", str(tmp_path), "/bin/sleep", "50"]
    code = f"""import json, os, subprocess, sys
limits = json.dumps({{"memory": 2**30, "processes": 40, "seconds": 60, "parent": os.getpid()}})
p = subprocess.Popen([limits if word == "LIMITS" else word for word in {inner}])
print(p.pid, flush=True)
sys.stdin.read()"""
    outer = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with outer:
        watching = psutil.Process(int(outer.stdout.readline()))
        outer.kill()
    assert gone(lambda: is_at_work(watching), seconds=10)


def is_at_work(process: psutil.Process) -> bool:
    """Whether it has not ended; nobody need have asked how."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


# Each would make memory, or a place to write, that belongs to no process. Numbers of x86_64 and
# aarch64.
HIDING = """\
import ctypes, os, platform, sys
sys.path.insert(0, sys.argv[1])
libc, arm = ctypes.CDLL(None, use_errno=True), platform.machine() == "aarch64"
def call(number, *given):
    ctypes.set_errno(0)
    result = libc.syscall(number[arm], *(ctypes.c_long(value) for value in given))
    return ctypes.get_errno() if result < 0 else 0
def tried():
    return [call((272, 97), 0x10000000), call((29, 194), 0, 4096, 0o1600), call((319, 279), 0, 0),
            call((425, 425), 8, 0), call((56, 220), 0x10000000 | 17, 0, 0, 0, 0),
            call((435, 435), 0, 0)]
if sys.argv[2] == "yes":
    import inside
    inside.forbid()
print(tried())
import subprocess, threading
def start():
    print(subprocess.run(["echo", "alive"], capture_output=True).stdout)
thread = threading.Thread(target=start)
thread.start(); thread.join()
"""


@pytest.mark.skipif(
    platform.machine() not in inside.PROCESSORS, reason="the filter knows other processors"
)
def test_memory_that_belongs_to_no_process_cannot_be_made() -> None:
    command = [sys.executable, "-c", HIDING, str(Path(inside.__file__).parent)]
    done = subprocess.run([*command, "yes"], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines() == [f"{[1, 1, 1, 1, 1, 38]}", "b'alive\\n'"], (
        done.stderr
    )  # EPERM; no clone3
    freely = subprocess.run(
        [*command, "no"], capture_output=True, text=True, timeout=60
    ).stdout.splitlines()[0]
    assert freely.startswith("[") and "[1, 1, 1" not in freely  # it is the filter that refuses


def test_a_socket_counts_as_if_it_were_full() -> None:
    before = watch.mapped(os.getpid()).total()
    pairs = [socket.socketpair() for _ in range(10)]
    try:
        assert watch.mapped(os.getpid()).total() == before + 20 * watch.BUFFER
    finally:
        for pair in pairs:
            for one in pair:
                one.close()
