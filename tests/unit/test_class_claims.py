"""`vaetl claims --join`: honest runs are pooled; hostile files give reasons, and no number."""

from __future__ import annotations

import itertools
import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bs4 import BeautifulSoup
from matplotlib.figure import Figure
from typer.testing import CliRunner

from vaetl_helpers.app.cli import app
from vaetl_helpers.claims import comparisons, ledger
from vaetl_helpers.errors import CourseError
from vaetl_helpers.grading import class_claims
from vaetl_helpers.grading.class_claims import MOST_BYTES, join
from vaetl_helpers.grading.pages import claims_page, forest
from vaetl_helpers.recorded import recorded_records
from vaetl_helpers.study import effect_of
from vaetl_helpers.study.pooling import pooled

ID = "05/accuracy/fine_tuned-scratch/100"
DATA = next(one.data for one in comparisons() if one.id == ID)
HOSTILE_NAME = "$\\frac{<script>alert(1)</script>"


def record(seed: int, **changes: Any) -> dict[str, Any]:
    """What a run of this seed has found: six draws around a gain of two points."""
    differences = np.random.default_rng(seed).normal(2, 1, 6)
    made = effect_of(differences).to_record("gain", "points", id=ID, data=DATA)
    return {"chapter": "05", **made, **changes}


def hand_in(folder: Path, name: str, *records: Any) -> Path:
    path = folder / name / "metrics.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"run": {}, "records": list(records)}), encoding="utf-8")
    return path


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    """Three honest students."""
    for seed, name in enumerate(("ada", "ben", "eve")):
        hand_in(tmp_path, name, record(seed))
    return tmp_path


def test_the_course_has_a_record_of_the_question() -> None:
    assert any(one.get("id") == ID and one.get("unit") == "points" for one in recorded_records())


def test_runs_of_a_class_are_pooled(inbox: Path) -> None:
    joined = join(inbox)
    (row,) = joined.rows
    effects = [effect_of(np.random.default_rng(seed).normal(2, 1, 6)) for seed in range(3)]
    expected = pooled([one.effect for one in effects], [one.se for one in effects])
    assert row.result.effect == pytest.approx(expected.effect)
    assert (row.result.low, row.result.high) == pytest.approx((expected.low, expected.high))
    assert [one.student for one in row.students] == ["ada", "ben", "eve"]
    assert (joined.students, joined.left_out) == (3, [])


def test_a_ledger_counts_as_the_run_that_it_is_of(inbox: Path, tmp_path: Path) -> None:
    from_metrics = join(inbox)
    for name in ("ada", "ben", "eve"):
        path = inbox / name / "metrics.json"
        rows = [dict(vars(row)) for row in ledger(path.parent)]
        assert {row["source"] for row in rows} == {"live", "recorded"}
        path.unlink()
        (inbox / f"{name}.json").write_text(json.dumps(rows), encoding="utf-8")
    joined = join(inbox)
    assert [row.result for row in joined.rows] == [row.result for row in from_metrics.rows]


def test_ratios_are_pooled_as_logarithms(tmp_path: Path) -> None:
    id = "05/labels/scratch-fine_tuned/100"
    data = next(one.data for one in comparisons() if one.id == id)
    for seed in range(3):
        logs = np.random.default_rng(seed).normal(math.log(3), 0.2, 6)
        made = effect_of(logs).to_record("fewer", "times", id=id, data=data)
        hand_in(tmp_path, f"student {seed}", made)
    (row,) = join(tmp_path).rows
    assert row.unit == "times"
    assert row.mean.low < 3 < row.mean.high
    assert row.mean.effect == pytest.approx(math.exp(row.result.effect))


@pytest.mark.parametrize("decades", [0.5, 1.4, 2, 4, 4.9, 8, 12])
def test_no_number_below_a_ratio_covers_another(decades: float) -> None:
    figure = Figure(figsize=(7, 2))
    axis = figure.add_subplot()
    axis.set(xscale="log", xlim=(10 ** (-decades / 2), 10 ** (decades / 2)))
    forest._ratio_marks(axis)
    figure.canvas.draw()
    boxes = [label.get_window_extent() for label in axis.get_xticklabels()]
    boxes = [box for box in boxes if axis.bbox.x0 <= (box.x0 + box.x1) / 2 <= axis.bbox.x1]
    assert len(boxes) > 1
    assert all(one.x1 < other.x0 for one, other in itertools.pairwise(boxes))


def test_one_seed_is_one_study(inbox: Path) -> None:
    hand_in(inbox, "zoe", record(0))
    joined = join(inbox)
    assert joined.rows[0].result.k == 3
    assert any("zoe" in line and "those of ada" in line for line in joined.left_out)


