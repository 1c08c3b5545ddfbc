"""Chapter 5: features, label draws, an interval, a verdict, overfitting, a study with leaks.

What can be right in many ways (draws, rulers) is judged by its properties.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable
from functools import cache
from itertools import combinations, product
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vaetl_helpers.exercises.engine import Function, Values, Wrong
from vaetl_helpers.exercises.forms import index_rows, number, numbers, tensor, word
from vaetl_helpers.exercises.toolkit import (
    RETURNED,
    Refused,
    array,
    batch_norm,
    cut,
    edited,
    exercise,
    floats,
    plain,
    problem,
    same,
    state_of,
    whole_number,
)
from vaetl_helpers.nets import Encoder
from vaetl_helpers.vae import VAE

# combine.features

MEANS = "the features"
STATE = "the model's parameters and buffers"
MODES = "each module's mode afterwards"
GRAPHS = "features with a graph"
LEARNING = "parameters that can learn afterwards"


@exercise(
    id="combine.features",
    level=2,
    after="The same images have the same features now, whoever asks and in whatever mode the "
    "model is.",
    minutes=8,
    points=2,
    hints=(
        "Four things: the mean and not a sample, eval mode, no gradients, and the modes as they "
        "were before.",
        "[(module, module.training) for module in model.modules()] remembers all modes; "
        "model.eval() changes them.",
        "with torch.no_grad(): mean, log_var = model.encode(images). Then module.training = "
        "training for each pair.",
    ),
    form=tensor,
)
def features(model, images):
    """Posterior means of these images [n, latent] in eval mode, without gradients;
    every module's mode is put back.
    """
    # They may differ: a part may be frozen.
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    with torch.no_grad():
        mean, log_var = model.encode(images)
    for module, training in modes:
        module.training = training
    return mean


@features.draw
def _(seed: int) -> Values:
    return problem(seed, batches=1) | {"latent": 2 + seed % 3, "seed": seed % 997}


def small_vae(inputs: Values) -> VAE:
    """A VAE whose encoder has BatchNorm and dropout."""
    torch.manual_seed(inputs["seed"])
    hidden = inputs["hidden"]
    latent = inputs["latent"]
    shape = inputs["images"].shape[1:]
    pixels = shape.numel()
    norm = batch_norm(inputs)
    body = nn.Sequential(nn.Flatten(), nn.Linear(pixels, hidden), norm, nn.Tanh(), nn.Dropout(0.4))
    decoder = nn.Sequential(nn.Linear(latent, pixels), nn.Unflatten(1, shape))
    return VAE(Encoder(body, hidden, latent), decoder)


def seen_from(
    function: Function, inputs: Values, model_trains: bool, encoder_trains: bool
) -> Values:
    """The features of a model in these modes, and what became of the model."""
    model = small_vae(inputs).train(model_trains)
    model.encoder.train(encoder_trains)
    torch.manual_seed(0)  # a code that is sampled is then that of the wrong answer, and is named
    with torch.enable_grad():
        means = array(function(model, inputs["images"].clone()))
        can_learn = torch.is_grad_enabled()
    if not isinstance(means, Tensor):
        words = f"one tensor [n, latent] was expected, the mean alone, got {means!s:.80}"
        return {RETURNED: words}
    learning = 0
    for parameter in model.parameters():
        learning += can_learn and parameter.requires_grad
    modes = [float(module.training) for module in model.modules()]
    return {
        MEANS: means,
        STATE: state_of(model),
        MODES: torch.tensor(modes),
        GRAPHS: torch.tensor([float(means.requires_grad)]),
        LEARNING: torch.tensor([float(learning)]),
    }


@features.drive
def _(function: Function, inputs: Values) -> Values:
    cases = []
    for model_trains, encoder_trains in ((True, True), (False, False), (True, False)):
        outputs = seen_from(function, inputs, model_trains, encoder_trains)
        if RETURNED in outputs:
            return outputs
        cases.append(outputs)
    names = (MEANS, STATE, MODES, GRAPHS, LEARNING)
    return {name: torch.stack([case[name] for case in cases]) for name in names}


features.part("the features", points=1)
features.compare(MEANS, says="these are not the posterior means in eval mode")
features.part("the model as it was, and no graph", points=1)
features.compare(
    STATE,
    says="parameters or buffers moved: without eval mode BatchNorm's running statistics do",
)
features.compare(
    GRAPHS, says="the features carry the graph of their gradients: with torch.no_grad()"
)
features.compare(
    LEARNING,
    says="nothing can learn afterwards: use with torch.no_grad(), which ends by itself, and "
    "nothing else",
)
features.compare(
    MODES,
    says="the whole model gets one mode, but a frozen part was in another one: put back each "
    "module's own",
)

features.wrong(
    "sampled",
    says="that is a sampled z: return the mean, which has no noise",
    last_line="return mean + (0.5 * log_var).exp() * torch.randn_like(mean)",
)
features.wrong("log_var", says="that is log_var, not the mean", last_line="return log_var")
features.wrong("both", says="the mean alone", last_line="return mean, log_var")
features.wrong(
    "decoded",
    says="these are the decoder's logits: return the mean",
    last_line="return model.decode(mean)",
)
features.wrong(
    "no eval",
    says="the model was not in eval mode: dropout acts and BatchNorm takes the batch's statistics, "
    "so model.eval()",
    edit={"model.eval()": ""},
)
features.wrong(
    "graph",
    says="the features carry the graph of their gradients",
    edit={"with torch.no_grad():": "if True:"},
)
features.wrong(
    "fixed",
    says="nothing can learn afterwards",
    edit={"with torch.no_grad():": "model.requires_grad_(False)\nif True:"},
)
features.wrong(
    "switched off",
    says="nothing can learn afterwards",
    edit={"with torch.no_grad():": "torch.set_grad_enabled(False)\nif True:"},
)
features.wrong(
    "left in eval",
    says="the model is left in eval mode: put the modes back",
    edit={"module.training = training": "pass"},
)
features.wrong(
    "one mode",
    says="the whole model gets one mode",
    edit={"module.training = training": "model.train(modes[0][1])"},
)


# combine.few_labels

FIRST = "the draws"
AGAIN = "the draws of the same seed"
OTHERS = "the draws of other seeds"
NEXT = "the global random numbers that follow"
SHORT = "how often ValueError came for too small a pool"
UNEVEN = "draws with another count of a class"
TWICE = "images twice in a draw"
SHARED = "images in two draws"
DIFFER = "indices that another call changes"
ALIKE = "seeds with the same draws"
NEVER = "images that no seed draws"
RAISED = "ValueError"
SEEDS = 24  # each seed draws half of the images or more, so all together draw each


@exercise(
    id="combine.few_labels",
    level=3,
    steps=(
        "for each class: the rows of its images; ValueError where there are too few",
        "a random order of them, cut into one hand for each draw",
        "one index tensor for each draw: the hands of all classes together",
    ),
    after="Each class has as many images in each draw, and no image is in two: the draws share "
    "nothing but the task.",
    minutes=12,
    points=3,
    hints=(
        "Shuffle each class once, like a pack of cards, and deal it out: the hands of one pack "
        "share no card.",
        "(labels == label).nonzero().flatten() are a class's images; torch.randperm(n, "
        "generator=generator) shuffles.",
        ".split(per_class) cuts the first draws * per_class of them. Draw i joins hand i of each "
        "class: torch.cat.",
    ),
    form=index_rows,
)
def few_labels(labels, per_class, draws, seed):
    """A list of `draws` index tensors: `per_class` images of each class in each,
    and no image in two of them.

    Raises ValueError where a class has fewer than draws * per_class images.
    """
    generator = torch.Generator().manual_seed(seed)
    hands = []  # for each class, one hand for each draw
    for label in labels.unique():
        members = (labels == label).nonzero().flatten()
        if len(members) < draws * per_class:
            need = f"{draws} draws of {per_class} need more"
            raise ValueError(f"{need} than the {len(members)} images of class {label}")
        order = torch.randperm(len(members), generator=generator)
        hands.append(members[order][: draws * per_class].split(per_class))
    return [torch.cat(parts) for parts in zip(*hands, strict=True)]


@few_labels.draw
def _(seed: int) -> Values:
    """Classes of different sizes, numbered with gaps;
    the smallest is just large enough.
    """
    generator = torch.Generator().manual_seed(seed)
    classes, per_class, draws = (whole_number(low, low + 2, generator) for low in (3, 2, 2))
    enough = per_class * draws
    names = torch.randperm(10, generator=generator)[:classes] + 1
    sizes = [enough]
    for _ in range(classes - 1):
        sizes.append(enough + whole_number(1, enough, generator))
    labels = torch.cat([name.repeat(size) for name, size in zip(names, sizes, strict=True)])
    short = labels[1:]  # one too few of the first class
    return {
        "labels": labels[torch.randperm(len(labels), generator=generator)],
        "short": short[torch.randperm(len(short), generator=generator)],
        "per_class": per_class,
        "draws": draws,
        "seed": seed % 997,
    }


def draws_of_one_call(function: Function, inputs: Values, seed: int, world: int) -> Tensor | str:
    """The draws while the global generators stand at `world`,
    or in words what came instead.
    """
    torch.manual_seed(world)
    np.random.seed(world)
    random.seed(world)
    per_class = inputs["per_class"]
    draws = inputs["draws"]
    size = per_class * len(inputs["labels"].unique())
    try:
        result = function(inputs["labels"].clone(), per_class, draws, inputs["seed"] + seed)
    except ValueError as error:
        return f"{RAISED} on a pool that is just large enough: {error!s:.150}"
    rows = index_tensors(result)
    if not rows:
        return (
            "a list of index tensors was expected (whole numbers, one dimension), got "
            f"{plain(result)!s:.80}"
        )
    sizes = [len(row) for row in rows]
    if sizes != [size] * draws:
        return f"{draws} draws of {size} indices were expected, got {len(rows)} of {sizes!s:.40}"
    return torch.stack(rows).double()


def index_tensors(result: Any) -> list[Tensor]:
    """The result, which may be anything, as tensors of whole numbers;
    empty where it has others.
    """
    rows = []
    with contextlib.suppress(Exception):
        for item in result:
            row = torch.as_tensor(item)
            if row.dim() != 1 or row.dtype not in (torch.int64, torch.int32):
                return []
            rows.append(row)
        return rows
    return []


@few_labels.drive
def _(function: Function, inputs: Values) -> Values:
    draws = draws_of_one_call(function, inputs, 0, world=0)
    next_numbers = torch.tensor([torch.rand(()).item(), np.random.rand(), random.random()])
    if isinstance(draws, str):
        return {RETURNED: draws}
    by_seed: list[Tensor] = []
    for repeat in range(SEEDS):
        repeated = draws_of_one_call(function, inputs, repeat, world=repeat + 1)
        if isinstance(repeated, str):
            return {RETURNED: repeated}
        by_seed.append(repeated)
    small_pool = inputs | {"labels": inputs["short"]}
    try:
        short = draws_of_one_call(function, small_pool, 0, world=0)
    except Exception as error:
        kind = type(error).__name__
        return {RETURNED: f"too small a pool must raise ValueError, and yours raises {kind}"}
    return {
        FIRST: draws,
        AGAIN: by_seed[0],
        OTHERS: torch.stack(by_seed[1:]),
        NEXT: next_numbers,
        SHORT: int(isinstance(short, str) and short.startswith(RAISED)),
    }


@few_labels.properties
def _(inputs: Values, outputs: Values) -> Values:
    """What is asked of draws, and all that can be compared:
    which images they hold is free.
    """
    labels = inputs["labels"]
    classes = labels.unique()
    shape = (inputs["draws"], inputs["per_class"] * len(classes))
    draws = floats(outputs, FIRST, shape)
    repeated = floats(outputs, AGAIN, shape)
    of_other_seeds = floats(outputs, OTHERS, (SEEDS - 1, *shape))
    indices = torch.cat([draws[None], of_other_seeds])
    if (indices != indices.round()).any() or indices.min() < 0 or indices.max() >= len(labels):
        highest = len(labels) - 1
        raise Refused(f"indices are whole numbers from 0 to {highest}, and these are not all")
    times = nn.functional.one_hot(indices.long(), len(labels)).sum(dim=2)  # [seeds, draws, images]
    counts = torch.stack([times[..., labels == label].sum(-1) for label in classes])
    different_seeds = len(indices.flatten(1).unique(dim=0))
    return {
        UNEVEN: (counts != inputs["per_class"]).sum().double(),
        TWICE: (times > 1).sum().double(),
        SHARED: (times.sum(1) > times.amax(1)).sum().double(),
        DIFFER: (draws != repeated).sum().double(),
        ALIKE: float(SEEDS - different_seeds),
        NEVER: (times.sum((0, 1)) == 0).double(),
        NEXT: outputs.get(NEXT, "nothing"),
        SHORT: outputs.get(SHORT, "nothing"),
    }


few_labels.part("disjoint draws with as many of each class", points=1)
few_labels.compare(
    UNEVEN,
    says="a draw has another number of a class: draw from each class apart, per_class images",
)
few_labels.compare(
    TWICE, says="an image comes twice in one draw: torch.randperm draws without replacement"
)
few_labels.compare(
    SHARED,
    says="an image is in two draws: shuffle each class once and cut it, instead of drawing anew",
)
few_labels.part("what the seed decides", points=1)
few_labels.compare(
    DIFFER,
    says="the same seed gives other draws: torch.randperm needs your generator, seeded with seed",
)
few_labels.compare(
    ALIKE,
    says="another seed gives the same draws: seed the generator with seed, and shuffle each class "
    "with it",
)
few_labels.compare(
    NEVER,
    says="some images are in no draw of any seed: shuffle all images of the class before you cut",
)
few_labels.part("no other random numbers, and too small a pool refused", points=1)
few_labels.compare(
    NEXT,
    says="the global random numbers moved: use a generator of your own, "
    "torch.Generator().manual_seed(seed)",
)
few_labels.compare(
    SHORT,
    says="too small a pool must raise ValueError: a class needs draws * per_class images",
)


@few_labels.wrong("not stratified", says="another number of a class: draw from each class apart")
def _(labels, per_class, draws, seed):
    few_labels(labels, per_class, draws, seed)  # raises for too small a pool
    generator = torch.Generator().manual_seed(seed)
    count = len(labels.unique()) * draws * per_class
    return torch.randperm(len(labels), generator=generator)[:count].chunk(draws)


few_labels.wrong(
    "places in the class",
    says="these are places within a class",
    edit={
        "hands.append(members[order][: draws * per_class].split(per_class))": (
            "hands.append(order[: draws * per_class].split(per_class))"
        )
    },
)
few_labels.wrong(
    "with replacement",
    says="an image comes twice in one draw",
    edit={
        "order = torch.randperm(len(members), generator=generator)": (
            "order = torch.randint(len(members), (len(members),), generator=generator)"
        )
    },
)
few_labels.wrong(
    "anew each time",
    says="an image is in two draws",
    edit={
        "order = torch.randperm(len(members), generator=generator)": (
            "orders = [torch.randperm(len(members), generator=generator) for _ in range(draws)]"
        ),
        "hands.append(members[order][: draws * per_class].split(per_class))": (
            "hands.append([members[order[:per_class]] for order in orders])"
        ),
    },
)
few_labels.wrong(
    "seed ignored",
    says="another seed gives the same draws",
    edit={
        "generator = torch.Generator().manual_seed(seed)": (
            "generator = torch.Generator().manual_seed(0)"
        )
    },
)
few_labels.wrong(
    "no generator",
    says="the same seed gives other draws",
    edit={
        "order = torch.randperm(len(members), generator=generator)": (
            "order = torch.randperm(len(members))"
        )
    },
)
few_labels.wrong(
    "global seed",
    says="the global random numbers moved",
    edit={"generator = torch.Generator().manual_seed(seed)": "generator = torch.manual_seed(seed)"},
)
few_labels.wrong(
    "Python's own seed",
    says="the global random numbers moved",
    edit={
        "order = torch.randperm(len(members), generator=generator)": (
            "import random\n"
            "random.seed(seed)\n"
            "order = torch.tensor(random.sample(range(len(members)), len(members)))"
        )
    },
)
few_labels.wrong(
    "first images",
    says="always the first images of each class",
    edit={
        "hands.append(members[order][: draws * per_class].split(per_class))": (
            "hands.append(members[: draws * per_class].split(per_class))"
        )
    },
)
few_labels.wrong(
    "first images shuffled",
    says="some images are in no draw",
    edit={
        "order = torch.randperm(len(members), generator=generator)": (
            "order = torch.randperm(draws * per_class, generator=generator)"
        )
    },
)
few_labels.wrong(
    "no error",
    says="too small a pool must raise ValueError",
    edit={'raise ValueError(f"{need} than the {len(members)} images of class {label}")': "pass"},
)
few_labels.wrong(
    "too strict",
    says="ValueError on a pool that is just large enough",
    edit={"if len(members) < draws * per_class:": "if len(members) <= draws * per_class:"},
)


# combine.paired_interval

EFFECT = "the effect"
LOW = "low"
HIGH = "high"
QUANTILE = "stats.t.ppf(0.975, n - 1)"


@exercise(
    id="combine.paired_interval",
    level=2,
    after="Pairing takes out what a draw does to both methods, and so the interval becomes "
    "narrower.",
    alternative="scipy.stats.ttest_rel(a, b).confidence_interval()",
    minutes=8,
    points=2,
    hints=(
        "First subtract, draw by draw. From there on there is only one list of numbers.",
        "The standard error of their mean is differences.std() / n ** 0.5, with n draws.",
        "The interval is the mean ± stats.t.ppf(0.975, n - 1) times the standard error.",
    ),
    form=numbers,
)
def paired_interval(a, b):
    """(effect, low, high): the mean of the differences a - b [n] and the ends of its
    95 % Student t interval.
    """
    from scipy import stats

    differences = a - b  # draw by draw: what a draw does to both methods cancels
    n = len(differences)
    effect = differences.mean().item()
    standard_error = differences.std().item() / n**0.5  # std divides by n - 1
    half = stats.t.ppf(0.975, n - 1) * standard_error  # 2.5 % on each side
    return effect, effect - half, effect + half


@paired_interval.draw
def _(seed: int) -> Values:
    """Accuracies of two methods, which depend on the draw in the same way."""
    generator = torch.Generator().manual_seed(seed)
    n = 5 + seed % 7
    draw, a, b = 4 * torch.randn(3, n, generator=generator, dtype=torch.float64)
    return {"a": 68 + 2 * draw + a, "b": 65 + 2 * draw + b}


@paired_interval.drive
def _(function: Function, inputs: Values) -> Values:
    torch.manual_seed(0)  # a bootstrap then draws as the wrong answer does
    result = array(function(inputs["a"].clone(), inputs["b"].clone()))
    if not isinstance(result, Tensor) or result.shape != (3,):
        words = f"three numbers (effect, low, high) were expected, got {plain(result)!s:.80}"
        return {RETURNED: words}
    effect, low, high = result.tolist()
    return {EFFECT: effect, LOW: low, HIGH: high}


paired_interval.part("the effect", points=1)
paired_interval.compare(EFFECT, says="the effect is not the mean of a - b")
paired_interval.part("its interval", points=1)
paired_interval.compare(
    LOW,
    HIGH,
    says=f"the ends are not effect ± {QUANTILE} * (standard deviation of a - b) / n ** 0.5",
)


@paired_interval.wrong("Welch", says="that is Welch's interval, of unpaired samples")
def _(a, b):
    from scipy import stats

    interval = stats.ttest_ind(a, b, equal_var=False).confidence_interval()
    return (a - b).mean().item(), interval.low, interval.high


paired_interval.wrong(
    "normal",
    says=f"1.96 is the normal distribution's: for n draws it is {QUANTILE}",
    edit={"half = stats.t.ppf(0.975, n - 1) * standard_error": "half = 1.96 * standard_error"},
)
paired_interval.wrong(
    "n degrees",
    says=f"these are n degrees of freedom: it is {QUANTILE}",
    edit={
        "half = stats.t.ppf(0.975, n - 1) * standard_error": (
            "half = stats.t.ppf(0.975, n) * standard_error"
        )
    },
)
paired_interval.wrong(
    "one-sided",
    says="5 % are left out on each side, 2.5 % were asked for",
    edit={
        "half = stats.t.ppf(0.975, n - 1) * standard_error": (
            "half = stats.t.ppf(0.95, n - 1) * standard_error"
        )
    },
)
paired_interval.wrong(
    "ddof 0",
    says="the variance is divided by n: it is n - 1",
    edit={
        "standard_error = differences.std().item() / n**0.5": (
            "standard_error = differences.std(correction=0).item() / n**0.5"
        )
    },
)
paired_interval.wrong(
    "no root",
    says="that is where single differences lie: divide by n ** 0.5 for their mean",
    edit={
        "standard_error = differences.std().item() / n**0.5": (
            "standard_error = differences.std().item()"
        )
    },
)


@paired_interval.wrong(
    "bootstrap", says="that is a percentile bootstrap, which is too narrow for few draws"
)
def _(a, b):
    differences = a - b
    n = len(differences)
    means = differences[torch.randint(n, (2000, n))].mean(1)
    low, high = means.quantile(torch.tensor([0.025, 0.975]).double()).tolist()
    return differences.mean().item(), low, high


paired_interval.wrong(
    "b - a",
    says="the sign is wrong: a - b",
    edit={"differences = a - b": "differences = b - a"},
)


# combine.verdict

WORDS = ("supported", "contradicted", "no gain", "undecided")
FEWER = "the verdicts below 5 repeats"
SPANNING = "the verdicts where 0 is inside"
BEYOND = "the verdicts elsewhere"
# In units of delta; 0 and ±1 are boundaries.
POSITIVE_ENDS = [
    (0.1, 0.6),
    (1.2, 2.5),
    (0.5, 3),
    (-0.6, 0.4),
    (-0.85, 0.8),
    (-0.3, 1.7),
    (-0.3, 1.08),
    (-2, 1.5),
    (0, 0.5),
    (0, 2),
    (-1, 0.5),
    (-1, 1),
    (-1.08, 0.9),
    (0.4, 1),
]
ENDS = POSITIVE_ENDS + [(-high, -low) for low, high in POSITIVE_ENDS]


@exercise(
    id="combine.verdict",
    level=2,
    after="An interval that holds 0 is no proof of equality: that takes one within the margin.",
    minutes=8,
    points=2,
    hints=(
        "Only low and high can decide, never the middle. The order: too few repeats, inside "
        "±delta, above 0, below 0.",
        "Above 0 means low > 0; below 0 means high < 0. An end that lies on a boundary is not "
        "beyond it: > and <.",
        '"no gain" needs -delta < low and high < delta. What none of the tests has caught is '
        '"undecided".',
    ),
    form=word,
)
def verdict(low, high, n, delta):
    """What an interval from low to high over n repeats says:
    supported, contradicted, no gain or undecided.
    """
    if n < 5:
        return "undecided"
    if -delta < low and high < delta:
        return "no gain"
    if low > 0:
        return "supported"
    if high < 0:
        return "contradicted"
    return "undecided"


@verdict.draw
def _(seed: int) -> Values:
    """Rows (low, high, n): all kinds of ends, each with 5, more, and fewer repeats."""
    generator = torch.Generator().manual_seed(seed)
    delta = (0.6, 1.3)[seed % 2] + 0.2 * torch.rand((), generator=generator, dtype=torch.float64)
    bounds = torch.tensor(ENDS, dtype=torch.float64)
    on_boundary = (bounds == 0) | (bounds.abs() == 1)
    stretch = 1 + 0.05 * torch.rand(bounds.shape, generator=generator) * ~on_boundary
    many = torch.randint(6, 36, (len(bounds),), generator=generator)
    few = torch.randint(2, 5, (len(bounds),), generator=generator)
    five = torch.full_like(many, 5)
    rows = [torch.cat([bounds * stretch * delta, n[:, None]], 1) for n in (five, many, few)]
    rows.append(rows[1][: seed % 5])
    return {"rows": torch.cat(rows), "delta": delta.item()}


@verdict.drive
def _(function: Function, inputs: Values) -> Values:
    codes = []
    for low, high, n in inputs["rows"].tolist():
        word = function(low, high, int(n), inputs["delta"])
        if not isinstance(word, str) or word not in WORDS:
            words = f"one of {', '.join(WORDS)} was expected, got {plain(word)!s:.80}"
            return {RETURNED: words}
        codes.append(float(WORDS.index(word)))
    verdicts = torch.tensor(codes)
    lows, highs, repeats = inputs["rows"].T
    enough = repeats >= 5
    spans = (lows <= 0) & (highs >= 0)
    return {
        FEWER: verdicts[~enough],
        SPANNING: verdicts[enough & spans],
        BEYOND: verdicts[enough & ~spans],
    }


verdict.part("where nothing is claimed", points=1)
verdict.compare(FEWER, says="below 5 repeats nothing is claimed: undecided, whatever the interval")
verdict.compare(
    SPANNING,
    says="where 0 is inside, or an end, nothing is claimed: no gain if both ends are inside ±delta",
)
verdict.part("where something is", points=1)
verdict.compare(
    BEYOND,
    says="an interval above 0 is supported, one below 0 contradicted, from 5 repeats on, unless it "
    "lies inside ±delta: then it is no gain worth having",
)

verdict.wrong(
    "midpoint",
    says="you claim by the middle",
    edit={"if low > 0:": "if low + high > 0:", "if high < 0:": "if low + high < 0:"},
)
SPANS_ZERO = '"no gain" for every interval that spans 0'
verdict.wrong(
    "spans 0",
    says=SPANS_ZERO,
    edit={"if -delta < low and high < delta:": "if max(-low, high) < delta or low <= 0 <= high:"},
)
verdict.wrong(
    "only spans 0",
    says=SPANS_ZERO,
    edit={"if -delta < low and high < delta:": "if low <= 0 <= high:"},
)
verdict.wrong(
    "n ignored",
    says="below 5 repeats nothing is claimed",
    edit={"if n < 5:": "if False:"},
)
verdict.wrong("5 not enough", says="5 repeats are enough", edit={"if n < 5:": "if n <= 5:"})
verdict.wrong(
    "delta ignored",
    says="the margin is delta, not always 1",
    edit={"if -delta < low and high < delta:": "if -1 < low and high < 1:"},
)
verdict.wrong(
    "delta to claim",
    says="a claim needs no delta",
    edit={"if low > 0:": "if low > delta:", "if high < 0:": "if high < -delta:"},
)
verdict.wrong(
    "claim first",
    says="inside ±delta a gain is not worth having, also above 0: ask that first",
    edit={
        "if -delta < low and high < delta:": 'if low > 0:\n    return "supported"\nif high < 0:\n'
        '    return "contradicted"\nif -delta < low and high < delta:'
    },
)
verdict.wrong(
    "0 counts",
    says="an end on 0 is not beyond it",
    edit={"if low > 0:": "if low >= 0:", "if high < 0:": "if high <= 0:"},
)
verdict.wrong(
    "delta counts",
    says="an end on delta is not inside it",
    edit={"if -delta < low and high < delta:": "if -delta <= low and high <= delta:"},
)
verdict.wrong(
    "one end inside",
    says="no gain needs -delta < low, too",
    edit={"if -delta < low and high < delta:": "if high < delta:"},
)


# combine.excess_loss


@exercise(
    id="combine.excess_loss",
    level=2,
    after="Where both losses on training images are equal, the moment of stopping no longer "
    "decides. Whether the learning rate does is the next question.",
    alternative="The difference of the two gaps, unseen minus training, is the same number here, "
    "because the training losses cancel.",
    minutes=12,
    points=3,
    hints=(
        "Each path begins at its highest training loss and ends at its lowest one. Which losses "
        "have both paths passed?",
        "highest is the lower one of the two first losses, lowest the higher one of the two last. "
        "np.linspace(highest, lowest, 20) are the levels.",
        "np.interp(levels, x, y) reads a path between its points, but it wants x to rise, and a "
        "training loss falls: hand it training[::-1] and unseen[::-1].",
    ),
    form=number,
)
def excess_loss(a, b):
    """By how much the loss on unseen images is higher on path a than on path b (nats).

    It is the mean over 20 training losses, evenly from the highest to the lowest
    that both paths pass. A path is a pair of arrays over epochs, (training, unseen),
    in which the training losses fall; between two epochs it is a straight line.
    """
    training_a, unseen_a = a
    training_b, unseen_b = b
    highest = min(training_a[0], training_b[0])
    lowest = max(training_a[-1], training_b[-1])
    levels = np.linspace(highest, lowest, 20)
    at_a = np.interp(levels, training_a[::-1], unseen_a[::-1])  # it wants rising x
    at_b = np.interp(levels, training_b[::-1], unseen_b[::-1])
    return float(np.mean(at_a - at_b))


@excess_loss.draw
@cache
def _(seed: int) -> Values:
    """Drawn again until answers that are wrong for other reasons give other numbers."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        values = two_paths(seed, generator)
        if has_distinct_answers(values):
            return values


