"""The course's figures: colour-blind-safe, labelled, and with a text for those who cannot see them.

Each function draws one figure, needs `alt`, the sentence a screen reader says, and is followed by `plt.show()`.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullLocator
from torch import Tensor

from vaetl_helpers.output import notebook_kernel
from vaetl_helpers.study.effects import mean_interval
from vaetl_helpers.study.table import Table

# Okabe and Ito's palette, which people with any kind of colour vision can tell apart. On white its sky blue, orange and
# yellow are too pale for lines (below 3:1, WCAG 2.1, 1.4.11), so violet and brown stand in for them.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#9040F0", "#5C3000", "#000000")
ON_GREY = (
    "#56B4E9",
    "#E69F00",
)  # the palette's sky blue and orange, for marks on a grey or dark picture
STYLES = ("-", "--", "-.", ":", "-", "--", "-.")
STYLE = {
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
GREY = "#6E6E6E"  # dark enough for small letters
# Mark and colour: each tells the verdicts apart without the other.
VERDICTS = {
    "supported": ("o", COLOURS[0]),
    "contradicted": ("X", COLOURS[1]),
    "no gain": ("s", COLOURS[4]),
    "undecided": ("D", GREY),
}
Lines = Mapping[str, tuple[Sequence[float], Sequence[float]]]  # label → (x, y)


def describe(figure: Figure, alt: str) -> Figure:
    """Attaches the alternative text to a figure, so that notebooks and pages carry it with the picture."""
    figure._vaetl_alt = alt
    if notebook_kernel():
        from IPython import get_ipython

        # Registered at each figure: matplotlib's own formatter may have been put back in the meantime.
        get_ipython().display_formatter.formatters["image/png"].for_type(Figure, _png_with_alt)
    return figure


def _png_with_alt(figure: Figure) -> tuple[bytes, dict[str, str]]:
    from IPython.core.pylabtools import print_figure

    return print_figure(figure, "png", bbox_inches="tight"), {
        "alt": getattr(figure, "_vaetl_alt", "")
    }


def panels(
    titles: Sequence[str], alt: str, height: float = 3.2, width: float = 4.8, columns: int = 2
) -> list[Axes]:
    """Empty panels in the course's style, at most `columns` side by side, so that their text stays readable."""
    columns = min(columns, len(titles))
    rows = -(-len(titles) // columns)
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(
            rows, columns, figsize=(width * columns, height * rows), squeeze=False
        )
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
    axis = axis or panels([title], alt, width=6)[0]
    for label, (xs, ys) in curves.items():
        axis.plot(xs, ys, label=label, marker="o" if len(xs) <= 12 else None, markersize=4)
    axis.set(title=title, xlabel=x, ylabel=y)
    axis.set_xscale("log" if scale in ("log x", "log-log") else "linear")
    axis.set_yscale("log" if scale in ("log y", "log-log") else "linear")
    if axis.get_xscale() == "log" and len(xs) <= 8:  # a few doublings: name each one
        axis.set_xticks(xs, [f"{x:,g}" for x in xs], fontsize=9)
        axis.xaxis.set_minor_locator(NullLocator())
    if axis.get_yscale() == "log":
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axis.yaxis.set_minor_locator(NullLocator())
    if len(curves) > 1:
        axis.legend(frameon=False)
    return axis


def slope(x: Sequence[float], y: Sequence[float]) -> float:
    """The slope of log y over log x by least squares: 1 means that y grows in proportion to x."""
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def image_grid(
    images: Tensor,
    titles: Sequence[str] | None,
    title: str,
    alt: str,
    columns: int = 10,
    scale: float = 1.15,
) -> Figure:
    """Images [n, channels, height, width], uint8 or in [0, 1]; one title an image, or one a row, at its left."""
    rows = -(-len(images) // columns)
    of_rows = titles is not None and len(titles) == rows < len(images)
    with plt.rc_context(STYLE | {"axes.grid": False, "font.size": 9}):
        size = (scale * columns, (scale + 0.25) * rows + 0.4)
        figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False)
        for number, axis in enumerate(axes.flat):
            axis.axis("off")
            if number < len(images):
                picture = images[number].detach().cpu().permute(1, 2, 0).numpy()
                axis.imshow(
                    picture, cmap="gray_r", vmin=0, vmax=255 if picture.dtype == np.uint8 else 1
                )
                axis.set_title("" if titles is None or of_rows else titles[number], fontsize=8)
        for row, text in zip(axes, titles if of_rows else (), strict=False):
            row[0].text(
                -0.1, 0.5, text, transform=row[0].transAxes, ha="right", va="center", fontsize=10
            )
        figure.suptitle(title, fontsize=12)
    return describe(figure, alt)


def bars(
    values: Mapping[str, float],
    labels: Sequence[str],
    title: str,
    x: str,
    alt: str,
    log: bool = False,
) -> Axes:
    """Horizontal bars, each with its label; on a logarithmic axis, which has no zero to start from, points."""
    axis = panels([title], alt, height=0.5 * len(values) + 1.2, width=8)[0]
    axis.set_axisbelow(True)
    if log:
        axis.plot(list(values.values()), list(values), "o", color=COLOURS[0], markersize=9)
    else:
        axis.barh(list(values), list(values.values()), color=COLOURS[0])
    for name, label in zip(values, labels, strict=True):
        axis.annotate(
            label, (values[name], name), xytext=(9, 0), textcoords="offset points", va="center"
        )
    axis.set(xlabel=x, xscale="log" if log else "linear")
    axis.margins(x=0.25, y=0.2)
    axis.invert_yaxis()
    return axis


def forest(rows: Sequence[Mapping[str, Any]], title: str, alt: str) -> list[Axes]:
    """Rows of the claims ledger, one below the other: effect and 95 % interval, by verdict; a panel for each unit.

    A full mark is a primary comparison, an arrow the open end of an interval; the grey band is the margin around the
    dashed line of no effect. Within a panel the order is that of the rows.
    """
    from vaetl_helpers.claims import CONTRACT, RATIOS

    units = list(dict.fromkeys(row["unit"] for row in rows))
    parts = [[row for row in rows if row["unit"] == unit] for unit in units]
    heights = [len(part) + 1.5 for part in parts]
    with plt.rc_context(STYLE | {"font.size": 9}):
        size = (11, 0.42 * sum(heights) + 1.3)
        figure, axes = plt.subplots(len(units), figsize=size, squeeze=False, height_ratios=heights)
        for axis, unit, part in zip(axes.flat, units, parts, strict=True):
            ratio = RATIOS.get(unit, 0)
            _forest_panel(axis, part, abs(ratio), CONTRACT["margins"].get(unit))
            side = "left" if ratio < 0 else "right"
            scale = ", log scale" if ratio else ""
            axis.set_xlabel(
                f"{unit or 'no unit'}{scale} (the claim's side is {side} of the dashed line)"
            )
        figure.suptitle(title, fontsize=12)
        figure.legend(handles=_forest_key(rows), loc="outside lower center", ncols=4, frameon=False)
    describe(figure, alt)
    return list(axes.flat)


def _forest_panel(
    axis: Axes, rows: Sequence[Mapping[str, Any]], null: int, margin: float | None
) -> None:
    """The rows of one unit, whose effects are compared with `null`; 1 means ratios on a logarithmic axis."""
    axis.set_xscale("log" if null else "linear")
    axis.axvline(null, color="black", linestyle="--", linewidth=1)
    if margin:
        axis.axvspan(1 / margin if null else -margin, margin, color=GREY, alpha=0.2, linewidth=0)
    known = [row[key] for row in rows for key in ("effect", "low", "high") if row[key] is not None]
    axis.update_datalim(
        [(x, 0) for x in known]
    )  # the arrows are put at the ends of the axis, so these come first
    axis.autoscale_view()
    limits = axis.get_xlim()
    for y, row in enumerate(rows):
        _forest_row(axis, y, row, limits)
    axis.set_xlim(limits)
    if null:
        axis.xaxis.set_major_formatter(lambda value, _: f"{value:,g}")
    asked = [textwrap.fill(row["measure"].partition(", conditional")[0], 80) for row in rows]
    lines = [
        (f"{row['claim']}: {row['data']} ({row['source']})", what)
        for row, what in zip(rows, asked, strict=True)
    ]
    axis.set_yticks(range(len(rows)), ["\n".join(line) for line in lines], fontsize=8)
    axis.set_ylim(len(rows) - 0.4, -0.6)


def _forest_row(axis: Axes, y: int, row: Mapping[str, Any], limits: tuple[float, float]) -> None:
    """An effect with its interval, which is drawn to the limits of the axis where it is open."""
    (marker, colour), ends = VERDICTS[row["verdict"]], (row["low"], row["high"])
    if row["effect"] is None:
        axis.text(0.02, y, "no number", va="center", transform=axis.get_yaxis_transform())
        return
    if ends != (None, None):
        drawn = [limit if end is None else end for end, limit in zip(ends, limits, strict=True)]
        axis.plot(drawn, [y, y], "-", color=colour)
        for end, limit, arrow in zip(ends, limits, "<>", strict=True):
            if end is None:
                axis.plot(limit, y, arrow, color=colour, markersize=7, clip_on=False)
    axis.plot(
        row["effect"],
        y,
        marker,
        color=colour,
        mfc=colour if row["primary"] else "white",
        markersize=8,
    )


def _forest_key(rows: Sequence[Mapping[str, Any]]) -> list[Line2D]:
    """The legend: the verdicts, full and hollow marks, and the arrow, as far as they are drawn."""
    marks = [
        (*VERDICTS[name], name) for name in VERDICTS if name in {row["verdict"] for row in rows}
    ]
    kinds = [("o", "primary", "black")] * any(row["primary"] for row in rows)
    kinds += [("o", "exploratory", "white")] * any(not row["primary"] for row in rows)
    kinds += [(">", "open end", "black")] * any(
        (row["low"] is None) != (row["high"] is None) for row in rows
    )
    return [
        Line2D([], [], linestyle="none", marker=marker, color=colour, mfc=face, label=label)
        for marker, colour, face, label in [
            *((marker, colour, colour, name) for marker, colour, name in marks),
            *((marker, "black", face, label) for marker, label, face in kinds),
        ]
    ]


def latent_scatter(codes: Tensor, labels: Tensor, title: str, alt: str) -> Axes:
    """Codes [n, 2], each drawn as the numeral of its class."""
    with plt.rc_context(STYLE):
        figure, axis = plt.subplots(figsize=(7.5, 6.5))
        for label in labels.unique().tolist():
            chosen = codes[labels == label]
            colour = [
                0.75 * part for part in plt.get_cmap("tab10")(label % 10)[:3]
            ]  # as it is, some are too pale
            axis.scatter(
                chosen[:, 0], chosen[:, 1], color=colour, marker=f"${label}$", s=32, linewidths=0.2
            )
        axis.set(title=title, xlabel="latent 1", ylabel="latent 2")
        axis.set_aspect("equal")
    describe(figure, alt)
    return axis


Tables = Table | Mapping[str, Table]  # one, or several named by their origin


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

    Several tables are named by their origin ("run here", "recorded (machine, date)"); the first one's points are full.
    `methods`, by default all, are those to draw from the tables that have them.
    """
    from vaetl_helpers import plots

    tables = {"": tables} if isinstance(tables, Table) else tables
    methods = methods or list(
        dict.fromkeys(method for table in tables.values() for method in table.known("method"))
    )
    axis, ticks = axis or plots.panels([title], alt, width=6)[0], set()
    for number, (origin, table) in enumerate(tables.items()):
        counts = sorted(table.known("labels"))
        for method in (name for name in methods if name in table.known("method")):
            values = (list(table.values(method, metric, count).values()) for count in counts)
            mean, low, high = zip(*map(mean_interval, values), strict=True)
            look = methods.index(method) % len(plots.COLOURS)
            style = {"color": plots.COLOURS[look], "linestyle": plots.STYLES[look]}
            label, fill = f"{method}, {origin}" if origin else method, "none" if number else "full"
            axis.plot(counts, mean, marker="o", fillstyle=fill, label=label, **style)
            axis.fill_between(counts, low, high, color=style["color"], alpha=0.15, linewidth=0)
        ticks |= set(counts)
    axis.set(title=title, xlabel="labels", ylabel=y, xscale="log")
    axis.set_xticks(sorted(ticks), [f"{count:,}" for count in sorted(ticks)], fontsize=9)
    axis.set_xticks([], minor=True)
    axis.legend(frameon=False)
    return axis
