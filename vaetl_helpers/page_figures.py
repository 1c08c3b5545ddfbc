"""How a figure is stored: sharp, and where nobody waits for it also stacked, for phones."""

from __future__ import annotations

import base64
import io
import math
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec, SubplotSpec
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.legend import Legend
from matplotlib.text import Annotation, Text
from matplotlib.ticker import FixedLocator
from matplotlib.transforms import ScaledTranslation
from PIL import Image

SCREEN_DPI = 96  # pixels of a page, to the inch
STORED_DPI = 144  # so that letters are sharp on most screens
NARROW = 4.1  # inches: a phone
MOST_PICTURES = 5  # side by side on a phone
BETWEEN_ROWS = 0.1  # inches kept free above and below a panel: a name of an axis is no title
LONGEST_TICK = 22  # letters of a tick's name on a phone, beyond which it is broken
NAME_OF_LINE, LINE_OF_LETTERS = "name-of-line", 16  # points from one name to the next
COLOURED = 0.02  # mean difference of a pixel's channels; those of grey pictures are alike
Metadata = dict[str, Any]


def stored(figure: Figure, narrow: bool) -> tuple[bytes, Metadata]:
    """A figure as PNG, and what a page has to know of it.

    `width` and `height` are pixels of a page; `photographs` are the boxes of coloured pictures
    (left, top, right, bottom, as fractions of the PNG). With `narrow`, and where a phone needs one,
    there are a second PNG (base64) and its boxes, `narrow` and `narrow_photographs`. Needs IPython.
    """
    space_names(figure)
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
    titles = {axis: axis.get_title() for axis in figure.axes}
    with ExitStack() as changed:
        if _is_grid(figure.axes):
            _fold_grid(figure)
        else:
            _stack(figure)
            changed.enter_context(_named_rows(figure))
            changed.enter_context(_broken_ticks(figure))
        for text in texts:
            _wrap(text)
        changed.enter_context(_figure_legends_in_a_column(figure))
        changed.enter_context(_legends_below(figure))
        space_names(figure)
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
                axis.title.set_text(titles[axis])
            for text in names.values():
                text.set_visible(True)
    space_names(figure)


def space_names(figure: Figure) -> None:
    """Moves the names at the ends of lines apart, in the panels as they are now.

    When they were written, limits and the size of the panel may have been others.
    """
    named = [axis for axis in figure.axes if _names_of_lines(axis)]
    if named:
        figure.draw_without_rendering()
    for axis in named:
        names = _names_of_lines(axis)
        heights = [axis.transData.transform(name.xy)[1] * 72 / figure.dpi for name in names]
        order = sorted(range(len(names)), key=lambda number: heights[number])
        places = moved_apart([heights[number] for number in order], LINE_OF_LETTERS)
        for number, place in zip(order, places, strict=True):
            names[number].set_position((names[number].get_position()[0], place - heights[number]))


def _names_of_lines(axis: Axes) -> list[Annotation]:
    texts = [text for text in axis.texts if text.get_gid() == NAME_OF_LINE]
    return [text for text in texts if isinstance(text, Annotation)]


def moved_apart(heights: Sequence[float], step: float) -> list[float]:
    """Rising heights, moved as little as can be (least squares) until `step` is between them.

    Neighbours that are too near form a group, which keeps its mean (pool adjacent violators).
    """
    groups: list[list[float]] = []  # each: sum of the heights less their steps, and how many
    for number, height in enumerate(heights):
        groups.append([height - number * step, 1])
        while len(groups) > 1 and groups[-2][0] / groups[-2][1] > groups[-1][0] / groups[-1][1]:
            total, count = groups.pop()
            groups[-1][0] += total
            groups[-1][1] += count
    means = [total / count for total, count in groups for _ in range(int(count))]
    return [mean + number * step for number, mean in enumerate(means)]


@contextmanager
def _named_rows(figure: Figure) -> Iterator[None]:
    """Names of rows in panels that have none, because they stood beside one that has them."""
    before = {}
    names: list[str] = []
    for axis in figure.axes:
        own = [label.get_text() for label in axis.get_yticklabels()]
        is_written = isinstance(axis.yaxis.get_major_locator(), FixedLocator)
        if is_written and not any(own) and len(own) == len(names):
            before[axis] = own
            axis.set_yticks(axis.get_yticks(), names)
        names = names if axis in before else (own if is_written else [])
    yield
    for axis, own in before.items():
        axis.set_yticks(axis.get_yticks(), own)


