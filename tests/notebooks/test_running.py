"""`vaetl run`: what it executes, keeps, writes and refuses; small notebooks stand in."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from small_course import REPORT, SETUP, write

from vaetl_helpers import chapters, requirements
from vaetl_helpers.app import running
from vaetl_helpers.app.execution import execute
from vaetl_helpers.authoring.assets.record import record
from vaetl_helpers.chapters import chapters_in, choose, share, typed
from vaetl_helpers.errors import CourseError
from vaetl_helpers.requirements import missing
from vaetl_helpers.study import COLUMNS

WITHOUT_EPOCHS = 'profile: str = "auto"\nseed: int = 0'
NAN = (
    'show("record", name="loss", value=float("inf"), unit="nats", low=None, high=None, n=None, '
    "data=None)"
)


def without(packages: dict[str, str | None], patch: pytest.MonkeyPatch) -> None:
    """Makes these packages look absent (None) or of another version."""
    real = metadata.version

    def version(name: str) -> str:
        if name in packages and packages[name] is None:
            raise metadata.PackageNotFoundError(name)
        return packages.get(name) or real(name)

    patch.setattr(metadata, "version", version)


def metrics(out: Path) -> dict[str, Any]:
    return json.loads((out / "metrics.json").read_text("utf-8"))


@pytest.fixture(autouse=True)
def forked_kernels(request: pytest.FixtureRequest) -> None:
    """Slow tests start kernels: forks of one process."""
    if request.node.get_closest_marker("slow"):
        request.getfixturevalue("warm_kernels")


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, warm_kernels: None) -> Iterator[SimpleNamespace]:
    """One run with -p epochs=1: chapters that pass, fail in a cell, lack an extra, and lose their
    kernel.
    """
    folder = tmp_path_factory.mktemp("run")
    course, out = (
        folder / "course",
        folder / "results {1}",
    )  # papermill would take the braces for a format
    write(course, "01_first", "# One\n\n$x^2$", SETUP, REPORT, "import sys; print(sys.executable)")
    write(
        course,
        "02_second",
        "# Two",
        SETUP,
        "print('kept')",
        "def part(n):\n    return 1 / n\npart(0)",
    )
    write(course, "03_third", "# Three", SETUP, requires=("text",))
    write(course, "03b_more", "# More", SETUP, NAN, parameters=WITHOUT_EPOCHS)
    write(course, "04_fourth", "# Four", SETUP, "import os; os._exit(1)")
    before = sorted(course.iterdir())
    foreign = folder / "jupyter" / "kernels" / "python3"
    foreign.mkdir(parents=True)
    kernel = {"argv": ["false"], "display_name": "another", "language": "python"}
    (foreign / "kernel.json").write_text(json.dumps(kernel), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_DATA_DIR", str(foreign.parent.parent))
        patch.setenv("JUPYTER_PREFER_ENV_PATH", "0")
        without({"transformers": None}, patch)
        code = running.run(parameters={"epochs": "1"}, out=out, course=course)
    assert sorted(course.iterdir()) == before  # nothing is written into the course
    return SimpleNamespace(code=code, course=course, out=out, metrics=metrics(out))


@pytest.mark.slow
def test_a_failed_chapter_does_not_stop_the_others(ran: SimpleNamespace) -> None:
    assert ran.code == 1
    status = {number: entry["status"] for number, entry in ran.metrics["chapters"].items()}
    assert status == {
        "01": "passed",
        "02": "failed",
        "03": "skipped",
        "03b": "passed",
        "04": "failed",
    }
    assert ran.metrics["chapters"]["02"]["error"] == "In [5]: ZeroDivisionError: division by zero"
    assert "In [4]: DeadKernelError" in ran.metrics["chapters"]["04"]["error"]
    assert all(entry["seconds"] > 0 for n, entry in ran.metrics["chapters"].items() if n != "03")
    executed = json.loads((ran.out / "notebooks" / "02_second.ipynb").read_text("utf-8"))
    assert any("kept" in str(cell.get("outputs")) for cell in executed["cells"])


@pytest.mark.slow
def test_a_missing_extra_skips_with_the_command_that_installs_it(ran: SimpleNamespace) -> None:
    entry = ran.metrics["chapters"]["03"]
    needs = next(
        line for line in metadata.requires("vaetl-helpers") if line.startswith("transformers")
    )
    command = f'python -m pip install "{needs.partition(";")[0].strip()}"'
    assert entry["notebook"] is None and entry["reason"] == f"needs the extra text: {command}"


@pytest.mark.slow
def test_records_run_and_data_are_collected(ran: SimpleNamespace) -> None:
    first = {
        "id": "01/accuracy",
        "name": "test accuracy",
        "value": 87.0,
        "unit": "%",
        "low": 85.0,
        "high": 87.0,
        "n": 3,
    }
    lost = {
        "name": "loss",
        "value": None,
        "unit": "nats",
        "low": None,
        "high": None,
        "n": None,
        "data": None,
    }
    assert ran.metrics["records"] == [
        {"chapter": "01", **first, "data": "Fashion-MNIST"},
        {"chapter": "03b", **lost},
    ]
    facts = ran.metrics["run"]
    assert (facts["profile"], facts["seed"], facts["device"]) == ("smoke", 0, "CPU, 2 cores")
    assert facts["data"] == ["Fashion-MNIST, embedded 9,000/1,000/2,000"]
    assert facts["parameters"] == {"epochs": 1}
    assert {"python", "torch", "torchvision", "numpy", "vaetl-helpers"} <= set(facts["versions"])
    assert facts["started"] and facts["seconds"] > 0


@pytest.mark.slow
def test_a_receipt_shown_in_a_notebook_ends_in_the_metrics_with_its_chapter(tmp_path: Path) -> None:
    bill = (
        "from vaetl_helpers.hardware import Receipt\nReceipt(7200.0, 10, 5e9, 60.0, 'assumed 1 "
        "W').show('Ten epochs')"
    )
    write(tmp_path / "course", "01_first", "# One", SETUP, REPORT)
    write(tmp_path / "course", "02_second", "# Two", SETUP, bill)
    assert running.run(out=tmp_path / "out", course=tmp_path / "course") == 0
    (found,) = metrics(tmp_path / "out")["receipts"]
    expected = {
        "chapter": "02",
        "title": "Ten epochs",
        "cost": 0.7,
        "seconds": 7200.0,
        "images": 10,
        "flops": 5e9,
    }
    expected |= {"joules": 60.0, "energy_source": "assumed 1 W", "peak": 0.0, "memory": 0}
    assert expected.items() <= found.items()
    assert [record["chapter"] for record in metrics(tmp_path / "out")["records"]] == ["01"]


@pytest.mark.slow
def test_a_studys_table_is_kept_and_recorded_with_its_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = (
        "from vaetl_helpers.study import COLUMNS, Table\nfrom vaetl_helpers.settings import "
        "Settings\n"
    )
    study += "kept = Settings(chapter='01').table_path('tops')\nkept.parent.mkdir(exist_ok=True)\n"
    study += "Table([dict.fromkeys(COLUMNS, 1)]).write(kept)"
    write(tmp_path / "course", "01_first", "# One", SETUP, study, REPORT)
    assert running.run(out=tmp_path / "out", course=tmp_path / "course") == 0
    assert "VAETL_TABLES" not in os.environ, "a notebook opened by hand keeps no table"
    facts = json.loads((tmp_path / "out" / "metrics.json").read_text("utf-8"))
    facts["run"]["parameters"] = {"task": "tops"}
    (tmp_path / "out" / "metrics.json").write_text(json.dumps(facts), "utf-8")
    (tmp_path / "recorded").mkdir()
    paths = record(tmp_path / "out", "a machine", tmp_path / "recorded")
    written = {path.name: path.read_text("utf-8") for path in paths}
    assert written.keys() == {"01_first_tops.json", "01_tops.csv"}
    assert written["01_tops.csv"].splitlines()[0] == ",".join(COLUMNS)
    assert json.loads(written["01_first_tops.json"])["command"].endswith("-p task=tops")


@pytest.mark.slow
def test_the_kernel_is_this_interpreter(ran: SimpleNamespace) -> None:
    assert sys.executable in (ran.out / "notebooks" / "01_first.ipynb").read_text("utf-8")


@pytest.mark.slow
def test_pages_of_whatever_was_executed(ran: SimpleNamespace) -> None:
    index = (ran.out / "index.html").read_text("utf-8")
    assert (
        'href="01_first.html"' in index
        and "ZeroDivisionError" in index
        and "87 % [85, 87]" in index
    )
    assert "<math" in (ran.out / "01_first.html").read_text("utf-8")
    assert not (ran.out / "03_third.html").exists()


@pytest.mark.slow
def test_resume_keeps_what_passed(ran: SimpleNamespace, capsys: pytest.CaptureFixture[str]) -> None:
    write(ran.course, "02_second", "# Two", SETUP, "print('mended')")
    write(ran.course, "04_fourth", "# Four", SETUP)
    first = (ran.out / "notebooks" / "01_first.ipynb").stat().st_mtime_ns
    assert running.run(out=ran.out, resume=True, course=ran.course) == 0
    said = capsys.readouterr().out
    assert "01 First: passed earlier, kept" in said and "03b More: passed earlier, kept" in said
    assert "02 Second: passed," in said and "04 Fourth: passed," in said
    assert (ran.out / "notebooks" / "01_first.ipynb").stat().st_mtime_ns == first
    now = metrics(ran.out)
    assert now["run"]["parameters"] == {"epochs": 1}  # not given again: those of the run
    assert {entry["status"] for entry in now["chapters"].values()} == {"passed"}
    assert [record["value"] for record in now["records"]] == [87.0, None]
    # Another source, or other parameters, and the earlier result is not this chapter's.
    write(ran.course, "01_first", "# One", SETUP, REPORT, "'changed'")
    assert running.run(["1"], out=ran.out, resume=True, course=ran.course) == 0
    assert "01 First: passed," in capsys.readouterr().out
    assert (
        running.run(["1"], parameters={"epochs": "2"}, out=ran.out, resume=True, course=ran.course)
        == 0
    )
    assert "01 First: passed," in capsys.readouterr().out
    assert [record["value"] for record in metrics(ran.out)["records"]] == [88.0, None]
    assert set(metrics(ran.out)["chapters"]) == {"01", "02", "03", "03b", "04"}


def bands(tmp_path: Path, patch: pytest.MonkeyPatch, text: str) -> None:
    (tmp_path / "expected.yaml").write_text(text, encoding="utf-8")
    patch.setattr(running, "EXPECTED", tmp_path / "expected.yaml")


@pytest.mark.slow
def test_a_number_outside_its_band_warns_and_strict_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "course", "01_first", "# One", SETUP, REPORT)
    bands(tmp_path, monkeypatch, '"01": {01/accuracy: {smoke: [87, 90], cpu: [0, 1]}}')
    assert running.run(out=tmp_path / "out", course=tmp_path / "course") == 0
    assert "warning: 01: test accuracy is 86.0, the text says 87 to 90" in capsys.readouterr().out
    assert (
        running.run(out=tmp_path / "out", resume=True, strict=True, course=tmp_path / "course") == 1
    )
    bands(tmp_path, monkeypatch, '"01": {01/accuracy: {smoke: [85, 90]}}')
    assert (
        running.run(out=tmp_path / "out", resume=True, strict=True, course=tmp_path / "course") == 0
    )


@pytest.mark.parametrize(
    ("value", "profile", "parameters", "warned"),
    [
        (86.0, "smoke", {}, False),
        (86.0, "smoke", {"seed": 7}, False),
        (84.9, "smoke", {}, True),
        (84.9, "smoke", {"seed": 7}, True),
        (84.9, "smoke", {"epochs": 1}, False),  # the bands are of the profile's own values
        (84.9, "gpu", {}, False),  # no band
        (None, "smoke", {}, True),  # not finite
        ("not reported", "smoke", {}, True),
    ],
)
def test_which_numbers_are_judged(
    value: Any,
    profile: str,
    parameters: dict[str, int],
    warned: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bands(
        tmp_path,
        monkeypatch,
        '"01": {01/accuracy: {smoke: [85, 90]}}\n"02": {02/loss: {smoke: [0, 1]}}',
    )
    record = {"chapter": "01", "id": "01/accuracy", "name": "accuracy", "value": value}
    records = [] if value == "not reported" else [record]
    entry = {"status": "passed", "profile": profile, "parameters": parameters}
    entries = {"01": entry, "02": {"status": "failed"}}
    content = {"run": {"profile": profile}, "chapters": entries, "records": records}
    assert bool(running.outside(content)) is warned


def test_the_bands_that_are_shipped_have_the_right_shape() -> None:
    import yaml

    for records in (yaml.safe_load(running.EXPECTED.read_text("utf-8")) or {}).values():
        for by_profile in records.values():
            for profile, (low, high) in by_profile.items():
                assert profile in running.CELL_SECONDS and low <= high


def started(course: Path, *arguments: str) -> list[str]:
    """A command line that runs `vaetl` on this course."""
    code = (
        "import vaetl_helpers.app.running as r, pathlib; r.course_dir = lambda: "
        f"pathlib.Path({str(course)!r})"
    )
    return [
        sys.executable,
        "-c",
        f"{code}; from vaetl_helpers.app.cli import main; main()",
        *arguments,
    ]


@pytest.mark.slow
def test_ctrl_c_leaves_what_is_finished_and_says_how_to_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    course, out = tmp_path / "course", tmp_path / "out"
    write(course, "01_first", "# One", SETUP, REPORT)
    write(course, "02_second", "# Two", SETUP, "open('begun', 'w')\nimport time\ntime.sleep(600)")
    write(course, "03_third", "# Three", SETUP)
    command = started(course, "run", "--out", str(out), "-p", "seed=3", "--jobs", "1")
    # As in a terminal, the whole group gets the signal.
    process = subprocess.Popen(
        command, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    while not (out / "begun").exists():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)
    said, complained = process.communicate(timeout=120)
    assert process.returncode == 130
    assert f'vaetl run --resume --out "{out}"' in said and "Traceback" not in said + complained
    left = metrics(out)
    status = {number: entry["status"] for number, entry in left["chapters"].items()}
    assert status == {"01": "passed", "02": "interrupted", "03": "pending"}
    assert left["records"][0]["value"] == 86.0 and left["run"]["seed"] == 3
    assert (out / "index.html").exists() and (out / "01_first.html").exists()
    write(course, "02_second", "# Two", SETUP)
    assert running.run(out=out, resume=True, course=course) == 0
    assert "01 First: passed earlier, kept" in capsys.readouterr().out
    assert metrics(out)["run"]["seed"] == 3
    assert {entry["status"] for entry in metrics(out)["chapters"].values()} == {"passed"}


@pytest.mark.slow
def test_chapters_run_side_by_side_and_ctrl_c_ends_all_of_them(tmp_path: Path) -> None:
    course, out = tmp_path / "course", tmp_path / "out"
    meet = """from pathlib import Path
