"""A VAE with labels: the multi-task loss, and the semi-supervised M2 of Kingma et al. (2014)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from vaetl_helpers import nets, vae
from vaetl_helpers.data.images import ImageSet
from vaetl_helpers.errors import CourseError
from vaetl_helpers.training.evaluation import LossFunction

OneHot = Float[Tensor, "*batch classes"]
Logits = Float[Tensor, "batch classes"]
Monitored = dict[str, Tensor]
Loss = tuple[Tensor, Monitored]


class JointVAE(vae.VAE):
    """A VAE with a linear classifier on μ: one encoder serves both."""

    def __init__(
        self, encoder: nets.Encoder, decoder: nn.Module, classes: int, **kind: Any
    ) -> None:
        super().__init__(encoder, decoder, **kind)
        self.head = nn.Linear(encoder.mu.out_features, classes)

    def classify(self, x: vae.Images) -> Logits:
        """Logits of the classes, from the posterior mean."""
        return self.head(self.encode(x).mean)


def multitask_loss(
    alpha: float, labelled: ImageSet, batch_size: int = 100, **objective: Any
) -> LossFunction:
    """A loss for `fit` on unlabelled images: −ELBO + α · cross-entropy of a batch of labelled ones.

    In nats per image, for a JointVAE. The images' own labels are not used in training; `labelled`
    should be among them, since its images get no ELBO of their own. In eval mode the labels are
    those of the images, so that validation monitors `accuracy`. `objective` goes to `vae.vae_loss`.
    """
    bound = vae.vae_loss(**objective)

    def loss(model: nn.Module, images: Tensor, labels: Tensor) -> Loss:
        negative_elbo, monitored = bound(model, images)
        x, y = _labels_for(model, labelled, batch_size, images, labels)
        joint = cast(JointVAE, vae.without_wrapper(model))
        logits = joint.classify(x)
        return _with_labels(negative_elbo, alpha, logits, y, monitored)

    return loss


def _labels_for(
    model: nn.Module, labelled: ImageSet, count: int, images: Tensor, labels: Tensor
) -> tuple[Tensor, Tensor]:
    """In training up to `count` of the labelled images, in [0, 1], and their labels.

    They come from PyTorch's generator, which `fit` seeds for every epoch: a run that is resumed
    draws the same ones. In eval mode the batch itself, so that validation monitors its accuracy.
    """
    if not model.training:
        return images, labels
    order = torch.randperm(len(labelled))
    rows = order[:count].to(labelled.device)
    x = labelled.images[rows].to(images) / 255
    y = labelled.labels[rows].to(images.device)
    return x, y


def _with_labels(
    bound: Tensor, alpha: float, logits: Tensor, y: Tensor, monitored: Monitored
) -> Loss:
    cross_entropy = F.cross_entropy(logits, y)
    accuracy = (logits.argmax(1) == y).float().mean()
    of_labels = {"cross_entropy": cross_entropy, "accuracy": accuracy}
    return bound + alpha * cross_entropy, monitored | of_labels


class M2(nn.Module):
    """Images from a class and a code: p(y) uniform, p(z) = N(0, I), p(x|y,z); and q(y|x), q(z|x,y).

    M2, section 2. One hidden layer each; `classifier` may be any network, images → logits. Labels
    y are one-hot, or what broadcasts like it, so that all classes can be tried at once. With
    `gaussian_log_var` the decoder gives the mean of a Gaussian: for features of another model
    (M1+M2). With `learned_variance` too, that is where the log variance of each feature begins.
    """

    def __init__(
        self,
        classes: int = 10,
        latent: int = 50,
        width: int = 500,
        shape: nets.Shape = vae.MNIST,
        gaussian_log_var: float | None = None,
        classifier: nn.Module | None = None,
        *,
        learned_variance: bool = False,
    ) -> None:
        super().__init__()
        pixels = math.prod(shape)
        self.classes = classes
        # Logits of q(y|x).
        self.classifier = classifier or nets.mlp_classifier(width, pixels, classes)
        self.x_to_hidden = nn.Linear(pixels, width)
        self.y_to_hidden = nn.Linear(classes, width, bias=False)
        self.encoder = nets.Encoder(nn.ReLU(), width, latent)  # q(z|x,y), after the two
        self.z_to_hidden = nn.Linear(latent, width)
        self.y_to_image = nn.Linear(classes, width, bias=False)
        to_pixels = nn.Linear(width, pixels)
        self.decoder = nn.Sequential(nn.ReLU(), to_pixels, nn.Unflatten(-1, shape))
        self.gaussian_log_var: float | Tensor | None = gaussian_log_var
        if learned_variance:
            if gaussian_log_var is None:
                raise CourseError(
                    "Only a Gaussian has a variance: give gaussian_log_var, where it begins."
                )
            self.gaussian_log_var = nn.Parameter(torch.full(tuple(shape), gaussian_log_var))

    def classify(self, x: vae.Images) -> Logits:
        """Logits of q(y|x)."""
        return vae.at_least_float32(self.classifier(x))

    def decode(self, y: OneHot, z: vae.Codes) -> vae.Images:
        """Logits (or Gaussian means) of p(x|y,z)."""
        hidden = self.z_to_hidden(z) + self.y_to_image(y)
        return vae.at_least_float32(self.decoder(hidden))

    def labelled_bound(self, x: vae.Images, y: OneHot, noise: vae.Noise = None) -> vae.Nats:
        """−L(x, y) = log p(x|y,z) + log p(y) − KL(q(z|x,y) ‖ p(z)) ≤ log p(x, y) in nats.

        With one z (M2, eq. 6). x: [batch, …]; y: [batch, classes], or [classes, 1, classes] for all
        classes at once, and then the result is [classes, batch]. Noise [batch, latent] is the same
        for every class: their bounds then differ by y alone.
        """
        # The x part is computed once for all y.
        from_x = self.x_to_hidden(x.flatten(1))
        hidden = from_x + self.y_to_hidden(y)
        mu, log_var = self.encoder(hidden)
        mu = vae.at_least_float32(mu)
        log_var = vae.at_least_float32(log_var)
        q = vae.Posterior(mu, log_var.clamp(*vae.LOG_VAR_RANGE))
        if noise is None:
            shape = (len(x), mu.shape[-1])
            noise = vae.draw_noise(torch.randn, shape, q.mean, None)
        mean_or_logits = self.decode(y, q.sample(noise))
        log_p_x = self.log_likelihood(mean_or_logits, x)
        log_p_y = -math.log(self.classes)
        return log_p_x + log_p_y - vae.kl(*q)

    def log_likelihood(self, mean_or_logits: vae.Images, x: vae.Images) -> vae.Nats:
        """log p(x|y,z) in nats."""
        if self.gaussian_log_var is None:
            return vae.log_likelihood(mean_or_logits, x)
        return vae.gaussian_log_likelihood(mean_or_logits, x, self.gaussian_log_var)

    def unlabelled_bound(self, x: vae.Images, noise: vae.Noise = None) -> vae.Nats:
        """−U(x) = Σ_y q(y|x) (−L(x, y)) + H(q(y|x)) ≤ log p(x) of each image (M2, eq. 7)."""
        log_q = self.classify(x).log_softmax(-1).T  # [classes, batch]
        every_y = torch.eye(self.classes, device=x.device, dtype=x.dtype)
        bounds = self.labelled_bound(x, every_y[:, None], noise)
        return (log_q.exp() * (bounds - log_q)).sum(0)


def m2_loss(
    alpha: float,
    labelled: ImageSet,
    weight: float = 0.0,
    batch_size: int = 100,
    prepare: Callable[[Tensor], Tensor] = vae.binarise,
) -> LossFunction:
    """A loss for `fit` on unlabelled images: U + weight · L + α · cross-entropy, in nats per image.

    M2, eq. 8 and 9. L and the cross-entropy are means over a batch of `labelled`. The paper adds up
    N images and takes α = 0.1 · N: divided by N, that is α = 0.1 here, and weight = labelled images
    / N. The images' own labels are not used in training; in eval mode they give the `accuracy`.
    `prepare` makes of images in [0, 1] what M2 models: features of a frozen VAE, say, for M1+M2.
    """

    def loss(model: nn.Module, images: Tensor, labels: Tensor) -> Loss:
        bare = cast(M2, vae.without_wrapper(model))
        bound = -bare.unlabelled_bound(prepare(images)).mean()
        monitored = {"unlabelled": bound}
        x, y = _labels_for(model, labelled, batch_size, images, labels)
        x = prepare(x)
        if weight and model.training:
            one_hot = F.one_hot(y, bare.classes).to(x)
            of_labelled = bare.labelled_bound(x, one_hot).mean()
            bound = bound - weight * of_labelled
        return _with_labels(bound, alpha, bare.classify(x), y, monitored)

    return loss
