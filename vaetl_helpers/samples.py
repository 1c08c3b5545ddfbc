"""Invented images: codes to decode, and how far what comes out lies from real images."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from vaetl_helpers.errors import CourseError
from vaetl_helpers.training.evaluation import evaluating
from vaetl_helpers.transfer.probes import checked_features

Decoder = Callable[[Tensor], Tensor]  # codes [n, d] → logits of pixels [n, …]


def gaussian_codes(
    codes: Tensor, count: int, generator: torch.Generator, *, full: bool = False
) -> Tensor:
    """`count` codes [count, d] drawn from a Gaussian that is fitted to codes [n, d].

    Its covariance is diagonal, or with `full` that of the codes: a density that is estimated after
    the training of a deterministic autoencoder, as in Ghosh et al. 2020 (arXiv 1903.12436),
    section 4. Raises CourseError for fewer than two codes, and for codes that are not finite.
    """
    known = torch.as_tensor(checked_features(codes))
    if len(known) < 2:
        raise CourseError("A Gaussian is fitted to two codes or more: encode more images.")
    noise = torch.randn(count, known.shape[1], generator=generator, dtype=torch.float64)
    if not full:
        return (known.mean(0) + known.std(0) * noise).float()
    # By eigenvectors, since latents that are not used leave a covariance of lower rank.
    variances, directions = torch.linalg.eigh(torch.cov(known.T).reshape(known.shape[1], -1))
    spread = directions * variances.clamp(min=0).sqrt()
    return (known.mean(0) + noise @ spread.T).float()


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """How far two sets of features [n, d] and [m, d] lie apart: 0 for equal mean and covariance.

    |μ_a − μ_b|² + tr(Σ_a + Σ_b − 2 (Σ_a Σ_b)^½), the squared Fréchet distance of two Gaussians with
    these moments (Heusel et al. 2017, arXiv 1706.08500, eq. 6), in squared units of the features.
    It depends on the network that the features come from, and it is too large for few images: so
    compare at equal numbers. Raises CourseError for other shapes and fewer than two rows.
    """
    x = checked_features(a)
    y = checked_features(b, x.shape[1])
    if min(len(x), len(y)) < 2:
        raise CourseError("A covariance needs two rows of features or more.")
    shift = x.mean(0) - y.mean(0)
    of_x, of_y = (np.atleast_2d(np.cov(rows, rowvar=False)) for rows in (x, y))
    # The eigenvalues of Σ_a Σ_b are those of the symmetric √Σ_a Σ_b √Σ_a, and not negative.
    values, vectors = np.linalg.eigh(of_x)
    root = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
    shared = np.sqrt(np.linalg.eigvalsh(root @ of_y @ root).clip(min=0)).sum()
    return float(shift @ shift + np.trace(of_x) + np.trace(of_y) - 2 * shared)


@torch.no_grad()
def judged(judge: nn.Sequential, images: Tensor, batch_size: int = 500) -> tuple[Tensor, Tensor]:
    """What a classifier makes of images in [0, 1]: features of its last hidden layer, confidence.

    `judge` ends with a linear layer. Features [n, d]; confidence [n] is the probability that it
    gives to its most probable class.
    """
    features, confidences = [], []
    with evaluating(judge):
        for batch in images.split(batch_size):
            hidden = judge[:-1](batch)
            features.append(hidden.flatten(1).cpu())
            confidences.append(judge[-1](hidden).softmax(-1).max(-1).values.cpu())
    return torch.cat(features), torch.cat(confidences)
