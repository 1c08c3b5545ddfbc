"""The course's diagrams: drawn ideas, each by a script of its own, in light and in dark.

`svg("elbo")` is one as a file, `markdown("elbo")` what a notebook carries of it.
"""

from vaetl_helpers.figures.catalogue import DIAGRAMS, MARK, data_uri, diagram, markdown, svg
from vaetl_helpers.figures.diagram import Diagram

__all__ = ["DIAGRAMS", "MARK", "Diagram", "data_uri", "diagram", "markdown", "svg"]
