"""Object detection: scenes with boxes, Faster R-CNN small and large, new heads, training and AP@50.

A box is (x1, y1, x2, y2) in pixels: left, top, right, bottom. Labels count from 1, because 0 is the
background.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import detection as models
from torchvision.models.detection.faster_rcnn import FasterRCNN, FastRCNNPredictor, TwoMLPHead
from torchvision.ops import MultiScaleRoIAlign, box_convert, box_iou
from torchvision.tv_tensors import BoundingBoxes

from vaetl_helpers.data.files import fetch_weights
from vaetl_helpers.data.images import ImageSet, check_levels
from vaetl_helpers.data.inputs import as_labels, as_list, as_names, as_rows, as_tensor
from vaetl_helpers.errors import CourseError
from vaetl_helpers.nets import trainable
from vaetl_helpers.recorded import packaged_weights
from vaetl_helpers.seeds import whole_seed
from vaetl_helpers.training.evaluation import evaluating
from vaetl_helpers.training.schedules import one_cycle

SIZE = 96  # pixels, height and width of a composed scene
# For each scene "boxes" [k, 4] and "labels" [k]; predictions have "scores" [k] too.
Boxes = list[dict[str, Tensor]]

# ---------------------------------------------------------------- scenes


@dataclass
class Scenes:
    """Scenes with their boxes: uint8 [n, 1 or 3, height, width]; label k is classes[k − 1].

    A scene may have no box. Labels may be names of `classes`. Raises CourseError for boxes of
    another format, without an area, outside the image or from 0 to 1, and for unknown labels.
    """

    images: Tensor
    targets: Boxes
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        self.classes = as_names(self.classes, "classes")
        self.images = as_tensor(self.images, "images")
        targets = as_list(self.targets, "targets", '[{"boxes": boxes, "labels": labels}]')
        is_batch = self.images.dim() == 4 and self.images.shape[1] in (1, 3)
        if not is_batch or self.images.dtype != torch.uint8 or len(self.images) != len(targets):
            raise CourseError(
                f"{len(targets)} targets need as many uint8 images [n, 1 or 3, height, width], not "
                f"{self.images.dtype} of shape {list(self.images.shape)}: reshape or cast them."
            )
        if self.images.numel():
            check_levels(self.images)
        # A list of its own: the caller's stays as it is.
        self.targets = [self._checked(number, target) for number, target in enumerate(targets)]

    def _checked(self, number: int, target: Any) -> dict[str, Tensor]:
        if not isinstance(target, Mapping) or not target.keys() >= {"boxes", "labels"}:
            raise CourseError(
                f'Target {number} must be a dict of "boxes" [k, 4] and "labels" [k], not '
                f"{str(target)[:60]}: give [0, 4] where there is no object."
            )
        given = as_tensor(target["boxes"], f"The boxes of scene {number}")
        boxes = _as_corners(given.float(), target["boxes"])
        if boxes.shape == (0,):
            boxes = boxes.view(0, 4)
        labels = self._label_numbers(target["labels"])
        if not (self._are_boxes(boxes, labels) and self._are_known(labels)):
            raise self._boxes_error(number)
        if len(boxes) and boxes.max() <= 1:
            height, width = self.images.shape[2:]
            raise CourseError(
                f"The boxes of scene {number} lie in 0 … 1, but pixels were expected: convert "
                f"them, x times {width} and y times {height}."
            )
        return {"boxes": boxes, "labels": labels.long()}

    def _label_numbers(self, labels: Any) -> Tensor:
        numbers = as_labels(labels, ("", *self.classes), "labels")
        return numbers.long() if numbers.numel() == 0 else numbers

    @classmethod
    def _of_checked(cls, images: Tensor, targets: Boxes, classes: tuple[str, ...]) -> Scenes:
        scenes = cls.__new__(cls)
        scenes.images = images
        scenes.targets = targets
        scenes.classes = classes
        return scenes

    def _are_boxes(self, boxes: Tensor, labels: Tensor) -> bool:
        if boxes.dim() != 2 or boxes.shape[1] != 4 or labels.shape != boxes.shape[:1]:
            return False
        height, width = self.images.shape[2:]
        limits = torch.tensor([width, height, width, height])
        is_inside = (boxes >= 0) & (boxes <= limits)
        has_area = boxes[:, :2] < boxes[:, 2:]
        return bool(is_inside.all() and has_area.all())

    def _are_known(self, labels: Tensor) -> bool:
        is_known = (labels >= 1) & (labels <= len(self.classes)) & (labels == labels.long())
        return bool(is_known.all())

    def _boxes_error(self, number: int) -> CourseError:
        height, width = self.images.shape[2:]
        return CourseError(
            f"The boxes of scene {number} must be corners in pixels, [k, 4] with 0 ≤ x1 < x2 ≤ "
            f"{width} and 0 ≤ y1 < y2 ≤ {height}, each with a label in 1 … {len(self.classes)}: "
            "convert widths, clip to the image, and give [0, 4] where there is no object."
        )

    def __len__(self) -> int:
        return len(self.images)

    def subset(self, indices: Tensor | list[int]) -> Scenes:
        """The scenes at `indices` (numbers or a mask), in that order.

        A scene may come several times. Raises CourseError for numbers outside the set.
        """
        rows = as_rows(indices, len(self))
        targets = [self.targets[row] for row in rows.tolist()]
        return self._of_checked(self.images[rows], targets, self.classes)


def _as_corners(boxes: Tensor, given: Any) -> Tensor:
    """Boxes as corners, where torchvision's own kind of tensor says that they are none."""
    if not isinstance(given, BoundingBoxes):
        return boxes
    name = given.format.value.lower()
    return box_convert(boxes, name, "xyxy") if name in ("xywh", "cxcywh") else boxes


