"""One recorded file of a machine: the plan, the ten minutes, and going on after a kill."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from vaetl_helpers import hardware
from vaetl_helpers.bootstrap import hosted_platform
from vaetl_helpers.device import best_device, device_name
from vaetl_helpers.errors import CourseError, unknown_name_error
from vaetl_helpers.machines.measures import PLAN, Bench, Measured, Measurement
from vaetl_helpers.output import record_id, say, user_path, write_whole
from vaetl_helpers.provenance import commit, today
from vaetl_helpers.settings import persistent_path, prepare, profiles

COMMAND = "vaetl record-machine"
MINUTES = 10.0
# Of what a measurement may take: less, and it is left for the next call.
LEAST_SHARE = 0.25
NO_TIME = "there was no time left; the same command goes on with it"
# What must not change while a file is made; the rest of the facts may (free memory, say).
IDENTITY = ("machine", "profile", "versions")


@dataclass
class Recording:
    """A recorded file as it grows: facts of the machine, what was measured, what was left out."""

    path: Path
    facts: dict[str, Any]
    measured: dict[str, dict[str, Any]]
    left_out: dict[str, str]

    def write(self, plan: Sequence[Measurement]) -> None:
        """Writes the whole file, in the order of the plan."""
        names = [measurement.name for measurement in plan]
        content = self.facts | {
            "measured": {name: self.measured[name] for name in names if name in self.measured},
            "left_out": {name: self.left_out[name] for name in names if name in self.left_out},
        }
        write_whole(self.path, json.dumps(content, indent=1, allow_nan=False) + "\n")

    def add(self, name: str, result: Measured, seconds: float) -> None:
        """Keeps what a measurement gave."""
        self.left_out.pop(name, None)
        self.measured[name] = {"seconds": round(seconds, 1), "records": result.records}
        self.measured[name] |= result.rows


def record_machine(
    out: Path | str | None = None,
    name: str | None = None,
    profile: str = "auto",
    minutes: float = MINUTES,
    plan: Sequence[Measurement] = PLAN,
) -> Path:
    """Measures this machine in at most `minutes` and returns the file; the same call goes on.

    The file is written after each measurement, so that a kill at any time costs only the one that
    was at work. What cannot be measured here, and what there was no time for, is left out with the
    reason, and tried again by the next call. `name` says what the machine is, `profile` whose
    settings of chapter 2 are used. Raises CourseError where the file is another machine's, or was
    begun with other versions.
    """
    if not minutes > 0:
        raise CourseError(f"A machine cannot be measured in {minutes:g} minutes: give some.")
    device, _, problem = best_device()
    if problem:
        say(problem)
    name = name or machine_name(device)
    profile = _profile(profile, device)
    path = _path(out, name)
    prepare()
    recording = _open(path, _facts(name, profile, device))
    until = time.monotonic() + 60 * minutes
    todo = [measurement for measurement in plan if measurement.name not in recording.measured]
    if not todo:
        say(f"{path} is complete; remove it to measure {name} anew.")
        return path
    say(f"{name}: {len(todo)} of {len(plan)} measurements to do, at most {minutes:.1f} minutes.")
    for number, measurement in enumerate(todo):
        left = until - time.monotonic()
        # What the others have not used is shared out.
        seconds = max(measurement.seconds, left / (len(todo) - number))
        if left < LEAST_SHARE * measurement.seconds:
            recording.left_out[measurement.name] = NO_TIME
        else:
            bench = Bench(
                device=device,
                profile=profile,
                settings=_settings(profile),
                until=until - left + min(left, seconds),
                limit=until,
            )
            _measure(measurement, recording, bench)
        recording.write(plan)
    _tell(recording, plan)
    return path


def machine_name(device: torch.device) -> str:
    """What a person calls this machine: "Tesla T4, Colab", or its processor with its cores."""
    where = hosted_platform()
    parts = [device_name(device)]
    if device.type == "cpu":
        facts = hardware.machine()
        parts = [facts["processor"], f"{os.cpu_count()} cores"]
    elif device.type == "cuda" and torch.cuda.device_count() > 1:
        parts = [f"{torch.cuda.device_count()} × {parts[0]}"]
    if where:
        parts.append(where)
    return ", ".join(parts)


def _profile(profile: str, device: torch.device) -> str:
    if profile == "auto":
        return "cpu" if device.type == "cpu" else "gpu"
    if profile not in profiles()["02"]:
        raise unknown_name_error("profile", profile, [*profiles()["02"], "auto"])
    return profile


def _settings(profile: str) -> dict[str, Any]:
    """What chapters 2 and 2b measure in this profile."""
    return profiles()["02"][profile] | profiles()["02b"][profile]


def _path(out: Path | str | None, name: str) -> Path:
    """Where the file is to lie: by default in the folder that outlives the machine."""
    if out is None:
        slug = record_id("machine", name).replace("/", "-")
        return persistent_path(f"{slug}.json")
    path = user_path(out)
    if path.suffix != ".json":
        raise CourseError(f"{path} is no name of a recorded file: give one that ends in .json.")
    return persistent_path(path)


def _facts(name: str, profile: str, device: torch.device) -> dict[str, Any]:
    return {
        "command": f"{COMMAND} --profile {profile}",
        "commit": commit(),
        "date": today(),
        "machine": name,
        "device": device.type,
        "profile": profile,
        "load": _load(),
        "facts": hardware.machine(),
        "versions": hardware.software(),
    }


def _load() -> float | None:
    """How many programs computed in the minute before; None where the system does not say."""
    try:
        return round(os.getloadavg()[0], 1)
    except (AttributeError, OSError):  # Windows
        return None


def _open(path: Path, facts: dict[str, Any]) -> Recording:
    """A new recording, or the one that the file holds."""
    if not path.exists():
        return Recording(path, facts, {}, {})
    try:
        content = json.loads(path.read_text("utf-8"))
        measured, left_out = content.pop("measured"), content.pop("left_out")
        changes = _changes(content, facts)
    except (ValueError, KeyError, AttributeError) as error:
        raise CourseError(
            f"{path} is no file of {COMMAND}: give another name by --out, or remove it."
        ) from error
    if changes:
        raise CourseError(
            f"{path} was begun with {'; '.join(changes)}: give another name by --out, or remove it."
        )
    return Recording(path, content, measured, left_out)


def _changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What differs, as 'torch 2.11.0, and this is 2.15.0'."""
    changes = []
    for key in IDENTITY:
        old, new = before[key], now[key]
        if key != "versions":
            old, new = {key: old}, {key: new}
        for name in old.keys() | new.keys():
            if old.get(name) != new.get(name):
                changes.append(f"{name} {old.get(name)}, and this is {new.get(name)}")
    return sorted(changes)


def _measure(measurement: Measurement, recording: Recording, bench: Bench) -> None:
    """Makes one measurement, or notes why it was left out."""
    name = measurement.name
    started = time.monotonic()
    say(f"  {measurement.title} …", end="", flush=True)
    try:
        result = measurement.run(bench)
    except Exception as error:  # a driver fails in many ways, and must not cost the other numbers
        reason = str(error).strip() or type(error).__name__
        recording.left_out[name] = reason.splitlines()[0]
        say(" left out")
        return
    used = time.monotonic() - started
    recording.add(name, result, used)
    say(f" {used:.0f} s")


def _tell(recording: Recording, plan: Sequence[Measurement]) -> None:
    """Says what the file holds, and what it does not."""
    titles = {measurement.name: measurement.title for measurement in plan}
    seconds = sum(content["seconds"] for content in recording.measured.values())
    say(f"{len(recording.measured)} measurements in {seconds:.0f} s: {recording.path}")
    for name, reason in recording.left_out.items():
        say(f"  left out: {titles[name]} ({reason})")
