"""Where the notebook runs, on which device, with which parameters; and how numbers leave it."""

from __future__ import annotations

import difflib
import functools
import importlib.util
import json
import os
import platform
import random
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextvars import ContextVar
from importlib import resources
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import torch
import yaml
from safetensors import safe_open

from vaetl_helpers.bootstrap import lender

PROFILES = ("smoke", "cpu", "gpu", "paper")

for _folder in ("VAETL_DATA", "VAETL_CACHE"):  # absolute from the start: kernels run in a folder of their own
    if os.environ.get(_folder):
        os.environ[_folder] = str(Path(os.environ[_folder]).expanduser().absolute())


class CourseError(Exception):
    """A problem the reader can mend: says what was wrong, what was expected and what to do next."""


def unknown(kind: str, name: object, known: Iterable[str]) -> CourseError:
    """The error for a name that does not exist, with the nearest one that does."""
    known = sorted(known)
    near = difflib.get_close_matches(str(name), known, n=1, cutoff=0.4)
    guess = f": did you mean '{near[0]}'?" if near else "."
    return CourseError(f"Unknown {kind} '{name}'{guess} Known: {', '.join(known) or 'none'}.")


def course_dir() -> Path:
    """The folder of the notebooks: inside the package in a wheel, beside it in a checkout."""
    package = Path(__file__).parent
    for folder in (package / "course", package.parent / "course"):
        if folder.is_dir():
            return folder
    raise CourseError("The course's notebooks are missing from this installation: install vaetl-helpers again.")


def platform_name() -> str:
    """One of Colab, Kaggle, Binder, JupyterLab or Python (a plain interpreter)."""
    if name := lender():
        return name
    if "BINDER_SERVICE_HOST" in os.environ:
        return "Binder"
    return "JupyterLab" if notebook_kernel() else "Python"


def notebook_kernel() -> Any:
    """The kernel of the notebook that this code runs in, or None."""
    if "IPython" not in sys.modules:
        return None
    from IPython import get_ipython

    return getattr(get_ipython(), "kernel", None)


def someone_watches() -> bool:
    """Whether a person sees the output as it comes: a terminal, or a notebook that could ask them a question.

    papermill, nbconvert and nbval tell the kernel that nobody can answer; JupyterLab and Colab tell it the contrary.
    """
    kernel = notebook_kernel()
    return bool(getattr(kernel, "_allow_stdin", False)) if kernel else sys.stdout.isatty()


class Part(NamedTuple):
    """Rows start:stop of a batch of `whole` images; `last` of the pieces in which this process works it off."""

    start: int
    stop: int
    whole: int
    last: bool


# Set by `fit` where a batch is worked off in pieces, by one process or by several: who draws noise for a batch then
# draws it for all of it and keeps the rows of the piece, so that the result does not depend on the pieces.
piece_of_batch: ContextVar[Part | None] = ContextVar("piece_of_batch", default=None)


class Probe(NamedTuple):
    """A device, its name, and one sentence on what is wrong (or None)."""

    device: torch.device
    name: str
    problem: str | None


def _accelerators() -> list[torch.device]:
    if os.environ.get("PJRT_DEVICE") == "TPU" and importlib.util.find_spec("torch_xla"):
        import torch_xla

        return [torch_xla.device()]
    if not torch.accelerator.is_available():
        return []
    kind = torch.accelerator.current_accelerator().type
    return [torch.device(kind, number) for number in range(torch.accelerator.device_count())]


def _name(device: torch.device) -> str:
    if device.type == "cpu":
        return f"CPU, {os.cpu_count()} cores"
    return torch.cuda.get_device_name(device) if device.type == "cuda" else {"xla": "TPU"}.get(device.type, "Apple GPU")


def _try(device: torch.device) -> str | None:
    """Runs a convolution and a matrix product; what is wrong in one sentence, or None."""
    try:
        image = torch.ones(1, 1, 8, 8, device=device)
        product = torch.nn.functional.conv2d(image, image).sum() + (image[0, 0] @ image[0, 0]).sum()
        works = product.item() == 64 + 512
    except Exception as error:  # drivers fail in many ways, some without a word
        return _failure(str(device), error)
    return None if works else f"The device {device} computes wrong results: restart the machine, or use another."


def _failure(device: str, error: Exception) -> str:
    """A driver's message with what to do about it."""
    message = (str(error).strip() or type(error).__name__).splitlines()[0]
    causes = {
        "no kernel image": "this PyTorch has no code for that GPU: choose another one (on Kaggle, T4 x2 and not P100)",
        "driver": "the driver is missing or too old: update it, or install a PyTorch made for an older CUDA",
        "out of memory": "its memory is full: end the other programs that use it, or restart their kernels",
    }
    todo = next((text for key, text in causes.items() if key in message.lower()), "restart the kernel and try again")
    return f"The device {device} says that it is available but fails ({message}): {todo}."


