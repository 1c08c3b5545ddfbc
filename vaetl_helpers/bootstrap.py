"""Adds what the course needs on a machine that was lent without it (Colab, Kaggle), and moves nothing that is there.

Each notebook's bootstrap cell fetches this package alone and then calls `ready`; so nothing but Python, and the
`packaging` that every Jupyter kernel brings, may be imported here.
"""

from __future__ import annotations

import glob
import importlib
import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

# Wheels in a data set that is attached to a Kaggle notebook; the variable VAETL_SOURCE may name others.
WHEELS = "/kaggle/input/**/vaetl_helpers-*.whl"
PIP = (
    "-m",
    "pip",
    "install",
    "-qq",
    "--no-input",
    "--disable-pip-version-check",
    "--retries",
    "1",
    "--timeout",
    "10",
)
ADVICE = {"Kaggle": "switch Settings > Internet on, or attach a data set with the course's wheels"}


class NotReadyError(Exception):
    """Something is missing and could not be added; a notebook shows the one sentence and no traceback."""

    def _render_traceback_(
        self,
    ) -> list[str]:  # IPython asks for this before it formats a traceback
        return [str(self)]


def lender() -> str | None:
    """ "Colab" or "Kaggle" where the machine is lent by one of them."""
    if "google.colab" in sys.modules or "COLAB_RELEASE_TAG" in os.environ:
        return "Colab"
    return "Kaggle" if "KAGGLE_KERNEL_RUN_TYPE" in os.environ else None


def ready(*extras: str) -> None:
    """Adds the distributions that the course lacks here, on a lent machine those of `extras` too, and says which.

    Every distribution that is installed keeps its version. Raises NotReadyError where something cannot be added; then
    nothing was.
    """
    here, before, added = lender(), installed(), ""
    if "vaetl-helpers" not in before:
        return  # imported from a folder that is not installed: whoever set that up sees to the rest
    wanted = requirements(extras if here else ())
    if lacking := [
        requirement for requirement in wanted if canonicalize_name(requirement.name) not in before
    ]:
        _add([f"{requirement.name}{requirement.specifier}" for requirement in lacking], before)
        new = sorted(
            f"{name} {version}" for name, version in installed().items() if name not in before
        )
        added = f"added {', '.join(new)}"
    if here or added:
        print(f"Course helpers {before['vaetl-helpers']}: {added or 'everything is there'}.")
    for requirement in wanted:
        version = before.get(canonicalize_name(requirement.name))
        if version and not requirement.specifier.contains(version, prereleases=True):
            print(
                f"{requirement.name} {version} is installed and stays; the course asks for {requirement.specifier}."
            )


def installed() -> dict[str, str]:
    """Name and version of every distribution; of two with one name, the one that Python imports."""
    found: dict[str, str] = {}
    importlib.invalidate_caches()  # something may have been installed a moment ago
    for distribution in metadata.distributions():
        if name := distribution.metadata[
            "Name"
        ]:  # an interrupted uninstallation leaves a folder without
            found.setdefault(canonicalize_name(name), distribution.version)
    return found


def requirements(extras: tuple[str, ...]) -> list[Requirement]:
    """What the course needs on this machine, with its `extras`."""
    every = map(Requirement, metadata.requires("vaetl-helpers") or ())
    return [
        one
        for one in every
        if not one.marker or any(one.marker.evaluate({"extra": e}) for e in ("", *extras))
    ]


def _add(lacking: list[str], before: Mapping[str, str]) -> None:
    """Installs by pip, first from attached wheels alone; pins keep every installed distribution where it is."""
    wheels = glob.glob(os.environ.get("VAETL_SOURCE", WHEELS), recursive=True)
    links = [
        f"--find-links={folder}" for folder in sorted({os.path.dirname(wheel) for wheel in wheels})
    ]
    with TemporaryDirectory() as folder:
        pins = Path(folder, "pins.txt")
        pins.write_text("\n".join(_pin(name, version) for name, version in before.items()), "utf-8")
        for places in ([["--no-index", *links]] if links else []) + [links]:
            command = [sys.executable, *PIP, "--constraint", str(pins), *places, *lacking]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode == 0:
                return
    if "No module named pip" in done.stderr:
        todo = "this Python has no pip; run python -m ensurepip, then this cell again"
    elif "ResolutionImpossible" in done.stderr:
        todo = "it does not go with what is installed, which must not move; take a newer course, or a newer machine"
    else:
        todo = f"{ADVICE.get(lender(), 'check the connection')}, then run this cell again"
    raise NotReadyError(
        f"The course needs {' and '.join(lacking)}, which could not be added: {todo}."
    )


def _pin(name: str, version: str) -> str:
    with suppress(
        InvalidRequirement
    ):  # versions from before the standard cannot be pinned, nor asked for
        return str(Requirement(f"{name}=={version}"))
    return ""
