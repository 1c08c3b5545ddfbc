"""What is seen of an answer while it is checked, and the answer as later cells get it."""

from __future__ import annotations

import contextlib
import functools
import inspect
import re
import sys
from collections.abc import Callable, Iterator
from types import CodeType, FrameType
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from vaetl_helpers.exercises.forms import Form, formed

Function = Callable[..., Any]

CALL = "__call__"

# Names of operations that change a tensor: those of -= and the like, and methods such as mul_.
IN_PLACE = re.compile(
    r"__(i(add|sub|mul|div|truediv|floordiv|mod|pow|matmul|and|or|xor)|setitem)__|"
    r"(?!requires_grad|_)\w*[a-z0-9]_"
)


def code_of(function: Any) -> CodeType | None:
    """The code that runs when the function is called, below decorators and partials."""
    function = inspect.unwrap(function)
    while isinstance(function, functools.partial):
        function = inspect.unwrap(function.func)
    function = getattr(function, "__func__", function)
    if not hasattr(function, "__code__"):  # an object of a class that can be called
        function = getattr(type(function), CALL, None)
    return getattr(inspect.unwrap(function), "__code__", None)


@contextlib.contextmanager
def watched(note: Callable[[FrameType, Any, Any], None]) -> Iterator[None]:
    """Hands this thread's profiling events to `note`; a profiler of the user's goes on."""
    before = sys.getprofile()

    def both(frame: FrameType, event: Any, argument: Any) -> None:
        note(frame, event, argument)
        if before is not None:
            before(frame, event, argument)

    sys.setprofile(note if before is None else both)
    try:
        yield
    finally:
        sys.setprofile(before)


@contextlib.contextmanager
def calls_of(function: Function) -> Iterator[list[int]]:
    """A list that gets an entry with each call of a Python function, by whatever way."""
    code = code_of(function)
    calls: list[int] = []

    def note(frame: FrameType, event: Any, argument: Any) -> None:
        if event == "call" and frame.f_code is code:
            calls.append(1)

    with watched(note):
        yield calls


class InPlace(TorchFunctionMode):
    """Notes where in some code tensors are changed in place: by -=, or a method ending in _."""

    def __init__(self, code: CodeType | None) -> None:
        super().__init__()
        self.code = code
        self.lines: list[int] = []

    def __torch_function__(
        self, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        if IN_PLACE.fullmatch(getattr(function, "__name__", "")):
            self.note(sys._getframe())
        return function(*args, **(kwargs or {}))

    def note(self, frame: FrameType | None) -> None:
        """Keeps the line of the code that this frame was called from."""
        while frame is not None and frame.f_code is not self.code:
            frame = frame.f_back
        if frame is not None:
            self.lines.append(frame.f_lineno)


class Answer:
    """A learner's function while it is checked: called like it, and it knows what later cells need.

    Its results have the exercise's form.
    """

    def __init__(self, function: Function, form: Form) -> None:
        functools.update_wrapper(self, function)
        self.function = function
        self.form = form
        self.is_converted = False
        self.arguments: list[tuple[Any, Any]] = []  # as they came, and copies

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        arguments = (*args, *kwargs.values())
        self.arguments.append((arguments, copied(arguments)))
        result = self.function(*args, **kwargs)
        converted = self.form(result, arguments)
        self.is_converted |= converted is not result
        return converted

    def handed_on(self) -> Function:
        """The function itself; where results had another form or arguments were changed, around it
        one that mends that.
        """
        is_changing = not all(is_equal(was, copy) for was, copy in self.arguments)
        if not self.is_converted and not is_changing:
            return self.function
        answer = formed(self.function, self.form)

        @functools.wraps(self.function)
        def handed(*args: Any, **kwargs: Any) -> Any:
            if is_changing:
                args = copied(args)
                kwargs = {name: copied(value) for name, value in kwargs.items()}
            return answer(*args, **kwargs)

        return handed


def copied(value: Any) -> Any:
    """Copies of a tensor, and of those in lists and tuples; anything else as it is."""
    if isinstance(value, Tensor):
        return value.clone()
    if type(value) in (list, tuple):
        return type(value)(copied(item) for item in value)
    return value


def is_equal(value: Any, other: Any) -> bool:
    """Whether the tensors are equal; anything but tensors, lists and tuples is."""
    if isinstance(value, Tensor) and isinstance(other, Tensor):
        return value.shape == other.shape and torch.equal(value, other)
    if isinstance(value, (list, tuple)):
        pairs = zip(value, other, strict=False)
        return len(value) == len(other) and all(is_equal(a, b) for a, b in pairs)
    return True