def has_distinct_answers(values: Values) -> bool:
    """Whether no wrong answer gives what the right one gives, or one with another message."""
    outputs = excess_loss.memory.outputs
    right = Wrong("none", excess_loss.reference, "")
    for one, other in combinations([right, *excess_loss.wrong_answers], 2):
        known = outputs(other.function, values)
        given = outputs(one.function, values)
        # Further apart than a judge asks for, so that it never takes one for the other.
        if one.says != other.says and same(given, known, known, tolerance=5e-3):
            return False
    return True


def two_paths(seed: int, generator: torch.Generator) -> Values:
    """Paths of other lengths: one starts and ends at higher training losses than the other.

    So neither range holds the other one, and whoever takes the range of one path is found out.
    """
    slow, fast = "ab" if seed % 2 else "ba"
    worse = whole_number(0, 1, generator)
    values: Values = {}
    for name, first, last, loses in (
        (slow, 2.4, 0.5, worse),
        (fast, 1.9, 0.1, 1 - worse),
    ):
        epochs = whole_number(9, 14, generator) + 4 * (name == slow)
        falls = 0.3 + torch.rand(epochs - 1, generator=generator, dtype=torch.float64)
        share = torch.cat([torch.zeros(1), falls.cumsum(0) / falls.sum()])
        training = first * (last / first) ** share
        bends = 0.6 * (training - 0.9) ** 2 + 0.3 * training
        offset = 0.8 * loses / (0.4 + training)  # grows while the path falls
        jitter = 0.05 * torch.randn(epochs, generator=generator)
        values |= {f"training_{name}": training, f"unseen_{name}": 0.8 + offset + bends + jitter}
    return values


