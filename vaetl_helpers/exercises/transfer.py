"""Chapter 4: freezing, rates by depth, a linear probe, a new head, a backbone's input, a fixed body that drifts.

Networks are those of chapter 1's exercises with BatchNorm, cut into a body, which gets dropout, and a head.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from itertools import islice, product
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vaetl_helpers.exercises import (
    Exercise,
    Judge,
    Values,
    Wrong,
    floats,
    judged,
    mutants,
    plain,
    same,
)
from vaetl_helpers.exercises.hardware import RETURNED, _judge, _whole
from vaetl_helpers.exercises.training import _batches, _network, _problem, _sgd, step

# The reference solutions, as a learner would write them: `solution` prints these.


def freeze(body):
    """Fixes the body itself: no gradients, BatchNorm and dropout as in eval mode, also after model.train()."""
    body.requires_grad_(False)
    body.eval()
    body.train = lambda mode=True: body  # model.train() calls this on its parts
    return body


def param_groups(parts, rate, factor):
    """Groups {"params": [...], "lr": ...} for an optimiser, from the input to the head, the last of the parts.

    The head learns at `rate`, each part before it `factor` times slower. Frozen parameters are left out.
    """
    groups = []
    for number, part in enumerate(parts):
        depth = len(parts) - 1 - number  # 0 for the head; a frozen part counts, too
        trainable = [parameter for parameter in part.parameters() if parameter.requires_grad]
        if trainable:
            groups.append({"params": trainable, "lr": rate / factor**depth})
    return groups


def linear_probe(train_x, train_y, validation_x, validation_y, strengths):
    """(C, labels): the strength that is best on validation, the smallest of equals, and what it predicts there.

    Each is a logistic regression, LogisticRegression(C=C, max_iter=2000), on standardised features [n, d].
    """
    from sklearn.linear_model import LogisticRegression

    mean, std = train_x.mean(dim=0), train_x.std(dim=0)  # validation is measured with train's ruler
    train_x, validation_x = (train_x - mean) / std, (validation_x - mean) / std
    best, chosen = -1.0, None
    for c in sorted(strengths):
        probe = LogisticRegression(C=c, max_iter=2000).fit(train_x, train_y)
        accuracy = probe.score(validation_x, validation_y)
        if accuracy > best:  # so the first, which is the smallest, of equals stays
            best, chosen = accuracy, (c, probe.predict(validation_x))
    return chosen


def new_head(old_weight, old_bias, keep, classes, generator):
    """(weight [classes, d], bias [classes]) of a head that keeps rows of an old one: keep = {old row: new row}.

    A new row has a random direction, the mean norm of the old rows and the mean of their biases.
    """
    direction = torch.randn(classes, old_weight.shape[1], generator=generator)
    weight = direction / direction.norm(dim=1, keepdim=True) * old_weight.norm(dim=1).mean()
    bias = old_bias.mean().repeat(classes)
    for old, new in keep.items():
        weight[new], bias[new] = old_weight[old], old_bias[old]
    return weight, bias


def normalise(images, mean, std):
    """uint8 images [n, 3, h, w] as a backbone wants them: scaled to [0, 1], then (x - mean) / std in each channel."""
    pixels = images.float() / 255
    mean, std = (
        torch.tensor(mean).view(3, 1, 1),
        torch.tensor(std).view(3, 1, 1),
    )  # one number a channel
    return (pixels - mean) / std


def train_head(body, head, images, labels, steps, rate):
    """The losses of so many steps that train the head alone: parameters and buffers of the body stay as they are."""
    body.requires_grad_(False)  # was body.requires_grad = False, an attribute that nobody reads
    optimizer = torch.optim.SGD(
        head.parameters(), lr=rate, momentum=0.9, weight_decay=0.1
    )  # held the body's, too
    losses = []
    for _ in range(steps):
        body.eval()  # was in train mode
        head.train()
        optimizer.zero_grad(set_to_none=False)
        loss = F.cross_entropy(head(body(images)), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def drifting_train_head(body, head, images, labels, steps, rate):
    """The losses of so many steps that are to train the head alone, with three bugs."""
    model = nn.Sequential(body, head)
    body.requires_grad = False
    optimizer = torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9, weight_decay=0.1)
    losses = []
    for _ in range(steps):
        model.train()
        optimizer.zero_grad(set_to_none=False)
        loss = F.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


# Shared by the exercises: a body, what must not move in it, and how an exercise is put together.

PARAMETERS, BUFFERS = "the body's parameters", "the body's buffers"
HEAD, LOSSES = "the head's parameters and buffers", "the list of losses"
NEARLY = "the body moved, if only a little: its parameters and buffers must stay bit for bit as they were"


def _body(inputs: Values) -> tuple[nn.Sequential, nn.Linear]:
    """A body with BatchNorm one level down and dropout, and its head."""
    flatten, first, norm, tanh, last = _network(inputs, norm=True)
    return nn.Sequential(flatten, nn.Sequential(first, norm, tanh), nn.Dropout(0.4)), last


def _state(module: nn.Module, buffers: bool = True, parameters: bool = True) -> Tensor:
    held = [*(module.parameters() if parameters else ()), *(module.buffers() if buffers else ())]
    return torch.cat([torch.zeros(0).double(), *(x.detach().double().flatten() for x in held)])


def _exact(drive: Callable, reference: Callable, stages: tuple, wrong: tuple[Wrong, ...]) -> Judge:
    """As `_judge`, but the body's parameters and buffers must be equal to the last bit."""
    compare = _judge(drive, reference, stages, wrong)

    @judged
    def judge(inputs: Values, outputs: Values) -> str | None:
        refusal = compare(inputs, outputs)
        moved = not refusal and not same(
            outputs, drive(reference, inputs), (PARAMETERS, BUFFERS), tolerance=0
        )
        return NEARLY if moved else refusal

    return judge


