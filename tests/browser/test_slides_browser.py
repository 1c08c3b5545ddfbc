"""Slides in Chromium without a network: nothing is asked for, nothing is cut, notes are there, and
figures move.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from in_browser import CHROMIUM, FLAGS, SCREENS
from living_page import ALT, PIXEL, VIOLATIONS
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from vaetl_helpers.authoring.slides import write_slides
from vaetl_helpers.chapters import number_of
from vaetl_helpers.living import valley
from vaetl_helpers.living.figure import LIVING

pytestmark = pytest.mark.debian("chromium", CHROMIUM)
SOLUTIONS = {
    number_of(path): path
    for path in sorted((Path(__file__).parents[2] / "course/solutions").glob("*.ipynb"))
}
SCREEN = {"width": 1280, "height": 720}
SMALLEST = 0.4  # of the sizes that the deck tries
LONG = "A sentence that has more words than a slide should have, to see that all of it is shown. "
# Whether what the present slide shows lies within its room, and its notes are there.
LOOK = """
() => {
  const slide = document.querySelector('.slide.now');
  const room = slide.querySelector('.room').getBoundingClientRect();
  const content = slide.querySelector('.content');
  const parts = [...content.querySelectorAll('p, li, pre, td, img, canvas, button, input, math')];
  const cut = parts.filter(part => {
    const box = part.getBoundingClientRect();
    return box.width > 0 && (box.bottom > room.bottom + 2 || box.right > room.right + 2);
  });
  return {
    title: slide.querySelector('h1, h2').textContent,
    size: Number(slide.dataset.size),
    cut: cut.map(part => part.outerHTML.slice(0, 60)),
    notes: slide.querySelector('.notes').textContent.trim().length,
    scrolls: document.documentElement.scrollHeight > innerHeight
      || document.documentElement.scrollWidth > innerWidth,
  };
}
"""
SETTLED = "() => (" + LOOK.strip() + ")().cut.length === 0"


def slide_of(cell: nbformat.NotebookNode, title: str) -> nbformat.NotebookNode:
    cell.metadata["vaetl"] = {"slide": title}
    return cell


@pytest.fixture(scope="module")
def deck(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A deck with all that can be on a slide: text too long for it, code, a table, a picture, and a
    figure that moves.
    """
    picture = new_output("display_data", {"image/png": PIXEL}, metadata={"image/png": {"alt": ALT}})
    living = {"module": "valley", "data": valley.valley_data()}
    bundle = {"text/plain": ALT, "image/png": PIXEL, LIVING: living}
    moving = new_output("display_data", bundle, metadata={"image/png": {"alt": ALT}})
    rows = "".join(f"| {number} | {LONG[:60]} |\n" for number in range(15))
    cells = [
        new_markdown_cell("## What you will be able to do\n\n- move a slide."),
        slide_of(new_markdown_cell("## A\n\nLook:\n\n" + f"- {LONG}\n" * 14), "A long list"),
        slide_of(
            new_markdown_cell(f"## B\n\nSome words.\nRead it:\n\n| a | b |\n|---|---|\n{rows}"),
            "A long table",
        ),
        new_markdown_cell("Words before the code."),
        slide_of(new_code_cell("x = 1  # a line of code\n" * 30), "Long code"),
        new_markdown_cell("Look at it, and say what you see."),
        slide_of(new_code_cell("draw()", outputs=[picture]), "A picture"),
        slide_of(new_code_cell("move()", outputs=[moving]), "A figure that moves"),
        new_markdown_cell("That is what was seen."),
    ]
    facts = {"chapter": "03", "title": "A chapter", "minutes": {"reading": 5}}
    folder = tmp_path_factory.mktemp("deck")
    path = folder / "03_a_chapter.ipynb"
    nbformat.write(new_notebook(cells=cells, metadata={"vaetl": facts}), path)
    (written,) = write_slides(["3"], {"03": path}, folder / "slides")
    return written


