"""The program that fuzzes grading, a few notebooks of it; in full it is run by hand."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def test_a_few_mutated_notebooks_get_what_they_must(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    import fuzz_grading

    findings = fuzz_grading.fuzz(seed=1, count=8, graded=0)
    assert findings.lines == []
    assert findings.counts["read by check-submission"] > 0
    assert findings.counts["students in reports"] == 1


def test_every_kind_of_mutation_makes_a_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    import mutations

    # What earlier tests left unclosed is told now. In the middle of ast.parse, pytest's telling,
    # which parses too, makes CPython 3.11 lose count of its depth (SystemError).
    gc.collect()
    kinds = set()
    for index in range(len(mutations.KINDS)):
        draft = mutations.drafted(1, index, "03b")
        kinds.update(draft.kinds)
        assert draft.data == mutations.drafted(1, index, "03b").data
    assert kinds == set(mutations.KINDS)
