"""Chapter 1: a network and the four parts of a training step."""

from vaetl_helpers.figures.diagram import Diagram
from vaetl_helpers.figures.drawing import Drawing


def _training_step() -> Drawing:
    d = Drawing(300)
    row = 102
    images = d.box((16, row - 26, 80, 52), "images\n*x*", "data")
    network = d.box((144, row - 56, 146, 112), "", "trained")
    d.label((217, row - 37), "network, *θ*")
    d.units([(172, 4), (217, 5), (262, 3)], row + 11, 16)
    logits = d.box((336, row - 26, 64, 52), "logits")
    loss = d.box((432, row - 20, 72, 40), "2  loss", "loss")
    labels = d.box((432, 14, 72, 36), "labels", "data")
    d.brace(16, 400, 36, "1  forward", "above")
    d.arrow([images.at("right"), network.at("left")])
    d.arrow([network.at("right"), logits.at("left")])
    d.arrow([logits.at("right"), loss.at("left")])
    d.arrow([labels.at("bottom"), loss.at("top")])

    gradients = d.box((144, 200, 146, 48), "gradients *g*", "loss", "one per parameter")
    d.arrow([loss.at("bottom"), (468, 224), gradients.at("right")], "loss", thick=True)
    d.label((379, 215), "3  backward", kind="loss")
    d.arrow([gradients.at("top"), network.at("bottom")], "trained", thick=True)
    d.label((204, 184), "4  update:  *θ* ← *θ* − *η* *g*", "end", "trained")
    d.key(284, ("data", "trained", "loss"))
    return d


TRAINING_STEP = Diagram(
    name="training-step",
    title="A network and one training step",
    alt=(
        "A batch of images goes forward through the network, whose parameters are θ, and becomes "
        "logits. Logits and labels give one number, the loss. From the loss an arrow goes backward "
        "to the gradients, one per parameter, and from there a last arrow goes up into the "
        "network: the update θ ← θ − η g."
    ),
    caption=(
        "One training step: forward to the logits, the loss, backward to the gradients, and the "
        "update, after which the same network is a little better on this batch."
    ),
    draw=_training_step,
)
