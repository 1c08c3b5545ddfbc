"""The VAE's mathematics against exact values, independent code, and mistakes of others."""

from __future__ import annotations

import math
import os

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck
from torch.distributions import Bernoulli, MultivariateNormal, Normal, kl_divergence

from vaetl_helpers import linear_gaussian, nets, vae
from vaetl_helpers.authoring.assets.facts import fingerprint
from vaetl_helpers.authoring.assets.pretrain_vae import RECIPES, train
from vaetl_helpers.data import ImageSet, Splits, image_hashes, load
from vaetl_helpers.errors import CourseError
from vaetl_helpers.training import evaluate, fit, load_checkpoint, save_checkpoint
from vaetl_helpers.vae import Posterior, elbo, iw_bound, kl, log_likelihood, log_weights, vae_loss

SHAPE = (1, 12, 8)  # taller than wide: swapped axes show


def double(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def digits(n: int = 13, shape: tuple[int, int, int] = SHAPE) -> Tensor:
    return (torch.rand(n, *shape, generator=torch.Generator().manual_seed(5)) > 0.5).float()


def small_vae(seed: int = 0, shape: tuple[int, int, int] = SHAPE, latent: int = 4) -> vae.VAE:
    torch.manual_seed(seed)
    return vae.mlp_vae(latent, (16,), shape).eval()


def linear_model(orthogonal: bool) -> tuple[linear_gaussian.LinearGaussian, Tensor]:
    """An exact model in float64 and 20 images drawn from it."""
    weight = double(6, 3, seed=1)
    if orthogonal:  # columns of different lengths
        weight = torch.linalg.qr(weight)[0] * torch.tensor([2.0, 1.0, 0.5])
    model = linear_gaussian.LinearGaussian(weight, double(6, seed=2), sigma=0.7)
    codes, noise = double(20, 3, seed=3), double(20, 6, seed=4)
    return model, (codes @ weight.T + model.decoder[0].bias + 0.7 * noise).detach().view(
        20, 1, 1, 6
    )


# ---------------------------------------------------------------- KL


@pytest.mark.parametrize(
    ("mu", "log_var", "nats"),
    [
        (0, 0, 0),
        (1, 0, 5),
        (0, 1, 5 * (math.e - 2)),
        (1, 1, 5 * (math.e - 1)),
    ],  # 0, 5, 3.591, 8.591
)
def test_kl_of_ten_latents_has_its_known_values(mu: float, log_var: float, nats: float) -> None:
    assert kl(torch.full((3, 10), mu), torch.full((3, 10), log_var)).tolist() == pytest.approx(
        [nats] * 3, rel=1e-6
    )
    assert round(nats, 3) in (0, 5, 3.591, 8.591)


def test_kl_equals_that_of_torch_distributions_and_is_summed_over_latents() -> None:
    mu, log_var = double(5, 7), double(5, 7, seed=1)
    expected = kl_divergence(Normal(mu, (log_var / 2).exp()), Normal(torch.zeros_like(mu), 1.0))
    torch.testing.assert_close(vae.kl_per_latent(mu, log_var), expected)
    torch.testing.assert_close(kl(mu, log_var), expected.sum(1))


def test_kl_equals_a_monte_carlo_estimate_within_four_standard_errors() -> None:
    q = Posterior(double(1, 5), double(1, 5, seed=1))
    z = q.sample(double(40_000, 1, 5, seed=2))
    ratios = (q.log_prob(z) - Normal(0.0, 1.0).log_prob(z).sum(-1)).squeeze(1)
    assert abs(ratios.mean() - kl(*q)) < 4 * ratios.std() / len(ratios) ** 0.5


def test_gradients_are_those_of_finite_differences() -> None:
    mu, log_var, noise = (double(2, 3, seed=s).requires_grad_() for s in range(3))
    logits, x = double(2, 1, 2, 3).requires_grad_(), double(2, 1, 2, 3, seed=1).sigmoid()
    assert gradcheck(kl, (mu, log_var))
    assert gradcheck(lambda logits: log_likelihood(logits, x), (logits,))
    assert gradcheck(lambda mean: vae.gaussian_log_likelihood(mean, x, 0.3), (logits,))
    assert gradcheck(
        lambda mu, log_var: Posterior(mu, log_var).sample(noise.detach()), (mu, log_var)
    )
    assert gradcheck(lambda mu, log_var: Posterior(mu, log_var).log_prob(noise), (mu, log_var))


# ---------------------------------------------------------------- likelihoods


def test_log_likelihood_at_logits_zero_is_minus_784_log_2_and_not_averaged() -> None:
    value = log_likelihood(torch.zeros(2, 1, 28, 28), torch.rand(2, 1, 28, 28).round())
    assert value.tolist() == pytest.approx([-784 * math.log(2)] * 2, rel=1e-6)


def test_log_likelihoods_equal_those_of_torch_distributions_in_value_and_sign() -> None:
    outputs, x = double(4, 5, *SHAPE), digits(5).double()
    expected = Bernoulli(logits=outputs).log_prob(x.expand(4, 5, *SHAPE)).sum((2, 3, 4))
    torch.testing.assert_close(log_likelihood(outputs, x), expected)  # k codes an image, [k, batch]
    expected = Normal(outputs, math.exp(0.15)).log_prob(x).sum((2, 3, 4))
    torch.testing.assert_close(vae.gaussian_log_likelihood(outputs, x, 0.3), expected)


def test_on_grey_pixels_it_is_the_mean_over_all_binarisations() -> None:
    logits, grey = double(1, 1, 1, 3), torch.tensor([[[[0.2, 0.5, 0.9]]]], dtype=torch.float64)
    binary = torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=torch.float64)] * 3).view(
        8, 1, 1, 3
    )
    chances = Bernoulli(grey).log_prob(binary).sum((1, 2, 3)).exp()
    mean = (chances * log_likelihood(logits.expand_as(binary), binary)).sum()
    torch.testing.assert_close(log_likelihood(logits, grey)[0], mean)


