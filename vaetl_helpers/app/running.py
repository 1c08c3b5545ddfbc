"""Runs chapters by papermill and gathers their notebooks, numbers and pages in one folder."""

from __future__ import annotations

import datetime
import json
import math
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from vaetl_helpers.chapters import Chapter, chapters_in, choose, collect, course_dir, execute, share
from vaetl_helpers.errors import CourseError, unknown_name_error
from vaetl_helpers.output import format_table
from vaetl_helpers.requirements import install_command, missing
from vaetl_helpers.settings import versions

# Always a limit: without one, a cell that waits for a widget's answer can hang for ever (nbclient#312).
CELL_SECONDS = {"smoke": 900, "cpu": 1800, "gpu": 3600, "auto": 3600, "paper": 7 * 24 * 3600}
EXPECTED = Path(__file__).parents[1] / "expected.yaml"


def run(
    chapters: Sequence[str] = (),
    profile: str | None = None,
    parameters: Mapping[str, Any] | None = None,
    out: Path | None = None,
    *,
    resume: bool = False,
    strict: bool = False,
    solutions: bool | None = None,
    course: Path | None = None,
) -> int:
    """Executes chapters (all, unless named) and writes notebooks, metrics.json and pages into `out`.

    With `resume`, what is not given is taken from the run in `out`, and chapters that passed under the same
    conditions are kept. Returns the exit code: 0, 1 (something failed) or 130 (Ctrl-C). Raises CourseError
    for wrong use, before anything is written, and for a folder that cannot be written.
    """
    lacking = missing(
        "lab", only=("ipykernel", "papermill", "nbconvert", "nbformat", "latex2mathml")
    )
    if lacking:
        raise CourseError(f"Running notebooks needs some packages more: {install_command(lacking)}")
    earlier = _earlier(out, resume)
    asked = earlier["run"]["asked"]
    profile = profile or asked.get("profile", "smoke")
    given = dict(asked.get("parameters", {}) if parameters is None else parameters)
    solutions = asked.get("solutions", False) if solutions is None else solutions
    if profile not in CELL_SECONDS:
        raise unknown_name_error("profile", profile, CELL_SECONDS)
    if strict and set(given) - {"seed"}:
        raise CourseError(
            "The bands that --strict checks hold without -p: leave out one or the other."
        )
    known = chapters_in((course or course_dir()) / ("solutions" if solutions else ""))
    chosen = choose(chapters or asked.get("chapters", ()), known)
    parts = share(given, chosen)
    given = {name: value for part in parts.values() for name, value in part.items()}
    out = (out or Path("runs") / f"{profile}-{datetime.datetime.now():%Y%m%d-%H%M%S}").absolute()
    content = _content(
        chosen, {"profile": profile, "parameters": given, "solutions": solutions}, earlier
    )
    try:
        return _go(out, content, chosen, parts, strict)
    except OSError as error:
        why = f"{out} cannot be written ({error.strerror or error})"
        raise CourseError(
            f"{why}: free some space and --resume, or choose another with --out."
        ) from error


