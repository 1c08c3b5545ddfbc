"""Chapters 2 and 2b: FLOPs, timing, a predicted step, resident data, accumulation,
gradients that processes share, a checkpoint.

Nothing here depends on real time or on an accelerator: the device that is timed is pretended, with
a clock of its own.
"""

from __future__ import annotations

import copy
import statistics
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable
from functools import partial
from itertools import islice
from typing import Any
from weakref import WeakSet, ref

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.overrides import TorchFunctionMode

from vaetl_helpers.exercises import forms
from vaetl_helpers.exercises.clocks import pretended_clock
from vaetl_helpers.exercises.engine import Function, Values, left_behind, source_of
from vaetl_helpers.exercises.forms import number
from vaetl_helpers.exercises.toolkit import (
    LEAVE_THE_MODE,
    LEFT_IN_EVAL,
    RETURNED,
    batches_of,
    count_updates,
    cut,
    exercise,
    leave_gradients,
    network,
    plain,
    problem,
    sgd,
    weights_of,
    whole_number,
)
from vaetl_helpers.exercises.training import step
from vaetl_helpers.output import say

training_step = step.reference  # without its judge, which must not be sent into a sandbox


# hardware.flops_linear


@exercise(
    id="hardware.flops_linear",
    level=1,
    after="A training step costs about three times the forward pass, because each of the two "
    "gradients is a product of the same size.",
    minutes=5,
    points=2,
    hints=(
        "A matrix product [n, m] @ [m, k] takes n · m · k multiplications and as many additions.",
        "Three products of one size: forward, the gradient of the weights, the gradient of the "
        "layer's input.",
        "6 · batch · inputs · outputs; 4 instead of 6 for a first layer, whose input needs no "
        "gradient.",
    ),
    form=number,
)
def flops_linear(batch, inputs, outputs, first):
    """FLOPs of one training step of a linear layer without bias;
    `first`: no layer with weights comes before it.
    """
    # A multiplication and an addition for each triple.
    product = 2 * batch * inputs * outputs
    forward = product
    weight_gradient = product
    input_gradient = 0 if first else product
    return forward + weight_gradient + input_gradient


@flops_linear.draw
def _(seed: int) -> Values:
    generator = torch.Generator().manual_seed(seed)
    layers = torch.randint(2, 60, (3 + seed % 5, 3), generator=generator)
    layers[0] = torch.randint(2, 8, (3,), generator=generator)  # small enough for a bias to show
    return {"layers": layers}


@flops_linear.drive
def _(function: Function, inputs: Values) -> Values:
    layers = inputs["layers"].tolist()
    return {
        "FLOPs of first layers": plain([function(*sizes, True) for sizes in layers]),
        "FLOPs of later layers": plain([function(*sizes, False) for sizes in layers]),
    }


flops_linear.part("a first layer", points=1)
flops_linear.compare(
    "FLOPs of first layers",
    says="a first layer takes 4 · batch · inputs · outputs: forward, and one gradient",
)
flops_linear.part("a later layer", points=1)
flops_linear.compare(
    "FLOPs of later layers",
    says="a later layer takes 6 · batch · inputs · outputs: forward, and two gradients",
)

flops_linear.wrong(
    "no additions",
    says="you counted multiplications only: each comes with an addition, so 2 FLOPs",
    edit={"product = 2 * batch * inputs * outputs": "product = batch * inputs * outputs"},
)
ADDED_TO_0 = "close: by convention the first addition, to 0, counts too, so 2 for each triple"


@flops_linear.wrong("exact additions", says=ADDED_TO_0)
def _(batch, inputs, outputs, first):
    forward = batch * outputs * (2 * inputs - 1)
    weight_gradient = inputs * outputs * (2 * batch - 1)
    input_gradient = 0 if first else batch * inputs * (2 * outputs - 1)
    return forward + weight_gradient + input_gradient


flops_linear.wrong(
    "exact additions, as in the forward pass",
    says=ADDED_TO_0,
    edit={"product = 2 * batch * inputs * outputs": "product = batch * outputs * (2 * inputs - 1)"},
)
flops_linear.wrong(
    "forward only",
    says="that is the forward pass alone: add the backward pass",
    last_line="return forward",
)
flops_linear.wrong(
    "backward only",
    says="that is the backward pass alone: add the forward pass",
    last_line="return weight_gradient + input_gradient",
)
flops_linear.wrong(
    "backward once",
    says="the gradient of the input is missing in later layers: a product more",
    edit={"input_gradient = 0 if first else product": "input_gradient = 0"},
)
flops_linear.wrong(
    "always three",
    says="a first layer needs no gradient of its input: 4, not 6",
    edit={"input_gradient = 0 if first else product": "input_gradient = product"},
)
flops_linear.wrong(
    "first swapped",
    says="`first` is the wrong way round: a first layer takes less",
    edit={"input_gradient = 0 if first else product": "input_gradient = product if first else 0"},
)
flops_linear.wrong(
    "with bias",
    says="a bias is counted: this layer has none",
    last_line="return forward + weight_gradient + input_gradient + batch * outputs",
)
flops_linear.wrong(
    "one image",
    says="the batch is missing: each image goes through the layer",
    edit={"product = 2 * batch * inputs * outputs": "product = 2 * inputs * outputs"},
)
flops_linear.wrong(
    "weights",
    says="that counts the layer's weights, not its FLOPs",
    last_line="return inputs * outputs",
)


# hardware.time_it

LAUNCH = 0.02  # simulated seconds until work() returns
TIME = "the returned time"
WARM = "warm-up"
CLOCK = "a clock was read"
BY_DATE = "readings of the clock that shows the date"
QUEUED = "readings with work queued"
UNREACHED = "readings of a real clock"


class Device:
    """A pretended accelerator: `work` queues seconds of computing, `synchronise` waits
    for them.
    """

    def __init__(self, compiling: float, costs: list[float]) -> None:
        self.compiling = compiling
        self.costs = costs
        self.now = 1000.0
        self.done = 0.0
        self.calls = 0
        # By calls of work: was some of it unfinished at the last reading?
        self.queued: dict[int, bool] = {}

    def work(self) -> None:
        """Queues the work of one call."""
        cost = self.compiling
        if self.calls:
            # The costs repeat with the period `repeats`: any number of warm-up calls leaves the
            # same ones to time.
            cost = self.costs[(self.calls - 1) % len(self.costs)]
        self.now += LAUNCH
        self.done = max(self.done, self.now) + cost
        self.calls += 1

    def synchronise(self) -> None:
        """Waits until nothing is queued any more."""
        self.now = max(self.now, self.done)

    def read(self) -> float:
        """The time on the device's clock, in seconds."""
        self.now += 1e-6  # a loop that waits for a time gets there
        self.queued[self.calls] = self.done > self.now
        return self.now


