"""Where the course is published: the one setting, [tool.vaetl] of pyproject.toml."""

from __future__ import annotations

import re
import subprocess
import tomllib
from dataclasses import dataclass
from pathlib import Path

from vaetl_helpers.errors import CourseError

PLACEHOLDER = "ORG/REPO"  # while the repository has no public address
GITHUB = "https://github.com/"
# git@github.com:owner/name.git, ssh://git@github.com/owner/name, https://github.com/owner/name
REMOTE = re.compile(r"github\.com[:/](?P<repository>[^/\s]+/[^/\s]+?)(?:\.git)?/?$")


@dataclass(frozen=True)
class Address:
    """Where the course is published: the repository on GitHub, "owner/name", and the tag."""

    repository: str
    tag: str

    @property
    def url(self) -> str:
        return GITHUB + self.repository


def address_in(root: Path) -> Address:
    """What pyproject.toml of a checkout says; CourseError outside of one."""
    try:
        project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))
    except OSError as error:
        raise CourseError(
            f"There is no pyproject.toml in {root}: releases are made from a checkout."
        ) from error
    return Address(**project["tool"]["vaetl"])


def remote_repository(root: Path) -> str | None:
    """The repository on GitHub that the remote `origin` of the checkout names, if there is one."""
    words = ["git", "-C", str(root), "remote", "get-url", "origin"]
    try:
        done = subprocess.run(words, capture_output=True, text=True)
    except OSError:  # there is no git
        return None
    match = REMOTE.search(done.stdout.strip())
    return match["repository"] if match else None
