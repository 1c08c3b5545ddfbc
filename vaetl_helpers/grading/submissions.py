"""Submissions: whose notebooks there are in a folder or a zip; nothing is unpacked or run.

Whatever lies there is somebody's submission or is left out by name: nothing disappears.
"""

from __future__ import annotations

import datetime
import functools
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
from vaetl_helpers.grading.notebooks import (
    Assignment,
    has_cells_of,
    is_begun,
    is_notebook,
    listed,
    printable,
    without_outputs,
)

ARCHIVES = (".zip", ".7z", ".rar", ".tar", ".gz", ".tgz")
NOTEBOOK = ".ipynb"
MOODLE = re.compile(r"(.+?)_(\d+)_assignsubmission_[a-z]+(?:_|$)")
CANVAS = re.compile(r"([^_]+)_(?:LATE_)?(\d{2,})_\d{3,}_.")
# Assignment 3_alovelace_attempt_2026-11-20-10-11-12_x.ipynb
BLACKBOARD = re.compile(r"((?:.*_)?([^_]+))_attempt_(\d{4}(?:-\d\d){5})(?:_|\.|$)")
# 12345-678901 - Ada Lovelace - Nov 20, 2026 1011 AM
BRIGHTSPACE = re.compile(r"(\d+)-\d+ - (.+?) - (.*\b\d{4}\b.*)$")
BRIGHTSPACE_TIME = re.compile(r"(\w{3})\w* (\d{1,2}), (\d{4}) (\d{1,2})(\d\d) ([AP]M)")
# What a notebook is called by browsers and people that have renamed it, or exported it.
RENAMED = (".txt", ".json", ".html", ".htm", ".py", "")
EXPORTED = (".html", ".htm", ".py")
# Of Colab and Drive in several languages; of browsers, of JupyterLab (x-Copy1) and of systems.
COPY = re.compile(
    r"^(?:(?:copy of|kopie von|copie de|c[oó]pia de) )+|[ _]?\(\d+\)$|"
    r"[ _-]+(?:copy|kopie|copie|c[oó]pia) ?\d*$",
    re.IGNORECASE,
)
DEPTH = 20  # folders in folders; deeper ones are not looked into
LONGEST_NAME = 60  # of a student's folder
MB = 1_000_000
MEGABYTES = 20  # of a notebook without its outputs
WITH_OUTPUTS = 5  # times as much may a file have, so that reading it fits into memory
LINK = "a link or a device, which is not followed"
TOO_LARGE = "larger than {:g} MB"
EXPECTED = (
    "a notebook, a folder of notebooks or of student folders, "
    "or a zip of these as a learning platform exports it"
)
ENCRYPTED = "encrypted: ask for it without a password"
COMPRESSED = "compressed in a way that is not supported: ask for the notebook itself"
UNPACKABLE = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # the others unpack without bound


@dataclass(frozen=True)
class Submission:
    """A student's notebook; `student` is safe as a folder's name, `fault` says why no data.

    Outputs are left out of a file that is very large with them.
    """

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
    def suffix(self) -> str:
        return os.path.splitext(self.name)[1].lower()

    @functools.cached_property
    def is_notebook(self) -> bool:
        """Whether its name says so, or its content where it may have been renamed."""
        if self.open is None:
            return False
        if self.suffix == NOTEBOOK:
            return True
        return self.suffix in RENAMED and not self.fault and self._holds_notebook()

    def _holds_notebook(self) -> bool:
        try:
            with self.open() as opened:  # type: ignore[misc]
                return is_notebook(opened.read(WITH_OUTPUTS * MEGABYTES * MB))
        except Exception:  # what a damaged file raises depends on where it is damaged
            return False

    @property
    def is_file_at_the_top(self) -> bool:
        return self.open is not None and len(self.path) == 1


@dataclass(frozen=True)
class Candidate:
    """One of a student's notebooks: its data, or why there is none, whether it fits the assignment
    and whether somebody has worked on it.
    """

    file: FoundFile
    data: bytes
    fault: str
    fits: bool
    is_begun: bool

    @property
    def rank(self) -> tuple[Any, ...]:
        """The greatest is taken: readable, with exercises of the chapter, with answers, the newest,
        the last.
        """
        stem = os.path.splitext(self.file.name)[0]
        original = COPY.sub("", stem)
        name = (_in_order(original), original != stem, _in_order(stem))
        when = (_attempt(self.file), self.file.changed)
        place = tuple(map(_in_order, self.file.path))
        return (not self.fault, self.fits, self.is_begun, *when, name, place, self.data)


