"""The grading pages: right numbers and links, nothing from elsewhere; hostile text stays text."""

import base64
import functools
import re
from collections.abc import Callable
from dataclasses import fields, replace
from types import SimpleNamespace
from typing import Any

import pytest
from bs4 import BeautifulSoup

from vaetl_helpers.grading.notebooks import Assignment
from vaetl_helpers.grading.pages import feedback_page, report_page
from vaetl_helpers.grading.pages.pages import LOOKS, MOST_CODE
from vaetl_helpers.grading.result import ExerciseResult, GradedBy, Result, Status

WORTH = {"vae.kl": 2, "vae.elbo": 3, "vae.reparameterise": 1}
EXERCISES = tuple(SimpleNamespace(id=id, points=points) for id, points in WORTH.items())
CHAPTER = Assignment("03", "03_vae", "Autoencoders", "", (), EXERCISES)
OTHER = Assignment("01", "01_training", "Training", "", (), EXERCISES)
FLAG = "equals the published solution"
HOSTILE = [
    "<script>alert(1)</script>",
    "</pre></code></td></table><script src=https://evil.example/x.js></script>",
    "\"'><img src=x onerror=alert(1)>",
    "../../etc/passwd",
    "Ada \u202egpj.exe\u2066",
    "two\nlines\r\x00\x1b[31m\udce9",
    "&amp; &lt;",
]


def exercise(id: str, status: str = "correct", **changes: Any) -> ExerciseResult:
    return replace(
        ExerciseResult(
            id=id,
            points=WORTH[id] if status == "correct" else 0,
            worth=WORTH[id],
            status=Status(status),
            seconds=1.25,
            code="def f(x):\n    return x\n",
        ),
        **changes,
    )


def result(student: str = "ada", *statuses: str, **changes: Any) -> Result:
    """One submission, whose exercises have these statuses; correct where there is none."""
    statuses = (*statuses, *["correct"] * len(WORTH))
    exercises = [exercise(id, status) for id, status in zip(WORTH, statuses, strict=False)]
    hidden = GradedBy.HIDDEN_TESTS
    graded = Result("03", student, student.title(), hidden, exercises, digest="d")
    return replace(graded, **changes)


def with_changed(graded: Result, number: int, **changes: Any) -> Result:
    """The result with other fields of one exercise."""
    exercises = list(graded.exercises)
    exercises[number] = replace(exercises[number], **changes)
    return replace(graded, exercises=exercises)


def page(*results: Result) -> BeautifulSoup:
    return BeautifulSoup(report_page(results, {"03": CHAPTER}), "html.parser")


def feedback(graded: Result) -> BeautifulSoup:
    return BeautifulSoup(feedback_page(graded, CHAPTER), "html.parser")


def rows(soup: BeautifulSoup, caption: str) -> list[list[str]]:
    """The table with this caption, as text; none where it is not there."""
    tables = [table for table in soup("table") if table.caption.get_text() == caption]
    lines = [
        [cell.get_text("|").replace("\xa0", " ") for cell in line("td")]
        for table in tables
        for line in table("tr")
    ]
    return [line for line in lines if line]


def spoilt(text: str) -> Result:
    """A submission with this text everywhere that a student can put some."""
    spoilt_fields = {"code": text, "message": text, "notes": [text], "flags": [text, FLAG]}
    exercises = [exercise(id, "crashed", **spoilt_fields) for id in list(WORTH)[:2]]
    exercises.append(exercise("vae.reparameterise"))
    return result(name=text, notes=[text], exercises=exercises)


# ---------------------------------------------------------------- feedback


