"""Trains the detector of chapter 4c: `python -m vaetl_helpers.authoring.assets.pretrain_detector`.

It plays the part of a detector trained on COCO: nine of the ten garments of the embedded
Fashion-MNIST, all but the one that chapter 4c adds. It sees training images only. Nothing but the
package is needed; it takes some ten minutes.
"""

from __future__ import annotations

import argparse
import sys
import time

import torch

from vaetl_helpers.authoring.assets.facts import ASSETS, fingerprint, origin, this_machine
from vaetl_helpers.data.images import ImageSet
from vaetl_helpers.data.registry import load
from vaetl_helpers.detection import (
    Scenes,
    average_precision,
    compose,
    predict,
    small_detector,
    train,
)
from vaetl_helpers.output import say
from vaetl_helpers.training.checkpoints import save_checkpoint

NEW = 9  # ankle boot


def source_images(images: ImageSet) -> ImageSet:
    """All classes but the new one."""
    return images.subset(images.labels != NEW)


def source_scenes(split: str, count: int, seed: int) -> Scenes:
    """Scenes in which all nine classes are labelled, from one split of the embedded images."""
    clothes = getattr(load("fashion-mnist"), split)
    digits = getattr(load("mnist"), split)
    return compose(source_images(clothes), None, digits, count, seed)


def _options() -> argparse.Namespace:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("--scenes", type=int, default=8000)
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--size", type=int, default=8, help="scenes a step")
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def main() -> None:
    """Trains, measures, and writes assets/detector-scenes.safetensors."""
    options = _options()
    torch.set_flush_denormal(True)
    scenes = source_scenes("train", options.scenes, options.seed)
    test_scenes = source_scenes("test", 500, options.seed + 1)
    torch.manual_seed(options.seed)
    detector = small_detector(len(scenes.classes))
    started = time.monotonic()
    losses = train(detector, scenes, options.steps, options.rate, options.seed, options.size)
    seconds = time.monotonic() - started
    last_losses = losses[-100:]
    predictions = predict(detector, test_scenes.images)
    facts = {
        "data": f"{len(scenes):,} scenes of the embedded Fashion-MNIST training images without "
        "ankle boots, and MNIST training digits as clutter",
        "classes": scenes.classes,
        "fingerprint": fingerprint(source_images(load("fashion-mnist").train)),
        "seed": options.seed,
        "steps": options.steps,
        "scenes_a_step": options.size,
        "loss": sum(last_losses) / len(last_losses),
        "ap50": average_precision(predictions, test_scenes.targets),
        "test_scenes": len(test_scenes),
        "seconds": round(seconds),
    }
    facts |= origin("pretrain_detector", sys.argv[1:], this_machine())
    save_checkpoint(ASSETS / "detector-scenes.safetensors", detector, **facts)
    say(facts)


if __name__ == "__main__":
    main()
