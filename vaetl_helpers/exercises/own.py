"""Chapter 4d: each picture judged by a classifier that has seen nothing of its kind."""

from __future__ import annotations

import torch
from torch import Tensor

from vaetl_helpers.exercises.engine import Function, Values
from vaetl_helpers.exercises.forms import tensor
from vaetl_helpers.exercises.toolkit import array, exercise, whole_number

PREDICTED = "the predictions"


def nearest_mean(x: Tensor, y: Tensor) -> Function:
    """A classifier: each row gets the label of the class whose mean is nearest."""
    labels = y.unique()
    means = torch.stack([x[y == label].mean(0) for label in labels])
    return lambda rows: labels[torch.cdist(rows, means).argmin(1)]


# own.leave_one_out


@exercise(
    id="own.leave_one_out",
    level=2,
    minutes=10,
    points=3,
    hints=(
        "Go through groups.unique(), and say for each group which rows belong to it: a mask.",
        "Fit on the rows that are not in the mask, ~out, and predict those that are.",
        "predicted[out] = fit(x[~out], y[~out])(x[out]) puts each prediction into its picture's "
        "row.",
    ),
    after="Each prediction now comes from a classifier that saw neither picture nor group.",
    alternative="scikit-learn's LeaveOneGroupOut gives the same splits.",
    form=tensor,
)
def leave_one_out(x, y, groups, fit):
    """Each picture's label, predicted without its group: int64 [n].

    x [n, d] are features, y [n] labels, groups [n] the number of each picture's group.
    fit(x, y) learns from rows and returns a function from rows to labels.
    """
    predicted = torch.empty_like(y)
    for group in groups.unique():
        out = groups == group
        predict = fit(x[~out], y[~out])
        predicted[out] = predict(x[out])
    return predicted


@leave_one_out.draw
def _(seed: int) -> Values:
    generator = torch.Generator().manual_seed(seed)
    groups_a_class = whole_number(4, 6, generator)
    width = whole_number(3, 6, generator)
    classes = 3
    labels = torch.arange(classes).repeat_interleave(groups_a_class)
    sizes = torch.randint(1, 4, labels.shape, generator=generator)
    sizes[0] = 3
    # Things of a class differ more than classes do, and pictures of a thing hardly.
    things = torch.randn(len(labels), width, generator=generator)
    groups = torch.arange(len(labels)).repeat_interleave(sizes)
    noise = 0.05 * torch.randn(len(groups), width, generator=generator)
    order = torch.randperm(len(groups), generator=generator)
    groups = groups[order]
    return {"x": things[groups] + noise, "y": labels[groups], "groups": groups}


@leave_one_out.drive
def _(function: Function, inputs: Values) -> Values:
    x, y, groups = inputs["x"].clone(), inputs["y"].clone(), inputs["groups"].clone()
    return {PREDICTED: array(function(x, y, groups, nearest_mean))}


leave_one_out.compare(
    PREDICTED, says="these are not the labels that are predicted without each picture's group"
)

leave_one_out.wrong(
    "nothing left out",
    says="the classifier has learned from the very picture that it is asked about: fit on ~out",
    edit={"predict = fit(x[~out], y[~out])": "predict = fit(x, y)"},
)
leave_one_out.wrong(
    "the group alone",
    says="you fitted on the group that is to be left out: fit on all others, ~out",
    edit={"predict = fit(x[~out], y[~out])": "predict = fit(x[out], y[out])"},
)
leave_one_out.wrong(
    "order of the groups",
    says="the predictions stand in the order of the groups: put each into its picture's row",
    edit={
        "predicted = torch.empty_like(y)": "predicted = []",
        "predicted[out] = predict(x[out])": "predicted.append(predict(x[out]))",
    },
    last_line="return torch.cat(predicted)",
)
leave_one_out.wrong(
    "share",
    says="that is the share that is right: return the predictions themselves",
    last_line="return (predicted == y).float().mean()",
)
leave_one_out.wrong(
    "hits",
    says="that says which predictions are right: return the labels that were predicted",
    last_line="return predicted == y",
)


@leave_one_out.wrong(
    "the picture alone",
    says="you left out the picture alone, and its group has told what it is: leave out all of it",
)
def _(x, y, groups, fit):
    predicted = torch.empty_like(y)
    for row in range(len(y)):
        out = torch.arange(len(y)) == row
        predicted[out] = fit(x[~out], y[~out])(x[out])
    return predicted


@leave_one_out.wrong(
    "one of each group",
    says="only the first picture of each group is predicted: predict all of it",
)
def _(x, y, groups, fit):
    predicted = torch.zeros_like(y)
    for group in groups.unique():
        out = groups == group
        first = out.nonzero()[0]
        predicted[first] = fit(x[~out], y[~out])(x[first])
    return predicted
