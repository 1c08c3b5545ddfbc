"""Chapters 1 to 1c: a training step, cross-entropy, accuracy, one batch, a loop with bugs, a bill.

Images are [n, 1, height, width] in [0, 1], labels [n]; networks are small, with weights drawn by
`toolkit.problem`.
"""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector

from vaetl_helpers.exercises.engine import Function, Values
from vaetl_helpers.exercises.forms import number, numbers, tensor
from vaetl_helpers.exercises.toolkit import (
    LEAVE_THE_MODE,
    LEFT_IN_EVAL,
    RETURNED,
    array,
    batches_of,
    count_updates,
    exercise,
    floats,
    leave_gradients,
    network,
    plain,
    problem,
    sgd,
    weights_of,
    whole_number,
)


def statistics_of(model: nn.Sequential) -> Tensor:
    """The running means and variances of a network with BatchNorm."""
    norm = model[2]
    return torch.stack([norm.get_buffer("running_mean"), norm.get_buffer("running_var")])


# training.step


@exercise(
    id="training.step",
    level=1,
    after="These four lines are the heart of every training run in this course.",
    minutes=10,
    points=2,
    hints=(
        "Four things in this order: clear the old gradients, compute the loss, its gradients, and "
        "update.",
        "optimizer.zero_grad() clears. F.cross_entropy takes the logits, model(images), as they "
        "are.",
        "loss = F.cross_entropy(model(images), labels); loss.backward(); optimizer.step(); return "
        "the loss.",
    ),
    form=number,
)
def step(model, optimizer, images, labels):
    """One training step on one batch;
    returns its mean cross-entropy, measured before the update.
    """
    optimizer.zero_grad()
    loss = F.cross_entropy(model(images), labels)
    loss.backward()
    optimizer.step()
    return loss.detach()


@step.draw
def _(seed: int) -> Values:
    return problem(seed, batches=3)


@step.drive
def _(function: Function, inputs: Values) -> Values:
    model = network(inputs)
    optimizer = sgd(model)
    updates = count_updates(optimizer)
    leave_gradients(model)
    losses = []
    weights = []
    for images, labels in batches_of(inputs):
        losses.append(function(model, optimizer, images, labels))
        weights.append(weights_of(model))
    gradients: list[Tensor] = []
    for parameter in model.parameters():
        if parameter.grad is None:
            gradients.append(torch.zeros_like(parameter))
        else:
            gradients.append(parameter.grad)
    return {
        "the returned losses": plain(losses),
        "weights": torch.stack(weights),
        "updates": len(updates),
        "gradients left": parameters_to_vector(gradients),  # only to name the error
        LEFT_IN_EVAL: int(not model.training),
    }


step.part("the update of the weights", points=1)
step.compare(
    "weights",
    "updates",
    says="the weights are not those after zero_grad, loss, backward, step",
)
step.part("the loss that is returned, and the mode that is left", points=1)
step.compare(
    "the returned losses",
    says="the returned loss is not the batch's mean loss before the update",
)
step.compare(LEFT_IN_EVAL, says=LEAVE_THE_MODE)

