"""Two pictures of the course: its latent plane, and its ledger at one glance."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from PIL import Image
from scipy.stats import norm

from vaetl_helpers import claims, plots, vae

MODEL = "vae-mnist-2d"
PREVIEW_SIZE = 1200, 630  # pixels, as Open Graph's readers expect them
INK, FAINT = "#1b1f24", "#57606a"
EDGE = 0.02  # of the prior's probability is left out at each side of the plane
ORDER = ("supported", "contradicted", "no gain", "undecided")


def plane_of_digits(columns: int, rows: int) -> np.ndarray:
    """The digits of a grid of codes as one picture, [28 · rows, 28 · columns], in [0, 1].

    The codes are quantiles of the prior, so that each digit stands for as much probability.
    """
    model, _ = vae.pretrained(MODEL)
    across = torch.tensor(norm.ppf(np.linspace(EDGE, 1 - EDGE, columns)), dtype=torch.float32)
    down = torch.tensor(norm.ppf(np.linspace(1 - EDGE, EDGE, rows)), dtype=torch.float32)
    codes = torch.cartesian_prod(down, across).flip(1)  # (first latent, second latent)
    with torch.no_grad():
        pictures = model.picture(codes).reshape(rows, columns, 28, 28)
    return pictures.permute(0, 2, 1, 3).reshape(28 * rows, 28 * columns).numpy()


def latent_plane_png(columns: int = 26, rows: int = 11) -> bytes:
    """The latent plane alone, as PNG of about 900 pixels' width."""
    pixels = plane_of_digits(columns, rows)
    figure = plt.figure(figsize=(9.1, 9.1 * rows / columns), dpi=100)
    _show_plane(figure.add_axes((0, 0, 1, 1)), pixels)
    return _png(figure)


def preview_png(title: str) -> bytes:
    """What a link to the pages shows where it is shared: the title beside the latent plane."""
    width, height = (pixels / 100 for pixels in PREVIEW_SIZE)
    figure = plt.figure(figsize=(width, height), dpi=100, facecolor="white")
    _show_plane(figure.add_axes((0.5, 0, 0.5, 1)), plane_of_digits(14, 15))
    words = textwrap.fill(title, 17)
    figure.text(0.05, 0.90, words, fontsize=33, fontweight="bold", color=INK, va="top")
    promise = textwrap.fill("A course that tests what is claimed, with intervals.", 27)
    figure.text(0.05, 0.10, promise, fontsize=19, color=FAINT, va="bottom")
    return _png(figure)


def ledger_png(rows: Sequence[claims.Row]) -> bytes:
    """Every comparison of the ledger as the mark of its verdict, a line a claim, as PNG."""
    entries = {
        claim: entry
        for claim, entry in claims.CONTRACT["claims"].items()
        if any(row.claim == claim for row in rows)
    }
    with plt.rc_context(plots.STYLE | {"axes.grid": False, "font.size": 12}):
        figure, axis = plt.subplots(figsize=(10, 0.82 * len(entries) + 0.9), dpi=100)
        for line, claim in enumerate(entries):
            _mark_verdicts(axis, line, [row for row in rows if row.claim == claim])
        sentences = [textwrap.fill(entry["text"], 58) for entry in entries.values()]
        axis.set_yticks(range(len(entries)), sentences, color=INK)
        axis.set_ylim(len(entries) - 0.5, -0.5)
        axis.set_xticks([])
        axis.tick_params(length=0)
        axis.spines[:].set_visible(False)
        figure.legend(handles=_key(rows), loc="outside lower right", ncols=6, frameon=False)
    return _png(figure)


def _mark_verdicts(axis: Axes, line: int, rows: Sequence[claims.Row]) -> None:
    """The marks of a claim's rows, by verdict, the primary ones first among the same."""
    ordered = sorted(rows, key=lambda row: (ORDER.index(row.verdict), not row.primary))
    for place, row in enumerate(ordered):
        marker, colour = plots.VERDICTS[row.verdict]
        face = colour if row.primary else "white"
        above, column = divmod(place, 20)
        height = line - 0.13 + 0.26 * above
        axis.plot(column, height, marker, color=colour, mfc=face, markersize=8)


def _key(rows: Sequence[claims.Row]) -> list[Line2D]:
    found = {row.verdict for row in rows}
    key = [_handle(*plots.VERDICTS[verdict], verdict) for verdict in ORDER if verdict in found]
    return [*key, _handle("o", INK, "primary"), _handle("o", INK, "exploratory", "white")]


def _handle(marker: str, colour: str, label: str, face: str | None = None) -> Line2D:
    line = Line2D([], [], marker=marker, label=label, color=colour, linestyle="none")
    line.set_markerfacecolor(face or colour)
    return line


def _show_plane(axis: Axes, pixels: np.ndarray) -> None:
    axis.imshow(pixels, cmap="gray_r", vmin=0, vmax=1, aspect="auto", interpolation="antialiased")
    axis.axis("off")


def _png(figure: Figure) -> bytes:
    """The figure as it is, in as many colours as a palette holds: these pictures travel."""
    content = io.BytesIO()
    figure.savefig(content, format="png")
    plt.close(figure)
    image = Image.open(content).convert("RGB")
    small = io.BytesIO()
    image.quantize(128, method=Image.Quantize.FASTOCTREE).save(small, "PNG", optimize=True)
    return small.getvalue()
