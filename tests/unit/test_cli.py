"""The command `vaetl`: quick help, one-line errors, and a copy of the course that is never
overwritten.
"""

import inspect
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from small_course import write

from vaetl_helpers import chapters, data, device, errors, requirements
from vaetl_helpers.app import cli
from vaetl_helpers.app.doctor import presentable
from vaetl_helpers.authoring import build as builder
from vaetl_helpers.data import registry
from vaetl_helpers.grading.sandbox import Limits

COMMANDS = (
    "run",
    "record",
    "record-machine",
    "lab",
    "data",
    "claims",
    "certificate",
    "doctor",
    "site",
    "slides",
    "book",
    "assign",
    "check-submission",
    "grade",
    "build",
    "release",
)


@pytest.fixture
def course(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A course of two chapters, in a folder of its own, as the installed one."""
    from vaetl_helpers.app import running

    folder = tmp_path / "course"
    for name in ("01_first", "02_second"):
        write(folder, name, f"# {name}")
        write(folder / "solutions", name, f"# {name}\n\n$x^2$")
    monkeypatch.setattr(chapters, "course_dir", lambda: folder)
    monkeypatch.setattr(running, "course_dir", lambda: folder)
    monkeypatch.setattr("vaetl_helpers.app.lab.course_dir", lambda: folder)
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
from vaetl_helpers.app.cli import main
try:
    main()
finally:
    heavy = {"torch", "papermill", "nbconvert", "numpy", "matplotlib"} & set(sys.modules)
    assert not heavy, heavy"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert all(f"\n  {command} " in done.stdout for command in COMMANDS)
    assert "..." not in done.stdout.partition("Commands:")[2]  # the sentences are shown whole


def test_folders_of_the_user_are_absolute_for_the_kernels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VAETL_DATA", "mine")
    monkeypatch.delenv("VAETL_CACHE", raising=False)
    assert vaetl("build", "--help") == 0
    assert os.environ["VAETL_DATA"] == str(tmp_path / "mine")
    assert "VAETL_CACHE" not in os.environ


def test_grade_offers_the_limits_of_the_sandbox() -> None:
    options = inspect.signature(cli.grade).parameters
    offered = {"seconds": "total_seconds"} | {
        name: name for name in ("cell_seconds", "memory", "disk", "processes")
    }
    defaults = {name: options[option].default for name, option in offered.items()}
    assert asdict(Limits()).items() >= defaults.items()


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
    assert sorted(path.name for path in mine.glob("*.ipynb")) == [
        "01_first.ipynb",
        "02_second.ipynb",
    ]
    (mine / "01_first.ipynb").write_text("my work", encoding="utf-8")
    chapters.copy_course(course, mine)  # the same version: nothing new, nothing said
    assert capsys.readouterr().out == "" and len(list(mine.glob("*.ipynb"))) == 2
    write(course, "01_first", "# Better")
    monkeypatch.setattr(metadata, "version", lambda name: "0.2.0")
    chapters.copy_course(course, mine)
    said = (
        "01_first.ipynb has a newer version; yours stays, the new one is 01_first.new-0.2.0.ipynb\n"
    )
    assert capsys.readouterr().out == said
    assert (mine / "01_first.ipynb").read_text("utf-8") == "my work"
    assert (mine / "01_first.new-0.2.0.ipynb").read_bytes() == (
        course / "01_first.ipynb"
    ).read_bytes()
    chapters.copy_course(course, mine)
    assert capsys.readouterr().out == ""  # said once
    (mine / "02_second.ipynb").unlink()  # a fresh copy of one chapter: delete it
    chapters.copy_course(course, mine)
    assert (mine / "02_second.ipynb").read_bytes() == (course / "02_second.ipynb").read_bytes()


def test_the_newest_notebook_arrives_also_where_the_version_is_the_same(
    course: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = course.parent / "mine"
    chapters.copy_course(course, mine)
    (mine / "01_first.ipynb").write_text("my work", encoding="utf-8")
    for text in ("# Better", "# Best"):
        write(course, "01_first", text)
        chapters.copy_course(course, mine)
        *_, newest = capsys.readouterr().out.split()
        assert (mine / newest).read_bytes() == (course / "01_first.ipynb").read_bytes()
    assert (mine / "01_first.ipynb").read_text("utf-8") == "my work"
    assert len(list(mine.glob("01_first.new-*"))) == 2


def test_a_damaged_note_of_what_was_copied_is_one_sentence(course: Path) -> None:
    mine = course.parent / "mine"
    chapters.copy_course(course, mine)
    (mine / ".vaetl-copied.json").write_text("[3]", encoding="utf-8")
    with pytest.raises(errors.CourseError, match="choose another with --dir"):
        chapters.copy_course(course, mine)


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
    monkeypatch.setattr(requirements, "missing", lambda extra, only=(): ["jupyterlab>=4.2"])
    assert vaetl("lab", "--dir", "mine") == 2
    assert 'python -m pip install "jupyterlab>=4.2"' in capsys.readouterr().err
    assert not (course.parent / "mine").exists()


@pytest.mark.slow
def test_lab_serves_the_copy(course: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    code = (
        "import vaetl_helpers.app.lab as lab, pathlib; lab.course_dir = lambda: "
        f"pathlib.Path({str(course)!r})"
    )
    # As the installed command, which does not look for modules in the current folder.
    command = [sys.executable, "-P", "-c"]
    command.append(f"{code}; from vaetl_helpers.app.cli import main; main()")
    Path("random.py").write_text("raise RuntimeError('a file of the learner is imported')")
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
    assert "Your copy of the course:" in said and f"http://127.0.0.1:{port}/lab?token=" in said
    assert "Traceback" not in said


def test_data_lists_what_is_where(capsys: pytest.CaptureFixture[str]) -> None:
    assert vaetl("data") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == list(data.DATASETS)
    assert "licence" in lines[0]


def test_data_fetch_says_where(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "fetch", lambda name, root: Path(root) / name)
    assert vaetl("data", "fetch", "mnist", "--root", "here") == 0
    assert capsys.readouterr().out == "mnist is in here/mnist\n"


@pytest.fixture
def healthy(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A plain machine: no accelerator, a disk with room, every extra."""
    for name in ("COLAB_RELEASE_TAG", "KAGGLE_KERNEL_RUN_TYPE", "BINDER_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    monkeypatch.setattr("vaetl_helpers.device.hidden_gpu", lambda: None)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=12_340_000_000))
    monkeypatch.setattr("vaetl_helpers.app.doctor.missing", lambda extra, only=(): [])
    forget()
    yield
    forget()


def forget() -> None:
    """What the probe has found is kept for the process."""
    device.best_device.cache_clear()
    device.status.cache_clear()


def accelerators(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """Two accelerators: of kind "cpu" they work, of kind "meta" they take every operation and
    compute nothing.
    """
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device(kind))
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 2)
    monkeypatch.setattr("vaetl_helpers.device.device_name", lambda device: f"the {device}")


def doctor(capsys: pytest.CaptureFixture[str]) -> tuple[dict[str, str], list[str]]:
    """What `vaetl doctor` prints: facts by name, and what there is to do."""
    code = vaetl("doctor")
    facts, _, todo = capsys.readouterr().out.rpartition("ready\n" if code == 0 else "to do:\n")
    assert bool(todo) == bool(code)
    lines = (re.split(r" {2,}", line, maxsplit=1) for line in facts.splitlines())
    return dict(lines), todo.splitlines()


def test_doctor_shows_the_whole_picture_and_ends_in_ready(
    healthy: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(
        "vaetl_helpers.app.doctor.missing",
        lambda extra, only=(): ["some>=1"] if extra == "text" else [],
    )
    facts, todo = doctor(capsys)
    assert todo == []  # a missing extra is said, and nothing to mend
    assert (
        facts["extra text"] == 'python -m pip install "some>=1"' and facts["extra lab"] == "present"
    )
    for package in ("torch", "torchvision", "accelerate", "numpy"):
        assert facts[package] == metadata.version(package)
    assert (facts["torch cuda"], facts["platform"], facts["disk free"]) == (
        "13.0",
        "Python",
        "12.3 GB",
    )
    assert (
        facts["accelerator"] == "none found" and facts["device"] == f"CPU, {os.cpu_count()} cores"
    )
    assert {"python", "system", "processor", "cores", "memory", "notebooks"} <= set(facts)
    assert Path(facts["for instructors"]).parts[-3:] == ("docs", "instructors", "README.md")
    rows = {row["name"]: row for row in data.where()}
    assert all(facts[f"data {name}"].startswith(rows[name]["status"]) for name in data.DATASETS)
    assert "advice" not in facts


def test_doctor_lists_accelerators_that_work(
    healthy: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    accelerators(monkeypatch, "cpu")
    facts, todo = doctor(capsys)
    assert facts["device"] == "the cpu:0"
    assert {name: fact for name, fact in facts.items() if name.startswith("accelerator")} == {
        f"accelerator cpu:{number}": f"the cpu:{number}: works, precision no" for number in (0, 1)
    }


def test_doctor_says_what_there_is_to_do_one_line_a_problem(
    healthy: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    accelerators(monkeypatch, "meta")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=400_000_000))
    monkeypatch.setattr(
        "vaetl_helpers.app.doctor.missing",
        lambda extra, only=(): ["jupyterlab>=4.2"] if extra == "lab" else [],
    )

    def no_course() -> Path:
        raise errors.CourseError("The notebooks are missing: install again.")

    monkeypatch.setattr("vaetl_helpers.app.doctor.course_dir", no_course)
    facts, todo = doctor(capsys)
    assert [line.partition(" says")[0] for line in todo[:2]] == [
        "The device meta:0",
        "The device meta:1",
    ]
    assert todo[2:] == [
        'python -m pip install "jupyterlab>=4.2"',
        "free some disk space: 0.4 GB are left, runs and data need 2 GB",
        "The notebooks are missing: install again.",
    ]
    assert facts["device"] == "the cpu" and facts["notebooks"] == "missing"
    assert facts["accelerator meta:1"].startswith(
        "the meta:1: The device meta:1 says that it is available but fails"
    )


def test_doctor_names_a_gpu_that_pytorch_does_not_see(
    healthy: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "vaetl_helpers.device.hidden_gpu", lambda: "There is a GPU,\nbut its driver is too old."
    )
    facts, todo = doctor(capsys)
    assert (
        todo
        == ["There is a GPU, but its driver is too old. Using the CPU."]
        == [facts["accelerator"]]
    )


def test_doctor_on_kaggle_without_an_accelerator_shows_the_switch(
    healthy: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAGGLE_KERNEL_RUN_TYPE", "Interactive")
    facts, todo = doctor(capsys)
    assert facts["platform"] == "Kaggle" and "Settings > Accelerator > GPU T4 x2" in facts["advice"]
    assert todo == []  # it is no fault
    forget()
    accelerators(
        monkeypatch, "meta"
    )  # a P100 that this PyTorch has no code for: the switch is what mends it
    facts, todo = doctor(capsys)
    assert "GPU T4 x2" in facts["advice"] and todo


def test_doctor_for_a_bug_report_is_the_same_as_json_and_names_nobody(
    healthy: None,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    home = tmp_path / "home" / "ada"
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    monkeypatch.setattr("vaetl_helpers.app.doctor.course_dir", lambda: home / "lovelace" / "course")
    row = {"name": "mnist", "status": "full set", "path": str(home / ".cache" / "mnist")}
    monkeypatch.setattr(
        "vaetl_helpers.app.doctor.where",
        lambda: [row, {"name": "x", "status": "not here", "path": f"{home}-2/x"}],
    )
    monkeypatch.setattr("vaetl_helpers.device.hidden_gpu", lambda: f"No driver in {home}.")
    facts, todo = doctor(capsys)
    assert vaetl("doctor", "--json") == 1
    said = capsys.readouterr().out
    report = json.loads(said)
    assert str(home / ".") not in said and f"{home}." not in said
    assert report["todo"] == todo == ["No driver in ~. Using the CPU."] and report["ready"] is False
    assert Path(report["notebooks"]) == Path("~/lovelace/course")
    assert report["data"]["mnist"] == f"full set, {Path('~/.cache/mnist')}"
    flat = {name: value for name, value in report.items() if isinstance(value, str)}
    flat |= {f"extra {name}": state for name, state in report["extras"].items()}
    flat |= {f"data {name}": state for name, state in report["data"].items()}
    assert flat == facts
    monkeypatch.setattr("vaetl_helpers.device.hidden_gpu", lambda: None)
    forget()
    assert vaetl("doctor", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["ready"] is True and report["todo"] == [] and report["extras"]["lab"] == "present"


def test_doctor_without_a_home_directory_leaves_paths_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOME", "/")
    assert presentable({"notebooks": "/opt/course", "todo": ["a\n b"]}) == {
        "notebooks": "/opt/course",
        "todo": ["a b"],
    }


def test_site_is_made_of_the_solutions(course: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert vaetl("site", "--out", "pages") == 0
    assert capsys.readouterr().out == f"{course.parent / 'pages' / 'index.html'}\n"
    assert "<math" in Path("pages/02_second.html").read_text("utf-8")


@pytest.mark.parametrize("arguments", ["site --out file/pages", "lab --no-browser"])
def test_a_folder_that_cannot_be_is_one_sentence(
    arguments: str,
    course: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    Path("file").touch()
    assert vaetl(*arguments.split()) == 2
    said = capsys.readouterr()
    assert said.err.startswith("vaetl: ") and said.err.count("\n") == 1
    assert "choose another folder" in said.err or "say where your copy is to be" in said.err


def test_site_without_pdoc_says_what_pages_of_functions_need(
    course: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pdoc", None)
    assert vaetl("site", "--out", "pages", "--api") == 2
    said = capsys.readouterr()
    assert said.out == f"{course.parent / 'pages' / 'index.html'}\n"
    assert said.err.count("\n") == 1 and "python -m pip install" in said.err


@pytest.mark.slow
def test_pages_of_functions_ask_nothing_of_other_machines(tmp_path: Path) -> None:
    pytest.importorskip("pdoc")
    from vaetl_helpers.authoring.api import write_api

    index = write_api(tmp_path)
    pages = [*tmp_path.rglob("*.html"), *tmp_path.rglob("*.js")]
    assert index in pages and tmp_path / "vaetl_helpers" / "training.html" in pages
    for page in pages:
        text = page.read_text("utf-8")
        fetched = r"""src=["']https?:|<link[^>]*https?:|@import|url\(["']?https?:|\bfetch\("""
        assert not re.search(fetched, text), page
    assert "Trains `model` in place" in (tmp_path / "vaetl_helpers" / "training.html").read_text()


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
