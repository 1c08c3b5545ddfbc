"""Exercises: `check`, `hint`, `solution`; inputs are drawn, a function driven on them and judged.

`draw` and `judge` run on the trusted side, `drive` beside the learner's function. What passes
between them is a flat dict of tensors, numbers and strings, so that the two sides can be two
processes.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib
import inspect
import json
import linecache
import os
import random
import re
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

from vaetl_helpers import progress
from vaetl_helpers.errors import CourseError
from vaetl_helpers.exercises.forms import Form, as_it_is
from vaetl_helpers.exercises.watch import Answer, InPlace, calls_of, code_of
from vaetl_helpers.output import is_on, say
from vaetl_helpers.syntax import parsed

CHAPTERS = (
    "start",
    "training",
    "hardware",
    "vae",
    "latent",
    "transfer",
    "sentences",
    "boxes",
    "own",
    "combine",
    "joint",
)
LEVELS = ("●○○", "●●○", "●●●")
MARKS = {"correct": "[ok]", "incorrect": "[no]", "crashed": "[!!]", "not attempted": "[--]"}

Values = dict[str, Any]  # tensors, numbers and strings: `pack` refuses anything else
Function = Callable[..., Any]
Draw = Callable[[int], Values]
Drive = Callable[[Function, Values], Values]
Judge = Callable[[Values, Values], str | None]
PartsRight = Callable[[Values, Values], int]

NOT_ATTEMPTED = "not attempted"
CRASHED = "crashed"
REFERENCE_CALLED = "reference called"
LEFT_BEHIND = "left behind"  # what a function has switched for all that follows
SWITCHES = {
    "gradients": (
        "gradients are switched off for all cells that follow, where nothing can be trained: use "
        "`with torch.no_grad():`, which ends by itself"
    ),
    "type": (
        "torch.set_default_dtype is left changed for all cells that follow: convert the tensors "
        "themselves, as .double() does"
    ),
}
REFERENCE_USED = (
    "this is, or calls, the reference solution, which check hands on to later cells: run the cell "
    "with your own function again, and keep what check returns under another name"
)

hint_counts: Counter[str] = Counter()  # how many hints of an exercise were asked for


class Wrong(NamedTuple):
    """A wrong answer that the judge must refuse, and words that its message must contain."""

    name: str
    function: Function
    says: str


class Part(NamedTuple):
    """A part of an exercise that earns points of its own: what it is, in words, and its points."""

    name: str
    points: int


class Outcome(NamedTuple):
    """A status (a key of MARKS) and, of an incorrect or crashed answer, what is the matter."""

    status: str
    message: str = ""


@dataclass(frozen=True)
class Exercise:
    """`draw` gives inputs for a seed, `drive` outputs of a function, `judge` None or what is wrong.

    `broken` is the function that is to be repaired, where there is one. `form` is that of results
    for later cells; `drive` sees them in it. `level` is 1 to 3; `steps` are the comments of a stub
    for a long function. A right answer is told what it has shown, `after`, and where there is one
    an `alternative`. `parts_right` counts of outputs how many `parts` are right, from the first on.
    `says` are sentences of the judge about what differs, beside those of the wrong answers.
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
    form: Form = as_it_is
    level: int = 1
    steps: tuple[str, ...] = ()
    after: str = ""
    alternative: str = ""
    parts: tuple[Part, ...] = ()
    parts_right: PartsRight | None = None
    says: tuple[str, ...] = ()

    @property
    def stars(self) -> str:
        """How hard it is, as a title shows it."""
        return LEVELS[self.level - 1]


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
def attempt(exercise: Exercise, function: Function, inputs: bytes, is_alone: bool = False) -> bytes:
    """The learner's side: packed inputs in, packed outputs out, also where the function crashed.

    With `is_alone` the function must do without the exercise's reference; the outputs say so where
    it has not.
    """

    def guarded(*args: Any, **kwargs: Any) -> Any:
        result = function(*args, **kwargs)
        items = result if isinstance(result, tuple) else (result,)
        if any(item is ... for item in items):
            raise _NotAttempted
        return result

    if not is_alone:
        return _driven(exercise, guarded, function, inputs)
    with calls_of(exercise.reference) as calls:
        outputs = _driven(exercise, guarded, function, inputs)
    is_reference = bool(calls) or code_of(function) is code_of(exercise.reference)
    return pack({REFERENCE_CALLED: 1}) if is_reference else outputs


