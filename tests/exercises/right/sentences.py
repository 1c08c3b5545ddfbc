"""Right answers of chapter 4b."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from . import ways

# sentences.pad_batch


def pad_batch(sentences, pad):
    longest = max(map(len, sentences))
    filled = [sentence + [pad] * (longest - len(sentence)) for sentence in sentences]
    mask = [[1] * len(row) + [0] * (longest - len(row)) for row in sentences]
    return torch.tensor(filled), torch.tensor(mask)


def pad_into_lists(sentences, pad):
    return [part.tolist() for part in pad_batch(sentences, pad)]


def pad_into_arrays(sentences, pad):
    longest = len(max(sentences, key=len))
    ids = np.full((len(sentences), longest), pad)
    for row, sentence in zip(ids, sentences, strict=True):
        row[: len(sentence)] = sentence
    return ids, (np.arange(longest) < np.array([[len(row)] for row in sentences])).astype(int)


def pad_with_a_boolean_mask(sentences, pad):
    rows = list(map(torch.tensor, sentences))
    ids = nn.utils.rnn.pad_sequence(rows, True, pad)
    return ids, nn.utils.rnn.pad_sequence(list(map(torch.ones_like, rows)), True) == 1


def pad_with_a_float_mask(sentences, pad):
    ids, mask = pad_batch(sentences, pad)
    return [ids, mask.float()]


def pad_in_place(sentences, pad):
    lengths = torch.tensor([len(sentence) for sentence in sentences])
    for sentence in sentences:
        sentence += [pad] * (int(lengths.max()) - len(sentence))
    ids = torch.tensor(sentences)
    return ids, (torch.arange(ids.shape[1]) < lengths[:, None]).long()


# sentences.mean_pool


def mean_pool(hidden, mask):
    total = torch.einsum("ntd,nt->nd", hidden, mask.to(hidden))
    return total / mask.sum(1, keepdim=True)


def pool_by_loop(hidden, mask):
    return [vectors[real.bool()].mean(0) for vectors, real in zip(hidden, mask, strict=True)]


def pool_by_filling(hidden, mask):
    return hidden.masked_fill(mask[..., None] == 0, 0).sum(1) / mask.sum(1)[:, None]


def pool_by_nan(hidden, mask):
    return hidden.masked_fill(mask[..., None] == 0, torch.nan).nanmean(1)


def pool_in_place(hidden, mask):
    hidden *= mask[:, :, None]
    return hidden.sum(dim=1).div_(mask.sum(1, keepdim=True))


def pool_by_bmm(hidden, mask):
    weights = mask / mask.sum(1, keepdim=True)
    return torch.bmm(weights[:, None], hidden).squeeze(1)


# sentences.train_pass


def train_pass(encoder, head, optimizer, schedule, batches):
    network = nn.ModuleList([encoder, head]).train()
    losses, right = [], []
    for tokens, labels in batches:
        optimizer.zero_grad(set_to_none=False)
        logits = network[1](network[0](tokens))
        each = F.cross_entropy(logits, labels, reduction="none")
        each.mean().backward()
        optimizer.step()
        schedule.step()
        losses.append(each.detach())
        right.append(logits.detach().argmax(1) == labels)
    return torch.cat(losses).mean(), torch.cat(right).float().mean()


def train_pass_by_log_softmax(encoder, head, optimizer, schedule, batches):
    total, right = torch.zeros(2, dtype=torch.float64)
    for tokens, labels in batches:
        encoder.train(), head.train()
        logits = head(encoder(tokens))
        loss = -logits.log_softmax(1)[range(len(labels)), labels].mean()
        for part in (encoder, head):
            part.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        total += len(labels) * loss.detach()
        right += logits.max(1).indices.eq(labels).sum()
    count = sum(len(labels) for _, labels in batches)
    return total / count, right / count


def train_pass_by_share(encoder, head, optimizer, schedule, batches):
    encoder.train(True)
    head.train(True)
    everything = sum(labels.numel() for _, labels in batches)
    loss, accuracy = 0.0, 0.0
    for tokens, labels in batches:
        optimizer.zero_grad()
        scores = head(encoder(tokens))
        mean = nn.CrossEntropyLoss()(scores, labels)
        mean.backward()
        optimizer.step()
        schedule.step()
        loss += float(mean) * len(labels) / everything
        accuracy += float((scores.argmax(-1) == labels).sum()) / everything
    return loss, accuracy


def train_pass_as_an_array(*arguments):
    return np.array(train_pass_by_share(*arguments))


def train_pass_in_eval_after(encoder, head, *others):
    result = train_pass(encoder, head, *others)
    encoder.eval()
    return result


RIGHT = {
    "sentences.pad_batch": [
        pad_batch,
        pad_into_lists,
        pad_into_arrays,
        pad_with_a_boolean_mask,
        pad_with_a_float_mask,
        pad_in_place,
        *ways.all_ways(pad_in_place),
    ],
    "sentences.mean_pool": [
        mean_pool,
        pool_by_loop,
        pool_by_filling,
        pool_by_nan,
        pool_in_place,
        pool_by_bmm,
        ways.then(mean_pool, ways.double),
        ways.then(mean_pool, ways.numpy),
        *ways.all_ways(pool_in_place),
    ],
    "sentences.train_pass": [
        train_pass,
        train_pass_by_log_softmax,
        train_pass_by_share,
        train_pass_as_an_array,
        train_pass_in_eval_after,
        ways.then(train_pass, list),
        *ways.all_ways(train_pass),
    ],
}
