"""The start page: one small exercise, on which a learner finds out how exercises work."""

from __future__ import annotations

import torch

from vaetl_helpers.exercises import Exercise, Values, mutants, plain, recomputed


def share_above(values, threshold):
    """The share of the numbers in values [n] that are larger than the threshold: from 0 to 1."""
    return (values > threshold).float().mean()


def _draw(seed: int) -> Values:
    """A few numbers, most of them below the threshold, which is one of them."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(int(torch.randint(7, 40, (), generator=generator)), generator=generator)
    return {"values": values, "threshold": values.sort().values[-len(values) // 3].item()}


def _drive(function, inputs: Values) -> Values:
    return {"share": plain(function(inputs["values"].clone(), inputs["threshold"]))}


COMPARED = "values > threshold"
WRONG = mutants(
    share_above,
    ("count", "that is how many they are: divide by the number of values", {".mean": ".sum"}),
    (
        "at least",
        "a number equal to the threshold is not larger than it",
        {COMPARED: "values >= threshold"},
    ),
    (
        "below",
        "those are the numbers below the threshold: turn the sign around",
        {COMPARED: "values < threshold"},
    ),
    (
        "at most",
        "those are the numbers up to the threshold: turn the sign around",
        {COMPARED: "values <= threshold"},
    ),
    ("percent", "that is in percent: a share lies between 0 and 1", {".mean()": ".mean() * 100"}),
    (
        "values",
        "you averaged the numbers: average what the comparison gives",
        {f"({COMPARED})": "values"},
    ),
)

EXERCISES = (
    Exercise(
        id="start.share_above",
        minutes=3,
        points=1,
        hints=(
            "`values > threshold` compares every number at once and gives a tensor of True and False.",
            "True counts as 1 and False as 0, once they are numbers: `.float()`. What is their mean?",
            "return (values > threshold).float().mean()",
        ),
        reference=share_above,
        draw=_draw,
        drive=_drive,
        judge=recomputed(
            _drive, share_above, (["share"], "that is not the share of the numbers above it", WRONG)
        ),
        wrong=WRONG,
    ),
)
