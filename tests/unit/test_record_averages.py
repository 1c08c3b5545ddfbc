"""What BatchNorm's running averages cost: a study in small, on the embedded clothes."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from vaetl_helpers import study
from vaetl_helpers import supervised_transfer as transfers
from vaetl_helpers.authoring.assets import record_averages
from vaetl_helpers.data import tasks


@pytest.fixture(scope="module")
def plan() -> transfers.Plan:
    return transfers.Plan.of(tasks.load_task("tops"), 40)


def test_with_running_averages_it_is_the_studys_network_from_scratch(plan: transfers.Plan) -> None:
    (draw,) = study.draw_labels(plan.task.pool.labels, 10, 1, 5)
    found = {}
    for name, method in {
        "study": partial(transfers.scratch, plan),
        "running": partial(record_averages.from_scratch, plan, False),
        "renewed": partial(record_averages.from_scratch, plan, True),
    }.items():
        torch.manual_seed(1)
        found[name] = method(draw)
    epochs = len(found["study"]["validation curve"])  # it may be stopped
    for name in ("validation curve", "steps by epoch", "FLOPs by epoch"):
        torch.testing.assert_close(
            found["running"][name][:epochs].double(), found["study"][name].double()
        )
    curves = [found[name]["validation curve"] for name in ("running", "renewed")]
    assert len(curves[0]) == len(curves[1]) == 10 and not torch.equal(*curves)
    assert torch.equal(found["running"]["steps by epoch"], found["renewed"]["steps by epoch"])
    for name in ("running", "renewed"):
        assert found[name]["test accuracy"].shape == (len(plan.task.test),)


def test_the_effects_have_names_of_their_own(plan: transfers.Plan) -> None:
    methods = [
        study.Method(name, partial(record_averages.from_scratch, plan, renews))
        for name, renews in ((record_averages.RUNNING, False), (record_averages.RENEWED, True))
    ]
    table = plan.run([*methods, *transfers.methods(plan, ["fine-tuned"])], 20, 3, 1)
    records = record_averages.effects(table)
    assert len({one["id"] for one in records}) == 4
    assert [one["unit"] for one in records] == ["points", "times", "times", "times"]
