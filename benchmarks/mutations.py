"""Notebooks as students may hand them in, each with what it must get; for `fuzz_grading.py`.

A draft is one of the course's notebooks with an answer of a known outcome to each exercise. A
mutation does to it what students, browsers and editors do to notebooks, and notes what changes by
it: the statuses that an exercise may have, or words of the sentence that refuses the file.
"""

from __future__ import annotations

import ast
import copy
import gzip
import inspect
import io
import json
import random
import sys
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cache
from typing import Any, NamedTuple

from vaetl_helpers import exercises
from vaetl_helpers.chapters import course_dir
from vaetl_helpers.grading.notebooks import AssignedExercise, Assignment, find_assignment
from vaetl_helpers.grading.result import Status

Cell = dict[str, Any]
Notebook = dict[str, Any]

CHAPTERS = ("03", "03", "03", "03b", "01")  # as often as they come: the others' set-up takes longer
CORRECT = frozenset({Status.CORRECT})
NOT_ATTEMPTED = frozenset({Status.NOT_ATTEMPTED})
MISSING = frozenset({Status.MISSING})
CRASHED = frozenset({Status.CRASHED})
INCORRECT = frozenset({Status.INCORRECT})
# Without points in any case; some wrong answers raise, and which do is no concern of these tests.
WRONG = frozenset({Status.INCORRECT, Status.CRASHED})
NO_POINTS = WRONG | NOT_ATTEMPTED | MISSING
MARKERS = ("### BEGIN SOLUTION", "### END SOLUTION")
FORGED = [
    {"output_type": "stream", "name": "stdout", "text": "[ok] vae.kl: correct\n"},
    {
        "output_type": "display_data",
        "metadata": {},
        "data": {"application/vnd.vaetl.outputs": ["correct"] * 5, "text/plain": "all points"},
    },
]


class Answer(NamedTuple):
    """The source of a cell, and the statuses that it may get."""

    source: str
    statuses: frozenset[Status]


@dataclass
class Draft:
    """A notebook on its way, and what it must get.

    `refused` are words of the sentence by which the file is refused everywhere, `check_refused` by
    `vaetl check-submission` alone; `chapter` is what that is told. `fillers` are the cells that
    belong to no exercise.
    """

    assignment: Assignment
    notebook: Notebook
    rng: random.Random
    cells: dict[str, Cell] = field(default_factory=dict)
    checks: dict[str, Cell] = field(default_factory=dict)
    answers: dict[str, Answer] = field(default_factory=dict)
    statuses: dict[str, frozenset[Status]] = field(default_factory=dict)
    mutated: list[AssignedExercise] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)
    fillers: list[Cell] = field(default_factory=list)
    refused: str | None = None
    check_refused: str = ""
    chapter: str | None = None
    file_name: str = ""  # where the mutation depends on it
    data: bytes = b""

    @property
    def notebook_cells(self) -> list[Cell]:
        return self.notebook["cells"]

    def place(self, cell: Cell) -> int:
        """The number of this very cell; others may be equal."""
        return next(n for n, other in enumerate(self.notebook_cells) if other is cell)

    def remove(self, cell: Cell) -> None:
        del self.notebook_cells[self.place(cell)]

    def insert_below(self, cell: Cell, *new_cells: Cell) -> None:
        place = self.place(cell) + 1
        self.notebook_cells[place:place] = new_cells

    def is_defined_elsewhere(self, exercise: AssignedExercise) -> bool:
        """Whether another cell of code gives the exercise's name a value."""
        exercise_cells = (self.cells[exercise.id], self.checks[exercise.id])
        for cell in self.notebook_cells:
            is_own = any(cell is exercise_cell for exercise_cell in exercise_cells)
            if is_own or cell["cell_type"] != "code":
                continue
            if exercise.function in bound_names(text_of(cell)):
                return True
        return False

    def refuse(self, words: str, status: Status = Status.UNREADABLE) -> None:
        self.refused = words
        for id in self.statuses:
            self.statuses[id] = frozenset({status})

    def points_allowed(self, exercise: AssignedExercise) -> set[int]:
        allowed = set()
        for status in self.statuses[exercise.id]:
            allowed.add(exercise.points if status == Status.CORRECT else 0)
        return allowed


def text_of(cell: Cell) -> str:
    return "".join(cell["source"])


def code_cell(source: str) -> Cell:
    return {
        "cell_type": "code",
        "execution_count": None,
        "metadata": {},
        "outputs": [],
        "source": source,
    }


def text_cell(source: str) -> Cell:
    return {"cell_type": "markdown", "metadata": {}, "source": source}


def bound_names(source: str) -> set[str]:
    """The names that the statements at the top of some code give a value."""
    try:
        statements = ast.parse(source).body
    except SyntaxError:
        return set()
    names = set()
    for statement in statements:
        if isinstance(statement, (ast.FunctionDef, ast.ClassDef)):
            names.add(statement.name)
        elif isinstance(statement, (ast.Import, ast.ImportFrom)):
            names |= {(alias.asname or alias.name).partition(".")[0] for alias in statement.names}
        else:
            names |= {
                node.id
                for node in ast.walk(statement)
                if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
            }
    return names


def used_names(source: str) -> set[str]:
    return {node.id for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name)}


# Answers


@cache
def assignment_of(number: str) -> Assignment:
    return find_assignment(number)


@cache
def stored_notebook(number: str, folder: str) -> Notebook:
    return json.loads((course_dir() / folder / assignment_of(number).file_name).read_bytes())


