"""Submissions: whose notebooks there are, and what a notebook holds for an assignment; nothing of theirs is run."""

from __future__ import annotations

import ast
import hashlib
import itertools
import json
import os
import re
import stat
import unicodedata
import zipfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from vaetl_helpers.chapters import course_dir
from vaetl_helpers.errors import CourseError, unknown_name_error

ARCHIVES = (".zip", ".7z", ".rar", ".tar", ".gz", ".tgz")
MOODLE = re.compile(r"(.+?)_(\d+)_assignsubmission_[a-z]+(?:_|$)")
CANVAS = re.compile(r"([^_]+)_(?:LATE_)?(\d{2,})_\d{3,}_.")
DEPTH = 20  # folders in folders; deeper ones are not looked into
LINK = "a link or a device, which is not followed"
EXPECTED = "a notebook, a folder of notebooks or of student folders, or a zip of these as a learning platform exports it"
RESTORED = "it is restored from the course, nothing is lost."
AGAIN = "ask for the notebook again."


@dataclass(frozen=True)
class Task:
    """One exercise of an assignment: what its check cell passes on, and the sources of its cells."""

    id: str
    points: int
    function: str
    checked: str
    solution: str
    stub: str

    @property
    def grade_id(self) -> str:
        """nbgrader's name for the exercise's cell; its check cell has `-check` after it."""
        return self.id.replace(".", "-")


@dataclass(frozen=True)
class Assignment:
    """A chapter with exercises: the sources of its parameters cell and of the setup cells below it, its tasks."""

    number: str
    name: str
    title: str
    parameters: str
    setup: tuple[str, ...]
    tasks: tuple[Task, ...]


@dataclass(frozen=True)
class Submission:
    """A student's notebook; `student` is safe as a folder's name, `fault` says why there is no data."""

    student: str
    name: str
    data: bytes
    notes: tuple[str, ...] = ()
    fault: str = ""


@dataclass(frozen=True)
class Content:
    """A notebook's setup cells, the code cells of each exercise by its id, and sentences on what was changed."""

    setup: tuple[str, ...] | None
    cells: dict[str, tuple[str, ...]]
    problems: dict[str, tuple[str, ...]]


class Unreadable(CourseError):
    """A file that cannot be graded; `status` is "unreadable" or "wrong notebook"."""

    def __init__(self, message: str, status: str = "unreadable") -> None:
        super().__init__(message)
        self.status = status


class _Found(NamedTuple):
    """A file or, where `open` is None, a folder: its path from the source, when changed, why not to read the file."""

    parts: tuple[str, ...]
    when: Any
    open: Callable[[], Any] | None
    fault: str

    @property
    def is_notebook(self) -> bool:
        return self.open is not None and self.parts[-1].lower().endswith(".ipynb")


class _Cell(NamedTuple):
    """A cell of a notebook that anybody may have written; every part is of its type."""

    kind: str
    source: str
    nbgrader: dict[str, Any]
    vaetl: dict[str, Any]
    tags: list[Any]

    @property
    def grade_id(self) -> str:
        """nbgrader's, or the course's own where nbgrader's is gone; empty for a cell that is not graded."""
        ids = (self.nbgrader.get("grade_id"), self.vaetl.get("exercise"), self.vaetl.get("check"))
        given, exercise, check = (value if isinstance(value, str) else "" for value in ids)
        return given or exercise.replace(".", "-") or (check and check.replace(".", "-") + "-check")

    @property
    def flags(self) -> tuple[Any, ...]:
        return tuple(self.nbgrader.get(flag) for flag in ("grade", "solution", "locked", "points"))


