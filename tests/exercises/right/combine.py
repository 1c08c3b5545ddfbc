"""Right answers of chapter 5."""

import copy
import enum
import math
from collections import deque

import numpy as np
import pandas
import torch
from scipy import interpolate, stats

from vaetl_helpers import study

from . import ways

# combine.features


def features(model, images):
    modes = {module: module.training for module in model.modules()}
    model.eval()
    with torch.no_grad():
        mean = model.encode(images)[0]
    for module, training in modes.items():
        module.training = training
    return mean


def features_by_numpy(model, images):
    return features(model, images).numpy()


@torch.inference_mode()
def features_of_a_copy(model, images):
    return copy.deepcopy(model).eval().encode(images).mean


def features_in_rows(model, images):
    return [features(model, image[None])[0] for image in images]


def features_in_a_try(model, images):
    states = [module.training for module in model.modules()]
    try:
        return model.eval().encode(images).mean.detach().clone()
    finally:
        for module, was in zip(model.modules(), states, strict=True):
            module.training = was


# combine.few_labels


def labels(pool, per_class, draws, seed):
    generator = torch.Generator().manual_seed(seed)
    hands = [[] for _ in range(draws)]
    for name in pool.unique():
        members = torch.where(pool == name)[0]
        if len(members) < per_class * draws:
            raise ValueError(f"class {name} has only {len(members)} images")
        members = members[torch.randperm(len(members), generator=generator)]
        for i, hand in enumerate(hands):
            hand += members[i * per_class : (i + 1) * per_class].tolist()
    return hands  # lists of whole numbers


def labels_by_numpy(pool, per_class, draws, seed):
    rng = np.random.default_rng(seed)
    pool = np.asarray(pool)
    parts = []
    for name in np.unique(pool):
        members = np.flatnonzero(pool == name)
        if len(members) < per_class * draws:
            raise ValueError("too few images")
        parts.append(rng.permutation(members)[: per_class * draws].reshape(draws, per_class))
    return np.concatenate(parts, axis=1)


def labels_by_pandas(labels, per_class, draws, seed):
    pool = pandas.DataFrame({"label": labels.numpy()})
    chosen = pool.groupby("label").sample(n=per_class * draws, random_state=seed)
    hand = chosen.groupby("label").cumcount() // per_class
    return [chosen.index[hand == number] for number in range(draws)]


def labels_lazily(*args):
    yield from labels_by_numpy(*args)


def labels_by_random(labels, per_class, draws, seed):
    import random

    chooser = random.Random(seed)
    by_class = {}
    for index, name in enumerate(labels.tolist()):
        by_class.setdefault(name, []).append(index)
    hands = [deque() for _ in range(draws)]
    for members in by_class.values():
        chosen = chooser.sample(members, per_class * draws)  # raises ValueError by itself
        for place, index in enumerate(chosen):
            hands[place % draws].append(index)
    return hands


def rows_as(form):
    """The draws, each in another form."""

    def labels_in_form(labels, per_class, draws, seed):
        return [form(row) for row in labels_by_numpy(labels, per_class, draws, seed)]

    return labels_in_form


def by_name(function):
    """With the parameters' names of the exercise, by which the next cell calls it."""

    def named(labels, per_class, draws, seed):
        return function(labels, per_class, draws, seed)

    named.__name__ = function.__name__
    return named


# combine.paired_interval


def interval(a, b):
    test = stats.ttest_rel(a, b)
    return np.mean((a - b).numpy()), *test.confidence_interval()


def interval_by_hand(a, b):
    differences = [x - y for x, y in zip(a.tolist(), b.tolist(), strict=True)]
    n = len(differences)
    mean = math.fsum(differences) / n
    s = math.sqrt(sum((d - mean) ** 2 for d in differences) / (n - 1))
    half = stats.t.ppf(0.975, n - 1) * s / math.sqrt(n)
    return mean, mean - half, mean + half


def interval_in_place(a, b):
    a -= b
    half = a.std() / len(a) ** 0.5 * stats.t(len(a) - 1).ppf(0.975)
    return a.mean(), a.mean() - half, a.mean() + half


def interval_by_numpy(a, b):
    d = a.numpy() - b.numpy()
    low, high = stats.t.interval(0.95, len(d) - 1, loc=d.mean(), scale=stats.sem(d))
    return np.array([d.mean(), low, high])


def interval_of_tensors(a, b):
    std, mean = torch.std_mean(a - b)
    t = torch.tensor([0, -1, 1]) * stats.t.ppf(0.975, len(a) - 1)
    return mean + t * std / math.sqrt(len(a))