@excess_loss.drive
def _(function: Function, inputs: Values) -> Values:
    a, b = (
        tuple(
            inputs[f"{losses}_{name}"].double().numpy().copy() for losses in ("training", "unseen")
        )
        for name in "ab"
    )
    return {"the result": plain(function(a, b))}


excess_loss.compare(
    "the result",
    says="that is not the mean of unseen_a - unseen_b over 20 training losses, evenly from the "
    "highest to the lowest that both paths pass, both ends included",
)


@excess_loss.wrong(
    "equal steps",
    says="that compares at equal epochs, where one path is further down than the other: compare "
    "at equal training losses",
)
def _(a, b):
    epochs = min(len(a[1]), len(b[1]))
    return (a[1][:epochs] - b[1][:epochs]).mean()


@excess_loss.wrong(
    "over the index",
    says="that interpolates over the epochs, and so compares equal shares of both trainings: "
    "interpolate over the training loss",
)
def _(a, b):
    shares = np.linspace(0, 1, 20)
    at_a, at_b = (np.interp(shares, np.linspace(0, 1, len(y)), y) for _, y in (a, b))
    return (at_a - at_b).mean()


excess_loss.wrong(
    "gaps at the end",
    says="that compares the two gaps at the end, and a gap grows with training alone: compare at "
    "equal training losses",
    last_line="return (unseen_a[-1] - training_a[-1]) - (unseen_b[-1] - training_b[-1])",
)
excess_loss.wrong(
    "losses at the end",
    says="that compares the losses at the end, where one path is further down: compare at equal "
    "training losses",
    last_line="return unseen_a[-1] - unseen_b[-1]",
)
excess_loss.wrong(
    "lowest losses",
    says="that compares each path at its own best epoch: compare at equal training losses",
    last_line="return unseen_a.min() - unseen_b.min()",
)
ONLY_ONE = (
    "some of the levels were passed by one path only: take the lower one of the two first losses "
    "and the higher one of the two last"
)
TOO_HIGH = {
    "highest = min(training_a[0], training_b[0])": "highest = max(training_a[0], training_b[0])"
}
TOO_LOW = {
    "lowest = max(training_a[-1], training_b[-1])": "lowest = min(training_a[-1], training_b[-1])"
}
excess_loss.wrong("range of either", says=ONLY_ONE, edit=TOO_HIGH | TOO_LOW)
excess_loss.wrong("from too high", says=ONLY_ONE, edit=TOO_HIGH)
excess_loss.wrong("down to too low", says=ONLY_ONE, edit=TOO_LOW)
for letter in "ab":
    excess_loss.wrong(
        f"range of {letter}",
        says=ONLY_ONE,
        edit={
            "levels = np.linspace(highest, lowest, 20)": (
                f"levels = np.linspace(training_{letter}[0], training_{letter}[-1], 20)"
            )
        },
    )


