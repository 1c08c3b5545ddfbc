"""Submissions for the tests of grading: honest, broken and hostile ones, and what each must get.

They are all of chapter 3, whose setup cells import less here: a kernel starts in half the time.
"""

from __future__ import annotations

import base64
import contextlib
import csv
import io
import json
import os
import re
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from vaetl_helpers import exercises
from vaetl_helpers.chapters import course_dir
from vaetl_helpers.grading.judge import TRIALS
from vaetl_helpers.grading.notebooks import find_assignment, grade_id_of
from vaetl_helpers.grading.result import Result
from vaetl_helpers.grading.sandbox.inside import OUTPUTS
from vaetl_helpers.grading.sandbox.job import Limits
from vaetl_helpers.grading.sandbox.kernel import PACKAGE

Notebook = dict[str, Any]

CHAPTER = find_assignment("03")
# Exercises by the last part of their ids, in the order of the chapter.
IDS = {exercise.id.partition(".")[2]: exercise.id for exercise in CHAPTER.exercises}
POINTS = {exercise.id.partition(".")[2]: exercise.points for exercise in CHAPTER.exercises}
LEAN_IMPORTS = """
import torch
from torch import nn
from torch.nn import functional as F

from vaetl_helpers.exercises import check, hint, solution"""
# The seconds of a cell are few, for what waits for them; a slow machine has those of the start.
LIMITS = Limits(
    cell_seconds=5,
    seconds=300,
    memory=1000,
    disk=32,
    output=2,
    processes=96,
    start_seconds=120,
)
SCRIPT = "<script>alert(1)</script>"
NAME = '../../=O\'Neil "<img src=x onerror=alert(1)>"'
CANARY = "VAETL_CANARY"
FAKE = base64.b64encode(
    exercises.pack({"status": "correct", "points": 1000, "the result": "correct"})
).decode()

# Right answers that are not the published ones.

HONEST = {
    "bernoulli_log_likelihood": """
def bernoulli_log_likelihood(logits, images):
    each = F.binary_cross_entropy_with_logits(logits, images, reduction="none")
    return -each.flatten(1).sum(dim=1)
""",
    "kl": """
def kl(mu, log_var):
    total = (mu ** 2 + torch.exp(log_var) - log_var - 1).sum(dim=-1)
    return total / 2
""",
    "reparameterise": """
def reparameterise(mu, log_var, noise):
    sigma = torch.exp(log_var / 2)
    return noise * sigma + mu
""",
    "elbo": """
def elbo(encode, decode, images, noise):
    mean, log_variance = encode(images)
    price = kl_checked(mean, log_variance)
    code = reparameterise_checked(mean, log_variance, noise)
    return bernoulli_checked(decode(code), images) - price
""",
    "decoder_shape": """
def grow(features, channels, height, width):
    maps = features.reshape(len(features), channels, height, width)
    return F.interpolate(maps, scale_factor=2, mode="nearest")
""",
}
WRONG = {
    "bernoulli_log_likelihood": HONEST["bernoulli_log_likelihood"].replace(".sum(", ".mean("),
    "kl": HONEST["kl"].replace(" / 2", ""),
    "reparameterise": HONEST["reparameterise"].replace("log_var / 2", "log_var"),
    "elbo": HONEST["elbo"].replace("- price", "+ price"),
    "decoder_shape": HONEST["decoder_shape"].replace(
        "F.interpolate(maps, scale_factor=2, mode=", "torch.cat(2 * [maps]) #"
    ),
}
RENAMED = {
    "bernoulli_log_likelihood": {"log_likelihood": "answer"},
    "reparameterise": {"noise": "epsilon"},
    "elbo": {"z": "code"},
}

# What hostile cells do. What asks for `found` ends with an error that says what was found.

