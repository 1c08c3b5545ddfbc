"""Several studies of the same question, pooled by a random-effects model.

Each study i found an effect y_i with the standard error s_i. Its true effect is a draw from
N(mu, tau²), and what it found is a draw from N(true effect, s_i²). `pooled` estimates tau² by
restricted maximum likelihood (Viechtbauer 2005) and gives mu the interval of Hartung and Knapp
(2001), a t interval with k - 1 degrees of freedom.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

from vaetl_helpers.errors import CourseError

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Pooled:
    """The mean of k studies' effects with its 95 % interval, and how much the studies differ.

    `tau` is the standard deviation of their true effects, in the effects' unit; `i_squared` the
    share of the scatter between studies that their standard errors do not explain, from 0 to 1;
    `q` is Cochran's Q and `q_p` its p value. A new study's true effect is expected between
    `predicted_low` and `predicted_high`, with 95 % (nan below three studies). `weights` are those
    of the studies, and add up to 1.
    """

    effect: float
    se: float
    low: float
    high: float
    k: int
    tau: float
    i_squared: float
    q: float
    q_p: float
    predicted_low: float
    predicted_high: float
    weights: tuple[float, ...]


def pooled(effects: Sequence[float], errors: Sequence[float]) -> Pooled:
    """Pools effects [k] with standard errors [k], both in one unit, by REML and Hartung–Knapp.

    The interval is never narrower than without their factor, which Röver, Knapp and Friede (2015)
    advise where studies agree by chance. The prediction interval is that of Higgins, Thompson and
    Spiegelhalter (2009, equation 12), with k - 2 degrees of freedom. Raises CourseError below two
    studies, and for a number that is not finite or an error that is not above 0.
    """
    y, variances = _checked(effects, errors)
    k = len(y)
    tau_squared = _reml(y, variances)
    weights = 1 / (variances + tau_squared)
    effect = float(np.average(y, weights=weights))
    factor = float((weights * (y - effect) ** 2).sum()) / (k - 1)
    se = math.sqrt(max(1.0, factor) / weights.sum())
    half = float(stats.t.ppf(0.975, k - 1)) * se
    reach = math.nan
    if k > 2:
        reach = float(stats.t.ppf(0.975, k - 2)) * math.sqrt(tau_squared + se**2)
    q = cochran_q(y, variances)
    return Pooled(
        effect=effect,
        se=se,
        low=effect - half,
        high=effect + half,
        k=k,
        tau=math.sqrt(tau_squared),
        i_squared=_share_of_scatter(tau_squared, variances),
        q=q,
        q_p=float(stats.chi2.sf(q, k - 1)),
        predicted_low=effect - reach,
        predicted_high=effect + reach,
        weights=tuple((weights / weights.sum()).tolist()),
    )


def cochran_q(y: Floats, variances: Floats) -> float:
    """The weighted squares around the mean of studies that share one true effect."""
    weights = 1 / variances
    return float((weights * (y - np.average(y, weights=weights)) ** 2).sum())


def _checked(effects: Sequence[float], errors: Sequence[float]) -> tuple[Floats, Floats]:
    y = np.asarray(effects, dtype=float)
    s = np.asarray(errors, dtype=float)
    if y.ndim != 1 or y.shape != s.shape or len(y) < 2:
        raise CourseError(
            f"Pooling needs two studies or more, each with an effect and a standard error, not "
            f"{y.size} and {s.size} numbers."
        )
    if not (np.isfinite(y).all() and np.isfinite(s).all() and (s > 0).all()):
        raise CourseError("Pooling needs finite effects and standard errors above 0.")
    return y, s**2


def _reml(y: Floats, variances: Floats) -> float:
    """The tau² at which the restricted likelihood is highest; 0 where it falls from there on.

    It is looked for on a grid first, since the likelihood may have two maxima.
    """
    scale = float(y.var(ddof=1) + variances.max())
    grid = np.concatenate([[0.0], np.geomspace(1e-8, 10, 60) * scale])
    losses = [_restricted_loss(value, y, variances) for value in grid]
    best = int(np.argmin(losses))
    if best == 0:
        return 0.0
    ends = (grid[best - 1], grid[min(best + 1, len(grid) - 1)])
    found = optimize.minimize_scalar(
        _restricted_loss,
        bounds=ends,
        args=(y, variances),
        method="bounded",
        options={"xatol": 1e-12 * scale},
    )
    return float(found.x)


def _restricted_loss(tau_squared: float, y: Floats, variances: Floats) -> float:
    """Minus twice the restricted log-likelihood, without its constant."""
    totals = variances + tau_squared
    weights = 1 / totals
    mean = np.average(y, weights=weights)
    squares = (weights * (y - mean) ** 2).sum()
    return float(np.log(totals).sum() + np.log(weights.sum()) + squares)


def _share_of_scatter(tau_squared: float, variances: Floats) -> float:
    """I²: tau² as a share of it and a typical study's variance (Higgins and Thompson 2002)."""
    weights = 1 / variances
    k = len(variances)
    typical = (k - 1) * weights.sum() / (weights.sum() ** 2 - (weights**2).sum())
    return float(tau_squared / (tau_squared + typical))
