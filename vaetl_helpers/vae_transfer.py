"""VAE and transfer learning: sources, targets, pretraining, and what each method does with few labels.

A *source* is a set of images whose labels a VAE does not see; a *target* is a task with few labels. Methods are
functions of a label draw, to be partially applied and given to `study.run_study`; they return accuracies as booleans
by image, losses in nats an image, and what they cost.
"""

from __future__ import annotations

import copy
import math
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vaetl_helpers import nets
from vaetl_helpers.data import tasks
from vaetl_helpers.data.images import ImageSet, Splits
from vaetl_helpers.data.registry import load
from vaetl_helpers.errors import unknown_name_error
from vaetl_helpers.output import is_interactive, record
from vaetl_helpers.study.costs import add_costs, saving
from vaetl_helpers.study.draws import Draw, Method
from vaetl_helpers.study.effects import Effect, paired
from vaetl_helpers.study.table import Table
from vaetl_helpers.training.evaluation import History, LossFunction, classification_loss
from vaetl_helpers.training.loop import fit
from vaetl_helpers.training.schedules import one_cycle
from vaetl_helpers.training.together import fit_together
from vaetl_helpers.transfer.probes import features, linear_probe
from vaetl_helpers.vae import VAE, conv_vae, mlp_vae, vae_loss

LATENT, WIDTH = 32, 256
SOURCES = {  # of each target, the first one being its own
    "digits": ("digits 0–4",),
    "mnist": ("MNIST", "Fashion-MNIST"),
    "fashion": ("Fashion-MNIST", "MNIST"),
    "tops": ("pullover/coat",),
    "animals": ("dog/cat",),
}
LOW, HIGH = tuple("01234"), tuple("56789")
PER_CLASS = 50  # validation images of each class, whatever the target: their labels are labels, too
GRID = (1e-3, 1e-2, 1e-1, 1.0)  # strengths of a probe


def load_target(name: str, full: bool = False, root: Path | str | None = None) -> Splits:
    """A target task: `train` is the pool that labels are drawn from, `validation` has 50 images a class.

    `name`: a key of SOURCES. Raises CourseError for another one, and where the pictures cannot be had.
    """
    if name not in SOURCES:
        raise unknown_name_error("target", name, SOURCES)
    if name in ("tops", "animals"):
        task = tasks.load_task(name, root)
        return Splits(task.pool, task.validation, task.test, task.source)
    whole = _whole("fashion-mnist" if name == "fashion" else "mnist", full, root)
    classes = HIGH if name == "digits" else whole.train.classes
    pool, validation, test = (
        tasks.pick(part, classes) for part in (whole.train, whole.validation, whole.test)
    )
    few = [
        (validation.labels == number).nonzero().flatten()[:PER_CLASS]
        for number in range(len(classes))
    ]
    return Splits(
        pool,
        validation.subset(torch.cat(few)),
        test,
        f"{whole.source}, classes {', '.join(classes)}",
    )


@lru_cache(2)
def _whole(name: str, full: bool, root: Path | str | None) -> Splits:
    """A data set, read and announced once although several sources and targets are made of it."""
    return load(name, full=full, root=root)


def load_source(name: str, full: bool = False, root: Path | str | None = None) -> ImageSet:
    """The images of a source. Its labels are there for supervised pretraining alone.

    "digits 0–4" has all of those digits, MNIST's test images among them: the target has none. "pullover/coat" shares
    its pullovers with the target's pool, unless `full`. Others are training images. No source has an image of its
    target's validation or test set. Raises CourseError for an unknown name, and where the pictures cannot be had.
    """
    if name == "dog/cat" or (name == "pullover/coat" and full):
        return tasks.source_data("animals" if name == "dog/cat" else "tops", root).train
    if name == "pullover/coat":
        return tasks.load_task("tops").rehearsal
    if name not in ("digits 0–4", "MNIST", "Fashion-MNIST"):
        raise unknown_name_error(
            "source", name, {source for sources in SOURCES.values() for source in sources}
        )
    whole = _whole("fashion-mnist" if name == "Fashion-MNIST" else "mnist", full, root)
    if name != "digits 0–4":
        return whole.train
    parts = [tasks.pick(part, LOW) for part in (whole.train, whole.validation, whole.test)]
    return ImageSet(torch.cat([p.images for p in parts]), torch.cat([p.labels for p in parts]), LOW)


