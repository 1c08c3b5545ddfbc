"""Gap machine, toy world and the dial of β on a page from file://: they move, and show what the
package computes.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from in_browser import CHROMIUM, SCREENS
from living_page import (
    ALT,
    FIGURE,
    PHONE,
    drag_by_finger,
    median_answer,
    opened,
    page_of,
    settled,
    state,
)

from vaetl_helpers.living import beta_dial, gap_machine, toy_world

pytestmark = pytest.mark.debian("chromium", CHROMIUM)
QUICK = 33  # milliseconds: two frames of a screen with 60 a second
NEAR = 1e-9  # both sides sum the same terms in double precision
BOUND = ("log_px", "elbo", "gap", "expected", "price")
FIGURES: dict[str, Callable[[], Any]] = {
    "gap_machine": lambda: gap_machine.data(0.9),
    "toy_world": toy_world.data,
    "beta_dial": lambda: beta_dial.data(beta_dial.dial()),
}
# Notes how long each key, tap or drag takes until the figure has drawn again. A tap on a slider is
# one for the page once the browser says `input`.
STOPWATCH = """
() => {
  window.answers = [];
  let asked = 0;
  for (const kind of ['keydown', 'pointermove', 'input'])
    document.addEventListener(kind, event => { asked ||= event.timeStamp; }, true);
  document.querySelector('figure.living > div').addEventListener('vaetl-drawn', () => {
    if (asked) window.answers.push(performance.now() - asked);
    asked = 0;
  });
}
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A function that gives the page of a figure, which is made once."""

    @cache
    def made(name: str) -> Path:
        return page_of(tmp_path_factory.mktemp(name), name, FIGURES[name]())

    return made


def slider(view: Any, number: int) -> Any:
    return view.locator("input[type=range]").nth(number)


def moved_to(view: Any, number: int, value: float) -> Any:
    """The state after a slider was put there."""
    before = state(view)
    slider(view, number).fill(str(value))
    return settled(view, before)


def assert_bound(shown: Any, terms: Any) -> None:
    for name in BOUND:
        assert shown[name] == pytest.approx(getattr(terms, name), abs=NEAR), name
    assert shown["elbo"] + shown["gap"] == pytest.approx(shown["log_px"], abs=NEAR)


# ---------------------------------------------------------------- the gap machine


def bar_end(view: Any) -> float:
    """Where the bar ends, in pixels."""
    return view.locator(".track .end").bounding_box()["x"]


def test_the_machine_shows_the_packages_sums_for_every_image(page: Callable[[str], Path]) -> None:
    with opened(page("gap_machine")) as view:
        for x in gap_machine.IMAGES:
            view.get_by_role("button", name=f"x = {x}").click()
            ends = []
            for mu, sigma in ((-2.5, 0.16), (0.3, 0.5), (1.02, 1.4)):
                moved_to(view, 0, mu)
                shown = moved_to(view, 1, sigma)
                assert (shown["x"], shown["mu"], shown["sigma"]) == (x, mu, sigma)
                assert_bound(shown, gap_machine.terms(x, mu, sigma))
                ends.append(bar_end(view))
            assert max(ends) - min(ends) < 0.01, "the bar changed its length"
            posterior = view.locator(".words").text_content()
            assert f"x = {x}" in posterior


def test_the_bar_is_drawn_to_scale(page: Callable[[str], Path]) -> None:
    with opened(page("gap_machine")) as view:
        shown = moved_to(view, 0, 0.5)
        track = view.locator(".track").bounding_box()
        elbo, gap = (view.locator(".track > div").nth(row).bounding_box() for row in (0, 1))
        nats = track["width"] / 8
        assert elbo["width"] == pytest.approx((shown["elbo"] + 8) * nats, abs=0.5)
        assert gap["width"] == pytest.approx(shown["gap"] * nats, abs=0.5)


def handle(view: Any, number: int) -> tuple[float, float]:
    box = view.locator(".handle").nth(number).bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def test_the_two_points_of_the_curve_are_moved_by_the_mouse(page: Callable[[str], Path]) -> None:
    with opened(page("gap_machine")) as view:
        canvas = view.locator(".pad canvas").bounding_box()
        code = (canvas["width"] - 20) / 6  # pixels a unit of z
        for number, name, step in ((0, "mu", -1.0), (1, "sigma", -0.5)):
            before = state(view)
            x, y = handle(view, number)
            view.mouse.move(x, y)
            view.mouse.down()
            view.mouse.move(x + step * code, y + 30, steps=6)
            view.mouse.up()
            after = settled(view, before)
            assert after[name] == pytest.approx(before[name] + step, abs=0.03)
            assert_bound(after, gap_machine.terms(0.9, after["mu"], after["sigma"]))


def test_a_finger_moves_the_curve_and_keys_move_the_sliders(page: Callable[[str], Path]) -> None:
    with opened(page("gap_machine"), viewport=PHONE, has_touch=True, is_mobile=True) as view:
        view.locator(".handle").first.scroll_into_view_if_needed()
        before, (x, y) = state(view), handle(view, 0)
        drag_by_finger(view, [(x + 10 * step, y) for step in range(6)])
        after = settled(view, before)
        assert after["mu"] > before["mu"] + 0.5 and after["sigma"] == before["sigma"]
        slider(view, 1).press("ArrowLeft")
        assert settled(view, after)["sigma"] == pytest.approx(after["sigma"] - 0.01)


@pytest.mark.parametrize(
    ("mu", "sigma", "ends_at", "gap"),
    [(0.0, 1.0, (0.69, 0.77), 0.94), (-0.6, 0.3, (-0.6, 0.17), 0.73), (1, 0.3, (1.04, 0.26), 0.7)],
)
def test_the_climb_ends_where_the_text_says(
    page: Callable[[str], Path], mu: float, sigma: float, ends_at: tuple[float, float], gap: float
) -> None:
    with opened(page("gap_machine"), reduced_motion="reduce") as view:
        slider(view, 0).fill(str(mu))
        slider(view, 1).fill(str(sigma))
        view.wait_for_timeout(100)
        before = state(view)
        view.get_by_role("button", name="Climb the ELBO").click()
        after = settled(view, before)
        assert (after["mu"], after["sigma"]) == pytest.approx(ends_at, abs=0.01)
        assert after["gap"] == pytest.approx(gap, abs=0.005) and after["elbo"] > before["elbo"]


def test_the_climb_is_seen_unless_one_prefers_calm(page: Callable[[str], Path]) -> None:
    count = f"""() => new Promise(done => {{
      let drawn = 0;
      const el = document.querySelector('{FIGURE}');
      el.addEventListener('vaetl-drawn', () => {{ drawn += 1; }});
      [...el.querySelectorAll('button')].at(-1).click(); // the climb
      setTimeout(() => done(drawn), 1000);
    }})"""
    with opened(page("gap_machine"), reduced_motion="reduce") as view:
        assert view.evaluate(count) == 1
    with opened(page("gap_machine")) as view:
        assert view.evaluate(count) > 5


# ---------------------------------------------------------------- the toy world


def test_the_toy_world_shows_the_packages_sums(page: Callable[[str], Path]) -> None:
    with opened(page("toy_world")) as view:
        q = list(toy_world.PRIOR)
        for image in toy_world.IMAGES:
            name = f"the image with pixels {image[0]} and {image[1]}"
            view.get_by_role("button", name=name).click()
            for code, chance in ((0, 0.9), (2, 0.35), (1, 0.0)):
                shown = moved_to(view, code, chance)
                q = toy_world.with_chance(q, code, chance)
                assert shown["image"] == list(image)
                assert shown["q"] == pytest.approx(q, abs=1e-12)
                assert_bound(shown, toy_world.terms(image, q))
            before = state(view)
            view.get_by_role("button", name="Back to the prior").click()
            settled(view, before)
            q = list(toy_world.PRIOR)
            assert f"p(x) = {round(toy_world.evidence(image), 6)}" in words(view)


def words(view: Any) -> str:
    """The line for everyone, once it is up to date."""
    view.wait_for_timeout(400)
    return view.locator(".words").text_content()


def test_the_sum_by_hand_and_the_posterior_are_written_out(page: Callable[[str], Path]) -> None:
    with opened(page("toy_world")) as view:
        assert "0.045 + 0.027 + 0.128 = 0.2" in view.locator(".vaetl-living").inner_text()
        assert "0.128 / 0.2" not in view.locator(".vaetl-living").inner_text()
        view.get_by_role("button", name="Show the posterior").click()
        view.wait_for_timeout(100)
        assert "p(3|x) = 0.128 / 0.2 = 0.640" in view.locator(".vaetl-living").inner_text()
        before = state(view)
        view.get_by_role("button", name="Take it as q").click()
        shown = settled(view, before)
        assert shown["q"] == pytest.approx(toy_world.posterior((1, 1)).tolist())
        assert shown["gap"] == pytest.approx(0, abs=NEAR)


# ---------------------------------------------------------------- the dial


def test_the_dial_moves_plane_pictures_and_dot_together(page: Callable[[str], Path]) -> None:
    dial = beta_dial.dial()
    with opened(page("beta_dial"), reduced_motion="reduce") as view:
        seen = []
        for row in (len(dial.betas) - 1, 0, 4):
            shown = moved_to(view, 0, row)
            assert shown["beta"] == dial.betas[row]
            assert shown["rate"] == pytest.approx(dial.rates[row].sum(), abs=0.001)
            assert shown["distortion"] == pytest.approx(dial.distortions[row], abs=0.005)
            assert shown["elbo"] == pytest.approx(dial.elbos[row], abs=0.006)
            seen.append(view.evaluate(LEVELS))
            for name, pictures in (("reconstructions", 1), ("samples", 2)):
                levels = np.array(seen[-1][pictures]) * 255
                recorded = getattr(dial, name)[row].reshape(-1)
                assert np.abs(levels - recorded).max() <= 255 / beta_dial.LEVELS / 2 + 2
            assert view.evaluate("document.querySelector('.row canvas').toDataURL().length") > 3000
        assert seen[0] != seen[1] != seen[2]
        planes = []
        for row in (0, 4):
            moved_to(view, 0, row)
            planes.append(view.evaluate("document.querySelector('.row canvas').toDataURL()"))
        assert planes[0] != planes[1]


# Of the three strips, each pixel's share of ink.
LEVELS = """
() => [...document.querySelectorAll('.strip')].map(strip =>
  [...strip.querySelectorAll('canvas')].flatMap(canvas => {
    const data = canvas.getContext('2d').getImageData(0, 0, 28, 28).data;
    const ink = 27, paper = 255; // of the page's light colours, red
    return Array.from({length: 784}, (_, pixel) => (paper - data[4 * pixel]) / (paper - ink));
  }))
