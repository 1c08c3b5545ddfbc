"""Controls. Where nobody can move them (papermill, nbval, a web page), each is a plain figure instead.

A control's picture says in its alternative text what is chosen and what is to be seen.
"""

from __future__ import annotations

import base64
import html
import io
import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from vaetl_helpers import plots, recorded, study
from vaetl_helpers.output import is_interactive
from vaetl_helpers.recorded import recorded_arrays
from vaetl_helpers.vae import VAE

Choices = dict[str, tuple[str, Sequence[Any], Any]]  # name → (label, options, start)


def explore(
    draw: Callable[..., Figure],
    choices: Choices,
    quick: Callable[..., tuple[bytes, str]] | None = None,
) -> None:
    """The figure of draw(**values) and a labelled control for each choice; the figure alone where nobody can move them.

    `quick(**values)` stands in for a `draw` that is too slow to follow a slider: a PNG and its alternative text.
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
        content, alt = quick(**values) if quick else _png(draw(**values))
        source = f"data:image/png;base64,{base64.b64encode(content).decode()}"
        image.value = f'<img alt="{html.escape(alt)}" style="max-width: 100%" src="{source}">'

    for control in controls.values():
        control.observe(move, "value")
    move()
    display(ipywidgets.VBox([*controls.values(), image]))


def _control(label: str, options: Sequence[Any], start: Any) -> Any:
    """A slider over the options, numbers or words. A list would be no use: JupyterLab takes its arrow keys away."""
    import ipywidgets

    look = {
        "description": label,
        "style": {"description_width": "9em"},
        "layout": {"width": "640px"},
    }
    named = [(option if isinstance(option, str) else f"{option:,g}", option) for option in options]
    return ipywidgets.SelectionSlider(options=named, value=start, continuous_update=True, **look)


def _png(figure: Figure) -> tuple[bytes, str]:
    content = io.BytesIO()
    figure.savefig(content, format="png")
    plt.close(figure)
    return content.getvalue(), figure._vaetl_alt


def _panels(titles: Sequence[str], alt: str, origin: str) -> tuple[Axes, Axes]:
    left, right = plots.panels(titles, alt, height=4)
    left.figure.suptitle(origin, fontsize=9, color=plots.GREY)
    return left, right


def rates(alt: str, rate: float = 0.05, batch: int = 16) -> None:
    """Recorded loss curves for a learning rate and a batch size to choose, and the last loss for all rates."""
    arrays, facts = recorded_arrays("01_rates")

    def draw(rate: float, batch: int) -> Figure:
        row, column = facts["rates"].index(rate), facts["batches"].index(batch)
        curves = {
            name: arrays[name][row, column] for name in ("training", "validation")
        }  # [seeds, epochs + 1]
        last = arrays["validation"][:, column, :, -1]  # [rates, seeds]
        failed = int((~(last[row] < math.log(10))).sum())  # nan counts, too
        chosen = f"rate {rate:g}, batch size {batch}"
        said = f"validation loss {last[row].mean():.2f} nats at the end, {failed} of {last.shape[1]} runs diverged"
        left, right = _panels(
            [chosen, f"batch size {batch}, all rates"], f"{alt} {chosen}: {said}.", facts["label"]
        )
        for number, (name, runs) in enumerate(curves.items()):
            look, epochs = {"color": plots.COLOURS[number]}, range(runs.shape[1])
            left.plot(
                epochs,
                runs.mean(0),
                plots.STYLES[number],
                label=f"{name} {runs[:, -1].mean():.2f}",
                **look,
            )
            left.fill_between(epochs, runs.min(0), runs.max(0), alpha=0.15, linewidth=0, **look)
        right.plot(facts["rates"], last, ".", color=plots.COLOURS[1])
        right.plot(
            facts["rates"], last.mean(1), "--", color=plots.COLOURS[1], label="mean of the runs"
        )
        right.plot(
            rate,
            last[row].mean(),
            "o",
            color=plots.COLOURS[1],
            markersize=10,
            label=f"rate {rate:g}",
        )
        right.set(
            xscale="log",
            xlabel="learning rate",
            ylabel="validation loss at the end (nats)",
            ylim=(0, 3),
        )
        right.set_xticks(facts["rates"], [f"{value:g}" for value in facts["rates"]], fontsize=8)
        right.set_xticks([], minor=True)
        left.set(xlabel="epoch", ylabel="loss (nats)", ylim=(0, 3))
        for axis in (left, right):
            axis.axhline(math.log(10), color="black", linestyle=":", label="log 10")
            axis.legend(frameon=False, fontsize=9)
        return left.figure

    explore(
        draw,
        {
            "rate": ("learning rate", facts["rates"], rate),
            "batch": ("batch size", facts["batches"], batch),
        },
    )


REACH, CELLS = 3.0, 15  # the map covers ±3 in both latents with 15 × 15 pictures


def map_of_pictures(model: VAE) -> Tensor:
    """The pictures of a grid of codes as one image [height, width] in [0, 1]; the second latent grows upwards."""
    steps = torch.linspace(-REACH, REACH, CELLS)
    codes = torch.cartesian_prod(steps.flip(0), steps).flip(1).to(next(model.parameters()).device)
    pictures = model.picture(codes)[:, 0].cpu()
    height, width = pictures.shape[-2:]
    grid = pictures.view(CELLS, CELLS, height, width).transpose(1, 2)
    return grid.reshape(CELLS * height, CELLS * width)


def draw_point(model: VAE, background: Tensor, first: float, second: float) -> bytes:
    """A PNG: the map with a cross at the code (first, second), and that code's picture beside it."""
    from PIL import Image, ImageDraw

    code = torch.tensor([[first, second]], device=next(model.parameters()).device)
    side = background.shape[0]
    canvas = Image.new("RGB", (2 * side + 10, side), "white")
    canvas.paste(Image.fromarray(255 - (255 * background).byte().numpy()).convert("RGB"))
    picture = 255 - (255 * model.picture(code)[0, 0].cpu()).byte().numpy()
    canvas.paste(
        Image.fromarray(picture).resize((side, side), Image.Resampling.NEAREST), (side + 10, 0)
    )
    x, y = side * (first + REACH) / (2 * REACH), side * (REACH - second) / (2 * REACH)
    draw = ImageDraw.Draw(canvas)
    for line in ((x - 15, y, x + 15, y), (x, y - 15, x, y + 15)):
        draw.line(line, fill=plots.COLOURS[1], width=5)
    content = io.BytesIO()
    canvas.save(content, "PNG", compress_level=1)
    return content.getvalue()


