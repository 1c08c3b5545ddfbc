"""Submissions: every layout finds its students, every broken or hostile file gives a sentence."""

import builtins
import contextlib
import copy
import json
import os
import random
import re
import stat
import symtable
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from graded_chapters import GRADED, START

from vaetl_helpers import exercises
from vaetl_helpers.chapters import course_dir
from vaetl_helpers.errors import CourseError
from vaetl_helpers.grading.notebooks import (
    Problem,
    ProblemKind,
    Unreadable,
    chapter_of,
    find_assignment,
    has_cells_of,
    read,
)
from vaetl_helpers.grading.pages import problem_sentences, unknown_cells_sentences
from vaetl_helpers.grading.result import Status
from vaetl_helpers.grading.submissions import (
    LINK,
    Submission,
    collect,
    find_submissions,
    safe_name,
)

ASSIGNMENT = find_assignment("03")
NAME = "03_variational_autoencoder"
LEARNER = (course_dir() / f"{NAME}.ipynb").read_bytes()
OTHER = (course_dir() / "01_training_step.ipynb").read_bytes()
MOODLE = "assignsubmission_file"
UNOPENED = "an archive within is not opened, hand in the notebook itself"
SAFE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,59}")


def zipped(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)  # all equally old
    return path


def folder(path: Path, members: dict[str, bytes]) -> Path:
    for name, data in members.items():
        target = path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("/"):
            target.mkdir()
        else:
            target.write_bytes(data)
    return path


def names(found: list[Submission]) -> dict[str, bytes]:
    return {one.name: one.data for one in found}


def changed(change: Callable[[dict[str, Any]], Any], data: bytes = LEARNER) -> bytes:
    notebook = json.loads(data)
    change(notebook)
    return json.dumps(notebook).encode()


def cell(notebook: dict[str, Any], grade_id: str) -> dict[str, Any]:
    return next(
        c
        for c in notebook["cells"]
        if c["metadata"].get("nbgrader", {}).get("grade_id") == grade_id
    )


def without(grade_id: str) -> Callable[[dict[str, Any]], None]:
    return lambda notebook: notebook["cells"].remove(cell(notebook, grade_id))


# The assignment


@pytest.mark.parametrize(
    "name", ["3", "03", NAME, "variational_autoencoder", f"course/{NAME}.ipynb"]
)
def test_a_chapter_has_several_names(name: str) -> None:
    assert find_assignment(name) == ASSIGNMENT
    assert (ASSIGNMENT.number, ASSIGNMENT.name, ASSIGNMENT.title) == (
        "03",
        NAME,
        "The variational autoencoder",
    )


def test_the_tasks_of_chapter_three() -> None:
    functions = {exercise.id: exercise.function for exercise in ASSIGNMENT.exercises}
    assert functions == {
        "vae.bernoulli_log_likelihood": "bernoulli_log_likelihood",
        "vae.kl": "kl",
        "vae.reparameterise": "reparameterise",
        "vae.elbo": "elbo",
        "vae.decoder_shape": "grow",
    }
    kl = ASSIGNMENT.exercises[1]
    assert (kl.grade_id, kl.points, kl.check_cell) == (
        "vae-kl",
        2,
        'kl_checked = check("vae.kl", kl)',
    )
    assert "BEGIN SOLUTION" in kl.solution and "log_var.exp(" in kl.solution
    assert "return ...  # your code" in kl.stub and "BEGIN SOLUTION" not in kl.stub
    assert ASSIGNMENT.parameters.startswith("profile: str") and len(ASSIGNMENT.setup) == 2
    assert ASSIGNMENT.setup[0].startswith("from vaetl_helpers.runtime") and ASSIGNMENT.setup[
        1
    ].startswith("import math")


@pytest.mark.parametrize("number", GRADED)
def test_every_chapter_agrees_with_its_exercises(number: str) -> None:
    of = find_assignment(number)
    assert {task.id: task.points for task in of.exercises} == {
        t.id: exercises.get(t.id).points for t in of.exercises
    }
    assert of.setup and of.parameters
    for path in (
        course_dir() / f"{of.name}.ipynb",
        course_dir() / "solutions" / f"{of.name}.ipynb",
    ):
        content = read(path.read_bytes(), of)
        assert content.problems == () and content.setup == of.setup
        expected = {
            t.id: (t.solution if path.parent.name == "solutions" else t.stub,) for t in of.exercises
        }
        assert content.cells == expected


def test_a_chapter_without_exercises(tmp_path: Path) -> None:
    for path in (Path(f"{NAME}.ipynb"), Path("01_training_step.ipynb")):
        for folder_name in (".", "solutions"):
            (tmp_path / folder_name).mkdir(exist_ok=True)
            (tmp_path / folder_name / path).symlink_to(course_dir() / folder_name / path)
            (tmp_path / folder_name / "09_reading.ipynb").write_text(json.dumps(SMALL))
    with pytest.raises(CourseError, match="09 has no exercises to grade: choose one of 01, 03"):
        find_assignment("09", tmp_path)


def test_every_chapter_with_exercises_but_the_start_page_is_tested() -> None:
    with_exercises = []
    for path in sorted(course_dir().glob("*.ipynb")):
        marks = [cell["metadata"] for cell in json.loads(path.read_bytes())["cells"]]
        if any("exercise" in mark.get("vaetl", {}) for mark in marks):
            with_exercises.append(path.name.partition("_")[0])
    assert with_exercises == [START, *GRADED]


@pytest.mark.parametrize("number", GRADED)
def test_the_setup_has_all_that_the_solutions_use(number: str) -> None:
    """Of a submission only the setup and exercise cells are run: imports must be among them."""
    assignment = find_assignment(number)
    known = {*dir(builtins), "check", "hint", "solution"}
    for source in (assignment.parameters, *assignment.setup):
        known |= names_bound(source)
    for exercise in assignment.exercises:
        known |= names_bound(exercise.solution) | names_bound(exercise.check_cell)
        missing = names_used(exercise.solution) - known
        assert not missing, f"{exercise.id} uses {missing}, which the setup does not define"


def names_bound(source: str) -> set[str]:
    """The names that a cell defines or imports at its top."""
    table = symtable.symtable(source, "cell", "exec")
    return {name.get_name() for name in table.get_symbols() if is_bound(name)}


def is_bound(name: symtable.Symbol) -> bool:
    return name.is_assigned() or name.is_imported()


def names_used(source: str) -> set[str]:
    """The names that a cell, or a function in it, looks up outside its own functions."""
    used = set()
    tables = [symtable.symtable(source, "cell", "exec")]
    while tables:
        table = tables.pop()
        tables += table.get_children()
        for name in table.get_symbols():
            if name.is_global() or table.get_type() == "module":
                used |= {name.get_name()} if name.is_referenced() else set()
    return used


