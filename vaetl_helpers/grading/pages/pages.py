"""A student's feedback and the instructor's report as pages that need no network.

All that is shown may be hostile text: the templates escape it, and `shown` makes its control
characters visible. Nothing but Markup is taken as HTML, and that is made here and nowhere else.
"""

from __future__ import annotations

import base64
import dataclasses
import functools
import io
import statistics
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2
import matplotlib
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

from vaetl_helpers.authoring.document import head, styles
from vaetl_helpers.grading.class_claims import Joined
from vaetl_helpers.grading.class_view import ClassView
from vaetl_helpers.grading.notebooks import Assignment
from vaetl_helpers.grading.pages.forest import forest_alt, forest_picture
from vaetl_helpers.grading.result import UNGRADABLE, ExerciseResult, GradedBy, Result, Status
from vaetl_helpers.plots import COLOURS, STYLE

MOST_CODE = 20_000  # characters that are shown of a cell
MOST_TEXT = 2_000  # and of anything else
MOST_LEFT_OUT = 200  # reasons on the page of a class
EVERYWHERE = "all exercises"
SETUP = "setup cells"
WHOLE_NOTEBOOK = ""
OWN_PLACES = (EVERYWHERE, SETUP, WHOLE_NOTEBOOK)

HINT = Markup(
    'In the notebook, <code>hint("{id}")</code> prints a hint, '
    "and the check cell tells whether a change helped."
)
AGAIN = Markup(
    "Before you hand in, <code>vaetl check-submission FILE</code> says "
    "which graded cells are missing or changed."
)
ABOUT_TESTS = {
    GradedBy.HIDDEN_TESTS: (
        "Hidden tests: each function was called on inputs drawn for this grading."
    ),
    GradedBy.PUBLIC_CHECKS: (
        "Public checks only: the checks in the notebook were run, and no hidden tests."
    ),
}
ABOUT_FLAGS = (
    "A flag is no verdict: it names what a person should look at, and honest work may be flagged."
)
ABOUT_PUBLIC_CHECKS = (
    "Their points come from Formgrader's button, which runs the checks beside the answers: "
    "they can be faked."
)
UNREAD = (
    " Files that could not be graded, being unreadable or another chapter's: {}; "
    "they count as 0 points."
)


@dataclass(frozen=True)
class Look:
    """A status on a page: colour and mark beside its word, what it means, what to do next."""

    colour: str
    mark: str
    meaning: str | Markup
    next_step: str | Markup = ""


LOOKS = {
    Status.CORRECT: Look("green", "✓", "The function returned what was asked for."),
    Status.INCORRECT: Look(
        "red", "✗", "The function ran, and what it returned is not what was asked for.", HINT
    ),
    Status.PARTLY_CORRECT: Look(
        "yellow",
        "◐",
        "The function ran; a part of what was asked for is right, and earns its points.",
        HINT,
    ),
    Status.CRASHED: Look("red", "!", "The cell or its function stopped with an error.", HINT),
    Status.NOT_ATTEMPTED: Look(
        "",
        "○",
        Markup("The function still returns <code>...</code>, as in the notebook handed out."),
        HINT,
    ),
    Status.MISSING: Look("red", "?", "The notebook has no cell for this exercise.", AGAIN),
    Status.OVER_A_LIMIT: Look(
        "red", "!", "It took more time, memory or disk than is allowed.", HINT
    ),
    Status.NOT_RUN: Look(
        "",
        "○",
        "This exercise was not run, for the reason that is given.",
        "If a cell of yours is the reason, mend it; otherwise it will be run by the next grading.",
    ),
    Status.UNREADABLE: Look("red", "?", "The file cannot be read as a notebook.", AGAIN),
    Status.WRONG_NOTEBOOK: Look("red", "?", "The notebook is that of another chapter.", AGAIN),
}


@dataclass(frozen=True)
class Remark:
    """Sentences on a place in a submission, which is an exercise or one of OWN_PLACES."""

    result: Result
    place: str
    sentences: list[str]

    @property
    def order(self) -> tuple[bool, str, str, list[str]]:
        """Submissions whose feedback is linked come first."""
        by_public_checks = self.result.tests == GradedBy.PUBLIC_CHECKS
        person = self.result.name if by_public_checks else quote(self.result.student, safe="") + "/"
        return by_public_checks, person, self.place, self.sentences


