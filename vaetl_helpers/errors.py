"""What goes wrong in a way that the reader can mend: one error, with a sentence that says what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class CourseError(Exception):
    """A problem the reader can mend: says what was wrong, what was expected and what to do next."""


def unknown_name_error(kind: str, name: object, known: Iterable[str]) -> CourseError:
    """The error for a name that does not exist, with the nearest one that does."""
    known = sorted(known)
    near = difflib.get_close_matches(str(name), known, n=1, cutoff=0.4)
    guess = f": did you mean '{near[0]}'?" if near else "."
    return CourseError(f"Unknown {kind} '{name}'{guess} Known: {', '.join(known) or 'none'}.")
