"""What is measured on a machine: one function a measurement, as in chapters 2 and 2b."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from functools import cached_property
from io import StringIO
from typing import Any, Protocol

import numpy as np
import torch

from vaetl_helpers import study
from vaetl_helpers.data.images import ImageSet
from vaetl_helpers.data.registry import load
from vaetl_helpers.device import CPU, best_precision, synchronise
from vaetl_helpers.flops import count_flops
from vaetl_helpers.hardware import (
    EnergyMeter,
    bandwidth,
    bytes_moved,
    peak_flops,
    time_it,
    transfer_rate,
    using_threads,
)
from vaetl_helpers.machines.busy import busy_share
from vaetl_helpers.machines.children import MeasurementError, in_child
from vaetl_helpers.machines.images import repeated_digits
from vaetl_helpers.machines.steps import (
    CNN_LEVERS,
    NETWORKS,
    VAE_LEVERS,
    WARM_UP_PART,
    EpochByFit,
    Levers,
    Network,
    Pass,
    Step,
    captured,
)
from vaetl_helpers.nets import mlp_classifier, small_cnn
from vaetl_helpers.output import record, record_id
from vaetl_helpers.training import evaluate, fit
from vaetl_helpers.training.evaluation import classification_loss

Record = dict[str, Any]
MILLI = 1e3
GIGA = 1e9
FEWEST = 2  # turns and repeats, however little time is left
GRAPH_REPEATS = 200
EPOCH_BATCH = 512
EPOCH_IMAGES = {"smoke": 3_840}  # elsewhere all of MNIST's
ALL_OF_MNIST = 60_000
PROFILED_STEPS = 60
ENERGY_SECONDS = 5.0  # NVIDIA's counter is renewed some ten times a second
IN_CHILD = "vaetl_helpers.machines"


@dataclass
class Bench:
    """The machine, what is asked of it, and until when.

    `until` is when this measurement should end, `limit` when the whole call has to, both times of
    `time.monotonic`. `settings` are those of chapter 2 in
    `profile`: images, repeats, batches, widths.
    """

    device: torch.device
    profile: str
    settings: Mapping[str, Any]
    until: float
    limit: float

    @property
    def kind(self) -> str:
        """ "CPU", "CUDA", "MPS" …"""
        return self.device.type.upper()

    @property
    def left(self) -> float:
        """Seconds that this measurement may still take."""
        return self.until - time.monotonic()

    @property
    def epoch_images(self) -> int:
        """How many images an epoch has."""
        return EPOCH_IMAGES.get(self.profile, ALL_OF_MNIST)

    @cached_property
    def images(self) -> ImageSet:
        """The images of one timed pass, on the device."""
        return repeated_digits(self.settings["images"]).to(self.device)

    def turns(self) -> Iterator[int]:
        """As many turns as the profile asks for; if time is up, enough for an interval."""
        for turn in range(self.settings["repeats"]):
            if turn >= FEWEST and self.left < 0:
                return
            yield turn

    def check_limit(self, seconds: float = 0.0) -> None:
        """Raises MeasurementError where the whole call would pass its limit in so many seconds."""
        if time.monotonic() + seconds > self.limit:
            raise MeasurementError("it would have passed the limit; the same command goes on")

    def seconds_of(self, work: Callable[[], Any], seconds: float, device: torch.device) -> float:
        """Median seconds of work(), of four times the profile's repeats if they fit into `seconds`.

        Otherwise of as many as do.
        """
        self.check_limit()
        once = time_it(work, device, 1)
        most = 4 * self.settings["repeats"]
        repeats = int(seconds / once) if once else most
        return time_it(work, device, min(most, max(FEWEST, repeats)))


@dataclass
class Measured:
    """What a measurement gave: numbers for tables, and rows for figures by the figure's name."""

    records: list[Record] = field(default_factory=list)
    rows: dict[str, list[dict[str, Any]]] = field(default_factory=dict)


def number(name: str, value: float, unit: str, *parts: str, data: str | None = None) -> Record:
    """A record of chapter 2 whose id has these parts."""
    return record(name, value, unit, id=record_id("02", *parts), data=data)


# ---------------------------------------------------------------- what the device can do


