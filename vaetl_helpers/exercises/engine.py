"""Exercises: `check`, `hint`, `solution`; inputs are drawn, a function driven on them and judged.

`draw` and `judge` run on the trusted side, `drive` beside the learner's function. What passes
between them is a flat dict of tensors, numbers and strings, so that the two sides can be two
processes.
"""

from __future__ import annotations

import ast
import contextlib
import importlib
import inspect
import json
import linecache
import os
import random
import sys
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import safetensors.torch
import torch
from torch import Tensor

from vaetl_helpers.errors import CourseError, unknown_name_error
from vaetl_helpers.exercises import progress
from vaetl_helpers.output import say

CHAPTERS = ("start", "training", "hardware", "vae", "transfer", "combine")
MARKS = {"correct": "[ok]", "incorrect": "[no]", "crashed": "[!!]", "not attempted": "[--]"}

Values = dict[str, Any]  # tensors, numbers and strings: `pack` refuses anything else
Function = Callable[..., Any]
Draw = Callable[[int], Values]
Drive = Callable[[Function, Values], Values]
Judge = Callable[[Values, Values], str | None]

hint_counts: Counter[str] = Counter()  # how many hints of an exercise were asked for


class Wrong(NamedTuple):
    """A wrong answer that the judge must refuse, and words that its message must contain."""

    name: str
    function: Function
    says: str


class Outcome(NamedTuple):
    """A status (a key of MARKS) and, of an incorrect or crashed answer, what is the matter."""

    status: str
    message: str = ""


@dataclass(frozen=True)
class Exercise:
    """`draw` gives inputs for a seed, `drive` outputs of a function, `judge` None or what is wrong.

    `broken` is the function that is to be repaired, where there is one.
    """

    id: str
    minutes: int
    points: int
    hints: tuple[str, ...]
    reference: Function
    draw: Draw
    drive: Drive
    judge: Judge
    wrong: tuple[Wrong, ...]
    broken: Function | None = None


# Values as bytes.


def pack(values: Values) -> bytes:
    """Tensors as safetensors, the rest as JSON in its metadata; CourseError on anything else."""
    try:
        if not isinstance(values, dict):
            raise TypeError(f"expected a dict, got {type(values).__name__}")
        tensors: dict[str, Tensor] = {}
        scalars: Values = {}
        for name, value in values.items():
            if isinstance(value, Tensor):
                # A copy each: safetensors refuses tensors that share their storage.
                tensors[name] = value.detach().cpu().clone().contiguous()
            else:
                scalars[name] = value
        _refuse_nested(scalars)
        return safetensors.torch.save(tensors, {"values": json.dumps(scalars)})
    except Exception as error:
        message = f"Cannot pack these values ({error}): return tensors and numbers."
        raise CourseError(message) from error


def unpack(data: bytes) -> Values:
    """The values that `pack` wrote, as fresh copies; CourseError on anything damaged or foreign."""
    try:
        length = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + length])
        values = json.loads(header["__metadata__"]["values"])
        _refuse_nested(values)
        return values | safetensors.torch.load(data)
    except Exception as error:  # the bytes may come from a hostile process
        kind = type(error).__name__
        message = f"Damaged values ({kind}): expected what `pack` wrote; run it again."
        raise CourseError(message) from error


def _refuse_nested(values: Values) -> None:
    if not all(isinstance(value, (int, float, str)) for value in values.values()):
        raise TypeError("only tensors, numbers and strings can be packed")


# The two sides.


@contextlib.contextmanager
def isolated() -> Iterator[None]:
    """Leaves random states, gradient mode, threads, default type and device as they were."""
    cuda_devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    python_state = random.getstate()
    numpy_state = np.random.get_state()
    dtype = torch.get_default_dtype()
    threads = torch.get_num_threads()
    # Asked first, since the context of a device slows every operation.
    on_cpu = torch.get_default_device().type == "cpu"
    with contextlib.ExitStack() as stack:
        stack.callback(np.random.set_state, numpy_state)
        stack.callback(random.setstate, python_state)
        stack.callback(torch.set_default_dtype, dtype)
        stack.callback(torch.set_num_threads, threads)
        stack.enter_context(torch.random.fork_rng(cuda_devices))
        stack.enter_context(torch.enable_grad())
        if not on_cpu:
            stack.enter_context(torch.device("cpu"))
        # nbgrader gives no points to a cell that writes to stderr.
        stack.enter_context(warnings.catch_warnings(action="ignore"))
        stack.enter_context(contextlib.redirect_stderr(sys.stdout))
        torch.set_default_dtype(torch.float32)
        torch.set_num_threads(1)  # problems this small are many times slower on several
        yield


class _NotAttempted(Exception):
    pass


@isolated()
def attempt(exercise: Exercise, function: Function, inputs: bytes) -> bytes:
    """The learner's side: packed inputs in, packed outputs out, also where the function crashed."""

    def guarded(*args: Any, **kwargs: Any) -> Any:
        result = function(*args, **kwargs)
        items = result if isinstance(result, tuple) else (result,)
        if any(item is ... for item in items):
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


