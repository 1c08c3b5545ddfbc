"""VAE and transfer learning: sources, targets, pretraining, and what methods do with few labels.

A *source* is a set of images whose labels a VAE does not see; a *target* is a task with few labels.
Methods are functions of a label draw, to be partially applied and given to `study.run_study`; they
return accuracies as booleans by image, losses in nats an image, and what they cost.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vaetl_helpers import nets
from vaetl_helpers.data import tasks
from vaetl_helpers.data.images import ImageSet, Splits
from vaetl_helpers.data.registry import load
from vaetl_helpers.device import best_precision
from vaetl_helpers.errors import unknown_name_error
from vaetl_helpers.flops import count_flops
from vaetl_helpers.output import is_interactive
from vaetl_helpers.seeds import whole_seed
from vaetl_helpers.study.draws import Draw, Method
from vaetl_helpers.study.overfitting import TRAINING, UNSEEN
from vaetl_helpers.study.runs import training_options
from vaetl_helpers.training.evaluation import History, LossFunction, classification_loss
from vaetl_helpers.training.identity import images_digest, tensors_digest
from vaetl_helpers.training.loop import fit
from vaetl_helpers.training.options import RunOptions
from vaetl_helpers.training.schedules import one_cycle
from vaetl_helpers.training.together import fit_together
from vaetl_helpers.training.vaes import can_be_stacked, fit_vaes
from vaetl_helpers.transfer.probes import features, linear_probe, probe_and_path
from vaetl_helpers.tuned import Setting, Settings, setting_for
from vaetl_helpers.vae import VAE, conv_vae, mlp_vae, vae_loss

LATENT = 32
WIDTH = 256
SOURCES = {  # of each target, the first one being its own
    "digits": ("digits 0–4",),
    "mnist": ("MNIST", "Fashion-MNIST"),
    "fashion": ("Fashion-MNIST", "MNIST"),
    "tops": ("pullover/coat",),
    "animals": ("dog/cat",),
}
TITLES = {
    "digits": "digits 0–4 → 5–9",
    "mnist": "MNIST",
    "fashion": "Fashion-MNIST",
    "tops": "pullover/coat → pullover/shirt",
    "animals": "dog/cat → dog/fox",
}
UNTUNED: Settings = {100: Setting()}
LOW_DIGITS = tuple("01234")
HIGH_DIGITS = tuple("56789")
PER_CLASS = 50  # validation images of each class, whatever the target: their labels are labels, too


def load_target(name: str, full: bool = False, root: Path | str | None = None) -> Splits:
    """A target task: `train` is the pool that labels are drawn from.

    `validation` has 50 images a class. `name`: a key of SOURCES. Raises CourseError for another
    one, and where the pictures cannot be had.
    """
    if name not in SOURCES:
        raise unknown_name_error("target", name, SOURCES)
    if name in ("tops", "animals"):
        task = tasks.load_task(name, root)
        return Splits(task.pool, task.validation, task.test, task.source)
    data = _data_set("fashion-mnist" if name == "fashion" else "mnist", full, root)
    classes = HIGH_DIGITS if name == "digits" else data.train.classes
    pool = tasks.pick(data.train, classes)
    validation = tasks.pick(data.validation, classes)
    test = tasks.pick(data.test, classes)
    rows_by_class = [
        (validation.labels == number).nonzero().flatten()[:PER_CLASS]
        for number in range(len(classes))
    ]
    few = validation.subset(torch.cat(rows_by_class))
    name_of_source = f"{data.source}, classes {', '.join(classes)}"
    return Splits(pool, few, test, name_of_source)


@lru_cache(2)
def _data_set(name: str, full: bool, root: Path | str | None) -> Splits:
    """A data set, read and announced once although several sources and targets are made of it."""
    return load(name, full=full, root=root)


def load_source(name: str, full: bool = False, root: Path | str | None = None) -> ImageSet:
    """The images of a source. Its labels are there for supervised pretraining alone.

    "digits 0–4" has all of those digits, MNIST's test images among them: the target has none.
    "pullover/coat" shares its pullovers with the target's pool, unless `full`. Others are training
    images. No source has an image of its target's validation or test set. Raises CourseError for an
    unknown name, and where the pictures cannot be had.
    """
    if name == "dog/cat":
        return tasks.source_data("animals", root).train
    if name == "pullover/coat" and full:
        return tasks.source_data("tops", root).train
    if name == "pullover/coat":
        return tasks.load_task("tops").rehearsal
    if name not in ("digits 0–4", "MNIST", "Fashion-MNIST"):
        sources = {source for sources in SOURCES.values() for source in sources}
        raise unknown_name_error("source", name, sources)
    data = _data_set("fashion-mnist" if name == "Fashion-MNIST" else "mnist", full, root)
    if name != "digits 0–4":
        return data.train
    everything = (data.train, data.validation, data.test)
    splits = [tasks.pick(split, LOW_DIGITS) for split in everything]
    images = torch.cat([split.images for split in splits])
    labels = torch.cat([split.labels for split in splits])
    return ImageSet(images, labels, LOW_DIGITS)


@dataclass(frozen=True)
class Pretrained:
    """A VAE (or an encoder trained with labels), in eval mode, and what its training cost.

    `origin` is what decided the weights. It stands for them where a study is to go on: trained
    anew, they can differ in their last bits, and seconds always do.
    """

    encoder: nets.Encoder = field(compare=False)
    seconds: float = field(compare=False)
    steps: int
    flops: float = 0.0
    model: VAE | None = field(default=None, compare=False)
    origin: str = ""

    def __post_init__(self) -> None:
        if not self.origin:
            object.__setattr__(self, "origin", tensors_digest(self.encoder.state_dict()))


InitialEncoders = Mapping[int, Pretrained]  # by pretraining seed
FeatureExtractor = Callable[[ImageSet, Draw], Tensor]  # images → features [images, d]


def untrained_vae(shape: Sequence[int], seed: int) -> VAE:
    """The chapter's VAE with fresh weights: fully connected for grey images, else convolutional."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(whole_seed(seed))
        if shape[0] == 1:
            return mlp_vae(LATENT, (WIDTH,), shape)
        return conv_vae(LATENT, 8, shape)


