"""What later cells of the notebooks do with an answer, on data of their kind."""

import copy
import io

import numpy as np
import torch
from torch import nn

from vaetl_helpers import detection, nets, study, text, vae, vae_uses
from vaetl_helpers.data import ImageSet
from vaetl_helpers.exercises import combine, hardware

IMAGES = torch.rand(6, 1, 4, 4, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 1, 2, 0, 1, 2])


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 3))


def sgd(model):
    return torch.optim.SGD(model.parameters(), lr=0.1)


def share_above(answer):
    assert float(answer(torch.tensor([1.0, 2.0, 3.0, 4.0]), 2.0)) == 0.5


def cross_entropy(answer):
    logits = torch.randn(6, 3, requires_grad=True)
    before = logits.detach().clone()
    assert f"{answer(logits, LABELS).item():.6f}"
    answer(logits, LABELS).backward()
    assert logits.grad is not None and torch.equal(logits, before)


def step(answer):
    model = network()
    losses = [answer(model, sgd(model), IMAGES, LABELS) for _ in range(3)]
    losses = [float(torch.as_tensor(loss).detach()) for loss in losses]
    assert losses == sorted(losses, reverse=True)


def accuracy(answer):
    labels = network()(IMAGES).argmax(1)
    assert f"{answer(network(), [(IMAGES, labels)]):.1%}" == "100.0%"


def overfit(answer):
    model = network()
    losses = answer(model, sgd(model), IMAGES, LABELS, steps=7)
    assert len(losses) == 7 and all(isinstance(loss, float) for loss in losses)


def debug_loop(answer):
    model = network()
    batches = [(IMAGES, LABELS)]
    accuracies = answer(model, sgd(model), batches, batches, epochs=2)
    assert len(accuracies) == 2 and all(0 <= accuracy <= 1 for accuracy in accuracies)


def bill(answer):
    flops, hours, kilowatt_hours = answer(174.6e9, 300e9, 1, 24.6e12, 363)
    assert f"{flops:.2e} {hours / 1e6:.2f} {kilowatt_hours / 1000:,.0f}" == "3.14e+23 3.55 1,288"


def flops(answer):
    total = answer(8, 4, 3, first=True) + answer(8, 3, 2, first=False)
    assert f"{total:,}".removesuffix(".0") == "672"


def time_it(answer):
    assert f"{1e3 * answer(lambda: None, lambda: None, 5):.3f}"


def resident(answer):
    images = torch.randint(256, (10, 1, 4, 4), dtype=torch.uint8)
    labels = torch.arange(10) % 3
    kept = images.clone(), labels.clone()
    model = network()
    for x, y in answer(images, labels, 4, torch.Generator().manual_seed(0)):
        assert x.dtype == torch.float32 and x.min() >= 0 and x.max() <= 1
        for part, part_labels in zip(x.chunk(2), y.chunk(2), strict=True):
            nn.functional.cross_entropy(model(part), part_labels).backward()
    assert torch.equal(images, kept[0]) and torch.equal(labels, kept[1])


def predicted(answer):
    assert f"{1e3 * answer((8.1e9, 320e6), (8.1e12, 320e9), 0.001):.2f}" == "2.00"


def accumulate(answer):
    at_once, in_pieces = network(), network()
    for model, size in ((at_once, 6), (in_pieces, 4)):
        answer(model, nn.functional.cross_entropy, sgd(model), IMAGES, LABELS, size)
    for a, b in zip(at_once.parameters(), in_pieces.parameters(), strict=True):
        torch.testing.assert_close(a, b)


def shared_backward(answer):
    """Chapter 2b writes its text into a program, and runs that in two processes."""
    spaces = {"torch": torch, "nn": nn, "F": nn.functional}
    exec(hardware.shared_backward_source(answer), spaces)
    loss_fn, model = nn.functional.cross_entropy, network()
    loss_fn(model(IMAGES), LABELS).backward()
    expected = [weight.grad.clone() for weight in model.parameters()]
    for function in (answer, spaces["shared_backward"]):
        function(model, loss_fn, IMAGES, LABELS, 0, 1, lambda tensor: None)
        for weight, gradient in zip(model.parameters(), expected, strict=True):
            torch.testing.assert_close(weight.grad, gradient)


