"""Detection: scenes and boxes, AP by COCO's rules, head surgery, freezing, and what transfer gains."""

from __future__ import annotations

import copy
import re
import sys
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision.models.detection import FasterRCNN, FasterRCNN_MobileNet_V3_Large_320_FPN_Weights

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
    images, clutter = getattr(clothes, split), getattr(digits, split)
    return compose(images.subset(images.labels == NEW), source_images(images), clutter, count, seed)


@pytest.fixture(scope="module")
def few(clothes: Splits, digits: Splits) -> Scenes:
    return boots(clothes, digits, "train", 6, 0)


def state(module: torch.nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def changed(before: dict[str, Tensor], module: torch.nn.Module) -> set[str]:
    return {
        name for name, value in module.state_dict().items() if not torch.equal(value, before[name])
    }


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
    again = boots(clothes, digits, "train", 60, 3)
    other = boots(clothes, digits, "train", 60, 4)
    assert torch.equal(scenes.images, again.images) and not torch.equal(scenes.images, other.images)
    assert scenes.images.shape == (60, 1, 96, 96) and scenes.classes == ("ankle boot",)
    boxes = torch.cat([target["boxes"] for target in scenes.targets])
    sides = boxes[:, 2:] - boxes[:, :2]
    assert (boxes >= 0).all() and (boxes <= 96).all() and sides.max() <= 36 and sides.min() >= 5
    numbers = [len(target["boxes"]) for target in scenes.targets]
    assert (
        0 in numbers and max(numbers) <= 4 and 0.8 < np.mean(numbers) < 2.2
    )  # about half of 2 to 4 garments


def test_a_box_lies_round_its_garment() -> None:
    """A white square stands for the garment: inside its box nearly all is one grey, just outside it is not."""
    square = ImageSet(
        torch.full((1, 1, 28, 28), 255, dtype=torch.uint8), torch.zeros(1), ("square",)
    )
    dark = ImageSet(torch.full((1, 1, 28, 28), 26, dtype=torch.uint8), torch.zeros(1), ("dark",))
    scenes = compose(square, None, dark, 20, 0)
    for scene, target in zip(scenes.images, scenes.targets, strict=True):
        for x1, y1, x2, y2 in target["boxes"].int().tolist():
            inside = scene[0, y1:y2, x1:x2]
            level = inside.mode().values.mode().values
            assert (inside == level).float().mean() > 0.75  # another square may cover a corner
            ring = [scene[0, y1:y2, x] for x in (x1 - 1, x2) if 0 <= x < 96]
            assert (torch.cat(ring) == level).float().mean() < 0.5


def test_labelled_are_all_classes_without_others(clothes: Splits, digits: Splits) -> None:
    scenes = compose(source_images(clothes.train), None, digits.train, 40, 0)
    labels = torch.cat([target["labels"] for target in scenes.targets])
    assert len(scenes.classes) == 9 and "ankle boot" not in scenes.classes
    assert set(labels.tolist()) == set(range(1, 10)) and 2 <= len(labels) / 40 <= 4


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


def test_wrong_labels_and_images_are_refused() -> None:
    box = [[1, 1, 5, 5]]
    Scenes(grey(1), [{"boxes": box, "labels": [1]}], ("a",))
    for labels in ([0], [2], [1, 1]):
        with pytest.raises(CourseError, match=r"label in 1 … 1"):
            Scenes(grey(1), [{"boxes": box, "labels": labels}], ("a",))
    with pytest.raises(CourseError, match="uint8"):
        Scenes(grey(1).float(), [{"boxes": box, "labels": [1]}], ("a",))
    with pytest.raises(CourseError, match="2 targets"):
        Scenes(grey(1), 2 * [{"boxes": box, "labels": [1]}], ("a",))


def test_a_study_draws_scenes_as_labels_of_one_class() -> None:
    def run(draw: study.Draw) -> dict[str, float]:
        return {"test AP@50": float(len(draw.indices.unique()))}

    table = study.run_study(
        "t",
        [study.Method("m", run)],
        [5, 20],
        4,
        labels=torch.zeros(80, dtype=torch.long),
        quiet=True,
    )
    assert set(table.values("m", "test AP@50", 5).values()) == {5.0}
    assert set(table.values("m", "test AP@50", 20).values()) == {20.0}
    assert set(table.values("m", study.SHARED, 20).values()) == {
        0.0
    }  # disjoint, where the pool allows it


# ---------------------------------------------------------------- average precision


def test_average_precision_follows_coco() -> None:
    truth = [
        {
            "boxes": torch.tensor([[0.0, 0, 20, 20], [30, 30, 60, 60], [70, 70, 90, 90]]),
            "labels": torch.ones(3).long(),
        }
    ]
    boxes = torch.tensor([[0.0, 0, 20, 18], [60, 0, 80, 20], [30, 32, 60, 60], [0, 2, 20, 20]])
    found = [
        {
            "boxes": boxes,
            "scores": torch.tensor([0.9, 0.8, 0.7, 0.6]),
            "labels": torch.ones(4).long(),
        }
    ]
    # Precision 1 at 34 of 101 levels of recall, 2/3 at 33; the duplicate and the box in the void are false alarms.
    assert average_precision(found, truth) == pytest.approx(100 * (34 + 33 * 2 / 3) / 101, abs=1e-3)


@pytest.mark.parametrize(("corners", "expected"), [((0, 0, 20, 10), 100), ((0, 0, 20, 9.5), 0)])
def test_a_hit_needs_half(corners: tuple, expected: float) -> None:
    truth = [{"boxes": torch.tensor([[0.0, 0, 20, 20]]), "labels": torch.tensor([1])}]
    assert average_precision([one_box(*map(float, corners))], truth) == pytest.approx(expected)


def test_false_alarms_in_empty_scenes_count() -> None:
    nothing = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0).long()}
    truth = [{"boxes": torch.tensor([[0.0, 0, 20, 20]]), "labels": torch.tensor([1])}, nothing]
    hit, alarm = one_box(0.0, 0, 20, 20, score=0.5), one_box(0.0, 0, 20, 20, score=0.9)
    assert average_precision([hit, nothing | {"scores": torch.zeros(0)}], truth) == pytest.approx(
        100
    )
    assert average_precision([hit, alarm], truth) == pytest.approx(50)
    with pytest.raises(CourseError, match="No scene holds an object"):
        average_precision([alarm], [nothing])


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


