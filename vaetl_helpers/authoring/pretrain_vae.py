"""Trains the VAEs that come with the course: `python -m vaetl_helpers.authoring.pretrain_vae [NAME] [--minutes N]`.

Needs the full MNIST (VAETL_DATA, see `vaetl data`). It trains on the training split alone, which leaves out the
embedded validation and held-out digits. It can be stopped at any time: the same command goes on where it was.
"""

from __future__ import annotations

import argparse
import datetime
import os
import shlex
import sys
from functools import partial
from hashlib import sha256
from pathlib import Path

import torch

from vaetl_helpers import vae
from vaetl_helpers.data.images import ImageSet, Splits, image_hashes
from vaetl_helpers.data.registry import load
from vaetl_helpers.errors import CourseError
from vaetl_helpers.settings import versions
from vaetl_helpers.training.checkpoints import save_checkpoint
from vaetl_helpers.training.evaluation import History
from vaetl_helpers.training.loop import fit
from vaetl_helpers.training.schedules import one_cycle

SCHEDULE = partial(one_cycle, rise=0.02)
ASSETS = Path(__file__).parent.parent / "assets"
RECIPES = {
    "vae-mnist": {"latent": 50, "widths": [500, 500], "activation": "GELU", "skip": True},
    "vae-mnist-2d": {"latent": 2, "widths": [500, 500], "activation": "GELU", "skip": True},
}


def train(
    data: ImageSet,
    architecture: dict,
    epochs: int,
    rate: float,
    batch_size: int,
    seed: int = 0,
    **more,
) -> tuple[vae.VAE, History]:
    """Trains a VAE with dynamic binarisation by Adam and SCHEDULE; `more` goes to `fit`."""
    torch.manual_seed(seed)
    model = vae.mlp_vae(**architecture)
    adam = torch.optim.Adam(model.parameters(), rate, fused=True)
    more |= {"batch_size": batch_size, "optimizer": adam, "schedule": SCHEDULE, "seed": seed}
    history = fit(model, data, vae.vae_loss(), epochs=epochs, **more)
    return model.eval(), history


def quick_recipe(data: ImageSet, seed: int = 0, seconds: float = 120) -> tuple[vae.VAE, History]:
    """Below 100 nats (−L_500) on MNIST's test images after less than a minute on two free cores."""
    return train(
        data,
        RECIPES["vae-mnist"],
        epochs=8,
        rate=2e-3,
        batch_size=256,
        seed=seed,
        max_seconds=seconds,
    )


def fingerprint(data: ImageSet) -> str:
    """sha256 of the images, whatever their order: proves which ones a checkpoint was trained on."""
    return sha256(b"".join(sorted(image_hashes(data.images.squeeze(1).numpy())))).hexdigest()


def measure(model: vae.VAE, data: Splits, k: int, count: int) -> dict[str, float]:
    """−L_k in nats on `count` seeded test images, dynamically binarised, with its standard error over images."""
    bounds = -vae.held_out_bound(model, data.test.images, k, count)
    return {"bound": bounds.mean().item(), "standard_error": bounds.std().item() / len(bounds) ** 0.5,
            "k": k, "test_images": len(bounds)}  # fmt: skip


def main() -> None:
    """Trains, measures, and writes assets/NAME.safetensors."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", nargs="?", default="vae-mnist", choices=RECIPES)
    parser.add_argument(
        "--minutes", type=float, help="stop after so long (the same command continues)"
    )
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--paper", action="store_true", help="also L_5000 on all test images, as Burda et al. 2015"
    )
    parser.add_argument(
        "--work", type=Path, default=Path("runs"), help="where the state of training is kept"
    )
    options = parser.parse_args()
    data = load("mnist", full=True)
    if "embedded" in data.source:
        raise CourseError("The full MNIST is needed: point VAETL_DATA at it.")
    model, history = train(
        data.train, RECIPES[options.name], options.epochs, options.rate, options.batch_size, options.seed,
        validation=data.validation,
        checkpoint=options.work / f"{options.name}.training.safetensors",
        max_seconds=60 * options.minutes if options.minutes else None,
    )  # fmt: skip
    if len(history) < options.epochs:
        return
    facts = measure(model, data, k=500, count=1000) | {
        "paper": measure(model, data, k=5000, count=10_000) if options.paper else None,
        "command": "python -m vaetl_helpers.authoring.pretrain_vae " + shlex.join(sys.argv[1:]),
        "architecture": RECIPES[options.name],
        "data": f"{data.source}: trained on the {len(data.train):,}, dynamically binarised",
        "fingerprint": fingerprint(data.train),
        "seed": options.seed,
        "epochs": len(history),
        "validation_loss": history["validation_loss"][-1],
        "machine": f"{os.cpu_count()} CPU cores, {torch.get_num_threads()} used",
        "date": datetime.date.today().isoformat(),
        "versions": versions(),
    }
    save_checkpoint(ASSETS / f"{options.name}.safetensors", model, **facts)
    print(facts)


if __name__ == "__main__":
    main()
