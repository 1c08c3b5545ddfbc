"""Chapters 3 and 3b: log-likelihood, KL, reparameterisation, ELBO, maps, weighted bound, three patients.

Inputs are drawn under the names of the reference's parameters; each answer is judged by its values and gradients.
"""

from __future__ import annotations

import contextlib
import inspect
import math
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from vaetl_helpers.exercises import (
    Exercise,
    Judge,
    Values,
    Wrong,
    judged,
    mutants,
    plain,
    recomputed,
    same,
)

# The reference solutions, as a learner would write them: `solution` prints these.


def bernoulli_log_likelihood(logits, images):
    """log p(x|z) of each image in nats: summed over its pixels; shape [batch]."""
    log_likelihood = images * F.logsigmoid(logits) + (1 - images) * F.logsigmoid(-logits)
    return log_likelihood.sum(dim=(1, 2, 3))


def kl(mu, log_var):
    """KL(N(mu, exp(log_var)) || N(0, I)) of each image in nats: summed over its latents; shape [batch]."""
    return 0.5 * (mu.square() + log_var.exp() - 1 - log_var).sum(dim=1)


def reparameterise(mu, log_var, noise):
    """A code z ~ N(mu, exp(log_var)), made of standard normal noise; gradients reach mu and log_var."""
    return mu + (0.5 * log_var).exp() * noise


def elbo(encode, decode, images, noise):
    """log p(x|z) - KL(q(z|x) || p(z)) of each image in nats, with one sampled code; shape [batch]."""
    mu, log_var = encode(images)
    z = reparameterise(mu, log_var, noise)
    return bernoulli_log_likelihood(decode(z), images) - kl(mu, log_var)


def grow(features, channels, height, width):
    """Flat features [batch, channels * height * width] as maps, nearest neighbour: [batch, channels, 2h, 2w]."""
    maps = features.view(-1, channels, height, width)
    return maps.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)


def iw_bound(log_weights):
    """log of the mean weight of each image in nats; log_weights has the shape [k, batch], the result [batch]."""
    return torch.logsumexp(log_weights, dim=0) - math.log(len(log_weights))


def repaired(logits, images, mu, log_var):
    """Patients A and B, repaired: the negative ELBO in nats per image; mu and log_var: [batch, latent]."""
    reconstruction = F.binary_cross_entropy_with_logits(logits, images, reduction="sum") / len(
        images
    )
    kl = 0.5 * (mu**2 + log_var.exp() - 1 - log_var).sum() / len(images)
    return reconstruction + kl


def repaired_c(logits, images, mu, sigma):
    """Patient C, repaired: the negative ELBO in nats per image; sigma > 0 is the standard deviation."""
    reconstruction = F.binary_cross_entropy_with_logits(logits, images, reduction="sum") / len(
        images
    )
    kl = 0.5 * (mu**2 + sigma**2 - 1 - 2 * sigma.log()).sum() / len(images)
    return reconstruction + kl


# Shared by the exercises: the inputs, the call, the judge.

RESULT, GRADIENT = "the result", "the gradient for "
NAN = "NaN or infinity where finite numbers were expected"
OVERFLOW = "an exponential ran out of range or a logarithm met 0 or less: F.logsigmoid and torch.logsumexp are safe"


def _draw(names: list[str], seed: int) -> Values:
    """The named arguments; for `encode` and `decode` the weights that `_drive` makes them of."""
    generator = torch.Generator().manual_seed(seed)
    sizes = [int(torch.randint(low, low + 3, (), generator=generator)) for low in (3, 3, 2, 3, 6)]
    batch, latent, channels, height, k = sizes
    shape = (batch, channels, height, height + 1 + seed % 2)
    pixels, normal = math.prod(shape[1:]), partial(torch.randn, generator=generator)
    values = {name: normal(batch, latent) for name in ("mu", "log_var", "noise")}
    values |= {
        "logits": normal(shape),
        "images": normal(shape).sign().relu(),
        "sigma": normal(batch, latent).exp(),
    }
    values |= {"encode": normal(pixels, 2 * latent) / pixels**0.5, "decode": normal(latent, pixels)}
    values |= {"features": normal(batch, pixels), "log_weights": 2 * normal(k, batch)}
    values["log_weights"][:, 0] -= 1000
    if "mu" not in names:  # a mean over the batch would hide the other images behind this one
        values["logits"][0] *= 1000
    values |= {"channels": channels, "height": height, "width": shape[3]}
    return {name: values[name] for name in names}