def latent_map(model: VAE, alt: str, first: float = 0.0, second: float = 0.0) -> None:
    """A map of a VAE with two latents and a point to move: two sliders, for mouse and arrow keys."""
    background = map_of_pictures(model)

    def draw(first: float, second: float) -> Figure:
        left, right = plots.panels(
            ["the map, and a point", f"decoded at ({first:g}, {second:g})"], alt, height=4.2
        )
        left.imshow(background.numpy(), cmap="gray_r", extent=(-REACH, REACH, -REACH, REACH))
        left.plot([first], [second], "+", color=plots.COLOURS[1], markersize=18, markeredgewidth=3)
        left.set(xlabel="latent 1", ylabel="latent 2")
        code = torch.tensor([[first, second]], device=next(model.parameters()).device)
        right.imshow(model.picture(code)[0, 0].cpu().numpy(), cmap="gray_r", vmin=0, vmax=1)
        for axis in (left, right):
            axis.grid(False)
        right.set(xticks=[], yticks=[])
        return left.figure

    def quick(first: float, second: float) -> tuple[bytes, str]:
        moved = f" The point is at {first:g}, {second:g}." if (first, second) != start else ""
        return draw_point(model, background, first, second), alt + moved

    steps = [round(0.05 * step - REACH, 2) for step in range(121)]
    start = tuple(min(steps, key=lambda step: abs(step - value)) for value in (first, second))
    explore(
        draw,
        {n: (f"latent {k}", steps, start[k - 1]) for k, n in enumerate(("first", "second"), 1)},
        quick,
    )


