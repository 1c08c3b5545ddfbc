"""The latent plane on a page from file://: it moves, computes what the package does, asks for
nothing.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from axe_playwright_python.sync_playwright import Axe
from in_browser import CHROMIUM, SCREENS
from living_page import (
    ALT,
    PHONE,
    VIOLATIONS,
    drag_by_finger,
    median_answer,
    opened,
    page_of,
    settled,
    state,
)

from vaetl_helpers import vae
from vaetl_helpers.living import latent_plane, weights

pytestmark = pytest.mark.debian("chromium", CHROMIUM)
QUICK = 33  # milliseconds: two frames of a screen that shows sixty a second
BUSY = 6  # how many times as long it may take where many programs share two cores


@pytest.fixture(scope="module")
def plane_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("living")
    return page_of(folder, "latent_plane", latent_plane.plane_data(draw=True))


def handle(view: Any, number: int) -> Any:
    return view.locator(".pad .handle").nth(number)


# ---------------------------------------------------------------- what it shows


def expected_pixels(plane: latent_plane.Plane, z: list[float]) -> torch.Tensor:
    decoder = weights.with_rounded_weights(plane.decoder)
    with torch.no_grad():
        return decoder(torch.tensor([z])).sigmoid().flatten()


def expected_prices(pixels: torch.Tensor, z: list[float]) -> tuple[Any, float, float]:
    """q(z|x) and the two prices, by the package and by the same rule of four nodes."""
    model, _ = vae.pretrained("vae-mnist-2d")
    encoder = weights.with_rounded_weights(latent_plane.encoder_network(model))
    decoder = weights.with_rounded_weights(model.decoder)
    with torch.no_grad():
        mean, log_var = encoder(pixels.view(1, 1, 28, 28)).split(2, dim=1)
        q = vae.Posterior(mean, log_var)
        at = torch.tensor([z])
        cost = 0.0
        for node in ((-1, 0), (1, 0), (0, -1), (0, 1)):
            code = at + math.sqrt(2) * (0.5 * log_var).exp() * torch.tensor([node])
            cost -= 0.25 * vae.log_likelihood(decoder(code), pixels.view(1, 1, 28, 28)).item()
    return q, cost, vae.kl(at, log_var).item()


def test_pictures_are_those_of_the_package(plane_page: Path) -> None:
    """Within 0.002 of a pixel's probability, of which 0.0005 are the state's own rounding."""
    with opened(plane_page) as view:
        for number, plane in enumerate(latent_plane.planes()):
            for key in ("ArrowUp", "ArrowLeft", "Shift+ArrowRight"):
                before = state(view)
                handle(view, number).press(key)
                shown = settled(view, before)[("vae", "autoencoder")[number]]
                pixels = torch.tensor(shown["pixels"]) / 1000
                difference = (pixels - expected_pixels(plane, shown["z"])).abs().max()
                assert difference < 0.002, (number, key, difference)
                assert pixels.max() > 0.5, "a picture of nothing would pass too"


def test_prices_are_those_of_the_package(plane_page: Path) -> None:
    """Within 0.02 nats of some 150, for three digits, where the encoder puts q and beside it."""
    digits = latent_plane.ten_digits()
    with opened(plane_page) as view:
        for label in (0, 4, 7):
            before = state(view)
            view.get_by_role("button", name=f"test digit {label}").press("Enter")
            for key in ("", "Shift+ArrowRight"):
                if key:
                    before = state(view)
                    handle(view, 0).press(key)
                shown = settled(view, before)
                q, cost, rate = expected_prices(digits[label], shown["vae"]["z"])
                drawn = shown["drawn"]
                assert drawn["mean"] == pytest.approx(q.mean[0].tolist(), abs=1e-3)
                assert drawn["sigma"] == pytest.approx(
                    (0.5 * q.log_var).exp()[0].tolist(), rel=1e-3
                )
                assert drawn["reconstruction"] == pytest.approx(cost, abs=0.02)
                assert drawn["kl"] == pytest.approx(rate, abs=0.001)


def test_the_note_says_what_the_rounding_costs(plane_page: Path) -> None:
    largest, mean = latent_plane.rounding_error()
    assert 0 < mean < 0.005 and mean < largest < 0.2
    with opened(plane_page) as view:
        note = view.locator(".vaetl-living > .note").text_content()
    assert f"{mean:.4f} on average" in note and f"by {largest:.2f} at most" in note


# ---------------------------------------------------------------- how it moves


def test_it_is_moved_by_the_mouse_and_says_so(plane_page: Path) -> None:
    with opened(plane_page) as view:
        before, words = state(view), view.locator(".words").text_content()
        edge = view.locator(".pad").first.bounding_box()
        x, y = edge["x"] + edge["width"] * 0.25, edge["y"] + edge["height"] * 0.5
        view.mouse.move(x + 40, y)
        view.mouse.down()
        view.mouse.move(x, y, steps=5)
        view.mouse.up()
        reach = latent_plane.planes()[0].reach
        assert settled(view, before)["vae"]["z"] == pytest.approx([-reach / 2, 0], abs=0.03)
        view.wait_for_timeout(400)
        assert view.locator(".words").text_content() != words
        assert view.locator(".words").get_attribute("aria-live") == "polite"


def test_it_is_moved_by_a_finger_and_a_swipe_beside_the_point_scrolls(plane_page: Path) -> None:
    with opened(plane_page, viewport=PHONE, has_touch=True, is_mobile=True) as view:
        handle(view, 0).scroll_into_view_if_needed()
        before, place = state(view), handle(view, 0).bounding_box()
        x, y = place["x"] + 22, place["y"] + 22
        drag_by_finger(view, [(x - 6 * step, y - 6 * step) for step in range(6)])
        after = settled(view, before)
        assert after["vae"]["z"][0] < before["vae"]["z"][0] - 0.3
        assert after["vae"]["z"][1] > before["vae"]["z"][1] + 0.3
        assert view.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
        assert (
            view.locator(".pad").first.evaluate("tag => getComputedStyle(tag).touchAction")
            == "pan-y"
        )


def test_a_drawn_digit_finds_its_place(plane_page: Path) -> None:
    """A vertical stroke is encoded among the ones, and the figure says so."""
    with opened(plane_page) as view:
        view.get_by_role("button", name="Clear the sheet").click()
        sheet = view.locator("canvas[aria-label^='the sheet']")
        sheet.scroll_into_view_if_needed()
        edge, before = sheet.bounding_box(), state(view)
        middle = edge["x"] + edge["width"] / 2
        view.mouse.move(middle, edge["y"] + 30)
        view.mouse.down()
        view.mouse.move(middle - 4, edge["y"] + edge["height"] - 30, steps=8)
        view.mouse.up()
        after = settled(view, before)
        view.wait_for_timeout(400)
        assert after["drawn"]["mean"] == pytest.approx(after["vae"]["z"], abs=0.01)
        assert "among codes of 1s" in view.locator(".words").text_content()
        assert after["drawn"]["reconstruction"] < 120


def test_it_answers_a_key_a_drag_and_a_touch_at_once(plane_page: Path) -> None:
    with opened(plane_page) as view:
        key = median_answer(view, ".pad .handle", ("right", "left"), "latent plane, key")
        view.evaluate("Element.prototype.hasPointerCapture = () => true")  # as while it is held
        drag = median_answer(view, ".pad", ("drag",), "latent plane, drag")
        touch = median_answer(view, ".pad", ("touch",), "latent plane, touch")
    assert max(key, drag, touch) < BUSY * QUICK, f"the aim is {QUICK} ms on a machine at rest"


# ---------------------------------------------------------------- what it may do


def test_it_asks_for_nothing_and_could_not(plane_page: Path) -> None:
    with opened(plane_page, offline=False) as view:
        handle(view, 0).press("ArrowRight")
        view.get_by_role("button", name="Show what every place becomes").click()
        view.wait_for_timeout(500)
        assert not view.asked
        blocked, intruder = view.evaluate(VIOLATIONS)
        assert not intruder
        assert {"connect-src", "img-src"} <= set(blocked)
        assert any(rule.startswith("script-src") for rule in blocked)


def test_without_a_script_and_in_print_there_is_the_picture(plane_page: Path) -> None:
    with opened(plane_page, java_script_enabled=False) as view:
        assert view.get_by_alt_text(ALT).is_visible()
    with opened(plane_page) as view:
        picture = view.locator("figure.living img")
        assert not picture.is_visible()
        view.emulate_media(media="print")
        assert picture.is_visible() and not view.locator(".vaetl-living").is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(plane_page: Path, scheme: str) -> None:
    with opened(plane_page, color_scheme=scheme) as view:
        violations = Axe().run(view, context=".vaetl-living").response["violations"]
        assert not [(found["id"], found["nodes"][0]["html"][:90]) for found in violations]


def test_the_page_is_light(plane_page: Path, tmp_path: Path) -> None:
    assert plane_page.stat().st_size < 2e6
    assert (
        page_of(tmp_path, "latent_plane", latent_plane.plane_data(draw=False)).stat().st_size
        < 1.2e6
    )


def test_it_can_be_looked_at(plane_page: Path) -> None:
    SCREENS.mkdir(exist_ok=True)
    for name, options in {
        "light": {"color_scheme": "light"},
        "dark": {"color_scheme": "dark"},
        "phone": {"viewport": {"width": 390, "height": 844}},
    }.items():
        with opened(plane_page, **options) as view:
            view.wait_for_timeout(3000)  # the lens fills
            view.screenshot(path=SCREENS / f"living_plane_{name}.png", full_page=True)
            assert view.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
