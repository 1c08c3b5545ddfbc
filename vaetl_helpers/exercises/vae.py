"""Chapters 3 and 3b: log-likelihood, KL, reparameterisation, ELBO, maps, weighted bound, patients.

Inputs are drawn under the names of the reference's parameters; each answer is judged by its values
and by its gradients.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from vaetl_helpers.exercises.engine import Function, Values
from vaetl_helpers.exercises.forms import tensor
from vaetl_helpers.exercises.toolkit import Block, exercise, plain, whole_number
from vaetl_helpers.exercises.watch import copied

RESULT = "the result"
GRADIENT = "the gradient for "
NAN = "NaN or infinity where finite numbers were expected"
OVERFLOW = (
    "an exponential ran out of range, or a logarithm or a root met a number that has none: "
    "F.logsigmoid and torch.logsumexp are safe"
)
LOG_ALREADY = (
    "a logarithm or a root met a number that has none: log_var is log σ² already, so it needs "
    "neither; σ is exp(0.5 log_var)"
)
OWN_NOISE = "that is noise of your own: use the noise that you are given"
DETACHED = "the values are right, but their gradient is not: is a part of them detached?"
NO_GRADIENT = (
    "the values are right, but no gradient flows through them: compute with tensors throughout, "
    "without .detach(), .item(), NumPy or no_grad"
)
EACH_IMAGE = "one number an image is asked for: leave the images (dimension 0) apart"


def judged_by_gradients(
    block: Block, *, learned: Sequence[str], not_finite: str = OVERFLOW
) -> None:
    """Gives the block inputs, a call and a judge;
    a gradient must reach the `learned` arguments. `not_finite` is the advice on NaN.

    Of more points than one the last is for the gradients, all others are for the values.
    """
    parameters = tuple(inspect.signature(block.reference).parameters)
    task = " ".join(str(inspect.getdoc(block.reference)).split())
    asked_for = f"asked for: {task}"
    block.draw(partial(named_inputs, parameters))
    block.drive(partial(result_and_gradients, parameters, tuple(learned)))
    has_parts = block.points > 1
    if has_parts:
        block.part("the values", points=block.points - 1)
    block.compare(RESULT, says=f"other numbers than {asked_for}")
    if has_parts:
        block.part("the gradients", points=1)
    block.compare(*(GRADIENT + name for name in learned), says=DETACHED)

    @block.judge
    def _(inputs: Values, outputs: Values) -> str | None:
        refusal = block.compared(inputs, outputs)
        if refusal == DETACHED:
            gradients = [torch.as_tensor(outputs[GRADIENT + name]) for name in learned]
            return refusal if any(gradient.any() for gradient in gradients) else NO_GRADIENT
        if refusal is None or not refusal.startswith(f"{RESULT}: "):
            return refusal
        advice = not_finite if NAN in refusal else asked_for
        return f"{refusal}; {advice}"


def named_inputs(parameters: Sequence[str], seed: int) -> Values:
    """The named arguments; for `encode` and `decode` weights, of which functions can
    be made.
    """
    generator = torch.Generator().manual_seed(seed)
    normal = partial(torch.randn, generator=generator)
    batch, latent, channels, height, k = (
        whole_number(low, low + 2, generator) for low in (3, 3, 2, 3, 6)
    )
    width = height + 1 + seed % 2
    shape = (batch, channels, height, width)
    pixels = channels * height * width
    values: Values = {}
    for name in ("mu", "log_var", "noise"):
        values[name] = normal(batch, latent)
    values["logits"] = normal(shape)
    values["images"] = normal(shape).sign().relu()
    values["sigma"] = normal(batch, latent).exp()
    values["encode"] = normal(pixels, 2 * latent) / pixels**0.5
    values["decode"] = normal(latent, pixels)
    values["features"] = normal(batch, pixels)
    values["log_weights"] = 2 * normal(k, batch)
    values["log_weights"][:, 0] -= 1000
    if "mu" not in parameters:  # a mean over the batch would hide the other images behind this one
        values["logits"][0] *= 1000
    values |= {"channels": channels, "height": height, "width": width}
    return {name: values[name] for name in parameters}


def result_and_gradients(
    parameters: Sequence[str], learned: Sequence[str], function: Function, inputs: Values
) -> Values:
    """The result, and the gradients of its sum for the arguments that are learned."""
    torch.manual_seed(0)  # a learner's own noise is then that of the wrong answer, and is named
    arguments = {name: copied(value) for name, value in inputs.items()}
    leaves = [arguments[name].requires_grad_() for name in learned]
    for name in learned:
        arguments[name] = arguments[name].clone()  # no leaf: it may be changed in place
    if "encode" in parameters:
        arguments |= linear_coders(arguments)
    result = function(*(arguments[name] for name in parameters))
    gradients: Sequence[Tensor] = [torch.zeros_like(leaf) for leaf in leaves]
    if isinstance(result, Tensor) and result.requires_grad:
        gradients = torch.autograd.grad(
            result.sum(), leaves, allow_unused=True, materialize_grads=True
        )
    outputs: Values = {RESULT: plain(result)}
    for name, gradient in zip(learned, gradients, strict=True):
        outputs[GRADIENT + name] = gradient
    return outputs


def halves(rows: Tensor) -> tuple[Tensor, Tensor]:
    """The columns in two tensors of their own, which may be changed in place."""
    first, second = rows.chunk(2, dim=1)
    return first.clone(), second.clone()


def linear_coders(arguments: Values) -> dict[str, Function]:
    """An encoder and a decoder of the weights that were drawn under their names."""
    encoder_weights = arguments["encode"]
    decoder_weights = arguments["decode"]
    shape = arguments["images"].shape[1:]
    return {
        "encode": lambda images: halves(images.flatten(1) @ encoder_weights),
        "decode": lambda z: (z @ decoder_weights).unflatten(1, shape),
    }


# vae.bernoulli_log_likelihood


@exercise(
    id="vae.bernoulli_log_likelihood",
    level=1,
    after="Your function is exact for any logit, where a logarithm of a sigmoid would run out "
    "of range.",
    alternative='-F.binary_cross_entropy_with_logits(logits, images, reduction="none").sum((1, 2, '
    "3))",
    minutes=8,
    points=2,
    hints=(
        "A pixel that is 1 adds log π, one that is 0 adds log(1 - π); the pixels of one image add "
        "up.",
        "log π is F.logsigmoid(logits) and log(1 - π) is F.logsigmoid(-logits), safe for any "
        "logit.",
        "(images * F.logsigmoid(logits) + (1 - images) * F.logsigmoid(-logits)).sum(dim=(1, 2, 3))",
    ),
    form=tensor,
)
def bernoulli_log_likelihood(logits, images):
    """log p(x|z) of each image in nats: summed over its pixels; shape [batch]."""
    log_likelihood = images * F.logsigmoid(logits)
    log_likelihood += (1 - images) * F.logsigmoid(-logits)
    return log_likelihood.sum(dim=(1, 2, 3))


judged_by_gradients(bernoulli_log_likelihood, learned=("logits",))

bernoulli_log_likelihood.wrong(
    "mean over pixels",
    says="you averaged over the pixels: sum over them",
    last_line="return log_likelihood.mean(dim=(1, 2, 3))",
)
bernoulli_log_likelihood.wrong(
    "negative",
    says="the sign is wrong: the logarithm of a probability is never above 0",
    last_line="return -log_likelihood.sum(dim=(1, 2, 3))",
)


@bernoulli_log_likelihood.wrong("naive", says=NAN)
def _(logits, images):
    p = logits.sigmoid()
    log_likelihood = images * p.log() + (1 - images) * (1 - p).log()
    return log_likelihood.sum(dim=(1, 2, 3))


@bernoulli_log_likelihood.wrong(
    "clamped", says="huge logits are cut off at -100: F.binary_cross_entropy does that"
)
def _(logits, images):
    loss = F.binary_cross_entropy(logits.sigmoid(), images, reduction="none")
    return -loss.sum(dim=(1, 2, 3))


bernoulli_log_likelihood.wrong(
    "mean over batch",
    says=EACH_IMAGE,
    last_line="return log_likelihood.sum(dim=(1, 2, 3)).mean()",
)
bernoulli_log_likelihood.wrong(
    "sum of everything",
    says=EACH_IMAGE,
    last_line="return log_likelihood.sum()",
)


@bernoulli_log_likelihood.wrong("two sigmoids", says="the sigmoid came twice: leave yours out")
def _(logits, images):
    return bernoulli_log_likelihood(logits.sigmoid(), images)


bernoulli_log_likelihood.wrong(
    "ink only",
    says="the pixels that are 0 are missing: they add log(1 - π)",
    edit={"log_likelihood += (1 - images) * F.logsigmoid(-logits)": ""},
)


# vae.kl


@exercise(
    id="vae.kl",
    level=1,
    after="This is the price of a code in nats, and it is 0 only for a posterior that is the "
    "prior.",
    alternative="torch.distributions.kl_divergence(Normal(mu, sigma), Normal(0.0, 1.0)).sum(1)",
    minutes=10,
    points=2,
    hints=(
        "Write the formula for one latent, for all entries of mu and log_var at once; then add up "
        "along one dimension.",
        "log_var is log σ² already, so σ² is log_var.exp(). The latents are dimension 1.",
        "Half of (mu² + log_var.exp() - 1 - log_var), with .sum(dim=1): no mean anywhere.",
    ),
    form=tensor,
)
def kl(mu, log_var):
    """KL(N(mu, exp(log_var)) || N(0, I)) of each image in nats:
    summed over its latents; shape [batch].
    """
    return 0.5 * (mu.square() + log_var.exp() - 1 - log_var).sum(dim=1)


judged_by_gradients(
    kl,
    learned=("mu", "log_var"),
    not_finite=LOG_ALREADY,
)

kl.wrong(
    "mean over latents",
    says="you averaged over the latents: sum over them",
    last_line="return 0.5 * (mu.square() + log_var.exp() - 1 - log_var).mean(dim=1)",
)
kl.wrong(
    "no half",
    says="the ½ before the bracket is missing",
    last_line="return (mu.square() + log_var.exp() - 1 - log_var).sum(dim=1)",
)
kl.wrong(
    "log sigma",
    says="you took log_var for log σ: it is log σ²",
    last_line="return 0.5 * (mu.square() + (2 * log_var).exp() - 1 - 2 * log_var).sum(dim=1)",
)
kl.wrong(
    "exp squared",
    says="log_var.exp() is σ² already: do not square it",
    last_line="return 0.5 * (mu.square() + log_var.exp().square() - 1 - log_var).sum(dim=1)",
)
kl.wrong(
    "log_var as variance",
    says=NAN,
    last_line="return 0.5 * (mu.square() + log_var - 1 - log_var.log()).sum(dim=1)",
)
kl.wrong(
    "root",
    says=LOG_ALREADY,
    last_line="return 0.5 * (mu.square() + log_var.sqrt().square() - 1 - log_var).sum(dim=1)",
)
kl.wrong(
    "sign",
    says="the sign is wrong: a KL divergence is never negative",
    last_line="return -0.5 * (mu.square() + log_var.exp() - 1 - log_var).sum(dim=1)",
)
kl.wrong(
    "sum over batch",
    says=EACH_IMAGE,
    last_line="return 0.5 * (mu.square() + log_var.exp() - 1 - log_var).sum()",
)
kl.wrong(
    "mean over batch",
    says=EACH_IMAGE,
    last_line="return 0.5 * (mu.square() + log_var.exp() - 1 - log_var).sum(dim=1).mean()",
)


kl.wrong(
    "reversed",
    says="that is KL(prior || posterior), the other way round: the posterior comes first",
    last_line="return 0.5 * ((1 + mu.square()) / log_var.exp() - 1 + log_var).sum(dim=1)",
)
kl.wrong(
    "log_var as sigma",
    says="you took log_var for σ: it is log σ², so σ² is log_var.exp()",
    last_line=(
        "return 0.5 * (mu.square() + log_var.square() - 1 - log_var.square().log()).sum(dim=1)"
    ),
)


# vae.reparameterise


@exercise(
    id="vae.reparameterise",
    level=1,
    after="The randomness now comes from outside, so the gradient passes as through any other sum.",
    alternative="torch.distributions.Normal(mu, sigma).rsample() draws the noise itself.",
    minutes=8,
    points=2,
    hints=(
        "The noise is standard normal: stretch it by the standard deviation, then move it to the "
        "mean.",
        "log_var is log σ²; half of it is log σ, and exp of that is σ.",
        "mu plus (0.5 * log_var).exp() times the noise; no .detach(), no randn.",
    ),
    form=tensor,
)
def reparameterise(mu, log_var, noise):
    """A code z ~ N(mu, exp(log_var)), made of standard normal noise;
    gradients reach mu and log_var.
    """
    return mu + (0.5 * log_var).exp() * noise


judged_by_gradients(reparameterise, learned=("mu", "log_var"), not_finite=LOG_ALREADY)

reparameterise.wrong(
    "variance",
    says="you multiplied by the variance σ²: σ is exp(0.5 log_var)",
    last_line="return mu + log_var.exp() * noise",
)
reparameterise.wrong(
    "root",
    says=LOG_ALREADY,
    last_line="return mu + log_var.sqrt() * noise",
)
reparameterise.wrong(
    "softplus",
    says="σ is exp(0.5 log_var), not the softplus of log_var",
    last_line="return mu + F.softplus(log_var) * noise",
)
reparameterise.wrong(
    "detached mu",
    says="no gradient reaches mu: leave out .detach()",
    last_line="return mu.detach() + (0.5 * log_var).exp() * noise",
)
reparameterise.wrong(
    "detached log_var",
    says="no gradient reaches log_var: leave out .detach()",
    last_line="return mu + (0.5 * log_var).exp().detach() * noise",
)
reparameterise.wrong(
    "own noise",
    says=OWN_NOISE,
    last_line="return mu + (0.5 * log_var).exp() * torch.randn_like(noise)",
)


@reparameterise.wrong(
    "sampled", says="that is a fresh draw, and no gradient passes it: build z from `noise`"
)
def _(mu, log_var, noise):
    return torch.distributions.Normal(mu, (0.5 * log_var).exp()).sample()


@reparameterise.wrong("sampled with gradients", says=OWN_NOISE)
def _(mu, log_var, noise):
    return torch.distributions.Normal(mu, (0.5 * log_var).exp()).rsample()


reparameterise.wrong(
    "variance added",
    says="the variance is added: multiply the noise by σ",
    last_line="return mu + log_var.exp() + noise",
)
reparameterise.wrong(
    "no noise",
    says="the noise is ignored: multiply it by σ",
    last_line="return mu + (0.5 * log_var).exp()",
)
reparameterise.wrong(
    "mean alone",
    says="that is mu itself: add σ times the noise",
    last_line="return mu",
)


# vae.elbo

# As in the notebook, where they are the learner's own functions once these are correct.
bernoulli_checked = bernoulli_log_likelihood.reference
kl_checked = kl.reference
reparameterise_checked = reparameterise.reference


@exercise(
    id="vae.elbo",
    level=2,
    after="Two numbers are all there is to it: what the code explains, minus what it costs.",
    minutes=10,
    points=3,
    hints=(
        "Four steps: encode, draw a code from the noise, decode it, and take the price off the "
        "log-likelihood.",
        "mu, log_var = encode(images), and z = reparameterise_checked(mu, log_var, noise).",
        "Return bernoulli_checked(decode(z), images) minus kl_checked(mu, log_var): no sum, no "
        "mean.",
    ),
    form=tensor,
)
def elbo(encode, decode, images, noise):
    """log p(x|z) - KL(q(z|x) || p(z)) of each image in nats, with one sampled code;
    shape [batch].
    """
    mu, log_var = encode(images)
    z = reparameterise_checked(mu, log_var, noise)
    return bernoulli_checked(decode(z), images) - kl_checked(mu, log_var)


judged_by_gradients(elbo, learned=("encode", "decode"))

elbo.wrong(
    "mean decoded",
    says="you decoded mu: decode the sampled z",
    last_line="return bernoulli_checked(decode(mu), images) - kl_checked(mu, log_var)",
)
elbo.wrong(
    "plus",
    says="the KL is added: it is a price, subtract it",
    last_line="return bernoulli_checked(decode(z), images) + kl_checked(mu, log_var)",
)


@elbo.wrong("mean over pixels", says="the log-likelihood is averaged over the pixels: sum")
def _(encode, decode, images, noise):
    mu, log_var = encode(images)
    z = reparameterise_checked(mu, log_var, noise)
    log_likelihood = bernoulli_checked(decode(z), images) / images[0].numel()
    return log_likelihood - kl_checked(mu, log_var)


@elbo.wrong("mean over latents", says="the KL is averaged over the latents: sum")
def _(encode, decode, images, noise):
    mu, log_var = encode(images)
    z = reparameterise_checked(mu, log_var, noise)
    kl_mean = kl_checked(mu, log_var) / mu.shape[1]
    return bernoulli_checked(decode(z), images) - kl_mean


elbo.wrong(
    "beta",
    says="the KL counts twice: in the bound its weight β is 1",
    last_line="return bernoulli_checked(decode(z), images) - 2 * kl_checked(mu, log_var)",
)
elbo.wrong(
    "own noise",
    says=OWN_NOISE,
    edit={
        "z = reparameterise_checked(mu, log_var, noise)": (
            "z = reparameterise_checked(mu, log_var, torch.randn_like(noise))"
        )
    },
)


@elbo.wrong(
    "one-sample KL",
    says="that is right on average, too, and scatters more: here the KL is asked for in closed "
    "form, kl_checked(mu, log_var)",
)
def _(encode, decode, images, noise):
    mu, log_var = encode(images)
    z = reparameterise_checked(mu, log_var, noise)
    log_ratio = 0.5 * (noise.square() + log_var - z.square())  # log p(z) - log q(z|x)
    return bernoulli_checked(decode(z), images) + log_ratio.sum(dim=1)


elbo.wrong(
    "negative",
    says="that is minus the ELBO: return the bound itself",
    last_line="return kl_checked(mu, log_var) - bernoulli_checked(decode(z), images)",
)


@elbo.wrong("batch mean", says=EACH_IMAGE)
def _(encode, decode, images, noise):
    return elbo(encode, decode, images, noise).mean()


# vae.decoder_shape


@exercise(
    id="vae.decoder_shape",
    level=2,
    after="Height and width kept their places, which square maps would never have shown you.",
    alternative='F.interpolate(maps, scale_factor=2, mode="nearest") enlarges as well.',
    minutes=12,
    points=3,
    hints=(
        "Images are stored row by row, so the order of the sizes is batch, channels, height, "
        "width.",
        "features.view(-1, channels, height, width) gives maps; repeat_interleave repeats each "
        "pixel.",
        "After the view, .repeat_interleave(2, dim=2) for the height, and the same with dim=3 for "
        "the width.",
    ),
    form=tensor,
)
def grow(features, channels, height, width):
    """Flat features as maps twice as high and wide:
    [batch, channels * h * w] to [batch, channels, 2h, 2w].
    """
    maps = features.view(-1, channels, height, width)
    return maps.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)


judged_by_gradients(grow, learned=("features",))

grow.wrong(
    "swapped",
    says="height and width are swapped: the height comes first",
    edit={
        "maps = features.view(-1, channels, height, width)": (
            "maps = features.view(-1, channels, width, height)"
        )
    },
)
grow.wrong(
    "channels last",
    says="the channels come before height and width",
    edit={
        "maps = features.view(-1, channels, height, width)": (
            "maps = features.view(-1, height, width, channels).movedim(3, 1)"
        )
    },
)
grow.wrong(
    "tiled",
    says="you tiled the whole map: repeat each pixel beside itself",
    last_line="return maps.repeat(1, 1, 2, 2)",
)
grow.wrong(
    "height only",
    says="the width is not doubled: dimension 3 too",
    last_line="return maps.repeat_interleave(2, dim=2)",
)
grow.wrong(
    "width only",
    says="the height is not doubled: dimension 2 too",
    last_line="return maps.repeat_interleave(2, dim=3)",
)
grow.wrong(
    "transposed",
    says="the maps came out transposed: keep height before width",
    last_line="return maps.repeat_interleave(2, 2).repeat_interleave(2, 3).transpose(2, 3)",
)


# vae.iw_bound


@exercise(
    id="vae.iw_bound",
    level=2,
    after="The mean is taken of the weights and the logarithm afterwards: that is the whole "
    "difference from the ELBO.",
    minutes=8,
    points=3,
    hints=(
        "The logarithm of a mean is the logarithm of a sum, minus the logarithm of the number of "
        "terms.",
        "torch.logsumexp(log_weights, dim=0) is the log of the sum over the k codes, without "
        "overflow.",
        "From that subtract math.log(k), where k is len(log_weights).",
    ),
    form=tensor,
)
def iw_bound(log_weights):
    """log of the mean weight of each image in nats;
    log_weights has the shape [k, batch], the result [batch].
    """
    return torch.logsumexp(log_weights, dim=0) - math.log(len(log_weights))


judged_by_gradients(iw_bound, learned=("log_weights",))

iw_bound.wrong(
    "L1",
    says="that is L₁, the mean of the logs: take the log of the mean",
    last_line="return log_weights.mean(0)",
)
iw_bound.wrong(
    "no log k",
    says="that is the log of the sum: subtract log k to get that of the mean",
    last_line="return torch.logsumexp(log_weights, dim=0)",
)
iw_bound.wrong(
    "naive",
    says=NAN,
    last_line="return log_weights.exp().mean(dim=0).log()",
)
iw_bound.wrong(
    "maximum",
    says="that is the largest weight alone: average all k",
    last_line="return log_weights.amax(0)",
)
iw_bound.wrong(
    "dim 1",
    says="you averaged over the images: the k codes are dimension 0",
    last_line="return torch.logsumexp(log_weights, dim=1) - math.log(len(log_weights))",
)
iw_bound.wrong(
    "plus log k",
    says="you added log k: subtract it",
    last_line="return torch.logsumexp(log_weights, dim=0) + math.log(len(log_weights))",
)


# vae.clinic_a, vae.clinic_b, vae.clinic_c: three patients, and what else may go wrong with each

CLINIC_HINTS = (
    "Each term is a sum over everything, divided by the number of images. Write the KL's formula "
    "beside the code.",
    "The reconstruction is right in all three. Compute the KL of one latent by hand for mu = 1, "
    "σ = 1: it is 1/2.",
)
NOT_HALVED = "the ½ of the KL is missing, so that β is 2"
LATENTS_AVERAGED = "the KL is averaged over latents too: divide its sum by len(images) alone"


def summed_bce(logits: Tensor, images: Tensor) -> Tensor:
    """Minus the log-likelihood in nats, summed over everything."""
    return F.binary_cross_entropy_with_logits(logits, images, reduction="sum")


def loss_terms(loss: Function) -> tuple[Function, Function]:
    """The reconstruction and the divergence that a loss adds up, in nats per image."""

    def reconstruction(logits: Tensor, images: Tensor, *posterior: Tensor) -> Tensor:
        return summed_bce(logits, images) / len(images)

    def divergence(logits: Tensor, images: Tensor, *posterior: Tensor) -> Tensor:
        return loss(logits, images, *posterior) - reconstruction(logits, images)

    return reconstruction, divergence


def terms_confused(block: Block) -> None:
    """Adds the wrong answers that confuse the loss's terms, whatever the KL is computed from."""
    loss = block.reference
    reconstruction, divergence = loss_terms(loss)

    @block.wrong("mean over pixels", says="the reconstruction is averaged over pixels too: sum")
    def _(logits: Tensor, images: Tensor, *posterior: Tensor) -> Tensor:
        mean = F.binary_cross_entropy_with_logits(logits, images, reduction="mean")
        return mean + divergence(logits, images, *posterior)

    @block.wrong("sign of the KL", says="the sign of the KL is wrong: the loss rises with it")
    def _(*arguments: Tensor) -> Tensor:
        return reconstruction(*arguments) - divergence(*arguments)

    @block.wrong("KL summed", says="the KL is summed over the images: divide it by len(images)")
    def _(logits: Tensor, images: Tensor, *posterior: Tensor) -> Tensor:
        total = len(images) * divergence(logits, images, *posterior)
        return reconstruction(logits, images) + total

    @block.wrong("both summed", says="that is summed over the images: divide by len(images)")
    def _(logits: Tensor, images: Tensor, *posterior: Tensor) -> Tensor:
        return len(images) * loss(logits, images, *posterior)

    block.wrong("no KL", says="the KL is missing", function=reconstruction)
    block.wrong("no reconstruction", says="the reconstruction is missing", function=divergence)

    @block.wrong("ELBO", says="that is the ELBO: the loss is minus it")
    def _(*arguments: Tensor) -> Tensor:
        return -loss(*arguments)


