"""What exercises are made of: the block of an exercise, judges that recompute, small problems.

A chapter writes one block an exercise: `@exercise(...)` above the reference solution, then its
`draw`, `drive`, `compare` or `judge`, and its wrong answers. CONTRIBUTING.md shows one.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import inspect
import textwrap
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple, NoReturn

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from vaetl_helpers.exercises.engine import (
    Draw,
    Drive,
    Exercise,
    Function,
    Judge,
    Part,
    PartsRight,
    Values,
    Wrong,
    pack,
    register,
    source_of,
)
from vaetl_helpers.exercises.forms import Form, as_it_is, formed, joined, number, numbers
from vaetl_helpers.exercises.watch import copied

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
LEFT_IN_EVAL = "whether the model is left in eval mode"
LEAVE_THE_MODE = (
    "the model is left in eval mode, where dropout and BatchNorm do not train: leave out "
    "model.eval()"
)
RETURNED = "what was returned"  # an output: 1, or in words why nothing can be made of it
INPUTS_REMEMBERED = 16  # more than a check or a hidden test draws

Properties = Callable[[Values, Values], Values]


# Outputs: making them of what a learner returns, and comparing them.


def plain(result: Any) -> Tensor | int | float | str:
    """A learner's result as a value: a sequence of numbers as a vector, other things in words."""
    result = number(result)
    if isinstance(result, (Tensor, int, float, str)):
        return result
    if hasattr(result, "__array__") and isinstance(joined(result), Tensor):
        return joined(result)
    if result is None:
        return "None (is a return missing?)"
    listed = numbers(result)
    if isinstance(listed, (list, tuple)):
        return _vector(listed)
    return f"an object of type {type(result).__name__}"


def _vector(items: Sequence[Any]) -> Tensor | str:
    values = []
    for item in items:
        if isinstance(item, Tensor) and item.numel() == 1:
            values.append(float(item.detach()))
        elif isinstance(item, (int, float)):
            values.append(float(item))
        else:
            return f"a list with {_described(plain(item))}"
    return torch.tensor(values, dtype=torch.float64)


def array(values: Any) -> Any:
    """What can be read as an array of numbers as a float tensor, anything else by `plain`."""
    values = joined(values)
    if isinstance(values, Tensor) and not values.is_complex():
        return values.double()
    return plain(values)


def pair_fault(result: Any, contents: str) -> str | None:
    """None for a pair, otherwise a sentence that asks for one with these contents."""
    if isinstance(result, (tuple, list)) and len(result) == 2:
        return None
    return f"a pair {contents} was expected, got {plain(result)!s:.80}"


def _described(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}, {value.dtype}"
    return f"{value!s:.80}"


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
    """The named output in float64, a float tensor of this shape; the shape () takes numbers too.

    Raises Refused on anything else, and on NaN or infinity unless `finite` is False.
    """
    shape = tuple(shape)
    value = outputs.get(name, "nothing")
    if isinstance(value, (int, float)) and shape == ():
        with contextlib.suppress(OverflowError):
            value = torch.tensor(float(value), dtype=torch.float64)
    is_float = isinstance(value, Tensor) and value.dtype in FLOATS
    if not is_float or value.shape != shape:
        raise Refused(f"{name}: expected {_shape_in_words(shape)}, got {_described(value)}")
    if finite and not value.isfinite().all():
        raise Refused(f"{name}: NaN or infinity where finite numbers were expected")
    return value.double()


def _shape_in_words(shape: tuple[int, ...]) -> str:
    if len(shape) == 0:
        return "one number"
    if len(shape) == 1:
        return f"{shape[0]} numbers"
    return f"a float tensor of shape {shape}"


def same(outputs: Values, expected: Values, names: Iterable[str], tolerance: float = 1e-3) -> bool:
    """Whether the named outputs are equal, within a relative and absolute tolerance."""
    return all(_equal(outputs[name], expected[name], tolerance) for name in names)


def _equal(a: Any, b: Any, tolerance: float) -> bool:
    if isinstance(a, str) or isinstance(b, str):
        return False
    a, b = torch.as_tensor(a), torch.as_tensor(b)
    if a.is_complex() or a.shape != b.shape:  # the real part of a complex number might pass
        return False
    return torch.allclose(a.double(), b.double(), tolerance, tolerance)


