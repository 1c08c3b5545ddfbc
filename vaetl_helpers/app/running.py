"""Runs chapters by papermill and gathers their notebooks, numbers and pages in one folder."""

from __future__ import annotations

import contextlib
import datetime
import json
import math
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil  # comes with accelerate
import yaml
from tqdm.auto import tqdm

from vaetl_helpers.chapters import (
    Chapter,
    chapters_in,
    choose_or_read,
    collect,
    course_dir,
    share,
)
from vaetl_helpers.errors import CourseError, unknown_name_error
from vaetl_helpers.output import format_table, say, user_path, value_text, write_whole
from vaetl_helpers.requirements import install_command, missing
from vaetl_helpers.settings import versions

# Always a limit: without one, a cell that waits for a widget's answer can hang for ever
# (nbclient#312).
CELL_SECONDS = {"smoke": 900, "cpu": 1800, "gpu": 3600, "auto": 3600, "paper": 7 * 24 * 3600}
EXPECTED = Path(__file__).parents[1] / "expected.yaml"
NEEDED = ("ipykernel", "papermill", "nbconvert", "nbformat", "latex2mathml")
TRACES = ("metrics.json", "notebooks", "index.html")  # by which a folder is known to hold a run
KERNEL_BYTES = 1.5e9  # what a chapter may need, with a margin
CGROUP = Path("/sys/fs/cgroup")
OF_A_RUN = ("profile", "seed", "device", "platform")  # what a chapter's set-up tells of its run


@dataclass
class Run:
    """A run of chapters: what is asked for, and what metrics.json will hold of it."""

    out: Path
    chapters: list[Chapter]
    values: dict[str, dict[str, Any]]  # each chapter's parameters
    facts: dict[str, Any]
    entries: dict[str, dict[str, Any]]
    strict: bool = False
    jobs: int = 1
    records: list[dict[str, Any]] = field(default_factory=list)
    receipts: list[dict[str, Any]] = field(default_factory=list)

    @property
    def profile(self) -> str:
        return self.facts["asked"]["profile"]

    def content(self) -> dict[str, Any]:
        """What metrics.json holds."""
        return {
            "run": self.facts,
            "chapters": self.entries,
            "records": self.records,
            "receipts": self.receipts,
        }

    def save(self) -> None:
        """Gathers what the notebooks say of themselves and writes metrics.json."""
        gather(self)
        text = json.dumps(self.content(), indent=1, allow_nan=False)
        write_whole(self.out / "metrics.json", text + "\n")


def run(  # noqa: PLR0913  (the options of the command)
    chapters: Sequence[str] = (),
    profile: str | None = None,
    parameters: Mapping[str, Any] | None = None,
    out: Path | None = None,
    *,
    resume: bool = False,
    strict: bool = False,
    solutions: bool | None = None,
    course: Path | None = None,
    jobs: int | None = None,
) -> int:
    """Executes chapters (None: all) and writes notebooks, metrics.json and pages into `out`.

    With `resume`, what is not given is taken from the run in `out`, and chapters that passed under
    the same conditions are kept. `jobs` chapters run at a time (None: see `default_jobs`). Returns
    the exit code: 0, 1 (something failed) or 130 (Ctrl-C). Raises CourseError for wrong use, before
    anything is written, and for a folder that cannot be written.
    """
    not_installed = missing("lab", only=NEEDED)
    if not_installed:
        raise CourseError(
            f"Running notebooks needs some packages more: {install_command(not_installed)}"
        )
    if jobs is not None and jobs < 1:
        raise CourseError(f"At least one chapter runs at a time: mend --jobs {jobs}.")
    out = user_path(out) if out else None
    earlier = earlier_run(out, resume)
    asked = {"profile": profile, "parameters": parameters, "solutions": solutions}
    options = options_of(asked, earlier["asked"], strict)
    profile = options["profile"]
    notebooks = (course or course_dir()) / ("solutions" if options["solutions"] else "")
    available = chapters_in(notebooks)
    chosen = choose_or_read(chapters or options["chapters"], available)
    if options["solutions"]:
        refuse_own_files(chosen, available)
    values = share(options["parameters"], chosen)
    names = [name_of_choice(chapter, available) for chapter in chosen]
    options["parameters"] = merged(values)
    options["chapters"] = list(dict.fromkeys([*options["chapters"], *names]))
    entries = initial_entries(chosen, earlier["chapters"])
    facts = initial_facts(options)
    folder = (out or dated_folder(profile)).absolute()
    return go(Run(folder, chosen, values, facts, entries, strict, jobs or default_jobs(profile)))


