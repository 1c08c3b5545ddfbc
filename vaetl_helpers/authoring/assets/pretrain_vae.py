"""Trains the VAEs that come with the course.

    python -m vaetl_helpers.authoring.assets.pretrain_vae [NAME] [--minutes N]

Needs the full MNIST (VAETL_DATA, see `vaetl data`). It trains on the training split alone, which
leaves out the embedded validation and held-out digits. It can be stopped at any time: the same
command goes on where it was.
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path
from typing import Any

import torch

from vaetl_helpers import vae
from vaetl_helpers.authoring.assets.facts import ASSETS, fingerprint, origin, this_machine
from vaetl_helpers.data.images import ImageSet, Splits
from vaetl_helpers.data.registry import load
from vaetl_helpers.errors import CourseError
from vaetl_helpers.output import say
from vaetl_helpers.training.checkpoints import save_checkpoint
from vaetl_helpers.training.evaluation import History
from vaetl_helpers.training.loop import fit

RECIPES: dict[str, dict[str, Any]] = {
    "vae-mnist": {"latent": 50, "widths": [500, 500], "activation": "GELU", "skip": True},
    "vae-mnist-2d": {"latent": 2, "widths": [500, 500], "activation": "GELU", "skip": True},
}


def short_rise(progress: float) -> float:
    """A factor of the learning rate: rises over the first 2 %, then falls to 0 as half a cosine."""
    rise = min(1.0, 0.05 + progress / 0.02)
    return rise * 0.5 * (1 + math.cos(math.pi * progress))


def train(
    data: ImageSet,
    architecture: dict[str, Any],
    epochs: int,
    rate: float,
    batch_size: int,
    seed: int = 0,
    **fit_options: Any,
) -> tuple[vae.VAE, History]:
    """Trains a VAE with dynamic binarisation by Adam and `short_rise`."""
    torch.manual_seed(seed)
    model = vae.mlp_vae(**architecture)
    history = fit(
        model,
        data,
        vae.vae_loss(),
        epochs=epochs,
        batch_size=batch_size,
        optimizer=torch.optim.Adam(model.parameters(), rate, fused=True),
        schedule=short_rise,
        seed=seed,
        **fit_options,
    )
    return model.eval(), history


def measure(model: vae.VAE, data: Splits, k: int, count: int) -> dict[str, float]:
    """−L_k in nats on `count` seeded test images, dynamically binarised, and its standard error."""
    bounds = -vae.held_out_bound(model, data.test.images, k, count)
    return {
        "bound": bounds.mean().item(),
        "standard_error": bounds.std().item() / len(bounds) ** 0.5,
        "k": k,
        "test_images": len(bounds),
    }


def _options() -> argparse.Namespace:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    add = parser.add_argument
    add("name", nargs="?", default="vae-mnist", choices=RECIPES)
    add("--minutes", type=float, help="stop after so long (the same command continues)")
    add("--epochs", type=int, default=200)
    add("--rate", type=float, default=2e-3)
    add("--batch-size", type=int, default=256)
    add("--seed", type=int, default=0)
    add("--paper", action="store_true", help="also L_5000 on all test images (Burda et al. 2015)")
    add("--work", type=Path, default=Path("runs"), help="where the state of training is kept")
    return parser.parse_args()


def main() -> None:
    """Trains, measures, and writes assets/NAME.safetensors."""
    options = _options()
    data = load("mnist", full=True)
    if "embedded" in data.source:
        raise CourseError("The full MNIST is needed: point VAETL_DATA at it.")
    model, history = train(
        data.train,
        RECIPES[options.name],
        options.epochs,
        options.rate,
        options.batch_size,
        options.seed,
        validation=data.validation,
        checkpoint=options.work / f"{options.name}.training.safetensors",
        max_seconds=60 * options.minutes if options.minutes else None,
    )
    if len(history) < options.epochs:
        return
    facts: dict[str, Any] = dict(measure(model, data, k=500, count=1000))
    facts |= {
        "paper": measure(model, data, k=5000, count=10_000) if options.paper else None,
        "architecture": RECIPES[options.name],
        "data": f"{data.source}: trained on the {len(data.train):,}, dynamically binarised",
        "fingerprint": fingerprint(data.train),
        "seed": options.seed,
        "epochs": len(history),
        "validation_loss": history["validation_loss"][-1],
    }
    facts |= origin("pretrain_vae", sys.argv[1:], this_machine())
    save_checkpoint(ASSETS / f"{options.name}.safetensors", model, **facts)
    say(facts)


if __name__ == "__main__":
    main()
