"""The slides of one chapter, from its executed solution.

A cell whose source says `slide="Title"` becomes a slide: the figures, tables or lines that its code
has shown, or the diagram, formulas, list or table of its text. Aims, exercises, bets, quiz and
take-away become slides by themselves. What the chapter says before and after is the speaker's text.
"""

from __future__ import annotations

import copy
import html
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import nbformat
from bs4 import BeautifulSoup, Tag
from bs4.element import Script

from vaetl_helpers import exercises
from vaetl_helpers.authoring.build import SLIDE
from vaetl_helpers.authoring.notebook_page import rendered
from vaetl_helpers.authoring.slides.deck import Deck, Slide
from vaetl_helpers.errors import CourseError
from vaetl_helpers.practice import bets
from vaetl_helpers.practice.items import Item, quiz_items

HEADINGS = ("h1", "h2", "h3", "h4")
SHOWN = "figure.living, figure.plot, .output_html .scroll"  # of a code cell's outputs
PRINTED = ".output_stream pre, .output_text pre"
BLOCKS = "div.formula, ul, ol, .scroll, blockquote, .highlight"  # of a text without diagrams
EXERCISE = re.compile(r"(?m)^#+ (?P<title>.*) · (?P<minutes>\d+) minutes(?P<level>.*)$")
# What a living figure has on a page and a slide has no room for: the sheet to draw a digit on.
PAGES_ONLY = {"latent_plane": (("vae", "encoder"), ("digits",))}
PREDICT = re.compile(r'(?m)^predict\("([\w.]+)"')
SETTLE = r'(?m)^settle\("{id}"'


def chapter_slides(path: Path) -> Deck:
    """The deck of a solved notebook; CourseError for a slide that would show nothing."""
    chapter = _Chapter(path)
    return Deck(chapter.title, list(chapter.slides()), chapter.modules)


