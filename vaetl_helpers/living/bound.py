"""The bound and its gap without sampling: sums over all codes, or over a fine grid of them."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from vaetl_helpers.errors import CourseError

LogDensity = Float[Tensor, " codes"]
NORMALISED = 1e-6  # how far the sum of a density may lie from 1


class Bound(NamedTuple):
    """log p(x) and what q makes of it, in nats.

    ELBO = expected − price. The gap KL(q ‖ p(z|x)) is summed for itself, so that log p(x) = ELBO +
    gap can be seen and is not put in.
    """

    log_px: float
    elbo: float
    gap: float
    expected: float  # E_q[log p(x|z)]
    price: float  # KL(q ‖ p(z))


def bound(
    log_prior: LogDensity, log_likelihood: LogDensity, log_q: LogDensity, cell: float = 1.0
) -> Bound:
    """The bound of one image, by a sum over codes.

    Given are log p(z), log p(x|z) and log q(z) of each code, each [codes], and how wide a cell of
    the grid is (1 where the codes are all there are). Raises CourseError where q or the prior does
    not sum to 1.
    """
    for name, density in (("prior", log_prior), ("q", log_q)):
        total = cell * density.exp().sum().item()
        if not abs(total - 1) < NORMALISED:
            raise CourseError(
                f"The {name} sums to {total:.6g} over these codes, and must sum to 1: "
                "use a wider or finer grid, or normalise it."
            )
    log_px = log_evidence(log_prior, log_likelihood, cell)
    log_posterior = log_prior + log_likelihood - log_px
    q = log_q.exp()

    def mean(values: LogDensity) -> float:
        # A code that q never draws counts nothing, whatever its value.
        return cell * torch.where(q > 0, q * values, 0.0).sum().item()

    expected = mean(log_likelihood)
    price = mean(log_q - log_prior)
    gap = mean(log_q - log_posterior)
    return Bound(log_px, expected - price, gap, expected, price)


def log_evidence(log_prior: LogDensity, log_likelihood: LogDensity, cell: float = 1.0) -> float:
    """log p(x) in nats: the logarithm of the sum of p(z) p(x|z) over codes."""
    return torch.logsumexp(log_prior + log_likelihood, 0).item() + math.log(cell)
