"""Chapters 5 to 5c: a VAE cut or kept by halves, M2's sum, directions of a code, CKA, a clinic.

The clinic is the course's own mistake: a probe that made every latent as loud as the others.
"""

from __future__ import annotations

import copy
import math

import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from vaetl_helpers import transfer
from vaetl_helpers.exercises.combine import small_vae
from vaetl_helpers.exercises.engine import Function, Values
from vaetl_helpers.exercises.forms import indices, number, tensor
from vaetl_helpers.exercises.toolkit import (
    RETURNED,
    array,
    exercise,
    pair_fault,
    plain,
    problem,
    state_of,
    whole_number,
)
from vaetl_helpers.exercises.watch import copied
from vaetl_helpers.nets import Encoder
from vaetl_helpers.vae import VAE, elbo

RESULT = "the result"
NAN = "NaN or infinity where finite numbers were expected"

# joint.surgery

LOGITS = "the logits"
TRAINED = "the numbers that train"
VAE_AFTER = "the VAE after a step of the classifier"
LOGITS_AFTER = "the logits after a step"


@exercise(
    id="joint.surgery",
    level=2,
    minutes=10,
    points=3,
    hints=(
        "Three parts, one after the other: the encoder's body, its layer for the mean, the head.",
        "The parts are model.encoder.body and model.encoder.mu. The decoder and the layer "
        "model.encoder.log_var stay behind.",
        "copy.deepcopy both, and put them and the head into nn.Sequential.",
    ),
    after="The decoder was only a teacher: half of the VAE's weights are not in your classifier.",
    alternative="vae_transfer.classifier(model.encoder, classes, seed) is what the studies use.",
)
def classifier_of(model, head):
    """A classifier from a trained VAE: images → posterior mean → head → logits.

    It holds copies of the encoder's parts that it needs, and of nothing else, so that
    training it leaves the VAE as it is. All of it can learn.
    """
    body = copy.deepcopy(model.encoder.body)
    mu = copy.deepcopy(model.encoder.mu)
    return nn.Sequential(body, mu, head)


@classifier_of.draw
def _(seed: int) -> Values:
    return problem(seed, batches=1) | {"latent": 3 + seed % 3, "seed": seed % 997}


@classifier_of.drive
def _(function: Function, inputs: Values) -> Values:
    model = small_vae(inputs).eval()
    head = nn.Linear(inputs["latent"], inputs["classes"])
    result = function(model, head)
    if not isinstance(result, nn.Module):
        return {RETURNED: f"a network was expected, got {plain(result)!s:.80}"}
    result.eval()
    images = inputs["images"]
    torch.manual_seed(0)  # a code that is sampled is then that of the wrong answer, and is named
    logits = result(images)
    learning = [parameter for parameter in result.parameters() if parameter.requires_grad]
    F.cross_entropy(logits, inputs["labels"]).backward()
    with torch.no_grad():
        for parameter in learning:
            if parameter.grad is not None:
                parameter.sub_(parameter.grad, alpha=0.5)
        torch.manual_seed(0)
        after = result(images)
    return {
        LOGITS: plain(logits),
        TRAINED: float(sum(parameter.numel() for parameter in learning)),
        VAE_AFTER: state_of(model),
        LOGITS_AFTER: plain(after),
    }


classifier_of.part("the logits", points=1)
classifier_of.compare(LOGITS, says="those are not the logits of the head on the posterior mean")
classifier_of.part("parts that are copies", points=1)
classifier_of.compare(
    VAE_AFTER, says="training the classifier changes the VAE: its parts must be copies"
)
classifier_of.part("all that trains, and nothing else", points=1)
classifier_of.compare(
    TRAINED,
    says="another number of weights trains: the body, the layer for the mean and the head, all of "
    "them and nothing else",
)
classifier_of.compare(LOGITS_AFTER, says="after a step the logits are not those expected")

classifier_of.wrong(
    "shared",
    says="training the classifier changes the VAE",
    last_line="return nn.Sequential(model.encoder.body, model.encoder.mu, head)",
)
classifier_of.wrong(
    "variance",
    says="that is the layer for log σ²: the classifier reads the mean, model.encoder.mu",
    edit={
        "mu = copy.deepcopy(model.encoder.mu)": "mu = copy.deepcopy(model.encoder.log_var)",
    },
)
classifier_of.wrong(
    "frozen",
    says="the encoder is frozen: here all of it is to learn",
    last_line="return nn.Sequential(body.requires_grad_(False), mu.requires_grad_(False), head)",
)
classifier_of.wrong(
    "frozen body",
    says="the body is frozen: here all of it is to learn",
    last_line="return nn.Sequential(body.requires_grad_(False), mu, head)",
)


