"""Right answers of chapters 1 to 1c."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from . import ways

# training.step


def step(model, optimizer, images, labels):
    model.zero_grad(set_to_none=False)
    loss = nn.CrossEntropyLoss()(model(images), labels)
    loss.backward()
    optimizer.step()
    return loss


def step_with_closure(model, optimizer, images, labels):
    def closure():
        optimizer.zero_grad()
        loss = F.cross_entropy(model(images), labels)
        loss.backward()
        return loss

    return optimizer.step(closure)


def step_with_grad(model, optimizer, images, labels):
    parameters = list(model.parameters())
    loss = F.nll_loss(model(images).log_softmax(1), labels)
    gradients = torch.autograd.grad(loss, parameters)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient
    optimizer.step()
    return loss.item()


def step_changing_logits(model, optimizer, images, labels):
    optimizer.zero_grad()
    logits = model(images)
    logits -= logits.detach().max(dim=1, keepdim=True).values
    loss = logits.logsumexp(1).mean() - logits[torch.arange(len(labels)), labels].mean()
    loss.backward()
    optimizer.step()
    return loss.detach()


def step_image_by_image(model, optimizer, images, labels):
    optimizer.zero_grad()
    losses = [F.cross_entropy(model(x[None]), y[None]) for x, y in zip(images, labels, strict=True)]
    loss = torch.stack(losses).mean()
    loss.backward()
    optimizer.step()
    return loss.detach()


STEP = [
    step,
    step_with_closure,
    step_with_grad,
    step_changing_logits,
    step_image_by_image,
    ways.then(step_with_grad, np.float32),
    ways.then(step_with_grad, np.array),
    ways.then(step, ways.double),
    *ways.all_ways(step),
]

# training.cross_entropy


def by_log_softmax(logits, labels):
    return -torch.log_softmax(logits, 1).gather(1, labels[:, None]).mean()


def in_place(logits, labels):
    logits -= logits.max(dim=1, keepdim=True).values
    return (logits.exp().sum(1).log() - logits[torch.arange(len(labels)), labels]).mean()


def by_einsum(logits, labels):
    one_hot = F.one_hot(labels, logits.shape[1]).to(logits)
    return (logits.logsumexp(1) - torch.einsum("nc,nc->n", logits, one_hot)).mean()


def by_loop(logits, labels):
    total = 0.0
    for row, label in zip(logits, labels, strict=True):
        top = row.max()
        total = total + top + (row - top).exp().sum().log() - row[label]
    return total / len(labels)


def in_double(logits, labels):
    logits = logits.double()
    return logits.logsumexp(1).mean() - logits[range(len(labels)), labels].mean()


def by_vmap(logits, labels):
    losses = torch.vmap(lambda row, label: row.logsumexp(0) - row.gather(0, label[None])[0])
    return losses(logits, labels).mean()


def by_mask(logits, labels):
    mask = torch.arange(logits.shape[1]) == labels[:, None]
    return (torch.logsumexp(logits, 1) - logits.masked_fill(~mask, 0).sum(1)).sum() / len(labels)


CROSS_ENTROPY = [
    by_log_softmax,
    in_place,
    by_einsum,
    by_loop,
    in_double,
    by_vmap,
    by_mask,
    *ways.all_ways(in_place),
]

# training.accuracy


def accuracy(model, batches):
    was = model.training
    model.train(False)
    hits = []
    with torch.inference_mode():
        for images, labels in batches:
            hits += (model(images).argmax(1) == labels).tolist()
    model.train(was)
    return sum(hits) / len(hits)


def accuracy_by_numpy(model, batches):
    was = model.training
    model.eval()
    with torch.no_grad():
        pairs = [(model(x).numpy().argmax(1), y.numpy()) for x, y in batches]
    model.train(was)
    predicted, true = map(np.concatenate, zip(*pairs, strict=True))
    return np.mean(predicted == true)


def accuracy_by_sklearn(model, batches):
    from sklearn.metrics import accuracy_score

    was = model.training
    model.eval()
    with torch.no_grad():
        predicted = torch.cat([model(x).argmax(1) for x, _ in batches])
    model.train(was)
    return accuracy_score(torch.cat([y for _, y in batches]), predicted)


class Counter:
    """Accuracy as a running count."""

    def __init__(self, model):
        self.model = model

    def __enter__(self):
        self.was = self.model.training
        self.model.eval()
        return self

    def __exit__(self, *_):
        self.model.train(self.was)

    @torch.no_grad()
    def share(self, batches):
        right = torch.zeros(())
        seen = 0
        for images, labels in batches:
            right += self.model(images).max(1).indices.eq(labels).sum()
            seen += labels.numel()
        return right / seen


def accuracy_in_a_class(model, batches):
    with Counter(model) as counter:
        return counter.share(batches)


def accuracy_changing_labels(model, batches):
    was = model.training
    model.eval()
    with torch.no_grad():
        for images, labels in batches:
            labels -= model(images).argmax(1)
    model.train(was)
    labels = torch.cat([labels for _, labels in batches])
    return (labels == 0).double().mean()


ACCURACY = [
    accuracy,
    accuracy_by_numpy,
    accuracy_by_sklearn,
    accuracy_in_a_class,
    accuracy_changing_labels,
    ways.then(accuracy, np.float64),
    ways.then(accuracy, np.array),
    ways.then(accuracy, torch.tensor),
    *ways.all_ways(accuracy_by_numpy),
]

# training.overfit_one_batch


def overfit(model, optimizer, images, labels, steps):
    return [step(model, optimizer, images, labels).item() for _ in range(steps)]


def overfit_lazily(model, optimizer, images, labels, steps):
    for _ in range(steps):
        yield step_with_grad(model, optimizer, images, labels)


def overfit_into_an_array(model, optimizer, images, labels, steps):
    losses = np.empty(steps)
    for i in range(steps):
        losses[i] = step_with_grad(model, optimizer, images, labels)
    return losses


def overfit_while(model, optimizer, images, labels, steps):
    losses = torch.zeros(steps)
    i = 0
    while i < steps:
        losses[i] = step_with_closure(model, optimizer, images, labels).detach()
        i += 1
    return losses


OVERFIT = [
    overfit,
    overfit_lazily,
    overfit_into_an_array,
    overfit_while,
    *ways.of_sequences(overfit),
    *ways.all_ways(overfit_into_an_array),
]

# training.debug_loop


def loop(model, optimizer, train_batches, test_batches, epochs):
    accuracies = []
    for _ in range(epochs):
        model.train()
        for batch in train_batches:
            step(model, optimizer, *batch)
        model.eval()
        accuracies.append(accuracy(model, test_batches))
    return accuracies


def loop_lazily(model, optimizer, train_batches, test_batches, epochs):
    for _ in range(epochs):
        for batch in train_batches:
            step_with_closure(model.train(), optimizer, *batch)
        yield accuracy_by_numpy(model.eval(), test_batches)


def loop_into_a_tensor(model, optimizer, train_batches, test_batches, epochs):
    accuracies = torch.zeros(epochs, dtype=torch.float64)
    for epoch in range(epochs):
        model.train()
        [step_with_grad(model, optimizer, *batch) for batch in train_batches]
        accuracies[epoch] = accuracy_in_a_class(model, test_batches)
    return accuracies


# training.bill


def bill(parameters, examples, epochs, rate, watts):
    seconds = 6 * parameters * examples * epochs / rate
    return [seconds * rate, seconds / 3600, watts * seconds / 3.6e6]


def bill_into_a_tensor(parameters, examples, epochs, rate, watts):
    return torch.tensor(bill(parameters, examples, epochs, rate, watts), dtype=torch.float64)


def bill_into_an_array(parameters, examples, epochs, rate, watts):
    work = np.float64(parameters) * (2 + 4) * examples * epochs
    hours = np.divide(work, 3600 * rate)
    return np.array([work, hours, hours * watts / 1000])


def bill_lazily(parameters, examples, epochs, rate, watts):
    yield from bill(parameters, examples, epochs, rate, watts)


RIGHT = {
    "training.step": STEP,
    "training.cross_entropy": CROSS_ENTROPY,
    "training.accuracy": ACCURACY,
    "training.overfit_one_batch": OVERFIT,
    "training.debug_loop": [
        loop,
        loop_lazily,
        loop_into_a_tensor,
        *ways.of_sequences(loop),
        *ways.all_ways(loop_into_a_tensor),
    ],
    "training.bill": [
        bill,
        bill_into_a_tensor,
        bill_into_an_array,
        bill_lazily,
        *ways.of_sequences(bill),
        *ways.all_ways(bill_into_an_array),
    ],
}