THRESHOLDS = [round(0.02 * step, 2) for step in range(1, 50)]


def confusion(
    positive: np.ndarray, probability: np.ndarray, threshold: float
) -> tuple[np.ndarray, list[float]]:
    """Counts [truth, said] at a threshold; accuracy, precision and recall in per cent (nan: nothing to divide by).

    `positive`: whether each image is of the class, `probability`: what the network gives to that, both [images].
    """
    from sklearn.metrics import confusion_matrix

    counts = confusion_matrix(positive, probability >= threshold, labels=[False, True])
    parts = (
        (np.trace(counts), counts.sum()),
        (counts[1, 1], counts[:, 1].sum()),
        (counts[1, 1], counts[1].sum()),
    )
    return counts, [100 * part / whole if whole else math.nan for part, whole in parts]


def thresholds(
    alt: str, method: str = "fine-tuned", labels: int = 10, draw: int = 1, threshold: float = 0.5
) -> None:
    """Recorded confusion tables, precision and recall on validation images, for a method, labels and threshold."""
    arrays, facts = recorded_arrays("04_thresholds")
    positive, (other, name) = arrays["validation_labels"] == 1, facts["classes"]
    probability = 1 / (
        1 + np.exp(-arrays["validation"].astype(float))
    )  # [methods, counts, draws, images]

    def show(method: str, labels: int, draw: int, threshold: float) -> Figure:
        runs = probability[facts["methods"].index(method), facts["counts"].index(labels)]
        counts, scores = confusion(positive, runs[draw - 1], threshold)
        chosen = f"{method}, {labels} a class, draw {draw}: {name} from {threshold:g}"
        said = "accuracy {:.0f}, precision {:.0f}, recall {:.0f} %".format(*scores).replace(
            "nan", "none"
        )
        table = f"{name} found {counts[1, 1]}, overlooked {counts[1, 0]}, {other} taken for {name} {counts[0, 1]}"
        left, right = _panels([chosen, said], f"{alt} {chosen}: {said}; {table}.", facts["label"])
        _draw_counts(left, counts, (other, name))
        _draw_trade_off(right, positive, runs, draw - 1)
        right.plot(scores[2], scores[1], "o", color=plots.COLOURS[1], markersize=11, zorder=4)
        right.set(
            xlabel=f"recall (% of the {name}s found)",
            ylabel=f"precision (% of those called {name})",
        )
        return left.figure

    choices = {
        "method": ("method", facts["methods"], method),
        "labels": ("labels a class", facts["counts"], labels),
    }
    choices["draw"] = ("draw of labels", range(1, probability.shape[2] + 1), draw)
    explore(show, choices | {"threshold": ("threshold", THRESHOLDS, threshold)})


def _draw_counts(axis: Axes, counts: np.ndarray, names: tuple[str, str]) -> None:
    """A confusion table, darker where more images are."""
    axis.imshow(counts, cmap="Blues", vmin=0, vmax=counts.sum(1).max())
    for (truth, said), count in np.ndenumerate(counts):
        colour = "white" if 2 * count > counts[truth].sum() else "black"
        axis.text(said, truth, count, ha="center", va="center", fontsize=22, color=colour)
    axis.set(xlabel="the network says", ylabel="it is", xticks=(0, 1), yticks=(0, 1))
    axis.set(xticklabels=names, yticklabels=names)
    axis.grid(False)


def _draw_trade_off(axis: Axes, positive: np.ndarray, runs: np.ndarray, bold: int) -> None:
    """Precision over recall for all thresholds, a line a run [runs, images], one of them bold."""
    from sklearn.metrics import precision_recall_curve

    for number, run in enumerate(runs):
        precision, recall, _ = precision_recall_curve(positive, run)
        look = (
            {"color": plots.COLOURS[0], "linewidth": 2.5} if number == bold else {"color": "silver"}
        )
        axis.plot(100 * recall, 100 * precision, "-", zorder=2 + (number == bold), **look)
    axis.set(xlim=(0, 103), ylim=(0, 103))