@cache
def wrong_answers(id: str) -> tuple[str, ...]:
    """The texts of the exercise's own wrong answers that are edits of the reference."""
    reference = exercises.get(id).reference
    module = sys.modules[reference.__module__]
    texts = []
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        if ast.unparse(node.func) == f"{reference.__name__}.wrong":
            changes = {word.arg: word.value for word in node.keywords}
            texts += edited(exercises.source_of(reference), changes)
    return tuple(texts)


def edited(source: str, changes: dict[str | None, ast.expr]) -> list[str]:
    """The text with the changed lines of a wrong answer; nothing where it is written otherwise."""
    lines = source.rstrip().splitlines()
    replaced = {}
    try:
        if "edit" in changes:
            replaced = ast.literal_eval(changes["edit"])
        if "last_line" in changes:
            replaced = {lines[-1].strip(): ast.literal_eval(changes["last_line"])}
    except ValueError:  # it is computed
        return []
    if not replaced:
        return []
    for place, line in enumerate(lines):
        statement = line.split("  # ")[0]
        for old, new in replaced.items():
            if old in (line.strip(), statement.strip()):
                indent = line[: len(line) - len(line.lstrip())]
                lines[place] = "\n".join(indent + part for part in new.splitlines())
    return ["\n".join(lines)]


def plain(source: str) -> str:
    """A solution without the marks of its beginning and its end."""
    return "\n".join(line for line in source.splitlines() if line.strip() not in MARKERS)


@cache
def answers_to(number: str, id: str) -> tuple[Answer, ...]:
    """Answers of a known outcome: the stub, right ones in several forms, wrong ones."""
    exercise = next(one for one in assignment_of(number).exercises if one.id == id)
    name = exercise.function
    right = plain(exercise.solution)
    other = right.replace(f"def {name}(", "def my_own(", 1)
    sources = [
        exercise.solution,
        right,
        f"# my answer\n\n\n{right}\n\n\nprint('done')",
        f"{other}\n\n\n{name} = my_own",
        f"{other}\n\n\ndef {name}(*arguments):\n    return my_own(*arguments)",
    ]
    answers = [Answer(exercise.stub, NOT_ATTEMPTED)] * len(sources)
    answers += [Answer(source, CORRECT) for source in sources]
    answers += [Answer(source, WRONG) for source in wrong_answers(id)[: len(sources)]]
    return tuple(answers)


def new_draft(number: str, rng: random.Random) -> Draft:
    """A notebook of the chapter with answers by chance, or as it is solved in the course."""
    assignment = assignment_of(number)
    is_solved = rng.random() < 0.05  # with all its outputs, so they are few
    notebook = copy.deepcopy(stored_notebook(number, "solutions" if is_solved else "."))
    draft = Draft(assignment, notebook, rng)
    for cell in notebook["cells"]:
        facts = cell["metadata"].get("vaetl", {})
        if "exercise" in facts:
            draft.cells[facts["exercise"]] = cell
        if "check" in facts:
            draft.checks[facts["check"]] = cell
        if not facts:
            draft.fillers.append(cell)
    for exercise in assignment.exercises:
        answer = Answer(exercise.solution, CORRECT)
        if not is_solved:
            answer = rng.choice(answers_to(number, exercise.id))
        put(draft, exercise, answer)
    if rng.random() < 0.3:
        draft.chapter = number
    return draft


def put(draft: Draft, exercise: AssignedExercise, answer: Answer) -> None:
    draft.cells[exercise.id]["source"] = answer.source
    draft.answers[exercise.id] = answer
    draft.statuses[exercise.id] = answer.statuses


def random_answer(draft: Draft, exercise: AssignedExercise) -> Answer:
    return draft.rng.choice(answers_to(draft.assignment.number, exercise.id))


# The mutations: of an exercise, of the whole notebook, of the file


OfExercise = Callable[[Draft, AssignedExercise], None]
OfNotebook = Callable[[Draft], None]
OfFile = Callable[[Draft, bytes], bytes]
OF_EXERCISE: dict[str, OfExercise] = {}
OF_NOTEBOOK: dict[str, OfNotebook] = {}
ALONE: dict[str, OfNotebook] = {}  # of notebooks whose exercises are otherwise as they were
OF_FILE: dict[str, OfFile] = {}


def named(table: dict[str, Any]) -> Callable[[Any], Any]:
    """Decorates a mutation, whose kind is its name in words."""

    def add(function: Any) -> Any:
        table[function.__name__.replace("_", " ").strip()] = function
        return function

    return add


@named(OF_EXERCISE)
def exercise_moved(draft: Draft, exercise: AssignedExercise) -> None:
    cell = draft.cells[exercise.id]
    draft.remove(cell)
    draft.notebook_cells.insert(draft.rng.randrange(len(draft.notebook_cells) + 1), cell)


@named(OF_EXERCISE)
def check_moved(draft: Draft, exercise: AssignedExercise) -> None:
    cell = draft.checks[exercise.id]
    draft.remove(cell)
    draft.notebook_cells.insert(draft.rng.randrange(len(draft.notebook_cells) + 1), cell)


@named(OF_EXERCISE)
def exercise_repeated(draft: Draft, exercise: AssignedExercise) -> None:
    cell = draft.cells[exercise.id]
    draft.insert_below(cell, copy.deepcopy(cell))


@named(OF_EXERCISE)
def exercise_repeated_with_another_answer(draft: Draft, exercise: AssignedExercise) -> None:
    """All copies are run in order, so that the last one counts."""
    cell = draft.cells[exercise.id]
    answer = random_answer(draft, exercise)
    draft.insert_below(cell, copy.deepcopy(cell) | {"source": answer.source})
    draft.statuses[exercise.id] = answer.statuses