step.wrong(
    "no zero_grad",
    says="earlier gradients are added: optimizer.zero_grad() comes first",
    edit={"optimizer.zero_grad()": ""},
)
step.wrong(
    "zero_grad last",
    says="old gradients are added to your first step: clear them before it, not after",
    edit={
        "optimizer.zero_grad()": "",
        "optimizer.step()": "optimizer.step()\noptimizer.zero_grad()",
    },
)
step.wrong(
    "update before backward",
    says="the update comes before the gradients: first loss.backward()",
    edit={"loss.backward()": "optimizer.step()\nloss.backward()", "optimizer.step()": ""},
)
step.wrong(
    "no update",
    says="the weights have not moved: optimizer.step() was never called",
    edit={"optimizer.step()": ""},
)
step.wrong(
    "cleared between",
    says="the update found no gradients: clear them before loss.backward(), not after it",
    edit={"optimizer.zero_grad()": "", "loss.backward()": "loss.backward()\noptimizer.zero_grad()"},
)
step.wrong(
    "two updates",
    says="optimizer.step() was called twice in each step",
    edit={"optimizer.step()": "optimizer.step()\noptimizer.step()"},
)
step.wrong(
    "ascent",
    says="you climb the loss: the optimiser itself subtracts the gradient",
    edit={"loss.backward()": "(-loss).backward()"},
)
step.wrong(
    "softmax first",
    says="the softmax was applied twice: F.cross_entropy takes logits",
    edit={
        "loss = F.cross_entropy(model(images), labels)": (
            "loss = F.cross_entropy(model(images).softmax(1), labels)"
        )
    },
)
step.wrong(
    "sum",
    says="the loss is summed over the batch: take its mean",
    edit={
        "loss = F.cross_entropy(model(images), labels)": (
            "loss = F.cross_entropy(model(images), labels, reduction='sum')"
        )
    },
)
step.wrong(
    "update first, no zero_grad",
    says="changed between the forward pass and loss.backward()",
    edit={
        "optimizer.zero_grad()": "",
        "loss.backward()": "optimizer.step()\nloss.backward()",
        "optimizer.step()": "",
    },
)
step.wrong(
    "another loss returned",
    says="the returned loss is not",
    last_line="return loss.detach() * 2",
)
step.wrong(
    "eval mode",
    says="left in eval mode",
    edit={"optimizer.zero_grad()": "model.eval()\noptimizer.zero_grad()"},
)
step.wrong("no return", says="is a return missing?", last_line="loss.detach()")


# training.cross_entropy

LOSSES = ("the loss of ordinary logits", "the loss of huge logits")
GRADIENTS = ("the gradient for ordinary logits", "the gradient for huge logits")
RARE = 2  # the image whose label is as good as impossible
ROUNDED = (
    "a probability of exp(-1000) is rounded to 0, and 0 has no logarithm: take no logarithm of a "
    "softmax, but x - log(sum(exp(x)))"
)


@exercise(
    id="training.cross_entropy",
    level=2,
    after="Your loss is safe for logits of any size, as PyTorch's own is.",
    alternative="F.cross_entropy(logits, labels) does it all in one call.",
    minutes=15,
    points=3,
    hints=(
        "An image's loss is minus the log-probability of its label; log softmax(x) = x - "
        "log(sum(exp(x))).",
        "exp(1000) overflows; subtracting a row's own maximum from the row changes no probability.",
        "x = logits - logits.max(dim=1, keepdim=True).values. In x - x.exp().sum(dim=1, "
        "keepdim=True).log(), take the entries [torch.arange(len(labels)), labels]; return minus "
        "their mean.",
    ),
    form=tensor,
)
def cross_entropy(logits, labels):
    """The mean over the batch of -log softmax(logits)[label], in nats."""
    # The largest becomes 0, so exp cannot overflow.
    shifted = logits - logits.max(dim=1, keepdim=True).values
    log_probabilities = shifted - shifted.exp().sum(dim=1, keepdim=True).log()
    rows = torch.arange(len(labels), device=labels.device)
    return -log_probabilities[rows, labels].mean()


@cross_entropy.draw
def _(seed: int) -> Values:
    generator = torch.Generator().manual_seed(seed)
    count = whole_number(8, 11, generator)
    classes = whole_number(3, 6, generator)
    ordinary = 2 * torch.randn(count, classes, generator=generator)
    labels = torch.randint(classes, (count,), generator=generator)
    huge = ordinary.clone()
    huge[0] -= 1000  # one row far below, one far above: each needs a maximum of its own
    huge[1] += 1000
    huge[RARE, labels[RARE]] = -1000  # probability exp(-1000)
    return {"ordinary": ordinary, "huge": huge, "labels": labels}


@cross_entropy.drive
def _(function: Function, inputs: Values) -> Values:
    outputs: Values = {}
    names = zip(("ordinary", "huge"), LOSSES, GRADIENTS, strict=True)
    for logits_name, loss_name, gradient_name in names:
        logits = inputs[logits_name].clone().requires_grad_()
        loss = function(logits.clone(), inputs["labels"].clone())  # no leaf: it may be changed
        outputs[loss_name] = plain(loss)
        outputs[gradient_name] = "no gradient"
        if isinstance(loss, Tensor) and loss.requires_grad:
            (gradient,) = torch.autograd.grad(loss.sum(), logits, allow_unused=True)
            if gradient is not None:
                outputs[gradient_name] = gradient
    return outputs


