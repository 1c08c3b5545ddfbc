"""The capstone's rows of a whole class, read from files that may hold anything, and pooled.

A student hands in the metrics.json of a run, or what `vaetl claims RUN --json` prints. Of either
nothing is taken but numbers, and those only where they answer a question of claims.yaml in its
unit, lie where such numbers can lie, and agree with each other. What is left out is said, with the
reason.
"""

from __future__ import annotations

import json
import math
import os
import stat
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from scipy import stats

from vaetl_helpers.app.ledger_text import interval_text
from vaetl_helpers.claims import CONTRACT, DELTAS, RATIOS, Comparison, comparisons
from vaetl_helpers.errors import CourseError
from vaetl_helpers.grading.notebooks import SHOWN_CHARACTERS, printable
from vaetl_helpers.grading.submissions import MOODLE
from vaetl_helpers.output import format_table
from vaetl_helpers.recorded import recorded_records
from vaetl_helpers.study import Effect
from vaetl_helpers.study.pooling import Pooled, pooled

METRICS = "metrics.json"
MOST_BYTES = 5 * 10**6  # of a file
MOST_FILES = 2000
DEPTH = 6  # folders below the one that is given
MOST_ROWS = 20_000  # of a file
MOST_REPEATS = 10**6
LEAST_ERROR = 1e-6  # below it nothing has varied
# What an effect can be at most; of ratios the logarithm of a million.
MOST = {"points": 100.0, "nats": 1000.0} | dict.fromkeys(RATIOS, math.log(1e6))
AGREEMENT = 0.02  # of an interval and its standard error

Key = tuple[str, str]  # id and data


class Unusable(Exception):
    """A row or a file that is left out; the text says why."""


@dataclass(frozen=True)
class StudentEffect:
    """What one student found, on the scale on which effects are pooled: logarithms of ratios."""

    student: str
    effect: float
    se: float
    n: int


class Ends(NamedTuple):
    """A number and its interval in the unit of a question."""

    effect: float
    low: float
    high: float


@dataclass(frozen=True)
class JoinedRow:
    """A question of the ledger with what each student found, and all of them pooled."""

    comparison: Comparison
    unit: str
    students: list[StudentEffect]
    result: Pooled

    @property
    def claim_text(self) -> str:
        """The claim as the ledger reads it."""
        text: str = CONTRACT["claims"][self.comparison.claim]["text"]
        return text

    @property
    def margin(self) -> float:
        """What a gain must be worth, on the scale of the effects."""
        return DELTAS.get(self.unit, 0.0)

    @property
    def mean(self) -> Ends:
        result = self.result
        return in_unit(Ends(result.effect, result.low, result.high), self.unit)

    @property
    def prediction(self) -> Ends | None:
        """Where another student's true effect is expected; None below three students."""
        result = self.result
        if math.isnan(result.predicted_low):
            return None
        ends = Ends(result.effect, result.predicted_low, result.predicted_high)
        return in_unit(ends, self.unit)

    @property
    def mean_text(self) -> str:
        return interval_text(*self.mean, self.unit)

    @property
    def prediction_text(self) -> str:
        if self.prediction is None:
            return "from three students on"
        _, low, high = self.prediction
        return f"{low:.3g} to {high:.3g}"

    @property
    def heterogeneity_text(self) -> str:
        return f"{100 * self.result.i_squared:.0f} %, Q = {self.result.q:.1f}"


@dataclass
class Joined:
    """The rows of a class, how many students are in them, and what was left out, with reasons."""

    rows: list[JoinedRow] = field(default_factory=list)
    students: int = 0
    left_out: list[str] = field(default_factory=list)

    def text(self) -> str:
        """The rows as a table, and below it what was left out."""
        header = ("claim", "data", "measure", "students", "mean, 95 %", "another one", "I²")
        cells = []
        for row in self.rows:
            question = row.comparison
            measure = (question.claim, question.data_name, question.measure)
            numbers = (row.mean_text, row.prediction_text, row.heterogeneity_text)
            cells.append((*measure, str(row.result.k), *numbers))
        lines = [format_table(header, cells), ""] if cells else []
        lines += [f"left out: {sentence}" for sentence in self.left_out]
        return "\n".join(lines)


def in_unit(ends: Ends, unit: str) -> Ends:
    """Numbers on the scale of effects as the unit has them: of logarithms the ratios."""
    if unit not in RATIOS:
        return ends
    if RATIOS[unit] < 0:
        ends = Ends(-ends.effect, -ends.high, -ends.low)
    return Ends(*(math.exp(min(number, 700.0)) for number in ends))


