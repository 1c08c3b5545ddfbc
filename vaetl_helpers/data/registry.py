"""The data sets of the course, and loading one of them."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import numpy as np
import torch

from vaetl_helpers.data.files import (
    Dataset,
    cache_dir,
    evidence_of,
    fetch_file,
    find_arrays,
    is_idx,
    read_from,
    search_places,
    unwritable_error,
)
from vaetl_helpers.data.images import ImageSet, Splits, image_hashes
from vaetl_helpers.data.readers import (
    Arrays,
    read_cifar,
    read_class_folders,
    read_mnist,
    read_photos,
    read_text,
)
from vaetl_helpers.errors import CourseError, unknown_name_error
from vaetl_helpers.output import emit


def load_folder(folder: Path | str, size: int = 32, device: torch.device | str = "cpu") -> Splits:
    """Loads your own pictures, laid out as FOLDER/{train,validation,test}/CLASS/PICTURE, as [n, 3, size, size].

    Raises CourseError where a folder is missing, a picture cannot be read or the splits name other classes.
    """
    parts: dict[str, ImageSet] = {}
    for split in ("train", "validation", "test"):
        try:
            parts[split] = ImageSet(*read_class_folders(Path(folder) / split, size))
        except OSError as error:
            raise CourseError(
                f"{Path(folder) / split} must hold one folder a class, with pictures in it: {error}."
            ) from error
    if len({part.classes for part in parts.values()}) > 1:
        raise CourseError(
            f"train, validation and test under {folder} must hold the same class folders."
        )
    sizes = "/".join(f"{len(part):,}" for part in parts.values())
    return _announce(Splits(**parts, source=f"{Path(folder).name}, folder {sizes}"), device)


_IDX = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)
_MNIST_MD5 = (
    "f68b3c2dcbeaaa9fbdd348bbdeb94873",
    "d53e105ee54ea40749a09fcbcd1e9432",
    "9fb629c4189551a2d022fa330f9573f3",
    "ec29112dd5afa0611ce80d1b7f02629c",
)
_FASHION_MD5 = (
    "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    "25c81989df183df01b3e8a0aad5dffbe",
    "bef4ecab320f06d8554ea6380940ec79",
    "bb300cfdad3c16e7a12a480ee83cd310",
)
_CIFAR10 = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
DATASETS: dict[str, Dataset] = {
    "fashion-mnist": Dataset(
        "Fashion-MNIST",
        "MIT",
        dict(zip(_IDX, ("md5:" + h for h in _FASHION_MD5), strict=True)),
        ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",),
        (
            "T-shirt",
            "trouser",
            "pullover",
            "dress",
            "coat",
            "sandal",
            "shirt",
            "sneaker",
            "bag",
            "ankle boot",
        ),
        "FashionMNIST/raw",
        read_mnist,
        (Path("/usr/share/datasets/fashion-mnist"),),
        "fashion-mnist.npz",
        begins=(9, 0, 0, 3),
    ),
    "mnist": Dataset(
        "MNIST",
        "CC BY-SA 3.0",
        dict(zip(_IDX, ("md5:" + h for h in _MNIST_MD5), strict=True)),
        ("https://ossci-datasets.s3.amazonaws.com/mnist/", "http://yann.lecun.com/exdb/mnist/"),
        tuple("0123456789"),
        "MNIST/raw",
        read_mnist,
        (),
        "mnist.npz",
        begins=(5, 0, 4, 1),
    ),
    "cifar10": Dataset(
        "CIFAR-10",
        "none stated",
        {"cifar-10-python.tar.gz": "md5:c58f30108f718f92721af3b95e74349a"},
        ("https://www.cs.toronto.edu/~kriz/",),
        _CIFAR10,
        "cifar-10-batches-py",
        read_cifar("CIFAR10"),
    ),
    "cifar100": Dataset(
        "CIFAR-100",
        "none stated",
        {"cifar-100-python.tar.gz": "md5:eb9058c3a382ffc7106e4002c42a8d85"},
        ("https://www.cs.toronto.edu/~kriz/",),
        tuple(map(str, range(100))),
        "cifar-100-python",
        read_cifar("CIFAR100"),
    ),
    "ants-bees": Dataset(
        "Ants and bees",
        "photos from ImageNet",
        {"hymenoptera_data.zip": None, "hymenoptera_256.tar": None},
        ("https://download.pytorch.org/tutorial/",),
        ("ant", "bee"),
        "hymenoptera_data",
        read_photos,
    ),
    "sentence-polarity": Dataset(
        "Sentence polarity",
        "none stated",
        {"rt-polaritydata.tar.gz": None},
        ("https://www.cs.cornell.edu/people/pabo/movie-review-data/",),
        ("negative", "positive"),
        "text/rt-polarity.pos",
        read_text,
    ),
}


def entry(name: str) -> Dataset:
    """The registry's entry for `name`; CourseError with the near match where there is none."""
    if name not in DATASETS:
        raise unknown_name_error("data set", name, DATASETS)
    return DATASETS[name]


