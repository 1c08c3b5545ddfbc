"""Judges submissions: functions are driven in the sandbox, inputs drawn and outputs judged here."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import inspect
import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Collection, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

from vaetl_helpers import exercises
from vaetl_helpers.errors import CourseError
from vaetl_helpers.exercises import Exercise, Outcome
from vaetl_helpers.grading.flags import flags
from vaetl_helpers.grading.kept_runs import KeptRuns
from vaetl_helpers.grading.notebooks import (
    AssignedExercise,
    Assignment,
    Content,
    Unreadable,
    read,
)
from vaetl_helpers.grading.pages import problem_sentences, unknown_cells_sentences
from vaetl_helpers.grading.result import (
    ExerciseResult,
    GradedBy,
    PartResult,
    Result,
    Status,
)
from vaetl_helpers.grading.sandbox.job import (
    LOG,
    Ending,
    ExerciseJob,
    ExerciseRun,
    Job,
    Limits,
    SubmissionRun,
)
from vaetl_helpers.grading.sandbox.kernel import SHORT
from vaetl_helpers.grading.submissions import Submission
from vaetl_helpers.output import write_whole

TRIALS = 5  # inputs for each exercise
MORE_SECONDS = 60  # than a submission may take, for the runner to end by itself
RUNNER = "vaetl_helpers.grading.sandbox.runner"
ONLY = "only the setup cells at the top and the exercise cells are run: define it in one of them"
ALONE = (
    "the notebook is graded alone, without files that lie beside it and without packages that the "
    "course does not ask for: write what the answer needs into its cell"
)
OF_OTHER_FILES = ("ModuleNotFoundError", "FileNotFoundError")
AT_THE_NEXT_CALL = (
    "no fault of the submission is known, and the next call of `vaetl grade` tries again ({})"
)
LOST = "the process that ran the submission had to be ended"
# What a kernel died of, by the words that `watch` and the runner have for it.
CAUSES_OF_DEATH = {
    "time": "took longer than {cell_seconds} s and could not be interrupted",
    "memory": "used more than {memory} MB of memory",
    "processes": "started more than {processes} processes",
    "disk": "wrote more than {disk} MB, or outside its folder",
    "output": "sent more than {output} MB of output",
}
Seeds = Mapping[str, Sequence[int]]  # by exercise


class Ended(NamedTuple):
    """How a process ended; `by_us` says that we ended it."""

    code: int
    by_us: bool = False

    @property
    def by_signal(self) -> bool:
        return self.code < 0


class Plan(NamedTuple):
    """What earlier runs of a submission have given; the exercises to be driven and judged now."""

    earlier: SubmissionRun
    driven: set[str]
    judged: set[str]


class HiddenTests:
    """The hidden tests of an assignment: inputs drawn from a secret.

    They are kept here to judge by, and written out for the sandbox.
    """

    def __init__(self, assignment: Assignment, seeds: Seeds, folder: Path) -> None:
        self.folder = folder
        self.exercises: dict[str, Exercise] = {}
        self.inputs: dict[str, list[bytes]] = {}
        self.references: dict[str, str] = {}
        for assigned in assignment.exercises:
            exercise = exercises.get(assigned.id)
            self.exercises[assigned.id] = exercise
            self.inputs[assigned.id] = [
                exercises.pack(exercise.draw(seed)) for seed in seeds[assigned.id]
            ]
        for id, inputs in self.inputs.items():
            (folder / id).mkdir(parents=True)
            for number, data in enumerate(inputs):
                (folder / id / f"{number:03d}.inputs").write_bytes(data)
        (folder / "shared.pickle").write_bytes(shared(self.exercises.values()))
        for id, exercise in self.exercises.items():
            pickled = _by_value(exercise.reference)
            self.references[id] = base64.b64encode(pickled).decode()
        folder.chmod(0o755)

    def outcome(self, id: str, outputs: Sequence[str]) -> Outcome:
        """The first outcome that is not correct; the outputs, of the sandbox, may be anything."""
        if list(outputs) == ["not attempted"]:
            return Outcome(Status.NOT_ATTEMPTED)
        if list(outputs) == ["not callable"]:
            return Outcome(Status.INCORRECT, "the name holds no function any more")
        expected = len(self.inputs[id])
        if len(outputs) != expected:
            return Outcome(Status.CRASHED, f"{len(outputs)} of {expected} results came back")
        for inputs, text in zip(self.inputs[id], outputs, strict=True):
            try:
                values = exercises.unpack(base64.b64decode(text))
            except (CourseError, ValueError) as error:
                return Outcome(Status.CRASHED, str(error))
            try:
                outcome = exercises.verdict(self.exercises[id], exercises.unpack(inputs), values)
            except Exception as error:  # nobody else's grading is to end by it
                return Outcome(Status.CRASHED, f"what came back cannot be judged: {error!r:.200}")
            if outcome.status != Status.CORRECT:
                return outcome
        return Outcome(Status.CORRECT)

    def parts(self, id: str, outcome: Outcome, outputs: Sequence[str]) -> list[PartResult]:
        """How the points of an exercise are made up; empty where it has no parts, or did not run.

        A part is earned where it and all before it are right on every input.
        """
        exercise = self.exercises[id]
        count = 0
        if outcome.status == Status.CORRECT:
            count = len(exercise.parts)
        elif outcome.status == Status.INCORRECT:
            count = self._parts_right(id, outputs) if exercise.parts else 0
        else:
            return []
        parts = []
        for number, part in enumerate(exercise.parts):
            points = part.points if number < count else 0
            parts.append(PartResult(part.name, points, part.points))
        return parts

    def _parts_right(self, id: str, outputs: Sequence[str]) -> int:
        """The smallest number of parts that are right over the inputs; 0 on anything strange."""
        if len(outputs) != len(self.inputs[id]):
            return 0
        counts = []
        for inputs, text in zip(self.inputs[id], outputs, strict=True):
            try:
                values = exercises.unpack(base64.b64decode(text))
                inputs_values = exercises.unpack(inputs)
                counts.append(exercises.parts_right(self.exercises[id], inputs_values, values))
            except Exception:  # the outputs may be anything
                return 0
        return min(counts, default=0)


@contextmanager
def hidden_tests(assignment: Assignment, seeds: Seeds) -> Iterator[HiddenTests]:
    """The tests in a folder of their own, which is removed at the end.

    CourseError where there is no room for them.
    """
    with contextlib.ExitStack() as stack:
        try:
            temporary = tempfile.TemporaryDirectory(prefix="vaetl-tests-")
            folder = Path(stack.enter_context(temporary))
            tests = HiddenTests(assignment, seeds, folder)
        except OSError as error:
            raise CourseError(
                f"The hidden tests cannot be written ({error}): free some space in the folder "
                "for temporary files, or name another one in TMPDIR. What is graded is kept."
            ) from error
        yield tests


def shared(driven: Iterable[Exercise]) -> bytes:
    """What the sandbox needs to drive functions, by value: the modules judge too, and stay here."""
    drivers = {}
    for exercise in driven:
        drivers[exercise.id] = SimpleNamespace(drive=exercise.drive)
    content = {
        "isolated": exercises.isolated,
        # Its decorator cannot be pickled: `inside` applies it anew.
        "attempt": inspect.unwrap(exercises.attempt),
        "exercises": drivers,
    }
    return _by_value(content)


def _by_value(content: object) -> bytes:
    """The content pickled with the code of the exercises' functions in it."""
    import cloudpickle

    with _pickled_by_value():
        return cloudpickle.dumps(content)


