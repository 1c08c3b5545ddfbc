"""Features of a frozen network, and linear classifiers on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vaetl_helpers.data.images import ImageSet, check_levels
from vaetl_helpers.data.inputs import as_tensor
from vaetl_helpers.errors import CourseError, unknown_name_error
from vaetl_helpers.training.evaluation import evaluating
from vaetl_helpers.training.inputs import check_images, check_network
from vaetl_helpers.transfer.backbones import Backbone


@torch.no_grad()
def features(model: nn.Module, images: ImageSet | Tensor, batch_size: int | None = None) -> Tensor:
    """What a model makes of images, in eval mode and without gradients: float [n, d] on the CPU.

    `images`: an ImageSet, or a tensor or array uint8 [n, channels, height, width]; a Backbone
    prepares them in its own way, other models get floats in [0, 1]. `batch_size` is 32 by default,
    and 4 for a Backbone on the CPU, whose caches larger ones do not fit into: they take twice as
    long. Raises CourseError for floats, and for a model that does not return one tensor.
    """
    check_network(model)
    if not isinstance(images, ImageSet | Tensor | np.ndarray):
        check_images(images, "images")
    pixels = images.images if isinstance(images, ImageSet) else as_tensor(images, "images")
    if pixels.dtype != torch.uint8:
        raise CourseError(
            f"features expects uint8 images or an ImageSet, not {pixels.dtype}: scaling is done "
            "here."
        )
    if len(pixels) and not isinstance(images, ImageSet):
        check_levels(pixels)
    parameter = next(model.parameters(), pixels)
    if batch_size is None:
        on_cpu = isinstance(model, Backbone) and parameter.device.type == "cpu"
        batch_size = 4 if on_cpu else 32
    outputs = []
    with evaluating(model):
        for batch in pixels.split(batch_size):
            batch = batch.to(parameter.device)
            output = model(batch if isinstance(model, Backbone) else batch / 255)
            if not isinstance(output, Tensor):
                kind = type(output).__name__
                raise CourseError(
                    f"The model returns a {kind}, not one tensor: pass its body alone."
                )
            outputs.append(output.flatten(1).float().cpu())
    return torch.cat(outputs)


@dataclass(frozen=True)
class Probe:
    """A linear classifier on features.

    `c` is the inverse strength of its L2 penalty, `scaling` one of SCALINGS.
    """

    pipeline: Any  # a scaler with mean_ and scale_, and scikit-learn's LogisticRegression
    c: float
    scaling: str

    @property
    def classes(self) -> Tensor:
        """The labels it tells apart, in rising order: int64 [k]."""
        return torch.as_tensor(self.pipeline[-1].classes_)

    def predict(self, x: Tensor) -> Tensor:
        """The most probable label of each row of features: [n, d] → int64 [n]."""
        rows = checked_features(x, self.pipeline[0].n_features_in_)
        return torch.as_tensor(self.pipeline.predict(rows))

    def accuracy(self, x: Tensor, y: Tensor) -> float:
        """The fraction of rows that get their label."""
        rows = checked_features(x, self.pipeline[0].n_features_in_)
        labels = checked_labels(y, len(rows))
        return float((self.pipeline.predict(rows) == labels).mean())

    def as_linear(self) -> nn.Linear:
        """The same classifier as a layer on features that are not scaled, [n, d] → logits.

        With two classes the logits are ∓ half of scikit-learn's. Raises CourseError unless the
        labels are 0 … k − 1.
        """
        labels = self.classes.tolist()
        if labels != list(range(len(labels))):
            raise CourseError(f"A head needs the labels 0 … k − 1, not {labels}: renumber them.")
        scaler, logistic = self.pipeline
        weight = logistic.coef_
        bias = logistic.intercept_
        if len(weight) == 1:
            weight = weight * [[-0.5], [0.5]]
            bias = bias * [-0.5, 0.5]
        weight = weight / scaler.scale_  # w · (x − mean) / scale + b
        bias = bias - weight @ scaler.mean_
        # Skipping the random start leaves the generators alone.
        layer = nn.utils.skip_init(nn.Linear, weight.shape[1], len(weight))
        with torch.no_grad():
            layer.weight.copy_(torch.as_tensor(weight))
            layer.bias.copy_(torch.as_tensor(bias))
        return layer


def checked_features(x: Any, width: int | None = None) -> np.ndarray:
    """Features as float64 [n, d], so that nothing is lost in scaling.

    Raises CourseError for another shape, and for values that are not finite.
    """
    x = _as_tensor(x, "Features").detach().cpu().double()
    if x.dim() != 2 or width not in (None, x.shape[1]):
        expected = f"[n, {width or 'd'}]"
        raise CourseError(
            f"Features have the shape {list(x.shape)}, but {expected} was expected: flatten(1)."
        )
    if not x.isfinite().all():
        raise CourseError(
            "The features hold nan or infinite values: look for the layer that makes them."
        )
    return x.numpy()


def checked_labels(y: Any, count: int) -> np.ndarray:
    """Labels as int64 [count]; raises CourseError for another number, and for fractions."""
    y = _as_tensor(y, "Labels").cpu()
    if y.shape != (count,) or y.is_floating_point():
        raise CourseError(
            f"{count} rows of features need as many whole numbers as labels, not {list(y.shape)}."
        )
    return y.long().numpy()


def _as_tensor(values: Any, name: str) -> Tensor:
    try:
        return torch.as_tensor(values)
    except (TypeError, ValueError, RuntimeError) as error:
        raise CourseError(
            f"{name} must be a tensor or an array of numbers, not {type(values).__name__}: "
            "features(model, images) makes the one, images.labels is the other."
        ) from error


GRID = tuple(10.0**exponent for exponent in range(-5, 4))
# One factor for all features keeps what their sizes say; standardising gives each the same size.
# Features as they are need no entry of their own: a common factor only moves the best C.
SCALINGS = ("one factor", "standardised")


def linear_probe(  # noqa: PLR0913  # two sets, and what is chosen between
    train_x: Tensor,
    train_y: Tensor,
    validation_x: Tensor | None = None,
    validation_y: Tensor | None = None,
    grid: Sequence[float] = GRID,
    scalings: Sequence[str] = SCALINGS,
) -> Probe:
    """Logistic regression on features [n, d]; C is the best one of `grid`, scaling of `scalings`.

    The best have the highest accuracy on validation or, without it, in 5-fold cross-validation
    inside train (fewer folds where a class has fewer rows), scaled in each fold anew; the smallest
    C wins a tie, then the first scaling. Where there is one setting alone, nothing is chosen.
    Raises CourseError for a single class, lengths that differ, features that are not finite and an
    unknown scaling.
    """
    from sklearn.model_selection import StratifiedKFold

    if (validation_x is None) != (validation_y is None):
        raise CourseError(
            "Validation features and labels come together: give both, or none to cross-validate."
        )
    x = checked_features(train_x)
    y = checked_labels(train_y, len(x))
    _, counts = np.unique(y, return_counts=True)
    fewest = int(counts.min())
    is_fixed = len(grid) == len(scalings) == 1  # nothing to choose, and no labels to choose by
    if is_fixed and len(counts) > 1:
        return _fitted(x, y, (grid[0], scalings[0]))
    if len(counts) < 2 or (validation_x is None and fewest < 2):
        raise CourseError(
            "A probe needs two classes or more, and two rows of each to cross-validate: add labels."
        )
    if validation_x is not None:
        unseen_x = checked_features(validation_x, x.shape[1])
        unseen_y = checked_labels(validation_y, len(unseen_x))
        return _probe_and_fits(x, y, unseen_x, unseen_y, grid, scalings)[0]
    folds = StratifiedKFold(min(5, fewest), shuffle=True, random_state=0)
    accuracies: dict[Setting, list[float]] = {}
    for train, held_out in folds.split(x, y):
        for scaling in scalings:
            fits = _fits(x[train], y[train], x[held_out], scaling, grid)
            for c, accuracy in fits.accuracies(y[held_out]).items():
                accuracies.setdefault((c, scaling), []).append(accuracy)
    return _fitted(x, y, _best(accuracies))


def probe_and_path(
    train_x: Tensor,
    train_y: Tensor,
    validation_x: Tensor,
    validation_y: Tensor,
    grid: Sequence[float] = GRID,
    scalings: Sequence[str] = SCALINGS,
) -> tuple[Probe, tuple[np.ndarray, np.ndarray]]:
    """A `linear_probe` that is chosen on validation, and its `penalty_path` on the same images.

    The path is of the regressions between which was chosen, so that none is fitted twice.
    """
    x = checked_features(train_x)
    y = checked_labels(train_y, len(x))
    unseen_x = checked_features(validation_x, x.shape[1])
    unseen_y = checked_labels(validation_y, len(unseen_x))
    probe, fits = _probe_and_fits(x, y, unseen_x, unseen_y, grid, scalings)
    return probe, fits[probe.scaling].losses(y, unseen_y)


Setting = tuple[float, str]  # C and scaling


@dataclass(frozen=True)
class _Fits:
    """Regressions with one scaling, by C from a strong to a weak penalty, and their features.

    These are scaled, and rotated as in `_rotated`.
    """

    rows: np.ndarray
    unseen: np.ndarray
    by_c: dict[float, Any]

    def accuracies(self, labels: np.ndarray) -> dict[float, float]:
        """The fraction of unseen rows that get their label, by C."""
        with _unchecked():
            return {c: float(one.score(self.unseen, labels)) for c, one in self.by_c.items()}

    def losses(self, y: np.ndarray, unseen_y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What `penalty_path` returns."""
        from sklearn.metrics import log_loss

        classes = np.unique(y)
        chance = float(np.log(len(classes)))
        training, unseen = [chance], [chance]
        for one in self.by_c.values():
            training.append(log_loss(y, one.predict_proba(self.rows), labels=classes))
            unseen.append(log_loss(unseen_y, one.predict_proba(self.unseen), labels=classes))
        return np.array(training), np.array(unseen)


