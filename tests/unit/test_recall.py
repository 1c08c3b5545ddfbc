"""Recall: which questions come back when, what is asked, and what is noted."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from vaetl_helpers import progress
from vaetl_helpers.chapters import chapters_in, course_dir
from vaetl_helpers.errors import CourseError
from vaetl_helpers.practice import items, panels, repetition, schedule
from vaetl_helpers.practice.schedule import Answer

NOW = datetime(2026, 5, 10, 12, tzinfo=UTC)
CHAPTERS = tuple(chapters_in(course_dir()))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, and a person who works in a notebook without controls."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(progress, "is_interactive", lambda: True)
    monkeypatch.setattr(progress, "notebook_kernel", object)
    monkeypatch.setattr(progress, "unwritten", [])
    for name in ("VAETL_GRADING", "NBGRADER_EXECUTION"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def days_ago(days: float, right: bool) -> Answer:
    return Answer(NOW - timedelta(days=days), right)


# ---------------------------------------------------------------- the questions


def test_every_chapter_has_eight_items() -> None:
    numbers = [item.chapter for item in items.recall_items().values()]
    assert {number for number in CHAPTERS if numbers.count(number) >= 8} == set(CHAPTERS)


@pytest.mark.parametrize("item", items.recall_items().values(), ids=items.recall_items())
def test_an_item_can_be_answered(item: items.Item) -> None:
    texts = [choice.text for choice in item.choices]
    assert len(set(texts)) == len(texts) in (3, 4)
    assert sum(choice.is_right for choice in item.choices) == 1
    assert item.question.endswith("?") and item.right.why.endswith((".", "!"))
    # A comma in a YAML list without quotes would cut an answer in two.
    names = ("profile", "seed", "data_root")
    assert not [text for text in texts if text[0].islower() and text not in names]


def test_the_right_answer_does_not_always_stand_in_the_same_place() -> None:
    places = [
        [choice.is_right for choice in item.choices].index(True)
        for item in items.recall_items().values()
    ]
    assert min(places.count(place) for place in range(3)) > len(places) / 6


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_the_quiz_of_a_notebook_is_read(chapter: str) -> None:
    questions = items.quiz_items(chapter)
    assert len(questions) >= 2
    for item in questions.values():
        assert sum(choice.is_right for choice in item.choices) == 1 and len(item.choices) >= 2
        assert not [choice for choice in item.choices if "<" in choice.text or "**" in choice.text]
        assert all(choice.why for choice in item.choices)


def test_unknown_chapters_are_refused(here: Path) -> None:
    with pytest.raises(CourseError, match="03b"):
        items.quiz_items("03d")
    with pytest.raises(CourseError, match="no chapter before"):
        repetition.recall("00")


def test_questions_of_chapters_that_are_needed_come_first() -> None:
    found = repetition._earlier("04e", ("04", "04a"))
    assert {item.chapter for item in found[:16]} == {"04", "04a"}
    assert len(found) == len(repetition._earlier("04e", ()))
    again = repetition._earlier("04e", ("04", "04a"), later=2)  # another chapter with these needs
    assert not {item.id for item in found[:4]} & {item.id for item in again[:4]}
    assert {item.id for item in again} == {item.id for item in found}
    with pytest.raises(CourseError, match="04f"):
        repetition._earlier("04e", ("04f",))


# ---------------------------------------------------------------- which ones come back


@pytest.fixture(params=["fsrs", "without fsrs"])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "fsrs":
        pytest.importorskip("fsrs")
    else:
        monkeypatch.setattr(schedule.importlib.util, "find_spec", lambda name: None)
        monkeypatch.setitem(sys.modules, "fsrs", None)
    return request.param


def test_what_was_missed_comes_first_then_what_is_new(library: str) -> None:
    answers = {
        "known": [days_ago(1, True)],
        "missed": [days_ago(1, False)],
    }
    ids = ["known", "new", "missed", "newer"]
    assert schedule.choose(ids, answers, NOW, 3) == ["missed", "new", "newer"]
    assert set(schedule.choose(ids, answers, NOW, 9)) == set(ids)


def test_a_question_that_was_missed_a_minute_ago_waits(library: str) -> None:
    answers = {"missed": [days_ago(1 / 1440, False)]}
    assert schedule.choose(["missed", "new"], answers, NOW, 2) == ["new", "missed"]
    later = NOW + timedelta(minutes=10)
    assert schedule.choose(["missed", "new"], answers, later, 2) == ["missed", "new"]


def test_without_new_questions_the_oldest_answer_comes_first(library: str) -> None:
    answers = {"old": [days_ago(9, True)], "young": [days_ago(1, True)], "mid": [days_ago(4, True)]}
    ids = ["young", "old", "mid"]
    assert schedule.choose(ids, answers, NOW, 3) == ["old", "mid", "young"]


def test_with_fsrs_an_answer_fades() -> None:
    pytest.importorskip("fsrs")
    known = schedule.memories({"a": [days_ago(1, True)], "b": [days_ago(60, True)]}, NOW)
    assert 0 < known["b"].strength < known["a"].strength < 1
    assert known["b"].is_due and not known["a"].is_due
    mended = [days_ago(2, False), days_ago(1, True)]  # comes back sooner than what was never missed
    assert schedule.memories({"a": mended}, NOW)["a"].strength < known["a"].strength


# ---------------------------------------------------------------- what is asked and noted


def test_a_run_shows_the_same_questions_to_everybody(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "is_interactive", lambda: False)
    repetition.recall("03")
    said = capsys.readouterr().out
    assert said.count("<details>") == said.count("</details>") == 4
    repetition.recall("03")
    assert capsys.readouterr().out == said
    repetition.quiz("03")  # it stands above, with answers that unfold
    assert capsys.readouterr().out == "" and not list(here.iterdir())


def test_recall_asks_what_was_missed(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missed = items.recall_items()["training.memory"]
    [of_quiz] = list(items.quiz_items("02").values())[:1]
    time = (datetime.now(UTC) - timedelta(days=2)).isoformat()
    lines = [
        json.dumps({"time": time, "item": missed.id, "right": False}),
        json.dumps({"time": time, "item": of_quiz.id, "right": False}),
        json.dumps({"time": time, "item": "vae.bound", "right": False}),  # of this chapter
        json.dumps({"time": "yesterday", "item": "training.step_order", "right": False}),
        json.dumps({"time": time, "item": ["a"], "right": False}),
    ]
    (here / progress.FILE).write_text("\n".join(lines), encoding="utf-8")
    repetition.recall("03")
    said = capsys.readouterr().out
    asked = [line for line in said.splitlines() if line.startswith("**")]
    assert len(asked) == 4
    assert missed.question in "".join(asked[:2]) and of_quiz.question in "".join(asked[:2])


def test_an_answer_is_noted_and_explained(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import IPython.display

    asked: list[Any] = []
    monkeypatch.setattr(IPython.display, "display", asked.append)
    monkeypatch.setattr(panels, "have_widgets", lambda: True)
    repetition.quiz("01")
    assert len(asked) == len(items.quiz_items("01"))
    item = next(iter(items.quiz_items("01").values()))
    for panel, takes_right in zip(asked, (True, False), strict=False):
        _, radio, buttons, said = panel.children
        [button] = buttons.children
        number = [choice.is_right for choice in item.choices].index(takes_right)
        radio.value = str(number) if panel is asked[0] else _wrong(panel)
        button.click()
        assert ("Right is:" in said.value) is not takes_right
    given = repetition.answered()
    assert [answer.right for answers in given.values() for answer in answers] == [True, False]


def _wrong(panel: Any) -> str:
    """The number of a wrong choice of the second question."""
    item = list(items.quiz_items("01").values())[1]
    return str([choice.is_right for choice in item.choices].index(False))


def test_a_text_in_a_panel_is_no_markup() -> None:
    shown = panels.as_html("is <b>this</b> `x < y`?")
    assert "<b>" not in shown and "<code>x &lt; y</code>" in shown
