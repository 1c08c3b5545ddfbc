"""When, and from which commit, something was made."""

from __future__ import annotations

import datetime
import subprocess
from pathlib import Path

PACKAGE = Path(__file__).parent


def commit() -> str:
    """The commit that is checked out, in short; nothing outside a checkout."""
    command = ["git", "-C", str(PACKAGE), "rev-parse", "--short", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except OSError:  # there is no git
        return ""
    return done.stdout.strip()


def today() -> str:
    """The date, as 2026-01-31."""
    return datetime.date.today().isoformat()
