"""Start or learning rate: a study in small, and what the recorded tables give again."""

from __future__ import annotations

from pathlib import Path

import pytest

from vaetl_helpers.authoring.assets import record_rates
from vaetl_helpers.authoring.record_study import Plan
from vaetl_helpers.tuned import tuned_settings


@pytest.mark.slow
def test_both_starts_are_trained_at_both_rates(tmp_path: Path) -> None:
    plan = Plan(draws=2, block=1, seed=7, presentations=1000, full=False)
    table = record_rates.run("digits", [20], plan, tmp_path)
    names = [record_rates.name_of(s, r) for s in record_rates.STARTS for r in record_rates.RATES]
    assert set(table.known("method")) == set(names)
    first = [table.by_step(name, 20, "training losses")[0][0] for name in names]
    assert len(set(first)) == 4, "no two are the same training"
    records = record_rates.effects(table, "digits")
    assert [record["id"] for record in records] == [
        "05/rates/start/low_rate/20",
        "05/rates/start/high_rate/20",
        "05/rates/rate/scratch/20",
        "05/rates/rate/fine_tuned/20",
        "05/rates/steps/low_rate/20",
        "05/rates/accuracy/low_rate/20",
        "05/rates/steps/high_rate/20",
        "05/rates/accuracy/high_rate/20",
    ]
    again = record_rates.run("digits", [20], plan, tmp_path)
    assert again.frame.equals(table.frame), "what is finished is read"


def test_only_labels_at_which_the_rates_differ_are_asked() -> None:
    for target, counts in record_rates.LABELS.items():
        scratch, tuned = (tuned_settings(target, kind) for kind in ("scratch", "pretrained"))
        assert all(scratch[n].rate != tuned[n].rate for n in counts)
        assert all(scratch[n].steps == tuned[n].steps for n in counts), "only the rate differs"
