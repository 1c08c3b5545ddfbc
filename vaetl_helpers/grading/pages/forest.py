"""The forest plot of a class: a line for each student, their mean, and where others would lie."""

from __future__ import annotations

import base64
import io
import math
import warnings
from typing import Any

import matplotlib
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import LogLocator
from scipy import stats

from vaetl_helpers.claims import RATIOS
from vaetl_helpers.grading.class_claims import Ends, JoinedRow, StudentEffect, in_unit
from vaetl_helpers.plots import COLOURS, STYLE

MOST_SHOWN = 60  # students of a figure
GREY = "#8a8a8a"


def forest_picture(row: JoinedRow) -> Markup:
    """The plot of a question as the address of a picture."""
    content = io.BytesIO()
    style: Any = STYLE | {"font.size": 9}
    shown = sorted(zip(row.students, row.result.weights, strict=True), key=_by_weight)[:MOST_SHOWN]
    shown.sort(key=lambda pair: pair[0].effect)
    with matplotlib.rc_context(style), warnings.catch_warnings(action="ignore"):
        layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12)
        size = (7, 1.5 + 0.26 * (len(shown) + 2))
        figure = Figure(figsize=size, facecolor="white", layout=layout)
        axis = figure.add_subplot()
        _frame(axis, row)
        for y, (student, weight) in enumerate(shown):
            _student(axis, y, student, weight * row.result.k, row.unit)
        _summary(axis, len(shown), row)
        if row.unit in RATIOS:
            _ratio_marks(axis)
        labels = [student.student for student, _ in shown]
        axis.set_yticks(range(len(shown) + 2), [*labels, "mean of all", "another student"])
        for label in axis.get_yticklabels():
            label.set_parse_math(False)  # a name is no formula
        axis.set_ylim(len(shown) + 1.7, -0.7)
        axis.grid(axis="y", visible=False)
        figure.savefig(content, format="png", dpi=130, metadata={"Software": None})
    return Markup("data:image/png;base64,{}").format(base64.b64encode(content.getvalue()).decode())


def forest_alt(row: JoinedRow) -> str:
    """The plot in words."""
    text = (
        f"Forest plot: {row.result.k} students' effects with 95 % intervals; "
        f"their mean is {row.mean_text}"
    )
    if row.prediction is not None:
        text += f", and another student's true effect is expected from {row.prediction_text}"
    return f"{text}."


def _by_weight(pair: tuple[StudentEffect, float]) -> float:
    return -pair[1]


def _frame(axis: Axes, row: JoinedRow) -> None:
    """The line of no effect, the margin around it, and the words below."""
    null = in_unit(Ends(0, -row.margin, row.margin), row.unit)
    axis.set_xscale("log" if row.unit in RATIOS else "linear")
    axis.axvline(null.effect, color="black", linestyle="--", linewidth=1)
    axis.axvspan(null.low, null.high, color=GREY, alpha=0.2, linewidth=0)
    axis.set_xlabel(f"{row.unit} (grey: too little to be worth having)")


def _ratio_marks(axis: Axes) -> None:
    """Numbers below a logarithmic axis: few where it spans much, so that none covers another."""
    low, high = axis.get_xlim()
    decades = math.log10(high / low)
    marks: tuple[float, ...] = (1,)  # in each decade
    if decades < 5:
        marks = (1, 3)
    if decades < 1.5:
        marks = (1, 1.5, 2, 3, 5, 7)
    axis.xaxis.set_major_locator(LogLocator(subs=marks))
    axis.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.xaxis.set_minor_formatter(lambda value, _: "")


def _student(axis: Axes, y: int, student: StudentEffect, weight: float, unit: str) -> None:
    """An effect whose square is as large as its weight; 1 is the mean weight."""
    half = float(stats.t.ppf(0.975, student.n - 1)) * student.se
    ends = in_unit(Ends(student.effect, student.effect - half, student.effect + half), unit)
    axis.plot([ends.low, ends.high], [y, y], "-", color=COLOURS[0], linewidth=1)
    axis.scatter([ends.effect], [y], s=22 * max(weight, 0.1), marker="s", color=COLOURS[0])


def _summary(axis: Axes, y: int, row: JoinedRow) -> None:
    """The mean as a diamond as wide as its interval, and the prediction as a bar below it."""
    mean = row.mean
    middle = math.sqrt(mean.low * mean.high) if row.unit in RATIOS else (mean.low + mean.high) / 2
    xs = [mean.low, middle, mean.high, middle]
    axis.fill(xs, [y, y - 0.3, y, y + 0.3], color=COLOURS[1])
    if row.prediction is not None:
        ends = [row.prediction.low, row.prediction.high]
        axis.plot(ends, [y + 1, y + 1], "-", color=COLOURS[1], linewidth=4, alpha=0.5)