cross_entropy.part("the loss of ordinary logits", points=1)
cross_entropy.compare(LOSSES[0], says="it is not the mean of log(sum(exp(logits))) - logits[label]")
cross_entropy.part("the loss of huge logits", points=1)
cross_entropy.compare(
    LOSSES[1],
    says="only huge logits go wrong: no clamp, and no small number inside the logarithm",
)
cross_entropy.part("the gradients", points=1)
cross_entropy.compare(
    *GRADIENTS, says="the gradient is not (softmax - one-hot) / n: is a part of it detached?"
)


@cross_entropy.judge
def _(inputs: Values, outputs: Values) -> str | None:
    loss = outputs.get(LOSSES[0])
    if isinstance(loss, str):
        return f"{LOSSES[0]}: expected one number, got {loss:.100}"
    if getattr(loss, "shape", None) == inputs["labels"].shape:
        return "you returned one loss an image: return their mean"
    gradients = [outputs.get(name) for name in GRADIENTS]
    if "no gradient" in [gradient for gradient in gradients if isinstance(gradient, str)]:
        return "no gradient reaches the logits: return a tensor, without .item() or .detach()"
    values = [floats(outputs, name, (), finite=False) for name in LOSSES]
    for name in GRADIENTS:
        values.append(floats(outputs, name, inputs["huge"].shape, finite=False))
    if not all(value.isfinite().all() for value in values):
        rows = values[-1].isfinite().all(dim=1)
        if rows.sum() == len(rows) - 1 and not rows[RARE]:
            return ROUNDED
        return (
            "logits of 1000 give infinity or NaN: subtract each row's own maximum before "
            "exponentials"
        )
    return cross_entropy.compared(inputs, outputs)


cross_entropy.wrong(
    "sum",
    says="you summed over the images: take the mean",
    last_line="return -log_probabilities[rows, labels].sum()",
)
cross_entropy.wrong(
    "sign",
    says="the sign is wrong: the loss is minus the log-probability",
    last_line="return log_probabilities[rows, labels].mean()",
)
cross_entropy.wrong(
    "base 2",
    says="that is in bits: the natural logarithm gives nats",
    last_line="return -log_probabilities[rows, labels].mean() / 0.6931472",
)
cross_entropy.wrong(
    "dim 0",
    says="the softmax runs over the images, not the classes: dim=1",
    edit={
        "shifted = logits - logits.max(dim=1, keepdim=True).values": (
            "shifted = logits - logits.max(dim=0, keepdim=True).values"
        ),
        "log_probabilities = shifted - shifted.exp().sum(dim=1, keepdim=True).log()": (
            "log_probabilities = shifted - shifted.exp().sum(dim=0, keepdim=True).log()"
        ),
    },
)
cross_entropy.wrong(
    "mean over classes",
    says="you averaged over the classes too: one log-probability an image, then their mean",
    last_line="return -log_probabilities[rows, labels].mean() / logits.shape[1]",
)
cross_entropy.wrong(
    "all pairs",
    says="every image met every label: index rows too, as in [torch.arange(n), labels]",
    last_line="return -log_probabilities[:, labels].mean()",
)
cross_entropy.wrong(
    "no maximum",
    says="subtract each row's own maximum",
    edit={"shifted = logits - logits.max(dim=1, keepdim=True).values": "shifted = logits"},
)
cross_entropy.wrong(
    "log of softmax",
    says=ROUNDED,
    last_line="return -shifted.softmax(dim=1).log()[rows, labels].mean()",
)
cross_entropy.wrong(
    "one maximum",
    says="subtract each row's own maximum",
    edit={
        "shifted = logits - logits.max(dim=1, keepdim=True).values": (
            "shifted = logits - logits.max()"
        )
    },
)
cross_entropy.wrong(
    "epsilon",
    says="no small number inside",
    last_line="return -(log_probabilities.exp() + 1e-9).log()[rows, labels].mean()",
)
cross_entropy.wrong(
    "detached",
    says="no gradient reaches the logits",
    last_line="return -log_probabilities[rows, labels].mean().item()",
)
cross_entropy.wrong(
    "part detached",
    says="is a part of it detached?",
    edit={
        "log_probabilities = shifted - shifted.exp().sum(dim=1, keepdim=True).log()": (
            "log_probabilities = shifted - shifted.exp().sum(dim=1, keepdim=True).log().detach()"
        )
    },
)
cross_entropy.wrong(
    "no return",
    says="None (is a return missing?)",
    last_line="loss = -log_probabilities[rows, labels].mean()",
)
cross_entropy.wrong(
    "not averaged",
    says="one loss an image",
    last_line="return -log_probabilities[rows, labels]",
)


