"""Chapter 5: what each repeat draws anew, from a run to the ledger, which rule decides first."""

from vaetl_helpers.figures.diagram import Diagram
from vaetl_helpers.figures.drawing import Drawing


def _draws() -> Drawing:
    d = Drawing(470)
    d.label((16, 24), "pool of the target task, two classes", "start", style="bold")
    pool = d.cells((16, 36), (36, 2), 13.6, _pool())
    for number, centre in enumerate((90, 260, 430), start=1):
        d.arrow([(centre, pool.bottom + 3), (centre, 106)], "data")
        _repeat(d, centre, number)
    mean = d.box((120, 392, 280, 34), "mean difference, and its interval")
    d.arrow([(90, 358), (90, 409), mean.at("left")])
    d.arrow([(260, 358), mean.at("top")])
    d.arrow([(430, 358), (430, 409), mean.at("right")])
    d.key(454, ("data", "chance", "trained"), {"data": "labels", "chance": "fresh seed"})
    return d


def _pool() -> list[str]:
    """72 cells, of which every row has twelve with a label, as if dealt from a shuffled pack."""
    kinds = []
    for column in range(36):
        # 11 and 7 are prime to 36, so that each row marks twelve columns, spread unevenly.
        kinds.append("data" if column * 11 % 36 < 12 else "ink")
        kinds.append("data" if (column * 7 + 5) % 36 < 12 else "ink")
    return kinds


def _repeat(d: Drawing, centre: float, number: int) -> None:
    """One repeat: label draw, pretraining seed, both methods, their difference."""
    labels = d.box((centre - 56, 106, 112, 36), f"label draw {number}", "data")
    seed = d.circle((centre - 33, 194), 20, f"*s*_{{{number}}}", "chance")
    vae = d.box((centre + 6, 175, 60, 38), "VAE", "trained")
    scratch = d.box((centre - 66, 252, 66, 44), "scratch", "trained")
    tuned = d.box((centre + 6, 252, 60, 44), "fine-\ntuned", "trained")
    d.arrow([seed.at("right"), vae.at("left")])
    d.arrow([vae.at("bottom"), tuned.at("top")], "trained")
    for side, method in ((-1, scratch), (1, tuned)):
        edge = "left" if side < 0 else "right"
        outside = centre + side * 78
        start, end = labels.at(edge), method.at(edge)
        d.arrow([start, (outside, start[1]), (outside, end[1]), end], "data")
    d.label((centre, 350), f"difference {number}")
    d.arrow([scratch.at("bottom"), (centre - 33, 332)])
    d.arrow([tuned.at("bottom"), (centre + 36, 332)])


DRAWS = Diagram(
    name="draws",
    title="Label draws and fresh pairs of seeds",
    alt=(
        "From the pool of the target three label draws are dealt, with no image in two of them. "
        "Each draw forms a pair with a fresh seed, from which a VAE is pretrained anew. Within a "
        "pair two methods learn from the same labels, one of them from the VAE; their difference "
        "is one repeat. The mean of the differences has the interval."
    ),
    caption=(
        "What makes a repeat: a label draw and a fresh seed for the pretraining; both methods get "
        "the same labels, so that the difference is taken within a pair."
    ),
    draw=_draws,
)


def _ledger() -> Drawing:
    d = Drawing(440)
    d.label((100, 24), "in the run", style="bold")
    study = d.box((16, 38, 168, 50), "study", "ink", "methods × fresh pairs")
    effect = d.box((16, 116, 168, 50), "effect, interval", "ink", "paired differences")
    record = d.box((16, 194, 168, 50), "record", "ink", "id: 05/accuracy/…")
    d.label((394, 24), "fixed before the record", style="bold")
    words = "which records decide,\nwhich are primary,\nthe margin *δ*"
    contract = d.box((284, 38, 220, 84), "claims.yaml", "frozen", words)
    ledger = d.box((284, 194, 220, 50), "ledger", "ink", "primary rows: Holm")
    d.arrow([study.at("bottom"), effect.at("top")])
    d.arrow([effect.at("bottom"), record.at("top")])
    d.arrow([contract.at("bottom"), ledger.at("top")])
    d.arrow([record.at("right"), ledger.at("left")])
    d.label((234, 210), "by its id", style="small")
    d.arrow([ledger.at("bottom"), (394, 274)])
    _verdicts(d, 394, 296)
    return d