import time
Path("{mine}").touch()
while not Path("{theirs}").exists():
    time.sleep(0.05)"""
    wait = "open('begun-{}', 'w')\nimport time\ntime.sleep(600)"
    write(course, "01_first", "# One", SETUP, meet.format(mine="a", theirs="b"), REPORT)
    write(course, "02_second", "# Two", SETUP, meet.format(mine="b", theirs="a"))
    write(course, "03_third", "# Three", wait.format("03"))
    write(course, "04_fourth", "# Four", wait.format("04"))
    write(course, "05_fifth", "# Five")
    command = started(course, "run", "--out", str(out), "--jobs", "2")
    process = subprocess.Popen(
        command, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    while not ((out / "begun-03").exists() and (out / "begun-04").exists()):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)
    said, complained = process.communicate(timeout=120)
    assert process.returncode == 130 and "Traceback" not in said + complained
    lines = said.splitlines()
    assert any(line.startswith("01 First: passed, ") for line in lines)
    assert any(line.startswith("02 Second: passed, ") for line in lines)
    left = metrics(out)
    status = [entry["status"] for entry in left["chapters"].values()]
    assert status == ["passed", "passed", "interrupted", "interrupted", "pending"]
    assert left["records"][0]["value"] == 86.0


def test_the_longest_chapter_begins_first_and_only_smoke_runs_two(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known = chapters_in(chapters.course_dir())
    longest = max(known.values(), key=running.expected_minutes)
    assert running.expected_minutes(longest) > running.expected_minutes(known["00"]) > 0
    monkeypatch.setattr(running, "available_cores", lambda: 8)
    monkeypatch.setattr(running, "available_bytes", lambda: 8e9)
    jobs = {profile: running.default_jobs(profile) for profile in running.CELL_SECONDS}
    assert jobs.pop("smoke") == 2 and set(jobs.values()) == {1}
    monkeypatch.setattr(running, "available_bytes", lambda: 2e9)
    assert running.default_jobs("smoke") == 1
    monkeypatch.setattr(running, "available_bytes", lambda: 8e9)
    monkeypatch.setattr(running, "available_cores", lambda: 1)
    assert running.default_jobs("smoke") == 1
    with pytest.raises(CourseError, match="mend --jobs 0"):
        running.run(jobs=0)


@pytest.mark.slow
def test_a_full_disk_is_one_sentence_and_what_is_finished_stays(tmp_path: Path) -> None:
    course, out = tmp_path / "course", tmp_path / "out"
    write(course, "01_first", "# One", SETUP, REPORT)
    write(course, "02_second", "# Two", "print('many letters\\n' * 20_000)")

    def small_files() -> None:  # the system refuses to write more, as on a full disk
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    command = started(course, "run", "--out", str(out), "--jobs", "1")
    done = subprocess.run(command, preexec_fn=small_files, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith(f"vaetl: {out} cannot be written (File too large)")
    assert done.stderr.count("\n") == 1
    assert metrics(out)["chapters"]["01"]["status"] == "passed"
    assert metrics(out)["chapters"]["02"]["status"] == "interrupted"


@pytest.mark.slow
def test_a_cell_that_hangs_is_stopped(tmp_path: Path) -> None:
    source = write(tmp_path, "01_first", "'quick'", "while True: pass")
    (tmp_path / "run" / "notebooks").mkdir(parents=True)
    error = execute(source, tmp_path / "run" / "notebooks" / "01_first.ipynb", {}, seconds=1)
    assert error == "In [3]: took longer than 1 s"


@pytest.mark.slow
def test_a_formula_without_a_page_costs_no_numbers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "course", "01_first", r"# One $\foo$", SETUP, REPORT)
    assert running.run(out=tmp_path / "out", course=tmp_path / "course") == 1
    assert r"no pages: The formula $\foo$" in capsys.readouterr().out
    assert metrics(tmp_path / "out")["records"][0]["value"] == 86.0


def test_a_folder_with_a_run_or_without_one_is_refused(tmp_path: Path) -> None:
    course = write(tmp_path / "course", "01_first", "# One").parent
    (tmp_path / "out").mkdir()
    with pytest.raises(CourseError, match="holds no run to resume"):
        running.run(out=tmp_path / "out", resume=True, course=course)
    with pytest.raises(CourseError, match="--out DIR"):
        running.run(resume=True, course=course)
    (tmp_path / "out" / "metrics.json").write_text('{"run": {"asked": {"chap', encoding="utf-8")
    with pytest.raises(CourseError, match="holds no run to resume"):
        running.run(out=tmp_path / "out", resume=True, course=course)
    with pytest.raises(CourseError, match="holds a run: continue it with --resume"):
        running.run(out=tmp_path / "out", course=course)
    assert (tmp_path / "out" / "metrics.json").read_text("utf-8") == '{"run": {"asked": {"chap'


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    course = write(tmp_path / "course", "01_first", "# One").parent
    (tmp_path / "file").touch()
    with pytest.raises(
        CourseError, match=r"cannot be written \(Not a directory\): free some space"
    ):
        running.run(out=tmp_path / "file" / "out", course=course)


def test_chapters_have_several_names(tmp_path: Path) -> None:
    for name in ("01_training_step", "03_vae", "03b_vae_in_depth"):
        write(tmp_path, name)
    known = chapters_in(tmp_path)
    for name in (
        "01",
        "1",
        "01_training_step",
        "training_step",
        "01_TRAINING_step",
        str(tmp_path / "01_training_step.ipynb"),
    ):
        assert [chapter.number for chapter in choose([name], known)] == ["01"]
    assert [chapter.number for chapter in choose(["3b", "1"], known)] == ["01", "03b"]
    assert len(choose([], known)) == 3
    with pytest.raises(CourseError, match="Unknown chapter '03c': did you mean '03"):
        choose(["01", "03c"], known)
    with pytest.raises(
        CourseError, match="There are no notebooks in .*: write them with `vaetl build`"
    ):
        chapters_in(tmp_path / "nothing")


@pytest.fixture
def three(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A course of three chapters with solutions and a source, from whose folder one works."""
    for name in ("00_start_here", "01_training_step", "03_vae"):
        write(tmp_path / "course", name, "# One", "print('the course')")
        write(tmp_path / "course" / "solutions", name, "# One", "print('solved')")
    (tmp_path / "course" / "source").mkdir()
    (tmp_path / "course" / "source" / "03_vae.py").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path / "course"


