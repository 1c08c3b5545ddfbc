"""Exercises: in notebooks `check`, `hint` and `solution`; for graders and tests the rest.

`engine` runs an exercise, `toolkit` has what exercises are made of, `progress` notes what is
solved, and each other module holds the exercises of a chapter, one block each.
"""

from vaetl_helpers.exercises.engine import (
    CHAPTERS,
    Exercise,
    Outcome,
    Values,
    Wrong,
    all_ids,
    attempt,
    chapter_exercises,
    check,
    evaluate,
    get,
    hint,
    isolated,
    pack,
    solution,
    source_of,
    unpack,
    verdict,
)

__all__ = [
    "CHAPTERS",
    "Exercise",
    "Outcome",
    "Values",
    "Wrong",
    "all_ids",
    "attempt",
    "chapter_exercises",
    "check",
    "evaluate",
    "get",
    "hint",
    "isolated",
    "pack",
    "solution",
    "source_of",
    "unpack",
    "verdict",
]