@exercise(
    id="hardware.time_it",
    level=2,
    after="Warm up, wait for the device, take the median: any measurement that leaves one of "
    "these out may be wrong.",
    alternative="torch.utils.benchmark.Timer does all three.",
    minutes=12,
    points=3,
    hints=(
        "Three things spoil a measurement: a first call that compiles, work still queued, and a "
        "rare slow call.",
        "Call work() once before. Synchronise before reading the clock, both times: at the start "
        "and at the end.",
        "Per repeat: synchronise(), start = time.perf_counter(), work(), synchronise(), note the "
        "difference; at the end, return statistics.median of them.",
    ),
    form=number,
)
def time_it(work, synchronise, repeats):
    """Median seconds of one call of work(),
    timed `repeats` times on a device that computes while Python goes on.
    """
    work()  # the first call compiles and allocates
    seconds = []
    for _ in range(repeats):
        synchronise()  # what is still queued must not count
        start = time.perf_counter()
        work()
        synchronise()  # work() has only queued it
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


@time_it.draw
def _(seed: int) -> Values:
    generator = torch.Generator().manual_seed(seed)
    repeats = 5 + 2 * (seed % 4)  # odd, so that every median is the same one
    count = repeats - 2
    middle = 0.8 + 0.2 * torch.arange(count) + 0.1 * torch.rand(count, generator=generator)
    middle = middle[torch.randperm(count, generator=generator)]
    # The shortest comes first, so that what the warm-up has queued would move the median; an
    # outlier comes last.
    costs = torch.cat([torch.tensor([0.5]), middle, torch.tensor([30.0])])
    return {"first": 5 + seed % 3, "later": costs.double()}


@time_it.drive
def _(function: Function, inputs: Values) -> Values:
    repeats = len(inputs["later"])
    device = Device(inputs["first"], inputs["later"].tolist())
    dated = []  # calls of work before each reading of the clock that shows the date

    def read_date() -> float:
        dated.append(device.calls)
        return device.read()

    with pretended_clock(function, device.read, read_date) as real_readings:
        result = function(device.work, device.synchronise, repeats)
    warm_up = device.calls - repeats
    readings_queued = 0
    for calls, queued in device.queued.items():
        if calls >= warm_up:
            readings_queued += queued
    return {
        TIME: plain(result),
        UNREACHED: min(1, len(real_readings)),
        CLOCK: min(1, len(device.queued)),
        WARM: min(1, warm_up),
        QUEUED: readings_queued,
        BY_DATE: int(max(dated, default=0) > warm_up),  # a warm-up may end by it
    }


JUMPS = (
    "time.time() shows the date, and jumps when the system sets it, so a difference of two "
    "readings can be wrong: take time.perf_counter(), which only runs on"
)
COLD = "work() ran too few times: at least once before the clock starts, then once for each repeat"

time_it.compare(
    UNREACHED,
    says="a clock was read in a place that the check does not reach: call time.perf_counter() by "
    "its name",
)
time_it.compare(
    CLOCK,
    says="no clock was read that the check knows and that runs on while Python waits: call "
    "time.perf_counter()",
)
time_it.compare(WARM, says=COLD)
time_it.compare(
    QUEUED,
    says="work was still queued when the clock was read: synchronise() first, at the start and at "
    "the end",
)
time_it.compare(
    TIME,
    says="it is not the median of the repeats' seconds: time each call of work() by itself",
)
time_it.compare(BY_DATE, says=JUMPS)

time_it.wrong(
    "no warm-up",
    says=COLD,
    edit={"work()  # the first call compiles and allocates": ""},
)
time_it.wrong(
    "no synchronise at the end",
    says="that times only the launch of the work: call synchronise() before you read the clock at "
    "the end",
    edit={"synchronise()  # work() has only queued it": ""},
)
time_it.wrong(
    "synchronise after the clock",
    says="that times only the launch of the work: call synchronise() before you read the clock at "
    "the end",
    edit={
        "synchronise()  # work() has only queued it": "",
        "seconds.append(time.perf_counter() - start)": (
            "seconds.append(time.perf_counter() - start)\nsynchronise()"
        ),
    },
)
time_it.wrong(
    "no synchronise before",
    says="earlier work was still queued when the clock started: call synchronise() before it",
    edit={"synchronise()  # what is still queued must not count": ""},
)
time_it.wrong(
    "synchronise after the start",
    says="earlier work was still queued when the clock started: call synchronise() before it",
    edit={
        "synchronise()  # what is still queued must not count": "",
        "start = time.perf_counter()": "start = time.perf_counter()\nsynchronise()",
    },
)
time_it.wrong(
    "no synchronise",
    says="synchronise() is never called: Python does not wait for the device",
    edit={
        "synchronise()  # what is still queued must not count": "",
        "synchronise()  # work() has only queued it": "",
    },
)
time_it.wrong(
    "mean",
    says="that is the mean, which one slow call moves: take the median",
    last_line="return statistics.mean(seconds)",
)
time_it.wrong(
    "minimum",
    says="that is the shortest time: take the median",
    last_line="return min(seconds)",
)
time_it.wrong(
    "total",
    says="that is the time of all repeats together: take the median",
    last_line="return sum(seconds)",
)
time_it.wrong(
    "last",
    says="that is the last time alone: collect all, take the median",
    last_line="return seconds[-1]",
)
time_it.wrong(
    "milliseconds",
    says="that is in milliseconds: return seconds",
    last_line="return 1000 * statistics.median(seconds)",
)
time_it.wrong(
    "warm-up timed",
    says="the warm-up is among the times: leave it out",
    edit={
        "work()  # the first call compiles and allocates": "",
        "for _ in range(repeats):": "for _ in range(repeats + 1):",
    },
)
time_it.wrong(
    "list",
    says="that is the list of times: return its median",
    last_line="return seconds",
)
time_it.wrong(
    "the clock of the date",
    says=JUMPS,
    edit={
        "start = time.perf_counter()": "start = time.time()",
        "seconds.append(time.perf_counter() - start)": "seconds.append(time.time() - start)",
    },
)
time_it.wrong(
    "processor time",
    says="no clock was read",
    edit={
        "start = time.perf_counter()": "start = time.process_time()",
        "seconds.append(time.perf_counter() - start)": (
            "seconds.append(time.process_time() - start)"
        ),
    },
)


# hardware.predicted_step