def test_binarise_draws_with_the_grey_value_as_probability() -> None:
    grey = torch.tensor([0.0, 0.1, 0.6, 1.0]).view(1, 1, 1, 4).expand(20_000, 1, 1, 4).contiguous()
    kept = grey.clone()
    drawn = vae.binarise(grey, "dynamic", torch.Generator().manual_seed(0))
    assert set(drawn.unique().tolist()) == {0.0, 1.0} and torch.equal(grey, kept)
    assert (drawn.mean(0).flatten() - grey[0].flatten()).abs().max() < 4 * (0.25 / 20_000) ** 0.5
    assert drawn[:, 0, 0, 0].max() == 0 and drawn[:, 0, 0, 3].min() == 1
    again = vae.binarise(grey, "dynamic", torch.Generator().manual_seed(0))
    other = vae.binarise(grey, "dynamic", torch.Generator().manual_seed(1))
    assert torch.equal(drawn, again) and not torch.equal(drawn, other)
    assert vae.binarise(grey[0], "static").flatten().tolist() == [0, 0, 1, 1]
    assert vae.binarise(grey, None) is grey
    with pytest.raises(CourseError, match="did you mean 'dynamic'"):
        vae.binarise(grey, "dynamical")


# ---------------------------------------------------------------- posterior, encoder, decoder


def test_posterior_samples_and_densities_equal_those_of_torch_distributions() -> None:
    q, noise = Posterior(double(5, 3), double(5, 3, seed=1)), double(4, 5, 3, seed=2)
    normal = Normal(q.mean, (q.log_var / 2).exp())
    torch.testing.assert_close(q.sample(noise), normal.loc + normal.scale * noise)
    torch.testing.assert_close(q.log_prob(noise), normal.log_prob(noise).sum(-1))
    seeded = [q.sample(generator=torch.Generator().manual_seed(3)) for _ in range(2)]
    assert torch.equal(*seeded) and seeded[0].dtype == torch.float64


class Raw(nn.Module):
    """An encoder that gives constants."""

    def __init__(self, mu: float, log_var: float) -> None:
        super().__init__()
        self.values = mu, log_var

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return tuple(torch.full((len(x), 2), float(value)) for value in self.values)