def _drive(names: list[str], learned: list[str], function: Callable, inputs: Values) -> Values:
    """The result, and the gradients of its sum for the arguments that are learned."""
    torch.manual_seed(0)  # a learner's own noise is then that of the wrong answer, and is named
    values = {name: x.clone() if isinstance(x, Tensor) else x for name, x in inputs.items()}
    leaves = [values[name].requires_grad_() for name in learned]
    if "encode" in names:
        shape = values["images"].shape[1:]
        values["encode"] = lambda images: (images.flatten(1) @ leaves[0]).chunk(2, dim=1)
        values["decode"] = lambda z: (z @ leaves[1]).unflatten(1, shape)
    result = function(*(values[name] for name in names))
    gradients = [torch.zeros_like(x) for x in leaves]
    if isinstance(result, Tensor) and result.requires_grad:
        gradients = torch.autograd.grad(
            result.sum(), leaves, allow_unused=True, materialize_grads=True
        )
    return {RESULT: plain(result)} | {
        GRADIENT + name: x for name, x in zip(learned, gradients, strict=True)
    }


def _judge(
    drive: Callable, reference: Callable, gradients: list[str], wrong: tuple[Wrong, ...]
) -> Judge:
    """As `recomputed`, but a wrong answer is named also where its result has a wrong shape."""
    asked = f"asked for: {inspect.getdoc(reference)}"
    detached = "the values are right, but their gradient is not: is a part of them detached?"
    compare = recomputed(
        drive, reference, ([RESULT], f"other numbers than {asked}"), (gradients, detached)
    )

    @judged
    def judge(inputs: Values, outputs: Values) -> str | None:
        refusal = compare(inputs, outputs)
        for suspect in wrong if refusal else ():
            with contextlib.suppress(
                Exception
            ):  # some wrong answers crash, and outputs may be anything
                known = drive(suspect.function, inputs)
                if same(outputs, known, known):
                    return suspect.says
        unfit = refusal and refusal.startswith(f"{RESULT}: ")
        return f"{refusal}; {OVERFLOW if NAN in refusal else asked}" if unfit else refusal

    return judge


def _exercise(
    name: str, reference: Callable, minutes: int, points: int, learned: str, rows: tuple
) -> Exercise:
    """`learned` names the arguments that a gradient must reach, `rows` the wrong answers as edits."""
    names, leaves, wrong = (
        list(inspect.signature(reference).parameters),
        learned.split(),
        mutants(reference, *rows),
    )
    drive = partial(_drive, names, leaves)
    hints = [
        line.split(": ", 1)[1]
        for line in HINTS.splitlines()
        if name.startswith(line.split(": ", 1)[0])
    ]
    judge = _judge(drive, reference, [GRADIENT + x for x in leaves], wrong)
    return Exercise(
        f"vae.{name}",
        minutes,
        points,
        tuple(hints),
        reference,
        partial(_draw, names),
        drive,
        judge,
        wrong,
    )


HINTS = """\
bernoulli_log_likelihood: A pixel that is 1 adds log π, one that is 0 adds log(1 - π); the pixels of one image add up.
bernoulli_log_likelihood: log π is F.logsigmoid(logits) and log(1 - π) is F.logsigmoid(-logits), safe for any logit.
bernoulli_log_likelihood: (images * F.logsigmoid(logits) + (1 - images) * F.logsigmoid(-logits)).sum(dim=(1, 2, 3))
kl: Write the formula for one latent, for all entries of mu and log_var at once; then add up along one dimension.
kl: log_var is log σ² already, so σ² is log_var.exp(). The latents are dimension 1.
kl: Half of (mu² + log_var.exp() - 1 - log_var), with .sum(dim=1): no mean anywhere.
reparameterise: The noise is standard normal: stretch it by the standard deviation, then move it to the mean.
reparameterise: log_var is log σ²; half of it is log σ, and exp of that is σ.
reparameterise: mu plus (0.5 * log_var).exp() times the noise; no .detach(), no randn.
elbo: Four steps: encode, draw a code from the noise, decode it, and take the price off the log-likelihood.
elbo: mu, log_var = encode(images), and z = reparameterise_checked(mu, log_var, noise).
elbo: Return bernoulli_checked(decode(z), images) minus kl_checked(mu, log_var): no sum, no mean.
decoder_shape: Images are stored row by row, so the order of the sizes is batch, channels, height, width.
decoder_shape: features.view(-1, channels, height, width) gives maps; repeat_interleave repeats each pixel.
decoder_shape: After the view, .repeat_interleave(2, dim=2) for the height, and the same with dim=3 for the width.
iw_bound: The logarithm of a mean is the logarithm of a sum, minus the logarithm of the number of terms.
iw_bound: torch.logsumexp(log_weights, dim=0) is the log of the sum over the k codes, without overflow.
iw_bound: From that subtract math.log(k), where k is len(log_weights).
clinic: Each term is a sum over everything, divided by the number of images. Write the KL's formula beside the code.
clinic: The reconstruction is right in all three. Compute the KL of one latent by hand for mu = 1, σ = 1: it is 1/2.
clinic_a: .mean() divides the KL by images times latents. Replace .mean() by .sum() / len(images).
clinic_b: The KL begins with -0.5 *, not with -.
clinic_c: sigma is σ itself. In the KL, sigma**2 takes the place of sigma.exp(), and 2 * sigma.log() that of sigma.
"""

