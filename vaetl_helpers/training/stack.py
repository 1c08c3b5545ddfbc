"""The weights of several small networks of one shape, stacked, and steps that train them all."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state
from torch.nn import functional as F

from vaetl_helpers.data.images import Batch, ImageSet
from vaetl_helpers.training.adam import StackedAdam
from vaetl_helpers.training.linear import (
    Layer,
    Weights,
    linear_layers,
    outputs,
    set_gradients,
    transposed,
)

ALIGNMENT = 16  # numbers in 64 bytes: rows of a multiple of that multiply fastest


class NetworkStack:
    """Networks of one shape, each with training images of its own; Adam trains them all at once.

    Every operation is done for all networks by `torch.vmap`. Adam works by element, so the networks
    stay independent.
    """

    def __init__(
        self, models: Sequence[nn.Module], sets: Sequence[ImageSet], validation: ImageSet
    ) -> None:
        weights, self.buffers = stack_module_state(list(models))
        self.weights = {name: value.detach() for name, value in weights.items()}
        self.network = copy.deepcopy(models[0]).to("meta")  # the operations without the weights
        self.images = torch.stack([images.images for images in sets]) / 255
        self.labels = torch.stack([images.labels for images in sets])
        self.validation_images = validation.images / 255
        self.validation_labels = validation.labels
        self._prepare()
        self.adam = StackedAdam(list(self.weights.values()))

    def _prepare(self) -> None:
        for weight in self.weights.values():
            weight.requires_grad_()

    def __len__(self) -> int:
        return len(self.images)

    def batches(self, orders: Tensor, size: int) -> list[Batch]:
        """Each network's images in its own of the `orders` [networks, images], cut into batches.

        A batch is images in [0, 1] [networks, batch, …] and labels [networks, batch, …].
        """
        networks, count = orders.shape
        first_rows = torch.arange(0, networks * count, count, device=orders.device)
        rows = (orders + first_rows[:, None]).flatten()
        parts = []
        for values in (self.images, self.labels):
            # Whole rows at a time, which is faster than values[network, rows].
            ordered = values.flatten(0, 1).index_select(0, rows).view_as(values)
            parts.append(ordered.split(size, 1))
        return list(zip(*parts, strict=True))

    def step(self, images: Tensor, labels: Tensor, rate: float) -> None:
        """A step of each network on its own batch."""
        self.adam.step(self._gradients(images, labels), rate)

    def _gradients(self, images: Tensor, labels: Tensor) -> Sequence[Tensor]:
        """The gradients of each network's mean cross-entropy on its own batch, by weight."""
        logits_of_each = torch.vmap(self._logits_of_one)
        logits = logits_of_each(self.weights, self.buffers, images)
        loss = mean_cross_entropy(logits, labels).sum()
        gradients = torch.autograd.grad(loss, list(self.weights.values()))
        return [gradient.contiguous() for gradient in gradients]  # as the weights are

    @torch.no_grad()
    def training_losses(self) -> Tensor:
        """Mean cross-entropy of each network on its own training images, in nats [networks]."""
        logits_of_each = torch.vmap(self._logits_of_one)
        logits = logits_of_each(self.weights, self.buffers, self.images)
        return mean_cross_entropy(logits, self.labels).cpu()

    @torch.no_grad()
    def validate(self) -> tuple[Tensor, Tensor]:
        """Accuracy and mean cross-entropy in nats on validation, both [networks], on the CPU."""
        logits = self._validation_logits()
        labels = self.validation_labels.expand(len(logits), -1)
        accuracy = (logits.argmax(2) == labels).float().mean(1)
        measured = torch.stack([accuracy, mean_cross_entropy(logits, labels)])
        accuracy, loss = measured.cpu()
        return accuracy, loss

    def _validation_logits(self) -> Tensor:
        """Logits of all networks on the same images, [networks, images, classes]."""
        logits_of_same = torch.vmap(self._logits_of_one, (0, 0, None))
        logits: Tensor = logits_of_same(self.weights, self.buffers, self.validation_images)
        return logits

    def _logits_of_one(self, weights: Weights, buffers: Weights, images: Tensor) -> Tensor:
        logits: Tensor = functional_call(self.network, (weights, buffers), (images,))
        return logits

    def keep(self, numbers: Tensor) -> None:
        """Keeps the networks of these numbers, and trains the others no more."""
        numbers = numbers.to(self.images.device)
        for weight in self.weights.values():
            weight.data = weight.data[numbers]
        self.adam.keep(numbers)
        self.buffers = {name: value[numbers] for name, value in self.buffers.items()}
        self.images = self.images[numbers]
        self.labels = self.labels[numbers]

    def of_networks(self, weights: Weights) -> Weights:
        """Weights of all networks at the start, named and shaped as in the networks."""
        return weights


