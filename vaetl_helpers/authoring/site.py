"""Executed notebooks as pages that need no network: no scripts, no fonts and no images from elsewhere."""

from __future__ import annotations

import html
import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import nbformat
from bs4 import BeautifulSoup, Tag
from jinja2 import pass_context
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from pygments.formatters import HtmlFormatter

from vaetl_helpers.authoring.formulas import mathml
from vaetl_helpers.runtime import CourseError

RAW_MATH = re.compile(r"\$\$(.+?)\$\$|\$([^$]+?)\$", re.DOTALL)
RAW_CODE = re.compile(r"(<(?:code|pre)\b.*?</(?:code|pre)>|<[^>]+>)", re.DOTALL)
GENERATOR = '<meta name="generator" content="vaetl">'
# The browser itself refuses whatever the sweep below might have missed.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
HEAD = f"""<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
{GENERATOR}
<link rel="icon" href="data:,">"""


class Table(NamedTuple):
    """A table of the index page; a cell that is the name of a notebook becomes a link to its page."""

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


class Page(NamedTuple):
    """One notebook's page: file name without suffix, title, body, and its sections as (id, text)."""

    name: str
    title: str
    body: str
    sections: list[tuple[str, str]]


class _Renderer(IPythonRenderer):
    """nbconvert's Markdown, with formulas converted where it leaves them to a script."""

    def block_math(self, body: str) -> str:
        return f'<div class="formula" tabindex="0">{mathml(body, "block")}</div>'

    def inline_math(self, body: str) -> str:
        return mathml(body)

    def latex_environment(self, name: str, body: str) -> str:
        return self.block_math(rf"\begin{{{name}}}{body}\end{{{name}}}")

    def block_html(self, html: str) -> str:
        pieces = RAW_CODE.split(html)  # odd pieces are tags and code
        return "".join(p if i % 2 else RAW_MATH.sub(self._raw_math, p) for i, p in enumerate(pieces))

    def _raw_math(self, found: re.Match[str]) -> str:
        latex = html.unescape(found[1] or found[2])
        return self.block_math(latex) if found[1] else self.inline_math(latex)


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
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [_plain(output) for output in cell.outputs if not _needs_script(output)]
    quiet = logging.getLogger("vaetl.site")
    quiet.setLevel(logging.ERROR)
    body, _ = _Exporter(template_name="basic", log=quiet).from_notebook_node(notebook)
    soup = BeautifulSoup(body, "html.parser")
    _sweep(soup, names)
    sections = _sections(soup)
    heading = soup.h1.get_text() if soup.h1 else path.stem
    return Page(path.stem, notebook.metadata.get("vaetl", {}).get("title") or heading, str(soup), sections)


def _needs_script(output: Any) -> bool:
    return any("widget-view" in mime or "javascript" in mime for mime in output.get("data", {}))


def _plain(output: Any) -> Any:
    """An output whose LaTeX, if it has any, is HTML."""
    data = output.get("data", {})
    if "text/latex" in data and "text/html" not in data:
        data["text/html"] = RAW_MATH.sub(lambda m: mathml(m[1] or m[2], "block"), data["text/latex"])
    return output


def _sweep(soup: BeautifulSoup, names: set[str]) -> None:
    """Takes out whatever would be fetched, mends the links between notebooks, and lets wide tables scroll."""
    for tag in soup(["script", "link", "iframe", "object", "embed", "base"]):
        tag.decompose()
    for image in soup("img"):
        if not str(image.get("src", "")).startswith("data:"):  # a badge: its text says the same
            image.replace_with(image.get("alt", ""))
    for table in soup("table"):
        table.wrap(soup.new_tag("div", attrs={"class": "scroll", "tabindex": "0"}))
    for link in soup("a", href=True):
        _mend_link(link, names)