def _array(values: Any) -> Any:
    """What numpy can read as numbers as a float vector, anything else by `plain`."""
    if isinstance(values, np.ndarray) and values.dtype.kind in "biuf":
        return torch.tensor(values.astype(float))
    return (
        values.double() if isinstance(values, Tensor) and not values.is_complex() else plain(values)
    )


def _pair(result: Any, what: str) -> str | None:
    if isinstance(result, (tuple, list)) and len(result) == 2:
        return None
    return f"a pair {what} was expected, got {plain(result)!s:.80}"


def _exercise(name: str, minutes: int, points: int, reference: Callable, parts: tuple) -> Exercise:
    """`parts`: draw, drive, wrong answers, and the judge or the stages of `recomputed`."""
    draw, drive, wrong, judge = parts
    hints = tuple(
        line.split(": ", 1)[1] for line in HINTS.splitlines() if line.startswith(f"{name}: ")
    )
    if isinstance(judge, tuple):
        judge = _judge(drive, reference, judge, wrong)
    return Exercise(
        f"transfer.{name}", minutes, points, hints, reference, draw, drive, judge, wrong
    )


HINTS = """\
freeze: Three things change a body: gradients, BatchNorm's running statistics, dropout. The first has a switch alone.
freeze: body.requires_grad_(False) ends the gradients; body.eval() fixes the rest, until somebody calls model.train().
freeze: model.train() calls .train(True) on each part: body.train = lambda mode=True: body makes that do nothing.
param_groups: One dict a part. Its depth, counted from the head, says how often the rate is divided by factor.
param_groups: [p for p in part.parameters() if p.requires_grad] are the ones to train; no group where there are none.
param_groups: Part number i of n learns at rate / factor ** (n - 1 - i); collect {"params": trainable, "lr": that}.
linear_probe: Standardising is learned, too: mean and std come from the training features and serve both sets.
linear_probe: For each C: fit on train, then .score(validation_x, validation_y) is the accuracy to choose by.
linear_probe: Go through sorted(strengths) and replace the best only where the accuracy is greater.
new_head: Make all rows new ones first, then overwrite those that keep names, weights and biases alike.
new_head: A row of torch.randn, divided by its norm, has a random direction and the length 1.
new_head: The length: old_weight.norm(dim=1).mean(). Then for old, new in keep.items(): weight[new] = old_weight[old].
normalise: Three steps: floats in [0, 1], minus the mean, divided by the standard deviation.
normalise: A vector of 3 meets the last dimension, the width. The channels are dimension 1 of four.
normalise: images.float() / 255, and torch.tensor(mean).view(3, 1, 1), which has one number a channel.
clinic: Compare body.state_dict() before and after one step: which entries move, weights or running statistics?
clinic: model.train() also reaches the body. And what does body.requires_grad = False do to its parameters?
clinic: body.requires_grad_(False); only head.parameters() for the optimiser; body.eval() and head.train().
"""


