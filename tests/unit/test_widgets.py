"""The controls: a figure where nobody can move them, otherwise moved by value; and the arrays that
they show.
"""

from __future__ import annotations

import base64
import html
import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ipywidgets
import matplotlib.pyplot as plt
import numpy as np
import pytest

from vaetl_helpers import plots, recorded, study, widgets

CONTROLS: dict[
    str, tuple[Callable[..., None], dict[str, Any]]
] = {  # each with another value of each of its choices
    "thresholds": (
        widgets.thresholds,
        {"method": "scratch", "labels": 100, "draw": 5, "threshold": 0.1},
    ),
}
each = pytest.mark.parametrize("name", CONTROLS)


@pytest.fixture(autouse=True)
def no_figure_is_left() -> Iterator[None]:
    plt.close("all")
    yield
    plt.close("all")


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What a watched control displays."""
    seen: list[Any] = []
    monkeypatch.setattr(widgets, "is_interactive", lambda: True)
    monkeypatch.setattr("IPython.display.display", seen.append)
    return seen


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """The function that draws a control's picture, and its choices."""

    def of(name: str) -> Any:
        kept = SimpleNamespace()
        monkeypatch.setattr(
            widgets,
            "explore",
            lambda draw, choices, *_: kept.__dict__.update(draw=draw, it=choices),
        )
        CONTROLS[name][0](alt="Lead.")
        starts = {key: start for key, (_, _, start) in kept.it.items()}

        def alt(**values: Any) -> str:
            figure = kept.draw(**starts | values)
            plt.close(figure)
            return plots.alt_text(figure)

        return SimpleNamespace(choices=kept.it, alt=alt)

    return of


# ---------------------------------------------------------------- a figure, or a control


