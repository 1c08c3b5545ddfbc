"""Right answers of the later parts of chapters 5 to 5c."""

import copy
from collections import OrderedDict

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn
from torch.nn import functional as F

from vaetl_helpers import representations, transfer
from vaetl_helpers.representations import debiased_cka as cka_of_the_package
from vaetl_helpers.representations import effective_directions as directions_of_the_package
from vaetl_helpers.vae import VAE

from . import ways

# joint.surgery


def classifier(model, head):
    encoder = copy.deepcopy(model.encoder)
    return nn.Sequential(encoder.body, encoder.mu, head)


def classifier_with_names(model, head):
    parts = OrderedDict(body=model.encoder.body, mu=model.encoder.mu)
    return nn.Sequential(OrderedDict(**copy.deepcopy(parts), head=head))


def classifier_of_a_copy(model, head):
    whole = copy.deepcopy(model)
    return nn.Sequential(*whole.encoder.body, whole.encoder.mu, head)


class Cut(nn.Module):
    def __init__(self, model, head):
        super().__init__()
        self.encoder = copy.deepcopy(model.encoder)
        del self.encoder.log_var
        self.head = head

    def forward(self, images):
        return self.head(self.encoder.mu(self.encoder.body(images)))


def classifier_by_class(model, head):
    return Cut(model, head)


def classifier_by_append(model, head):
    network = nn.Sequential()
    network.append(copy.deepcopy(model.encoder.body))
    network.append(copy.deepcopy(model.encoder.mu))
    return network.append(copy.deepcopy(head))


# joint.m2_sum


def m2_sum(logits, bounds):
    q = F.softmax(logits, 1)
    return (q * bounds).sum(1) + torch.distributions.Categorical(logits=logits).entropy()


def m2_by_einsum(logits, bounds):
    log_q = F.log_softmax(logits, 1)
    return torch.einsum("nc,nc->n", log_q.exp(), bounds - log_q)


def m2_by_loop(logits, bounds):
    rows = []
    for row, bound in zip(logits, bounds, strict=True):
        log_q = row - row.logsumexp(0)
        rows.append((log_q.exp() * (bound - log_q)).sum())
    return rows


def m2_in_place(logits, bounds):
    log_q = logits.log_softmax(1)
    bounds -= log_q
    return (log_q.exp() * bounds).sum(-1)


def m2_by_divergence(logits, bounds):
    """The entropy as log C minus the divergence from the uniform distribution."""
    log_q = logits.log_softmax(1)
    classes = logits.shape[1]
    divergence = (log_q.exp() * (log_q + np.log(classes))).sum(1)
    return (log_q.exp() * bounds).sum(1) + np.log(classes) - divergence


# joint.directions


def directions_by_the_trace(x):
    covariance = torch.cov(x.mT)
    return covariance.trace() ** 2 / covariance.square().sum()


def directions_by_singular_values(x):
    variances = torch.linalg.svdvals(x - x.mean(dim=0)) ** 2
    return variances.sum().square() / (variances**2).sum()


def directions_by_numpy(x):
    variances = np.linalg.eigvalsh(np.cov(x.numpy(), rowvar=False))
    return variances.sum() ** 2 / (variances @ variances)


def directions_by_images(x):
    """The products of all pairs of images have the same eigenvalues, and zeros beside them."""
    centred = x - x.mean(0)
    variances = torch.linalg.eigvalsh(centred @ centred.T)
    return float(variances.sum() ** 2 / (variances**2).sum())


def directions_by_loop(x):
    centred = x - x.mean(0)
    total = squares = 0.0
    for variance in torch.linalg.eigvalsh(centred.T @ centred / len(x)).tolist():
        total += variance
        squares += variance**2
    return total * total / squares


def directions_of_shares(x):
    shares = torch.pca_lowrank(x, q=x.shape[1], niter=8)[1].square()
    shares /= shares.sum()
    return 1 / shares.square().sum()


# joint.reuse


