"""A certificate as a page that needs nothing from elsewhere, and as a PDF of the same words."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
from matplotlib import rc_context
from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.figure import Figure

from vaetl_helpers.app.certificate.statement import Statement
from vaetl_helpers.errors import CourseError
from vaetl_helpers.output import say, write_whole

COURSE = "Training, acceleration, VAEs and transfer learning"
A4 = (8.27, 11.69)  # inches
TOP, BOTTOM, LEFT, RIGHT = 0.93, 0.07, 0.11, 0.89  # of the page
CHARACTERS = 80  # of a line of text
INK, PALE = "#1a1a1a", "#5a5a5a"


def write_certificate(statement: Statement, stem: Path) -> list[Path]:
    """Writes STEM.html and STEM.pdf and returns their paths; CourseError where it cannot."""
    html, pdf = (stem.with_name(f"{stem.name}{ending}") for ending in (".html", ".pdf"))
    try:
        stem.parent.mkdir(parents=True, exist_ok=True)
        write_whole(html, as_html(statement))
        write_whole(pdf, as_pdf(statement))
    except OSError as error:
        reason = error.strerror or error
        raise CourseError(f"{stem} cannot be written ({reason}): choose another --out.") from error
    return [html, pdf]


def as_html(statement: Statement) -> str:
    """The page; whatever the name is made of is shown and never run."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    template = environment.get_template("certificate.html")
    return template.render(statement=statement, course=COURSE)


class Line(NamedTuple):
    """A line of the PDF: its text, its size in points, and how it looks."""

    text: str
    size: float = 10
    weight: str = "normal"
    colour: str = INK
    indent: float = 0
    right: str = ""  # what stands at the end of the line


def as_pdf(statement: Statement) -> bytes:
    """The same words on pages of A4, as text that can be searched and copied."""
    content = io.BytesIO()
    facts = {"Title": f"Certificate of {statement.name}", "Subject": COURSE, "CreationDate": None}
    # Text stays text, and a dollar sign begins no formula.
    style: dict[Any, Any] = {"pdf.fonttype": 42, "text.parse_math": False}
    style["font.family"] = ["DejaVu Sans"]
    with rc_context(style), warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        with PdfPages(content, metadata=facts) as pages:
            for figure in _pages(list(_lines(statement))):
                pages.savefig(figure)
    if any("missing from font" in str(warning.message) for warning in said):
        say("The PDF's font lacks letters of this name; the page (.html) shows all of them.")
    return content.getvalue()


def _pages(lines: list[Line]) -> Iterator[Figure]:
    """Puts lines below each other, and begins a page where one is full."""
    figure, y = Figure(figsize=A4), TOP
    for line in lines:
        height = 1.55 * line.size / 72 / A4[1]
        if y - height < BOTTOM:
            yield figure
            figure, y = Figure(figsize=A4), TOP
        y -= height
        look: dict[str, Any] = {
            "fontsize": line.size,
            "fontweight": line.weight,
            "color": line.colour,
        }
        figure.text(LEFT + line.indent, y, line.text, **look)
        if line.right:
            figure.text(RIGHT, y, line.right, ha="right", **look)
    yield figure


def _lines(statement: Statement) -> Iterator[Line]:
    """The certificate's words from top to bottom, as the page has them."""
    yield Line(COURSE, 11, colour=PALE)
    yield Line("Certificate", 26, "bold")
    yield Line("")
    for text in _wrapped(statement.name, 40):
        yield Line(text, 18)
    solved = f"has solved {statement.solved} of {statement.count} exercises"
    yield Line(f"{solved}, {statement.period}." if statement.period else f"{solved}.", 12)
    yield Line("")
    for text in _wrapped(statement.basis, CHARACTERS):
        yield Line(text)
    yield Line("")
    for part in statement.parts:
        if part.solved:
            count = f"{len(part.solved)} of {part.count}"
            title = f"{part.number}  {part.title}: {count}"
            yield Line(title, 10.5, "bold", right=statement.day_of_each)
            for one in part.solved:
                yield Line(one.exercise, 9, indent=0.03, right=one.day or "day not known")
    if statement.bets:
        yield Line("")
        yield Line("Bets that were kept", 10.5, "bold")
        for bet in statement.bets:
            for text in _wrapped(bet, CHARACTERS):
                yield Line(text, 9, indent=0.03)
    yield Line("")
    used = ", ".join(f"{name} {version}" for name, version in statement.versions.items())
    for text in _wrapped(f"Written on {statement.day} with {used}.", CHARACTERS):
        yield Line(text, 9, colour=PALE)


def _wrapped(text: str, width: int) -> Iterator[str]:
    """The text in lines of at most `width` letters, cut within a word only where it is longer."""
    line = ""
    for word in text.split():
        while len(word) > width:
            if line:
                yield line
            line, word = "", word
            yield word[:width]
            word = word[width:]
        longer = f"{line} {word}".strip()
        if len(longer) > width:
            yield line
            longer = word
        line = longer
    if line:
        yield line
