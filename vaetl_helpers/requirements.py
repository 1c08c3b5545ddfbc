"""What the package asks for, and what of it is installed here.

A notebook's first cell fetches this package alone, so nothing but Python, and the `packaging` that
every Jupyter kernel brings, may be imported here.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from importlib import metadata

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from vaetl_helpers.errors import unknown_name_error

PACKAGE = "vaetl-helpers"


def installed() -> dict[str, str]:
    """Name and version of every distribution; of two with one name, the one that Python imports."""
    versions: dict[str, str] = {}
    importlib.invalidate_caches()  # something may have been installed a moment ago
    for distribution in metadata.distributions():
        name = distribution.metadata["Name"]
        if name:  # an interrupted uninstallation leaves a folder without
            versions.setdefault(canonicalize_name(name), distribution.version)
    return versions


def requirements(extras: Iterable[str] = ()) -> list[Requirement]:
    """What the course needs on this machine, with these extras."""
    needed = []
    for line in metadata.requires(PACKAGE) or ():
        requirement = Requirement(line)
        if any(_applies(requirement, extra) for extra in ("", *extras)):
            needed.append(requirement)
    return needed


def extras() -> list[str]:
    """The names of the package's extras."""
    return metadata.metadata(PACKAGE).get_all("Provides-Extra") or []


def missing(extra: str, only: Iterable[str] = ()) -> list[str]:
    """What an extra of the package (or `only` some of it) asks for and this environment lacks."""
    if extra not in extras():
        raise unknown_name_error("extra", extra, extras())
    not_installed = []
    for requirement in requirements([extra]):
        of_the_extra = not _applies(requirement, "")
        selected = not only or requirement.name in only
        if of_the_extra and selected and not is_installed(requirement):
            not_installed.append(f"{requirement.name}{requirement.specifier}")
    return not_installed


def is_installed(requirement: Requirement) -> bool:
    """Whether the distribution is here, in a version that the requirement allows."""
    try:
        version = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return False
    return requirement.specifier.contains(version, prereleases=True)


def install_command(requirements: Iterable[str]) -> str:
    """The command that installs them into this environment."""
    quoted = [f'"{requirement}"' for requirement in requirements]
    return " ".join(["python -m pip install", *quoted])


def _applies(requirement: Requirement, extra: str) -> bool:
    """Whether it is needed on this machine, with the extra ("" for none)."""
    return requirement.marker is None or requirement.marker.evaluate({"extra": extra})