@contextmanager
def _pickled_by_value() -> Iterator[None]:
    """Functions of the exercises' modules are pickled with their code, and not by name."""
    import cloudpickle

    names = [name for name in sys.modules if name.startswith(exercises.__name__)]
    modules = [sys.modules[name] for name in names]
    for module in modules:
        cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        for module in modules:
            cloudpickle.unregister_pickle_by_value(module)


def hidden_seeds(assignment: Assignment, secret: bytes) -> dict[str, list[int]]:
    """Seeds for each exercise that tell nothing of the secret, nor of those of another one."""
    seeds = {}
    for exercise in assignment.exercises:
        purposes = [f"{exercise.id} {trial}" for trial in range(TRIALS)]
        seeds[exercise.id] = [derive(secret, purpose) for purpose in purposes]
    return seeds


def derive(secret: bytes, purpose: str) -> int:
    """A seed below 2³¹ for one purpose."""
    digest = hmac.digest(secret, purpose.encode(), "sha256")
    return int.from_bytes(digest[:4], "big") % 2**31


def secret_of(out: Path, seed: object) -> bytes:
    """The secret of the hidden tests: a key, made once and kept in `out`, with a person's seed."""
    path = out / "secret.key"
    if not path.exists():
        out.mkdir(parents=True, exist_ok=True)
        write_whole(path, secrets.token_hex(32), mode=0o600)
    key = bytes.fromhex(path.read_text("ascii"))
    return hmac.digest(key, str(seed).encode(), "sha256")


