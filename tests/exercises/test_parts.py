"""Partial credit: which answers earn which parts of an exercise, and what earns nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from vaetl_helpers import exercises
from vaetl_helpers.exercises.engine import Exercise
from vaetl_helpers.exercises.toolkit import Values, exercise, number

SEEDS = range(2)
WITH_PARTS = [id for id in exercises.all_ids() if exercises.get(id).parts]


def raises(*arguments: Any) -> Any:
    raise ValueError("no answer")


WORTHLESS: dict[str, Callable[..., Any]] = {
    "nothing": lambda *arguments: None,
    "zero": lambda *arguments: 0.0,
    "zeros": lambda *arguments: torch.zeros(3, 3),
    "a word": lambda *arguments: "undecided",
    "not attempted": lambda *arguments: ...,
    "an argument": lambda first, *others: first,
    "an error": raises,
}


def earned(of: Exercise, function: Callable[..., Any]) -> int:
    """The points of an answer that the judge refuses, as the grader counts them."""
    counts = []
    for seed in SEEDS:
        inputs = of.draw(seed)
        outputs = exercises.unpack(exercises.attempt(of, function, exercises.pack(inputs)))
        counts.append(exercises.parts_right(of, inputs, outputs))
    return sum(part.points for part in of.parts[: min(counts)])


def wrong(id: str, name: str) -> Callable[..., Any]:
    return next(answer.function for answer in exercises.get(id).wrong if answer.name == name)


def test_exercises_of_every_chapter_have_parts() -> None:
    chapters = {id.partition(".")[0] for id in WITH_PARTS}
    assert chapters >= {"training", "hardware", "vae", "latent", "transfer", "combine", "joint"}


@pytest.mark.parametrize("id", WITH_PARTS)
def test_parts_have_the_points_of_the_exercise(id: str) -> None:
    of = exercises.get(id)
    assert sum(part.points for part in of.parts) == of.points
    assert all(part.points > 0 and part.name for part in of.parts)
    assert len({part.name for part in of.parts}) == len(of.parts) > 1


@pytest.mark.parametrize("id", WITH_PARTS)
def test_what_is_no_answer_earns_nothing(id: str) -> None:
    of = exercises.get(id)
    for name, function in WORTHLESS.items():
        assert earned(of, function) == 0, name


@pytest.mark.parametrize("id", WITH_PARTS)
def test_a_wrong_answer_never_earns_everything(id: str) -> None:
    of = exercises.get(id)
    points = {answer.name: earned(of, answer.function) for answer in of.wrong}
    assert all(0 <= value < of.points for value in points.values()), points
    assert 0 in points.values(), points


@pytest.mark.parametrize(
    ("id", "name", "points"),
    [
        ("training.step", "no zero_grad", 0),
        ("training.cross_entropy", "sum", 0),
        ("vae.reparameterise", "variance", 0),
        ("vae.reparameterise", "detached mu", 1),
        ("vae.reparameterise", "detached log_var", 1),
        ("vae.elbo", "mean decoded", 0),
        ("latent.interpolate", "straight", 0),
        ("joint.surgery", "shared", 1),
        ("joint.reuse", "no copy", 0),
        ("joint.reuse", "gradients alone", 1),
        ("joint.reuse", "all in the optimiser", 3),
    ],
)
def test_known_wrong_answers_earn_what_is_right_in_them(id: str, name: str, points: int) -> None:
    assert earned(exercises.get(id), wrong(id, name)) == points


def test_a_loss_that_overflows_earns_the_ordinary_logits() -> None:
    def naive(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        rows = torch.arange(len(labels))
        return (logits.exp().sum(1).log() - logits[rows, labels]).mean()

    of = exercises.get("training.cross_entropy")
    assert exercises.evaluate(of, naive).status == "incorrect"
    assert earned(of, naive) == 1


def test_what_is_left_switched_costs_the_last_part_only() -> None:
    of = exercises.get("vae.kl")

    def careless(mu: torch.Tensor, log_var: torch.Tensor) -> torch.Tensor:
        result = of.reference(mu, log_var)
        torch.set_default_dtype(torch.float64)
        return result

    assert exercises.evaluate(of, careless).status == "incorrect"
    assert earned(of, careless) == 1


def test_parts_that_do_not_divide_an_exercise_are_refused() -> None:
    def block(*points: int) -> Any:
        @exercise(id="nowhere.halves", minutes=1, points=2, hints=("h",), form=number)
        def halves(x):
            return x / 2

        @halves.draw
        def _(seed: int) -> Values:
            return {"x": float(seed)}

        for value in points:
            halves.part(f"worth {value}", points=value)
        halves.compare("the result", says="that is not half of it")
        return halves

    assert block().exercise.parts == ()
    with pytest.raises(TypeError, match="has 2 points, and its parts have 3"):
        _ = block(3).exercise
    with pytest.raises(TypeError, match="each part has one"):
        _ = block(1, 1).exercise
    assert block(2).exercise.parts_right is not None