def _earlier(out: Path | None, resume: bool) -> dict[str, Any]:
    """What metrics.json in `out` says of the run to resume; an empty run otherwise."""
    if not resume:
        if out and any(
            (out / name).exists() for name in ("metrics.json", "notebooks", "index.html")
        ):
            raise CourseError(
                f"{out} holds a run: continue it with --resume, or choose another folder."
            )
        return {"run": {"asked": {}}, "chapters": {}}
    try:
        content = json.loads(((out or Path()) / "metrics.json").read_text("utf-8"))
        return {
            "run": {"asked": dict(content["run"]["asked"])},
            "chapters": dict(content["chapters"]),
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        where = f"{out} holds no run to resume" if out else "--resume needs to know which run"
        raise CourseError(
            f"{where}: name its folder with --out DIR, or leave out --resume."
        ) from error


def _content(
    chosen: Sequence[Chapter], asked: dict[str, Any], earlier: Mapping[str, Any]
) -> dict[str, Any]:
    """What metrics.json will hold; chapters of the earlier run stay until they are run again."""
    chapters = {c.number: {"status": "pending"} for c in chosen} | dict(earlier["chapters"])
    chapters = {number: chapters[number] for number in sorted(chapters)}
    facts = {
        "profile": asked["profile"],
        "seed": asked["parameters"].get("seed", 0),
        "device": None,
    }
    facts |= {"versions": versions(), "data": [], "parameters": asked["parameters"], "seconds": 0.0}
    facts["started"] = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
    facts["asked"] = asked | {"chapters": list(chapters)}
    return {"run": facts, "chapters": chapters, "records": [], "receipts": []}


def _go(
    out: Path,
    content: dict[str, Any],
    chosen: Sequence[Chapter],
    parts: Mapping[str, Any],
    strict: bool,
) -> int:
    """Runs the chapters in turn; Ctrl-C ends that, and leaves what is finished."""
    (out / "notebooks").mkdir(parents=True, exist_ok=True)
    print(
        f"Profile {content['run']['profile']}, chapters {', '.join(parts)}, results in {out}",
        flush=True,
    )
    interrupted = False
    os.environ["VAETL_TABLES"] = str(out / "tables")
    try:
        for chapter in chosen:
            _chapter(out, content, chapter, parts[chapter.number])
    except KeyboardInterrupt:
        interrupted = True
        print("\ninterrupted: keeping what is finished", flush=True)
    finally:
        del os.environ["VAETL_TABLES"]
    _save(out, content)
    return _close(out, content, strict, interrupted)


def _chapter(
    out: Path, content: dict[str, Any], chapter: Chapter, values: Mapping[str, Any]
) -> None:
    """Runs one chapter, or skips it for want of an extra, or keeps what an earlier run made of it."""
    label, notebook = f"{chapter.number} {chapter.title}", f"notebooks/{chapter.name}.ipynb"
    profile, before = content["run"]["asked"]["profile"], content["chapters"][chapter.number]
    entry = {"profile": profile, "parameters": dict(values), "source": chapter.digest}
    if (
        before["status"] == "passed"
        and entry.items() <= before.items()
        and (out / notebook).exists()
    ):
        print(f"{label}: passed earlier, kept", flush=True)
        return
    lacking = [need for extra in chapter.requires for need in missing(extra)]
    if lacking:
        reason = f"needs the extra {', '.join(chapter.requires)}: {install_command(lacking)}"
        content["chapters"][chapter.number] = {
            "status": "skipped",
            "seconds": 0.0,
            "notebook": None,
            "reason": reason,
        }
        print(f"{label}: skipped, {reason}", flush=True)
        return
    entry |= {
        "status": "interrupted",
        "seconds": 0.0,
        "notebook": notebook,
    }  # until it has ended in another way
    content["chapters"][chapter.number] = entry
    _save(out, content)
    start, watched = time.perf_counter(), sys.stderr.isatty()
    print("" if watched else f"{label}: ", end="", flush=True)
    values = {n: v for n, v in {"profile": profile, **values}.items() if n in chapter.parameters}
    bar = {"desc": label, "leave": False} if watched else False
    error = execute(chapter.path, out / notebook, values, CELL_SECONDS[profile], bar)
    entry |= {
        "status": "failed" if error else "passed",
        "seconds": round(time.perf_counter() - start, 1),
    }
    entry |= {"error": error} if error else {}
    ending = f"{entry['status']}, {entry['seconds']:.0f} s" + (f", {error}" if error else "")
    print(f"{label}: {ending}" if watched else ending, flush=True)
    _save(out, content)


def _save(out: Path, content: dict[str, Any]) -> None:
    """Gathers what the notebooks say of themselves and writes metrics.json, whole or not at all."""
    facts, records, receipts = content["run"], [], []
    for number, entry in content["chapters"].items():
        outputs = (
            collect(out / entry["notebook"]) if entry["status"] in ("passed", "failed") else {}
        )
        for record in outputs.get("record", ()):
            numbers = {key: record.get(key) for key in ("value", "low", "high")}
            lost = [
                k
                for k, v in numbers.items()
                if not isinstance(v, int | float) or not math.isfinite(v)
            ]
            records.append(
                {"chapter": number} | record | dict.fromkeys(lost)
            )  # Jupyter sends NaN as text
        receipts += [{"chapter": number} | bill for bill in outputs.get("receipt", ())]
        for setup in outputs.get("run", ()):
            facts |= {
                key: setup[key] for key in ("profile", "seed", "device", "platform") if key in setup
            }
        facts["data"] += [
            d["source"] for d in outputs.get("data", ()) if d["source"] not in facts["data"]
        ]
    facts["seconds"] = round(
        sum(entry.get("seconds", 0.0) for entry in content["chapters"].values()), 1
    )
    content["records"], content["receipts"] = records, receipts
    part = out / "metrics.json.part"
    part.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    os.replace(part, out / "metrics.json")


def outside(content: Mapping[str, Any]) -> list[str]:
    """One sentence for each number that the text quotes (expected.yaml) and this run does not confirm.

    The bands hold for a profile's own values: a chapter run with parameters, the seed apart, is not judged.
    """
    bands, sentences = yaml.safe_load(EXPECTED.read_text("utf-8")) or {}, []
    for number, entry in content["chapters"].items():
        if entry["status"] != "passed" or set(entry["parameters"]) - {"seed"}:
            continue
        profile = content["run"]["profile"] if entry["profile"] == "auto" else entry["profile"]
        for record_id, by_profile in bands.get(number, {}).items():
            if profile not in by_profile:
                continue
            low, high = by_profile[profile]
            records = [r for r in content["records"] if r.get("id") == record_id]
            values = [r["value"] for r in records]
            if not values or any(v is None or not low <= v <= high for v in values):
                shown = ", ".join(str(v) for v in values) or "not reported"
                name = records[0]["name"] if records else record_id
                sentences.append(f"{number}: {name} is {shown}, the text says {low} to {high}")
    return sentences


def _close(out: Path, content: dict[str, Any], strict: bool, interrupted: bool) -> int:
    """Writes the pages, prints the closing tables and what to do next, and returns the exit code."""
    from vaetl_helpers.authoring.site import Table, write_site

    entries = content["chapters"]
    names = {
        number: Path(entry.get("notebook") or number).stem for number, entry in entries.items()
    }
    rows = [
        (
            names[number],
            e["status"],
            f"{e.get('seconds', 0):.1f}",
            e.get("error") or e.get("reason") or "",
        )
        for number, e in entries.items()
    ]
    tables = [Table("Chapters", ("chapter", "status", "seconds", "note"), rows)]
    results = [
        (record["chapter"], record["name"], _number(record)) for record in content["records"]
    ]
    tables += [Table("Results", ("chapter", "name", "value"), results)] if results else []
    warnings = outside(content)
    print("\n" + "\n\n".join(format_table(t.header, t.rows) for t in tables) + "\n")
    notes = [f"data: {line}" for line in content["run"]["data"]] + [
        f"warning: {line}" for line in warnings
    ]
    print("\n".join(notes))
    made = [out / "notebooks" / f"{name}.ipynb" for name in names.values()]
    failed = "failed" in {entry["status"] for entry in entries.values()}
    code = int(failed or bool(strict and warnings))
    try:
        print(
            f"pages: {write_site([path for path in made if path.exists()], out, 'Course run', tables)}"
        )
    except CourseError as error:  # the numbers are written: say it, and go on
        code = 1
        print(f"no pages: {error}")
    again = f'vaetl run --resume --out "{out}"  (keeps the chapters that passed)'
    cpu = (
        "vaetl run --profile cpu  (the numbers of the text), "
        if content["run"]["profile"] == "smoke"
        else ""
    )
    print(f"next: {again if interrupted or failed else cpu + 'vaetl lab  (work through it)'}")
    return 130 if interrupted else code


def _number(record: Mapping[str, Any]) -> str:
    """A record's value with its interval and unit."""
    value, low, high = (record.get(key) for key in ("value", "low", "high"))
    shown = "not finite" if value is None else f"{value:.4g}"
    interval = "" if low is None or high is None else f" [{low:.4g}, {high:.4g}]"
    return f"{shown}{interval} {record.get('unit') or ''}".strip()
