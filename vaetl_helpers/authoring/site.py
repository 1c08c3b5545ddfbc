"""Executed notebooks as pages that need no network: no scripts, fonts or images from elsewhere."""

from __future__ import annotations

import copy
import html
import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import nbformat
from bs4 import BeautifulSoup, Tag
from jinja2 import pass_context
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from pygments.formatters import HtmlFormatter

from vaetl_helpers.authoring.address import PLACEHOLDER
from vaetl_helpers.authoring.formulas import mathml
from vaetl_helpers.errors import CourseError
from vaetl_helpers.output import write_whole

RAW_MATH = re.compile(r"\$\$(.+?)\$\$|\$([^$]+?)\$", re.DOTALL)
RAW_CODE = re.compile(r"(<(?:code|pre)\b.*?</(?:code|pre)>|<[^>]+>)", re.DOTALL)
SOLVED = re.compile(
    r"^( *)### BEGIN SOLUTION\n(.*?\n) *### END SOLUTION$", re.MULTILINE | re.DOTALL
)
FOLDED = {
    "solution": "A solution",
    "bootstrap": "A cell that fetches the course's helpers where they are missing",
}
MINUTES = {"reading": "minutes to read", "exercises": "for exercises", "cpu": "to run on a laptop"}
WIDE = 24  # letters; a formula in a line that has more may be wider than a phone
GENERATOR = '<meta name="generator" content="vaetl">'
# The browser itself refuses whatever the sweep below might have missed.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; form-action 'none'"
HEAD = f"""<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
{GENERATOR}
<link rel="icon" href="data:,">"""
ABOUT = """<p>Two articles claim that training needs enormous computing power, that accelerators
are essential, that a network which tells dogs from cats learns to tell dogs from foxes with little
work, and that variational autoencoders make such reuse better. They give no evidence. <strong>This
course tests each claim with real data, repeated runs and intervals, and keeps the cases in which it
fails.</strong></p>
<p>These pages show every chapter after it was run, and need no network. Each exercise was solved
before the run; its solution is folded: try first. To write and run the code yourself, follow “Open
in Colab” below a chapter's title, or install the course as its README says and start JupyterLab on
it: <code>.venv/bin/vaetl lab</code>.</p>"""
NOWHERE = """<p>The course has no public address yet: until it has one, the links to Colab, Kaggle
and Binder lead nowhere.</p>"""


class Table(NamedTuple):
    """A table of the index page; the name of a notebook becomes a link to its page."""

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


class Page(NamedTuple):
    """One notebook's page: file name without suffix, title, HTML, and what it is about.

    Its sections are (id, text).
    """

    name: str
    title: str
    head: str
    body: str
    sections: list[tuple[str, str]]
    aim: str
    facts: Mapping[str, Any]


class _Renderer(IPythonRenderer):
    """nbconvert's Markdown, with formulas converted where it leaves them to a script."""

    def block_math(self, body: str) -> str:
        return f'<div class="formula" tabindex="0">{mathml(body, "block")}</div>'

    def inline_math(self, body: str) -> str:
        formula = mathml(body)
        if len(re.sub(r"<[^>]+>|\s", "", formula)) <= WIDE:
            return formula
        return f'<span class="formula" tabindex="0">{formula}</span>'

    def latex_environment(self, name: str, body: str) -> str:
        return self.block_math(rf"\begin{{{name}}}{body}\end{{{name}}}")

    def block_html(self, html: str) -> str:
        pieces = RAW_CODE.split(html)
        for place in range(0, len(pieces), 2):  # the pieces between are tags and code
            pieces[place] = RAW_MATH.sub(self._raw_math, pieces[place])
        return "".join(pieces)

    def _raw_math(self, formula: re.Match[str]) -> str:
        block, inline = formula.groups()
        if block:
            return self.block_math(html.unescape(block))
        return self.inline_math(html.unescape(inline))


