"""Records what each change to M1+M2 is worth at 100 labels, down to the recipe of its authors.

    python -m vaetl_helpers.authoring.assets.record_stacked --root DATA --out runs/stacked

M2 is trained on codes of the packaged VAE, of all of MNIST, with 100 labels. The recipes go from
what this course recorded first to the authors' (Kingma et al. 2014, and their published code), a
change at a time, on the same five draws of labels. The study goes on after a kill; the table and
its values by pass are kept as recorded/05b_stacked.csv and .npz.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vaetl_helpers import m2, nets, study, vae
from vaetl_helpers.authoring.assets.facts import RECORDED
from vaetl_helpers.data.images import ImageSet
from vaetl_helpers.data.registry import load
from vaetl_helpers.output import say
from vaetl_helpers.study.draws import Draw
from vaetl_helpers.study.values import ENDING, write_values

LABELS, DRAWS = 100, 5
CLASSES, STYLE, WIDTH = 10, 50, 300  # those of the authors' code
BATCH, RATE = 100, 1e-3
ALONE = 150  # steps on the labels alone, with which the recipes in stages begin


@dataclass(frozen=True)
class Recipe:
    """How M2 is trained on codes; the defaults are what the authors' code does."""

    passes: int
    dropout: bool = False
    learned_variance: bool = True
    stages: bool = False  # the labels alone first, then the decoder without style for one pass
    alpha: float = 0.1  # of the cross-entropy
    with_labelled_bound: bool = True


FIRST = Recipe(
    20,
    dropout=True,
    learned_variance=False,
    stages=True,
    alpha=1.0,
    with_labelled_bound=False,
)
RECIPES = {
    "as recorded first": FIRST,
    "without dropout": Recipe(
        20, learned_variance=False, stages=True, alpha=1.0, with_labelled_bound=False
    ),
    "and a learned variance": Recipe(20, stages=True, alpha=1.0, with_labelled_bound=False),
    "and the authors' loss": Recipe(100),
}


@dataclass(frozen=True)
class Codes:
    """What the VAE makes of images: means and standard deviations [images, latent], and labels."""

    mean: Tensor
    spread: Tensor
    labels: Tensor

    def sample(self, rows: Tensor) -> Tensor:
        """Codes of these rows, drawn anew: [rows, 1, 1, latent], an image each."""
        mean = self.mean[rows]
        drawn = mean + self.spread[rows] * torch.randn_like(mean)
        return drawn[:, None, None]


@torch.no_grad()
def encoded(model: vae.VAE, images: ImageSet) -> Codes:
    """The posteriors of grey images."""
    batches = [model.encode(x) for x, _ in images.batches(1000)]
    mean = torch.cat([q.mean for q in batches])
    log_var = torch.cat([q.log_var for q in batches])
    return Codes(mean, (0.5 * log_var).exp(), images.labels)


def classifier(size: int, recipe: Recipe) -> nn.Module:
    """q(y|x), with dropout or without."""
    if not recipe.dropout:
        return nets.mlp_classifier(WIDTH, size, CLASSES)
    first, last = nn.Linear(size, WIDTH), nn.Linear(WIDTH, CLASSES)
    return nn.Sequential(nn.Flatten(), nn.Dropout(0.2), first, nn.ReLU(), nn.Dropout(0.5), last)


def new_model(size: int, recipe: Recipe) -> m2.M2:
    """M2 on codes of this size."""
    return m2.M2(
        CLASSES,
        STYLE,
        WIDTH,
        (1, 1, size),
        gaussian_log_var=-1.0,
        classifier=classifier(size, recipe),
        learned_variance=recipe.learned_variance,
    )


