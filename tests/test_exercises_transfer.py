"""Chapter 4's exercises: other right answers, and wrong ones as learners write them."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from vaetl_helpers import transfer as package
from vaetl_helpers.exercises import check, evaluate, get, transfer


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # tiny problems
    yield
    torch.set_num_threads(before)


def freeze_by_a_hook(body):
    for parameter in body.parameters():
        parameter.requires_grad = False
    body.register_forward_pre_hook(
        lambda module, _: module.eval() and None
    )  # what a hook returns would be the input


def freeze_every_module(body):
    body.eval()
    for module in body.modules():
        module.train = lambda mode=True, module=module: module
        for parameter in module.parameters(recurse=False):
            parameter.requires_grad = False


def freeze_by_a_class(body):
    class Fixed(type(body)):
        def train(self, mode=True):
            return super().train(False)

    body.__class__ = Fixed
    return body.requires_grad_(False).train()


def groups_backwards(parts, rate, factor):
    groups = []
    for part in reversed(parts):
        if any(parameter.requires_grad for parameter in part.parameters()):
            groups.insert(
                0,
                {
                    "params": (p for p in part.parameters() if p.requires_grad),
                    "lr": rate,
                    "name": "part",
                },
            )
        rate = rate / factor
    return tuple(groups)


def groups_with_tensor_rates(parts, rate, factor):
    rates = rate * torch.tensor(factor, dtype=torch.float64) ** torch.arange(1 - len(parts), 1)
    groups = [
        {"lr": lr, "params": package.trainable(part)} for part, lr in zip(parts, rates, strict=True)
    ]
    return [group for group in groups if group["params"]]


def probe_by_a_pipeline(train_x, train_y, validation_x, validation_y, strengths):
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    scores = {}
    for c in strengths:
        model = make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=2000))
        model.fit(train_x.numpy(), train_y.numpy())
        scores[c] = (model.score(validation_x, validation_y), -c, model)
    best = max(strengths, key=lambda c: scores[c][:2])
    return [np.float64(best), scores[best][2].predict(validation_x).tolist()]


def probe_by_the_package(train_x, train_y, validation_x, validation_y, strengths):
    probe = package.linear_probe(train_x, train_y, validation_x, validation_y, strengths)
    return torch.tensor(probe.c, dtype=torch.float64), probe.predict(validation_x)


def head_by_the_package(old_weight, old_bias, keep, classes, generator):
    old = nn.Linear(old_weight.shape[1], len(old_weight))
    old.weight, old.bias = nn.Parameter(old_weight), nn.Parameter(old_bias)
    head = package.new_head(old, keep, classes, generator)
    return head.weight, head.bias


def head_row_by_row(old_weight, old_bias, keep, classes, generator):
    back = {new: old for old, new in keep.items()}
    norm = torch.stack([row.norm() for row in old_weight]).mean()
    rows, biases = [], []
    for new in range(classes):
        if new in back:
            rows.append(old_weight[back[new]])
            biases.append(old_bias[back[new]])
        else:
            rows.append(
                norm
                * F.normalize(2 * torch.rand(old_weight.shape[1], generator=generator) - 1, dim=0)
            )
            biases.append(old_bias.mean())
    return [torch.stack(rows), torch.stack(biases)]


def normalise_in_grey_levels(images, mean, std):
    mean, std = (
        255 * torch.tensor(x, dtype=torch.float64)[None, :, None, None] for x in (mean, std)
    )
    return (images - mean) / std


def normalise_by_channel(images, mean, std):
    channels = [(images[:, i] / 255 - mean[i]) / std[i] for i in range(3)]
    return torch.stack(channels, dim=1)


def normalise_by_torchvision(images, mean, std):
    from torchvision.transforms import functional as transforms

    return transforms.normalize(images / 255, mean, std)


def clinic_on_stored_features(body, head, images, labels, steps, rate):
    body.eval()
    with torch.no_grad():
        features = body(images)  # once: the body is fixed
    head.train()
    optimizer, losses = (
        torch.optim.SGD(head.parameters(), lr=rate, momentum=0.9, weight_decay=0.1),
        [],
    )
    for _ in range(steps):
        optimizer.zero_grad()
        loss = F.cross_entropy(head(features), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss)
    return losses


def clinic_with_gradients_of_none(body, head, images, labels, steps, rate):
    model, losses = nn.Sequential(package.freeze(body), head), []
    optimizer = torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9, weight_decay=0.1)
    for _ in range(steps):
        model.train()
        optimizer.zero_grad()  # to None: such parameters are skipped
        loss = F.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return np.array(losses).tolist()


RIGHT = (
    ("freeze", package.freeze),
    ("freeze", freeze_by_a_hook),
    ("freeze", freeze_every_module),
    ("freeze", freeze_by_a_class),
    ("param_groups", package.param_groups),
    ("param_groups", groups_backwards),
    ("param_groups", groups_with_tensor_rates),
    ("linear_probe", probe_by_a_pipeline),
    ("linear_probe", probe_by_the_package),
    ("new_head", head_by_the_package),
    ("new_head", head_row_by_row),
    ("normalise", normalise_in_grey_levels),
    ("normalise", normalise_by_channel),
    ("normalise", normalise_by_torchvision),
    ("clinic", clinic_on_stored_features),
    ("clinic", clinic_with_gradients_of_none),
)


@pytest.mark.parametrize(("name", "function"), RIGHT)
def test_other_right_answers_are_correct(name, function):
    outcome = evaluate(get(f"transfer.{name}"), function, range(8))
    assert outcome.status == "correct", outcome


def freeze_without_gradients_in_forward(body):
    transfer.freeze(body).requires_grad_(True)
    body.forward = torch.no_grad()(body.forward)


def freeze_almost(body):
    transfer.freeze(body)
    for parameter in body.parameters():
        parameter.data.mul_(1 + 1e-6)


def freeze_and_forget(body):
    transfer.freeze(body)
    nn.init.zeros_(body[1][0].weight)


def groups_of_names(parts, rate, factor):
    return [{"params": [name for name, _ in part.named_parameters()], "lr": rate} for part in parts]


def groups_without_rates(parts, rate, factor):
    return [{"params": list(part.parameters())} for part in parts]


def groups_twice(parts, rate, factor):
    return 2 * transfer.param_groups(parts, rate, factor)


def groups_of_a_number(parts, rate, factor):
    return [{"params": 3, "lr": rate}]


def probe_with_the_smallest(train_x, train_y, validation_x, validation_y, strengths):
    return min(strengths), transfer.linear_probe(
        train_x, train_y, validation_x, validation_y, strengths
    )[1]


def probe_without_labels(*args):
    return transfer.linear_probe(*args)[0], None


def probe_the_other_way_round(*args):
    return transfer.linear_probe(*args)[::-1]


def head_of_one_tensor(*args):
    return torch.cat([part.flatten() for part in transfer.new_head(*args)])


def head_on_its_side(*args):
    weight, bias = transfer.new_head(*args)
    return weight.T, bias


def head_of_copies(old_weight, old_bias, keep, classes, generator):
    weight, bias = transfer.new_head(old_weight, old_bias, keep, classes, generator)
    for row in set(range(classes)) - set(keep.values()):
        weight[row] = F.normalize(old_weight[0], dim=0) * old_weight.norm(dim=1).mean()
    return weight, bias


def normalise_in_whole_numbers(images, mean, std):
    return transfer.normalise(images, mean, std).int()


def normalise_twice(images, mean, std):
    return transfer.normalise(255 * transfer.normalise(images, mean, std), mean, std)


def clinic_only_the_optimiser(body, head, images, labels, steps, rate):
    model, losses = nn.Sequential(body, head), []
    optimizer = torch.optim.SGD(head.parameters(), lr=rate, momentum=0.9, weight_decay=0.1)
    for _ in range(steps):
        model.train()
        optimizer.zero_grad()
        loss = F.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def clinic_on_a_copy(body, head, *args):
    return transfer.train_head(body, copy.deepcopy(head), *args)


def clinic_without_losses(*args):
    transfer.train_head(*args)


WRONG = (
    ("freeze", freeze_without_gradients_in_forward, "still require gradients"),
    ("freeze", freeze_almost, "bit for bit"),
    ("freeze", freeze_and_forget, "parameters of the body moved"),
    ("freeze", lambda body: copy.deepcopy(body).eval(), "nothing about the body is fixed"),
    ("param_groups", groups_of_names, '"params" must hold parameters of the parts'),
    ("param_groups", groups_without_rates, 'each group needs "params"'),
    ("param_groups", groups_twice, "the groups' rates: expected"),
    ("param_groups", groups_of_a_number, 'each group needs "params"'),
    ("param_groups", lambda *args: [], "expected"),
    ("param_groups", lambda *args: None, "a list of dicts was expected, got None"),
    (
        "linear_probe",
        probe_with_the_smallest,
        "not the smallest of the strengths with the best accuracy",
    ),
    ("linear_probe", probe_without_labels, "is a return missing?"),
    ("linear_probe", probe_the_other_way_round, "the chosen C: expected one number"),
    ("linear_probe", lambda *args: args[-1][0], "a pair (C, labels) was expected"),
    ("new_head", head_of_one_tensor, "a pair (weight, bias) was expected"),
    ("new_head", head_on_its_side, "expected a float tensor of shape"),
    ("new_head", head_of_copies, "new rows are all alike"),
    ("new_head", lambda *args: (None, None), "is a return missing?"),
    ("normalise", normalise_in_whole_numbers, "torch.int32"),
    ("normalise", normalise_twice, "(pixel / 255 - mean) / std"),
    ("clinic", clinic_only_the_optimiser, f"still in it: {transfer.DRIFT}"),
    ("clinic", clinic_on_a_copy, "mend the three bugs only"),
    ("clinic", clinic_without_losses, "is a return missing?"),
)


@pytest.mark.parametrize(("name", "function", "says"), WRONG)
def test_hand_written_wrong_answers_are_named(name, function, says):
    for seed in range(3):
        outcome = evaluate(get(f"transfer.{name}"), function, [seed])
        assert outcome.status == "incorrect" and says in outcome.message, outcome


def test_switching_gradients_off_everywhere_is_a_crash_with_no_trace(capsys):
    check("transfer.freeze", lambda body: torch.set_grad_enabled(False))
    assert "does not require grad" in capsys.readouterr().out
    assert torch.is_grad_enabled()


def test_every_wrong_answer_is_told_in_words():
    for exercise in transfer.EXERCISES:
        for wrong in exercise.wrong:
            message = evaluate(exercise, wrong.function, [7]).message
            assert len(message.split()) > 3 and not message.endswith((":", ",", "expected")), (
                message
            )


def test_the_best_strength_is_neither_always_the_same_nor_always_an_end():
    chosen = []
    for seed in range(4):
        inputs = get("transfer.linear_probe").draw(seed)
        c = transfer._drive_probe(transfer.linear_probe, inputs)[transfer.CHOSEN]
        assert c in inputs["strengths"]
        chosen.append(c)
    assert len(set(chosen)) == 4 and max(chosen) > inputs["strengths"].min()


def test_the_drifting_function_can_be_shown():
    """Without a gradient the body still changes: what pytorch/tutorials#449 reported."""
    body, head = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)), nn.Linear(4, 2)
    before = copy.deepcopy(body.state_dict())
    transfer.drifting_train_head(
        body, head, torch.randn(8, 3), torch.randint(2, (8,)), steps=3, rate=0.1
    )
    assert all(not torch.equal(value, before[name]) for name, value in body.state_dict().items())