class _Exporter(HTMLExporter):
    """nbconvert's `basic` template (a fragment without scripts) with the Markdown above."""

    @pass_context
    def markdown2html(self, context: Any, source: str) -> str:
        attachments = context.get("cell", {}).get("attachments", {})
        renderer = _Renderer(escape=False, attachments=attachments, exclude_anchor_links=True)
        return MarkdownWithMath(renderer=renderer).render(source)


def read_page(path: Path, names: set[str]) -> Page:
    """Converts one notebook; links to the notebooks in `names` become links to their pages."""
    notebook = nbformat.read(path, as_version=4)
    soup = BeautifulSoup(_fragment(notebook), "html.parser")
    _sweep(soup, names)
    sections = _sections(soup)
    facts = notebook.metadata.get("vaetl", {})
    heading = soup.h1
    title = facts.get("title") or (heading.get_text() if heading else path.stem)
    aim = soup.select_one("#What-you-will-be-able-to-do ~ ul > li")
    sentence = ""
    if aim:
        sentence = f"You learn to {aim.decode_contents().strip().rstrip(';.')}."
    cell = heading.find_parent(class_="cell") if heading else None
    head = str(cell.extract()) if cell else ""
    return Page(path.stem, title, head, str(soup), sections, sentence, facts)


def _fragment(notebook: Any) -> str:
    """The notebook's cells as HTML, without what needs a script."""
    notebook.metadata.pop("widgets", None)
    notebook.cells = [page_cell for cell in notebook.cells for page_cell in _tried_first(cell)]
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [_plain(output) for output in cell.outputs if not _needs_script(output)]
    quiet = logging.getLogger("vaetl.site")
    quiet.setLevel(logging.ERROR)
    body, _ = _Exporter(template_name="basic", log=quiet).from_notebook_node(notebook)
    return body


def _tried_first(cell: Any) -> list[Any]:
    """A solved exercise as two cells: the stub that a learner gets, and the solution, folded."""
    if cell.cell_type != "code" or not SOLVED.search(cell.source):
        return [cell]
    stub = copy.deepcopy(cell)
    stub.id, stub.outputs = f"{cell.id}-stub", []
    stub.source = SOLVED.sub(r"\1return ...  # your code", cell.source)
    cell.source = SOLVED.sub(r"\2", cell.source)
    cell.metadata.tags = [*cell.metadata.get("tags", []), "solution"]
    return [stub, cell]


def _needs_script(output: Any) -> bool:
    return any("widget-view" in mime or "javascript" in mime for mime in output.get("data", {}))


def _plain(output: Any) -> Any:
    """An output whose LaTeX, if it has any, is HTML."""
    data = output.get("data", {})
    if "text/latex" in data and "text/html" not in data:
        data["text/html"] = RAW_MATH.sub(_as_block, data["text/latex"])
    return output


def _as_block(formula: re.Match[str]) -> str:
    return mathml(formula[1] or formula[2], "block")


def _sweep(soup: BeautifulSoup, names: set[str]) -> None:
    """Takes out whatever would be fetched, and makes the rest work on any screen.

    Solutions are folded, links mended, and wide tables and figures scroll.
    """
    for tag in soup(["script", "link", "meta", "form", "iframe", "object", "embed", "base"]):
        tag.decompose()
    for image in soup.select("img:not([src^='data:'])"):
        image.replace_with(str(image.get("alt", "")))
    badge = soup.select_one("p > a[href^='https://colab.research.google.com/github/']")
    if badge and badge.parent:
        badge.parent["class"] = "open"
    for table in soup("table"):
        _mend_table(table)
        _let_scroll(soup, table, "scroll", "Table")
    for image in soup.select(".output_png img"):
        _let_scroll(soup, image, "scroll figure", "Figure")
    for tag_name, summary in FOLDED.items():
        for cell in soup.select(f".celltag_{tag_name}"):
            fold = cell.wrap(soup.new_tag("details"))
            fold.insert(0, BeautifulSoup(f"<summary>{summary}</summary>", "html.parser"))
    for link in soup("a", href=True):
        _mend_link(link, names)


