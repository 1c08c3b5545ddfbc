"""Pictures as people have them: every mode of Pillow, every format, and what lies beside them."""

from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, features

from vaetl_helpers.data import load_folder
from vaetl_helpers.data.pictures import PictureReader, find_pictures, in_colour, open_picture
from vaetl_helpers.errors import CourseError

SPLITS = ("train", "validation", "test")
WHITE, BLACK, RED = (255, 255, 255), (0, 0, 0), (128, 0, 0)


def seen(path: Path) -> list[tuple[int, int, int]]:
    """The colours of a picture's first row, as a person sees them."""
    image = in_colour(open_picture(path).image, str(path))
    pixels = np.asarray(image)[0].tolist()
    return [tuple(pixel) for pixel in pixels]


def saved(path: Path, image: Image.Image, **options: Any) -> Path:
    image.save(path, **options)
    return path


def row(levels: list[int] | list[float], kind: Any) -> Image.Image:
    """A picture of one row."""
    return Image.fromarray(np.array([levels], kind))


def class_folders(folder: Path) -> Path:
    """One red square for each class and split."""
    for split in SPLITS:
        for kind in ("a", "b"):
            place = folder / split / kind
            place.mkdir(parents=True)
            Image.new("RGB", (4, 4), RED).save(place / "x.png")
    return folder


def refused(path: Path) -> str:
    with pytest.raises(CourseError) as error:
        seen(path)
    message = str(error.value)
    assert path.name in message
    assert "\n" not in message
    assert message.endswith(".")
    return message


# ---------------------------------------------------------------- transparency


def transparent() -> Image.Image:
    """Transparent over dark blue, black, dark red, white."""
    pixels = [(10, 20, 30, 0), (*BLACK, 255), (*RED, 255), (*WHITE, 255)]
    return Image.fromarray(np.array([pixels], np.uint8))


def palette() -> Image.Image:
    image = Image.new("P", (4, 1))
    image.putpalette([10, 20, 30, *BLACK, *RED, *WHITE])
    image.putdata([0, 1, 2, 3])
    return image


ON_WHITE = [WHITE, BLACK, RED, WHITE]


@pytest.mark.parametrize("ending", ["png", "gif", "tiff", "webp", "tga", "jp2", "ico"])
def test_what_is_transparent_is_laid_on_white(tmp_path: Path, ending: str) -> None:
    options = {"lossless": True} if ending == "webp" else {}
    assert seen(saved(tmp_path / f"x.{ending}", transparent(), **options)) == ON_WHITE


@pytest.mark.parametrize("key", [0, bytes([0]), bytes([0, 255, 255, 255])], ids=str)
def test_a_transparent_entry_of_a_palette_is_laid_on_white(tmp_path: Path, key: Any) -> None:
    assert seen(saved(tmp_path / "x.png", palette(), transparency=key)) == ON_WHITE


def test_a_transparent_level_or_colour_is_laid_on_white(tmp_path: Path) -> None:
    colours = transparent().convert("RGB")
    path = saved(tmp_path / "rgb.png", colours, transparency=(10, 20, 30))
    assert seen(path) == ON_WHITE
    grey = row([7, 0, 255], np.uint8)
    assert seen(saved(tmp_path / "l.png", grey, transparency=7)) == [WHITE, BLACK, WHITE]
    deep = row([7, 0, 65535], np.uint16)
    assert seen(saved(tmp_path / "i.png", deep, transparency=7)) == [WHITE, BLACK, WHITE]


def test_half_transparent_is_half_white(tmp_path: Path) -> None:
    half = Image.fromarray(np.array([[[0, 0, 0, 128]]], np.uint8))
    assert seen(saved(tmp_path / "x.png", half)) == [(127, 127, 127)]
    assert seen(saved(tmp_path / "la.png", half.convert("LA"))) == [(127, 127, 127)]


