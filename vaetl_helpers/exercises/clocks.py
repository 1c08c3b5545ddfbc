"""Clocks of a pretended device in place of the real ones, wherever an answer has bound them."""

from __future__ import annotations

import contextlib
import functools
import inspect
import sys
import threading
import time
import timeit
from collections.abc import Callable, Iterator
from types import CodeType, FrameType, FunctionType, MethodType, ModuleType, SimpleNamespace
from typing import Any

from vaetl_helpers.exercises.watch import watched

Clock = Callable[[], float]

CLOCKS = ("perf_counter", "monotonic", "time")
MOST_OBJECTS = 5000  # that are looked at for clocks
OTHERS = ("torch", "numpy", "pandas", "scipy", "sklearn", "vaetl_helpers")  # hold no learner's


def imitation(real: Clock, read: Clock, unit: type) -> Clock:
    """A clock that shows `read` to this thread;
    other threads, a notebook's too, keep their time.
    """
    thread = threading.get_ident()

    def clock() -> float:
        if threading.get_ident() != thread:
            return real()
        return read() if unit is float else int(1e9 * read())

    return clock


def imitations_of(read: Clock, read_date: Clock) -> dict[int, tuple[Clock, Clock]]:
    """By the identity of a real clock: the clock itself, and the one that takes its place."""
    clocks = {}
    for name in CLOCKS:
        shown = read_date if name == "time" else read
        for real, unit in ((getattr(time, name), float), (getattr(time, f"{name}_ns"), int)):
            clocks[id(real)] = (real, imitation(real, shown, unit))
    return clocks


class Exchange:
    """Puts imitations in the places where a function finds clocks, and later the clocks back.

    It goes where the function's code can go: names, default values, closures, dicts, lists,
    instances, classes, and the functions that it finds there.
    """

    def __init__(self, clocks: dict[int, tuple[Clock, Clock]]) -> None:
        self.clocks = clocks
        self.seen = {id(imitation) for _, imitation in clocks.values()}
        self.undo = contextlib.ExitStack()

    def new(self, value: Any) -> Any:
        """What takes the place of a value: an imitation, a copy with imitations, or itself."""
        if id(value) in self.clocks:
            return self.clocks[id(value)][1]
        if type(value) is tuple:
            elements = tuple(self.new(element) for element in value)
            is_same = all(element is old for element, old in zip(elements, value, strict=True))
            return value if is_same else elements
        if isinstance(value, functools.partial):
            function = self.new(value.func)
            args = self.new(value.args)
            self.visit(value.keywords)
            is_same = function is value.func and args is value.args
            return value if is_same else functools.partial(function, *args, **value.keywords)
        if isinstance(value, staticmethod):
            function = self.new(value.__func__)
            return value if function is value.__func__ else staticmethod(function)
        self.visit(value)
        return value

    def visit(self, value: Any) -> None:
        """Exchanges the clocks inside of an object that can be changed."""
        if id(value) in self.seen or len(self.seen) > MOST_OBJECTS:
            return
        self.seen.add(id(value))
        if isinstance(value, FunctionType):
            self.visit_function(value)
        elif isinstance(value, MethodType):
            self.visit(value.__func__)
            self.visit(value.__self__)
        elif isinstance(value, (dict, list)):
            places = value.items() if isinstance(value, dict) else enumerate(value)
            self.exchange(list(places), value.__setitem__)
        elif isinstance(value, type):
            self.visit_class(value)
        elif is_of_learner(type(value)) or isinstance(value, SimpleNamespace):
            self.visit(getattr(value, "__dict__", None))
            self.visit(type(value))
        elif hasattr(value, "__wrapped__"):
            self.visit(vars(value))

    def visit_class(self, kind: type) -> None:
        """Exchanges clocks among the members of a learner's class."""
        if not is_of_learner(kind):
            return
        for name, member in list(vars(kind).items()):
            if id(member) in self.clocks:  # a function would become a method
                self.undo.callback(setattr, kind, name, member)
                setattr(kind, name, staticmethod(self.new(member)))
            else:
                self.exchange([(name, member)], functools.partial(setattr, kind))

    def visit_function(self, function: FunctionType) -> None:
        """Exchanges clocks in a function's names, default values and closure."""
        if is_of_learner(function):
            self.visit_names(function.__globals__, names_in(function.__code__))
        self.set(function, "__defaults__")
        self.visit(function.__kwdefaults__)
        self.visit(getattr(function, "__wrapped__", None))
        for cell in function.__closure__ or ():
            with contextlib.suppress(ValueError):  # an empty one
                self.set(cell, "cell_contents")

    def visit_names(self, space: dict[str, Any], names: set[str]) -> None:
        """Exchanges clocks among the names in a namespace, and in modules that they lead to."""
        places = [(name, space[name]) for name in names if name in space]
        self.exchange(places, space.__setitem__)
        for _, value in places:
            is_new = isinstance(value, ModuleType) and id(value) not in self.seen
            if is_new and is_own(value.__name__):
                self.seen.add(id(value))
                self.visit_names(vars(value), names)

    def set(self, holder: Any, attribute: str) -> None:
        """Exchanges what an attribute holds."""
        value = getattr(holder, attribute)
        self.exchange([(attribute, value)], functools.partial(setattr, holder))

    def exchange(self, places: list[tuple[Any, Any]], put: Callable[[Any, Any], None]) -> None:
        """Puts what is new in these places, and notes how to undo it."""
        for place, value in places:
            new = self.new(value)
            if new is not value:
                put(place, new)
                self.undo.callback(put, place, value)


def names_in(code: CodeType) -> set[str]:
    """The names of globals and attributes in a function's code and in that of inner functions."""
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            names |= names_in(constant)
    return names


def is_of_learner(definition: type | FunctionType) -> bool:
    """Whether a class or a function may be a learner's own."""
    return is_own(str(getattr(definition, "__module__", "builtins")))


def is_own(module: str) -> bool:
    """Whether the module of this name may be a learner's: not Python's, nor a large library's."""
    package = module.partition(".")[0]
    return package not in OTHERS and package not in sys.stdlib_module_names


@contextlib.contextmanager
def pretended_clock(function: Any, read: Clock, read_date: Clock) -> Iterator[list[int]]:
    """Sets the clocks of `time` to `read`, wherever the function finds them.

    The clock that shows the date, `time.time`, is set to `read_date`.
    Gives a list with an entry for each reading of a real clock, from a place that was not found.
    """
    clocks = imitations_of(read, read_date)
    exchange = Exchange(clocks)
    known = (timeit.timeit, timeit.repeat, timeit.Timer.__init__)
    with exchange.undo, real_readings(clocks) as readings:
        for module in (time, timeit):
            exchange.exchange(list(vars(module).items()), vars(module).__setitem__)
        for value in (*known, inspect.unwrap(function), function):
            exchange.visit(value)
        yield readings


@contextlib.contextmanager
def real_readings(clocks: dict[int, tuple[Clock, Clock]]) -> Iterator[list[int]]:
    """A list that gets an entry with each reading of a real clock by Python code."""
    readings: list[int] = []

    def note(frame: FrameType, event: Any, argument: Any) -> None:
        if event == "c_call" and id(argument) in clocks:
            readings.append(1)

    with watched(note):
        yield readings
