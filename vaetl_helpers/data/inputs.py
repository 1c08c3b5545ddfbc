"""What people hand over for a list or a tensor: arrays, columns of a data frame, pictures."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vaetl_helpers.data.pictures import read_pictures
from vaetl_helpers.errors import CourseError, unknown_name_error

# Whole numbers with which PyTorch computes nothing.
WITHOUT_SUMS = (torch.uint16, torch.uint32, torch.uint64)


def as_list(values: Any, name: str, example: str) -> list[Any]:
    """What an iterable yields, by position; a column's index counts for nothing.

    Raises CourseError, which names the argument and shows an `example`, for one text, a mapping, a
    set (which has no order), a table, and what is no iterable.
    """
    is_table = getattr(values, "ndim", 1) != 1
    if isinstance(values, str | bytes | Mapping | set | frozenset) or is_table:
        raise _list_error(values, name, example)
    if isinstance(values, Tensor | np.ndarray):
        plain: list[Any] = values.tolist()
        return plain
    if not isinstance(values, Iterable):
        raise _list_error(values, name, example)
    return list(values)


def _list_error(values: Any, name: str, example: str) -> CourseError:
    return CourseError(f"{name} must be a list such as {example}, not {_described(values)}.")


def _described(values: Any) -> str:
    """A value in few words: its text, or what it is."""
    if isinstance(values, str | bytes | int | float | None):
        return f"the {type(values).__name__} {str(values)[:40]!r}"
    shape = getattr(values, "shape", None)
    if shape is not None:
        return f"a {type(values).__name__} of shape {list(shape)}"
    return f"a {type(values).__name__}"


def as_texts(values: Any, name: str, example: str) -> list[str]:
    """A list of texts; raises CourseError, which says where, for None, nan and other values."""
    texts = as_list(values, name, example)
    for position, text in enumerate(texts):
        if not isinstance(text, str):
            raise CourseError(
                f"{name} must hold texts alone, but number {position} is {_described(text)}: "
                "leave it out, or turn it into a text."
            )
    return [str(text) for text in texts]


def as_names(values: Any, name: str) -> tuple[str, ...]:
    """The names of classes, each once; raises CourseError for anything else."""
    names = tuple(map(str, as_list(values, name, '("cat", "dog")')))
    if not names or len(set(names)) < len(names):
        raise CourseError(
            f"{name} must name at least one class, and each once, not {list(names)}: give every "
            "class a name of its own."
        )
    return names


# ---------------------------------------------------------------- tensors


def as_tensor(values: Any, name: str) -> Tensor:
    """A tensor of an array, of a list of tensors, arrays or pictures, or of a column, by position.

    Pictures of Pillow become uint8 [n, channels, height, width]. Raises CourseError, which names
    the argument, where no tensor can be made of it.
    """
    if isinstance(values, Tensor):
        return values.detach().as_subclass(Tensor)
    elements = _parts_of(values)
    if any(map(np.ma.is_masked, elements or [values])):
        raise CourseError(
            f"{name} has masked values, which are none: fill them first, as values.filled(0) does."
        )
    try:
        if elements and all(map(_is_picture, elements)):
            return _tensor_of(read_pictures(elements, name))
        if any(isinstance(element, Tensor) for element in elements):
            return torch.stack([torch.as_tensor(element).detach() for element in elements])
        return _tensor_of(np.asarray(elements or values))
    except (TypeError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise CourseError(
            f"{name} cannot be made into one tensor ({reason}): hand over a tensor, an array, or a "
            "list of equal ones."
        ) from error


def _parts_of(values: Any) -> list[Any]:
    """The parts of a list, of a generator or of an array of objects; none of other values."""
    dtype = getattr(values, "dtype", None)
    if dtype is not None or hasattr(values, "columns"):
        is_row_of_objects = str(dtype) == "object" and getattr(values, "ndim", 0) == 1
        return list(values) if is_row_of_objects else []
    if isinstance(values, Iterable) and not isinstance(
        values, str | bytes | Mapping | set | frozenset
    ):
        return [] if _is_picture(values) else list(values)
    return []


def _tensor_of(array: np.ndarray) -> Tensor:
    """Of an array in any order of bytes and with negative strides, which PyTorch does not take."""
    native = array.dtype.newbyteorder("=")
    return torch.from_numpy(np.array(array, dtype=native, order="C"))


def _is_picture(value: Any) -> bool:
    """Whether a value is a picture of Pillow, without importing it."""
    pillow = sys.modules.get("PIL.Image")
    return pillow is not None and isinstance(value, pillow.Image)


def as_labels(values: Any, classes: tuple[str, ...], name: str) -> Tensor:
    """Class numbers as they are, and names of classes as their numbers: [n].

    Raises CourseError for a name that is none of `classes`.
    """
    if isinstance(values, Tensor):
        numbers_given = as_tensor(values, name)
        return numbers_given.long() if values.dtype in WITHOUT_SUMS else numbers_given
    if getattr(values, "ndim", 1) != 1:
        return as_tensor(values, name)
    elements = as_list(values, name, "[0, 1, 1]")
    if not any(isinstance(element, str) for element in elements):
        return as_tensor(elements, name)
    numbers = {class_name: number for number, class_name in enumerate(classes)}
    for element in elements:
        if element not in numbers:
            raise unknown_name_error("class", element, classes)
    return torch.tensor([numbers[element] for element in elements])


def as_rows(indices: Any, count: int, name: str = "indices") -> Tensor:
    """Row numbers [k] of a set of `count`, of numbers or of a mask [count].

    Raises CourseError for other values, and for numbers outside the set.
    """
    rows = as_tensor(indices, name)
    if rows.dtype == torch.bool and rows.shape == (count,):
        return rows.nonzero().flatten()
    if rows.numel() == 0:
        return rows.long().flatten()
    if rows.dim() != 1 or rows.dtype == torch.bool or rows.is_floating_point():
        raise rows_error(count, name)
    rows = rows.long()
    if rows.min() < -count or rows.max() >= count:
        raise rows_error(count, name)
    return rows % count


def rows_error(count: int, name: str = "indices") -> CourseError:
    """The error for what names no rows of a set of `count`."""
    return CourseError(
        f"The {name} must be whole numbers from 0 to {count - 1} in one dimension, or a mask of "
        f"{count} booleans: check where they come from."
    )
