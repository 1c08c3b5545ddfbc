"""Pictures as people have them: which files are pictures, and what a person sees in them."""

from __future__ import annotations

import os
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vaetl_helpers.errors import CourseError
from vaetl_helpers.output import say

if TYPE_CHECKING:  # Pillow is imported where a picture is read
    from PIL import Image

Levels = NDArray[np.uint8]

# What systems and programs leave beside pictures; a name with a dot in front is left out as well.
JUNK = {
    "__macosx",
    "@eadir",
    "$recycle.bin",
    "system volume information",
    "thumbs.db",
    "ehthumbs.db",
    "desktop.ini",
    "icon\r",
}
# Formats that Pillow knows by name, but needs another program or library to read.
NEED_A_PROGRAM = {"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"}
# Their further frames are previews or layers, which no viewer plays.
NOT_PLAYED = {"MPO", "PSD"}
GREY = {"1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N", "F"}  # modes of Pillow
PHOTOMETRIC, WHITE_IS_ZERO = 262, 0  # a tag of TIFF, and its value
BITS = (8, 10, 12, 14, 16)  # of cameras and scanners


# ---------------------------------------------------------------- files


@dataclass
class ClassFolders:
    """The pictures below a folder of class folders, and the other files by their endings."""

    folder: Path
    classes: tuple[str, ...]
    paths: list[Path] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)


def find_pictures(folder: Path, endings: Iterable[str] | None = None) -> ClassFolders:
    """The pictures of folder/CLASS and below, in the order of their names.

    A picture has an ending that Pillow reads (or one of `endings`), or none and a picture's
    content. Raises FileNotFoundError where there are no class folders or one holds no pictures, and
    OSError where a folder cannot be read.
    """
    names = sorted(filter(_is_somebodys, os.listdir(folder)))
    names = [name for name in names if not _leads_back(folder / name)]
    classes = [name for name in names if (folder / name).is_dir()]
    if not classes:
        raise FileNotFoundError(f"{folder} holds no folders")
    read_endings = picture_endings() if endings is None else frozenset(endings)
    listing = ClassFolders(folder, tuple(classes))
    for name in names:
        if name not in classes:
            listing.left_out[f"{_ending(name)} beside the class folders"] += 1
    for label, name in enumerate(classes):
        count = len(listing.paths)
        left_out = Counter[str]()
        for path in _files_below(folder / name):
            if _is_picture(path, read_endings):
                listing.paths.append(path)
                listing.labels.append(label)
            else:
                left_out[_ending(path.name)] += 1
        if len(listing.paths) == count:
            remainder = f", but {counted(left_out)}" if left_out else ""
            raise FileNotFoundError(f"{folder / name} holds no picture{remainder}")
        listing.left_out += left_out
    return listing


def _is_somebodys(name: str) -> bool:
    return not name.startswith(".") and name.lower() not in JUNK


def _files_below(folder: Path) -> Iterator[Path]:
    """All files, without what is hidden; raises OSError where a folder cannot be read."""

    def refuse(error: OSError) -> None:
        raise error

    for place, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
        below = sorted(filter(_is_somebodys, folders))
        folders[:] = [name for name in below if not _leads_back(Path(place, name))]
        for name in sorted(filter(_is_somebodys, names)):
            yield Path(place, name)


def _leads_back(path: Path) -> bool:
    """Whether it is a link to a folder that it lies in.

    `ln -s` makes one where it is called a second time; each picture would come 40 times.
    """
    if not (path.is_symlink() and path.is_dir()):
        return False
    return path.parent.resolve().is_relative_to(path.resolve())


def _ending(name: str) -> str:
    return Path(name).suffix.lower() or "no ending"


def _is_picture(path: Path, endings: frozenset[str]) -> bool:
    from PIL import Image

    if path.suffix:
        return path.suffix.lower() in endings
    try:
        with Image.open(path) as image:
            return image.format not in NEED_A_PROGRAM
    except Exception:  # what decoders raise for a file that is none of theirs
        return False


@cache
def picture_endings() -> frozenset[str]:
    """The endings of the formats that Pillow reads without another program, ".png" among them."""
    from PIL import Image

    endings = set()
    for ending, kind in Image.registered_extensions().items():
        if kind in Image.OPEN and kind not in NEED_A_PROGRAM:
            endings.add(ending)
    return frozenset(endings)


def counted(left_out: Counter[str]) -> str:
    """Files by their endings, the most frequent first: "9 files: .txt 8, .heic 1"."""
    total = sum(left_out.values())
    parts = [f"{ending} {count:,}" for ending, count in left_out.most_common()]
    files = "file" if total == 1 else "files"
    return f"{total:,} {files}: {', '.join(parts)}"


# ---------------------------------------------------------------- from a file to levels


class Pictures(NamedTuple):
    """Pictures uint8 [n, 3, size, size], their labels [n] and classes."""

    images: Levels
    labels: NDArray[np.int64]
    classes: tuple[str, ...]