@dataclass(frozen=True)
class Pretrained:
    """A VAE (or an encoder trained with labels), in eval mode, and what its training cost."""

    encoder: nets.Encoder
    seconds: float
    steps: int
    model: VAE | None = None


def untrained_vae(shape: Sequence[int], seed: int) -> VAE:
    """The chapter's VAE with fresh weights: one hidden layer for grey images, convolutions for colour."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return mlp_vae(LATENT, (WIDTH,), shape) if shape[0] == 1 else conv_vae(LATENT, 8, shape)


def pretrain(
    source: ImageSet, seed: int, seen: int, beta: float = 1.0, checkpoint: Path | None = None
) -> Pretrained:
    """A VAE trained without labels on about `seen` images (with repetition), grey pixels as they are.

    Its bound is then not a log-likelihood of the grey images (see `vae.log_likelihood`). With `checkpoint` the same
    call continues a training that was cut off, or returns what is finished.
    """
    model = untrained_vae(source.images.shape[1:], seed).to(source.device)
    history = _pretrain(model, source, vae_loss(beta, binarisation=None), seed, seen, checkpoint)
    return Pretrained(model.eval().encoder, history.seconds, int(sum(history["steps"])), model)


def pretrain_supervised(
    source: ImageSet, seed: int, seen: int, checkpoint: Path | None = None
) -> Pretrained:
    """The same encoder trained with the source's labels: a head on μ, cross-entropy; nothing for its log variance."""
    encoder = untrained_vae(source.images.shape[1:], seed).encoder.to(source.device)
    model = classifier(encoder, len(source.classes), seed)
    history = _pretrain(model, source, classification_loss, seed, seen, checkpoint)
    encoder.body, encoder.mu = model.body, model.mu
    return Pretrained(encoder.eval(), history.seconds, int(sum(history["steps"])))


def _pretrain(
    model: nn.Module,
    source: ImageSet,
    loss: LossFunction,
    seed: int,
    seen: int,
    checkpoint: Path | None,
) -> History:
    torch.set_flush_denormal(True)  # as `setup` does, which was not called in another process
    adam = torch.optim.Adam(model.parameters(), 2e-3, fused=True)
    how = {
        "epochs": max(1, round(seen / len(source))),
        "batch_size": 128,
        "seed": seed,
        "checkpoint": checkpoint,
    }
    return fit(model, source, loss, optimizer=adam, schedule=one_cycle, quiet=True, **how)


def pretrain_all(
    sources: Mapping[str, ImageSet], seeds: Sequence[int], seen: int, train: Callable[..., Pretrained] = pretrain,
    kept: Callable[[str], Path | None] = lambda name: None, jobs: int = 1,
) -> dict[str, dict[int, Pretrained]]:  # fmt: skip
    """{source: {seed: what `train` made of it}}, in `jobs` processes; `kept` names a checkpoint's path, or None."""
    from joblib import Parallel, delayed

    plan = [(name, seed) for name in sources for seed in seeds]
    calls = [
        delayed(train)(
            sources[name],
            seed,
            seen,
            checkpoint=kept(f"{train.__name__}-{name}-{seed}".replace("/", "-")),
        )
        for name, seed in plan
    ]
    runs = Parallel(jobs, return_as="generator")(calls)
    if is_interactive():
        from tqdm.auto import tqdm

        runs = tqdm(runs, "pretraining", len(plan), leave=False)
    made = dict(zip(plan, runs, strict=True))
    return {name: {seed: made[name, seed] for seed in seeds} for name in sources}