def passes(
    model: m2.M2, codes: Codes, labelled: Tensor, recipe: Recipe, seed: int
) -> Iterator[None]:
    """Trains, and yields after the labels alone and after each pass over the codes."""
    adam = torch.optim.Adam(model.parameters(), RATE, fused=True)
    if recipe.stages:
        for _ in range(ALONE):
            adam.zero_grad()
            logits = model.classify(codes.sample(labelled))
            F.cross_entropy(logits, codes.labels[labelled]).backward()
            adam.step()
        nn.init.zeros_(model.z_to_hidden.weight)  # the decoder does not see z
    yield
    generator = torch.Generator().manual_seed(seed)
    for number in range(recipe.passes):
        is_without_style = recipe.stages and number == 0
        model.z_to_hidden.requires_grad_(not is_without_style)
        order = torch.randperm(len(codes.mean), generator=generator)
        for rows in order.split(BATCH):
            adam.zero_grad()
            _loss(model, codes, rows, labelled, recipe).backward()
            adam.step()
        yield


def _loss(model: m2.M2, codes: Codes, rows: Tensor, labelled: Tensor, recipe: Recipe) -> Tensor:
    """Equation 9 in nats per image: U + labelled share · L + α · cross-entropy."""
    loss = -model.unlabelled_bound(codes.sample(rows)).mean()
    x, y = codes.sample(labelled), codes.labels[labelled]
    if recipe.with_labelled_bound:
        share = len(labelled) / len(codes.mean)
        bound = model.labelled_bound(x, F.one_hot(y, CLASSES).to(x)).mean()
        loss = loss - share * bound
    return loss + recipe.alpha * F.cross_entropy(model.classify(x), y)


@torch.no_grad()
def right(model: m2.M2, codes: Codes) -> Tensor:
    """Which means q(y|x) gives their label: bool [images]."""
    model.eval()
    answers = model.classify(codes.mean[:, None, None]).argmax(1)
    model.train()
    return answers == codes.labels


def run(train: Codes, test: Codes, recipe: Recipe, draw: Draw) -> dict[str, Any]:
    """A training on one draw of labels: accuracies by pass, and by image at the end."""
    torch.manual_seed(draw.seed)
    model = new_model(train.mean.shape[1], recipe)
    curve = []
    for _ in passes(model, train, draw.indices, recipe, draw.seed):
        correct = right(model, test)
        curve.append(100 * correct.float().mean())
    return {"test accuracy": correct, "test accuracy by pass": torch.stack(curve)}


def packaged_codes(root: Path | None) -> tuple[Codes, Codes]:
    """Codes of MNIST's training and test images by the packaged VAE, without unused latents."""
    digits = load("mnist", full=True, root=root)
    model, _ = vae.pretrained("vae-mnist")
    with torch.no_grad():
        black_and_white = vae.binarise(digits.validation.images / 255, "static")
        used = vae.active_units(model.encode(black_and_white).mean)
    model = vae.keep_latents(model, used).requires_grad_(False)
    return encoded(model, digits.train), encoded(model, digits.test)


def study_of(
    train: Codes, test: Codes, recipes: dict[str, Recipe], out: Path, jobs: int, draws: int = DRAWS
) -> study.Table:
    """The study of all recipes, on the same draws."""
    run_of: Callable[..., Any] = partial(run, train, test)
    methods = [
        study.Method(name, partial(run_of, recipe), asdict(recipe))
        for name, recipe in recipes.items()
    ]
    return study.run_study(
        "m2",
        methods,
        [LABELS],
        draws,
        labels=train.labels,
        data="MNIST, full",
        seed=0,
        pretrain_seeds=[0],  # one VAE for all
        out=out,
        jobs=jobs,
    )


def main() -> None:
    """Runs the study and keeps its table."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("--root", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs/stacked"))
    parser.add_argument("--jobs", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    train, test = packaged_codes(options.root)
    table = study_of(train, test, RECIPES, options.out / "05b_stacked.csv", options.jobs)
    table.write(RECORDED / "05b_stacked.csv")
    write_values(RECORDED / f"05b_stacked{ENDING}", table.images)
    for name in RECIPES:
        errors = [100 - x for x in table.values(name, "test accuracy", LABELS).values()]
        say(name, "{:.2f} [{:.2f}, {:.2f}] %".format(*study.mean_interval(errors)))


if __name__ == "__main__":
    main()
