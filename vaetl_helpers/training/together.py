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

from vaetl_helpers.data.images import ImageSet
from vaetl_helpers.errors import CourseError
from vaetl_helpers.training.evaluation import History
from vaetl_helpers.training.schedules import one_cycle


def fit_together(
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
    """`transfer.fit_best` for several networks of one shape at once, each on its own images; in place.

    Their weights are stacked and every operation is done for all of them by `torch.vmap`, which for small networks is
    several times faster than one after the other. Adam works by element, so the networks stay independent: each ends
    as it would alone (a test holds it against `fit_best`), with early stopping of its own. Seconds are shared equally.
    Networks with BatchNorm or dropout are not supported. Raises CourseError for sets of different sizes.
    """
    if len({len(images) for images in sets}) != 1:
        raise CourseError(
            "Networks that are trained together need as many images each: draw the same number of labels."
        )
    stack = _Stack(models, validation)
    adam = torch.optim.Adam(list(stack.weights.values()), rate, fused=True)
    stack.validate(0.0, 0, patience)
    steps = math.ceil(len(sets[0]) / batch_size)
    for epoch in range(epochs):
        started = time.monotonic()
        orders = [
            s.batches(batch_size, 1000 * seed + epoch) for s, seed in zip(sets, seeds, strict=True)
        ]
        for number, batch in enumerate(zip(*orders, strict=True)):
            adam.param_groups[0]["lr"] = rate * one_cycle((epoch + number / steps) / epochs)
            images, labels = (torch.stack(part) for part in zip(*batch, strict=True))
            adam.zero_grad()
            stack.loss(images, labels).sum().backward()
            adam.step()
        if stack.validate((time.monotonic() - started) / len(models), steps, patience):
            break
    return stack.finish(models)


class _Stack:
    """The weights of several networks as one tensor each, [networks, …], and the best of each so far."""

    def __init__(self, models: Sequence[nn.Module], validation: ImageSet) -> None:
        weights, self.buffers = stack_module_state(list(models))
        self.weights = {name: value.detach().requires_grad_() for name, value in weights.items()}
        self.best = {name: value.detach().clone() for name, value in self.weights.items()}
        base = copy.deepcopy(models[0]).to("meta")

        def call(weights: dict[str, Tensor], buffers: dict[str, Tensor], images: Tensor) -> Tensor:
            return functional_call(base, (weights, buffers), (images,))

        self.each, self.same = torch.vmap(call), torch.vmap(call, (0, 0, None))
        self.images, self.labels = validation.images / 255, validation.labels
        self.accuracy = torch.full((len(models),), -1.0)
        self.lowest, self.waited = (
            torch.full_like(self.accuracy, math.inf),
            torch.zeros(len(models)),
        )
        self.histories = [History() for _ in models]

    def loss(self, images: Tensor, labels: Tensor) -> Tensor:
        """Mean cross-entropy of each network on its own images, in nats [networks]."""
        logits = self.each(self.weights, self.buffers, images)
        return F.cross_entropy(logits.transpose(1, 2), labels, reduction="none").mean(1)

    @torch.no_grad()
    def validate(self, seconds: float, steps: int, patience: int) -> bool:
        """Looks at validation, keeps what is better, adds a row to each history; whether all have stopped."""
        logits = self.same(self.weights, self.buffers, self.images)
        labels = self.labels.expand(len(logits), -1)
        loss = F.cross_entropy(logits.transpose(1, 2), labels, reduction="none").mean(1).cpu()
        accuracy = (logits.argmax(2) == labels).float().mean(1).cpu()
        running = self.waited < patience
        better = running & (
            (accuracy > self.accuracy) | (accuracy == self.accuracy) & (loss < self.lowest)
        )
        self.accuracy[better], self.lowest[better] = accuracy[better], loss[better]
        self.waited = torch.where(better, 0, self.waited + running)
        for name, value in self.weights.items():
            self.best[name][better] = value.detach()[better]
        for number, history in enumerate(self.histories):
            if running[number] and steps:
                row = {"epoch": len(history) + 1, "steps": steps, "seconds": seconds}
                row |= {
                    "validation_accuracy": accuracy[number].item(),
                    "validation_loss": loss[number].item(),
                }
                history.rows.append(row)
        return bool((self.waited >= patience).all())

    def finish(self, models: Sequence[nn.Module]) -> list[History]:
        """Puts the best weights into the networks."""
        for number, model in enumerate(models):
            model.load_state_dict(
                {name: value[number] for name, value in self.best.items()}, strict=False
            )
            model.eval()
        return self.histories
