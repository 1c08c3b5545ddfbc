"""The grading pages: right numbers and links, nothing from elsewhere, and hostile text stays text."""

import base64
import re
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from bs4 import BeautifulSoup

from vaetl_helpers.grading.pages.pages import CODE, STATUSES, feedback, report

WORTH = {"vae.kl": 2, "vae.elbo": 3, "vae.reparameterise": 1}
TASKS = tuple(SimpleNamespace(id=id, points=points) for id, points in WORTH.items())
CHAPTER = SimpleNamespace(number="03", name="03_vae", title="Autoencoders", tasks=TASKS)
OTHER = SimpleNamespace(number="01", name="01_training", title="Training", tasks=TASKS)
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


def exercise(id: str, status: str = "correct", **given: Any) -> dict[str, Any]:
    points = WORTH[id] if status == "correct" else 0
    facts = {
        "id": id,
        "points": points,
        "of": WORTH[id],
        "status": status,
        "message": "",
        "seconds": 1.25,
    }
    return facts | {"code": "def f(x):\n    return x\n", "flags": [], "notes": []} | given


def result(student: str = "ada", *statuses: str, **given: Any) -> dict[str, Any]:
    """One submission, whose exercises have these statuses; correct where there is none."""
    found = [*statuses, *["correct"] * (len(WORTH) - len(statuses))]
    exercises = [exercise(id, status) for id, status in zip(WORTH, found, strict=True)]
    facts = {
        "assignment": "03",
        "student": student,
        "name": student.title(),
        "digest": "d",
        "tests": "hidden",
    }
    return facts | {"notes": [], "exercises": exercises} | given


def page(*results: dict[str, Any]) -> BeautifulSoup:
    return BeautifulSoup(report(results, {"03": CHAPTER}), "html.parser")


def rows(soup: BeautifulSoup, caption: str) -> list[list[str]]:
    """The table with this caption, as text; none where it is not there."""
    tables = [table for table in soup("table") if table.caption.get_text() == caption]
    lines = [
        [cell.get_text("|").replace("\xa0", " ") for cell in line("td")]
        for table in tables
        for line in table("tr")
    ]
    return [line for line in lines if line]


def spoilt(text: str) -> dict[str, Any]:
    """A submission with this text everywhere that a student can put some."""
    exercises = [
        exercise(id, "crashed", code=text, message=text, notes=[text], flags=[text, FLAG])
        for id in list(WORTH)[:2]
    ]
    return result(name=text, notes=[text], exercises=[*exercises, exercise("vae.reparameterise")])


# ---------------------------------------------------------------- feedback


def test_feedback_tells_points_tests_and_outcomes() -> None:
    given = result("ada", "incorrect", name="Ada L.", notes=["The file was renamed."])
    given["exercises"][0] |= {
        "message": "the sum is over the batch",
        "notes": ["The cell was there twice."],
    }
    soup = BeautifulSoup(feedback(given, CHAPTER), "html.parser")
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


@pytest.mark.parametrize("status", STATUSES)
def test_each_status_has_a_mark_a_word_and_a_next_step(status: str) -> None:
    given = result("ada", status)
    soup = BeautifulSoup(feedback(given, CHAPTER), "html.parser")
    mark, word = rows(soup, "Exercises")[0][2].split("|")
    assert mark.strip() and word.strip() == status
    assert ("Next:" in soup.get_text()) == (status != "correct")
    assert "{id}" not in soup.get_text()


def test_public_checks_are_called_so() -> None:
    text = feedback(result(tests="public"), CHAPTER)
    assert "Public checks only" in text and "Hidden tests" not in text


def test_flags_are_not_for_the_student() -> None:
    given = result()
    given["exercises"][0]["flags"] = [FLAG]
    assert FLAG not in feedback(given, CHAPTER)
    assert FLAG in report([given], {"03": CHAPTER})


def test_a_file_that_could_not_be_read_is_said_once() -> None:
    given = result("ada", *["unreadable"] * 3)
    for row in given["exercises"]:
        row |= {"code": "", "message": "the file is empty"}
    soup = BeautifulSoup(feedback(given, CHAPTER), "html.parser")
    assert rows(soup, "Exercises") == [
        ["all exercises", "0 of 6", "?| unreadable", "the file is empty"]
    ]
    assert len(soup("h2")) == 1 and "check-submission" in soup.get_text()


def test_long_code_is_cut() -> None:
    given = result()
    given["exercises"][0]["code"] = "x = 1\n" * CODE
    text = feedback(given, CHAPTER)
    assert "only 20,000 characters are shown" in text and len(text) < 40 * CODE


