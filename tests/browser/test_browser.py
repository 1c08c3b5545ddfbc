"""A real JupyterLab in a real browser (Debian's Chromium, headless), as `vaetl lab` opens it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from in_browser import (
    CHROMIUM,
    LOOK,
    READY,
    SCREENS,
    chromium,
    jupyter,
    open_notebook,
    outside,
    run_all,
)

from vaetl_helpers.chapters import chapters_in, course_dir

pytestmark = [pytest.mark.slow, pytest.mark.debian("chromium", CHROMIUM)]
PLANE = """\
import torch
torch.set_num_threads(1)
from vaetl_helpers.living.latent_plane import latent_plane
latent_plane(alt="two planes of codes, and a sheet to draw on")
"""
# Puts a source into the cell of this id and runs it; gives its text.
ANSWER = """
async ([id, source]) => {
  const panel = window.jupyterapp.shell.currentWidget, cells = panel.content.widgets;
  const number = cells.findIndex(cell => cell.model.id === id);
  panel.content.activeCellIndex = number;
  if (source) cells[number].model.sharedModel.setSource(source);
  await window.jupyterapp.commands.execute('notebook:run-cell');
  return cells[number].model.outputs.toJSON().map(output => output.text ?? '').flat().join('');
}
"""
ACTIVE = "window.jupyterapp.shell.currentWidget.content.activeCellIndex"
CHAPTERS = chapters_in(course_dir())
SOLVED = "solved_03_variational_autoencoder.ipynb"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The address of a JupyterLab, and the folder it shows: the learner's copy, and a solution."""
    folder = tmp_path_factory.mktemp("lab")
    path = CHAPTERS["03"].path
    shutil.copy(path.parent / "solutions" / path.name, folder / SOLVED)
    SCREENS.mkdir(exist_ok=True)
    with jupyter(folder, tmp_path_factory.mktemp("settings")) as address:
        yield address, folder


@pytest.fixture(scope="module")
def page(lab: tuple[str, Path]) -> Iterator[Any]:
    with chromium() as page:
        yield page
        assert not outside(page, lab[0])


def smoke(path: Path) -> None:
    """Sets a notebook's profile to `smoke`, as a learner would."""
    notebook = nbformat.read(path, as_version=4)
    [cell] = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", ())]
    cell.source = cell.source.replace('profile: str = "auto"', 'profile: str = "smoke"')
    nbformat.write(notebook, path)


def test_the_course_opens_with_the_start_page_and_the_first_chapter(
    lab: tuple[str, Path], page: Any
) -> None:
    page.goto(f"{lab[0]}/lab", timeout=90_000)
    page.wait_for_selector(".jp-Notebook-ExecutionIndicator", timeout=90_000)
    page.wait_for_function(READY, timeout=90_000)
    assert (
        page.evaluate("window.jupyterapp.shell.currentWidget.context.path") == "00_start_here.ipynb"
    )
    titles = page.eval_on_selector_all(
        "#jp-main-dock-panel .lm-TabBar-tabLabel", "tabs => tabs.map(t => t.innerText)"
    )
    assert titles == ["00_start_here.ipynb", "01_training_step.ipynb"]
    kernel = page.evaluate(
        "window.jupyterapp.shell.currentWidget.context.sessionContext.session.kernel.name"
    )
    assert kernel == "python3"
    assert not page.query_selector(".jp-Dialog")
    page.screenshot(path=SCREENS / "lab_first_view.png")


def test_an_exercise_goes_from_not_attempted_to_correct_and_is_noted(
    lab: tuple[str, Path], page: Any
) -> None:
    address, folder = lab
    open_notebook(page, address, "00_start_here.ipynb")
    cells = run_all(page)
    assert not [cell for cell in cells if cell["error"] or not cell["ran"]]
    texts = {cell["id"]: cell["text"] for cell in cells}
    assert "[--] start.share_above: not attempted" in texts["c00-start-share_above-check"]
    tested = next(text for text in texts.values() if "tests passed" in text)
    assert "6 of 6 tests passed" in tested and "[!!]" not in tested, tested
    wrong = "def share_above(values, threshold):\n    return (values >= threshold).float().mean()"
    page.evaluate(ANSWER, ["c00-start-share_above", wrong])
    assert "[no] start.share_above" in page.evaluate(ANSWER, ["c00-start-share_above-check", ""])
    page.evaluate(ANSWER, ["c00-start-share_above", wrong.replace(">=", ">")])
    assert "[ok] start.share_above: correct" in page.evaluate(
        ANSWER, ["c00-start-share_above-check", ""]
    )
    notes = [
        json.loads(line) for line in (folder / "progress.jsonl").read_text("utf-8").splitlines()
    ]
    assert [note["status"] for note in notes] == ["not attempted", "incorrect", "correct"]
    page.screenshot(path=SCREENS / "lab_exercise.png")