def test_the_start_page_is_called_0_as_well(three: Path) -> None:
    assert [chapter.number for chapter in choose(["0", "3"], chapters_in(three))] == ["00", "03"]


@pytest.mark.parametrize("text", ["nowhere/01_training_step.ipynb", "03_vae.ipynb", "mine/"])
def test_a_path_without_a_file_is_an_error_for_every_command(three: Path, text: str) -> None:
    known = chapters_in(three)
    for command in (choose, chapters.choose_or_read):
        with pytest.raises(CourseError, match="There is no file .*, such as 0 or 00_start_here"):
            command([text], known)


def test_files_of_the_course_are_its_chapters_and_others_are_not(three: Path) -> None:
    known = chapters_in(three)
    for own in ("course/03_vae.ipynb", "course/solutions/03_vae.ipynb", "course/source/03_vae.py"):
        assert [chapter.number for chapter in choose([own], known)] == ["03"]
    write(three.parent / "mine", "03_vae", "# One", "print('mine')")
    with pytest.raises(CourseError, match="a file of yours, and a chapter of the course is meant"):
        choose(["mine/03_vae.ipynb"], known)
    (three.parent / "mine" / "copy.ipynb").write_bytes(known["03"].path.read_bytes())
    assert [chapter.number for chapter in choose(["mine/copy.ipynb"], known)] == ["03"]


