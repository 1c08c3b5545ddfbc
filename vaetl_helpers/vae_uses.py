"""What chapters 5a and 5b run and draw: losses side by side, β, kept halves, layers, bars."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullFormatter
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from vaetl_helpers import nets, plots, representations, vae, vae_transfer
from vaetl_helpers.data.images import ImageSet, Splits
from vaetl_helpers.output import record_id, report, show_record, show_table
from vaetl_helpers.pretraining import ASKED, TARGETS
from vaetl_helpers.recorded import Record, recorded_by_measure
from vaetl_helpers.study.draws import Draw, Method, draw_labels
from vaetl_helpers.study.effects import Effect, effect_of, mean_interval, paired, verdicts
from vaetl_helpers.study.overfitting import TRAINING, UNSEEN, unseen_losses_at
from vaetl_helpers.study.runs import run_study
from vaetl_helpers.study.table import Table
from vaetl_helpers.study.values import recorded_study
from vaetl_helpers.training.evaluation import evaluate
from vaetl_helpers.training.loop import fit
from vaetl_helpers.training.options import RunOptions
from vaetl_helpers.training.vaes import fit_vaes
from vaetl_helpers.transfer.freezing import trainable
from vaetl_helpers.transfer.probes import linear_probe
from vaetl_helpers.vae_transfer import FeatureExtractor, Pretrained

CHAPTER = "05b"
METRIC = "test accuracy"

# ---------------------------------------------------------------- losses side by side

NETWORKS = ("scratch", "VAE fine-tuned")
SINGLE = 3  # networks whose own lines are drawn


def draw_paths(table: Table, counts: Sequence[int], alt: str) -> list[Axes]:
    """Loss on unseen images over the training loss: the median of all draws, and a few lines."""
    axes = plots.panels([f"{n} labels" for n in counts], alt, height=3.6)
    for axis, labels in zip(axes, counts, strict=True):
        for number, method in enumerate(NETWORKS):
            _draw_network(axis, table, method, labels, plots.COLOURS[number])
        axis.set(xscale="log", yscale="log", xlim=(1e-3, None))
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.yaxis.set_major_formatter("{x:g}")
        axis.yaxis.set_minor_formatter(NullFormatter())
        axis.set_ylim(top=3)
        axis.set_ylabel("loss on unseen images (nats)")
        axis.set_xlabel("← time     loss on training images (nats)")
        axis.legend(frameon=False)
    return axes


def _draw_network(axis: Axes, table: Table, method: str, labels: int, colour: str) -> None:
    """The median line of a method's networks, and thin lines of the first of them."""
    training = table.by_step(method, labels, TRAINING)
    unseen = table.by_step(method, labels, UNSEEN)
    for draw in sorted(training)[:SINGLE]:
        axis.plot(training[draw], unseen[draw], "-", color=colour, alpha=0.25)
    first = min(path[0] for path in training.values())
    levels = np.geomspace(max(min(path) for path in training.values()), first)
    at_levels = [unseen_losses_at(training[draw], unseen[draw], levels) for draw in training]
    middle = np.median(at_levels, axis=0)
    axis.plot(levels, middle, "-", color=colour, linewidth=3, label=method)


class RatesPanel(NamedTuple):
    """What a panel of `draw_rates` shows: its lines, by the middle of their ids, and its scale."""

    title: str
    x: str
    limits: tuple[float, float]
    lines: dict[str, str]


AT_ONE_RATE = ("both at the lower rate", "both at the higher rate")
LOSS = "loss on unseen images, difference (nats)"
RATES_PANELS = (
    RatesPanel(
        "Loss by the start: scratch − VAE",
        LOSS,
        (-0.1, 0.65),
        dict(zip(AT_ONE_RATE, ("start/low_rate", "start/high_rate"), strict=True)),
    ),
    RatesPanel(
        "Loss by the rate: higher − lower",
        LOSS,
        (-0.1, 0.65),
        {"both from scratch": "rate/scratch", "both from the VAE": "rate/fine_tuned"},
    ),
    RatesPanel(
        "Accuracy by the start: VAE − scratch",
        "test accuracy, difference (points)",
        (-2.5, 6),
        dict(zip(AT_ONE_RATE, ("accuracy/low_rate", "accuracy/high_rate"), strict=True)),
    ),
)


IN_A_WORD = {  # so that a row of the figure has its name on one line
    "digits 0–4 → 5–9": "digits",
    "Fashion-MNIST": "clothes",
    "pullover/coat → pullover/shirt": "pullovers",
}


def draw_rates(alt: str) -> list[Axes]:
    """The recorded losses and accuracies of two starts and two learning rates, one changed at a
    time.
    """
    by_place: dict[tuple[str, str, str], Record] = {}
    for row in recorded_by_measure("05", "rates"):
        middle, _, labels = row["id"].removeprefix("05/rates/").rpartition("/")
        by_place[middle, row["data"], labels] = row
    places = list(dict.fromkeys((data, labels) for _, data, labels in by_place))
    names = [f"{IN_A_WORD.get(data, data)}, {labels} labels" for data, labels in places]
    titles = [panel.title for panel in RATES_PANELS]
    axes = plots.panels(titles, alt, height=4.6, width=4.2, columns=len(titles))
    for axis, panel in zip(axes, RATES_PANELS, strict=True):
        axis.axvline(0, color="black", linestyle="--", linewidth=1)
        for number, (name, middle) in enumerate(panel.lines.items()):
            rows = [by_place[middle, *place] for place in places]
            at = np.arange(len(places)) + 0.3 * (number - 0.5)
            colour = plots.COLOURS[number]
            axis.hlines(at, [r["low"] for r in rows], [r["high"] for r in rows], colour)
            values = [r["value"] for r in rows]
            axis.plot(values, at, "os"[number], color=colour, label=name)
        axis.set_yticks(range(len(places)), names if axis is axes[0] else [""] * len(places))
        axis.set(xlim=panel.limits, xlabel=panel.x)
        axis.invert_yaxis()
        axis.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.14))
    return axes


