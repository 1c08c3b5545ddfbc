"""How alike two representations are, and which part of a VAE transfers."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor

from vaetl_helpers import nets, vae
from vaetl_helpers.errors import CourseError, unknown_name_error
from vaetl_helpers.transfer.freezing import freeze


def debiased_cka(x: Float[Tensor, "images d1"], y: Float[Tensor, "images d2"]) -> float:
    """Linear CKA of two features of the same images, from unbiased HSIC.

    1 if they are equal up to rotation and scale; about 0, of either sign, for independent features
    of any width; the usual estimate then grows with the width. CKA: Kornblith et al. 2019, arXiv
    1905.00414; unbiased HSIC: Song et al. 2012;
    together: Nguyen et al. 2021, arXiv 2010.15327. Time and memory are quadratic in the images.
    Raises CourseError below 4 images, where the rows do not match, and for features that do not
    vary.
    """
    are_matrices = x.dim() == 2 and y.dim() == 2
    if not are_matrices or len(x) != len(y) or len(x) < 4:
        shapes = f"{list(x.shape)} and {list(y.shape)}"
        raise CourseError(
            f"CKA compares features [images, d] of the same 4 or more images, not {shapes}: "
            "flatten(1)."
        )
    k, of_x = _gram_with_hsic(x)
    m, of_y = _gram_with_hsic(y)
    return _hsic(k, m) / math.sqrt(of_x * of_y)


def cka_table(
    first: Sequence[Float[Tensor, "images _"]], second: Sequence[Float[Tensor, "images _"]]
) -> Float[Tensor, "first second"]:
    """`debiased_cka` of each features in `first` with each in `second`, all of the same images.

    A Gram matrix is made once for each, so that this is faster than one pair after the other.
    """
    rows = [_gram_with_hsic(x) for x in first]
    columns = [_gram_with_hsic(y) for y in second]
    values = [[_hsic(k, m) / math.sqrt(of_x * of_y) for m, of_y in columns] for k, of_x in rows]
    return torch.tensor(values)


def _gram_with_hsic(x: Tensor) -> tuple[Tensor, float]:
    """The Gram matrix of features, and its HSIC with itself, which must be above 0."""
    k = _gram(x)
    of_itself = _hsic(k, k)
    if not of_itself > 0:  # also refuses NaN
        raise CourseError(
            "CKA needs finite features that vary over the images: look at them, or take more "
            "images."
        )
    return k, of_itself


def _gram(x: Tensor) -> Tensor:
    """The inner products of all pairs of images; 0 for each with itself makes HSIC unbiased."""
    x = x.detach().cpu().double()
    x = x - x.mean(0)  # changes nothing but rounding
    return (x @ x.T).fill_diagonal_(0)


def _hsic(k: Tensor, m: Tensor) -> float:
    """The unbiased HSIC of Song et al. 2012, for Gram matrices without their diagonals.

    The product of the two matrices is never formed.
    """
    n = len(k)
    rows_k = k.sum(0)
    rows_m = m.sum(0)
    trace = (k * m).sum()
    off_diagonal = (n - 1) * (n - 2)
    sums = rows_k.sum() * rows_m.sum() / off_diagonal
    cross = 2 / (n - 2) * (rows_k @ rows_m)
    total: float = (trace + sums - cross).item()
    return total / (n * (n - 3))


def effective_directions(x: Float[Tensor, "images d"]) -> float:
    """In how many directions features vary: d if equally in all, 1 if they lie on a line.

    The participation ratio of the eigenvalues λ of their covariance, (Σ λ)² / Σ λ², which a
    rotation does not change.
    """
    covariance = torch.cov(x.detach().cpu().double().T)
    ratio: float = (covariance.trace().square() / covariance.square().sum()).item()
    return ratio


def whitening(x: Float[Tensor, "images d"]) -> Callable[[Tensor], Tensor]:
    """A map of features after which those of `x` vary equally in all directions, uncorrelated.

    Raises CourseError where they do not vary in some direction.
    """
    mean = x.double().mean(0)
    variances, directions = torch.linalg.eigh(torch.cov(x.double().T))
    if not variances[0] > 1e-9 * variances[-1]:
        raise CourseError("These features cannot be whitened: they do not vary in every direction.")
    matrix = directions / variances.sqrt()

    def whiten(features: Tensor) -> Tensor:
        return ((features.double() - mean) @ matrix).to(features.dtype)

    return whiten


PARTS = ("encoder", "decoder", "hidden layer")


def _latents(model: vae.VAE) -> int:
    """How many numbers its codes have."""
    return cast(nets.Encoder, model.encoder).mu.out_features


def reuse(source: vae.VAE, fresh: vae.VAE, part: str) -> vae.VAE:
    """`fresh` with a frozen copy of a part of the source in place of its own.

    `part`: "encoder", "decoder" or "hidden layer", the encoder without its heads for mean and
    variance. The rest is to be trained. Raises CourseError for another part, and where the codes of
    the two VAEs differ in length.
    """
    if part not in PARTS:
        raise unknown_name_error("part of a VAE", part, PARTS)
    latents, fresh_latents = _latents(source), _latents(fresh)
    if latents != fresh_latents:
        raise CourseError(
            f"Codes of {latents} and {fresh_latents} latents do not fit together: "
            "build both with as many."
        )
    if part == "hidden layer":
        body = cast(nets.Encoder, source.encoder).body
        cast(nets.Encoder, fresh.encoder).body = freeze(copy.deepcopy(body))
        return fresh
    reused = copy.deepcopy(getattr(source, part))
    setattr(fresh, part, freeze(reused))
    return fresh
