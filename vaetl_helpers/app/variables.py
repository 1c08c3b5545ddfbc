"""Which variables of the user's shell reach the kernels that are started here."""

from __future__ import annotations

import os
from collections.abc import Mapping

# Variables of the user's shell that would make a kernel another one: no pictures (clusters export
# MPLBACKEND), code that runs before the first cell, no assertions, warnings as errors.
UNWANTED = (
    "MPLBACKEND",
    "PYTHONSTARTUP",
    "PYTHONOPTIMIZE",
    "PYTHONINSPECT",
    "PYTHONWARNINGS",
)


def kernel_environment(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment for kernels: this process's, or the one given, without what spoils them."""
    whole = os.environ if environment is None else environment
    return {name: text for name, text in whole.items() if name not in UNWANTED}
