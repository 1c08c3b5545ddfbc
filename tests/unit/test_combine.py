"""VAE and transfer learning: sources without test images, the same labels for all, networks trained
together.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import vaetl_helpers.training.run
import vaetl_helpers.training.vaes
from vaetl_helpers import claims, study, vae_comparisons, vae_transfer
from vaetl_helpers.authoring.assets import tune
from vaetl_helpers.data import ImageSet, Splits, data_root, image_hashes
from vaetl_helpers.errors import CourseError
from vaetl_helpers.flops import count_flops
from vaetl_helpers.nets import Encoder
from vaetl_helpers.settings import profiles
from vaetl_helpers.study import Draw, Table
from vaetl_helpers.training import fit_together, loop
from vaetl_helpers.training.checkpoints import write_checkpoint
from vaetl_helpers.training.linear import linear_layers
from vaetl_helpers.training.vaes import can_be_stacked
from vaetl_helpers.tuned import KINDS, Setting, tuned_settings
from vaetl_helpers.vae import elbo, mlp_vae

EMBEDDED = [
    (name, source)
    for name, sources in vae_transfer.SOURCES.items()
    if name != "animals"
    for source in sources
]
FULL = [(name, source) for name, sources in vae_transfer.SOURCES.items() for source in sources]


def hashes(*parts: ImageSet) -> set[bytes]:
    return {digest for part in parts for digest in image_hashes(part.images.numpy())}


def small_target(seed: int = 0, per_class: int = 30) -> Splits:
    """Three classes of noisy 8 × 8 patterns; every image is another one."""
    generator = torch.Generator().manual_seed(seed)
    patterns = torch.rand(3, 1, 8, 8, generator=generator)

    def part(count: int) -> ImageSet:
        labels = torch.arange(3).repeat_interleave(count)
        noise = torch.rand(len(labels), 1, 8, 8, generator=generator)
        return ImageSet(
            (0.5 * patterns[labels] + 0.5 * noise).mul(255).byte(), labels, ("a", "b", "c")
        )

    return Splits(part(per_class), part(10), part(20), "patterns")


def small_draw(target: Splits, number: int = 0, labels: int = 15, seed: int = 5) -> Draw:
    drawn = study.draw_labels(target.train.labels, labels // 3, number + 1, 0)[number]
    return replace(drawn, pretrain_seed=7, seed=seed + number)


# ---------------------------------------------------------------- sources and targets


@pytest.mark.parametrize("name, source", EMBEDDED)
def test_no_embedded_source_has_an_image_of_its_targets_test_or_validation(
    name: str, source: str
) -> None:
    target, images = vae_transfer.load_target(name), vae_transfer.load_source(source)
    assert not hashes(images) & hashes(target.test, target.validation)
    assert not hashes(target.train) & hashes(target.test, target.validation)


@pytest.mark.slow
@pytest.mark.parametrize("name, source", FULL)
def test_no_full_source_has_an_image_of_its_targets_test_or_validation(
    name: str, source: str
) -> None:
    if data_root() is None:
        pytest.skip("needs VAETL_DATA")
    target, images = (
        vae_transfer.load_target(name, full=True),
        vae_transfer.load_source(source, full=True),
    )
    assert len(images) > 5000
    assert not hashes(images) & hashes(target.test, target.validation)
    if name in ("digits", "tops", "animals"):
        assert not hashes(images) & hashes(target.train), "a source shares nothing with its target"


@pytest.mark.parametrize("name", ["digits", "mnist", "fashion", "tops"])
def test_a_target_has_fifty_validation_images_of_each_class(name: str) -> None:
    target = vae_transfer.load_target(name)
    assert target.validation.labels.bincount().tolist() == [50] * len(target.train.classes)
    assert set(target.train.labels.tolist()) == set(range(len(target.train.classes)))


def test_the_digits_are_parted() -> None:
    target, source = vae_transfer.load_target("digits"), vae_transfer.load_source("digits 0–4")
    assert (source.classes, target.train.classes) == (tuple("01234"), tuple("56789"))
    assert len(source) == 2500 and len(target.train) == 1750 and len(target.test) == 500


def test_unknown_names_are_refused() -> None:
    with pytest.raises(CourseError, match="did you mean 'digits'"):
        vae_transfer.load_target("digit")
    with pytest.raises(CourseError, match="Unknown source 'ImageNet'"):
        vae_transfer.load_source("ImageNet")


# ---------------------------------------------------------------- what methods see


class Watched(ImageSet):
    """An ImageSet that keeps which of its images were asked for."""

    def subset(self, indices: Tensor | slice) -> ImageSet:
        self.asked.append(indices.tolist())
        return super().subset(indices)


def watched(images: ImageSet) -> Watched:
    spy = Watched(images.images, images.labels, images.classes)
    spy.asked = []
    return spy


def with_other_target(run: partial, target: Splits, other: Splits) -> partial:
    """A method's run, with another target wherever it is given the first one."""
    parts = []
    for part in run.args:
        if isinstance(part, tuple):
            part = tuple(other if one is target else one for one in part)
        parts.append(other if part is target else part)
    return partial(run.func, *parts, **run.keywords)


