"""The camera in Chromium, whose camera is a pretended one: on a page as on Colab, as a widget."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from in_browser import CHROMIUM, FLAGS, SCREENS
from PIL import Image

from vaetl_helpers.collecting import webcam

pytestmark = pytest.mark.debian("chromium", CHROMIUM)
PRETENDED = ("--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream")
NAMES = ["mug", "glass"]
# Colab's kernel, which keeps what it is sent, and answers how many pictures there are of a thing.
COLAB = """
<script>
window.sent = [];
const invokeFunction = async (name, [number, picture]) => {
  window.sent.push({name, number, picture});
  const count = window.sent.filter(one => one.number === number).length;
  return {data: {"application/json": {count}}};
};
window.google = {colab: {kernel: {invokeFunction}}};
</script>
"""
# A widget's model, whose kernel counts the pictures.
MODEL = """
const state = {names: %s, counts: [0, 3]};
const listeners = [];
window.sent = [];
const model = {
  get: name => state[name],
  on: (_, listener) => listeners.push(listener),
  send: ({number, picture}) => {
    window.sent.push({number, picture});
    state.counts = state.counts.map((count, one) => count + (one === number));
    for (const listener of listeners) listener();
  },
};
window.close_camera = figure.render({model, el: document.body});
"""


@contextmanager
def opened(path: Path, flags: tuple[str, ...]) -> Iterator[Any]:
    """The page at this path, in a browser with these flags."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS, *flags])
        view = browser.new_page(viewport={"width": 390, "height": 700})
        view.goto(path.as_uri())
        yield view
        browser.close()


def picture(sent: dict[str, Any]) -> Image.Image:
    """What was sent, decoded as the kernel does."""
    return Image.open(io.BytesIO(webcam.picture_of(sent["picture"])))


def test_a_click_sends_a_picture_of_its_thing(tmp_path: Path) -> None:
    page = tmp_path / "colab.html"
    page.write_text(f"<!doctype html>{COLAB}{webcam.colab_page(NAMES, [0, 0])}", "utf-8")
    with opened(page, PRETENDED) as view:
        mug = view.get_by_role("button", name="Photograph mug (0)")
        mug.click()  # waits until the camera is there
        view.get_by_role("button", name="Photograph mug (1)").click()
        view.get_by_role("button", name="Photograph glass (0)").click()
        view.get_by_text("1 of glass. Move the thing").wait_for()
        sent = view.evaluate("window.sent")
        view.screenshot(path=SCREENS / "camera.png")
        assert view.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert [(one["name"], one["number"]) for one in sent] == [
        (webcam.CALLBACK, 0),
        (webcam.CALLBACK, 0),
        (webcam.CALLBACK, 1),
    ]
    shot = picture(sent[0])
    assert shot.format == "JPEG" and min(shot.size) > 100
    assert len(set(shot.resize((8, 8)).convert("L").tobytes())) > 1, "it shows something"


def widget_page(folder: Path) -> Path:
    body = webcam.script().replace("export default", "const figure =")
    body = body.replace("export function", "function")
    page = folder / "widget.html"
    model = MODEL % json.dumps(NAMES)
    page.write_text(f"<!doctype html><body><script>{body}\n{model}</script>", "utf-8")
    return page


def test_the_widget_shows_what_the_kernel_has_kept(tmp_path: Path) -> None:
    with opened(widget_page(tmp_path), PRETENDED) as view:
        view.get_by_role("button", name="Photograph glass (3)").click()
        view.get_by_role("button", name="Photograph glass (4)").wait_for()
        assert [one["number"] for one in view.evaluate("window.sent")] == [1]
        view.evaluate("window.close_camera()")
        track = "document.querySelector('video').srcObject.getTracks()[0].readyState"
        assert view.evaluate(track) == "ended", "the camera's light goes out"


def test_without_a_camera_it_says_what_to_do(tmp_path: Path) -> None:
    with opened(widget_page(tmp_path), ()) as view:
        view.get_by_text("The browser gives no camera").wait_for()
        assert "upload()" in view.get_by_role("status").text_content()
        assert view.get_by_role("button", name="Photograph mug (0)").is_disabled()