"""


def test_the_dots_glide_unless_one_prefers_calm(page: Callable[[str], Path]) -> None:
    count = f"""() => new Promise(done => {{
      let drawn = 0;
      document.querySelector('{FIGURE}').addEventListener('vaetl-drawn', () => {{ drawn += 1; }});
      const input = document.querySelector('input');
      input.value = 0;
      input.dispatchEvent(new Event('input'));
      setTimeout(() => done(drawn), 1500);
    }})"""
    with opened(page("beta_dial"), reduced_motion="reduce") as view:
        assert view.evaluate(count) == 1
    with opened(page("beta_dial")) as view:
        assert view.evaluate(count) > 1
        assert not state(view)["gliding"]


# ---------------------------------------------------------------- all three


@pytest.mark.parametrize("name", FIGURES)
def test_it_answers_keys_drags_and_touches_within_two_frames(
    name: str, page: Callable[[str], Path]
) -> None:
    """Keys and taps as a person gives them, from the event's own time to the end of drawing."""
    medians = {}
    with opened(page(name), reduced_motion="reduce", has_touch=True) as view:
        view.evaluate(STOPWATCH)
        medians["key"] = answers(view, keys(view))
        medians["touch"] = answers(view, taps(view))
        if name == "gap_machine":
            view.evaluate("Element.prototype.hasPointerCapture = () => true")  # as while it is held
            medians["drag"] = median_answer(view, ".handle", ("drag",), f"{name}, drag")
        else:
            medians["drag"] = answers(view, drags(view))
    for kind, median in medians.items():
        print(f"{name}, {kind}: median {median:.1f} ms")
    assert max(medians.values()) < QUICK, medians


