#!/usr/bin/env bash
# safetensors 0.8.0: `safetensors.numpy` writes a transposed or sliced array in another order,
# without a word.
#
# Seen on 2026-11-30: a transposed array, every second column, and an array in Fortran's order (as
# `components_` of scikit-learn's PCA) are saved and loaded again. Shape and type are right, but the
# values are those that lie in memory one after the other: [[0, 3], [1, 4], [2, 5]] comes back as
# [[0, 1], [2, 3], [4, 5]]. No error and no warning are given, neither by `save` nor by `save_file`.
# safetensors 0.7.0 gives back all three as they were.
#
# Why it matters here: features of a frozen network are often kept in a file and used by many
# probes. A probe on permuted features trains without a complaint, and its low accuracy looks like a
# finding about the network. `safetensors.torch` refuses such tensors, which is why the course uses
# it.
#
# Exit code 0: still so. 1: it has changed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat > "$work/look.py" <<'PY'
import sys

import numpy as np
from safetensors.numpy import load, load_file, save, save_file

rows = np.arange(6, dtype=np.float32).reshape(2, 3)
arrays = {
    "plain": rows,
    "transposed": rows.T,
    "columns": rows[:, ::2],
    "fortran": np.asfortranarray(rows),
}
same = []
for name, array in arrays.items():
    path = f"{sys.argv[1]}/{name}.safetensors"
    save_file({name: array}, path)
    for again in (load(save({name: array}))[name], load_file(path)[name]):
        assert again.shape == array.shape and again.dtype == array.dtype
        same.append(name if np.array_equal(again, array) else "-")
print(*same)
PY

come_back() { # version of safetensors -> the names of the arrays that are what they were
  python3 -m venv "$work/$1"
  "$work/$1/bin/pip" install -q "safetensors==$1" numpy==2.3.5
  "$work/$1/bin/python" -W error "$work/look.py" "$work"
}

all="plain plain transposed transposed columns columns fortran fortran"
old=$(come_back 0.7.0)
new=$(come_back 0.8.0)
printf 'come back as they were:\n0.7.0: %s\n0.8.0: %s\n' "$old" "$new"
[ "$old" = "$all" ] && [ "$new" = "plain plain - - - - - -" ]
