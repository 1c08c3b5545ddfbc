"""The course as a book: the pages' text and pictures as PDF for paper, and as EPUB for readers.

Both are made of what `notebook_page.read_page` makes, so that they hold what the pages hold:
solutions, outputs, formulas as MathML, diagrams as SVG. What moves on a page stands still here.
"""

from __future__ import annotations

import html
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from bs4 import BeautifulSoup, Tag
from pygments.formatters import HtmlFormatter

from vaetl_helpers.authoring.epub import Chapter, epub_bytes
from vaetl_helpers.authoring.notebook_page import Page, read_page
from vaetl_helpers.errors import CourseError
from vaetl_helpers.output import write_whole

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
MINUTES = 15  # that printing may take
# What only a screen can do: links to platforms, data of figures that move, sheets of their own.
ON_SCREENS = ".open, script, style, details.code, picture > source"
Address = Callable[[str, str], str]  # (name of a chapter, id of a heading or "") → a link's target


class Book(NamedTuple):
    """The paths of a book's files; None for one that was not asked for."""

    epub: Path | None
    pdf: Path | None


def write_book(
    notebooks: Sequence[Path], out: Path, title: str, cover: bytes, *, epub: bool, pdf: bool
) -> Book:
    """Writes course.epub and course.pdf of executed notebooks into `out`.

    `cover` is a PNG. Raises CourseError where no browser is there that prints, and where nothing
    can be written.
    """
    browser = find_browser() if pdf else ""  # before the long work
    names = {path.stem for path in notebooks}
    pages = [read_page(path, names) for path in notebooks]
    book = Book(out / "course.epub" if epub else None, out / "course.pdf" if pdf else None)
    try:
        out.mkdir(parents=True, exist_ok=True)
        if book.epub:
            chapters = [_chapter(page, names) for page in pages]
            write_whole(book.epub, epub_bytes(title, chapters, style_sheet(), cover))
        if book.pdf:
            write_whole(book.pdf, printed(paper(pages, title), browser))
    except OSError as error:
        reason = error.strerror or error
        raise CourseError(
            f"{out} cannot be written ({reason}): choose another folder with --out."
        ) from error
    return book


def numbered(page: Page) -> str:
    """A chapter's number and title, as contents name it."""
    return f"{page.number} {page.title}".strip()


def style_sheet() -> str:
    """The book's style sheet, with the colours of code."""
    colours = HtmlFormatter(style="xcode").get_style_defs(".highlight")
    return f"{colours}\n{Path(__file__).with_name('book.css').read_text('utf-8')}"


def _soup(page: Page, names: set[str], address: Address) -> BeautifulSoup:
    """A page without what only a screen can do; links within the course by `address`."""
    soup = BeautifulSoup(page.head + page.body, "html.parser")
    for tag in soup.select(ON_SCREENS):
        tag.decompose()
    for tag in soup.select("picture, a.anchor"):
        tag.unwrap()
    for tag in soup.select("[tabindex], [border]"):
        for attribute in ("tabindex", "border", "role", "aria-label"):
            del tag[attribute]
    for link in soup.select("a[href]"):
        _point(link, page.name, names, address)
    return soup


def _point(link: Tag, own: str, names: set[str], address: Address) -> None:
    """Points a link within the course at its place in the book."""
    file, _, heading = str(link["href"]).partition("#")
    name = file.removesuffix(".html") or own
    if name in names:
        link["href"] = address(name, heading)


# ---------------------------------------------------------------- for readers


def _chapter(page: Page, names: set[str]) -> Chapter:
    def address(name: str, heading: str) -> str:
        return f"{name}.xhtml" + (f"#{quote(heading)}" if heading else "")

    sections = [(name, text) for level, name, text in page.headings if level == 2]
    return Chapter(page.name, numbered(page), _soup(page, names, address), sections)


# ---------------------------------------------------------------- for paper


def paper(pages: Sequence[Page], title: str) -> str:
    """All chapters as one document in HTML, with its contents, to be printed."""
    names = {page.name for page in pages}
    title = html.escape(title)
    parts = [_for_paper(page, names) for page in pages]
    entries = [f"<li>{_link(page.name, '', numbered(page))}{_within(page)}</li>" for page in pages]
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en">',
            f'<head><meta charset="utf-8"><title>{title}</title>',
            f"<style>{style_sheet()}</style></head>\n<body>",
            f'<header class="title"><p class="name">{title}</p></header>',
            f'<nav class="contents"><p class="name">Contents</p><ol>{"".join(entries)}</ol></nav>',
            *parts,
            "</body></html>",
        ]
    )


def _within(page: Page) -> str:
    sections = [(name, text) for level, name, text in page.headings if level == 2]
    items = [f"<li>{_link(page.name, name, text)}</li>" for name, text in sections]
    return f"<ol>{''.join(items)}</ol>" if items else ""


def _link(page: str, heading: str, text: str) -> str:
    link = BeautifulSoup("", "html.parser").new_tag("a", href=_on_paper(page, heading))
    link.string = text
    return str(link)


def _on_paper(page: str, heading: str) -> str:
    """Headings of all chapters are in one document, so their ids begin with the chapter."""
    return f"#{page}" + (f"--{quote(heading)}" if heading else "")


def _for_paper(page: Page, names: set[str]) -> str:
    soup = _soup(page, names, _on_paper)
    for tag in soup.select("[id]"):
        tag["id"] = f"{page.name}--{tag['id']}"
    for fold in soup.select("details"):
        fold["open"] = ""
    return f'<section class="chapter" id="{page.name}">{soup}</section>'


def find_browser() -> str:
    """A browser that prints; CourseError where there is none."""
    for name in (os.environ.get("CHROMIUM", ""), *BROWSERS):
        path = shutil.which(name) if name else None
        if path:
            return path
    raise CourseError(
        "The PDF is printed by Chromium, which is not here: install it (on Debian `apt install "
        "chromium`), name it in CHROMIUM, or ask for the EPUB alone with --no-pdf."
    )


def printed(document: str, browser: str) -> bytes:
    """A document in HTML as PDF, with its headings as bookmarks; raises CourseError."""
    with tempfile.TemporaryDirectory() as folder:
        source, result = Path(folder) / "book.html", Path(folder) / "book.pdf"
        source.write_text(document, encoding="utf-8")
        command = [
            browser,
            "--headless",
            "--disable-gpu",
            "--no-pdf-header-footer",
            "--generate-pdf-document-outline",
            f"--user-data-dir={folder}/browser",
            f"--print-to-pdf={result}",
            source.as_uri(),
        ]
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            command.insert(1, "--no-sandbox")  # Chromium's cannot be had as root
        try:
            run = subprocess.run(command, capture_output=True, timeout=60 * MINUTES, check=False)
        except subprocess.TimeoutExpired as error:
            raise CourseError(
                f"{browser} has not printed the book in {MINUTES} minutes: try it on an idle "
                "machine, or ask for the EPUB alone with --no-pdf."
            ) from error
        if not result.exists():
            said = run.stderr.decode(errors="replace").strip()[-300:]
            raise CourseError(f"{browser} has printed nothing: {said}")
        return result.read_bytes()
