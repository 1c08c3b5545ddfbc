"""Long studies in shards: the same table as in one piece, and a kill loses little."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vaetl_helpers import recorded, study
from vaetl_helpers.authoring import record_study
from vaetl_helpers.authoring.assets.record import images_beside, record
from vaetl_helpers.authoring.record_study import Plan
from vaetl_helpers.errors import CourseError
from vaetl_helpers.study.runs import Shard
from vaetl_helpers.study.values import read_values, recorded_values, write_values

SMALL = Plan(
    draws=4, block=2, seed=5, presentations=2000, counts=(50,), counts_of_pairs=(20,), full=False
)


@pytest.mark.slow
def test_shards_give_the_record_of_one_piece(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = record_study.record_target("digits", Shard(1, 1), tmp_path / "whole", SMALL)
    pieces = tmp_path / "pieces"
    record_study.record_target("digits", Shard(2, 2), pieces, SMALL)
    with pytest.raises(CourseError, match="are in none of the 1 files"):
        record_study.join("digits", pieces, "a machine")
    record_study.record_target("digits", Shard(1, 2), pieces, SMALL)
    paths = record_study.join("digits", pieces, "a machine")
    monkeypatch.setattr(recorded, "_folder", lambda: pieces)
    joined = study.recorded_table("05", "digits")
    columns = ["method", "labels", "draw", "pretrain_seed", "metric"]
    assert joined.frame[columns].equals(whole.frame[columns])
    is_time = whole.frame["metric"].str.contains("seconds")
    values = [table.frame["value"][~is_time] for table in (joined, whole)]
    np.testing.assert_array_equal(*values)

    by_image = recorded_values("05", "digits")
    assert by_image.keys() == whole.images.keys()
    for key, of_run in whole.images.items():
        if "seconds" not in key[-1]:
            np.testing.assert_array_equal(by_image[key], of_run)
    run = json.loads(paths[-1].read_text("utf-8"))
    assert run["machine"] == "a machine" and "vaetl record digits" in run["command"]
    known = {(each["id"], each["data"]) for each in run["records"]}
    assert ("05/accuracy/fine_tuned-scratch/50", "digits 0–4 → 5–9, full") in known
    methods = set(joined.known("method"))
    assert {"supervised", "self-training on μ", "self-training on PCA"} <= methods


def test_values_are_read_as_they_were_written(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    written = {}
    for draw in (0, 1, 7):
        right = 100 * (generator.random(13) < 0.5).astype(np.float32)
        curve = generator.random(3 + draw).astype(np.float32)
        written |= {("a", 20, draw, "accuracy"): right, ("μ, β", 20, draw, "loss"): curve}
        written["a", 50, draw, "accuracy"] = right[draw:]  # other images for each draw
    write_values(tmp_path / "values.npz", written)
    read = read_values(tmp_path / "values.npz")
    assert read.keys() == written.keys()
    assert all((read[key] == values).all() for key, values in written.items())
    content = (tmp_path / "values.npz").read_bytes()
    (tmp_path / "half.npz").write_bytes(content[: len(content) // 2])
    for name in ("half.npz", "none.npz"):
        with pytest.raises(CourseError, match="holds no values of a study"):
            read_values(tmp_path / name)


def test_a_study_in_parts_keeps_its_values_from_all_journals(tmp_path: Path) -> None:
    """Chapter 4a runs a part for each number of labels; what is beside them is another study's."""

    def chance(draw: study.Draw) -> dict[str, Any]:
        return {"test accuracy": torch.arange(4) % 2 == draw.seed % 2}

    method = study.Method("chance", chance)
    labels = torch.arange(40) % 2
    parts = {}
    for name, count in (("2", 2), ("10", 10), ("layers", 4)):
        out = tmp_path / "tops" / name
        parts[name] = study.run_study("s", [method], [count], 3, out=out, labels=labels, quiet=True)
    found = images_beside(tmp_path / "tops.csv")
    assert {key[1] for key in found} == {2, 10}
    for name in ("2", "10"):
        for key, of_run in parts[name].images.items():
            np.testing.assert_array_equal(found[key], of_run)
    assert images_beside(tmp_path / "other.csv") == {}
    whole = study.run_study(
        "w", [method], [2], 3, out=tmp_path / "whole.csv", labels=labels, quiet=True
    )
    found = images_beside(tmp_path / "whole.csv")
    assert set(found) == set(whole.images)


def test_a_tasks_tables_are_kept_under_names_that_say_the_task(tmp_path: Path) -> None:
    run, kept = tmp_path / "run", tmp_path / "kept"
    (run / "tables").mkdir(parents=True)
    kept.mkdir()
    for name in ("04b_labels", "04_tops"):
        (run / "tables" / f"{name}.csv").write_text("study\n")
    facts = {"profile": "paper", "parameters": {"task": "tops"}, "versions": {}}
    (run / "metrics.json").write_text(json.dumps({"run": facts, "chapters": {}, "records": []}))
    written = record(run, "a machine", kept)
    assert [path.name for path in written] == ["04_tops.csv", "04b_labels_tops.csv"]


def test_nothing_to_join_is_said(tmp_path: Path) -> None:
    with pytest.raises(CourseError, match="holds no shard of digits"):
        record_study.join("digits", tmp_path, "a machine")


@pytest.mark.parametrize("text", ["3", "a/b", "3/", "-1/2"])
def test_a_shard_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(CourseError, match="written as 3/8"):
        Shard.from_text(text)


def test_a_recorded_study_has_its_values_where_they_were_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorded, "_folder", lambda: tmp_path)
    header = "study,data,method,labels,draw,pretrain_seed,metric,value,seconds"
    rows = [f"s,d,{m},20,{n},0,test accuracy,50.0,1.0" for m in "ab" for n in range(3)]
    (tmp_path / "05_small.csv").write_text("\n".join([header, *rows]) + "\n", "utf-8")
    assert study.recorded_study("05", "small").images == {}
    values = {
        (method, 20, draw, "test accuracy"): np.array([0, 100, 0, 100], np.float32)
        for method in "ab"
        for draw in range(3)
    }
    write_values(tmp_path / "05_small.npz", values)
    table = study.recorded_study("05", "small")
    assert table.images.keys() == values.keys() and len(table.frame) == 6
    (tmp_path / "05_small.npz").write_bytes(b"PK")
    with pytest.raises(CourseError, match="holds no values of a study"):  # and not without them
        study.recorded_study("05", "small")
