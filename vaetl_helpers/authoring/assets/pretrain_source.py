"""Trains the source models of chapters 4 and 5.

    python -m vaetl_helpers.authoring.assets.pretrain_source TASK

TASK is tops, dresses or animals. With `--seed 1` to 9 it trains the further models of a task,
which differ in start and order, so that chapter 4 speaks of more than one of them. Needs the full
Fashion-MNIST, or CIFAR's cats and dogs (VAETL_DATA, see `vaetl data`). No image of a target task
takes part. What it cost is kept in the checkpoint, because chapter 4 asks who pays.
"""

from __future__ import annotations

import argparse
import sys

import torch
from torch import Tensor, nn

from vaetl_helpers.authoring.assets.facts import ASSETS, fingerprint, origin
from vaetl_helpers.data.tasks import source_data, source_name
from vaetl_helpers.hardware import count_flops
from vaetl_helpers.nets import transfer_cnn
from vaetl_helpers.output import say
from vaetl_helpers.training.checkpoints import save_checkpoint
from vaetl_helpers.training.evaluation import classification_loss, evaluate
from vaetl_helpers.training.loop import fit_best


def augmented_loss(
    model: nn.Module, images: Tensor, labels: Tensor
) -> tuple[Tensor, dict[str, Tensor]]:
    """Cross-entropy; in training, images are mirrored at random and shifted by up to 3 pixels."""
    if model.training:
        mirrored = torch.rand(len(images), 1, 1, 1, device=images.device) < 0.5
        images = torch.where(mirrored, images.flip(3), images)
        down, right = torch.randint(-3, 4, (2,)).tolist()
        images = images.roll((down, right), (2, 3))
    return classification_loss(model, images, labels)


def _options() -> argparse.Namespace:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("task", choices=("tops", "dresses", "animals"))
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def main() -> None:
    """Trains, measures, and writes assets/source-TASK.safetensors."""
    options = _options()
    torch.set_num_threads(1)  # as in the runs that it is compared with
    torch.set_flush_denormal(True)
    data = source_data(options.task)
    architecture = {"channels": data.train.images.shape[1], "classes": 2, "width": options.width}
    torch.manual_seed(options.seed)
    model = transfer_cnn(**architecture).to(memory_format=torch.channels_last)
    history = fit_best(
        model,
        data.train,
        data.validation,
        augmented_loss,
        optimizer=torch.optim.AdamW(
            model.parameters(), options.rate, weight_decay=0.01, fused=True
        ),
        epochs=options.epochs,
        patience=options.epochs,
        seed=options.seed,
        quiet=False,
    )
    images, labels = next(data.train.batches(100))
    flops_an_image = count_flops(model, images, labels) / len(labels)
    facts = {
        "architecture": architecture,
        "classes": data.train.classes,
        "data": f"{data.source}: {len(data.train):,} training and "
        f"{len(data.validation):,} validation images",
        "fingerprint": fingerprint(data.train),
        "seed": options.seed,
        "epochs": len(history),
        "steps": int(sum(history["steps"])),
        "seconds": sum(history["seconds"]),
        "flops": flops_an_image * sum(history["images"]),
        "validation_accuracy": evaluate(model, data.validation)["accuracy"],
        "test_accuracy": evaluate(model, data.test)["accuracy"],
    }
    facts |= origin("pretrain_source", sys.argv[1:], "one core of a x86-64 processor")
    save_checkpoint(
        ASSETS / f"{source_name(options.task, options.seed)}.safetensors", model, **facts
    )
    say(facts)


if __name__ == "__main__":
    main()
