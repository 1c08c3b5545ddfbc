"""One model for images with and without labels, parts of a VAE put to use again, and how alike two representations are.

Everything is in nats per image. M2: Kingma, Mohamed, Rezende and Welling 2014, Semi-supervised Learning with Deep
Generative Models, arXiv 1406.5298.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from vaetl_helpers import nets, vae
from vaetl_helpers.data import ImageSet
from vaetl_helpers.runtime import CourseError, unknown
from vaetl_helpers.training import LossFunction
from vaetl_helpers.transfer import freeze

OneHot = Float[Tensor, "*batch classes"]

# ---------------------------------------------------------------- how alike two representations are


def debiased_cka(x: Float[Tensor, "images d1"], y: Float[Tensor, "images d2"]) -> float:
    """Linear CKA of two features of the same images, from unbiased HSIC: 1 if equal up to rotation and scale.

    About 0, of either sign, for independent features of any width; the usual estimate then grows with the width.
    CKA: Kornblith et al. 2019, arXiv 1905.00414; unbiased HSIC: Song et al. 2012; together: Nguyen et al. 2021,
    arXiv 2010.15327. Time and memory are quadratic in the images. Raises CourseError below 4 images, where the rows do
    not match, and for features that do not vary.
    """
    if x.dim() != 2 or y.dim() != 2 or len(x) != len(y) or len(x) < 4:
        shapes = f"{list(x.shape)} and {list(y.shape)}"
        raise CourseError(f"CKA compares features [images, d] of the same 4 or more images, not {shapes}: flatten(1).")
    k, m = _gram(x), _gram(y)
    own_x, own_y = _hsic(k, k), _hsic(m, m)
    if not (own_x > 0 and own_y > 0):  # also refuses NaN
        raise CourseError("CKA needs finite features that vary over the images: look at them, or take more images.")
    return _hsic(k, m) / math.sqrt(own_x * own_y)


def _gram(x: Tensor) -> Tensor:
    """The inner products of all pairs of images, and 0 for each with itself, which is what makes HSIC unbiased."""
    x = x.detach().cpu().double()
    x = x - x.mean(0)  # changes nothing but rounding
    return (x @ x.T).fill_diagonal_(0)


def _hsic(k: Tensor, m: Tensor) -> float:
    """Song et al. 2012, eq. 5, for Gram matrices without their diagonals; the product of the two is never formed."""
    n = len(k)
    rows_k, rows_m = k.sum(0), m.sum(0)
    both = (k * m).sum() + rows_k.sum() * rows_m.sum() / ((n - 1) * (n - 2)) - 2 / (n - 2) * (rows_k @ rows_m)
    return both.item() / (n * (n - 3))


# ---------------------------------------------------------------- which part of a VAE transfers


def reuse(source: vae.VAE, fresh: vae.VAE, part: str) -> vae.VAE:
    """`fresh` with a frozen copy of the source's "encoder" or "decoder" in place of its own; the rest is to be trained.

    Raises CourseError for another part, and where the codes of the two VAEs differ in length.
    """
    if part not in ("encoder", "decoder"):
        raise unknown("part of a VAE", part, ("encoder", "decoder"))
    sizes = [model.encoder.mu.out_features for model in (source, fresh)]
    if sizes[0] != sizes[1]:
        raise CourseError(f"Codes of {sizes[0]} and {sizes[1]} latents do not fit together: build both with as many.")
    setattr(fresh, part, freeze(copy.deepcopy(getattr(source, part))))
    return fresh


# ---------------------------------------------------------------- joint training


def _some(labelled: ImageSet, count: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Up to `count` of the labelled images, in [0, 1], and their labels.

    They come from PyTorch's generator, which `fit` seeds for every epoch: a run that is resumed draws the same ones.
    """
    rows = torch.randperm(len(labelled))[:count].to(labelled.device)
    return labelled.images[rows].to(like) / 255, labelled.labels[rows].to(like.device)


class JointVAE(vae.VAE):
    """A VAE with a linear classifier on μ: one encoder serves both."""

    def __init__(self, encoder: nets.Encoder, decoder: nn.Module, classes: int, **kind: Any) -> None:
        super().__init__(encoder, decoder, **kind)
        self.head = nn.Linear(encoder.mu.out_features, classes)

    def classify(self, x: vae.Images) -> Float[Tensor, "batch classes"]:
        """Logits of the classes, from the posterior mean."""
        return self.head(self.encode(x).mean)


