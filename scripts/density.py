"""Measures how dense Python code is, and how many of its names name nothing.

    python scripts/density.py vaetl_helpers             a row for each folder in it, and one for all
    python scripts/density.py vaetl_helpers --by-file   a row for each file, the densest first
    python scripts/density.py vaetl_helpers --names     which functions hold names that name nothing
    python scripts/density.py vaetl_helpers --dense 20  the twenty densest lines
    python scripts/density.py vaetl_helpers --json      the same as JSON
    python scripts/density.py vaetl_helpers --without grading,authoring

What is counted:

- A *code line* is a line that is not blank, does not begin with `#` and is in no docstring.
- *Nodes* are the nodes of the syntax tree of Python's `ast`, annotations included. The nodes
  `Load`, `Store` and `Del` are left out, since they only say how a name is used. A docstring
  counts as one node and one statement, as `pass` would.
- *Characters* are those of a code line without the blanks around it. A line is *long* if it has
  more than 100 characters, the blanks in front of it included.
- A *comprehension* is one of a list, a set or a dictionary, or a generator expression. A
  *conditional* is `a if condition else b`. A *tuple assignment* has a tuple on both sides.
- A *name* is an argument, or a variable that is bound: by `=`, `for`, `with`, `:=` or in a
  comprehension. It counts once for each function that binds it, and once for what stands outside
  functions in a file. `self`, `cls` and `_` do not count.
- The length of a function is that of its whole text: from `def` to its last line.

As landmarks: nanoGPT has 6.4 nodes a line, torchmetrics 5.4, httpx 4.2 and attrs 3.7. Of their
names, 0.1 to 2.1 % name nothing.
"""

from __future__ import annotations

import argparse
import ast
import json
import signal
import statistics
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

LONG = 100  # characters

# Words for the role of a thing in a sentence: none of them says what the thing is.
EMPTY_NAMES = (
    "about after again another asked before both chosen done each end ends every first "
    "following found fresh given got held here how kept known lacking last later like look "
    "made mine more most named needed odd of one other others ours over own part parts said "
    "same second seen sent some something started stored taken theirs there thing things todo "
    "told wanted what where which whole why without works yours"
)
NOBODY_CHOSE = ("self", "cls", "_")

Function = ast.FunctionDef | ast.AsyncFunctionDef
WITH_DOCSTRING = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
PlacedNode = tuple[ast.AST, int]  # a node and the number of its line
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


@dataclass
class NamesOfFunction:
    """The names that one function binds; `function` is None for what stands outside functions."""

    path: Path
    line: int
    function: str | None
    names: set[str] = field(default_factory=set)

    @property
    def empty(self) -> list[str]:
        return sorted(self.names.intersection(EMPTY_NAMES.split()))


@dataclass
class DenseLine:
    """A line of code with the number of nodes that begin on it."""

    path: Path
    line: int
    nodes: int
    text: str


@dataclass
class Counts:
    """What is counted in a file, or in many."""

    lines: int = 0
    nodes: int = 0
    statements: int = 0
    characters: int = 0
    long_lines: int = 0
    comprehensions: int = 0
    conditionals: int = 0
    walruses: int = 0
    tuple_assignments: int = 0
    lengths: list[int] = field(default_factory=list)
    scopes: list[NamesOfFunction] = field(default_factory=list)
    dense_lines: list[DenseLine] = field(default_factory=list)

    def add(self, counts: Counts) -> None:
        for key, value in vars(counts).items():
            setattr(self, key, getattr(self, key) + value)

    def ratios(self) -> dict[str, float]:
        """The table's numbers by name, in the order of its columns."""
        names = sum(len(scope.names) for scope in self.scopes)
        empty = sum(len(scope.empty) for scope in self.scopes)
        lengths = sorted(self.lengths) or [0]
        return {
            "lines": self.lines,
            "nodes per line": ratio(self.nodes, self.lines),
            "nodes per statement": ratio(self.nodes, self.statements),
            "characters per line": ratio(self.characters, self.lines),
            "% long lines": 100 * ratio(self.long_lines, self.lines),
            "comprehensions": 100 * ratio(self.comprehensions, self.lines),
            "conditionals": 100 * ratio(self.conditionals, self.lines),
            "walruses": 100 * ratio(self.walruses, self.lines),
            "tuple assignments": 100 * ratio(self.tuple_assignments, self.lines),
            "% empty names": 100 * ratio(empty, names),
            "functions": len(self.lengths),
            "median length": statistics.median(lengths),
            "p90 length": lengths[int(0.9 * (len(lengths) - 1))],
            "longest": lengths[-1],
        }


