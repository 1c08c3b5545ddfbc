"""Right answers of chapter 4."""

import copy
from types import MethodType

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from vaetl_helpers import transfer

from . import ways

# transfer.freeze


def freeze(body):
    body.requires_grad_(False).eval()
    body.train = lambda mode=True: body


def freeze_by_method(body):
    for parameter in body.parameters():
        parameter.requires_grad = False
    body.eval()
    body.train = MethodType(lambda self, mode=True: self, body)
    return body


def freeze_by_hook(body):
    body.requires_grad_(False)
    body.eval()

    def stay(module, _):
        module.eval()

    body.register_forward_pre_hook(stay)


def freeze_by_class(body):
    class Frozen(type(body)):
        def train(self, mode=True):
            return super().train(mode=False)

    body.__class__ = Frozen
    body.requires_grad_(False)
    body.eval()


def freeze_each_part(body):
    for part in body.modules():
        part.requires_grad_(False)
        part.training = False
        part.train = lambda mode=True, part=part: part


def freeze_the_layers(body):
    body.requires_grad_(False)
    for part in body.modules():
        if isinstance(part, nn.BatchNorm1d | nn.Dropout):
            part.eval()
            part.train = lambda mode=True, part=part: part


# transfer.graft


def graft(source, fresh, n):
    for number in range(n):
        fresh[number] = transfer.freeze(copy.deepcopy(source[number]))
    return fresh


def graft_a_copy(source, fresh, n):
    model = copy.deepcopy(fresh)
    model[:n].load_state_dict(source[:n].state_dict())
    for block in model[:n]:
        freeze(block)
    return model


def graft_together(source, fresh, n):
    taken = [copy.deepcopy(block) for block in source[:n]]
    for block in taken:
        freeze_by_method(block)
    return nn.Sequential(*taken, *fresh[n:])


def graft_into_a_copy_of_the_source(source, fresh, n):
    model = copy.deepcopy(source)
    for number in range(n, len(fresh)):
        model[number] = fresh[number]
    transfer.freeze(model[:n])
    return model


def graft_by_loading(source, fresh, n):
    for number, (block, trained) in enumerate(zip(fresh, source, strict=True)):
        if number < n:
            block.load_state_dict(trained.state_dict())
            transfer.freeze(block)
    return fresh


# transfer.param_groups


def groups(parts, rate, factor):
    found = []
    lr = rate
    for part in parts[::-1]:
        trainable = [p for p in part.parameters() if p.requires_grad]
        if trainable:
            found.append({"params": trainable, "lr": lr})
        lr /= factor
    return found[::-1]


def groups_lazily(parts, rate, factor):
    for depth, part in zip(range(len(parts))[::-1], parts, strict=True):
        trainable = tuple(filter(lambda p: p.requires_grad, part.parameters()))
        if trainable:
            yield {"lr": rate * factor**-depth, "params": trainable}


def groups_by_numpy(parts, rate, factor):
    rates = rate / np.power(factor, np.arange(len(parts))[::-1])
    found = []
    for part, lr in zip(parts, rates, strict=True):
        if any(p.requires_grad for p in part.parameters()):
            trainable = (p for p in part.parameters() if p.requires_grad)
            found.append({"params": trainable, "lr": lr})
    return found


def groups_by_recursion(parts, rate, factor):
    if not parts:
        return []
    *earlier, last = parts
    trainable = nn.ParameterList(p for p in last.parameters() if p.requires_grad)
    own = [{"params": trainable, "lr": rate}] if len(trainable) else []
    return groups_by_recursion(earlier, rate / factor, factor) + own


def groups_with_names(parts, rate, factor):
    return tuple(
        {**group, "name": f"part {i}"} for i, group in enumerate(groups(parts, rate, factor))
    )


def groups_with_tensor_rates(parts, rate, factor):
    return [group | {"lr": torch.tensor(group["lr"])} for group in groups(parts, rate, factor)]


