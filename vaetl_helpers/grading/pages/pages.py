"""A student's feedback and the instructor's report as pages that need no network; all that is shown is hostile text."""

from __future__ import annotations

import base64
import html
import io
import statistics
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

from vaetl_helpers.authoring.site import document
from vaetl_helpers.plots import COLOURS, STYLE

if TYPE_CHECKING:
    from vaetl_helpers.grading.submissions import Assignment

Result = dict[str, Any]  # one submission's, as `grade` makes it, or one exercise's in it
CODE, TEXT = 20_000, 2_000  # characters that are shown of a cell, and of anything else
HINT = 'In the notebook, <code>hint("{id}")</code> prints a hint, and the check cell tells whether a change helped.'
AGAIN = "Before you hand in, <code>vaetl check-submission FILE</code> says which graded cells are missing or changed."
# Colour and mark (each beside the word, never alone), what the status means, what to do next.
STATUSES = {
    "correct": ("green", "✓", "The function returned what was asked for.", ""),
    "incorrect": (
        "red",
        "✗",
        "The function ran, and what it returned is not what was asked for.",
        HINT,
    ),
    "crashed": ("red", "!", "The cell or its function stopped with an error.", HINT),
    "not attempted": (
        "",
        "○",
        "The function still returns <code>...</code>, as in the notebook handed out.",
        HINT,
    ),
    "missing": ("red", "?", "The notebook has no cell for this exercise.", AGAIN),
    "over a limit": ("red", "!", "It took more time, memory or disk than is allowed.", HINT),
    "not run": (
        "",
        "○",
        "The notebook stopped before this exercise.",
        "Mend the cell that stopped the notebook.",
    ),
    "unreadable": ("red", "?", "The file cannot be read as a notebook.", AGAIN),
    "wrong notebook": ("red", "?", "The notebook is that of another chapter.", AGAIN),
}
ALL = "all exercises"
OTHER = ("", "?", "", "")
TESTS = {
    "hidden": "Hidden tests: each function was called on inputs drawn for this grading.",
    "public": "Public checks only: the checks in the notebook were run, and no hidden tests.",
}
LOOK = (
    "A flag is no verdict: it names what a person should look at, and honest work may be flagged."
)
FAKED = "Their points come from Formgrader's button, which runs the checks beside the answers: they can be faked."


def feedback(result: Result, assignment: Assignment) -> str:
    """A student's page: points, outcome, code and next step for each exercise; flags are never shown here."""
    exercises = result["exercises"]
    if [row[0] for row in _failures(result)] == [ALL] and not any(
        e["code"].strip() for e in exercises
    ):
        exercises = [exercises[0] | _total(result) | {"id": ALL}]
    rows = [
        (f'<a href="#e{i}">{_code(e["id"])}</a>', _share(e), _status(e), _text(e["message"]))
        for i, e in enumerate(exercises)
    ]
    body = [
        f"<h1>Feedback: {_text(assignment.title)}</h1>",
        f"<p>{_name(result)}: <strong>{_share(_total(result))} points</strong></p>",
        f"<p>{TESTS[result['tests']]}</p>",
        _notes(result["notes"]),
        _table("Exercises", ("Exercise", "Points", "Status", "What was found"), rows),
        *(_exercise(i, exercise) for i, exercise in enumerate(exercises)),
    ]
    return document(f"Feedback: {_shown(assignment.title)}", "", "", "\n".join(body))


def _exercise(number: int, exercise: Result) -> str:
    *_, meaning, following = STATUSES.get(exercise["status"], OTHER)
    took = f", {exercise['seconds']:.1f} s" if exercise.get("seconds") else ""
    code, cut = exercise["code"], f"<p>Cut here: only {CODE:,} characters are shown.</p>"
    parts = (
        f'<h2 id="e{number}">{_code(exercise["id"])}</h2>',
        f"<p>{_status(exercise)}, {_share(exercise)} points{took}. {meaning}</p>",
        f'<div class="output_area"><pre>{_text(exercise["message"])}</pre></div>'
        if exercise["message"]
        else "",
        _notes(exercise["notes"]),
        f"<p><strong>Next:</strong> {following.replace('{id}', _text(exercise['id']))}</p>"
        if following
        else "",
        f"<p>The cell as it was handed in:</p>{_highlighted(code)}" if code.strip() else "",
        cut if len(code) > CODE else "",
    )
    return "\n".join(filter(None, parts))


