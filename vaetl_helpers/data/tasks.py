"""The running example of chapters 4 and 5: a source task, a related target task, a source model.

The source models are small checkpoints of our own (see authoring/pretrain_source.py); no image of a
target task was used to train them. What an animal's picture is for follows from its hash, whatever
the order of a download.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from vaetl_helpers.data.files import Dataset, evidence_of, find_arrays, search_places
from vaetl_helpers.data.images import ImageSet, Splits, image_hashes
from vaetl_helpers.data.own import name_of, own_pictures
from vaetl_helpers.data.pictures import find_pictures
from vaetl_helpers.data.readers import Arrays, read_class_folders
from vaetl_helpers.data.registry import CIFAR10, CIFAR100, load
from vaetl_helpers.errors import CourseError, unknown_name_error
from vaetl_helpers.nets import transfer_cnn
from vaetl_helpers.output import emit, say
from vaetl_helpers.recorded import packaged_weights

CLASSES = {  # source classes and target classes, the shared one at the front
    "tops": (("pullover", "coat"), ("pullover", "shirt")),
    "dresses": (("dress", "coat"), ("dress", "shirt")),
    "animals": (("dog", "cat"), ("dog", "fox")),
    # Pairs without a shared class; of the wolves and foxes both come from the same collection, too.
    "shirts": (("pullover", "coat"), ("T-shirt", "shirt")),
    "wolves": (("dog", "cat"), ("wolf", "fox")),
}
CLOTHES = ("tops", "dresses", "shirts")
SAME_SOURCE = {"shirts": "tops", "wolves": "animals"}  # tasks that start from another one's models
MODELS = 10  # source models of each of MANY_MODELS; the other task has one
MANY_MODELS = ("tops", "animals")
ANIMALS = ("cat", "dog", "fox", "wolf")
VALIDATION_SIZE = 50  # images a class, of clothes as of animals


@dataclass(frozen=True)
class Task:
    """A target task with its disjoint sets, and images of the source classes, new to its model.

    `pool`, `validation` and `test` hold the target classes, `rehearsal` and `source_test` the
    source's. Clothes of the shared class are in `pool` and `rehearsal` alike, and in `test` and
    `source_test`; no animal is in two sets. `source_task` names the task whose source models it
    starts from: another one's where `is_own`, the target being somebody's own pictures.
    """

    name: str
    rehearsal: ImageSet
    source_test: ImageSet
    pool: ImageSet
    validation: ImageSet
    test: ImageSet
    source: str
    source_task: str
    is_own: bool = False

    @property
    def keep(self) -> dict[int, int]:
        """{old row: new row} of the head's rows for classes that both tasks have."""
        source_classes = self.rehearsal.classes
        rows = {}
        for new_row, name in enumerate(self.pool.classes):
            if name in source_classes:
                rows[source_classes.index(name)] = new_row
        return rows

    def counts(self, wanted: Sequence[int]) -> list[int]:
        """The numbers of labels a class, of those wanted, that can be drawn twice from the pool.

        Says which are left out; where none is left, it is half of the pool.
        """
        if not self.is_own:
            return list(wanted)
        half = int(self.pool.labels.bincount().min()) // 2
        possible = [count for count in wanted if count <= half]
        if len(possible) < len(wanted):
            possible = possible or [half]
            say(
                f"At most {half} labels a class can be drawn twice from your pictures, so the "
                f"studies run with {', '.join(map(str, possible))}: more need more pictures."
            )
        return possible


def available(root: Path | str | None = None) -> str:
    """ "animals" where their pictures are on this machine, otherwise "tops": what "auto" means."""
    has_both_cifars = _is_here(CIFAR10, root) and _is_here(CIFAR100, root)
    if _is_here(ANIMAL_FOLDERS, root) or has_both_cifars:
        return "animals"
    return "tops"


def _is_here(item: Dataset, root: Path | str | None) -> bool:
    return any(evidence_of(item, place) for place in search_places(item, root))