def _driven(exercise: Exercise, guarded: Function, function: Function, inputs: bytes) -> bytes:
    try:
        return pack(exercise.drive(guarded, unpack(inputs)) | left_behind())
    except _NotAttempted:
        return pack({NOT_ATTEMPTED: 1})
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a learner's exit() too
        changes = InPlace(code_of(function))
        if CHANGED_IN_PLACE in str(error):
            with contextlib.suppress(BaseException), changes:
                exercise.drive(guarded, unpack(inputs))
        return pack({CRASHED: _reason(error, function, changes.lines)} | left_behind())


def left_behind() -> Values:
    """What is switched otherwise than `isolated` has left it, as an output; mostly nothing."""
    if not torch.is_grad_enabled():
        return {LEFT_BEHIND: "gradients"}
    if torch.get_default_dtype() != torch.float32:
        return {LEFT_BEHIND: "type"}
    return {}


CHANGED_IN_PLACE = "modified by an inplace operation"
OF_WEIGHTS = re.compile(r"output \d+ of (AsStrided|T|Transpose|AccumulateGrad)(Backward\d*)?,")
WEIGHTS_CHANGED = "the weights were changed between the forward pass and loss.backward()"
VALUE_CHANGED = (
    "a value that the gradients are computed from was changed in place (by -= or the like, or a "
    "method whose name ends in _): make a new tensor, as in x = x - y"
)


def _reason(error: BaseException, function: Function, changes: list[int]) -> str:
    """The exception's type and text, and the line of the learner's function that it left last.

    `changes` are the lines in which tensors were changed in place.
    """
    text = "".join(traceback.format_exception_only(error)).strip().splitlines()[0]
    code = code_of(function)
    frames = traceback.walk_tb(error.__traceback__)
    lines = [line for frame, line in frames if frame.f_code is code]
    if CHANGED_IN_PLACE in text:  # torch's text does not help a beginner
        is_of_weights = not changes or OF_WEIGHTS.search(text) is not None
        text = f"RuntimeError: {WEIGHTS_CHANGED if is_of_weights else VALUE_CHANGED}"
        lines = lines if is_of_weights else changes[:1]
    text = text[:300]
    if code is None or not lines:
        return text
    number = lines[-1]
    place = f"line {number - code.co_firstlineno + 1} of {code.co_name}"
    source = linecache.getline(code.co_filename, number).strip()
    return f"{text} ({place}: {source})" if source else f"{text} ({place})"


@isolated()
def verdict(exercise: Exercise, inputs: Values, outputs: Values) -> Outcome:
    """The trusted side: the outcome of one attempt, whatever the outputs are."""
    if NOT_ATTEMPTED in outputs:
        return Outcome("not attempted")
    if REFERENCE_CALLED in outputs:
        return Outcome("incorrect", REFERENCE_USED)
    switched = SWITCHES.get(str(outputs.get(LEFT_BEHIND)))
    if CRASHED in outputs:
        crash = f"{outputs[CRASHED]!s:.600}"
        return Outcome("crashed", f"{crash}; {switched}" if switched else crash)
    message = exercise.judge(inputs, outputs) or switched
    return Outcome("correct") if message is None else Outcome("incorrect", message)


@isolated()
def parts_right(exercise: Exercise, inputs: Values, outputs: Values) -> int:
    """How many parts of a refused attempt are right, from the first on; never all of them.

    What the judge has refused lacks something, and that belongs to the last part.
    """
    refused = {NOT_ATTEMPTED, REFERENCE_CALLED, CRASHED}
    if exercise.parts_right is None or refused & outputs.keys():
        return 0
    return min(exercise.parts_right(inputs, outputs), len(exercise.parts) - 1)


