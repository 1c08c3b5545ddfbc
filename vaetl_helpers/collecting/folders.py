"""The folders that pictures from the browser are written to, one for each thing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from vaetl_helpers.errors import CourseError
from vaetl_helpers.output import write_whole
from vaetl_helpers.settings import persistent_path

FOLDER = "own_pictures"  # beside the notebook, on Colab in Drive where that is mounted
UNFIT = re.compile(r'[\x00-\x1f<>:"/\\|?*]')  # what some system allows in no name
LONGEST = 80  # letters of a name


@dataclass
class ClassFolder:
    """Where the pictures of one thing are kept."""

    name: str
    path: Path

    @property
    def count(self) -> int:
        """How many files it holds."""
        return sum(path.is_file() for path in self.path.glob("[!.]*"))

    def keep(self, name: str, content: bytes) -> Path:
        """Writes a file whole, below a name that leads nowhere else and takes no other's place."""
        wanted = Path(plain_name(name))
        path = self.path / wanted
        number = 2
        while path.exists():
            path = self.path / f"{wanted.stem}-{number}{wanted.suffix}"
            number += 1
        write_whole(path, content)
        return path


def plain_name(name: str) -> str:
    """The last part of a name from elsewhere, without what a file system takes amiss.

    Raises CourseError where nothing is left.
    """
    last = PurePosixPath(name.replace("\\", "/")).name
    plain = UNFIT.sub("_", last).strip(" .")
    if not plain:
        raise CourseError(f"'{name}' is no name of a file or a folder: use letters and digits.")
    end = Path(plain).suffix
    return plain if len(plain) <= LONGEST else plain[: LONGEST - len(end)] + end


def class_folders(names: Sequence[str], folder: str = FOLDER) -> list[ClassFolder]:
    """A folder for each thing, made below one that outlives the machine where there is such a one.

    Raises CourseError for fewer than two names, for two that are the same, and where nothing can
    be written.
    """
    plain = [plain_name(name) for name in names]
    if len(plain) < 2 or len({name.lower() for name in plain}) < len(plain):
        raise CourseError(
            f"Pictures of two things or more are needed, each under a name of its own, not "
            f'{list(names)}: say ("mug", "cup").'
        )
    root = persistent_path(folder)
    folders = []
    for name in plain:
        path = root / name
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CourseError(
                f"{path} cannot be written ({error.strerror or error}): use another folder."
            ) from error
        folders.append(ClassFolder(name, path))
    return folders
