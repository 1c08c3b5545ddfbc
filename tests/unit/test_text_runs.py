"""What chapter 4b shows of its recorded runs."""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from vaetl_helpers import recorded, study, text_runs


def a_table(classes: int) -> study.Table:
    """Two methods at two numbers of labels, the encoder 10 and then 4 points ahead."""
    rows = []
    for count, ahead in ((2 * classes, 10), (5 * classes, 4)):
        for draw in range(3):
            for method, value in (("frozen encoder", 60 + draw + ahead), ("TF-IDF", 60 + draw)):
                rows.append(("text", "d", method, count, draw, 0, "test accuracy", value, 1.0))
    columns = ["study", "data", "method", "labels", "draw", "pretrain_seed", "metric", "value"]
    return study.Table(pd.DataFrame(rows, columns=[*columns, "seconds"]))


def test_a_lead_is_that_with_the_fewest_and_the_most_labels() -> None:
    assert text_runs.lead(a_table(77)) == "+10 (154 labels), +4 (385)"


def test_only_recorded_tasks_are_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorded, "_folder", lambda: tmp_path)
    assert text_runs.recorded_tasks() == []
    assert text_runs.recorded_runs("labels") == {}
    (tmp_path / "04b_text_banking77.json").write_text(json.dumps({"records": []}))
    a_table(77).write(tmp_path / "04b_labels_banking77.csv")
    assert text_runs.recorded_tasks() == ["banking77"]
    ((question, run),) = text_runs.recorded_runs("labels").items()
    assert question == "What does a bank's customer want? (recorded)"
    assert run.classes == 77 and run.table.mean("TF-IDF", "test accuracy", 154) == 61


def test_each_run_has_a_panel_with_a_line_at_guessing() -> None:
    runs = {"Two": text_runs.Run(a_table(2), 2), "Many": text_runs.Run(a_table(77), 77)}
    text_runs.draw_accuracies(runs, alt="04b/labels")
    figure = plt.gcf()
    for axis, (name, run) in zip(figure.axes, runs.items(), strict=True):
        assert axis.get_title().startswith(name)
        (chance,) = [line for line in axis.lines if line.get_linestyle() == ":"]
        assert np.asarray(chance.get_ydata())[0] == pytest.approx(100 / run.classes)
        assert axis.get_ylim()[0] < 100 / run.classes
    plt.close(figure)


def test_records_have_the_ids_that_recorded_runs_are_searched_for() -> None:
    table = a_table(2)
    effect = study.paired(table, "frozen encoder", "TF-IDF", "test accuracy", 4)
    record = text_runs.difference("minilm", "tfidf", 2, effect, "d")
    assert record["id"] == text_runs.accuracy_id("minilm", "tfidf", 2)
    assert record["id"] == "04b/accuracy/minilm-tfidf/2_a_class"
    assert text_runs.percent(table, "TF-IDF", 4) == "61.0 %"
