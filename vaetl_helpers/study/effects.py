"""Effects with intervals, and what they decide."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from vaetl_helpers.errors import CourseError, unknown_name_error
from vaetl_helpers.output import RATIOS, TEST_IMAGES, VALIDATION_IMAGES, conditions, record
from vaetl_helpers.study.arguments import finite_numbers
from vaetl_helpers.study.table import SHARED, Table


@dataclass(frozen=True)
class Effect:
    """A mean difference with its 95 % interval over `n` repeats, and what the interval holds for.

    `se` is the standard error of the mean, `df` its degrees of freedom. An end that is infinite
    says that the effect is only bounded: `censored` pairs of costs had a bound in place of a cost.
    `conditional` names what all repeats had in common, `overlap` is the fraction of labels that
    draws share, for which the interval is corrected.
    """

    effect: float
    low: float
    high: float
    n: int
    se: float = math.nan
    df: float = math.nan
    conditional: tuple[str, ...] = ()
    overlap: float = 0.0
    censored: int = 0

    @property
    def p(self) -> float:
        """Two-sided p value of "no effect".

        1 where the effect lies on the side that is not bounded, and where no repeat differed.
        """
        outer_end = self.high if self.effect < 0 else self.low
        if math.isinf(outer_end) or not self.varies:
            return 1.0
        t = abs(self.effect) / self.se
        return float(2 * stats.t.sf(t, self.df))

    @property
    def varies(self) -> bool:
        """Whether the repeats differed, without which there is no interval but a point."""
        return self.se > 0  # nan is not

    def p_of_margin(self, delta: float) -> float:
        """The p value of "at least `delta` in either direction", which "no gain" has to reject.

        One-sided at 2.5 %, doubled, so that it is below 0.05 where the 95 % interval lies inside
        ±delta.
        """
        if math.isinf(self.low) or math.isinf(self.high) or not self.varies:
            return 1.0
        t = (delta - abs(self.effect)) / self.se
        return float(min(1.0, 2 * stats.t.sf(t, self.df)))

    def power(self, gain: float, level: float = 0.05) -> float:
        """The share of such studies that would find a true effect of `gain`, from 0 to 1.

        They have this study's standard error and degrees of freedom, and find an effect whose
        interval of 1 − `level` leaves out 0. By the noncentral t distribution; Cohen 1988,
        chapter 2. nan where nothing varied.
        """
        if not self.varies:
            return math.nan
        least = stats.t.isf(level / 2, self.df)
        shift = abs(gain) / self.se
        found = stats.nct.sf(least, self.df, shift) + stats.nct.cdf(-least, self.df, shift)
        return float(found)

    @property
    def times(self) -> tuple[float, float, float]:
        """For the effect of a logarithm: the ratio and the ends of its interval."""
        return _exp(self.effect), _exp(self.low), _exp(self.high)

    @property
    def bound(self) -> str:
        """What the effect is where runs were censored: "at least", "at most" or "unknown"."""
        if math.isfinite(self.high):
            return "at most"
        if math.isfinite(self.low):
            return "at least"
        return "unknown"

    @property
    def label(self) -> str:
        """What to know about the interval, in words; empty where nothing is shared or censored."""
        notes = []
        if self.censored:
            notes.append(f"{self.bound}: {self.censored} of {self.n} pairs are censored")
        if self.conditional:
            notes.append(conditions(self.conditional))
        if self.overlap:
            share = f"{100 * self.overlap:.0f} %"
            notes.append(f"corrected for draws that share {share} of their labels")
        return "; ".join(notes)

    def to_record(
        self,
        name: str,
        unit: str,
        *,
        id: str,
        data: str | None = None,
        conditional: Sequence[str] | None = None,
    ) -> dict[str, Any]:
        """The effect as a record for `vaetl run` and the ledger, in `unit`.

        For "times" and "tasks" the effect is a logarithm, and the record has the ratio; its `se`
        stays that of the logarithm. An end that is open is None. `conditional` may say more exactly
        than the effect what its interval holds for.
        """
        if conditional is None:
            conditional = self.conditional
        ends = _to_unit(Interval(self.low, self.effect, self.high), unit)
        return record(
            name,
            ends.middle,
            unit,
            id=id,
            low=finite_or_none(ends.low, unit),
            high=finite_or_none(ends.high, unit),
            n=self.n,
            se=self.se,
            df=self.df,
            conditional=conditional,
            data=data,
        )

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Effect | None:
        """The effect of a record, above 0 where it speaks for the claim; None without an interval.

        An end that the record leaves out is open. An interval that its value is not in, and one
        over fewer than two repeats, is none.
        """
        unit = record.get("unit") or ""
        repeats = record.get("n") or 0
        value = finite_or_none(record.get("value"), unit)
        low = finite_or_none(record.get("low"), unit)
        high = finite_or_none(record.get("high"), unit)
        if value is None or repeats < 2:
            return None
        if low is None and high is None:
            return None
        if low is None:
            low = 0.0 if unit in RATIOS else -math.inf
        if high is None:
            high = math.inf
        ends = _from_unit(Interval(low, value, high), unit)
        if not ends.low <= ends.middle <= ends.high:
            return None
        return cls(
            effect=ends.middle,
            low=ends.low,
            high=ends.high,
            n=repeats,
            se=_number_or_nan(record.get("se")),
            df=_number_or_nan(record.get("df")),
            conditional=tuple(record.get("conditional") or ()),
        )


def finite_or_none(value: object, unit: str = "") -> float | None:
    """A number of a record; None where it is missing, not finite, or a ratio not above 0."""
    if not isinstance(value, int | float):
        return None
    if not math.isfinite(value):
        return None
    if unit in RATIOS and value <= 0:
        return None
    return float(value)


def _number_or_nan(value: object) -> float:
    number = finite_or_none(value)
    return math.nan if number is None else number


class Interval(NamedTuple):
    """A number and the ends around it."""

    low: float
    middle: float
    high: float


def _to_unit(effect: Interval, unit: str) -> Interval:
    """An effect's interval as a record has it: ratios in place of logarithms."""
    if unit not in RATIOS:
        return effect
    if RATIOS[unit] < 0:
        effect = _negative(effect)
    return Interval(*map(_exp, effect))


