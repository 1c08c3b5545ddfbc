"""Chapter 4: freezing, rates by depth, a probe, a new head, a backbone's input, L2-SP, a clinic.

Networks are those of chapter 1's exercises with BatchNorm, cut into a body, which gets dropout, and
a head.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from functools import cache
from itertools import islice, product
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from vaetl_helpers import transfer
from vaetl_helpers.exercises import forms
from vaetl_helpers.exercises.engine import Function, Values
from vaetl_helpers.exercises.toolkit import (
    RETURNED,
    array,
    batches_of,
    exercise,
    floats,
    leave_gradients,
    network,
    pair_fault,
    plain,
    problem,
    same,
    sgd,
    state_of,
    whole_number,
)
from vaetl_helpers.exercises.training import step

training_step = step.reference  # without its judge, which must not be sent into a sandbox

PARAMETERS = "the body's parameters"
BUFFERS = "the body's buffers"
HEAD = "the head's parameters and buffers"
COLLECTED = "gradients that the body has collected"
LOSSES = "the list of losses"
NEARLY = (
    "the body moved, if only a little: its parameters and buffers must stay bit for bit as they "
    "were"
)


def body_and_head(inputs: Values) -> tuple[nn.Sequential, nn.Module]:
    """A body with BatchNorm one level down and dropout, and its head."""
    flatten, linear, norm, tanh, head = network(inputs, norm=True)
    middle = nn.Sequential(linear, norm, tanh)
    return nn.Sequential(flatten, middle, nn.Dropout(0.4)), head


def states(body: nn.Module, head: nn.Module) -> Values:
    """What training may have moved, as outputs."""
    return {
        PARAMETERS: state_of(body, buffers=False),
        BUFFERS: state_of(body, parameters=False),
        HEAD: state_of(head),
    }


# transfer.freeze

ASKING = "parameters that require gradients"
AT_ONCE = "the body's output at once"
IN_TRAIN_MODE = "its outputs in train mode"
IN_CLASSES = "functions changed in classes"
STILL_LEARNS = (
    "the parameters still learn: body.requires_grad_(False), as body.requires_grad = False does "
    "nothing"
)


@exercise(
    id="transfer.freeze",
    level=2,
    after="Two things were to be stopped: gradients, and running statistics, which move "
    "without any.",
    minutes=12,
    points=3,
    hints=(
        "Three things change a body: gradients, BatchNorm's running statistics, dropout. The first "
        "has a switch alone.",
        "body.requires_grad_(False) ends the gradients; body.eval() fixes the rest, until somebody "
        "calls model.train().",
        "model.train() calls .train(True) on each part: body.train = lambda mode=True: body makes "
        "that do nothing.",
    ),
)
def freeze(body):
    """Fixes the body itself: no gradients, BatchNorm and dropout as in eval mode, also
    after model.train().
    """
    body.requires_grad_(False)
    body.eval()
    body.train = lambda mode=True: body  # model.train() calls this on its parts
    return body


@freeze.draw
def _(seed: int) -> Values:
    return problem(seed, batches=3)


def methods_of(model: nn.Module) -> dict[type, dict[str, Any]]:
    """The functions of the classes of a network's parts."""
    methods = {}
    for part in model.modules():
        for kind in type(part).__mro__[:-1]:
            methods[kind] = {name: x for name, x in vars(kind).items() if callable(x)}
    return methods


def put_back(methods: dict[type, dict[str, Any]]) -> int:
    """Undoes what was changed in these classes; how many functions that were."""
    count = 0
    for kind, functions in methods.items():
        now = {name: x for name, x in vars(kind).items() if callable(x)}
        for name in now.keys() | functions.keys():
            if now.get(name) is not functions.get(name):
                count += 1
                if name in functions:
                    setattr(kind, name, functions[name])
                else:
                    delattr(kind, name)
    return count


@freeze.drive
def _(function: Function, inputs: Values) -> Values:
    body, head = body_and_head(inputs)
    model = nn.Sequential(body, head)
    images = inputs["images"]
    methods = methods_of(model)
    try:
        function(body)
    finally:  # networks of all cells would be changed, and those that judge
        changed = put_back(methods)
    torch.manual_seed(0)  # a dropout that acts gives what it gives in the wrong answers
    output = body(images)
    model.train()
    optimizer = sgd(model)
    for batch_images, labels in batches_of(inputs):
        training_step(model, optimizer, batch_images, labels)
    model.eval()
    model.train()  # as after an evaluation
    return {
        AT_ONCE: output,
        IN_TRAIN_MODE: torch.stack([body(images), body(images)]),
        **states(body, head),
        ASKING: sum(parameter.requires_grad for parameter in body.parameters()),
        IN_CLASSES: changed,
    }


freeze.part("weights that stay in training", points=1)
freeze.compare(
    IN_CLASSES,
    says="a class was changed, and with it every network that has such a part: give the body "
    "itself another train",
)
freeze.compare(
    PARAMETERS,
    says="parameters of the body moved in training: body.requires_grad_(False) turns off all "
    "gradients",
)
freeze.part("BatchNorm and dropout as in eval mode", points=1)
freeze.compare(BUFFERS, says="BatchNorm's running statistics moved: the body ran in train mode")
freeze.compare(
    AT_ONCE,
    IN_TRAIN_MODE,
    says="the body does not give what it gives in eval mode: BatchNorm or dropout still acts",
)
freeze.part("nothing else: no gradients for the optimiser, and a head that learns", points=1)
freeze.compare(
    ASKING,
    says="parameters of the body still require gradients, so an optimiser would be given them",
)
freeze.compare(HEAD, says="the head does not learn as it should: change nothing but the body")
freeze.compare(PARAMETERS, BUFFERS, says=NEARLY, tolerance=0)

freeze.wrong(
    "only gradients",
    says="the body is still in train mode: BatchNorm's statistics drift and dropout acts, so "
    "body.eval()",
    edit={"body.eval()": "", "body.train = lambda mode=True: body": ""},
)
freeze.wrong(
    "undone",
    says="model.train() undoes body.eval(): the body's own train must do nothing",
    edit={"body.train = lambda mode=True: body": ""},
)
freeze.wrong(
    "only eval",
    says="eval() stops no gradients, and model.train() undoes it",
    edit={"body.requires_grad_(False)": "", "body.train = lambda mode=True: body": ""},
)
freeze.wrong(
    "no gradients off",
    says=STILL_LEARNS,
    edit={"body.requires_grad_(False)": ""},
)
freeze.wrong(
    "attribute",
    says=STILL_LEARNS,
    edit={"body.requires_grad_(False)": "body.requires_grad = False"},
)
freeze.wrong(
    "in the class",
    says="a class was changed",
    edit={"body.train = lambda mode=True: body": "type(body).train = lambda self, mode=True: self"},
)
freeze.wrong(
    "only BatchNorm",
    says="dropout still acts: it needs eval mode, too",
    edit={"body.eval()": "body[1].eval()"},
)
NO_MOMENTUM = (
    "for part in body.modules():\n"
    "    if isinstance(part, nn.BatchNorm1d):\n"
    "        part.momentum = 0"
)
for name, edit in {
    "momentum 0": {"body.eval()": NO_MOMENTUM, "body.train = lambda mode=True: body": ""},
    "momentum 0 after eval": {"body.train = lambda mode=True: body": NO_MOMENTUM},
}.items():
    freeze.wrong(
        name,
        says="momentum = 0 keeps the running statistics, but in train mode BatchNorm does not use "
        "them: it normalises by the batch, so the body needs eval mode",
        edit=edit,
    )
freeze.wrong(
    "only dropout",
    says="BatchNorm's statistics still drift: it needs eval",
    edit={"body.eval()": "body[2].eval()"},
)
freeze.wrong(
    "only matrices",
    says="only matrices are fixed: biases and BatchNorm's scale",
    edit={
        "body.requires_grad_(False)": (
            "for p in body.parameters():\n    p.requires_grad_(p.dim() == 1)"
        )
    },
)


