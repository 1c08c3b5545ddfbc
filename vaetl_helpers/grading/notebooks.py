"""Assignments, and what a handed-in notebook holds for one; nothing of a notebook is run here."""

from __future__ import annotations

import ast
import itertools
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from vaetl_helpers.chapters import course_dir, find_number
from vaetl_helpers.errors import CourseError
from vaetl_helpers.grading.result import Status
from vaetl_helpers.syntax import parsed

AGAIN = "ask for the notebook again."
NOT_FORMAT_4 = (
    "The notebook is not in format 4: open it in JupyterLab, save it, and hand in that file."
)
CHECK = "-check"  # nbgrader's name of a check cell ends so
# A function, a class, or a name for a lambda, for what a call makes or for another name's, at the
# top of a cell.
DEFINITION = re.compile(
    r"^(?:async[ ]+)?(?:def|class)[ ]+(\w+)"
    r"|^(\w+)[ ]*=[ ]*(?:lambda\b|[\w.]+\(|[A-Za-z_][\w.]*[ ]*(?:#.*)?$)",
    re.MULTILINE,
)
COURSE_SETUP = "the course's setup cells were used"
SHOWN_NAMES = 5
SHOWN_CHARACTERS = 60  # of a name

T = TypeVar("T")


@dataclass(frozen=True)
class AssignedExercise:
    """One exercise of an assignment.

    `function` is what its check cell passes on; `check_cell`, `solution` and `stub` are sources.
    """

    id: str
    points: int
    function: str
    check_cell: str
    solution: str
    stub: str

    @property
    def grade_id(self) -> str:
        """nbgrader's name for the exercise's cell."""
        return grade_id_of(self.id)

    @property
    def check_id(self) -> str:
        """nbgrader's name for its check cell."""
        return self.grade_id + CHECK


@dataclass(frozen=True)
class Assignment:
    """A chapter with exercises: its parameters cell, the setup cells below it, its exercises."""

    number: str
    name: str
    title: str
    parameters: str
    setup: tuple[str, ...]
    exercises: tuple[AssignedExercise, ...]

    @property
    def points(self) -> int:
        return sum(exercise.points for exercise in self.exercises)

    @property
    def ids(self) -> list[str]:
        return [exercise.id for exercise in self.exercises]

    @property
    def file_name(self) -> str:
        return f"{self.name}.ipynb"

    @property
    def grade_ids(self) -> set[str]:
        """nbgrader's names of all graded cells."""
        ids = set()
        for exercise in self.exercises:
            ids |= {exercise.grade_id, exercise.check_id}
        return ids


class ProblemKind(StrEnum):
    """What can have been done to a graded cell."""

    MISSING = "missing"
    NOT_CODE = "not code"
    REPEATED = "repeated"
    SETTINGS_CHANGED = "settings changed"
    SOURCE_CHANGED = "source changed"
    OWN_CODE = "own code in a check cell"
    FOUND_BY_SOURCE = "found by its source"
    NOT_IN_CHAPTER = "not in the chapter"


@dataclass(frozen=True)
class Problem:
    """Something that was done to a cell, which has nbgrader's name `cell`.

    `count` is how often it is there, `cell_type` what it is instead of code, `function` the name
    that its exercise asks for, `place` the number of the cell that has it instead.
    """

    cell: str
    kind: ProblemKind
    count: int = 1
    cell_type: str = ""
    function: str = ""
    place: int = 0

    @property
    def is_of_check(self) -> bool:
        return self.cell.endswith(CHECK)


@dataclass(frozen=True)
class Content:
    """A notebook's setup cells, the code cells of each exercise by its id, and what was changed.

    `notes` are on the notebook as a whole.
    """

    setup: tuple[str, ...] | None = None
    cells: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()

    def problems_of(self, exercise: AssignedExercise) -> list[Problem]:
        ids = (exercise.grade_id, exercise.check_id)
        return [problem for problem in self.problems if problem.cell in ids]

    @property
    def unknown_cells(self) -> list[str]:
        """Graded cells that are not in the chapter."""
        unknown = ProblemKind.NOT_IN_CHAPTER
        return [problem.cell for problem in self.problems if problem.kind == unknown]


class Unreadable(CourseError):
    """A file that cannot be graded; `status` is what all its exercises get."""

    def __init__(self, message: str, status: Status = Status.UNREADABLE) -> None:
        super().__init__(message)
        self.status = status


class Flags(NamedTuple):
    """nbgrader's settings of a cell, of any type where somebody has changed them."""

    grade: Any
    solution: Any
    locked: Any
    points: Any


