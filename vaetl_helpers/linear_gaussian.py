"""A linear VAE whose likelihood is known exactly, to hold the bounds against."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import MultivariateNormal

from vaetl_helpers import nets
from vaetl_helpers.vae import VAE, Images, Nats


class LinearGaussian(VAE):
    """p(x|z) = N(W z + b, σ² I), where log p(x) and p(z|x) are exact (Tipping and Bishop 1999).

    Images are [batch, 1, 1, pixels]. The encoder is the best with a diagonal covariance: exact if the columns of W are
    orthogonal; otherwise the ELBO stays `gap` below log p(x).
    """

    def __init__(
        self, weight: Float[Tensor, "pixels latent"], bias: Float[Tensor, " pixels"], sigma: float
    ):
        pixels, latent = weight.shape
        encoder = nets.Encoder(nn.Flatten(), pixels, latent)
        decoder = nn.Sequential(nn.Linear(latent, pixels), nn.Unflatten(1, (1, 1, pixels)))
        super().__init__(encoder, decoder, gaussian_log_var=2 * math.log(sigma))
        self.precision = (
            torch.eye(latent).to(weight) + weight.T @ weight / sigma**2
        )  # of p(z|x), for every x
        self.marginal = MultivariateNormal(
            bias, weight @ weight.T + sigma**2 * torch.eye(pixels).to(weight)
        )
        to_mean = torch.linalg.solve(self.precision, weight.T / sigma**2)
        values = (
            (weight, bias),
            (to_mean, -to_mean @ bias),
            (0 * to_mean, -self.precision.diagonal().log()),
        )
        for layer, (matrix, offset) in zip(
            (decoder[0], encoder.mu, encoder.log_var), values, strict=True
        ):
            layer.weight, layer.bias = nn.Parameter(matrix), nn.Parameter(offset)

    def log_prob(self, x: Images) -> Nats:
        """The exact log p(x) = log N(x; b, W Wᵀ + σ² I) in nats."""
        return self.marginal.log_prob(x.flatten(1))

    def exact_posterior(self, x: Images) -> MultivariateNormal:
        """The exact p(z|x), with its full covariance (I + Wᵀ W / σ²)⁻¹."""
        return MultivariateNormal(self.encode(x).mean, precision_matrix=self.precision)

    @property
    def gap(self) -> float:
        """KL(q(z|x) ‖ p(z|x)) = log p(x) − E[ELBO] in nats, the same for every x."""
        return 0.5 * float(self.precision.diagonal().log().sum() - self.precision.logdet())