@excess_loss.wrong(
    "own levels",
    says="each path has levels of its own there, so the training losses are not equal: take the "
    "same levels for both",
)
def _(a, b):
    means = []
    for training, unseen in (a, b):
        levels = np.linspace(training[0], training[-1], 20)
        means.append(np.interp(levels, training[::-1], unseen[::-1]).mean())
    return means[0] - means[1]


excess_loss.wrong(
    "not turned round",
    says="np.interp wants x to rise, and the training losses fall: hand it training[::-1] and "
    "unseen[::-1]",
    edit={
        "at_a = np.interp(levels, training_a[::-1], unseen_a[::-1])": (
            "at_a = np.interp(levels, training_a, unseen_a)"
        ),
        "at_b = np.interp(levels, training_b[::-1], unseen_b[::-1])": (
            "at_b = np.interp(levels, training_b, unseen_b)"
        ),
    },
)
excess_loss.wrong(
    "one turned round",
    says="only the training losses are turned round, so that each meets the unseen loss of "
    "another epoch: turn both",
    edit={
        "at_a = np.interp(levels, training_a[::-1], unseen_a[::-1])": (
            "at_a = np.interp(levels, training_a[::-1], unseen_a)"
        ),
        "at_b = np.interp(levels, training_b[::-1], unseen_b[::-1])": (
            "at_b = np.interp(levels, training_b[::-1], unseen_b)"
        ),
    },
)
excess_loss.wrong(
    "b - a",
    says="the sign is wrong: above 0 where path a loses more",
    last_line="return float(np.mean(at_b - at_a))",
)
excess_loss.wrong(
    "sum",
    says="that is the sum over the levels: their mean was asked for",
    last_line="return float(np.sum(at_a - at_b))",
)
excess_loss.wrong(
    "evenly in the logarithm",
    says="the levels are spread evenly over the logarithm: np.linspace spreads them over the loss",
    edit={
        "levels = np.linspace(highest, lowest, 20)": "levels = np.geomspace(highest, lowest, 20)"
    },
)
excess_loss.wrong(
    "all levels",
    says="that is one number for each level: their mean was asked for",
    last_line="return at_a - at_b",
)


