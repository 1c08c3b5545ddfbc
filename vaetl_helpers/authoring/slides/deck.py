"""A deck of slides as one page: its own style sheet and scripts, and nothing from elsewhere.

The page is ours and not reveal.js: nbconvert only names reveal.js by an address on the network, and
its parts (the window for the speaker among them) break the policy that every page of the course
keeps. What a talk needs of it is the script beside this module.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from vaetl_helpers.authoring.document import head, script_tag, styles
from vaetl_helpers.authoring.living_pages import page_script

HELP = (
    "Arrow keys or space: next and back. N: notes below the slide. S: a window for the speaker, "
    "with notes and a clock. F: whole screen. Home, End: first and last slide."
)


class Slide(NamedTuple):
    """One slide: its title as text, what it shows and what the speaker may say, both as HTML.

    `kind` is a word for the style sheet, `minutes` how long a talk stays with it.
    """

    title: str
    content: str
    notes: str
    kind: str = "idea"
    minutes: float = 0


class Deck(NamedTuple):
    """Slides with a title, and the modules of the living figures that are on them."""

    title: str
    slides: Sequence[Slide]
    modules: Sequence[str] = ()


def deck_page(deck: Deck) -> str:
    """The page of a deck; it asks for nothing, as every page of the course."""
    scripts = [text for text in (page_script(deck.modules), _beside("deck.js")) if text]
    total = len(deck.slides)
    sections = [_section(slide, place, total) for place, slide in enumerate(deck.slides, start=1)]
    lines = [
        "<!doctype html>",
        '<html lang="en">',
        f"<head>\n{head(scripts)}\n<title>{html.escape(deck.title)}: slides</title>",
        f"{styles()}\n<style>\n{_beside('deck.css')}</style>\n</head>",
        "<body>",
        "<main>",
        *sections,
        "</main>",
        _bar(deck.title),
        *map(script_tag, scripts),
        "</body>",
        "</html>\n",
    ]
    return "\n".join(lines)


def _section(slide: Slide, place: int, total: int) -> str:
    """A slide as HTML; its minutes, if it has any, are for the window of the speaker."""
    label = html.escape(f"Slide {place} of {total}: {slide.title}")
    level = "h1" if place == 1 else "h2"
    minutes = f' data-minutes="{slide.minutes:g}"' if slide.minutes else ""
    return (
        f'<section class="slide {slide.kind}" id="slide-{place}" aria-label="{label}"{minutes}>\n'
        f"<{level}>{html.escape(slide.title)}</{level}>\n"
        f'<div class="room"><div class="content">{slide.content}</div></div>\n'
        f'<aside class="notes" aria-label="Notes">{slide.notes}</aside>\n'
        "</section>"
    )


def _bar(title: str) -> str:
    """The line below the slides: what the deck is, how it is moved, and where one is."""
    return (
        '<nav class="deck-bar" aria-label="Slides" hidden>'
        f'<span class="deck-title">{html.escape(title)}</span>'
        f'<details><summary>Keys</summary><p class="keys">{HELP}</p></details>'
        '<button type="button" class="back" aria-label="Previous slide">←</button>'
        '<output class="place" aria-live="polite"></output>'
        '<button type="button" class="next" aria-label="Next slide">→</button>'
        "</nav>"
    )


def _beside(name: str) -> str:
    return Path(__file__).with_name(name).read_text("utf-8")
