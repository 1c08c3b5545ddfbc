"""Python code as a tree."""

from __future__ import annotations

import ast
import gc


def parsed(code: str) -> ast.Module:
    """What `ast.parse` makes of code, and raises, without the garbage collector meanwhile.

    The collector may call code that parses, too, such as the traceback of an unclosed file. Then
    CPython 3.11.7 miscounts the depth of the first tree, and raises a SystemError for code without
    a fault (python/cpython#106905 is about the same counter).
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        return ast.parse(code)
    finally:
        if was_on:
            gc.enable()