@named(OF_EXERCISE)
def copy_without_marks_below(draft: Draft, exercise: AssignedExercise) -> None:
    """It counts only where the exercise's own cell is unanswered."""
    copy_below = random_answer(draft, exercise)
    draft.insert_below(draft.cells[exercise.id], code_cell(copy_below.source))
    if draft.answers[exercise.id].source == exercise.stub:
        draft.statuses[exercise.id] = copy_below.statuses


def expect_gone(draft: Draft, exercise: AssignedExercise) -> None:
    """Without its cell: no points, and missing unless another cell has a value of its name."""
    draft.statuses[exercise.id] = MISSING
    if draft.is_defined_elsewhere(exercise):
        # What another cell makes of the name is taken for the answer, and is none.
        draft.statuses[exercise.id] = NO_POINTS


@named(OF_EXERCISE)
def exercise_deleted(draft: Draft, exercise: AssignedExercise) -> None:
    draft.remove(draft.cells[exercise.id])
    expect_gone(draft, exercise)


@named(OF_EXERCISE)
def exercise_and_check_deleted(draft: Draft, exercise: AssignedExercise) -> None:
    draft.remove(draft.checks[exercise.id])
    exercise_deleted(draft, exercise)


@named(OF_EXERCISE)
def exercise_made_text(draft: Draft, exercise: AssignedExercise) -> None:
    cell = draft.cells[exercise.id]
    cell["cell_type"] = draft.rng.choice(["markdown", "raw"])
    expect_gone(draft, exercise)


@named(OF_EXERCISE)
def answer_in_a_new_cell_in_place_of_the_old(draft: Draft, exercise: AssignedExercise) -> None:
    """A cell that defines the function is taken where the exercise's own is gone."""
    stub = Answer(exercise.stub, NOT_ATTEMPTED)
    answer = draft.rng.choice([stub, Answer(plain(exercise.solution), CORRECT)])
    draft.notebook_cells.append(code_cell(answer.source))
    draft.remove(draft.cells[exercise.id])
    draft.statuses[exercise.id] = answer.statuses


@named(OF_EXERCISE)
def answer_below_the_stub(draft: Draft, exercise: AssignedExercise) -> None:
    put(draft, exercise, Answer(exercise.stub, CORRECT))
    draft.insert_below(draft.cells[exercise.id], code_cell(plain(exercise.solution)))


@named(OF_EXERCISE)
def answer_below_an_emptied_cell(draft: Draft, exercise: AssignedExercise) -> None:
    source = draft.rng.choice(["", "# see below", "\n\n"])
    put(draft, exercise, Answer(source, CORRECT))
    draft.insert_below(draft.cells[exercise.id], code_cell(plain(exercise.solution)))


@named(OF_EXERCISE)
def answer_in_the_check_cell(draft: Draft, exercise: AssignedExercise) -> None:
    """It does not count there, whether the stub is left or deleted."""
    is_left = draft.rng.random() < 0.5
    check = draft.checks[exercise.id]
    check["source"] = f"{plain(exercise.solution)}\n\n\n{exercise.check_cell}"
    if is_left:
        put(draft, exercise, Answer(exercise.stub, NOT_ATTEMPTED))
    else:
        put(draft, exercise, Answer("", CRASHED))


@named(OF_EXERCISE)
def answer_in_another_exercise(draft: Draft, exercise: AssignedExercise) -> None:
    """Where its own cell is unanswered, an answer in another exercise's cell counts."""
    untouched = [one for one in draft.assignment.exercises if one not in draft.mutated]
    other = draft.cells[draft.rng.choice(untouched).id]
    other["source"] = f"{plain(exercise.solution)}\n\n\n{text_of(other)}"
    put(draft, exercise, Answer("# it stands in another cell", CORRECT))


@named(OF_EXERCISE)
def answer_in_another_exercise_and_stub_left(draft: Draft, exercise: AssignedExercise) -> None:
    answer_in_another_exercise(draft, exercise)
    put(draft, exercise, Answer(exercise.stub, CORRECT))


@named(OF_EXERCISE)
def cell_split_by_JupyterLab(draft: Draft, exercise: AssignedExercise) -> None:
    """Both halves keep the marks, and are run in order."""
    cell = draft.cells[exercise.id]
    lower = copy.deepcopy(cell)
    cell["source"] = "import math  # for my answer\n"
    draft.insert_below(cell, lower)


@named(OF_EXERCISE)
def cell_split_before_the_answer(draft: Draft, exercise: AssignedExercise) -> None:
    """Where the lower half has no marks, it is taken for the exercise's, below the upper half."""
    if draft.is_defined_elsewhere(exercise):
        return  # of two definitions elsewhere the last one would count
    cell = draft.cells[exercise.id]
    lower = code_cell(cell["source"])
    statuses = draft.statuses[exercise.id]
    put(draft, exercise, Answer("import math  # for my answer\n", statuses))
    draft.insert_below(cell, lower)


@named(OF_EXERCISE)
def cell_split_after_the_answer(draft: Draft, exercise: AssignedExercise) -> None:
    draft.insert_below(draft.cells[exercise.id], code_cell("print('tried')"))


