"""The talk of twenty minutes over the whole course, made of chapters' slides by talk.yaml."""

from __future__ import annotations

import html
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import yaml

from vaetl_helpers import figures
from vaetl_helpers.authoring.index_page import verdict_line
from vaetl_helpers.authoring.notebook_page import text_html
from vaetl_helpers.authoring.preview import ledger_png
from vaetl_helpers.authoring.slides.chapter import chapter_slides
from vaetl_helpers.authoring.slides.deck import Deck, Slide
from vaetl_helpers.claims import Row, ledger
from vaetl_helpers.errors import CourseError, unknown_name_error
from vaetl_helpers.figures.catalogue import data_uri

LEDGER_ALT = (
    "The claims, one below the other, and beside each a mark for every comparison that was "
    "recorded: supported, contradicted, no gain, or undecided."
)


def talk_plan() -> Mapping[str, Any]:
    """What talk.yaml says: a title, and for each slide its minutes, what it shows and its notes."""
    path = Path(__file__).with_name("talk.yaml")
    plan: Mapping[str, Any] = yaml.safe_load(path.read_text("utf-8"))
    return plan


def talk_slides(solutions: Mapping[str, Path]) -> Deck:
    """The talk, from the solved notebooks by chapter; CourseError for a slide that is not there."""
    plan = talk_plan()
    chapters = {entry["chapter"] for entry in plan["slides"] if "chapter" in entry}
    decks = {number: chapter_slides(solutions[number]) for number in sorted(chapters)}
    rows = ledger()
    slides, modules = [], set()
    for entry in plan["slides"]:
        content = _content(entry, decks, rows)
        notes = text_html(entry["notes"])
        kind = entry.get("kind", "idea")
        slides.append(Slide(entry["title"], content, notes, kind, entry["minutes"]))
        modules |= {name for deck in decks.values() for name in deck.modules if _has(content, name)}
    return Deck(plan["title"], slides, sorted(modules))


def _content(entry: Mapping[str, Any], decks: Mapping[str, Deck], rows: list[Row]) -> str:
    """What a slide of the talk shows: a slide of a chapter, a diagram, verdicts, or a text."""
    content = ""
    if "text" in entry:
        content += text_html(entry["text"])
    if "chapter" in entry:
        content += _slide_of(decks[entry["chapter"]], entry["slide"]).content
    if "diagram" in entry:
        name = entry["diagram"]
        alt = html.escape(figures.diagram(name).alt)
        picture = f'<img src="{figures.svg_uri(name)}" alt="{alt}">'
        content += f'<figure class="diagram">{picture}</figure>'
    if "verdicts" in entry:
        chosen = [row for row in rows if row.id.startswith(f"{entry['verdicts']}/")]
        content += verdict_line(chosen)
    if entry.get("ledger"):
        content += _ledger(rows)
    if not content:
        raise CourseError(f'talk.yaml: the slide "{entry["title"]}" shows nothing.')
    return content


def _slide_of(deck: Deck, title: str) -> Slide:
    for slide in deck.slides:
        if slide.title == title:
            return slide
    raise unknown_name_error("slide of the talk", title, [slide.title for slide in deck.slides])


def _ledger(rows: list[Row]) -> str:
    """The whole ledger at one glance."""
    uri = data_uri(ledger_png(rows), "image/png")
    plt.close("all")
    return f'<figure class="plot paper"><img src="{uri}" alt="{html.escape(LEDGER_ALT)}"></figure>'


def _has(content: str, module: str) -> bool:
    return f'data-module="{module}"' in content