@exercise(
    id="hardware.predicted_step",
    level=2,
    after="That is the roofline turned round: seconds in place of rates, and a CPU's overhead on "
    "top.",
    minutes=8,
    points=2,
    hints=(
        "Computing alone would take FLOPs / (FLOPs per second); moving alone bytes / (bytes per "
        "second).",
        "While a device computes with some bytes it fetches the next ones, so the longer of the "
        "two times counts.",
        "overhead + max(flops / computes, traffic / moves)",
    ),
    form=number,
)
def predicted_step(needs, rates, overhead):
    """Seconds of a step that needs (FLOPs, bytes),
    on a device that computes and moves so many of each per second.
    """
    flops, traffic = needs
    computes, moves = rates
    # Both go on at the same time.
    return overhead + max(flops / computes, traffic / moves)


@predicted_step.draw
def _(seed: int) -> Values:
    generator = torch.Generator().manual_seed(seed)
    count = 2 * (3 + seed % 4)
    needs = 1e9 * (1 + torch.rand(count, 2, generator=generator, dtype=torch.float64))
    needs[::2, 0] *= 40  # every other step is limited by computing
    rates = torch.tensor([[2e11, 1e11]], dtype=torch.float64).repeat(count, 1)
    overhead = 0.005 + 0.005 * torch.rand(count, generator=generator, dtype=torch.float64)
    overhead[1] = 0.05  # longer than all the rest of this step
    return {"needs": needs, "rates": rates, "overhead": overhead}


@predicted_step.drive
def _(function: Function, inputs: Values) -> Values:
    columns = (inputs[name].tolist() for name in ("needs", "rates", "overhead"))
    steps = zip(*columns, strict=True)
    seconds = [function(tuple(needs), tuple(rates), overhead) for needs, rates, overhead in steps]
    return {
        "seconds of steps that computing limits": plain(seconds[::2]),
        "seconds of steps that moving limits": plain(seconds[1::2]),
    }


predicted_step.part("limited by computing", points=1)
predicted_step.compare(
    "seconds of steps that computing limits",
    says="where computing takes longer than moving, it is the overhead and FLOPs per rate",
)
predicted_step.part("limited by moving", points=1)
predicted_step.compare(
    "seconds of steps that moving limits",
    says="where moving takes longer than computing, it is the overhead and bytes per rate",
)
predicted_step.wrong(
    "sum",
    says="you added computing and moving: they go on at the same time, so the longer one counts",
    last_line="return overhead + flops / computes + traffic / moves",
)
predicted_step.wrong(
    "minimum",
    says="that is the shorter of the two times: the step waits for the longer one",
    last_line="return overhead + min(flops / computes, traffic / moves)",
)
predicted_step.wrong(
    "no overhead",
    says="the overhead is missing: Python and PyTorch need it in any case",
    last_line="return max(flops / computes, traffic / moves)",
)
predicted_step.wrong(
    "overhead inside",
    says="that is about right for a GPU, which computes while Python hands over; on a CPU Python "
    "waits, so add the overhead to the longer time",
    last_line="return max(overhead, flops / computes, traffic / moves)",
)
predicted_step.wrong(
    "computing only",
    says="moving is missing: a step may wait for its bytes",
    last_line="return overhead + flops / computes",
)
predicted_step.wrong(
    "moving only",
    says="computing is missing: a step may wait for its FLOPs",
    last_line="return overhead + traffic / moves",
)
predicted_step.wrong(
    "upside down",
    says="seconds are work divided by rate, and not rate divided by work",
    last_line="return overhead + max(computes / flops, moves / traffic)",
)


# hardware.batches_resident

SIZES = "the batch sizes"
IMAGES = "the images"
LABELS = "the labels"
CAST = "more than a batch cast"


HELD = "batches held as floats before they are needed"


