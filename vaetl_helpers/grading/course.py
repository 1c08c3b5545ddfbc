"""One call of `vaetl grade` or `vaetl check-submission`, from the files to the pages."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from tqdm import tqdm

from vaetl_helpers.chapters import chapters_in, course_dir, typed
from vaetl_helpers.errors import CourseError, unknown_name_error
from vaetl_helpers.grading import judge as grading
from vaetl_helpers.grading import pages, sandbox
from vaetl_helpers.grading.judge import Grader, Result, hidden_tests
from vaetl_helpers.grading.sandbox import Limits
from vaetl_helpers.grading.submissions import (
    Assignment,
    Submission,
    Unreadable,
    assignment,
    collect,
    parse,
    read,
)
from vaetl_helpers.output import format_table

UNSAFE = "Without a sandbox each submission runs with your rights: it can read and delete your files and use the network."


def grade(
    source: Path,
    number: str,
    out: Path,
    jobs: int = 2,
    parameters: Mapping[str, str] | None = None,
    limits: Limits | None = None,
    safe: bool = True,
) -> int:
    """Grades what lies in `source` into the course folder `out`; returns the exit code: 0, or 130 after Ctrl-C.

    A submission that is graded stays so until it, the tests, the parameters or the course change. Raises CourseError
    where there can be no sandbox, and for wrong use.
    """
    from vaetl_helpers.grading import gradebook

    _refuse_or_warn(safe, source, out)
    of = assignment(number)
    submissions = collect(source, of)
    given = _parameters(of, parameters or {})
    if not _handed_out(of, out):
        gradebook.assign(of, out)
    secret = grading.secret_of(out, given.get("seed"))
    values = {"profile": "smoke"} | given | {"seed": grading.derive(secret, "the notebook's seed")}
    text = grading.parameters_source(of, values)
    prints = {s.student: grading.fingerprint(s, of, secret, text) for s in submissions}
    todo = [
        s
        for s in submissions
        if (_load(_path(out, of, s.student)) or {}).get("digest") != prints[s.student]
    ]
    print(
        f"{len(submissions)} submissions of {of.name}, {len(todo)} to grade, results in {out}",
        flush=True,
    )
    interrupted = False
    with hidden_tests(of, grading.hidden_seeds(of, secret)) as tests:
        grader = Grader(of, tests, text, limits or Limits(), safe)
        try:
            _grade(grader, todo, jobs, out, prints)
        except KeyboardInterrupt:
            interrupted = True
            print(
                "\ninterrupted: what is graded stays graded; the same command goes on", flush=True
            )
    _hand_over(of, out, submissions)
    return 130 if interrupted else 0


def _refuse_or_warn(safe: bool, source: Path, out: Path) -> None:
    if out.resolve().is_relative_to(source.resolve()):
        raise CourseError(
            f"{out} lies in {source}, where submissions are looked for: choose another with --out."
        )
    why = sandbox.problem() if safe else None
    if why:
        raise CourseError(
            f"No sandbox, so nothing was run: {why}. --unsafe-no-sandbox does without, at your own risk."
        )
    if not safe:
        print(f"WARNING: {UNSAFE}", file=sys.stderr, flush=True)


def _handed_out(of: Assignment, out: Path) -> bool:
    """Whether `out` holds this assignment as the course has it now."""
    with suppress(OSError, Unreadable):
        release = read((out / "release" / of.number / f"{of.name}.ipynb").read_bytes(), of)
        same = (
            release.cells == {task.id: (task.stub,) for task in of.tasks} and not release.problems
        )
        return same and release.setup == of.setup and (out / "gradebook.db").exists()
    return False


def _parameters(of: Assignment, given: Mapping[str, str]) -> dict[str, Any]:
    known = chapters_in(course_dir())[of.number].parameters
    for name in given:
        if name not in known:
            raise unknown_name_error("parameter", name, known)
    return {name: typed(name, value, known[name]) for name, value in given.items()}


def _grade(
    grader: Grader, todo: Sequence[Submission], jobs: int, out: Path, prints: Mapping[str, str]
) -> None:
    """Grades and keeps each result at once."""
    watched = sys.stderr.isatty()
    bar = tqdm(total=len(todo), unit="submission", disable=not watched)
    with bar, closing(grading.grade_all(grader, todo, jobs)) as results:
        for done, result in enumerate(results, start=1):
            digest = (
                "" if result["broken"] else prints[result["student"]]
            )  # "": graded anew by the next call
            _save(_path(out, grader.of, result["student"]), result | {"digest": digest})
            bar.update()
            if not watched:
                print(f"{done}/{len(todo)} {result['student']}: {score(result)}", flush=True)


def score(result: Result) -> str:
    """ "7 of 10 points" """
    rows = result["exercises"]
    return f"{sum(row['points'] for row in rows):g} of {sum(row['of'] for row in rows)} points"


def _path(out: Path, of: Assignment, student: str) -> Path:
    return out / "graded" / of.number / f"{student}.json"


def _load(path: Path) -> Result | None:
    """A stored result; None where there is none, or a damaged one, which is made anew."""
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None


def _save(path: Path, result: Result) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        part.write_text(json.dumps(result, indent=1), encoding="utf-8")
        os.replace(part, path)
    except OSError as error:
        why = f"{path} cannot be written ({error.strerror or error})"
        raise CourseError(
            f"{why}: free some space and run the same command again; what is graded is kept."
        ) from error


def _hand_over(of: Assignment, out: Path, submissions: Sequence[Submission]) -> None:
    """Writes everything that is made of the stored results: gradebook, feedback, grades.csv, report.html."""
    from vaetl_helpers.grading import gradebook

    stored = sorted((out / "graded" / of.number).glob("*.json"))
    results = [result for result in map(_load, stored) if result]
    _keep_submitted(of, out, submissions)
    gradebook.record(of, out, results)
    for result in results:
        page = out / "feedback" / result["student"] / of.number / f"{of.name}.html"
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(pages.feedback(result, of), encoding="utf-8")
    everything, assignments = [], {}
    for folder in sorted((out / "graded").iterdir()):
        assignments[folder.name] = assignment(folder.name)
        graded = [result for result in map(_load, sorted(folder.glob("*.json"))) if result]
        public = gradebook.public_only(
            assignments[folder.name], out, {result["student"] for result in graded}
        )
        everything += graded + public
    (out / "grades.csv").write_text(grades(everything), encoding="utf-8", newline="")
    (out / "report.html").write_text(pages.report(everything, assignments), encoding="utf-8")
    rows = [(r["student"], score(r), _rest(r)) for r in results]
    print("\n" + format_table(("student", "points", "not correct"), rows))
    print(
        f"\ngrades: {out / 'grades.csv'}\nreport: {out / 'report.html'}\nfeedback: {out / 'feedback'}"
    )
    print(f"next: vaetl lab --instructor --dir {out}  (Formgrader, with the same points)")


def _rest(result: Result) -> str:
    return ", ".join(
        f"{row['id']}: {row['status']}" for row in result["exercises"] if row["status"] != "correct"
    )


def grades(results: Sequence[Result]) -> str:
    """The table of all points as CSV, always in the same order."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("student", "exercise", "points", "status"))
    for result in sorted(results, key=lambda r: (r["assignment"], r["student"])):
        kind = ", by public checks only" if result["tests"] == "public" else ""
        for row in result["exercises"]:
            writer.writerow(
                (result["student"], row["id"], f"{row['points']:g}", row["status"] + kind)
            )
    return out.getvalue()


