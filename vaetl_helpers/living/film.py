"""A film of a VAE that learns: `fit(..., watch=film)` keeps a picture of each epoch.

Two things are seen: what the decoder makes of codes that stay the same, and where the encoder puts
images on a plane. With more than two latents it is the plane on which the classes' mean codes at
the end lie furthest apart: the labels choose the view, and nothing else. Where a person watches,
both are shown while the network trains.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from vaetl_helpers import plots
from vaetl_helpers.alt_texts import full_text
from vaetl_helpers.data.images import ImageSet
from vaetl_helpers.errors import CourseError
from vaetl_helpers.living import figure
from vaetl_helpers.output import is_interactive, notebook_kernel
from vaetl_helpers.seeds import whole_number
from vaetl_helpers.vae import VAE

Row = Mapping[str, float]
Plane = NDArray[np.float64]  # places [images, 2]

COLUMNS = 5  # the samples are COLUMNS × COLUMNS
LONGEST = 25  # frames of the film that is shown
GREYS = 16  # levels of the sprite; more cannot be seen at this size
EDGE = 100  # the plane is kept in whole numbers from −EDGE to EDGE
LIVE_SIDE = 280  # pixels of each of the two pictures that are shown during training


class Frame(NamedTuple):
    """What was seen after an epoch."""

    epoch: int
    cost: float  # minus the ELBO in nats per image; nan before training
    samples: Tensor  # uint8 [COLUMNS ** 2, height, width], what the codes are decoded to
    codes: Tensor  # posterior means [images, latent]


class Film:
    """Watches a VAE: hand it to `fit` as `watch`, then call `show`.

    `images` are placed on the plane, `count` of them; their labels only colour them. The samples'
    codes are drawn once, with `seed`, so that the same codes are decoded in each frame.
    """

    def __init__(self, images: ImageSet, count: int = 200, seed: int = 0) -> None:
        count = whole_number(count, "count", 1, example="200")
        self.images = images.subset(slice(count))
        self.seed = seed
        self.frames: dict[int, Frame] = {}  # by epoch: a run that is repeated takes its own place
        self.handle: Any = None
        self.shown: Plane | None = None  # the plane of the last live picture

    def __call__(self, model: nn.Module, row: Row) -> None:
        """Keeps a frame, and shows it where a person watches."""
        if not isinstance(model, VAE):
            raise CourseError(
                f"A Film watches a VAE, not {type(model).__name__}: it needs an encoder and a "
                "decoder. For another network write a function of model and row."
            )
        frame = self._frame(model, row)
        self.frames[frame.epoch] = frame
        if notebook_kernel() and is_interactive():
            self._show_live(frame)

    @torch.no_grad()
    def _frame(self, model: VAE, row: Row) -> Frame:
        device = next(model.parameters()).device
        pictures = self.images.images.to(device).float() / 255
        codes = model.encode(pictures).mean
        generator = torch.Generator().manual_seed(self.seed)
        noise = torch.randn(COLUMNS**2, codes.shape[1], generator=generator).to(device)
        samples = (255 * model.picture(noise)[:, 0]).round().byte().cpu()
        cost = float(row.get("loss", float("nan")))
        return Frame(int(row["epoch"]), cost, samples, codes.float().cpu())

    # ------------------------------------------------------------ while it trains

    def _show_live(self, frame: Frame) -> None:
        """One output that changes: samples at the left, the plane at the right."""
        from IPython.display import HTML, display

        plane = _scaled([plane_of(frame.codes, self._reference(frame))])[0]
        self.shown = plane = plane if self.shown is None else turned_to(plane, self.shown)
        source = base64.b64encode(_live_picture(frame.samples, plane, self._labels())).decode()
        words = html.escape(_in_words(frame))
        picture = HTML(
            f'<img alt="Samples, and the plane of codes: {words}" '
            f'src="data:image/png;base64,{source}"><p>{words}</p>'
        )
        if self.handle is None or frame.epoch == 0:
            self.handle = display(picture, display_id=True)
        else:
            self.handle.update(picture)

    # ------------------------------------------------------------ afterwards

    def show(self, alt: str) -> None:
        """The film, at most LONGEST frames of it, with play, pause and a slider.

        Raises CourseError where nothing has been watched.
        """
        frames = self._chosen()
        text = f"{full_text(alt)} {_in_words(frames[-1])}"
        figure.show("film", self.data(), self._static(frames, self._planes(frames)), text)

    def data(self) -> dict[str, Any]:
        """What the script reads: the frames that are shown."""
        frames = self._chosen()
        height, width = frames[-1].samples.shape[1:]
        planes = np.stack(self._planes(frames)).astype(np.int8)
        return {
            "epochs": [frame.epoch for frame in frames],
            "costs": [_rounded(frame.cost) for frame in frames],
            "columns": COLUMNS,
            "size": [COLUMNS * width, COLUMNS * height],
            "sprite": sprite([tiled(frame.samples) for frame in frames]),
            "plane": base64.b64encode(planes.tobytes()).decode(),
            "edge": EDGE,
            "labels": self._labels(),
            "classes": list(self.images.classes),
        }

    def _planes(self, frames: list[Frame]) -> list[Plane]:
        """The codes of all frames, seen from one side and on one scale."""
        reference = self._reference(frames[-1])
        return _scaled([plane_of(frame.codes, reference) for frame in frames])

    def _chosen(self) -> list[Frame]:
        """The first and the last frame, and between them more early ones, when most happens."""
        if not self.frames:
            raise CourseError(
                "The film is empty: hand it to the training first, fit(..., watch=film)."
            )
        epochs = sorted(self.frames)
        if len(epochs) <= LONGEST:
            return [self.frames[epoch] for epoch in epochs]
        # Evenly in the square root of the place: twice as dense at the start as in the middle.
        places = np.linspace(0, 1, LONGEST) ** 2 * (len(epochs) - 1)
        chosen = np.maximum(places.round().astype(int), np.arange(LONGEST))
        return [self.frames[epochs[place]] for place in chosen]

    def _reference(self, frame: Frame) -> Tensor:
        """What lies furthest apart on the plane: the classes' mean codes."""
        return class_means(frame.codes, self.images.labels.cpu())

    def _labels(self) -> list[int]:
        labels: list[int] = self.images.labels.tolist()
        return labels

    def _static(self, frames: list[Frame], planes: list[Plane]) -> Any:
        """Samples above and planes below, of four frames."""
        places = sorted({round(share * (len(frames) - 1)) for share in (0, 0.2, 0.5, 1)})
        titles = [_title(frames[place]) for place in places]
        axes = plots.panels([*titles, *[""] * len(places)], "", 2.4, 2.4, columns=len(places))
        colours = [plots.COLOURS[label % len(plots.COLOURS)] for label in self._labels()]
        for upper, lower, place in zip(axes, axes[len(places) :], places, strict=False):
            upper.imshow(tiled(frames[place].samples), cmap="gray_r", vmin=0, vmax=255)
            shown = zip(planes[place], self._labels(), colours, strict=True)
            for (x, y), label, colour in list(shown)[::3]:  # a picture of a third is legible
                style: dict[str, Any] = {"color": colour, "fontsize": 7, "clip_on": True}
                lower.text(x, y, str(label), ha="center", va="center", **style)
            lower.set(xlim=(-EDGE, EDGE), ylim=(-EDGE, EDGE), aspect="equal")
            for axis in (upper, lower):
                axis.set(xticks=[], yticks=[])
                axis.grid(False)
        axes[0].set_ylabel("samples")
        axes[len(places)].set_ylabel("codes")
        return axes[0].figure


