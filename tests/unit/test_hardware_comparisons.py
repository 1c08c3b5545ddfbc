"""Chapters 2 and 2b beside other machines: estimates, tables, titles and recorded levers."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest
import torch

from vaetl_helpers import hardware_comparisons as comparisons
from vaetl_helpers import plots, study
from vaetl_helpers.machines.compiling import Compared
from vaetl_helpers.practice import bets
from vaetl_helpers.recorded import recorded, recorded_records

ONE, TWO = "CPU, 1 thread", "CPU, 2 threads"
TIMES = {(ONE, 64): [1e-3, 8e-3], (TWO, 64): [1.1e-3, 4e-3]}


def test_an_estimate_is_a_range_from_the_bad_case_to_the_data_sheet() -> None:
    one = comparisons.Estimate("CNN", 8, 1e-3, 9e-3, 4.5e-3, 2e-3, (6e-4, 6e-4))
    assert one.limit == pytest.approx(9)
    assert one.there == pytest.approx((1e-3, 2.4e-3))  # Python decides; four times the roof
    assert one.gains == pytest.approx((9 / 2.4, 9))
    assert one.said == "3.8 to 9.0" and one.said_against_all == "1.9 to 4.5"
    slower = dataclasses.replace(one, roofs_there=(6e-4, 1.2e-3))
    assert slower.there == pytest.approx((1e-3, 4.8e-3)), "the bad rates count in the bad case"
    small = comparisons.Estimate("MLP", 1, 3e-4, 4e-4, 4e-4, 1e-4, (1e-5, 2e-5), late=2e-4)
    assert small.gains == pytest.approx((0.8, 4 / 3)), "the GPU may be the slower one"
    quick = comparisons.Estimate("VAE", 8, 1e-3, 2e-3, 2e-3, 2e-3, (1e-3, 1e-3))
    assert quick.gains == (2, 2) and quick.said == "2.0", "a step below its roof is no shortfall"
    large = comparisons.Estimate("CNN", 512, 1e-3, 0.1, 0.06, 0.1, (1e-3, 2e-3))
    assert large.said == "50 to 100", "no digits that nobody can know"


def test_estimates_have_a_column_for_each_accelerator_that_is_here(
    capsys: pytest.CaptureFixture[str],
) -> None:
    one = comparisons.Estimate("CNN", 8, 1e-3, 9e-3, 5e-3, 2e-3, (1e-4, 2e-4), elsewhere=(5e-4,))
    comparisons.show_estimates([one], "T4", ["L4"])
    header, _, row = capsys.readouterr().out.strip().splitlines()
    cells = dict(zip(header.split(" | "), row.split(" | "), strict=True))
    assert cells["L4, measured"] == "0.50 ms"
    assert cells["all threads, measured"] == "5.00 ms"
    assert cells["T4, predicted"] == "1.00 to 1.00 ms"
    assert (cells["T4: times as fast as 1 thread"], cells["as all threads"]) == ("9.0", "5.0")


def test_what_a_gpu_measures_is_drawn_beside_its_prediction() -> None:
    times = TIMES | {("CUDA", 64): [3e-4, 4e-4]}
    names = {ONE: "1 thread", "CUDA": "T4"}
    lines = comparisons.measured_lines(times, [1, 256], names)
    assert lines == {
        64: {
            "1 thread, measured": ([1, 256], TIMES[ONE, 64]),
            "T4, measured": ([1, 256], [3e-4, 4e-4]),
        }
    }, "and no line of a configuration without a name"
    predicted = {64: {"T4, predicted": ([1, 256], [2e-4, 3e-4])}}
    (axis,) = plots.crossover(lines, predicted, alt="alt")
    weights = {text.get_text(): text.get_fontweight() for text in axis.texts}
    assert weights["T4, measured"] == "bold" and weights["T4, predicted"] == "normal"


def test_it_is_said_where_a_measured_line_lies_inside_its_prediction(
    capsys: pytest.CaptureFixture[str],
) -> None:
    measured = [1, 16, 256], [1e-3, 1.9e-4, 5e-3]
    best, bad = ([1, 16, 256, 4096], [2e-4] * 4), ([1, 16, 256, 4096], [1e-3] * 4)
    comparisons.say_hits("T4", measured, best, bad)
    assert "T4: inside the prediction at 2 of 3 batch sizes." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "short"),
    [("Tesla T4", "T4"), ("NVIDIA GeForce RTX 4090", "RTX 4090"), ("NVIDIA L4", "L4")],
)
def test_a_gpu_has_a_short_name_in_a_figure(
    name: str, short: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _device: name)
    assert comparisons.short_name(torch.device("cuda")) == short


def test_a_speedup_pays_from_the_batch_after_which_it_always_does(
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked = []

    def speedup(width: int, name: str) -> study.Effect:
        asked.append((width, name))
        return study.effect_of(np.log([2.0, 2.1, 1.9]))

    (record,) = comparisons.show_speedups(TIMES, [1, 256], speedup)
    assert asked == [(64, TWO)]
    assert record["id"] == "02/speedup/cpu_2_threads/width_64/batch_256"
    assert "from batch 256 | 0.91 | 2.00" in capsys.readouterr().out


def test_a_title_names_the_quickest_at_both_ends() -> None:
    axes = plots.panels(["width 64"], "alt")
    comparisons.title_by_quickest(axes, TIMES, [1, 256])
    assert "no clear winner (batch 1)\nCPU, 2 threads (batch 256)" in axes[0].get_title()


@pytest.mark.parametrize(
    ("ratios", "answer"),
    [
        ([30.0, 32, 31, 29, 33], "supported"),
        ([0.5, 0.52, 0.51, 0.49, 0.5], "contradicted"),
        ([1.01, 0.99, 1.02, 0.98, 1.0], "no gain"),
        ([0.5, 2, 1, 3, 0.7], "undecided"),
    ],
)
def test_a_gpu_that_is_here_settles_the_bet(ratios: list[float], answer: str) -> None:
    assert comparisons.answered_here(study.effect_of(np.log(ratios))) == answer
    assert answer in bets.find("hardware.essential").choices


def test_free_levers_are_those_whose_interval_begins_highest() -> None:
    of_network = {
        "resident": study.effect_of(np.log([2.0, 2.1, 1.9])),
        "resident, fused": study.effect_of(np.log([1.0, 9.0, 3.0])),
        "resident, fp16": study.effect_of(np.log([5.0, 5.1, 4.9])),
    }
    said = comparisons.free_levers("VAE", of_network)
    assert re.fullmatch(r"VAE: 2\.0 \[1\.\d, 2\.\d\] times as fast\nresident", said)
    unsure = {"resident": study.effect_of(np.log([1.0, 3.0, 1.2]))}
    assert comparisons.free_levers("CNN", unsure).startswith(
        "CNN: no gain is shown here,\nresident"
    )


def test_a_busy_core_is_told_only_where_threads_are_slow_throughout(
    capsys: pytest.CaptureFixture[str],
) -> None:
    comparisons.say_if_busy(TIMES)
    assert not capsys.readouterr().out
    comparisons.say_if_busy(TIMES | {(TWO, 64): [3e-3, 30e-3]})
    assert "another program has a core" in capsys.readouterr().out
    for all_threads, is_busy in ((0.01, False), (0.03, True)):
        one = comparisons.Estimate("CNN", 8, 1e-3, 0.012, all_threads, 2e-3, (6e-4, 6e-4))
        comparisons.show_estimates([one], "T4")
        assert ("another program has a core" in capsys.readouterr().out) == is_busy


def test_operations_are_sorted_by_their_time(capsys: pytest.CaptureFixture[str]) -> None:
    product = np.ones((64, 64), np.float32)

    def step() -> None:
        square = torch.from_numpy(product)
        square @ square + 1

    comparisons.show_operations({"a step": step}, places=2)
    rows = capsys.readouterr().out
    assert "number 2 in time" in rows and re.search(r"`mm`: 1 call, \d+ µs \| \d+ %", rows)
    shares = [int(row.split(" | ")[-1].removesuffix(" % |")) for row in rows.splitlines()[2:]]
    assert shares[-1] == 100 and sum(shares[:-1]) == pytest.approx(100, abs=2)
    assert re.search(r"together \| (\d+) calls", rows)


def test_two_machines_have_opposite_answers_about_bf16() -> None:
    levers = comparisons.recorded_levers()
    without, with_amx = levers["recorded, no AMX"]["VAE"], levers["recorded, AMX"]["VAE"]
    for base in ("resident", "resident, batch 512"):
        assert without[f"{base}, bf16"][2] < without[base][1], "bf16 loses for sure"
        assert with_amx[f"{base}, bf16"][0] > with_amx[base][0]
    assert recorded("02b")["date"] > recorded("02b", "amx")["date"]


def test_rows_of_other_machines_are_by_batch_and_machine() -> None:
    rows = comparisons.bf16_elsewhere(comparisons.recorded_levers())
    assert list(rows) == [f"batch {n}, {kind}" for n in (128, 512) for kind in ("no AMX", "AMX")]
    assert {row: after[0] > before[0] for row, (before, after) in rows.items()} == {
        row: not row.endswith("no AMX") for row in rows
    }


def compared(compiled: float) -> Compared:
    return Compared(
        start=20.0, steps=100, plain=[1.0, 1.01, 0.99], compiled=[compiled, compiled, compiled]
    )


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.5, "4,000 steps"), (1.0, "no gain is shown"), (2.0, "never: it loses")],
)
def test_a_start_is_repaid_only_where_a_gain_is_shown(
    seconds: float, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    comparisons.show_compiled({"VAE": compared(seconds)})
    rows = capsys.readouterr().out
    assert re.search(rf"\| VAE \| 20 s \| .* \| {said} \|", rows)
    assert "| CNN, channels last | - | - | - |" in rows, "only recorded"


def test_compiling_a_network_loses_where_it_was_recorded_and_a_chain_gains() -> None:
    steps = {one["name"]: one for one in recorded("02b", "compile")["records"]}
    vae = steps["VAE: compiled step against a plain one"]
    cnn = steps["CNN, channels last: compiled step against a plain one"]
    assert vae["high"] < 1 and cnn["high"] < vae["low"], "as chapter 2b says"
    chain = steps["a chain of four operations: compiled step against a plain one"]
    assert chain["low"] > 3 and chain["n"] == 10
    starts = [one["value"] for name, one in steps.items() if name[0] != "a" and "start" in name]
    assert min(starts) > 10.5 and max(starts) < 13.5


def test_a_start_is_the_median_of_several() -> None:
    start, step = comparisons.compiled_records("VAE", compared(0.5), [30.0, 10.0, 20.0])
    assert (start["value"], start["n"], start["unit"]) == (20, 3, "s")
    assert step["id"] == "02/compile/vae/step" and step["value"] == pytest.approx(2, rel=0.01)


def test_the_ledger_takes_the_levers_of_one_machine() -> None:
    known = [(one["id"], one["data"]) for one in recorded_records() if "levers" in one["id"]]
    assert len(set(known)) == len(known)
    assert ("02/levers/vae/resident", None) in known


def test_levers_that_a_machine_has_not_tried_are_a_dash(
    capsys: pytest.CaptureFixture[str],
) -> None:
    effect = study.effect_of(np.log([2.0, 2.1, 1.9]))
    comparisons.show_levers({"VAE": {"new": effect}}, {"there": {"VAE": {}}}, 3)
    assert re.search(r"\| VAE \| new \| 2\.00 \[.*\] \| - \|", capsys.readouterr().out)