def _keep_submitted(of: Assignment, out: Path, submissions: Sequence[Submission]) -> None:
    """Copies the files to where nbgrader looks for them."""
    for submission in submissions:
        path = out / "submitted" / submission.student / of.number / f"{of.name}.ipynb"
        if submission.data and not (path.exists() and path.read_bytes() == submission.data):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(submission.data)


def _chapter(data: bytes, file: Path) -> str:
    """The chapter that a notebook says it is of, or else its name; Unreadable where it is no notebook."""
    with suppress(KeyError, TypeError):
        return str(parse(data)["metadata"]["vaetl"]["chapter"])
    return file.stem.partition("_")[0]


def check_submission(file: Path, number: str | None = None) -> int:
    """What a learner runs before handing in: looks for all graded cells and runs the public checks.

    Returns 0 where all graded cells are there, otherwise 1, whatever the checks say.
    """
    try:
        data = file.read_bytes()
    except OSError as error:
        raise CourseError(
            f"{file} cannot be read ({error.strerror}): give the path of your notebook."
        ) from error
    of = assignment(number or _chapter(data, file))
    content = read(data, of)
    problems = [
        f"{id or 'notebook'}: {sentence}"
        for id, many in content.problems.items()
        for sentence in many
    ]
    heading = "cells to look at:" if problems else "All graded cells are there."
    print("\n".join([heading, *(f"  {line}" for line in problems)]))
    with hidden_tests(of, {task.id: range(grading.TRIALS) for task in of.tasks}) as tests:
        text = grading.parameters_source(of, {"profile": "smoke"})
        grader = Grader(of, tests, text, Limits(), sandbox=False)
        submission = Submission(file.stem, file.name, data)
        print(f"running the setup cells and {len(content.cells)} exercises …", flush=True)
        result = next(iter(grading.grade_all(grader, [submission], 1, "public")))
    rows = [(row["id"], row["status"], row["message"]) for row in result["exercises"]]
    print("\n" + format_table(("exercise", "status", "message"), rows))
    print("\n".join(result["notes"]))
    print(
        f"{score(result)} in the public checks, and only these were run.",
        "A grader draws other inputs, and runs the setup and exercise cells only.",
    )
    return int(any(task.id not in content.cells for task in of.tasks))