@freeze.wrong("a copy", says="nothing about the body is fixed: change the body itself")
def _(body):
    return freeze(copy.deepcopy(body))


# transfer.graft

AT_START = "the network's output before training"
TAKEN = "parameters and buffers of the blocks taken over, after training"
OWN = "parameters and buffers of the rest, after training"
TAKEN_ASK = "parameters of the blocks taken over that require gradients"
SOURCE_AFTER = "the source's parameters and buffers"
SOURCE_ASKS = "parameters of the source that require gradients"
GRAFTED_PARTS = 4  # three blocks and a head
SHARED = (
    "the source itself has changed, because its own blocks are in the network: give the network "
    "copies"
)


@exercise(
    id="transfer.graft",
    level=2,
    minutes=12,
    points=3,
    hints=(
        "Three things are asked: the source's blocks in the first n places, frozen, and nothing "
        "else changed.",
        "fresh[:n] and source[:n] are networks of n blocks each, and "
        "load_state_dict(….state_dict()) copies one into the other, buffers as well.",
        "transfer.freeze(fresh[:n]) freezes them, also when somebody calls train() later; then "
        "return fresh.",
    ),
    after="Only what lies behind the cut learns now, so what it gains it owes to blocks that "
    "were trained elsewhere.",
    alternative="model[i] = transfer.freeze(copy.deepcopy(source[i])) does it block by block.",
)
def graft(source, fresh, n):
    """The network fresh with the first n blocks of source in place of its own,
    frozen.

    Both are an nn.Sequential of blocks and a head. The rest of fresh stays new and
    learns. The source stays as it is.
    """
    fresh[:n].load_state_dict(source[:n].state_dict())  # buffers, too
    transfer.freeze(fresh[:n])
    return fresh


@graft.draw
def _(seed: int) -> Values:
    generator = torch.Generator().manual_seed(seed)
    width, classes, count = (whole_number(low, low + 3, generator) for low in (4, 2, 9))
    return {
        "n": 1 + seed % 2,
        "classes": classes,
        "seed": seed % 997,
        "images": torch.randn(count, width, generator=generator),
        "labels": torch.randint(classes, (count,), generator=generator),
    }


def three_blocks(inputs: Values, seed: int) -> nn.Sequential:
    """Three blocks with BatchNorm that has seen something, and a head."""
    torch.manual_seed(seed)
    width = inputs["images"].shape[1]
    model = nn.Sequential()
    for _ in range(GRAFTED_PARTS - 1):
        norm = nn.BatchNorm1d(width)
        norm.get_buffer("running_mean").uniform_(-0.5, 0.5)
        norm.get_buffer("running_var").uniform_(0.5, 1.5)
        model.append(nn.Sequential(nn.Linear(width, width), norm, nn.Tanh()))
    return model.append(nn.Linear(width, inputs["classes"]))


@graft.drive
def _(function: Function, inputs: Values) -> Values:
    n = inputs["n"]
    source, fresh = three_blocks(inputs, inputs["seed"]), three_blocks(inputs, inputs["seed"] + 1)
    model = function(source, fresh, n)
    if not isinstance(model, nn.Sequential) or len(model) != GRAFTED_PARTS:
        words = "a network with the blocks and the head of fresh was expected, got "
        is_short = isinstance(model, nn.Sequential)
        return {RETURNED: words + (f"{len(model)} parts" if is_short else f"{plain(model)!s:.60}")}
    model.eval()
    with torch.no_grad():
        outputs: Values = {RETURNED: 1, AT_START: model(inputs["images"])}
    outputs[TAKEN_ASK] = sum(parameter.requires_grad for parameter in model[:n].parameters())
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for _ in range(3 if learning else 0):
        model.train()
        model.zero_grad()
        nn.functional.cross_entropy(model(inputs["images"]), inputs["labels"]).backward()
        torch.optim.SGD(learning, lr=0.3).step()
        model.eval()  # as validation would leave it
    return outputs | {
        TAKEN: state_of(model[:n]),
        OWN: state_of(model[n:]),
        SOURCE_AFTER: state_of(source),
        SOURCE_ASKS: sum(parameter.requires_grad for parameter in source.parameters()),
    }


graft.part("the source's blocks in front, and fresh behind them", points=1)
graft.compare(
    RETURNED,
    AT_START,
    says="the network does not compute what the first n blocks of source and the rest of fresh do",
)
graft.part("blocks that are frozen", points=1)
graft.compare(
    TAKEN_ASK,
    TAKEN,
    says="the blocks taken over change in training: transfer.freeze fixes weights and buffers",
)
graft.part("a rest that learns, and a source that stays", points=1)
graft.compare(SOURCE_AFTER, SOURCE_ASKS, says=SHARED)
graft.compare(OWN, says="the rest does not learn as it should: freeze the first n blocks only")

LOAD = "fresh[:n].load_state_dict(source[:n].state_dict())"
FREEZE = "transfer.freeze(fresh[:n])"
graft.wrong(
    "not frozen",
    says="the blocks taken over learn: that would be AnB⁺, and here they are to be frozen",
    edit={FREEZE: ""},
)
graft.wrong(
    "only gradients",
    says="BatchNorm's statistics of the taken blocks move, because model.train() reaches them: "
    "transfer.freeze",
    edit={FREEZE: "fresh[:n].requires_grad_(False).eval()"},
)
graft.wrong(
    "all frozen",
    says="everything is frozen, so nothing can learn: freeze the first n blocks only",
    edit={FREEZE: "transfer.freeze(fresh)"},
)
graft.wrong(
    "nothing taken",
    says="nothing is taken from the source: the frozen blocks are those of fresh",
    edit={LOAD: ""},
)
graft.wrong(
    "whole source",
    says="the source's later blocks are in it, too: behind the first n everything is new",
    edit={LOAD: "fresh.load_state_dict(source.state_dict())"},
)
graft.wrong(
    "one too many",
    says="n + 1 blocks are taken: fresh[:n] are the first n",
    edit={
        LOAD: "fresh[: n + 1].load_state_dict(source[: n + 1].state_dict())",
        FREEZE: "transfer.freeze(fresh[: n + 1])",
    },
)
graft.wrong(
    "one too few",
    says="only n - 1 blocks are taken: fresh[:n] are the first n",
    edit={
        LOAD: "fresh[: n - 1].load_state_dict(source[: n - 1].state_dict())",
        FREEZE: "transfer.freeze(fresh[: n - 1])",
    },
)
graft.wrong(
    "the other end",
    says="the source's part is behind the cut: its first n blocks are wanted, in front",
    edit={
        LOAD: "fresh[n:].load_state_dict(source[n:].state_dict())",
        FREEZE: "transfer.freeze(fresh[n:])",
    },
)
graft.wrong(
    "parameters alone",
    says="BatchNorm's running statistics are those of fresh: they are buffers, which "
    "state_dict() holds and parameters() does not",
    edit={
        LOAD: (
            "for new, old in zip(fresh[:n].parameters(), source[:n].parameters()):\n"
            "    new.data.copy_(old.data)"
        )
    },
)
graft.wrong(
    "the source's own",
    says=SHARED,
    edit={LOAD: "for i in range(n):\n    fresh[i] = source[i]"},
)
graft.wrong(
    "into the source",
    says="the network is the source itself: put its blocks into fresh, as copies",
    edit={LOAD: "source[n:].load_state_dict(fresh[n:].state_dict())\nfresh = source"},
)
graft.wrong(
    "source frozen",
    says="the source is frozen, too: freeze what is in the network",
    edit={FREEZE: "transfer.freeze(fresh[:n])\ntransfer.freeze(source)"},
)


# transfer.param_groups

COUNT = "the number of groups"
PLACES = "the place of each parameter's group"
RATES = "the rates of all parameters"
TIMES = "how often each parameter is held"
WRONG_RATES = "the rates are not rate / factor ** (parts between this part and the end)"
FREE, PARTLY, FROZEN = 0, 1, 2