def _fits(
    x: np.ndarray, y: np.ndarray, unseen_x: np.ndarray, scaling: str, grid: Sequence[float]
) -> _Fits:
    """A regression for each C."""
    scaler = _scaler(scaling).fit(x)
    rows, rotation = _rotated(scaler.transform(x))
    unseen = scaler.transform(unseen_x) @ rotation
    with _unchecked():
        by_c = {c: _regression(c).fit(rows, y) for c in sorted(grid)}
    return _Fits(rows, unseen, by_c)


def _probe_and_fits(  # noqa: PLR0913  # two sets, and what is chosen between
    x: np.ndarray,
    y: np.ndarray,
    unseen_x: np.ndarray,
    unseen_y: np.ndarray,
    grid: Sequence[float],
    scalings: Sequence[str],
) -> tuple[Probe, dict[str, _Fits]]:
    """The probe that is best on unseen rows, and all that were fitted, by scaling."""
    fits = {scaling: _fits(x, y, unseen_x, scaling, grid) for scaling in scalings}
    accuracies = {}
    for scaling, of_scaling in fits.items():
        for c, accuracy in of_scaling.accuracies(unseen_y).items():
            accuracies[c, scaling] = [accuracy]
    return _fitted(x, y, _best(accuracies)), fits


def _best(accuracies: Mapping[Setting, Sequence[float]]) -> Setting:
    """The setting with the best mean accuracy; of equals that with the smallest C, the first."""
    order = sorted(accuracies, key=lambda setting: setting[0])  # stable
    return max(order, key=lambda setting: float(np.mean(accuracies[setting])))


