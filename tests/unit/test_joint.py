"""Joint models: M2's bounds against exact sums, what the labels may and may not do, CKA, and reused
parts.
"""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from vaetl_helpers import vae
from vaetl_helpers.authoring.assets import record_stacked
from vaetl_helpers.data import ImageSet
from vaetl_helpers.errors import CourseError
from vaetl_helpers.m2 import M2, JointVAE, m2_loss, multitask_loss
from vaetl_helpers.nets import mlp_decoder, mlp_encoder
from vaetl_helpers.representations import (
    cka_table,
    debiased_cka,
    effective_directions,
    reuse,
    whitening,
)
from vaetl_helpers.study.draws import Draw
from vaetl_helpers.training import evaluate, fit

SHAPE = (1, 2, 3)  # six pixels: every image can be listed
CLASSES = 3


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def every_image() -> Tensor:
    """All 64 images of six black or white pixels, in float64."""
    bits = (torch.arange(64)[:, None] >> torch.arange(6)) & 1
    return bits.double().view(64, *SHAPE)


def small_m2(seed: int = 0, latent: int = 2, scale: float = 2.0, **kind: float) -> M2:
    """An M2 in float64 with weights large enough that y and z matter."""
    torch.manual_seed(seed)
    model = M2(CLASSES, latent, width=8, shape=SHAPE, **kind).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(scale)
    return model


def one_hot(y: int, count: int) -> Tensor:
    return nn.functional.one_hot(torch.full((count,), y), CLASSES).double()