def _encoder(model: VAE) -> nets.Encoder:
    """The encoder of one of the chapter's VAEs, whose parts have names."""
    return cast(nets.Encoder, model.encoder)


def pretrain(
    source: ImageSet,
    seed: int,
    presentations: int,
    beta: float = 1.0,
    checkpoint: Path | None = None,
) -> Pretrained:
    """A VAE trained without labels on about `presentations` images (with repetition), grey as is.

    Its bound is then not a log-likelihood of the grey images (see `vae.log_likelihood`). With
    `checkpoint` the same call continues a training that was cut off, or returns what is finished.
    """
    model = untrained_vae(source.images.shape[1:], seed).to(source.device)
    loss = vae_loss(beta, binarisation=None)
    history = _fit_encoder(model, source, loss, seed, presentations, checkpoint)
    return _pretrained_vae(model, history, source, seed, presentations, beta)


def pretrain_together(
    source: ImageSet,
    seeds: Sequence[int],
    presentations: int,
    beta: float = 1.0,
    checkpoints: Sequence[Path | None] | None = None,
) -> list[Pretrained]:
    """`pretrain` for each of the seeds at once, which is faster; the same weights but for rounding.

    A checkpoint of either continues with the other.
    """
    models = [untrained_vae(source.images.shape[1:], seed).to(source.device) for seed in seeds]
    paths = checkpoints or [None] * len(models)
    options = [
        _pretraining_options(model, source, seed, presentations, path)
        for model, seed, path in zip(models, seeds, paths, strict=True)
    ]
    torch.set_flush_denormal(True)  # as `setup` does, which was not called in another process
    histories = fit_vaes(models, source, options, beta)
    return [
        _pretrained_vae(model, history, source, seed, presentations, beta)
        for model, history, seed in zip(models, histories, seeds, strict=True)
    ]


