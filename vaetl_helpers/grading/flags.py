"""A static look at a submitted cell, for a person to judge.

Nothing is executed here, and no flag says that anybody has cheated.
"""

from __future__ import annotations

import ast
import contextlib
import itertools
import re
import textwrap
import warnings
from collections import ChainMap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from vaetl_helpers.syntax import parsed

# The longest solution has 1,100 characters, and hostile cells are to be quick.
MOST_CHARACTERS = 10_000  # of a cell
MOST_NAMES = 500  # in a cell
MOST_CELLS = 20  # beside it
LISTED_PATHS = 6
LISTED_CHARACTERS = 80  # of a path
PACKAGE = "vaetl_helpers"
COPIED = (
    "equals the published solution but for names and comments (a short answer may do so by chance)"
)
ASSIGNMENT = "an assignment to "
# From an error, a frame or a generator to the variables of whoever has called.
FRAMES = r"(tb_frame|tb_next|f_back|f_locals|f_globals|gi_frame|cr_frame|ag_frame)$"
MACHINERY = re.compile(
    r"(eval|exec|compile|__import__|open|globals|vars|get_ipython|__builtins__|builtins|importlib|"
    r"IPython|os|sys|subprocess|multiprocessing|socket|ctypes|shutil|pathlib|io|inspect|gc|signal)"
    rf"(\.|$)|__(globals|subclasses|code|closure|wrapped|traceback|self|func)__$|{FRAMES}|"
    rf"{ASSIGNMENT}"
)
# Possessive, so that a line of many blanks takes no longer than any other.
MAGIC = re.compile(r"(?m)^([ \t]*+)(?:[\w., \t]++=[ \t]*+)?+[!%?,;/].*$")
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
TOO_MUCH = (ValueError, RecursionError, MemoryError)  # too long, null bytes, nested too deeply

# What a name leads to, as dotted paths.
Bindings = Mapping[str, set[str]]


def flags(code: str, solution: str, stub: str, other_cells: Sequence[str] = ()) -> list[str]:
    """A sentence for each thing in a submitted cell that a person should look at.

    `solution` and `stub` are the course's sources of the cell, `other_cells` those of the
    submission's setup and of its other exercise cells. Code that is no Python has no flags.
    """
    try:
        return _flags(code, solution, stub, other_cells)
    except TOO_MUCH:
        return ["could not be parsed"]


def _flags(code: str, solution: str, stub: str, other_cells: Sequence[str]) -> list[str]:
    tree, magics = _parse(code)
    solution_tree = _parse(solution)[0]
    stub_tree = _parse(stub)[0]
    # What the published solution writes, too, is fair, as long as it leads to something of that
    # name.
    fair_endings = tuple(f".{path}" for path in _uses(solution_tree, {}))
    uses = _uses(tree, _bindings(other_cells))
    paths = {path for path in uses if not f".{path}".endswith(fair_endings)}
    of_package = {path for path in paths if path.startswith(PACKAGE)}
    machinery = magics | {path for path in paths if MACHINERY.match(path)}
    sentences = []
    if _functions(tree) & _functions(solution_tree) - _functions(stub_tree):
        sentences.append(COPIED)
    if of_package:
        sentences.append(f"uses {_listed(of_package)}")
    if machinery:
        sentences.append(f"reaches for what an answer does not need: {_listed(machinery)}")
    return sentences


def _listed(paths: set[str]) -> str:
    """The longest paths only: after a.b.c, neither a nor a.b says anything."""
    longest = []
    for path, next_path in itertools.pairwise([*sorted(paths), ""]):
        if not next_path.startswith(f"{path}."):
            longest.append(path[:LISTED_CHARACTERS])
    text = ", ".join(longest[:LISTED_PATHS])
    if len(longest) > LISTED_PATHS:
        return f"{text} and others"
    return text


def _parse(code: str) -> tuple[ast.Module, set[str]]:
    """The tree of a cell, empty for what is no Python, and the lines in IPython's own syntax."""
    if len(code) > MOST_CHARACTERS:
        raise ValueError(f"more than {MOST_CHARACTERS} characters")
    code = textwrap.dedent(code)
    tree = _tree(code)
    if tree:
        return tree, set()
    magics = {line[0].strip() for line in MAGIC.finditer(code)}
    without_magics = MAGIC.sub(r"\1pass", code)
    return _tree(without_magics) or ast.Module([], []), magics


def _tree(code: str) -> ast.Module | None:
    with warnings.catch_warnings(action="ignore"), contextlib.suppress(SyntaxError):
        return parsed(code)
    return None


