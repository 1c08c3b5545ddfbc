"""Variational autoencoders: the model, its losses and its bounds.

Everything is in nats per image: summed over pixels and latents, averaged over the batch once, at
the top. KW: Kingma and Welling 2013, Auto-Encoding Variational Bayes, arXiv 1312.6114. Burda: Burda
et al. 2015, Importance Weighted Autoencoders, arXiv 1509.00519.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from vaetl_helpers import nets
from vaetl_helpers.data.images import rows_of
from vaetl_helpers.errors import CourseError, unknown_name_error
from vaetl_helpers.recorded import packaged_weights
from vaetl_helpers.seeds import whole_seed

Codes = Float[Tensor, "*batch latent"]  # codes z, noise ε, means μ, log variances
Images = Float[Tensor, "*batch channels height width"]  # pixels in [0, 1], or logits of them
Nats = Float[Tensor, "*batch"]  # one number an image (or code)
Noise = Codes | None  # standard normal; None: drawn here
Rng = Generator | None
Sizes = Sequence[int]
Weight = float | Tensor  # β
Objective = Callable[[Codes], Nats]
Draw = Callable[..., Tensor]  # torch.randn or torch.rand
Loss = tuple[Tensor, dict[str, Tensor]]  # and values to monitor
LOG_2PI = math.log(2 * math.pi)
# σ from 0.0009 to 1,100: nothing overflows, no variance is zero.
LOG_VAR_RANGE = (-14.0, 14.0)
BINARISATIONS = ("dynamic", "static", None)
PRETRAINED = ("vae-mnist", "vae-mnist-2d")
MNIST: nets.Shape = (1, 28, 28)


def kl(mu: Codes, log_var: Codes) -> Nats:
    """KL(q(z|x) ‖ N(0, I)) of each image in nats: the sum over its latents, never their mean."""
    return kl_per_latent(mu, log_var).sum(-1)


def kl_per_latent(mu: Codes, log_var: Codes) -> Codes:
    """KL(N(μ, σ²) ‖ N(0, 1)) of each latent in nats: ½ (μ² + σ² − 1 − log σ²) (KW, appendix B)."""
    variance = log_var.exp()
    return 0.5 * (mu.square() + variance - 1 - log_var)


def log_likelihood(logits: Images, x: Images) -> Nats:
    """Bernoulli log p(x|z) in nats: Σ over pixels of x log p + (1 − x) log(1 − p).

    Here p = sigmoid(logits). On grey pixels, 0 < x < 1, this is *not a log-likelihood of the grey
    image*: it is the expected one of its random binarisations, and a bound built on it bounds that.
    x may lack leading dimensions of the logits.
    """
    targets = x.expand_as(logits)
    negative = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    return -negative.flatten(-3).sum(-1)


def gaussian_log_likelihood(mean: Images, x: Images, log_var: float | Tensor = 0.0) -> Nats:
    """Gaussian log p(x|z) in nats: Σ over pixels of log N(x; mean, exp(log_var)).

    `log_var` is one number, or a tensor that broadcasts to the images'. It is a density, which may
    be above 1: then its logarithm is positive.
    """
    distance = x - mean
    squares = distance.square() * torch.as_tensor(-log_var, dtype=x.dtype).exp()
    by_pixel = LOG_2PI + log_var + squares
    return -0.5 * by_pixel.flatten(-3).sum(-1)


class Posterior(NamedTuple):
    """q(z|x) = N(mean, diag exp(log_var)), both [batch, latent]."""

    mean: Codes
    log_var: Codes

    def sample(self, noise: Noise = None, generator: Rng = None) -> Codes:
        """z = μ + σ ε (KW, § 2.4), so that gradients reach both.

        Noise [k, batch, latent] gives k codes an image.
        """
        if noise is None:
            noise = draw_noise(torch.randn, self.mean.shape, self.mean, generator)
        sigma = (0.5 * self.log_var).exp()
        return self.mean + sigma * noise

    def log_prob(self, z: Codes) -> Nats:
        """log q(z|x) in nats."""
        distance = z - self.mean
        precision = (-self.log_var).exp()
        squares = distance.square() * precision
        by_latent = LOG_2PI + self.log_var + squares
        return -0.5 * by_latent.sum(-1)


def draw_noise(draw: Draw, shape: Sizes, like: Tensor, generator: Rng = None) -> Tensor:
    """Numbers of this shape by `draw` (torch.randn or torch.rand), with dtype and device of `like`.

    A generator draws on its own device, so that a seed means the same everywhere. Where `like`
    comes from some rows of a batch (`fit` cuts one into micro-batches), the numbers are drawn for
    the whole batch, and those of these rows are returned: the noise of an image does not depend on
    the cut.
    """
    if generator is not None:
        device = generator.device
        noise = draw(shape, generator=generator, device=device, dtype=like.dtype)
        return noise.to(like.device)
    draw_here = partial(draw, device=like.device, dtype=like.dtype)
    rows = rows_of(like)
    if rows is None or shape[0] != rows.size:
        return draw_here(shape)
    noise = draw_here((rows.whole, *shape[1:]))
    return noise[rows.start : rows.stop]


def binarise(images: Images, mode: str | None = "dynamic", generator: Rng = None) -> Images:
    """Makes grey pixels in [0, 1] either 0 or 1; raises CourseError for an unknown mode.

    "dynamic": drawn anew at each call, 1 with the grey value as probability (as in Burda).
    "static": always the same, 1 above one half. None: stays grey (see `log_likelihood` for the
    meaning).
    """
    if mode not in BINARISATIONS:
        raise unknown_name_error("binarisation", mode, map(str, BINARISATIONS))
    if mode is None:
        return images
    if mode == "static":
        return (images > 0.5).to(images.dtype)
    return draw_noise(torch.rand, images.shape, images, generator).lt_(images)


def warm_up(seen: int | Tensor, over: int, beta: float = 1.0) -> Weight:
    """β after `seen` training images: it rises linearly to `beta` over the first `over` of them."""
    if not over:
        return beta
    fraction = torch.as_tensor(seen / over)
    return beta * fraction.clamp(max=1.0)


class VAE(nn.Module):
    """p(z) = N(0, I), p(x|z) by `decoder` (codes → logits), q(z|x) by `encoder`.

    The encoder turns images into (mu, raw log_var), and log_var is clamped to LOG_VAR_RANGE. With
    `gaussian_log_var` the decoder gives the mean of a Gaussian with that log variance, not
    Bernoulli logits. The buffer `seen` counts training images, for the warm-up of β.
    """

    seen: Tensor

    def __init__(
        self, encoder: nn.Module, decoder: nn.Module, gaussian_log_var: float | None = None
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.gaussian_log_var = gaussian_log_var
        self.register_buffer("seen", torch.zeros((), dtype=torch.long))

    def encode(self, x: Images) -> Posterior:
        """q(z|x) of each image, in float32 or wider."""
        mu, log_var = self.encoder(x)
        log_var = at_least_float32(log_var).clamp(*LOG_VAR_RANGE)
        return Posterior(at_least_float32(mu), log_var)

    def decode(self, z: Codes) -> Images:
        """Logits (or Gaussian means) of each code, in float32 or wider; leading dimensions stay."""
        rows = z.reshape(-1, z.shape[-1])
        logits = at_least_float32(self.decoder(rows))
        shape = z.shape[:-1] + logits.shape[1:]
        return logits.view(shape)

    def forward(self, x: Images, noise: Noise = None) -> tuple[Images, Posterior]:
        """Logits of one sampled code an image, and q(z|x)."""
        posterior = self.encode(x)
        return self.decode(posterior.sample(noise)), posterior

    def log_likelihood(self, logits: Images, x: Images) -> Nats:
        """log p(x|z) in nats, of the model's own kind."""
        if self.gaussian_log_var is None:
            return log_likelihood(logits, x)
        return gaussian_log_likelihood(logits, x, self.gaussian_log_var)

    @torch.no_grad()
    def picture(self, z: Codes) -> Images:
        """E[x|z], what a code looks like: probabilities of a 1, or Gaussian means."""
        output = self.decode(z)
        return output.sigmoid() if self.gaussian_log_var is None else output

    def sample(self, count: int, generator: Rng = None) -> Images:
        """Pictures of `count` codes drawn from the prior; the decoder must begin linearly."""
        weight = _first_layer(self).weight  # [width, latent]
        shape = (count, weight.shape[1])
        return self.picture(draw_noise(torch.randn, shape, weight, generator))

    def reconstruct(self, x: Images) -> Images:
        """Pictures of the posterior means: to look at; a bound needs sampled codes."""
        return self.picture(self.encode(x).mean)


