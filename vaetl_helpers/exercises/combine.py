"""Chapter 5: features of a VAE, label draws, a paired interval, a verdict, a study with three leaks.

What can be right in many ways (draws, rulers) is judged by its properties or against each of the right ways.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import cache
from itertools import product
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vaetl_helpers.exercises import Exercise, Values, floats, judged, mutants, plain, same
from vaetl_helpers.exercises.hardware import RETURNED, _judge, _whole
from vaetl_helpers.exercises.training import _problem
from vaetl_helpers.exercises.transfer import _array, _state
from vaetl_helpers.nets import Encoder
from vaetl_helpers.vae import VAE

# The reference solutions, as a learner would write them: `solution` prints these.


def features(model, images):
    """Posterior means of these images [n, latent] in eval mode, without gradients; every module's mode is put back."""
    modes = [
        (module, module.training) for module in model.modules()
    ]  # they may differ: a part may be frozen
    model.eval()
    with torch.no_grad():
        mean, log_var = model.encode(images)
    for module, training in modes:
        module.training = training
    return mean


def few_labels(labels, per_class, draws, seed):
    """A list of `draws` index tensors: `per_class` images of each class in each, and no image in two of them.

    Raises ValueError where a class has fewer than draws * per_class images.
    """
    generator = torch.Generator().manual_seed(seed)
    hands = []  # for each class, one hand for each draw
    for label in labels.unique():
        members = (labels == label).nonzero().flatten()
        if len(members) < draws * per_class:
            raise ValueError(
                f"{draws} draws of {per_class} need more than the {len(members)} images of class {label}"
            )
        order = torch.randperm(len(members), generator=generator)
        hands.append(members[order][: draws * per_class].split(per_class))
    return [torch.cat(parts) for parts in zip(*hands, strict=True)]


def paired_interval(a, b):
    """(effect, low, high): the mean of the differences a - b [n] and the ends of its 95 % Student t interval."""
    from scipy import stats

    differences = a - b  # draw by draw: what a draw does to both methods cancels
    n = len(differences)
    effect = differences.mean().item()
    standard_error = differences.std().item() / n**0.5  # std divides by n - 1
    half = stats.t.ppf(0.975, n - 1) * standard_error  # 2.5 % on each side
    return effect, effect - half, effect + half


def verdict(low, high, n, delta):
    """What an interval from low to high over n repeats says: supported, contradicted, no gain or undecided."""
    if n < 5:
        return "undecided"
    if low > 0:
        return "supported"
    if high < 0:
        return "contradicted"
    if -delta < low and high < delta:
        return "no gain"
    return "undecided"


def honest_study(pretrain, fit, unlabelled, train, validation, test, draws, alphas):
    """Test accuracy, in per cent, of a probe on each label draw; train, validation and test: (images, labels)."""
    held_out = {image.numpy().tobytes() for image in test[0]}
    fresh = torch.tensor([image.numpy().tobytes() not in held_out for image in unlabelled])
    encode = pretrain(unlabelled[fresh])  # had copies of test images
    accuracies = []
    for draw in draws:
        ruler = encode(train[0][draw])  # had the test images
        mean, std = ruler.mean(dim=0), ruler.std(dim=0)
        x, x_validation, x_test = (
            (encode(s) - mean) / std for s in (train[0][draw], validation[0], test[0])
        )
        probes = [fit(x, train[1][draw], alpha) for alpha in alphas]
        scores = [
            (probe(x_validation) == validation[1]).double().mean() for probe in probes
        ]  # was on test
        best = probes[scores.index(max(scores))]
        accuracies.append(100 * (best(x_test) == test[1]).double().mean().item())
    return accuracies


