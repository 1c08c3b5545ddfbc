"""An EPUB of chapters: a ZIP of XHTML, pictures and a list of them (EPUB 3.3, W3C 2023)."""

from __future__ import annotations

import base64
import html
import io
import os
import time
import uuid
import zipfile
from collections.abc import Sequence
from hashlib import sha256
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from bs4 import BeautifulSoup
from PIL import Image

import vaetl_helpers

MIMETYPE = "application/epub+zip"
CONTAINER = """<?xml version="1.0" encoding="UTF-8"?>
<container version="1.0" xmlns="urn:oasis:names:tc:opendocument:xmlns:container">
<rootfiles>
<rootfile full-path="book/package.opf" media-type="application/oebps-package+xml"/>
</rootfiles>
</container>
"""
XHTML = "application/xhtml+xml"
# Readers of old devices know these, and not WebP, which the pages have.
ENDINGS = {"image/png": "png", "image/jpeg": "jpg", "image/svg+xml": "svg", "text/css": "css"}
DATED_FIRST = (1980, 1, 1, 0, 0, 0)  # of each file in the ZIP, so that equal books are equal


class Chapter(NamedTuple):
    """A chapter as XHTML will have it; `sections` are (id, text) of its headings."""

    name: str
    title: str
    soup: BeautifulSoup
    sections: Sequence[tuple[str, str]]

    @property
    def file(self) -> str:
        return f"{self.name}.xhtml"


class Item(NamedTuple):
    """A file of the book, and what its list says of it."""

    name: str
    media: str
    content: bytes
    properties: str = ""


def epub_bytes(title: str, chapters: Sequence[Chapter], sheet: str, cover: bytes) -> bytes:
    """The book as the bytes of one file; `sheet` is CSS, `cover` a PNG."""
    pictures: dict[str, Item] = {}
    texts = [_text_item(chapter, pictures) for chapter in chapters]
    items = [
        Item("cover.png", "image/png", cover, "cover-image"),
        Item("book.css", "text/css", sheet.encode()),
        Item("contents.xhtml", XHTML, _contents(title, chapters).encode(), "nav"),
        *texts,
        *pictures.values(),
    ]
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as book:
        # First and not compressed, so that a reader knows the file by its first bytes.
        book.writestr(zipfile.ZipInfo("mimetype", DATED_FIRST), MIMETYPE)
        _add(book, "META-INF/container.xml", CONTAINER.encode())
        _add(book, "book/package.opf", _package(title, items, texts).encode())
        for item in items:
            _add(book, f"book/{item.name}", item.content)
    return file.getvalue()


def _add(book: zipfile.ZipFile, name: str, content: bytes) -> None:
    info = zipfile.ZipInfo(name, DATED_FIRST)
    info.compress_type = zipfile.ZIP_DEFLATED
    book.writestr(info, content)


def _text_item(chapter: Chapter, pictures: dict[str, Item]) -> Item:
    """A chapter's file; its pictures are moved to `pictures`, by their names."""
    for image in chapter.soup.select("img[src^='data:']"):
        item = _picture(str(image["src"]))
        pictures[item.name] = item
        image["src"] = item.name
    body = chapter.soup.decode(formatter="minimal")
    has_formulas = "mathml" if chapter.soup.find("math") else ""
    return Item(chapter.file, XHTML, _document(chapter.title, body).encode(), has_formulas)


def _picture(address: str) -> Item:
    """A picture of a page as a file that every reader can show, named by what it holds."""
    head, _, data = address.removeprefix("data:").partition(",")
    media, *options = head.split(";")
    content = base64.b64decode(data) if "base64" in options else unquote_to_bytes(data)
    if media not in ENDINGS:
        media, content = "image/png", _as_png(content)
    name = f"pictures/{sha256(content).hexdigest()[:16]}.{ENDINGS[media]}"
    return Item(name, media, content)


def _as_png(content: bytes) -> bytes:
    file = io.BytesIO()
    Image.open(io.BytesIO(content)).save(file, "PNG", optimize=True)
    return file.getvalue()


def _document(title: str, body: str) -> str:
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE html>
<html xmlns="http://www.w3.org/1999/xhtml" xmlns:epub="http://www.idpf.org/2007/ops"
  lang="en" xml:lang="en">
<head>
<title>{html.escape(title)}</title>
<link rel="stylesheet" type="text/css" href="book.css"/>
</head>
<body>
{body}
</body>
</html>
"""


def _contents(title: str, chapters: Sequence[Chapter]) -> str:
    entries = []
    for chapter in chapters:
        within = [
            f'<li><a href="{chapter.file}#{html.escape(name)}">{html.escape(text)}</a></li>'
            for name, text in chapter.sections
        ]
        below = f"<ol>{''.join(within)}</ol>" if within else ""
        text = html.escape(chapter.title)
        entries.append(f'<li><a href="{chapter.file}">{text}</a>{below}</li>')
    listed = f"<h1>Contents</h1><ol>{''.join(entries)}</ol>"
    return _document(title, f'<nav epub:type="toc" role="doc-toc">{listed}</nav>')


def _package(title: str, items: Sequence[Item], texts: Sequence[Item]) -> str:
    """The list of the book's files, and the order in which its texts are read."""
    numbers = {item.name: f"i{number}" for number, item in enumerate(items)}
    listed = []
    for item in items:
        properties = f' properties="{item.properties}"' if item.properties else ""
        listed.append(
            f'<item id="{numbers[item.name]}" href="{item.name}" media-type="{item.media}"'
            f"{properties}/>"
        )
    order = [f'<itemref idref="{numbers[text.name]}"/>' for text in texts]
    name = uuid.uuid5(uuid.NAMESPACE_URL, f"{title} {vaetl_helpers.__version__}")
    seconds = int(os.environ.get("SOURCE_DATE_EPOCH", time.time()))
    modified = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<package xmlns="http://www.idpf.org/2007/opf" version="3.0" unique-identifier="name" xml:lang="en">
<metadata xmlns:dc="http://purl.org/dc/elements/1.1/">
<dc:identifier id="name">urn:uuid:{name}</dc:identifier>
<dc:title>{html.escape(title)}</dc:title>
<dc:language>en</dc:language>
<meta property="dcterms:modified">{modified}</meta>
<meta property="schema:accessMode">textual</meta>
<meta property="schema:accessMode">visual</meta>
<meta property="schema:accessModeSufficient">textual</meta>
<meta property="schema:accessibilityFeature">alternativeText</meta>
<meta property="schema:accessibilityFeature">MathML</meta>
<meta property="schema:accessibilityHazard">none</meta>
<meta property="schema:accessibilitySummary">Pictures have texts, formulas are MathML.</meta>
</metadata>
<manifest>{"".join(listed)}</manifest>
<spine>{"".join(order)}</spine>
</package>
"""