# training.accuracy


@exercise(
    id="training.accuracy",
    level=2,
    after="It counts images and not batches, so a smaller last batch weighs no more than it "
    "should.",
    alternative="torchmetrics.functional.accuracy counts for you, once you have collected the "
    "labels.",
    minutes=15,
    points=3,
    hints=(
        "Count right answers and images over all batches, and divide once, at the end.",
        "Evaluate in eval mode, model.eval(), and without gradients, torch.no_grad(); restore the "
        "mode.",
        "A batch has (model(images).argmax(dim=1) == labels).sum().item() right answers. "
        "was_training = model.training before model.eval(), and model.train(was_training) after "
        "the loop.",
    ),
    form=number,
)
def accuracy(model, batches):
    """The fraction of all images in `batches`, pairs of images and labels,
    that `model` classifies correctly.
    """
    was_training = model.training
    model.eval()
    correct, seen = 0, 0
    with torch.no_grad():
        for images, labels in batches:
            correct += (model(images).argmax(dim=1) == labels).sum().item()
            seen += len(labels)
    model.train(was_training)
    return correct / seen


@accuracy.draw
def _(seed: int) -> Values:
    values = problem(seed, batches=4)
    size = values["batch_size"]
    values["images"] = values["images"][: 3 * size + 2 + seed % 2]
    model = network(values, norm=True).eval()
    predicted = model(values["images"]).argmax(dim=1)
    place = torch.arange(len(predicted))
    is_wrong = place % size == 0  # one a batch, also of the last, which is smaller
    return values | {"labels": (predicted + is_wrong) % values["classes"]}


@accuracy.drive
def _(function: Function, inputs: Values) -> Values:
    results = []
    statistics = []
    modes_left = []
    frozen = 0
    passes_in_train_mode = []
    passes_with_gradients = []

    def note(module: nn.Module, _: tuple) -> None:
        passes_in_train_mode.append(module.training)
        passes_with_gradients.append(torch.is_grad_enabled())

    for mode in (True, False):
        model = network(inputs, norm=True).train(mode)
        model[0].register_forward_pre_hook(note)
        results.append(function(model, batches_of(inputs)))
        statistics.append(statistics_of(model))
        modes_left.append(model.training)
        frozen += sum(not parameter.requires_grad for parameter in model.parameters())
    return {
        "the returned accuracies": plain(results),
        "statistics": torch.stack(statistics),
        "passes in train mode": sum(passes_in_train_mode),
        "passes with gradients": sum(passes_with_gradients),
        "modes left": plain(modes_left),
        "parameters frozen": frozen,
    }


accuracy.compare(
    "passes in train mode",
    "statistics",
    says="the model ran in train mode, which also moves BatchNorm's statistics: call model.eval() "
    "first",
)
accuracy.compare(
    "passes with gradients",
    says="gradients were recorded: put the loop under torch.no_grad()",
)
accuracy.compare(
    "modes left",
    says="the model was not left in the mode it came in: note model.training, restore it",
)
accuracy.compare(
    "parameters frozen",
    says="the model cannot learn any more: torch.no_grad() is enough, leave requires_grad as it is",
)
accuracy.compare(
    "the returned accuracies",
    says="it is not right answers / images: compare argmax(dim=1) with the labels",
)