def join(folder: Path) -> Joined:
    """Pools the rows that at least two students have, from the JSON files below a folder.

    CourseError where there is no folder, or no file of a student's in it can be used.
    """
    if not folder.is_dir():
        raise CourseError(f"{folder} is no folder: give the one with your students' files.")
    questions = _questions()
    units = _units()
    found: dict[Key, list[StudentEffect]] = {}
    reasons: Counter[tuple[str, str]] = Counter()
    for student, path in _files(folder, reasons):
        try:
            rows = _rows(path)
        except Unusable as reason:
            reasons[student, str(reason)] += 1
            continue
        for row in rows:
            _take(row, student, questions, units, found, reasons)
    students = {effect.student for effects in found.values() for effect in effects}
    if not students:
        detail = "; ".join(_sentences(reasons)[:3])
        raise CourseError(
            f"No row of the ledger was found below {folder}: each student hands in the "
            f"{METRICS} of a run of chapter 05, or the output of `vaetl claims RUN --json`"
            f"{'; ' if detail else ''}{detail}."
        )
    joined = Joined(students=len(students), left_out=_sentences(reasons))
    for key, question in _in_order(questions):
        effects = found.get(key, [])
        if len(effects) > 1:
            result = pooled([one.effect for one in effects], [one.se for one in effects])
            joined.rows.append(JoinedRow(question, units[key], effects, result))
    single = sum(len(effects) == 1 for effects in found.values())
    if single:
        joined.left_out.append(f"{single} questions that one student alone has answered")
    return joined


def _sentences(reasons: Counter[tuple[str, str]]) -> list[str]:
    sentences = []
    for (student, reason), count in sorted(reasons.items()):
        times = f" ({count} times)" if count > 1 else ""
        sentences.append(f"{student}: {reason}{times}")
    return sentences


# Which questions there are.


def _questions() -> dict[Key, Comparison]:
    """The comparisons by id and data; in the ledger's own rows data have the names for people."""
    questions = {}
    for comparison in comparisons():
        questions[comparison.id, comparison.data] = comparison
        questions.setdefault((comparison.id, comparison.data_name), comparison)
    return questions


def _in_order(questions: Mapping[Key, Comparison]) -> Iterator[tuple[Key, Comparison]]:
    for key, question in questions.items():
        if key == (question.id, question.data):
            yield key, question


def _units() -> dict[Key, str]:
    """The unit of each question, which is that of the course's own record of it."""
    by_id: dict[str, str] = {}
    for record in recorded_records():
        if record.get("id") and record.get("unit"):
            by_id[record["id"]] = record["unit"]
    units = {}
    for question in comparisons():
        if by_id.get(question.id) in CONTRACT["margins"]:
            units[question.id, question.data] = by_id[question.id]
    return units


# Files, which may be anything.


def _files(folder: Path, reasons: Counter[tuple[str, str]]) -> Iterator[tuple[str, Path]]:
    """Students and their files, in order; of a student with a metrics.json no other file."""
    by_student: dict[str, list[Path]] = {}
    count = 0
    for path, folder_names, names in os.walk(folder):
        inner = Path(path).relative_to(folder).parts
        visible = sorted(name for name in folder_names if not name.startswith("."))
        folder_names[:] = visible if len(inner) < DEPTH else []
        for name in sorted(names):
            if not name.lower().endswith(".json") or name.startswith("."):
                continue
            count += 1
            if count > MOST_FILES:
                raise CourseError(f"There are more than {MOST_FILES} JSON files below {folder}.")
            by_student.setdefault(_student(inner[0] if inner else name), []).append(
                Path(path, name)
            )
    for student, paths in sorted(by_student.items()):
        metrics = [path for path in paths if path.name == METRICS]
        for result in metrics or paths:
            yield student, result


def _student(name: str) -> str:
    """A student's name by that of a folder or a file, fit for a page and no longer than a line."""
    moodle = MOODLE.match(name)
    name = moodle[1] if moodle else name.removesuffix(".json")
    return printable(name.encode("utf-8", "replace").decode())[:SHOWN_CHARACTERS] or "?"


