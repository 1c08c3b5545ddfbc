"""What goes wrong in a way that the reader can mend, with a sentence that says what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class CourseError(Exception):
    """A problem the reader can mend: what was wrong, what was expected, and what to do next."""


def unknown_name_error(kind: str, name: object, known_names: Iterable[str]) -> CourseError:
    """The error for a name that does not exist, with the nearest one that does."""
    names = sorted(known_names)
    nearest = difflib.get_close_matches(str(name), names, n=1, cutoff=0.4)
    sentence = f"Unknown {kind} '{name}'"
    if nearest:
        sentence += f": did you mean '{nearest[0]}'?"
    else:
        sentence += "."
    listed = ", ".join(names) or "none"
    return CourseError(f"{sentence} Known: {listed}.")
