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
# By processor: its number in linux/audit.h, clone, clone3, and the calls that make memory or file systems that belong
# to no process, so that the limits would not see them: unshare, setns, mount, fsopen, shmget, msgget, memfd_create,
# io_uring_setup.
CALLS = {
    "x86_64": (0xC000003E, 56, 435, (272, 308, 165, 430, 29, 68, 319, 425)),
    "aarch64": (0xC00000B7, 220, 435, (97, 268, 40, 430, 194, 186, 279, 425)),
}
NAMESPACES = 0x7E020000  # flags of clone for a namespace of the process's own


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
    if given.get("uid") or given.get("limits"):
        forbid()
    if given.get("folder"):
        global folder
        sys.modules[EXERCISES], folder = sys.modules[__name__], Path(given["folder"])
    from ipykernel.kernelapp import launch_new_instance

    sys.argv[1:] = arguments
    sys.path[0] = ""  # this file's own folder
    launch_new_instance(arguments)


def forbid() -> None:
    """Takes the calls of CALLS from this process and its children for good (seccomp); elsewhere does nothing."""
    import ctypes
    import platform
    import struct

    if platform.machine() not in CALLS:
        return
    processor, clone, clone3, calls = CALLS[platform.machine()]
    load, equal, at_least, flags, back = 0x20, 0x15, 0x35, 0x45, 0x06  # linux/bpf_common.h
    allowed, refused, unknown = (
        0x7FFF0000,
        0x50000 | 1,
        0x50000 | 38,
    )  # linux/seccomp.h with EPERM, ENOSYS
    code = [(load, 0, 0, 4), (equal, 1, 0, processor), (back, 0, 0, refused), (load, 0, 0, 0)]
    code += [(at_least, 0, 1, 1 << 30), (back, 0, 0, refused)]  # x86_64's second set of numbers
    code += [step for call in calls for step in ((equal, 0, 1, call), (back, 0, 0, refused))]
    code += [
        (equal, 0, 1, clone3),
        (back, 0, 0, unknown),
    ]  # its flags cannot be read: glibc then takes clone
    code += [
        (equal, 0, 3, clone),
        (load, 0, 0, 16),
        (flags, 0, 1, NAMESPACES),
        (back, 0, 0, refused),
    ]
    code += [(back, 0, 0, allowed)]
    filters = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in code))
    program = ctypes.create_string_buffer(struct.pack("HL", len(code), ctypes.addressof(filters)))
    libc = ctypes.CDLL(None, use_errno=True)
    for option, values in (
        (38, (1, 0, 0, 0)),
        (22, (2, program, 0, 0)),
    ):  # PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP
        if libc.prctl(option, *(ctypes.c_ulong(v) if isinstance(v, int) else v for v in values)):
            raise OSError(ctypes.get_errno(), "the sandbox's filter of system calls was refused")


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
            made = [
                _shared()["attempt"](_shared()["exercises"][id], function, file.read_bytes())
                for file in files
            ]
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