class LargestFloats(TorchFunctionMode):
    """Notes the largest float tensor that an operation gives, and which of them are still there."""

    numbers = 0

    def __init__(self) -> None:
        super().__init__()
        self.results: list[ref[Tensor]] = []

    def alive(self) -> int:
        """How many floats are held now."""
        tensors = [result() for result in self.results]
        storages = {one.untyped_storage().data_ptr(): one for one in tensors if one is not None}
        return sum(one.numel() for one in storages.values())

    def __torch_function__(
        self, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        if isinstance(result, Tensor) and result.is_floating_point():
            self.numbers = max(self.numbers, result.numel())
            self.results.append(ref(result))
        return result


@exercise(
    id="hardware.batches_resident",
    level=2,
    after="Pixels stay one byte each until their batch is needed, which takes a quarter of the "
    "memory.",
    minutes=10,
    points=3,
    hints=(
        "Draw one random order of all positions; a batch is a piece of it, for images and labels "
        "alike.",
        "torch.randperm(len(images), generator=generator) is the order; .split(batch_size) cuts "
        "it.",
        "For each piece: yield images[piece].float() / 255, labels[piece]. The set itself stays "
        "uint8.",
    ),
    form=forms.batches,
)
def resident_batches(images, labels, batch_size, generator):
    """Yields one epoch of (float images in [0, 1], labels), in random order;
    the last batch holds what is left.
    """
    order = torch.randperm(len(images), generator=generator).to(images.device)
    for chosen in order.split(batch_size):
        yield images[chosen].float() / 255, labels[chosen]


@resident_batches.draw
def _(seed: int) -> Values:
    generator = torch.Generator().manual_seed(seed)
    # A batch has more pixels than the 256 floats of a table of all levels.
    size, height, width = (whole_number(low, low + 3, generator) for low in (4, 8, 9))
    count = 3 * size + 1 + seed % 3
    images = torch.randint(256, (count, 1, height, width), generator=generator, dtype=torch.uint8)
    images[:, 0, 0, 0] = 255
    images[:, 0, 0, 1] = torch.arange(count)  # no two are equal
    labels = torch.randint(10, (count,), generator=generator)
    return {
        "images": images,
        "labels": labels,
        "batch_size": size,
        "seed": whole_number(0, 10**6, generator),
    }


@resident_batches.drive
def _(function: Function, inputs: Values) -> Values:
    # An order that ignores the generator is then that of the wrong answer.
    torch.manual_seed(inputs["seed"] + 1)
    generator = torch.Generator().manual_seed(inputs["seed"])
    images = inputs["images"]
    labels = inputs["labels"]
    size = inputs["batch_size"]
    largest = LargestFloats()
    held = False
    batches: list[Any] = []
    for _ in range(2):  # epochs, whose orders differ
        with largest:
            result = function(images.clone(), labels.clone(), size, generator)
            if not isinstance(result, Iterable):
                words = f"a generator or a list of batches was expected, got {plain(result)!s:.80}"
                return {RETURNED: words}
            held |= isinstance(result, (list, tuple))
            asked_for = iter(result)
            batches += islice(asked_for, 1)
            # One batch, and what it was made of: all of them are more than three.
            held |= largest.alive() > 3 * size * images[0].numel()
            batches += islice(asked_for, len(images))
            largest.results.clear()
    fault = batches_fault(batches)
    if fault is not None:
        return {RETURNED: fault}
    rows = 2 * len(images)
    sizes = torch.tensor([len(batch) for batch, _ in batches], dtype=torch.float64)
    total = sizes.sum(0, keepdim=True)
    batch_count = 2 * -(-len(images) // size)
    all_labels = torch.cat([labels[:0], *(batch for _, batch in batches)])
    return {
        RETURNED: 1,
        CAST: int(largest.numbers > size * images[0].numel()),
        HELD: int(held),
        SIZES: torch.cat([cut(sizes, batch_count), total]),
        IMAGES: all_images(batches, images),
        LABELS: cut(all_labels.double(), rows),
    }


def batches_fault(batches: list[Any]) -> str | None:
    """What is wrong with the kind of these batches, which may be anything; or None."""
    for pair in batches:
        is_pair = isinstance(pair, (tuple, list)) and len(pair) == 2
        if not is_pair or not all(isinstance(x, Tensor) and x.dim() for x in pair):
            return "each batch must be a pair of tensors: (images, labels)"
    for _, labels in batches:
        if labels.is_floating_point() or labels.dim() != 1:
            shape = list(labels.shape)
            return f"the labels must stay whole numbers [n], got {labels.dtype} of shape {shape}"
    return None


def all_images(batches: list[tuple[Tensor, Tensor]], images: Tensor) -> Tensor:
    """The images of two epochs; where some are of another kind, the first batch of
    these.
    """
    for batch, _ in batches:
        if not batch.is_floating_point() or batch.shape[1:] != images.shape[1:]:
            return batch
    rows = torch.cat([images[:0].double(), *(batch for batch, _ in batches)])
    return cut(rows, 2 * len(images))


resident_batches.compare(
    RETURNED,
    CAST,
    says="more than one batch was turned into floats at once: keep the set uint8, cast each batch",
)
ALL_AT_ONCE = (
    "all batches were made before the first one was used, so that the whole set lies there as "
    "floats after all: yield each batch when it is asked for"
)
resident_batches.compare(HELD, says=ALL_AT_ONCE)
resident_batches.compare(
    SIZES,
    says="the batches must have batch_size images each, and the last one what is left",
)
resident_batches.compare(
    IMAGES,
    says="the images are not those of torch.randperm(len(images), generator=generator), divided "
    "by 255",
)
resident_batches.compare(
    LABELS,
    says="the labels are not those of their images: index both with the same numbers",
)

resident_batches.wrong(
    "not shuffled",
    says="the images are not shuffled: use torch.randperm",
    edit={
        "order = torch.randperm(len(images), generator=generator).to(images.device)": (
            "order = torch.arange(len(images))"
        )
    },
)
resident_batches.wrong(
    "generator ignored",
    says="the order ignores the generator: give it to torch.randperm",
    edit={
        "order = torch.randperm(len(images), generator=generator).to(images.device)": (
            "order = torch.randperm(len(images))"
        )
    },
)
resident_batches.wrong(
    "with replacement",
    says="some images come twice and others never: torch.randperm",
    edit={
        "order = torch.randperm(len(images), generator=generator).to(images.device)": (
            "order = torch.randint(len(images), (len(images),), generator=generator)"
        )
    },
)
resident_batches.wrong(
    "last dropped",
    says="the last, smaller batch is missing",
    edit={"for chosen in order.split(batch_size):": "for chosen in order.split(batch_size)[:-1]:"},
)
resident_batches.wrong(
    "first batch only",
    says="only one batch came: go through the whole order",
    edit={"for chosen in order.split(batch_size):": "for chosen in order.split(batch_size)[:1]:"},
)
resident_batches.wrong(
    "labels not shuffled",
    says="the labels are not those of their images",
    last_line="yield images[chosen].float() / 255, labels[chosen.sort().values]",
)
resident_batches.wrong(
    "0 to 255",
    says="the images are in 0 to 255: divide by 255",
    last_line="yield images[chosen].float(), labels[chosen]",
)
resident_batches.wrong(
    "256",
    says="you divided by 256: the largest level is 255",
    last_line="yield images[chosen].float() / 256, labels[chosen]",
)
resident_batches.wrong(
    "integer division",
    says="// rounds down, so that only 0 and 1 are left: divide by /",
    last_line="yield images[chosen].float() // 255, labels[chosen]",
)
resident_batches.wrong(
    "uint8",
    says="the images are still uint8: images[chosen].float() / 255",
    last_line="yield images[chosen], labels[chosen]",
)


@resident_batches.wrong("whole set cast", says="more than one batch was turned into floats")
def _(images, labels, batch_size, generator):
    images = images.float() / 255
    order = torch.randperm(len(images), generator=generator)
    for chosen in order.split(batch_size):
        yield images[chosen], labels[chosen]


@resident_batches.wrong("list of all batches", says=ALL_AT_ONCE)
def _(images, labels, batch_size, generator):
    order = torch.randperm(len(images), generator=generator)
    return [(images[piece].float() / 255, labels[piece]) for piece in order.split(batch_size)]


resident_batches.wrong(
    "images only",
    says="each batch must be a pair of tensors",
    last_line="yield images[chosen].float() / 255",
)


# hardware.accumulate

EXCESS = "images beyond micro_batch at once"
KEPT = "a part's graph was kept while another part was computed"


class Saved:
    """A tensor that the backward pass will need, as long as it is kept for it."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor


class KeptGraphs(saved_tensors_hooks):
    """Notes whether tensors that a backward pass needs are still kept where a network begins.

    backward() lets go of them, so there are none if each part had its own.
    """

    def __init__(self) -> None:
        self.alive: WeakSet[Saved] = WeakSet()
        self.kept = False
        super().__init__(self._keep, lambda saved: saved.tensor)

    def _keep(self, tensor: Tensor) -> Saved:
        saved = Saved(tensor.detach())
        self.alive.add(saved)
        return saved

    def look(self) -> None:
        """To be called before each forward pass."""
        self.kept |= len(self.alive) > 0


@exercise(
    id="hardware.accumulate",
    level=3,
    after="The gradient is that of the whole batch, and each backward() frees its part's graph, so "
    "memory limits the micro-batch and no longer the batch.",
    minutes=12,
    points=3,
    hints=(
        "backward() adds to the gradients that are there: clear them once, update once, and loop "
        "in between.",
        "The batch's mean loss is the sum of the parts' mean losses, each times its share of the "
        "images.",
        "In the loop: (loss_fn(model(part), part_labels) * len(part) / len(images)).backward()",
    ),
)
def accumulated_step(model, loss_fn, optimizer, images, labels, micro_batch):
    """One training step on the whole batch,
    with at most `micro_batch` images in memory at a time.
    """
    optimizer.zero_grad()
    parts = zip(images.split(micro_batch), labels.split(micro_batch), strict=True)
    for part, part_labels in parts:
        loss = loss_fn(model(part), part_labels)  # a mean over this part
        share = len(part) / len(images)
        (share * loss).backward()  # adds to the gradients of the parts before
    optimizer.step()


@accumulated_step.draw
def _(seed: int) -> Values:
    values = problem(seed, batches=2)
    # The last part is smaller.
    return values | {"micro_batch": 4 if values["batch_size"] == 6 else 3}


@accumulated_step.drive
def _(function: Function, inputs: Values) -> Values:
    model = network(inputs)
    optimizer = sgd(model)
    updates = count_updates(optimizer)
    leave_gradients(model)
    images_at_once = [0]
    graphs = KeptGraphs()

    def before_forward(_module: nn.Module, args: tuple[Tensor, ...]) -> None:
        images_at_once.append(len(args[0]))
        graphs.look()

    model[0].register_forward_pre_hook(before_forward)
    loss_fn = partial(F.cross_entropy, label_smoothing=0.2)
    weights = []
    for images, labels in batches_of(inputs):
        with graphs:
            function(model, loss_fn, optimizer, images, labels, inputs["micro_batch"])
        graphs.alive.clear()  # what a batch leaves behind is not the next one's
        weights.append(weights_of(model))
    return {
        "weights": torch.stack(weights),
        "updates": len(updates),
        EXCESS: max(0, max(images_at_once) - inputs["micro_batch"]),
        KEPT: int(graphs.kept),
        LEFT_IN_EVAL: int(not model.training),
    }


accumulated_step.compare(
    "updates",
    says="each call is to update once: one optimizer.step(), after the last part",
)
accumulated_step.compare(
    EXCESS,
    says="the model saw more than micro_batch images at once: split the batch",
)
accumulated_step.compare(
    "weights",
    says="the weights are not those after one step on the whole batch, with loss_fn's mean loss",
)
ONE_BACKWARD = (
    "backward() waits for all parts, so that the graph of each stays in memory and nothing is "
    "saved: call it for each part, before the next one"
)
FROM_BEFORE = (
    "gradients from before the call are still there and are added: optimizer.zero_grad() comes "
    "first"
)
accumulated_step.compare(KEPT, says=ONE_BACKWARD)
accumulated_step.compare(LEFT_IN_EVAL, says=LEAVE_THE_MODE)


@accumulated_step.wrong("one backward for all parts", says=ONE_BACKWARD)
def _(model, loss_fn, optimizer, images, labels, micro_batch):
    optimizer.zero_grad()
    total = 0.0
    for part, part_labels in zip(images.split(micro_batch), labels.split(micro_batch), strict=True):
        total = total + loss_fn(model(part), part_labels) * len(part) / len(images)
    total.backward()
    optimizer.step()


@accumulated_step.wrong("one loss of all logits", says=ONE_BACKWARD)
def _(model, loss_fn, optimizer, images, labels, micro_batch):
    optimizer.zero_grad()
    logits = torch.cat([model(part) for part in images.split(micro_batch)])
    loss_fn(logits, labels).backward()
    optimizer.step()


accumulated_step.wrong(
    "unweighted",
    says="the smaller last part counts as much as the others: weigh each by its images",
    edit={"share = len(part) / len(images)": "share = 1 / len(images.split(micro_batch))"},
)
accumulated_step.wrong(
    "micro_batch as size",
    says="the last part is smaller: weigh it by its own images",
    edit={"share = len(part) / len(images)": "share = micro_batch / len(images)"},
)
accumulated_step.wrong(
    "no division",
    says="the parts' mean losses are added up: weigh each by its share of the images",
    edit={"share = len(part) / len(images)": "share = 1"},
)
accumulated_step.wrong(
    "sum of losses",
    says="that is the gradient of the summed loss: divide by the batch's images",
    edit={"share = len(part) / len(images)": "share = len(part)"},
)
accumulated_step.wrong(
    "cleared in the loop",
    says="only the last part counts: zero_grad() before the loop, backward() inside it",
    edit={
        "share = len(part) / len(images)": "share = len(part) / len(images)\noptimizer.zero_grad()"
    },
)
accumulated_step.wrong(
    "backward after the loop",
    says="only the last part counts: zero_grad() before the loop, backward() inside it",
    edit={
        "(share * loss).backward()": "",
        "optimizer.step()": "(share * loss).backward()\noptimizer.step()",
    },
)
accumulated_step.wrong(
    "update in the loop",
    says="there is one update a part: optimizer.step() comes once, after the loop",
    edit={
        "(share * loss).backward()": "(share * loss).backward()\noptimizer.step()",
        "optimizer.step()": "",
    },
)
accumulated_step.wrong(
    "small steps",
    says="those are separate steps on small batches: clear before the loop, update after it",
    edit={
        "optimizer.zero_grad()": "",
        "(share * loss).backward()": (
            "optimizer.zero_grad()\n(share * loss).backward()\noptimizer.step()"
        ),
        "optimizer.step()": "",
    },
)
accumulated_step.wrong(
    "no zero_grad",
    says=FROM_BEFORE,
    edit={"optimizer.zero_grad()": ""},
)
accumulated_step.wrong(
    "cleared at the end",
    says=FROM_BEFORE,
    edit={
        "optimizer.zero_grad()": "",
        "optimizer.step()": "optimizer.step()\noptimizer.zero_grad()",
    },
)
accumulated_step.wrong(
    "eval mode",
    says="left in eval mode",
    edit={"optimizer.zero_grad()": "model.eval()\noptimizer.zero_grad()"},
)
accumulated_step.wrong(
    "no update",
    says="the weights have not moved: optimizer.step() was never called",
    edit={"optimizer.step()": ""},
)
accumulated_step.wrong(
    "last part dropped",
    says="the last, smaller part is missing",
    edit={"for part, part_labels in parts:": "for part, part_labels in list(parts)[:-1]:"},
)
accumulated_step.wrong(
    "whole batch",
    says="the model saw more than micro_batch images at once: split the batch",
    edit={
        "parts = zip(images.split(micro_batch), labels.split(micro_batch), strict=True)": (
            "parts = [(images, labels)]"
        )
    },
)


# hardware.shared_backward

GRADIENTS = "the gradients of the first process"
APART = "processes whose gradients are not those of the first"
TWICE = "images computed beyond each one once"
LEFT_OUT = "images that no process computed"
IDLE = "processes without an image"
NEVER_CALLED = "all_reduce was never called"
UPDATED = "the weights were changed"
UNEQUAL = (
    "one process called all_reduce and another one had ended: all must call it equally often, or "
    "they wait for ever"
)


SHAPES = (
    "the processes gave all_reduce tensors of different shapes: each call adds up one tensor of "
    "each process, all of one shape, such as the gradient of one weight"
)
CHUNK = "chunk may give fewer parts than asked for, tensor_split(world) gives one to each process"
IN_PLACE = (
    "a weight is left without a gradient: clear them before backward(), and assign nothing that "
    "all_reduce returns, since it changes its tensor in place and returns nothing"
)


class UnequalCalls(RuntimeError):
    """The processes' calls of `all_reduce` do not fit together."""


class Group:
    """Pretended processes: threads that meet in `all_reduce`."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.calls = 0
        self.round = 0
        self.waiting: dict[int, Tensor] = {}
        self.someone_ended = False
        self.differ = False  # in shape
        self.met = threading.Condition()

    def all_reduce(self, rank: int, tensor: Tensor) -> None:
        """Replaces the tensor by the sum of all processes' tensors, once all have come."""
        if not isinstance(tensor, Tensor):
            raise TypeError(f"all_reduce takes a tensor, got {type(tensor).__name__}")
        with self.met:
            self.calls += 1
            self.waiting[rank] = tensor
            round_of_call = self.round
            if len(self.waiting) == self.size:
                self._add()
            self.met.wait_for(lambda: self.round > round_of_call or self.someone_ended)
            if self.round == round_of_call:
                raise UnequalCalls(SHAPES if self.differ else UNEQUAL)

    def _add(self) -> None:
        tensors = list(self.waiting.values())
        self.waiting.clear()
        if len({tensor.shape for tensor in tensors}) > 1:
            self.differ = True
            self.end()
            return
        total = torch.stack([tensor.detach() for tensor in tensors]).sum(0)
        with torch.no_grad():
            for tensor in tensors:
                tensor.copy_(total)
        self.round += 1
        self.met.notify_all()

    def end(self) -> None:
        """To be called when a process has ended: nobody waits for it any longer."""
        with self.met:
            self.someone_ended = True
            self.met.notify_all()

    def run(self, work: Callable[[int], None]) -> None:
        """Runs work(rank) in each process at once; raises what one of them has raised."""
        errors: list[tuple[bool, int, BaseException]] = []
        profile = sys.getprofile()  # a check sees by it who calls the reference

        def process(rank: int) -> None:
            sys.setprofile(profile)
            try:
                work(rank)
            except BaseException as error:  # exit(), too
                follows = isinstance(error, UnequalCalls)  # from another one's, mostly
                errors.append((follows, rank, error))
            finally:
                self.end()

        threads = [
            threading.Thread(target=process, args=(rank,), daemon=True) for rank in range(self.size)
        ]
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        finally:
            self.end()  # an interrupt leaves nobody waiting
        if errors:
            raise min(errors, key=lambda one: one[:2])[2]


@exercise(
    id="hardware.shared_backward",
    level=2,
    after="Each process has the gradient of the whole batch, so all make the same update, and "
    "nobody ever sends weights.",
    alternative="DistributedDataParallel does it while backward still computes, for equal parts.",
    minutes=8,
    points=2,
    hints=(
        "It is the accumulated step with processes in place of pieces: each computes its own part, "
        "and all_reduce adds the gradients up.",
        "images.tensor_split(world)[rank] is this process's part; its mean loss counts by its "
        "share of the images.",
        "After (share * loss).backward(): for weight in model.parameters(): "
        "all_reduce(weight.grad).",
    ),
)
def shared_backward(model, loss_fn, images, labels, rank, world, all_reduce):
    """Leaves the gradients of the mean loss on the whole batch, which `world` processes
    share; all_reduce(tensor) replaces a tensor by its sum over all processes.
    """
    part = images.tensor_split(world)[rank]  # of this process, whose number is rank
    part_labels = labels.tensor_split(world)[rank]
    model.zero_grad()
    loss = loss_fn(model(part), part_labels)  # a mean over this part
    share = len(part) / len(images)
    (share * loss).backward()
    for weight in model.parameters():
        all_reduce(weight.grad)


def shared_backward_source(function: Function) -> str:
    """The text of a learner's shared_backward, for a program that imports torch, nn and F.

    The reference's, and a sentence, where the text does not run by itself.
    """
    try:
        text = source_of(function)
        if function.__name__ != "shared_backward":
            text += f"\nshared_backward = {function.__name__}\n"
        _try_alone(text)
    except Exception as error:  # anything that a learner's text may raise
        say(f"Your function needs more than its own cell ({error}): the reference runs instead.")
        return source_of(shared_backward.reference)
    return text


def _try_alone(text: str) -> None:
    """Runs it on a tiny network in a single process; raises what the text raises."""
    space: dict[str, Any] = {"torch": torch, "nn": nn, "F": F}
    exec(text, space)
    with torch.random.fork_rng(devices=[]):
        pair = torch.ones(2, 2), torch.tensor([0, 1])
        space["shared_backward"](nn.Linear(2, 2), F.cross_entropy, *pair, 0, 1, lambda _: None)


@shared_backward.draw
def _(seed: int) -> Values:
    values = problem(seed, batches=1)
    unequal = [world for world in (2, 3, 4) if values["batch_size"] % world]
    return values | {"world": unequal[seed % len(unequal)]}


def gradients_of(model: nn.Module) -> Tensor:
    """All gradients as one vector, a copy."""
    gradients = [weight.grad for weight in model.parameters() if weight.grad is not None]
    return torch.cat([gradient.detach().flatten() for gradient in gradients])


@shared_backward.drive
def _(function: Function, inputs: Values) -> Values:
    world = inputs["world"]
    group = Group(world)
    models = [network(inputs) for _ in range(world)]
    weights = weights_of(models[0])
    seen: dict[int, list[Tensor]] = {rank: [] for rank in range(world)}
    for rank, model in enumerate(models):
        leave_gradients(model)
        model[0].register_forward_pre_hook(lambda _, args, r=rank: seen[r].append(args[0].detach()))
    loss_fn = partial(F.cross_entropy, label_smoothing=0.2)
    left: Values = {}  # each thread has a switch of its own for gradients

    def work(rank: int) -> None:
        whole = inputs["images"].clone(), inputs["labels"].clone()
        function(models[rank], loss_fn, *whole, rank, world, partial(group.all_reduce, rank))
        left.update(left_behind())

    try:
        group.run(work)
    except UnequalCalls as error:
        return {RETURNED: str(error)}
    except IndexError as error:
        frames = (frame for frame, _ in traceback.walk_tb(error.__traceback__))
        if not any("chunk" in frame.f_code.co_names for frame in frames):
            raise
        return {RETURNED: f"IndexError ({error}): {CHUNK}"}
    if any(weight.grad is None for model in models for weight in model.parameters()):
        return {RETURNED: IN_PLACE}
    gradients = torch.stack([gradients_of(model) for model in models])
    computed = torch.cat([part for parts in seen.values() for part in parts] or [torch.empty(0)])
    different = len(computed.unique(dim=0))
    return left | {
        RETURNED: 1,
        GRADIENTS: gradients[0],
        APART: sum(not torch.allclose(one, gradients[0], equal_nan=True) for one in gradients),
        TWICE: len(computed) - different,
        LEFT_OUT: len(inputs["images"]) - different,
        IDLE: sum(not parts for parts in seen.values()),
        NEVER_CALLED: int(group.calls == 0),
        UPDATED: sum(not torch.equal(weights_of(model), weights) for model in models),
        LEFT_IN_EVAL: int(not all(model.training for model in models)),
    }


OWN_PART = "an image is computed more than once: each process takes its own part of the batch"
TOGETHER = "some images are computed by no process: together the parts are the whole batch"
NO_PART = "a process computes no image: each of them takes a part of the batch"
OWN_WAY = "all_reduce was never called: each process goes its own way"
DIFFERENT = (
    "the processes end with different gradients: all_reduce(weight.grad) for each weight, after "
    "backward()"
)
shared_backward.compare(RETURNED, TWICE, says=OWN_PART)
shared_backward.compare(LEFT_OUT, says=TOGETHER)
shared_backward.compare(IDLE, says=NO_PART)
shared_backward.compare(NEVER_CALLED, says=OWN_WAY)
shared_backward.compare(
    UPDATED,
    says="the weights have changed: leave gradients behind, and the update to the caller",
)
shared_backward.compare(APART, says=DIFFERENT)
shared_backward.compare(
    GRADIENTS,
    says="all processes agree, but not on the gradients of the mean of loss_fn on the whole batch",
)
shared_backward.compare(LEFT_IN_EVAL, says=LEAVE_THE_MODE)

shared_backward.wrong(
    "no all_reduce",
    says=OWN_WAY,
    edit={"all_reduce(weight.grad)": "pass"},
)


@shared_backward.wrong("before backward", says=DIFFERENT)
def _(model, loss_fn, images, labels, rank, world, all_reduce):
    part, part_labels = images.tensor_split(world)[rank], labels.tensor_split(world)[rank]
    model.zero_grad(set_to_none=False)
    for weight in model.parameters():
        all_reduce(weight.grad)
    (len(part) / len(images) * loss_fn(model(part), part_labels)).backward()


shared_backward.wrong(
    "the loss alone",
    says=DIFFERENT,
    edit={
        "(share * loss).backward()": "all_reduce(loss.detach())\n(share * loss).backward()",
        "all_reduce(weight.grad)": "pass",
    },
)
shared_backward.wrong(
    "the first weights alone",
    says=DIFFERENT,
    edit={"for weight in model.parameters():": "for weight in list(model.parameters())[:1]:"},
)
shared_backward.wrong(
    "no share",
    says="the parts' mean losses are added up: weigh each by its share of the images",
    edit={"share = len(part) / len(images)": "share = 1"},
)
shared_backward.wrong(
    "equal shares",
    says="the parts differ in size: weigh each by its own images, not by 1 / world",
    edit={"share = len(part) / len(images)": "share = 1 / world"},
)
shared_backward.wrong(
    "sum of losses",
    says="that is the gradient of the summed loss: divide by the batch's images",
    edit={"share = len(part) / len(images)": "share = len(part)"},
)
shared_backward.wrong(
    "weights in place of gradients",
    says="the weights themselves were added up: all_reduce takes their gradients, weight.grad",
    edit={"all_reduce(weight.grad)": "all_reduce(weight.data)"},
)
shared_backward.wrong(
    "one process sends",
    says=UNEQUAL,
    edit={"all_reduce(weight.grad)": "all_reduce(weight.grad) if rank == 0 else None"},
)
shared_backward.wrong(
    "parts of gradients",
    says=SHAPES,
    edit={"all_reduce(weight.grad)": "all_reduce(weight.grad[: rank + 1])"},
)
shared_backward.wrong(
    "whole batch",
    says=OWN_PART,
    edit={
        "part = images.tensor_split(world)[rank]": "part = images",
        "part_labels = labels.tensor_split(world)[rank]": "part_labels = labels",
    },
)
shared_backward.wrong(
    "the first part for all",
    says=OWN_PART,
    edit={
        "part = images.tensor_split(world)[rank]": "part = images.tensor_split(world)[0]",
        "part_labels = labels.tensor_split(world)[rank]": (
            "part_labels = labels.tensor_split(world)[0]"
        ),
    },
)
shared_backward.wrong(
    "one process works",
    says=NO_PART,
    edit={
        "loss = loss_fn(model(part), part_labels)": (
            "part, part_labels = images, labels\n"
            "model.zero_grad(set_to_none=False)\n"
            "if rank > 0:\n"
            "    for weight in model.parameters():\n"
            "        weight.grad = torch.zeros_like(weight)\n"
            "        all_reduce(weight.grad)\n"
            "    return\n"
            "loss = loss_fn(model(part), part_labels)"
        )
    },
)
shared_backward.wrong(
    "rounded down",
    says=TOGETHER,
    edit={
        "part = images.tensor_split(world)[rank]": (
            "n = len(images) // world\npart = images[rank * n :][:n]"
        ),
        "part_labels = labels.tensor_split(world)[rank]": "part_labels = labels[rank * n :][:n]",
    },
)
shared_backward.wrong(
    "what all_reduce returns",
    says=IN_PLACE,
    edit={"all_reduce(weight.grad)": "weight.grad = all_reduce(weight.grad)"},
)
shared_backward.wrong(
    "no zero_grad",
    says="gradients from before the call are still there and are added: model.zero_grad() comes "
    "first",
    edit={"model.zero_grad()": ""},
)
shared_backward.wrong(
    "eval mode",
    says="left in eval mode",
    edit={"model.zero_grad()": "model.eval()\nmodel.zero_grad()"},
)


# hardware.resume

KEYS = ("model", "optimizer", "epoch", "rng")
RUN = "the weights of the run that went on"
RESUMED = "the weights of the resumed run"
DISTURBED = (
    "your function changed the run itself: it may only read the model, the optimiser and the "
    "random state"
)


class Training:
    """A network with dropout, and Adam, which remembers."""

    def __init__(self, inputs: Values, weights: Tensor) -> None:
        self.inputs = inputs
        self.model = network(inputs | {"weights": weights})
        self.model.insert(3, nn.Dropout(0.3))
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=0.03)

    def run(self, epochs: range) -> None:
        """Trains, and lets the global generator decide the order and the dropout."""
        images = self.inputs["images"]
        for _ in epochs:
            order = torch.randperm(len(images))
            for rows in order.split(self.inputs["batch_size"]):
                training_step(self.model, self.optimizer, images[rows], self.inputs["labels"][rows])

    def resume(self, checkpoint: dict[str, Any]) -> int:
        """Loads a checkpoint, trains to the end and returns how many epochs had been finished."""
        self.model.load_state_dict(checkpoint["model"])
        self.optimizer.load_state_dict(checkpoint["optimizer"])
        finished = int(checkpoint["epoch"])
        torch.set_rng_state(checkpoint["rng"])
        self.run(range(max(0, finished), self.inputs["epochs"]))
        return finished


def gap_after_resuming(function: Function) -> float:
    """The largest difference of a weight between a run that went on and one that was resumed.

    `function(model, optimizer, epoch)` gives the checkpoint. What it lacks is left as it is in a
    new process.
    """
    with torch.random.fork_rng(devices=[]):
        inputs = problem(0, batches=2) | {"epochs": 3}
        torch.manual_seed(0)
        training = Training(inputs, inputs["weights"])
        training.run(range(1))
        saved = function(training.model, training.optimizer, 1)
        training.run(range(1, inputs["epochs"]))
        torch.manual_seed(1)
        resumed = Training(inputs, inputs["weights"].flip(0))
        fresh = {
            "model": resumed.model.state_dict(),
            "optimizer": resumed.optimizer.state_dict(),
            "epoch": 0,
            "rng": torch.get_rng_state(),
        }
        resumed.resume(fresh | saved)
    return (weights_of(training.model) - weights_of(resumed.model)).abs().max().item()


@exercise(
    id="hardware.resume",
    level=2,
    after="Weights alone are not enough: without the optimiser's state and the random numbers, "
    "the run goes on as another one.",
    minutes=12,
    points=3,
    hints=(
        "Four things decide the next step here: weights, what Adam remembers, which epoch comes, "
        "the next random numbers.",
        "model.state_dict(), optimizer.state_dict(), epoch, torch.get_rng_state(), under the keys "
        "asked for.",
        "state_dict() hands out the very tensors that training changes: return copy.deepcopy of "
        "the whole dict.",
    ),
    form=forms.state,
)
def checkpoint(model, optimizer, epoch):
    """All that training needs to go on after `epoch` finished epochs, as copies."""
    state = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "epoch": epoch,
        "rng": torch.get_rng_state(),
    }
    return copy.deepcopy(state)  # the next step changes the tensors themselves


