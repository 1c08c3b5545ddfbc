"""The course's figures: colour-blind-safe, labelled, and with a text for those who cannot see them.

Each function draws one figure, needs `alt`, the sentence that a screen reader says (or its id in
`alt_texts`), and is followed by `plt.show()`.
"""

from __future__ import annotations

import html
import itertools
import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle, Rectangle
from matplotlib.ticker import LogLocator, NullFormatter, NullLocator
from torch import Tensor

from vaetl_helpers import page_figures
from vaetl_helpers.alt_texts import full_text
from vaetl_helpers.output import UNKNOWN, is_interactive, is_unknown, notebook_kernel
from vaetl_helpers.page_figures import LINE_OF_LETTERS, NAME_OF_LINE, moved_apart
from vaetl_helpers.study.effects import Effect, mean_interval, side_of_zero
from vaetl_helpers.study.table import Table

# Okabe and Ito's palette, which people with any kind of colour vision can tell apart. On white its
# sky blue, orange and yellow are too pale for lines (below 3:1, WCAG 2.1, 1.4.11), so violet and
# brown stand in for them.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#9040F0", "#5C3000", "#000000")
ON_GREY = ("#56B4E9", "#E69F00")  # sky blue and orange, for marks on a grey or dark picture
STYLES = ("-", "--", "-.", ":", "-", "--", "-.")
STYLE: dict[Any, Any] = {
    "axes.prop_cycle": plt.cycler(color=COLOURS, linestyle=STYLES),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "figure.constrained_layout.use": True,
    "figure.dpi": 80,
    "savefig.dpi": 100,
    "font.size": 11,
}
OUT_OF_SIGHT = (
    "position: absolute; width: 1px; height: 1px; margin: 0; overflow: hidden; "
    "clip-path: inset(50%)"
)
GREY = "#6E6E6E"  # dark enough for small letters
# Mark and colour: each tells the verdicts apart without the other.
VERDICTS = {
    "supported": ("o", COLOURS[0]),
    "contradicted": ("X", COLOURS[1]),
    "no gain": ("s", COLOURS[4]),
    "undecided": ("D", GREY),
    "in this run": ("P", COLOURS[3]),  # no verdict: what the reader's own run gave
}
ALT_TEXTS: WeakKeyDictionary[Figure, str] = WeakKeyDictionary()
# Letters on lines and dots.
ON_LINES: dict[str, Any] = {
    "color": GREY,
    "bbox": {"boxstyle": "round,pad=0.15", "facecolor": "white", "alpha": 0.75, "linewidth": 0},
}
Lines = Mapping[str, tuple[Sequence[float], Sequence[float]]]  # label → (x, y)
Tables = Table | Mapping[str, Table]  # one, or several named by their origin
Row = Any  # of the claims ledger: row["effect"], row["low"], row["verdict"], …
Ratio = tuple[float, float, float]  # mean and the ends of its interval


def describe(figure: Figure, alt: str) -> Figure:
    """Attaches the alternative text to a figure, so that notebooks and pages carry it with it.

    A chapter's cell gives its id, as in `alt_texts`, and not what its reader is about to see.

    It stands in the picture's metadata, from which the course's pages take it. JupyterLab (seen
    with 4.6.6) and nbconvert's template `lab` (7.17.2) draw pictures without it; so where a person
    works in a notebook, a sentence that only a screen reader says goes before the picture.
    """
    ALT_TEXTS[figure] = full_text(alt)
    if notebook_kernel():
        from IPython import get_ipython

        # At each figure: matplotlib's own formatter may have been put back in the meantime.
        get_ipython().display_formatter.formatters["image/png"].for_type(Figure, _png_with_alt)
    return figure


def alt_text(figure: Figure) -> str:
    """The alternative text of a figure, or nothing."""
    return ALT_TEXTS.get(figure, "")


def _png_with_alt(figure: Figure) -> tuple[bytes, dict[str, Any]]:
    if is_interactive():
        tell_screen_readers(alt_text(figure))
    return picture(figure)


def picture(figure: Figure) -> tuple[bytes, dict[str, Any]]:
    """The figure as a notebook stores it, a PNG, and its metadata: its text, its size, its twin.

    The twin for phones is for pages: a person who works in a notebook does not wait for it. Needs
    IPython.
    """
    content, metadata = page_figures.stored(figure, narrow=not is_interactive())
    return content, {"alt": alt_text(figure)} | metadata


def tell_screen_readers(alt: str) -> None:
    """Shows the text out of sight.

    As HTML with an `alt`, in place of the picture, it would do harm: JupyterLab takes pictures out
    of the HTML of notebooks that it does not trust.
    """
    from IPython.display import display

    text = f"Picture: {alt}"
    content = f'<p style="{OUT_OF_SIGHT}">{html.escape(text)}</p>'
    display({"text/html": content, "text/plain": text}, raw=True)


def panels(
    titles: Sequence[str], alt: str, height: float = 3.2, width: float = 4.8, columns: int = 2
) -> list[Axes]:
    """Empty panels in the course's style.

    At most `columns` are side by side, so that their text stays readable.
    """
    columns = min(columns, len(titles))
    rows = math.ceil(len(titles) / columns)
    size = (width * columns, height * rows)
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False)
        for axis in axes.flat[len(titles) :]:
            axis.remove()
        for axis, title in zip(axes.flat, titles, strict=False):
            axis.set_title(title)
    if rows > 1:
        page_figures.spread_rows(figure)
    describe(figure, alt)
    return list(axes.flat[: len(titles)])


def lines(
    curves: Lines,
    title: str,
    x: str,
    y: str,
    alt: str,
    scale: str = "linear",
    axis: Axes | None = None,
) -> Axes:
    """One line a label; `scale` is "linear", "log x", "log y" or "log-log"."""
    if axis is None:
        axis = panels([title], alt, width=6)[0]
    for label, (xs, ys) in curves.items():
        marker = "o" if len(xs) <= 12 else None
        axis.plot(xs, ys, label=label, marker=marker, markersize=4)
    axis.set(title=title, xlabel=x, ylabel=y)
    axis.set_xscale("log" if scale in ("log x", "log-log") else "linear")
    axis.set_yscale("log" if scale in ("log y", "log-log") else "linear")
    if axis.get_xscale() == "log" and len(xs) <= 8:  # a few doublings: name each one
        axis.set_xticks(xs, [f"{value:,g}" for value in xs], fontsize=9)
        axis.xaxis.set_minor_locator(NullLocator())
    if axis.get_yscale() == "log":
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axis.yaxis.set_minor_locator(NullLocator())
    if len(curves) > 1:
        label_lines(axis)
    return axis


