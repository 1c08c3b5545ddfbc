"""Colour pictures for everybody: photos of installed packages, and animals drawn by code."""

from __future__ import annotations

import colorsys
import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from vaetl_helpers.data.images import ImageSet
from vaetl_helpers.errors import unknown_name_error
from vaetl_helpers.seeds import whole_number, whole_seed

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

Colour = tuple[int, int, int]
Point = tuple[float, float]

SIZE = 96  # pixels a side of a drawing
FINER = 4  # drawn so many times larger and then made small, so that edges are smooth
# The coats overlap in colour, so that colour alone does not tell the animals apart.
HUES = {"dog": (0.04, 0.11), "cat": (0.04, 0.12), "fox": (0.03, 0.09)}


def sample_photos(size: int = 224) -> dict[str, Tensor]:
    """Three photos that come with scikit-learn and Matplotlib: {what they show: uint8 [3, s, s]}.

    Those of scikit-learn are CC BY 2.0, Matplotlib's is in the public domain: DATA_NOTICES.md.
    """
    import matplotlib
    import sklearn.datasets
    from PIL import Image, ImageOps

    of_sklearn = Path(sklearn.datasets.__file__).parent / "images"
    paths = {
        "a building in China": of_sklearn / "china.jpg",
        "a flower": of_sklearn / "flower.jpg",
        "Grace Hopper": Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg",
    }
    photos = {}
    for name, path in paths.items():
        with Image.open(path) as picture:
            levels = np.array(ImageOps.fit(picture.convert("RGB"), (size, size)))
        photos[name] = torch.from_numpy(levels).permute(2, 0, 1).contiguous()
    return photos


def drawn_animals(kinds: tuple[str, ...], count: int, seed: int = 0) -> ImageSet:
    """`count` drawn faces of each kind, "dog", "cat" or "fox", with `kinds` as classes.

    Place, size, tilt, coat and ground are drawn at random by `seed`. Raises CourseError for another
    kind.
    """
    for kind in kinds:
        if kind not in HUES:
            raise unknown_name_error("animal", kind, HUES)
    count = whole_number(count, "count", lowest=1)
    chance = np.random.default_rng(whole_seed(seed))
    faces = [_face(kind, chance) for kind in kinds for _ in range(count)]
    labels = torch.arange(len(kinds)).repeat_interleave(count)
    return ImageSet(torch.from_numpy(np.stack(faces)).permute(0, 3, 1, 2), labels, kinds)


def _face(kind: str, chance: np.random.Generator) -> np.ndarray:
    from PIL import Image, ImageDraw

    side = SIZE * FINER
    ground = _colour(chance.uniform(), chance.uniform(0.1, 0.6), chance.uniform(0.4, 1))
    picture = Image.new("RGB", (side, side), ground)
    pen = Pen(ImageDraw.Draw(picture), chance)
    coat = _colour(chance.uniform(*HUES[kind]), chance.uniform(0.5, 0.9), chance.uniform(0.5, 0.95))
    light = _mixed(coat, (255, 250, 240), chance.uniform(0.5, 0.95))
    dark = _mixed(coat, (30, 20, 15), chance.uniform(0.4, 0.8))
    {"dog": _dog, "cat": _cat, "fox": _fox}[kind](pen, coat, light, dark)
    return np.array(picture.resize((SIZE, SIZE), Image.Resampling.LANCZOS))


class Pen:
    """Draws in a face's own coordinates: about −1 … 1, turned, stretched and moved by chance."""

    def __init__(self, draw: ImageDraw, chance: np.random.Generator) -> None:
        self.draw = draw
        self.chance = chance
        side = SIZE * FINER
        self.centre = side * chance.uniform(0.42, 0.58, 2)
        self.scale = side * chance.uniform(0.22, 0.38) * chance.uniform(0.9, 1.1, 2)
        self.turn = math.radians(chance.uniform(-25, 25))

    def about(self, value: float) -> float:
        """A length near `value`."""
        return float(value * self.chance.uniform(0.85, 1.15))

    def polygon(self, points: list[Point], colour: Colour) -> None:
        """Fills a polygon."""
        self.draw.polygon([self._place(x, y) for x, y in points], fill=colour)

    def oval(self, x: float, y: float, wide: float, high: float, colour: Colour) -> None:
        """Fills an ellipse round (x, y)."""
        turns = np.linspace(0, 2 * math.pi, 40)
        self.polygon([(x + wide * math.cos(t), y + high * math.sin(t)) for t in turns], colour)

    def line(self, a: Point, b: Point, colour: Colour) -> None:
        """Draws a thin line."""
        self.draw.line([self._place(*a), self._place(*b)], fill=colour, width=FINER)

    def _place(self, x: float, y: float) -> Point:
        cos, sin = math.cos(self.turn), math.sin(self.turn)
        x, y = x * self.scale[0], y * self.scale[1]
        return self.centre[0] + cos * x - sin * y, self.centre[1] + sin * x + cos * y


