"""Right answers of chapters 3 and 3b."""

import math

import torch
import torch.nn.functional as F
from torch import distributions

from . import ways

NORMAL = distributions.Normal

# vae.bernoulli_log_likelihood


def bernoulli(logits, images):
    return -F.binary_cross_entropy_with_logits(logits, images, reduction="none").flatten(1).sum(1)


def bernoulli_by_distribution(logits, images):
    pixels = distributions.Bernoulli(logits=logits)
    return distributions.Independent(pixels, 3).log_prob(images)


def bernoulli_by_signs(logits, images):
    return F.logsigmoid(logits * (2 * images - 1)).sum((1, 2, 3))


def bernoulli_in_place(logits, images):
    images *= 2
    images -= 1
    logits *= images
    return F.logsigmoid(logits).sum((-1, -2, -3))


def bernoulli_by_einsum(logits, images):
    return torch.einsum("nchw,nchw->n", images, logits) - F.softplus(logits).sum((1, 2, 3))


def bernoulli_by_loop(logits, images):
    rows = []
    for row, image in zip(logits, images, strict=True):
        rows.append((image * row - F.softplus(row)).sum())
    return torch.stack(rows)


def bernoulli_by_where(logits, images):
    return torch.where(images > 0.5, F.logsigmoid(logits), F.logsigmoid(-logits)).sum((1, 2, 3))


def bernoulli_in_double(logits, images):
    return bernoulli(logits.double(), images.double())


# vae.kl


def kl(mu, log_var):
    return -0.5 * (1 + log_var - mu**2 - log_var.exp()).sum(1)


def kl_by_distributions(mu, log_var):
    posterior = NORMAL(mu, torch.exp(log_var / 2))
    return distributions.kl_divergence(posterior, NORMAL(0.0, 1.0)).sum(-1)


def kl_in_place(mu, log_var):
    total = mu.square()
    total += log_var.exp()
    log_var += 1
    total -= log_var
    return total.sum(1).mul_(0.5)


def kl_by_einsum(mu, log_var):
    squares = torch.einsum("nl,nl->n", mu, mu)
    return (squares + (torch.expm1(log_var) - log_var).sum(1)) / 2


def kl_by_loop(mu, log_var):
    totals = []
    for m, v in zip(mu, log_var, strict=True):
        total = 0
        for one_m, one_v in zip(m, v, strict=True):
            total = total + (one_m**2 + one_v.exp() - 1 - one_v) / 2
        totals.append(total)
    return totals  # a list of tensors


class Divergence(torch.nn.Module):
    def forward(self, mu, log_var):
        return kl(mu, log_var)


def kl_by_vmap(mu, log_var):
    return torch.vmap(lambda m, v: (m @ m + v.exp().sum() - len(v) - v.sum()) / 2)(mu, log_var)


# vae.reparameterise


def code(mu, log_var, noise):
    return torch.addcmul(mu, torch.exp(log_var / 2), noise)


def code_in_place(mu, log_var, noise):
    noise *= log_var.div(2).exp()
    noise += mu
    return noise


def code_into_mu(mu, log_var, noise):
    mu += noise * log_var.exp().sqrt()
    return mu


def code_by_transform(mu, log_var, noise):
    return distributions.AffineTransform(mu, (0.5 * log_var).exp())(noise)


def code_by_loop(mu, log_var, noise):
    return [m + s * e for m, s, e in zip(mu, (log_var / 2).exp(), noise, strict=True)]


def code_by_einsum(mu, log_var, noise):
    return mu + torch.einsum("nl,nl->nl", (0.5 * log_var).exp(), noise)


def code_in_double(mu, log_var, noise):
    return mu.double() + torch.pow(math.e, log_var.double() / 2) * noise.double()


# vae.elbo


def elbo(encode, decode, images, noise):
    mu, log_var = encode(images)
    return bernoulli(decode(code(mu, log_var, noise)), images) - kl(mu, log_var)


def elbo_by_distributions(encode, decode, images, noise):
    mu, log_var = encode(images)
    z = code_by_transform(mu, log_var, noise)
    return bernoulli_by_distribution(decode(z), images) - kl_by_distributions(mu, log_var)


def elbo_in_place(encode, decode, images, noise):
    mu, log_var = encode(images)
    noise *= (log_var / 2).exp()
    noise += mu
    bound = bernoulli(decode(noise), images)
    bound -= kl_in_place(mu, log_var)
    return bound


def elbo_image_by_image(encode, decode, images, noise):
    return [elbo(encode, decode, x[None], e[None])[0] for x, e in zip(images, noise, strict=True)]


def elbo_in_one_line(encode, decode, images, noise):
    m, v = encode(images)
    return (bernoulli_by_signs(decode(m + noise * (v / 2).exp()), images)) - kl_by_einsum(m, v)


# vae.decoder_shape


def grow(features, channels, height, width):
    maps = features.unflatten(1, (channels, height, width))
    return F.interpolate(maps, scale_factor=2, mode="nearest")


def grow_by_kron(features, channels, height, width):
    maps = features.reshape(len(features), channels, height, width)
    return torch.kron(maps, torch.ones(1, 1, 2, 2))


def grow_by_expand(features, channels, height, width):
    maps = features.view(-1, channels, height, 1, width, 1)
    maps = maps.expand(-1, -1, -1, 2, -1, 2)
    return maps.reshape(-1, channels, 2 * height, 2 * width)


def grow_by_index(features, channels, height, width):
    maps = features.view(-1, channels, height, width)
    rows, columns = torch.arange(2 * height) // 2, torch.arange(2 * width) // 2
    return maps[:, :, rows][..., columns]


