"""Object detection: scenes with boxes, torchvision's Faster R-CNN small and large, new heads, training and AP@50.

A box is (x1, y1, x2, y2) in pixels: left, top, right, bottom. Labels count from 1, because 0 is the background.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import detection as models
from torchvision.models.detection.faster_rcnn import FasterRCNN, FastRCNNPredictor, TwoMLPHead
from torchvision.ops import MultiScaleRoIAlign, box_iou

from vaetl_helpers.data.images import ImageSet
from vaetl_helpers.errors import CourseError
from vaetl_helpers.nets import trainable
from vaetl_helpers.recorded import packaged_weights
from vaetl_helpers.training.schedules import one_cycle
from vaetl_helpers.transfer.backbones import download_weights

SIZE = 96  # pixels, height and width of a composed scene
Boxes = list[
    dict[str, Tensor]
]  # for each scene "boxes" [k, 4] and "labels" [k]; predictions have "scores" [k] too

# ---------------------------------------------------------------- scenes


@dataclass
class Scenes:
    """Scenes with their boxes: uint8 [n, 1 or 3, height, width]; label k is classes[k − 1]; a scene may have no box.

    Raises CourseError for boxes of another format, without an area or outside the image, and for unknown labels.
    """

    images: Tensor
    targets: Boxes
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        height, width = self.images.shape[2:]
        if self.images.dtype != torch.uint8 or len(self.images) != len(self.targets):
            raise CourseError(
                f"{len(self.targets)} targets need as many uint8 images, not {list(self.images.shape)}."
            )
        limits = torch.tensor([width, height, width, height])
        for number, target in enumerate(self.targets):
            boxes, labels = (
                torch.as_tensor(target["boxes"]).float(),
                torch.as_tensor(target["labels"]).long(),
            )
            fits = boxes.dim() == 2 and boxes.shape[1] == 4 and labels.shape == boxes.shape[:1]
            inside = (
                fits
                and ((boxes >= 0) & (boxes <= limits)).all()
                and (boxes[:, :2] < boxes[:, 2:]).all()
            )
            if not inside or ((labels < 1) | (labels > len(self.classes))).any():
                raise CourseError(
                    f"The boxes of scene {number} must be corners in pixels, [k, 4] with 0 ≤ x1 < x2 ≤ {width} and "
                    f"0 ≤ y1 < y2 ≤ {height}, each with a label in 1 … {len(self.classes)}: convert widths, clip to "
                    "the image, and give [0, 4] where there is no object."
                )
            self.targets[number] = {"boxes": boxes, "labels": labels}

    def __len__(self) -> int:
        return len(self.images)

    def subset(self, indices: Tensor | list[int]) -> Scenes:
        """The scenes at `indices`, in that order; a scene may come several times."""
        chosen = torch.as_tensor(indices).tolist()
        return Scenes(self.images[chosen], [self.targets[i] for i in chosen], self.classes)


def compose(
    wanted: ImageSet, others: ImageSet | None, clutter: ImageSet, count: int, seed: int
) -> Scenes:
    """Scenes of 96 × 96 pixels with 2 to 4 garments of 20 to 36 pixels on a noisy ground, the same for the same seed.

    Labelled are those of `wanted`; with `others` each garment is one of the two by a coin. Two faint digits of
    `clutter` lie below them, without a label.
    """
    random, names = np.random.default_rng(seed), wanted.labels.unique().tolist()
    images, targets = torch.zeros(count, 1, SIZE, SIZE, dtype=torch.uint8), []
    for number in range(count):
        canvas, boxes, labels = _ground(random), torch.zeros(0, 4), []
        for _ in range(2):
            _paste(canvas, clutter, boxes, 0.5, random)
        for _ in range(random.integers(2, 5)):
            known = others is None or random.random() < 0.5
            box, label = _paste(canvas, wanted if known else others, boxes, 1.0, random)
            boxes = torch.cat([boxes, box])
            labels += [1 + names.index(label) if known else 0] * len(box)
        labels = torch.tensor(labels, dtype=torch.long)
        targets.append({"boxes": boxes[labels > 0], "labels": labels[labels > 0]})
        images[number] = (255 * canvas.clamp(0, 1)).round()
    return Scenes(images, targets, tuple(wanted.classes[name] for name in names))


def _ground(random: np.random.Generator) -> Tensor:
    """Clouds of three sizes and grain, grey levels about 0.1 to 0.65: [96, 96]."""
    ground = 0.1 + 0.05 * torch.from_numpy(random.standard_normal((SIZE, SIZE))).float()
    for cells, height in ((3, 0.2), (12, 0.2), (32, 0.15)):
        clouds = torch.from_numpy(random.random((1, 1, cells, cells))).float()
        ground += height * F.interpolate(clouds, (SIZE, SIZE), mode="bilinear")[0, 0]
    return ground


def _paste(
    canvas: Tensor, images: ImageSet, taken: Tensor, opacity: float, random: Any
) -> tuple[Tensor, int]:
    """Puts a random image where it hardly covers another: its box [1, 4] (where there is no room, [0, 4]) and label."""
    index, size = int(random.integers(len(images))), int(random.integers(20, 37))
    levels = F.interpolate(images.images[index][None].float() / 255, (size, size), mode="bilinear")[
        0, 0
    ]
    rows, columns = ((levels > 0.1).any(axis).nonzero().flatten() for axis in (1, 0))
    levels = levels[
        rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1
    ]  # so that the box is tight
    (height, width), light = levels.shape, opacity * random.uniform(0.5, 1)
    for _ in range(10):
        top, left = (int(random.integers(SIZE - side + 1)) for side in levels.shape)
        box = torch.tensor([[left, top, left + width, top + height]]).float()
        if not len(taken) or box_iou(box, taken).max() < 0.05:
            here = canvas[top : top + height, left : left + width]
            here[levels > 0.1] = ((1 - opacity) * here + light * levels)[levels > 0.1]
            return box, int(images.labels[index])
    return torch.zeros(0, 4), int(images.labels[index])


# ---------------------------------------------------------------- detectors


def small_detector(classes: int) -> FasterRCNN:
    """Faster R-CNN (Ren et al. 2015, arXiv:1506.01497) of 0.3 million random weights, for grey scenes of 96 × 96.

    Its backbone has GroupNorm, because batches are small and training from scratch shall have a fair chance (He et al.
    2018, arXiv:1811.08883).
    """
    layers, width = [], 1
    for stride, wider in ((2, 16), (2, 32), (2, 64), (1, 64)):
        layers += [nn.Conv2d(width, wider, 3, stride, padding=1), nn.GroupNorm(8, wider), nn.ReLU()]
        width = wider
    backbone = nn.Sequential(*layers)  # [n, 1, 96, 96] → [n, 64, 12, 12]
    backbone.out_channels = width
    return FasterRCNN(
        backbone, min_size=SIZE, max_size=SIZE, image_mean=[0.4], image_std=[0.25],
        rpn_anchor_generator=models.rpn.AnchorGenerator(((20, 32),), ((0.5, 1.0, 2.0),)),
        rpn_pre_nms_top_n_train=100, rpn_post_nms_top_n_train=40, rpn_batch_size_per_image=64,
        rpn_pre_nms_top_n_test=100, rpn_post_nms_top_n_test=30,
        box_roi_pool=MultiScaleRoIAlign(["0"], 5, 2), box_head=TwoMLPHead(width * 5 * 5, 128),
        box_predictor=FastRCNNPredictor(128, classes + 1), box_batch_size_per_image=32, box_detections_per_img=20,
    )  # fmt: skip


def pretrained_small() -> tuple[FasterRCNN, dict[str, Any]]:
    """The small detector that the course brings, trained on nine other classes, and the facts stored with it."""
    weights, facts = packaged_weights("detector-scenes")
    detector = small_detector(len(facts["classes"]))
    detector.load_state_dict(weights)
    return detector, facts


def coco_detector(pretrained: bool = True) -> FasterRCNN:
    """torchvision's Faster R-CNN with MobileNetV3-Large and FPN: trained on COCO (train2017), or with random weights.

    Raises CourseError where the weights (74 MB) are neither cached nor to be had.
    """
    build, weights = (
        models.fasterrcnn_mobilenet_v3_large_320_fpn,
        models.FasterRCNN_MobileNet_V3_Large_320_FPN_Weights,
    )
    if not pretrained:
        return build(weights=None, weights_backbone=None)
    try:
        download_weights(weights.DEFAULT)  # into torchvision's cache, checked
    except CourseError as error:
        raise CourseError(
            f"The COCO weights could not be fetched ({error.__cause__}): try again with a network, or go on with the "
            "scenes and the detector that come with the course (coco=False)."
        ) from error
    return build(
        weights=weights.DEFAULT, trainable_backbone_layers=6
    )  # all: what is frozen is our choice


def replace_head(detector: FasterRCNN, classes: int) -> FasterRCNN:
    """Puts a new last layer, for `classes` classes and the background, in place; everything else is kept."""
    old = detector.roi_heads.box_predictor.cls_score
    detector.roi_heads.box_predictor = FastRCNNPredictor(old.in_features, classes + 1).to(
        old.weight
    )
    return detector


# ---------------------------------------------------------------- training and measuring


def train(
    detector: FasterRCNN, scenes: Scenes, steps: int, rate: float, seed: int = 0, size: int = 4
) -> list[float]:
    """Trains what is not frozen, in place, by Adam with `one_cycle`; returns each step's loss.

    Scenes come in shuffled rounds, `size` a step. Raises CourseError where the loss is not finite.
    """
    torch.manual_seed(seed)  # Faster R-CNN draws the anchors and proposals it learns from
    order = torch.cat([torch.randperm(len(scenes)) for _ in range(steps * size // len(scenes) + 1)])
    adam = torch.optim.Adam(trainable(detector), rate)
    device, losses = next(detector.parameters()).device, []
    detector.train()
    for step in range(steps):
        batch = scenes.subset(order[step * size : (step + 1) * size])
        targets = [
            {name: value.to(device) for name, value in target.items()} for target in batch.targets
        ]
        loss = sum(detector(list(batch.images.to(device) / 255), targets).values())
        losses.append(loss.item())
        if not loss.isfinite():
            raise CourseError(
                f"Training broke down in step {step + 1} (loss {losses[-1]}): take a lower rate."
            )
        adam.param_groups[0]["lr"] = rate * one_cycle(step / steps)
        adam.zero_grad()
        loss.backward()
        adam.step()
    return losses


@torch.no_grad()
def predict(detector: FasterRCNN, images: Tensor, size: int = 32) -> Boxes:
    """For each uint8 image boxes [k, 4], labels [k] and scores [k] in falling order, on the CPU."""
    device, mode = next(detector.parameters()).device, detector.training
    detector.eval()
    found = [
        result for batch in images.split(size) for result in detector(list(batch.to(device) / 255))
    ]
    detector.train(mode)
    return [{name: value.cpu() for name, value in result.items()} for result in found]


def average_precision(found: Boxes, targets: Boxes, iou: float = 0.5) -> float:
    """AP@50 in per cent, the mean over classes, as COCO computes it: 101 recall levels, one match a true box.

    Raises CourseError where the extra `detection` is missing, and where no scene has an object.
    """
    try:
        from torchmetrics.detection import MeanAveragePrecision

        metric = MeanAveragePrecision(iou_thresholds=[iou])  # looks for pycocotools
    except ImportError as error:
        raise CourseError(
            'AP needs an extra that is missing: run pip install "vaetl-helpers[detection]".'
        ) from error
    if not any(len(target["boxes"]) for target in targets):
        raise CourseError(
            "No scene holds an object, so that recall has no meaning: take scenes with some."
        )
    metric.update(found, targets)
    return 100 * metric.compute()["map"].item()