def assignment(number: str, course: Path | None = None) -> Assignment:
    """The assignment of a chapter ("03", "3", "03_variational_autoencoder"); CourseError where it has no exercises."""
    course, stem = course or course_dir(), Path(number).name.removesuffix(".ipynb")
    known = _chapters(course)
    fits = [
        n
        for n, p in known.items()
        if stem in (n, n.removeprefix("0"), p.stem, p.stem.partition("_")[2])
    ]
    if len(fits) != 1:
        raise unknown_name_error("chapter", number, known)
    path = known[fits[0]]
    stubs, solved = _graded(path), _graded(course / "solutions" / path.name)
    if not stubs:
        graded = ", ".join(n for n, p in known.items() if _graded(p))
        raise CourseError(f"Chapter {fits[0]} has no exercises to grade: choose one of {graded}.")
    notebook, tasks = parse(path.read_bytes()), []
    for id in [cell.vaetl["exercise"] for cell in stubs.values() if "exercise" in cell.vaetl]:
        cell, check = (stubs[id.replace(".", "-") + end] for end in ("", "-check"))
        points, solution = check.nbgrader["points"], solved[cell.grade_id].source
        tasks.append(
            Task(id, points, _passed_on(check.source), check.source, solution, cell.source)
        )
    parameters = next(cell.source for cell in _cells(notebook) if "parameters" in cell.tags)
    title, setup = notebook["metadata"]["vaetl"]["title"], _setup(_cells(notebook)) or ()
    return Assignment(fits[0], path.stem, title, parameters, setup, tuple(tasks))


def _chapters(course: Path) -> dict[str, Path]:
    return {path.stem.partition("_")[0]: path for path in sorted(course.glob("[0-9]*_*.ipynb"))}


def _graded(path: Path) -> dict[str, _Cell]:
    """The graded cells of one of the course's own notebooks, in order."""
    return {cell.grade_id: cell for cell in _cells(parse(path.read_bytes())) if cell.grade_id}


def _passed_on(source: str) -> str:
    """The second argument of the call of `check` in a check cell."""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    return next(ast.unparse(call.args[1]) for call in calls if ast.unparse(call.func) == "check")


def collect(source: Path, of: Assignment, megabytes: float = 20) -> list[Submission]:
    """The students' submissions in a notebook, a folder or a zip (which is never unpacked), sorted by student.

    Files over `megabytes` (of 10^6 bytes) are not read. CourseError where there are none, or the zip is damaged.
    """
    source, limit = Path(source), int(megabytes * 1e6)
    if source.is_dir():
        found = list(_in_folder(source, limit))
        made = _submissions(_unwrapped(found, of, source.name == "submitted"), of, limit)
    elif source.is_file() and source.suffix.lower() == ".ipynb":
        found = [
            _Found(
                (source.name,),
                0,
                partial(source.open, "rb"),
                _fault(0, source.stat().st_size, limit),
            )
        ]
        made = _submissions(found, of, limit)
    elif source.is_file() and (source.suffix.lower() == ".zip" or zipfile.is_zipfile(source)):
        with _opened(source) as archive:
            made = _submissions(
                _unwrapped(list(_in_zip(archive, limit)), of, zipped=True), of, limit
            )
    else:
        raise CourseError(f"{source} is not there, or is no submission: give {EXPECTED}.")
    if not made:
        raise CourseError(f"There are no submissions in {source}: give {EXPECTED}.")
    return made


