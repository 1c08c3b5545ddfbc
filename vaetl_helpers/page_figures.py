"""How a figure is stored: sharp, and where nobody waits for it also stacked, for phones."""

from __future__ import annotations

import base64
import io
import math
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec, SubplotSpec
from matplotlib.text import Text
from PIL import Image

SCREEN_DPI = 96  # pixels of a page, to the inch
STORED_DPI = 144  # so that letters are sharp on most screens
NARROW = 4.1  # inches: a phone
MOST_PICTURES = 5  # side by side on a phone
COLOURED = 0.02  # mean difference of a pixel's channels; those of grey pictures are alike
Metadata = dict[str, Any]


def stored(figure: Figure, narrow: bool) -> tuple[bytes, Metadata]:
    """A figure as PNG, and what a page has to know of it.

    `width` and `height` are pixels of a page; `photographs` are the boxes of coloured pictures
    (left, top, right, bottom, as fractions of the PNG). With `narrow`, and where a phone needs one,
    there are a second PNG (base64) and its boxes, `narrow` and `narrow_photographs`. Needs IPython.
    """
    content = png(figure)
    metadata = _size(content)
    boxes = photographs(figure)
    if boxes:
        metadata["photographs"] = boxes
    if narrow and _needs_narrow(figure):
        with narrowed(figure):
            metadata["narrow"] = base64.b64encode(png(figure)).decode()
            if boxes:
                metadata["narrow_photographs"] = photographs(figure)
    return content, metadata


def png(figure: Figure) -> bytes:
    """The figure without a margin; needs IPython."""
    from IPython.core.pylabtools import print_figure

    content: bytes = print_figure(figure, "png", bbox_inches="tight", dpi=STORED_DPI)
    return content


def _size(content: bytes) -> Metadata:
    width, height = Image.open(io.BytesIO(content)).size
    scale = SCREEN_DPI / STORED_DPI
    return {"width": round(width * scale), "height": round(height * scale)}


def photographs(figure: Figure) -> list[list[float]]:
    """The boxes of the figure's coloured pictures in its PNG, from 0 to 1."""
    axes = [axis for axis in figure.axes if any(map(_is_coloured, axis.images))]
    if not axes:
        return []
    figure.draw_without_rendering()
    frame = figure.get_tightbbox().padded(plt.rcParams["savefig.pad_inches"])
    boxes = []
    for axis in axes:
        box = axis.get_window_extent().transformed(figure.dpi_scale_trans.inverted())
        left, right = ((x - frame.x0) / frame.width for x in (box.x0, box.x1))
        top, bottom = ((frame.y1 - y) / frame.height for y in (box.y1, box.y0))
        boxes.append([round(float(edge), 4) for edge in (left, top, right, bottom)])
    return boxes


def _is_coloured(image: Any) -> bool:
    pixels = image.get_array()
    if pixels is None or pixels.ndim != 3:
        return False
    channels = pixels[..., :3] / (255 if pixels.dtype.kind == "u" else 1)
    return float((channels.max(axis=2) - channels.min(axis=2)).mean()) > COLOURED


# ---------------------------------------------------------------- for phones


def _needs_narrow(figure: Figure) -> bool:
    """Whether the figure is wider than a phone, and its panels can be put elsewhere."""
    specs = _places(figure)
    is_in_cells = all(spec.num1 == spec.num2 for spec in specs)
    if not specs or len(specs) < len(figure.axes) or not is_in_cells:
        return False
    grids = {spec.get_gridspec() for spec in specs}
    heights = {height for grid in grids for height in np.ravel(grid.get_height_ratios())}
    return len(grids) == 1 and len(heights) == 1 and figure.get_figwidth() > NARROW


def _places(figure: Figure) -> list[SubplotSpec]:
    """Where the panels stand in their grids; those that stand in none are left out."""
    specs = [axis.get_subplotspec() for axis in figure.axes]
    return [spec for spec in specs if spec is not None]


