"""Labels and bill on a page from file://: what it shows is what the package computes, and menus, a
key, a drag and a touch move it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from in_browser import CHROMIUM, SCREENS
from living_page import (
    DESKTOP,
    FIGURE,
    PHONE,
    VIOLATIONS,
    median_answer,
    opened,
    page_of,
    settled,
    state,
)

from vaetl_helpers.living import labels

pytestmark = pytest.mark.debian("chromium", CHROMIUM)
QUICK, BUSY = 33, 6  # milliseconds, and how many times as many a crowded machine may take
PLACE = labels.Place("05", "digits", "digits 0–4", "digits 0–4 → 5–9")
DIFFERENCES = f"{FIGURE} .row canvas >> nth=1"


@pytest.fixture(scope="module")
def data() -> dict[str, Any]:
    start = {"method": "VAE fine-tuned", "against": "scratch", "labels": 100}
    return {"studies": [labels.study_data(PLACE)], "missing": ["elsewhere"], "start": start}


@pytest.fixture(scope="module")
def page(data: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return page_of(tmp_path_factory.mktemp("labels"), "labels", data)


def chosen(view: Any, menu: str, option: str) -> Any:
    before = state(view)
    view.get_by_label(menu, exact=True).select_option(option)
    return settled(view, before)


def test_every_choice_shows_what_the_package_computes(page: Path, data: dict[str, Any]) -> None:
    [study] = data["studies"]
    with opened(page) as view:
        shown = state(view)
        for menu, option in (
            ("method", "SVM on μ"),
            ("compared with", "PCA"),
            ("method", "raw pixels"),
            ("compared with", "VAE fine-tuned"),
        ):
            shown = chosen(view, menu, option)
            names = shown["method"], shown["against"], shown["labels"]
            expected = labels.compared(study, *names)
            assert {key: shown[key] for key in expected} == expected
            view.wait_for_timeout(400)
            assert view.locator(".words").text_content() == labels.in_words(study, *names)
        assert (shown["method"], shown["against"]) == ("raw pixels", "VAE fine-tuned")
        assert "Not recorded yet in this form: elsewhere." in view.locator(".note").text_content()


def test_the_budget_moves_by_key_and_by_pointer(page: Path) -> None:
    with opened(page) as view:
        before = state(view)
        view.get_by_role("slider").press("ArrowRight")
        assert settled(view, before)["labels"] == 500
        box = view.locator(DIFFERENCES).bounding_box()
        before = state(view)
        view.mouse.click(box["x"] + 50, box["y"] + 60)
        assert settled(view, before)["labels"] == 20


def test_the_same_method_is_never_compared_with_itself(page: Path) -> None:
    with opened(page) as view:
        shown = chosen(view, "method", "scratch")
        assert shown["method"] == "scratch" != shown["against"]


def test_it_answers_a_drag_and_a_touch_at_once(page: Path) -> None:
    with opened(page) as view:
        view.evaluate(
            """() => {
              const box = document.querySelectorAll('figure.living .row canvas')[1].parentElement;
              box.id = 'differences';
              box.hasPointerCapture = () => true;
            }"""
        )
        for act in ("drag", "touch"):
            assert median_answer(view, "#differences", (act,), f"labels, {act}") < BUSY * QUICK


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_and_asks_for_nothing(page: Path, size: dict[str, int], scheme: str) -> None:
    with opened(page, viewport=size, color_scheme=scheme) as view:
        assert view.evaluate("document.documentElement.scrollWidth <= innerWidth")
        for tag in view.locator(f"{FIGURE} :is(select, input)").all():
            assert tag.bounding_box()["height"] >= 44
        SCREENS.mkdir(exist_ok=True)
        view.screenshot(path=SCREENS / f"labels-{size['width']}-{scheme}.png", full_page=True)
        assert not view.asked
        blocked, intruder = view.evaluate(VIOLATIONS)
        assert "connect-src" in blocked and not intruder