def keep_by_the_package(source, fresh, half, rate):
    model = representations.reuse(source, fresh, half)
    return model, torch.optim.Adam([p for p in model.parameters() if p.requires_grad], rate)


def keep_by_filter(source, fresh, half, rate):
    """The optimiser takes what still asks for gradients."""
    model = copy.deepcopy(fresh)
    setattr(model, half, transfer.freeze(copy.deepcopy(getattr(source, half))))
    return model, torch.optim.Adam(filter(lambda p: p.requires_grad, model.parameters()), lr=rate)


def keep_by_state(source, fresh, half, rate):
    """The weights and statistics move in, and the module stays."""
    kept = getattr(fresh, half)
    kept.load_state_dict(getattr(source, half).state_dict())
    transfer.freeze(kept)
    other = {"encoder": fresh.decoder, "decoder": fresh.encoder}[half]
    return fresh, torch.optim.Adam(other.parameters(), lr=rate)


def keep_in_a_new_vae(source, fresh, half, rate):
    kept = transfer.freeze(copy.deepcopy(getattr(source, half)))
    if half == "encoder":
        model, other = VAE(kept, fresh.decoder), fresh.decoder
    else:
        model, other = VAE(fresh.encoder, kept), fresh.encoder
    return [model, torch.optim.Adam(list(other.parameters()), lr=rate)]


def keep_by_hand(source, fresh, half, rate):
    """Frozen as in chapter 4, without the package."""
    kept = copy.deepcopy(getattr(source, half)).eval()
    for parameter in kept.parameters():
        parameter.requires_grad = False
    kept.train = lambda mode=True: kept
    setattr(fresh, half, kept)
    other = fresh.encoder if half == "decoder" else fresh.decoder
    return fresh, torch.optim.Adam(params=other.parameters(), lr=rate)


def keep_a_copy_of_the_source(source, fresh, half, rate):
    """The other half moves into a copy of the source."""
    model = copy.deepcopy(source)
    other_name = "decoder" if half == "encoder" else "encoder"
    setattr(model, other_name, getattr(fresh, other_name))
    transfer.freeze(getattr(model, half))
    return model, torch.optim.Adam(getattr(model, other_name).parameters(), lr=rate)


def keep_with_groups(source, fresh, half, rate):
    model, _ = keep_by_state(source, fresh, half, rate)
    other = model.decoder if half == "encoder" else model.encoder
    groups = [{"params": [p], "lr": rate} for p in other.parameters()]
    return model, torch.optim.Adam(groups, foreach=False)


# joint.naive_cka


def naive_cka_of_features(x, y):
    """The same sums by the features' own products, [d, d]."""
    x, y = x - x.mean(0), y - y.mean(0)
    return (x.T @ y).square().sum() / ((x.T @ x).norm() * (y.T @ y).norm())


def naive_cka_by_numpy(x, y):
    x, y = (features.numpy() - features.numpy().mean(0) for features in (x, y))
    k, m = x @ x.T, y @ y.T
    return np.sum(k * m) / np.linalg.norm(k) / np.linalg.norm(m)


def naive_cka_by_centring_the_products(x, y):
    """Off the products the means of rows and columns, in place of off the features."""
    n = len(x)
    centring = torch.eye(n, dtype=x.dtype) - 1 / n
    k, m = (centring @ (features @ features.T) @ centring for features in (x, y))
    return torch.trace(k @ m) / (torch.trace(k @ k) * torch.trace(m @ m)) ** 0.5


def naive_cka_by_cosine(x, y):
    k, m = (((f - f.mean(0)) @ (f - f.mean(0)).mT).flatten() for f in (x, y))
    return F.cosine_similarity(k, m, dim=0).item()


# joint.cka


