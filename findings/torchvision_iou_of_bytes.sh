#!/usr/bin/env bash
# torchvision 0.28.0: boxes of type uint8 that do not meet overlap by 97 % for box_iou.
#
# Seen on 2026-11-30: the boxes (0, 0, 200, 100) and (120, 150, 255, 250) have 50 rows of pixels
# between them, so that their intersection over union is 0. box_iou says 0.0 for them as int64 and as
# float32, and 0.968 as uint8; for (10, 10, 30, 30) and (60, 60, 90, 90) it says -1.03. It takes the
# lower edge of the one less the upper edge of the other, which for bytes is 206 and not -50, and
# only then changes to a larger type and sets what is below 0 to 0. generalized_box_iou, which is
# built on it, says 0.235 instead of -0.475. No warning is given.
#
# Why it matters here: images come as uint8, and the corners of boxes in small ones fit into it.
# Whoever matches such boxes by box_iou gets hits where nothing overlaps. The course turns boxes into
# floats as soon as it gets them (`detection.Scenes`).
#
# Exit code 0: still so. 1: it has changed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install -q torchvision==0.28.0 torch==2.13.0 numpy==2.3.5
cat > "$work/look.py" <<'PY'
import sys

import torch

try:
    from torchvision.ops import box_iou, generalized_box_iou
except RuntimeError:  # its compiled part does not load beside a torch without CUDA: not needed here
    for name in ("nms", "qnms"):
        torch.library.define(f"torchvision::{name}", "(Tensor boxes, Tensor scores, float iou) -> Tensor")
    from torchvision.ops import box_iou, generalized_box_iou

upper, lower = torch.tensor([[0, 0, 200, 100]]), torch.tensor([[120, 150, 255, 250]])
small, other = torch.tensor([[10, 10, 30, 30]]), torch.tensor([[60, 60, 90, 90]])
seen = {}
for kind in (torch.float32, torch.int64, torch.uint8):
    seen[kind] = (
        round(box_iou(upper.to(kind), lower.to(kind)).item(), 3),
        round(box_iou(small.to(kind), other.to(kind)).item(), 3),
        round(generalized_box_iou(upper.to(kind), lower.to(kind)).item(), 3),
    )
    print(f"{kind}: IoU {seen[kind][0]} and {seen[kind][1]}, generalised {seen[kind][2]}")
first, second, _ = seen[torch.uint8]
sys.exit(not (seen[torch.int64][:2] == (0, 0) and first > 0.5 and second < 0))
PY
"$work/env/bin/python" "$work/look.py"
