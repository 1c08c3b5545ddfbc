"""Detection: scenes and boxes, AP by COCO's rules, new heads, freezing, what transfer gains."""

from __future__ import annotations

import copy
import re
import sys
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision import tv_tensors
from torchvision.models.detection import FasterRCNN, FasterRCNN_MobileNet_V3_Large_320_FPN_Weights
from torchvision.ops import MultiScaleRoIAlign, box_iou

from vaetl_helpers import detection, study
from vaetl_helpers.authoring.assets.facts import fingerprint
from vaetl_helpers.authoring.assets.pretrain_detector import NEW, source_images, source_scenes
from vaetl_helpers.data import ImageSet, Splits, image_hashes, load
from vaetl_helpers.detection import (
    Scenes,
    average_precision,
    coco_detector,
    compose,
    predict,
    pretrained_small,
    replace_head,
    small_detector,
    train,
)
from vaetl_helpers.errors import CourseError
from vaetl_helpers.training import schedules
from vaetl_helpers.transfer import freeze, trainable, unfreeze

SOURCE = Path(__file__).parents[2] / "course" / "source" / "04c_detection_with_coco.py"


@pytest.fixture(scope="module")
def clothes() -> Splits:
    return load("fashion-mnist")


@pytest.fixture(scope="module")
def digits() -> Splits:
    return load("mnist")


def boots(clothes: Splits, digits: Splits, split: str, count: int, seed: int) -> Scenes:
    images = getattr(clothes, split)
    clutter = getattr(digits, split)
    return compose(images.subset(images.labels == NEW), source_images(images), clutter, count, seed)


@pytest.fixture(scope="module")
def few(clothes: Splits, digits: Splits) -> Scenes:
    return boots(clothes, digits, "train", 6, 0)


def state(module: torch.nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def changed(original: dict[str, Tensor], module: torch.nn.Module) -> set[str]:
    """The names of what is not as it was."""
    names = set()
    for name, value in module.state_dict().items():
        if not torch.equal(value, original[name]):
            names.add(name)
    return names


def is_of_backbone(name: str) -> bool:
    return name.startswith("backbone")


NOTHING = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.long)}


def one_box(*corners: float, score: float = 1.0) -> dict[str, Tensor]:
    return {
        "boxes": torch.tensor([corners]),
        "labels": torch.tensor([1]),
        "scores": torch.tensor([score]),
    }


def grey(count: int, size: int = 20) -> Tensor:
    return torch.zeros(count, 1, size, size, dtype=torch.uint8)


# ---------------------------------------------------------------- scenes


def test_scenes_repeat_and_their_boxes_fit(clothes: Splits, digits: Splits) -> None:
    scenes = boots(clothes, digits, "train", 60, 3)
    repeated = boots(clothes, digits, "train", 60, 3)
    with_another_seed = boots(clothes, digits, "train", 60, 4)
    assert torch.equal(scenes.images, repeated.images)
    assert not torch.equal(scenes.images, with_another_seed.images)
    assert scenes.images.shape == (60, 1, 96, 96)
    assert scenes.classes == ("ankle boot",)
    boxes = torch.cat([target["boxes"] for target in scenes.targets])
    sides = boxes[:, 2:] - boxes[:, :2]
    assert boxes.min() >= 0
    assert boxes.max() <= 96
    assert sides.max() <= 36
    assert sides.min() >= 5
    # About half of 2 to 4 garments.
    counts = [len(target["boxes"]) for target in scenes.targets]
    assert min(counts) == 0
    assert max(counts) <= 4
    assert 0.8 < np.mean(counts) < 2.2


def plain(level: int, name: str) -> ImageSet:
    """One image of one grey level."""
    return ImageSet(torch.full((1, 1, 28, 28), level, dtype=torch.uint8), torch.zeros(1), (name,))


def test_a_box_lies_round_its_garment() -> None:
    """A white square stands for the garment.

    Inside its box nearly all is one grey, just outside it is not.
    """
    scenes = compose(plain(255, "square"), None, plain(26, "dark"), 20, 0)
    for image, target in zip(scenes.images, scenes.targets, strict=True):
        for x1, y1, x2, y2 in target["boxes"].int().tolist():
            rows = image[0, y1:y2]
            inside = rows[:, x1:x2]
            level = inside.mode().values.mode().values
            # Another square may cover a corner.
            assert (inside == level).float().mean() > 0.75
            beside = [rows[:, x] for x in (x1 - 1, x2) if 0 <= x < 96]
            assert (torch.cat(beside) == level).float().mean() < 0.5


