"""A method against itself: the study in small, its journal, and the recorded shares by hand."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from vaetl_helpers import recorded
from vaetl_helpers.authoring.assets import record_null as null
from vaetl_helpers.seeds import HIGHEST_SEED
from vaetl_helpers.study.draws import Draw

FOLDER = Path(recorded.__file__).parent / "recorded"
WORDS = {"supported": ["supported"], "contradicted": ["contradicted"]}
WORDS["supported or contradicted"] = ["supported", "contradicted"]


def recorded_shares() -> Iterator[dict[str, Any]]:
    yield from json.loads((FOLDER / "05_vae_transfer_learning_null.json").read_text())["records"]


def test_recorded_shares_are_those_of_the_recorded_verdicts() -> None:
    with (FOLDER / "05_null.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for one in recorded_shares():
        measure, words, _ = one["name"].rsplit(", ", 2)
        verdicts = [row[measure] for row in rows if row["data"] == one["data"]]
        assert len(verdicts) == one["n"] == 200
        claimed = sum(verdict in WORDS[words] for verdict in verdicts)
        assert one["value"] == pytest.approx(claimed / 2), one["name"]


def test_no_measure_claims_more_often_than_it_may() -> None:
    """Of 200 studies with nothing to find 5 % are 10; 20 or more come up once in 500 times."""
    measures = 0
    for one in recorded_shares():
        measures += 1
        assert one["value"] < (10 if " or " in one["name"] else 6), one["name"]
    assert measures == 3 * 10


def test_both_sides_have_the_same_labels_and_other_seeds_within_bounds() -> None:
    for seed in (0, HIGHEST_SEED - 1_000_003, HIGHEST_SEED):
        draw = Draw(20, 0, torch.arange(20), 0.0, 0, seed)
        other = null.other_side(draw)
        assert other.indices is draw.indices
        assert other.seed != seed
        assert 0 <= other.seed <= HIGHEST_SEED


def test_a_study_that_was_cut_off_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = []

    def verdicts_of(name: str, seed: int) -> dict[str, str]:
        ran.append(seed)
        return dict.fromkeys(null.measures_of(name), "undecided")

    monkeypatch.setattr(null, "verdicts_of", verdicts_of)
    null.all_verdicts("tops", 2, 1, tmp_path)
    table = null.all_verdicts("tops", 3, 1, tmp_path)
    assert ran == [null.FIRST_SEED, null.FIRST_SEED + 1, null.FIRST_SEED + 2]
    assert list(table["seed"]) == ran
    assert {one["value"] for one in null.shares(table)} == {0}


@pytest.mark.slow
def test_method_against_itself_in_small(tmp_path: Path) -> None:
    """Real networks; five claims or more of one measure would come up once in 400 times."""
    table = null.all_verdicts("tops", 20, 1, tmp_path)
    for measure in null.measures_of("tops"):
        assert table[measure].isin(null.CLAIMS).sum() < 5, measure
        assert set(table[measure]) <= {"supported", "contradicted", "undecided", "no gain"}
