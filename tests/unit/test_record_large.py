"""What a large network learns: a study in small, with a small network in its place."""

from __future__ import annotations

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
        nn.BatchNorm2d(4, momentum=0.01),
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
    monkeypatch.setattr(record_large, "RATES", rates)
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
    ids = [one["id"] for one in record_large.effects(table)]
    assert len(set(ids)) == 8 and ids[0].startswith("04/large/")


def test_batchnorm_keeps_the_statistics_that_it_came_with(photos: record_large.Photos) -> None:
    (draw,) = study.draw_labels(photos.task.pool.labels, 10, 1, 0)
    made = []

    def noted(method: str, seed: int) -> nn.Sequential:
        made.append(network(method, seed))
        return made[-1]

    network = record_large.network
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(record_large, "network", noted)
        for method in (record_large.SCRATCH, record_large.TUNED):
            *_, (steps, hits) = record_large.trained(photos, method, 1e-2, draw, "test")
            assert steps == 40 and hits.shape == (30,)
    scratch, tuned = (model[0][1] for model in made)
    assert not torch.equal(scratch.running_mean, torch.zeros(4)) and scratch.momentum == 0.1
    assert torch.equal(tuned.running_mean, torch.zeros(4)) and tuned.momentum == 0.01


def test_a_rate_is_chosen_on_validation_images(
    photos: record_large.Photos, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    photos.task.test = None  # not even looked at
    monkeypatch.setattr(record_large, "right", lambda model, images, labels: labels == 0)
    photos.__dict__["tests"] = {"validation": photos.seen(photos.task.validation)}
    record_large.tune(photos)
    assert capsys.readouterr().out.splitlines() == [
        "large, fine-tuned, 1e-09: 50.0 %",
        "large, fine-tuned, 0.01: 50.0 %",
    ]
