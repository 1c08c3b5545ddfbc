"""The bound by sums: against formulas that are known, and against the package's own functions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from vaetl_helpers import vae
from vaetl_helpers.errors import CourseError
from vaetl_helpers.linear_gaussian import LinearGaussian
from vaetl_helpers.living import beta_dial, gap_machine, toy_world
from vaetl_helpers.living.bound import bound

# ---------------------------------------------------------------- the gap machine


@pytest.fixture
def linear() -> LinearGaussian:
    """One latent, one pixel, and the machine's noise: everything about it is known exactly."""
    weight, bias = torch.tensor([[0.8]]).double(), torch.tensor([0.3]).double()
    return LinearGaussian(weight, bias, gap_machine.NOISE)


@pytest.mark.parametrize("x", [-0.4, 0.9, 1.7])
def test_with_a_linear_decoder_the_sums_are_the_exact_model(
    linear: LinearGaussian, x: float
) -> None:
    def decode(z: torch.Tensor) -> torch.Tensor:
        return linear.decode(z[:, None]).flatten().detach()

    image = torch.full((1, 1, 1, 1), x, dtype=torch.float64)
    q = linear.encode(image)
    mu, sigma = q.mean.item(), (0.5 * q.log_var).exp().item()
    at_best = gap_machine.terms(x, mu, sigma, decode)
    assert at_best.log_px == pytest.approx(linear.log_prob(image).item(), abs=1e-10)
    assert at_best.gap == pytest.approx(linear.gap, abs=1e-10)
    elsewhere = gap_machine.terms(x, mu + 0.5, 2 * sigma, decode)
    other = torch.distributions.Normal(mu + 0.5, 2 * sigma)
    exact = torch.distributions.Normal(mu, sigma)
    assert elsewhere.gap == pytest.approx(
        torch.distributions.kl_divergence(other, exact).item(), abs=1e-6
    )


@pytest.mark.parametrize("mu", [*gap_machine.MU, 0.3])
@pytest.mark.parametrize("sigma", [*gap_machine.SIGMA, 0.5])
@pytest.mark.parametrize("x", gap_machine.IMAGES)
def test_gap_and_elbo_add_up_to_what_no_q_changes(x: float, mu: float, sigma: float) -> None:
    terms = gap_machine.terms(x, mu, sigma)
    assert terms.elbo + terms.gap == pytest.approx(terms.log_px, abs=1e-9)
    assert terms.log_px == gap_machine.terms(x, *gap_machine.START).log_px
    assert terms.gap > 0
    log_var = torch.tensor([2 * math.log(sigma)], dtype=torch.float64)
    price = vae.kl(torch.tensor([mu], dtype=torch.float64), log_var).item()
    assert terms.price == pytest.approx(price, abs=1e-7)


def test_the_bound_is_the_mean_of_the_packages_sampled_one() -> None:
    class Bent(torch.nn.Module):
        def forward(self, z: torch.Tensor) -> torch.Tensor:
            return gap_machine.bent_decoder(z[:, 0])[:, None, None, None]

    log_var = 2 * math.log(gap_machine.NOISE)
    model = vae.VAE(torch.nn.Identity(), Bent(), gaussian_log_var=log_var)
    q = vae.Posterior(torch.tensor([[0.4]]).double(), torch.tensor([[-1.0]]).double())
    noise = torch.randn(200_000, 1, 1, generator=torch.Generator().manual_seed(0)).double()
    x = torch.full((1, 1, 1, 1), 1.2, dtype=torch.float64)
    weights = vae.log_weights(model, x, q, noise)
    terms = gap_machine.terms(1.2, 0.4, math.exp(-0.5))
    error = weights.std().item() / math.sqrt(len(weights))
    assert weights.mean().item() == pytest.approx(terms.elbo, abs=4 * error)
    assert weights.logsumexp(0).item() - math.log(len(noise)) == pytest.approx(
        terms.log_px, abs=0.02
    )


def test_a_finer_and_wider_grid_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    coarse = gap_machine.terms(0.9, 1.0, 0.2)
    monkeypatch.setattr(gap_machine, "END", 14.0)
    monkeypatch.setattr(gap_machine, "CELLS", 7000)
    monkeypatch.setattr(gap_machine, "CELL", 28 / 7000)
    assert gap_machine.terms(0.9, 1.0, 0.2) == pytest.approx(coarse, abs=1e-9)


def test_near_the_top_of_the_bend_a_normal_q_nearly_closes_the_gap_and_further_down_it_cannot() -> (
    None
):
    gaps = {}
    for x in gap_machine.IMAGES:
        _, mu, sigma = gap_machine.best(x)
        gaps[x] = gap_machine.terms(x, mu, sigma).gap
    assert gaps[1.7] < 0.05 < 0.2 < gaps[1.2] < 0.5 < gaps[0.9]


def test_the_true_posterior_sums_to_one_and_has_two_hills_where_two_codes_give_the_pixel() -> None:
    hills = []
    for x in (1.7, 0.9):
        posterior = gap_machine.posterior(x)
        assert gap_machine.CELL * posterior.sum().item() == pytest.approx(1, abs=1e-12)
        rising = posterior.diff().sign()
        hills.append(int(((rising[:-1] > 0) & (rising[1:] < 0)).sum()))
    assert hills == [1, 2]


