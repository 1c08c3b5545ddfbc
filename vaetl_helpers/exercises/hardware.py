"""Chapter 2: FLOPs of a layer, timing, batches of resident data, gradient accumulation, a checkpoint to resume from.

Nothing here depends on real time or on an accelerator: the device that is timed is pretended, with a clock of its own.
"""

from __future__ import annotations

import contextlib
import copy
import inspect
import statistics
import threading
import time
import timeit
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from vaetl_helpers.exercises import (
    Exercise,
    Judge,
    Values,
    Wrong,
    judged,
    mutants,
    plain,
    recomputed,
    same,
)
from vaetl_helpers.exercises.training import _batches, _network, _problem, _sgd, _weights, step

# The reference solutions, as a learner would write them: `solution` prints these.


def flops_linear(batch, inputs, outputs, first):
    """FLOPs of one training step of a linear layer without bias; `first`: no layer with weights comes before it."""
    product = 2 * batch * inputs * outputs  # a multiplication and an addition for each triple
    forward = product  # [batch, inputs] @ [inputs, outputs]
    weight_gradient = product  # [outputs, batch] @ [batch, inputs]
    input_gradient = (
        0 if first else product
    )  # [batch, outputs] @ [outputs, inputs]; images need none
    return forward + weight_gradient + input_gradient


def time_it(work, synchronise, repeats):
    """Median seconds of one call of work(), timed `repeats` times on a device that computes while Python goes on."""
    work()  # the first call compiles and allocates
    seconds = []
    for _ in range(repeats):
        synchronise()  # what is still queued must not count
        start = time.perf_counter()
        work()
        synchronise()  # work() has only queued it
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def batches(images, labels, batch_size, generator):
    """Yields one epoch of (float images in [0, 1], labels), in random order; the last batch holds what is left."""
    order = torch.randperm(len(images), generator=generator).to(images.device)
    for chosen in order.split(batch_size):
        yield images[chosen].float() / 255, labels[chosen]


def accumulated_step(model, loss_fn, optimizer, images, labels, micro_batch):
    """One training step on the whole batch, with at most `micro_batch` images in memory at a time."""
    optimizer.zero_grad()
    for part, part_labels in zip(images.split(micro_batch), labels.split(micro_batch), strict=True):
        loss = loss_fn(model(part), part_labels)  # a mean over this part
        share = len(part) / len(images)
        (share * loss).backward()  # adds to the gradients of the parts before
    optimizer.step()


def checkpoint(model, optimizer, epoch):
    """All that training needs to go on after `epoch` finished epochs, as copies."""
    state = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "epoch": epoch,
        "rng": torch.get_rng_state(),
    }
    return copy.deepcopy(state)  # the next step changes the tensors themselves


# Shared by the exercises: the judge, and how an exercise is put together.

RETURNED = "what was returned"  # 1, or in words why nothing can be made of it


def _judge(drive: Callable, reference: Callable, stages: tuple, wrong: tuple[Wrong, ...]) -> Judge:
    """As `recomputed`, but a wrong answer is named also where its outputs have other shapes."""
    compare = recomputed(drive, reference, *stages)

    @judged
    def judge(inputs: Values, outputs: Values) -> str | None:
        if isinstance(outputs.get(RETURNED), str):
            return f"{outputs[RETURNED]:.300}"
        refusal = compare(inputs, outputs)
        for suspect in wrong if refusal else ():
            with contextlib.suppress(
                Exception
            ):  # some wrong answers crash, and outputs may be anything
                known = drive(suspect.function, inputs)
                if same(outputs, known, known):
                    return refusal if suspect.says in refusal else suspect.says
        return refusal

    return judge


def _exercise(name: str, minutes: int, points: int, reference: Callable, parts: tuple) -> Exercise:
    """`parts`: draw, drive, the wrong answers as edits of the reference, and the stages of `recomputed`."""
    draw, drive, rows, stages = parts
    wrong = mutants(reference, *rows)
    hints = tuple(
        line.split(": ", 1)[1] for line in HINTS.splitlines() if line.startswith(f"{name}: ")
    )
    judge = _judge(drive, reference, stages, wrong)
    return Exercise(
        f"hardware.{name}", minutes, points, hints, reference, draw, drive, judge, wrong
    )