def multitask_loss(alpha: float, labelled: ImageSet, batch_size: int = 100, **objective: Any) -> LossFunction:
    """A loss for `fit` on unlabelled images: −ELBO + α · cross-entropy of a batch of labelled ones, in nats per image.

    For a JointVAE. The images' own labels are not used in training; `labelled` should be among them, since its images
    get no ELBO of their own. In eval mode the labels are those of the images, so that validation monitors `accuracy`.
    `objective` goes to `vae.vae_loss`.
    """
    bound = vae.vae_loss(**objective)

    def loss(model: nn.Module, images: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        negative_elbo, monitored = bound(model, images)
        x, y = _some(labelled, batch_size, images) if model.training else (images, labels)
        return _with_labels(negative_elbo, alpha, vae._bare(model).classify(x), y, monitored)

    return loss


def _with_labels(bound: Tensor, alpha: float, logits: Tensor, y: Tensor, monitored: dict[str, Tensor]) -> Any:
    cross_entropy = F.cross_entropy(logits, y)
    more = {"cross_entropy": cross_entropy, "accuracy": (logits.argmax(1) == y).float().mean()}
    return bound + alpha * cross_entropy, monitored | more


# ---------------------------------------------------------------- M2


class M2(nn.Module):
    """Images from a class and a code: p(y) uniform, p(z) = N(0, I), p(x|y,z); and q(y|x), q(z|x,y) (M2, section 2.1).

    One hidden layer each; `classifier` may be any network, images → logits. Labels y are one-hot, or what broadcasts
    like it, so that all classes can be tried at once. With `gaussian_log_var` the decoder gives the mean of a Gaussian:
    for features of another model (M1+M2).
    """

    def __init__(
        self,
        classes: int = 10,
        latent: int = 50,
        width: int = 500,
        shape: nets.Shape = vae.MNIST,
        gaussian_log_var: float | None = None,
        classifier: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.classes, pixels = classes, math.prod(shape)
        self.classifier = classifier or nets.mlp_classifier(width, pixels, classes)  # logits of q(y|x)
        self.x_to_hidden, self.y_to_hidden = nn.Linear(pixels, width), nn.Linear(classes, width, bias=False)
        self.encoder = nets.Encoder(nn.ReLU(), width, latent)  # q(z|x,y), after the two
        self.z_to_hidden, self.y_to_image = nn.Linear(latent, width), nn.Linear(classes, width, bias=False)
        self.decoder = nn.Sequential(nn.ReLU(), nn.Linear(width, pixels), nn.Unflatten(-1, shape))
        self.gaussian_log_var = gaussian_log_var

    def classify(self, x: vae.Images) -> Float[Tensor, "batch classes"]:
        """Logits of q(y|x)."""
        return vae._wide(self.classifier(x))

    def decode(self, y: OneHot, z: vae.Codes) -> vae.Images:
        """Logits (or Gaussian means) of p(x|y,z)."""
        return vae._wide(self.decoder(self.z_to_hidden(z) + self.y_to_image(y)))

    def labelled_bound(self, x: vae.Images, y: OneHot, noise: vae.Noise = None) -> vae.Nats:
        """−L(x, y) = log p(x|y,z) + log p(y) − KL(q(z|x,y) ‖ p(z)) ≤ log p(x, y) in nats, with one z (M2, eq. 6).

        x: [batch, …]; y: [batch, classes], or [classes, 1, classes] for all classes at once, and then the result is
        [classes, batch]. Noise [batch, latent] is the same for every class: their bounds then differ by y alone.
        """
        mu, log_var = self.encoder(self.x_to_hidden(x.flatten(1)) + self.y_to_hidden(y))  # the x part once for all y
        q = vae.Posterior(vae._wide(mu), vae._wide(log_var).clamp(*vae.LOG_VAR_RANGE))
        if noise is None:
            noise = vae._random(torch.randn, (len(x), mu.shape[-1]), q.mean, None)
        mean_or_logits = self.decode(y, q.sample(noise))
        return vae.VAE.log_likelihood(self, mean_or_logits, x) - math.log(self.classes) - vae.kl(*q)

    def unlabelled_bound(self, x: vae.Images, noise: vae.Noise = None) -> vae.Nats:
        """−U(x) = Σ_y q(y|x) (−L(x, y)) + H(q(y|x)) ≤ log p(x) of each image in nats (M2, eq. 7)."""
        log_q = self.classify(x).log_softmax(-1).T  # [classes, batch]
        every_y = torch.eye(self.classes, device=x.device, dtype=x.dtype)[:, None]
        return (log_q.exp() * (self.labelled_bound(x, every_y, noise) - log_q)).sum(0)


def m2_loss(
    alpha: float,
    labelled: ImageSet,
    weight: float = 0.0,
    batch_size: int = 100,
    prepare: Callable[[Tensor], Tensor] = vae.binarise,
) -> LossFunction:
    """A loss for `fit` on unlabelled images: U + weight · L + α · cross-entropy, in nats per image (M2, eq. 8 and 9).

    L and the cross-entropy are means over a batch of `labelled`. The paper adds up N images and takes α = 0.1 · N:
    divided by N, that is α = 0.1 here, and weight = labelled images / N. The images' own labels are not used in
    training; in eval mode they give the `accuracy`. `prepare` makes of images in [0, 1] what M2 models: features of a
    frozen VAE, say, for M1+M2.
    """

    def loss(model: nn.Module, images: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        bare = vae._bare(model)
        bound = -bare.unlabelled_bound(prepare(images)).mean()
        monitored = {"unlabelled": bound}
        x, y = _some(labelled, batch_size, images) if model.training else (images, labels)
        x = prepare(x)
        if weight and model.training:
            bound = bound - weight * bare.labelled_bound(x, F.one_hot(y, bare.classes).to(x)).mean()
        return _with_labels(bound, alpha, bare.classify(x), y, monitored)

    return loss