accuracy.wrong(
    "mean of batches",
    says="you averaged the per-batch accuracies: the last batch is smaller, so count images",
    edit={
        "correct += (model(images).argmax(dim=1) == labels).sum().item()": (
            "correct += (model(images).argmax(dim=1) == labels).float().mean().item()"
        ),
        "seen += len(labels)": "seen += 1",
    },
)
accuracy.wrong(
    "full batches",
    says="you divided by batches x batch size: the last batch is smaller, so count images",
    last_line="return correct / (len(batches) * len(batches[0][1]))",
)
accuracy.wrong(
    "percent",
    says="that is in percent: return a fraction, 0 to 1",
    last_line="return 100 * correct / seen",
)
accuracy.wrong(
    "error rate",
    says="that is the share of wrong answers: count the right ones",
    edit={
        "correct += (model(images).argmax(dim=1) == labels).sum().item()": (
            "correct += (model(images).argmax(dim=1) != labels).sum().item()"
        )
    },
)
accuracy.wrong(
    "count",
    says="that is a count: divide it by the number of images",
    last_line="return correct",
)
accuracy.wrong(
    "last batch",
    says="that is the last batch alone: set the counts to 0 before the loop",
    edit={
        "correct += (model(images).argmax(dim=1) == labels).sum().item()": (
            "correct = (model(images).argmax(dim=1) == labels).sum().item()"
        ),
        "seen += len(labels)": "seen = len(labels)",
    },
)
accuracy.wrong(
    "train mode",
    says="the model ran in train mode",
    edit={"model.eval()": ""},
)
accuracy.wrong(
    "left in eval mode",
    says="was not left in the mode it came in",
    edit={"model.train(was_training)": ""},
)
accuracy.wrong(
    "left in train mode",
    says="was not left in the mode it came in",
    edit={"model.train(was_training)": "model.train(True)"},
)
accuracy.wrong(
    "frozen",
    says="the model cannot learn any more",
    edit={"model.eval()": "model.eval()\nmodel.requires_grad_(False)"},
)
accuracy.wrong(
    "switched off",
    says="gradients are switched off for all cells that follow",
    edit={"with torch.no_grad():": "torch.set_grad_enabled(False)\nif True:"},
)
accuracy.wrong(
    "gradients",
    says="gradients were recorded",
    edit={"with torch.no_grad():": "with torch.enable_grad():"},
)


# training.overfit_one_batch


@exercise(
    id="training.overfit_one_batch",
    level=1,
    after="A network that learns one batch by heart can learn: loop, loss and gradients belong "
    "together.",
    minutes=10,
    points=2,
    hints=(
        "It is the training step again and again, on the same images and labels.",
        "A step returns the loss before its update; the list wants plain numbers: .item().",
        "for _ in range(steps): losses.append(step(model, optimizer, images, labels).item())",
    ),
    form=numbers,
)
def overfit_one_batch(model, optimizer, images, labels, steps):
    """Trains on one batch again and again;
    returns the loss of each step as a list of floats, in nats.
    """
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@overfit_one_batch.draw
def _(seed: int) -> Values:
    return problem(seed, batches=1) | {"steps": 24 + seed % 7}


@overfit_one_batch.drive
def _(function: Function, inputs: Values) -> Values:
    model = network(inputs)
    sums: list[float] = []
    model[0].register_forward_pre_hook(lambda _, images: sums.append(images[0].sum().item()))
    images, labels = batches_of(inputs)[0]
    losses = function(model, sgd(model), images, labels, inputs["steps"])
    with_graph = 0
    for loss in losses if isinstance(losses, (list, tuple)) else [losses]:
        with_graph += isinstance(loss, Tensor) and loss.requires_grad
    extremes = [min(sums, default=0.0), max(sums, default=0.0)]  # over all passes
    return {
        "the list of losses": plain(losses),
        "losses with a graph": with_graph,
        "weights": weights_of(model),
        "sums of images": torch.tensor(extremes),
        LEFT_IN_EVAL: int(not model.training),
    }