def compose(
    labelled: ImageSet, unlabelled: ImageSet | None, clutter: ImageSet, count: int, seed: int
) -> Scenes:
    """Scenes of 96 × 96 pixels with 2 to 4 garments of 20 to 36 pixels on a noisy ground.

    Each garment is of `labelled` or, where it is given, of `unlabelled`, by a coin. Two faint
    digits of `clutter` lie below them, without a label. The same seed gives the same scenes.
    """
    random = np.random.default_rng(whole_seed(seed))
    class_numbers = labelled.labels.unique().tolist()
    images = torch.zeros(count, 1, SIZE, SIZE, dtype=torch.uint8)
    targets = []
    for number in range(count):
        canvas = _ground(random)
        boxes = torch.zeros(0, 4)  # of all garments, which are not to cover each other
        labels: list[int] = []
        for _ in range(2):
            _paste(_draw_picture(clutter, random), canvas, boxes, 0.5, random)
        for _ in range(random.integers(2, 5)):
            source = labelled
            if unlabelled is not None and random.random() >= 0.5:
                source = unlabelled
            picture = _draw_picture(source, random)
            box = _paste(picture, canvas, boxes, 1.0, random)
            if box is not None:
                boxes = torch.cat([boxes, box])
                is_labelled = source is labelled
                labels.append(1 + class_numbers.index(picture.label) if is_labelled else 0)
        all_labels = torch.tensor(labels, dtype=torch.long)
        rows = all_labels > 0
        targets.append({"boxes": boxes[rows], "labels": all_labels[rows]})
        images[number] = (255 * canvas.clamp(0, 1)).round()
    return Scenes(images, targets, tuple(labelled.classes[number] for number in class_numbers))


def _ground(random: np.random.Generator) -> Tensor:
    """Clouds of three sizes and grain, grey levels about 0.1 to 0.65: [96, 96]."""
    grain = torch.from_numpy(random.standard_normal((SIZE, SIZE))).float()
    ground = 0.1 + 0.05 * grain
    for cells, height in ((3, 0.2), (12, 0.2), (32, 0.15)):
        clouds = torch.from_numpy(random.random((1, 1, cells, cells))).float()
        ground += height * F.interpolate(clouds, (SIZE, SIZE), mode="bilinear")[0, 0]
    return ground


@dataclass
class Picture:
    """What is pasted into a scene: grey levels in [0, 1], cut to what is not black, and a label."""

    levels: Tensor  # [height, width]
    label: int

    @property
    def visible(self) -> Tensor:
        """Which pixels hide what is below them: bool [height, width]."""
        return self.levels > 0.1


def _draw_picture(images: ImageSet, random: np.random.Generator) -> Picture:
    """A random image, scaled to 20 to 36 pixels and cut out, so that its box is tight."""
    index = int(random.integers(len(images)))
    size = int(random.integers(20, 37))
    pixels = images.images[index].unsqueeze(0).float() / 255
    levels = F.interpolate(pixels, (size, size), mode="bilinear")[0, 0]
    picture = Picture(levels, int(images.labels[index]))
    rows = picture.visible.any(1).nonzero().flatten()
    columns = picture.visible.any(0).nonzero().flatten()
    picture.levels = levels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return picture