def _from_unit(values: Interval, unit: str) -> Interval:
    """The interval of an effect from a record's: logarithms of ratios."""
    if unit not in RATIOS:
        return values
    logarithms = Interval(*map(_log, values))
    return _negative(logarithms) if RATIOS[unit] < 0 else logarithms


def _negative(interval: Interval) -> Interval:
    return Interval(-interval.high, -interval.middle, -interval.low)


def _exp(logarithm: float) -> float:
    """The ratio of a logarithm; infinite where no float is large enough."""
    try:
        return math.exp(logarithm)
    except OverflowError:
        return math.inf


def _log(ratio: float) -> float:
    return math.log(ratio) if ratio > 0 else -math.inf


def effect_of(differences: ArrayLike, overlap: float = 0.0) -> Effect:
    """The mean of paired differences [repeats] or [repeats, images] with its 95 % t interval.

    SE² = s²·(1/n + ρ/(1 − ρ)) + σ²_images/m. s² is the variance of the n repeats' means. ρ,
    `overlap`, is the mean fraction of its labels that a draw has in common with another: repeats
    correlate by it, and this is the correction of Nadeau and Bengio (2003, section 3), whose
    ρ = n₂/(n₁ + n₂) likewise is the fraction of the pool in one sample
    (simulated at 5 %: 5 to 6.4 % false claims for ρ up to 0.22, 7.4 % at 0.4).
    σ²_images = max(0, s²_images − MS_rest/n) is the component of the m test images in the two-way
    random effects model D[r, i] = μ + repeat r + image i + rest, from the variance of the images'
    means and the residual mean square. The degrees of freedom are Satterthwaite's. The correction
    takes all of s² for the labels' doing, so that it is too wide where other things
    (initialisation, the pretrained model) vary more; the null hypothesis is then kept too often.
    Where hardly an image is told apart by the two methods, as near 100 %, the standard error is at
    least that of two images more that are, one for each. Raises CourseError below 2 repeats, and
    for values that are not finite.
    """
    values = _differences(differences)
    means = values.mean(1) if values.ndim == 2 else values
    n = len(means)
    if n < 2:
        raise _no_interval_error("one repeat has none")
    if not np.isfinite(means).all():
        raise _no_interval_error("a difference is not finite")
    effect = float(means.mean())
    if not 0 <= overlap < 1:
        raise CourseError(
            f"overlap is the fraction of its labels that a draw shares, 0 or more and below 1, not "
            f"{overlap}: where all labels are shared nothing is drawn, and no interval is for them."
        )
    correlation = overlap / (1 - overlap)
    repeats = float(means.var(ddof=1)) * (1 / n + correlation)
    images = _image_component(values, means)
    se = math.sqrt(repeats + images)
    df = float(n - 1)
    if images:
        of_repeats = repeats**2 / (n - 1)
        of_images = images**2 / (values.shape[1] - 1)
        df = (repeats + images) ** 2 / (of_repeats + of_images)
    se = max(se, _least_error(values))
    half = float(stats.t.ppf(0.975, df)) * se
    low, high = effect - half, effect + half
    return Effect(effect, low, high, n, se, df, overlap=overlap)


