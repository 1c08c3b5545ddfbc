"""Whether a checkpoint is of the run that wants to continue from it."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from vaetl_helpers.data.images import ImageSet
from vaetl_helpers.errors import CourseError
from vaetl_helpers.training.checkpoints import MODEL, OPTIMIZER, read_checkpoint, state_tensors
from vaetl_helpers.training.evaluation import LossFunction
from vaetl_helpers.training.identity import (
    Identity,
    differences,
    function_identity,
    images_digest,
    listed,
    network_identity,
    optimiser_identity,
    python_identity,
    tensors_digest,
)
from vaetl_helpers.training.inputs import has_batch_norm
from vaetl_helpers.training.options import RunOptions
from vaetl_helpers.training.stopping import PREFIX as BEST

IDENTITY = "identity"  # its name among the facts of a checkpoint
WEIGHTS = "weights at the start"
STATE = "optimiser's state at the start"
Digests = dict[str, str]  # of the weights and of the optimiser's state


@dataclass(frozen=True)
class Left:
    """What a run has left: the network and its best weights, and what has counted in its code."""

    digests: list[Digests] = field(default_factory=list)
    code: Identity = field(default_factory=dict)


class RunIdentity:
    """What decides how a run ends: the settings of `fit`, what it is given, and where it starts."""

    def __init__(
        self,
        model: nn.Module,
        train: ImageSet,
        loss_fn: LossFunction,
        options: RunOptions,
        optimizer: Optimizer,
        precision: str,
    ) -> None:
        count = sum(len(group["params"]) for group in optimizer.param_groups)
        self.settings: dict[str, Any] = {
            "seed": options.seed,
            "batch_size": options.batch_size,
            "images": len(train),
            "optimiser": f"{type(optimizer).__name__} of {count} tensors",
            "patience": options.stopping.patience if options.stopping else None,
        }
        self.identity: Identity = {"precision": precision}
        if has_batch_norm(model):
            self.identity["micro_batch"] = str(options.micro_batch)
        self.identity |= optimiser_identity(optimizer, model)
        self.network, self.loss_fn, self.schedule = model, loss_fn, options.schedule
        self.identity |= self.of_code()
        self.identity |= python_identity()
        self.identity["training images and labels"] = images_digest(train)
        self.identity["validation images and labels"] = images_digest(options.validation)
        self.start = _digests(state_tensors(model, optimizer))

    def of_code(self) -> Identity:
        """What loss, schedule and network consist of now; some count while they run."""
        facts = function_identity("schedule", self.schedule)
        facts |= function_identity("loss", self.loss_fn, self.network)
        return facts | network_identity(self.network)

    def facts(self) -> dict[str, Any]:
        """What a checkpoint keeps of it."""
        facts = {name: fact for name, fact in self.settings.items() if fact is not None}
        return facts | {IDENTITY: self.identity | self.start}

    def changes(
        self, facts: Mapping[str, Any], tensors: Mapping[str, Tensor], left: Left
    ) -> list[str]:
        """What is different from the run of a checkpoint, in words; none if it is the same run.

        Network and loss may be as they were at the start of that run, or as that run has `left`
        them, and the weights as they are in the checkpoint. Checkpoints of earlier versions tell
        the settings alone.
        """
        changes = differences({name: facts.get(name) for name in self.settings}, self.settings)
        stored: Identity | None = facts.get(IDENTITY)
        if stored is None:
            return changes
        for name, fact in left.code.items():
            if self.identity.get(name) == fact and name in stored:
                self.identity[name] = stored[name]
        changes += differences(_without_start(stored), self.identity)
        allowed = [stored]
        if self.start[WEIGHTS] != stored[WEIGHTS]:  # it goes on, or it is another one
            best = {name.replace(BEST, MODEL, 1): value for name, value in tensors.items()}
            allowed += [_digests(tensors), _digests(best), *left.digests]
        for name, digest in self.start.items():
            if all(digests[name] != digest for digests in allowed):
                changes.append(f"{name} changed")
            self.start[name] = stored[name]
        return changes


def _without_start(identity: Identity) -> Identity:
    return {name: fact for name, fact in identity.items() if name not in (WEIGHTS, STATE)}


def _digests(tensors: Mapping[str, Tensor]) -> Digests:
    """Digests of tensors that are named as in a checkpoint."""
    return {
        WEIGHTS: tensors_digest({n: t for n, t in tensors.items() if n.startswith(MODEL)}),
        STATE: tensors_digest({n: t for n, t in tensors.items() if n.startswith(OPTIMIZER)}),
    }


# What the last run with a checkpoint has left in a network, by the checkpoint's path. Such a
# network may go on, for example when a cell is run again after it was interrupted.
_left: weakref.WeakKeyDictionary[nn.Module, dict[Path, Left]] = weakref.WeakKeyDictionary()


def note_left(
    identity: RunIdentity, optimizer: Optimizer, best: Mapping[str, Tensor], path: Path
) -> None:
    """Notes what a run leaves: the network as it is, or its `best` weights by their names."""
    model = identity.network
    tensors = state_tensors(model, optimizer)
    weights = {f"{MODEL}{name}": value for name, value in best.items()}
    left = Left([_digests(tensors), _digests(weights)], identity.of_code())
    _left.setdefault(model, {})[path.absolute()] = left


def left_by(model: nn.Module, path: Path) -> Left:
    """What the last run with this checkpoint has left in the network."""
    return _left.get(model, {}).get(path.absolute(), Left())


def read_own_checkpoint(
    path: Path, identity: RunIdentity, epochs: int
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The facts and the named tensors of the checkpoint of this run, which has `epochs` in all.

    Raises CourseError if it is another run's.
    """
    model = identity.network
    facts, tensors = read_checkpoint(path, model)
    changes = identity.changes(facts, tensors, left_by(model, path))
    epochs_done = len(facts.get("history", []))
    if epochs < epochs_done:  # to have done fewer is what resuming is for
        changes.append(f"epochs {epochs_done} → {epochs}")
    if changes:
        raise CourseError(
            f"{path} belongs to another run ({listed(changes)}): give the new run another "
            "checkpoint path, or remove the file to start again; to continue that run, make "
            "the call as it was, with a network as it was or filled by load_checkpoint."
        )
    return facts, tensors