@classifier_of.wrong(
    "sampled", says="the head reads a sampled code: give it the posterior mean, without noise"
)
def _(model, head):
    class Sampled(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = copy.deepcopy(model.encoder.body)
            self.mu = copy.deepcopy(model.encoder.mu)
            self.log_var = copy.deepcopy(model.encoder.log_var).requires_grad_(False)
            self.head = head

        def forward(self, images):
            hidden = self.body(images)
            mu, log_var = self.mu(hidden), self.log_var(hidden)
            return self.head(mu + (0.5 * log_var).exp() * torch.randn_like(mu))

    return Sampled()


@classifier_of.wrong(
    "all of the encoder",
    says="the layer for log σ² is still in it, and the head does not read it: leave it behind",
)
def _(model, head):
    class Whole(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = copy.deepcopy(model.encoder)
            self.head = head

        def forward(self, images):
            return self.head(self.encoder(images)[0])

    return Whole()


# joint.m2_sum


@exercise(
    id="joint.m2_sum",
    level=2,
    minutes=10,
    points=3,
    hints=(
        "An expectation over the classes is a sum, weighted by q(y|x); the entropy is one as well.",
        "logits.log_softmax(dim=1) is log q, safe for huge logits, and its exp is q.",
        "(q * (bounds - log_q)).sum(dim=1), since the entropy is -Σ q log q.",
    ),
    after="The price of not knowing the label is that sum: each class is tried, weighted by how "
    "probable q finds it.",
    alternative="torch.distributions.Categorical(logits=logits).entropy() is the second term.",
    form=tensor,
)
def m2_sum(logits, bounds):
    """The bound of each image without a label in nats: Σ_y q(y|x) bound(x, y) + H(q).

    logits [n, classes] are those of q(y|x); bounds [n, classes] is the bound of each
    image with each class; the result is [n].
    """
    log_q = logits.log_softmax(dim=1)
    return (log_q.exp() * (bounds - log_q)).sum(dim=1)


@m2_sum.draw
def _(seed: int) -> Values:
    generator = torch.Generator().manual_seed(seed)
    count, classes = (whole_number(low, low + 4, generator) for low in (5, 3))
    logits = 2 * torch.randn(count, classes, generator=generator)
    logits[0] = torch.linspace(-300, 300, classes)
    bounds = 5 * torch.randn(count, classes, generator=generator) - 100
    return {"logits": logits, "bounds": bounds}


FOR_LOGITS = "the gradient for logits"
FOR_BOUNDS = "the gradient for bounds"


@m2_sum.drive
def _(function: Function, inputs: Values) -> Values:
    leaves = [inputs[name].clone().requires_grad_() for name in ("logits", "bounds")]
    result = function(*copied(leaves))
    gradients = tuple(torch.zeros_like(leaf) for leaf in leaves)
    if isinstance(result, Tensor) and result.requires_grad:
        gradients = torch.autograd.grad(
            result.sum(), leaves, allow_unused=True, materialize_grads=True
        )
    return {RESULT: plain(result), FOR_LOGITS: gradients[0], FOR_BOUNDS: gradients[1]}


m2_sum.part("the values", points=2)
m2_sum.compare(RESULT, says="those are not Σ_y q(y|x) bound(x, y) + H(q(y|x)) of each image")
m2_sum.part("the gradients", points=1)
m2_sum.compare(
    FOR_LOGITS, FOR_BOUNDS, says="the values are right, but their gradient is not: is it detached?"
)


@m2_sum.judge
def _(inputs: Values, outputs: Values) -> str | None:
    refusal = m2_sum.compared(inputs, outputs)
    if refusal == f"{RESULT}: {NAN}":
        return f"{refusal}; {LOG_OF_ZERO}"
    return refusal


LOG_OF_ZERO = "the logarithm of a probability that is 0: logits.log_softmax(dim=1) is safe"

m2_sum.wrong(
    "without entropy",
    says="the entropy of q is missing: add -Σ q log q",
    last_line="return (log_q.exp() * bounds).sum(dim=1)",
)
m2_sum.wrong(
    "entropy subtracted",
    says="the entropy is subtracted: it is added to the bound",
    last_line="return (log_q.exp() * (bounds + log_q)).sum(dim=1)",
)
m2_sum.wrong(
    "mean over classes",
    says="you averaged over the classes: weight them by q(y|x)",
    last_line="return (bounds - log_q.exp() * log_q).mean(dim=1)",
)
m2_sum.wrong(
    "best class",
    says="that is the bound of the most probable class alone: sum over all of them",
    last_line="return bounds.gather(1, log_q.argmax(1, keepdim=True)).squeeze(1)",
)
m2_sum.wrong(
    "tightest",
    says="that is the logarithm of the sum over classes, the tightest bound, in which q does not "
    "occur: here q(y|x) weights them, since it is to learn",
    last_line="return bounds.logsumexp(dim=1)",
)
m2_sum.wrong(
    "logits as weights",
    says="the logits are not probabilities: softmax makes them so",
    edit={"log_q = logits.log_softmax(dim=1)": "log_q = logits"},
)
m2_sum.wrong(
    "wrong dimension",
    says="q sums to 1 over the images: the classes are dimension 1",
    edit={"log_q = logits.log_softmax(dim=1)": "log_q = logits.log_softmax(dim=0)"},
)
m2_sum.wrong(
    "log of 0",
    says=LOG_OF_ZERO,
    edit={"log_q = logits.log_softmax(dim=1)": "log_q = logits.softmax(dim=1).log()"},
)
m2_sum.wrong(
    "detached",
    says="no gradient reaches the logits: q has to learn, too",
    edit={"log_q = logits.log_softmax(dim=1)": "log_q = logits.detach().log_softmax(dim=1)"},
)


# joint.directions


@exercise(
    id="joint.directions",
    level=1,
    minutes=6,
    points=2,
    hints=(
        "The variances along the principal axes are the eigenvalues of the covariance of the "
        "features, a matrix [d, d].",
        "torch.cov wants a row for each feature, so it is torch.cov(x.T), which takes the mean off "
        "as well; torch.linalg.eigvalsh gives the eigenvalues of a symmetric matrix.",
        "Return variances.sum() ** 2 / variances.square().sum().",
    ),
    after="Neither a rotation nor a common scale of the features changes this count.",
    alternative="covariance.trace() ** 2 / covariance.square().sum() needs no eigenvalues, because "
    "their sum is the trace, and the sum of their squares that of all squared entries.",
    form=number,
)
def directions(x):
    """In how many directions the features x [n, d] vary: (Σ λ)² / Σ λ², one number.

    λ are the variances along the principal axes.
    """
    covariance = torch.cov(x.T)
    variances = torch.linalg.eigvalsh(covariance)
    return variances.sum() ** 2 / variances.square().sum()


@directions.draw
def _(seed: int) -> Values:
    """Features of unequal spread, turned out of their axes and away from 0."""
    generator = torch.Generator().manual_seed(seed)
    images, width = (whole_number(low, low + 5, generator) for low in (25, 5))
    x = torch.randn(images, width, generator=generator, dtype=torch.float64)
    spreads = torch.linspace(0.2, 2, width, dtype=torch.float64)
    square = torch.randn(width, width, generator=generator, dtype=torch.float64)
    rotation, _ = torch.linalg.qr(square)
    return {"x": (x * spreads) @ rotation + 1.5}


directions.compare(RESULT, says="that is not (Σ λ)² / Σ λ² of the features' covariance")

directions.wrong(
    "spreads",
    says="those are standard deviations: λ are variances, without a root",
    edit={
        "variances = torch.linalg.eigvalsh(covariance)": (
            "variances = torch.linalg.eigvalsh(covariance).sqrt()"
        )
    },
)
directions.wrong(
    "axes of the features",
    says="those are the variances of single features, which a rotation changes: λ are the "
    "eigenvalues of the covariance",
    edit={"variances = torch.linalg.eigvalsh(covariance)": "variances = covariance.diagonal()"},
)
directions.wrong(
    "mean kept",
    says="the mean is still in it, and counts as a direction: take it off, as torch.cov does",
    edit={"covariance = torch.cov(x.T)": "covariance = x.T @ x / (len(x) - 1)"},
)
directions.wrong(
    "images for features",
    says="that is the covariance of images: torch.cov wants a row for each feature, x.T",
    edit={"covariance = torch.cov(x.T)": "covariance = torch.cov(x)"},
)
directions.wrong(
    "upside down",
    says="that is upside down: the square of the sum stands above the sum of the squares",
    last_line="return variances.square().sum() / variances.sum() ** 2",
)
directions.wrong(
    "sum not squared",
    says="the sum above is not squared, so that the count changes with the scale of the features",
    last_line="return variances.sum() / variances.square().sum()",
)
directions.wrong(
    "rank",
    says="that counts each direction that varies at all: quiet ones are to count less",
    last_line="return (variances > 1e-9).sum()",
)
directions.wrong(
    "above the mean",
    says="that counts the directions louder than the mean: here each counts by its share",
    last_line="return (variances > variances.mean()).sum()",
)
directions.wrong(
    "entropy",
    says="that is the exponential of an entropy, another count of directions: take (Σ λ)² / Σ λ²",
    last_line="return torch.distributions.Categorical(variances).entropy().exp()",
)


# joint.reuse

HALVES = ("encoder", "decoder")
KEPT_AT_START = "the kept half as it is returned"
OTHER_AT_START = "the other half as it is returned"
SOURCE_AFTER = "the source after the training"
SOURCE_ASKS = "the source's weights that ask for gradients"
ASKS = "the kept half's weights that ask for gradients"
HELD_OF_KEPT = "numbers of the kept half in the optimiser"
HELD_OF_OTHER = "numbers of the other half in the optimiser"
HELD_OF_NONE = "numbers in the optimiser that are not the VAE's"
KEPT_PARAMETERS = "the kept half's weights after the training"
KEPT_BUFFERS = "the kept half's statistics after the training"
KEPT_TWICE = "what the kept half computes, twice, while the rest trains"
OTHER_AFTER = "the other half after the training"
SHARED_HALF = "the source changes: the half must be a copy of it, and what you freeze is the copy"
WAKES = (
    "BatchNorm or dropout of the kept half wakes up when a loop calls model.train(): "
    "transfer.freeze fixes the weights and these"
)


@exercise(
    id="joint.reuse",
    level=2,
    minutes=10,
    points=4,
    hints=(
        "Four things: a copy of the source's half, which is frozen, in the place of fresh's own, "
        "and an optimiser for the half that is left.",
        "getattr(source, half) is the half by its name, and setattr(fresh, half, kept) puts one "
        "in. copy.deepcopy makes the copy, and transfer.freeze fixes its weights and its "
        "BatchNorm.",
        'The half to train is fresh.decoder if half == "encoder", and otherwise fresh.encoder. '
        "torch.optim.Adam(other.parameters(), lr=rate) holds nothing else.",
    ),
    after="The kept half stays what it was, weights and statistics, and the other one learns to "
    "work with it.",
    alternative="representations.reuse does so for the hidden layer, too.",
)
def keep_half(source, fresh, half, rate):
    """A VAE of one half of the source, kept, and the other half of fresh, to train.

    half is "encoder" or "decoder". A copy of the source's takes the place of that of
    fresh and is frozen, also after model.train(); the source stays as it is. Returns
    the VAE and an Adam with this rate that holds the other half's weights only.
    """
    kept = transfer.freeze(copy.deepcopy(getattr(source, half)))
    setattr(fresh, half, kept)
    other = fresh.decoder if half == "encoder" else fresh.encoder
    return fresh, torch.optim.Adam(other.parameters(), lr=rate)


@keep_half.draw
def _(seed: int) -> Values:
    generator = torch.Generator().manual_seed(seed)
    hidden, latent, count, side = (whole_number(low, low + 3, generator) for low in (5, 3, 10, 3))
    return {
        "hidden": hidden,
        "latent": latent,
        "rate": 0.02 + 0.01 * (seed % 3),
        "seed": seed % 997,
        "images": torch.rand(count, 1, side, side, generator=generator),
    }


def vae_with_norms(inputs: Values, seed: int) -> VAE:
    """A VAE of which both halves have dropout, and BatchNorm that has seen something."""
    torch.manual_seed(seed)
    hidden, latent, shape = inputs["hidden"], inputs["latent"], inputs["images"].shape[1:]
    layers = []
    for first in (shape.numel(), latent):
        norm = nn.BatchNorm1d(hidden)
        norm.get_buffer("running_mean").uniform_(-0.5, 0.5)
        norm.get_buffer("running_var").uniform_(0.5, 1.5)
        layers.append((nn.Linear(first, hidden), norm, nn.Tanh(), nn.Dropout(0.4)))
    body = nn.Sequential(nn.Flatten(), *layers[0])
    out = (nn.Linear(hidden, shape.numel()), nn.Unflatten(1, shape))
    return VAE(Encoder(body, hidden, latent), nn.Sequential(*layers[1], *out))


def held_by(optimizer: torch.optim.Optimizer, halves: list[nn.Module]) -> list[int]:
    """How many numbers of each of these modules an optimiser holds, and how many of none."""
    groups = optimizer.param_groups
    held = {id(one): one.numel() for group in groups for one in group["params"]}
    counts = [sum(held.pop(id(one), 0) for one in half.parameters()) for half in halves]
    return [*counts, sum(held.values())]


def with_half_kept(function: Function, inputs: Values, half: str) -> Values:
    """The VAE that keeps this half: as it is returned, and after three steps."""
    source, fresh = (vae_with_norms(inputs, inputs["seed"] + k) for k in range(2))
    source.eval()
    result = function(source, fresh, half, inputs["rate"])
    fault = pair_fault(result, "(VAE, optimiser)")
    if fault:
        return {RETURNED: fault}
    model, optimizer = result
    if not isinstance(model, VAE) or not isinstance(optimizer, torch.optim.Optimizer):
        return {RETURNED: "a pair (VAE, optimiser) was expected, and these are others"}
    kept = getattr(model, half)
    other = model.decoder if half == "encoder" else model.encoder
    outputs: Values = {
        RETURNED: 1,
        KEPT_AT_START: state_of(kept),
        OTHER_AT_START: state_of(other),
        ASKS: sum(parameter.requires_grad for parameter in kept.parameters()),
    }
    held = held_by(optimizer, [kept, other])
    outputs |= dict(zip((HELD_OF_KEPT, HELD_OF_OTHER, HELD_OF_NONE), held, strict=True))
    images = inputs["images"]
    for step in range(3):
        model.train()  # as a loop does in each epoch
        torch.manual_seed(step)  # the noise of the codes
        bounds = elbo(model, images).elbo
        optimizer.zero_grad()
        if bounds.requires_grad:
            (-bounds.mean()).backward()
        optimizer.step()
        model.eval()  # as validation would leave it
    outputs |= {
        KEPT_PARAMETERS: state_of(kept, buffers=False),
        KEPT_BUFFERS: state_of(kept, parameters=False),
        OTHER_AFTER: state_of(other),
    }
    model.train()
    torch.manual_seed(0)
    views = images if half == "encoder" else torch.randn(len(images), inputs["latent"])
    twice = [kept(views) for _ in range(2)]
    outputs[KEPT_TWICE] = torch.cat([x[0] if isinstance(x, tuple) else x for x in twice]).detach()
    with torch.no_grad():
        for parameter in kept.parameters():  # moves the source, too, where it is no copy
            parameter.add_(1)
    outputs[SOURCE_AFTER] = state_of(source)
    outputs[SOURCE_ASKS] = sum(parameter.requires_grad for parameter in source.parameters())
    return outputs


@keep_half.drive
def _(function: Function, inputs: Values) -> Values:
    outputs: Values = {}
    for half in HALVES:
        of_half = with_half_kept(function, inputs, half)
        if of_half[RETURNED] != 1:
            return of_half
        outputs |= {f"{name}: {half}": value for name, value in of_half.items()}
    return outputs


def of_both(*names: str) -> list[str]:
    """The outputs of these names, for either half that is kept."""
    return [f"{name}: {half}" for name in names for half in HALVES]


keep_half.part("the two halves, and a source that stays", points=1)
keep_half.compare(
    *of_both(RETURNED, KEPT_AT_START),
    says="the kept half is not the source's, with its weights and its BatchNorm's statistics",
)
keep_half.compare(*of_both(OTHER_AT_START), says="the half to be trained is not the one of fresh")
keep_half.compare(*of_both(SOURCE_AFTER, SOURCE_ASKS), says=SHARED_HALF)
keep_half.part("a kept half that is frozen", points=2)
keep_half.compare(
    *of_both(KEPT_PARAMETERS, ASKS),
    says="the weights of the kept half are not frozen: transfer.freeze turns their gradients off",
)
keep_half.compare(*of_both(KEPT_BUFFERS, KEPT_TWICE), says=WAKES)
keep_half.part("an optimiser of the other half", points=1)
keep_half.compare(
    *of_both(HELD_OF_KEPT), says="the optimiser holds weights of the half that is kept"
)
keep_half.compare(
    *of_both(HELD_OF_OTHER, HELD_OF_NONE),
    says="the optimiser does not hold the weights of the other half, all of them and no others",
)
keep_half.compare(
    *of_both(OTHER_AFTER),
    says="the other half does not learn as it should: is it an Adam with this rate?",
)

KEPT = "kept = transfer.freeze(copy.deepcopy(getattr(source, half)))"
PUT_IN = "setattr(fresh, half, kept)"
OTHER = 'other = fresh.decoder if half == "encoder" else fresh.encoder'
keep_half.wrong("no copy", says=SHARED_HALF, edit={KEPT: KEPT.replace("copy.deepcopy", "")})
keep_half.wrong(
    "source frozen",
    says="the source is frozen, too: freeze the copy",
    edit={KEPT: "transfer.freeze(source)\nkept = copy.deepcopy(getattr(source, half))"},
)
keep_half.wrong(
    "not frozen",
    says="the kept half is not frozen: its weights ask for gradients, and its BatchNorm goes on",
    edit={KEPT: "kept = copy.deepcopy(getattr(source, half))"},
)
keep_half.wrong(
    "gradients alone",
    says=WAKES,
    edit={KEPT: "kept = copy.deepcopy(getattr(source, half)).requires_grad_(False).eval()"},
)
keep_half.wrong(
    "eval alone",
    says="its BatchNorm rests and its weights ask for gradients: transfer.freeze does both",
    edit={
        KEPT: "kept = copy.deepcopy(getattr(source, half)).eval()\n"
        "for module in kept.modules():\n"
        "    module.train = lambda mode=True, module=module: module"
    },
)
keep_half.wrong(
    "all in the optimiser",
    says="the optimiser holds the kept half as well: give it the other half's weights alone",
    last_line="return fresh, torch.optim.Adam(fresh.parameters(), lr=rate)",
)
keep_half.wrong(
    "kept in the optimiser",
    says="the optimiser holds the kept half, so that nothing learns: give it the other one",
    last_line="return fresh, torch.optim.Adam(kept.parameters(), lr=rate)",
)
keep_half.wrong(
    "optimiser first",
    says="the optimiser was made before the half was put in, and holds the one that was thrown "
    "out: make it afterwards",
    edit={
        KEPT: f"optimizer = torch.optim.Adam(fresh.parameters(), lr=rate)\n{KEPT}",
        "return fresh, torch.optim.Adam(other.parameters(), lr=rate)": "return fresh, optimizer",
    },
)
keep_half.wrong(
    "the optimiser of the source",
    says="the optimiser holds the source's weights: give it those of the VAE that you return",
    edit={OTHER: OTHER.replace("fresh.", "source.")},
)
keep_half.wrong(
    "always the encoder",
    says="the encoder is kept whatever half says: getattr(source, half) is the half by its name",
    edit={
        KEPT: KEPT.replace("getattr(source, half)", "source.encoder"),
        PUT_IN: "fresh.encoder = kept",
        OTHER: "other = fresh.decoder",
    },
)
keep_half.wrong(
    "the other way round",
    says="the half that is named was to be kept, and you keep the other one",
    edit={
        KEPT: 'half = "decoder" if half == "encoder" else "encoder"\n' + KEPT,
    },
)
keep_half.wrong(
    "nothing taken",
    says="nothing is taken from the source: the frozen half is the one of fresh",
    edit={KEPT: KEPT.replace("source", "fresh")},
)
keep_half.wrong(
    "whole source",
    says="both halves are the source's: the one to be trained is that of fresh",
    edit={KEPT: f"fresh = copy.deepcopy(source)\n{KEPT}"},
)
keep_half.wrong(
    "into the source",
    says="the VAE is the source itself, with a half of fresh: put its half into fresh, as a copy",
    edit={
        KEPT: "kept = transfer.freeze(getattr(source, half))",
        PUT_IN: 'name = "decoder" if half == "encoder" else "encoder"\n'
        "setattr(source, name, getattr(fresh, name))\nfresh = source",
    },
)
keep_half.wrong(
    "parameters alone",
    says="BatchNorm's running statistics are those of fresh: they are buffers, which parameters() "
    "leaves out",
    edit={
        KEPT: "kept = transfer.freeze(getattr(fresh, half))\n"
        "for new, old in zip(kept.parameters(), getattr(source, half).parameters()):\n"
        "    new.data.copy_(old.data)",
    },
)
keep_half.wrong(
    "all frozen",
    says="both halves are frozen, so nothing can learn: freeze the kept one only",
    last_line="return transfer.freeze(fresh), torch.optim.Adam(other.parameters(), lr=rate)",
)
keep_half.wrong(
    "no rate",
    says="the optimiser has a rate of its own: lr=rate",
    last_line="return fresh, torch.optim.Adam(other.parameters())",
)


# joint.naive_cka


@exercise(
    id="joint.naive_cka",
    level=1,
    minutes=5,
    points=1,
    hints=(
        "Take the mean off each feature first: x - x.mean(0).",
        "k = x @ x.T and m = y @ y.T are the products of all pairs of images, [n, n] both, however "
        "wide the features are.",
        "Return (k * m).sum() / ((k * k).sum() * (m * m).sum()).sqrt().",
    ),
    after="It is a cosine: that of the angle between two long vectors, the entries of K and M.",
    alternative="(x.T @ y).norm() ** 2 / ((x.T @ x).norm() * (y.T @ y).norm()), with the means "
    "off, is the same and needs no matrix of images.",
    form=number,
)
def naive_cka(x, y):
    """CKA of features x [n, d1] and y [n, d2] of the same images, by the naive HSIC."""
    x, y = x - x.mean(0), y - y.mean(0)
    k, m = x @ x.T, y @ y.T
    return (k * m).sum() / ((k * k).sum() * (m * m).sum()).sqrt()


@naive_cka.draw
def _(seed: int) -> Values:
    return two_features(seed)


OF_FEATURES = (
    "you multiplied features with features, [d, d], which does not fit where two widths differ: "
    "the products of all pairs of images are x @ x.T, [n, n]"
)
BY_ENTRIES = (
    "k @ m is a product of matrices, and the sum of its entries is 0 for centred features: k * m "
    "multiplies entry by entry"
)


def cka_or_words(function: Function, inputs: Values) -> Values:
    """What the function returns, or what it did where its matrices are of features."""
    x, y = copied(inputs["x"]), copied(inputs["y"])
    widths = (f"({x.shape[1]})", f"({y.shape[1]})")
    try:
        return {RESULT: plain(function(x, y))}
    except RuntimeError as error:
        if all(width in str(error) for width in widths):
            return {RETURNED: OF_FEATURES}
        raise


@naive_cka.drive
def _(function: Function, inputs: Values) -> Values:
    return cka_or_words(function, inputs)


naive_cka.compare(RESULT, says="that is not the naive CKA of these features")


@naive_cka.judge
def _(inputs: Values, outputs: Values) -> str | None:
    refusal = naive_cka.compared(inputs, outputs)
    if refusal == f"{RESULT}: {NAN}":
        return f"{refusal}; {BY_ENTRIES}"
    result = outputs.get(RESULT)
    if isinstance(result, Tensor) and result.numel() == 1:
        result = result.item()
    is_rounding = isinstance(result, float) and abs(result) < 1e-13
    return BY_ENTRIES if refusal and is_rounding else refusal


naive_cka.wrong(
    "features with features",
    says=OF_FEATURES,
    edit={"k, m = x @ x.T, y @ y.T": "k, m = x.T @ x, y.T @ y"},
)
naive_cka.wrong(
    "one grand mean",
    says="you took off one mean of all entries: each feature has its own, x.mean(0)",
    edit={"x, y = x - x.mean(0), y - y.mean(0)": "x, y = x - x.mean(), y - y.mean()"},
)
naive_cka.wrong(
    "mean kept",
    says="the means are still in the features: take off that of each, x - x.mean(0)",
    edit={"x, y = x - x.mean(0), y - y.mean(0)": ""},
)
naive_cka.wrong(
    "mean of an image",
    says="you took off the mean of each image: it is that of each feature, over the images",
    edit={
        "x, y = x - x.mean(0), y - y.mean(0)": (
            "x, y = x - x.mean(1, keepdim=True), y - y.mean(1, keepdim=True)"
        )
    },
)
naive_cka.wrong(
    "without root",
    says="the square root in the denominator is missing",
    last_line="return (k * m).sum() / ((k * k).sum() * (m * m).sum())",
)
naive_cka.wrong(
    "not divided",
    says="that is HSIC itself, which grows with the scale of the features: divide it",
    last_line="return (k * m).sum()",
)
naive_cka.wrong(
    "standardised",
    says="you divided by the standard deviations: CKA keeps how loud each feature is",
    edit={
        "x, y = x - x.mean(0), y - y.mean(0)": (
            "x, y = (x - x.mean(0)) / x.std(0), (y - y.mean(0)) / y.std(0)"
        )
    },
)

naive_cka.wrong(
    "products of matrices",
    says=BY_ENTRIES,
    last_line="return (k @ m).sum() / ((k @ k).sum() * (m @ m).sum()).sqrt()",
)
naive_cka.wrong(
    "product of matrices above",
    says=BY_ENTRIES,
    last_line="return (k @ m).sum() / ((k * k).sum() * (m * m).sum()).sqrt()",
)


@naive_cka.wrong(
    "debiased", says="that is the repaired estimate, which comes next: here the diagonals stay in"
)
def _(x, y):
    return debiased_cka(x, y)


def two_features(seed: int) -> Values:
    """Features of two widths that have something in common."""
    generator = torch.Generator().manual_seed(seed)
    images, first, second = (whole_number(low, low + 4, generator) for low in (12, 9, 5))
    x = torch.randn(images, first, generator=generator, dtype=torch.float64) + 0.5
    mix = torch.randn(first, second, generator=generator, dtype=torch.float64)
    noise = torch.randn(images, second, generator=generator, dtype=torch.float64)
    return {"x": x, "y": x @ mix / 3 + 0.5 * noise}


# joint.cka


@exercise(
    id="joint.cka",
    level=2,
    minutes=10,
    points=4,
    hints=(
        "The Gram matrix of x is x @ x.T; set its diagonal to 0, since an image's product with "
        "itself is what biases the estimate.",
        "Write hsic(k, m) first, with its three terms: (k * m).sum(), the product of the two total "
        "sums, and k.sum(0) @ m.sum(0). The factor 1/(n(n-3)) cancels in the ratio.",
        "Return hsic(k, m) / (hsic(k, k) * hsic(m, m)).sqrt().",
    ),
    steps=(
        "Gram matrices of x and y, their diagonals 0",
        "hsic(k, m): sum of k * m, plus the product of the two total sums over (n-1)(n-2), "
        "minus 2/(n-2) times the inner product of the row sums",
        "the ratio that makes it 1 for equal features",
    ),
    after="On independent features of any width d it is about 0, where the naive one is d/(d + n).",
    form=number,
)
def debiased_cka(x, y):
    """CKA of features x [n, d1] and y [n, d2] of the same images, by unbiased HSIC."""
    n = len(x)
    k = (x @ x.T).fill_diagonal_(0)
    m = (y @ y.T).fill_diagonal_(0)

    def hsic(k, m):
        products = (k * m).sum()
        sums = k.sum() * m.sum() / ((n - 1) * (n - 2))
        cross = 2 * (k.sum(0) @ m.sum(0)) / (n - 2)
        return products + sums - cross

    return hsic(k, m) / (hsic(k, k) * hsic(m, m)).sqrt()


@debiased_cka.draw
def _(seed: int) -> Values:
    return two_features(seed)


@debiased_cka.drive
def _(function: Function, inputs: Values) -> Values:
    return cka_or_words(function, inputs)


debiased_cka.compare(RESULT, says="that is not the debiased CKA of these features")

debiased_cka.wrong(
    "features with features",
    says=OF_FEATURES,
    edit={
        "k = (x @ x.T).fill_diagonal_(0)": "k = (x.T @ x).fill_diagonal_(0)",
        "m = (y @ y.T).fill_diagonal_(0)": "m = (y.T @ y).fill_diagonal_(0)",
    },
)
debiased_cka.wrong(
    "third term missing",
    says="the third term is missing: subtract 2/(n-2) times the product of the row sums",
    edit={"return products + sums - cross": "return products + sums"},
)
debiased_cka.wrong(
    "second term missing",
    says="the second term is missing: add the product of the two total sums over (n-1)(n-2)",
    edit={"return products + sums - cross": "return products - cross"},
)
debiased_cka.wrong(
    "sum of products",
    says="the second term is the product of two sums, k.sum() * m.sum(), and yours is the sum of "
    "the products",
    edit={
        "sums = k.sum() * m.sum() / ((n - 1) * (n - 2))": (
            "sums = (k * m).sum() / ((n - 1) * (n - 2))"
        )
    },
)
debiased_cka.wrong(
    "trace",
    says="the third term sums all entries of K̃M̃, and yours its diagonal: the sum is "
    "k.sum(0) @ m.sum(0)",
    edit={
        "cross = 2 * (k.sum(0) @ m.sum(0)) / (n - 2)": "cross = 2 * torch.trace(k @ m) / (n - 2)"
    },
)
debiased_cka.wrong(
    "centred in place of the terms",
    says="you took the means off and left two terms out: without its diagonal a row no longer "
    "sums to 0, so the sums and the row sums are needed",
    edit={
        "n = len(x)": "x, y = x - x.mean(0), y - y.mean(0)",
        "return products + sums - cross": "return products",
        "sums = k.sum() * m.sum() / ((n - 1) * (n - 2))": "",
        "cross = 2 * (k.sum(0) @ m.sum(0)) / (n - 2)": "",
    },
)
debiased_cka.wrong(
    "diagonal kept",
    says="the diagonals are still in the Gram matrices: fill them with 0",
    edit={
        "k = (x @ x.T).fill_diagonal_(0)": "k = x @ x.T",
        "m = (y @ y.T).fill_diagonal_(0)": "m = y @ y.T",
    },
)


@debiased_cka.wrong(
    "naive", says="that is the usual, biased CKA: set the diagonals to 0 and use the three terms"
)
def _(x, y):
    x, y = x - x.mean(0), y - y.mean(0)
    return (x.T @ y).square().sum() / ((x.T @ x).norm() * (y.T @ y).norm())


debiased_cka.wrong(
    "without root",
    says="the square root in the denominator is missing",
    last_line="return hsic(k, m) / (hsic(k, k) * hsic(m, m))",
)
debiased_cka.wrong(
    "factor without root",
    says="the square root in the denominator is missing: with it the factor 1/(n(n-3)) cancels",
    edit={
        "return products + sums - cross": "return (products + sums - cross) / (n * (n - 3))",
        "return hsic(k, m) / (hsic(k, k) * hsic(m, m)).sqrt()": (
            "return hsic(k, m) / (hsic(k, k) * hsic(m, m))"
        ),
    },
)
debiased_cka.wrong(
    "row sums twice",
    says="the third term is twice as large as it should be: its factor is 2/(n-2)",
    edit={
        "cross = 2 * (k.sum(0) @ m.sum(0)) / (n - 2)": (
            "cross = 4 * (k.sum(0) @ m.sum(0)) / (n - 2)"
        )
    },
)
debiased_cka.wrong(
    "not divided",
    says="that is HSIC itself, which grows with the scale of the features: divide it",
    last_line="return hsic(k, m)",
)
debiased_cka.wrong(
    "not debiased in full",
    says="only the first of the three terms is there: the sums and the row sums belong to it",
    edit={"return products + sums - cross": "return products"},
)
debiased_cka.wrong(
    "sign of the row sums",
    says="the row sums are added: subtract them",
    edit={"return products + sums - cross": "return products + sums + cross"},
)
debiased_cka.wrong(
    "row sums once",
    says="the row sums count twice in the third term",
    edit={
        "cross = 2 * (k.sum(0) @ m.sum(0)) / (n - 2)": ("cross = (k.sum(0) @ m.sum(0)) / (n - 2)")
    },
)
debiased_cka.wrong(
    "columns",
    says="you compared features, not images: the Gram matrix of n images is x @ x.T, [n, n]",
    edit={
        "n = len(x)": "width = min(x.shape[1], y.shape[1])\nx, y = x[:, :width].T, y[:, :width].T\n"
        "n = len(x)",
    },
)


# joint.random_beat_trained: the clinic


@exercise(
    id="joint.random_beat_trained",
    level=3,
    minutes=20,
    points=4,
    hints=(
        "Print train_mu.std(0) of the trained VAE: which latents move with the images, and which "
        "hardly do?",
        "A VAE has chosen the scale of its latents: one that says little lies near 0 on purpose. "
        "What does dividing by its standard deviation do to such a latent?",
        "Leave the scaler out: fit the logistic regression on train_mu as it is.",
    ),
    after="The clue was in the published table: neighbours and SVM on the same μ never had a "
    "scaler, and never lost to a random encoder.",
    form=indices,
)
def probe(train_mu, train_labels, test_mu, strength):
    """What a linear probe on posterior means calls the test images: labels [m], int64.

    A logistic regression with C = strength, on the latents as the encoder gives them.
    """
    regression = LogisticRegression(C=strength, max_iter=5000)
    regression.fit(train_mu.numpy(), train_labels.numpy())
    return torch.from_numpy(regression.predict(test_mu.numpy()))


@probe.draw
def _(seed: int) -> Values:
    """Two latents that tell the classes apart, and many that hardly move."""
    generator = torch.Generator().manual_seed(seed)
    idle = whole_number(24, 30, generator)
    classes, per_class, tested = 3, whole_number(4, 6, generator), 60
    angles = 2 * math.pi * torch.arange(classes) / classes
    centres = 2 * torch.stack([angles.cos(), angles.sin()], dim=1)

    def draw(labels: Tensor, spread: float) -> Tensor:
        busy = centres[labels] + spread * torch.randn(len(labels), 2, generator=generator)
        still = 0.01 * torch.randn(len(labels), idle, generator=generator)
        return torch.cat([busy, still], dim=1)[:, order]

    order = torch.randperm(2 + idle, generator=generator)
    train_labels = torch.arange(classes).repeat(per_class)
    test_labels = torch.arange(classes).repeat(tested // classes)
    return {
        "train_mu": draw(train_labels, 0.3),
        "train_labels": train_labels,
        "test_mu": draw(test_labels, 0.3),
        "strength": 1.0,
    }


CALLED = "the labels"


@probe.drive
def _(function: Function, inputs: Values) -> Values:
    names = ("train_mu", "train_labels", "test_mu", "strength")
    return {CALLED: array(function(*(copied(inputs[name]) for name in names)))}


probe.compare(CALLED, says="the probe calls images otherwise than one on the latents as they are")


@probe.broken(
    "the published one",
    says="every latent is still as loud as the others: the scaler blows up those that say nothing",
)
def published_probe(train_mu, train_labels, test_mu, strength):
    """The probe behind the published table."""
    regression = LogisticRegression(C=strength, max_iter=5000)
    scaled = make_pipeline(StandardScaler(), regression)
    scaled.fit(train_mu.numpy(), train_labels.numpy())
    return torch.from_numpy(scaled.predict(test_mu.numpy()))


probe.wrong(
    "scaled apart",
    says="training and test latents are each scaled by their own spread: use them as they are",
    edit={
        "regression.fit(train_mu.numpy(), train_labels.numpy())": (
            "train_mu = (train_mu - train_mu.mean(0)) / train_mu.std(0, correction=0)\n"
            "test_mu = (test_mu - test_mu.mean(0)) / test_mu.std(0, correction=0)\n"
            "regression.fit(train_mu.numpy(), train_labels.numpy())"
        )
    },
)
probe.wrong(
    "busiest thrown away",
    says="the latents that move were thrown away: they say what the image is",
    edit={
        "regression.fit(train_mu.numpy(), train_labels.numpy())": (
            "keep = train_mu.std(0) < 0.1\n"
            "train_mu, test_mu = train_mu[:, keep], test_mu[:, keep]\n"
            "regression.fit(train_mu.numpy(), train_labels.numpy())"
        )
    },
)
probe.wrong(
    "signs alone",
    says="only the signs are left: how far a latent lies from 0 matters as well",
    edit={
        "regression.fit(train_mu.numpy(), train_labels.numpy())": (
            "train_mu, test_mu = train_mu.sign(), test_mu.sign()\n"
            "regression.fit(train_mu.numpy(), train_labels.numpy())"
        )
    },
)
probe.wrong(
    "training labels",
    says="those are labels of the training images: predict those of test_mu",
    last_line="return torch.from_numpy(regression.predict(train_mu.numpy()))",
)
