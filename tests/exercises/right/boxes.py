"""Right answers of chapter 4c."""

import numpy as np
import torch
from torch import nn
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor
from torchvision.ops import box_iou

from vaetl_helpers import detection
from vaetl_helpers.transfer import freeze, trainable

from . import ways


def iou_by_loop(a, b):
    table = torch.zeros(len(a), len(b))
    for i, one in enumerate(a.tolist()):
        for j, other in enumerate(b.tolist()):
            width = max(0, min(one[2], other[2]) - max(one[0], other[0]))
            height = max(0, min(one[3], other[3]) - max(one[1], other[1]))
            areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
            table[i, j] = width * height / (sum(areas) - width * height)
    return table


def iou_by_numpy(a, b):
    a, b = a.numpy(), b.numpy()
    left, upper = (np.maximum(a[:, None, i], b[:, i]) for i in (0, 1))
    right, lower = (np.minimum(a[:, None, i], b[:, i]) for i in (2, 3))
    shared = np.clip(right - left, 0, None) * np.clip(lower - upper, 0, None)
    area = (a[:, 2] - a[:, 0]) * (a[:, 3] - a[:, 1])
    other = (b[:, 2] - b[:, 0]) * (b[:, 3] - b[:, 1])
    return shared / (area[:, None] + other - shared)


def iou_by_relu(a, b):
    sides = torch.minimum(a[:, None, 2:], b[:, 2:]) - torch.maximum(a[:, None, :2], b[:, :2])
    shared = sides.relu().prod(2)
    area_a, area_b = ((c[:, 2] - c[:, 0]) * (c[:, 3] - c[:, 1]) for c in (a, b))
    return shared / (area_a.unsqueeze(1) + area_b.unsqueeze(0) - shared)


def iou_row_by_row(a, b):
    return [box_iou(box[None], b)[0] for box in a]


# boxes.average_precision


def precision_by_staircase(hit, objects):
    found = torch.cumsum(hit, 0)
    precision = found / torch.arange(1, len(hit) + 1)
    stairs = precision.flip(0).cummax(0).values.flip(0)
    total = 0.0
    for level in range(101):
        reached = (100 * found >= level * objects).nonzero()
        if len(reached):
            total += stairs[reached[0, 0]].item()
    return total / 101


def precision_by_lists(hit, objects):
    hits, points = 0, []
    for place, right in enumerate(hit.tolist(), start=1):
        hits += right
        points.append((hits / place, hits / objects))
    best = [max([p for p, r in points if r >= i / 100], default=0) for i in range(101)]
    return sum(best) / 101


def precision_by_numpy(hit, objects):
    found = np.cumsum(hit.numpy())
    precision = found / np.arange(1, len(found) + 1)
    stairs = np.maximum.accumulate(precision[::-1])[::-1]
    place = np.searchsorted(found / objects, np.linspace(0, 1, 101))
    return np.append(stairs, 0)[place].mean()


def precision_by_where(hit, objects):
    found = hit.double().cumsum(0)
    precision = found / torch.arange(1, hit.numel() + 1)
    levels = torch.arange(101) / 100
    table = torch.where(found / objects >= levels[:, None], precision, 0)
    return table.max(1).values.mean()


def new_class(detector, classes):
    old = detector.roi_heads.box_predictor
    heads = detector.roi_heads
    heads.box_predictor = FastRCNNPredictor(old.bbox_pred.in_features, 1 + classes)
    for parameter in detector.backbone.parameters():
        parameter.requires_grad = False
    return list(filter(lambda parameter: parameter.requires_grad, detector.parameters()))


def new_class_by_the_package(detector, classes):
    detection.replace_head(detector, classes)
    freeze(detector.backbone)
    return trainable(detector)


def new_class_in_parts(detector, classes):
    detector.backbone.requires_grad_(False).eval()
    last = detector.roi_heads.box_predictor
    last.cls_score = nn.Linear(last.cls_score.in_features, classes + 1)
    last.bbox_pred = nn.Linear(last.bbox_pred.in_features, 4 * (classes + 1))
    return [*detector.rpn.parameters(), *detector.roi_heads.parameters()]


def new_class_lazily(detector, classes):
    new_class_in_parts(detector, classes)
    yield from detector.rpn.parameters()
    yield from detector.roi_heads.parameters()


def new_class_as_a_dict(detector, classes):
    new_class(detector, classes)
    kept = {name: p for name, p in detector.named_parameters() if p.requires_grad}
    return kept.values()


RIGHT = {
    "boxes.new_class": [
        new_class,
        new_class_by_the_package,
        new_class_in_parts,
        new_class_lazily,
        new_class_as_a_dict,
        ways.then(new_class, tuple),
        *ways.all_ways(new_class),
    ],
    "boxes.iou": [
        box_iou,
        iou_by_loop,
        iou_by_numpy,
        iou_by_relu,
        iou_row_by_row,
        ways.then(iou_by_relu, ways.double),
        *ways.all_ways(iou_by_relu),
    ],
    "boxes.average_precision": [
        precision_by_staircase,
        precision_by_lists,
        precision_by_numpy,
        precision_by_where,
        ways.then(precision_by_lists, np.float32),
        ways.then(precision_by_lists, torch.tensor),
        *ways.all_ways(precision_by_lists),
    ],
}