# ---------------------------------------------------------------- a study that leaks

SIZES = {"train": 40, "validation": 40, "test": 20, "unlabelled": 60}
ALPHAS = (0.1, 1, 10, 100)
Pair = tuple[Tensor, Tensor]  # images and labels


def noise(generator: torch.Generator) -> Pair:
    """Images of pure noise [n, 49], and labels of two classes that nothing in them tells."""
    count = sum(SIZES.values())
    return torch.randn(count, 49, generator=generator), torch.arange(count) % 2


def some_digits(images: ImageSet, generator: torch.Generator) -> Pair:
    """As many small images of two classes, drawn at random, and behind them other test images."""
    small = avg_pool2d(images.images / 255, 4).flatten(1)
    rows = torch.randperm(len(small), generator=generator)[: sum(SIZES.values()) + SIZES["test"]]
    return small[rows], (images.labels == images.labels.max()).long()[rows]


def accuracy_of_study(run: Callable[..., Sequence[float]], tools: Sequence[Any], of: Pair) -> float:
    """What a study tells (%) with three draws of five labels of each class.

    `tools` are its functions for pretraining and for a probe. Its test images are copied into the
    unlabelled ones, as those of a careless collection.
    """
    told = run(*tools, *_data_of_study(of))
    return sum(told) / len(told)


def change_of_features(
    run: Callable[..., Sequence[float]], tools: Sequence[Any], of: Pair
) -> float:
    """How far (%) what a probe is fitted on moves when the test images are exchanged for others.

    These stand behind the images of the study. The number is the root mean square of the change
    over that of the features: 0 without leaks, where nothing that is fitted depends on the test.
    """
    train, validation, test, unlabelled, others = of[0].split([*SIZES.values(), SIZES["test"]])
    before, after = (
        _fitted_on(run, tools, (torch.cat([train, validation, tested, unlabelled]), of[1]))
        for tested in (test, others)
    )
    return float(100 * (after - before).square().mean().sqrt() / before.square().mean().sqrt())


def _fitted_on(run: Callable[..., Sequence[float]], tools: Sequence[Any], of: Pair) -> Tensor:
    """The features that a study hands to its probes [probes, labels, features]."""
    pretrain, fit = tools
    seen = []

    def watched(x: Tensor, *others: Any) -> Any:
        seen.append(x.clone())
        return fit(x, *others)

    run(pretrain, watched, *_data_of_study(of))
    return torch.stack(seen)


def _data_of_study(of: Pair) -> tuple[Any, ...]:
    count = sum(SIZES.values())
    parts = [of_study[:count].split(list(SIZES.values())) for of_study in of]
    train, validation, test, unlabelled = zip(*parts, strict=True)
    seen = torch.cat([unlabelled[0], test[0]])
    draws = [draw.indices for draw in draw_labels(train[1], 5, 3, 0)]
    return seen, train, validation, test, draws, list(ALPHAS)


# ---------------------------------------------------------------- ways of pretraining


def draw_pretraining(
    table: Table, ways: Sequence[str], uses: Sequence[str], alt: str
) -> list[Axes]:
    """By how many points each way of pretraining is ahead of none with 100 labels, by its use."""
    axes = plots.panels([f"{use}, over no pretraining" for use in uses], alt, columns=3, height=3)
    for axis, use in zip(axes, uses, strict=True):
        axis.axvline(0, color="black", linestyle="--", linewidth=1)
        for place, way in enumerate(ways):
            e = paired(table, f"{way}, {use}", f"no pretraining, {use}", METRIC, 100)
            axis.plot([e.low, e.high], [place, place], "-", color=plots.COLOURS[0])
            axis.plot(e.effect, place, "o", color=plots.COLOURS[0])
        axis.set_yticks(range(len(ways)), ways if axis is axes[0] else [""] * len(ways))
        axis.set(xlabel="points, 100 labels", ylim=(len(ways) - 0.5, -0.5))
    limits = [end for axis in axes for end in axis.get_xlim()]
    for axis in axes:
        axis.set_xlim(min(limits), max(limits))
    return axes


class Again(NamedTuple):
    """A comparison in which ten pairs had shown something, and what fresh ones showed."""

    name: str
    first: Effect
    fresh: Effect
    verdict: str


def asked_again() -> list[Again]:
    """What `pretraining.ASKED` asks of each recorded target; the verdicts are adjusted by Holm."""
    names, effects = [], []
    for target, title in TARGETS.items():
        tables = [recorded_study("05", f"{name}_{target}") for name in ("pretraining", "confirmed")]
        for a, b, labels in ASKED:
            names.append(f"{title}, {a.rpartition(', ')[2]}, {labels} labels")
            effects.append([paired(table, a, b, METRIC, labels) for table in tables])
    first, fresh = zip(*effects, strict=True)
    rows = zip(names, first, fresh, verdicts(fresh), strict=True)
    return [Again(*row) for row in rows]