@exercise(
    id="transfer.param_groups",
    level=2,
    after="The early layers now move least, since they hold what both tasks share.",
    minutes=10,
    points=3,
    hints=(
        "One dict a part. Its depth, counted from the head, says how often the rate is divided by "
        "factor.",
        "[p for p in part.parameters() if p.requires_grad] are the ones to train; no group where "
        "there are none.",
        "Part number i of n learns at rate / factor ** (n - 1 - i); collect "
        '{"params": trainable, "lr": that}.',
    ),
    form=forms.groups,
)
def param_groups(parts, rate, factor):
    """Groups {"params": [...], "lr": ...} for an optimiser,
    from the input to the head, the last of the parts.

    The head learns at `rate`, each part before it `factor` times slower.
    Frozen parameters are left out.
    """
    groups = []
    for number, part in enumerate(parts):
        depth = len(parts) - 1 - number  # 0 for the head; a frozen part counts, too
        trainable = [p for p in part.parameters() if p.requires_grad]
        if trainable:
            groups.append({"params": trainable, "lr": rate / factor**depth})
    return groups


@param_groups.draw
def _(seed: int) -> Values:
    generator = torch.Generator().manual_seed(seed)
    mixtures = ([FREE, PARTLY], [PARTLY, FREE], [FREE], [PARTLY])
    mixed = mixtures[whole_number(0, 3, generator)]
    free = [FREE] * (1 + seed % 5)
    frozen = [FROZEN, *mixed, FROZEN, *free]  # the one between others counts in the depth
    rate, factor = torch.rand(2, generator=generator).tolist()
    return {"frozen": torch.tensor(frozen), "rate": 0.1 + rate, "factor": 2 + factor}


def parts_of(frozen: Tensor) -> nn.ModuleList:
    """Parts that are free, partly or wholly frozen."""
    modules = nn.ModuleList()
    for degree in frozen.tolist():
        linear = nn.Linear(2, 2).requires_grad_(degree == FREE)
        norm = nn.BatchNorm1d(2).requires_grad_(degree != FROZEN)
        modules.append(nn.Sequential(linear, norm))
    return modules


@param_groups.drive
def _(function: Function, inputs: Values) -> Values:
    modules = parts_of(inputs["frozen"])
    numbers = {id(parameter): number for number, parameter in enumerate(modules.parameters())}
    groups = function(list(modules), inputs["rate"], inputs["factor"])
    fault = groups_fault(groups)
    if fault is not None:
        return {RETURNED: fault}
    rates, times, places = torch.zeros(3, len(numbers), dtype=torch.float64)
    place = 0  # empty groups have none, so that an order is told also where there are some
    for group in groups:
        rate = float(group["lr"])
        held = times.sum()
        place += 1
        for parameter in islice(group["params"], 1000):
            number = numbers.get(id(parameter))
            if number is None:
                words = '"params" must hold parameters of the parts, and nothing else'
                return {RETURNED: words}
            rates[number] = rate
            times[number] += 1
            places[number] = place
        place -= int(times.sum() == held)
    return {RETURNED: 1, COUNT: len(groups), RATES: rates, TIMES: times, PLACES: places}


def groups_fault(groups: Any) -> str | None:
    """What is wrong with the kind of these groups, which may be anything; or None."""
    is_list = isinstance(groups, (list, tuple))
    if not is_list or not all(isinstance(group, dict) for group in groups):
        return f"a list of dicts was expected, got {plain(groups)!s:.80}"
    for group in groups:
        rate_as_value = plain([group.get("lr")])
        if not isinstance(group.get("params"), Iterable) or isinstance(rate_as_value, str):
            return 'each group needs "params", a list of parameters, and "lr", a number'
        if isinstance(group["params"], set | frozenset):
            return '"params" must be a list: an optimiser refuses a set, which has no order'
    return None


param_groups.part("which parameters train", points=1)
param_groups.compare(
    TIMES, says="each parameter that trains is to be in one group, and no frozen one in any"
)
param_groups.part("their rates", points=1)
param_groups.compare(RATES, says=WRONG_RATES)
param_groups.part("one group for each part, in order", points=1)
param_groups.compare(PLACES, says="one group for each part that trains, from the input to the head")
param_groups.compare(RETURNED, COUNT, says="the number of groups is another")


@param_groups.judge
def _(inputs: Values, outputs: Values) -> str | None:
    """Names wrong rates also where something else is wrong, and says how many groups there are."""
    message = param_groups.compared(inputs, outputs)
    count, expected = outputs.get(COUNT), int((inputs["frozen"] != FROZEN).sum())
    if not isinstance(count, int):  # not what the drive makes
        return message
    if message == WRONG_RATES:
        for answer in param_groups.wrong_answers:
            known = param_groups.memory.outputs(answer.function, inputs)
            if RATES in known and same(outputs, known, [RATES]):
                message = answer.says
                break
    if message is None or isinstance(outputs.get(RETURNED), str) or count == expected:
        return message
    numbers = f"{count} groups instead of {expected}"
    if count == len(inputs["frozen"]):
        numbers += ": frozen parts give none"
    return f"{message}; {numbers}"


param_groups.wrong(
    "head slowest",
    says="the wrong way round: the head, the last part, learns at rate itself",
    edit={"depth = len(parts) - 1 - number": "depth = number"},
)
param_groups.wrong(
    "multiplied",
    says="the rates rise towards the input: divide by factor",
    edit={
        'groups.append({"params": trainable, "lr": rate / factor**depth})': (
            'groups.append({"params": trainable, "lr": rate * factor**depth})'
        )
    },
)
param_groups.wrong(
    "one rate",
    says="all parts learn at one rate: divide by factor for each part before the head",
    edit={"depth = len(parts) - 1 - number": "depth = 0"},
)
param_groups.wrong(
    "one division",
    says="parts further back divide by factor once more each",
    edit={"depth = len(parts) - 1 - number": "depth = min(len(parts) - 1 - number, 1)"},
)
param_groups.wrong(
    "frozen ones held",
    says="frozen parameters are held: take those with requires_grad",
    edit={
        "trainable = [p for p in part.parameters() if p.requires_grad]": (
            "trainable = list(part.parameters())"
        )
    },
)
param_groups.wrong(
    "empty groups",
    says="a part that is frozen as a whole must give no group",
    edit={"if trainable:": "if True:"},
)


@param_groups.wrong(
    "frozen parts skipped",
    says="frozen parts do not count in your depth: they do, for each divide, too",
)
def _(parts, rate, factor):
    trainable_parts = []
    for part in parts:
        if any(parameter.requires_grad for parameter in part.parameters()):
            trainable_parts.append(part)
    return param_groups(trainable_parts, rate, factor)


param_groups.wrong(
    "depth one too large",
    says="the head's own rate is rate: count the parts after a part, which are 0 for the head",
    edit={"depth = len(parts) - 1 - number": "depth = len(parts) - number"},
)
param_groups.wrong(
    "one group for each parameter",
    says="one group for each part: all of its parameters in one list",
    edit={
        'groups.append({"params": trainable, "lr": rate / factor**depth})': (
            'rates = {"lr": rate / factor**depth}\n'
            'groups += [{"params": [parameter], **rates} for parameter in trainable]'
        )
    },
)
param_groups.wrong(
    "frozen ones held, depth one too large",
    says="frozen parameters are held: take those with requires_grad; and the head learns at rate",
    edit={
        "trainable = [p for p in part.parameters() if p.requires_grad]": (
            "trainable = list(part.parameters())"
        ),
        "depth = len(parts) - 1 - number": "depth = len(parts) - number",
    },
)
param_groups.wrong(
    "one group for each parameter, frozen ones too",
    says="one group for each part, of those parameters that have requires_grad",
    edit={
        "trainable = [p for p in part.parameters() if p.requires_grad]": (
            "trainable = list(part.parameters())"
        ),
        'groups.append({"params": trainable, "lr": rate / factor**depth})': (
            'rates = {"lr": rate / factor**depth}\n'
            'groups += [{"params": [parameter], **rates} for parameter in trainable]'
        ),
    },
)
param_groups.wrong(
    "empty groups, depth one too large",
    says="a part that is frozen as a whole must give no group; and the head learns at rate",
    edit={
        "if trainable:": "if True:",
        "depth = len(parts) - 1 - number": "depth = len(parts) - number",
    },
)
param_groups.wrong(
    "sets",
    says="an optimiser refuses a set",
    edit={
        "trainable = [p for p in part.parameters() if p.requires_grad]": (
            "trainable = {p for p in part.parameters() if p.requires_grad}"
        )
    },
)
param_groups.wrong(
    "matrices only",
    says="biases and BatchNorm's scale train, too",
    edit={
        "if trainable:": (
            "trainable = [parameter for parameter in trainable if parameter.dim() > 1]\n"
            "if trainable:"
        )
    },
)
param_groups.wrong(
    "from the head",
    says="the groups come from the input to the head",
    last_line="return groups[::-1]",
)


