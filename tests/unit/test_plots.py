"""Figures of results: names at lines, counts in tables, frames round pictures."""

from __future__ import annotations

import math
from collections.abc import Iterator

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from vaetl_helpers import plots, study

SMALLEST = 9  # points, of the letters of a figure


@pytest.fixture(autouse=True)
def no_figure_is_left() -> Iterator[None]:
    plt.close("all")
    yield
    plt.close("all")


def names_at_lines(axis: plt.Axes) -> dict[str, plt.Annotation]:
    return {text.get_text(): text for text in axis.texts}


@pytest.mark.parametrize(
    ("heights", "moved"),
    [
        ([], []),
        ([5.0], [5.0]),
        ([0.0, 30.0], [0.0, 30.0]),
        ([0.0, 4.0], [-3.0, 7.0]),
        ([0.0, 0.0, 0.0, 50.0], [-10.0, 0.0, 10.0, 50.0]),
    ],
)
def test_names_are_moved_apart_and_no_further(heights: list[float], moved: list[float]) -> None:
    assert plots.moved_apart(heights, 10) == pytest.approx(moved)


def test_names_keep_their_order_and_their_distance() -> None:
    heights = np.sort(np.random.default_rng(0).uniform(0, 100, 12)).tolist()
    gaps = np.diff(plots.moved_apart(heights, 10))
    assert (gaps > 10 - 1e-9).all()


def test_a_line_has_its_name_at_its_end_and_in_its_colour() -> None:
    curves = {"one": ([1, 2, 3], [3.0, 2.0, 1.0]), "two": ([1, 2], [3.0, np.nan])}
    axis = plots.lines(curves, "Lines", "x", "y", "alt")
    names = names_at_lines(axis)
    assert axis.get_legend() is None and names.keys() == curves.keys()
    assert names["one"].xy == (3, 1.0) and names["two"].xy == (1, 3.0)
    assert [name.get_color() for name in names.values()] == [
        plots.readable(line.get_color()) for line in axis.get_lines()
    ]


def test_names_of_equal_lines_do_not_overlap() -> None:
    curves = {name: ([1, 2], [1.0, 1.0 + shift / 50]) for shift, name in enumerate("abcdef")}
    axis = plots.lines(curves, "Lines", "x", "y", "alt")
    axis.figure.canvas.draw()
    boxes = [text.get_window_extent() for text in axis.texts]
    boxes.sort(key=lambda box: box.y0)
    assert all(low.y1 <= high.y0 + 1 for low, high in zip(boxes, boxes[1:], strict=False))


def test_a_band_keeps_a_legend_and_a_second_call_adds_nothing() -> None:
    axis = plots.panels(["Lines"], "alt")[0]
    axis.plot([1, 2], [1, 2], label="line")
    axis.axhline(1.5, label="chance")
    axis.axvline(1.5, label="upright")
    axis.fill_between([1, 2], 0, 1, label="band")
    for _ in range(2):
        plots.label_lines(axis)
    assert sorted(names_at_lines(axis)) == ["chance", "line"]
    assert [text.get_text() for text in axis.get_legend().get_texts()] == ["upright", "band"]


def test_the_confusion_matrix_counts() -> None:
    truth = torch.tensor([0, 0, 0, 1, 1, 2])
    predicted = torch.tensor([0, 1, 1, 1, 0, 2])
    axis = plots.confusion_matrix(predicted, truth, ["a", "b", "c"], "Counts", "alt")
    counts = {text.get_position(): text.get_text() for text in axis.texts}
    assert counts == {(0, 0): "1", (1, 0): "2", (0, 1): "1", (1, 1): "1", (2, 2): "1"}
    mistakes = axis.images[0].get_array()
    assert mistakes[0, 1] == pytest.approx(2 / 3) and not np.diag(mistakes).any()


def test_a_network_without_mistakes_has_a_matrix_too() -> None:
    labels = torch.arange(3)
    axis = plots.confusion_matrix(labels, labels, ["a", "b", "c"], "Counts", "alt")
    assert [text.get_text() for text in axis.texts] == ["1"] * 3


def test_right_and_wrong_predictions_differ_without_colour() -> None:
    images = torch.zeros(2, 1, 4, 4, dtype=torch.uint8)
    said, truth = torch.tensor([1, 0]), torch.tensor([1, 1])
    figure = plots.predictions(images, said, truth, ["shirt", "coat"], "Said", "alt", columns=2)
    right, wrong = figure.axes
    assert (right.get_title(), wrong.get_title()) == ("coat", "shirt\nis coat")
    assert wrong.patches[0].get_linewidth() > right.patches[0].get_linewidth()


