"""Answers written by hand, as learners would write them: other right ones, and wrong ones.

The wrong answers that stand in an exercise's own block are tested in test_exercises.py.
"""

import copy
import io
import math
import random
import statistics
import time
from itertools import zip_longest
from time import perf_counter
from timeit import default_timer

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import stats
from torch import nn
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor

from vaetl_helpers import representations, study
from vaetl_helpers import transfer as package
from vaetl_helpers.exercises import (
    boxes,
    combine,
    evaluate,
    get,
    hardware,
    joint,
    training,
    transfer,
)

SEEDS = [0, 1, *(pytest.param(seed, marks=pytest.mark.nightly) for seed in range(2, 8))]

# Chapter 1.


def step_with_a_loss_object(model, optimizer, images, labels):
    model.zero_grad(set_to_none=False)
    loss = torch.nn.CrossEntropyLoss()(model(images), labels)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    return loss  # with its graph


def step_as_a_number(model, optimizer, images, labels):
    return step_with_a_loss_object(model, optimizer, images, labels).item()


def cross_entropy_by_logsumexp(logits, labels):
    picked = (logits * F.one_hot(labels, logits.shape[1])).sum(1)
    return (logits.logsumexp(1) - picked).sum() / len(labels)


@torch.no_grad()
def accuracy_of_all_at_once(model, batches):
    before = model.training
    model.eval()
    logits = model(torch.cat([images for images, _ in batches]))
    model.train(before)
    return (logits.argmax(-1) == torch.cat([labels for _, labels in batches])).float().mean()


def overfit_with_a_step(model, optimizer, images, labels, steps):
    return tuple(training.step(model, optimizer, images, labels) for _ in range(steps))


def loop_with_helpers(model, optimizer, train_batches, test_batches, epochs):
    accuracies = []
    for _ in range(epochs):
        for batch in train_batches:
            training.step(model, optimizer, *batch)
        accuracies.append(training.accuracy(model, test_batches))
    return torch.tensor(accuracies)


def bill_in_one_line(parameters, examples, epochs, rate, watts):
    flops = 6.0 * parameters * examples * epochs
    return flops, flops / rate / 3600, flops / rate * watts / 3_600_000


def bill_for_a_token(parameters, examples, epochs, rate, watts):
    flops = 6 * parameters
    return flops, flops / rate / 3600, flops / rate / 3600 * watts / 1000


def step_by_probabilities(model, optimizer, images, labels):
    optimizer.zero_grad()
    probabilities = torch.softmax(model(images), dim=1)
    loss = torch.nn.CrossEntropyLoss()(probabilities, labels)
    loss.backward()
    optimizer.step()
    return loss.item()


def step_without_clearing(model, optimizer, images, labels):
    loss = F.nll_loss(F.log_softmax(model(images), 1), labels)
    loss.backward()
    optimizer.step()
    return float(loss)


def cross_entropy_naive(logits, labels):
    probabilities = logits.exp() / logits.exp().sum(1, keepdim=True)
    return -torch.stack(
        [row[label].log() for row, label in zip(probabilities, labels, strict=True)]
    ).mean()


def accuracy_by_batch(model, batches):
    mode, scores = model.training, []
    model.eval()
    with torch.inference_mode():
        for images, labels in batches:
            scores.append((model(images).max(1).indices == labels).double().mean())
    model.train(mode)
    return torch.stack(scores).mean()


def accuracy_in_train_mode(model, batches):
    with torch.no_grad():
        hits = torch.cat([model(images).argmax(1) == labels for images, labels in batches])
    return hits.double().mean().item()


def overfit_noise(model, optimizer, images, labels, steps):
    return [
        step_as_a_number(model, optimizer, torch.randn_like(images), labels) for _ in range(steps)
    ]


def loop_with_one_repair(model, optimizer, train_batches, test_batches, epochs):
    accuracies = []
    for _ in range(epochs):
        for images, labels in train_batches:
            optimizer.step()
            optimizer.zero_grad()
            F.cross_entropy(model(images), labels).backward()
        hits = [(model(images).argmax(1) == labels).double() for images, labels in test_batches]
        accuracies.append(torch.cat(hits).mean().item())
    return accuracies


# Chapter 2.


def flops_in_one_line(batch, inputs, outputs, first=False):
    return (4.0 if first else 6.0) * batch * inputs * outputs


def flops_as_tensor(batch, inputs, outputs, first):
    return torch.tensor([batch, inputs, outputs, 2, 3 - first]).prod()


def time_with_two_warm_ups(work, synchronise, repeats):
    for _ in range(2):
        work()
    synchronise()  # once: afterwards nothing is queued when the clock starts
    times = torch.zeros(repeats)
    for i in range(repeats):
        start = perf_counter()
        work()
        synchronise()
        times[i] = perf_counter() - start
    return times.median()