HINTS = """\
features: Four things: the mean and not a sample, eval mode, no gradients, and the modes as they were before.
features: [(module, module.training) for module in model.modules()] remembers all modes; model.eval() changes them.
features: with torch.no_grad(): mean, log_var = model.encode(images). Then module.training = training for each pair.
few_labels: Shuffle each class once, like a pack of cards, and deal it out: the hands of one pack share no card.
few_labels: (labels == label).nonzero().flatten() are a class's images; torch.randperm(n, generator=generator) shuffles.
few_labels: .split(per_class) cuts the first draws * per_class of them. Draw i joins hand i of each class: torch.cat.
paired_interval: First subtract, draw by draw. From there on there is only one list of numbers.
paired_interval: The standard error of their mean is differences.std() / n ** 0.5, with n draws.
paired_interval: The interval is the mean ± stats.t.ppf(0.975, n - 1) times the standard error.
verdict: Only low and high can decide, never the middle. The order: too few repeats, above 0, below 0, inside ±delta.
verdict: Above 0 means low > 0; below 0 means high < 0. An end that lies on a boundary is not beyond it: > and <.
verdict: "no gain" needs -delta < low and high < delta. What none of the tests has caught is "undecided".
leakage: For each line ask: does anything here come from test, before the last line that measures?
leakage: Three lines: what pretrain is given, what the ruler is made of, and which scores choose alpha.
leakage: A set of image.numpy().tobytes() finds equal images; encode(train[0][draw]) is the ruler; score x_validation.
"""


def _exercise(name: str, minutes: int, points: int, reference: Callable, *parts: Any) -> Exercise:
    """`parts`: draw, drive, judge and wrong answers."""
    hints = tuple(
        line.split(": ", 1)[1] for line in HINTS.splitlines() if line.startswith(f"{name}: ")
    )
    return Exercise(f"combine.{name}", minutes, points, hints, reference, *parts)


# combine.features

MEANS, STATE, MODES = (
    "the features",
    "the model's parameters and buffers",
    "each module's mode afterwards",
)
GRAPHS, LEARNING = "features with a graph", "parameters that can learn afterwards"


def _draw_features(seed: int) -> Values:
    return _problem(seed, batches=1) | {"latent": 2 + seed % 3, "seed": seed % 997}


def _vae(inputs: Values) -> VAE:
    """A small VAE whose encoder has BatchNorm and dropout."""
    shape, hidden, latent = inputs["images"].shape[1:], inputs["hidden"], inputs["latent"]
    torch.manual_seed(inputs["seed"])
    norm = nn.BatchNorm1d(hidden)
    norm.running_mean, norm.running_var = inputs["statistics"].clone()
    body = nn.Sequential(
        nn.Flatten(), nn.Linear(shape.numel(), hidden), norm, nn.Tanh(), nn.Dropout(0.4)
    )
    decoder = nn.Sequential(nn.Linear(latent, shape.numel()), nn.Unflatten(1, shape))
    return VAE(Encoder(body, hidden, latent), decoder)


def _drive_features(function: Callable, inputs: Values) -> Values:
    results = []
    for model_trains, encoder_trains in (
        (True, True),
        (False, False),
        (True, False),
    ):  # the last has a frozen part
        model = _vae(inputs).train(model_trains)
        model.encoder.train(encoder_trains)
        torch.manual_seed(
            0
        )  # a code that is sampled is then that of the wrong answer, and is named
        with torch.enable_grad():
            means = _array(function(model, inputs["images"].clone()))
            learning = torch.is_grad_enabled() * sum(
                parameter.requires_grad for parameter in model.parameters()
            )
        if not isinstance(means, Tensor):
            return {
                RETURNED: f"one tensor [n, latent] was expected, the mean alone, got {means!s:.80}"
            }
        modes = torch.tensor([float(module.training) for module in model.modules()])
        gradients = torch.tensor([[float(means.requires_grad)], [float(learning)]])
        results.append((means, _state(model), modes, *gradients))
    names = MEANS, STATE, MODES, GRAPHS, LEARNING
    return {
        name: torch.stack(parts)
        for name, parts in zip(names, zip(*results, strict=True), strict=True)
    }