class PictureReader:
    """Reads pictures to one size, and keeps what is to be said about all of them together.

    Grey pictures of 16 bits are scaled to 256 levels all alike: white is the highest level of 8,
    10, 12, 14 or 16 bits, whichever holds the brightest level of them all.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.brightest = 0  # level of the deep pictures
        self.deep: set[Path] = set()
        self.with_frames: list[Path] = []

    @property
    def bits(self) -> int:
        """How many bits hold the brightest level of the deep pictures."""
        return bits_of(self.brightest)

    def read(self, folders: Sequence[ClassFolders]) -> list[Pictures]:
        """The pictures of some folders; raises CourseError for one that cannot be read."""
        results = []
        for listing in folders:
            images = np.empty((len(listing.paths), 3, self.size, self.size), np.uint8)
            for row, path in enumerate(listing.paths):
                images[row] = self._levels(path, bits=16)
            results.append(Pictures(images, np.array(listing.labels), listing.classes))
        if self.deep and self.bits < 16:
            for listing, pictures in zip(folders, results, strict=True):
                self._read_deep_again(listing, pictures.images)
        return results

    def _read_deep_again(self, listing: ClassFolders, images: Levels) -> None:
        for row, path in enumerate(listing.paths):
            if path in self.deep:
                images[row] = self._levels(path, self.bits)

    def _levels(self, path: Path, bits: int) -> Levels:
        from PIL import ImageOps

        picture = open_picture(path)
        if path not in self.deep:
            self._note(path, picture)
        colour = picture.in_colour(str(path), bits)
        return np.asarray(ImageOps.fit(colour, (self.size, self.size))).transpose(2, 0, 1)

    def _note(self, path: Path, picture: Opened) -> None:
        if picture.has_frames:
            self.with_frames.append(path)
        if is_deep(picture.image):
            self.deep.add(path)
            self.brightest = max(self.brightest, int(deep_levels(picture.image, str(path)).max()))

    def notes(self, folders: Sequence[ClassFolders]) -> list[str]:
        """What was left out and what was decided, a line each; none where there is nothing."""
        lines = []
        left_out: Counter[str] = Counter()
        for listing in folders:
            left_out.update(listing.left_out)
        if left_out:
            lines.append(f"{counted(left_out).replace(':', ' left out:', 1)}.")
        if self.with_frames:
            lines.append(
                f"Of pictures with several frames the first is read: {self.with_frames[0].name}"
                f"{_and_others(self.with_frames)}."
            )
        if self.deep:
            lines.append(deep_note(len(self.deep), self.bits))
        return lines


def bits_of(brightest: int) -> int:
    """How many bits a camera or scanner has whose brightest level this is."""
    return next(bits for bits in BITS if brightest < 2**bits)


def _and_others(paths: Sequence[Path]) -> str:
    return f" and {len(paths) - 1:,} more" if len(paths) > 1 else ""


def deep_note(count: int, bits: int) -> str:
    """What became of grey pictures of 16 bits, in a line."""
    white = 2**bits - 1
    return f"{count:,} grey pictures of 16 bits: levels 0 … {white:,} ({bits} bits) become 0 … 255."


class Opened(NamedTuple):
    """A decoded picture, turned upright.

    Whether it is the first of several frames; whether it is a negative, with 0 for white.
    """

    image: Image.Image
    has_frames: bool
    is_negative: bool

    def in_colour(self, name: str, bits: int) -> Image.Image:
        """What a person sees; `bits` as for the function `in_colour`."""
        from PIL import ImageOps

        colour = in_colour(self.image, name, bits)
        return ImageOps.invert(colour) if self.is_negative else colour


def open_picture(path: Path) -> Opened:
    """Decodes a picture file; raises CourseError, which names it, where it cannot be read."""
    from PIL import Image

    return _opened(lambda: Image.open(path), str(path))


def _opened(opening: Callable[[], Image.Image], name: str) -> Opened:
    from PIL import Image, ImageOps

    try:
        with _quiet(), opening() as image:
            is_played = image.format not in NOT_PLAYED
            has_frames = is_played and getattr(image, "is_animated", False)
            is_negative = _is_negative(image)
            has_deep_colours = ";16" in str(getattr(image, "tile", ""))
            upright = ImageOps.exif_transpose(image)  # phones store the turn apart
    except Image.DecompressionBombError as error:
        raise CourseError(
            f"{name} cannot be read as a picture, it is too large ({_pixels_of(error)}): make it "
            "smaller, or remove it."
        ) from error
    except Exception as error:  # a decoder raises anything for a broken file
        raise CourseError(
            f"{name} cannot be read as a picture: remove it or replace it by a whole one."
        ) from error
    if has_deep_colours and not is_deep(upright):
        _check_deep_colours(upright, name)
    return Opened(upright, has_frames, is_negative)


def read_pictures(pictures: Sequence[Image.Image], name: str) -> Levels:
    """Pictures of Pillow as uint8 [n, channels, height, width], as a person sees them.

    One channel where all of them are grey; deep ones as `PictureReader` scales them. Raises
    CourseError where sizes differ.
    """
    opened = []
    brightest = []
    for row, picture in enumerate(pictures):
        label = getattr(picture, "filename", "") or f"Picture {row}"
        opened.append(_opened(picture.copy, label))
        if is_deep(opened[-1].image):
            brightest.append(int(deep_levels(opened[-1].image, label).max()))
    sizes = sorted({picture.image.size for picture in opened})
    if len(sizes) > 1:
        raise CourseError(
            f"{name} must be pictures of one size, but some have {sizes[0]} and some {sizes[-1]} "
            "pixels: scale them with ImageOps.fit(picture, (32, 32))."
        )
    bits = bits_of(max(brightest, default=0))
    if brightest:
        say(deep_note(len(brightest), bits))
    colours = [np.asarray(picture.in_colour(name, bits)) for picture in opened]
    images = np.stack(colours).transpose(0, 3, 1, 2)
    are_grey = all(picture.image.mode in GREY for picture in opened)
    return images[:, :1] if are_grey else images


def _is_negative(image: Image.Image) -> bool:
    """Whether a TIFF file has 0 for white; Pillow 13 turns that round for 8 bits, not for more."""
    if not (is_deep(image) or image.mode == "F"):
        return False
    tags = getattr(image, "tag_v2", {})
    return bool(tags.get(PHOTOMETRIC) == WHITE_IS_ZERO)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Pillow's warnings of damaged remarks in a file, and of large pictures."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _pixels_of(error: Exception) -> str:
    """ "196000000 pixels" of Pillow's longer sentence."""
    pixels = re.search(r"\d+ pixels", str(error))
    return pixels[0] if pixels else "too many pixels"


