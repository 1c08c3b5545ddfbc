"""Variational autoencoders: the model, its bounds, and an exact case to test them on.

Everything is in nats per image: summed over pixels and latents, averaged over the batch once, at the top.
KW: Kingma and Welling 2013, Auto-Encoding Variational Bayes, arXiv 1312.6114. Burda: Burda et al. 2015,
Importance Weighted Autoencoders, arXiv 1509.00519.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from vaetl_helpers import nets
from vaetl_helpers.data.images import rows_of
from vaetl_helpers.errors import CourseError, unknown_name_error
from vaetl_helpers.recorded import packaged_weights

Codes = Float[Tensor, "*batch latent"]  # codes z, noise ε, means μ, log variances
Images = Float[Tensor, "*batch channels height width"]  # pixels in [0, 1], or logits of them
Nats = Float[Tensor, "*batch"]  # one number an image (or code)
Noise = Codes | None  # standard normal; None: drawn here
Rng = Generator | None
Sizes = Sequence[int]
Loss = tuple[Tensor, dict[str, Tensor]]  # and values to monitor
LOG_2PI = math.log(2 * math.pi)
LOG_VAR_RANGE = (-14.0, 14.0)  # σ from 0.0009 to 1,100: nothing overflows, no variance is zero
PRETRAINED = ("vae-mnist", "vae-mnist-2d")
MNIST = (1, 28, 28)  # channels, height, width


def kl(
    mu: Float[Tensor, "batch latent"], log_var: Float[Tensor, "batch latent"]
) -> Float[Tensor, " batch"]:
    """KL(q(z|x) ‖ N(0, I)) of each image in nats: the sum over its latents, never their mean."""
    return kl_per_latent(mu, log_var).sum(-1)


def kl_per_latent(mu: Codes, log_var: Codes) -> Codes:
    """KL(N(μ, σ²) ‖ N(0, 1)) of each latent in nats: ½ (μ² + σ² − 1 − log σ²) (KW, appendix B)."""
    return 0.5 * (mu.square() + log_var.exp() - 1 - log_var)


def log_likelihood(logits: Images, x: Images) -> Nats:
    """Bernoulli log p(x|z) in nats: Σ over pixels of x log p + (1 − x) log(1 − p), p = sigmoid(logits).

    On grey pixels, 0 < x < 1, this is *not a log-likelihood of the grey image*: it is the expected one of its
    random binarisations, and a bound built on it bounds that. x may lack leading dimensions of the logits.
    """
    return (
        -F.binary_cross_entropy_with_logits(logits, x.expand_as(logits), reduction="none")
        .flatten(-3)
        .sum(-1)
    )


def gaussian_log_likelihood(mean: Images, x: Images, log_var: float = 0.0) -> Nats:
    """Gaussian log p(x|z) in nats: Σ over pixels of log N(x; mean, exp(log_var)); a density, may be > 0."""
    return -0.5 * (LOG_2PI + log_var + (x - mean).square() * math.exp(-log_var)).flatten(-3).sum(-1)


class Posterior(NamedTuple):
    """q(z|x) = N(mean, diag exp(log_var)), both [batch, latent]."""

    mean: Codes
    log_var: Codes

    def sample(self, noise: Noise = None, generator: Rng = None) -> Codes:
        """z = μ + σ ε (KW, § 2.4): gradients reach both; noise [k, batch, latent] gives k codes an image."""
        noise = (
            draw_noise(torch.randn, self.mean.shape, self.mean, generator)
            if noise is None
            else noise
        )
        return self.mean + (0.5 * self.log_var).exp() * noise

    def log_prob(self, z: Codes) -> Nats:
        """log q(z|x) in nats."""
        return -0.5 * (
            LOG_2PI + self.log_var + (z - self.mean).square() * (-self.log_var).exp()
        ).sum(-1)


def draw_noise(
    draw: Callable[..., Tensor], shape: Sizes, like: Tensor, generator: Rng = None
) -> Tensor:
    """Numbers of this shape by `draw` (torch.randn or torch.rand), with dtype and device of `like`.

    A generator draws on its own device, so that a seed means the same everywhere. Where `like` comes
    from some rows of a batch (`fit` cuts one into micro-batches), the numbers are drawn for the whole
    batch, and those of these rows are returned: the noise of an image does not depend on the cut.
    """
    if generator is not None:
        noise = draw(shape, generator=generator, device=generator.device, dtype=like.dtype)
        return noise.to(like.device)
    rows = rows_of(like)
    if rows is None or shape[0] != rows.stop - rows.start:
        return draw(shape, device=like.device, dtype=like.dtype)
    noise = draw((rows.whole, *shape[1:]), device=like.device, dtype=like.dtype)
    return noise[rows.start : rows.stop]


def binarise(images: Images, mode: str | None = "dynamic", generator: Rng = None) -> Images:
    """Makes grey pixels in [0, 1] either 0 or 1; raises CourseError for an unknown mode.

    "dynamic": drawn anew at each call, 1 with the grey value as probability (the protocol of Burda).
    "static": always the same, 1 above one half. None: stays grey (see `log_likelihood` for the meaning).
    """
    if mode not in ("dynamic", "static", None):
        raise unknown_name_error("binarisation", mode, ("dynamic", "static", "None"))
    if mode == "dynamic":
        return draw_noise(torch.rand, images.shape, images, generator).lt_(images)
    return images if mode is None else (images > 0.5).to(images.dtype)


def warm_up(seen: int | Tensor, over: int, beta: float = 1.0) -> float | Tensor:
    """β after `seen` training images: it rises linearly to `beta` over the first `over` of them."""
    return beta * torch.as_tensor(seen / over).clamp(max=1.0) if over else beta


class VAE(nn.Module):
    """p(z) = N(0, I), p(x|z) by `decoder` (codes → logits), q(z|x) by `encoder` (images → mu, raw log_var).

    log_var is clamped to LOG_VAR_RANGE. With `gaussian_log_var` the decoder gives the mean of a Gaussian with
    that log variance, not Bernoulli logits. The buffer `seen` counts training images, for the warm-up of β.
    """

    def __init__(
        self, encoder: nn.Module, decoder: nn.Module, gaussian_log_var: float | None = None
    ) -> None:
        super().__init__()
        self.encoder, self.decoder, self.gaussian_log_var = encoder, decoder, gaussian_log_var
        self.register_buffer("seen", torch.zeros((), dtype=torch.long))

    def encode(self, x: Images) -> Posterior:
        """q(z|x) of each image, in float32 or wider."""
        mu, log_var = self.encoder(x)
        return Posterior(at_least_float32(mu), at_least_float32(log_var).clamp(*LOG_VAR_RANGE))

    def decode(self, z: Codes) -> Images:
        """Logits (or Gaussian means) of each code, in float32 or wider; leading dimensions are kept."""
        logits = at_least_float32(self.decoder(z.reshape(-1, z.shape[-1])))
        return logits.view(*z.shape[:-1], *logits.shape[1:])

    def forward(self, x: Images, noise: Noise = None) -> tuple[Images, Posterior]:
        """Logits of one sampled code an image, and q(z|x)."""
        posterior = self.encode(x)
        return self.decode(posterior.sample(noise)), posterior

    def log_likelihood(self, logits: Images, x: Images) -> Nats:
        """log p(x|z) in nats, of the model's own kind."""
        log_var = self.gaussian_log_var
        return (
            log_likelihood(logits, x)
            if log_var is None
            else gaussian_log_likelihood(logits, x, log_var)
        )

    @torch.no_grad()
    def picture(self, z: Codes) -> Images:
        """E[x|z], what a code looks like: probabilities of a 1, or Gaussian means."""
        return self.decode(z).sigmoid() if self.gaussian_log_var is None else self.decode(z)

    def sample(self, count: int, generator: Rng = None) -> Images:
        """Pictures of `count` codes drawn from the prior; the decoder must begin with a linear layer."""
        like = self.decoder[0].weight  # [width, latent]
        return self.picture(draw_noise(torch.randn, (count, like.shape[1]), like, generator))

    def reconstruct(self, x: Images) -> Images:
        """Pictures of the posterior means: to look at; a bound needs sampled codes."""
        return self.picture(self.encode(x).mean)


