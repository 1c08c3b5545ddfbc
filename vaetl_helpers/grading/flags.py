"""A static look at a submitted cell, for a person to judge: nothing is executed here, and no flag is a verdict."""

from __future__ import annotations

import ast
import contextlib
import itertools
import re
import textwrap
import warnings
from collections import ChainMap
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vaetl_helpers.grading.submissions import Task

# Characters of a cell, names in it, cells beside it: the longest solution has 1,100, and hostile cells are to be quick.
LIMIT, NAMES, CELLS = 10_000, 500, 15
PACKAGE = "vaetl_helpers"
COPIED = (
    "equals the published solution but for names and comments (a short answer may do so by chance)"
)
MACHINERY = re.compile(
    r"(eval|exec|compile|__import__|open|globals|vars|get_ipython|__builtins__|builtins|importlib|IPython|os|sys|"
    r"subprocess|multiprocessing|socket|ctypes|shutil|pathlib|io|inspect|gc|signal)(\.|$)|"
    r"__(globals|subclasses|code|closure|wrapped)__$|an assignment to "
)
# Possessive, so that a line of many blanks takes no longer than any other.
MAGIC = re.compile(r"(?m)^([ \t]*+)(?:[\w., \t]++=[ \t]*+)?+[!%?,;/].*$")
DEFINED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
Bound = Mapping[str, set[str]]  # what a name leads to, as dotted paths


def flags(code: str, task: Task, other_cells: Sequence[str] = ()) -> list[str]:
    """A sentence for each thing in a submitted cell that a person should look at; code that is no Python has none.

    `other_cells` are the sources of the submission's setup and of its other exercise cells.
    """
    try:
        return _flags(code, task, other_cells)
    except (ValueError, RecursionError, MemoryError):  # too long, null bytes, nested too deeply
        return ["could not be parsed"]


def _flags(code: str, task: Task, other_cells: Sequence[str]) -> list[str]:
    (tree, magics), solution, stub = _parse(code), _parse(task.solution)[0], _parse(task.stub)[0]
    # What the published solution writes, too, is fair, as long as it leads to something of that name.
    known = tuple(f".{path}" for path in _uses(solution, {}))
    found = {path for path in _uses(tree, _bindings(other_cells)) if not f".{path}".endswith(known)}
    package = {path for path in found if path.startswith(PACKAGE)}
    odd = magics | {path for path in found if MACHINERY.match(path)}
    sentences = {
        COPIED: _functions(tree) & _functions(solution) - _functions(stub),
        f"uses {_listed(package)}": package,
        f"reaches for what an answer does not need: {_listed(odd)}": odd,
    }
    return [sentence for sentence, reason in sentences.items() if reason]


def _listed(names: set[str], most: int = 6) -> str:
    """The longest paths only: after a.b.c, neither a nor a.b says anything."""
    pairs = itertools.pairwise([*sorted(names), ""])
    names = [name for name, following in pairs if not following.startswith(f"{name}.")]
    return ", ".join(name[:80] for name in names[:most]) + (
        " and others" if len(names) > most else ""
    )


def _parse(code: str) -> tuple[ast.Module, set[str]]:
    """The tree of a cell, empty for what is no Python, and the lines in IPython's own syntax."""
    if len(code) > LIMIT:
        raise ValueError(f"more than {LIMIT} characters")
    code = textwrap.dedent(code)
    magics = {found[0].strip() for found in MAGIC.finditer(code)}
    for text, left_out in ((code, set()), (MAGIC.sub(r"\1pass", code), magics)):
        with warnings.catch_warnings(action="ignore"), contextlib.suppress(SyntaxError):
            return ast.parse(text), left_out
    return ast.Module([], []), magics


def _own(tree: ast.AST) -> set[str]:
    """The names that code binds other than by imports: arguments, variables and functions."""
    nodes = list(ast.walk(tree))
    stored = {
        node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }
    return (
        stored
        | {n.arg for n in nodes if isinstance(n, ast.arg)}
        | {n.name for n in nodes if isinstance(n, DEFINED)}
    )


def _imports(tree: ast.AST) -> Bound:
    bound = {}
    for node in ast.walk(tree):
        start = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
        for name in node.names if isinstance(node, (ast.Import, ast.ImportFrom)) else ():
            key = name.asname or name.name.split(".")[0]  # `import a.b` binds a
            bound[key] = {start + name.name if start or name.asname else key}
    return bound


def _path(node: ast.AST) -> list[str]:
    """["a", "b"] for a.b, [] for what is neither a name nor an attribute of one."""
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return [node.id, *reversed(parts)] if isinstance(node, ast.Name) else []


def _uses(tree: ast.AST, bound: Bound) -> set[str]:
    """The paths that code leads to: through its imports, and through what others have bound."""
    imported = _imports(tree)
    bound, own = ChainMap(imported, bound), _own(tree) - imported.keys()
    found = set().union(bound.get("*", ()), *imported.values())
    for node in ast.walk(tree):
        root, *rest = _path(node) or [""]
        if root and root not in own:
            found |= {".".join([to, *rest]) for to in bound.get(root, [root])}
        if (
            isinstance(node, ast.Attribute)
            and MACHINERY.match(node.attr)
            and node.attr.startswith("__")
        ):
            found.add(node.attr)  # whoever it belongs to
        if len(found) > NAMES:
            raise ValueError(f"more than {NAMES} names")
        if isinstance(node, ast.Constant) and re.search(f"{PACKAGE}|/exercises", str(node.value)):
            found.add(f"{PACKAGE} (in a string)")
    return found | {
        f"an assignment to {'.'.join(path)}"
        for path in _changed(tree)
        if path and path[0] not in own
    }


def _changed(tree: ast.AST) -> Iterator[list[str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and not isinstance(node.ctx, ast.Load):
            yield _path(node)
        if isinstance(node, ast.Call) and node.args and _path(node.func) == ["setattr"]:
            yield _path(node.args[0])


def _bindings(cells: Sequence[str]) -> Bound:
    """What each name leads to that the cells import, define or give a value."""
    bound = {}
    for cell in cells[:CELLS]:
        with contextlib.suppress(ValueError, RecursionError, MemoryError):
            for node in _parse(cell)[0].body:
                value = getattr(node, "value", node) or node
                # What a call returns is another thing, unless it wraps what it is given: partial(vae.kl).
                uses = _uses(ast.List(value.args) if isinstance(value, ast.Call) else value, bound)
                names = {node.name} if isinstance(node, DEFINED) else _own(node)
                bound |= dict.fromkeys(names, uses) | _imports(node)
    return bound


def _functions(tree: ast.Module) -> set[str]:
    """The functions as text without comments, docstrings and annotations, their own names numbered in order."""
    return {
        _plain(ast.parse(ast.unparse(node)).body[0])
        for node in tree.body
        if isinstance(node, DEFINED)
    }


def _plain(function: ast.stmt) -> str:
    own, numbers = _own(function), {}
    for node in ast.walk(function):
        if isinstance(getattr(node, "body", None), list):
            node.body = [
                x
                for x in node.body
                if not (isinstance(x, ast.Expr) and isinstance(x.value, ast.Constant))
            ]
        for field in set(node._fields) & {"annotation", "returns", "id", "name", "arg"}:
            old = getattr(node, field)
            if field in ("annotation", "returns") and old:
                setattr(node, field, ast.Name("?"))
            elif old in own and not isinstance(node, ast.keyword):  # f(mu=m) keeps its mu
                setattr(node, field, f"_{numbers.setdefault(old, len(numbers))}")
    return re.sub(r"(:| ->) \?", "", ast.unparse(function))
