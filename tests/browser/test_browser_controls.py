"""The controls of chapter 4 in a real JupyterLab, moved by the keyboard alone."""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any

import nbformat
import pytest
from in_browser import CHROMIUM, SCREENS, open_notebook, outside, run_all
from test_browser import lab, page  # noqa: F401  (fixtures)

pytestmark = [pytest.mark.slow, pytest.mark.debian("chromium", CHROMIUM)]
FIRST = "import torch\ntorch.set_num_threads(1)\nfrom vaetl_helpers import widgets"
CONTROLS = {"thresholds": 4}  # how many there are of each
LABEL = (
    "document.activeElement.closest('.widget-inline-hbox')"
    "?.querySelector('.widget-label')?.textContent"
)


def press(page: Any, key: str, image: Any) -> float:  # noqa: F811
    """Seconds from a key to the new picture, whose alternative text is new, too."""

    def look() -> list[str]:
        return image.evaluate("image => [image.src, image.alt]")

    before, started = look(), time.perf_counter()
    page.keyboard.press(key)
    while (now := look()) == before:
        assert time.perf_counter() < started + 20, f"{key} changes nothing in {before[1]}"
    assert now[0] != before[0] and now[1] != before[1]
    return time.perf_counter() - started


def test_each_control_is_moved_by_the_keyboard(lab: tuple[str, Path], page: Any) -> None:  # noqa: F811
    address, folder = lab
    kernel = {
        "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}
    }  # else it asks
    cells = [
        nbformat.v4.new_code_cell(f'{FIRST}\nwidgets.{name}(alt="{name}")') for name in CONTROLS
    ]
    nbformat.write(
        nbformat.v4.new_notebook(cells=cells, metadata=kernel), folder / "controls.ipynb"
    )
    page.set_viewport_size({"width": 1200, "height": 2000})
    open_notebook(page, address, "controls.ipynb")
    assert not [cell for cell in run_all(page) if cell["error"]]
    times: dict[str, list[float]] = {}
    for name, count in CONTROLS.items():
        image = page.locator(f'.widget-html img[alt^="{name}"]')
        page.locator(f'.widget-vbox:has(img[alt^="{name}"])').locator(".noUi-handle").first.focus()
        for number in range(1, count + 1):
            label = page.evaluate(LABEL)
            assert label, f"control {number} of {name} cannot be reached with Tab, or has no label"
            last = page.evaluate(
                "document.activeElement.ariaValueNow === document.activeElement.ariaValueMax"
            )
            for key in ("ArrowLeft", "ArrowRight") if last else ("ArrowRight", "ArrowLeft"):
                times.setdefault(f"{name}, {label}", []).append(press(page, key, image))
            page.keyboard.press("Tab")
            if page.evaluate(
                "document.activeElement.matches('.widget-readout')"
            ):  # a slider's number can be focused
                page.keyboard.press("Tab")
    page.screenshot(path=SCREENS / "lab_controls.png")
    assert not outside(page, address)
    # No test asserts an absolute time: `pytest -s` prints it.
    for label, seconds in times.items():
        print(
            f"{label}: {1000 * statistics.median(seconds):.0f} ms from key to picture, "
            f"{len(seconds)} presses"
        )
