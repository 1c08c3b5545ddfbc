"""Learning rates and batch sizes: 54 recorded settings with five runs each, and one to choose."""

from __future__ import annotations

import base64
import math
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from vaetl_helpers import plots
from vaetl_helpers.alt_texts import full_text
from vaetl_helpers.living import figure
from vaetl_helpers.recorded import recorded_arrays

Losses = NDArray[np.float32]

KNOWS_NOTHING = math.log(10)  # the loss in nats of a network that gives ten classes the same chance
BROKEN = 65535  # stands for a loss that is not a number, or too large to be told


def rate_study(alt: str, rate: float = 0.05, batch: int = 16) -> None:
    """The recorded study of rates and batch sizes, with one setting to choose.

    The setting's ten epochs in five runs, and beside them the mean loss at the end of all settings.
    """
    arrays, facts = recorded_arrays("01b_rates")
    row, column = facts["rates"].index(rate), facts["batches"].index(batch)
    text = f"{full_text(alt)} {in_words(rate, batch, arrays['validation'][row, column, :, -1])}"
    figure.show("rates", rates_data(rate, batch), _static(arrays, facts, row, column), text)


def rates_data(rate: float = 0.05, batch: int = 16) -> dict[str, Any]:
    """What the script reads: the choices, what is chosen at first, and all losses."""
    arrays, facts = recorded_arrays("01b_rates")
    validation = arrays["validation"]  # [rates, batches, seeds, epochs + 1]
    return {
        "rates": facts["rates"],
        "batches": facts["batches"],
        "seeds": validation.shape[2],
        "epochs": validation.shape[3] - 1,
        "start": {"rate": rate, "batch": batch},
        "source": f"{facts['network']}, {facts['data']}; {facts['label']}.",
        "training": packed(arrays["training"]),
        "validation": packed(validation),
    }


def packed(losses: Losses) -> str:
    """Losses as thousandths of a nat in 16 bits, in base64."""
    thousandths = np.nan_to_num(1000 * losses, nan=BROKEN, posinf=BROKEN).round()
    return base64.b64encode(thousandths.clip(0, BROKEN).astype("<u2").tobytes()).decode()


def diverged(last: Losses) -> int:
    """How many of these losses [runs] are no better than that of a network that knows nothing."""
    return int((~(last < KNOWS_NOTHING)).sum())  # nan counts, too


def in_words(rate: float, batch: int, last: Losses) -> str:
    """What became of the runs of one setting, whose losses at the end are `last`."""
    return (
        f"Rate {rate:g}, batch size {batch}: validation loss {last.mean():.2f} nats at the end, "
        f"{diverged(last)} of {len(last)} runs diverged."
    )


def _static(arrays: dict[str, Losses], facts: dict[str, Any], row: int, column: int) -> Any:
    rate, batch = facts["rates"][row], facts["batches"][column]
    titles = [f"rate {rate:g}, batch size {batch}", "mean validation loss at the end (nats)"]
    left, right = plots.panels(titles, "", height=4.2)
    for number, name in enumerate(("training", "validation")):
        _draw_runs(left, arrays[name][row, column], name, plots.COLOURS[number])
    left.axhline(KNOWS_NOTHING, color="black", linestyle=":", linewidth=1)
    left.text(0, KNOWS_NOTHING + 0.04, "log 10", fontsize=9)
    left.set(xlabel="epoch", ylabel="loss (nats)", ylim=(0, 3), xlim=(0, 12.6))
    left.set_xticks(range(0, 11, 2))
    _draw_map(right, arrays["validation"][..., -1], facts)
    right.add_patch(_frame(row, column))
    figure = left.figure
    figure.suptitle(facts["label"], fontsize=9, color=plots.GREY)
    return figure


def _draw_runs(axis: Axes, runs: Losses, name: str, colour: str) -> None:
    """Each run [seeds, epochs + 1] thin, their mean bold, with its name at its end."""
    epochs = range(runs.shape[1])
    axis.plot(epochs, runs.T, "-", color=colour, alpha=0.3, linewidth=1)
    axis.plot(epochs, runs.mean(0), "-", color=colour, linewidth=2.5)
    place = "bottom" if name == "validation" else "top"
    axis.text(epochs[-1] + 0.15, runs.mean(0)[-1], name, color=colour, va=place, fontsize=10)


def _draw_map(axis: Axes, last: Losses, facts: dict[str, Any]) -> None:
    """The mean of the last losses [rates, batches, seeds], a cell a setting."""
    mean = last.mean(2)
    share = ((KNOWS_NOTHING - mean) / (KNOWS_NOTHING - 0.4)).clip(0, 1)
    axis.imshow(np.nan_to_num(share.T) ** 3, cmap="Blues", vmin=0, vmax=1.3, aspect="auto")
    best = np.nanargmin(mean, 0)
    for (row, column), loss in np.ndenumerate(mean):
        number = f"{loss:.2f}" if loss < 9.995 else "—"
        lost = diverged(last[row, column])
        text = f"{number}\n{lost} of {last.shape[2]}" if lost else number
        weight = "bold" if best[column] == row else "normal"
        colour = "white" if share[row, column] > 0.94 else "black"
        style: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 8}
        axis.text(row, column, text, color=colour, fontweight=weight, **style)
    axis.set_xticks(
        range(len(facts["rates"])), [f"{rate:g}" for rate in facts["rates"]], fontsize=8
    )
    axis.set_yticks(range(len(facts["batches"])), facts["batches"], fontsize=9)
    axis.set(xlabel="learning rate (below a mean: runs that diverged)", ylabel="batch size")
    axis.grid(False)


def _frame(row: int, column: int) -> Any:
    """A frame around one cell."""
    place = (row - 0.48, column - 0.48)
    return Rectangle(place, 0.96, 0.96, fill=False, edgecolor=plots.COLOURS[1], linewidth=3)
