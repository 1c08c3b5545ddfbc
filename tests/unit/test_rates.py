"""The study of rates and batch sizes: what is shown of it, and what chapter 1 says of it."""

from __future__ import annotations

import base64
import math

import matplotlib.pyplot as plt
import numpy as np
import pytest

from vaetl_helpers import plots, recorded
from vaetl_helpers.living import rates


def test_losses_keep_half_a_thousandth_of_a_nat() -> None:
    losses = np.array([0.40149, 2.302585, 70.0, np.nan, np.inf], np.float32)
    whole = np.frombuffer(base64.b64decode(rates.packed(losses)), "<u2")
    assert whole.tolist() == [401, 2303, 65535, 65535, 65535]


def test_a_run_without_a_loss_has_diverged() -> None:
    assert rates.diverged(np.array([0.5, math.log(10), np.nan, 3.0], np.float32)) == 3


def test_the_text_says_what_the_arrays_say() -> None:
    arrays, facts = recorded.recorded_arrays("01b_rates")
    row, column = facts["rates"].index(1.0), facts["batches"].index(16)
    last = [float(run[-1]) for run in arrays["validation"][row, column]]
    failed = sum(not loss < math.log(10) for loss in last)
    said = (
        f"Rate 1, batch size 16: validation loss {sum(last) / 5:.2f} nats at the end, {failed} of "
        "5 runs diverged."
    )
    assert rates.in_words(1.0, 16, np.array(last, np.float32)) == said


def test_the_static_figure_has_the_text_and_a_cell_for_each_setting() -> None:
    plt.close("all")
    rates.rate_study("A lead.", rate=1.0, batch=16)
    drawn = plt.gcf()
    assert plots.alt_text(drawn).startswith("A lead. Rate 1, batch size 16: validation loss")
    _curves, chart = drawn.axes
    cells = [text.get_text() for text in chart.texts]
    assert len(cells) == 54 and "0.40" in cells and "2.32\n5 of 5" in cells
    plt.close(drawn)


def test_a_rate_that_was_not_recorded_is_refused() -> None:
    with pytest.raises(ValueError, match="0.3"):
        rates.rate_study("A lead.", rate=0.3)


def test_an_untrained_network_starts_at_log_10() -> None:
    arrays, _ = recorded.recorded_arrays("01b_rates")
    assert np.allclose(arrays["validation"][..., 0], math.log(10), atol=0.1)


def test_chapter_1_says_what_the_arrays_say() -> None:
    arrays, facts = recorded.recorded_arrays("01b_rates")
    last, rates, batches = arrays["validation"][..., -1], facts["rates"], facts["batches"]
    mean, failed = last.mean(2), (~(last < math.log(10))).sum(2)
    best = {batch: rates[row] for batch, row in zip(batches, mean.argmin(0), strict=True)}
    assert (best[16], best[128], best[512]) == (0.05, 0.2, 0.5) and list(best.values()) == sorted(
        best.values()
    )
    assert [f"{mean[row, row]:.2f}" for row in range(3)] == ["0.53", "0.54", "0.54"]
    assert (rates[:3], batches[:3]) == ([0.005, 0.01, 0.02], [16, 32, 64])
    assert (mean[rates.index(1.0)] > 1.8).all()
    assert (failed[rates.index(1.0), : batches.index(128) + 1] > 2.5).all()
    assert failed[rates.index(2.0)].sum() >= 29 and not failed[: rates.index(0.5)].any()
    assert (f"{mean[:, 0].min():.2f}", f"{mean[:, -1].min():.2f}") == ("0.40", "0.56")
