"""What this machine can do, and what a training run costs on it.

FLOPs are floating-point operations: a multiplication with its addition counts as two. Rates are per second.
"""

from __future__ import annotations

import math
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vaetl_helpers.data.images import ImageSet
from vaetl_helpers.device import best_device, best_precision, devices, synchronise
from vaetl_helpers.output import emit, show_table
from vaetl_helpers.settings import versions
from vaetl_helpers.training.evaluation import (
    History,
    LossFunction,
    classification_loss,
    loss_and_monitored,
)

FLOAT_BYTES = 4


def time_it(work: Callable[[], Any], device: torch.device, repeats: int = 5) -> float:
    """Median seconds of `work()` over `repeats` calls after one that does not count, each until the device is done."""
    _kept = work()  # the first call compiles, allocates and fills caches
    seconds = []
    for _ in range(repeats):
        synchronise(device)
        started = time.perf_counter()
        _kept = (
            work()
        )  # kept until the device is done: a TPU computes only what somebody still holds
        synchronise(device)
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def peak_flops(device: torch.device, size: int = 1024, dtype: torch.dtype = torch.float32) -> float:
    """FLOPs per second of a product of two size × size matrices: the best case for the device."""
    square = torch.ones(size, size, device=device, dtype=dtype)
    return 2 * size**3 / time_it(lambda: square @ square, device)


