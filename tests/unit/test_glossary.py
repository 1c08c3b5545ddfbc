"""The glossary on the pages: the first use of each term, and only that, leads to its entry."""

from __future__ import annotations

from pathlib import Path

import pytest
from bs4 import BeautifulSoup

from vaetl_helpers.authoring.glossary import EVERYDAY, link_terms, mark_entries, read_terms
from vaetl_helpers.authoring.notebook_page import read_page
from vaetl_helpers.authoring.site import Site
from vaetl_helpers.authoring.text_pages import CAME_AFTER, texts_beside

ROOT = Path(__file__).parents[2]
GLOSSARY = """# Glossary

## E

- **ELBO, evidence lower bound** (chapter 3, `vae.elbo`).
  What a VAE is trained to raise.
- **Effect** (chapter 5).
  How much better one method is.
- **Draw**: see *label draw*.
- **Label draw** (chapter 4).
  Some *labels* of a pool.
- **Loss** (chapter 1).
  What training makes small.
"""


@pytest.fixture
def glossary(tmp_path: Path) -> Path:
    path = tmp_path / "glossary.md"
    path.write_text(GLOSSARY, "utf-8")
    return path


def linked(html: str, glossary: Path) -> BeautifulSoup:
    soup = BeautifulSoup(html, "html.parser")
    link_terms(soup, read_terms(glossary))
    return soup


def texts_of(soup: BeautifulSoup) -> list[str]:
    return [link.get_text() for link in soup.select("a.term")]


def test_entries_are_read_and_those_that_only_refer_are_not(glossary: Path) -> None:
    terms = read_terms(glossary)
    assert [term.names[0] for term in terms] == ["ELBO", "Effect", "Label draw", "Loss"]
    assert terms[0].names == ("ELBO", "evidence lower bound")
    assert terms[2].sentence == "Some labels of a pool."


def test_the_first_use_is_linked_and_no_other(glossary: Path) -> None:
    soup = linked("<p>A loss, and losses.</p><p>The loss again; an ELBO.</p>", glossary)
    assert texts_of(soup) == ["loss", "ELBO"]
    first = soup.select("a.term")[0]
    assert first["href"] == "glossary.html#term-loss"
    assert first["title"] == "What training makes small."
    assert soup.get_text() == "A loss, and losses.The loss again; an ELBO.", "no word is changed"


def test_two_names_of_one_entry_count_as_one(glossary: Path) -> None:
    assert texts_of(linked("<p>The evidence lower bound, or ELBO.</p>", glossary)) == [
        "evidence lower bound"
    ]


@pytest.mark.parametrize(
    "html",
    [
        "<h2>Loss</h2>",
        "<p><code>loss</code> and <a href='x'>loss</a></p>",
        "<div class='code_cell'><p>loss</p></div>",
        "<details><summary>loss</summary><p>loss</p></details>",
        "<p>a lossless, loss-free flossing; an elbo of the arm</p>",
        "<p>They draw, to some effect.</p>",
    ],
)
def test_what_is_no_use_of_the_term_stays_as_it_is(html: str, glossary: Path) -> None:
    assert not texts_of(linked(html, glossary))


def test_text_that_looks_like_html_stays_text(glossary: Path) -> None:
    soup = linked("<p>loss &lt;b&gt; &amp; more</p>", glossary)
    assert not soup.select("b") and soup.get_text() == "loss <b> & more"


def test_every_link_of_the_course_has_its_place() -> None:
    texts = texts_beside(ROOT / "course")
    assert texts.glossary is not None
    page = read_page(texts.glossary, set(), read_terms(texts.glossary))
    places = {tag["id"] for tag in BeautifulSoup(page.body, "html.parser").select("li[id]")}
    terms = read_terms(texts.glossary)
    assert len(terms) > 80 and {term.id for term in terms} <= places
    assert "a.term" not in page.body and 'class="term"' not in page.body, "it links to itself"
    names = {name.lower() for term in terms for name in term.names}
    assert names >= EVERYDAY, "a word that is no term any more"


def test_the_texts_beside_the_chapters_link_terms_and_each_other(tmp_path: Path) -> None:
    texts = texts_beside(ROOT / "course")
    names = {path.stem for path in [*texts.paths, *(ROOT / "course").glob("*.ipynb")]}
    terms = read_terms(texts.glossary) if texts.glossary else []
    chapters = {path.stem.partition("_")[0] for path in (ROOT / "course").glob("*.ipynb")} - {"00"}
    assert {path.stem.removeprefix("sheet_") for path in texts.sheets} == chapters
    for path in texts.after:
        page = read_page(path, names, terms)
        soup = BeautifulSoup(page.body, "html.parser")
        assert page.title.startswith("What came after"), path.name
        assert soup.select("a.term"), path.name
        inside = [link["href"] for link in soup.select("a[href]:not([href^=http])")]
        for address in inside:
            name = str(address).partition("#")[0].removesuffix(".html")
            assert not name or name in names, (path.name, address)
        assert soup.select("a[href*='arxiv.org']"), f"{path.name} names no source"


def test_an_entry_gets_the_id_that_links_lead_to() -> None:
    soup = BeautifulSoup(
        "<ul><li><strong>AP@50, average precision</strong> x</li></ul>", "html.parser"
    )
    mark_entries(soup)
    assert soup.li is not None and soup.li["id"] == "term-ap-50-average-precision"


def test_every_page_of_what_came_after_belongs_to_a_chapter() -> None:
    written = {path.stem for path in texts_beside(ROOT / "course").after}
    chapters = {path.name.split("_")[0] for path in (ROOT / "course" / "source").glob("*.py")}
    assert written == set(CAME_AFTER)
    assert chapters >= {chapter for of_page in CAME_AFTER.values() for chapter in of_page}


def test_what_came_after_stands_below_its_chapters() -> None:
    pages = [read_page(path, {path.stem}) for path in texts_beside(ROOT / "course").after]
    chapter = pages[0]._replace(name="04b", facts={"chapter": "04b"}, body="", head="")
    links = BeautifulSoup(Site([chapter], "The course", texts=pages).page(0), "html.parser")
    below = {link["href"] for link in links.select("footer .beside a")}
    assert below == {"after_4_lora.html", "after_5_setfit.html"}