@dataclass(frozen=True)
class Difficulty:
    """How an exercise went: the share of correct answers, and how often there was which status."""

    id: str
    worth: float
    share: float
    outcomes: list[tuple[Status, int]]


@dataclass(frozen=True)
class Section:
    """What the report says of one assignment."""

    number: str
    assignment: Assignment
    results: list[Result]
    left_out: Sequence[str] = ()

    @property
    def points(self) -> list[float]:
        return [result.points for result in self.results]

    @property
    def worth(self) -> float:
        return sum(exercise.points for exercise in self.assignment.exercises)

    @property
    def summary(self) -> str:
        """Students, mean and median."""
        mean = statistics.mean(self.points)
        median = statistics.median(self.points)
        text = (
            f"Students: {len(self.points)}. "
            f"Points of {self.worth:g}: mean {mean:.1f}, median {median:g}."
        )
        unread = sum(result.status_counts().keys() <= UNGRADABLE for result in self.results)
        if unread:
            text += UNREAD.format(unread)
        return text

    @property
    def alt_text(self) -> str:
        """The figure of the points in words."""
        count = len(self.points)
        return (
            f"Bars: how many of {count} students have how many of {self.worth:g} points; "
            f"mean {statistics.mean(self.points):.1f}, lowest {min(self.points):g}, "
            f"highest {max(self.points):g}, {self.points.count(self.worth)} with all points."
        )

    @property
    def picture(self) -> Markup:
        """The distribution of the points as the address of a picture."""
        content = base64.b64encode(_bars(self.points, self.worth)).decode()
        return Markup("data:image/png;base64,{}").format(content)

    @property
    def difficulties(self) -> list[Difficulty]:
        """The exercises, the smallest share of correct answers first."""
        exercises = defaultdict(list)
        for result in self.results:
            for exercise in result.exercises:
                exercises[exercise.id].append(exercise)
        rows = [_difficulty(id, answers) for id, answers in exercises.items()]
        return sorted(rows, key=lambda row: (row.share, row.id))

    @property
    def flagged(self) -> list[Remark]:
        setup = [Remark(result, SETUP, result.flags) for result in self.results]
        exercises = [
            Remark(result, exercise.id, exercise.flags)
            for result in self.results
            for exercise in result.exercises
        ]
        return _not_empty([*setup, *exercises])

    @property
    def by_public_checks(self) -> list[Result]:
        return [result for result in self.results if result.tests == GradedBy.PUBLIC_CHECKS]

    @property
    def notes(self) -> list[Remark]:
        notebooks = [Remark(result, WHOLE_NOTEBOOK, result.notes) for result in self.results]
        exercises = [
            Remark(result, exercise.id, exercise.notes)
            for result in self.results
            for exercise in result.exercises
        ]
        remarks = _not_empty([*notebooks, *exercises])
        return sorted(remarks, key=lambda remark: remark.order)

    @property
    def failures(self) -> list[tuple[Result, ExerciseResult]]:
        pairs = []
        for result in self.results:
            pairs += [(result, failure) for failure in _failures(result)]
        return pairs


def feedback_page(result: Result, assignment: Assignment) -> str:
    """A student's page: points, outcome, code and next step for each exercise.

    Flags are never shown here.
    """
    exercises = result.exercises
    failures = _failures(result)
    has_code = any(exercise.code.strip() for exercise in exercises)
    if [failure.id for failure in failures] == [EVERYWHERE] and not has_code:
        exercises = failures
    return _render(
        "feedback.html",
        result=result,
        assignment=assignment,
        exercises=exercises,
        about_tests=ABOUT_TESTS[result.tests],
    )


def report_page(
    results: Iterable[Result],
    assignments: Mapping[str, Assignment],
    left_out: Mapping[str, Sequence[str]] | None = None,
) -> str:
    """The instructor's page: each assignment's points, hardest exercises, flags and failures.

    `left_out` has the names of what was found among an assignment's submissions and is nobody's.
    """
    by_number: dict[str, list[Result]] = {number: [] for number in assignments}
    for result in results:
        by_number[result.assignment].append(result)
    sections = []
    for number in sorted(by_number):
        ordered = sorted(by_number[number], key=lambda result: (result.student, result.name))
        names = (left_out or {}).get(number, ())
        sections.append(Section(number, assignments[number], ordered, names))
    return _render(
        "report.html",
        sections=sections,
        own_places=OWN_PLACES,
        about_flags=ABOUT_FLAGS,
        about_public_checks=ABOUT_PUBLIC_CHECKS,
    )