class Cell(NamedTuple):
    """A cell of a notebook that anybody may have written; every field is of its type."""

    number: int  # from 1 on
    cell_type: str
    source: str
    nbgrader: dict[str, Any]
    vaetl: dict[str, Any]
    tags: list[Any]

    @property
    def is_code(self) -> bool:
        return self.cell_type == "code"

    @property
    def grade_id(self) -> str:
        """nbgrader's name, or the course's own where that is gone; empty for what is not graded."""
        by_nbgrader = _text(self.nbgrader.get("grade_id"))
        if by_nbgrader:
            return by_nbgrader
        exercise = _text(self.vaetl.get("exercise"))
        if exercise:
            return grade_id_of(exercise)
        check = _text(self.vaetl.get("check"))
        if check:
            return grade_id_of(check) + CHECK
        return ""

    def defines(self, function: str) -> bool:
        """Whether its code defines this name, as far as can be seen without parsing it."""
        return self.is_code and function in _defined_names(self.source)

    @property
    def flags(self) -> Flags:
        return Flags(*(self.nbgrader.get(name) for name in Flags._fields))


def _defined_names(source: str) -> set[str]:
    names = set()
    for match in DEFINITION.finditer(source):
        names |= set(filter(None, match.groups()))
    return names


def grade_id_of(exercise_id: str) -> str:
    """nbgrader's name of an exercise's cell."""
    return exercise_id.replace(".", "-")


def find_assignment(text: str, course: Path | None = None) -> Assignment:
    """The assignment of the chapter that a person calls so: "03", "3", its name, a path.

    CourseError where there is no such chapter, or it has no exercises.
    """
    folder = course or course_dir()
    paths = _notebook_paths(folder)
    number = find_number(text, paths)
    path = paths[number]
    stubs = _graded_cells(path)
    solutions = _graded_cells(folder / "solutions" / path.name)
    if not stubs:
        graded = ", ".join(number for number, path in paths.items() if _graded_cells(path))
        raise CourseError(f"Chapter {number} has no exercises to grade: choose one of {graded}.")
    exercises = []
    for cell in stubs.values():
        if "exercise" in cell.vaetl:
            check = stubs[cell.grade_id + CHECK]
            if cell.grade_id not in solutions:
                raise CourseError(
                    f"solutions/{path.name} has no solution of {cell.vaetl['exercise']}, being "
                    f"older than the notebook: run `vaetl build {number}`."
                )
            exercises.append(_assigned(cell, check, solutions[cell.grade_id].source))
    notebook = parse(path.read_bytes())
    cells = _cells(notebook)
    return Assignment(
        number=number,
        name=path.stem,
        title=notebook["metadata"]["vaetl"]["title"],
        parameters=next(cell.source for cell in cells if "parameters" in cell.tags),
        setup=_setup(cells) or (),
        exercises=tuple(exercises),
    )


def _assigned(stub: Cell, check: Cell, solution: str) -> AssignedExercise:
    return AssignedExercise(
        id=stub.vaetl["exercise"],
        points=check.nbgrader["points"],
        function=_passed_on(check.source),
        check_cell=check.source,
        solution=solution,
        stub=stub.source,
    )


def _notebook_paths(course: Path) -> dict[str, Path]:
    paths = sorted(course.glob("[0-9]*_*.ipynb"))
    return {path.stem.partition("_")[0]: path for path in paths}


def _graded_cells(path: Path) -> dict[str, Cell]:
    """The graded cells of one of the course's own notebooks, in order."""
    cells = _cells(parse(path.read_bytes()))
    return {cell.grade_id: cell for cell in cells if cell.grade_id}


def _passed_on(source: str) -> str:
    """The second argument of the call of `check` in a check cell."""
    for node in ast.walk(parsed(source)):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "check":
            return ast.unparse(node.args[1])
    raise ValueError(f"no check is called: {source}")