def time_by_nanoseconds(work, synchronise, repeats):
    work()
    synchronise()
    readings = [time.monotonic_ns()]
    for _ in range(repeats):
        work()
        synchronise()
        readings.append(time.monotonic_ns())  # the end of one is the start of the next
    pairs = zip(readings, readings[1:], strict=False)
    return sorted(after - before for before, after in pairs)[repeats // 2] / 1e9


def time_with_an_imported_alias(work, synchronise, repeats):
    def once():
        synchronise()
        start = default_timer()
        work()
        synchronise()
        return default_timer() - start

    return statistics.median([once() for _ in range(repeats + 1)][1:])  # the first is the warm-up


def time_after_warming_for_a_second(work, synchronise, repeats):
    deadline = time.time() + 1
    while time.time() < deadline:
        work()
    times = []
    for _ in range(repeats):
        synchronise()
        start = time.monotonic()
        work()
        synchronise()
        times.append(time.monotonic() - start)
    return statistics.median(times)


def batches_as_a_generator(images, labels, batch_size, generator):
    order = torch.randperm(images.shape[0], generator=generator)
    starts = range(0, len(order), batch_size)
    pieces = [order[start : start + batch_size] for start in starts]
    return (
        [images.index_select(0, piece).div(255), labels.index_select(0, piece)] for piece in pieces
    )


def batches_by_iterating_a_list(images, labels, batch_size, generator):
    yield from list(hardware.resident_batches(images, labels, batch_size, generator))


def batches_of_a_shuffled_copy(images, labels, batch_size, generator):
    order = torch.randperm(len(images), generator=generator)
    images, labels = images[order], labels[order]  # still uint8
    for i in range(0, len(images), batch_size):
        yield images[i : i + batch_size].to(torch.float32) * (1 / 255), labels[i : i + batch_size]


def accumulate_by_sums(model, loss_fn, optimizer, images, labels, micro_batch):
    model.zero_grad(set_to_none=False)
    total = 0.0
    for start in range(0, len(images), micro_batch):
        part = slice(start, start + micro_batch)
        loss = loss_fn(model(images[part]), labels[part]) * len(labels[part])
        (loss / len(images)).backward()
        total += loss.item()
    optimizer.step()
    optimizer.zero_grad()
    return total / len(images)


def accumulate_in_even_parts(model, loss_fn, optimizer, images, labels, micro_batch):
    parts = -(-len(images) // micro_batch)
    optimizer.zero_grad()
    for x, y in zip(images.tensor_split(parts), labels.tensor_split(parts), strict=True):
        loss_fn(model(x), y).backward(torch.tensor(len(x) / len(images)))
    optimizer.step()


def checkpoint_by_a_file(model, optimizer, epoch):
    file = io.BytesIO()
    torch.save(
        {
            "rng": torch.get_rng_state(),
            "epoch": epoch,
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "lr": optimizer.param_groups[0]["lr"],
        },
        file,
    )
    file.seek(0)
    return torch.load(file)


def checkpoint_by_clones(model, optimizer, epoch):
    return {
        "model": {name: x.detach().clone() for name, x in model.named_parameters()},
        "optimizer": copy.deepcopy(optimizer).state_dict(),
        "epoch": torch.tensor(epoch),
        "rng": torch.random.get_rng_state(),
    }


def time_all_together(work, synchronise, repeats):
    work()
    synchronise()
    start = time.perf_counter()
    for _ in range(repeats):
        work()
    synchronise()
    return (time.perf_counter() - start) / repeats


def time_without_repeats(work, synchronise, repeats):
    work()
    synchronise()
    start = time.perf_counter()
    work()
    synchronise()
    return time.perf_counter() - start


def time_by_the_date(work, synchronise, repeats):
    work()
    times = []
    for _ in range(repeats):
        synchronise()
        start = time.time_ns()
        work()
        synchronise()
        times.append(1e-9 * (time.time_ns() - start))
    return np.median(times)


def time_by_a_hidden_clock(work, synchronise, repeats, clock=time.perf_counter):
    work()
    times = []
    for _ in range(repeats):
        synchronise()
        start = clock()
        work()
        synchronise()
        times.append(clock() - start)
    return statistics.median(times)


def batches_with_an_order_of_each_epoch_the_same(images, labels, batch_size, generator):
    generator = torch.Generator().manual_seed(0)
    return hardware.resident_batches(images, labels, batch_size, generator)


def batches_with_text_labels(images, labels, batch_size, generator):
    return (
        (x, [str(label) for label in y])
        for x, y in hardware.resident_batches(images, labels, batch_size, generator)
    )


def batches_with_float_labels(images, labels, batch_size, generator):
    return hardware.resident_batches(images, labels.float(), batch_size, generator)


def batches_without_end(images, labels, batch_size, generator):
    while True:
        yield from hardware.resident_batches(images, labels, batch_size, generator)


def batches_flattened(images, labels, batch_size, generator):
    for x, y in hardware.resident_batches(images, labels, batch_size, generator):
        yield x.flatten(1), y


def accumulate_another_loss(model, loss_fn, optimizer, images, labels, micro_batch):
    hardware.accumulated_step(model, F.cross_entropy, optimizer, images, labels, micro_batch)


def checkpoint_with_a_seed(model, optimizer, epoch):
    return copy.deepcopy(
        hardware.checkpoint(model, optimizer, epoch) | {"rng": torch.initial_seed()}
    )


def checkpoint_in_eval_mode(model, optimizer, epoch):
    return hardware.checkpoint(model.eval(), optimizer, epoch)


# Chapter 4.


def freeze_by_a_hook(body):
    for parameter in body.parameters():
        parameter.requires_grad = False
    body.register_forward_pre_hook(
        lambda module, _: module.eval() and None
    )  # what a hook returns would be the input


def freeze_every_module(body):
    body.eval()
    for module in body.modules():
        module.train = lambda mode=True, module=module: module
        for parameter in module.parameters(recurse=False):
            parameter.requires_grad = False


def freeze_by_a_class(body):
    class Fixed(type(body)):
        def train(self, mode=True):
            return super().train(False)

    body.__class__ = Fixed
    return body.requires_grad_(False).train()


def groups_backwards(parts, rate, factor):
    groups = []
    for part in reversed(parts):
        if any(parameter.requires_grad for parameter in part.parameters()):
            groups.insert(
                0,
                {
                    "params": (p for p in part.parameters() if p.requires_grad),
                    "lr": rate,
                    "name": "part",
                },
            )
        rate = rate / factor
    return tuple(groups)


def groups_with_tensor_rates(parts, rate, factor):
    rates = rate * torch.tensor(factor, dtype=torch.float64) ** torch.arange(1 - len(parts), 1)
    groups = [
        {"lr": lr, "params": package.trainable(part)} for part, lr in zip(parts, rates, strict=True)
    ]
    return [group for group in groups if group["params"]]


def probe_by_a_pipeline(train_x, train_y, validation_x, validation_y, strengths):
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    scores = {}
    for c in strengths:
        model = make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=2000))
        model.fit(train_x.numpy(), train_y.numpy())
        scores[c] = (model.score(validation_x, validation_y), -c, model)
    best = max(strengths, key=lambda c: scores[c][:2])
    return [np.float64(best), scores[best][2].predict(validation_x).tolist()]


