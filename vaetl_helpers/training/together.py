"""Training many small networks of the same architecture at once."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vaetl_helpers.data.images import ImageSet, shuffled
from vaetl_helpers.errors import CourseError
from vaetl_helpers.seeds import whole_number, whole_seed
from vaetl_helpers.training.evaluation import History, Row
from vaetl_helpers.training.inputs import (
    check_images,
    check_independent_of_the_batch,
    check_network,
)
from vaetl_helpers.training.linear import linear_layers
from vaetl_helpers.training.schedules import Step, one_cycle, seed_of_epoch
from vaetl_helpers.training.stack import LinearStack, NetworkStack


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
    with_training_loss: bool = False,
) -> list[History]:
    """`fit_best` for several networks of one shape at once, each on its own images; in place.

    Their weights are stacked and every operation is done for all of them, which for small networks
    is several times faster than one after the other. Adam works by element, so the networks stay
    independent: each ends as it would alone (a test holds it against `fit_best`), with early
    stopping of its own, after which the others go on without it. Those that train in an epoch share
    its seconds equally. `with_training_loss` adds to each row the `training_loss` after the epoch,
    in nats per image. Networks with BatchNorm or dropout are refused. Raises CourseError for
    these, and for sets of different sizes.
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
    batch_size = whole_number(batch_size, "batch_size", 1, example="128")
    kind = LinearStack if linear_layers(models[0]) else NetworkStack
    stack = kind(models, sets, validation)
    best = BestOfEach(stack, patience)
    for epoch in range(epochs):
        started = time.monotonic()
        seeds_of_epoch = [seed_of_epoch(seeds[number], epoch) for number in best.running]
        orders = torch.stack([shuffled(len(sets[0]), seed) for seed in seeds_of_epoch])
        batches = stack.batches(orders.to(sets[0].device), batch_size)
        for step, batch in enumerate(batches):
            progress = Step(epoch, epochs, step, len(batches)).progress_by_epoch()
            stack.step(*batch, rate * one_cycle(progress))
        seconds = (time.monotonic() - started) / len(stack)
        losses = stack.training_losses().tolist() if with_training_loss else []
        best.look(stack, len(batches), seconds, losses)
        if not best.running:
            break
    best.give_to(models, stack)
    return best.histories


class BestOfEach:
    """The best weights of each network of a stack on validation, and early stopping of each."""

    def __init__(self, stack: NetworkStack, patience: int) -> None:
        self.patience = patience
        self.weights = {name: value.detach().clone() for name, value in stack.weights.items()}
        accuracy, loss = stack.validate()
        self.scores = _scores(accuracy, loss)
        self.running = list(range(len(stack)))  # the networks that are still in the stack
        self.epochs_without_better = [0] * len(stack)
        self.histories = [History() for _ in range(len(stack))]

    def look(
        self, stack: NetworkStack, steps: int, seconds: float, training_losses: Sequence[float]
    ) -> None:
        """After an epoch: notes what validation says, and keeps the weights that are better.

        Networks that were not better for long enough leave the stack.
        """
        accuracy, loss = stack.validate()
        scores = _scores(accuracy, loss)
        for row, number in enumerate(self.running):
            history = self.histories[number]
            line: Row = {"epoch": len(history) + 1, "steps": steps, "seconds": seconds}
            line["validation_accuracy"] = accuracy[row].item()
            line["validation_loss"] = loss[row].item()
            if training_losses:
                line["training_loss"] = training_losses[row]
            history.rows.append(line)
            self.epochs_without_better[number] += 1
            if scores[row] > self.scores[number]:
                self.scores[number] = scores[row]
                self.epochs_without_better[number] = 0
                for name, value in stack.weights.items():
                    self.weights[name][number].copy_(value[row].detach())
        self._let_go(stack)

    def _let_go(self, stack: NetworkStack) -> None:
        rows = [
            row
            for row, number in enumerate(self.running)
            if self.epochs_without_better[number] < self.patience
        ]
        if len(rows) < len(self.running):
            self.running = [self.running[row] for row in rows]
            stack.keep(torch.tensor(rows, dtype=torch.long))

    def give_to(self, models: Sequence[nn.Module], stack: NetworkStack) -> None:
        """Puts the best weights into the networks, which are then in eval mode."""
        weights = stack.of_networks(self.weights)
        for number, model in enumerate(models):
            of_model = {name: value[number] for name, value in weights.items()}
            model.load_state_dict(of_model, strict=False)
            model.eval()


def _scores(accuracy: Tensor, loss: Tensor) -> list[tuple[float, float]]:
    """What is compared: the accuracy, and among equals the loss."""
    losses = torch.where(loss.isnan(), math.inf, loss)
    return list(zip(accuracy.tolist(), (-losses).tolist(), strict=True))