def resume(answer):
    """The checkpoint goes into a file and comes back by the loader that runs no code."""
    model = network()
    adam = torch.optim.Adam(model.parameters())
    file = io.BytesIO()
    torch.save(dict(answer(model, adam, 3), epoch=3), file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    model.load_state_dict(saved["model"])
    adam.load_state_dict(saved["optimizer"])
    torch.set_rng_state(saved["rng"])


def bernoulli(answer):
    cost = -answer(torch.zeros(1, 1, 28, 28), torch.ones(1, 1, 28, 28))
    assert f"{cost.item():.2f}" == "543.43"


def kl(answer):
    ten = answer(torch.full((1, 10), 1.0), torch.full((1, 10), 1.0)).item()
    assert f"{ten:.3f}" == "8.591"


def reparameterise(answer):
    """The KL of the same code comes afterwards, and the decoder takes 32-bit numbers."""
    mu, log_var = torch.randn(2, 5, 3, requires_grad=True)
    kept = mu.detach().clone(), log_var.detach().clone()
    z = answer(mu, log_var, torch.randn_like(mu))
    nn.Linear(3, 2)(z).sum().backward()
    assert torch.equal(mu, kept[0]) and torch.equal(log_var, kept[1])


def elbo(answer):
    model = vae.mlp_vae(latent=3)
    x, noise = torch.rand(4, 1, 28, 28).round(), torch.randn(4, 3)
    ours = vae.elbo(model, x, noise).elbo
    torch.testing.assert_close(answer(model.encode, model.decode, x, noise), ours)


def grow(answer):
    assert answer(torch.rand(2, 12), 2, 2, 3).shape == (2, 2, 4, 6)


def iw_bound(answer):
    values = answer(torch.randn(9, 400, dtype=torch.float64))
    assert len(values.quantile(torch.tensor([0.05, 0.95]).double())) == 2
    assert isinstance(values.mean().item(), float)


def kl_by_width(answer):
    """The numbers stand in a table, beside the widths."""

    def build(width):
        return vae.mlp_vae(latent=width, widths=(8,))

    images = torch.rand(5, 1, 28, 28).round()
    prices = answer(build, lambda model: model.train(), vae.kl, images, [2, 5, 3])
    assert [f"{price:.1f}" for price in prices] and len(prices) == 3


def interpolate(answer):
    codes = answer(torch.tensor([3.0, 0.0, 0.0]), torch.tensor([0.0, 3.0, 0.0]), 5)
    pictures = vae.mlp_vae(latent=3, widths=(8,)).picture(codes)
    assert pictures.shape == (5, 1, 28, 28) and float(codes[2].norm()) > 2.9


def sample(answer):
    model = vae.mlp_vae(latent=3, widths=(8,))
    with torch.no_grad():
        pictures = answer(model.decode, torch.randn(6, 3), 0.5)
    assert pictures.dtype == torch.float32 and torch.cat([pictures, pictures]).max() <= 1


def strangest(answer):
    images = torch.rand(9, 1, 4, 4)
    rows = answer(lambda x: x.flatten(1).sum(1), images, 3, 2)
    nats = images[rows].flatten(1).sum(1)
    assert nats.tolist() == sorted(nats.tolist()) and images[rows].shape == (3, 1, 4, 4)


def view(answer):
    seen = answer(784, 1)
    weight = torch.nn.Parameter(torch.ones(784, 784))
    images = torch.rand(2, 1, 28, 28)
    logits = (images.flatten(1) @ (weight * seen).T).view_as(images)
    torch.testing.assert_close(logits[0, 0, 3, 5], images[0, 0, 3, 4])


def patient(answer):
    blank, ones = torch.zeros(1, 1, 28, 28), torch.ones(1, 10)
    assert f"{answer(blank, blank, ones, 0 * ones).item():.2f}" == "548.43"


def patient_of_sigma(answer):
    blank, ones = torch.zeros(1, 1, 28, 28), torch.ones(1, 10)
    assert f"{answer(blank, blank, ones, ones).item():.2f}" == "548.43"


def linear_probe(answer):
    x = torch.randn(30, 3) + 2 * LABELS.repeat(5)[:, None]
    y = LABELS.repeat(5) % 2
    c, labels = answer(x[:20], y[:20], x[20:], y[20:], [0.1, 1.0])
    right = (torch.as_tensor(labels) == y[20:]).float().mean()
    assert f"{c:g}, {100 * right:.1f}"


def freeze(answer):
    body = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(0.5))
    toy = nn.Sequential(body, nn.Linear(8, 2))
    answer(toy[0])
    before = copy.deepcopy(body.state_dict())
    adam = torch.optim.Adam(toy.parameters())
    for _ in range(3):
        toy.train()
        adam.zero_grad()
        nn.functional.cross_entropy(toy(torch.randn(6, 6)), LABELS % 2).backward()
        adam.step()
    assert all(value.equal(before[name]) for name, value in body.state_dict().items())


