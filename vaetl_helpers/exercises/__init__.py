"""Exercises: in notebooks `check`, `hint` and `solution`; for graders and tests the rest.

`engine` runs an exercise, `toolkit` has what exercises are made of, and each other module holds the
exercises of a chapter, one block each. `vaetl_helpers.progress` notes what is solved.
"""

from vaetl_helpers.exercises.engine import (
    CHAPTERS,
    Exercise,
    Outcome,
    Part,
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
    parts_right,
    solution,
    source_of,
    unpack,
    verdict,
)

__all__ = [
    "CHAPTERS",
    "Exercise",
    "Outcome",
    "Part",
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
    "parts_right",
    "solution",
    "source_of",
    "unpack",
    "verdict",
]
