"""Executed notebooks as pages that need no network: no fonts, scripts or images from elsewhere."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path

from vaetl_helpers.authoring.document import (
    GENERATOR,
    Frame,
    Preview,
    course_script,
    document,
)
from vaetl_helpers.authoring.glossary import read_terms
from vaetl_helpers.authoring.index_page import Opening, Table, index_body, opening
from vaetl_helpers.authoring.living_pages import page_script
from vaetl_helpers.authoring.notebook_page import Page, read_page
from vaetl_helpers.authoring.search_index import index_json
from vaetl_helpers.authoring.text_pages import CAME_AFTER, SHEET, Texts, sheet_of
from vaetl_helpers.errors import CourseError
from vaetl_helpers.output import write_whole

PREVIEW_ALT = "The course's title beside a map of handwritten digits that change into one another."
SEARCH = '<button class="search" type="button" hidden>Search <kbd>/</kbd></button>'
TOP = '<a class="top" href="#main">↑ Back to the top</a>'


class Site:
    """The pages of some notebooks: what each shows, and what stands around it on all of them.

    `address` is where the pages will be published, for links that are shared, and `picture` the
    name of the picture that such a link shows.
    """

    def __init__(
        self,
        pages: Sequence[Page],
        title: str,
        address: str = "",
        picture: str = "",
        texts: Sequence[Page] = (),
    ):
        self.pages = list(pages)
        self.texts = list(texts)
        self.title = title
        self.address = f"{address.rstrip('/')}/" if address else ""
        self.picture = picture
        entries = [(page.file, numbered(page), page.sections) for page in [*pages, *texts]]
        self.index = index_json(entries)

    def page(self, place: int) -> str:
        """A chapter's page."""
        page = self.pages[place]
        previous = self.pages[place - 1] if place else None
        following = self.pages[place + 1] if place + 1 < len(self.pages) else None
        home = link("index.html", self.title, ' class="home"')
        frame = self._frame(home + _neighbours(previous, following, short=True), _contents(page))
        below = _neighbours(previous, following, short=False)
        frame = frame._replace(below=_below(below, self._beside(page)))
        body = _kicker(page) + page.head + page.body
        sentence = _text(page.aim)
        return document(
            f"{page.title} – {self.title}",
            body,
            frame,
            self._preview(sentence, page.file),
            [course_script(), page_script(page.modules)],
        )

    def text(self, page: Page) -> str:
        """A page of text beside the chapters."""
        home = link("index.html", self.title, ' class="home"')
        is_sheet = page.name.startswith(SHEET)
        contents = "" if is_sheet else _contents(page)  # of a single page there is no need
        frame = self._frame(home, contents)._replace(below=_below("", self._beside(page)))
        kind = "sheet" if is_sheet else "text"
        body = f'<div class="{kind}">{page.head}{page.body}</div>'
        preview = self._preview(page.title, page.file)
        return document(f"{page.title} – {self.title}", body, frame, preview, [course_script()])

    def _beside(self, page: Page) -> str:
        """Links to its cheat sheet, what came after it and the glossary, as far as they exist."""
        chapter = str(page.facts.get("chapter", ""))
        labels = {sheet_of(chapter): "Cheat sheet of this chapter", "glossary": "Glossary"}
        labels |= {
            text.name: text.title for text in self.texts if chapter in CAME_AFTER.get(text.name, ())
        }
        links = [
            link(text.file, labels[text.name])
            for text in self.texts
            if text.name in labels and text.name != page.name
        ]
        return f'<p class="beside">{" · ".join(links)}</p>' if links else ""

    def start(self, tables: Sequence[Table]) -> str:
        """The index page: `tables`, or without them what the course is, and its chapters."""
        first = Opening() if tables else opening()
        body = index_body(self.pages, self.title, tables, first, self.texts)
        home = "" if tables else link("#Chapters", "Chapters", ' class="home"')
        frame = self._frame(home, "")._replace(below=_below(""))
        sentence = "A course that tests what is said of training, accelerators and transfer."
        preview = self._preview(sentence, "index.html")
        return document(
            self.title, body, frame, preview, [course_script(), page_script(first.modules)]
        )

    def _frame(self, links: str, contents: str) -> Frame:
        navigation = f'<nav aria-label="Course">{links}</nav>'
        return Frame(
            bar=f'<header class="bar">{navigation}{SEARCH}</header>',
            contents=contents,
            search=f'<script type="application/json" id="search-index">{self.index}</script>',
        )

    def _preview(self, sentence: str, file: str) -> Preview:
        if not self.picture:
            return Preview(sentence)
        picture = f"{self.address}{self.picture}"
        return Preview(
            sentence, picture, PREVIEW_ALT, f"{self.address}{file}" if self.address else ""
        )


