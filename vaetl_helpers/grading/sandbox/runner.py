"""Runs one submission's setup and exercise cells in a kernel and drives its functions there; judges nothing.

A process of its own for each submission (`python -m vaetl_helpers.grading.sandbox.runner FOLDER`): whatever a hostile kernel
sends can only harm this one.
"""

from __future__ import annotations

import asyncio
import json
import os
import queue
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

from vaetl_helpers.grading.sandbox.inside import EXERCISES, OUTPUTS
from vaetl_helpers.grading.sandbox.kernel import Limits, SandboxedKernel, kernel_folder

GRACE = 5  # seconds that an interrupted cell has to end
OWN_MEMORY = 2**30
# IPython's own `exit` ends the kernel a moment later, when another exercise is at work.
NO_EXIT = "import sys; exit = quit = sys.exit"
ENDED = "the kernel ended: os._exit, sys.exit in a thread, or a crash inside a library"


class Ran(NamedTuple):
    """How a piece of code ended ("ok", "error", "timeout"), what was said of it, the outputs that it sent."""

    status: str = "ok"
    message: str = ""
    sent: list[str] | None = None


class Dead(Exception):
    """The kernel is gone; the text says why: "time", "memory", "processes", "disk", "output", or ENDED."""


class Kernel:
    """A kernel that runs code within limits of time and of output."""

    def __init__(self, limits: Limits, exercises: Path, sandboxed: bool, folder: Path) -> None:
        self.limits, self.received, self.client = limits, 0, None
        own = kernel_folder(folder)  # goes with the job's, should this process be killed
        self.manager = SandboxedKernel(
            limits=limits, exercises=exercises, sandboxed=sandboxed, folder=own
        )

    async def start(self) -> None:
        await self.manager.start_kernel()
        self.client = self.manager.client()
        self.client.start_channels(hb=False)  # its thread never ends where a kernel answers garbage
        await self.client.wait_for_ready(timeout=120)

    async def stop(self) -> None:
        if self.client:
            self.client.stop_channels()
        await self.manager.shutdown_kernel(now=True)

    async def run(self, code: str, seconds: float) -> Ran:
        """Runs code and waits for its end, an interrupt included; raises Dead where the kernel is lost."""
        sent = self.client.execute(
            code, store_history=False, allow_stdin=False, stop_on_error=False
        )
        ran, end, interrupted = Ran(), time.monotonic() + seconds, False
        while True:
            message = await self._message()
            if message and message["parent_header"].get("msg_id") == sent:
                if message["content"].get("execution_state") == "idle":
                    return Ran("timeout") if interrupted else ran
                ran = _after(ran, message)
            if time.monotonic() > end:
                if interrupted:
                    raise Dead("time")
                interrupted, end = True, time.monotonic() + GRACE
                await self.manager.interrupt_kernel()

    async def _message(self) -> dict[str, Any] | None:
        """The next message of the kernel, or None for now; Dead where none can come, or too many have."""
        try:
            message = await self.client.get_iopub_msg(timeout=0.1)
        except queue.Empty:
            if not await self.manager.is_alive():
                raise Dead(self._reason()) from None
            return None
        except Exception:  # a message that is no message: not signed, not JSON
            return None
        self.received += len(repr(message))
        if self.received > self.limits.output * 2**20:
            raise Dead("output")
        well = all(isinstance(message.get(part), dict) for part in ("content", "parent_header"))
        return message if well else None

    def _reason(self) -> str:
        killed = self.manager.folder / "killed"
        return killed.read_text() if killed.exists() else ENDED


def _after(ran: Ran, message: dict[str, Any]) -> Ran:
    """What is known of a piece of code after one more of its messages."""
    content = message["content"]
    if message["msg_type"] == "error":
        lines = str(content.get("evalue", "")).strip().splitlines() or [""]
        return ran._replace(status="error", message=f"{content.get('ename')}: {lines[0]}"[:300])
    data = content.get("data")
    sent = (
        data.get(OUTPUTS)
        if message["msg_type"] == "display_data" and isinstance(data, dict)
        else None
    )
    return ran._replace(sent=[str(item) for item in sent]) if isinstance(sent, list) else ran


