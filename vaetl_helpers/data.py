"""The course's images: a registry, a cache with checked downloads, and image sets that live on the device.

Images are kept as uint8 on the device and cast batch by batch: no PIL, no workers, no copies.
"""

from __future__ import annotations

import gzip
import os
import socket
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from importlib import resources
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

import numpy as np
import torch
from torch import Tensor

from vaetl_helpers.runtime import CourseError, emit, someone_watches, unknown

TIMEOUT = 30.0  # seconds without a byte before a download counts as failed
ATTACHED = Path("/kaggle/input")  # the data sets that are attached to a Kaggle notebook, in any layout; only read
Arrays = dict[str, tuple[np.ndarray, np.ndarray]]  # {"train": (images, labels), ...}


@dataclass
class ImageSet:
    """Images with labels: uint8 [n, channels, height, width] and int64 [n]; the range is checked here, once.

    Also takes float images in [0, 1], which are rounded to 256 levels, and [n, height, width] for one channel.
    Raises CourseError for another shape, range or type, and where the labels do not fit.
    """

    images: Tensor
    labels: Tensor
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        self.images = _as_uint8(torch.as_tensor(self.images))
        labels = torch.as_tensor(self.labels)
        self.labels = labels.long()
        if labels.shape != self.images.shape[:1] or (self.labels != labels).any():
            raise CourseError(
                f"{len(self.images)} images need as many whole numbers as labels, in one dimension, but the labels are "
                f"{labels.dtype} of shape {list(labels.shape)}: pass one class number an image."
            )
        if not 0 <= int(self.labels.min()) <= int(self.labels.max()) < len(self.classes):
            raise CourseError(f"A label lies outside 0 … {len(self.classes) - 1}: name every class in `classes`.")

    def __len__(self) -> int:
        return len(self.images)

    @property
    def device(self) -> torch.device:
        return self.images.device

    def to(self, device: torch.device | str) -> ImageSet:
        """The same set with its tensors on `device`."""
        return ImageSet(self.images.to(device), self.labels.to(device), self.classes)

    def subset(self, indices: Tensor | slice) -> ImageSet:
        """The images at `indices`, in that order."""
        return ImageSet(self.images[indices], self.labels[indices], self.classes)

    def batches(
        self, batch_size: int, seed: int | None = None, epoch: int = 0, rank: int = 0, world: int = 1
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields float images in [0, 1] and labels; shuffled by (seed, epoch) if a seed is given.

        The last batch holds what is left. The order does not depend on the device or on other random numbers,
        so a training run that was interrupted sees the same batches again. Of `world` processes number `rank` gets
        its `share` of each batch, at least one image.
        """
        if batch_size < 1:
            raise CourseError(f"batch_size must be at least 1, not {batch_size}: 64 or 128 is usual.")
        order = torch.arange(len(self))
        if seed is not None:
            order = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed * 1_000_003 + epoch))
        for chosen in order.to(self.device).split(batch_size):
            if world > 1:
                start, stop = share(len(chosen), rank, world)
                chosen = chosen[start : max(stop, start + 1)]
            # Whole rows at a time: half the time of images[chosen].float().
            yield self.images.index_select(0, chosen).div(255), self.labels.index_select(0, chosen)


def share(count: int, rank: int, world: int) -> tuple[int, int]:
    """Start and stop of what process `rank` of `world` takes of `count` images; the shares differ by at most one."""
    return count * rank // world, count * (rank + 1) // world


def _as_uint8(images: Tensor) -> Tensor:
    if images.dim() == 3:
        images = images.unsqueeze(1)
    if images.dim() != 4 or images.shape[1] not in (1, 3) or not images[:1].numel():
        raise CourseError(
            f"Images have the shape {list(images.shape)}, but [n, channels, height, width] with 1 or 3 channels and "
            "n ≥ 1 was expected: add or move the missing dimension (unsqueeze, permute)."
        )
    if images.dtype == torch.uint8:
        return images
    if not images.is_floating_point():
        raise CourseError(f"Images are {images.dtype}, but uint8 or floats in [0, 1] were expected: cast them.")
    low, high = images.min().item(), images.max().item()
    if not (low >= 0 and high <= 1):  # also refuses NaN
        raise CourseError(
            f"Images lie in [{low:.4g}, {high:.4g}], but [0, 1] was expected: divide by 255, or undo a normalisation."
        )
    return images.mul(255).round().to(torch.uint8)


@dataclass
class Splits:
    """Three disjoint image sets, and one line that says what they are."""

    train: ImageSet
    validation: ImageSet
    test: ImageSet
    source: str

    def to(self, device: torch.device | str) -> Splits:
        """The same splits on `device`."""
        return Splits(self.train.to(device), self.validation.to(device), self.test.to(device), self.source)


@dataclass(frozen=True)
class Dataset:
    """An entry of the registry: how to recognise, read, check and fetch one data set.

    `files` maps each archive to its published hash, or None where the publisher gives none; `read` turns a
    folder into arrays and raises FileNotFoundError (not there) or CourseError (damaged).
    """

    title: str
    licence: str
    files: dict[str, str | None]
    mirrors: tuple[str, ...]
    classes: tuple[str, ...]
    folder: str
    read: Callable[[Path], Arrays]
    also: tuple[Path, ...] = field(default=())  # folders where a system package puts it
    embedded: str | None = None
    begins: tuple[int, ...] = ()  # the first labels, where another data set has files of the same names


# ---------------------------------------------------------------- reading


def read_idx(path: Path) -> np.ndarray:
    """Reads an idx file (LeCun's format for MNIST), gzipped or not; CourseError where it is cut short."""
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rb") as file:
            content = file.read()
        rank = content[3]
        shape = struct.unpack(f">{rank}I", content[4 : 4 + 4 * rank])
        return np.frombuffer(content, np.uint8, offset=4 + 4 * rank).reshape(shape).copy()
    except (EOFError, gzip.BadGzipFile, IndexError, struct.error, ValueError, OSError, zlib.error) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise CourseError(
            f"{path} is damaged or cut short ({error}), so it does not hold what it announces: remove it, or fetch it "
            "again with `vaetl data fetch NAME`."
        ) from error


def _read_mnist(folder: Path) -> Arrays:
    def part(stem: str) -> np.ndarray:
        unpacked = folder / stem  # torchvision leaves both
        return read_idx(unpacked if unpacked.exists() else folder / f"{stem}.gz")

    arrays = {
        split: (part(f"{stem}-images-idx3-ubyte"), part(f"{stem}-labels-idx1-ubyte"))
        for split, stem in (("train", "train"), ("test", "t10k"))
    }
    for split, (images, labels) in arrays.items():
        if images.shape != (len(labels), 28, 28) or labels.ndim != 1:
            raise CourseError(
                f"{folder} is damaged: its {split} files hold {list(images.shape)} pixels for {list(labels.shape)} "
                "labels, not 28 × 28 an image: remove them, or fetch them again with `vaetl data fetch NAME`."
            )
    return arrays


def _read_cifar(name: str) -> Callable[[Path], Arrays]:
    def read(folder: Path) -> Arrays:
        from torchvision import datasets

        if not folder.is_dir():
            raise FileNotFoundError(folder)
        kind = getattr(datasets, name)
        try:
            parts = {"train": kind(folder.parent, train=True), "test": kind(folder.parent, train=False)}
        except RuntimeError as error:  # torchvision checks the md5 of every file
            raise CourseError(f"{folder} is damaged: remove it and fetch it again.") from error
        return {split: (d.data.transpose(0, 3, 1, 2), np.array(d.targets)) for split, d in parts.items()}

    return read


_PHOTOS = {"train": 244, "val": 153}  # as published; the archive has no published hash to check


def _read_photos(folder: Path, size: int = 224) -> Arrays:
    parts = {name: _read_class_folders(folder / name, size)[:2] for name in _PHOTOS}
    for name, expected in _PHOTOS.items():
        if len(parts[name][0]) < expected:
            raise CourseError(
                f"{folder / name} holds {len(parts[name][0])} of {expected} photos: remove {folder} and fetch it again."
            )
    return {"train": parts["train"], "test": parts["val"]}


def _read_class_folders(folder: Path, size: int) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Decodes folder/class/photo, the short side scaled to `size` and the centre cut out, once."""
    from PIL import Image, ImageOps, UnidentifiedImageError
    from torchvision.datasets import ImageFolder

    index = ImageFolder(folder)  # raises FileNotFoundError where a folder holds no photos
    photos = np.empty((len(index.samples), 3, size, size), np.uint8)
    for row, (path, _) in enumerate(index.samples):
        try:
            with Image.open(path) as photo:
                upright = ImageOps.exif_transpose(photo).convert("RGB")  # phones store the turn apart
            photos[row] = np.asarray(ImageOps.fit(upright, (size, size))).transpose(2, 0, 1)
        except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:  # Pillow's for broken files
            raise CourseError(f"{path} cannot be read as a picture: remove it or replace it by a whole one.") from error
    return photos, np.array(index.targets), tuple(index.classes)


def load_folder(folder: Path | str, size: int = 32, device: torch.device | str = "cpu") -> Splits:
    """Loads your own pictures, laid out as FOLDER/{train,validation,test}/CLASS/PICTURE, as [n, 3, size, size].

    Raises CourseError where a folder is missing, a picture cannot be read or the splits name other classes.
    """
    parts: dict[str, ImageSet] = {}
    for split in ("train", "validation", "test"):
        try:
            parts[split] = ImageSet(*_read_class_folders(Path(folder) / split, size))
        except OSError as error:
            raise CourseError(
                f"{Path(folder) / split} must hold one folder a class, with pictures in it: {error}."
            ) from error
    if len({part.classes for part in parts.values()}) > 1:
        raise CourseError(f"train, validation and test under {folder} must hold the same class folders.")
    sizes = "/".join(f"{len(part):,}" for part in parts.values())
    return _announce(Splits(**parts, source=f"{Path(folder).name}, folder {sizes}"), device)


def _read_text(folder: Path) -> Arrays:
    raise CourseError("Sentences are no images: load them by vaetl_helpers.text.load_text('sentence-polarity').")


# ---------------------------------------------------------------- the registry
# fmt: off

_IDX = ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz", "t10k-images-idx3-ubyte.gz",
        "t10k-labels-idx1-ubyte.gz")
_MNIST_MD5 = ("f68b3c2dcbeaaa9fbdd348bbdeb94873", "d53e105ee54ea40749a09fcbcd1e9432",
              "9fb629c4189551a2d022fa330f9573f3", "ec29112dd5afa0611ce80d1b7f02629c")
_FASHION_MD5 = ("8d4fb7e6c68d591d4c3dfef9ec88bf0d", "25c81989df183df01b3e8a0aad5dffbe",
                "bef4ecab320f06d8554ea6380940ec79", "bb300cfdad3c16e7a12a480ee83cd310")
_CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

DATASETS: dict[str, Dataset] = {
    "fashion-mnist": Dataset(
        "Fashion-MNIST", "MIT", dict(zip(_IDX, ("md5:" + h for h in _FASHION_MD5), strict=True)),
        ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",),
        ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot"),
        "FashionMNIST/raw", _read_mnist, (Path("/usr/share/datasets/fashion-mnist"),), "fashion-mnist.npz",
        begins=(9, 0, 0, 3),
    ),
    "mnist": Dataset(
        "MNIST", "CC BY-SA 3.0", dict(zip(_IDX, ("md5:" + h for h in _MNIST_MD5), strict=True)),
        ("https://ossci-datasets.s3.amazonaws.com/mnist/", "http://yann.lecun.com/exdb/mnist/"),
        tuple("0123456789"), "MNIST/raw", _read_mnist, (), "mnist.npz", begins=(5, 0, 4, 1),
    ),
    "cifar10": Dataset(
        "CIFAR-10", "none stated", {"cifar-10-python.tar.gz": "md5:c58f30108f718f92721af3b95e74349a"},
        ("https://www.cs.toronto.edu/~kriz/",), _CIFAR10, "cifar-10-batches-py", _read_cifar("CIFAR10"),
    ),
    "cifar100": Dataset(
        "CIFAR-100", "none stated", {"cifar-100-python.tar.gz": "md5:eb9058c3a382ffc7106e4002c42a8d85"},
        ("https://www.cs.toronto.edu/~kriz/",), tuple(map(str, range(100))), "cifar-100-python",
        _read_cifar("CIFAR100"),
    ),
    "ants-bees": Dataset(
        "Ants and bees", "photos from ImageNet", {"hymenoptera_data.zip": None, "hymenoptera_256.tar": None},
        ("https://download.pytorch.org/tutorial/",), ("ant", "bee"), "hymenoptera_data", _read_photos,
    ),
    "sentence-polarity": Dataset(
        "Sentence polarity", "none stated", {"rt-polaritydata.tar.gz": None},
        ("https://www.cs.cornell.edu/people/pabo/movie-review-data/",), ("negative", "positive"),
        "text/rt-polarity.pos", _read_text,
    ),
}

# fmt: on


def entry(name: str) -> Dataset:
    """The registry's entry for `name`; CourseError with the near match where there is none."""
    if name not in DATASETS:
        raise unknown("data set", name, DATASETS)
    return DATASETS[name]


def cache_dir() -> Path:
    """Where downloads are kept: VAETL_CACHE, or the user's cache folder."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("VAETL_CACHE") or home / "vaetl").absolute()


def data_root(root: Path | str | None = None) -> Path | None:
    """The folder of the user's own copies, `root` or VAETL_DATA, made absolute; it is only ever read."""
    chosen = root or os.environ.get("VAETL_DATA")
    folder = Path(chosen).expanduser().absolute() if chosen else None
    if folder and not folder.is_dir():
        raise CourseError(f"The data root {folder} is not a folder: correct VAETL_DATA or data_root, or leave it out.")
    return folder


# ---------------------------------------------------------------- finding, unpacking, fetching


def unpack(archive: Path, into: Path) -> None:
    """Unpacks a tar or zip archive into a folder; refuses paths that lead outside it."""
    into.mkdir(parents=True, exist_ok=True)
    if not hasattr(tarfile, "data_filter"):
        raise CourseError(f"Python before 3.11.4 cannot unpack {archive} safely: take a newer one.")
    try:
        if archive.suffix == ".zip":
            with zipfile.ZipFile(archive) as opened:  # extractall drops '..' and absolute paths
                opened.extractall(into)
        else:
            with tarfile.open(archive) as opened:
                opened.extractall(into, filter="data")
                while opened.fileobj.read(2**20):  # gzip checks its sum at the end, which tar leaves unread
                    pass
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, gzip.BadGzipFile, zlib.error, RuntimeError) as error:
        raise CourseError(f"{archive} is damaged or unsafe ({error}): remove it, or fetch it again.") from error


def _is_idx(item: Dataset) -> bool:
    return item.read is _read_mnist  # these archives are read as they are, never unpacked


def _read_from(item: Dataset, place: Path) -> Arrays:
    """Reads `item` below `place`, unpacking an archive found there into the cache; FileNotFoundError if absent."""
    if place in item.also or (_is_idx(item) and ATTACHED in place.parents):
        return item.read(place)
    archive = next((place / name for name in item.files if (place / name).is_file()), None)
    if archive is None or _is_idx(item) or (place / item.folder).is_dir():
        return item.read(place / item.folder)
    return item.read(_unpacked(archive) / item.folder)


def _unpacked(archive: Path) -> Path:
    """The folder in the cache that holds an archive's content, whole: it gets its name when it is complete."""
    stamp = sha256(f"{archive}{archive.stat().st_mtime_ns}".encode()).hexdigest()[:12]
    unpacked = cache_dir() / "unpacked" / stamp
    if unpacked.is_dir():
        return unpacked
    try:
        unpacked.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=unpacked.parent) as partial:
            unpack(archive, Path(partial, "all"))
            Path(partial, "all").rename(unpacked)
    except OSError as error:
        if not unpacked.is_dir():  # otherwise another process was first
            raise _unwritable(unpacked.parent, error) from error
    return unpacked


