"""Label draws: which training images a repeat of a study may learn from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vaetl_helpers.errors import CourseError, unknown_name_error


@dataclass(frozen=True)
class Draws:
    """Label draws from a pool of `pool` images: for each draw its indices [labels], sorted, and what it shares.

    `shared` is, for each draw, the mean fraction of its labels that another draw has too: 0 where all are disjoint.
    """

    indices: list[Tensor]
    pool: int
    shared: list[float]

    @property
    def disjoint(self) -> bool:
        return not any(self.shared)


def draw_labels(
    labels: Tensor, per_class: int, draws: int, seed: int, disjoint: str = "where possible"
) -> Draws:
    """Draws `per_class` labels of every class, `draws` times: stratified, seeded, and the same for every method.

    Each class is dealt out like a shuffled pack of cards; where it is used up, it is shuffled again and draws overlap,
    unless `disjoint` is "always". The first draws stay the same however many follow. `labels`: class numbers [pool].
    Raises CourseError where a class has too few images.
    """
    if disjoint not in ("where possible", "always"):
        raise unknown_name_error("value of disjoint", disjoint, ("where possible", "always"))
    labels = labels.cpu()
    classes, sizes = labels.unique(return_counts=True)
    needed = per_class * (draws if disjoint == "always" else 1)
    if draws < 1 or not 1 <= needed <= int(sizes.min()):
        raise CourseError(
            f"{draws} draws of {per_class} labels a class need at least {max(1, needed)} of each class, but the "
            f"smallest class of the pool has {int(sizes.min())}: take fewer, and at least one."
        )
    deals = [
        _deal((labels == c).nonzero().flatten(), per_class, draws, [seed, per_class, c])
        for c in classes.tolist()
    ]
    indices = [torch.cat(hands).sort().values for hands in zip(*deals, strict=True)]
    others = (
        torch.bincount(torch.cat(indices), minlength=len(labels)) - 1
    )  # how many other draws have this image
    shared = [others[chosen].sum().item() / (len(chosen) * max(1, draws - 1)) for chosen in indices]
    return Draws(indices, len(labels), shared)


def _deal(pool: Tensor, size: int, draws: int, seed: list[int]) -> list[Tensor]:
    """Hands of `size` from a shuffled pack; the rest of a pack is dealt before any card comes a second time."""
    generator, pack, hands = np.random.default_rng(seed), np.empty(0, int), []
    for _ in range(draws):
        if len(pack) < size:
            fresh = generator.permutation(pool.numpy())
            pack = np.append(
                pack, fresh[np.isin(fresh, pack).argsort(kind="stable")]
            )  # those still held come last
        hands.append(torch.from_numpy(pack[:size]))
        pack = pack[size:]
    return hands


@dataclass(frozen=True)
class Draw:
    """One repeat: sorted `indices` [labels] into the pool, and the seeds of pretraining and of everything else."""

    labels: int
    number: int
    indices: Tensor
    shared: float  # as in Draws
    pretrain_seed: int
    seed: int


@dataclass(frozen=True)
class Method:
    """A way to learn from few labels; `run(draw)` returns a dict of metrics, accuracies in per cent.

    A metric is a number, a `Reached`, or one value a test image [images], where booleans count as per cent correct:
    its mean is the metric, and the spread over images then enters the intervals. "seconds" replaces the measured time.
    `run` is a function of its draw alone: a run starts with PyTorch and NumPy seeded by `draw.seed`. With `together` it
    takes the list of all draws and returns a list. `settings` is what a study must still have to be resumed (JSON).
    """

    name: str
    run: Callable[[Any], Any]
    settings: Mapping[str, Any] = field(default_factory=dict)
    together: bool = False