@pytest.mark.parametrize(("count", "rows"), [(6, 2), (5, 2)])
def test_a_sheet_has_every_picture_in_its_place(count: int, rows: int) -> None:
    images = torch.arange(count, dtype=torch.float32).reshape(-1, 1, 1, 1).expand(-1, 1, 4, 4) / 9
    figure = plots.sheet(images, "Sheet", "alt", columns=3)
    shown = np.asarray(figure.axes[0].images[0].get_array()).squeeze()
    assert shown.shape == (6 * rows, 18)
    middles = shown[3::6, 3::6].flatten()
    assert middles[:count] == pytest.approx(np.arange(count) / 9)
    assert not middles[count:].any()


def test_stacked_parts_end_at_their_sum() -> None:
    parts = {"a": ([1, 2], [1.0, 2.0]), "b": ([1, 2], [3.0, 5.0])}
    axis = plots.stacked(parts, "Parts", "x", "y", "alt")
    assert [line.get_ydata()[-1] for line in axis.get_lines()] == [2.0, 7.0]
    assert {text.get_text(): text.xy[1] for text in axis.texts} == {"a": 1.0, "b": 4.5}


def test_a_roofline_bends_where_memory_and_computing_meet() -> None:
    points = {"MLP": [(1.0, 1e9), (50.0, 4e10)]}
    others = {"a GPU": (8e12, 3e11)}
    axis = plots.roofline(points, 1e10, 1e11, title="Roofs", alt="alt", others=others)
    slope, flat, other = axis.get_lines()[:3]
    assert (slope.get_xdata()[-1], slope.get_ydata()[-1]) == (10, 1e11)
    assert set(flat.get_ydata()) == {1e11}
    assert (other.get_xdata()[1], other.get_ydata()[1]) == (pytest.approx(8e12 / 3e11), 8e12)
    assert {"memory moves 10 GB/s", "a GPU"} <= names_at_lines(axis).keys()
    roofs = plots.roofline(points, 1e10, 1e11, title="Roofs", alt="alt", in_cache=5e10)
    cache = roofs.get_lines()[2]
    assert cache.get_xdata()[1] == 2, "the cache's roof meets the peak further left"
    assert "cache moves 50 GB/s" in names_at_lines(roofs)
    legend = axis.get_legend()
    assert legend is not None and [text.get_text() for text in legend.get_texts()] == ["MLP"]


def test_names_of_roofs_that_are_close_do_not_overlap() -> None:
    points = {"MLP": [(1.0, 1e11), (50.0, 4e12)]}
    others = {"T4": (8.1e12, 3.2e11), "H100": (6.7e13, 3.35e12)}
    for peak, below in ((5e12, "computing ends at 5,000 GFLOP/s"), (1.9e13, "T4")):
        axis = plots.roofline(points, 3e11, peak, title="A GPU", alt="alt", others=others)
        named = {one.get_text(): one for one in axis.texts if one.get_text()}
        assert [name for name, one in named.items() if one.xyann[1] == -16] == [below]
        assert not any("cache" in name for name in named)


def test_a_band_reaches_from_a_line_up_to_another() -> None:
    own = {64: {"CPU": ([1, 8], [4e-4, 8e-4])}}
    others = {64: {"T4": ([1, 8], [2e-4, 3e-4])}}
    up_to = {64: {"T4": ([1, 8], [5e-4, 5e-4])}}
    (axis,) = plots.crossover(own, others, up_to=up_to, alt="alt")
    (band,) = axis.collections
    assert band.get_paths()[0].vertices[:, 1].max() == pytest.approx(0.5)
    assert band.get_paths()[0].vertices[:, 1].min() == pytest.approx(0.2)


def test_columns_and_rows_of_a_grid_are_named_once() -> None:
    figure = plots.image_grid(
        torch.zeros(6, 1, 4, 4), ["first", "second"], "Grid", "alt", columns=3, tops=list("abc")
    )
    assert [axis.get_title() for axis in figure.axes] == ["a", "b", "c", "", "", ""]
    rows = [text.get_text() for axis in figure.axes for text in axis.texts]
    assert rows == ["first", "second"]