def _paste(
    picture: Picture,
    canvas: Tensor,
    boxes: Tensor,
    opacity: float,
    random: np.random.Generator,
) -> Tensor | None:
    """Pastes a picture where it hardly covers one of the `boxes` [k, 4].

    Returns its box [1, 4], or None where ten tries find no room.
    """
    height, width = picture.levels.shape
    light = opacity * random.uniform(0.5, 1)
    for _ in range(10):
        top = int(random.integers(SIZE - height + 1))
        left = int(random.integers(SIZE - width + 1))
        box = torch.tensor([[left, top, left + width, top + height]]).float()
        if len(boxes) == 0 or box_iou(box, boxes).max() < 0.05:
            below = canvas[top : top + height, left : left + width]
            mixed = (1 - opacity) * below + light * picture.levels
            below[picture.visible] = mixed[picture.visible]
            return box
    return None


# ---------------------------------------------------------------- detectors


def small_detector(classes: int) -> FasterRCNN:
    """Faster R-CNN (Ren et al. 2015, arXiv:1506.01497) of 0.3 million random weights.

    For grey scenes of 96 × 96. Its backbone has GroupNorm, because batches are small and training
    from scratch shall have a fair chance (He et al. 2018, arXiv:1811.08883).
    """
    backbone = _small_backbone()
    width = backbone.out_channels
    return FasterRCNN(
        backbone,
        min_size=SIZE,
        max_size=SIZE,
        image_mean=[0.4],
        image_std=[0.25],
        rpn_anchor_generator=models.rpn.AnchorGenerator(((20, 32),), ((0.5, 1.0, 2.0),)),
        rpn_pre_nms_top_n_train=100,
        rpn_post_nms_top_n_train=40,
        rpn_batch_size_per_image=64,
        rpn_pre_nms_top_n_test=100,
        rpn_post_nms_top_n_test=30,
        box_roi_pool=RoIAlign(["0"], 5, 2),
        box_head=TwoMLPHead(width * 5 * 5, 128),
        box_predictor=FastRCNNPredictor(128, classes + 1),
        box_batch_size_per_image=32,
        box_detections_per_img=20,
    )


class RoIAlign(MultiScaleRoIAlign):
    """What torchvision's does for one feature map, as two products of matrices.

    The results are the same but for rounding; its gradient takes a fifth of the time on a CPU.
    """

    def forward(
        self,
        x: dict[str, Tensor],
        boxes: list[Tensor],
        image_shapes: list[tuple[int, int]],
    ) -> Tensor:
        (name,) = self.featmap_names
        features = x[name]
        widest = max(width for _, width in image_shapes)  # the others are padded
        scale = 2.0 ** round(math.log2(features.shape[-1] / widest))  # as torchvision reads it
        bins, samples = self.output_size[0], self.sampling_ratio
        channels, height, width = features.shape[1:]
        # The boxes of all scenes at once, but each of their own scene's rows.
        left, top, right, bottom = (torch.cat(boxes) * scale).unbind(1)
        down = _sampling(top, bottom, height, bins, samples)
        across = _sampling(left, right, width, bins, samples)
        rows = []
        by_height = features.transpose(1, 2).flatten(2)  # [scenes, height, channels · width]
        counts = [len(found) for found in boxes]
        for scene, weights in zip(by_height, down.split(counts), strict=True):
            rows.append(weights.flatten(0, 1) @ scene)  # [k · bins, channels · width]
        cuts = torch.cat(rows).view(-1, bins * channels, width) @ across.transpose(1, 2)
        return cuts.view(-1, bins, channels, bins).transpose(1, 2)


def _sampling(low: Tensor, high: Tensor, size: int, bins: int, samples: int) -> Tensor:
    """How much each of `size` places counts in each bin from `low` to `high`: [k, bins, size].

    A bin is the mean over so many samples, each interpolated between its two neighbours.
    """
    length = (high - low).clamp(min=1)
    steps = (torch.arange(bins * samples, device=low.device) + 0.5) / (bins * samples)
    at = low[:, None] + length[:, None] * steps
    is_inside = (at >= -1) & (at <= size)
    places = torch.arange(size, device=low.device)
    weights = (1 - (at.clamp(0, size - 1)[..., None] - places).abs()).clamp(min=0)
    weights = weights * is_inside[..., None]
    return weights.view(len(low), bins, samples, size).mean(2)


def _small_backbone() -> Any:
    """[n, 1, 96, 96] → [n, 64, 12, 12]; torchvision reads its `out_channels`."""
    layers: list[nn.Module] = []
    channels = 1
    for stride, width in ((2, 16), (2, 32), (2, 64), (1, 64)):
        layers.append(nn.Conv2d(channels, width, 3, stride, padding=1))
        layers.append(nn.GroupNorm(8, width))
        layers.append(nn.ReLU())
        channels = width
    backbone: Any = nn.Sequential(*layers)
    backbone.out_channels = channels
    return backbone


