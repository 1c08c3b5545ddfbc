"""Chapter 4's methods: what they start from, what they return, and what they leave alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from vaetl_helpers import study, supervised_transfer
from vaetl_helpers.data import tasks
from vaetl_helpers.data.shifts import SHIFTS
from vaetl_helpers.errors import CourseError
from vaetl_helpers.supervised_transfer import Plan


@pytest.fixture(scope="module")
def plan() -> Plan:
    return Plan.of(tasks.load_task("tops"), steps=4, shifts=SHIFTS)


@pytest.fixture(scope="module")
def draw(plan: Plan) -> study.Draw:
    return study.draw_labels(plan.task.pool.labels, 2, 1, 0)[0]


def test_a_new_head_keeps_the_shared_row_and_the_body(plan: Plan) -> None:
    source: Any = plan.sources[0]
    model: Any = supervised_transfer.with_new_head(source, plan.task, 3)
    assert plan.task.keep == {0: 0}
    assert model.head.weight[0].equal(source.head.weight[0])
    assert not model.head.weight[1].equal(source.head.weight[1])
    for name, value in model[:-1].state_dict().items():
        assert value.equal(source[:-1].state_dict()[name])


def test_source_models_take_turns(plan: Plan, draw: study.Draw) -> None:
    assert plan.source_of(draw) is plan.sources[draw.pretrain_seed % 10]
    alone = Plan(plan.task, plan.sources[:1], plan.facts, plan.steps)
    assert alone.source_of(draw) is plan.sources[0]


def test_a_frozen_body_needs_less_work(plan: Plan) -> None:
    assert 0 < 2 * plan.work["head"] < plan.work["all"]


@pytest.mark.parametrize("name", supervised_transfer.METHODS)
def test_every_method_returns_what_is_compared(plan: Plan, draw: study.Draw, name: str) -> None:
    before = {key: value.clone() for key, value in plan.source_of(draw).state_dict().items()}
    (method,) = supervised_transfer.methods(plan, [name])
    found = method.run(draw)
    assert found["test accuracy"].shape == found["shifted accuracy"].shape == (400,)
    assert found["test accuracy"].dtype == torch.bool and len(found["validation curve"])
    if name != "zero labels":
        spent = found["FLOPs by epoch"]
        assert len(spent) == len(found["validation curve"]) and (spent.diff() >= 0).all()
    assert all(value.equal(before[key]) for key, value in plan.source_of(draw).state_dict().items())


def test_shifted_images_are_measured_where_a_plan_asks(plan: Plan, draw: study.Draw) -> None:
    without = Plan(plan.task, plan.sources, plan.facts, plan.steps)
    found = supervised_transfer.zero_labels(without, draw)
    asked = supervised_transfer.zero_labels(plan, draw)
    shifted = {"shifted accuracy", *(f"accuracy, {kind}" for kind in SHIFTS)}
    assert set(asked) - set(found) == shifted and set(found) < set(asked)


@pytest.mark.parametrize("remedy", supervised_transfer.REMEDIES)
def test_forgetting_is_measured_on_both_tasks(plan: Plan, draw: study.Draw, remedy: str) -> None:
    found = supervised_transfer.remember(remedy, plan, draw)
    assert found["test accuracy"].shape == (400,)
    assert len(found["source accuracy"]) == len(plan.task.source_test)


def test_the_saved_head_stands_on_the_tuned_body(plan: Plan, draw: study.Draw) -> None:
    model = supervised_transfer.tuned_with("none", plan, draw)
    back = supervised_transfer.with_saved_head(model, plan, draw)
    found = supervised_transfer.remember("none", plan, draw)["source accuracy"]
    assert supervised_transfer.correct(back, plan.task.source_test).equal(found)
    assert back[0][0] is model[0] and back[1] is plan.source_of(draw).head


def test_no_remedy_is_fine_tuning_so_that_a_study_need_not_train_it_twice(
    plan: Plan, draw: study.Draw
) -> None:
    without = supervised_transfer.remember("none", plan, draw)
    tuned = supervised_transfer.fine_tuned(plan, draw)
    for metric in ("test accuracy", "shifted accuracy"):
        assert without[metric].equal(tuned[metric])


def test_the_untouched_source_is_what_forgetting_is_measured_against(
    plan: Plan, draw: study.Draw
) -> None:
    found = supervised_transfer.untouched(plan, draw)["source accuracy"]
    assert found.equal(supervised_transfer.correct(plan.source_of(draw), plan.task.source_test))


def test_a_head_that_is_fitted_anew_leaves_the_body_and_finds_the_old_task(
    plan: Plan, draw: study.Draw
) -> None:
    source, test = plan.source_of(draw), plan.task.source_test
    before = {key: value.clone() for key, value in source.state_dict().items()}
    head = supervised_transfer.refitted(source, plan.task)
    accuracy = head.accuracy(supervised_transfer.features_of(test, source), test.labels)
    found = supervised_transfer.untouched(plan, draw)["source accuracy, new head"]
    assert accuracy == pytest.approx(found.float().mean().item()) and accuracy > 0.85
    assert all(value.equal(before[key]) for key, value in source.state_dict().items())
    tuned = supervised_transfer.remember("none", plan, draw)["source accuracy, new head"]
    assert tuned.shape == found.shape


def test_a_few_old_images_can_be_rehearsed(
    plan: Plan, draw: study.Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def fake(images: Any, source: Any, count: int, *_: Any) -> Any:
        asked.append(count)
        return images

    monkeypatch.setattr(supervised_transfer.transfer, "rehearsal", fake)
    supervised_transfer.tuned_with("rehearsal", plan, draw, old=3)
    supervised_transfer.tuned_with("rehearsal", plan, draw)
    assert asked == [3, len(draw.indices)]


def test_what_a_shift_does_to_a_lead_is_a_difference_of_two_differences() -> None:
    clean, shifted = torch.tensor([1.0, 0.0]), torch.tensor([0.5, 0.0])
    found = {
        "a": {"test accuracy": clean == 1, "shifted accuracy": 100 * shifted},
        "b": {"test accuracy": clean == 0, "shifted accuracy": 100 * clean},
    }
    methods = [study.Method(name, lambda _, each=each: each) for name, each in found.items()]
    table = study.run_study("shifts", methods, [2], 2, labels=torch.tensor([0, 1] * 8))
    changed = supervised_transfer.with_change_by_shift(table)
    metric = supervised_transfer.CHANGE_BY_SHIFT
    assert changed.mean("a", metric, 2) == -25 and changed.mean("b", metric, 2) == 0
    assert study.paired(changed, "a", "b", metric, 2).effect == -25
    assert metric not in table.known("metric")


def test_unknown_names_are_refused(plan: Plan, draw: study.Draw) -> None:
    with pytest.raises(CourseError, match="did you mean 'scratch'"):
        supervised_transfer.methods(plan, ["scratc"])
    with pytest.raises(CourseError, match="did you mean 'rehearsal'"):
        supervised_transfer.remember("rehearsl", plan, draw)


def test_the_networks_of_a_study_of_layers_become_methods(plan: Plan, draw: study.Draw) -> None:
    right = {"base": [True, False], "A1B": [True, True]}
    found = {f"test accuracy of {name}": torch.tensor(each) for name, each in right.items()}
    table = study.run_study(
        "layers", [study.Method("layers", lambda _: found)], [4], 2, labels=plan.task.pool.labels
    )
    networks = supervised_transfer.as_methods(table)
    assert networks.mean("base", "test accuracy", 4) == 50
    assert study.paired(networks, "A1B", "base", "test accuracy", 4).effect == 50


def test_rates_by_depth_are_compared_with_equal_ones_and_with_frozen_blocks(
    plan: Plan, draw: study.Draw
) -> None:
    found = supervised_transfer.rates(plan, draw)
    names = {"equal", "equal, lower", "by depth", "two frozen"}
    assert found.keys() == {f"test accuracy of {name}" for name in names}
    assert all(right.shape == (400,) for right in found.values())
    accuracies = {float(right.float().mean()) for right in found.values()}
    assert len(accuracies) > 1
