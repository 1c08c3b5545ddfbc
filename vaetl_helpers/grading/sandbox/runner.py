"""Runs one submission's setup and exercise cells in a kernel and drives its functions there.

It judges nothing. Each submission has a process of its own for it, `python -m
vaetl_helpers.grading.sandbox.runner FOLDER`: whatever a hostile kernel sends can only harm that.
"""

from __future__ import annotations

import ast
import asyncio
import queue
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vaetl_helpers.grading.sandbox import job
from vaetl_helpers.grading.sandbox.inside import EXERCISES, OUTPUTS
from vaetl_helpers.grading.sandbox.kernel import SandboxedKernel, make_kernel_folder
from vaetl_helpers.grading.sandbox.watch import KILLED, OUTSIDE, die_with
from vaetl_helpers.syntax import parsed

Message = dict[str, Any]  # of Jupyter's protocol

PAUSES = (2, 5)  # seconds before a second and a third attempt to start a kernel
GRACE = 5  # seconds that an interrupted cell has to end
MEMORY = 2**30  # bytes that this process may use
# IPython's own `exit` ends the kernel a moment later, when another exercise is at work.
NO_EXIT = "import sys; exit = quit = sys.exit"
NOTHING = "nothing came back"
ENDED = "the kernel ended: os._exit, sys.exit in a thread, or a crash inside a library"
IN_THE_MODULE = f"__import__({EXERCISES!r}, fromlist=['drive'])"
REMOVE = "globals().pop({!r}, None)"
# The course's cells end, on a slow machine too: they get this many times the seconds of a cell.
PATIENCE_WITH_THE_COURSE = 4


@dataclass(frozen=True)
class CodeRun:
    """How a piece of code ended ("ok", "error", "timeout"), what was said of it, what it sent."""

    status: str = "ok"
    message: str = ""
    outputs: list[str] | None = None


class KernelDied(Exception):
    """The kernel is gone; the text says why.

    One of "time", "memory", "processes", "disk", "output", OUTSIDE, or ENDED.
    """


class StartFailed(Exception):
    """No kernel could be started; the text says why."""


class TimeUsedUp(Exception):
    """The submission has had all its seconds."""


class Kernel:
    """A kernel that runs code within limits of time and of output."""

    def __init__(
        self, limits: job.Limits, drawn_inputs: Path, sandboxed: bool, job_folder: Path
    ) -> None:
        self.limits = limits
        self.characters_received = 0
        self.client: Any = None
        self.manager = SandboxedKernel(
            limits=limits,
            drawn_inputs=drawn_inputs,
            sandboxed=sandboxed,
            # It goes with the job's, should this process be killed.
            folder=make_kernel_folder(job_folder),
        )

    async def start(self) -> None:
        """Starts the kernel and waits for it; RuntimeError where it does not answer."""
        # Without a sandbox, too, what lies beside the notebook is not there.
        await self.manager.start_kernel(cwd=str(self.manager.home))
        self.client = self.manager.client()
        # Without the heartbeat: its thread never ends where a kernel answers garbage.
        self.client.start_channels(hb=False)
        await self.client.wait_for_ready(timeout=self.limits.start_seconds)

    async def stop(self) -> None:
        if self.client:
            self.client.stop_channels()
        await self.manager.shutdown_kernel(now=True)

    async def run(self, code: str, seconds: float) -> CodeRun:
        """Runs code and waits for its end, an interrupt included.

        Raises KernelDied where the kernel is lost.
        """
        request = self.client.execute(
            code, store_history=False, allow_stdin=False, stop_on_error=False
        )
        run = CodeRun()
        deadline = time.monotonic() + seconds
        interrupted = False
        while True:
            message = await self._message()
            if message and message["parent_header"].get("msg_id") == request:
                if message["content"].get("execution_state") == "idle":
                    return CodeRun("timeout") if interrupted else run
                run = _updated(run, message)
            if time.monotonic() > deadline:
                if interrupted:
                    raise KernelDied(self._noted_reason() or "time")
                interrupted = True
                deadline = time.monotonic() + GRACE
                await self.manager.interrupt_kernel()

    async def _message(self) -> Message | None:
        """The next message of the kernel, or None for now.

        Raises KernelDied where none can come, or too many have.
        """
        try:
            message = await self.client.get_iopub_msg(timeout=0.1)
        except queue.Empty:
            if await self.manager.is_alive():
                return None
            raise KernelDied(await self._cause_of_death()) from None
        except MemoryError:  # this process has little, too
            raise KernelDied("output") from None
        except Exception:  # a message that is no message: not signed, not JSON
            return None
        self.characters_received += len(repr(message))
        if self.characters_received > self.limits.output * 2**20:
            raise KernelDied("output")
        for field in ("content", "parent_header"):
            if not isinstance(message.get(field), dict):
                return None
        return message

    async def _cause_of_death(self) -> str:
        reason = self._noted_reason()
        if reason:
            return reason
        provisioner = self.manager.provisioner
        status = await provisioner.poll() if provisioner else None
        if self.manager.sandboxed and status is not None and status < 0:
            return OUTSIDE  # `watch` was killed, which nothing in the sandbox can do
        return ENDED

    def _noted_reason(self) -> str:
        """Why `watch` has ended the kernel, or is just ending it; empty where it has not."""
        note = self.manager.folder / KILLED
        if note.exists():
            return note.read_text()
        return ""