@contextmanager
def narrowed(figure: Figure) -> Iterator[None]:
    """The figure as a phone shows it: panels below each other, five pictures in a row at most."""
    size = tuple(figure.get_size_inches())
    specs = dict(zip(figure.axes, _places(figure), strict=True))
    texts = {text: text.get_text() for text in _long_texts(figure)}
    names = _names_of_rows(figure)
    if _is_grid(figure.axes):
        _fold_grid(figure)
    else:
        _stack(figure)
    for text in texts:
        _wrap(text)
    try:
        yield
    finally:
        figure.set_size_inches(size)
        for axis, spec in specs.items():
            axis.set_subplotspec(spec)
        for text, words in texts.items():
            text.set_text(words)
        for axis in figure.axes:
            axis.set_title("", loc="left")
        for text in names.values():
            text.set_visible(True)


def _is_grid(axes: Sequence[Axes]) -> bool:
    """Whether these are pictures without axes, side by side."""
    return len(axes) > 1 and not any(axis.axison for axis in axes)


def _stack(figure: Figure) -> None:
    """Panels in one column, in the order in which they are read."""
    specs = _places(figure)
    height = figure.get_figheight() / specs[0].get_gridspec().nrows
    grid = GridSpec(len(specs), 1, figure=figure)
    order = sorted(range(len(specs)), key=lambda number: specs[number].num1)
    for place, number in enumerate(order):
        figure.axes[number].set_subplotspec(grid[place])
    figure.set_size_inches(NARROW, height * len(specs))


def _fold_grid(figure: Figure) -> None:
    """A grid of pictures with fewer columns.

    Rows that belong together, such as originals and reconstructions, stay below each other: the
    right half of the grid goes below its left half. A name beside a row goes above it.
    """
    names = _names_of_rows(figure)
    specs = _places(figure)
    old = specs[0].get_gridspec()
    blocks = math.ceil(old.ncols / MOST_PICTURES)
    columns = math.ceil(old.ncols / blocks)
    beside = figure.get_figheight() / old.nrows - figure.get_figwidth() / old.ncols  # for titles
    grid = GridSpec(blocks * old.nrows, columns, figure=figure)
    for axis, spec in zip(figure.axes, specs, strict=True):
        row, column = divmod(spec.num1, old.ncols)
        block, column = divmod(column, columns)
        axis.set_subplotspec(grid[block * old.nrows + row, column])
        if column == 0 and row in names:
            axis.set_title(names[row].get_text(), loc="left", fontsize=names[row].get_fontsize())
    for text in names.values():
        text.set_visible(False)
    height = NARROW / columns + max(beside, 0)
    figure.set_size_inches(NARROW, height * blocks * old.nrows)


def _names_of_rows(figure: Figure) -> dict[int, Text]:
    """The texts at the left of a grid's rows, by row."""
    names = {}
    if _is_grid(figure.axes):
        for axis, spec in zip(figure.axes, _places(figure), strict=True):
            row, column = divmod(spec.num1, spec.get_gridspec().ncols)
            if column == 0 and axis.texts:
                names[row] = axis.texts[0]
    return names


def _long_texts(figure: Figure) -> list[Text]:
    """The titles and the names of the axes."""
    title = getattr(figure, "_suptitle", None)  # Matplotlib 3.7 has no public way to it
    texts = [title] if title else []
    if not _is_grid(figure.axes):
        for axis in figure.axes:
            texts += [axis.title, axis.xaxis.label, axis.yaxis.label]
    return texts


def _wrap(text: Text) -> None:
    """Breaks a text into lines that a phone has room for."""
    letters = int(0.85 * NARROW * 72 / (0.55 * float(text.get_fontsize())))
    lines = [textwrap.fill(line, letters) for line in text.get_text().splitlines()]
    text.set_text("\n".join(lines))