def options_of(
    asked: Mapping[str, Any], earlier: Mapping[str, Any], strict: bool
) -> dict[str, Any]:
    """What is asked for, and where nothing is, what an earlier run was asked for.

    Raises CourseError for an unknown profile, and for parameters in a `strict` run.
    """
    options: dict[str, Any] = {"profile": "smoke", "parameters": {}, "solutions": False}
    options |= {"chapters": ()} | dict(earlier)
    options |= {name: value for name, value in asked.items() if value is not None}
    if options["profile"] not in CELL_SECONDS:
        raise unknown_name_error("profile", options["profile"], CELL_SECONDS)
    if strict and set(options["parameters"]) - {"seed"}:
        raise CourseError(
            "The bands that --strict checks hold without -p: leave out one or the other."
        )
    return options


def name_of_choice(chapter: Chapter, available: Mapping[str, Chapter]) -> str:
    """What the chapter is called when the run is resumed: its number, or the path of a file."""
    if available[chapter.number] == chapter:
        return chapter.number
    return str(chapter.path)


def refuse_own_files(chosen: Sequence[Chapter], available: Mapping[str, Chapter]) -> None:
    """CourseError for a file that would be run in place of a solution."""
    for chapter in chosen:
        if available[chapter.number] != chapter:
            raise CourseError(
                f"{chapter.path} is run as it is, and --solutions means the course's own: "
                "leave out one or the other."
            )


def dated_folder(profile: str) -> Path:
    return Path("runs") / f"{profile}-{datetime.datetime.now():%Y%m%d-%H%M%S}"