def grow_by_module(features, channels, height, width):
    unflatten = torch.nn.Unflatten(1, (channels, height, width))
    return torch.nn.Sequential(unflatten, torch.nn.UpsamplingNearest2d(scale_factor=2))(features)


def grow_by_loop(features, channels, height, width):
    maps = features.view(-1, channels, height, width)
    out = torch.zeros(len(features), channels, 2 * height, 2 * width)
    for i in range(2):
        for j in range(2):
            out[:, :, i::2, j::2] = maps
    return out


def grow_by_convolution(features, channels, height, width):
    maps = features.view(-1, channels, height, width)
    ones = torch.ones(channels, 1, 2, 2)
    return F.conv_transpose2d(maps, ones, stride=2, groups=channels)


# vae.iw_bound


def bound(log_weights):
    return log_weights.logsumexp(0) - math.log(log_weights.shape[0])


def bound_by_maximum(log_weights):
    top = log_weights.max(0).values
    return top + (log_weights - top).exp().mean(0).log()


def bound_in_place(log_weights):
    top = log_weights.detach().amax(0)
    log_weights -= top
    return log_weights.exp_().mean(0).log_() + top


def bound_by_softmax(log_weights):
    k = len(log_weights)
    return (log_weights - log_weights.log_softmax(0))[0] - math.log(k)


def bound_by_loop(log_weights):
    total = log_weights[0]
    for row in log_weights[1:]:
        total = torch.logaddexp(total, row)
    return total - math.log(len(log_weights))


def bound_of_columns(log_weights):
    return [torch.logsumexp(column - math.log(len(column)), 0) for column in log_weights.T]


def bound_by_cumulation(log_weights):
    return torch.logcumsumexp(log_weights, 0)[-1] - torch.tensor(float(len(log_weights))).log()


def bound_in_double(log_weights):
    return torch.logsumexp(log_weights.double(), 0) - math.log(len(log_weights))


# The patients.


def loss(logits, images, mu, log_var):
    return -(bernoulli(logits, images) - kl(mu, log_var)).mean()


def loss_by_distributions(logits, images, mu, log_var):
    likelihood = distributions.Bernoulli(logits=logits).log_prob(images).sum()
    divergence = distributions.kl_divergence(NORMAL(mu, (log_var / 2).exp()), NORMAL(0.0, 1.0))
    return (divergence.sum() - likelihood) / images.shape[0]


def loss_in_place(logits, images, mu, log_var):
    total = F.binary_cross_entropy_with_logits(logits, images, reduction="sum")
    total += kl_in_place(mu, log_var).sum()
    return total.div_(len(images))


def loss_by_loop(logits, images, mu, log_var):
    total = 0
    for row, image, m, v in zip(logits, images, mu, log_var, strict=True):
        total = total - bernoulli(row[None], image[None]) + kl(m[None], v[None])
    return (total / len(images)).squeeze()


def loss_in_double(logits, images, mu, log_var):
    return loss(logits.double(), images.double(), mu.double(), log_var.double())


def loss_by_einsum(logits, images, mu, log_var):
    return (kl_by_einsum(mu, log_var) - bernoulli_by_einsum(logits, images)).sum() / len(mu)


def of_sigma(function):
    """A loss that is given σ."""

    def from_sigma(logits, images, mu, sigma):
        return function(logits, images, mu, 2 * sigma.log())

    from_sigma.__name__ = f"{function.__name__}_of_sigma"
    return from_sigma


LOSSES = [
    loss,
    loss_by_distributions,
    loss_in_place,
    loss_by_loop,
    loss_in_double,
    loss_by_einsum,
]

RIGHT = {
    "vae.bernoulli_log_likelihood": [
        bernoulli,
        bernoulli_by_distribution,
        bernoulli_by_signs,
        bernoulli_in_place,
        bernoulli_by_einsum,
        bernoulli_by_loop,
        bernoulli_by_where,
        bernoulli_in_double,
        ways.then(bernoulli, ways.rows),
        *ways.all_ways(bernoulli_in_place),
    ],
    "vae.kl": [
        kl,
        kl_by_distributions,
        kl_in_place,
        kl_by_einsum,
        kl_by_loop,
        kl_by_vmap,
        Divergence(),
        ways.then(kl, ways.double),
        ways.then(kl, ways.rows, tuple),
        ways.then(kl, ways.generator),
        *ways.all_ways(kl_by_loop),
    ],
    "vae.reparameterise": [
        code,
        code_in_place,
        code_into_mu,
        code_by_transform,
        code_by_loop,
        code_by_einsum,
        code_in_double,
        *ways.all_ways(code_into_mu),
    ],
    "vae.elbo": [
        elbo,
        elbo_by_distributions,
        elbo_in_place,
        elbo_image_by_image,
        elbo_in_one_line,
        ways.then(elbo, ways.double),
        *ways.all_ways(elbo),
    ],
    "vae.decoder_shape": [
        grow,
        grow_by_kron,
        grow_by_expand,
        grow_by_index,
        grow_by_module,
        grow_by_loop,
        grow_by_convolution,
        ways.then(grow, ways.rows),
        ways.then(grow, ways.double),
        *ways.all_ways(grow),
    ],
    "vae.iw_bound": [
        bound,
        bound_by_maximum,
        bound_in_place,
        bound_by_softmax,
        bound_by_loop,
        bound_of_columns,
        bound_by_cumulation,
        bound_in_double,
        *ways.all_ways(bound_of_columns),
    ],
    "vae.clinic_a": [*LOSSES, *ways.all_ways(loss_in_place)],
    "vae.clinic_b": [*LOSSES, *ways.all_ways(loss)],
    "vae.clinic_c": [*map(of_sigma, LOSSES), *ways.all_ways(of_sigma(loss_in_place))],
}