# ---------------------------------------------------------------- report


def test_report_counts_points_and_shows_their_distribution() -> None:
    soup = page(result("ada"), result("bob", "incorrect"), result("eve", *["unreadable"] * 3))
    text = soup.main.get_text(" ", strip=True)
    assert "Students: 3. Points of 6: mean 3.3, median 4." in text
    assert "unreadable or another chapter's: 1; they count as 0 points" in text
    alt = "how many of 3 students have how many of 6 points; mean 3.3, lowest 0, highest 6, 1 with all points."
    assert soup.img["alt"].endswith(alt)
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
    ada, bob = result("ada", "incorrect", notes=["renamed"]), result("bob", tests="public")
    ada["exercises"][0] |= {"message": "no sum", "notes": ["twice"]}
    bob["exercises"][1]["flags"], bob["flags"] = [FLAG, "uses vaetl_helpers.vae.elbo"], ["uses os"]
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
    kinds = list(STATUSES)
    soup = page(
        *(
            result(f"student-{i:03}", *(kinds[(i + j) % len(kinds)] for j in range(3)))
            for i in range(100)
        )
    )
    assert "Students: 100." in soup.get_text()
    assert len({row[0] for row in rows(soup, "Failures")}) == 100


def test_each_assignment_has_its_part() -> None:
    text = report([result(), result("bob", assignment="01")], {"03": CHAPTER, "01": OTHER})
    soup = BeautifulSoup(text, "html.parser")
    assert [heading.get_text() for heading in soup("h2")] == ["01 Training", "03 Autoencoders"]
    assert (
        [link["href"] for link in soup.nav("a")]
        == ["#a0", "#a1"]
        == [f"#{h['id']}" for h in soup("h2")]
    )
    assert "feedback/bob/01/01_training.html" in text


def test_the_order_of_the_submissions_changes_nothing() -> None:
    given = [result("bob", "crashed"), result("ada"), result("eve", "missing")]
    assert report(given, {"03": CHAPTER, "01": OTHER}) == report(
        given[::-1], {"01": OTHER, "03": CHAPTER}
    )
    assert feedback(given[0], CHAPTER) == feedback(given[0], CHAPTER)


# ---------------------------------------------------------------- hostile text

PAGES: list[Callable[[dict[str, Any]], str]] = [
    lambda given: feedback(given, CHAPTER),
    lambda given: report([given], {"03": CHAPTER}),
]


@pytest.mark.parametrize("make", PAGES, ids=["feedback", "report"])
@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_stays_text(text: str, make: Callable[[dict[str, Any]], str]) -> None:
    made = make(spoilt(text))
    plain, soup = (
        BeautifulSoup(make(spoilt("harmless")), "html.parser"),
        BeautifulSoup(made, "html.parser"),
    )
    tags = [[tag.name for tag in one.find_all(True) if tag.name != "span"] for one in (soup, plain)]
    assert tags[0] == tags[1]  # the same page, with other words
    assert {key for tag in soup.find_all(True) for key in tag.attrs} == {
        key for tag in plain.find_all(True) for key in tag.attrs
    }
    shown = re.sub(r"[\r\x00\x1b\u202e\u2066\udce9]", lambda found: f"\\u{ord(found[0]):04x}", text)
    assert soup.bdi.get_text() == shown
    assert not re.search(
        "[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", made
    )
    made.encode("utf-8")


@pytest.mark.parametrize("make", PAGES, ids=["feedback", "report"])
@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_is_loaded_from_elsewhere(text: str, make: Callable[[dict[str, Any]], str]) -> None:
    soup = BeautifulSoup(make(spoilt(text)), "html.parser")
    policy = soup.find("meta", attrs={"http-equiv": "Content-Security-Policy"})["content"]
    assert policy.startswith("default-src 'none'")
    assert not soup(["script", "iframe", "object", "embed", "base", "form"])
    assert all(tag["src"].startswith("data:") for tag in soup(src=True))
    assert all(tag["href"].startswith("data:") for tag in soup("link"))
    assert all(re.match(r"#|feedback/", tag["href"]) for tag in soup("a"))


def test_a_link_cannot_leave_its_folder() -> None:
    given = result('../x"><b>/?#', name="")
    assert [link["href"] for link in page(given).main("a")] == [
        "feedback/..%2Fx%22%3E%3Cb%3E%2F%3F%23/03/03_vae.html"
    ]