def test_letters_are_large_enough() -> None:
    images = torch.zeros(4, 1, 4, 4)
    codes, labels = torch.randn(50, 2), torch.arange(50) % 10
    drawn = [
        plots.image_grid(images, list("abcd"), "Grid", "alt", columns=4),
        plots.latent_scatter(codes, labels, "Codes", "alt").figure,
        plots.weight_grid(torch.randn(4, 3, 3), "Weights", "alt", names=list("abcd")),
        plots.confusion_matrix(labels, labels, list("abcdefghij"), "Counts", "alt").figure,
    ]
    for figure in drawn:
        for text in figure.findobj(plt.Text):
            if text.get_text():
                assert text.get_fontsize() >= SMALLEST, text.get_text()


@pytest.mark.parametrize(
    ("low", "high", "side"),
    [
        (0.1, 2.0, "above 0"),
        (-2.0, -0.1, "below 0"),
        (-1.0, 1.0, "holds 0"),
        (0.0, 1.0, "holds 0"),
        (0.1, None, "above 0"),
        (None, -0.1, "below 0"),
        (None, None, "holds 0"),
    ],
)
def test_where_an_interval_lies(low: float | None, high: float | None, side: str) -> None:
    assert study.side_of_zero({"low": low, "high": high}) == side
    live = study.Effect(1.0, 0.5, math.inf, 5)
    assert study.in_this_run(live) == "above 0 in this run"
    undecided = study.Effect(1.0, -0.5, 2.5, 5)
    assert study.in_this_run(undecided) == "on both sides of 0 in this run"


def test_names_on_the_same_place_are_spread_until_both_can_be_read() -> None:
    places = np.array([[0.0, 0.0], [0.0, 0.0], [3.0, 0.0]])
    first, second, far = plots.spread(places, gap=0.4)
    assert np.hypot(*(first - second)) == pytest.approx(0.4)
    assert list(far) == [3.0, 0.0], "what is far from the others stays"


def test_effects_by_labels_has_a_panel_for_each_data_set_and_a_mark_for_each_side() -> None:
    near = {20: {"value": 1.0, "low": 0.5, "high": 1.5}, 50: {"value": 0.0, "low": -1, "high": 1}}
    far = {20: {"value": -9.0, "low": -20.0, "high": -1.0}}
    axes = plots.effects_by_labels(
        {"near": near, "far": far}, "Both", "points", "Two panels.", margin=1, symlog=1.5
    )
    assert [axis.get_title() for axis in axes] == ["near", "far"]
    assert [axis.get_yscale() for axis in axes] == ["linear", "symlog"]
    marks = [line.get_marker() for axis in axes for line in axis.get_lines()]
    assert [mark for mark in marks if mark != "None"] == ["o", "D", "X"]
    assert plots.alt_text(axes[0].figure) == "Two panels."


def test_differences_name_each_row_and_mark_the_side_of_zero() -> None:
    effects = {
        "better": study.Effect(2.0, 1.0, 3.0, 10),
        "open": study.Effect(-0.5, -2.0, 1.0, 10),
        "worse": study.Effect(-4.0, -6.0, -2.0, 10),
    }
    axis = plots.differences(effects, "Three", "points", "Three rows.", group=2)
    assert [label.get_text() for label in axis.get_yticklabels()] == list(effects)
    marks = [line.get_marker() for line in axis.get_lines()]
    assert [mark for mark in marks if mark != "None"] == ["o", "D", "X"]
    assert [text.get_text() for text in axis.texts] == ["+2.0", "−0.5", "−4.0"]
    top, bottom = axis.get_ylim()[::-1]
    assert top < 0 and bottom > 2  # the first row is the highest
    assert plots.alt_text(axis.figure) == "Three rows."


def test_shares_fill_each_bar_and_name_their_sum() -> None:
    rows = {"small": {"a": 1.0, "b": 3.0}, "large": {"a": 1.0, "b": 99.0}}
    axis = plots.shares(rows, "MB", "Shares", "share (per cent)", "alt")
    widths = [bar.get_width() for bar in axis.patches]
    assert widths == pytest.approx([25, 1, 75, 99])
    texts = [text.get_text() for text in axis.texts]
    assert {"a", "b", "4.0 MB", "100.0 MB", "99.0"} <= set(texts)
    # A part that is too narrow for its number goes without.
    assert texts.count("1.0") == 1


