"""Small fully connected networks as text for a script: eight bits a weight, deflated, in base64.

`network` in js/common.js unpacks and runs them.
"""

from __future__ import annotations

import base64
import copy
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from vaetl_helpers import nets
from vaetl_helpers.errors import CourseError

LEVELS = 127  # whole numbers from −127 to 127
FEW = 2000  # matrices of no more numbers stay in 32 bits: they weigh little and matter much
Matrix = Float[Tensor, "rows columns"]


def packed(network: nn.Module) -> dict[str, Any]:
    """A network of linear layers, activations and `nets.Skip`, as JSON of which nothing is lost
    but the rounding of its weights.

    Raises CourseError for a layer of another kind.
    """
    layers = []
    whole: list[np.ndarray] = []
    real: list[np.ndarray] = []
    for linear, activation, skip in _layers(network):
        weight = linear.weight.detach().cpu().float()
        is_rounded = weight.numel() > FEW
        rows, columns = weight.shape
        layers.append(
            {
                "rows": rows,
                "columns": columns,
                "activation": activation,
                "skip": skip,
                "rounded": is_rounded,
            }
        )
        if is_rounded:
            numbers, scales = rounded(weight)
            whole.append(numbers.numpy().ravel())
            real.append(scales.numpy().ravel())
        else:
            real.append(weight.numpy().ravel())
        real.append(linear.bias.detach().cpu().float().numpy())
    return {"layers": layers, "int8": _text(whole, "i1"), "float32": _text(real, "<f4")}


def rounded(weight: Matrix) -> tuple[Tensor, Matrix]:
    """Whole numbers in [−127, 127] and the scale of each row, whose product is near the weight."""
    largest = weight.abs().amax(1, keepdim=True)
    scales = torch.where(largest > 0, largest / LEVELS, 1.0)
    return (weight / scales).round().to(torch.int8), scales


def with_rounded_weights(network: nn.Module) -> nn.Module:
    """A copy that computes what the packed network does: to say what the rounding costs."""
    result = copy.deepcopy(network)
    with torch.no_grad():
        for linear, _, _ in _layers(result):
            if linear.weight.numel() > FEW:
                numbers, scales = rounded(linear.weight)
                linear.weight.copy_(numbers * scales)
    return result


def _layers(network: nn.Module) -> list[tuple[nn.Linear, str, bool]]:
    """Each linear layer with the name of the activation behind it, and whether it adds to its
    input.
    """
    found: list[tuple[nn.Linear, str, bool]] = []
    for module in network.children():
        if isinstance(module, nets.Skip):
            [(linear, activation, _)] = _layers(module)
            found.append((linear, activation, True))
        elif isinstance(module, nn.Sequential):
            found += _layers(module)
        elif isinstance(module, nn.Linear):
            found.append((module, "none", False))
        elif not isinstance(module, nn.Flatten | nn.Unflatten):
            linear, _, skip = found[-1]
            found[-1] = (linear, _activation_name(module), skip)
    return found


def _activation_name(module: nn.Module) -> str:
    name = type(module).__name__
    if name in ("ReLU", "GELU"):
        return name
    raise CourseError(
        f"A living figure cannot compute {name}: it knows linear layers, ReLU and GELU."
    )


def _text(arrays: Sequence[np.ndarray], kind: str) -> str:
    """Numbers, one array after the other, as deflated base64."""
    content = b"".join(array.astype(kind).tobytes() for array in arrays)
    return base64.b64encode(zlib.compress(content, 9)).decode()


def whole_numbers(values: np.ndarray, reach: float) -> str:
    """Values in [−reach, reach] as eight bits each, in base64; what lies outside is put on the
    edge.
    """
    steps = np.rint(values / reach * LEVELS).clip(-LEVELS, LEVELS)
    return base64.b64encode(steps.astype("i1").tobytes()).decode()