def _whole(low: int, high: int, generator: torch.Generator) -> int:
    return int(torch.randint(low, high + 1, (), generator=generator))


HINTS = """\
flops_linear: A matrix product [n, m] @ [m, k] takes n · m · k multiplications and as many additions.
flops_linear: Three products of one size: forward, the gradient of the weights, the gradient of the layer's input.
flops_linear: 6 · batch · inputs · outputs; 4 instead of 6 for a first layer, whose input needs no gradient.
time_it: Three things spoil a measurement: a first call that compiles, work still queued, and a rare slow call.
time_it: Call work() once before. Synchronise before reading the clock, both times: at the start and at the end.
time_it: Per repeat: synchronise(), start = time.perf_counter(), work(), synchronise(), note the difference; at the \
end, return statistics.median of them.
batches_resident: Draw one random order of all positions; a batch is a piece of it, for images and labels alike.
batches_resident: torch.randperm(len(images), generator=generator) is the order; .split(batch_size) cuts it.
batches_resident: For each piece: yield images[piece].float() / 255, labels[piece]. The set itself stays uint8.
accumulate: backward() adds to the gradients that are there: clear them once, update once, and loop in between.
accumulate: The batch's mean loss is the sum of the parts' mean losses, each times its share of the images.
accumulate: In the loop: (loss_fn(model(part), part_labels) * len(part) / len(images)).backward()
resume: Four things decide the next step: weights, what Adam remembers, which epoch comes, the next random numbers.
resume: model.state_dict(), optimizer.state_dict(), epoch, torch.get_rng_state(), under the keys asked for.
resume: state_dict() hands out the very tensors that training changes: return copy.deepcopy of the whole dict.
"""


# hardware.flops_linear


def _draw_flops(seed: int) -> Values:
    generator = torch.Generator().manual_seed(seed)
    layers = torch.randint(2, 60, (3 + seed % 5, 3), generator=generator)
    layers[0] = torch.randint(2, 8, (3,), generator=generator)  # small enough for a bias to show
    return {"layers": layers}


def _drive_flops(function: Callable, inputs: Values) -> Values:
    layers = inputs["layers"].tolist()
    first, later = ([function(*sizes, first) for sizes in layers] for first in (True, False))
    return {"FLOPs of first layers": plain(first), "FLOPs of later layers": plain(later)}


FORWARD, SUM, MISSING = (
    "forward + ",
    "forward + weight_gradient + input_gradient",
    "0 if first else product",
)
BOTH = "the gradient of the input is missing in later layers: a product more"
FLOPS = (
    (
        "no additions",
        "you counted multiplications only: each comes with an addition, so 2 FLOPs",
        {"2 * b": "b"},
    ),
    ("forward only", "that is the forward pass alone: add the backward pass", {SUM: "forward"}),
    ("backward only", "that is the backward pass alone: add the forward pass", {FORWARD: ""}),
    ("backward once", BOTH, {MISSING: "0"}),
    (
        "always three",
        "a first layer needs no gradient of its input: 4, not 6",
        {MISSING: "product"},
    ),
    (
        "first swapped",
        "`first` is the wrong way round: a first layer takes less",
        {"if first": "if not first"},
    ),
    ("with bias", "a bias is counted: this layer has none", {SUM: f"{SUM} + batch * outputs"}),
    (
        "one image",
        "the batch is missing: each image goes through the layer",
        {"batch * inputs": "inputs"},
    ),
    (
        "weights",
        "that counts the layer's weights, not its FLOPs",
        {f"return {SUM}": "return inputs * outputs"},
    ),
)
FLOPS_STAGES = (
    (
        ("FLOPs of first layers",),
        "a first layer takes 4 · batch · inputs · outputs: forward, and one gradient",
    ),
    (
        ("FLOPs of later layers",),
        "a later layer takes 6 · batch · inputs · outputs: forward, and two gradients",
    ),
)


# hardware.time_it

LAUNCH = 0.02  # simulated seconds until work() returns
TIME, WARM, CLOCK, QUEUED = (
    "the returned time",
    "warm-up",
    "a clock was read",
    "readings with work queued",
)