def test_a_density_that_does_not_sum_to_one_is_refused() -> None:
    z = gap_machine.grid()
    log_prior = gap_machine.log_prior(z)
    with pytest.raises(CourseError, match="The q sums to 0.5.* must sum to 1"):
        bound(log_prior, log_prior, log_prior - math.log(2), gap_machine.CELL)
    with pytest.raises(CourseError, match="The q sums to 0"):
        gap_machine.terms(0.9, 100.0, 0.2)


# ---------------------------------------------------------------- the toy world


@pytest.mark.parametrize(
    ("image", "by_hand"), [((1, 1), 0.2), ((1, 0), 0.44), ((0, 1), 0.28), ((0, 0), 0.08)]
)
def test_the_sum_is_the_one_that_is_done_by_hand(image: tuple[int, int], by_hand: float) -> None:
    assert toy_world.evidence(image) == pytest.approx(by_hand, abs=1e-12)
    terms = toy_world.terms(image, toy_world.posterior(image).tolist())
    assert terms.gap == pytest.approx(0, abs=1e-12)
    assert terms.elbo == pytest.approx(math.log(by_hand), abs=1e-12)


def test_the_images_of_the_world_are_all_there_are() -> None:
    assert sum(map(toy_world.evidence, toy_world.IMAGES)) == pytest.approx(1, abs=1e-12)
    with pytest.raises(CourseError, match=r"not \(2, 0\)"):
        toy_world.evidence((2, 0))


@pytest.mark.parametrize("q", [(1.0, 0.0, 0.0), (0.2, 0.3, 0.5), toy_world.PRIOR])
def test_the_gap_of_the_toy_world_is_the_divergence_to_the_posterior(
    q: tuple[float, ...],
) -> None:
    posterior = toy_world.posterior((1, 1)).numpy()
    terms = toy_world.terms((1, 1), q)
    chances = np.array(q)
    used = chances > 0
    divergence = (chances[used] * np.log(chances[used] / posterior[used])).sum()
    assert terms.gap == pytest.approx(divergence, abs=1e-12)
    assert terms.elbo + terms.gap == pytest.approx(math.log(0.2), abs=1e-12)


def test_the_sliders_keep_q_normalised_and_the_others_in_proportion() -> None:
    q = toy_world.with_chance((0.5, 0.3, 0.2), 2, 0.6)
    assert q == pytest.approx([0.25, 0.15, 0.6])
    assert toy_world.with_chance(q, 1, 1.0) == pytest.approx([0, 1, 0])
    assert toy_world.with_chance([0, 1, 0], 1, 0.5) == pytest.approx([0.25, 0.5, 0.25])


# ---------------------------------------------------------------- the dial


@pytest.fixture(scope="module")
def dial() -> beta_dial.Dial:
    return beta_dial.dial()


def test_the_dial_has_ten_vaes_or_more_and_says_where_they_come_from(dial: beta_dial.Dial) -> None:
    assert len(dial.betas) >= 10 and dial.betas == sorted(dial.betas)
    assert {"command", "commit", "date", "machine", "versions", "data"} <= set(dial.facts)


def test_a_higher_price_buys_less_code_and_the_bound_is_best_near_one(
    dial: beta_dial.Dial,
) -> None:
    rates = dial.rates.sum(1)
    assert (np.diff(rates) < 0).all()
    assert dial.betas[int(dial.elbos.argmax())] == 1
    assert dial.elbos.max() == pytest.approx(-147.6, abs=0.05)
    assert dial.distortions[-1] - dial.distortions[0] > 50


def test_the_text_of_chapter_3b_quotes_the_record(dial: beta_dial.Dial) -> None:
    rates = dict(zip(dial.betas, dial.rates.sum(1).round(1).tolist(), strict=True))
    assert {beta: rates[beta] for beta in (0.1, 1, 9, 20)} == pytest.approx(
        {0.1: 10.8, 1: 6.0, 9: 2.7, 20: 0.7}, abs=0.051
    )
    lost, kept = sorted(dial.rates[-1])
    assert lost < 1e-4 and kept == pytest.approx(0.07, abs=0.005)
    slopes = np.diff(dial.distortions) / np.diff(dial.rates.sum(1))
    bounds = zip(dial.betas, dial.betas[1:], strict=False)
    misses = [
        max(low + slope, -slope - high, 0)
        for slope, (low, high) in zip(slopes, bounds, strict=True)
    ]
    assert sum(miss > 0 for miss in misses) == 2 and max(misses) < 1


def test_what_the_page_gets_is_small_and_as_near_as_it_says(dial: beta_dial.Dial) -> None:
    content = beta_dial.data(dial)
    means = beta_dial.unpacked_codes(content["means"]).reshape(dial.means.shape)
    inside = np.abs(dial.means) <= 6.35
    assert inside.mean() > 0.995
    assert np.abs(means - dial.means)[inside].max() <= beta_dial.CODE_STEP / 2 + 1e-6
    assert sum(len(value) for value in content.values() if isinstance(value, str)) < 200_000


def test_pictures_are_packed_two_pixels_a_byte() -> None:
    pictures = np.array([[0, 255], [17, 136]], np.uint8)
    assert beta_dial.packed(pictures).tolist() == [0x0F, 0x18]


def test_a_beta_that_was_not_recorded_is_refused() -> None:
    with pytest.raises(CourseError, match="No VAE was recorded at β = 3.5: choose one of 0.1"):
        beta_dial.beta_dial("alt", 3.5)