def classifier(encoder: nets.Encoder, classes: int, seed: int) -> nn.Sequential:
    """A copy of the encoder up to μ, and a fresh linear head on it: images → logits [batch, classes]."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = nn.Linear(encoder.mu.out_features, classes).to(encoder.mu.weight.device)
    return nn.Sequential(
        OrderedDict(body=copy.deepcopy(encoder.body), mu=copy.deepcopy(encoder.mu), head=head)
    )


Starts = Mapping[int, Pretrained]  # by pretraining seed
View = Callable[[ImageSet, Draw], Tensor]  # images → features [images, d]


def scratch(target: Splits, draws: Sequence[Draw], **how: Any) -> list[dict[str, Any]]:
    """The untrained network, on the labels alone."""
    shape = target.train.images.shape[1:]
    starts = [
        Pretrained(untrained_vae(shape, draw.seed).encoder.to(target.train.device), 0.0, 0)
        for draw in draws
    ]
    return _trained(target, starts, draws, **how)


def fine_tuned(
    target: Splits, pretrained: Starts, draws: Sequence[Draw], **how: Any
) -> list[dict[str, Any]]:
    """A pretrained encoder with a fresh head, all of it trained on the labels."""
    return _trained(target, [pretrained[draw.pretrain_seed] for draw in draws], draws, **how)


def _trained(
    target: Splits,
    starts: Sequence[Pretrained],
    draws: Sequence[Draw],
    rate: float = 3e-3,
    steps: int = 200,
) -> list[dict[str, Any]]:
    """All draws together, in batches of 16, for about `steps` steps at most."""
    classes = len(target.train.classes)
    models = [
        classifier(start.encoder, classes, draw.seed)
        for start, draw in zip(starts, draws, strict=True)
    ]
    sets = [target.train.subset(draw.indices.to(target.train.device)) for draw in draws]
    batch_size = min(16, max(1, len(sets[0]) // 4))
    epochs = max(5, steps * batch_size // len(sets[0]))
    how = {
        "rate": rate,
        "epochs": epochs,
        "batch_size": batch_size,
        "patience": max(5, epochs // 3),
    }
    histories = fit_together(models, sets, target.validation, [draw.seed for draw in draws], **how)
    return [_outcome(target, *run) for run in zip(models, sets, histories, starts, strict=True)]


def _outcome(
    target: Splits, model: nn.Module, images: ImageSet, history: History, start: Pretrained
) -> dict[str, Any]:
    """What a run hands to the study; losses are cross-entropies in nats an image."""
    logits, labels = _logits(model, target.test), target.test.labels
    training = F.cross_entropy(_logits(model, images), images.labels)
    seconds = torch.tensor(history["seconds"]).cumsum(0)
    return {
        "test accuracy": logits.argmax(1) == labels,
        "train–test gap": F.cross_entropy(logits, labels, reduction="none")
        - training,  # by test image
        "training loss": training.item(),
        "validation curve": 100 * torch.tensor(history["validation_accuracy"]),
        "seconds by epoch": seconds,
        "seconds with pretraining by epoch": seconds + start.seconds,
        "steps by epoch": torch.tensor(history["steps"]).cumsum(0),
        "pretraining seconds": start.seconds,
    }


@torch.no_grad()
def _logits(model: nn.Module, images: ImageSet) -> Tensor:
    return torch.cat([model(part / 255) for part in images.images.split(1000)])


def pixels(images: ImageSet, draw: Draw) -> Tensor:
    """The raw pixels in [0, 1]."""
    return images.images.flatten(1).cpu() / 255


def fit_pca(source: ImageSet, components: int = LATENT, most: int = 20_000) -> View:
    """Principal components of (at most 20,000 of) a source's images, as many as the VAE has latents."""
    from sklearn.decomposition import PCA

    pixels = source.images[:most].flatten(1).cpu().numpy() / 255
    return partial(_project, PCA(components, svd_solver="arpack", random_state=0).fit(pixels))