NO_GRAD, SET_BACK = "with torch.no_grad():", "module.training = training"
NOT_EVAL = "the model was not in eval mode: dropout acts and BatchNorm takes the batch's statistics, so model.eval()"
SAMPLED = "return mean + (0.5 * log_var).exp() * torch.randn_like(mean)"
FEATURES = mutants(
    features,
    (
        "sampled",
        "that is a sampled z: return the mean, which has no noise",
        {"return mean": SAMPLED},
    ),
    ("log_var", "that is log_var, not the mean", {"return mean": "return log_var"}),
    ("both", "the mean alone", {"return mean": "return mean, log_var"}),
    (
        "decoded",
        "these are the decoder's logits: return the mean",
        {"return mean": "return model.decode(mean)"},
    ),
    ("no eval", NOT_EVAL, {"model.eval()": "pass"}),
    ("graph", "the features carry the graph of their gradients", {NO_GRAD: "if True:"}),
    (
        "fixed",
        "nothing can learn afterwards",
        {NO_GRAD: "model.requires_grad_(False)\n    if True:"},
    ),
    (
        "switched off",
        "nothing can learn afterwards",
        {NO_GRAD: "torch.set_grad_enabled(False)\n    if True:"},
    ),
    ("left in eval", "the model is left in eval mode: put the modes back", {SET_BACK: "pass"}),
    ("one mode", "the whole model gets one mode", {SET_BACK: "model.train(modes[0][1])"}),
)
FEATURES_STAGES = (
    ((MEANS,), "these are not the posterior means in eval mode"),
    ((STATE,), "parameters or buffers moved: without eval mode BatchNorm's running statistics do"),
    ((GRAPHS,), "the features carry the graph of their gradients: with torch.no_grad()"),
    (
        (LEARNING,),
        "nothing can learn afterwards: use with torch.no_grad(), which ends by itself, and nothing else",
    ),
    (
        (MODES,),
        "the whole model gets one mode, but a frozen part was in another one: put back each module's own",
    ),
)


# combine.few_labels

FIRST, AGAIN, OTHERS = "the draws", "the draws of the same seed", "the draws of other seeds"
NEXT, SHORT = (
    "the global random numbers that follow",
    "how often ValueError came for too small a pool",
)
UNEVEN, TWICE, SHARED = (
    "draws with another count of a class",
    "images twice in a draw",
    "images in two draws",
)
DIFFER, ALIKE, NEVER = (
    "indices that another call changes",
    "seeds with the same draws",
    "images that no seed draws",
)
RAISED, SEEDS = (
    "ValueError",
    24,
)  # each seed draws half of the images or more, so all together draw each


def _draw_labels(seed: int) -> Values:
    """Classes of different sizes, numbered with gaps; the smallest is just large enough."""
    generator = torch.Generator().manual_seed(seed)
    classes, per_class, draws = (_whole(low, low + 2, generator) for low in (3, 2, 2))
    enough, names = per_class * draws, torch.randperm(10, generator=generator)[:classes] + 1
    sizes = [enough, *(enough + _whole(1, enough, generator) for _ in range(classes - 1))]
    labels = torch.cat([name.repeat(size) for name, size in zip(names, sizes, strict=True)])
    short = labels[1:]  # one too few of the first class
    labels, short = (x[torch.randperm(len(x), generator=generator)] for x in (labels, short))
    return {
        "labels": labels,
        "short": short,
        "per_class": per_class,
        "draws": draws,
        "seed": seed % 997,
    }


def _called(function: Callable, inputs: Values, seed: int, world: int) -> Tensor | str:
    """The draws of one call while the global generators stand at `world`, or in words what came instead."""
    torch.manual_seed(world), np.random.seed(world)
    per_class, draws, rows = inputs["per_class"], inputs["draws"], []
    size = per_class * len(inputs["labels"].unique())
    try:
        result = function(inputs["labels"].clone(), per_class, draws, inputs["seed"] + seed)
    except ValueError as error:
        return f"{RAISED} on a pool that is just large enough: {error!s:.150}"
    with contextlib.suppress(Exception):  # it may be anything
        rows = [torch.as_tensor(row) for row in result]
    if not rows or any(
        row.dim() != 1 or row.dtype not in (torch.int64, torch.int32) for row in rows
    ):
        return f"a list of index tensors was expected (whole numbers, one dimension), got {plain(result)!s:.80}"
    if [len(row) for row in rows] != [size] * draws:
        return f"{draws} draws of {size} indices were expected, got {len(rows)} of {[len(row) for row in rows]!s:.40}"
    return torch.stack(rows).double()