# transfer.freeze

ASKING, AT_ONCE, TWICE = (
    "parameters that require gradients",
    "the body's output at once",
    "its outputs in train mode",
)


def _drive_freeze(function: Callable, inputs: Values) -> Values:
    body, head = _body(inputs)
    model, images = nn.Sequential(body, head), inputs["images"]
    function(body)
    torch.manual_seed(0)  # a dropout that acts gives what it gives in the wrong answers
    at_once = body(images)
    model.train()
    optimizer = _sgd(model)
    for batch in _batches(inputs):
        step(model, optimizer, *batch)
    model.eval()
    model.train()  # as after an evaluation
    outputs = {AT_ONCE: at_once, TWICE: torch.stack([body(images), body(images)])}
    outputs |= {
        PARAMETERS: _state(body, buffers=False),
        BUFFERS: _state(body, parameters=False),
        HEAD: _state(head),
    }
    return outputs | {ASKING: sum(parameter.requires_grad for parameter in body.parameters())}


NO_GRADIENT, EVAL, TRAIN = (
    "body.requires_grad_(False)",
    "body.eval()",
    "body.train = lambda mode=True: body",
)
COPY = f"import copy; body = copy.deepcopy(body); {NO_GRADIENT}"
OF_KIND = "[m.eval() for m in body.modules() if isinstance(m, nn.{})]"
STILL_TRAIN = (
    "the body is still in train mode: BatchNorm's statistics drift and dropout acts, so body.eval()"
)
LEARNS = "the parameters still learn: body.requires_grad_(False), as body.requires_grad = False does nothing"
SOME = "[p.requires_grad_(False) for p in body.parameters() if p.dim() > 1]"
FREEZES = mutants(
    freeze,
    ("only gradients", STILL_TRAIN, {EVAL: "pass", TRAIN: "pass"}),
    (
        "undone",
        "model.train() undoes body.eval(): the body's own train must do nothing",
        {TRAIN: "pass"},
    ),
    (
        "only eval",
        "eval() stops no gradients, and model.train() undoes it",
        {NO_GRADIENT: "pass", TRAIN: "pass"},
    ),
    ("no gradients off", LEARNS, {NO_GRADIENT: "pass"}),
    ("attribute", LEARNS, {NO_GRADIENT: "body.requires_grad = False"}),
    (
        "only BatchNorm",
        "dropout still acts: it needs eval mode, too",
        {EVAL: OF_KIND.format("BatchNorm1d")},
    ),
    (
        "only dropout",
        "BatchNorm's statistics still drift: it needs eval",
        {EVAL: OF_KIND.format("Dropout")},
    ),
    ("only matrices", "only matrices are fixed: biases and BatchNorm's scale", {NO_GRADIENT: SOME}),
    ("a copy", "nothing about the body is fixed: change the body itself", {NO_GRADIENT: COPY}),
)
FREEZE_STAGES = (
    (
        (PARAMETERS,),
        "parameters of the body moved in training: body.requires_grad_(False) turns off all gradients",
    ),
    ((BUFFERS,), "BatchNorm's running statistics moved: the body ran in train mode"),
    (
        (AT_ONCE, TWICE),
        "the body does not give what it gives in eval mode: BatchNorm or dropout still acts",
    ),
    (
        (ASKING,),
        "parameters of the body still require gradients, so an optimiser would be given them",
    ),
    ((HEAD,), "the head does not learn as it should: change nothing but the body"),
)


# transfer.param_groups

COUNT, GROUP_RATES = "the number of groups", "the groups' rates"
RATES, TIMES = "the rates of all parameters", "how often each parameter is held"
FREE, PARTLY, FROZEN = 0, 1, 2


