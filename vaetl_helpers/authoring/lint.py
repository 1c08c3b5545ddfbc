"""The notebook contract: each rule is a function that yields one message for each breach."""

from __future__ import annotations

import ast
import contextlib
import re
from collections.abc import Iterator

from nbformat import NotebookNode

from vaetl_helpers import exercises

ORDER = {  # what every notebook contains, in this order of first occurrence
    "a title": r"^# \S",
    "badges": r"^\*\*Run it yourself:\*\* \[Open in Colab\]\(https://colab\.",
    "'What you will be able to do'": r"^#+ (?i:what you will be able to do)",
    "the line of measured minutes": r"^\*\*Minutes\*\*",
    "the bootstrap cell": r'^if not importlib\.util\.find_spec\("vaetl_helpers"\)',
    "the parameters cell": r'^profile: str = "auto"',
    "the setup cell": r"^P = setup\(",
    "a quiz with <details> blocks": r"<details",
    "a heading 'Take-away'": r"^##+ .*(?i:take-away)",
    "a heading 'Further reading'": r"^##+ .*(?i:further reading)",
}
KNOBS = re.compile(
    r'profile: str = "auto".*\nseed: int = 0.*(\n\w+: \w[^=]*\| None = None +# .+){0,6}'
)
HIDING = {"raises-exception", "nbval-skip", "nbval-ignore-output", "nbval-raises-exception"}
MACHINE_PATH = re.compile(r"(?<![\w.])(/(home|root|Users|tmp)/\w|[A-Z]:\\+Users)")
WIDGET = "application/vnd.jupyter.widget-view+json"
ALT = re.compile(r"""\balt=(?!""|'')[\w"'(]""")
SHORTEST = 20  # letters: fewer name a figure and do not describe it
NO_ALT = re.compile(r"""!\[\s*\]\(|<img(?![^>]*\balt=["'][^"'])""")


def lint(nb: NotebookNode, solution: bool) -> list[str]:
    """The breaches of the contract in a learner's notebook or in a solution, as messages without its name."""
    rules = (
        order,
        parameters,
        hiding,
        figures,
        image_texts,
        pairs,
        executed if solution else unexecuted,
    )
    return [message for rule in rules for message in rule(nb)]


def code_cells(nb: NotebookNode) -> Iterator[tuple[str, NotebookNode]]:
    """Each code cell, after what messages call it."""
    named = ((f"cell {i} ({cell.get('id')})", cell) for i, cell in enumerate(nb.cells))
    return (pair for pair in named if pair[1].cell_type == "code")


def statements(cell: NotebookNode) -> list[ast.stmt]:
    """The statements of a code cell, its magics taken as `pass`; none where it is not valid Python."""
    with contextlib.suppress(SyntaxError):
        return ast.parse(re.sub(r"(?m)^(\s*)[%!].*$", r"\1pass", cell.source)).body
    return []


def order(nb: NotebookNode) -> Iterator[str]:
    """The sections that every notebook has, in their order."""
    last, before = (-1, -1), "the start"
    for name, pattern in ORDER.items():
        hits = (
            (i, re.search(pattern, cell.source, re.MULTILINE)) for i, cell in enumerate(nb.cells)
        )
        place = next(((i, hit.start()) for i, hit in hits if hit), None)
        if place is None:
            yield f"{name} is missing"
        elif place < last:
            yield f"cell {place[0]}: {name} must come after {before}"
        else:
            last, before = place, name


def parameters(nb: NotebookNode) -> Iterator[str]:
    """One annotated parameters cell, and the cell after it hands every parameter to `setup`."""
    cells = [cell for _, cell in code_cells(nb)]
    found = [i for i, cell in enumerate(cells) if "parameters" in cell.metadata.get("tags", [])]
    if len(found) != 1:
        yield f"exactly one cell must carry the tag 'parameters', not {len(found)}"
        return
    source = re.sub(r"(?m)^#.*\n", "", cells[found[0]].source)
    if not KNOBS.fullmatch(source):
        yield "the parameters must be profile, seed and at most six lines 'name: type | None = None  # help'"
    knobs = [f"{name}={name}" for name in re.findall(r"(?m)^(\w+):", source)[1:]]
    call = f"P = setup({nb.metadata.get('vaetl', {}).get('chapter')!r}, {', '.join(['profile', *knobs])})"
    if call not in [
        ast.unparse(node) for cell in cells[found[0] + 1 :][:1] for node in statements(cell)
    ]:
        yield f"the code cell after the parameters must call {call}"


