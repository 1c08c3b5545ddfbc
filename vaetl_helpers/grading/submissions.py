"""Submissions: whose notebooks there are in a folder or a zip; nothing is unpacked or run."""

from __future__ import annotations

import hashlib
import itertools
import os
import re
import stat
import unicodedata
import zipfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import IO, Any, NamedTuple

from vaetl_helpers.errors import CourseError
from vaetl_helpers.grading.notebooks import Assignment, has_cells_of, listed, printable

ARCHIVES = (".zip", ".7z", ".rar", ".tar", ".gz", ".tgz")
NOTEBOOK = ".ipynb"
MOODLE = re.compile(r"(.+?)_(\d+)_assignsubmission_[a-z]+(?:_|$)")
CANVAS = re.compile(r"([^_]+)_(?:LATE_)?(\d{2,})_\d{3,}_.")
DEPTH = 20  # folders in folders; deeper ones are not looked into
LONGEST_NAME = 60  # of a student's folder
MB = 1_000_000
LINK = "a link or a device, which is not followed"
EXPECTED = (
    "a notebook, a folder of notebooks or of student folders, "
    "or a zip of these as a learning platform exports it"
)
ENCRYPTED = "encrypted: ask for it without a password"
COMPRESSED = "compressed in a way that is not supported: ask for the notebook itself"
UNPACKABLE = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # the others unpack without bound


@dataclass(frozen=True)
class Submission:
    """A student's notebook; `student` is safe as a folder's name, `fault` says why no data."""

    student: str
    name: str
    data: bytes
    notes: tuple[str, ...] = ()
    fault: str = ""


@dataclass(frozen=True)
class FoundFile:
    """A file or, where `open` is None, a folder.

    `path` are the names from the source on, `changed` tells the order in time, `fault` says why it
    is not to be read.
    """

    path: tuple[str, ...]
    changed: Any
    open: Callable[[], IO[bytes]] | None
    fault: str

    @property
    def name(self) -> str:
        return self.path[-1]

    @property
    def short_path(self) -> str:
        return "/".join(self.path[-2:])

    @property
    def is_notebook(self) -> bool:
        return self.open is not None and self.name.lower().endswith(NOTEBOOK)

    @property
    def is_file_at_the_top(self) -> bool:
        return self.open is not None and len(self.path) == 1


@dataclass(frozen=True)
class Candidate:
    """One of a student's notebooks: its data, or why there is none, and whether it fits."""

    file: FoundFile
    data: bytes
    fault: str
    fits: bool

    @property
    def rank(self) -> tuple[Any, ...]:
        """The greatest is taken: readable, with exercises of the chapter, the newest, the last."""
        stem = self.file.name[: -len(NOTEBOOK)]
        # In the order of people: x, x-1, x-2, x-10.
        name = re.sub(r"\d+", lambda digits: digits[0].zfill(20), stem)
        return (not self.fault, self.fits, self.file.changed, name, self.file.path, self.data)


class Owner(NamedTuple):
    """Whose a file is: a name, empty for what is nobody's, and the learning platform's number."""

    name: str
    number: str = ""


NOBODY = Owner("")


def find_submissions(
    source: Path, assignment: Assignment, megabytes: float = 20
) -> list[Submission]:
    """The students' submissions in a notebook, a folder or a zip, sorted by student.

    Files over `megabytes` (of 10^6 bytes) are not read. CourseError where there are none, or the
    zip is damaged.
    """
    source = Path(source)
    limit = int(megabytes * MB)
    if source.is_dir():
        files = list(_in_folder(source, limit))
        files = _unwrapped(files, assignment, is_submitted=source.name == "submitted")
        submissions = _by_student(files, assignment, limit)
    elif source.is_file() and source.suffix.lower() == NOTEBOOK:
        fault = _fault(0, source.stat().st_size, limit)
        file = FoundFile((source.name,), 0, partial(_open, source), fault)
        submissions = _by_student([file], assignment, limit)
    elif source.is_file() and (source.suffix.lower() == ".zip" or zipfile.is_zipfile(source)):
        with _opened(source) as archive:
            files = list(_in_zip(archive, limit))
            files = _unwrapped(files, assignment, is_zip=True)
            submissions = _by_student(files, assignment, limit)
    else:
        raise CourseError(f"{source} is not there, or is no submission: give {EXPECTED}.")
    if not submissions:
        raise CourseError(f"There are no submissions in {source}: give {EXPECTED}.")
    return submissions