@named(OF_EXERCISE)
def function_split_by_JupyterLab(draft: Draft, exercise: AssignedExercise) -> None:
    """The upper half is a function that returns nothing, the lower one is no Python."""
    source = plain(exercise.stub if draft.rng.random() < 0.5 else exercise.solution)
    lines = source.splitlines()
    docstring = ast.parse(source).body[0].body[0]  # type: ignore[attr-defined]
    place = docstring.end_lineno
    cell = draft.cells[exercise.id]
    put(draft, exercise, Answer("\n".join(lines[:place]), WRONG))
    draft.insert_below(cell, copy.deepcopy(cell) | {"source": "\n".join(lines[place:])})


@named(OF_EXERCISE)
def merged_with_the_check(draft: Draft, exercise: AssignedExercise) -> None:
    cell, check = draft.cells[exercise.id], draft.checks[exercise.id]
    cell["source"] = f"{text_of(cell)}\n\n{text_of(check)}"
    draft.remove(check)


@named(OF_EXERCISE)
def merged_into_the_check(draft: Draft, exercise: AssignedExercise) -> None:
    cell, check = draft.cells[exercise.id], draft.checks[exercise.id]
    check["source"] = f"{text_of(cell)}\n\n{text_of(check)}"
    draft.remove(cell)
    expect_gone(draft, exercise)


@named(OF_EXERCISE)
def check_deleted(draft: Draft, exercise: AssignedExercise) -> None:
    draft.remove(draft.checks[exercise.id])


@named(OF_EXERCISE)
def check_edited(draft: Draft, exercise: AssignedExercise) -> None:
    name = exercise.function
    texts = [
        "",
        f"{name}_checked = {name}",
        f"print('[ok] {exercise.id}: correct')",
        f"{exercise.check_cell}\nassert True",
        f"# {exercise.check_cell}",
        "1/0",
        "check = lambda *_: None",
    ]
    draft.checks[exercise.id]["source"] = draft.rng.choice(texts)


@named(OF_EXERCISE)
def check_made_text(draft: Draft, exercise: AssignedExercise) -> None:
    draft.checks[exercise.id]["cell_type"] = "markdown"


@named(OF_EXERCISE)
def check_repeated(draft: Draft, exercise: AssignedExercise) -> None:
    check = draft.checks[exercise.id]
    draft.insert_below(check, copy.deepcopy(check), copy.deepcopy(check))


@named(OF_EXERCISE)
def points_and_locks_edited(draft: Draft, exercise: AssignedExercise) -> None:
    facts = draft.checks[exercise.id]["metadata"]["nbgrader"]
    facts |= draft.rng.choice(
        [{"points": 1000}, {"points": -1}, {"points": "all"}, {"locked": False}, {"grade": False}]
    )
    draft.cells[exercise.id]["metadata"]["nbgrader"] |= {"grade": True, "points": 100}


@named(OF_EXERCISE)
def marks_of_nbgrader_lost(draft: Draft, exercise: AssignedExercise) -> None:
    define_visibly(draft, exercise)
    del draft.cells[exercise.id]["metadata"]["nbgrader"]


@named(OF_EXERCISE)
def marks_of_the_course_lost(draft: Draft, exercise: AssignedExercise) -> None:
    del draft.cells[exercise.id]["metadata"]["vaetl"]


@named(OF_EXERCISE)
def all_marks_of_an_exercise_lost(draft: Draft, exercise: AssignedExercise) -> None:
    """The cell that defines the function is taken."""
    define_visibly(draft, exercise)
    draft.cells[exercise.id]["metadata"] = {}


def define_visibly(draft: Draft, exercise: AssignedExercise) -> None:
    """Another answer where the function is not defined by its name, and only given it.

    By its source a cell can be found only so.
    """
    if f"def {exercise.function}(" not in text_of(draft.cells[exercise.id]):
        put(draft, exercise, Answer(exercise.solution, CORRECT))


@named(OF_EXERCISE)
def grade_id_of_a_wrong_type(draft: Draft, exercise: AssignedExercise) -> None:
    define_visibly(draft, exercise)
    facts = draft.cells[exercise.id]["metadata"]["nbgrader"]
    facts["grade_id"] = draft.rng.choice([None, 3, "", [], {"id": "vae-kl"}])


@named(OF_EXERCISE)
def grade_id_renamed(draft: Draft, exercise: AssignedExercise) -> None:
    """It is a graded cell of nobody's then, and is taken since it defines the function."""
    define_visibly(draft, exercise)
    facts = draft.cells[exercise.id]["metadata"]["nbgrader"]
    facts["grade_id"] = draft.rng.choice(["cell-1a2b3c", facts["grade_id"] + "-copy", "ÄÖ 1"])


@named(OF_EXERCISE)
def error_below_the_answer(draft: Draft, exercise: AssignedExercise) -> None:
    draft.cells[exercise.id]["source"] += "\n\nraise RuntimeError('I gave up here')"


@named(OF_EXERCISE)
def error_above_the_answer(draft: Draft, exercise: AssignedExercise) -> None:
    source = text_of(draft.cells[exercise.id])
    put(draft, exercise, Answer(f"1 / 0\n\n{source}", CRASHED))


@named(OF_EXERCISE)
def no_Python(draft: Draft, exercise: AssignedExercise) -> None:
    source = text_of(draft.cells[exercise.id])
    texts = [
        source.replace("    ", "  \N{NO-BREAK SPACE} ", 1),
        f"{source}\n```",
        f"<<<<<<< HEAD\n{source}\n=======\n>>>>>>> mine",
    ]
    put(draft, exercise, Answer(draft.rng.choice(texts), CRASHED))


