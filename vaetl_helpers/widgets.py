"""Controls. Where nobody can move them (papermill, a web page), each is a plain figure instead.

A control's picture says in its alternative text what is chosen and what is to be seen.
"""

from __future__ import annotations

import base64
import html
import io
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vaetl_helpers import plots, recorded
from vaetl_helpers.alt_texts import full_text
from vaetl_helpers.output import is_interactive, say
from vaetl_helpers.recorded import recorded_arrays

Choices = dict[str, tuple[str, Sequence[Any], Any]]  # name → (label, options, start)
BLUE, RED = plots.COLOURS[:2]


def explore(draw: Callable[..., Figure], choices: Choices) -> None:
    """The figure of draw(**values) and a labelled control for each choice.

    Where nobody can move the controls, it is the figure alone.
    """
    if not is_interactive():
        draw(**{name: start for name, (_, _, start) in choices.items()})
        return
    import ipywidgets
    from IPython.display import display

    controls = {name: _control(*choice) for name, choice in choices.items()}
    image = ipywidgets.HTML()  # the Image widget has no alternative text

    def move(_: object = None) -> None:
        values = {name: control.value for name, control in controls.items()}
        content, alt = _png(draw(**values))
        source = f"data:image/png;base64,{base64.b64encode(content).decode()}"
        image.value = f'<img alt="{html.escape(alt)}" style="max-width: 100%" src="{source}">'

    for control in controls.values():
        control.observe(move, "value")
    move()
    display(ipywidgets.VBox([*controls.values(), image]))


def _control(label: str, options: Sequence[Any], start: Any) -> Any:
    """A slider over the options, numbers or words.

    A list would be no use: JupyterLab takes its arrow keys away.
    """
    import ipywidgets

    named = []
    for option in options:
        name = option if isinstance(option, str) else f"{option:,g}"
        named.append((name, option))
    return ipywidgets.SelectionSlider(
        options=named,
        value=start,
        continuous_update=True,
        description=label,
        style={"description_width": "9em"},
        layout={"width": "640px"},
    )


def _png(figure: Figure) -> tuple[bytes, str]:
    content = io.BytesIO()
    figure.savefig(content, format="png")
    plt.close(figure)
    return content.getvalue(), plots.alt_text(figure)


def _panels(titles: Sequence[str], alt: str, origin: str) -> tuple[Figure, Axes, Axes]:
    """Two panels, below where their numbers come from."""
    left, right = plots.panels(titles, alt, height=4)
    figure = plt.gcf()
    figure.suptitle(origin, fontsize=9, color=plots.GREY)
    return figure, left, right


# ---------------------------------------------------------------- thresholds (chapter 4a)

THRESHOLDS = [round(0.02 * step, 2) for step in range(1, 50)]


class Scores(NamedTuple):
    """Of a classifier at a threshold, in per cent; nan where there is nothing to divide by."""

    accuracy: float
    precision: float
    recall: float


def confusion(
    positive: np.ndarray, probability: np.ndarray, threshold: float
) -> tuple[np.ndarray, Scores]:
    """Counts [truth, predicted] at a threshold, and accuracy, precision and recall.

    `positive`: whether each image is of the class, `probability`: what the network gives to that,
    both [images].
    """
    from sklearn.metrics import confusion_matrix

    counts = confusion_matrix(positive, probability >= threshold, labels=[False, True])
    hits = counts[1, 1]
    accuracy = _percent(np.trace(counts), counts.sum())
    precision = _percent(hits, counts[:, 1].sum())
    recall = _percent(hits, counts[1].sum())
    return counts, Scores(accuracy, precision, recall)


def _percent(count: float, total: float) -> float:
    return 100 * count / total if total else math.nan


def thresholds(
    alt: str, method: str = "fine-tuned", labels: int = 10, draw: int = 1, threshold: float = 0.5
) -> None:
    """Recorded confusion tables, precision and recall on validation images.

    To choose: method, labels a class, draw of labels and threshold.
    """
    alt = full_text(alt)
    arrays, facts = recorded_arrays("04_thresholds")
    positive = arrays["validation_labels"] == 1
    other, name = facts["classes"]
    log_odds = arrays["validation"].astype(float)  # [methods, counts, draws, images]
    probability = 1 / (1 + np.exp(-log_odds))

    def show(method: str, labels: int, draw: int, threshold: float) -> Figure:
        runs = probability[facts["methods"].index(method), facts["counts"].index(labels)]
        counts, scores = confusion(positive, runs[draw - 1], threshold)
        chosen = f"{method}, {labels} a class, draw {draw}: {name} from {threshold:g}"
        outcome = "accuracy {:.0f}, precision {:.0f}, recall {:.0f} %".format(*scores)
        outcome = outcome.replace("nan", "none")
        table = (
            f"{name} found {counts[1, 1]}, overlooked {counts[1, 0]}, "
            f"{other} taken for {name} {counts[0, 1]}"
        )
        text = f"{alt} {chosen}: {outcome}; {table}."
        figure, left, right = _panels([chosen, outcome], text, facts["label"])
        _draw_counts(left, counts, (other, name))
        _draw_trade_off(right, positive, runs, draw - 1)
        right.plot(scores.recall, scores.precision, "o", color=RED, markersize=11, zorder=4)
        right.set_xlabel(f"recall (% of the {name}s found)")
        right.set_ylabel(f"precision (% of those called {name})")
        return figure

    draws = range(1, probability.shape[2] + 1)
    choices: Choices = {
        "method": ("method", facts["methods"], method),
        "labels": ("labels a class", facts["counts"], labels),
        "draw": ("draw of labels", draws, draw),
        "threshold": ("threshold", THRESHOLDS, threshold),
    }
    explore(show, choices)