# transfer.linear_probe

CHOSEN = "the chosen C"
PREDICTED = "the predicted labels"


@exercise(
    id="transfer.linear_probe",
    steps=(
        "standardise both by the mean and standard deviation of train_x",
        "fit a logistic regression for each strength, from the smallest on",
        "keep the one that is best on validation, and what it predicts there",
    ),
    level=2,
    after="The strength was chosen on the validation images, so the test set is still untouched.",
    alternative="sklearn's LogisticRegressionCV chooses by cross-validation.",
    minutes=15,
    points=3,
    hints=(
        "Standardising is learned, too: mean and std come from the training features and serve "
        "both sets.",
        "For each C: fit on train, then .score(validation_x, validation_y) is the accuracy to "
        "choose by.",
        "Go through sorted(strengths) and replace the best only where the accuracy is greater.",
    ),
    form=forms.pair(forms.number, forms.tensor),
)
def linear_probe(train_x, train_y, validation_x, validation_y, strengths):
    """(C, labels): the strength that is best on validation, the smallest of equals,
    and what it predicts there.

    Each is a logistic regression, LogisticRegression(C=C, max_iter=2000),
    on standardised features [n, d].
    """
    from sklearn.linear_model import LogisticRegression

    # Validation is measured with train's ruler.
    mean, std = train_x.mean(dim=0), train_x.std(dim=0)
    train_x, validation_x = (train_x - mean) / std, (validation_x - mean) / std
    best, chosen = -1.0, None
    for c in sorted(strengths):
        probe = LogisticRegression(C=c, max_iter=2000).fit(train_x, train_y)
        accuracy = probe.score(validation_x, validation_y)
        if accuracy > best:  # so the first, which is the smallest, of equals stays
            best, chosen = accuracy, (c, probe.predict(validation_x))
    return chosen


@linear_probe.draw
@cache
def _(seed: int) -> Values:
    """Drawn again until no wrong answer agrees by chance,
    and n - 1 in std is as good as n.
    """
    generator = torch.Generator().manual_seed(seed)
    while True:
        values = random_features(seed, generator)
        if tells_answers_apart(values):
            return values


def random_features(seed: int, generator: torch.Generator) -> Values:
    """Two classes; the best feature is tiny, a poor one is huge, most are noise.

    The best has outliers in validation.
    """
    width = 18 + seed % 5
    order = torch.randperm(3, generator=generator)
    # As good as equal, and the smallest of them is neither the first nor the last.
    equals = torch.tensor([1.02, 1.0, 1.01]).double()
    sizes = torch.tensor([3e-3, 0.1, 100.0]).double()[:, None]
    strengths = sizes * equals * (1 + torch.rand((), generator=generator))
    values: Values = {"strengths": strengths[order].flatten()}
    for name, count in (("train", 24 + seed % 4), ("validation", 60 + seed % 3)):
        rarity = 3 if name == "train" else 2  # tiny strengths see the larger class
        y = (torch.arange(count) % rarity == 0).long()
        sign = 2.0 * y[:, None] - 1
        x = torch.randn(count, width, generator=generator)
        x[:, :2] += sign * torch.tensor([1.2, 0.5])
        if name == "validation":
            x[:, 0] += 0.6  # other photos, another mean
            x[:8, 0] *= 12
        x[:, 0] /= 10
        x[:, 1] *= 10
        values |= {f"{name}_x": x + 3, f"{name}_y": y}
    return values


class Regression(NamedTuple):
    """One strength on standardised features: accuracies, and the labels it predicts."""

    strength: float
    train_accuracy: float
    validation_accuracy: float
    labels: Tensor

    def outputs(self) -> Values:
        """As if a learner had chosen this one."""
        return {CHOSEN: self.strength, PREDICTED: self.labels}


def regressions(values: Values, mean: Tensor, std: Tensor) -> list[Regression]:
    """A logistic regression for each strength, from the smallest."""
    from sklearn.linear_model import LogisticRegression

    train = (values["train_x"] - mean) / std
    validation = (values["validation_x"] - mean) / std
    rows = []
    for c in sorted(values["strengths"].tolist()):
        probe = LogisticRegression(C=c, max_iter=2000).fit(train, values["train_y"])
        labels = torch.tensor(probe.predict(validation))
        accuracies = (
            probe.score(train, values["train_y"]),
            probe.score(validation, values["validation_y"]),
        )
        rows.append(Regression(c, *accuracies, labels))
    return rows


def best_of(rows: list[Regression]) -> Regression:
    """The best on validation; of equals the first, which has the smallest strength."""
    return max(rows, key=lambda row: row.validation_accuracy)


def tells_answers_apart(values: Values) -> bool:
    """Whether the wrong answers that may agree by chance do not."""
    x = values["train_x"]
    rows = regressions(values, x.mean(dim=0), x.std(dim=0))
    right = best_of(rows).outputs()
    as_given = [row for c in values["strengths"].tolist() for row in rows if row.strength == c]
    largest_of_equals = best_of(rows[::-1]).outputs()
    first_of_equals = best_of(as_given).outputs()
    last_of_equals = best_of(as_given[::-1]).outputs()
    best_on_training = max(rows, key=lambda row: row.train_accuracy).outputs()
    last_labels = right | {PREDICTED: rows[-1].labels}
    of_equals = (largest_of_equals, first_of_equals, last_of_equals)
    for wrong in (*of_equals, best_on_training, last_labels):
        if same(right, wrong, right):
            return False
    biased = best_of(regressions(values, x.mean(dim=0), x.std(dim=0, correction=0)))
    if not same(right, biased.outputs(), right):
        return False
    all_x = torch.cat([x, values["validation_x"]])
    leaky = best_of(regressions(values, all_x.mean(dim=0), all_x.std(dim=0)))
    return not same(right, leaky.outputs(), right)


@linear_probe.drive
def _(function: Function, inputs: Values) -> Values:
    train = inputs["train_x"].clone(), inputs["train_y"].clone()
    validation = inputs["validation_x"].clone(), inputs["validation_y"].clone()
    result = function(*train, *validation, inputs["strengths"].tolist())
    fault = pair_fault(result, "(C, labels)")
    if fault is not None:
        return {RETURNED: fault}
    strength, labels = result
    return {RETURNED: 1, CHOSEN: plain(strength), PREDICTED: array(labels)}


linear_probe.compare(
    CHOSEN,
    says="that is not the smallest of the strengths with the best accuracy on validation",
)
linear_probe.compare(
    RETURNED,
    PREDICTED,
    says="these are not the validation labels that the chosen strength predicts",
)

