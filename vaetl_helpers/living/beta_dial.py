"""Chapter 3b's dial of β: recorded VAEs with two latents, and all that changes with the price."""

from __future__ import annotations

import base64
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vaetl_helpers import plots
from vaetl_helpers.errors import CourseError
from vaetl_helpers.living import figure
from vaetl_helpers.recorded import recorded_arrays

NAME = "03b_betas"
LEVELS = 15  # of ink in a picture on the page, besides none
CODE_STEP = 0.05  # of codes on the page, which are stored as whole numbers of eight bits
START = 1.0
PANELS = (1.0, 9.0, 20.0)  # β of the static figure's planes


class Dial(NamedTuple):
    """The recorded VAEs, a row for each β (see authoring/assets/record_betas.py)."""

    betas: list[float]
    rates: np.ndarray  # [β, latent], nats per image
    distortions: np.ndarray  # [β], nats per image
    means: np.ndarray  # [β, digits, latent]
    sigmas: np.ndarray  # [β, 10, latent], of the ten digits in `rows`
    reconstructions: np.ndarray  # [β, 10, 28, 28], uint8
    samples: np.ndarray  # [β, 10, 28, 28], uint8
    originals: np.ndarray  # [10, 28, 28], uint8
    prior_codes: np.ndarray  # [10, latent], of the samples
    labels: np.ndarray  # [digits]
    rows: np.ndarray  # [10], which of the digits are reconstructed
    facts: dict[str, Any]

    @property
    def elbos(self) -> np.ndarray:
        """The ELBO of each VAE in nats per image, whatever β it was trained at."""
        return -self.distortions - self.rates.sum(1)


def dial() -> Dial:
    """The recorded VAEs of the package."""
    arrays, facts = recorded_arrays(NAME)
    return Dial(
        betas=[float(beta) for beta in facts["betas"]],
        rates=arrays["rate"],
        distortions=arrays["distortion"],
        means=arrays["means"].astype(np.float32),
        sigmas=np.exp(0.5 * arrays["log_variances"].astype(np.float32)),
        reconstructions=arrays["reconstructions"],
        samples=arrays["samples"],
        originals=arrays["originals"],
        prior_codes=arrays["prior_codes"],
        labels=arrays["labels"],
        rows=arrays["rows"],
        facts=facts,
    )


def beta_dial(alt: str, beta: float = START) -> None:
    """Shows the dial: plane, reconstructions, samples, and the dot on rate and distortion.

    `beta` is where it begins; raises CourseError for one that was not recorded.
    """
    recorded = dial()
    if beta not in recorded.betas:
        known = ", ".join(f"{known:g}" for known in recorded.betas)
        raise CourseError(f"No VAE was recorded at β = {beta:g}: choose one of {known}.")
    figure.show("beta_dial", data(recorded, beta), static(recorded), alt)


def data(recorded: Dial, beta: float = START) -> dict[str, Any]:
    """What the script needs: numbers in JSON, codes in 8 bits, pictures in 16 levels of ink."""
    return {
        "betas": recorded.betas,
        "start": recorded.betas.index(beta),
        "rates": np.round(recorded.rates, 3).tolist(),
        "distortions": np.round(recorded.distortions, 2).tolist(),
        "codeStep": CODE_STEP,
        "means": _in_base64(_whole(recorded.means)),
        "labels": recorded.labels.tolist(),
        "rows": recorded.rows.tolist(),
        "sigmas": np.round(recorded.sigmas, 3).tolist(),
        "priorCodes": np.round(recorded.prior_codes, 3).tolist(),
        "originals": _in_base64(packed(recorded.originals)),
        "reconstructions": _in_base64(packed(recorded.reconstructions)),
        "samples": _in_base64(packed(recorded.samples)),
        "origin": recorded.facts["label"],
    }


