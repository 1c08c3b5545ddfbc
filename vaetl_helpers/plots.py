"""The course's figures: colour-blind-safe, labelled, and with a text for those who cannot see them.

Each function draws one figure, needs `alt`, the sentence that a screen reader says (or its id in
`alt_texts`), and is followed by `plt.show()`.
"""

from __future__ import annotations

import html
import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullLocator
from torch import Tensor

from vaetl_helpers import page_figures
from vaetl_helpers.alt_texts import full_text
from vaetl_helpers.output import is_interactive, notebook_kernel
from vaetl_helpers.study.effects import mean_interval
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
Lines = Mapping[str, tuple[Sequence[float], Sequence[float]]]  # label → (x, y)
Tables = Table | Mapping[str, Table]  # one, or several named by their origin
Row = Any  # of the claims ledger: row["effect"], row["low"], row["verdict"], …


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
        axis.legend(frameon=False)
    return axis


def crossover(
    own: Mapping[int, Lines], others: Mapping[int, Lines], alt: str, height: float = 4.2
) -> list[Axes]:
    """Milliseconds per training step over the batch size: a panel for each width of a network.

    `own` are the lines measured here, bold and in colour; `others` are those of other machines,
    thin and grey. All are (batch sizes, seconds), and carry their names at their right ends.
    """
    axes = panels([f"width {width:,}" for width in own], alt, height)
    for axis, width in zip(axes, own, strict=True):
        for batches, seconds in others[width].values():
            axis.plot(batches, _milliseconds(seconds), "--", color=GREY, linewidth=1)
        for number, (batches, seconds) in enumerate(own[width].values()):
            colour = COLOURS[number % len(COLOURS)]
            axis.plot(batches, _milliseconds(seconds), "o-", color=colour, linewidth=2.5)
        axis.set(xscale="log", yscale="log", xlabel="batch size", ylabel="ms per step")
        axis.set_xticks(batches, [f"{batch:,}" for batch in batches], fontsize=9)
        axis.xaxis.set_minor_locator(NullLocator())
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.yaxis.set_minor_locator(NullLocator())
        axis.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    lowest = min(axis.get_ylim()[0] for axis in axes)
    highest = max(axis.get_ylim()[1] for axis in axes)
    for axis, width in zip(axes, own, strict=True):
        axis.set_ylim(lowest, highest)  # one scale for all
        _label_ends(axis, {**others[width], **own[width]}, own[width])
    return axes


def _milliseconds(seconds: Sequence[float]) -> list[float]:
    return [1e3 * one for one in seconds]


def _label_ends(axis: Axes, every: Lines, own: Lines) -> None:
    """Names at the right ends of lines in seconds, moved apart where they would overlap."""
    colours = {name: COLOURS[number % len(COLOURS)] for number, name in enumerate(own)}
    right = max(batches[-1] for batches, _ in every.values())
    low, high = axis.get_ylim()
    step = 0.055  # of the panel's height, about a line of letters
    place = -math.inf
    for name, (_, seconds) in sorted(every.items(), key=lambda line: line[1][1][-1]):
        share = math.log(1e3 * seconds[-1] / low) / math.log(high / low)
        place = max(share, place + step)
        height = low * (high / low) ** place
        weight = "bold" if name in own else "normal"
        style: dict[str, Any] = {"color": colours.get(name, GREY), "fontweight": weight}
        axis.text(1.15 * right, height, name, va="center", fontsize=9, **style)


def image_grid(
    images: Tensor,
    titles: Sequence[str] | None,
    title: str,
    alt: str,
    columns: int = 10,
    scale: float = 1.15,
) -> Figure:
    """Images [n, channels, height, width], uint8 or in [0, 1].

    There is one title an image, or one a row, at its left.
    """
    rows = math.ceil(len(images) / columns)
    titles = titles or [""] * len(images)
    one_a_row = len(titles) == rows < len(images)
    size = (scale * columns, (scale + 0.25) * rows + 0.4)
    with plt.rc_context(STYLE | {"axes.grid": False, "font.size": 9}):
        figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False)
        for axis in axes.flat:
            axis.axis("off")
        for number, image in enumerate(images):
            axis = axes.flat[number]
            _show_image(axis, image)
            text = "" if one_a_row else _fitting(titles[number], int(LETTERS * scale))
            axis.set_title(text, fontsize=8)
        if one_a_row:
            for axis, text in zip(axes[:, 0], titles, strict=False):
                _label_row(axis, text)
        figure.suptitle(title, fontsize=12)
    return describe(figure, alt)


LETTERS = 13  # of a small title, side by side on an inch


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


# ---------------------------------------------------------------- the claims ledger