def merged(values: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The parameters of all chapters together."""
    parameters: dict[str, Any] = {}
    for chapter_values in values.values():
        parameters.update(chapter_values)
    return parameters


def earlier_run(out: Path | None, resume: bool) -> dict[str, Any]:
    """What metrics.json in `out` says of the run to resume; an empty run otherwise."""
    if not resume:
        if out and any((out / name).exists() for name in TRACES):
            raise CourseError(
                f"{out} holds a run: continue it with --resume, or choose another folder."
            )
        return {"asked": {}, "chapters": {}}
    try:
        content = json.loads(((out or Path()) / "metrics.json").read_text("utf-8"))
        return {
            "asked": dict(content["run"]["asked"]),
            "chapters": dict(content["chapters"]),
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        where = f"{out} holds no run to resume" if out else "--resume needs to know which run"
        raise CourseError(
            f"{where}: name its folder with --out DIR, or leave out --resume."
        ) from error


def initial_entries(chosen: Sequence[Chapter], earlier: Mapping[str, Any]) -> dict[str, Any]:
    """An entry for each chapter; those of the earlier run stay until they are run again."""
    entries = {chapter.number: {"status": "pending"} for chapter in chosen}
    entries.update(earlier)
    return dict(sorted(entries.items()))


def initial_facts(asked: dict[str, Any]) -> dict[str, Any]:
    """What is known of a run before it has begun."""
    now = datetime.datetime.now().astimezone()
    return {
        "profile": asked["profile"],
        "seed": asked["parameters"].get("seed", 0),
        "device": None,
        "versions": versions(),
        "data": [],
        "parameters": asked["parameters"],
        "seconds": 0.0,
        "started": now.isoformat(timespec="seconds"),
        "asked": asked,
    }


# How many chapters at a time


def default_jobs(profile: str) -> int:
    """Two chapters at a time in `smoke`, where cores and memory allow; one in every other profile.

    In the others the notebooks measure seconds for their texts, and must have the machine alone.
    """
    if profile != "smoke":
        return 1
    by_memory = int(available_bytes() // KERNEL_BYTES)
    return max(1, min(2, available_cores(), by_memory))


def available_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def available_bytes() -> float:
    """The memory that is left on this machine, or in the container that this process runs in."""
    free = float(psutil.virtual_memory().available)
    pairs = [
        (CGROUP / "memory.max", CGROUP / "memory.current"),
        (CGROUP / "memory/memory.limit_in_bytes", CGROUP / "memory/memory.usage_in_bytes"),
    ]
    for limit, used in pairs:
        with contextlib.suppress(OSError, ValueError):  # no such file, or "max"
            free = min(free, int(limit.read_text()) - int(used.read_text()))
    return free


# The run


def go(run: Run) -> int:
    """Runs the chapters and closes the run; Ctrl-C ends that, and leaves what is finished."""
    try:
        (run.out / "notebooks").mkdir(parents=True, exist_ok=True)
        numbers = ", ".join(run.values)
        say(f"Profile {run.profile}, chapters {numbers}, results in {run.out}", flush=True)
        interrupted = False
        try:
            run_chapters(run)
        except KeyboardInterrupt:
            interrupted = True
            say("\ninterrupted: keeping what is finished", flush=True)
        run.save()
        return close(run, interrupted)
    except OSError as error:
        problem = f"{run.out} cannot be written ({error.strerror or error})"
        raise CourseError(
            f"{problem}: free some space and --resume, or choose another with --out."
        ) from error


@contextlib.contextmanager
def variables(values: Mapping[str, str]) -> Iterator[None]:
    """Sets variables of the environment, for the kernels that are started meanwhile."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def environment_of(run: Run) -> dict[str, str]:
    """What the kernels are told: where tables go, and their share of the cores."""
    environment = {"VAETL_TABLES": str(run.out / "tables")}
    if run.jobs > 1 and "OMP_NUM_THREADS" not in os.environ:
        environment["OMP_NUM_THREADS"] = str(max(1, available_cores() // run.jobs))
    return environment


def run_chapters(run: Run) -> None:
    """Runs what is to be run, the longest first where several run at a time."""
    from vaetl_helpers.app.kernels import forking

    waiting = [chapter for chapter in run.chapters if is_to_be_run(run, chapter)]
    if not waiting:
        return
    run.jobs = min(run.jobs, len(waiting))
    if run.jobs > 1:
        waiting.sort(key=expected_minutes, reverse=True)
    with contextlib.ExitStack() as stack:
        stack.enter_context(variables(environment_of(run)))
        if len(waiting) > 1:  # for a single kernel there is nothing to gain
            stack.enter_context(forking())
        run_side_by_side(run, waiting)


def run_side_by_side(run: Run, waiting: list[Chapter]) -> None:
    """Keeps `run.jobs` chapters running until none is left."""
    from vaetl_helpers.app.kernels import end_kernels

    running: dict[Future[str | None], Started] = {}
    with ThreadPoolExecutor(run.jobs) as pool:
        try:
            while waiting or running:
                while waiting and len(running) < run.jobs:
                    job = begin(run, waiting.pop(0), list(running.values()))
                    running[pool.submit(execute_chapter, run, job)] = job
                finished, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in finished:
                    finish(run, running.pop(future), future.result())
        except BaseException:
            end_kernels()  # the threads end with their kernels
            raise


@dataclass
class Started:
    """A chapter that is running: since when, and which line of the terminal its bar has."""

    chapter: Chapter
    begun: float
    line: int

    @property
    def label(self) -> str:
        return f"{self.chapter.number} {self.chapter.title}"


def expected_minutes(chapter: Chapter) -> float:
    """How long a chapter runs by its author's measurement; 0 where there is none."""
    minutes = chapter.minutes.get("cpu", 0)
    return float(minutes) if isinstance(minutes, int | float) else 0.0


def is_to_be_run(run: Run, chapter: Chapter) -> bool:
    """False for a chapter that an extra is missing for, or that an earlier run has left passed."""
    label = f"{chapter.number} {chapter.title}"
    earlier = run.entries[chapter.number]
    conditions = conditions_of(run, chapter)
    unchanged = earlier["status"] == "passed" and conditions.items() <= earlier.items()
    if unchanged and (run.out / notebook_of(chapter)).exists():
        say(f"{label}: passed earlier, kept", flush=True)
        return False
    not_installed = [need for extra in chapter.requires for need in missing(extra)]
    if not_installed:
        extras = ", ".join(chapter.requires)
        reason = f"needs the extra {extras}: {install_command(not_installed)}"
        run.entries[chapter.number] = {
            "status": "skipped",
            "seconds": 0.0,
            "notebook": None,
            "reason": reason,
        }
        say(f"{label}: skipped, {reason}", flush=True)
        return False
    return True


def conditions_of(run: Run, chapter: Chapter) -> dict[str, Any]:
    """Under which conditions a result is a result of this run."""
    return {
        "profile": run.profile,
        "parameters": dict(run.values[chapter.number]),
        "source": chapter.digest,
    }


def notebook_of(chapter: Chapter) -> str:
    return f"notebooks/{chapter.name}.ipynb"


def begin(run: Run, chapter: Chapter, running: Sequence[Started]) -> Started:
    """Notes that a chapter has begun, as interrupted until it has ended in another way."""
    entry = conditions_of(run, chapter)
    entry.update(status="interrupted", seconds=0.0, notebook=notebook_of(chapter))
    run.entries[chapter.number] = entry
    run.save()
    lines_in_use = {other.line for other in running}
    line = min(set(range(run.jobs)) - lines_in_use)
    started = Started(chapter, time.perf_counter(), line)
    if run.jobs == 1 and not sys.stderr.isatty():
        say(f"{started.label}: ", end="", flush=True)
    return started


def execute_chapter(run: Run, started: Started) -> str | None:
    """Executes a chapter's notebook; None, or what went wrong."""
    from vaetl_helpers.app.execution import execute

    chapter = started.chapter
    values = {"profile": run.profile, **run.values[chapter.number]}
    values = {name: value for name, value in values.items() if name in chapter.parameters}
    bar: dict[str, Any] | bool = False
    if sys.stderr.isatty():
        bar = {"desc": started.label, "leave": False, "position": started.line}
    target = run.out / notebook_of(chapter)
    return execute(chapter.path, target, values, CELL_SECONDS[run.profile], bar)


def finish(run: Run, started: Started, error: str | None) -> None:
    """Notes how a chapter has ended, and says so."""
    entry = run.entries[started.chapter.number]
    entry["status"] = "failed" if error else "passed"
    entry["seconds"] = round(time.perf_counter() - started.begun, 1)
    ending = f"{entry['status']}, {entry['seconds']:.0f} s"
    if error:
        entry["error"] = error
        ending = f"{ending}, {error}"
    if run.jobs > 1 or sys.stderr.isatty():
        ending = f"{started.label}: {ending}"
    with tqdm.external_write_mode(sys.stdout):  # above the bars of what is still running
        say(ending, flush=True)
    run.save()


# What the notebooks say of themselves


def gather(run: Run) -> None:
    """Takes records, receipts, data and set-ups from the notebooks that have ended."""
    run.records, run.receipts = [], []
    for number, entry in run.entries.items():
        if entry["status"] not in ("passed", "failed"):
            continue
        outputs = collect(run.out / entry["notebook"])
        for record in outputs["record"]:
            run.records.append({"chapter": number, **finite(record)})
        for receipt in outputs["receipt"]:
            run.receipts.append({"chapter": number, **receipt})
        for set_up in outputs["run"]:
            known = {key: set_up[key] for key in OF_A_RUN if key in set_up}
            run.facts.update(known)
        for data in outputs["data"]:
            if data["source"] not in run.facts["data"]:
                run.facts["data"].append(data["source"])
    seconds = sum(entry.get("seconds", 0.0) for entry in run.entries.values())
    run.facts["seconds"] = round(seconds, 1)


def finite(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record with None for every number that is none: Jupyter sends NaN as text."""
    record = dict(record)
    for key in ("value", "low", "high"):
        number = record.get(key)
        if not isinstance(number, int | float) or not math.isfinite(number):
            record[key] = None
    return record


def outside(content: Mapping[str, Any]) -> list[str]:
    """One sentence for each number that the text quotes and this run does not confirm.

    The bands (expected.yaml) hold for a profile's own values: a chapter run with parameters, the
    seed apart, is not judged.
    """
    bands = yaml.safe_load(EXPECTED.read_text("utf-8")) or {}
    sentences = []
    for number, entry in content["chapters"].items():
        if entry["status"] != "passed" or set(entry["parameters"]) - {"seed"}:
            continue
        profile = entry["profile"]
        if profile == "auto":
            profile = content["run"]["profile"]
        for record_id, by_profile in bands.get(number, {}).items():
            if profile not in by_profile:
                continue
            low, high = by_profile[profile]
            records = [record for record in content["records"] if record.get("id") == record_id]
            values = [record["value"] for record in records]
            if values and all(value is not None and low <= value <= high for value in values):
                continue
            name = records[0]["name"] if records else record_id
            shown = ", ".join(map(str, values)) or "not reported"
            name = records[0]["name"] if records else record_id
            sentences.append(f"{number}: {name} is {shown}, the text says {low} to {high}")
    return sentences


# The end


def close(run: Run, interrupted: bool) -> int:
    """Writes the pages, prints the closing tables and what to do next; returns the exit code."""
    from vaetl_helpers.authoring.index_page import Table
    from vaetl_helpers.authoring.site import write_site

    tables = [Table("Chapters", ("chapter", "status", "seconds", "note"), chapter_rows(run))]
    if run.records:
        tables.append(Table("Results", ("chapter", "name", "value"), result_rows(run)))
    warnings = outside(run.content())
    say()
    say("\n\n".join(format_table(table.header, table.rows) for table in tables))
    say()
    for source in run.facts["data"]:
        say(f"data: {source}")
    for warning in warnings:
        say(f"warning: {warning}")
    failed = any(entry["status"] == "failed" for entry in run.entries.values())
    code = int(failed or (run.strict and bool(warnings)))
    try:
        say(f"pages: {write_site(finished_notebooks(run), run.out, 'Course run', tables)}")
    except CourseError as error:  # the numbers are written: say it, and go on
        code = 1
        say(f"no pages: {error}")
    say(f"next: {next_step(run, interrupted or failed)}")
    return 130 if interrupted else code


def name_of(number: str, entry: Mapping[str, Any]) -> str:
    """A chapter's notebook without its ending; its number where there is none."""
    return Path(entry.get("notebook") or number).stem


def chapter_rows(run: Run) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for number, entry in run.entries.items():
        seconds = f"{entry.get('seconds', 0):.1f}"
        note = entry.get("error") or entry.get("reason") or ""
        rows.append((name_of(number, entry), entry["status"], seconds, note))
    return rows


def result_rows(run: Run) -> list[tuple[str, ...]]:
    return [(record["chapter"], record["name"], value_text(record)) for record in run.records]


def finished_notebooks(run: Run) -> list[Path]:
    names = [name_of(number, entry) for number, entry in run.entries.items()]
    paths = [run.out / "notebooks" / f"{name}.ipynb" for name in names]
    return [path for path in paths if path.exists()]


def next_step(run: Run, incomplete: bool) -> str:
    """The command that a person would want now."""
    if incomplete:
        return f'vaetl run --resume --out "{run.out}"  (keeps the chapters that passed)'
    lab = "vaetl lab  (work through it)"
    if run.facts["profile"] == "smoke":
        return f"vaetl run --profile cpu  (the numbers of the text), {lab}"
    return lab
