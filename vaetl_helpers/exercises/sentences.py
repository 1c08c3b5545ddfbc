"""Chapter 4b: a batch of sentences, one vector per sentence, and a pass of fine-tuning."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vaetl_helpers.exercises.engine import Function, Values
from vaetl_helpers.exercises.forms import number, pair, tensor
from vaetl_helpers.exercises.toolkit import (
    RETURNED,
    count_updates,
    cut,
    exercise,
    leave_gradients,
    pair_fault,
    plain,
    state_of,
    weights_of,
    whole_number,
)

# sentences.pad_batch

IDS, MASK = "the token ids", "the attention mask"
SHAPE = "rows and columns of the two"


@exercise(
    id="sentences.pad_batch",
    level=1,
    minutes=5,
    points=1,
    hints=(
        "The longest sentence gives the number of columns; begin with a table full of pad.",
        "torch.full((n, longest), pad) is that table, and torch.zeros_like of it a mask of zeros.",
        "For each row: ids[row, : len(sentence)] = torch.tensor(sentence), and "
        "mask[row, : len(sentence)] = 1.",
    ),
    after="That is all that a tokenizer does after its words have become numbers.",
    alternative="torch.nn.utils.rnn.pad_sequence fills a list of tensors up in one call.",
    form=pair(tensor, tensor),
)
def pad_batch(sentences, pad):
    """(ids, mask), two tables of whole numbers [n, tokens], of n lists of token ids.

    Shorter sentences are filled up with pad at their end, to the length of the longest.
    mask is 1 at real tokens, 0 at padding; a real token may have the id pad, too.
    """
    longest = max(len(sentence) for sentence in sentences)
    ids = torch.full((len(sentences), longest), pad)
    mask = torch.zeros_like(ids)
    for row, sentence in enumerate(sentences):
        ids[row, : len(sentence)] = torch.tensor(sentence)
        mask[row, : len(sentence)] = 1
    return ids, mask


@pad_batch.draw
def _(seed: int) -> Values:
    """The longest sentence is not the first, and in it one token has the id of the padding."""
    generator = torch.Generator().manual_seed(seed)
    longest = whole_number(6, 9, generator)
    lengths = torch.randint(2, longest, (whole_number(3, 5, generator),), generator=generator)
    lengths[0] = longest - 2
    lengths[-1] = longest
    tokens = torch.randint(100, 900, (int(lengths.sum()),), generator=generator)
    pad = whole_number(1, 90, generator)
    tokens[-2] = pad
    return {"lengths": lengths, "tokens": tokens, "pad": pad}


@pad_batch.drive
def _(function: Function, inputs: Values) -> Values:
    parts = inputs["tokens"].split(inputs["lengths"].tolist())
    result = function([part.tolist() for part in parts], inputs["pad"])
    fault = pair_fault(result, "(ids, mask)")
    if fault is not None:
        return {RETURNED: fault}
    ids: Any = plain(result[0])
    mask: Any = plain(result[1])
    if isinstance(ids, Tensor) and ids.is_floating_point():
        return {RETURNED: "the ids must be whole numbers, because an encoder looks rows up by them"}
    for name, table in (("ids", ids), ("mask", mask)):
        if not isinstance(table, Tensor) or table.dim() != 2:
            return {RETURNED: f"the {name}, a table [n, tokens], were expected, got {table!s:.60}"}
    longest = int(inputs["lengths"].max())
    return {
        RETURNED: 1,
        SHAPE: torch.tensor([*ids.shape, *mask.shape]).double(),
        IDS: cut(ids.flatten(), len(parts) * longest).double(),
        MASK: cut(mask.flatten(), len(parts) * longest).double(),  # True and False do, too
    }


pad_batch.compare(RETURNED, says="a pair (ids, mask) was expected")
pad_batch.compare(
    SHAPE,
    says="both have a row for each sentence, and a column for each token of the longest one",
)
pad_batch.compare(
    IDS, says="the ids are not those of the sentences, filled up with pad to the longest"
)
pad_batch.compare(MASK, says="the mask is not 1 at each real token and 0 at padding")

pad_batch.wrong(
    "padding in front",
    says="the padding stands in front: the sentences come first, and pad at their end",
    edit={
        "ids[row, : len(sentence)] = torch.tensor(sentence)": (
            "ids[row, longest - len(sentence) :] = torch.tensor(sentence)"
        ),
        "mask[row, : len(sentence)] = 1": "mask[row, longest - len(sentence) :] = 1",
    },
)
pad_batch.wrong(
    "zeros",
    says="the places that are left hold 0: fill them with pad",
    edit={
        "ids = torch.full((len(sentences), longest), pad)": (
            "ids = torch.zeros(len(sentences), longest, dtype=torch.long)"
        )
    },
)
pad_batch.wrong(
    "cut",
    says="the sentences are cut to the shortest one: fill up to the longest",
    edit={
        "longest = max(len(sentence) for sentence in sentences)": (
            "longest = min(len(sentence) for sentence in sentences)\n"
            "sentences = [sentence[:longest] for sentence in sentences]"
        )
    },
)
pad_batch.wrong(
    "length of the first",
    says="the table is as wide as the first sentence: take the longest",
    edit={
        "longest = max(len(sentence) for sentence in sentences)": (
            "longest = len(sentences[0])\n"
            "sentences = [sentence[:longest] for sentence in sentences]"
        )
    },
)
pad_batch.wrong(
    "mask of the padding",
    says="the mask is the wrong way round: 1 is a real token, 0 is padding",
    last_line="return ids, 1 - mask",
)
pad_batch.wrong(
    "mask of ones",
    says="the mask is 1 everywhere: padding has to be 0 in it",
    last_line="return ids, torch.ones_like(mask)",
)
pad_batch.wrong(
    "mask read off the ids",
    says="a real token with the id pad has the mask 0: count the tokens, and do not compare with "
    "pad",
    last_line="return ids, (ids != pad).long()",
)
pad_batch.wrong(
    "exchanged",
    says="mask and ids are exchanged: the ids come first",
    last_line="return mask, ids",
)
pad_batch.wrong("ids alone", says="a pair (ids, mask) was expected", last_line="return ids")


# sentences.mean_pool


@exercise(
    id="sentences.mean_pool",
    level=1,
    minutes=6,
    points=2,
    hints=(
        "Padding must count neither in the sum nor in what the sum is divided by.",
        "mask.unsqueeze(-1) has the shape [n, tokens, 1], so hidden * mask.unsqueeze(-1) is 0 at "
        "padding.",
        "Sum that over dimension 1, and divide by mask.unsqueeze(-1).sum(1).",
    ),
    after="A sentence now has the same vector whatever sentences share its batch.",
    alternative='torch.einsum("ntd,nt->nd", hidden, weights) / weights.sum(1, keepdim=True), with '
    "the mask as floats in weights.",
    form=tensor,
)
def mean_pool(hidden, mask):
    """The mean of each sentence's vectors over its real tokens: [n, d].

    hidden [n, tokens, d] are floats; mask [n, tokens] is 1 at tokens, 0 at padding.
    """
    weights = mask.unsqueeze(-1).to(hidden.dtype)
    return (hidden * weights).sum(1) / weights.sum(1)


@mean_pool.draw
def _(seed: int) -> Values:
    generator = torch.Generator().manual_seed(seed)
    sentences, tokens, width = (whole_number(low, low + 3, generator) for low in (3, 6, 4))
    lengths = torch.randint(2, tokens - 1, (sentences,), generator=generator)
    lengths[0] = tokens
    return {
        "hidden": torch.randn(sentences, tokens, width, generator=generator) + 1,
        "mask": (torch.arange(tokens) < lengths[:, None]).long(),
    }


mean_pool.compare("the result", says="that is not the mean over each sentence's real tokens")

mean_pool.wrong(
    "padding counts",
    says="padding counts as well: the mask is not used",
    last_line="return hidden.mean(1)",
)
mean_pool.wrong(
    "padding in the divisor",
    says="the sum is right, but divided by all tokens: divide by the number of real ones",
    last_line="return (hidden * weights).mean(1)",
)
mean_pool.wrong(
    "sum",
    says="that is the sum: divide it by the number of real tokens",
    last_line="return (hidden * weights).sum(1)",
)
mean_pool.wrong(
    "padding alone",
    says="that is the mean over the padding: mask is 1 at the real tokens",
    edit={
        "weights = mask.unsqueeze(-1).to(hidden.dtype)": (
            "weights = 1 - mask.unsqueeze(-1).to(hidden.dtype) + 1e-30"
        )
    },
)
mean_pool.wrong(
    "first token",
    says="that is the first token's vector, [CLS]: take the mean over all real tokens",
    last_line="return hidden[:, 0]",
)
mean_pool.wrong(
    "tokens of the batch",
    says="you divided by the tokens of all sentences: divide each by its own number",
    last_line="return (hidden * weights).sum(1) / weights.sum()",
)
mean_pool.wrong(
    "maximum",
    says="that is the maximum over the tokens: take their mean",
    last_line="return (hidden - 1e9 * (1 - weights)).amax(1)",
)


# sentences.train_pass

LOSS, ACCURACY = "the mean loss", "the accuracy"
WEIGHTS, BUFFERS = "the weights of encoder and head", "the running statistics of the encoder"
UPDATES, RATES = "updates", "the rate after the pass"


class SmallEncoder(nn.Module):
    """The mean of the tokens' vectors, and BatchNorm, which is another in train mode."""

    def __init__(self, vocabulary: int, width: int) -> None:
        super().__init__()
        self.embeddings = nn.Embedding(vocabulary, width)
        self.norm = nn.BatchNorm1d(width)

    def forward(self, tokens: dict[str, Tensor]) -> Tensor:
        mask = tokens["attention_mask"].unsqueeze(-1)
        hidden = self.embeddings(tokens["input_ids"]) * mask
        return self.norm(hidden.sum(1) / mask.sum(1))


