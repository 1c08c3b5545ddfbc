"""The command `vaetl`: thin, so that `vaetl --help` is quick; each command imports what it needs."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    help="Run and read the course on training, acceleration, variational autoencoders and transfer learning.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
data_app = typer.Typer(rich_markup_mode=None)
app.add_typer(data_app, name="data")
Chapters = Annotated[list[str] | None, typer.Argument(metavar="CHAPTER", show_default=False)]


def main() -> None:
    """Entry point: a CourseError becomes one line and exit code 2."""
    try:
        app()
    except Exception as error:
        from vaetl_helpers.errors import CourseError

        if not isinstance(error, CourseError):
            raise
        print(f"vaetl: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)


@app.command()
def run(
    chapters: Chapters = None,
    profile: Annotated[
        str | None, typer.Option(help="smoke (the default), cpu, gpu, paper or auto")
    ] = None,
    parameter: Annotated[
        list[str] | None, typer.Option("-p", metavar="NAME=VALUE", help="one knob")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="where results go [runs/PROFILE-DATE-TIME]")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="go on with the run in --out")] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="fail if a number leaves its band")
    ] = False,
    solutions: Annotated[
        bool, typer.Option("--solutions", help="run the solved notebooks")
    ] = False,
) -> None:
    """Run chapters, or all, and gather what comes out.

    \b
    vaetl run                            every chapter, quickly
    vaetl run 01 --profile cpu           chapter 1 as its text quotes it
    vaetl run 01 -p epochs=3 -p seed=7   other parameters
    vaetl run --resume --out DIR         go on after Ctrl-C
    """
    from vaetl_helpers.app.running import run as run_chapters

    given = _given(parameter)
    code = run_chapters(
        chapters or (),
        profile,
        given,
        out,
        resume=resume,
        strict=strict,
        solutions=solutions or None,
    )
    raise typer.Exit(code)


@app.command()
def lab(
    folder: Annotated[
        Path | None, typer.Option("--dir", help="your copy [~/vaetl-course], or --out of assign")
    ] = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="use no network, even where there is one")
    ] = False,
    instructor: Annotated[
        bool, typer.Option("--instructor", help="open Formgrader on an assignment's folder")
    ] = False,
    browser: Annotated[bool, typer.Option(help="open a browser")] = True,
    port: Annotated[int, typer.Option(help="the port of the server")] = 8888,
) -> None:
    """Open your own copy of the course in JupyterLab.

    \b
    vaetl lab                               in ~/vaetl-course
    vaetl lab --dir here                    in another folder
    vaetl lab --offline                     nothing is fetched, nothing leaves this machine
    vaetl lab --no-browser                  on another machine: open the printed address
    vaetl lab --instructor --dir teaching   Formgrader: what `vaetl assign` and `vaetl grade` wrote

    What you have changed is never overwritten: a newer notebook arrives beside yours.
    """
    from vaetl_helpers.app import lab as server
    from vaetl_helpers.chapters import chapters_in, copy_course, course_dir
    from vaetl_helpers.errors import CourseError
    from vaetl_helpers.requirements import install_command, missing

    lacking = missing("lab") + (missing("grading") if instructor else [])
    if lacking:
        raise CourseError(f"This needs some packages more: {install_command(lacking)}")
    if instructor:
        folder = (folder or Path()).absolute()
        if not (folder / "nbgrader_config.py").exists():
            raise CourseError(
                f"{folder} is no folder of `vaetl assign`: give the one of --out as --dir."
            )
        print(f"Formgrader on {folder}  (end with Ctrl-C)", flush=True)
        # nbgrader's pages ask other machines for MathJax, and a submission could ask for more.
        raise typer.Exit(
            server.serve(folder, "/lab?formgrader=true", browser, port, local=True, offline=offline)
        )
    folder = (folder or Path("~/vaetl-course")).expanduser().absolute()
    copy_course(course_dir(), folder)
    names = [chapter.path.name for chapter in chapters_in(course_dir()).values()]
    layout = server.open_first(folder, names[:2])  # the start page in front, chapter 1 behind it
    print(f"Your copy of the course: {folder}  (end with Ctrl-C)", flush=True)
    options = (f"--LabApp.workspaces_dir={layout}",)
    raise typer.Exit(
        server.serve(folder, "/lab", browser, port, options, local=offline, offline=offline)
    )


def _given(parameters: list[str] | None) -> dict[str, str] | None:
    """-p NAME=VALUE, many times, as a dict; None where there is none."""
    from vaetl_helpers.errors import CourseError

    wrong = next(
        (text for text in parameters or () if not text.partition("=")[0] or "=" not in text), None
    )
    if wrong is not None:
        raise CourseError(f"-p takes NAME=VALUE, not '{wrong}': for example -p epochs=3.")
    return dict(text.split("=", 1) for text in parameters) if parameters else None


def _need_grading() -> None:
    from vaetl_helpers.errors import CourseError
    from vaetl_helpers.requirements import install_command, missing

    lacking = missing("lab", only=("papermill", "nbformat", "nbconvert", "ipykernel")) + missing(
        "grading"
    )
    if lacking:
        raise CourseError(f"Grading needs some packages more: {install_command(lacking)}")


@app.command()
def assign(
    chapter: str,
    out: Annotated[Path, typer.Option(help="the folder of your course, made if need be")] = Path(
        "teaching"
    ),
) -> None:
    """Write the version of a chapter to hand out.

    \b
    vaetl assign 03 --out teaching   teaching/release/03/...ipynb

    Solutions are removed, points and checksums set. The folder is a course of nbgrader: its commands work there.
    """
    _need_grading()
    from vaetl_helpers.grading import gradebook
    from vaetl_helpers.grading.notebooks import find_assignment

    print(f"hand out: {gradebook.assign(find_assignment(chapter), out)}")
    print(f"next: vaetl grade SUBMISSIONS --assignment {chapter} --out {out}")


@app.command("check-submission")
def check_submission(
    notebook: Path,
    assignment: Annotated[
        str | None, typer.Option(help="the chapter, where the file's name does not say")
    ] = None,
) -> None:
    """Look at a notebook before it is handed in.

    \b
    vaetl check-submission 03_variational_autoencoder.ipynb

    Says which graded cells are missing, doubled or changed, and runs the public checks. Exit code 1 where a graded
    cell is missing.
    """
    from vaetl_helpers.errors import CourseError
    from vaetl_helpers.requirements import install_command, missing

    lacking = missing(
        "lab", only=("papermill", "nbformat", "nbconvert", "ipykernel", "cloudpickle")
    )
    if lacking:
        raise CourseError(
            f"Running the checks needs some packages more: {install_command(lacking)}"
        )
    from vaetl_helpers.grading.course import check_submission as check

    raise typer.Exit(check(notebook, assignment))


@app.command()
def grade(
    submissions: Annotated[
        Path, typer.Argument(help="a folder of notebooks or of students' folders, or an LMS's zip")
    ],
    assignment: Annotated[str, typer.Option(help="the chapter, such as 03")],
    out: Annotated[Path, typer.Option(help="the folder of your course, as for assign")] = Path(
        "teaching"
    ),
    jobs: Annotated[int, typer.Option(help="submissions at a time", min=1)] = 2,
    parameter: Annotated[
        list[str] | None, typer.Option("-p", metavar="NAME=VALUE", help="such as seed=7")
    ] = None,
    seconds: Annotated[
        int, typer.Option(help="for one cell, or the tests of one exercise", min=1)
    ] = 60,
    total: Annotated[int, typer.Option("--total-seconds", help="for one submission", min=1)] = 600,
    memory: Annotated[int, typer.Option(help="MB for one submission", min=500)] = 3000,
    disk: Annotated[int, typer.Option(help="MB that it may write", min=1)] = 256,
    processes: Annotated[
        int, typer.Option(help="processes and threads that it may start", min=32)
    ] = 128,
    unsafe: Annotated[
        bool, typer.Option("--unsafe-no-sandbox", help="run with your own rights: dangerous")
    ] = False,
) -> None:
    """Grade submissions, each in a sandbox, with hidden tests.

    \b
    vaetl grade submissions.zip --assignment 03 --out teaching
    vaetl grade teaching/submitted --assignment 03 --out teaching --jobs 8
    vaetl grade inbox --assignment 03 --out teaching -p seed=7    other data, other hidden tests

    Writes grades.csv, report.html, feedback pages and nbgrader's gradebook. What is graded stays graded: after
    Ctrl-C, or when late submissions have come, run the same command again.
    """
    _need_grading()
    from vaetl_helpers.grading.course import grade as grade_course
    from vaetl_helpers.grading.sandbox import Limits

    limits = Limits(
        cell_seconds=seconds, seconds=total, memory=memory, disk=disk, processes=processes
    )
    given = _given(parameter)
    raise typer.Exit(
        grade_course(
            submissions,
            assignment,
            out,
            jobs=jobs,
            parameters=given,
            limits=limits,
            sandboxed=not unsafe,
        )
    )


@data_app.callback(invoke_without_command=True)
def data(context: typer.Context) -> None:
    """List the data sets and where they are, or download one.

    \b
    vaetl data                       what is where
    vaetl data fetch mnist           download one into the cache
    """
    if context.invoked_subcommand:
        return
    from vaetl_helpers.data.registry import where
    from vaetl_helpers.output import format_table

    rows = where()
    print(
        format_table(
            [key.replace("_", " ") for key in rows[0]],
            [[str(c) for c in row.values()] for row in rows],
        )
    )


@data_app.command()
def fetch(
    name: str,
    root: Annotated[Path | None, typer.Option(help="another folder than the cache")] = None,
) -> None:
    """Download a data set, with checksum, timeout and retries.

    \b
    vaetl data fetch fashion-mnist
    """
    from vaetl_helpers.data.registry import fetch as fetch_data

    print(f"{name} is in {fetch_data(name, root)}")


@app.command()
def claims(
    run: Annotated[
        Path | None, typer.Argument(metavar="RUN", help="a folder that `vaetl run` wrote")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="for a program: a list of rows")] = False,
) -> None:
    """Weigh the claims of the course's sources.

    \b
    vaetl claims                     from the recorded runs
    vaetl claims runs/DIR            with the numbers of your own run beside them
    vaetl claims runs/DIR --json     the same for a program
    """
    from vaetl_helpers.app.ledger_text import text
    from vaetl_helpers.claims import ledger

    rows = ledger(run)
    print(
        json.dumps(rows, indent=1, ensure_ascii=False, allow_nan=False) if as_json else text(rows)
    )


@app.command()
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="for a bug report")] = False,
) -> None:
    """Look at this machine and say 'ready', or what to do.

    \b
    vaetl doctor
    vaetl doctor --json              the same for a program, or for a bug report
    """
    facts, todo = _checkup()
    if as_json:
        print(json.dumps(facts | {"ready": not todo, "todo": todo}, indent=1))
        raise typer.Exit(int(bool(todo)))
    lines: dict[str, str] = {}
    for name, value in facts.items():
        parts = (
            value if isinstance(value, dict) else {"": value}
        )  # extras: {lab: present} becomes extra lab: present
        lines |= {
            f"{name.removesuffix('s')} {part}" if part else name: state
            for part, state in parts.items()
        }
    width = max(map(len, lines))
    print("\n".join(f"{name:<{width}}  {value}" for name, value in lines.items()))
    print("\n".join(["to do:", *todo]) if todo else "ready")
    raise typer.Exit(int(bool(todo)))


def _checkup() -> tuple[dict[str, Any], list[str]]:
    """What is here (a text for each name; for `data` and `extras` one for each of them), and what there is to mend."""
    from vaetl_helpers.chapters import course_dir
    from vaetl_helpers.data.registry import where
    from vaetl_helpers.device import best_device, devices
    from vaetl_helpers.errors import CourseError
    from vaetl_helpers.hardware import machine, software
    from vaetl_helpers.requirements import extras, install_command, missing
    from vaetl_helpers.settings import ADVICE, advice, platform_name

    device, lacking = best_device(), {extra: missing(extra) for extra in extras()}
    todo = [found.problem for found in devices() if found.problem] or [device.problem] * bool(
        device.problem
    )
    todo += [install_command(lacking["lab"])] if lacking["lab"] else []
    free = shutil.disk_usage(Path.cwd()).free / 1e9
    todo += (
        [f"free some disk space: {free:.1f} GB are left, runs and data need 2 GB"]
        if free < 2
        else []
    )
    try:
        notebooks = str(course_dir())
    except CourseError as error:
        notebooks, todo = "missing", [*todo, str(error)]
    facts: dict[str, Any] = (
        software() | {"platform": platform_name(), "device": device.name} | machine()
    )
    facts |= (
        {"advice": advice()} if device.device.type == "cpu" and platform_name() in ADVICE else {}
    )
    facts |= {"disk free": f"{free:.1f} GB", "notebooks": notebooks}
    facts["data"] = {
        row["name"]: ", ".join(filter(None, (row["status"], row["path"]))) for row in where()
    }
    facts["extras"] = {
        name: install_command(lacks) if lacks else "present" for name, lacks in lacking.items()
    }
    return _presentable(facts), _presentable(todo)


def _presentable(content: Any) -> Any:
    """The same with every text in one line and ~ for the home directory: a bug report names nobody."""
    if isinstance(content, dict):
        return {name: _presentable(value) for name, value in content.items()}
    if isinstance(content, list):
        return [_presentable(value) for value in content]
    home, line = os.path.expanduser("~"), " ".join(content.split())
    return re.sub(rf"(?<!\w){re.escape(home)}(?!\w)", "~", line) if len(home) > 1 else line


@app.command()
def site(out: Annotated[Path, typer.Option(help="the folder of the pages")] = Path("site")) -> None:
    """Write the solved course as pages that need no network.

    \b
    vaetl site                       into ./site; open site/index.html
    """
    from vaetl_helpers.authoring.site import write_site
    from vaetl_helpers.chapters import chapters_in, course_dir

    notebooks = [chapter.path for chapter in chapters_in(course_dir() / "solutions").values()]
    print(write_site(notebooks, out, "Training, acceleration, VAEs and transfer").absolute())


@app.command()
def build(
    chapters: Chapters = None,
    check: Annotated[bool, typer.Option("--check", help="only say what is stale")] = False,
    execute: Annotated[bool, typer.Option(help="execute the solutions")] = True,
) -> None:
    """For authors: make the notebooks from course/source.

    \b
    vaetl build 01                   chapter 1, executed
    vaetl build --no-execute         all, keeping the outputs of unchanged code
    vaetl build --check              exit code 1 if the notebooks are stale
    """
    from vaetl_helpers.authoring import build as builder
    from vaetl_helpers.chapters import course_dir

    if check:
        faults = builder.check(course_dir())
        print("\n".join(faults) or "The notebooks are those of the sources.")
        raise typer.Exit(int(bool(faults)))
    builder.build(chapters or None, course_dir(), execute=execute)