def groups_of_an_optimiser(parts, rate, factor):
    return torch.optim.SGD(groups(parts, rate, factor), lr=1.0).param_groups


# transfer.linear_probe


def probe(train_x, train_y, validation_x, validation_y, strengths):
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(train_x)
    x, x_validation = scaler.transform(train_x), scaler.transform(validation_x)
    models = {}
    for c in sorted(strengths):
        models[c] = LogisticRegression(C=c, max_iter=2000).fit(x, train_y)
    best = max(models, key=lambda c: models[c].score(x_validation, validation_y))
    return best, models[best].predict(x_validation)


def probe_in_place(train_x, train_y, validation_x, validation_y, strengths):
    from sklearn.linear_model import LogisticRegression

    mean, std = train_x.mean(0), train_x.std(0)
    for x in (train_x, validation_x):
        x -= mean
        x /= std
    found = []
    for c in strengths:
        labels = LogisticRegression(C=c, max_iter=2000).fit(train_x, train_y).predict(validation_x)
        found.append((-(torch.tensor(labels) == validation_y).double().mean().item(), c, labels))
    _, c, labels = min(found, key=lambda row: row[:2])
    return [torch.tensor(c, dtype=torch.float64), torch.tensor(labels)]


def labels_as(form):
    """The probe, its labels in another form."""

    def probe_in_form(*args):
        c, labels = probe(*args)
        return np.float64(c), form(labels)

    return probe_in_form


# transfer.new_head


def head(old_weight, old_bias, keep, classes, generator):
    weight = F.normalize(torch.randn(classes, old_weight.shape[1], generator=generator), dim=1)
    weight *= old_weight.norm(dim=1).mean()
    bias = torch.full((classes,), old_bias.mean().item())
    weight[list(keep.values())] = old_weight[list(keep)]
    bias[list(keep.values())] = old_bias[list(keep)]
    return weight, bias


def head_by_layer(old_weight, old_bias, keep, classes, generator):
    layer = nn.Linear(old_weight.shape[1], classes)
    layer.weight.data, layer.bias.data = head(old_weight, old_bias, keep, classes, generator)
    return layer.weight, layer.bias


def head_row_by_row(old_weight, old_bias, keep, classes, generator):
    old_of = {new: old for old, new in keep.items()}
    length = torch.linalg.vector_norm(old_weight, dim=1).mean()
    rows, biases = [], []
    for new in range(classes):
        row = torch.randn(old_weight.shape[1], generator=generator)
        kept = old_of.get(new)
        rows.append(row / row.norm() * length if kept is None else old_weight[kept])
        biases.append(old_bias.mean() if kept is None else old_bias[kept])
    return rows, biases


def head_by_numpy(old_weight, old_bias, keep, classes, generator):
    rng = np.random.default_rng(generator.initial_seed())
    weight = rng.normal(size=(classes, old_weight.shape[1]))
    lengths = np.linalg.norm(old_weight.numpy(), axis=1).mean()
    weight *= lengths / np.linalg.norm(weight, axis=1, keepdims=True)
    bias = np.full(classes, old_bias.numpy().mean())
    for old, new in keep.items():
        weight[new], bias[new] = old_weight[old], old_bias[old]
    return weight, bias


def head_in_double(*args):
    return tuple(part.double() for part in head(*args))


def head_as_lists(*args):
    return [part.tolist() for part in head(*args)]


# transfer.normalise


def normalise(images, mean, std):
    mean, std = torch.tensor(mean)[:, None, None], torch.tensor(std)[:, None, None]
    return images.float().div(255).sub(mean).div(std)


def normalise_by_numpy(images, mean, std):
    pixels = images.numpy().transpose(0, 2, 3, 1) / 255
    return ((pixels - mean) / std).transpose(0, 3, 1, 2)


def normalise_by_einsum(images, mean, std):
    centred = images / 255 - torch.tensor(mean).view(1, 3, 1, 1)
    return torch.einsum("nchw,c->nchw", centred, 1 / torch.tensor(std))