def _unwritable(folder: Path, error: OSError) -> CourseError:
    return CourseError(
        f"{folder} cannot be written ({error.strerror or error}): free some space, or set VAETL_CACHE to a folder "
        "where you may write."
    )


def _places(item: Dataset, root: Path | str | None) -> list[Path]:
    """The search order: the data root, what is attached on Kaggle, the system's folders, the cache."""
    return [place for place in (data_root(root), *_attached(item), *item.also, cache_dir()) if place and place.is_dir()]


def _attached(item: Dataset) -> list[Path]:
    """The folders of attached data sets that hold `item`, unpacked or as it is published."""
    if not _is_idx(item):
        names = {*item.files, Path(item.folder).name}
        return [path.parent for path in sorted(ATTACHED.rglob("*")) if path.name in names]
    found = []
    for labels in sorted(ATTACHED.rglob("train-labels-idx1-ubyte*")):
        with suppress(CourseError):  # damaged, or a folder of that name
            if tuple(read_idx(labels)[:4]) == item.begins:
                found.append(labels.parent)
    return found


def _find(item: Dataset, root: Path | str | None) -> Arrays:
    """The arrays from the first place that has them whole; says what it passes over as damaged."""
    for place in _places(item, root):
        try:
            return _read_from(item, place)
        except FileNotFoundError:
            continue
        except CourseError as error:
            print(error)
    raise FileNotFoundError(item.title)


