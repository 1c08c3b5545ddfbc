"""One executed notebook as the HTML of a page, from which nothing is asked of elsewhere."""

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

from vaetl_helpers.authoring.diagram_pages import show_diagrams
from vaetl_helpers.authoring.display_cells import display_cells
from vaetl_helpers.authoring.formulas import mathml
from vaetl_helpers.authoring.glossary import Term, is_glossary, link_terms, mark_entries
from vaetl_helpers.authoring.living_pages import living_output
from vaetl_helpers.authoring.pictures import picture_html
from vaetl_helpers.authoring.search_index import Section, sections_of

RAW_MATH = re.compile(r"\$\$(.+?)\$\$|\$([^$]+?)\$", re.DOTALL)
RAW_CODE = re.compile(r"(<(?:code|pre)\b.*?</(?:code|pre)>|<[^>]+>)", re.DOTALL)
SOLVED = re.compile(
    r"^( *)### BEGIN SOLUTION\n(.*?\n) *### END SOLUTION$", re.MULTILINE | re.DOTALL
)
FOLDED = {
    "solution": "A solution",
    "bootstrap": "A cell that fetches the course's helpers where they are missing",
}
DISPLAY = "display"  # the tag of cells that only show something
# What `check` says to somebody who wrote the function: readers of a page did not.
LATER_CELLS = re.compile(r"(?m)^ *Later cells use your function\.\n?")
LIVING_PLACE = "living-place"  # where a living figure goes once the page is swept
WIDE = 24  # letters; a formula in a line that has more may be wider than a phone
VERDICTS = ("supported", "contradicted", "no gain", "undecided", "not decided", "in this run")


class Page(NamedTuple):
    """One notebook's page: file name without suffix, title, HTML, and what it is about.

    `headings` are (level, id, text) of the second and third level, `sections` what a search finds,
    `figures` the notebook's pictures, each (PNG in base64, metadata); `modules` are those of its
    living figures.
    """

    name: str
    title: str
    head: str
    body: str
    headings: list[tuple[int, str, str]]
    sections: list[Section]
    aim: str
    figures: list[tuple[str, Mapping[str, Any]]]
    facts: Mapping[str, Any]
    modules: Sequence[str] = ()

    @property
    def file(self) -> str:
        """The name of the page's file."""
        return f"{self.name}.html"

    @property
    def number(self) -> str:
        """The chapter's number as readers see it: 3 for "03", nothing for the start page."""
        return str(self.facts.get("chapter", "")).lstrip("0")


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


def read_page(path: Path, names: set[str], terms: Sequence[Term] = ()) -> Page:
    """Converts one notebook, or a text in Markdown.

    Links to the files in `names` (without suffix) become links to their pages, and the first use
    of each of the glossary's `terms` becomes one to its entry.
    """
    notebook = _notebook_of(path)
    figures = _figures(notebook)
    soup, modules = rendered(notebook, names)
    headings = _headings(soup)
    facts = notebook.metadata.get("vaetl", {})
    heading = soup.h1
    title = facts.get("title") or (heading.get_text() if heading else path.stem)
    sections = sections_of(soup, title)
    if is_glossary(soup):
        mark_entries(soup)
    else:
        link_terms(soup, terms)
    aim = soup.select_one("#What-you-will-be-able-to-do ~ ul > li")
    sentence = ""
    if aim:
        sentence = f"You learn to {aim.decode_contents().strip().rstrip(';.')}."
    cell = heading.find_parent(class_="cell") if heading else None
    opening = str(cell.extract()) if cell else ""
    return Page(
        name=path.stem,
        title=title,
        head=opening,
        body=str(soup),
        headings=headings,
        sections=sections,
        aim=sentence,
        figures=figures,
        facts=facts,
        modules=modules,
    )


def rendered(notebook: Any, names: set[str]) -> tuple[BeautifulSoup, tuple[str, ...]]:
    """The cells of an executed notebook as HTML, and the modules of its living figures.

    Links to the notebooks in `names` lead to their pages. The notebook is changed on the way.
    """
    living: list[str] = []
    soup = BeautifulSoup(_fragment(notebook, living), "html.parser")
    _sweep(soup, names)
    return soup, _put_living(soup, living)


def text_html(text: str) -> str:
    """A text in Markdown as HTML, with formulas as the pages show them."""
    renderer = _Renderer(escape=False, exclude_anchor_links=True)
    return str(MarkdownWithMath(renderer=renderer).render(text))


def _notebook_of(path: Path) -> Any:
    """The notebook in a file; a text in Markdown is one with a cell for its title and one more."""
    if path.suffix != ".md":
        return nbformat.read(path, as_version=4)
    title, _, text = path.read_text("utf-8").partition("\n")
    cells = [nbformat.v4.new_markdown_cell(title), nbformat.v4.new_markdown_cell(text)]
    return nbformat.v4.new_notebook(cells=cells)


def _figures(notebook: Any) -> list[tuple[str, Mapping[str, Any]]]:
    """The pictures that the notebook's cells have drawn, with their metadata."""
    figures = []
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            png = output.get("data", {}).get("image/png")
            if png:
                figures.append((png, output.metadata.get("image/png", {})))
    return figures


def _fragment(notebook: Any, living: list[str]) -> str:
    """The notebook's cells as HTML, without what needs a script.

    Living figures are added to `living`, and leave an empty tag where they were.
    """
    notebook.metadata.pop("widgets", None)
    for number in display_cells(notebook.cells):
        cell = notebook.cells[number]
        cell.metadata.tags = [*cell.metadata.get("tags", []), DISPLAY]
    notebook.cells = [page_cell for cell in notebook.cells for page_cell in _tried_first(cell)]
    for cell in notebook.cells:
        if cell.cell_type == "code":
            outputs = [_living_aside(output, living) for output in cell.outputs]
            cell.outputs = [_plain(output) for output in outputs if not _needs_script(output)]
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


