"""What this machine can do, and what a training run costs on it.

FLOPs are floating-point operations: a multiplication with its addition counts as two. Rates are per
second.
"""

from __future__ import annotations

import math
import os
import platform
import statistics
import subprocess
import sys
import time
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode

from vaetl_helpers.data.images import ImageSet
from vaetl_helpers.device import best_device, best_precision, devices, synchronise
from vaetl_helpers.flops import count_flops
from vaetl_helpers.nets import mlp_classifier
from vaetl_helpers.output import emit, record, record_id, show_table
from vaetl_helpers.settings import versions
from vaetl_helpers.training.evaluation import (
    History,
    LossFunction,
    classification_loss,
    loss_and_monitored,
)

FLOAT_BYTES = 4
ONLY_RESHAPE = (nn.Flatten, nn.Unflatten, nn.Identity)


def time_it(work: Callable[[], Any], device: torch.device, repeats: int = 5) -> float:
    """Median seconds of `work()` over `repeats` calls, each until the device is done.

    One call before them does not count: it compiles, allocates and fills caches.
    """
    _result = work()
    seconds = []
    for _ in range(repeats):
        synchronise(device)
        started = time.perf_counter()
        # Bound to a name until the device is done: a TPU computes only what somebody still holds.
        _result = work()
        synchronise(device)
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def training_step(
    model: nn.Module, loss_fn: LossFunction, batch_size: int, device: torch.device
) -> Callable[[], None]:
    """A function that trains the model one step with Adam, each time it is called.

    On one batch of random images [batch_size, 1, 28, 28] that stays on the device.
    """
    model = model.to(device)
    images = torch.rand(batch_size, 1, 28, 28, device=device)
    labels = torch.zeros(batch_size, dtype=torch.long, device=device)
    adam = torch.optim.Adam(model.parameters(), fused=True)

    def step() -> None:
        adam.zero_grad()
        loss, _monitored = loss_and_monitored(loss_fn(model, images, labels))
        loss.backward()
        adam.step()

    return step


@contextmanager
def using_threads(count: int) -> Iterator[None]:
    """Inside, PyTorch computes with `count` threads on the CPU."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def step_seconds(
    width: int, batch_size: int, device: torch.device, threads: int, repeats: int = 20
) -> float:
    """Median seconds of one training step of a fully connected classifier of chapter 1."""
    with using_threads(threads):
        step = training_step(mlp_classifier(width), classification_loss, batch_size, device)
        return time_it(step, device, repeats)


def step_needs(model: nn.Module, loss_fn: LossFunction, batch_size: int) -> tuple[int, int]:
    """FLOPs and estimated bytes of one training step on images [batch_size, 1, 28, 28]."""
    images = torch.rand(batch_size, 1, 28, 28)
    labels = torch.zeros(batch_size, dtype=torch.long)
    return count_flops(model, images, labels, loss_fn), bytes_moved(model, images)


def predicted_step(
    needs: tuple[float, float], rates: tuple[float, float], overhead: float = 0.0
) -> float:
    """Seconds of a step that needs (FLOPs, bytes) where a machine does so many of each per second.

    overhead + max(FLOPs / rate of computing, bytes / rate of moving): the roofline, with what
    Python and PyTorch need for a step, as on a CPU. A GPU computes while Python hands over, so
    there about the longer of the two counts, and the sum is at most twice too long.
    """
    return overhead + max(need / rate for need, rate in zip(needs, rates, strict=True))


def step_records(times: Mapping[tuple[str, int], Sequence[float]], batches: Sequence[int]) -> Any:
    """Measured seconds of a step by (configuration, width), one for each batch size, as records."""
    records = []
    for (name, width), seconds in times.items():
        for batch_size, one in zip(batches, seconds, strict=True):
            size = f"width {width}", f"batch {batch_size}"
            id = record_id("02", "step_seconds", name, *size)
            records.append(record(f"step on {name}, {', '.join(size)}", one, "s", id=id))
    return records


class _Starts(TorchDispatchMode):
    """Counts operations that start some work, without views of a tensor."""

    count = 0

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        self.count += function.namespace == "aten" and not function.is_view
        return function(*args, **(kwargs or {}))


def operations_started(model: nn.Module, loss_fn: LossFunction) -> int:
    """How many operations one training step with Adam starts on a device, its views left out."""
    step = training_step(deepcopy(model), loss_fn, 1, torch.device("cpu"))
    step()  # Adam makes its averages in the first one
    with _Starts() as starts:
        step()
    return starts.count


def launch_seconds(device: torch.device, operations: int = 200) -> float:
    """Seconds that an operation on a single number takes, of many that are handed over in a row.

    There is nothing to compute, so this is what it costs to start one: Python's and PyTorch's part,
    and on a GPU the launch of a kernel.
    """
    number = torch.zeros(1, device=device)

    def work() -> Tensor:
        for _ in range(operations):
            number.add_(1)
        return number

    return time_it(work, device) / operations


def peak_flops(device: torch.device, size: int = 1024, dtype: torch.dtype = torch.float32) -> float:
    """FLOPs per second of a product of two size × size matrices: the best case for the device."""
    square = torch.ones(size, size, device=device, dtype=dtype)
    return 2 * size**3 / time_it(lambda: square @ square, device)


def bf16_units() -> dict[str, str]:
    """Which units for bfloat16 this processor says that it has: its flags, where they are told."""
    flags = next((line for line in _processor_lines() if line.startswith("flags")), "").split()
    if not flags:
        return {}
    return {flag: "yes" if flag in flags else "no" for flag in ("amx_bf16", "avx512_bf16")}


def bandwidth(device: torch.device, megabytes: float = 128) -> float:
    """Bytes per second that a copy reads and writes: of memory if it is large, else of a cache."""
    source = torch.ones(int(megabytes * 1e6) // FLOAT_BYTES, device=device)
    target = torch.empty_like(source)
    return 2 * source.nbytes / time_it(lambda: target.copy_(source), device)


def transfer_rate(device: torch.device, megabytes: int = 64, pinned: bool = False) -> float:
    """Bytes per second from the computer's memory to the device's.

    `pinned` memory is never moved by the system, so that a GPU fetches it without a copy before.
    """
    source = torch.ones(megabytes * 1_000_000 // FLOAT_BYTES)
    source = source.pin_memory() if pinned else source
    return source.nbytes / time_it(lambda: source.to(device, copy=True), device)


def software() -> dict[str, str]:
    """The versions that a result depends on, the CUDA of torch's build, and the system."""
    return versions() | {
        "accelerate": version("accelerate"),
        "torch cuda": torch.version.cuda or "none",
        "system": platform.platform(),
    }