@exercise(
    id="sentences.train_pass",
    level=2,
    minutes=12,
    points=3,
    hints=(
        "It is chapter 1's step in a loop, with a network in two parts and the schedule's step "
        "after the optimiser's.",
        "Both parts were left in eval mode: encoder.train() and head.train() come before the loop. "
        "logits = head(encoder(tokens)).",
        "Add up loss.item() * len(labels) and (logits.argmax(1) == labels).sum().item(), and "
        "divide both by the number of sentences after the loop.",
    ),
    steps=(
        "both parts in train mode",
        "each batch: logits, loss, gradients, then a step of optimizer and of schedule",
        "sums of loss and of right answers, which are divided at the end",
    ),
    after="This loop fine-tunes an encoder of any size; what is frozen only leaves the optimiser.",
    form=pair(number, number),
)
def train_pass(encoder, head, optimizer, schedule, batches):
    """(loss, accuracy): trains on each batch (tokens, labels) once, in train mode.

    encoder(tokens) are features [n, d], and head(features) logits [n, classes].
    Each batch is one step of optimizer and one of schedule, which sets the rates.
    Both results are means over all sentences, from the logits that a step learns from.
    """
    encoder.train()
    head.train()
    loss_sum = hits = sentences = 0
    for tokens, labels in batches:
        logits = head(encoder(tokens))
        loss = F.cross_entropy(logits, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        loss_sum += loss.item() * len(labels)
        hits += (logits.argmax(dim=1) == labels).sum().item()
        sentences += len(labels)
    return loss_sum / sentences, hits / sentences


@train_pass.draw
def _(seed: int) -> Values:
    """The last batch is smaller, so that batches do not count alike."""
    generator = torch.Generator().manual_seed(seed)
    size, longest, width, classes = (whole_number(low, low + 2, generator) for low in (6, 5, 4, 3))
    count = 3 * size - 3
    lengths = torch.randint(1, longest + 1, (count, 1), generator=generator)
    return {
        "batch_size": size,
        "ids": torch.randint(20, (count, longest), generator=generator),
        "mask": (torch.arange(longest) < lengths).long(),
        "labels": torch.randint(classes, (count,), generator=generator),
        "embeddings": torch.randn(20, width, generator=generator),
        "head": torch.randn(classes, width, generator=generator),
    }


@train_pass.drive
def _(function: Function, inputs: Values) -> Values:
    encoder = SmallEncoder(*inputs["embeddings"].shape)
    head = nn.Linear(inputs["head"].shape[1], inputs["head"].shape[0])
    with torch.no_grad():
        encoder.embeddings.weight.copy_(inputs["embeddings"])
        head.weight.copy_(inputs["head"])
        head.bias.zero_()
    groups: list[dict[str, Any]] = [
        {"params": encoder.parameters()},
        {"params": head.parameters(), "lr": 0.6},
    ]
    optimizer = torch.optim.SGD(groups, lr=0.3, momentum=0.5)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step))
    updates = count_updates(optimizer)
    leave_gradients(encoder)
    leave_gradients(head)
    encoder.eval()  # as `embed` leaves it
    head.eval()
    size = inputs["batch_size"]
    tables = (inputs[name].clone().split(size) for name in ("ids", "mask", "labels"))
    batches: list[tuple[dict[str, Any], Tensor]] = []
    for ids, mask, labels in zip(*tables, strict=True):
        batches.append(({"input_ids": ids, "attention_mask": mask}, labels))
    outputs: Values = {RETURNED: 1}
    result = function(encoder, head, optimizer, schedule, batches)
    outputs |= {
        WEIGHTS: torch.cat([weights_of(encoder), weights_of(head)]),
        BUFFERS: state_of(encoder.norm, parameters=False),
        UPDATES: len(updates),
        RATES: torch.tensor([group["lr"] for group in optimizer.param_groups]),
    }
    fault = pair_fault(result, "(loss, accuracy)")
    if fault is not None:
        return outputs | {RETURNED: fault}
    return outputs | {LOSS: plain(result[0]), ACCURACY: plain(result[1])}


