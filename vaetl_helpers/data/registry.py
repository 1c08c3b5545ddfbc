"""The data sets of the course, and loading one of them."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vaetl_helpers.data import files
from vaetl_helpers.data.files import Dataset
from vaetl_helpers.data.images import ImageSet, Splits, image_hashes
from vaetl_helpers.data.pictures import ClassFolders, PictureReader, find_pictures
from vaetl_helpers.data.readers import (
    Arrays,
    cifar_reader,
    has,
    is_photo_archive,
    read_mnist,
    read_photos,
    read_text,
)
from vaetl_helpers.errors import CourseError, unknown_name_error
from vaetl_helpers.output import emit, say, user_path
from vaetl_helpers.seeds import whole_number

SPLITS = ("train", "validation", "test")

FASHION_MNIST = Dataset(
    title="Fashion-MNIST",
    licence="MIT",
    files={
        "train-images-idx3-ubyte.gz": "md5:8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "train-labels-idx1-ubyte.gz": "md5:25c81989df183df01b3e8a0aad5dffbe",
        "t10k-images-idx3-ubyte.gz": "md5:bef4ecab320f06d8554ea6380940ec79",
        "t10k-labels-idx1-ubyte.gz": "md5:bb300cfdad3c16e7a12a480ee83cd310",
    },
    mirrors=("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",),
    classes=(
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
    folder="FashionMNIST/raw",
    read=read_mnist,
    packed=False,
    system_folders=(Path("/usr/share/datasets/fashion-mnist"),),
    embedded="fashion-mnist.npz",
    first_labels=(9, 0, 0, 3),
    digests={
        "train": (
            "2e487a6c89124f78f2d7521542223cafe96f7123c3ca13d447772ac6ecbb3012",
            "657fbd221bfc9f4198cc14b5619cc33ec57c58dd0e47af4d99d6650759e869a7",
        ),
        "test": (
            "c867c93ff95360594e8ec3287995350b824dd110b11595c0e13d5423f621867a",
            "3d0e6c6ea990b53b6f8f500a41cac93881d981b315f84578b7d915342ade01e9",
        ),
    },
)
MNIST = Dataset(
    title="MNIST",
    licence="CC BY-SA 3.0",
    files={
        "train-images-idx3-ubyte.gz": "md5:f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "train-labels-idx1-ubyte.gz": "md5:d53e105ee54ea40749a09fcbcd1e9432",
        "t10k-images-idx3-ubyte.gz": "md5:9fb629c4189551a2d022fa330f9573f3",
        "t10k-labels-idx1-ubyte.gz": "md5:ec29112dd5afa0611ce80d1b7f02629c",
    },
    mirrors=(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "http://yann.lecun.com/exdb/mnist/",
    ),
    classes=tuple("0123456789"),
    folder="MNIST/raw",
    read=read_mnist,
    packed=False,
    embedded="mnist.npz",
    first_labels=(5, 0, 4, 1),
    digests={
        "train": (
            "741c988805d008ac6e4c904b69001ba184c24b2c540a4ef403f4c71b676cf757",
            "1feba77c54802fa5339a11837ea4b2866434b83314ec45192930f1df69120c13",
        ),
        "test": (
            "6d87418db22cc8025d05968bec9bd5c3932904b23485740db143a061a2c9d161",
            "ddeff807876a9661a1110d45c266c86239a3a1b7d37da0c3716a7a683c852ff5",
        ),
    },
)
CIFAR10 = Dataset(
    title="CIFAR-10",
    licence="none stated",
    files={"cifar-10-python.tar.gz": "md5:c58f30108f718f92721af3b95e74349a"},
    mirrors=("https://www.cs.toronto.edu/~kriz/",),
    classes=(
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
    ),
    folder="cifar-10-batches-py",
    read=cifar_reader("CIFAR10"),
    holds=has("batches.meta", "test_batch", *(f"data_batch_{number}" for number in range(1, 6))),
)
CIFAR100 = Dataset(
    title="CIFAR-100",
    licence="none stated",
    files={"cifar-100-python.tar.gz": "md5:eb9058c3a382ffc7106e4002c42a8d85"},
    mirrors=("https://www.cs.toronto.edu/~kriz/",),
    classes=tuple(str(number) for number in range(100)),
    folder="cifar-100-python",
    read=cifar_reader("CIFAR100"),
    holds=has("meta", "train", "test"),
)
ANTS_BEES = Dataset(
    title="Ants and bees",
    licence="photos from ImageNet",
    files={"hymenoptera_data.zip": None, "hymenoptera_256.tar": None},
    mirrors=("https://download.pytorch.org/tutorial/",),
    classes=("ant", "bee"),
    folder="hymenoptera_data",
    read=read_photos,
    holds=has("train/ants", "train/bees", "val/ants", "val/bees"),
    is_whole=is_photo_archive,
)
SENTENCE_POLARITY = Dataset(
    title="Sentence polarity",
    licence="none stated",
    files={"rt-polaritydata.tar.gz": None},  # text.load_text knows the hashes of those inside
    mirrors=("https://www.cs.cornell.edu/people/pabo/movie-review-data/",),
    classes=("negative", "positive"),
    folder="text/rt-polarity.pos",
    read=read_text,
    is_text=True,
)
DATASETS: dict[str, Dataset] = {
    "fashion-mnist": FASHION_MNIST,
    "mnist": MNIST,
    "cifar10": CIFAR10,
    "cifar100": CIFAR100,
    "ants-bees": ANTS_BEES,
    "sentence-polarity": SENTENCE_POLARITY,
}


def entry(name: str) -> Dataset:
    """The registry's entry for `name`; CourseError with the near match where there is none."""
    if name not in DATASETS:
        raise unknown_name_error("data set", name, DATASETS)
    return DATASETS[name]