def test_a_ladder_of_time_has_one_scale_and_each_time_in_its_place() -> None:
    columns = {"then": {"a step": 0.1, "a run": 60.0}, "here": {"a model": 1e13}}
    axes = plots.time_ladder(columns, "alt")
    assert axes[0].get_ylim() == axes[1].get_ylim()
    for axis, times in zip(axes, columns.values(), strict=True):
        (line,) = axis.get_lines()
        assert sorted(line.get_ydata()) == sorted(times.values())
        assert axis.get_ylim()[0] < min(times.values())
        assert max(times.values()) < axis.get_ylim()[1]


@pytest.mark.parametrize(
    ("losses", "edges"),
    [
        ([2.0, 2.0, 1.0, 0.0, 0.2, 1.0], [1e-5, 1e-3, 1.0, 10.0]),  # it comes back
        ([2.0, 1.0, 0.5, 0.2, 0.1, 0.0], [1e-5, 1e-4, 1.0, 10.0]),  # it stops while it falls
    ],
)
def test_rates_are_shaded_by_what_the_loss_does(losses: list[float], edges: list[float]) -> None:
    rates = [1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0]
    axis = plots.lines({"loss": (rates, losses)}, "Sweep", "rate", "loss", "alt", scale="log x")
    plots.rate_zones(axis, rates, losses, highest=10.0)
    assert [patch.get_x() for patch in axis.patches] == pytest.approx(edges[:-1])
    ends = [patch.get_x() + patch.get_width() for patch in axis.patches]
    assert ends == pytest.approx(edges[1:])
    assert [text.get_text() for text in axis.texts][-3:] == list(plots.ZONES)


def test_a_loss_that_never_falls_has_no_good_rates() -> None:
    axis = plots.lines({"loss": ([1e-3, 1e-2], [2.0, 3.0])}, "S", "rate", "loss", "alt", "log x")
    plots.rate_zones(axis, [1e-3, 1e-2], [2.0, 3.0], highest=1.0)
    names = [text.get_text() for text in axis.texts]
    assert "it learns" not in names
    assert "too small" in names


def test_gains_are_points_with_intervals_around_the_line_of_no_gain() -> None:
    ratios = {"first": (2.0, 1.5, 3.0), "second": (4.0, 3.0, 5.0)}
    titles = {"VAE": "All of the VAE"}
    (axis,) = plots.gains({"VAE": ratios}, "times", "alt", titles)
    assert axis.get_title() == "All of the VAE"
    assert [label.get_text() for label in axis.get_yticklabels()] == ["first", "second"]
    points = [line.get_xdata()[0] for line in axis.get_lines() if line.get_marker() == "o"]
    intervals = [tuple(line.get_xdata()) for line in axis.get_lines() if line.get_ls() == "-"]
    dashed = [line.get_xdata()[0] for line in axis.get_lines() if line.get_ls() == "--"]
    assert points == [2.0, 4.0] and {(1.5, 3.0), (3.0, 5.0)} <= {*intervals} and dashed == [1]


def test_an_arrow_leads_from_before_a_change_to_after_it() -> None:
    rows = {"gains": ((2.0, 1.5, 3.0), (4.0, 3.0, 5.0)), "loses": ((3.0, 2.5, 3.5), (1.0, 0.9, 2))}
    axis = plots.changes(rows, "Both ways", "times", "alt", ("without", "with"))
    arrows = [text for text in axis.texts if text.arrow_patch is not None]
    assert [(arrow.xyann[0], arrow.xy[0]) for arrow in arrows] == [(2.0, 4.0), (3.0, 1.0)]
    colours = {str(arrow.arrow_patch.get_edgecolor()) for arrow in arrows}
    assert len(colours) == 2, "a gain and a loss differ in more than their direction"
    (legend,) = axis.figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["without", "with"]


def test_names_of_groups_stand_amid_their_points() -> None:
    axis = plots.panels(["Groups"], "alt")[0]
    points = np.array([[0.0, 0.0], [0.0, 2.0], [9.0, 9.0]])
    axis.scatter(*points.T)
    plots.name_groups(axis, points, torch.tensor([0, 0, 1]), ["left", "right"])
    places = {text.get_text(): tuple(text.xy) for text in axis.texts}
    assert places == {"left": (0.0, 1.0), "right": (9.0, 9.0)}