def _opened(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except Exception as error:  # a damaged directory of a zip fails in many ways
        raise CourseError(f"The zip {path} is damaged ({error}): download it again.") from error


def _hidden(name: str) -> bool:
    """Whether an operating system or Jupyter made it, and no student, whatever their name on a platform is."""
    return name == "__MACOSX" or name.startswith(".") and not MOODLE.match(name)


def _fault(mode: int, size: int, limit: int) -> str:
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        return LINK
    return f"larger than {limit / 1e6:g} MB" if size > limit else ""


def _in_zip(archive: zipfile.ZipFile, limit: int) -> Iterator[_Found]:
    for info in archive.infolist():
        path = [part for part in re.split(r"[/\\]", info.filename) if part not in ("", ".", "..")]
        parts = tuple(itertools.takewhile(lambda part: not _hidden(part), path))
        fault = _fault(info.external_attr >> 16, info.file_size, limit)
        if info.flag_bits & 1:
            fault = "encrypted: ask for it without a password"
        elif info.compress_type not in (
            zipfile.ZIP_STORED,
            zipfile.ZIP_DEFLATED,
        ):  # the others unpack without bound
            fault = "compressed in a way that is not supported: ask for the notebook itself"
        is_folder = info.is_dir() or len(parts) < len(path)  # also one with something hidden in it
        if parts:
            yield _Found(
                parts, info.date_time, None if is_folder else partial(archive.open, info), fault
            )


def _in_folder(root: Path, limit: int) -> Iterator[_Found]:
    for folder, folders, files in os.walk(root):
        inner = Path(folder).relative_to(root).parts
        folders[:] = [name for name in folders if not _hidden(name) and len(inner) < DEPTH]
        for path in (Path(folder, name) for name in [*folders, *files] if not _hidden(name)):
            facts = path.lstat()
            opener = None if stat.S_ISDIR(facts.st_mode) else partial(path.open, "rb")
            fault = _fault(facts.st_mode, facts.st_size, limit)
            yield _Found((*inner, path.name), facts.st_mtime_ns, opener, fault)


def _owner(found: _Found, of: Assignment) -> tuple[str, str]:
    """Whose it is by the first part of its path: a name, empty for what is nobody's, and the platform's number."""
    first = unicodedata.normalize("NFC", found.parts[0])
    is_file = found.open is not None and len(found.parts) == 1
    known = MOODLE.match(first) or (CANVAS.match(first) if is_file else None)
    if known or not is_file:
        return (known[1], known[2]) if known else (first, "")
    stem, suffix = os.path.splitext(first)
    mine = re.sub(
        rf"[ _.-]{{0,3}}{re.escape(of.name)}[ _.-]{{0,3}}", "_", stem, flags=re.IGNORECASE
    ).strip(" _.-")
    return (
        mine or stem if suffix.lower() in (".ipynb", *ARCHIVES) or found.fault == LINK else ""
    ), ""


def _unwrapped(
    found: list[_Found], of: Assignment, submitted: bool = False, zipped: bool = False
) -> list[_Found]:
    """Without the folder around all students, and of nbgrader's `submitted` only what is this assignment's."""
    if any(one.parts[0] == "submitted" for one in found):
        found, submitted = _below(one for one in found if one.parts[0] == "submitted"), True
    mine = [one for one in found if submitted and one.parts[1:2] in ((of.number,), (of.name,))]
    if mine or len({one.parts[0] for one in found}) != 1 or _owner(found[0], of)[1]:
        return mine or found
    inner = _below(found)
    owners = {
        _owner(one, of) for one in inner if one.is_notebook and (zipped or len(one.parts) > 1)
    }
    return inner if len(owners) > 1 or any(_owner(one, of)[1] for one in inner) else found


def _below(found: Iterable[_Found]) -> list[_Found]:
    return [one._replace(parts=one.parts[1:]) for one in found if len(one.parts) > 1]


def _submissions(found: list[_Found], of: Assignment, limit: int) -> list[Submission]:
    groups: dict[tuple[str, str], list[_Found]] = defaultdict(list)
    for one in found:
        groups[_owner(one, of)].append(one)
    groups.pop(("", ""), None)
    namesakes = Counter(name for name, _ in groups)
    # A slash is in no name, so that nobody can be called what another one is called here.
    names = {
        owner: " / ".join(owner) if namesakes[owner[0]] > 1 and owner[1] else owner[0]
        for owner in groups
    }
    used, made = Counter(_safe(name).lower() for name in names.values()), []
    for owner, name in names.items():
        student = _safe(name, hashed=used[_safe(name).lower()] > 1)
        made.append(Submission(student, _printable(name), *_taken(groups[owner], of, limit)))
    return sorted(made, key=lambda submission: submission.student)


def _safe(name: str, hashed: bool = False) -> str:
    """The name itself where it may be a folder's, otherwise its letters with a hash of it."""
    plain = re.sub(
        r"[^A-Za-z0-9._-]", "_", re.sub(r"[\u0300-\u036f]", "", unicodedata.normalize("NFKD", name))
    )
    plain = plain.strip(".-")
    if plain == name and 0 < len(plain) <= 60 and not hashed:
        return plain
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:10]
    return f"{plain[:49] or 'student'}-{digest}"


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)


def _listed(names: Iterable[str]) -> str:
    names = sorted(set(names))
    return _printable(", ".join(name[:60] for name in names[:5])) + (
        " and others" if len(names) > 5 else ""
    )