def _draw_groups(seed: int) -> Values:
    generator = torch.Generator().manual_seed(seed)
    mixed = [[FREE, PARTLY], [PARTLY, FREE], [FREE], [PARTLY]][_whole(0, 3, generator)]
    frozen = [
        FROZEN,
        *mixed,
        FROZEN,
        *[FREE] * (1 + seed % 5),
    ]  # the one between others counts in the depth
    rate, factor = torch.rand(2, generator=generator).tolist()
    return {"frozen": torch.tensor(frozen), "rate": 0.1 + rate, "factor": 2 + factor}


def _drive_groups(function: Callable, inputs: Values) -> Values:
    parts = [nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)) for _ in inputs["frozen"]]
    for part, how in zip(parts, inputs["frozen"].tolist(), strict=True):
        part[0].requires_grad_(how == FREE)
        part[1].requires_grad_(how != FROZEN)
    numbers = {id(parameter): i for i, parameter in enumerate(nn.ModuleList(parts).parameters())}
    groups = function(parts, inputs["rate"], inputs["factor"])
    if not isinstance(groups, (list, tuple)) or any(
        not isinstance(group, dict) for group in groups
    ):
        return {RETURNED: f"a list of dicts was expected, got {plain(groups)!s:.80}"}
    rates, times = torch.zeros(2, len(numbers), dtype=torch.float64)
    for group in groups:
        params, rate = group.get("params"), group.get("lr")
        if not isinstance(params, Iterable) or isinstance(plain([rate]), str):
            return {RETURNED: 'each group needs "params", a list of parameters, and "lr", a number'}
        held = [numbers.get(id(parameter)) for parameter in islice(params, 1000)]
        if None in held:
            return {RETURNED: '"params" must hold parameters of the parts, and nothing else'}
        for number in held:
            rates[number] = float(rate)
            times[number] += 1
    listed = torch.tensor([float(group["lr"]) for group in groups], dtype=torch.float64)
    return {RETURNED: 1, COUNT: len(groups), GROUP_RATES: listed, RATES: rates, TIMES: times}


RATE, REQUIRES, DEPTH = (
    "rate / factor**depth",
    " if parameter.requires_grad",
    "len(parts) - 1 - number",
)
DEEPER = "sum(any(p.requires_grad for p in part.parameters()) for part in parts[number + 1 :])"
GROUPS = mutants(
    param_groups,
    (
        "head slowest",
        "the wrong way round: the head, the last part, learns at rate itself",
        {DEPTH: "number"},
    ),
    (
        "multiplied",
        "the rates rise towards the input: divide by factor",
        {RATE: "rate * factor**depth"},
    ),
    (
        "one rate",
        "all parts learn at one rate: divide by factor for each part before the head",
        {RATE: "rate"},
    ),
    (
        "one division",
        "parts further back divide by factor once more each",
        {"factor**depth": "factor ** min(depth, 1)"},
    ),
    (
        "frozen ones held",
        "frozen parameters are held: take those with requires_grad",
        {REQUIRES: ""},
    ),
    (
        "empty groups",
        "a part that is frozen as a whole must give no group",
        {"if trainable:": "if True:"},
    ),
    (
        "frozen parts skipped",
        "frozen parts do not count in your depth: they do, for each divide, too",
        {DEPTH: DEEPER},
    ),
    (
        "matrices only",
        "biases and BatchNorm's scale train, too",
        {REQUIRES: f"{REQUIRES} and parameter.dim() > 1"},
    ),
    (
        "from the head",
        "the groups come from the input to the head",
        {"return groups": "return groups[::-1]"},
    ),
)
GROUP_STAGES = (
    ((TIMES,), "each parameter that trains is to be in one group, and no frozen one in any"),
    ((RATES,), "the rates are not rate / factor ** (parts between this part and the end)"),
    (
        (RETURNED, COUNT, GROUP_RATES),
        "one group for each part that trains, from the input to the head",
    ),
)


# transfer.linear_probe

CHOSEN, PREDICTED = "the chosen C", "the predicted labels"
CLOSE = ("largest of equals", "on training", "last labels", "all data")