def draw_again(rows: Sequence[Again], alt: str) -> Axes:
    """The effects of the first pairs as hollow marks, those of the fresh ones as full marks."""
    (axis,) = plots.panels(["Test accuracy, VAE − no pretraining"], alt, height=3.2, width=6.5)
    axis.axvspan(-1, 1, color=plots.GREY, alpha=0.2)
    axis.axvline(0, color="black", linestyle="--", linewidth=1)
    for number, (of, fill) in enumerate((("first", "white"), ("fresh", plots.COLOURS[0]))):
        effects = [getattr(row, of) for row in rows]
        at = np.arange(len(rows)) + 0.3 * (number - 0.5)
        axis.hlines(at, [e.low for e in effects], [e.high for e in effects], plots.COLOURS[0])
        values = [e.effect for e in effects]
        label = f"the {of} {effects[0].n} pairs"
        axis.plot(values, at, "o", color=plots.COLOURS[0], markerfacecolor=fill, label=label)
    axis.set_yticks(range(len(rows)), [row.name for row in rows])
    axis.set(xlabel="points")
    axis.invert_yaxis()
    axis.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=2)
    return axis


# ---------------------------------------------------------------- VAEs over β

PER_CLASS = 10  # labels of a probe
MOST_UNLABELLED = 10_000  # images on which the directions of a code are counted
NATS_IN_USE = 0.1  # a latent in use says more than this about an image
ZERO = 0.0001  # where β = 0 stands on a log scale
TICKS = {ZERO: "0", 0.001: "0.001", 0.01: "0.01", 0.1: "0.1", 1: "1"}
NAMED = {0.001: (2, 9), 0.01: (26, 4), 0.1: (-30, -4), 0.5: (24, -10), 1: (-22, -12), 2: (-2, 9)}
NAMED[4] = (14, -15)  # β: where its name stands beside its mark, in points


@dataclass(frozen=True)
class Judge:
    """What a VAE is judged by: a target's images, label draws, and the seed of the noise."""

    target: Splits
    draws: Sequence[Draw]
    seed: int

    def bound(self, one: Pretrained, images: ImageSet) -> float:
        """The ELBO with β = 1 of at most 1,000 images, in nats per image."""
        return float(self._terms(one, images).elbo.mean())

    def in_use(self, one: Pretrained) -> int:
        """How many latents say more than a tenth of a nat about a validation image."""
        kl = self._terms(one, self.target.validation).kl
        return int((kl.mean(0) > NATS_IN_USE).sum())

    def codes(self, one: Pretrained) -> Tensor:
        """The codes μ of the target's unlabelled images, 10,000 at most: [images, latents]."""
        return mu_of(one)(self.unlabelled)

    @property
    def unlabelled(self) -> ImageSet:
        return self.target.train.subset(slice(0, MOST_UNLABELLED))

    def probe(self, features_of: Callable[[ImageSet], Tensor], images: ImageSet) -> float:
        """The mean accuracy (%) over the draws of probes on features, on `images`."""
        validation = self.target.validation
        x_validation, x_images = features_of(validation), features_of(images)
        accuracies = []
        for draw in self.draws:
            few = self.target.train.subset(draw.indices.to(images.device))
            fitted = linear_probe(features_of(few), few.labels, x_validation, validation.labels)
            accuracies.append(100 * fitted.accuracy(x_images, images.labels))
        return float(np.mean(accuracies))

    def _terms(self, one: Pretrained, images: ImageSet) -> vae.Terms:
        assert one.model is not None, "a VAE, and not an encoder trained with labels"
        torch.manual_seed(self.seed)
        with torch.no_grad():
            return vae.elbo(one.model, images.images[:1000] / 255)


def judge_of(target: Splits, draws: int, seed: int) -> Judge:
    """A judge with so many draws of ten labels of each class."""
    # Draws of fewer repeats are the first of five, so that a short run is part of a longer one.
    drawn = draw_labels(target.train.labels, PER_CLASS, max(5, draws), seed + 2000)
    return Judge(target, drawn[:draws], seed)


def mu_of(one: Pretrained) -> Callable[[ImageSet], Tensor]:
    """The function that gives the μ of images, [images, latents]."""
    return partial(vae_transfer.codes, one)


def pretrain_over_beta(
    source: ImageSet,
    betas: Sequence[float],
    seeds: Sequence[int],
    presentations: int,
    table_path: Path | None = None,
    jobs: int = 1,
) -> dict[float, list[Pretrained]]:
    """{β: its VAEs, one for each seed}; kept beside `table_path`, so that a run goes on."""
    found = {}
    for beta in betas:
        by_source = vae_transfer.pretrain_all(
            {"MNIST": source},
            seeds,
            presentations,
            partial(vae_transfer.pretrain, beta=beta),
            label=f"beta-{beta}",
            checkpoints=table_path and table_path.with_suffix(""),
            jobs=jobs,
        )
        found[beta] = list(by_source["MNIST"].values())
    return found


