"""What chapters 2 and 2b show of this machine beside others: tables, titles and recorded levers."""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes

from vaetl_helpers import claims, study
from vaetl_helpers.device import device_name
from vaetl_helpers.errors import CourseError
from vaetl_helpers.hardware import step_records
from vaetl_helpers.machines.compiling import CASES, CHAIN, Compared
from vaetl_helpers.output import record, record_id, say, show_record, show_table, value_text
from vaetl_helpers.recorded import recorded

Ratio = tuple[float, float, float]  # mean and the ends of its interval
Gains = Mapping[str, Mapping[str, Any]]  # network → levers → study.Effect
CLOSE = 1.2  # lines that are less apart than this are said to be close
ANOTHER_TRAINING = "512", "bf16", "fp16"  # levers with these in their names
RECORDED_LEVERS = {"recorded, no AMX": "", "recorded, AMX": "amx"}  # by task of the record
COMPILED = "compile"  # the task of the record of torch.compile


# ---------------------------------------------------------------- chapter 2


def show_rates(rates: Mapping[str, tuple[float, float]]) -> None:
    """A table of what devices compute and move, {name: (FLOPs, bytes) per second}."""
    show_table(
        [
            (
                name,
                f"{flops / 1e9:,.0f} GFLOP/s",
                f"{move / 1e9:,.0f} GB/s",
                f"{flops / move:.0f}",
            )
            for name, (flops, move) in rates.items()
        ],
        header=("device", "computes", "moves", "FLOPs per byte"),
    )


Times = Mapping[tuple[str, int], Sequence[float]]  # (configuration, width) → seconds by batch


def title_by_quickest(axes: Sequence[Axes], times: Times, batches: Sequence[int]) -> None:
    """Writes above each panel, one for each width, which configuration is quickest at both ends."""
    widths = sorted({width for _, width in times})
    for axis, width in zip(axes, widths, strict=True):
        lines = [f"width {width:,}, quickest here:"]
        for end in (0, -1):
            at_end = {name: one[end] for (name, w), one in times.items() if w == width}
            quickest = min(at_end, key=lambda name: at_end[name])
            is_close = max(at_end.values()) < CLOSE * at_end[quickest]
            said = "no clear winner" if is_close and len(at_end) > 1 else quickest
            lines.append(f"{said} (batch {batches[end]:,})")
        axis.set_title("\n".join(lines))


BUSY = 2  # times as long as one thread, which several never take on an idle machine


def say_if_busy(times: Times) -> None:
    """Says so where several threads took twice as long as one at every batch: a core was taken."""
    one = next(iter(times))[0]
    for (name, width), seconds in times.items():
        if "threads" in name and min(np.divide(seconds, times[one, width])) > BUSY:
            say(
                f"{name} took more than twice the time of one at every batch size: another "
                "program has a core, so run this again when it has ended."
            )
            return


def show_speedups(
    times: Times, batches: Sequence[int], speedup: Callable[[int, str], study.Effect]
) -> list[dict[str, Any]]:
    """Shows each configuration against the first one, and returns the records of that.

    `speedup` measures it for a width and a configuration, at the largest batch.
    """
    first = next(iter(times))[0]
    rows, records = [], []
    for (name, width), seconds in times.items():
        if name == first:
            continue
        gain = np.divide(times[first, width], seconds)
        firmly = [size for k, size in enumerate(batches) if min(gain[k:]) > 1.1]
        pays = f"from batch {firmly[0]}" if firmly else "at none of these batches"
        rows.append((str(width), name, pays, f"{gain[0]:.2f}", f"{gain[-1]:.2f}"))
        size = f"width {width}", f"batch {batches[-1]}"
        id = record_id("02", "speedup", name, *size)
        title = f"speedup of {name}, {', '.join(size)}"
        records.append(speedup(width, name).to_record(title, "times", id=id))
        show_record(records[-1])
    ends = (f"at batch {batches[0]}", f"at batch {batches[-1]}")
    show_table(
        rows,
        header=("width", "compared with 1 thread", "more than 10 % faster", *ends),
        records=step_records(times, batches),
    )
    return records


