"""The index page: what the course is, and for each chapter a sentence, a picture and a verdict."""

from __future__ import annotations

import base64
import html
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from typing import NamedTuple

import matplotlib.pyplot as plt

from vaetl_helpers import plots
from vaetl_helpers.alt_texts import full_text
from vaetl_helpers.authoring.living_pages import figure_html
from vaetl_helpers.authoring.notebook_page import VERDICTS, Page
from vaetl_helpers.authoring.pictures import DARK, dark_twin, data_url, decoded, thumbnail
from vaetl_helpers.authoring.text_pages import SHEET
from vaetl_helpers.claims import CONTRACT, Comparison, Row, comparisons, ledger
from vaetl_helpers.living.latent_plane import plane_data, static_figure

MINUTES = {"reading": "minutes to read", "exercises": "for exercises", "cpu": "to run on a laptop"}
LEDE = """<p class="lede">Two articles claim that training needs enormous computing power, that
accelerators are essential, that a network which tells dogs from cats learns to tell dogs from foxes
with little work, and that variational autoencoders make such reuse better. They give no evidence.
<strong>This course tests each claim with real data, repeated runs and intervals, and keeps the
cases in which it fails.</strong></p>"""
ABOUT = """<p>These pages show every chapter after it was run, and need no network. Each exercise
was solved before the run; its solution is folded: try first. To write and run the code yourself,
{hosted}install the course as its README says and start JupyterLab on it:
<code>.venv/bin/vaetl lab</code>.</p>"""
# Said only where the pages have these links: without a public address there are none.
HOSTED = "open a chapter on Colab, Kaggle or Binder by the links below its title, or "
# Which of a chapter's figures stands for it: words of its alternative text. The first by default.
COVERS = {
    "01": "Two rows of ten small grey pictures",
    "01c": "Four panels on logarithmic axes",
    "02": "Attained FLOPs per second",
    "03": "Two planes with the codes",
    "03b": "falling convex curve",
    "04": "One line begins high",
    "04a": "from few labels to many",
    "04b": "test accuracy of each method",
    "04c": "Two rows of the same four test scenes",
    "04d": "A row of ten pictures for each class",
    "04e": "one, two and three blocks",
    "04f": "accuracy on the old task drifts",
    "05": "A panel for each pair of source and target",
    "05a": "Left: a mark with an interval",
    "05b": "Two panels over β",
    "05c": "Six rows",
}
COVER_SIZE = 304, 176  # pixels of the page


class Table(NamedTuple):
    """A table of the index page; the name of a notebook becomes a link to its page."""

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


class Opening(NamedTuple):
    """What moves at the top of the index page: HTML, and the modules of its living figures."""

    figure: str = ""
    modules: Sequence[str] = ()


@cache
def opening() -> Opening:
    """The latent plane, which readers see and move before they have read anything."""
    drawn = static_figure(full_text("00/plane"))
    png, metadata = plots.picture(drawn)
    plt.close(drawn)
    data = plane_data(draw=False)
    content = base64.b64encode(png).decode()
    return Opening(figure_html("latent_plane", data, metadata, content), ("latent_plane",))


def index_body(
    pages: Sequence[Page],
    title: str,
    tables: Sequence[Table],
    first: Opening | None = None,
    texts: Sequence[Page] = (),
) -> str:
    """The tables, which link to the pages; without tables, what the course is, and its chapters.

    `texts` are the pages beside the chapters.
    """
    heading = f"<h1>{html.escape(title)}</h1>\n"
    if tables:
        titles = {page.name: page.title for page in pages}
        return heading + "".join(_table(table, titles) for table in tables)
    figure = first.figure if first else ""
    return f"{heading}{LEDE}\n{figure}\n{_about(pages)}\n{_chapters(pages)}\n{_beside(texts)}"


def _beside(texts: Sequence[Page]) -> str:
    """Links to the pages beside the chapters: sheets in a line, the others in a list."""
    sheets = [page for page in texts if page.name.startswith(SHEET)]
    others = [page for page in texts if not page.name.startswith(SHEET)]
    content = ""
    for page in others:
        content += f'<li><a href="{page.file}">{html.escape(page.title)}</a></li>'
    if others:
        content = f'<ul class="texts">{content}</ul>'
    if sheets:
        numbers = [page.name.removeprefix(SHEET).lstrip("0") for page in sheets]
        links = " ".join(
            f'<a href="{page.file}">{number}</a>'
            for page, number in zip(sheets, numbers, strict=True)
        )
        content += f'<p class="sheets">Cheat sheets, one page per chapter: {links}</p>'
    return f'<h2 id="Beside">Beside the chapters</h2>\n{content}' if content else ""


