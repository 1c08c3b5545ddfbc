"""New heads, fine-tuning, and two remedies against forgetting."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from vaetl_helpers.data.images import ImageSet
from vaetl_helpers.errors import CourseError
from vaetl_helpers.training.evaluation import History, LossFunction, loss_and_monitored
from vaetl_helpers.training.loop import fit_best
from vaetl_helpers.transfer.freezing import freeze, param_groups, unfreeze


def new_head(
    old: nn.Linear, keep: Mapping[int, int], classes: int, generator: torch.Generator
) -> nn.Linear:
    """A head for `classes` classes that keeps rows of an old one, {old row: new row}, weights and bias bit for bit.

    A new row has a random direction, the mean norm of the old rows and the mean of their biases: its logits are then
    as large as the others', and no class is favoured before training. Raises CourseError for rows that do not exist
    and for two rows in one place.
    """
    rows = range(old.out_features)
    wrong = [(a, b) for a, b in keep.items() if a not in rows or b not in range(classes)]
    if classes < 1 or wrong or len(set(keep.values())) < len(keep):
        sizes = f"old rows 0 … {len(rows) - 1} to new rows 0 … {classes - 1}"
        raise CourseError(f"keep = {dict(keep)} does not fit: map {sizes}, each new row once.")
    head = nn.utils.skip_init(nn.Linear, old.in_features, classes, bias=old.bias is not None).to(
        old.weight
    )
    direction = torch.randn(head.weight.shape, generator=generator).to(old.weight)
    with torch.no_grad():
        head.weight.copy_(
            direction / direction.norm(dim=1, keepdim=True) * old.weight.norm(dim=1).mean()
        )
        head.weight[list(keep.values())] = old.weight[list(keep)]
        if old.bias is not None:
            head.bias.fill_(old.bias.mean())
            head.bias[list(keep.values())] = old.bias[list(keep)]
    return head


def grey_filters(conv: nn.Conv2d) -> nn.Conv2d:
    """A copy of an RGB layer for one channel, its filters summed: a grey image gives what three copies of it would.

    That holds where the three channels are normalised alike. Raises CourseError unless the layer has three channels.
    """
    if not isinstance(conv, nn.Conv2d) or conv.in_channels != 3 or conv.groups != 1:
        raise CourseError(
            f"grey_filters needs a Conv2d with 3 input channels in one group, not {conv}."
        )
    grey = copy.deepcopy(conv)  # keeps stride, padding and what a subclass adds
    grey.weight = nn.Parameter(conv.weight.detach().sum(1, keepdim=True), conv.weight.requires_grad)
    grey.in_channels = 1
    return grey


def l2_sp(
    loss_fn: LossFunction, model: nn.Module, alpha: float, head: nn.Module | None = None
) -> LossFunction:
    """`loss_fn` plus alpha / 2 · Σ ‖w − w₀‖² in nats, w₀ being the parameters of `model` at this moment.

    Parameters of `head` (new, with nothing to stay near) and those that the model gets later are free. Monitors the
    `distance` ‖w − w₀‖. Raises CourseError where the loss is used with a model that has none of the parameters.
    Source: Li et al. 2018, arXiv:1802.01483, eq. 2.
    """
    free = {id(parameter) for parameter in head.parameters()} if head else set()
    start = {name: p.detach().clone() for name, p in model.named_parameters() if id(p) not in free}

    def penalised(
        model: nn.Module, images: Tensor, labels: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        loss, monitored = loss_and_monitored(loss_fn(model, images, labels))
        now = dict(
            getattr(model, "module", model).named_parameters()
        )  # without the wrapper of data parallelism
        squares = []
        for name in [
            name for name in start if name in now and now[name].shape == start[name].shape
        ]:
            start[name] = start[name].to(now[name].device)  # moves once
            squares.append((now[name] - start[name]).square().sum())
        if not squares:
            raise CourseError(
                "This L2-SP loss was made for another model: call l2_sp on the one that is trained."
            )
        total = torch.stack(squares).sum()
        return loss + alpha / 2 * total, monitored | {"distance": total.detach().sqrt()}

    return penalised


def rehearsal(
    target: ImageSet,
    source: ImageSet,
    count: int,
    labels: Mapping[int, int],
    classes: Sequence[str],
    seed: int = 0,
) -> ImageSet:
    """The target set and `count` source images drawn by `seed`, against forgetting; {source label: label in `classes`}.

    Source classes that are not in `labels` are left out. Raises CourseError where there are fewer images than that.
    """
    pool = (
        torch.isin(source.labels, torch.tensor(list(labels), device=source.device))
        .nonzero()
        .squeeze(1)
    )
    if not 0 < count <= len(pool):
        raise CourseError(
            f"{count} source images were asked for, but 1 … {len(pool)} have one of those labels."
        )
    drawn = torch.randperm(len(pool), generator=torch.Generator().manual_seed(seed))[:count]
    chosen = source.subset(pool[drawn.to(pool.device)]).to(target.device)
    mapped = torch.tensor([labels[label] for label in chosen.labels.tolist()], device=target.device)
    return ImageSet(
        torch.cat([target.images, chosen.images]),
        torch.cat([target.labels, mapped]),
        tuple(classes),
    )


def fine_tune(
    model: nn.Module,
    train: ImageSet,
    validation: ImageSet,
    *,
    parts: Sequence[nn.Module],
    epochs: int,
    rate: float = 1e-3,
    head_epochs: int = 1,
    factor: float = 2.6,
    **options: Any,
) -> tuple[nn.Module, list[History]]:
    """Trains the head on the frozen body, then all parts at rates by depth; the model at its best validation epoch.

    `parts` run from the input to the head; `options` go to `fit_best`. With the head of a linear probe,
    `Probe.as_linear()`, and head_epochs=0 this is LP-FT (Kumar et al. 2022, arXiv:2202.10054). The two phases: fastai.
    """
    for part in parts[:-1]:
        freeze(part)
    try:
        adam = torch.optim.Adam(param_groups(parts, rate, factor, model))
        first = fit_best(model, train, validation, epochs=head_epochs, optimizer=adam, **options)
    finally:
        for part in parts[:-1]:
            unfreeze(part)
    adam = torch.optim.Adam(param_groups(parts, rate / 2, factor, model))
    return model, [
        first,
        fit_best(model, train, validation, epochs=epochs, optimizer=adam, **options),
    ]