@exercise(
    id="vae.clinic_a",
    level=2,
    after="A mean over latents is a β below 1, and nothing but a known value shows it.",
    minutes=5,
    points=1,
    hints=(
        *CLINIC_HINTS,
        ".mean() divides the KL by images times latents. Replace .mean() by .sum() / len(images).",
    ),
    form=tensor,
)
def repaired_a(logits, images, mu, log_var):
    """The negative ELBO in nats per image; mu and log_var: [batch, latent]."""
    reconstruction = F.binary_cross_entropy_with_logits(logits, images, reduction="sum")
    reconstruction = reconstruction / len(images)
    kl = 0.5 * (mu**2 + log_var.exp() - 1 - log_var).sum() / len(images)
    return reconstruction + kl


judged_by_gradients(repaired_a, learned=("logits", "mu", "log_var"), not_finite=LOG_ALREADY)


@repaired_a.broken("patient A", says=LATENTS_AVERAGED)
def objective_a(logits, images, mu, log_var):
    """mu and log_var: [batch, latent]."""
    reconstruction = F.binary_cross_entropy_with_logits(
        logits,
        images,
        reduction="sum",
    )
    reconstruction = reconstruction / len(images)
    kl = 0.5 * (mu**2 + log_var.exp() - 1 - log_var).mean()
    return reconstruction + kl