linear_probe.wrong(
    "all data",
    says="validation is in your mean and std: take train's",
    edit={
        "mean, std = train_x.mean(dim=0), train_x.std(dim=0)": (
            "both = torch.cat([train_x, validation_x])\n"
            "mean, std = both.mean(dim=0), both.std(dim=0)"
        )
    },
)
linear_probe.wrong(
    "own statistics",
    says="validation is standardised by itself: use train's mean and std for both",
    edit={
        "train_x, validation_x = (train_x - mean) / std, (validation_x - mean) / std": (
            "train_x = (train_x - mean) / std\n"
            "mean, std = validation_x.mean(dim=0), validation_x.std(dim=0)\n"
            "validation_x = (validation_x - mean) / std"
        )
    },
)
linear_probe.wrong(
    "one for all",
    says="that is one mean and one std for all features together: each feature has its own, along "
    "dim=0",
    edit={
        "mean, std = train_x.mean(dim=0), train_x.std(dim=0)": (
            "mean, std = train_x.mean(), train_x.std()"
        )
    },
)
linear_probe.wrong(
    "not standardised",
    says="the features are not standardised",
    edit={"mean, std = train_x.mean(dim=0), train_x.std(dim=0)": "mean, std = 0, 1"},
)
linear_probe.wrong(
    "train alone",
    says="validation is not standardised: use train's",
    edit={
        "train_x, validation_x = (train_x - mean) / std, (validation_x - mean) / std": (
            "train_x = (train_x - mean) / std"
        )
    },
)
linear_probe.wrong(
    "on training",
    says="C is chosen on train: choose on validation",
    edit={
        "accuracy = probe.score(validation_x, validation_y)": (
            "accuracy = probe.score(train_x, train_y)"
        )
    },
)
linear_probe.wrong(
    "largest of equals",
    says="of equal strengths the smallest is asked for",
    edit={"if accuracy > best:": "if accuracy >= best:"},
)
linear_probe.wrong(
    "first of equals",
    says="of equal strengths the smallest is asked for",
    edit={"for c in sorted(strengths):": "for c in strengths:"},
)
linear_probe.wrong(
    "last of equals",
    says="of equal strengths the smallest is asked for",
    edit={
        "for c in sorted(strengths):": "for c in strengths:",
        "if accuracy > best:": "if accuracy >= best:",
    },
)
linear_probe.wrong(
    "worst",
    says="that is the strength with the lowest accuracy",
    edit={
        "accuracy = probe.score(validation_x, validation_y)": (
            "accuracy = 1 - probe.score(validation_x, validation_y)"
        )
    },
)
linear_probe.wrong(
    "accuracy",
    says="that is the accuracy: return the predicted labels",
    edit={
        "best, chosen = accuracy, (c, probe.predict(validation_x))": (
            "best, chosen = accuracy, (c, accuracy)"
        )
    },
)
linear_probe.wrong(
    "last labels",
    says="these labels are the last strength's: keep those of the best",
    last_line="return chosen[0], probe.predict(validation_x)",
)


# transfer.new_head

WEIGHT = "the weight"
BIAS = "the bias"
AGAIN = "the weight, drawn again"
OTHER = "the weight of another seed"
KEPT_ROWS = "the kept rows"
KEPT_BIASES = "the kept biases"
NORMS = "the norms of new rows"
NEW_BIASES = "the biases of new rows"
REPEATS = "the generator decides"
VARIES = "another seed gives other rows"
ONE_SIDED = "whether all numbers of new rows have one sign"


@exercise(
    id="transfer.new_head",
    level=2,
    after="What is kept of the old head is knowledge as well: its row tells the shared class from "
    "the rest before any training.",
    minutes=12,
    points=3,
    hints=(
        "Make all rows new ones first, then overwrite those that keep names, weights and biases "
        "alike.",
        "A row of torch.randn, divided by its norm, has a random direction and the length 1.",
        "The length: old_weight.norm(dim=1).mean(). Then for old, new in keep.items(): "
        "weight[new] = old_weight[old].",
    ),
    form=forms.pair(forms.tensor, forms.tensor),
)
def new_head(old_weight, old_bias, keep, classes, generator):
    """(weight [classes, d], bias [classes]) of a head that keeps rows of an old one:
    keep = {old row: new row}.

    A new row has a random direction, the mean norm of the old rows
    and the mean of their biases.
    """
    direction = torch.randn(classes, old_weight.shape[1], generator=generator)
    length = old_weight.norm(dim=1).mean()
    weight = direction / direction.norm(dim=1, keepdim=True) * length
    bias = old_bias.mean().repeat(classes)
    for old, new in keep.items():
        weight[new], bias[new] = old_weight[old], old_bias[old]
    return weight, bias


@new_head.draw
def _(seed: int) -> Values:
    generator = torch.Generator().manual_seed(seed)
    old, width, kept_count, new_count = (
        whole_number(low, low + 2, generator) for low in (4, 5, 2, 2)
    )
    classes = kept_count + new_count
    weight = torch.randn(old, width, generator=generator) * torch.linspace(0.5, 2, old)[:, None]
    old_rows = torch.randperm(old, generator=generator)[:kept_count]
    new_rows = torch.randperm(classes, generator=generator)[:kept_count]
    return {
        "old_weight": weight,
        "old_bias": torch.randn(old, generator=generator) + 1,
        "keep": torch.stack([old_rows, new_rows], 1),
        "classes": classes,
        "seed": seed % 997,
    }


@new_head.drive
def _(function: Function, inputs: Values) -> Values:
    outputs: Values = {RETURNED: 1}
    for name, seed in ((WEIGHT, 0), (AGAIN, 0), (OTHER, 1)):
        generator = torch.Generator().manual_seed(inputs["seed"] + seed)
        weight = inputs["old_weight"].clone()
        bias = inputs["old_bias"].clone()
        keep = dict(inputs["keep"].tolist())
        result = function(weight, bias, keep, inputs["classes"], generator)
        fault = pair_fault(result, "(weight, bias)")
        if fault is not None:
            return {RETURNED: fault}
        outputs[name] = plain(result[0])
        outputs[BIAS] = plain(result[1])
    return outputs


@new_head.properties
def _(inputs: Values, outputs: Values) -> Values:
    """What is asked of a head, and all that can be compared:
    directions of new rows are free.
    """
    classes = inputs["classes"]
    shape = (classes, inputs["old_weight"].shape[1])
    weight, repeated, reseeded = (floats(outputs, name, shape) for name in (WEIGHT, AGAIN, OTHER))
    bias = floats(outputs, BIAS, (classes,))
    kept_rows = inputs["keep"][:, 1]
    is_new = torch.ones(classes, dtype=torch.bool)
    is_new[kept_rows] = False
    all_three = torch.stack([weight, repeated, reseeded])
    new_rows = weight[is_new]
    new_of_all = all_three[:, is_new]
    is_one_sided = (new_of_all > 0).all() or (new_of_all < 0).all()
    repeats = torch.isclose(new_rows, repeated[is_new]).all(1)
    equal_in_other = torch.isclose(new_rows, reseeded[is_new]).all(1)
    equal_to_first = torch.isclose(new_rows[:1], new_rows[1:]).all(1)
    return {
        RETURNED: outputs.get(RETURNED, "nothing"),
        KEPT_ROWS: all_three[:, kept_rows],
        KEPT_BIASES: bias[kept_rows],
        NORMS: new_of_all.norm(dim=2),
        NEW_BIASES: bias[is_new],
        REPEATS: int(repeats.all()),
        VARIES: int(not equal_in_other.any() and not equal_to_first.any()),
        ONE_SIDED: int(is_one_sided),
    }


new_head.part("the rows and biases that are kept", points=1)
new_head.compare(
    KEPT_ROWS,
    says="the kept rows are not the old ones: weight[new] = old_weight[old] for old, new in "
    "keep.items()",
)
new_head.compare(
    KEPT_BIASES, says="the kept biases are not the old ones: bias[new] = old_bias[old]"
)
new_head.part("the size of the new rows, and their biases", points=1)
new_head.compare(NORMS, says="a new row's norm is not the mean norm of the old rows")
new_head.compare(NEW_BIASES, says="the bias of a new row is the mean of the old biases")
new_head.part("the random directions of the new rows", points=1)
new_head.compare(
    REPEATS,
    says="the new rows differ although the generator is the same: draw the directions with the "
    "generator",
)
new_head.compare(
    VARIES,
    says="the new rows are not random: draw each direction by torch.randn with the generator",
)
new_head.compare(
    ONE_SIDED,
    says="all numbers of the new rows have one sign, so that they all point to one side: draw them "
    "by torch.randn",
)
new_head.compare(RETURNED, says="a pair (weight, bias) was expected")

