#!/usr/bin/env bash
# dask.distributed 2026.8.0: with `dashboard_address=None` a cluster's web server runs all the same.
#
# Seen on 2026-11-29: the documentation of LocalCluster says "Set to None to disable the dashboard".
# The scheduler still serves HTTP at port 8787 (/health and /metrics answer with 200), only the page
# /status is gone (404), to which `dashboard_link` still points. So a second cluster warns that
# "Port 8787 is already in use", although neither was to have a dashboard. `":0"` takes a free port
# without a word.
#
# Why it matters here: two studies on one machine, each with a cluster of its own, or two tests
# that run at the same time with warnings as errors: the second one fails while it starts.
#
# Exit code 0: still so. 1: it has changed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install -q "distributed==2026.8.0" "bokeh==3.8.1"
cat > "$work/two.py" <<'PY'
import urllib.error
import urllib.request
import warnings

from distributed import LocalCluster


def answer(port, page):
    try:
        return urllib.request.urlopen(f"http://127.0.0.1:{port}{page}", timeout=10).status
    except urllib.error.HTTPError as error:
        return error.code


def cluster(address):
    return LocalCluster(n_workers=0, processes=False, dashboard_address=address)


if __name__ == "__main__":
    with warnings.catch_warnings(record=True) as said, cluster(None) as first, cluster(None):
        warnings.simplefilter("always")
        port = first.scheduler.http_server.port
        print("port", port, *(f"{page} {answer(port, page)}" for page in ("/health", "/metrics")))
    with warnings.catch_warnings(record=True) as again, cluster(":0"), cluster(":0"):
        pass
    is_port = ["already in use" in str(warning.message) for warning in said]
    print("second cluster warned of its port:", any(is_port), "and with ':0':", bool(again))
PY
seen=$("$work/env/bin/python" -W always "$work/two.py" 2> /dev/null)
echo "$seen"
[[ "$seen" == *"port 8787 /health 200 /metrics 200"* ]] \
  && [[ "$seen" == *"warned of its port: True and with ':0': False"* ]]
