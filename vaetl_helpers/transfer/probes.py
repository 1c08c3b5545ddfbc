"""Features of a frozen network, and linear classifiers on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from vaetl_helpers.data.images import ImageSet
from vaetl_helpers.errors import CourseError
from vaetl_helpers.transfer.backbones import Backbone


@torch.no_grad()
def features(model: nn.Module, images: ImageSet | Tensor, batch_size: int = 32) -> Tensor:
    """What a model makes of images, in eval mode and without gradients: float [n, d] on the CPU.

    `images`: an ImageSet or uint8 [n, channels, height, width]; a Backbone prepares them in its own way, other models
    get floats in [0, 1]. Raises CourseError for floats, and for a model that does not return one tensor.
    """
    pixels = images.images if isinstance(images, ImageSet) else images
    if pixels.dtype != torch.uint8:
        raise CourseError(
            f"features expects uint8 images or an ImageSet, not {pixels.dtype}: scaling is done here."
        )
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
        raise CourseError(
            f"The model returns a {type(outputs[0]).__name__}, not one tensor: pass its body alone."
        )
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
        return torch.as_tensor(
            self.pipeline.predict(checked(x, width=self.pipeline[0].n_features_in_)[0])
        )

    def accuracy(self, x: Tensor, y: Tensor) -> float:
        """The fraction of rows that get their label."""
        x, y = checked(x, y, self.pipeline[0].n_features_in_)
        return float((self.pipeline.predict(x) == y).mean())

    def as_linear(self) -> nn.Linear:
        """The same classifier as a layer on features that are not standardised, [n, d] → logits [n, k].

        With two classes the logits are ∓ half of scikit-learn's. Raises CourseError unless the labels are 0 … k − 1.
        """
        if self.classes.tolist() != list(range(len(self.classes))):
            raise CourseError(
                f"A head needs the labels 0 … k − 1, not {self.classes.tolist()}: renumber them."
            )
        scaler, logistic = self.pipeline
        weight, bias = logistic.coef_, logistic.intercept_
        if len(weight) == 1:
            weight, bias = weight * [[-0.5], [0.5]], bias * [-0.5, 0.5]
        layer = nn.utils.skip_init(
            nn.Linear, weight.shape[1], len(weight)
        )  # leaves the generators alone
        with torch.no_grad():
            weight = weight / scaler.scale_  # w · (x − mean) / scale + b
            layer.weight.copy_(torch.as_tensor(weight))
            layer.bias.copy_(torch.as_tensor(bias - weight @ scaler.mean_))
        return layer


def checked(x: Any, y: Any = None, width: int | None = None) -> tuple[Any, Any]:
    """Features as float64 [n, d], so that nothing is lost in standardising, and labels as int64 [n]."""
    x = torch.as_tensor(x).detach().cpu().double()
    if x.dim() != 2 or width not in (None, x.shape[1]):
        raise CourseError(
            f"Features have the shape {list(x.shape)}, but [n, {width or 'd'}] was expected: flatten(1)."
        )
    if not x.isfinite().all():
        raise CourseError(
            "The features hold nan or infinite values: look for the layer that makes them."
        )
    if y is None:
        return x.numpy(), None
    y = torch.as_tensor(y).cpu()
    if y.shape != x.shape[:1] or y.is_floating_point():
        raise CourseError(
            f"{len(x)} rows of features need as many whole numbers as labels, not {list(y.shape)}."
        )
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

    x, y = checked(train_x, train_y)
    fewest = min(counts := torch.as_tensor(y).unique(return_counts=True)[1].tolist())
    if len(counts) < 2 or (validation_x is None and fewest < 2):
        raise CourseError(
            "A probe needs two classes or more, and two rows of each to cross-validate: add labels."
        )
    if (validation_x is None) != (validation_y is None):
        raise CourseError(
            "Validation features and labels come together: give both, or none to cross-validate."
        )

    def pipeline(c: float = 1.0) -> Any:
        return make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=2000))

    grid = sorted(grid)
    if validation_x is None:
        folds = StratifiedKFold(min(5, fewest), shuffle=True, random_state=0)
        search = GridSearchCV(pipeline(), {"logisticregression__C": grid}, cv=folds).fit(x, y)
        return Probe(search.best_estimator_, search.best_params_["logisticregression__C"])
    probes = [Probe(pipeline(c).fit(x, y), c) for c in grid]
    return max(
        probes, key=lambda probe: probe.accuracy(validation_x, validation_y)
    )  # the first of equals
