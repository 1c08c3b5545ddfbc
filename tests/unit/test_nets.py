"""The small networks of the course."""

from __future__ import annotations

import torch
from torch import nn

from vaetl_helpers import nets


def test_pooling_before_relu_gives_the_same_bit_for_bit() -> None:
    """So weights that were trained with ReLU first can be loaded, and give the same numbers."""
    torch.manual_seed(0)
    ours, other = nets.transfer_cnn(channels=3), nets.transfer_cnn(channels=3)
    other.load_state_dict(ours.state_dict())
    for block in (other.block1, other.block2):
        assert [type(part) for part in block[2:]] == [nn.MaxPool2d, nn.ReLU]
        block[2], block[3] = block[3], block[2]
    images, labels = torch.randn(16, 3, 32, 32), torch.arange(16) % 2
    for network in (ours, other):
        nn.functional.cross_entropy(network(images), labels).backward()
    for a, b in zip(ours.parameters(), other.parameters(), strict=True):
        assert a.grad is not None and a.grad.abs().max() > 0
        assert torch.equal(a.grad, b.grad)
    for network in (ours, other):
        network.eval()
    assert torch.equal(ours(images), other(images))