def _updated(run: CodeRun, message: Message) -> CodeRun:
    """What is known of a piece of code after one more of its messages."""
    content = message["content"]
    if message["msg_type"] == "error":
        lines = str(content.get("evalue", "")).strip().splitlines() or [""]
        return replace(run, status="error", message=f"{content.get('ename')}: {lines[0]}"[:300])
    data = content.get("data")
    if message["msg_type"] != "display_data" or not isinstance(data, dict):
        return run
    outputs = data.get(OUTPUTS)
    if not isinstance(outputs, list):
        return run
    return replace(run, outputs=[str(output) for output in outputs])


class SubmissionRunner:
    """Works off the job of one submission; `run` holds what has become of its exercises so far."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.job = job.Job.read(folder)
        self.limits = self.job.limits
        self.deadline = time.monotonic() + self.limits.seconds
        self.run = job.SubmissionRun()
        self.deadly: set[str] = set()  # exercises whose cells are not run again
        self.uses_own_setup = bool(self.job.own_setup)
        self.exercise_at_work: str | None = None  # None while the kernel is set up
        self.exercise_began: float | None = None

    async def work(self) -> None:
        """One kernel after the other until each exercise has an outcome.

        An exercise that kills its kernel harms no other.
        """
        while self._open_exercises() and self.run.broken is None:
            self.exercise_at_work = None
            try:
                kernel = await self._started_kernel()
            except StartFailed as failure:
                self._break(f"no kernel started: {failure}")
                return
            try:
                if await self._set_up(kernel):
                    await self._run_exercises(kernel)
            except TimeUsedUp:
                self._give_up(f"the submission used up its {self.limits.seconds} s")
            except KernelDied as death:
                self._kernel_died(str(death))
            finally:
                await kernel.stop()

    async def _started_kernel(self) -> Kernel:
        """A kernel that has imported what the course imports; StartFailed after several attempts.

        A failure is nobody's fault, as nothing of the submission has run.
        """
        for pause in (*PAUSES, None):
            kernel = Kernel(self.limits, self.job.drawn_inputs, self.job.sandboxed, self.folder)
            try:
                await kernel.start()
                # What raises here raises once more in the setup cells, and is told there.
                await kernel.run(warm_up(self.job.course_setup), self.limits.start_seconds)
                return kernel
            except Exception as error:  # no thread, no process, no room for a file, no answer
                reason = str(error) or type(error).__name__
                await kernel.stop()
            if pause is not None:
                await asyncio.sleep(pause)
        raise StartFailed(reason)

    def _open_exercises(self) -> list[job.ExerciseJob]:
        return [
            exercise
            for exercise in self.job.exercises
            if exercise.is_driven and exercise.id not in self.run.exercises
        ]

    def _seconds(self, times: int = 1) -> float:
        """What a cell may take now; TimeUsedUp where nothing is left."""
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeUsedUp
        return min(times * self.limits.cell_seconds, left)

    async def _set_up(self, kernel: Kernel) -> bool:
        """Runs parameters and setup cells.

        False where the submission's own failed: the course's are next.
        """
        if self.uses_own_setup:
            cells = self.job.own_setup
            patience = 1
        else:
            cells = self.job.course_setup
            patience = PATIENCE_WITH_THE_COURSE
        for source in [NO_EXIT, self.job.parameters, *cells]:
            run = await kernel.run(source, self._seconds(patience))
            if run.status != "ok":
                self._seconds()  # where none are left, that is the reason
                too_long = f"it took longer than {patience * self.limits.cell_seconds} s"
                self._setup_failed(run.message or too_long)
                return False
        return True

    def _setup_failed(self, reason: str) -> None:
        if self.uses_own_setup:
            self.uses_own_setup = False
            self.run.notes.append(
                f"the notebook's own setup cells failed ({reason}): the course's were used"
            )
        else:
            self._break(f"the course's own setup cells failed: {reason}")

    def _break(self, reason: str) -> None:
        """Ends the run for a reason that is not the submission's."""
        self.run.broken = reason
        self.run.write(self.folder)

    def _give_up(self, reason: str) -> None:
        for exercise in self._open_exercises():
            self._note(exercise.id, job.Ending.NOT_RUN, reason)

    async def _run_exercises(self, kernel: Kernel) -> None:
        """Runs the cells of each exercise in turn; drives its function once, right after them."""
        for exercise in self.job.exercises:
            self.exercise_at_work = exercise.id
            self.exercise_began = time.monotonic()
            if exercise.id not in self.deadly:
                cells_run = await self._define(kernel, exercise)
                if exercise.is_driven and exercise.id not in self.run.exercises:
                    await self._drive(kernel, exercise, cells_run)
            await kernel.run(_call("learn", exercise.id, exercise.reference), self._seconds())
            await kernel.run(exercise.check_cell, self._seconds())

    async def _define(self, kernel: Kernel, exercise: job.ExerciseJob) -> CodeRun:
        # What has that name already is no answer, such as a library's function. Where another cell
        # holds the answer, it is among the exercise's cells.
        await kernel.run(REMOVE.format(exercise.function), self._seconds())
        run = CodeRun()
        for source in exercise.cells:
            run = await kernel.run(source, self._seconds())
            if run.status == "timeout":
                break
        return run

    async def _drive(self, kernel: Kernel, exercise: job.ExerciseJob, cells_run: CodeRun) -> None:
        if cells_run.status == "timeout":
            # Should there be another kernel, the time is not spent again.
            self.deadly.add(exercise.id)
            self._note(exercise.id, job.Ending.TIME, "its cell")
            return
        code = f"{IN_THE_MODULE}.drive({exercise.id!r}, {exercise.function})"
        run = await kernel.run(code, self._seconds())
        if run.status == "timeout":
            self._note(exercise.id, job.Ending.TIME, "its tests")
        elif run.status == "ok" and run.outputs is not None:
            self._note(exercise.id, job.Ending.DRIVEN, outputs=run.outputs)
        else:
            reason = cells_run.message or run.message or NOTHING
            self._note(exercise.id, job.Ending.ERROR, reason)
            if reason == NOTHING:  # it cannot even say what is wrong: the others get a new kernel
                raise KernelDied(NOTHING)

    def _kernel_died(self, cause: str) -> None:
        """Blames the exercise at work for the death of the kernel, once: it is not run again."""
        culprit = self.exercise_at_work
        if cause == OUTSIDE:
            self._break("the process around its kernel was ended from outside")
        elif culprit is None:
            self._setup_failed(cause)
        elif culprit in self.deadly:  # its cells do not run any more: it was an earlier one
            self._give_up(f"the kernel ended again and again ({cause})")
        else:
            self.deadly.add(culprit)
            if culprit not in self.run.exercises:
                self._note(culprit, job.Ending.DEAD, cause)

    def _note(
        self, id: str, ending: job.Ending, message: str = "", outputs: Iterable[str] = ()
    ) -> None:
        """Keeps what has become of an exercise, at once: this process may be killed too."""
        seconds = 0.0
        if self.exercise_began is not None:
            seconds = round(time.monotonic() - self.exercise_began, 1)
        self.run.exercises[id] = job.ExerciseRun(ending, message, list(outputs), seconds)
        self.run.write(self.folder)


