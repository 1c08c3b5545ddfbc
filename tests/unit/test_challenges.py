"""Challenges: rules, scores, and where a score stands among recorded ones."""

from __future__ import annotations

import ast
import json
import random
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from vaetl_helpers import nets, plots, progress, vae
from vaetl_helpers.authoring.assets import record_challenges
from vaetl_helpers.data import load
from vaetl_helpers.data.images import ImageSet
from vaetl_helpers.errors import CourseError
from vaetl_helpers.practice import challenges
from vaetl_helpers.training import evaluate, fit

RECORDED = sorted(challenges.FOLDER.glob("*.json"))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, and a person who works in a notebook."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(progress, "is_interactive", lambda: True)
    monkeypatch.setattr(progress, "notebook_kernel", object)
    monkeypatch.setattr(progress, "unwritten", [])
    for name in ("VAETL_GRADING", "NBGRADER_EXECUTION"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


# ---------------------------------------------------------------- scores


def test_the_minute_is_scored_by_the_bound_on_the_test_digits() -> None:
    def untrained(digits: ImageSet, seconds: float) -> nn.Module:
        model = vae.mlp_vae(latent=2)
        nn.init.zeros_(model.decoder[-2].weight)
        nn.init.zeros_(model.decoder[-2].bias)
        nn.init.zeros_(model.encoder.mu.weight)
        nn.init.zeros_(model.encoder.mu.bias)
        nn.init.zeros_(model.encoder.log_var.weight)
        nn.init.zeros_(model.encoder.log_var.bias)
        return model

    # Logits 0 cost log 2 a pixel, and a code that follows the prior costs nothing.
    state = torch.get_rng_state()
    assert challenges.play_minute(untrained, 60) == pytest.approx(784 * np.log(2), rel=1e-5)
    torch.manual_seed(7)
    assert challenges.play_minute(untrained, 60) == challenges.play_minute(untrained, 60)
    torch.set_rng_state(state)


def test_the_probe_is_scored_by_its_mean_over_five_draws() -> None:
    seen: list[Tensor] = []

    def always_three(labelled: ImageSet) -> Any:
        seen.append(labelled.images)
        assert labelled.labels.bincount().tolist() == [2] * 10
        return lambda images: np.full(len(images), 3)

    test = load("mnist").test
    share = 100 * (test.labels == 3).double().mean().item()
    assert challenges.play_twenty_labels(always_three, 60) == pytest.approx(share)
    assert len(seen) == 5 and not torch.equal(seen[0], seen[1])


def test_the_smallest_network_is_scored_by_its_parameters() -> None:
    def train(digits: ImageSet, seconds: float) -> nn.Module:
        torch.manual_seed(0)
        model = nets.mlp_classifier(width=64)
        fit(model, digits, epochs=8, batch_size=64, quiet=True)
        return model

    assert challenges.play_smallest(train, 60) == 784 * 64 + 64 + 64 * 10 + 10
    with pytest.raises(CourseError, match="goal is 90 %"):
        challenges.play_smallest(lambda digits, seconds: nets.mlp_classifier(64), 60)


def test_all_that_an_adaptation_computes_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(challenges, "ENOUGH_SHIRTS", 0.0)

    def multiply(source: nn.Module, labelled: ImageSet) -> nn.Module:
        assert labelled.labels.bincount().tolist() == [50, 50]
        torch.ones(100, 50) @ torch.ones(50, 30)
        return source

    assert challenges.play_cheapest(multiply, 60) == pytest.approx(2 * 100 * 50 * 30 / 1e6)
    monkeypatch.undo()
    with pytest.raises(CourseError, match="goal is 81 %"):  # nothing at all is not enough
        challenges.play_cheapest(lambda source, labelled: source, 60)


# ---------------------------------------------------------------- rules


@pytest.mark.parametrize(
    ("play", "answer", "says"),
    [
        (challenges.play_minute, lambda *_: None, "NoneType and not a VAE"),
        (challenges.play_minute, lambda *_: nets.mlp_classifier(8), "Sequential and not a VAE"),
        (challenges.play_smallest, lambda *_: 3, "int and not a network"),
        (challenges.play_twenty_labels, lambda _: None, "NoneType and not a function"),
        (challenges.play_twenty_labels, lambda _: lambda x: x, "one label for each"),
    ],
)
def test_an_answer_of_another_kind_is_refused(play: Any, answer: Any, says: str) -> None:
    with pytest.raises(CourseError, match=says):
        play(answer, 60)


def test_an_answer_that_takes_too_long_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([0.0, 68.0, 0.0, 66.0])
    monkeypatch.setattr(challenges.time, "process_time", lambda: next(times))
    threads = torch.get_num_threads()
    with pytest.raises(CourseError, match="took 68 s of CPU time where 60 s are allowed"):
        challenges.in_time(lambda: 1, 60)
    assert challenges.in_time(lambda: 1, 60) == 1
    assert torch.get_num_threads() == threads


def test_what_is_no_challenge_or_no_function_is_refused(here: Path) -> None:
    with pytest.raises(CourseError, match=r"vae\.minute"):
        challenges.challenge("vae.minutes")
    with pytest.raises(CourseError, match=r"not what it returns \(Sequential\)"):
        challenges.challenge("training.smallest", nets.mlp_classifier(8))


# ---------------------------------------------------------------- among random settings


@pytest.mark.parametrize("id", challenges.CHALLENGES)
def test_a_score_stands_among_the_recorded_ones(id: str) -> None:
    chosen = challenges.CHALLENGES[id]
    recorded = {"scores": [1.0, 2.0, 3.0, None]}
    lower, higher = ("3 of 4", "2 of 4") if chosen.is_lower_better else ("2 of 4", "3 of 4")
    assert lower in challenges.placed(chosen, 1.5, recorded)
    assert higher in challenges.placed(chosen, 2.5, recorded)
    assert "No distribution" in challenges.placed(chosen, 2.5, None)


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_a_recorded_distribution_can_be_made_again(path: Path) -> None:
    recorded = json.loads(path.read_text("utf-8"))
    assert recorded["challenge"] == path.stem in challenges.CHALLENGES
    assert len(recorded["scores"]) == len(recorded["settings"]) >= 20
    assert {"command", "commit", "date", "machine", "versions"} <= recorded.keys()
    draw, _ = record_challenges.SETTINGS[path.stem]
    for setting in recorded["settings"]:
        number = setting.pop("number")
        assert draw(random.Random(f"{path.stem} {number}")) == setting


def test_every_challenge_can_be_recorded_and_shows_an_answer() -> None:
    assert record_challenges.SETTINGS.keys() == challenges.CHALLENGES.keys()
    for chosen in challenges.CHALLENGES.values():
        names = [getattr(node, "name", None) for node in ast.parse(chosen.example).body]
        assert "mine" in names


def test_a_score_is_noted_and_drawn(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recorded = {"scores": [10.0, 30.0, None], "seconds": 3, "machine": "m", "date": "d"}
    monkeypatch.setattr(challenges, "recorded_scores", lambda id: recorded)
    monkeypatch.setattr(challenges, "play_smallest", lambda answer, seconds: 20.0)
    entry = challenges.CHALLENGES["training.smallest"]
    stand_in = challenges.Challenge(
        **{**vars(entry), "play": lambda answer, seconds: 6.0 * seconds}
    )
    monkeypatch.setitem(challenges.CHALLENGES, "training.smallest", stand_in)
    shown: list[Any] = []
    monkeypatch.setattr(plt, "show", lambda: shown.append(plt.gcf()))
    challenges.challenge("training.smallest", lambda digits, seconds: None)
    assert "better than 2 of 3 random settings" in capsys.readouterr().out
    assert [entry["score"] for entry in progress.entries()] == [18.0]  # the recorded seconds
    assert "a line at 18" in plots.alt_text(shown[0])
    plt.close(shown[0])


def test_where_nobody_works_nothing_is_run(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "is_interactive", lambda: False)

    def never(*_: Any) -> Any:
        raise AssertionError

    challenges.challenge("vae.minute", never)
    assert "Challenge vae.minute" in capsys.readouterr().out and not list(here.iterdir())


# ---------------------------------------------------------------- recording in pieces


def test_a_recording_goes_on_where_it_was_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scored: list[str] = []

    def play(answer: Any, seconds: float) -> float | None:
        scored.append("x")
        if len(scored) == 2:
            raise CourseError("misses the goal")
        return float(len(scored))

    entry = challenges.CHALLENGES["training.smallest"]
    stand_in = challenges.Challenge(**{**vars(entry), "play": play})
    monkeypatch.setitem(challenges.CHALLENGES, "training.smallest", stand_in)
    journal = tmp_path / "lines.jsonl"
    first = record_challenges.run("training.smallest", 2, 3.0, journal, 1e9)
    with journal.open("a") as file:
        file.write('{"number": 2, "sco')  # cut off by a kill
        file.write("\n")
    both = record_challenges.run("training.smallest", 4, 3.0, journal, 1e9)
    assert both[:2] == first and [line["score"] for line in both] == [1.0, None, 3.0, 4.0]
    assert record_challenges.run("training.smallest", 9, 3.0, journal, 0) == both


def test_a_setting_is_trained_for_its_cpu_time_alone() -> None:
    digits = load("mnist").train
    setting = {"kind": "mlp", "width": 16, "batch_size": 64, "rate": 3e-3}
    torch.manual_seed(0)
    model = record_challenges.smallest_answer(setting)(digits, 3.0)  # PyTorch loads parts of itself
    assert evaluate(model, load("mnist").test)["accuracy"] > 0.5


def test_a_large_score_is_no_power_of_ten() -> None:
    assert [challenges.number_text(one) for one in (35_630, 2_826.4, 144.74, 0.25)] == [
        "35,630",
        "2,826",
        "144.7",
        "0.25",
    ]
