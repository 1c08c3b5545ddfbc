"""Profiles, the settings of a chapter, the platform, and the folder that the platform keeps."""

from __future__ import annotations

import functools
import os
import platform
import random
from importlib import resources
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import yaml

from vaetl_helpers.bootstrap import lender
from vaetl_helpers.device import best_device, best_precision
from vaetl_helpers.errors import CourseError, unknown_name_error
from vaetl_helpers.output import emit, notebook_kernel, write_whole

PROFILES = ("smoke", "cpu", "gpu", "paper")
for _folder in (
    "VAETL_DATA",
    "VAETL_CACHE",
):  # absolute from the start: kernels run in a folder of their own
    if os.environ.get(_folder):
        os.environ[_folder] = str(Path(os.environ[_folder]).expanduser().absolute())


def platform_name() -> str:
    """One of Colab, Kaggle, Binder, JupyterLab or Python (a plain interpreter)."""
    if name := lender():
        return name
    if "BINDER_SERVICE_HOST" in os.environ:
        return "Binder"
    return "JupyterLab" if notebook_kernel() else "Python"


ADVICE = {
    "Colab": "Runtime > Change runtime type > T4 GPU, then run the notebook from the top",
    "Kaggle": "Settings > Accelerator > GPU T4 x2 (the account must be verified by telephone), then run from the top",
    "Binder": "Binder lends no accelerator: open the notebook on Colab or Kaggle",
}


def advice() -> str:
    """How to get an accelerator on this platform, in a few words."""
    return ADVICE.get(platform_name(), "the course needs none, and Colab and Kaggle lend one")


DRIVE, KAGGLE = Path("/content/drive/MyDrive"), Path("/kaggle")


def persistent_path(name: str) -> Path:
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
            raise CourseError(
                f"Google Drive cannot be written ({error}): mount it again, not read-only."
            ) from error
        return DRIVE / "vaetl" / name
    if here != "Kaggle":
        return Path(name).absolute()
    path = KAGGLE / "working" / name
    if not path.exists() and (earlier := [*(KAGGLE / "input").rglob(name)]):
        newest = max(earlier, key=lambda file: file.stat().st_mtime)
        write_whole(path, newest.read_bytes())
        print(f"Going on from {newest}.")
    return path


@functools.cache
def profiles() -> dict[str, dict[str, dict[str, Any]]]:
    """What each profile means: {chapter: {profile: {knob: value}}}."""
    return yaml.safe_load(
        resources.files("vaetl_helpers").joinpath("profiles.yaml").read_text("utf-8")
    )


class Settings(SimpleNamespace):
    """A chapter's settings: profile, seed, platform, device, precision, and one attribute a knob."""

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(str(unknown_name_error("setting", name, vars(self))))

    def table_path(self, name: str) -> Path | None:
        """Where `vaetl run` keeps a study's table (and lets it resume); None in a notebook that is opened by hand."""
        folder = os.environ.get("VAETL_TABLES")
        return Path(folder, f"{self.chapter}_{name}.csv") if folder else None


def setup(chapter: str, profile: str = "auto", seed: int = 0, **knobs: Any) -> Settings:
    """Fills the knobs that are None from the profile, seeds the generators and prints one line.

    Raises CourseError for an unknown chapter, profile or knob, and for a seed that is not a whole number.
    """
    device, name, problem = best_device()
    if chapter not in profiles():
        raise unknown_name_error("chapter", chapter, profiles())
    if profile == "auto":
        # On Binder there is little memory and a share of a core; a grader runs a hundred notebooks.
        small = platform_name() == "Binder" or os.environ.get("VAETL_GRADING") == "1"
        profile = "smoke" if small else "cpu" if device.type == "cpu" else "gpu"
    if profile not in profiles()[chapter]:
        raise unknown_name_error("profile", profile, PROFILES + ("auto",))
    values = dict(profiles()[chapter][profile])
    for knob, value in knobs.items():
        if knob not in values:
            raise unknown_name_error("parameter", knob, values)
        values[knob] = values[knob] if value is None else value
    if not isinstance(seed, int) or not 0 <= seed < 2**31:
        raise CourseError(
            f"The seed must be a whole number from 0 to 2147483647, not {seed!r}: try seed=0."
        )
    _leave_a_core()
    (
        np.finfo(np.float32),
        np.finfo(np.float64),
    )  # once: numpy 1 would warn after the next line that denormals are gone
    torch.set_flush_denormal(
        True
    )  # numbers below 1e-38, as Adam keeps for unused pixels, make its step 4 times slower
    torch.manual_seed(seed)
    np.random.seed(seed)  # scikit-learn's default
    random.seed(seed)
    here = platform_name()
    if problem:
        print(problem)
    line = f"Chapter {chapter} · {here} · {name} · profile {profile} · seed {seed}"
    facts = {"chapter": chapter, "platform": here, "device": name, "profile": profile, "seed": seed}
    emit(line, "run", facts | versions())
    fixed = {
        "chapter": chapter,
        "profile": profile,
        "seed": seed,
        "platform": here,
        "device": device,
    }
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