def test_a_new_head_leaves_everything_else(large: FasterRCNN) -> None:
    for detector, before in ((copy.deepcopy(large), 91), (small_detector(9), 10)):
        kept = state(detector)
        head = detector.roi_heads.box_predictor
        assert head.cls_score.out_features == before
        assert replace_head(detector, 2) is detector
        new = detector.roi_heads.box_predictor
        assert new is not head and (new.cls_score.out_features, new.bbox_pred.out_features) == (
            3,
            12,
        )
        now = detector.state_dict()
        rest = [name for name in kept if "box_predictor" not in name]
        assert len(rest) == len(kept) - 4 and all(
            torch.equal(now[name], kept[name]) for name in rest
        )


def test_a_step_on_the_coco_detector_changes_only_what_is_not_frozen(
    large: FasterRCNN, few: Scenes
) -> None:
    detector = replace_head(copy.deepcopy(large), 1)
    assert any(isinstance(part, torch.nn.BatchNorm2d) for part in detector.backbone.modules())
    freeze(detector.backbone)
    before = state(detector)
    train(detector, in_colour(few), steps=1, rate=1e-3, size=2)
    moved = changed(before, detector)
    assert moved and not any(
        name.startswith("backbone") for name in moved
    )  # nor BatchNorm's statistics
    assert {"roi_heads.box_predictor.cls_score.weight", "rpn.head.cls_logits.weight"} <= moved
    assert detector.training and not any(part.training for part in detector.backbone.modules())
    assert not {id(p) for p in trainable(detector)} & {
        id(p) for p in detector.backbone.parameters()
    }
    unfreeze(detector.backbone)
    train(detector, in_colour(few), steps=1, rate=1e-3, size=2)
    assert any(
        name.startswith("backbone.body") and "running" not in name
        for name in changed(before, detector)
    )


def test_frozen_through_training_and_predicting(few: Scenes) -> None:
    torch.manual_seed(0)
    detector = replace_head(small_detector(9), 1)
    freeze(detector.backbone)
    before = state(detector)
    losses = train(detector, few, steps=8, rate=1e-3)
    predict(detector, few.images)
    assert detector.training and not detector.backbone.training
    train(detector, few, steps=2, rate=1e-3)
    moved = changed(before, detector)
    assert len(losses) == 8 and np.isfinite(losses).all()
    assert moved == {name for name in before if not name.startswith("backbone")}


