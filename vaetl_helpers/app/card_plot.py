"""The picture of a verdict card: effects with intervals on one axis, as HTML that fits any screen.

Made of boxes and text, so that letters keep their size on a phone and take the colours of the
page, of JupyterLab or of Colab, whichever shows them.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.ticker import Locator, LogLocator, MaxNLocator

from vaetl_helpers.app.ledger_text import place_text
from vaetl_helpers.claims import CONTRACT, RATIOS, Row
from vaetl_helpers.output import UNKNOWN, is_unknown, number_texts

SIDES = ("against the claim", "no gain worth having", "for the claim")
# Of an axis without numbers: what one could have expected.
EMPTY = {"points": 4.0, "nats": 0.2, "times": 8.0, "tasks": 8.0}
FEWEST_TICKS = 3
EXACT = 1e-9  # of a power of ten
MOST_TICKS = 8  # more labels would touch each other on a phone
FAR = 10  # margins: an interval that reaches further would press the others into a line
MARKS = {"supported": "●", "contradicted": "✖", "no gain": "■", "undecided": "◆"}
MARK_OF_RUN = "✚"


class Scale(NamedTuple):
    """An axis from `low` to `high` in `unit`; a ratio's is logarithmic.

    That of a difference is logarithmic beyond ±`linear`, where that is given.
    """

    unit: str
    low: float
    high: float
    linear: float = 0.0

    @property
    def is_ratio(self) -> bool:
        return self.unit in RATIOS

    @property
    def margin(self) -> tuple[float, float]:
        """The effects that are worth nothing, from the lowest to the highest."""
        width = float(CONTRACT["margins"].get(self.unit, 0))
        return (1 / width, width) if self.is_ratio else (-width, width)

    def place(self, number: float) -> float:
        """Where a number stands, in per cent of the axis from its left."""
        number = min(max(number, self.low), self.high)
        low, high, number = (self._shown(end) for end in (self.low, self.high, number))
        return 100 * (number - low) / (high - low)

    def _shown(self, number: float) -> float:
        """The number on the scale that is drawn."""
        if self.is_ratio:
            return math.log(number)
        if self.linear and abs(number) > self.linear:
            return math.copysign(1 + math.log10(abs(number) / self.linear), number)
        return number / self.linear if self.linear else number

    def ticks(self) -> list[float]:
        """Round numbers on the axis, the null among them."""
        if self.linear:
            steps = [self.linear * 10**k for k in range(5)]
            all_of_them = [-step for step in reversed(steps)] + [0.0, *steps]
            return [tick for tick in all_of_them if self.low <= tick <= self.high]
        if not self.is_ratio:
            return self._inside(MaxNLocator(6, steps=[1, 2, 5, 10]))
        inside = self._inside(LogLocator(subs=(1, 2, 5)))
        if len(inside) < FEWEST_TICKS:  # an axis from 0.9 to 1.4
            inside = self._inside(MaxNLocator(5, steps=[1, 2, 5, 10]))
        if len(inside) > MOST_TICKS:  # powers of ten alone
            inside = [tick for tick in inside if math.log10(tick) % 1 < EXACT]
        return inside

    def _inside(self, locator: Locator) -> list[float]:
        ticks = locator.tick_values(self.low, self.high)
        return [float(tick) for tick in ticks if self.low <= tick <= self.high]


def scale_of(unit: str, rows: Sequence[Row] = ()) -> Scale:
    """An axis that holds the rows' numbers, no difference, and the margin with room around it."""
    numbers = []
    for row in rows:
        if not is_unknown(row):
            numbers += [n for n in (row.effect, row.low, row.high) if n is not None]
    is_ratio = unit in RATIOS
    margin = float(CONTRACT["margins"].get(unit, 1))
    if not numbers:
        numbers = [EMPTY.get(unit, 1.0)]
    numbers += [margin**4 if is_ratio else 2 * margin]
    numbers += [1 / margin**4 if is_ratio else -2 * margin]
    if not rows:  # nobody knows yet which side it will be
        numbers += [1 / numbers[0] if is_ratio else -numbers[0]]
    if not is_ratio and rows and max(map(abs, numbers)) > FAR * margin:
        # The numbers themselves have room enough, a tenth more than the furthest.
        return Scale(unit, 1.1 * min(numbers), 1.1 * max(numbers), linear=2 * margin)
    values = np.log(numbers) if is_ratio else np.array(numbers)
    room = 0.06 * (values.max() - values.min())
    low, high = float(values.min() - room), float(values.max() + room)
    return Scale(unit, math.exp(low), math.exp(high)) if is_ratio else Scale(unit, low, high)


