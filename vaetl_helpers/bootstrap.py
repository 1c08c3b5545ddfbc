"""Adds what the course needs on a hosted machine (Colab, Kaggle), and moves nothing else.

Each notebook's bootstrap cell fetches this package alone and then calls `ensure_installed`; so
nothing but Python, and the `packaging` that every Jupyter kernel brings, may be imported here.
"""

from __future__ import annotations

import glob
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from vaetl_helpers.requirements import PACKAGE, installed, requirements

# Wheels in a data set that is attached to a Kaggle notebook; VAETL_SOURCE may name others.
WHEELS = "/kaggle/input/**/vaetl_helpers-*.whl"
PIP = [sys.executable, "-m", "pip", "install", "-qq", "--no-input", "--disable-pip-version-check"]
PATIENCE = ["--retries", "1", "--timeout", "10"]
ADVICE = {"Kaggle": "switch Settings > Internet on, or attach a data set with the course's wheels"}


class NotReadyError(Exception):
    """Something is missing and could not be added; a notebook shows one sentence, no traceback."""

    def _render_traceback_(self) -> list[str]:
        """What IPython shows in place of a traceback."""
        return [str(self)]


def hosted_platform() -> str | None:
    """ "Colab" or "Kaggle" where the machine is lent by one of them."""
    if "google.colab" in sys.modules or "COLAB_RELEASE_TAG" in os.environ:
        return "Colab"
    return "Kaggle" if "KAGGLE_KERNEL_RUN_TYPE" in os.environ else None


def ensure_installed(*extras: str) -> None:
    """Adds what the course lacks here, on a hosted machine `extras` too, and says which.

    Every distribution that is installed keeps its version, even one older than asked for. Raises
    NotReadyError where something cannot be added; then nothing was.
    """
    platform = hosted_platform()
    versions = installed()
    if PACKAGE not in versions:
        return  # imported from a folder that is not installed: whoever set that up sees to the rest
    needed = requirements(extras if platform else ())
    not_installed = []
    for requirement in needed:
        if canonicalize_name(requirement.name) not in versions:
            not_installed.append(f"{requirement.name}{requirement.specifier}")
    if not_installed:
        _add(not_installed, versions)
        print(f"Course helpers {versions[PACKAGE]}: added {_new(versions)}.")
    elif platform:
        print(f"Course helpers {versions[PACKAGE]}: everything is there.")
    for requirement in needed:
        _tell_of_an_older(requirement, versions.get(canonicalize_name(requirement.name)))


ready = ensure_installed  # the name in notebooks that were handed out earlier


def _tell_of_an_older(requirement: Requirement, version: str | None) -> None:
    if version is None or requirement.specifier.contains(version, prereleases=True):
        return
    print(
        f"{requirement.name} {version} is installed and stays; "
        f"the course asks for {requirement.specifier}."
    )


def _new(earlier: Mapping[str, str]) -> str:
    """Name and version of what is installed now and was not before."""
    versions = installed()
    added = sorted(versions.keys() - earlier.keys())
    return ", ".join(f"{name} {versions[name]}" for name in added)


def _add(not_installed: Sequence[str], versions: Mapping[str, str]) -> None:
    """Installs by pip, first from attached wheels alone.

    Pins keep every installed distribution where it is.
    """
    with TemporaryDirectory() as folder:
        pins = Path(folder, "pins.txt")
        lines = [_pin(name, version) for name, version in versions.items()]
        pins.write_text("\n".join(lines), "utf-8")
        for place in _places():
            command = [*PIP, *PATIENCE, "--constraint", str(pins), *place, *not_installed]
            pip = subprocess.run(command, capture_output=True, text=True)
            if pip.returncode == 0:
                return
    needs = " and ".join(not_installed)
    raise NotReadyError(f"The course needs {needs}, which could not be added: {_todo(pip.stderr)}.")


def _places() -> list[list[str]]:
    """Where pip shall look, one after the other: in attached wheels alone, then everywhere."""
    wheels = glob.glob(os.environ.get("VAETL_SOURCE", WHEELS), recursive=True)
    folders = sorted({os.path.dirname(wheel) for wheel in wheels})
    links = [f"--find-links={folder}" for folder in folders]
    if not links:
        return [[]]
    return [["--no-index", *links], links]


def _todo(complaint: str) -> str:
    """What to do about what pip said."""
    if "No module named pip" in complaint:
        return "this Python has no pip; run python -m ensurepip, then this cell again"
    if "ResolutionImpossible" in complaint:
        return (
            "it does not go with what is installed, which must not move; "
            "take a newer course, or a newer machine"
        )
    advice = ADVICE.get(hosted_platform() or "", "check the connection")
    return f"{advice}, then run this cell again"


def _pin(name: str, version: str) -> str:
    # Versions from before the standard cannot be pinned, nor asked for.
    with suppress(InvalidRequirement):
        return str(Requirement(f"{name}=={version}"))
    return ""