def answers(view: Any, acts: Iterator[None]) -> float:
    """Median milliseconds of a hundred answers."""
    view.evaluate("window.answers.length = 0")
    for _ in acts:
        if view.evaluate("window.answers.length") >= 100:
            break
    times = view.evaluate("window.answers")
    assert len(times) >= 100
    return statistics.median(times)


def keys(view: Any) -> Iterator[None]:
    slider(view, 0).focus()
    while True:
        for key in ("ArrowLeft",) * 4 + ("ArrowRight",) * 4:
            view.keyboard.press(key)
            view.wait_for_timeout(20)
            yield


def taps(view: Any) -> Iterator[None]:
    slider(view, 0).scroll_into_view_if_needed()
    edge = slider(view, 0).bounding_box()
    while True:
        for share in (0.2, 0.7, 0.4, 0.9):
            x, y = edge["x"] + share * edge["width"], edge["y"] + edge["height"] / 2
            view.touchscreen.tap(x, y)
            view.wait_for_timeout(20)
            yield


def drags(view: Any) -> Iterator[None]:
    edge = slider(view, 0).bounding_box()
    y = edge["y"] + edge["height"] / 2
    view.mouse.move(edge["x"] + edge["width"] / 2, y)
    view.mouse.down()
    while True:
        for share in (0.1, 0.3, 0.5, 0.7, 0.9, 0.6, 0.4):
            view.mouse.move(edge["x"] + share * edge["width"], y)
            view.wait_for_timeout(20)
            yield