# combine.leakage

COPIED = "copies of test images that pretrain saw"
FRESH = "other unlabelled images that pretrain saw"
FOREIGN = "images from elsewhere that pretrain saw"
FITTED = "means and standard deviations of what fit is given"
FITTED_AGAIN = "the same, with other test images"
RULER = "whether these differ"
RAW = "draws whose features are not standardised"
OFF = "how far the accuracies are from those with this ruler"
ACCURACIES = "the accuracies"
COMPONENTS = 4
BLACK = 0.15  # of the pixels of an image


@exercise(
    id="combine.leakage",
    level=3,
    after="An accuracy that is too good is a reason to look for copies, for peeking, and for a "
    "choice made on the test set.",
    minutes=15,
    points=4,
    hints=(
        "For each line ask: does anything here come from test, before the last line that measures?",
        "Three lines: what pretrain is given, what the ruler is made of, and which scores choose "
        "alpha.",
        "Among unlabelled are copies of test images, equal in every pixel: a set of "
        "image.numpy().tobytes() finds them. encode(train[0][draw]) is the ruler; standardise "
        "validation[0] beside test[0], and score there.",
    ),
    form=numbers,
)
def honest_study(pretrain, fit, unlabelled, train, validation, test, draws, alphas):
    """Test accuracy, in per cent, of a probe on each label draw;
    train, validation and test: (images, labels).
    """
    held_out = {image.numpy().tobytes() for image in test[0]}
    copies = [image.numpy().tobytes() in held_out for image in unlabelled]
    fresh = ~torch.tensor(copies)
    encode = pretrain(unlabelled[fresh])  # had copies of test images
    accuracies = []
    for draw in draws:
        ruler = encode(train[0][draw])  # had the test images
        mean, std = ruler.mean(dim=0), ruler.std(dim=0)
        sets = (train[0][draw], validation[0], test[0])
        x, x_validation, x_test = ((encode(s) - mean) / std for s in sets)
        probes = [fit(x, train[1][draw], alpha) for alpha in alphas]
        hits = [probe(x_validation) == validation[1] for probe in probes]  # was on test
        scores = [hit.double().mean() for hit in hits]
        best = probes[scores.index(max(scores))]
        accuracies.append(100 * (best(x_test) == test[1]).double().mean().item())
    return accuracies


