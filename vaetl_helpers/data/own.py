"""Your own pictures: a folder of class folders or a zip file of them; without any, an example."""

from __future__ import annotations

import zipfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import torch
from torch import Tensor

from vaetl_helpers.data.files import unpacked_folder
from vaetl_helpers.data.images import ImageSet
from vaetl_helpers.data.pictures import ClassFolders, PictureReader, find_pictures
from vaetl_helpers.data.registry import DATASETS, embedded
from vaetl_helpers.errors import CourseError
from vaetl_helpers.output import emit, say, user_path
from vaetl_helpers.seeds import whole_number, whole_seed

SIZE = 224  # pixels a side, as EfficientNet-Lite0 wants them
FEWEST = 4  # pictures of a class, for leave-one-out
MOST = 50  # pictures of a class that are read; each takes a twentieth of a second to see
HEIC = {".heic", ".heif"}
HEIC_ADVICE = (
    "HEIC, in which iPhones store photos, cannot be read here: save the pictures as JPEG (on an "
    "iPhone choose Settings > Camera > Formats > Most Compatible before you take them)."
)
SPLITS = {"train", "training", "val", "valid", "validation", "test"}
LARGEST_ARCHIVE = 2 * 2**30  # bytes, unpacked


@dataclass(frozen=True)
class OwnPictures:
    """Colour pictures of some classes, and the name of each.

    `bursts` int64 [n] numbers the thing that each picture shows, where that is known: pictures of
    one thing were taken one after the other.
    """

    images: ImageSet
    names: tuple[str, ...]
    source: str
    bursts: Tensor | None = None

    def __len__(self) -> int:
        return len(self.names)

    def rows(self, count: int = 10) -> Tensor:
        """The first `count` pictures of each class, one row after the other, white where fewer."""
        rows = []
        for label in range(len(self.images.classes)):
            row = torch.full((count, *self.images.images.shape[1:]), 255, dtype=torch.uint8)
            of_class = self.images.images[self.images.labels == label][:count]
            row[: len(of_class)] = of_class
            rows.append(row)
        return torch.cat(rows)


# ---------------------------------------------------------------- a folder or a zip file


def own_pictures(place: Path | str, size: int = SIZE, most: int | None = MOST) -> OwnPictures:
    """Reads FOLDER/CLASS/PICTURE, or a zip file of that: uint8 [n, 3, size, size], upright.

    Of each class at most `most` pictures are read, spread evenly over their names. Prints what was
    read and what was left out. Raises CourseError where there are no two classes, a class has fewer
    than FEWEST pictures, or a file cannot be read or leads outside its archive.
    """
    size = whole_number(size, "size", 1, example="224")
    folder = class_root(folder_of(place))
    listing = _listed(folder)
    _refuse_few(listing)
    if most is not None:
        _thin_out(listing, most)
    reader = PictureReader(size)
    (pictures,) = reader.read([listing])
    for note in reader.notes([listing]):
        say(note)
    if HEIC & _left_out(listing.left_out):
        say(HEIC_ADVICE)
    images = ImageSet(
        torch.from_numpy(pictures.images), torch.from_numpy(pictures.labels), listing.classes
    )
    counts = Counter(listing.classes[label] for label in listing.labels)
    sizes = ", ".join(f"{name} {count}" for name, count in counts.items())
    names = tuple(str(path.relative_to(folder)) for path in listing.paths)
    return _announced(OwnPictures(images, names, f"{name_of(place)}, your pictures: {sizes}"))


def _announced(pictures: OwnPictures) -> OwnPictures:
    emit(pictures.source, "data", {"source": pictures.source})
    return pictures


def name_of(place: Path | str) -> str:
    """What to call the pictures: as their folder, or as the zip file without its ending."""
    path = user_path(place).absolute()
    return path.name if path.is_dir() else path.stem


