#!/usr/bin/env bash
# PyTorch 2.13.0, and 2.15.0 alike: torch.compile makes a ReLU many times slower in training, on a
# CPU.
#
# Seen on 2026-11-30, on two x86-64 cores with AVX-512 and without AMX, g++ 12.2, one thread. On 3.2
# million numbers the compiled forward pass took 24 to 28 times as long as PyTorch's own ReLU, and
# the pass back 3 to 7 times; without gradients it took 1.3 to 1.4 times as long. In training the
# compiled code keeps for each number whether it was positive, as a bool, and to write and read these
# with vector instructions is what takes the time: with vectors of 256 bits it was as slow, and
# without vectors the forward pass took less than half of that. The result is right, and nothing
# warns.
#
# Why it matters here: chapter 2b recorded that compiling loses on its CNN, and a reader could take
# it for a property of convolutions or of compilers.
#
# It needs a C++ compiler, as torch.compile does. What it asks are ratios within one run, and on
# another kind of processor they may differ.
#
# Exit code 0: still so. 1: it has changed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install -q torch==2.13.0 numpy==2.3.5
cat > "$work/look.py" <<'PY'
import statistics
import sys
import time

import torch
from torch.nn import functional as F

torch.set_num_threads(1)
torch.manual_seed(0)


def seconds(work, turns=15):
    """The median of several calls of each function, in turns, after two that count for nothing."""
    found = {name: [] for name in work}
    for turn in range(turns + 2):
        for name, one in work.items():
            started = time.perf_counter()
            one()
            if turn > 1:
                found[name].append(time.perf_counter() - started)
    return {name: statistics.median(values) for name, values in found.items()}


def in_training(function):
    """Medians of the pass forward, of the pass back, and of forward without gradients."""
    x, g = torch.randn(128, 32, 28, 28), torch.randn(128, 32, 28, 28)
    last = []

    def forward():
        last[:] = [function(x.detach().requires_grad_())]

    def without():
        with torch.no_grad():
            function(x)

    return seconds({"forward": forward, "back": lambda: last[0].backward(g), "without gradients": without})


plain, compiled = in_training(F.relu), in_training(torch.compile(F.relu))
ratios = {name: compiled[name] / plain[name] for name in plain}
for name, ratio in ratios.items():
    print(f"ReLU, {name}: compiled takes {ratio:.2f} times as long")
forward, back, without = ratios.values()
sys.exit(forward < 5 or back < 2 or without > 3)
PY
TORCHINDUCTOR_CACHE_DIR=$work/cache "$work/env/bin/python" "$work/look.py"
