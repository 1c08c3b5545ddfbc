"""`vaetl grade` against broken and hostile submissions: what each one gets, and that nothing outside notices."""

import asyncio
import base64
import contextlib
import csv
import hashlib
import html
import inspect
import io
import json
import os
import pickletools
import socket
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from vaetl_helpers import exercises
from vaetl_helpers.chapters import course_dir
from vaetl_helpers.errors import CourseError
from vaetl_helpers.grading import course as session
from vaetl_helpers.grading import judge as grading
from vaetl_helpers.grading.sandbox import PACKAGE, Limits
from vaetl_helpers.grading.sandbox import kernel as sandbox
from vaetl_helpers.grading.sandbox.inside import OUTPUTS
from vaetl_helpers.grading.sandbox.runner import Dead, Kernel
from vaetl_helpers.grading.submissions import Unreadable, assignment

OF = assignment("03")
POINTS = {task.id.removeprefix("vae."): task.points for task in OF.tasks}
LIMITS = Limits(cell_seconds=25, seconds=300, memory=1500, disk=32, output=2, processes=96)
SCRIPT = "<script>alert(1)</script>"
NAME = '../../=O\'Neil "<img src=x onerror=alert(1)>"'
CANARY = "VAETL_CANARY"
FAKE = base64.b64encode(
    exercises.pack({"status": "correct", "points": 1000, "the result": "correct"})
).decode()
Notebook = dict[str, Any]
sandboxed = [pytest.mark.slow, pytest.mark.debian("bubblewrap", "/usr/bin/bwrap")]

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
    "bernoulli_log_likelihood": (
        "log_likelihood = ",
        "answer = ",
        "return log_likelihood",
        "return answer",
    ),
    "kl": ("mu", "m", "log_var", "lv"),
    "reparameterise": ("noise", "epsilon"),
    "elbo": ("z = ", "code = ", "(z)", "(code)"),
}

# What hostile cells do. What asks for `found` ends with an error that says what was found.

SHOW = "\ndef {name}(*arguments):\n    raise RuntimeError(f'found {{found}}')\n"
NETWORK = """
import socket
found = []
for kind, address in (("AF_INET", ("127.0.0.1", {port})), ("AF_UNIX", "\\0{name}"), ("AF_INET", ("1.1.1.1", 53))):
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
        text = "".join(os.listdir(path)) if os.path.isdir(path) else open(path, "rb").read().decode(errors="replace")
    except OSError:
        continue
    if text and ("environ" not in path or "CANARY" in text):
        found.append(path)
"""
JUDGE = """
import gc, os, sys, types
import vaetl_helpers.exercises as exercises
if hasattr(exercises, "_shared"):
    exercises._shared()
needles = [text[::-1].encode() for text in {needles!r}]
found = [str(module) for module in sys.modules if module.startswith("vaetl_helpers.exercises.")]
names = ("judge", "verdict", "careful", "recomputed")
functions = [thing for thing in gc.get_objects() if type(thing) is types.FunctionType]
found += [repr(f) for f in functions if f.__name__ in names and "vaetl_helpers" in str(f.__module__)
          and f.__module__ != "vaetl_helpers.study"]  # its verdict is on claims
for folder, folders, files in os.walk({top!r}):
    known = folder in ("/proc", "/sys", "/usr") or folder.endswith("site-packages")
    folders[:] = [name for name in folders if not known or "vaetl" in name]
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
for path in (vaetl_helpers.__path__[0], sys.prefix, "/exercises", "/tmp", "/usr/bin", *{paths!r}):
    shutil.rmtree(path, ignore_errors=True)
try:
    subprocess.run(["rm", "-rf", "--no-preserve-root", "/"], timeout=5, capture_output=True)
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
parent, send = kernel.get_parent(), lambda what, **k: kernel.session.send(kernel.iopub_socket, what, **k)
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
        return arguments[0] if function.__name__ in ("detach", "cpu", "clone", "contiguous") else True
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
exercises.drive = lambda id, function: drive(id, exercises._shared()["exercises"][id].reference)
"""
HELPER = """
from vaetl_helpers.vae import kl
def per_image(values):
    return values.flatten(1).sum(dim=1)
"""