READABLE = 4.5  # contrast with white that letters need (WCAG 2.2, 1.4.3)


def readable(colour: Any) -> tuple[float, float, float]:
    """The colour, darkened until letters of it can be read on white."""
    shade = np.array(to_rgb(colour))
    while 1.05 / (_luminance(shade) + 0.05) < READABLE:
        shade = 0.97 * shade
    red, green, blue = shade.tolist()
    return red, green, blue


def _luminance(shade: np.ndarray) -> float:
    """The relative luminance of an sRGB colour, from 0 to 1 (WCAG 2.2)."""
    linear = np.where(shade <= 0.04045, shade / 12.92, ((shade + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))


def label_lines(axis: Axes) -> None:
    """Puts the name of each line at its right end, in its colour, in place of a legend.

    Names that would overlap are moved apart. A line without a name gets none, nor does an upright
    one; what is no line, such as a band, stays in a legend. To be called once all is drawn.
    """
    for text in list(axis.texts):
        if text.get_gid() == NAME_OF_LINE:
            text.remove()
    axis.get_xlim(), axis.get_ylim()  # until they are asked for, the scales are those of no data
    named = [line for line in axis.get_lines() if _is_named(line)]
    ends = [_end_of(line, axis) for line in named]
    heights = [axis.transData.transform(end)[1] * 72 / axis.figure.dpi for end in ends]
    order = sorted(range(len(named)), key=lambda number: heights[number])
    places = moved_apart([heights[number] for number in order], LINE_OF_LETTERS)
    for number, place in zip(order, places, strict=True):
        axis.annotate(
            textwrap.fill(str(named[number].get_label()), 22),
            ends[number],
            xytext=(7, place - heights[number]),
            textcoords="offset points",
            va="center",
            fontsize=10,
            color=readable(named[number].get_color()),
            annotation_clip=False,
            gid=NAME_OF_LINE,
        )
    _legend_of_the_rest(axis)


def _is_named(line: Line2D) -> bool:
    x = np.asarray(line.get_xdata(), float)
    is_upright = len(x) > 1 and len(set(x.tolist())) == 1
    return len(x) > 0 and not is_upright and not str(line.get_label()).startswith("_")


def _end_of(line: Line2D, axis: Axes) -> tuple[float, float]:
    """The last point of a line that is a number, in the axis's data."""
    x, y = (np.asarray(data, float) for data in (line.get_xdata(), line.get_ydata()))
    if line.get_transform() != axis.transData:  # of axhline, from side to side
        return axis.get_xlim()[1], float(y[-1])
    last = np.flatnonzero(np.isfinite(x) & np.isfinite(y))[-1]
    return float(x[last]), float(y[last])


def _legend_of_the_rest(axis: Axes) -> None:
    """A legend of what has a name and is no line, if there is any."""
    handles, names = axis.get_legend_handles_labels()
    rest = {}
    for handle, name in zip(handles, names, strict=True):
        if not (isinstance(handle, Line2D) and _is_named(handle)):
            rest[name] = handle
    old = axis.get_legend()
    if old is not None:
        old.remove()
    if rest:
        axis.legend(rest.values(), rest, frameon=False, fontsize=10)


CLOSE_ROOFS = 3.0  # two flat roofs that are less apart leave no room for a name between them


def roofline(
    points: Mapping[str, Sequence[tuple[float, float]]],
    bandwidth: float,
    peak: float,
    title: str,
    alt: str,
    others: Mapping[str, tuple[float, float]] | None = None,
    in_cache: float | None = None,
) -> Axes:
    """What networks reach below the two roofs of a machine, an arrow from small batch to large.

    `points` are by network (FLOPs per byte, FLOPs per second), the small batch first; `bandwidth`
    is in bytes and `peak` in FLOPs per second. `others` are roofs of other machines, {name: (peak,
    bandwidth)}, thin and dashed. `in_cache` is the bandwidth of what stays in a cache, a slanted
    roof of its own.
    """
    axis = panels([title], alt, width=8.6, height=4.6)[0]
    ridge = peak / bandwidth
    ends = [min(0.1, ridge / 3), max(1000.0, 3 * ridge)]
    axis.plot([ends[0], ridge], [bandwidth * ends[0], peak], "-", color=GREY, linewidth=2)
    axis.plot([ridge, ends[1]], [peak, peak], "-", color=GREY, linewidth=2)
    axis.axvspan(ends[0], ridge, color=GREY, alpha=0.08, linewidth=0)
    axis.set(xscale="log", yscale="log", xlabel="arithmetic intensity (FLOPs per byte)")
    axis.set(ylabel="FLOPs per second", xlim=ends)
    style: dict[str, Any] = {"textcoords": "offset points", "color": GREY, "fontsize": 10}
    # Right of the slope's lower end, where there is room on a phone, too.
    slope = f"memory moves {bandwidth / 1e9:,.0f} GB/s"
    axis.annotate(slope, (ends[0], bandwidth * ends[0]), xytext=(14, -4), va="center", **style)
    if in_cache:
        roof = [in_cache * ends[0], peak, peak]
        axis.plot([ends[0], peak / in_cache, ridge], roof, "-.", color=GREY, linewidth=2)
    flat = f"computing ends at {peak / 1e9:,.0f} GFLOP/s"
    tops = [top for top, _ in (others or {}).values()]
    # A name stands above its roof, or below it where another roof lies just above.
    is_below = any(peak <= top < CLOSE_ROOFS * peak for top in tops)
    axis.annotate(flat, (ends[1], peak), xytext=(0, -16 if is_below else 8), ha="right", **style)
    for name, (top, slant) in (others or {}).items():
        bend = top / slant
        roof = [slant * ends[0], top, top]
        axis.plot([ends[0], bend, ends[1]], roof, "--", color=GREY, linewidth=1)
        is_below = top < peak < CLOSE_ROOFS * top
        axis.annotate(name, (ends[1], top), xytext=(0, -16 if is_below else 8), ha="right", **style)
    for number, (name, of_network) in enumerate(points.items()):
        colour = COLOURS[number % len(COLOURS)]
        small, large = of_network[0], of_network[-1]
        arrow = {"arrowstyle": "->", "color": colour, "linewidth": 1.5, "shrinkB": 4}
        axis.annotate("", large, small, arrowprops=arrow)
        axis.plot(*zip(*of_network, strict=True), "o", color=colour, markersize=7, label=name)
    # In the corner that is always free: beside a point another network's arrow would cross a name.
    axis.legend(loc="lower right", frameon=False, labelcolor="linecolor")
    axis.margins(y=0.15)
    if in_cache:
        name = f"cache moves {in_cache / 1e9:,.0f} GB/s"
        rise = math.degrees(math.atan(_steepness(axis)))
        along: dict[str, Any] = {"rotation": rise, "rotation_mode": "anchor", "va": "top"}
        start = in_cache * ends[0]
        axis.annotate(name, (ends[0], start), xytext=(14, -4), **along, **style)
    return axis


def _steepness(axis: Axes) -> float:
    """How steeply a line of slope 1 rises on a panel's two logarithmic axes, in its own inches."""
    figure = axis.get_figure(root=True)
    assert figure is not None
    width, height = figure.get_size_inches()
    place = axis.get_position()
    (left, right), (bottom, top) = axis.get_xlim(), axis.get_ylim()
    across = width * place.width / math.log10(right / left)
    return float(height * place.height / math.log10(top / bottom) / across)


def crossover(
    own: Mapping[int, Lines],
    others: Mapping[int, Lines] | None = None,
    *,
    alt: str,
    height: float = 4.2,
    up_to: Mapping[int, Lines] | None = None,
) -> list[Axes]:
    """Milliseconds per training step over the batch size: a panel for each width of a network.

    `own` are the lines measured here, bold; `others` are those of other machines or predicted, thin
    and dashed. All are (batch sizes, seconds), and carry their names at their right ends. From one
    of the `others` a band may reach `up_to` other seconds.
    """
    axes = panels([f"width {width:,}" for width in own], alt, height)
    others = others or {width: {} for width in own}
    for axis, width in zip(axes, own, strict=True):
        colours = _colours_of(own[width], others[width])
        for name, (batches, seconds) in others[width].items():
            axis.plot(batches, _milliseconds(seconds), "--", color=colours[name], linewidth=1.2)
        for name, (batches, seconds) in (up_to or {}).get(width, {}).items():
            low, high = _milliseconds(others[width][name][1]), _milliseconds(seconds)
            axis.fill_between(batches, low, high, color=colours[name], alpha=0.2, linewidth=0)
        for name, (batches, seconds) in own[width].items():
            axis.plot(batches, _milliseconds(seconds), "o-", color=colours[name], linewidth=2.5)
        axis.set(xscale="log", yscale="log", xlabel="batch size", ylabel="ms per step")
        lines = (*others[width].values(), *own[width].values())
        ticks = sorted({batch for batches, _ in lines for batch in batches})
        axis.set_xticks(ticks, [f"{batch:,}" for batch in ticks], fontsize=9)
        axis.xaxis.set_minor_locator(NullLocator())
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.yaxis.set_minor_locator(NullLocator())
        axis.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    lowest = min(axis.get_ylim()[0] for axis in axes)
    highest = max(axis.get_ylim()[1] for axis in axes)
    for axis, width in zip(axes, own, strict=True):
        axis.set_ylim(lowest, highest)  # one scale for all
        if highest / lowest > 1e4:  # so many decades that their names would touch
            axis.yaxis.set_major_locator(LogLocator())
        _label_ends(axis, {**others[width], **own[width]}, own[width])
    return axes


def _colours_of(own: Lines, others: Lines) -> dict[str, str]:
    """A colour for each line, those measured here first."""
    names = (*own, *(name for name in others if name not in own))
    return {name: COLOURS[number % len(COLOURS)] for number, name in enumerate(names)}


def _milliseconds(seconds: Sequence[float]) -> list[float]:
    return [1e3 * one for one in seconds]


def _label_ends(axis: Axes, every: Lines, own: Lines) -> None:
    """Names at the right ends of lines in seconds, moved apart where they would overlap."""
    colours = _colours_of(own, every)
    right = max(batches[-1] for batches, _ in every.values())
    low, high = axis.get_ylim()
    step = 0.055  # of the panel's height, about a line of letters
    place = -math.inf
    for name, (_, seconds) in sorted(every.items(), key=lambda line: line[1][1][-1]):
        share = math.log(1e3 * seconds[-1] / low) / math.log(high / low)
        place = max(share, place + step)
        height = low * (high / low) ** place
        weight = "bold" if name in own else "normal"
        style: dict[str, Any] = {"color": colours[name], "fontweight": weight}
        axis.text(1.15 * right, height, name, va="center", fontsize=9, **style)


def image_grid(
    images: Tensor,
    titles: Sequence[str] | None,
    title: str,
    alt: str,
    columns: int = 10,
    scale: float = 0.86,
    tops: Sequence[str] = (),
) -> Figure:
    """Images [n, channels, height, width], uint8 or in [0, 1].

    There is one title per image, or one per row, at its left, and then `tops` above the columns.
    `scale` is in inches: with ten columns the grid is as wide as a page's text, so that its letters
    are not made smaller.
    """
    rows = math.ceil(len(images) / columns)
    titles = titles or [""] * len(images)
    one_a_row = len(titles) == rows < len(images)
    height = (scale + 0.06) * rows + 0.7 if one_a_row else (scale + 0.25) * rows + 0.4
    size = (scale * columns, height)
    with plt.rc_context(STYLE | {"axes.grid": False, "font.size": 9}):
        figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False)
        for axis in axes.flat:
            axis.axis("off")
        for number, image in enumerate(images):
            axis = axes.flat[number]
            _show_image(axis, image)
            text = "" if one_a_row else _fitting(titles[number], int(LETTERS * scale))
            axis.set_title(text, fontsize=9)
        if one_a_row:
            for axis, text in zip(axes[:, 0], titles, strict=False):
                _label_row(axis, text)
            for axis, text in zip(axes[0], tops, strict=False):
                axis.set_title(text, fontsize=9)
        figure.suptitle(title, fontsize=12)
    return describe(figure, alt)


