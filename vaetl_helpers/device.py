"""Which devices there are, which of them work, and in which precision they compute."""

from __future__ import annotations

import functools
import importlib.util
import os
from pathlib import Path
from typing import NamedTuple

import torch


class DeviceStatus(NamedTuple):
    """A device, its name, and one sentence on what is wrong (or None)."""

    device: torch.device
    name: str
    problem: str | None


CPU = torch.device("cpu")
# What is in a driver's message → what to do about it.
REMEDIES = {
    "no kernel image": "this PyTorch has no code for that GPU: choose another one "
    "(on Kaggle, T4 x2 and not P100)",
    "driver": "the driver is missing or too old: update it, "
    "or install a PyTorch made for an older CUDA",
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


def hidden_gpu() -> str | None:
    """What is wrong where there is an NVIDIA GPU that PyTorch does not even see."""
    if torch.cuda.is_available() or not Path("/dev/nvidiactl").exists():
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
