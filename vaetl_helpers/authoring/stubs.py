"""The text of cells whose function stands in an exercise's block: solved, as a stub, or broken.

A source says `# %% exercise="vae.kl"` for the function that learners write, and
`# %% broken="vae.clinic_a"` for one that they are to repair. Lines that the author writes in such a
cell stay, above the function.
"""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Callable

from nbformat import NotebookNode

from vaetl_helpers import exercises
from vaetl_helpers.syntax import parsed

BEGIN = "### BEGIN SOLUTION"
END = "### END SOLUTION"
OPTIONS = {"exercise", "broken"}
STUB_WIDTH = 88
YOUR_CODE = "    return ...  # your code"
TO_REPAIR = "# The code to repair: take away the #, and the last line of the cell."
STUCK = "# Stuck? Take away the # before hint and run this cell: each run says a little more."
TITLE = re.compile(r"(?m)^#+ .* · (\d+) minutes$")


def takes_function(cell: NotebookNode) -> bool:
    """Whether the build puts a function into this cell of a source."""
    return not OPTIONS.isdisjoint(cell.metadata)


def solved_text(cell: NotebookNode) -> str:
    """The text of a cell of a source as the solved notebook has it.

    Raises ValueError, with a text for the author, where the cell holds what a block should.
    """
    if BEGIN in cell.source or END in cell.source:
        raise ValueError("marks a solution: solutions are taken from vaetl_helpers/exercises")
    if not takes_function(cell):
        return cell.source
    if re.search(r"(?m)^def ", cell.source):
        raise ValueError("defines a function: it is taken from vaetl_helpers/exercises")
    if "exercise" in cell.metadata:
        exercise = exercises.get(cell.metadata["exercise"])
        function = with_markers(exercise.reference)
    else:
        exercise = exercises.get(cell.metadata["broken"])
        if exercise.broken is None:
            raise ValueError(f"asks for what is broken in {exercise.id}, which has nothing broken")
        function = exercises.source_of(exercise.broken).rstrip()
    if not cell.source.strip():
        return function
    return f"{cell.source.rstrip()}\n\n\n{function}"


def with_markers(reference: Callable) -> str:
    """The reference's text, its body below the docstring between the marks of a solution."""
    text = exercises.source_of(reference).rstrip()
    function = parsed(text).body[0]
    if not isinstance(function, ast.FunctionDef) or ast.get_docstring(function) is None:
        raise ValueError(f"needs a docstring in {reference.__name__}, since the stub is made of it")
    body = _body_of(text)
    head = text.splitlines()[: -len(body)]
    return "\n".join([*head, f"    {BEGIN}", *body, f"    {END}"])


def stub_text(solved: str) -> str:
    """A solved cell's text with a stub in place of the solution."""
    solution = rf"(?ms)^( *){BEGIN}$.*?^ *{END}$"
    return re.sub(solution, r"\1return ...  # your code", solved)


def skeleton(exercise: exercises.Exercise) -> list[str]:
    """The comments of an exercise's stub, without indentation: steps, or the code to be repaired.

    Most exercises have none.
    """
    if exercise.broken is not None:
        text = exercises.source_of(exercise.broken).rstrip()
        lines = textwrap.dedent("\n".join(_body_of(text))).splitlines()
        return [TO_REPAIR, *(f"# {line}".rstrip() for line in lines)]
    comments = []
    for number, step in enumerate(exercise.steps, start=1):
        wrapped = textwrap.wrap(step, STUB_WIDTH - len("    # 1. "))
        comments += [f"# {number}. {wrapped[0]}", *(f"#    {line}" for line in wrapped[1:])]
    return comments


def _body_of(text: str) -> list[str]:
    """The lines of a function below its docstring."""
    function = parsed(text).body[0]
    assert isinstance(function, ast.FunctionDef)
    return text.splitlines()[function.body[0].end_lineno :]


def learners_text(cell: NotebookNode) -> str:
    """The text of a solved cell as a learner gets it: a stub, with the exercise's skeleton."""
    stub = stub_text(cell.source)
    id = cell.metadata.get("vaetl", {}).get("exercise")
    if id is None or stub == cell.source:
        return stub
    comments = [f"    {line}" for line in skeleton(exercises.get(id))]
    return stub.replace(YOUR_CODE, "\n".join([*comments, YOUR_CODE]))


def hint_text(id: str) -> str:
    """The cell below a check, which tells nothing before it is asked."""
    return f'{STUCK}\n# hint("{id}")'


def with_level(text: str, exercise: exercises.Exercise) -> str:
    """A text whose last title with minutes gets the exercise's level.

    Raises ValueError where its minutes are not those of the exercise.
    """
    titles = list(TITLE.finditer(text))
    if not titles:
        raise ValueError(f"has no title with minutes above the exercise {exercise.id}")
    title = titles[-1]
    if int(title[1]) != exercise.minutes:
        raise ValueError(f"says {title[1]} minutes where {exercise.id} has {exercise.minutes}")
    return f"{text[: title.end()]} · {exercise.stars}{text[title.end() :]}"
