"""Rates, valley, time line and film on pages from file://: what they compute is what the package
computes, and a key, a drag and a touch move them.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
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

from vaetl_helpers import vae
from vaetl_helpers.data import load
from vaetl_helpers.living import film, rates, timeline, valley
from vaetl_helpers.recorded import recorded_arrays

pytestmark = pytest.mark.debian("chromium", CHROMIUM)
QUICK = 33  # milliseconds: two frames of a screen that shows sixty a second
BUSY = 6  # how many times as long it may take where many programs share two cores
# A slider one place on, or back from its end: a key does the same, but no script can press one.
STEP = """
() => {
  let isUp = true;
  function step(target) {
    if (isUp) target.stepUp();
    else target.stepDown();
  }
  window.acts.step = target => {
    const before = target.value;
    step(target);
    if (target.value === before) {
      isUp = !isUp;
      step(target);
    }
    target.dispatchEvent(new Event('input', {bubbles: true}));
  };
}
"""


def small_film() -> film.Film:
    """Three frames of a small network that changes a little between them."""
    watched = film.Film(load("mnist").validation, count=60)
    torch.manual_seed(0)
    model = vae.mlp_vae(latent=3, widths=[16]).eval()
    for epoch in range(4):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(1.3)
        watched(model, {"epoch": epoch, "loss": 200.0 - epoch} if epoch else {"epoch": 0})
    return watched


@pytest.fixture(scope="module")
def watched() -> film.Film:
    return small_film()


@pytest.fixture(scope="module")
def pages(watched: film.Film, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A page for each figure."""
    data = {
        "rates": rates.rates_data(),
        "valley": valley.valley_data(),
        "timeline": timeline.timeline_data({"waiting": 2e-3, "without waiting": 1e-3}, "cpu"),
        "film": watched.data(),
    }
    return {name: page_of(tmp_path_factory.mktemp(name), name, of) for name, of in data.items()}


NAMES = ("rates", "valley", "timeline", "film")
each = pytest.mark.parametrize("name", NAMES)


def slider(view: Any, label: str) -> Any:
    return view.get_by_role("slider", name=label)


def press(view: Any, target: Any, *keys: str) -> Any:
    """The state after these keys."""
    for key in keys:
        before = state(view)
        target.press(key)
        settled(view, before)
    return state(view)


# ---------------------------------------------------------------- what they show


def test_rates_are_those_of_the_recorded_runs(pages: dict[str, Path]) -> None:
    """Within the half thousandth of a nat to which losses are rounded."""
    arrays, facts = recorded_arrays("01b_rates")
    with opened(pages["rates"]) as view:
        for label, key in (("learning rate", "ArrowRight"), ("batch size", "End")):
            shown = press(view, slider(view, label), key)
            row = facts["rates"].index(shown["rate"])
            column = facts["batches"].index(shown["batch"])
            last = arrays["validation"][row, column, :, -1]
            assert shown["last"] == pytest.approx(last.tolist(), abs=5.1e-4)
            assert shown["diverged"] == rates.diverged(last)
        assert (shown["rate"], shown["batch"]) == (0.1, 512)
        shown = press(view, slider(view, "learning rate"), "End")
        assert (shown["rate"], shown["diverged"]) == (2.0, 4)
        view.wait_for_timeout(400)
        assert "four of the five runs diverged" in view.locator(".words").text_content()


@pytest.mark.parametrize("method", valley.METHODS)
def test_a_path_ends_where_the_package_says(method: str, pages: dict[str, Path]) -> None:
    """Within a billionth of the place: both compute in float64."""
    with opened(pages["valley"]) as view:
        if method != valley.METHODS[0]:
            before = state(view)
            view.get_by_role("button", name=method, exact=True).click()
            settled(view, before)
        press(view, slider(view, "step size"), "ArrowLeft", "ArrowLeft")
        shown = press(view, slider(view, "curvature"), "ArrowRight")
        path = valley.descend(
            method, shown["rate"], shown["momentum"], shown["across"], shown["start"]
        )
        limit = valley.largest_stable_rate(method, shown["across"], shown["momentum"])
        assert shown["place"] == pytest.approx(path[-1].tolist(), rel=1e-9, abs=1e-12)
        assert shown["loss"] == pytest.approx(valley.losses(path, 50)[-1], rel=1e-9)
        assert shown["limit"] == (None if math.isinf(limit) else pytest.approx(limit))
        view.wait_for_timeout(400)
        words = view.locator(".words").text_content()
        diverges = shown["rate"] > limit
        assert ("it diverges" in words) == diverges, words
        assert diverges == (method != "Adam")


