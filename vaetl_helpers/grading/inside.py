"""What runs in the sandbox: the start of the kernel, and the learner's side of an exercise. It can judge nothing.

The file is run by its path; in the kernel it takes the place of `vaetl_helpers.exercises`, which is not there.
"""

from __future__ import annotations

import base64
import functools
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

OUTPUTS = "application/vnd.vaetl.outputs"
EXERCISES = "vaetl_helpers.exercises"
folder = Path("/exercises")  # what `draw` and `drive` made of them outside


def main() -> None:
    """Lowers the rights and limits of this process for good, then becomes a kernel.

    The first argument is JSON: `limits` by their names in the module `resource`; `uid`, where this process is root;
    `folder` with the exercises, where a submission is graded. The others are the kernel's own.
    """
    given, arguments = json.loads(sys.argv[1]), sys.argv[2:]
    if given.get("uid"):
        os.setgroups([])
        os.setresgid(*[given["uid"]] * 3)
        os.setresuid(*[given["uid"]] * 3)
    for name, value in given.get("limits", {}).items():
        import resource  # not on Windows, where there is no sandbox either

        hard = resource.getrlimit(getattr(resource, name))[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(getattr(resource, name), (value, value))
    if given.get("folder"):
        global folder
        sys.modules[EXERCISES], folder = sys.modules[__name__], Path(given["folder"])
    from ipykernel.kernelapp import launch_new_instance

    sys.argv[1:] = arguments
    sys.path[0] = ""  # this file's own folder
    launch_new_instance(arguments)


@functools.cache
def _shared() -> dict[str, Any]:
    """`attempt`, the chapters' `drive`s and their references: pickled by value, without their modules."""
    import cloudpickle

    return cloudpickle.loads((folder / "shared.pickle").read_bytes())


def drive(id: str, function: Any) -> None:
    """Calls the learner's function on each of the exercise's inputs and sends what came of it as one display."""
    from IPython.display import display

    if function is ... or not callable(function):
        sent = ["not attempted" if function is ... else "not callable"]
    else:
        files = sorted((folder / id).glob("*.inputs"))
        with _shared()["isolated"]():
            made = [_shared()["attempt"](_shared()["exercises"][id], function, file.read_bytes()) for file in files]
        sent = [base64.b64encode(outputs).decode() for outputs in made]
    display({OUTPUTS: sent}, raw=True)


def check(id: str, function: Any) -> Callable:
    """Stands in for the notebook's `check`: each exercise is graded by itself, so that the reference goes on."""
    return _shared()["exercises"][id].reference


def hint(id: str) -> None:
    """Stands in for the notebook's `hint`."""


def solution(id: str) -> None:
    """Stands in for the notebook's `solution`."""


if __name__ == "__main__":
    main()