VERDICTS = {  # an example of an interval for each verdict, in margins
    "supported": (0.25, 2.2),
    "contradicted": (-1.9, -0.35),
    "no gain worth *δ*": (-0.7, 0.45),
    "undecided": (-0.6, 1.9),
}


def _verdicts(d: Drawing, zero: float, top: float) -> None:
    """The four words, each beside an interval on an axis with 0 and the margin ±δ."""
    margin, line = 42, 27
    bottom = top + 12 + line * len(VERDICTS)
    d.label((294, top), "verdict, by a fixed rule", "end", style="bold")
    d.bar((zero - margin, top + 8, 2 * margin, bottom - top - 8), "frozen")
    d.rule((zero, top + 8), (zero, bottom), "ink")
    for place, text in ((zero - margin, "−*δ*"), (zero, "0"), (zero + margin, "+*δ*")):
        d.label((place, top), text, kind="faint", style="small")
    for number, (word, (low, high)) in enumerate(VERDICTS.items()):
        y = top + 24 + number * line
        d.label((294, y + 5), word, "end")
        low, high = zero + margin * low, zero + margin * high
        d.interval(low, high, y)


LEDGER = Diagram(
    name="ledger",
    title="From a run to a row of the ledger",
    alt=(
        "A study gives effects with intervals, from paired differences, and each becomes a record "
        "with an id. A file fixed before the record, claims.yaml, says which ones decide a claim, "
        "which of them are primary, and the margin δ. The ledger finds the record by its id and "
        "adjusts primary rows by Holm. A fixed rule gives the verdict: supported if the interval "
        "lies above 0, contradicted if it lies below, no gain worth δ if it lies within ±δ, and "
        "otherwise undecided."
    ),
    caption=(
        "From a run to the ledger: what decides was written down before, the record is found by "
        "its id, and a fixed rule turns its interval into one of four words."
    ),
    draw=_ledger,
)


# The rule's questions in their order, a note to each, and the verdict where the answer is yes.
RULES = (
    ("fewer than five repeats,\nor all of them alike?", "", "undecided"),
    ("interval inside ±*δ*?", "wherever 0 lies", "no gain worth *δ*"),
    ("interval above 0?", "", "supported"),
    ("interval below 0?", "", "contradicted"),
)


def _verdict() -> Drawing:
    d = Drawing(374)
    top, step = 16, 76
    for number, (question, note, word) in enumerate(RULES):
        y = top + number * step
        asked = d.box((16, y, 222, 52), question, "ink", note)
        said = d.box((300, y + 8, 204, 36), word, "loss")
        d.arrow([asked.at("right"), said.at("left")])
        d.label((266, y + 20), "yes", style="small")
        d.arrow([asked.at("bottom"), (127, y + step)])
        d.label((146, y + 68), "no", kind="faint", style="small")
    d.box((16, top + 4 * step, 222, 36), "undecided", "loss")
    words = "Supported or contradicted needs\n*p* < 0.05 after Holm, if primary."
    d.label((300, top + 4 * step + 15), words, "start", style="small")
    return d


VERDICT = Diagram(
    name="verdict",
    title="Which rule decides first",
    alt=(
        "Four questions, one below the other, and the first yes decides. Are there fewer than five "
        "repeats, or are all of them alike? Then undecided. Does the interval lie inside plus or "
        "minus δ, wherever 0 is? Then no gain worth δ. Does it lie above 0? Then supported. Below "
        "0? Then contradicted. Where every answer is no, undecided. To be supported or "
        "contradicted a primary row also needs an adjusted p value below 0.05."
    ),
    caption=(
        "The rule of a verdict: the questions are asked from the top, and the first yes decides, "
        "so that an interval within the margin is no gain even where it leaves out 0."
    ),
    draw=_verdict,
)