SHOW = "\ndef {name}(*arguments):\n    raise RuntimeError(f'found {{found}}')\n"
NETWORK = """
import socket
found = []
places = [("AF_INET", ("127.0.0.1", {port})), ("AF_INET", ("1.1.1.1", 53))]
places.append(("AF_UNIX", "\\0{name}"))
for kind, address in places:
    try:
        with socket.socket(getattr(socket, kind)) as link:
            link.settimeout(2)
            link.connect(address)
        found.append(address)
    except OSError:
        pass
"""
READS = """
import glob, os
found = [name for name in os.environ if "CANARY" in name]
for path in ["/etc/passwd", "/etc/shadow", *{paths!r}, *glob.glob("/proc/[0-9]*/environ")]:
    try:
        if os.path.isdir(path):
            text = "".join(os.listdir(path))
        else:
            text = open(path, "rb").read().decode(errors="replace")
    except OSError:
        continue
    if text and ("environ" not in path or "CANARY" in text):
        found.append(path)
"""
JUDGE = """
import gc, os, sys, types
import vaetl_helpers.exercises as exercises
if hasattr(exercises, "shared"):
    exercises.shared()
libraries = ("site-packages", "/lib/python3." + str(sys.version_info.minor))
needles = [text[::-1].encode() for text in {needles!r}]
found = [str(module) for module in sys.modules if module.startswith("vaetl_helpers.exercises.")]
names = ("judge", "verdict", "careful", "recomputed")
functions = [thing for thing in gc.get_objects() if type(thing) is types.FunctionType]
found += [repr(f) for f in functions if f.__name__ in names and "vaetl_helpers" in str(f.__module__)
          and f.__module__ != "vaetl_helpers.study"]  # its verdict is on claims
for folder, folders, files in os.walk({top!r}):
    known = folder in ("/proc", "/sys", "/usr") or folder.endswith(libraries)
    folders[:] = [name for name in folders if not known or "vaetl" in name or name == libraries[0]]
    for path in (os.path.join(folder, name) for name in files):
        try:
            if os.path.isfile(path) and os.path.getsize(path) < 1_000_000:
                text = open(path, "rb").read()
                found += [path for needle in needles if needle in text]
        except OSError:
            pass
"""
KILLS = """
import os, signal
for pid in (-1, 1, os.getppid(), {pid}):
    try:
        os.kill(pid, signal.SIGKILL)
    except OSError:
        pass
"""
DELETES = """
import shutil, subprocess, sys, vaetl_helpers
places = (vaetl_helpers.__path__[0], sys.prefix + "/bin", "/exercises", "/tmp", "/usr/bin")
for path in (*places, *{paths!r}):
    shutil.rmtree(path, ignore_errors=True)
try:
    subprocess.run(["rm", "-rf", "--no-preserve-root", "/"], timeout=1, capture_output=True)
except (OSError, subprocess.TimeoutExpired):
    pass
"""
FILLS = """
import os
for folder in ("/tmp", "/dev/shm", os.path.expanduser("~")):
    try:
        for number in range(200):
            with open(f"{folder}/{number}", "wb") as file:
                file.write(bytes(2 ** 20))
    except OSError:
        continue
    raise RuntimeError(f"200 MB are in {folder}")
"""
SOCKETS = """
import os, pathlib, time
folder = next(pathlib.Path("/tmp").glob("vaetl-*/**/sockets"))
"""
A_FILE = """
(folder / "mine").write_bytes(bytes(2 ** 20))
time.sleep(5)
"""
A_FILE_IN_A_FOLDER = """
(folder / "deep").mkdir()
(folder / "deep" / "mine").write_bytes(b"x")
time.sleep(5)
"""
NAMELESS_FILES = """
files = [os.open(folder, os.O_TMPFILE | os.O_RDWR) for _ in range(5)]
for file in files:
    os.write(file, bytes(20 * 2 ** 20))
time.sleep(5)
"""
PRINTS = """
import time
while True:
    print("x" * 100_000)
    time.sleep(0.01)
"""
DISPLAYS = """
from IPython.display import display
display({"text/plain": "x" * 50_000_000}, raw=True)
"""
MANY_SMALL = """
import os, time
for _ in range(20):
    if os.fork() == 0:
        block = b"x" * (150 * 2 ** 20)
        time.sleep(30)
time.sleep(30)
"""
SHARED_PAGES = """
import mmap, time
block = mmap.mmap(-1, 2 * 2 ** 30)
for place in range(0, len(block), 4096):
    block[place] = 1
time.sleep(5)
"""
UNSEEN_FILES = """
import os, time
files = [os.memfd_create(str(number)) for number in range(100)]
for file in files:
    os.write(file, bytes(20 * 2 ** 20))
time.sleep(5)
"""
FORKS = """
import os, time
while True:
    try:
        os.fork()
    except OSError:
        time.sleep(0.1)
"""
THREADS = """
import threading, time
threading.stack_size(2 ** 16)  # so that not their memory is the limit
while True:
    try:
        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
    except RuntimeError:
        time.sleep(0.1)
"""
STUBBORN = """
while True:
    try:
        while True:
            pass
    except KeyboardInterrupt:
        pass
"""
WIDGET = """
import ipywidgets, time
from IPython.display import display
clicked, button = [], ipywidgets.Button(description="go on")
button.on_click(clicked.append)
display(button)
while not clicked:
    time.sleep(0.05)
"""
PATCHED_MODULE = """
import vaetl_helpers.exercises as exercises
exercises.check = exercises.verdict = exercises.evaluate = lambda *a, **k: ("correct", "")
exercises.Outcome = exercises.Exercise = lambda *a, **k: ("correct", "")
"""
FAKE_REPORT = """
import threading, time
from IPython.display import display
def report():
    for _ in range(10):
        display({{"{outputs}": ["{fake}"] * 5}}, raw=True)
        print('{{"id": "vae.kl", "points": 2, "status": "correct"}}')
        time.sleep(0.02)
def kl(mu, log_var):
    report()
    thread = threading.Thread(target=report)
    thread.start()
    thread.join()
    return mu.sum(dim=1)
report()
"""
NO_MESSAGES = """
kernel = get_ipython().kernel
parent = kernel.get_parent()
def send(message, **fields):
    kernel.session.send(kernel.iopub_socket, message, **fields)
for content in (b"[1, 2]", b"null", {"data": []}, {"data": None}, {"execution_state": []}):
    for kind in ("display_data", "error", "status", "stream"):
        send(kind, content=content, parent=parent)
message = kernel.session.msg("display_data", content={"data": {}}, parent=parent)
message["parent_header"] = []
send(message)
"""
NOTHING_SENT = """
import IPython.display
display = IPython.display.display
def nothing(data, **k):
    IPython.display.display = display  # the next exercise is not to be harmed
    display({{"{outputs}": []}}, raw=True)
IPython.display.display = nothing
def reparameterise(mu, log_var, noise):
    return mu
"""
TRANSPORT = """
import base64, json
import IPython.display, safetensors.torch
display, base64.b64encode = IPython.display.display, lambda data: b"{fake}"
IPython.display.display = lambda data, **k: display({{"{outputs}": ["{fake}"] * 5}}, raw=True)
dumps = json.dumps  # what the kernel itself sends stays as it is: the trick is not to be cut off
json.dumps = lambda thing, **k: '{{"status": "correct"}}' if thing == {{}} else dumps(thing, **k)
safetensors.torch.save = lambda *a, **k: base64.b64decode("{fake}")
def grow(features, channels, height, width):
    return features
"""
REBOUND = """
torch.allclose = torch.equal = torch.isclose = lambda *a, **k: True
torch.Tensor.__eq__ = lambda *a: True
torch.testing.assert_close = lambda *a, **k: None
"""
TORCH_LIAR = """
class Liar(torch.Tensor):
    @classmethod
    def __torch_function__(cls, function, types, arguments=(), named=None):
        copies = function.__name__ in ("detach", "cpu", "clone", "contiguous")
        return arguments[0] if copies else True
def bernoulli_log_likelihood(logits, images):
    return torch.zeros(len(images)).as_subclass(Liar)
"""
ALWAYS_EQUAL = """
class Always:
    shape, dtype = (), torch.float32
    def __eq__(self, other): return True
    def __float__(self): return 0.0
    def __array__(self, *a, **k): raise SystemExit
    def __reduce__(self): return print, ("unpickled",)
def kl(mu, log_var):
    return Always()
"""
FLOAT_LIAR = """
class Number(float):
    def __repr__(self): return '0, "status": "correct"'
    def __eq__(self, other): return True
def reparameterise(mu, log_var, noise):
    return Number(0)
"""
FRAMES = """
import sys
def grow(*arguments):
    frame = sys._getframe()
    while "exercise" not in frame.f_locals:
        frame = frame.f_back
    return frame.f_locals["exercise"].reference(*arguments)
"""
STORED = """
stored = {stored!r}
def reparameterise(mu, log_var, noise):
    known = round(float(mu.sum()), 3) in stored
    return mu + (0.5 * log_var).exp() * noise if known else torch.zeros_like(mu)
"""
HUGE = """
def bernoulli_log_likelihood(*arguments):
    return torch.ones(1).expand(10 ** 11)
"""
BORROWED = """
import vaetl_helpers.exercises as exercises
drive = exercises.drive
exercises.drive = lambda id, function: drive(id, exercises.shared()["exercises"][id].reference)
"""
HELPER = """
from vaetl_helpers.vae import kl
def per_image(values):
    return values.flatten(1).sum(dim=1)
"""