def parameters_source(assignment: Assignment, parameters: Mapping[str, Any]) -> str:
    """The parameters cell with papermill's injected cell below it."""
    from nbformat import v4
    from papermill.parameterize import parameterize_notebook

    cell = v4.new_code_cell(assignment.parameters, metadata={"tags": ["parameters"]})
    kernel = {"name": "python3", "language": "python", "display_name": "Python 3"}
    notebook = v4.new_notebook(cells=[cell], metadata={"kernelspec": kernel, "papermill": {}})
    parameterized = parameterize_notebook(
        notebook, dict(parameters), kernel_name="python3", language="python"
    )
    return "\n\n".join(cell.source for cell in parameterized.cells)


class Grader:
    """Runs the submissions of an assignment, each in a process and a sandbox; judges them here.

    What came back from runs that are `kept` is judged without another run. With `only` the other
    exercises of students who are `graded`, and whose run is kept, are neither driven nor judged.
    """

    def __init__(
        self,
        assignment: Assignment,
        tests: HiddenTests,
        parameters: str,
        limits: Limits,
        sandboxed: bool = True,
        kept: KeptRuns | None = None,
        only: str | None = None,
    ) -> None:
        self.assignment = assignment
        self.kept = kept
        self.only = only
        self.graded: set[str] = set()
        self.tests = tests
        self.parameters = parameters
        self.limits = limits
        self.sandboxed = sandboxed
        self.running: set[subprocess.Popen[bytes]] = set()
        self.stopped = False

    @property
    def ids(self) -> set[str]:
        return {exercise.id for exercise in self.assignment.exercises}

    def plan(self, submission: Submission) -> Plan:
        """What is to be driven of a submission, and what is kept of earlier runs."""
        kept = self.kept.of(submission) if self.kept else None
        if self.kept is None or kept is None:
            return Plan(SubmissionRun(), self.ids, self.ids)
        judged = self.ids
        if self.only is not None and submission.student in self.graded:
            judged = {self.only}
        return Plan(kept.run, self.kept.stale(kept) & judged, judged)

    def keep(self, submission: Submission, plan: Plan, run: SubmissionRun) -> SubmissionRun:
        """The kept run with what was driven now, which is written down where nothing has failed."""
        whole = plan.earlier.with_exercises_of(run, plan.driven)
        if self.kept and whole.broken is None:
            self.kept.keep(submission, whole, plan.driven)
        return whole

    def run(
        self, content: Content | Outcome, driven: Collection[str] | None = None
    ) -> SubmissionRun:
        """What becomes of each exercise in the sandbox; several threads may call it at once.

        Of all exercises, or of those that are to be `driven`.
        """
        if isinstance(content, Outcome) or not content.cells:
            return SubmissionRun()
        parent = SHORT if self.sandboxed else None
        try:
            with tempfile.TemporaryDirectory(prefix="vaetl-job-", dir=parent) as name:
                return self._run(content, Path(name), self.ids if driven is None else driven)
        except OSError as error:  # no room in the temporary folder, no process
            return SubmissionRun(broken=f"{error.strerror or error} ({error.filename or 'system'})")

    def _run(self, content: Content, folder: Path, driven: Collection[str]) -> SubmissionRun:
        self._job(content, driven).write(folder)
        # -P: a file of a student's in the current folder, such as random.py, is not imported.
        ended = self.run_process([sys.executable, "-P", "-m", RUNNER, str(folder)], folder)
        run = SubmissionRun.read(folder)
        last_word = _last_line(folder / LOG)
        if run.broken:
            run.broken += f"; the last word of its log: {last_word}" if last_word else ""
        elif ended.by_signal and not ended.by_us:
            run.broken = f"it was ended from outside, by signal {-ended.code}"
        elif ended.code > 0:
            run.broken = last_word or f"it ended with code {ended.code}"
        return run

    def try_out(self) -> None:
        """Runs the course's own cells; CourseError where not even they run within the limits.

        Then nobody's submission would, and nobody is to get points for it.
        """
        stub = self.assignment.exercises[0]
        run = self.run(Content(setup=self.assignment.setup, cells={stub.id: (stub.stub,)}))
        exercise = run.exercises.get(stub.id)
        if run.broken is None and exercise and exercise.ending == Ending.DRIVEN:
            return
        reason = run.broken or (exercise and self._outcome_of_run(stub.id, exercise).message)
        notes = " ".join(run.notes)
        limits = self.limits
        raise CourseError(
            f"Nothing was graded: not even the notebook as it is handed out runs here with "
            f"{limits.memory} MB, {limits.processes} processes and threads, {limits.disk} MB to "
            f"write and {limits.cell_seconds} s for a cell ({reason or 'nothing came back'}"
            f"{'; ' if notes else ''}{notes}): raise --memory, --processes, --disk or --seconds, "
            "or free some of this machine; `vaetl doctor` looks at it."
        )

    def _job(self, content: Content, driven: Collection[str]) -> Job:
        jobs = []
        for exercise in self.assignment.exercises:
            cells = list(content.cells.get(exercise.id, ()))
            check_cell = with_reference(exercise)
            reference = self.tests.references[exercise.id]
            jobs.append(
                ExerciseJob(
                    exercise.id,
                    cells,
                    exercise.function,
                    check_cell,
                    reference,
                    is_driven=exercise.id in driven,
                )
            )
        return Job(
            parameters=self.parameters,
            own_setup=list(content.setup or ()),
            course_setup=list(self.assignment.setup),
            exercises=jobs,
            limits=self.limits,
            sandboxed=self.sandboxed,
            drawn_inputs=self.tests.folder,
            parent=os.getpid(),
        )

    def run_process(self, command: list[str], folder: Path) -> Ended:
        """How the command ended, which writes a log into the folder."""
        with open(folder / LOG, "wb") as log:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        self.running.add(process)
        if self.stopped:  # between the start of this one and here
            process.kill()
        try:
            return Ended(process.wait(self._most_seconds()), by_us=self.stopped)
        except subprocess.TimeoutExpired:
            process.kill()
            return Ended(process.wait(), by_us=True)
        finally:
            self.running.discard(process)

    def _most_seconds(self) -> float:
        """What a runner may take: the submission's seconds, and those of kernels that start."""
        return self.limits.seconds + self.limits.start_seconds + MORE_SECONDS

    def stop(self) -> None:
        """Ends what is running, and what is about to."""
        self.stopped = True
        for process in list(self.running):
            process.kill()

    def judge(
        self,
        submission: Submission,
        content: Content | Outcome,
        run: SubmissionRun,
        tests: GradedBy = GradedBy.HIDDEN_TESTS,
        judged: Collection[str] | None = None,
    ) -> Result:
        """The result of one submission; whatever was wrong with it is said there.

        It has all exercises, or those that are to be `judged`.
        """
        outcome_of_all = None
        if isinstance(content, Outcome):
            outcome_of_all = content
            content = Content()
        results = []
        for exercise in self.assignment.exercises:
            if judged is not None and exercise.id not in judged:
                continue
            outcome = outcome_of_all or self._outcome(exercise, content, run)
            cells = self._other_cells(exercise, content)
            of_exercise = run.exercises.get(exercise.id)
            outputs = of_exercise.outputs if of_exercise else ()
            parts = self.tests.parts(exercise.id, outcome, outputs)
            results.append(
                _exercise_result(exercise, _explained(outcome), parts, content, run, cells)
            )
        number = self.assignment.number
        unknown_cells = unknown_cells_sentences(content.unknown_cells, number)
        result = Result(
            assignment=number,
            student=submission.student,
            name=submission.name,
            tests=tests,
            exercises=results,
            broken=run.broken is not None,
            notes=[*submission.notes, *content.notes, *unknown_cells, *run.notes],
            flags=self._setup_flags(content),
        )
        return result.cleaned()

    def _other_cells(self, exercise: AssignedExercise, content: Content) -> list[str]:
        """The cells beside an exercise's; the course's setup may have run in place of another."""
        cells = [*self.assignment.setup, *(content.setup or ())]
        for id, sources in content.cells.items():
            if id != exercise.id:
                cells += sources
        return cells

    def _setup_flags(self, content: Content) -> list[str]:
        """What a submission's own setup cells do and the course's do not.

        They can reach all that comes after them.
        """
        if not content.setup:
            return []
        course = "\n".join(self.assignment.setup)
        return flags("\n".join(content.setup), solution=course, stub=course)

    def _outcome(
        self, exercise: AssignedExercise, content: Content, submission_run: SubmissionRun
    ) -> Outcome:
        if exercise.id not in content.cells:
            sentences = problem_sentences(content.problems_of(exercise))
            return Outcome(Status.MISSING, " ".join(sentences))
        run = submission_run.exercises.get(exercise.id)
        if run is not None:
            return self._outcome_of_run(exercise.id, run)
        if submission_run.broken is not None:
            return Outcome(Status.NOT_RUN, AT_THE_NEXT_CALL.format(submission_run.broken))
        return Outcome(Status.OVER_A_LIMIT, LOST)

    def _outcome_of_run(self, id: str, run: ExerciseRun) -> Outcome:
        if run.ending == Ending.DRIVEN:
            return self.tests.outcome(id, run.outputs)
        if run.ending == Ending.TIME:
            sentence = f"{run.message} took longer than {self.limits.cell_seconds} s"
            return Outcome(Status.OVER_A_LIMIT, sentence)
        if run.ending == Ending.DEAD and run.message in CAUSES_OF_DEATH:
            sentence = CAUSES_OF_DEATH[run.message].format(**asdict(self.limits))
            return Outcome(Status.OVER_A_LIMIT, sentence)
        if run.ending == Ending.NOT_RUN:
            return Outcome(Status.NOT_RUN, run.message)
        return Outcome(Status.CRASHED, run.message)


