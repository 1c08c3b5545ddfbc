"""Links from the first use of each of the glossary's terms on a page to the glossary's own page."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple

from bs4 import BeautifulSoup, NavigableString, Tag

PAGE = "glossary.html"
ENTRY = re.compile(r"^- \*\*(?P<names>.+?)\*\*(?P<rest>.*)$")
SEE = re.compile(r"^: see ")
CAPITALS = 2  # so many make a name that is written in no other way: ELBO, BatchNorm
# Terms that the prose also uses as plain words: a link would often lead to the wrong meaning.
EVERYDAY = {"effect", "overlap", "precision", "recall", "schedule", "supported", "contradicted"}
# Where a reader would not look for a link, or where there is one already.
NO_LINKS = ("a", "code", "pre", "math", "summary", "details", "button", "strong", "figcaption")
PROSE = "p, li, td"


class Term(NamedTuple):
    """An entry of the glossary: its names, the id of its place, and its first sentence."""

    names: tuple[str, ...]
    id: str
    sentence: str


def read_terms(path: Path) -> list[Term]:
    """The entries of a glossary in Markdown, without those that only say "see"."""
    lines = path.read_text("utf-8").splitlines()
    terms = []
    for number, line in enumerate(lines):
        entry = ENTRY.match(line)
        if entry is None or SEE.match(entry["rest"]):
            continue
        sentence = lines[number + 1].strip() if number + 1 < len(lines) else ""
        names = tuple(entry["names"].split(", "))
        terms.append(Term(names, term_id(entry["names"]), _plain(sentence)))
    return terms


def term_id(names: str) -> str:
    """The id of an entry: "term-elbo-evidence-lower-bound"."""
    return "term-" + re.sub(r"\W+", "-", names.lower()).strip("-")


def _plain(markdown: str) -> str:
    return re.sub(r"[*`$]", "", markdown)


def mark_entries(soup: BeautifulSoup) -> None:
    """Gives each entry of the glossary's page the id that links lead to."""
    for name in soup.select("li > strong:first-child, li > p:first-child > strong:first-child"):
        item = name.find_parent("li")
        assert item is not None
        item["id"] = term_id(name.get_text())


def link_terms(soup: BeautifulSoup, terms: Sequence[Term]) -> None:
    """Links the first use of each term in the page's prose; later uses stay as they are."""
    by_name = {}
    for term in terms:
        for name in term.names:
            if name.lower() not in EVERYDAY:
                by_name[name.lower()] = (name, term)
    if not by_name:
        return
    longest_first = sorted(by_name, key=len, reverse=True)
    names = "|".join(map(re.escape, longest_first))
    pattern = re.compile(rf"(?<![\w-])({names})(?:s|es)?(?![\w-])", re.IGNORECASE)
    linked: set[str] = set()
    for text in _prose(soup):
        _link_in(text, pattern, by_name, linked)


def _prose(soup: BeautifulSoup) -> list[NavigableString]:
    """The pieces of text in which a link may stand, in the order in which they are read."""
    pieces = []
    for block in soup.select(PROSE):
        if block.find_parent(class_="code_cell"):
            continue
        for piece in block.find_all(string=True):
            nearest = piece.find_parent(["p", "li", "td"])
            if nearest is block and not piece.find_parent(NO_LINKS):
                pieces.append(piece)
    return pieces


def _link_in(
    text: NavigableString,
    pattern: re.Pattern[str],
    by_name: dict[str, tuple[str, Term]],
    linked: set[str],
) -> None:
    """Puts links into a piece of text for the terms that have none yet."""
    parts, end = [], 0
    for match in pattern.finditer(text):
        name, term = by_name[match[1].lower()]
        if term.id in linked or not _is_spelled(name, match[1]):
            continue
        linked.add(term.id)
        parts += [escape(text[end : match.start()]), _link(term, match[0])]
        end = match.end()
    if parts:
        parts.append(escape(text[end:]))
        text.replace_with(BeautifulSoup("".join(parts), "html.parser"))


def _is_spelled(name: str, written: str) -> bool:
    """Whether a name with several capitals is written with them: FLOP, and not flop."""
    if sum(letter.isupper() for letter in name) >= CAPITALS:
        return name == written
    return True


def _link(term: Term, written: str) -> str:
    title = escape(term.sentence, quote=True)
    return f'<a class="term" href="{PAGE}#{term.id}" title="{title}">{escape(written)}</a>'


def is_glossary(soup: Tag) -> bool:
    """Whether a page is the glossary itself, whose entries are the targets."""
    return soup.h1 is not None and soup.h1.get_text().strip() == "Glossary"