def load_task(
    name: str = "auto", root: Path | str | None = None, device: torch.device | str = "cpu"
) -> Task:
    """Loads a task of CLASSES onto `device`, prints its sizes; animals may download CIFAR.

    "auto" downloads nothing: where its animals cannot be read, it says so and takes the clothes.
    The path of a folder or a zip file makes a task of the pictures in it, see `own_task`. Raises
    CourseError for an unknown name and where the pictures cannot be had.
    """
    if name == "auto":
        name, sets = _sets_on_this_machine(root)
    elif name in CLASSES:
        sets = _sets(name, root, download=True)
    elif is_place(name):
        return own_task(name, root, device)
    else:
        unknown = unknown_name_error("task", name, (*CLASSES, "auto"))
        raise CourseError(f"{unknown} Your own pictures are named by their path, ./{name}.")
    old, new = CLASSES[name]
    collection = "Fashion-MNIST, embedded" if name in CLOTHES else "CIFAR-10 and CIFAR-100"
    sizes = "/".join(f"{len(sets[purpose]):,}" for purpose in ("pool", "validation", "test"))
    classes = f"{' or '.join(old)} → {' or '.join(new)}"
    line = f"{name}: {classes}; {collection}, target {sizes}"
    emit(line, "data", {"source": line})
    on_device: dict[str, Any] = {purpose: one.to(device) for purpose, one in sets.items()}
    return Task(name, **on_device, source=line, source_task=name)


def _sets_on_this_machine(root: Path | str | None) -> tuple[str, dict[str, ImageSet]]:
    name = available(root)
    try:
        return name, _sets(name, root, download=False)
    except CourseError as error:
        if name in CLOTHES:
            raise
        say(f"{error} Until then clothes are used.")
        return "tops", _sets("tops", root, download=False)


def _sets(name: str, root: Path | str | None, download: bool) -> dict[str, ImageSet]:
    old, new = CLASSES[name]
    if name in CLOTHES:
        return _clothes(old, new)
    return _animals(old, new, animal_images(root, download))


# ---------------------------------------------------------------- your own pictures

FEWEST_OF_OWN = 24  # pictures of a class: 12 to draw labels from, 4 to validate, 8 to test
OWN_PARTS = {"pool": (0, 3), "validation": (3, 4), "test": (4, 6)}  # in sixths
OWN_SIZES = {"animals": 32, "tops": 28}  # pixels a side, as each source model has learned


def is_place(name: str) -> bool:
    """Whether the name of a task is the path of a folder or of a zip file."""
    return "/" in name or "\\" in name or name.endswith(".zip") or Path(name).is_dir()


def own_task(place: str, root: Path | str | None, device: torch.device | str) -> Task:
    """A task of somebody's own pictures, FOLDER/CLASS/PICTURE, with a source that is not related.

    The source is that of "auto". Of each class the first half in the order of names is the pool,
    the next sixth validates and the rest tests, so that most bursts stay in one part. Raises
    CourseError for fewer than FEWEST_OF_OWN pictures of a class, and as `own_pictures` does.
    """
    source_task, sets = _sets_on_this_machine(root)
    pictures = own_pictures(place, OWN_SIZES[source_task], most=None)
    counts = pictures.images.labels.bincount().tolist()
    for name, count in zip(pictures.images.classes, counts, strict=True):
        if count < FEWEST_OF_OWN:
            raise CourseError(
                f"There are {count} pictures of {name}, and chapter 4 needs {FEWEST_OF_OWN} of "
                "each class, to draw labels from, to validate and to test: take more, or run "
                "chapter 4d, which does with ten."
            )
    for purpose, sixths in OWN_PARTS.items():
        sets[purpose] = pictures.images.subset(_part_of_each(counts, sixths))
    on_device = {}
    for purpose, images in sets.items():
        colours = images.images.expand(-1, 3, -1, -1)
        on_device[purpose] = ImageSet(colours, images.labels, images.classes).to(device)
    old, size = sets["rehearsal"].classes, OWN_SIZES[source_task]
    say(
        f"No source model is related to your pictures, so one that tells {' from '.join(old)} "
        f"stands in, and they are read at {size} × {size} pixels. What zero labels, a shared row "
        "of the head and the saving of a related source are worth cannot be shown with them: see "
        "the recorded numbers. The study on your pictures is `vaetl run 04a -p task=…`, and "
        "chapter 4e has the network that most people would reuse."
    )
    name = re.sub(r"[^\w.-]+", "_", f"own {name_of(place)}")  # of a folder of tables, too
    return Task(name, **on_device, source=pictures.source, source_task=source_task, is_own=True)


