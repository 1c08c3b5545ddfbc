#!/usr/bin/env bash
# torchmetrics 1.9.0: the AUROC of the same logits depends on how they are cut into batches.
#
# Seen on 2026-11-30: 40 logits from -2 to 2, where all above 0 are of the class, so that the order
# is perfect. In one batch the AUROC is 1.0, in batches of four and of one it is 0.8625. Each
# `update` looks for a value outside 0 to 1. Where it finds one, it takes the batch as logits and
# applies a sigmoid; else it takes the batch as probabilities and leaves them. A logit of 0.2 that
# is alone stays 0.2 and so falls behind one of -0.2, which became 0.45. Accuracy falls from 1.0 to
# 0.875: alone, a logit of 0.2 is below 0.5 and counts as the other class. No warning is given.
#
# Why it matters here: measures over a whole test set are collected batch by batch, and the last
# batch is often small. One network then gets another value for another size of batch. The course
# takes only AP from torchmetrics, whose scores it leaves as they are; who adds an AUROC gives it
# probabilities, or all logits at once.
#
# Exit code 0: still so. 1: it has changed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install -q torchmetrics==1.9.0 torch==2.13.0 numpy==2.3.5
cat > "$work/look.py" <<'PY'
import sys

import torch
from torchmetrics.classification import BinaryAccuracy, BinaryAUROC

logits = torch.linspace(-2, 2, 40)
truth = (logits > 0).long()


def measured(metric, size):
    for begin in range(0, len(logits), size):
        metric.update(logits[begin : begin + size], truth[begin : begin + size])
    return round(metric.compute().item(), 4)


seen = {}
for size in (40, 4, 1):
    seen[size] = measured(BinaryAUROC(), size), measured(BinaryAccuracy(), size)
    print(f"batches of {size}: AUROC {seen[size][0]}, accuracy {seen[size][1]}")
sys.exit(not (seen[40] == (1, 1) and max(seen[4]) < 1 and max(seen[1]) < 1))
PY
"$work/env/bin/python" "$work/look.py"
