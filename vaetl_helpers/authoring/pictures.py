"""Figures on pages: small files, a twin for dark screens, and one that is stacked for phones."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

NARROW = "(max-width: 500px)"
DARK = "screen and (prefers-color-scheme: dark)"
STORED_DPI, PAGE_DPI = 80, 96  # of pictures that do not say how large they want to be; of a page
SHARP = 1.5  # pixels of a stored picture for each of the page
INK = 0.93  # brightness of what is black on white, so that it does not glare
# Turns hues by half a circle (filter-effects-1, 8.2), which leaves them as they were once all
# colours are inverted: dark blue becomes light blue.
TURN = np.array(
    [[-0.574, 1.430, 0.144], [0.426, 0.430, 0.144], [0.426, 1.430, -0.856]], dtype=np.float32
)
Box = Sequence[float]  # left, top, right, bottom, as fractions of the picture


def picture_html(png: str, metadata: Mapping[str, Any]) -> str:
    """A PNG (base64) of a notebook as an element <picture>.

    Of its metadata, `alt` is its text, `width` and `height` are in pixels of the page, `narrow` is
    a PNG for phones, and `photographs` and `narrow_photographs` are boxes that keep their colours
    in the dark. Without photographs the page's style makes it dark, which halves the page.
    """
    photographs = metadata.get("photographs", ())
    image = decoded(png) if photographs else few_colours(decoded(png))
    size = page_size(image, metadata)
    sources = []
    if "narrow" in metadata:
        narrow = decoded(metadata["narrow"])
        if not photographs:
            narrow = few_colours(narrow)
        else:
            dark = dark_twin(narrow, metadata.get("narrow_photographs", ()))
            sources.append(_source(f"{NARROW} and (prefers-color-scheme: dark)", dark, SHARP))
        sources.append(_source(NARROW, narrow, SHARP))
    if photographs:
        sources.append(_source(DARK, dark_twin(image, photographs)))
    alt = html.escape(metadata.get("alt", ""))
    style = "" if photographs else ' class="ink"'
    shown = f'<img src="{data_url(image)}" alt="{alt}" width="{size[0]}" height="{size[1]}"{style}>'
    return f"<picture>{''.join(sources)}{shown}</picture>"


def page_size(image: Image.Image, metadata: Mapping[str, Any]) -> tuple[int, int]:
    """Width and height of a picture in pixels of the page."""
    if "width" in metadata:
        return round(metadata["width"]), round(metadata["height"])
    scale = PAGE_DPI / STORED_DPI
    return round(image.width * scale), round(image.height * scale)


def decoded(png: str) -> Image.Image:
    """A picture of a notebook on white, RGB."""
    image = Image.open(io.BytesIO(base64.b64decode(png)))
    layer = image.convert("RGBA")
    ground = Image.new("RGBA", layer.size, "white")
    return Image.alpha_composite(ground, layer).convert("RGB")


def few_colours(image: Image.Image) -> Image.Image:
    """The picture in 128 of its colours, which nobody sees in a plot: a quarter less to load."""
    return image.quantize(128, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).convert("RGB")


def dark_twin(image: Image.Image, photographs: Sequence[Box] = ()) -> Image.Image:
    """The picture for a dark ground: white becomes transparent, black nearly white, hues stay.

    Grey pictures of digits and clothes turn light on dark, too; `photographs` stay as they are.
    """
    light = np.asarray(image, dtype=np.float32) / 255
    inverted = ((1 - light) @ TURN.T).clip(0, 1) * INK
    alpha = inverted.max(axis=2, keepdims=True)
    colour = np.divide(inverted, alpha, out=np.zeros_like(inverted), where=alpha > 0)
    dark = np.concatenate([colour, alpha], axis=2)
    height, width = alpha.shape[:2]
    for left, top, right, bottom in photographs:
        rows = slice(round(top * height), round(bottom * height))
        columns = slice(round(left * width), round(right * width))
        dark[rows, columns, :3] = light[rows, columns]
        dark[rows, columns, 3] = 1
    return Image.fromarray((dark * 255).round().astype(np.uint8), "RGBA")


def data_url(image: Image.Image, lossless: bool = True) -> str:
    """The picture itself as an address that asks nobody."""
    content = io.BytesIO()
    image.save(content, "WEBP", lossless=lossless, quality=75, method=4)
    return f"data:image/webp;base64,{base64.b64encode(content.getvalue()).decode()}"


def thumbnail(image: Image.Image, width: int, height: int) -> Image.Image:
    """The picture, made smaller, so that it fits into a box of the page on a sharp screen."""
    small = image.copy()
    small.thumbnail((2 * width, 2 * height), Image.Resampling.LANCZOS)
    return small


def _source(media: str, image: Image.Image, scale: float = 0) -> str:
    """A picture for some screens; with `scale`, it says its own size, which is the file's divided.

    Without, it is as large as the picture in whose place it is shown.
    """
    size = ""
    if scale:
        width, height = (round(side / scale) for side in image.size)
        size = f' width="{width}" height="{height}"'
    return f'<source media="{media}" srcset="{data_url(image)}"{size}>'