class Stage(NamedTuple):
    """Outputs that are compared together, and what the judge says where they differ."""

    outputs: tuple[str, ...]
    says: str
    tolerance: float


CRASHED: Values = {"crashed": "a known answer"}  # nothing is like it


class Memory:
    """The outputs of known functions on the last inputs: driving them is what judging costs."""

    def __init__(self, drive: Drive, properties: Properties) -> None:
        self.drive = drive
        self.properties = properties
        self.by_inputs: OrderedDict[bytes, dict[Function, Values]] = OrderedDict()

    def outputs(self, function: Function, inputs: Values) -> Values:
        """What `properties` makes of the driven function's outputs; CRASHED where it crashes."""
        key = hashlib.sha256(pack(inputs)).digest()
        outputs = self.by_inputs.setdefault(key, {})
        self.by_inputs.move_to_end(key)
        if len(self.by_inputs) > INPUTS_REMEMBERED:
            self.by_inputs.popitem(last=False)
        if function not in outputs:
            outputs[function] = self._driven(function, inputs)
        return outputs[function]

    def _driven(self, function: Function, inputs: Values) -> Values:
        # Some wrong answers crash, and some switch gradients off for good.
        with contextlib.suppress(Exception), torch.enable_grad():
            return self.properties(inputs, self.drive(function, inputs))
        return CRASHED


def recomputed(
    memory: Memory, reference: Function, stages: Sequence[Stage], wrong: Sequence[Wrong]
) -> Judge:
    """A judge that drives the reference on the same inputs and compares, stage by stage.

    Where outputs differ, the first wrong answer that gives the very same outputs speaks, unless
    the stage's message says it already; where there is none, the stage's message stands.
    """

    @judged
    def difference(inputs: Values, outputs: Values) -> str | None:
        expected = memory.outputs(reference, inputs)
        for name, value in expected.items():
            floats(outputs, name, torch.as_tensor(value).shape)
        for stage in stages:
            if not same(outputs, expected, stage.outputs, stage.tolerance):
                return stage.says
        return None

    @judged
    def judge(inputs: Values, outputs: Values) -> str | None:
        refuse_words(outputs)
        outputs = memory.properties(inputs, outputs)
        message = difference(inputs, outputs)
        if message is None:
            return None
        for answer in wrong:
            if answers_alike(outputs, memory.outputs(answer.function, inputs)):
                return message if answer.says in message else answer.says
        return message

    return judge


def parts_in_order(
    memory: Memory, reference: Function, stages_of_parts: Sequence[Sequence[Stage]]
) -> PartsRight:
    """Counts the parts whose stages, all of them, agree with the reference, from the first on."""

    def right(inputs: Values, outputs: Values) -> int:
        try:
            refuse_words(outputs)
            outputs = memory.properties(inputs, outputs)
        except Exception:  # the outputs may be anything
            return 0
        expected = memory.outputs(reference, inputs)
        count = 0
        for stages in stages_of_parts:
            if not all(_agrees(outputs, expected, stage) for stage in stages):
                return count
            count += 1
        return count

    return right


def _agrees(outputs: Values, expected: Values, stage: Stage) -> bool:
    """Whether the stage's outputs are floats of the right shapes, and those expected."""
    try:
        for name in stage.outputs:
            floats(outputs, name, torch.as_tensor(expected[name]).shape)
        return same(outputs, expected, stage.outputs, stage.tolerance)
    except Exception:  # the outputs may be anything
        return False


def refuse_words(outputs: Values) -> None:
    """Raises Refused where `drive` told in words that nothing can be made of the result."""
    words = outputs.get(RETURNED)
    if isinstance(words, str):
        raise Refused(f"{words:.300}")


def answers_alike(outputs: Values, answer: Values) -> bool:
    """Whether the outputs, which may be anything, are those of a known answer."""
    try:
        return same(outputs, answer, answer)
    except Exception:
        return False