@checkpoint.draw
def _(seed: int) -> Values:
    return problem(seed, batches=2) | {"finished": 1 + seed % 2, "epochs": 3}


def _and_not_copied(saved: Any, training: Training) -> str:
    """A second fault, which would otherwise show only when nothing is missing any more."""
    own = {tensor.data_ptr() for tensor in training.model.state_dict().values()}
    weights = saved.get("model")
    tensors = weights.values() if isinstance(weights, dict) else ()
    if any(isinstance(one, Tensor) and one.data_ptr() in own for one in tensors):
        return ", and its weights changed while training went on"
    return ""


@checkpoint.drive
def _(function: Function, inputs: Values) -> Values:
    finished = inputs["finished"]
    torch.manual_seed(0)
    training = Training(inputs, inputs["weights"])
    training.run(range(finished))
    saved = function(training.model, training.optimizer, finished)
    training.run(range(finished, inputs["epochs"]))
    if not isinstance(saved, dict):
        return {RETURNED: f"a dict was expected, got {plain(saved)!s:.80}"}
    missing = [f'"{key}"' for key in KEYS if key not in saved]
    if missing:
        lacks = f"the checkpoint lacks {', '.join(missing)}"
        return {RETURNED: lacks + _and_not_copied(saved, training)}
    torch.manual_seed(1)  # a new process, with other weights and random numbers
    resumed = Training(inputs, inputs["weights"].flip(0))
    try:
        epoch = resumed.resume(saved)
    except Exception as error:
        reason = f"{type(error).__name__}: {error!s:.200}"
        return {RETURNED: f"the checkpoint does not load ({reason})"}
    return {
        RETURNED: 1,
        "epoch": epoch,
        RUN: weights_of(training.model),
        RESUMED: weights_of(resumed.model),
    }


