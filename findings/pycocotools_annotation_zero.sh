#!/usr/bin/env bash
# pycocotools 2.0.11: an object whose annotation has the id 0 is never found, so that perfect
# predictions get an AP below 1.
#
# Seen on 2026-11-30: one, two and ten pictures with one object each; the detector gives exactly the
# true boxes. With ids from 1 the AP is 1.0 each time. With ids from 0, which `enumerate` gives, the
# AP is 0, 0.252 and 0.811. COCOeval writes the id of the object that a detection has found into a
# table in which 0 means "found nothing", so that this detection counts as a false alarm. It is the
# surest one here, so that the precision at all levels of recall falls. Neither COCO nor COCOeval
# says anything, and ids of pictures and classes may be 0.
#
# Why it matters here: chapter 4c compares detectors by AP on few pictures, where one object weighs
# much. torchmetrics, by which the course computes AP, numbers objects from 1; who writes an own
# file of annotations has to do the same.
#
# Exit code 0: still so. 1: it has changed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install -q pycocotools==2.0.11 numpy==2.3.5
cat > "$work/look.py" <<'PY'
import contextlib
import io
import sys

from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

BOX = [10, 10, 50, 50]


def average_precision(objects, first_id):
    truth = COCO()
    truth.dataset = {
        "info": {},
        "images": [{"id": image} for image in range(objects)],
        "categories": [{"id": 0, "name": "thing"}],
        "annotations": [
            {"id": first_id + image, "image_id": image, "category_id": 0, "bbox": BOX,
             "area": 2500, "iscrowd": 0}
            for image in range(objects)
        ],
    }
    truth.createIndex()
    found = truth.loadRes([
        {"image_id": image, "category_id": 0, "bbox": BOX, "score": 0.9 - 0.01 * image}
        for image in range(objects)
    ])
    evaluation = COCOeval(truth, found, "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return round(float(evaluation.stats[0]), 3)


with contextlib.redirect_stdout(io.StringIO()):
    seen = {first: [average_precision(n, first) for n in (1, 2, 10)] for first in (1, 0)}
print("AP of perfect predictions, ids from 1:", seen[1], "and from 0:", seen[0])
sys.exit(not (seen[1] == [1, 1, 1] and seen[0][0] == 0 and all(ap < 0.9 for ap in seen[0])))
PY
"$work/env/bin/python" -W error "$work/look.py"