def report(results: Sequence[Result], assignments: Mapping[str, Assignment]) -> str:
    """The instructor's page: for each assignment its points, hardest exercises, flags, notes and failures."""
    numbers = sorted({*assignments, *(result["assignment"] for result in results)})
    titles = [f"{_text(number)} {_text(assignments[number].title)}" for number in numbers]
    links = "".join(f'<li><a href="#a{i}">{title}</a></li>' for i, title in enumerate(titles))
    body = ["<h1>Grading report</h1>"]
    for i, number in enumerate(numbers):
        mine = sorted(
            (r for r in results if r["assignment"] == number),
            key=lambda r: (r["student"], r["name"]),
        )
        body += [f'<h2 id="a{i}">{titles[i]}</h2>', *_section(mine, assignments[number])]
    contents = (
        f'<nav class="toc" aria-label="On this page"><ul>{links}</ul></nav>'
        if len(numbers) > 1
        else ""
    )
    return document("Grading report", "", contents, "\n".join(filter(None, body)))


def _section(results: list[Result], assignment: Assignment) -> Iterator[str]:
    if not results:
        yield "<p>0 students: no submissions yet.</p>"
        return
    pairs = [(_link(result, assignment), result) for result in results]
    cells = [(link, _code(e["id"]), e) for link, result in pairs for e in result["exercises"]]
    public = [(link,) for link, result in pairs if result["tests"] == "public"]
    notes = [(link, "", _lines(result["notes"])) for link, result in pairs if result["notes"]]
    notes += [(link, id, _lines(e["notes"])) for link, id, e in cells if e["notes"]]
    flagged = [
        (link, "setup cells", _lines(result["flags"]))
        for link, result in pairs
        if result.get("flags")
    ]
    flagged += [(link, id, _lines(e["flags"])) for link, id, e in cells if e["flags"]]
    failures = [
        (link, f"{id}<br>{status}", why)
        for link, result in pairs
        for id, status, why in _failures(result)
    ]
    yield from _points(results, assignment)
    yield _table(
        "Exercises, the hardest first",
        ("Exercise", "Points", "Correct", "All outcomes"),
        _hardest(results),
    )
    yield _table("Flagged for a look", ("Student", "Exercise", "Flags"), flagged, LOOK)
    yield _table("Graded by public checks only", ("Student",), public, FAKED)
    yield _table("Notes", ("Student", "Exercise", "Note"), sorted(notes))
    yield _table("Failures", ("Student", "Exercise, status", "Why"), failures)
    yield _table(
        "All students",
        ("Student", "Points"),
        [(link, _share(_total(result))) for link, result in pairs],
    )


def _points(results: list[Result], assignment: Assignment) -> Iterator[str]:
    """Students, mean, median, and a figure of the distribution."""
    of, points = (
        sum(task.points for task in assignment.tasks),
        [_total(result)["points"] for result in results],
    )
    unread = sum(
        {e["status"] for e in result["exercises"]} <= {"unreadable", "wrong notebook"}
        for result in results
    )
    zero = f" Files that could not be graded, being unreadable or another chapter's: {unread}; they count as 0 points."
    mean, median = f"{statistics.mean(points):.1f}", f"{statistics.median(points):g}"
    yield f"<p>Students: {len(points)}. Points of {of:g}: mean {mean}, median {median}.{zero if unread else ''}</p>"
    spread = f"lowest {min(points):g}, highest {max(points):g}, {points.count(of)} with all points"
    alt = f"Bars: how many of {len(points)} students have how many of {of:g} points; mean {mean}, {spread}."
    yield f'<div class="output_png"><img alt="{alt}" src="data:image/png;base64,{_bars(points, of)}"></div>'


def _bars(points: list[float], of: float) -> str:
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(6, 2.8), facecolor="white")
        axis, counted = figure.add_subplot(), Counter(points)
        figure.get_layout_engine().set(w_pad=0.12, h_pad=0.12)
        axis.bar(list(counted), list(counted.values()), width=0.8, color=COLOURS[0])
        axis.set(
            title="Distribution of points",
            xlabel=f"points of {of:g}",
            ylabel="students",
            xlim=(-0.6, of + 0.6),
        )
        for direction in (axis.xaxis, axis.yaxis):
            direction.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axis.grid(axis="x", visible=False)
        figure.savefig(data := io.BytesIO(), format="png", metadata={"Software": None})
    return base64.b64encode(data.getvalue()).decode()


