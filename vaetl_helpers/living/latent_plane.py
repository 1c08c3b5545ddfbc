"""Chapter 3: the plane of codes of the course's VAE beside that of a plain autoencoder.

The script of the same name moves a point on each plane and decodes it; with an encoder, one draws a
digit, sees where q(z|x) lies, and what the digit costs in nats.
"""

from __future__ import annotations

import base64
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor, nn

from vaetl_helpers import nets, plots, vae
from vaetl_helpers.data.registry import embedded, entry
from vaetl_helpers.living import figure, weights
from vaetl_helpers.recorded import packaged_weights

GRID = 61  # places in each direction at which rounded and exact decoders are compared
STEPS = 11  # pictures along a line of the static figure


class Plane(NamedTuple):
    """A decoder of two latents, and codes [n, 2] of the test digits.

    What is shown of it lies within ±reach of the centre, in both latents.
    """

    decoder: nn.Module
    codes: np.ndarray
    centre: tuple[float, float]
    reach: float


def latent_plane(alt: str, draw: bool = True) -> None:
    """Two planes of codes to move about on; `draw`: also a sheet to draw on, and its two prices."""
    figure.show("latent_plane", plane_data(draw), static_figure(alt), alt)


@cache
def plane_data(draw: bool) -> dict[str, Any]:
    """What the script reads; `draw`: with the VAE's encoder, which makes it twice as large."""
    digits = _test_digits()
    first, second = planes()
    data: dict[str, Any] = {
        "vae": _packed(first) | {"start": [0.3, -1.1]},
        "autoencoder": _packed(second) | {"start": _hole(second)},
        "labels": "".join(map(str, digits.labels.tolist())),
        "note": _note(first),
    }
    if draw:
        model, _ = vae.pretrained("vae-mnist-2d")
        data["vae"]["encoder"] = weights.packed(encoder_network(model))
        data["digits"] = _bits(ten_digits())
    return data


@cache
def planes() -> tuple[Plane, Plane]:
    """That of the VAE and that of the autoencoder, with the embedded test digits in grey."""
    model, _ = vae.pretrained("vae-mnist-2d")
    plain = plain_autoencoder()
    images = _test_digits().images.float() / 255
    with torch.no_grad():
        means = model.encode(images).mean.numpy()
        codes = plain.encoder(images).numpy()
    first, second = np.quantile(codes, (0.005, 0.995), axis=0).mean(0).tolist()
    return (
        _plane(model.decoder, means, (0.0, 0.0)),
        _plane(plain.decoder, codes, (first, second)),
    )


def _plane(decoder: nn.Module, codes: np.ndarray, centre: tuple[float, float]) -> Plane:
    """A square around the centre from which one in 200 codes sticks out, and a margin."""
    farthest = np.abs(codes - np.array(centre)).max(1)
    return Plane(decoder, codes, centre, 1.05 * float(np.quantile(farthest, 0.995)))


def plain_autoencoder() -> Any:
    """The packaged autoencoder with two latents, in eval mode; its parts: encoder and decoder."""
    tensors, facts = packaged_weights("autoencoder-mnist-2d")
    model = nets.mlp_autoencoder(**facts["architecture"])
    model.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
    return model.eval()


def encoder_network(model: vae.VAE) -> nn.Sequential:
    """The encoder as one network, pixels → (μ, log σ²)."""
    encoder: Any = model.encoder
    heads = nn.Linear(encoder.mu.in_features, 4)
    with torch.no_grad():
        heads.weight.copy_(torch.cat([encoder.mu.weight, encoder.log_var.weight]))
        heads.bias.copy_(torch.cat([encoder.mu.bias, encoder.log_var.bias]))
    return nn.Sequential(encoder.body, heads)


@cache
def ten_digits() -> Tensor:
    """The first test digit of each class, black and white, [10, 1, 28, 28]."""
    digits = _test_digits()
    rows = [int((digits.labels == label).nonzero()[0]) for label in range(10)]
    return vae.binarise(digits.images[rows].float() / 255, "static")


