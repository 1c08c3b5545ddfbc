"""A film of a VAE: what each frame holds, which frames are shown, and that the run is the same."""

from __future__ import annotations

import base64
import io
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from vaetl_helpers import plots, vae
from vaetl_helpers.data import ImageSet, load
from vaetl_helpers.errors import CourseError
from vaetl_helpers.living import film as f
from vaetl_helpers.training import fit


@pytest.fixture(scope="module")
def digits() -> Any:
    return load("mnist")


def trained(digits: Any, watch: Any, epochs: int = 2, latent: int = 4) -> vae.VAE:
    torch.manual_seed(0)
    model = vae.mlp_vae(latent=latent, widths=[16])
    some = digits.train.subset(slice(256))
    fit(model, some, vae.vae_loss(), epochs=epochs, batch_size=64, quiet=True, watch=watch)
    return model


def test_it_keeps_a_frame_of_each_epoch_and_the_run_is_the_same(digits: Any) -> None:
    film = f.Film(digits.validation, count=50)
    watched, alone = trained(digits, film), trained(digits, None)
    assert sorted(film.frames) == [0, 1, 2]
    for name, value in alone.state_dict().items():
        assert torch.equal(value, watched.state_dict()[name])
    last = film.frames[2]
    watched.eval()
    pictures = digits.validation.images[:50].float() / 255
    with torch.no_grad():
        assert torch.allclose(last.codes, watched.encode(pictures).mean, atol=1e-6)
        noise = torch.randn(25, 4, generator=torch.Generator().manual_seed(0))
        expected = 255 * watched.picture(noise)[:, 0]
    assert (last.samples.float() - expected).abs().max() <= 0.51
    assert np.isnan(film.frames[0].cost) and last.cost > 100


def test_the_sprite_holds_the_frames_below_each_other(digits: Any) -> None:
    film = f.Film(digits.validation, count=50)
    trained(digits, film)
    data = film.data()
    picture = Image.open(io.BytesIO(base64.b64decode(data["sprite"]))).convert("L")
    assert picture.size == (140, 3 * 140) and data["size"] == [140, 140]
    for number in range(3):
        shown = np.asarray(picture)[140 * number : 140 * (number + 1)].astype(int)
        exact = f.tiled(film.frames[number].samples).astype(int)
        assert np.abs(shown - exact).max() <= 9  # half a step of 16 greys
    second = film.frames[2].samples[1].numpy().astype(int)
    assert np.abs(np.asarray(picture)[280:308, 28:56].astype(int) - second).max() <= 9
    plane = np.frombuffer(base64.b64decode(data["plane"]), np.int8)
    assert plane.size == 3 * 50 * 2 and len(data["labels"]) == 50
    assert data["costs"][0] is None and data["epochs"] == [0, 1, 2]


@pytest.mark.parametrize("count", [1, 5, 25, 26, 61, 200])
def test_a_long_run_shows_few_frames_its_first_and_last_and_most_early_ones(count: int) -> None:
    film = f.Film(ImageSet(torch.zeros(3, 1, 8, 8).byte(), torch.arange(3), tuple("abc")))
    blank = torch.zeros(25, 8, 8).byte(), torch.randn(3, 2)
    film.frames = {epoch: f.Frame(epoch, 1.0, *blank) for epoch in range(count)}
    epochs = film.data()["epochs"]
    assert len(epochs) == min(count, f.LONGEST)
    assert epochs[0] == 0 and epochs[-1] == count - 1
    assert epochs == sorted(set(epochs))
    if count > 2 * f.LONGEST:
        assert epochs[:3] == [0, 1, 2] and sum(e < count / 2 for e in epochs) > len(epochs) / 2


def test_two_latents_are_the_plane_and_more_are_seen_where_classes_lie_apart() -> None:
    two = torch.randn(30, 2)
    assert np.allclose(f.plane_of(two, two), two.numpy())
    codes = 5 * torch.randn(300, 6, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(300) % 3
    codes[:, 2], codes[:, 4] = 3.0 * (labels == 1), 3.0 * (labels == 2)
    codes[:, [0, 1, 3, 5]] -= codes[:, [0, 1, 3, 5]].mean(0)
    for label in range(3):  # the other latents tell nothing of the class
        own = labels == label
        codes[own] -= codes[own].mean(0) * torch.tensor([1.0, 1, 0, 1, 0, 1])
    plane = f.plane_of(codes, f.class_means(codes, labels))
    spread = [plane[(labels == label).numpy()].std(0).max() for label in range(3)]
    assert max(spread) < 1e-4, "each class is a point where only latents 3 and 5 are seen"


def test_a_plane_that_was_turned_and_mirrored_is_turned_back() -> None:
    plane = np.random.default_rng(0).normal(size=(40, 2))
    turned = plane @ np.array([[0.6, 0.8], [0.8, -0.6]])
    assert np.allclose(f.turned_to(turned, plane), plane)


def test_where_a_person_watches_one_output_changes(
    digits: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    class Handle:
        def update(self, content: Any) -> None:
            seen.append(content.data)

    def display(content: Any, display_id: bool) -> Handle:
        seen.append(content.data)
        return Handle()

    monkeypatch.setattr(f, "notebook_kernel", lambda: True)
    monkeypatch.setattr(f, "is_interactive", lambda: True)
    monkeypatch.setattr("IPython.display.display", display)
    trained(digits, f.Film(digits.validation, count=50))
    assert len(seen) == 3 and "Before training" in seen[0] and "After epoch 2" in seen[2]
    assert all('alt="Samples' in content for content in seen) and seen[1] != seen[2]


def test_where_nobody_watches_nothing_is_shown(
    digits: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("IPython.display.display", lambda *_: pytest.fail("shown"))
    monkeypatch.setattr(f, "notebook_kernel", lambda: True)
    monkeypatch.setattr(f, "is_interactive", lambda: False)
    trained(digits, f.Film(digits.validation, count=50))
    assert capsys.readouterr().out == ""


def test_what_cannot_be_filmed_is_a_sentence(digits: Any) -> None:
    film = f.Film(digits.validation, count=50)
    with pytest.raises(CourseError, match=r"film is empty.*watch=film"):
        film.show("A film of nothing at all.")
    with pytest.raises(CourseError, match="watches a VAE, not Linear"):
        film(nn.Linear(2, 2), {"epoch": 0})
    with pytest.raises(CourseError, match="count"):
        f.Film(digits.validation, count=0)


def test_the_static_figure_shows_four_moments(digits: Any) -> None:
    plt.close("all")
    film = f.Film(digits.validation, count=50)
    trained(digits, film, epochs=5)
    film.show("A lead.")
    drawn = plt.gcf()
    titles = [axis.get_title() for axis in drawn.axes if axis.get_title()]
    assert titles == ["untrained", "epoch 1", "epoch 2", "epoch 5"]
    assert plots.alt_text(drawn).startswith("A lead. After epoch 5: an image costs")
    plt.close(drawn)