def _draw_counts(axis: Axes, counts: np.ndarray, names: tuple[str, str]) -> None:
    """A confusion table, darker where more images are."""
    axis.imshow(counts, cmap="Blues", vmin=0, vmax=counts.sum(1).max())
    for (truth, predicted), count in np.ndenumerate(counts):
        colour = "white" if 2 * count > counts[truth].sum() else "black"
        axis.text(predicted, truth, count, ha="center", va="center", fontsize=22, color=colour)
    axis.set(xlabel="the network says", ylabel="it is", xticks=(0, 1), yticks=(0, 1))
    axis.set(xticklabels=names, yticklabels=names)
    axis.grid(False)


def _draw_trade_off(axis: Axes, positive: np.ndarray, runs: np.ndarray, bold: int) -> None:
    """Precision over recall for all thresholds, a line a run [runs, images], one of them bold."""
    from sklearn.metrics import precision_recall_curve

    for number, run in enumerate(runs):
        precision, recall, _ = precision_recall_curve(positive, run)
        style: dict[str, Any] = {"color": "silver", "zorder": 2}
        if number == bold:
            style = {"color": BLUE, "linewidth": 2.5, "zorder": 3}
        axis.plot(100 * recall, 100 * precision, "-", **style)
    axis.set(xlim=(0, 103), ylim=(0, 103))


# ---------------------------------------------------------------- machines (chapter 2)


def machines(own: Mapping[int, plots.Lines], alt: str, files: Sequence[Path] = ()) -> None:
    """Steps over batch sizes: a recorded machine to choose, and this one's lines on top.

    `own` are the lines measured here, {width: {device: (batch sizes, milliseconds)}}; `files` are
    of `vaetl record-machine`, and are offered before the package's.
    """
    alt = full_text(alt)
    found = recorded.recorded_machines(*files)
    offered = {machine.name: machine for machine in found if machine.rows("crossover")}
    if not offered:
        say("No machine is recorded yet: `vaetl record-machine` makes a file of this one.")
        return

    def draw(name: str) -> Figure:
        machine = offered[name]
        titles = [f"width {width}" for width in own]
        axes = plots.panels(titles, f"{alt} {machine.label}.", 3.8)
        figure = plt.gcf()
        figure.suptitle(machine.label, fontsize=9, color=plots.GREY)
        for axis, (width, lines) in zip(axes, own.items(), strict=True):
            _draw_machine(axis, width, machine.crossover(width), lines)
        return figure

    names = list(offered)
    explore(draw, {"name": ("machine", names, names[0])})


def _draw_machine(axis: Axes, width: int, theirs: plots.Lines, own: plots.Lines) -> None:
    """This machine's lines wide and pale, so that the recorded ones show on top of them."""
    title = f"width {width:,}"
    every = {**own, **{f"there: {device}": line for device, line in theirs.items()}}
    plots.lines(every, title, "batch size", "ms per step", alt="", scale="log-log", axis=axis)
    for number, line in enumerate(axis.get_lines()):
        line.set(color=plots.COLOURS[number % len(plots.COLOURS)])
        if number < len(own):
            line.set(linestyle="-", linewidth=6, alpha=0.35, marker="")
            line.set_label(f"here: {line.get_label()}")
        else:
            shape = "osD^"[(number - len(own)) % 4]
            line.set(linestyle=("--", ":", "-.")[number % 3], linewidth=1.5)
            line.set(marker=shape, markersize=5)
    ticks = sorted({batch for batches, _ in every.values() for batch in batches})
    axis.set_xticks(ticks, [f"{batch:,}" for batch in ticks], fontsize=9)
    plots.label_lines(axis)


def machine_rows(files: Sequence[Path] = ()) -> list[tuple[str, ...]]:
    """For a table: what every recorded machine reaches.

    Machine, peak, bandwidth, seconds of an epoch of the VAE, and how many times as fast as the
    classical loop it is.
    """
    rows = []
    for machine in recorded.recorded_machines(*files):
        numbers = [
            _shown(machine, "02/peak_gflops", ",.0f", " GFLOP/s"),
            _shown(machine, "02/bandwidth", ",.0f", " GB/s"),
            _shown(machine, "02/epoch/fit", ".2f", " s"),
            _shown(machine, "02/epoch/ratio", ".1f", ""),
        ]
        rows.append((machine.label, *numbers))
    return rows


def _shown(machine: recorded.RecordedMachine, id: str, form: str, unit: str) -> str:
    value = machine.value(id)
    return "not measured" if value is None else f"{value:{form}}{unit}"