def _drive_few(function: Callable, inputs: Values) -> Values:
    first = _called(function, inputs, 0, world=0)
    following = torch.tensor([torch.rand(()).item(), np.random.rand()])
    calls = [first, *(_called(function, inputs, number, number + 1) for number in range(SEEDS))]
    if words := [call for call in calls if isinstance(call, str)]:
        return {RETURNED: words[0]}
    short = _called(function, inputs | {"labels": inputs["short"]}, 0, world=0)
    raised = int(isinstance(short, str) and short.startswith(RAISED))
    return {
        FIRST: first,
        AGAIN: calls[1],
        OTHERS: torch.stack(calls[2:]),
        NEXT: following,
        SHORT: raised,
    }


def _properties(inputs: Values, outputs: Values) -> Values:
    """What is asked of draws, and all that can be compared: which images they hold is free."""
    if isinstance(outputs.get(RETURNED), str):
        return outputs
    labels, per_class = inputs["labels"], inputs["per_class"]
    classes, shape = labels.unique(), (inputs["draws"], per_class * len(labels.unique()))
    first, again = (floats(outputs, name, shape) for name in (FIRST, AGAIN))
    every = torch.cat([first[None], floats(outputs, OTHERS, (SEEDS - 1, *shape))])
    if (every != every.round()).any() or every.min() < 0 or every.max() >= len(labels):
        return {
            RETURNED: f"indices are whole numbers from 0 to {len(labels) - 1}, and these are not all"
        }
    held = nn.functional.one_hot(every.long(), len(labels)).sum(dim=2)  # [seeds, draws, images]
    counts = torch.stack([held[..., labels == label].sum(-1) for label in classes])
    values = {
        UNEVEN: (counts != per_class).sum(),
        TWICE: (held > 1).sum(),
        SHARED: (held.sum(1) > held.amax(1)).sum(),
    }
    values |= {
        DIFFER: (first != again).sum(),
        ALIKE: SEEDS - torch.tensor(len(every.flatten(1).unique(dim=0))),
    }
    values |= {NEVER: held.sum((0, 1)) == 0}
    counted = {name: value.double() for name, value in values.items()}
    return counted | {name: outputs.get(name, "nothing") for name in (NEXT, SHORT)}


def _drive_properties(function: Callable, inputs: Values) -> Values:
    return _properties(inputs, _drive_few(function, inputs))


@judged
def _judge_few(inputs: Values, outputs: Values) -> str | None:
    return _judge(_drive_properties, few_labels, FEW_STAGES, FEW)(
        inputs, _properties(inputs, outputs)
    )


ORDER, CUT = (
    "randperm(len(members), generator",
    "members[order][: draws * per_class].split(per_class)",
)
ANY = "return list(torch.randperm(len(labels), generator=generator)[: len(hands) * draws * per_class].chunk(draws))"
ANEW = (
    "[members[torch.randperm(len(members), generator=generator)[:per_class]] for _ in range(draws)]"
)
REPLACED = "randint(len(members), (len(members),), generator"
FEW = mutants(
    few_labels,
    (
        "not stratified",
        "another number of a class: draw from each class apart",
        {"return [": f"{ANY}\n    return ["},
    ),
    ("places in the class", "these are places within a class", {"members[order]": "order"}),
    ("with replacement", "an image comes twice in one draw", {ORDER: REPLACED}),
    ("anew each time", "an image is in two draws", {CUT: ANEW}),
    ("seed ignored", "another seed gives the same draws", {"manual_seed(seed)": "manual_seed(0)"}),
    ("no generator", "the same seed gives other draws", {", generator=generator": ""}),
    (
        "global seed",
        "the global random numbers moved",
        {"torch.Generator().manual_seed": "torch.manual_seed"},
    ),
    ("first images", "always the first images of each class", {"members[order]": "members"}),
    (
        "first images shuffled",
        "some images are in no draw",
        {ORDER: "randperm(draws * per_class, generator"},
    ),
    ("no error", "too small a pool must raise ValueError", {"raise ValueError": "str"}),
    ("too strict", "ValueError on a pool that is just large enough", {"< draws": "<= draws"}),
)
FEW_STAGES = (
    (
        (UNEVEN,),
        "a draw has another number of a class: draw from each class apart, per_class images",
    ),
    ((TWICE,), "an image comes twice in one draw: torch.randperm draws without replacement"),
    (
        (SHARED,),
        "an image is in two draws: shuffle each class once and cut it, instead of drawing anew",
    ),
    (
        (DIFFER,),
        "the same seed gives other draws: torch.randperm needs your generator, seeded with seed",
    ),
    (
        (ALIKE,),
        "another seed gives the same draws: seed the generator with seed, and shuffle each class with it",
    ),
    (
        (NEVER,),
        "some images are in no draw of any seed: shuffle all images of the class before you cut",
    ),
    (
        (NEXT,),
        "the global random numbers moved: use a generator of your own, torch.Generator().manual_seed(seed)",
    ),
    ((SHORT,), "too small a pool must raise ValueError: a class needs draws * per_class images"),
)