@honest_study.draw
@cache
def _(seed: int) -> Values:
    """Drawn again until each wrong answer differs from right ones and from the
    others.
    """
    generator = torch.Generator().manual_seed(seed)
    while True:
        values = study_values(seed, generator)
        if tells_answers_apart(values):
            return values


def tells_answers_apart(values: Values) -> bool:
    """Whether equal scores do not matter,
    and no wrong answer gives what another answer gives.
    """
    outputs = honest_study.memory.outputs
    reference = outputs(honest_study.reference, values)
    answers = [outputs(last_of_equals, values)]
    if not same(reference, answers[0], reference):
        return False
    for answer in honest_study.wrong_answers:
        wrong = outputs(answer.function, values)
        if any(same(wrong, different, different) for different in answers):
            return False
        answers.append(wrong)
    return True


def study_values(seed: int, generator: torch.Generator) -> Values:
    """Two classes in images of few pixels;
    test images are other ones, and some are unlabelled.
    """
    pixels = 8 + seed % 3
    draws = 4 + seed % 2
    factors = torch.randn(3, pixels, generator=generator)
    values: Values = {"alphas": torch.tensor([0.1, 10, 300])}
    for name, count in (("train", 24), ("validation", 50), ("test", 60), ("unlabelled", 40)):
        y = torch.arange(count) % 2
        spread = torch.tensor([1, 1.5, 3 if name == "test" else 0.7])
        weights = torch.randn(count, 3, generator=generator) * spread
        weights[:, 0] += 1.2 * (2 * y - 1)
        noise = torch.randn(count, pixels, generator=generator)
        shift = 2 if name == "test" else 0
        images = weights @ factors + noise + shift
        # As the black of real images: equal pixels do not make an image a copy.
        images[torch.rand(images.shape, generator=generator) < BLACK] = 0
        values |= {f"{name}_x": images, f"{name}_y": y}
    values["test_x"][:6] *= 4
    copies = values["test_x"][: 20 + seed % 3]
    unlabelled = torch.cat([values["unlabelled_x"], copies])
    values["unlabelled"] = unlabelled[torch.randperm(len(unlabelled), generator=generator)]
    rows = [torch.randperm(12, generator=generator)[:4] * 2 for _ in range(draws)]
    both_classes = [row + torch.tensor([[0], [1]]) for row in rows]
    return values | {"draws": torch.stack(both_classes).flatten(1)}