def _table(table: Table, titles: Mapping[str, str]) -> str:
    """A table in HTML; the name of a notebook becomes its title, with a link to its page."""
    head = "".join(f'<th scope="col">{html.escape(cell)}</th>' for cell in table.header)
    rows = ""
    for row in table.rows:
        cells = "".join(f"<td>{_linked(text, titles)}</td>" for text in row)
        rows += f"<tr>{cells}</tr>\n"
    content = f"<caption>{html.escape(table.caption)}</caption><tr>{head}</tr>\n{rows}"
    box = f'class="scroll" role="group" aria-label="{html.escape(table.caption)}" tabindex="0"'
    return f"<div {box}><table>{content}</table></div>\n"


def _linked(text: str, titles: Mapping[str, str]) -> str:
    if text in titles:
        return f'<a href="{text}.html">{html.escape(titles[text])}</a>'
    return html.escape(text)


def _about(pages: Sequence[Page]) -> str:
    """How to use the pages, where to begin, and how long it takes."""
    hosted = HOSTED if any('class="open"' in page.head for page in pages) else ""
    beginning = ""
    if pages:
        first = pages[0]
        beginning = f'Begin with <a href="{first.file}">{html.escape(first.title)}</a>. '
    minutes = 0
    for page in pages:
        facts = page.facts.get("minutes", {})
        minutes += facts.get("reading", 0) + facts.get("exercises", 0)
    rest = f"A page is one sitting, and all of them take about {round(minutes / 60)} hours."
    return f"{ABOUT.format(hosted=hosted)}\n<p>{beginning}{rest}</p>"


def _answered_in(question: Comparison | Row) -> str:
    """The number of the chapter that answers a question of the ledger."""
    claim = CONTRACT["claims"][question.claim]
    return str(claim.get("chapter", question.id.partition("/")[0]))


def _chapters(pages: Sequence[Page]) -> str:
    """A card for each chapter."""
    rows = ledger()
    asked = {_answered_in(comparison) for comparison in comparisons() if comparison.primary}
    cards = ""
    for page in pages:
        chapter = str(page.facts.get("chapter", ""))
        verdict = ""
        if chapter in asked:
            verdict = verdict_line([row for row in rows if _answered_in(row) == chapter])
        cards += f"<li>{_card(page, verdict)}</li>\n"
    return f'<h2 id="Chapters">Chapters</h2>\n<ul class="cards">{cards}</ul>'


def _card(page: Page, verdict: str) -> str:
    """A chapter: its picture, its title, what one learns, how long it takes, and the verdict."""
    number = f'<span class="number">{page.number}</span> ' if page.number else ""
    text = f'<h3><a href="{page.file}">{number}{html.escape(page.title)}</a></h3>'
    if page.aim:
        text += f"<p>{page.aim}</p>"
    minutes = page.facts.get("minutes", {})
    words = [f"{minutes[kind]} {label}" for kind, label in MINUTES.items() if minutes.get(kind)]
    if words:
        text += f'<p class="faint">{", ".join(words)}</p>'
    return f"{_cover(page)}<div>{text}{verdict}</div>"


def _cover(page: Page) -> str:
    """One of the chapter's own figures, small; the title beside it says what it is about."""
    if not page.figures:
        return ""
    words = COVERS.get(str(page.facts.get("chapter", "")), "")
    chosen = next(
        (figure for figure in page.figures if words in figure[1].get("alt", "")), page.figures[0]
    )
    png, metadata = chosen
    image = decoded(png)
    dark = thumbnail(dark_twin(image, metadata.get("photographs", ())), *COVER_SIZE)
    source = f'<source media="{DARK}" srcset="{data_url(dark, lossless=False)}">'
    small = data_url(thumbnail(image, *COVER_SIZE), lossless=False)
    alt = html.escape(metadata.get("alt", ""))
    return f'<picture class="cover">{source}<img src="{small}" alt="{alt}"></picture>'


def verdict_line(rows: Sequence[Row]) -> str:
    """The verdicts of a chapter's primary comparisons, counted, as HTML."""
    primary = [row for row in rows if row.primary]
    if not primary:
        return '<p class="verdicts">Verdict: not measured yet</p>'
    counts = Counter(row.verdict for row in primary)
    parts = []
    for verdict in VERDICTS:
        if counts[verdict]:
            number = f"{verdict} in {counts[verdict]}"
            parts.append(f'<span data-verdict="{verdict}">{number}</span>')
    claims = len({row.claim for row in primary})
    about = "Verdict" if claims == 1 else f"Verdicts on {claims} claims"
    comparisons = "1 comparison" if len(primary) == 1 else f"{len(primary)} comparisons"
    return f'<p class="verdicts">{about}: {", ".join(parts)} of {comparisons}</p>'
