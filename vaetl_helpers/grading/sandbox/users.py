"""Users for sandboxes: the system counts the processes of a user, so each sandbox has its own.

Only a grader who is root gives them: any other has a user namespace for each sandbox, by which
Linux counts since 5.14.
"""

from __future__ import annotations

import random
import socket
from contextlib import suppress
from pathlib import Path

SPARE_UIDS = range(64100, 65500)
# A name that one process can have at a time, in no folder; it is free again when that has ended.
LOCK = "\0vaetl-sandbox-user-{uid}"


class SpareUser:
    """A user that no other sandbox has, and of whom no process is left.

    A sandbox that was ended some seconds ago may still have processes that are ending, which would
    count as those of the next one. RuntimeError where no user is free.
    """

    def __init__(self) -> None:
        for uid in random.sample(SPARE_UIDS, len(SPARE_UIDS)):
            lock = _locked(uid)
            if lock is None:
                continue
            if uid not in users_at_work():
                self.uid = uid
                self._lock = lock
                return
            lock.close()
        raise RuntimeError(f"each of the {len(SPARE_UIDS)} users for sandboxes has processes")

    def give_back(self) -> None:
        """Lets another sandbox have the user, once its processes have ended."""
        self._lock.close()


def _locked(uid: int) -> socket.socket | None:
    """The lock of a user, or None where somebody has it."""
    lock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        lock.bind(LOCK.format(uid=uid))
    except OSError:
        lock.close()
        return None
    return lock


def users_at_work() -> set[int]:
    """The users who have a process, ending ones included."""
    users = set()
    for status in Path("/proc").glob("[0-9]*/status"):
        # Not the owner of the folder: that is root where a process has changed its user.
        with suppress(OSError, ValueError):
            users.add(_user(status.read_text()))
    return users


def _user(status: str) -> int:
    for line in status.splitlines():
        if line.startswith("Uid:"):
            return int(line.split()[1])
    raise ValueError("a process without a user")
