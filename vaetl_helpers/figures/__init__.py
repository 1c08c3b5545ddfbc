"""The course's diagrams: drawn ideas, each by a script of its own, in light and in dark.

`svg("elbo")` is one as a file, `markdown("elbo")` what a notebook carries of it.
"""

from vaetl_helpers.figures.catalogue import (
    DIAGRAMS,
    MARK,
    diagram,
    lab_style,
    markdown,
    svg,
    svg_uri,
)
from vaetl_helpers.figures.diagram import Diagram

__all__ = ["DIAGRAMS", "MARK", "Diagram", "diagram", "lab_style", "markdown", "svg", "svg_uri"]