def _project(fitted: Any, images: ImageSet, draw: Draw) -> Tensor:
    return torch.as_tensor(fitted.transform(pixels(images, draw).numpy())).float()


def mu_of(pretrained: Starts, images: ImageSet, draw: Draw) -> Tensor:
    """The posterior mean of each image [images, latent], by the draw's own VAE."""
    encoder = pretrained[draw.pretrain_seed].encoder
    return features(nn.Sequential(encoder.body, encoder.mu), images, 1000)


def hidden_of(pretrained: Starts, images: ImageSet, draw: Draw) -> Tensor:
    """What the encoder's last hidden layer makes of each image [images, width]."""
    return features(pretrained[draw.pretrain_seed].encoder.body, images, 1000)


def random_mu(images: ImageSet, draw: Draw) -> Tensor:
    """The same as `mu_of`, by an encoder that was never trained."""
    shape = images.images.shape[1:]
    return mu_of(
        {draw.pretrain_seed: Pretrained(untrained_vae(shape, draw.seed).encoder, 0.0, 0)},
        images,
        draw,
    )


def probe(target: Splits, see: View, draw: Draw, kind: str = "linear") -> dict[str, Any]:
    """A classifier on fixed features: "linear", "kNN" or "SVM" (RBF), its one setting chosen on validation."""
    images = target.train.subset(draw.indices.to(target.train.device))
    x, x_validation, x_test = (see(part, draw) for part in (images, target.validation, target.test))
    y, y_validation = images.labels.cpu(), target.validation.labels.cpu()
    if kind == "linear":
        chosen = linear_probe(x, y, x_validation, y_validation, GRID)
        pipeline = chosen.pipeline
    else:
        pipeline = _best_of(_candidates(kind, len(x)), x, y, x_validation, y_validation)
    right = torch.as_tensor(pipeline.predict(x_test.numpy())) == target.test.labels.cpu()
    return {
        "test accuracy": right,
        "validation accuracy": 100 * pipeline.score(x_validation.numpy(), y_validation),
    }


def _candidates(kind: str, labels: int) -> list[Any]:
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.svm import SVC

    if kind not in ("kNN", "SVM"):
        raise unknown_name_error("kind of probe", kind, ("linear", "kNN", "SVM"))
    if kind == "kNN":
        return [make_pipeline(KNeighborsClassifier(k)) for k in (1, 3, 5, 9) if k <= labels]
    return [
        make_pipeline(SVC(C=c)) for c in (0.1, 1.0, 10.0, 100.0)
    ]  # its width follows the features' variance


def _best_of(
    candidates: Sequence[Any], x: Tensor, y: Tensor, x_validation: Tensor, y_validation: Tensor
) -> Any:
    fitted = [candidate.fit(x.numpy(), y) for candidate in candidates]
    return max(
        fitted, key=lambda one: one.score(x_validation.numpy(), y_validation)
    )  # the first of equals


TITLES = {
    "digits": "digits 0–4 → 5–9",
    "mnist": "MNIST",
    "fashion": "Fashion-MNIST",
    "tops": "pullover/coat → pullover/shirt",
    "animals": "dog/cat → dog/fox",
}
RATES = {  # of scratch, and of what was pretrained: the best of three by validation on other draws (chapter 5 shows it)
    "digits": (1e-3, 3e-3),
    "mnist": (3e-3, 3e-3),
    "fashion": (3e-3, 3e-3),
    "tops": (1e-2, 1e-2),
    "animals": (1e-3, 1e-2),
}
COSTS = ("seconds", "seconds with pretraining", "steps")


