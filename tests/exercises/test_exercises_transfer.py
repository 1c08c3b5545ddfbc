"""Chapter 4's exercises: no trace of a check, problems that vary, a body that drifts."""

import copy

import torch
from torch import nn

from vaetl_helpers.exercises import check, get, transfer


def test_switching_gradients_off_everywhere_is_a_crash_with_no_trace(capsys):
    check("transfer.freeze", lambda body: torch.set_grad_enabled(False))
    assert "does not require grad" in capsys.readouterr().out
    assert torch.is_grad_enabled()


def test_the_best_strength_is_neither_always_the_same_nor_always_an_end():
    chosen = []
    for seed in range(4):
        exercise = get("transfer.linear_probe")
        inputs = exercise.draw(seed)
        c = exercise.drive(exercise.reference, inputs)[transfer.CHOSEN]
        assert c in inputs["strengths"]
        chosen.append(c)
    assert len(set(chosen)) == 4 and max(chosen) > inputs["strengths"].min()


def test_the_drifting_function_can_be_shown():
    """Without a gradient the body still changes: what pytorch/tutorials#449 reported."""
    body, head = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)), nn.Linear(4, 2)
    before = copy.deepcopy(body.state_dict())
    transfer.drifting_train_head(
        body, head, torch.randn(8, 3), torch.randint(2, (8,)), steps=3, rate=0.1
    )
    assert all(not torch.equal(value, before[name]) for name, value in body.state_dict().items())
