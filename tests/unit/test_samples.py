"""Invented images: drawn codes, and distances by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from scipy import linalg
from torch import nn

from vaetl_helpers import nets
from vaetl_helpers.authoring.assets import record_samples
from vaetl_helpers.data.registry import load
from vaetl_helpers.errors import CourseError
from vaetl_helpers.samples import frechet_distance, gaussian_codes, judged


def cloud(seed: int, count: int = 400, width: int = 5) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(width, width, generator=generator)
    return torch.randn(count, width, generator=generator) @ mix + seed


def test_frechet_distance_against_the_matrix_square_root() -> None:
    x, y = cloud(1).double().numpy(), cloud(2, 300).double().numpy()
    a, b = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    shift = ((x.mean(0) - y.mean(0)) ** 2).sum()
    expected = shift + np.trace(a + b - 2 * linalg.sqrtm(a @ b).real)
    assert frechet_distance(cloud(1), cloud(2, 300)) == pytest.approx(expected, rel=1e-6)
    assert frechet_distance(cloud(1), cloud(1)) == pytest.approx(0, abs=1e-9)


def test_frechet_distance_of_shifted_and_of_wider_clouds() -> None:
    x = cloud(3)
    assert frechet_distance(x, x + 2) == pytest.approx(5 * 2**2, rel=1e-5)
    variance = x.double().var(0).sum().item()
    assert frechet_distance(x, 3 * (x - x.mean(0)) + x.mean(0)) == pytest.approx(4 * variance)


def test_a_feature_that_never_varies_leaves_a_number() -> None:
    x = torch.cat([cloud(1), torch.zeros(400, 2)], 1)
    assert np.isfinite(frechet_distance(x, x + 1))


@pytest.mark.parametrize("bad", [torch.randn(5), torch.randn(1, 3), torch.full((4, 3), np.nan)])
def test_what_has_no_distance_is_said(bad: torch.Tensor) -> None:
    with pytest.raises(CourseError):
        frechet_distance(bad, torch.randn(10, 3))
    with pytest.raises(CourseError):
        gaussian_codes(bad, 5, torch.Generator())


def test_codes_have_the_moments_that_they_are_fitted_to() -> None:
    codes, generator = cloud(4), torch.Generator().manual_seed(0)
    full = gaussian_codes(codes, 200_000, generator, full=True)
    diagonal = gaussian_codes(codes, 200_000, generator)
    for drawn in (full, diagonal):
        assert torch.allclose(drawn.mean(0), codes.mean(0), atol=0.05)
        assert torch.allclose(drawn.std(0), codes.std(0), rtol=0.02)
    assert torch.allclose(torch.cov(full.T), torch.cov(codes.T), atol=0.15)
    apart = torch.cov(diagonal.T) - torch.diag(torch.cov(diagonal.T).diag())
    assert apart.abs().max() < 0.1


def test_unused_latents_stay_unused() -> None:
    codes = torch.cat([cloud(5), torch.ones(400, 3)], 1)
    drawn = gaussian_codes(codes, 50, torch.Generator().manual_seed(0), full=True)
    assert torch.allclose(drawn[:, 5:], torch.ones(50, 3), atol=1e-3)


def test_a_judge_is_sure_of_what_it_was_made_for() -> None:
    judge = nn.Sequential(nn.Flatten(), nn.Linear(4, 2, bias=False))
    with torch.no_grad():
        judge[1].weight.copy_(torch.tensor([[9.0, 0, 0, 0], [0, 9.0, 0, 0]]))
    images = torch.eye(4).reshape(4, 1, 2, 2)
    features, confidence = judged(judge, images, batch_size=3)
    assert torch.equal(features, torch.eye(4))
    assert confidence[:2].min() > 0.99 and confidence[2:].tolist() == [0.5, 0.5]


@pytest.mark.slow
def test_the_record_of_samples_in_small(monkeypatch: pytest.MonkeyPatch) -> None:
    data = load("mnist")
    plan = record_samples.Plan(full=False, epochs=1, batch_size=128, seeds=2)
    monkeypatch.setattr(record_samples, "IMAGES", 60)
    torch.manual_seed(0)
    judge = nets.small_cnn().eval()
    real, _ = judged(judge, data.test.images[:60].float() / 255)
    measures = {way: ([], []) for way in record_samples.WAYS}
    for seed in (0, 1):
        images_of = record_samples.invented(data, plan, seed)
        assert set(images_of) == set(record_samples.WAYS)
        for way, images in images_of.items():
            assert images.shape == (60, 1, 28, 28) and 0 <= images.min() <= images.max() <= 1
            distance, confidence = record_samples.measure(judge, images, real)
            measures[way][0].append(distance)
            measures[way][1].append(confidence)
    distances = {way: measured[0] for way, measured in measures.items()}
    confidences = {way: measured[1] for way, measured in measures.items()}
    made = {r["id"]: r for r in record_samples.records_of("digits", distances, confidences)}
    ratio = made["03/frechet_ratio/autoencoder-vae"]
    by_hand = np.log(np.divide(distances["autoencoder"], distances["VAE"]))
    assert ratio["value"] == pytest.approx(np.exp(by_hand.mean())) and ratio["n"] == 2
    points = made["03/confidence/vae-autoencoder"]["value"]
    gained = np.mean(confidences["VAE"]) - np.mean(confidences["autoencoder"])
    assert points == pytest.approx(gained)
    json.dumps(list(made.values()), allow_nan=False)
