"""The forms in which an answer may come, and the one in which it is judged and handed on.

A form takes a result and the arguments that led to it. It returns the result itself where it is
right already or cannot be read, so that a judge can say what it is. Applied twice, a form does no
more than once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from decimal import Decimal
from functools import partial
from itertools import islice
from numbers import Real
from typing import Any

import numpy as np
import torch
from torch import Tensor

Form = Callable[[Any, Sequence[Any]], Any]

MOST_ITEMS = 100_000  # of a result without end
# Of an optimiser's parameters: PyTorch refuses a set, which has no order.
KEPT_AS_THEY_ARE = (list, tuple, str, set, frozenset)
NO_SEQUENCE = (str, bytes, Mapping, Set, Tensor)


def as_it_is(result: Any, arguments: Sequence[Any] = ()) -> Any:
    """The form of results that nothing is asked of."""
    return result


def formed(function: Callable[..., Any], form: Form) -> Callable[..., Any]:
    """The function, with results in this form."""
    if form is as_it_is:
        return function

    def answer(*args: Any, **kwargs: Any) -> Any:
        result = function(*args, **kwargs)
        return form(result, (*args, *kwargs.values()))

    return answer


def items(result: Any) -> Sequence[Any] | None:
    """What a sequence, an array, a column of a table or a generator holds; else None."""
    if isinstance(result, NO_SEQUENCE):
        return None
    if isinstance(result, (list, tuple)):
        return result
    if hasattr(result, "__array__"):
        array = np.asarray(result)
        return list(array) if array.ndim else None
    if isinstance(result, Iterable):
        return list(islice(result, MOST_ITEMS))
    return None


# Numbers.


def number(result: Any, arguments: Sequence[Any] = ()) -> Any:
    """A number of Python's or a tensor; other kinds of numbers become Python's."""
    if isinstance(result, (Tensor, int, float, str)):
        return result
    if hasattr(result, "__array__") and np.ndim(result) == 0:
        scalar = _known_to_torch(np.asarray(result)).item()
        return scalar if isinstance(scalar, (int, float)) else result
    if isinstance(result, (Real, Decimal)):
        return float(result)
    return result


def _known_to_torch(array: np.ndarray) -> np.ndarray:
    """The array, or its numbers with 64 bits where they are NumPy's long ones."""
    if array.dtype == np.longdouble:
        return array.astype(np.float64)
    return array


def numbers(result: Any, arguments: Sequence[Any] = ()) -> Any:
    """A list or a tuple of Python's numbers; a tensor with a graph stays as it is."""
    if isinstance(result, Tensor) and result.dim() == 1 and not result.requires_grad:
        return result.tolist()
    found = items(result)
    if found is None:
        return number(result)
    converted = [_single(item) for item in found]
    return _unless_equal(converted, result)


def _single(item: Any) -> Any:
    """One of the numbers: where it carries a graph, a judge may have to say so."""
    if isinstance(item, Tensor) and item.numel() == 1 and not item.requires_grad:
        return item.item()
    return number(item)


def _unless_equal(converted: list[Any], result: Any) -> Any:
    """The result itself, where it is a list or a tuple of these very objects."""
    if not isinstance(result, (list, tuple)):
        return converted
    is_same = all(new is old for new, old in zip(converted, result, strict=True))
    return result if is_same else converted


# Tensors.


def tensor(result: Any, arguments: Sequence[Any] = ()) -> Any:
    """A tensor of the type and on the device of the first float tensor among the arguments."""
    result = joined(result)
    if not isinstance(result, Tensor):
        return result
    if result.is_inference():
        result = result.clone()  # outside of inference mode it may be learned from
    if not result.is_floating_point():
        return result
    for argument in arguments:
        if isinstance(argument, Tensor) and argument.is_floating_point():
            return result.to(argument)
    return result.to(torch.get_default_dtype())