def test_labelled_are_all_classes_where_nothing_is_unlabelled(
    clothes: Splits, digits: Splits
) -> None:
    scenes = compose(source_images(clothes.train), None, digits.train, 40, 0)
    labels = torch.cat([target["labels"] for target in scenes.targets])
    assert len(scenes.classes) == 9
    assert "ankle boot" not in scenes.classes
    assert set(labels.tolist()) == set(range(1, 10))
    assert 2 <= len(labels) / 40 <= 4


@pytest.mark.parametrize(
    "boxes",
    [
        [[5, 5, 3, 9]],
        [[0, 0, 21, 5]],
        [[-1, 0, 5, 5]],
        [[2, 2, 2, 5]],
        [[1, 1, 5]],
        [1, 1, 5, 5],
        [[np.nan, 0, 5, 5]],
    ],
    ids=[
        "corners reversed",
        "outside",
        "negative",
        "no area",
        "three numbers",
        "one box, not a list",
        "nan",
    ],
)
def test_wrong_boxes_are_refused(boxes: list) -> None:
    with pytest.raises(CourseError, match="scene 0 must be corners"):
        Scenes(grey(1), [{"boxes": boxes, "labels": [1]}], ("a",))


def test_boxes_of_bytes_become_floats() -> None:
    # As bytes these two, which do not meet, overlap by 97 % for torchvision's box_iou.
    boxes = torch.tensor([[0, 0, 200, 100], [120, 150, 255, 250]], dtype=torch.uint8)
    image = torch.zeros(1, 1, 256, 256, dtype=torch.uint8)
    scenes = detection.Scenes(image, [{"boxes": boxes, "labels": [1, 1]}], ("boot",))
    upper, lower = scenes.targets[0]["boxes"].split(1)
    assert box_iou(upper, lower).item() == 0


@pytest.mark.parametrize("box", [[0.1, 0.1, 0.5, 0.5], [0, 0, 1, 1], [0, 0, 0.5, 1]], ids=str)
def test_boxes_from_0_to_1_are_refused(box: list[float]) -> None:
    with pytest.raises(CourseError, match="scene 1 lie in 0 … 1.*convert them, x times 20"):
        targets = [{"boxes": [[1, 1, 5, 5]], "labels": [1]}, {"boxes": [box], "labels": [1]}]
        Scenes(grey(2), targets, ("a",))
    Scenes(grey(1), [{"boxes": [box, [1, 1, 5, 5]], "labels": [1, 1]}], ("a",))


def test_scenes_are_taken_in_any_form() -> None:
    pixels = np.full((1, 1, 20, 20), 7, np.uint8)
    right = Scenes(
        torch.from_numpy(pixels), [{"boxes": [[1, 1, 5, 5]], "labels": [2]}], tuple("ab")
    )
    for images in (pixels[:, :, ::-1], list(pixels), list(torch.from_numpy(pixels))):
        for label in ([2], np.array([2]), ["b"], torch.tensor([2])):
            target = {"boxes": np.array([[1, 1, 5, 5]], ">f8"), "labels": label}
            scenes = Scenes(images, (target for _ in range(1)), ["a", "b"])
            assert torch.equal(scenes.images, right.images)
            assert scenes.targets[0]["labels"].tolist() == [2]
            assert scenes.targets[0]["boxes"].tolist() == [[1, 1, 5, 5]]
    assert Scenes(pixels, [{"boxes": [], "labels": []}], ["a"]).targets[0]["boxes"].shape == (0, 4)


@pytest.mark.parametrize(
    ("kind", "box"),
    [("XYXY", [2, 3, 8, 11]), ("XYWH", [2, 3, 6, 8]), ("CXCYWH", [5, 7, 6, 8])],
)
def test_boxes_that_name_their_format_are_read_in_it(kind: str, box: list[int]) -> None:
    boxes = tv_tensors.BoundingBoxes([box], format=kind, canvas_size=(20, 20))
    (target,) = Scenes(grey(1), [{"boxes": boxes, "labels": [1]}], ("a",)).targets
    assert target["boxes"].tolist() == [[2, 3, 8, 11]]
    assert type(target["boxes"]) is Tensor


