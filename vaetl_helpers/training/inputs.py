"""What people hand to `fit` and `evaluate` by mistake: a sentence before any work is done."""

from __future__ import annotations

import copy
import inspect
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd
from torch.nn.parameter import UninitializedParameter
from torch.optim import Optimizer
from torch.utils.data import DataLoader, Dataset

from vaetl_helpers.data.images import ImageSet, Splits, shard
from vaetl_helpers.errors import CourseError
from vaetl_helpers.nets import trainable

OF_LOGITS = ("torch.nn.functional", "torch.nn.modules.loss")  # modules of functions of two tensors
BATCH_NORM_ERROR = "Expected more than 1 value per channel"
LABEL_ERROR = "Target "  # how the message of F.cross_entropy begins
UNLIKE = ("same dtype", "should be the same", "shapes cannot be multiplied", "to have")


# ---------------------------------------------------------------- images, networks, functions


def check_images(images: Any, name: str) -> None:
    """Raises CourseError unless it is an ImageSet; says how to make one of what it is."""
    if isinstance(images, ImageSet):
        return
    kind = type(images).__name__
    advice = "make one of images and labels: ImageSet(images, labels, classes)"
    if isinstance(images, Splits):
        advice = "take one of the three sets, such as data.train or data.validation"
    elif isinstance(images, DataLoader):
        advice = (
            "batches are made here, so hand over the images themselves: "
            "ImageSet(images, labels, classes)"
        )
    elif isinstance(images, Dataset):
        advice = "hand over its tensors: ImageSet(images, labels, classes)"
    elif isinstance(images, nn.Module):
        advice = "the network comes first, then the images"
    raise CourseError(f"{name} must be an ImageSet, not {kind}: {advice}.")


def check_network(model: Any) -> None:
    """Raises CourseError unless it is a network whose parameters are made."""
    if isinstance(model, type) or not isinstance(model, nn.Module):
        kind = f"the class {model.__name__}" if isinstance(model, type) else type(model).__name__
        raise CourseError(f"The first argument must be a network (an nn.Module), not {kind}.")
    if any(isinstance(parameter, UninitializedParameter) for parameter in model.parameters()):
        raise CourseError(
            "The network has lazy layers, whose weights are not made yet: "
            "call it once on a batch of images before."
        )


def check_loss(loss_fn: Any) -> None:
    """Raises CourseError unless it can be called as loss_fn(model, images, labels)."""
    name = getattr(loss_fn, "__name__", type(loss_fn).__name__)
    module = getattr(loss_fn, "__module__", "")
    if isinstance(loss_fn, nn.Module | type):
        module = loss_fn.__module__
    problem = ""
    if module in OF_LOGITS or name in ("cross_entropy", "CrossEntropyLoss"):
        problem = "takes logits and labels"
    elif isinstance(loss_fn, type) or not callable(loss_fn):
        problem = "is no function"
    elif not _takes(loss_fn, 3):
        problem = "does not take three arguments"
    if problem:
        raise CourseError(
            f"The loss is called as loss_fn(model, images, labels), but {name} {problem}: write "
            "`lambda model, images, labels: F.cross_entropy(model(images), labels)`, or leave it "
            "out, which gives cross-entropy and the accuracy."
        )


def _takes(function: Callable[..., Any], count: int) -> bool:
    """Whether it can be called with so many arguments."""
    if isinstance(function, nn.Module):
        function = function.forward
    try:
        inspect.signature(function).bind(*[None] * count)
    except TypeError:
        return False
    except ValueError:  # it has no signature that could be read
        return True
    return True


def check_schedule(schedule: Any) -> None:
    """Raises CourseError unless it is a function of the progress, or None."""
    if schedule is None or (callable(schedule) and not isinstance(schedule, type)):
        return
    kind = schedule.__name__ if isinstance(schedule, type) else type(schedule).__name__
    raise CourseError(
        "A schedule must be a function from progress in [0, 1) to a factor of the learning rate, "
        f"not {kind}: write `lambda progress: 1 - progress`, or take training.one_cycle."
    )


def check_watch(watch: Any) -> None:
    """Raises CourseError unless it can be called as watch(model, row), or is None."""
    if watch is None or (callable(watch) and not isinstance(watch, type) and _takes(watch, 2)):
        return
    kind = watch.__name__ if isinstance(watch, type) else type(watch).__name__
    raise CourseError(
        "`watch` is called as watch(model, row) after each epoch, which cannot be done with "
        f"{kind}: write `lambda model, row: print(row)`, or take a Film "
        "of vaetl_helpers.living.film."
    )


def check_path(path: Any, name: str) -> None:
    """Raises CourseError unless it is a path or None."""
    if path is not None and not isinstance(path, str | os.PathLike):
        raise CourseError(f"{name} must be a path, not {path!r}: try {name}='run.safetensors'.")


# ---------------------------------------------------------------- the optimiser