LETTERS = 12  # of a small title, side by side on an inch


def _fitting(title: str, longest: int) -> str:
    """The title with the middle of words that are too long, such as names of files, left out."""
    lines = []
    for line in title.split("\n"):
        words = []
        for word in line.split(" "):
            half = (longest - 1) // 2
            is_long = len(word) > longest
            words.append(f"{word[:half]}…{word[-half:]}" if is_long else word)
        lines.append(" ".join(words))
    return "\n".join(lines)


def _show_image(axis: Axes, image: Tensor) -> None:
    """An image [channels, height, width]; grey ones dark on white."""
    picture = image.detach().cpu().permute(1, 2, 0).numpy()
    brightest = 255 if picture.dtype == np.uint8 else 1
    axis.imshow(picture, cmap="gray_r", vmin=0, vmax=brightest)


def sheet(images: Tensor, title: str, alt: str, columns: int = 10, size: float = 5.2) -> Figure:
    """Many images [n, channels, height, width] close together, as one picture without titles.

    A hundred in ten rows show what ten cannot: how often something comes out, and how varied.
    `size` is the sheet's width in inches.
    """
    pictures = images.detach().cpu().float()
    if images.dtype == torch.uint8:
        pictures = pictures / 255
    pictures = torch.nn.functional.pad(pictures, (1, 1, 1, 1))
    count, channels, height, width = pictures.shape
    rows = math.ceil(count / columns)
    empty = pictures.new_zeros(rows * columns - count, channels, height, width)
    cells = torch.cat([pictures, empty]).reshape(rows, columns, channels, height, width)
    whole = cells.permute(2, 0, 3, 1, 4).reshape(channels, rows * height, columns * width)
    with plt.rc_context(STYLE | {"axes.grid": False}):
        figure, axis = plt.subplots(figsize=(size, size * rows * height / columns / width + 0.4))
        axis.axis("off")
        _show_image(axis, whole)
        axis.set_title(title, fontsize=12)
    return describe(figure, alt)