def test_the_callers_targets_stay_as_they_are() -> None:
    targets = [{"boxes": [[1, 1, 5, 5]], "labels": [1]}]
    Scenes(grey(1), targets, ("a",))
    assert targets == [{"boxes": [[1, 1, 5, 5]], "labels": [1]}]


@pytest.mark.parametrize(
    ("images", "targets", "words"),
    [
        (grey(1), {"boxes": [], "labels": []}, "targets must be a list"),
        (grey(1), [{"bbox": [], "labels": []}], 'dict of "boxes"'),
        (grey(1), [None], 'dict of "boxes"'),
        (grey(1), [{"boxes": [[1, 1, 5, 5]], "labels": [1.5]}], "label in 1 … 1"),
        (grey(1), [{"boxes": [[1, 1, 5, 5]], "labels": ["b"]}], "Unknown class 'b'"),
        (grey(1), [{"boxes": [[1, 1, 5], [1, 2]], "labels": [1]}], "The boxes of scene 0"),
        (grey(1)[0], [{"boxes": [], "labels": []}], "height, width"),
        (grey(1) + 1, [{"boxes": [], "labels": []}], "nearly black"),
    ],
)
def test_other_scenes_are_refused_in_a_sentence(images: Tensor, targets: list, words: str) -> None:
    with pytest.raises(CourseError, match=words) as error:
        Scenes(images, targets, ("a",))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("rows", [[True, False, True], np.array([0, 2]), [0, -1]], ids=str)
def test_scenes_and_boxes_of_a_subset_stay_together(rows: list) -> None:
    images = torch.arange(3, dtype=torch.uint8).view(3, 1, 1, 1).expand(-1, 1, 20, 20)
    targets = [{"boxes": [[1, 1, 5, 5 + k]], "labels": [1]} for k in range(3)]
    some = Scenes(images, targets, ("a",)).subset(rows)
    assert some.images[:, 0, 0, 0].tolist() == [0, 2]
    assert [target["boxes"][0, 3].item() for target in some.targets] == [5, 7]
    with pytest.raises(CourseError, match="from 0 to 2"):
        Scenes(images, targets, ("a",)).subset([3])


def test_floats_are_not_detected_in_the_dark() -> None:
    with pytest.raises(CourseError, match="uint8 images, not torch.float32"):
        predict(small_detector(1), grey(1).float())


def test_wrong_labels_and_images_are_refused() -> None:
    target = {"boxes": [[1, 1, 5, 5]], "labels": [1]}
    Scenes(grey(1), [dict(target)], ("a",))
    for labels in ([0], [2], [1, 1]):
        with pytest.raises(CourseError, match=r"label in 1 … 1"):
            Scenes(grey(1), [target | {"labels": labels}], ("a",))
    with pytest.raises(CourseError, match="uint8"):
        Scenes(grey(1).float(), [dict(target)], ("a",))
    with pytest.raises(CourseError, match="2 targets"):
        Scenes(grey(1), [dict(target), dict(target)], ("a",))


@pytest.mark.parametrize("count", [5, 20])
def test_a_study_draws_scenes_as_labels_of_one_class(count: int) -> None:
    def run(draw: study.Draw) -> dict[str, float]:
        return {"test AP@50": float(len(draw.indices.unique()))}

    one_class = torch.zeros(80, dtype=torch.long)
    method = study.Method("m", run)
    table = study.run_study("t", [method], [count], 4, labels=one_class, quiet=True)
    assert set(table.values("m", "test AP@50", count).values()) == {count}
    # Disjoint, where the pool allows it.
    assert set(table.values("m", study.SHARED, count).values()) == {0.0}


# ---------------------------------------------------------------- average precision