overfit_one_batch.compare(
    "losses with a graph",
    says="each loss in the list keeps its graph in memory: append loss.item()",
)
overfit_one_batch.compare(
    "sums of images",
    says="the model saw other images: every step takes the same batch, unchanged",
)
overfit_one_batch.compare(
    "the list of losses",
    "weights",
    says="the losses are not those of so many training steps on this batch",
)
overfit_one_batch.compare(LEFT_IN_EVAL, says=LEAVE_THE_MODE)

overfit_one_batch.wrong(
    "no zero_grad",
    says="gradients add up over the steps: optimizer.zero_grad() in each",
    edit={"optimizer.zero_grad()": ""},
)
overfit_one_batch.wrong(
    "no update",
    says="the weights never move: optimizer.step() after loss.backward()",
    edit={"optimizer.step()": ""},
)
overfit_one_batch.wrong(
    "loss after the update",
    says="these are the losses after each update: note those that the steps computed",
    edit={
        "losses.append(loss.item())": (
            "losses.append(F.cross_entropy(model(images), labels).item())"
        )
    },
)
overfit_one_batch.wrong(
    "new images",
    says="the model saw other images",
    edit={
        "loss = F.cross_entropy(model(images), labels)": (
            "loss = F.cross_entropy(model(torch.rand_like(images)), labels)"
        )
    },
)
overfit_one_batch.wrong(
    "half the batch",
    says="the model saw other images",
    edit={
        "loss = F.cross_entropy(model(images), labels)": (
            "loss = F.cross_entropy(model(images[::2]), labels[::2])"
        )
    },
)
overfit_one_batch.wrong(
    "eval mode",
    says="left in eval mode",
    edit={"losses = []": "losses = []\nmodel.eval()"},
)
overfit_one_batch.wrong(
    "one step",
    says="the list of losses: expected",
    edit={"losses.append(loss.item())": "losses.append(loss.item())\nbreak"},
)
overfit_one_batch.wrong(
    "graphs kept",
    says="append loss.item()",
    edit={"losses.append(loss.item())": "losses.append(loss)"},
)


# training.debug_loop

ADDED = "gradients add up over the batches, zero_grad is missing"
EARLY = "the update comes before loss.backward()"
TRAIN = "the test images meet a model in train mode, which also moves BatchNorm's statistics"
STUCK = "the model does not go back to train mode after the first evaluation"


@exercise(
    id="training.debug_loop",
    level=3,
    after="None of the three bugs raised an error: a strange curve is all the warning one gets.",
    minutes=20,
    points=4,
    hints=(
        "Follow one batch line by line: which gradients does the update use, and what was added "
        "to them?",
        "Two bugs are in the training step. The third: what do dropout and BatchNorm do with test "
        "images?",
        "Each batch: zero_grad, loss, backward, step. model.eval() before the test batches, "
        "model.train() at the start of every epoch.",
    ),
    form=numbers,
)
def train_and_evaluate(model, optimizer, train_batches, test_batches, epochs):
    """Trains, and returns the accuracy on the test batches after each epoch,
    as a list of floats.
    """
    accuracies = []
    for _ in range(epochs):
        model.train()
        for images, labels in train_batches:
            optimizer.zero_grad()  # bug 1: gradients were never cleared and added up
            loss = F.cross_entropy(model(images), labels)
            loss.backward()  # bug 2: the step came before the backward pass
            optimizer.step()
        model.eval()  # bug 3: evaluated in training mode
        correct, seen = 0, 0
        with torch.no_grad():
            for images, labels in test_batches:
                correct += (model(images).argmax(dim=1) == labels).sum().item()
                seen += len(labels)
        accuracies.append(correct / seen)
    return accuracies


@train_and_evaluate.draw
def _(seed: int) -> Values:
    values = problem(seed, batches=5)
    split = 3 * values["batch_size"]
    for name in ("images", "labels"):
        rows = values[name]
        values[name] = rows[:split]
        values[f"test_{name}"] = rows[split:-2]
    return values | {"epochs": 2 + seed % 2}


@train_and_evaluate.drive
def _(function: Function, inputs: Values) -> Values:
    model = network(inputs, norm=True)
    train = batches_of(inputs)
    test = batches_of(inputs, "test_")
    accuracies = function(model, sgd(model), train, test, inputs["epochs"])
    return {
        "the list of accuracies": plain(accuracies),
        "weights": weights_of(model),
        "statistics": statistics_of(model),
    }


