"""Trains the detector that comes with the course: `python -m vaetl_helpers.authoring.pretrain_detector`.

It plays the part of a detector trained on COCO: nine of the ten garments of the embedded Fashion-MNIST, all but the
one that chapter 4c adds. It sees training images only. Nothing but the package is needed; it takes some ten minutes.
"""

from __future__ import annotations

import argparse
import datetime
import os
import shlex
import sys
import time

import torch

from vaetl_helpers.authoring.pretrain_vae import ASSETS, fingerprint
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
from vaetl_helpers.settings import versions
from vaetl_helpers.training.checkpoints import save_checkpoint

NEW = 9  # ankle boot


def source_images(images: ImageSet) -> ImageSet:
    """All classes but the new one."""
    return images.subset(images.labels != NEW)


def source_scenes(split: str, count: int, seed: int) -> Scenes:
    """Scenes in which all nine classes are labelled, from one split of the embedded images."""
    clothes, digits = (getattr(load(name), split) for name in ("fashion-mnist", "mnist"))
    return compose(source_images(clothes), None, digits, count, seed)


def main() -> None:
    """Trains, measures, and writes assets/detector-scenes.safetensors."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scenes", type=int, default=8000)
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--size", type=int, default=8, help="scenes a step")
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_flush_denormal(True)
    scenes, held_out = (
        source_scenes("train", options.scenes, options.seed),
        source_scenes("test", 500, options.seed + 1),
    )
    torch.manual_seed(options.seed)
    detector = small_detector(len(scenes.classes))
    started = time.monotonic()
    losses = train(detector, scenes, options.steps, options.rate, options.seed, options.size)
    seconds = time.monotonic() - started
    facts = {
        "command": f"python -m vaetl_helpers.authoring.pretrain_detector {shlex.join(sys.argv[1:])}".strip(),
        "data": f"{len(scenes):,} scenes of the embedded Fashion-MNIST training images without ankle boots, and MNIST "
        "training digits as clutter",
        "classes": scenes.classes,
        "fingerprint": fingerprint(source_images(load("fashion-mnist").train)),
        "seed": options.seed,
        "steps": options.steps,
        "scenes_a_step": options.size,
        "loss": sum(losses[-100:]) / len(losses[-100:]),
        "ap50": average_precision(predict(detector, held_out.images), held_out.targets),
        "test_scenes": len(held_out),
        "seconds": round(seconds),
        "machine": f"{os.cpu_count()} CPU cores, {torch.get_num_threads()} used",
        "date": datetime.date.today().isoformat(),
        "versions": versions(),
    }
    save_checkpoint(ASSETS / "detector-scenes.safetensors", detector, **facts)
    print(facts)


if __name__ == "__main__":
    main()