def at_least_float32(
    values: Tensor,
) -> Tensor:  # losses are computed in float32 at least; float64 stays
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


def mlp_vae(
    latent: int = 20,
    widths: Sizes = (400,),
    shape: Sizes = MNIST,
    activation="ReLU",
    skip: bool = False,
    **kind: Any,
) -> VAE:
    """A fully connected VAE, by default that of pytorch/examples; `kind` may set gaussian_log_var."""
    parts = (latent, widths, tuple(shape), getattr(nn, activation), skip)
    return VAE(nets.mlp_encoder(*parts), nets.mlp_decoder(*parts), **kind)


def conv_vae(latent: int = 20, width: int = 16, shape: Sizes = MNIST, **kind: Any) -> VAE:
    """A convolutional VAE; height and width must be divisible by 4; `kind` may set gaussian_log_var."""
    parts = (latent, width, tuple(shape))
    return VAE(nets.conv_encoder(*parts), nets.conv_decoder(*parts), **kind)


def pretrained(name: str = "vae-mnist") -> tuple[VAE, dict[str, Any]]:
    """A trained VAE of the course in eval mode, and its facts: the command that made it, its bound, …."""
    if name not in PRETRAINED:
        raise unknown_name_error("trained VAE", name, PRETRAINED)
    weights, facts = packaged_weights(name)
    model = mlp_vae(**facts["architecture"])
    model.load_state_dict(weights)
    return model.eval(), facts


