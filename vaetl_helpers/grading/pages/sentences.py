"""What was done to a notebook's cells, in words."""

from __future__ import annotations

from collections.abc import Iterable

from vaetl_helpers.grading.notebooks import Problem, ProblemKind, listed

RESTORED = "it is restored from the course, nothing is lost."
CELL_TYPES = {"markdown": "Markdown", "raw": "raw"}
OF_EXERCISE = {
    ProblemKind.MISSING: (
        "The exercise's cell is missing: put it back from a fresh copy of the notebook."
    ),
    ProblemKind.NOT_CODE: (
        "The exercise's cell is a {cell_type} cell now: change its type back to code."
    ),
    ProblemKind.REPEATED: (
        "The exercise's cell is there {count} times: {all} are run in order, "
        "so that the last definition counts."
    ),
    ProblemKind.SETTINGS_CHANGED: f"The settings of the exercise's cell were changed: {RESTORED}",
    ProblemKind.FOUND_BY_SOURCE: (
        "The exercise's own cell is unanswered, or it or the mark that a graded cell has in its "
        "metadata is gone: cell {place} was taken for it, since it defines {function}."
    ),
}
OF_CHECK = {
    ProblemKind.MISSING: f"The check cell is missing: {RESTORED}",
    ProblemKind.REPEATED: f"The check cell is there {{count}} times: {RESTORED}",
    ProblemKind.SOURCE_CHANGED: f"The check cell was changed: {RESTORED}",
    ProblemKind.OWN_CODE: (
        "The check cell was changed, and what was written into it does not count: the check is "
        "restored from the course. An answer belongs into the exercise's cell above it."
    ),
    ProblemKind.SETTINGS_CHANGED: (
        f"The points or settings of the check cell were changed: {RESTORED}"
    ),
}


def problem_sentence(problem: Problem) -> str:
    """What was done to a cell of the assignment, and what becomes of it."""
    sentences = OF_CHECK if problem.is_of_check else OF_EXERCISE
    return sentences[problem.kind].format(
        count=problem.count,
        all="both" if problem.count == 2 else "all",
        cell_type=CELL_TYPES.get(problem.cell_type, "strange"),
        function=problem.function,
        place=problem.place,
    )


def problem_sentences(problems: Iterable[Problem]) -> list[str]:
    """A sentence for each problem."""
    return [problem_sentence(problem) for problem in problems]


def unknown_cells_sentences(cells: list[str], number: str) -> list[str]:
    """A sentence on the graded cells that are not in the chapter, if there are any."""
    if not cells:
        return []
    return [f"Graded cells that are not in chapter {number} are ignored: {listed(cells)}."]
