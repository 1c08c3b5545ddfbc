"""What instructors are handed: links lead somewhere, sums are right, what is named exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from vaetl_helpers import exercises
from vaetl_helpers.app.cli import app
from vaetl_helpers.authoring.build import sources
from vaetl_helpers.chapters import number_of
from vaetl_helpers.practice import bets

ROOT = Path(__file__).parents[2]
PAGES = [*sorted(ROOT.glob("docs/instructors/*.md")), ROOT / "llms.txt"]
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
NAMED = re.compile(r"`([a-z]+\.[a-z_0-9]+)`")  # exercises and bets; files have other endings
FILES = (
    ".md",
    ".txt",
    ".html",
    ".ipynb",
    ".json",
    ".csv",
    ".key",
    ".pub",
    ".db",
    ".py",
    ".verdict",
)
PARTS = ("Goal", "Misconception", "Bet", "Exercise", "Discussion", "Homework")
LESSONS = ROOT / "docs/instructors/lessons.md"
PLANS = ROOT / "docs/instructors/plans.md"
ENDS_OTHERWISE = {"05a"}  # its open task is the capstone


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    found = set()
    for heading in re.findall(r"(?m)^#+ (.*)$", text):
        words = re.sub(r"[^\w\s-]", "", heading.lower())
        found.add(re.sub(r"\s", "-", words))
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    text = page.read_text("utf-8")
    links = LINK.findall(text)
    assert links
    for link in links:
        if link.startswith("https://"):
            continue
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        assert target.exists(), f"{page.name}: {link}"
        if anchor:
            assert anchor in anchors(target.read_text("utf-8")), f"{page.name}: {link}"


@pytest.mark.parametrize("page", [LESSONS, PLANS], ids=lambda page: page.name)
def test_every_exercise_and_bet_that_is_named_exists(page: Path) -> None:
    known = set(exercises.all_ids()) | set(bets.all_bets())
    named = {name for name in NAMED.findall(page.read_text("utf-8")) if not name.endswith(FILES)}
    assert len(named) > 20
    assert named - known == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_that_is_named_exists(page: Path) -> None:
    commands = {command.name or command.callback.__name__ for command in app.registered_commands}
    commands |= {group.name for group in app.registered_groups}
    named = set(re.findall(r"`vaetl ([a-z-]+)", page.read_text("utf-8")))
    assert named <= commands


@pytest.mark.parametrize("page", [LESSONS, PLANS], ids=lambda page: page.name)
def test_minutes_add_up(page: Path) -> None:
    """Each table of minutes says the sum of its rows."""
    checked = 0
    for table in re.findall(r"(?m)(?:^\|.*\n)+", page.read_text("utf-8")):
        total = re.search(r"\*\*(\d+)\*\* \| \*\*sum\*\*", table)
        if not total:
            continue
        header, _, *rows = table.splitlines()
        column = [cell.strip() for cell in header.split("|")].index("minutes")
        cells = [row.split("|")[column].strip() for row in rows]
        assert sum(int(cell) for cell in cells if cell.isdigit()) == int(total[1])
        checked += 1
    assert checked


@pytest.mark.parametrize("source", sources(ROOT / "course"), ids=number_of)
def test_every_chapter_has_one_open_task(source: Path) -> None:
    """It says what to write down, and how to know that it is answered."""
    if number_of(source) in ENDS_OTHERWISE:
        pytest.skip("its open task is the capstone")
    (task,) = re.findall(r"(?ms)^# ## An open task$(.*?)^$", source.read_text("utf-8"))
    assert "# Write down " in task and "# The task is answered when " in task


def test_every_chapter_has_a_lesson_plan() -> None:
    lessons = re.split(r"(?m)^## ", LESSONS.read_text("utf-8"))[1:]
    numbers = [lesson.split(" ")[0] for lesson in lessons]
    assert numbers == [number_of(path) for path in sources(ROOT / "course")]
    for lesson in lessons:
        assert re.findall(r"(?m)^- \*\*(\w+)\.\*\*", lesson) == list(PARTS), lesson[:30]