class Terms(NamedTuple):
    """An ELBO and its parts in nats: elbo [batch], log_px = log p(x|z) [batch], kl [batch, latent]."""

    elbo: Nats
    log_px: Nats
    kl: Codes


def elbo(
    model: VAE, x: Images, noise: Noise = None, beta: float | Tensor = 1, free_bits: float = 0
) -> Terms:
    """log p(x|z) − β KL(q(z|x) ‖ p(z)) of each image in nats, with one sampled z (KW, eq. 10), and its parts.

    β: Higgins et al. 2017. `free_bits` λ: KL becomes Σ over latents of max(λ, mean KL over the batch), for
    all images alike (Kingma et al. 2016, arXiv 1606.04934). Report only bounds with β = 1 and λ = 0.
    """
    logits, posterior = model(x, noise)
    log_px = without_wrapper(model).log_likelihood(logits, x)
    parts = kl_per_latent(*posterior)
    rate = parts.mean(0).clamp(min=free_bits).sum() if free_bits else parts.sum(-1)
    return Terms(log_px - beta * rate, log_px, parts)


def without_wrapper(model: nn.Module) -> VAE:
    return getattr(model, "module", model)  # without the wrapper of data parallelism


def vae_loss(
    beta: float = 1.0,
    free_bits: float = 0.0,
    warm_up_images: int = 0,
    binarisation: str | None = "dynamic",
) -> Callable[..., Loss]:
    """A loss for `fit`: −ELBO, with reconstruction (−log p(x|z)) and kl (without β), in nats per image.

    In eval mode β is that of the warm-up's end, so that epochs compare. Checkpoints keep the warm-up.
    """

    def loss(model: nn.Module, images: Images, labels: Any = None) -> Loss:
        weight: float | Tensor = beta
        if model.training:
            vae = without_wrapper(model)
            weight = warm_up(vae.seen, warm_up_images, beta)
            _count(vae, images)
        terms = elbo(model, binarise(images, binarisation), beta=weight, free_bits=free_bits)
        monitored = {
            "reconstruction": -terms.log_px.mean(),
            "kl": terms.kl.sum(-1).mean(),
        }
        return -terms.elbo.mean(), monitored

    return loss


def _count(model: VAE, images: Images) -> None:
    """Counts the images of a batch as seen: once, whatever micro-batches it is cut into."""
    rows = rows_of(images)
    if rows is None:
        model.seen += len(images)
    elif rows.is_last:
        model.seen += rows.whole


