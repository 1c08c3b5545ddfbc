"""The command `vaetl`: thin, so that its help is quick; each command imports what it needs."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from vaetl_helpers.output import say, user_path

app = typer.Typer(
    help="Run and read the course on training, acceleration, variational autoencoders "
    "and transfer learning.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
TITLE = "Training, acceleration, VAEs and transfer"
data_app = typer.Typer(rich_markup_mode=None)
app.add_typer(data_app, name="data")


def expand_home(path: Path | None) -> Path | None:
    """The path with the home directory for `~`: shells leave it in --out=~/runs."""
    return None if path is None else user_path(path)


Chapters = Annotated[list[str] | None, typer.Argument(metavar="CHAPTER", show_default=False)]


def main() -> None:
    """Entry point: a CourseError becomes one line and exit code 2."""
    make_folders_absolute()
    try:
        app()
    except Exception as error:
        from vaetl_helpers.errors import CourseError

        if not isinstance(error, CourseError):
            raise
        say(f"vaetl: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)


def make_folders_absolute() -> None:
    """Kernels run in folders of their own, from where a relative path would lead elsewhere."""
    for variable in ("VAETL_DATA", "VAETL_CACHE"):
        folder = os.environ.get(variable)
        if folder:
            os.environ[variable] = str(user_path(folder).absolute())


@app.command()
def run(  # noqa: PLR0913  (the options of the command)
    chapters: Chapters = None,
    profile: Annotated[
        str | None, typer.Option(help="smoke (the default), cpu, gpu, paper or auto")
    ] = None,
    parameter: Annotated[
        list[str] | None, typer.Option("-p", metavar="NAME=VALUE", help="one knob")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="where results go [runs/PROFILE-DATE-TIME]", callback=expand_home),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="go on with the run in --out")] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="fail if a number leaves its band")
    ] = False,
    solutions: Annotated[
        bool, typer.Option("--solutions", help="run the solved notebooks")
    ] = False,
    jobs: Annotated[
        int | None, typer.Option(help="chapters at a time [in smoke 2, where memory allows]")
    ] = None,
) -> None:
    """Run chapters, or all, and gather what comes out.

    \b
    vaetl run                            every chapter, quickly
    vaetl run 01 --profile cpu           chapter 1 as its text quotes it
    vaetl run 01 -p epochs=3 -p seed=7   other parameters
    vaetl run --resume --out DIR         go on after Ctrl-C
    """
    from vaetl_helpers.app.running import run as run_chapters

    code = run_chapters(
        chapters or (),
        profile,
        _named_values(parameter),
        out,
        resume=resume,
        strict=strict,
        solutions=solutions or None,
        jobs=jobs,
    )
    raise typer.Exit(code)


@app.command()
def record(  # noqa: PLR0913  (the options of the command)
    target: Annotated[str, typer.Argument(help="a study of chapter 5, such as digits")],
    shard: Annotated[str, typer.Option(help="which piece of how many")] = "1/1",
    out: Annotated[Path, typer.Option(help="a folder that is kept", callback=expand_home)] = Path(
        "runs/record"
    ),
    join: Annotated[bool, typer.Option("--join", help="make one record of all pieces")] = False,
    machine: Annotated[str, typer.Option(help="what the pieces ran on, for --join")] = "",
    data_root: Annotated[
        Path | None, typer.Option(help="your own copies of the data", callback=expand_home)
    ] = None,
) -> None:
    """For authors: run a long study in pieces, and join them.

    \b
    vaetl record digits --shard 3/8   the third of eight pieces; the same call goes on after a kill
    vaetl record digits --join --machine 'two x86-64 cores'   the record of all, or what is missing
    """
    from vaetl_helpers.authoring import record_study
    from vaetl_helpers.errors import CourseError
    from vaetl_helpers.study.runs import Shard

    if join:
        if not machine:
            raise CourseError("Say what the pieces ran on: --machine 'two x86-64 cores'.")
        say(*record_study.join(target, out, machine), sep="\n")
        return
    record_study.record_target(target, Shard.from_text(shard), out, root=data_root)
    say(f"piece {shard} of {target} is done; with all of them: vaetl record {target} --join")


@app.command("record-machine")
def record_machine(
    out: Annotated[
        Path | None,
        typer.Option(help="the file, ending in .json [machine-NAME.json]", callback=expand_home),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="what the machine is [its GPU or processor]")
    ] = None,
    profile: Annotated[str, typer.Option(help="smoke, cpu, gpu, paper or auto")] = "auto",
    minutes: Annotated[float, typer.Option(help="how long it may take")] = 10.0,
) -> None:
    """Measure this machine as chapter 2 does.

    \b
    vaetl record-machine             at most ten minutes; the same command goes on after a kill
    !vaetl record-machine            the same in a cell of a notebook on Colab or Kaggle
    vaetl record-machine --out t4.json --name "Tesla T4, Colab"

    The numbers are kept in one file, which chapter 2 shows beside recorded machines. It is written
    anew after each measurement; what cannot be measured here is named in it with the reason.
    """
    import psutil

    from vaetl_helpers.machines.recording import record_machine as measure

    # On a busy machine the imports alone take a while, and the limit is for the whole command.
    used = (time.time() - psutil.Process().create_time()) / 60
    measure(out, name, profile, minutes - used if minutes > used else minutes)


@app.command()
def lab(
    folder: Annotated[
        Path | None,
        typer.Option(
            "--dir", help="your copy [~/vaetl-course], or --out of assign", callback=expand_home
        ),
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
    _need("This", lab=(), grading=() if instructor else None)
    from vaetl_helpers.app import lab as server

    if instructor:
        teaching = (folder or Path()).absolute()
        say(f"Formgrader on {teaching}  (end with Ctrl-C)", flush=True)
        raise typer.Exit(server.open_formgrader(teaching, browser, port, offline=offline))
    copy = (folder or _home() / "vaetl-course").absolute()
    raise typer.Exit(server.open_course(copy, browser, port, offline=offline))


def _home() -> Path:
    from vaetl_helpers.errors import CourseError

    try:
        return Path.home()
    except RuntimeError as error:  # in some containers
        raise CourseError(
            "There is no home directory here: say where your copy is to be, as in "
            "`vaetl lab --dir course`."
        ) from error


def _named_values(parameters: list[str] | None) -> dict[str, str] | None:
    """-p NAME=VALUE, many times, as a dict; None where there is none."""
    from vaetl_helpers.errors import CourseError

    if not parameters:
        return None
    values = {}
    for text in parameters:
        name, sign, value = text.partition("=")
        if not name or not sign:
            raise CourseError(f"-p takes NAME=VALUE, not '{text}': for example -p epochs=3.")
        values[name] = value
    return values


# Of the extra `lab`, what executes a notebook.
EXECUTION = ("papermill", "nbformat", "nbconvert", "ipykernel")


def _need(command: str, **extras: Sequence[str] | None) -> None:
    """CourseError where an extra, or only some of it, is missing; None asks for nothing."""
    from vaetl_helpers.errors import CourseError
    from vaetl_helpers.requirements import install_command, missing

    not_installed = []
    for extra, only in extras.items():
        if only is not None:
            not_installed += missing(extra, only=only)
    if not_installed:
        raise CourseError(f"{command} needs some packages more: {install_command(not_installed)}")


CourseFolderOption = Annotated[
    Path, typer.Option(help="the folder of your course, made if need be", callback=expand_home)
]


@app.command()
def assign(
    chapter: str,
    out: CourseFolderOption = Path("teaching"),
) -> None:
    """Write the version of a chapter to hand out.

    \b
    vaetl assign 03 --out teaching   teaching/release/03/...ipynb

    Solutions are removed, points and checksums set. The folder is a course of nbgrader: its
    commands work there. `vaetl doctor` names the page on teaching and grading.
    """
    _need("Grading", lab=EXECUTION, grading=())
    from vaetl_helpers.grading import gradebook
    from vaetl_helpers.grading.notebooks import find_assignment

    say(f"hand out: {gradebook.assign(find_assignment(chapter), out)}")
    say(f"next: vaetl grade SUBMISSIONS --assignment {chapter} --out {out}")


@app.command("check-submission")
def check_submission(
    notebook: Annotated[Path, typer.Argument(show_default=False, callback=expand_home)],
    assignment: Annotated[
        str | None, typer.Option(help="the chapter, where the notebook does not say")
    ] = None,
) -> None:
    """Look at a notebook before it is handed in.

    \b
    vaetl check-submission 03_variational_autoencoder.ipynb

    Says which graded cells are missing, doubled or changed, and runs the public checks. Exit code
    1 where a graded cell is missing.
    """
    _need("Running the checks", lab=[*EXECUTION, "cloudpickle"])
    from vaetl_helpers.grading.course import check_submission as check

    raise typer.Exit(check(notebook, assignment))


@app.command()
def grade(  # noqa: PLR0913  (the options of the command)
    submissions: Annotated[
        Path,
        typer.Argument(
            help="a folder of notebooks or of students' folders, or an LMS's zip",
            callback=expand_home,
        ),
    ],
    assignment: Annotated[str, typer.Option(help="the chapter, such as 03")],
    out: CourseFolderOption = Path("teaching"),
    jobs: Annotated[int, typer.Option(help="submissions at a time", min=1)] = 2,
    parameter: Annotated[
        list[str] | None, typer.Option("-p", metavar="NAME=VALUE", help="such as seed=7")
    ] = None,
    cell_seconds: Annotated[
        int, typer.Option("--seconds", help="for one cell, or the tests of one exercise", min=1)
    ] = 60,
    total_seconds: Annotated[int, typer.Option(help="for one submission", min=1)] = 600,
    memory: Annotated[int, typer.Option(help="MB for one submission", min=500)] = 3000,
    disk: Annotated[int, typer.Option(help="MB that it may write", min=1)] = 256,
    processes: Annotated[
        int, typer.Option(help="processes and threads that it may start", min=32)
    ] = 128,
    only: Annotated[
        str | None, typer.Option(help="judge this exercise again, such as vae.kl; the others stay")
    ] = None,
    unsafe: Annotated[
        bool, typer.Option("--unsafe-no-sandbox", help="run with your own rights: dangerous")
    ] = False,
) -> None:
    """Grade submissions, each in a sandbox, with hidden tests.

    \b
    vaetl grade submissions.zip --assignment 03 --out teaching
    vaetl grade teaching/submitted --assignment 03 --out teaching --jobs 8
    vaetl grade inbox --assignment 03 --out teaching -p seed=7    other data, other hidden tests
    vaetl grade inbox --assignment 03 --out teaching --only vae.kl    after its check was mended

    Writes grades.csv, report.html, feedback pages and nbgrader's gradebook. What is graded stays
    graded: after Ctrl-C, or when late submissions have come, run the same command again. `vaetl
    doctor` names the page on teaching and grading.
    """
    _need("Grading", lab=EXECUTION, grading=())
    from vaetl_helpers.grading.course import grade as grade_course
    from vaetl_helpers.grading.sandbox import Limits

    limits = Limits(
        cell_seconds=cell_seconds,
        seconds=total_seconds,
        memory=memory,
        disk=disk,
        processes=processes,
    )
    parameters = _named_values(parameter)
    raise typer.Exit(
        grade_course(
            submissions,
            assignment,
            out,
            jobs=jobs,
            parameters=parameters,
            limits=limits,
            sandboxed=not unsafe,
            only=only,
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

    places = where()
    header = [key.replace("_", " ") for key in places[0]]
    rows = [list(map(str, place.values())) for place in places]
    say(format_table(header, rows))


@data_app.command()
def fetch(
    name: str,
    root: Annotated[
        Path | None, typer.Option(help="another folder than the cache", callback=expand_home)
    ] = None,
) -> None:
    """Download a data set, with checksum, timeout and retries.

    \b
    vaetl data fetch fashion-mnist
    """
    from vaetl_helpers.data.registry import fetch as fetch_data

    say(f"{name} is in {fetch_data(name, root)}")


@app.command()
def claims(
    run: Annotated[
        Path | None,
        typer.Argument(metavar="RUN", help="a folder that `vaetl run` wrote", callback=expand_home),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="for a program: a list of rows")] = False,
    join: Annotated[
        Path | None,
        typer.Option("--join", help="a folder with the files of a class", callback=expand_home),
    ] = None,
    out: Annotated[
        Path, typer.Option(help="with --join: the page to write", callback=expand_home)
    ] = Path("class-claims.html"),
) -> None:
    """Weigh the claims of the course's sources.

    \b
    vaetl claims                     from the recorded runs
    vaetl claims runs/DIR            with the numbers of your own run beside them
    vaetl claims runs/DIR --json     the same for a program
    vaetl claims --join handed-in    for instructors: the runs of a class, pooled

    For --join each student hands in the metrics.json of a run, or what --json prints.
    """
    if join is not None:
        _join_claims(join, out)
        return
    from vaetl_helpers.app.ledger_text import text
    from vaetl_helpers.claims import ledger

    rows = ledger(run)
    if not as_json:
        say(text(rows))
        return
    listed = [asdict(row) for row in rows]
    say(json.dumps(listed, indent=1, allow_nan=False))


def _join_claims(folder: Path, out: Path) -> None:
    _need("Pooling", lab=EXECUTION, grading=())
    from vaetl_helpers.grading.class_claims import join
    from vaetl_helpers.grading.pages import claims_page
    from vaetl_helpers.output import write_whole

    joined = join(folder)
    write_whole(out, claims_page(joined))
    say(joined.text())
    say(f"{joined.students} students, {len(joined.rows)} questions pooled: {out}")


@app.command()
def certificate(  # noqa: PLR0913  (the options of the command)
    name: Annotated[str, typer.Option(help="whose certificate it is")] = "",
    folder: Annotated[
        Path | None,
        typer.Option(
            "--dir", help="your notebooks [here, or ~/vaetl-course]", callback=expand_home
        ),
    ] = None,
    out: Annotated[
        Path, typer.Option(help="the files without .html and .pdf", callback=expand_home)
    ] = Path("certificate"),
    verify: Annotated[
        Path | None,
        typer.Option("--verify", help="a certificate to look at", callback=expand_home),
    ] = None,
    key: Annotated[
        Path | None,
        typer.Option("--key", help="with --verify: the instructor's key", callback=expand_home),
    ] = None,
    sign: Annotated[
        Path | None,
        typer.Option("--sign", help="for instructors: the folder of grades", callback=expand_home),
    ] = None,
) -> None:
    """Write down what you have solved, as a page and as PDF.

    \b
    vaetl certificate --name "Ada Lovelace"            certificate.html and .pdf, self-checked
    vaetl certificate --verify certificate.pdf         was it signed, and is it as it was signed?
    vaetl certificate --verify FILE --key certificate.pub    and by whom?
    vaetl certificate --sign teaching                  one for each student, from your grades

    Exit code 1 where a certificate is not signed, was changed, or is of another key.
    """
    if verify is not None:
        raise typer.Exit(_verify(verify, key))
    if sign is not None:
        _need("Signing", lab=EXECUTION, grading=(), certificate=())
        from vaetl_helpers.grading.certificates import certify

        say(*certify(sign), sep="\n")
        say(f"the key to publish: {sign / 'certificate.pub'}; {sign / 'certificate.key'} is secret")
        return
    _need("A certificate", lab=("nbformat", "jinja2"))
    from vaetl_helpers.app.certificate import own_statement, write_certificate

    statement = own_statement(name, folder or _folder_of_notes())
    say(*write_certificate(statement, out), sep="\n")


def _verify(file: Path, key: Path | None) -> int:
    from vaetl_helpers.app.certificate import verify
    from vaetl_helpers.errors import CourseError

    try:
        verified = verify(file, key)
    except CourseError as error:
        say(error)
        return 1
    say(f"{file} is as it was signed, with the key {verified.fingerprint}.")
    if verified.is_expected is None:
        say("Compare the key with the one that the instructor has published (--key).")
        return 0
    say("It is the key you gave." if verified.is_expected else "It is NOT the key you gave.")
    return int(not verified.is_expected)


def _folder_of_notes() -> Path:
    """Where the notes of the checks lie: here, or in the learner's copy of the course."""
    from vaetl_helpers.progress import FILE

    return Path() if Path(FILE).exists() else _home() / "vaetl-course"


