"""Seeds: whatever is a whole number is taken, and means the same; a sentence for the rest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from vaetl_helpers import settings, vae, vae_transfer
from vaetl_helpers.data import ImageSet
from vaetl_helpers.errors import CourseError
from vaetl_helpers.nets import mlp_classifier
from vaetl_helpers.seeds import whole_number, whole_seed
from vaetl_helpers.study import Method, draw_labels, run_study
from vaetl_helpers.training import fit, fit_best
from vaetl_helpers.training.together import fit_together
from vaetl_helpers.transfer.finetuning import rehearsal

LABELS = torch.arange(40) % 4


def images() -> ImageSet:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (40, 1, 8, 8), generator=generator, dtype=torch.uint8)
    return ImageSet(pixels, LABELS, tuple("abcd"))


def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return mlp_classifier(4, pixels=64, classes=4)


def fitted(seed: Any) -> Tensor:
    model = network()
    fit(model, images(), epochs=1, batch_size=16, seed=seed, quiet=True)
    return model[1].weight.detach()


def fitted_best(seed: Any) -> Tensor:
    model = network()
    fit_best(model, images(), images(), epochs=1, batch_size=16, seed=seed)
    return model[1].weight.detach()


def fitted_together(seed: Any) -> Tensor:
    model = network()
    options = {"rate": 1e-2, "epochs": 1, "batch_size": 16, "patience": 1}
    fit_together([model], [images()], images(), [seed], **options)
    return model[1].weight.detach()


def studied(seed: Any) -> Tensor:
    method = Method("m", lambda draw: {"value": float(draw.seed % 1000)})
    table = run_study("s", [method], [4], 2, labels=LABELS, seed=seed, jobs=1, quiet=True)
    return torch.tensor(table.frame["value"].to_numpy())


def set_up(seed: Any) -> Tensor:
    assert settings.setup("01", "smoke", seed=seed).seed in (3, 4)
    return torch.rand(3)


def bound(seed: Any) -> Tensor:
    torch.manual_seed(0)
    model = vae.mlp_vae(2, (4,), (1, 8, 8))
    return vae.held_out_bound(model, images().images, k=1, count=5, seed=seed).detach()


SEEDED: dict[str, Callable[[Any], Tensor]] = {
    "setup": set_up,
    "batches": lambda seed: next(images().batches(8, seed))[1],
    "fit": fitted,
    "fit_best": fitted_best,
    "fit_together": fitted_together,
    "draw_labels": lambda seed: draw_labels(LABELS, 1, 2, seed)[0].indices,
    "pretrain_seeds": lambda seed: torch.tensor(
        draw_labels(LABELS, 1, 1, 0, pretrain_seeds=[seed])[0].pretrain_seed
    ),
    "run_study": studied,
    "rehearsal": lambda seed: rehearsal(
        images(), images(), 9, {0: 0, 1: 1}, "abcd", seed
    ).images.sum((1, 2, 3)),
    "untrained_vae": lambda seed: vae_transfer.untrained_vae((1, 8, 8), seed).encoder.mu.bias,
    "held_out_bound": bound,
}


@pytest.mark.parametrize("name", SEEDED)
def test_whatever_is_a_whole_number_is_a_seed_and_means_the_same(name: str) -> None:
    expected = SEEDED[name](3)
    for seed in (np.int64(3), np.arange(4)[3], np.uint8(3), torch.tensor(3)):
        assert torch.equal(SEEDED[name](seed), expected)
    assert not torch.equal(SEEDED[name](4), expected)


@pytest.mark.parametrize("seed", [1.5, 3.0, np.float64(3), "3", -1, [3], torch.tensor(1.5)])
@pytest.mark.parametrize("name", SEEDED)
def test_a_seed_that_is_no_whole_number_is_a_sentence(name: str, seed: Any) -> None:
    with pytest.raises(CourseError, match="seeds? must be a whole number from 0 to [0-9]+, not"):
        SEEDED[name](seed)


def test_a_whole_number_comes_back_as_pythons_own() -> None:
    assert type(whole_seed(np.int64(3))) is int
    with pytest.raises(CourseError, match="n must be a whole number of at least 1, not 0: try n=5"):
        whole_number(0, "n", 1, example="5")