@contextmanager
def _broken_ticks(figure: Figure) -> Iterator[None]:
    """Long names of ticks at the left in several lines, else they leave no room for the panel."""
    figure.draw_without_rendering()
    before = {}
    width, height = figure.get_size_inches()
    for axis in figure.axes:
        labels = [label for label in axis.get_yticklabels() if label.get_text()]
        words = [text for label in labels for text in _lines(label) if "$" not in text]
        if any(len(line) > LONGEST_TICK for line in words):  # numbers as formulas are short
            before[axis] = [label.get_text() for label in axis.get_yticklabels()]
            broken = [textwrap.fill(text, LONGEST_TICK) for text in before[axis]]
            axis.set_yticks(axis.get_yticks(), broken)
            rows = sum(text.count("\n") + 1.4 for text in broken)
            height += max(0, rows * 1.2 * float(labels[0].get_fontsize()) / 72 - 0.75 * height)
    figure.set_size_inches(width, height)
    yield
    for axis, texts in before.items():
        axis.set_yticks(axis.get_yticks(), texts)


def _lines(text: Text) -> list[str]:
    return text.get_text().splitlines()


@contextmanager
def _figure_legends_in_a_column(figure: Figure) -> Iterator[None]:
    """The figure's own legends in one column, where they are wider than a phone."""
    wide = [legend for legend in figure.legends if _width(legend) > 0.95 * NARROW]
    columns = []
    for legend in wide:
        legend.set_visible(False)
        legend.set_in_layout(False)
        place: dict[str, Any] = {"loc": "outside lower center"}
        handles = _handles(legend, figure.axes)
        columns.append(figure.legend(handles, _words(legend), **place, **_style(legend)))
    _make_higher(figure, sum(0.2 * (len(legend.get_texts()) - 1) for legend in wide))
    try:
        yield
    finally:
        for legend, column in zip(wide, columns, strict=True):
            column.remove()
            legend.set_visible(True)
            legend.set_in_layout(True)


@contextmanager
def _legends_below(figure: Figure) -> Iterator[None]:
    """Panels' legends below them, where they cover nothing."""
    figure.draw_without_rendering()
    legends = {axis: _covering(axis) for axis in figure.axes}
    covering = {axis: legend for axis, legend in legends.items() if legend is not None}
    below = []
    for axis, legend in covering.items():
        names = axis.xaxis.get_tightbbox()
        room = axis.bbox.y0 - names.y0 if names is not None else 0
        down = ScaledTranslation(0, -room / figure.dpi, figure.dpi_scale_trans)
        place: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (0, 0)}
        place["bbox_transform"] = axis.transAxes + down
        title = legend.get_title().get_text() or None
        handles = _handles(legend, [axis])
        below.append(axis.legend(handles, _words(legend), title=title, **place, **_style(legend)))
    heights = [float(legend.get_window_extent().height) for legend in covering.values()]
    _make_higher(figure, sum(heights) / figure.dpi)
    try:
        yield
    finally:
        for legend in below:
            legend.remove()
        for axis, legend in covering.items():
            axis.add_artist(legend)
            axis.legend_ = legend


def _make_higher(figure: Figure, inches: float) -> None:
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, height + inches)


def _words(legend: Legend) -> list[str]:
    return [text.get_text() for text in legend.get_texts()]


def _style(legend: Legend) -> dict[str, Any]:
    return {"frameon": False, "fontsize": legend.get_texts()[0].get_fontsize()}


def _handles(legend: Legend, axes: Sequence[Axes]) -> list[Any]:
    """What a legend names, where it was drawn: its own copies have lost the marks of intervals."""
    drawn: dict[str, Any] = {}
    for axis in axes:
        handles, names = axis.get_legend_handles_labels()
        drawn = dict(zip(names, handles, strict=True)) | drawn
    copies = zip(_words(legend), legend.legend_handles, strict=True)
    return [drawn.get(name, copy) for name, copy in copies]


def _width(legend: Legend) -> float:
    """The width of a legend in inches."""
    return float(legend.get_window_extent().width) / legend.figure.dpi