def new_head(answer):
    old = torch.randn(2, 5), torch.randn(2)
    weight, bias = answer(*old, {0: 0}, 2, torch.Generator().manual_seed(0))
    assert nn.functional.linear(torch.randn(3, 5), weight, bias).shape == (3, 2)


def graft(answer):
    source = nets.transfer_cnn()
    model = answer(source, nets.transfer_cnn(), 2)
    before = copy.deepcopy(model[:2].state_dict())
    model.train()
    model(torch.rand(4, 1, 28, 28)).sum().backward()
    assert all(value.equal(before[name]) for name, value in model[:2].state_dict().items())
    assert all(p.grad is None for p in model[:2].parameters())
    assert all(p.grad is not None for p in model[2:].parameters())


def param_groups(answer):
    parts = list(nets.transfer_cnn())
    groups = answer(parts, 1e-3, 2.6)
    assert all(f"{group['lr']:.2e}" for group in groups)
    torch.optim.SGD(groups)
    assert len(groups) == sum(any(True for _ in part.parameters()) for part in parts)


def normalise(answer):
    grey = torch.full((1, 3, 1, 1), 127, dtype=torch.uint8)
    levels = answer(grey, [127 / 255] * 3, [128 / 255] * 3).flatten().tolist()
    assert max(map(abs, levels)) < 1e-6


def l2_sp(answer):
    """Later cells ask which way the penalty pushes two weights."""
    body, start = (nn.ParameterList([torch.tensor(two)]) for two in ([3.0, 0.5], [1.0, 1.0]))
    answer(body, start, 1).backward()
    assert body[0].grad.tolist() == [2.0, -0.5]


def clinic(answer):
    body = nn.Sequential(nn.Flatten(), nn.Linear(16, 4), nn.BatchNorm1d(4))
    losses = answer(body, nn.Linear(4, 3), IMAGES, LABELS, 5, 0.01)
    assert sum(losses) > 0 and len(losses) == 5


def fine_tune(answer):
    source = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.BatchNorm1d(8), nn.Linear(8, 2))
    before = copy.deepcopy(source.state_dict())
    tuned = answer(source, nn.Linear(8, 3), [(IMAGES, LABELS)] * 40, 0.05, 0.5).eval()
    with torch.no_grad():
        assert (tuned(IMAGES).argmax(1) == LABELS).float().mean() > 0.5
    assert all(value.equal(before[name]) for name, value in source.state_dict().items())


def mean_pool(answer):
    hidden, mask = torch.randn(3, 5, 4), torch.tensor([[1] * 5, [1, 1, 0, 0, 0], [1] * 4 + [0]])
    torch.testing.assert_close(answer(hidden, mask), text.mean_pool(hidden, mask))


def pad_batch(answer):
    """Later cells hand ids and mask to an encoder, and turn ids into words."""
    ids, mask = answer([[101, 7, 102], [101, 8, 9, 10, 102]], 0)
    hidden = nn.Embedding(200, 4)(ids)
    assert text.mean_pool(hidden, mask).shape == (2, 4)
    assert [row.tolist() for row in ids][0] == [101, 7, 102, 0, 0]
    assert [int(value) for value in mask[0]] == [1, 1, 1, 0, 0]