@app.command()
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="for a bug report")] = False,
) -> None:
    """Look at this machine and say 'ready', or what to do.

    \b
    vaetl doctor
    vaetl doctor --json              the same for a program, or for a bug report
    """
    from vaetl_helpers.app.doctor import checkup, lines

    facts, todo = checkup()
    if as_json:
        say(json.dumps(facts | {"ready": not todo, "todo": todo}, indent=1))
    else:
        say("\n".join(lines(facts)))
        say("\n".join(["to do:", *todo]) if todo else "ready")
    raise typer.Exit(int(bool(todo)))


@app.command()
def site(
    out: Annotated[Path, typer.Option(help="the folder of the pages", callback=expand_home)] = Path(
        "site"
    ),
    api: Annotated[
        bool, typer.Option("--api", help="also the package's functions, in OUT/api")
    ] = False,
    address: Annotated[
        str, typer.Option(help="where the pages will be published, for links that are shared")
    ] = "",
) -> None:
    """Write the solved course as pages that need no network.

    \b
    vaetl site                       into ./site; open site/index.html
    vaetl site --api                 with pages of the package's functions in site/api
    vaetl site --address https://example.org/course    links to it show a picture elsewhere
    """
    from vaetl_helpers.authoring.preview import preview_png
    from vaetl_helpers.authoring.site import write_site
    from vaetl_helpers.authoring.text_pages import texts_beside
    from vaetl_helpers.chapters import chapters_in, course_dir

    notebooks = [chapter.path for chapter in chapters_in(course_dir() / "solutions").values()]
    picture = preview_png(TITLE)
    texts = texts_beside(course_dir())
    index = write_site(notebooks, out, TITLE, address=address, picture=picture, texts=texts)
    say(index.absolute())
    if api:
        from vaetl_helpers.authoring.api import write_api

        say(write_api(out / "api").absolute())


