"""The floating-point operations of a training step, counted operation by operation.

A multiplication with its addition counts as two. PyTorch's counter (2.15) takes the gradient of a
grouped convolution's weights `groups` times too high, and does not know recurrent layers, distances
and products with vectors: their formulas stand here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from vaetl_helpers.errors import CourseError
from vaetl_helpers.training.evaluation import (
    LossFunction,
    classification_loss,
    loss_and_monitored,
)

Shape = Sequence[int]
Formula = Callable[..., int]
aten = torch.ops.aten
# Names of operations that are not small beside matrix products.
LARGE = re.compile(
    r"conv(?!ert)|mm$|rnn|lstm|gru|attention|transformer|trilinear|[cp]dist|fft|linalg"
    r"|cholesky|triangular_solve"
)
SMALL = re.compile(r"linalg.*norm|check_errors")


def count_flops(
    model: nn.Module, images: Tensor, labels: Tensor, loss_fn: LossFunction = classification_loss
) -> int:
    """FLOPs of one training step on this batch: forward and backward, without the optimiser.

    It counts matrix products, convolutions (grouped and depthwise ones as well), attention,
    recurrent layers and distances, two FLOPs a multiplication with its addition. Operations on
    single elements, as of activations and normalisation, are left out. Raises CourseError for an
    operation that is neither counted nor small, with the layer it is in.
    """
    from torch.utils.flop_counter import FlopCounterMode  # slow to import

    twin = deepcopy(model)  # the model keeps its gradients and its BatchNorm statistics
    counter = FlopCounterMode(display=False, custom_mapping=FORMULAS)
    uncounted = UncountedOperations(twin, set(counter.flop_registry))
    with _slow_path(), uncounted, counter:
        loss, _ = loss_and_monitored(loss_fn(twin, images, labels))
        if loss.requires_grad:
            loss.backward()
    if uncounted.places:
        operation, layer = next(iter(uncounted.places.items()))
        raise CourseError(
            f"The FLOPs of {operation} in {layer} cannot be counted: count the rest without this "
            "layer, and its own by hand."
        )
    return int(counter.get_total_flops())


class UncountedOperations(TorchDispatchMode):
    """Notes large operations for which there is no formula, and the layer that calls them."""

    def __init__(self, model: nn.Module, counted: set[Any]) -> None:
        super().__init__()
        self.counted = counted
        self.places: dict[str, str] = {}
        self.layer = "the loss"
        for name, layer in model.named_modules():
            word = f"layer {name} ({type(layer).__name__})" if name else "the network"
            layer.register_forward_pre_hook(lambda *_, word=word: self._enter(word))

    def _enter(self, word: str) -> None:
        self.layer = word

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        operation = func._overloadpacket
        name = str(operation).split(".")[-1]
        is_large = LARGE.search(name) and not SMALL.search(name)
        if is_large and operation not in self.counted:
            self.places.setdefault(str(operation), self.layer)
        return func(*args, **(kwargs or {}))


@contextmanager
def _slow_path() -> Iterator[None]:
    """Without the transformer's fast path, which is one operation that tells nothing."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


# ---------------------------------------------------------------- formulas, of shapes


def _convolution_backward(  # noqa: PLR0913  (the operation's own arguments)
    gradient: Shape,
    x: Shape,
    weight: Shape,
    _bias: Any,
    _stride: Any,
    _padding: Any,
    _dilation: Any,
    transposed: bool,
    _output_padding: Any,
    _groups: int,
    output_mask: Sequence[bool],
    **_: Any,
) -> int:
    """As many as forward for the gradient of the input, and as many for that of the weights."""
    places = x[2:] if transposed else gradient[2:]
    forward = 2 * x[0] * math.prod(weight) * math.prod(places)
    return forward * sum(output_mask[:2])


def _mkldnn_layer(x: Shape, to_input: Shape, to_hidden: Shape, *_: Any, **__: Any) -> int:
    weights = math.prod(to_input) + math.prod(to_hidden)
    return 2 * math.prod(x[:-1]) * weights


def _cudnn_layers(x: Shape, weights: Sequence[Shape], *_: Any, **__: Any) -> int:
    matrices = [math.prod(weight) for weight in weights if len(weight) == 2]
    return 2 * math.prod(x[:-1]) * sum(matrices)


def _twice(formula: Formula) -> Formula:
    """Backward: the gradients of the input and of the weights."""
    return lambda *shapes, **named: 2 * formula(*shapes, **named)


def _distances(x1: Shape, x2: Shape, *_: Any, **__: Any) -> int:
    return 2 * math.prod(x1) * x2[-2]


def _distances_backward(_gradient: Shape, x1: Shape, x2: Shape, *_: Any, **__: Any) -> int:
    return _distances(x1, x2)


def _distances_of_pairs(x: Shape, *_: Any, **__: Any) -> int:
    """Each row with each later one."""
    return x[0] * (x[0] - 1) * x[1]


def _distances_of_pairs_backward(_gradient: Shape, x: Shape, *_: Any, **__: Any) -> int:
    return _distances_of_pairs(x)


def _matrix_vector(matrix: Shape, _vector: Shape, **_: Any) -> int:
    return 2 * math.prod(matrix)


def _sum_and_product(_sum: Shape, first: Shape, second: Shape, **named: Any) -> int:
    return 2 * math.prod(first) * (second[-1] if len(second) > 1 else 1)


FORMULAS: dict[Any, Formula] = {
    aten.convolution_backward: _convolution_backward,
    aten.mkldnn_rnn_layer: _mkldnn_layer,
    aten.mkldnn_rnn_layer_backward: _twice(_mkldnn_layer),
    aten._cudnn_rnn: _cudnn_layers,
    aten._cudnn_rnn_backward: _twice(_cudnn_layers),
    aten.miopen_rnn: _cudnn_layers,
    aten.miopen_rnn_backward: _twice(_cudnn_layers),
    aten._cdist_forward: _distances,
    aten._euclidean_dist: _distances,
    aten._cdist_backward: _distances_backward,
    aten._pdist_forward: _distances_of_pairs,
    aten._pdist_backward: _distances_of_pairs_backward,
    aten.mv: _matrix_vector,
    aten.dot: _matrix_vector,
    aten.vdot: _matrix_vector,
    aten.addmv: _sum_and_product,
    aten.addbmm: _sum_and_product,
}