def _first_layer(model: VAE) -> nn.Linear:
    """The decoder's first layer, where the decoder begins with a linear one."""
    decoder = cast(nn.Sequential, model.decoder)
    return cast(nn.Linear, decoder[0])


def at_least_float32(values: Tensor) -> Tensor:
    """Losses are computed in float32 at least; float64 stays."""
    if values.dtype in (torch.float16, torch.bfloat16):
        return values.float()
    return values


def mlp_vae(
    latent: int = 20,
    widths: Sizes = (400,),
    shape: Sizes = MNIST,
    activation: str = "ReLU",
    skip: bool = False,
    **kind: Any,
) -> VAE:
    """A fully connected VAE, by default that of pytorch/examples; `kind`: gaussian_log_var.

    `activation` is a name in `nets.ACTIVATIONS`; CourseError for another. `skip`: as in
    `nets.mlp_encoder`.
    """
    image_shape = _image_shape(shape)
    function = nets.activation_by_name(activation)
    encoder = nets.mlp_encoder(latent, widths, image_shape, function, skip)
    decoder = nets.mlp_decoder(latent, widths, image_shape, function, skip)
    return VAE(encoder, decoder, **kind)


def conv_vae(latent: int = 20, width: int = 16, shape: Sizes = MNIST, **kind: Any) -> VAE:
    """A convolutional VAE, for height and width divisible by 4; `kind`: gaussian_log_var."""
    image_shape = _image_shape(shape)
    encoder = nets.conv_encoder(latent, width, image_shape)
    decoder = nets.conv_decoder(latent, width, image_shape)
    return VAE(encoder, decoder, **kind)


