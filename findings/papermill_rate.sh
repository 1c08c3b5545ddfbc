#!/usr/bin/env bash
# papermill 2.7.0: `-p rate 1e-3` gives the notebook a number, and `-y "rate: 1e-3"` a text.
#
# Seen on 2026-11-30: a notebook with `rate: float = 0.1` in its parameters cell is run with the
# same value given in two ways. By `-p` it becomes the number 0.001, by `-y` (and by a file of YAML,
# `-f`) the text '1e-3', because YAML 1.1 wants a point and a sign: 1.0e-3. The notebook's own
# annotation `float` is shown by `--help-notebook` and not applied. `011` becomes 11 by `-p` and 9
# by `-y`. A name that the parameters cell does not have, such as `rates`, is set as well: the run
# ends with code 0 and the default, and only a line of the log says "unknown parameter".
#
# Why it matters here: learning rates and weights of a loss are written like that, and studies are
# started from files. A text in a list of weights is found late, and a misspelt name never. `setup`
# refuses a parameter that is of another kind than the profile's, and `vaetl run` unknown names.
#
# Exit code 0: still so. 1: it has changed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install -q papermill==2.7.0 ipykernel==7.4.0 nbformat==5.11.1
"$work/env/bin/python" - "$work/study.ipynb" <<'PY'
import sys

import nbformat
from nbformat.v4 import new_code_cell, new_notebook

cells = [
    new_code_cell("rate: float = 0.1", metadata={"tags": ["parameters"]}),
    new_code_cell("print(type(rate).__name__, rate)"),
]
python = {"name": "python3", "display_name": "Python 3", "language": "python"}
nbformat.write(new_notebook(cells=cells, metadata={"kernelspec": python}), sys.argv[1])
PY

printed() { # options of papermill -> what the notebook prints about its rate
  "$work/env/bin/papermill" "$@" --no-progress-bar "$work/study.ipynb" "$work/out.ipynb" \
    2> "$work/log"
  "$work/env/bin/python" -c "import json, sys
print(''.join(json.load(open(sys.argv[1]))['cells'][-1]['outputs'][0]['text']).strip())" \
    "$work/out.ipynb"
}

echo "rate: 1e-3" > "$work/rate.yaml"
seen="$(printed -p rate 1e-3), $(printed -y "rate: 1e-3"), $(printed -f "$work/rate.yaml")"
seen+=", $(printed -y "rate: 1.0e-3"), $(printed -p rate 011), $(printed -y "rate: 011")"
seen+=", $(printed -p rates 0.5)"
echo "$seen"
[ "$seen" = "float 0.001, str 1e-3, str 1e-3, float 0.001, int 11, int 9, float 0.1" ] \
  && grep -qi "unknown parameter" "$work/log"