def folder_of(place: Path | str) -> Path:
    """The folder that a person names, of a zip file its content, unpacked into the cache.

    Raises CourseError where there is neither, and for an archive that leads outside or is huge.
    """
    path = user_path(place).absolute()
    if path.is_dir():
        return path
    if not path.exists():
        raise CourseError(
            f"There is no folder and no zip file {path}: mend the path, or put your pictures there."
        )
    if not zipfile.is_zipfile(path):
        raise CourseError(
            f"{path} is neither a folder nor a zip file: give a folder that holds one folder for "
            "each class, or a zip file of it."
        )
    _refuse_unsafe(path)
    return unpacked_folder(path)


def _refuse_unsafe(archive: Path) -> None:
    """Says what is wrong with an archive whose files would land elsewhere, or fill the disk."""
    try:
        with zipfile.ZipFile(archive) as opened:
            content = opened.infolist()
    except zipfile.BadZipFile as error:
        raise CourseError(
            f"{archive.name} is damaged ({error}): pack your pictures anew."
        ) from error
    for file in content:
        name = PurePosixPath(file.filename.replace("\\", "/"))
        if name.is_absolute() or ".." in name.parts or ":" in name.parts[:1]:
            raise CourseError(
                f"{archive.name} holds {file.filename}, which leads out of its folder: do not use "
                "it, or pack your pictures anew."
            )
    size = sum(file.file_size for file in content)
    if size > LARGEST_ARCHIVE:
        raise CourseError(
            f"{archive.name} would take {size / 2**30:.1f} GB once unpacked, and at most "
            f"{LARGEST_ARCHIVE / 2**30:.0f} GB were expected: pack fewer or smaller pictures."
        )


def class_root(folder: Path) -> Path:
    """The folder of the class folders, where a zip program has put one or more around it."""
    while True:
        inside = [path for path in _visible(folder) if path.is_dir()]
        is_wrapper = len(inside) == 1 and any(path.is_dir() for path in _visible(inside[0]))
        if not is_wrapper:
            return folder
        folder = inside[0]


def _visible(folder: Path) -> list[Path]:
    """What is in a folder, without what systems hide or add."""
    return [path for path in folder.iterdir() if path.name[0] != "." and path.name != "__MACOSX"]


def _listed(folder: Path) -> ClassFolders:
    try:
        listing = find_pictures(folder)
    except FileNotFoundError as error:
        advice = HEIC_ADVICE if any(ending in str(error) for ending in HEIC) else ""
        raise CourseError(
            f"{error}: put the pictures of each thing into a folder of its own, such as "
            f"{folder.name}/mug and {folder.name}/cup. {advice}".rstrip()
        ) from error
    except OSError as error:
        raise CourseError(
            f"{folder} cannot be read ({error.strerror or error}): choose another folder."
        ) from error
    if SPLITS.issuperset(name.lower() for name in listing.classes):
        names = " and ".join(listing.classes)
        raise CourseError(
            f"{folder} holds the folders {names}, which are parts of a data set and no classes: "
            f"give one of them, {folder / listing.classes[0]}."
        )
    return listing


def _refuse_few(listing: ClassFolders) -> None:
    if len(listing.classes) < 2:
        raise CourseError(
            f"{listing.folder} holds pictures of {listing.classes[0]} alone: put those of a second "
            "thing into a folder beside it."
        )
    counts = Counter(listing.labels)
    for label, name in enumerate(listing.classes):
        if counts[label] < FEWEST:
            pictures = "picture" if counts[label] == 1 else "pictures"
            raise CourseError(
                f"{listing.folder / name} holds {counts[label]} {pictures}, and at least {FEWEST} "
                "of each class are needed: take more; ten are a good number."
            )