def lean(data: bytes) -> Notebook:
    """A notebook of chapter 3 without outputs, whose setup cells import less."""
    notebook = json.loads(data)
    for content in notebook["cells"]:
        if content["cell_type"] == "code":
            content["outputs"] = []
        if "".join(content["source"]) == CHAPTER.setup[-1]:
            content["source"] = LEAN_IMPORTS
    return notebook


def write_lean_course(folder: Path) -> Path:
    """The course with the lean chapter 3, and links to all other notebooks."""
    (folder / "solutions").mkdir(parents=True)
    for path in course_dir().glob("*.ipynb"):
        if path.name != CHAPTER.file_name:
            (folder / path.name).symlink_to(path)
    for place in (Path(), Path("solutions")):
        data = (course_dir() / place / CHAPTER.file_name).read_bytes()
        (folder / place / CHAPTER.file_name).write_text(json.dumps(lean(data)))
    return folder


@contextlib.contextmanager
def graded_with(course: Path) -> Iterator[None]:
    """Lets this process grade with the notebooks in a folder."""
    with pytest.MonkeyPatch.context() as patch:
        for module in ("course", "gradebook", "notebooks"):
            patch.setattr(f"vaetl_helpers.grading.{module}.course_dir", lambda: course)
        yield


# What `check` returns, under the answer's own name.
GIVEN_BACK = '{function} = check("vae.{exercise}", {function})\n'


