#!/usr/bin/env bash
# torchvision 0.28.0: MNASNet and MobileNetV3 that have learned their images name them all alike in eval mode.
#
# Seen on 2026-12-01: three networks without weights are trained for 200 steps of Adam on the same
# twenty images. In training mode all three name 20 of 20 right. In eval mode ResNet-18 does so, too,
# and mobilenet_v3_small and mnasnet0_5 give all twenty one name, 10 of 20. With statistics that are
# taken anew from the twenty images they are back at 20 of 20. torchvision builds MobileNetV3 with a
# BatchNorm momentum of 0.01 and MNASNet with 0.0003, where PyTorch's default is 0.1: after 200 steps
# MNASNet's running averages are still 94 % the 0 and 1 that they began with.
#
# Why it matters here: a network from scratch on few labels takes few steps, and looks in eval mode
# as if it had learned nothing, so the gain of transfer learning looks larger than it is. Chapter 4e
# tells how the course's own record was wrong by such averages, though with 0.1.
#
# Exit code 0: still so. 1: it has changed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install -q torchvision==0.28.0 torch==2.13.0 numpy==2.3.5
cat > "$work/look.py" <<'PY'
import copy
import sys

import torch
from torch import nn

try:
    import torchvision  # noqa: F401
except RuntimeError:  # its compiled part does not load beside a torch without CUDA: not needed here
    for name in ("nms", "qnms"):
        torch.library.define(f"torchvision::{name}", "(Tensor boxes, Tensor scores, float iou) -> Tensor")
from torchvision import models


def renewed(network, images):
    network = copy.deepcopy(network).eval()
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.reset_running_stats()
            layer.momentum = None  # a plain mean
            layer.train()
    network(images)
    return network.eval()


seen = {}
for name in ("resnet18", "mobilenet_v3_small", "mnasnet0_5"):
    torch.manual_seed(0)
    images, labels = torch.randn(20, 3, 64, 64), torch.arange(20) % 2
    network = getattr(models, name)(num_classes=2)
    adam = torch.optim.Adam(network.parameters(), 1e-3)
    for _ in range(200):
        adam.zero_grad()
        nn.functional.cross_entropy(network(images), labels).backward()
        adam.step()
    with torch.no_grad():
        modes = {
            "training": copy.deepcopy(network).train(),
            "eval": copy.deepcopy(network).eval(),
            "renewed": renewed(network, images),
        }
        seen[name] = {mode: int((n(images).argmax(1) == labels).sum()) for mode, n in modes.items()}
    momentum = next(m.momentum for m in network.modules() if isinstance(m, nn.BatchNorm2d))
    print(f"{name}: momentum {momentum:.4f}, right of 20: {seen[name]}")
still = all(
    seen[name]["eval"] <= 12 and min(seen[name]["training"], seen[name]["renewed"]) >= 18
    for name in ("mobilenet_v3_small", "mnasnet0_5")
)
sys.exit(not (still and seen["resnet18"]["eval"] >= 18))
PY
"$work/env/bin/python" "$work/look.py"