def test_average_precision_follows_coco() -> None:
    true_boxes = torch.tensor([[0.0, 0, 20, 20], [30, 30, 60, 60], [70, 70, 90, 90]])
    truth = {"boxes": true_boxes, "labels": torch.ones(3).long()}
    hit = [0.0, 0, 20, 18]
    false_alarm = [60, 0, 80, 20]
    another_hit = [30, 32, 60, 60]
    duplicate = [0, 2, 20, 20]
    predictions = {
        "boxes": torch.tensor([hit, false_alarm, another_hit, duplicate]),
        "scores": torch.tensor([0.9, 0.8, 0.7, 0.6]),
        "labels": torch.ones(4).long(),
    }
    # Precision 1 at 34 of 101 levels of recall, 2/3 at 33; the duplicate and the box in the void
    # are false alarms.
    expected = 100 * (34 + 33 * 2 / 3) / 101
    assert average_precision([predictions], [truth]) == pytest.approx(expected, abs=1e-3)


TRUTH = {"boxes": torch.tensor([[0.0, 0, 20, 20]]), "labels": torch.tensor([1])}


@pytest.mark.parametrize(("height", "expected"), [(10.0, 100), (9.5, 0)])
def test_a_hit_needs_half(height: float, expected: float) -> None:
    prediction = one_box(0.0, 0.0, 20.0, height)
    assert average_precision([prediction], [TRUTH]) == pytest.approx(expected)


def test_false_alarms_in_empty_scenes_count() -> None:
    truth = [TRUTH, NOTHING]
    silence = NOTHING | {"scores": torch.zeros(0)}
    hit = one_box(0.0, 0, 20, 20, score=0.5)
    alarm = one_box(0.0, 0, 20, 20, score=0.9)
    assert average_precision([hit, silence], truth) == pytest.approx(100)
    assert average_precision([hit, alarm], truth) == pytest.approx(50)
    with pytest.raises(CourseError, match="No scene holds an object"):
        average_precision([alarm], [NOTHING])


def test_each_scene_needs_its_predictions() -> None:
    with pytest.raises(CourseError, match="0 predictions were given for 1 scenes"):
        average_precision([], [TRUTH])


@pytest.mark.parametrize("module", ["torchmetrics.detection", "pycocotools"])
def test_a_missing_extra_is_named(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    if module == "pycocotools":
        monkeypatch.setattr("torchmetrics.detection.mean_ap._PYCOCOTOOLS_AVAILABLE", False)
    with pytest.raises(CourseError, match=r'pip install "vaetl-helpers\[detection\]"'):
        average_precision([one_box(0.0, 0, 5, 5)], [one_box(0.0, 0, 5, 5)])


# ---------------------------------------------------------------- detectors


def in_colour(scenes: Scenes) -> Scenes:
    return Scenes(scenes.images.expand(-1, 3, -1, -1), scenes.targets, scenes.classes)


@pytest.fixture(scope="module")
def large() -> FasterRCNN:
    """torchvision's detector as it comes, with random weights."""
    torch.manual_seed(0)
    return coco_detector(pretrained=False)


def test_the_detectors_have_a_class_for_the_background(large: FasterRCNN) -> None:
    assert large.roi_heads.box_predictor.cls_score.out_features == 91
    assert small_detector(9).roi_heads.box_predictor.cls_score.out_features == 10


@pytest.mark.parametrize("is_large", [True, False], ids=["large", "small"])
def test_a_new_head_leaves_everything_else(is_large: bool, large: FasterRCNN) -> None:
    detector = copy.deepcopy(large) if is_large else small_detector(9)
    original = state(detector)
    head = detector.roi_heads.box_predictor
    assert replace_head(detector, 2) is detector
    new_head = detector.roi_heads.box_predictor
    assert new_head is not head
    assert new_head.cls_score.out_features == 3
    assert new_head.bbox_pred.out_features == 12
    weights = detector.state_dict()
    rest = [name for name in original if "box_predictor" not in name]
    assert len(rest) == len(original) - 4
    for name in rest:
        assert torch.equal(weights[name], original[name])


def test_a_step_on_the_coco_detector_changes_only_what_is_not_frozen(
    large: FasterRCNN, few: Scenes
) -> None:
    detector = replace_head(copy.deepcopy(large), 1)
    backbone = detector.backbone
    kinds = {type(module) for module in backbone.modules()}
    assert torch.nn.BatchNorm2d in kinds
    freeze(backbone)
    original = state(detector)
    train(detector, in_colour(few), steps=1, rate=1e-3, size=2)
    moved = changed(original, detector)
    assert "roi_heads.box_predictor.cls_score.weight" in moved
    assert "rpn.head.cls_logits.weight" in moved
    assert not any(map(is_of_backbone, moved)), "nor BatchNorm's statistics"
    assert detector.training
    assert not any(module.training for module in backbone.modules())
    assert set(trainable(detector)).isdisjoint(backbone.parameters())
    unfreeze(backbone)
    train(detector, in_colour(few), steps=1, rate=1e-3, size=2)
    statistics = {name for name in original if "running" in name}
    assert any(map(is_of_backbone, changed(original, detector) - statistics))


def test_frozen_through_training_and_predicting(few: Scenes) -> None:
    torch.manual_seed(0)
    detector = replace_head(small_detector(9), 1)
    freeze(detector.backbone)
    original = state(detector)
    losses = train(detector, few, steps=8, rate=1e-3)
    predict(detector, few.images)
    assert detector.training
    assert not detector.backbone.training
    train(detector, few, steps=2, rate=1e-3)
    assert len(losses) == 8
    assert np.isfinite(losses).all()
    assert changed(original, detector) == {name for name in original if not is_of_backbone(name)}


def test_training_repeats_and_learns(few: Scenes) -> None:
    def run(numbers_drawn: int) -> tuple[list[float], FasterRCNN]:
        torch.manual_seed(0)
        detector = small_detector(1)
        torch.rand(numbers_drawn)
        return train(detector, few, steps=30, rate=1e-3, seed=5), detector

    losses, detector = run(0)
    repeated_losses, twin = run(1)  # what was drawn earlier does not matter
    assert losses == repeated_losses
    assert not changed(state(detector), twin)
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])


