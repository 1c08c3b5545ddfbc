"""Long studies in shards: the same table as in one piece, and a kill loses little."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vaetl_helpers.authoring import record_study
from vaetl_helpers.authoring.record_study import Plan
from vaetl_helpers.errors import CourseError
from vaetl_helpers.study.runs import Shard

SMALL = Plan(
    draws=4, block=2, seed=5, presentations=2000, counts=(50,), counts_of_pairs=(20,), full=False
)


@pytest.mark.slow
def test_shards_give_the_table_of_one_piece(tmp_path: Path) -> None:
    whole = record_study.record_target("digits", Shard(1, 1), tmp_path / "whole", SMALL)
    pieces = tmp_path / "pieces"
    record_study.record_target("digits", Shard(2, 2), pieces, SMALL)
    with pytest.raises(CourseError, match="are in none of the 1 files"):
        record_study.join("digits", pieces)
    record_study.record_target("digits", Shard(1, 2), pieces, SMALL)
    joined = record_study.join("digits", pieces)
    assert (pieces / "05_digits.csv").exists()
    columns = ["method", "labels", "draw", "pretrain_seed", "metric"]
    assert joined.frame[columns].equals(whole.frame[columns])
    is_time = whole.frame["metric"].str.contains("seconds")
    values = [table.frame["value"][~is_time] for table in (joined, whole)]
    np.testing.assert_array_equal(*values)


def test_nothing_to_join_is_said(tmp_path: Path) -> None:
    with pytest.raises(CourseError, match="holds no shard of digits"):
        record_study.join("digits", tmp_path)


@pytest.mark.parametrize("text", ["3", "a/b", "3/", "-1/2"])
def test_a_shard_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(CourseError, match="written as 3/8"):
        Shard.from_text(text)
