"""Profiles, the settings of a chapter, the platform, and the folder that the platform keeps."""

from __future__ import annotations

import functools
import os
import platform
import random
import re
import shutil
from importlib import resources
from importlib.metadata import version
from numbers import Integral, Real
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import yaml

from vaetl_helpers.bootstrap import hosted_platform
from vaetl_helpers.device import best_device, best_precision, keep_freed_memory
from vaetl_helpers.errors import CourseError, unknown_name_error
from vaetl_helpers.output import emit, is_on, notebook_kernel, say, user_path, write_whole
from vaetl_helpers.seeds import whole_seed

PROFILES = ("smoke", "cpu", "gpu", "paper")
ADVICE = {
    "Colab": "Runtime > Change runtime type > T4 GPU, then run the notebook from the top",
    "Kaggle": "Settings > Accelerator > GPU T4 x2 (the account must be verified by telephone), "
    "then run from the top",
    "Binder": "Binder lends no accelerator: open the notebook on Colab or Kaggle",
}
DRIVE = Path("/content/drive/MyDrive")
KAGGLE = Path("/kaggle")
MEASURING = ("01c", "02", "02b")  # chapters on time and memory as PyTorch comes: recorded like that


def platform_name() -> str:
    """One of Colab, Kaggle, Binder, JupyterLab or Python (a plain interpreter)."""
    hosted = hosted_platform()
    if hosted is not None:
        return hosted
    if "BINDER_SERVICE_HOST" in os.environ:
        return "Binder"
    return "JupyterLab" if notebook_kernel() else "Python"


def advice() -> str:
    """How to get an accelerator on this platform, in a few words."""
    return ADVICE.get(platform_name(), "the course needs none, and Colab and Kaggle lend one")


