"""Chapters 4 and 5: what is kept, what is frozen, and what is new."""

from vaetl_helpers.figures.diagram import Diagram
from vaetl_helpers.figures.drawing import Box, Drawing


def _network(d: Drawing, y: float, body: tuple[str, str], head: tuple[str, str]) -> Box:
    """A row: images, body, head, logits; body and head as (kind, where they begin)."""
    images = d.box((130, y - 20, 30, 40), "*x*", "data")
    first = d.box((188, y - 24, 142, 48), "body", body[0], body[1])
    last = d.box((358, y - 24, 90, 48), "head", head[0], head[1])
    d.arrow([images.at("right"), first.at("left")])
    d.arrow([first.at("right"), last.at("left")])
    d.arrow([last.at("right"), (476, y)])
    d.label((480, y + 5), "*s*", "start")
    return last


def _frozen() -> Drawing:
    d = Drawing(352)
    rows = {"from scratch": 44, "fine-tuning": 120, "linear probe": 196, "LP-FT": 272}
    for name, y in rows.items():
        d.label((16, y + 5), name, "start", style="bold")
    random, source = "begins at random", "from the source task"
    _network(d, rows["from scratch"], ("trained", random), ("trained", "at random"))
    _network(d, rows["fine-tuning"], ("trained", source), ("trained", "new"))
    probe = _network(d, rows["linear probe"], ("frozen", source), ("trained", "new"))
    last = _network(d, rows["LP-FT"], ("trained", source), ("trained", "the probe’s"))
    d.arrow([probe.at("bottom"), last.at("top")], "trained", thick=True)
    d.key(334, ("data", "trained", "frozen"))
    return d


FROZEN = Diagram(
    name="frozen",
    title="Body, head, and what is frozen",
    alt=(
        "Four rows, each a network of a body and a head that turns an image x into logits s. From "
        "scratch: both begin at random and are trained. Fine-tuning: the body comes from the "
        "source task, the head is new, both are trained. Linear probe: the body comes from the "
        "source task and is frozen, and only the head is trained. LP-FT: an arrow carries the "
        "probe's trained head down to a network whose body comes from the source task, and then "
        "both are trained."
    ),
    caption=(
        "The methods differ in where body and head begin, and in what is frozen; LP-FT is "
        "fine-tuning that begins with the head of a linear probe."
    ),
    draw=_frozen,
)


def _surgery() -> Drawing:
    d = Drawing(354)
    upper, lower = 100, 240
    d.label((16, 24), "the VAE: images without labels", "start", style="bold")
    image = d.box((16, upper - 24, 44, 48), "*x*", "data")
    body = d.box((90, upper - 24, 84, 48), "body", "trained")
    log_var = d.box((206, upper - 52, 84, 42), "to log *σ*^{2}", "trained")
    mu = d.box((206, upper + 10, 84, 42), "to *μ*", "trained")
    z = d.circle((340, upper), 18, "*z*", "chance")
    decoder = d.funnel((386, upper - 42, 78, 84), (46, 84), "decoder", "trained")
    d.arrow([image.at("right"), body.at("left")])
    d.arrow([body.at("right", -11), log_var.at("left")])
    d.arrow([body.at("right", 11), mu.at("left")])
    d.arrow([log_var.at("right"), (324, upper - 8)])
    d.arrow([mu.at("right"), (324, upper + 8)])
    d.arrow([z.at("right"), decoder.at("left")])
    d.arrow([decoder.at("right"), (490, upper)])
    d.label((494, upper + 5), "*π*", "start")
    d.label((504, 168), "left behind: *σ*, *z*, decoder", "end", "faint", "small")

    image = d.box((16, lower - 24, 44, 48), "*x*", "data")
    copied = d.box((90, lower - 24, 84, 48), "body", "trained", "copied")
    copied_mu = d.box((206, lower - 24, 84, 48), "to *μ*", "trained", "copied")
    head = d.box((340, lower - 24, 124, 48), "linear head", "trained", "new, at random")
    d.arrow([image.at("right"), copied.at("left")])
    d.arrow([copied.at("right"), copied_mu.at("left")])
    d.arrow([copied_mu.at("right"), head.at("left")])
    d.arrow([head.at("right"), (490, lower)])
    d.label((494, lower + 5), "*s*", "start")
    d.arrow([body.at("bottom"), copied.at("top")], "trained", thick=True)
    d.arrow([mu.at("bottom"), copied_mu.at("top")], "trained", thick=True)
    d.label((16, lower + 54), "the classifier: few labels", "start", style="bold")
    d.key(336, ("data", "trained", "chance"))
    return d


SURGERY = Diagram(
    name="surgery",
    title="From a VAE to a classifier",
    alt=(
        "Above, a VAE: body, the two layers to μ and to log σ², a drawn code z, and the decoder. "
        "Below, a classifier: the body and the layer to μ are copied from the VAE, and μ goes "
        "into a new linear head, which begins at random and returns logits s. The layer to log σ², "
        "the code and the decoder are left behind."
    ),
    caption=(
        "The surgery: the encoder as far as μ is copied and gets a new head; everything that only "
        "serves to draw a code and to decode it is left behind."
    ),
    draw=_surgery,
)
