"""Checkpoints: weights, optimiser state and facts in one safetensors file, whole or not at all."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from vaetl_helpers.errors import CourseError


def state_tensors(model: nn.Module, optimizer: Optimizer | None) -> dict[str, Tensor]:
    """The state as named tensors, sharing memory: 'model.<name>' and 'optimizer.<parameter number>.<name>'."""
    named = {f"model.{name}": value for name, value in model.state_dict().items()}
    if optimizer is not None:
        for number, state in optimizer.state_dict()["state"].items():
            named |= {f"optimizer.{number}.{name}": torch.as_tensor(value) for name, value in state.items()
                      if value is not None}  # fmt: skip
    return named


def set_state_tensors(
    named: dict[str, Tensor], model: nn.Module, optimizer: Optimizer | None
) -> None:
    model.load_state_dict(
        {k.removeprefix("model."): v for k, v in named.items() if k.startswith("model.")}
    )
    if optimizer is not None:
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in named.items():
            if key.startswith("optimizer."):
                _, number, name = key.split(".", 2)
                state.setdefault(int(number), {})[name] = value.clone()
        optimizer.load_state_dict(optimizer.state_dict() | {"state": state})


def save_checkpoint(
    path: Path | str, model: nn.Module, optimizer: Optimizer | None = None, **facts: Any
) -> Path:
    """Writes weights, optimiser state and `facts` (anything JSON takes) to one .safetensors file, whole or not at all.

    The facts are JSON in the file's header. Raises CourseError where it cannot be written; an older file then stays.
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}.partial")  # of a process that was killed: written over
    named = {
        name: value.detach().cpu().contiguous().clone()
        for name, value in state_tensors(model, optimizer).items()
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(named, partial, metadata={"vaetl": json.dumps(facts)})
        os.replace(partial, path)
    except (OSError, SafetensorError) as error:
        with suppress(OSError):
            partial.unlink()
        raise CourseError(
            f"The checkpoint {path} cannot be written ({error}): free some space or choose another folder; an older "
            "checkpoint of that name is untouched."
        ) from error
    return path


def load_checkpoint(
    path: Path | str, model: nn.Module, optimizer: Optimizer | None = None
) -> dict[str, Any]:
    """Fills the model (and the optimiser) from a checkpoint and returns the facts stored with it.

    Raises CourseError where the file is missing, damaged, or of a network of another shape; nothing is changed then.
    """
    facts, named = read_checkpoint(Path(path), model)
    set_state_tensors(named, model, optimizer)
    return facts


def read_checkpoint(path: Path, model: nn.Module) -> tuple[dict[str, Any], dict[str, Tensor]]:
    try:
        with safe_open(path, framework="pt") as file:
            facts = json.loads((file.metadata() or {})["vaetl"])
            named = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError as error:
        raise CourseError(
            f"There is no checkpoint {path}: check the path, or train without it."
        ) from error
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise CourseError(
            f"The checkpoint {path} is damaged or cut short ({error}): nothing was changed; remove it to start again, "
            "or put back a whole copy."
        ) from error
    weights = {
        name: tuple(value.shape) for name, value in named.items() if name.startswith("model.")
    }
    expected = {name: tuple(value.shape) for name, value in state_tensors(model, None).items()}
    if weights != expected:
        name = next(n for n in sorted(weights | expected) if weights.get(n) != expected.get(n))
        raise CourseError(
            f"The checkpoint {path} is of another network ({name} is {weights.get(name, 'missing')} there and "
            f"{expected.get(name, 'missing')} here): build the network it was made with."
        )
    return facts, named