class LinearStack(NetworkStack):
    """The same for networks of linear layers and ReLUs, several times faster.

    A pixel that is 0 in all training images of a network gives its weights in the first layer
    gradients of 0, and Adam leaves them as they are: so they are left out, and what they
    contribute to validation is computed once.
    """

    layers: list[Layer]
    pixels: Tensor  # of each network first those that it sees, [networks, pixels]
    trained: int  # how many of them are trained
    gradients: Weights

    def _prepare(self) -> None:
        self.layers = linear_layers(self.network)
        self.weights = transposed(self.weights, self.layers)
        classes = self.weights[self.layers[-1].bias].shape[1]
        self.labels = F.one_hot(self.labels, classes).float()
        self._leave_out_pixels()
        self._make_gradients()

    def _leave_out_pixels(self) -> None:
        images = self.images.flatten(2)
        is_seen = images.any(1)
        self.pixels = is_seen.int().argsort(dim=1, descending=True, stable=True)
        most = int(is_seen.sum(1).max())
        self.trained = min(images.shape[2], math.ceil(most / ALIGNMENT) * ALIGNMENT)
        trained, others = self.pixels.tensor_split([self.trained], 1)
        first = self.layers[0].weight
        self.first_weight = self.weights[first]
        self.weights[first] = _rows(self.first_weight, trained)
        self.images = _columns(images, trained)
        validation_images = self.validation_images.flatten(1).expand(len(self), -1, -1)
        self.validation_images = _columns(validation_images, trained)
        other_images = _columns(validation_images, others)
        self.constant = torch.bmm(other_images, _rows(self.first_weight, others))

    def _make_gradients(self) -> None:
        self.gradients = {name: torch.empty_like(value) for name, value in self.weights.items()}

    @torch.no_grad()
    def _gradients(self, images: Tensor, labels: Tensor) -> Sequence[Tensor]:
        values = outputs(self.layers, self.weights, images)
        error = (F.softmax(values[-1], 2) - labels).div_(labels.shape[1])
        set_gradients(self.layers, self.weights, values, error, self.gradients)
        return list(self.gradients.values())

    @torch.no_grad()
    def training_losses(self) -> Tensor:
        logits = outputs(self.layers, self.weights, self.images)[-1]
        by_image = -(F.log_softmax(logits, 2) * self.labels).sum(2)
        return by_image.mean(1).cpu()

    def _validation_logits(self) -> Tensor:
        hidden = self.validation_images
        for number, layer in enumerate(self.layers):
            # Adding afterwards is faster than baddbmm, for as many images.
            hidden = torch.bmm(hidden, self.weights[layer.weight])
            hidden += self.weights[layer.bias][:, None]
            if number == 0:
                hidden += self.constant
            if layer.has_relu:
                hidden.relu_()
        return hidden

    def keep(self, numbers: Tensor) -> None:
        super().keep(numbers)
        self.validation_images = self.validation_images[numbers]
        self.constant = self.constant[numbers]
        self._make_gradients()

    def of_networks(self, weights: Weights) -> Weights:
        first = self.layers[0].weight
        rows = self.pixels[:, : self.trained, None].expand_as(weights[first])
        whole = weights | {first: self.first_weight.scatter(1, rows, weights[first])}
        return transposed(whole, self.layers)


def _columns(images: Tensor, pixels: Tensor) -> Tensor:
    """Of images [networks, images, pixels] the `pixels` [networks, some] of each network."""
    parts = [of_one.index_select(1, some) for of_one, some in zip(images, pixels, strict=True)]
    return torch.stack(parts)


def _rows(weight: Tensor, pixels: Tensor) -> Tensor:
    """Of a weight [networks, pixels, outputs] the `pixels` [networks, some] of each network."""
    parts = [of_one.index_select(0, some) for of_one, some in zip(weight, pixels, strict=True)]
    return torch.stack(parts)


def mean_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Of logits [networks, images, classes], in nats [networks]."""
    by_image = F.cross_entropy(logits.transpose(1, 2), labels, reduction="none")
    return by_image.mean(1)