def _pretrained_vae(  # noqa: PLR0913  # what decided the weights is told in full
    model: VAE, history: History, source: ImageSet, seed: int, presentations: int, beta: float
) -> Pretrained:
    steps = int(sum(history["steps"]))
    origin = f"beta {beta}, {_origin(source, seed, presentations)}"
    flops = _flops_an_image(model, source, vae_loss(beta, binarisation=None))
    flops *= len(source) * len(history)
    encoder = _encoder(model.eval())
    return Pretrained(encoder, history.seconds, steps, flops, model, origin)


def pretrain_supervised(
    source: ImageSet, seed: int, presentations: int, checkpoint: Path | None = None
) -> Pretrained:
    """The same encoder trained with the source's labels: a head on μ, cross-entropy.

    Nothing is learned for its log variance.
    """
    untrained = untrained_vae(source.images.shape[1:], seed)
    encoder = _encoder(untrained).to(source.device)
    model = classifier(encoder, len(source.classes), seed)
    history = _fit_encoder(model, source, classification_loss, seed, presentations, checkpoint)
    body, mu, _head = model
    encoder.body, encoder.mu = body, cast(nn.Linear, mu)
    steps = int(sum(history["steps"]))
    origin = f"supervised, {_origin(source, seed, presentations)}"
    flops = _flops_an_image(model, source, classification_loss) * len(source) * len(history)
    return Pretrained(encoder.eval(), history.seconds, steps, flops, origin=origin)


def _flops_an_image(model: nn.Module, images: ImageSet, loss: LossFunction) -> float:
    """FLOPs of a training step for each image of its batch."""
    with torch.random.fork_rng(devices=[]):  # the caller's random numbers stay as they are
        batch, labels = next(images.batches(16))
        return count_flops(model, batch, labels, loss) / len(batch)


def _origin(source: ImageSet, seed: int, presentations: int) -> str:
    return f"{presentations} images of {images_digest(source)}, seed {seed}"


def _fit_encoder(
    model: nn.Module,
    source: ImageSet,
    loss: LossFunction,
    seed: int,
    presentations: int,
    checkpoint: Path | None,
) -> History:
    torch.set_flush_denormal(True)  # as `setup` does, which was not called in another process
    options = _pretraining_options(model, source, seed, presentations, checkpoint)
    settings = {field.name: getattr(options, field.name) for field in fields(options)}
    settings.pop("stopping")
    return fit(model, source, loss, **settings)


def _pretraining_options(
    model: nn.Module, source: ImageSet, seed: int, presentations: int, checkpoint: Path | None
) -> RunOptions:
    return RunOptions(
        epochs=max(1, round(presentations / len(source))),
        batch_size=128,
        optimizer=torch.optim.Adam(model.parameters(), 2e-3, fused=True),
        schedule=one_cycle,
        seed=seed,
        checkpoint=checkpoint,
        quiet=True,
    )