def read(data: bytes, assignment: Assignment) -> Content:
    """What a notebook holds for the assignment.

    Raises Unreadable, and nothing else, where that is nothing.
    """
    notebook = parse(data)
    cells = _cells(notebook)
    by_id = defaultdict(list)
    for cell in cells:
        by_id[cell.grade_id].append(cell)
    unknown = by_id.keys() - assignment.grade_ids - {""}
    if not _is_of(assignment, cells, notebook):
        raise _wrong_notebook(unknown, notebook["metadata"].get("vaetl"), assignment)
    sources = {}
    problems = []
    for exercise in assignment.exercises:
        exercise_cells = by_id[exercise.grade_id]
        code_cells = [cell for cell in exercise_cells if cell.is_code]
        problems += _exercise_problems(exercise_cells, exercise)
        elsewhere = _defined_elsewhere(cells, exercise)
        if elsewhere and _is_unanswered(code_cells, exercise):
            # What the own cells hold, imports perhaps, may be needed; another definition follows.
            code_cells += elsewhere
            problems = [problem for problem in problems if not _is_missing(problem, exercise)]
            problems.append(_found_by_source(elsewhere, exercise))
        if code_cells:
            sources[exercise.id] = tuple(cell.source for cell in code_cells)
        problems += _check_problems(_check_cells(by_id, exercise), exercise)
    problems += [Problem(cell, ProblemKind.NOT_IN_CHAPTER) for cell in sorted(unknown)]
    setup = _setup(cells, assignment.setup)
    notes = () if setup else (f"No setup cells were found below the parameters: {COURSE_SETUP}.",)
    return Content(setup=setup, cells=sources, problems=tuple(problems), notes=notes)


def has_cells_of(data: bytes, assignment: Assignment) -> bool:
    """Whether it is a notebook with a cell of the assignment."""
    try:
        notebook = parse(data)
        return _is_of(assignment, _cells(notebook), notebook)
    except Unreadable:
        return False


def is_begun(data: bytes, assignment: Assignment) -> bool:
    """Whether the cell of an exercise is another one than was handed out."""
    try:
        cells = read(data, assignment).cells
    except Unreadable:
        return False
    for exercise in assignment.exercises:
        for source in cells.get(exercise.id, ()):
            if _lines(source) != _lines(exercise.stub):
                return True
    return False


def chapter_of(data: bytes, name: str) -> str:
    """The number of the chapter that a notebook is of.

    Its metadata decide, then its graded cells, then the name of its file. CourseError where none of
    them says it, Unreadable where it is no notebook.
    """
    notebook = parse(data)
    paths = _notebook_paths(course_dir())
    claimed = _claimed_chapter(notebook)
    if claimed in paths:
        return claimed
    ids = {cell.grade_id for cell in _cells(notebook)} - {""}
    numbers = [number for number, path in paths.items() if ids & _graded_cells(path).keys()]
    if len(numbers) == 1:
        return numbers[0]
    # Colab, Kaggle and browsers change it: Copy of 01_…, 01-…, 01_… (1).
    plain = re.sub(r"[\W_]+", "_", name.lower()).removeprefix("copy_of_")
    for number, path in paths.items():
        if f"{path.stem}_" in f"{plain}_":
            return number
    with suppress(CourseError):
        return find_number(plain.partition("_")[0], paths)
    raise CourseError(
        f"{printable(name)} does not say of which chapter it is: "
        "name it, as in `vaetl check-submission FILE --assignment 03`."
    )


def _claimed_chapter(notebook: dict[str, Any]) -> str:
    """The chapter that a notebook's metadata name, or nothing."""
    return _text(_typed(notebook["metadata"].get("vaetl"), dict).get("chapter"))


def _is_of(assignment: Assignment, cells: list[Cell], notebook: dict[str, Any]) -> bool:
    """Whether it has a graded cell of the assignment, or one that has lost its marks.

    The latter only where nothing says that it is another chapter's.
    """
    marks = {cell.grade_id for cell in cells} - {""}
    if marks:
        return bool(marks & assignment.grade_ids)
    if _claimed_chapter(notebook) not in ("", assignment.number):
        return False
    return any(_defined_elsewhere(cells, exercise) for exercise in assignment.exercises)


def _defined_elsewhere(cells: list[Cell], exercise: AssignedExercise) -> list[Cell]:
    """The cells that define the function of an exercise and are not its own, check cells aside.

    Where cells without a mark define it, those of other exercises do not count.
    """
    other_cells = []
    for cell in cells:
        if cell.grade_id != exercise.grade_id and not cell.grade_id.endswith(CHECK):
            other_cells.append(cell)
    defining = [cell for cell in other_cells if cell.defines(exercise.function)]
    without_mark = [cell for cell in defining if not cell.grade_id]
    return without_mark or defining


def _found_by_source(cells: list[Cell], exercise: AssignedExercise) -> Problem:
    kind = ProblemKind.FOUND_BY_SOURCE
    place = cells[-1].number
    return Problem(exercise.grade_id, kind, function=exercise.function, place=place)


def _is_missing(problem: Problem, exercise: AssignedExercise) -> bool:
    return problem.cell == exercise.grade_id and problem.kind == ProblemKind.MISSING


def _is_unanswered(cells: list[Cell], exercise: AssignedExercise) -> bool:
    """Whether the cells are none, as they were handed out, or do not define the function."""
    if all(_is_source(cell, exercise.stub) for cell in cells):
        return True
    return not any(cell.defines(exercise.function) for cell in cells)