def test_training_repeats_and_learns(few: Scenes) -> None:
    results = []
    for before in range(2):
        torch.manual_seed(0)
        detector = small_detector(1)
        torch.rand(before)  # what was drawn earlier does not matter
        results.append((train(detector, few, steps=30, rate=1e-3, seed=5), state(detector)))
    (losses, weights), (again, twin) = results
    assert losses == again and all(torch.equal(weights[name], twin[name]) for name in weights)
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])


def test_training_is_the_usual_loop(few: Scenes) -> None:
    torch.manual_seed(0)
    detector = small_detector(1).train()
    twin = copy.deepcopy(detector)
    losses = train(detector, few, steps=3, rate=1e-2, seed=7, size=2)
    torch.manual_seed(7)
    order = torch.cat([torch.randperm(6) for _ in range(2)])
    adam = torch.optim.Adam(twin.parameters())
    for step, loss in enumerate(losses):
        batch = few.subset(order[2 * step : 2 * step + 2])
        again = sum(twin(list(batch.images / 255), batch.targets).values())
        assert again.item() == loss
        adam.param_groups[0]["lr"] = 1e-2 * schedules.one_cycle(step / 3)
        adam.zero_grad()
        again.backward()
        adam.step()
    assert not changed(state(detector), twin)


def test_scenes_without_objects_train_and_predict() -> None:
    nothing = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0)}
    empty = Scenes(
        torch.randint(0, 256, (2, 1, 96, 96), dtype=torch.uint8), [nothing, nothing], ("a",)
    )
    detector = small_detector(1)
    assert np.isfinite(train(detector, empty, steps=3, rate=1e-3)).all()
    found = predict(detector, empty.images, size=1)
    assert len(found) == 2 and all(each["boxes"].shape[1:] == (4,) for each in found)


def test_a_loss_that_is_not_finite_is_told(few: Scenes) -> None:
    detector = small_detector(1)
    with torch.no_grad():
        detector.roi_heads.box_predictor.cls_score.bias.fill_(torch.nan)
    with pytest.raises(CourseError, match="step 1 .*lower rate"):
        train(detector, few, steps=2, rate=1e-3)


# ---------------------------------------------------------------- COCO's weights


