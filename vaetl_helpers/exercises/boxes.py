"""Chapter 4c: whether a box fits, one number for a detector, and a detector for new classes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor

from vaetl_helpers import detection
from vaetl_helpers.exercises.engine import Function, Values
from vaetl_helpers.exercises.forms import items, number, tensor
from vaetl_helpers.exercises.toolkit import RETURNED, exercise, plain, state_of, whole_number

# boxes.iou


@exercise(
    id="boxes.iou",
    level=2,
    minutes=10,
    points=3,
    hints=(
        "The shared part is a box as well: its left upper corner is the larger of the two, its "
        "right lower corner the smaller.",
        "torch.maximum(a[:, None, :2], b[:, :2]) compares all pairs and has the shape [n, m, 2]. "
        "A side that comes out negative means that the boxes do not meet: clamp it to 0.",
        "union = area of a [n, 1] + area of b [m] - shared [n, m].",
    ),
    steps=(
        "the shared box of each pair: its two corners",
        "the area of the shared box, 0 where the boxes do not meet",
        "the areas of all a and of all b",
        "the union counts what is shared once",
    ),
    after="Boxes that do not meet have an IoU of 0, though both sides of their gap are negative.",
    alternative="torchvision.ops.box_iou(a, b) is the same, in one call.",
    form=tensor,
)
def iou(a, b):
    """Intersection over union of each box of a [n, 4] with each of b [m, 4]: [n, m].

    A box is (left, upper, right, lower), in pixels; y grows downwards.
    """
    upper_left = torch.maximum(a[:, None, :2], b[:, :2])
    lower_right = torch.minimum(a[:, None, 2:], b[:, 2:])
    shared = (lower_right - upper_left).clamp(min=0).prod(-1)
    area_a = (a[:, 2:] - a[:, :2]).prod(-1)
    area_b = (b[:, 2:] - b[:, :2]).prod(-1)
    return shared / (area_a[:, None] + area_b - shared)


@iou.draw
def _(seed: int) -> Values:
    generator = torch.Generator().manual_seed(seed)
    first, second = (whole_number(low, low + 3, generator) for low in (4, 3))
    a, b = (_boxes(count, generator) for count in (first, second))
    a[0] = torch.tensor([0.0, 0.0, 9.0, 7.0])
    b[0] = torch.tensor([60.0, 55.0, 68.0, 67.0])  # apart from a[0] in both directions
    a[1] = b[1] + torch.tensor([2.0, 3.0, -2.0, -1.0])  # inside
    a[2] = b[2] + torch.tensor([3.0, -2.0, 4.0, -1.0])  # meets it
    return {"a": a, "b": b}


def _boxes(count: int, generator: torch.Generator) -> Tensor:
    corner = 40 * torch.rand(count, 2, generator=generator)
    sides = 10 + 15 * torch.rand(count, 2, generator=generator)
    return torch.cat([corner, corner + sides], dim=1)


iou.compare("the result", says="those are not the shared areas divided by the unions")

iou.wrong(
    "not clamped",
    says="boxes that do not meet get a shared area: two negative sides multiply to a positive one, "
    "so clamp the sides to 0",
    edit={
        "shared = (lower_right - upper_left).clamp(min=0).prod(-1)": (
            "shared = (lower_right - upper_left).prod(-1)"
        )
    },
)
iou.wrong(
    "clamped too late",
    says="boxes that do not meet get a shared area: clamp the sides, before they are multiplied",
    edit={
        "shared = (lower_right - upper_left).clamp(min=0).prod(-1)": (
            "shared = (lower_right - upper_left).prod(-1).abs().clamp(min=0)"
        )
    },
)
iou.wrong(
    "shared counted twice",
    says="the union counts what is shared twice: subtract it once",
    last_line="return shared / (area_a[:, None] + area_b)",
)
iou.wrong(
    "areas",
    says="those are the shared areas in square pixels: divide by the unions",
    last_line="return shared",
)
iou.wrong(
    "of the smaller",
    says="you divided by the smaller of the two areas: divide by the union",
    last_line="return shared / torch.minimum(area_a[:, None], area_b)",
)
iou.wrong(
    "of a",
    says="you divided by the area of a alone: divide by the union",
    last_line="return shared / area_a[:, None]",
)
iou.wrong(
    "inclusive pixels",
    says="you added 1 to the sides: edges are coordinates here, so a side is right - left",
    edit={
        "shared = (lower_right - upper_left).clamp(min=0).prod(-1)": (
            "shared = (lower_right - upper_left + 1).clamp(min=0).prod(-1)"
        ),
        "area_a = (a[:, 2:] - a[:, :2]).prod(-1)": "area_a = (a[:, 2:] - a[:, :2] + 1).prod(-1)",
        "area_b = (b[:, 2:] - b[:, :2]).prod(-1)": "area_b = (b[:, 2:] - b[:, :2] + 1).prod(-1)",
    },
)
iou.wrong(
    "width and height",
    says="you took the last two numbers for width and height: they are the right and lower edge",
    edit={
        "lower_right = torch.minimum(a[:, None, 2:], b[:, 2:])": (
            "lower_right = torch.minimum((a[:, :2] + a[:, 2:])[:, None], b[:, :2] + b[:, 2:])"
        ),
        "area_a = (a[:, 2:] - a[:, :2]).prod(-1)": "area_a = a[:, 2:].prod(-1)",
        "area_b = (b[:, 2:] - b[:, :2]).prod(-1)": "area_b = b[:, 2:].prod(-1)",
    },
)


# boxes.average_precision

NEVER_FOUND = (
    "objects that were never found are left out: recall is hits so far divided by `objects`, and "
    "levels that are not reached count as 0"
)
# Both wrong answers that share it are nearly the same number.
AT_THE_FIRST = (
    "that is the precision at the first box that reaches each level, which is a hit: p(r) is the "
    "best precision from there on"
)


@exercise(
    id="boxes.average_precision",
    level=3,
    minutes=15,
    points=3,
    hints=(
        "Hits so far are hit.cumsum(0); divided by the boxes so far they give the precision, "
        "divided by `objects` the recall.",
        "A level is reached from the box on whose recall is at least it. p(r) is the largest "
        "precision among *all* boxes that reach it, not that of the first.",
        "reached = recall >= levels[:, None] is a table of 101 rows; (reached * precision).amax(1) "
        "is p(r), 0 where nothing reaches it.",
    ),
    steps=(
        "hits so far",
        "precision and recall after each box",
        "for each of 101 levels from 0 to 1: which boxes reach it, and the best precision there",
        "the mean over the levels",
    ),
    after="A false alarm below the last hit costs nothing; one above it costs all that follows.",
    alternative="precision.flip(0).cummax(0).values.flip(0) makes the staircase without a table.",
    form=number,
)
def average_precision(hit, objects):
    """COCO's average precision of one class, from 0 to 1.

    hit [k] is 1.0 for each box that hits an object and 0.0 for a false alarm, the
    highest score first; `objects` is how many true boxes there are.
    """
    found = hit.cumsum(0)
    precision = found / torch.arange(1, len(hit) + 1)
    recall = found / objects
    levels = torch.linspace(0, 1, 101)
    reached = recall >= levels[:, None]
    best = (reached * precision).amax(1)
    return best.mean()


@average_precision.draw
def _(seed: int) -> Values:
    generator = torch.Generator().manual_seed(seed)
    # No recall of these many objects, but 0 and 1, is one of the 101 levels.
    objects = (7, 11, 13)[seed % 3]
    boxes = whole_number(9, 16, generator)
    hit = torch.randint(2, (boxes,), generator=generator).float()
    hit[:6] = torch.tensor([1.0, 0.0, 0.0, 1.0, 1.0, 0.0])  # precision falls and rises again
    hit[hit.cumsum(0) > objects - 1] = 0  # and one object is missed
    return {"hit": hit, "objects": objects}


average_precision.compare(
    "the result", says="that is not the mean of p(r) over the 101 levels", tolerance=1e-5
)

average_precision.wrong(
    "first precision",
    says=AT_THE_FIRST,
    edit={
        "best = (reached * precision).amax(1)": (
            "best = precision[reached.float().argmax(1)] * reached.any(1)"
        )
    },
)
average_precision.wrong(
    "levels reached",
    says=NEVER_FOUND,
    last_line="return best[best > 0].mean()",
)
average_precision.wrong(
    "recall of what was found",
    says=NEVER_FOUND,
    edit={"recall = found / objects": "recall = found / found[-1]"},
)
average_precision.wrong(
    "at the hits",
    says=AT_THE_FIRST,
    last_line="return (precision * hit).sum() / objects",
)
average_precision.wrong(
    "eleven levels",
    says="those are the eleven levels of PASCAL VOC: COCO takes 101",
    edit={"levels = torch.linspace(0, 1, 101)": "levels = torch.linspace(0, 1, 11)"},
)
average_precision.wrong(
    "precision of all",
    says="that is the precision after the last box alone: go through the levels of recall",
    last_line="return precision[-1]",
)
average_precision.wrong(
    "per cent",
    says="that is in per cent: return a number from 0 to 1",
    last_line="return 100 * best.mean()",
)
average_precision.wrong(
    "precision of objects",
    says="precision is hits so far divided by the boxes so far, not by the objects",
    edit={"precision = found / torch.arange(1, len(hit) + 1)": "precision = found / objects"},
)


# boxes.new_class

OUTPUTS = "the outputs of the new last layer, for classes and for boxes"
KEPT = "the weights of backbone, RPN and head"
LEARNS = "which parameters require a gradient"
LISTED = "which parameters were returned"


@exercise(
    id="boxes.new_class",
    level=2,
    minutes=8,
    points=2,
    hints=(
        "Two lines change the detector, one makes the list; the old last layer knows how many "
        "numbers come in: box_predictor.cls_score.in_features.",
        "The background needs an output of its own, so the new layer is "
        "FastRCNNPredictor(inputs, classes + 1).",
        "detector.backbone.requires_grad_(False), and then [p for p in detector.parameters() if "
        "p.requires_grad].",
    ),
    after="All other weights are those that were learned on other classes: that is the transfer.",
    alternative="the package's detection.replace_head and transfer.freeze, which also fixes modes.",
)
def new_class(detector, classes):
    """Changes a Faster R-CNN for so many other classes, and returns a list:
    the parameters that are left to train.

    A new FastRCNNPredictor(inputs, outputs) becomes detector.roi_heads.box_predictor,
    and detector.backbone learns no more. RPN and head keep their weights, and learn.
    """
    inputs = detector.roi_heads.box_predictor.cls_score.in_features
    detector.roi_heads.box_predictor = FastRCNNPredictor(inputs, classes + 1)
    detector.backbone.requires_grad_(False)
    return [p for p in detector.parameters() if p.requires_grad]


@new_class.draw
def _(seed: int) -> Values:
    generator = torch.Generator().manual_seed(seed)
    known = whole_number(5, 9, generator)
    return {
        "known": known,
        "classes": whole_number(1, 3, generator),
        "seed": seed % 997,
        "head": torch.randn(4 * known + 4, 128, generator=generator),  # of the boxes' layer
    }


@new_class.drive
def _(function: Function, inputs: Values) -> Values:
    torch.manual_seed(inputs["seed"])
    detector: Any = detection.small_detector(inputs["known"])
    with torch.no_grad():
        detector.roi_heads.box_predictor.bbox_pred.weight.copy_(inputs["head"])
    returned = items(function(detector, inputs["classes"]))
    last = detector.roi_heads.box_predictor
    layers = [getattr(last, name, None) for name in ("cls_score", "bbox_pred")]
    if not all(isinstance(layer, nn.Linear) for layer in layers):
        return {RETURNED: f"the last layer must be a FastRCNNPredictor, and is {last!s:.60}"}
    kept = (detector.backbone, detector.rpn, detector.roi_heads.box_head)
    parameters = list(detector.parameters())
    listed = {id(parameter) for parameter in returned or ()}
    strange = listed - {id(parameter) for parameter in parameters}
    fault = f"a list of parameters was expected, got {plain(returned)!s:.60}"
    if strange:
        fault = "the list holds something that is no parameter of the changed detector"
    return {
        RETURNED: 1 if returned is not None and not strange else fault,
        OUTPUTS: torch.tensor([float(layer.out_features) for layer in layers if layer]),
        KEPT: torch.cat([state_of(part) for part in kept]),
        LEARNS: torch.tensor([float(parameter.requires_grad) for parameter in parameters]),
        LISTED: torch.tensor([float(id(parameter) in listed) for parameter in parameters]),
    }


new_class.part("the changed detector", points=1)
new_class.compare(
    OUTPUTS,
    says="the new last layer has other outputs than one a class and one for the background, and "
    "four numbers for each",
)
new_class.compare(KEPT, says="backbone, RPN and head are to keep the weights that they had")
new_class.compare(LEARNS, says="all but the backbone's parameters are to require a gradient")
new_class.part("the parameters that train", points=1)
new_class.compare(RETURNED, says="a list of the parameters that train was expected")
new_class.compare(LISTED, says="the list is not that of the parameters that require a gradient")

NEW = "detector.roi_heads.box_predictor = FastRCNNPredictor(inputs, classes + 1)"
FREEZE = "detector.backbone.requires_grad_(False)"

new_class.wrong(
    "no background",
    says="the background has no output: classes + 1",
    edit={NEW: "detector.roi_heads.box_predictor = FastRCNNPredictor(inputs, classes)"},
)
new_class.wrong(
    "old last layer",
    says="the last layer is the old one: put a new FastRCNNPredictor in its place",
    edit={NEW: ""},
)
new_class.wrong(
    "classes alone",
    says="the boxes' layer, bbox_pred, is the old one: replace the whole FastRCNNPredictor",
    edit={NEW: "detector.roi_heads.box_predictor.cls_score = nn.Linear(inputs, classes + 1)"},
)
new_class.wrong(
    "an attribute",
    says="the backbone still learns: requires_grad of a module is an attribute that nobody reads, "
    "and requires_grad_(False), with an underscore, the method",
    edit={FREEZE: "detector.backbone.requires_grad = False"},
)
new_class.wrong(
    "all frozen",
    says="RPN and head are frozen as well: only the backbone is to be",
    edit={FREEZE: "detector.requires_grad_(False)"},
)
new_class.wrong(
    "last layer alone",
    says="RPN and head are frozen as well: only the backbone is to be, and they learn along",
    edit={
        NEW: "detector.requires_grad_(False)\n" + NEW,
    },
)
new_class.wrong(
    "frozen backbone and RPN",
    says="the RPN is frozen, too: only the backbone is to be",
    edit={FREEZE: FREEZE + "\ndetector.rpn.requires_grad_(False)"},
)
new_class.wrong(
    "from scratch",
    says="the weights are new ones: keep those of backbone, RPN and head",
    edit={
        FREEZE: FREEZE
        + "\nfor layer in detector.modules():\n"
        + "    if isinstance(layer, nn.Conv2d):\n"
        + "        layer.reset_parameters()"
    },
)
new_class.wrong(
    "all listed",
    says="the list holds the frozen parameters, too: take those with requires_grad",
    last_line="return list(detector.parameters())",
)
new_class.wrong(
    "last layer listed",
    says="the list holds the last layer alone: RPN and head learn along",
    last_line="return list(detector.roi_heads.box_predictor.parameters())",
)
new_class.wrong(
    "no list",
    says="a list of parameters was expected, got None",
    last_line="[p for p in detector.parameters() if p.requires_grad]",
)
