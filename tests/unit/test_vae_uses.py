"""What chapter 5b measures: its records have the ids of the recorded ones, and say what was run."""

from __future__ import annotations

import copy
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from vaetl_helpers import representations, vae, vae_transfer, vae_uses
from vaetl_helpers.data import ImageSet, Splits, shapes
from vaetl_helpers.exercises import combine, get
from vaetl_helpers.recorded import recorded
from vaetl_helpers.study import recorded_study

TINY = 20  # images that a pretraining looks at


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The records that are shown, in a list."""
    records: list[dict[str, Any]] = []
    monkeypatch.setattr(vae_uses, "show_record", records.append)
    monkeypatch.setattr(
        vae_uses,
        "report",
        lambda name, value, unit="", **fields: records.append({"value": value} | fields),
    )
    monkeypatch.setattr(vae_uses, "show_table", lambda rows, header, of: records.extend(of))
    return records


def digits(per_class: int, seed: int = 0) -> ImageSet:
    """Images of ten classes, each a bright row of its own on noise."""
    labels = torch.arange(10).repeat(per_class)
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 60, (len(labels), 1, 28, 28), generator=generator)
    images[torch.arange(len(labels)), 0, 2 * labels + 3] = 255
    return ImageSet(images.to(torch.uint8), labels, tuple(map(str, range(10))))


def small_vae(seed: int) -> vae.VAE:
    torch.manual_seed(seed)
    return vae.mlp_vae(latent=4, widths=(8,)).eval()


def recorded_ids(task: str, *beginnings: str) -> set[str]:
    ids = {record["id"] for record in recorded("05b", task)["records"]}
    return {id for id in ids if id.startswith(beginnings)}


def test_the_curve_over_beta_is_recorded_by_the_ids_that_are_read(shown: list) -> None:
    target = Splits(digits(60), digits(5, 1), digits(5, 2), "rows")
    judge = vae_uses.judge_of(target, 1, 0)
    vaes = vae_uses.pretrain_over_beta(target.train, [0.0, 1], range(2), TINY)
    assert [len(found) for found in vaes.values()] == [2, 2]
    vae_uses.report_over_beta(judge, vaes, target.train, "rows")
    found = {record["id"]: record for record in shown}
    betas = ("beta_0.0", "beta_1")
    known = {
        id
        for id in recorded_ids("beta", "05b/")
        if id.rpartition("/")[2] in betas or "/beta_" not in id
    }
    assert set(found) == known
    assert found["05b/best_beta/the_bound"]["value"] == 1, "0 is no choice of a VAE"
    one = vaes[1][0]
    codes = judge.codes(one)
    count = representations.effective_directions(codes)
    assert vae_uses.measures(judge, one)["effective directions"] == count
    assert 0 <= judge.in_use(one) <= codes.shape[1]


def test_a_short_run_has_the_first_draws_of_a_longer_one() -> None:
    target = Splits(digits(60), digits(5, 1), digits(5, 2), "rows")
    short, longer = (vae_uses.judge_of(target, draws, 0).draws for draws in (2, 5))
    assert len(short) == 2 and len(longer) == 5
    for one, other in zip(short, longer, strict=False):
        assert torch.equal(one.indices, other.indices)


def ways_of(source: vae.VAE, seed: int) -> dict[str, vae_uses.Way]:
    ways = {"from scratch": small_vae(seed)}
    for part in vae_uses.PARTS:
        for name, giver in (("kept", source), ("untrained", small_vae(seed + 1))):
            ways[f"{part} {name}"] = representations.reuse(giver, small_vae(seed), part)
    ways |= {"all fine-tuned": copy.deepcopy(source)}
    return {name: (model, None) for name, model in ways.items()}


def test_the_ways_are_recorded_by_the_ids_that_are_read(
    shown: list, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vae_uses, "train_vae", lambda model, *_: model)
    pool, unseen = digits(8), digits(2, 1)
    vae_uses.record_ways(ways_of, [small_vae(7)], pool, unseen, 2, 0)
    ids = recorded_ids("parts", "05b/test_bound/", "05b/bound_above_its_control/")
    assert {record["id"] for record in shown} == ids
    gains = {record["id"]: record["value"] for record in shown}
    kept, control = (
        gains[f"05b/test_bound/encoder_{which}-from_scratch/200_steps"]
        for which in ("kept", "untrained")
    )
    between = gains["05b/bound_above_its_control/encoder_kept-encoder_untrained/200_steps"]
    assert between == pytest.approx(kept - control, abs=1e-4)


def test_a_single_draw_has_neither_intervals_nor_records(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tables = []
    monkeypatch.setattr(vae_uses, "show_table", lambda *args: tables.append(args))
    vae_uses.show_ways([{"from scratch": -3.0, "encoder kept": -1.0}], 120)
    ((rows, _header),) = tables
    assert rows == [("from scratch", "−3.0", "–"), ("encoder kept", "−1.0", "+2.0")]


def test_some_images_are_drawn_without_repetition() -> None:
    low = vae_uses.only(digits(4), [0, 1])
    assert set(low.labels.tolist()) == {0, 1} and len(low) == 8
    few = vae_uses.some(low, 5, seed=1)
    assert len(few) == 5 and len(few.images.flatten(1).unique(dim=0)) == 5
    assert torch.equal(few.images, vae_uses.some(low, 5, seed=1).images)


def test_layers_of_a_vae_are_alike_to_themselves() -> None:
    model, images = small_vae(0), digits(2).images / 255
    widths = [features.shape[1] for features in vae_uses.layers(model, images).values()]
    assert widths == [784, 8, 4, 8, 784]
    values = vae_uses.likeness(model, model, images, get("joint.cka").reference)
    torch.testing.assert_close(values.diagonal(), torch.ones(5))
    of_layers = [list(vae_uses.layers(model, images).values())] * 2
    torch.testing.assert_close(values, representations.cka_table(*of_layers), rtol=1e-4, atol=1e-4)
    (axis,) = plt.subplots(squeeze=False)[1].flat
    vae_uses.draw_likeness(axis, values, list("abcde"), difference=False)
    assert len(axis.texts) == 25 and axis.texts[0].get_text() == "1.00"
    plt.close("all")


def test_the_products_of_images_are_drawn_class_by_class() -> None:
    (axis,) = plt.subplots(squeeze=False)[1].flat
    vae_uses.draw_products(axis, torch.eye(6), per_class=2)
    assert [label.get_text() for label in axis.get_xticklabels()] == ["0", "1", "2"]
    assert list(axis.get_xticks()) == [0.5, 2.5, 4.5]
    plt.close("all")


def test_many_labels_read_a_code_however_loud_its_directions_are() -> None:
    tasks = {factor: shapes.bars_task(factor, train=600, test=200) for factor in shapes.FACTORS}

    def quiet(images: ImageSet) -> torch.Tensor:
        """The rows of the ink, loud, and its columns, thirty times quieter."""
        ink = images.images.squeeze(1) / 255
        return torch.cat([ink.mean(2)[:, 8:20], ink.mean(1)[:, 8:20] / 30], dim=1).double()

    plain, white = (
        vae_uses.read_with_many(tasks, quiet, is_whitened=is_whitened)
        for is_whitened in (False, True)
    )
    assert set(plain) == set(white) == set(shapes.FACTORS)
    assert white["location"] > plain["location"] + 10


def test_few_and_many_labels_stand_in_one_table(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[Any] = []
    monkeypatch.setattr(vae_uses, "show_table", lambda rows, header: shown.append((rows, header)))
    tasks = {factor: shapes.bars_task(factor, train=400, test=50) for factor in shapes.FACTORS}
    images = tasks["location"].train
    vaes: dict[int, Any] = {
        800: {70: vae_transfer.pretrain(images, 70, 800)},
        0: {70: vae.mlp_vae(latent=4, widths=(8,)).eval()},
    }
    tables = {
        factor: vae_uses.bars_study(factor, task, vaes, [16], 1, 0)
        for factor, task in tasks.items()
    }
    many, by_pixels = vae_uses.show_over_seen(
        tables, tasks, vaes, 16, representations.effective_directions
    )
    ((rows, header),) = shown
    assert [row[0] for row in rows] == ["never trained", "800", "pixels"]
    assert all(len(row) == len(header) == 6 for row in rows)
    assert many[800] == vae_uses.read_over_seen(tasks, vaes)[800]
    (axis,) = plt.subplots(squeeze=False)[1].flat
    vae_uses.draw_many_over_seen(axis, many, by_pixels, [800])
    assert list(axis.lines[0].get_ydata()) == [many[800]["location"] - by_pixels["location"]]
    plt.close("all")


def test_bars_are_compared_on_the_same_labels(shown: list) -> None:
    task = shapes.bars_task("location", train=400, test=50)
    vaes = {seen: {70: vae_transfer.pretrain(task.train, 70, seen)} for seen in (800, TINY)}
    table = vae_uses.bars_study("location", task, vaes, [16], 2, 0)
    earlier = f"SVM on μ, {TINY} images"
    assert set(table.known("method")) == {*vae_uses.BAR_METHODS, earlier}
    gains = vae_uses.bar_gains({"location": table}, 16)["location"]
    means = {name: table.mean(name, vae_uses.METRIC, 16) for name in vae_uses.BAR_METHODS}
    for name, effect in gains.items():
        a, b = name.split(" − ")
        assert effect.effect == pytest.approx(means[a] - means[b])
    vae_uses.show_bars({"location": table}, [16])
    ends = {record["id"].removeprefix("05b/bars/location/") for record in shown}
    assert ends == {
        "svm_on_mu-svm_on_pixels/16",
        "vae_fine_tuned-scratch/16",
        "vae_fine_tuned-svm_on_mu/16",
    }
    (axis,) = plt.subplots(squeeze=False)[1].flat
    vae_uses.draw_gains_over_seen(axis, {"location": table}, [800, TINY], 16)
    first, last = axis.lines[0].get_ydata()
    pixels = means["SVM on pixels"]
    assert first == pytest.approx(table.mean(earlier, vae_uses.METRIC, 16) - pixels)
    assert last == pytest.approx(means["SVM on μ"] - pixels)
    plt.close("all")


def test_the_controls_are_drawn_as_they_are_recorded() -> None:
    (axis,) = plt.subplots(squeeze=False)[1].flat
    vae_uses.draw_controls(axis)
    assert [text.get_text() for text in axis.texts] == ["34", "25", "362", "37", "4", "363"]
    plt.close("all")


def test_a_kept_half_stays_while_its_own_optimiser_trains_the_other() -> None:
    few, source, fresh = digits(2), small_vae(0), small_vae(1)
    model, optimizer = get("joint.reuse").reference(source, fresh, "decoder", vae_uses.RATE)
    before = copy.deepcopy(model)
    (trained,) = vae_uses.train_ways({"kept": (model, optimizer)}, few, 2, 0).values()
    kept, other = (
        [torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True)]
        for one, two in (
            (trained.decoder, before.decoder),
            (trained.encoder, before.encoder),
        )
    )
    assert all(kept) and not any(other)


def test_vaes_trained_at_once_are_those_trained_alone() -> None:
    images, seeds = digits(10), (3, 4)
    alone = [vae_uses.train_vae(small_vae(seed), images, 6, seed) for seed in seeds]
    at_once = vae_uses.train_vaes([small_vae(seed) for seed in seeds], images, 6, seeds)
    assert not any(model.training for model in at_once)
    for one, other in zip(alone, at_once, strict=True):
        assert one.seen == other.seen > 0
        for a, b in zip(one.parameters(), other.parameters(), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_a_leak_of_labels_lifts_the_accuracy_on_noise() -> None:
    generator = torch.Generator().manual_seed(0)
    seen = []

    def study(pretrain, fit, unlabelled, train, validation, test, draws, alphas) -> list[float]:
        seen.append([len(part[0]) for part in (train, validation, test)] + [len(unlabelled)])
        assert pretrain == "pretrain" and fit == "fit" and len(alphas) == 4
        assert all(len(draw) == 10 for draw in draws)
        assert any(torch.equal(image, test[0][0]) for image in unlabelled), "copies"
        return [40.0, 60.0]

    images = vae_uses.noise(generator)
    assert vae_uses.accuracy_of_study(study, ("pretrain", "fit"), images) == 50
    two = vae_uses.only(digits(100), [4, 9])
    small, labels = vae_uses.some_digits(two, generator)
    assert small.shape == (180, 49) and set(labels.tolist()) == {0, 1}
    assert vae_uses.accuracy_of_study(study, ("pretrain", "fit"), (small, labels)) == 50
    assert seen == [[40, 40, 20, 80]] * 2


def test_the_recorded_figures_are_drawn() -> None:
    paths = vae_uses.draw_paths(recorded_study("05", "digits"), (50,), alt="05a/paths")
    assert len(paths[0].lines) == 2 * (vae_uses.SINGLE + 1)
    left, middle, right = vae_uses.draw_rates(alt="05a/rates")
    assert left.get_xlim() == middle.get_xlim() and len(left.get_yticks()) == 7
    digits = recorded_study("05", "rates_digits")
    at_50 = [
        digits.mean(f"VAE fine-tuned, {rate}", "test accuracy", 50)
        - digits.mean(f"scratch, {rate}", "test accuracy", 50)
        for rate in ("scratch's rate", "the VAE's rate")  # the lower one, the higher one
    ]
    assert [line.get_xdata()[1] for line in right.lines[1:]] == pytest.approx(at_50)
    for axis in (left, middle, right):  # no interval is cut off
        (low, high), bars = axis.get_xlim(), axis.collections
        ends = np.concatenate([bar.get_segments() for bar in bars])[..., 0]
        assert ends.size == 28 and low < ends.min() and ends.max() < high
    (axis,) = plt.subplots(squeeze=False)[1].flat
    vae_uses.draw_over_beta(axis, "validation_bound")
    assert axis.get_xscale() == "log" and axis.get_xticklabels()[0].get_text() == "0"
    vae_uses.draw_baselines(axis)
    (loop,) = plt.subplots(squeeze=False)[1].flat
    vae_uses.draw_over_directions(loop, "validation_accuracy_of_the_probe")
    assert len(loop.lines[0].get_xdata()) == 12 and loop.texts[0].get_text() == "β = 0.001"
    assert axis.get_legend_handles_labels()[1] == ["raw pixels and PCA"]
    assert "means of 5 VAEs" in vae_uses.origin_of_betas()
    assert vae_uses.recorded_at(1, "validation_bound") > vae_uses.recorded_at(0, "validation_bound")
    (axis,) = plt.subplots(squeeze=False)[1].flat
    own = {"from scratch": -9.0, "encoder kept": -7.0, "source, as it is": -12.0}
    vae_uses.draw_ways(axis, own, 120)
    names = [label.get_text() for label in axis.get_yticklabels()]
    assert len(names) == 7 and names[-1] == "source, as it is"
    stars = next(line for line in axis.lines if line.get_marker() == "*")
    assert list(stars.get_xdata()) == [2, -3]
    assert [names[round(place + 0.3)] for place in stars.get_ydata()] == [
        "encoder kept",
        "source, as it is",
    ]
    plt.close("all")


def test_what_is_fitted_moves_with_the_test_images_only_where_a_leak_is_in_it() -> None:
    """The figure of chapter 5a: alpha's choice on test labels moves nothing that is fitted."""
    count = sum(vae_uses.SIZES.values()) + vae_uses.SIZES["test"]
    images = torch.randn(count, 49, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(count) % 2
    tools = (combine.principal_components, combine.ridge)
    moved = [
        vae_uses.change_of_features(combine.study_with(*leaks), tools, (images, labels))
        for leaks in ((), *((leak,) for leak in combine.LEAKS))
    ]
    copies, ruler, alpha = moved[1:]
    assert moved[0] == alpha == 0 and min(copies, ruler) > 5
