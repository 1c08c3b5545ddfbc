"""The notebook contract: each rule is a function that yields one message for each breach."""

from __future__ import annotations

import ast
import contextlib
import re
from collections.abc import Iterator

from nbformat import NotebookNode

from vaetl_helpers import exercises
from vaetl_helpers.syntax import parsed

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
OPTIONAL = {"badges"}  # there are none while the repository has no address
KNOBS = re.compile(
    r'profile: str = "auto".*\nseed: int = 0.*(\n\w+: \w[^=]*\| None = None +# .+){0,6}'
)
HIDING = {"raises-exception", "nbval-skip", "nbval-ignore-output", "nbval-raises-exception"}
MACHINE_PATH = re.compile(r"(?<![\w.])(/(home|root|Users|tmp)/\w|[A-Z]:\\+Users)")
WIDGET = "application/vnd.jupyter.widget-view+json"
ALT = re.compile(r"""\balt=(?!""|'')[\w"'(]""")
SHORTEST = 20  # letters: fewer name a figure and do not describe it
NO_ALT = re.compile(r"""!\[\s*\]\(|<img(?![^>]*\balt=["'][^"'])""")


def lint(notebook: NotebookNode, solution: bool) -> list[str]:
    """The breaches of the contract in a learner's notebook or in a solution, without its name."""
    rules = (order, parameters, hiding, figures, image_texts, pairs)
    last = executed if solution else unexecuted
    messages: list[str] = []
    for rule in (*rules, last):
        messages += rule(notebook)
    return messages


def code_cells(notebook: NotebookNode) -> Iterator[tuple[str, NotebookNode]]:
    """Each code cell, after what messages call it."""
    for i, cell in enumerate(notebook.cells):
        if cell.cell_type == "code":
            yield f"cell {i} ({cell.get('id')})", cell


def statements(cell: NotebookNode) -> list[ast.stmt]:
    """The statements of a code cell, its magics taken as `pass`; none where it is no Python."""
    with contextlib.suppress(SyntaxError):
        return parsed(re.sub(r"(?m)^(\s*)[%!].*$", r"\1pass", cell.source)).body
    return []


def tags_of(cell: NotebookNode) -> list[str]:
    """The tags of a cell."""
    return list(cell.metadata.get("tags", []))


def order(notebook: NotebookNode) -> Iterator[str]:
    """The sections that every notebook has, in their order."""
    last_place, last_name = (-1, -1), "the start"
    for name, pattern in ORDER.items():
        place = _first_place(notebook, pattern)
        if place is None:
            if name not in OPTIONAL:
                yield f"{name} is missing"
        elif place < last_place:
            yield f"cell {place[0]}: {name} must come after {last_name}"
        else:
            last_place, last_name = place, name


def _first_place(notebook: NotebookNode, pattern: str) -> tuple[int, int] | None:
    """The cell and the letter at which the pattern first occurs."""
    for i, cell in enumerate(notebook.cells):
        match = re.search(pattern, cell.source, re.MULTILINE)
        if match:
            return i, match.start()
    return None


def parameters(notebook: NotebookNode) -> Iterator[str]:
    """One annotated parameters cell; the cell after it hands every parameter to `setup`."""
    cells = [cell for _, cell in code_cells(notebook)]
    tagged = [i for i, cell in enumerate(cells) if "parameters" in tags_of(cell)]
    if len(tagged) != 1:
        yield f"exactly one cell must carry the tag 'parameters', not {len(tagged)}"
        return
    place = tagged[0]
    source = re.sub(r"(?m)^#.*\n", "", cells[place].source)
    if not KNOBS.fullmatch(source):
        yield (
            "the parameters must be profile, seed and at most six lines "
            "'name: type | None = None  # help'"
        )
    names = re.findall(r"(?m)^(\w+):", source)[1:]
    arguments = ", ".join(["profile", *(f"{name}={name}" for name in names)])
    chapter = notebook.metadata.get("vaetl", {}).get("chapter")
    call = f"P = setup({chapter!r}, {arguments})"
    following = cells[place + 1 : place + 2]
    lines = [ast.unparse(node) for cell in following for node in statements(cell)]
    if call not in lines:
        yield f"the code cell after the parameters must call {call}"


def hiding(notebook: NotebookNode) -> Iterator[str]:
    """No tag, comment or trailing `;` that makes nbval look away."""
    for where, cell in code_cells(notebook):
        lines = cell.source.splitlines()
        comments = [line.strip("# ").lower().replace("_", "-") for line in lines]
        for tag in HIDING.intersection([*tags_of(cell), *comments]):
            yield f"{where}: '{tag}' hides failures; remove it"
        without_docstrings = re.sub(r'(?s)""".*?"""', '""', cell.source)
        if re.search(r"(?m)^[^#\n]*;\s*$", without_docstrings):
            yield f"{where}: a line ends in ';' (end a figure with plt.show() instead)"