@contextlib.contextmanager
def opened(path: Path, **options: Any) -> Iterator[Any]:
    """The deck; `asked` lists what it has asked for, and an error of its script is the test's."""
    from playwright.sync_api import sync_playwright

    flags = [*FLAGS, "--host-resolver-rules=MAP * ~NOTFOUND"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        view = browser.new_context(**{"viewport": SCREEN, "offline": True, **options}).new_page()
        view.asked, errors = [], []
        own = (path.as_uri(), "data:", "blob:")
        view.on(
            "request",
            lambda request: None if request.url.startswith(own) else view.asked.append(request.url),
        )
        view.on("pageerror", lambda error: errors.append(str(error)))
        view.goto(path.as_uri())
        yield view
        browser.close()
    assert not errors


def look_at_all(view: Any) -> list[dict[str, Any]]:
    """What each slide shows, once it has found its size."""
    seen = []
    for _ in range(view.locator("section.slide").count()):
        with contextlib.suppress(Exception):  # what is cut is told below, with its name
            view.wait_for_function(SETTLED, timeout=20_000)
        seen.append(view.evaluate(LOOK))
        view.keyboard.press("PageDown")
    return seen


def assert_readable(seen: list[dict[str, Any]]) -> None:
    for slide in seen:
        assert not slide["cut"], slide
        assert not slide["scrolls"], slide
        assert slide["notes"] > 0, slide
        assert slide["size"] >= SMALLEST, slide


def test_nothing_is_cut_and_nothing_is_asked_for(deck: Path) -> None:
    with opened(deck) as view:
        seen = look_at_all(view)
        titles = [slide["title"] for slide in seen]
        assert titles[-5:] == [
            "A long list",
            "A long table",
            "Long code",
            "A picture",
            "A figure that moves",
        ]
        assert_readable(seen)
        sizes = {slide["title"]: slide["size"] for slide in seen}
        assert sizes["A long list"] < 1 < sizes["3 A chapter"]
        assert view.asked == []
        blocked, intruded = view.evaluate(VIOLATIONS)
        assert "connect-src" in blocked and not intruded


def test_a_figure_moves_on_its_slide_and_keeps_its_keys(deck: Path) -> None:
    with opened(deck) as view:
        view.keyboard.press("End")
        figure = "figure.living > div"
        view.wait_for_selector(f"{figure}[data-state]", state="attached")
        before = view.locator(figure).get_attribute("data-state")
        slider = view.get_by_role("slider").first
        slider.focus()
        slider.press("ArrowRight")
        view.wait_for_function(
            f"before => document.querySelector('{figure}').dataset.state !== before", arg=before
        )
        place = view.locator(".place").text_content()
        assert place == f"{view.locator('section.slide').count()} / 6"
        slider.press("PageUp")  # a presenter's remote moves on, wherever the focus is
        assert view.locator(".slide.now h2").text_content() == "A picture"


def test_notes_are_shown_below_the_slide_when_asked_for(deck: Path) -> None:
    with opened(deck) as view:
        view.keyboard.press("End")
        notes = view.locator(".slide.now .notes")
        assert not notes.is_visible()
        view.keyboard.press("n")
        assert notes.is_visible()
        assert "That is what was seen." in notes.inner_text()
        assert "Look at it" in notes.inner_text()


def test_the_speakers_window_moves_with_the_slides(deck: Path) -> None:
    with opened(deck) as view:
        with view.expect_popup() as popup:
            view.keyboard.press("s")
        speaker = popup.value
        speaker.wait_for_selector("html.speaker .slide.now .notes")
        view.keyboard.press("ArrowRight")
        speaker.wait_for_function(
            "() => document.querySelector('.slide.now h2')?.textContent === 'A long list'"
        )
        assert "next: A long table" in speaker.locator(".place").text_content()
        speaker.keyboard.press("ArrowRight")
        view.wait_for_function(
            "() => document.querySelector('.slide.now h2')?.textContent === 'A long table'"
        )


def test_without_a_script_every_slide_and_its_notes_can_be_read(deck: Path) -> None:
    with opened(deck, java_script_enabled=False) as view:
        assert view.locator(".slide .notes:visible").count() == 6
        assert view.locator("nav.deck-bar").is_hidden()


@pytest.mark.slow
@pytest.mark.parametrize("name", [*SOLUTIONS, "talk"])
def test_the_slides_of_the_course(name: str, tmp_path: Path) -> None:
    """Every deck of the executed solutions; what it looks like is kept for a person to see."""
    (path,) = write_slides([name], SOLUTIONS, tmp_path)
    with opened(path) as view:
        assert_readable(look_at_all(view))
        assert view.asked == []
        view.keyboard.press("Home")
        SCREENS.mkdir(exist_ok=True)
        view.screenshot(path=SCREENS / f"slides_{name}.png")