def _taken(found: list[_Found], of: Assignment, limit: int) -> tuple[bytes, tuple[str, ...], str]:
    """The data, notes and fault of one student: of several notebooks the newest that fits the assignment."""
    notebooks = [one for one in found if one.is_notebook]
    if not notebooks:
        others = [one.parts[-1] + (one.fault and f" ({one.fault})") for one in found if one.open]
        packed = any(one.parts[-1].lower().endswith(ARCHIVES) for one in found)
        why = f", only {_listed(others)}" if others else " in the folder"
        return (
            b"",
            (),
            f"no notebook{why}" + (": an archive within is not opened" if packed else ""),
        )
    _, fits, *_, parts, data, fault = max(_ranked(one, of, limit) for one in notebooks)
    if len(notebooks) == 1:
        return data, (), fault
    names, taken = (
        _listed("/".join(one.parts[-2:]) for one in notebooks),
        _printable("/".join(parts[-2:])),
    )
    why = f"the newest with exercises of chapter {of.number}" if fits else "the newest"
    return (
        data,
        (f"There were {len(notebooks)} notebooks ({names}): taken was {taken}, {why}.",),
        fault,
    )


def _ranked(one: _Found, of: Assignment, limit: int) -> tuple[Any, ...]:
    data, fault = b"", one.fault
    try:
        if not fault:
            with one.open() as file:
                data = file.read(limit + 1)  # the size in a zip's header may be a lie
            fault = _fault(0, len(data), limit)
    except Exception as error:  # what a damaged file raises depends on where it is damaged
        fault = f"not readable ({type(error).__name__}): ask for it again"
    data = b"" if fault else data
    stem = re.sub(
        r"\d+", lambda digits: digits[0].zfill(20), one.parts[-1][: -len(".ipynb")]
    )  # x, x-1, x-2, x-10
    return not fault, _fits(data, of), one.when, stem, one.parts, data, fault


def _fits(data: bytes, of: Assignment) -> bool:
    try:
        return any(cell.grade_id in _ids(of) for cell in _cells(parse(data)))
    except Unreadable:
        return False


def _ids(of: Assignment) -> set[str]:
    return {task.grade_id + end for task in of.tasks for end in ("", "-check")}


def read(data: bytes, of: Assignment) -> Content:
    """What a notebook holds for the assignment; raises Unreadable, and nothing else, where that is nothing."""
    notebook = parse(data)
    cells, by_id = _cells(notebook), defaultdict(list)
    for cell in cells:
        by_id[cell.grade_id].append(cell)
    strange = by_id.keys() - _ids(of) - {""}
    if not by_id.keys() & _ids(of):
        raise _wrong(strange, notebook["metadata"].get("vaetl"), of)
    problems = {
        task.id: tuple(text for text, so in _problems(task, by_id).items() if so)
        for task in of.tasks
    }
    if strange:
        problems[""] = (
            f"Graded cells that are not in chapter {of.number} are ignored: {_listed(strange)}.",
        )
    code = {
        task.id: tuple(c.source for c in by_id[task.grade_id] if c.kind == "code")
        for task in of.tasks
    }
    return Content(
        _setup(cells),
        *({id: some for id, some in kept.items() if some} for kept in (code, problems)),
    )


def parse(data: bytes) -> dict[str, Any]:
    """A notebook of format 4 as it is in its file."""
    try:
        notebook = json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError, MemoryError) as error:
        raise Unreadable(f"The file {_why(error, len(data))}: {AGAIN}") from error
    if not isinstance(notebook, dict) or not isinstance(notebook.setdefault("metadata", {}), dict):
        raise Unreadable(f"The file is JSON but no notebook: {AGAIN}")
    if notebook.get("nbformat") != 4:
        raise Unreadable(
            "The notebook is not in format 4: open it in JupyterLab, save it, and hand in that file."
        )
    if not isinstance(notebook.get("cells"), list):
        raise Unreadable(f"The notebook has no list of cells: {AGAIN}")
    return notebook


def _why(error: BaseException, size: int) -> str:
    """What is wrong with a file by the error of reading it as JSON."""
    if isinstance(error, UnicodeError):
        return "is no text in UTF-8"
    if not isinstance(
        error, json.JSONDecodeError
    ):  # a number of thousands of digits, thousands of brackets
        return "cannot be read, since a part of it is far too deep or too long"
    text = error.doc.strip()
    at_end = len(error.doc.rstrip()) - error.pos < 6 or "Unterminated" in error.msg
    if text.startswith("{") and at_end and "Extra" not in error.msg:
        return f"was cut off after {size} bytes"
    return f"is no notebook (line {error.lineno}: {error.msg})" if text else "is empty"