def _hidden_gpu() -> str | None:
    """What is wrong where there is an NVIDIA GPU that PyTorch does not even see."""
    if torch.cuda.is_available() or not Path("/dev/nvidiactl").exists():
        return None
    if not torch.version.cuda:
        return "There is an NVIDIA GPU, but this PyTorch was built without CUDA; install one with it."
    try:
        torch.cuda.init()
    except Exception as error:  # as above
        return _failure("cuda", error)
    return None


@functools.cache
def _tried(device: torch.device) -> Probe:
    return Probe(device, _name(device), _try(device))


def devices() -> list[Probe]:
    """Every device here, the CPU first, each tried with real work: some say that they are there and then fail."""
    return [_tried(device) for device in (torch.device("cpu"), *_accelerators())]


@functools.cache
def probe() -> Probe:
    """The device to use, and what is wrong with a better one; each of several processes gets its own accelerator."""
    accelerators, cpu = _accelerators(), torch.device("cpu")
    if not accelerators:
        hidden = _hidden_gpu()
        return Probe(cpu, _name(cpu), hidden and f"{hidden} Using the CPU.")
    mine = _tried(accelerators[int(os.environ.get("LOCAL_RANK", 0)) % len(accelerators)])
    return mine if mine.problem is None else Probe(cpu, _name(cpu), f"{mine.problem} Using the CPU.")


def best_precision(device: torch.device) -> str:
    """ "bf16" where the device computes in bfloat16 natively, otherwise "no" (float32); never float16 unasked."""
    native = device.type == "xla" or (device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False))
    return "bf16" if native else "no"


ADVICE = {
    "Colab": "Runtime > Change runtime type > T4 GPU, then run the notebook from the top",
    "Kaggle": "Settings > Accelerator > GPU T4 x2 (the account must be verified by telephone), then run from the top",
    "Binder": "Binder lends no accelerator: open the notebook on Colab or Kaggle",
}


def advice() -> str:
    """How to get an accelerator on this platform, in a few words."""
    return ADVICE.get(platform_name(), "the course needs none, and Colab and Kaggle lend one")


DRIVE, KAGGLE = Path("/content/drive/MyDrive"), Path("/kaggle")


def kept(name: str) -> Path:
    """The path for the file `name` in the folder that this platform keeps when it takes the machine away.

    On Kaggle a file of that name in an attached notebook's output is copied there first, so that work goes on from it.
    """
    here = platform_name()
    if here == "Colab" and not DRIVE.is_dir():
        print(
            f"Google Drive is not mounted, so {name} will be lost with this machine. To keep it, run first: "
            'from google.colab import drive; drive.mount("/content/drive")'
        )
    elif here == "Colab":
        try:
            (DRIVE / "vaetl").mkdir(exist_ok=True)
        except OSError as error:
            raise CourseError(f"Google Drive cannot be written ({error}): mount it again, not read-only.") from error
        return DRIVE / "vaetl" / name
    if here != "Kaggle":
        return Path(name).absolute()
    path = KAGGLE / "working" / name
    if not path.exists() and (earlier := [*(KAGGLE / "input").rglob(name)]):
        newest = max(earlier, key=lambda file: file.stat().st_mtime)
        shutil.copyfile(newest, path.with_suffix(".part"))
        os.replace(path.with_suffix(".part"), path)  # whole or not at all
        print(f"Going on from {newest}.")
    return path


@functools.cache
def profiles() -> dict[str, dict[str, dict[str, Any]]]:
    """What each profile means: {chapter: {profile: {knob: value}}}."""
    return yaml.safe_load(resources.files("vaetl_helpers").joinpath("profiles.yaml").read_text("utf-8"))


class Settings(SimpleNamespace):
    """A chapter's settings: profile, seed, platform, device, precision, and one attribute a knob."""

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(str(unknown("setting", name, vars(self))))

    def table_path(self, name: str) -> Path | None:
        """Where `vaetl run` keeps a study's table (and lets it resume); None in a notebook that is opened by hand."""
        folder = os.environ.get("VAETL_TABLES")
        return Path(folder, f"{self.chapter}_{name}.csv") if folder else None