def _covering(axis: Axes) -> Legend | None:
    """The panel's legend, if it has one that lies on it."""
    legend = axis.get_legend()
    if legend is None:
        return None
    box = legend.get_window_extent()
    return legend if axis.bbox.overlaps(box) and box.y1 > axis.bbox.y0 + 2 else None


def _is_grid(axes: Sequence[Axes]) -> bool:
    """Whether these are pictures without axes, side by side."""
    return len(axes) > 1 and not any(axis.axison for axis in axes)


def _stack(figure: Figure) -> None:
    """Panels in one column, in the order in which they are read; bare pictures in two."""
    specs = _places(figure)
    height = figure.get_figheight() / specs[0].get_gridspec().nrows
    columns = 2 if len(specs) > 1 and all(map(_is_bare_picture, figure.axes)) else 1
    rows = math.ceil(len(specs) / columns)
    grid = GridSpec(rows, columns, figure=figure)
    order = sorted(range(len(specs)), key=lambda number: specs[number].num1)
    for place, number in enumerate(order):
        figure.axes[number].set_subplotspec(grid[place])
    if columns > 1:
        height = NARROW / columns + 0.35  # for a title
    figure.set_size_inches(NARROW, height * rows)
    spread_rows(figure)


def spread_rows(figure: Figure) -> None:
    """Room between rows of panels, so that a title is not taken for the name of an axis above."""
    engine = figure.get_layout_engine()
    if isinstance(engine, ConstrainedLayoutEngine):
        engine.set(h_pad=BETWEEN_ROWS)


def _is_bare_picture(axis: Axes) -> bool:
    """Whether the panel is a picture whose axes have no numbers."""
    ticks = [*axis.get_xticklabels(), *axis.get_yticklabels()]
    return bool(axis.images) and not any(tick.get_text() for tick in ticks)


def _fold_grid(figure: Figure) -> None:
    """A grid of pictures with fewer columns.

    Rows that belong together, such as originals and reconstructions, stay below each other: the
    right half of the grid goes below its left half. A name beside a row goes above it.
    """
    names = _names_of_rows(figure)
    specs = _places(figure)
    old = specs[0].get_gridspec()
    most = MOST_PICTURES
    for axis in figure.axes:  # titles side by side need room
        letters = max(map(len, axis.get_title().splitlines()), default=0)
        width = letters * 0.6 * float(axis.title.get_fontsize()) / 72
        most = min(most, max(2, int(NARROW / max(width, 0.01))))
    blocks = math.ceil(old.ncols / most)
    columns = math.ceil(old.ncols / blocks)
    used = [axis for axis in figure.axes if axis.images]
    is_list = not names and len(used) < len(figure.axes)  # cut into rows, the last not full
    rows = math.ceil(len(used) / columns) if is_list else blocks * old.nrows
    beside = figure.get_figheight() / old.nrows - figure.get_figwidth() / old.ncols  # for titles
    grid = GridSpec(rows, columns, figure=figure)
    above = 0.0
    for number, (axis, spec) in enumerate(zip(figure.axes, specs, strict=True)):
        row, column = divmod(spec.num1, old.ncols)
        block, column = divmod(column, columns)
        place = number if is_list else (block * old.nrows + row) * columns + column
        axis.set_subplotspec(grid[min(place, rows * columns - 1)])
        if column == 0 and row in names:
            size = float(names[row].get_fontsize())
            has_title = bool(axis.get_title())  # the name stands above it, in a line of its own
            above += 1.3 * size / 72 if has_title else 0
            words = names[row].get_text() + ("\n" if has_title else "")
            axis.set_title(words, loc="left", fontsize=size)
    for text in names.values():
        text.set_visible(False)
    height = NARROW / columns + max(beside, 0)
    figure.set_size_inches(NARROW, height * rows + above)


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
    """Breaks a text into lines of like length that a phone has room for."""
    letters = int(0.85 * NARROW * 72 / (0.55 * float(text.get_fontsize())))
    lines = text.get_text().splitlines()
    if all(len(line) <= letters for line in lines):
        return
    words = " ".join(lines).replace(" %", "\N{NO-BREAK SPACE}%")
    fewest = len(_broken(words, letters))
    balanced = next(n for n in range(1, letters + 1) if len(_broken(words, n)) <= fewest)
    text.set_text("\n".join(_broken(words, balanced)))


def _broken(words: str, letters: int) -> list[str]:
    return textwrap.wrap(words, letters, break_on_hyphens=False, break_long_words=False)