def unchanged(inputs: Values, outputs: Values) -> Values:
    """The properties of outputs that are compared as they are."""
    return outputs


# The block of an exercise.


@dataclass(eq=False)
class Block:
    """An exercise as its chapter writes it: the reference, and below it what belongs to it.

    Called, it is the reference.
    """

    id: str
    minutes: int
    points: int
    hints: tuple[str, ...]
    reference: Function
    drive_function: Drive
    draw_function: Draw | None = None
    properties_function: Properties = unchanged
    judge_function: Judge | None = None
    broken_function: Function | None = None
    form: Form = as_it_is
    level: int = 1
    steps: tuple[str, ...] = ()
    after: str = ""
    alternative: str = ""
    stages: list[Stage] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)
    stages_of_parts: list[list[Stage]] = field(default_factory=list)
    wrong_answers: list[Wrong] = field(default_factory=list)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.reference(*args, **kwargs)

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"{self.id}: a `drive` names its block, so that its judge would go along")

    def draw(self, function: Draw) -> Draw:
        """Decorates what draws the inputs for a seed."""
        self.draw_function = function
        return function

    def drive(self, function: Drive) -> Drive:
        """Decorates what calls a learner's function on the inputs and returns outputs.

        It must not name a block: it is sent into the sandbox, where no judge may be.
        """
        self.drive_function = function
        return function

    def properties(self, function: Properties) -> Properties:
        """Decorates what is compared in place of the outputs, where there are many right ones."""
        self.properties_function = function
        return function

    def part(self, name: str, *, points: int) -> None:
        """Begins a part that earns points by itself: the comparisons that follow belong to it.

        An answer earns the parts that are right from the first on, so that a part may take for
        granted what those before it ask for. The first one must be none that an empty function
        passes. The points of all parts are those of the exercise.
        """
        self.parts.append(Part(name, points))
        self.stages_of_parts.append([])

    def compare(self, *outputs: str, says: str, tolerance: float = 1e-3) -> None:
        """Compares these outputs with those of the reference, after what was named before."""
        stage = Stage(outputs, says, tolerance)
        self.stages.append(stage)
        if self.parts:
            self.stages_of_parts[-1].append(stage)

    def judge(self, function: Judge) -> Judge:
        """Decorates what judges outputs, where more is to say than `compared` does."""
        self.judge_function = judged(function)
        return function

    def wrong(
        self,
        name: str,
        *,
        says: str,
        edit: dict[str, str] | None = None,
        last_line: str | None = None,
        function: Function | None = None,
    ) -> Any:
        """Adds a wrong answer: a function, decorated or handed over, or an edit of the reference.

        `edit` maps whole lines of the reference to lines that take their place ("" to none); both
        without indentation, and the old ones also without their comments. `last_line` takes the
        place of the last one.
        """
        if edit is not None or last_line is not None:
            function = edited(self.reference, edit or {}, last_line)
        if function is None:
            return partial(self._add, name, says)
        return self._add(name, says, function)

    def broken(self, name: str, *, says: str) -> Callable[[Function], Function]:
        """Decorates the function that learners are to repair, which is a wrong answer, too."""

        def add(function: Function) -> Function:
            self.broken_function = function
            return self._add(name, says, function)

        return add

    def _add(self, name: str, says: str, function: Function) -> Function:
        self.wrong_answers.append(Wrong(name, function, says))
        return function

    @functools.cached_property
    def formed_drive(self) -> Drive:
        """The `drive`, which sees results in the exercise's form only."""
        return partial(driven, self.form, self.drive_function)

    @functools.cached_property
    def memory(self) -> Memory:
        """What the reference and the wrong answers give."""
        return Memory(self.formed_drive, self.properties_function)

    @functools.cached_property
    def compared(self) -> Judge:
        """The judge that compares with the reference and names wrong answers."""
        return recomputed(self.memory, self.reference, self.stages, self.wrong_answers)

    @functools.cached_property
    def parts_right(self) -> PartsRight | None:
        """What counts the parts that are right; None where there are no parts."""
        if not self.parts:
            return None
        return parts_in_order(self.memory, self.reference, self.stages_of_parts)

    def _check_parts(self) -> None:
        """TypeError where the parts do not divide the exercise."""
        if not self.parts:
            return
        total = sum(part.points for part in self.parts)
        compared = sum(map(len, self.stages_of_parts))
        if total != self.points:
            raise TypeError(f"{self.id} has {self.points} points, and its parts have {total}")
        if compared != len(self.stages) or not all(self.stages_of_parts):
            raise TypeError(f"{self.id}: each comparison belongs to a part, and each part has one")

    @functools.cached_property
    def exercise(self) -> Exercise:
        """The exercise, once all is said about it."""
        if self.draw_function is None:
            raise TypeError(f"{self.id} has no draw: decorate a function of the seed with it")
        if self.judge_function is None and not self.stages:
            raise TypeError(f"{self.id} has no judge: say what to `compare`, or decorate a `judge`")
        self._check_parts()
        return Exercise(
            id=self.id,
            minutes=self.minutes,
            points=self.points,
            hints=self.hints,
            reference=self.reference,
            draw=self.draw_function,
            drive=self.formed_drive,
            judge=self.judge_function or self.compared,
            wrong=tuple(self.wrong_answers),
            broken=self.broken_function,
            form=self.form,
            level=self.level,
            steps=self.steps,
            after=self.after,
            alternative=self.alternative,
            parts=tuple(self.parts),
            parts_right=self.parts_right,
            says=tuple(stage.says for stage in self.stages),
        )