RIGHT, WRONG = COLOURS[2], COLOURS[1]


def predictions(
    images: Tensor,
    predicted: Tensor,
    truth: Tensor,
    classes: Sequence[str],
    title: str,
    alt: str,
    columns: int = 10,
) -> Figure:
    """Images [n, channels, height, width] with what a network says [n] and what is true [n].

    Right ones have a thin frame and one name; wrong ones a thick frame and both names, so that
    nobody needs to see colours.
    """
    names = []
    for said, is_of in zip(predicted.tolist(), truth.tolist(), strict=True):
        names.append(classes[said] if said == is_of else f"{classes[said]}\nis {classes[is_of]}")
    figure = image_grid(images, names, title, alt, columns)
    for axis, said, is_of in zip(figure.axes, predicted.tolist(), truth.tolist(), strict=False):
        colour, width = (RIGHT, 1) if said == is_of else (WRONG, 3)
        axis.title.set_color(colour)
        frame: dict[str, Any] = {"transform": axis.transAxes, "clip_on": False, "fill": False}
        axis.add_patch(Rectangle((0, 0), 1, 1, edgecolor=colour, linewidth=width, **frame))
    return figure


def confusion_matrix(
    predicted: Tensor, truth: Tensor, classes: Sequence[str], title: str, alt: str
) -> Axes:
    """How many images [n] of each class (rows) were called what (columns).

    What is right lies on the diagonal and is grey; mistakes are the darker the more of their row
    they are, so that a few among many can be seen.
    """
    from sklearn.metrics import confusion_matrix as count

    counts = count(truth.cpu(), predicted.cpu(), labels=range(len(classes)))
    shares = counts / np.maximum(1, counts.sum(1, keepdims=True))
    mistakes = np.where(np.eye(len(classes), dtype=bool), 0, shares)
    size = 0.62 * len(classes) + 1.8
    axis = panels([title], alt, height=size, width=size + 0.6)[0]
    axis.imshow(mistakes, cmap="Oranges", vmin=0, vmax=max(mistakes.max(), 1e-9))
    for (row, column), number in np.ndenumerate(counts):
        dark = mistakes[row, column] > 0.6 * mistakes.max() > 0
        colour = "white" if dark else GREY if row == column else "black"
        if number:
            weight = "normal" if row == column else "bold"
            style: dict[str, Any] = {"ha": "center", "va": "center", "fontweight": weight}
            axis.text(column, row, f"{number:,}", color=colour, fontsize=10, **style)
    axis.set_xticks(range(len(classes)), classes, rotation=45, ha="right")
    axis.set_yticks(range(len(classes)), classes)
    axis.set(xlabel="the network says", ylabel="it is")
    axis.grid(False)
    axis.spines[:].set_visible(False)
    return axis


def weight_grid(
    weights: Tensor, title: str, alt: str, names: Sequence[str] | None = None, columns: int = 5
) -> Figure:
    """Weights of units [units, height, width] as pictures: blue for ink against, orange for.

    One scale of colours for all, with white at 0.
    """
    values = weights.detach().cpu().numpy()
    largest = float(np.abs(values).max())
    rows = math.ceil(len(values) / columns)
    scale = 8.6 / max(columns, 5)
    with plt.rc_context(STYLE | {"axes.grid": False}):
        size = (scale * columns, (scale + 0.15) * rows + 0.5)
        figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False)
        for axis in axes.flat:
            axis.axis("off")
        for number, of_unit in enumerate(values):
            axis = axes.flat[number]
            axis.imshow(of_unit, cmap="PuOr_r", vmin=-largest, vmax=largest)
            axis.set_title(names[number] if names else "", fontsize=10)
        figure.suptitle(title, fontsize=12)
    return describe(figure, alt)


def _label_row(axis: Axes, text: str) -> None:
    """A text at the left of the row that begins with this panel."""
    place: dict[str, Any] = {"transform": axis.transAxes, "ha": "right", "va": "center"}
    axis.text(-0.1, 0.5, text, fontsize=10, **place)


def bars(
    values: Mapping[str, float],
    labels: Sequence[str],
    title: str,
    x: str,
    alt: str,
    log: bool = False,
) -> Axes:
    """Horizontal bars, each with its label.

    On a logarithmic axis, which has no zero to start from, they are points.
    """
    axis = panels([title], alt, height=0.5 * len(values) + 1.2, width=8)[0]
    axis.set_axisbelow(True)
    names = list(values)
    numbers = list(values.values())
    if log:
        axis.plot(numbers, names, "o", color=COLOURS[0], markersize=9)
    else:
        axis.barh(names, numbers, color=COLOURS[0])
    right: dict[str, Any] = {"xytext": (9, 0), "textcoords": "offset points", "va": "center"}
    for name, label in zip(names, labels, strict=True):
        axis.annotate(label, (values[name], name), **right)
    axis.set(xlabel=x, xscale="log" if log else "linear")
    axis.margins(x=0.25, y=0.2)
    axis.invert_yaxis()
    return axis