def _exercise_result(
    exercise: AssignedExercise,
    outcome: Outcome,
    parts: list[PartResult],
    content: Content,
    run: SubmissionRun,
    other_cells: Sequence[str],
) -> ExerciseResult:
    cells = content.cells.get(exercise.id, ())
    code = "\n\n".join(cells)
    status = Status(outcome.status)
    points: float = exercise.points if status == Status.CORRECT else 0
    if status == Status.INCORRECT:
        points = sum(part.points for part in parts)
        status = Status.PARTLY_CORRECT if points else status
    return ExerciseResult(
        id=exercise.id,
        points=points,
        worth=exercise.points,
        status=status,
        message=outcome.message,
        seconds=run.exercises[exercise.id].seconds if exercise.id in run.exercises else 0.0,
        code=code,
        flags=flags(code, exercise.solution, exercise.stub, other_cells),
        notes=problem_sentences(content.problems_of(exercise)),
        parts=parts,
    )


def _explained(outcome: Outcome) -> Outcome:
    """The outcome with what is not in the error's own words.

    A helper in another cell, or in a file beside the notebook, is the common case.
    """
    if outcome.status != Status.CRASHED:
        return outcome
    if outcome.message.startswith("NameError"):
        return outcome._replace(message=f"{outcome.message}; {ONLY}")
    if outcome.message.startswith(OF_OTHER_FILES):
        return outcome._replace(message=f"{outcome.message}; {ALONE}")
    return outcome