def principal_components(images: Tensor) -> Callable[[Tensor], Tensor]:
    """A stand-in for pretraining that takes no time:
    images [n, pixels] → their 4 first components.
    """
    mean = images.mean(dim=0)
    basis = torch.linalg.svd(images - mean, full_matrices=False).Vh[:COMPONENTS].T
    largest = basis.gather(0, basis.abs().argmax(dim=0, keepdim=True))
    basis = basis * largest.sign()  # the same signs, whatever the order of the images
    return lambda x: (x - mean) @ basis


def ridge(x: Tensor, y: Tensor, alpha: float) -> Callable[[Tensor], Tensor]:
    """A linear probe by least squares for labels 0 and 1;
    alpha > 0 keeps its weights small.
    """
    mean = x.mean(dim=0)
    base_rate = y.double().mean().to(x.dtype)
    centred = x - mean
    penalty = alpha * torch.eye(x.shape[1]).to(x)
    weights = torch.linalg.solve(centred.T @ centred + penalty, centred.T @ (y - base_rate))
    return lambda features: ((features - mean) @ weights + base_rate > 0.5).long()


@honest_study.drive
def _(function: Function, inputs: Values) -> Values:
    """A second time the function gets other test images, also among the unlabelled ones: what
    depends on them changes.
    """
    is_copy = (inputs["unlabelled"][:, None] == inputs["test_x"]).all(dim=2).any(dim=1)
    mirrored = torch.where(is_copy[:, None], -inputs["unlabelled"], inputs["unlabelled"])
    other_test = inputs | {"test_x": -inputs["test_x"], "unlabelled": mirrored}
    outputs = study_seen(function, inputs, is_copy)
    return outputs | {FITTED_AGAIN: study_seen(function, other_test, is_copy)[FITTED]}


def study_seen(function: Function, inputs: Values, is_copy: Tensor) -> Values:
    """The function runs in double precision; what it pretrains on is counted, and what it hands
    to fit is described by means and standard deviations.
    """
    unlabelled = inputs["unlabelled"].double()
    pretrained_on = torch.zeros(len(unlabelled), dtype=torch.bool)
    foreign = [0]
    fitted: list[Tensor] = []

    def pretrain(images: Tensor) -> Callable[[Tensor], Tensor]:
        equal = (images.double()[:, None] == unlabelled).all(dim=2)
        pretrained_on.logical_or_(equal.any(dim=0))
        foreign.append(int((~equal.any(dim=1)).sum()))
        return principal_components(images.double())

    def fit(x: Tensor, y: Tensor, alpha: float) -> Callable[[Tensor], Tensor]:
        if not any(torch.equal(x, before) for before in fitted):
            fitted.append(x)
        return ridge(x, y, alpha)

    sets = []
    for name in ("train", "validation", "test"):
        sets.append((inputs[f"{name}_x"].double(), inputs[f"{name}_y"].clone()))
    draws = list(inputs["draws"].clone())
    alphas = inputs["alphas"].tolist()
    result = function(pretrain, fit, unlabelled.clone(), *sets, draws, alphas)
    described = [cut(torch.stack([x.mean(dim=0), x.std(dim=0)]).T, COMPONENTS) for x in fitted]
    nothing = torch.zeros(0, COMPONENTS, 2, dtype=torch.float64)
    return {
        COPIED: int((pretrained_on & is_copy).sum()),
        FRESH: int((pretrained_on & ~is_copy).sum()),
        FOREIGN: sum(foreign),
        FITTED: cut(torch.stack([*nothing, *described]) if described else nothing, len(draws)),
        ACCURACIES: array(result),
    }


@honest_study.properties
def _(inputs: Values, outputs: Values) -> Values:
    """What is asked of a study: of what images its ruler is made is free, if none is of test."""
    count = len(inputs["draws"])
    fitted = floats(outputs, FITTED, (count, COMPONENTS, 2))
    again = floats(outputs, FITTED_AGAIN, (count, COMPONENTS, 2))
    accuracies = floats(outputs, ACCURACIES, (count,))
    differences = []
    raw = 0
    for draw, described, accuracy in zip(inputs["draws"], fitted, accuracies, strict=True):
        expected, is_raw = accuracies_with_ruler_of(inputs, draw, described)
        differences.append(min(expected - accuracy, key=abs))
        raw += is_raw
    counted = {name: outputs.get(name, "nothing") for name in (COPIED, FRESH, FOREIGN)}
    return {
        **counted,
        RULER: int(not torch.allclose(fitted, again)),
        RAW: raw,
        OFF: torch.stack(differences),
        FITTED: fitted,
        ACCURACIES: accuracies,
    }


