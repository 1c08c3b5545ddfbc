"""Which questions come back when, by FSRS where the library `fsrs` is installed.

FSRS (Ye, Su and Cao 2022, doi 10.1145/3534678.3539081) estimates from the dates of right and wrong
answers how probably each is still known. Without the library, the oldest answer comes first.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

SOON = timedelta(minutes=10)  # a missed item comes back after that


class Answer(NamedTuple):
    """When an item was answered, and whether the answer was right."""

    time: datetime
    right: bool


class Memory(NamedTuple):
    """What is known of an answered item; of two items the smaller one is asked first."""

    is_due: bool
    missed: bool  # the last answer was wrong
    strength: float  # the probability that it is still known, or the time of the last answer


def memories(answers: Mapping[str, Sequence[Answer]], now: datetime) -> dict[str, Memory]:
    """What is known of each item that was answered, by its answers, oldest first."""
    measure = _by_fsrs if importlib.util.find_spec("fsrs") else _by_age
    return {id: measure(given, now) for id, given in answers.items() if given}


def _by_fsrs(given: Sequence[Answer], now: datetime) -> Memory:
    from fsrs import Card, Rating, Scheduler

    scheduler = Scheduler(learning_steps=[SOON], relearning_steps=[SOON], enable_fuzzing=False)
    card = Card(card_id=1)
    for answer in given:
        rating = Rating.Good if answer.right else Rating.Again
        card, _ = scheduler.review_card(card, rating, answer.time.astimezone(UTC))
    known = scheduler.get_card_retrievability(card, now.astimezone(UTC))
    return Memory(card.due <= now, not given[-1].right, known)


def _by_age(given: Sequence[Answer], now: datetime) -> Memory:
    last = given[-1]
    is_due = not last.right and now - last.time >= SOON
    return Memory(is_due, not last.right, last.time.timestamp())


def choose(
    ids: Sequence[str], answers: Mapping[str, Sequence[Answer]], now: datetime, count: int
) -> list[str]:
    """The `count` items to ask now: those that are due, the missed ones first; then new ones in
    their order; then what is least surely known.
    """
    known = memories({id: answers[id] for id in ids if id in answers}, now)
    asked = sorted(known, key=lambda id: (not known[id].missed, known[id].strength))
    due = [id for id in asked if known[id].is_due]
    new = [id for id in ids if id not in known]
    rest = sorted((id for id in asked if id not in due), key=lambda id: known[id].strength)
    return [*due, *new, *rest][:count]