def _check_deep_colours(image: Image.Image, name: str) -> None:
    """Pillow keeps the upper 8 of 16 bits of a colour: of 12-bit data nearly nothing."""
    channels = image.split()
    if image.mode in ("LA", "RGBA"):
        channels = channels[:-1]
    brightest = max(int(np.asarray(channel).max()) for channel in channels)
    if 0 < brightest < 16:
        raise CourseError(
            f"{name} has colours of 16 bits, but none above {256 * brightest + 255:,} of 65,535, "
            "which would be nearly black: save it with 8 bits a colour, white as 255."
        )


def is_deep(image: Image.Image) -> bool:
    """Whether a picture has grey levels of 16 bits, or whole numbers of 32."""
    return image.mode == "I" or image.mode.startswith("I;16")


def deep_levels(image: Image.Image, name: str) -> NDArray[np.int64]:
    """The levels of a deep picture, 0 to 65,535; raises CourseError for others."""
    levels = np.asarray(image).astype(np.int64)
    lowest, highest = levels.min(), levels.max()
    if lowest < 0 or highest >= 2**16:
        raise CourseError(
            f"{name} has levels from {lowest:,} to {highest:,}, but 0 to 65,535 were expected: "
            "save it with 8 or 16 bits."
        )
    return levels


def in_colour(image: Image.Image, name: str, bits: int = 16) -> Image.Image:
    """What a person sees in a picture, as red, green and blue of 256 levels.

    What is transparent is laid on white. Of deep pictures the highest level of `bits` bits is
    white. Floats must lie in [0, 1]. Raises CourseError, which names the picture, for other levels.
    """
    from PIL import Image

    if is_deep(image):
        return _on_white_where_keyed(image, _scaled_down(deep_levels(image, name), bits))
    if image.mode == "F":
        return _of_floats(image, name)
    if not _is_transparent(image):
        return image.convert("RGB")
    if image.mode == "La":
        image = image.convert("LA")
    layer = image.convert("RGBA")
    ground = Image.new("RGBA", layer.size, "white")
    return Image.alpha_composite(ground, layer).convert("RGB")


def _scaled_down(levels: NDArray[np.int64], bits: int) -> Levels:
    scaled: Levels = np.round(levels * (255 / (2**bits - 1))).astype(np.uint8)
    return scaled


def _on_white_where_keyed(image: Image.Image, grey: Levels) -> Image.Image:
    """PNG can name one level of 16 bits that is transparent."""
    from PIL import Image

    key = image.info.get("transparency")
    if key is not None:
        grey = np.where(np.asarray(image) == key, np.uint8(255), grey)
    return Image.fromarray(grey).convert("RGB")


def _of_floats(image: Image.Image, name: str) -> Image.Image:
    from PIL import Image

    levels = np.asarray(image)
    lowest, highest = levels.min(), levels.max()
    if not (lowest >= 0 and highest <= 1):  # also refuses NaN
        raise CourseError(
            f"{name} has floats from {lowest:.4g} to {highest:.4g}, but 0 to 1 were expected: "
            "save it with 8 bits."
        )
    return Image.fromarray(np.round(levels * 255).astype(np.uint8)).convert("RGB")


def _is_transparent(image: Image.Image) -> bool:
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        return True
    return image.palette is not None and image.palette.mode == "RGBA"