# By day those with the most formulas, figures and controls; the page tests render all ten.
BY_DAY = ("03", "04", "05")
NAMES = [
    pytest.param(chapter.path.name, marks=() if number in BY_DAY else pytest.mark.nightly)
    for number, chapter in CHAPTERS.items()
]


@pytest.mark.parametrize("name", NAMES)
def test_every_notebook_opens_and_is_rendered(lab: tuple[str, Path], page: Any, name: str) -> None:
    if "/lab" not in page.url:
        page.goto(f"{lab[0]}/lab", timeout=90_000)
    page.wait_for_function("window.jupyterapp?.shell.currentWidget?.context", timeout=90_000)
    seen = page.evaluate(LOOK, name)
    assert not seen["faults"], seen["faults"]
    stored = nbformat.read(lab[1] / name, as_version=4)
    assert seen["title"].strip("¶ ") == stored.cells[0].source.splitlines()[0].removeprefix("# ")
    assert (seen["cells"], seen["markdown"]) == (
        len(stored.cells),
        sum(cell.cell_type == "markdown" for cell in stored.cells),
    )
    assert name[:2] != "03" or seen["formulas"] > 20
    page.screenshot(path=SCREENS / f"lab_{name.removesuffix('.ipynb')}.png")


def test_run_all_ends_without_an_error(lab: tuple[str, Path], page: Any) -> None:
    """In the solved chapter 3, formulas, figures and all; test_notebooks runs the others' cells."""
    address, folder = lab
    smoke(folder / SOLVED)
    open_notebook(page, address, SOLVED)
    cells = run_all(page)
    assert len(cells) > 20
    assert not [cell for cell in cells if cell["error"] or not cell["ran"]]
    marks = {cell["text"].split()[0] for cell in cells if cell["id"].endswith("-check")}
    assert marks == {"[ok]"}
    page.screenshot(path=SCREENS / "lab_run_solved.png")


def test_the_latent_plane_is_moved_by_the_keyboard_and_keeps_its_keys(
    lab: tuple[str, Path], page: Any
) -> None:
    address, folder = lab
    kernel = {
        "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}
    }  # else it asks
    cells = [nbformat.v4.new_code_cell(text) for text in (PLANE, "1 + 1")]
    notebook = nbformat.v4.new_notebook(cells=cells, metadata=kernel)
    nbformat.write(notebook, folder / "plane.ipynb")
    open_notebook(page, address, "plane.ipynb")
    run_all(page)
    handle = page.wait_for_selector(".vaetl-living .handle", timeout=90_000)
    state = page.wait_for_selector("[data-state]", state="attached")
    before = json.loads(state.get_attribute("data-state"))["vae"]["z"]
    handle.focus()  # which makes its cell the active one
    page.wait_for_function(f"{ACTIVE} === 0")
    for key in ("ArrowRight", "ArrowUp", "ArrowDown", "ArrowUp"):
        page.keyboard.press(key)
    page.wait_for_timeout(500)
    after = json.loads(state.get_attribute("data-state"))["vae"]["z"]
    assert after[0] > before[0] and after[1] > before[1]
    assert page.evaluate(ACTIVE) == 0, "an arrow key has gone to another cell"
    page.screenshot(path=SCREENS / "lab_latent_plane.png")
    assert not outside(page, address)


PICTURE = """\
import matplotlib.pyplot as plt
from vaetl_helpers import plots
plots.panels(["A title"], "A line that <rises>.")[0].plot([1, 2])
plt.show()
"""


def test_a_screen_reader_hears_what_a_picture_shows(lab: tuple[str, Path], page: Any) -> None:
    address, folder = lab
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(PICTURE)])
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3"}
    nbformat.write(notebook, folder / "picture.ipynb")
    open_notebook(page, address, "picture.ipynb")
    run_all(page)
    said = page.get_by_text("Picture: A line that <rises>.", exact=True)
    said.wait_for(state="attached")
    box = said.bounding_box()
    assert box["width"] <= 1 and box["height"] <= 1, "it is heard and not seen"
    assert page.locator(".jp-RenderedImage img").count() == 1
    page.locator(".jp-Notebook").screenshot(path=SCREENS / "picture.png")
