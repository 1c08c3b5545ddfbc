"""Which devices there are, which of them work, and in which precision they compute."""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import torch


class DeviceStatus(NamedTuple):
    """A device, its name, and one sentence on what is wrong (or None)."""

    device: torch.device
    name: str
    problem: str | None


CPU = torch.device("cpu")
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of malloc.h
# From 2.15 on PyTorch is not made for CUDA 12, and so not for the cards before Turing (7.5):
# Maxwell, Pascal and Volta, such as GTX 9xx and 10xx, P100, V100 (pytorch/pytorch#190385).
OLDEST_CAPABILITY = 7.5
OLDER_TORCH = (
    'install an older PyTorch, made for CUDA 12.6 (python -m pip install "torch<2.15" torchvision '
    "--index-url https://download.pytorch.org/whl/cu126), or use Colab"
)
# What is in a driver's message → what to do about it.
REMEDIES = {
    "no kernel image": f"this PyTorch has no code for that GPU: {OLDER_TORCH} "
    "(on Kaggle, choose T4 x2 and not P100)",
    "driver": f"the driver is missing or too old: update it, or {OLDER_TORCH}",
    "out of memory": "its memory is full: end the other programs that use it, "
    "or restart their kernels",
}


def _accelerators() -> list[torch.device]:
    if os.environ.get("PJRT_DEVICE") == "TPU" and importlib.util.find_spec("torch_xla"):
        import torch_xla

        return [torch_xla.device()]
    if not torch.accelerator.is_available():
        return []
    accelerator = torch.accelerator.current_accelerator()
    if accelerator is None:
        return []
    numbers = range(torch.accelerator.device_count())
    return [torch.device(accelerator.type, number) for number in numbers]


def device_name(device: torch.device) -> str:
    """What a person calls it: "CPU, 2 cores", "Tesla T4", "TPU", "Apple GPU"."""
    if device.type == "cpu":
        return f"CPU, {os.cpu_count()} cores"
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type == "xla":
        return "TPU"
    return "Apple GPU"


def _problem(device: torch.device) -> str | None:
    """Runs a convolution and a matrix product; what is wrong in one sentence, or None."""
    try:
        image = torch.ones(1, 1, 8, 8, device=device)
        convolved = torch.nn.functional.conv2d(image, image).sum()
        multiplied = (image[0, 0] @ image[0, 0]).sum()
        total = (convolved + multiplied).item()
    except Exception as error:  # drivers fail in many ways, some without a word
        return _failure(str(device), error)
    if total == 64 + 512:
        return None
    return f"The device {device} computes wrong results: restart the machine, or use another."


def _failure(device: str, error: Exception) -> str:
    """A driver's message with what to do about it."""
    text = str(error).strip() or type(error).__name__
    message = text.splitlines()[0]
    todo = _remedy(message)
    return f"The device {device} says that it is available but fails ({message}): {todo}."


def _remedy(message: str) -> str:
    for symptom, remedy in REMEDIES.items():
        if symptom in message.lower():
            return remedy
    return "restart the kernel and try again"


class Card(NamedTuple):
    """An NVIDIA GPU as its driver names it, with its compute capability (0: not known)."""

    name: str
    capability: float


def nvidia_cards() -> list[Card]:
    """What nvidia-smi lists; nothing where there is no such program, or it fails."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    for fields in ("name,compute_cap", "name"):  # drivers before 2022 know no capability
        command = [program, f"--query-gpu={fields}", "--format=csv,noheader"]
        try:
            done = subprocess.run(command, capture_output=True, timeout=20)
        except (OSError, subprocess.TimeoutExpired):
            return []
        if done.returncode == 0:
            lines = done.stdout.decode(errors="replace").splitlines()
            return [_card(line) for line in lines if line.strip()]
    return []


def _card(line: str) -> Card:
    name, _, capability = line.partition(",")
    try:
        return Card(name.strip(), float(capability))
    except ValueError:
        return Card(name.strip(), 0)


def hidden_gpu() -> str | None:
    """What is wrong where there is an NVIDIA GPU that PyTorch does not even see."""
    if torch.cuda.is_available() or os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return None
    cards = nvidia_cards()
    for card in cards:
        if 0 < card.capability < oldest_capability():
            return (
                f"The GPU {card.name} (compute capability {card.capability}) is older than those "
                f"that PyTorch {torch.__version__} has code for (from {oldest_capability()} on): "
                f"{OLDER_TORCH}."
            )
    if not cards and not Path("/dev/nvidiactl").exists():
        return None
    if not torch.version.cuda:
        return (
            "There is an NVIDIA GPU, but this PyTorch was built without CUDA; install one with it."
        )
    try:
        torch.cuda.init()
    except Exception as error:  # as above
        return _failure("cuda", error)
    return None


def oldest_capability() -> float:
    """The compute capability of the oldest GPU that this PyTorch has code for."""
    names = [name.partition("_") for name in torch.cuda.get_arch_list()]
    numbers = [int(number) / 10 for kind, _, number in names if kind == "sm" and number.isdigit()]
    return min(numbers, default=OLDEST_CAPABILITY)


@functools.cache
def status(device: torch.device) -> DeviceStatus:
    """The device, tried once with real work."""
    return DeviceStatus(device, device_name(device), _problem(device))


def devices() -> list[DeviceStatus]:
    """Every device here, the CPU first, each tried: some say that they are there and then fail."""
    return [status(device) for device in (CPU, *_accelerators())]


@functools.cache
def best_device() -> DeviceStatus:
    """The device to use, and what is wrong with a better one.

    Each of several processes gets an accelerator of its own.
    """
    accelerators = _accelerators()
    if not accelerators:
        return _cpu_because(hidden_gpu())
    rank = int(os.environ.get("LOCAL_RANK", 0))
    accelerator = status(accelerators[rank % len(accelerators)])
    if accelerator.problem is None:
        return accelerator
    return _cpu_because(accelerator.problem)


def _cpu_because(problem: str | None) -> DeviceStatus:
    if problem is not None:
        problem = f"{problem} Using the CPU."
    return DeviceStatus(CPU, device_name(CPU), problem)


def best_precision(device: torch.device) -> str:
    """The precision to compute in: never float16 unasked.

    "bf16" where the device computes in bfloat16 natively, otherwise "no", which is float32.
    """
    native = device.type == "xla"
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    return "bf16" if native else "no"


def synchronise(device: torch.device) -> None:
    """Waits until the device has done what it was given: it computes while Python goes on."""
    if device.type == "xla":
        import torch_xla

        torch_xla.sync(wait=True)
    elif device.type != "cpu":
        torch.accelerator.synchronize(device)


def keep_freed_memory() -> None:
    """Lets a Linux process keep up to half a gigabyte that it has freed, for its next tensors.

    glibc gives most of it back at once, and to get it again costs a step of a network on images up
    to a quarter of its time. Elsewhere nothing changes.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, 2**25)  # the highest that every glibc takes
        mallopt(M_TRIM_THRESHOLD, 2**29)