def class_page(results: Iterable[Result], assignments: Mapping[str, Assignment]) -> str:
    """A page to show to the class: what went wrong, how often, and nobody's name.

    Of what students have written themselves nothing is on it, unless two have the same error.
    """
    by_number: dict[str, list[Result]] = {number: [] for number in sorted(assignments)}
    for result in results:
        by_number[result.assignment].append(result)
    classes = []
    for number, of_assignment in by_number.items():
        if of_assignment:
            classes.append(ClassView(number, assignments[number].title, of_assignment))
    return _render("class.html", classes=classes)


def claims_page(joined: Joined) -> str:
    """The pooled rows of a class, each with its forest plot, and what was left out."""
    return _render("claims.html", joined=joined, most_left_out=MOST_LEFT_OUT)


def _render(template: str, **values: object) -> str:
    return _environment().get_template(template).render(values)


@functools.cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        finalize=_finalize,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["shown"] = shown
    environment.globals |= {
        "head": Markup(head()),
        "styles": Markup(styles()),
        "looks": LOOKS,
        "most_code": MOST_CODE,
        "feedback_address": feedback_address,
        "forest_alt": forest_alt,
        "forest_picture": forest_picture,
        "highlighted": _highlighted,
    }
    return environment


def _finalize(value: object) -> str:
    """What every expression of a template goes through: HTML of ours, or text."""
    if isinstance(value, Markup):
        return value
    return shown(value)


def shown(value: object, limit: int = MOST_TEXT) -> str:
    """Plain text, cut, with the characters visible that would be obeyed.

    These are controls, and overrides of a text's direction.
    """
    text = str(value).replace("\r\n", "\n")
    if len(text) > limit:
        text = f"{text[:limit]} …"
    return "".join(_visible(character) for character in text)


def _visible(character: str) -> str:
    is_control = unicodedata.category(character).startswith("C")
    if is_control and character not in "\n\t":
        return f"\\u{ord(character):04x}"
    return character


def _highlighted(code: str) -> Markup:
    text = shown(code[:MOST_CODE], MOST_CODE)
    return Markup(highlight(text, PythonLexer(), HtmlFormatter()))  # which escapes it


def feedback_address(result: Result, assignment: Assignment) -> str:
    """Where the feedback lies, seen from the report; empty for a person whom Formgrader tells."""
    if result.tests == GradedBy.PUBLIC_CHECKS:
        return ""
    names = (result.student, result.assignment, f"{assignment.name}.html")
    path = "/".join(quote(name, safe="") for name in names)
    return f"feedback/{path}"


def _bars(points: Sequence[float], worth: float) -> bytes:
    """How many students have how many points, as a picture."""
    counts = Counter(points)
    content = io.BytesIO()
    style: Any = STYLE
    with matplotlib.rc_context(style):
        layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12)
        figure = Figure(figsize=(6, 2.8), facecolor="white", layout=layout)
        axis = figure.add_subplot()
        axis.bar(list(counts), list(counts.values()), width=0.8, color=COLOURS[0])
        axis.set(
            title="Distribution of points",
            xlabel=f"points of {worth:g}",
            ylabel="students",
            xlim=(-0.6, worth + 0.6),
        )
        for direction in (axis.xaxis, axis.yaxis):
            direction.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axis.grid(axis="x", visible=False)
        figure.savefig(content, format="png", metadata={"Software": None})
    return content.getvalue()


def _difficulty(id: str, answers: Sequence[ExerciseResult]) -> Difficulty:
    statuses = Counter(sorted(answer.status for answer in answers))
    return Difficulty(
        id=id,
        worth=max(answer.worth for answer in answers),
        share=statuses[Status.CORRECT] / len(answers),
        outcomes=statuses.most_common(),
    )


def _not_empty(remarks: Iterable[Remark]) -> list[Remark]:
    return [remark for remark in remarks if remark.sentences]


def _failures(result: Result) -> list[ExerciseResult]:
    """The exercises that are not correct; one for all where the same happened to all."""
    failures = result.not_correct
    kinds = {(failure.status, failure.message) for failure in failures}
    if len(kinds) == 1 and 1 < len(failures) == len(result.exercises):
        everywhere = dataclasses.replace(
            failures[0], id=EVERYWHERE, points=result.points, worth=result.worth
        )
        return [everywhere]
    return failures
