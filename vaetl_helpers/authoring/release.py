"""One address for everything: badges, first cells, pages and citation follow it.

It stands in pyproject.toml under [tool.vaetl]. `set_address` writes it there and into the citation,
`faults` says what does not fit it yet, or is not ready to be released.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import yaml

from vaetl_helpers import __version__
from vaetl_helpers.authoring import build
from vaetl_helpers.authoring.address import (
    PLACEHOLDER,
    Address,
    address_in,
    remote_repository,
)
from vaetl_helpers.errors import CourseError
from vaetl_helpers.output import write_whole

REPOSITORY = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?/[A-Za-z0-9._-]+")
# The headings of Keep a Changelog.
HEADINGS = ("Added", "Changed", "Deprecated", "Removed", "Fixed", "Security")
OWN_FILES = (
    "CITATION.cff",
    "CODE_OF_CONDUCT.md",
    "CHANGELOG.md",
    "LICENSE",
    "LICENSE-texts",
    "docs/accessibility.md",
    "docs/release.md",
)


def set_address(root: Path, repository: str | None = None) -> Address:
    """Writes the address (None: that of the git remote) and the version into all that names them.

    The notebooks follow at their next build. Raises CourseError where there is no remote, and for
    what is no name of a repository.
    """
    repository = repository or remote_repository(root)
    if repository is None:
        raise CourseError(
            "The checkout has no remote on GitHub: say where the course is published, as in "
            "vaetl release --repository owner/name."
        )
    if not REPOSITORY.fullmatch(repository):
        raise CourseError(f"'{repository}' is no name of a repository: write owner/name.")
    before = address_in(root)
    now = Address(repository, f"v{__version__}")
    settings = (root / "pyproject.toml").read_text("utf-8")
    for key in ("repository", "tag"):
        old, new = getattr(before, key), getattr(now, key)
        settings = settings.replace(f'{key} = "{old}"', f'{key} = "{new}"', 1)
    write_whole(root / "pyproject.toml", settings)
    citation = (root / "CITATION.cff").read_text("utf-8")
    write_whole(root / "CITATION.cff", cited(citation, now))
    return now


def cited(citation: str, address: Address) -> str:
    """The text of CITATION.cff with this address and the package's version."""
    lines = {"version": __version__, "repository-code": address.url}
    for key, value in lines.items():
        citation = re.sub(rf"(?m)^{key}: .*$", f"{key}: {value}", citation)
    return citation


def faults(root: Path) -> list[str]:
    """What is not ready in this checkout, each in a sentence that says what to do."""
    address = address_in(root)
    return [
        *_address_faults(root, address),
        *_citation_faults(root, address),
        *_changelog_faults(root),
        *_missing_files(root),
        *_notebook_faults(root, address),
        *_git_faults(root, address),
    ]


def _address_faults(root: Path, address: Address) -> Iterator[str]:
    if address.repository == PLACEHOLDER:
        yield f"The address is still {PLACEHOLDER}: run `vaetl release --repository owner/name`."
    remote = remote_repository(root)
    if remote is not None and remote.casefold() != address.repository.casefold():
        yield (
            f"The git remote is {remote}, and the setting says {address.repository}: run "
            "`vaetl release`, which takes the remote, or mend the remote."
        )
    if address.tag != f"v{__version__}":
        yield f"The tag {address.tag} is not that of version {__version__}: run `vaetl release`."
    if address.repository != PLACEHOLDER:
        readme = (root / "README.md").read_text("utf-8")
        if PLACEHOLDER in readme:
            yield f"README.md still speaks of {PLACEHOLDER}: take the sentence out."


def _citation_faults(root: Path, address: Address) -> Iterator[str]:
    try:
        citation = yaml.safe_load((root / "CITATION.cff").read_text("utf-8"))
    except (OSError, yaml.YAMLError):
        citation = None
    if not isinstance(citation, dict):
        yield "CITATION.cff is missing or cannot be read: mend it."
        return
    expected = {"version": __version__, "repository-code": address.url}
    for key, value in expected.items():
        if citation.get(key) != value:
            yield f"CITATION.cff has {key} {citation.get(key)}, not {value}: run `vaetl release`."
    for key in ("cff-version", "message", "title", "authors", "license"):
        if not citation.get(key):
            yield f"CITATION.cff has no {key}, which the format asks for."
    if "date-released" not in citation:
        yield "CITATION.cff has no date-released: write the day of the release, as 2026-01-31."


def _changelog_faults(root: Path) -> Iterator[str]:
    text = (root / "CHANGELOG.md").read_text("utf-8")
    heading = re.search(rf"(?m)^## {re.escape(__version__)}(.*)$", text)
    if heading is None:
        yield f"CHANGELOG.md has no heading ## {__version__}: say what has changed."
    elif not re.fullmatch(r" \(\d{4}-\d\d-\d\d\)", heading[1]):
        yield f"CHANGELOG.md has no day for {__version__}: write ## {__version__} (2026-01-31)."
    for name in re.findall(r"(?m)^### (.*)$", text):
        if name not in HEADINGS:
            yield f"CHANGELOG.md has a heading '{name}': use one of {', '.join(HEADINGS)}."


def _missing_files(root: Path) -> Iterator[str]:
    for name in OWN_FILES:
        if not (root / name).is_file():
            yield f"{name} is missing."


def _notebook_faults(root: Path, address: Address) -> Iterator[str]:
    """Notebooks of other sources, and badges and first cells that lead elsewhere."""
    course = root / "course"
    stale = build.check(course)
    if stale:
        yield (
            f"The notebooks are stale in {len(stale)} places: run `vaetl build` "
            "(`vaetl build --check` names them)."
        )
    for path in sorted(course.rglob("*.ipynb")):
        text = path.read_text("utf-8")
        if f"{address.repository}/blob/{address.tag}/" not in text:
            yield f"The badges of {path.relative_to(root)} lead elsewhere: run `vaetl build`."


def _git_faults(root: Path, address: Address) -> Iterator[str]:
    status = _git(root, "status", "--porcelain")
    if status is None:
        yield "This is no git checkout, so that no tag can be set: clone the repository."
        return
    if status:
        yield "There are changes that are not committed: commit them before the tag."
    tagged = _git(root, "rev-list", "-n", "1", address.tag)
    if tagged and tagged != _git(root, "rev-parse", "HEAD"):
        yield f"The tag {address.tag} is at another commit: a published tag is not moved."


def _git(root: Path, *words: str) -> str | None:
    """What git says; None where it fails."""
    try:
        done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True)
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None
