#!/usr/bin/env bash
# nbgrader 0.9.6: a warning takes all points of a right answer, and a number that the tests show
# becomes the points.
#
# Seen on 2026-11-30: an exercise for 4 points, three right answers and three cells of tests that
# end without an exception. Where the tests only assert, there are 4 points. Where the answer warns
# (`warnings.warn`, as a library does that is about to change) there are 0, because any text on the
# standard error counts as failure. Where the last line of the tests is an expression such as
# `accuracy`, its value 0.93 counts as partial credit: 0.93 of 4 points.
#
# Why it matters here: an update of PyTorch that warns would take points from a whole class. The
# course's `check` sends warnings and the standard error of an answer elsewhere, and its value is
# assigned to a name and never shown.
#
# Exit code 0: still so. 1: it has changed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install -q nbgrader==0.9.6 ipykernel
cd "$work"
mkdir -p source/one submitted
cat > make.py <<'PY'
import nbformat
from nbformat.v4 import new_code_cell, new_notebook


def cell(id, source, **facts):
    known = {"grade_id": id, "schema_version": 3, "grade": False, "solution": False,
             "locked": False, "task": False, "cell_type": "code"}
    return new_code_cell(source, metadata={"nbgrader": known | facts})


answer = "def double(x):\n    ### BEGIN SOLUTION\n    return 2 * x\n    ### END SOLUTION"
tests = {"plain": "", "warns": "", "number": "\naccuracy = 0.93\naccuracy"}
python = {"name": "python3", "display_name": "Python 3", "language": "python"}
for name, end in tests.items():
    cells = [
        cell(f"{name}-answer", answer, solution=True),
        cell(f"{name}-tests", "assert double(3) == 6" + end, grade=True, locked=True, points=4),
    ]
    notebook = new_notebook(cells=cells, metadata={"kernelspec": python})
    nbformat.write(notebook, f"source/one/{name}.ipynb")
PY
cat > answer.py <<'PY'
import nbformat

for name in ("plain", "warns", "number"):
    path = f"submitted/ann/one/{name}.ipynb"
    notebook = nbformat.read(path, as_version=4)
    warning = "    import warnings\n    warnings.warn('old')\n" if name == "warns" else ""
    notebook.cells[0].source = f"def double(x):\n{warning}    return x + x"
    nbformat.write(notebook, path)
PY
cat > points.py <<'PY'
import sys

from nbgrader.api import Gradebook

with Gradebook("sqlite:///gradebook.db") as book:
    given = {one.name: one.score for one in book.find_submission("one", "ann").notebooks}
print("of 4 points:", given)
sys.exit(given != {"plain": 4, "warns": 0, "number": 0.93})
PY
export JUPYTER_CONFIG_DIR="$work/config" PATH="$work/env/bin:$PATH"
python make.py
nbgrader generate_assignment one --create > log 2>&1
mkdir -p submitted/ann && cp -r release/one submitted/ann/one
python answer.py
nbgrader autograde one --create >> log 2>&1
python points.py