def _check_cells(by_id: Mapping[str, list[Cell]], exercise: AssignedExercise) -> list[Cell]:
    """The check cells of an exercise; those that have lost their marks where there is no other."""
    if by_id[exercise.check_id]:
        return by_id[exercise.check_id]
    call = exercise.check_cell.partition(",")[0]  # kl_checked = check("vae.kl"
    return [cell for cell in by_id[""] if cell.is_code and call in cell.source]


def is_notebook(data: bytes) -> bool:
    """Whether a file that is called otherwise holds a notebook, of whatever format."""
    if not data.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"{"):
        return False
    try:
        content = json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError, MemoryError):
        return False
    return isinstance(content, dict) and "nbformat" in content


def without_outputs(data: bytes) -> bytes:
    """The notebook without what its cells have printed and drawn; as it is where it is damaged."""
    try:
        notebook = parse(data)
    except Unreadable:
        return data
    for cell in notebook["cells"]:
        if isinstance(cell, dict):
            cell.pop("attachments", None)
            if "outputs" in cell:
                cell["outputs"] = []
    return json.dumps(notebook).encode()


def parse(data: bytes) -> dict[str, Any]:
    """A notebook of format 4 as it is in its file."""
    try:
        notebook = json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError, MemoryError) as error:
        raise Unreadable(f"The file {_fault_of_json(error, len(data))}: {AGAIN}") from error
    if not isinstance(notebook, dict) or not isinstance(notebook.setdefault("metadata", {}), dict):
        raise Unreadable(f"The file is JSON but no notebook: {AGAIN}")
    if notebook.get("nbformat") != 4:
        raise Unreadable(NOT_FORMAT_4)
    if not isinstance(notebook.get("cells"), list):
        raise Unreadable(f"The notebook has no list of cells: {AGAIN}")
    return notebook


def _fault_of_json(error: BaseException, size: int) -> str:
    """What is wrong with a file by the error of reading it as JSON."""
    if isinstance(error, UnicodeDecodeError) and "unexpected end" in error.reason:
        return f"was cut off after {size} bytes"  # within a character
    if isinstance(error, UnicodeError):
        return "is no text in UTF-8"
    if not isinstance(error, json.JSONDecodeError):
        # A number of thousands of digits, thousands of brackets.
        return "cannot be read, since a part of it is far too deep or too long"
    text = error.doc.strip()
    if not text:
        return "is empty"
    is_at_end = len(error.doc.rstrip()) - error.pos < 6 or "Unterminated" in error.msg
    if text.startswith("{") and is_at_end and "Extra" not in error.msg:
        return f"was cut off after {size} bytes"
    return f"is no notebook (line {error.lineno}: {error.msg})"


def _cells(notebook: dict[str, Any]) -> list[Cell]:
    return [_cell(number, content) for number, content in enumerate(notebook["cells"], start=1)]


def _cell(number: int, content: Any) -> Cell:
    fields = _typed(content, dict)
    metadata = fields.get("metadata", {})
    cell_type = fields.get("cell_type")
    lines = fields.get("source", "")
    if isinstance(lines, str):
        lines = [lines]
    is_text = isinstance(lines, list) and all(isinstance(line, str) for line in lines)
    if not (is_text and isinstance(metadata, dict) and isinstance(cell_type, str)):
        raise Unreadable(f"Cell {number} of the notebook is damaged: {AGAIN}")
    return Cell(
        number=number,
        cell_type=cell_type,
        # JSON can hold halves of characters.
        source="".join(lines).encode("utf-8", "replace").decode(),
        nbgrader=_typed(metadata.get("nbgrader"), dict),
        vaetl=_typed(metadata.get("vaetl"), dict),
        tags=_typed(metadata.get("tags"), list),
    )


def _typed(value: Any, kind: type[T]) -> T:
    """The value, or an empty one where it is of another type."""
    if isinstance(value, kind):
        return value
    return kind()


def _text(value: Any) -> str:
    return _typed(value, str)


def _setup(cells: list[Cell], course_setup: Sequence[str] = ()) -> tuple[str, ...] | None:
    """The code cells below the one with the parameters, to the next text or the course's last one.

    Somebody may have written text between the course's setup cells. Without the parameters and
    graded cells; None where there are none.
    """
    from_parameters = list(itertools.dropwhile(lambda cell: not _holds_parameters(cell), cells))
    below = from_parameters[1:]
    count = sum(1 for _ in itertools.takewhile(lambda cell: cell.is_code, below))
    ungraded = itertools.takewhile(lambda cell: not cell.grade_id, below)
    for number, cell in enumerate(ungraded, start=1):
        if cell.is_code and any(_holds_most_of(source, cell) for source in course_setup):
            count = max(count, number)
    setup = []
    for cell in below[:count]:
        if cell.is_code and not cell.grade_id and not _was_injected(cell):
            setup.append(cell.source)
    return tuple(setup) or None