def stripes(count: int, seed: int = 0) -> ImageSet:
    """Noise with a bright column that tells the class, 8 × 8 pixels."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % CLASSES
    images = torch.randint(0, 60, (count, 1, 8, 8), generator=generator, dtype=torch.uint8)
    images[torch.arange(count), 0, :, 2 * labels] += 190
    return ImageSet(images, labels, tuple("abc"))


def joint_vae(seed: int = 0) -> JointVAE:
    torch.manual_seed(seed)
    sizes = (4, (16,), (1, 8, 8))
    return JointVAE(mlp_encoder(*sizes), mlp_decoder(*sizes), CLASSES)


def state(model: nn.Module) -> list[Tensor]:
    return [value.clone() for value in model.state_dict().values()]


# ---------------------------------------------------------------- M2's bounds


@pytest.mark.parametrize("kind", [{}, {"gaussian_log_var": -1.0}], ids=["Bernoulli", "Gaussian"])
def test_the_unlabelled_bound_is_the_explicit_sum_over_classes(kind: dict) -> None:
    model, x = small_m2(**kind), every_image()[:20]
    noise = normal(20, 2)
    q = model.classify(x).softmax(-1)
    total = sum(
        q[:, y] * (model.labelled_bound(x, one_hot(y, 20), noise) - q[:, y].log())
        for y in range(CLASSES)
    )
    assert torch.allclose(model.unlabelled_bound(x, noise), total, rtol=1e-12)


def test_a_learned_variance_begins_where_it_is_told_and_finds_that_of_the_data() -> None:
    fixed = small_m2(gaussian_log_var=-2.0)
    learned = small_m2(gaussian_log_var=-1.0, learned_variance=True)  # all weights are doubled
    x, y, noise = every_image()[:20], one_hot(1, 20), normal(20, 2)
    torch.testing.assert_close(
        learned.labelled_bound(x, y, noise), fixed.labelled_bound(x, y, noise)
    )
    assert learned.gaussian_log_var.shape == SHAPE
    spread = torch.tensor([0.1, 2.0], dtype=x.dtype)
    images = torch.zeros(4000, 1, 1, 2, dtype=x.dtype)
    images[..., 0, :] = spread * torch.randn(4000, 1, 2, dtype=x.dtype)
    mean = torch.zeros_like(images)
    log_var = torch.zeros(1, 1, 2, dtype=x.dtype, requires_grad=True)
    optimiser = torch.optim.LBFGS([log_var], max_iter=50)

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = -vae.gaussian_log_likelihood(mean, images, log_var).mean()
        loss.backward()
        return loss

    optimiser.step(closure)
    assert torch.allclose((0.5 * log_var).exp().flatten(), spread, rtol=0.05)
    with pytest.raises(CourseError, match="Only a Gaussian has a variance"):
        small_m2(learned_variance=True)


def test_the_labelled_bound_is_the_textbook_formula() -> None:
    """log p(x|y,z) + log p(y) + log p(z) − log q(z|x,y), written out: its mean over noise is that
    with the exact KL.
    """
    model, x = small_m2(latent=1), every_image()[5:6]
    y, noise = one_hot(2, 1).expand(200_000, -1), normal(200_000, 1)
    x = x.expand(200_000, *SHAPE)
    hidden = (
        torch.cat([x.flatten(1), y], 1)
        @ torch.cat([model.x_to_hidden.weight, model.y_to_hidden.weight], 1).T
    )
    mu, log_var = model.encoder(hidden + model.x_to_hidden.bias)
    q = torch.distributions.Normal(mu, (log_var / 2).exp())
    z = mu + (log_var / 2).exp() * noise
    logits = (
        torch.cat([z, y], 1) @ torch.cat([model.z_to_hidden.weight, model.y_to_image.weight], 1).T
    )
    logits = model.decoder(logits + model.z_to_hidden.bias)
    log_px = torch.distributions.Bernoulli(logits=logits).log_prob(x).sum((1, 2, 3))
    prior = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(1) - math.log(CLASSES)
    values = log_px + prior - q.log_prob(z).sum(1)
    error = values.std() / math.sqrt(len(values))
    assert abs(values.mean() - model.labelled_bound(x, y, noise).mean()) < 4 * error < 0.02


def test_a_certain_classifier_makes_the_unlabelled_bound_the_labelled_one() -> None:
    model, x = small_m2(), every_image()[:7]
    with torch.no_grad():
        model.classifier[-1].weight.zero_()
        model.classifier[-1].bias.copy_(torch.tensor([0.0, 800.0, 0.0]))  # one-hot also in float64
    noise = normal(7, 2)
    expected = model.labelled_bound(x, one_hot(1, 7), noise)
    assert torch.allclose(model.unlabelled_bound(x, noise), expected, rtol=1e-12)


def exact_log_likelihood(model: M2, x: Tensor) -> Tensor:
    """log p(x, y) [classes, images] by adding up a fine grid over the one latent."""
    z = torch.linspace(-9, 9, 2001, dtype=torch.float64)
    log_pz = torch.distributions.Normal(0.0, 1.0).log_prob(z) + (z[1] - z[0]).log()
    found = []
    for y in range(CLASSES):
        logits = model.decode(one_hot(y, len(z)), z[:, None])[:, None]  # [grid, 1, …]
        log_px = vae.log_likelihood(logits.expand(-1, len(x), *SHAPE), x)
        found.append((log_px + log_pz[:, None]).logsumexp(0) - math.log(CLASSES))
    return torch.stack(found)


def test_no_bound_exceeds_the_exact_likelihood_which_sums_to_one() -> None:
    with torch.no_grad():
        model, x = small_m2(latent=1), every_image()
        exact = exact_log_likelihood(model, x)
        assert exact.exp().sum().item() == pytest.approx(1, abs=1e-6)  # over all images and classes
        noise = normal(64 * 3000, 1)
        many = x.repeat(3000, 1, 1, 1)
        every_y = torch.eye(CLASSES, dtype=torch.float64)[:, None]
        labelled = model.labelled_bound(many, every_y, noise).view(CLASSES, 3000, 64)
        unlabelled = model.unlabelled_bound(many, noise).view(3000, 64)
        for bound, truth in ((labelled, exact), (unlabelled, exact.logsumexp(0))):
            repeats = bound.dim() - 2
            error = bound.std(repeats) / math.sqrt(3000)
            gap = truth - bound.mean(repeats)
            assert (gap > -4 * error).all()
            assert gap.mean() > 0.05  # and they differ: the encoder was never trained


def test_the_bounds_are_exact_where_the_posteriors_are() -> None:
    """A decoder that ignores z: q(z|x,y) = p(z) and q(y|x) = p(y|x) leave no gap at all."""
    model, x = small_m2(), every_image()
    with torch.no_grad():
        for parameter in [
            model.z_to_hidden.weight,
            *model.encoder.parameters(),
            model.classifier[-1].weight,
        ]:
            parameter.zero_()
        every_y = torch.eye(CLASSES, dtype=torch.float64)[:, None]
        joint_exact = model.labelled_bound(x, every_y)
        assert joint_exact.exp().sum().item() == pytest.approx(1)
        model.classify = lambda x: joint_exact.T  # log p(x, y) as logits: its softmax is p(y|x)
        assert torch.allclose(model.unlabelled_bound(x), joint_exact.logsumexp(0), rtol=1e-12)


def test_all_classes_at_once_are_the_classes_one_by_one() -> None:
    model, x, noise = small_m2(), every_image()[:5], normal(5, 2)
    together = model.labelled_bound(x, torch.eye(CLASSES, dtype=torch.float64)[:, None], noise)
    alone = torch.stack([model.labelled_bound(x, one_hot(y, 5), noise) for y in range(CLASSES)])
    assert together.shape == (CLASSES, 5)
    assert torch.allclose(together, alone, rtol=1e-12)


# ---------------------------------------------------------------- M2 in training


def test_the_gradient_reaches_every_part_and_the_classifier_by_the_unlabelled_bound_too() -> None:
    data = stripes(30)
    torch.manual_seed(0)
    model = M2(CLASSES, 4, 16, (1, 8, 8))
    loss, _ = m2_loss(0.0, data, weight=0.0)(model, *next(data.batches(30)))
    loss.backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def test_the_unlabelled_bound_moves_the_classifier_towards_the_classes_with_the_larger_bounds() -> (
    None
):
    """∂(−U)/∂logit_y = q_y (−L_y − log q_y + U): by hand, not by the graph."""
    model, x, noise = small_m2(), every_image()[:9], normal(9, 2)
    every_y = torch.eye(CLASSES, dtype=torch.float64)[:, None]
    logits = model.classify(x).detach().requires_grad_()
    model.classify = lambda x: logits
    bound = model.unlabelled_bound(x, noise)
    bound.sum().backward()
    q = logits.detach().softmax(-1)
    advantage = model.labelled_bound(x, every_y, noise).T - q.log() - bound[:, None]
    assert torch.allclose(logits.grad, (q * advantage).detach(), rtol=1e-9)
    assert logits.grad.abs().max() > 0.01


def test_the_parts_of_the_loss_add_up() -> None:
    data = stripes(12)
    torch.manual_seed(0)
    model = M2(CLASSES, 4, 16, (1, 8, 8))
    x, y = next(data.batches(12))
    options = {"prepare": lambda x: vae.binarise(x, "static")}

    def value(alpha: float, weight: float) -> float:
        torch.manual_seed(3)
        return m2_loss(alpha, data, weight, **options)(model, x, y)[0].item()

    torch.manual_seed(3)
    _, monitored = m2_loss(1.0, data, **options)(model, x, y)
    assert value(0, 0) == pytest.approx(monitored["unlabelled"].item(), rel=1e-6)
    assert value(5, 0) - value(0, 0) == pytest.approx(
        5 * monitored["cross_entropy"].item(), rel=1e-4
    )
    assert value(0, 2) - value(0, 0) == pytest.approx(2 * (value(0, 1) - value(0, 0)), rel=1e-4)
    assert value(0, 1) - value(0, 0) > 10  # a bound of 64 pixels, not a cross-entropy


def test_m2_learns_the_classes_from_three_labels_and_never_sees_the_others() -> None:
    pool, labelled = stripes(120), stripes(3, seed=1)

    def trained(pool: ImageSet) -> M2:
        torch.manual_seed(0)
        model = M2(CLASSES, 4, 32, (1, 8, 8))
        adam = torch.optim.Adam(model.parameters(), 3e-3)
        fit(
            model,
            pool,
            m2_loss(1.0, labelled),
            epochs=15,
            batch_size=30,
            optimizer=adam,
            quiet=True,
        )
        return model

    model = trained(pool)
    assert evaluate(model, stripes(90, seed=2), m2_loss(1.0, labelled))["accuracy"] > 0.9
    wrong = ImageSet(pool.images, 2 - pool.labels, pool.classes)
    assert all(torch.equal(a, b) for a, b in zip(state(trained(wrong)), state(model), strict=True))


# ---------------------------------------------------------------- the multi-task VAE


def test_the_multitask_loss_is_the_negative_elbo_plus_alpha_times_the_cross_entropy() -> None:
    data, model = stripes(12), joint_vae()
    x, y = next(data.batches(12))

    def both(alpha: float) -> tuple[float, dict]:
        torch.manual_seed(3)
        loss, monitored = multitask_loss(alpha, data)(model, x, y)
        return loss.item(), monitored

    torch.manual_seed(3)
    alone = vae.vae_loss()(model, x)[0].item()
    _, monitored = both(0.0)
    assert both(0.0)[0] == pytest.approx(alone, rel=1e-6)
    assert both(7.0)[0] - alone == pytest.approx(7 * monitored["cross_entropy"].item(), rel=1e-4)
    expected = nn.functional.cross_entropy(model.head(model.encode(x).mean), y)
    assert monitored["cross_entropy"].item() == pytest.approx(expected.item(), rel=1e-5)
    assert {"reconstruction", "kl", "accuracy"} <= set(monitored)


def test_multitask_training_takes_labels_from_the_labelled_set_alone() -> None:
    pool, labelled = stripes(90), stripes(6, seed=1)

    def trained(pool: ImageSet, labelled: ImageSet) -> JointVAE:
        model = joint_vae()
        adam = torch.optim.Adam(model.parameters(), 3e-3)
        fit(
            model,
            pool,
            multitask_loss(20.0, labelled),
            epochs=15,
            batch_size=30,
            optimizer=adam,
            quiet=True,
        )
        return model

    model = trained(pool, labelled)
    test = stripes(60, seed=2)
    assert evaluate(model, test, multitask_loss(20.0, labelled))["accuracy"] > 0.9
    wrong_pool = ImageSet(pool.images, 2 - pool.labels, pool.classes)
    assert all(
        torch.equal(a, b)
        for a, b in zip(state(trained(wrong_pool, labelled)), state(model), strict=True)
    )
    swapped = ImageSet(labelled.images, 2 - labelled.labels, labelled.classes)
    assert evaluate(trained(pool, swapped), test, multitask_loss(20.0, labelled))["accuracy"] < 0.5


@pytest.mark.parametrize(
    ("make", "model"), [(multitask_loss, joint_vae), (m2_loss, lambda: M2(3, 4, 16, (1, 8, 8)))]
)
def test_a_resumed_run_ends_with_the_same_weights(make, model, tmp_path) -> None:
    """The batches of labelled images are drawn anew in each epoch, and the same after a break."""
    loss, pool = make(1.0, stripes(9, seed=1), batch_size=4), stripes(30)

    def run(epochs: list[int], checkpoint) -> list[Tensor]:
        for count in epochs:
            torch.manual_seed(0)
            network = model()
            fit(network, pool, loss, epochs=count, batch_size=10, checkpoint=checkpoint, quiet=True)
        return state(network)

    whole = run([4], tmp_path / "whole.safetensors")
    halves = run([2, 4], tmp_path / "halves.safetensors")
    assert all(torch.equal(a, b) for a, b in zip(whole, halves, strict=True))


# ---------------------------------------------------------------- parts of a VAE


@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_the_reused_part_stays_as_it_was_and_the_other_learns(part: str) -> None:
    other = {"encoder": "decoder", "decoder": "encoder"}[part]
    torch.manual_seed(0)
    source, fresh = (vae.mlp_vae(4, (16,), (1, 8, 8)) for _ in range(2))
    before = state(getattr(source, part))
    new = state(getattr(fresh, other))
    model = reuse(source, fresh, part)
    fit(model, stripes(30), vae.vae_loss(), epochs=3, batch_size=10, quiet=True)
    assert all(torch.equal(a, b) for a, b in zip(state(getattr(model, part)), before, strict=True))
    assert not all(
        torch.equal(a, b) for a, b in zip(state(getattr(model, other)), new, strict=True)
    )
    assert all(
        parameter.requires_grad for parameter in source.parameters()
    )  # the source is left alone
    assert getattr(model, part) is not getattr(source, part)


def test_a_kept_hidden_layer_leaves_the_heads_to_learn() -> None:
    torch.manual_seed(0)
    source, fresh = (vae.mlp_vae(4, (16,), (1, 8, 8)) for _ in range(2))
    before, heads = state(source.encoder.body), state(fresh.encoder.mu)
    model = reuse(source, fresh, "hidden layer")
    fit(model, stripes(30), vae.vae_loss(), epochs=3, batch_size=10, quiet=True)
    kept = state(model.encoder.body)
    assert all(torch.equal(a, b) for a, b in zip(kept, before, strict=True))
    learned = state(model.encoder.mu)
    assert not any(torch.equal(a, b) for a, b in zip(learned, heads, strict=True))
    assert all(parameter.requires_grad for parameter in source.parameters())


def test_reuse_says_what_does_not_fit() -> None:
    source, fresh = vae.mlp_vae(4, (16,)), vae.mlp_vae(5, (16,))
    with pytest.raises(CourseError, match="4 and 5 latents"):
        reuse(source, fresh, "encoder")
    with pytest.raises(CourseError, match="did you mean 'encoder'"):
        reuse(source, source, "encodr")


# ---------------------------------------------------------------- directions


def test_effective_directions_are_counted_whatever_the_axes() -> None:
    x = normal(5000, 6)
    rotation = torch.linalg.qr(normal(6, 6, seed=1))[0]
    assert effective_directions(x) == pytest.approx(6, abs=0.1)
    three = 100 * x[:, :3] @ rotation[:3] + 0.001 * x
    assert effective_directions(three) == pytest.approx(3, abs=0.1)
    assert effective_directions(normal(50, 1) @ normal(1, 6)) == pytest.approx(1)


def test_whitened_features_vary_equally_in_all_directions() -> None:
    x = normal(200, 5) @ normal(5, 5, seed=1) + 3
    whiten = whitening(x)
    torch.testing.assert_close(torch.cov(whiten(x).T), torch.eye(5, dtype=torch.float64))
    assert whiten(x.float()).dtype == torch.float32
    assert effective_directions(whiten(x)) == pytest.approx(5)
    with pytest.raises(CourseError, match="every direction"):
        whitening(normal(50, 1) @ normal(1, 6))


# ---------------------------------------------------------------- CKA


def unbiased_hsic(k: Tensor, m: Tensor) -> float:
    """Song et al. 2012 by its definition: means over all ordered pairs, triples and quadruples of
    different images.
    """
    n = len(k)
    pairs = triples = quadruples = 0.0
    for i in range(n):
        for j in range(n):
            for q in range(n):
                for r in range(n):
                    if len({i, j, q, r}) == 4:
                        quadruples += k[i, j] * m[q, r]
                if len({i, j, q}) == 3:
                    triples += k[i, j] * m[i, q]
            if i != j:
                pairs += k[i, j] * m[i, j]
    two, three, four = n * (n - 1), n * (n - 1) * (n - 2), n * (n - 1) * (n - 2) * (n - 3)
    return float(pairs / two - 2 * triples / three + quadruples / four)


def test_cka_is_built_from_the_unbiased_hsic_of_all_quadruples() -> None:
    x, y = normal(7, 3), normal(7, 4, seed=1) + 0.5
    k, m = x @ x.T, y @ y.T
    expected = unbiased_hsic(k, m) / math.sqrt(unbiased_hsic(k, k) * unbiased_hsic(m, m))
    assert debiased_cka(x, y) == pytest.approx(expected, rel=1e-9)
    assert debiased_cka(y, x) == pytest.approx(expected, rel=1e-9)


def test_cka_ignores_rotation_scale_and_offset_and_nothing_else() -> None:
    x = normal(60, 5) * torch.arange(1, 6)
    rotation = torch.linalg.qr(normal(5, 5, seed=1))[0]
    assert debiased_cka(x, 3 * x @ rotation + 100) == pytest.approx(1, abs=1e-9)
    assert debiased_cka(x, x @ normal(5, 5, seed=2)) < 0.99
    assert debiased_cka(x, x[torch.randperm(60, generator=torch.Generator().manual_seed(0))]) < 0.3


def biased_cka(x: Tensor, y: Tensor) -> float:
    x, y = x - x.mean(0), y - y.mean(0)
    return float((x.T @ y).square().sum() / ((x.T @ x).norm() * (y.T @ y).norm()))


def test_independent_features_wider_than_the_images_are_not_alike() -> None:
    pairs = [(normal(50, 400, seed=2 * n), normal(50, 400, seed=2 * n + 1)) for n in range(30)]
    debiased = torch.tensor([debiased_cka(x, y) for x, y in pairs])
    assert abs(debiased.mean()) < 0.02
    assert debiased.min() < 0  # unbiased: on both sides of 0
    assert (
        min(biased_cka(x, y) for x, y in pairs) > 0.8
    )  # the usual estimate takes them for the same


def test_a_table_of_cka_has_that_of_each_pair() -> None:
    first = [normal(30, 4), normal(30, 50, seed=1)]
    second = [normal(30, 4) + normal(30, 4, seed=2), normal(30, 3, seed=3), first[0]]
    expected = torch.tensor([[debiased_cka(x, y) for y in second] for x in first])
    torch.testing.assert_close(cka_table(first, second), expected)


def test_cka_says_what_is_wrong_with_its_features() -> None:
    for x, y in (
        (normal(5, 2), normal(6, 2)),
        (normal(3, 2), normal(3, 2)),
        (normal(5, 2, 2), normal(5, 2)),
    ):
        with pytest.raises(CourseError, match="same 4 or more images"):
            debiased_cka(x, y)
    for flat in (torch.ones(9, 2), torch.full((9, 2), math.nan)):
        with pytest.raises(CourseError, match="vary over the images"):
            debiased_cka(flat, normal(9, 2))


# ---------------------------------------------------------------- M1+M2


def clouds(count: int, seed: int = 0) -> record_stacked.Codes:
    """Codes of ten well separated classes."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % record_stacked.CLASSES
    centres = 4 * torch.randn(10, 6, generator=torch.Generator().manual_seed(1))
    mean = centres[labels] + 0.5 * torch.randn(count, 6, generator=generator)
    return record_stacked.Codes(mean, torch.full_like(mean, 0.1), labels)


