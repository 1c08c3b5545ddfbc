"""What the package asks for, and what of it is installed here."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import metadata
from typing import Any

from vaetl_helpers.errors import unknown_name_error


def missing(extra: str, only: Iterable[str] = ()) -> list[str]:
    """What an extra of the package (or `only` some of it) asks for and this environment lacks."""
    from packaging.requirements import Requirement

    if extra not in extras():
        raise unknown_name_error("extra", extra, extras())
    lacking = []
    for requirement in map(Requirement, metadata.requires("vaetl-helpers") or ()):
        marker = requirement.marker
        ours = marker and marker.evaluate({"extra": extra}) and not marker.evaluate({"extra": ""})
        if ours and (not only or requirement.name in only) and not is_installed(requirement):
            lacking.append(f"{requirement.name}{requirement.specifier}")
    return lacking


def extras() -> list[str]:
    """The names of the package's extras."""
    return metadata.metadata("vaetl-helpers").get_all("Provides-Extra") or []


def is_installed(requirement: Any) -> bool:
    try:
        return requirement.specifier.contains(metadata.version(requirement.name), prereleases=True)
    except metadata.PackageNotFoundError:
        return False


def install_command(requirements: Iterable[str]) -> str:
    """The command that installs them into this environment."""
    return " ".join(
        ["python -m pip install", *(f'"{requirement}"' for requirement in requirements)]
    )
