"""Grades submissions: inputs are drawn here, functions driven in the sandbox, what comes back is judged here."""

from __future__ import annotations

import base64
import hashlib
import hmac
import inspect
import json
import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unicodedata import category

from vaetl_helpers import exercises
from vaetl_helpers.errors import CourseError
from vaetl_helpers.exercises import Exercise, Outcome
from vaetl_helpers.grading.flags import flags
from vaetl_helpers.grading.sandbox import SHORT, Limits
from vaetl_helpers.grading.submissions import (
    Assignment,
    Content,
    Submission,
    Task,
    Unreadable,
    read,
)

TRIALS = 5  # inputs for each exercise
Result = dict[str, Any]
Ran = dict[str, Any]  # what `runner` writes of a submission or, in its tasks, of an exercise
ONLY = "only the setup cells at the top and the exercise cells are run: define it in one of them"
WHY = {
    "time": "took longer than {cell_seconds} s and could not be interrupted",
    "memory": "used more than {memory} MB of memory",
    "processes": "started more than {processes} processes",
    "disk": "wrote more than {disk} MB, or outside its folder",
    "output": "sent more than {output} MB of output",
}


class HiddenTests:
    """The hidden tests of an assignment: inputs drawn from a secret, kept here, and written out for the sandbox."""

    def __init__(self, of: Assignment, seeds: Mapping[str, Sequence[int]], folder: Path) -> None:
        self.folder = folder
        self.exercises: dict[str, Exercise] = {task.id: exercises.get(task.id) for task in of.tasks}
        drawn = {
            id: [exercise.draw(seed) for seed in seeds[id]]
            for id, exercise in self.exercises.items()
        }
        self.inputs = {id: [exercises.pack(values) for values in drawn[id]] for id in drawn}
        for id, packed in self.inputs.items():
            (folder / id).mkdir(parents=True)
            for number, data in enumerate(packed):
                (folder / id / f"{number:03d}.inputs").write_bytes(data)
        (folder / "shared.pickle").write_bytes(shared(self.exercises.values()))
        folder.chmod(0o755)

    def outcome(self, id: str, outputs: Sequence[str]) -> Outcome:
        """The first outcome that is not correct; the outputs come from the sandbox and may be anything."""
        if list(outputs) == ["not attempted"]:
            return Outcome("not attempted")
        if list(outputs) == ["not callable"]:
            return Outcome("incorrect", "the name holds no function any more")
        if len(outputs) != len(self.inputs[id]):
            return Outcome("crashed", f"{len(outputs)} of {len(self.inputs[id])} results came back")
        for inputs, sent in zip(self.inputs[id], outputs, strict=True):
            try:
                values = exercises.unpack(base64.b64decode(sent))
            except (CourseError, ValueError) as error:
                return Outcome("crashed", str(error))
            outcome = exercises.verdict(self.exercises[id], exercises.unpack(inputs), values)
            if outcome.status != "correct":
                return outcome
        return Outcome("correct")


def shared(chosen: Sequence[Exercise]) -> bytes:
    """What the sandbox needs to drive functions, by value: their modules, which judge too, stay outside."""
    import cloudpickle

    modules = [
        module for name, module in sys.modules.items() if name.startswith(exercises.__name__)
    ]
    for module in modules:
        cloudpickle.register_pickle_by_value(module)
    try:
        driven = {e.id: SimpleNamespace(drive=e.drive, reference=e.reference) for e in chosen}
        attempt = inspect.unwrap(
            exercises.attempt
        )  # its decorator cannot be pickled: `inside` applies it anew
        return cloudpickle.dumps(
            {"isolated": exercises._isolated, "attempt": attempt, "exercises": driven}
        )
    finally:
        for module in modules:
            cloudpickle.unregister_pickle_by_value(module)


def hidden_seeds(of: Assignment, secret: bytes) -> dict[str, list[int]]:
    """Seeds for each exercise that tell nothing about the secret, nor about those of another exercise."""
    return {
        task.id: [derive(secret, f"{task.id} {trial}") for trial in range(TRIALS)]
        for task in of.tasks
    }


def derive(secret: bytes, purpose: str) -> int:
    """A seed below 2³¹ for one purpose."""
    return int.from_bytes(hmac.digest(secret, purpose.encode(), "sha256")[:4], "big") % 2**31