def _reason(error: BaseException, function: Function) -> str:
    """The exception's type and text, and the line of the learner's function that it left last."""
    text = "".join(traceback.format_exception_only(error)).strip().splitlines()[0][:300]
    if "modified by an inplace operation" in text:  # torch's text does not help a beginner
        text = "RuntimeError: the weights were changed between the forward pass and loss.backward()"
    code = getattr(inspect.unwrap(function), "__code__", None)
    frames = traceback.walk_tb(error.__traceback__)
    lines = [line for frame, line in frames if frame.f_code is code]
    if code is None or not lines:
        return text
    number = lines[-1]
    place = f"line {number - code.co_firstlineno + 1} of {code.co_name}"
    source = linecache.getline(code.co_filename, number).strip()
    return f"{text} ({place}: {source})" if source else f"{text} ({place})"


@isolated()
def verdict(exercise: Exercise, inputs: Values, outputs: Values) -> Outcome:
    """The trusted side: the outcome of one attempt, whatever the outputs are."""
    if "not attempted" in outputs:
        return Outcome("not attempted")
    if "crashed" in outputs:
        return Outcome("crashed", f"{outputs['crashed']!s:.600}")
    message = exercise.judge(inputs, outputs)
    return Outcome("correct") if message is None else Outcome("incorrect", message)


@isolated()
def evaluate(exercise: Exercise, function: Any, seeds: Iterable[int] = range(5)) -> Outcome:
    """The first outcome that is not correct over these seeds, each with inputs of its own."""
    if function is ...:
        return Outcome("not attempted")
    if not callable(function):
        kind = type(function).__name__
        message = f"check needs the function itself, without brackets, and got: {kind}"
        return Outcome("incorrect", message)
    for seed in seeds:
        inputs = exercise.draw(seed)
        outputs = attempt(exercise, function, pack(inputs))
        outcome = verdict(exercise, inputs, unpack(outputs))
        if outcome.status != "correct":
            return outcome
    return Outcome("correct")


# What a notebook calls.


def check(id: str, function: Function) -> Function:
    """Prints how the learner's function does; returns it if it is correct, else the reference.

    Where a person works on it, the outcome is also noted in progress.jsonl, beside the notebook.
    Raises only CourseError: on an unknown id, and where VAETL_GRADING=1 on anything that is not
    correct.
    """
    exercise = get(id)
    outcome = evaluate(exercise, function)
    details = ": ".join(filter(None, outcome))
    line = f"{MARKS[outcome.status]} {id}: {details}"
    say(line)
    progress.note(id, outcome.status)
    if outcome.status == "correct":
        say("     Later cells use your function.")
        return function
    say(f'     Later cells use the reference solution. For help: hint("{id}").')
    if os.environ.get("VAETL_GRADING") == "1":
        raise CourseError(line)
    return exercise.reference


def hint(id: str) -> None:
    """Prints the next hint; after the last one, that one again and where the solution is."""
    hints = get(id).hints
    hint_counts[id] += 1
    number = min(hint_counts[id], len(hints))
    say(f"hint {number} of {len(hints)}: {hints[number - 1]}")
    if hint_counts[id] > len(hints):
        say(f'That was the last hint: solution("{id}") prints the reference solution.')


def solution(id: str) -> None:
    """Prints the source of the reference solution."""
    say(source_of(get(id).reference).rstrip())


def source_of(function: Function) -> str:
    """The text of a function without its decorators, as a learner would write it."""
    text = inspect.getsource(function)
    first_line = ast.parse(text).body[0].lineno
    return "".join(text.splitlines(keepends=True)[first_line - 1 :])


# Which exercises there are.


class Block(Protocol):
    """What a chapter says of an exercise; `exercise` puts it together."""

    @property
    def exercise(self) -> Exercise: ...


_blocks: dict[str, dict[str, Block]] = {}  # chapter -> id -> block


def register(id: str, block: Block) -> None:
    """Makes the exercise known under its id, CHAPTER.NAME."""
    chapter = id.partition(".")[0]
    blocks = _blocks.setdefault(chapter, {})
    blocks[id] = block


def chapter_exercises(chapter: str) -> list[Exercise]:
    """The exercises of one chapter, whose module is imported when first asked for; or none."""
    if chapter not in CHAPTERS:
        return []
    importlib.import_module(f"vaetl_helpers.exercises.{chapter}")
    return [block.exercise for block in _blocks[chapter].values()]


def all_ids() -> list[str]:
    """The ids of all exercises, by chapter."""
    return [exercise.id for chapter in CHAPTERS for exercise in chapter_exercises(chapter)]


def get(id: str) -> Exercise:
    """The exercise of this id; CourseError with the nearest id where there is none."""
    chapter = str(id).partition(".")[0]
    for exercise in chapter_exercises(chapter):
        if exercise.id == id:
            return exercise
    raise unknown_name_error("exercise", id, all_ids())
