"""The start page's self-test and map, and the notes that fill it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from vaetl_helpers import chapters, data, device, progress, training, vae
from vaetl_helpers.app import lab, start
from vaetl_helpers.errors import CourseError
from vaetl_helpers.exercises import check


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, and a person who watches."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(progress, "is_interactive", lambda: True)
    monkeypatch.setattr(progress, "notebook_kernel", object)
    monkeypatch.delenv("VAETL_GRADING", raising=False)
    return tmp_path


def share_above(values: torch.Tensor, threshold: float) -> torch.Tensor:
    """A learner's right answer: the reference itself would be refused."""
    return (values > threshold).float().mean()


def test_checks_are_noted_and_what_was_solved_once_stays_solved(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    right = share_above
    for function in (lambda values, threshold: ..., right, lambda values, threshold: 7.0):
        check("start.share_above", function)
    notes = [json.loads(line) for line in (here / "progress.jsonl").read_text("utf-8").splitlines()]
    assert [(note["exercise"], note["status"]) for note in notes] == [
        ("start.share_above", status) for status in ("not attempted", "correct", "incorrect")
    ]
    assert all(note["time"][10] == "T" for note in notes)
    assert progress.solved() == progress.solved(here) == {"start.share_above"}


@pytest.mark.parametrize("who", ["nobody", "a grader", "a terminal"])
def test_runs_and_graders_leave_no_notes(
    here: Path, monkeypatch: pytest.MonkeyPatch, who: str
) -> None:
    monkeypatch.setattr(progress, "is_interactive", lambda: who != "nobody")
    monkeypatch.setattr(
        progress, "notebook_kernel", lambda: None if who == "a terminal" else object()
    )
    monkeypatch.setenv("VAETL_GRADING", "1" if who == "a grader" else "0")
    check("start.share_above", share_above)
    assert not list(here.iterdir()) and progress.solved() == set()


def test_damaged_notes_and_a_folder_that_cannot_be_written_cost_nothing(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = '{"exercise": "vae.kl", "status": "correct"}'
    lines = (
        b"\xff\xfe",
        b"[1]",
        b'{"exercise": "vae.elbo"}',
        good.encode(),
        b'{"exercise": "vae.elb',
    )
    (here / "progress.jsonl").write_bytes(b"\n".join(lines))
    assert progress.solved() == {"vae.kl"}
    (here / "progress.jsonl").unlink()
    (here / "progress.jsonl").mkdir()  # no file can be opened there, for root neither
    assert check("start.share_above", share_above)
    assert "[ok]" in capsys.readouterr().out and progress.solved() == set()


def test_the_map_counts_what_is_solved(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    progress.note("training.step", "correct")
    progress.note("training.cross_entropy", "correct")
    progress.note("training.accuracy", "incorrect")
    progress.note("gone.away", "correct")  # an exercise of an older version
    start.course_map()
    said = capsys.readouterr().out
    row = next(line for line in said.splitlines() if "01_training_step.ipynb" in line)
    assert row.startswith(
        "| [01 The training step](01_training_step.ipynb) | ■■□ 2 of 3 | 20 | 40 |"
    )
    every = [
        id
        for chapter in chapters.chapters_in(chapters.course_dir()).values()
        for id in chapter.exercises
    ]
    assert (
        f"2 of {len(every) - 1} exercises are solved." in said
    )  # the one to practise on does not count
    assert "00_start_here" not in said and said.count("0 of 5") >= 2


@pytest.mark.slow
def test_a_sound_machine_is_ready(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert start.self_test()
    said = capsys.readouterr().out
    assert (
        said.count("[ok]") == 6
        and "6 of 6 tests passed" in said
        and said.rstrip().endswith("ready.")
    )
    assert not list(here.iterdir())  # it leaves nothing behind


def with_one_wrong_pixel(name: str) -> data.Splits:
    part = data.ImageSet(
        torch.full((100, 28, 28), 200, dtype=torch.uint8), torch.zeros(100), ("a",)
    )
    return data.Splits(part, part, part, source="wrong")


FAULTS = {
    "packages": (
        start,
        "missing",
        lambda extra: ["transformers>=4.48"] if extra == "text" else [],
        "pip install",
    ),
    "device": (
        start,
        "best_device",
        lambda: device.DeviceStatus(torch.device("cpu"), "CPU", "The GPU fails."),
        "The GPU fails.",
    ),
    "images": (data, "load", with_one_wrong_pixel, "install vaetl-helpers again"),
    "training": (start, "evaluate", lambda *_: {"accuracy": 0.1}, "One epoch gives 10 %"),
    "mathematics": (vae, "kl", lambda mu, log_var: torch.tensor([0.25]), "came out as 0.4"),
    "folder": (
        start.shutil,
        "disk_usage",
        lambda _: type("", (), {"free": 10**9})(),
        "1.0 GB of disk are free",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FAULTS)
def test_a_faulty_machine_is_told_what_to_do_and_the_other_tests_go_on(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    place, attribute, fake, words = FAULTS[name]
    start._clothes.cache_clear()
    monkeypatch.setattr(
        start, "fit", lambda *_, **__: None
    )  # the untrained network is judged elsewhere
    if name != "training":
        monkeypatch.setattr(start, "evaluate", lambda *_: {"accuracy": 0.8})
    monkeypatch.setattr(place, attribute, fake)
    assert not start.self_test()
    said = capsys.readouterr().out
    row = next(line for line in said.splitlines() if f"| {name} |" in line)
    assert "[!!]" in row and words in row
    assert said.count("[ok]") == 5 and f"to mend: {name}." in said
    start._clothes.cache_clear()


def test_the_training_of_the_self_test_is_a_real_one() -> None:
    assert start.fit is training.fit and start.evaluate is training.evaluate


def test_a_layout_is_written_once(tmp_path: Path) -> None:
    [space] = lab.open_first(tmp_path, ["00_a.ipynb", "01_b.ipynb"]).iterdir()
    content = json.loads(space.read_text("utf-8"))
    assert content["data"]["layout-restorer:data"]["main"]["current"] == "notebook:00_a.ipynb"
    space.write_text("the learner's own", encoding="utf-8")
    lab.open_first(tmp_path, ["00_a.ipynb", "01_b.ipynb"])
    assert space.read_text("utf-8") == "the learner's own"


def test_a_file_in_the_place_of_the_settings_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / lab.OWN).touch()
    with pytest.raises(CourseError, match="cannot be written .* choose another folder with --dir"):
        lab.open_first(tmp_path, ["00_a.ipynb"])


def test_a_lent_machine_is_not_told_to_install_what_chapters_add_themselves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        start, "missing", lambda extra: ["transformers>=4.48"] if extra == "text" else []
    )
    monkeypatch.setattr("vaetl_helpers.app.start.hosted_platform", lambda: "Colab")
    assert "torch" in start._packages()
    monkeypatch.setattr("vaetl_helpers.app.start.hosted_platform", lambda: None)
    with pytest.raises(CourseError, match='for text run .*"transformers>=4.48"'):
        start._packages()


@pytest.mark.parametrize("offline", [False, True])
def test_offline_reaches_the_kernels_and_the_browser(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offline: bool
) -> None:
    started: list[tuple[list[str], dict[str, str]]] = []

    class Server:
        def __init__(self, command: list[str], env: dict[str, str], cwd: Path) -> None:
            started.append((command, env))

        def wait(self) -> int:
            return 3

    monkeypatch.setattr(lab.subprocess, "Popen", Server)
    monkeypatch.delenv("VAETL_OFFLINE", raising=False)
    assert lab.serve(tmp_path, "/lab", False, 8888, offline=offline) == 3
    [(command, environment)] = started
    assert ("Content-Security-Policy" in " ".join(command)) == offline
    assert (
        (environment.get("VAETL_OFFLINE") == "1")
        == (environment.get("HF_HUB_OFFLINE") == "1")
        == offline
    )


@pytest.mark.parametrize("instructor", [False, True])
def test_only_instructors_see_the_graders_buttons(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, instructor: bool
) -> None:
    commands: list[list[str]] = []

    class Server:
        def __init__(self, command: list[str], env: dict[str, str], cwd: Path) -> None:
            commands.append(command)

        def wait(self) -> int:
            return 0

    monkeypatch.setattr(lab.subprocess, "Popen", Server)
    lab.serve(tmp_path, "/lab", False, 8888, offline=False, instructor=instructor)
    config = json.loads((tmp_path / lab.OWN / "labconfig" / "page_config.json").read_text("utf-8"))
    assert (lab.GRADERS in config["disabledExtensions"]) != instructor
    assert lab.NEWS in config["disabledExtensions"]
    # What an instructor opens may hold submissions: it loads from this server alone.
    assert ("Content-Security-Policy" in " ".join(commands[0])) == instructor
    style = tmp_path / lab.OWN / "custom" / "custom.css"
    assert "max-width" in style.read_text("utf-8") and str(style.parent) in " ".join(commands[0])


def test_offline_nothing_is_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAETL_OFFLINE", "1")
    monkeypatch.setenv("VAETL_CACHE", str(tmp_path))
    asked: list[object] = []  # not a failure on the spot: another thread would swallow it
    monkeypatch.setattr("socket.create_connection", lambda address, **_: asked.append(address))
    with pytest.raises(CourseError, match=r"could not be fetched \(downloads are off\)"):
        data.fetch("mnist")
    assert not asked