# combine.verdict


def verdict(low, high, n, delta):
    words = (
        (n < 5, "undecided"),
        (max(-low, high) < delta, "no gain"),
        (low > 0, "supported"),
        (high < 0, "contradicted"),
        (True, "undecided"),
    )
    return next(word for holds, word in words if holds)


def verdict_in_one_line(low, high, n, delta):
    if n >= 5 and -delta < low and high < delta:
        return "no gain"
    claim = "supported" if low > 0 else "contradicted"
    return claim if n >= 5 and low * high > 0 else "undecided"


def verdict_by_match(low, high, n, delta):
    match (n >= 5, -delta < low and high < delta, low > 0, high < 0):
        case (False, _, _, _):
            return "undecided"
        case (_, True, _, _):
            return "no gain"
        case (_, _, True, _):
            return "supported"
        case (_, _, _, True):
            return "contradicted"
    return "undecided"


def verdict_by_numpy(low, high, n, delta):
    conditions = [n < 5, (-delta < low) & (high < delta), low > 0, high < 0]
    words = ["undecided", "no gain", "supported", "contradicted"]
    return np.select(conditions, words, default="undecided").reshape(1)[0]


class Word(enum.StrEnum):
    SUPPORTED = "supported"
    CONTRADICTED = "contradicted"
    NO_GAIN = "no gain"
    UNDECIDED = "undecided"


class Text(str):
    """A text with more to it."""


# combine.excess_loss


def excess(a, b):
    first = min(a[0][0], b[0][0])
    last = max(a[0][-1], b[0][-1])
    total = 0.0
    for level in np.linspace(last, first, 20):
        at = [np.interp(level, np.flip(x), np.flip(y)) for x, y in (a, b)]
        total += at[0] - at[1]
    return total / 20


def excess_of_gaps(a, b):
    levels = np.linspace(min(a[0].max(), b[0].max()), max(a[0].min(), b[0].min()), 20)
    gaps = [np.interp(levels, x[::-1], y[::-1]) - levels for x, y in (a, b)]
    return np.mean(gaps[0] - gaps[1])


def excess_of_negatives(a, b):
    """The training losses with the sign turned rise by themselves."""
    levels = np.linspace(max(-a[0][0], -b[0][0]), min(-a[0][-1], -b[0][-1]), num=20)
    return (np.interp(levels, -a[0], a[1]) - np.interp(levels, -b[0], b[1])).mean()


def excess_by_sorting(a, b):
    def at(levels, path):
        order = np.argsort(path[0])
        return np.interp(levels, path[0][order], path[1][order])

    top, bottom = min(max(a[0]), max(b[0])), max(min(a[0]), min(b[0]))
    levels = [top + (bottom - top) * i / 19 for i in range(20)]
    return sum(at(levels, a) - at(levels, b)) / len(levels)


def excess_by_scipy(a, b):
    levels = np.linspace(min(a[0][0], b[0][0]), max(a[0][-1], b[0][-1]), 20)
    at_a, at_b = (interpolate.interp1d(x, y)(levels) for x, y in (a, b))
    return at_a.mean() - at_b.mean()


def excess_by_hand(a, b):
    def at(level, training, unseen):
        for i in range(len(training) - 1):
            if training[i] >= level >= training[i + 1]:
                share = (training[i] - level) / (training[i] - training[i + 1])
                return unseen[i] + share * (unseen[i + 1] - unseen[i])
        return unseen[-1] if level < training[-1] else unseen[0]  # by a rounding

    top, bottom = min(a[0][0], b[0][0]), max(a[0][-1], b[0][-1])
    levels = [top - i * (top - bottom) / 19 for i in range(20)]
    return sum(at(level, *a) - at(level, *b) for level in levels) / 20


def excess_by_torch(a, b):
    (x, y), (u, v) = [[torch.tensor(losses).flip(0) for losses in path] for path in (a, b)]
    levels = torch.linspace(max(x[0], u[0]), min(x[-1], u[-1]), 20, dtype=torch.float64)

    def at(x, y):
        right = torch.searchsorted(x, levels).clamp(1, len(x) - 1)
        share = (levels - x[right - 1]) / (x[right] - x[right - 1])
        return y[right - 1].lerp(y[right], share)

    return (at(x, y) - at(u, v)).mean()


def excess_by_pandas(a, b):
    levels = np.linspace(min(a[0][0], b[0][0]), max(a[0][-1], b[0][-1]), 20)
    curves = [pandas.Series(y, index=x) for x, y in (a, b)]
    whole = [s.reindex(s.index.union(levels)).interpolate("index")[levels] for s in curves]
    return (whole[0] - whole[1]).mean()


