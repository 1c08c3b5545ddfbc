"""The schema of a result: what is written is read again, texts are fit to be stored and shown."""

from __future__ import annotations

import json
from dataclasses import fields

import pytest

from vaetl_helpers.grading.result import ExerciseResult, GradedBy, Result, Status, clean

KL = ExerciseResult("vae.kl", 2, 2, Status.CORRECT, seconds=1.5, code="pass", notes=["restored"])
ELBO = ExerciseResult("vae.elbo", 0, 3, Status.OVER_A_LIMIT, "memory", flags=["uses os"])
ADA = Result(
    assignment="03",
    student="ada",
    name="Ada L.",
    tests=GradedBy.HIDDEN_TESTS,
    exercises=[KL, ELBO],
    notes=["two files"],
    flags=["uses sys"],
    digest="d",
)


def test_what_is_written_is_read_again() -> None:
    assert Result.from_json(ADA.to_json()) == ADA
    assert ADA.with_digest("e").digest == "e"


def test_the_names_in_a_file_are_these() -> None:
    """Course folders hold files of earlier versions: a new name would grade all of them again."""
    stored = json.loads(ADA.to_json())
    assert list(stored) == [
        *("assignment", "student", "name", "tests", "broken", "notes", "flags", "exercises"),
        "digest",
    ]
    assert stored["tests"] == "hidden"
    assert stored["exercises"][1] == {
        "id": "vae.elbo",
        "points": 0,
        "of": 3,
        "status": "over a limit",
        "message": "memory",
        "seconds": 0.0,
        "code": "",
        "flags": ["uses os"],
        "notes": [],
        "parts": [],
    }
    assert len(fields(Result)) == len(stored)
    assert len(fields(ExerciseResult)) == len(stored["exercises"][0])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        ADA.to_json()[:-30],
        ADA.to_json().replace("over a limit", "lost"),
        ADA.to_json().replace('"hidden"', '"secret"'),
    ],
    ids=["empty", "cut", "a list", "nothing", "cut off", "another status", "other tests"],
)
def test_a_damaged_file_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError):
        Result.from_json(text)


def test_points_are_added_up() -> None:
    assert (ADA.points, ADA.worth, ADA.score) == (2, 5, "2 of 5 points")
    assert ADA.not_correct == [ELBO]
    assert [KL.outcome, ELBO.outcome] == ["correct", "over a limit: memory"]


def test_texts_of_a_submission_are_fit_for_a_database() -> None:
    value = {"a": ["x\ud800\x00\u202e\n", 3, None], "b": {"c": "é\xa0\t"}}
    cleaned = clean(value)
    assert cleaned == {"a": ["x?\ufffd\ufffd\n", 3, None], "b": {"c": "é\xa0\t"}}
    json.dumps(cleaned, ensure_ascii=False).encode("utf-8")
