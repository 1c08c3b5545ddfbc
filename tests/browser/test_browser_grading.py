"""`vaetl lab --instructor` in a real browser: Formgrader shows what `vaetl grade` wrote.

Nothing of it is run in the browser.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from in_browser import CHROMIUM, FLAGS, SCREENS, jupyter

from vaetl_helpers.chapters import course_dir
from vaetl_helpers.grading.notebooks import find_assignment

pytestmark = [
    pytest.mark.slow,
    pytest.mark.debian("chromium", CHROMIUM),
    pytest.mark.debian("bubblewrap", "/usr/bin/bwrap"),
    pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SAWarning"),
]
FILE = "03_variational_autoencoder.ipynb"
TOKEN = "vaetl-test"
ANSWERS = {
    "vae-bernoulli_log_likelihood": """
    each = F.binary_cross_entropy_with_logits(logits, images, reduction="none")
    return -each.flatten(1).sum(1)""",
    "vae-kl": """
    variance = log_var.exp()
    return (mu**2 + variance - 1 - log_var).sum(-1) / 2""",
    "vae-reparameterise": """
    sigma = torch.exp(log_var / 2)
    return mu + noise * sigma""",
    "vae-elbo": """
    mean, log_variance = encode(images)
    code = reparameterise_checked(mean, log_variance, noise)
    return bernoulli_checked(decode(code), images) - kl_checked(mean, log_variance)""",
    "vae-decoder_shape": """
    maps = features.reshape(len(features), channels, height, width)
    return F.interpolate(maps, scale_factor=2, mode="nearest")""",
}
WRONG_KL = """
    return (mu**2 + log_var.exp() - 1 - log_var).sum(-1)"""
ENDLESS = """
    import time
    while True:
        print(10**5 * "endless ")
        time.sleep(0.05)"""
ATTACK = (
    "<script>top.hacked = window.hacked = 1</script>"
    "<img src='https://evil.example/x' onerror='top.hacked = 2'>"
)
CHEAT = f"""
    return 0

check = lambda id, function: function
import os, socket
from IPython.display import HTML, Javascript, display
print("RAN", socket.gethostname(), os.environ.get("JUPYTER_TOKEN"))
display(HTML({ATTACK!r}), Javascript("top.hacked = window.hacked = 3"))"""
STUDENTS = {
    "ada": ANSWERS,
    "ben": ANSWERS | {"vae-kl": WRONG_KL},
    "chen": {name: ANSWERS[name] for name in list(ANSWERS)[:2]},
    "dora": ANSWERS | {"vae-kl": ENDLESS},
    "mallory": {"vae-kl": CHEAT},  # graded by Formgrader's button only
}
WORTH = {exercise.grade_id: exercise.points for exercise in find_assignment("03").exercises}
TOTAL = sum(WORTH.values())
POINTS = {
    "ada": TOTAL,
    "ben": TOTAL - WORTH["vae-kl"],
    "chen": sum(WORTH[name] for name in STUDENTS["chen"]),
    "dora": TOTAL - WORTH["vae-kl"],
    "eli": 0,  # the file is cut off
    "mallory": TOTAL - WORTH["vae-bernoulli_log_likelihood"],  # the checks above the cheat are real
}


def handed_in(answers: dict[str, str], attack: str = "") -> bytes:
    """The learner's notebook with these bodies of functions, and a single cell of text."""
    made, kept = json.loads((course_dir() / FILE).read_bytes()), []
    for cell in made["cells"]:
        grade_id = cell["metadata"].get("nbgrader", {}).get("grade_id")
        if grade_id in answers:
            source = "".join(cell["source"])
            cell["source"] = source.replace("\n    return ...  # your code", answers[grade_id])
            assert cell["source"] != source
        setup = "import torch" in "".join(cell["source"]) or "setup(" in "".join(cell["source"])
        kept += (
            [cell] if grade_id or setup or "parameters" in cell["metadata"].get("tags", []) else []
        )
    text = {
        "cell_type": "markdown",
        "metadata": {},
        "id": "mine",
        "source": f"# My notes\n\nSome *text*.\n\n{attack}",
    }
    return json.dumps(made | {"cells": [text, *kept]}).encode()


