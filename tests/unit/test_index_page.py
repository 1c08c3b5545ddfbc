"""The index page says how to run the code, and names no link that the pages do not have."""

from __future__ import annotations

import pytest
from bs4 import BeautifulSoup

from vaetl_helpers.authoring.index_page import index_body
from vaetl_helpers.authoring.notebook_page import Page

BADGES = '<p class="open">Run it yourself: <a href="https://colab.example">Open in Colab</a></p>'


def words_of(head: str) -> str:
    """What the index page says about a course whose first page begins so."""
    page = Page("01_a_chapter", "A chapter", head, "", [], [], "", [], {"chapter": "01"})
    soup = BeautifulSoup(index_body([page], "The course", []), "html.parser")
    return " ".join(soup.get_text(" ").split())


@pytest.mark.parametrize(
    ("head", "sentence"),
    [
        ("<h1>A chapter</h1>", "run the code yourself, install the course as its README says"),
        (
            BADGES,
            "run the code yourself, open a chapter on Colab, Kaggle or Binder by the links below "
            "its title, or install the course as its README says",
        ),
    ],
    ids=["without an address", "with badges"],
)
def test_links_are_named_where_the_pages_have_them(head: str, sentence: str) -> None:
    words = words_of(head)
    assert sentence in words and "vaetl lab" in words
    assert ("Colab" in words) == ("Colab" in head)
