"""Image sets: checked once; and rows of a batch, which what is computed from them knows."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from vaetl_helpers.data import ImageSet
from vaetl_helpers.data.images import Rows, images_of_rows, rows_of
from vaetl_helpers.errors import CourseError

ROWS = Rows(2, 5, 10, is_last=False)


def image_set() -> ImageSet:
    pixels = torch.randint(0, 256, (10, 1, 4, 4), dtype=torch.uint8)
    return ImageSet(pixels, torch.arange(10) % 3, tuple("abc"))


def test_a_set_is_checked_when_it_is_built_and_not_again(monkeypatch: pytest.MonkeyPatch) -> None:
    checked = image_set()
    for name in ("min", "max", "any", "all"):
        monkeypatch.setattr(Tensor, name, lambda self: pytest.fail("a reduction"))
    moved = checked.to("cpu")
    some = checked.subset(torch.tensor([7, 1]))
    first = checked.subset(slice(0, 3))
    assert (len(moved), len(some), len(first)) == (10, 2, 3)
    assert torch.equal(some.images[1], checked.images[1])
    assert some.labels.tolist() == [1, 1]
    assert some.classes == checked.classes


def test_a_subset_of_nothing_is_refused() -> None:
    with pytest.raises(CourseError, match="n ≥ 1"):
        image_set().subset(slice(0, 0))


def batch() -> Tensor:
    return torch.rand(10, 1, 4, 4, generator=torch.Generator().manual_seed(0))


COMPUTED = {
    "the images": lambda x: x,
    "another type": lambda x: x.double(),
    "a network": nn.Sequential(nn.Flatten(), nn.Linear(16, 3), nn.ReLU()),
    "one of two halves": lambda x: x.flatten(1).chunk(2, 1)[1],
    "a named result": lambda x: x.flatten(1).max(1).values,
    "a keyword": lambda x: torch.relu(input=x),
    "a list": lambda x: torch.cat([torch.zeros(1, 1, 4, 4), x]),
    "in place": lambda x: torch.rand(3, 1, 4, 4).lt_(x),
    "a compiled network": torch.compile(nn.Flatten(), backend="eager"),
}


@pytest.mark.parametrize("name", COMPUTED)
def test_what_is_computed_from_rows_of_a_batch_knows_them(name: str) -> None:
    result = COMPUTED[name](images_of_rows(batch(), ROWS))
    assert rows_of(result) == ROWS
    assert rows_of(COMPUTED[name](batch()[2:5])) is None


def test_rows_do_not_change_values_or_gradients() -> None:
    plain, knowing = (nn.Sequential(nn.Flatten(), nn.Linear(16, 3)) for _ in range(2))
    knowing.load_state_dict(plain.state_dict())
    plain(batch()[2:5]).square().sum().backward()
    knowing(images_of_rows(batch(), ROWS)).square().sum().backward()
    for one, other in zip(plain.parameters(), knowing.parameters(), strict=True):
        assert torch.equal(one.grad, other.grad)
        assert type(other.grad) is Tensor
