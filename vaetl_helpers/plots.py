"""The course's figures: colour-blind-safe, labelled, and with a text for those who cannot see them.

Each function draws one figure, needs `alt`, the sentence a screen reader says, and is followed by `plt.show()`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator
from torch import Tensor

from vaetl_helpers.runtime import notebook_kernel

# Okabe and Ito's palette, which people with any kind of colour vision can tell apart; its yellow is too pale for lines.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
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

    return print_figure(figure, "png", bbox_inches="tight"), {"alt": getattr(figure, "_vaetl_alt", "")}


def panels(titles: Sequence[str], alt: str, height: float = 3.2, width: float = 4.8, columns: int = 2) -> list[Axes]:
    """Empty panels in the course's style, at most `columns` side by side, so that their text stays readable."""
    columns = min(columns, len(titles))
    rows = -(-len(titles) // columns)
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(rows, columns, figsize=(width * columns, height * rows), squeeze=False)
        for axis in axes.flat[len(titles) :]:
            axis.remove()
        for axis, title in zip(axes.flat, titles, strict=False):
            axis.set_title(title)
    describe(figure, alt)
    return list(axes.flat[: len(titles)])


def lines(curves: Lines, title: str, x: str, y: str, alt: str, scale: str = "linear", axis: Axes | None = None) -> Axes:
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
    images: Tensor, titles: Sequence[str] | None, title: str, alt: str, columns: int = 10, scale: float = 1.15
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
                axis.imshow(picture, cmap="gray_r", vmin=0, vmax=255 if picture.dtype == np.uint8 else 1)
                axis.set_title("" if titles is None or of_rows else titles[number], fontsize=8)
        for row, text in zip(axes, titles if of_rows else (), strict=False):
            row[0].text(-0.1, 0.5, text, transform=row[0].transAxes, ha="right", va="center", fontsize=10)
        figure.suptitle(title, fontsize=12)
    return describe(figure, alt)


def bars(values: Mapping[str, float], labels: Sequence[str], title: str, x: str, alt: str, log: bool = False) -> Axes:
    """Horizontal bars, each with its label; on a logarithmic axis, which has no zero to start from, points."""
    axis = panels([title], alt, height=0.5 * len(values) + 1.2, width=8)[0]
    axis.set_axisbelow(True)
    if log:
        axis.plot(list(values.values()), list(values), "o", color=COLOURS[0], markersize=9)
    else:
        axis.barh(list(values), list(values.values()), color=COLOURS[0])
    for name, label in zip(values, labels, strict=True):
        axis.annotate(label, (values[name], name), xytext=(9, 0), textcoords="offset points", va="center")
    axis.set(xlabel=x, xscale="log" if log else "linear")
    axis.margins(x=0.25, y=0.2)
    axis.invert_yaxis()
    return axis


def latent_scatter(codes: Tensor, labels: Tensor, title: str, alt: str) -> Axes:
    """Codes [n, 2], each drawn as the numeral of its class."""
    with plt.rc_context(STYLE):
        figure, axis = plt.subplots(figsize=(7.5, 6.5))
        for label in labels.unique().tolist():
            chosen, colour = codes[labels == label], plt.get_cmap("tab10")(label % 10)
            axis.scatter(chosen[:, 0], chosen[:, 1], color=colour, marker=f"${label}$", s=32, linewidths=0.2)
        axis.set(title=title, xlabel="latent 1", ylabel="latent 2")
        axis.set_aspect("equal")
    describe(figure, alt)
    return axis
