"""What `vaetl doctor` says of this machine: what is here, and what there is to mend."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Any

from vaetl_helpers.chapters import course_dir
from vaetl_helpers.data.registry import where
from vaetl_helpers.device import best_device, devices
from vaetl_helpers.errors import CourseError
from vaetl_helpers.hardware import machine, software
from vaetl_helpers.requirements import extras, install_command, missing
from vaetl_helpers.settings import ADVICE, advice, platform_name

ENOUGH_DISK = 2.0  # GB, for runs and data


def checkup() -> tuple[dict[str, Any], list[str]]:
    """What is here by name (`data` and `extras` have a text for each of them), and what to mend."""
    facts: dict[str, Any] = {**software(), "platform": platform_name()}
    device = best_device()
    facts |= {"device": device.name, **machine()}
    if device.device.type == "cpu" and platform_name() in ADVICE:
        facts["advice"] = advice()
    free = shutil.disk_usage(Path.cwd()).free / 1e9
    facts["disk free"] = f"{free:.1f} GB"
    todo = _device_problems()
    not_installed = {extra: missing(extra) for extra in extras()}
    if not_installed["lab"]:
        todo.append(install_command(not_installed["lab"]))
    if free < ENOUGH_DISK:
        todo.append(
            f"free some disk space: {free:.1f} GB are left, runs and data need {ENOUGH_DISK:.0f} GB"
        )
    try:
        facts["notebooks"] = str(course_dir())
    except CourseError as error:
        facts["notebooks"] = "missing"
        todo.append(str(error))
    guide = _instructors_page()
    if guide:
        facts["for instructors"] = str(guide)
    facts["data"] = _data_sets()
    facts["extras"] = {
        extra: install_command(needs) if needs else "present"
        for extra, needs in not_installed.items()
    }
    return presentable(facts), presentable(todo)


def _instructors_page() -> Path | None:
    """Where teaching and grading are explained: beside the course, in an installation too."""
    try:
        page = course_dir().parent / "docs" / "instructors" / "README.md"
    except CourseError:
        return None
    return page if page.is_file() else None


def _device_problems() -> list[str]:
    problems = [status.problem for status in devices() if status.problem]
    hidden = best_device().problem
    if hidden and not problems:
        problems.append(hidden)
    return problems


def _data_sets() -> dict[str, str]:
    """Status and path of each data set."""
    texts = {}
    for place in where():
        words = [place["status"], place["path"]]
        texts[place["name"]] = ", ".join(word for word in words if word)
    return texts


def lines(facts: dict[str, Any]) -> list[str]:
    """The facts, one a line; those of `data` and `extras` as `data mnist` and `extra lab`."""
    texts: dict[str, str] = {}
    for name, fact in facts.items():
        if isinstance(fact, dict):
            for part, text in fact.items():
                texts[f"{name.removesuffix('s')} {part}"] = text
        else:
            texts[name] = fact
    width = max(map(len, texts))
    return [f"{name:<{width}}  {text}" for name, text in texts.items()]


def presentable(content: Any) -> Any:
    """The same with each text in a line and ~ for the home directory: bug reports name nobody."""
    if isinstance(content, dict):
        return {name: presentable(value) for name, value in content.items()}
    if isinstance(content, list):
        return [presentable(value) for value in content]
    line = " ".join(content.split())
    home = os.path.expanduser("~")
    if len(home) <= 1:
        return line
    return re.sub(rf"(?<!\w){re.escape(home)}(?!\w)", "~", line)
