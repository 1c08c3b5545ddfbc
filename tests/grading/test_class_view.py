"""The page for a class: what was found how often, no names, and no words of one student alone."""

from __future__ import annotations

from types import SimpleNamespace

from bs4 import BeautifulSoup

from vaetl_helpers import exercises
from vaetl_helpers.grading.class_view import OTHER_FINDING, OWN_WORDS, ClassView
from vaetl_helpers.grading.notebooks import Assignment
from vaetl_helpers.grading.pages import class_page
from vaetl_helpers.grading.result import ExerciseResult, GradedBy, PartResult, Result, Status

KL = exercises.get("vae.kl")
NO_HALF = next(wrong.says for wrong in KL.wrong if wrong.name == "no half")
CHAPTER = Assignment("03", "03_vae", "Autoencoders", "", (), (SimpleNamespace(id="vae.kl"),))
INSULT = "RuntimeError: <script>alert(1)</script> Ada is silly"


def answer(status: Status, message: str = "", points: float = 0) -> ExerciseResult:
    parts = [PartResult("the values", min(points, 1), 1), PartResult("the gradients", 0, 1)]
    return ExerciseResult("vae.kl", points, 2, status, message, code="secret", parts=parts)


def class_of(*answers: ExerciseResult) -> list[Result]:
    results = []
    for number, one in enumerate(answers):
        name = f"Person {number}"
        results.append(Result("03", f"p{number}", name, GradedBy.HIDDEN_TESTS, [one]))
    return results


def findings(*answers: ExerciseResult) -> list[tuple[str, int]]:
    view = ClassView("03", "Autoencoders", class_of(*answers))
    return [(finding.text, finding.count) for finding in view.findings]


def test_the_same_finding_is_counted_wherever_its_line_stands() -> None:
    name_error = "NameError: name 'kll' is not defined"
    rows = findings(
        answer(Status.INCORRECT, NO_HALF),
        answer(Status.CRASHED, f"{name_error} (line 2 of kl: return kll(mu))"),
        answer(Status.CRASHED, f"{name_error} (line 7 of kl: x = kll(1))"),
        answer(Status.CORRECT, points=2),
        answer(Status.CRASHED, f"{name_error} (line 1 of kl)"),
        answer(Status.CRASHED, "KeyError: 1 (line 1 of kl: d[(1)]); advice"),
        answer(Status.CRASHED, "KeyError: 1 (line 2 of kl); advice"),
        answer(Status.NOT_ATTEMPTED),
    )
    assert rows == [(name_error, 3), ("KeyError: 1; advice", 2), (NO_HALF, 1)]


def test_what_one_student_alone_has_written_is_not_shown() -> None:
    rows = findings(
        answer(Status.CRASHED, INSULT),
        answer(Status.CRASHED, "Ada: is silly"),
        answer(Status.INCORRECT, "the result: expected one number, got Ada is silly"),
        answer(Status.UNREADABLE, "no notebook, only Ada is silly.pdf"),
    )
    texts = {("RuntimeError", 1), (OWN_WORDS, 1), (OTHER_FINDING, 1)}
    assert set(rows) == texts


def test_the_page_counts_parts_and_answers_and_names_nobody() -> None:
    results = class_of(
        answer(Status.PARTLY_CORRECT, "the gradient is missing", points=1),
        answer(Status.CRASHED, INSULT),
        answer(Status.CRASHED, INSULT),
        answer(Status.CORRECT, points=2),
    )
    text = class_page(results, {"03": CHAPTER})
    page = BeautifulSoup(text, "html.parser")
    tables = {table.caption.get_text(): table.get_text(" ", strip=True) for table in page("table")}
    exercise = tables["Exercises, in the order of the chapter"].replace("\xa0", " ")
    assert "38 %" in exercise and "the values: 2 of 4" in exercise
    assert "1 correct, 1 partly correct, 2 crashed" in exercise
    assert not page("script")
    assert INSULT in page.get_text()  # two students have it, and it is text
    assert "Person" not in text and "secret" not in text


def test_the_page_of_nobody_says_so() -> None:
    assert "Nothing is graded yet" in class_page([], {"03": CHAPTER})