class Lab(NamedTuple):
    address: str
    course: Path


def graded_course(root: Path) -> Path:
    """A course with five students that `vaetl grade` has graded, and one who is not graded yet."""
    from vaetl_helpers.grading import gradebook
    from vaetl_helpers.grading.course import grade

    out, inbox = root / "teaching", root / "inbox"
    inbox.mkdir()
    files = {
        name: handed_in(answers, ATTACK if name == "mallory" else "")
        for name, answers in STUDENTS.items()
    }
    for name, data in (files | {"eli": files["ada"][:3000]}).items():
        folder = out / "submitted" / name / "03" if name == "mallory" else inbox
        folder.mkdir(parents=True, exist_ok=True)
        (folder / (FILE if name == "mallory" else f"{name}.ipynb")).write_bytes(data)
    gradebook.assign(find_assignment("03"), out)
    assert grade(inbox, "03", out) == 0
    return out


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """`vaetl lab --instructor` on the graded course."""
    out = graded_course(tmp_path_factory.mktemp("grading"))
    with jupyter(
        out, tmp_path_factory.mktemp("settings"), "--instructor", JUPYTER_TOKEN=TOKEN
    ) as address:
        yield Lab(address, out)


@pytest.fixture(scope="module")
def page(lab: Lab) -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    SCREENS.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        page = browser.new_page(viewport={"width": 1200, "height": 800})
        page.set_default_timeout(60_000)
        page.asked = []
        page.on("response", lambda response: page.asked.append(response.url))
        page.on(
            "requestfailed",
            lambda request: page.asked.append(f"failed: {request.failure} {request.url}"),
        )
        page.goto(f"{lab.address}/?token={TOKEN}", timeout=90_000)
        page.first = formgrader(page).url
        page.click(
            '.jp-SideBar [data-id="filebrowser"]'
        )  # closed, Formgrader has room for its tables
        frame = opened(page, "manage_submissions/03", "td:has-text('mallory')")
        frame.click("tr:has(td:text-is('mallory')) .glyphicon-flash")
        frame.wait_for_selector("text=Successfully autograded")
        yield page
        browser.close()


def formgrader(page: Any) -> Any:
    """The frame of Formgrader inside JupyterLab."""
    frame = page.wait_for_selector("#formgrader-iframe iframe", timeout=90_000).content_frame()
    frame.wait_for_load_state()
    return frame


def opened(page: Any, path: str, ready: str, picture: str = "") -> Any:
    """A page of Formgrader in its frame, once `ready` is there."""
    frame = formgrader(page)
    frame.goto(f"{frame.url.partition('/formgrader/')[0]}/formgrader/{path}")
    frame.wait_for_selector(ready)
    if picture:
        frame.wait_for_timeout(500)  # for what is still drawn
        page.screenshot(path=SCREENS / f"{picture}.png")
    return frame


def rows(frame: Any, table: str) -> list[list[str]]:
    found = frame.eval_on_selector_all(
        f"{table} tr", "rows => rows.map(row => [...row.cells].map(cell => cell.innerText.trim()))"
    )
    return [row for row in found if row]


def test_formgrader_opens_in_jupyterlab_and_counts_the_submissions(lab: Lab, page: Any) -> None:
    assert page.first == f"{lab.address}/formgrader/manage_assignments"
    frame = opened(page, "manage_assignments", "td:has-text('03')", "formgrader_assignments")
    (row,) = (row for row in rows(frame, "table") if row[0] == "03")
    assert str(len(POINTS)) in row, row


def test_formgrader_shows_the_average(page: Any) -> None:
    frame = opened(page, "gradebook", "td:has-text('03')")
    (row,) = (row for row in rows(frame, "table") if row[0] == "03")
    average = re.search(r"([\d.]+) / ([\d.]+)", " ".join(row))
    assert average and float(average[2]) == TOTAL
    assert abs(float(average[1]) - sum(POINTS.values()) / len(POINTS)) < 0.01, row