def _image_shape(sizes: Sizes) -> nets.Shape:
    channels, height, width = sizes
    return channels, height, width


def pretrained(name: str = "vae-mnist") -> tuple[VAE, dict[str, Any]]:
    """A trained VAE of the course in eval mode, and its facts: the command, its bound, …."""
    if name not in PRETRAINED:
        raise unknown_name_error("trained VAE", name, PRETRAINED)
    weights, facts = packaged_weights(name)
    model = mlp_vae(**facts["architecture"])
    model.load_state_dict(weights)
    return model.eval(), facts


class Terms(NamedTuple):
    """An ELBO and its terms in nats.

    elbo [batch], log_px = log p(x|z) [batch], kl [batch, latent].
    """

    elbo: Nats
    log_px: Nats
    kl: Codes


def elbo(
    model: VAE, x: Images, noise: Noise = None, beta: Weight = 1, free_bits: float = 0
) -> Terms:
    """log p(x|z) − β KL(q(z|x) ‖ p(z)) of each image in nats, with one sampled z (KW, eq. 10).

    β: Higgins et al. 2017. `free_bits` λ: KL becomes Σ over latents of max(λ, mean KL over the
    batch), for all images alike (Kingma et al. 2016, arXiv 1606.04934). Report only bounds with β =
    1 and λ = 0.
    """
    logits, posterior = model(x, noise)
    log_px = without_wrapper(model).log_likelihood(logits, x)
    latent_kl = kl_per_latent(*posterior)
    rate = latent_kl.sum(-1)
    if free_bits:
        rate = latent_kl.mean(0).clamp(min=free_bits).sum()
    return Terms(log_px - beta * rate, log_px, latent_kl)


def without_wrapper(model: nn.Module) -> VAE:
    """The VAE itself, where several processes train it and the model is a wrapper around it."""
    return cast(VAE, getattr(model, "module", model))


def vae_loss(
    beta: float = 1.0,
    free_bits: float = 0.0,
    warm_up_images: int = 0,
    binarisation: str | None = "dynamic",
) -> Callable[..., Loss]:
    """A loss for `fit`: −ELBO in nats an image; monitors −log p(x|z) and the KL without β.

    In eval mode β is that of the warm-up's end, so that epochs compare. Checkpoints keep the
    warm-up. Where `fit` cuts a batch into micro-batches, each image gets the noise that it would
    have got in the whole batch (see `draw_noise`), in loss functions around this one as well.
    """

    def loss(model: nn.Module, images: Images, labels: Any = None) -> Loss:
        vae = without_wrapper(model)
        weight: Weight = beta
        if model.training:
            weight = warm_up(vae.seen, warm_up_images, beta)
            _count(vae, images)
        x = binarise(images, binarisation)
        terms = elbo(cast(VAE, model), x, beta=weight, free_bits=free_bits)
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
    """log w = log p(x|z) + log p(z) − log q(z|x) in nats (Burda).

    Noise [k, batch, latent] gives [k, batch].
    """
    z = q.sample(noise)
    prior_by_latent = LOG_2PI + z.square()
    log_prior = -0.5 * prior_by_latent.sum(-1)
    log_px = model.log_likelihood(model.decode(z), x)
    return log_px + log_prior - q.log_prob(z)


