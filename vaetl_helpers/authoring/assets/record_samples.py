"""Records whether a VAE invents better digits than an autoencoder.

    python -m vaetl_helpers.authoring.assets.record_samples --root DATA --machine "two x86-64 cores"

Both have chapter 3a's layers, optimiser and epochs, and are trained from the same seeds. Invented
digits are judged by a convolutional classifier of real ones: by their Fréchet distance to test
images in its last hidden layer, and by its confidence. Codes of the autoencoder are drawn from a
Gaussian that is fitted to its codes, with a diagonal and with a full covariance. What comes out is
kept in recorded/03_variational_autoencoder_samples.json.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vaetl_helpers import nets, study, vae
from vaetl_helpers.authoring.assets.facts import RECORDED, origin
from vaetl_helpers.authoring.assets.pretrain_autoencoder import squared_error
from vaetl_helpers.data.images import ImageSet, Splits
from vaetl_helpers.data.registry import load
from vaetl_helpers.output import record, record_id, say, write_whole
from vaetl_helpers.samples import frechet_distance, gaussian_codes, judged
from vaetl_helpers.training.evaluation import classification_loss, evaluate
from vaetl_helpers.training.loop import fit
from vaetl_helpers.training.schedules import one_cycle

LATENT = 20
IMAGES = 1000  # invented ones of each seed, and as many real ones
FIRST_SEED = 500_000
WAYS = ("autoencoder", "autoencoder, full covariance", "VAE", "VAE, full covariance")


@dataclass(frozen=True)
class Plan:
    """How the networks of a data set are trained, and how many of them."""

    full: bool
    epochs: int
    batch_size: int
    seeds: int


PLANS = (
    Plan(full=False, epochs=60, batch_size=64, seeds=20),  # profile cpu of chapter 3a
    Plan(full=True, epochs=15, batch_size=128, seeds=10),
)


def train(model: nn.Module, images: ImageSet, loss: Callable[..., Any], plan: Plan, seed: int):
    """Trains as chapter 3a does."""
    adam = torch.optim.Adam(model.parameters(), lr=2e-3, fused=True)
    fit(
        model,
        images,
        loss,
        epochs=plan.epochs,
        batch_size=plan.batch_size,
        optimizer=adam,
        seed=seed,
        quiet=True,
    )
    return model.eval()


def autoencoder(seed: int) -> nn.Sequential:
    """Chapter 3a's autoencoder: encoder and decoder."""
    torch.manual_seed(seed)
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(784, 400), nn.ReLU(), nn.Linear(400, LATENT))
    decoder = nn.Sequential(
        nn.Linear(LATENT, 400), nn.ReLU(), nn.Linear(400, 784), nn.Unflatten(1, (1, 28, 28))
    )
    return nn.Sequential(encoder, decoder)


def judge_of(digits: Splits) -> nn.Sequential:
    """A classifier of real digits, trained on all of them."""
    torch.manual_seed(FIRST_SEED)
    model = nets.small_cnn()
    adam = torch.optim.Adam(model.parameters(), lr=2e-3, fused=True)
    fit(
        model,
        digits.train,
        classification_loss,
        epochs=4,
        batch_size=128,
        optimizer=adam,
        schedule=one_cycle,
        seed=FIRST_SEED,
        quiet=True,
    )
    say(f"judge: {100 * evaluate(model, digits.test, classification_loss)['accuracy']:.2f} %")
    return model.eval()


@torch.no_grad()
def invented(data: Splits, plan: Plan, seed: int) -> dict[str, Tensor]:
    """Images in [0, 1] that networks of this seed invent, by how their codes are drawn."""
    with torch.enable_grad():
        plain = train(autoencoder(seed), data.train, squared_error, plan, seed)
        torch.manual_seed(seed)
        model = train(vae.mlp_vae(LATENT), data.train, vae.vae_loss(), plan, seed)
    encoder, decoder = plain
    generator = torch.Generator().manual_seed(seed)
    pixels = data.train.images.float() / 255
    codes, means = encoder(pixels), model.encode(vae.binarise(pixels, "dynamic", generator))
    sampled = means.sample(generator=generator)
    drawn = {
        WAYS[0]: decoder(gaussian_codes(codes, IMAGES, generator)).sigmoid(),
        WAYS[1]: decoder(gaussian_codes(codes, IMAGES, generator, full=True)).sigmoid(),
        WAYS[2]: model.sample(IMAGES, generator),
        WAYS[3]: model.picture(gaussian_codes(sampled, IMAGES, generator, full=True)),
    }
    return {way: images.reshape(-1, 1, 28, 28) for way, images in drawn.items()}


def measure(judge: nn.Sequential, images: Tensor, real: Tensor) -> tuple[float, float]:
    """Fréchet distance to real images' features, and mean confidence in per cent."""
    features, confidence = judged(judge, images)
    return frechet_distance(features, real), 100 * confidence.mean().item()


def records_of(name: str, distances: dict[str, list[float]], confidences: dict[str, list[float]]):
    """Means by way, and the comparisons with the VAE, of one data set."""
    made = []
    for way in WAYS:
        for measure_name, unit, values in (
            ("Fréchet distance", "", distances[way]),
            ("confidence", "%", confidences[way]),
        ):
            effect = study.effect_of(values)
            id = record_id("03", measure_name.replace("é", "e"), way)
            made.append(effect.to_record(f"{measure_name}, {way}", unit, id=id, data=name))
    for way in (*WAYS[:2], WAYS[3]):
        ratios = np.log(distances[way]) - np.log(distances["VAE"])
        id = record_id("03", "frechet ratio", (way, "VAE"))
        made.append(
            study.effect_of(ratios).to_record(
                f"Fréchet distance, {way} ÷ VAE", "times", id=id, data=name
            )
        )
        points = np.subtract(confidences["VAE"], confidences[way])
        id = record_id("03", "confidence", ("VAE", way))
        made.append(
            study.effect_of(points).to_record(
                f"confidence, VAE − {way}", "points", id=id, data=name
            )
        )
    return made


def main() -> None:
    """Trains, judges and records."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("--root", type=Path)
    parser.add_argument("--machine", default="one core of a x86-64 processor")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    whole = load("mnist", full=True, root=options.root)
    judge = judge_of(whole)
    real, _ = judged(judge, whole.test.images[:IMAGES].float() / 255)
    others, sure = judged(judge, whole.test.images[IMAGES : 2 * IMAGES].float() / 255)
    floor = frechet_distance(others, real)
    made = [
        record("Fréchet distance, other real digits", floor, id="03/frechet_distance/real"),
        record("confidence, real digits", 100 * sure.mean().item(), "%", id="03/confidence/real"),
    ]
    for plan in PLANS:
        data = whole if plan.full else load("mnist")
        name = f"MNIST, {'full' if plan.full else 'embedded'}"
        distances: dict[str, list[float]] = {way: [] for way in WAYS}
        confidences: dict[str, list[float]] = {way: [] for way in WAYS}
        for seed in range(FIRST_SEED, FIRST_SEED + plan.seeds):
            for way, images in invented(data, plan, seed).items():
                distance, confidence = measure(judge, images, real)
                distances[way].append(distance)
                confidences[way].append(confidence)
            last = ", ".join(f"{way} {distances[way][-1]:.0f}" for way in WAYS)
            say(f"{name}, seed {seed}: {last}")
        made += records_of(name, distances, confidences)
    content = origin("record_samples", [], options.machine) | {"records": made}
    path = RECORDED / "03_variational_autoencoder_samples.json"
    write_whole(path, json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