def then(code: str, exercise: str) -> str:
    """Hostile code, followed by a right answer."""
    return code + HONEST[exercise]


@dataclass(frozen=True)
class Case:
    """A submission: honest cells but for `cells`, all correct but for `status`; `says` are words of the message."""

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
        return {f"vae.{n}": (str(POINTS[n] if s == "correct" else 0), s) for n, s in status.items()}

    def notebook(self) -> bytes:
        """The file that is handed in."""
        if self.data is not None:
            return self.data
        notebook = solved()
        for name, source in (HONEST | dict(self.cells)).items():
            cell(notebook, f"vae-{name}")["source"] = source
        if self.setup:
            at = next(
                n
                for n, c in enumerate(notebook["cells"])
                if "parameters" in c["metadata"].get("tags", ())
            )
            notebook["cells"].insert(at + 3, code_cell(self.setup))
        self.edit(notebook)
        return json.dumps(notebook).encode()


def solved() -> Notebook:
    notebook = json.loads((course_dir() / "solutions" / f"{OF.name}.ipynb").read_bytes())
    for c in notebook["cells"]:
        if c["cell_type"] == "code":
            c["outputs"] = []
    return notebook


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
    """The published solutions with other names of variables, and one that calls the package's own function."""
    cells = {}
    for task in OF.tasks:
        name, source = task.id.removeprefix("vae."), task.solution
        words = RENAMED.get(name, ())
        for old, new in zip(words[::2], words[1::2], strict=True):
            source = source.replace(old, new)
        cells[name] = source
    return cells | {
        "kl": "from vaetl_helpers import vae\ndef kl(mu, log_var):\n    return vae.kl(mu, log_var)\n"
    }


