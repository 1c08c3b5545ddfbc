"""Chapter 4b: from the vectors of tokens to one vector per sentence."""

from __future__ import annotations

import torch

from vaetl_helpers.exercises.engine import Values
from vaetl_helpers.exercises.forms import tensor
from vaetl_helpers.exercises.toolkit import exercise, whole_number

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