def train_pass(answer):
    """The two numbers stand in a table; a second pass is better."""
    torch.manual_seed(0)
    encoder, head = nn.Sequential(nn.Flatten(), nn.Linear(16, 8)), nn.Linear(8, 3)
    optimizer = torch.optim.AdamW([*encoder.parameters(), *head.parameters()], lr=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1)
    batches = [(IMAGES[:4], LABELS[:4]), (IMAGES[4:], LABELS[4:])]
    passes = [answer(encoder, head, optimizer, schedule, batches) for _ in range(9)]
    assert [f"{loss:.2f}, {100 * accuracy:.0f} %" for loss, accuracy in passes]
    assert passes[-1][0] < passes[0][0]


def leave_one_out(answer):
    y, groups = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 2, 3])
    predicted = answer(torch.eye(4), y, groups, lambda x, y: lambda rows: y[:1].expand(len(rows)))
    right = predicted == y
    assert right.shape == (4,) and f"{100 * right.double().mean():.0f}"


def iou(answer):
    table = answer(torch.tensor([[0.0, 0, 4, 4]]), torch.tensor([[2.0, 0, 6, 4], [9, 9, 10, 10]]))
    assert [f"{value:.2f}" for value in table[0]] == ["0.33", "0.00"]


def average_precision(answer):
    assert f"{100 * answer(torch.tensor([1.0, 0.0, 1.0, 0.0]), 3):.2f}" == "55.45"


def new_class(answer):
    """The parameters are counted, and an optimiser takes them."""
    left = answer(detection.small_detector(9), 1)
    left = list(left)
    assert sum(parameter.numel() for parameter in left) > 200_000
    torch.optim.Adam(left, 0.001)


def surgery(answer):
    model = vae.mlp_vae(latent=4, widths=(8,))
    network = answer(model, nn.Linear(4, 3))
    logits = network(torch.rand(6, 1, 28, 28))
    nn.functional.cross_entropy(logits, LABELS).backward()
    assert all(parameter.grad is None for parameter in model.parameters())


def m2_sum(answer):
    logits = torch.randn(4, 3, requires_grad=True)
    bounds = answer(logits, torch.randn(4, 3))
    bounds.mean().backward()
    assert bounds.shape == (4,) and logits.grad is not None


def directions(answer):
    x = torch.randn(500, 3) @ torch.randn(3, 6)
    assert 1 <= float(f"{answer(x):.1f}") <= 3
    assert isinstance(f"{answer(x.double()):.1f}", str)


def reuse(answer):
    source, fresh = (vae.mlp_vae(latent=4, widths=(8,)) for _ in range(2))
    kept = copy.deepcopy(source.decoder.state_dict())
    model, optimizer = answer(source, fresh, "decoder", 1e-3)
    images = torch.randint(0, 256, (20, 1, 28, 28)).to(torch.uint8)
    few = ImageSet(images, torch.zeros(20, dtype=torch.long), ("digit",))
    vae_uses.train_vae(model, few, 2, 0, optimizer)
    after = model.decoder.state_dict()
    assert all(torch.equal(after[name], value) for name, value in kept.items())


def naive_cka(answer):
    x, y = torch.randn(2, 50, 40, dtype=torch.float64)
    assert f"{answer(x, 2 * x):.2f}" == "1.00" and 0 < answer(x, y) < 1


def cka(answer):
    x = torch.randn(50, 9, dtype=torch.float64)
    assert f"{answer(x, 2 * x):.2f}" == "1.00"


def random_beat_trained(answer):
    x = torch.randn(30, 3) + 2 * LABELS.repeat(5)[:, None]
    called = answer(x[:20], LABELS.repeat(5)[:20], x[20:], 1.0)
    assert (called == LABELS.repeat(5)[20:]).float().mean() > 0.3


def features(answer):
    small = vae.mlp_vae(latent=4, widths=(8,)).train()
    images = torch.rand(6, 1, 28, 28)
    first, second = answer(small, images), answer(small, images)
    assert torch.equal(first, second) and small.training
    nn.Linear(4, 2)(first).sum().backward()