@named(OF_EXERCISE)
def function_called_otherwise(draft: Draft, exercise: AssignedExercise) -> None:
    source = plain(exercise.solution).replace(f"def {exercise.function}(", "def mine(", 1)
    put(draft, exercise, Answer(source, CRASHED))


@named(OF_EXERCISE)
def function_deleted_again(draft: Draft, exercise: AssignedExercise) -> None:
    source = f"{plain(exercise.solution)}\n\n\ndel {exercise.function}"
    put(draft, exercise, Answer(source, CRASHED))


@named(OF_EXERCISE)
def name_holds_no_function(draft: Draft, exercise: AssignedExercise) -> None:
    source = f"{plain(exercise.solution)}\n\n\n{exercise.function} = 'done'"
    put(draft, exercise, Answer(source, INCORRECT))


@named(OF_EXERCISE)
def other_ends_of_lines(draft: Draft, exercise: AssignedExercise) -> None:
    cell = draft.cells[exercise.id]
    cell["source"] = text_of(cell).replace("\n", "  \r\n")


@named(OF_EXERCISE)
def tabs_in_place_of_blanks(draft: Draft, exercise: AssignedExercise) -> None:
    cell = draft.cells[exercise.id]
    cell["source"] = text_of(cell).replace("    ", "\t")


@named(OF_EXERCISE)
def a_magic_above_the_answer(draft: Draft, exercise: AssignedExercise) -> None:
    cell = draft.cells[exercise.id]
    cell["source"] = f"{draft.rng.choice(['%%time', '%%capture'])}\n{text_of(cell)}"


@named(OF_EXERCISE)
def the_exercises_own_wrong_answer(draft: Draft, exercise: AssignedExercise) -> None:
    texts = wrong_answers(exercise.id)
    if texts:
        put(draft, exercise, Answer(draft.rng.choice(texts), WRONG))


# Mutations of the whole notebook


@named(ALONE)
def all_metadata_lost(draft: Draft) -> None:
    """Cells are found by their sources, where these define the function by its name."""
    for exercise in draft.assignment.exercises:
        define_visibly(draft, exercise)
    draft.notebook["metadata"] = {}
    for cell in draft.notebook_cells:
        cell["metadata"] = {}
    draft.chapter = draft.assignment.number


@named(ALONE)
def nothing_says_the_chapter(draft: Draft) -> None:
    all_metadata_lost(draft)
    draft.chapter = None
    draft.file_name = "homework.ipynb"
    draft.check_refused = "does not say of which chapter it is"


@named(ALONE)
def answers_of_two_exercises_exchanged(draft: Draft) -> None:
    """Neither stands in the cell of its exercise."""
    first, second = draft.rng.sample(draft.assignment.exercises, 2)
    put(draft, first, Answer(plain(second.solution), CORRECT))
    put(draft, second, Answer(plain(first.solution), CORRECT))


@named(ALONE)
def all_answers_in_the_first_cell(draft: Draft) -> None:
    """Only the first exercise has its answer in its own cell."""
    first, *others = draft.assignment.exercises
    texts = [plain(exercise.solution) for exercise in draft.assignment.exercises]
    for exercise in others:
        put(draft, exercise, Answer("# see the first exercise", CORRECT))
    put(draft, first, Answer("\n\n\n".join(texts), CORRECT))


@named(ALONE)
def cells_shuffled(draft: Draft) -> None:
    """Whatever follows the parameters is taken for the set-up: it may fail, and lack an import."""
    draft.rng.shuffle(draft.notebook_cells)
    for id, statuses in draft.statuses.items():
        # The one mutation that is undetermined: what the set-up is, is chance.
        draft.statuses[id] = statuses | CRASHED


@named(ALONE)
def a_setup_cell_deleted(draft: Draft) -> None:
    """What needs a name of that cell crashes; where a set-up cell does, the course's are taken."""
    setup = setup_cells(draft)
    cell = draft.rng.choice(setup)
    draft.remove(cell)
    names = bound_names(text_of(cell))
    rest = [other for other in setup if other is not cell]
    if any(names & used_names(text_of(other)) for other in rest):
        return
    for exercise in draft.assignment.exercises:
        answer = draft.answers[exercise.id]
        needs_names = names & needed_names(answer.source)
        if needs_names and answer.statuses == CORRECT:
            draft.statuses[exercise.id] = CRASHED


def needed_names(source: str) -> set[str]:
    """The names that a cell uses; what has been checked is handed on by `check`."""
    names = used_names(source)
    if any(name.endswith("_checked") for name in names):
        names.add("check")
    return names


def setup_cells(draft: Draft) -> list[Cell]:
    sources = draft.assignment.setup
    return [cell for cell in draft.notebook_cells if text_of(cell) in sources]


def parameters_cell(draft: Draft) -> Cell:
    return next(
        cell for cell in draft.notebook_cells if "parameters" in cell["metadata"].get("tags", [])
    )


@named(OF_NOTEBOOK)
def metadata_of_the_notebook_lost(draft: Draft) -> None:
    draft.notebook["metadata"] = {}
    draft.chapter = draft.assignment.number


@named(OF_NOTEBOOK)
def metadata_of_the_notebook_strange(draft: Draft) -> None:
    draft.notebook["metadata"]["vaetl"] = draft.rng.choice([3, [], "03", {"chapter": 3}, None])
    draft.chapter = draft.assignment.number


@named(OF_NOTEBOOK)
def another_chapter_named(draft: Draft) -> None:
    draft.notebook["metadata"]["vaetl"]["chapter"] = "04"
    draft.chapter = None
    draft.check_refused = f"it is of chapter {draft.assignment.number}"