def _reachable(url: str, seconds: float = 2.0) -> bool:
    """Whether a host answers in time; in a thread, because nothing else limits the look-up of its name."""
    parts = urlsplit(url)
    if os.environ.get("VAETL_OFFLINE") == "1":  # vaetl lab --offline
        return False
    if parts.scheme in getproxies():
        return True  # only the proxy can say
    answered: list[bool] = []

    def knock() -> None:
        with suppress(OSError):
            address = (parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80))
            socket.create_connection(address, timeout=seconds).close()
            answered.append(True)

    thread = Thread(target=knock, daemon=True)
    thread.start()
    thread.join(seconds)
    return bool(answered)


def fetch(name: str, root: Path | str | None = None) -> Path:
    """Downloads a data set into the cache (or `root`) with checks and a progress bar; returns its folder.

    A file that is there but damaged is set aside as FILE.damaged, never overwritten. Raises CourseError where
    no mirror answers, the hash is wrong after three tries, or the folder cannot be written.
    """
    item = entry(name)
    place = Path(root).absolute() if root else cache_dir()
    folder = place / item.folder if _is_idx(item) else place
    archives = {f: h for f, h in item.files.items() if h} or dict([next(iter(item.files.items()))])
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for archive, known in archives.items():
            _fetch_file(item, folder, archive, known)
    except OSError as error:
        raise _unwritable(folder, error) from error
    return folder