@pytest.mark.parametrize(
    "name",
    [
        "01_training_step",
        "Copy of 01_training_step",
        "01-training-step",
        "01_training_step (1)",
        "01_training_step-Copy1",
        "ada lovelace - 01_Training_Step",
    ],
)
def test_names_that_platforms_give_still_say_the_chapter(three: Path, name: str) -> None:
    paths = chapters.files_of(chapters_in(three))
    assert chapters.number_in_name(name, paths) == "01"
    assert chapters.number_in_name("01_training_stept", paths) is None
    assert chapters.number_in_name("Untitled", paths) is None


def printed(out: Path, name: str) -> str:
    cells = json.loads((out / "notebooks" / name).read_text("utf-8"))["cells"]
    return "".join(
        text
        for cell in cells
        for output in cell.get("outputs", ())
        for text in output.get("text", ())
    )


@pytest.mark.slow
def test_the_file_that_is_named_is_the_file_that_is_run(
    three: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine, out = three.parent / "mine", three.parent / "out"
    copy = mine / "Copy of 01_training_step.ipynb"
    write(mine, "01_training_step", "# One", "print('mine')").rename(copy)
    path = str(copy)
    assert running.run([path, "3"], out=out, course=three) == 0
    assert printed(out, "Copy of 01_training_step.ipynb") == "mine\n"
    assert printed(out, "03_vae.ipynb") == "the course\n"
    assert metrics(out)["run"]["asked"]["chapters"] == [path, "03"]
    capsys.readouterr()
    assert running.run(out=out, resume=True, course=three) == 0
    assert capsys.readouterr().out.count("passed earlier, kept") == 2
    solved = "course/solutions/03_vae.ipynb"
    assert running.run([solved], out=three.parent / "solved", course=three) == 0
    assert printed(three.parent / "solved", "03_vae.ipynb") == "solved\n"


def test_files_that_cannot_be_run_in_place_of_a_chapter_are_refused(three: Path) -> None:
    mine, known = three.parent / "mine", chapters_in(three)
    write(mine, "03_vae", "# One", "print('mine')")
    write(mine, "Untitled", "# One")
    (mine / "notes.ipynb").write_text("no notebook", encoding="utf-8")
    for names, words in (
        (["mine/notes.ipynb"], "is no notebook: give one"),
        (["course/source/03_vae.py"], "is no notebook: give one"),
        (["mine/Untitled.ipynb"], "is no notebook of the course"),
        (["3", "mine/03_vae.ipynb"], "are both chapter 03"),
    ):
        with pytest.raises(CourseError, match=words):
            chapters.choose_or_read(names, known)
    with pytest.raises(CourseError, match="leave out one or the other"):
        running.run(["mine/03_vae.ipynb"], solutions=True, course=three)


@pytest.mark.slow
@pytest.mark.parametrize("chosen", [["1"], []], ids=["one kernel", "forked kernels"])
def test_the_shells_variables_do_not_empty_the_pages(
    three: Path, chosen: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "startup.py").write_text("print = None", encoding="utf-8")
    monkeypatch.setenv("MPLBACKEND", "agg")
    monkeypatch.setenv("PYTHONSTARTUP", str(tmp_path / "startup.py"))
    monkeypatch.setenv("PYTHONOPTIMIZE", "2")
    drawing = "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()\nprint(__debug__)"
    for name in ("00_start_here", "01_training_step"):
        write(three, name, "# One", drawing)
    (three / "03_vae.ipynb").unlink()
    assert running.run(chosen, out=tmp_path / "out", course=three) == 0
    for path in (tmp_path / "out" / "notebooks").iterdir():
        text = path.read_text("utf-8")
        assert "image/png" in text and "True\\n" in text


@pytest.mark.parametrize(
    ("given", "annotation", "value"),
    [
        ("3", "int | None", 3),
        ("null", "int | None", None),
        ("1e-3", "float | None", 1e-3),
        ("2", "float", 2.0),
        ("true", "bool | None", True),
        ("01", "str", "01"),
        ("[1, 2]", "list[int] | None", [1, 2]),
        ("10,100", "list[int] | None", [10, 100]),
        ("10", "list", [10]),
        ("digits, mnist", "list | None", ["digits", "mnist"]),
        ("None", "list | None", None),
        ("None", "int | None", None),
        ("None", "str | None", None),
        ("1", "bool | None", True),
        ("0", "bool", False),
        ("yes", "bool", True),
        (3, "int", 3),
    ],
)
def test_parameters_are_typed_by_their_annotation(given: Any, annotation: str, value: Any) -> None:
    result = typed("p", given, annotation)
    assert result == value and type(result) is type(value)


@pytest.mark.parametrize(
    ("given", "annotation"),
    [
        ("x", "int | None"),
        ("1.5", "int"),
        ("true", "int"),
        ("2", "bool"),
        ("null", "int"),
        ("None", "int"),
        ("10,a", "list[int]"),
        ("many", "float | None"),
        ("[1", "list[int]"),
    ],
)
def test_parameters_of_the_wrong_type_are_refused(given: str, annotation: str) -> None:
    with pytest.raises(CourseError, match="The parameter p takes .*: write -p p="):
        typed("p", given, annotation)


def test_folders_among_the_parameters_are_found_from_everywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "mini").mkdir()
    types = dict.fromkeys(("data_root", "photos", "model"), "str | None")
    chapter = SimpleNamespace(number="04", parameters=types)

    def shared(**values: str) -> dict[str, Any]:
        return share(values, [chapter])["04"]

    assert shared(data_root="~/d", photos="here") == {
        "data_root": str(tmp_path / "home" / "d"),
        "photos": str(tmp_path / "here"),
    }
    assert shared(model="mini") == {"model": str(tmp_path / "mini")}
    assert shared(model="me/mini", data_root="None") == {"model": "me/mini", "data_root": None}