def pretrain_all(
    sources: Mapping[str, ImageSet],
    seeds: Sequence[int],
    presentations: int,
    train: Callable[..., Pretrained] = pretrain,
    *,
    label: str = "vae",
    checkpoints: Path | None = None,
    jobs: int = 1,
) -> dict[str, dict[int, Pretrained]]:
    """{source: {seed: what `train` made of it}}, in `jobs` processes.

    The VAEs of a source of grey images are trained at once (`pretrain_together`), in `jobs` groups.
    With the folder `checkpoints` each training is kept as LABEL-SOURCE-SEED.safetensors, from which
    the same call continues.
    """
    from joblib import Parallel, delayed, effective_n_jobs

    groups = []
    for name, images in sources.items():
        count = effective_n_jobs(jobs) if _is_stacked(train, images) else len(seeds)
        parts = [seeds[number::count] for number in range(min(count, len(seeds)))]
        groups += [(name, part) for part in parts]
    calls = []
    for name, part in groups:
        files = [f"{label}-{name}-{seed}.safetensors".replace("/", "-") for seed in part]
        paths = [checkpoints / file if checkpoints else None for file in files]
        calls.append(delayed(_pretrain_group)(train, sources[name], part, presentations, paths))
    runs = Parallel(jobs, return_as="generator")(calls)
    if is_interactive():
        from tqdm.auto import tqdm

        runs = tqdm(runs, "pretraining", len(groups), leave=False)
    made = {
        (name, seed): pretrained
        for (name, part), results in zip(groups, runs, strict=True)
        for seed, pretrained in zip(part, results, strict=True)
    }
    return {name: {seed: made[name, seed] for seed in seeds} for name in sources}


def _is_stacked(train: Callable[..., Pretrained], source: ImageSet) -> bool:
    """Whether VAEs of this source are trained at once, which needs linear layers and float32."""
    is_of_vaes = getattr(train, "func", train) is pretrain
    is_float32 = best_precision(source.device) == "no"
    return is_of_vaes and is_float32 and can_be_stacked(untrained_vae(source.images.shape[1:], 0))


def _pretrain_group(
    train: Callable[..., Pretrained],
    source: ImageSet,
    seeds: Sequence[int],
    presentations: int,
    checkpoints: Sequence[Path | None],
) -> list[Pretrained]:
    """The networks of these seeds: at once where that is possible, else one after the other."""
    if _is_stacked(train, source):
        settings = getattr(train, "keywords", {})
        return pretrain_together(source, seeds, presentations, checkpoints=checkpoints, **settings)
    return [
        train(source, seed, presentations, checkpoint=checkpoint)
        for seed, checkpoint in zip(seeds, checkpoints, strict=True)
    ]