# combine.paired_interval

EFFECT, LOW, HIGH = "the effect", "low", "high"


def _draw_interval(seed: int) -> Values:
    """Accuracies of two methods, which depend on the draw in the same way."""
    generator, n = torch.Generator().manual_seed(seed), 5 + seed % 7
    draw, a, b = 4 * torch.randn(3, n, generator=generator, dtype=torch.float64)
    return {"a": 68 + 2 * draw + a, "b": 65 + 2 * draw + b}


def _drive_interval(function: Callable, inputs: Values) -> Values:
    torch.manual_seed(0)  # a bootstrap then draws as the wrong answer does
    result = _array(function(inputs["a"].clone(), inputs["b"].clone()))
    if not isinstance(result, Tensor) or result.shape != (3,):
        return {
            RETURNED: f"three numbers (effect, low, high) were expected, got {plain(result)!s:.80}"
        }
    return dict(zip((EFFECT, LOW, HIGH), result.tolist(), strict=True))


SPREAD, POINT = "differences.std().item() / n**0.5", "stats.t.ppf(0.975, n - 1)"
WELCH = "test = stats.ttest_ind(a, b, equal_var=False).confidence_interval(); return effect, test.low, test.high\n"
BOOTSTRAP = "means = differences[torch.randint(n, (2000, n))].mean(1); cut = torch.tensor([0.025, 0.975]).double(); "
BOOTSTRAP += "return (effect, *means.quantile(cut).tolist()); return effect"
INTERVALS = mutants(
    paired_interval,
    (
        "Welch",
        "that is Welch's interval, of unpaired samples",
        {"return effect": f"{WELCH}    return effect"},
    ),
    ("normal", f"1.96 is the normal distribution's: for n draws it is {POINT}", {POINT: "1.96"}),
    (
        "n degrees",
        f"these are n degrees of freedom: it is {POINT}",
        {POINT: "stats.t.ppf(0.975, n)"},
    ),
    ("one-sided", "5 % are left out on each side, 2.5 % were asked for", {"0.975": "0.95"}),
    ("ddof 0", "the variance is divided by n: it is n - 1", {".std()": ".std(correction=0)"}),
    (
        "no root",
        "that is where single differences lie: divide by n ** 0.5 for their mean",
        {" / n**0.5": ""},
    ),
    (
        "bootstrap",
        "that is a percentile bootstrap, which is too narrow for few draws",
        {"return effect": BOOTSTRAP},
    ),
    ("b - a", "the sign is wrong: a - b", {"a - b  #": "b - a  #"}),
)
INTERVAL_STAGES = (
    ((EFFECT,), "the effect is not the mean of a - b"),
    ((LOW, HIGH), f"the ends are not effect ± {POINT} * (standard deviation of a - b) / n ** 0.5"),
)


# combine.verdict

WORDS = "supported", "contradicted", "no gain", "undecided"
FEWER, SPANNING, BEYOND = (
    f"the verdicts {where}" for where in ("below 5 repeats", "where 0 is inside", "elsewhere")
)
ENDS = [
    (0.1, 0.6),
    (1.2, 2.5),
    (0.5, 3),
    (-0.6, 0.4),
    (-0.85, 0.8),
    (-0.3, 1.7),
    (-0.3, 1.08),
    (-2, 1.5),
]
ENDS += [(0, 0.5), (0, 2), (-1, 0.5), (-1, 1), (-1.08, 0.9), (0.4, 1)]  # 0 and ±1 are boundaries
ENDS += [(-high, -low) for low, high in ENDS]  # all in units of delta