def setup(chapter: str, profile: str = "auto", seed: int = 0, **knobs: Any) -> Settings:
    """Fills the knobs that are None from the profile, seeds the generators and prints one line.

    Raises CourseError for an unknown chapter, profile or knob, and for a seed that is not a whole number.
    """
    device, name, problem = probe()
    if chapter not in profiles():
        raise unknown("chapter", chapter, profiles())
    if profile == "auto":
        # On Binder there is little memory and a share of a core; a grader runs a hundred notebooks.
        small = platform_name() == "Binder" or os.environ.get("VAETL_GRADING") == "1"
        profile = "smoke" if small else "cpu" if device.type == "cpu" else "gpu"
    if profile not in profiles()[chapter]:
        raise unknown("profile", profile, PROFILES + ("auto",))
    values = dict(profiles()[chapter][profile])
    for knob, value in knobs.items():
        if knob not in values:
            raise unknown("parameter", knob, values)
        values[knob] = values[knob] if value is None else value
    if not isinstance(seed, int) or not 0 <= seed < 2**31:
        raise CourseError(f"The seed must be a whole number from 0 to 2147483647, not {seed!r}: try seed=0.")
    _leave_a_core()
    np.finfo(np.float32), np.finfo(np.float64)  # once: numpy 1 would warn after the next line that denormals are gone
    torch.set_flush_denormal(True)  # numbers below 1e-38, as Adam keeps for unused pixels, make its step 4 times slower
    torch.manual_seed(seed)
    np.random.seed(seed)  # scikit-learn's default
    random.seed(seed)
    here = platform_name()
    if problem:
        print(problem)
    line = f"Chapter {chapter} · {here} · {name} · profile {profile} · seed {seed}"
    facts = {"chapter": chapter, "platform": here, "device": name, "profile": profile, "seed": seed}
    emit(line, "run", facts | versions())
    fixed = {"chapter": chapter, "profile": profile, "seed": seed, "platform": here, "device": device}
    return Settings(**fixed, precision=best_precision(device), **values)


def _leave_a_core() -> None:
    # With as many threads as cores, one busy neighbour makes every step of a small network wait: ten times slower.
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(min(torch.get_num_threads(), max(1, (os.cpu_count() or 1) - 1)))


def versions() -> dict[str, str]:
    """The versions that a result depends on."""
    from importlib.metadata import version

    names = ("torch", "torchvision", "numpy", "vaetl-helpers")
    return {"python": platform.python_version()} | {name: version(name) for name in names}


def emit(line: str, kind: str, content: dict[str, Any]) -> None:
    """Shows a line and, in a notebook, attaches `content` to it as application/vnd.vaetl.<kind>+json."""
    if not notebook_kernel():
        print(line)
        return
    from IPython.display import display

    display({"text/plain": line, f"application/vnd.vaetl.{kind}+json": content}, raw=True)


def packaged_weights(name: str) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The weights of a checkpoint in assets/, by the model's names, and its facts: command, data, seed, results, …."""
    asset = resources.files("vaetl_helpers").joinpath("assets", f"{name}.safetensors")
    with resources.as_file(asset) as path, safe_open(path, framework="pt") as file:
        weights = {key.removeprefix("model."): file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        return weights, json.loads(file.metadata()["vaetl"])


def record(
    name: str,
    value: float,
    unit: str = "",
    low: float | None = None,
    high: float | None = None,
    n: int | None = None,
    data: str | None = None,
) -> dict[str, Any]:
    """A number as `vaetl run` collects it; `low` and `high` bound its 95 % interval over `n` repeats on `data`."""
    value, low, high = (None if number is None else float(number) for number in (value, low, high))
    n = None if n is None else int(n)
    return {"name": name, "value": value, "unit": unit, "low": low, "high": high, "n": n, "data": data}


def report(name: str, value: float, unit: str = "", *interval: float | None, **more: Any) -> None:
    """Shows a number and attaches it as a `record`, which has the same arguments; for many, see `show_table`."""
    kept = record(name, value, unit, *interval, **more)
    low, high, n, data = (kept[key] for key in ("low", "high", "n", "data"))
    between = "" if low is None or high is None else f" [{low:.4g}, {high:.4g}]"
    notes = ", ".join(note for note in (data, n and f"n = {n}") if note)
    emit(f"{name} = {kept['value']:.4g}{between}{unit and f' {unit}'}{notes and f' ({notes})'}", "record", kept)


def show_table(
    rows: Mapping[str, str] | Sequence[Sequence[str]],
    header: Sequence[str] = ("", ""),
    records: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Shows a table, as Markdown in a notebook and as text elsewhere; `records` are attached to it, out of sight."""
    rows = list(rows.items()) if isinstance(rows, Mapping) else rows
    text = "\n".join("| " + " | ".join(map(str, row)) + " |" for row in (header, ["---"] * len(header), *rows))
    if not notebook_kernel():
        print(text)
        return
    from IPython.display import display

    kept = {"application/vnd.vaetl.record+json": list(records)} if records else {}
    display({"text/plain": text, "text/markdown": text} | kept, raw=True)
