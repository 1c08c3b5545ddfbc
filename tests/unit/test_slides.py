"""Slides: which cells become one, what it shows, what the speaker reads, and the talk."""

from __future__ import annotations

import json
import re
from pathlib import Path

import nbformat
import pytest
from bs4 import BeautifulSoup
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from vaetl_helpers.authoring import build
from vaetl_helpers.authoring.slides import chapter_slides, deck_page, talk, write_slides
from vaetl_helpers.chapters import number_of
from vaetl_helpers.errors import CourseError
from vaetl_helpers.living.figure import LIVING

COURSE = Path(__file__).parents[2] / "course"
SLIDE = re.compile(r'(?m)^# %%.* slide="([^"]*)"')
SOURCES = {number_of(path): path for path in build.sources(COURSE)}
PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJg"
    "gg=="
)


def titled(cell: nbformat.NotebookNode, title: str) -> nbformat.NotebookNode:
    cell.metadata["vaetl"] = {"slide": title}
    return cell


def solved(folder: Path, *cells: nbformat.NotebookNode) -> Path:
    """A solved notebook of chapter 03 with these cells."""
    facts = {"chapter": "03", "title": "A chapter", "minutes": {"reading": 5}}
    notebook = new_notebook(cells=list(cells), metadata={"vaetl": facts})
    path = folder / "03_a_chapter.ipynb"
    nbformat.write(notebook, path)
    return path


def drawing(source: str = "draw()") -> nbformat.NotebookNode:
    metadata = {"image/png": {"alt": "A black pixel, for a test."}}
    output = new_output("display_data", {"image/png": PIXEL}, metadata=metadata)
    return new_code_cell(source, outputs=[output], execution_count=1)


def test_a_figure_stands_on_its_slide_and_the_text_around_it_in_the_notes(tmp_path: Path) -> None:
    path = solved(
        tmp_path,
        new_markdown_cell("## Before\n\nLook at the pixel."),
        titled(drawing(), "One pixel"),
        new_markdown_cell("It is black.\n\n### Something else\n\nOther text."),
    )
    (slide,) = chapter_slides(path).slides
    assert slide.title == "One pixel"
    assert 'alt="A black pixel, for a test."' in slide.content
    assert "Look at the pixel." in slide.notes and "It is black." in slide.notes
    assert "Other text." not in slide.notes and "draw()" not in slide.content


def test_the_sheet_to_draw_on_stays_on_the_page(tmp_path: Path) -> None:
    data = {"vae": {"encoder": "e", "decoder": "a < b & c"}, "digits": "d"}
    bundle = {"image/png": PIXEL, LIVING: {"module": "latent_plane", "data": data}}
    output = new_output("display_data", bundle, metadata={"image/png": {"alt": "A plane."}})
    path = solved(tmp_path, titled(new_code_cell("plane()", outputs=[output]), "A plane"))
    deck = chapter_slides(path)
    assert list(deck.modules) == ["latent_plane"]
    script = BeautifulSoup(deck.slides[0].content, "html.parser").select_one("figure script")
    assert json.loads(script.string)["data"] == {"vae": {"decoder": "a < b & c"}}


def test_a_formula_comes_with_the_sentence_that_leads_to_it(tmp_path: Path) -> None:
    text = "## Heading\n\nFirst sentence.\nThe sum is\n\n$$a + b$$\n\nLast sentence."
    path = solved(tmp_path, titled(new_markdown_cell(text), "A sum"))
    (slide,) = chapter_slides(path).slides
    shown = BeautifulSoup(slide.content, "html.parser")
    assert shown.find("math") and shown.p.get_text() == "The sum is"
    assert "First sentence." in slide.notes and "Last sentence." in slide.notes


def test_aims_exercises_bets_and_take_away_become_slides_by_themselves(tmp_path: Path) -> None:
    exercise = new_code_cell("def kl(mu, log_var):\n    return 0")
    exercise.metadata["vaetl"] = {"exercise": "vae.kl"}
    path = solved(
        tmp_path,
        new_markdown_cell("## What you will be able to do\n\n- count;\n- add."),
        new_markdown_cell("### Exercise 2: the KL divergence · 10 minutes · ●○○\n\nSum it."),
        exercise,
        new_code_cell('predict("vae.starved")'),
        new_code_cell('settle("vae.starved", 0)'),
        new_markdown_cell("Nothing is left."),
        new_markdown_cell("## Take-away\n\n- One thing."),
    )
    slides = chapter_slides(path).slides
    kinds = [slide.kind for slide in slides]
    assert kinds == ["opening", "exercise", "bet", "idea"]
    opening, task, bet, last = slides
    assert "count;" in opening.content and "One thing." in last.content
    assert task.title == "Exercise 2: the KL divergence"
    assert "10 minutes" in task.content and "Sum it." in task.content
    assert task.notes.count("<li>") >= 2  # the hints
    assert "How much KL is left" in bet.content and "Nothing is left." in bet.notes


def test_a_slide_that_would_show_nothing_is_refused_in_a_sentence(tmp_path: Path) -> None:
    path = solved(tmp_path, titled(new_markdown_cell("### Only a heading"), "Nothing"))
    with pytest.raises(CourseError, match=r'the slide "Nothing" would show nothing; execute'):
        chapter_slides(path)


def test_ids_are_unique_and_the_page_keeps_the_policy(tmp_path: Path) -> None:
    table = "## A\n\n| a | b |\n|---|---|\n| 1 | 2 |"
    path = solved(tmp_path, *(titled(new_markdown_cell(table), "Twice") for _ in range(2)))
    page = BeautifulSoup(deck_page(chapter_slides(path)), "html.parser")
    ids = [tag["id"] for tag in page.find_all(id=True)]
    assert len(ids) == len(set(ids)) == 2
    policy = page.find("meta", attrs={"http-equiv": "Content-Security-Policy"})["content"]
    assert "default-src 'none'" in policy and "connect-src 'none'" in policy
    assert page.select("h1, h2")[0].name == "h1"


@pytest.mark.parametrize("number", SOURCES)
def test_titles_are_in_solutions_only(number: str) -> None:
    titles = SLIDE.findall(SOURCES[number].read_text("utf-8"))
    assert len(titles) >= 3 and len(set(titles)) == len(titles)
    learner, solution = build.generate(SOURCES[number])
    marked = [cell.metadata.get("vaetl", {}).get("slide") for cell in solution.cells]
    assert [title for title in marked if title] == titles
    assert not any("slide" in cell.metadata.get("vaetl", {}) for cell in learner.cells)


def test_the_talk_takes_twenty_minutes_and_shows_slides_that_exist() -> None:
    plan = talk.talk_plan()
    assert sum(entry["minutes"] for entry in plan["slides"]) == 20
    for entry in plan["slides"]:
        assert len(entry["notes"].split()) >= 20, entry["title"]
        if "chapter" in entry:
            titles = SLIDE.findall(SOURCES[entry["chapter"]].read_text("utf-8"))
            assert entry["slide"] in titles


def test_decks_are_named_as_chapters_are(tmp_path: Path) -> None:
    path = solved(tmp_path, titled(drawing(), "One pixel"))
    (written,) = write_slides(["3"], {"03": path}, tmp_path / "out")
    assert written == tmp_path / "out" / "03_a_chapter.html"
    with pytest.raises(CourseError, match="chapter"):
        write_slides(["99"], {"03": path}, tmp_path / "out")