@pytest.mark.parametrize("clock", timeline.CLOCKS)
def test_the_clock_reads_what_the_package_computes(clock: str, pages: dict[str, Path]) -> None:
    """Exactly: whole microseconds."""
    with opened(pages["timeline"]) as view:
        if clock != timeline.CLOCKS[0]:
            before = state(view)
            view.get_by_role("button", name=clock, exact=True).click()
            settled(view, before)
        for label, key in (("operations", "ArrowRight"), ("device", "Home"), ("Python", "End")):
            shown = press(view, slider(view, label), key)
            times = shown["count"], shown["launch"], shown["kernel"]
            run = timeline.timeline(*times, clock)
            assert shown["reading"] == run.reading and shown["done"] == run.done
            assert shown["queued"] == run.queued - run.started
            assert shown["true"] == timeline.true_time(*times)
        assert times == (9, 50, 1)
        numbers = view.locator(".number").all_text_contents()
        assert numbers[1] == "451 µs" and numbers[2] == f"{run.reading:.0f} µs"
        note = view.locator(".note").last.text_content()
        assert "waiting 2 ms, without waiting 1 ms" in note


def test_the_film_shows_each_frame_where_it_was(pages: dict[str, Path], watched: film.Film) -> None:
    with opened(pages["film"]) as view:
        assert state(view)["epoch"] == 3
        planes = np.frombuffer(base64.b64decode(watched.data()["plane"]), np.int8).reshape(4, 60, 2)
        shown = press(view, slider(view, "epoch"), "Home")
        assert (shown["epoch"], shown["cost"]) == (0, None)
        for frame in (1, 2):
            shown = press(view, slider(view, "epoch"), "ArrowRight")
            assert (shown["epoch"], shown["cost"]) == (frame, 200 - frame)
            assert shown["first"] == planes[frame, 0].tolist()
        ink = view.evaluate("""() => {
          const canvas = document.querySelector('canvas');
          const pixels = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
          return new Set(pixels.data).size;
        }""")
        assert ink > 5, "the samples are drawn"


# ---------------------------------------------------------------- how they move


def test_the_film_plays_to_its_end_and_pauses(pages: dict[str, Path]) -> None:
    with opened(pages["film"]) as view:
        assert not state(view)["playing"], "nothing plays by itself"
        view.get_by_role("button", name="Play").click()
        view.wait_for_function(
            f"() => JSON.parse(document.querySelector('{FIGURE}').dataset.state).frame === 1"
        )
        view.get_by_role("button", name="Pause").click()
        view.wait_for_timeout(100)
        stopped = state(view)["frame"]
        view.wait_for_timeout(900)
        assert state(view)["frame"] == stopped
        view.get_by_role("button", name="Play").click()
        view.wait_for_selector("button:text('Play')", timeout=10_000)
        assert state(view)["epoch"] == 3


def test_who_prefers_calm_sees_no_motion_between_frames(pages: dict[str, Path]) -> None:
    with opened(pages["film"], reduced_motion="reduce") as view:
        view.get_by_role("button", name="Play").click()
        places = set()
        for _ in range(12):
            view.wait_for_timeout(60)
            places.add(tuple(state(view)["first"]))
        assert places <= {tuple(place) for place in first_places(view)}


def first_places(view: Any) -> list[list[float]]:
    found = []
    view.wait_for_selector("button:text('Play')", timeout=10_000)
    press(view, slider(view, "epoch"), "Home")
    found.append(state(view)["first"])
    for _ in range(3):
        found.append(press(view, slider(view, "epoch"), "ArrowRight")["first"])
    return found


def test_the_ball_rolls_step_by_step(pages: dict[str, Path]) -> None:
    with opened(pages["valley"]) as view:
        assert state(view)["shown"] == valley.STEPS, "nothing rolls by itself"
        view.get_by_role("button", name="Roll it").click()
        view.wait_for_function(
            f"() => JSON.parse(document.querySelector('{FIGURE}').dataset.state).shown < 9"
        )
        shown = state(view)
        path = valley.descend(shown["method"], shown["rate"], across=20)
        assert shown["place"] == pytest.approx(path[shown["shown"]].tolist(), rel=1e-9)
        view.get_by_role("button", name="Show all").click()
        view.wait_for_timeout(150)
        assert state(view)["shown"] == valley.STEPS