def bandwidth(device: torch.device, megabytes: int = 128) -> float:
    """Bytes per second that a large copy reads and writes in the device's memory."""
    source = torch.ones(megabytes * 1_000_000 // FLOAT_BYTES, device=device)
    target = torch.empty_like(source)
    return 2 * source.nbytes / time_it(lambda: target.copy_(source), device)


def transfer_rate(device: torch.device, megabytes: int = 64) -> float:
    """Bytes per second from the computer's memory to the device's."""
    source = torch.ones(megabytes * 1_000_000 // FLOAT_BYTES)
    return source.nbytes / time_it(lambda: source.to(device, copy=True), device)


def software() -> dict[str, str]:
    """The versions that a result depends on, the CUDA that torch was built for, and the operating system."""
    from importlib.metadata import version

    more = {"accelerate": version("accelerate"), "torch cuda": torch.version.cuda or "none"}
    return versions() | more | {"system": platform.platform()}


def machine() -> dict[str, str]:
    """What is here: processor, cores, memory, and every accelerator with what is wrong with it, if anything is."""
    cpu, *accelerators = devices()
    threads = f"{os.cpu_count()} cores, {torch.get_num_threads()} used"
    facts = {"processor": _processor(), "cores": threads, "memory": f"{_memory() / 1e9:.1f} GB"}
    for found in accelerators:
        state = (
            found.problem
            or f"works, precision {best_precision(found.device)}{_device_memory(found.device)}"
        )
        facts[f"accelerator {found.device}"] = f"{found.name}: {state}"
    return facts | ({} if accelerators else {"accelerator": best_device().problem or "none found"})


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def _memory() -> int:
    import psutil  # comes with accelerate

    return psutil.virtual_memory().total


def _device_memory(device: torch.device) -> str:
    if device.type != "cuda":
        return ""
    free, total = torch.cuda.mem_get_info(device)
    return f", {free / 1e9:.1f} of {total / 1e9:.1f} GB free"


def peak_memory(device: torch.device) -> int:
    """The most bytes that tensors have taken on a GPU, or that the whole process has taken on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        import resource
    except ImportError:  # Windows
        import psutil

        return psutil.Process().memory_info().peak_wset
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (
        1 if sys.platform == "darwin" else 1024
    )


def count_flops(
    model: nn.Module, images: Tensor, labels: Tensor, loss_fn: LossFunction = classification_loss
) -> int:
    """FLOPs of one training step on this batch (forward and backward), as PyTorch's counter sees them.

    It counts matrix products and convolutions, two FLOPs a multiplication with its addition; the rest is small.
    """
    from torch.utils.flop_counter import FlopCounterMode

    twin = deepcopy(model)  # the model keeps its gradients and its BatchNorm statistics
    with FlopCounterMode(display=False) as counter:
        loss_and_monitored(loss_fn(twin, images, labels))[0].backward()
    return counter.get_total_flops()


def bytes_moved(model: nn.Module, images: Tensor) -> int:
    """A lower estimate of the bytes that one training step with Adam moves, in float32.

    Ten numbers for each parameter: read forward and backward, its gradient written, and by Adam four read and three
    written. Four for each activation: written forward, read by the next layer and backward, its gradient written.
    Layers that only give their input another shape move nothing.
    """
    activations = images.numel()

    def count(module: nn.Module, given: Any, result: Any) -> None:
        nonlocal activations
        activations += result.numel() if isinstance(result, Tensor) else 0

    twin = deepcopy(model)
    for module in twin.modules():
        if not list(module.children()) and not isinstance(
            module, nn.Flatten | nn.Unflatten | nn.Identity
        ):
            module.register_forward_hook(count)
    with torch.no_grad():
        twin(images)
    parameters = sum(p.numel() for p in model.parameters())
    return FLOAT_BYTES * (10 * parameters + 4 * activations)


class EnergyMeter:
    """Measures the joules of a `with` block on an NVIDIA GPU, and otherwise assumes `watts` and says so."""

    def __init__(self, watts: float = 30.0) -> None:
        self.watts, self.joules, self.source = watts, 0.0, f"assumed {watts:g} W"
        try:
            import pynvml

            pynvml.nvmlInit()
            handle = pynvml.nvmlDeviceGetHandleByIndex(torch.cuda.current_device())
            pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)  # not every GPU can
            self.read: Callable[[], float] | None = lambda: (
                pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1000
            )
            self.source = "measured by NVML, the GPU alone"
        except (
            Exception
        ):  # no library, no driver, no GPU or no counter: all mean "cannot be measured"
            self.read = None

    def __enter__(self) -> EnergyMeter:
        self.started, self.at_start = time.monotonic(), self.read() if self.read else 0.0
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.monotonic() - self.started
        self.joules = self.read() - self.at_start if self.read else self.watts * self.seconds


@dataclass
class Receipt:
    """What a training run cost. `flops` in total, `joules`, and a price an hour of the machine in `currency`.

    `peak` is the best rate of the machine in FLOPs per second, `memory` the peak in bytes; 0: not measured.
    """

    seconds: float
    images: int
    flops: float
    joules: float
    energy_source: str
    price_per_hour: float = 0.35
    currency: str = "USD"
    peak: float = 0.0
    memory: int = 0

    @property
    def cost(self) -> float:
        """The machine's hire for these seconds."""
        return self.seconds / 3600 * self.price_per_hour

    def lines(self) -> dict[str, str]:
        """The receipt as label → value with unit, to print or to put in a table."""
        seconds = self.seconds or math.inf  # a run that max_seconds=0 stopped before its first step
        rate, of_peak = self.flops / seconds, f"of {self.peak / 1e9:,.0f} GFLOP/s"
        share = (
            {"share of the measured peak": f"{rate / self.peak:.1%} {of_peak}"} if self.peak else {}
        )
        memory = {"peak memory": f"{self.memory / 1e6:,.0f} MB"} if self.memory else {}
        return {
            "time": f"{self.seconds:.1f} s",
            "images seen": f"{self.images:,}",
            "speed": f"{self.images / seconds:,.0f} images/s",
            "work": f"{self.flops:.3g} FLOPs",
            "rate": f"{rate / 1e9:.1f} GFLOP/s",
            **share,
            **memory,
            "energy": f"{self.joules / 3600:.3g} Wh ({self.energy_source})",
            "hire": f"{self.cost:.2g} {self.currency} (at {self.price_per_hour} {self.currency} per hour)",
        }

    def show(self, title: str) -> None:
        """Shows the receipt as a table, and attaches it as data that `vaetl run` collects in metrics.json."""
        show_table(self.lines(), header=(title, "cost"))
        emit(f"receipt: {title}", "receipt", {"title": title, "cost": self.cost} | asdict(self))


def receipt(
    history: History,
    model: nn.Module,
    train: ImageSet,
    meter: EnergyMeter,
    batch_size: int = 128,
    **more: Any,
) -> Receipt:
    """The receipt of a `fit` that ran inside `meter`; `more` may set price_per_hour, currency and peak.

    The energy is the meter's mean power times the seconds of training; the memory is the process's peak so far.
    """
    device = next(model.parameters()).device
    memory = peak_memory(device)  # before the counting below takes more
    images, labels = next(train.batches(batch_size))
    flops_per_image = count_flops(model, images.to(device), labels.to(device)) / len(images)
    seen = int(sum(history["images"]))
    joules = meter.joules / meter.seconds * history.seconds
    return Receipt(
        history.seconds,
        seen,
        flops_per_image * seen,
        joules,
        meter.source,
        **{"memory": memory} | more,
    )