def excess_by_the_package(a, b):
    levels = study.shared_levels(list(a[0]), list(b[0]))
    at_a, at_b = (study.unseen_losses_at(*path, levels) for path in (a, b))
    return float(np.mean(at_a - at_b))


# combine.leakage


def of_ruler(images, std=torch.std):
    """A study whose ruler is made of these images: a function of its data and the draw."""

    def study(pretrain, fit, unlabelled, train, validation, test, draws, alphas):
        copies = (unlabelled[:, None] == test[0]).flatten(2).all(-1).any(-1)
        fresh = unlabelled[~copies]
        encode = pretrain(fresh)
        accuracies = []
        for draw in draws:
            ruler = encode(images(train[0], draw, draws, validation[0], fresh))
            mean, scale = ruler.mean(0), std(ruler, 0)
            sets = (train[0][draw], validation[0], test[0])
            x, x_validation, x_test = [(encode(rows) - mean) / scale for rows in sets]
            best, top = None, -1.0
            for alpha in alphas:
                probe = fit(x, train[1][draw], alpha)
                score = (probe(x_validation) == validation[1]).float().mean().item()
                if score > top:
                    best, top = probe, score
            accuracies.append(100 * (best(x_test) == test[1]).float().mean().item())
        return accuracies

    return study


def biased(rows, dim):
    return rows.std(dim, correction=0)


cat = torch.cat
RULERS = (
    lambda train, draw, draws, validation, fresh: train[draw],
    lambda train, draw, draws, validation, fresh: train,
    lambda train, draw, draws, validation, fresh: fresh,
    lambda train, draw, draws, validation, fresh: validation,
    lambda train, draw, draws, validation, fresh: cat([train[draw], fresh]),
    lambda train, draw, draws, validation, fresh: cat([fresh, validation]),
    lambda train, draw, draws, validation, fresh: cat([train, validation, fresh]),
    lambda train, draw, draws, validation, fresh: train[cat(draws)],
    lambda train, draw, draws, validation, fresh: train[cat(draws).unique()],
    lambda train, draw, draws, validation, fresh: train[::2],
)


def study_by_tuples(pretrain, fit, unlabelled, train, validation, test, draws, alphas):
    seen = {tuple(image.tolist()) for image in test[0]}
    kept = [image for image in unlabelled if tuple(image.tolist()) not in seen]
    others = (train, validation, test, draws, alphas)
    return of_ruler(RULERS[0])(pretrain, fit, torch.stack(kept[::-1]), *others)


study_by_ruler = of_ruler(RULERS[4])

RIGHT = {
    "combine.features": [
        features,
        features_by_numpy,
        features_of_a_copy,
        features_in_rows,
        features_in_a_try,
        ways.then(features, ways.double),
        ways.then(features, ways.nested),
        ways.then(features, ways.generator),
        *ways.all_ways(features_by_numpy),
    ],
    "combine.few_labels": [
        by_name(labels),
        by_name(labels_by_numpy),
        by_name(labels_lazily),
        labels_by_random,
        labels_by_pandas,
        rows_as(tuple),
        rows_as(list),
        rows_as(torch.tensor),
        rows_as(ways.series),
        rows_as(np.int32),
        rows_as(ways.tensors),
        ways.then(rows_as(torch.tensor), torch.stack),
        *ways.all_ways(rows_as(list)),
    ],
    "combine.paired_interval": [
        interval,
        interval_by_hand,
        interval_in_place,
        interval_by_numpy,
        interval_of_tensors,
        *ways.of_sequences(interval_by_hand),
        *ways.all_ways(interval_in_place),
    ],
    "combine.verdict": [
        verdict,
        verdict_in_one_line,
        verdict_by_match,
        verdict_by_numpy,
        ways.then(verdict, Word),
        ways.then(verdict, Text),
        ways.then(verdict, np.str_),
        *ways.all_ways(verdict),
    ],
    "combine.excess_loss": [
        excess,
        excess_of_gaps,
        excess_of_negatives,
        excess_by_sorting,
        excess_by_scipy,
        excess_by_hand,
        excess_by_torch,
        excess_by_pandas,
        excess_by_the_package,
        ways.then(excess, np.float32),
        ways.then(excess, torch.tensor),
        *ways.all_ways(excess),
    ],
    "combine.leakage": [
        *map(of_ruler, RULERS),
        of_ruler(RULERS[5], biased),
        study_by_tuples,
        *ways.of_sequences(study_by_ruler),
        *ways.all_ways(study_by_ruler),
    ],
}