@exercise(
    id="vae.clinic_b",
    level=2,
    after="The ½ is easy to lose, and without it the price of the code is doubled.",
    minutes=5,
    points=1,
    hints=(*CLINIC_HINTS, "The KL begins with -0.5 *, not with -."),
    form=tensor,
)
def repaired_b(logits, images, mu, log_var):
    """The negative ELBO in nats per image; mu and log_var: [batch, latent]."""
    reconstruction = F.binary_cross_entropy_with_logits(logits, images, reduction="sum")
    kl = -0.5 * torch.sum(1 + log_var - mu.pow(2) - log_var.exp())
    return (reconstruction + kl) / len(images)


judged_by_gradients(repaired_b, learned=("logits", "mu", "log_var"), not_finite=LOG_ALREADY)
repaired_b.wrong("patient A", says=LATENTS_AVERAGED, function=objective_a)


@repaired_b.broken("patient B", says=NOT_HALVED)
def objective_b(logits, images, mu, log_var):
    """mu and log_var: [batch, latent]."""
    reconstruction = F.binary_cross_entropy_with_logits(
        logits,
        images,
        reduction="sum",
    )
    kl = -torch.sum(1 + log_var - mu.pow(2) - log_var.exp())
    return (reconstruction + kl) / len(images)


repaired_a.wrong("patient B", says=NOT_HALVED, function=objective_b)