class _Chapter:
    """A solved notebook with what each of its cells has become on the page."""

    def __init__(self, path: Path):
        notebook = nbformat.read(path, as_version=4)
        facts = notebook.metadata.get("vaetl", {})
        self.name = path.name
        self.number = str(facts.get("chapter", ""))
        self.minutes: Mapping[str, Any] = facts.get("minutes", {})
        self.title = f"{self.number.lstrip('0')} {facts.get('title', path.stem)}".strip()
        self.cells = notebook.cells
        self.soup, self.modules = rendered(copy.deepcopy(notebook), set())

    def slides(self) -> Iterator[Slide]:
        """All slides, in the order of the cells."""
        for place, cell in enumerate(self.cells):
            title = cell.metadata.get("vaetl", {}).get(SLIDE)
            if title:
                yield self._tagged(place, title)
            elif cell.cell_type == "markdown":
                yield from self._of_text(place)
            else:
                yield from self._of_code(place)

    # ------------------------------------------------------------ slides by themselves

    def _of_text(self, place: int) -> Iterator[Slide]:
        source = self.cells[place].source
        if re.search(r"(?m)^## What you will be able to do", source):
            yield self._opening(place)
        elif re.search(r"(?m)^## Quiz", source):
            yield from map(_question, quiz_items(self.number).values())
        elif re.search(r"(?m)^##+ .*Take-away", source):
            content = _joined(self._section(place), "ul, ol")
            yield Slide("Take-away", content, "<p>Ask for one sentence from each table.</p>")

    def _of_code(self, place: int) -> Iterator[Slide]:
        cell = self.cells[place]
        id = cell.metadata.get("vaetl", {}).get("exercise")
        if id:
            yield self._exercise(place, id)
        for bet in PREDICT.findall(cell.source):
            yield self._bet(bet)

    def _opening(self, place: int) -> Slide:
        """The chapter's title, its aims, and how long it takes."""
        known = [f"{kind} {value} minutes" for kind, value in self.minutes.items()]
        notes = f"<p>Alone, the chapter takes: {html.escape(', '.join(known))}.</p>"
        content = _joined(self._section(place), "ul, ol")
        lede = '<p class="lede">After this chapter you can</p>'
        return Slide(self.title, lede + content, notes, "opening")

    def _exercise(self, place: int, id: str) -> Slide:
        """What an exercise asks for; its hints are in the notes."""
        exercise = exercises.get(id)
        above, match = self._title_above(place)
        stub = self._cell(f"{self.cells[place].id}-stub") or self._cell(self.cells[place].id)
        code = _joined([stub], ".highlight") if stub else ""
        lede = f'<p class="lede">{match["minutes"]} minutes {html.escape(match["level"])}</p>'
        hints = "".join(f"<li>{html.escape(hint)}</li>" for hint in exercise.hints)
        task = _texts(self._last_section(above))
        notes = f"<p>Hints, one after the other:</p><ol>{hints}</ol>"
        return Slide(match["title"], lede + task + code, notes, "exercise")

    def _title_above(self, place: int) -> tuple[int, re.Match[str]]:
        """The cell above an exercise that has its title with minutes: the build asks for one."""
        while place >= 0:
            cell = self.cells[place]
            titles = list(EXERCISE.finditer(cell.source)) if cell.cell_type == "markdown" else []
            if titles:
                return place, titles[-1]
            place -= 1
        raise CourseError(f"{self.name}: an exercise has no title such as ### Sum · 5 minutes.")

    def _bet(self, id: str) -> Slide:
        """A bet, and in the notes what the chapter says once it is settled."""
        bet = bets.find(id)
        content = f'<p class="lede">{html.escape(bet.question)}</p>'
        if bet.choices:
            content += _list(bet.choices.values())
        else:
            content += (
                "<p>Write down an interval that you are 80 % sure of"
                f"{html.escape(f', in {bet.unit}' if bet.unit else '')}.</p>"
            )
        notes = "<p>Everybody writes an answer down; then a show of hands, before any run.</p>"
        for place, cell in enumerate(self.cells):
            if cell.cell_type == "code" and re.search(SETTLE.format(id=re.escape(id)), cell.source):
                notes += f"<p>How it comes out:</p>{self._after(place)}"
        return Slide("Your bet", content, notes, "bet")

    # ------------------------------------------------------------ slides that are asked for

    def _tagged(self, place: int, title: str) -> Slide:
        cell = self.cells[place]
        if cell.cell_type == "markdown":
            content, notes = self._of_tagged_text(place)
        else:
            content, notes = self._of_tagged_code(place), self._before(place) + self._after(place)
        if not content:
            raise CourseError(
                f'{self.name}: the slide "{title}" would show nothing; execute the chapter '
                f"(vaetl build {self.number}), or give its title to another cell."
            )
        return Slide(title, content, notes)

    def _of_tagged_code(self, place: int) -> str:
        """A cell's figures and tables, else what it has printed, else its code."""
        element = self._cell(self.cells[place].id)
        if element is None:
            return ""
        shown = _joined([element], SHOWN) or _joined([element], PRINTED)
        return shown or _joined([element], ".highlight")

    def _of_tagged_text(self, place: int) -> tuple[str, str]:
        """What a text shows beside its sentences, and its sentences for the speaker."""
        section = self._section(place)
        content = _joined(section, "figure.diagram") or _with_leads(section)
        paragraphs = [tag for tag in section if tag.name == "p"]
        if not content and paragraphs:
            content = f'<div class="lede">{_clean(paragraphs.pop(0))}</div>'
        return content, "".join(map(_clean, paragraphs))

    # ------------------------------------------------------------ the text around a cell

    def _cell(self, id: str) -> Tag | None:
        found = self.soup.find(id=f"cell-id={id}")
        return found if isinstance(found, Tag) else None

    def _tags(self, place: int) -> list[Tag]:
        """The elements of a cell of text, in order."""
        element = self._cell(self.cells[place].id)
        text = element.select_one(".rendered_html") if element else None
        return [tag for tag in text.children if isinstance(tag, Tag)] if text else []

    def _section(self, place: int) -> list[Tag]:
        """The first section of a cell of text, without its heading."""
        tags = self._tags(place)
        if tags and tags[0].name in HEADINGS:
            tags = tags[1:]
        for number, tag in enumerate(tags):
            if tag.name in HEADINGS:
                return tags[:number]
        return tags

    def _last_section(self, place: int) -> list[Tag]:
        """The last section of a cell of text, without its heading."""
        section: list[Tag] = []
        for tag in self._tags(place):
            section = [] if tag.name in HEADINGS else [*section, tag]
        return section

    def _above(self, place: int) -> int:
        """The nearest cell of text above."""
        while place > 0 and self.cells[place].cell_type != "markdown":
            place -= 1
        return place

    def _before(self, place: int) -> str:
        return _texts(self._last_section(self._above(place)))

    def _after(self, place: int) -> str:
        """What is said of a cell's outcome: the next text, up to its first heading."""
        for number in range(place + 1, len(self.cells)):
            if self.cells[number].cell_type == "markdown":
                tags = self._tags(number)
                is_new = bool(tags) and tags[0].name in HEADINGS
                return "" if is_new else _texts(self._section(number))
        return ""


