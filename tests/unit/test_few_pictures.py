"""What a handful of pictures shows: leave one out, its interval, near-duplicates, a verdict."""

from __future__ import annotations

import pytest
import torch
from scipy import stats

from vaetl_helpers import transfer
from vaetl_helpers.errors import CourseError
from vaetl_helpers.transfer.few_pictures import SILENT, Interval


def pictures(things: int, shots: int, seed: int = 0) -> tuple[torch.Tensor, ...]:
    """Features of things in bursts, whose classes are not in the features at all."""
    generator = torch.Generator().manual_seed(seed)
    middle = torch.randn(things, 40, generator=generator).repeat_interleave(shots, 0)
    noise = 0.02 * torch.randn(things * shots, 40, generator=generator)
    groups = torch.arange(things).repeat_interleave(shots)
    return middle + noise, groups % 2, groups


def test_without_bursts_shuffled_labels_are_not_foretold_and_with_them_they_are() -> None:
    alone, together = [], []
    for seed in range(10):
        x, y, groups = pictures(8, 3, seed)
        alone.append((transfer.leave_one_out(x, y).argmax(1) == y).double().mean())
        held_out = transfer.leave_one_out(x, y, groups).argmax(1)
        together.append((held_out == y).double().mean())
    assert sum(alone) / 10 > 0.9, "memory"
    assert sum(together) / 10 < 0.6


def test_each_row_is_predicted_by_a_probe_of_the_others() -> None:
    x, y, _ = pictures(10, 1)
    found = transfer.leave_one_out(x, y)
    assert found.shape == (10, 2)
    torch.testing.assert_close(found.sum(1), torch.ones(10, dtype=torch.float64))
    rest = torch.arange(10) != 3
    probe = transfer.linear_probe(x[rest], y[rest], grid=(0.01,), scalings=("one factor",))
    expected = torch.from_numpy(probe.pipeline.predict_proba(x[3:4].double().numpy()))
    torch.testing.assert_close(found[3:4], expected)


def test_one_kind_of_thing_cannot_be_told_apart() -> None:
    x, _, _ = pictures(4, 1)
    with pytest.raises(CourseError, match="pictures of another thing"):
        transfer.leave_one_out(x, torch.zeros(4, dtype=torch.long))


def test_a_probe_with_nothing_to_choose_needs_no_second_row_of_a_class() -> None:
    x, y = torch.tensor([[0.0], [1.0], [1.1]]), torch.tensor([0, 1, 1])
    probe = transfer.linear_probe(x, y, grid=(1,), scalings=("one factor",))
    assert probe.c == 1 and probe.predict(torch.tensor([[0.0], [1.0]])).tolist() == [0, 1]
    with pytest.raises(CourseError, match="two rows of each"):
        transfer.linear_probe(x, y)


def test_a_class_of_one_thing_cannot_be_left_out() -> None:
    x, y, _ = pictures(4, 2)
    with pytest.raises(CourseError, match="Without group 0 no picture of class 0 is left"):
        transfer.leave_one_out(x, y, y)
    with pytest.raises(CourseError, match="8 rows need as many group numbers"):
        transfer.leave_one_out(x, y, torch.zeros(3, dtype=torch.long))


@pytest.mark.parametrize("hits", [0, 1, 13, 20])
def test_the_interval_is_that_of_clopper_and_pearson(hits: int) -> None:
    right = torch.arange(20) < hits
    found = transfer.share_interval(right)
    expected = stats.binomtest(hits, 20).proportion_ci(method="exact")
    assert found == pytest.approx((hits / 20, expected.low, expected.high))


def test_with_groups_there_are_as_many_trials_as_groups() -> None:
    right = torch.ones(20, dtype=torch.bool)
    groups = torch.arange(20) // 5
    assert transfer.share_interval(right, groups)[1:] == pytest.approx((0.3976, 1.0), abs=1e-4)
    right[:5] = False
    expected = stats.binomtest(3, 4).proportion_ci(method="exact")
    assert transfer.share_interval(right, groups)[1:] == pytest.approx(tuple(expected))
    with pytest.raises(CourseError, match="one truth value a picture"):
        transfer.share_interval(torch.zeros(0))


def test_bursts_are_found_by_their_distance() -> None:
    x, _, groups = pictures(6, 3)
    order = torch.randperm(18, generator=torch.Generator().manual_seed(0))
    found = transfer.bursts(x[order])
    same = found[:, None] == found
    truly = groups[order][:, None] == groups[order]
    assert same.equal(truly)
    lonely, _, _ = pictures(12, 1)
    assert transfer.bursts(lonely).tolist() == list(range(12))
    with pytest.raises(CourseError, match="not all the same"):
        transfer.bursts(torch.ones(3, 2))


def test_the_middle_is_covered_and_the_rim_is_not() -> None:
    images = torch.full((2, 3, 100, 60), 7, dtype=torch.uint8)
    covered = transfer.with_middle_covered(images)
    assert (covered[:, :, 50, 30] == 128).all() and (covered[:, :, 5, 5] == 7).all()
    assert (covered == 128).double().mean().item() == pytest.approx(0.49, abs=0.02)
    assert (images == 7).all()


HIGH, MIDDLE, LOW = Interval(1.0, 0.83, 1.0), Interval(0.8, 0.6, 0.9), Interval(0.65, 0.26, 0.93)


@pytest.mark.parametrize(
    ("grouped", "covered", "groups", "says", "says_not"),
    [
        (MIDDLE, LOW, 20, "can be told apart on pictures of this kind: 80 %", "near-duplicates"),
        (LOW, LOW, 8, "do not show that the classes can be told apart", "middle covered"),
        (LOW, LOW, 8, "together costs 35 points, so do not quote the first number", "rim"),
        (HIGH, MIDDLE, 18, "together costs 0 points.", "do not quote"),
        (MIDDLE, MIDDLE, 20, "With their middle covered, 80 % are still right", "costs"),
        (None, LOW, 2, "photograph more things", "costs"),
    ],
)
def test_the_verdict_follows_the_numbers(
    grouped: Interval | None, covered: Interval, groups: int, says: str, says_not: str
) -> None:
    sentences = transfer.verdict_on(HIGH, grouped, covered, 0.5, (20, groups))
    text = " ".join(sentences)
    assert says in text and says_not not in text
    assert sentences[-1] == SILENT, "what is not contained is always said"