def classifier(encoder: nets.Encoder, classes: int, seed: int) -> nn.Sequential:
    """A copy of the encoder up to μ, and a fresh linear head: images → logits [batch, classes]."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(whole_seed(seed))
        head = nn.Linear(encoder.mu.out_features, classes).to(encoder.mu.weight.device)
    body, mu = copy.deepcopy(encoder.body), copy.deepcopy(encoder.mu)
    return nn.Sequential(OrderedDict(body=body, mu=mu, head=head))


def scratch(
    target: Splits, draws: Sequence[Draw], rate: float = 3e-3, steps: int = 200
) -> list[dict[str, Any]]:
    """The untrained network, on the labels alone."""
    shape, device = target.train.images.shape[1:], target.train.device
    untrained = [
        Pretrained(_encoder(untrained_vae(shape, draw.seed)).to(device), seconds=0.0, steps=0)
        for draw in draws
    ]
    return _train(target, untrained, draws, rate, steps)


def fine_tuned(
    target: Splits,
    pretrained: InitialEncoders,
    draws: Sequence[Draw],
    rate: float = 3e-3,
    steps: int = 200,
) -> list[dict[str, Any]]:
    """A pretrained encoder with a fresh head, all of it trained on the labels."""
    encoders = [pretrained[draw.pretrain_seed] for draw in draws]
    return _train(target, encoders, draws, rate, steps)


def by_labels(
    train: Callable[..., list[dict[str, Any]]],
    arguments: tuple[Any, ...],
    draws: Sequence[Draw],
    settings: Settings,
) -> list[dict[str, Any]]:
    """Trains `train(*arguments, draws)` with the setting for the number of labels of the draws."""
    setting = setting_for(settings, draws[0].labels)
    return train(*arguments, draws, rate=setting.rate, steps=setting.steps)


def _train(
    target: Splits,
    initial: Sequence[Pretrained],
    draws: Sequence[Draw],
    rate: float,
    steps: int,
) -> list[dict[str, Any]]:
    """Trains all draws together, for about `steps` steps at most."""
    classes, device = len(target.train.classes), target.train.device
    models = [
        classifier(start.encoder, classes, draw.seed)
        for start, draw in zip(initial, draws, strict=True)
    ]
    sets = [target.train.subset(draw.indices.to(device)) for draw in draws]
    seeds = [draw.seed for draw in draws]
    options = training_options(len(sets[0]), steps)
    histories = fit_together(
        models, sets, target.validation, seeds, rate=rate, **options, with_training_loss=True
    )
    flops_an_epoch = _flops_an_image(models[0], sets[0], classification_loss) * len(sets[0])
    outcomes = []
    for model, images, history, start in zip(models, sets, histories, initial, strict=True):
        outcome = _outcome(target, model, images, history)
        epochs = torch.arange(1, len(history) + 1)
        outcome["FLOPs by epoch"] = flops_an_epoch * epochs
        outcome["pretraining FLOPs"] = start.flops
        outcome["pretraining seconds"] = start.seconds
        outcomes.append(outcome)
    return outcomes


def _outcome(
    target: Splits, model: nn.Module, images: ImageSet, history: History
) -> dict[str, Any]:
    """What a run hands to the study; losses are cross-entropies in nats per image."""
    logits, labels = _logits(model, target.test), target.test.labels
    training_loss = F.cross_entropy(_logits(model, images), images.labels)
    curve = 100 * torch.tensor(history["validation_accuracy"])
    return {
        "test accuracy": logits.argmax(1) == labels,
        "validation accuracy": curve.max().item(),
        "train–test gap": (F.cross_entropy(logits, labels) - training_loss).item(),
        "training loss": training_loss.item(),
        "validation curve": curve,
        TRAINING: torch.tensor(history["training_loss"]),
        UNSEEN: torch.tensor(history["validation_loss"]),
        "seconds by epoch": torch.tensor(history["seconds"]).cumsum(0),
        "steps by epoch": torch.tensor(history["steps"]).cumsum(0),
    }


@torch.no_grad()
def _logits(model: nn.Module, images: ImageSet) -> Tensor:
    return torch.cat([model(batch / 255) for batch in images.images.split(1000)])


def pixels(images: ImageSet, draw: Draw) -> Tensor:
    """The raw pixels in [0, 1]."""
    return images.images.flatten(1).cpu() / 255


def fit_pca(source: ImageSet, components: int = LATENT, most: int = 20_000) -> FeatureExtractor:
    """Principal components of a source's images (20,000 at most), as many as the VAE's latents."""
    from sklearn.decomposition import PCA

    images = source.images[:most].flatten(1).cpu().numpy() / 255
    pca = PCA(components, svd_solver="arpack", random_state=0).fit(images)
    return partial(_project, pca)


def _project(pca: Any, images: ImageSet, draw: Draw) -> Tensor:
    return torch.as_tensor(pca.transform(pixels(images, draw).numpy())).float()


def mu_of(pretrained: InitialEncoders, images: ImageSet, draw: Draw) -> Tensor:
    """The posterior mean of each image [images, latent], by the draw's own VAE."""
    return codes(pretrained[draw.pretrain_seed], images)


def codes(one: Pretrained, images: ImageSet) -> Tensor:
    """The posterior mean of each image [images, latent]."""
    return features(nn.Sequential(one.encoder.body, one.encoder.mu), images, 1000)


def hidden_of(pretrained: InitialEncoders, images: ImageSet, draw: Draw) -> Tensor:
    """What the encoder's last hidden layer makes of each image [images, width]."""
    return features(pretrained[draw.pretrain_seed].encoder.body, images, 1000)


def random_mu(images: ImageSet, draw: Draw) -> Tensor:
    """The same as `mu_of`, by an encoder that was never trained."""
    encoder = _encoder(untrained_vae(images.images.shape[1:], draw.seed))
    untrained = Pretrained(encoder, seconds=0.0, steps=0)
    return mu_of({draw.pretrain_seed: untrained}, images, draw)