@pytest.mark.parametrize("number", ["", "9", "04x", "../03", "vae"])
def test_an_unknown_chapter(number: str) -> None:
    # What looks like a path is one.
    message = "There is no file" if "/" in number else "Unknown chapter"
    with pytest.raises(CourseError, match=message):
        find_assignment(number)


# Whose notebooks there are

A, B = LEARNER, LEARNER + b"\n"
LAYOUTS = {
    "flat": (
        {f"ada_{NAME}.ipynb": A, "bob.ipynb": B, f"{NAME}-carl.IPYNB": A, "list.pdf": b"x"},
        "ada;bob;carl",
    ),
    "folders": ({"ada/x.ipynb": A, "bob/deep/er/x.ipynb": B, "notes.txt": b""}, "ada;bob"),
    "junk": (
        {
            "ada/x.ipynb": A,
            "ada/.ipynb_checkpoints/x.ipynb": B,
            "__MACOSX/ada/._x.ipynb": b"",
            ".DS_Store": b"",
        }
        | {"bob/x.ipynb": A, "bob/.x.ipynb": B, "ada/__MACOSX/y.ipynb": B},
        "ada;bob",
    ),
    "nbgrader": (
        {"submitted/ada/03/x.ipynb": A, "submitted/bob/03/x.ipynb": B, "source/03/x.ipynb": b""},
        "ada;bob",
    ),
    "nbgrader, two": (
        {"submitted/ada/03/x.ipynb": A, "submitted/bob/04/x.ipynb": B, "gradebook.db": b""},
        "ada",
    ),
    "moodle": ({f"Ada L_12_{MOODLE}_/x.ipynb": A, f"Bob_13_{MOODLE}/x.ipynb": B}, "Ada L;Bob"),
    "moodle, flat": (
        {f"Ada L_12_{MOODLE}_x.ipynb": A, f"Bob O_13_{MOODLE}_y_1_z.ipynb": B},
        "Ada L;Bob O",
    ),
    "moodle, odd names": ({f"._12_{MOODLE}_/x.ipynb": A, f"-_13_{MOODLE}_x.ipynb": B}, "-;."),
    "moodle, text": (
        {
            f"Ada L_12_{MOODLE}_/x.ipynb": A,
            "Ada L_12_assignsubmission_onlinetext_/onlinetext.html": b"",
        },
        "Ada L",
    ),
    "canvas": (
        {"lovelaceada_123_4567_x.ipynb": A, "byronbob_LATE_124_4568_x-1.ipynb": B},
        "byronbob;lovelaceada",
    ),
    "namesakes": (
        {"anon_123_4567_x.ipynb": A, "anon_124_4568_x.ipynb": B},
        "anon / 123;anon / 124",
    ),
    "one top, folders": (
        {"hand-in/ada/x.ipynb": A, "hand-in/bob/x.ipynb": B, "hand-in/list.csv": b""},
        "ada;bob",
    ),
    "two tops, folders": (
        {"Sheet 3/handed in/ada/x.ipynb": A, "Sheet 3/handed in/bob/x.ipynb": B},
        "ada;bob",
    ),
    "one top, moodle": ({f"all/Ada L_12_{MOODLE}_/x.ipynb": A}, "Ada L"),
    "one student": ({"ada/work/x.ipynb": A}, "ada"),
    "digits": ({"group_1_2.ipynb": A, "group_1_3.ipynb": B}, "group_1_2;group_1_3"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("write", [folder, zipped])
def test_layouts(layout: str, write: Callable[..., Path], tmp_path: Path) -> None:
    members, expected = LAYOUTS[layout]
    found = find_submissions(write(tmp_path / "in.zip", members), ASSIGNMENT)
    assert sorted(names(found)) == expected.split(";")
    assert [one.student for one in found] == sorted(one.student for one in found)
    assert all(one.data in (A, B) and not one.fault and not one.notes for one in found)


def test_each_gets_their_own_notebook(tmp_path: Path) -> None:
    assert names(
        find_submissions(zipped(tmp_path / "a.zip", LAYOUTS["moodle"][0]), ASSIGNMENT)
    ) == {
        "Ada L": A,
        "Bob": B,
    }
    assert names(find_submissions(folder(tmp_path / "a", LAYOUTS["canvas"][0]), ASSIGNMENT)) == {
        "lovelaceada": A,
        "byronbob": B,
    }


def test_a_zip_of_one_folder_with_flat_notebooks(tmp_path: Path) -> None:
    found = find_submissions(
        zipped(tmp_path / "a.zip", {"all/ada.ipynb": A, "all/bob.ipynb": B}), ASSIGNMENT
    )
    assert names(found) == {"ada": A, "bob": B}


def test_a_single_notebook(tmp_path: Path) -> None:
    path = folder(tmp_path, {f"ada {NAME}.ipynb": A}) / f"ada {NAME}.ipynb"
    assert find_submissions(path, ASSIGNMENT) == [Submission("ada", "ada", A)]
    (tmp_path / "submitted").mkdir()
    folder(tmp_path / "submitted", {"ada.ipynb": A})  # only its name is nbgrader's
    assert names(find_submissions(tmp_path / "submitted", ASSIGNMENT)) == {"ada": A}


@pytest.mark.parametrize(
    ("members", "fault"),
    [
        ({"ada/": b""}, "no notebook in the folder"),
        ({"ada/.ipynb_checkpoints/x.ipynb": A}, "no notebook in the folder"),
        ({"ada/b.pdf": b"", "ada/a.txt": b""}, "no notebook, only a.txt, b.pdf"),
        (
            {"ada/x.zip": b"PK"},
            f"no notebook, only x.zip: {UNOPENED}",
        ),
        (
            {"ada.7z": b"PK"},
            f"no notebook, only ada.7z: {UNOPENED}",
        ),
        ({f"ada_1_{MOODLE}_x.pdf": b""}, f"no notebook, only ada_1_{MOODLE}_x.pdf"),
        ({"ada/x.ipynb": b" " * 100_001}, "larger than 0.1 MB without its outputs"),
        ({"ada/x.ipynb": b" " * 500_001}, "larger than 0.5 MB"),
        ({"ada.html": b"<html>"}, "no notebook, only ada.html"),
        ({"ada.py": b"kl = 1"}, "no notebook, only ada.py"),
        ({"ada.ipynb.txt": b"cut"}, "no notebook, only ada.ipynb.txt"),
    ],
)
@pytest.mark.parametrize("write", [folder, zipped])
def test_faults(
    members: dict[str, bytes], fault: str, write: Callable[..., Path], tmp_path: Path
) -> None:
    found = find_submissions(
        write(tmp_path / "in", members | {"bob/x.ipynb": A[:100_000]}), ASSIGNMENT, megabytes=0.1
    )
    assert found[0] == Submission(found[0].student, "ada", b"", (), fault)
    assert names(found[1:]) == {
        "bob": A[:100_000]
    }  # the others are not affected; the limit itself is allowed


@pytest.mark.parametrize(
    "name", ["none", "empty", "list.pdf", "empty.zip", "junk.zip", "cut.zip", "fifo.ipynb"]
)
def test_nothing_to_collect(name: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "list.pdf").write_bytes(b"%PDF")
    zipped(tmp_path / "empty.zip", {})
    (tmp_path / "junk.zip").write_bytes(b"PK\x03\x04" + bytes(100))
    whole = zipped(tmp_path / "whole.zip", {"ada.ipynb": A}).read_bytes()
    (tmp_path / "cut.zip").write_bytes(whole[: len(whole) // 2])
    os.mkfifo(tmp_path / "fifo.ipynb")
    expected = (
        "damaged" if name in ("junk.zip", "cut.zip") else "give a notebook, a folder of notebooks"
    )
    with pytest.raises(CourseError, match=expected):
        find_submissions(tmp_path / name, ASSIGNMENT)


def test_of_several_notebooks_the_newest_that_fits(tmp_path: Path) -> None:
    folder(
        tmp_path,
        {"ada/old.ipynb": A, "ada/new.ipynb": B, "ada/other.ipynb": OTHER, "ada/bad.ipynb": b"{"},
    )
    for seconds, name in enumerate(("old", "new", "other", "bad")):
        os.utime(tmp_path / "ada" / f"{name}.ipynb", (1000 + seconds, 1000 + seconds))
    (ada,) = find_submissions(tmp_path, ASSIGNMENT)
    assert ada.data == B and not ada.fault
    assert ada.notes == (
        "There were 4 notebooks (ada/bad.ipynb, ada/new.ipynb, ada/old.ipynb, ada/other.ipynb): "
        "taken was ada/new.ipynb, the newest with exercises of chapter 03.",
    )
    os.utime(tmp_path / "ada" / "old.ipynb", (2000, 2000))
    assert find_submissions(tmp_path, ASSIGNMENT)[0].data == A


@pytest.mark.parametrize(("first", "second"), [("x", "x-1"), ("x-2", "x-10"), ("a", "b")])
@pytest.mark.parametrize("turned", [False, True])
def test_of_equally_old_notebooks_the_last_name(
    first: str, second: str, turned: bool, tmp_path: Path
) -> None:
    pairs = [(f"ada_12_345_{first}.ipynb", A), (f"ada_12_345_{second}.ipynb", B)]
    (ada,) = find_submissions(
        zipped(tmp_path / "a.zip", dict(pairs[::-1] if turned else pairs)), ASSIGNMENT
    )
    assert ada.data == B and f"taken was ada_12_345_{second}.ipynb" in ada.notes[0]


@pytest.mark.parametrize(
    "members",
    [
        ("ada/Sheet 3/Version 1/x.ipynb", "ada/Sheet 3/Version 2/x.ipynb"),
        ("ada/work/x.ipynb", "ada/work/y.ipynb"),
        ("ada/work/x.ipynb", "ada/work/runs/x.ipynb", "ada/work/old/x.ipynb"),
    ],
)
@pytest.mark.parametrize("write", [folder, zipped])
def test_folders_of_one_student_are_no_students(
    members: tuple[str, ...], write: Callable[..., Path], tmp_path: Path
) -> None:
    found = find_submissions(write(tmp_path / "in.zip", dict.fromkeys(members, A)), ASSIGNMENT)
    assert [*names(found)] == ["ada"]


def test_a_notebook_without_an_answer_does_not_take_the_place_of_one_with_answers(
    tmp_path: Path,
) -> None:
    begun = changed(edit("vae-kl", source="def kl(mu, log_var):\n    return mu"))
    folder(tmp_path, {"ada/mine.ipynb": begun, "ada/fresh copy.ipynb": LEARNER})
    os.utime(tmp_path / "ada" / "mine.ipynb", (1000, 1000))
    (ada,) = find_submissions(tmp_path, ASSIGNMENT)
    assert ada.data == begun
    assert ada.notes[0].endswith(
        "taken was ada/mine.ipynb, the newest with an answer to an exercise of chapter 03."
    )


def test_a_file_with_a_fault_comes_last(tmp_path: Path) -> None:
    members = {"ada/b.ipynb": bytes(len(A) + 1), "ada/a.ipynb": A, "bob/x.ipynb": A}
    inbox = zipped(tmp_path / "a.zip", members)
    ada, _ = find_submissions(inbox, ASSIGNMENT, megabytes=len(A) / 1e6)
    assert ada.data == A and not ada.fault and "2 notebooks" in ada.notes[0]


# What browsers and platforms make of a file


@pytest.mark.parametrize("write", [folder, zipped])
@pytest.mark.parametrize(
    "name", ["ada.ipynb.txt", "ada.ipynb.json", "ada.json", "ada.txt", "ada.html", "ada.py", "ada"]
)
def test_a_renamed_notebook_is_read_and_it_is_said(
    name: str, write: Callable[..., Path], tmp_path: Path
) -> None:
    ada, bob = find_submissions(write(tmp_path / "in", {name: A, "bob.ipynb": B}), ASSIGNMENT)
    assert (ada.name, ada.data, ada.fault) == ("ada", A, "")
    assert f"called {name}" in ada.notes[0]
    assert f"rename it to {NAME}.ipynb" in ada.notes[0]
    assert bob.notes == ()


@pytest.mark.parametrize("write", [folder, zipped])
@pytest.mark.parametrize("name", ["ada.ipynb.txt", "ada (1).ipynb.json", "ada.ipynb.html"])
def test_a_damaged_attempt_under_another_name_is_named_beside_the_one_that_is_taken(
    name: str, write: Callable[..., Path], tmp_path: Path
) -> None:
    (ada,) = find_submissions(write(tmp_path / "in", {"ada.ipynb": A, name: A[:99]}), ASSIGNMENT)
    assert (ada.data, ada.fault) == (A, "")
    assert ada.notes == (f"Not read, since there is no notebook in it: {name}.",)


@pytest.mark.parametrize("write", [folder, zipped])
def test_nothing_in_the_inbox_disappears(write: Callable[..., Path], tmp_path: Path) -> None:
    inbox = {
        "ada.ipynb": A,
        "ben.ipynb.txt": A,
        "cid.ipynb.json": A,
        "eve.py": b"x = 1",
        "fay.html": b"<html>",
        "gus/": b"",
        "hal.zip": b"PK",
        "list.csv": b"a,b",
        "notes.txt": b"for myself",
    }
    submissions, left_out = collect(write(tmp_path / "in", inbox), ASSIGNMENT)
    faults = {one.name: one.fault for one in submissions}
    assert [*faults] == ["ada", "ben", "cid", "eve", "fay", "gus", "hal"]
    assert not any([faults["ada"], faults["ben"], faults["cid"]])
    assert all(faults[name].startswith("no notebook") for name in ("eve", "fay", "gus", "hal"))
    assert left_out == ["list.csv", "notes.txt"]


BLACKBOARD = "Assignment 3_alovelace_attempt_2026-11-{day}-10-11-12"
BRIGHTSPACE = "12345-678901 - Ada Lovelace - {date} 2026 {time}"
ATTEMPTS = {
    "copies of a browser": ("ada.ipynb", "ada (1).ipynb", "ada"),
    "copies of Colab": ("ada.ipynb", "Copy of ada.ipynb", "ada"),
    "copies of JupyterLab": ("ada.ipynb", "ada-Copy1.ipynb", "ada"),
    "copies of Windows": ("ada - Copy.ipynb", "ada - Copy (2).ipynb", "ada"),
    "copies of macOS": ("ada copy.ipynb", "ada copy 2.ipynb", "ada"),
    "copies in German": ("ada.ipynb", "Kopie von ada.ipynb", "ada"),
    "copies in German, Windows": ("ada.ipynb", "ada - Kopie.ipynb", "ada"),
    "copies in Spanish": ("ada.ipynb", "Copia de ada.ipynb", "ada"),
    "versions": ("ada/Sheet 3/Version 9/x.ipynb", "ada/Sheet 3/Version 10/x.ipynb", "ada"),
    "Blackboard": (
        BLACKBOARD.format(day="09") + "_x.ipynb",
        BLACKBOARD.format(day="20") + "_a.ipynb",
        "alovelace",
    ),
    "Brightspace, days": (
        BRIGHTSPACE.format(date="Nov 9,", time="1011 PM") + "/x.ipynb",
        BRIGHTSPACE.format(date="Nov 20,", time="1011 AM") + "/a.ipynb",
        "Ada Lovelace",
    ),
    "Brightspace, hours": (
        BRIGHTSPACE.format(date="Nov 20,", time="1011 AM") + "/x.ipynb",
        BRIGHTSPACE.format(date="Nov 20,", time="907 PM") + "/a.ipynb",
        "Ada Lovelace",
    ),
}


@pytest.mark.parametrize("layout", ATTEMPTS)
@pytest.mark.parametrize("turned", [False, True])
def test_of_several_attempts_the_latest_counts_and_it_is_said(
    layout: str, turned: bool, tmp_path: Path
) -> None:
    earlier, later, name = ATTEMPTS[layout]
    members = {earlier: A, later: B, "index.html": b"<html>"}
    if layout == "Blackboard":
        members[BLACKBOARD.format(day="20") + ".txt"] = b"Name: Ada"
    if turned:
        members = dict(reversed(members.items()))
    submissions = find_submissions(zipped(tmp_path / "a.zip", members), ASSIGNMENT)
    attempts = next(one for one in submissions if one.name == name)
    assert attempts.data == B
    assert "There were 2 notebooks" in attempts.notes[0]
    assert {one.name for one in submissions} == {name, "index"}


def test_notebooks_that_have_nothing_but_the_chapters_name_are_of_several_people(
    tmp_path: Path,
) -> None:
    members = {f"{NAME}.ipynb": A, f"{NAME} (1).ipynb": B, f"Copy of {NAME}.ipynb": A}
    found = find_submissions(zipped(tmp_path / "a.zip", members), ASSIGNMENT)
    assert names(found) == {name.removesuffix(".ipynb"): data for name, data in members.items()}


@pytest.mark.parametrize(
    "name",
    [
        "Ada Rossi_{number}_assignsubmission_file_/x.ipynb",
        "rossiada_{number}_4567_x.ipynb",
        "{number}-678901 - Ada Rossi - Nov 20, 2026 1011 AM/x.ipynb",
    ],
)
def test_a_namesake_of_another_call_has_another_folder(name: str, tmp_path: Path) -> None:
    students = []
    for number in ("1234", "9999", "1234"):
        inbox = zipped(tmp_path / f"{len(students)}.zip", {name.format(number=number): A})
        students.append(find_submissions(inbox, ASSIGNMENT)[0].student)
    both = [name.format(number=number) for number in ("1234", "9999")]
    together = find_submissions(zipped(tmp_path / "b.zip", dict.fromkeys(both, A)), ASSIGNMENT)
    assert students[0] == students[2] != students[1]
    assert {one.student for one in together} == set(students)


def test_outputs_do_not_count_as_the_size_of_a_notebook(tmp_path: Path) -> None:
    def draw(notebook: dict[str, Any]) -> None:
        picture = {"output_type": "display_data", "data": {"image/png": "A" * 400_000}}
        code = [one for one in notebook["cells"] if one["cell_type"] == "code"]
        code[0]["outputs"] = [picture]

    inbox = folder(tmp_path, {"ada.ipynb": changed(draw)})
    (ada,) = find_submissions(inbox, ASSIGNMENT, megabytes=len(LEARNER) / 1e6)
    assert ada.fault == ""
    assert len(ada.data) <= len(LEARNER)
    assert read(ada.data, ASSIGNMENT) == read(LEARNER, ASSIGNMENT)


# Names


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("ada", "ada"),
        ("Ada.L-1_x", "Ada.L-1_x"),
        ("Ada Lovelace", "Ada_Lovelace-*"),
        ("Zoë Ångström", "Zoe_Angstrom-*"),
        ("李雷", "__-*"),
        ("-rf", "rf-*"),
        ("... ", "_-*"),
        ("'; DROP TABLE--", "___DROP_TABLE-*"),
        ('Ada "..\\x"', "*"),
        ("x" * 200, "x" * 49 + "-*"),
        ("x\n\x1b[31m\u202e", "x___31m_-*"),
        ("\udcff", "_-*"),
    ],
)
def test_names_are_safe(name: str, plain: str, tmp_path: Path) -> None:
    student = safe_name(name)
    assert SAFE.fullmatch(student) and student == safe_name(name)
    assert re.fullmatch(re.escape(plain).replace(r"\*", ".*"), student)
    assert (student == name) == ("*" not in plain)


@pytest.mark.parametrize("name", ["", ".", "..", "---", "."])
def test_no_name_is_empty_or_a_folder_of_its_own(name: str) -> None:
    assert re.fullmatch("student-[0-9a-f]{10}", safe_name(name))


@pytest.mark.parametrize(
    "several",
    [
        ("Ada", "ada"),
        ("a b", "a_b", "a?b"),
        ("x" * 61, "x" * 62),
        ("Zoë", "Zoe"),
        ("ö", "ü", "_"),
    ],
)
def test_no_two_students_share_a_folder(several: tuple[str, ...], tmp_path: Path) -> None:
    found = find_submissions(
        zipped(tmp_path / "a.zip", {f"{name}/x.ipynb": A for name in several}), ASSIGNMENT
    )
    assert len({one.student.lower() for one in found}) == len(several)
    assert {one.name for one in found} == set(several)
    again = find_submissions(
        zipped(tmp_path / "b.zip", {f"{name}/x.ipynb": A for name in several[::-1]}), ASSIGNMENT
    )
    assert [(one.student, one.name) for one in again] == [(one.student, one.name) for one in found]


def test_a_name_cannot_be_taken_over(tmp_path: Path) -> None:
    hashed = safe_name("a b")
    found = find_submissions(
        zipped(tmp_path / "a.zip", {"a b/x.ipynb": A, f"{hashed}/x.ipynb": B}), ASSIGNMENT
    )
    assert len({one.student for one in found}) == 2
    members = {
        "Ada_5_999_x.ipynb": A,
        "Ada_55_999_x.ipynb": A,
        "Ada_66_999_x.ipynb": A,
        "Ada (55)_77_999_x.ipynb": B,
    }
    found = find_submissions(zipped(tmp_path / "b.zip", members), ASSIGNMENT)
    assert len({one.student for one in found}) == 4


def test_a_decomposed_name_is_the_same_name(tmp_path: Path) -> None:
    found = [
        find_submissions(zipped(tmp_path / "a.zip", {f"{n}/x.ipynb": A}), ASSIGNMENT)[0]
        for n in ("Zo\u00eb", "Zoe\u0308")
    ]
    assert found[0] == found[1]


# Hostile files


def test_members_that_would_leave_the_folder(tmp_path: Path) -> None:
    members = {
        "../../evil.ipynb": A,
        "/etc/x.ipynb": A,
        "..\\win\\x.ipynb": A,
        'Ada "../x"_1_assign/x.ipynb': B,
    }
    before = sorted(tmp_path.parent.rglob("*"))
    found = find_submissions(zipped(tmp_path / "a.zip", members), ASSIGNMENT)
    assert len(found) == 4 and all(SAFE.fullmatch(one.student) and one.data for one in found)
    assert sorted(tmp_path.parent.rglob("*")) == sorted(
        [*before, tmp_path / "a.zip"]
    )  # nothing was unpacked


def rewritten(path: Path, change: Callable[[bytearray, int, int], None]) -> Path:
    """The zip with bytes of its first member's two headers changed.

    That does `change(data, local, central)`.
    """
    data = bytearray(path.read_bytes())
    change(data, data.index(b"PK\x03\x04"), data.index(b"PK\x01\x02"))
    path.write_bytes(data)
    return path


def encrypted(data: bytearray, local: int, central: int) -> None:
    data[local + 6] |= 1
    data[central + 8] |= 1


def smaller(data: bytearray, local: int, central: int) -> None:
    data[local + 22 : local + 26] = data[central + 24 : central + 28] = (1000).to_bytes(4, "little")


def bzip2(data: bytearray, local: int, central: int) -> None:
    data[local + 8] = data[central + 10] = 12


def damaged(data: bytearray, local: int, central: int) -> None:
    data[local + 500 : local + 520] = bytes(20)


def renamed(data: bytearray, local: int, central: int) -> None:
    data[local + 30] = 66


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (encrypted, "encrypted"),
        (smaller, "not readable"),
        (bzip2, "not supported"),
        (damaged, "not readable"),
        (renamed, "not readable"),
    ],
)
def test_members_that_cannot_be_read(
    change: Callable[..., None], fault: str, tmp_path: Path
) -> None:
    path = rewritten(zipped(tmp_path / "a.zip", {"ada.ipynb": A, "bob.ipynb": B}), change)
    ada, bob = find_submissions(path, ASSIGNMENT)
    assert fault in ada.fault and ada.data == b"" and (bob.data, bob.fault) == (B, "")