# Wrong answers, as edits of the right ones.

PIXELS, ON, OFF = "(dim=(1, 2, 3))", "F.logsigmoid(logits)", "F.logsigmoid(-logits)"
STD, KL, SUM = "(0.5 * log_var).exp()", "kl(mu, log_var)", ").sum() / len(images)"
TALL, WIDE, VIEW = (
    ".repeat_interleave(2, dim=2)",
    ".repeat_interleave(2, dim=3)",
    "view(-1, channels, height, width)",
)
LOG, C, PATIENT_C = (
    "log_var.exp() - 1 - ",
    "sigma**2 - 1 - 2 * sigma.log()",
    "sigma.exp() - 1 - sigma",
)
LOG_K, BOUND = (
    " - math.log(len(log_weights))",
    "torch.logsumexp(log_weights, dim=0) - math.log(len(log_weights))",
)
LAST = "view(-1, height, width, channels).movedim(3, 1)"
START, BCE = (
    "log_likelihood = ",
    "-F.binary_cross_entropy(logits.sigmoid(), images, reduction='none').sum",
)
OWN = "that is noise of your own: use the noise that you are given"
EACH = "one number an image is asked for: leave the images (dimension 0) apart"
LIKELIHOODS = (
    ("mean over pixels", "you averaged over the pixels: sum over them", {".sum(": ".mean("}),
    (
        "negative",
        "the sign is wrong: the logarithm of a probability is never above 0",
        {"return ": "return -"},
    ),
    ("naive", NAN, {ON: "logits.sigmoid().log()", OFF: "(1 - logits.sigmoid()).log()"}),
    (
        "clamped",
        "huge logits are cut off at -100: F.binary_cross_entropy does that",
        {"log_likelihood.sum": BCE},
    ),
    ("mean over batch", EACH, {PIXELS: f"{PIXELS}.mean()"}),
    ("sum of everything", EACH, {PIXELS: "()"}),
    (
        "two sigmoids",
        "the sigmoid came twice: leave yours out",
        {START: f"logits = logits.sigmoid(); {START}"},
    ),
    (
        "ink only",
        "the pixels that are 0 are missing: they add log(1 - π)",
        {f" + (1 - images) * {OFF}": ""},
    ),
)
KLS = (
    ("mean over latents", "you averaged over the latents: sum over them", {".sum(": ".mean("}),
    ("no half", "the ½ before the bracket is missing", {"0.5 * ": ""}),
    (
        "log sigma",
        "you took log_var for log σ: it is log σ²",
        {LOG: "(2 * log_var).exp() - 1 - 2 * "},
    ),
    (
        "exp squared",
        "log_var.exp() is σ² already: do not square it",
        {"log_var.exp()": "log_var.exp().square()"},
    ),
    ("log_var as variance", NAN, {"log_var.exp()": "log_var", "- log_var": "- log_var.log()"}),
    ("sign", "the sign is wrong: a KL divergence is never negative", {"return ": "return -"}),
    ("sum over batch", EACH, {"(dim=1)": "()"}),
    ("mean over batch", EACH, {"(dim=1)": "(dim=1).mean()"}),
)
CODES = (
    ("variance", "you multiplied by the variance σ²: σ is exp(0.5 log_var)", {"0.5 * ": ""}),
    (
        "softplus",
        "σ is exp(0.5 log_var), not the softplus of log_var",
        {STD: "F.softplus(log_var)"},
    ),
    ("detached mu", "no gradient reaches mu: leave out .detach()", {"mu +": "mu.detach() +"}),
    (
        "detached log_var",
        "no gradient reaches log_var: leave out .detach()",
        {STD: f"{STD}.detach()"},
    ),
    ("own noise", OWN, {"* noise": "* torch.randn_like(noise)"}),
    (
        "variance added",
        "the variance is added: multiply the noise by σ",
        {f"{STD} *": "log_var.exp() +"},
    ),
    ("no noise", "the noise is ignored: multiply it by σ", {" * noise": ""}),
    ("mean alone", "that is mu itself: add σ times the noise", {f" + {STD} * noise": ""}),
)
ELBOS = (
    ("mean decoded", "you decoded mu: decode the sampled z", {"decode(z)": "decode(mu)"}),
    ("plus", "the KL is added: it is a price, subtract it", {"- kl": "+ kl"}),
    (
        "mean over pixels",
        "the log-likelihood is averaged over the pixels: sum",
        {"- kl": "/ images[0].numel() - kl"},
    ),
    ("mean over latents", "the KL is averaged over the latents: sum", {KL: f"{KL} / mu.shape[1]"}),
    ("beta", "the KL counts twice: in the bound its weight β is 1", {"- kl": "- 2 * kl"}),
    ("own noise", OWN, {"log_var, noise)": "log_var, torch.randn_like(noise))"}),
    (
        "negative",
        "that is minus the ELBO: return the bound itself",
        {"return b": "return -b", "- kl": "+ kl"},
    ),
    ("batch mean", EACH, {", images)": ", images).mean()", KL: f"{KL}.mean()"}),
)
MAPS = (
    (
        "swapped",
        "height and width are swapped: the height comes first",
        {VIEW: "view(-1, channels, width, height)"},
    ),
    ("channels last", "the channels come before height and width", {VIEW: LAST}),
    (
        "tiled",
        "you tiled the whole map: repeat each pixel beside itself",
        {TALL + WIDE: ".repeat(1, 1, 2, 2)"},
    ),
    ("height only", "the width is not doubled: dimension 3 too", {WIDE: ""}),
    ("width only", "the height is not doubled: dimension 2 too", {TALL: ""}),
    (
        "transposed",
        "the maps came out transposed: keep height before width",
        {WIDE: f"{WIDE}.transpose(2, 3)"},
    ),
)
BOUNDS = (
    (
        "L1",
        "that is L₁, the mean of the logs: take the log of the mean",
        {BOUND: "log_weights.mean(0)"},
    ),
    ("no log k", "that is the log of the sum: subtract log k to get that of the mean", {LOG_K: ""}),
    ("naive", NAN, {BOUND: "log_weights.exp().mean(dim=0).log()"}),
    ("maximum", "that is the largest weight alone: average all k", {BOUND: "log_weights.amax(0)"}),
    (
        "dim 1",
        "you averaged over the images: the k codes are dimension 0",
        {"0) - math.log(len": "1) - math.log(len"},
    ),
    ("plus log k", "you added log k: subtract it", {LOG_K: LOG_K.replace("-", "+")}),
)
OBJECTIVES = (
    (
        "patient A",
        "the KL is averaged over latents too: divide its sum by len(images) alone",
        {SUM: ").mean()"},
    ),
    ("patient B", "the ½ of the KL is missing, so that β is 2", {"0.5 * ": ""}),
    (
        "mean over pixels",
        "the reconstruction is averaged over pixels too: sum",
        {'"sum") / len(images)': '"mean")'},
    ),
    ("sign of the KL", "the sign of the KL is wrong: the loss rises with it", {"+ kl": "- kl"}),
    ("KL summed", "the KL is summed over the images: divide it by len(images)", {SUM: ").sum()"}),
    (
        "both summed",
        "that is summed over the images: divide by len(images)",
        {" / len(images)": ""},
    ),
    ("no KL", "the KL is missing", {" + kl": ""}),
    ("no reconstruction", "the reconstruction is missing", {"return reconstruction + ": "return "}),
    (
        "ELBO",
        "that is the ELBO: the loss is minus it",
        {"return reconstruction +": "return -reconstruction -"},
    ),
)
OBJECTIVES_C = (
    (
        "patient C",
        "you took σ for log σ²: σ² is sigma**2, and log σ² is 2 * sigma.log()",
        {C: PATIENT_C},
    ),
    ("log sigma", "log σ² is 2 * sigma.log()", {"2 * sigma.log": "sigma.log"}),
    *OBJECTIVES,
)

EXERCISES = (
    _exercise("bernoulli_log_likelihood", bernoulli_log_likelihood, 8, 2, "logits", LIKELIHOODS),
    _exercise("kl", kl, 10, 2, "mu log_var", KLS),
    _exercise("reparameterise", reparameterise, 8, 2, "mu log_var", CODES),
    _exercise("elbo", elbo, 10, 3, "encode decode", ELBOS),
    _exercise("decoder_shape", grow, 12, 3, "features", MAPS),
    _exercise("iw_bound", iw_bound, 8, 3, "log_weights", BOUNDS),
    _exercise("clinic_a", repaired, 5, 1, "logits mu log_var", OBJECTIVES),
    _exercise("clinic_b", repaired, 5, 1, "logits mu log_var", OBJECTIVES),
    _exercise("clinic_c", repaired_c, 5, 1, "logits mu sigma", OBJECTIVES_C),
)
