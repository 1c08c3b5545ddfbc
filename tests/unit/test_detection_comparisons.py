"""Chapter 4c's comparisons: ids, what a live row may say, and the recorded rows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from vaetl_helpers import detection_comparisons as comparisons
from vaetl_helpers import study
from vaetl_helpers.detection_comparisons import ALL, FROZEN, FROZEN_LONGER, LONGER, SCRATCH

SOURCE = Path(__file__).parents[2] / "course" / "source" / "04c_detection_with_coco.py"


def recorded() -> study.Table:
    return study.recorded_table("04c", "detection")


@pytest.mark.parametrize("pair", [(FROZEN, SCRATCH), (FROZEN, ALL)], ids=str)
def test_the_recorded_rows_are_those_of_the_recorded_table(pair: tuple[str, str]) -> None:
    for count in comparisons.SIZES:
        kept = comparisons.recorded_number(comparisons.precision_id(pair, count))
        effect = study.paired(recorded(), *pair, comparisons.METRIC, count)
        assert kept is not None
        assert kept["value"] == pytest.approx(effect.effect)
        assert kept["low"] == pytest.approx(effect.low)


def test_a_live_row_has_no_verdict(capsys: pytest.CaptureFixture[str]) -> None:
    comparisons.show_differences(recorded(), [(FROZEN, SCRATCH, 5)])
    header, _, row = capsys.readouterr().out.splitlines()
    live, lies, kept, verdict = [cell.strip() for cell in row.strip("|").split("|")][2:]
    assert live == kept == "+73.2 [+67.2, +79.3], n = 10"
    assert lies == "above 0 in this run"
    assert verdict == "the frozen one is better"
    assert header.endswith("| recorded | verdict recorded |")


def test_recorded_rows_and_what_was_not_recorded(capsys: pytest.CaptureFixture[str]) -> None:
    pairs = [(FROZEN, LONGER, 320), (FROZEN_LONGER, LONGER, 5), (SCRATCH, ALL, 7)]
    comparisons.show_recorded_differences(pairs, study.recorded_table("04c", "steps"))
    many, few, unknown = capsys.readouterr().out.splitlines()[2:]
    assert many.endswith("[−0.1, +2.5], n = 5 | undecided |")
    assert "backbone frozen with 4 × the steps − from scratch with 4 × the steps" in few
    assert few.endswith("[+48.0, +73.7], n = 5 | the frozen one is better |")
    assert unknown.endswith("| – | – |")


def test_means_become_records_under_the_ids_of_the_recorded_run() -> None:
    for record in comparisons.mean_records(recorded(), [FROZEN, SCRATCH], comparisons.SIZES):
        kept = comparisons.recorded_number(record["id"])
        assert kept is not None
        for key in ("value", "low", "high", "n", "unit", "data"):
            assert record[key] == pytest.approx(kept[key]), record["id"]


def test_the_sentences_of_the_chapter_are_those_of_the_records() -> None:
    """What sections 6 and 7 say in words, from the recorded curves and differences."""
    text = SOURCE.read_text("utf-8")
    few = comparisons.recorded_curve(SCRATCH, 5)
    many = comparisons.recorded_curve(SCRATCH, 320)
    assert list(few) == [75, 150, 300, 600]
    assert f"climbs from {many[75]['value']:.0f} to {many[600]['value']:.0f} %" in text
    assert f"{few[300]['value']:.0f} and {few[600]['value']:.0f} %" in text
    assert re.search(rf"about {few[300]['low']:.0f} to {few[600]['high']:.0f} %", text)
    both = study.paired(
        study.recorded_table("04c", "steps"), FROZEN_LONGER, LONGER, comparisons.METRIC, 5
    )
    assert f"about {both.effect:.0f} points with as many steps for both" in text
    freezing = comparisons.recorded_number(comparisons.precision_id((FROZEN, ALL), 5))
    assert freezing is not None
    assert f"by {freezing['low']:.1f} to {freezing['high']:.0f} points with 5 scenes" in text


def test_a_curve_that_was_not_recorded_is_empty() -> None:
    assert comparisons.recorded_curve(ALL, 5) == {}
