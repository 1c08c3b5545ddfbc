"""Cheat sheets: each is one page of paper, and fits a phone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_site import CHROMIUM, chromium

from vaetl_helpers.authoring.glossary import read_terms
from vaetl_helpers.authoring.notebook_page import read_page
from vaetl_helpers.authoring.site import Site
from vaetl_helpers.authoring.text_pages import texts_beside

pytestmark = pytest.mark.debian("chromium", CHROMIUM)
COURSE = Path(__file__).parents[2] / "course"
TEXTS = texts_beside(COURSE)


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pages beside the chapters, without the chapters."""
    out = tmp_path_factory.mktemp("texts")
    terms = read_terms(TEXTS.glossary) if TEXTS.glossary else []
    names = {path.stem for path in TEXTS.paths}
    pages = [read_page(path, names, terms) for path in TEXTS.paths]
    site = Site([], "The course", texts=pages)
    for page in pages:
        (out / page.file).write_text(site.text(page), "utf-8")
    return out


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as started:
        yield started


@pytest.mark.parametrize("path", TEXTS.sheets, ids=lambda path: path.stem)
def test_a_sheet_is_one_page_of_paper(path: Path, texts: Path, browser: Any) -> None:
    page = browser.new_page()
    page.goto((texts / f"{path.stem}.html").as_uri())
    margins = dict.fromkeys(("top", "right", "bottom", "left"), "12mm")
    paper = page.pdf(format="A4", margin=margins)
    page.close()
    assert len(re.findall(rb"/Type\s*/Page\b(?!s)", paper)) == 1


def test_every_page_fits_a_phone(texts: Path, browser: Any) -> None:
    page = browser.new_page(viewport={"width": 390, "height": 844})
    for path in sorted(texts.glob("*.html")):
        page.goto(path.as_uri())
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= 390, f"{path.name} is {wide} pixels wide"
    page.close()


def test_no_formula_of_a_sheet_is_cut(texts: Path, browser: Any) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    for path in sorted(texts.glob("sheet_*.html")):
        page.goto(path.as_uri())
        cut = page.evaluate(
            "[...document.querySelectorAll('.formula')]"
            ".filter(box => box.scrollWidth > box.clientWidth + 1).length"
        )
        assert not cut, f"{path.name}: {cut} formulas are wider than their column"
    page.close()


def test_a_link_leads_to_the_entry(texts: Path, browser: Any) -> None:
    page = browser.new_page()
    page.goto((texts / "after_8_vtab.html").as_uri())
    page.locator("a.term").first.click()
    page.wait_for_url("**/glossary.html#term-*")
    assert page.locator("li:target").count() == 1
    page.close()