def probe_by_the_package(train_x, train_y, validation_x, validation_y, strengths):
    probe = package.linear_probe(train_x, train_y, validation_x, validation_y, strengths)
    return torch.tensor(probe.c, dtype=torch.float64), probe.predict(validation_x)


def head_by_the_package(old_weight, old_bias, keep, classes, generator):
    old = nn.Linear(old_weight.shape[1], len(old_weight))
    old.weight, old.bias = nn.Parameter(old_weight), nn.Parameter(old_bias)
    head = package.new_head(old, keep, classes, generator)
    return head.weight, head.bias


def head_row_by_row(old_weight, old_bias, keep, classes, generator):
    back = {new: old for old, new in keep.items()}
    norm = torch.stack([row.norm() for row in old_weight]).mean()
    rows, biases = [], []
    for new in range(classes):
        if new in back:
            rows.append(old_weight[back[new]])
            biases.append(old_bias[back[new]])
        else:
            rows.append(
                norm
                * F.normalize(2 * torch.rand(old_weight.shape[1], generator=generator) - 1, dim=0)
            )
            biases.append(old_bias.mean())
    return [torch.stack(rows), torch.stack(biases)]


def normalise_in_grey_levels(images, mean, std):
    mean, std = (
        255 * torch.tensor(x, dtype=torch.float64)[None, :, None, None] for x in (mean, std)
    )
    return (images - mean) / std


def normalise_by_channel(images, mean, std):
    channels = [(images[:, i] / 255 - mean[i]) / std[i] for i in range(3)]
    return torch.stack(channels, dim=1)


def normalise_by_torchvision(images, mean, std):
    from torchvision.transforms import functional as transforms

    return transforms.normalize(images / 255, mean, std)


def penalty_of_vectors(body, source, alpha):
    vector = nn.utils.parameters_to_vector
    return alpha * (vector(source.parameters()) - vector(body.parameters())).pow(2).sum() / 2


def penalty_by_the_package(body, source, alpha):
    model = copy.deepcopy(source)
    penalised = package.l2_sp(lambda *_: torch.zeros(()), model, alpha)
    return penalised(body, None, None)[0]


def penalty_to_zero(body, source, alpha):
    return alpha / 2 * sum((w * w).sum() for w in body.parameters())


def penalty_of_numbers(body, source, alpha):
    with torch.no_grad():
        return transfer.l2_sp(body, source, alpha)


def clinic_on_stored_features(body, head, images, labels, steps, rate):
    body.eval()
    with torch.no_grad():
        features = body(images)  # once: the body is fixed
    head.train()
    optimizer, losses = (
        torch.optim.SGD(head.parameters(), lr=rate, momentum=0.9, weight_decay=0.1),
        [],
    )
    for _ in range(steps):
        optimizer.zero_grad()
        loss = F.cross_entropy(head(features), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss)
    return losses


def clinic_with_gradients_of_none(body, head, images, labels, steps, rate):
    model, losses = nn.Sequential(package.freeze(body), head), []
    optimizer = torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9, weight_decay=0.1)
    for _ in range(steps):
        model.train()
        optimizer.zero_grad()  # to None: such parameters are skipped
        loss = F.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return np.array(losses).tolist()


def freeze_without_gradients_in_forward(body):
    transfer.freeze(body).requires_grad_(True)
    body.forward = torch.no_grad()(body.forward)


def freeze_almost(body):
    transfer.freeze(body)
    for parameter in body.parameters():
        parameter.data.mul_(1 + 1e-6)


def freeze_and_forget(body):
    transfer.freeze(body)
    nn.init.zeros_(body[1][0].weight)


def groups_of_names(parts, rate, factor):
    return [{"params": [name for name, _ in part.named_parameters()], "lr": rate} for part in parts]


def groups_without_rates(parts, rate, factor):
    return [{"params": list(part.parameters())} for part in parts]


def groups_twice(parts, rate, factor):
    return 2 * transfer.param_groups(parts, rate, factor)


def groups_with_empty_ones_slowest_last(parts, rate, factor):
    return [
        {"params": [p for p in part.parameters() if p.requires_grad], "lr": rate / factor**number}
        for number, part in enumerate(parts)
    ]


def groups_with_empty_ones_reversed(parts, rate, factor):
    return groups_with_empty_ones_slowest_last(parts[::-1], rate, factor)


def groups_of_a_number(parts, rate, factor):
    return [{"params": 3, "lr": rate}]