def test_a_bomb_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = zipped(tmp_path / "a.zip", {"ada.ipynb": bytes(9_000_000), "bob.ipynb": A})
    asked = []
    reader = zipfile.ZipExtFile.read
    monkeypatch.setattr(
        zipfile.ZipExtFile, "read", lambda file, n=-1: asked.append(n) or reader(file, n)
    )
    ada, bob = find_submissions(path, ASSIGNMENT, megabytes=1)
    assert (ada.fault, ada.data, bob.data) == ("larger than 5 MB", b"", A)
    # Where the header says 1 MB, no more than that is ever unpacked, and the sum does not fit.
    header = lambda data, local, central: smaller(data, local, central)  # noqa: E731
    ada, bob = find_submissions(rewritten(path, header), ASSIGNMENT, megabytes=1)
    assert "not readable" in ada.fault and bob.data == A
    assert asked and all(0 < n <= 5_000_001 for n in asked)


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_links_and_devices_in_a_zip(kind: int, tmp_path: Path) -> None:
    info = zipfile.ZipInfo("ada/x.ipynb")
    info.external_attr, info.create_system = (kind | 0o777) << 16, 3
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(info, "/etc/passwd")
        archive.writestr("bob/x.ipynb", A)
    ada, bob = find_submissions(tmp_path / "a.zip", ASSIGNMENT)
    assert ada.fault == LINK and ada.data == b"" and bob.data == A