@pytest.mark.parametrize("mode", ["LA", "La", "PA", "RGBA", "RGBa"])
def test_every_mode_with_a_transparent_pixel_is_white_there(mode: str) -> None:
    assert in_colour(Image.new(mode, (1, 1)), mode).getpixel((0, 0)) == WHITE


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "CMYK", "YCbCr", "LAB", "HSV"])
def test_every_mode_of_colours_is_seen_in_its_colours(mode: str) -> None:
    if mode == "LAB" and not features.check("littlecms2"):
        pytest.skip("this Pillow has no littlecms")
    colours = np.array([[BLACK, WHITE, BLACK if mode in "1L" else RED]], np.uint8)
    plain = Image.fromarray(colours)
    image = plain.quantize(4) if mode == "P" else plain.convert(mode)
    result = np.asarray(in_colour(image, mode)).astype(int)
    assert np.abs(result - colours).max() <= 6


# ---------------------------------------------------------------- more than 8 bits

RAMP = [0, 1000, 32768, 65535]
SEEN_RAMP = [(0,) * 3, (4,) * 3, (128,) * 3, (255,) * 3]


@pytest.mark.parametrize("ending", ["png", "tiff", "pgm"])
def test_grey_of_16_bits_is_scaled_to_256_levels(tmp_path: Path, ending: str) -> None:
    assert seen(saved(tmp_path / f"x.{ending}", row(RAMP, np.uint16))) == SEEN_RAMP


@pytest.mark.parametrize("kind", ["<u2", ">u2", np.int32])
def test_whole_numbers_of_any_byte_order_are_scaled(kind: Any) -> None:
    result = np.asarray(in_colour(row(RAMP, kind), "x"))[0].tolist()
    assert list(map(tuple, result)) == SEEN_RAMP


def test_floats_from_0_to_1_are_scaled_and_others_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "x.tiff", row([0, 0.1, 0.5, 1], np.float32))
    assert seen(path) == [(0,) * 3, (26,) * 3, (128,) * 3, (255,) * 3]
    for number, levels in enumerate([[0, 200.0], [-0.5, 1], [np.nan, 1]]):
        path = saved(tmp_path / f"{number}.tiff", row(levels, np.float32))
        assert "0 to 1 were expected" in refused(path)


@pytest.mark.parametrize("levels", [[0, -1], [0, 70_000]])
def test_levels_that_are_no_grey_are_refused(tmp_path: Path, levels: list[int]) -> None:
    path = saved(tmp_path / "x.tiff", row(levels, np.int32))
    assert "0 to 65,535 were expected" in refused(path)


def negative(image: Image.Image) -> bytes:
    """A TIFF file that says that 0 is white."""
    stream = io.BytesIO()
    image.save(stream, "TIFF")
    content = bytearray(stream.getvalue())
    start = struct.unpack_from("<I", content, 4)[0]
    for number in range(struct.unpack_from("<H", content, start)[0]):
        entry = start + 2 + 12 * number
        if struct.unpack_from("<H", content, entry)[0] == 262:
            struct.pack_into("<H", content, entry + 8, 0)
    return bytes(content)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32])
def test_negatives_are_turned_round(tmp_path: Path, kind: Any) -> None:
    white = {np.uint8: 255, np.uint16: 65535, np.float32: 1}[kind]
    folder = class_folders(tmp_path)
    picture = Image.fromarray(np.zeros((4, 4), kind))
    picture.putpixel((0, 0), white)
    (folder / "test" / "a" / "x.tiff").write_bytes(negative(picture))
    image = load_folder(folder, size=4).test.images[1]
    assert image[:, 0, 0].tolist() == [0, 0, 0]
    assert image[:, 3, 3].tolist() == [255, 255, 255]


def deep_pictures(folder: Path, brightest: int) -> Path:
    """Grey pictures of 16 bits, the brightest level in the test set alone."""
    for split in SPLITS:
        for kind in ("a", "b"):
            levels = np.full((4, 4), brightest // 2, np.uint16)
            levels[0] = brightest if split == "test" else 0
            Image.fromarray(levels).save(folder / split / kind / "x.png")
    return folder


@pytest.mark.parametrize(
    ("brightest", "bits"), [(255, 8), (1023, 10), (4095, 12), (4000, 12), (16383, 14), (40000, 16)]
)
def test_fewer_bits_in_16_are_recognised_over_all_splits_and_said(
    tmp_path: Path, brightest: int, bits: int, capsys: pytest.CaptureFixture[str]
) -> None:
    splits = load_folder(deep_pictures(class_folders(tmp_path), brightest), size=4)
    white = 2**bits - 1
    assert splits.test.images.max() == round(255 * brightest / white)
    expected = round(255 * (brightest // 2) / white)
    for images in (splits.train, splits.validation, splits.test):
        assert set(images.images[:, :, 1:].flatten().tolist()) == {expected}, "all alike"
    line, _ = capsys.readouterr().out.splitlines()
    assert line == (
        f"6 grey pictures of 16 bits: levels 0 … {white:,} ({bits} bits) become 0 … 255."
    )


def png_of_16_bit_colours(level: int) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + checksum

    header = struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0)
    pixels = b"\0" + struct.pack(">6H", *[level] * 6)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(pixels))
        + chunk(b"IEND", b"")
    )