def test_feedback_tells_points_tests_and_outcomes() -> None:
    graded = result("ada", "incorrect", name="Ada L.", notes=["The file was renamed."])
    twice = ["The cell was there twice."]
    soup = feedback(with_changed(graded, 0, message="the sum is over the batch", notes=twice))
    text = soup.main.get_text(" ", strip=True)
    assert soup.h1.get_text() == soup.title.get_text() == "Feedback: Autoencoders"
    for part in (
        "Ada L.",
        "4 of 6 points",
        "Hidden tests",
        "The file was renamed.",
        "The cell was there twice.",
    ):
        assert part in text
    assert rows(soup, "Exercises") == [
        ["vae.kl", "0 of 2", "✗| incorrect", "the sum is over the batch"],
        ["vae.elbo", "3 of 3", "✓| correct", ""],
        ["vae.reparameterise", "1 of 1", "✓| correct", ""],
    ]
    assert soup.find("div", class_="output_area").get_text() == "the sum is over the batch"
    assert [code.get_text() for code in soup("div", class_="highlight")] == [
        "def f(x):\n    return x\n"
    ] * 3
    assert text.count("Next:") == 1 and 'hint("vae.kl")' in text
    targets = [link["href"][1:] for link in soup("a") if link["href"].startswith("#e")]
    assert targets == [heading["id"] for heading in soup("h2")]


def test_every_status_has_a_look() -> None:
    assert LOOKS.keys() == set(Status)


@pytest.mark.parametrize("status", Status)
def test_each_status_has_a_mark_a_word_and_a_next_step(status: str) -> None:
    soup = feedback(result("ada", status))
    mark, word = rows(soup, "Exercises")[0][2].split("|")
    assert mark.strip() and word.strip() == status
    assert ("Next:" in soup.get_text()) == (status != "correct")
    assert "{id}" not in soup.get_text()


def test_public_checks_are_called_so() -> None:
    text = feedback(result(tests=GradedBy.PUBLIC_CHECKS)).get_text()
    assert "Public checks only" in text and "Hidden tests" not in text


def test_flags_are_not_for_the_student() -> None:
    flagged = with_changed(result(), 0, flags=[FLAG])
    assert FLAG not in feedback_page(flagged, CHAPTER)
    assert FLAG in report_page([flagged], {"03": CHAPTER})


def test_a_file_that_could_not_be_read_is_said_once() -> None:
    exercises = [exercise(id, "unreadable", code="", message="the file is empty") for id in WORTH]
    soup = feedback(result(exercises=exercises))
    assert rows(soup, "Exercises") == [
        ["all exercises", "0 of 6", "?| unreadable", "the file is empty"]
    ]
    assert len(soup("h2")) == 1 and "check-submission" in soup.get_text()


def test_long_code_is_cut() -> None:
    text = feedback_page(with_changed(result(), 0, code="x = 1\n" * MOST_CODE), CHAPTER)
    assert "only 20,000 characters are shown" in text and len(text) < 40 * MOST_CODE


# ---------------------------------------------------------------- report


def test_report_counts_points_and_shows_their_distribution() -> None:
    soup = page(result("ada"), result("bob", "incorrect"), result("eve", *["unreadable"] * 3))
    text = soup.main.get_text(" ", strip=True)
    assert "Students: 3. Points of 6: mean 3.3, median 4." in text
    assert "unreadable or another chapter's: 1; they count as 0 points" in text
    assert soup.img["alt"].endswith(
        "how many of 3 students have how many of 6 points; "
        "mean 3.3, lowest 0, highest 6, 1 with all points."
    )
    assert base64.b64decode(soup.img["src"].removeprefix("data:image/png;base64,")).startswith(
        b"\x89PNG"
    )


def test_the_hardest_exercise_comes_first() -> None:
    students = [
        result("ada", "correct", "crashed"),
        result("bob", "incorrect", "crashed"),
        result("eve", "missing"),
    ]
    soup = page(*students)
    assert rows(soup, "Exercises, the hardest first") == [
        ["vae.elbo", "3 points", " 33 %", "2 crashed, 1 correct"],
        ["vae.kl", "2 points", " 33 %", "1 correct, 1 incorrect, 1 missing"],
        ["vae.reparameterise", "1 point", " 100 %", "3 correct"],
    ]
    assert [meter["value"] for meter in soup("meter")] == ["0.333", "0.333", "1.000"]