@torch.no_grad()
def iw_bound(
    model: VAE, x: Images, k: int, chunk: int = 2000, generator: Rng = None, noise: Noise = None
) -> Nats:
    """L_k = log (1/k) Σ w of each image in nats, with exactly k sampled codes (Burda, eq. 8).

    L_1 is an ELBO. About `chunk` codes (at least one an image) are decoded at a time, whatever k
    is; chunks are joined by logsumexp, never averaged as logarithms. CourseError unless k, chunk ≥
    1 and noise has k codes an image.
    """
    has_too_little_noise = noise is not None and len(noise) != k
    if k < 1 or chunk < 1 or has_too_little_noise:
        raise CourseError(
            f"k = {k} and chunk = {chunk} must be 1 or more, and noise, if given, "
            "must be for k codes."
        )
    q = model.encode(x)
    codes_at_a_time = max(1, chunk // len(x))
    total = torch.full_like(q.mean[:, 0], -torch.inf)
    for start in range(0, k, codes_at_a_time):
        stop = min(start + codes_at_a_time, k)
        if noise is None:
            shape = (stop - start, *q.mean.shape)
            chunk_noise = draw_noise(torch.randn, shape, q.mean, generator)
        else:
            chunk_noise = noise[start:stop]
        weights = log_weights(model, x, q, chunk_noise)
        total = torch.logaddexp(total, weights.logsumexp(0))
    return total - math.log(k)


def held_out_bound(
    model: VAE, images: Tensor, k: int = 500, count: int = 1000, seed: int = 0
) -> Nats:
    """L_k in nats of `count` of the uint8 images, chosen and binarised dynamically by `seed`."""
    generator = torch.Generator().manual_seed(whole_seed(seed))
    order = torch.randperm(len(images), generator=generator)
    rows = order[:count].to(images.device)
    x = binarise(images[rows] / 255, "dynamic", generator)
    bounds = []
    for chunk in x.split(1000):
        bounds.append(iw_bound(model, chunk, k, generator=generator))
    return torch.cat(bounds)


def active_units(
    mu: Float[Tensor, "images latent"], threshold: float = 0.01
) -> Bool[Tensor, " latent"]:
    """Which latents are in use: the variance of μ over images exceeds 0.01 (Burda)."""
    return mu.var(0) > threshold


def keep_latents(model: VAE, keep: Bool[Tensor, " latent"]) -> VAE:
    """A copy without the other latents, in both heads and in the decoder's first layer."""
    small = copy.deepcopy(model)
    encoder = cast(nets.Encoder, small.encoder)
    for head in (encoder.mu, encoder.log_var):
        head.weight = nn.Parameter(head.weight[keep])
        head.bias = nn.Parameter(head.bias[keep])
    first_layer = _first_layer(small)
    first_layer.weight = nn.Parameter(first_layer.weight[:, keep])
    return small


def mu_gradients(f: Objective, q: Posterior, noise: Codes) -> tuple[Codes, Codes]:
    """For each row of noise [n, latent] two unbiased estimates of ∇_μ E_q[f(z)].

    f: [n, latent] → [n]. Reparameterised (KW, § 2.4): ∇f(μ + σ ε). Score function (Williams 1992):
    f(z) ∇_μ log q(z) = f(z) ε / σ.
    """
    z = q.sample(noise).detach().requires_grad_()
    values = f(z)
    (path_gradients,) = torch.autograd.grad(values.sum(), z)
    inverse_sigma = (-0.5 * q.log_var).exp()
    score_gradients = values[:, None] * noise * inverse_sigma
    return path_gradients, score_gradients.detach()


def nearest(
    images: Images, pool: Images, chunk: int = 10_000
) -> tuple[Int[Tensor, "*batch"], Nats]:
    """The row of each image's nearest neighbour in `pool`, and the squared distance to it.

    The pool may be uint8, or in [0, 1].
    """
    pixels = images.flatten(1)
    distances = []
    for rows in pool.flatten(1).split(chunk):
        if rows.dtype == torch.uint8:
            rows = rows / 255
        distances.append(torch.cdist(pixels, rows))  # by matrix products
    lowest, row = torch.cat(distances, 1).min(1)
    return row, lowest.square()
