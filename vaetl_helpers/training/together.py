"""Training many small networks of the same architecture at once."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state
from torch.nn import functional as F

from vaetl_helpers.data.images import Batch, ImageSet
from vaetl_helpers.errors import CourseError
from vaetl_helpers.seeds import whole_seed
from vaetl_helpers.training.evaluation import History, Row
from vaetl_helpers.training.inputs import (
    check_images,
    check_independent_of_the_batch,
    check_network,
)
from vaetl_helpers.training.schedules import Step, one_cycle, seed_of_epoch


def fit_together(  # noqa: PLR0913  (what differs between networks, and what they share)
    models: Sequence[nn.Module],
    sets: Sequence[ImageSet],
    validation: ImageSet,
    seeds: Sequence[int],
    *,
    rate: float,
    epochs: int,
    batch_size: int,
    patience: int,
) -> list[History]:
    """`fit_best` for several networks of one shape at once, each on its own images; in place.

    Their weights are stacked and every operation is done for all of them by `torch.vmap`, which for
    small networks is several times faster than one after the other. Adam works by element, so the
    networks stay independent: each ends as it would alone (a test holds it against `fit_best`),
    with early stopping of its own. Seconds are shared equally. Networks with BatchNorm or dropout
    are refused. Raises CourseError for these, and for sets of different sizes.
    """
    for model in models:
        check_network(model)
        check_independent_of_the_batch(model)
    for images in (*sets, validation):
        check_images(images, "each set")
    if len({len(images) for images in sets}) != 1:
        raise CourseError(
            "Networks that are trained together need as many images each: "
            "draw the same number of labels."
        )
    seeds = [whole_seed(seed) for seed in seeds]
    stack = NetworkStack(models, validation, patience)
    adam = torch.optim.Adam(list(stack.weights.values()), rate, fused=True)
    steps = math.ceil(len(sets[0]) / batch_size)
    for epoch in range(epochs):
        started = time.monotonic()
        batches = [
            images.batches(batch_size, seed_of_epoch(seed, epoch))
            for images, seed in zip(sets, seeds, strict=True)
        ]
        for step, step_batches in enumerate(zip(*batches, strict=True)):
            progress = Step(epoch, epochs, step, steps).progress_by_epoch()
            adam.param_groups[0]["lr"] = rate * one_cycle(progress)
            adam.zero_grad()
            stack.losses(step_batches).sum().backward()
            adam.step()
        seconds = (time.monotonic() - started) / len(models)
        stack.validate(steps, seconds)
        if stack.is_over:
            break
    stack.unstack(models)
    return stack.histories


class NetworkStack:
    """The weights of several networks as one tensor each, [networks, …], and the best of each."""

    def __init__(self, models: Sequence[nn.Module], validation: ImageSet, patience: int) -> None:
        weights, self.buffers = stack_module_state(list(models))
        self.weights = {name: value.detach().requires_grad_() for name, value in weights.items()}
        self.best = {name: value.detach().clone() for name, value in self.weights.items()}
        self.network = copy.deepcopy(models[0]).to("meta")  # the operations without the weights
        self.logits_of_each = torch.vmap(self._logits)
        self.logits_of_same = torch.vmap(self._logits, (0, 0, None))
        self.images = validation.images / 255
        self.labels = validation.labels
        self.patience = patience
        self.accuracy = torch.full((len(models),), -1.0)
        self.loss = torch.full_like(self.accuracy, math.inf)
        self.epochs_without_better = torch.zeros(len(models))
        self.histories = [History() for _ in models]
        self._keep_better(torch.full((len(models),), True))

    def _logits(
        self, weights: dict[str, Tensor], buffers: dict[str, Tensor], images: Tensor
    ) -> Tensor:
        logits: Tensor = functional_call(self.network, (weights, buffers), (images,))
        return logits

    def losses(self, batches: Sequence[Batch]) -> Tensor:
        """Mean cross-entropy of each network on its own batch, in nats [networks]."""
        images = torch.stack([images for images, _ in batches])
        labels = torch.stack([labels for _, labels in batches])
        logits = self.logits_of_each(self.weights, self.buffers, images)
        return _mean_cross_entropy(logits, labels)

    @property
    def is_running(self) -> Tensor:
        """Of each network, whether early stopping still waits for a better epoch."""
        return self.epochs_without_better < self.patience

    @property
    def is_over(self) -> bool:
        return not self.is_running.any()

    def validate(self, steps: int, seconds: float) -> None:
        """After an epoch: looks at validation, and adds a row to each running network's history."""
        is_running = self.is_running
        accuracy, loss = self._keep_better(is_running)
        for number, history in enumerate(self.histories):
            if is_running[number]:
                row: Row = {"epoch": len(history) + 1, "steps": steps, "seconds": seconds}
                row["validation_accuracy"] = accuracy[number].item()
                row["validation_loss"] = loss[number].item()
                history.rows.append(row)

    @torch.no_grad()
    def _keep_better(self, is_running: Tensor) -> tuple[Tensor, Tensor]:
        """Keeps the weights of running networks that are better than before; accuracy and loss."""
        logits = self.logits_of_same(self.weights, self.buffers, self.images)
        labels = self.labels.expand(len(logits), -1)
        loss = _mean_cross_entropy(logits, labels).cpu()
        accuracy = (logits.argmax(2) == labels).float().mean(1).cpu()
        is_tied = accuracy == self.accuracy
        is_better = (accuracy > self.accuracy) | (is_tied & (loss < self.loss))
        is_better &= is_running
        self.accuracy[is_better] = accuracy[is_better]
        self.loss[is_better] = loss[is_better]
        waited = self.epochs_without_better + is_running
        self.epochs_without_better = torch.where(is_better, 0, waited)
        for name, value in self.weights.items():
            self.best[name][is_better] = value.detach()[is_better]
        return accuracy, loss

    def unstack(self, models: Sequence[nn.Module]) -> None:
        """Puts the best weights into the networks, which are then in eval mode."""
        for number, model in enumerate(models):
            weights = {name: value[number] for name, value in self.best.items()}
            model.load_state_dict(weights, strict=False)
            model.eval()


def _mean_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Of logits [networks, images, classes], in nats [networks]."""
    by_image = F.cross_entropy(logits.transpose(1, 2), labels, reduction="none")
    return by_image.mean(1)