def _differences(differences: ArrayLike) -> NDArray[np.float64]:
    """An array [repeats] or [repeats, images] of a list, an array, a column or a generator."""
    if isinstance(differences, Iterator):
        differences = list(differences)
    try:
        values = np.asarray(differences, float)
    except (TypeError, ValueError):
        values = np.empty(0)
    if values.ndim not in (1, 2) or values.size == 0:
        raise CourseError(
            "Differences must be numbers [repeats] or [repeats, images], not "
            f"{str(differences)[:60]}: pass one difference a repeat."
        )
    return values


def _no_interval_error(reason: str) -> CourseError:
    return CourseError(
        f"An interval needs at least 2 repeats with finite values, but {reason}: take more draws."
    )


def _image_component(values: NDArray[Any], means: NDArray[Any]) -> float:
    """σ²_images/m of values [repeats, images]; 0 for values [repeats] and for a single image.

    `means` are those of the repeats [repeats].
    """
    if values.ndim < 2 or values.shape[1] < 2:
        return 0.0
    n, m = values.shape
    by_repeat = means[:, None]
    by_image = values.mean(0)
    mean = float(means.mean())
    residuals = values - by_repeat - by_image + mean
    freedom = (n - 1) * (m - 1)
    mean_square = (residuals**2).sum() / freedom
    component = by_image.var(ddof=1) - mean_square / n
    return float(max(0.0, component) / m)


def _least_error(values: NDArray[Any]) -> float:
    """The standard error that two further test images would leave, one right for each method.

    It is for accuracies, where an image is told apart by the two methods or is not. It is 0 for
    other values, and where no image is told apart at all: nothing is then known of the spread.
    """
    if values.ndim < 2:
        return 0.0
    sizes = np.abs(values)
    most = float(sizes.max())
    if ((sizes != 0) & (sizes != most)).any():
        return 0.0
    images = int(values.shape[1])
    return math.sqrt(2) * most / (images + 2)


def paired(table: Table, a: str, b: str, metric: str, labels: int, over: str = "draws") -> Effect:
    """By how much method `a` lies above `b` in `metric`, in its unit, draw by draw.

    Test images enter the interval where runs gave values by image. `over="seeds"` takes the mean of
    the draws with one pretraining seed as a repeat; over draws, seeds that repeat make the interval
    conditional, and the effect says so.
    """
    left = table.values(a, metric, labels)
    right = table.values(b, metric, labels)
    check_same_draws(left, right, a, b)
    by_image = {}
    for draw in left:
        left_images = table.images.get((a, labels, draw, metric))
        right_images = table.images.get((b, labels, draw, metric))
        if left_images is not None and right_images is not None:
            by_image[draw] = left_images.astype(float) - right_images
    if len(by_image) == len(left):
        return effect_over(table, by_image, [labels], over)
    by_draw = {draw: left[draw] - right[draw] for draw in left}
    return effect_over(table, by_draw, [labels], over, images_of(metric))


def images_of(metric: str) -> list[str]:
    """What the mean of a metric in each draw is conditional on: its images, which draws share."""
    shared = {"test": TEST_IMAGES, "validation": VALIDATION_IMAGES}
    return [images for word, images in shared.items() if word in metric]


ByDraw = Mapping[int, Any]


def check_same_draws(left: ByDraw, right: ByDraw, a: str, b: str) -> None:
    """Raises CourseError where a draw was run with only one of the methods `a` and `b`."""
    unpaired = sorted(left.keys() ^ right.keys())
    if unpaired:
        raise CourseError(
            f"Draw {unpaired[0]} was run with only one of '{a}' and '{b}': "
            "run the study to its end."
        )


def effect_over(
    table: Table,
    differences: ByDraw,
    counts: Sequence[int],
    over: str = "draws",
    conditional: Sequence[str] = (),
) -> Effect:
    """The effect of differences by draw, over draws or over pretraining seeds.

    It is corrected for the labels that draws share at these `counts` of labels, or says what it is
    conditional on, besides `conditional`.
    """
    if over not in ("draws", "seeds"):
        raise unknown_name_error("value of over", over, ("draws", "seeds"))
    seed_of_draw = table.pretrain_seeds(counts)
    seeds = np.array([seed_of_draw[draw] for draw in differences])
    values = np.stack(list(differences.values()))
    overlap = _mean_overlap(table, counts)
    if over == "seeds":
        overlap = _overlap_of_means(overlap, draws_per_seed=len(values) / len(set(seeds)))
        values = _by_seed(values, seeds)
    caveats = [*conditional]
    if over == "draws":
        caveats += _shared_models(seeds)
    if overlap > 1 - 1e-9:  # nothing is drawn: the variance of the labels cannot be known
        overlap = 0.0
        caveats.append("this pool")
    return replace(effect_of(values, overlap), conditional=tuple(caveats))