def _rows(path: Path) -> list[Any]:
    """What a file holds, which is a list of anything; Unusable where it holds none."""
    content = _parsed(_bytes(path))
    rows = content.get("records") if isinstance(content, dict) else content
    if not isinstance(rows, list):
        raise Unusable(f"{printable(path.name)} has no records of a run and no rows of a ledger")
    if len(rows) > MOST_ROWS:
        raise Unusable(f"{printable(path.name)} has more than {MOST_ROWS} rows")
    return rows


def _bytes(path: Path) -> bytes:
    """A regular file's content; a link is not followed, and nothing is waited for."""
    name = printable(path.name)
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        descriptor = os.open(path, flags)
        with open(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise Unusable(f"{name} is no file")
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise Unusable(f"{name} is a link, or cannot be read") from error
    if len(data) > MOST_BYTES:
        raise Unusable(f"{name} has more than {MOST_BYTES // 10**6} MB")
    return data


def _parsed(data: bytes) -> Any:
    try:
        return json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError, MemoryError) as error:
        raise Unusable("the file is no JSON") from error


# Rows, which may be anything.


def _take(  # noqa: PLR0913  (what is known, and where things go)
    row: Any,
    student: str,
    questions: Mapping[Key, Comparison],
    units: Mapping[Key, str],
    found: dict[Key, list[StudentEffect]],
    reasons: Counter[tuple[str, str]],
) -> None:
    """Adds a row to what was found, or to the reasons; passes over what answers no question."""
    if not isinstance(row, dict) or row.get("source", "live") != "live":
        return  # the package's own rows are in each ledger
    id, data = row.get("id"), row.get("data")
    question = None
    if isinstance(id, str) and isinstance(data, str):
        question = questions.get((id, data))
    if question is None:
        return
    key = question.id, question.data
    try:
        if key not in units:
            raise Unusable("the course has no record of it to take the unit from")
        effect = _effect(row, student, units[key])
        _refuse_twins(effect, found.get(key, []))
    except Unusable as reason:
        reasons[student, f"{question.id} on {question.data_name}: {reason}"] += 1
        return
    found.setdefault(key, []).append(effect)


def _effect(row: Mapping[str, Any], student: str, unit: str) -> StudentEffect:
    """The effect of a row and its standard error; Unusable where its numbers cannot be so."""
    if row.get("unit") != unit:
        raise Unusable(f"its unit is not {unit}")
    n = row.get("n")
    if not isinstance(n, int) or isinstance(n, bool) or not 2 <= n <= MOST_REPEATS:
        raise Unusable("it has no interval from two repeats or more")
    value = row["value"] if "value" in row else row.get("effect")
    numbers = [_number(value), _number(row.get("low")), _number(row.get("high"))]
    if None in numbers:
        raise Unusable("its effect or an end of its interval is no finite number")
    middle, low, high = numbers
    effect = Effect.from_record({"value": middle, "low": low, "high": high, "n": n, "unit": unit})
    if effect is None or not (math.isfinite(effect.low) and math.isfinite(effect.high)):
        raise Unusable("its effect is not inside its interval, or is no ratio above 0")
    if abs(effect.effect) > MOST.get(unit, math.inf):
        raise Unusable(f"an effect of {abs(middle or 0):.3g} {unit} cannot be")
    return StudentEffect(student, effect.effect, _standard_error(row, effect), n)


def _standard_error(row: Mapping[str, Any], effect: Effect) -> float:
    """The row's own where it has one that agrees with the interval, otherwise from the interval."""
    half = (effect.high - effect.low) / 2
    df = _number(row.get("df"))
    if df is None or not 0.5 <= df <= MOST_REPEATS:
        df = effect.n - 1
    from_interval = half / float(stats.t.ppf(0.975, df))
    se = _number(row.get("se"))
    if se is not None and abs(se - from_interval) > AGREEMENT * from_interval:
        raise Unusable("its interval and its standard error contradict each other")
    if from_interval < LEAST_ERROR:
        raise Unusable("its repeats do not differ, so that nothing is known of its error")
    return from_interval


def _number(value: Any) -> float | None:
    """A finite number as a float; None for anything else, such as true, text and 10^400."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _refuse_twins(effect: StudentEffect, others: list[StudentEffect]) -> None:
    """Unusable where the student has answered already, or somebody has the very same numbers."""
    for other in others:
        if other.student == effect.student:
            raise Unusable("the student has answered it already, in another file or row")
        if (other.effect, other.se) == (effect.effect, effect.se):
            raise Unusable(
                f"the numbers are those of {other.student}: with one seed for both there is one "
                "study, which counts once"
            )