@pytest.mark.parametrize("name", FIGURES)
def test_it_asks_for_nothing_and_its_picture_stays_in_print(
    name: str, page: Callable[[str], Path]
) -> None:
    with opened(page(name), offline=False) as view:
        slider(view, 0).press("ArrowRight")
        view.wait_for_timeout(300)
        assert not view.asked
        view.emulate_media(media="print")
        assert view.get_by_alt_text(ALT).is_visible()
        assert not view.locator(".vaetl-living").is_visible()


@pytest.mark.parametrize("name", FIGURES)
def test_everything_has_a_name_and_nothing_is_cut(name: str, page: Callable[[str], Path]) -> None:
    """On a phone and on a desktop, light and dark; the screenshots are for people."""
    SCREENS.mkdir(exist_ok=True)
    looks = {
        "light": {"color_scheme": "light"},
        "dark": {"color_scheme": "dark"},
        "phone": {"viewport": PHONE},
        "narrow": {"viewport": {"width": 320, "height": 700}},
    }
    for look, options in looks.items():
        with opened(page(name), **options) as view:
            assert view.get_by_role("group", name=ALT).is_visible()
            assert view.locator(".words").get_attribute("aria-live") == "polite"
            figure = view.locator(FIGURE)  # the page has smaller buttons of its own
            for tag in figure.get_by_role("slider").all() + figure.get_by_role("button").all():
                box = tag.bounding_box()
                assert box["height"] >= 44, "too small for a finger"
            assert view.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
            view.screenshot(path=SCREENS / f"{name}_{look}.png", full_page=True)
