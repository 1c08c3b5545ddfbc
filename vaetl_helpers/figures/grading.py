"""For instructors: what a submission passes through."""

from vaetl_helpers.figures.diagram import Diagram
from vaetl_helpers.figures.drawing import Drawing


def _submission() -> Drawing:
    d = Drawing(470)
    d.label((120, 24), "the course’s side, trusted", style="bold")
    d.label((396, 86), "sandbox, hostile code", style="bold")
    d.zone((288, 98, 216, 250))
    inbox = d.box((16, 38, 208, 48), "inbox", "data", "zip, folder or notebook")
    find = d.box((16, 114, 208, 48), "find submissions", "ink", "whose, and which counts")
    inputs = d.box((16, 206, 208, 48), "draw hidden inputs", "chance", "by a secret key")
    judge = d.box((16, 282, 208, 48), "judge", "ink", "knows what is right")
    limits = "no network, none of your\nfiles, limited time"
    run = d.box((304, 114, 184, 62), "run the cells", "ink", limits)
    call = d.box((304, 206, 184, 124), "call each function", "ink", "on the inputs")
    result = d.box((16, 374, 208, 48), "result", "ink", "points, messages, notes")
    handed = d.box((304, 374, 184, 48), "pages, gradebook", "data", "grades.csv")
    d.arrow([inbox.at("bottom"), find.at("top")])
    d.arrow([find.at("right"), (304, 138)])
    d.arrow([run.at("bottom"), call.at("top")])
    d.arrow([inputs.at("right"), (304, 230)])
    d.arrow([(304, 306), judge.at("right")])
    d.arrow([inputs.at("bottom"), judge.at("top")])
    d.arrow([judge.at("bottom"), result.at("top")])
    d.arrow([result.at("right"), handed.at("left")])
    d.label((256, 130), "cells", style="small")
    d.label((256, 222), "inputs", style="small")
    d.label((256, 298), "outputs", style="small")
    words = "Inputs and outputs are numbers, tensors and words, never code."
    d.label((260, 454), words, kind="faint", style="small")
    return d


SUBMISSION = Diagram(
    name="submission",
    title="What a submission passes through",
    alt=(
        "Two sides. On the course’s side, which is trusted, submissions are found in an inbox, and "
        "hidden inputs are drawn by a secret key. A submission’s cells go into the sandbox, which "
        "has no network, none of your files, and limited time; there its functions are called on "
        "the inputs. Their outputs come back to the judge on the trusted side, who knows what is "
        "right. The result, points and messages, becomes pages, a gradebook and grades.csv."
    ),
    caption=(
        "Hostile code runs in the sandbox and judges nothing: inputs go in, outputs come out, and "
        "the expected answer stays on the course’s side."
    ),
    draw=_submission,
)
