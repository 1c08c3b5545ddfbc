"""Freezing and unfreezing parts of a network, and parameter groups of an optimiser."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from vaetl_helpers.errors import CourseError
from vaetl_helpers.nets import trainable


@dataclass
class _Before:
    """What a frozen module was like; it is frozen as long as one call of `freeze` covers it."""

    training: bool
    gradients: dict[str, bool]
    covers: int = 0
    asked: bool = False  # whether `freeze` was called on this module itself


def _stay(module: nn.Module, mode: bool = True) -> nn.Module:
    """A frozen module's `train`, whatever the mode."""
    return type(module).train(module, False)


def freeze(module: nn.Module) -> nn.Module:
    """Fixes a module, in place: no gradients, BatchNorm statistics and dropout as in eval mode, whoever calls `train`.

    Freezing twice is freezing once. A copy of a frozen module is frozen; a layer put in later is not.
    """
    again = (mine := vars(module).get("_before")) is not None and mine.asked
    for part in module.modules():  # all are noted before one is changed: two may share a parameter
        if "_before" not in vars(part):
            gradients = {
                name: value.requires_grad for name, value in part.named_parameters(recurse=False)
            }
            part._before = _Before(part.training, gradients)
            part.train = functools.partial(
                _stay, part
            )  # unlike a lambda, it is copied and pickled with its module
        part._before.covers += not again
    module._before.asked = True
    for parameter in module.parameters():
        parameter.requires_grad_(False)
        parameter.grad = None  # an optimiser that holds it would go on with the old gradient, or decay the weight
    return module.train()


def unfreeze(module: nn.Module) -> nn.Module:
    """Undoes `freeze` on the same module: each parameter and each part is as it was before.

    Parts that were frozen by a call of their own stay frozen. A module that is not frozen is left as it is.
    Raises CourseError for a part of a frozen module, and where only parts of it were frozen.
    """
    mine = vars(module).get("_before")
    if mine is None and not any("_before" in vars(part) for part in module.modules()):
        return module
    if mine is None or not mine.asked or mine.covers > 1:
        where = "only parts were frozen" if mine is None else "a larger module was frozen"
        raise CourseError(
            f"Unfreeze each module that was given to freeze, the largest first; of this one, {where}."
        )
    mine.asked = False
    for part in module.modules():
        before = vars(part).get(
            "_before", _Before(part.training, {}, covers=2)
        )  # or it was put in later
        before.covers -= 1
        if before.covers <= 0:
            del part.train, part._before
            part.training = before.training
            for name, parameter in part.named_parameters(recurse=False):
                parameter.requires_grad_(before.gradients.get(name, True))
    return module


def param_groups(
    parts: Sequence[nn.Module], rate: float, factor: float = 2.6, model: nn.Module | None = None
) -> list[dict[str, Any]]:
    """Groups for an optimiser: the head (the last part) learns at `rate`, each part before it `factor` times slower.

    Frozen parts get no group, and count in the depth. Raises CourseError for a parameter in two parts, one that
    trains and is in no part of `model`, one that is not the model's, and where everything is frozen.
    Discriminative fine-tuning and the factor 2.6: Howard and Ruder 2018, arXiv:1801.06146, section 3.2.
    """
    if not (rate > 0 and factor >= 1):
        raise CourseError(
            f"rate must be above 0 and factor at least 1, not {rate} and {factor}: try 1e-3 and 2.6."
        )
    names = {} if model is None else {value: name for name, value in model.named_parameters()}
    owner: dict[nn.Parameter, int] = {}
    for number, part in enumerate(parts):
        for parameter in part.parameters():
            if owner.setdefault(parameter, number) != number:
                both = f"{owner[parameter]} and {number}"
                raise CourseError(
                    f"A parameter is in the parts {both}: give each layer to one part, from the input."
                )
    strange = [number for value, number in owner.items() if names and value not in names]
    missing = [name for value, name in names.items() if value.requires_grad and value not in owner]
    if strange or missing:
        what = (
            f"part {strange[0]} is not of this model"
            if strange
            else f"{missing[0]} is in none of the parts"
        )
        raise CourseError(
            f"The parts and the model do not fit, since {what}: list the model's parts, input to head."
        )
    groups = [
        {"params": held, "lr": rate / factor ** (len(parts) - 1 - number)}
        for number, part in enumerate(parts)
        if (held := trainable(part))
    ]
    if not groups:
        raise CourseError(
            "Every part is frozen, so there is nothing to train: unfreeze the head, or add a new one."
        )
    return groups


def gradual_unfreezing(parts: Sequence[nn.Module]) -> Iterator[list[nn.Module]]:
    """Freezes all parts, then opens one more at each step, the head first; yields the open ones, from the input.

    For a loop of `fit` calls; parts that the loop does not reach stay frozen. Raises CourseError for a part of a
    module that is frozen as a whole. Source: Howard and Ruder 2018, arXiv:1801.06146, section 3.3.
    """
    for part in parts:
        freeze(part)
    for first in reversed(range(len(parts))):
        unfreeze(parts[first])
        yield list(parts[first:])