new_head.wrong(
    "nothing kept",
    says="no row is kept",
    edit={"for old, new in keep.items():": "for old, new in ():"},
)
new_head.wrong(
    "places of the old",
    says="the kept rows are at their old places: keep is {old: new}",
    edit={
        "weight[new], bias[new] = old_weight[old], old_bias[old]": (
            "old = old % classes\nweight[old], bias[old] = old_weight[old], old_bias[old]"
        )
    },
)
new_head.wrong(
    "bias forgotten",
    says="a kept row needs its bias, too",
    edit={
        "weight[new], bias[new] = old_weight[old], old_bias[old]": "weight[new] = old_weight[old]"
    },
)
new_head.wrong(
    "raw randn",
    says="new rows are as long as randn made them",
    edit={
        "weight = direction / direction.norm(dim=1, keepdim=True) * length": ("weight = direction")
    },
)
new_head.wrong(
    "unit norm",
    says="new rows have the norm 1",
    edit={
        "weight = direction / direction.norm(dim=1, keepdim=True) * length": (
            "weight = direction / direction.norm(dim=1, keepdim=True)"
        )
    },
)
new_head.wrong(
    "norm of the mean",
    says="that is the norm of the mean row",
    edit={"length = old_weight.norm(dim=1).mean()": "length = old_weight.mean(dim=0).norm()"},
)
new_head.wrong(
    "zero bias",
    says="new biases are 0: take the mean of the old ones",
    edit={"bias = old_bias.mean().repeat(classes)": "bias = torch.zeros(classes)"},
)
new_head.wrong(
    "no generator",
    says="draw the directions with the generator",
    edit={
        "direction = torch.randn(classes, old_weight.shape[1], generator=generator)": (
            "direction = torch.randn(classes, old_weight.shape[1])"
        )
    },
)
new_head.wrong(
    "torch.rand",
    says="they all point to one side",
    edit={
        "direction = torch.randn(classes, old_weight.shape[1], generator=generator)": (
            "direction = torch.rand(classes, old_weight.shape[1], generator=generator)"
        )
    },
)
new_head.wrong(
    "one direction",
    says="new rows are all alike: each needs a random direction",
    edit={
        "direction = torch.randn(classes, old_weight.shape[1], generator=generator)": (
            "direction = torch.randn(1, old_weight.shape[1], generator=generator)\n"
            "direction = direction.repeat(classes, 1)"
        )
    },
)


# transfer.normalise

RESULT = "the images for the backbone"


@exercise(
    id="transfer.normalise",
    level=1,
    after="A network expects the scale on which it was trained, and would not complain about "
    "another one.",
    alternative="torchvision.transforms.functional.normalize(images / 255, mean, std)",
    minutes=6,
    points=2,
    hints=(
        "Three steps: floats in [0, 1], minus the mean, divided by the standard deviation.",
        "A vector of 3 meets the last dimension, the width. The channels are dimension 1 of four.",
        "images.float() / 255, and torch.tensor(mean).view(3, 1, 1), which has one number a "
        "channel.",
    ),
    form=forms.tensor,
)
def normalise(images, mean, std):
    """uint8 images [n, 3, h, w] as a backbone wants them:
    scaled to [0, 1], then (x - mean) / std in each channel.
    """
    pixels = images.float() / 255
    # One number a channel.
    mean, std = torch.tensor(mean).view(3, 1, 1), torch.tensor(std).view(3, 1, 1)
    return (pixels - mean) / std


@normalise.draw
def _(seed: int) -> Values:
    generator = torch.Generator().manual_seed(seed)
    # 3 pixels wide, so that a vector of 3 meets the width without an error.
    shape = (whole_number(2, 5, generator), 3, whole_number(4, 7, generator), 3)
    mean = 0.25 + 0.15 * torch.arange(3) + 0.1 * torch.rand(3, generator=generator)
    std = 0.15 + 0.1 * torch.arange(3) + 0.05 * torch.rand(3, generator=generator)
    images = torch.randint(256, shape, generator=generator, dtype=torch.uint8)
    images[0, :, 0, 0] = 255
    images[0, :, 0, 1] = 0
    return {"images": images, "mean": mean, "std": std}


@normalise.drive
def _(function: Function, inputs: Values) -> Values:
    mean = inputs["mean"].tolist()
    std = inputs["std"].tolist()
    return {RESULT: plain(function(inputs["images"].clone(), mean, std))}


normalise.compare(
    RESULT, says="it is not (pixel / 255 - mean) / std with the mean and std of the pixel's channel"
)

normalise.wrong(
    "0 to 255",
    says="the grey levels are still 0 to 255: divide them by 255 first, mean and std belong to "
    "[0, 1]",
    edit={"pixels = images.float() / 255": "pixels = images.float()"},
)
normalise.wrong(
    "swapped",
    says="mean and std are swapped",
    last_line="return (pixels - std) / mean",
)
normalise.wrong(
    "integer division",
    says="// rounds down to 0 or 1: divide by /",
    edit={"pixels = images.float() / 255": "pixels = (images // 255).float()"},
)
normalise.wrong(
    "over the width",
    says="mean and std run along the width: channels are dimension 1",
    edit={
        "mean, std = torch.tensor(mean).view(3, 1, 1), torch.tensor(std).view(3, 1, 1)": (
            "mean, std = torch.tensor(mean), torch.tensor(std)"
        )
    },
)
normalise.wrong(
    "BGR",
    says="the channels are in reverse order",
    edit={"pixels = images.float() / 255": "pixels = images.flip(1).float() / 255"},
)
normalise.wrong(
    "reversed statistics",
    says="mean and std are in reverse order",
    edit={
        "pixels = images.float() / 255": (
            "pixels = images.float() / 255\nmean, std = mean[::-1], std[::-1]"
        )
    },
)
normalise.wrong("no std", says="the division by std is missing", last_line="return pixels - mean")
normalise.wrong("no mean", says="the mean is not subtracted", last_line="return pixels / std")


# transfer.l2_sp

PENALTY = "the penalty"
PULL = "the gradients of the body"
TO_THE_BODY = (
    "no gradient flows from the penalty to the body: leave out detach, no_grad, .data and .item()"
)


@exercise(
    id="transfer.l2_sp",
    level=1,
    minutes=8,
    points=2,
    hints=(
        "Pair each parameter of the body with the source's: how far is it from there?",
        "zip(body.parameters(), source.parameters(), strict=True) gives pairs; "
        "(w - start).square().sum() is the sum of one.",
        "Add up the sums of all pairs, and return alpha / 2 times the total.",
    ),
    after="Without the source's values it would be weight decay: only the place to which it pulls "
    "is another.",
    alternative="torch.nn.utils.parameters_to_vector makes one vector of all parameters.",
)
def l2_sp(body, source, alpha):
    """The L2-SP penalty alpha / 2 · Σ (w - start)², one number with gradients for body.

    w are all parameters of body, start are those of source, a network like it.
    """
    penalty = 0
    for w, start in zip(body.parameters(), source.parameters(), strict=True):
        penalty = penalty + (w - start).square().sum()
    return alpha / 2 * penalty


@l2_sp.draw
def _(seed: int) -> Values:
    inputs = problem(seed, batches=1)
    generator = torch.Generator().manual_seed(seed)
    steps = torch.randn(len(inputs["weights"]), generator=generator)
    return inputs | {"steps": steps, "alpha": 1.5 + torch.rand(1, generator=generator)}