def _whole(codes: np.ndarray) -> np.ndarray:
    """Codes in steps of CODE_STEP; what lies further out than ±6.35 is put there."""
    return np.clip(np.round(codes / CODE_STEP), -127, 127).astype(np.int8)


def packed(pictures: np.ndarray) -> np.ndarray:
    """Pictures of 256 levels in 16, two pixels in a byte, the first in its upper half."""
    levels = np.round(pictures.reshape(-1) / 255 * LEVELS).astype(np.uint8)
    return levels[0::2] << 4 | levels[1::2]


def unpacked_codes(text: str) -> np.ndarray:
    """The codes as the page's script has them, from base64 of whole numbers of eight bits."""
    return CODE_STEP * np.frombuffer(base64.b64decode(text), np.int8).astype(np.float32)


def _in_base64(array: np.ndarray) -> str:
    return base64.b64encode(array.tobytes()).decode()


# ---------------------------------------------------------------- the static figure


def static(recorded: Dial) -> Figure:
    """Rate and distortion of all β, and plane and reconstructions at three of them."""
    with plt.rc_context(plots.STYLE):
        drawing = plt.figure(figsize=(10, 4.8))
        curve, rest = drawing.subfigures(1, 2, squeeze=False, width_ratios=(1, 1.45))[0]
        _draw_curve(curve.subplots(), recorded)
        axes = rest.subplots(3, 3, height_ratios=(2.5, 1, 1))
        for column, beta in zip(axes.T, PANELS, strict=True):
            row = recorded.betas.index(beta)
            _draw_plane(column[0], recorded, row)
            _draw_pictures(column[1], recorded.reconstructions[row])
            _draw_pictures(column[2], recorded.samples[row])
            column[0].set_title(f"β = {beta:g}")
        rows = ("codes:\nlatent 2", "recon-\nstructions", "samples")
        for axis, name in zip(axes[:, 0], rows, strict=True):
            axis.set_ylabel(name)
        drawing.suptitle(recorded.facts["label"], fontsize=9, color=plots.GREY)
    return drawing


def _draw_curve(axis: Axes, recorded: Dial) -> None:
    rates = recorded.rates.sum(1)
    axis.plot(rates, recorded.distortions, "o-", color=plots.COLOURS[0], markersize=5)
    best = recorded.elbos.max()
    ends = np.array([0, rates.max()])
    axis.plot(ends, -best - ends, color=plots.GREY, linewidth=1, label="same ELBO as the best")
    for beta, rate, distortion in zip(recorded.betas, rates, recorded.distortions, strict=True):
        if beta in (0.1, 1, 4, 9, 13, 30):
            text = f"β = {beta:g}"
            axis.annotate(text, (rate, distortion), xytext=(6, 4), textcoords="offset points")
    axis.set(xlabel="rate: KL (nats per image)", ylabel="distortion (nats per image)")
    axis.set_title("a lower β: more code, less distortion")
    axis.margins(x=0.18)
    axis.legend(frameon=False, fontsize=9)


def _draw_plane(axis: Axes, recorded: Dial, row: int) -> None:
    palette = plt.get_cmap("tab10")
    colours = [palette(label) for label in recorded.labels]
    first, second = recorded.means[row].T
    axis.scatter(first, second, c=colours, s=3, linewidths=0)
    axis.set(xlim=(-4, 4), ylim=(-4, 4), aspect="equal")
    axis.set_xlabel("latent 1, from −4 to 4", fontsize=9)
    axis.tick_params(labelbottom=False, labelleft=False, length=0)


def _draw_pictures(axis: Axes, pictures: np.ndarray) -> None:
    """Ten pictures in two rows of five."""
    rows = [np.hstack(list(pictures[:5])), np.hstack(list(pictures[5:]))]
    axis.imshow(np.vstack(rows), cmap="gray_r", vmin=0, vmax=255)
    axis.grid(False)
    axis.set(xticks=[], yticks=[])
    for spine in axis.spines.values():
        spine.set_visible(False)
