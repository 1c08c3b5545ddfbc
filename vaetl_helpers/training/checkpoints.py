"""Checkpoints: weights, optimiser state and facts in one safetensors file, whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from vaetl_helpers.errors import CourseError
from vaetl_helpers.output import user_path

Facts = Mapping[str, Any]  # anything JSON takes
Tensors = dict[str, Tensor]
HEADER_SIZE = 8  # bytes before the header of a safetensors file: its length, the least first
BEGINNING = b'{"__metadata__":{"vaetl":'  # of the header of a checkpoint
MODEL = "model."
OPTIMIZER = "optimizer."


def state_tensors(model: nn.Module, optimizer: Optimizer | None) -> Tensors:
    """The state as named tensors, which share its memory.

    They are called "model.<name>" and "optimizer.<number of the parameter>.<name>".
    """
    tensors = {f"{MODEL}{name}": value for name, value in model.state_dict().items()}
    if optimizer is None:
        return tensors
    for number, state in optimizer.state_dict()["state"].items():
        for name, value in state.items():
            if value is not None:
                tensors[f"{OPTIMIZER}{number}.{name}"] = torch.as_tensor(value)
    return tensors


def set_state_tensors(tensors: Tensors, model: nn.Module, optimizer: Optimizer | None) -> None:
    """Fills the model (and the optimiser) from tensors with the names of `state_tensors`."""
    model.load_state_dict(_without_prefix(tensors, MODEL))
    if optimizer is None:
        return
    states: dict[int, Tensors] = {}
    for key, value in _without_prefix(tensors, OPTIMIZER).items():
        number, name = key.split(".", 1)
        state = states.setdefault(int(number), {})
        state[name] = value.clone()
    optimizer.load_state_dict(optimizer.state_dict() | {"state": states})


def _without_prefix(tensors: Tensors, prefix: str) -> Tensors:
    names = [name for name in tensors if name.startswith(prefix)]
    return {name.removeprefix(prefix): tensors[name] for name in names}


def save_checkpoint(
    path: Path | str, model: nn.Module, optimizer: Optimizer | None = None, **facts: Any
) -> Path:
    """Writes weights, optimiser state and `facts` to one .safetensors file, whole or not at all.

    The facts (anything JSON takes) are in the file's header. Raises CourseError where it cannot be
    written; an older file then stays.
    """
    return write_checkpoint(user_path(path), state_tensors(model, optimizer), facts)


def write_checkpoint(path: Path, tensors: Tensors, facts: Facts) -> Path:
    """`save_checkpoint` of any named tensors, which may lie on a device and share memory."""
    partial = path.with_name(f".{path.name}.partial")  # of a killed process: written over
    copies = {name: _copy(value) for name, value in tensors.items()}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(copies, partial, metadata={"vaetl": json.dumps(facts)})
        os.replace(partial, path)
    except (OSError, SafetensorError) as error:
        with suppress(OSError):
            partial.unlink()
        raise CourseError(
            f"The checkpoint {path} cannot be written ({error}): free some space or choose "
            "another folder; an older checkpoint of that name is untouched."
        ) from error
    return path


def _copy(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().contiguous().clone()


def load_checkpoint(
    path: Path | str, model: nn.Module, optimizer: Optimizer | None = None
) -> dict[str, Any]:
    """Fills the model (and the optimiser) from a checkpoint; returns the facts stored with it.

    Raises CourseError where the file is missing, damaged, no checkpoint of this course, or of a
    network of another shape; nothing is changed then.
    """
    facts, tensors = read_checkpoint(user_path(path), model)
    set_state_tensors(tensors, model, optimizer)
    return facts


def read_checkpoint(path: Path, model: nn.Module) -> tuple[dict[str, Any], Tensors]:
    """The facts and the named tensors of a checkpoint that fits the model, which stays as it is.

    Raises CourseError as `load_checkpoint` does.
    """
    try:
        facts, tensors = _read(path)
    except FileNotFoundError as error:
        raise CourseError(
            f"There is no checkpoint {path}: check the path, or train without it."
        ) from error
    except PermissionError as error:
        raise CourseError(
            f"The checkpoint {path} cannot be read ({error.strerror}): nothing was changed; check "
            "its permissions, or choose another path."
        ) from error
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        if not _is_of_this_course(path):
            raise CourseError(
                f"{path} is no checkpoint of this course: choose another path. It stays as it is."
            ) from error
        raise CourseError(
            f"The checkpoint {path} is damaged or cut short ({error}): nothing was changed; "
            "remove it to start again, or put back a whole copy."
        ) from error
    _check_shapes(path, tensors, model)
    return facts, tensors


def _is_of_this_course(path: Path) -> bool:
    """Whether a file that cannot be read begins as a checkpoint does, as far as it goes."""
    if path.is_dir():
        return False
    with path.open("rb") as file:
        size = file.read(HEADER_SIZE)
        header = file.read(len(BEGINNING))
    is_large = any(size[HEADER_SIZE // 2 :])  # above 4 GB: these bytes are no size
    return not is_large and BEGINNING.startswith(header)


def _read(path: Path) -> tuple[dict[str, Any], Tensors]:
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
        facts = json.loads(metadata["vaetl"])
        names = file.keys()
        return facts, {name: file.get_tensor(name) for name in names}


def _check_shapes(path: Path, tensors: Tensors, model: nn.Module) -> None:
    file_shapes = _shapes(_without_prefix(tensors, MODEL))
    model_shapes = _shapes(model.state_dict())
    for name in sorted(file_shapes | model_shapes):
        in_file = file_shapes.get(name, "missing")
        in_model = model_shapes.get(name, "missing")
        if in_file != in_model:
            raise CourseError(
                f"The checkpoint {path} is of another network ({MODEL}{name} is "
                f"{in_file} there and {in_model} here): build the network it was made with."
            )


def _shapes(tensors: Tensors) -> dict[str, object]:
    return {name: tuple(value.shape) for name, value in tensors.items()}