def check_optimiser(optimizer: Any, model: nn.Module) -> None:
    """Raises CourseError unless it trains what is trainable in this network, and nothing else."""
    if not trainable(model):
        has_none = next(model.parameters(), None) is None
        problem = "It has no parameters" if has_none else "Every parameter is frozen"
        raise CourseError(
            f"There is nothing to train in the network. {problem}: unfreeze a part of it, or add "
            "a layer."
        )
    if optimizer is None:
        return
    if not isinstance(optimizer, Optimizer):
        kind = optimizer if isinstance(optimizer, str | type) else type(optimizer).__name__
        raise CourseError(
            f"An optimiser of torch.optim was expected, not {kind}: "
            "write torch.optim.Adam(model.parameters(), lr=1e-3)."
        )
    of_network = set(model.parameters())
    members = {parameter for group in optimizer.param_groups for parameter in group["params"]}
    missing_names = [
        name
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and parameter not in members
    ]
    if not of_network & members:
        problem = "belongs to another network, and this one would not change"
    elif members - of_network:
        problem = f"has {len(members - of_network)} parameters that are not this network's"
    elif missing_names:
        problem = f"lacks {len(missing_names)} trainable parameters, {missing_names[0]} among them"
    else:
        return
    raise CourseError(
        f"The optimiser {problem}: make a new one after the network, "
        f"{type(optimizer).__name__}(model.parameters(), …), and freeze what is not to be trained."
    )


# ---------------------------------------------------------------- BatchNorm


def has_batch_norm(model: nn.Module) -> bool:
    """Whether a layer that is not frozen takes mean and variance from the batch in training."""
    return any(
        isinstance(layer, _BatchNorm) and "train" not in vars(layer) for layer in model.modules()
    )


def check_batch_norm(
    model: nn.Module, images: ImageSet, batch_size: int, micro_batch: int, world: int = 1
) -> None:
    """Raises CourseError where BatchNorm would meet a single value, in a batch of one image."""
    if not has_batch_norm(model):
        return
    pieces = _sizes_of_pieces(len(images), batch_size, micro_batch, world)
    if 1 not in pieces or not _fails_on_one(model, images):
        return
    count = len(images)
    place = f"{count} images in batches of {batch_size}"
    if micro_batch < batch_size:
        place += f" and micro-batches of {micro_batch}"
    raise CourseError(
        f"BatchNorm needs two images at least, but {place} leave one alone: "
        f"{_other_batch_size(count, batch_size, world)}."
    )


def check_independent_of_the_batch(model: nn.Module) -> None:
    """Raises CourseError for a layer that computes with the batch, or draws numbers, in training.

    Such layers cannot be stacked with those of other networks.
    """
    for name, layer in model.named_modules():
        if isinstance(layer, _BatchNorm | _DropoutNd):
            raise CourseError(
                f"Networks with {type(layer).__name__} (layer {name}) cannot be trained together: "
                "train them one by one with fit_best."
            )


def _sizes_of_pieces(count: int, batch_size: int, micro_batch: int, world: int) -> set[int]:
    """How many images a process computes with at a time."""
    wholes = {min(count, batch_size), count % batch_size} - {0}
    pieces = set()
    for whole in wholes:
        for rank in range(world):
            start, stop = shard(whole, rank, world)
            size = max(1, stop - start)  # one image stands in for none
            pieces |= {min(size, micro_batch), size % micro_batch}
    return pieces - {0}


def _fails_on_one(model: nn.Module, images: ImageSet) -> bool:
    """Whether a copy of the network refuses one image; where maps are larger, one is enough."""
    twin = copy.deepcopy(model).train()
    parameter = next(twin.parameters())
    image = images.images[:1].to(parameter.device).div(255)
    devices = [parameter.device] if parameter.device.type == "cuda" else []
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=devices):
            twin(image.to(parameter.dtype))
    except ValueError as error:
        return BATCH_NORM_ERROR in str(error)
    except Exception:  # the training itself will say what it is
        return False
    return False


def _other_batch_size(count: int, batch_size: int, world: int) -> str:
    for size in range(batch_size, 1, -1):
        if 1 not in _sizes_of_pieces(count, size, size, world):
            if size == batch_size:
                return "take larger micro-batches"
            return f"take batch_size={size}"
    return "take more images"


# ---------------------------------------------------------------- errors while it runs


@contextmanager
def explained(model: nn.Module, images: ImageSet) -> Iterator[None]:
    """Inside, errors of PyTorch that images and network cause together come with a sentence."""
    try:
        yield
    except IndexError as error:
        if not str(error).startswith(LABEL_ERROR):
            raise
        highest = int(images.labels.max())
        raise CourseError(
            f"The network has too few outputs: labels go up to {highest}, so that {highest + 1} "
            "are needed, one for each class."
        ) from error
    except RuntimeError as error:
        if any(words in str(error) for words in UNLIKE):
            error.add_note(_what_there_is(model, images))
        raise


def _what_there_is(model: nn.Module, images: ImageSet) -> str:
    parameter = next(model.parameters(), torch.empty(0))
    shape = list(images.images.shape[1:])
    return (
        f"The images come as torch.float32 of shape [batch, {str(shape)[1:]}, and the network has "
        f"{parameter.dtype}: build it for them, or convert in the loss function."
    )


def check_outputs(logits: Tensor, labels: Tensor) -> None:
    """Raises CourseError unless there is a row of logits for each label."""
    is_table = isinstance(logits, Tensor) and logits.dim() == 2 and len(logits) == len(labels)
    if not is_table:
        kind = list(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise CourseError(
            f"The network returns {kind}, but logits [{len(labels)}, classes] were expected: "
            "flatten the images, or give a loss of your own."
        )