def normalise_by_loop(images, mean, std):
    out = torch.empty(images.shape, dtype=torch.float64)
    for i, (m, s) in enumerate(zip(mean, std, strict=True)):
        out[:, i] = (images[:, i] / 255 - m) / s
    return out


def normalise_in_place(images, mean, std):
    pixels = images.float()
    pixels /= 255
    for i in range(3):
        pixels[:, i] -= mean[i]
        pixels[:, i] /= std[i]
    return pixels


def normalise_by_affine(images, mean, std):
    mean, std = (torch.tensor(x).view(3, 1, 1) for x in (mean, std))
    return images * (1 / (255 * std)) - mean / std


def normalise_by_batch_norm(images, mean, std):
    variance = torch.tensor(std) ** 2
    return F.batch_norm(images / 255, torch.tensor(mean), variance, eps=0)


# transfer.l2_sp


def l2_sp(body, source, alpha):
    squares = 0.0
    start = dict(source.named_parameters())
    for name, parameter in body.named_parameters():
        squares += ((parameter - start[name].detach()) ** 2).sum()
    return 0.5 * alpha * squares


def l2_sp_by_vectors(body, source, alpha):
    now, start = (torch.cat([p.flatten() for p in part.parameters()]) for part in (body, source))
    return alpha / 2 * (now - start).norm() ** 2


def l2_sp_by_losses(body, source, alpha):
    pairs = zip(body.parameters(), source.parameters(), strict=True)
    return alpha * sum(F.mse_loss(now, start, reduction="sum") for now, start in pairs) / 2


def l2_sp_of_a_dot_product(body, source, alpha):
    total = torch.zeros(1)
    for now, start in zip(body.parameters(), source.parameters(), strict=True):
        moved = (start - now).flatten()
        total = total + moved @ moved
    return (total * alpha / 2).squeeze()


def l2_sp_by_the_library(body, source, alpha):
    now, start = map(nn.utils.parameters_to_vector, (body.parameters(), source.parameters()))
    return alpha * (now - start).square().sum() / 2


# transfer.clinic


