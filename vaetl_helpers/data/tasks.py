"""The running example of chapters 4 and 5: a source task, a related target task, and a model that learned the source.

The source models are small checkpoints of our own (see authoring/pretrain_source.py); no image of a target task was
used to train them. What an animal's picture is for follows from its hash, whatever the order of a download.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vaetl_helpers.data.files import Dataset, evidence_of, find_arrays, search_places
from vaetl_helpers.data.images import ImageSet, Splits, image_hashes
from vaetl_helpers.data.readers import Arrays, read_class_folders
from vaetl_helpers.data.registry import entry, load
from vaetl_helpers.errors import CourseError, unknown_name_error
from vaetl_helpers.nets import transfer_cnn
from vaetl_helpers.output import emit
from vaetl_helpers.recorded import packaged_weights

CLASSES = {  # source classes and target classes, the shared one first
    "tops": (("pullover", "coat"), ("pullover", "shirt")),
    "dresses": (("dress", "coat"), ("dress", "shirt")),
    "animals": (("dog", "cat"), ("dog", "fox")),
    "wolves": (
        ("dog", "cat"),
        ("wolf", "fox"),
    ),  # a control: both target classes come from the same collection
}
ANIMALS = ("cat", "dog", "fox", "wolf")


@dataclass(frozen=True)
class Task:
    """A target task with its disjoint sets, and images of the source classes that the source model has not seen.

    `pool`, `validation` and `test` hold the target classes, `rehearsal` and `source_test` the source's. Clothes of
    the shared class are in `pool` and `rehearsal` alike, and in `test` and `source_test`; no animal is in two sets.
    """

    name: str
    rehearsal: ImageSet
    source_test: ImageSet
    pool: ImageSet
    validation: ImageSet
    test: ImageSet
    source: str

    @property
    def keep(self) -> dict[int, int]:
        """{old row: new row} of the head's rows for classes that both tasks have."""
        old, new = self.rehearsal.classes, self.pool.classes
        return {old.index(name): number for number, name in enumerate(new) if name in old}


def available(root: Path | str | None = None) -> str:
    """ "animals" where their pictures are on this machine, otherwise "tops": what the task "auto" means."""
    places = [(item, place) for item in (_FOLDERS, *_CIFAR) for place in search_places(item, root)]
    found = {item.title for item, place in places if evidence_of(item, place)}
    return "animals" if _FOLDERS.title in found or len(found) == len(_CIFAR) else "tops"


def load_task(
    name: str = "auto", root: Path | str | None = None, device: torch.device | str = "cpu"
) -> Task:
    """Loads a task of CLASSES onto `device` and prints its sizes; "animals" and "wolves" may download CIFAR.

    Raises CourseError for an unknown name and where the pictures cannot be had.
    """
    name = available(root) if name == "auto" else name
    if name not in CLASSES:
        raise unknown_name_error("task", name, (*CLASSES, "auto"))
    old, new = CLASSES[name]
    parts = _clothes(old, new) if name in ("tops", "dresses") else _animals(old, new, root)
    sizes = "/".join(f"{len(parts[key]):,}" for key in ("pool", "validation", "test"))
    kind = "Fashion-MNIST, embedded" if name in ("tops", "dresses") else "CIFAR-10 and CIFAR-100"
    line = f"{name}: {' or '.join(old)} → {' or '.join(new)}; {kind}, target {sizes}"
    emit(line, "data", {"source": line})
    return Task(name, **{key: part.to(device) for key, part in parts.items()}, source=line)


def source_model(task: str) -> tuple[nn.Sequential, dict[str, Any]]:
    """The network that was trained on a task's source classes, in eval mode, and its facts: command, data, cost, …."""
    if task not in CLASSES:
        raise unknown_name_error("task", task, CLASSES)
    weights, facts = packaged_weights(f"source-{'animals' if task == 'wolves' else task}")
    model = transfer_cnn(**facts["architecture"])
    model.load_state_dict(weights)
    return model.eval(), facts


def source_data(task: str, root: Path | str | None = None) -> Splits:
    """What a source model learns from: train, validation and test images of its two classes, none of a target task."""
    old, new = CLASSES[task]
    if task == "animals":
        images = _animal_images(root)
        train, validation = (
            _labelled(old, [images[f"{c} train"][span] for c in old]) for span in _SOURCE
        )
        return Splits(train, validation, _animals(old, new, root)["source_test"], "CIFAR-10")
    full, known = load("fashion-mnist", full=True, root=root), load("fashion-mnist")
    if "embedded" in full.source:
        raise CourseError(
            "The full Fashion-MNIST is needed: install dataset-fashion-mnist, or set VAETL_DATA."
        )
    embedded = {
        h
        for part in (known.train, known.validation, known.test)
        for h in image_hashes(part.images.numpy())
    }
    fresh = [_without(part, embedded) for part in (full.train, full.validation)]
    train, validation = (pick(part, old) for part in fresh)
    return Splits(
        train, validation, pick(known.test, old), f"{full.source}, without the embedded images"
    )


def pick(images: ImageSet, classes: Sequence[str]) -> ImageSet:
    """The images of some classes, renumbered 0, 1, … in the given order."""
    numbers = torch.tensor([images.classes.index(name) for name in classes], device=images.device)
    chosen = torch.isin(images.labels, numbers)
    labels = (images.labels[chosen][:, None] == numbers).int().argmax(1)
    return ImageSet(images.images[chosen], labels, tuple(classes))


