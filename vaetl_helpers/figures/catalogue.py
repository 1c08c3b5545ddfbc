"""All diagrams by name, and the two forms in which they travel."""

from __future__ import annotations

import base64
import html
from pathlib import Path

from vaetl_helpers.errors import unknown_name_error
from vaetl_helpers.figures.detector import DETECTOR
from vaetl_helpers.figures.diagram import Diagram
from vaetl_helpers.figures.drawing import SHOWN
from vaetl_helpers.figures.evidence import DRAWS, LEDGER, VERDICT
from vaetl_helpers.figures.grading import SUBMISSION
from vaetl_helpers.figures.hardware import SHARED_BATCH
from vaetl_helpers.figures.m2 import M2
from vaetl_helpers.figures.training import TRAINING_STEP
from vaetl_helpers.figures.transfer import FROZEN, SURGERY
from vaetl_helpers.figures.vae import AUTOENCODER, ELBO, REPARAMETERISATION

MARK = "diagram-"  # begins the id of a diagram's picture
PICTURES = Path(__file__).with_name("pictures")
DIAGRAMS = {
    found.name: found
    for found in (
        TRAINING_STEP,
        SHARED_BATCH,
        AUTOENCODER,
        ELBO,
        REPARAMETERISATION,
        FROZEN,
        DETECTOR,
        SURGERY,
        DRAWS,
        LEDGER,
        VERDICT,
        M2,
        SUBMISSION,
    )
}


def diagram(name: str) -> Diagram:
    """The diagram of this name; raises CourseError for a name that is not in DIAGRAMS."""
    if name not in DIAGRAMS:
        raise unknown_name_error("diagram", name, DIAGRAMS)
    return DIAGRAMS[name]


def svg(name: str, scheme: str = "auto") -> str:
    """A diagram as an SVG file; `scheme`: "light", "dark", or "auto", what the viewer prefers.

    Raises CourseError for an unknown name or scheme.
    """
    return diagram(name).svg(scheme)


def data_uri(content: bytes, kind: str) -> str:
    """A picture as an address that holds it whole; `kind` is its MIME type."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def svg_uri(name: str) -> str:
    """A diagram as the address of an image that follows the colour scheme of what shows it.

    Raises CourseError for an unknown name.
    """
    return data_uri(svg(name).encode(), "image/svg+xml")


def markdown(name: str) -> str:
    """A diagram as a notebook carries it in a cell of text: picture and caption.

    The picture is a PNG, since Colab shows neither SVG nor attachments in cells of text
    (googlecolab/colabtools#2092, #3836), and it stands in the cell itself, so that it is seen
    before anything is run. It brings its own light ground, and can therefore be read in a dark
    theme too; the pages and `vaetl lab` (`lab_style`) put the SVG in its place. Raises CourseError
    for an unknown name.
    """
    found = diagram(name)
    source = data_uri((PICTURES / f"{name}.png").read_bytes(), "image/png")
    alt = html.escape(found.alt)
    return (
        f'<img id="{MARK}{name}" alt="{alt}" width="{SHOWN}" src="{source}">\n\n*{found.caption}*'
    )


def lab_style() -> str:
    """A style sheet for JupyterLab that shows each diagram's SVG in place of its picture.

    JupyterLab keeps the id as `data-jupyter-id` and, since 4.3, gives its body the `color-scheme`
    of its theme, which the SVG follows, whatever the system prefers.
    """
    rules = []
    for name in DIAGRAMS:
        picture = f'img[data-jupyter-id="{MARK}{name}"]'
        rules.append(f'{picture} {{ content: url("{svg_uri(name)}"); }}\n')
    return "".join(rules)