def rates(bench: Bench) -> Measured:
    """The two roofs, with 16-bit numbers too where the device has them, and the way to it."""
    device = bench.device
    size = 1024 if device.type == "cpu" else 4096
    float32 = peak_flops(device, size) / GIGA
    moved = bandwidth(device) / GIGA
    records = [
        number("peak, float32", float32, "GFLOP/s", "peak_gflops"),
        number("bandwidth", moved, "GB/s", "bandwidth"),
        number("way to the device", transfer_rate(device) / GIGA, "GB/s", "transfer"),
    ]
    if best_precision(device) == "bf16":
        bf16 = peak_flops(device, size, torch.bfloat16) / GIGA
        records.append(number("peak, bfloat16", bf16, "GFLOP/s", "peak_gflops", "bf16"))
    return Measured(records)


def roofline(bench: Bench) -> Measured:
    """Work, traffic and seconds of a training step of three networks, with a small and large batch.

    Rows of the figure: network, batch, flops, bytes, seconds.
    """
    points = []
    share = bench.left / (2 * len(NETWORKS))
    for name, network in NETWORKS.items():
        for batch_size in (8, 512):
            images = torch.rand(batch_size, 1, 28, 28)
            labels = torch.zeros(batch_size, dtype=torch.long)
            step = Step(network, batch_size, bench.device)
            point = {
                "network": name,
                "batch": batch_size,
                "flops": count_flops(network.build(), images, labels, network.loss_fn),
                "bytes": bytes_moved(network.build(), images),
                "seconds": bench.seconds_of(step, 0.7 * share, bench.device),
            }
            points.append(point)
    return Measured(rows={"roofline": points})


def crossover(bench: Bench) -> Measured:
    """Milliseconds of a training step over the batch size, for a narrow and a wide network.

    Rows of the figure: configuration, width, batches, milliseconds.
    """
    lines = []
    widths, batches = bench.settings["widths"], bench.settings["batches"]
    configurations = _configurations(bench.device)
    share = bench.left / (len(widths) * len(batches) * len(configurations))
    for width in widths:
        network = _classifier(width)
        for name, (device, threads) in configurations.items():
            with using_threads(threads):
                milliseconds = []
                for batch_size in batches:
                    step = Step(network, batch_size, device)
                    seconds = bench.seconds_of(step, 0.7 * share, device)
                    milliseconds.append(MILLI * seconds)
            line = {
                "configuration": name,
                "width": width,
                "batches": list(batches),
                "milliseconds": milliseconds,
            }
            lines.append(line)
    return Measured(rows={"crossover": lines})


def _classifier(width: int) -> Network:
    return Network(lambda: mlp_classifier(width), classification_loss)


def _configurations(device: torch.device) -> dict[str, tuple[torch.device, int]]:
    """Every device here with its number of threads, by the names of chapter 2."""
    cores = os.cpu_count() or 1
    configurations = {"CPU, 1 thread": (CPU, 1)}
    if cores > 1:
        configurations[f"CPU, {cores} threads"] = (CPU, cores)
    if device.type != "cpu":
        configurations[device.type.upper()] = (device, torch.get_num_threads())
    return configurations


# ---------------------------------------------------------------- levers


def vae_levers(bench: Bench) -> Measured:
    """What each lever is worth for the VAE, against the `DataLoader`."""
    return _levers(bench, "VAE", VAE_LEVERS)


def cnn_levers(bench: Bench) -> Measured:
    """What each lever is worth for the CNN, against the `DataLoader`."""
    return _levers(bench, "CNN", CNN_LEVERS)


def _levers(bench: Bench, name: str, levers: Mapping[str, Levers]) -> Measured:
    network = NETWORKS[name]
    passes = {}
    for lever, pulled in levers.items():
        passes[lever] = Pass(network, bench.images, pulled)
    seconds = in_turns(passes, bench)
    baseline = np.log(seconds.pop("DataLoader"))
    records = []
    for lever, values in seconds.items():
        gain = study.effect_of(baseline - np.log(values))
        id = record_id("02", "levers", name, lever)
        records.append(gain.to_record(f"{name}: {lever}", "times", id=id))
    return Measured(records)


class Timed(Protocol):
    """What is measured in turns: its call, and a tenth of it to warm up."""

    def __call__(self) -> None: ...

    def warm_up(self) -> None:
        """A tenth of the call, which does not count."""


