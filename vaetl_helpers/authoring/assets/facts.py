"""Where a file comes from, and where the package keeps it."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch

from vaetl_helpers.data.images import ImageSet, image_hashes
from vaetl_helpers.provenance import commit, today
from vaetl_helpers.settings import versions

PACKAGE = Path(__file__).parents[2]
ASSETS = PACKAGE / "assets"
RECORDED = PACKAGE / "recorded"


def origin(module: str, arguments: Sequence[str], machine: str) -> dict[str, Any]:
    """Command, commit, date, machine and versions of what a module of this folder makes."""
    command = f"python -m vaetl_helpers.authoring.assets.{module} {shlex.join(arguments)}"
    return origin_of_command(command.strip(), machine)


def origin_of_command(command: str, machine: str) -> dict[str, Any]:
    """A command with commit, date, machine and versions."""
    return {
        "command": command,
        "commit": commit(),
        "date": today(),
        "machine": machine,
        "versions": versions(),
    }


def this_machine() -> str:
    """How many cores there are and are used."""
    return f"{os.cpu_count()} CPU cores, {torch.get_num_threads()} used"


def fingerprint(images: ImageSet) -> str:
    """sha256 of the images, whatever their order: proves which ones a model was trained on."""
    hashes = image_hashes(images.images.squeeze(1).numpy())
    return sha256(b"".join(sorted(hashes))).hexdigest()