def shares(
    rows: Mapping[str, Mapping[str, float]], unit: str, title: str, x: str, alt: str
) -> Axes:
    """A bar of 100 % for each row, cut into its parts, with what they sum to at its right end.

    `rows` have the same parts, at most four, in `unit`, each named above the first bar. So a part
    can be seen in each row, however much larger the next row is.
    """
    axis = panels([title], alt, height=0.62 * len(rows) + 1.7, width=8)[0]
    names = list(rows)
    below = np.zeros(len(rows))
    totals = np.array([sum(of_row.values()) for of_row in rows.values()])
    for number, part in enumerate(rows[names[0]]):
        values = np.array([of_row[part] for of_row in rows.values()])
        widths = 100 * values / totals
        colour = DARK[number]
        axis.barh(names, widths, left=below, color=colour, height=0.62, edgecolor="white")
        # Every other name stands higher, so that they have room on a phone as well.
        above = (below[0] + widths[0] / 2, -0.36 - 0.26 * (number % 2))
        axis.annotate(part, above, ha="center", va="bottom", color=colour, fontsize=10)
        for name, left, width, value in zip(names, below, widths, values, strict=True):
            if width >= ROOM_FOR_A_NUMBER:
                place = (left + width / 2, name)
                axis.annotate(f"{value:.1f}", place, ha="center", va="center", color="white")
        below = below + widths
    for name, total in zip(names, totals, strict=True):
        axis.annotate(f"{total:,.1f} {unit}", (102, name), va="center", annotation_clip=False)
    axis.set(xlabel=x, xlim=(0, 100))
    axis.set_ylim(len(rows) - 0.5, -0.95)
    axis.grid(False)
    return axis


DARK = [COLOURS[number] for number in (0, 5, 1, 4)]  # white letters can be read on them
ROOM_FOR_A_NUMBER = 10  # per cent of a bar's length
YEAR = 365.25 * 24 * 3600
TIMES_PEOPLE_KNOW = {
    "a second": 1,
    "a coffee break": 15 * 60,
    "a day": 24 * 3600,
    "a year": YEAR,
    "a long life": 90 * YEAR,
    "since the first\nHomo sapiens": 3e5 * YEAR,
    "since the last\ndinosaurs": 6.6e7 * YEAR,
}


def time_ladder(columns: Mapping[str, Mapping[str, float]], alt: str) -> list[Axes]:
    """Seconds as points on a logarithmic ladder whose rungs are times that people know.

    There is a panel for each column, all with one scale.
    """
    axes = panels(list(columns), alt, height=5.4)
    every = [seconds for of_column in columns.values() for seconds in of_column.values()]
    top = max(*every, YEAR) * 10
    rungs = {name: seconds for name, seconds in TIMES_PEOPLE_KNOW.items() if seconds < top}
    for number, (axis, of_column) in enumerate(zip(axes, columns.values(), strict=True)):
        axis.set(yscale="log", ylim=(min(*every, 0.1) / 3, top), xlim=(0, 1), xticks=[])
        axis.set_yticks(list(rungs.values()), list(rungs), fontsize=9)
        axis.set_yticks([], minor=True)
        axis.set_ylabel("time (log scale)")
        colour = COLOURS[number % len(COLOURS)]
        ordered = sorted(of_column.items(), key=lambda item: item[1])
        points = [(0.08, seconds) for _, seconds in ordered]
        axis.plot(*zip(*points, strict=True), "o", color=colour, markersize=8)
        heights = [axis.transData.transform(point)[1] * 72 / axis.figure.dpi for point in points]
        lines_of_a_name = 1 + max(name.count("\n") for name, _ in ordered)
        places = moved_apart(heights, lines_of_a_name * LINE_OF_LETTERS)
        for (name, _), point, height, place in zip(ordered, points, heights, places, strict=True):
            shift: dict[str, Any] = {"xytext": (12, place - height), "textcoords": "offset points"}
            style = ON_LINES | {"color": colour, "fontsize": 10}
            axis.annotate(name, point, va="center", **shift, **style)
    return axes


def rate_zones(axis: Axes, rates: Sequence[float], losses: Sequence[float], highest: float) -> None:
    """Shades, in a sweep of learning rates up to `highest`, where a rate is too small or too large.

    The loss has begun to fall where it has lost a tenth of what it loses in all. It breaks down
    where, right of its lowest point, a quarter of that is gained back, or where the sweep stopped.
    """
    values = np.asarray(losses, float)
    lowest = int(values.argmin())
    drop = values[0] - values[lowest]
    falling = np.flatnonzero(values < values[0] - 0.1 * drop)
    lost = np.flatnonzero(values[lowest:] > values[lowest] + 0.25 * drop) + lowest
    first = rates[falling[0]] if drop > 0 else rates[-1]
    last = rates[lost[0]] if len(lost) else rates[-1]
    edges = [rates[0], first, max(first, last), max(highest, rates[-1])]
    axis.set_xlim(edges[0], edges[-1])
    bottom, top = axis.get_ylim()
    axis.set_ylim(bottom, top + 0.14 * (top - bottom))
    for number, (name, colour) in enumerate(ZONES.items()):
        left, right = edges[number], edges[number + 1]
        if right > left:
            axis.axvspan(left, right, color=colour, alpha=0.12, linewidth=0)
            place: dict[str, Any] = {"xytext": (0, -4), "textcoords": "offset points"}
            middle = ((left * right) ** 0.5, axis.get_ylim()[1])
            axis.annotate(name, middle, ha="center", va="top", fontsize=10, **place)


ZONES = {"too small": GREY, "it learns": COLOURS[2], "it breaks down": COLOURS[1]}


def gains(
    groups: Mapping[str, Mapping[str, Ratio]],
    x: str,
    alt: str,
    titles: Mapping[str, str] | None = None,
) -> list[Axes]:
    """Ratios (mean, low, high) as points with intervals, a panel for each group.

    Its title is the group's name, or that of `titles`. No gain is 1, the dashed line.
    """
    shown = [(titles or {}).get(group, group) for group in groups]
    axes = panels(shown, alt, height=3.9, width=4.8)
    every = [ratio for of_group in groups.values() for ratio in of_group.values()]
    for axis, of_group in zip(axes, groups.values(), strict=True):
        for row, ratio in enumerate(of_group.values()):
            _ratio(axis, row, ratio, COLOURS[0])
            # Beside the interval, where no mark of another row can be.
            place: dict[str, Any] = {"xytext": (5, 0), "textcoords": "offset points", "fontsize": 9}
            axis.annotate(f"{ratio[0]:.1f}", (ratio[2], row), va="center", **place)
        _rows_of_ratios(axis, list(of_group), every, x)
    return axes