# The column's heading, in two lines, and its decimals. Those "/ 100" are counted on 100 code lines.
COLUMNS = {
    "lines": ("code", "lines", 0),
    "nodes per line": ("nodes", "/ line", 1),
    "nodes per statement": ("nodes", "/ stmt", 1),
    "characters per line": ("chars", "/ line", 1),
    "% long lines": ("% over", "100", 1),
    "comprehensions": ("compr.", "/ 100", 1),
    "conditionals": ("cond.", "/ 100", 1),
    "walruses": ("walrus", "/ 100", 2),
    "tuple assignments": ("a,b=x,y", "/ 100", 1),
    "% empty names": ("% empty", "names", 1),
    "functions": ("func-", "tions", 0),
    "median length": ("median", "length", 0),
    "p90 length": ("90 %", "length", 0),
    "longest": ("long-", "est", 0),
}


def ratio(count: float, total: float) -> float:
    if total == 0:
        return 0.0
    return count / total


def count_file(path: Path) -> Counts:
    """Counts one file. Raises SyntaxError where it is not Python."""
    text = path.read_text("utf-8")
    tree = ast.parse(text, str(path))
    lines = text.splitlines()
    docstrings = list(find_docstrings(tree))
    numbers = code_line_numbers(lines, docstrings)
    counts = Counts(lines=len(numbers))
    for number in numbers:
        line = lines[number - 1]
        counts.characters += len(line.strip())
        counts.long_lines += len(line) > LONG
    nodes_by_line = count_nodes(tree, docstrings, counts)
    counts.scopes = list(names_by_function(tree, path))
    for number, nodes in nodes_by_line.items():
        counts.dense_lines.append(DenseLine(path, number, nodes, lines[number - 1].strip()))
    return counts


def find_docstrings(tree: ast.Module) -> Iterator[ast.stmt]:
    for node in ast.walk(tree):
        if isinstance(node, WITH_DOCSTRING) and ast.get_docstring(node) is not None:
            yield node.body[0]


def last_line(node: ast.stmt) -> int:
    return node.end_lineno or node.lineno


def code_line_numbers(lines: list[str], docstrings: list[ast.stmt]) -> list[int]:
    """The numbers, from 1, of the lines that hold code."""
    in_docstrings: set[int] = set()
    for docstring in docstrings:
        in_docstrings.update(range(docstring.lineno, last_line(docstring) + 1))
    numbers = []
    for number, line in enumerate(lines, start=1):
        is_blank_or_comment = not line.strip() or line.strip().startswith("#")
        if not is_blank_or_comment and number not in in_docstrings:
            numbers.append(number)
    return numbers


def count_nodes(tree: ast.Module, docstrings: list[ast.stmt], counts: Counts) -> dict[int, int]:
    """Adds the nodes of the tree to the counts, and returns how many nodes begin on which line."""
    is_docstring = {id(docstring) for docstring in docstrings}
    nodes_by_line: dict[int, int] = {}
    for node, line in nodes_with_lines(tree, is_docstring):
        counts.nodes += 1
        counts.statements += isinstance(node, ast.stmt)
        counts.comprehensions += isinstance(node, COMPREHENSIONS)
        counts.conditionals += isinstance(node, ast.IfExp)
        counts.walruses += isinstance(node, ast.NamedExpr)
        counts.tuple_assignments += is_tuple_assignment(node)
        if isinstance(node, Function):
            counts.lengths.append(last_line(node) - node.lineno + 1)
        if id(node) not in is_docstring and line > 0:
            nodes_by_line[line] = nodes_by_line.get(line, 0) + 1
    return nodes_by_line


def nodes_with_lines(node: ast.AST, is_docstring: set[int], line: int = 0) -> Iterator[PlacedNode]:
    """Every node that counts, with its line; operators have none, and get that of what holds them.

    The tree's root stands on line 0.
    """
    if isinstance(node, ast.expr_context):
        return
    line = getattr(node, "lineno", line)
    yield node, line
    if id(node) in is_docstring:
        return
    for child in ast.iter_child_nodes(node):
        yield from nodes_with_lines(child, is_docstring, line)


def is_tuple_assignment(node: ast.AST) -> bool:
    if not isinstance(node, ast.Assign):
        return False
    return isinstance(node.targets[0], ast.Tuple) and isinstance(node.value, ast.Tuple)


def names_by_function(tree: ast.Module, path: Path) -> list[NamesOfFunction]:
    """The names that the file binds, by the innermost function in which they stand."""
    outside = NamesOfFunction(path, 1, None)
    scopes = [outside]

    def visit(node: ast.AST, scope: NamesOfFunction) -> None:
        if isinstance(node, Function):
            scope = NamesOfFunction(path, node.lineno, node.name)
            scopes.append(scope)
        name = bound_name(node)
        if name is not None and name not in NOBODY_CHOSE:
            scope.names.add(name)
        for child in ast.iter_child_nodes(node):
            visit(child, scope)

    visit(tree, outside)
    return scopes


def bound_name(node: ast.AST) -> str | None:
    """The name that this node binds, if it binds one."""
    if isinstance(node, ast.arg):
        return node.arg
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        return node.id
    return None