train_pass.part("the weights after the pass", points=2)
train_pass.compare(
    WEIGHTS,
    UPDATES,
    says="the weights are not those after one step a batch in train mode: logits, loss, "
    "zero_grad, backward, optimizer.step()",
)
train_pass.compare(
    BUFFERS, says="the encoder saw other batches in train mode than each once: one forward pass"
)
train_pass.compare(RATES, says="schedule.step() is to follow each optimizer.step()")
train_pass.part("the loss and the accuracy", points=1)
train_pass.compare(RETURNED, says="a pair (loss, accuracy) was expected")
train_pass.compare(LOSS, says="that is not the mean loss over all sentences")
train_pass.compare(ACCURACY, says="that is not the fraction of sentences that were called right")

train_pass.wrong(
    "eval mode",
    says="the encoder is in eval mode, as it came, where dropout and BatchNorm do not train: call "
    "encoder.train() before the loop",
    edit={"encoder.train()": ""},
)
train_pass.wrong(
    "no zero_grad",
    says="the gradients add up from batch to batch: optimizer.zero_grad() is missing",
    edit={"optimizer.zero_grad()": ""},
)
train_pass.wrong(
    "no update",
    says="the weights have not moved: optimizer.step() was never called",
    edit={"optimizer.step()": ""},
)
train_pass.wrong(
    "cleared after backward",
    says="the update found no gradients: clear them before loss.backward(), not after it",
    edit={
        "optimizer.zero_grad()": "",
        "loss.backward()": "loss.backward()\noptimizer.zero_grad()",
    },
)
train_pass.wrong(
    "frozen encoder",
    says="only the head has learned: the encoder's features need their graph, so no torch.no_grad()"
    " and no detach",
    edit={"logits = head(encoder(tokens))": "logits = head(encoder(tokens).detach())"},
)
train_pass.wrong(
    "no schedule",
    says="the rate never changes: schedule.step() comes after each optimizer.step()",
    edit={"schedule.step()": ""},
)
train_pass.wrong(
    "schedule once a pass",
    says="the rate changes once a pass: schedule.step() belongs into the loop",
    edit={"schedule.step()": "", "sentences += len(labels)": "sentences += len(labels)"}
    | {
        "return loss_sum / sentences, hits / sentences": (
            "schedule.step()\nreturn loss_sum / sentences, hits / sentences"
        )
    },
)
train_pass.wrong(
    "softmax first",
    says="the softmax was applied twice: F.cross_entropy takes logits",
    edit={
        "loss = F.cross_entropy(logits, labels)": (
            "loss = F.cross_entropy(logits.softmax(1), labels)"
        )
    },
)
train_pass.wrong(
    "sum of losses",
    says="the gradient is that of the summed loss: take the mean over the batch",
    edit={
        "loss = F.cross_entropy(logits, labels)": (
            "loss = F.cross_entropy(logits, labels, reduction='sum')"
        )
    },
)
train_pass.wrong(
    "mean of batches",
    says="the smaller last batch counts as much as the others: weigh each loss by its sentences",
    edit={
        "loss_sum += loss.item() * len(labels)": (
            "loss_sum += loss.item() * sum(len(y) for _, y in batches) / len(batches)"
        )
    },
)
train_pass.wrong(
    "sums",
    says="those are sums over the pass: divide both by the number of sentences",
    last_line="return loss_sum, hits",
)
train_pass.wrong(
    "right in number",
    says="that is how many were called right: divide by the number of sentences",
    last_line="return loss_sum / sentences, hits",
)
train_pass.wrong(
    "percent",
    says="the accuracy is in percent: a fraction lies between 0 and 1",
    last_line="return loss_sum / sentences, 100 * hits / sentences",
)
train_pass.wrong(
    "last batch",
    says="that is the last batch alone: add up over all batches",
    last_line=("return loss.item(), (logits.argmax(dim=1) == labels).float().mean().item()"),
)
train_pass.wrong(
    "exchanged",
    says="loss and accuracy are exchanged: the loss comes first",
    last_line="return hits / sentences, loss_sum / sentences",
)
train_pass.wrong(
    "loss alone",
    says="a pair (loss, accuracy) was expected",
    last_line="return loss_sum / sentences",
)
train_pass.wrong(
    "forward twice",
    says="the encoder saw other batches in train mode than each once",
    edit={
        "hits += (logits.argmax(dim=1) == labels).sum().item()": (
            "hits += (head(encoder(tokens)).argmax(dim=1) == labels).sum().item()"
        )
    },
)