@pytest.mark.timeout(20)
def test_links_and_devices_in_a_folder(tmp_path: Path) -> None:
    secret = folder(tmp_path / "secret", {"key.ipynb": b"secret"})
    root = folder(tmp_path / "in", {"ada/": b"", "bob/x.ipynb": A, "carl/": b"", "dora/": b""})
    (root / "ada" / "x.ipynb").symlink_to(secret / "key.ipynb")
    (root / "carl" / "work").symlink_to(secret)
    os.mkfifo(root / "dora" / "x.ipynb")
    (root / "eve").symlink_to(secret)
    (root / "fay.ipynb").symlink_to("/dev/zero")
    (root / "bob" / "round").symlink_to(root)
    found = {one.name: one for one in find_submissions(root, ASSIGNMENT)}
    assert sorted(found) == ["ada", "bob", "carl", "dora", "eve", "fay"]
    assert found.pop("bob").data == A
    assert all(one.data == b"" and LINK in one.fault for one in found.values())


@pytest.mark.parametrize(("depth", "fault"), [(15, ""), (25, "no notebook in the folder")])
def test_folders_are_followed_so_far(depth: int, fault: str, tmp_path: Path) -> None:
    (one,) = find_submissions(folder(tmp_path, {f"ada/{'d/' * depth}x.ipynb": A}), ASSIGNMENT)
    assert one.name == "ada" and one.fault == fault