@l2_sp.drive
def _(function: Function, inputs: Values) -> Values:
    source = network(inputs, norm=True).requires_grad_(False)
    body = copy.deepcopy(source).requires_grad_(True)
    vector_to_parameters(inputs["weights"] + inputs["steps"], body.parameters())
    body[2].get_buffer("running_mean").add_(1)  # which no penalty holds
    penalty = function(body, source, inputs["alpha"].item())
    if isinstance(penalty, Tensor) and penalty.requires_grad and penalty.numel() == 1:
        penalty.backward()
    pulls = [torch.zeros_like(w) if w.grad is None else w.grad for w in body.parameters()]
    return {PENALTY: plain(penalty), PULL: parameters_to_vector(pulls)}


l2_sp.part("the penalty", points=1)
l2_sp.compare(
    PENALTY,
    says="it is not alpha / 2 times the sum of all squared differences from the source",
)
l2_sp.part("gradients for the body", points=1)
l2_sp.compare(PULL, says="these are not the gradients of the penalty")

ADD = "penalty = penalty + (w - start).square().sum()"

l2_sp.wrong(
    "weight decay",
    says="this is weight decay, which pulls to zero: subtract the source's values before the "
    "square",
    edit={ADD: "penalty = penalty + w.square().sum()"},
)
l2_sp.wrong(
    "difference of squares",
    says="the squares are subtracted from each other: subtract first, then square",
    edit={ADD: "penalty = penalty + (w.square() - start.square()).sum()"},
)
l2_sp.wrong(
    "no square",
    says="the differences are not squared, so that they cancel",
    edit={ADD: "penalty = penalty + (w - start).sum()"},
)
l2_sp.wrong(
    "absolute",
    says="these are absolute differences: L2 is of their squares",
    edit={ADD: "penalty = penalty + (w - start).abs().sum()"},
)
l2_sp.wrong(
    "no half",
    says="the half is missing: alpha / 2",
    last_line="return alpha * penalty",
)
l2_sp.wrong("no alpha", says="the strength alpha is missing", last_line="return penalty / 2")
l2_sp.wrong(
    "mean of each",
    says="each tensor's differences are averaged: add them up",
    edit={ADD: "penalty = penalty + (w - start).square().mean()"},
)
l2_sp.wrong(
    "mean of all",
    says="the differences are averaged: add them up",
    last_line="return alpha / 2 * penalty / sum(w.numel() for w in body.parameters())",
)
l2_sp.wrong(
    "distance",
    says="this is the distance, with a root: leave the sum of squares as it is",
    last_line="return alpha / 2 * penalty.sqrt()",
)
l2_sp.wrong(
    "distance of each",
    says="a norm is the root of the sum of squares: square it",
    edit={ADD: "penalty = penalty + (w - start).norm()"},
)
l2_sp.wrong(
    "sign",
    says="the sign is wrong: a negative penalty pushes the body away from the source",
    last_line="return -alpha / 2 * penalty",
)
l2_sp.wrong(
    "last tensor",
    says="only the last tensor is in it: add each to the sum so far",
    edit={ADD: "penalty = (w - start).square().sum()"},
)
l2_sp.wrong(
    "in the loop",
    says="the return stands in the loop, after the first tensor",
    edit={ADD: "return alpha / 2 * (w - start).square().sum()"},
)
l2_sp.wrong(
    "only matrices",
    says="biases and BatchNorm's scale are missing: all parameters are held",
    edit={ADD: "penalty = penalty + (w - start).square().sum() * (w.dim() > 1)"},
)
l2_sp.wrong("detached", says=TO_THE_BODY, last_line="return alpha / 2 * float(penalty)")


@l2_sp.wrong("buffers", says="BatchNorm's buffers are in it: parameters() leaves them out")
def _(body, source, alpha):
    now, before = dict(body.named_buffers()), dict(source.named_buffers())
    others = sum((now[name] - before[name]).square().sum() for name in now)
    return l2_sp(body, source, alpha) + alpha / 2 * others


@l2_sp.wrong(
    "state", says=f"a state_dict has buffers and no graph: use parameters(). {TO_THE_BODY}"
)
def _(body, source, alpha):
    before = source.state_dict()
    pairs = [(x, before[name]) for name, x in body.state_dict().items()]
    return alpha / 2 * sum((x - start).square().sum() for x, start in pairs)


# transfer.clinic

LEARN = "the body learns, as body.requires_grad = False is an attribute that nobody reads"
DECAY = (
    "weight decay moves the body, because the optimiser holds it with old gradients that "
    "zero_grad(set_to_none=False) has set to zeros"
)
COLLECTS = "each backward pass computes gradients of the body, so body.requires_grad_(False)"
DRIFT = "the body is in train mode, so that BatchNorm's statistics drift and dropout acts"
HEAD_EVAL = "the head is in eval mode, where its BatchNorm does not learn"


