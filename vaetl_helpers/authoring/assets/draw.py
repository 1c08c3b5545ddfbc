"""Draws the course's diagrams anew: pictures for notebooks, SVG files for the pages of `docs`.

    python -m vaetl_helpers.authoring.assets.draw

Needs Playwright and Chromium (`CHROMIUM`, by default /usr/bin/chromium).
"""

from __future__ import annotations

import hashlib
import io
import os
from pathlib import Path
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from vaetl_helpers.figures import DIAGRAMS, svg
from vaetl_helpers.figures.catalogue import PICTURES
from vaetl_helpers.figures.drawing import SHOWN
from vaetl_helpers.output import say, write_whole

DOCS = Path(__file__).parents[3] / "docs" / "figures"
IN_DOCS = ("ledger", "submission")
SHARPNESS = 2  # pixels of a picture for one on the page
COLOURS = 64  # a diagram has about ten, and their mixtures at the edges of letters


def source_digest(name: str) -> str:
    """What tells whether a picture is of the diagram as its script draws it today."""
    return hashlib.sha256(svg(name, "light").encode()).hexdigest()


def screenshot(page: Any, name: str) -> Image.Image:
    """A diagram in the light, as the browser draws it on a page with SHARPNESS."""
    page.set_content(f'<body style="margin: 0">{svg(name, "light")}</body>')
    picture = page.locator("svg").screenshot()
    return Image.open(io.BytesIO(picture)).convert("RGB")


def png(picture: Image.Image, digest: str) -> bytes:
    """A picture in few colours, with the digest of the SVG that it shows."""
    facts = PngInfo()
    facts.add_text("Source", digest)
    small = picture.quantize(COLOURS, dither=Image.Dither.NONE)
    content = io.BytesIO()
    small.save(content, "PNG", optimize=True, pnginfo=facts)
    return content.getvalue()


def new_page(browser: Any) -> Any:
    """A page on which screenshots have the pictures' sharpness."""
    size = {"width": SHOWN, "height": 600}
    return browser.new_page(viewport=size, device_scale_factor=SHARPNESS)


def main() -> None:
    from playwright.sync_api import sync_playwright

    PICTURES.mkdir(exist_ok=True)
    DOCS.mkdir(exist_ok=True)
    chromium = os.environ.get("CHROMIUM", "/usr/bin/chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = new_page(browser)
        for name in DIAGRAMS:
            content = png(screenshot(page, name), source_digest(name))
            write_whole(PICTURES / f"{name}.png", content)
            say(f"{name}: {len(content):,} bytes, SVG {len(svg(name).encode()):,} bytes")
        browser.close()
    for name in IN_DOCS:
        write_whole(DOCS / f"{name}.svg", svg(name))


if __name__ == "__main__":
    main()