@pytest.mark.parametrize(("raw", "expected"), [(-3, -3), (2, 2), (-100, -14), (100, 14)])
def test_log_var_is_the_raw_output_but_clamped(raw: float, expected: float) -> None:
    q = vae.VAE(Raw(0, raw), nn.Identity()).encode(digits(2))
    assert q.log_var.unique().tolist() == [expected]  # softplus would give σ ≥ 1
    assert (
        q.sample().isfinite().all()
        and kl(*q).isfinite().all()
        and q.log_prob(q.sample()).isfinite().all()
    )


@pytest.mark.parametrize("build", [vae.mlp_vae, vae.conv_vae])
def test_gradients_reach_both_heads_and_everything_else(build) -> None:
    torch.manual_seed(0)
    model = build(3, shape=SHAPE)
    (-elbo(model, digits()).elbo.mean()).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())
    model.zero_grad()
    (-elbo(model, digits()).log_px.mean()).backward()  # the likelihood alone reaches σ, through z
    assert model.encoder.log_var.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("build", [vae.mlp_vae, vae.conv_vae])
def test_images_keep_their_height_and_width(build) -> None:
    model, x = build(3, shape=(3, 12, 8)), torch.rand(5, 3, 12, 8)
    assert model.sample(2).shape == (2, 3, 12, 8) and model.reconstruct(x).shape == x.shape
    assert model.decode(torch.zeros(7, 5, 3)).shape == (7, 5, 3, 12, 8)
    assert model.sample(9).min() >= 0 and model.sample(9).max() <= 1


def test_layers_that_keep_their_width_add_to_it_where_asked() -> None:
    plain, added = (nets.mlp_encoder(2, (8, 5, 5), SHAPE, nn.ReLU, skip) for skip in (False, True))
    assert not any(isinstance(layer, nets.Skip) for layer in plain.body)
    assert [isinstance(layer, nets.Skip) for layer in added.body] == [False] * 5 + [True]
    hidden = torch.randn(3, 5)
    torch.testing.assert_close(added.body[5](hidden), hidden + added.body[5][0](hidden).relu())


def test_activations_are_chosen_by_name() -> None:
    tanh = vae.mlp_vae(2, (8,), SHAPE, activation="Tanh")
    assert isinstance(tanh.encoder.body[2], nn.Tanh) and isinstance(tanh.decoder[1], nn.Tanh)
    with pytest.raises(CourseError, match="Unknown activation 'relu'.*Known: .*ReLU"):
        vae.mlp_vae(activation="relu")


def test_pixels_stay_where_they_are() -> None:
    """Height and width swapped in a decoder still trains: so look at where a single unit draws."""
    last = small_vae().decoder[-2:]
    nn.init.zeros_(last[0].weight), nn.init.zeros_(last[0].bias)
    last[0].bias.data[3 * 8 + 5] = 1  # pixels are numbered row by row
    assert last(torch.zeros(1, 16))[0, 0].nonzero().tolist() == [[3, 5]]
    convolutions = vae.conv_vae(2, 4, SHAPE).decoder[5:]
    small = torch.zeros(1, 8, 3, 2)
    touched = small.clone()
    touched[..., 0, 1] = 1  # first row, last column
    rows, columns = (convolutions(touched) - convolutions(small))[0, 0].nonzero(as_tuple=True)
    assert rows.max() < 8 and columns.min() > 0 and columns.max() == 7


def test_reconstruct_shows_the_posterior_mean_and_sample_the_prior() -> None:
    model, x = small_vae(), digits()
    torch.testing.assert_close(model.reconstruct(x), model.decode(model.encode(x).mean).sigmoid())
    generators = [torch.Generator().manual_seed(7) for _ in range(2)]
    codes = torch.randn(6, 4, generator=generators[0])
    torch.testing.assert_close(model.sample(6, generators[1]), model.decode(codes).sigmoid())
    gaussian = vae.mlp_vae(2, (4,), SHAPE, gaussian_log_var=0.0)
    torch.testing.assert_close(gaussian.picture(codes[:, :2]), gaussian.decode(codes[:, :2]))