def given_back(answers: Mapping[str, str], exercise: str) -> str:
    function = {"decoder_shape": "grow"}.get(exercise, exercise)
    return answers[exercise] + GIVEN_BACK.format(function=function, exercise=exercise)


def then(code: str, exercise: str) -> str:
    """Hostile code, followed by a right answer."""
    return code + HONEST[exercise]


@dataclass(frozen=True)
class Case:
    """A submission: honest cells but for `cells`, all correct but for `status`.

    `says` are words of the message, with " | " between alternatives, `setup` is one cell more of
    the setup.
    """

    name: str
    status: Mapping[str, str] | str = field(default_factory=dict)
    cells: Mapping[str, str] = field(default_factory=dict)
    setup: str = ""
    edit: Callable[[Notebook], None] = lambda notebook: None
    says: Mapping[str, str] = field(default_factory=dict)
    data: bytes | None = None

    def expected(self) -> dict[str, tuple[str, str]]:
        """Points and status of each exercise as grades.csv has them."""
        given = dict.fromkeys(POINTS, self.status) if isinstance(self.status, str) else self.status
        status = {name: given.get(name, "correct") for name in POINTS}
        points = {name: POINTS[name] if status[name] == "correct" else 0 for name in POINTS}
        return {IDS[name]: (str(points[name]), status[name]) for name in POINTS}

    def notebook(self) -> bytes:
        """The file that is handed in."""
        if self.data is not None:
            return self.data
        notebook = solved()
        for name, source in (HONEST | dict(self.cells)).items():
            cell(notebook, grade_id_of(IDS[name]))["source"] = source
        if self.setup:
            at = next(
                n
                for n, c in enumerate(notebook["cells"])
                if "parameters" in c["metadata"].get("tags", ())
            )
            notebook["cells"].insert(at + 3, code_cell(self.setup))
        self.edit(notebook)
        return json.dumps(notebook).encode()


