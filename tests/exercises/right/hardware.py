"""Right answers of chapter 2."""

import copy
import functools
import io
import statistics
import time
import timeit
from collections import OrderedDict
from time import perf_counter
from types import MappingProxyType, SimpleNamespace

import numpy as np
import torch
from torch import nn

from . import ways

# hardware.flops_linear


def flops(batch, inputs, outputs, first):
    return (4 if first else 6) * batch * inputs * outputs


def flops_by_loop(batch, inputs, outputs, first):
    total = 0
    for _ in range(2 if first else 3):
        total += 2 * batch * inputs * outputs
    return total


def flops_by_numpy(batch, inputs, outputs, first):
    return np.prod([batch, inputs, outputs]) * (6 - 2 * np.int64(first))


def flops_by_table(batch, inputs, outputs, first=False):
    return {True: 4.0, False: 6.0}[first] * batch * inputs * outputs


def flops_counted(batch, inputs, outputs, first):
    from torch.utils.flop_counter import FlopCounterMode

    x = torch.ones(batch, inputs, requires_grad=not first)
    with FlopCounterMode(display=False) as counter:
        nn.Linear(inputs, outputs, bias=False)(x).sum().backward()
    return counter.get_total_flops()


FLOPS = [
    flops,
    flops_by_loop,
    flops_by_numpy,
    flops_by_table,
    flops_counted,
    ways.then(flops, np.array),
    ways.then(flops, np.longdouble),
    np.vectorize(flops),
    functools.lru_cache(flops),
    ways.then(flops, torch.tensor),
    *ways.all_ways(flops),
]

# hardware.predicted_step


def predicted(needs, rates, overhead):
    return max(need / rate for need, rate in zip(needs, rates, strict=True)) + overhead


def predicted_by_branch(needs, rates, overhead):
    computing, moving = needs[0] / rates[0], needs[1] / rates[1]
    if computing > moving:
        return overhead + computing
    return overhead + moving


def predicted_by_roofline(needs, rates, overhead):
    intensity = needs[0] / needs[1]
    return needs[0] / min(rates[0], rates[1] * intensity) + overhead


def predicted_by_numpy(needs, rates, overhead):
    return np.max(np.array(needs) / np.array(rates)) + overhead


PREDICTED = [
    predicted,
    predicted_by_branch,
    predicted_by_roofline,
    predicted_by_numpy,
    ways.then(predicted, torch.tensor),
    *ways.all_ways(predicted),
]

# hardware.time_it


def seconds_by(clock, work, synchronise, repeats):
    """The seconds of each repeat, by this clock, after a warm-up."""
    work()
    for _ in range(repeats):
        synchronise()
        start = clock()
        work()
        synchronise()
        yield clock() - start


def time_by_timeit(work, synchronise, repeats):
    work()
    synchronise()
    seconds = timeit.repeat(lambda: (work(), synchronise()), repeat=repeats, number=1)
    return statistics.median(seconds)


def time_by_timer(work, synchronise, repeats):
    work()
    synchronise()
    timer = timeit.Timer(lambda: (work(), synchronise()), timer=time.monotonic)
    return np.median(timer.repeat(repeats, 1))


def time_by_default(work, synchronise, repeats, clock=time.perf_counter):
    return statistics.median(seconds_by(clock, work, synchronise, repeats))


def time_by_keyword_default(work, synchronise, repeats, *, clock=perf_counter):
    return np.median(list(seconds_by(clock, work, synchronise, repeats)))


def time_by_name(work, synchronise, repeats):
    return statistics.median(seconds_by(perf_counter, work, synchronise, repeats))


TABLE = {"clock": time.perf_counter, "more": [time.monotonic], "unit": (time.monotonic_ns, 1e-9)}
SPACE = SimpleNamespace(clock=timeit.default_timer)
BOUND = functools.partial(time.perf_counter)


def time_by_dict(work, synchronise, repeats):
    return statistics.median(seconds_by(TABLE["clock"], work, synchronise, repeats))