def test_a_parameter_of_some_chapters_goes_to_those(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, "01_first")
    write(tmp_path, "02_second", parameters=WITHOUT_EPOCHS)
    chosen = choose([], chapters_in(tmp_path))
    assert share({"epochs": "2", "seed": "1"}, chosen) == {
        "01": {"epochs": 2, "seed": 1},
        "02": {"seed": 1},
    }
    assert capsys.readouterr().out == "The parameter epochs is not known to 02: left out there.\n"
    with pytest.raises(CourseError, match="Unknown parameter 'epoch': did you mean 'epochs'"):
        share({"epoch": "2"}, chosen)
    with pytest.raises(CourseError, match="--profile NAME"):
        share({"profile": "cpu"}, chosen)


def test_extras_are_those_of_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    assert {"lab", "vision", "text", "detection", "grading"} <= set(requirements.extras())
    assert missing("lab") == []
    without({"papermill": None, "nbconvert": "5.0", "torch": None}, monkeypatch)
    lacking = missing("lab")
    assert [name.partition(">")[0] for name in sorted(lacking)] == ["nbconvert", "papermill"]
    assert missing("lab", only=("papermill",)) == [name for name in lacking if "papermill" in name]
    with pytest.raises(CourseError, match="Unknown extra 'txt': did you mean 'text'"):
        missing("txt")


def test_running_without_papermill_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without({"papermill": None}, monkeypatch)
    with pytest.raises(CourseError, match='python -m pip install "papermill>='):
        running.run(out=tmp_path / "out", course=tmp_path)
    assert not (tmp_path / "out").exists()


def test_the_records_of_a_table_are_collected_one_by_one(tmp_path: Path) -> None:
    def output(content: Any) -> dict[str, Any]:
        return {"data": {"text/plain": "", "application/vnd.vaetl.record+json": content}}

    cells = [
        {"outputs": [output([{"name": "a"}, {"name": "b"}]), {"data": {}}]},
        {"outputs": [output({"name": "c"})]},
        {},
    ]
    (tmp_path / "01.ipynb").write_text(json.dumps({"cells": cells}), "utf-8")
    found = chapters.collect(tmp_path / "01.ipynb")
    assert found == {
        "record": [{"name": "a"}, {"name": "b"}, {"name": "c"}],
        "receipt": [],
        "run": [],
        "data": [],
    }