def _let_scroll(soup: BeautifulSoup, tag: Tag, style: str, label: str) -> None:
    """Puts the tag into a box that scrolls, and can be reached by keyboard."""
    attributes = {"class": style, "role": "group", "aria-label": label, "tabindex": "0"}
    tag.wrap(soup.new_tag("div", attrs=attributes))


def _mend_table(table: Tag) -> None:
    """Says what each header belongs to.

    Without column headers, the first cell of each row is a header.
    """
    heads = table.select("thead th")
    for cell in heads:
        cell["scope"] = "col"
        if not cell.get_text(strip=True):
            cell.name = "td"
            del cell["scope"]
    is_empty = all(cell.name == "td" for cell in heads)
    if heads and table.thead and is_empty:
        table.thead.decompose()
        for cell in table.select("tr > td:first-child"):
            cell.name = "th"
            cell["scope"] = "row"


def _mend_link(link: Tag, names: set[str]) -> None:
    """Points a link to a notebook at its page; one to another file of the course keeps its text."""
    href = str(link["href"])
    if re.match(r"https?:|mailto:|#", href):
        return
    file, _, fragment = href.partition("#")
    page = Path(file)
    if page.suffix != ".ipynb" or page.stem not in names:
        link.unwrap()
        return
    address = f"{page.stem}.html"
    if fragment:
        address += f"#{fragment}"
    link["href"] = address


def _sections(soup: BeautifulSoup) -> list[tuple[str, str]]:
    """Gives each heading the id that JupyterLab would, and lists those of the second level."""
    seen: set[str] = set()
    sections = []
    for heading in soup(["h1", "h2", "h3", "h4"]):
        name = re.sub(r"\s+", "-", heading.get_text().strip())
        while name in seen:
            name += "-"
        seen.add(name)
        heading["id"] = name
        if heading.name == "h2":
            sections.append((name, heading.get_text().strip()))
    return sections


def styles() -> str:
    """The style sheet and the colours of code, light and dark, as an HTML element.

    Any page of this package may use it.
    """
    light = HtmlFormatter(style="xcode").get_style_defs(".highlight")
    dark = HtmlFormatter(style="github-dark").get_style_defs(".highlight")
    sheet = Path(__file__).with_name("site.css").read_text("utf-8")
    in_the_dark = f"@media screen and (prefers-color-scheme: dark) {{\n{dark}\n}}"
    return f"<style>\n{light}\n{in_the_dark}\n{sheet}</style>"


def _link(name: str, text: str, attributes: str = "") -> str:
    return f'<a href="{html.escape(name)}"{attributes}>{html.escape(text)}</a>'


def document(title: str, navigation: str, contents: str, body: str) -> str:
    """A whole page of HTML fragments (the title is text) that asks for nothing from elsewhere."""
    lines = [
        "<!doctype html>",
        '<html lang="en">',
        f"<head>\n{HEAD}\n<title>{html.escape(title)}</title>\n{styles()}\n</head>",
        "<body>",
        '<a class="skip" href="#main">Skip to the text</a>',
        _navigation("Chapters", navigation),
        contents,
        f'<main id="main" tabindex="-1">\n{body}\n</main>',
        _navigation("Chapters, again", navigation),
        "</body>",
        "</html>\n",
    ]
    return "\n".join(lines)


def _navigation(label: str, links: str) -> str:
    if not links:
        return ""
    return f'<nav class="course" aria-label="{label}">{links}</nav>'


def _page(page: Page, previous: Page | None, following: Page | None, title: str) -> str:
    links = [_link("index.html", title)]
    if previous:
        links.append(_link(f"{previous.name}.html", f"← {previous.title}", ' rel="prev"'))
    if following:
        links.append(_link(f"{following.name}.html", f"{following.title} →", ' rel="next"'))
    body = page.head + _contents(page.sections) + page.body
    return document(f"{page.title} – {title}", " ".join(links), "", body)