def _intact(path: Path, known: str | None) -> bool:
    """Whether a file has its published hash; without one, whether a zip's photos are all there and sound."""
    import pooch

    if known:
        return pooch.hashes.hash_matches(str(path), known)
    if path.suffix == ".gz":
        return tarfile.is_tarfile(path)  # text.load_text knows the files inside
    try:
        with zipfile.ZipFile(path) as opened:
            photos = sum(name.lower().endswith(".jpg") for name in opened.namelist())
            return photos >= sum(_PHOTOS.values()) and opened.testzip() is None
    except (zipfile.BadZipFile, EOFError, zlib.error, RuntimeError):
        return False


def _fetch_file(item: Dataset, folder: Path, name: str, known: str | None) -> None:
    import pooch
    import requests

    path, damaged = folder / name, folder / f"{name}.damaged"
    if path.exists():
        if _intact(path, known):
            return
        path.replace(damaged)
    pooch.get_logger().setLevel("ERROR")  # it announces each try on stderr
    problems = []
    for mirror in item.mirrors:
        if not _reachable(mirror):
            off = os.environ.get("VAETL_OFFLINE") == "1"
            problems.append("downloads are off" if off else f"{urlsplit(mirror).hostname} does not answer")
            continue
        store = pooch.create(folder, mirror, registry={name: known}, retry_if_failed=2)
        try:
            store.fetch(name, downloader=pooch.HTTPDownloader(someone_watches(), 2**16, timeout=TIMEOUT))
            if known or _intact(path, None):
                return
            path.replace(damaged)
            problems.append(f"{urlsplit(mirror).hostname} sent something else than {item.title}")
        except (ValueError, requests.exceptions.RequestException) as error:
            problems.append(f"{urlsplit(mirror).hostname}: {(str(error) or type(error).__name__).splitlines()[0]}")
    where_to = f"FOLDER/{item.folder}" if _is_idx(item) else "FOLDER"
    why = "; ".join(dict.fromkeys(problems))
    raise CourseError(
        f"{item.title} could not be fetched ({why}): check the network and try again, or put "
        f"{', '.join(item.files)} into {where_to} and set VAETL_DATA=FOLDER."
    )