def changes(
    rows: Mapping[str, tuple[Ratio, Ratio]], title: str, x: str, alt: str, labels: tuple[str, str]
) -> Axes:
    """Ratios before and after a change, a hollow and a full point a row with an arrow between.

    `labels` say what they are. An arrow to the right is a gain and has a colour of its own.
    """
    axis = panels([title], alt, height=0.55 * len(rows) + 1.8, width=6.8)[0]
    for row, (before, after) in enumerate(rows.values()):
        colour = COLOURS[2] if after[0] > before[0] else COLOURS[1]
        arrow = {"arrowstyle": "->", "color": colour, "linewidth": 1.5}
        arrow |= {"shrinkA": 5, "shrinkB": 5}
        axis.annotate("", (after[0], row), (before[0], row), arrowprops=arrow)
        _ratio(axis, row - 0.2, before, GREY, "white")
        _ratio(axis, row + 0.2, after, colour)
    every = [ratio for both in rows.values() for ratio in both]
    _rows_of_ratios(axis, list(rows), every, x)
    axis.grid(visible=False, axis="y")
    handles = [
        Line2D([], [], color=GREY, marker="o", markerfacecolor=inside, label=label)
        for label, inside in zip(labels, ("white", GREY), strict=True)
    ]
    figure = axis.get_figure(root=True)
    assert figure is not None
    figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False)
    return axis


def _ratio(axis: Axes, row: float, ratio: Ratio, colour: str, inside: str | None = None) -> None:
    """A point with its interval."""
    mean, low, high = ratio
    axis.plot([low, high], [row, row], "-", color=colour, linewidth=2)
    axis.plot(mean, row, "o", color=colour, markerfacecolor=inside or colour, markersize=7)


def _rows_of_ratios(axis: Axes, names: Sequence[str], every: Sequence[Ratio], x: str) -> None:
    """Names the rows, draws the line of no gain, and gives x a logarithmic scale for `every`."""
    lowest = min(low for _, low, _ in every)
    highest = max(high for _, _, high in every)
    axis.axvline(1, color=GREY, linestyle="--", linewidth=1)
    axis.set(xscale="log", xlabel=x, xlim=(min(lowest, 0.9) / 1.15, max(highest, 1.1) * 1.15))
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.xaxis.set_minor_locator(NullLocator())
    axis.set_yticks(range(len(names)), names, fontsize=9)
    axis.set_ylim(len(names) - 0.5, -0.5)


# ---------------------------------------------------------------- the claims ledger


def forest(
    rows: Sequence[Row],
    title: str,
    alt: str,
    margins: Mapping[str, float],
    ratios: Mapping[str, int],
    symlog: Mapping[str, float] | None = None,
    name: Callable[[Row], str] | None = None,
) -> list[Axes]:
    """Rows of the claims ledger: effect and 95 % interval, by verdict; a panel for each unit.

    A full mark is a primary comparison, an arrow the open end of an interval; the grey band is the
    margin around the dashed line of no effect. Within a panel the order is that of the rows.

    `margins` has by unit what a gain must be worth. `ratios` has the units of ratios, whose axis
    is logarithmic, with 1 where a claim wants a ratio above one and -1 where below: of the ledger
    they are `claims.CONTRACT["margins"]` and `claims.RATIOS`. `symlog` has the units whose axis is
    logarithmic beyond a number on either side of 0, so that one long interval does not squeeze the
    others. `name` gives a row's name on one line; without it the name says all about the row.
    """
    units = list(dict.fromkeys(row["unit"] for row in rows))
    rows_by_unit = {unit: [row for row in rows if row["unit"] == unit] for unit in units}
    heights = [len(of_unit) + 1.5 for of_unit in rows_by_unit.values()]
    size = (8.6, (0.34 if name else 0.66) * sum(heights) + 1.3)  # as wide as a page's text
    with plt.rc_context(STYLE | {"font.size": 9}):
        figure, axes = plt.subplots(len(units), figsize=size, squeeze=False, height_ratios=heights)
        for axis, unit in zip(axes.flat, units, strict=True):
            sign = ratios.get(unit, 0)
            linear = (symlog or {}).get(unit)
            _forest_panel(axis, rows_by_unit[unit], abs(sign), margins.get(unit), linear)
            axis.set_yticklabels([(name or _forest_label)(row) for row in rows_by_unit[unit]])
            side = "left" if sign < 0 else "right"
            scale = ", log scale" if sign else ""
            if linear:
                scale = f", log scale beyond {linear:g}"
            axis.set_xlabel(
                f"{unit or 'no unit'}{scale} (the claim's side is {side} of the dashed line)"
            )
        figure.suptitle(title, fontsize=12)
        figure.legend(handles=_forest_key(rows), loc="outside lower center", ncols=4, frameon=False)
    describe(figure, alt)
    return list(axes.flat)


def _forest_panel(
    axis: Axes, rows: Sequence[Row], null: int, margin: float | None, symlog: float | None
) -> None:
    """The rows of one unit, whose effects are compared with `null`.

    With 1 they are ratios, on a logarithmic axis. With `symlog` the axis is logarithmic beyond that
    number.
    """
    if symlog:
        axis.set_xscale("symlog", linthresh=symlog)
    else:
        axis.set_xscale("log" if null else "linear")
    axis.axvline(null, color="black", linestyle="--", linewidth=1)
    if margin:
        low = 1 / margin if null else -margin
        axis.axvspan(low, margin, color=GREY, alpha=0.2, linewidth=0)
    # Arrows are put at the ends of the axis, so all numbers come first.
    for row in rows:
        numbers = [] if is_unknown(row) else [row["effect"], row["low"], row["high"]]
        axis.update_datalim([(number, 0) for number in numbers if number is not None])
    axis.autoscale_view()
    limits = axis.get_xlim()
    for y, row in enumerate(rows):
        _forest_row(axis, y, row, limits)
    axis.set_xlim(limits)
    if null or symlog:
        axis.xaxis.set_major_formatter(lambda value, _: f"{value:,g}".replace("-", "−"))
        axis.xaxis.set_minor_formatter(NullFormatter())
    if null and limits[1] < 20 * limits[0]:  # too short for powers of ten
        ticks = (0.1, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 5, 7, 10)
        axis.set_xticks([tick for tick in ticks if limits[0] <= tick <= limits[1]])
    axis.set_yticks(range(len(rows)))
    axis.set_ylim(len(rows) - 0.4, -0.6)


def _forest_label(row: Row) -> str:
    """Claim, data and source, and below them the question."""
    lines = [f"{row['claim']}: {row['data']} ({row['source']})", row["question"]]
    return "\n".join(textwrap.fill(line, 46) for line in lines)


def _forest_row(axis: Axes, y: int, row: Row, limits: tuple[float, float]) -> None:
    """An effect with its interval, which is drawn to the limits of the axis where it is open."""
    if row["effect"] is None or is_unknown(row):
        word = "no number" if row["effect"] is None else UNKNOWN
        axis.text(0.02, y, word, va="center", transform=axis.get_yaxis_transform())
        return
    marker, colour = VERDICTS[row["verdict"]]
    place: dict[str, Any] = {"transform": axis.get_yaxis_transform(), "va": "center"}
    axis.text(1.02, y, row["verdict"], color=colour, fontsize=9, **place)
    _forest_interval(axis, y, row, limits, colour)
    face = colour if row["primary"] else "white"
    axis.plot(row["effect"], y, marker, color=colour, mfc=face, markersize=8)