def fetch(name: str, root: Path | str | None = None) -> Path:
    """Downloads a data set into the cache (or `root`) with checks and a progress bar; returns its folder.

    A file that is there but damaged is set aside as FILE.damaged, never overwritten. Raises CourseError where
    no mirror answers, the hash is wrong after three tries, or the folder cannot be written.
    """
    item = entry(name)
    place = Path(root).absolute() if root else cache_dir()
    folder = place / item.folder if is_idx(item) else place
    archives = {f: h for f, h in item.files.items() if h} or dict([next(iter(item.files.items()))])
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for archive, known in archives.items():
            fetch_file(item, folder, archive, known)
    except OSError as error:
        raise unwritable_error(folder, error) from error
    return folder


def load(
    name: str,
    full: bool = False,
    root: Path | str | None = None,
    device: torch.device | str = "cpu",
) -> Splits:
    """Loads a data set onto `device` and prints which one: the embedded subset, or with `full` the whole set.

    A whole set that cannot be had falls back to the embedded subset with one line. Raises CourseError for an
    unknown name, and where there is neither.
    """
    item = entry(name)
    if item.read is read_text:
        item.read(Path())
    if item.embedded and not full:
        return _announce(_embedded(item), device)
    try:
        try:
            arrays = find_arrays(item, root)
        except FileNotFoundError:
            fetch(name)
            arrays = read_from(item, cache_dir())
        return _announce(_full(item, arrays), device)
    except (CourseError, FileNotFoundError) as error:
        if not item.embedded:
            raise (
                error
                if isinstance(error, CourseError)
                else CourseError(f"{item.title} is not there.")
            ) from error
        print(f"{error} Until then the embedded {item.title} images are used.")
        return _announce(_embedded(item), device)


def _announce(splits: Splits, device: torch.device | str) -> Splits:
    emit(splits.source, "data", {"source": splits.source})
    return splits.to(device)


def _embedded(item: Dataset) -> Splits:
    path = resources.files("vaetl_helpers").joinpath("assets", str(item.embedded))
    with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
        parts = {
            split: ImageSet(stored[f"{split}_images"], stored[f"{split}_labels"], item.classes)
            for split in ("train", "validation", "test")
        }
    return Splits(**parts, source=_line(item, "embedded", parts))


def _line(item: Dataset, kind: str, parts: dict[str, ImageSet]) -> str:
    return f"{item.title}, {kind} " + "/".join(f"{len(part):,}" for part in parts.values())


def _full(item: Dataset, arrays: Arrays, validation_size: float = 1 / 12) -> Splits:
    """The published test set, and the published training set split in two, always in the same way.

    Embedded images that the embedded subset does not train on are put into validation, so that a model trained on
    the full training split has never seen them.
    """
    images, labels = arrays["train"]
    held_out = np.zeros(len(images), bool)
    if item.embedded:
        kept_back = _embedded(item)
        known = {
            h
            for part in (kept_back.validation, kept_back.test)
            for h in image_hashes(part.images.squeeze(1).numpy())
        }
        held_out = np.array([digest in known for digest in image_hashes(images)])
    wanted = round(len(images) * validation_size) - held_out.sum()
    free = np.flatnonzero(~held_out)
    held_out[np.random.default_rng(0).permutation(free)[: max(0, wanted)]] = True
    parts = {
        "train": ImageSet(images[~held_out], labels[~held_out], item.classes),
        "validation": ImageSet(images[held_out], labels[held_out], item.classes),
        "test": ImageSet(*arrays["test"], item.classes),
    }
    return Splits(**parts, source=_line(item, "full", parts))


def where(root: Path | str | None = None) -> list[dict[str, str]]:
    """One row a data set for `vaetl data`: name, status, path, licence and how to get it."""
    rows = []
    for name, item in DATASETS.items():
        found = [sign for place in search_places(item, root) if (sign := evidence_of(item, place))]
        status = "full set" if found else "embedded subset" if item.embedded else "not here"
        path = str(found[0]) if found else "in the package" if item.embedded else ""
        how = "" if found else f"vaetl data fetch {name}"
        rows.append(
            {
                "name": name,
                "status": status,
                "path": path,
                "licence": item.licence,
                "how_to_get": how,
            }
        )
    return rows