def methods(
    target: Splits,
    own: str,
    pretrained: Mapping[str, Starts],
    views: Mapping[str, View],
    supervised: Mapping[str, Starts] | None = None,
    more: bool = False,
    rates: tuple[float, float] = (3e-3, 3e-3),
    **how: Any,
) -> list[Method]:
    """The methods of a study; `pretrained` and `supervised` by source, `own` being the one whose VAE has no other name.

    `views` are features besides the VAE's ({"PCA": …, "raw pixels": …}), each for a linear probe. `more` adds what is
    otherwise recorded: a random encoder, kNN and SVM. `rates` are those of scratch and of what was pretrained; `how`
    goes to every network alike.
    """

    def named(verb: str, source: str) -> str:
        return verb if source == own else f"{verb} ({source})"

    fresh, later = ({"rate": rate} | how for rate in rates)
    together = {"scratch": partial(scratch, target, **fresh)}
    for verb, begun in (("VAE fine-tuned", pretrained), ("supervised", supervised or {})):
        together |= {
            named(verb, s): partial(fine_tuned, target, starts, **later)
            for s, starts in begun.items()
        }
    seen = {named("probe on μ", s): partial(mu_of, starts) for s, starts in pretrained.items()}
    seen |= {"probe on hidden": partial(hidden_of, pretrained[own])} | dict(views)
    seen |= {"random encoder": random_mu} if more else {}
    alone = {name: partial(probe, target, see) for name, see in seen.items()}
    if more:
        mu = partial(mu_of, pretrained[own])
        alone |= {f"{kind} on μ": partial(probe, target, mu, kind=kind) for kind in ("kNN", "SVM")}
        alone |= {"SVM on pixels": partial(probe, target, pixels, kind="SVM")}
    made = [Method(name, run, run.keywords, together=True) for name, run in together.items()]
    return made + [Method(name, run) for name, run in alone.items()]


def effects(table: Table, data: str, main: int, source: str = "") -> list[dict[str, Any]]:
    """The records of a study's comparisons for the claims ledger, for the VAE of another `source` if it is named.

    Differences are positive where they speak for the VAE. `main`: the number of labels at which scratch's mean
    accuracy is the target of "labels to …", and at which costs are compared.
    """
    tuned, probed = (
        f"{name} ({source})" if source else name for name in ("VAE fine-tuned", "probe on μ")
    )
    known, records = table.known("method"), []
    counts = sorted({row["labels"] for row in table.rows if row["method"] == tuned})

    def keep(name: str, effect: Effect, unit: str) -> None:
        values = effect.times if unit == "times" else (effect.effect, effect.low, effect.high)
        low, high = (end if 0 < abs(end) < math.inf else None for end in values[1:])
        records.append(record(name, values[0], unit, low, high, effect.n, data))

    others = (
        "scratch",
        "raw pixels",
        "supervised",
        "random encoder",
        *(() if source else ("PCA",)),
    )  # PCA is of `own`
    pairs = [(a, b) for a in (tuned, probed) for b in others]
    pairs = [
        (a, f"{b} ({source})" if source and b == "supervised" else b)
        for a, b in [*pairs, (tuned, probed)]
    ]
    pairs += [] if source else [("SVM on μ", "SVM on pixels")]
    for a, b in [pair for pair in pairs if set(pair) <= set(known)]:
        for count in counts:
            name = f"test accuracy, {a} − {b}, {count} labels".replace(f" ({source})", "")
            keep(name, paired(table, a, b, "test accuracy", count), "points")
    for count in counts:
        keep(f"train–test gap, scratch − VAE fine-tuned, {count} labels",
             paired(table, "scratch", tuned, "train–test gap", count), "nats")  # fmt: skip
    if main in counts:
        add_costs(table, main, "scratch", costs=COSTS)
        for cost in COSTS:
            name = f"{cost} to scratch's accuracy"
            effect = saving(table, tuned, "scratch", name, main)
            keep(f"{name}, scratch ÷ VAE fine-tuned, {main} labels", effect, "times")
        if len(counts) > 1:
            reach = float(np.mean(list(table.values("scratch", "test accuracy", main).values())))
            effect = saving(table, tuned, "scratch", "test accuracy", target=reach)
            keep(
                f"labels to scratch's accuracy at {main} labels, scratch ÷ VAE fine-tuned",
                effect,
                "times",
            )
    return records