def _draw_probe(seed: int) -> Values:
    """Drawn again until the wrong answers that may agree by chance do not, and n - 1 in std is as good as n."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        values = _features(seed, generator)
        right, biased = _drive_probe(linear_probe, values), _drive_probe(BIASED, values)
        close = (_drive_probe(wrong.function, values) for wrong in PROBES if wrong.name in CLOSE)
        if same(right, biased, right) and not any(same(right, other, right) for other in close):
            return values


def _features(seed: int, generator: torch.Generator) -> Values:
    """Two classes; the best feature is tiny and has outliers in validation, a poor one is huge, most are noise."""
    sizes, width = {"train": 24 + seed % 4, "validation": 60 + seed % 3}, 18 + seed % 5
    order = torch.randperm(3, generator=generator)
    strengths = torch.tensor(
        [[3.06e-3, 3e-3], [0.102, 0.1], [102.0, 100.0]]
    ).double()  # pairs as good as equal
    strengths *= 1 + torch.rand((), generator=generator)
    values: Values = {"strengths": strengths[order].flatten()}
    for name, count in sizes.items():
        y = (
            torch.arange(count) % (3 if name == "train" else 2) == 0
        ).long()  # tiny strengths see the larger class
        sign = 2.0 * y[:, None] - 1
        x = torch.randn(count, width, generator=generator)
        x[:, :2] += sign * torch.tensor([1.2, 0.5])
        if name == "validation":
            x[:, 0] += 0.6  # other photos, another mean
            x[:8, 0] *= 12
        x[:, 0], x[:, 1] = x[:, 0] / 10, x[:, 1] * 10
        values |= {f"{name}_x": x + 3, f"{name}_y": y}
    return values


def _drive_probe(function: Callable, inputs: Values) -> Values:
    names = ("train_x", "train_y", "validation_x", "validation_y")
    result = function(*(inputs[name].clone() for name in names), inputs["strengths"].tolist())
    if unfit := _pair(result, "(C, labels)"):
        return {RETURNED: unfit}
    return {RETURNED: 1, CHOSEN: plain(result[0]), PREDICTED: _array(result[1])}


BOTH = "torch.cat([train_x, validation_x])"
STD, SCORE = "train_x.mean(dim=0), train_x.std(dim=0)", "probe.score(validation_x, validation_y)"
LAST = "return chosen[0], probe.predict(validation_x)"
OWN = "(validation_x - validation_x.mean(dim=0)) / validation_x.std(dim=0)"
TWO_RULERS = "validation is standardised by itself: use train's mean and std for both"
PROBES = mutants(
    linear_probe,
    (
        "all data",
        "validation is in your mean and std: take train's",
        {STD: f"{BOTH}.mean(dim=0), {BOTH}.std(dim=0)"},
    ),
    ("own statistics", TWO_RULERS, {"(validation_x - mean) / std": OWN}),
    ("not standardised", "the features are not standardised", {STD: "0, 1"}),
    (
        "train alone",
        "validation is not standardised: use train's",
        {"(validation_x - mean) / std": "validation_x"},
    ),
    (
        "on training",
        "C is chosen on train: choose on validation",
        {SCORE: "probe.score(train_x, train_y)"},
    ),
    (
        "largest of equals",
        "of equal strengths the smallest is asked for",
        {"accuracy > best": "accuracy >= best"},
    ),
    (
        "first of equals",
        "of equal strengths the smallest is asked for",
        {"sorted(strengths)": "strengths"},
    ),
    ("worst", "that is the strength with the lowest accuracy", {SCORE: f"1 - {SCORE}"}),
    (
        "accuracy",
        "that is the accuracy: return the predicted labels",
        {"probe.predict(validation_x)": "accuracy"},
    ),
    (
        "last labels",
        "these labels are the last strength's: keep those of the best",
        {"return chosen": LAST},
    ),
)
BIASED = mutants(linear_probe, ("", "", {"train_x.std(dim=0)": "train_x.std(0, False)"}))[
    0
].function
PROBE_STAGES = (
    ((CHOSEN,), "that is not the smallest of the strengths with the best accuracy on validation"),
    (
        (RETURNED, PREDICTED),
        "these are not the validation labels that the chosen strength predicts",
    ),
)


# transfer.new_head

WEIGHT, BIAS, AGAIN, OTHER = (
    "the weight",
    "the bias",
    "the weight, drawn again",
    "the weight of another seed",
)
KEPT, KEPT_BIAS, NORMS, NEW_BIAS = (
    "the kept rows",
    "the kept biases",
    "the norms of new rows",
    "the biases of new rows",
)
REPEATS, VARIES = "the generator decides", "another seed gives other rows"


def _draw_head(seed: int) -> Values:
    generator = torch.Generator().manual_seed(seed)
    old, width, kept, fresh = (_whole(low, low + 2, generator) for low in (4, 5, 2, 2))
    weight = torch.randn(old, width, generator=generator) * torch.linspace(0.5, 2, old)[:, None]
    keep = [torch.randperm(count, generator=generator)[:kept] for count in (old, kept + fresh)]
    bias = torch.randn(old, generator=generator) + 1
    sizes = {"classes": kept + fresh, "seed": seed % 997}
    return {"old_weight": weight, "old_bias": bias, "keep": torch.stack(keep, 1)} | sizes


def _drive_head(function: Callable, inputs: Values) -> Values:
    outputs: Values = {RETURNED: 1}
    for name, seed in ((WEIGHT, 0), (AGAIN, 0), (OTHER, 1)):
        generator = torch.Generator().manual_seed(inputs["seed"] + seed)
        old = inputs["old_weight"].clone(), inputs["old_bias"].clone()
        result = function(*old, dict(inputs["keep"].tolist()), inputs["classes"], generator)
        if unfit := _pair(result, "(weight, bias)"):
            return {RETURNED: unfit}
        outputs |= {name: plain(result[0]), BIAS: plain(result[1])}
    return outputs


def _summary(inputs: Values, outputs: Values) -> Values:
    """What is asked of a head, and all that can be compared: the directions of new rows are free."""
    if isinstance(outputs.get(RETURNED), str):
        return outputs
    classes, width = inputs["classes"], inputs["old_weight"].shape[1]
    weight, again, other = (
        floats(outputs, name, (classes, width)) for name in (WEIGHT, AGAIN, OTHER)
    )
    bias, kept = floats(outputs, BIAS, (classes,)), inputs["keep"][:, 1]
    fresh = torch.tensor([row for row in range(classes) if row not in kept.tolist()])
    all_three = torch.stack([weight, again, other])
    values = {
        RETURNED: outputs.get(RETURNED, "nothing"),
        KEPT: all_three[:, kept],
        KEPT_BIAS: bias[kept],
    }
    values |= {NORMS: all_three[:, fresh].norm(dim=2), NEW_BIAS: bias[fresh]}
    repeats, varies = (torch.isclose(weight, x).all(1)[fresh] for x in (again, other))
    alike = torch.isclose(weight[fresh[:1]], weight[fresh[1:]]).all(1).any()
    return values | {REPEATS: int(repeats.all()), VARIES: int(not varies.any() and not alike)}


def _drive_summary(function: Callable, inputs: Values) -> Values:
    return _summary(inputs, _drive_head(function, inputs))


@judged
def _judge_head(inputs: Values, outputs: Values) -> str | None:
    return _judge(_drive_summary, new_head, HEAD_STAGES, HEADS)(inputs, _summary(inputs, outputs))


UNIT, LENGTH = "direction / direction.norm(dim=1, keepdim=True)", "old_weight.norm(dim=1).mean()"
MEAN, KEEP_BOTH = (
    "old_bias.mean().repeat(classes)",
    "weight[new], bias[new] = old_weight[old], old_bias[old]",
)
ROWS = (
    "the kept rows are not the old ones: weight[new] = old_weight[old] for old, new in keep.items()"
)
AT_OLD = "old = old % classes; weight[old], bias[old]"
ONE = {
    "randn(classes, ": "randn(1, ",
    "generator=generator)": "generator=generator).repeat(classes, 1)",
}
HEADS = mutants(
    new_head,
    ("nothing kept", "no row is kept", {"in keep.items()": "in ()"}),
    (
        "places of the old",
        "the kept rows are at their old places: keep is {old: new}",
        {"weight[new], bias[new]": AT_OLD},
    ),
    (
        "bias forgotten",
        "a kept row needs its bias, too",
        {KEEP_BOTH: "weight[new] = old_weight[old]"},
    ),
    (
        "raw randn",
        "new rows are as long as randn made them",
        {UNIT: "direction", f" * {LENGTH}": ""},
    ),
    ("unit norm", "new rows have the norm 1", {f" * {LENGTH}": ""}),
    (
        "norm of the mean",
        "that is the norm of the mean row",
        {LENGTH: "old_weight.mean(dim=0).norm()"},
    ),
    (
        "zero bias",
        "new biases are 0: take the mean of the old ones",
        {MEAN: "torch.zeros(classes)"},
    ),
    ("no generator", "draw the directions with the generator", {", generator=generator": ""}),
    ("one direction", "new rows are all alike: each needs a random direction", ONE),
)
HEAD_STAGES = (
    ((KEPT,), ROWS),
    ((KEPT_BIAS,), "the kept biases are not the old ones: bias[new] = old_bias[old]"),
    ((NORMS,), "a new row's norm is not the mean norm of the old rows"),
    ((NEW_BIAS,), "the bias of a new row is the mean of the old biases"),
    (
        (REPEATS,),
        "the new rows differ although the generator is the same: draw the directions with the generator",
    ),
    (
        (VARIES,),
        "the new rows are not random: draw each direction by torch.randn with the generator",
    ),
    ((RETURNED,), "a pair (weight, bias) was expected"),
)


# transfer.normalise

RESULT = "the images for the backbone"


def _draw_normalise(seed: int) -> Values:
    generator = torch.Generator().manual_seed(seed)
    # 3 pixels wide, so that a vector of 3 meets the width without an error.
    shape = _whole(2, 5, generator), 3, _whole(4, 7, generator), 3
    mean = 0.25 + 0.15 * torch.arange(3) + 0.1 * torch.rand(3, generator=generator)
    std = 0.15 + 0.1 * torch.arange(3) + 0.05 * torch.rand(3, generator=generator)
    images = torch.randint(256, shape, generator=generator, dtype=torch.uint8)
    images[0, :, 0, 0], images[0, :, 0, 1] = 255, 0
    return {"images": images, "mean": mean, "std": std}


def _drive_normalise(function: Callable, inputs: Values) -> Values:
    return {
        RESULT: plain(
            function(inputs["images"].clone(), inputs["mean"].tolist(), inputs["std"].tolist())
        )
    }


PIXELS, WIDE, EXPRESSION = "images.float() / 255", ".view(3, 1, 1)", "(pixels - mean) / std"
UNSCALED = (
    "the grey levels are still 0 to 255: divide them by 255 first, mean and std belong to [0, 1]"
)
NORMALISES = mutants(
    normalise,
    ("0 to 255", UNSCALED, {" / 255": ""}),
    ("swapped", "mean and std are swapped", {EXPRESSION: "(pixels - std) / mean"}),
    (
        "integer division",
        "// rounds down to 0 or 1: divide by /",
        {PIXELS: "(images // 255).float()"},
    ),
    ("over the width", "mean and std run along the width: channels are dimension 1", {WIDE: ""}),
    ("BGR", "the channels are in reverse order", {PIXELS: "images.flip(1).float() / 255"}),
    (
        "reversed statistics",
        "mean and std are in reverse order",
        {"(mean)": "(mean[::-1])", "(std)": "(std[::-1])"},
    ),
    ("no std", "the division by std is missing", {" / std": ""}),
    ("no mean", "the mean is not subtracted", {" - mean": ""}),
)
NORMALISE_STAGES = (
    (
        (RESULT,),
        "it is not (pixel / 255 - mean) / std with the mean and std of the pixel's channel",
    ),
)


# transfer.clinic


def _drive_clinic(function: Callable, inputs: Values) -> Values:
    body, last = _body(inputs)
    head = nn.Sequential(nn.BatchNorm1d(inputs["hidden"]), last)  # which has to be in train mode
    for parameter in body.parameters():
        parameter.grad = parameter.detach().clone()  # left from the training of the body
    torch.manual_seed(0)
    losses = function(body, head, inputs["images"], inputs["labels"], inputs["batch_size"] + 2, 0.1)
    outputs = {
        PARAMETERS: _state(body, buffers=False),
        BUFFERS: _state(body, parameters=False),
        HEAD: _state(head),
    }
    return outputs | {LOSSES: plain(losses)}


OFF, HELD, FIXED, IN_TRAIN = (
    "body.requires_grad_(False)",
    "SGD(head.parameters()",
    "body.eval()",
    "head.train()",
)
ZERO, BODY_TOO = (
    "optimizer.zero_grad(set_to_none=False)",
    "SGD([*body.parameters(), *head.parameters()]",
)
LEARN = "the body learns, as body.requires_grad = False is an attribute that nobody reads"
DECAY = "weight decay moves the body without any gradient, because the optimiser holds it"
DRIFT = "the body is in train mode, so that BatchNorm's statistics drift and dropout acts"
HEAD_EVAL = "the head is in eval mode, where its BatchNorm does not learn"
BOTH_HELD = {HELD: BODY_TOO}
MOVING_BUGS = (
    ((), {}),
    ((LEARN,), {OFF: "body.requires_grad = False"} | BOTH_HELD),
    ((DECAY,), BOTH_HELD),
)
MODE_BUGS = ((), {}), ((DRIFT,), {FIXED: "body.train()"}), ((HEAD_EVAL,), {IN_TRAIN: "head.eval()"})
RESTORED = "the body is put back at the end: the head has seen the features of another one"
BUGS = [
    (moves + modes, a | b)
    for (moves, a), (modes, b) in product(MOVING_BUGS, MODE_BUGS)
    if moves + modes
]
KEEP = f"import copy; before = copy.deepcopy(body.state_dict()); {OFF}"
BACK = "body.load_state_dict(before); return losses"
SLOWLY = "SGD([{'params': body.parameters(), 'lr': 1e-7}, {'params': head.parameters()}]"
DRIFTS = mutants(
    train_head,
    *((" / ".join(bugs), f"still in it: {'; '.join(bugs)}", edits) for bugs, edits in BUGS),
    ("put back", RESTORED, {OFF: KEEP, FIXED: "body.train()", "return losses": BACK}),
    ("no zero_grad", "gradients add up: optimizer.zero_grad() in each step", {ZERO: "pass"}),
    ("tiny rate", NEARLY, {HELD: SLOWLY, OFF: "pass"}),
)
DRIFTS += (Wrong("as found", drifting_train_head, f"still in it: {LEARN}; {DRIFT}"),)
CLINIC_STAGES = (
    (
        (PARAMETERS,),
        "the body's parameters still move: no gradients, and only head.parameters() for the optimiser",
    ),
    (
        (BUFFERS,),
        "the body's BatchNorm statistics still move: it has to be in eval mode in each step",
    ),
    (
        (HEAD,),
        "the head is not what these steps make of it on the fixed body: mend the three bugs only",
    ),
    ((LOSSES,), "these are not the losses of the steps"),
)


FREEZE = (
    partial(_problem, batches=3),
    _drive_freeze,
    FREEZES,
    _exact(_drive_freeze, freeze, FREEZE_STAGES, FREEZES),
)
CLINIC = (
    partial(_problem, batches=3),
    _drive_clinic,
    DRIFTS,
    _exact(_drive_clinic, train_head, CLINIC_STAGES, DRIFTS),
)
EXERCISES = (
    _exercise("freeze", 12, 3, freeze, FREEZE),
    _exercise(
        "param_groups", 10, 3, param_groups, (_draw_groups, _drive_groups, GROUPS, GROUP_STAGES)
    ),
    _exercise(
        "linear_probe", 15, 3, linear_probe, (_draw_probe, _drive_probe, PROBES, PROBE_STAGES)
    ),
    _exercise("new_head", 12, 3, new_head, (_draw_head, _drive_head, HEADS, _judge_head)),
    _exercise(
        "normalise",
        6,
        2,
        normalise,
        (_draw_normalise, _drive_normalise, NORMALISES, NORMALISE_STAGES),
    ),
    _exercise("clinic", 15, 4, train_head, CLINIC),
)
