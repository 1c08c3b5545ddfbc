"""Chapter 3's toy world: three codes and two pixels, in which p(x) is a sum done by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor

from vaetl_helpers import plots
from vaetl_helpers.errors import CourseError
from vaetl_helpers.living import figure
from vaetl_helpers.living.bound import Bound, bound
from vaetl_helpers.living.gap_machine import draw_bar

Chances = Float[Tensor, "3"]

# So chosen that p(x) of each image is a number of two decimals.
PRIOR = (0.5, 0.3, 0.2)
INK = ((0.9, 0.1), (0.1, 0.9), (0.8, 0.8))  # by code, how probable ink is in each of the two pixels
IMAGES = ((1, 1), (1, 0), (0, 1), (0, 0))


def likelihood(image: Sequence[int]) -> Chances:
    """p(x|z) for each of the three codes: the product over the two pixels."""
    if tuple(image) not in IMAGES:
        raise CourseError(f"An image of this world is one of {IMAGES}, not {tuple(image)}.")
    ink = torch.tensor(INK, dtype=torch.float64)
    x = torch.tensor(image)
    return torch.where(x == 1, ink, 1 - ink).prod(1)


def prior() -> Chances:
    """p(z) of the three codes."""
    return torch.tensor(PRIOR, dtype=torch.float64)


def evidence(image: Sequence[int]) -> float:
    """p(x) = Σ p(z) p(x|z) over the three codes."""
    return (prior() * likelihood(image)).sum().item()


def posterior(image: Sequence[int]) -> Chances:
    """p(z|x) of the three codes, by Bayes' rule."""
    joint = prior() * likelihood(image)
    return joint / joint.sum()


def terms(image: Sequence[int], q: Sequence[float]) -> Bound:
    """log p(x), ELBO and gap of q(z) in nats, by a sum over the three codes."""
    log_q = torch.tensor(q, dtype=torch.float64).log()
    return bound(prior().log(), likelihood(image).log(), log_q)


def with_chance(q: Sequence[float], code: int, chance: float) -> list[float]:
    """q with one code's probability set, as the sliders do it: it stays normalised.

    The two others keep their proportion to each other and share what is left; where both are 0,
    they share it equally.
    """
    others = [number for number in range(len(q)) if number != code]
    rest = sum(q[number] for number in others)
    changed = list(q)
    changed[code] = chance
    for number in others:
        share = q[number] / rest if rest > 0 else 1 / len(others)
        changed[number] = (1 - chance) * share
    return changed


def toy_world(alt: str) -> None:
    """Shows the world: an image to choose, q on three sliders, and ELBO and gap as two bars."""
    figure.show("toy_world", data(), static(IMAGES[0]), alt)


def data() -> dict[str, Any]:
    """What the script needs: the model, the images, and q where it begins, the prior."""
    return {"prior": PRIOR, "ink": INK, "images": IMAGES, "q": PRIOR}


def static(image: Sequence[int]) -> Figure:
    """Two q of one image, the prior and the posterior: bars of their chances, and of the bound."""
    candidates = (("q is the prior", prior()), ("q is the posterior p(z|x)", posterior(image)))
    with plt.rc_context(plots.STYLE):
        drawing, axes = plt.subplots(
            2, 2, figsize=(8, 3.9), height_ratios=(2.4, 1), sharey="row", sharex="row"
        )
        for column, (title, q) in zip(axes.T, candidates, strict=True):
            bars = column[0].bar(range(1, 4), q, color=plots.COLOURS[0], width=0.6)
            column[0].bar_label(bars, [f"{chance:.3f}" for chance in q.tolist()], fontsize=9)
            column[0].set(title=title, xlabel="code z", ylim=(0, 1), xticks=(1, 2, 3))
            draw_bar(column[1], terms(image, q.tolist()), lowest=-6)
        axes[0, 0].set_ylabel("q(z)")
    return drawing