def probe_with_the_smallest(train_x, train_y, validation_x, validation_y, strengths):
    return min(strengths), transfer.linear_probe(
        train_x, train_y, validation_x, validation_y, strengths
    )[1]


def probe_without_labels(*args):
    return transfer.linear_probe(*args)[0], None


def probe_the_other_way_round(*args):
    return transfer.linear_probe(*args)[::-1]


def head_of_one_tensor(*args):
    return torch.cat([part.flatten() for part in transfer.new_head(*args)])


def head_on_its_side(*args):
    weight, bias = transfer.new_head(*args)
    return weight.T, bias


def head_of_copies(old_weight, old_bias, keep, classes, generator):
    weight, bias = transfer.new_head(old_weight, old_bias, keep, classes, generator)
    for row in set(range(classes)) - set(keep.values()):
        weight[row] = F.normalize(old_weight[0], dim=0) * old_weight.norm(dim=1).mean()
    return weight, bias


def normalise_in_whole_numbers(images, mean, std):
    return transfer.normalise(images, mean, std).int()


def normalise_twice(images, mean, std):
    return transfer.normalise(255 * transfer.normalise(images, mean, std), mean, std)


def clinic_only_the_optimiser(body, head, images, labels, steps, rate):
    model, losses = nn.Sequential(body, head), []
    optimizer = torch.optim.SGD(head.parameters(), lr=rate, momentum=0.9, weight_decay=0.1)
    for _ in range(steps):
        model.train()
        optimizer.zero_grad()
        loss = F.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def clinic_without_freezing(body, head, images, labels, steps, rate):
    optimizer, losses = (
        torch.optim.SGD(head.parameters(), lr=rate, momentum=0.9, weight_decay=0.1),
        [],
    )
    for _ in range(steps):
        body.eval()
        head.train()
        optimizer.zero_grad()
        loss = F.cross_entropy(head(body(images)), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def clinic_on_a_copy(body, head, *args):
    return transfer.train_head(body, copy.deepcopy(head), *args)


def clinic_without_losses(*args):
    transfer.train_head(*args)


# Chapter 5.


@torch.inference_mode()
def features_of_a_copy(model, images):
    return copy.deepcopy(model).eval().encode(images).mean


def features_of_the_encoder(model, images):
    modes = {name: module.training for name, module in model.named_modules()}
    try:
        model.encoder.eval()
        return model.encoder(images)[0].detach().double()
    finally:
        for name, module in model.named_modules():
            module.training = modes[name]


def features_one_by_one(model, images):
    before = [module for module in model.modules() if module.training]
    model.eval()
    with torch.no_grad():
        rows = [model.encode(image[None])[0] for image in images]
    for module in before:
        module.training = True
    return torch.cat(rows).numpy()


def labels_by_numpy(labels, per_class, draws, seed):
    rng, labels = np.random.default_rng(seed), labels.numpy()
    table = []
    for name in sorted(set(labels.tolist()), reverse=True):
        members = rng.permutation(np.flatnonzero(labels == name))
        if members.size < draws * per_class:
            raise ValueError("too few")
        table.append(members[-draws * per_class :].reshape(per_class, draws))
    return tuple(np.concatenate(table).T)


def labels_one_after_the_other(labels, per_class, draws, seed):
    generator, taken, hands = (
        torch.Generator().manual_seed(seed),
        torch.zeros(len(labels), dtype=torch.bool),
        [],
    )
    for _ in range(draws):
        hand = []
        for name in labels.unique():
            left = torch.where((labels == name) & ~taken)[0]
            if len(left) < per_class:
                raise ValueError("the class is used up")
            hand += left[torch.randperm(len(left), generator=generator)[:per_class]].tolist()
        taken[hand] = True
        hands.append(sorted(hand))
    return hands


def labels_by_the_package(labels, per_class, draws, seed):
    try:
        drawn = study.draw_labels(labels, per_class, draws, seed, disjoint="always")
        return [draw.indices for draw in drawn]
    except Exception as error:
        raise ValueError(str(error)) from error


def interval_by_ttest(a, b):
    test = stats.ttest_rel(a, b)
    return np.array([(a - b).mean().item(), *test.confidence_interval(0.95)])


def interval_by_hand(a, b):
    pairs = [float(x - y) for x, y in zip(a, b, strict=True)]
    n, mean = len(pairs), math.fsum(pairs) / len(pairs)
    variance = sum((x - mean) ** 2 for x in pairs) / (n - 1)
    low, high = stats.t.interval(0.95, df=n - 1, loc=mean, scale=math.sqrt(variance / n))
    return [mean, low, high]


def interval_by_the_package(a, b):
    effect = study.effect_of(a - b)
    return torch.tensor([effect.effect, effect.low, effect.high], dtype=torch.float32)


def verdict_the_other_way_round(low, high, n, delta):
    if n >= 5:
        if max(-low, high) < delta:
            return "no gain"
        if low > 0 or high < 0:
            return "supported" if low > 0 else "contradicted"
    return "undecided"


def verdict_by_the_package(low, high, n, delta):
    return study.verdict(study.Effect(effect=(low + high) / 2, low=low, high=high, n=n), delta)


def study_with_a_loop(pretrain, fit, unlabelled, train, validation, test, draws, alphas):
    keep = [not any(torch.equal(image, other) for other in test[0]) for image in unlabelled]
    encode = pretrain(
        torch.stack([image for image, kept in zip(unlabelled, keep, strict=True) if kept])
    )
    codes, labels = encode(train[0]), train[1]
    mean, std = codes.mean(0), codes.std(0, correction=0)  # of all training images
    accuracies = torch.zeros(len(draws))
    for place, draw in enumerate(draws):
        best = -1
        for alpha in alphas:
            probe = fit((codes[draw] - mean) / std, labels[draw], alpha)
            hits = (probe((encode(validation[0]) - mean) / std) == validation[1]).sum()
            if hits > best:
                best = hits
                accuracies[place] = (
                    (probe((encode(test[0]) - mean) / std) == test[1]).float().mean()
                )
    return 100 * accuracies


def study_by_broadcasting(pretrain, fit, unlabelled, train, validation, test, draws, alphas):
    encode = pretrain(unlabelled[~(unlabelled[:, None] == test[0]).all(-1).any(-1)])

    def of_one(draw):
        def seen(images):
            return (encode(images) - known.mean(0)) / known.std(0)

        known = torch.cat([encode(train[0][draw]), encode(validation[0])])
        probes = [fit(seen(train[0][draw]), train[1][draw], alpha) for alpha in alphas]
        best = max(
            probes, key=lambda probe: int((probe(seen(validation[0])) == validation[1]).sum())
        )
        return float((best(seen(test[0])) == test[1]).double().mean() * 100)

    return tuple(of_one(draw) for draw in draws)


def features_by_hidden_layer(model, images):
    with torch.no_grad():
        return copy.deepcopy(model).eval().encoder.body(images)


def features_with_noise_of_its_own(model, images):
    mean = combine.features(model, images)
    return mean + 0.3 * torch.rand_like(mean)


def features_that_train(model, images):
    model.encode(images).mean.sum().backward()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter -= 0.1 * (0 if parameter.grad is None else parameter.grad)
    return combine.features(model, images)


def labels_of_the_whole_pool(labels, per_class, draws, seed):
    size = per_class * len(labels.unique())
    drawn = random.Random(seed).sample(range(len(labels)), draws * size)
    return [drawn[start : start + size] for start in range(0, draws * size, size)]


def labels_by_masks(labels, per_class, draws, seed):
    size = range(len(labels))
    return [
        torch.tensor([i in row for i in size])
        for row in combine.few_labels(labels, per_class, draws, seed)
    ]


def labels_with_assertion(labels, per_class, draws, seed):
    assert all((labels == name).sum() >= per_class * draws for name in labels.unique())
    return combine.few_labels(labels, per_class, draws, seed)


def labels_with_half_the_seed(labels, per_class, draws, seed):
    return combine.few_labels(labels, per_class, draws, seed // 2)


def labels_by_numpy_globally(labels, per_class, draws, seed):
    np.random.seed(seed)
    return labels_by_numpy(labels, per_class, draws, np.random.randint(2**31))


def interval_of_all_pairs(a, b):
    effect, low, high = combine.paired_interval(a, b)
    return effect, effect - 2 * (effect - low), high + (high - effect)


def verdict_of_a_believer(low, high, n, delta):
    return "supported" if high > 0 and n > 4 else "undecided"


def verdict_by_p(low, high, n, delta):
    word = combine.verdict(low, high, n, delta)
    return "no gain" if word == "undecided" and n >= 5 else word


def excess_at_equal_epochs(a, b):
    rows = list(zip(a[1], b[1], strict=False))
    return sum(of_a - of_b for of_a, of_b in rows) / len(rows)


def excess_of_resampled_epochs(a, b):
    places = [np.linspace(0, len(path[0]) - 1, 20) for path in (a, b)]
    at = [np.interp(p, range(len(y)), y) for p, (_, y) in zip(places, (a, b), strict=True)]
    return np.mean(at[0]) - np.mean(at[1])


def excess_of_final_gaps(a, b):
    gap_a, gap_b = (unseen[-1] - training[-1] for training, unseen in (a, b))
    return gap_a - gap_b


def excess_over_all(a, b):
    losses = np.concatenate([a[0], b[0]])
    levels = np.linspace(losses.min(), losses.max(), 20)
    at_a, at_b = (np.interp(levels, x[::-1], y[::-1]) for x, y in (a, b))
    return (at_a - at_b).mean()


def study_on_shuffled_labels(pretrain, fit, unlabelled, train, *others):
    return combine.honest_study(pretrain, fit, unlabelled, (train[0], train[1].flip(0)), *others)


def study_with_other_draws(pretrain, fit, unlabelled, train, validation, test, draws, alphas):
    draws = [torch.randperm(len(train[0]))[: len(draw)] for draw in draws]
    return combine.honest_study(pretrain, fit, unlabelled, train, validation, test, draws, alphas)


def study_that_promises(*args):
    return [100.0] * len(args[-2])


# Chapter 4b.


def pad_with_zip_longest(sentences, pad):
    ids = np.array(list(zip_longest(*sentences, fillvalue=pad))).T
    return ids, [[int(place < len(row)) for place in range(ids.shape[1])] for row in sentences]


def pad_to_a_fixed_length(sentences, pad):
    ids = torch.full((len(sentences), 256), pad)
    for row, sentence in enumerate(sentences):
        ids[row, : len(sentence)] = torch.tensor(sentence)
    return ids, (ids != pad).long()


def pass_of_closures(encoder, head, optimizer, schedule, batches):
    for part in (encoder, head):
        part.train()
    table = []
    for tokens, labels in batches:
        logits = head(encoder(tokens))

        def loss():
            optimizer.zero_grad()
            mean = F.cross_entropy(logits, labels)  # noqa: B023
            mean.backward()
            return mean

        mean = optimizer.step(loss)
        schedule.step()
        right = logits.argmax(1).eq(labels).double().mean()
        table.append([float(mean), float(right), len(labels)])
    table = np.array(table)
    return np.average(table[:, :2], axis=0, weights=table[:, 2])


def pass_that_tests_at_the_end(encoder, head, optimizer, schedule, batches):
    loss, _ = pass_of_closures(encoder, head, optimizer, schedule, batches)
    encoder.eval()
    with torch.no_grad():
        right = [head(encoder(tokens)).argmax(1) == labels for tokens, labels in batches]
    return loss, torch.cat(right).double().mean()


def pass_over_the_head(encoder, head, optimizer, schedule, batches):
    encoder.train()
    with torch.no_grad():
        features = [(encoder(tokens), labels) for tokens, labels in batches]
    return pass_of_closures(nn.Identity(), head, optimizer, schedule, features)


# Chapter 4c.


def class_beside_the_old_ones(detector, classes):
    old = detector.roi_heads.box_predictor
    outputs = old.cls_score.out_features + classes
    detector.roi_heads.box_predictor = FastRCNNPredictor(old.cls_score.in_features, outputs)
    detector.backbone.requires_grad_(False)
    return [p for p in detector.parameters() if p.requires_grad]


def class_of_another_detector(detector, classes):
    copied = copy.deepcopy(detector)
    return boxes.new_class.reference(copied, classes)


def class_as_a_generator(detector, classes):
    detector.backbone.requires_grad_(False)
    inputs = detector.roi_heads.box_predictor.cls_score.in_features
    detector.roi_heads.box_predictor = FastRCNNPredictor(inputs, classes + 1)
    return (p for _, p in detector.named_parameters() if p.requires_grad)


# Chapter 5b.


def directions_of_standardised_features(x):
    return participation(torch.linalg.svdvals((x - x.mean(0)) / x.std(0)).square())


def directions_of_the_raw_svd(x):
    return participation(torch.linalg.svdvals(x).square())


def directions_of_singular_values(x):
    return participation(torch.linalg.svdvals(x - x.mean(0)))


def directions_of_single_features(x):
    return participation(x.var(0, correction=0)).item()


def directions_by_rank(x):
    return np.linalg.matrix_rank((x - x.mean(0)).numpy())


def naive_cka_of_raw_features(x, y):
    return (x.T @ y).norm() ** 2 / ((x.T @ x).norm() * (y.T @ y).norm())


def naive_cka_of_spreads(x, y):
    """The variances of the images' products, in place of the products."""
    k, m = torch.cov(x), torch.cov(y)
    return (k * m).sum() / (k.norm() * m.norm())


def participation(variances):
    return variances.sum() ** 2 / (variances**2).sum()


RIGHT = (
    ("training.step", step_with_a_loss_object),
    ("training.step", step_as_a_number),
    ("training.cross_entropy", F.cross_entropy),
    ("training.cross_entropy", cross_entropy_by_logsumexp),
    ("training.accuracy", accuracy_of_all_at_once),
    ("training.overfit_one_batch", overfit_with_a_step),
    ("training.debug_loop", loop_with_helpers),
    ("training.bill", bill_in_one_line),
    ("hardware.flops_linear", flops_in_one_line),
    ("hardware.flops_linear", flops_as_tensor),
    ("hardware.time_it", time_with_two_warm_ups),
    ("hardware.time_it", time_by_nanoseconds),
    ("hardware.time_it", time_with_an_imported_alias),
    ("hardware.time_it", time_after_warming_for_a_second),
    ("hardware.time_it", time_by_a_hidden_clock),
    ("hardware.batches_resident", batches_as_a_generator),
    ("hardware.batches_resident", batches_of_a_shuffled_copy),
    ("hardware.accumulate", accumulate_by_sums),
    ("hardware.accumulate", accumulate_in_even_parts),
    ("hardware.resume", checkpoint_by_a_file),
    ("hardware.resume", checkpoint_by_clones),
    ("transfer.freeze", package.freeze),
    ("transfer.freeze", freeze_by_a_hook),
    ("transfer.freeze", freeze_every_module),
    ("transfer.freeze", freeze_by_a_class),
    ("transfer.param_groups", package.param_groups),
    ("transfer.param_groups", groups_backwards),
    ("transfer.param_groups", groups_with_tensor_rates),
    ("transfer.linear_probe", probe_by_a_pipeline),
    ("transfer.linear_probe", probe_by_the_package),
    ("transfer.new_head", head_by_the_package),
    ("transfer.new_head", head_row_by_row),
    ("transfer.normalise", normalise_in_grey_levels),
    ("transfer.normalise", normalise_by_channel),
    ("transfer.normalise", normalise_by_torchvision),
    ("transfer.l2_sp", penalty_of_vectors),
    ("transfer.l2_sp", penalty_by_the_package),
    ("transfer.clinic", clinic_on_stored_features),
    ("transfer.clinic", clinic_with_gradients_of_none),
    ("sentences.pad_batch", pad_with_zip_longest),
    ("sentences.train_pass", pass_of_closures),
    ("boxes.new_class", class_as_a_generator),
    ("combine.features", features_of_a_copy),
    ("combine.features", features_of_the_encoder),
    ("combine.features", features_one_by_one),
    ("combine.few_labels", labels_by_numpy),
    ("combine.few_labels", labels_one_after_the_other),
    ("combine.few_labels", labels_by_the_package),
    ("combine.paired_interval", interval_by_ttest),
    ("combine.paired_interval", interval_by_hand),
    ("combine.paired_interval", interval_by_the_package),
    ("combine.verdict", verdict_the_other_way_round),
    ("combine.verdict", verdict_by_the_package),
    ("combine.leakage", study_with_a_loop),
    ("combine.leakage", study_by_broadcasting),
)


def half_that_is_only_frozen(source, fresh, half, rate):
    """Nothing is taken from the source."""
    for name, parameter in fresh.named_parameters():
        parameter.requires_grad = not name.startswith(half)
    return fresh, torch.optim.Adam(
        [parameter for parameter in fresh.parameters() if parameter.requires_grad], lr=rate
    )


def half_without_its_optimiser(source, fresh, half, rate):
    return representations.reuse(source, fresh, half)


def half_of_a_large_rate(source, fresh, half, rate):
    return joint.keep_half(source, fresh, half, 5 * rate)


WRONG = (
    ("joint.reuse", half_that_is_only_frozen, "the kept half is not the source's"),
    ("joint.reuse", half_without_its_optimiser, "a pair (VAE, optimiser) was expected"),
    ("joint.reuse", half_of_a_large_rate, "is it an Adam with this rate?"),
    ("joint.reuse", lambda *arguments: None, "a pair (VAE, optimiser) was expected"),
    ("joint.directions", directions_of_standardised_features, "that is not (Σ λ)² / Σ λ²"),
    ("joint.directions", directions_of_the_raw_svd, "the mean is still in it"),
    ("joint.directions", directions_of_singular_values, "those are standard deviations"),
    ("joint.directions", directions_of_single_features, "the variances of single features"),
    ("joint.directions", directions_by_rank, "each direction that varies at all"),
    ("joint.naive_cka", naive_cka_of_raw_features, "the means are still in the features"),
    ("joint.naive_cka", naive_cka_of_spreads, "the mean of each image"),
    ("training.step", step_by_probabilities, "softmax was applied twice"),
    ("training.step", step_without_clearing, "zero_grad"),
    ("training.cross_entropy", cross_entropy_naive, "each row's own maximum"),
    ("training.accuracy", accuracy_by_batch, "averaged the per-batch accuracies"),
    ("training.accuracy", accuracy_in_train_mode, "train mode"),
    ("training.overfit_one_batch", overfit_noise, "other images"),
    (
        "training.debug_loop",
        loop_with_one_repair,
        f"still in the loop: {training.EARLY}; {training.TRAIN}",
    ),
    ("training.bill", bill_for_a_token, "the examples are missing"),
    ("training.bill", lambda *run: run, "three numbers were expected"),
    ("hardware.flops_linear", lambda *sizes: sum(sizes), "a first layer takes 4"),
    ("hardware.flops_linear", lambda *sizes: None, "is a return missing?"),
    ("hardware.time_it", time_all_together, "time each call of work() by itself"),
    ("hardware.time_it", time_without_repeats, "ran too few times"),
    ("hardware.time_it", time_by_the_date, "jumps when the system sets it"),
    (
        "hardware.batches_resident",
        batches_with_an_order_of_each_epoch_the_same,
        "not those of torch.randperm",
    ),
    ("hardware.batches_resident", batches_with_text_labels, "a pair of tensors"),
    ("hardware.batches_resident", batches_with_float_labels, "labels must stay whole numbers"),
    (
        "hardware.batches_resident",
        batches_by_iterating_a_list,
        "all batches were made before the first one",
    ),
    ("hardware.batches_resident", batches_without_end, "the last one what is left"),
    ("hardware.batches_resident", batches_flattened, "expected a float tensor of shape"),
    ("hardware.batches_resident", lambda *args: None, "a list of batches was expected, got None"),
    ("hardware.accumulate", accumulate_another_loss, "with loss_fn's mean loss"),
    ("hardware.resume", checkpoint_with_a_seed, "the checkpoint does not load (TypeError"),
    ("hardware.resume", checkpoint_in_eval_mode, "changed the run itself"),
    (
        "hardware.resume",
        lambda model, optimizer, epoch: (model, optimizer, epoch),
        "a dict was expected",
    ),
    ("transfer.freeze", freeze_without_gradients_in_forward, "still require gradients"),
    ("transfer.freeze", freeze_almost, "bit for bit"),
    ("transfer.freeze", freeze_and_forget, "parameters of the body moved"),
    ("transfer.freeze", lambda body: copy.deepcopy(body).eval(), "nothing about the body is fixed"),
    ("transfer.param_groups", groups_of_names, '"params" must hold parameters of the parts'),
    ("transfer.param_groups", groups_without_rates, 'each group needs "params"'),
    ("transfer.param_groups", groups_twice, "is to be in one group, and no frozen one"),
    ("transfer.param_groups", groups_of_a_number, 'each group needs "params"'),
    ("transfer.param_groups", lambda *args: [], "0 groups instead of"),
    ("transfer.param_groups", groups_with_empty_ones_slowest_last, "the wrong way round"),
    ("transfer.param_groups", groups_with_empty_ones_slowest_last, "frozen parts give none"),
    ("transfer.param_groups", groups_with_empty_ones_reversed, "from the input to the head"),
    ("transfer.param_groups", groups_with_empty_ones_reversed, "frozen parts give none"),
    ("transfer.param_groups", lambda *args: None, "a list of dicts was expected, got None"),
    (
        "transfer.linear_probe",
        probe_with_the_smallest,
        "not the smallest of the strengths with the best accuracy",
    ),
    ("transfer.linear_probe", probe_without_labels, "is a return missing?"),
    ("transfer.linear_probe", probe_the_other_way_round, "the chosen C: expected one number"),
    ("transfer.linear_probe", lambda *args: args[-1][0], "a pair (C, labels) was expected"),
    ("transfer.new_head", head_of_one_tensor, "a pair (weight, bias) was expected"),
    ("transfer.new_head", head_on_its_side, "expected a float tensor of shape"),
    ("transfer.new_head", head_of_copies, "new rows are all alike"),
    ("transfer.new_head", lambda *args: (None, None), "is a return missing?"),
    ("transfer.normalise", normalise_in_whole_numbers, "torch.int32"),
    ("transfer.normalise", normalise_twice, "(pixel / 255 - mean) / std"),
    ("transfer.l2_sp", penalty_to_zero, "weight decay, which pulls to zero"),
    ("transfer.l2_sp", penalty_of_numbers, "no gradient flows"),
    ("transfer.l2_sp", lambda *args: None, "is a return missing?"),
    ("transfer.clinic", clinic_only_the_optimiser, f"{transfer.COLLECTS}; {transfer.DRIFT}"),
    ("transfer.clinic", clinic_without_freezing, transfer.COLLECTS),
    ("transfer.clinic", clinic_on_a_copy, "mend the three bugs only"),
    ("transfer.clinic", clinic_without_losses, "is a return missing?"),
    ("sentences.pad_batch", pad_to_a_fixed_length, "a column for each token of the longest"),
    ("sentences.pad_batch", lambda *args: None, "a pair (ids, mask) was expected, got None"),
    ("sentences.train_pass", pass_that_tests_at_the_end, "the fraction of sentences"),
    ("sentences.train_pass", pass_over_the_head, "only the head has learned"),
    ("sentences.train_pass", lambda *args: (0.0, 1.0), "the weights are not those"),
    ("boxes.new_class", class_beside_the_old_ones, "the new last layer has other outputs"),
    ("boxes.new_class", class_of_another_detector, "no parameter of the changed detector"),
    ("boxes.new_class", lambda detector, classes: detector, "a list of parameters was expected"),
    ("combine.features", features_by_hidden_layer, "expected a float tensor of shape"),
    ("combine.features", features_with_noise_of_its_own, "not the posterior means"),
    ("combine.features", features_that_train, "not the posterior means"),
    ("combine.features", lambda model, images: model.encode(images), "the mean alone"),
    ("combine.features", lambda model, images: None, "is a return missing?"),
    ("combine.few_labels", labels_of_the_whole_pool, "draw from each class apart"),
    ("combine.few_labels", labels_by_masks, "whole numbers"),
    ("combine.few_labels", labels_with_half_the_seed, "another seed gives the same draws"),
    ("combine.few_labels", labels_by_numpy_globally, "the global random numbers moved"),
    (
        "combine.few_labels",
        lambda *args: torch.stack(combine.few_labels(*args)).double(),
        "a list of index tensors",
    ),
    (
        "combine.few_labels",
        lambda *args: combine.few_labels(*args)[1:],
        "indices were expected, got",
    ),
    (
        "combine.few_labels",
        lambda *args: [row - 100 for row in combine.few_labels(*args)],
        "whole numbers from 0 to",
    ),
    ("combine.paired_interval", interval_of_all_pairs, "the ends are not effect ±"),
    (
        "combine.paired_interval",
        lambda a, b: (0.0, *combine.paired_interval(a, b)[1:]),
        "not the mean of a - b",
    ),
    (
        "combine.paired_interval",
        lambda a, b: combine.paired_interval(a, b)[1:],
        "three numbers (effect, low, high)",
    ),
    ("combine.paired_interval", lambda a, b: (math.nan, 0.0, 1.0), "NaN or infinity"),
    ("combine.verdict", verdict_of_a_believer, "where 0 is inside, or an end, nothing is claimed"),
    ("combine.verdict", verdict_by_p, '"no gain" for every interval that spans 0'),
    (
        "combine.verdict",
        lambda *args: combine.verdict(*args).title(),
        "one of supported, contradicted, no gain, undecided",
    ),
    ("combine.verdict", lambda *args: None, "is a return missing?"),
    ("combine.verdict", lambda *args: "undecided", "where 0 is inside"),
    ("combine.excess_loss", excess_at_equal_epochs, "at equal epochs"),
    ("combine.excess_loss", excess_of_resampled_epochs, "interpolates over the epochs"),
    ("combine.excess_loss", excess_of_final_gaps, "the two gaps at the end"),
    ("combine.excess_loss", excess_over_all, "passed by one path only"),
    ("combine.excess_loss", lambda a, b: combine.excess_loss(b, a), "the sign is wrong"),
    ("combine.excess_loss", lambda a, b: None, "is a return missing?"),
    ("combine.leakage", study_on_shuffled_labels, "not the accuracies of the probe"),
    ("combine.leakage", study_with_other_draws, "not the accuracies of the probe"),
    ("combine.leakage", study_that_promises, "not all the others"),
    ("combine.leakage", lambda *args: combine.honest_study(*args)[:-1], "the accuracies: expected"),
    ("combine.leakage", lambda *args: None, "is a return missing?"),
)


def name(value):
    return getattr(value, "__name__", None)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("id", "function"), RIGHT, ids=name)
def test_other_right_answers_are_correct(id, function, seed):
    outcome = evaluate(get(id), function, [seed])
    assert outcome.status == "correct", outcome


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("id", "function", "says"), WRONG, ids=name)
def test_hand_written_wrong_answers_are_named(id, function, says, seed):
    outcome = evaluate(get(id), function, [seed])
    assert outcome.status == "incorrect" and says in outcome.message, outcome