def test_nothing_is_made_on_the_cpu() -> None:
    """The meta device refuses every tensor that was made elsewhere."""
    seeded = torch.Generator()  # on the CPU, where its numbers are then drawn
    for build in (vae.mlp_vae, vae.conv_vae):
        model, x = build(3, shape=SHAPE).to("meta"), torch.empty(5, *SHAPE, device="meta")
        made = [
            model(x)[0],
            model.sample(2),
            model.reconstruct(x),
            elbo(model, x).elbo,
            iw_bound(model, x, 3),
        ]
        made += [model.sample(2, seeded), iw_bound(model, x, 3, generator=seeded)]
        assert {tensor.device.type for tensor in made} == {"meta"}
        for loss_fn in (vae_loss(), vae_loss(2.0, 0.5, warm_up_images=100)):
            assert loss_fn(model.train(), x)[0].device.type == "meta"
    assert (
        vae.nearest(x, x)[0].device.type
        == vae.active_units(torch.empty(5, 2, device="meta")).device.type
        == "meta"
    )


# ---------------------------------------------------------------- ELBO and the loss


def test_elbo_is_log_likelihood_minus_beta_times_kl() -> None:
    model, x, noise = small_vae(), digits(), torch.randn(13, 4)
    logits, q = model(x, noise)
    torch.testing.assert_close(logits, model.decode(q.mean + (q.log_var / 2).exp() * noise))
    for beta in (1.0, 0.0, 4.0):
        terms = elbo(model, x, noise, beta)
        torch.testing.assert_close(terms.elbo, log_likelihood(logits, x) - beta * kl(*q))
        torch.testing.assert_close(terms.kl.sum(1), kl(*q))
        assert terms.elbo.shape == terms.log_px.shape == (13,) and terms.kl.shape == (13, 4)


def test_free_bits_are_a_floor_under_each_latents_mean_kl() -> None:
    model, x, noise = small_vae(), digits(), torch.randn(13, 4)
    for head in (model.encoder.mu, model.encoder.log_var):
        head.weight.data[0], head.bias.data[0] = 0, 0  # the first latent has KL 0
    model.encoder.mu.bias.data[1] = 3
    plain, floored = elbo(model, x, noise), elbo(model, x, noise, free_bits=0.7)
    expected = plain.kl.mean(0).clamp(min=0.7).sum()
    torch.testing.assert_close(floored.elbo, plain.log_px - expected)
    assert expected > plain.kl.mean(0).sum()
    (
        floored.log_px - floored.elbo
    ).mean().backward()  # below the floor the KL exerts no force, above it does
    assert model.encoder.mu.bias.grad[0] == 0 and model.encoder.mu.bias.grad[1] > 1


def test_warm_up_rises_linearly_and_then_stays() -> None:
    assert [float(vae.warm_up(seen, 100, 2.0)) for seen in (0, 25, 100, 500)] == [0, 0.5, 2, 2]
    assert vae.warm_up(0, 0, 2.0) == 2


def test_the_loss_is_minus_the_mean_elbo_in_nats_per_image_in_training_and_validation() -> None:
    model, x = small_vae().train(), digits()
    loss_fn = vae_loss(beta=3.0, binarisation=None)
    values = []
    for training in (True, False):  # the same weight of the KL in both, and sampled codes in both
        model.train(training)
        torch.manual_seed(0)
        loss, parts = loss_fn(model, x)
        torch.testing.assert_close(loss, parts["reconstruction"] + 3 * parts["kl"])
        torch.manual_seed(0)
        torch.testing.assert_close(loss, -elbo(model, x, torch.randn(13, 4), 3.0).elbo.mean())
        values += [loss.item(), loss_fn(model, x)[0].item()]
    assert values[:2] == values[2:] and values[0] != values[1]


