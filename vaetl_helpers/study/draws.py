"""Label draws: which training images a repeat of a study may learn from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vaetl_helpers.data.inputs import as_list
from vaetl_helpers.errors import CourseError, unknown_name_error
from vaetl_helpers.seeds import whole_number, whole_seed
from vaetl_helpers.study.arguments import class_numbers, seeds_in_turn


@dataclass(frozen=True)
class Draw:
    """One repeat: sorted `indices` [labels] into the pool, and the seeds of all that is random.

    `overlap` is the mean fraction of its labels that another draw has too: 0 for disjoint draws.
    """

    labels: int
    number: int
    indices: Tensor
    overlap: float
    pretrain_seed: int
    seed: int


@dataclass(frozen=True)
class Method:
    """A way to learn from few labels: `run(draw)` returns a dict of metrics.

    A metric is a number, a `Cost`, or one value a test image [images], where booleans count as per
    cent correct: its mean is the metric, and the spread over images then enters the intervals.
    Accuracies are in per cent. "seconds" replaces the measured time. `run` is a function of its
    draw alone: a run starts with PyTorch and NumPy seeded by `draw.seed`. A `batched` one takes the
    list of all draws and returns a list. `settings` is what a study must still have to be resumed
    (JSON).
    """

    name: str
    run: Callable[[Any], Any]
    settings: Mapping[str, Any] = field(default_factory=dict)
    batched: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not callable(self.run):
            raise CourseError(
                f"A method is a name and a function of a draw, not {self.name!r} and "
                f"{type(self.run).__name__}: write Method('scratch', lambda draw: …)."
            )
        if not isinstance(self.settings, Mapping):
            raise CourseError(
                f"The settings of '{self.name}' must be a dictionary, not "
                f"{type(self.settings).__name__}: try {{'rate': 0.1}}."
            )


def checked_methods(methods: Any) -> list[Method]:
    """A study's methods; raises CourseError for what is no `Method` that can be run."""
    listed = as_list(methods, "methods", '[Method("probe", run)]')
    for position, method in enumerate(listed):
        if not isinstance(method, Method):
            raise CourseError(
                f"methods must hold Method(name, run) with a function `run`, but number {position} "
                f"is {str(method)[:60]}: wrap it."
            )
    return listed


def draw_labels(
    labels: Tensor,
    per_class: int,
    draws: int,
    seed: int,
    disjoint: str = "where possible",
    pretrain_seeds: Sequence[int] | None = None,
) -> list[Draw]:
    """Draws `per_class` labels of every class, `draws` times: stratified, seeded, for every method.

    Each class is dealt out like a shuffled pack of cards; where it is used up, it is shuffled again
    and draws overlap, unless `disjoint` is "always". The first draws stay the same however many
    follow. `labels`: class numbers or names [pool]. `pretrain_seeds` are taken in turn; by default
    every draw has a fresh one. Raises CourseError where a class has too few images.
    """
    if disjoint not in ("where possible", "always"):
        raise unknown_name_error("value of disjoint", disjoint, ("where possible", "always"))
    labels = class_numbers(labels).cpu()
    per_class = whole_number(per_class, "per_class")
    draws = whole_number(draws, "draws")
    seed = whole_seed(seed)
    pretrain_seeds = seeds_in_turn(pretrain_seeds)
    classes, sizes = labels.unique(return_counts=True)
    images_needed = per_class * (draws if disjoint == "always" else 1)
    if draws < 1 or not 1 <= images_needed <= int(sizes.min()):
        raise CourseError(
            f"{draws} draws of {per_class} labels a class need at least {max(1, images_needed)} of "
            f"each class, but the smallest class of the pool has {int(sizes.min())}: take fewer, "
            "and at least one."
        )
    hands_by_class = [
        _deal((labels == c).nonzero().flatten(), per_class, draws, [seed, per_class, c])
        for c in classes.tolist()
    ]
    indices = [torch.cat(hands).sort().values for hands in zip(*hands_by_class, strict=True)]
    overlaps = _overlaps(indices, len(labels))
    if pretrain_seeds is None:
        pretrain_seeds = [_derived_seed(0, seed, number) for number in range(draws)]
    pretrain_seeds = [whole_seed(number, "pretrain_seeds") for number in pretrain_seeds]
    count = per_class * len(classes)
    return [
        Draw(
            labels=count,
            number=number,
            indices=indices[number],
            overlap=overlaps[number],
            pretrain_seed=pretrain_seeds[number % len(pretrain_seeds)],
            seed=_derived_seed(1, seed, count, number),
        )
        for number in range(draws)
    ]


def _deal(pool: Tensor, size: int, draws: int, seed: list[int]) -> list[Tensor]:
    """Hands of `size` from a shuffled pack; no card comes a second time before all came once."""
    generator = np.random.default_rng(seed)
    pack = np.empty(0, int)
    hands = []
    for _ in range(draws):
        if len(pack) < size:
            shuffled = generator.permutation(pool.numpy())
            # Cards that are still in the pack come last.
            order = np.isin(shuffled, pack).argsort(kind="stable")
            pack = np.append(pack, shuffled[order])
        hands.append(torch.from_numpy(pack[:size]))
        pack = pack[size:]
    return hands


def _overlaps(indices: Sequence[Tensor], pool: int) -> list[float]:
    """For each draw the mean fraction of its labels that another draw has, too."""
    other_uses = torch.bincount(torch.cat(list(indices)), minlength=pool) - 1
    other_draws = max(1, len(indices) - 1)
    overlaps = []
    for draw in indices:
        common = other_uses[draw].sum().item()
        overlaps.append(common / (len(draw) * other_draws))
    return overlaps


def _derived_seed(*key: int) -> int:
    return int(np.random.SeedSequence(key).generate_state(1)[0]) >> 1