def test_flags_notes_failures_and_public_checks_are_listed() -> None:
    ada = result("ada", "incorrect", notes=["renamed"])
    ada = with_changed(ada, 0, message="no sum", notes=["twice"])
    bob = result("bob", tests=GradedBy.PUBLIC_CHECKS, flags=["uses os"])
    bob = with_changed(bob, 1, flags=[FLAG, "uses vaetl_helpers.vae.elbo"])
    soup = page(bob, ada, result("eve", *["wrong notebook"] * 3))
    found = [
        ["Bob", "setup cells", "uses os"],
        ["Bob", "vae.elbo", f"• {FLAG}|• uses vaetl_helpers.vae.elbo"],
    ]
    assert rows(soup, "Flagged for a look") == found
    assert rows(soup, "Graded by public checks only") == [["Bob"]]
    assert rows(soup, "Notes") == [["Ada", "", "renamed"], ["Ada", "vae.kl", "twice"]]
    assert rows(soup, "Failures") == [
        ["Ada", "vae.kl|✗| incorrect", "no sum"],
        ["Eve", "all exercises|?| wrong notebook", ""],
    ]
    assert "A flag is no verdict" in soup.get_text() and "they can be faked" in soup.get_text()
    assert {link["href"] for link in soup.main("a")} == {
        f"feedback/{who}/03/03_vae.html" for who in ("ada", "eve")
    }


def test_where_all_is_well_there_are_no_lists_of_what_is_not() -> None:
    soup = page(result(), result("bob"))
    assert [table.caption.get_text() for table in soup("table")] == [
        "Exercises, the hardest first",
        "All students",
    ]
    assert rows(soup, "All students") == [["Ada", "6 of 6"], ["Bob", "6 of 6"]]


def test_report_of_nobody() -> None:
    soup = page()
    assert "0 students" in soup.get_text() and not soup("img") and not soup("table")


def test_report_of_a_hundred() -> None:
    kinds = list(Status)
    soup = page(
        *(
            result(f"student-{i:03}", *(kinds[(i + j) % len(kinds)] for j in range(3)))
            for i in range(100)
        )
    )
    assert "Students: 100." in soup.get_text()
    assert len({row[0] for row in rows(soup, "Failures")}) == 100


def test_each_assignment_has_its_part() -> None:
    results = [result(), result("bob", assignment="01")]
    text = report_page(results, {"03": CHAPTER, "01": OTHER})
    soup = BeautifulSoup(text, "html.parser")
    assert [heading.get_text() for heading in soup("h2")] == ["01 Training", "03 Autoencoders"]
    assert (
        [link["href"] for link in soup.nav("a")]
        == ["#a0", "#a1"]
        == [f"#{h['id']}" for h in soup("h2")]
    )
    assert "feedback/bob/01/01_training.html" in text


def test_the_order_of_the_submissions_changes_nothing() -> None:
    results = [result("bob", "crashed"), result("ada"), result("eve", "missing")]
    in_order = report_page(results, {"03": CHAPTER, "01": OTHER})
    assert in_order == report_page(results[::-1], {"01": OTHER, "03": CHAPTER})
    assert feedback_page(results[0], CHAPTER) == feedback_page(results[0], CHAPTER)


# ---------------------------------------------------------------- hostile text

PAGES: list[Callable[[Result], str]] = [
    lambda graded: feedback_page(graded, CHAPTER),
    lambda graded: report_page([graded], {"03": CHAPTER}),
]
FEEDBACK_AND_REPORT = pytest.mark.parametrize("make", PAGES, ids=["feedback", "report"])
SCRIPT = "<script>window.hacked = '{}'</script>"


@FEEDBACK_AND_REPORT
@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_stays_text_and_loads_nothing(
    text: str, make: Callable[[Result], str]
) -> None:
    html = make(spoilt(text))
    soup = BeautifulSoup(html, "html.parser")
    plain = harmless(make)
    assert tags(soup) == tags(plain)  # the same page, with other words
    assert attributes(soup) == attributes(plain)
    shown = re.sub(r"[\r\x00\x1b\u202e\u2066\udce9]", lambda found: f"\\u{ord(found[0]):04x}", text)
    assert soup.bdi.get_text() == shown
    assert not re.search(
        "[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", html
    )
    html.encode("utf-8")
    assert_nothing_is_loaded_from_elsewhere(soup)


