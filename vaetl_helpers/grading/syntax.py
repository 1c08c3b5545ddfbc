"""Python code as a tree."""

from __future__ import annotations

import ast
import contextlib

TRIES = 5


def parsed(code: str) -> ast.Module:
    """What `ast.parse` makes of code, and raises.

    Asked again where CPython 3.11 raises a SystemError without a fault of the code: it counts the
    depth of a tree for all threads together, and another one may parse at the same time
    (python/cpython#106905, seen in 3.11.7).
    """
    for _ in range(TRIES - 1):
        with contextlib.suppress(SystemError):
            return ast.parse(code)
    return ast.parse(code)
