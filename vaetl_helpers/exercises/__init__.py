"""Exercises: `check`, `hint`, `solution`; inputs are drawn, a function driven on them, its outputs judged.

`draw` and `judge` run on the trusted side, `drive` beside the learner's function. What passes between them
is a flat dict of tensors, numbers and strings, so that the two sides can be two processes.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import inspect
import json
import linecache
import os
import pkgutil
import random
import sys
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from numbers import Real
from typing import Any, NamedTuple

import numpy as np
import safetensors.torch
import torch
from torch import Tensor

from vaetl_helpers.errors import CourseError, unknown_name_error
from vaetl_helpers.exercises import progress

Values = dict[str, Tensor | int | float | str]
Judge = Callable[[Values, Values], str | None]
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
MARKS = {"correct": "[ok]", "incorrect": "[no]", "crashed": "[!!]", "not attempted": "[--]"}
_hints_given: Counter[str] = Counter()


class Wrong(NamedTuple):
    """A wrong answer that the judge must refuse, and words that its message must contain."""

    name: str
    function: Callable[..., Any]
    says: str


class Outcome(NamedTuple):
    """A status (a key of MARKS) and, where the answer is incorrect or crashed, what is the matter."""

    status: str
    message: str = ""


@dataclass(frozen=True)
class Exercise:
    """`draw` gives inputs for a seed, `drive` outputs of a function, `judge` None or what is wrong."""

    id: str
    minutes: int
    points: int
    hints: tuple[str, ...]
    reference: Callable[..., Any]
    draw: Callable[[int], Values]
    drive: Callable[[Callable[..., Any], Values], Values]
    judge: Judge
    wrong: tuple[Wrong, ...]


def _flat(values: Any) -> dict[str, int | float | str]:
    if not (
        isinstance(values, dict) and all(isinstance(x, (int, float, str)) for x in values.values())
    ):
        raise TypeError("only tensors, numbers and strings can be packed")
    return values


def pack(values: Values) -> bytes:
    """Tensors as safetensors, numbers and strings as JSON in its metadata; CourseError on anything else."""
    tensors = {name: value for name, value in values.items() if isinstance(value, Tensor)}
    try:
        others = json.dumps(
            _flat({name: value for name, value in values.items() if name not in tensors})
        )
        # A copy each: safetensors refuses tensors that share their storage.
        copies = {
            name: value.detach().cpu().clone().contiguous() for name, value in tensors.items()
        }
        return safetensors.torch.save(copies, {"values": others})
    except Exception as error:
        raise CourseError(
            f"Cannot pack these values ({error}): return tensors and numbers."
        ) from error


def unpack(data: bytes) -> Values:
    """The values that `pack` wrote, as fresh copies; CourseError on anything damaged or of another kind."""
    try:
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        return _flat(json.loads(header["__metadata__"]["values"])) | safetensors.torch.load(data)
    except Exception as error:  # the bytes may come from a hostile process
        kind = type(error).__name__
        raise CourseError(
            f"Damaged values ({kind}): expected what `pack` wrote; run it again."
        ) from error


def plain(result: Any) -> Tensor | int | float | str:
    """A learner's result as a value: a list of numbers as a vector, what is no value by its type's name."""
    if isinstance(result, (Tensor, int, float, str)):
        return result
    if isinstance(result, Real):  # numpy's scalars
        return float(result)
    if isinstance(result, (list, tuple)):
        odd = [
            x
            for x in result
            if not (isinstance(x, Real) or isinstance(x, Tensor) and x.numel() == 1)
        ]
        if not odd:
            return torch.tensor([float(x) for x in result], dtype=torch.float64)
        return f"a list with {_shown(plain(odd[0]))}"
    return (
        "None (is a return missing?)"
        if result is None
        else f"an object of type {type(result).__name__}"
    )


def _shown(value: Any) -> str:
    tensor = isinstance(value, Tensor)
    return f"a tensor of shape {tuple(value.shape)}, {value.dtype}" if tensor else f"{value!s:.80}"


class Refused(Exception):
    """Raised inside a judge; its text is the judge's message."""


def judged(judge: Judge) -> Judge:
    """A judge that never raises: what it cannot compare, it refuses."""

    @functools.wraps(judge)
    def careful(inputs: Values, outputs: Values) -> str | None:
        try:
            return judge(inputs, outputs)
        except Refused as refusal:
            return str(refusal)
        except Exception as error:
            return f"what your function returned could not be compared ({type(error).__name__})"

    return careful