def _in_order(name: str) -> str:
    """The name so that the order of letters is that of people: x, x-1, x-2, x-10."""
    return re.sub(r"\d+", lambda digits: digits[0].zfill(20), name)


class Owner(NamedTuple):
    """Whose a file is: a name, empty for what is nobody's, and the learning platform's number."""

    name: str
    number: str = ""

    @property
    def identity(self) -> str:
        """What tells the person from all others, in other calls too."""
        # A slash is in no name, so that nobody can be called what another one is called here.
        return f"{self.name} / {self.number}" if self.number else self.name


class Collection(NamedTuple):
    """The submissions, sorted by student, and the names of what is nobody's submission."""

    submissions: list[Submission]
    left_out: list[str]


NOBODY = Owner("")


def find_submissions(
    source: Path, assignment: Assignment, megabytes: float = MEGABYTES
) -> list[Submission]:
    """The students' submissions in a notebook, a folder or a zip, sorted by student.

    As in `collect`.
    """
    return collect(source, assignment, megabytes).submissions


def collect(source: Path, assignment: Assignment, megabytes: float = MEGABYTES) -> Collection:
    """All that lies in a notebook, a folder or a zip: whose it is, or that it is nobody's.

    Notebooks over `megabytes` (of 10^6 bytes) without their outputs are not taken. CourseError
    where there is no submission, or the zip is damaged.
    """
    source = Path(source)
    limit = int(megabytes * MB)
    if source.is_dir():
        files = list(_in_folder(source, limit))
        files = _unwrapped(files, assignment, is_submitted=source.name == "submitted")
        collection = _by_student(files, assignment, limit)
    elif source.is_file() and (source.suffix.lower() == ".zip" or zipfile.is_zipfile(source)):
        with _opened(source) as archive:
            files = list(_in_zip(archive, limit))
            files = _unwrapped(files, assignment, is_zip=True)
            collection = _by_student(files, assignment, limit)
    elif source.is_file():
        fault = _fault(0, source.stat().st_size, limit)
        file = FoundFile((source.name,), 0, partial(_open, source), fault)
        collection = _by_student([file], assignment, limit)
    else:
        raise CourseError(f"{source} is not there, or is no submission: give {EXPECTED}.")
    if not collection.submissions:
        raise CourseError(f"There are no submissions in {source}: give {EXPECTED}.")
    return collection


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
    if size > WITH_OUTPUTS * limit:
        return TOO_LARGE.format(WITH_OUTPUTS * limit / MB)
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
    moodle = MOODLE.match(name)
    if moodle:
        return Owner(moodle[1], moodle[2])
    if not file.is_file_at_the_top:
        brightspace = BRIGHTSPACE.match(name)
        if brightspace:
            return Owner(brightspace[2], brightspace[1])
        return Owner(name)
    blackboard = BLACKBOARD.match(name)
    if blackboard:  # it has no number: the user's name, which may have been cut, is in the first
        return Owner(blackboard[2], blackboard[1])
    canvas = CANVAS.match(name)
    if canvas:
        return Owner(canvas[1], canvas[2])
    if not _is_handed_in(file):
        return NOBODY
    stem = name.lower().partition(NOTEBOOK)[0] if NOTEBOOK in name.lower() else ""
    stem = name[: len(stem)] or os.path.splitext(name)[0]
    return Owner(_person(stem, assignment) or stem)


def _is_handed_in(file: FoundFile) -> bool:
    """Whether a file at the top is to be somebody's, be it a notebook or what is handed in so."""
    if file.is_notebook or file.fault:
        return True
    return file.suffix in (*ARCHIVES, *EXPORTED) or NOTEBOOK in file.name.lower()


def _person(stem: str, assignment: Assignment) -> str:
    """Whose a file of this name is; empty where it has nothing but the chapter's name.

    Browsers and Colab mark copies, which are the same person's.
    """
    name = _without_chapter(COPY.sub("", stem), assignment)
    return COPY.sub("", name).strip(" _.-")


def _attempt(file: FoundFile) -> str:
    """The time of an attempt in the order of letters, where the platform has written it."""
    top = file.path[0]
    blackboard = BLACKBOARD.match(top)
    if blackboard:
        return blackboard[3]
    brightspace = BRIGHTSPACE.match(top)
    parts = brightspace and BRIGHTSPACE_TIME.search(brightspace[3])
    if not parts:
        return ""
    month, day, year, hour, minute, half = parts.groups()
    text = f"{month} {day} {year} {hour} {minute} {half}"
    try:
        return datetime.datetime.strptime(text, "%b %d %Y %I %M %p").isoformat()
    except ValueError:
        return ""


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
    """The files without the folders around all students.

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
    if not _have_one_top(files, assignment):
        return files
    inner = _below(files)
    if _are_students(inner, assignment, is_zip):
        return inner
    while _have_one_top(inner, assignment):
        inner = _below(inner)
        if _are_students(inner, assignment, is_zip=False) and _have_names(inner):
            return inner
    return files


def _have_one_top(files: list[FoundFile], assignment: Assignment) -> bool:
    """Whether all lies in one folder, which is nobody's that a platform has numbered."""
    tops = {file.path[0] for file in files}
    return len(tops) == 1 and not _owner(files[0], assignment).number