def test_the_warm_up_counts_training_images_and_ends_in_validation() -> None:
    model, x = small_vae().train(), digits()
    loss_fn = vae_loss(warm_up_images=26, binarisation=None)
    weights = []
    for _ in range(4):
        loss, parts = loss_fn(model, x)
        weights.append(((loss - parts["reconstruction"]) / parts["kl"]).item())
    assert weights == pytest.approx(
        [0, 0.5, 1, 1], abs=1e-3
    )  # float32: the KL is a small difference of large sums
    model = small_vae()
    loss, parts = loss_fn(model, x)
    torch.testing.assert_close(loss, parts["reconstruction"] + parts["kl"])
    assert model.seen == 0


def test_a_checkpoint_keeps_the_warm_up(tmp_path) -> None:
    model, again = small_vae().train(), small_vae(1)
    vae_loss(warm_up_images=26)(model, digits())
    save_checkpoint(tmp_path / "vae.safetensors", model)
    load_checkpoint(tmp_path / "vae.safetensors", again)
    assert again.seen == 13


def test_fit_trains_it_and_reports_nats_per_image() -> None:
    images = ImageSet(digits(60).repeat(4, 1, 1, 1), torch.zeros(240), ("digit",))
    model = small_vae(latent=2)
    before = evaluate(model, images, vae_loss())
    adam = torch.optim.Adam(model.parameters(), 1e-2)
    history = fit(
        model,
        images,
        vae_loss(),
        epochs=8,
        batch_size=20,
        optimizer=adam,
        validation=images,
        quiet=True,
    )
    assert before["loss"] == pytest.approx(96 * math.log(2), rel=0.05)  # 12 × 8 pixels, untrained
    assert history["loss"][-1] < before["loss"] - 2
    assert set(history.rows[-1]) >= {"reconstruction", "kl", "validation_loss", "validation_kl"}
    assert model.seen == 8 * 240


def test_losses_are_float32_under_autocast_and_float64_stays() -> None:
    model, x, noise = small_vae(shape=(1, 28, 28)), digits(13, (1, 28, 28)), torch.randn(13, 4)
    with torch.autocast("cpu", torch.bfloat16):
        assert model.decoder(noise).dtype == torch.bfloat16  # it is on
        half, (loss, parts), bound = (
            elbo(model, x, noise),
            vae_loss()(model, x),
            iw_bound(model, x, 3),
        )
    full = elbo(model, x, noise)
    for value in (*half, loss, *parts.values(), bound):
        assert value.dtype == torch.float32
    torch.testing.assert_close(
        half.elbo, full.elbo, rtol=2e-3, atol=0
    )  # bf16 sums of 784 pixels would be off by more
    assert elbo(model.double(), x.double()).elbo.dtype == torch.float64
    with torch.autocast("cpu", torch.bfloat16):  # the sums themselves, on the same logits
        same = log_likelihood(torch.full((1, 1, 28, 28), 0.3), digits(1, (1, 28, 28)))
    torch.testing.assert_close(
        same, log_likelihood(torch.full((1, 1, 28, 28), 0.3), digits(1, (1, 28, 28)))
    )


@pytest.mark.parametrize("build", [vae.mlp_vae, vae.conv_vae])
def test_values_do_not_depend_on_how_images_are_batched(build) -> None:
    torch.manual_seed(0)
    model, x, noise = build(4, shape=SHAPE).eval(), digits(), torch.randn(6, 13, 4)
    whole = elbo(model, x, noise[0]).elbo, iw_bound(model, x, 6, noise=noise)
    for size in (1, 5):
        parts = list(zip(x.split(size), noise.split(size, dim=1), strict=True))
        split = [torch.cat([elbo(model, part, some[0]).elbo for part, some in parts])]
        split += [torch.cat([iw_bound(model, part, 6, noise=some) for part, some in parts])]
        torch.testing.assert_close(split, list(whole), rtol=1e-5, atol=0)


# ---------------------------------------------------------------- importance-weighted bound


