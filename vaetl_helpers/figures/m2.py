"""Chapter 5c: M2, and M2 on the codes of another VAE."""

from vaetl_helpers.figures.diagram import Diagram
from vaetl_helpers.figures.drawing import Drawing

RADIUS = 20


def _m2() -> Drawing:
    d = Drawing(406)
    left, middle, right = 90, 260, 434
    top, bottom = 116, 290
    _heading(d, left, "M2, the story", "how images come about")
    _class_and_style(d, left, top)
    d.circle((left, bottom), RADIUS, "*x*", "data")
    d.arrow([(left - 37, top + 19), (left - 7, bottom - 19)], "trained")
    d.arrow([(left + 37, top + 19), (left + 7, bottom - 19)], "trained")
    d.label((left, bottom + 42), "*p*(*x* | *y*, *z*)", kind="trained")

    _heading(d, middle, "M2, the guesses", "from the image back")
    _class_and_style(d, middle, top)
    d.circle((middle, bottom), RADIUS, "*x*", "data")
    d.arrow([(middle - 7, bottom - 19), (middle - 37, top + 19)], "trained")
    d.arrow([(middle + 7, bottom - 19), (middle + 37, top + 19)], "trained")
    d.arrow([(middle - 22, top), (middle + 22, top)], "trained")
    d.label((middle - 32, 206), "*q*(*y* | *x*)", "end", "trained")
    d.label((middle + 32, 206), "*q*(*z* | *x*, *y*)", "start", "trained")

    _heading(d, right, "M1+M2", "codes in place of pixels")
    _class_and_style(d, right, top)
    d.circle((right, 202), RADIUS, "*z*_{1}")
    d.circle((right, bottom), RADIUS, "*x*", "data")
    d.arrow([(right - 33, top + 17), (right - 12, 186)], "trained")
    d.arrow([(right + 33, top + 17), (right + 12, 186)], "trained")
    d.arrow([(right, bottom - 20), (right, 222)], "frozen", dashed=True)
    d.label((right - 14, 251), "frozen VAE", "end", "frozen", "small")

    note = "*y* is seen where there is a label; elsewhere it is summed over"
    d.label((260, 362), note, kind="faint", style="small")
    words = {"data": "seen", "chance": "never seen"}
    d.key(390, ("data", "chance", "trained", "frozen"), words)
    return d


def _heading(d: Drawing, centre: float, title: str, words: str) -> None:
    d.label((centre, 24), title, style="bold")
    d.label((centre, 44), words, kind="faint", style="small")


def _class_and_style(d: Drawing, centre: float, y: float) -> None:
    """The two causes of an image, side by side."""
    d.circle((centre - 42, y), RADIUS, "*y*", "data")
    d.circle((centre + 42, y), RADIUS, "*z*", "chance")
    d.label((centre - 42, y - 28), "class", kind="faint", style="small")
    d.label((centre + 42, y - 28), "style", kind="faint", style="small")


M2 = Diagram(
    name="m2",
    title="M2 as a graph, and M1+M2",
    alt=(
        "Three graphs. First, how M2 says that an image comes about: a class y and a style z "
        "together give the image x, by p(x|y,z). Second, how it guesses back: a classifier q(y|x) "
        "goes from the image to the class, and an encoder q(z|x,y) from image and class to the "
        "style. Third, M1+M2: a frozen encoder turns the image into a code μ, and M2 explains the "
        "code instead of the pixels. The class is seen for the labelled images only, and the sum "
        "over all classes takes its place for the others; the style is never seen."
    ),
    caption=(
        "M2 makes the class a part of the code; where it was not seen, the classifier's guesses "
        "weight a sum over all classes, and so images without labels train the classifier."
    ),
    draw=_m2,
)