class _Device:
    """A pretended accelerator: `work` queues seconds of computing, `synchronise` waits until they are over."""

    def __init__(self, first: float, later: list[float]) -> None:
        self.first, self.later = first, later
        self.now, self.done, self.calls = 1000.0, 0.0, 0
        self.queued: dict[
            int, bool
        ] = {}  # by calls of work: was some of it unfinished at the last reading?

    def work(self) -> None:
        # Later costs repeat with the period `repeats`: any number of warm-up calls leaves the same ones to time.
        cost = self.later[(self.calls - 1) % len(self.later)] if self.calls else self.first
        self.now += LAUNCH
        self.done = max(self.done, self.now) + cost
        self.calls += 1

    def synchronise(self) -> None:
        self.now = max(self.now, self.done)

    def read(self) -> float:
        self.now += 1e-6  # a loop that waits for a time gets there
        self.queued[self.calls] = self.done > self.now
        return self.now


@contextlib.contextmanager
def _clock(function: Callable, read: Callable[[], float]) -> Iterator[None]:
    """Sets the clocks of `time`, also where the function's own module has imported them by name, to `read`."""
    me, fakes = threading.get_ident(), {}
    for name in ("perf_counter", "monotonic", "time"):
        for real, unit in (
            (getattr(time, name), float),
            (getattr(time, f"{name}_ns"), lambda now: int(1e9 * now)),
        ):
            # Other threads, a notebook's among them, keep their time.
            fakes[id(real)] = lambda real=real, unit=unit: (
                unit(read()) if threading.get_ident() == me else real()
            )
    inner = (
        cell.cell_contents for cell in getattr(function, "__closure__", None) or ()
    )  # the engine wraps it
    modules = [
        getattr(inspect.unwrap(f), "__globals__", {}) for f in (function, *inner) if callable(f)
    ]
    spaces = {id(space): space for space in (vars(time), vars(timeit), *modules)}.values()
    found = [
        (space, name, value)
        for space in spaces
        for name, value in list(space.items())
        if id(value) in fakes
    ]
    try:
        for space, name, value in found:
            space[name] = fakes[id(value)]
        yield
    finally:
        for space, name, value in found:
            space[name] = value


def _draw_time(seed: int) -> Values:
    generator = torch.Generator().manual_seed(seed)
    repeats = 5 + 2 * (seed % 4)  # odd, so that every median is the same one
    middle = (
        0.8 + 0.2 * torch.arange(repeats - 2) + 0.1 * torch.rand(repeats - 2, generator=generator)
    )
    middle = middle[torch.randperm(repeats - 2, generator=generator)]
    # The shortest comes first, so that what the warm-up has queued would move the median; an outlier comes last.
    later = torch.cat([torch.tensor([0.5]), middle, torch.tensor([30.0])])
    return {"first": 5 + seed % 3, "later": later.double()}


def _drive_time(function: Callable, inputs: Values) -> Values:
    repeats = len(inputs["later"])
    device = _Device(inputs["first"], inputs["later"].tolist())
    with _clock(function, device.read):
        result = function(device.work, device.synchronise, repeats)
    warm = device.calls - repeats
    queued = sum(queued for calls, queued in device.queued.items() if calls >= warm)
    return {
        TIME: plain(result),
        CLOCK: min(1, len(device.queued)),
        WARM: min(1, warm),
        QUEUED: queued,
    }


