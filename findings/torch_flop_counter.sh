#!/usr/bin/env bash
# PyTorch 2.13.0: FlopCounterMode counts no FLOPs for an LSTM, and none for a transformer's layer
# that only predicts, without a word; it counts too many for the gradient of a depthwise
# convolution.
#
# Seen on 2026-11-30, on a CPU. A step of an LSTM, forward and backward, counts 0, while the forward
# pass alone of a GRU of the same sizes counts 1,474,560. A TransformerEncoderLayer counts 706,560
# in training and 0 in `eval()` under `no_grad`, where PyTorch takes a fast path that is one
# operation. Products of a matrix with a vector, `nn.Bilinear` and `torch.cdist` count 0, too. What
# the counter has no formula for is left out of the sum, and neither a warning nor its table says
# so. Of a depthwise convolution with 32 channels, forward is right, but backward counts 33 times as
# much as forward, where it does twice the work: the gradient of the weights is counted whole for
# each of the 32 groups.
#
# Why it matters here: the course compares what methods cost in FLOPs. Networks for phones, which
# are made of depthwise convolutions, would look far dearer to train than they are, and recurrent
# ones free. `count_flops` has formulas of its own for most of these operations, and refuses those
# that it does not know, such as the bilinear one.
#
# Exit code 0: still so. 1: it has changed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install -q torch==2.13.0 numpy==2.3.5
cat > "$work/look.py" <<'PY'
import sys

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def flops(work):
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()


def forward_and_step(layer, x):
    """FLOPs of a pass forward, and of the pass back for x and for the weights."""
    forward = flops(lambda: layer(x))
    return forward, flops(lambda: layer(x).sum().backward()) - forward


torch.manual_seed(0)
x = torch.randn(4, 10, 32)
lstm, gru = nn.LSTM(32, 64, batch_first=True), nn.GRU(32, 64, batch_first=True)
transformer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)
seen = {
    "LSTM, step": flops(lambda: lstm(x)[0].sum().backward()),
    "GRU, forward": flops(lambda: gru(x)),
    "transformer, training": flops(lambda: transformer(x)),
}
transformer.eval()
with torch.no_grad():
    seen["transformer, predicting"] = flops(lambda: transformer(x))
rows, images = x[:, 0], torch.randn(2, 32, 8, 8, requires_grad=True)
seen["matrix and vector"] = flops(lambda: torch.mv(rows, rows[0]))
seen["bilinear"] = flops(lambda: nn.Bilinear(32, 32, 8)(rows, rows))
seen["distances"] = flops(lambda: torch.cdist(rows, rows))
plain = forward_and_step(nn.Conv2d(32, 32, 3, padding=1), images)
depthwise = forward_and_step(nn.Conv2d(32, 32, 3, padding=1, groups=32), images)
for name, count in seen.items():
    print(f"{name}: {count:,}")
print(f"convolution: forward {plain[0]:,}, backward {plain[1] / plain[0]:g} times that")
print(f"depthwise: forward {depthwise[0]:,}, backward {depthwise[1] / depthwise[0]:g} times that")
zero = ["LSTM, step", "transformer, predicting", "matrix and vector", "bilinear", "distances"]
sys.exit(
    any(seen[name] for name in zero)
    or min(seen["GRU, forward"], seen["transformer, training"]) == 0
    or plain[1] != 2 * plain[0]
    or depthwise[0] * 32 != plain[0]
    or depthwise[1] != 33 * depthwise[0]
)
PY
"$work/env/bin/python" -W error "$work/look.py"