@pytest.mark.parametrize(("k", "chunk"), [(1, 2000), (7, 2000), (7, 26), (7, 13), (7, 1)])
def test_iw_bound_uses_exactly_k_samples_whatever_the_chunk(k: int, chunk: int) -> None:
    model, x, noise = small_vae(), digits(), torch.randn(k, 13, 4)
    rows = []
    model.decoder.register_forward_hook(lambda module, inputs, output: rows.append(len(output)))
    bound = iw_bound(model, x, k, chunk, noise=noise)
    assert sum(rows) == k * 13 and max(rows) <= max(chunk, 13)
    iw_bound(model, x, k, chunk)  # noise drawn there
    assert sum(rows) == 2 * k * 13
    q = model.encode(x)
    z = q.sample(noise)
    weights = Bernoulli(logits=model.decode(z)).log_prob(x.expand(k, *x.shape)).sum((2, 3, 4))
    weights += Normal(0, 1).log_prob(z).sum(-1) - Normal(q.mean, (q.log_var / 2).exp()).log_prob(
        z
    ).sum(-1)
    torch.testing.assert_close(
        bound, weights.double().exp().mean(0).log().float(), rtol=1e-5, atol=0
    )
    assert bound.shape == (13,) and not bound.requires_grad


def test_iw_bound_refuses_what_it_cannot_honour() -> None:
    for wrong in ({"k": 0}, {"k": 5, "chunk": 0}, {"k": 5, "noise": torch.randn(4, 13, 4)}):
        with pytest.raises(CourseError, match="1 or more"):
            iw_bound(small_vae(), digits(), **wrong)


def test_iw_bound_draws_by_its_generator_and_anew() -> None:
    model, x = small_vae(), digits()
    bounds = [
        iw_bound(model, x, 3, generator=torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)
    ]
    assert torch.equal(bounds[0], bounds[1]) and not torch.equal(bounds[0], bounds[2])
    assert not torch.equal(iw_bound(model, x, 3), iw_bound(model, x, 3))


def test_with_one_sample_it_is_the_elbo_with_the_sampled_kl() -> None:
    model, x, noise = small_vae(), digits(), torch.randn(1, 13, 4)
    logits, q = model(x, noise[0])
    z = q.sample(noise[0])
    sampled_kl = q.log_prob(z) - Normal(0, 1).log_prob(z).sum(1)
    torch.testing.assert_close(
        iw_bound(model, x, 1, noise=noise), log_likelihood(logits, x) - sampled_kl
    )


@pytest.mark.parametrize(
    "build", [lambda: (small_vae().double(), digits().double()), lambda: linear_model(False)]
)
def test_on_the_same_weights_more_samples_give_a_tighter_bound(build) -> None:
    model, x = build()
    noise = double(50, len(x), model.encoder.mu.out_features, seed=9)
    bounds = {
        k: torch.stack([iw_bound(model, x, k, noise=part) for part in noise.split(k)]).mean(0)
        for k in (1, 5, 50)
    }
    assert (bounds[50] >= bounds[5] - 1e-12).all() and (bounds[5] >= bounds[1] - 1e-12).all()
    assert (bounds[50] > bounds[1] + 1e-3).all()  # and not because they are all the same


# ---------------------------------------------------------------- the exact model


def test_exact_log_likelihood_and_posterior_are_those_of_independent_formulas() -> None:
    model, x = linear_model(orthogonal=False)
    weight, bias = model.decoder[0].weight, model.decoder[0].bias
    joint_covariance = torch.block_diag(torch.eye(3), 0.49 * torch.eye(6)).double()
    mixing = torch.block_diag(torch.eye(3), torch.eye(6)).double()
    mixing[3:, :3] = weight  # (z, x) = mixing (z, noise)
    joint = mixing @ joint_covariance @ mixing.T
    gain = joint[:3, 3:] @ joint[3:, 3:].inverse()  # conditioning of a joint normal
    torch.testing.assert_close(model.exact_posterior(x).mean, (x.flatten(1) - bias) @ gain.T)
    torch.testing.assert_close(
        model.exact_posterior(x).covariance_matrix[0], joint[:3, :3] - gain @ joint[3:, :3]
    )
    torch.testing.assert_close(
        model.log_prob(x), MultivariateNormal(bias, joint[3:, 3:]).log_prob(x.flatten(1))
    )


