"""Seven ways of pretraining one encoder: their losses by hand, and a study in small."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from vaetl_helpers import pretraining, vae
from vaetl_helpers.authoring.assets.record_pretraining import fixed_features
from vaetl_helpers.data.images import ImageSet, Splits
from vaetl_helpers.errors import CourseError
from vaetl_helpers.study.draws import draw_labels

PIXELS = 3 * 32 * 32


def pictures(count: int, seed: int = 0) -> ImageSet:
    """Noise, brighter on top for the first class and below for the second."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 2
    images = torch.randint(0, 120, (count, 3, 32, 32), generator=generator, dtype=torch.uint8)
    images[labels == 0, :, :16] += 120
    images[labels == 1, :, 16:] += 120
    return ImageSet(images, labels, ("top", "below"))


def coder(way: str, seed: int = 0) -> pretraining.Coder:
    return pretraining.coder(way, seed, pictures(2))


def test_the_encoder_has_the_size_that_is_said() -> None:
    encoder, _ = pretraining.encoder_and_decoder((3, 32, 32))
    weights = sum(p.numel() for part in (encoder.body, encoder.mu) for p in part.parameters())
    assert 300_000 < weights < 500_000


@pytest.mark.parametrize("way", pretraining.WAYS)
def test_each_way_teaches_the_encoder(way: str) -> None:
    model, images = coder(way), pictures(16)
    loss = pretraining.WAYS[way](model, images.images / 255, images.labels)
    assert loss.shape == () and loss.isfinite()
    loss.backward()
    first = next(model.encoder.parameters())
    assert first.grad is not None and first.grad.abs().sum() > 0


def test_the_bound_of_the_best_variance_is_the_gaussian_one() -> None:
    """With σ² the mean squared error the Gaussian's negative log-likelihood is D/2 (log σ² + 1 +
    log 2π), of which the loss leaves out the constant.
    """
    model, x = coder("VAE, β = 1"), pictures(8).images / 255
    torch.manual_seed(3)
    loss = pretraining.WAYS["VAE, β = 1"](model, x, torch.zeros(8))
    torch.manual_seed(3)
    mu, log_var = model(x)
    picture = model.behind(mu + (0.5 * log_var).exp() * torch.randn_like(mu)).sigmoid()
    best = (picture - x).square().mean().log().item()
    of_images = -vae.gaussian_log_likelihood(picture, x, best).mean()
    constant = 0.5 * PIXELS * (1 + torch.log(torch.tensor(2 * torch.pi)))
    expected = of_images - constant + vae.kl(mu, log_var).mean()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-4)


def test_simclr_compares_each_view_with_its_partner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretraining, "view_of", lambda images: images)

    class Codes(nn.Module):
        """Hands its input on as the code."""

        behind = nn.Identity()

        def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return images.flatten(1), images.flatten(1)

    apart = torch.eye(4).reshape(4, 1, 2, 2)
    loss = pretraining.simclr_loss(Codes(), apart, torch.zeros(4))
    # The partner has the likeness 1, the six others 0.
    scores = torch.tensor([1 / pretraining.TEMPERATURE, *[0.0] * 6])
    assert loss.item() == pytest.approx(-F.log_softmax(scores, 0)[0].item(), rel=1e-5)


def test_views_keep_the_shape_and_differ() -> None:
    x = pictures(6).images / 255
    one, other = pretraining.view_of(x), pretraining.view_of(x)
    assert one.shape == x.shape and one.min() >= 0 and one.max() <= 1
    assert not torch.equal(one, other) and not torch.equal(one, x)


def test_a_finished_encoder_is_read_and_not_trained_again(tmp_path: Path) -> None:
    source = pictures(64)
    first = pretraining.pretrained("autoencoder", source, 7, 64, kept=tmp_path)
    again = pretraining.pretrained("autoencoder", source, 7, 64, kept=tmp_path)
    pairs = zip(first.encoder.parameters(), again.encoder.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert len(list(tmp_path.glob("*.safetensors"))) == 1
    other = pretraining.pretrained("autoencoder", source, 8, 64, kept=tmp_path)
    assert not torch.equal(first.encoder.mu.weight, other.encoder.mu.weight)


@pytest.mark.slow
def test_the_methods_of_a_study_run(tmp_path: Path) -> None:
    target = Splits(pictures(60, 1), pictures(20, 2), pictures(20, 3), "small")
    seeds = [1, 2]
    encoders = {
        way: {seed: pretraining.pretrained(way, pictures(64), seed, 64) for seed in seeds}
        for way in (pretraining.UNTRAINED, "supervised")
    }
    sets = {"train": target.train, "validation": target.validation, "test": target.test}
    large = {name: images.images.float().mean((1, 3)) for name, images in sets.items()}
    draws = draw_labels(target.train.labels, 5, 2, 0, pretrain_seeds=seeds)
    features = {"ImageNet": partial(fixed_features, target, large)}
    for method in pretraining.methods(target, encoders, features):
        results = method.run(draws) if method.batched else [method.run(draws[0])]
        for result in results:
            assert result["test accuracy"].shape == (20,), method.name
        if method.name.startswith("ImageNet"):
            assert results[0]["test accuracy"].float().mean() > 0.9, "rows tell the classes apart"


@pytest.mark.parametrize("way", [pretraining.UNTRAINED, *pretraining.WAYS])
def test_grey_images_in_small(way: str) -> None:
    images = torch.randint(0, 255, (64, 1, 28, 28), dtype=torch.uint8)
    grey = ImageSet(images, torch.arange(64) % 3, ("0", "1", "2"))
    made = pretraining.pretrained(way, grey, 3, 64, pretraining.SMALL)
    mu, _ = made.encoder(grey.images / 255)
    assert mu.shape == (64, pretraining.SMALL.latent) and mu.isfinite().all()
    fresh = pretraining.pretrained(pretraining.UNTRAINED, grey, 3, 64, pretraining.SMALL)
    is_same = torch.equal(made.encoder.mu.weight, fresh.encoder.mu.weight)
    assert is_same == (way == pretraining.UNTRAINED)


def test_an_unknown_way_is_named() -> None:
    with pytest.raises(CourseError, match="dreaming.*VAE, β = 1"):
        pretraining.pretrained("dreaming", pictures(8), 0)


def test_only_the_uses_that_are_asked_for() -> None:
    target = Splits(pictures(6), pictures(2), pictures(2), "small")
    made = pretraining.methods(target, {"supervised": {}}, uses=("probe",))
    assert [method.name for method in made] == ["supervised, probe"]