def _cells(notebook: dict[str, Any]) -> list[_Cell]:
    return [
        _cell(number, cell if isinstance(cell, dict) else {})
        for number, cell in enumerate(notebook["cells"], 1)
    ]


def _cell(number: int, cell: dict[str, Any]) -> _Cell:
    source, metadata, kind = cell.get("source", ""), cell.get("metadata", {}), cell.get("cell_type")
    lines = [source] if isinstance(source, str) else source
    is_text = isinstance(lines, list) and all(isinstance(line, str) for line in lines)
    if not (is_text and isinstance(metadata, dict) and isinstance(kind, str)):
        raise Unreadable(f"Cell {number} of the notebook is damaged: {AGAIN}")
    text = "".join(lines).encode("utf-8", "replace").decode()  # JSON can hold halves of characters
    wanted = {"nbgrader": dict, "vaetl": dict, "tags": list}
    return _Cell(
        kind,
        text,
        *(v if isinstance(v := metadata.get(name), t) else t() for name, t in wanted.items()),
    )


def _setup(cells: list[_Cell]) -> tuple[str, ...] | None:
    """The code cells from the first one tagged `parameters` to the next text, without it and graded cells."""
    start = next(
        (n for n, cell in enumerate(cells, 1) if "parameters" in cell.tags and cell.kind == "code"),
        None,
    )
    below = itertools.takewhile(lambda cell: cell.kind == "code", cells[start:] if start else ())
    return (
        tuple(c.source for c in below if not c.grade_id and "injected-parameters" not in c.tags)
        or None
    )


def _problems(task: Task, by_id: dict[str, list[_Cell]]) -> dict[str, bool]:
    """What can have been done to the two cells of an exercise, and whether it was."""
    mine, checks = by_id[task.grade_id], by_id[task.grade_id + "-check"]
    n, kinds = sum(cell.kind == "code" for cell in mine), {cell.kind for cell in mine} - {"code"}
    kind = {"markdown": "Markdown", "raw": "raw"}.get(min(kinds, default=""), "strange")
    run = f"{'both' if n == 2 else 'all'} are run in order, so that the last definition counts."
    ours, theirs = (False, True, False, None), (True, False, True, task.points)
    other = [
        cell
        for cell in checks
        if cell.kind != "code" or _lines(cell.source) != _lines(task.checked)
    ]
    return {
        "The exercise's cell is missing: put it back from a fresh copy of the notebook.": not mine,
        f"The exercise's cell is a {kind} cell now: change its type back to code.": bool(kinds),
        f"The exercise's cell is there {n} times: {run}": n > 1,
        f"The settings of the exercise's cell were changed: {RESTORED}": any(
            c.flags != ours for c in mine
        ),
        f"The check cell is missing: {RESTORED}": not checks,
        f"The check cell is there {len(checks)} times: {RESTORED}": len(checks) > 1,
        f"The check cell was changed: {RESTORED}": bool(other),
        f"The points or settings of the check cell were changed: {RESTORED}": any(
            c.flags != theirs for c in checks
        ),
    }


def _lines(source: str) -> list[str]:
    return [line.rstrip() for line in source.strip().splitlines()]


def _wrong(ids: set[str], facts: Any, of: Assignment) -> Unreadable:
    """The error for a notebook without a graded cell of the assignment, saying which notebook it is."""
    known = _chapters(course_dir())
    holds = [n for n, path in known.items() if ids & _graded(path).keys()]
    claimed = facts.get("chapter") if isinstance(facts, dict) else None
    holds = holds or [n for n in known if n == claimed]
    what = (
        "it is of chapter " + " and ".join(holds)
        if holds
        else "it has no graded cells of the course"
    )
    if holds == [of.number]:
        what = f"all graded cells of chapter {of.number} are gone"
    text = f"This is no notebook of chapter {of.number}, {of.title}, to grade: {what}. Ask for {of.name}.ipynb."
    return Unreadable(text, "wrong notebook")