@exercise(
    id="vae.clinic_c",
    level=3,
    after="The name of a variable is not its meaning: ask whether a head gives σ, σ² or its "
    "logarithm.",
    minutes=5,
    points=1,
    hints=(
        *CLINIC_HINTS,
        "sigma is σ itself. In the KL, sigma**2 takes the place of sigma.exp(), and "
        "2 * sigma.log() that of sigma.",
    ),
    form=tensor,
)
def repaired_c(logits, images, mu, sigma):
    """The negative ELBO in nats per image; mu and sigma: [batch, latent],
    sigma > 0 is the standard deviation.
    """
    reconstruction = F.binary_cross_entropy_with_logits(logits, images, reduction="sum")
    reconstruction = reconstruction / len(images)
    kl = 0.5 * (mu**2 + sigma**2 - 1 - 2 * sigma.log()).sum() / len(images)
    return reconstruction + kl


judged_by_gradients(repaired_c, learned=("logits", "mu", "sigma"))


@repaired_c.broken(
    "patient C", says="you took σ for log σ²: σ² is sigma**2, and log σ² is 2 * sigma.log()"
)
def objective_c(logits, images, mu, sigma):
    """mu and sigma: [batch, latent]; sigma > 0."""
    reconstruction = F.binary_cross_entropy_with_logits(
        logits,
        images,
        reduction="sum",
    )
    reconstruction = reconstruction / len(images)
    kl = 0.5 * (mu**2 + sigma.exp() - 1 - sigma).sum() / len(images)
    return reconstruction + kl


repaired_c.wrong(
    "log sigma",
    says="log σ² is 2 * sigma.log()",
    edit={
        "kl = 0.5 * (mu**2 + sigma**2 - 1 - 2 * sigma.log()).sum() / len(images)": (
            "kl = 0.5 * (mu**2 + sigma**2 - 1 - sigma.log()).sum() / len(images)"
        )
    },
)
repaired_c.wrong(
    "patient A",
    says=LATENTS_AVERAGED,
    edit={
        "kl = 0.5 * (mu**2 + sigma**2 - 1 - 2 * sigma.log()).sum() / len(images)": (
            "kl = 0.5 * (mu**2 + sigma**2 - 1 - 2 * sigma.log()).mean()"
        )
    },
)
repaired_c.wrong(
    "patient B",
    says=NOT_HALVED,
    edit={
        "kl = 0.5 * (mu**2 + sigma**2 - 1 - 2 * sigma.log()).sum() / len(images)": (
            "kl = (mu**2 + sigma**2 - 1 - 2 * sigma.log()).sum() / len(images)"
        )
    },
)

for patient in (repaired_a, repaired_b, repaired_c):
    terms_confused(patient)
