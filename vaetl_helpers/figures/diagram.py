"""What a diagram consists of: a name, its words, and the function that draws it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from vaetl_helpers.figures.drawing import Drawing


class Diagram(NamedTuple):
    """A drawn idea.

    `alt` says the idea in words, for those who cannot see it; `caption` is the sentence below it.
    """

    name: str
    title: str
    alt: str
    caption: str
    draw: Callable[[], Drawing]

    def svg(self, scheme: str = "auto") -> str:
        """The diagram as an SVG file; `scheme`: "light", "dark", or "auto", what the viewer has.

        Raises CourseError for another scheme.
        """
        return self.draw().svg(self.name, self.title, self.alt, scheme)