# ---------------------------------------------------------------- loading


def load(
    name: str,
    full: bool = False,
    root: Path | str | None = None,
    device: torch.device | str = "cpu",
    download: bool = True,
) -> Splits:
    """Loads a data set onto `device` and prints which one: the embedded subset, or the whole set.

    A whole set (`full`) that is not on this machine is downloaded, unless `download` is False. One
    that cannot be had falls back to the embedded subset with one line. Raises CourseError for an
    unknown name, and where there is neither.
    """
    item = entry(name)
    if item.is_text:
        item.read(Path())  # says how to load it
    if item.embedded and not full:
        return _announced(embedded(item), device)
    try:
        arrays = _find_or_fetch(name, root, download)
        splits = _full(item, arrays)
    except (CourseError, FileNotFoundError) as error:
        if not item.embedded:
            raise _missing_error(item, error) from error
        say(f"{error} Until then the embedded {item.title} images are used.")
        splits = embedded(item)
    return _announced(splits, device)


def load_folder(folder: Path | str, size: int = 32, device: torch.device | str = "cpu") -> Splits:
    """Loads your own pictures, FOLDER/{train,validation,test}/CLASS/PICTURE, as [n, 3, size, size].

    What Pillow reads is read, the first frame where there are several; other files are counted, and
    hidden ones and those of the system left out. What is transparent is laid on white. Grey
    pictures of 16 bits are scaled to 256 levels all alike: white is the highest level of 8, 10, 12,
    14 or 16 bits, whichever holds the brightest level of all splits. Floats must lie in [0, 1].
    Raises CourseError where a folder is missing, a picture cannot be read or the splits name other
    classes.
    """
    size = whole_number(size, "size", 1, example="32")
    folder = user_path(folder)
    listings = [_listed(folder / split) for split in SPLITS]
    if len({listing.classes for listing in listings}) > 1:
        names = "; ".join(", ".join(listing.classes) for listing in listings)
        raise CourseError(
            f"train, validation and test under {folder} must hold the same class folders, but they "
            f"hold {names}: rename or add them."
        )
    reader = PictureReader(size)
    sets = {}
    for split, pictures in zip(SPLITS, reader.read(listings), strict=True):
        sets[split] = _image_set(*pictures)
    for note in reader.notes(listings):
        say(note)
    source = f"{folder.name}, folder {_sizes(sets)}"
    return _announced(Splits(**sets, source=source), device)


def _listed(folder: Path) -> ClassFolders:
    try:
        return find_pictures(folder)
    except OSError as error:
        reason = error.strerror.lower() if error.strerror else error
        raise CourseError(
            f"{folder} must hold one folder a class, with pictures in it: {reason}."
        ) from error


def _find_or_fetch(name: str, root: Path | str | None, download: bool) -> Arrays:
    item = entry(name)
    try:
        return files.find_arrays(item, root)
    except FileNotFoundError:
        if not download:
            raise CourseError(
                f"{item.title} is not whole on this machine: run `vaetl data fetch {name}`."
            ) from None
        fetch(name)
    return files.read_from(item, files.cache_dir())