def python_files(folder: Path, excluded: list[str]) -> list[Path]:
    """The Python files in a folder, or the file itself, hidden folders left out."""
    if folder.is_file():
        return [folder]
    files = []
    for path in sorted(folder.rglob("*.py")):
        parents = path.relative_to(folder).parts[:-1]
        is_hidden = any(name.startswith(".") for name in parents)
        if not is_hidden and not set(parents) & set(excluded):
            files.append(path)
    return files


def count_by_row(folders: list[Path], excluded: list[str], by_file: bool) -> dict[str, Counts]:
    """Counts by the name of a row: a file's or a folder's, and at the end that of each argument."""
    rows: dict[str, Counts] = {}
    totals: dict[str, Counts] = {}
    for folder in folders:
        total = totals.setdefault(f"{folder} (all)", Counts())
        for path in python_files(folder, excluded):
            counts = count_file(path)
            total.add(counts)
            if not folder.is_file():
                rows.setdefault(row_name(path, folder, by_file), Counts()).add(counts)
    if by_file:
        densest_first = sorted(rows, key=lambda name: -rows[name].ratios()["nodes per line"])
        rows = {name: rows[name] for name in densest_first}
    return rows | totals


def row_name(path: Path, folder: Path, by_file: bool) -> str:
    """The row to which a file belongs: its own, or that of the folder in which it stands."""
    if by_file:
        return str(path)
    parents = path.relative_to(folder).parts[:-1]
    if not parents:
        return f"{folder}/*.py"
    return str(folder / parents[0])


def table(rows: dict[str, Counts]) -> list[str]:
    """The lines of the table."""
    width = max(len(name) for name in rows)
    lines = []
    for level in (0, 1):
        headings = (f"{column[level]:>8}" for column in COLUMNS.values())
        lines.append(" " * width + "".join(headings))
    for name, counts in rows.items():
        line = f"{name:<{width}}"
        for key, value in counts.ratios().items():
            decimals = COLUMNS[key][2]
            line += f"{value:8.{decimals}f}"
        lines.append(line)
    return lines


def empty_names(total: Counts) -> list[str]:
    """A line for each function that holds names that name nothing, the worst first."""
    scopes = [scope for scope in total.scopes if scope.empty]
    scopes.sort(key=lambda scope: (-len(scope.empty), str(scope.path), scope.line))
    lines = []
    for scope in scopes:
        function = scope.function or "(outside functions)"
        names = ", ".join(scope.empty)
        lines.append(f"{scope.path}:{scope.line}: {function}: {names}")
    return lines


def densest_lines(total: Counts, limit: int) -> list[DenseLine]:
    return sorted(total.dense_lines, key=lambda line: -line.nodes)[:limit]


def rounded(counts: Counts) -> dict[str, float]:
    return {key: round(value, 3) for key, value in counts.ratios().items()}


def as_json(rows: dict[str, Counts], total: Counts, names: bool, dense: int) -> str:
    content: dict[str, object] = {}
    content["rows"] = {name: rounded(counts) for name, counts in rows.items()}
    if names:
        content["names"] = empty_names(total)
    if dense:
        lines = densest_lines(total, dense)
        content["dense"] = [vars(line) | {"path": str(line.path)} for line in lines]
    return json.dumps(content, indent=2)


def parse_arguments() -> argparse.Namespace:
    summary, details = (__doc__ or "").split("\n\n", maxsplit=1)
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=summary, epilog=details, formatter_class=formatter)
    parser.add_argument("folders", nargs="+", type=Path, help="folders or files of Python code")
    parser.add_argument("--by-file", action="store_true", help="a row for each file")
    parser.add_argument("--names", action="store_true", help="functions with empty names")
    parser.add_argument("--dense", type=int, default=0, metavar="N", help="the N densest lines")
    parser.add_argument("--json", action="store_true", help="for a program")
    parser.add_argument("--without", default="", metavar="A,B", help="leave out folders A and B")
    return parser.parse_args()


def main() -> int:
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `| head` may close our output early
    arguments = parse_arguments()
    for folder in arguments.folders:
        if not folder.exists():
            print(f"{folder} does not exist.", file=sys.stderr)
            return 2
    excluded = arguments.without.split(",")
    try:
        rows = count_by_row(arguments.folders, excluded, arguments.by_file)
    except SyntaxError as error:
        print(f"{error.filename}:{error.lineno} is not valid Python: {error.msg}", file=sys.stderr)
        return 2
    total = Counts()
    for folder in arguments.folders:
        total.add(rows[f"{folder} (all)"])
    if arguments.json:
        print(as_json(rows, total, arguments.names, arguments.dense))
        return 0
    print(*table(rows), sep="\n")
    if arguments.names:
        print("\nNames that name nothing:", *empty_names(total), sep="\n")
    if arguments.dense:
        print("\nThe densest lines, with the nodes that begin on each:")
        for line in densest_lines(total, arguments.dense):
            print(f"{line.path}:{line.line}: {line.nodes} nodes: {line.text}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