def plane_of(codes: Tensor, reference: Tensor) -> Plane:
    """Codes [images, latent] on the two directions in which `reference` varies most.

    `reference` is [points, latent]. Two latents are the plane themselves.
    """
    if codes.shape[1] <= 2:
        return cast(Plane, F.pad(codes.double(), (0, 2 - codes.shape[1])).numpy())
    middle = reference.mean(0)
    directions = torch.linalg.svd((reference - middle).double(), full_matrices=False).Vh[:2]
    return cast(Plane, ((codes - middle).double() @ directions.T).numpy())


def class_means(codes: Tensor, labels: Tensor) -> Tensor:
    """The mean code of each class [classes, latent]; all codes where there are fewer than three."""
    means = [codes[labels == label].mean(0) for label in labels.unique()]
    return torch.stack(means) if len(means) > 2 else codes


def turned_to(plane: Plane, other: Plane) -> Plane:
    """The plane turned and mirrored so that its points come as near as they can to the other's.

    Orthogonal Procrustes (Schönemann 1966): directions of most variance have no sign, and would
    jump from epoch to epoch.
    """
    left, _, right = np.linalg.svd(plane.T @ other)
    return cast(Plane, plane @ left @ right)


def _scaled(planes: list[Plane]) -> list[Plane]:
    """All planes by one factor, so that the widest has room within EDGE."""
    widest = max(np.quantile(np.abs(plane), 0.99) for plane in planes) or 1.0
    return [(0.9 * EDGE / widest * plane).clip(-EDGE, EDGE).round() for plane in planes]


