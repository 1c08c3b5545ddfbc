"""Records which pretraining helps, everything else being the same: chapter 5's recorded night.

    python -m vaetl_helpers.authoring.assets.record_pretraining --root DATA --out runs/pretraining

One convolutional encoder is trained on the source's cats and dogs in seven ways, or not at all, and
then tells dogs or wolves from foxes with few labels: fine-tuned, by a linear probe and by an SVM on
its codes. A probe and an SVM on the features of a network that was trained on ImageNet stand beside
them. All ways see as many images, in batches of one size, with one optimiser and schedule. Every
pair of seeds has encoders of its own. What is finished is kept in the folder, and the same call
goes on, also with more `--pairs`. The tables are kept as recorded/05_pretraining_TARGET.csv and
.npz, the effects as recorded/05_vae_transfer_learning_pretraining.json.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vaetl_helpers import nets, study, transfer, vae, vae_transfer
from vaetl_helpers.authoring.assets.facts import RECORDED, origin
from vaetl_helpers.data import tasks
from vaetl_helpers.data.images import ImageSet, Splits
from vaetl_helpers.output import record_id, say, write_whole
from vaetl_helpers.study.draws import Draw
from vaetl_helpers.study.values import ENDING, write_values
from vaetl_helpers.training.loop import fit
from vaetl_helpers.training.schedules import one_cycle
from vaetl_helpers.tuned import Setting

SHAPE = (3, 32, 32)
LATENT, WIDTH = 128, 12  # 0.36 million weights up to μ
VIEWS, BATCH, RATE = 100_000, 128, 1e-3
NOISE = 0.15  # of the denoising autoencoder, as a standard deviation of levels in [0, 1]
TEMPERATURE, PROJECTED = 0.5, 64  # of SimCLR
FIRST_SEED = 640_000
TARGETS = {"animals": "dog or fox", "wolves": "wolf or fox"}
USES = ("fine-tuned", "probe", "SVM")
LABELS = (10, 20, 100, 200)  # of both classes together
SETTING = Setting(3e-3, 600)


def encoder_and_decoder(seed: int) -> tuple[nets.Encoder, nn.Sequential]:
    """The network of every way, with fresh weights."""
    torch.manual_seed(seed)
    return nets.conv_encoder(LATENT, WIDTH, SHAPE), nets.conv_decoder(LATENT, WIDTH, SHAPE)


class Coder(nn.Module):
    """An encoder, and what its way of pretraining puts behind it."""

    def __init__(self, encoder: nets.Encoder, behind: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.behind = behind

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        mu, log_var = self.encoder(images)
        return mu, log_var


Loss = Callable[[Any, Tensor, Tensor], Tensor]  # of a Coder, images and labels


def vae_loss(beta: float) -> Loss:
    """−ELBO in nats per image, of a Gaussian whose variance is the best one for the batch.

    One variance for all pixels, which has a closed form (Rybkin et al. 2021, arXiv 2006.13202).
    """

    def loss(model: Coder, images: Tensor, labels: Tensor) -> Tensor:
        mu, log_var = model(images)
        log_var = log_var.clamp(*vae.LOG_VAR_RANGE)
        z = mu + (0.5 * log_var).exp() * torch.randn_like(mu)
        error = (model.behind(z).sigmoid() - images).square().mean()
        pixels = images[0].numel()
        reconstruction = 0.5 * pixels * error.log()
        return reconstruction + beta * vae.kl(mu, log_var).mean()

    return loss


def autoencoder_loss(noise: float) -> Loss:
    """Squared error per image, of images to which noise was added first."""

    def loss(model: Coder, images: Tensor, labels: Tensor) -> Tensor:
        seen = images + noise * torch.randn_like(images) if noise else images
        mu, _ = model(seen)
        return (model.behind(mu).sigmoid() - images).square().flatten(1).sum(1).mean()

    return loss


def supervised_loss(model: Coder, images: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of the source's labels."""
    mu, _ = model(images)
    return F.cross_entropy(model.behind(mu), labels)


def simclr_loss(model: Coder, images: Tensor, labels: Tensor) -> Tensor:
    """NT-Xent of two views of each image (Chen et al. 2020, arXiv 2002.05709, eq. 1)."""
    views = torch.cat([view_of(images), view_of(images)])
    mu, _ = model(views)
    z = F.normalize(model.behind(mu), dim=1)
    likeness = z @ z.T / TEMPERATURE
    likeness.fill_diagonal_(float("-inf"))
    partner = torch.arange(len(z)).roll(len(images)).to(z.device)
    return F.cross_entropy(likeness, partner)


