"""Trains the plain autoencoder with two latents that chapter 3 shows beside its VAE.

    python -m vaetl_helpers.authoring.assets.pretrain_autoencoder

Needs the full MNIST (VAETL_DATA, see `vaetl data`), and a minute on one core. As the VAE it learns
from the training split alone.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

import torch
from torch import Tensor, nn

from vaetl_helpers import nets
from vaetl_helpers.authoring.assets.facts import ASSETS, fingerprint, origin, this_machine
from vaetl_helpers.authoring.assets.pretrain_vae import short_rise
from vaetl_helpers.data.registry import load
from vaetl_helpers.errors import CourseError
from vaetl_helpers.output import say
from vaetl_helpers.training.checkpoints import save_checkpoint
from vaetl_helpers.training.loop import fit

NAME = "autoencoder-mnist-2d"
ARCHITECTURE: dict[str, Any] = {
    "latent": 2,
    "widths": [128, 128],
    "activation": "GELU",
    "skip": True,
}


def squared_error(model: nn.Module, images: Tensor, labels: Any = None) -> Tensor:
    """Between images and their reconstructions: summed over pixels, averaged over images."""
    reconstructions = model(images).sigmoid()
    return (reconstructions - images).square().sum(dim=(1, 2, 3)).mean()


def _options() -> argparse.Namespace:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    add = parser.add_argument
    add("--epochs", type=int, default=40)
    add("--rate", type=float, default=2e-3)
    add("--batch-size", type=int, default=256)
    add("--seed", type=int, default=0)
    return parser.parse_args()


def main() -> None:
    """Trains, measures, and writes assets/autoencoder-mnist-2d.safetensors, in 16 bits."""
    options = _options()
    data = load("mnist", full=True)
    if "embedded" in data.source:
        raise CourseError("The full MNIST is needed: point VAETL_DATA at it.")
    torch.manual_seed(options.seed)
    model = nets.mlp_autoencoder(**ARCHITECTURE)
    history = fit(
        model,
        data.train,
        squared_error,
        epochs=options.epochs,
        batch_size=options.batch_size,
        optimizer=torch.optim.Adam(model.parameters(), options.rate, fused=True),
        schedule=short_rise,
        seed=options.seed,
        validation=data.validation,
    )
    facts: dict[str, Any] = {
        "architecture": ARCHITECTURE,
        "data": f"{data.source}: trained on the {len(data.train):,}",
        "fingerprint": fingerprint(data.train),
        "seed": options.seed,
        "epochs": len(history),
        "validation_loss": history["validation_loss"][-1],
    }
    facts |= origin("pretrain_autoencoder", sys.argv[1:], this_machine())
    save_checkpoint(ASSETS / f"{NAME}.safetensors", model.half(), **facts)
    say(facts)


if __name__ == "__main__":
    main()
