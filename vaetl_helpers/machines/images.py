"""The images of a measurement: how long they take depends on how many, not on which."""

from __future__ import annotations

import contextlib
import io

import torch

from vaetl_helpers.data.images import ImageSet
from vaetl_helpers.data.registry import load


def repeated_digits(count: int) -> ImageSet:
    """`count` images [count, 1, 28, 28]: the embedded digits, as often as it takes.

    So a machine without a network or without a whole MNIST is measured as any other.
    """
    with contextlib.redirect_stdout(io.StringIO()):  # it would say a line for each process
        digits = load("mnist").train
    return digits.subset(torch.arange(count) % len(digits))