def _forest_interval(
    axis: Axes, y: int, row: Row, limits: tuple[float, float], colour: str
) -> None:
    bounds = (row["low"], row["high"])
    if bounds == (None, None):
        return
    drawn = [limit if bound is None else bound for bound, limit in zip(bounds, limits, strict=True)]
    axis.plot(drawn, [y, y], "-", color=colour)
    for bound, limit, arrow in zip(bounds, limits, "<>", strict=True):
        if bound is None:
            axis.plot(limit, y, arrow, color=colour, markersize=7, clip_on=False)


def _forest_key(rows: Sequence[Row]) -> list[Line2D]:
    """The legend: the verdicts, full and hollow marks, and the arrow, as far as they are drawn."""
    verdicts = {row["verdict"] for row in rows}
    key = []
    for verdict, (marker, colour) in VERDICTS.items():
        if verdict in verdicts:
            key.append(_mark(marker, verdict, colour, colour))
    if any(row["primary"] for row in rows):
        key.append(_mark("o", "primary", "black", "black"))
    if not all(row["primary"] for row in rows):
        key.append(_mark("o", "exploratory", "black", "white"))
    if any((row["low"] is None) != (row["high"] is None) for row in rows):
        key.append(_mark(">", "open end", "black", "black"))
    return key


def _mark(marker: str, label: str, colour: str, face: str) -> Line2D:
    return Line2D([], [], linestyle="none", marker=marker, color=colour, mfc=face, label=label)


# ---------------------------------------------------------------- codes and studies


SIDES = {  # where an interval lies, with its mark and colour
    "above 0": ("o", COLOURS[0]),
    "holds 0": ("D", GREY),
    "below 0": ("X", COLOURS[1]),
}


def effects_by_labels(
    effects: Mapping[str, Mapping[int, Mapping[str, Any]]],
    title: str,
    unit: str,
    alt: str,
    margin: float = 0.0,
    symlog: float = math.inf,
    meanings: Mapping[str, str] | None = None,
) -> list[Axes]:
    """Effects with their intervals over the number of labels, a panel for each data set.

    `effects` are records with value, low and high, all known, by data and number of labels. Mark
    and colour say on which side of 0 an interval lies, and `meanings` what "above 0" and "below 0"
    mean here; the grey band is the `margin`. A panel with an end more than ten times as far from 0
    as `symlog` is logarithmic beyond that number.
    """
    columns = 3 if len(effects) > 4 else 2
    axes = panels(list(effects), alt, height=2.6, width=9.3 / columns, columns=columns)
    for axis, of_data in zip(axes, effects.values(), strict=True):
        axis.axhline(0, color="black", linestyle="--", linewidth=1)
        axis.axhspan(-margin, margin, color=GREY, alpha=0.2, linewidth=0)
        for labels, record in of_data.items():
            marker, colour = SIDES[side_of_zero(record)]
            axis.plot([labels] * 2, [record["low"], record["high"]], "-", color=colour)
            axis.plot(labels, record["value"], marker, color=colour, markersize=7)
        axis.set(xscale="log", xlabel="labels (log scale)", ylabel=unit)
        axis.set_xticks(list(of_data), [f"{labels:,}" for labels in of_data])
        axis.set_xticks([], minor=True)
        axis.margins(x=0.1)
        ends = [abs(record[end]) for record in of_data.values() for end in ("low", "high")]
        if max(ends) > 10 * symlog:
            axis.set_yscale("symlog", linthresh=symlog)
            axis.yaxis.set_major_formatter(lambda value, _: f"{value:g}".replace("-", "−"))
            axis.set_ylabel(f"{unit} (log beyond ±{symlog:g})")
            axis.margins(y=0.1)  # so that a long interval visibly ends
    key = []
    for side, (marker, colour) in SIDES.items():
        meaning = (meanings or {}).get(side, "")
        name = f"interval {side}: {meaning}" if meaning else f"interval {side}"
        key.append(_mark(marker, name, colour, colour))
    axes[0].figure.suptitle(title, fontsize=12)
    axes[0].figure.legend(handles=key, loc="outside lower center", ncols=3, frameon=False)
    return axes


def differences(
    effects: Mapping[str, Effect], title: str, x: str, alt: str, group: int = 0
) -> Axes:
    """Differences with their intervals, one a row, each named in words, beside a line at 0.

    Mark and colour say on which side of 0 an interval lies, and the effect stands above its mark. A
    thin line stands below the first `group` rows.
    """
    axis = panels([title], alt, height=0.54 * len(effects) + 1.3, width=8)[0]
    axis.axvline(0, color="black", linestyle="--", linewidth=1)
    sides = [side_of_zero({"low": each.low, "high": each.high}) for each in effects.values()]
    place: dict[str, Any] = {"xytext": (0, 8), "textcoords": "offset points", "ha": "center"}
    for row, (each, side) in enumerate(zip(effects.values(), sides, strict=True)):
        marker, colour = SIDES[side]
        axis.plot([each.low, each.high], [row, row], "-", color=colour, linewidth=2)
        axis.plot(each.effect, row, marker, color=colour, markersize=8)
        words = f"{each.effect:+.1f}".replace("-", "−")
        axis.annotate(words, (each.effect, row), fontsize=9, color=colour, **place)
    if group:
        axis.axhline(group - 0.5, color=GREY, linewidth=0.8)
    axis.set_yticks(range(len(effects)), [textwrap.fill(name, 30) for name in effects])
    axis.tick_params(axis="y", labelsize=9)
    axis.grid(visible=False, axis="y")
    axis.set(xlabel=x, ylim=(len(effects) - 0.5, -0.8))
    key = [
        _mark(marker, f"interval {side}", *[colour] * 2)
        for side, (marker, colour) in SIDES.items()
        if side in sides
    ]
    axis.figure.legend(handles=key, loc="outside lower center", ncols=3, frameon=False)
    return axis


def spread(places: np.ndarray, gap: float) -> np.ndarray:
    """The places [n, 2], moved apart along their line where two are closer than `gap`."""
    places = places.astype(float)
    for _ in range(50):  # one move may bring two others together
        for first, second in itertools.combinations(range(len(places)), 2):
            between = places[second] - places[first]
            distance = float(np.hypot(*between))
            if distance < gap:
                along = between / distance if distance > 0 else np.array([1.0, 0.0])
                places[first] -= (gap - distance) / 2 * along
                places[second] += (gap - distance) / 2 * along
    return places


