"""What runs in the sandbox: the start of the kernel, and the learner's side of an exercise.

It can judge nothing. The file is run by its path; in the kernel it takes the place of
`vaetl_helpers.exercises`, which is not there.
"""

from __future__ import annotations

import base64
import functools
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

OUTPUTS = "application/vnd.vaetl.outputs"
EXERCISES = "vaetl_helpers.exercises"
folder = Path("/exercises")  # what `draw` and `drive` made of them outside


class Processor(NamedTuple):
    """A processor's number in linux/audit.h, and those that its system calls have there."""

    audit_number: int
    clone: int
    clone3: int
    refused: dict[str, int]


# Refused are the calls that make memory or file systems which belong to no process, so that the
# limits would not see them.
PROCESSORS = {
    "x86_64": Processor(
        audit_number=0xC000003E,
        clone=56,
        clone3=435,
        refused={
            "unshare": 272,
            "setns": 308,
            "mount": 165,
            "fsopen": 430,
            "shmget": 29,
            "msgget": 68,
            "memfd_create": 319,
            "io_uring_setup": 425,
        },
    ),
    "aarch64": Processor(
        audit_number=0xC00000B7,
        clone=220,
        clone3=435,
        refused={
            "unshare": 97,
            "setns": 268,
            "mount": 40,
            "fsopen": 430,
            "shmget": 194,
            "msgget": 186,
            "memfd_create": 279,
            "io_uring_setup": 425,
        },
    ),
}
NAMESPACES = 0x7E020000  # flags of clone for a namespace of the process's own: CLONE_NEW*
X32 = 1 << 30  # where the numbers of x86_64's second set of calls begin

# Codes of a filter's instructions, from linux/bpf_common.h.
LOAD = 0x20  # BPF_LD | BPF_W | BPF_ABS: a word of what is known of the call
IF_EQUAL = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
IF_AT_LEAST = 0x35  # BPF_JMP | BPF_JGE | BPF_K
IF_ANY_BIT = 0x45  # BPF_JMP | BPF_JSET | BPF_K
RETURN = 0x06  # BPF_RET | BPF_K

# Where in the struct seccomp_data of linux/seccomp.h a word lies.
CALL_NUMBER = 0
ARCHITECTURE = 4
FIRST_ARGUMENT = 16

# What a filter returns, from linux/seccomp.h and errno.h.
ALLOWED = 0x7FFF0000  # SECCOMP_RET_ALLOW
ERROR = 0x50000  # SECCOMP_RET_ERRNO
EPERM = 1
ENOSYS = 38

# From linux/prctl.h and linux/seccomp.h.
PR_SET_NO_NEW_PRIVS = 38
PR_SET_SECCOMP = 22
SECCOMP_MODE_FILTER = 2


class Instruction(NamedTuple):
    """A struct sock_filter; `if_true` and `if_false` say how many instructions are skipped."""

    code: int
    value: int
    if_true: int = 0
    if_false: int = 0


def main() -> None:
    """Lowers the rights and limits of this process for good, then becomes a kernel.

    The first argument is JSON: `limits` by their names in the module `resource`; `uid`, where this
    process is root; `folder` with the exercises, where a submission is graded. The others are the
    kernel's own.
    """
    settings = json.loads(sys.argv[1])
    arguments = sys.argv[2:]
    if settings.get("uid"):
        become(settings["uid"])
    for name, value in settings.get("limits", {}).items():
        lower_limit(name, value)
    if settings.get("uid") or settings.get("limits"):
        forbid()
    if settings.get("folder"):
        stand_in(Path(settings["folder"]))
    from ipykernel.kernelapp import launch_new_instance

    sys.argv[1:] = arguments
    sys.path[0] = ""  # this file's own folder
    launch_new_instance(arguments)


def become(uid: int) -> None:
    """Gives up being root for a user and a group of this number."""
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)


def lower_limit(name: str, value: int) -> None:
    """Sets a limit of the module `resource`, or leaves it where it is lower."""
    import resource  # not on Windows, where there is no sandbox either

    limit = getattr(resource, name)
    hard_limit = resource.getrlimit(limit)[1]
    if hard_limit != resource.RLIM_INFINITY:
        value = min(value, hard_limit)
    resource.setrlimit(limit, (value, value))