FIRST = "    work()  # the first call compiles and allocates\n"
BEFORE = "        synchronise()  # what is still queued must not count\n"
START = "        start = time.perf_counter()\n"
AFTER = "        synchronise()  # work() has only queued it\n"
STOP, MEDIAN, LATER = (
    "seconds.append(time.perf_counter() - start)",
    "statistics.median(seconds)",
    "; synchronise()",
)
COLD = "work() ran too few times: at least once before the clock starts, then once for each repeat"
LAUNCHED = "that times only the launch of the work: call synchronise() before you read the clock at the end"
DIRTY = "earlier work was still queued when the clock started: call synchronise() before it"
TIMINGS = (
    ("no warm-up", COLD, {FIRST: ""}),
    ("no synchronise at the end", LAUNCHED, {AFTER: ""}),
    ("synchronise after the clock", LAUNCHED, {AFTER: "", STOP: STOP + LATER}),
    ("no synchronise before", DIRTY, {BEFORE: ""}),
    ("synchronise after the start", DIRTY, {BEFORE + START: START + BEFORE}),
    (
        "no synchronise",
        "synchronise() is never called: Python does not wait for the device",
        {BEFORE: "", AFTER: ""},
    ),
    (
        "mean",
        "that is the mean, which one slow call moves: take the median",
        {"s.median(": "s.mean("},
    ),
    ("minimum", "that is the shortest time: take the median", {"statistics.median(": "min("}),
    (
        "total",
        "that is the time of all repeats together: take the median",
        {"statistics.median(": "sum("},
    ),
    ("last", "that is the last time alone: collect all, take the median", {MEDIAN: "seconds[-1]"}),
    ("milliseconds", "that is in milliseconds: return seconds", {"return ": "return 1000 * "}),
    (
        "warm-up timed",
        "the warm-up is among the times: leave it out",
        {FIRST: "", "(repeats)": "(repeats + 1)"},
    ),
    ("list", "that is the list of times: return its median", {MEDIAN: "seconds"}),
    ("processor time", "no clock was read", {"time.perf_counter": "time.process_time"}),
)
TIME_STAGES = (
    ((CLOCK,), "no clock was read that runs on while Python waits: call time.perf_counter()"),
    ((WARM,), COLD),
    (
        (QUEUED,),
        "work was still queued when the clock was read: synchronise() first, at the start and at the end",
    ),
    ((TIME,), "it is not the median of the repeats' seconds: time each call of work() by itself"),
)


# hardware.batches_resident

SIZES, IMAGES, LABELS, CAST = (
    "the batch sizes",
    "the images",
    "the labels",
    "more than a batch cast",
)