def _hardest(results: list[Result]) -> list[tuple[str, ...]]:
    """A row an exercise, the smallest share of correct answers first."""
    found: dict[str, list[Result]] = {}
    for exercise in (e for result in results for e in result["exercises"]):
        found.setdefault(exercise["id"], []).append(exercise)
    rows = []
    for id, given in found.items():
        counted = Counter(sorted(e["status"] for e in given)).most_common()
        share = dict(counted).get("correct", 0) / len(given)
        bar = (
            f'<meter value="{share:.3f}" aria-hidden="true"></meter>&nbsp;{100 * share:.0f}&nbsp;%'
        )
        outcomes = ", ".join(f"{number}&nbsp;{_words(status)}" for status, number in counted)
        worth = max(exercise["of"] for exercise in given)
        points = f"{worth:g}&nbsp;point{'' if worth == 1 else 's'}"
        rows.append((share, id, (_code(id), points, bar, outcomes)))
    return [row for *_, row in sorted(rows)]


def _failures(result: Result) -> list[tuple[str, str, str]]:
    """A row for each exercise that is not correct; one for all where the same happened to all."""
    rows = [
        (_code(e["id"]), _status(e), _text(e["message"]))
        for e in result["exercises"]
        if e["status"] != "correct"
    ]
    if 1 < len(rows) == len(result["exercises"]) and len({row[1:] for row in rows}) == 1:
        return [(ALL, *rows[0][1:])]
    return rows


def _total(result: Result) -> Result:
    return {key: sum(exercise[key] for exercise in result["exercises"]) for key in ("points", "of")}


def _share(of: Result) -> str:
    return f"{of['points']:g} of {of['of']:g}"


def _shown(value: object, most: int = TEXT) -> str:
    """Plain text, cut, with the characters visible that would be obeyed: controls, overrides of direction."""
    text = str(value).replace("\r\n", "\n")
    text = text if len(text) <= most else f"{text[:most]} …"
    hidden = (c not in "\n\t" and unicodedata.category(c)[0] == "C" for c in text)
    return "".join(f"\\u{ord(c):04x}" if h else c for c, h in zip(text, hidden, strict=True))


def _text(value: object) -> str:
    return html.escape(_shown(value))


def _code(value: object) -> str:
    return f"<code>{_text(value)}</code>"


def _highlighted(code: str) -> str:
    return highlight(_shown(code[:CODE], CODE), PythonLexer(), HtmlFormatter())


def _name(result: Result) -> str:
    return f"<bdi>{html.escape(_shown(result['name'] or result['student'], 100))}</bdi>"


def _link(result: Result, assignment: Assignment) -> str:
    if result["tests"] == "public":  # Formgrader writes its own feedback
        return _name(result)
    parts = (result["student"], result["assignment"], f"{assignment.name}.html")
    return (
        f'<a href="feedback/{"/".join(quote(part, safe="") for part in parts)}">{_name(result)}</a>'
    )


def _status(exercise: Result) -> str:
    colour, mark, *_ = STATUSES.get(exercise["status"], OTHER)
    words = f'<span aria-hidden="true">{mark}</span>&nbsp;{_words(exercise["status"])}'
    return f'<span class="ansi-{colour}-fg">{words}</span>'


def _words(status: str) -> str:
    return _text(status).replace(" ", "&nbsp;")


def _lines(sentences: Sequence[str]) -> str:
    mark = "• " if len(sentences) > 1 else ""
    return "<br>".join(mark + _text(sentence) for sentence in sentences)


def _notes(notes: Sequence[str]) -> str:
    return f"<p><strong>Note:</strong> {_lines(notes)}</p>" if notes else ""


def _table(
    caption: str, header: Sequence[str], rows: Sequence[Sequence[str]], about: str = ""
) -> str:
    """A table of cells that are HTML already, under a sentence about it; nothing where there are no rows."""
    head = "".join(f'<th scope="col">{name}</th>' for name in header)
    lines = "\n".join(
        "<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows
    )
    table = f'<table class="stack"><caption>{caption}</caption><tr>{head}</tr>\n{lines}</table>'
    return (
        f'<div class="scroll" tabindex="0">{table}</div>' + (f"<p>{about}</p>" if about else "")
        if rows
        else ""
    )