def test_formgrader_lists_the_points_of_each_submission(page: Any) -> None:
    frame = opened(
        page, "manage_submissions/03", "td:has-text('mallory')", "formgrader_submissions"
    )
    text = {name: " ".join(row) for row in rows(frame, "table") for name in POINTS if name in row}
    assert text.keys() == POINTS.keys()
    for name, points in POINTS.items():
        assert re.search(rf"\b{points}(\.0)? / {TOTAL}\b", text[name]), text[name]


def test_a_students_page_shows_the_points(page: Any) -> None:
    frame = opened(page, "manage_students/ben", "td:has-text('03')", "formgrader_student")
    score = f"{POINTS['ben']} / {TOTAL}"
    assert any(score in " ".join(row) for row in rows(frame, "table")), rows(frame, "table")


def submission(frame: Any, student: str) -> str:
    """The address of a student's notebook below /formgrader/, as the frame's server names it."""
    listed = frame.evaluate(
        """async student => {
          const path = '/formgrader/api/student_notebook_submissions/' + student + '/03';
          const answer = await fetch(base_url + path);
          return (await answer.json()).map(row => row.id);
        }""",
        student,
    )
    return f"submissions/{listed[0]}/"


def test_a_submissions_page_shows_code_outcome_and_score(page: Any) -> None:
    frame = opened(page, "manage_students", "td:has-text('ben')")
    frame = opened(page, submission(frame, "ben"), ".nbgrader_cell .score")
    frame.wait_for_function("document.getElementById('vae-kl-check').placeholder !== ''")
    text = frame.inner_text("#notebook")
    assert "return (mu**2 + log_var.exp() - 1 - log_var).sum(-1)" in text
    assert "hidden tests: incorrect" in text and "hidden tests: correct" in text
    scored = {
        name: frame.evaluate("name => document.getElementById(name + '-check').placeholder", name)
        for name in ANSWERS
    }
    expected = WORTH | {"vae-kl": 0}
    assert {name: float(points) for name, points in scored.items()} == expected
    frame.eval_on_selector(
        "[id='vae-kl-comment']", "cell => cell.scrollIntoView({block: 'center'})"
    )
    page.screenshot(path=SCREENS / "formgrader_submission.png")


def test_the_autograde_button_runs_in_the_sandbox(lab: Lab, page: Any) -> None:
    made = json.loads((lab.course / "autograded" / "mallory" / "03" / FILE).read_text("utf-8"))
    printed = "".join(
        text
        for cell in made["cells"]
        for output in cell.get("outputs", ())
        for text in output.get("text", ())
    )
    assert "RAN sandbox None" in printed


def test_what_a_submission_holds_cannot_run_in_the_instructors_browser(page: Any) -> None:
    frame = opened(page, "manage_students", "td:has-text('mallory')")
    frame = opened(
        page, submission(frame, "mallory"), ".nbgrader_cell .score", "formgrader_hostile"
    )
    assert "My notes" in frame.inner_text("#notebook") and frame.query_selector("#notebook h1")
    assert frame.evaluate("[window.hacked, top.hacked]") == [None, None]
    assert not frame.query_selector_all("#notebook img, #notebook script, #notebook iframe")


def test_the_report_and_feedback_look_as_they_should(lab: Lab, page: Any) -> None:
    from vaetl_helpers.grading.course import grade

    assert (
        grade(lab.course.parent / "inbox", "03", lab.course) == 0
    )  # nothing is run: all is stored
    for name, path in (
        ("report", "report.html"),
        ("feedback", f"feedback/ben/03/{FILE[:-6]}.html"),
    ):
        page.goto((lab.course / path).as_uri())
        assert page.inner_text("h1") and (
            name == "feedback" or "mallory" in page.inner_text("main")
        )
        page.screenshot(path=SCREENS / f"{name}.png")


def test_no_request_left_the_machine(lab: Lab, page: Any) -> None:
    # nbgrader's page names MathJax on another machine: the browser is told not to ask for it.
    here = (lab.address, "data:", "blob:", "file:", "failed: csp ")
    assert [url for url in page.asked if url.startswith(lab.address)]
    assert not [url for url in page.asked if not url.startswith(here)]