def _own_names(tree: ast.AST) -> set[str]:
    """The names that code binds other than by imports: arguments, variables and functions."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.arg):
            names.add(node.arg)
        elif isinstance(node, DEFINITIONS):
            names.add(node.name)
    return names


def _imports(tree: ast.AST) -> dict[str, set[str]]:
    bindings = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                bindings[alias.asname or alias.name] = {f"{node.module}.{alias.name}"}
        elif isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.partition(".")[0]
                if alias.asname:
                    bindings[alias.asname] = {alias.name}
                else:  # `import a.b` binds a
                    bindings[top] = {top}
    return bindings


def _path(node: ast.AST) -> list[str]:
    """["a", "b"] for a.b, [] for what is neither a name nor an attribute of one."""
    attributes = []
    while isinstance(node, ast.Attribute):
        attributes.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return []
    return [node.id, *reversed(attributes)]


def _uses(tree: ast.AST, bindings: Bindings) -> set[str]:
    """The paths that code leads to: through its imports, and through what others have bound."""
    imported = _imports(tree)
    bindings = ChainMap(imported, dict(bindings))
    own_names = _own_names(tree) - imported.keys()
    paths = set().union(bindings.get("*", ()), *imported.values())
    for node in ast.walk(tree):
        root, *attributes = _path(node) or [""]
        if root and root not in own_names:
            for target in bindings.get(root, [root]):
                paths.add(".".join([target, *attributes]))
        if isinstance(node, ast.Attribute) and _is_machinery(node.attr):
            paths.add(node.attr)  # whoever it belongs to
        if len(paths) > MOST_NAMES:
            raise ValueError(f"more than {MOST_NAMES} names")
        if isinstance(node, ast.Constant) and _names_the_package(node.value):
            paths.add(f"{PACKAGE} (in a string)")
    for path in _changed(tree):
        if path and path[0] not in own_names:
            paths.add(ASSIGNMENT + ".".join(path))
    return paths


def _is_machinery(attribute: str) -> bool:
    is_reserved = attribute.startswith("__") and bool(MACHINERY.match(attribute))
    return is_reserved or bool(re.match(FRAMES, attribute))


def _names_the_package(constant: object) -> bool:
    return bool(re.search(f"{PACKAGE}|/exercises", str(constant)))


def _changed(tree: ast.AST) -> Iterator[list[str]]:
    """The paths of what code changes in something that is there already."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and not isinstance(node.ctx, ast.Load):
            yield _path(node)
        if isinstance(node, ast.Call) and node.args and _path(node.func) == ["setattr"]:
            yield _path(node.args[0])


def _bindings(cells: Sequence[str]) -> Bindings:
    """What each name leads to that the cells import, define or give a value."""
    bindings: dict[str, set[str]] = {}
    for cell in cells[:MOST_CELLS]:
        with contextlib.suppress(*TOO_MUCH):
            for statement in _parse(cell)[0].body:
                uses = _uses(_source_of_value(statement), bindings)
                bindings |= dict.fromkeys(_bound_names(statement), uses)
                bindings |= _imports(statement)
    return bindings


def _source_of_value(statement: ast.stmt) -> ast.AST:
    """What decides on the value of the names that a statement binds."""
    value = getattr(statement, "value", statement) or statement
    if isinstance(value, ast.Call):
        # What a call returns is another thing, unless it wraps what it is given: partial(vae.kl).
        return ast.List(value.args)
    return value


def _bound_names(statement: ast.stmt) -> set[str]:
    if isinstance(statement, DEFINITIONS):
        return {statement.name}
    return _own_names(statement)


def _functions(tree: ast.Module) -> set[str]:
    """The functions as text without comments, docstrings and annotations.

    Their own names are numbered in order.
    """
    functions = set()
    for node in tree.body:
        if isinstance(node, DEFINITIONS):
            copy = parsed(ast.unparse(node)).body[0]
            functions.add(_plain(copy))
    return functions


def _plain(function: ast.stmt) -> str:
    own_names = _own_names(function)
    numbers: dict[str, int] = {}
    for node in ast.walk(function):
        _drop_docstrings(node)
        for name in {"annotation", "returns"}.intersection(node._fields):
            if getattr(node, name):
                setattr(node, name, ast.Name("?"))
        if isinstance(node, ast.keyword):  # f(mu=m) keeps its mu
            continue
        for name in {"id", "name", "arg"}.intersection(node._fields):
            value: Any = getattr(node, name)
            if value in own_names:
                setattr(node, name, f"_{numbers.setdefault(value, len(numbers))}")
    return re.sub(r"(:| ->) \?", "", ast.unparse(function))


def _drop_docstrings(node: Any) -> None:
    """Leaves out the constants that stand for themselves in the node's body."""
    body = getattr(node, "body", None)
    if isinstance(body, list):
        node.body = [statement for statement in body if not _is_constant(statement)]


def _is_constant(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