def numbered(page: Page) -> str:
    """A chapter's number and title, the start page's title alone."""
    return f"{page.number} {page.title}".strip()


def link(address: str, text: str, attributes: str = "") -> str:
    """A link in HTML."""
    return f'<a href="{html.escape(address)}"{attributes}>{html.escape(text)}</a>'


def _text(fragment: str) -> str:
    """The text of a piece of HTML, in which formulas are left out where they are no text."""
    from bs4 import BeautifulSoup

    return BeautifulSoup(fragment, "html.parser").get_text()


def _neighbours(previous: Page | None, following: Page | None, short: bool) -> str:
    """Links to the chapters before and after: their numbers alone, or with their titles."""
    links = []
    if previous:
        name = previous.number or "Start" if short else numbered(previous)
        links.append(_neighbour(previous, f"← {name}", "prev"))
    if following:
        name = following.number if short else numbered(following)
        links.append(_neighbour(following, f"{name} →", "next"))
    return "".join(links)


def _neighbour(page: Page, text: str, relation: str) -> str:
    title = html.escape(page.title)
    return link(page.file, text, f' rel="{relation}" title="{title}"')


def _below(links: str, beside: str = "") -> str:
    """What stands below a page's text: what belongs to it, and the chapters before and after."""
    navigation = ""
    if links:
        navigation = f'<nav class="around" aria-label="Chapters before and after">{links}</nav>'
    return f"<footer>{beside}{navigation}{TOP}</footer>"


def _kicker(page: Page) -> str:
    """The line above a chapter's title."""
    if not page.number:
        return ""
    return f'<p class="kicker">Chapter {html.escape(page.number)}</p>'


def _contents(page: Page) -> str:
    """The list of a page's sections, each with the list of those within it."""
    items: list[tuple[str, list[str]]] = []
    for level, name, text in page.headings:
        entry = link(f"#{name}", text)
        if level == 2 or not items:
            items.append((entry, []))
        else:
            items[-1][1].append(entry)
    if not items:
        return ""
    content = "".join(f"<li>{entry}{_list(within)}</li>" for entry, within in items)
    fold = f"<details><summary>On this page</summary><ul>{content}</ul></details>"
    return f'<nav class="toc" aria-label="On this page">{fold}</nav>'


def _list(entries: Sequence[str]) -> str:
    if not entries:
        return ""
    return f"<ul>{''.join(f'<li>{entry}</li>' for entry in entries)}</ul>"


def write_site(
    notebooks: list[Path],
    out: Path,
    title: str,
    tables: Sequence[Table] = (),
    address: str = "",
    picture: bytes = b"",
    texts: Texts | None = None,
) -> Path:
    """Writes one page per notebook and an index page into `out`; returns the path of the index.

    `address` is where they will be published, and `picture` a PNG that links to them show where
    they are shared; `texts` become pages beside them. Raises CourseError for a formula that cannot
    be converted, for a folder with somebody's own index.html, and where nothing can be written.
    """
    index = out / "index.html"
    if index.exists() and GENERATOR not in index.read_text("utf-8", errors="replace"):
        raise CourseError(
            f"{index} is no page of this course and would be lost: choose another folder."
        )
    texts = texts or Texts()
    names = {path.stem for path in [*notebooks, *texts.paths]}
    terms = read_terms(texts.glossary) if texts.glossary else []
    pages = [read_page(path, names, terms) for path in notebooks]
    beside = [read_page(path, names, terms) for path in texts.paths]
    site = Site(pages, title, address, "preview.png" if picture else "", beside)
    files: dict[str, str | bytes] = {}
    for place, page in enumerate(pages):
        files[page.file] = site.page(place)
    for page in beside:
        files[page.file] = site.text(page)
    files[index.name] = site.start(tables)
    if picture:
        files[site.picture] = picture
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            write_whole(out / name, content)
    except OSError as error:
        reason = error.strerror or error
        raise CourseError(
            f"{out} cannot be written ({reason}): choose another folder with --out."
        ) from error
    return index