def stand_in(exercises_folder: Path) -> None:
    """Takes the place of the module of exercises, with what lies in the folder."""
    global folder
    folder = exercises_folder
    sys.modules[EXERCISES] = sys.modules[__name__]


def forbid() -> None:
    """Takes system calls from this process and its children for good (seccomp).

    Which they are stands in PROCESSORS; on another processor it does nothing.
    """
    import ctypes
    import platform
    import struct

    processor = PROCESSORS.get(platform.machine())
    if processor is None:
        return
    instructions = filter_of(processor)
    packed = b"".join(
        struct.pack("HBBI", step.code, step.if_true, step.if_false, step.value)
        for step in instructions
    )
    array = ctypes.create_string_buffer(packed)
    header = struct.pack("HL", len(instructions), ctypes.addressof(array))
    program = ctypes.create_string_buffer(header)
    set_option(PR_SET_NO_NEW_PRIVS, 1, 0)
    set_option(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.addressof(program))


def filter_of(processor: Processor) -> list[Instruction]:
    """The filter: what to answer to a system call."""
    refuse = Instruction(RETURN, ERROR | EPERM)
    steps = [
        Instruction(LOAD, ARCHITECTURE),
        Instruction(IF_EQUAL, processor.audit_number, if_true=1),
        refuse,
        Instruction(LOAD, CALL_NUMBER),
        *when(IF_AT_LEAST, X32, refuse),
    ]
    for number in processor.refused.values():
        steps += when(IF_EQUAL, number, refuse)
    # The flags of clone3 cannot be read: where it is unknown, glibc takes clone.
    steps += when(IF_EQUAL, processor.clone3, Instruction(RETURN, ERROR | ENOSYS))
    new_namespace = when(IF_ANY_BIT, NAMESPACES, refuse)
    steps += when(IF_EQUAL, processor.clone, Instruction(LOAD, FIRST_ARGUMENT), *new_namespace)
    steps.append(Instruction(RETURN, ALLOWED))
    return steps


def when(code: int, value: int, *steps: Instruction) -> list[Instruction]:
    """The steps, skipped unless the condition holds."""
    return [Instruction(code, value, if_false=len(steps)), *steps]


def set_option(option: int, first_value: int, second_value: int) -> None:
    """Calls prctl; OSError where it refuses."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    values = [ctypes.c_ulong(value) for value in (first_value, second_value, 0, 0)]
    if libc.prctl(option, *values):
        raise OSError(ctypes.get_errno(), "the sandbox's filter of system calls was refused")


@functools.cache
def shared() -> dict[str, Any]:
    """`attempt`, `isolated` and the exercises' `drive`s: by value, without their modules."""
    import cloudpickle

    return cloudpickle.loads((folder / "shared.pickle").read_bytes())


references: dict[str, Callable[..., Any]] = {}  # of exercises that have been driven


def learn(id: str, pickled: str) -> None:
    """Takes the reference of an exercise, in base64, once no answer to it is asked for any more."""
    import cloudpickle

    references[id] = cloudpickle.loads(base64.b64decode(pickled))


def drive(id: str, function: Any) -> None:
    """Calls the learner's function on each of the exercise's inputs and displays what came of it.

    All outputs are sent as one display.
    """
    from IPython.display import display

    if function is ...:
        outputs = ["not attempted"]
    elif not callable(function):
        outputs = ["not callable"]
    else:
        outputs = call_on_inputs(id, function)
    display({OUTPUTS: outputs}, raw=True)


def call_on_inputs(id: str, function: Callable[..., Any]) -> list[str]:
    """What the function makes of each of the exercise's inputs, packed and in base64."""
    exercise = shared()["exercises"][id]
    outputs = []
    with shared()["isolated"]():
        for path in sorted((folder / id).glob("*.inputs")):
            packed = shared()["attempt"](exercise, function, path.read_bytes())
            outputs.append(base64.b64encode(packed).decode())
    return outputs


def check(id: str, function: Any) -> Any:
    """Stands in for the notebook's `check`.

    Each exercise is graded by itself, so that the reference goes on, once the exercise has been
    driven. Before that nothing but the learner's own function can be an answer.
    """
    return references.get(id, function)


def hint(id: str) -> None:
    """Stands in for the notebook's `hint`."""


def solution(id: str) -> None:
    """Stands in for the notebook's `solution`."""


if __name__ == "__main__":
    main()