def view_of(images: Tensor) -> Tensor:
    """A random view of each image: part of it, perhaps mirrored, in other colours or grey."""
    count = len(images)
    scale = 0.6 + 0.4 * torch.rand(count)
    mirror = torch.where(torch.rand(count) < 0.5, -1.0, 1.0)
    shift = (2 * torch.rand(count, 2) - 1) * (1 - scale)[:, None]
    grid = torch.zeros(count, 2, 3)
    grid[:, 0, 0], grid[:, 1, 1] = scale * mirror, scale
    grid[:, :, 2] = shift
    where = F.affine_grid(grid.to(images), list(images.shape), align_corners=False)
    seen = F.grid_sample(images, where, padding_mode="reflection", align_corners=False)
    contrast = 0.6 + 0.8 * torch.rand(count, 1, 1, 1)
    channels = 0.8 + 0.4 * torch.rand(count, 3, 1, 1)
    middle = seen.mean((1, 2, 3), keepdim=True)
    seen = ((seen - middle) * contrast.to(seen) + middle) * channels.to(seen)
    is_grey = (torch.rand(count, 1, 1, 1) < 0.2).to(seen.device)
    seen = torch.where(is_grey, seen.mean(1, keepdim=True).expand_as(seen), seen)
    return seen.clamp(0, 1)


def projection() -> nn.Sequential:
    """What SimCLR compares in place of the codes."""
    return nn.Sequential(nn.Linear(LATENT, LATENT), nn.ReLU(), nn.Linear(LATENT, PROJECTED))


# Of each way: its loss, and what stands behind the encoder, made of the decoder.
WAYS: dict[str, tuple[Loss, Callable[[nn.Module], nn.Module]]] = {
    "VAE, β = 1": (vae_loss(1.0), lambda decoder: decoder),
    "VAE, β = 0.1": (vae_loss(0.1), lambda decoder: decoder),
    "autoencoder": (autoencoder_loss(0.0), lambda decoder: decoder),
    "denoising autoencoder": (autoencoder_loss(NOISE), lambda decoder: decoder),
    "SimCLR": (simclr_loss, lambda decoder: projection()),
    "supervised": (supervised_loss, lambda decoder: nn.Linear(LATENT, 2)),
}
UNTRAINED = "no pretraining"


def pretrained(
    way: str, source: ImageSet, seed: int, kept: Path, views: int = VIEWS
) -> vae_transfer.Pretrained:
    """The encoder of a way and a seed; a training that was cut off goes on from the folder."""
    encoder, decoder = encoder_and_decoder(seed)
    if way == UNTRAINED:
        return vae_transfer.Pretrained(encoder.eval(), seconds=0.0, steps=0)
    loss, behind = WAYS[way]
    model = Coder(encoder, behind(decoder))
    history = fit(
        model,
        source,
        loss,
        epochs=max(1, round(views / len(source))),
        batch_size=BATCH,
        optimizer=torch.optim.Adam(model.parameters(), RATE, fused=True),
        schedule=one_cycle,
        seed=seed,
        quiet=True,
        checkpoint=kept / f"{record_id('05', way).replace('/', '-')}-{seed}.safetensors",
    )
    steps = int(sum(history["steps"]))
    return vae_transfer.Pretrained(encoder.eval(), history.seconds, steps)


def fixed_features(
    target: Splits, of_set: dict[str, Tensor], images: ImageSet, draw: Draw
) -> Tensor:
    """Features that were computed before, as `vae_transfer.probe` asks for them."""
    if images is target.validation:
        return of_set["validation"]
    if images is target.test:
        return of_set["test"]
    return of_set["train"][draw.indices]


def imagenet_features(target: Splits) -> dict[str, Tensor]:
    """What a network that was trained on ImageNet makes of a target's images."""
    large = transfer.backbone("efficientnet-lite0")
    sets = {"train": target.train, "validation": target.validation, "test": target.test}
    return {name: transfer.features(large, images) for name, images in sets.items()}


Classify = Callable[[Draw], dict[str, Any]]


