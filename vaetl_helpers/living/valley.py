"""A ball in a valley: what a step size does where the ground is steep one way and flat the other.

The loss is L(x) = ½ xᵀ H x, and H has two curvatures: `flat` along the valley and another one
across it. The valley is turned against the axes, because Adam, which has a step size for each
coordinate, would otherwise be handed the directions that it cannot know.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from vaetl_helpers import plots
from vaetl_helpers.errors import unknown_name_error
from vaetl_helpers.living import figure

Path = NDArray[np.float64]  # positions [steps + 1, 2]

METHODS = ("gradient descent", "momentum", "Adam")
FLAT = 1.0  # curvature along the valley
TURN = math.radians(30)
ADAM_DECAY, ADAM_EPSILON = 0.999, 1e-8  # β₂ and ε, PyTorch's defaults
STEPS = 60
CURVATURES = (2, 5, 10, 20, 50)
MOMENTA = (0.0, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.99)
RATES = tuple(float(f"{0.005 * 10 ** (place / 20):.2g}") for place in range(51))  # 0.005 to 1.6
RATE, MOMENTUM, ACROSS = 0.089, 0.7, 20  # chosen at first
WIDTH, HEIGHT = 3.0, 2.0  # the map shows ± these
START = (-2.3, 1.2)


def hessian(across: float, turn: float = TURN) -> Path:
    """H [2, 2] of a valley with the curvatures FLAT and `across`, turned by `turn` radians."""
    cosine, sine = math.cos(turn), math.sin(turn)
    turned = np.array([[cosine, -sine], [sine, cosine]])
    return turned @ np.diag([FLAT, across]) @ turned.T


def largest_stable_rate(method: str, across: float, momentum: float = 0.0) -> float:
    """The step size above which a path diverges, infinite for Adam.

    Gradient descent multiplies the coordinate across the valley by 1 − η·λ in each step, which
    grows where η > 2 / λ, λ the largest curvature; with momentum β the limit is 2 (1 + β) / λ
    (Polyak 1964).
    """
    if method == "Adam":
        return math.inf
    largest = max(FLAT, across)
    return 2 * (1 + (momentum if method == "momentum" else 0)) / largest


def descend(  # noqa: PLR0913  # a method, its two settings, and where it runs
    method: str,
    rate: float,
    momentum: float = 0.0,
    across: float = 20,
    start: Sequence[float] = START,
    steps: int = STEPS,
) -> Path:
    """The path [steps + 1, 2] of a method of torch.optim, in its formulas; `momentum` is Adam's β₁.

    Raises CourseError for an unknown method.
    """
    if method not in METHODS:
        raise unknown_name_error("method", method, METHODS)
    matrix = hessian(across)
    place = np.array(start, dtype=float)
    path = [place]
    velocity, square = np.zeros(2), np.zeros(2)
    for step in range(1, steps + 1):
        gradient = matrix @ place
        if method == "gradient descent":
            move = gradient
        elif method == "momentum":
            velocity = momentum * velocity + gradient
            move = velocity
        else:
            velocity = momentum * velocity + (1 - momentum) * gradient
            square = ADAM_DECAY * square + (1 - ADAM_DECAY) * gradient**2
            mean = velocity / (1 - momentum**step)
            root = np.sqrt(square / (1 - ADAM_DECAY**step))
            move = mean / (root + ADAM_EPSILON)
        place = place - rate * move
        path.append(place)
    return np.array(path)


def losses(path: Path, across: float) -> Path:
    """½ xᵀ H x at each position of a path, [steps + 1]."""
    return 0.5 * np.einsum("ni,ij,nj->n", path, hessian(across), path)


def ball_in_valley(alt: str) -> None:
    """The path of a method down a valley; method, step size, momentum and curvature to choose.

    The static figure shows gradient descent a little below and a little above its limit, momentum
    and Adam.
    """
    figure.show("valley", valley_data(), _static(ACROSS), alt)


def valley_data() -> dict[str, Any]:
    """What the script reads: the choices, what is chosen at first, and the valley."""
    return {
        "methods": METHODS,
        "method": METHODS[0],
        "rates": RATES,
        "rate": RATE,
        "momenta": MOMENTA,
        "momentum": MOMENTUM,
        "curvatures": CURVATURES,
        "across": ACROSS,
        "flat": FLAT,
        "turn": TURN,
        "steps": STEPS,
        "start": START,
        "width": WIDTH,
        "height": HEIGHT,
        "adam": {"decay": ADAM_DECAY, "epsilon": ADAM_EPSILON},
    }


def _static(across: float) -> Any:
    limit = largest_stable_rate(METHODS[0], across)
    runs = (
        ("gradient descent", 0.9 * limit),
        ("gradient descent", 1.02 * limit),
        ("momentum", limit),
        ("Adam", 2 * limit),
    )
    axes = plots.panels([f"{method}, step size {rate:.3g}" for method, rate in runs], "", height=3)
    for axis, (method, rate) in zip(axes, runs, strict=True):
        _draw_path(axis, descend(method, rate, MOMENTUM, across), across)
    return axes[0].figure


def _draw_path(axis: Axes, path: Path, across: float) -> None:
    """Contours of the loss, the path, its start and the lowest point."""
    x, y = np.meshgrid(np.linspace(-WIDTH, WIDTH, 121), np.linspace(-HEIGHT, HEIGHT, 81))
    grid = np.stack([x.ravel(), y.ravel()], 1)
    levels = losses(grid, across).reshape(x.shape)
    axis.contour(x, y, levels, levels=[2.0**n for n in range(-4, 7)], colors="silver", linewidths=1)
    axis.plot(*path.T, "o-", color=plots.COLOURS[0], markersize=3, linewidth=1)
    axis.plot(*path[0], "o", color=plots.COLOURS[1], markersize=8)
    axis.plot(0, 0, "+", color="black", markersize=9)
    axis.set(xlim=(-WIDTH, WIDTH), ylim=(-HEIGHT, HEIGHT), xlabel="parameter 1")
    axis.set(ylabel="parameter 2", aspect="equal")
    axis.grid(False)
