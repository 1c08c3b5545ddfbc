"""Chapter 2b: two processes share a batch."""

from vaetl_helpers.figures.diagram import Diagram
from vaetl_helpers.figures.drawing import Drawing


def _shared_batch() -> Drawing:
    d = Drawing(330)
    batch = d.box((12, 126, 88, 56), "a batch", "data", "129 images")
    total = d.box((382, 130, 122, 48), "all_reduce", "ink", "adds them up")
    for row, rank, images in ((66, "0", 65), (242, "1", 64)):
        part = d.box((132, row - 20, 88, 40), f"{images} images", "data")
        network = d.box((252, row - 26, 98, 52), "network", "trained", "its own copy")
        gradients = d.box((382, row - 26, 122, 52), "gradients", "loss", "of its part")
        above = row < batch.y
        d.label((316, row - 40 if above else row + 44), f"process {rank}", style="bold")
        d.arrow([batch.at("top" if above else "bottom"), (56, row), part.at("left")])
        d.arrow([part.at("right"), network.at("left")])
        d.arrow([network.at("right"), gradients.at("left")])
        end = gradients.at("bottom" if above else "top")
        d.arrow([end, total.at("top" if above else "bottom")], "loss", thick=True)
        entry = network.at("bottom" if above else "top")
        begin = total.at("left", -8 if above else 8)
        d.arrow([begin, (entry[0], begin[1]), entry], "trained", thick=True)
    d.label((290, 159), "the same update", "end", "trained")
    d.key(314, ("data", "trained", "loss"))
    return d


SHARED_BATCH = Diagram(
    name="shared-batch",
    title="Two processes share a batch",
    alt=(
        "A batch of 129 images is split: process 0 takes 65, process 1 the other 64. Each sends "
        "its part through its own copy of the network and gets gradients. all_reduce adds the two "
        "up, and from the sum an arrow goes back to both copies: the same update."
    ),
    caption=(
        "Each process computes with its part, all_reduce adds the gradients up, and both copies "
        "make the same update."
    ),
    draw=_shared_batch,
)