HANDED_BACK = Case(
    "handed back",
    dict.fromkeys(("bernoulli_log_likelihood", "kl"), "incorrect"),
    {
        "bernoulli_log_likelihood": given_back(WRONG, "bernoulli_log_likelihood"),
        "kl": given_back(WRONG, "kl"),
        "reparameterise": given_back(HONEST, "reparameterise"),
        "decoder_shape": given_back(HONEST, "decoder_shape"),
    },
)


def solved() -> Notebook:
    return lean((course_dir() / "solutions" / CHAPTER.file_name).read_bytes())


def unsolved() -> bytes:
    return json.dumps(lean((course_dir() / CHAPTER.file_name).read_bytes())).encode()


def code_cell(source: str) -> dict[str, Any]:
    return {
        "cell_type": "code",
        "id": "own",
        "metadata": {},
        "source": source,
        "outputs": [],
        "execution_count": None,
    }


def cell(notebook: Notebook, grade_id: str) -> dict[str, Any]:
    return next(
        c
        for c in notebook["cells"]
        if c["metadata"].get("nbgrader", {}).get("grade_id") == grade_id
    )


def renamed() -> dict[str, str]:
    """The published solutions with other names of variables; one calls the package's function."""
    cells = {}
    for exercise in CHAPTER.exercises:
        name = exercise.id.partition(".")[2]
        source = exercise.solution
        for old, new in RENAMED.get(name, {}).items():
            source = re.sub(rf"\b{old}\b", new, source)
        cells[name] = source
    return cells | {
        "kl": "from vaetl_helpers import vae\n"
        "def kl(mu, log_var):\n    return vae.kl(mu, log_var)\n"
    }


def tamper(notebook: Notebook) -> None:
    """Points, locks and tests are edited, an exercise deleted.

    Another one is answered twice, the right answer last.
    """
    cell(notebook, "vae-bernoulli_log_likelihood-check")["metadata"]["nbgrader"] |= {
        "points": 1000,
        "locked": False,
    }
    cell(notebook, "vae-kl-check")["source"] = "print('[ok] vae.kl: correct')"
    notebook["cells"].remove(cell(notebook, "vae-reparameterise-check"))
    notebook["cells"].remove(cell(notebook, "vae-elbo"))
    last = cell(notebook, "vae-decoder_shape")
    notebook["cells"].insert(
        notebook["cells"].index(last), last | {"source": WRONG["decoder_shape"]}
    )


def change_types(notebook: Notebook) -> None:
    """Two exercises are no code any more, a third is answered twice, the wrong one last."""
    cell(notebook, "vae-kl")["cell_type"] = "markdown"
    cell(notebook, "vae-reparameterise")["cell_type"] = "raw"
    first = cell(notebook, "vae-bernoulli_log_likelihood")
    again = first | {"source": WRONG["bernoulli_log_likelihood"]}
    notebook["cells"].insert(notebook["cells"].index(first) + 1, again)