@named(OF_NOTEBOOK)
def marks_of_nbgrader_lost_everywhere(draft: Draft) -> None:
    for cell in draft.notebook_cells:
        cell["metadata"].pop("nbgrader", None)


@named(OF_NOTEBOOK)
def marks_of_the_course_lost_everywhere(draft: Draft) -> None:
    for cell in draft.notebook_cells:
        cell["metadata"].pop("vaetl", None)


@named(OF_NOTEBOOK)
def parameters_edited(draft: Draft) -> None:
    cell = parameters_cell(draft)
    cell["source"] = text_of(cell).replace('"auto"', '"paper"').replace("= 0", "= 7", 1)


@named(OF_NOTEBOOK)
def parameters_deleted(draft: Draft) -> None:
    draft.remove(parameters_cell(draft))


@named(OF_NOTEBOOK)
def parameters_without_their_tag(draft: Draft) -> None:
    parameters_cell(draft)["metadata"] = {}


@named(OF_NOTEBOOK)
def parameters_injected(draft: Draft) -> None:
    injected = code_cell('profile = "paper"\nseed = 3')
    injected["metadata"]["tags"] = ["injected-parameters"]
    draft.insert_below(parameters_cell(draft), injected)


@named(OF_NOTEBOOK)
def text_between_setup_cells(draft: Draft) -> None:
    draft.insert_below(setup_cells(draft)[0], text_cell("My notes."))


@named(OF_NOTEBOOK)
def setup_cells_merged(draft: Draft) -> None:
    first, *others = setup_cells(draft)
    for cell in others:
        first["source"] = f"{text_of(first)}\n\n{text_of(cell)}"
        draft.remove(cell)


@named(OF_NOTEBOOK)
def setup_merged_into_the_parameters(draft: Draft) -> None:
    """What is left of the set-up may fail: the course's is taken then."""
    parameters, first = parameters_cell(draft), setup_cells(draft)[0]
    parameters["source"] = f"{text_of(parameters)}\n\n{text_of(first)}"
    draft.remove(first)


@named(OF_NOTEBOOK)
def all_text_deleted(draft: Draft) -> None:
    """Nothing says where the set-up ends."""
    kept = [cell for cell in draft.notebook_cells if cell["cell_type"] != "markdown"]
    draft.notebook["cells"] = kept


@named(OF_NOTEBOOK)
def another_kernel_named(draft: Draft) -> None:
    facts = draft.notebook["metadata"]
    facts["kernelspec"] = {"name": "ir", "display_name": "R", "language": "R"}
    facts["language_info"] = {"name": "R"}


@named(OF_NOTEBOOK)
def magics_in_the_setup(draft: Draft) -> None:
    cell = setup_cells(draft)[-1]
    cell["source"] = f"%matplotlib inline\n!true\n{text_of(cell)}"


@named(OF_NOTEBOOK)
def own_code_in_the_setup(draft: Draft) -> None:
    cell = setup_cells(draft)[-1]
    cell["source"] = text_of(cell) + "\nimport statistics\n\n\ndef helper(x):\n    return 2 * x"


@named(OF_NOTEBOOK)
def own_cell_in_the_setup(draft: Draft) -> None:
    draft.insert_below(setup_cells(draft)[0], code_cell("import statistics\nprint('hello')"))


@named(OF_NOTEBOOK)
def setup_that_fails(draft: Draft) -> None:
    """The course's is taken in its place."""
    source = draft.rng.choice(["import no_such_module", "1 / 0", "def f(:", "raise SystemExit"])
    draft.insert_below(setup_cells(draft)[-1], code_cell(source))


@named(OF_NOTEBOOK)
def exercises_turned_round(draft: Draft) -> None:
    """The last exercise comes first; copies of a cell stay in their order."""
    cells = draft.notebook_cells
    graded = [cell for cell in cells if cell["metadata"].get("vaetl")]
    places = [draft.place(cell) for cell in graded]
    graded.sort(key=number_of_exercise(draft), reverse=True)
    for place, cell in zip(places, graded, strict=True):
        cells[place] = cell


def number_of_exercise(draft: Draft) -> Callable[[Cell], int]:
    ids = [exercise.id for exercise in draft.assignment.exercises]

    def number(cell: Cell) -> int:
        facts = cell["metadata"]["vaetl"]
        return ids.index(facts.get("exercise") or facts["check"])

    return number


@named(OF_NOTEBOOK)
def other_cells_deleted(draft: Draft) -> None:
    """The text below the set-up stays: it says where that ends."""
    last = draft.place(setup_cells(draft)[-1]) + 1
    kept = draft.notebook_cells[: last + 1]
    for cell in draft.notebook_cells[last + 1 :]:
        is_filler = any(cell is filler for filler in draft.fillers)
        if not is_filler or draft.rng.random() < 0.3:
            kept.append(cell)
    draft.notebook["cells"] = kept


@named(OF_NOTEBOOK)
def own_cells_anywhere(draft: Draft) -> None:
    last = draft.place(setup_cells(draft)[-1]) + 1
    for _ in range(5):
        place = draft.rng.randrange(last + 1, len(draft.notebook_cells) + 1)
        source = draft.rng.choice(["x = 1", "1 / 0", "import math", "# a remark"])
        draft.notebook_cells.insert(place, draft.rng.choice([code_cell, text_cell])(source))


