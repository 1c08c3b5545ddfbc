"""New heads, fine-tuning, and two remedies against forgetting."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from vaetl_helpers.data.images import ImageSet
from vaetl_helpers.errors import CourseError
from vaetl_helpers.seeds import whole_seed
from vaetl_helpers.training.evaluation import History, LossFunction, loss_and_monitored
from vaetl_helpers.training.inputs import check_batch_norm, check_images, check_network
from vaetl_helpers.training.loop import fit_best
from vaetl_helpers.transfer.freezing import frozen, param_groups

# ---------------------------------------------------------------- layers


def new_head(
    old: nn.Linear, keep: Mapping[int, int], classes: int, generator: torch.Generator
) -> nn.Linear:
    """A head for `classes` classes that keeps rows of an old one, {old row: new row}, bit for bit.

    A new row has a random direction, the mean norm of the old rows and the mean of their biases:
    its logits are then as large as the others', and no class is favoured before training. Raises
    CourseError for rows that do not exist and for two rows in one place.
    """
    _check_rows(old, keep, classes)
    has_bias = old.bias is not None
    head = nn.utils.skip_init(nn.Linear, old.in_features, classes, bias=has_bias).to(old.weight)
    directions = torch.randn(head.weight.shape, generator=generator).to(old.weight)
    unit_rows = directions / directions.norm(dim=1, keepdim=True)
    old_rows, new_rows = list(keep), list(keep.values())
    with torch.no_grad():
        head.weight.copy_(unit_rows * old.weight.norm(dim=1).mean())
        head.weight[new_rows] = old.weight[old_rows]
        if has_bias:
            head.bias.fill_(old.bias.mean())
            head.bias[new_rows] = old.bias[old_rows]
    return head


def _check_rows(old: nn.Linear, keep: Mapping[int, int], classes: int) -> None:
    old_exist = set(keep) <= set(range(old.out_features))
    new_exist = set(keep.values()) <= set(range(classes))
    are_distinct = len(set(keep.values())) == len(keep)
    if classes < 1 or not (old_exist and new_exist and are_distinct):
        raise CourseError(
            f"keep = {dict(keep)} does not fit: map old rows 0 … {old.out_features - 1} to new "
            f"rows 0 … {classes - 1}, each new row once."
        )


def grey_filters(conv: nn.Conv2d) -> nn.Conv2d:
    """A copy of an RGB layer for one channel: a grey image gives what three copies of it would.

    Its filters are summed over the channels, so this holds where the three are normalised alike.
    Raises CourseError unless the layer has three channels.
    """
    if not isinstance(conv, nn.Conv2d) or conv.in_channels != 3 or conv.groups != 1:
        raise CourseError(
            f"grey_filters needs a Conv2d with 3 input channels in one group, not {conv}."
        )
    grey = copy.deepcopy(conv)  # keeps stride, padding and what a subclass adds
    filters = conv.weight.detach().sum(1, keepdim=True)
    grey.weight = nn.Parameter(filters, conv.weight.requires_grad)
    grey.in_channels = 1
    return grey


# ---------------------------------------------------------------- against forgetting


def l2_sp(
    loss_fn: LossFunction, model: nn.Module, alpha: float, head: nn.Module | None = None
) -> LossFunction:
    """`loss_fn` plus alpha / 2 · Σ ‖w − w₀‖² in nats, w₀ being the parameters of `model` now.

    Parameters of `head` (new, with nothing to stay near) and those that the model gets later are
    free. Monitors the `distance` ‖w − w₀‖. Raises CourseError where the loss is used with a model
    that has none of the parameters. Source: Li et al. 2018, arXiv:1802.01483, eq. 2.
    """
    free = set(head.parameters()) if head else set()
    start = {
        name: parameter.detach().clone()
        for name, parameter in model.named_parameters()
        if parameter not in free
    }

    def penalised(
        model: nn.Module, images: Tensor, labels: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        loss, monitored = loss_and_monitored(loss_fn(model, images, labels))
        bare_model = getattr(model, "module", model)  # without the wrapper of data parallelism
        parameters = dict(bare_model.named_parameters())
        squares = []
        for name, old in start.items():
            new = parameters.get(name)
            if new is not None and new.shape == old.shape:
                start[name] = old.to(new.device)  # moves once
                squares.append((new - start[name]).square().sum())
        if not squares:
            raise CourseError(
                "This L2-SP loss was made for another model: call l2_sp on the one that is trained."
            )
        total = torch.stack(squares).sum()
        distance = total.detach().sqrt()
        return loss + alpha / 2 * total, monitored | {"distance": distance}

    return penalised


def rehearsal(
    target: ImageSet,
    source: ImageSet,
    count: int,
    labels: Mapping[int, int],
    classes: Sequence[str],
    seed: int = 0,
) -> ImageSet:
    """The target set and `count` source images drawn by `seed`, against forgetting.

    `labels` is {source label: label in `classes`}; source classes that are not in it are left out.
    Raises CourseError where there are fewer images than that.
    """
    source_labels = torch.tensor(list(labels), device=source.device)
    is_usable = torch.isin(source.labels, source_labels)
    usable = is_usable.nonzero().squeeze(1)
    if not 0 < count <= len(usable):
        raise CourseError(
            f"{count} source images were asked for, but 1 … {len(usable)} have one of those labels."
        )
    generator = torch.Generator().manual_seed(whole_seed(seed))
    order = torch.randperm(len(usable), generator=generator)[:count]
    drawn = source.subset(usable[order.to(usable.device)]).to(target.device)
    new_labels = [labels[label] for label in drawn.labels.tolist()]
    return ImageSet(
        torch.cat([target.images, drawn.images]),
        torch.cat([target.labels, torch.tensor(new_labels, device=target.device)]),
        tuple(classes),
    )


# ---------------------------------------------------------------- fine-tuning


def fine_tune(  # noqa: PLR0913 (the knobs that chapter 4 is about, each by keyword)
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
    """Trains the head on the frozen body, then all parts at rates by depth.

    Returns the model at its best validation epoch, and the history of both phases (fastai's).
    `parts` run from the input to the head; `options` go to `fit_best`. With the head of a linear
    probe, `Probe.as_linear()`, and head_epochs=0 this is LP-FT (Kumar et al. 2022,
    arXiv:2202.10054).
    """
    check_network(model)
    check_images(train, "train")
    batch_size = options.get("batch_size", 128)
    # The second phase would fail after the work of the first.
    check_batch_norm(model, train, batch_size, options.get("micro_batch") or batch_size)
    with frozen(*parts[:-1]):
        adam = torch.optim.Adam(param_groups(parts, rate, factor, model))
        of_head = fit_best(model, train, validation, epochs=head_epochs, optimizer=adam, **options)
    adam = torch.optim.Adam(param_groups(parts, rate / 2, factor, model))
    of_all = fit_best(model, train, validation, epochs=epochs, optimizer=adam, **options)
    return model, [of_head, of_all]
