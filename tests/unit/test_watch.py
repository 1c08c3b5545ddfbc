"""What watches a run sees every epoch, and changes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from test_training import build, identical, images, one_thread, state
from torch import nn

from vaetl_helpers.errors import CourseError
from vaetl_helpers.training import fit, fit_best

__all__ = ["one_thread"]  # a fixture
OPTIONS: dict[str, Any] = {"epochs": 3, "batch_size": 16, "quiet": True}


def seen_by(rows: list[dict[str, float]]) -> Any:
    """A watch that notes rows, draws numbers and leaves gradients alone."""

    def watch(model: nn.Module, row: dict[str, float]) -> None:
        assert not model.training and not torch.is_grad_enabled()
        model(torch.rand(2, 1, 8, 8))
        rows.append(row)

    return watch


def test_it_sees_the_untrained_network_and_every_epoch() -> None:
    rows: list[dict[str, float]] = []
    history = fit(build("mlp"), images(), watch=seen_by(rows), **OPTIONS)
    assert rows[0] == {"epoch": 0} and rows[1:] == history.rows


@pytest.mark.parametrize("kind", ["mlp", "norm and dropout"])
def test_the_weights_are_the_same_with_and_without_it(kind: str) -> None:
    """Also where the network draws numbers, and BatchNorm has a state."""
    ends = []
    for watch in (None, seen_by([])):
        model = build(kind)
        fit(model, images(), validation=images(40, 1), watch=watch, **OPTIONS)
        ends.append((state(model), torch.get_rng_state()))
    assert identical(ends[0][0], ends[1][0]) and torch.equal(ends[0][1], ends[1][1])


def test_a_run_that_continues_shows_the_epochs_that_it_trains(tmp_path: Path) -> None:
    kept = {"checkpoint": tmp_path / "run.safetensors"}
    fit(build("mlp"), images(), **OPTIONS, **kept)
    rows: list[dict[str, float]] = []
    more = OPTIONS | {"epochs": 5}
    fit(build("mlp"), images(), watch=seen_by(rows), **more, **kept)
    assert [row["epoch"] for row in rows] == [4, 5]


def test_early_stopping_can_be_watched() -> None:
    rows: list[dict[str, float]] = []
    history = fit_best(build("mlp"), images(), images(40, 1), epochs=3, watch=seen_by(rows))
    assert rows[1:] == history.rows


@pytest.mark.parametrize("watch", [3, "film", nn.Linear, lambda: None, lambda one: None])
def test_what_cannot_watch_is_refused_before_any_work(watch: Any) -> None:
    model = build("mlp")
    before = state(model)
    with pytest.raises(CourseError, match=r"watch\(model, row\).*Film"):
        fit(model, images(), watch=watch, **OPTIONS)
    assert identical(before, state(model))