def _contents(sections: Sequence[tuple[str, str]]) -> str:
    """The folded list of a page's sections."""
    items = "".join(f"<li>{_link('#' + name, text)}</li>" for name, text in sections)
    if not items:
        return ""
    fold = f"<details><summary>On this page</summary><ul>{items}</ul></details>"
    return f'<nav class="toc" aria-label="On this page">{fold}</nav>'


def _index(pages: list[Page], title: str, tables: Sequence[Table]) -> str:
    """The tables, which link to the pages; without tables, what the course is, and its chapters."""
    titles = {page.name: page.title for page in pages}
    body = f"<h1>{html.escape(title)}</h1>\n"
    if not tables:
        body += _chapters(pages)
    for table in tables:
        body += _table(table, titles)
    return document(title, "", "", body)


def _table(table: Table, titles: Mapping[str, str]) -> str:
    """A table in HTML; the name of a notebook becomes its title, with a link to its page."""
    head = "".join(f'<th scope="col">{html.escape(cell)}</th>' for cell in table.header)
    rows = ""
    for row in table.rows:
        cells = "".join(f"<td>{_linked(text, titles)}</td>" for text in row)
        rows += f"<tr>{cells}</tr>\n"
    content = f"<caption>{html.escape(table.caption)}</caption><tr>{head}</tr>\n{rows}"
    return f'<div class="scroll" tabindex="0"><table>{content}</table></div>\n'


def _linked(text: str, titles: Mapping[str, str]) -> str:
    if text in titles:
        return _link(f"{text}.html", titles[text])
    return html.escape(text)


def _chapters(pages: list[Page]) -> str:
    """What the course is, where to begin, and for each chapter what one learns and how long."""
    items = "".join(f"<li>{_chapter(page)}</li>\n" for page in pages)
    minutes = 0
    for page in pages:
        facts = page.facts.get("minutes", {})
        minutes += facts.get("reading", 0) + facts.get("exercises", 0)
    beginning = ""
    if pages:
        beginning = f"Begin with {_link(pages[0].name + '.html', pages[0].title)}. "
    rest = (
        "A chapter whose number has a letter goes deeper and can wait. "
        f"All of it takes about {round(minutes / 60)} hours."
    )
    introduction = ABOUT
    if any(f"/github/{PLACEHOLDER}/" in page.head for page in pages):
        introduction += NOWHERE
    return (
        f'{introduction}\n<p>{beginning}{rest}</p>\n<h2>Chapters</h2><ul class="list">{items}</ul>'
    )


def _chapter(page: Page) -> str:
    """A chapter in the list: title, what one learns, minutes."""
    number = str(page.facts.get("chapter", "")).lstrip("0")
    name = f"{number} {page.title}".strip()
    text = f"<h3>{_link(page.name + '.html', name)}</h3>"
    if page.aim:
        text += f"<p>{page.aim}</p>"
    minutes = page.facts.get("minutes", {})
    words = [f"{minutes[kind]} {label}" for kind, label in MINUTES.items() if minutes.get(kind)]
    if words:
        text += f'<p class="faint">{", ".join(words)}</p>'
    return text


def write_site(notebooks: list[Path], out: Path, title: str, tables: Sequence[Table] = ()) -> Path:
    """Writes one page a notebook and an index page into `out`; returns the path of the index.

    Raises CourseError for a formula that cannot be converted, for a folder with somebody's own
    index.html, and where nothing can be written.
    """
    index = out / "index.html"
    if index.exists() and GENERATOR not in index.read_text("utf-8", errors="replace"):
        raise CourseError(
            f"{index} is no page of this course and would be lost: choose another folder."
        )
    pages = [read_page(path, {path.stem for path in notebooks}) for path in notebooks]
    texts = {}
    around = [None, *pages, None]
    for place, page in enumerate(pages):
        texts[f"{page.name}.html"] = _page(page, around[place], around[place + 2], title)
    texts[index.name] = _index(pages, title, tables)
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            write_whole(out / name, text)
    except OSError as error:
        reason = error.strerror or error
        raise CourseError(
            f"{out} cannot be written ({reason}): choose another folder with --out."
        ) from error
    return index