def penalty_path(
    train_x: Tensor,
    train_y: Tensor,
    unseen_x: Tensor,
    unseen_y: Tensor,
    scaling: str = SCALINGS[0],
    grid: Sequence[float] = GRID,
) -> tuple[np.ndarray, np.ndarray]:
    """Mean cross-entropies on training and on unseen rows, each [1 + len(grid)], in nats.

    They follow logistic regression from no weights at all, where both are ln(classes), to the
    weakest penalty of `grid`. Raises CourseError as `linear_probe` does.
    """
    x = checked_features(train_x)
    y = checked_labels(train_y, len(x))
    other_x = checked_features(unseen_x, x.shape[1])
    other_y = checked_labels(unseen_y, len(other_x))
    return _fits(x, y, other_x, scaling, grid).losses(y, other_y)


def _rotated(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows in as few coordinates as there are rows, [n, min(n, d)], and the rotation [d, …].

    An L2 penalty does not see a rotation, so that the classifier is the same and its fit quicker.
    """
    if len(x) >= x.shape[1]:
        return x, np.eye(x.shape[1])
    _, _, directions = np.linalg.svd(x, full_matrices=False)
    return x @ directions.T, directions.T


def _unchecked() -> AbstractContextManager[None]:
    """This module has checked all, and so many small fits would spend a third on more checks."""
    import sklearn

    context: AbstractContextManager[None] = sklearn.config_context(
        assume_finite=True, skip_parameter_validation=True
    )
    return context


def _fitted(x: np.ndarray, y: np.ndarray, setting: Setting) -> Probe:
    with _unchecked():
        return Probe(_pipeline(*setting).fit(x, y), *setting)


def _pipeline(c: float, scaling: str) -> Any:
    from sklearn.pipeline import make_pipeline

    return make_pipeline(_scaler(scaling), _regression(c))


def _regression(c: float) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=c, max_iter=2000)


def _scaler(scaling: str) -> Any:
    from sklearn.preprocessing import StandardScaler

    if scaling not in SCALINGS:
        raise unknown_name_error("scaling", scaling, SCALINGS)
    return StandardScaler() if scaling == "standardised" else CommonScaler()


class CommonScaler:
    """Divides all features by one number, so that their mean variance is 1.

    Like a scikit-learn scaler it has `mean_`, `scale_` and `n_features_in_` after `fit`.
    """

    mean_: np.ndarray
    scale_: np.ndarray
    n_features_in_: int

    def fit(self, x: np.ndarray, y: Any = None) -> CommonScaler:
        """Learns from rows [n, d]; where no feature has any variance they stay as they are."""
        self.n_features_in_ = x.shape[1]
        self.mean_ = x.mean(0)
        factor = float(np.sqrt(x.var(0).mean()))
        self.scale_ = np.full(x.shape[1], factor if factor > 0 else 1.0)
        return self

    def transform(self, x: np.ndarray) -> np.ndarray:
        """Rows [n, d] less the mean, divided by the number."""
        scaled: np.ndarray = (x - self.mean_) / self.scale_
        return scaled

    def fit_transform(self, x: np.ndarray, y: Any = None) -> np.ndarray:
        """`fit`, then `transform`."""
        return self.fit(x, y).transform(x)
