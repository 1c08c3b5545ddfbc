"""Questions to be asked again: those of recall.yaml, and the quizzes of the chapters' notebooks."""

from __future__ import annotations

import html
import json
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from vaetl_helpers.chapters import course_dir, number_of
from vaetl_helpers.errors import CourseError, unknown_name_error


class Choice(NamedTuple):
    """An answer, whether it is right, and what is said to whoever takes it."""

    text: str
    is_right: bool
    why: str


@dataclass(frozen=True)
class Item:
    """A question of a chapter with its choices, of which one is right."""

    id: str
    chapter: str
    question: str
    choices: tuple[Choice, ...]

    @property
    def right(self) -> Choice:
        """The right choice."""
        return next(choice for choice in self.choices if choice.is_right)


@cache
def recall_items() -> dict[str, Item]:
    """The items of recall.yaml by their id, chapter by chapter."""
    path = Path(__file__).with_name("recall.yaml")
    items = {}
    for chapter, entries in yaml.safe_load(path.read_text("utf-8")).items():
        for entry in entries:
            items[entry["id"]] = _item(chapter, entry)
    return items


def _item(chapter: str, entry: Mapping[str, Any]) -> Item:
    """An item whose choices stand in an order of their own, the same each time."""
    choices = [Choice(str(entry["right"]), True, entry["why"])]
    for text in entry["wrong"]:
        choices.append(Choice(str(text), False, entry["why"]))
    random.Random(entry["id"]).shuffle(choices)
    return Item(entry["id"], chapter, entry["ask"], tuple(choices))


# A question is "**1.\nText**", a choice <details><summary>Text</summary> Explanation </details>.
QUESTION = re.compile(r"^\*\*\d+\.\s+(.*?)\*\*\s*$(.*?)(?=^\*\*\d+\.\s|\Z)", re.M | re.S)
CHOICE = re.compile(r"<details><summary>(.*?)</summary>(.*?)</details>", re.S)


@cache
def quiz_items(chapter: str) -> dict[str, Item]:
    """The quiz of a chapter by id, as its notebook has it; CourseError for an unknown chapter."""
    paths = {number_of(path): path for path in sorted(course_dir().glob("[0-9]*_*.ipynb"))}
    if chapter not in paths:
        raise unknown_name_error("chapter", chapter, paths)
    cells = json.loads(paths[chapter].read_text("utf-8"))["cells"]
    items = {}
    for cell in cells:
        source = "".join(cell["source"])
        is_quiz = cell["cell_type"] == "markdown" and "<details>" in source
        for question, answers in QUESTION.findall(source) if is_quiz else ():
            item = _quiz_item(chapter, question, answers)
            items[item.id] = item
    return items


def _quiz_item(chapter: str, question: str, answers: str) -> Item:
    """A question of a quiz; the explanation of its right choice begins with "Right"."""
    choices = []
    for text, why in CHOICE.findall(answers):
        explanation = plain(why)
        choices.append(Choice(plain(text), explanation.startswith("Right"), explanation))
    asked = plain(question)
    words = re.findall(r"[a-z0-9]+", asked.lower())[:6]
    if sum(choice.is_right for choice in choices) != 1:
        raise CourseError(f'The quiz of chapter {chapter} needs one right choice: "{asked}"')
    return Item(f"quiz.{chapter}.{'_'.join(words)}", chapter, asked, tuple(choices))


def plain(text: str) -> str:
    """Markdown and HTML of a quiz as text on one line: no tags, no emphasis."""
    text = html.unescape(re.sub(r"</?\w+>", "", text))
    return " ".join(re.sub(r"\*+(\S.*?)\*+", r"\1", text, flags=re.S).split())
