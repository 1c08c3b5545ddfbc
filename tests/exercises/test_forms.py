"""Right answers in many forms are correct, and what `check` hands on works in later cells."""

import pytest
from right import (
    boxes,
    combine,
    hardware,
    joint,
    latent,
    own,
    sentences,
    start,
    training,
    transfer,
    uses,
    vae,
)

from vaetl_helpers import exercises
from vaetl_helpers.exercises import evaluate, get
from vaetl_helpers.exercises.watch import Answer

RIGHT = {}
for chapter in (
    start,
    training,
    hardware,
    vae,
    latent,
    transfer,
    sentences,
    boxes,
    own,
    combine,
    joint,
):
    RIGHT |= chapter.RIGHT
ANSWERS = [
    pytest.param(id, function, id=f"{id}-{number}-{getattr(function, '__name__', 'object')}")
    for id, functions in RIGHT.items()
    for number, function in enumerate(functions)
]
SEEDS = [0, *(pytest.param(seed, marks=pytest.mark.nightly) for seed in (1, 2, 1234))]


def test_each_exercise_has_ten_right_answers():
    assert {id: len(RIGHT[id]) >= 10 for id in exercises.all_ids()} == dict.fromkeys(RIGHT, True)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("id", "function"), ANSWERS)
def test_it_is_correct_and_works_in_later_cells(id, function, seed):
    exercise = get(id)
    answer = Answer(function, exercise.form)
    outcome = evaluate(exercise, answer, [seed], is_alone=True)
    assert outcome.status == "correct", outcome.message
    uses.USES[id](answer.handed_on())