def exercise(  # noqa: PLR0913  # what a chapter says of an exercise, by name
    *,
    id: str,
    minutes: int,
    points: int,
    hints: Iterable[str],
    returns: str = "the result",
    form: Form = as_it_is,
    level: int = 1,
    steps: Iterable[str] = (),
    after: str = "",
    alternative: str = "",
) -> Callable[[Function], Block]:
    """Makes the decorated function the reference of an exercise, and returns the exercise's block.

    `returns` is what messages call the result, where the block has no `drive` of its own. `form` is
    what later cells expect a result to be; answers in other forms are converted. `level`, 1 to 3,
    says how hard it is; `steps` stand as comments in the stub of a long function. A right answer is
    answered by the sentence `after` and, where there is one, by an `alternative`.
    """
    if level not in (1, 2, 3):
        raise ValueError(f"{id}: a level is 1, 2 or 3, not {level!r}")

    def decorate(reference: Function) -> Block:
        parameters = tuple(inspect.signature(reference).parameters)
        drive = partial(call, parameters, returns)
        block = Block(
            id,
            minutes,
            points,
            tuple(hints),
            reference,
            drive,
            form=form,
            level=level,
            steps=tuple(steps),
            after=after,
            alternative=alternative,
        )
        register(id, block)
        return block

    return decorate


def driven(form: Form, drive: Drive, function: Function, inputs: Values) -> Values:
    """What `drive` makes of the function, with results in this form."""
    return drive(formed(function, form), inputs)


def call(parameters: Sequence[str], returns: str, function: Function, inputs: Values) -> Values:
    """Calls the function on copies of the inputs that are named like the parameters."""
    arguments = [copied(inputs[name]) for name in parameters]
    return {returns: plain(function(*arguments))}


def edited(function: Function, edit: dict[str, str], last_line: str | None = None) -> Function:
    """The function with whole lines of its text exchanged; ValueError unless each is there once."""
    lines = source_of(function).rstrip().splitlines()
    changes = {_place(function.__name__, lines, old): new for old, new in edit.items()}
    if last_line is not None:
        changes[len(lines) - 1] = last_line
    for place, new in changes.items():
        width = len(lines[place]) - len(lines[place].lstrip())
        lines[place] = textwrap.indent(new, " " * width)
    namespace: dict[str, Any] = {}
    code = compile("\n".join(lines), f"<wrong {function.__name__}>", "exec")
    exec(code, function.__globals__, namespace)  # the package's own text
    return namespace[function.__name__]


def _place(name: str, lines: list[str], old: str) -> int:
    """The number of the one line that is `old`, without indentation and perhaps a comment."""
    places = []
    for place, line in enumerate(lines):
        statement = line.split("  # ")[0]
        if old in (line.strip(), statement.strip()):
            places.append(place)
    if len(places) != 1:
        raise ValueError(f"{name} has {len(places)} lines {old!r}: an edit needs exactly one")
    return places[0]