@pytest.fixture
def hub(large: FasterRCNN, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Random weights on a "server", in the place of COCO's, and torchvision's cache in a folder of its own."""
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))
    weights = {
        name: value for name, value in large.state_dict().items() if "num_batches" not in name
    }
    torch.save(weights, tmp_path / "weights.pth")
    digest = sha256((tmp_path / "weights.pth").read_bytes()).hexdigest()[:8]
    file = (tmp_path / "weights.pth").rename(tmp_path / f"detector-{digest}.pth")
    monkeypatch.setattr(
        FasterRCNN_MobileNet_V3_Large_320_FPN_Weights.DEFAULT.value, "url", file.as_uri()
    )
    monkeypatch.setattr("vaetl_helpers.transfer.backbones.is_reachable", lambda url: True)
    return SimpleNamespace(
        file=file, cached=tmp_path / "hub" / "checkpoints" / file.name, weights=weights
    )


def test_the_online_path_with_weights_from_a_server(
    hub: SimpleNamespace, few: Scenes, monkeypatch: pytest.MonkeyPatch
) -> None:
    detector = coco_detector()
    now = detector.state_dict()
    assert all(torch.equal(now[name], value) for name, value in hub.weights.items())
    assert all(
        parameter.requires_grad for parameter in detector.parameters()
    )  # torchvision froze nothing
    assert "Frozen" in type(detector.backbone.body["0"][1]).__name__  # BatchNorm as it was trained
    hub.file.unlink()
    monkeypatch.setattr("vaetl_helpers.transfer.backbones.is_reachable", lambda url: False)
    detector = replace_head(coco_detector(), 1)  # from the cache
    freeze(detector.backbone)
    before = state(detector)
    train(detector, in_colour(few), steps=1, rate=1e-3, size=2)
    assert not any(name.startswith("backbone") for name in changed(before, detector))
    found = predict(detector, in_colour(few).images[:2])
    assert len(found) == 2 and found[0]["boxes"].shape[1:] == (4,)


def test_a_missing_network_gives_one_line(
    hub: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vaetl_helpers.transfer.backbones.is_reachable", lambda url: False)
    with pytest.raises(CourseError) as error:
        coco_detector()
    assert "\n" not in str(error.value) and "efficientnet" not in str(error.value)
    assert "does not answer" in str(error.value) and "coco=False" in str(error.value)


def test_damaged_weights_are_set_aside(hub: SimpleNamespace) -> None:
    hub.cached.parent.mkdir(parents=True)
    hub.cached.write_bytes(hub.file.read_bytes()[:1000])
    coco_detector()
    assert hub.cached.with_name(f"{hub.cached.name}.damaged").stat().st_size == 1000


def test_photos_with_voc_boxes_are_read(tmp_path: Path) -> None:
    """The notebook's own reader, taken from its source."""
    cell = next(c for c in SOURCE.read_text("utf-8").split("# %%") if "def read_photos" in c)
    body = re.search(r"def read_photos.*?(?=\n\n\n)", cell, re.DOTALL)[0]
    from torchvision.transforms.functional import pil_to_tensor

    names = {
        "torch": torch,
        "Path": Path,
        "Image": Image,
        "CourseError": CourseError,
        "detection": detection,
    }
    names |= {"pil_to_tensor": pil_to_tensor}
    exec("from xml.etree import ElementTree\n" + body, names)
    (tmp_path / "annotations").mkdir()
    box = "<object><bndbox><xmin>100</xmin><ymin>20</ymin><xmax>640</xmax><ymax>210</ymax></bndbox></object>"
    for number in range(10):
        Image.new("RGB", (640, 200), (255, 0, 0)).save(tmp_path / f"{number}.jpg")
        xml = f"<annotation>{box if number else ''}</annotation>"
        (tmp_path / "annotations" / f"{number}.xml").write_text(xml)
    photos = names["read_photos"](tmp_path)
    assert photos.images.shape == (10, 3, 320, 320) and photos.targets[0]["boxes"].shape == (0, 4)
    assert photos.targets[1]["boxes"].tolist() == [[50, 10, 320, 105]]
    assert photos.images[1, 0, :100].min() > 250 and photos.images[1, :, 100:].max() == 0
    with pytest.raises(CourseError, match="holds 0 photos"):
        names["read_photos"](tmp_path / "annotations" / "none")


# ---------------------------------------------------------------- the detector that comes with the course


def test_the_checkpoint_is_small_and_says_what_it_is() -> None:
    path = Path(detection.__file__).parent / "assets" / "detector-scenes.safetensors"
    assert path.stat().st_size <= 2e6
    detector, facts = pretrained_small()
    assert sum(parameter.numel() for parameter in detector.parameters()) < 500_000
    assert {
        "command",
        "data",
        "classes",
        "seed",
        "steps",
        "ap50",
        "date",
        "versions",
        "machine",
    } <= set(facts)
    assert facts["command"].startswith("python -m vaetl_helpers.authoring.pretrain_detector")
    assert len(facts["classes"]) == 9 and "ankle boot" not in facts["classes"]


def test_it_was_trained_on_training_images_of_other_classes(clothes: Splits) -> None:
    used = source_images(clothes.train)
    assert fingerprint(used) == pretrained_small()[1]["fingerprint"]
    assert NEW not in used.labels and clothes.train.classes[NEW] == "ankle boot"
    known = set(image_hashes(used.images.squeeze(1).numpy()))
    boot = clothes.train.subset(clothes.train.labels == NEW)
    for other in (boot, clothes.validation, clothes.test):
        assert not known & set(image_hashes(other.images.squeeze(1).numpy()))


def test_it_finds_what_it_was_trained_on() -> None:
    detector, facts = pretrained_small()
    scenes = source_scenes("test", facts["test_scenes"], facts["seed"] + 1)
    assert average_precision(predict(detector, scenes.images), scenes.targets) == pytest.approx(
        facts["ap50"], abs=1
    )


# ---------------------------------------------------------------- what transfer gains


@pytest.mark.slow
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
            return {"test AP@50": average_precision(predict(detector, test.images), test.targets)}

        return study.Method(name, run)

    methods, one_class = (
        [learner("frozen"), learner("scratch")],
        torch.zeros(len(pool), dtype=torch.long),
    )
    table = study.run_study("t", methods, [5], 5, labels=one_class, pretrain_seeds=[0], quiet=True)
    effect = study.paired(table, "frozen", "scratch", "test AP@50", 5)
    assert effect.low > 0 and study.verdict(effect) == "supported"
    assert "conditional on this pretrained model" in effect.label