checkpoint.compare(RUN, says=DISTURBED)
checkpoint.compare(
    RETURNED, "epoch", says="epoch must be the number of finished epochs, as it was given"
)
checkpoint.compare(
    RESUMED,
    says="the resumed run ends with other weights than the run that went on: is it all saved, and "
    "copied?",
)

checkpoint.wrong(
    "references",
    says="the checkpoint changed while training went on: return copies of the tensors, "
    "copy.deepcopy",
    last_line="return state",
)
checkpoint.wrong(
    "shallow copy",
    says="the checkpoint changed while training went on: return copies of the tensors, "
    "copy.deepcopy",
    last_line="return dict(state)",
)
checkpoint.wrong(
    "only model copied",
    says="the optimiser's tensors in the checkpoint changed while training went on: copy them, too",
    last_line='return state | {"model": copy.deepcopy(state["model"])}',
)
checkpoint.wrong(
    "only optimiser copied",
    says="the weights in the checkpoint changed while training went on: copy them, too",
    last_line='return state | {"optimizer": copy.deepcopy(state["optimizer"])}',
)
checkpoint.wrong(
    "no optimiser",
    says='the checkpoint lacks "optimizer"',
    edit={'"optimizer": optimizer.state_dict(),': ""},
)
checkpoint.wrong(
    "no random state",
    says='the checkpoint lacks "rng"',
    edit={'"rng": torch.get_rng_state(),': ""},
)
checkpoint.wrong(
    "weights only",
    says='the checkpoint lacks "model"',
    last_line='return copy.deepcopy(state["model"])',
)
checkpoint.wrong(
    "optimiser emptied",
    says="the optimiser's memory is empty: Adam would start its averages again",
    edit={
        '"optimizer": optimizer.state_dict(),': (
            '"optimizer": optimizer.state_dict() | {"state": {}},'
        )
    },
)
checkpoint.wrong(
    "one epoch too many",
    says="epoch is one too high: it counts finished epochs",
    edit={'"epoch": epoch,': '"epoch": epoch + 1,'},
)
checkpoint.wrong(
    "one epoch too few",
    says="epoch is one too low: it counts finished epochs",
    edit={'"epoch": epoch,': '"epoch": epoch - 1,'},
)
checkpoint.wrong(
    "another generator",
    says="that is a new generator's state, not that of the numbers that training draws: "
    "torch.get_rng_state()",
    edit={'"rng": torch.get_rng_state(),': '"rng": torch.Generator().get_state(),'},
)
checkpoint.wrong(
    "objects",
    says="the checkpoint does not load",
    edit={'"model": model.state_dict(),': '"model": model,'},
)
checkpoint.wrong(
    "run disturbed",
    says=DISTURBED,
    last_line="torch.manual_seed(3)\nreturn copy.deepcopy(state)",
)