def secret_of(out: Path, seed: object) -> bytes:
    """The secret of the hidden tests: a key, made once and kept in `out`, with the instructor's seed."""
    path = out / "secret.key"
    if not path.exists():
        out.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        part.touch(mode=0o600)
        part.write_text(secrets.token_hex(32), encoding="ascii")
        os.replace(part, path)
    return hmac.digest(bytes.fromhex(path.read_text("ascii")), str(seed).encode(), "sha256")


def parameters_source(of: Assignment, parameters: Mapping[str, Any]) -> str:
    """The parameters cell with papermill's injected cell below it."""
    from nbformat import v4
    from papermill.parameterize import parameterize_notebook

    cell = v4.new_code_cell(of.parameters, metadata={"tags": ["parameters"]})
    kernel = {"name": "python3", "language": "python", "display_name": "Python 3"}
    notebook = v4.new_notebook(cells=[cell], metadata={"kernelspec": kernel, "papermill": {}})
    made = parameterize_notebook(
        notebook, dict(parameters), kernel_name="python3", language="python"
    )
    return "\n\n".join(cell.source for cell in made.cells)


class Grader:
    """Runs the submissions of one assignment, each in a process and a sandbox of its own, and judges them here."""

    def __init__(
        self,
        of: Assignment,
        tests: HiddenTests,
        parameters: str,
        limits: Limits,
        sandbox: bool = True,
    ) -> None:
        self.of, self.tests, self.parameters, self.limits, self.sandbox = (
            of,
            tests,
            parameters,
            limits,
            sandbox,
        )
        self.running: set[subprocess.Popen] = set()
        self.stopped = False

    def run(self, content: Content | Outcome) -> Ran:
        """What becomes of each exercise in the sandbox; may be called by several threads at once."""
        if isinstance(content, Outcome) or not content.cells:
            return {"notes": [], "tasks": {}}
        tasks = [
            {
                "id": t.id,
                "cells": content.cells.get(t.id, ()),
                "function": t.function,
                "checked": _reference(t),
            }
            for t in self.of.tasks
        ]
        job = {
            "parameters": self.parameters,
            "own": content.setup or (),
            "course": self.of.setup,
            "tasks": tasks,
        }
        job |= {
            "limits": asdict(self.limits),
            "sandbox": self.sandbox,
            "exercises": str(self.tests.folder),
        }
        job["parent"] = os.getpid()
        with tempfile.TemporaryDirectory(
            prefix="vaetl-job-", dir=SHORT if self.sandbox else None
        ) as folder:
            Path(folder, "job.json").write_text(json.dumps(job), encoding="utf-8")
            code = self._wait(
                [sys.executable, "-m", "vaetl_helpers.grading.sandbox.runner", folder], Path(folder)
            )
            try:
                ran = json.loads(Path(folder, "outcome.json").read_text("utf-8"))
            except (OSError, ValueError):
                ran = {"notes": [], "tasks": {}}
            last = (
                Path(folder, "log").read_text("utf-8", errors="replace").strip().splitlines()
                or ["no word"]
            )[-1]
            if "failed" in ran:
                raise CourseError(
                    f"The sandbox's kernel does not start ({last}): see `vaetl doctor`, then grade again."
                )
            return ran | ({"broken": last} if code > 0 else {})

    def _wait(self, command: list[str], folder: Path) -> int:
        with open(folder / "log", "wb") as log:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        self.running.add(process)
        if self.stopped:  # between the start of this one and here
            process.kill()
        try:
            process.wait(self.limits.seconds + 60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        finally:
            self.running.discard(process)
        return process.returncode

    def stop(self) -> None:
        """Ends what is running, and what is about to."""
        self.stopped = True
        for process in list(self.running):
            process.kill()

    def judge(
        self, submission: Submission, content: Content | Outcome, ran: Ran, kind: str = "hidden"
    ) -> Result:
        """The result of one submission; whatever was wrong with it is said there."""
        shared = content if isinstance(content, Outcome) else None
        content = Content(None, {}, {}) if isinstance(content, Outcome) else content
        rows = []
        for task in self.of.tasks:
            outcome = _explained(shared or self._outcome(task, content, ran))
            cells = dict(content.cells)
            code = "\n\n".join(cells.pop(task.id, ()))
            others = [*(content.setup or ()), *(cell for parts in cells.values() for cell in parts)]
            row = {
                "id": task.id,
                "points": task.points if outcome.status == "correct" else 0,
                "of": task.points,
            }
            row |= {"status": outcome.status, "message": outcome.message}
            row |= {"seconds": ran["tasks"].get(task.id, {}).get("seconds", 0.0)}
            row |= {
                "code": code,
                "flags": flags(code, task, others),
                "notes": list(content.problems.get(task.id, ())),
            }
            rows.append(row)
        facts = {
            "assignment": self.of.number,
            "student": submission.student,
            "name": submission.name,
            "tests": kind,
        }
        notes = [*submission.notes, *content.problems.get("", ()), *ran["notes"]]
        facts["broken"] = "broken" in ran
        return clean(
            facts | {"notes": notes, "flags": self._setup_flags(content), "exercises": rows}
        )

    def _setup_flags(self, content: Content) -> list[str]:
        """What a submission's own setup cells do and the course's do not: they can reach all that comes after them."""
        course = "\n".join(self.of.setup)
        own = "\n".join(content.setup or ())
        return flags(own, Task("setup", 0, "", "", course, course)) if own else []

    def _outcome(self, task: Task, content: Content, whole: Ran) -> Outcome:
        ran = whole["tasks"].get(task.id)
        if task.id not in content.cells:
            return Outcome("missing", " ".join(content.problems.get(task.id, ())))
        if ran is None and "broken" in whole:
            return Outcome(
                "not run", f"the grader's own process failed, and will try again: {whole['broken']}"
            )
        if ran is None:
            return Outcome("over a limit", "the process that ran the submission had to be ended")
        why = ran["message"]
        if ran["status"] == "driven":
            return self.tests.outcome(task.id, ran["outputs"])
        if ran["status"] == "time":
            return Outcome("over a limit", f"{why} took longer than {self.limits.cell_seconds} s")
        if ran["status"] == "dead" and why in WHY:
            return Outcome("over a limit", WHY[why].format(**asdict(self.limits)))
        return Outcome("not run" if ran["status"] == "not run" else "crashed", why)


def _explained(outcome: Outcome) -> Outcome:
    """The outcome, with what is not in the error's own words: a helper in another cell is the common case."""
    if outcome.status == "crashed" and outcome.message.startswith("NameError"):
        return outcome._replace(message=f"{outcome.message}; {ONLY}")
    return outcome


def clean(value: Any) -> Any:
    """The same with every text fit for a database and a page: a submission's may hold anything."""
    if isinstance(value, dict):
        return {key: clean(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [clean(inner) for inner in value]
    if not isinstance(value, str):
        return value
    text = value.encode("utf-8", "replace").decode()
    return "".join(
        "\N{REPLACEMENT CHARACTER}" if category(c)[0] == "C" and c not in "\n\t" else c
        for c in text
    )


def readable(submission: Submission, of: Assignment) -> Content | Outcome:
    """The content of a submission, or the outcome that all its exercises share."""
    if submission.fault:
        return Outcome("unreadable", submission.fault)
    try:
        return read(submission.data, of)
    except Unreadable as error:
        return Outcome(error.status, str(error))


def _reference(task: Task) -> str:
    """The check cell as the sandbox runs it: later cells get the reference, so that each exercise stands alone."""
    return task.checked.replace(f", {task.function})", ", None)")


@contextmanager
def hidden_tests(of: Assignment, seeds: Mapping[str, Sequence[int]]) -> Iterator[HiddenTests]:
    """The tests in a folder of their own, which is removed at the end."""
    with tempfile.TemporaryDirectory(prefix="vaetl-tests-") as folder:
        yield HiddenTests(of, seeds, Path(folder))


def grade_all(
    grader: Grader, submissions: Sequence[Submission], jobs: int, kind: str = "hidden"
) -> Iterator[Result]:
    """Results as they come, `jobs` submissions at a time; ends all processes where it is left early."""
    contents = [readable(submission, grader.of) for submission in submissions]
    with ThreadPoolExecutor(jobs) as pool:
        futures = {
            pool.submit(grader.run, content): place for place, content in enumerate(contents)
        }
        try:
            for future in as_completed(futures):
                place = futures[future]
                # Not in the threads: a judge sets random states and default types for a while.
                yield grader.judge(submissions[place], contents[place], future.result(), kind)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            grader.stop()


def fingerprint(submission: Submission, of: Assignment, secret: bytes, parameters: str) -> str:
    """Another one means that a submission must be graded again: it, the tests or the course have changed."""
    course = "".join(
        inspect.getsource(inspect.getmodule(exercises.get(task.id).reference)) for task in of.tasks
    )
    texts = (submission.fault, parameters, repr(of), course)
    parts = (submission.data, secret, *(text.encode() for text in texts))
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()
