"""Controls. Where nobody can move them (papermill, nbval, a web page), each is a plain figure instead."""

from __future__ import annotations

import base64
import html
import io

import torch
from torch import Tensor

from vaetl_helpers import plots
from vaetl_helpers.runtime import someone_watches
from vaetl_helpers.vae import VAE

REACH, CELLS, SCALE = 3.0, 15, 10  # the map covers ±3 in both latents with 15 × 15 pictures; a point's is 10 × larger


def map_of_pictures(model: VAE) -> Tensor:
    """The pictures of a grid of codes as one image [height, width] in [0, 1]; the second latent grows upwards."""
    steps = torch.linspace(-REACH, REACH, CELLS)
    codes = torch.cartesian_prod(steps.flip(0), steps).flip(1).to(next(model.parameters()).device)
    pictures = model.picture(codes)[:, 0].cpu()
    height, width = pictures.shape[-2:]
    grid = pictures.view(CELLS, CELLS, height, width).transpose(1, 2)
    return grid.reshape(CELLS * height, CELLS * width)


def draw_point(model: VAE, background: Tensor, first: float, second: float) -> bytes:
    """A PNG: the map with a cross at the code (first, second), and that code's picture beside it."""
    from PIL import Image, ImageDraw

    code = torch.tensor([[first, second]], device=next(model.parameters()).device)
    side = background.shape[0]
    canvas = Image.new("RGB", (2 * side + 10, side), "white")
    canvas.paste(Image.fromarray(255 - (255 * background).byte().numpy()).convert("RGB"))
    picture = 255 - (255 * model.picture(code)[0, 0].cpu()).byte().numpy()
    canvas.paste(Image.fromarray(picture).resize((side, side), Image.Resampling.NEAREST), (side + 10, 0))
    x, y = side * (first + REACH) / (2 * REACH), side * (REACH - second) / (2 * REACH)
    draw = ImageDraw.Draw(canvas)
    for line in ((x - 15, y, x + 15, y), (x, y - 15, x, y + 15)):
        draw.line(line, fill=plots.COLOURS[1], width=5)
    content = io.BytesIO()
    canvas.save(content, "PNG", compress_level=1)
    return content.getvalue()


def latent_map(model: VAE, alt: str, first: float = 0.0, second: float = 0.0) -> None:
    """A map of a VAE with two latents and a point to move: two sliders, for mouse and arrow keys."""
    background = map_of_pictures(model)
    if not someone_watches():
        _static_map(model, background, first, second, alt)
        return
    import ipywidgets
    from IPython.display import display

    def picture() -> str:
        content = base64.b64encode(draw_point(model, background, *(slider.value for slider in sliders))).decode()
        return f'<img alt="{html.escape(alt)}" width="640" src="data:image/png;base64,{content}">'

    options = {"min": -REACH, "max": REACH, "step": 0.05, "continuous_update": True}
    sliders = [ipywidgets.FloatSlider(first, description="latent 1", **options),
               ipywidgets.FloatSlider(second, description="latent 2", **options)]  # fmt: skip

    image = ipywidgets.HTML(picture())  # the Image widget has no alternative text

    def move(_: object) -> None:
        image.value = picture()

    for slider in sliders:
        slider.observe(move, "value")
    display(ipywidgets.VBox([*sliders, image]))


def _static_map(model: VAE, background: Tensor, first: float, second: float, alt: str) -> None:
    left, right = plots.panels(["the map, and a point", f"decoded at ({first:g}, {second:g})"], alt, height=4.2)
    extent = (-REACH, REACH, -REACH, REACH)
    left.imshow(background, cmap="gray_r", extent=extent)
    left.plot([first], [second], "+", color=plots.COLOURS[1], markersize=18, markeredgewidth=3)
    left.set(xlabel="latent 1", ylabel="latent 2")
    code = torch.tensor([[first, second]], device=next(model.parameters()).device)
    right.imshow(model.picture(code)[0, 0].cpu(), cmap="gray_r", vmin=0, vmax=1)
    for axis in (left, right):
        axis.grid(False)
    right.set(xticks=[], yticks=[])