@named(OF_NOTEBOOK)
def cells_of_another_chapter(draft: Draft) -> None:
    """Graded cells that are not in the chapter are ignored."""
    other = "01" if draft.assignment.number != "01" else "03"
    for cell in stored_notebook(other, ".")["cells"]:
        if cell["metadata"].get("vaetl"):
            draft.notebook_cells.append(copy.deepcopy(cell))


@named(OF_NOTEBOOK)
def outputs_forged(draft: Draft) -> None:
    for cell in draft.notebook_cells:
        if cell["cell_type"] == "code":
            cell["outputs"] = copy.deepcopy(FORGED)
            cell["execution_count"] = draft.rng.randrange(100)


@named(OF_NOTEBOOK)
def outputs_damaged(draft: Draft) -> None:
    strange = [None, {}, "text", [1], [{"output_type": "nothing"}], 7]
    for cell in draft.notebook_cells:
        if cell["cell_type"] == "code":
            cell["outputs"] = draft.rng.choice(strange)


@named(OF_NOTEBOOK)
def outputs_missing(draft: Draft) -> None:
    for cell in draft.notebook_cells:
        cell.pop("outputs", None)
        cell.pop("execution_count", None)


@named(OF_NOTEBOOK)
def ids_of_cells_lost_or_all_the_same(draft: Draft) -> None:
    is_lost = draft.rng.random() < 0.5
    for cell in draft.notebook_cells:
        cell.pop("id", None)
        if not is_lost:
            cell["id"] = "same"


@named(OF_NOTEBOOK)
def another_minor_format(draft: Draft) -> None:
    draft.notebook["nbformat_minor"] = draft.rng.choice([0, 1, 2, 4, 99, "5", None])


@named(OF_NOTEBOOK)
def sources_as_lists_of_lines(draft: Draft) -> None:
    for cell in draft.notebook_cells:
        cell["source"] = text_of(cell).splitlines(keepends=True)


@named(OF_NOTEBOOK)
def tags_and_remarks_in_the_metadata(draft: Draft) -> None:
    for cell in draft.notebook_cells:
        cell["metadata"]["collapsed"] = True
        cell["metadata"]["colab"] = {"base_uri": "https://localhost:8080/", "height": 35}
        cell["metadata"].setdefault("tags", []).append("mine")


@named(OF_NOTEBOOK)
def unknown_cells_and_attachments(draft: Draft) -> None:
    draft.notebook_cells.append({"cell_type": "heading", "metadata": {}, "source": "A title"})
    draft.notebook_cells[0]["attachments"] = {"x.png": {"image/png": "AAAA"}}


@named(OF_NOTEBOOK)
def notebook_of_another_chapter(draft: Draft) -> None:
    other = "01" if draft.assignment.number != "01" else "03b"
    draft.notebook = copy.deepcopy(stored_notebook(other, "."))
    draft.chapter = draft.assignment.number
    draft.refuse(f"it is of chapter {other}", Status.WRONG_NOTEBOOK)


@named(OF_NOTEBOOK)
def notebook_of_no_chapter(draft: Draft) -> None:
    draft.notebook["cells"] = [code_cell("print(1)"), text_cell("My notebook")]
    draft.notebook["metadata"] = {}
    draft.chapter = draft.assignment.number
    draft.refuse("no graded cells of the course", Status.WRONG_NOTEBOOK)


def damaged_part(draft: Draft, words: str) -> None:
    draft.chapter = draft.assignment.number
    draft.refuse(words)


@named(OF_NOTEBOOK)
def a_cell_damaged(draft: Draft) -> None:
    strange = [None, 1, [], {"cell_type": "code", "source": 1, "metadata": {}}]
    place = draft.rng.randrange(len(draft.notebook_cells))
    draft.notebook_cells.insert(place, draft.rng.choice(strange))
    damaged_part(draft, f"Cell {place + 1} of the notebook is damaged")


@named(OF_NOTEBOOK)
def no_list_of_cells(draft: Draft) -> None:
    if draft.rng.random() < 0.5:
        draft.notebook["cells"] = draft.rng.choice([None, {}, "cells"])
    else:
        draft.notebook["worksheets"] = [{"cells": draft.notebook.pop("cells")}]
    damaged_part(draft, "The notebook has no list of cells")


@named(OF_NOTEBOOK)
def another_format(draft: Draft) -> None:
    draft.notebook["nbformat"] = draft.rng.choice([3, 5, "4", None, 4.5, [4]])
    damaged_part(draft, "not in format 4")


# Mutations of the file


def written(notebook: Notebook, **options: Any) -> bytes:
    return json.dumps(notebook, ensure_ascii=False, **options).encode()


@named(OF_FILE)
def compact(draft: Draft, data: bytes) -> bytes:
    return written(draft.notebook, separators=(",", ":"))


@named(OF_FILE)
def other_indentation_and_order(draft: Draft, data: bytes) -> bytes:
    indent = draft.rng.choice([0, 2, 4])
    return written(draft.notebook, indent=indent, sort_keys=True)


@named(OF_FILE)
def ASCII_only(draft: Draft, data: bytes) -> bytes:
    return json.dumps(draft.notebook).encode()


@named(OF_FILE)
def mark_of_byte_order(draft: Draft, data: bytes) -> bytes:
    return b"\xef\xbb\xbf" + data


@named(OF_FILE)
def line_ends_of_Windows(draft: Draft, data: bytes) -> bytes:
    return data.replace(b"\n", b"\r\n")


@named(OF_FILE)
def blanks_around(draft: Draft, data: bytes) -> bytes:
    return b"\n\n  " + data + b"\n \t\n"