def _mend_link(link: Tag, names: set[str]) -> None:
    """Points a link to a notebook at its page; a link to any other file of the course keeps its text only."""
    href = str(link["href"])
    if re.match(r"https?:|mailto:|#", href):
        return
    file, _, fragment = href.partition("#")
    if file.endswith(".ipynb") and Path(file).stem in names:
        link["href"] = Path(file).stem + ".html" + (f"#{fragment}" if fragment else "")
    else:
        link.unwrap()


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


def _styles() -> str:
    """The style sheet and the colours of code, light and dark."""
    light = HtmlFormatter(style="default").get_style_defs(".highlight")
    dark = HtmlFormatter(style="github-dark").get_style_defs(".highlight")
    own = Path(__file__).with_name("site.css").read_text("utf-8")
    return f"<style>\n{light}\n@media (prefers-color-scheme: dark) {{\n{dark}\n}}\n{own}</style>"


def _link(name: str, text: str, attributes: str = "") -> str:
    return f'<a href="{html.escape(name)}"{attributes}>{html.escape(text)}</a>'


def document(title: str, navigation: str, contents: str, body: str) -> str:
    """A whole page of HTML fragments (the title is text) that asks for nothing from elsewhere."""
    head = f"<head>\n{HEAD}\n<title>{html.escape(title)}</title>\n{_styles()}\n</head>"
    course = f'<nav class="course" aria-label="Course">{navigation}</nav>' if navigation else ""
    top = f'<a class="skip" href="#main">Skip to the text</a>\n{course}'
    main = f'{contents}\n<main id="main">\n{body}\n</main>\n{course}'
    return f'<!doctype html>\n<html lang="en">\n{head}\n<body>\n{top}\n{main}\n</body>\n</html>\n'


def _page(page: Page, before: Page | None, after: Page | None, title: str) -> str:
    links = [_link("index.html", title)]
    links += [_link(f"{before.name}.html", f"← {before.title}", ' rel="prev"')] if before else []
    links += [_link(f"{after.name}.html", f"{after.title} →", ' rel="next"')] if after else []
    items = "".join(f"<li>{_link('#' + name, text)}</li>" for name, text in page.sections)
    contents = f'<nav class="toc" aria-label="On this page"><ul>{items}</ul></nav>' if items else ""
    return document(f"{page.title} – {title}", " ".join(links), contents, page.body)


def _index(pages: list[Page], title: str, tables: Sequence[Table]) -> str:
    """The tables, which link to the pages; without tables, a list of the pages."""
    titles = {page.name: page.title for page in pages}
    items = "".join(f"<li>{_link(page.name + '.html', page.title)}</li>" for page in pages)
    body = f"<h1>{html.escape(title)}</h1>\n" + ("" if tables else f"<ol>{items}</ol>")
    for table in tables:
        head = "".join(f'<th scope="col">{html.escape(cell)}</th>' for cell in table.header)
        rows = ""
        for row in table.rows:
            cells = (_link(f"{c}.html", titles[c]) if c in titles else html.escape(c) for c in row)
            rows += "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>\n"
        caption = f"<caption>{html.escape(table.caption)}</caption>"
        body += f'<div class="scroll" tabindex="0"><table>{caption}<tr>{head}</tr>\n{rows}</table></div>\n'
    return document(title, "", "", body)


def write_site(notebooks: list[Path], out: Path, title: str, tables: Sequence[Table] = ()) -> Path:
    """Writes one page a notebook and an index page into `out`; returns the path of the index.

    Raises CourseError for a formula that cannot be converted and for a folder with somebody's own index.html.
    """
    index = out / "index.html"
    if index.exists() and GENERATOR not in index.read_text("utf-8", errors="replace"):
        raise CourseError(f"{index} is no page of this course and would be lost: choose another folder.")
    pages = [read_page(path, {path.stem for path in notebooks}) for path in notebooks]
    out.mkdir(parents=True, exist_ok=True)
    around = [None, *pages, None]
    for place, page in enumerate(pages):
        text = _page(page, around[place], around[place + 2], title)
        (out / f"{page.name}.html").write_text(text, encoding="utf-8")
    index.write_text(_index(pages, title, tables), encoding="utf-8")
    return index
