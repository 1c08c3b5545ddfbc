"""The text of cells whose function stands in an exercise's block: solved, as a stub, or broken.

A source says `# %% exercise="vae.kl"` for the function that learners write, and
`# %% broken="vae.clinic_a"` for one that they are to repair. Lines that the author writes in such a
cell stay, above the function.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable

from nbformat import NotebookNode

from vaetl_helpers import exercises

BEGIN = "### BEGIN SOLUTION"
END = "### END SOLUTION"
OPTIONS = {"exercise", "broken"}


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
    function = ast.parse(text).body[0]
    if not isinstance(function, ast.FunctionDef) or ast.get_docstring(function) is None:
        raise ValueError(f"needs a docstring in {reference.__name__}, since the stub is made of it")
    end_of_docstring = function.body[0].end_lineno
    lines = text.splitlines()
    head = lines[:end_of_docstring]
    body = lines[end_of_docstring:]
    return "\n".join([*head, f"    {BEGIN}", *body, f"    {END}"])


def stub_text(solved: str) -> str:
    """A solved cell's text with a stub in place of the solution."""
    solution = rf"(?ms)^( *){BEGIN}$.*?^ *{END}$"
    return re.sub(solution, r"\1return ...  # your code", solved)