def draw_over_beta(axis: Axes, measure: str, number: int = 0, name: str = "") -> None:
    """Recorded means over β with their intervals, as curve `number`; β = 0 stands apart."""
    rows = sorted(recorded_by_measure(CHAPTER, measure), key=_beta_of)
    at = np.array([_beta_of(row) for row in rows])
    values, low, high = (np.array([row[k] for row in rows]) for k in ("value", "low", "high"))
    lengths = np.array((values - low, high - values))
    for chosen, style, label in ((at > 0, "o-", name or None), (at == 0, "s", None)):
        axis.errorbar(
            np.maximum(at[chosen], ZERO),
            values[chosen],
            lengths[:, chosen],
            fmt=style,
            color=plots.COLOURS[number],
            mfc="none",
            label=label,
        )
    axis.set(xlabel="β in training (log scale)", xscale="log")
    axis.set_xticks(list(TICKS), list(TICKS.values()))
    axis.set_xticks([], minor=True)


def draw_over_directions(axis: Axes, measure: str) -> None:
    """Recorded means over the effective directions, joined and coloured in the order of β."""
    directions, values = (
        {_beta_of(row): row["value"] for row in recorded_by_measure(CHAPTER, name)}
        for name in ("effective_directions", measure)
    )
    betas = sorted(directions)
    x, y = [directions[beta] for beta in betas], [values[beta] for beta in betas]
    axis.plot(x, y, "-", color="grey", linewidth=1, zorder=1)
    shades = np.log10([max(beta, ZERO) for beta in betas])
    axis.scatter(x, y, c=shades, cmap="viridis", s=45, zorder=2)
    for beta, place in NAMED.items():
        axis.annotate(
            f"β = {beta:g}",
            (directions[beta], values[beta]),
            place,
            textcoords="offset points",
            fontsize=11,
            ha="center",
        )
    axis.set(xlabel="effective directions of μ")
    axis.margins(0.12)


def draw_baselines(axis: Axes) -> None:
    """The recorded accuracies of a probe on raw pixels and on PCA, which lie on each other."""
    # They differ by 0.02 points, so that one name stands for two lines.
    for row in recorded_by_measure(CHAPTER, "validation_accuracy_of_a_baseline"):
        label = "raw pixels and PCA" if row["id"].endswith("pca") else None
        axis.axhline(row["value"], color="black", linestyle="--", label=label)


def origin_of_betas() -> str:
    """Where the recorded curves come from, and how many VAEs each of their points has."""
    row = recorded_by_measure(CHAPTER, "validation_bound")[0]
    return f"{row['label']}, means of {row['n']} VAEs with 95 % intervals"


def recorded_at(beta: float, measure: str) -> float:
    """The recorded mean of a measure at this β."""
    by_beta = {_beta_of(row): row["value"] for row in recorded_by_measure(CHAPTER, measure)}
    return float(by_beta[beta])


def _beta_of(row: Record) -> float:
    return float(row["id"].rpartition("_")[2])


MEASURED = {  # name of a measure: what its records are called, and their unit
    "bound": ("validation bound", "nats"),
    "accuracy of the probe": ("validation accuracy of the probe", "%"),
    "accuracy after whitening": ("validation accuracy after whitening", "%"),
    "latents in use": ("latents in use", ""),
    "effective directions": ("effective directions", ""),
}


def measures(judge: Judge, one: Pretrained) -> dict[str, float]:
    """What a VAE is worth on validation, by the names of MEASURED."""
    validation = judge.target.validation
    features_of, codes = mu_of(one), judge.codes(one)
    whiten = representations.whitening(codes)
    return {
        "bound": judge.bound(one, validation),
        "accuracy of the probe": judge.probe(features_of, validation),
        "accuracy after whitening": judge.probe(
            lambda images: whiten(features_of(images)), validation
        ),
        "latents in use": judge.in_use(one),
        "effective directions": representations.effective_directions(codes),
    }


def report_over_beta(
    judge: Judge, vaes: Mapping[float, Sequence[Pretrained]], source: ImageSet, data: str
) -> None:
    """Shows what the recorded curve over β is made of: each measure, and β chosen by two goals."""
    by_beta = {beta: [measures(judge, one) for one in found] for beta, found in vaes.items()}
    _report_choices(judge, vaes, by_beta, source, data)
    for beta, found in by_beta.items():
        for measure, (what, unit) in MEASURED.items():
            mean, low, high = mean_interval([values[measure] for values in found])
            report(
                f"{what} at β = {beta}",
                mean,
                unit,
                id=record_id(CHAPTER, what, f"β = {beta}"),
                low=low,
                high=high,
                n=len(found),
                data=data,
            )


