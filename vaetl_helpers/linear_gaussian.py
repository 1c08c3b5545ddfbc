"""A linear VAE whose likelihood is known exactly, to hold the bounds against."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import MultivariateNormal

from vaetl_helpers import nets
from vaetl_helpers.vae import VAE, Images, Nats

Weight = Float[Tensor, "pixels latent"]
Bias = Float[Tensor, " pixels"]


class LinearGaussian(VAE):
    """p(x|z) = N(W z + b, σ² I), where log p(x) and p(z|x) are exact (Tipping and Bishop 1999).

    Images are [batch, 1, 1, pixels]. The encoder is the best with a diagonal covariance: exact if
    the columns of W are orthogonal; otherwise the ELBO stays `gap` below log p(x).
    """

    def __init__(self, weight: Weight, bias: Bias, sigma: float) -> None:
        """Weight W [pixels, latent], bias b [pixels], and the standard deviation σ of a pixel."""
        pixels, latent = weight.shape
        encoder = nets.Encoder(nn.Flatten(), pixels, latent)
        to_pixels = nn.Linear(latent, pixels)
        decoder = nn.Sequential(to_pixels, nn.Unflatten(1, (1, 1, pixels)))
        super().__init__(encoder, decoder, gaussian_log_var=2 * math.log(sigma))
        variance = sigma**2
        one_by_latent = torch.eye(latent).to(weight)
        one_by_pixel = torch.eye(pixels).to(weight)
        # Of p(z|x), for every x.
        self.precision = one_by_latent + weight.T @ weight / variance
        covariance = weight @ weight.T + variance * one_by_pixel
        self.marginal = MultivariateNormal(bias, covariance)
        to_mean = torch.linalg.solve(self.precision, weight.T / variance)
        log_diagonal = self.precision.diagonal().log()
        _set_layer(to_pixels, weight, bias)
        _set_layer(encoder.mu, to_mean, -to_mean @ bias)
        _set_layer(encoder.log_var, 0 * to_mean, -log_diagonal)

    def log_prob(self, x: Images) -> Nats:
        """The exact log p(x) = log N(x; b, W Wᵀ + σ² I) in nats."""
        log_prob: Tensor = self.marginal.log_prob(x.flatten(1))
        return log_prob

    def exact_posterior(self, x: Images) -> MultivariateNormal:
        """The exact p(z|x), with its full covariance (I + Wᵀ W / σ²)⁻¹."""
        mean = self.encode(x).mean
        return MultivariateNormal(mean, precision_matrix=self.precision)

    @property
    def gap(self) -> float:
        """KL(q(z|x) ‖ p(z|x)) = log p(x) − E[ELBO] in nats, the same for every x."""
        log_diagonal = self.precision.diagonal().log()
        difference = log_diagonal.sum() - self.precision.logdet()
        return 0.5 * float(difference)


def _set_layer(layer: nn.Linear, weight: Tensor, bias: Tensor) -> None:
    layer.weight = nn.Parameter(weight)
    layer.bias = nn.Parameter(bias)