def few_labels(answer):
    pool = torch.tensor([5] * 20 + [7] * 6 + [9] * 4)
    hands = answer(pool, per_class=1, draws=4, seed=0)
    assert [int((pool[hand] == 9).sum()) for hand in hands] == [1, 1, 1, 1]
    assert len(torch.cat(list(hands)).unique()) == 12
    assert torch.randn(30, 2)[hands[0]].shape == (3, 2)


def paired_interval(answer):
    b = torch.randn(10, dtype=torch.float64)
    a = b + 1 + torch.randn(10, dtype=torch.float64)
    kept = a.clone()
    effect, low, high = answer(a, b)
    assert f"{low:.2f} {effect:.2f} {high:.2f}" and low < effect < high
    assert torch.equal(a, kept)


def verdict(answer):
    word = answer(-0.6, 0.4, 10, delta=1.0)
    assert f"{word}" == repr(word).strip("'") == "no gain"


def excess_loss(answer):
    falling = np.linspace(2, 0.1, 12)
    paths = {draw: (falling, falling**2 + draw) for draw in range(4)}
    by_pair = [answer(paths[draw], (falling, falling**2)) for draw in paths]
    middle, low, high = study.mean_interval(by_pair)
    assert f"{middle:.3f}" == "1.500" and low < middle < high


def leakage(answer):
    generator = torch.Generator().manual_seed(0)
    sets = [(torch.randn(40, 30, generator=generator), torch.arange(40) % 2) for _ in range(3)]
    unlabelled = torch.cat([torch.randn(60, 30, generator=generator), sets[2][0]])
    draws = [torch.arange(10), torch.arange(10, 20)]
    told = []
    study = (combine.principal_components, combine.ridge, unlabelled, *sets, draws, [0.1, 1, 10])
    told += answer(*study)
    assert torch.tensor(told).view(1, 2).mean(1).isfinite().all()


USES = {
    "start.share_above": share_above,
    "training.step": step,
    "training.cross_entropy": cross_entropy,
    "training.accuracy": accuracy,
    "training.overfit_one_batch": overfit,
    "training.debug_loop": debug_loop,
    "training.bill": bill,
    "hardware.flops_linear": flops,
    "hardware.predicted_step": predicted,
    "hardware.time_it": time_it,
    "hardware.batches_resident": resident,
    "hardware.accumulate": accumulate,
    "hardware.shared_backward": shared_backward,
    "hardware.resume": resume,
    "vae.bernoulli_log_likelihood": bernoulli,
    "vae.kl": kl,
    "vae.reparameterise": reparameterise,
    "vae.elbo": elbo,
    "vae.decoder_shape": grow,
    "vae.iw_bound": iw_bound,
    "vae.clinic_a": patient,
    "vae.clinic_b": patient,
    "vae.clinic_c": patient_of_sigma,
    "latent.kl_by_width": kl_by_width,
    "latent.interpolate": interpolate,
    "latent.sample": sample,
    "latent.view": view,
    "latent.strangest": strangest,
    "transfer.freeze": freeze,
    "transfer.graft": graft,
    "transfer.param_groups": param_groups,
    "transfer.linear_probe": linear_probe,
    "transfer.new_head": new_head,
    "transfer.normalise": normalise,
    "transfer.l2_sp": l2_sp,
    "transfer.clinic": clinic,
    "transfer.fine_tune": fine_tune,
    "sentences.pad_batch": pad_batch,
    "sentences.mean_pool": mean_pool,
    "sentences.train_pass": train_pass,
    "own.leave_one_out": leave_one_out,
    "boxes.iou": iou,
    "boxes.average_precision": average_precision,
    "boxes.new_class": new_class,
    "joint.surgery": surgery,
    "joint.m2_sum": m2_sum,
    "joint.directions": directions,
    "joint.reuse": reuse,
    "joint.naive_cka": naive_cka,
    "joint.cka": cka,
    "joint.random_beat_trained": random_beat_trained,
    "combine.features": features,
    "combine.few_labels": few_labels,
    "combine.paired_interval": paired_interval,
    "combine.verdict": verdict,
    "combine.excess_loss": excess_loss,
    "combine.leakage": leakage,
}