@pytest.mark.parametrize("first", [(96, 96), (96, 70), (64, 50)])
def test_aligned_regions_and_their_gradients_are_those_of_torchvision(
    first: tuple[int, int],
) -> None:
    """Also for boxes that are tiny, that reach beyond the scene, and for a scene without any."""
    generator = torch.Generator().manual_seed(0)
    boxes = []
    for count in (7, 0, 9):
        corners = 110 * torch.rand(count, 2, generator=generator) - 10
        sides = 60 * torch.rand(count, 2, generator=generator) ** 3
        boxes.append(torch.cat([corners, corners + sides], dim=1))
    features = torch.randn(3, 64, 12, 12, generator=generator)
    weights = torch.randn(16, 64, 5, 5, generator=generator)
    found = []
    for align in (small_detector(1).roi_heads.box_roi_pool, MultiScaleRoIAlign(["0"], 5, 2)):
        maps = features.clone().requires_grad_()
        regions = align({"0": maps}, boxes, [first, (96, 96), (96, 96)])
        (regions * weights).sum().backward()
        found.append((regions.detach(), maps.grad))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_training_is_the_usual_loop(few: Scenes) -> None:
    torch.manual_seed(0)
    detector = small_detector(1).train()
    twin = copy.deepcopy(detector)
    losses = train(detector, few, steps=3, rate=1e-2, seed=7, size=2)
    torch.manual_seed(7)
    order = torch.cat([torch.randperm(6), torch.randperm(6)]).view(-1, 2)
    adam = torch.optim.Adam(twin.parameters(), fused=True)
    for step, expected in enumerate(losses):
        batch = few.subset(order[step])
        images = list(batch.images / 255)
        loss = sum(twin(images, batch.targets).values())
        assert loss.item() == expected
        adam.param_groups[0]["lr"] = 1e-2 * schedules.one_cycle(step / 3)
        adam.zero_grad()
        loss.backward()
        adam.step()
    assert not changed(state(detector), twin)


def test_the_chapters_training_loop_is_that_of_the_package(few: Scenes) -> None:
    """The notebook's own loop, taken from its source."""
    function = re.search(r"def train\(.*?(?=\n\n\n)", SOURCE.read_text("utf-8"), re.DOTALL)
    names = {
        "torch": torch,
        "trainable": trainable,
        "one_cycle": schedules.one_cycle,
        "P": SimpleNamespace(device="cpu"),
    }
    exec(function[0], names)
    torch.manual_seed(0)
    detector = small_detector(1)
    freeze(detector.backbone)
    twin = copy.deepcopy(detector)
    losses = names["train"](detector, few, 3, 1e-3, 7)
    assert losses == train(twin, few, 3, 1e-3, 7)
    assert not changed(state(detector), twin)


