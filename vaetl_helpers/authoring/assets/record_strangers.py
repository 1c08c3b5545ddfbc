"""Records what a VAE of clothes has to pay for digits, and one of digits for clothes.

    python -m vaetl_helpers.authoring.assets.record_strangers --machine "two x86-64 cores"

Both have chapter 3c's layers and optimiser, and are trained on the package's images, as many epochs
as the chapter trains its VAE of clothes in the profile cpu. Each is asked for the bound of test
images of its own set and of the other one, made black and white by chance (Nalisnick et al. 2019,
arXiv 1810.09136). What comes out is kept in recorded/03_variational_autoencoder_strangers.json.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass

import torch
from torch import Tensor

from vaetl_helpers import study, vae
from vaetl_helpers.authoring.assets.facts import RECORDED, origin
from vaetl_helpers.data.images import ImageSet
from vaetl_helpers.data.registry import load
from vaetl_helpers.output import record_id, say, write_whole
from vaetl_helpers.training.loop import fit

LATENT = 20
EPOCHS = 20
SEEDS = 5
FIRST_SEED = 600_000


@dataclass(frozen=True)
class Plan:
    """A VAE of the images called `own`, and the strangers that it is shown."""

    own: str
    strangers: str
    dataset: str
    other_dataset: str
    data: str  # what records call the images


PLANS = (
    Plan("clothes", "digits", "fashion-mnist", "mnist", "Fashion-MNIST, embedded"),
    Plan("digits", "clothes", "mnist", "fashion-mnist", "MNIST, embedded"),
)


def trained(images: ImageSet, seed: int) -> vae.VAE:
    """A VAE as chapter 3c trains it."""
    torch.manual_seed(seed)
    model = vae.mlp_vae(LATENT)
    fit(
        model,
        images,
        vae.vae_loss(),
        epochs=EPOCHS,
        batch_size=64,
        optimizer=torch.optim.Adam(model.parameters(), lr=2e-3, fused=True),
        seed=seed,
        quiet=True,
    )
    return model.eval()


@torch.no_grad()
def costs(model: vae.VAE, images: ImageSet, seed: int) -> Tensor:
    """Minus the bound of each image [n] in nats, with one binarisation and one code."""
    generator = torch.Generator().manual_seed(seed)
    x = vae.binarise(images.images.float() / 255, "dynamic", generator)
    noise = torch.randn(len(x), LATENT, generator=generator)
    return -vae.elbo(model, x, noise).elbo


def mistaken(own: Tensor, strangers: Tensor) -> float:
    """In how many of a hundred pairs the stranger costs less than the image of the own set."""
    return 100 * (strangers[:, None] < own[None, :]).float().mean().item()


def records_of(plan: Plan) -> list[dict]:
    """Costs, their difference, and the mistaken pairs of one VAE, over seeds."""
    own = load(plan.dataset)
    others = load(plan.other_dataset)
    means: dict[str, list[float]] = {plan.own: [], plan.strangers: []}
    pairs = []
    for seed in range(FIRST_SEED, FIRST_SEED + SEEDS):
        model = trained(own.train, seed)
        of_own = costs(model, own.test, seed)
        of_strangers = costs(model, others.test, seed)
        means[plan.own].append(of_own.mean().item())
        means[plan.strangers].append(of_strangers.mean().item())
        pairs.append(mistaken(of_own, of_strangers))
        last = ", ".join(f"{name} {values[-1]:.1f}" for name, values in means.items())
        say(f"VAE of {plan.own}, seed {seed}: {last} nats; {pairs[-1]:.0f} of 100 pairs")
    differences = torch.tensor(means[plan.strangers]) - torch.tensor(means[plan.own])
    names = (plan.strangers, plan.own)
    made = [
        study.effect_of(values).to_record(
            f"cost of {name}, VAE of {plan.own}",
            "nats",
            id=record_id("03", "cost", name, f"VAE of {plan.own}"),
            data=plan.data,
        )
        for name, values in means.items()
    ]
    made.append(
        study.effect_of(differences.double()).to_record(
            f"cost, {plan.strangers} − {plan.own}, VAE of {plan.own}",
            "nats",
            id=record_id("03", "cost", names, f"VAE of {plan.own}"),
            data=plan.data,
        )
    )
    made.append(
        study.effect_of(pairs).to_record(
            f"{plan.strangers} that cost less than {plan.own}",
            "% of pairs",
            id=record_id("03", "mistaken", names, f"VAE of {plan.own}"),
            data=plan.data,
        )
    )
    return made


def main() -> None:
    """Trains, asks and records."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("--machine", default="one core of a x86-64 processor")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    made = [record for plan in PLANS for record in records_of(plan)]
    content = origin("record_strangers", [], options.machine) | {"records": made}
    path = RECORDED / "03_variational_autoencoder_strangers.json"
    write_whole(path, json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