@app.command()
def slides(
    decks: Annotated[
        list[str] | None, typer.Argument(metavar="CHAPTER|talk", show_default=False)
    ] = None,
    out: Annotated[
        Path, typer.Option(help="the folder of the slides", callback=expand_home)
    ] = Path("slides"),
) -> None:
    """Write slides of the chapters, with notes.

    \b
    vaetl slides 03      chapter 3, into ./slides
    vaetl slides talk    a talk of twenty minutes over the whole course
    vaetl slides         the talk and every chapter

    Open a file in a browser: the arrow keys move, N shows notes, S opens the speaker's window.
    """
    from vaetl_helpers.authoring.slides import write_slides
    from vaetl_helpers.chapters import chapters_in, course_dir

    solutions = chapters_in(course_dir() / "solutions")
    files = {number: chapter.path for number, chapter in solutions.items()}
    for path in write_slides(decks or (), files, out):
        say(path.absolute())


@app.command()
def book(
    out: Annotated[Path, typer.Option(help="the folder of the book", callback=expand_home)] = Path(
        "book"
    ),
    epub: Annotated[bool, typer.Option(help="write course.epub")] = True,
    pdf: Annotated[bool, typer.Option(help="write course.pdf; needs Chromium")] = True,
) -> None:
    """Write the solved course as a book: PDF and EPUB.

    \b
    vaetl book                       book/course.epub and book/course.pdf
    vaetl book --no-pdf              the EPUB alone, which needs no browser
    """
    from vaetl_helpers.authoring.book import write_book
    from vaetl_helpers.authoring.preview import preview_png
    from vaetl_helpers.chapters import chapters_in, course_dir

    notebooks = [chapter.path for chapter in chapters_in(course_dir() / "solutions").values()]
    cover = preview_png(TITLE)
    for path in write_book(notebooks, out, TITLE, cover, epub=epub, pdf=pdf):
        if path:
            say(path.absolute())


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
        say("\n".join(faults) or "The notebooks are those of the sources.")
        raise typer.Exit(int(bool(faults)))
    builder.build(chapters or None, course_dir(), execute=execute)


@app.command()
def release(
    check: Annotated[bool, typer.Option("--check", help="only say what is not ready")] = False,
    repository: Annotated[
        str | None, typer.Option(help="where it is published, owner/name [the git remote]")
    ] = None,
) -> None:
    """For authors: give the course its address, or check it.

    \b
    vaetl release                              the address of the git remote
    vaetl release --repository owner/name      another one
    vaetl release --check                      exit code 1 if something is not ready

    The address stands in pyproject.toml alone; docs/release.md is the checklist.
    """
    from vaetl_helpers.authoring import build as builder
    from vaetl_helpers.authoring import release as releases
    from vaetl_helpers.chapters import course_dir

    root = course_dir().parent
    if check:
        found = releases.faults(root)
        say("\n".join(found) or "Everything is ready: docs/release.md says what comes next.")
        raise typer.Exit(int(bool(found)))
    address = releases.set_address(root, repository)
    builder.build(None, course_dir(), execute=False)
    say(f"published at {address.url}, tag {address.tag}")
    say("next: vaetl release --check")