def _draw_verdict(seed: int) -> Values:
    """Rows (low, high, n): all kinds of ends, each with 5, more, and fewer repeats."""
    generator = torch.Generator().manual_seed(seed)
    delta = (0.6, 1.3)[seed % 2] + 0.2 * torch.rand((), generator=generator, dtype=torch.float64)
    ends = torch.tensor(ENDS, dtype=torch.float64)
    moved = 1 + 0.05 * torch.rand(ends.shape, generator=generator) * (
        (ends != 0) & (ends.abs() != 1)
    )
    more, fewer = (
        torch.randint(low, high, (len(ends),), generator=generator)
        for low, high in ((6, 36), (2, 5))
    )
    rows = [
        torch.cat([ends * moved * delta, n[:, None]], 1)
        for n in (torch.full_like(more, 5), more, fewer)
    ]
    return {"rows": torch.cat([*rows, rows[1][: seed % 5]]), "delta": delta.item()}


def _drive_verdict(function: Callable, inputs: Values) -> Values:
    given = [
        function(low, high, int(n), inputs["delta"]) for low, high, n in inputs["rows"].tolist()
    ]
    if odd := [word for word in given if not (isinstance(word, str) and word in WORDS)]:
        return {RETURNED: f"one of {', '.join(WORDS)} was expected, got {plain(odd[0])!s:.80}"}
    codes, (low, high, n) = (
        torch.tensor([float(WORDS.index(word)) for word in given]),
        inputs["rows"].T,
    )
    spans = (low <= 0) & (high >= 0)
    return {
        FEWER: codes[n < 5],
        SPANNING: codes[(n >= 5) & spans],
        BEYOND: codes[(n >= 5) & ~spans],
    }


FEW_REPEATS, ABOVE, BELOW, INSIDE = (
    "if n < 5:",
    "if low > 0:",
    "if high < 0:",
    "if -delta < low and high < delta:",
)
NO_GAIN_FIRST = f'{INSIDE}\n        return "no gain"\n    {ABOVE}'
VERDICTS = mutants(
    verdict,
    (
        "midpoint",
        "you claim by the middle",
        {ABOVE: "if low + high > 0:", BELOW: "if low + high < 0:"},
    ),
    ("spans 0", '"no gain" for every interval that spans 0', {INSIDE: "if low <= 0 <= high:"}),
    ("n ignored", "below 5 repeats nothing is claimed", {FEW_REPEATS: "if False:"}),
    ("5 not enough", "5 repeats are enough", {FEW_REPEATS: "if n <= 5:"}),
    ("delta ignored", "the margin is delta, not always 1", {INSIDE: "if -1 < low and high < 1:"}),
    (
        "delta to claim",
        "a claim needs no delta",
        {ABOVE: "if low > delta:", BELOW: "if high < -delta:"},
    ),
    (
        "no gain first",
        "above 0 is supported, also inside ±delta: ask that first",
        {ABOVE: NO_GAIN_FIRST},
    ),
    ("0 counts", "an end on 0 is not beyond it", {ABOVE: "if low >= 0:", BELOW: "if high <= 0:"}),
    (
        "delta counts",
        "an end on delta is not inside it",
        {INSIDE: "if -delta <= low and high <= delta:"},
    ),
    ("one end inside", "no gain needs -delta < low, too", {INSIDE: "if high < delta:"}),
)
VERDICT_STAGES = (
    ((FEWER,), "below 5 repeats nothing is claimed: undecided, whatever the interval"),
    (
        (SPANNING,),
        "where 0 is inside, or an end, nothing is claimed: no gain if both ends are inside ±delta",
    ),
    (
        (BEYOND,),
        "an interval above 0 is supported, one below 0 contradicted, from 5 repeats on and whatever delta is",
    ),
)


# combine.leakage

COPIED, FRESH = (
    "copies of test images that pretrain saw",
    "other unlabelled images that pretrain saw",
)
FOREIGN, ACCURACIES = "images from elsewhere that pretrain saw", "the accuracies"
SETS = "train", "validation", "test"