def persistent_path(name: str | Path) -> Path:
    """The path for the file `name` in the folder that outlives the machine on this platform.

    `name` may have subfolders, which are made. On Kaggle a file (or folder) of that name in an
    attached notebook's output is copied there first, so that work goes on from it. Raises
    CourseError for a pattern, for a path that leaves the kept folder, and where nothing can be
    written.
    """
    path = user_path(name)
    _refuse_patterns(name, path)
    here = platform_name()
    folder = _kept_folder(here, path)
    path = folder / path
    if not path.is_relative_to(folder) and here in ("Colab", "Kaggle"):
        raise CourseError(
            f"{path} lies outside {folder} and would be lost with this machine: "
            f"give a name below it, such as {path.name}."
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror or error
        raise CourseError(
            f"{path.parent} cannot be written ({reason}): use another name."
        ) from error
    if here == "Kaggle" and not path.exists():
        _take_from_attached(path.relative_to(folder), path)
    return path


def _refuse_patterns(name: str | Path, path: Path) -> None:
    if not path.name or ".." in path.parts or set(str(name)) & set("*?[]"):
        raise CourseError(
            f"'{name}' is no name of a file to keep: give one without *, ?, [ ] and .., "
            "such as runs/vae.safetensors."
        )


def _kept_folder(here: str, path: Path) -> Path:
    if here == "Colab":
        return _on_drive(path)
    if here == "Kaggle":
        return KAGGLE / "working"
    return Path.cwd()


def _on_drive(path: Path) -> Path:
    if not DRIVE.is_dir():
        say(
            f"Google Drive is not mounted, so {path} will be lost with this machine. "
            "To keep it, run first: "
            'from google.colab import drive; drive.mount("/content/drive")'
        )
        return Path.cwd()
    folder = DRIVE / "vaetl"
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise CourseError(
            f"Google Drive cannot be written ({error}): mount it again, not read-only."
        ) from error
    if path.is_absolute() and path.is_relative_to(DRIVE):
        return DRIVE
    return folder


def _take_from_attached(name: Path, path: Path) -> None:
    """Copies the newest file or folder of this name below the attached data, if there is one."""
    earlier = []
    for file in (KAGGLE / "input").rglob(name.name):
        if file.parts[-len(name.parts) :] == name.parts:
            earlier.append(file)
    if not earlier:
        return
    newest = max(earlier, key=lambda file: file.stat().st_mtime)
    try:
        if newest.is_dir():
            shutil.copytree(newest, path)
        else:
            write_whole(path, newest.read_bytes())
    except OSError as error:
        reason = error.strerror or error
        raise CourseError(f"{newest} cannot be copied to {path} ({reason}).") from error
    say(f"Going on from {newest}.")


@functools.cache
def profiles() -> dict[str, dict[str, dict[str, Any]]]:
    """What each profile means: {chapter: {profile: {knob: value}}}."""
    file = resources.files("vaetl_helpers").joinpath("profiles.yaml")
    content: dict[str, dict[str, dict[str, Any]]] = yaml.safe_load(file.read_text("utf-8"))
    return content


class Settings(SimpleNamespace):
    """A chapter's settings: profile, seed, platform, device, precision, one attribute a knob."""

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(str(unknown_name_error("setting", name, vars(self))))

    def table_path(self, name: str, chapter: str = "") -> Path | None:
        """Where `vaetl run` keeps a study's table, and lets it resume.

        `chapter` is the one that readers of the table name, where a part of it, such as 04a, runs
        the study. None in a notebook that is opened by hand.
        """
        folder = os.environ.get("VAETL_TABLES")
        if not folder:
            return None
        return Path(folder, f"{chapter or self.chapter}_{name}.csv")


def setup(chapter: str, profile: str = "auto", seed: int = 0, **knobs: Any) -> Settings:
    """Fills the knobs that are None from the profile, seeds the generators and prints one line.

    Raises CourseError for an unknown chapter, profile or knob, for a knob of another kind than the
    profile's, and for a seed that is not a whole number.
    """
    device, device_name, problem = best_device()
    if chapter not in profiles():
        raise unknown_name_error("chapter", chapter, profiles())
    if profile == "auto":
        profile = _automatic_profile(device)
    if profile not in profiles()[chapter]:
        raise unknown_name_error("profile", profile, [*PROFILES, "auto"])
    values = _filled(knobs, profiles()[chapter][profile])
    seed = whole_seed(seed)
    prepare(seed)
    here = platform_name()
    if chapter not in MEASURING and here != "Binder":  # which has little memory to keep
        keep_freed_memory()
    for sentence in filter(None, [problem, _hidden_figures()]):
        say(sentence)
    facts = {
        "chapter": chapter,
        "platform": here,
        "device": device_name,
        "profile": profile,
        "seed": seed,
    }
    line = f"Chapter {chapter} · {here} · {device_name} · profile {profile} · seed {seed}"
    emit(line, "run", facts | versions())
    precision = best_precision(device)
    return Settings(**facts | {"device": device, "precision": precision}, **values)


def _hidden_figures() -> str | None:
    """What is wrong where a variable of the shell lets no figure appear in a notebook."""
    backend = os.environ.get("MPLBACKEND", "").lower()
    if backend not in ("agg", "cairo", "pdf", "pgf", "ps", "svg", "template"):
        return None
    if not notebook_kernel():
        return None
    return (
        f"MPLBACKEND={backend} is set, so figures will not appear: run %matplotlib inline, "
        "or start Jupyter without this variable."
    )


def _automatic_profile(device: torch.device) -> str:
    # On Binder there is little memory and a share of a core; a grader runs a hundred notebooks.
    if platform_name() == "Binder" or is_on("VAETL_GRADING"):
        return "smoke"
    return "cpu" if device.type == "cpu" else "gpu"


def _filled(knobs: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    """The knobs, with the profile's values for those that are None."""
    values = dict(defaults)
    for knob, value in knobs.items():
        if knob not in defaults:
            raise unknown_name_error("parameter", knob, defaults)
        if value is not None:
            _refuse_other_kinds(knob, value, defaults[knob])
            values[knob] = value
    return values


def _refuse_other_kinds(knob: str, value: Any, default: Any) -> None:
    """Raises CourseError where a knob is a text instead of a number, or the like.

    papermill hands over what YAML reads, whatever the notebook's annotation says.
    """
    if isinstance(default, list):
        is_list = isinstance(value, list | tuple)
        # An empty default, as of `parts`, does not tell what the list is to hold.
        fits = is_list and (not default or all(_is_like(one, default[0]) for one in value))
    else:
        fits = _is_like(value, default)
    if not fits:
        hint = f"The parameter {knob} is like {default!r}, not {value!r}: try {knob}={default!r}."
        if re.search(r"\de-?\d", str(value)):
            hint += " YAML reads 1e-3 as a text: write 1.0e-3 there."
        raise CourseError(hint)


def _is_like(value: Any, example: Any) -> bool:
    if example is None:
        return True
    if isinstance(example, bool) or isinstance(value, bool):
        return isinstance(value, bool) and isinstance(example, bool)
    if isinstance(example, str):
        return isinstance(value, str | Path)
    return isinstance(value, Integral if isinstance(example, int) else Real)


def prepare(seed: int = 0) -> None:
    """Seeds all generators, and sets PyTorch's threads and small numbers as the course has them."""
    _seed(seed)
    _leave_a_core()
    _flush_denormals()


def _seed(seed: int) -> None:
    torch.manual_seed(seed)
    np.random.seed(seed)  # scikit-learn's default
    random.seed(seed)


def _leave_a_core() -> None:
    # With as many threads as cores, one busy neighbour makes every step of a small network wait:
    # ten times slower.
    if "OMP_NUM_THREADS" in os.environ:
        return
    cores = os.cpu_count() or 1
    torch.set_num_threads(min(torch.get_num_threads(), max(1, cores - 1)))


def _flush_denormals() -> None:
    """Numbers below 1e-38, as Adam keeps for unused pixels, would make its step 4 times slower."""
    # Asked once before: numpy 1 would warn later that denormals are gone.
    np.finfo(np.float32)
    np.finfo(np.float64)
    torch.set_flush_denormal(True)


def versions() -> dict[str, str]:
    """The versions that a result depends on."""
    names = ("torch", "torchvision", "numpy", "vaetl-helpers")
    return {"python": platform.python_version()} | {name: version(name) for name in names}