def test_what_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, mode: str) -> Any:
        raise PermissionError(13, "Permission denied", path)

    folder(tmp_path, {"ada/x.ipynb": A})
    monkeypatch.setattr(Path, "open", refuse)  # root may read everything
    (ada,) = find_submissions(tmp_path, ASSIGNMENT)
    assert "PermissionError" in ada.fault and ada.data == b""


def test_whatever_is_damaged_gives_a_sentence(tmp_path: Path) -> None:
    draw = random.Random(0)
    small = json.dumps(SMALL | {"cells": json.loads(LEARNER)["cells"][20:22]}).encode()
    whole = zipped(tmp_path / "a.zip", {"ada.ipynb": small, "bob/x.ipynb": small}).read_bytes()
    kinds = {"damaged": 0, "read": 0}
    for _ in range(300):
        data, text = bytearray(whole), bytearray(small)
        for some in (data, text):
            some[draw.randrange(len(some))] = draw.randrange(256)
        (tmp_path / "a.zip").write_bytes(data)
        try:
            kinds["read"] += len(find_submissions(tmp_path / "a.zip", ASSIGNMENT)) > 0
        except CourseError:
            kinds["damaged"] += 1
        with contextlib.suppress(Unreadable):
            read(bytes(text), ASSIGNMENT)
    assert min(kinds.values()) > 0 and sum(kinds.values()) == 300