@cache
def _draw_study(seed: int) -> Values:
    """Drawn again until equal scores do not matter and each wrong answer differs from right ones and the others."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        values = _study(seed, generator)
        first, last = _drive_study(honest_study, values), _drive_study(LAST, values)
        if same(first, last, first):
            right = [_drive_study(function, values) for function in HONEST]
            wrong = [_drive_study(answer.function, values) for answer in LEAKS]
            if not any(same(x, y, y) for i, x in enumerate(wrong) for y in [*right, *wrong[:i]]):
                return values


def _study(seed: int, generator: torch.Generator) -> Values:
    """Two classes in images of few pixels; test images come from elsewhere, and copies of some are unlabelled."""
    pixels, draws = 8 + seed % 3, 4 + seed % 2
    factors = torch.randn(3, pixels, generator=generator)
    values: Values = {"alphas": torch.tensor([0.1, 10, 300])}
    for name, count in zip((*SETS, "unlabelled"), (24, 50, 60, 40), strict=True):
        y = torch.arange(count) % 2
        weights = torch.randn(count, 3, generator=generator) * torch.tensor(
            [1, 1.5, 3 if name == "test" else 0.7]
        )
        weights[:, 0] += 1.2 * (2 * y - 1)
        noise = torch.randn(count, pixels, generator=generator)
        values |= {f"{name}_x": weights @ factors + noise + 2 * (name == "test"), f"{name}_y": y}
    values["test_x"][:6] *= 4
    unlabelled = torch.cat([values["unlabelled_x"], values["test_x"][: 20 + seed % 3]])
    values["unlabelled"] = unlabelled[torch.randperm(len(unlabelled), generator=generator)]
    hands = [
        torch.randperm(12, generator=generator)[:4] * 2 + torch.tensor([[0], [1]])
        for _ in range(draws)
    ]
    return values | {"draws": torch.stack(hands).flatten(1)}


def principal_components(images: Tensor) -> Callable[[Tensor], Tensor]:
    """A stand-in for pretraining that takes no time: images [n, pixels] → their 4 first principal components."""
    mean = images.mean(dim=0)
    basis = torch.linalg.svd(images - mean, full_matrices=False).Vh[:4].T
    return lambda others: (others - mean) @ basis


def ridge(x: Tensor, y: Tensor, alpha: float) -> Callable[[Tensor], Tensor]:
    """A linear probe by least squares for labels 0 and 1; alpha > 0 keeps its weights small."""
    mean, share = x.mean(dim=0), y.double().mean().to(x.dtype)
    centred = x - mean
    weights = torch.linalg.solve(
        centred.T @ centred + alpha * torch.eye(x.shape[1]).to(x), centred.T @ (y - share)
    )
    return lambda others: ((others - mean) @ weights + share > 0.5).long()


def _drive_study(function: Callable, inputs: Values) -> Values:
    """`function` runs in double precision; what it pretrains on is counted."""
    unlabelled, test = inputs["unlabelled"].double(), inputs["test_x"].double()
    seen, foreign = torch.zeros(len(unlabelled), dtype=torch.bool), 0

    def pretrain(images: Tensor) -> Callable[[Tensor], Tensor]:
        nonlocal foreign
        equal = (images.double()[:, None] == unlabelled).all(dim=2)
        seen.logical_or_(equal.any(dim=0))
        foreign += int((~equal.any(dim=1)).sum())
        return principal_components(images.double())

    sets = ((inputs[f"{name}_x"].double(), inputs[f"{name}_y"].clone()) for name in SETS)
    draws, alphas = list(inputs["draws"].clone()), inputs["alphas"].tolist()
    result = function(pretrain, ridge, unlabelled.clone(), *sets, draws, alphas)
    copies = (unlabelled[:, None] == test).all(dim=2).any(dim=1)
    counts = {
        COPIED: int((seen & copies).sum()),
        FRESH: int((seen & ~copies).sum()),
        FOREIGN: foreign,
    }
    return counts | {ACCURACIES: _array(result)}


COPIES, CHOICE = "unlabelled[fresh]", "(x_validation) == validation[1]"
RULER, STD = "ruler = encode(train[0][draw])", "std(dim=0)"
BUGS = (
    ("pretrain is given copies of test images", {COPIES: "unlabelled"}),
    (
        "test images are in the ruler",
        {RULER: "ruler = encode(torch.cat([train[0][draw], test[0]]))"},
    ),
    ("alpha is chosen on the test labels", {CHOICE: "(x_test) == test[1]"}),
)
LEFT = [
    [bug for bug, on in zip(BUGS, which, strict=True) if on]
    for which in product((0, 1), repeat=3)
    if any(which)
]
NAMES = ["; ".join(name for name, _ in bugs) for bugs in LEFT]
EDITS = [{old: new for _, edits in bugs for old, new in edits.items()} for bugs in LEFT]
OWN = "((codes := encode(s)) - codes.mean(dim=0)) / codes.std(dim=0)"
SMALLER = "seen = {image.numpy().tobytes() for image in unlabelled}; accuracies = []; "
SMALLER += "kept = [image.numpy().tobytes() not in seen for image in test[0]]; test = [part[kept] for part in test]"
LEAKS = mutants(
    honest_study,
    *((name, f"still in it: {name}", edits) for name, edits in zip(NAMES, EDITS, strict=True)),
    (
        "alpha on train",
        "alpha is chosen on the labels that the probe was fitted on",
        {CHOICE: "(x) == train[1][draw]"},
    ),
    (
        "own rulers",
        "each set is standardised by itself: one ruler for all",
        {"(encode(s) - mean) / std": OWN},
    ),
    (
        "smaller test",
        "the test set must stay as it is",
        {COPIES: "unlabelled", "accuracies = []": SMALLER},
    ),
    ("no unlabelled", "pretrain is given other images", {COPIES: "train[0]"}),
    ("some dropped", "not all the others", {COPIES: "unlabelled[fresh][1:]"}),
    ("fractions", "the accuracies are fractions: per cent were asked for", {"100 * ": ""}),
)
# Rulers without test images, with either standard deviation: all of them are right.
SOURCES = "train[0][draw]", "train[0]", "unlabelled[fresh]"
SOURCES += tuple(f"torch.cat([{images}, validation[0]])" for images in SOURCES[:2])
WAYS = product(
    (f"ruler = encode({images})" for images in SOURCES), (STD, "std(dim=0, correction=0)")
)
ROWS = [{RULER: ruler, STD: std} for ruler, std in WAYS]
ROWS += [
    {"scores.index(max(scores))": "max(range(len(scores)), key=lambda i: (scores[i], i))"}
]  # the last of equals
*HONEST, LAST = (
    answer.function for answer in mutants(honest_study, *(("", "", edits) for edits in ROWS))
)
LEAK_STAGES = (
    (
        (COPIED,),
        "pretrain is given copies of test images: leave out the unlabelled images that are in test[0]",
    ),
    ((FOREIGN,), "pretrain is given other images than unlabelled ones"),
    (
        (FRESH,),
        "pretrain is given some unlabelled images, not all the others: only copies of test images go",
    ),
    (
        (ACCURACIES,),
        "not the accuracies of the probe that is best on validation, with a ruler without test images",
    ),
)


@judged
def _judge_study(inputs: Values, outputs: Values) -> str | None:
    refusal = _judge(_drive_study, honest_study, LEAK_STAGES, LEAKS)(inputs, outputs)
    for function in HONEST if refusal else ():
        with contextlib.suppress(Exception):  # outputs may be anything
            known = _drive_study(function, inputs)
            if same(outputs, known, known):
                return None
    return refusal


JUDGE_FEATURES = _judge(_drive_features, features, FEATURES_STAGES, FEATURES)
JUDGE_INTERVAL = _judge(_drive_interval, paired_interval, INTERVAL_STAGES, INTERVALS)
JUDGE_VERDICT = _judge(_drive_verdict, verdict, VERDICT_STAGES, VERDICTS)
EXERCISES = (
    _exercise(
        "features", 8, 2, features, _draw_features, _drive_features, JUDGE_FEATURES, FEATURES
    ),
    _exercise("few_labels", 12, 3, few_labels, _draw_labels, _drive_few, _judge_few, FEW),
    _exercise(
        "paired_interval",
        8,
        2,
        paired_interval,
        _draw_interval,
        _drive_interval,
        JUDGE_INTERVAL,
        INTERVALS,
    ),
    _exercise("verdict", 8, 2, verdict, _draw_verdict, _drive_verdict, JUDGE_VERDICT, VERDICTS),
    _exercise("leakage", 15, 4, honest_study, _draw_study, _drive_study, _judge_study, LEAKS),
)