def _thin_out(listing: ClassFolders, most: int) -> None:
    """Keeps at most `most` pictures of each class, evenly spread over its names."""
    paths: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(listing.classes):
        of_class = [
            path for path, n in zip(listing.paths, listing.labels, strict=True) if n == label
        ]
        count = min(most, len(of_class))
        if count < len(of_class):
            say(f"{name}: {count} of {len(of_class)} pictures are read, spread over their names.")
        paths += [of_class[number * len(of_class) // count] for number in range(count)]
        labels += [label] * count
    listing.paths, listing.labels = paths, labels


def _left_out(endings: Counter[str]) -> set[str]:
    return {ending.partition(" ")[0] for ending in endings}


# ---------------------------------------------------------------- the example

EXAMPLE_CLASSES = ("pullover", "shirt")
SHOTS = (3, 3, 2, 2)  # pictures of each garment: ten of each class
TURN, SHIFT = 5.0, 6.0  # degrees and pixels by which two pictures of a burst differ, at most


def example_pictures(seed: int = 0, size: int = SIZE, quiet: bool = False) -> OwnPictures:
    """Ten pictures each of pullovers and shirts, as somebody in a hurry takes them: in bursts.

    Each of four garments a class is shown two or three times, a little moved, turned and dimmed.
    The garments are of the embedded Fashion-MNIST's training images, drawn by the seed.
    """
    generator = torch.Generator().manual_seed(whole_seed(seed))
    garments = embedded(DATASETS["fashion-mnist"]).train
    pixels, labels, bursts, names = [], [], [], []
    for label, name in enumerate(EXAMPLE_CLASSES):
        for number, row in enumerate(_drawn(garments, name, len(SHOTS), generator)):
            for shot in range(SHOTS[number]):
                pixels.append(_photographed(garments.images[row], size, generator))
                labels.append(label)
                bursts.append(label * len(SHOTS) + number)
                names.append(f"{name} {number + 1}{'abc'[shot]}")
    images = ImageSet(torch.stack(pixels), torch.tensor(labels), EXAMPLE_CLASSES)
    source = "an example: ten pictures each of pullovers and shirts, from Fashion-MNIST, embedded"
    example = OwnPictures(images, tuple(names), source, torch.tensor(bursts))
    return example if quiet else _announced(example)


def new_garments(per_class: int, seed: int = 0, size: int = SIZE) -> ImageSet:
    """Pictures of other pullovers and shirts, one of each, from the embedded test images."""
    generator = torch.Generator().manual_seed(whole_seed(seed) + 1)
    garments = embedded(DATASETS["fashion-mnist"]).test
    pixels, labels = [], []
    for label, name in enumerate(EXAMPLE_CLASSES):
        for row in _drawn(garments, name, per_class, generator):
            pixels.append(_photographed(garments.images[row], size, generator))
            labels.append(label)
    return ImageSet(torch.stack(pixels), torch.tensor(labels), EXAMPLE_CLASSES)


def _drawn(images: ImageSet, name: str, count: int, generator: torch.Generator) -> list[int]:
    rows = (images.labels == images.classes.index(name)).nonzero().flatten()
    if not 1 <= count <= len(rows):
        raise CourseError(f"There are 1 to {len(rows)} images of {name}, not {count}.")
    order = torch.randperm(len(rows), generator=generator)[:count]
    chosen: list[int] = rows[order].tolist()
    return chosen


def _photographed(image: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """A grey image [1, 28, 28] as a dark thing on white, seen by somebody with an unsteady hand."""
    from torchvision.transforms import functional as transforms

    turn, right, down, light = (2 * torch.rand(4, generator=generator) - 1).tolist()
    large = transforms.resize(image, [size, size], antialias=True)
    shift = [round(SHIFT * right * size / SIZE), round(SHIFT * down * size / SIZE)]
    moved = transforms.affine(
        large,
        TURN * turn,
        shift,
        1.0,
        [0.0],
        interpolation=transforms.InterpolationMode.BILINEAR,
    )
    dark_on_white = 255 - moved.float() * (0.85 + 0.15 * light)
    picture: Tensor = dark_on_white.round().clamp(0, 255).to(torch.uint8).expand(3, -1, -1)
    return picture