@pytest.mark.parametrize("name", record_stacked.RECIPES)
def test_each_recipe_of_m1_plus_m2_learns_clouds(name: str) -> None:
    recipe = replace(record_stacked.RECIPES[name], passes=15)
    train, test = clouds(1500), clouds(300, seed=2)
    draw = Draw(20, 0, torch.arange(20), 0.0, 0, 0)
    found = record_stacked.run(train, test, recipe, draw)
    assert found["test accuracy by pass"].shape == (16,)
    least = 0.9 if recipe.stages else 0.3  # without stages so few images mix classes up
    assert found["test accuracy"].float().mean() > least
    model = record_stacked.new_model(6, recipe)
    assert isinstance(model.gaussian_log_var, nn.Parameter) == recipe.learned_variance
    assert any(isinstance(part, nn.Dropout) for part in model.modules()) == recipe.dropout


def test_in_stages_the_decoder_sees_the_class_before_the_style() -> None:
    recipe = replace(record_stacked.FIRST, passes=2)
    model, train = record_stacked.new_model(6, recipe), clouds(500)
    weights = []
    for _ in record_stacked.passes(model, train, torch.arange(20), recipe, 0):
        weights.append(model.z_to_hidden.weight.abs().sum().item())
    assert weights[:2] == [0, 0] and weights[2] > 0
