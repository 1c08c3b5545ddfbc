"""`vaetl grade` against broken and hostile submissions: what each gets; nothing outside notices."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import html
import os
import socket
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from hostile_cases import (
    CANARY,
    CHAPTER,
    FILES,
    IDS,
    LIMITS,
    NAME,
    POINTS,
    ROWS,
    SCRIPT,
    STATIC,
    gone,
    graded_with,
    intruder,
    packed,
    probes,
    processes_of,
    results_of,
    rows_of,
    write_lean_course,
)

from vaetl_helpers.chapters import course_dir
from vaetl_helpers.grading.course import grade
from vaetl_helpers.grading.judge import secret_of
from vaetl_helpers.grading.sandbox.kernel import PACKAGE
from vaetl_helpers.grading.sandbox.runner import Kernel, KernelDied

BWRAP = pytest.mark.debian("bubblewrap", "/usr/bin/bwrap")


class Listener:
    """A TCP port and an abstract Unix socket that count who connects."""

    def __init__(self, name: str) -> None:
        self.visits = 0
        tcp = socket.create_server(("127.0.0.1", 0))
        unix = socket.socket(socket.AF_UNIX)
        unix.bind(f"\0{name}")
        unix.listen()
        self.port = tcp.getsockname()[1]
        self.sockets = [tcp, unix]
        self.threads = []
        for listening in self.sockets:
            thread = threading.Thread(target=self._serve, args=(listening,), daemon=True)
            thread.start()
            self.threads.append(thread)

    def _serve(self, listening: socket.socket) -> None:
        while True:
            try:
                listening.accept()[0].close()
            except OSError:
                return
            self.visits += 1

    def close(self) -> None:
        for listening, thread in zip(self.sockets, self.threads, strict=True):
            listening.shutdown(socket.SHUT_RDWR)  # ends the waiting, too
            thread.join()  # while it waits, the name is still taken
            listening.close()


def hashes(*folders: Path) -> dict[str, str]:
    """The contents of all files, but for what Python compiles."""
    digests = {}
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                digests[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest()
    return digests


def watch_kernels(root: Path, folders: set[Path], stop: threading.Event) -> None:
    """Notes the folders of the kernels that are started for this folder; others may start some."""
    while not stop.wait(1):
        for command in processes_of(root):
            for word in command:
                if word.startswith("/tmp/vaetl-"):
                    folders.add(Path(*Path(word).parts[:3]))


@pytest.fixture(scope="module")
def graded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """All submissions of the table, graded together in one call."""
    root = tmp_path_factory.mktemp("grading")
    for name in ("canary", "temporary"):
        (root / name).mkdir()
    (root / "canary" / "file").write_text("untouched")
    course = write_lean_course(tmp_path_factory.mktemp("lean") / "course")
    watched = (root / "canary", PACKAGE, course_dir())
    listener = Listener(f"{root.name}-{os.getpid()}")
    out = root / "out"
    kernels: set[Path] = set()
    stop = threading.Event()
    threading.Thread(target=watch_kernels, args=(root, kernels, stop)).start()
    secret_of(out, 0)
    cases = {case.name: case for case in [*STATIC, intruder(root, listener.port)]}
    inbox = packed(root / "inbox.zip", list(cases.values()))
    before = hashes(*watched)
    digest = hashes(root)[str(inbox)]
    with pytest.MonkeyPatch.context() as patch, graded_with(course):
        patch.setenv(CANARY, "a secret of the grader")
        # So that these files are known to be ours.
        patch.setattr(tempfile, "tempdir", str(root / "temporary"))
        try:
            code = grade(inbox, "03", out, jobs=2, limits=LIMITS)
        finally:
            stop.set()
    listener.close()
    results = results_of(out)
    yield SimpleNamespace(
        root=root,
        out=out,
        cases=cases,
        inbox=inbox,
        digest=digest,
        code=code,
        before=before,
        after=hashes(*watched),
        visits=listener.visits,
        kernels=kernels,
        student={name: result.student for name, result in results.items()},
        rows=rows_of(out),
        results=results,
    )


def shown(name: str) -> str:
    """The name as it is stored: without the way out of the folder."""
    return name.rpartition("/")[2]


def messages_of(graded: SimpleNamespace, name: str) -> dict[str, str]:
    return {exercise.id: exercise.message for exercise in graded.results[shown(name)].exercises}


@pytest.mark.slow
@BWRAP
class TestTable:
    """Each submission of the table, all graded in the same call."""

    @pytest.mark.parametrize("name", ROWS)
    def test_points_and_status(self, graded: SimpleNamespace, name: str) -> None:
        student = graded.student[shown(name)]
        rows = {}
        for row in graded.rows:
            if row["student"] == student:
                rows[row["exercise"]] = (row["points"], row["status"])
        assert rows == graded.cases[name].expected(), messages_of(graded, name)

    @pytest.mark.parametrize("name", ROWS)
    def test_the_message_says_why(self, graded: SimpleNamespace, name: str) -> None:
        messages = messages_of(graded, name)
        for exercise, words in graded.cases[name].says.items():
            message = messages[IDS[exercise]]
            assert any(either in message for either in words.split(" | "))

    def test_csv_has_a_row_for_each_exercise_of_each_student(self, graded: SimpleNamespace) -> None:
        text = (graded.out / "grades.csv").read_text("utf-8")
        assert text.startswith("student,exercise,points,status,parts\n")
        assert len(graded.rows) == len(ROWS) * len(POINTS) == len(text.splitlines()) - 1
        assert all(row["student"][0] not in "=+-@" for row in graded.rows)
        assert graded.code == 0

    def test_flags(self, graded: SimpleNamespace) -> None:
        flags = {}
        for name, result in graded.results.items():
            flags[name] = [exercise.flags for exercise in result.exercises]
        assert flags["ada"] == flags["wrong"] == [[]] * len(POINTS)
        assert all(flags["copied"])
        assert "vaetl_helpers" in str(flags["copied"][1])
        assert "sys" in str(flags["liars"][4])

    def test_an_answer_borrowed_by_a_setup_cell_is_flagged(self, graded: SimpleNamespace) -> None:
        assert "vaetl_helpers.exercises" in str(graded.results["borrowed"].flags)
        for name in ("ada", "copied", "wrong"):
            assert graded.results[name].flags == []

    def test_failing_setup_cells_are_replaced_and_it_is_said(self, graded: SimpleNamespace) -> None:
        too_long = f"longer than {LIMITS.cell_seconds} s"
        for name, reason in ((shown(NAME), "in the setup"), ("stubborn", too_long)):
            notes = str(graded.results[name].notes)
            assert reason in notes
            assert "the course's were used" in notes

    def test_no_other_setup_has_failed(self, graded: SimpleNamespace) -> None:
        """So that the seconds of a cell are enough for what is no loop."""
        failed = {name for name, result in graded.results.items() if result.notes}
        assert failed == {shown(NAME), "stubborn"}

    def test_what_was_edited_is_restored_and_said(self, graded: SimpleNamespace) -> None:
        tampered = graded.results["tampered"].exercises
        notes = {exercise.id.partition(".")[2]: str(exercise.notes) for exercise in tampered}
        settings = "points or settings of the check cell were changed"
        assert settings in notes["bernoulli_log_likelihood"]
        assert "check cell was changed" in notes["kl"]
        assert "check cell is missing" in notes["reparameterise"]
        assert "2 times" in notes["decoder_shape"]
        assert {exercise.id: exercise.worth for exercise in tampered} == {
            IDS[name]: points for name, points in POINTS.items()
        }

    # What the submissions left outside the sandbox: in the same class, so that one worker has all.

    def test_no_file_has_changed(self, graded: SimpleNamespace) -> None:
        assert graded.after == graded.before
        assert hashlib.sha256(graded.inbox.read_bytes()).hexdigest() == graded.digest
        names = {path.name for path in graded.root.iterdir()}
        assert names == {"canary", "temporary", "out", "inbox.zip"}

    def test_no_process_and_no_folder_is_left(self, graded: SimpleNamespace) -> None:
        assert gone(lambda: processes_of(graded.root))
        assert len(graded.kernels) >= len(ROWS) - len(FILES)
        assert gone(lambda: [folder for folder in graded.kernels if folder.exists()])
        assert not list((graded.root / "temporary").iterdir())

    def test_nobody_has_called(self, graded: SimpleNamespace) -> None:
        assert graded.visits == 0

    @pytest.mark.parametrize("probe", ["network", "reads", "judge"])
    def test_the_probes_find_something_here(
        self, graded: SimpleNamespace, probe: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv(CANARY, "1")
        listener = Listener(f"{graded.root.name}-{os.getpid()}")
        space: dict[str, object] = {}
        exec(probes(graded.root, listener.port, top=str(PACKAGE))[probe], space)
        listener.close()
        assert space["found"]

    def test_pages_are_whole_and_escape_what_is_not_ours(self, graded: SimpleNamespace) -> None:
        pages = [graded.out / "report.html", *(graded.out / "feedback").rglob("*.html")]
        assert len(pages) == len(ROWS) + 1
        texts = [page.read_text("utf-8") for page in pages]
        for text in texts:
            assert SCRIPT not in text
            assert "<img src=x" not in text
            assert text.rstrip().endswith("</html>")
        assert any(html.escape(SCRIPT) in text for text in texts)

    def test_the_gradebook_has_the_same_points(self, graded: SimpleNamespace) -> None:
        from vaetl_helpers.grading.gradebook import open_book

        with open_book(graded.out) as book:
            submissions = book.assignment_submissions(CHAPTER.number)
            in_book = {submission.student_id: submission.score for submission in submissions}
        in_csv = dict.fromkeys(in_book, 0.0)
        for row in graded.rows:
            in_csv[row["student"]] += float(row["points"])
        assert in_book == in_csv


DESCRIPTORS = """
import os
for number in range(64):
    try:
        os.write(number, b'{"status": "correct"}' * 1000)
    except OSError:
        pass
"""


async def break_and_stop(folder: Path) -> None:
    kernel = Kernel(LIMITS, folder, True, folder)
    await kernel.start()
    with contextlib.suppress(KernelDied):
        await kernel.run(DESCRIPTORS, 1)
    await kernel.stop()


@pytest.mark.slow
@BWRAP
def test_a_kernel_that_writes_garbage_into_its_own_sockets_can_be_stopped(tmp_path: Path) -> None:
    thread = threading.Thread(target=lambda: asyncio.run(break_and_stop(tmp_path)), daemon=True)
    thread.start()
    thread.join(180)
    assert not thread.is_alive()