def log_weights(model: VAE, x: Images, q: Posterior, noise: Codes) -> Nats:
    """log w = log p(x|z) + log p(z) − log q(z|x) in nats [k, batch], noise [k, batch, latent] (Burda)."""
    z = q.sample(noise)
    log_prior = -0.5 * (LOG_2PI + z.square()).sum(-1)
    return model.log_likelihood(model.decode(z), x) + log_prior - q.log_prob(z)


@torch.no_grad()
def iw_bound(
    model: VAE, x: Images, k: int, chunk: int = 2000, generator: Rng = None, noise: Noise = None
) -> Nats:
    """L_k = log (1/k) Σ w of each image in nats, with exactly k sampled codes (Burda, eq. 8); L_1 is an ELBO.

    About `chunk` codes (at least one an image) are decoded at a time, whatever k is; chunks are joined by
    logsumexp, never averaged as logarithms. CourseError unless k, chunk ≥ 1 and noise has k codes an image.
    """
    if k < 1 or chunk < 1 or (noise is not None and len(noise) != k):
        raise CourseError(
            f"k = {k} and chunk = {chunk} must be 1 or more, and noise, if given, must be for k codes."
        )
    q, step = model.encode(x), max(1, chunk // len(x))
    total = torch.full_like(q.mean[:, 0], -torch.inf)
    for done in range(0, k, step):
        shape = (min(step, k - done), *q.mean.shape)
        part = (
            draw_noise(torch.randn, shape, q.mean, generator)
            if noise is None
            else noise[done : done + step]
        )
        total = torch.logaddexp(total, log_weights(model, x, q, part).logsumexp(0))
    return total - math.log(k)


def held_out_bound(
    model: VAE, images: Tensor, k: int = 500, count: int = 1000, seed: int = 0
) -> Nats:
    """L_k in nats of `count` of the uint8 images, chosen and binarised dynamically by `seed`."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randperm(len(images), generator=generator)[:count].to(images.device)
    x = binarise(images[rows] / 255, "dynamic", generator)
    return torch.cat([iw_bound(model, part, k, generator=generator) for part in x.split(1000)])


def active_units(
    mu: Float[Tensor, "images latent"], threshold: float = 0.01
) -> Bool[Tensor, " latent"]:
    """Which latents are in use: the variance of μ over images exceeds 0.01 (Burda)."""
    return mu.var(0) > threshold


def keep_latents(model: VAE, keep: Bool[Tensor, " latent"]) -> VAE:
    """A copy of the model with the other latents cut out of both heads and of the decoder's first layer."""
    small = copy.deepcopy(model)
    for head in (small.encoder.mu, small.encoder.log_var):
        head.weight, head.bias = nn.Parameter(head.weight[keep]), nn.Parameter(head.bias[keep])
    small.decoder[0].weight = nn.Parameter(small.decoder[0].weight[:, keep])
    return small


def mu_gradients(f: Callable[[Codes], Nats], q: Posterior, noise: Codes) -> tuple[Codes, Codes]:
    """For each row of noise [n, latent] two unbiased estimates of ∇_μ E_q[f(z)], f: [n, latent] → [n].

    Reparameterised (KW, § 2.4): ∇f(μ + σ ε). Score function (Williams 1992): f(z) ∇_μ log q(z) = f(z) ε / σ.
    """
    z = q.sample(noise).detach().requires_grad_()
    values = f(z)
    (path,) = torch.autograd.grad(values.sum(), z)
    return path, (values[:, None] * noise * (-0.5 * q.log_var).exp()).detach()


def nearest(
    images: Images, pool: Images, chunk: int = 10_000
) -> tuple[Int[Tensor, "*batch"], Nats]:
    """The row of each image's nearest neighbour in `pool` (uint8, or in [0, 1]), and the squared distance."""
    parts = (
        part / 255 if part.dtype == torch.uint8 else part for part in pool.flatten(1).split(chunk)
    )
    low, row = torch.cat([torch.cdist(images.flatten(1), part) for part in parts], 1).min(
        1
    )  # matrix products
    return row, low.square()