def _without(images: ImageSet, hashes: set[bytes]) -> ImageSet:
    keep = [digest not in hashes for digest in image_hashes(images.images.numpy())]
    return images.subset(torch.tensor(keep))


def _clothes(old: Sequence[str], new: Sequence[str]) -> dict[str, ImageSet]:
    data = load("fashion-mnist")
    target = {"pool": data.train, "validation": data.validation, "test": data.test}
    source = {"rehearsal": data.train, "source_test": data.test}
    parts = {key: pick(part, old) for key, part in source.items()} | {
        k: pick(part, new) for k, part in target.items()
    }
    few = [
        (parts["validation"].labels == number).nonzero().flatten()[:50]
        for number in range(len(new))
    ]
    return parts | {
        "validation": parts["validation"].subset(torch.cat(few))
    }  # as many as the animals have


# What of a class is for what, after sorting by hash. Source classes have 5,000 training images, target classes 500.
_SOURCE = slice(0, 3600), slice(3600, 4000)  # the source model's training and validation
_PARTS = {
    "pool": slice(4000, 4350),
    "validation": slice(4350, 4400),
    "rehearsal": slice(4400, 5000),
}
_FEW = {"pool": slice(0, 350), "validation": slice(350, 400), "test": slice(400, 500)}
_TEST = {
    "test": slice(0, 200),
    "source_test": slice(200, 1000),
}  # of the 1,000 official test cats and dogs


def _animals(
    old: Sequence[str], new: Sequence[str], root: Path | str | None
) -> dict[str, ImageSet]:
    images = _animal_images(root)

    def target(name: str, part: str) -> Tensor:
        if name in old:
            return (
                images[f"{name} test"][_TEST[part]]
                if part == "test"
                else images[f"{name} train"][_PARTS[part]]
            )
        few = images[f"{name} train"][
            _FEW[part]
        ]  # the official test set has 100: training foxes make it larger
        return torch.cat([few, images[f"{name} test"]]) if part == "test" else few

    parts = {
        part: _labelled(new, [target(name, part) for name in new])
        for part in ("pool", "validation", "test")
    }
    parts["rehearsal"] = _labelled(
        old, [images[f"{name} train"][_PARTS["rehearsal"]] for name in old]
    )
    parts["source_test"] = _labelled(
        old, [images[f"{name} test"][_TEST["source_test"]] for name in old]
    )
    return parts


def _labelled(classes: Sequence[str], images: list[Tensor]) -> ImageSet:
    labels = torch.cat([torch.full((len(part),), number) for number, part in enumerate(images)])
    return ImageSet(torch.cat(images), labels, tuple(classes))


def _animal_images(root: Path | str | None) -> dict[str, Tensor]:
    """uint8 [n, 3, 32, 32] for "cat train", "cat test", …, sorted by hash."""
    try:
        arrays = find_arrays(_FOLDERS, root)
    except FileNotFoundError:
        arrays = _from_torchvision(root)
    parts = {}
    for split, (images, labels) in arrays.items():
        for number, name in enumerate(ANIMALS):
            chosen = images[labels == number]
            parts[f"{name} {split}"] = torch.from_numpy(chosen[np.argsort(image_hashes(chosen))])
    return parts


def _from_torchvision(root: Path | str | None) -> Arrays:
    """The same from the whole CIFAR sets, which are downloaded where they are not here."""
    wanted = {
        "cifar10": {3: 0, 5: 1},
        "cifar100": {34: 2, 97: 3},
    }  # their number of cat, dog, fox, wolf → ours
    parts: dict[str, list[ImageSet]] = {"train": [], "test": []}
    for name, renumber in wanted.items():
        sets = load(name, full=True, root=root)
        for split, held in (("train", sets.train), ("train", sets.validation), ("test", sets.test)):
            for old, new in renumber.items():
                chosen = held.images[held.labels == old]
                parts[split].append(ImageSet(chosen, torch.full((len(chosen),), new), ANIMALS))
    return {
        split: (
            torch.cat([p.images for p in held]).numpy(),
            torch.cat([p.labels for p in held]).numpy(),
        )
        for split, held in parts.items()
    }


def _read_folders(folder: Path) -> Arrays:
    """Pictures as cifar10/{train,test}/{cat,dog} and cifar100/{train,test}/{fox,wolf}."""
    if not folder.is_dir():
        raise FileNotFoundError(folder)
    parts = {}
    for split in ("train", "test"):
        pairs = [
            read_class_folders(folder.parent / name / split, 32) for name in ("cifar10", "cifar100")
        ]
        (first, labels, names), (second, more, others) = pairs
        if (*names, *others) != ANIMALS:
            raise CourseError(
                f"{folder.parent} holds {(*names, *others)}, not {ANIMALS}: name the class folders so."
            )
        parts[split] = np.concatenate([first, second]), np.concatenate([labels, more + 2])
    return parts


_FOLDERS = Dataset(
    "Cats, dogs, foxes and wolves of CIFAR", "none stated", {"cifar_cat_dog_fox_wolf.tar.gz": None}, (), ANIMALS,
    "cifar10", _read_folders,
)  # fmt: skip
_CIFAR = entry("cifar10"), entry("cifar100")