def floats(outputs: Values, name: str, shape: Iterable[int], finite: bool = True) -> Tensor:
    """The named output in float64; Refused unless a finite float tensor of this shape (() takes numbers)."""
    value, shape = outputs.get(name, "nothing"), tuple(shape)
    if isinstance(value, (int, float)) and shape == ():
        with contextlib.suppress(OverflowError):
            value = torch.tensor(float(value), dtype=torch.float64)
    if not (isinstance(value, Tensor) and value.dtype in FLOATS and value.shape == shape):
        many = f"{shape[0]} numbers" if len(shape) == 1 else f"a float tensor of shape {shape}"
        expected = many if shape else "one number"
        raise Refused(f"{name}: expected {expected}, got {_shown(value)}")
    if finite and not value.isfinite().all():
        raise Refused(f"{name}: NaN or infinity where finite numbers were expected")
    return value.double()


def same(outputs: Values, expected: Values, names: Iterable[str], tolerance: float = 1e-3) -> bool:
    """Whether the named outputs are equal: numbers and tensors within a relative and absolute tolerance."""
    for name in names:
        a, b = outputs[name], expected[name]
        if isinstance(a, str) or isinstance(b, str):
            return False
        a, b = torch.as_tensor(a), torch.as_tensor(b)
        if a.is_complex():  # its real part might pass
            return False
        a, b = a.double(), b.double()
        if a.shape != b.shape or not torch.allclose(a, b, tolerance, tolerance):
            return False
    return True


def recomputed(drive: Callable, reference: Callable, *stages: tuple) -> Judge:
    """A judge that drives the reference on the same inputs and compares, stage by stage.

    A stage is (names, message) or (names, message, wrong). Where the named outputs differ, the first wrong
    answer that gives the same outputs speaks, otherwise the message.
    """

    @judged
    def judge(inputs: Values, outputs: Values) -> str | None:
        expected = drive(reference, inputs)
        for name, value in expected.items():
            floats(outputs, name, torch.as_tensor(value).shape)
        for names, message, *wrong in stages:
            if same(outputs, expected, names):
                continue
            for suspect in sum(wrong, ()):
                with contextlib.suppress(Exception):  # some wrong answers crash
                    if same(outputs, drive(suspect.function, inputs), expected):
                        return suspect.says
            return message
        return None

    return judge


def mutants(function: Callable, *rows: tuple[str, str, dict[str, str]]) -> tuple[Wrong, ...]:
    """Wrong answers as edits of a right one: rows of (name, what the judge says, {old source: new})."""
    return tuple(Wrong(name, _edited(function, edits), says) for name, says, edits in rows)


def _edited(function: Callable, edits: dict[str, str]) -> Callable:
    source = inspect.getsource(function)
    for old, new in edits.items():
        if old not in source:
            raise ValueError(f"{function.__name__} has no {old!r}")
        source = source.replace(old, new)
    space = dict(function.__globals__)
    exec(source, space)  # the package's own source
    return space[function.__name__]


@contextlib.contextmanager
def _isolated() -> Iterator[None]:
    """Leaves random states, gradient mode, threads, default type and device as they were; no stderr."""
    # nbgrader gives no points to a cell that writes to stderr.
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    states, dtype = (random.getstate(), np.random.get_state()), torch.get_default_dtype()
    threads = torch.get_num_threads()
    quiet, stdout = warnings.catch_warnings(action="ignore"), contextlib.redirect_stderr(sys.stdout)
    on_cpu = (
        torch.get_default_device().type == "cpu"
    )  # asked first, as the context slows every operation
    device = contextlib.nullcontext() if on_cpu else torch.device("cpu")
    try:
        with torch.random.fork_rng(devices), torch.enable_grad(), device, quiet, stdout:
            torch.set_default_dtype(torch.float32)
            torch.set_num_threads(1)  # problems this small are many times slower on several
            yield
    finally:
        torch.set_num_threads(threads)
        torch.set_default_dtype(dtype)
        random.setstate(states[0])
        np.random.set_state(states[1])