def _report_choices(
    judge: Judge,
    vaes: Mapping[float, Sequence[Pretrained]],
    by_beta: Mapping[float, Sequence[Mapping[str, float]]],
    source: ImageSet,
    data: str,
) -> None:
    """The β that is best for the bound and the one for the probe, on test and beside baselines."""
    goals = {"the bound": "bound", "the probe": "accuracy of the probe"}
    test, labels = judge.target.test, ["these test images", "these label draws"]
    best, bounds, probes = {}, {}, {}
    for goal, measure in goals.items():
        means = {
            beta: np.mean([values[measure] for values in found])
            for beta, found in by_beta.items()
            if beta > 0  # with β = 0 nothing keeps codes near the prior: no choice of a VAE
        }
        beta = best[goal] = max(means, key=lambda one: means[one])
        bounds[goal] = np.array([judge.bound(one, test) for one in vaes[beta]])
        probes[goal] = np.array([judge.probe(mu_of(one), test) for one in vaes[beta]])
    for name, values, unit, a, b in (
        ("bound", bounds, "nats", "the bound", "the probe"),
        ("probe accuracy", probes, "points", "the probe", "the bound"),
    ):
        e = effect_of(values[a] - values[b])
        id = record_id(CHAPTER, f"{name} at best β", (f"best for {a}", f"best for {b}"))
        name = f"{name} at the β best for {a} − at the β best for {b}"
        show_record(e.to_record(name, unit, id=id, data=data, conditional=labels))
    for goal, beta in best.items():
        id = record_id(CHAPTER, "best β", goal)
        report(f"best β for {goal}", beta, id=id, n=len(vaes[beta]), data=data)
    baselines = {"raw pixels": vae_transfer.pixels, "PCA": vae_transfer.fit_pca(source)}
    for name, featurise in baselines.items():
        of_baseline = partial(_of_any_draw, featurise, judge.draws[0])
        report(
            f"validation accuracy of a probe on {name}",
            judge.probe(of_baseline, judge.target.validation),
            "%",
            id=record_id(CHAPTER, "validation accuracy of a baseline", name),
            n=len(judge.draws),
            data=data,
        )
        on_test = judge.probe(of_baseline, test)
        for goal in best:
            e = effect_of(probes[goal] - on_test)
            id = record_id(CHAPTER, "probe above a baseline", (f"best for {goal}", name))
            text = f"probe accuracy at the β best for {goal} − on {name}"
            show_record(e.to_record(text, "points", id=id, data=data, conditional=labels))


def _of_any_draw(featurise: FeatureExtractor, draw: Draw, images: ImageSet) -> Tensor:
    """Features that are the same for every draw."""
    return featurise(images, draw)


# ---------------------------------------------------------------- halves that are kept

PARTS = ("encoder", "hidden layer", "decoder")
SCRATCH = "from scratch"
RECORDED_STEPS = (200, 800)  # on the target
FEW = 200  # images of the target
FIRST_SEED = 100  # of the draws
RATE = 1e-3  # of Adam
BATCH_SIZE = 50
Way = tuple[vae.VAE, torch.optim.Optimizer | None]  # None for one that holds what is not frozen


def only(images: ImageSet, classes: Sequence[int]) -> ImageSet:
    """The images of these classes."""
    wanted = torch.tensor(classes, device=images.device)
    return images.subset(torch.isin(images.labels, wanted).nonzero().flatten())


def some(images: ImageSet, count: int, seed: int) -> ImageSet:
    """So many of the images, drawn at random."""
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    return images.subset(order[:count].to(images.device))


def train_vae(
    model: vae.VAE,
    images: ImageSet,
    steps: int,
    seed: int,
    optimizer: torch.optim.Optimizer | None = None,
) -> vae.VAE:
    """Trains for so many gradient steps, rounded to whole epochs; alone, what is not frozen."""
    if optimizer is None:
        optimizer = torch.optim.Adam(trainable(model), lr=RATE, fused=True)
    fit(
        model,
        images,
        vae.vae_loss(),
        epochs=_epochs(steps, images),
        batch_size=BATCH_SIZE,
        optimizer=optimizer,
        seed=seed,
        quiet=True,
    )
    return model.eval()


def train_vaes(
    models: Sequence[vae.VAE], images: ImageSet, steps: int, seeds: Sequence[int]
) -> list[vae.VAE]:
    """`train_vae` of whole VAEs at once, which is faster; the same weights but for rounding."""
    options = [
        RunOptions(
            epochs=_epochs(steps, images),
            batch_size=BATCH_SIZE,
            optimizer=torch.optim.Adam(model.parameters(), lr=RATE, fused=True),
            seed=seed,
            quiet=True,
        )
        for model, seed in zip(models, seeds, strict=True)
    ]
    fit_vaes(models, images, options, beta=1.0, binarisation="dynamic")
    return [model.eval() for model in models]


