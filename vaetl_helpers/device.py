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


def _accelerators() -> list[torch.device]:
    if os.environ.get("PJRT_DEVICE") == "TPU" and importlib.util.find_spec("torch_xla"):
        import torch_xla

        return [torch_xla.device()]
    if not torch.accelerator.is_available():
        return []
    kind = torch.accelerator.current_accelerator().type
    return [torch.device(kind, number) for number in range(torch.accelerator.device_count())]


def _name(device: torch.device) -> str:
    if device.type == "cpu":
        return f"CPU, {os.cpu_count()} cores"
    return (
        torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else {"xla": "TPU"}.get(device.type, "Apple GPU")
    )


def _try(device: torch.device) -> str | None:
    """Runs a convolution and a matrix product; what is wrong in one sentence, or None."""
    try:
        image = torch.ones(1, 1, 8, 8, device=device)
        product = torch.nn.functional.conv2d(image, image).sum() + (image[0, 0] @ image[0, 0]).sum()
        works = product.item() == 64 + 512
    except Exception as error:  # drivers fail in many ways, some without a word
        return _failure(str(device), error)
    return (
        None
        if works
        else f"The device {device} computes wrong results: restart the machine, or use another."
    )


def _failure(device: str, error: Exception) -> str:
    """A driver's message with what to do about it."""
    message = (str(error).strip() or type(error).__name__).splitlines()[0]
    causes = {
        "no kernel image": "this PyTorch has no code for that GPU: choose another one (on Kaggle, T4 x2 and not P100)",
        "driver": "the driver is missing or too old: update it, or install a PyTorch made for an older CUDA",
        "out of memory": "its memory is full: end the other programs that use it, or restart their kernels",
    }
    todo = next(
        (text for key, text in causes.items() if key in message.lower()),
        "restart the kernel and try again",
    )
    return f"The device {device} says that it is available but fails ({message}): {todo}."


def _hidden_gpu() -> str | None:
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
def _tried(device: torch.device) -> DeviceStatus:
    return DeviceStatus(device, _name(device), _try(device))


def devices() -> list[DeviceStatus]:
    """Every device here, the CPU first, each tried with real work: some say that they are there and then fail."""
    return [_tried(device) for device in (torch.device("cpu"), *_accelerators())]


@functools.cache
def best_device() -> DeviceStatus:
    """The device to use, and what is wrong with a better one; each of several processes gets its own accelerator."""
    accelerators, cpu = _accelerators(), torch.device("cpu")
    if not accelerators:
        hidden = _hidden_gpu()
        return DeviceStatus(cpu, _name(cpu), hidden and f"{hidden} Using the CPU.")
    mine = _tried(accelerators[int(os.environ.get("LOCAL_RANK", 0)) % len(accelerators)])
    return (
        mine
        if mine.problem is None
        else DeviceStatus(cpu, _name(cpu), f"{mine.problem} Using the CPU.")
    )


def best_precision(device: torch.device) -> str:
    """ "bf16" where the device computes in bfloat16 natively, otherwise "no" (float32); never float16 unasked."""
    native = device.type == "xla" or (
        device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    )
    return "bf16" if native else "no"


def synchronise(device: torch.device) -> None:
    """Waits until the device has done what it was given: an accelerator computes while Python goes on."""
    if device.type == "xla":
        import torch_xla

        torch_xla.sync(wait=True)
    elif device.type != "cpu":
        torch.accelerator.synchronize(device)