def _last_line(path: Path) -> str:
    with contextlib.suppress(OSError):
        lines = path.read_text("utf-8", errors="replace").strip().splitlines()
        if lines:
            return lines[-1]
    return ""


def readable(submission: Submission, assignment: Assignment) -> Content | Outcome:
    """The content of a submission, or the outcome that all its exercises share."""
    if submission.fault:
        return Outcome(Status.UNREADABLE, submission.fault)
    try:
        return read(submission.data, assignment)
    except Unreadable as error:
        return Outcome(error.status, str(error))


def with_reference(exercise: AssignedExercise) -> str:
    """The check cell as the sandbox runs it.

    Later cells get the reference, so that each exercise stands alone: by the name of what was
    checked, and by the function's own, which some answers call instead.
    """
    checked = exercise.check_cell.replace(f", {exercise.function})", ", None)")
    return f"{checked}\n{exercise.function} = check({exercise.id!r}, None)"


def grade_all(
    grader: Grader,
    submissions: Sequence[Submission],
    jobs: int,
    tests: GradedBy = GradedBy.HIDDEN_TESTS,
) -> Generator[Result, None, None]:
    """Results as they come, `jobs` submissions at a time.

    What the machine has failed is tried again at the end, alone. It ends all processes where it is
    left early.
    """
    broken = []
    with ThreadPoolExecutor(jobs) as pool:
        futures = {}
        kept = []
        for submission in submissions:
            content = readable(submission, grader.assignment)
            plan = grader.plan(submission)
            if plan.driven:
                future = pool.submit(grader.run, content, plan.driven)
                futures[future] = (submission, content, plan)
            else:
                kept.append((submission, content, plan))
        try:
            for submission, content, plan in kept:
                yield grader.judge(submission, content, plan.earlier, tests, plan.judged)
            for future in as_completed(futures):
                submission, content, plan = futures[future]
                run = future.result()
                if run.broken is not None:
                    broken.append((submission, content, plan))
                    continue
                # Not in the threads: a judge sets random states and default types for a while.
                whole = grader.keep(submission, plan, run)
                yield grader.judge(submission, content, whole, tests, plan.judged)
            if broken and len(broken) == len(submissions):
                pool.submit(grader.try_out).result()
            for submission, content, plan in broken:
                run = pool.submit(grader.run, content, plan.driven).result()
                whole = grader.keep(submission, plan, run)
                yield grader.judge(submission, content, whole, tests, plan.judged)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            grader.stop()


def _sources_of(assignment: Assignment) -> str:
    """The code that draws, drives and judges: of the assignment's exercises and what they share."""
    own = {exercise.id.partition(".")[0] for exercise in assignment.exercises}
    others = set(exercises.CHAPTERS) - own
    paths = sorted(Path(exercises.__file__).parent.glob("*.py"))
    return "".join(path.read_text("utf-8") for path in paths if path.stem not in others)


def fingerprint(
    submission: Submission, assignment: Assignment, secret: bytes, settings: str
) -> str:
    """Another one means that a submission must be graded again.

    It, the tests, the settings of the call or the course have changed.
    """
    texts = (submission.fault, settings, repr(assignment), _sources_of(assignment))
    ingredients = [submission.data, secret, *(text.encode() for text in texts)]
    digests = [hashlib.sha256(ingredient).digest() for ingredient in ingredients]
    return hashlib.sha256(b"".join(digests)).hexdigest()