@isolated()
def evaluate(
    exercise: Exercise, function: Any, seeds: Iterable[int] = range(5), is_alone: bool = False
) -> Outcome:
    """The first outcome that is not correct over these seeds, each with inputs of its own.

    With `is_alone` a function that calls the exercise's reference is incorrect.
    """
    if function is ...:
        return Outcome("not attempted")
    if not callable(function):
        kind = type(function).__name__
        message = f"check needs the function itself, without brackets, and got: {kind}"
        return Outcome("incorrect", message)
    for seed in seeds:
        inputs = exercise.draw(seed)
        outputs = attempt(exercise, function, pack(inputs), is_alone)
        outcome = verdict(exercise, inputs, unpack(outputs))
        if outcome.status != "correct":
            return outcome
    return Outcome("correct")


# What a notebook calls.


def check(id: str, function: Function) -> Function:
    """Prints how the learner's function does; returns it if it is correct, else the reference.

    A correct function whose results have another form than later cells expect, such as an array
    for a tensor, or that changes its arguments, is returned with that mended. The reference itself
    is no answer, nor is a function that calls it.
    Where a person works on it, the outcome is also noted in progress.jsonl, beside the notebook.
    Raises only CourseError: on an unknown id, and on anything that is not correct where
    VAETL_GRADING=1 or nbgrader runs the notebook (it counts exceptions).
    """
    exercise = _exercise_for(id, function)
    answer = Answer(function, exercise.form) if callable(function) else function
    outcome = evaluate(exercise, answer, is_alone=True)
    details = ": ".join(filter(None, outcome))
    line = f"{MARKS[outcome.status]} {id}: {details}"
    say(line)
    progress.note(id, outcome.status)
    if isinstance(answer, Answer) and outcome.status == "correct":
        say("     Later cells use your function.")
        _say_more(exercise)
        return answer.handed_on()
    say(f'     Later cells use the reference solution. For help: hint("{id}").')
    if _counts_exceptions():
        raise CourseError(line)
    return exercise.reference


def _say_more(exercise: Exercise) -> None:
    """What a right answer has shown, and another way to write it."""
    if exercise.after:
        say(f"     {exercise.after}")
    if exercise.alternative:
        say(f"     Another way: {exercise.alternative}")


def _counts_exceptions() -> bool:
    """Whether what runs this notebook takes it for solved unless something is raised.

    nbgrader says so, for `nbgrader validate` too. papermill and nbval run unsolved notebooks as
    well, and cannot be told apart from a run that is to go through: there VAETL_GRADING=1 says it.
    """
    return is_on("VAETL_GRADING") or "NBGRADER_EXECUTION" in os.environ


def _exercise_for(id: Any, function: Any) -> Exercise:
    """The exercise; CourseError where the two arguments came in the other order."""
    if callable(id) and isinstance(function, str):
        name = getattr(id, "__name__", "your_function")
        message = f'check takes the id first and then the function: check("{function}", {name}).'
        raise CourseError(message)
    return get(id)


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
    first_line = parsed(text).body[0].lineno
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
    return [block.exercise for block in _blocks.get(chapter, {}).values()]


def all_ids() -> list[str]:
    """The ids of all exercises, by chapter."""
    return [exercise.id for chapter in CHAPTERS for exercise in chapter_exercises(chapter)]


def get(id: str) -> Exercise:
    """The exercise of this id; CourseError with the nearest id where there is none."""
    if not isinstance(id, str):
        example = "training.accuracy"
        raise CourseError(f'Expected the id of an exercise, such as "{example}", got: {id!r:.80}')
    for exercise in chapter_exercises(id.partition(".")[0]):
        if exercise.id == id:
            return exercise
    (nearest,) = difflib.get_close_matches(id, all_ids(), n=1, cutoff=0)
    raise CourseError(f"Unknown exercise '{id}': did you mean '{nearest}'?")