def every_method(target: Splits, source: ImageSet) -> list[study.Method]:
    starts = vae_transfer.pretrain_all({"own": source}, [7, 8], 200)
    supervised = vae_transfer.pretrain_supervised
    taught = vae_transfer.pretrain_all({"own": source}, [7, 8], 200, supervised)
    views = {"PCA": vae_transfer.fit_pca(source), "raw pixels": vae_transfer.pixels}
    few_steps = {100: Setting(steps=20)}
    settings = {"scratch_settings": few_steps, "pretrained_settings": few_steps}
    return vae_transfer.methods(target, "own", starts, views, taught, more=True, **settings)


def test_every_method_gets_the_same_labels() -> None:
    target = small_target()
    seen = {}
    for method in every_method(target, small_target(1, 20).train):
        spy = watched(target.train)
        run = with_other_target(method.run, target, replace(target, train=spy))
        for count in (15, 30):
            once = study.Method(method.name, run, method.settings, method.batched)
            study.run_study(
                "s", [once], [count], 3, labels=spy.labels, pretrain_seeds=[7, 8], quiet=True
            )
        seen[method.name] = spy.asked
    assert len(seen) == 13
    for name, asked in seen.items():
        # Self-training also takes images without their labels, as many as there are.
        labelled = [rows for rows in asked if len(rows) in (15, 30)]
        assert len(labelled) == 6, name
        seen[name] = labelled
    assert all(asked == seen["scratch"] for asked in seen.values())


@pytest.mark.parametrize("profile", ["cpu", "gpu", "paper"])
def test_a_study_has_the_steps_for_which_its_rates_were_chosen(profile: str) -> None:
    """With fewer, the network whose rate is higher loses by many points, for that reason alone."""
    chapter = profiles()["05"][profile]
    for target in chapter["targets"]:
        for kind in KINDS:
            of_kind = tuned_settings(target, kind)
            assert tuned_settings(target, kind, chapter["steps"]) == of_kind, (target, kind)


def test_pretraining_sees_its_source_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[ImageSet] = []
    monkeypatch.setattr(
        vae_transfer, "fit", lambda model, images, *rest, **more: given.append(images) or _nothing()
    )
    for name, source in EMBEDDED:
        if source == "pullover/coat":
            continue
        given.clear()
        for train in (vae_transfer.pretrain, vae_transfer.pretrain_supervised):
            train(vae_transfer.load_source(source), 0, 10)
        assert len(given) == 2
        target = vae_transfer.load_target(name)
        assert not hashes(*given) & hashes(target.test, target.validation)


def _nothing() -> Any:
    from vaetl_helpers.training import History

    return History([{"seconds": 0.0, "steps": 0}])


# ---------------------------------------------------------------- pretraining


def test_pretraining_depends_on_its_seed_alone(tmp_path: Path) -> None:
    source = small_target(1).train
    torch.manual_seed(3)
    first = vae_transfer.pretrain(source, 5, 300)
    torch.manual_seed(4)
    before = torch.get_rng_state()
    again = vae_transfer.pretrain(source, 5, 300, checkpoint=tmp_path / "v.safetensors")
    other = vae_transfer.pretrain(source, 6, 300)
    assert _equal(first.model, again.model) and not _equal(first.model, other.model)
    assert not first.encoder.training and first.steps > 0
    assert before.shape == torch.get_rng_state().shape
    resumed = vae_transfer.pretrain(source, 5, 300, checkpoint=tmp_path / "v.safetensors")
    assert _equal(first.model, resumed.model) and resumed.seconds == again.seconds


def _equal(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))