def hiding(nb: NotebookNode) -> Iterator[str]:
    """No tag, comment or trailing `;` that makes nbval look away."""
    for where, cell in code_cells(nb):
        comments = (line.strip("# ").lower().replace("_", "-") for line in cell.source.splitlines())
        for tag in HIDING & {*cell.metadata.get("tags", []), *comments}:
            yield f"{where}: '{tag}' hides failures; remove it"
        if re.search(r"(?m)^[^#\n]*;\s*$", cell.source):
            yield f"{where}: a line ends in ';' (end a figure with plt.show() instead)"


def figures(nb: NotebookNode) -> Iterator[str]:
    """A cell that draws, or that has drawn, ends in plt.show() and gives its figure an alternative text."""
    for where, cell in code_cells(nb):
        body = statements(cell)
        run = [
            node for top in body if not isinstance(top, ast.FunctionDef) for node in ast.walk(top)
        ]
        calls = {ast.unparse(node.func) for node in run if isinstance(node, ast.Call)}
        images = [output for output in cell.outputs if "image/png" in output.get("data", {})]
        draws = images or any(re.fullmatch(r"(plt|plots)\.(?!table)\w+", call) for call in calls)
        if draws and not (body and ast.unparse(body[-1]) == "plt.show()"):
            yield f"{where}: it draws, so it must end in plt.show()"
        texts = [image.metadata.get("image/png", {}).get("alt", "") for image in images]
        if (images or "plt.show" in calls) and not (ALT.search(cell.source) and all(texts)):
            yield f'{where}: a figure has no alternative text; give alt="..." to the function that draws it'
        source = cell.source.lower()
        if any(
            len(text) < SHORTEST or source.count(text.lower().rstrip(".")) > 1
            for text in filter(None, texts)
        ):
            yield f"{where}: an alternative text must say what the figure shows, and not in the words of its title"


def image_texts(nb: NotebookNode) -> Iterator[str]:
    """Every image in the prose has an alternative text."""
    for i, cell in enumerate(nb.cells):
        if cell.cell_type == "markdown" and NO_ALT.search(cell.source):
            yield f"cell {i} ({cell.id}): an image has no alternative text"


def pairs(nb: NotebookNode) -> Iterator[str]:
    """Every exercise is known and is followed by its check, and no check stands alone."""
    above: str | None = None
    for cell in (*nb.cells, NotebookNode(source="", metadata={})):
        mark = cell.metadata.get("vaetl", {})
        if above != mark.get("check"):
            yield f"exercise {above or mark['check']}: its cell and its check must follow each other"
        elif above and not re.fullmatch(
            rf'\w+_checked = check\("{re.escape(above)}", \w+\)', cell.source
        ):
            yield f'exercise {above}: its check must read NAME_checked = check("{above}", NAME)'
        above = mark.get("exercise")
        if above and above not in exercises.all_ids():
            yield f"exercise {above} is not one of vaetl_helpers.exercises"


def unexecuted(nb: NotebookNode) -> Iterator[str]:
    """A learner's notebook stores no outputs and no counts, and asks nbval for no comparison."""
    for where, cell in code_cells(nb):
        compared = "nbval-check-output" in cell.metadata.get("tags", [])
        if cell.outputs or cell.execution_count is not None or compared:
            yield f"{where}: a learner's cell must have no outputs, no count and no tag nbval-check-output"


def executed(nb: NotebookNode) -> Iterator[str]:
    """A solution has run from top to bottom, without errors, and nbval can compare three of its cells."""
    compared = 0
    if "widgets" in nb.metadata:
        yield "widget state is stored in the notebook's metadata"
    for where, cell in code_cells(nb):
        compared += bool(cell.outputs) and "nbval-check-output" in cell.metadata.get("tags", [])
        if cell.execution_count is None:
            yield f"{where}: it was not executed"
        for output in cell.outputs:
            data = output.get("data", {})
            if output.output_type == "error" or WIDGET in data:
                yield f"{where}: it stores {output.get('ename', 'a widget, which needs a kernel')}"
            texts = [output.get("text", ""), *(data[kind] for kind in data if "image" not in kind)]
            if MACHINE_PATH.search(f"{texts}"):
                yield f"{where}: an output shows a path of the machine that executed it"
    if compared < 3:
        yield "at least three cells with an output must carry the tag nbval-check-output"