@each
def test_where_nobody_watches_there_is_one_figure(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(widgets, "is_interactive", lambda: False)
    monkeypatch.setattr("IPython.display.display", lambda *_: pytest.fail("a control was shown"))
    monkeypatch.setattr(ipywidgets, "VBox", None)  # not even made: a notebook would store its state
    CONTROLS[name][0](alt="Lead.")
    (number,) = plt.get_fignums()
    figure = plt.figure(number)
    assert plots.alt_text(figure).startswith("Lead.")
    assert all(axis.get_title() for axis in figure.axes)
    assert all(
        axis.get_xlabel() and axis.get_ylabel() for axis in figure.axes if axis.get_xticks().size
    )


@each
def test_every_choice_has_a_label_and_a_keyboard(name: str, shown: list[Any]) -> None:
    CONTROLS[name][0](alt="Lead.")
    *controls, image = shown[0].children
    assert len(controls) == len(CONTROLS[name][1])
    assert all(control.description for control in controls)
    assert {type(control) for control in controls} == {
        ipywidgets.SelectionSlider
    }  # see test_browser_controls.py
    assert isinstance(image, ipywidgets.HTML)


@each
def test_moving_a_value_changes_picture_and_alternative_text(name: str, shown: list[Any]) -> None:
    CONTROLS[name][0](alt="Lead <1>.")
    *controls, image = shown[0].children
    for control, value in zip(controls, CONTROLS[name][1].values(), strict=True):
        before, said = image.value, alt_of(image)
        assert control.value != value and said.startswith("Lead <1>.")
        control.value = value
        assert image.value != before and alt_of(image) != said
        assert base64.b64decode(re.search(r"base64,([^\"]+)", image.value)[1]).startswith(
            b"\x89PNG"
        )
    assert not plt.get_fignums()


def alt_of(image: Any) -> str:
    return html.unescape(re.search(r'alt="([^"]*)"', image.value)[1])


@pytest.mark.slow
@each
def test_the_ends_of_every_choice_can_be_drawn(name: str, plain: Callable[[str], Any]) -> None:
    control = plain(name)
    for key, (_, options, start) in control.choices.items():
        assert start in options
        for option in options if isinstance(start, str) else (options[0], options[-1]):
            assert control.alt(**{key: option}).startswith("Lead.")


# ---------------------------------------------------------------- what was recorded

SHAPES = {
    "01b_rates": {"training": (9, 6, 5, 11), "validation": (9, 6, 5, 11)},
    "04_thresholds": {
        "validation": (3, 5, 5, 100),
        "test": (3, 5, 5, 400),
        "validation_labels": (100,),
        "test_labels": (400,),
    },
}


@pytest.mark.parametrize("name", SHAPES)
def test_recorded_arrays_carry_their_facts(name: str) -> None:
    arrays, facts = recorded.recorded_arrays(name)
    assert {key: array.shape for key, array in arrays.items()} == SHAPES[name]
    assert {"command", "commit", "date", "machine", "versions", "data"} <= facts.keys()
    assert ".record_controls " in facts["command"]
    assert facts["label"] == f"recorded ({facts['machine']}, {facts['date']})"
    path = Path(widgets.__file__).parent / "recorded" / f"{name}.safetensors"
    assert path.stat().st_size < 200_000 and path.stat().st_mode & 0o044 == 0o044


def test_the_confusion_table_is_that_of_the_arrays(plain: Callable[[str], Any]) -> None:
    arrays, _ = recorded.recorded_arrays("04_thresholds")
    shirt, odds = (
        arrays["validation_labels"].astype(bool),
        arrays["validation"][2, 0, 3].astype(float),
    )
    says = odds >= math.log(0.3 / 0.7)
    hits, misses, false = (int(part.sum()) for part in (says & shirt, ~says & shirt, says & ~shirt))
    assert misses > 0 and false > 0
    said = (
        f"accuracy {100 - misses - false}, precision {100 * hits / (hits + false):.0f}, recall "
        f"{2 * hits} %"
    )
    said += f"; shirt found {hits}, overlooked {misses}, pullover taken for shirt {false}."
    asked = {"method": "fine-tuned", "labels": 5, "draw": 4, "threshold": 0.3}
    assert (
        plain("thresholds").alt(**asked)
        == f"Lead. fine-tuned, 5 a class, draw 4: shirt from 0.3: {said}"
    )


def test_where_nothing_is_found_there_is_no_precision() -> None:
    counts, (accuracy, precision, recall) = widgets.confusion(
        np.array([True, False, False]), np.zeros(3), 0.5
    )
    assert counts.tolist() == [[2, 0], [1, 0]] and recall == 0 and math.isnan(precision)
    assert accuracy == pytest.approx(200 / 3)


def test_the_probabilities_are_of_networks_like_those_of_the_recorded_study() -> None:
    """Of one source model and five draws, where the study has ten of each."""
    arrays, facts = recorded.recorded_arrays("04_thresholds")
    table, shirt = study.recorded_table("04", "tops"), arrays["test_labels"] == 1
    for m, method in enumerate(facts["methods"]):
        for c, count in enumerate(facts["counts"]):
            right = [((odds > 0) == shirt).mean() for odds in arrays["test"][m, c]]
            known = table.mean(method, "test accuracy", 2 * count)
            assert 100 * np.mean(right) == pytest.approx(known, abs=4)


# ---------------------------------------------------------------- what the chapters say of it


def test_chapter_4_says_what_the_arrays_say() -> None:
    arrays, facts = recorded.recorded_arrays("04_thresholds")
    shirt = {part: arrays[f"{part}_labels"] == 1 for part in ("validation", "test")}
    probe = arrays["validation"][
        facts["methods"].index("linear probe"), facts["counts"].index(10)
    ].astype(float)
    assert (probe >= math.log(0.48 / 0.52)).all() and (probe < math.log(0.52 / 0.48)).all()
    for m in range(3):
        for c in (0, 1, 4):
            limits = np.sort(arrays["validation"][m, c][:, shirt["validation"]])[:, 5]
            scores = {}
            for part in shirt:
                runs = zip(arrays[part][m, c], limits, strict=True)
                scores[part] = np.mean(
                    [widgets.confusion(shirt[part], run, limit)[1] for run, limit in runs], axis=0
                )
            assert scores["validation"][2] == pytest.approx(90) and scores["test"][2] < 89.5
            assert scores["test"][1] < scores["validation"][1]
