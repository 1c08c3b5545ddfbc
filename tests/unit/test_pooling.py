"""Random-effects pooling against published numbers, closed forms, and studies made by the model."""

from __future__ import annotations

import math

import numpy as np
import pytest

from vaetl_helpers.errors import CourseError
from vaetl_helpers.study.pooling import cochran_q, pooled

# Tuberculosis after vaccination with BCG: Colditz et al. 1994, 13 trials. Cases and others among
# the vaccinated, cases and others among those who were not.
BCG = [
    (4, 119, 11, 128),
    (6, 300, 29, 274),
    (3, 228, 11, 209),
    (62, 13536, 248, 12619),
    (33, 5036, 47, 5761),
    (180, 1361, 372, 1079),
    (8, 2537, 10, 619),
    (505, 87886, 499, 87892),
    (29, 7470, 45, 7232),
    (17, 1699, 65, 1600),
    (186, 50448, 141, 27197),
    (5, 2493, 3, 2338),
    (27, 16886, 29, 17825),
]


def log_risk_ratios() -> tuple[list[float], list[float]]:
    effects, errors = [], []
    for a, b, c, d in BCG:
        effects.append(math.log(a / (a + b)) - math.log(c / (c + d)))
        errors.append(math.sqrt(1 / a - 1 / (a + b) + 1 / c - 1 / (c + d)))
    return effects, errors


def test_bcg_vaccine_as_metafor_publishes_it() -> None:
    """Viechtbauer 2010, Journal of Statistical Software 36(3), section 3: REML, with its I²."""
    result = pooled(*log_risk_ratios())
    assert result.effect == pytest.approx(-0.7145, abs=5e-5)
    assert result.tau**2 == pytest.approx(0.3132, abs=5e-5)
    assert result.i_squared == pytest.approx(0.9222, abs=5e-5)
    assert result.q == pytest.approx(152.2330, abs=5e-5)
    assert result.k == 13 and result.q_p < 1e-4
    plain_se = result.se / math.sqrt(factor(result))
    assert plain_se == pytest.approx(0.1798, abs=5e-5)


def factor(result) -> float:  # noqa: ANN001
    """What Hartung and Knapp multiply the variance by, from their formula."""
    effects, errors = map(np.array, log_risk_ratios())
    weights = 1 / (errors**2 + result.tau**2)
    return float((weights * (effects - result.effect) ** 2).sum() / (len(effects) - 1))


def test_studies_of_equal_size_have_a_closed_form() -> None:
    """With one variance for all, tau² is what the effects vary by beyond it, and weights agree."""
    effects, error = [1.0, 2.5, 0.5, 4.0], 0.4
    result = pooled(effects, [error] * 4)
    variance = float(np.var(effects, ddof=1))
    assert result.effect == pytest.approx(2.0)
    assert result.tau**2 == pytest.approx(variance - error**2, rel=1e-6)
    assert result.weights == pytest.approx([0.25] * 4)
    # Then Hartung and Knapp's interval is the t interval of the effects themselves.
    half = 3.182446305284263 * math.sqrt(variance / 4)
    assert (result.low, result.high) == pytest.approx((2 - half, 2 + half), rel=1e-6)
    reach = 4.302652729911275 * math.sqrt(result.tau**2 + variance / 4)
    assert result.predicted_high == pytest.approx(2 + reach, rel=1e-6)
    assert result.i_squared == pytest.approx(result.tau**2 / variance, rel=1e-6)


def test_studies_that_agree_have_no_tau_and_no_interval_that_is_too_narrow() -> None:
    result = pooled([1.0, 1.0, 1.0], [0.3, 0.3, 0.3])
    assert (result.tau, result.i_squared, result.q) == (0, 0, 0)
    assert result.se == pytest.approx(0.3 / math.sqrt(3))  # not 0


def test_two_studies_have_no_prediction() -> None:
    result = pooled([0.0, 1.0], [1.0, 1.0])
    assert math.isnan(result.predicted_low) and math.isfinite(result.low)


def test_q_is_that_of_a_common_effect() -> None:
    assert cochran_q(np.array([0.0, 2.0]), np.array([1.0, 1.0])) == pytest.approx(2)


def test_intervals_hold_as_often_as_they_say() -> None:
    """400 classes of eight, whose studies differ in size: 95 % hold the mean."""
    generator = np.random.default_rng(6)
    held = 0
    for _ in range(400):
        errors = generator.uniform(0.2, 1.2, 8)
        true = generator.normal(1.5, 0.6, 8)
        result = pooled(generator.normal(true, errors), errors)
        held += result.low < 1.5 < result.high
    assert 0.92 < held / 400 < 0.985


@pytest.mark.parametrize(
    ("effects", "errors"),
    [
        ([1.0], [1.0]),
        ([1.0, 2.0], [1.0]),
        ([1.0, math.nan], [1.0, 1.0]),
        ([1.0, 2.0], [1.0, 0.0]),
        ([1.0, 2.0], [1.0, -1.0]),
        ([1.0, 2.0], [1.0, math.inf]),
    ],
)
def test_what_cannot_be_pooled_is_refused(effects: list[float], errors: list[float]) -> None:
    with pytest.raises(CourseError, match="Pooling needs"):
        pooled(effects, errors)