def tamper(notebook: Notebook) -> None:
    """Points, locks and tests are edited, an exercise deleted, another one answered twice, the right one last."""
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
    return [round(float(draw(seed)["mu"].sum()), 3) for seed in range(grading.TRIALS)]


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
    Case("unsolved", "not attempted", data=(course_dir() / f"{OF.name}.ipynb").read_bytes()),
]
FILES = [
    Case("malformed", "unreadable", data=b'{"cells": [nothing], "nbformat": 4}'),
    Case("truncated", "unreadable", data=WHOLE[: len(WHOLE) // 2]),
    Case("empty", "unreadable", data=b""),
    Case("oversized", "unreadable", data=b" " * 21_000_000),
    Case(
        "other chapter",
        "wrong notebook",
        data=(course_dir() / "01_training_basics.ipynb").read_bytes(),
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
        says={"bernoulli_log_likelihood": "more than", "kl": "96 processes"},
    ),
    Case(
        "disk",
        {"kl": OVER, "reparameterise": OVER, "elbo": OVER},
        {
            "bernoulli_log_likelihood": then(FILLS, "bernoulli_log_likelihood"),
            "kl": SOCKETS
            + "(folder / 'mine').write_bytes(bytes(2**20))\ntime.sleep(5)"
            + HONEST["kl"],
            "reparameterise": SOCKETS
            + "(folder / 'deep').mkdir()\n(folder / 'deep' / 'mine').write_bytes(b'x')\ntime.sleep(5)"
            + HONEST["reparameterise"],
            "elbo": SOCKETS
            + "files = [os.open(folder, os.O_TMPFILE | os.O_RDWR) for _ in range(5)]\n"
            + "for file in files:\n    os.write(file, bytes(20 * 2**20))\ntime.sleep(5)"
            + HONEST["elbo"],
        },
        says={"kl": "outside its folder"},
    ),
    Case(
        "output",
        {"bernoulli_log_likelihood": OVER, "kl": OVER},
        {
            "bernoulli_log_likelihood": "import time\nwhile True:\n    print('x' * 100_000)\n    time.sleep(0.01)",
            "kl": "from IPython.display import display\ndisplay({'text/plain': 'x' * 50_000_000}, raw=True)",
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
            "decoder_shape": TRANSPORT.format(**FAKES),
        },
        says={"reparameterise": "0 of 5 results"},
    ),
    Case(
        "liars",
        {
            "bernoulli_log_likelihood": "crashed",
            "kl": "incorrect",
            "reparameterise": "incorrect",
            "elbo": "incorrect",
        },
        {
            "bernoulli_log_likelihood": TORCH_LIAR,
            "kl": ALWAYS_EQUAL,
            "reparameterise": FLOAT_LIAR,
            "elbo": REBOUND + WRONG["elbo"],
            "decoder_shape": FRAMES,
        },
    ),
    Case("borrowed", cells=WRONG, setup=BORROWED),
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


class Listener:
    """A TCP port and an abstract Unix socket that count who connects."""

    def __init__(self, name: str) -> None:
        self.sockets = [socket.create_server(("127.0.0.1", 0)), socket.socket(socket.AF_UNIX)]
        self.sockets[1].bind(f"\0{name}")
        self.sockets[1].listen()
        self.port, self.visits = self.sockets[0].getsockname()[1], 0
        for one in self.sockets:
            threading.Thread(target=self._serve, args=(one,), daemon=True).start()

    def _serve(self, one: socket.socket) -> None:
        while True:
            try:
                one.accept()[0].close()
            except OSError:
                return
            self.visits += 1

    def close(self) -> None:
        for one in self.sockets:
            one.shutdown(socket.SHUT_RDWR)  # ends the waiting, too
            one.close()


def packed(path: Path, cases: list[Case]) -> Path:
    """The submissions as a zip, where a name may hold anything."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for case in cases:
            archive.writestr(f"{case.name}.ipynb", case.notebook())
    return path


def hashes(*folders: Path) -> dict[str, str]:
    """The contents of all files, but for what Python compiles."""
    files = [
        p
        for f in folders
        for p in sorted(f.rglob("*"))
        if p.is_file() and "__pycache__" not in p.parts
    ]
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def rows_of(out: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO((out / "grades.csv").read_text("utf-8"))))


def results_of(out: Path) -> dict[str, dict[str, Any]]:
    """The stored results by the name that the instructor sees."""
    found = [
        json.loads(path.read_text("utf-8"))
        for path in sorted((out / "graded" / OF.number).glob("*.json"))
    ]
    return {result["name"]: result for result in found}


def processes_of(root: Path) -> list[list[str]]:
    """The command lines of what was started for this folder: its path is in those of all around a sandbox."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            words = process.cmdline()
            found += [words] if str(root) in " ".join(words) and process.pid != os.getpid() else []
    return found


def watch_kernels(root: Path, seen: set[Path], end: threading.Event) -> None:
    """Notes the folders of the kernels that are started for this folder; others may start some, too."""
    while not end.wait(0.5):
        paths = [
            Path(word)
            for command in processes_of(root)
            for word in command
            if word.startswith("/tmp/vaetl-")
        ]
        seen |= {Path(*path.parts[:3]) for path in paths}


def gone(find: Callable[[], Any], seconds: float = 30) -> bool:
    """Whether nothing is found any more, in a while."""
    end = time.monotonic() + seconds
    while found := find():
        if time.monotonic() > end:
            print(found)
            return False
        time.sleep(0.2)
    return True


@pytest.fixture(scope="module")
def graded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """All submissions of the table, graded together in one call."""
    root = tmp_path_factory.mktemp("grading")
    for name in ("canary", "temporary"):
        (root / name).mkdir()
    (root / "canary" / "file").write_text("untouched")
    watched = (root / "canary", PACKAGE, course_dir())
    listener, out, kernels, end = (
        Listener(f"{root.name}-{os.getpid()}"),
        root / "out",
        set(),
        threading.Event(),
    )
    threading.Thread(target=watch_kernels, args=(root, kernels, end)).start()
    grading.secret_of(out, 0)
    cases = {case.name: case for case in [*STATIC, intruder(root, listener.port)]}
    inbox = packed(root / "inbox.zip", list(cases.values()))
    before, digest = hashes(*watched), hashes(root)[str(inbox)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CANARY, "a secret of the grader")
        patch.setattr(
            tempfile, "tempdir", str(root / "temporary")
        )  # so that these files are known to be ours
        try:
            code = session.grade(inbox, "03", out, jobs=2, limits=LIMITS)
        finally:
            end.set()
    facts = {
        "root": root,
        "out": out,
        "cases": cases,
        "inbox": inbox,
        "digest": digest,
        "code": code,
    }
    facts |= {
        "before": before,
        "after": hashes(*watched),
        "visits": listener.visits,
        "kernels": kernels,
    }
    table = {name: result["student"] for name, result in results_of(out).items()}
    listener.close()
    yield SimpleNamespace(**facts, student=table, rows=rows_of(out), results=results_of(out))


def shown(name: str) -> str:
    """The name as it is stored: without the way out of the folder."""
    return name.rpartition("/")[2]


class TestTable:
    """Each submission of the table, all graded in the same call."""

    pytestmark = sandboxed

    @pytest.mark.parametrize("name", ROWS)
    def test_points_and_status(self, graded: SimpleNamespace, name: str) -> None:
        student = graded.student[shown(name)]
        rows = {
            r["exercise"]: (r["points"], r["status"])
            for r in graded.rows
            if r["student"] == student
        }
        messages = {row["id"]: row["message"] for row in graded.results[shown(name)]["exercises"]}
        assert rows == graded.cases[name].expected(), messages

    @pytest.mark.parametrize("name", ROWS)
    def test_the_message_says_why(self, graded: SimpleNamespace, name: str) -> None:
        messages = {row["id"]: row["message"] for row in graded.results[shown(name)]["exercises"]}
        for exercise, words in graded.cases[name].says.items():
            assert words in messages[f"vae.{exercise}"]

    def test_csv_has_a_row_for_each_exercise_of_each_student(self, graded: SimpleNamespace) -> None:
        text = (graded.out / "grades.csv").read_text("utf-8")
        assert text.startswith("student,exercise,points,status\n")
        assert len(graded.rows) == len(ROWS) * len(POINTS) == len(text.splitlines()) - 1
        assert all(row["student"][0] not in "=+-@" for row in graded.rows)
        assert graded.code == 0

    def test_flags(self, graded: SimpleNamespace) -> None:
        flags = {
            name: [row["flags"] for row in r["exercises"]] for name, r in graded.results.items()
        }
        assert flags["ada"] == flags["wrong"] == [[]] * len(POINTS)
        assert all(flags["copied"])
        assert "vaetl_helpers" in str(flags["copied"][1])
        assert "sys" in str(flags["liars"][4])

    def test_an_answer_borrowed_by_a_setup_cell_is_flagged(self, graded: SimpleNamespace) -> None:
        assert "vaetl_helpers.exercises" in str(graded.results["borrowed"]["flags"])
        assert [graded.results[name]["flags"] for name in ("ada", "copied", "wrong")] == [
            [],
            [],
            [],
        ]

    def test_failing_setup_cells_are_replaced_and_it_is_said(self, graded: SimpleNamespace) -> None:
        for name, why in (
            (shown(NAME), "in the setup"),
            ("stubborn", f"longer than {LIMITS.cell_seconds} s"),
        ):
            notes = str(graded.results[name]["notes"])
            assert why in notes
            assert "the course's were used" in notes

    def test_what_was_edited_is_restored_and_said(self, graded: SimpleNamespace) -> None:
        notes = {
            row["id"]: " ".join(row["notes"]) for row in graded.results["tampered"]["exercises"]
        }
        assert (
            "points or settings of the check cell were changed"
            in notes["vae.bernoulli_log_likelihood"]
        )
        assert "check cell was changed" in notes["vae.kl"]
        assert "check cell is missing" in notes["vae.reparameterise"]
        assert "2 times" in notes["vae.decoder_shape"]
        assert {row["of"] for row in graded.results["tampered"]["exercises"]} == {2, 3}

    # What the submissions left outside the sandbox: in the same class, so that one worker has all of the table.

    def test_no_file_has_changed(self, graded: SimpleNamespace) -> None:
        assert graded.after == graded.before
        assert hashlib.sha256(graded.inbox.read_bytes()).hexdigest() == graded.digest
        assert {path.name for path in graded.root.iterdir()} == {
            "canary",
            "temporary",
            "out",
            "inbox.zip",
        }

    def test_no_process_and_no_folder_is_left(self, graded: SimpleNamespace) -> None:
        assert gone(lambda: processes_of(graded.root))
        assert len(graded.kernels) >= len(ROWS) - len(FILES)
        assert gone(lambda: [folder for folder in graded.kernels if folder.exists()])
        assert not list((graded.root / "temporary").iterdir())

    def test_nobody_has_called(self, graded: SimpleNamespace) -> None:
        assert graded.visits == 0

    @pytest.mark.parametrize("probe", ["network", "reads", "judge"])
    def test_the_probes_find_something_here(
        self, graded: SimpleNamespace, probe: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv(CANARY, "1")
        listener, space = Listener(f"{graded.root.name}-{os.getpid()}"), {}
        exec(probes(graded.root, listener.port, top=str(PACKAGE))[probe], space)
        listener.close()
        assert space["found"]

    def test_pages_are_whole_and_escape_what_is_not_ours(self, graded: SimpleNamespace) -> None:
        pages = [graded.out / "report.html", *(graded.out / "feedback").rglob("*.html")]
        texts = [page.read_text("utf-8") for page in pages]
        assert len(pages) == len(ROWS) + 1
        assert not [
            page
            for page, text in zip(pages, texts, strict=True)
            if SCRIPT in text or "<img src=x" in text
        ]
        assert any(html.escape(SCRIPT) in text for text in texts)
        assert all(text.rstrip().endswith("</html>") for text in texts)

    def test_the_gradebook_has_the_same_points(self, graded: SimpleNamespace) -> None:
        from vaetl_helpers.grading.gradebook import open_book

        with open_book(graded.out) as book:
            in_book = {s.student_id: s.score for s in book.assignment_submissions(OF.number)}
        in_csv = dict.fromkeys(in_book, 0)
        for row in graded.rows:
            in_csv[row["student"]] += float(row["points"])
        assert in_book == in_csv


QUICK = [case for case in STATIC if case in EASY or case.name == "tampered"]
GRADE = [sys.executable, "-c", "from vaetl_helpers.app.cli import main; main()", "grade"]


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """`vaetl grade`, killed when two submissions are graded, and another run with the same secret, left to its end."""
    root = tmp_path_factory.mktemp("killed")
    out, inbox = root / "out", packed(root / "inbox.zip", QUICK)
    for folder in (out, root / "temporary"):
        folder.mkdir()
    grading.secret_of(out, None)
    whole = root / "whole"
    whole.mkdir()
    (whole / "secret.key").write_bytes((out / "secret.key").read_bytes())
    assert session.grade(inbox, "03", whole) == 0
    variables = os.environ | {"TMPDIR": str(root / "temporary")}
    words = [*GRADE, str(inbox), "--assignment", "03", "--out", str(out), "--jobs", "2"]
    process = subprocess.Popen(words, env=variables, stdout=subprocess.DEVNULL)
    while len(stored := times(out)) < 2:
        assert process.poll() is None
        time.sleep(0.05)
    process.kill()
    process.wait()
    return SimpleNamespace(root=root, out=out, inbox=inbox, stored=stored, whole=whole)


class TestAgain:
    """A run that is killed, the same command again, other submissions, another seed: in this order."""

    pytestmark = sandboxed

    def test_nothing_goes_on_after_sigkill(self, killed: SimpleNamespace) -> None:
        assert gone(lambda: processes_of(killed.root), seconds=10)
        assert not (killed.out / "grades.csv").exists()

    def test_started_again_it_gives_the_same_table(
        self, killed: SimpleNamespace, capsys: pytest.CaptureFixture[str]
    ) -> None:
        kept = times(killed.out)
        assert session.grade(killed.inbox, "03", killed.out) == 0
        assert (
            f"{len(QUICK)} submissions of {OF.name}, {len(QUICK) - len(kept)} to grade"
            in capsys.readouterr().out
        )
        assert {path: when for path, when in times(killed.out).items() if path in kept} == kept
        assert (killed.out / "grades.csv").read_bytes() == (
            killed.whole / "grades.csv"
        ).read_bytes()

    def test_only_a_changed_submission_is_graded_again(
        self, killed: SimpleNamespace, capsys: pytest.CaptureFixture[str]
    ) -> None:
        corrected, before = Case("partly right"), times(killed.out)
        inbox = packed(killed.root / "second.zip", [Case("ada"), corrected])
        session.grade(inbox, "03", killed.out)
        result = results_of(killed.out)[corrected.name]
        assert "2 submissions of" in (said := capsys.readouterr().out)
        assert ", 1 to grade" in said
        assert [p.stem for p, when in times(killed.out).items() if before[p] != when] == [
            result["student"]
        ]
        assert {row["status"] for row in result["exercises"]} == {"correct"}
        handed_in = killed.out / "submitted" / result["student"] / OF.number / f"{OF.name}.ipynb"
        assert handed_in.read_bytes() == corrected.notebook()

    def test_another_seed_grades_all_again(
        self, killed: SimpleNamespace, capsys: pytest.CaptureFixture[str]
    ) -> None:
        before = rows_of(killed.out)
        session.grade(killed.root / "second.zip", "03", killed.out, parameters={"seed": "7"})
        assert ", 2 to grade" in capsys.readouterr().out
        assert rows_of(killed.out) == before


def times(out: Path) -> dict[Path, int]:
    return {
        path: path.stat().st_mtime_ns
        for path in sorted((out / "graded" / OF.number).glob("*.json"))
    }


def folder_of(path: Path, name: str = "ada", data: bytes | None = None) -> Path:
    path.mkdir()
    (path / f"{name}.ipynb").write_bytes(Case("ada").notebook() if data is None else data)
    return path


class TestUse:
    """What is refused, and what is said."""

    def test_without_bubblewrap_nothing_is_run_or_written(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        inbox = folder_of(tmp_path / "inbox")
        monkeypatch.setattr(sandbox.shutil, "which", lambda name: None)
        monkeypatch.setattr(
            sandbox, "problem", inspect.unwrap(sandbox.problem)
        )  # without its memory
        with pytest.raises(
            CourseError, match=r"bubblewrap(.*apt-get install bubblewrap| needs Linux)"
        ):
            session.grade(inbox, "03", tmp_path / "out")
        assert not (tmp_path / "out").exists()

    def test_an_unknown_parameter_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(CourseError, match="seed"):
            session.grade(
                folder_of(tmp_path / "in"),
                "03",
                tmp_path / "out",
                parameters={"sead": "1"},
                safe=False,
            )
        assert not (tmp_path / "out").exists()

    @pytest.mark.slow
    def test_without_a_sandbox_it_warns_and_grades(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        session.grade(folder_of(tmp_path / "in"), "03", tmp_path / "out", safe=False)
        assert "WARNING: Without a sandbox" in capsys.readouterr().err
        assert [row["status"] for row in rows_of(tmp_path / "out")] == ["correct"] * len(POINTS)

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("name", "data", "code", "words"),
        [
            (
                "solved",
                WHOLE,
                0,
                ("All graded cells are there", "12 of 12 points in the public checks"),
            ),
            (
                "unsolved",
                EASY[-1].data,
                0,
                ("not attempted", "0 of 12 points in the public checks"),
            ),
            (
                "missing",
                Case("", edit=tamper).notebook(),
                1,
                ("vae.elbo: The exercise's cell is missing", "public"),
            ),
        ],
    )
    def test_check_submission(
        self,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
        name: str,
        data: bytes,
        code: int,
        words: tuple,
    ) -> None:
        file = folder_of(tmp_path / "in", OF.name, data) / f"{OF.name}.ipynb"
        assert session.check_submission(file) == code
        said = capsys.readouterr().out
        assert [word for word in words if word not in said] == []

    @pytest.mark.parametrize("name", [OF.name, "mine"])
    def test_check_submission_refuses_a_damaged_file(self, tmp_path: Path, name: str) -> None:
        file = folder_of(tmp_path / "in", name, WHOLE[:1000]) / f"{name}.ipynb"
        with pytest.raises(Unreadable, match="cut off"):
            session.check_submission(file)

    @pytest.mark.slow
    @pytest.mark.debian("bubblewrap", "/usr/bin/bwrap")
    @pytest.mark.parametrize("number", ["01", "02", "03b", "04", "05"])
    def test_solutions_get_all_points_in_every_chapter(self, tmp_path: Path, number: str) -> None:
        path = course_dir() / "solutions" / f"{assignment(number).name}.ipynb"
        session.grade(path, number, tmp_path / "out", jobs=1)
        rows = rows_of(tmp_path / "out")
        expected = [(task.id, str(task.points), "correct") for task in assignment(number).tasks]
        assert [(row["exercise"], row["points"], row["status"]) for row in rows] == expected


DESCRIPTORS = """
import os
for number in range(64):
    try:
        os.write(number, b'{"status": "correct"}' * 1000)
    except OSError:
        pass
"""


async def broken_and_stopped(folder: Path) -> None:
    kernel = Kernel(LIMITS, folder, True, folder)
    await kernel.start()
    with contextlib.suppress(Dead):
        await kernel.run(DESCRIPTORS, 1)
    await kernel.stop()


@pytest.mark.slow
@pytest.mark.debian("bubblewrap", "/usr/bin/bwrap")
def test_a_kernel_that_writes_garbage_into_its_own_sockets_can_be_stopped(tmp_path: Path) -> None:
    thread = threading.Thread(target=lambda: asyncio.run(broken_and_stopped(tmp_path)), daemon=True)
    thread.start()
    thread.join(180)
    assert not thread.is_alive()


class TestSecret:
    """The hidden tests cannot be told from what a submission gets."""

    def test_the_injected_seed_gives_no_hidden_test(self, tmp_path: Path) -> None:
        secret = grading.secret_of(tmp_path, None)
        seed = grading.derive(secret, "the notebook's seed")
        source = grading.parameters_source(OF, {"profile": "smoke", "seed": seed})
        assert f"seed = {seed}" in source
        assert secret.hex() not in source
        guessed = {
            grading.derive(str(seed).encode(), f"{task.id} {n}")
            for task in OF.tasks
            for n in range(5)
        }
        assert not guessed & set(sum(grading.hidden_seeds(OF, secret).values(), []))

    @pytest.mark.parametrize("number", ["01", "02", "03", "03b", "04", "05"])
    def test_the_sandbox_gets_nothing_that_judges(self, number: str) -> None:
        chosen = [exercises.get(task.id) for task in assignment(number).tasks]
        words = {
            arg for _, arg, _ in pickletools.genops(grading.shared(chosen)) if isinstance(arg, str)
        }
        assert not words & {
            "judge",
            "_judge",
            "careful",
            "judged",
            "recomputed",
            "mutants",
            "Wrong",
            "Outcome",
        }
        assert {"attempt", "drive"} <= words

    def test_stored_answers_pass_the_public_checks(self) -> None:
        import torch

        space = {"torch": torch}
        exec(STORED.format(stored=stored_sums()), space)
        exercise = exercises.get("vae.reparameterise")
        assert exercises.evaluate(exercise, space["reparameterise"]).status == "correct"
        assert (
            exercises.evaluate(exercise, space["reparameterise"], range(100, 105)).status
            == "incorrect"
        )