class Submission:
    """The job of one submission: its cells, and what has become of each of its exercises so far."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.job = folder, json.loads((folder / "job.json").read_text("utf-8"))
        self.limits = Limits(**self.job["limits"])
        self.end = time.monotonic() + self.limits.seconds
        self.outcome: dict[str, Any] = {"notes": [], "tasks": {}}
        self.deadly: set[str] = set()  # exercises whose cells are not run again
        self.setup = "own" if self.job["own"] else "course"

    async def work(self) -> None:
        """One kernel after the other until each exercise has an outcome: one that kills its kernel harms no other."""
        while self._open() and "failed" not in self.outcome:
            kernel = Kernel(
                self.limits, Path(self.job["exercises"]), self.job["sandbox"], self.folder
            )
            try:
                if await self._started(kernel) and await self._set_up(kernel):
                    await self._exercises(kernel)
            except Dead as death:
                self._died(str(death))
            finally:
                await kernel.stop()

    async def _started(self, kernel: Kernel) -> bool:
        """Starts the kernel; a failure is not the submission's fault, as nothing of it has run yet."""
        self.at = "setup"
        try:
            await kernel.start()
        except RuntimeError as error:
            self.outcome["failed"] = str(error)
            self._keep()
            return False
        return True

    def _open(self) -> list[dict[str, Any]]:
        return [task for task in self.job["tasks"] if task["id"] not in self.outcome["tasks"]]

    def _seconds(self, times: int = 1) -> float:
        """What a cell may take now; Dead where nothing is left."""
        left = self.end - time.monotonic()
        if left <= 0:
            raise Dead("all")
        return min(times * self.limits.cell_seconds, left)

    async def _set_up(self, kernel: Kernel) -> bool:
        """Runs parameters and setup cells; False where the submission's own failed: the course's are next."""
        patience = 4 if self.setup == "course" else 1  # ours end, on a slow machine too
        for source in [NO_EXIT, self.job["parameters"], *self.job[self.setup]]:
            ran = await kernel.run(source, self._seconds(patience))
            if ran.status != "ok":
                self._setup_failed(
                    ran.message or f"it took longer than {patience * self.limits.cell_seconds} s"
                )
                return False
        return True

    def _setup_failed(self, why: str) -> None:
        if self.setup == "course":
            for task in self._open():
                self._note(task["id"], "not run", f"the course's own setup cells failed: {why}")
        else:
            self.setup = "course"
            self.outcome["notes"].append(
                f"the notebook's own setup cells failed ({why}): the course's were used"
            )

    async def _exercises(self, kernel: Kernel) -> None:
        """Runs the cells of each exercise in turn; drives a function once, right after its own cells."""
        for task in self.job["tasks"]:
            self.at, self.began = task["id"], time.monotonic()
            if task["id"] not in self.deadly:
                ran = await self._define(kernel, task)
                if task["id"] not in self.outcome["tasks"]:
                    await self._drive(kernel, task, ran)
            await kernel.run(task["checked"], self._seconds())

    async def _define(self, kernel: Kernel, task: dict[str, Any]) -> Ran:
        # A function of that name which is there already, the package's own perhaps, is no answer.
        await kernel.run(f"globals().pop({task['function']!r}, None)", self._seconds())
        ran = Ran()
        for source in task["cells"]:
            ran = await kernel.run(source, self._seconds())
            if ran.status == "timeout":
                break
        return ran

    async def _drive(self, kernel: Kernel, task: dict[str, Any], defined: Ran) -> None:
        if defined.status == "timeout":
            self.deadly.add(
                task["id"]
            )  # should there be another kernel, the time is not spent again
            return self._note(task["id"], "time", "its cell")
        code = f"__import__({EXERCISES!r}, fromlist=['drive']).drive({task['id']!r}, {task['function']})"
        ran = await kernel.run(code, self._seconds())
        if ran.status == "timeout":
            return self._note(task["id"], "time", "its tests")
        if ran.status == "error" or ran.sent is None:
            why = defined.message or ran.message or "nothing came back"
            return self._note(task["id"], "error", why)
        return self._note(task["id"], "driven", "", ran.sent)

    def _died(self, why: str) -> None:
        """Blames the exercise at work for the death of the kernel, once: it is not run again."""
        if why == "all":
            for task in self._open():
                self._note(
                    task["id"], "not run", f"the submission used up its {self.limits.seconds} s"
                )
        elif self.at == "setup":
            self._setup_failed(why)
        elif (
            self.at in self.deadly
        ):  # it is not run any more: what another one left behind has done it
            for task in self._open():
                self._note(task["id"], "not run", f"the kernel ended again and again ({why})")
        else:
            self.deadly.add(self.at)
            if self.at not in self.outcome["tasks"]:
                self._note(self.at, "dead", why)

    def _note(self, id: str, status: str, message: str, outputs: list[str] | None = None) -> None:
        """Keeps what has become of an exercise, at once: this process may be killed too."""
        seconds = round(time.monotonic() - getattr(self, "began", time.monotonic()), 1)
        entry = {"status": status, "message": message, "outputs": outputs or [], "seconds": seconds}
        self.outcome["tasks"][id] = entry
        self._keep()

    def _keep(self) -> None:
        part = self.folder / "outcome.part"
        part.write_text(json.dumps(self.outcome), encoding="utf-8")
        os.replace(part, self.folder / "outcome.json")


def main() -> None:
    submission = Submission(Path(sys.argv[1]))
    if sys.platform.startswith("linux"):
        import resource

        from vaetl_helpers.grading.sandbox.watch import die_with

        die_with(submission.job["parent"])
        # The soft limit only: the kernel inherits it, and sets its own.
        resource.setrlimit(
            resource.RLIMIT_DATA, (OWN_MEMORY, resource.getrlimit(resource.RLIMIT_DATA)[1])
        )
    asyncio.run(submission.work())


if __name__ == "__main__":
    main()