def _missing_error(item: Dataset, error: Exception) -> CourseError:
    if isinstance(error, CourseError):
        return error
    return CourseError(f"{item.title} is not there.")


def _announced(splits: Splits, device: torch.device | str) -> Splits:
    emit(splits.source, "data", {"source": splits.source})
    return splits.to(device)


def _image_set(images: np.ndarray, labels: np.ndarray, classes: tuple[str, ...]) -> ImageSet:
    return ImageSet(torch.as_tensor(images), torch.as_tensor(labels), classes)


def _sizes(sets: dict[str, ImageSet]) -> str:
    return "/".join(f"{len(images):,}" for images in sets.values())


def embedded(item: Dataset) -> Splits:
    """The subset in the package of a data set that has one, without the line that says so."""
    asset = resources.files("vaetl_helpers").joinpath("assets", str(item.embedded))
    sets = {}
    with asset.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        for split in SPLITS:
            images, labels = arrays[f"{split}_images"], arrays[f"{split}_labels"]
            sets[split] = _image_set(images, labels, item.classes)
    return Splits(**sets, source=f"{item.title}, embedded {_sizes(sets)}")


def _full(item: Dataset, arrays: Arrays, validation_size: float = 1 / 12) -> Splits:
    """The published test set, and the published training set split in two, always in the same way.

    Embedded images that the embedded subset does not train on are put into validation, so that a
    model trained on the full training split has never seen them.
    """
    images, labels = arrays["train"]
    in_validation = np.zeros(len(images), bool)
    if item.embedded:
        in_validation = _is_held_out(images, embedded(item))
    missing = round(len(images) * validation_size) - in_validation.sum()
    candidates = np.flatnonzero(~in_validation)
    shuffled = np.random.default_rng(0).permutation(candidates)
    in_validation[shuffled[: max(0, missing)]] = True
    sets = {
        "train": _image_set(images[~in_validation], labels[~in_validation], item.classes),
        "validation": _image_set(images[in_validation], labels[in_validation], item.classes),
        "test": _image_set(*arrays["test"], item.classes),
    }
    return Splits(**sets, source=f"{item.title}, full {_sizes(sets)}")


def _is_held_out(images: np.ndarray, embedded: Splits) -> np.ndarray:
    """Which images [n, 28, 28] the embedded subset validates or tests on: bool [n]."""
    held_out = _digests(embedded.validation.images) | _digests(embedded.test.images)
    return np.array([digest in held_out for digest in image_hashes(images)])


def _digests(images: Tensor) -> set[bytes]:
    return set(image_hashes(images.squeeze(1).numpy()))


# ---------------------------------------------------------------- fetching


def fetch(name: str, root: Path | str | None = None) -> Path:
    """Downloads a data set into the cache (or `root`), checked; returns its folder.

    A file that is there but damaged is set aside as FILE.damaged, never overwritten. Raises
    CourseError where no mirror answers, the hash is wrong after three tries, or the folder cannot
    be written.
    """
    item = entry(name)
    place = user_path(root).absolute() if root else files.cache_dir()
    folder = place if item.packed else place / item.folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file in _files_to_fetch(item):
            files.fetch_file(item, folder / file)
    except OSError as error:
        raise files.unwritable_error(folder, error) from error
    return folder


def _files_to_fetch(item: Dataset) -> list[str]:
    """Those with a published hash; without any, the one that the mirrors have."""
    with_hash = [file for file, published_hash in item.files.items() if published_hash]
    return with_hash or list(item.files)[:1]


def where(root: Path | str | None = None) -> list[dict[str, str]]:
    """One row a data set for `vaetl data`: name, status, path, licence and how to get it."""
    return [_row(name, root) for name in DATASETS]


def _row(name: str, root: Path | str | None) -> dict[str, str]:
    item = entry(name)
    places = files.search_places(item, root)
    evidence = [files.evidence_of(item, place) for place in places]
    path = next((path for path in evidence if path), None)
    row = {
        "name": name,
        "status": "not here",
        "path": "",
        "licence": item.licence,
        "how_to_get": f"vaetl data fetch {name}",
    }
    if path:
        row |= {"status": "full set", "path": str(path), "how_to_get": ""}
    elif item.embedded:
        row |= {"status": "embedded subset", "path": "in the package"}
    return row
