"""A small index of all pages for the pages' own search: which section has which words."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from bs4 import BeautifulSoup, Tag

# Words that are in most sections lead nowhere.
COMMON = 0.4
SHORTEST = 2  # letters


class Section(NamedTuple):
    """A heading's id and text ("" and the page's title at its beginning), and the words below."""

    id: str
    title: str
    words: frozenset[str]


def sections_of(soup: BeautifulSoup, title: str) -> list[Section]:
    """A page's sections of the second and third level, whose headings have ids.

    Prose and names in its code in a line count; cells of code and what they printed do not.
    """
    sections = []
    place, heading = "", title
    texts: list[str] = []
    for tag in soup.find_all(["h2", "h3", "p", "li", "td", "th", "summary"]):
        if tag.find_parent(class_=["code_cell"]):
            continue
        if tag.name in ("h2", "h3"):
            sections.append(Section(place, heading, words(texts)))
            place, heading, texts = str(tag["id"]), tag.get_text().strip(), []
        else:
            texts.append(_own_text(tag))
    sections.append(Section(place, heading, words(texts)))
    return sections


def _own_text(tag: Tag) -> str:
    """The tag's text; of a list's item that holds others, only what they do not say themselves."""
    if tag.find(["p", "li", "td"]):
        return ""
    return tag.get_text(" ")


def words(texts: Iterable[str]) -> frozenset[str]:
    """The words of texts in small letters without accents, as the page's script reads a query."""
    found: set[str] = set()
    for text in texts:
        plain = unicodedata.normalize("NFKD", text.lower())
        plain = "".join(letter for letter in plain if not unicodedata.combining(letter))
        found |= set(re.findall(r"\w+", plain))
    return frozenset(word for word in found if len(word) >= SHORTEST and not word.isdigit())


def index_json(pages: Sequence[tuple[str, str, Sequence[Section]]]) -> str:
    """The index of pages, each its file, its title and its sections.

    {"pages": [[file, title]], "sections": [[page, id, title]], "words": {word: [section]}}; pages
    and sections are numbers.
    """
    entries: list[tuple[int, str, str]] = []
    where: dict[str, list[int]] = {}
    for number, (_, _, sections) in enumerate(pages):
        for section in sections:
            for word in section.words:
                where.setdefault(word, []).append(len(entries))
            entries.append((number, section.id, section.title))
    most = max(COMMON * len(entries), 1)
    content = {
        "pages": [[file, title] for file, title, _ in pages],
        "sections": entries,
        "words": {word: where[word] for word in sorted(where) if len(where[word]) <= most},
    }
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c")  # else a text could end the script