train_and_evaluate.compare(
    "weights",
    "statistics",
    "the list of accuracies",
    says="weights or accuracies are not those of the repaired loop: mend the three bugs only",
)


class Bugs(NamedTuple):
    """Bugs that an edit puts into the repaired loop."""

    names: tuple[str, ...]
    edit: dict[str, str]


TRAINING_BUGS = (
    Bugs((), {}),
    Bugs((ADDED,), {"optimizer.zero_grad()": ""}),
    Bugs(
        (EARLY,),
        {"loss.backward()": "optimizer.step()\nloss.backward()", "optimizer.step()": ""},
    ),
    Bugs(
        (EARLY,),
        {
            "optimizer.zero_grad()": "optimizer.step()\noptimizer.zero_grad()",
            "optimizer.step()": "",
        },
    ),
    Bugs((ADDED, EARLY), {"optimizer.zero_grad()": "optimizer.step()", "optimizer.step()": ""}),
)
MODE_BUGS = (
    Bugs((), {}),
    Bugs((TRAIN,), {"model.eval()": ""}),
    Bugs((STUCK,), {"model.train()": ""}),
)

for training_bugs, mode_bugs in product(TRAINING_BUGS, MODE_BUGS):
    names = training_bugs.names + mode_bugs.names
    if names:
        train_and_evaluate.wrong(
            " / ".join(names),
            says=f"still in the loop: {'; '.join(names)}",
            edit=training_bugs.edit | mode_bugs.edit,
        )
train_and_evaluate.wrong(
    "last accuracy",
    says="the list of accuracies: expected",
    last_line="return accuracies[-1]",
)


@train_and_evaluate.broken("the loop as found", says=f"{ADDED}; {EARLY}; {TRAIN}")
def buggy_train_and_evaluate(model, optimizer, train_batches, test_batches, epochs):
    """Trains, and returns the accuracy on the test batches after each epoch.
    Three lines are wrong or missing.
    """
    accuracies = []
    for _ in range(epochs):
        model.train()
        for images, labels in train_batches:
            optimizer.step()
            loss = F.cross_entropy(model(images), labels)
            loss.backward()
        correct, seen = 0, 0
        with torch.no_grad():
            for images, labels in test_batches:
                correct += (model(images).argmax(dim=1) == labels).sum().item()
                seen += len(labels)
        accuracies.append(correct / seen)
    return accuracies


# training.bill, of chapter 1c

OPERATIONS = "the operations"
HOURS = "the hours"
ENERGY = "the kilowatt-hours"


@exercise(
    id="training.bill",
    level=1,
    after="Five numbers on the back of an envelope say what a run will cost, before it is paid.",
    minutes=10,
    points=3,
    hints=(
        "In one epoch, an example takes 2 operations per parameter forward, and twice as many "
        "backward.",
        "Operations divided by operations per second are seconds, and an hour has 3,600 of them.",
        "A machine of 1,000 watts takes one kilowatt-hour in an hour: watts / 1000 * hours.",
    ),
    form=numbers,
)
def training_bill(parameters, examples, epochs, rate, watts):
    """What training will cost: its operations (FLOPs), its hours, its kilowatt-hours.
    `rate` is in FLOPs per second; each example meets each parameter once.
    """
    flops = 6 * parameters * examples * epochs
    hours = flops / rate / 3600
    kilowatt_hours = watts / 1000 * hours
    return flops, hours, kilowatt_hours


@training_bill.draw
def _(seed: int) -> Values:
    generator = torch.Generator().manual_seed(seed)
    runs = []
    for _ in range(3 + seed % 5):
        parameters = 10_000 * whole_number(200, 999, generator)
        examples = 1_000 * whole_number(200, 599, generator)
        epochs = whole_number(2, 5, generator)
        rate = 1_000_000 * whole_number(300, 999, generator)
        watts = whole_number(100, 400, generator)
        runs.append([parameters, examples, epochs, rate, watts])
    return {"runs": torch.tensor(runs)}