def assert_nothing_is_loaded_from_elsewhere(soup: BeautifulSoup) -> None:
    policy = soup.find("meta", attrs={"http-equiv": "Content-Security-Policy"})["content"]
    assert policy.startswith("default-src 'none'")
    assert not soup(["script", "iframe", "object", "embed", "base", "form"])
    assert all(tag["src"].startswith("data:") for tag in soup(src=True))
    assert all(tag["href"].startswith("data:") for tag in soup("link"))
    assert all(re.match(r"#|feedback/", tag["href"]) for tag in soup("a"))


@functools.cache
def harmless(make: Callable[[Result], str]) -> BeautifulSoup:
    return BeautifulSoup(make(spoilt("harmless")), "html.parser")


def tags(soup: BeautifulSoup) -> list[str]:
    """The page's tags in order, but for those that colour code."""
    return [tag.name for tag in soup.find_all(True) if tag.name != "span"]


def attributes(soup: BeautifulSoup) -> set[str]:
    return {key for tag in soup.find_all(True) for key in tag.attrs}


def with_scripts(value: Any, path: str = "") -> Any:
    """The same with a script in every text, which says where it was; statuses are no text."""
    if isinstance(value, (Status, GradedBy)):
        return value
    if isinstance(value, str):
        return SCRIPT.format(path)
    if isinstance(value, (list, tuple)):
        return [with_scripts(inner, f"{path}/{number}") for number, inner in enumerate(value)]
    if hasattr(value, "__dataclass_fields__"):
        changes = {}
        for field in fields(value):
            inner = getattr(value, field.name)
            changes[field.name] = with_scripts(inner, f"{path}/{field.name}")
        return replace(value, **changes)
    return value


def scripted(status: str = "crashed", tests: GradedBy = GradedBy.HIDDEN_TESTS) -> Result:
    """A result with a script in every field that holds text."""
    exercises = [exercise(id, status, notes=["", ""], flags=["", ""]) for id in WORTH]
    graded = result(exercises=exercises, notes=["", ""], flags=["", ""], tests=tests)
    return with_scripts(graded)


def scripted_report(*results: Result) -> str:
    """A report on two assignments, so that it has a table of contents."""
    number = results[0].assignment
    chapter = replace(with_scripts(CHAPTER), exercises=EXERCISES)
    elsewhere = replace(results[0], assignment="01")
    return report_page([*results, elsewhere], {number: chapter, "01": chapter})


def scripted_feedback(graded: Result) -> str:
    return feedback_page(graded, with_scripts(CHAPTER))


def test_a_script_in_any_field_is_escaped() -> None:
    results = [scripted(status, tests) for status in Status for tests in GradedBy]
    pages = [scripted_feedback(graded) for graded in results]
    for html in [*pages, scripted_report(*results)]:
        assert "<script" not in html.lower()
        assert "&lt;script" in html
        assert not BeautifulSoup(html, "html.parser")("script")


def test_the_scripts_reach_the_pages() -> None:
    """So that the test above does not pass because nothing is shown."""
    feedback_html = scripted_feedback(scripted())
    report_html = scripted_report(scripted())
    assert "window.hacked = &#39;/name&#39;" in feedback_html
    of_exercise = ("/exercises/0/id", "/exercises/0/message", "/exercises/0/notes/1")
    for place in ("/notes/1", "/title", *of_exercise):
        assert f"&#39;{place}&#39;" in feedback_html, place
    assert "/exercises/0/code" in feedback_html
    for place in ("/assignment", "/name", "/flags/1", "/notes/1", "/exercises/0/flags/1"):
        assert f"&#39;{place}&#39;" in report_html, place
    assert "%2Fstudent" in report_html


def test_a_link_cannot_leave_its_folder() -> None:
    soup = page(result('../x"><b>/?#', name=""))
    assert [link["href"] for link in soup.main("a")] == [
        "feedback/..%2Fx%22%3E%3Cb%3E%2F%3F%23/03/03_vae.html"
    ]