def test_colours_of_16_bits_are_read_and_refused_where_they_would_be_black(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(png_of_16_bit_colours(65535))
    assert seen(path) == [WHITE, WHITE]
    path.write_bytes(png_of_16_bit_colours(0))
    assert seen(path) == [BLACK, BLACK]
    path.write_bytes(png_of_16_bit_colours(4095))
    assert "nearly black" in refused(path)


# ---------------------------------------------------------------- turned, large, of several frames


@pytest.mark.parametrize("ending", ["jpg", "png", "tiff", "webp"])
@pytest.mark.parametrize(("turn", "corner"), [(3, (3, 1)), (6, (1, 0)), (8, (0, 3))])
def test_pictures_are_turned_upright(
    tmp_path: Path, ending: str, turn: int, corner: tuple[int, int]
) -> None:
    picture = Image.new("RGB", (4, 2))
    picture.putpixel((0, 0), WHITE)
    exif = Image.Exif()
    exif[0x0112] = turn
    path = saved(tmp_path / f"x.{ending}", picture, exif=exif)
    upright = open_picture(path).image.convert("L")
    brightest = np.asarray(upright).argmax()
    assert (brightest % upright.width, brightest // upright.width) == corner


def test_too_many_pixels_are_refused_with_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(tmp_path / "poster.png", Image.new("1", (30, 30)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    message = refused(path)
    assert "too large (900 pixels)" in message
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 600)  # of which Pillow warns only
    assert seen(path)[0] == BLACK


@pytest.mark.parametrize("ending", ["gif", "png", "tiff", "webp"])
def test_of_several_frames_the_first_is_read_and_that_is_said(
    tmp_path: Path, ending: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = class_folders(tmp_path)
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("white", "black")]
    path = folder / "test" / "a" / f"film.{ending}"
    frames[0].save(path, save_all=True, append_images=frames[1:])
    splits = load_folder(folder, size=4)
    assert splits.test.images[0].min() == 255
    line, _ = capsys.readouterr().out.splitlines()
    assert line == f"Of pictures with several frames the first is read: film.{ending}."


# ---------------------------------------------------------------- which files are pictures

ALSO_READ = ["jfif", "JPG", "gif", "bmp", "webp", "tiff", "jp2", "ico", "tga", "ppm"]
if features.check("avif"):
    ALSO_READ.append("avif")


@pytest.mark.parametrize("ending", ALSO_READ)
def test_formats_that_pillow_reads_are_read(tmp_path: Path, ending: str) -> None:
    folder = class_folders(tmp_path)
    Image.new("RGB", (4, 4), "white").save(folder / "train" / "a" / f"y.{ending}")
    splits = load_folder(folder, size=4)
    assert len(splits.train) == 3
    assert splits.train.images[1].min() >= 250


def test_a_file_without_an_ending_is_judged_by_its_content(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = class_folders(tmp_path)
    place = folder / "train" / "a"
    Image.new("RGB", (4, 4)).save(place / "y", "JPEG")
    (place / "README").write_text("Mine.")
    assert len(load_folder(folder, size=4).train) == 3
    assert capsys.readouterr().out.splitlines()[0] == "1 file left out: no ending 1."


def test_what_is_left_out_is_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = class_folders(tmp_path)
    for number in range(8):
        (folder / "train" / "a" / f"{number}.txt").write_text("a cat")
    (folder / "test" / "b" / "phone.heic").write_bytes(b"not for Pillow")
    Image.new("RGB", (4, 4)).save(folder / "test" / "loose.png")
    load_folder(folder, size=4)
    line, _ = capsys.readouterr().out.splitlines()
    counts = ".txt 8, .png beside the class folders 1, .heic 1"
    assert line == f"10 files left out: {counts}."


JUNK = [
    ".hidden.png",
    "._x.png",
    ".ipynb_checkpoints/x-checkpoint.png",
    ".DS_Store",
    "__MACOSX/x.png",
    "__MACOSX/._x.png",
    "Thumbs.db",
    "desktop.ini",
    "@eaDir/x.png",
]


@pytest.mark.parametrize("name", JUNK)
@pytest.mark.parametrize("level", ["", "a"], ids=["beside the classes", "in a class"])
def test_what_systems_leave_behind_is_no_picture_and_no_class(
    tmp_path: Path, name: str, level: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = class_folders(tmp_path)
    for split in SPLITS:
        path = folder / split / level / name
        path.parent.mkdir(exist_ok=True)
        if path.name.startswith("._"):
            path.write_bytes(b"\0\5\26\7 resources of macOS")
        else:
            Image.new("RGB", (4, 4)).save(path, "PNG")
    splits = load_folder(folder, size=4)
    assert splits.train.classes == ("a", "b")
    assert len(splits.train) == 2
    assert len(capsys.readouterr().out.splitlines()) == 1


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
@pytest.mark.parametrize("place", ["train/a", "train", "train/b"])
def test_a_link_to_a_folder_that_it_lies_in_is_passed_over(tmp_path: Path, place: str) -> None:
    folder = class_folders(tmp_path)
    # What `ln -s` makes where it is called twice.
    (folder / place / "again").symlink_to(folder / place)
    (folder / "train" / "a" / "up").symlink_to(folder / "train")
    splits = load_folder(folder, size=4)
    assert splits.train.classes == ("a", "b")
    assert len(splits.train) == 2


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_a_link_to_pictures_elsewhere_is_followed(tmp_path: Path) -> None:
    folder = class_folders(tmp_path / "pets")
    (folder / "train" / "a").rename(tmp_path / "store")
    (folder / "train" / "a").symlink_to(tmp_path / "store")
    assert len(load_folder(folder, size=4).train) == 2


def test_a_hidden_folder_that_holds_all_pictures_is_read(tmp_path: Path) -> None:
    (tmp_path / ".data").mkdir()
    assert len(load_folder(class_folders(tmp_path / ".data" / "pets"), size=4).train) == 2


def test_a_class_without_a_picture_says_what_lies_there(tmp_path: Path) -> None:
    folder = class_folders(tmp_path)
    (folder / "train" / "b" / "x.png").rename(folder / "train" / "b" / "x.heic")
    with pytest.raises(CourseError, match=r"b holds no picture, but 1 file: \.heic 1\.$"):
        load_folder(folder)


def test_files_are_read_in_the_order_of_torchvision(tmp_path: Path) -> None:
    from torchvision.datasets import ImageFolder

    folder = class_folders(tmp_path) / "train"
    for name in ("10.png", "9.png", "Z.png", "deep/1.png", "deep/er/1.png", "a.jpeg"):
        (folder / "a" / name).parent.mkdir(exist_ok=True, parents=True)
        Image.new("RGB", (4, 4)).save(folder / "a" / name)
    listing = find_pictures(folder)
    expected = ImageFolder(folder)
    assert list(map(str, listing.paths)) == [path for path, _ in expected.samples]
    assert listing.labels == expected.targets
    (pictures,) = PictureReader(4).read([listing])
    assert pictures.labels.tolist() == expected.targets


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read_is_named(tmp_path: Path) -> None:
    folder = class_folders(tmp_path)
    closed = folder / "train" / "a" / "more"
    closed.mkdir()
    closed.chmod(0)
    try:
        with pytest.raises(CourseError, match="train must hold .* permission denied"):
            load_folder(folder)
    finally:
        closed.chmod(0o700)


def test_the_home_folder_is_meant_by_its_sign(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class_folders(tmp_path / "pets")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert load_folder("~/pets", size=4).source == "pets, folder 2/2/2"


@pytest.mark.parametrize("size", [0, -1, 2.5, (32, 32), "32"])
def test_a_size_that_is_none_is_refused(tmp_path: Path, size: Any) -> None:
    with pytest.raises(CourseError, match="size must be a whole number"):
        load_folder(class_folders(tmp_path), size=size)