@exercise(
    id="transfer.clinic",
    level=3,
    after="The body stayed the same bit for bit: frozen weights, an optimiser without them, "
    "and statistics at rest.",
    minutes=15,
    points=4,
    hints=(
        "Compare body.state_dict() before and after one step: which entries move, weights or "
        "running statistics?",
        "model.train() also reaches the body. What does body.requires_grad = False do to its "
        "parameters? And an optimiser that holds the body decays its weights as soon as they have "
        "gradients, even old ones.",
        "body.requires_grad_(False); only head.parameters() for the optimiser; body.eval() and "
        "head.train().",
    ),
    form=forms.numbers,
)
def train_head(body, head, images, labels, steps, rate):
    """The losses of so many steps that train the head alone:
    parameters and buffers of the body stay as they are, and it collects no gradients.
    """
    # was body.requires_grad = False, an attribute that nobody reads
    body.requires_grad_(False)
    optimizer = torch.optim.SGD(
        head.parameters(),  # held the body's, too
        lr=rate,
        momentum=0.9,
        weight_decay=0.1,
    )
    losses = []
    for _ in range(steps):
        body.eval()  # was in train mode
        head.train()
        optimizer.zero_grad(set_to_none=False)
        loss = nn.functional.cross_entropy(head(body(images)), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@train_head.draw
def _(seed: int) -> Values:
    return problem(seed, batches=3)


@train_head.drive
def _(function: Function, inputs: Values) -> Values:
    body, linear = body_and_head(inputs)
    head = nn.Sequential(nn.BatchNorm1d(inputs["hidden"]), linear)  # which has to be in train mode
    leave_gradients(body)
    collected: list[Tensor] = []
    for parameter in body.parameters():
        parameter.register_post_accumulate_grad_hook(collected.append)
    torch.manual_seed(0)
    steps = inputs["batch_size"] + 2
    losses = function(body, head, inputs["images"], inputs["labels"], steps, 0.1)
    return {**states(body, head), LOSSES: plain(losses), COLLECTED: len(collected)}


train_head.compare(
    PARAMETERS,
    says="the body's parameters still move: no gradients, and only head.parameters() for the "
    "optimiser",
)
train_head.compare(
    BUFFERS,
    says="the body's BatchNorm statistics still move: it has to be in eval mode in each step",
)
train_head.compare(
    HEAD,
    says="the head is not what these steps make of it on the fixed body: mend the three bugs only",
)
train_head.compare(LOSSES, says="these are not the losses of the steps")
train_head.compare(PARAMETERS, BUFFERS, says=NEARLY, tolerance=0)
train_head.compare(COLLECTED, says=f"the body stays, but {COLLECTS}")

BOTH_HELD = {"head.parameters(),": "[*body.parameters(), *head.parameters()],"}
MOVING_BUGS = {
    None: {},
    LEARN: {"body.requires_grad_(False)": "body.requires_grad = False", **BOTH_HELD},
    DECAY: BOTH_HELD,
    COLLECTS: {"body.requires_grad_(False)": ""},
}
MODE_BUGS = {
    None: {},
    DRIFT: {"body.eval()": "body.train()"},
    HEAD_EVAL: {"head.train()": "head.eval()"},
}

for moving, mode in product(MOVING_BUGS, MODE_BUGS):
    bugs = [bug for bug in (moving, mode) if bug]
    if bugs:
        train_head.wrong(
            " / ".join(bugs),
            says=f"still in it: {'; '.join(bugs)}",
            edit=MOVING_BUGS[moving] | MODE_BUGS[mode],
        )


@train_head.wrong(
    "put back",
    says="the body is put back at the end: the head has seen the features of another one",
)
def _(body, head, images, labels, steps, rate):
    start = copy.deepcopy(body.state_dict())
    body.requires_grad_(False)
    optimizer = torch.optim.SGD(head.parameters(), lr=rate, momentum=0.9, weight_decay=0.1)
    losses = []
    for _ in range(steps):
        body.train()
        head.train()
        optimizer.zero_grad(set_to_none=False)
        loss = nn.functional.cross_entropy(head(body(images)), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    body.load_state_dict(start)
    return losses


train_head.wrong(
    "no zero_grad",
    says="gradients add up: optimizer.zero_grad() in each step",
    edit={"optimizer.zero_grad(set_to_none=False)": ""},
)
train_head.wrong(
    "tiny rate",
    says=NEARLY,
    edit={
        "body.requires_grad_(False)": (
            "body.requires_grad_(False)\nslow = {'params': body.parameters(), 'lr': 1e-5}"
        ),
        "head.parameters(),": "[slow, {'params': head.parameters()}],",
    },
)


@train_head.broken("as found", says=f"still in it: {LEARN}; {DRIFT}")
def drifting_train_head(body, head, images, labels, steps, rate):
    """The losses of so many steps that are to train the head alone."""
    model = nn.Sequential(body, head)
    body.requires_grad = False
    optimizer = torch.optim.SGD(
        model.parameters(),
        lr=rate,
        momentum=0.9,
        weight_decay=0.1,
    )
    losses = []
    for _ in range(steps):
        model.train()
        optimizer.zero_grad(set_to_none=False)
        loss = nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


# transfer.fine_tune

TUNED = "the logits of the fine-tuned model"
SOURCE = "the source model"


@exercise(
    id="transfer.fine_tune",
    level=3,
    minutes=15,
    points=4,
    hints=(
        "Four steps: copy the source, put the new head in place of its last layer, make one "
        "optimiser with two groups, and loop over the batches.",
        "copy.deepcopy(source) leaves the source as it is; model[-1] = head exchanges the head; "
        'a group is {"params": model[:-1].parameters(), "lr": body_rate}.',
        "In the loop: zero_grad, F.cross_entropy(model(images), labels).backward(), step; "
        "model.train() stands above it.",
    ),
    steps=(
        "a copy of the source, with the new head in place of its last layer",
        "SGD with two groups: all but the head, and the head",
        "one step per batch, in train mode",
    ),
    after="That is transfer: all weights move, they only start from somewhere better than chance.",
    alternative="transfer.fine_tune of the package does the same and stops by the validation set.",
)
def fine_tune(source, head, batches, body_rate, head_rate):
    """A fine-tuned copy of source, whose last layer is replaced by head.

    source is an nn.Sequential. Everything is trained by plain SGD on the cross-entropy
    of batches, pairs (images, labels): the head at head_rate, the rest at body_rate.
    The source itself stays as it is.
    """
    model = copy.deepcopy(source)
    model[-1] = head
    body = {"params": model[:-1].parameters(), "lr": body_rate}
    optimizer = torch.optim.SGD([body, {"params": head.parameters(), "lr": head_rate}])
    model.train()
    for images, labels in batches:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
    return model


@fine_tune.draw
def _(seed: int) -> Values:
    return problem(seed, batches=4)


@fine_tune.drive
def _(function: Function, inputs: Values) -> Values:
    source = network(inputs, norm=True)
    head = nn.Linear(inputs["hidden"], inputs["classes"])
    generator = torch.Generator().manual_seed(inputs["batch_size"])
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / 3)
    source.eval()  # as it would be after it was tested
    leave_gradients(source)
    model = function(source, head, batches_of(inputs), 0.3, 0.9)
    outputs: Values = {SOURCE: state_of(source)}
    if not callable(model):
        return outputs | {RETURNED: f"the fine-tuned model was expected, got {plain(model)!s:.80}"}
    if isinstance(model, nn.Module):
        model.eval()
    with torch.no_grad():
        outputs[TUNED] = plain(model(inputs["images"]))
    return outputs


fine_tune.compare(
    SOURCE, says="the source model has changed: train a copy of it, as copy.deepcopy makes one"
)
fine_tune.compare(
    TUNED, says="these are not the logits of the source, fine-tuned in train mode at two rates"
)

fine_tune.wrong(
    "source trained",
    says="the source model has changed: train a copy of it, as copy.deepcopy makes one",
    edit={"model = copy.deepcopy(source)": "model = source"},
)
fine_tune.wrong(
    "shallow copy",
    says="the source model has changed",
    edit={"model = copy.deepcopy(source)": "model = nn.Sequential(*source)"},
)
fine_tune.wrong(
    "head alone",
    says="the body has not moved: give its parameters to the optimiser, too",
    edit={
        'body = {"params": model[:-1].parameters(), "lr": body_rate}': (
            'body = {"params": model[:-1].parameters(), "lr": 0.0}'
        )
    },
)
fine_tune.wrong(
    "body alone",
    says="the head has not moved: give its parameters to the optimiser, too",
    edit={
        'optimizer = torch.optim.SGD([body, {"params": head.parameters(), "lr": head_rate}])': (
            "optimizer = torch.optim.SGD([body])"
        )
    },
)
fine_tune.wrong(
    "rates exchanged",
    says="the rates are exchanged: head_rate is that of the head",
    edit={
        'body = {"params": model[:-1].parameters(), "lr": body_rate}': (
            'body = {"params": model[:-1].parameters(), "lr": head_rate}'
        ),
        'optimizer = torch.optim.SGD([body, {"params": head.parameters(), "lr": head_rate}])': (
            'optimizer = torch.optim.SGD([body, {"params": head.parameters(), "lr": body_rate}])'
        ),
    },
)
fine_tune.wrong(
    "one rate",
    says="everything was trained at body_rate: the head has a group and a rate of its own",
    edit={
        'optimizer = torch.optim.SGD([body, {"params": head.parameters(), "lr": head_rate}])': (
            "optimizer = torch.optim.SGD(model.parameters(), lr=body_rate)"
        )
    },
)
fine_tune.wrong(
    "eval mode",
    says="it was trained in eval mode, as the source came: call model.train() before the loop",
    edit={"model.train()": "model.eval()"},
)
fine_tune.wrong(
    "gradients add up",
    says="the gradients add up from step to step: optimizer.zero_grad() is missing",
    edit={"optimizer.zero_grad()": ""},
)
fine_tune.wrong(
    "old head",
    says="the old head is still in use: model[-1] = head puts the new one in its place",
    edit={
        "model[-1] = head": "head = model[-1]",
    },
)


@fine_tune.wrong(
    "exchanged afterwards",
    says="it was trained under the old head, and the new one came too late: exchange the heads "
    "before training",
)
def _(source, head, batches, body_rate, head_rate):
    model = copy.deepcopy(source)
    body = {"params": model[:-1].parameters(), "lr": body_rate}
    optimizer = torch.optim.SGD([body, {"params": model[-1].parameters(), "lr": head_rate}])
    model.train()
    for images, labels in batches:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
    model[-1] = head
    return model


fine_tune.wrong(
    "from scratch",
    says="the body does not start from the source's weights",
    edit={
        "model = copy.deepcopy(source)": (
            "model = copy.deepcopy(source)\n"
            "for layer in model.modules():\n"
            "    if isinstance(layer, nn.Linear):\n"
            "        nn.init.ones_(layer.weight)"
        )
    },
)
