"""A certificate says what was solved and who answers for it, and a signature notices any change."""

from __future__ import annotations

import io
import json
import os
import stat
import sys
from pathlib import Path

import pytest
from bs4 import BeautifulSoup
from typer.testing import CliRunner

from vaetl_helpers.app import certificate, cli
from vaetl_helpers.app.certificate import (
    Statement,
    key_pair,
    own_statement,
    sign,
    verify,
    write_certificate,
)
from vaetl_helpers.app.certificate.pages import as_html, as_pdf
from vaetl_helpers.app.certificate.statement import GRADED, SELF_CHECKED, ChapterPart, Solved
from vaetl_helpers.errors import CourseError
from vaetl_helpers.grading.certificates import certify
from vaetl_helpers.grading.result import ExerciseResult, GradedBy, Result, Status
from vaetl_helpers.progress import FILE, first_solved, solved

NOTES = [
    {"time": "2026-01-30T10:00:00+01:00", "exercise": "training.step", "status": "incorrect"},
    {"time": "2026-01-31T10:00:00+01:00", "exercise": "training.step", "status": "correct"},
    {"time": "2026-02-03T10:00:00+01:00", "exercise": "training.step", "status": "correct"},
    {"time": "2026-02-02T23:30:00+01:00", "exercise": "vae.kl", "status": "correct"},
    {"exercise": "vae.elbo", "status": "correct"},
    {"time": "2026-02-05T10:00:00+01:00", "exercise": "of.another_version", "status": "correct"},
]
HOSTILE = "<script>alert(1)</script> & $x$"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    lines = [json.dumps(note) for note in NOTES] + ["damaged {"]
    (tmp_path / FILE).write_text("\n".join(lines), "utf-8")
    return tmp_path


def statement(name: str = "Ada Lovelace", **more: object) -> Statement:
    part = ChapterPart("01", "Training basics", (Solved("training.step", "2026-01-31"),), 5)
    return Statement(name, "2026-02-06", {"vaetl-helpers": "9.9"}, (part,), **more)


def words(html: str) -> str:
    return " ".join(BeautifulSoup(html, "html.parser").body.get_text(" ").split())


def test_the_day_is_that_of_the_first_right_answer(folder: Path) -> None:
    assert first_solved(folder) == {
        "training.step": "2026-01-31",
        "vae.kl": "2026-02-02",
        "vae.elbo": "",
        "of.another_version": "2026-02-05",
    }
    assert solved(folder) == set(first_solved(folder))


def test_it_states_what_was_solved_of_how_many_and_that_nobody_watched(folder: Path) -> None:
    own = own_statement("  Ada\tLovelace ", folder)
    assert own.name == "Ada Lovelace" and own.period == "2026-01-31 to 2026-02-02"
    assert own.solved == 3, "an exercise that the course does not have is not counted"
    text = words(as_html(own))
    assert f"has solved 3 of {own.count} exercises, 2026-01-31 to 2026-02-02." in text
    assert "training.step 2026-01-31" in text and "vae.elbo day not known" in text
    assert SELF_CHECKED in text and "self-checked" in text
    for name, version in own.versions.items():
        assert f"{name} {version}" in text
    assert "of.another_version" not in text and "Bets" not in text


def test_bets_are_shown_where_there_are_some() -> None:
    text = words(as_html(statement(bets=("the CNN needs fewer labels",))))
    assert "Bets that were kept the CNN needs fewer labels" in text


def test_a_name_is_shown_and_never_run() -> None:
    page = BeautifulSoup(as_html(statement(HOSTILE)), "html.parser")
    assert page.find("script") is None
    assert page.select_one(".name").get_text() == HOSTILE
    assert "default-src 'none'" in str(page.head)


def pages_of(pdf: bytes) -> list[str]:
    """The words on each page."""
    pypdf = pytest.importorskip("pypdf")
    pages = pypdf.PdfReader(io.BytesIO(pdf)).pages
    return [" ".join(page.extract_text().split()) for page in pages]


def test_the_pdf_has_the_words_of_the_page(folder: Path, tmp_path: Path) -> None:
    own = own_statement(HOSTILE, folder)
    _, pdf = write_certificate(own, tmp_path / "it")
    text = " ".join(pages_of(pdf.read_bytes()))
    assert HOSTILE in text and "training.step 2026-01-31" in text
    assert SELF_CHECKED in text and f"has solved 3 of {own.count} exercises" in text


def test_a_pdf_is_the_same_each_time_and_long_ones_have_more_pages() -> None:
    assert as_pdf(statement()) == as_pdf(statement())
    many = tuple(Solved(f"training.number_{number}", "2026-01-31") for number in range(120))
    part = ChapterPart("01", "Training basics", many, 120)
    long = Statement("Ada", "2026-02-06", {}, (part,))
    pages = [len(pages_of(as_pdf(one))) for one in (statement(), long)]
    assert pages[0] == 1 and pages[1] >= 3


def test_letters_that_the_pdf_lacks_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    as_pdf(statement("Zoë Ωmega Жуков"))
    assert capsys.readouterr().out == ""
    as_pdf(statement("山田"))
    assert "font lacks letters of this name" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["", " ", "a" * 201, "a\x00b"])
def test_a_name_that_is_none_is_refused(name: str, folder: Path) -> None:
    with pytest.raises(CourseError, match="needs a name"):
        own_statement(name, folder)


def test_without_a_solved_exercise_there_is_none(tmp_path: Path) -> None:
    with pytest.raises(CourseError, match=r"no solved exercise in .*progress\.jsonl.*--dir"):
        own_statement("Ada", tmp_path)


