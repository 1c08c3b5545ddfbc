"""Freezing and unfreezing parts of a network, and parameter groups of an optimiser.

    with frozen(body):         # for a while: afterwards each part is as it was before
        fit(model, ...)
    freeze(body)               # for good, or until unfreeze(body)

Both note what every module inside was like on a stack that the module carries, so that a copy of a
frozen module is frozen, too, and calls may overlap: what is undone is always the newest note.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import nn

from vaetl_helpers.errors import CourseError
from vaetl_helpers.nets import trainable


@dataclass(frozen=True)
class Snapshot:
    """What one module was like, without the modules inside it."""

    training: bool
    gradients: dict[str, bool]  # requires_grad of its own parameters


def stay_in_eval(module: nn.Module, mode: bool = True) -> nn.Module:
    """The `train` of a frozen module: whatever the mode, the module stays in eval mode."""
    return type(module).train(module, False)


def freeze(module: nn.Module) -> nn.Module:
    """Fixes a module, in place: no gradients, BatchNorm and dropout as in eval mode.

    It stays so whoever calls `train`. Freezing twice is freezing once. A copy of a frozen module is
    frozen; a layer put in later is not.
    """
    if not _is_frozen_itself(module):
        _freeze(module)
        vars(module)["_frozen_itself"] = True
    return module


def unfreeze(module: nn.Module) -> nn.Module:
    """Undoes `freeze` on the same module: each parameter and each part is as it was before.

    Parts that were frozen by a call of their own stay frozen. A module that is not frozen is left
    as it is. Raises CourseError for a part of a frozen module, and where only parts of it were
    frozen.
    """
    if not any(_snapshots(member) for member in module.modules()):
        return module
    snapshots = _snapshots(module)
    if not snapshots:
        raise _unfreeze_error("only parts were frozen")
    if not _is_frozen_itself(module) or len(snapshots) > 1:
        raise _unfreeze_error("a larger module was frozen")
    del vars(module)["_frozen_itself"]
    _restore(module)
    return module


@contextmanager
def frozen(*modules: nn.Module) -> Iterator[None]:
    """Inside, the modules are frozen as by `freeze`; afterwards each is as it was before."""
    _freeze(*modules)
    try:
        yield
    finally:
        _restore(*modules)


def _freeze(*modules: nn.Module) -> None:
    members = [member for module in modules for member in module.modules()]
    for member in members:  # all are noted before one is changed: two may share a parameter
        own_parameters = member.named_parameters(recurse=False)
        gradients = {name: parameter.requires_grad for name, parameter in own_parameters}
        snapshots = vars(member).setdefault("_snapshots", [])
        snapshots.append(Snapshot(member.training, gradients))
        # Unlike a lambda, it is copied and pickled with its module.
        vars(member)["train"] = functools.partial(stay_in_eval, member)
    for module in modules:
        module.train()
        for parameter in module.parameters():
            parameter.requires_grad_(False)
            # An optimiser that holds it would go on with the old gradient, or decay the weight.
            parameter.grad = None


def _restore(*modules: nn.Module) -> None:
    for module in modules:
        for member in module.modules():
            if _snapshots(member):  # otherwise it was put in later
                _restore_one(member)


def _restore_one(module: nn.Module) -> None:
    snapshots = _snapshots(module)
    snapshot = snapshots.pop()
    module.training = snapshot.training
    for name, parameter in module.named_parameters(recurse=False):
        parameter.requires_grad_(snapshot.gradients.get(name, True))
    if not snapshots:
        del vars(module)["_snapshots"], vars(module)["train"]


def _snapshots(module: nn.Module) -> list[Snapshot]:
    """The stack of what a module was like; empty where it is not frozen."""
    return vars(module).get("_snapshots", [])


def _is_frozen_itself(module: nn.Module) -> bool:
    """Whether `freeze` was called on this very module, and not only on one that holds it."""
    return "_frozen_itself" in vars(module)


def _unfreeze_error(problem: str) -> CourseError:
    return CourseError(
        f"Unfreeze each module that was given to freeze, the largest first; of this one, {problem}."
    )


def gradual_unfreezing(modules: Sequence[nn.Module]) -> Iterator[list[nn.Module]]:
    """Freezes all parts of a model, then opens one more at each step, the head first.

    Yields the open ones, from the input.

    For a loop of `fit` calls; parts that the loop does
    not reach stay frozen. Raises CourseError for a part of a module that is frozen as a whole.
    Source: Howard and Ruder 2018, arXiv:1801.06146, section 3.3.
    """
    for module in modules:
        freeze(module)
    for number in reversed(range(len(modules))):
        unfreeze(modules[number])
        yield list(modules[number:])


# ---------------------------------------------------------------- parameter groups


def param_groups(
    parts: Sequence[nn.Module], rate: float, factor: float = 2.6, model: nn.Module | None = None
) -> list[dict[str, Any]]:
    """Groups for an optimiser: the head (the last part) learns at `rate`, what is before it slower.

    From part to part it is `factor` times slower. Frozen parts get no group, and count in the
    depth. Raises CourseError for a parameter in two parts, one that trains and is in no part of
    `model`, one that is not the model's, and where everything is frozen.
    Discriminative fine-tuning and the factor 2.6: Howard and Ruder 2018, arXiv:1801.06146, section
    3.2.
    """
    if not (rate > 0 and factor >= 1):
        raise CourseError(
            f"rate must be above 0 and factor at least 1, not {rate} and {factor}: try 1e-3 and "
            "2.6."
        )
    part_numbers = _part_of_each_parameter(parts)
    if model is not None:
        _check_parts_of(model, part_numbers)
    groups = []
    for number, module in enumerate(parts):
        depth = len(parts) - 1 - number
        parameters = trainable(module)
        if parameters:
            groups.append({"params": parameters, "lr": rate / factor**depth})
    if not groups:
        raise CourseError(
            "Every part is frozen, so there is nothing to train: unfreeze the head, or add a new "
            "one."
        )
    return groups


def _part_of_each_parameter(modules: Sequence[nn.Module]) -> dict[nn.Parameter, int]:
    part_numbers: dict[nn.Parameter, int] = {}
    for number, module in enumerate(modules):
        for parameter in module.parameters():
            number_before = part_numbers.setdefault(parameter, number)
            if number_before != number:
                raise CourseError(
                    f"A parameter is in the parts {number_before} and {number}: give each layer "
                    "to one part, from the input."
                )
    return part_numbers


def _check_parts_of(model: nn.Module, part_numbers: dict[nn.Parameter, int]) -> None:
    problems = []
    model_parameters = set(model.parameters())
    for parameter, number in part_numbers.items():
        if parameter not in model_parameters:
            problems.append(f"part {number} is not of this model")
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and parameter not in part_numbers:
            problems.append(f"{name} is in none of the parts")
    if problems:
        raise CourseError(
            f"The parts and the model do not fit, since {problems[0]}: list the model's parts, "
            "input to head."
        )