def _part_of_each(counts: Sequence[int], sixths: tuple[int, int]) -> Tensor:
    """The rows of a part of each class, where the rows stand class by class."""
    rows, start = [], 0
    for count in counts:
        first, last = (count * part // 6 for part in sixths)
        rows.append(torch.arange(start + first, start + last))
        start += count
    return torch.cat(rows)


# ---------------------------------------------------------------- what was learned before


def source_models(task: Task) -> list[tuple[nn.Sequential, dict[str, Any]]]:
    """All source models of a task with their facts, for images with as many channels as its own."""
    models = []
    for number in range(number_of_models(task.source_task)):
        model, facts = source_model(task.source_task, number)
        if task.pool.images.shape[1] > facts["architecture"]["channels"]:
            model = _for_colour(model)
        models.append((model, facts))
    return models


def _for_colour(model: nn.Sequential) -> nn.Sequential:
    """The same network for three channels: it makes of a picture what it makes of their mean."""
    coloured = copy.deepcopy(model)
    filters = coloured.get_submodule("block1.0")
    assert isinstance(filters, nn.Conv2d)
    weight = filters.weight.detach().expand(-1, 3, -1, -1) / 3
    filters.weight = nn.Parameter(weight.clone())
    filters.in_channels = 3
    return coloured


def source_name(task: str, number: int = 0) -> str:
    """The name of a packaged source model; the first one has no number."""
    return f"source-{task}-{number}" if number else f"source-{task}"


def number_of_models(task: str) -> int:
    """How many source models a task has, which differ in start and order."""
    return MODELS if SAME_SOURCE.get(task, task) in MANY_MODELS else 1


def source_model(task: str, number: int = 0) -> tuple[nn.Sequential, dict[str, Any]]:
    """The network trained on a task's source classes, in eval mode, and its facts.

    `number`: which of the MODELS that differ in start and order; the facts are the command, the
    data, the cost and the like. Raises CourseError for an unknown task, and a number too large.
    """
    if task not in CLASSES:
        raise unknown_name_error("task", task, CLASSES)
    of_task = SAME_SOURCE.get(task, task)
    known = range(number_of_models(task))
    if number not in known:
        raise CourseError(
            f"Of {of_task} there are the source models {list(known)}, not {number}: take one of "
            "them."
        )
    weights, facts = packaged_weights(source_name(of_task, number))
    model = transfer_cnn(**facts["architecture"])
    model.load_state_dict(weights)
    return model.eval(), facts


def source_data(task: str, root: Path | str | None = None) -> Splits:
    """What a source model learns from: its two classes, and no image of a target task.

    Raises CourseError where the full Fashion-MNIST, which the clothes need, is not here.
    """
    classes, _ = CLASSES[task]
    if task == "animals":
        animals = animal_images(root)
        return Splits(
            train=_source_set(animals, classes, "train"),
            validation=_source_set(animals, classes, "validation"),
            test=_source_set(animals, classes, "test"),
            source="CIFAR-10",
        )
    full = load("fashion-mnist", full=True, root=root)
    embedded = load("fashion-mnist")
    if "embedded" in full.source:
        raise CourseError(
            "The full Fashion-MNIST is needed: install dataset-fashion-mnist, or set VAETL_DATA."
        )
    hashes: set[bytes] = set()
    for split in (embedded.train, embedded.validation, embedded.test):
        hashes.update(image_hashes(split.images.numpy()))
    return Splits(
        train=pick(_without(full.train, hashes), classes),
        validation=pick(_without(full.validation, hashes), classes),
        test=pick(embedded.test, classes),
        source=f"{full.source}, without the embedded images",
    )


def _without(images: ImageSet, hashes: set[bytes]) -> ImageSet:
    digests = image_hashes(images.images.numpy())
    return images.subset(torch.tensor([digest not in hashes for digest in digests]))


# ---------------------------------------------------------------- clothes


def pick(images: ImageSet, classes: Sequence[str]) -> ImageSet:
    """The images of some classes, renumbered 0, 1, … in the order of `classes`."""
    numbers = torch.tensor([images.classes.index(name) for name in classes], device=images.device)
    rows = torch.isin(images.labels, numbers)
    is_class = images.labels[rows].unsqueeze(1) == numbers
    return ImageSet(images.images[rows], is_class.int().argmax(1), tuple(classes))


def _clothes(old: Sequence[str], new: Sequence[str]) -> dict[str, ImageSet]:
    data = load("fashion-mnist")
    return {
        "rehearsal": pick(data.train, old),
        "source_test": pick(data.test, old),
        "pool": pick(data.train, new),
        "validation": _head_of_each_class(pick(data.validation, new), VALIDATION_SIZE),
        "test": pick(data.test, new),
    }


def _head_of_each_class(images: ImageSet, count: int) -> ImageSet:
    rows = []
    for label in range(len(images.classes)):
        of_class = (images.labels == label).nonzero().flatten()
        rows.append(of_class[:count])
    return images.subset(torch.cat(rows))


# ---------------------------------------------------------------- animals


class Span(NamedTuple):
    """Some images of a class, which are sorted by hash: rows of its "train" or "test" images."""

    split: str
    rows: slice


# What the images of a class are for: one of the source task alone or of both tasks (5,000 training
# and 1,000 test images), or one of the target task alone (500 and 100).
SOURCE_SPANS = {
    "train": Span("train", slice(0, 3600)),
    "validation": Span("train", slice(3600, 4000)),
    "rehearsal": Span("train", slice(4400, 5000)),
    "test": Span("test", slice(200, 1000)),
}
SHARED_SPANS = {
    "pool": Span("train", slice(4000, 4350)),
    "validation": Span("train", slice(4350, 4400)),
    "test": Span("test", slice(0, 200)),
}
TARGET_SPANS = {
    "pool": Span("train", slice(0, 350)),
    "validation": Span("train", slice(350, 400)),
    "test": Span("train", slice(400, 500)),  # and the 100 of the official test set
}


def _animals(
    old: Sequence[str], new: Sequence[str], images: dict[str, Tensor]
) -> dict[str, ImageSet]:
    sets = {
        "rehearsal": _source_set(images, old, "rehearsal"),
        "source_test": _source_set(images, old, "test"),
    }
    for purpose in TARGET_SPANS:
        rows = []
        for name in new:
            if name in old:
                rows.append(_rows_of(images, name, SHARED_SPANS[purpose]))
            else:
                rows.append(_target_rows(images, name, purpose))
        sets[purpose] = _labelled(new, rows)
    return sets


def _source_set(images: dict[str, Tensor], classes: Sequence[str], purpose: str) -> ImageSet:
    span = SOURCE_SPANS[purpose]
    return _labelled(classes, [_rows_of(images, name, span) for name in classes])


def _target_rows(images: dict[str, Tensor], name: str, purpose: str) -> Tensor:
    rows = _rows_of(images, name, TARGET_SPANS[purpose])
    if purpose == "test":
        return torch.cat([rows, images[f"{name} test"]])
    return rows


def _rows_of(images: dict[str, Tensor], name: str, span: Span) -> Tensor:
    return images[f"{name} {span.split}"][span.rows]


def _labelled(classes: Sequence[str], images: list[Tensor]) -> ImageSet:
    counts = torch.tensor([len(of_class) for of_class in images])
    labels = torch.arange(len(images)).repeat_interleave(counts)
    return ImageSet(torch.cat(images), labels, tuple(classes))


def animal_images(root: Path | str | None, download: bool = True) -> dict[str, Tensor]:
    """uint8 [n, 3, 32, 32] for "cat train", "cat test", …, sorted by hash.

    From the data root's folders of pictures, or from the whole CIFAR sets, which are downloaded
    where they are not here, unless `download` is False. Raises CourseError where they cannot be
    had.
    """
    try:
        arrays = find_arrays(ANIMAL_FOLDERS, root)
    except FileNotFoundError:
        arrays = _animals_of_cifar(root, download)
    images_by_class = {}
    for split, (images, labels) in arrays.items():
        for number, name in enumerate(ANIMALS):
            of_class = images[labels == number]
            order = np.argsort(image_hashes(of_class))
            images_by_class[f"{name} {split}"] = torch.from_numpy(of_class[order])
    return images_by_class


# {CIFAR's number of a class: ours}, for cat and dog, fox and wolf.
CIFAR10_NUMBERS = {3: 0, 5: 1}
CIFAR100_NUMBERS = {34: 2, 97: 3}


def _animals_of_cifar(root: Path | str | None, download: bool) -> Arrays:
    collections = [
        (load("cifar10", full=True, root=root, download=download), CIFAR10_NUMBERS),
        (load("cifar100", full=True, root=root, download=download), CIFAR100_NUMBERS),
    ]
    train, test = [], []
    for splits, numbers in collections:
        for cifar_number, number in numbers.items():
            train.append(_renumbered(splits.train, cifar_number, number))
            train.append(_renumbered(splits.validation, cifar_number, number))
            test.append(_renumbered(splits.test, cifar_number, number))
    return {"train": _joined(train), "test": _joined(test)}


def _renumbered(images: ImageSet, cifar_number: int, number: int) -> tuple[Tensor, Tensor]:
    of_class = images.images[images.labels == cifar_number]
    return of_class, torch.full((len(of_class),), number)


def _joined(pairs: list[tuple[Tensor, Tensor]]) -> tuple[np.ndarray, np.ndarray]:
    images = torch.cat([images for images, _ in pairs])
    labels = torch.cat([labels for _, labels in pairs])
    return images.numpy(), labels.numpy()


# What the pictures are for follows from their hashes, so that others would not do.
ANIMALS_FINGERPRINT = "46ec1a4b17e96bd54a3c74fcf4f17e7231406c65c7f3564fd02dc6e9d05d91be"


def has_animals(folder: Path) -> bool:
    """Whether cifar10/{train,test} and cifar100 beside it hold the animals, and nothing else."""
    try:
        return all(_classes_of(folder.parent, split) == ANIMALS for split in ("train", "test"))
    except OSError:
        return False


def _classes_of(root: Path, split: str) -> tuple[str, ...]:
    pets = find_pictures(root / "cifar10" / split)
    wild = find_pictures(root / "cifar100" / split)
    return pets.classes + wild.classes


def read_animal_folders(folder: Path) -> Arrays:
    """Reads pictures as cifar10/{train,test}/{cat,dog} and cifar100/{train,test}/{fox,wolf}.

    Raises FileNotFoundError where these folders are not there, and CourseError for other class
    folders and where the pictures are not CIFAR's.
    """
    root = folder.parent
    arrays = {}
    digests = []
    for split in ("train", "test"):
        names = _classes_of(root, split)
        if names != ANIMALS:
            raise CourseError(f"{root} holds {names}, not {ANIMALS}: name the class folders so.")
        pets, pet_labels, pet_names = read_class_folders(root / "cifar10" / split, 32)
        wild, wild_labels, _ = read_class_folders(root / "cifar100" / split, 32)
        images = np.concatenate([pets, wild])
        labels = np.concatenate([pet_labels, wild_labels + len(pet_names)])
        arrays[split] = (images, labels)
        digests += image_hashes(images)
    if sha256(b"".join(sorted(digests))).hexdigest() != ANIMALS_FINGERPRINT:
        raise CourseError(
            f"{root} does not hold CIFAR's cats, dogs, foxes and wolves, all of them and pixel by "
            "pixel: put them there, or rename the folder cifar10."
        )
    return arrays


ANIMAL_FOLDERS = Dataset(
    title="Cats, dogs, foxes and wolves of CIFAR",
    licence="none stated",
    files={"cifar_cat_dog_fox_wolf.tar.gz": None},
    mirrors=(),
    classes=ANIMALS,
    folder="cifar10",
    read=read_animal_folders,
    holds=has_animals,
)