def cka_by_numpy(x, y):
    def gram(features):
        matrix = features.numpy() @ features.numpy().T
        np.fill_diagonal(matrix, 0)
        return matrix

    def hsic(k, m):
        n, ones = len(k), np.ones(len(k))
        sums = (ones @ k @ ones) * (ones @ m @ ones) / (n - 1) / (n - 2)
        total = np.trace(k @ m) + sums - 2 / (n - 2) * (ones @ k @ m @ ones)
        return total / (n * (n - 3))

    k, m = gram(x), gram(y)
    return hsic(k, m) / np.sqrt(hsic(k, k) * hsic(m, m))


def cka_of_centred_features(x, y):
    """The mean changes nothing in the debiased estimate."""
    return cka_by_numpy(x - x.mean(0), y - y.mean(0))


def cka_by_masks(x, y):
    n = len(x)
    apart = 1 - torch.eye(n, dtype=x.dtype)
    k, m = (x @ x.mT) * apart, (y @ y.mT) * apart

    def hsic(a, b):
        rows = (a @ b).sum()
        return (a * b).sum() + a.sum() * b.sum() / (n - 1) / (n - 2) - 2 / (n - 2) * rows

    return float(hsic(k, m) / torch.sqrt(hsic(k, k) * hsic(m, m)))


# joint.random_beat_trained


def probe(train_mu, train_labels, test_mu, strength):
    regression = LogisticRegression(C=strength, max_iter=2000)
    return regression.fit(train_mu, train_labels).predict(test_mu)


def probe_by_probability(train_mu, train_labels, test_mu, strength):
    regression = LogisticRegression(C=strength, max_iter=2000).fit(train_mu, train_labels)
    return torch.tensor(regression.predict_proba(test_mu)).argmax(1)


def probe_of_centred_latents(train_mu, train_labels, test_mu, strength):
    """The offset does not matter, only the scale."""
    centre = train_mu.mean(0)
    return probe(train_mu - centre, train_labels, test_mu - centre, strength)


def probe_of_lists(train_mu, train_labels, test_mu, strength):
    return probe(train_mu, train_labels, test_mu, strength).tolist()


def probe_in_double(train_mu, train_labels, test_mu, strength):
    return probe(train_mu.double(), train_labels, test_mu.double(), strength)


RIGHT = {
    "joint.surgery": [
        classifier,
        classifier_with_names,
        classifier_of_a_copy,
        classifier_by_class,
        classifier_by_append,
        *ways.all_ways(classifier),
    ],
    "joint.m2_sum": [
        m2_sum,
        m2_by_einsum,
        m2_by_loop,
        m2_in_place,
        m2_by_divergence,
        ways.then(m2_sum, ways.double),
        *ways.all_ways(m2_by_einsum),
    ],
    "joint.directions": [
        directions_of_the_package,
        directions_by_the_trace,
        directions_by_singular_values,
        directions_by_numpy,
        directions_by_images,
        directions_by_loop,
        directions_of_shares,
        ways.then(directions_by_the_trace, np.float64),
        *ways.all_ways(directions_by_the_trace),
    ],
    "joint.reuse": [
        keep_by_the_package,
        keep_by_filter,
        keep_by_state,
        keep_in_a_new_vae,
        keep_by_hand,
        keep_a_copy_of_the_source,
        keep_with_groups,
        *ways.all_ways(keep_by_state),
    ],
    "joint.naive_cka": [
        naive_cka_of_features,
        naive_cka_by_numpy,
        naive_cka_by_centring_the_products,
        naive_cka_by_cosine,
        ways.then(naive_cka_of_features, np.float64),
        *ways.all_ways(naive_cka_of_features),
    ],
    "joint.cka": [
        cka_of_the_package,
        cka_by_numpy,
        cka_of_centred_features,
        cka_by_masks,
        ways.then(cka_by_masks, torch.tensor),
        ways.then(cka_by_masks, np.float64),
        *ways.all_ways(cka_by_masks),
    ],
    "joint.random_beat_trained": [
        probe,
        probe_by_probability,
        probe_of_centred_latents,
        probe_of_lists,
        probe_in_double,
        *ways.all_ways(probe),
    ],
}