def figures(notebook: NotebookNode) -> Iterator[str]:
    """A cell that draws, or has drawn, ends in plt.show() and gives its figure a text."""
    for where, cell in code_cells(notebook):
        body = statements(cell)
        calls = _calls(body)
        images = [output for output in cell.outputs if "image/png" in output.get("data", {})]
        texts = [image.metadata.get("image/png", {}).get("alt", "") for image in images]
        draws = any(re.fullmatch(r"(plt|plots)\.(?!table)\w+", call) for call in calls)
        shows = bool(body) and ast.unparse(body[-1]) == "plt.show()"
        if (images or draws) and not shows:
            yield f"{where}: it draws, so it must end in plt.show()"
        described = ALT.search(cell.source) and all(texts)
        if (images or "plt.show" in calls) and not described:
            yield (
                f"{where}: a figure has no alternative text; "
                'give alt="03/name" to the function that draws it, and the text to alt_texts.yaml'
            )
        if any(_says_nothing(text, cell.source) for text in texts if text):
            yield (
                f"{where}: an alternative text must say what the figure shows, "
                "and not in the words of its title"
            )


def _calls(body: list[ast.stmt]) -> set[str]:
    """What the statements call when they are run, function definitions left out."""
    calls = set()
    for statement in body:
        if isinstance(statement, ast.FunctionDef):
            continue
        for node in ast.walk(statement):
            if isinstance(node, ast.Call):
                calls.add(ast.unparse(node.func))
    return calls


def _says_nothing(text: str, source: str) -> bool:
    """Whether an alternative text is too short, or said again elsewhere in its cell."""
    repeated = source.lower().count(text.lower().rstrip(".")) > 1
    return len(text) < SHORTEST or repeated


def image_texts(notebook: NotebookNode) -> Iterator[str]:
    """Every image in the prose has an alternative text."""
    for i, cell in enumerate(notebook.cells):
        if cell.cell_type == "markdown" and NO_ALT.search(cell.source):
            yield f"cell {i} ({cell.id}): an image has no alternative text"


def pairs(nb: NotebookNode) -> Iterator[str]:
    """Every exercise is known and is followed by its check, and no check stands alone."""
    above: str | None = None
    for cell in (*nb.cells, NotebookNode(source="", metadata={})):
        mark = cell.metadata.get("vaetl", {})
        if above != mark.get("check"):
            name = above or mark["check"]
            yield f"exercise {name}: its cell and its check must follow each other"
        elif above and not re.fullmatch(
            rf'\w+_checked = check\("{re.escape(above)}", \w+\)', cell.source
        ):
            yield f'exercise {above}: its check must read NAME_checked = check("{above}", NAME)'
        above = mark.get("exercise")
        if above and above not in exercises.all_ids():
            yield f"exercise {above} is not one of vaetl_helpers.exercises"


def unexecuted(notebook: NotebookNode) -> Iterator[str]:
    """A learner's notebook stores no outputs and no counts, and asks nbval for no comparison."""
    for where, cell in code_cells(notebook):
        compared = "nbval-check-output" in tags_of(cell)
        if cell.outputs or cell.execution_count is not None or compared:
            yield (
                f"{where}: a learner's cell must have no outputs, no count "
                "and no tag nbval-check-output"
            )


def executed(notebook: NotebookNode) -> Iterator[str]:
    """A solution has run without errors, and nbval can compare three of its cells."""
    compared = 0
    if "widgets" in notebook.metadata:
        yield "widget state is stored in the notebook's metadata"
    for where, cell in code_cells(notebook):
        if cell.outputs and "nbval-check-output" in tags_of(cell):
            compared += 1
        if cell.execution_count is None:
            yield f"{where}: it was not executed"
        for output in cell.outputs:
            for breach in _output_breaches(output):
                yield f"{where}: {breach}"
    if compared < 3:
        yield "at least three cells with an output must carry the tag nbval-check-output"


def _output_breaches(output: NotebookNode) -> Iterator[str]:
    data = output.get("data", {})
    if output.output_type == "error":
        yield f"it stores {output.ename}"
    elif WIDGET in data:
        yield "it stores a widget, which needs a kernel"
    texts = [content for kind, content in data.items() if "image" not in kind]
    if MACHINE_PATH.search(f"{output.get('text', '')} {texts}"):
        yield "an output shows a path of the machine that executed it"