def test_with_the_exact_posterior_every_weight_is_log_p_of_x() -> None:
    model, x = linear_model(orthogonal=True)
    noise, exact = double(50, 20, 3, seed=9), model.log_prob(x)
    torch.testing.assert_close(log_weights(model, x, model.encode(x), noise), exact.expand(50, 20))
    for k in (1, 5, 50):
        torch.testing.assert_close(iw_bound(model, x, k, noise=noise[:k]), exact)
    assert model.gap == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("orthogonal", [False, True])
def test_bounds_lie_below_log_p_and_the_elbo_by_the_exact_gap(orthogonal: bool) -> None:
    model, x = linear_model(orthogonal)
    exact, repeats = model.log_prob(x).mean(), 400
    noise = double(repeats * 50, 20, 3, seed=9)
    for k in (1, 5, 50):
        bounds = torch.stack(
            [
                iw_bound(model, x, k, noise=part).mean()
                for part in noise.split(50 if k == 50 else k)[:repeats]
            ]
        )
        error = bounds.std() / repeats**0.5
        assert bounds.mean() <= exact + 4 * error + 1e-12
        if k == 1:
            assert abs(exact - model.gap - bounds.mean()) <= 4 * error + 1e-12
    elbos = torch.stack(
        [elbo(model, x, part).elbo.mean() for part in noise[:repeats]]
    )  # the KL in closed form
    assert abs(exact - model.gap - elbos.mean()) <= 4 * elbos.std() / repeats**0.5
    assert (model.gap > 0.1) != orthogonal


def test_a_single_draw_may_exceed_log_p() -> None:
    model, x = linear_model(orthogonal=False)
    assert (
        log_weights(model, x, model.encode(x), double(50, 20, 3, seed=9)) > model.log_prob(x)
    ).any()


def test_no_diagonal_encoder_is_better_than_the_one_given() -> None:
    model, x = linear_model(orthogonal=False)
    model.requires_grad_(True)
    noise = double(20_000, 1, 3, seed=9)
    q = model.encode(
        x
    )  # the expected ELBO, with E[z] and E[z²] in place of samples, has gradient zero here
    z = q.sample(torch.cat([noise, -noise]) / noise.square().mean(0).sqrt())
    expected = (model.log_likelihood(model.decode(z), x).mean(0) - kl(*q)).mean()
    gradients = torch.autograd.grad(expected, list(model.encoder.parameters()))
    assert max(g.abs().max() for g in gradients) < 0.02


# ---------------------------------------------------------------- collapse, gradients, neighbours


@pytest.mark.parametrize("build", [vae.mlp_vae, vae.conv_vae])
def test_a_collapsed_latent_can_be_removed_without_a_change(build) -> None:
    torch.manual_seed(0)
    model, x, noise = build(4, shape=SHAPE).double(), digits().double(), double(6, 13, 4, seed=1)
    for head in (model.encoder.mu, model.encoder.log_var):
        head.weight.data[2], head.bias.data[2] = 0, 0
    model.decoder[0].weight.data[:, 2] = 0
    keep = torch.tensor([True, True, False, True])
    small = vae.keep_latents(model, keep)
    assert small.encode(x).mean.shape == (13, 3) and model.encode(x).mean.shape == (13, 4)
    change = iw_bound(model, x, 6, noise=noise) - iw_bound(small, x, 6, noise=noise[..., keep])
    assert change.abs().max() < 1e-6
    change = elbo(model, x, noise[0]).elbo - elbo(small, x, noise[0][:, keep]).elbo
    assert change.abs().max() < 1e-6
    active = vae.keep_latents(model, ~keep)  # removing latents that are in use changes it
    assert (
        elbo(model, x, noise[0]).elbo - elbo(active, x, noise[0][:, ~keep]).elbo
    ).abs().max() > 1e-3


def test_active_units_vary_over_images_by_more_than_a_hundredth() -> None:
    mu = (
        torch.randn(5000, 3, generator=torch.Generator().manual_seed(0))
        * torch.tensor([0.05, 0.2, 1.0])
        + 7
    )
    assert vae.active_units(mu).tolist() == [False, True, True]  # variances 0.0025, 0.04, 1