def test_pretraining_in_two_processes_gives_the_same(tmp_path: Path) -> None:
    source = small_target(1).train
    alone, two = (
        vae_transfer.pretrain_all({"s": source}, [1, 2], 200, jobs=jobs)["s"] for jobs in (1, 2)
    )
    assert all(_equal(alone[seed].model, two[seed].model) for seed in (1, 2))


def test_vaes_trained_together_end_as_they_would_alone() -> None:
    source = small_target(1).train
    together = vae_transfer.pretrain_together(source, [5, 6, 7], 600, beta=0.5)
    for seed, made in zip([5, 6, 7], together, strict=True):
        alone = vae_transfer.pretrain(source, seed, 600, beta=0.5)
        assert made.steps == alone.steps and made.origin == alone.origin
        assert made.seconds > 0 and not made.model.training
        named = alone.model.state_dict()
        for name, value in made.model.state_dict().items():
            torch.testing.assert_close(value, named[name], rtol=1e-3, atol=1e-5)
        torch.manual_seed(0)
        bound = elbo(made.model, source.images / 255).elbo.mean()
        torch.manual_seed(0)
        assert abs(bound - elbo(alone.model, source.images / 255).elbo.mean()) < 0.1


@pytest.mark.parametrize("begins_alone", [False, True], ids=["together", "alone"])
def test_vaes_trained_together_go_on_from_their_checkpoints(
    tmp_path: Path, begins_alone: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = small_target(1).train
    whole = vae_transfer.pretrain_together(source, [5, 6], 360)
    paths = [tmp_path / f"{seed}.safetensors" for seed in (5, 6)]
    saves = []

    def cut_off(path: Path, *rest: Any) -> Path:
        saves.append(write_checkpoint(path, *rest))
        if len(saves) == 3:  # one VAE has come further than the other
            raise KeyboardInterrupt
        return path

    module = vaetl_helpers.training.run if begins_alone else vaetl_helpers.training.vaes
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(module, "write_checkpoint", cut_off)
        if begins_alone:
            vae_transfer.pretrain(source, 5, 360, checkpoint=paths[0])
        vae_transfer.pretrain_together(source, [5, 6], 360, checkpoints=paths)
    resumed = vae_transfer.pretrain_together(source, [5, 6], 360, checkpoints=paths)
    for first, second in zip(whole, resumed, strict=True):
        assert first.steps == second.steps
        for a, b in zip(first.model.parameters(), second.model.parameters(), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)
    again = vae_transfer.pretrain(source, 5, 360, checkpoint=paths[0])
    assert again.seconds == resumed[0].seconds and _equal(again.model, resumed[0].model)
    with pytest.raises(CourseError, match="training images and labels changed"):
        vae_transfer.pretrain_together(small_target(2).train, [5, 6], 360, checkpoints=paths)


def test_only_what_is_known_layer_by_layer_is_stacked_by_hand() -> None:
    grey, colour = (vae_transfer.untrained_vae((n, 8, 8), 0) for n in (1, 3))
    assert can_be_stacked(grey) and not can_be_stacked(colour)
    assert not can_be_stacked(mlp_vae(2, (4,), (1, 8, 8), activation="GELU"))
    assert not can_be_stacked(mlp_vae(2, (4,), (1, 8, 8), gaussian_log_var=0.0))
    layers = linear_layers(vae_transfer.classifier(grey.encoder, 3, 0))
    assert [layer.weight for layer in layers] == ["body.1.weight", "mu.weight", "head.weight"]
    assert [layer.has_relu for layer in layers] == [True, False, False]
    shared = nn.Linear(4, 4)
    for network in (
        nn.Sequential(nn.Linear(64, 3)),  # works on rows of an image
        nn.Sequential(nn.Flatten(), nn.Linear(64, 3, bias=False)),
        nn.Sequential(nn.Flatten(), nn.Linear(64, 4), nn.Tanh(), nn.Linear(4, 3)),
        nn.Sequential(nn.Flatten(), shared, shared),
    ):
        assert not linear_layers(network)


def test_checkpoints_are_named_by_label_source_and_seed(tmp_path: Path) -> None:
    source = small_target(1).train
    made = vae_transfer.pretrain_all({"a/b": source}, [1], 200, checkpoints=tmp_path)
    kept = vae_transfer.pretrain_all({"a/b": source}, [1], 200, checkpoints=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["vae-a-b-1.safetensors"]
    assert _equal(made["a/b"][1].model, kept["a/b"][1].model)
    vae_transfer.pretrain_all({"a/b": source}, [1], 200, label="beta-2", checkpoints=tmp_path)
    assert (tmp_path / "beta-2-a-b-1.safetensors").exists()


def test_the_vae_learns_and_the_supervised_encoder_knows_its_labels() -> None:
    target = small_target(per_class=60)
    made = vae_transfer.pretrain_supervised(target.train, 0, 3000)
    see = partial(vae_transfer.mu_of, {7: made})
    right = vae_transfer.probe(target, see, small_draw(target, labels=30))["test accuracy"]
    assert right.float().mean() > 0.9
    bounds = []
    for seen in (180, 6000):
        torch.manual_seed(0)
        model = vae_transfer.pretrain(target.train, 0, seen).model
        bounds.append(elbo(model, target.test.images / 255).elbo.mean().item())
    assert bounds[1] > bounds[0] + 1


# ---------------------------------------------------------------- networks trained together


@pytest.mark.parametrize("colour", [False, True], ids=["fully connected", "convolutions"])
def test_networks_trained_together_end_as_they_would_alone(colour: bool) -> None:
    target = small_target()
    if colour:
        parts = (target.train, target.validation, target.test)
        target = Splits(
            *(ImageSet(p.images.expand(-1, 3, -1, -1), p.labels, p.classes) for p in parts), ""
        )
    sets = [target.train.subset(small_draw(target, number, 30).indices) for number in range(3)]
    encoders = [
        vae_transfer.untrained_vae(target.train.images.shape[1:], seed).encoder for seed in range(3)
    ]
    together = [vae_transfer.classifier(encoder, 3, seed) for seed, encoder in enumerate(encoders)]
    alone = copy.deepcopy(together)
    how = {"epochs": 30, "batch_size": 8, "patience": 2}
    histories = fit_together(together, sets, target.validation, [4, 5, 6], rate=1e-2, **how)
    for number, (one, images) in enumerate(zip(alone, sets, strict=True)):
        adam = torch.optim.Adam(one.parameters(), 1e-2, fused=True)
        history = loop.fit_best(
            one, images, target.validation, optimizer=adam, seed=4 + number, **how
        )
        assert len(history) == len(histories[number])
        assert histories[number]["validation_accuracy"] == pytest.approx(
            history["validation_accuracy"]
        )
        assert histories[number]["validation_loss"] == pytest.approx(
            history["validation_loss"], rel=1e-3
        )
        for a, b in zip(together[number].parameters(), one.parameters(), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-3, atol=2e-4)
    assert len({len(history) for history in histories}) > 1, "each has early stopping of its own"


def test_pixels_that_are_dark_in_training_count_in_validation() -> None:
    target = small_target()
    sets = []
    for number in range(3):  # each network sees other pixels
        images = target.train.images.clone()
        images[:, :, number : number + 4] = 0
        sets.append(ImageSet(images, target.train.labels, target.train.classes))
    encoder = vae_transfer.untrained_vae((1, 8, 8), 0).encoder
    together = [vae_transfer.classifier(encoder, 3, seed) for seed in range(3)]
    alone = copy.deepcopy(together)
    how = {"epochs": 6, "batch_size": 16, "patience": 6}
    histories = fit_together(together, sets, target.validation, [4, 5, 6], rate=1e-3, **how)
    for number, (one, images) in enumerate(zip(alone, sets, strict=True)):
        adam = torch.optim.Adam(one.parameters(), 1e-3, fused=True)
        history = loop.fit_best(
            one, images, target.validation, optimizer=adam, seed=4 + number, **how
        )
        for name in ("validation_accuracy", "validation_loss"):
            assert histories[number][name] == pytest.approx(history[name], abs=1e-3)
        first, other = together[number][0][1].weight, one[0][1].weight
        torch.testing.assert_close(first, other, rtol=1e-3, atol=1e-5)
        dark = (images.images == 0).all(0).flatten()
        assert dark.sum() == 32 and torch.equal(first[:, dark], encoder.body[1].weight[:, dark])


def test_a_network_without_a_better_epoch_goes_back_to_its_start() -> None:
    target = small_target()
    model = vae_transfer.classifier(vae_transfer.untrained_vae((1, 8, 8), 0).encoder, 3, 0)
    how = {"epochs": 20, "batch_size": 8}
    fit_together([model], [target.train], target.validation, [0], rate=3e-3, patience=20, **how)
    before = copy.deepcopy(model)
    wrong = ImageSet(target.train.images, (target.train.labels + 1) % 3, target.train.classes)
    history = fit_together([model], [wrong], target.validation, [0], rate=1e-2, patience=3, **how)
    assert _equal(model, before) and len(history[0]) == 3


def test_sets_of_different_sizes_are_refused() -> None:
    target = small_target()
    models = [vae_transfer.classifier(vae_transfer.untrained_vae((1, 8, 8), 0).encoder, 3, 0)] * 2
    sets = [target.train.subset(slice(0, 5)), target.train.subset(slice(0, 6))]
    with pytest.raises(CourseError, match="as many images each"):
        fit_together(
            models, sets, target.validation, [0, 1], rate=1e-3, epochs=1, batch_size=4, patience=1
        )


def test_a_classifier_starts_from_the_encoder_and_leaves_it_alone() -> None:
    encoder = vae_transfer.untrained_vae((1, 8, 8), 0).encoder
    model = vae_transfer.classifier(encoder, 3, 1)
    images = torch.rand(4, 1, 8, 8)
    torch.testing.assert_close(model[:-1](images), encoder(images)[0])
    model[0][1].weight.data.zero_()
    assert encoder.body[1].weight.any()
    assert torch.equal(vae_transfer.classifier(encoder, 3, 1).head.weight, model.head.weight)
    assert not torch.equal(vae_transfer.classifier(encoder, 3, 2).head.weight, model.head.weight)


# ---------------------------------------------------------------- what a run returns


def test_outcome_by_hand() -> None:
    target, draw = small_target(), small_draw(small_target())
    encoder = vae_transfer.untrained_vae((1, 8, 8), 0).encoder
    start = vae_transfer.Pretrained(encoder, 12.5, steps=3, flops=1e9)
    (result,) = vae_transfer.fine_tuned(target, {7: start}, [draw], steps=20)
    (plain,) = vae_transfer.scratch(target, [draw], steps=20)
    assert result["test accuracy"].dtype == torch.bool and result["test accuracy"].shape == (60,)
    spent = result["seconds by epoch"]
    assert (result["pretraining seconds"], result["pretraining FLOPs"]) == (12.5, 1e9)
    assert (plain["pretraining seconds"], plain["pretraining FLOPs"]) == (0.0, 0.0)
    assert result["steps by epoch"].diff().unique().numel() == 1 and (spent.diff() > 0).all()
    model = vae_transfer.classifier(encoder, len(target.train.classes), 0)
    images = target.train.images[:1] / 255
    of_one_image = count_flops(model, images, target.train.labels[:1])
    epochs = len(spent)
    expected = of_one_image * len(draw.indices) * torch.arange(1, epochs + 1)
    torch.testing.assert_close(result["FLOPs by epoch"].double(), expected.double())
    assert len(result["training losses"]) == len(result["validation losses"]) == epochs
    best = result["validation curve"].max().item()
    assert result["validation accuracy"] == best and result["training loss"] > 0


def test_the_training_losses_are_those_of_the_networks_own_images() -> None:
    target, draw = small_target(), small_draw(small_target())
    (result,) = vae_transfer.scratch(target, [draw], steps=20)
    kept = int(result["validation curve"].argmax())
    ties = result["validation curve"] == result["validation curve"].max()
    candidates = result["training losses"][ties]
    assert (candidates - result["training loss"]).abs().min() < 1e-4
    assert result["training losses"][0] > result["training losses"][-1] and kept >= 0


def test_the_gap_is_test_loss_minus_training_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    target, draw = small_target(), small_draw(small_target())
    kept: list[nn.Module] = []

    def watched_training(models: list[nn.Module], *rest: Any, **options: Any) -> Any:
        kept.extend(models)
        return fit_together(models, *rest, **options)

    monkeypatch.setattr("vaetl_helpers.vae_transfer.fit_together", watched_training)
    (result,) = vae_transfer.scratch(target, [draw], steps=20)
    (model,), images = kept, target.train.subset(draw.indices)
    loss = [
        nn.functional.cross_entropy(model(s.images / 255), s.labels).item()
        for s in (target.test, images)
    ]
    assert result["train–test gap"] == pytest.approx(loss[0] - loss[1], abs=1e-5)


@pytest.mark.parametrize("kind", ["linear", "kNN", "SVM"])
def test_probes_learn_and_choose_on_validation(kind: str) -> None:
    target = small_target()
    result = vae_transfer.probe(target, vae_transfer.pixels, small_draw(target, labels=30), kind)
    assert result["test accuracy"].float().mean() > 0.8 and result["validation accuracy"] > 80


def test_self_training_labels_images_that_no_label_was_drawn_for() -> None:
    target = small_target()
    draw = small_draw(target, labels=6)
    unlabelled = vae_transfer._unlabelled(target, draw)
    drawn, others = set(draw.indices.tolist()), set(unlabelled.tolist())
    assert not drawn & others and drawn | others == set(range(len(target.train)))
    result = vae_transfer.self_trained(target, vae_transfer.pixels, draw)
    probe = vae_transfer.probe(target, vae_transfer.pixels, draw)
    assert result["validation accuracy"] >= probe["validation accuracy"]
    assert result["test accuracy"].shape == (60,)


def test_self_training_helps_where_the_classes_are_two_clouds() -> None:
    """Two labels at the edges of their clouds: the unlabelled rows show where these are."""
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(2).repeat(200)
    x = torch.randn(400, 2, generator=generator) * torch.tensor([30.0, 10.0]) + 90
    x[:, 1] += 60.0 * y
    levels = x.clamp(0, 255).to(torch.uint8)
    images = ImageSet(levels[:, None, None, :], y, ("a", "b"))
    target = Splits(images, images, images, "clouds")
    lowest = int((x[:, 0] + 1e3 * (y == 1)).argmin())
    highest = int((x[:, 0] - 1e3 * (y == 0)).argmax())
    draw = Draw(2, 0, torch.tensor(sorted((lowest, highest))), 0.0, 0, 0)
    alone = vae_transfer.probe(target, vae_transfer.pixels, draw)["test accuracy"].float().mean()
    result = vae_transfer.self_trained(target, vae_transfer.pixels, draw)
    assert result["is self-trained"] == 1
    assert result["test accuracy"].float().mean() > alone + 0.02


def test_unknown_kind_of_probe() -> None:
    target = small_target()
    with pytest.raises(CourseError, match="did you mean 'SVM'"):
        vae_transfer.probe(target, vae_transfer.pixels, small_draw(target), "SVN")


def test_views_show_what_they_say() -> None:
    target, draw = small_target(), small_draw(small_target())
    made = vae_transfer.pretrain(target.train, 7, 100)
    x = target.test.images / 255
    assert torch.equal(vae_transfer.pixels(target.test, draw), x.flatten(1))
    torch.testing.assert_close(
        vae_transfer.mu_of({7: made}, target.test, draw), made.model.encode(x).mean.detach()
    )
    assert vae_transfer.hidden_of({7: made}, target.test, draw).shape == (60, vae_transfer.WIDTH)
    assert vae_transfer.fit_pca(target.train)(target.test, draw).shape == (60, vae_transfer.LATENT)
    first, second = (vae_transfer.random_mu(target.test, small_draw(target, n)) for n in (0, 1))
    assert not torch.equal(first, second), "each draw has another random encoder"


# ---------------------------------------------------------------- the effects of a study


def made_up(
    better: Callable[[str], float], methods: list[str], counts: list[int], draws: int = 10
) -> Table:
    """A table in which a method's accuracy and curves follow `better(method)`."""
    rng = np.random.default_rng(0)
    rows, images = [], {}
    for count in counts:
        for draw in range(draws):
            luck = rng.normal()
            for method in methods:
                gain = better(method) + 0.1 * rng.normal()
                known = {"study": "s", "data": "d", "method": method, "labels": count, "draw": draw}
                known |= {"pretrain_seed": draw, "seconds": 1.0}
                accuracy = 50 + 10 * np.log10(count) + luck + gain
                for metric, value in (
                    ("test accuracy", accuracy),
                    ("validation accuracy", accuracy + 1),
                    ("pretraining FLOPs", 100.0),
                ):
                    rows.append(known | {"metric": metric, "value": value})
                curve = np.array([accuracy - 2, accuracy], np.float32)
                images[method, count, draw, "validation curve"] = curve
                images[method, count, draw, "training losses"] = np.array([2, 1, 0.1], np.float32)
                unseen = np.array([2, 1.5, 1.2 - 0.1 * gain], np.float32)
                images[method, count, draw, "validation losses"] = unseen
                for cost in vae_comparisons.COSTS.values():
                    images[method, count, draw, f"{cost} by epoch"] = np.array([1, 4], np.float32)
    return Table(rows, images)


def test_effects_are_positive_where_they_speak_for_the_vae() -> None:
    methods = [
        "scratch",
        "VAE fine-tuned",
        "probe on μ",
        "PCA",
        "raw pixels",
        "supervised",
        "random encoder",
    ]
    table = made_up(lambda method: 3.0 * (method == "VAE fine-tuned"), methods, [50, 100, 500])
    found = {r["id"]: r for r in vae_comparisons.effects(table, "here", 100)}
    main = found["05/accuracy/fine_tuned-scratch/100"]
    assert (
        main["value"] == pytest.approx(3, abs=0.2)
        and main["low"] > 2.5
        and main["unit"] == "points"
    )
    assert main["name"] == "test accuracy, VAE fine-tuned − scratch, 100 labels"
    overfitting = found["05/overfitting/scratch-fine_tuned/100"]
    assert overfitting["value"] > 0.02 and overfitting["unit"] == "nats"
    best = found["05/accuracy/best_with-best_without/100"]
    assert best["value"] == pytest.approx(3, abs=0.3)
    reach = found["05/labels/scratch-fine_tuned/100"]
    assert (
        reach["value"] == pytest.approx(10**0.3, rel=0.1)
        and reach["unit"] == "times"
        and reach["low"] > 1
    )
    cost = found["05/steps/scratch-fine_tuned/100"]
    assert cost["value"] == pytest.approx(4) and cost["n"] == 10, "there after one epoch, not two"
    assert cost["name"] == "steps to the lower of both bests, scratch ÷ VAE fine-tuned, 100 labels"
    repaid = found["05/break_even/flops/100"]
    assert (repaid["value"], repaid["unit"]) == (pytest.approx(100 / 3), "tasks")
    assert all(r["data"] == "here" for r in found.values())
    assert "05/accuracy/fine_tuned-supervised/50" in found
    assert overfitting["se"] > 0 and overfitting["df"] == 9
    (first, *_) = vae_comparisons.effects(table, "here", 100, conditional=["these 3 VAEs"])
    assert first["conditional"] == ["these test images", "these 3 VAEs"]


def test_the_ledger_asks_for_effects_that_a_study_makes() -> None:
    methods = ["scratch", "VAE fine-tuned", "probe on μ", "PCA", "raw pixels", "supervised"]
    made = set()
    for counts, main in (([50, 100, 500], 100), ([20, 200], 20)):
        made |= {
            r["id"]
            for r in vae_comparisons.effects(
                made_up(lambda method: 1.0, methods, counts), "d", main
            )
        }
    asked = {each.id for each in claims.comparisons() if each.id.startswith("05/")}
    of_rates = {id for id in asked if id.startswith("05/rates/")}  # a study of its own
    assert of_rates and not asked - of_rates - made


def test_a_saving_that_is_none_is_repaid_by_no_number_of_tasks() -> None:
    table = made_up(
        lambda method: -3.0 * (method == "VAE fine-tuned"),
        ["scratch", "VAE fine-tuned", "probe on μ"],
        [100],
    )
    found = {r["id"]: r for r in vae_comparisons.effects(table, "here", 100)}
    assert found["05/steps/scratch-fine_tuned/100"]["high"] < 1
    assert "05/break_even/flops/100" not in found


def test_effects_of_another_source_have_its_values_and_the_common_names() -> None:
    methods = [
        "scratch",
        "VAE fine-tuned",
        "probe on μ",
        "VAE fine-tuned (X)",
        "probe on μ (X)",
        "supervised (X)",
    ]
    table = made_up(lambda method: 5.0 * (method == "VAE fine-tuned (X)"), methods, [50, 100])
    found = {r["id"]: r for r in vae_comparisons.effects(table, "X → here", 100, "X")}
    for other in ("scratch", "supervised"):
        record = found[f"05/accuracy/fine_tuned-{other}/50"]
        assert record["value"] == pytest.approx(5, abs=0.3)
        assert record["name"] == f"test accuracy, VAE fine-tuned − {other}, 50 labels"


def test_encoders_are_encoders() -> None:
    assert isinstance(vae_transfer.untrained_vae((3, 32, 32), 0).encoder, Encoder)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    vae_transfer.untrained_vae((1, 28, 28), 0)
    assert torch.equal(before, torch.get_rng_state()), (
        "the caller's random numbers stay as they are"
    )


# ---------------------------------------------------------------- learning rates


def test_each_network_gets_its_own_setting_at_each_number_of_labels(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    target = small_target()
    starts = {"own": {7: vae_transfer.pretrain(target.train, 7, 100)}}
    scratch = {10: Setting(0.25, 20), 1000: Setting(0.125, 40)}
    pretrained = {10: Setting(0.5, 30)}
    made = vae_transfer.methods(
        target,
        "own",
        starts,
        {},
        starts,
        scratch_settings=scratch,
        pretrained_settings=pretrained,
    )
    used: list[Any] = []
    monkeypatch.setattr(
        "vaetl_helpers.vae_transfer._train",
        lambda target, initial, draws, rate, steps: used.append((rate, steps)) or [{}],
    )
    for method in made:
        if method.batched:
            for labels in (10, 20, 500):
                method.run([replace(small_draw(target), labels=labels)])
    of_scratch = [(0.25, 20), (0.25, 20), (0.125, 40)]
    assert used == [*of_scratch, *[(0.5, 30)] * 6]
    settings = {method.name: dict(method.settings) for method in made if method.batched}
    assert settings["scratch"]["1000"] == {"rate": 0.125, "steps": 40}


def test_less_time_caps_the_steps() -> None:
    for target in vae_transfer.SOURCES:
        for kind in KINDS:
            whole, capped = tuned_settings(target, kind), tuned_settings(target, kind, 50)
            assert whole.keys() == capped.keys()
            assert all(setting.steps <= 50 for setting in capped.values())
            rates = {n: setting.rate for n, setting in whole.items()}
            assert rates == {n: setting.rate for n, setting in capped.items()}


def test_a_grid_grows_until_its_best_rate_is_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    def fake(target: Any, draws: Any, rate: float, steps: int) -> list[dict[str, float]]:
        best = 0.1  # beyond the grid, so that it has to grow
        return [{"validation accuracy": 90 - abs(np.log10(rate / best))}] * 3

    monkeypatch.setattr(vae_transfer, "scratch", fake)
    tuning = tune.Tuning(small_target(), None, [])
    tuning.measure_budget(200)
    assert tuning.best().rate == pytest.approx(0.095, rel=0.01) and len(tuning.accuracies) == 6


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The budgets that are asked for; grids have their numbers already."""
    budgets: list[int] = []
    monkeypatch.setattr(tune.Tuning, "measure_budget", lambda grid, steps: budgets.append(steps))
    return budgets


def grid_of(**accuracies: float) -> tune.Tuning:
    """A grid of accuracies by budget and rate: s200_1=80 is 200 steps at a rate of 1."""
    grid = tune.Tuning(small_target(), None, [])
    for name, accuracy in accuracies.items():
        steps, rate = name[1:].split("_")
        grid.accuracies[Setting(float(rate), int(steps))] = accuracy
    return grid


def test_both_kinds_get_the_budget_that_is_enough_for_each(measured: list[int]) -> None:
    enough = grid_of(s200_1=80.0, s600_1=80.4, s1800_1=80.3)
    assert tune.choose({"scratch": enough, "pretrained": enough})["scratch"].steps == 200
    slow = grid_of(s200_1=78.0, s600_1=80.4, s1800_1=80.3)
    for grids in ((slow, enough), (enough, slow)):
        chosen = tune.choose(dict(zip(KINDS, grids, strict=True)))
        assert {setting.steps for setting in chosen.values()} == {600}
    measured.clear()
    last = grid_of(s200_1=70.0, s600_1=75.0, s1800_1=80.0)
    assert tune.choose({"scratch": last})["scratch"].steps == 1800
    assert measured == [200, 600, 1800]


def test_a_longer_budget_is_tried_while_it_is_better(measured: list[int]) -> None:
    enough = grid_of(s200_1=80.0, s600_1=80.4)
    assert tune.choose({"scratch": enough, "pretrained": enough})["scratch"].steps == 200
    assert measured == [200, 200, 600, 600]


def test_of_rates_that_are_as_good_the_highest_is_taken(measured: list[int]) -> None:
    grid = grid_of(s200_1=80.0, s200_3=79.6, s200_9=79.4, s600_9=80.0, s1800_9=80.0)
    assert tune.choose({"scratch": grid})["scratch"] == Setting(3.0, 200)
