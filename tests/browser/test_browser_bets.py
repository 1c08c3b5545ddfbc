"""A bet in a real JupyterLab: what tells is hidden until it is placed, and then it is noted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nbformat
import pytest
from in_browser import CHROMIUM, SCREENS, open_notebook, outside, run_all
from test_browser import lab, page  # noqa: F401  (fixtures)

pytestmark = [pytest.mark.slow, pytest.mark.debian("chromium", CHROMIUM)]
CELLS = (
    'from vaetl_helpers.practice import predict, settle\npredict("training.random_labels")',
    "import matplotlib.pyplot as plt\n"
    "from vaetl_helpers import plots\n"
    'plots.bars({"a": 1.0}, [""], "A figure that tells", "x", alt="One bar that tells it all.")\n'
    'print("the secret is 0.07")\nplt.show()',
    'settle("training.random_labels", 0.07)\nprint("and it ends at 0.07")',
    'print("this comes after the bet")',
)
FIGURES = ".jp-OutputArea img"
HIDDEN = "text=Hidden until you have placed your bet above."


def test_what_tells_is_hidden_until_the_bet_is_placed(
    lab: tuple[str, Path],  # noqa: F811
    page: Any,  # noqa: F811
) -> None:
    address, folder = lab
    kernel = {
        "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}
    }  # else it asks
    cells = [nbformat.v4.new_code_cell(source) for source in CELLS]
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), folder / "bets.ipynb")
    page.set_viewport_size({"width": 1280, "height": 1600})
    open_notebook(page, address, "bets.ipynb")
    assert not [cell for cell in run_all(page) if cell["error"]]
    page.wait_for_selector("text=Will the network learn shuffled labels")
    page.wait_for_selector("text=this comes after the bet")
    page.screenshot(path=SCREENS / "bet_open.png")
    assert page.locator(FIGURES).count() == 0
    assert page.locator(".jp-OutputArea >> text=the secret is").count() == 0
    assert page.locator(".jp-OutputArea >> text=and it ends").count() == 0
    assert page.locator(HIDDEN).count() == 2  # once a cell, for figures and lines

    bet = page.get_by_role("button", name="Bet", exact=True)
    bet.click()
    page.wait_for_selector("text=Choose one first.")
    page.get_by_text("Yes: their loss ends below half a nat").first.click()
    page.get_by_label("I am").select_option("80 % sure")
    bet.click()
    page.wait_for_selector(FIGURES)
    page.wait_for_selector(".jp-OutputArea >> text=the secret is 0.07")
    page.wait_for_selector("text=You were right, and 80 % sure.")
    assert page.locator(HIDDEN).count() == 0
    page.screenshot(path=SCREENS / "bet_placed.png")
    lines = (folder / "progress.jsonl").read_text("utf-8").splitlines()
    notes = [json.loads(line) for line in lines]
    mine = [note for note in notes if note.get("bet") == "training.random_labels"]
    assert [(note.get("guess"), note.get("sure")) for note in mine][0] == ("learned", 0.8)
    assert mine[-1]["right"] is True and mine[-1]["truth"] == "learned"

    # A bet counts once: a second run hides nothing and asks nothing.
    assert not [cell for cell in run_all(page) if cell["error"]]
    page.wait_for_selector("text=Your bet.")
    page.wait_for_selector(FIGURES)
    assert (
        page.locator(HIDDEN).count() == 0
        and page.get_by_role("button", name="Bet", exact=True).count() == 0
    )
    assert not outside(page, address)