def latent_scatter(codes: Tensor, labels: Tensor, title: str, alt: str) -> Axes:
    """Codes [n, 2] as dots by class, each class named in the middle of its dots.

    The circles are the prior's at one and two standard deviations, which hold 39 and 86 % of it.
    """
    palette = plt.get_cmap("tab10")
    with plt.rc_context(STYLE):
        figure, axis = plt.subplots(figsize=(7.5, 6.5))
        for radius in (1, 2):
            circle = Circle((0, 0), radius, fill=False, edgecolor=GREY, linestyle="--")
            axis.add_patch(circle)
            axis.annotate(f"{radius} σ", (0, -radius), ha="center", va="center", **ON_LINES)
        classes = labels.unique().tolist()
        middles = torch.stack([codes[labels == label].median(dim=0).values for label in classes])
        gap = 0.05 * float((codes.amax(dim=0) - codes.amin(dim=0)).max())
        for label, place in zip(classes, spread(middles.numpy(), gap), strict=True):
            x, y = codes[labels == label].T
            # As they are, some of the palette's colours are too pale.
            colour = [0.75 * channel for channel in palette(label % 10)[:3]]
            axis.scatter(x, y, color=colour, s=12, linewidths=0, alpha=0.6)
            style = ON_LINES | {"color": readable(colour), "fontsize": 20, "fontweight": "bold"}
            axis.annotate(str(label), place, ha="center", va="center", **style)
        axis.set(title=title, xlabel="latent 1", ylabel="latent 2")
        axis.set_aspect("equal")
    describe(figure, alt)
    return axis


def name_groups(axis: Axes, points: np.ndarray, labels: Tensor, names: Sequence[str]) -> None:
    """Writes the name of each group in the middle of its points [n, 2], in place of a legend.

    The colours are those of `COLOURS`, in the order of the labels [n]; names that would overlap
    are moved apart.
    """
    groups = sorted(labels.unique().tolist())
    middles = [np.median(points[labels.cpu().numpy() == group], axis=0) for group in groups]
    heights = [axis.transData.transform(place)[1] * 72 / axis.figure.dpi for place in middles]
    order = sorted(range(len(groups)), key=lambda number: heights[number])
    places = moved_apart([heights[number] for number in order], LINE_OF_LETTERS)
    for number, place in zip(order, places, strict=True):
        colour = COLOURS[groups[number] % len(COLOURS)]
        style = ON_LINES | {"color": colour, "fontsize": 11, "fontweight": "bold"}
        shift: dict[str, Any] = {"xytext": (0, place - heights[number])}
        shift |= {"textcoords": "offset points", "ha": "center", "va": "center"}
        axis.annotate(names[groups[number]], middles[number], **shift, **style)


def stacked(parts: Lines, title: str, x: str, y: str, alt: str, axis: Axes | None = None) -> Axes:
    """Parts of a sum as areas on top of each other, each named where it ends.

    All parts have the same places on the x axis.
    """
    if axis is None:
        axis = panels([title], alt, width=6)[0]
    below: Any = 0
    for number, (name, (places, values)) in enumerate(parts.items()):
        above = below + np.asarray(values, float)
        colour = COLOURS[number % len(COLOURS)]
        axis.fill_between(places, below, above, color=colour, alpha=0.35, linewidth=0)
        axis.plot(places, above, "-", color=colour)
        middle = (above + below)[-1] / 2
        place: dict[str, Any] = {"xytext": (7, 0), "textcoords": "offset points", "va": "center"}
        axis.annotate(name, (places[-1], middle), color=colour, annotation_clip=False, **place)
        below = above
    axis.set(title=title, xlabel=x, ylabel=y, ylim=(0, None))
    return axis


def learning_curves(
    tables: Tables,
    metric: str,
    title: str,
    y: str,
    alt: str,
    axis: Axes | None = None,
    methods: Sequence[str] = (),
) -> Axes:
    """Mean and 95 % interval over draws, a line a method, over the number of labels (logarithmic).

    Several tables are named by their origin ("run here", "recorded (machine, date)"); the first
    one's points are full. `methods`, by default all, are those to draw where a table has them.
    """
    if isinstance(tables, Table):
        tables = {"": tables}
    if not methods:
        known = [method for table in tables.values() for method in table.known("method")]
        methods = list(dict.fromkeys(known))
    if axis is None:
        axis = panels([title], alt, width=6)[0]
    counts: set[int] = set()
    for number, table in enumerate(tables.values()):
        fill = "none" if number else "full"
        counts |= set(table.known("labels"))
        for method in methods:
            if method in table.known("method"):
                place = methods.index(method)
                # The longest line carries the name, the others of the method go without.
                label = method if number == _longest(tables, method) else f"_{method}"
                _learning_curve(axis, table, method, metric, place, label=label, fillstyle=fill)
    axis.set(title=title, xlabel="labels", ylabel=y, xscale="log")
    ticks = sorted(counts)
    axis.set_xticks(ticks, [f"{count:,}" for count in ticks], fontsize=9)
    axis.set_xticks([], minor=True)
    label_lines(axis)
    if len(tables) > 1:
        _key_of_origins(axis, list(tables))
    return axis


def _key_of_origins(axis: Axes, origins: Sequence[str]) -> None:
    """Says below the axis which points are whose: full ones of the first table, hollow the rest."""
    key = [_mark("o", origins[0], GREY, GREY)]
    key += [_mark("o", origin, GREY, "white") for origin in origins[1:]]
    place: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (0, -0.2)}
    axis.legend(handles=key, frameon=False, fontsize=10, **place)


def _longest(tables: Mapping[str, Table], method: str) -> int:
    """The place, among the tables, of that in which the method has the most numbers of labels."""
    lengths = []
    for table in tables.values():
        has_it = method in table.known("method")
        lengths.append(len(table.known("labels")) if has_it else 0)
    return lengths.index(max(lengths))


def _learning_curve(
    axis: Axes, table: Table, method: str, metric: str, place: int, **style: Any
) -> None:
    """One method's line, in the colour and style of its place among the methods."""
    counts = sorted(table.known("labels"))
    intervals = []
    for count in counts:
        values = table.values(method, metric, count)
        intervals.append(mean_interval(list(values.values())))
    means, lows, highs = zip(*intervals, strict=True)
    colour = COLOURS[place % len(COLOURS)]
    line_style = STYLES[place % len(STYLES)]
    axis.plot(counts, means, marker="o", color=colour, linestyle=line_style, **style)
    axis.fill_between(counts, lows, highs, color=colour, alpha=0.15, linewidth=0)