def damage(draft: Draft, words: str, data: bytes) -> bytes:
    """The data of a file that nothing can be made of."""
    draft.refuse(words)
    return data


@named(OF_FILE)
def cut_off(draft: Draft, data: bytes) -> bytes:
    data = data.rstrip()
    place = draft.rng.randrange(1, len(data) - 1)
    return damage(draft, f"The file was cut off after {place} bytes", data[:place])


@named(OF_FILE)
def a_byte_changed(draft: Draft, data: bytes) -> bytes:
    """To what is in no text in UTF-8, or in no string of JSON."""
    place = draft.rng.randrange(1, len(data) - 1)
    byte = draft.rng.choice([b"\xff", b"\x00", b"\xc0"])
    return damage(draft, "The file ", data[:place] + byte + data[place + 1 :])


@named(OF_FILE)
def a_colon_lost(draft: Draft, data: bytes) -> bytes:
    without_colon = data.replace(b'"cells": ', b'"cells" ', 1)
    return damage(draft, "The file is no notebook (line", without_colon)


@named(OF_FILE)
def another_encoding(draft: Draft, data: bytes) -> bytes:
    encoding = draft.rng.choice(["utf-16", "utf-16-be", "utf-32"])
    return damage(draft, "The file ", data.decode().encode(encoding))


@named(OF_FILE)
def empty(draft: Draft, data: bytes) -> bytes:
    return damage(draft, "The file is empty", draft.rng.choice([b"", b"\n", b"   "]))


@named(OF_FILE)
def a_page_in_place_of_the_file(draft: Draft, data: bytes) -> bytes:
    page = b"<!DOCTYPE html><html><body>Log in</body></html>"
    return damage(draft, "The file is no notebook", page)


@named(OF_FILE)
def JSON_of_something_else(draft: Draft, data: bytes) -> bytes:
    text = draft.rng.choice([b"[]", b"3", b'"text"', b"null", b"[" * 100 + b"]" * 100])
    return damage(draft, "JSON but no notebook", text)


@named(OF_FILE)
def twice_in_one_file(draft: Draft, data: bytes) -> bytes:
    return damage(draft, "The file is no notebook", data + data)


@named(OF_FILE)
def conflict_of_git(draft: Draft, data: bytes) -> bytes:
    lines = data.splitlines(keepends=True)
    place = draft.rng.randrange(len(lines))
    lines[place:place] = [b"<<<<<<< HEAD\n", b"=======\n", b">>>>>>> mine\n"]
    return damage(draft, "The file is no notebook", b"".join(lines))


@named(OF_FILE)
def packed_by_gzip(draft: Draft, data: bytes) -> bytes:
    return damage(draft, "The file is no text in UTF-8", gzip.compress(data, mtime=0))


@named(OF_FILE)
def an_archive_called_a_notebook(draft: Draft, data: bytes) -> bytes:
    """Of one notebook or several: a grader does not look into it."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(draft.rng.choice([1, 2])):
            archive.writestr(zipfile.ZipInfo(f"ada{number}.ipynb"), data)
    return damage(draft, "", packed.getvalue())


KINDS = (*OF_EXERCISE, *OF_NOTEBOOK, *ALONE, *OF_FILE)


def drafted(seed: int, index: int, number: str) -> Draft:
    """The notebook of this index: its kind by turns, and more mutations by chance."""
    rng = random.Random(f"{seed} {index}")
    draft = new_draft(number, rng)
    kind = KINDS[index % len(KINDS)]
    if kind in ALONE:
        mutate_notebook(draft, kind, ALONE)
    else:
        mutate_exercises(draft, kind)
    if kind in OF_NOTEBOOK:
        mutate_notebook(draft, kind, OF_NOTEBOOK)
    elif kind not in ALONE and rng.random() < 0.3:
        mutate_notebook(draft, rng.choice(sorted(NEUTRAL)), OF_NOTEBOOK)
    draft.data = written(draft.notebook, indent=1)
    if kind in OF_FILE:
        mutate_file(draft, kind)
    elif rng.random() < 0.3:
        mutate_file(draft, rng.choice(NEUTRAL_OF_FILE))
    return draft


NEUTRAL_OF_FILE = tuple(OF_FILE)[:6]
# Those of a notebook that change nothing, and may come with others.
NEUTRAL = set(OF_NOTEBOOK) - {
    "another chapter named",
    "notebook of another chapter",
    "notebook of no chapter",
    "a cell damaged",
    "no list of cells",
    "another format",
}


def mutate_exercises(draft: Draft, kind: str) -> None:
    """One or several mutations, each of an exercise of its own: the first one of this kind."""
    exercises_by_chance = draft.rng.sample(draft.assignment.exercises, 2)
    kinds = [draft.rng.choice(sorted(OF_EXERCISE)) for _ in exercises_by_chance]
    if kind in OF_EXERCISE:
        kinds[0] = kind
    count = draft.rng.choice([1, 2])
    draft.mutated = exercises_by_chance
    for exercise, chosen in zip(exercises_by_chance[:count], kinds[:count], strict=True):
        OF_EXERCISE[chosen](draft, exercise)
        draft.kinds.append(chosen)


def mutate_notebook(draft: Draft, kind: str, table: dict[str, OfNotebook]) -> None:
    table[kind](draft)
    draft.kinds.append(kind)


def mutate_file(draft: Draft, kind: str) -> None:
    draft.data = OF_FILE[kind](draft, draft.data)
    draft.kinds.append(kind)


def sentence_of(kinds: Iterable[str]) -> str:
    return " + ".join(kinds) or "nothing"