@cache
def rounding_error() -> tuple[float, float]:
    """How much rounded weights change a pixel's probability on the VAE's plane: most, mean."""
    plane, _ = planes()
    steps = torch.linspace(-plane.reach, plane.reach, GRID)
    codes = torch.cartesian_prod(steps, steps)
    with torch.no_grad():
        exact = plane.decoder(codes).sigmoid()
        rounded = weights.with_rounded_weights(plane.decoder)(codes).sigmoid()
    difference = (rounded - exact).abs()
    return difference.max().item(), difference.mean().item()


def _test_digits() -> Any:
    return embedded(entry("mnist")).test


def _packed(plane: Plane) -> dict[str, Any]:
    centre = np.array(plane.centre)
    return {
        "decoder": weights.packed(plane.decoder),
        "codes": weights.whole_numbers(plane.codes - centre, plane.reach),
        "centre": [round(value, 4) for value in plane.centre],
        "reach": round(plane.reach, 4),
    }


def _note(plane: Plane) -> str:
    largest, mean = rounding_error()
    return (
        f"Dots: the codes of {len(plane.codes):,} test digits, coloured by class; the few that lie "
        "outside are drawn at the edge. Numerals stand in the middle of a class, and the dashed "
        "circle holds 86 % of the prior. The weights are rounded to eight bits, which changes the "
        f"probability of a pixel on the VAE’s plane by {mean:.4f} on average and by {largest:.2f} "
        "at most."
    )


def _hole(plane: Plane) -> list[float]:
    """The place amid the codes that is farthest from all of them."""
    low, high = np.quantile(plane.codes, (0.15, 0.85), axis=0)
    axes = [np.linspace(low[axis], high[axis], GRID) for axis in (0, 1)]
    places = np.stack(np.meshgrid(*axes), -1).reshape(-1, 2)
    distances = np.linalg.norm(places[:, None] - plane.codes, axis=-1).min(1)
    return [round(float(value), 3) for value in places[distances.argmax()]]


def _bits(images: Tensor) -> str:
    return base64.b64encode(np.packbits(images.numpy().astype(bool)).tobytes()).decode()


# ---------------------------------------------------------------- where nobody can move it


def static_figure(alt: str) -> Figure:
    """The two planes, a line across each, and what the places along it decode to."""
    labels = _test_digits().labels.numpy()
    names = ("Variational autoencoder", "Plain autoencoder")
    axes = plots.panels(names, alt, height=4.8, width=4.5)
    drawn = axes[0].figure
    for axis, plane in zip(axes, planes(), strict=True):
        _draw_plane(axis, plane, labels)
    assert isinstance(drawn, Figure)
    return drawn


def _draw_plane(axis: Axes, plane: Plane, labels: np.ndarray) -> None:
    middles = np.array([np.median(plane.codes[labels == label], axis=0) for label in range(10)])
    colours = [*plots.COLOURS, "#8A6400", "#C2255C", "#0B7F8F"]
    for label, middle in enumerate(middles):
        x, y = plane.codes[labels == label].T
        axis.plot(x, y, ".", color=colours[label], markersize=3, alpha=0.6)
        box = {"boxstyle": "circle,pad=0.15", "facecolor": "white", "linewidth": 0}
        x, y = middle
        axis.text(x, y, str(label), color=colours[label], ha="center", va="center", bbox=box)
    start, end = middles[1], middles[0]
    line = np.linspace(start, end, STEPS)
    axis.plot(line[:, 0], line[:, 1], "-", color="black", linewidth=1)
    limits = [(middle - plane.reach, middle + plane.reach) for middle in plane.centre]
    axis.set(xlabel="latent 1", ylabel="latent 2", xlim=limits[0], ylim=limits[1])
    axis.set_aspect("equal")
    with torch.no_grad():
        pictures = plane.decoder(torch.tensor(line, dtype=torch.float32)).sigmoid()
    strip = axis.inset_axes((0, -0.3, 1, 1 / STEPS))
    strip.imshow(torch.cat(list(pictures[:, 0]), 1).numpy(), cmap="gray_r", aspect="auto")
    strip.set(xticks=[], yticks=[], xlabel="along the line, from 1 to 0")
    strip.grid(False)
