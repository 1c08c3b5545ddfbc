"""Code as a tree, also where the garbage collector calls something that parses."""

from __future__ import annotations

import ast
import contextlib
import gc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from vaetl_helpers import syntax

LONG = Path(syntax.__file__).with_name("exercises") / "hardware.py"


@contextlib.contextmanager
def collecting_often() -> Iterator[list[str]]:
    """The collector runs often, and each time parses deeper in the stack than the test does."""
    phases: list[str] = []

    def parse_in_depth(depth: int) -> None:
        if depth:
            parse_in_depth(depth - 1)
        else:
            ast.parse("x = 1")

    def note(phase: str, info: dict[str, int]) -> None:
        phases.append(phase)
        if phases[-2:] == ["start", "stop"]:
            parse_in_depth(20)

    threshold = gc.get_threshold()
    gc.callbacks.append(note)
    gc.set_threshold(50)
    try:
        yield phases
    finally:
        gc.callbacks.remove(note)
        gc.set_threshold(*threshold)


def test_the_collector_does_not_run_while_code_becomes_a_tree() -> None:
    code = LONG.read_text("utf-8")
    error, tree = None, None
    with collecting_often() as phases:  # pytest parses, too: nothing may be raised in here
        before = len(phases)
        try:
            tree = syntax.parsed(code)
        except SystemError as miscounted:
            error = miscounted
        runs = len(phases) - before
    assert error is None
    assert runs <= 2, "at most as the function begins or ends"
    assert ast.get_docstring(tree) and gc.isenabled()


@pytest.mark.parametrize("switch", [gc.enable, gc.disable])
def test_the_collector_is_left_as_it_was(switch: Callable[[], None]) -> None:
    was_on = gc.isenabled()
    switch()
    expected = gc.isenabled()
    try:
        with pytest.raises(SyntaxError):
            syntax.parsed("x = ")
        assert gc.isenabled() == expected
    finally:
        (gc.enable if was_on else gc.disable)()