SPOILT: dict[str, tuple[dict[str, Any], str]] = {
    "another unit": ({"unit": "times"}, "its unit is not points"),
    "no unit": ({"unit": ["points"]}, "its unit is not points"),
    "text": ({"value": "9"}, "no finite number"),
    "true": ({"value": True}, "no finite number"),
    "a number beyond floats": ({"high": 10**400}, "no finite number"),
    "open": ({"low": None}, "no finite number"),
    "a list": ({"low": [1]}, "no finite number"),
    "one repeat": ({"n": 1}, "two repeats or more"),
    "repeats as text": ({"n": "6"}, "two repeats or more"),
    "countless repeats": ({"n": 10**9}, "two repeats or more"),
    "outside": ({"value": 50.0}, "not inside its interval"),
    "turned round": ({"low": 9.0, "high": -9.0}, "not inside its interval"),
    "impossible": ({"value": 500.0, "low": 499.0, "high": 501.0, "se": None}, "cannot be"),
    "sure of itself": ({"se": 1e-9}, "contradict each other"),
    "a point": ({"value": 2.0, "low": 2.0, "high": 2.0, "se": None}, "do not differ"),
}


@pytest.mark.parametrize("fault", SPOILT)
def test_a_row_that_cannot_be_is_left_out_with_its_reason(inbox: Path, fault: str) -> None:
    changes, reason = SPOILT[fault]
    honest = join(inbox).rows[0].result
    hand_in(inbox, "mal", record(9, **changes))
    joined = join(inbox)
    assert joined.rows[0].result == honest
    (line,) = joined.left_out
    assert line.startswith("mal: ") and reason in line


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "no JSON"),
        (b"{", "no JSON"),
        (b"[" * 200_000, "no JSON"),
        (b"\xff\xfe\x00", "no JSON"),
        (b'{"records": ' + b"9" * 5000 + b"}", "no JSON"),
        (b"17", "no records"),
        (b'{"records": {"id": 1}}', "no records"),
        (b" " * (MOST_BYTES + 1), "more than 5 MB"),
        (b"[" + b"1," * 30_000 + b"1]", "more than 20000 rows"),
    ],
)
def test_a_file_that_is_none_is_left_out_with_its_reason(
    inbox: Path, content: bytes, reason: str
) -> None:
    hand_in(inbox, "mal").write_bytes(content)
    joined = join(inbox)
    assert joined.rows[0].result.k == 3
    (line,) = joined.left_out
    assert line.startswith("mal: ") and reason in line


@pytest.mark.parametrize("row", [None, 3, [], {"id": []}, {"id": ID}, {"id": ID, "data": {}}, {}])
def test_rows_of_other_types_are_passed_over(inbox: Path, row: Any) -> None:
    hand_in(inbox, "mal", row)
    assert join(inbox).left_out == []


def test_links_and_pipes_are_not_read(inbox: Path, tmp_path_factory: Any) -> None:
    secret = tmp_path_factory.mktemp("elsewhere") / "secret.json"
    secret.write_text(json.dumps({"records": [record(5)]}), encoding="utf-8")
    (inbox / "linked.json").symlink_to(secret)
    (inbox / "looped").symlink_to(inbox)
    os.mkfifo(inbox / "pipe.json")
    joined = join(inbox)
    assert joined.rows[0].result.k == 3
    assert {line.partition(":")[0] for line in joined.left_out} == {"linked", "pipe"}


def test_a_flood_of_files_is_refused(inbox: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(class_claims, "MOST_FILES", 2)
    with pytest.raises(CourseError, match="more than 2 JSON files"):
        join(inbox)


def test_an_empty_folder_says_what_is_handed_in(tmp_path: Path) -> None:
    with pytest.raises(CourseError, match=r"vaetl claims RUN --json"):
        join(tmp_path)
    with pytest.raises(CourseError, match="is no folder"):
        join(tmp_path / "nowhere")


def test_names_are_text_on_the_page_and_in_the_plot(inbox: Path) -> None:
    (inbox / "eve").rename(inbox / HOSTILE_NAME.replace("/", "_"))
    moodle = inbox / "Ada Rossi_1234_assignsubmission_file_"
    hand_in(inbox, moodle.name, record(7))
    hand_in(inbox, "bad <b>", record(8, n=1))
    joined = join(inbox)
    assert "Ada Rossi" in {one.student for one in joined.rows[0].students}
    page = BeautifulSoup(claims_page(joined), "html.parser")
    assert not page("script") and not page.main("b")
    assert "bad <b>" in page.main.get_text()
    assert "4 students' effects" in page.img["alt"]
    assert page.img["src"].startswith("data:image/png;base64,")


def test_the_command_writes_a_page(inbox: Path, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    result = CliRunner().invoke(app, ["claims", "--join", str(inbox), "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert "3 students, 1 questions pooled" in result.output
    assert "Forest plot" in out.read_text("utf-8")