def test_both_gradient_estimators_are_unbiased_and_the_score_function_is_noisier() -> None:
    mu, log_var, target = double(3), double(3, seed=1), double(3, seed=2)
    path, score = vae.mu_gradients(
        lambda z: -(z - target).square().sum(-1), Posterior(mu, log_var), double(50_000, 3, seed=3)
    )
    exact = 2 * (target - mu)  # of −|μ − target|² − Σ σ²
    for estimates in (path, score):
        assert ((estimates.mean(0) - exact).abs() < 4 * estimates.std(0) / 50_000**0.5).all()
    assert (score.var(0) > 2 * path.var(0)).all()


def test_nearest_finds_the_row_and_its_squared_distance_across_chunks() -> None:
    pool = torch.randint(
        0, 256, (107, *SHAPE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    rows = torch.tensor([3, 106, 50])
    queries = (pool[rows] / 255 + 0.01).clamp(max=1)
    expected = (queries - pool[rows] / 255).square().sum((1, 2, 3))
    for images in (pool, pool / 255):
        for chunk in (1, 10, 1000):
            found, distances = vae.nearest(queries, images, chunk)
            assert torch.equal(found, rows)
            torch.testing.assert_close(
                distances, expected, rtol=1e-2, atol=1e-4
            )  # by matrix products


# ---------------------------------------------------------------- trained models


def full_mnist() -> Splits:
    if not os.environ.get("VAETL_DATA"):
        pytest.skip("needs the full MNIST: set VAETL_DATA to a folder that holds MNIST/raw")
    return load("mnist", full=True)


@pytest.mark.parametrize(("name", "latent"), [("vae-mnist", 50), ("vae-mnist-2d", 2)])
def test_the_shipped_models_load_and_say_where_they_come_from(name: str, latent: int) -> None:
    model, facts = vae.pretrained(name)
    assert not model.training and model.encoder.mu.out_features == latent
    wanted = {
        "command",
        "data",
        "fingerprint",
        "seed",
        "date",
        "architecture",
        "bound",
        "standard_error",
    }
    assert wanted <= set(facts)
    held_out = load("mnist").test.images
    bounds = vae.held_out_bound(model, held_out, k=20, count=200)
    assert -bounds.mean() < facts["bound"] + 12  # fewer samples, fewer images
    with pytest.raises(CourseError, match="did you mean 'vae-mnist'"):
        vae.pretrained("vae-minst")


@pytest.mark.parametrize("name", vae.PRETRAINED)
def test_the_shipped_models_have_not_seen_the_embedded_validation_and_held_out_digits(
    name: str,
) -> None:
    train, embedded = full_mnist().train, load("mnist")
    assert vae.pretrained(name)[1]["fingerprint"] == fingerprint(train)
    seen = set(image_hashes(train.images.squeeze(1).numpy()))
    for part in (embedded.validation, embedded.test):
        assert not seen & set(image_hashes(part.images.squeeze(1).numpy()))
    assert seen & set(
        image_hashes(embedded.train.images.squeeze(1).numpy())
    )  # hashes that could match


@pytest.mark.slow
def test_the_shipped_model_is_below_90_nats_on_the_test_images() -> None:
    bounds = -vae.held_out_bound(vae.pretrained()[0], full_mnist().test.images, k=500, count=1000)
    print(f"{bounds.mean():.2f} ± {bounds.std() / 1000**0.5:.2f} nats")
    assert bounds.mean() <= 90


@pytest.mark.slow
def test_a_minute_of_training_is_below_100_nats_on_the_test_images() -> None:
    data = full_mnist()
    model, history = train(
        data.train, RECIPES["vae-mnist"], epochs=8, rate=2e-3, batch_size=256, max_seconds=120
    )
    bounds = -vae.held_out_bound(model, data.test.images, k=500, count=1000)
    print(
        f"{bounds.mean():.2f} ± {bounds.std() / 1000**0.5:.2f} nats "
        f"after {history.seconds:.0f} s of training"
    )
    assert bounds.mean() <= 100
