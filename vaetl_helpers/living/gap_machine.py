"""Chapter 3's gap machine: one latent, a bent decoder, and a normal q that one moves by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import matplotlib.pyplot as plt
import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from vaetl_helpers import plots
from vaetl_helpers.living import figure
from vaetl_helpers.living.bound import Bound, bound, log_evidence
from vaetl_helpers.vae import Posterior, gaussian_log_likelihood

Codes = Float[Tensor, " codes"]
Decoder = Callable[[Codes], Codes]  # codes → means of the one pixel

# A network with two hidden units. It rises and falls again, so that two codes can give one pixel:
# (weight to the pixel, weight from the code, bias) of each unit.
UNITS = ((1.1, 1.6, 1.12), (-0.8, 1.6, -1.44))
NOISE = 0.25  # standard deviation of the pixel, given its code
IMAGES = (1.7, 1.2, 0.9)  # one pixel each: near the top of the bend, and further down
# Wide enough for every q of the figure, and fine enough that a sum is the integral: the narrowest
# density on it is about four cells wide, for which the sum's error is below rounding.
END = 12.0
CELLS = 1200
CELL = 2 * END / CELLS
MU = (-2.5, 2.5)
SIGMA = (0.15, 1.4)
START = (0.0, 1.0)  # the prior


def grid() -> Codes:
    """The codes that all sums run over [1201], from −12 to 12."""
    return torch.linspace(-END, END, CELLS + 1, dtype=torch.float64)


def bent_decoder(z: Codes) -> Codes:
    """The mean of the pixel for each code: Σ a tanh(b z + c) over two hidden units."""
    pixel = torch.zeros_like(z)
    for to_pixel, from_code, bias in UNITS:
        pixel = pixel + to_pixel * torch.tanh(from_code * z + bias)
    return pixel


def log_prior(z: Codes) -> Codes:
    """log N(z; 0, 1) of each code."""
    return log_normal(z, 0.0, 1.0)


def log_normal(z: Codes, mu: float, sigma: float) -> Codes:
    """log N(z; μ, σ²) of each code."""
    mean = torch.tensor([mu], dtype=z.dtype)
    sigmas = torch.tensor([sigma], dtype=z.dtype)
    return Posterior(mean, 2 * sigmas.log()).log_prob(z[:, None])


def log_likelihood(z: Codes, x: float, decode: Decoder = bent_decoder) -> Codes:
    """log p(x|z) = log N(x; decode(z), NOISE²) of each code."""
    mean = decode(z)[:, None, None, None]  # an image of one pixel
    pixel = torch.full_like(mean, x)
    log_variance = 2 * torch.tensor(NOISE, dtype=z.dtype).log()
    return gaussian_log_likelihood(mean, pixel, log_variance)


def terms(x: float, mu: float, sigma: float, decode: Decoder = bent_decoder) -> Bound:
    """log p(x), ELBO and gap of q = N(μ, σ²) in nats, by a sum over `grid`."""
    z = grid()
    return bound(log_prior(z), log_likelihood(z, x, decode), log_normal(z, mu, sigma), CELL)


def posterior(x: float, decode: Decoder = bent_decoder) -> Codes:
    """The true p(z|x) on `grid`."""
    z = grid()
    log_joint = log_prior(z) + log_likelihood(z, x, decode)
    log_px = log_evidence(log_prior(z), log_likelihood(z, x, decode), CELL)
    return (log_joint - log_px).exp()


def gap_machine(alt: str, x: float = IMAGES[0]) -> None:
    """Shows the machine: μ and σ of q to move, the true posterior behind, and the bar of the bound.

    `x` is the image it begins with, one of IMAGES.
    """
    figure.show("gap_machine", data(x), static(x), alt)


def data(x: float) -> dict[str, Any]:
    """What the script needs: the model, the images, and where it begins."""
    mu, sigma = START
    return {
        "units": UNITS,
        "noise": NOISE,
        "images": IMAGES,
        "end": END,
        "cells": CELLS,
        "mu": MU,
        "sigma": SIGMA,
        "start": {"x": x, "mu": mu, "sigma": sigma},
    }


# ---------------------------------------------------------------- the static figure


def static(x: float) -> Figure:
    """Three q of one image: the prior, one that is still too wide, and the best normal one."""
    candidates = [("q is the prior", *START), ("at the place, still too wide", 0.16, 0.6), best(x)]
    with plt.rc_context(plots.STYLE):
        drawing, axes = plt.subplots(
            2, 3, figsize=(10, 4.2), height_ratios=(3, 1), sharey="row", sharex="row"
        )
        for column, (title, mu, sigma) in zip(axes.T, candidates, strict=True):
            _draw_densities(column[0], x, mu, sigma)
            column[0].set_title(f"{title}\nμ = {mu:.2f}, σ = {sigma:.2f}", fontsize=11)
            draw_bar(column[1], terms(x, mu, sigma), lowest=-8)
        axes[0, 0].set_ylabel("density")
        axes[0, 0].legend(frameon=False, fontsize=9, loc="upper left")
    return drawing


def best(x: float) -> tuple[str, float, float]:
    """The normal q with the largest ELBO, among steps of 0.02."""
    mus = torch.arange(*MU, 0.02, dtype=torch.float64)
    sigmas = torch.arange(*SIGMA, 0.02, dtype=torch.float64)
    z = grid()
    log_joint = log_prior(z) + log_likelihood(z, x)
    mu = mus[:, None, None]
    sigma = sigmas[:, None]
    log_q = Posterior(mu[..., None], 2 * sigma[..., None].log()).log_prob(z[:, None])
    elbos = CELL * (log_q.exp() * (log_joint - log_q)).sum(-1)
    row, column = divmod(int(elbos.argmax()), len(sigmas))
    return "the best normal q", float(mus[row]), float(sigmas[column])


def _draw_densities(axis: Axes, x: float, mu: float, sigma: float) -> None:
    z = grid()
    axis.fill_between(
        z, posterior(x), color=plots.GREY, alpha=0.3, linewidth=0, label="true p(z|x)"
    )
    axis.plot(z, log_prior(z).exp(), ":", color=plots.GREY, label="prior p(z)")
    axis.plot(z, log_normal(z, mu, sigma).exp(), color=plots.COLOURS[0], label="q")
    axis.set(xlim=(-3, 3), ylim=(0, 1.6), xlabel="code z")


def draw_bar(axis: Axes, of: Bound, lowest: float) -> None:
    """log p(x) as a bar of two pieces, the ELBO and the gap."""
    end = max(of.elbo, lowest)
    axis.barh(0, end - lowest, left=lowest, color=plots.COLOURS[0], label="ELBO")
    axis.barh(0, of.log_px - end, left=end, color=plots.COLOURS[1], hatch="//", edgecolor="white")
    axis.axvline(of.log_px, color="black", linewidth=1)
    axis.set(xlim=(lowest, 0), ylim=(-0.5, 1.6), yticks=[], xlabel="nats")
    axis.grid(False)
    text = f"ELBO {of.elbo:.2f} + gap {of.gap:.2f} = {of.log_px:.2f}".replace("-", "−")
    axis.text(0.02, 0.9, text, fontsize=10, va="top", transform=axis.transAxes)