def test_the_ball_starts_where_it_is_put(pages: dict[str, Path]) -> None:
    with opened(pages["valley"]) as view:
        edge, before = view.locator(".pad").bounding_box(), state(view)
        x, y = edge["x"] + edge["width"] * 0.75, edge["y"] + edge["height"] * 0.25
        view.mouse.move(x - 40, y)
        view.mouse.down()
        view.mouse.move(x, y, steps=4)
        view.mouse.up()
        assert settled(view, before)["start"] == pytest.approx([1.5, 1.0], abs=0.03)
        handle = view.locator(".handle")
        assert press(view, handle, "ArrowLeft")["start"][0] == pytest.approx(1.45, abs=0.03)


def test_a_setting_is_chosen_on_the_map_by_mouse_and_finger(pages: dict[str, Path]) -> None:
    with opened(pages["rates"], viewport=PHONE, has_touch=True, is_mobile=True) as view:
        chart = view.locator(".map")
        chart.scroll_into_view_if_needed()
        edge, before = chart.bounding_box(), state(view)
        view.touchscreen.tap(edge["x"] + edge["width"] - 8, edge["y"] + 40)
        after = settled(view, before)
        assert (after["rate"], after["batch"]) == (2.0, 16)
        assert slider(view, "learning rate").get_attribute("aria-valuetext") == "2"


MOVES = {  # what a key moves, and what the pointer drags
    "rates": ("input[type=range]", ".map"),
    "valley": ("input[type=range]", ".pad"),
    "timeline": ("input[type=range]", None),
    "film": ("input[type=range]", None),
}


@each
def test_it_answers_within_two_frames(name: str, pages: dict[str, Path]) -> None:
    key_target, drag_target = MOVES[name]
    with opened(pages[name]) as view:
        view.evaluate(STEP)
        assert median_answer(view, key_target, ("step",), f"{name}, key") < BUSY * QUICK
        if drag_target is None:
            return
        view.evaluate("Element.prototype.hasPointerCapture = () => true")  # as while it is held
        for act in ("drag", "touch"):
            assert median_answer(view, drag_target, (act,), f"{name}, {act}") < BUSY * QUICK


@pytest.mark.parametrize("name", ["timeline", "film"])
def test_a_slider_is_dragged_by_mouse_and_finger(name: str, pages: dict[str, Path]) -> None:
    for options in ({"viewport": DESKTOP}, {"viewport": PHONE, "has_touch": True}):
        with opened(pages[name], **options) as view:
            target = view.locator("input[type=range]").last
            target.scroll_into_view_if_needed()
            edge, before = target.bounding_box(), state(view)
            x, y = edge["x"] + 0.1 * edge["width"], edge["y"] + edge["height"] / 2
            if "has_touch" in options:
                view.touchscreen.tap(x, y)
            else:
                view.mouse.move(edge["x"] + 0.5 * edge["width"], y)
                view.mouse.down()
                view.mouse.move(x, y, steps=4)
                view.mouse.up()
            settled(view, before)


# ---------------------------------------------------------------- what they may do, and their looks


@each
def test_it_asks_for_nothing_and_speaks(name: str, pages: dict[str, Path]) -> None:
    with opened(pages[name], offline=False) as view:
        view.locator("input[type=range]").first.press("ArrowRight")
        view.wait_for_timeout(300)
        assert not view.asked
        blocked, intruder = view.evaluate(VIOLATIONS)
        assert not intruder and {"connect-src", "img-src"} <= set(blocked)
        words = view.locator(".words")
        assert words.get_attribute("aria-live") == "polite" and len(words.text_content()) > 30
        for target in view.get_by_role("slider").all():
            assert target.get_attribute("aria-valuetext")


@pytest.fixture(scope="module")
def axe() -> Iterator[Any]:
    from axe_playwright_python.sync_playwright import Axe

    yield Axe()


@each
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_can_be_used_and_looked_at_by_everyone(
    name: str, scheme: str, pages: dict[str, Path], axe: Any
) -> None:
    SCREENS.mkdir(exist_ok=True)
    for size in (DESKTOP, PHONE, {"width": 340, "height": 700}):
        with opened(pages[name], viewport=size, color_scheme=scheme) as view:
            view.wait_for_timeout(200)
            assert view.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
            found = axe.run(view).response["violations"]
            assert not found, [(each["id"], each["nodes"][0]["html"]) for each in found]
            path = SCREENS / f"living_{name}_{scheme}_{size['width']}.png"
            view.screenshot(path=path, full_page=True)


@each
def test_its_page_is_light(name: str, pages: dict[str, Path]) -> None:
    assert pages[name].stat().st_size < 150_000
