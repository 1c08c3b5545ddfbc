"""Right answers of the start page."""

from fractions import Fraction

import numpy as np
import torch

from . import ways


def by_loop(values, threshold):
    count = 0
    for value in values:
        if value > threshold:
            count += 1
    return count / len(values)


def by_numpy(values, threshold):
    return np.mean(values.numpy() > threshold)


def by_fraction(values, threshold):
    return Fraction(sum(value > threshold for value in values.tolist()), len(values))


def in_place(values, threshold):
    values -= threshold
    return values.gt_(0).mean()


def sorted_first(values, threshold):
    ordered = values.sort().values
    return 1 - torch.searchsorted(ordered, threshold, right=True) / len(values)


def as_array(values, threshold):
    return np.array(by_loop(values, threshold), dtype=np.float32)


def of_count(values, threshold):
    return torch.count_nonzero(values > threshold).double() / values.numel()


def by_where(values, threshold):
    return torch.where(values > threshold, 1.0, 0.0).mean()


RIGHT = {
    "start.share_above": [
        by_loop,
        by_numpy,
        by_fraction,
        in_place,
        sorted_first,
        as_array,
        of_count,
        by_where,
        *ways.all_ways(by_loop),
    ]
}
