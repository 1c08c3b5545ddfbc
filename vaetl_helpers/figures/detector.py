"""Chapter 4c: the parts of a detector, and which of them learn a new class."""

from vaetl_helpers.figures.diagram import Diagram
from vaetl_helpers.figures.drawing import Drawing


def _detector() -> Drawing:
    d = Drawing(362)
    upper, lower = 72, 214
    scene = d.box((16, upper - 36, 72, 72), "", "data")
    d.box((26, upper - 26, 22, 28), "", "data")
    d.box((54, upper - 2, 24, 26), "", "data")
    d.label((52, upper + 56), "scene")
    backbone = d.box((120, upper - 26, 100, 52), "backbone", "frozen", "kept as it is")
    size = 10.4
    feature_map = d.cells((252, upper - 3 * size + 1), (6, 6), size, ("ink",))
    d.label((282, upper - 42), "feature map", style="small")
    words = "region proposal\nnetwork"
    proposer = d.box((350, upper - 36, 154, 72), words, "trained", "is something there?")
    align = d.box((232, lower - 30, 100, 60), "RoIAlign", "ink", "cuts out")
    head = d.box((360, lower - 30, 58, 60), "head", "trained")
    last = d.box((446, lower - 30, 58, 60), "last\nlayer", "trained", "new")
    d.arrow([scene.at("right"), backbone.at("left")])
    d.arrow([backbone.at("right"), feature_map.at("left")])
    d.arrow([feature_map.at("right"), proposer.at("left")])
    d.arrow([feature_map.at("bottom"), align.at("top")])
    d.arrow([proposer.at("bottom"), (427, 148), (312, 148), align.at("top", 30)])
    d.label((370, 140), "proposals")
    d.arrow([align.at("right"), head.at("left")])
    d.arrow([head.at("right"), last.at("left")])
    answer = d.box((360, 278, 144, 34), "class and box", "data")
    d.arrow([last.at("bottom"), answer.at("top", 43)])
    lines = (
        "The loss is a sum of four:\nproposals: something or\n"
        "nothing, and the box;\nhead: class, and the box"
    )
    d.label((16, lower - 16), lines, "start", "loss", "small")
    d.key(346, ("data", "trained", "frozen"))
    return d


DETECTOR = Diagram(
    name="detector",
    title="Faster R-CNN, and what learns a new class",
    alt=(
        "A scene goes through the backbone, which is frozen, and becomes a feature map. The region "
        "proposal network looks at it and proposes boxes in which something is. RoIAlign cuts the "
        "features inside each proposal out of the same map; the head and its last layer, which is "
        "new, turn them into a class and a corrected box. Proposal network, head and last layer "
        "are trained, by the sum of four losses: two of the proposals, two of the head."
    ),
    caption=(
        "Inside Faster R-CNN when it learns a new class: the backbone is frozen, the last layer is "
        "new, and what stands between them is trained further."
    ),
    draw=_detector,
)