def _call(function: str, *arguments: str) -> str:
    """Code that calls a function of the module of exercises."""
    return f"{IN_THE_MODULE}.{function}{arguments!r}"


def warm_up(setup: Iterable[str]) -> str:
    """Code that imports what the setup cells import, and leaves no name behind.

    Libraries take seconds to load on a slow machine; a submission's own time starts afterwards.
    """
    imports = []
    for cell in setup:
        for statement in parsed(cell).body:
            if isinstance(statement, (ast.Import, ast.ImportFrom)):
                imports.append(ast.unparse(statement))
    imports.append(f"from {EXERCISES} import shared")
    imports.append("shared()")
    code = "\n".join(imports)
    return f"exec({code!r}, {{}})"


def main() -> None:
    runner = SubmissionRunner(Path(sys.argv[1]))
    if sys.platform.startswith("linux"):
        import resource  # not on Windows, where there is no sandbox either

        die_with(runner.job.parent)
        if runner.job.sandboxed:
            # The soft limit only: the kernel inherits it, and sets its own. Without a sandbox it
            # sets none, and would have too little.
            hard_limit = resource.getrlimit(resource.RLIMIT_DATA)[1]
            resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, hard_limit))
    asyncio.run(runner.work())


if __name__ == "__main__":
    main()
