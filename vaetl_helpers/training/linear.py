"""Linear layers and ReLUs of several networks at once: what they give, and their gradients.

Weights are stacked as [networks, inputs, outputs], which costs the products of few images least.
Gradients are written by hand into tensors that stay: new ones of that size cost as much as the
arithmetic.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

Weights = dict[str, Tensor]  # by name, [networks, …]


class Layer(NamedTuple):
    """A linear layer: the names of its weights, and whether a ReLU follows."""

    weight: str
    bias: str
    has_relu: bool


def linear_layers(model: nn.Module, name: str = "", flattens: bool = True) -> list[Layer]:
    """The layers of a network that flattens images, and is linear layers and ReLUs from there.

    The list is empty for every other network. `name` is that of the network in a larger one. With
    `flattens` False, its inputs are rows of numbers.
    """
    prefix = f"{name}." if name else ""
    names = {module: prefix + path for path, module in model.named_modules()}
    parts = _parts(model)
    if flattens:
        first = parts.pop(0) if parts else None
        if type(first) is not nn.Flatten or first.start_dim != 1 or first.end_dim != -1:
            return []
    layers: list[Layer] = []
    for part in parts:
        if type(part) is nn.ReLU and layers:
            layers[-1] = layers[-1]._replace(has_relu=True)
        elif type(part) is nn.Linear and part.bias is not None:
            layers.append(Layer(f"{names[part]}.weight", f"{names[part]}.bias", has_relu=False))
        else:
            return []
    is_one_used_twice = len({layer.weight for layer in layers}) < len(layers)
    return [] if is_one_used_twice else layers


def _parts(model: nn.Module) -> list[nn.Module]:
    """The layers of a network in the order in which they are used, as far as that is known."""
    if type(model) is not nn.Sequential:
        return [model]
    return [part for module in model for part in _parts(module)]


def transposed(weights: Weights, layers: Iterable[Layer]) -> Weights:
    """The weights with those of the layers as [networks, inputs, outputs], or back."""
    turned = {layer.weight: weights[layer.weight].transpose(1, 2) for layer in layers}
    return weights | {name: weight.contiguous() for name, weight in turned.items()}


def outputs(layers: Sequence[Layer], weights: Weights, inputs: Tensor) -> list[Tensor]:
    """The inputs [networks, batch, numbers] and what each layer makes of them, one by one."""
    values = [inputs]
    for layer in layers:
        output = torch.baddbmm(weights[layer.bias][:, None], values[-1], weights[layer.weight])
        values.append(output.relu_() if layer.has_relu else output)
    return values


def set_gradients(
    layers: Sequence[Layer],
    weights: Weights,
    values: Sequence[Tensor],
    error: Tensor,
    gradients: Weights,
) -> Tensor:
    """Fills the `gradients` of the layers' weights; returns the gradient by what the first gives.

    `values` are those of `outputs`, and `error` is the gradient by the last of them, which changes.
    """
    for number in reversed(range(len(layers))):
        layer = layers[number]
        if layer.has_relu:
            error *= values[number + 1].sign()  # 1 where the ReLU let a number through
        torch.bmm(values[number].transpose(1, 2), error, out=gradients[layer.weight])
        torch.sum(error, 1, out=gradients[layer.bias])
        if number:
            error = by_inputs(layer, weights, error)
    return error


def by_inputs(layer: Layer, weights: Weights, error: Tensor) -> Tensor:
    """The gradient by a layer's inputs, of the gradient by what it gives before its ReLU."""
    return torch.bmm(error, weights[layer.weight].transpose(1, 2))