def tiled(pictures: Tensor) -> NDArray[np.uint8]:
    """Pictures [COLUMNS ** 2, height, width] as one [COLUMNS · height, COLUMNS · width]."""
    count, height, width = pictures.shape
    rows = pictures.reshape(count // COLUMNS, COLUMNS, height, width).transpose(1, 2)
    return cast(NDArray[np.uint8], rows.reshape(-1, COLUMNS * width).numpy())


def sprite(tiles: list[NDArray[np.uint8]]) -> str:
    """Frames [height, width] below each other, as a PNG of few greys in base64."""
    from PIL import Image

    step = 255 // (GREYS - 1)
    whole = np.concatenate(tiles).astype(int)
    picture = Image.fromarray(((whole + step // 2) // step).astype(np.uint8))
    picture.putpalette([channel for grey in range(GREYS) for channel in (grey * step,) * 3])
    content = io.BytesIO()
    picture.save(content, "PNG", optimize=True, bits=4)
    return base64.b64encode(content.getvalue()).decode()


def _live_picture(samples: Tensor, plane: Plane, labels: list[int]) -> bytes:
    """A PNG of the two pictures side by side, drawn within milliseconds."""
    from PIL import Image, ImageDraw

    canvas = Image.new("RGB", (2 * LIVE_SIDE + 10, LIVE_SIDE), "white")
    picture = Image.fromarray(255 - tiled(samples)).resize((LIVE_SIDE, LIVE_SIDE))
    canvas.paste(picture.convert("RGB"))
    draw = ImageDraw.Draw(canvas)
    for (x, y), label in zip(plane, labels, strict=True):
        left = LIVE_SIDE + 10 + LIVE_SIDE * (x + EDGE) / (2 * EDGE)
        top = LIVE_SIDE * (EDGE - y) / (2 * EDGE)
        colour = plots.COLOURS[label % len(plots.COLOURS)]
        draw.text((left, top), str(label), fill=colour, anchor="mm")
    content = io.BytesIO()
    canvas.save(content, "PNG", compress_level=1)
    return content.getvalue()


def _rounded(cost: float) -> float | None:
    return None if np.isnan(cost) else round(cost, 1)


def _title(frame: Frame) -> str:
    return "untrained" if frame.epoch == 0 else f"epoch {frame.epoch}"


def _in_words(frame: Frame) -> str:
    if np.isnan(frame.cost):
        return f"Before training (epoch {frame.epoch})."
    return f"After epoch {frame.epoch}: an image costs {frame.cost:.1f} nats."