def _question(item: Item) -> Slide:
    """A question of the quiz; its explanations are the speaker's."""
    letters = "ABCDEFG"
    notes = ""
    for letter, choice in zip(letters, item.choices, strict=False):
        mark = "right" if choice.is_right else "wrong"
        notes += f"<p><strong>{letter}, {mark}.</strong> {html.escape(choice.why)}</p>"
    choices = _list([choice.text for choice in item.choices], lettered=True)
    content = f'<p class="lede">{html.escape(item.question)}</p>{choices}'
    return Slide("Quiz", content, notes, "quiz")


def _list(texts: Iterable[str], lettered: bool = False) -> str:
    """Choices as a list, or with the letters A, B, C in front."""
    items = "".join(f"<li>{html.escape(text)}</li>" for text in texts)
    return f'<ol type="A">{items}</ol>' if lettered else f"<ul>{items}</ul>"


def _joined(tags: Sequence[Tag], selector: str) -> str:
    """All that the selector finds among these elements and within them, the outermost only."""
    parts: list[Tag] = []
    for tag in tags:
        holder = BeautifulSoup("", "html.parser").new_tag("div")
        holder.append(copy.copy(tag))
        matches = holder.select(selector)
        for match in matches:
            if not any(parent in matches for parent in match.parents):
                parts.append(match)
    return "".join(map(_clean, parts))


def _with_leads(section: Sequence[Tag]) -> str:
    """Formulas, lists and tables, each below the sentence that leads to it."""
    parts = []
    for place, tag in enumerate(section):
        block = _joined([tag], BLOCKS)
        if block and place and section[place - 1].name == "p":
            parts.append(_last_sentence(section[place - 1]))
        parts.append(block)
    return "".join(parts)


def _last_sentence(paragraph: Tag) -> str:
    """The last sentence of a paragraph: sources hold one a line."""
    line = _clean(paragraph).removesuffix("</p>").rpartition("\n")[2]
    sentence = line.removeprefix("<p>")
    return f'<p class="lead">{BeautifulSoup(sentence, "html.parser")}</p>'


def _texts(tags: Sequence[Tag]) -> str:
    """The sentences among these elements: figures stand on the slide, answers stay folded."""
    return "".join(_clean(tag) for tag in tags if tag.name not in ("figure", *HEADINGS))


def _for_slides(figure: Tag) -> None:
    """Takes out of a living figure's data what is for pages only."""
    for *holders, name in PAGES_ONLY.get(str(figure["data-module"]), ()):
        script = figure.select_one("script")
        assert script is not None
        content = json.loads(str(script.string))
        place = content["data"]
        for holder in holders:
            place = place[holder]
        place.pop(name, None)
        text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
        script.string = Script(text.replace("<", "\\u003c"))  # as in living_pages.figure_html


def _clean(tag: Tag) -> str:
    """An element as HTML without its ids, which must not be on a page twice."""
    twin = copy.copy(tag)
    for element in (twin, *twin.find_all(True)):
        del element["id"]
    if "living" in twin.get_attribute_list("class"):
        _for_slides(twin)
    for link in twin.select("a[href^='#']"):  # leads to a section, and there is none
        link.unwrap()
    return str(twin)
