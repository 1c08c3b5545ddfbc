"""`recall` asks again what earlier chapters taught, and `quiz` asks the quiz of a chapter.

Both are noted in progress.jsonl. Without controls they show the questions with answers that unfold.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from vaetl_helpers import progress
from vaetl_helpers.errors import CourseError, unknown_name_error
from vaetl_helpers.output import say
from vaetl_helpers.practice import panels, schedule
from vaetl_helpers.practice.items import Item, quiz_items, recall_items


def recall(chapter: str, count: int = 4, needs: Sequence[str] = (), later: int = 0) -> None:
    """Asks `count` questions of the chapters before this one, chosen by what was missed and when.

    Of new questions, those of the chapters that it `needs` come first; the first `later` of each
    wait, as two chapters that need the same would ask the same. Where no person works, it shows the
    same questions to everybody, with answers that unfold. Raises CourseError for a chapter that has
    none before it, and for needs that do not come before it.
    """
    items = _earlier(chapter, needs, later)
    if not progress.is_learner_here():
        panels.show_text(_unfolding(items[:count]))
        return
    answers = answered()
    items += [item for item in _quizzes_before(chapter) if item.id in answers]
    by_id = {item.id: item for item in items}
    chosen = schedule.choose(list(by_id), answers, datetime.now(UTC), count)
    _ask_or_show([by_id[id] for id in chosen])


def quiz(chapter: str) -> None:
    """Asks the quiz of a chapter and notes the answers, where a person works with controls.

    Elsewhere it shows nothing, since the questions stand above with answers that unfold.
    """
    if not progress.is_learner_here():
        return
    items = list(quiz_items(chapter).values())
    if panels.have_widgets():
        for item in items:
            _ask(item)
    else:
        say("Open the choices above to see which are right: here there are no controls to answer.")


def answered(folder: Path | None = None) -> dict[str, list[schedule.Answer]]:
    """The learner's answers to items by id, oldest first; damaged notes are left out."""
    by_id: dict[str, list[schedule.Answer]] = {}
    for entry in progress.entries(folder):
        id, right = entry.get("item"), entry.get("right")
        if not isinstance(id, str) or not isinstance(right, bool):
            continue
        try:
            time = datetime.fromisoformat(str(entry.get("time"))).astimezone(UTC)
        except ValueError:
            continue
        by_id.setdefault(id, []).append(schedule.Answer(time, right))
    for given in by_id.values():
        given.sort()
    return by_id


def _earlier(chapter: str, needs: Sequence[str], later: int = 0) -> list[Item]:
    """The items of the chapters before, one of each chapter in turn, the last chapter first.

    Those of `needs` stand before all others, and their first `later` ones at the end of them.
    """
    by_chapter: dict[str, list[Item]] = {}
    for item in recall_items().values():
        if item.chapter < chapter:
            by_chapter.setdefault(item.chapter, []).append(item)
    if not by_chapter:
        raise CourseError(
            f'There is no chapter before "{chapter}" to recall: name a chapter, such as 03b.'
        )
    for number in needs:
        if number not in by_chapter:
            raise unknown_name_error("earlier chapter", number, by_chapter)
    numbers = sorted(by_chapter, reverse=True)
    needed = [by_chapter[number] for number in numbers if number in needs]
    needed = [[*items[later:], *items[:later]] for items in needed]
    others = [by_chapter[number] for number in numbers if number not in needs]
    return [*_in_turn(needed), *_in_turn(others)]


def _in_turn(lists: Sequence[Sequence[Item]]) -> Iterator[Item]:
    for place in range(max(map(len, lists), default=0)):
        for items in lists:
            if place < len(items):
                yield items[place]


def _quizzes_before(chapter: str) -> Iterator[Item]:
    """The questions of the quizzes of earlier chapters."""
    for number in sorted({item.chapter for item in recall_items().values()}):
        if number < chapter:
            yield from quiz_items(number).values()


def _ask_or_show(items: Sequence[Item]) -> None:
    if panels.have_widgets():
        for item in items:
            _ask(item)
    else:
        panels.show_text(_unfolding(items))


def _ask(item: Item) -> None:
    """Shows a question with controls; the answer is noted, and explained."""

    def on_answer(name: str, _: float | None) -> str:
        choice = item.choices[int(name)]
        progress.add(item=item.id, right=choice.is_right)
        if choice.is_right:
            return _opened("Right.", choice.why)
        return f"Not this one. {choice.why} Right is: {item.right.text}"

    names = {str(number): choice.text for number, choice in enumerate(item.choices)}
    panels.ask_choice(item.question, names, (), on_answer)


def _opened(word: str, why: str) -> str:
    """The explanation with the word before it, unless it begins with it."""
    return why if why.startswith(word.rstrip(".")) else f"{word} {why}"


def _unfolding(items: Iterable[Item]) -> str:
    """The questions as Markdown, each with its choices and an answer that unfolds."""
    parts = []
    for number, item in enumerate(items, start=1):
        parts.append(f"**{number}. {item.question}**")
        parts.append("\n".join(f"- {choice.text}" for choice in item.choices))
        answer = html.escape(f"{item.right.text.rstrip('.')}. {item.right.why}", quote=False)
        parts.append(f"<details><summary>The answer</summary>\n\n{answer}\n</details>")
    return "\n\n".join(parts)
