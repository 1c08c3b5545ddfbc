"""Right answers of the second half of chapter 3."""

import math

import numpy as np
import torch
import torch.nn.functional as F

from . import ways

# latent.kl_by_width


def kl_by_width(build, train, kl, images, widths):
    result = []
    for width in widths:
        model = build(width)
        train(model)
        with torch.inference_mode():
            result.append(float(kl(*model.eval().encode(images)).mean()))
    return result


def kl_of_all_at_the_end(build, train, kl, images, widths):
    models = [build(width) for width in widths]
    for model in models:
        train(model)
        model.train(False)
    return [kl(*model.encode(images)).mean() for model in models]


def kl_image_by_image(build, train, kl, images, widths):
    means = []
    for width in widths:
        model = build(width)
        train(model)
        model.eval()
        nats = [kl(*model.encode(image[None])).item() for image in images]
        means.append(sum(nats) / len(nats))
    return means


# latent.interpolate


def arc(a, b, count):
    cosine = (a @ b / (a.norm() * b.norm())).clamp(-1.0, 1.0)
    angle = cosine.arccos()
    t = torch.arange(count)[:, None] / (count - 1)
    if float(angle) < 1e-3:
        return torch.lerp(a, b, t)
    return ((1 - t) * angle).sin() / angle.sin() * a + (t * angle).sin() / angle.sin() * b


def arc_by_loop(a, b, count):
    cosine = min(1.0, max(-1.0, F.cosine_similarity(a, b, dim=0).item()))
    angle = math.acos(cosine)
    codes = []
    for i in range(count):
        t = i / (count - 1)
        if angle < 1e-3:
            codes.append((1 - t) * a + t * b)
        else:
            codes.append(
                (math.sin((1 - t) * angle) * a + math.sin(t * angle) * b) / math.sin(angle)
            )
    return codes


def arc_by_numpy(a, b, count):
    x, y = a.double().numpy(), b.double().numpy()
    cosine = np.clip(x @ y / np.linalg.norm(x) / np.linalg.norm(y), -1, 1)
    angle = np.arccos(cosine)
    t = np.linspace(0, 1, count)[:, None]
    if angle < 1e-3:
        return (1 - t) * x + t * y
    return (np.sin((1 - t) * angle) * x + np.sin(t * angle) * y) / np.sin(angle)


def arc_by_sinc(a, b, count):
    """No case of its own is needed: sinc is 1 at 0."""
    angle = F.cosine_similarity(a, b, dim=0).clamp(-1, 1).acos() / math.pi
    t = torch.linspace(0, 1, count).unsqueeze(1)
    left = (1 - t) * torch.sinc((1 - t) * angle)
    right = t * torch.sinc(t * angle)
    return (left * a + right * b) / torch.sinc(angle)


# latent.sample


def sample(decode, noise, temperature):
    return torch.sigmoid(decode(noise * temperature))


def sample_in_place(decode, noise, temperature):
    noise *= temperature
    return decode(noise).sigmoid_()


def sample_by_distribution(decode, noise, temperature):
    return torch.distributions.Bernoulli(logits=decode(temperature * noise)).probs


def sample_one_by_one(decode, noise, temperature):
    return [decode(temperature * row[None])[0].sigmoid() for row in noise]


def sample_by_hand(decode, noise, temperature):
    logits = decode(torch.mul(noise, temperature))
    return 1 / (1 + (-logits).exp())


# latent.strangest


def strangest(bound, images, count, draws):
    return torch.stack([bound(images) for _ in range(draws)]).mean(0).sort().indices[:count]


def strangest_by_topk(bound, images, count, draws):
    total = sum(bound(images) for _ in range(draws))
    return torch.topk(total, count, largest=False).indices


def strangest_by_numpy(bound, images, count, draws):
    total = np.zeros(len(images))
    for _ in range(draws):
        total += bound(images).double().numpy()
    return np.argsort(total)[:count].copy()


def strangest_by_sorting(bound, images, count, draws):
    mean = torch.stack([bound(images) for _ in range(draws)]).double().mean(0).tolist()
    return sorted(range(len(images)), key=lambda row: mean[row])[:count]


def strangest_by_cost(bound, images, count, draws):
    cost = torch.zeros(len(images))
    for _ in range(draws):
        cost -= bound(images)
    return cost.argsort(descending=True)[:count]


# latent.view


def view(pixels, reach):
    return torch.ones(pixels, pixels).tril(-1).triu(-reach)


def view_by_loop(pixels, reach):
    seen = torch.zeros(pixels, pixels)
    for i in range(pixels):
        seen[i, max(0, i - reach) : i] = 1
    return seen


def view_by_numpy(pixels, reach):
    return np.tri(pixels, k=-1) - np.tri(pixels, k=-1 - reach)


def view_of_lists(pixels, reach):
    return [[float(i - reach <= j < i) for j in range(pixels)] for i in range(pixels)]


def view_by_diagonals(pixels, reach):
    return sum(torch.diag(torch.ones(pixels - k), -k) for k in range(1, reach + 1))


RIGHT = {
    "latent.kl_by_width": [
        kl_by_width,
        kl_of_all_at_the_end,
        kl_image_by_image,
        *ways.of_sequences(kl_by_width),
        *ways.all_ways(kl_by_width),
    ],
    "latent.interpolate": [
        arc,
        arc_by_loop,
        arc_by_numpy,
        arc_by_sinc,
        ways.then(arc, ways.double),
        ways.then(arc, ways.nested),
        ways.then(arc, ways.rows),
        *ways.all_ways(arc),
    ],
    "latent.sample": [
        sample,
        sample_in_place,
        sample_by_distribution,
        sample_one_by_one,
        sample_by_hand,
        ways.then(sample, ways.double),
        *ways.all_ways(sample_in_place),
    ],
    "latent.view": [
        view,
        view_by_loop,
        view_by_numpy,
        view_of_lists,
        view_by_diagonals,
        ways.then(view, ways.double),
        *ways.all_ways(view),
    ],
    "latent.strangest": [
        strangest,
        strangest_by_topk,
        strangest_by_numpy,
        strangest_by_sorting,
        strangest_by_cost,
        ways.then(strangest, ways.nested),
        ways.then(strangest, ways.nested, tuple),
        *ways.all_ways(strangest),
    ],
}
