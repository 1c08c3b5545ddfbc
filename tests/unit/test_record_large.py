"""What a large network learns: a study in small, with a small network in its place."""

from __future__ import annotations

import copy
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from vaetl_helpers import study
from vaetl_helpers.authoring.assets import record_large
from vaetl_helpers.data.images import ImageSet
from vaetl_helpers.study.runs import Shard


def small_backbone(pretrained: bool = True) -> SimpleNamespace:
    """A backbone of one convolution, whose weights are known where it is pretrained."""
    body = nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.Sequential(nn.Dropout(0.5), nn.BatchNorm2d(4, momentum=0.01)),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )
    if pretrained:
        nn.init.constant_(body[0].weight, 0.5)
    return SimpleNamespace(body=body, width=4, prepare=lambda images: images.float() / 255)


def pictures(count: int, seed: int) -> ImageSet:
    """Dark and light ones."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 2
    levels = torch.randint(0, 100, (count, 3, 8, 8), generator=generator)
    images = (levels + 100 * labels.view(-1, 1, 1, 1)).to(torch.uint8)
    return ImageSet(images, labels, ["dark", "light"])


@pytest.fixture
def photos(monkeypatch: pytest.MonkeyPatch) -> record_large.Photos:
    sets = {
        name: pictures(count, seed)
        for seed, (name, count) in enumerate({"pool": 80, "validation": 20, "test": 30}.items())
    }
    monkeypatch.setattr(record_large.tasks, "load_task", lambda *_: SimpleNamespace(**sets))
    monkeypatch.setattr(record_large.transfer, "backbone", small_backbone)
    monkeypatch.setattr(record_large, "STEPS", {4: 20, 20: 40})
    monkeypatch.setattr(record_large, "DRAWS", {4: 3, 20: 2})
    rates = {record_large.SCRATCH: 0.03, record_large.TUNED: 0.03}
    monkeypatch.setattr(record_large, "RATES", {4: rates, 20: rates})
    monkeypatch.setattr(record_large, "GRIDS", {record_large.TUNED: (1e-9, 1e-2)})
    made = record_large.Photos(None)
    by_pixels = {name: one.images.float().mean((2, 3)) for name, one in sets.items()}
    monkeypatch.setattr(record_large.Photos, "features", by_pixels)
    return made


def test_the_shards_of_a_study_are_one_table(photos: record_large.Photos, tmp_path: Path) -> None:
    for labels in record_large.STEPS:
        for number in (1, 2):
            record_large.run(photos, labels, tmp_path, Shard(number, 2))
    table = record_large.joined(tmp_path)
    assert table.known("labels") == [4, 20]
    assert table.known("method") == [
        record_large.SCRATCH,
        record_large.TUNED,
        record_large.PROBE,
        record_large.PROBE_ALONE,
    ]
    assert len(table.values("large, probe", "test accuracy", 4)) == 3
    for method in ("large, from scratch", "large, fine-tuned"):
        last = table.mean(method, "test accuracy after 20 steps", 4)
        assert table.mean(method, "test accuracy", 4) == last
        assert table.mean(method, "test accuracy after 40 steps", 20) > 60
        assert table.mean(method, "training accuracy after 40 steps", 20) > 60
    assert table.mean(record_large.SCRATCH, record_large.RUNNING, 20) > 0
    ids = [one["id"] for one in record_large.effects(table)]
    assert len(set(ids)) == 10 and ids[0].startswith("04/large/")


def test_from_imagenet_batchnorm_keeps_the_statistics_that_it_came_with(
    photos: record_large.Photos,
) -> None:
    (draw,) = study.draw_labels(photos.task.pool.labels, 10, 1, 0)
    scratch, tuned = (
        dict(record_large.trained(photos, method, 1e-2, draw, looks=(10,)))
        for method in (record_large.SCRATCH, record_large.TUNED)
    )
    assert list(scratch) == list(tuned) == [10, 40]
    ready = record_large.ready(photos, record_large.TUNED, tuned[40], draw)
    kept, moved = ready[0][1][1], scratch[40][0][1][1]
    assert torch.equal(kept.running_mean, torch.zeros(4)) and kept.momentum == 0.01
    assert not torch.equal(moved.running_mean, torch.zeros(4)) and moved.momentum == 0.1


def test_from_scratch_the_statistics_are_those_of_the_labelled_photos_and_nothing_is_dropped(
    photos: record_large.Photos, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record_large, "CHUNK", 10)  # two passes for twenty photos
    (draw,) = study.draw_labels(photos.task.pool.labels, 10, 1, 0)
    *_, (_, model) = record_large.trained(photos, record_large.SCRATCH, 1e-2, draw)
    before, norm = copy.deepcopy(model[0][1][1]), model[0][1][1]
    ready = record_large.ready(photos, record_large.SCRATCH, model, draw)
    renewed = ready[0][1][1]
    chunks = model[0][0](photos.seen(photos.task.pool.subset(draw.indices))).split(10)
    means = torch.stack([chunk.mean((0, 2, 3)) for chunk in chunks])
    variances = torch.stack([chunk.var((0, 2, 3)) for chunk in chunks])
    torch.testing.assert_close(renewed.running_mean, means.mean(0))
    torch.testing.assert_close(renewed.running_var, variances.mean(0))
    assert torch.equal(norm.running_mean, before.running_mean), "training goes on as before"
    assert not ready.training and norm.momentum == before.momentum == 0.1


def test_a_rate_is_chosen_on_validation_images(
    photos: record_large.Photos, capsys: pytest.CaptureFixture[str]
) -> None:
    photos.task.test = None  # not even looked at
    photos.__dict__["tests"] = {"validation": photos.seen(photos.task.validation)}
    record_large.tune(photos, 20)
    tiny, good = capsys.readouterr().out.splitlines()
    assert tiny.startswith("20 labels, large, fine-tuned, 1e-09: ")
    assert good.startswith("20 labels, large, fine-tuned, 0.01: ")
    reached = [float(line.split()[-2]) for line in (tiny, good)]
    assert reached[0] < reached[1], "a network that does not move has learned nothing"
