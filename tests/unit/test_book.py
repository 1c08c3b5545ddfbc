"""The course as a book: an EPUB that readers can open, and a PDF with its chapters."""

from __future__ import annotations

import base64
import io
import shutil
import zipfile
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from xml.etree import ElementTree

import nbformat
import pytest
from nbformat.v4 import new_output
from PIL import Image
from pypdf import PdfReader
from small_course import write

from vaetl_helpers.authoring import book
from vaetl_helpers.errors import CourseError

XHTML = "{http://www.w3.org/1999/xhtml}"
OPF = "{http://www.idpf.org/2007/opf}"
MATHML = "{http://www.w3.org/1998/Math/MathML}"
TEXT = """# One & two

A formula, $x < 2$, and [the next chapter](02_second.ipynb#Its-end-&-more).

## A section?

<details><summary>A choice</summary> Right: it is.</details>
"""


def png(colour: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (80, 40), colour).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def notebooks(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two chapters; the first one draws a figure and links to the second."""
    folder = tmp_path_factory.mktemp("notebooks")
    first = write(folder, "01_first", TEXT, "if 1 < 2:\n    draw()")
    notebook = nbformat.read(first, as_version=4)
    bundle = {"text/plain": "", "image/png": base64.b64encode(png("navy")).decode()}
    figure = new_output("display_data", bundle, metadata={"image/png": {"alt": "A blue box."}})
    notebook.cells[-1].outputs = [figure]
    nbformat.write(notebook, first)
    return [first, write(folder, "02_second", "# Second\n\n## Its end & more\n\nText.", "x = 1")]


@pytest.fixture(scope="module")
def epub(notebooks: list[Path], tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    out = tmp_path_factory.mktemp("book")
    made = book.write_book(notebooks, out, "A & B", png("white"), epub=True, pdf=False)
    assert made.epub and made.pdf is None
    return zipfile.ZipFile(made.epub)


def parsed(epub: zipfile.ZipFile, name: str) -> Any:
    return ElementTree.fromstring(epub.read(name))


def test_the_file_begins_as_readers_expect(epub: zipfile.ZipFile) -> None:
    first = epub.infolist()[0]
    assert (first.filename, first.compress_type) == ("mimetype", zipfile.ZIP_STORED)
    assert epub.read("mimetype") == b"application/epub+zip" and epub.testzip() is None
    [package] = parsed(epub, "META-INF/container.xml").iter(
        "{urn:oasis:names:tc:opendocument:xmlns:container}rootfile"
    )
    assert package.get("full-path") in epub.namelist()


def test_its_list_has_every_file_once_and_the_order_has_every_chapter(
    epub: zipfile.ZipFile,
) -> None:
    package = parsed(epub, "book/package.opf")
    items = {item.get("id"): item for item in package.iter(f"{OPF}item")}
    listed = [f"book/{item.get('href')}" for item in items.values()]
    others = {"mimetype", "META-INF/container.xml", "book/package.opf"}
    assert sorted(listed) == sorted(set(epub.namelist()) - others)
    order = [items[ref.get("idref")].get("href") for ref in package.iter(f"{OPF}itemref")]
    assert order == ["01_first.xhtml", "02_second.xhtml"]
    properties = [item.get("properties") for item in items.values()]
    assert properties.count("nav") == properties.count("cover-image") == 1
    assert (
        items[next(iter(package.iter(f"{OPF}itemref"))).get("idref")].get("properties") == "mathml"
    )


def test_every_link_and_picture_leads_somewhere(epub: zipfile.ZipFile) -> None:
    texts = {name: parsed(epub, name) for name in epub.namelist() if name.endswith(".xhtml")}
    ids = {name: {tag.get("id") for tag in text.iter()} for name, text in texts.items()}
    links = 0
    for name, text in texts.items():
        for tag in text.iter(f"{XHTML}a"):
            file, _, heading = tag.get("href").partition("#")
            target = f"book/{file}" if file else name
            assert target in texts and (not heading or unquote(heading) in ids[target])
            links += 1
        for tag in text.iter(f"{XHTML}img"):
            assert f"book/{tag.get('src')}" in epub.namelist()
    assert links == 5  # one of the text, four of the contents


def test_a_chapter_keeps_formula_picture_and_code(epub: zipfile.ZipFile) -> None:
    text = parsed(epub, "book/01_first.xhtml")
    assert next(text.iter(f"{MATHML}math")).get("alttext") == "x < 2"
    [image] = text.iter(f"{XHTML}img")
    assert image.get("alt") == "A blue box."
    shown = Image.open(io.BytesIO(epub.read(f"book/{image.get('src')}")))
    assert shown.format == "PNG" and shown.convert("RGB").getpixel((4, 4)) == (0, 0, 128)
    words = "".join(text.itertext())
    assert "if 1 < 2:\n    draw()" in words and "Right: it is." in words
    assert not list(text.iter(f"{XHTML}script")) and not list(text.iter(f"{XHTML}source"))


def test_equal_courses_give_equal_books(
    notebooks: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    made = []
    for name in ("a", "b"):
        out = tmp_path / name
        paths = book.write_book(notebooks, out, "A", png("white"), epub=True, pdf=False)
        assert paths.epub
        made.append(paths.epub.read_bytes())
    assert made[0] == made[1]


def test_without_a_browser_the_way_out_is_named(
    notebooks: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(CourseError, match="Chromium.*--no-pdf"):
        book.write_book(notebooks, tmp_path, "A", png("white"), epub=True, pdf=True)
    assert not list(tmp_path.iterdir())


@pytest.mark.debian("chromium", "/usr/bin/chromium")
def test_the_pdf_has_the_chapters_and_their_bookmarks(
    notebooks: list[Path], tmp_path: Path
) -> None:
    made = book.write_book(notebooks, tmp_path, "A & B", png("white"), epub=False, pdf=True)
    assert made.pdf and made.epub is None
    reader = PdfReader(made.pdf)
    pages = [page.extract_text() for page in reader.pages]
    assert "A & B" in pages[0] and "Contents" in pages[1]
    assert any("One & two" in text and "Right: it is." in text for text in pages[2:])
    assert any("Its end & more" in text for text in pages[3:])

    def titles(outline: Any) -> list[str]:
        found = []
        for entry in outline:
            found += titles(entry) if isinstance(entry, list) else [entry.title]
        return found

    assert {"One & two", "A section?", "Second", "Its end & more"} <= set(titles(reader.outline))
    assert reader.metadata and reader.metadata.title == "A & B"
    width = float(reader.pages[0].mediabox.width)
    assert width == pytest.approx(595, abs=2)  # points, of A4
    assert any(image for page in reader.pages for image in page.images)