def plot_html(
    unit: str,
    rows: Sequence[Row],
    sides: Sequence[str] | None,
    alt: str,
    axis: str = "",
) -> str:
    """The axis with its three sides, and a line for each row: name, interval and mark.

    `axis` says what its numbers are, as "steps of scratch ÷ steps of the VAE".
    """
    scale = scale_of(unit, rows)
    # Rows of one data set are told apart by what they compare.
    are_of_one = len(rows) > 1 and len({row.data for row in rows}) == 1
    lines = ""
    for row in rows:
        lines += _line(scale, row, row.question if are_of_one else place_text(row))
    if not rows:
        lines = f'<div class="vc-row"><div class="vc-track vc-empty">{_ground(scale)}</div></div>'
    names = sides or SIDES
    label = html.escape(alt, quote=True)
    return (
        f'<div class="vc-plot" role="img" aria-label="{label}">'
        f"{_sides(names)}{lines}{_axis(scale)}{_key(scale, names, axis)}</div>"
    )


def _sides(names: Sequence[str]) -> str:
    """What it means to lie left of the margin, or right of it."""
    left, _, right = (html.escape(name) for name in names)
    return f'<div class="vc-sides"><span>← {left}</span><span>{right} →</span></div>'


def _key(scale: Scale, names: Sequence[str], axis: str) -> str:
    """What the numbers are, in which unit, and what it means to lie in the margin."""
    margin = CONTRACT["margins"].get(scale.unit, 0)
    width = f"a factor of {margin:g}" if scale.is_ratio else f"±{margin:g} {scale.unit}"
    unit = "ratio, logarithmic axis" if scale.is_ratio else f"in {scale.unit}"
    if scale.linear:
        unit += f", logarithmic beyond ±{scale.linear:g}"
    if axis:
        unit = f"{html.escape(axis)}, {unit.removeprefix('ratio, ')}"
    band = '<span class="vc-swatch"></span>'
    middle = html.escape(names[1])
    return (
        f'<div class="vc-key"><span>{band}{middle}, within {width}</span><span>{unit}</span></div>'
    )


def _ground(scale: Scale) -> str:
    """The margin as a band, and the line of no difference."""
    low, high = (scale.place(end) for end in scale.margin)
    null = scale.place(1 if scale.is_ratio else 0)
    return (
        f'<span class="vc-margin" style="left:{low:.1f}%;width:{high - low:.1f}%"></span>'
        f'<span class="vc-null" style="left:{null:.1f}%"></span>'
    )


def _line(scale: Scale, row: Row, name: str) -> str:
    """A row: its name, and below it the interval with the mark of its verdict."""
    kind = "" if row.primary else " · " + ("in this run" if row.source == "live" else "exploratory")
    return (
        f'<div class="vc-row"><div class="vc-name">{html.escape(name)}<i>{kind}</i></div>'
        f'<div class="vc-track">{_ground(scale)}{_interval(scale, row)}</div></div>'
    )


def _interval(scale: Scale, row: Row) -> str:
    if row.effect is None:
        return '<span class="vc-none">no number</span>'
    if is_unknown(row):
        return f'<span class="vc-none">{UNKNOWN}: open at both ends</span>'
    low = scale.place(scale.low if row.low is None else row.low)
    high = scale.place(scale.high if row.high is None else row.high)
    bar = ""
    if (row.low, row.high) != (None, None):
        ends = f"left:{low:.1f}%;width:{high - low:.1f}%"
        opened = " vc-open-left" * (row.low is None) + " vc-open-right" * (row.high is None)
        bar = f'<span class="vc-bar{opened}" style="{ends}"></span>'
    mark = MARKS.get(row.verdict, MARK_OF_RUN)
    place = f"left:{scale.place(row.effect):.1f}%"
    verdict = html.escape(row.verdict, quote=True)
    return f'{bar}<span class="vc-mark" data-kind="{verdict}" style="{place}">{mark}</span>'


def _axis(scale: Scale) -> str:
    """The ticks with their numbers."""
    ticks = scale.ticks()
    texts = [f"{tick:,g}" for tick in ticks] if scale.is_ratio else number_texts(*ticks)
    labels = ""
    for tick, text in zip(ticks, texts, strict=True):
        labels += f'<span style="left:{scale.place(tick):.1f}%">{text}</span>'
    return f'<div class="vc-axis">{labels}</div>'


def alt_text(rows: Sequence[Row]) -> str:
    """The picture in words, for those who do not see it."""
    if not rows:
        return "An axis with the margin in its middle and no effect on it yet."
    count = "one effect" if len(rows) == 1 else f"{len(rows)} effects"
    parts = []
    for row in rows:
        value, low, high = number_texts(row.effect, row.low, row.high)
        number = "no number" if row.effect is None else f"{value} [{low}, {high}] {row.unit}"
        if is_unknown(row):
            number = UNKNOWN
        parts.append(f"{place_text(row)}: {number}, {row.verdict}")
    return f"An axis with {count} and 95 % intervals. " + "; ".join(parts) + "."