def test_scenes_without_objects_train_and_predict() -> None:
    images = torch.randint(0, 256, (2, 1, 96, 96), dtype=torch.uint8)
    scenes = Scenes(images, [dict(NOTHING), dict(NOTHING)], ("a",))
    detector = small_detector(1)
    losses = train(detector, scenes, steps=3, rate=1e-3)
    assert np.isfinite(losses).all()
    predictions = predict(detector, images, size=1)
    assert len(predictions) == 2
    for prediction in predictions:
        assert prediction["boxes"].shape[1:] == (4,)


def test_a_loss_that_is_not_finite_is_told(few: Scenes) -> None:
    detector = small_detector(1)
    with torch.no_grad():
        detector.roi_heads.box_predictor.cls_score.bias.fill_(torch.nan)
    with pytest.raises(CourseError, match="step 1 .*lower rate"):
        train(detector, few, steps=2, rate=1e-3)


# ---------------------------------------------------------------- COCO's weights


@dataclass
class Hub:
    """Random weights on a "server", and their place in torchvision's cache."""

    file: Path
    cached: Path
    weights: dict[str, Tensor]


REACHABLE = "vaetl_helpers.data.files.is_reachable"


@pytest.fixture
def hub(large: FasterRCNN, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))
    weights = state(large)
    for name in [name for name in weights if "num_batches" in name]:
        del weights[name]
    path = tmp_path / "weights.pth"
    torch.save(weights, path)
    digest = sha256(path.read_bytes()).hexdigest()[:8]
    file = path.rename(tmp_path / f"detector-{digest}.pth")
    coco_weights = FasterRCNN_MobileNet_V3_Large_320_FPN_Weights.DEFAULT
    monkeypatch.setattr(coco_weights.value, "url", file.as_uri())
    monkeypatch.setattr(REACHABLE, lambda url: True)
    return Hub(file, tmp_path / "hub" / "checkpoints" / file.name, weights)


def test_the_online_path_with_weights_from_a_server(
    hub: Hub, few: Scenes, monkeypatch: pytest.MonkeyPatch
) -> None:
    detector = coco_detector()
    weights = detector.state_dict()
    for name, value in hub.weights.items():
        assert torch.equal(weights[name], value)
    assert len(trainable(detector)) == len(list(detector.parameters())), "torchvision froze nothing"
    norm = detector.backbone.body["0"][1]
    assert "Frozen" in type(norm).__name__, "BatchNorm as it was trained"
    hub.file.unlink()
    monkeypatch.setattr(REACHABLE, lambda url: False)
    detector = replace_head(coco_detector(), 1)  # from the cache
    freeze(detector.backbone)
    original = state(detector)
    train(detector, in_colour(few), steps=1, rate=1e-3, size=2)
    assert not any(map(is_of_backbone, changed(original, detector)))
    predictions = predict(detector, in_colour(few).images[:2])
    assert len(predictions) == 2
    assert predictions[0]["boxes"].shape[1:] == (4,)


