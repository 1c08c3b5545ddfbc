"""Networks as text: nothing but the rounding of the weights is lost; and the plane made of them."""

from __future__ import annotations

import base64
import json
import zlib

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from torch import nn

from vaetl_helpers import nets, plots
from vaetl_helpers.errors import CourseError
from vaetl_helpers.living import latent_plane, weights


def unpacked(packed: dict) -> list[torch.Tensor]:
    """Weights and biases by the rule that js/common.js follows, written anew."""
    whole = np.frombuffer(zlib.decompress(base64.b64decode(packed["int8"])), "i1")
    real = np.frombuffer(zlib.decompress(base64.b64decode(packed["float32"])), "<f4")
    tensors = []
    for layer in packed["layers"]:
        rows, columns = layer["rows"], layer["columns"]
        if layer["rounded"]:
            scales, real = real[:rows], real[rows:]
            numbers, whole = whole[: rows * columns], whole[rows * columns :]
            weight = numbers.reshape(rows, columns) * scales[:, None]
        else:
            weight, real = real[: rows * columns].reshape(rows, columns), real[rows * columns :]
        bias, real = real[:rows], real[rows:]
        tensors += [torch.tensor(weight), torch.tensor(bias)]
    assert not len(whole) and not len(real), "more numbers than the layers say"
    return tensors


def test_a_packed_network_holds_all_layers_and_rounds_the_large_ones() -> None:
    torch.manual_seed(0)
    network = nets.mlp_decoder(2, [60, 60], activation=nn.GELU, skip=True)
    packed = json.loads(json.dumps(weights.packed(network)))
    kinds = [(layer["activation"], layer["skip"], layer["rounded"]) for layer in packed["layers"]]
    assert kinds == [("GELU", False, False), ("GELU", True, True), ("none", False, True)]
    exact = [parameter.detach() for parameter in network.parameters()]
    copies = [
        parameter.detach() for parameter in weights.with_rounded_weights(network).parameters()
    ]
    for tensor, copy, original in zip(unpacked(packed), copies, exact, strict=True):
        torch.testing.assert_close(tensor, copy, atol=1e-7, rtol=0)
        largest = original.abs().max()
        assert (tensor - original).abs().max() <= 0.501 * largest / weights.LEVELS
    assert torch.equal(copies[0], exact[0]) and not torch.equal(copies[2], exact[2])


def test_a_row_of_zeros_stays_zero() -> None:
    numbers, scales = weights.rounded(torch.tensor([[0.0, 0.0], [1.0, -0.5]]))
    assert numbers.tolist() == [[0, 0], [127, -64]]
    assert torch.isfinite(scales).all()


def test_a_layer_that_no_script_computes_is_named() -> None:
    with pytest.raises(CourseError, match="Tanh"):
        weights.packed(nn.Sequential(nn.Linear(2, 3), nn.Tanh()))


def test_whole_numbers_keep_within_the_reach() -> None:
    text = weights.whole_numbers(np.array([-9.0, -2.0, 0.0, 1.0]), reach=2.0)
    assert np.frombuffer(base64.b64decode(text), "i1").tolist() == [-127, -127, 0, 64]


# ---------------------------------------------------------------- the latent plane


def test_the_planes_hold_the_codes_of_the_test_digits() -> None:
    first, second = latent_plane.planes()
    for plane in (first, second):
        assert plane.codes.shape == (1000, 2)
        inside = np.abs(plane.codes - np.array(plane.centre)).max(1) < plane.reach
        assert 0.99 <= inside.mean() <= 1
    assert first.centre == (0, 0) and second.reach > 2 * first.reach


def test_the_second_point_begins_in_a_hole() -> None:
    _, plane = latent_plane.planes()
    start = np.array(latent_plane.plane_data(draw=False)["autoencoder"]["start"])
    distances = np.linalg.norm(plane.codes - start, axis=1)
    assert distances.min() > plane.reach / 15, "the script would say that codes are near"
    assert np.percentile(np.linalg.norm(plane.codes - np.array(plane.centre), axis=1), 90) > (
        np.linalg.norm(start - np.array(plane.centre))
    )


def test_only_a_sheet_to_draw_on_needs_the_encoder() -> None:
    with_sheet, without = (latent_plane.plane_data(draw=draw) for draw in (True, False))
    assert "encoder" in with_sheet["vae"] and "encoder" not in without["vae"]
    assert len(base64.b64decode(with_sheet["digits"])) == 10 * 784 // 8
    assert len(json.dumps(with_sheet)) < 1.7e6 and len(json.dumps(without)) < 1e6


def test_the_autoencoder_says_where_it_comes_from_and_reconstructs() -> None:
    model = latent_plane.plain_autoencoder()
    digits = latent_plane.ten_digits()
    with torch.no_grad():
        error = (model(digits).sigmoid() - digits).square().sum((1, 2, 3)).mean()
    blank = digits.square().sum((1, 2, 3)).mean()
    assert error < 0.6 * blank


def test_the_static_figure_has_its_text() -> None:
    drawn = latent_plane.static_figure("Two planes full of coloured dots.")
    assert plots.alt_text(drawn) == "Two planes full of coloured dots."
    titles = [axis.get_title() for axis in drawn.axes]
    assert titles[:2] == ["Variational autoencoder", "Plain autoencoder"]
    plt.close(drawn)