def accuracies_with_ruler_of(inputs: Values, draw: Tensor, described: Tensor) -> tuple[Tensor, int]:
    """The accuracies that are right for what fit was given, with the first and with the last of
    equal alphas; and whether these features were not standardised.
    """
    is_copy = (inputs["unlabelled"][:, None] == inputs["test_x"]).all(dim=2).any(dim=1)
    encode = principal_components(inputs["unlabelled"][~is_copy].double())
    codes = encode(inputs["train_x"][draw].double())
    fitted_mean, fitted_std = described.T
    std = codes.std(dim=0) / fitted_std.clamp(min=1e-9)
    mean = codes.mean(dim=0) - std * fitted_mean
    is_raw = torch.allclose(std, torch.ones_like(std)) and torch.allclose(mean, 0 * mean)
    sets = (inputs[f"{name}_x"].double() for name in ("train", "validation", "test"))
    x, x_validation, x_test = ((encode(images) - mean) / std for images in sets)
    hits = []
    accuracies = []
    for alpha in inputs["alphas"].tolist():
        probe = ridge(x[draw], inputs["train_y"][draw], alpha)
        hits.append(int((probe(x_validation) == inputs["validation_y"]).sum()))
        accuracies.append(100 * (probe(x_test) == inputs["test_y"]).double().mean())
    first = hits.index(max(hits))
    last = len(hits) - 1 - hits[::-1].index(max(hits))
    return torch.stack([accuracies[first], accuracies[last]]), int(is_raw)


honest_study.part("what the pretraining sees", points=2)
honest_study.compare(
    COPIED,
    says="pretrain is given copies of test images: leave out the unlabelled images that are in "
    "test[0]",
)
honest_study.compare(FOREIGN, says="pretrain is given other images than unlabelled ones")
honest_study.compare(
    FRESH,
    says="pretrain is given some unlabelled images, not all the others: only copies of test images "
    "go",
)
honest_study.part("the ruler, and the accuracies", points=2)
honest_study.compare(
    RULER, says="what fit is given changes with the test images: make the ruler without them"
)
honest_study.compare(RAW, says="the features are not standardised: (encode(images) - mean) / std")
honest_study.compare(
    OFF,
    says="not the accuracies of the probe that is best on validation: validation and test take the "
    "mean and std of train, and of equal alphas the smaller one wins",
)

last_of_equals = edited(
    honest_study.reference,
    {
        "best = probes[scores.index(max(scores))]": (
            "best = probes[max(range(len(scores)), key=lambda i: (scores[i], i))]"
        )
    },
)

LEAKS = {
    "pretrain is given copies of test images": {
        "encode = pretrain(unlabelled[fresh])": "encode = pretrain(unlabelled)"
    },
    "test images are in the ruler": {
        "ruler = encode(train[0][draw])": "ruler = encode(torch.cat([train[0][draw], test[0]]))"
    },
    "alpha is chosen on the test labels": {
        "hits = [probe(x_validation) == validation[1] for probe in probes]": (
            "hits = [probe(x_test) == test[1] for probe in probes]"
        )
    },
}


def study_with(*leaks: str) -> Callable[..., list[float]]:
    """The study with these of LEAKS, and no other."""
    edit: dict[str, str] = {}
    for leak in leaks:
        edit |= LEAKS[leak]
    return edited(honest_study.reference, edit)


for is_left in product((False, True), repeat=3):
    edit: dict[str, str] = {}
    leaks = [leak for leak, is_in in zip(LEAKS, is_left, strict=True) if is_in]
    for leak in leaks:
        edit |= LEAKS[leak]
    if leaks and not all(is_left):
        names = "; ".join(leaks)
        honest_study.wrong(names, says=f"still in it: {names}", edit=edit)


@honest_study.broken("; ".join(LEAKS), says=f"still in it: {'; '.join(LEAKS)}")
def leaky_study(pretrain, fit, unlabelled, train, validation, test, draws, alphas):
    """Test accuracy, in per cent, of a probe on each label draw;
    train, validation and test: (images, labels).
    """
    encode = pretrain(unlabelled)
    accuracies = []
    for draw in draws:
        ruler = encode(torch.cat([train[0][draw], test[0]]))
        mean, std = ruler.mean(dim=0), ruler.std(dim=0)
        x, x_test = ((encode(s) - mean) / std for s in (train[0][draw], test[0]))
        probes = [fit(x, train[1][draw], alpha) for alpha in alphas]
        scores = [(probe(x_test) == test[1]).double().mean() for probe in probes]
        best = probes[scores.index(max(scores))]
        accuracies.append(100 * (best(x_test) == test[1]).double().mean().item())
    return accuracies


honest_study.wrong(
    "alpha on train",
    says="alpha is chosen on the labels that the probe was fitted on",
    edit={
        "hits = [probe(x_validation) == validation[1] for probe in probes]": (
            "hits = [probe(x) == train[1][draw] for probe in probes]"
        )
    },
)
honest_study.wrong(
    "no ruler",
    says="the features are not standardised",
    edit={"mean, std = ruler.mean(dim=0), ruler.std(dim=0)": "mean, std = 0, 1"},
)
honest_study.wrong(
    "validation as it is",
    says="validation and test take the mean and std of train",
    edit={
        "hits = [probe(x_validation) == validation[1] for probe in probes]": (
            "hits = [probe(encode(validation[0])) == validation[1] for probe in probes]"
        )
    },
)
honest_study.wrong(
    "own rulers",
    says="each set is standardised by itself: one ruler for all",
    edit={
        "x, x_validation, x_test = ((encode(s) - mean) / std for s in sets)": (
            "codes = [encode(s) for s in sets]\n"
            "x, x_validation, x_test = ((c - c.mean(dim=0)) / c.std(dim=0) for c in codes)"
        )
    },
)


@honest_study.wrong("smaller test", says="the test set must stay as it is")
def _(pretrain, fit, unlabelled, train, validation, test, draws, alphas):
    in_unlabelled = {image.numpy().tobytes() for image in unlabelled}
    keep = [image.numpy().tobytes() not in in_unlabelled for image in test[0]]
    smaller = [rows[keep] for rows in test]
    return honest_study(pretrain, fit, unlabelled, train, validation, smaller, draws, alphas)


honest_study.wrong(
    "no unlabelled",
    says="pretrain is given other images",
    edit={"encode = pretrain(unlabelled[fresh])": "encode = pretrain(train[0])"},
)
honest_study.wrong(
    "a pixel in common",
    says="not all the others",
    edit={"fresh = ~torch.tensor(copies)": "fresh = ~torch.isin(unlabelled, test[0]).any(dim=1)"},
)
honest_study.wrong(
    "some dropped",
    says="not all the others",
    edit={"encode = pretrain(unlabelled[fresh])": "encode = pretrain(unlabelled[fresh][1:])"},
)
honest_study.wrong(
    "fractions",
    says="the accuracies are fractions: per cent were asked for",
    last_line="return [accuracy / 100 for accuracy in accuracies]",
)