@dataclass(frozen=True)
class Estimate:
    """A step as it was measured on the CPU and as the roofline predicts it, in seconds.

    `measured` is by one thread and `all_threads` by all of the CPU. `roof_here` is predicted
    without the overhead for one thread; `roofs_there` for a GPU, at the rates of the best case and
    of the bad one. `late` is how much longer the handing over may take for a GPU. `elsewhere` are
    measured on the accelerators that are here.
    """

    network: str
    batch: int
    overhead: float
    measured: float
    all_threads: float
    roof_here: float
    roofs_there: tuple[float, float]
    late: float = 0.0
    elsewhere: tuple[float, ...] = ()

    @property
    def limit(self) -> float:
        """The step in units of its overhead: what no accelerator gains more than."""
        return self.measured / self.overhead

    @property
    def there(self) -> tuple[float, float]:
        """Seconds on the GPU in the best case; and in the bad one, as short of its roof as the CPU
        and late.

        It computes while Python hands over, so the longer of the two counts.
        """
        best, bad = self.roofs_there
        short = max(1.0, (self.measured - self.overhead) / self.roof_here)
        return max(self.overhead, best), max(self.overhead + self.late, short * bad)

    @property
    def gains(self) -> tuple[float, float]:
        """How many times as fast as one thread the GPU is in the bad case and in the best."""
        best, bad = self.there
        return self.measured / bad, self.measured / best

    @property
    def said(self) -> str:
        """The gains against one thread in words."""
        return _range(*self.gains)

    @property
    def said_against_all(self) -> str:
        """The gains against all threads of the CPU in words."""
        return _range(*(gain * self.all_threads / self.measured for gain in self.gains))


def _factor(number: float) -> str:
    return f"{number:.0f}" if number >= 10 else f"{number:.1f}"


def _range(low: float, high: float) -> str:
    ends = _factor(low), _factor(high)
    return ends[0] if ends[0] == ends[1] else " to ".join(ends)


def show_estimates(estimates: Sequence[Estimate], gpu: str, present: Sequence[str] = ()) -> None:
    """A table of estimates for a `gpu`; `present` are the accelerators that were measured."""
    rows: list[tuple[str, ...]] = []
    for one in estimates:
        seconds = one.measured, one.overhead + one.roof_here, one.all_threads, *one.elsewhere
        times = [f"{1e3 * each:.2f} ms" for each in seconds]
        best, bad = (f"{1e3 * each:.2f}" for each in one.there)
        times.insert(3, f"{best} to {bad} ms")
        factors = one.said, one.said_against_all, _factor(one.limit)
        rows.append((one.network, str(one.batch), *times, *factors))
    show_table(
        rows,
        header=(
            "network",
            "batch",
            "1 thread, measured",
            "1 thread, predicted",
            "all threads, measured",
            f"{gpu}, predicted",
            *(f"{name}, measured" for name in present),
            f"{gpu}: times as fast as 1 thread",
            "as all threads",
            "this code on any GPU: at most about",
        ),
    )
    slow = [one for one in estimates if one.all_threads > BUSY * one.measured]
    if slow:
        say(
            f"{slow[0].network}, batch {slow[0].batch}: all threads took more than twice the time "
            "of one, so another program has a core. What stands against all threads holds beside "
            "that program alone; run this again when it has ended."
        )


Line = tuple[Sequence[int], Sequence[float]]  # batch sizes, seconds


def short_name(device: torch.device) -> str:
    """What a figure calls an accelerator: "T4" for a "Tesla T4"."""
    name = device_name(device)
    for maker in ("NVIDIA ", "Tesla ", "GeForce "):
        name = name.removeprefix(maker)
    return name


def measured_lines(
    times: Times, batches: Sequence[int], names: Mapping[str, str]
) -> dict[int, dict[str, Line]]:
    """What was measured, as lines of a figure, {width: {"T4, measured": line}}.

    `names` are those of the lines by configuration; what they leave out is not drawn.
    """
    lines: dict[int, dict[str, Line]] = {}
    for (configuration, width), seconds in times.items():
        if configuration in names:
            name = f"{names[configuration]}, measured"
            lines.setdefault(width, {})[name] = batches, seconds
    return lines


