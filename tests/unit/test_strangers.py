"""What a VAE has to pay for images of another kind, and how the record counts it."""

import pytest
import torch

from vaetl_helpers import study, vae
from vaetl_helpers.authoring.assets import record_strangers
from vaetl_helpers.data import load


def test_a_pair_is_mistaken_where_the_stranger_costs_less():
    own = torch.tensor([10.0, 20.0])
    assert record_strangers.mistaken(own, torch.tensor([5.0, 15.0])) == 75
    assert record_strangers.mistaken(own, own + 100) == 0


def test_costs_are_those_of_the_bound_and_the_same_for_a_seed():
    torch.manual_seed(0)
    model = vae.mlp_vae(record_strangers.LATENT).eval()
    images = load("mnist").test.subset(slice(40))
    nats = record_strangers.costs(model, images, seed=3)
    assert nats.shape == (40,) and torch.equal(nats, record_strangers.costs(model, images, seed=3))
    assert nats.mean().item() == pytest.approx(545, abs=15)  # it knows nothing: 784 log 2


def test_the_record_has_the_comparison_of_both_vaes():
    for own, stranger, sign in (("clothes", "digits", -1), ("digits", "clothes", 1)):
        id = f"03/cost/{stranger}-{own}/vae_of_{own}"
        found = study.recorded_value("03", id, "strangers")
        assert sign * found["low"] > 0 and sign * found["high"] > 0 and found["n"] >= 5