def _colour(hue: float, saturation: float, value: float) -> Colour:
    red, green, blue = (int(255 * part) for part in colorsys.hsv_to_rgb(hue, saturation, value))
    return red, green, blue


def _mixed(a: Colour, b: Colour, share: float) -> Colour:
    red, green, blue = (
        int((1 - share) * one + share * other) for one, other in zip(a, b, strict=True)
    )
    return red, green, blue


BLACK = (25, 20, 20)


def _eyes(pen: Pen, y: float, apart: float, colour: Colour) -> None:
    size = pen.about(0.13)
    for x in (-apart, apart):
        pen.oval(x, y, size, size, colour)
        pen.oval(x, y, size * 0.55, size * 0.7, BLACK)


def _ears(pen: Pen, high: float, colour: Colour, inside: Colour) -> None:
    """Two pointed ears."""
    for side in (-1, 1):
        base = [(side * 0.9, -0.3), (side * 0.2, -0.75)]
        pen.polygon([*base, (side * pen.about(0.85), -high)], colour)
        pen.polygon([(side * 0.78, -0.5), (side * 0.38, -0.75), (side * 0.75, -0.9 * high)], inside)


def _dog(pen: Pen, coat: Colour, light: Colour, dark: Colour) -> None:
    pen.oval(0, 0, pen.about(0.85), pen.about(0.95), coat)
    hang = pen.about(0.1)
    for side in (-1, 1):
        pen.oval(side * 0.9, hang, pen.about(0.27), pen.about(0.62), dark)
    pen.oval(0, 0.45, pen.about(0.5), pen.about(0.42), light)
    pen.oval(0, 0.28, 0.2, 0.14, BLACK)
    _eyes(pen, -0.2, pen.about(0.36), (90, 60, 30))
    if pen.chance.uniform() < 0.5:
        pen.oval(0, 0.8, 0.16, 0.26, (225, 110, 120))


def _cat(pen: Pen, coat: Colour, light: Colour, dark: Colour) -> None:
    _ears(pen, pen.about(1.25), coat, (235, 170, 170))
    pen.oval(0, 0, pen.about(0.95), pen.about(0.85), coat)
    for x in (-0.2, 0.0, 0.2):
        pen.polygon([(x - 0.05, -0.8), (x + 0.05, -0.8), (x, -0.4)], dark)
    pen.oval(0, 0.4, pen.about(0.34), pen.about(0.24), light)
    pen.polygon([(-0.1, 0.24), (0.1, 0.24), (0, 0.36)], (215, 120, 130))
    _eyes(pen, -0.1, pen.about(0.4), (150, 190, 80))
    for side in (-1, 1):
        for lift in (-0.12, 0.0, 0.12):
            pen.line((side * 0.25, 0.4), (side * 1.15, 0.4 + lift), BLACK)


def _fox(pen: Pen, coat: Colour, light: Colour, dark: Colour) -> None:
    _ears(pen, pen.about(1.3), coat, dark)
    wide, chin = pen.about(1.05), pen.about(1.0)
    pen.polygon([(-wide, 0.1), (-0.6, -0.7), (0.6, -0.7), (wide, 0.1), (0, chin)], coat)
    for side in (-1, 1):
        pen.polygon([(side * wide, 0.1), (side * 0.25, 0.15), (0, chin)], light)
    pen.oval(0, 0.92 * chin, 0.13, 0.11, BLACK)
    _eyes(pen, -0.12, pen.about(0.42), (200, 140, 40))
