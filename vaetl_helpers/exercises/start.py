"""The start page: one small exercise, on which a learner finds out how exercises work."""

from __future__ import annotations

import torch

from vaetl_helpers.exercises.engine import Values
from vaetl_helpers.exercises.forms import number
from vaetl_helpers.exercises.toolkit import exercise, whole_number


@exercise(
    id="start.share_above",
    level=1,
    after="A comparison gives True and False, and their mean is a share: you will meet this "
    "again as accuracy.",
    minutes=3,
    points=1,
    hints=(
        "`values > threshold` compares every number at once and gives a tensor of True and False.",
        "True counts as 1 and False as 0, once they are numbers: `.float()`. What is their mean?",
        "return (values > threshold).float().mean()",
    ),
    returns="share",
    form=number,
)
def share_above(values, threshold):
    """The share of the numbers in values [n] that are larger than the threshold:
    from 0 to 1.
    """
    return (values > threshold).float().mean()


@share_above.draw
def _(seed: int) -> Values:
    """A few numbers, most of them below the threshold, which is one of them."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(whole_number(7, 39, generator), generator=generator)
    threshold = values.sort().values[-len(values) // 3]
    return {"values": values, "threshold": threshold.item()}


share_above.compare("share", says="that is not the share of the numbers above it")

share_above.wrong(
    "count",
    says="that is how many they are: divide by the number of values",
    last_line="return (values > threshold).float().sum()",
)
share_above.wrong(
    "at least",
    says="a number equal to the threshold is not larger than it",
    last_line="return (values >= threshold).float().mean()",
)
share_above.wrong(
    "below",
    says="those are the numbers below the threshold: turn the sign around",
    last_line="return (values < threshold).float().mean()",
)
share_above.wrong(
    "at most",
    says="those are the numbers up to the threshold: turn the sign around",
    last_line="return (values <= threshold).float().mean()",
)
share_above.wrong(
    "percent",
    says="that is in percent: a share lies between 0 and 1",
    last_line="return (values > threshold).float().mean() * 100",
)
share_above.wrong(
    "values",
    says="you averaged the numbers: average what the comparison gives",
    last_line="return values.float().mean()",
)