def probe(
    target: Splits, featurise: FeatureExtractor, draw: Draw, kind: str = "linear"
) -> dict[str, Any]:
    """A classifier on fixed features: "linear", "kNN" or "SVM" (RBF).

    Its settings are chosen on validation: for a linear one C and the scaling of the features.
    """
    images = target.train.subset(draw.indices.to(target.train.device))
    x, y = featurise(images, draw), images.labels.cpu()
    x_validation, y_validation = featurise(target.validation, draw), target.validation.labels.cpu()
    outcome: dict[str, Any] = {}
    if kind == "linear":
        chosen, path = probe_and_path(x, y, x_validation, y_validation)
        pipeline = chosen.pipeline
        outcome = {TRAINING: path[0], UNSEEN: path[1], "C": chosen.c}
        outcome["is standardised"] = float(chosen.scaling == "standardised")
    else:
        pipeline = _best_of(_candidates(kind, len(x)), x, y, x_validation, y_validation)
    predicted = torch.as_tensor(pipeline.predict(featurise(target.test, draw).numpy()))
    outcome["test accuracy"] = predicted == target.test.labels.cpu()
    outcome["validation accuracy"] = 100 * pipeline.score(x_validation.numpy(), y_validation)
    return outcome


MOST_UNLABELLED = 1000  # images of the pool that self-training may label
SURE = (0.7, 0.95)  # probabilities from which on it does
STRENGTHS = (0.1, 1.0, 10.0)  # C: a strong penalty is sure of nothing


def self_trained(target: Splits, featurise: FeatureExtractor, draw: Draw) -> dict[str, Any]:
    """A linear classifier on fixed features that goes on to label unlabelled images itself.

    In each round those join whose class it gives a probability of at least a threshold; threshold
    and C are chosen on validation, as is whether it helps at all. Up to 1,000 images of the pool
    take part without their labels. After Yarowsky (1995), by scikit-learn's SelfTrainingClassifier.
    """
    from sklearn.base import clone
    from sklearn.pipeline import make_pipeline
    from sklearn.semi_supervised import SelfTrainingClassifier

    device = target.train.device
    images = target.train.subset(draw.indices.to(device))
    x, y = featurise(images, draw), images.labels.cpu()
    x_validation, y_validation = featurise(target.validation, draw), target.validation.labels.cpu()
    unlabelled = featurise(target.train.subset(_unlabelled(target, draw).to(device)), draw)
    chosen = linear_probe(x, y, x_validation, y_validation)
    rows = torch.cat([x, unlabelled]).numpy()
    known = torch.cat([y, torch.full((len(unlabelled),), -1)]).numpy()  # −1: unlabelled
    fitted = [chosen.pipeline]
    for c in STRENGTHS:
        classifier = clone(chosen.pipeline[-1]).set_params(C=c)
        # The scaler is the one that was fitted to the labelled rows.
        scaled = chosen.pipeline[0].transform(rows)
        for threshold in SURE:
            learner = SelfTrainingClassifier(classifier, threshold=threshold).fit(scaled, known)
            fitted.append(make_pipeline(chosen.pipeline[0], learner))
    best = max(fitted, key=lambda model: model.score(x_validation.numpy(), y_validation))
    predicted = torch.as_tensor(best.predict(featurise(target.test, draw).numpy()))
    return {
        "test accuracy": predicted == target.test.labels.cpu(),
        "validation accuracy": 100 * best.score(x_validation.numpy(), y_validation),
        "is self-trained": float(best is not chosen.pipeline),
    }


def _unlabelled(target: Splits, draw: Draw) -> Tensor:
    """Indices into the pool of images that are not among the draw's labelled ones."""
    generator = torch.Generator().manual_seed(draw.seed)
    order = torch.randperm(len(target.train), generator=generator)
    is_labelled = torch.isin(order, draw.indices.cpu())
    return order[~is_labelled][:MOST_UNLABELLED]