class _Largest(TorchFunctionMode):
    """Notes the largest float tensor that any operation gives."""

    numbers = 0

    def __torch_function__(
        self, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        if isinstance(result, Tensor) and result.is_floating_point():
            self.numbers = max(self.numbers, result.numel())
        return result


def _draw_batches(seed: int) -> Values:
    generator = torch.Generator().manual_seed(seed)
    size, height, width = (_whole(low, low + 3, generator) for low in (4, 3, 4))
    count = 3 * size + 1 + seed % 3
    images = torch.randint(256, (count, 1, height, width), generator=generator, dtype=torch.uint8)
    images[:, 0, 0, 0], images[:, 0, 0, 1] = 255, torch.arange(count)  # no two are equal
    labels = torch.randint(10, (count,), generator=generator)
    return {
        "images": images,
        "labels": labels,
        "batch_size": size,
        "seed": _whole(0, 10**6, generator),
    }


def _drive_batches(function: Callable, inputs: Values) -> Values:
    torch.manual_seed(
        inputs["seed"] + 1
    )  # an order that ignores the generator is then that of the wrong answer
    generator, made, largest = torch.Generator().manual_seed(inputs["seed"]), [], _Largest()
    images, labels, size = inputs["images"], inputs["labels"], inputs["batch_size"]
    for _ in range(2):  # epochs, whose orders differ
        with largest:
            result = function(images.clone(), labels.clone(), size, generator)
            if not isinstance(result, Iterable):
                return {
                    RETURNED: f"a generator or a list of batches was expected, got {plain(result)!s:.80}"
                }
            made += islice(result, len(images) + 1)
    for pair in made:
        tensors = isinstance(pair, (tuple, list)) and [
            x for x in pair if isinstance(x, Tensor) and x.dim()
        ]
        if not tensors or len(pair) != 2 or len(tensors) != 2:
            return {RETURNED: "each batch must be a pair of tensors: (images, labels)"}
    count = 2 * len(images)
    odd = [x for x, _ in made if not x.is_floating_point() or x.shape[1:] != images.shape[1:]]
    for _, y in made:
        if y.is_floating_point() or y.dim() != 1:
            return {
                RETURNED: f"the labels must stay whole numbers [n], got {y.dtype} of shape {list(y.shape)}"
            }
    sizes = torch.tensor([len(x) for x, _ in made], dtype=torch.float64)
    total = sizes.sum(0, keepdim=True)
    return {
        RETURNED: 1,
        CAST: int(largest.numbers > size * images[0].numel()),
        SIZES: torch.cat([_cut(sizes, 2 * -(-len(images) // size)), total]),
        IMAGES: odd[0]
        if odd
        else _cut(torch.cat([images[:0].double(), *(x for x, _ in made)]), count),
        LABELS: _cut(torch.cat([labels[:0], *(y for _, y in made)]).double(), count),
    }


def _cut(rows: Tensor, count: int) -> Tensor:
    """So many rows: what is missing is 0, what is too many is left out."""
    return F.pad(rows, [0, 0] * (rows.dim() - 1) + [0, count - len(rows)])


ORDER, PIECES, SCALE = (
    "torch.randperm(len(images), generator=generator)",
    "order.split(batch_size)",
    ".float() / 255",
)
REPLACED, CHOSEN = (
    "torch.randint(len(images), (len(images),), generator=generator)",
    "labels[chosen]",
)
WHOLE = {SCALE: "", "    order = ": f"    images = images{SCALE}\n    order = "}
BATCHES = (
    (
        "not shuffled",
        "the images are not shuffled: use torch.randperm",
        {ORDER: "torch.arange(len(images))"},
    ),
    (
        "generator ignored",
        "the order ignores the generator: give it to torch.randperm",
        {", generator=generator": ""},
    ),
    (
        "with replacement",
        "some images come twice and others never: torch.randperm",
        {ORDER: REPLACED},
    ),
    ("last dropped", "the last, smaller batch is missing", {PIECES: f"{PIECES}[:-1]"}),
    (
        "first batch only",
        "only one batch came: go through the whole order",
        {CHOSEN: f"{CHOSEN}; break"},
    ),
    (
        "labels not shuffled",
        "the labels are not those of their images",
        {CHOSEN: "labels[chosen.sort().values]"},
    ),
    ("0 to 255", "the images are in 0 to 255: divide by 255", {" / 255": ""}),
    ("256", "you divided by 256: white is 255", {"255": "256"}),
    (
        "integer division",
        "// rounds down, so that only 0 and 1 are left: divide by /",
        {" / 255": " // 255"},
    ),
    ("uint8", "the images are still uint8: images[chosen].float() / 255", {SCALE: ""}),
    ("whole set cast", "more than one batch was turned into floats", WHOLE),
    ("images only", "each batch must be a pair of tensors", {f", {CHOSEN}": ""}),
)
BATCHES_STAGES = (
    (
        (RETURNED, CAST),
        "more than one batch was turned into floats at once: keep the set uint8, cast each batch",
    ),
    ((SIZES,), "the batches must have batch_size images each, and the last one what is left"),
    (
        (IMAGES,),
        "the images are not those of torch.randperm(len(images), generator=generator), divided by 255",
    ),
    ((LABELS,), "the labels are not those of their images: index both with the same numbers"),
)


# hardware.accumulate

EXCESS = "images beyond micro_batch at once"


def _draw_accumulate(seed: int) -> Values:
    values = _problem(seed, batches=2)
    return values | {
        "micro_batch": 4 if values["batch_size"] == 6 else 3
    }  # the last part is smaller


def _drive_accumulate(function: Callable, inputs: Values) -> Values:
    model = _network(inputs)
    optimizer, weights, updates, seen = _sgd(model), [], [], [0]
    optimizer.register_step_post_hook(lambda *_: updates.append(1))
    model[0].register_forward_pre_hook(lambda _, images: seen.append(len(images[0])))
    for parameter in model.parameters():
        parameter.grad = parameter.detach().clone()  # left from before the first step
    for images, labels in _batches(inputs):
        loss_fn = partial(F.cross_entropy, label_smoothing=0.2)
        function(model, loss_fn, optimizer, images, labels, inputs["micro_batch"])
        weights.append(_weights(model))
    excess = max(0, max(seen) - inputs["micro_batch"])
    return {"weights": torch.stack(weights), "updates": len(updates), EXCESS: excess}


CLEAR, UPDATE, SHARE = (
    "    optimizer.zero_grad()\n",
    "    optimizer.step()\n",
    "len(part) / len(images)",
)
PARTS, IMAGE_PARTS, LOSS = (
    "images.split(micro_batch)",
    "zip(images.split(micro_batch)",
    "        loss = ",
)
UNWEIGHTED = "the smaller last part counts as much as the others: weigh each by its images"
LAST = "only the last part counts: zero_grad() before the loop, backward() inside it"
UPDATES = "there is one update a part: optimizer.step() comes once, after the loop"
SMALL = "those are separate steps on small batches: clear before the loop, update after it"
AT_ONCE = "the model saw more than micro_batch images at once: split the batch"
DROPPED = {IMAGE_PARTS: f"{IMAGE_PARTS}[:-1]", "strict=True": "strict=False"}
ACCUMULATIONS = (
    ("unweighted", UNWEIGHTED, {SHARE: f"1 / len({PARTS})"}),
    (
        "micro_batch as size",
        "the last part is smaller: weigh it by its own images",
        {"len(part) / ": "micro_batch / "},
    ),
    (
        "no division",
        "the parts' mean losses are added up: weigh each by its share of the images",
        {SHARE: "1"},
    ),
    (
        "sum of losses",
        "that is the gradient of the summed loss: divide by the batch's images",
        {SHARE: "len(part)"},
    ),
    ("cleared in the loop", LAST, {LOSS: f"    {CLEAR}{LOSS}"}),
    ("backward after the loop", LAST, {"        (share": "    (share"}),
    ("update in the loop", UPDATES, {UPDATE: f"    {UPDATE}"}),
    ("small steps", SMALL, {CLEAR: "", LOSS: f"    {CLEAR}{LOSS}", UPDATE: f"    {UPDATE}"}),
    ("no zero_grad", "earlier gradients are added: optimizer.zero_grad() comes first", {CLEAR: ""}),
    ("no update", "the weights have not moved: optimizer.step() was never called", {UPDATE: ""}),
    ("last part dropped", "the last, smaller part is missing", DROPPED),
    ("whole batch", AT_ONCE, {".split(micro_batch)": ".split(len(images))"}),
)
ACCUMULATION_STAGES = (
    (("updates",), "each call is to update once: one optimizer.step(), after the last part"),
    ((EXCESS,), AT_ONCE),
    (
        ("weights",),
        "the weights are not those after one step on the whole batch, with loss_fn's mean loss",
    ),
)


# hardware.resume

KEYS = {
    "model": "the weights, model.state_dict()",
    "optimizer": "what the optimiser remembers, optimizer.state_dict()",
    "epoch": "the number of finished epochs",
    "rng": "the state of the random numbers, torch.get_rng_state()",
}
RUN, RESUMED = "the weights of the run that went on", "the weights of the resumed run"


def _draw_resume(seed: int) -> Values:
    return _problem(seed, batches=2) | {"finished": 1 + seed % 2, "epochs": 3}


def _trained(inputs: Values, weights: Tensor) -> tuple[nn.Module, torch.optim.Adam]:
    model = _network(inputs | {"weights": weights})
    model.insert(3, nn.Dropout(0.3))
    return model, torch.optim.Adam(model.parameters(), lr=0.03)


def _train(model: nn.Module, optimizer: torch.optim.Adam, inputs: Values, epochs: range) -> None:
    for _ in epochs:
        for chosen in torch.randperm(len(inputs["images"])).split(inputs["batch_size"]):
            step(model, optimizer, inputs["images"][chosen], inputs["labels"][chosen])


def _drive_resume(function: Callable, inputs: Values) -> Values:
    torch.manual_seed(0)
    model, optimizer = _trained(inputs, inputs["weights"])
    _train(model, optimizer, inputs, range(inputs["finished"]))
    saved = function(model, optimizer, inputs["finished"])
    _train(model, optimizer, inputs, range(inputs["finished"], inputs["epochs"]))
    if not isinstance(saved, dict):
        return {RETURNED: f"a dict was expected, got {plain(saved)!s:.80}"}
    lacks = [f'"{key}" ({what})' for key, what in KEYS.items() if key not in saved]
    if lacks:
        return {RETURNED: f"the checkpoint lacks {', '.join(lacks)}"}
    torch.manual_seed(1)  # a new process, with other weights and random numbers
    again, its_optimizer = _trained(inputs, inputs["weights"].flip(0))
    try:
        again.load_state_dict(saved["model"])
        its_optimizer.load_state_dict(saved["optimizer"])
        finished = int(saved["epoch"])
        torch.set_rng_state(saved["rng"])
        _train(again, its_optimizer, inputs, range(max(0, finished), inputs["epochs"]))
    except Exception as error:
        return {RETURNED: f"the checkpoint does not load ({type(error).__name__}: {error!s:.200})"}
    return {RETURNED: 1, "epoch": finished, RUN: _weights(model), RESUMED: _weights(again)}


ADAM, RNG, EPOCH, COPY = (
    "optimizer.state_dict()",
    "torch.get_rng_state()",
    '"epoch": epoch',
    "copy.deepcopy(state)",
)
ALIAS = "the checkpoint changed while training went on: return copies of the tensors, copy.deepcopy"
MODEL_ALIAS = "the weights in the checkpoint changed while training went on: copy them, too"
OPTIMIZER_ALIAS = (
    "the optimiser's tensors in the checkpoint changed while training went on: copy them, too"
)
FORGOT = "the optimiser's memory is empty: Adam would start its averages again"
OTHER_RNG = "that is a new generator's state, not that of the numbers that training draws: torch.get_rng_state()"
DISTURBED = "your function changed the run itself: it may only read the model, the optimiser and the random state"
CHECKPOINTS = (
    ("references", ALIAS, {COPY: "state"}),
    ("shallow copy", ALIAS, {COPY: "dict(state)"}),
    (
        "only model copied",
        OPTIMIZER_ALIAS,
        {COPY: 'state | {"model": copy.deepcopy(state["model"])}'},
    ),
    (
        "only optimiser copied",
        MODEL_ALIAS,
        {COPY: 'state | {"optimizer": copy.deepcopy(state["optimizer"])}'},
    ),
    ("no optimiser", 'the checkpoint lacks "optimizer"', {f'"optimizer": {ADAM},': ""}),
    ("no random state", 'the checkpoint lacks "rng"', {f'"rng": {RNG},': ""}),
    ("weights only", 'the checkpoint lacks "model"', {COPY: 'copy.deepcopy(state["model"])'}),
    ("optimiser emptied", FORGOT, {ADAM: f'{ADAM} | {{"state": {{}}}}'}),
    (
        "one epoch too many",
        "epoch is one too high: it counts finished epochs",
        {EPOCH: f"{EPOCH} + 1"},
    ),
    (
        "one epoch too few",
        "epoch is one too low: it counts finished epochs",
        {EPOCH: f"{EPOCH} - 1"},
    ),
    ("another generator", OTHER_RNG, {RNG: "torch.Generator().get_state()"}),
    ("objects", "the checkpoint does not load", {"model.state_dict()": "model"}),
    ("run disturbed", DISTURBED, {COPY: f"(torch.manual_seed(3), {COPY})[1]"}),
)
RESUME_STAGES = (
    ((RUN,), DISTURBED),
    ((RETURNED, "epoch"), "epoch must be the number of finished epochs, as it was given"),
    (
        (RESUMED,),
        "the resumed run ends with other weights than the run that went on: is it all saved, and copied?",
    ),
)


LAYERS = _draw_flops, _drive_flops, FLOPS, FLOPS_STAGES
DEVICE = _draw_time, _drive_time, TIMINGS, TIME_STAGES
RESIDENT = _draw_batches, _drive_batches, BATCHES, BATCHES_STAGES
ACCUMULATE = _draw_accumulate, _drive_accumulate, ACCUMULATIONS, ACCUMULATION_STAGES
RESUME = _draw_resume, _drive_resume, CHECKPOINTS, RESUME_STAGES
EXERCISES = (
    _exercise("flops_linear", 5, 2, flops_linear, LAYERS),
    _exercise("time_it", 12, 3, time_it, DEVICE),
    _exercise("batches_resident", 10, 3, batches, RESIDENT),
    _exercise("accumulate", 12, 3, accumulated_step, ACCUMULATE),
    _exercise("resume", 12, 3, checkpoint, RESUME),
)