def say_hits(name: str, measured: Line, best: Line, bad: Line) -> None:
    """Says at how many batch sizes a measured step lies inside its prediction, 10 % granted."""
    lows, highs = (dict(zip(*line, strict=True)) for line in (best, bad))
    pairs = list(zip(*measured, strict=True))
    hits = [lows[size] / 1.1 <= seconds <= 1.1 * highs[size] for size, seconds in pairs]
    say(f"{name}: inside the prediction at {sum(hits)} of {len(hits)} batch sizes.")


def answered_here(own: study.Effect) -> str:
    """What an effect that was measured on this machine answers to a bet about the ledger."""
    delta = claims.DELTAS["times"]
    return str(study.verdict(own, delta, own.p, own.p_of_margin(delta)))


def _operations_of(step: Callable[[], Any]) -> list[Any]:
    """The operations that a step calls, those first that take the most time."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as seen:
        step()
    operations = [one for one in seen.key_averages() if one.key.startswith("aten::")]
    return sorted(operations, key=lambda one: -one.self_cpu_time_total)


def _time_of(operations: Sequence[Any]) -> float:
    return float(sum(one.self_cpu_time_total for one in operations))


def _calls(operations: Sequence[Any]) -> str:
    """How often operations are called and how long they take together."""
    count = sum(one.count for one in operations)
    return f"{count} call{'s' * (count > 1)}, {_time_of(operations):,.0f} µs"


def show_operations(steps: Mapping[str, Callable[[], Any]], places: int = 5) -> None:
    """A table of the operations that take most of each step's time, with shares and totals."""
    # PyTorch 2.15's profiler prints an ERROR where there is no GPU, even if it is asked for the
    # CPU alone; this keeps it quiet.
    os.environ.setdefault("KINETO_LOG_LEVEL", "6")
    rows = [[f"number {place + 1} in time"] for place in range(places)]
    rows += [["all others"], ["together"]]
    for step in steps.values():
        for _ in range(5):
            step()  # to warm up
        # The quickest of five: what else runs may hold up one of them.
        every = min((_operations_of(step) for _ in range(5)), key=_time_of)
        for place, row in enumerate(rows[:places]):
            one = every[place]
            name = one.key.removeprefix("aten::")
            row += [f"`{name}`: {_calls([one])}", _share([one], every)]
        for row, some in zip(rows[places:], (every[places:], every), strict=True):
            row += [_calls(some), _share(some, every)]
    show_table(
        [tuple(row) for row in rows],
        header=("operations", *(text for name in steps for text in (name, "share"))),
    )


def _share(operations: Sequence[Any], every: Sequence[Any]) -> str:
    return f"{100 * _time_of(operations) / _time_of(every):.0f} %"


# ---------------------------------------------------------------- chapter 2b


def recorded_levers() -> dict[str, dict[str, dict[str, Ratio]]]:
    """The recorded levers of each machine, {where: {network: {levers: (mean, low, high)}}}.

    Without a recorded run it says so.
    """
    found: dict[str, dict[str, dict[str, Ratio]]] = {}
    for where, task in RECORDED_LEVERS.items():
        try:
            records = recorded("02b", task)["records"]
        except CourseError as error:
            say(error)
            continue
        for one in records:
            if one["id"].startswith("02/levers/"):
                network, _, levers = one["name"].partition(": ")
                ratio = one["value"], one["low"], one["high"]
                found.setdefault(where, {}).setdefault(network, {})[levers] = ratio
    return found


