"""The command `vaetl`: quick help, one-line errors, and a copy of the course that is never overwritten."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from importlib import metadata
from pathlib import Path

import pytest
from small_course import write

from vaetl_helpers import chapters, cli, data, runtime
from vaetl_helpers.authoring import build as builder

COMMANDS = ("run", "lab", "data", "doctor", "site", "build")


@pytest.fixture
def course(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A course of two chapters, in a folder of its own, as the installed one."""
    from vaetl_helpers import running

    folder = tmp_path / "course"
    for name in ("01_first", "02_second"):
        write(folder, name, f"# {name}")
        write(folder / "solutions", name, f"# {name}\n\n$x^2$")
    monkeypatch.setattr(runtime, "course_dir", lambda: folder)
    monkeypatch.setattr(running, "course_dir", lambda: folder)
    monkeypatch.chdir(tmp_path)
    return folder


def vaetl(*arguments: str) -> int:
    """The exit code of `vaetl ARGUMENTS`."""
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as ended:
        patch.setattr(sys, "argv", ["vaetl", *arguments])
        cli.main()
    return ended.value.code or 0


def test_help_is_quick_and_names_every_command() -> None:
    code = """import sys
sys.argv = ["vaetl", "--help"]
from vaetl_helpers.cli import main
try:
    main()
finally:
    heavy = {"torch", "papermill", "nbconvert", "numpy", "matplotlib"} & set(sys.modules)
    assert not heavy, heavy"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert all(f"\n  {command} " in done.stdout for command in COMMANDS)
    assert "..." not in done.stdout.partition("Commands:")[2]  # the sentences are shown whole


@pytest.mark.parametrize("command", [*COMMANDS, "data fetch"])
def test_the_help_of_each_command_teaches(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert vaetl(*command.split(), "--help") == 0
    said = capsys.readouterr().out
    assert f"  vaetl {command}" in said.partition("\n")[2]  # an example, below the usage line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("run 01_frist", "Unknown chapter '01_frist': did you mean '01'? Known: 01, 02."),
        ("run --profile smok", "Unknown profile 'smok': did you mean 'smoke'?"),
        ("run -p epoch=1", "Unknown parameter 'epoch': did you mean 'epochs'?"),
        ("run -p epochs=many", "The parameter epochs takes int | None, not 'many'"),
        ("run -p epochs", "-p takes NAME=VALUE, not 'epochs'"),
        ("run -p profile=cpu", "give it as --profile NAME"),
        ("run --strict -p epochs=1", "leave out one or the other"),
        ("run --resume", "--resume needs to know which run"),
        ("data fetch mnits", "'mnits': did you mean 'mnist'?"),
        ("build 1", "use a checkout"),
    ],
)
def test_wrong_use_is_one_line_and_writes_nothing(
    arguments: str, message: str, course: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(course.parent.rglob("*"))
    assert vaetl(*arguments.split()) == 2
    said = capsys.readouterr()
    assert said.err.startswith("vaetl: ") and said.err.count("\n") == 1 and message in said.err
    assert said.out == ""
    assert sorted(course.parent.rglob("*")) == before


def test_an_unknown_command_names_the_near_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert vaetl("rum") == 2
    assert "Did you mean 'run'?" in capsys.readouterr().err


@pytest.mark.slow
def test_run_writes_into_a_dated_folder(course: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert vaetl("run", "1", "-p", "seed=5") == 0
    out = next(Path("runs").iterdir())
    assert out.name.startswith("smoke-")
    assert json.loads((out / "metrics.json").read_text("utf-8"))["run"]["seed"] == 5
    said = capsys.readouterr().out
    assert f"pages: {out.absolute() / 'index.html'}" in said
    assert "next: vaetl run --profile cpu" in said and "vaetl lab" in said


def test_the_copy_of_the_course_is_never_overwritten(
    course: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = course.parent / "mine"
    assert chapters.copy_course(course, mine) == mine / "01_first.ipynb"
    assert sorted(path.name for path in mine.glob("*.ipynb")) == ["01_first.ipynb", "02_second.ipynb"]
    (mine / "01_first.ipynb").write_text("my work", encoding="utf-8")
    chapters.copy_course(course, mine)  # the same version: nothing new, nothing said
    assert capsys.readouterr().out == "" and len(list(mine.glob("*.ipynb"))) == 2
    write(course, "01_first", "# Better")
    monkeypatch.setattr(metadata, "version", lambda name: "0.2.0")
    chapters.copy_course(course, mine)
    said = "01_first.ipynb has a newer version; yours stays, the new one is 01_first.new-0.2.0.ipynb\n"
    assert capsys.readouterr().out == said
    assert (mine / "01_first.ipynb").read_text("utf-8") == "my work"
    assert (mine / "01_first.new-0.2.0.ipynb").read_bytes() == (course / "01_first.ipynb").read_bytes()
    chapters.copy_course(course, mine)
    assert capsys.readouterr().out == ""  # said once
    (mine / "02_second.ipynb").unlink()  # a fresh copy of one chapter: delete it
    chapters.copy_course(course, mine)
    assert (mine / "02_second.ipynb").read_bytes() == (course / "02_second.ipynb").read_bytes()


def test_a_folder_of_somebody_elses_work_is_only_added_to(course: Path) -> None:
    mine = course.parent / "mine"
    mine.mkdir()
    (mine / "01_first.ipynb").write_text("other work", encoding="utf-8")
    chapters.copy_course(course, mine)
    assert (mine / "01_first.ipynb").read_text("utf-8") == "other work"
    assert (mine / f"01_first.new-{metadata.version('vaetl-helpers')}.ipynb").exists()


def test_a_read_only_course_gives_a_writable_copy(course: Path) -> None:
    (course / "01_first.ipynb").chmod(0o444)
    assert os.stat(chapters.copy_course(course, course.parent / "mine")).st_mode & 0o200


def test_lab_says_what_is_wrong(
    course: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (course.parent / "file").touch()
    assert vaetl("lab", "--dir", str(course.parent / "file" / "mine")) == 2
    assert "choose another with --dir" in capsys.readouterr().err
    monkeypatch.setattr(chapters, "missing", lambda extra, only=(): ["jupyterlab>=4.2"])
    assert vaetl("lab", "--dir", "mine") == 2
    assert 'python -m pip install "jupyterlab>=4.2"' in capsys.readouterr().err
    assert not (course.parent / "mine").exists()


@pytest.mark.slow
def test_lab_serves_the_copy(course: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    code = f"import vaetl_helpers.runtime as r, pathlib; r.course_dir = lambda: pathlib.Path({str(course)!r})"
    command = [sys.executable, "-c", f"{code}; from vaetl_helpers.cli import main; main()"]
    with open("log", "w") as log:
        server = subprocess.Popen(
            [*command, "lab", "--dir", "mine", "--no-browser", f"--port={port}"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        status = None
        while status is None and server.poll() is None:
            time.sleep(0.5)
            try:
                status = urllib.request.urlopen(f"http://127.0.0.1:{port}/api").status
            except (urllib.error.URLError, ConnectionError):
                continue
        assert status == 200, Path("log").read_text()
        assert Path("mine/01_first.ipynb").exists()
        for _ in range(2):  # the first asks, the second means it
            os.killpg(server.pid, signal.SIGINT)
            time.sleep(1)
        server.wait(timeout=60)
    finally:
        if server.poll() is None:
            os.killpg(server.pid, signal.SIGKILL)
    said = Path("log").read_text()
    assert "Your copy of the course:" in said and "lab/tree/01_first.ipynb" in said
    assert "Traceback" not in said


def test_data_lists_what_is_where(capsys: pytest.CaptureFixture[str]) -> None:
    assert vaetl("data") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == list(data.DATASETS)
    assert "licence" in lines[0]


def test_data_fetch_says_where(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "fetch", lambda name, root: Path(root) / name)
    assert vaetl("data", "fetch", "mnist", "--root", "here") == 0
    assert capsys.readouterr().out == "mnist is in here/mnist\n"


def test_doctor_ends_in_ready_or_in_what_to_do(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    healthy = runtime.Probe(runtime.torch.device("cpu"), "CPU, 2 cores", None)
    monkeypatch.setattr(runtime, "probe", lambda: healthy)
    assert vaetl("doctor") == 0
    said = capsys.readouterr().out
    assert said.endswith("\nready\n") and f"torch            {metadata.version('torch')}" in said
    assert vaetl("doctor", "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["ready"] is True and facts["device"] == "CPU, 2 cores" and facts["extras"]["lab"] == "present"
    monkeypatch.setattr(runtime, "probe", lambda: healthy._replace(problem="The cuda device fails."))
    monkeypatch.setattr(chapters, "missing", lambda extra, only=(): ["some>=1"] if extra == "text" else [])
    assert vaetl("doctor") == 1
    said = capsys.readouterr().out
    assert said.endswith("\nto do:\nThe cuda device fails.\n")  # a missing extra is said, and nothing to mend
    assert 'extra text       python -m pip install "some>=1"' in said


def test_site_is_made_of_the_solutions(course: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert vaetl("site", "--out", "pages") == 0
    assert capsys.readouterr().out == f"{course.parent / 'pages' / 'index.html'}\n"
    assert "<math" in Path("pages/02_second.html").read_text("utf-8")


def test_build_passes_its_options_on(
    course: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    monkeypatch.setattr(builder, "build", lambda *args, **kwargs: calls.append((args, kwargs)))
    assert vaetl("build", "01", "--no-execute") == 0 and vaetl("build") == 0
    assert calls == [((["01"], course), {"execute": False}), ((None, course), {"execute": True})]
    monkeypatch.setattr(builder, "check", lambda folder: ["01_first.ipynb is stale"])
    assert vaetl("build", "--check") == 1
    assert capsys.readouterr().out == "01_first.ipynb is stale\n"
    monkeypatch.setattr(builder, "check", lambda folder: [])
    assert vaetl("build", "--check") == 0