def _have_names(files: list[FoundFile]) -> bool:
    """Whether the folders differ by more than numbers, and no notebook lies beside them.

    Otherwise they may be parts or versions of what one student has handed in.
    """
    if any(file.is_notebook and len(file.path) == 1 for file in files):
        return False
    return len({re.sub(r"\d+", "", file.path[0]) for file in files}) > 1


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


def _by_student(files: list[FoundFile], assignment: Assignment, limit: int) -> Collection:
    groups: dict[Owner, list[FoundFile]] = defaultdict(list)
    for file in files:
        groups[_owner(file, assignment)].append(file)
    left_out = sorted(printable(file.name) for file in groups.pop(NOBODY, ()))
    names = _names(groups)
    folders = Counter(safe_name(owner.identity).lower() for owner in groups)
    submissions = []
    for owner, name in names.items():
        is_ambiguous = folders[safe_name(owner.identity).lower()] > 1
        student = safe_name(owner.identity, hashed=is_ambiguous)
        candidates = _candidates(groups[owner], assignment, limit)
        if candidates:
            submission = _best(student, name, candidates, assignment)
            submission = _with_note_on_others(submission, groups[owner])
        else:
            fault = _fault_without_notebook(groups[owner])
            submission = Submission(student, printable(name), b"", fault=fault)
        submissions.append(submission)
    submissions.sort(key=lambda submission: submission.student)
    return Collection(submissions, left_out)


def _names(owners: Iterable[Owner]) -> dict[Owner, str]:
    """What each is called; namesakes have the platform's number, too."""
    owners = list(owners)
    namesakes = Counter(owner.name for owner in owners)
    names = {}
    for owner in owners:
        names[owner] = owner.identity if namesakes[owner.name] > 1 else owner.name
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
    notes = []
    if len(candidates) > 1:
        notes.append(_choice(candidates, best, assignment))
    if best.file.suffix != NOTEBOOK:
        notes.append(
            f"The file is called {printable(best.file.name)}, and was read since it holds a "
            f"notebook: rename it to {assignment.file_name}."
        )
    return Submission(student, printable(name), best.data, tuple(notes), best.fault)


def _with_note_on_others(submission: Submission, files: list[FoundFile]) -> Submission:
    """The submission with a note on files that are called a notebook and hold none.

    One of them may be the attempt that the student means.
    """
    names = []
    for file in files:
        if file.open and not file.is_notebook and NOTEBOOK in file.name.lower():
            names.append(file.name)
    if not names:
        return submission
    note = f"Not read, since there is no notebook in it: {listed(names)}."
    return replace(submission, notes=(*submission.notes, note))


def _fault_without_notebook(files: list[FoundFile]) -> str:
    names = []
    for file in files:
        if file.open and file.fault:
            names.append(f"{file.name} ({file.fault})")
        elif file.open:
            names.append(file.name)
    fault = f"no notebook, only {listed(names)}" if names else "no notebook in the folder"
    if any(file.name.lower().endswith(ARCHIVES) for file in files):
        fault += ": an archive within is not opened, hand in the notebook itself"
    return fault


def _choice(candidates: list[Candidate], best: Candidate, assignment: Assignment) -> str:
    names = listed(candidate.file.short_path for candidate in candidates)
    reason = "the newest"
    if best.is_begun:
        reason = f"the newest with an answer to an exercise of chapter {assignment.number}"
    elif best.fits:
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
                # The size in a zip's header may be a lie.
                data = opened.read(WITH_OUTPUTS * limit + 1)
            fault = _fault(0, len(data), limit)
            if not fault and len(data) > limit:
                data = without_outputs(data)
                if len(data) > limit:
                    fault = TOO_LARGE.format(limit / MB) + " without its outputs"
        except Exception as error:  # what a damaged file raises depends on where it is damaged
            fault = f"not readable ({type(error).__name__}): ask for it again"
    if fault:
        data = b""
    fits = has_cells_of(data, assignment)
    return Candidate(file, data, fault, fits, fits and is_begun(data, assignment))