def forest(
    rows: Sequence[Row],
    title: str,
    alt: str,
    margins: Mapping[str, float],
    ratios: Mapping[str, int],
) -> list[Axes]:
    """Rows of the claims ledger: effect and 95 % interval, by verdict; a panel for each unit.

    A full mark is a primary comparison, an arrow the open end of an interval; the grey band is the
    margin around the dashed line of no effect. Within a panel the order is that of the rows.

    `margins` has by unit what a gain must be worth. `ratios` has the units of ratios, whose axis
    is logarithmic, with 1 where a claim wants a ratio above one and -1 where below: of the ledger
    they are `claims.CONTRACT["margins"]` and `claims.RATIOS`.
    """
    units = list(dict.fromkeys(row["unit"] for row in rows))
    rows_by_unit = {unit: [row for row in rows if row["unit"] == unit] for unit in units}
    heights = [len(of_unit) + 1.5 for of_unit in rows_by_unit.values()]
    size = (11, 0.42 * sum(heights) + 1.3)
    with plt.rc_context(STYLE | {"font.size": 9}):
        figure, axes = plt.subplots(len(units), figsize=size, squeeze=False, height_ratios=heights)
        for axis, unit in zip(axes.flat, units, strict=True):
            sign = ratios.get(unit, 0)
            _forest_panel(axis, rows_by_unit[unit], abs(sign), margins.get(unit))
            side = "left" if sign < 0 else "right"
            scale = ", log scale" if sign else ""
            axis.set_xlabel(
                f"{unit or 'no unit'}{scale} (the claim's side is {side} of the dashed line)"
            )
        figure.suptitle(title, fontsize=12)
        figure.legend(handles=_forest_key(rows), loc="outside lower center", ncols=4, frameon=False)
    describe(figure, alt)
    return list(axes.flat)


def _forest_panel(axis: Axes, rows: Sequence[Row], null: int, margin: float | None) -> None:
    """The rows of one unit, whose effects are compared with `null`.

    With 1 they are ratios, on a logarithmic axis.
    """
    axis.set_xscale("log" if null else "linear")
    axis.axvline(null, color="black", linestyle="--", linewidth=1)
    if margin:
        low = 1 / margin if null else -margin
        axis.axvspan(low, margin, color=GREY, alpha=0.2, linewidth=0)
    # Arrows are put at the ends of the axis, so all numbers come first.
    for row in rows:
        numbers = [row["effect"], row["low"], row["high"]]
        axis.update_datalim([(number, 0) for number in numbers if number is not None])
    axis.autoscale_view()
    limits = axis.get_xlim()
    for y, row in enumerate(rows):
        _forest_row(axis, y, row, limits)
    axis.set_xlim(limits)
    if null:
        axis.xaxis.set_major_formatter(lambda value, _: f"{value:,g}")
    axis.set_yticks(range(len(rows)), [_forest_label(row) for row in rows], fontsize=8)
    axis.set_ylim(len(rows) - 0.4, -0.6)


def _forest_label(row: Row) -> str:
    """Claim, data and source in a line, and below it the question."""
    question = textwrap.fill(row["question"], 80)
    return f"{row['claim']}: {row['data']} ({row['source']})\n{question}"


def _forest_row(axis: Axes, y: int, row: Row, limits: tuple[float, float]) -> None:
    """An effect with its interval, which is drawn to the limits of the axis where it is open."""
    if row["effect"] is None:
        axis.text(0.02, y, "no number", va="center", transform=axis.get_yaxis_transform())
        return
    marker, colour = VERDICTS[row["verdict"]]
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


def latent_scatter(codes: Tensor, labels: Tensor, title: str, alt: str) -> Axes:
    """Codes [n, 2], each drawn as the numeral of its class."""
    palette = plt.get_cmap("tab10")
    with plt.rc_context(STYLE):
        figure, axis = plt.subplots(figsize=(7.5, 6.5))
        for label in labels.unique().tolist():
            x, y = codes[labels == label].T
            # As they are, some of the palette's colours are too pale.
            colour = [0.75 * channel for channel in palette(label % 10)[:3]]
            axis.scatter(x, y, color=colour, marker=f"${label}$", s=32, linewidths=0.2)
        axis.set(title=title, xlabel="latent 1", ylabel="latent 2")
        axis.set_aspect("equal")
    describe(figure, alt)
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
    for number, (origin, table) in enumerate(tables.items()):
        fill = "none" if number else "full"
        counts |= set(table.known("labels"))
        for method in methods:
            if method in table.known("method"):
                place = methods.index(method)
                label = f"{method}, {origin}" if origin else method
                _learning_curve(axis, table, method, metric, place, label=label, fillstyle=fill)
    axis.set(title=title, xlabel="labels", ylabel=y, xscale="log")
    ticks = sorted(counts)
    axis.set_xticks(ticks, [f"{count:,}" for count in ticks], fontsize=9)
    axis.set_xticks([], minor=True)
    axis.legend(frameon=False)
    return axis


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