def _mean_overlap(table: Table, counts: Sequence[int]) -> float:
    """The mean fraction of its labels that a draw shares with another, over all runs."""
    overlaps = table.frame["value"].to_numpy()[table.rows_at(counts, SHARED)]
    return float(np.mean(overlaps)) if len(overlaps) else 0.0


def _overlap_of_means(overlap: float, draws_per_seed: float) -> float:
    """Means of draws correlate more strongly than the draws do."""
    return draws_per_seed * overlap / (1 + (draws_per_seed - 1) * overlap)


def _by_seed(values: NDArray[Any], seeds: NDArray[Any]) -> NDArray[Any]:
    """The mean over the draws of each pretraining seed, in the order of the seeds."""
    different = dict.fromkeys(seeds)
    return np.stack([values[seeds == seed].mean(0) for seed in different])


def _shared_models(seeds: NDArray[Any]) -> list[str]:
    """What the interval is conditional on where draws share pretrained models."""
    models = len(set(seeds))
    if models == len(seeds):
        return []
    return ["this pretrained model" if models == 1 else f"these {models} pretrained models"]


def verdict(
    effect: Effect, delta: float = 1.0, p: float | None = None, p_of_margin: float | None = None
) -> str:
    """What may be said: "supported", "contradicted", "no gain" (worth `delta`) or "undecided".

    In this order: below 5 repeats, and where no repeat differed from another, undecided; interval
    inside ±delta no gain, even where it excludes 0; above 0 supported; below 0 contradicted;
    otherwise undecided. An interval that ends on a boundary is not beyond it. `delta` is in the
    effect's unit. `p` and `p_of_margin` are adjusted for other comparisons: with the first,
    "supported" and "contradicted" also need p < 0.05, with the second "no gain" does.
    """
    if effect.n < 5 or effect.se == 0:
        return "undecided"
    if -delta < effect.low and effect.high < delta:
        is_sure = p_of_margin is None or p_of_margin < 0.05
        return "no gain" if is_sure else "undecided"
    is_significant = p is None or p < 0.05
    if effect.low > 0 and is_significant:
        return "supported"
    if effect.high < 0 and is_significant:
        return "contradicted"
    return "undecided"


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's (1979) adjusted p values.

    Comparing them with 0.05 keeps the chance of any false claim below 5 %.
    """
    values = np.asarray(p_values, dtype=float)  # nan, where p is unknown, stays nan
    order = np.argsort(values, kind="stable")
    steps = np.sort(values) * np.arange(len(order), 0, -1)
    adjusted = np.minimum(1, np.maximum.accumulate(steps))
    in_order: list[float] = adjusted[np.argsort(order)].tolist()
    return in_order


def verdicts(effects: Sequence[Effect], delta: float | Sequence[float] = 1.0) -> list[str]:
    """The verdicts of primary comparisons that are concluded from together, adjusted by Holm.

    Effects and "no gain" are adjusted each among their own kind, so that the chance of any false
    effect is at most 5 %, and that of any false "no gain" as well. `delta` is one margin, or one
    for each effect.
    """
    deltas = np.broadcast_to(np.asarray(delta, float), len(effects)).tolist()
    p_values = holm([effect.p for effect in effects])
    pairs = zip(effects, deltas, strict=True)
    p_of_margins = holm([effect.p_of_margin(margin) for effect, margin in pairs])
    rows = zip(effects, deltas, p_values, p_of_margins, strict=True)
    return [verdict(*row) for row in rows]


def side_of_zero(record: Mapping[str, Any]) -> str:
    """Where the interval of a record lies: "above 0", "below 0" or "holds 0".

    An end that is open, None, holds everything.
    """
    low, high = record["low"], record["high"]
    if low is not None and low > 0:
        return "above 0"
    return "below 0" if high is not None and high < 0 else "holds 0"


def in_this_run(effect: Effect) -> str:
    """Where a live row's interval is, as "above 0 in this run": verdicts are of recorded rows."""
    side = side_of_zero({"low": effect.low, "high": effect.high})
    return f"{side.replace('holds 0', 'on both sides of 0')} in this run"


def mean_interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float, float]:
    """Mean and ends of its Student t interval over independent repeats; nan ends for one repeat."""
    numbers = finite_numbers(values, "values")
    mean = float(np.mean(numbers))
    half = math.nan
    if len(numbers) > 1:
        quantile = stats.t.ppf((1 + level) / 2, len(numbers) - 1)
        half = float(quantile * stats.sem(numbers))
    return mean, mean - half, mean + half
