#!/usr/bin/env bash
# Pillow 13.0.0: of TIFF files in which 0 stands for white, those of 8 bits come out right, and those
# of 16 bits as negatives, without a word.
#
# Seen on 2026-11-29: a TIFF file says in its tag 262 (PhotometricInterpretation) whether 0 is black
# (1) or white (0). The same picture, written with 0 for white by tifffile, has the level 0 in its
# first, white pixel. Of 8 bits Pillow turns it round (255 comes out); of 16 bits it does not (0 comes
# out, which is black there). The modes are "L" and "I;16", and nothing in them tells the difference.
#
# Why it matters here: scanners and X-ray archives write such files. A network that is trained on
# pictures of both depths sees half of them as negatives.
#
# Exit code 0: still so. 1: it has changed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install -q pillow==13.0.0 tifffile==2025.10.16 numpy
cat > "$work/look.py" <<'PY'
import sys

import numpy as np
import tifffile
from PIL import Image

seen = []
for kind in (np.uint8, np.uint16):
    path = f"{sys.argv[1]}/{kind.__name__}.tif"
    levels = np.array([[0, np.iinfo(kind).max]], kind)  # white, then black
    tifffile.imwrite(path, levels, photometric="miniswhite")
    with Image.open(path) as image:
        seen.append((image.mode, int(np.asarray(image)[0, 0])))
print("white pixel:", seen)
sys.exit(seen != [("L", 255), ("I;16", 0)])
PY
"$work/env/bin/python" "$work/look.py" "$work"