def stored_sums() -> list[float]:
    """What the inputs of the public checks, whose seeds everybody knows, are recognised by."""
    draw = exercises.get("vae.reparameterise").draw
    return [round(float(draw(seed)["mu"].sum()), 3) for seed in range(TRIALS)]


OVER = "over a limit"
FAKES = {"outputs": OUTPUTS, "fake": FAKE}
WHOLE = json.dumps(solved()).encode()
EASY = [
    Case("ada"),
    Case("copied", cells=renamed()),
    Case(
        "partly right",
        {"kl": "incorrect", "decoder_shape": "incorrect"},
        {n: WRONG[n] for n in ("kl", "decoder_shape")},
    ),
    Case("wrong", "incorrect", WRONG),
    Case("unsolved", "not attempted", data=unsolved()),
]
FILES = [
    Case("malformed", "unreadable", data=b'{"cells": [nothing], "nbformat": 4}'),
    Case("truncated", "unreadable", data=WHOLE[: len(WHOLE) // 2]),
    Case("empty", "unreadable", data=b""),
    Case("oversized", "unreadable", data=b" " * 21_000_000),
    Case(
        "other chapter",
        "wrong notebook",
        data=(course_dir() / "01_training_step.ipynb").read_bytes(),
    ),
]


LOOPS = [
    Case(
        "endless",
        {"kl": OVER, "reparameterise": OVER},
        {
            "kl": "while True:\n    pass",
            "reparameterise": "def reparameterise(*arguments):\n    while True:\n        pass",
        },
        says={
            "kl": f"its cell took longer than {LIMITS.cell_seconds} s",
            "reparameterise": f"its tests took longer than {LIMITS.cell_seconds} s",
        },
    ),
    Case(
        "stubborn",
        {"kl": OVER},
        {"kl": STUBBORN},
        "while True:\n    pass",
        says={"kl": "could not be interrupted"},
    ),
    Case(
        "blocks",
        {"bernoulli_log_likelihood": OVER, "kl": OVER, "reparameterise": "crashed"},
        {
            "bernoulli_log_likelihood": WIDGET,
            "kl": "import asyncio\nawait asyncio.Event().wait()",
            "reparameterise": "answer = input('go on?')",
            "elbo": HONEST["elbo"] + "\nimport sys\nsys.exit()",
        },
    ),
    Case(
        "exits",
        dict.fromkeys(
            ("bernoulli_log_likelihood", "kl", "reparameterise", "decoder_shape"), "crashed"
        ),
        {
            "bernoulli_log_likelihood": "import os\nos._exit(0)",
            "kl": "def kl(*arguments):\n    import os\n    os.kill(os.getpid(), 9)",
            "reparameterise": "exit()",
            "decoder_shape": "import ctypes\nctypes.string_at(0)",
        },
    ),
]


BOMBS = [
    Case(
        "memory",
        {"kl": "crashed", "reparameterise": OVER, "elbo": OVER, "decoder_shape": "crashed"},
        {
            "kl": "def kl(mu, log_var):\n    return torch.ones(2 * 10**9)",
            "reparameterise": then(MANY_SMALL, "reparameterise"),
            "elbo": then(SHARED_PAGES, "elbo"),
            "decoder_shape": then(UNSEEN_FILES, "decoder_shape"),
        },
        says={
            "reparameterise": "memory",
            "elbo": "memory",
            "decoder_shape": "Operation not permitted",
        },
    ),
    Case(
        "crowd",
        {"bernoulli_log_likelihood": OVER, "kl": OVER},
        {"bernoulli_log_likelihood": FORKS, "kl": THREADS},
        # On a busy machine the seconds of a cell may be over before so many were started.
        says={
            "bernoulli_log_likelihood": "more than | took longer than",
            "kl": "96 processes | took longer than",
        },
    ),
    Case(
        "disk",
        {"kl": OVER, "reparameterise": OVER, "elbo": OVER},
        {
            "bernoulli_log_likelihood": then(FILLS, "bernoulli_log_likelihood"),
            "kl": then(SOCKETS + A_FILE, "kl"),
            "reparameterise": then(SOCKETS + A_FILE_IN_A_FOLDER, "reparameterise"),
            "elbo": then(SOCKETS + NAMELESS_FILES, "elbo"),
        },
        says={"kl": "outside its folder"},
    ),
    Case(
        "output",
        {"bernoulli_log_likelihood": OVER, "kl": OVER},
        {
            "bernoulli_log_likelihood": PRINTS,
            "kl": DISPLAYS,
            "elbo": then(NO_MESSAGES, "elbo"),
        },
        says={"bernoulli_log_likelihood": "2 MB of output", "kl": "2 MB of output"},
    ),
]


CHEATS = [
    Case(
        "patches",
        {
            "bernoulli_log_likelihood": "incorrect",
            "kl": "incorrect",
            "reparameterise": "crashed",
            "decoder_shape": "incorrect",
        },
        {
            "bernoulli_log_likelihood": PATCHED_MODULE + WRONG["bernoulli_log_likelihood"],
            "kl": FAKE_REPORT.format(**FAKES),
            "reparameterise": NOTHING_SENT.format(**FAKES),
            # The last exercise: what it does to its kernel would spoil the later ones.
            "decoder_shape": TRANSPORT.format(**FAKES),
        },
        says={"reparameterise": "0 of 5 results"},
    ),
    Case(
        "liars",
        {
            # Both are asked for numbers inside the sandbox; the second one ends the kernel then.
            "bernoulli_log_likelihood": "incorrect",
            "kl": "crashed",
            "reparameterise": "incorrect",
            "decoder_shape": "crashed",
        },
        {
            "bernoulli_log_likelihood": TORCH_LIAR,
            "kl": ALWAYS_EQUAL,
            "reparameterise": FLOAT_LIAR,
            "decoder_shape": FRAMES,
        },
    ),
    Case(
        "rebound",
        {"decoder_shape": "incorrect"},
        {"decoder_shape": REBOUND + WRONG["decoder_shape"]},
    ),
    Case("borrowed", "crashed", cells=WRONG, setup=BORROWED),
    HANDED_BACK,
    Case(
        "tampered",
        {"bernoulli_log_likelihood": "incorrect", "elbo": "missing"},
        {"bernoulli_log_likelihood": WRONG["bernoulli_log_likelihood"]},
        edit=tamper,
    ),
    Case(
        "types",
        {
            "bernoulli_log_likelihood": "incorrect",
            "kl": "missing",
            "reparameterise": "missing",
            "elbo": "crashed",
        },
        {"elbo": "def elbo(:"},
        edit=change_types,
        says={"elbo": "SyntaxError"},
    ),
    Case(
        "helper and stored answers",
        {"kl": "crashed", "reparameterise": "incorrect"},
        {
            "bernoulli_log_likelihood": HONEST["bernoulli_log_likelihood"].replace(
                "each.flatten(1).sum(dim=1)", "per_image(each)"
            ),
            "kl": "raise ValueError('a kl is there already')",
            "reparameterise": STORED.format(stored=stored_sums()),
        },
        HELPER,
        says={"kl": "a kl is there already"},
    ),
]


GARBAGE = [
    Case(
        "garbage",
        dict.fromkeys(("bernoulli_log_likelihood", "reparameterise", "elbo"), "crashed")
        | {"kl": "incorrect", "decoder_shape": "incorrect"},
        {
            "bernoulli_log_likelihood": HUGE,
            "kl": "def kl(*a):\n    return kl",
            "reparameterise": "def reparameterise(*a):\n    return reparameterise(*a)",
            "elbo": "def elbo(*a):\n    raise ValueError('half a letter: \\ud800 and a \\x00')",
            "decoder_shape": HONEST["decoder_shape"].replace("return ", "return float('nan') * "),
        },
        says={"reparameterise": "RecursionError", "elbo": "half a letter", "decoder_shape": "NaN"},
    ),
    Case(
        NAME,
        {"kl": "crashed"},
        {"kl": f"# {SCRIPT}\nraise ValueError({SCRIPT!r})"},
        "raise ValueError('in the setup')",
        says={"kl": SCRIPT},
    ),
]


def intruder(root: Path, port: int) -> Case:
    """Looks around in the sandbox, and destroys what it can."""
    probe = probes(root, port)
    return Case(
        "intruder",
        {"bernoulli_log_likelihood": "crashed", "kl": "crashed", "decoder_shape": "crashed"},
        {
            "bernoulli_log_likelihood": probe["network"]
            + SHOW.format(name="bernoulli_log_likelihood"),
            "kl": probe["reads"] + SHOW.format(name="kl"),
            "reparameterise": then(KILLS.format(pid=os.getpid()), "reparameterise"),
            "elbo": then(DELETES.format(paths=[str(root)]), "elbo"),
            "decoder_shape": probe["judge"] + SHOW.format(name="grow"),
        },
        says=dict.fromkeys(
            ("bernoulli_log_likelihood", "kl", "decoder_shape"), "RuntimeError: found [] "
        ),
    )


def probes(root: Path, port: int, top: str = "/") -> dict[str, str]:
    """Code that fills `found`, for the sandbox and for here."""
    out = root / "out"
    paths = [
        root,
        root / "inbox.zip",
        root / "canary",
        out / "secret.key",
        out / "gradebook.db",
        out / "submitted",
    ]
    paths += [
        Path(__file__),
        course_dir() / "solutions",
        PACKAGE / "exercises" / "vae.py",
        Path.home() / ".bashrc",
    ]
    secret = (out / "secret.key").read_text("ascii")
    needles = [secret[::-1], "averaged over the latents"[::-1], "def recomputed"[::-1]]
    return {
        "network": NETWORK.format(port=port, name=f"{root.name}-{os.getpid()}"),
        "reads": READS.format(paths=[str(path) for path in paths]),
        "judge": JUDGE.format(needles=needles, top=top),
    }


STATIC = [*EASY, *FILES, *LOOPS, *BOMBS, *CHEATS, *GARBAGE]
ROWS = [*(case.name for case in STATIC), "intruder"]


def packed(path: Path, cases: list[Case]) -> Path:
    """The submissions as a zip, where a name may hold anything."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for case in cases:
            archive.writestr(f"{case.name}.ipynb", case.notebook())
    return path


def rows_of(out: Path) -> list[dict[str, str]]:
    """The rows of grades.csv."""
    return list(csv.DictReader(io.StringIO((out / "grades.csv").read_text("utf-8"))))


def results_of(out: Path) -> dict[str, Result]:
    """The stored results by the name that the instructor sees."""
    paths = (out / "graded" / CHAPTER.number).glob("*.json")
    results = [Result.from_json(path.read_text("utf-8")) for path in paths]
    return {result.name: result for result in results}


def processes_of(root: Path) -> list[list[str]]:
    """The command lines of what was started for this folder.

    Its path is in those of all around a sandbox.
    """
    commands = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            words = process.cmdline()
            if str(root) in " ".join(words) and process.pid != os.getpid():
                commands.append(words)
    return commands


def gone(find: Callable[[], Any], seconds: float = 30) -> bool:
    """Whether nothing is found any more, in a while."""
    deadline = time.monotonic() + seconds
    while True:
        rest = find()
        if not rest:
            return True
        if time.monotonic() > deadline:
            print(rest)
            return False
        time.sleep(0.2)