def _reason(error: BaseException, function: Callable) -> str:
    """The exception's type and text, and the line of the learner's function that it passed through last."""
    text = "".join(traceback.format_exception_only(error)).strip().splitlines()[0][:300]
    if "modified by an inplace operation" in text:  # torch's text does not help a beginner
        text = "RuntimeError: the weights were changed between the forward pass and loss.backward()"
    code = getattr(inspect.unwrap(function), "__code__", None)
    lines = [line for frame, line in traceback.walk_tb(error.__traceback__) if frame.f_code is code]
    if not lines:
        return text
    source = linecache.getline(code.co_filename, lines[-1]).strip()
    place = f"line {lines[-1] - code.co_firstlineno + 1} of {code.co_name}"
    return f"{text} ({place}: {source})" if source else f"{text} ({place})"


class _NotAttempted(Exception):
    pass


@_isolated()
def attempt(exercise: Exercise, function: Callable, inputs: bytes) -> bytes:
    """The learner's side: packed inputs in, packed outputs out, also where the function crashed."""

    def guarded(*args: Any, **kwargs: Any) -> Any:
        result = function(*args, **kwargs)
        if result is ... or isinstance(result, tuple) and any(part is ... for part in result):
            raise _NotAttempted
        return result

    try:
        return pack(exercise.drive(guarded, unpack(inputs)))
    except _NotAttempted:
        return pack({"not attempted": 1})
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a learner's exit() too
        return pack({"crashed": _reason(error, function)})


@_isolated()
def verdict(exercise: Exercise, inputs: Values, outputs: Values) -> Outcome:
    """The trusted side: the outcome of one attempt, whatever the outputs are."""
    if "not attempted" in outputs:
        return Outcome("not attempted")
    if "crashed" in outputs:
        return Outcome("crashed", f"{outputs['crashed']!s:.600}")
    message = exercise.judge(inputs, outputs)
    return Outcome("correct") if message is None else Outcome("incorrect", message)


@_isolated()
def evaluate(exercise: Exercise, function: Any, seeds: Iterable[int] = range(5)) -> Outcome:
    """The first outcome that is not correct over these seeds, each with inputs of its own."""
    if function is ...:
        return Outcome("not attempted")
    if not callable(function):
        kind = type(function).__name__
        return Outcome(
            "incorrect", f"check needs the function itself, without brackets, and got: {kind}"
        )
    for seed in seeds:
        inputs = exercise.draw(seed)
        outcome = verdict(exercise, inputs, unpack(attempt(exercise, function, pack(inputs))))
        if outcome.status != "correct":
            return outcome
    return Outcome("correct")


def check(id: str, function: Callable) -> Callable:
    """Prints how the learner's function does and returns it if it is correct, otherwise the reference.

    Where a person works on it, the outcome is also noted in progress.jsonl, beside the notebook.
    Raises only CourseError: on an unknown id, and where VAETL_GRADING=1 on anything that is not correct.
    """
    exercise = get(id)
    outcome = evaluate(exercise, function)
    line = f"{MARKS[outcome.status]} {id}: {': '.join(filter(None, outcome))}"
    print(line.encode(errors="replace").decode())
    progress.note(id, outcome.status)
    if outcome.status == "correct":
        print("     Later cells use your function.")
        return function
    print(f'     Later cells use the reference solution. For help: hint("{id}").')
    if os.environ.get("VAETL_GRADING") == "1":
        raise CourseError(line)
    return exercise.reference


def hint(id: str) -> None:
    """Prints the next hint; after the last one, that one again and where the solution is."""
    hints = get(id).hints
    _hints_given[id] += 1
    number = min(_hints_given[id], len(hints))
    print(f"hint {number} of {len(hints)}: {hints[number - 1]}")
    if _hints_given[id] > len(hints):
        print(f'That was the last hint: solution("{id}") prints the reference solution.')


def solution(id: str) -> None:
    """Prints the source of the reference solution."""
    print(inspect.getsource(get(id).reference).rstrip())


def _chapter(name: str) -> dict[str, Exercise]:
    """The exercises of one chapter, a module here that is imported when first asked for; or none."""
    if name not in (module.name for module in pkgutil.iter_modules(__path__)):
        return {}
    return {
        exercise.id: exercise
        for exercise in getattr(importlib.import_module(f"{__name__}.{name}"), "EXERCISES", ())
    }


def all_ids() -> list[str]:
    """The ids of all exercises, by module."""
    return [id for module in pkgutil.iter_modules(__path__) for id in _chapter(module.name)]


def get(id: str) -> Exercise:
    """The exercise of this id; CourseError with the nearest id where there is none."""
    exercise = _chapter(str(id).partition(".")[0]).get(str(id))
    if exercise is None:
        raise unknown_name_error("exercise", id, all_ids())
    return exercise