# What a notebook holds

DEEP = b'{"nbformat": 4, "metadata": {}, "cells": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
SMALL = {"nbformat": 4, "metadata": {}, "cells": []}


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"\xef\xbb\xbf", "is empty"),
        (LEARNER[:5000], "cut off after 5000 bytes"),
        (LEARNER.rstrip()[:-1], "cut off after"),
        (b"{", "cut off after 1 bytes"),
        (b'{"name": "Zo\xc3', "cut off after 13 bytes"),
        (b"<!DOCTYPE html>", "is no notebook"),
        (b'{"a": 1} x', "is no notebook"),
        (bytes(1000), "is no notebook"),
        (b'{"nbformat": \xff}', "no text in UTF-8"),
        (LEARNER.decode().encode("utf-16"), "no text in UTF-8"),
        (DEEP, "far too deep"),
        (b'{"nbformat": ' + b"9" * 100_000 + b"}", "too long"),
        (b"[]", "no notebook"),
        (b"4", "no notebook"),
        (b"null", "no notebook"),
        (b'{"nbformat": 4, "metadata": []}', "no notebook"),
        (b'{"nbformat": 4, "metadata": {}}', "no list of cells"),
        (b'{"nbformat": 4, "cells": {"a": 1}}', "no list of cells"),
        (b'{"nbformat": 3, "worksheets": []}', "not in format 4"),
        (b'{"nbformat": [[1]], "cells": []}', "not in format 4"),
        (b'{"cells": []}', "not in format 4"),
    ],
    ids=range(23),
)
def test_unreadable(data: bytes, says: str) -> None:
    with pytest.raises(Unreadable, match=says) as caught:
        read(data, ASSIGNMENT)
    assert caught.value.status == Status.UNREADABLE and re.search(
        "ask for|hand in", str(caught.value)
    )


@pytest.mark.parametrize(
    "damage",
    [
        1,
        None,
        [],
        {"cell_type": "code", "source": 1, "metadata": {}},
        {"cell_type": "code", "source": None, "metadata": {}},
        {"cell_type": "code", "source": ["a", 1], "metadata": {}},
        {"cell_type": "code", "source": {"a": "b"}, "metadata": {}},
        {"cell_type": "code", "source": "", "metadata": []},
        {"cell_type": ["code"], "source": "", "metadata": {}},
        {"source": "", "metadata": {}},
    ],
)
def test_a_damaged_cell(damage: Any) -> None:
    with pytest.raises(Unreadable, match="Cell 3 of the notebook is damaged"):
        read(changed(lambda notebook: notebook["cells"].insert(2, damage)), ASSIGNMENT)


@pytest.mark.parametrize(
    "metadata",
    [
        {"nbgrader": 1, "vaetl": "x", "tags": "parameters"},
        {
            "nbgrader": {"grade_id": ["vae-kl"]},
            "vaetl": {"exercise": {"a": 1}, "check": 7},
            "tags": [[], {}, None],
        },
        {"nbgrader": {"grade_id": ""}, "vaetl": None, "tags": 5},
        {"nbgrader": {"grade_id": None, "points": 10**400, "grade": float("nan")}},
    ],
)
def test_strange_metadata_is_no_graded_cell(metadata: dict[str, Any]) -> None:
    strange = {"cell_type": "code", "source": "1", "metadata": metadata}
    content = read(changed(lambda notebook: notebook["cells"].append(strange)), ASSIGNMENT)
    assert content.problems == () and len(content.cells) == len(ASSIGNMENT.exercises)


def test_sources_may_be_strings_or_lists_and_begin_with_a_mark() -> None:
    def join(notebook: dict[str, Any]) -> None:
        for one in notebook["cells"]:
            one["source"] = "".join(one["source"])

    assert (
        read(changed(join), ASSIGNMENT)
        == read(LEARNER, ASSIGNMENT)
        == read(b"\xef\xbb\xbf" + LEARNER, ASSIGNMENT)
    )


def test_half_a_character_can_be_written_out() -> None:
    data = changed(lambda notebook: cell(notebook, "vae-kl").update(source="x = '\ud800'"))
    assert read(data, ASSIGNMENT).cells["vae.kl"] == ("x = '?'",)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (OTHER, "it is of chapter 01"),
        (changed(lambda notebook: notebook.update(metadata={}), OTHER), "it is of chapter 01"),
        ((course_dir() / "03b_vae_in_depth.ipynb").read_bytes(), "it is of chapter 03b"),
        ((course_dir() / "04b_text_with_bert.ipynb").read_bytes(), "it is of chapter 04b"),
        (json.dumps(SMALL).encode(), "no graded cells of the course"),
        (
            json.dumps(SMALL | {"metadata": {"vaetl": {"chapter": [1]}}}).encode(),
            "no graded cells of the course",
        ),
        (json.dumps(SMALL | {"metadata": {"vaetl": 3}}).encode(), "no graded cells of the course"),
        (
            json.dumps(SMALL | {"metadata": {"vaetl": {"chapter": "03"}}}).encode(),
            "all graded cells of chapter 03 are",
        ),
    ],
    ids=range(8),
)
def test_the_wrong_notebook(data: bytes, says: str) -> None:
    with pytest.raises(Unreadable, match=f"{says}.*Ask for {NAME}.ipynb") as caught:
        read(data, ASSIGNMENT)
    assert caught.value.status == Status.WRONG_NOTEBOOK


def twice(grade_id: str, times: int = 2) -> Callable[[dict[str, Any]], None]:
    def change(notebook: dict[str, Any]) -> None:
        for number in range(1, times):
            again = copy.deepcopy(cell(notebook, grade_id)) | {"source": f"copy = {number}"}
            notebook["cells"].insert(
                notebook["cells"].index(cell(notebook, grade_id)) + number, again
            )

    return change