def machine() -> dict[str, str]:
    """What is here: processor, cores, memory, and every accelerator with what is wrong with it."""
    _cpu, *accelerators = devices()
    facts = {
        "processor": _processor(),
        "cores": f"{os.cpu_count()} cores, {torch.get_num_threads()} used",
        "memory": f"{_memory() / 1e9:.1f} GB",
    }
    for accelerator in accelerators:
        device = accelerator.device
        state = accelerator.problem
        if state is None:
            state = f"works, precision {best_precision(device)}{_device_memory(device)}"
        facts[f"accelerator {device}"] = f"{accelerator.name}: {state}"
    if not accelerators:
        facts["accelerator"] = best_device().problem or "none found"
    return facts


def _processor_lines() -> list[str]:
    try:
        return Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return []


def _processor() -> str:
    for line in _processor_lines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _memory() -> int:
    import psutil  # comes with accelerate

    return int(psutil.virtual_memory().total)


def _device_memory(device: torch.device) -> str:
    if device.type != "cuda":
        return ""
    free, total = torch.cuda.mem_get_info(device)
    return f", {free / 1e9:.1f} of {total / 1e9:.1f} GB free"


def peak_memory(device: torch.device) -> int:
    """The most bytes that tensors have taken on a GPU, or the whole process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        import resource
    except ImportError:  # Windows
        import psutil

        # Types know psutil as it is on their own system.
        return int(getattr(psutil.Process().memory_info(), "peak_wset"))  # noqa: B009
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def run_processes(program: Path, processes: int, *arguments: str) -> str:
    """What a program of this name prints in so many processes on the CPU, of one thread each.

    Where it fails, the end of what it says about that.
    """
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    done = subprocess.run(
        [sys.executable, *(launcher if processes > 1 else []), program.name, *arguments],
        cwd=program.parent,
        env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=300,
    )
    return done.stdout if done.returncode == 0 else done.stderr[-500:]


def bytes_moved(model: nn.Module, images: Tensor) -> int:
    """A lower estimate of the bytes that one training step with Adam moves, in float32.

    Ten numbers for each parameter: read forward and backward, its gradient written, and by Adam
    four read and three written. Four for each activation: written forward, read by the next layer
    and backward, its gradient written. Layers that only give their input another shape move
    nothing.
    """
    sizes = [images.numel()]

    def note_size(module: nn.Module, inputs: Any, output: Any) -> None:
        if isinstance(output, Tensor):
            sizes.append(output.numel())

    twin = deepcopy(model)
    for module in twin.modules():
        has_children = any(module.children())
        if not has_children and not isinstance(module, ONLY_RESHAPE):
            module.register_forward_hook(note_size)
    with torch.no_grad():
        twin(images)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return FLOAT_BYTES * (10 * parameters + 4 * sum(sizes))


class _Kept:
    """What a forward pass keeps of one tensor, in a holder whose end can be noticed."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor


class ActivationMeter(saved_tensors_hooks):
    """Notes the most bytes that are kept for a backward pass at one time, the model's weights left
    out: `peak`.
    """

    def __init__(self, model: nn.Module) -> None:
        self.peak = 0
        self._own = {parameter.data_ptr() for parameter in model.parameters()}
        self._holders: Counter[int] = Counter()  # by address, as two may keep the same numbers
        self._bytes: dict[int, int] = {}
        super().__init__(self._keep, lambda kept: kept.tensor)

    def _keep(self, tensor: Tensor) -> _Kept:
        kept, address = _Kept(tensor.detach()), tensor.data_ptr()
        if address not in self._own:
            self._holders[address] += 1
            self._bytes[address] = max(tensor.nbytes, self._bytes.get(address, 0))
            self.peak = max(self.peak, sum(self._bytes.values()))
            weakref.finalize(kept, self._let_go, address)
        return kept

    def _let_go(self, address: int) -> None:
        self._holders[address] -= 1
        if not self._holders[address]:
            del self._holders[address], self._bytes[address]


class EnergyMeter:
    """Measures the joules of a `with` block on an NVIDIA GPU, or assumes `watts` and says so.

    `device` is where the work is done; without it, PyTorch's current GPU if there is one. What runs
    on the CPU is never charged with a GPU's joules.
    """

    def __init__(self, watts: float = 30.0, device: torch.device | None = None) -> None:
        self.watts = watts
        self.joules = 0.0
        self.seconds = 0.0
        self.source = f"assumed {watts:g} W"
        self.read = _energy_counter(device)
        if self.read is not None:
            self.source = "measured by NVML, the GPU alone"

    def __enter__(self) -> EnergyMeter:
        self.started = time.monotonic()
        self.joules_at_start = self.read() if self.read else 0.0
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.monotonic() - self.started
        if self.read:
            self.joules = self.read() - self.joules_at_start
        else:
            self.joules = self.watts * self.seconds


def _energy_counter(device: torch.device | None = None) -> Callable[[], float] | None:
    """A function that reads the joules that the GPU has taken so far, if they can be measured."""
    if device is not None and device.type != "cuda":
        return None
    try:
        import pynvml

        pynvml.nvmlInit()
        number = torch.cuda.current_device() if device is None else device.index or 0
        # By its identity: NVML counts all GPUs, PyTorch those of CUDA_VISIBLE_DEVICES.
        identity = str(torch.cuda.get_device_properties(number).uuid)
        handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{identity.removeprefix('GPU-')}".encode())

        def read() -> float:
            millijoules: int = pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
            return millijoules / 1000

        read()  # not every GPU can
    except Exception:  # no library, no driver, no GPU or no counter
        return None
    return read


@dataclass
class Receipt:
    """What a training run cost: `flops` and `joules` in total, and the price of the machine.

    `price_per_hour` is in `currency`. `peak` is the best rate of the machine in FLOPs per second,
    `memory` the peak in bytes; 0: not measured.
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
        seconds = self.seconds or math.inf  # max_seconds=0 stops a run before its first step
        rate = self.flops / seconds
        lines = {
            "time": f"{self.seconds:.1f} s",
            "images seen": f"{self.images:,}",
            "speed": f"{self.images / seconds:,.0f} images/s",
            "work": f"{self.flops:.3g} FLOPs",
            "throughput": f"{rate / 1e9:.1f} GFLOP/s",
        }
        if self.peak:
            fraction = f"{rate / self.peak:.1%} of {self.peak / 1e9:,.0f} GFLOP/s"
            lines["share of the measured peak"] = fraction
        if self.memory:
            lines["peak memory"] = f"{self.memory / 1e6:,.0f} MB"
        price = f"{self.price_per_hour} {self.currency} per hour"
        lines["energy"] = f"{self.joules / 3600:.3g} Wh ({self.energy_source})"
        cost = f"{self.cost:.2g}" if self.cost >= 0.001 else "less than 0.001"
        lines["rent"] = f"{cost} {self.currency} (at {price})"
        return lines

    def show(self, title: str) -> None:
        """Shows the receipt as a table, and attaches it as data for metrics.json of `vaetl run`."""
        show_table(self.lines(), header=(title, "cost"))
        data = {"title": title, "cost": self.cost} | asdict(self)
        emit(f"receipt: {title}", "receipt", data)


def receipt(
    history: History,
    model: nn.Module,
    train: ImageSet,
    meter: EnergyMeter,
    batch_size: int = 128,
    **more: Any,
) -> Receipt:
    """The receipt of a `fit` that ran inside `meter`.

    The energy is the meter's mean power times the seconds of training; the memory is the process's
    peak so far. `more` may set price_per_hour, currency and peak.
    """
    device = next(model.parameters()).device
    more = {"memory": peak_memory(device)} | more  # before the counting below takes more
    images, labels = next(train.batches(batch_size))
    batch_flops = count_flops(model, images.to(device), labels.to(device))
    image_count = int(sum(history["images"]))
    watts = meter.joules / meter.seconds
    return Receipt(
        seconds=history.seconds,
        images=image_count,
        flops=batch_flops / len(images) * image_count,
        joules=watts * history.seconds,
        energy_source=meter.source,
        **more,
    )
