"""The ball in the valley rolls as torch.optim does, and diverges where it must."""

from __future__ import annotations

import math

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from vaetl_helpers import plots
from vaetl_helpers.errors import CourseError
from vaetl_helpers.living import valley as v

OPTIMISERS = {
    "gradient descent": lambda x, rate, momentum: torch.optim.SGD([x], lr=rate),
    "momentum": lambda x, rate, momentum: torch.optim.SGD([x], lr=rate, momentum=momentum),
    "Adam": lambda x, rate, momentum: torch.optim.Adam([x], lr=rate, betas=(momentum, 0.999)),
}


def by_torch(method: str, rate: float, momentum: float, across: float) -> np.ndarray:
    """The path of PyTorch's own optimiser on the same loss, in float64."""
    x = torch.tensor(v.START, dtype=torch.float64, requires_grad=True)
    matrix = torch.tensor(v.hessian(across))
    optimiser = OPTIMISERS[method](x, rate, momentum)
    path = [x.detach().numpy().copy()]
    for _ in range(v.STEPS):
        optimiser.zero_grad()
        (0.5 * x @ matrix @ x).backward()
        optimiser.step()
        path.append(x.detach().numpy().copy())
    return np.array(path)


@pytest.mark.parametrize("method", v.METHODS)
@pytest.mark.parametrize(
    ("rate", "momentum", "across"), [(0.02, 0.9, 20), (0.09, 0.5, 20), (0.4, 0.0, 5)]
)
def test_the_path_is_that_of_torch(
    method: str, rate: float, momentum: float, across: float
) -> None:
    ours = v.descend(method, rate, momentum, across)
    theirs = by_torch(method, rate, momentum, across)
    assert np.allclose(ours, theirs, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("across", v.CURVATURES)
@pytest.mark.parametrize(
    ("method", "momentum"), [("gradient descent", 0.9), ("momentum", 0.5), ("momentum", 0.9)]
)
def test_it_diverges_above_the_limit_and_not_below(
    method: str, momentum: float, across: float
) -> None:
    limit = v.largest_stable_rate(method, across, momentum)
    ends = []
    for factor in (0.99, 1.01):
        path = v.descend(method, factor * limit, momentum, across, steps=4000)
        ends.append(v.losses(path, across)[-1])
    assert ends[0] < 1e-3 and ends[1] > 1e6


def test_the_limit_of_gradient_descent_is_two_over_the_largest_curvature() -> None:
    assert v.largest_stable_rate("gradient descent", 20) == 0.1
    largest = np.linalg.eigvalsh(v.hessian(20))[-1]
    across = np.linalg.eigh(v.hessian(20))[1][:, -1]
    path = v.descend("gradient descent", 0.1, across=20)
    swing = path @ across  # the coordinate across the valley: 1 − 0.1 · 20 = −1 at the limit
    assert largest == pytest.approx(20) and np.allclose(np.abs(swing), abs(swing[0]))


@pytest.mark.parametrize("across", v.CURVATURES)
def test_adam_never_flies_away(across: float) -> None:
    """With no choice of the sliders; gradient descent is at 10⁶ by then where it diverges."""
    assert math.isinf(v.largest_stable_rate("Adam", across))
    for rate in v.RATES[::5]:
        for momentum in v.MOMENTA:
            path = v.descend("Adam", rate, momentum, across, steps=1000)
            assert np.abs(path).max() < 8


def test_an_unknown_method_is_a_sentence() -> None:
    with pytest.raises(CourseError, match="method 'adam'|Adam"):
        v.descend("adam", 0.1)


def test_the_step_sizes_grow() -> None:
    assert list(v.RATES) == sorted(set(v.RATES))


def best(method: str, across: float, momentum: float) -> tuple[float, float]:
    """The lowest loss after all steps that the slider can reach, and its step size."""
    ends = []
    for rate in v.RATES:
        path = v.descend(method, rate, momentum, across)
        ends.append((float(v.losses(path, across)[-1]), rate))
    return min(ends)


def test_chapter_1_says_what_the_paths_say() -> None:
    assert best("gradient descent", 20, 0) == (pytest.approx(1.3e-5, rel=0.05), 0.089)
    assert best("gradient descent", 50, 0) == (pytest.approx(0.013, rel=0.05), 0.035)
    assert best("momentum", 50, 0.7) == (pytest.approx(4e-8, rel=0.1), 0.063)
    limits = [v.largest_stable_rate(m, 50, 0.7) for m in ("gradient descent", "momentum")]
    assert limits[0] < 0.063 < limits[1]


def test_what_is_chosen_at_first_is_among_the_choices() -> None:
    data = v.valley_data()
    for value, choices in (
        ("rate", "rates"),
        ("momentum", "momenta"),
        ("across", "curvatures"),
        ("method", "methods"),
    ):
        assert data[value] in data[choices]


def test_the_static_figure_shows_four_paths() -> None:
    plt.close("all")
    v.ball_in_valley("Four paths in a valley.")
    drawn = plt.gcf()
    titles = [axis.get_title() for axis in drawn.axes]
    assert titles[0] == "gradient descent, step size 0.09" and len(titles) == 4
    assert plots.alt_text(drawn) == "Four paths in a valley."
    plt.close(drawn)