def edit(grade_id: str, **changes: Any) -> Callable[[dict[str, Any]], None]:
    """Sets a cell's fields, or nbgrader's where the cell has no such field.

    `nbgrader` removes the metadata of nbgrader.
    """

    def change(notebook: dict[str, Any]) -> None:
        mine = cell(notebook, grade_id)
        for key, value in changes.items():
            if key == "nbgrader":
                mine["metadata"].pop("nbgrader")
            else:
                (mine if key in mine else mine["metadata"]["nbgrader"])[key] = value

    return change


STUB = ASSIGNMENT.exercises[1].stub
RESTORED = "it is restored from the course, nothing is lost."
EXERCISE, CHECK = "The exercise's cell is ", "The check cell "
OWN_CODE = (
    "The check cell was changed, and what was written into it does not count: the check is "
    "restored from the course. An answer belongs into the exercise's cell above it."
)


@pytest.mark.parametrize(
    ("change", "cells", "problems"),
    [
        (
            without("vae-kl"),
            None,
            ["The exercise's cell is missing: put it back from a fresh copy of the notebook."],
        ),
        (
            edit("vae-kl", cell_type="markdown"),
            None,
            [EXERCISE + "a Markdown cell now: change its type back to code."],
        ),
        (
            edit("vae-kl", cell_type="raw"),
            None,
            [EXERCISE + "a raw cell now: change its type back to code."],
        ),
        (
            edit("vae-kl", cell_type="x\x1b"),
            None,
            [EXERCISE + "a strange cell now: change its type back to code."],
        ),
        (
            twice("vae-kl"),
            (STUB, "copy = 1"),
            [
                EXERCISE
                + "there 2 times: both are run in order, so that the last definition counts."
            ],
        ),
        (
            twice("vae-kl", 3),
            (STUB, "copy = 1", "copy = 2"),
            [EXERCISE + "there 3 times: all are run in order, so that the last definition counts."],
        ),
        (edit("vae-kl", source=["def kl():\n", "    pass"]), ("def kl():\n    pass",), []),
        (
            edit("vae-kl", nbgrader=None),
            (STUB,),
            [f"The settings of the exercise's cell were changed: {RESTORED}"],
        ),
        (
            edit("vae-kl", grade=True),
            (STUB,),
            [f"The settings of the exercise's cell were changed: {RESTORED}"],
        ),
        (without("vae-kl-check"), (STUB,), [f"{CHECK}is missing: {RESTORED}"]),
        (edit("vae-kl-check", source="1"), (STUB,), [OWN_CODE]),
        (edit("vae-kl-check", source=""), (STUB,), [f"{CHECK}was changed: {RESTORED}"]),
        (
            edit("vae-kl-check", source=f"{STUB}\n\n{ASSIGNMENT.exercises[1].check_cell}"),
            (STUB,),
            [OWN_CODE],
        ),
        (edit("vae-kl-check", cell_type="markdown"), (STUB,), [f"{CHECK}was changed: {RESTORED}"]),
        (edit("vae-kl-check", source=ASSIGNMENT.exercises[1].check_cell + " \n"), (STUB,), []),
        (
            twice("vae-kl-check"),
            (STUB,),
            [f"{CHECK}is there 2 times: {RESTORED}", OWN_CODE],
        ),
        *(
            (
                edit("vae-kl-check", **{key: value}),
                (STUB,),
                [f"The points or settings of the check cell were changed: {RESTORED}"],
            )
            for key, value in (
                ("points", 200),
                ("locked", False),
                ("grade", False),
                ("points", [[]]),
                ("nbgrader", 0),
            )
        ),
    ],
)
def test_problems(
    change: Callable[[Any], None], cells: tuple[str, ...] | None, problems: list[str]
) -> None:
    content = read(changed(change), ASSIGNMENT)
    assert content.cells.get("vae.kl") == cells
    kl = ASSIGNMENT.exercises[1]
    assert problem_sentences(content.problems) == problems
    assert content.problems_of(kl) == list(content.problems)
    assert len(content.cells) == len(ASSIGNMENT.exercises) - (cells is None)


def strip(notebook: dict[str, Any]) -> None:
    """Takes away all metadata, as some converters do."""
    notebook["metadata"] = {}
    for one in notebook["cells"]:
        one["metadata"] = {}


@pytest.mark.parametrize("number", GRADED)
def test_cells_that_have_lost_their_marks_are_found_by_their_source(number: str) -> None:
    assignment = find_assignment(number)
    path = course_dir() / "solutions" / assignment.file_name
    content = read(changed(strip, path.read_bytes()), assignment)
    whole = read(path.read_bytes(), assignment)
    assert {id: sources[-1] for id, sources in content.cells.items()} == {
        id: sources[-1] for id, sources in whole.cells.items()
    }
    assert content.setup == whole.setup
    assert {problem.kind for problem in content.problems} == {ProblemKind.FOUND_BY_SOURCE}
    assert has_cells_of(changed(strip, path.read_bytes()), assignment)


@pytest.mark.parametrize("number", ["01", "03b"])
def test_another_chapter_without_marks_is_not_taken_for_this_one(number: str) -> None:
    other = course_dir() / "solutions" / find_assignment(number).file_name
    with pytest.raises(Unreadable):
        read(changed(strip, other.read_bytes()), ASSIGNMENT)


def add_cell(source: str, grade_id: str = "") -> Callable[[dict[str, Any]], None]:
    def change(notebook: dict[str, Any]) -> None:
        metadata = {"nbgrader": {"grade_id": grade_id}} if grade_id else {}
        new = {"cell_type": "code", "source": source, "metadata": metadata}
        notebook["cells"].append(new)

    return change


ANSWER = "def kl(mu, log_var):\n    return 0 * mu"


@pytest.mark.parametrize("own", [None, "", "# see below"], ids=["stub", "empty", "a word"])
def test_an_answer_below_the_stub_is_taken_and_named(own: str | None) -> None:
    def change(notebook: dict[str, Any]) -> None:
        if own is not None:
            cell(notebook, "vae-kl")["source"] = own
        add_cell(ANSWER)(notebook)

    content = read(changed(change), ASSIGNMENT)
    assert content.cells["vae.kl"] == (STUB if own is None else own, ANSWER)
    (sentence,) = problem_sentences(content.problems)
    number = len(json.loads(LEARNER)["cells"]) + 1
    assert f"cell {number} was taken for it, since it defines kl" in sentence


def test_an_answer_in_its_own_cell_comes_before_one_elsewhere() -> None:
    def change(notebook: dict[str, Any]) -> None:
        cell(notebook, "vae-kl")["source"] = ANSWER
        add_cell("def kl(mu, log_var):\n    return mu")(notebook)

    content = read(changed(change), ASSIGNMENT)
    assert content.cells["vae.kl"] == (ANSWER,) and not content.problems


