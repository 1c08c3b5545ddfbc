"""Two lanes of time: Python hands operations over, a device works them off; and a clock is read.

The model is as small as the idea: handing over takes the same time for each operation, the device
takes the same time for each, works off one after the other in the order in which they came, and the
queue between the two is never full. All times are in microseconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from matplotlib.axes import Axes

from vaetl_helpers import plots
from vaetl_helpers.errors import CourseError, unknown_name_error
from vaetl_helpers.living import figure

CLOCKS = ("never waits", "waits before it stops", "waits before it starts and before it stops")
COUNTS = tuple(range(1, 25))
LAUNCHES = (1, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 50)
KERNELS = (1, 2, 5, 10, 15, 20, 30, 50, 75, 100, 150, 200)
EARLIER = 3  # operations that the device still has to do when the clock would start


class Span(NamedTuple):
    """One operation's time in a lane."""

    start: float
    end: float


class Timeline(NamedTuple):
    """When everything happens, from the moment at which Python would start the clock.

    `earlier` are operations that the device still has in its queue then.
    """

    earlier: list[Span]
    started: float  # where the clock is started
    launches: list[Span]
    kernels: list[Span]
    queued: float  # Python has handed the last operation over
    done: float  # the device has finished it
    stopped: float  # where the clock is stopped

    @property
    def reading(self) -> float:
        """What the clock says."""
        return self.stopped - self.started


def timeline(
    count: int, launch: float, kernel: float, clock: str = CLOCKS[0], earlier: int = EARLIER
) -> Timeline:
    """The lanes for `count` operations; `launch` and `kernel` are microseconds per operation.

    Raises CourseError for a clock that there is not, and where a number is not positive.
    """
    if clock not in CLOCKS:
        raise unknown_name_error("clock", clock, CLOCKS)
    if count < 1 or launch <= 0 or kernel <= 0 or earlier < 0:
        raise CourseError(
            "A time line needs at least one operation, and times above 0 microseconds: "
            f"not {count} operations of {launch} and {kernel} microseconds."
        )
    before = [Span(place * kernel, (place + 1) * kernel) for place in range(earlier)]
    free = earlier * kernel  # when the device has nothing left to do
    started = free if clock == CLOCKS[2] else 0.0
    launches = []
    kernels = []
    for place in range(count):
        handed_over = started + (place + 1) * launch
        launches.append(Span(handed_over - launch, handed_over))
        begin = max(handed_over, free)
        free = begin + kernel
        kernels.append(Span(begin, free))
    queued = launches[-1].end
    stopped = queued if clock == CLOCKS[0] else free
    return Timeline(before, started, launches, kernels, queued, free, stopped)


def true_time(count: int, launch: float, kernel: float) -> float:
    """Microseconds of `count` operations on a device that is idle when they begin.

    The first one must be handed over; after that the slower of the two lanes sets the pace; the
    last one must be computed: launch + (count − 1) · max(launch, kernel) + kernel.
    """
    return launch + (count - 1) * max(launch, kernel) + kernel


def device_timeline(
    alt: str, measured: Mapping[str, float] | None = None, device: str = ""
) -> None:
    """The two lanes as a figure: operations, times and clock to choose.

    `measured` are seconds of one operation by clock ("waiting", "without waiting"), as they were
    measured on `device`: the figure says them beside the model's.
    """
    figure.show("timeline", timeline_data(measured, device), _static(8, 10, 50), alt)


def timeline_data(measured: Mapping[str, float] | None = None, device: str = "") -> dict[str, Any]:
    """What the script reads: the choices, what is chosen at first, and what was measured."""
    data: dict[str, Any] = {
        "clocks": CLOCKS,
        "counts": COUNTS,
        "launches": LAUNCHES,
        "kernels": KERNELS,
        "earlier": EARLIER,
        "count": 8,
        "launch": 10,
        "kernel": 50,
        "clock": CLOCKS[0],
    }
    if measured:
        data["measured"] = [[name, f"{1e3 * seconds:.3g} ms"] for name, seconds in measured.items()]
        data["device"] = device.upper()
    return data


def _static(count: int, launch: float, kernel: float) -> Any:
    """The three clocks below each other, on one scale of time."""
    runs = {clock: timeline(count, launch, kernel, clock) for clock in CLOCKS}
    true = true_time(count, launch, kernel)
    titles = [
        f"the clock {clock}: {run.reading:g} µs (true: {true:g} µs)" for clock, run in runs.items()
    ]
    axes = plots.panels(titles, "", height=1.75, width=9, columns=1)
    end = 1.02 * max(run.done for run in runs.values())
    for axis, run in zip(axes, runs.values(), strict=True):
        _draw_lanes(axis, run)
        axis.set_xlim(-0.01 * end, end)
    axes[-1].set_xlabel("microseconds")
    return axes[0].figure


def _draw_lanes(axis: Axes, run: Timeline) -> None:
    lanes = ((1, run.launches, plots.COLOURS[0]), (0, run.kernels, plots.COLOURS[2]))
    for lane, spans, colour in (*lanes, (0, run.earlier, "silver")):
        for span in spans:
            axis.barh(lane, span.end - span.start, 0.7, span.start, color=colour, edgecolor="white")
    axis.axvspan(run.started, run.stopped, color=plots.COLOURS[1], alpha=0.15, linewidth=0)
    for place in (run.started, run.stopped):
        axis.axvline(place, color=plots.COLOURS[1], linewidth=2)
    axis.set_yticks([0, 1], ["device", "Python"])
    axis.grid(False)