# ---------------------------------------------------------------- loading


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
    if item.read is _read_text:
        item.read(Path())
    if item.embedded and not full:
        return _announce(_embedded(item), device)
    try:
        try:
            arrays = _find(item, root)
        except FileNotFoundError:
            fetch(name)
            arrays = _read_from(item, cache_dir())
        return _announce(_full(item, arrays), device)
    except (CourseError, FileNotFoundError) as error:
        if not item.embedded:
            raise (error if isinstance(error, CourseError) else CourseError(f"{item.title} is not there.")) from error
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


def image_hashes(images: Any) -> list[bytes]:
    """One sha256 digest an image, to tell whether two sets share images."""
    return [sha256(image.tobytes()).digest() for image in np.ascontiguousarray(images)]


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
            h for part in (kept_back.validation, kept_back.test) for h in image_hashes(part.images.squeeze(1).numpy())
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


def _sign(item: Dataset, place: Path) -> Path | None:
    """What shows that a place holds a set: all its idx files, or its folder or archive."""
    if not _is_idx(item):
        return next((place / name for name in (item.folder, *item.files) if (place / name).exists()), None)
    folder = place if place in item.also else place / item.folder
    whole = all((folder / name).exists() or (folder / name).with_suffix("").exists() for name in item.files)
    return folder if whole else None


def where(root: Path | str | None = None) -> list[dict[str, str]]:
    """One row a data set for `vaetl data`: name, status, path, licence and how to get it."""
    rows = []
    for name, item in DATASETS.items():
        found = [sign for place in _places(item, root) if (sign := _sign(item, place))]
        status = "full set" if found else "embedded subset" if item.embedded else "not here"
        path = str(found[0]) if found else "in the package" if item.embedded else ""
        how = "" if found else f"vaetl data fetch {name}"
        rows.append({"name": name, "status": status, "path": path, "licence": item.licence, "how_to_get": how})
    return rows
