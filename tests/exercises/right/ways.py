"""Other ways to write any function, and other forms for any result."""

import functools
import time
from collections import deque

import numpy as np
import pandas
import torch

# Ways to write a function.


def as_lambda(function):
    return lambda *args, **kwargs: function(*args, **kwargs)


def as_partial(function):
    return functools.partial(function)


class Called:
    """An object that is called."""

    def __init__(self, function):
        self.function = function
        self.calls = 0

    def __call__(self, *args, **kwargs):
        self.calls += 1
        return self.function(*args, **kwargs)

    def method(self, *args, **kwargs):
        return self.function(*args, **kwargs)


def as_object(function):
    return Called(function)


def as_method(function):
    return Called(function).method


def decorated(function):
    @functools.wraps(function)
    def timed(*args, **kwargs):
        start = time.process_time()
        result = function(*args, **kwargs)
        timed.seconds = time.process_time() - start
        return result

    return timed


def all_ways(function):
    """The function in each of these ways."""
    return [way(function) for way in (as_lambda, as_partial, as_object, as_method, decorated)]


# Forms of results.


def then(function, *converters):
    """The function, its results converted."""

    def converting(*args, **kwargs):
        result = function(*args, **kwargs)
        for convert in converters:
            result = convert(result)
        return result

    names = "_".join(getattr(convert, "__name__", "converted") for convert in converters)
    converting.__name__ = f"{getattr(function, '__name__', 'answer')}_{names}"
    return converting


def series(numbers):
    """A column with labels of its own, as after a filter."""
    return pandas.Series(numbers, index=[7 * i + 3 for i in range(len(numbers))])


def generator(numbers):
    return (number for number in numbers)


def tensors(numbers):
    return [torch.tensor(number) for number in numbers]


def scalars(numbers):
    return [np.float32(number) for number in numbers]


def long(numbers):
    """With more bits than PyTorch knows."""
    return np.array(list(numbers), np.longdouble)


def values(numbers):
    return dict(enumerate(numbers)).values()


SEQUENCES = (
    tuple,
    np.array,
    series,
    deque,
    generator,
    torch.tensor,
    tensors,
    scalars,
    values,
    long,
)


def of_sequences(function):
    """A function that returns a list of numbers, with each other form of it."""
    return [then(function, form) for form in SEQUENCES]


def numpy(result):
    return result.detach().numpy()


def rows(result):
    """A list of the rows, with their graphs."""
    return list(result)


def nested(result):
    return result.tolist()


def double(result):
    return result.double()


def half(result):
    return result.half()