# Small problems. Images are [n, 1, height, width] in [0, 1], labels [n].


def whole_number(low: int, high: int, generator: torch.Generator) -> int:
    """A random number from low to high, both included."""
    return int(torch.randint(low, high + 1, (), generator=generator))


def problem(seed: int, batches: int) -> Values:
    """So many full batches, and sizes and weights of a network."""
    generator = torch.Generator().manual_seed(seed)
    hidden, classes, size, height, width = (
        whole_number(low, low + 3, generator) for low in (5, 3, 5, 3, 3)
    )
    # With BatchNorm; without it, fewer are used.
    weights = hidden * (height * width + 3 + classes) + classes
    count = batches * size
    images = torch.rand(count, 1, height, width, generator=generator)
    labels = torch.randint(classes, (count,), generator=generator)
    return {
        "hidden": hidden,
        "classes": classes,
        "batch_size": size,
        "images": images,
        "labels": labels,
        "weights": torch.randn(weights, generator=generator) / 2,
        # BatchNorm's means and variances.
        "statistics": torch.rand(2, hidden, generator=generator) + 0.5,
    }


def network(inputs: Values, norm: bool = False) -> nn.Sequential:
    """A network from images to logits; with `norm` it gives other results in train mode."""
    pixels = inputs["images"][0].numel()
    hidden = inputs["hidden"]
    hidden_layer = nn.Linear(pixels, hidden)
    logits_layer = nn.Linear(hidden, inputs["classes"])
    model = nn.Sequential(nn.Flatten(), hidden_layer, nn.Tanh(), logits_layer)
    if norm:
        model.insert(2, batch_norm(inputs))
    vector_to_parameters(inputs["weights"].clone(), model.parameters())
    return model


def batch_norm(inputs: Values) -> nn.BatchNorm1d:
    """BatchNorm with the running statistics of the problem."""
    norm = nn.BatchNorm1d(inputs["hidden"])
    norm.running_mean, norm.running_var = inputs["statistics"].clone()
    return norm


def sgd(model: nn.Module) -> torch.optim.SGD:
    """The optimiser of the small problems, with a momentum."""
    return torch.optim.SGD(model.parameters(), lr=0.3, momentum=0.5)


def leave_gradients(model: nn.Module) -> None:
    """Gives the parameters gradients, as an earlier training would have left them."""
    for parameter in model.parameters():
        parameter.grad = parameter.detach().clone()


def count_updates(optimizer: torch.optim.Optimizer) -> list[int]:
    """A list that gets an entry with each update of the optimiser."""
    updates: list[int] = []
    optimizer.register_step_post_hook(lambda *_: updates.append(1))
    return updates


def batches_of(inputs: Values, subset: str = "") -> list[tuple[Tensor, Tensor]]:
    """Pairs (images, labels) as copies; `subset` is what their names begin with, as in "test_"."""
    size = inputs["batch_size"]
    images = inputs[f"{subset}images"].clone().split(size)
    labels = inputs[f"{subset}labels"].clone().split(size)
    return list(zip(images, labels, strict=True))


def weights_of(model: nn.Module) -> Tensor:
    """All parameters as one vector, a copy."""
    return parameters_to_vector(model.parameters()).detach().clone()


def state_of(module: nn.Module, buffers: bool = True, parameters: bool = True) -> Tensor:
    """Parameters and buffers as one vector in float64."""
    tensors: list[Tensor] = []
    if parameters:
        tensors += module.parameters()
    if buffers:
        tensors += module.buffers()
    vectors = [tensor.detach().double().flatten() for tensor in tensors]
    return torch.cat([torch.zeros(0, dtype=torch.float64), *vectors])


def cut(rows: Tensor, count: int) -> Tensor:
    """So many rows: what is missing is 0, what is too many is left out."""
    other_dimensions = [0, 0] * (rows.dim() - 1)
    return F.pad(rows, [*other_dimensions, 0, count - len(rows)])