@training_bill.drive
def _(function: Function, inputs: Values) -> Values:
    bills = []
    for run in inputs["runs"].tolist():
        bill = array(function(*run))
        if not isinstance(bill, Tensor) or bill.shape != (3,):
            expected = "three numbers were expected (operations, hours, kilowatt-hours)"
            return {RETURNED: f"{expected}, got {plain(bill)!s:.80}"}
        bills.append(bill)
    flops, hours, kilowatt_hours = torch.stack(bills, 1)
    return {
        OPERATIONS: flops / 1e12,  # small, since an absolute tolerance goes with the relative one
        HOURS: hours,
        ENERGY: kilowatt_hours,
    }


training_bill.part("the operations", points=1)
training_bill.compare(
    OPERATIONS,
    says="the operations are not 6 · parameters · examples · epochs",
)
training_bill.part("the hours", points=1)
training_bill.compare(
    HOURS,
    says="the hours are not the operations / rate / 3600",
)
training_bill.part("the energy", points=1)
training_bill.compare(
    ENERGY,
    says="the kilowatt-hours are not the hours times the kilowatts that the machine draws",
)

training_bill.wrong(
    "forward only",
    says="2 per parameter is the forward pass alone: the backward pass takes twice as much",
    edit={
        "flops = 6 * parameters * examples * epochs": ("flops = 2 * parameters * examples * epochs")
    },
)
training_bill.wrong(
    "backward only",
    says="4 per parameter is the backward pass alone: add the forward pass",
    edit={
        "flops = 6 * parameters * examples * epochs": ("flops = 4 * parameters * examples * epochs")
    },
)
training_bill.wrong(
    "multiplications only",
    says="you counted multiplications only: each comes with an addition",
    edit={
        "flops = 6 * parameters * examples * epochs": ("flops = 3 * parameters * examples * epochs")
    },
)
training_bill.wrong(
    "one epoch",
    says="that is the bill of one epoch: each epoch passes over all examples again",
    edit={"flops = 6 * parameters * examples * epochs": "flops = 6 * parameters * examples"},
)
training_bill.wrong(
    "one example",
    says="the examples are missing: each of them meets every parameter",
    edit={"flops = 6 * parameters * examples * epochs": "flops = 6 * parameters * epochs"},
)
training_bill.wrong(
    "seconds",
    says="these are seconds: an hour has 3,600 of them",
    edit={"hours = flops / rate / 3600": "hours = flops / rate"},
)
training_bill.wrong(
    "minutes",
    says="these are minutes: an hour has 60 of them",
    edit={"hours = flops / rate / 3600": "hours = flops / rate / 60"},
)
training_bill.wrong(
    "upside down",
    says="the fraction is upside down: divide the operations by the rate",
    edit={"hours = flops / rate / 3600": "hours = rate / flops / 3600"},
)
training_bill.wrong(
    "watt-hours",
    says="these are watt-hours: a kilowatt is 1,000 watts",
    edit={"kilowatt_hours = watts / 1000 * hours": "kilowatt_hours = watts * hours"},
)
training_bill.wrong(
    "joules",
    says="these are joules, watts times seconds: a kilowatt-hour has 3.6 million of them",
    edit={"kilowatt_hours = watts / 1000 * hours": "kilowatt_hours = watts * hours * 3600"},
)
training_bill.wrong(
    "kilowatts",
    says="that is the power, in kilowatts: energy is power times time",
    edit={"kilowatt_hours = watts / 1000 * hours": "kilowatt_hours = watts / 1000"},
)
training_bill.wrong(
    "per kilowatt",
    says="the hours are divided by the power: energy is power times time",
    edit={"kilowatt_hours = watts / 1000 * hours": "kilowatt_hours = hours / (watts / 1000)"},
)
training_bill.wrong(
    "another order",
    says="the three numbers come in this order: operations, hours, kilowatt-hours",
    last_line="return flops, kilowatt_hours, hours",
)
training_bill.wrong(
    "energy only",
    says="three numbers were expected",
    last_line="return kilowatt_hours",
)
training_bill.wrong(
    "no return",
    says="None (is a return missing?)",
    last_line="bill = flops, hours, kilowatt_hours",
)