def in_turns(passes: Mapping[str, Timed], bench: Bench) -> dict[str, list[float]]:
    """Seconds of each pass in each turn, after warm-ups.

    In a turn all take their pass one after the other, so that a slow moment hits all alike. Raises
    MeasurementError where the next pass would end after the limit.
    """
    expected = {}
    for name, one_pass in passes.items():
        bench.check_limit()
        expected[name] = WARM_UP_PART * _seconds(one_pass.warm_up)
    seconds: dict[str, list[float]] = {name: [] for name in passes}
    for _ in bench.turns():
        for name, one_pass in passes.items():
            bench.check_limit(expected[name])
            expected[name] = _seconds(one_pass)
            seconds[name].append(expected[name])
    return seconds


def _seconds(work: Callable[[], None]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def precision(bench: Bench) -> Measured:
    """What bfloat16 costs in accuracy: the CNN from three seeds, in both precisions."""
    with redirect_stdout(StringIO()):  # it would say which images it has taken
        data = load("fashion-mnist", device=bench.device)
    train = data.train.subset(slice(0, bench.settings["images"]))
    differences = []
    seconds = 0.0
    for seed in range(3):
        accuracy = {}
        bench.check_limit(seconds)
        started = time.monotonic()
        for kind in ("no", "bf16"):
            torch.manual_seed(seed)
            network = small_cnn().to(bench.device)
            fit(network, train, epochs=1, batch_size=64, seed=seed, precision=kind, quiet=True)
            accuracy[kind] = evaluate(network, data.validation)["accuracy"]
        differences.append(100 * (accuracy["bf16"] - accuracy["no"]))
        seconds = time.monotonic() - started
    change = study.effect_of(differences)
    content = change.to_record(
        "accuracy of bf16 minus float32",
        "points",
        id=record_id("02", "accuracy", ("bf16", "float32")),
        data=data.source,
    )
    return Measured([content])


# ---------------------------------------------------------------- an epoch


def epoch(bench: Bench) -> Measured:
    """An epoch of the VAE with batch 512: by `fit`, and by the classical loop on the same device.

    And the share of its seconds in which the device is busy, where it can tell.
    """
    count = bench.epoch_images
    images = repeated_digits(count).to(bench.device)
    classical = Levers(batch_size=EPOCH_BATCH, resident=False, fused=False, waits=True)
    passes: dict[str, Timed] = {
        "fit": EpochByFit(images, EPOCH_BATCH),
        "classical": Pass(NETWORKS["VAE"], images, classical),
    }
    seconds = in_turns(passes, bench)
    gain = study.effect_of(np.log(seconds["classical"]) - np.log(seconds["fit"]))
    what = f"epoch of {count:,} images, batch {EPOCH_BATCH}"
    how = {"fit": f"`fit` in {best_precision(bench.device)}", "classical": "the classical loop"}
    records = []
    for name, values in seconds.items():
        middle = statistics.median(values)
        title = f"{what}: {how[name].replace(' in no', ' in float32')}"
        records.append(number(title, middle, "s", "epoch", name))
    id = record_id("02", "epoch", "ratio")
    records.append(gain.to_record("`fit` against the classical loop", "times", id=id))
    return Measured(records)


def busy(bench: Bench) -> Measured:
    """The share of an epoch's seconds in which a GPU computes, by PyTorch's profiler."""
    if bench.device.type != "cuda":
        raise MeasurementError("only an NVIDIA GPU tells when it is busy")
    images = repeated_digits(PROFILED_STEPS * EPOCH_BATCH).to(bench.device)
    one_epoch = EpochByFit(images, EPOCH_BATCH)
    one_epoch()
    share = busy_share(one_epoch, bench.device)
    return Measured([number("share of an epoch in which the device is busy", share, "", "busy")])


def energy(bench: Bench) -> Measured:
    """Joules of an epoch, read from the GPU's own counter."""
    meter = EnergyMeter(device=bench.device)
    if meter.read is None:
        raise MeasurementError(
            "energy is measured on NVIDIA GPUs from Volta on, by the package nvidia-ml-py"
        )
    images = repeated_digits(bench.epoch_images).to(bench.device)
    one_epoch = EpochByFit(images, EPOCH_BATCH)
    one_epoch()
    synchronise(bench.device)
    epochs = 0
    until = time.monotonic() + min(ENERGY_SECONDS, bench.left)
    with meter:
        while epochs == 0 or time.monotonic() < until:
            one_epoch()
            epochs += 1
        synchronise(bench.device)
    joules = meter.joules / epochs
    watts = meter.joules / meter.seconds
    name = f"energy of an epoch of {bench.epoch_images:,} images"
    return Measured(
        [
            number(f"{name} ({meter.source})", joules, "J", "energy", "epoch"),
            number("power while it trains", watts, "W", "energy", "power"),
        ]
    )


# ---------------------------------------------------------------- less overhead


def graphs(bench: Bench) -> Measured:
    """What a CUDA graph is worth: the same step of the VAE, handed over as one."""
    if bench.device.type != "cuda":
        raise MeasurementError("CUDA graphs need an NVIDIA GPU")
    records = []
    for batch_size in (128, EPOCH_BATCH):
        step = Step(NETWORKS["VAE"], batch_size, bench.device, capturable=True)
        plain = time_it(step, bench.device, GRAPH_REPEATS)
        replayed = time_it(captured(step), bench.device, GRAPH_REPEATS)
        size = f"batch {batch_size}"
        records += [
            number(f"step, {size}", MILLI * plain, "ms", "graphs", "plain", size),
            number(f"step as a CUDA graph, {size}", MILLI * replayed, "ms", "graphs", size),
        ]
    return Measured(records)


def compiled(bench: Bench) -> Measured:
    """What `torch.compile` is worth for the VAE with batch 128, and what its cold start costs."""
    if not bench.settings["with_compile"]:
        raise MeasurementError(f"the profile {bench.profile} leaves it out: it takes too long")
    arguments = [str(bench.device), "128", "50"]
    seconds = in_child([f"{IN_CHILD}.compiling"], arguments, bench.left)
    return Measured(
        [
            number("step, batch 128", MILLI * seconds["plain"], "ms", "compile", "plain"),
            number("compiled step, batch 128", MILLI * seconds["compiled"], "ms", "compile"),
            number("cold start of torch.compile", seconds["start"], "s", "compile", "start"),
        ]
    )


def processes(bench: Bench) -> Measured:
    """An epoch of the VAE by one process, and shared by one process a card (on a CPU, by two).

    Every process on a CPU computes with one thread.
    """
    count, threads = _process_count(bench.device)
    # A batch for each process: else more of them would have less to do, and only wait.
    batch_size = EPOCH_BATCH * count
    arguments = [str(bench.epoch_images), str(batch_size), str(FEWEST)]
    module = f"{IN_CHILD}.sharing"
    launcher = ["torch.distributed.run", "--standalone", "--nproc-per-node", str(count), "-m"]
    one = in_child([module], arguments, bench.left, threads)["seconds"]
    several = in_child([*launcher, module], arguments, bench.left, threads)["seconds"]
    what = f"epoch of {bench.epoch_images:,} images, batch {batch_size}"
    return Measured(
        [
            number(f"{what}: one process", one, "s", "processes", "1"),
            number(f"{what}: {count} processes", several, "s", "processes", str(count)),
        ]
    )


def _process_count(device: torch.device) -> tuple[int, dict[str, str]]:
    """How many processes to start, and what to tell them."""
    if device.type == "cuda":
        cards = torch.cuda.device_count()
        if cards < 2:
            raise MeasurementError("there is one GPU; several processes need several")
        return cards, {}
    if device.type != "cpu":
        raise MeasurementError("several processes are measured on NVIDIA GPUs and on the CPU")
    if (os.cpu_count() or 1) < 2:
        raise MeasurementError("there is one core; several processes need several")
    return 2, {"OMP_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Measurement:
    """A measurement, the seconds that it should take at most, and what people call it."""

    name: str
    title: str
    seconds: float
    run: Callable[[Bench], Measured]


# Their seconds add up to less than ten minutes.
PLAN = (
    Measurement("rates", "what the device computes and moves", 20, rates),
    Measurement("roofline", "three networks under the roofline", 30, roofline),
    Measurement("crossover", "training steps on every device here", 70, crossover),
    Measurement("vae_levers", "levers of the VAE", 70, vae_levers),
    Measurement("cnn_levers", "levers of the CNN", 60, cnn_levers),
    Measurement("precision", "accuracy in bfloat16", 40, precision),
    Measurement("epoch", "an epoch of the VAE, batch 512", 90, epoch),
    Measurement("busy", "how busy the device is", 15, busy),
    Measurement("energy", "energy of an epoch", 10, energy),
    Measurement("graphs", "CUDA graphs", 10, graphs),
    Measurement("compiled", "torch.compile", 130, compiled),
    Measurement("processes", "several processes", 50, processes),
)