def joined(result: Any) -> Any:
    """Arrays, and sequences of numbers or of tensors of one shape, as one tensor.

    A tuple of tensors that have a shape is more than one result, and stays.
    """
    if isinstance(result, Tensor):
        return result
    if hasattr(result, "__array__"):
        array = _known_to_torch(np.asarray(result))
        if array.dtype.kind in "biufc":
            return torch.tensor(array)
    listed = items(result)
    if not listed:
        return result
    tensors = [_as_tensor(item) for item in listed]
    shapes = {getattr(entry, "shape", None) for entry in tensors}
    is_several = isinstance(result, tuple) and shapes != {torch.Size()}
    if None in shapes or len(shapes) > 1 or is_several:
        return result if isinstance(result, (list, tuple)) else listed
    return torch.stack(tensors)


def _as_tensor(item: Any) -> Any:
    value = number(item)
    if isinstance(value, (int, float)):
        return torch.tensor(value)
    return joined(value)


# Several results.


def pair(first: Form, second: Form) -> Form:
    """The form of a pair whose parts have these forms."""
    return partial(_pair, first, second)


def _pair(first: Form, second: Form, result: Any, arguments: Sequence[Any] = ()) -> Any:
    listed = items(result)
    if listed is None or len(listed) != 2:
        return result
    converted = [first(listed[0], arguments), second(listed[1], arguments)]
    return _unless_equal(converted, result)


def index_rows(result: Any, arguments: Sequence[Any] = ()) -> Any:
    """A list of vectors of whole numbers, each an int64 tensor."""
    found = list(result) if isinstance(result, Tensor) and result.dim() else items(result)
    if found is None:
        return result
    rows = [indices(row) for row in found]
    return _unless_equal(rows, result)


def indices(row: Any, arguments: Sequence[Any] = ()) -> Any:
    """A vector of whole numbers, as an int64 tensor."""
    values = joined(row)
    is_whole = isinstance(values, Tensor) and values.dtype in (
        torch.uint8,
        torch.int8,
        torch.int16,
        torch.int32,
        torch.int64,
    )
    return values.long() if is_whole else row


def groups(result: Any, arguments: Sequence[Any] = ()) -> Any:
    """A list of an optimiser's groups: dicts with a list of parameters and a rate."""
    found = items(result)
    if found is None:
        return result
    return _unless_equal([_group(group) for group in found], result)


def _group(group: Any) -> Any:
    if not isinstance(group, Mapping):
        return group
    parameters = group.get("params")
    if isinstance(parameters, Tensor):  # an optimiser takes a single one, too
        parameters = [parameters]
    elif isinstance(parameters, Iterable) and not isinstance(parameters, KEPT_AS_THEY_ARE):
        parameters = list(islice(parameters, MOST_ITEMS))
    rate = number(group.get("lr"))
    is_same = parameters is group.get("params") and rate is group.get("lr")
    if isinstance(group, dict) and is_same:
        return group
    given = {"params": parameters, "lr": rate}
    return dict(group) | {name: value for name, value in given.items() if name in group}


def batches(result: Any, arguments: Sequence[Any] = ()) -> Any:
    """Pairs of a float tensor and labels of the type that was given, one after the other."""
    if isinstance(result, (list, tuple)):
        return _unless_equal([_batch(batch, arguments) for batch in result], result)
    if isinstance(result, NO_SEQUENCE) or not isinstance(result, Iterable):
        return result
    return _one_by_one(result, arguments)


def _one_by_one(result: Iterable[Any], arguments: Sequence[Any]) -> Iterator[Any]:
    """Batches as they are asked for: all at once, a set might not fit into memory."""
    for batch in result:
        yield _batch(batch, arguments)


def _batch(batch: Any, arguments: Sequence[Any]) -> Any:
    listed = items(batch)
    if listed is None or len(listed) != 2:
        return batch
    images = tensor(listed[0], arguments)
    labels = joined(listed[1])
    labels_given = arguments[1]
    if isinstance(labels, Tensor) and not labels.is_floating_point():
        labels = labels.to(labels_given)
    return _unless_equal([images, labels], batch)


def state(result: Any, arguments: Sequence[Any] = ()) -> Any:
    """A dict, whatever kind of mapping it was."""
    if isinstance(result, Mapping) and not isinstance(result, dict):
        return dict(result)
    return result


def word(result: Any, arguments: Sequence[Any] = ()) -> Any:
    """A text without what makes it a subclass of str, such as numpy's or an enumeration's."""
    return "".join(result) if isinstance(result, str) and type(result) is not str else result