def show_levers(
    gains: Gains, others: Mapping[str, Mapping[str, Mapping[str, Ratio]]], turns: int
) -> None:
    """A table of the levers' ratios here and on other machines, with the records of those here."""
    rows: list[tuple[str, ...]] = []
    records = []
    for network, of_network in gains.items():
        for name, effect in of_network.items():
            row = [network, name, _interval(effect.times)]
            for of_where in others.values():
                ratio = of_where.get(network, {}).get(name)
                row.append("-" if ratio is None else f"{ratio[0]:.2f}")
            rows.append(tuple(row))
            id = record_id("02", "levers", network, name)
            records.append(effect.to_record(f"{network}: {name}", "times", id=id))
    header = ("network", "levers", f"here (95 %, {turns} turns)", *others)
    show_table(rows, header=header, records=records)


def bf16_elsewhere(
    others: Mapping[str, Mapping[str, Mapping[str, Ratio]]],
) -> dict[str, tuple[Ratio, Ratio]]:
    """The VAE's ratios without and with bf16 on other machines, a row for a batch and a machine."""
    rows = {}
    for batch, name in {"batch 128": "resident", "batch 512": "resident, batch 512"}.items():
        for where, networks in others.items():
            ratios = networks["VAE"]
            row = f"{batch}, {where.removeprefix('recorded, ')}"
            rows[row] = ratios[name], ratios[f"{name}, bf16"]
    return rows


def compiled_records(name: str, one: Compared, starts: Sequence[float] = ()) -> list[Any]:
    """The records of a network's start-up (the median of several) and of its steps' speed."""
    starts = starts or [one.start]
    start = record(
        f"{name}: start-up of torch.compile",
        statistics.median(starts),
        "s",
        id=record_id("02", "compile", name, "start"),
        n=len(starts),
    )
    effect = study.effect_of(np.log(one.plain) - np.log(one.compiled))
    id = record_id("02", "compile", name, "step")
    return [start, effect.to_record(f"{name}: compiled step against a plain one", "times", id=id)]


def show_compiled(own: Mapping[str, Compared]) -> None:
    """A table of what torch.compile is worth: here, where it was measured, and recorded."""
    try:
        run = recorded("02b", COMPILED)
    except CourseError as error:
        say(error)
        run = {"machine": "none yet", "records": []}
    there = {one["id"]: value_text(one) for one in run["records"]}
    rows, records = [], []
    for name in (*CASES, CHAIN):
        here = ["-", "-", "-"]
        if name in own:
            own_records = compiled_records(name, own[name])
            records += own_records
            repaid = _repaid(own[name], own_records[1])
            here = [f"{own[name].start:.0f} s", value_text(own_records[1]), repaid]
        ids = (record_id("02", "compile", name, what) for what in ("start", "step"))
        rows.append((name, *here, *(there.get(id, "-") for id in ids)))
    header = (
        "compiled",
        "start-up here",
        "compiled step here, times as fast",
        "repaid after",
        "start-up, recorded",
        f"compiled step, recorded ({run['machine']})",
    )
    show_table(rows, header=header, records=records)


def _repaid(one: Compared, step: Mapping[str, Any]) -> str:
    """After how many steps the start-up is earned back, where the interval shows a gain."""
    if step["high"] < 1:
        return "never: it loses"
    if step["low"] <= 1:
        return "no gain is shown"
    gain = statistics.median(one.plain) - statistics.median(one.compiled)
    if gain <= 0:  # the medians can contradict the mean of the logarithms
        return "no gain is shown"
    return f"{one.start / gain * one.steps:,.0f} steps"


def free_levers(network: str, of_network: Mapping[str, Any]) -> str:
    """The fastest levers that leave the training as it is, in two lines, and whether they gain.

    The fastest is the one whose interval begins highest.
    """
    free = {
        name: effect.times
        for name, effect in of_network.items()
        if not any(word in name for word in ANOTHER_TRAINING)
    }
    best = max(free, key=lambda name: free[name][1])
    mean, low, high = free[best]
    if low <= 1:
        return f"{network}: no gain is shown here,\n{best} {mean:.1f} [{low:.2f}, {high:.2f}]"
    return f"{network}: {mean:.1f} [{low:.1f}, {high:.1f}] times as fast\n{best}"


def _interval(ratio: Ratio) -> str:
    return "{:.2f} [{:.2f}, {:.2f}]".format(*ratio)
