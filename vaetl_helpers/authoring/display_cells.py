"""Which cells of a notebook only show something: their code is folded on the pages."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from typing import Any

from vaetl_helpers.authoring.lint import statements

# What shows: the first parts of the names that are called.
SHOWS = {"plots", "plt", "widgets", "show_table", "print", "report", "show_record", "display"}
# What a reader should see happen.
HAPPENS = re.compile(
    r"(^|_)(fit|train|evaluate|check|hint|solution|predict|run_study|measure|time)"
)
LEAST_LINES = 4  # fewer need no fold


def display_cells(cells: Sequence[Any]) -> Iterator[int]:
    """The numbers of the cells that only show something.

    Such a cell calls what draws, prints or tabulates, trains and measures nothing, defines no
    function, and computes nothing that a later cell uses.
    """
    parsed = [_body(cell) for cell in cells]
    own_functions = {
        statement.name
        for body in parsed
        for statement in body
        if isinstance(statement, ast.FunctionDef)
    }
    for number, body in enumerate(parsed):
        if not body or len(cells[number].source.splitlines()) < LEAST_LINES:
            continue
        if _is_display(body, own_functions) and not _bound(body) & _used(parsed[number + 1 :]):
            yield number


def _body(cell: Any) -> list[ast.stmt]:
    return statements(cell) if cell.cell_type == "code" else []


def _is_display(body: Sequence[ast.stmt], own_functions: set[str]) -> bool:
    """Whether the statements show something and do nothing else that is worth reading."""
    calls = set()
    for statement in body:
        if isinstance(statement, ast.FunctionDef | ast.ClassDef):
            return False
        for node in ast.walk(statement):
            if isinstance(node, ast.Call):
                calls.add(ast.unparse(node.func))
    names = {part for call in calls for part in re.findall(r"\w+", call)}
    if names & own_functions or any(HAPPENS.search(name) for name in names):
        return False
    return any(call.partition(".")[0] in SHOWS for call in calls)


def _bound(body: Sequence[ast.stmt]) -> set[str]:
    """The names that statements give a value."""
    names = set()
    for statement in body:
        for node in ast.walk(statement):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                names.add(node.id)
            elif isinstance(node, ast.alias):
                names.add((node.asname or node.name).partition(".")[0])
    return names


def _used(bodies: Sequence[Sequence[ast.stmt]]) -> set[str]:
    """The names that cells read before they give them a value of their own."""
    read: set[str] = set()
    given: set[str] = set()
    for body in bodies:
        for statement in body:
            loaded = {
                node.id
                for node in ast.walk(statement)
                if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
            }
            bound = _bound([statement])
            read |= loaded - given - bound
            if not isinstance(statement, ast.FunctionDef):
                read |= (loaded & bound) - given - _loop_names(statement)
                given |= bound
    return read


def _loop_names(statement: ast.stmt) -> set[str]:
    """Names that loops and comprehensions bind, which are bound before they are read."""
    names = set()
    for node in ast.walk(statement):
        if isinstance(node, ast.For | ast.comprehension):
            names |= {name.id for name in ast.walk(node.target) if isinstance(name, ast.Name)}
    return names