def methods(
    target: Splits, encoders: dict[str, vae_transfer.InitialEncoders], large: dict[str, Tensor]
) -> list[study.Method]:
    """Each way fine-tuned, with a probe and with an SVM; and ImageNet's features."""
    made = []
    views = {"ImageNet": partial(fixed_features, target, large)}
    settings = {"setting": list(SETTING)}
    for way, by_seed in encoders.items():
        tune = partial(
            vae_transfer.fine_tuned, target, by_seed, rate=SETTING.rate, steps=SETTING.steps
        )
        made.append(study.Method(f"{way}, fine-tuned", tune, settings, batched=True))
        views[way] = partial(vae_transfer.mu_of, by_seed)
    for way, view in views.items():
        for name, kind in (("probe", "linear"), ("SVM", "SVM")):
            classify: Classify = partial(vae_transfer.probe, target, view, kind=kind)
            made.append(study.Method(f"{way}, {name}", classify))
    return made


def target_of(name: str, root: Path | None) -> Splits:
    """A task's sets as a study takes them."""
    task = tasks.load_task(name, root)
    return Splits(task.pool, task.validation, task.test, task.source)


def run(
    names: Sequence[str], pairs: int, root: Path | None, out: Path, views: int = VIEWS
) -> dict[str, study.Table]:
    """Pretrains for each pair of seeds, then runs the studies of the targets."""
    source = tasks.source_data("animals", root).train
    seeds = [FIRST_SEED + number for number in range(pairs)]
    encoders: dict[str, vae_transfer.InitialEncoders] = {}
    started = time.monotonic()
    for number, way in enumerate((UNTRAINED, *WAYS)):
        encoders[way] = {
            seed: pretrained(way, source, seed, out / "encoders", views) for seed in seeds
        }
        minutes = (time.monotonic() - started) / 60
        left = minutes / max(number, 1) * (len(WAYS) - number)
        say(f"{way}: {pairs} encoders, {minutes:.1f} min so far, about {left:.0f} to go")
    tables = {}
    for name in names:
        target = target_of(name, root)
        tables[name] = study.run_study(
            f"pretraining: {name}",
            methods(target, encoders, imagenet_features(target)),
            LABELS,
            pairs,
            labels=target.train.labels,
            data=name,
            seed=FIRST_SEED,
            pretrain_seeds=seeds,
            out=out / f"05_pretraining_{name}.csv",
            jobs=1,
        )
    return tables


def effects(table: study.Table, name: str) -> list[dict[str, Any]]:
    """By how many points each way is ahead of no pretraining in each use, and ImageNet's probe and
    the VAE's SVM of what the source's labels teach.
    """
    pairs = [(f"{way}, {use}", f"{UNTRAINED}, {use}") for use in USES for way in WAYS]
    for one in ("ImageNet, probe", "VAE, β = 1, SVM"):
        pairs.append((one, "supervised, fine-tuned"))
    records = []
    for count in table.known("labels"):
        for a, b in pairs:
            effect = study.paired(table, a, b, "test accuracy", count)
            id = record_id("05", "pretraining", (a, b), f"{count} labels")
            title = f"test accuracy, {a} − {b}, {count} labels"
            record = effect.to_record(title, "points", id=id, data=TARGETS[name])
            records.append({"chapter": "05", **record})
    return records


def keep(tables: dict[str, study.Table], command: Sequence[str], **notes: str) -> None:
    """Writes the tables with their values, and the effects; `notes` say what else is known."""
    records = []
    for name, table in tables.items():
        table.write(RECORDED / f"05_pretraining_{name}.csv")
        write_values(RECORDED / f"05_pretraining_{name}{ENDING}", table.images)
        records += effects(table, name)
    content = origin("record_pretraining", command, "two x86-64 cores") | notes
    content["records"] = records
    path = RECORDED / "05_vae_transfer_learning_pretraining.json"
    write_whole(path, json.dumps(content, indent=1) + "\n")


def main() -> None:
    """Runs the studies and keeps their tables."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("targets", nargs="*", default=list(TARGETS))
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--root", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs/pretraining"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    tables = run(options.targets, options.pairs, options.root, options.out)
    keep(tables, [*options.targets, "--pairs", str(options.pairs)])
    for name, table in tables.items():
        for method in table.known("method"):
            means = (f"{table.mean(method, 'test accuracy', n):.1f}" for n in LABELS)
            say(f"{name}: {method}: {', '.join(means)} %")


if __name__ == "__main__":
    main()
