"""Learning rates and budgets of steps of chapter 5's networks, by target and number of labels.

`tuned.yaml` is written by `authoring/assets/tune.py`: what was best on validation of each pair on a
grid, on draws of labels that no study has.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import yaml

KINDS = ("scratch", "pretrained")  # networks without and with a pretrained start
DEFAULT_RATE, DEFAULT_STEPS = 3e-3, 200


class Setting(NamedTuple):
    """How a network is trained: its highest learning rate, and about so many steps at most."""

    rate: float = DEFAULT_RATE
    steps: int = DEFAULT_STEPS


Settings = Mapping[int, Setting]  # by number of labels
FILE = Path(__file__).with_name("tuned.yaml")


def tuned_settings(target: str, kind: str, most_steps: int | None = None) -> Settings:
    """The settings of a kind of network on a target, by number of labels.

    `most_steps` is for runs that have less time. Where nothing was tuned, the only entry is the
    default.
    """
    content = yaml.safe_load(FILE.read_text("utf-8")) if FILE.exists() else {}
    of_kind = content.get("settings", {}).get(target, {}).get(kind, {})
    settings = {int(labels): Setting(**values) for labels, values in of_kind.items()}
    settings = settings or {100: Setting()}
    if most_steps is not None:
        for labels, setting in settings.items():
            settings[labels] = setting._replace(steps=min(setting.steps, most_steps))
    return settings


def setting_for(settings: Settings, labels: int) -> Setting:
    """That of the nearest number of labels, on a logarithmic scale; of two the smaller number's."""
    nearest = min(sorted(settings), key=lambda known: abs(math.log(known / labels)))
    return settings[nearest]
