#!/usr/bin/env bash
# nbconvert 7.17.2: cells with a tag are removed from a page, a script and slides, but stay in a
# notebook, without a word.
#
# Seen on 2026-11-30: a notebook whose second cell is tagged `solution`, and
# `--TagRemovePreprocessor.remove_cell_tags=solution`. With `--to html`, `script`, `markdown` and
# `slides` the cell is gone. With `--to notebook` it stays; the exit code is 0 in all five cases,
# and nothing is said. For notebooks the option needs `--TagRemovePreprocessor.enabled=True` beside
# it, which the other formats set by themselves.
#
# Why it matters here: a notebook without its solutions is what learners are to get. Who tries the
# option on a page first finds that it works, and then hands out the solutions. The course makes the
# notebooks of learners from the source, where solutions do not stand.
#
# Exit code 0: still so. 1: it has changed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install -q nbconvert==7.17.2 nbformat==5.11.1 ipykernel
"$work/env/bin/python" - "$work/task.ipynb" <<'PY'
import sys

import nbformat
from nbformat.v4 import new_code_cell, new_notebook

task = new_code_cell("def kl(mu, log_var): ...")
solution = new_code_cell("secret_answer = 1", metadata={"tags": ["solution"]})
python = {"name": "python3", "display_name": "Python 3", "language": "python"}
nbformat.write(new_notebook(cells=[task, solution], metadata={"kernelspec": python}), sys.argv[1])
PY

solution_in() { # format, more options -> "there" or "gone"
  local out="$work/out-$1-$#"
  mkdir "$out"
  "$work/env/bin/jupyter-nbconvert" --to "$1" "${@:2}" --output-dir "$out" --log-level WARN \
    --TagRemovePreprocessor.remove_cell_tags=solution "$work/task.ipynb" 2> "$out.said"
  [ -s "$out.said" ] && cat "$out.said" >&2
  if grep -q secret_answer "$out"/task.*; then echo there; else echo gone; fi
}

seen=""
for format in html script markdown slides notebook; do
  seen+="$format: $(solution_in $format), "
done
seen+="notebook, enabled: $(solution_in notebook --TagRemovePreprocessor.enabled=True)"
echo "$seen"
[ "$seen" = "html: gone, script: gone, markdown: gone, slides: gone, notebook: there, \
notebook, enabled: gone" ]
