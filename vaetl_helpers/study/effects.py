"""Effects with intervals, and what they decide."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from vaetl_helpers.errors import CourseError, unknown_name_error
from vaetl_helpers.study.table import SHARED, Table


@dataclass(frozen=True)
class Effect:
    """A mean difference with its 95 % interval over `n` repeats, and in `label` what the interval holds for.

    `sd` is the standard deviation of the differences between repeats, `se` the standard error of the mean, `df` its
    degrees of freedom. An end that is infinite says that the effect is only bounded.
    """

    effect: float
    low: float
    high: float
    n: int
    sd: float
    label: str
    se: float
    df: float

    @property
    def p(self) -> float:
        """Two-sided p value of "no effect"; 1 where the effect lies on the side that is not bounded."""
        if math.isinf(self.high if self.effect < 0 else self.low):
            return 1.0
        if self.se == 0:
            return float(self.effect == 0)
        return float(2 * stats.t.sf(abs(self.effect) / self.se, self.df))

    @property
    def times(self) -> tuple[float, float, float]:
        """For the effect of a logarithm: the ratio and the ends of its interval."""
        return math.exp(self.effect), math.exp(self.low), math.exp(self.high)


def effect_of(differences: Any, shared: float = 0.0, label: str = "") -> Effect:
    """The mean of paired differences [repeats] or [repeats, images] with its 95 % Student t interval.

    SE² = s²·(1/n + ρ/(1 − ρ)) + σ²_images/m. s² is the variance of the n repeats' means. ρ, `shared`, is the mean
    fraction of its labels that a draw has in common with another: repeats correlate by it, and this is the correction
    of Nadeau and Bengio (2003, section 3), whose ρ = n₂/(n₁ + n₂) likewise is the fraction of the pool in one sample
    (simulated at 5 %: 5 to 6.4 % false claims for ρ up to 0.22, 7.4 % at 0.4).
    σ²_images = max(0, s²_images − MS_rest/n) is the component of the m test images in the two-way random effects model
    D[r, i] = μ + repeat r + image i + rest, from the variance of the images' means and the residual mean square. The
    degrees of freedom are Satterthwaite's. The correction takes all of s² for the labels' doing, so that it is too wide
    where other things (initialisation, the pretrained model) vary more; the null hypothesis is then kept in above 95 %.
    Raises CourseError below 2 repeats, and for values that are not finite.
    """
    table = np.asarray(differences, float)
    means = table.mean(1) if table.ndim == 2 else table
    n, effect = len(means), float(means.mean())
    if n < 2 or not np.isfinite(means).all():
        what = "one repeat has none" if n < 2 else "a difference is not finite"
        raise CourseError(
            f"An interval needs at least 2 repeats with finite values, but {what}: take more draws."
        )
    variance = means.var(ddof=1)
    repeats = variance * (1 / n + shared / (1 - shared))
    images, m = 0.0, table.shape[-1]
    if table.ndim == 2 and m > 1:
        of_image = table.mean(0)
        rest = ((table - means[:, None] - of_image + effect) ** 2).sum() / ((n - 1) * (m - 1))
        images = max(0.0, of_image.var(ddof=1) - rest / n) / m
    se = math.sqrt(repeats + images)
    df = (repeats + images) ** 2 / (repeats**2 / (n - 1) + images**2 / (m - 1)) if images else n - 1
    half = float(stats.t.ppf(0.975, df)) * se
    return Effect(
        effect, effect - half, effect + half, n, math.sqrt(variance), label, se, float(df)
    )


def paired(table: Table, a: str, b: str, metric: str, labels: int, over: str = "draws") -> Effect:
    """By how much method `a` lies above `b` in `metric`, in its unit (points for per cent), draw by draw.

    Test images enter the interval where runs gave values by image. `over="seeds"` takes the mean of the draws with one
    pretraining seed as a repeat; over draws, seeds that repeat make the interval conditional, and the label says so.
    """
    pairs = _pairs(table.values(a, metric, labels), table.values(b, metric, labels), a, b)
    images = {
        draw: [table.images.get((method, labels, draw, metric)) for method in (a, b)]
        for draw in pairs
    }
    if all(values is not None for pair in images.values() for values in pair):
        by_image = {draw: left.astype(float) - right for draw, (left, right) in images.items()}
        return _over(table, by_image, [labels], over)
    notes = ["for these test images"] if "test" in metric else []
    return _over(
        table, {draw: left - right for draw, (left, right) in pairs.items()}, [labels], over, notes
    )


def _pairs(
    first: Mapping[int, Any], second: Mapping[int, Any], a: str, b: str
) -> dict[int, tuple[Any, Any]]:
    if odd := sorted(first.keys() ^ second.keys()):
        raise CourseError(
            f"Draw {odd[0]} was run with only one of '{a}' and '{b}': run the study to its end."
        )
    return {draw: (first[draw], second[draw]) for draw in first}


def _over(
    table: Table, of: Mapping[int, Any], counts: Sequence[int], over: str, notes: Sequence[str] = ()
) -> Effect:
    """The effect of differences by draw, over draws or pretraining seeds, corrected or labelled for what they share."""
    if over not in ("draws", "seeds"):
        raise unknown_name_error("value of over", over, ("draws", "seeds"))
    rows = [row for row in table.rows if row["labels"] in counts]
    shared = float(np.mean([row["value"] for row in rows if row["metric"] == SHARED] or 0.0))
    seed_of = {row["draw"]: row["pretrain_seed"] for row in rows}
    seeds, differences = np.array([seed_of[draw] for draw in of]), np.stack(list(of.values()))
    different = len(set(seeds))
    if over == "seeds":
        differences = np.stack(
            [differences[seeds == seed].mean(0) for seed in dict.fromkeys(seeds)]
        )
        each = len(seeds) / different  # means of draws correlate more strongly than draws
        shared = each * shared / (1 + (each - 1) * shared)
    elif different < len(seeds):
        models = (
            "this pretrained model" if different == 1 else f"these {different} pretrained models"
        )
        notes = [*notes, f"conditional on {models}"]
    if shared > 1 - 1e-9:  # nothing is drawn: the variance of the labels cannot be known
        shared, notes = 0.0, [*notes, "conditional on this pool"]
    elif shared:
        notes = [*notes, f"corrected for draws that share {100 * shared:.0f} % of their labels"]
    return effect_of(differences, shared, "; ".join(notes))


def verdict(effect: Effect, delta: float = 1.0, p: float | None = None) -> str:
    """What may be said: "supported", "contradicted", "no gain" (worth `delta`, in the effect's unit) or "undecided".

    In this order: below 5 repeats undecided; interval above 0 supported, even where it is inside ±delta; below 0
    contradicted; inside ±delta no gain; otherwise undecided. An interval that ends on a boundary is not beyond it.
    With `p`, adjusted for other comparisons, the first two also need p < 0.05.
    """
    if effect.n < 5:
        return "undecided"
    beyond = "supported" if effect.low > 0 else "contradicted" if effect.high < 0 else ""
    if beyond and (p is None or p < 0.05):
        return beyond
    return "no gain" if -delta < effect.low and effect.high < delta else "undecided"


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's (1979) adjusted p values: comparing them with 0.05 keeps the chance of any false claim below 5 %."""
    order = np.argsort(p_values, kind="stable")
    steps = np.sort(p_values) * np.arange(len(order), 0, -1)
    return np.minimum(1, np.maximum.accumulate(steps))[np.argsort(order)].tolist()


def verdicts(effects: Sequence[Effect], delta: float = 1.0) -> list[str]:
    """The verdicts of the primary comparisons together, adjusted by Holm."""
    return [
        verdict(e, delta, p) for e, p in zip(effects, holm([e.p for e in effects]), strict=True)
    ]


def mean_interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float, float]:
    """Mean and the ends of its Student t interval over independent repeats; the ends are nan for one repeat."""
    mean = float(np.mean(values))
    half = (
        float(stats.t.ppf((1 + level) / 2, len(values) - 1) * stats.sem(values))
        if len(values) > 1
        else math.nan
    )
    return mean, mean - half, mean + half