def train_head(body, head, images, labels, steps, rate):
    body.requires_grad_(False).eval()
    head.train()
    optimizer = torch.optim.SGD(head.parameters(), lr=rate, momentum=0.9, weight_decay=0.1)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad(set_to_none=False)
        loss = F.cross_entropy(head(body(images)), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def train_head_on_features(body, head, images, labels, steps, rate):
    body.eval()
    with torch.no_grad():
        features = body(images)
    optimizer = torch.optim.SGD(head.train().parameters(), lr=rate, momentum=0.9, weight_decay=0.1)
    for _ in range(steps):
        optimizer.zero_grad(set_to_none=False)
        loss = F.cross_entropy(head(features), labels)
        loss.backward()
        optimizer.step()
        yield loss.item()


def train_head_into_an_array(*args):
    return np.fromiter(train_head_on_features(*args), dtype=np.float32)


# transfer.fine_tune


def fine_tune(source, head, batches, body_rate, head_rate):
    model = nn.Sequential(*copy.deepcopy(source)[:-1], head)
    groups = [
        {"params": list(model[:-1].parameters())},
        {"params": list(model[-1].parameters()), "lr": head_rate},
    ]
    optimizer = torch.optim.SGD(groups, lr=body_rate)
    for images, labels in batches:
        model.train()
        loss = nn.CrossEntropyLoss()(model(images), labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    return model


def fine_tune_with_two_optimisers(source, head, batches, body_rate, head_rate):
    body = copy.deepcopy(source[:-1]).train()
    optimizers = [
        torch.optim.SGD(body.parameters(), lr=body_rate),
        torch.optim.SGD(head.parameters(), lr=head_rate),
    ]
    for images, labels in batches:
        for optimizer in optimizers:
            optimizer.zero_grad()
        nn.functional.cross_entropy(head(body(images)), labels).backward()
        for optimizer in optimizers:
            optimizer.step()
    return nn.Sequential(body, head)


def fine_tune_by_hand(source, head, batches, body_rate, head_rate):
    model = copy.deepcopy(source)
    model[-1] = copy.deepcopy(head)
    model.train()
    for images, labels in batches:
        parameters = list(model.parameters())
        loss = nn.functional.cross_entropy(model(images), labels)
        gradients = torch.autograd.grad(loss, parameters)
        with torch.no_grad():
            for number, (p, g) in enumerate(zip(parameters, gradients, strict=True)):
                p -= (head_rate if number >= len(parameters) - 2 else body_rate) * g
    return model


def fine_tune_by_state(source, head, batches, body_rate, head_rate):
    model = type(source)(*copy.deepcopy(list(source)))
    model.load_state_dict(source.state_dict())
    model[len(model) - 1] = head
    is_of_head = {id(parameter) for parameter in head.parameters()}
    groups = []
    for parameter in model.parameters():
        rate = head_rate if id(parameter) in is_of_head else body_rate
        groups.append({"params": [parameter], "lr": rate})
    optimizer = torch.optim.SGD(groups)
    model.train()
    for images, labels in batches:
        model.zero_grad()
        nn.functional.nll_loss(model(images).log_softmax(1), labels).backward()
        optimizer.step()
    return model


def fine_tune_in_eval_after(*arguments):
    return fine_tune(*arguments).eval()


RIGHT = {
    "transfer.fine_tune": [
        fine_tune,
        fine_tune_with_two_optimisers,
        fine_tune_by_hand,
        fine_tune_by_state,
        fine_tune_in_eval_after,
        *ways.all_ways(fine_tune),
    ],
    "transfer.freeze": [
        freeze,
        freeze_by_method,
        freeze_by_hook,
        freeze_by_class,
        freeze_each_part,
        freeze_the_layers,
        *ways.all_ways(freeze_by_class),
    ],
    "transfer.graft": [
        graft,
        graft_a_copy,
        graft_together,
        graft_into_a_copy_of_the_source,
        graft_by_loading,
        *ways.all_ways(graft),
    ],
    "transfer.param_groups": [
        groups,
        groups_lazily,
        groups_by_numpy,
        groups_by_recursion,
        groups_with_names,
        groups_with_tensor_rates,
        groups_of_an_optimiser,
        *ways.all_ways(groups_lazily),
    ],
    "transfer.linear_probe": [
        probe,
        probe_in_place,
        labels_as(list),
        labels_as(tuple),
        labels_as(ways.series),
        labels_as(ways.generator),
        labels_as(torch.tensor),
        ways.then(probe, list),
        ways.then(probe, ways.generator),
        *ways.all_ways(probe_in_place),
    ],
    "transfer.new_head": [
        head,
        head_by_layer,
        head_row_by_row,
        head_by_numpy,
        head_in_double,
        head_as_lists,
        ways.then(head, ways.generator),
        *ways.all_ways(head_by_numpy),
    ],
    "transfer.normalise": [
        normalise,
        normalise_by_numpy,
        normalise_by_einsum,
        normalise_by_loop,
        normalise_in_place,
        normalise_by_affine,
        normalise_by_batch_norm,
        ways.then(normalise, ways.nested),
        ways.then(normalise, ways.rows),
        *ways.all_ways(normalise_by_numpy),
    ],
    "transfer.l2_sp": [
        l2_sp,
        l2_sp_by_vectors,
        l2_sp_by_losses,
        l2_sp_of_a_dot_product,
        l2_sp_by_the_library,
        *ways.all_ways(l2_sp),
    ],
    "transfer.clinic": [
        train_head,
        train_head_on_features,
        train_head_into_an_array,
        *ways.of_sequences(train_head),
        *ways.all_ways(train_head_into_an_array),
    ],
}
