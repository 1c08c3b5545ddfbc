"""Code as a tree, although CPython may miscount while another thread parses."""

from __future__ import annotations

import ast

import pytest

from vaetl_helpers.grading import syntax


@pytest.mark.parametrize("failures", [0, 1, syntax.TRIES - 1, syntax.TRIES])
def test_a_miscount_is_no_fault_of_the_code(failures: int, monkeypatch: pytest.MonkeyPatch) -> None:
    left, parse = failures, ast.parse

    def miscounting(code: str) -> ast.Module:
        nonlocal left
        if left:
            left -= 1
            raise SystemError("AST constructor recursion depth mismatch (before=1, after=2)")
        return parse(code)

    monkeypatch.setattr(syntax.ast, "parse", miscounting)
    if failures == syntax.TRIES:
        with pytest.raises(SystemError):
            syntax.parsed("x = 1")
    else:
        assert isinstance(syntax.parsed("x = 1").body[0], ast.Assign)


def test_a_fault_of_the_code_is_raised_as_ever() -> None:
    with pytest.raises(SyntaxError):
        syntax.parsed("x = ")
