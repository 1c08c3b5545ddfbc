"""The two lanes: exact times, worked out by hand and by another rule."""

from __future__ import annotations

import itertools

import matplotlib.pyplot as plt
import pytest

from vaetl_helpers.errors import CourseError
from vaetl_helpers.living import timeline as t

GRID = list(itertools.product((1, 2, 7, 24), (1, 10, 50), (1, 10, 200)))


def test_three_clocks_by_hand() -> None:
    """Two operations, 10 µs to hand over and 50 to compute, behind one that takes 50."""
    never, late, both = (t.timeline(2, 10, 50, clock, earlier=1) for clock in t.CLOCKS)
    assert never.kernels == [(50, 100), (100, 150)] and never.queued == 20 and never.reading == 20
    assert late.done == 150 and late.reading == 150  # the earlier operation is paid, too
    assert both.started == 50 and both.launches == [(50, 60), (60, 70)]
    assert both.kernels == [(60, 110), (110, 160)] and both.reading == 110


@pytest.mark.parametrize(("count", "launch", "kernel"), GRID)
def test_only_the_clock_that_waits_twice_is_right(count: int, launch: float, kernel: float) -> None:
    true = t.true_time(count, launch, kernel)
    never, late, both = (t.timeline(count, launch, kernel, clock) for clock in t.CLOCKS)
    assert both.reading == true
    assert never.reading == count * launch < true
    assert late.reading >= true - launch


@pytest.mark.parametrize(("count", "launch", "kernel"), GRID)
def test_the_device_does_one_thing_at_a_time_and_nothing_before_it_is_told(
    count: int, launch: float, kernel: float
) -> None:
    for clock in t.CLOCKS:
        run = t.timeline(count, launch, kernel, clock)
        lane = [*run.earlier, *run.kernels]
        assert all(one.end <= two.start for one, two in itertools.pairwise(lane))
        assert all(
            k.start >= handed.end for handed, k in zip(run.launches, run.kernels, strict=True)
        )
        assert all(span.end - span.start == kernel for span in lane)


def test_what_cannot_be_timed_is_a_sentence() -> None:
    with pytest.raises(CourseError, match="at least one operation"):
        t.timeline(0, 10, 50)
    with pytest.raises(CourseError, match="above 0 microseconds"):
        t.timeline(3, 10, 0)
    with pytest.raises(CourseError, match="clock"):
        t.timeline(3, 10, 50, "sometimes")


def test_chapter_2_says_what_the_first_choice_gives() -> None:
    data = t.timeline_data()
    times = data["count"], data["launch"], data["kernel"]
    readings = [t.timeline(*times, clock).reading for clock in t.CLOCKS]
    assert readings == [80, 550, 410] and t.true_time(*times) == 410
    assert data["launch"] in data["launches"]
    assert data["count"] in data["counts"] and data["kernel"] in data["kernels"]


def test_what_was_measured_stands_beside_the_model() -> None:
    data = t.timeline_data({"waiting": 0.0021, "without waiting": 0.00042}, "cuda")
    assert data["measured"] == [["waiting", "2.1 ms"], ["without waiting", "0.42 ms"]]
    assert "measured" not in t.timeline_data()


def test_the_static_figure_has_a_panel_for_each_clock() -> None:
    plt.close("all")
    t.device_timeline("Two lanes, three clocks.")
    drawn = plt.gcf()
    titles = [axis.get_title() for axis in drawn.axes]
    assert titles[0] == "the clock never waits: 80 µs (true: 410 µs)" and len(titles) == 3
    plt.close(drawn)
