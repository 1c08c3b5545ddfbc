"""Photos of installed packages, and animals drawn by code."""

import pytest
import torch

from vaetl_helpers import transfer
from vaetl_helpers.data.drawn import SIZE, drawn_animals, sample_photos
from vaetl_helpers.errors import CourseError


def test_drawings_are_colour_pictures_that_a_seed_makes_again() -> None:
    drawn = drawn_animals(("dog", "fox"), 3, seed=1)
    assert drawn.images.shape == (6, 3, SIZE, SIZE)
    assert drawn.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert drawn.images.equal(drawn_animals(("dog", "fox"), 3, seed=1).images)
    others = drawn_animals(("dog", "fox"), 3, seed=2)
    pairs = torch.cat([drawn.images, others.images]).flatten(1)
    assert len(pairs.unique(dim=0)) == 12  # no drawing comes twice


def test_an_animal_that_nobody_can_draw_is_refused() -> None:
    with pytest.raises(CourseError, match="did you mean 'fox'"):
        drawn_animals(("dog", "foks"), 1)


def test_the_head_of_imagenet_names_what_the_photos_show() -> None:
    photos = sample_photos()
    network = transfer.backbone("efficientnet-lite0")
    head, names = transfer.imagenet_head()
    answers = head(transfer.features(network, torch.stack(list(photos.values())))).argmax(1)
    said = [names[row] for row in answers.tolist()]
    assert said == ["palace", "daisy", "military uniform"]