def _living_aside(output: Any, living: list[str]) -> Any:
    """A living figure's output as an empty tag: the sweep would take out the data of its script."""
    figure = living_output(output)
    if figure is None:
        return output
    living.append(figure)
    place = f'<div class="{LIVING_PLACE}"></div>'
    return nbformat.v4.new_output("display_data", {"text/html": place})


def _put_living(soup: BeautifulSoup, living: Sequence[str]) -> tuple[str, ...]:
    """Puts the living in their places; returns the names of their modules."""
    modules = []
    for place, figure in zip(soup.select(f".{LIVING_PLACE}"), living, strict=True):
        content = BeautifulSoup(figure, "html.parser").figure
        assert content is not None
        modules.append(str(content["data-module"]))
        place.replace_with(content)
    return tuple(modules)


def _plain(output: Any) -> Any:
    """An output whose LaTeX and pictures, if it has any, are HTML, as this page shows them."""
    data = output.get("data", {})
    if "image/png" in data:
        picture = picture_html(data.pop("image/png"), output.metadata.get("image/png", {}))
        data["text/html"] = f'<figure class="plot">{picture}</figure>'
    if output.output_type == "stream":
        output.text = LATER_CELLS.sub("", output.text)
    if "text/latex" in data and "text/html" not in data:
        data["text/html"] = RAW_MATH.sub(_as_block, data["text/latex"])
    return output


def _as_block(formula: re.Match[str]) -> str:
    return mathml(formula[1] or formula[2], "block")


def _sweep(soup: BeautifulSoup, names: set[str]) -> None:
    """Takes out whatever would be fetched, and makes the rest work on any screen.

    Solutions and code that only shows something are folded, links mended; wide tables scroll.
    """
    for tag in soup(["script", "link", "meta", "form", "iframe", "object", "embed", "base"]):
        tag.decompose()
    for image in soup.select("img:not([src^='data:'])"):
        image.replace_with(str(image.get("alt", "")))
    show_diagrams(soup)
    badge = soup.select_one("p > a[href^='https://colab.research.google.com/github/']")
    if badge and badge.parent:
        badge.parent["class"] = "open"
    for table in soup("table"):
        _mend_table(table)
        _let_scroll(soup, table, "scroll", "Table")
    for cell in soup.select(f".celltag_{DISPLAY}"):
        _fold_code(soup, cell)
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


def _fold_code(soup: BeautifulSoup, cell: Tag) -> None:
    """Folds a cell's code under its first line; what it shows stays in sight."""
    code = cell.select_one(".input:has(pre)")
    if code is None or code.pre is None:
        return
    first_line = code.pre.get_text().strip().partition("\n")[0]
    if first_line.endswith(("(", "[", "{")):
        first_line += "…"
    fold = code.wrap(soup.new_tag("details", attrs={"class": "code"}))
    summary = soup.new_tag("summary")
    summary.append("Code: ")
    summary.append(soup.new_tag("code", string=first_line))
    fold.insert(0, summary)


def _mend_table(table: Tag) -> None:
    """Says what each header belongs to, and where the verdicts are.

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
    for place, cell in enumerate(heads):
        if cell.get_text().strip().lower().startswith("verdict"):
            _mark_verdicts(table, place)


def _mark_verdicts(table: Tag, place: int) -> None:
    """Marks a column of verdicts, which stays in sight on a phone, and each verdict in it."""
    for row in table.select("tr"):
        cells = row.find_all(["th", "td"], recursive=False)
        if place >= len(cells):
            continue
        cells[place]["class"] = "verdict"
        text = cells[place].get_text().strip()
        for verdict in VERDICTS:
            if text.startswith(verdict):
                cells[place]["data-verdict"] = verdict


def _mend_link(link: Tag, names: set[str]) -> None:
    """Points a link to a notebook at its page; one to another file of the course keeps its text."""
    href = str(link["href"])
    if re.match(r"https?:|mailto:|#", href):
        return
    file, _, fragment = href.partition("#")
    page = Path(file)
    if page.suffix not in (".ipynb", ".md") or page.stem not in names:
        link.unwrap()
        return
    address = f"{page.stem}.html"
    if fragment:
        address += f"#{fragment}"
    link["href"] = address


def _headings(soup: BeautifulSoup) -> list[tuple[int, str, str]]:
    """Gives each heading the id that JupyterLab would, and makes it a link to itself.

    Lists those of the second and third level: (level, id, text).
    """
    seen: set[str] = set()
    headings = []
    for heading in soup(["h1", "h2", "h3", "h4"]):
        text = heading.get_text().strip()
        name = re.sub(r"\s+", "-", text)
        while name in seen:
            name += "-"
        seen.add(name)
        heading["id"] = name
        if heading.name != "h1" and not heading.find("a"):
            _link_to_itself(soup, heading)
        if heading.name in ("h2", "h3"):
            headings.append((int(heading.name[1]), name, text))
    return headings


def _link_to_itself(soup: BeautifulSoup, heading: Tag) -> None:
    """So that a reader can hand on the address of a section."""
    link = soup.new_tag("a", attrs={"class": "anchor", "href": f"#{heading['id']}"})
    link.extend(list(heading.contents))
    heading.append(link)
