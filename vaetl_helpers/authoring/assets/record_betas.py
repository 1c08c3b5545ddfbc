"""Records chapter 3b's dial: VAEs with two latents, each trained at another β.

    python -m vaetl_helpers.authoring.assets.record_betas --machine "two x86-64 cores, one thread"

Needs the full MNIST (VAETL_DATA, see `vaetl data`). All VAEs start from the same weights and see
the same batches; only β differs. It rises from 0 over the first two epochs, so that a collapse is
what the objective asks for and no accident of the first steps. What the dial shows is kept in
recorded/03b_betas.safetensors: rates and distortions, codes, reconstructions and samples. It can be
stopped at any time: the same command goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import sys
from itertools import permutations, product
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from vaetl_helpers import vae
from vaetl_helpers.authoring.assets.facts import RECORDED, fingerprint, origin
from vaetl_helpers.authoring.assets.pretrain_vae import short_rise
from vaetl_helpers.data.images import ImageSet, Splits
from vaetl_helpers.data.registry import load
from vaetl_helpers.errors import CourseError
from vaetl_helpers.output import say, write_whole
from vaetl_helpers.training.loop import fit

BETAS = (0.1, 0.3, 1, 2, 4, 6, 9, 13, 20, 30)
ARCHITECTURE: dict[str, Any] = {"latent": 2, "widths": [256, 256], "activation": "GELU"}
EPOCHS = 10
BATCH_SIZE = 256
RATE = 2e-3
SEED = 0
WARM_UP_EPOCHS = 2
SAMPLES = 10  # codes from the prior
ARRAYS = ("rate", "distortion", "means", "log_variances", "reconstructions", "samples")


def train(images: ImageSet, beta: float, work: Path) -> vae.VAE:
    """A VAE with two latents, trained at this β."""
    torch.manual_seed(SEED)
    model = vae.mlp_vae(**ARCHITECTURE)
    fit(
        model,
        images,
        vae.vae_loss(beta, warm_up_images=WARM_UP_EPOCHS * len(images)),
        epochs=EPOCHS,
        batch_size=BATCH_SIZE,
        optimizer=torch.optim.Adam(model.parameters(), RATE, fused=True),
        schedule=short_rise,
        seed=SEED,
        checkpoint=work / f"beta-{beta:g}.training.safetensors",
    )
    return model.eval()


@torch.no_grad()
def measure(
    model: vae.VAE, images: ImageSet, shown: ImageSet, prior_codes: Tensor
) -> dict[str, Tensor]:
    """Rate [latent] and distortion in nats on `images`, and what the dial shows of this VAE.

    Each image gets one code; binarisation and noise are the same for every VAE. The codes of the
    digits `shown` are those of grey ones, which do not change from draw to draw.
    """
    generator = torch.Generator().manual_seed(SEED)
    x = vae.binarise(images.images.float() / 255, "dynamic", generator)
    noise = torch.randn(len(x), prior_codes.shape[1], generator=generator)
    terms = vae.elbo(model, x, noise)
    grey = shown.images.float() / 255
    ten = one_of_each_class(shown.labels)
    return {
        "rate": terms.kl.mean(0),
        "distortion": -terms.log_px.mean(),
        "means": model.encode(grey).mean,
        "log_variances": model.encode(grey[ten]).log_var,
        "reconstructions": model.reconstruct(grey[ten]),
        "samples": model.picture(prior_codes),
    }


def one_of_each_class(labels: Tensor) -> Tensor:
    """The first row of each class."""
    return torch.stack([(labels == label).nonzero()[0, 0] for label in labels.unique()])


def symmetries() -> list[Tensor]:
    """The eight ways to swap and mirror two latents, as matrices [2, 2].

    They change neither the prior nor the kind of q, so a VAE stays as good under each of them.
    """
    matrices = []
    for order in permutations(range(2)):
        for signs in product((1.0, -1.0), repeat=2):
            matrices.append(torch.diag(torch.tensor(signs))[list(order)])
    return matrices


def turned_towards(means: Tensor, neighbour: Tensor) -> Tensor:
    """The symmetry under which these codes [n, 2] lie nearest to the neighbour's."""
    distances = [(means @ matrix.T - neighbour).square().sum() for matrix in symmetries()]
    return symmetries()[int(torch.stack(distances).argmin())]


def record(data: Splits, shown: ImageSet, work: Path) -> dict[str, Tensor]:
    """The arrays of the dial, a row for each β; each plane is turned towards that before it."""
    generator = torch.Generator().manual_seed(SEED)
    prior_codes = torch.randn(SAMPLES, 2, generator=generator)
    rows: list[dict[str, Tensor]] = []
    for beta in BETAS:
        model = train(data.train, beta, work)
        row = measure(model, data.validation, shown, prior_codes)
        if rows:
            turn = turned_towards(row["means"], rows[-1]["means"])
            row = measure(model, data.validation, shown, prior_codes @ turn)
            row["means"] = row["means"] @ turn.T
            for name in ("rate", "log_variances"):
                row[name] = row[name] @ turn.abs().T
        rows.append(row)
        say(f"β = {beta:g}: rate {row['rate'].tolist()}, distortion {row['distortion']:.1f}")
    arrays = {name: torch.stack([row[name] for row in rows]) for name in ARRAYS}
    ten = one_of_each_class(shown.labels)
    arrays |= {
        "prior_codes": prior_codes,
        "labels": shown.labels,
        "rows": ten,
        "originals": shown.images[ten].float() / 255,
    }
    return {name: as_stored(name, array) for name, array in arrays.items()}


def as_stored(name: str, array: Tensor) -> Tensor:
    """Pictures in 256 levels, codes in half precision, what is measured as it is."""
    if name in ("reconstructions", "samples", "originals"):
        return (255 * array.squeeze(-3)).round().to(torch.uint8).contiguous()
    if name in ("labels", "rows"):
        return array.to(torch.int16)
    return array.half() if name in ("means", "log_variances") else array.float()


def main() -> None:
    """Trains, measures, and writes recorded/03b_betas.safetensors."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--machine", required=True, help="a few words on the machine")
    parser.add_argument("--work", type=Path, default=Path("runs"), help="where training is kept")
    options = parser.parse_args()
    torch.set_num_threads(1)
    data = load("mnist", full=True)
    if "embedded" in data.source:
        raise CourseError("The full MNIST is needed: point VAETL_DATA at it.")
    shown = load("mnist").validation  # the package's own digits, none of them trained on
    arrays = record(data, shown, options.work)
    facts = {
        "betas": BETAS,
        "architecture": ARCHITECTURE,
        "epochs": EPOCHS,
        "batch_size": BATCH_SIZE,
        "rate": RATE,
        "seed": SEED,
        "warm_up_epochs": WARM_UP_EPOCHS,
        "data": f"{data.source}: trained on the {len(data.train):,}, dynamically binarised",
        "fingerprint": fingerprint(data.train),
        "images": len(data.validation),
    }
    facts |= origin("record_betas", sys.argv[1:], options.machine)
    path = RECORDED / "03b_betas.safetensors"
    write_whole(path, save(arrays, {"vaetl": json.dumps(facts)}))
    say(f"{path.name}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