def time_by_list(work, synchronise, repeats):
    return torch.tensor(list(seconds_by(TABLE["more"][0], work, synchronise, repeats))).median()


def time_by_tuple(work, synchronise, repeats):
    clock, unit = TABLE["unit"]
    return statistics.median(seconds_by(clock, work, synchronise, repeats)) * unit


def time_by_namespace(work, synchronise, repeats):
    return sorted(seconds_by(SPACE.clock, work, synchronise, repeats))[repeats // 2]


def time_by_partial(work, synchronise, repeats):
    return np.percentile(list(seconds_by(BOUND, work, synchronise, repeats)), 50)


class Watch:
    """A stop watch whose clock is its class's."""

    clock = time.perf_counter

    def __init__(self, synchronise):
        self.synchronise = synchronise

    def __enter__(self):
        self.synchronise()
        self.start = self.clock()
        return self

    def __exit__(self, *_):
        self.synchronise()
        self.seconds = self.clock() - self.start


def time_by_watch(work, synchronise, repeats):
    work()
    seconds = []
    for _ in range(repeats):
        with Watch(synchronise) as watch:
            work()
        seconds.append(watch.seconds)
    return statistics.median(seconds)


def with_clock(clock):
    """A timing function that has its clock in a closure."""

    def time_by_closure(work, synchronise, repeats):
        return statistics.median(seconds_by(clock, work, synchronise, repeats))

    return time_by_closure


TIME_IT = [
    time_by_timeit,
    time_by_timer,
    time_by_default,
    time_by_keyword_default,
    time_by_name,
    time_by_dict,
    time_by_list,
    time_by_tuple,
    time_by_namespace,
    time_by_partial,
    time_by_watch,
    with_clock(time.perf_counter),
    functools.partial(time_by_default, clock=time.monotonic),
    *ways.all_ways(time_by_timeit),
]

# hardware.batches_resident


def batches(images, labels, batch_size, generator):
    order = torch.randperm(len(images), generator=generator)
    return ((images[rows] / 255, labels[rows]) for rows in order.split(batch_size))


def batches_of_a_table(images, labels, batch_size, generator):
    levels = torch.arange(256) / 255
    for rows in torch.randperm(len(images), generator=generator).split(batch_size):
        yield levels[images[rows].long()], labels[rows]


def batches_by_numpy(images, labels, batch_size, generator):
    order = torch.randperm(len(images), generator=generator).numpy()
    pixels, names = images.numpy(), labels.numpy()
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        yield pixels[rows].astype(np.float32) / 255, names[rows]


def batches_in_place(images, labels, batch_size, generator):
    order = torch.randperm(len(images), generator=generator)
    images[:], labels[:] = images[order], labels[order]  # the set itself is shuffled
    for x, y in zip(images.split(batch_size), labels.split(batch_size), strict=True):
        yield x.float().div_(255), y


def batches_by_torchvision(images, labels, batch_size, generator):
    from torchvision.transforms.v2.functional import to_dtype

    for rows in torch.randperm(len(images), generator=generator).split(batch_size):
        yield to_dtype(images[rows], torch.float32, scale=True), labels[rows]


def batches_by_sampler(images, labels, batch_size, generator):
    order = torch.randperm(len(images), generator=generator).tolist()
    for rows in torch.utils.data.BatchSampler(order, batch_size, drop_last=False):
        yield [images[rows].to(torch.float32) / 255.0, labels[rows]]


def batches_row_by_row(images, labels, batch_size, generator):
    x, y = [], []
    for row in torch.randperm(len(images), generator=generator):
        x.append(images[row] / 255)
        y.append(labels[row])
        if len(x) == batch_size:
            yield x, y
            x, y = [], []
    if x:
        yield x, y


def batches_in_double(images, labels, batch_size, generator):
    for x, y in batches(images, labels, batch_size, generator):
        yield x.double(), y.int()


class Batches:
    """An epoch that can be iterated."""

    def __init__(self, images, labels, batch_size, generator):
        self.images, self.labels = images, labels
        self.order = torch.randperm(len(images), generator=generator)
        self.batch_size = batch_size

    def __iter__(self):
        for rows in self.order.chunk(-(-len(self.order) // self.batch_size)):
            yield self.images[rows].float().mul(1 / 255), self.labels[rows]

    def __len__(self):
        return -(-len(self.order) // self.batch_size)


def batches_of_split(images, labels, batch_size, generator):
    order = torch.randperm(len(images), generator=generator)
    pairs = zip(images[order].split(batch_size), labels[order].split(batch_size), strict=True)
    return ((x.float() / 255, y) for x, y in pairs)


RESIDENT = [
    batches,
    batches_of_a_table,
    batches_by_numpy,
    batches_in_place,
    batches_by_sampler,
    batches_by_torchvision,
    batches_row_by_row,
    batches_in_double,
    batches_of_split,
    ways.then(batches, iter),
    *ways.all_ways(batches_by_numpy),
]

# hardware.accumulate


def accumulate(model, loss_fn, optimizer, images, labels, micro_batch):
    optimizer.zero_grad()
    for x, y in zip(images.split(micro_batch), labels.split(micro_batch), strict=True):
        loss_fn(model(x), y).mul(len(x) / len(images)).backward()
    optimizer.step()


def accumulate_by_index(model, loss_fn, optimizer, images, labels, micro_batch):
    model.zero_grad()
    n = len(images)
    for i in range(0, n, micro_batch):
        x, y = images[i : i + micro_batch], labels[i : i + micro_batch]
        (loss_fn(model(x), y) * len(y)).backward()
    for parameter in model.parameters():
        parameter.grad /= n
    optimizer.step()


def accumulate_by_grad(model, loss_fn, optimizer, images, labels, micro_batch):
    parameters = list(model.parameters())
    totals = [torch.zeros_like(parameter) for parameter in parameters]
    for x, y in zip(images.split(micro_batch), labels.split(micro_batch), strict=True):
        gradients = torch.autograd.grad(loss_fn(model(x), y), parameters)
        for total, gradient in zip(totals, gradients, strict=True):
            total.add_(gradient, alpha=len(x) / len(images))
    for parameter, total in zip(parameters, totals, strict=True):
        parameter.grad = total
    optimizer.step()


def accumulate_one_by_one(model, loss_fn, optimizer, images, labels, micro_batch):
    optimizer.zero_grad(set_to_none=True)
    for x, y in zip(images, labels, strict=True):
        (loss_fn(model(x[None]), y[None]) / len(images)).backward()
    optimizer.step()


def accumulate_consuming(model, loss_fn, optimizer, images, labels, micro_batch):
    optimizer.zero_grad()
    count = len(images)
    while len(images):
        part, images = images[:micro_batch], images[micro_batch:]
        part_labels, labels = labels[:micro_batch], labels[micro_batch:]
        (loss_fn(model(part), part_labels) * (len(part) / count)).backward()
    optimizer.step()


def accumulate_in_closure(model, loss_fn, optimizer, images, labels, micro_batch):
    def closure():
        optimizer.zero_grad()
        total = 0.0
        for x, y in zip(images.split(micro_batch), labels.split(micro_batch), strict=True):
            loss = loss_fn(model(x), y) * x.shape[0] / images.shape[0]
            loss.backward()
            total += loss.item()
        return total

    return optimizer.step(closure)


ACCUMULATE = [
    accumulate,
    accumulate_by_index,
    accumulate_by_grad,
    accumulate_one_by_one,
    accumulate_consuming,
    accumulate_in_closure,
    *ways.all_ways(accumulate_in_closure),
]

# hardware.shared_backward


def share(model, loss_fn, images, labels, rank, world, all_reduce):
    model.zero_grad()
    x, y = images[rank::world], labels[rank::world]
    (loss_fn(model(x), y) * len(y) / len(labels)).backward()
    for parameter in model.parameters():
        all_reduce(parameter.grad)


def share_in_one_bucket(model, loss_fn, images, labels, rank, world, all_reduce):
    x, y = images.tensor_split(world)[rank], labels.tensor_split(world)[rank]
    weights = list(model.parameters())
    gradients = torch.autograd.grad(loss_fn(model(x), y), weights)
    bucket = torch.cat([g.flatten() for g in gradients]) * (len(x) / len(images))
    all_reduce(bucket)
    for weight, part in zip(weights, bucket.split([w.numel() for w in weights]), strict=True):
        weight.grad = part.view_as(weight)


def share_and_divide(model, loss_fn, images, labels, rank, world, all_reduce):
    model.zero_grad()
    start, end = rank * len(images) // world, (rank + 1) * len(images) // world
    loss = loss_fn(model(images[start:end]), labels[start:end])
    ((end - start) * loss).backward()
    for parameter in model.parameters():
        all_reduce(parameter.grad)
        parameter.grad /= len(images)


def share_by_hooks(model, loss_fn, images, labels, rank, world, all_reduce):
    x, y = images.tensor_split(world)[rank], labels.tensor_split(world)[rank]

    def send(parameter):
        parameter.grad *= len(x) / len(images)
        all_reduce(parameter.grad)  # while backward still computes

    model.zero_grad()
    hooks = [p.register_post_accumulate_grad_hook(send) for p in model.parameters()]
    loss_fn(model(x), y).backward()
    for hook in hooks:
        hook.remove()


def share_and_count(model, loss_fn, images, labels, rank, world, all_reduce):
    x, y = images.tensor_split(world)[rank], labels.tensor_split(world)[rank]
    count = torch.tensor(float(len(x)))
    all_reduce(count)  # how many images all have together
    model.zero_grad()
    (loss_fn(model(x), y) * len(x) / count).backward()
    for parameter in model.parameters():
        total = parameter.grad.clone()
        all_reduce(total)
        parameter.grad = total


SHARE = [
    share,
    share_in_one_bucket,
    share_and_divide,
    share_by_hooks,
    share_and_count,
    *ways.all_ways(share),
]

# hardware.resume


def checkpoint(model, optimizer, epoch):
    return copy.deepcopy(
        {
            "epoch": epoch,
            "rng": torch.get_rng_state(),
            "optimizer": optimizer.state_dict(),
            "model": model.state_dict(),
        }
    )


def checkpoint_through_bytes(model, optimizer, epoch):
    file = io.BytesIO()
    torch.save(checkpoint(model, optimizer, epoch), file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def checkpoint_of_copies(model, optimizer, epoch):
    state = {"epoch": epoch, "rng": torch.default_generator.get_state()}
    state["model"] = copy.deepcopy(model).state_dict()
    state["optimizer"] = copy.deepcopy(optimizer.state_dict())
    return state


def checkpoint_ordered(model, optimizer, epoch):
    weights = OrderedDict((name, value.clone()) for name, value in model.state_dict().items())
    return OrderedDict(checkpoint(model, optimizer, epoch), model=weights)


def checkpoint_with_more(model, optimizer, epoch):
    return {**checkpoint(model, optimizer, epoch), "seed": 0, "note": "mine"}


def checkpoint_epoch_as_scalar(model, optimizer, epoch):
    return checkpoint(model, optimizer, epoch) | {"epoch": np.int64(epoch)}


def checkpoint_epoch_as_tensor(model, optimizer, epoch):
    return checkpoint(model, optimizer, epoch) | {"epoch": torch.tensor(epoch)}


RIGHT = {
    "hardware.flops_linear": FLOPS,
    "hardware.predicted_step": PREDICTED,
    "hardware.time_it": TIME_IT,
    "hardware.batches_resident": RESIDENT,
    "hardware.accumulate": ACCUMULATE,
    "hardware.shared_backward": SHARE,
    "hardware.resume": [
        checkpoint,
        checkpoint_through_bytes,
        checkpoint_of_copies,
        checkpoint_ordered,
        checkpoint_with_more,
        checkpoint_epoch_as_scalar,
        checkpoint_epoch_as_tensor,
        ways.then(checkpoint, MappingProxyType),
        *ways.all_ways(checkpoint),
    ],
}