# ---------------------------------------------------------------- signatures


@pytest.fixture
def signed(tmp_path: Path) -> tuple[list[Path], Path]:
    """Both files, signed, and the public key."""
    pytest.importorskip("cryptography")
    private, public = key_pair(tmp_path)
    paths = write_certificate(statement(basis=GRADED), tmp_path / "it")
    for path in paths:
        sign(path, private)
    return paths, public


def test_what_is_signed_is_sound_and_whose_it_is(signed: tuple[list[Path], Path]) -> None:
    paths, public = signed
    found = {verify(path) for path in paths}
    assert len(found) == 1 and found.pop().is_expected is None
    assert all(verify(path, public).is_expected for path in paths)
    again = paths[0].read_bytes()
    sign(paths[0], public.with_name("certificate.key"))
    assert paths[0].read_bytes() == again, "a second signature takes the place of the first"


def test_any_changed_byte_is_noticed(signed: tuple[list[Path], Path]) -> None:
    for path in signed[0]:
        content = path.read_bytes()
        for place in [*range(0, len(content) - 1, max(1, len(content) // 60)), len(content) - 40]:
            changed = bytearray(content)
            changed[place] ^= 1
            path.write_bytes(bytes(changed))
            with pytest.raises(CourseError, match="not as it was signed|has no signature"):
                verify(path)
        last = content.rfind(b"\n", 0, -1) + 1
        path.write_bytes(content[:last] + b"more\n" + content[last:])
        with pytest.raises(CourseError, match="not as it was signed"):
            verify(path)
        path.write_bytes(content + b"more\n")
        with pytest.raises(CourseError, match="has no signature"):
            verify(path)
        path.write_bytes(content)
        verify(path)


def test_another_instructors_key_is_told_apart(
    signed: tuple[list[Path], Path], tmp_path: Path
) -> None:
    _, other = key_pair(tmp_path / "other")
    assert verify(signed[0][0], other).is_expected is False
    other.write_text("no key")
    with pytest.raises(CourseError, match="is no key of"):
        verify(signed[0][0], other)


@pytest.mark.skipif(os.name != "posix", reason="permissions")
def test_the_private_key_is_its_owners_alone_and_stays(tmp_path: Path) -> None:
    pytest.importorskip("cryptography")
    private, public = key_pair(tmp_path)
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    before = private.read_bytes(), public.read_bytes()
    key_pair(tmp_path)
    assert (private.read_bytes(), public.read_bytes()) == before


def test_without_the_library_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.asymmetric.ed25519", None)
    with pytest.raises(CourseError, match="pip install 'cryptography>="):
        key_pair(tmp_path)


# ---------------------------------------------------------------- a class


def graded(folder: Path, student: str, name: str, tests: GradedBy, *statuses: Status) -> None:
    ids = ("training.step", "training.accuracy")
    exercises = [ExerciseResult(id, 1, 1, status) for id, status in zip(ids, statuses, strict=True)]
    result = Result("01", student, name, tests, exercises)
    path = folder / "graded" / "01" / f"{student}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result.to_dict()), "utf-8")


def test_an_instructor_signs_what_hidden_tests_have_found_correct(tmp_path: Path) -> None:
    pytest.importorskip("cryptography")
    hidden, right, wrong = GradedBy.HIDDEN_TESTS, Status.CORRECT, Status.INCORRECT
    graded(tmp_path, "ada", "Ada Lovelace\x00", hidden, right, wrong)
    graded(tmp_path, "ben", HOSTILE, hidden, right, right)
    graded(tmp_path, "cleo", "Cleo", GradedBy.PUBLIC_CHECKS, right, right)
    graded(tmp_path, "dan", "Dan", hidden, wrong, wrong)
    (tmp_path / "graded" / "01" / "damaged.json").write_text("{")
    paths = certify(tmp_path)
    assert [path.name for path in paths] == ["ada.html", "ada.pdf", "ben.html", "ben.pdf"]
    for path in paths:
        assert verify(path, tmp_path / "certificate.pub").is_expected
    text = words(paths[0].read_text("utf-8"))
    assert "Ada Lovelace has solved 1 of" in text and GRADED in text
    assert "training.step" in text and "training.accuracy" not in text
    assert "self-checked" not in text


def test_without_grades_there_is_nothing_to_sign(tmp_path: Path) -> None:
    pytest.importorskip("cryptography")
    with pytest.raises(CourseError, match="run `vaetl grade` first"):
        certify(tmp_path)


# ---------------------------------------------------------------- the command


def test_the_command_writes_and_verifies(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    runner = CliRunner()
    done = runner.invoke(cli.app, ["certificate", "--name", "Ada"])
    assert done.exit_code == 0, done.output
    assert done.output.split() == ["certificate.html", "certificate.pdf"]
    done = runner.invoke(cli.app, ["certificate", "--verify", "certificate.pdf"])
    assert done.exit_code == 1 and "self-checked" in done.output
    pytest.importorskip("cryptography")
    private, public = certificate.key_pair(folder / "teaching")
    sign(folder / "certificate.pdf", private)
    words_of_it = ["certificate", "--verify", "certificate.pdf"]
    assert runner.invoke(cli.app, words_of_it).exit_code == 0
    assert runner.invoke(cli.app, [*words_of_it, "--key", str(public)]).exit_code == 0
    _, other = certificate.key_pair(folder / "other")
    done = runner.invoke(cli.app, [*words_of_it, "--key", str(other)])
    assert done.exit_code == 1 and "NOT the key" in done.output