def test_a_missing_network_gives_one_line(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(REACHABLE, lambda url: False)
    with pytest.raises(CourseError) as error:
        coco_detector()
    message = str(error.value)
    assert "\n" not in message
    assert "efficientnet" not in message
    assert "does not answer" in message
    assert "coco=False" in message


def test_damaged_weights_are_set_aside(hub: Hub) -> None:
    hub.cached.parent.mkdir(parents=True)
    hub.cached.write_bytes(hub.file.read_bytes()[:1000])
    coco_detector()
    damaged = hub.cached.with_name(f"{hub.cached.name}.damaged")
    assert damaged.stat().st_size == 1000


def test_photos_with_voc_boxes_are_read(tmp_path: Path) -> None:
    """The notebook's own reader, taken from its source."""
    function = re.search(r"def read_photos.*?(?=\n\n\n)", SOURCE.read_text("utf-8"), re.DOTALL)
    from torchvision.transforms.functional import pil_to_tensor

    names = {
        "torch": torch,
        "Path": Path,
        "Image": Image,
        "CourseError": CourseError,
        "detection": detection,
        "pil_to_tensor": pil_to_tensor,
    }
    exec("from xml.etree import ElementTree\n" + function[0], names)
    annotations = tmp_path / "annotations"
    annotations.mkdir()
    corners = "<xmin>100</xmin><ymin>20</ymin><xmax>640</xmax><ymax>210</ymax>"
    box = f"<object><bndbox>{corners}</bndbox></object>"
    red = Image.new("RGB", (640, 200), (255, 0, 0))
    for number in range(10):
        red.save(tmp_path / f"{number}.jpg")
        boxes = box if number else ""
        (annotations / f"{number}.xml").write_text(f"<annotation>{boxes}</annotation>")
    photos = names["read_photos"](tmp_path)
    assert photos.images.shape == (10, 3, 320, 320)
    assert photos.targets[0]["boxes"].shape == (0, 4)
    assert photos.targets[1]["boxes"].tolist() == [[50, 10, 320, 105]]
    assert photos.images[1, 0, :100].min() > 250
    assert photos.images[1, :, 100:].max() == 0
    with pytest.raises(CourseError, match="holds 0 photos"):
        names["read_photos"](annotations / "none")


# ---------------------------------------------------------------- the course's detector


def test_the_checkpoint_is_small_and_says_what_it_is() -> None:
    path = Path(detection.__file__).parent / "assets" / "detector-scenes.safetensors"
    assert path.stat().st_size <= 2e6
    detector, facts = pretrained_small()
    assert sum(parameter.numel() for parameter in detector.parameters()) < 500_000
    names = ["command", "data", "classes", "seed", "steps", "ap50", "date", "versions", "machine"]
    assert set(names) <= set(facts)
    assert facts["command"].startswith("python -m vaetl_helpers.authoring.pretrain_detector")
    assert len(facts["classes"]) == 9
    assert "ankle boot" not in facts["classes"]


def test_it_was_trained_on_training_images_of_other_classes(clothes: Splits) -> None:
    train_images = source_images(clothes.train)
    _, facts = pretrained_small()
    assert fingerprint(train_images) == facts["fingerprint"]
    assert NEW not in train_images.labels
    assert clothes.train.classes[NEW] == "ankle boot"
    boot = clothes.train.subset(clothes.train.labels == NEW)
    for unseen in (boot, clothes.validation, clothes.test):
        assert hashes(train_images).isdisjoint(hashes(unseen))


def hashes(images: ImageSet) -> set[bytes]:
    return set(image_hashes(images.images.squeeze(1).numpy()))


def test_it_finds_what_it_was_trained_on() -> None:
    detector, facts = pretrained_small()
    scenes = source_scenes("test", facts["test_scenes"], facts["seed"] + 1)
    ap50 = average_precision(predict(detector, scenes.images), scenes.targets)
    assert ap50 == pytest.approx(facts["ap50"], abs=1)


# ---------------------------------------------------------------- what transfer gains


@pytest.mark.nightly
def test_fine_tuned_beats_scratch_at_the_smallest_size(clothes: Splits, digits: Splits) -> None:
    """The required result, with the method and the settings of the notebook's profile `cpu`."""
    pool = boots(clothes, digits, "train", 50, 0)

    def learner(name: str) -> study.Method:
        def run(draw: study.Draw) -> dict[str, float]:
            detector = small_detector(1)
            if name == "frozen":
                detector = replace_head(pretrained_small()[0], 1)
                freeze(detector.backbone)
            test = boots(clothes, digits, "test", 60, 1000 + draw.number)
            train(detector, pool.subset(draw.indices), 150, 1e-3, draw.seed)
            predictions = predict(detector, test.images)
            return {"test AP@50": average_precision(predictions, test.targets)}

        return study.Method(name, run)

    table = study.run_study(
        "t",
        [learner("frozen"), learner("scratch")],
        [5],
        5,
        labels=torch.zeros(len(pool), dtype=torch.long),
        pretrain_seeds=[0],
        quiet=True,
    )
    effect = study.paired(table, "frozen", "scratch", "test AP@50", 5)
    assert effect.low > 0
    assert study.verdict(effect) == "supported"
    assert "conditional on this pretrained model" in effect.label