def _candidates(kind: str, labels: int) -> list[Any]:
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.svm import SVC

    if kind not in ("kNN", "SVM"):
        raise unknown_name_error("kind of probe", kind, ("linear", "kNN", "SVM"))
    if kind == "kNN":
        neighbours = [k for k in (1, 3, 5, 9) if k <= labels]
        return [make_pipeline(KNeighborsClassifier(k)) for k in neighbours]
    # The width of the RBF follows the features' variance.
    return [make_pipeline(SVC(C=c)) for c in (0.1, 1.0, 10.0, 100.0, 1000.0)]


def _best_of(
    candidates: Sequence[Any], x: Tensor, y: Tensor, x_validation: Tensor, y_validation: Tensor
) -> Any:
    """The fitted candidate that is best on validation, the first of equals."""
    fitted = [candidate.fit(x.numpy(), y) for candidate in candidates]
    return max(fitted, key=lambda model: model.score(x_validation.numpy(), y_validation))


OF_A_SOURCE = (  # methods that a study has once for each source
    "VAE fine-tuned",
    "probe on μ",
    "supervised",
    "best with a VAE",
    "best without",
)


def name_with_source(method: str, source: str) -> str:
    """A method's name in a study; that of the target's own source, "", needs no addition."""
    if source and method in OF_A_SOURCE:
        return f"{method} ({source})"
    return method


def methods(  # noqa: PLR0913  # chapter 5 gives them all by name
    target: Splits,
    own: str,
    pretrained: Mapping[str, InitialEncoders],
    extractors: Mapping[str, FeatureExtractor],
    supervised: Mapping[str, InitialEncoders] | None = None,
    *,
    more: bool = False,
    scratch_settings: Settings = UNTUNED,
    pretrained_settings: Settings = UNTUNED,
) -> list[Method]:
    """The methods of a study.

    `pretrained` and `supervised` are by source, `own` being the one whose VAE has no other name.
    `extractors` are features besides the VAE's ({"PCA": …, "raw pixels": …}), each for a linear
    probe. `more` adds what is otherwise recorded: a random encoder, kNN, SVM and
    self-training. The settings
    by number of labels are those of scratch and of all that was pretrained.
    """
    networks = {"scratch": partial(by_labels, scratch, (target,), settings=scratch_settings)}
    for verb, by_source in (("VAE fine-tuned", pretrained), ("supervised", supervised or {})):
        for source, encoders in by_source.items():
            name = name_with_source(verb, "" if source == own else source)
            networks[name] = partial(
                by_labels, fine_tuned, (target, encoders), settings=pretrained_settings
            )
    probes: dict[str, Callable[[Draw], dict[str, Any]]] = {}
    for source, encoders in pretrained.items():
        name = name_with_source("probe on μ", "" if source == own else source)
        probes[name] = partial(probe, target, partial(mu_of, encoders))
    probes["probe on hidden"] = partial(probe, target, partial(hidden_of, pretrained[own]))
    for name, featurise in extractors.items():
        probes[name] = partial(probe, target, featurise)
    if more:
        mu = partial(mu_of, pretrained[own])
        probes["random encoder"] = partial(probe, target, random_mu)
        probes["kNN on μ"] = partial(probe, target, mu, kind="kNN")
        probes["SVM on μ"] = partial(probe, target, mu, kind="SVM")
        probes["SVM on pixels"] = partial(probe, target, pixels, kind="SVM")
        probes["self-training on μ"] = partial(self_trained, target, mu)
        if "PCA" in extractors:
            probes["self-training on PCA"] = partial(self_trained, target, extractors["PCA"])
    methods = []
    for name, run in networks.items():
        settings = {str(n): setting._asdict() for n, setting in run.keywords["settings"].items()}
        methods.append(Method(name, run, settings, batched=True))
    methods += [Method(name, run) for name, run in probes.items()]
    return methods