def _open(path: Path) -> IO[bytes]:
    return path.open("rb")


def _opened(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except Exception as error:  # a damaged directory of a zip fails in many ways
        raise CourseError(f"The zip {path} is damaged ({error}): download it again.") from error


def _is_hidden(name: str) -> bool:
    """Whether an operating system or Jupyter made it, and no student, whatever they are called."""
    if name == "__MACOSX":
        return True
    return name.startswith(".") and not MOODLE.match(name)


def _fault(mode: int, size: int, limit: int) -> str:
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        return LINK
    if size > limit:
        return f"larger than {limit / MB:g} MB"
    return ""


def _in_zip(archive: zipfile.ZipFile, limit: int) -> Iterator[FoundFile]:
    for info in archive.infolist():
        names = re.split(r"[/\\]", info.filename)
        path = [name for name in names if name not in ("", ".", "..")]
        visible = tuple(itertools.takewhile(lambda name: not _is_hidden(name), path))
        if not visible:
            continue
        opener: Callable[[], IO[bytes]] | None = partial(archive.open, info)
        if info.is_dir() or len(visible) < len(path):  # also one with something hidden in it
            opener = None
        yield FoundFile(visible, info.date_time, opener, _fault_of_member(info, limit))


def _fault_of_member(info: zipfile.ZipInfo, limit: int) -> str:
    if info.flag_bits & 1:
        return ENCRYPTED
    if info.compress_type not in UNPACKABLE:
        return COMPRESSED
    return _fault(info.external_attr >> 16, info.file_size, limit)


def _in_folder(root: Path, limit: int) -> Iterator[FoundFile]:
    for folder, folder_names, file_names in os.walk(root):
        inner = Path(folder).relative_to(root).parts
        visible = [name for name in folder_names if not _is_hidden(name)]
        folder_names[:] = visible if len(inner) < DEPTH else []
        for name in [*folder_names, *file_names]:
            if _is_hidden(name):
                continue
            path = Path(folder, name)
            facts = path.lstat()
            opener: Callable[[], IO[bytes]] | None = partial(_open, path)
            if stat.S_ISDIR(facts.st_mode):
                opener = None
            fault = _fault(facts.st_mode, facts.st_size, limit)
            yield FoundFile((*inner, name), facts.st_mtime_ns, opener, fault)


def _owner(file: FoundFile, assignment: Assignment) -> Owner:
    """Whose it is by the first name of its path."""
    name = unicodedata.normalize("NFC", file.path[0])
    platform = MOODLE.match(name)
    if not platform and file.is_file_at_the_top:
        platform = CANVAS.match(name)
    if platform:
        return Owner(platform[1], platform[2])
    if not file.is_file_at_the_top:
        return Owner(name)
    stem, suffix = os.path.splitext(name)
    is_handed_in = suffix.lower() in (NOTEBOOK, *ARCHIVES) or file.fault == LINK
    if not is_handed_in:
        return NOBODY
    return Owner(_without_chapter(stem, assignment) or stem)


def _without_chapter(stem: str, assignment: Assignment) -> str:
    """The name of a file without that of the chapter and what joins the two."""
    joint = "[ _.-]{0,3}"
    pattern = joint + re.escape(assignment.name) + joint
    return re.sub(pattern, "_", stem, flags=re.IGNORECASE).strip(" _.-")


def _unwrapped(
    files: list[FoundFile],
    assignment: Assignment,
    is_submitted: bool = False,
    is_zip: bool = False,
) -> list[FoundFile]:
    """The files without the folder around all students.

    Of nbgrader's `submitted` only what is this assignment's.
    """
    inside_submitted = [file for file in files if file.path[0] == "submitted"]
    if inside_submitted:
        files = _below(inside_submitted)
    if inside_submitted or is_submitted:
        numbers = ((assignment.number,), (assignment.name,))
        of_assignment = [file for file in files if file.path[1:2] in numbers]
        if of_assignment:
            return of_assignment
    tops = {file.path[0] for file in files}
    if len(tops) != 1 or _owner(files[0], assignment).number:
        return files
    inner = _below(files)
    if _are_students(inner, assignment, is_zip):
        return inner
    return files


def _are_students(files: list[FoundFile], assignment: Assignment, is_zip: bool) -> bool:
    """Whether these are of several students, or of one whom a platform has numbered."""
    if any(_owner(file, assignment).number for file in files):
        return True
    owners = set()
    for file in files:
        if file.is_notebook and (is_zip or len(file.path) > 1):
            owners.add(_owner(file, assignment))
    return len(owners) > 1


def _below(files: Iterable[FoundFile]) -> list[FoundFile]:
    return [replace(file, path=file.path[1:]) for file in files if len(file.path) > 1]


def _by_student(files: list[FoundFile], assignment: Assignment, limit: int) -> list[Submission]:
    groups: dict[Owner, list[FoundFile]] = defaultdict(list)
    for file in files:
        groups[_owner(file, assignment)].append(file)
    groups.pop(NOBODY, None)
    names = _names(groups)
    folders = Counter(safe_name(name).lower() for name in names.values())
    submissions = []
    for owner, name in names.items():
        is_ambiguous = folders[safe_name(name).lower()] > 1
        student = safe_name(name, hashed=is_ambiguous)
        candidates = _candidates(groups[owner], assignment, limit)
        if candidates:
            submission = _best(student, name, candidates, assignment)
        else:
            fault = _fault_without_notebook(groups[owner])
            submission = Submission(student, printable(name), b"", fault=fault)
        submissions.append(submission)
    return sorted(submissions, key=lambda submission: submission.student)


def _names(owners: Iterable[Owner]) -> dict[Owner, str]:
    """What each is called; namesakes have the platform's number, too."""
    owners = list(owners)
    namesakes = Counter(owner.name for owner in owners)
    names = {}
    for owner in owners:
        if namesakes[owner.name] > 1 and owner.number:
            # A slash is in no name, so that nobody can be called what another one is called here.
            names[owner] = f"{owner.name} / {owner.number}"
        else:
            names[owner] = owner.name
    return names


def safe_name(name: str, hashed: bool = False) -> str:
    """The name itself where it may be a folder's, otherwise its letters with a hash of it."""
    without_accents = re.sub(r"[\u0300-\u036f]", "", unicodedata.normalize("NFKD", name))
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", without_accents).strip(".-")
    if plain == name and 0 < len(plain) <= LONGEST_NAME and not hashed:
        return plain
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:10]
    letters = plain[: LONGEST_NAME - len(digest) - 1] or "student"
    return f"{letters}-{digest}"


