"""How much of the time a GPU computes, from what PyTorch's profiler saw of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from vaetl_helpers.device import synchronise

MICRO = 1e-6


def busy_share(work: Callable[[], Any], device: torch.device) -> float:
    """The share of work()'s seconds in which the CUDA device computes or copies, from 0 to 1.

    The profiler itself takes time on the CPU, so that the share is rather too small than too large.
    """
    synchronise(device)
    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        started = time.perf_counter()
        work()
        synchronise(device)
        seconds = time.perf_counter() - started
    intervals = []
    for event in profiler.events() or ():
        # An annotation such as "Optimizer.step" spans the gaps between the kernels, too.
        is_annotation = getattr(event, "is_user_annotation", False)
        if event.device_type == torch.autograd.DeviceType.CUDA and not is_annotation:
            intervals.append((event.time_range.start, event.time_range.end))
    return MICRO * covered(intervals) / seconds


def covered(intervals: Iterable[tuple[float, float]]) -> float:
    """The length that intervals (start, end) cover together; where they overlap it counts once."""
    total = 0.0
    reached = float("-inf")
    for start, end in sorted(intervals):
        if end > reached:
            total += end - max(start, reached)
            reached = end
    return total
