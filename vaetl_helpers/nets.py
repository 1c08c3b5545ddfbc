"""The small networks that the chapters share.

Inputs are float images [batch, channels, height, width] in [0, 1].
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from itertools import pairwise

from torch import Tensor, nn

from vaetl_helpers.errors import unknown_name_error

Shape = tuple[int, int, int]  # channels, height, width
Activation = Callable[[], nn.Module]
ACTIVATIONS: dict[str, Activation] = {
    "ReLU": nn.ReLU,
    "LeakyReLU": nn.LeakyReLU,
    "ELU": nn.ELU,
    "GELU": nn.GELU,
    "SiLU": nn.SiLU,
    "Softplus": nn.Softplus,
    "Tanh": nn.Tanh,
    "Sigmoid": nn.Sigmoid,
}


def activation_by_name(name: str) -> Activation:
    """The activation that a checkpoint's facts name; raises CourseError for another name."""
    if name not in ACTIVATIONS:
        raise unknown_name_error("activation", name, ACTIVATIONS)
    return ACTIVATIONS[name]


def mlp_classifier(width: int = 128, pixels: int = 784, classes: int = 10) -> nn.Sequential:
    """One hidden layer: pixels → width → classes; returns logits [batch, classes]."""
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(pixels, width),
        nn.ReLU(),
        nn.Linear(width, classes),
    )


def small_cnn(
    width: int = 16, channels: int = 1, size: int = 28, classes: int = 10
) -> nn.Sequential:
    """Two convolutions with pooling and a hidden layer, for size × size images; returns logits."""
    pooled_size = size // 4
    return nn.Sequential(
        nn.Conv2d(channels, width, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),  # size → size / 2
        nn.Conv2d(width, 2 * width, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),  # size / 2 → size / 4
        nn.Flatten(),
        nn.Linear(2 * width * pooled_size**2, 8 * width),
        nn.ReLU(),
        nn.Linear(8 * width, classes),
    )


def transfer_cnn(channels: int = 1, classes: int = 2, width: int = 16) -> nn.Sequential:
    """Three blocks of convolution, BatchNorm and pooling, and a linear head; returns logits.

    The head works on 4 · width features. The four parts, `list(model)`, can be frozen or replaced
    one by one; images may have any size from 8 × 8.
    """
    mean_over_places = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())  # one number a filter
    return nn.Sequential(
        OrderedDict(
            # The largest of four is the same before ReLU, and then ReLU has less to do.
            block1=_block(channels, width, nn.MaxPool2d(2), nn.ReLU()),
            block2=_block(width, 2 * width, nn.MaxPool2d(2), nn.ReLU()),
            block3=_block(2 * width, 4 * width, nn.ReLU(), mean_over_places),
            head=nn.Linear(4 * width, classes),
        )
    )


def _block(channels: int, filters: int, *rest: nn.Module) -> nn.Sequential:
    # BatchNorm brings the bias.
    convolution = nn.Conv2d(channels, filters, kernel_size=3, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(filters), *rest)


class Encoder(nn.Module):
    """A body and two linear heads: images → (mu, raw log_var), each [batch, latent].

    `body` turns images into hidden features [batch, width]; it can be used on its own as a feature
    extractor.
    """

    def __init__(self, body: nn.Module, width: int, latent: int) -> None:
        super().__init__()
        self.body = body
        self.mu = nn.Linear(width, latent)
        self.log_var = nn.Linear(width, latent)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.body(images)
        return self.mu(hidden), self.log_var(hidden)


class Skip(nn.Sequential):
    """Its layers, added to what goes in.

    Deep networks then learn as quickly as shallow ones (He et al. 2015, arXiv:1512.03385).
    """

    def forward(self, hidden: Tensor) -> Tensor:
        change: Tensor = super().forward(hidden)
        return hidden + change


def _hidden_layers(sizes: Sequence[int], activation: Activation, skip: bool) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for size, following_size in pairwise(sizes):
        linear = nn.Linear(size, following_size)
        if skip and size == following_size:
            layers.append(Skip(linear, activation()))
        else:
            layers.append(linear)
            layers.append(activation())
    return layers


def mlp_encoder(
    latent: int,
    widths: Sequence[int] = (400,),
    shape: Shape = (1, 28, 28),
    activation: Activation = nn.ReLU,
    skip: bool = False,
) -> Encoder:
    """Pixels → widths → heads; `shape` is (channels, height, width).

    `skip`: layers that keep their width add to it.
    """
    sizes = [math.prod(shape), *widths]
    body = nn.Sequential(nn.Flatten(), *_hidden_layers(sizes, activation, skip))
    return Encoder(body, sizes[-1], latent)


def mlp_decoder(
    latent: int,
    widths: Sequence[int] = (400,),
    shape: Shape = (1, 28, 28),
    activation: Activation = nn.ReLU,
    skip: bool = False,
) -> nn.Sequential:
    """Its mirror: codes [batch, latent] → widths, last first → logits [batch, *shape]."""
    sizes = [latent, *reversed(widths)]
    to_pixels = nn.Linear(sizes[-1], math.prod(shape))
    hidden_layers = _hidden_layers(sizes, activation, skip)
    return nn.Sequential(*hidden_layers, to_pixels, nn.Unflatten(1, shape))


def mlp_autoencoder(
    latent: int, widths: Sequence[int] = (400,), activation: str = "ReLU", skip: bool = False
) -> nn.Sequential:
    """A plain autoencoder of 28 × 28 pixels: images → code [batch, latent] → logits.

    Its two parts have the layers of `mlp_encoder`, with one head, and of `mlp_decoder`. Raises
    CourseError for an unknown activation.
    """
    function = activation_by_name(activation)
    encoder = mlp_encoder(latent, widths, activation=function, skip=skip)
    decoder = mlp_decoder(latent, widths, activation=function, skip=skip)
    one_head = nn.Sequential(encoder.body, encoder.mu)
    return nn.Sequential(OrderedDict(encoder=one_head, decoder=decoder))


def conv_encoder(latent: int, width: int = 16, shape: Shape = (1, 28, 28)) -> Encoder:
    """Two convolutions of stride 2 and a hidden layer; height and width must be divisible by 4."""
    channels, height, columns = shape
    small_image = (height // 4) * (columns // 4)
    body = nn.Sequential(
        nn.Conv2d(channels, width, kernel_size=4, stride=2, padding=1),  # size → size / 2
        nn.ReLU(),
        nn.Conv2d(width, 2 * width, kernel_size=4, stride=2, padding=1),  # size / 2 → size / 4
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(2 * width * small_image, 16 * width),
        nn.ReLU(),
    )
    return Encoder(body, 16 * width, latent)


def conv_decoder(latent: int, width: int = 16, shape: Shape = (1, 28, 28)) -> nn.Sequential:
    """Its mirror, with transposed convolutions: codes [batch, latent] → logits [batch, *shape]."""
    channels, height, columns = shape
    small_shape = (2 * width, height // 4, columns // 4)
    return nn.Sequential(
        nn.Linear(latent, 16 * width),
        nn.ReLU(),
        nn.Linear(16 * width, math.prod(small_shape)),
        nn.ReLU(),
        nn.Unflatten(1, small_shape),
        nn.ConvTranspose2d(2 * width, width, kernel_size=4, stride=2, padding=1),
        nn.ReLU(),
        nn.ConvTranspose2d(width, channels, kernel_size=4, stride=2, padding=1),
    )


def trainable(model: nn.Module) -> list[nn.Parameter]:
    """The parameters that are not frozen: what an optimiser gets."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]