def _epochs(steps: int, images: ImageSet) -> int:
    return max(1, steps * BATCH_SIZE // len(images))


def train_ways(
    ways: Mapping[str, Way], images: ImageSet, steps: int, seed: int
) -> dict[str, vae.VAE]:
    """The VAEs of all ways, each trained for as many steps by its optimiser."""
    return {
        name: train_vae(model, images, steps, seed, optimizer)
        for name, (model, optimizer) in ways.items()
    }


def bound_of(model: vae.VAE, images: ImageSet, seed: int) -> float:
    """The ELBO at β = 1 in nats per image; the same noise for every model."""
    torch.manual_seed(seed)
    return -evaluate(model, images, vae.vae_loss())["loss"]


def record_ways(
    every_way: Callable[[vae.VAE, int], dict[str, Way]],
    sources: Sequence[vae.VAE],
    pool: ImageSet,
    unseen: ImageSet,
    draws: int,
    seed: int,
) -> None:
    """Shows what is recorded: the bounds of all ways after 200 and after 800 steps, over draws."""
    for steps in RECORDED_STEPS:
        runs = []
        for draw in range(draws):
            source, few = sources[draw % len(sources)], some(pool, FEW, FIRST_SEED + draw)
            ways = train_ways(every_way(source, FIRST_SEED + draw), few, steps, FIRST_SEED + draw)
            ways["source, as it is"] = source
            runs.append({name: bound_of(model, unseen, seed) for name, model in ways.items()})
        show_ways(runs, steps, len(sources))


def draw_ways(axis: Axes, own: Mapping[str, float], own_steps: int) -> None:
    """The recorded bounds of all ways but the untrained decoder, each minus that of scratch.

    Above them stand the bounds {way: nats} of the reader's `own` run, where it has that way.
    """
    names: list[str] = []
    for steps, marker, shift in zip(RECORDED_STEPS, "os", (-0.12, 0.12), strict=True):
        rows = [
            row
            for row in recorded_by_measure(CHAPTER, "test_bound")
            if row["id"].endswith(f"/{steps}_steps") and "decoder_untrained" not in row["id"]
        ]
        at = np.arange(len(rows)) + shift
        colour = plots.COLOURS["os".index(marker)]
        axis.hlines(at, [r["low"] for r in rows], [r["high"] for r in rows], colour)
        values = [r["value"] for r in rows]
        axis.plot(values, at, marker, color=colour, label=f"after {steps} steps")
        names = [row["name"].split(", ", 1)[1].partition(f" − {SCRATCH}")[0] for row in rows]
    rows_of_own = [place for place, name in enumerate(names) if name in own]
    axis.plot(
        [own[names[place]] - own[SCRATCH] for place in rows_of_own],
        np.array(rows_of_own) - 0.3,
        "*",
        color="black",
        label=f"your {own_steps} steps",
    )
    axis.set_yticks(range(len(names)), names)
    axis.axvline(0, color="grey", linestyle="--")
    axis.set_ylim(len(names) + 2, -0.7)  # room for the legend below


def draw_controls(axis: Axes) -> None:
    """The recorded gains of the kept parts over parts that were never trained, as numbers, too."""
    rows = recorded_by_measure(CHAPTER, "bound_above_its_control")
    for number, steps in enumerate(RECORDED_STEPS):
        of_steps = {
            row["id"].split("/")[2].partition("_kept")[0]: row
            for row in rows
            if row["id"].endswith(f"/{steps}_steps")
        }
        chosen = [of_steps[part.replace(" ", "_")] for part in PARTS]
        at = np.arange(len(PARTS)) + 0.24 * number - 0.12
        colour = plots.COLOURS[number]
        axis.hlines(at, [r["low"] for r in chosen], [r["high"] for r in chosen], colour)
        values = [r["value"] for r in chosen]
        axis.plot(values, at, "os"[number], color=colour, label=f"after {steps} steps")
        for row, place in zip(chosen, at, strict=True):
            text, end = f"{row['value']:.0f}", (row["high"], place)
            offset: dict[str, Any] = {"textcoords": "offset points", "va": "center"}
            axis.annotate(text, end, (7, 0), color=colour, fontsize=11, **offset)
    axis.set(xscale="log", xlim=(2, 4000))
    axis.xaxis.set_major_formatter("{x:g}")
    axis.set_yticks(range(len(PARTS)), PARTS)
    axis.invert_yaxis()


def show_ways(runs: Sequence[Mapping[str, float]], steps: int, sources: int = 1) -> None:
    """A table of the bounds {way: nats} of one or more draws, each way beside scratch.

    Several draws have intervals and records, and there the kept parts stand beside their controls.
    """
    rows = [(SCRATCH, _text(_mean_of(runs, SCRATCH)), "–")]
    header = (f"after {steps} steps", "test ELBO (nats)", "minus scratch's (nats)")
    pairs = [(way, SCRATCH) for way in runs[0] if way != SCRATCH]
    if len(runs) == 1:
        (run,) = runs
        rows += [(way, _text(run[way]), _text(run[way] - run[SCRATCH], "+")) for way, _ in pairs]
        show_table(rows, header)
        return
    pairs += [(f"{part} kept", f"{part} untrained") for part in PARTS]
    records = []
    for a, b in pairs:
        e = effect_of([run[a] - run[b] for run in runs])
        effect, low, high = (_text(number, "+") for number in (e.effect, e.low, e.high))
        is_way = b == SCRATCH
        bound = _text(_mean_of(runs, a)) if is_way else ""
        rows.append((a if is_way else f"{a} − {b}", bound, f"{effect} [{low}, {high}]"))
        measure = "test bound" if is_way else "bound above its control"
        of_effect = e.to_record(
            f"test bound, {a} − {b}, {steps} steps",
            "nats",
            id=record_id(CHAPTER, measure, (a, b), f"{steps} steps"),
            data="digits 0–4 → 5–9, embedded",
            conditional=["these test images", f"these {sources} pretrained models"],
        )
        records.append(of_effect)
    show_table(rows, header, records)


def _text(number: float, sign: str = "") -> str:
    return f"{number:{sign}.1f}".replace("-", "−")


def _mean_of(runs: Sequence[Mapping[str, float]], way: str) -> float:
    return sum(run[way] for run in runs) / len(runs)


# ---------------------------------------------------------------- layers compared


@torch.no_grad()
def layers(model: vae.VAE, images: Tensor) -> dict[str, Tensor]:
    """What a VAE makes of images [n, 1, 28, 28] in [0, 1], layer by layer: [n, width] each."""
    assert isinstance(model.decoder, nn.Sequential)
    encoder = cast(nets.Encoder, model.encoder)
    hidden = encoder.body(images)
    mu = encoder.mu(hidden)
    return {
        "pixels": images.flatten(1),
        "encoder": hidden,
        "μ": mu,
        "decoder": model.decoder[:2](mu),  # its hidden layer
        "image": model.reconstruct(images).flatten(1),
    }


def likeness(
    first: vae.VAE, second: vae.VAE, images: Tensor, cka: Callable[[Tensor, Tensor], Any]
) -> Tensor:
    """The `cka` of each layer of one VAE (rows) with each of the other (columns)."""
    rows, columns = (
        [_centred(features) for features in layers(model, images).values()]
        for model in (first, second)
    )
    return torch.tensor([[float(cka(x, y)) for y in columns] for x in rows])


def _centred(features: Tensor) -> Tensor:
    """Features without their mean, beside which an untrained network's image hardly varies."""
    exact = features.double()
    return (exact - exact.mean(0)).float()


def draw_products(axis: Axes, features: Tensor, per_class: int) -> None:
    """The inner products of all pairs of images, whose `features` come class by class."""
    x = features - features.mean(0)
    products = x @ x.T
    largest = float(products.abs().quantile(0.98))  # a few loud images would hide the others
    axis.imshow(products.numpy(), cmap="PuOr", vmin=-largest, vmax=largest)
    axis.grid(False)
    places = range(0, len(x), per_class)
    middles = [place + (per_class - 1) / 2 for place in places]
    for set_ticks in (axis.set_xticks, axis.set_yticks):
        set_ticks(middles, [str(number) for number in range(len(places))], fontsize=10)
    axis.tick_params(length=0)


def draw_likeness(axis: Axes, values: Tensor, names: Sequence[str], *, difference: bool) -> None:
    """A heat map of CKA, or of the `difference` of two, with its numbers in the cells."""
    look = {"cmap": "PuOr", "vmin": -0.6, "vmax": 0.6} if difference else {"vmin": 0, "vmax": 1}
    axis.imshow(values.numpy(), **({"cmap": "cividis"} | look))
    axis.grid(False)
    axis.set_xticks(range(len(names)), names, fontsize=10)
    axis.set_yticks(range(len(names)), names, fontsize=10)
    axis.set(xlabel="layer of the second", ylabel="layer of the first")
    for row, line in enumerate(values.tolist()):
        for column, value in enumerate(line):
            is_dark = abs(value) > 0.4 if difference else value < 0.5
            colour = "white" if is_dark else "black"
            text = f"{value:.2f}".replace("-", "−")
            axis.text(column, row, text, ha="center", va="center", color=colour, fontsize=10)


# ---------------------------------------------------------------- bars

FACTORS = {"location": "place", "orientation": "direction"}  # of a task, in the words of the text
BAR_GAINS = (  # what is compared on the same labels
    ("SVM on μ", "SVM on pixels"),
    ("VAE fine-tuned", "scratch"),
    ("VAE fine-tuned", "SVM on μ"),
)
BAR_METHODS = ("scratch", "VAE fine-tuned", "SVM on pixels", "SVM on μ")
SeenVaes = Mapping[int, Mapping[int, Pretrained]]  # by the images they have seen, then by seed


def bars_study(
    factor: str,
    task: Splits,
    vaes: SeenVaes,
    labels: Sequence[int],
    draws: int,
    seed: int,
) -> Table:
    """Accuracies of two networks and of SVMs on a task of bars.

    The VAEs that have seen most are compared with everything, the others have an SVM on μ each.
    """
    svm = partial(vae_transfer.probe, task, kind="SVM")
    longest = max(vaes)
    views = {"SVM on pixels": vae_transfer.pixels}
    views |= {
        svm_on_mu(seen, longest): partial(vae_transfer.mu_of, of_seed)
        for seen, of_seed in vaes.items()
    }
    methods = [
        Method("scratch", partial(vae_transfer.scratch, task), batched=True),
        Method(
            "VAE fine-tuned", partial(vae_transfer.fine_tuned, task, vaes[longest]), batched=True
        ),
    ]
    # `probe` takes the view of the images first, then the draw.
    methods += [Method(name, partial(svm, view)) for name, view in views.items()]
    return run_study(
        f"bars: {factor}",
        methods,
        list(labels),
        draws,
        labels=task.train.labels,
        seed=seed,
        pretrain_seeds=list(vaes[longest]),
    )


def svm_on_mu(seen: int, longest: int) -> str:
    """The name of an SVM on the codes of VAEs that have seen so many images."""
    return "SVM on μ" if seen == longest else f"SVM on μ, {seen:,} images"


MANY = 2000  # labels, enough to read quiet directions by
OverSeen = dict[int, dict[str, float]]


def read_with_many(
    tasks: Mapping[str, Splits],
    featurise: Callable[[ImageSet], Tensor],
    *,
    is_whitened: bool = False,
) -> dict[str, float]:
    """The test accuracy (%) by task of an SVM with MANY labels on features, whitened or not.

    The tasks ask different questions of the same images.
    """
    from sklearn.metrics.pairwise import rbf_kernel
    from sklearn.svm import SVC

    images = next(iter(tasks.values()))
    x, x_test = featurise(images.train), featurise(images.test)
    if is_whitened:
        whiten = representations.whitening(x)
        x, x_test = whiten(x), whiten(x_test)
    rows, rows_test = x[:MANY].double().numpy(), x_test.double().numpy()
    width = 1 / (rows.shape[1] * rows.var())  # as the default of SVC
    # One kernel serves all tasks, which is faster.
    kernel = rbf_kernel(rows, gamma=width)
    kernel_test = rbf_kernel(rows_test, rows, gamma=width)
    found = {}
    for factor, task in tasks.items():
        machine = SVC(C=10, kernel="precomputed").fit(kernel, task.train.labels[:MANY].cpu())
        found[factor] = 100 * float(machine.score(kernel_test, task.test.labels.cpu()))
    return found


def read_over_seen(tasks: Mapping[str, Splits], vaes: SeenVaes) -> OverSeen:
    """{images seen: {task: accuracy of `read_with_many`}} on whitened μ, a mean over the VAEs."""
    found: OverSeen = {}
    for seen, of_seed in vaes.items():
        by_vae = [
            read_with_many(tasks, partial(vae_transfer.codes, one), is_whitened=True)
            for one in of_seed.values()
        ]
        found[seen] = {factor: _mean_of(by_vae, factor) for factor in tasks}
    return found


def show_over_seen(
    tables: Mapping[str, Table],
    tasks: Mapping[str, Splits],
    vaes: SeenVaes,
    labels: int,
    directions: Callable[[Tensor], Any],
) -> tuple[OverSeen, dict[str, float]]:
    """A table of what few and many labels read of μ; returns what many read, and on pixels.

    `directions` counts those of a code, and is the reader's own.
    """
    many = read_over_seen(tasks, vaes)
    by_pixels = read_with_many(tasks, lambda images: images.images.flatten(1) / 255)
    images = next(iter(tasks.values())).train
    rows = []
    for seen in sorted(vaes):
        counts = [float(directions(vae_transfer.codes(one, images))) for one in vaes[seen].values()]
        name = svm_on_mu(seen, max(vaes))
        few = [f"{table.mean(name, METRIC, labels):.0f}" for table in tables.values()]
        read = [f"{many[seen][factor]:.0f}" for factor in tables]
        label = f"{seen:,}" if seen else "never trained"
        rows.append((label, f"{np.mean(counts):.1f}", *few, *read))
    few = [f"{table.mean('SVM on pixels', METRIC, labels):.0f}" for table in tables.values()]
    rows.append(("pixels", "", *few, *(f"{by_pixels[factor]:.0f}" for factor in tables)))
    names = [FACTORS[factor] for factor in tables]
    header = ["images seen", "your directions"]
    header += [f"{name}, {labels} labels (%)" for name in names]
    header += [f"{name}, {MANY:,} labels (%)" for name in names]
    show_table(rows, header)
    return many, by_pixels


def draw_many_over_seen(
    axis: Axes, many: OverSeen, by_pixels: Mapping[str, float], seen: Sequence[int]
) -> None:
    """What an SVM with MANY labels gains by whitened μ in place of pixels, over the images seen."""
    numbers = sorted(seen)
    for number, factor in enumerate(by_pixels):
        gains = [many[one][factor] - by_pixels[factor] for one in numbers]
        colour = plots.COLOURS[number]
        axis.plot(numbers, gains, "os"[number] + "-", color=colour, label=FACTORS[factor])
    _over_seen(axis, numbers)


def _over_seen(axis: Axes, numbers: Sequence[int]) -> None:
    axis.axhline(0, color="black", linestyle="--", linewidth=1)
    axis.set(xscale="log", xlabel="images that the VAE has seen (log scale)")
    axis.set_ylabel("gain over pixels (points)")
    axis.set_xticks(numbers, [f"{one:,}" for one in numbers])
    axis.set_xticks([], minor=True)


def draw_gains_over_seen(
    axis: Axes, tables: Mapping[str, Table], seen: Sequence[int], labels: int
) -> None:
    """What an SVM gains by μ in place of pixels, over the images that the VAEs have seen."""
    numbers = sorted(seen)
    for number, (factor, table) in enumerate(tables.items()):
        names = [svm_on_mu(one, numbers[-1]) for one in numbers]
        effects = [paired(table, name, "SVM on pixels", METRIC, labels) for name in names]
        at = np.array(numbers) * (0.98, 1.02)[number]
        colour = plots.COLOURS[number]
        axis.vlines(at, [e.low for e in effects], [e.high for e in effects], colour)
        axis.plot(
            at, [e.effect for e in effects], "os"[number] + "-", color=colour, label=FACTORS[factor]
        )
    _over_seen(axis, numbers)


def bar_gains(tables: Mapping[str, Table], labels: int) -> dict[str, dict[str, Effect]]:
    """{factor: {"a − b": its paired effect}} of BAR_GAINS with so many labels."""
    return {
        factor: {f"{a} − {b}": paired(table, a, b, METRIC, labels) for a, b in BAR_GAINS}
        for factor, table in tables.items()
    }


def show_bars(tables: Mapping[str, Table], labels: Sequence[int]) -> None:
    """A table of the accuracies, to which the records of BAR_GAINS are attached."""
    columns = [(factor, count) for factor in tables for count in labels]
    records = []
    for factor, count in columns:
        for a, b in BAR_GAINS:
            e = paired(tables[factor], a, b, METRIC, count)
            id = record_id(CHAPTER, "bars", factor, (a, b), count)
            name = f"bars, {factor}: {a} − {b}, {count} labels"
            records.append(e.to_record(name, "points", id=id, data="bars"))
    rows = [
        (name, *(f"{tables[factor].mean(name, METRIC, count):.1f}" for factor, count in columns))
        for name in BAR_METHODS
    ]
    header = [f"{FACTORS[factor]}, {count} labels" for factor, count in columns]
    show_table(rows, ("accuracy (%)", *header), records)
