"""Chapter 1: a training step, cross-entropy, accuracy, overfitting one batch, a loop with three planted bugs.

Images are [n, 1, height, width] in [0, 1], labels [n]; networks are small, with weights drawn by `_problem`.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from vaetl_helpers.exercises import (
    Exercise,
    Values,
    Wrong,
    floats,
    judged,
    mutants,
    plain,
    recomputed,
)

# The reference solutions, as a learner would write them: `solution` prints these.


def step(model, optimizer, images, labels):
    """One training step; returns the loss before the update."""
    optimizer.zero_grad()  # gradients add up until they are cleared
    loss = F.cross_entropy(model(images), labels)
    loss.backward()
    optimizer.step()
    return loss.detach()  # the number, without the graph that made it


def cross_entropy(logits, labels):
    """Mean cross-entropy in nats of logits [n, classes] and labels [n]."""
    shifted = (
        logits - logits.max(dim=1, keepdim=True).values
    )  # the largest is 0: exp cannot overflow
    log_probabilities = shifted - shifted.exp().sum(dim=1, keepdim=True).log()
    return -log_probabilities[torch.arange(len(labels)), labels].mean()


def accuracy(model, batches):
    """Fraction of all images in these batches that the model classifies correctly."""
    was_training = model.training
    model.eval()
    right = total = 0
    with torch.no_grad():
        for images, labels in batches:
            right += (model(images).argmax(dim=1) == labels).sum().item()
            total += len(labels)
    model.train(was_training)
    return right / total


def overfit_one_batch(model, optimizer, images, labels, steps):
    """Losses of so many training steps on one batch: they should fall to almost 0."""
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())  # the tensor would keep its graph in memory
    return losses


def train_and_evaluate(model, optimizer, train_batches, test_batches, epochs):
    """Test accuracy after each epoch of training."""
    accuracies = []
    for _ in range(epochs):
        model.train()
        for images, labels in train_batches:
            optimizer.zero_grad()  # was missing
            loss = F.cross_entropy(model(images), labels)
            loss.backward()  # was below the update
            optimizer.step()
        model.eval()  # was missing
        right = total = 0
        with torch.no_grad():
            for images, labels in test_batches:
                right += (model(images).argmax(dim=1) == labels).sum().item()
                total += len(labels)
        accuracies.append(right / total)
    return accuracies


def buggy_loop(model, optimizer, train_batches, test_batches, epochs):
    """Test accuracy after each epoch of training, with three bugs."""
    accuracies = []
    for _ in range(epochs):
        model.train()
        for images, labels in train_batches:
            optimizer.step()
            loss = F.cross_entropy(model(images), labels)
            loss.backward()
        right = total = 0
        with torch.no_grad():
            for images, labels in test_batches:
                right += (model(images).argmax(dim=1) == labels).sum().item()
                total += len(labels)
        accuracies.append(right / total)
    return accuracies


# Shared by the exercises: a small problem, and the network and optimiser made from it.


def _problem(seed: int, batches: int) -> Values:
    """So many full batches, and sizes and weights of a network."""
    generator = torch.Generator().manual_seed(seed)
    sizes = [int(torch.randint(low, low + 4, (), generator=generator)) for low in (5, 3, 5, 3, 3)]
    hidden, classes, size, height, width = sizes
    weights = (
        hidden * (height * width + 3 + classes) + classes
    )  # with BatchNorm; without it, fewer are used
    return {
        "hidden": hidden,
        "classes": classes,
        "batch_size": size,
        "images": torch.rand(batches * size, 1, height, width, generator=generator),
        "labels": torch.randint(classes, (batches * size,), generator=generator),
        "weights": torch.randn(weights, generator=generator) / 2,
        "statistics": torch.rand(2, hidden, generator=generator)
        + 0.5,  # BatchNorm's means and variances
    }


def _network(inputs: Values, norm: bool = False) -> nn.Sequential:
    """Logits [n, classes] from images; `norm` adds BatchNorm, which gives other results in train mode."""
    pixels, hidden = inputs["images"][0].numel(), inputs["hidden"]
    first, last = nn.Linear(pixels, hidden), nn.Linear(hidden, inputs["classes"])
    model = nn.Sequential(nn.Flatten(), first, nn.Tanh(), last)
    if norm:
        model.insert(2, nn.BatchNorm1d(hidden))
        model[2].running_mean, model[2].running_var = inputs["statistics"].clone()
    vector_to_parameters(inputs["weights"].clone(), model.parameters())
    return model


def _sgd(model: nn.Module) -> torch.optim.SGD:
    return torch.optim.SGD(model.parameters(), lr=0.3, momentum=0.5)


def _batches(inputs: Values, part: str = "") -> list[tuple[Tensor, Tensor]]:
    size = inputs["batch_size"]
    return list(
        zip(inputs[part + "images"].split(size), inputs[part + "labels"].split(size), strict=True)
    )


def _weights(model: nn.Module) -> Tensor:
    return parameters_to_vector(model.parameters()).detach().clone()


def _statistics(model: nn.Sequential) -> Tensor:
    return torch.stack([model[2].running_mean, model[2].running_var])


# training.step


def _drive_step(function: Callable, inputs: Values) -> Values:
    model = _network(inputs)
    optimizer, losses, weights, updates = _sgd(model), [], [], []
    optimizer.register_step_post_hook(lambda *_: updates.append(1))
    for parameter in model.parameters():
        parameter.grad = parameter.detach().clone()  # left from before the first step
    for images, labels in _batches(inputs):
        losses.append(function(model, optimizer, images, labels))
        weights.append(_weights(model))
    left = [torch.zeros_like(p) if p.grad is None else p.grad for p in model.parameters()]
    outputs = {"the returned losses": plain(losses), "weights": torch.stack(weights)}
    return outputs | {"updates": len(updates), "gradients left": parameters_to_vector(left)}


ZERO, BACKWARD, UPDATE = "optimizer.zero_grad()", "loss.backward()", "optimizer.step()"
WRONG_STEPS = mutants(
    step,
    (
        "no zero_grad",
        "earlier gradients are added: optimizer.zero_grad() comes first",
        {ZERO: "pass"},
    ),
    (
        "zero_grad last",
        "old gradients are added to your first step: clear them before it, not after",
        {ZERO: "pass", UPDATE: f"{UPDATE}; {ZERO}"},
    ),
    (
        "update before backward",
        "the update comes before the gradients: first loss.backward()",
        {UPDATE: "pass", BACKWARD: f"{UPDATE}; {BACKWARD}"},
    ),
    (
        "no update",
        "the weights have not moved: optimizer.step() was never called",
        {UPDATE: "pass"},
    ),
    (
        "cleared between",
        "the update found no gradients: clear them before loss.backward(), not after it",
        {ZERO: "pass", BACKWARD: f"{BACKWARD}; {ZERO}"},
    ),
    (
        "two updates",
        "optimizer.step() was called twice in each step",
        {UPDATE: f"{UPDATE}; {UPDATE}"},
    ),
    (
        "ascent",
        "you climb the loss: the optimiser itself subtracts the gradient",
        {"loss.b": "(-loss).b"},
    ),
    (
        "softmax first",
        "the softmax was applied twice: F.cross_entropy takes logits",
        {"(images)": "(images).softmax(1)"},
    ),
    (
        "sum",
        "the loss is summed over the batch: take its mean",
        {"labels)\n": "labels, reduction='sum')\n"},
    ),
    (
        "update first, no zero_grad",
        "changed between the forward pass and loss.backward()",
        {ZERO: "pass", UPDATE: "pass", BACKWARD: f"{UPDATE}; {BACKWARD}"},
    ),
    ("another loss returned", "the returned loss is not", {"loss.detach()": "loss.detach() * 2"}),
    ("no return", "is a return missing?", {"return ": ""}),
)
_judge_step = recomputed(
    _drive_step,
    step,
    (
        ("weights", "updates"),
        "the weights are not those after zero_grad, loss, backward, step",
        WRONG_STEPS,
    ),
    (("the returned losses",), "the returned loss is not the batch's mean loss before the update"),
)


# training.cross_entropy

LOSSES = ("the loss of ordinary logits", "the loss of huge logits")
GRADIENTS = ("the gradient for ordinary logits", "the gradient for huge logits")


def _draw_cross_entropy(seed: int) -> Values:
    generator = torch.Generator().manual_seed(seed)
    count, classes = (int(torch.randint(low, low + 4, (), generator=generator)) for low in (8, 3))
    ordinary = 2 * torch.randn(count, classes, generator=generator)
    labels = torch.randint(classes, (count,), generator=generator)
    huge = ordinary.clone()
    huge[0] -= 1000  # one row far below, one far above: each needs a maximum of its own
    huge[1] += 1000
    huge[2, labels[2]] = -1000  # probability exp(-1000)
    return {"ordinary": ordinary, "huge": huge, "labels": labels}


def _drive_cross_entropy(function: Callable, inputs: Values) -> Values:
    outputs: Values = {}
    for name, loss_name, gradient_name in zip(("ordinary", "huge"), LOSSES, GRADIENTS, strict=True):
        logits = inputs[name].clone().requires_grad_()
        loss = function(logits, inputs["labels"])
        follows = isinstance(loss, Tensor) and loss.requires_grad
        gradient = (
            torch.autograd.grad(loss.sum(), logits, allow_unused=True)[0] if follows else None
        )
        outputs |= {
            loss_name: plain(loss),
            gradient_name: "no gradient" if gradient is None else gradient,
        }
    return outputs


WRONG_ENTROPIES = mutants(
    cross_entropy,
    ("sum", "you summed over the images: take the mean", {".mean()": ".sum()"}),
    ("sign", "the sign is wrong: the loss is minus the log-probability", {"return -": "return "}),
    (
        "base 2",
        "that is in bits: the natural logarithm gives nats",
        {".mean()": ".mean() / 0.6931472"},
    ),
    ("dim 0", "the softmax runs over the images, not the classes: dim=1", {"dim=1": "dim=0"}),
    (
        "mean over classes",
        "you averaged over the classes too: one log-probability an image, then their mean",
        {".mean()": ".mean() / logits.shape[1]"},
    ),
    (
        "all pairs",
        "every image met every label: index rows too, as in [torch.arange(n), labels]",
        {"torch.arange(len(labels))": ":"},
    ),
    (
        "no maximum",
        "subtract each row's own maximum",
        {" - logits.max(dim=1, keepdim=True).values": ""},
    ),
    (
        "one maximum",
        "subtract each row's own maximum",
        {"max(dim=1, keepdim=True).values": "max()"},
    ),
    (
        "epsilon",
        "no small number inside",
        {"-log_probabilities": "-(log_probabilities.exp() + 1e-9).log()"},
    ),
    ("detached", "no gradient reaches the logits", {".mean()": ".mean().item()"}),
    ("part detached", "is a part of it detached?", {".log()": ".log().detach()"}),
    ("not averaged", "one loss an image", {".mean()": ""}),
)


@judged
def _judge_cross_entropy(inputs: Values, outputs: Values) -> str | None:
    if getattr(outputs.get(LOSSES[0]), "shape", None) == inputs["labels"].shape:
        return "you returned one loss an image: return their mean"
    if "no gradient" in [outputs.get(name) for name in GRADIENTS]:
        return "no gradient reaches the logits: return a tensor, without .item() or .detach()"
    values = [floats(outputs, name, (), finite=False) for name in LOSSES]
    values += [floats(outputs, name, inputs["huge"].shape, finite=False) for name in GRADIENTS]
    if not all(value.isfinite().all() for value in values):
        return "logits of 1000 give infinity or NaN: subtract each row's own maximum before exponentials"
    return recomputed(
        _drive_cross_entropy,
        cross_entropy,
        (
            LOSSES[:1],
            "it is not the mean of log(sum(exp(logits))) - logits[label]",
            WRONG_ENTROPIES,
        ),
        (
            LOSSES[1:],
            "only huge logits go wrong: no clamp, and no small number inside the logarithm",
        ),
        (GRADIENTS, "the gradient is not (softmax - one-hot) / n: is a part of it detached?"),
    )(inputs, outputs)


# training.accuracy


def _draw_accuracy(seed: int) -> Values:
    values = _problem(seed, batches=4)
    size = values["batch_size"]
    values["images"] = values["images"][: 3 * size + 2 + seed % 2]
    predicted = _network(values, norm=True).eval()(values["images"]).argmax(dim=1)
    place = torch.arange(len(predicted))
    wrong = place % size == 0  # one a batch, also of the last, which is smaller
    return values | {"labels": (predicted + wrong) % values["classes"]}


def _drive_accuracy(function: Callable, inputs: Values) -> Values:
    results, statistics, left, training, gradients = [], [], [], [], []
    for mode in (True, False):
        model = _network(inputs, norm=True).train(mode)
        model[0].register_forward_pre_hook(lambda module, _: training.append(module.training))
        model[0].register_forward_pre_hook(lambda *_: gradients.append(torch.is_grad_enabled()))
        results.append(function(model, _batches(inputs)))
        statistics.append(_statistics(model))
        left.append(model.training)
    outputs = {"the returned accuracies": plain(results), "statistics": torch.stack(statistics)}
    passes = {"passes in train mode": sum(training), "passes with gradients": sum(gradients)}
    return outputs | passes | {"modes left": plain(left)}


WRONG_ACCURACIES = mutants(
    accuracy,
    (
        "mean of batches",
        "you averaged the per-batch accuracies: the last batch is smaller, so count images",
        {".sum().item()": ".float().mean().item()", "len(labels)": "1"},
    ),
    (
        "full batches",
        "you divided by batches x batch size: the last batch is smaller, so count images",
        {"/ total": "/ (len(batches) * len(batches[0][1]))"},
    ),
    ("percent", "that is in percent: return a fraction, 0 to 1", {"return": "return 100 *"}),
    ("error rate", "that is the share of wrong answers: count the right ones", {"==": "!="}),
    ("count", "that is a count: divide it by the number of images", {" / total": ""}),
    (
        "last batch",
        "that is the last batch alone: set the counts to 0 before the loop",
        {"            right +=": "            right = total = 0\n            right +="},
    ),
    ("train mode", "the model ran in train mode", {"model.eval()": "pass"}),
    (
        "left in eval mode",
        "was not left in the mode it came in",
        {"model.train(was_training)": "pass"},
    ),
    ("left in train mode", "was not left in the mode it came in", {"was_training)": "True)"}),
    ("gradients", "gradients were recorded", {"no_grad": "enable_grad"}),
)
_judge_accuracy = recomputed(
    _drive_accuracy,
    accuracy,
    (
        ("passes in train mode", "statistics"),
        "the model ran in train mode, which also moves BatchNorm's statistics: call model.eval() first",
    ),
    (("passes with gradients",), "gradients were recorded: put the loop under torch.no_grad()"),
    (
        ("modes left",),
        "the model was not left in the mode it came in: note model.training, restore it",
    ),
    (
        ("the returned accuracies",),
        "it is not right answers / images: compare argmax(dim=1) with the labels",
        WRONG_ACCURACIES,
    ),
)


# training.overfit_one_batch


def _draw_overfit(seed: int) -> Values:
    return _problem(seed, batches=1) | {"steps": 24 + seed % 7}


def _drive_overfit(function: Callable, inputs: Values) -> Values:
    model, sums = _network(inputs), []
    model[0].register_forward_pre_hook(lambda _, images: sums.append(images[0].sum().item()))
    losses = function(model, _sgd(model), *_batches(inputs)[0], inputs["steps"])
    listed = losses if isinstance(losses, (list, tuple)) else [losses]
    return {
        "the list of losses": plain(losses),
        "losses with a graph": sum(
            isinstance(loss, Tensor) and loss.requires_grad for loss in listed
        ),
        "weights": _weights(model),
        "sums of images": torch.tensor(
            [min(sums, default=0.0), max(sums, default=0.0)]
        ),  # over all passes
    }


NOTE = "losses.append(loss.item())"
WRONG_OVERFITS = mutants(
    overfit_one_batch,
    (
        "no zero_grad",
        "gradients add up over the steps: optimizer.zero_grad() in each",
        {ZERO: "pass"},
    ),
    (
        "no update",
        "the weights never move: optimizer.step() after loss.backward()",
        {UPDATE: "pass"},
    ),
    (
        "loss after the update",
        "these are the losses after each update: note those that the steps computed",
        {NOTE: "losses.append(F.cross_entropy(model(images), labels).item())"},
    ),
    (
        "new images",
        "the model saw other images",
        {"model(images)": "model(torch.rand_like(images))"},
    ),
    (
        "half the batch",
        "the model saw other images",
        {"(images), labels)": "(images[::2]), labels[::2])"},
    ),
    ("one step", "the list of losses: expected", {NOTE: f"{NOTE}; break"}),
    ("graphs kept", "append loss.item()", {NOTE: "losses.append(loss)"}),
)
_judge_overfit = recomputed(
    _drive_overfit,
    overfit_one_batch,
    (
        ("losses with a graph",),
        "each loss in the list keeps its graph in memory: append loss.item()",
    ),
    (("sums of images",), "the model saw other images: every step takes the same batch, unchanged"),
    (
        ("the list of losses", "weights"),
        "the losses are not those of so many training steps on this batch",
        WRONG_OVERFITS,
    ),
)


# training.debug_loop


def _draw_loop(seed: int) -> Values:
    values = _problem(seed, batches=5) | {"epochs": 2 + seed % 2}
    split = 3 * values["batch_size"]
    for name in ("images", "labels"):
        values[name], values[f"test_{name}"] = values[name][:split], values[name][split:-2]
    return values


def _drive_loop(function: Callable, inputs: Values) -> Values:
    model = _network(inputs, norm=True)
    accuracies = function(
        model, _sgd(model), _batches(inputs), _batches(inputs, "test_"), inputs["epochs"]
    )
    outputs = {"the list of accuracies": plain(accuracies), "weights": _weights(model)}
    return outputs | {"statistics": _statistics(model)}


ADDED = "gradients add up over the batches, zero_grad is missing"
EARLY = "the update comes before loss.backward()"
TRAIN = "the test images meet a model in train mode, which also moves BatchNorm's statistics"
STUCK = "the model does not go back to train mode after the first evaluation"
TRAINING_BUGS = (
    ((), {}),
    ((ADDED,), {ZERO: "pass"}),
    ((EARLY,), {UPDATE: "pass", BACKWARD: f"{UPDATE}; {BACKWARD}"}),
    ((EARLY,), {UPDATE: "pass", ZERO: f"{UPDATE}; {ZERO}"}),
    ((ADDED, EARLY), {UPDATE: "pass", ZERO: UPDATE}),
)
MODE_BUGS = ((), {}), ((TRAIN,), {"model.eval()": "pass"}), ((STUCK,), {"model.train()": "pass"})
WRONG_LOOPS = mutants(
    train_and_evaluate,
    *(
        (
            " / ".join(bugs + modes),
            f"still in the loop: {'; '.join(bugs + modes)}",
            edits | mode_edits,
        )
        for (bugs, edits), (modes, mode_edits) in product(TRAINING_BUGS, MODE_BUGS)
        if bugs + modes
    ),
    ("last accuracy", "the list of accuracies: expected", {"n accuracies": "n accuracies[-1]"}),
)
WRONG_LOOPS += (Wrong("the loop as found", buggy_loop, f"{ADDED}; {EARLY}; {TRAIN}"),)
_judge_loop = recomputed(
    _drive_loop,
    train_and_evaluate,
    (
        ("weights", "statistics", "the list of accuracies"),
        "weights or accuracies are not those of the repaired loop: mend the three bugs only",
        WRONG_LOOPS,
    ),
)


EXERCISES = (
    Exercise(
        "training.step",
        10,
        2,
        (
            "Four things in this order: clear the old gradients, compute the loss, its gradients, and update.",
            "optimizer.zero_grad() clears. F.cross_entropy takes the logits, model(images), as they are.",
            "loss = F.cross_entropy(model(images), labels); loss.backward(); optimizer.step(); return the loss.",
        ),
        step,
        lambda seed: _problem(seed, 3),
        _drive_step,
        _judge_step,
        WRONG_STEPS,
    ),
    Exercise(
        "training.cross_entropy",
        15,
        3,
        (
            "An image's loss is minus the log-probability of its label; log softmax(x) = x - log(sum(exp(x))).",
            "exp(1000) overflows; subtracting a row's own maximum from the row changes no probability.",
            "x = logits - logits.max(dim=1, keepdim=True).values. In x - x.exp().sum(dim=1, keepdim=True).log(), "
            "take the entries [torch.arange(len(labels)), labels]; return minus their mean.",
        ),
        cross_entropy,
        _draw_cross_entropy,
        _drive_cross_entropy,
        _judge_cross_entropy,
        WRONG_ENTROPIES,
    ),
    Exercise(
        "training.accuracy",
        15,
        3,
        (
            "Count right answers and images over all batches, and divide once, at the end.",
            "Evaluate in eval mode, model.eval(), and without gradients, torch.no_grad(); restore the mode.",
            "A batch has (model(images).argmax(dim=1) == labels).sum().item() right answers. was_training = "
            "model.training before model.eval(), and model.train(was_training) after the loop.",
        ),
        accuracy,
        _draw_accuracy,
        _drive_accuracy,
        _judge_accuracy,
        WRONG_ACCURACIES,
    ),
    Exercise(
        "training.overfit_one_batch",
        10,
        2,
        (
            "It is the training step again and again, on the same images and labels.",
            "A step returns the loss before its update; the list wants plain numbers: .item().",
            "for _ in range(steps): losses.append(step(model, optimizer, images, labels).item())",
        ),
        overfit_one_batch,
        _draw_overfit,
        _drive_overfit,
        _judge_overfit,
        WRONG_OVERFITS,
    ),
    Exercise(
        "training.debug_loop",
        20,
        4,
        (
            "Follow one batch line by line: which gradients does the update use, and what was added to them?",
            "Two bugs are in the training step. The third: what do dropout and BatchNorm do with test images?",
            "Each batch: zero_grad, loss, backward, step. model.eval() before the test batches, model.train() at "
            "the start of every epoch.",
        ),
        train_and_evaluate,
        _draw_loop,
        _drive_loop,
        _judge_loop,
        WRONG_LOOPS,
    ),
)