def _candidates(files: Iterable[FoundFile], assignment: Assignment, limit: int) -> list[Candidate]:
    return [_candidate(file, assignment, limit) for file in files if file.is_notebook]


def _best(
    student: str, name: str, candidates: list[Candidate], assignment: Assignment
) -> Submission:
    """What one student has handed in; of several notebooks the newest that fits the assignment."""
    best = max(candidates, key=lambda candidate: candidate.rank)
    notes: tuple[str, ...] = ()
    if len(candidates) > 1:
        notes = (_choice(candidates, best, assignment),)
    return Submission(student, printable(name), best.data, notes, best.fault)


def _fault_without_notebook(files: list[FoundFile]) -> str:
    names = []
    for file in files:
        if file.open and file.fault:
            names.append(f"{file.name} ({file.fault})")
        elif file.open:
            names.append(file.name)
    fault = f"no notebook, only {listed(names)}" if names else "no notebook in the folder"
    if any(file.name.lower().endswith(ARCHIVES) for file in files):
        fault += ": an archive within is not opened"
    return fault


def _choice(candidates: list[Candidate], best: Candidate, assignment: Assignment) -> str:
    names = listed(candidate.file.short_path for candidate in candidates)
    reason = "the newest"
    if best.fits:
        reason = f"the newest with exercises of chapter {assignment.number}"
    return (
        f"There were {len(candidates)} notebooks ({names}): "
        f"taken was {printable(best.file.short_path)}, {reason}."
    )


def _candidate(file: FoundFile, assignment: Assignment, limit: int) -> Candidate:
    data = b""
    fault = file.fault
    if not fault and file.open:
        try:
            with file.open() as opened:
                data = opened.read(limit + 1)  # the size in a zip's header may be a lie
            fault = _fault(0, len(data), limit)
        except Exception as error:  # what a damaged file raises depends on where it is damaged
            fault = f"not readable ({type(error).__name__}): ask for it again"
    if fault:
        data = b""
    return Candidate(file, data, fault, fits=has_cells_of(data, assignment))
