"""What the sandbox has sent back, kept on disk: a mended check judges it again without a new run.

A run holds for a submission, the settings of the call and, by exercise, for the inputs and the code
that drives its function. Where these are what they were, what came back is judged anew; where they
are not, only the exercises whose tests have changed are driven again.
"""

from __future__ import annotations

import ast
import gzip
import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vaetl_helpers import exercises
from vaetl_helpers.errors import CourseError
from vaetl_helpers.grading.notebooks import Assignment
from vaetl_helpers.grading.sandbox.job import SubmissionRun
from vaetl_helpers.grading.submissions import Submission
from vaetl_helpers.output import write_whole
from vaetl_helpers.syntax import parsed

MOST_KEPT = 2 * 10**6  # bytes, of some hundred thousand at most; what is larger is run again
# What belongs to a judge alone, or is found again in the inputs: by the block's method.
NOT_DRIVING = {"compare", "part", "wrong", "judge", "properties", "draw"}


@dataclass(frozen=True)
class KeptRun:
    """A run with the digests of what it holds for: of the submission, and of each one's tests."""

    submission: str
    tests: dict[str, str]
    run: SubmissionRun


class KeptRuns:
    """The runs of an assignment's submissions in a folder, a file each.

    `settings` are what else a run depends on; `tests` the digests of the hidden tests of now.
    """

    def __init__(
        self, folder: Path, assignment: Assignment, tests: Mapping[str, str], settings: str
    ) -> None:
        self.folder = folder
        self.tests = dict(tests)
        self.facts = f"{settings}\n{assignment!r}"

    def of(self, submission: Submission) -> KeptRun | None:
        """The run of this very submission under these settings; None where there is none."""
        try:
            with gzip.open(self._path(submission)) as file:
                content = json.loads(file.read(MOST_KEPT + 1))
            kept = KeptRun(
                content["submission"], content["tests"], SubmissionRun.from_dict(content["run"])
            )
        except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None  # it is run again
        return kept if kept.submission == self._digest(submission) else None

    def stale(self, kept: KeptRun) -> set[str]:
        """The exercises whose inputs or driving code are others than in that run."""
        return {id for id, digest in self.tests.items() if kept.tests.get(id) != digest}

    def keep(self, submission: Submission, run: SubmissionRun, driven: Collection[str]) -> None:
        """Writes the run down, in which these exercises were driven by the tests of now."""
        earlier = self.of(submission)
        tests = dict(earlier.tests) if earlier else {}
        for id in driven:
            tests[id] = self.tests[id]
        content = {"submission": self._digest(submission), "tests": tests, "run": asdict(run)}
        data = json.dumps(content).encode()
        path = self._path(submission)
        try:
            if len(data) > MOST_KEPT:
                path.unlink(missing_ok=True)
                return
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, gzip.compress(data, mtime=0))
        except OSError as error:
            raise CourseError(
                f"{path} cannot be written ({error.strerror or error}): free some space "
                "and run the same command again; what is graded is kept."
            ) from error

    def _path(self, submission: Submission) -> Path:
        return self.folder / f"{submission.student}.json.gz"

    def _digest(self, submission: Submission) -> str:
        return digest(submission.data, submission.fault, self.facts)


def tests_digests(inputs: Mapping[str, list[bytes]]) -> dict[str, str]:
    """For each exercise the digest of its packed inputs and of all code that drives it."""
    return {id: digest(*packed, driving_source(id)) for id, packed in inputs.items()}


def driving_source(id: str) -> str:
    """The code that calls a learner's function, and what it shares with other exercises.

    Of the chapter's module that is all but what only judges.
    """
    folder = Path(exercises.__file__).parent
    chapter = id.partition(".")[0]
    shared = sorted(path for path in folder.glob("*.py") if path.stem not in exercises.CHAPTERS)
    sources = [path.read_text("utf-8") for path in shared]
    tree = parsed((folder / f"{chapter}.py").read_text("utf-8"))
    tree.body = [statement for statement in tree.body if not _only_judges(statement)]
    return "\n".join([*sources, ast.unparse(tree)])


def _only_judges(statement: ast.stmt) -> bool:
    """Whether nothing can use a statement at a module's top but a judge.

    These are calls such as `kl.compare(...)`, and functions of the name `_` that `@kl.judge` and
    the like decorate.
    """
    if isinstance(statement, ast.Expr):
        return _is_of_a_judge(statement.value)
    if not isinstance(statement, ast.FunctionDef) or statement.name != "_":
        return False
    decorators = statement.decorator_list
    return bool(decorators) and all(_is_of_a_judge(decorator) for decorator in decorators)


def _is_of_a_judge(expression: ast.expr) -> bool:
    method: Any = expression.func if isinstance(expression, ast.Call) else expression
    return isinstance(method, ast.Attribute) and method.attr in NOT_DRIVING


def digest(*contents: str | bytes) -> str:
    """A SHA-256 of texts and bytes, each by itself."""
    whole = hashlib.sha256()
    for content in contents:
        data = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
        whole.update(hashlib.sha256(data).digest())
    return whole.hexdigest()
