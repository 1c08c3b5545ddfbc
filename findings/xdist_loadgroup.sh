#!/usr/bin/env bash
# pytest-xdist 3.8.0 under pytest 9.2.0: `--dist loadgroup` keeps no group together, without a word.
#
# Seen on 2026-11-29: two groups of twelve tests, "a" and "b", each test marked with
# @pytest.mark.xdist_group, run by two workers. The documentation promises that each group stays on
# one worker; here both workers ran tests of both groups. xdist writes the group into the attribute
# `_nodeid` of a test, and pytest 9.2 has a structured `_id` in its place, so that the name which is
# scheduled holds no group. No warning and no error are given. Under pytest 8.4.2 the same
# pytest-xdist keeps both groups together.
#
# Why it matters here: nbval makes each cell of a notebook a test, and a cell that runs on another
# worker runs in another kernel, where nothing is defined.
#
# Exit code 0: still so. 1: it has changed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat > "$work/test_groups.py" <<'PY'
import os
import time

import pytest


@pytest.mark.parametrize("number", range(12))
@pytest.mark.parametrize("group", [
    pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in ("a", "b")
])
def test_one(group, number):
    time.sleep(0.05)
    with open(os.environ["SEEN"], "a") as file:
        print(group, os.environ["PYTEST_XDIST_WORKER"], file=file)
PY

workers_by_group() { # version of pytest -> "a:2 b:2", the workers that ran each group
  python3 -m venv "$work/$1"
  "$work/$1/bin/pip" install -q "pytest==$1" "pytest-xdist==3.8.0"
  SEEN="$work/seen-$1" "$work/$1/bin/python" -m pytest -q -p no:cacheprovider -n 2 \
    --dist loadgroup "$work/test_groups.py" > /dev/null
  sort -u "$work/seen-$1" | awk '{n[$1]++} END {printf "a:%d b:%d\n", n["a"], n["b"]}'
}

old=$(workers_by_group 8.4.2)
new=$(workers_by_group 9.2.0)
echo "workers that ran each group: pytest 8.4.2 $old, pytest 9.2.0 $new"
[ "$old" = "a:1 b:1" ] && [ "$new" = "a:2 b:2" ]