COMPARED = (
    "scratch",
    "VAE fine-tuned",
    "probe on μ",
    "supervised",
    "random encoder",
    "raw pixels",
    "SVM on pixels",
)


def data_pairs() -> dict[str, tuple[str, str]]:
    """{"source → target": (a study of chapter 5, what the names of its methods from this source end in)}."""
    from vaetl_helpers.vae_transfer import SOURCES, TITLES

    pairs = {}
    for name, (_, *others) in SOURCES.items():
        own = TITLES[name] if "→" in TITLES[name] else f"{TITLES[name]} → {TITLES[name]} (M1-style)"
        pairs |= {own: (name, "")} | {
            f"{source} → {TITLES[name]}": (name, f" ({source})") for source in others
        }
    return pairs


@cache
def _accuracies(name: str) -> study.Table:
    """A recorded study of chapter 5, without what accuracies do not need: ten times fewer rows."""
    rows = study.recorded_table("05", name).rows
    return study.Table([row for row in rows if row["metric"] in ("test accuracy", study.SHARED)])


def curves(
    alt: str, method: str = "VAE fine-tuned", against: str = "scratch", labels: int = 100
) -> None:
    """Recorded learning curves of two methods and their paired difference, for data, methods and labels to choose."""
    pairs, run = data_pairs(), recorded.recorded("05")
    origin = f"recorded ({run['machine']}, {run['date']})"

    def draw(pair: str, method: str, against: str, labels: int) -> Figure:
        name, end = pairs[pair]
        table = _accuracies(name)
        known, counts = table.known("method"), table.known("labels")
        a, b = (
            next((full for full in (one + end, one) if full in known), None)
            for one in (method, against)
        )
        if not (a and b):
            said = f"{method} or {against} was not run for it"
            return _panels([pair, said], f"{alt} {pair}: {said}.", origin)[0].figure
        n = max(count for count in counts if count <= labels)
        effects = {count: study.paired(table, a, b, "test accuracy", count) for count in counts}
        missing = f" ({labels:,} not recorded)" if n != labels else ""
        chosen, e = f"{method} − {against}, {n:,} labels{missing}", effects[n]
        said = f"{e.effect:+.1f} points [{e.low:+.1f}, {e.high:+.1f}], {study.verdict(e)}"
        left, right = _panels(
            [pair, f"{chosen}:\n{said}"], f"{alt} {pair}. {chosen}: {said} ({e.label}).", origin
        )
        plots.learning_curves(table, "test accuracy", pair, "test accuracy (%)", "", left, [a, b])
        left.set_xlabel("labels in all (log scale)")
        _draw_effects(right, effects, n)
        return left.figure

    choices = {
        "pair": ("source → target", list(pairs), next(iter(pairs))),
        "method": ("method", COMPARED, method),
    }
    choices |= {"against": ("compared with", COMPARED, against)}
    explore(draw, choices | {"labels": ("labels in all", (20, 50, 100, 200, 500, 1000), labels)})


def _draw_effects(axis: Axes, effects: dict[int, study.Effect], chosen: int) -> None:
    """Differences with intervals over the number of labels, marked by their verdicts, one of them large."""
    for count, e in effects.items():
        marker, colour = plots.VERDICTS[word := study.verdict(e)]
        ends, size = [[e.effect - e.low], [e.high - e.effect]], 13 if count == chosen else 6
        axis.errorbar(
            count, e.effect, ends, fmt=marker, color=colour, markersize=size, capsize=4, label=word
        )
    axis.axhline(0, color="black", linestyle="--")
    axis.axhspan(-1, 1, color=plots.GREY, alpha=0.15, linewidth=0)
    axis.set(xscale="log", xlabel="labels in all (log scale)", ylabel="difference (points)")
    axis.set_xticks(list(effects), [f"{count:,}" for count in effects], fontsize=9)
    axis.set_xticks([], minor=True)
    marks, words = axis.get_legend_handles_labels()
    axis.legend(
        dict(zip(words, marks, strict=True)).values(),
        dict.fromkeys(words),
        frameon=False,
        fontsize=9,
    )