def pretrained_small() -> tuple[FasterRCNN, dict[str, Any]]:
    """The small detector that the course brings, trained on nine other classes, and its facts."""
    weights, facts = packaged_weights("detector-scenes")
    detector = small_detector(len(facts["classes"]))
    detector.load_state_dict(weights)
    return detector, facts


def coco_detector(pretrained: bool = True) -> FasterRCNN:
    """torchvision's Faster R-CNN with MobileNetV3-Large and FPN, trained on COCO (train2017).

    Or with random weights. Raises CourseError where the weights (74 MB) are neither cached nor to
    be had.
    """
    build = models.fasterrcnn_mobilenet_v3_large_320_fpn
    if not pretrained:
        return build(weights=None, weights_backbone=None)
    weights = models.FasterRCNN_MobileNet_V3_Large_320_FPN_Weights.DEFAULT
    advice = (
        "try again with a network, or go on with the scenes and the detector that come with the "
        "course (coco=False)"
    )
    fetch_weights(weights, "The COCO weights", advice)  # into torchvision's cache, checked
    # Six layers are all of them: what is frozen is our choice.
    return build(weights=weights, trainable_backbone_layers=6)


def replace_head(detector: FasterRCNN, classes: int) -> FasterRCNN:
    """Puts a new last layer, for `classes` classes and the background, in place.

    Everything else is kept.
    """
    old = detector.roi_heads.box_predictor.cls_score
    head = FastRCNNPredictor(old.in_features, classes + 1)
    detector.roi_heads.box_predictor = head.to(old.weight)
    return detector


# ---------------------------------------------------------------- training and measuring


def train(
    detector: FasterRCNN, scenes: Scenes, steps: int, rate: float, seed: int = 0, size: int = 4
) -> list[float]:
    """Trains what is not frozen, in place, by Adam with `one_cycle`; returns each step's loss.

    Scenes come in shuffled rounds, `size` a step. Raises CourseError where the loss is not finite.
    """
    # Faster R-CNN draws the anchors and proposals that it learns from.
    torch.manual_seed(whole_seed(seed))
    rounds = steps * size // len(scenes) + 1
    order = torch.cat([torch.randperm(len(scenes)) for _ in range(rounds)])
    adam = torch.optim.Adam(trainable(detector), rate, fused=True)
    device = next(detector.parameters()).device
    losses = []
    detector.train()
    for step in range(steps):
        batch = scenes.subset(order[step * size : (step + 1) * size])
        targets = [_on_device(target, device) for target in batch.targets]
        images = batch.images.to(device) / 255
        loss = sum(detector(list(images), targets).values())
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


def _on_device(boxes: dict[str, Tensor], device: torch.device | str) -> dict[str, Tensor]:
    return {name: values.to(device) for name, values in boxes.items()}


@torch.no_grad()
def predict(detector: FasterRCNN, images: Tensor, size: int = 32) -> Boxes:
    """For each uint8 image boxes [k, 4], labels [k] and scores [k] in falling order, on the CPU."""
    images = as_tensor(images, "images")
    if images.dtype != torch.uint8:
        raise CourseError(
            f"predict expects uint8 images, not {images.dtype}: scaling is done here."
        )
    device = next(detector.parameters()).device
    predictions = []
    with evaluating(detector):
        for batch in images.split(size):
            for boxes in detector(list(batch.to(device) / 255)):
                predictions.append(_on_device(boxes, "cpu"))
    return predictions


def average_precision(predictions: Boxes, targets: Boxes, iou: float = 0.5) -> float:
    """AP@50 in per cent, the mean over classes, as COCO computes it.

    That is with 101 recall levels and one match a true box. Raises CourseError where the extra
    `detection` is missing, for other numbers of predictions than scenes, and where no scene has an
    object.
    """
    try:
        from torchmetrics.detection import MeanAveragePrecision

        metric = MeanAveragePrecision(iou_thresholds=[iou])  # looks for pycocotools
    except ImportError as error:
        raise CourseError(
            'AP needs an extra that is missing: run pip install "vaetl-helpers[detection]".'
        ) from error
    if len(predictions) != len(targets):
        raise CourseError(
            f"{len(predictions)} predictions were given for {len(targets)} scenes: pass one for "
            "each scene."
        )
    if not any(len(target["boxes"]) for target in targets):
        raise CourseError(
            "No scene holds an object, so that recall has no meaning: take scenes with some."
        )
    metric.update(predictions, targets)
    return 100 * metric.compute()["map"].item()