def test_an_answer_in_the_check_cell_of_another_exercise_is_none() -> None:
    def change(notebook: dict[str, Any]) -> None:
        other = cell(notebook, "vae-elbo-check")
        other["source"] = f"{ANSWER}\n{other['source']}"

    assert read(changed(change), ASSIGNMENT).cells["vae.kl"] == (STUB,)


def test_an_answer_in_place_of_a_deleted_cell_is_taken() -> None:
    def change(notebook: dict[str, Any]) -> None:
        without("vae-kl")(notebook)
        add_cell(ANSWER)(notebook)

    content = read(changed(change), ASSIGNMENT)
    assert content.cells["vae.kl"] == (ANSWER,)
    assert "taken for it, since it defines kl" in problem_sentences(content.problems)[0]


def test_an_answer_in_the_cell_of_another_exercise_is_taken_where_its_own_is_gone() -> None:
    def change(notebook: dict[str, Any]) -> None:
        without("vae-kl")(notebook)
        cell(notebook, "vae-elbo")["source"] = ANSWER

    assert read(changed(change), ASSIGNMENT).cells["vae.kl"] == (ANSWER,)


@pytest.mark.parametrize(
    ("metadata", "name", "number"),
    [
        ({"vaetl": {"chapter": "03"}}, "01_training_step.ipynb", "03"),
        ({}, "Copy of 01_training_step.ipynb", "01"),
        ({}, "01-training-step.ipynb", "01"),
        ({}, "01_training_step (1).ipynb", "01"),
        ({"vaetl": {"chapter": "99"}}, "ada_03b_vae_in_depth.ipynb", "03b"),
        ({"vaetl": 3}, "03_mine.ipynb", "03"),
    ],
)
def test_metadata_decide_on_the_chapter_and_then_the_name(
    metadata: dict[str, Any], name: str, number: str
) -> None:
    assert chapter_of(json.dumps(SMALL | {"metadata": metadata}).encode(), name) == number


def test_graded_cells_decide_on_the_chapter_before_the_name() -> None:
    data = changed(lambda notebook: notebook.update(metadata={}))
    assert chapter_of(data, "01_training_step.ipynb") == "03"


def test_a_notebook_of_no_chapter_is_to_be_given_with_one() -> None:
    with pytest.raises(CourseError, match="--assignment 03"):
        chapter_of(json.dumps(SMALL).encode(), "mine.ipynb")


def test_cells_that_are_not_of_the_assignment() -> None:
    def add(notebook: dict[str, Any]) -> None:
        for grade_id in ("vae-iw_bound", "\x1b[31m"):
            meta = {"nbgrader": {"grade_id": grade_id, "solution": True}}
            notebook["cells"].append({"cell_type": "code", "source": "evil()", "metadata": meta})

    content = read(changed(add), ASSIGNMENT)
    assert [(problem.cell, problem.kind) for problem in content.problems] == [
        ("\x1b[31m", ProblemKind.NOT_IN_CHAPTER),
        ("vae-iw_bound", ProblemKind.NOT_IN_CHAPTER),
    ]
    assert unknown_cells_sentences(content.unknown_cells, "03") == [
        "Graded cells that are not in chapter 03 are ignored: ?[31m, vae-iw_bound."
    ]
    assert "evil()" not in str(content.cells)


def test_a_problem_names_its_cell_and_what_was_done() -> None:
    content = read(changed(twice("vae-kl-check", 3)), ASSIGNMENT)
    repeated = Problem("vae-kl-check", ProblemKind.REPEATED, count=3)
    assert content.problems == (
        repeated,
        Problem("vae-kl-check", ProblemKind.OWN_CODE),
    )
    assert repeated.is_of_check
    assert content.problems_of(ASSIGNMENT.exercises[0]) == []


@pytest.mark.parametrize(
    ("data", "fits"),
    [(LEARNER, True), (OTHER, False), (b"", False), (json.dumps(SMALL).encode(), False)],
)
def test_whether_a_notebook_has_cells_of_the_assignment(data: bytes, fits: bool) -> None:
    assert has_cells_of(data, ASSIGNMENT) == fits


# The setup


def place(*cells: dict[str, Any]) -> bytes:
    """The learner's notebook with these cells in the place of the parameters cell and the setup."""

    def change(notebook: dict[str, Any]) -> None:
        numbers = [
            number
            for number, one in enumerate(notebook["cells"])
            if "".join(one["source"]) in (ASSIGNMENT.parameters, *ASSIGNMENT.setup)
        ]
        new = [{"metadata": {}, "cell_type": "code"} | one for one in cells]
        notebook["cells"][numbers[0] : numbers[-1] + 1] = new

    return changed(change)


PARAMETERS = {"source": "seed = 0", "metadata": {"tags": ["parameters"]}}
INJECTED = {"source": "seed = 7", "metadata": {"tags": ["injected-parameters"]}}
TEXT = {"source": "text", "cell_type": "markdown"}
COURSE_SETUP = [{"source": source} for source in ASSIGNMENT.setup]
EDITED_SETUP = {"source": ASSIGNMENT.setup[1] + "\nimport statistics"}
GRADED_CELL = {"source": "kl = 1", "metadata": {"vaetl": {"exercise": "vae.kl"}}}


@pytest.mark.parametrize(
    ("cells", "setup"),
    [
        ([PARAMETERS, {"source": "a"}, {"source": ["b\n", "c"]}], ("a", "b\nc")),
        ([PARAMETERS, INJECTED, {"source": "a"}], ("a",)),
        ([PARAMETERS, INJECTED], None),
        ([PARAMETERS], None),
        ([{"source": "a"}], None),
        ([PARAMETERS, GRADED_CELL, {"source": "a"}], ("a",)),
        (
            [
                PARAMETERS,
                {"source": "a"},
                {"source": "text", "cell_type": "markdown"},
                {"source": "b"},
            ],
            ("a",),
        ),
        ([PARAMETERS | {"cell_type": "markdown"}, {"source": "a"}], None),
        ([PARAMETERS, TEXT, *COURSE_SETUP], ASSIGNMENT.setup),
        ([PARAMETERS, COURSE_SETUP[0], TEXT, COURSE_SETUP[1], TEXT], ASSIGNMENT.setup),
        (
            [PARAMETERS, COURSE_SETUP[0], TEXT, EDITED_SETUP, TEXT, {"source": "long()"}],
            (ASSIGNMENT.setup[0], EDITED_SETUP["source"]),
        ),
        ([{"source": "profile: str = 'auto'"}, {"source": "a"}], ("a",)),
    ],
)
def test_setup(cells: list[dict[str, Any]], setup: tuple[str, ...] | None) -> None:
    content = read(place(*cells), ASSIGNMENT)
    assert content.setup == setup
    assert ("the course's setup cells were used" in str(content.notes)) == (setup is None)