def _holds_most_of(source: str, cell: Cell) -> bool:
    """Whether it is a cell of the course that somebody may have edited."""
    lines = set(_lines(source)) - {""}
    return 2 * len(lines & set(_lines(cell.source))) >= len(lines)


def _holds_parameters(cell: Cell) -> bool:
    """By its tag, or by how it begins where that is gone."""
    if not cell.is_code or _was_injected(cell):
        return False
    return "parameters" in cell.tags or cell.source.lstrip().startswith("profile: str")


def _was_injected(cell: Cell) -> bool:
    return "injected-parameters" in cell.tags


def _exercise_problems(cells: list[Cell], exercise: AssignedExercise) -> list[Problem]:
    """What was done to the cell of an exercise."""
    id = exercise.grade_id
    if not cells:
        return [Problem(id, ProblemKind.MISSING)]
    problems = []
    strange_types = sorted(cell.cell_type for cell in cells if not cell.is_code)
    if strange_types:
        problems.append(Problem(id, ProblemKind.NOT_CODE, cell_type=strange_types[0]))
    count = sum(cell.is_code for cell in cells)
    if count > 1:
        problems.append(Problem(id, ProblemKind.REPEATED, count))
    flags = Flags(grade=False, solution=True, locked=False, points=None)
    if any(cell.flags != flags for cell in cells):
        problems.append(Problem(id, ProblemKind.SETTINGS_CHANGED))
    return problems


def _check_problems(cells: list[Cell], exercise: AssignedExercise) -> list[Problem]:
    """What was done to the check cell of an exercise."""
    id = exercise.check_id
    if not cells:
        return [Problem(id, ProblemKind.MISSING)]
    problems = []
    if len(cells) > 1:
        problems.append(Problem(id, ProblemKind.REPEATED, len(cells)))
    course_lines = set(_lines(exercise.check_cell))
    if any(set(_lines(cell.source)) - course_lines - {""} for cell in cells):
        problems.append(Problem(id, ProblemKind.OWN_CODE))
    elif not all(_is_source(cell, exercise.check_cell) for cell in cells):
        problems.append(Problem(id, ProblemKind.SOURCE_CHANGED))
    flags = Flags(grade=True, solution=False, locked=True, points=exercise.points)
    if any(cell.flags != flags for cell in cells if cell.grade_id):
        problems.append(Problem(id, ProblemKind.SETTINGS_CHANGED))
    return problems


def _is_source(cell: Cell, source: str) -> bool:
    """Whether it is this code, whatever blanks there are at the ends of its lines."""
    return cell.is_code and _lines(cell.source) == _lines(source)


def _lines(source: str) -> list[str]:
    return [line.rstrip() for line in source.strip().splitlines()]


def _wrong_notebook(grade_ids: set[str], facts: Any, assignment: Assignment) -> Unreadable:
    """The error for a notebook without a graded cell of the assignment; it says which one it is."""
    paths = _notebook_paths(course_dir())
    numbers = [number for number, path in paths.items() if grade_ids & _graded_cells(path).keys()]
    if not numbers:
        claimed = _typed(facts, dict).get("chapter")
        numbers = [number for number in paths if number == claimed]
    if numbers == [assignment.number]:
        reason = (
            f"all graded cells of chapter {assignment.number} are gone, "
            "and no other cell defines a function that it asks for"
        )
    elif numbers:
        reason = "it is of chapter " + " and ".join(numbers)
    else:
        reason = "it has no graded cells of the course"
    return Unreadable(
        f"This is no notebook of chapter {assignment.number}, {assignment.title}, to grade: "
        f"{reason}. Ask for {assignment.file_name}.",
        Status.WRONG_NOTEBOOK,
    )


def printable(text: str) -> str:
    """The text with a question mark for what a terminal or a page would obey."""
    return "".join(character if character.isprintable() else "?" for character in text)


def listed(names: Iterable[str]) -> str:
    """The first names in order, each cut, as a part of a sentence."""
    ordered = sorted(set(names))
    text = printable(", ".join(name[:SHOWN_CHARACTERS] for name in ordered[:SHOWN_NAMES]))
    if len(ordered) > SHOWN_NAMES:
        return f"{text} and others"
    return text
