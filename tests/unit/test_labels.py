"""Labels and bill: its numbers are those of the recorded studies, in both directions."""

from __future__ import annotations

import json
from collections.abc import Iterator

import matplotlib.pyplot as plt
import pytest

from vaetl_helpers import plots
from vaetl_helpers.errors import CourseError
from vaetl_helpers.living import labels
from vaetl_helpers.recorded import recorded_value

PAIR = ("VAE fine-tuned", "scratch")
PLACE = labels.Place("05", "digits", "digits 0–4", "digits 0–4 → 5–9")


@pytest.fixture(scope="module")
def digits() -> dict:
    return labels.study_data(PLACE)


@pytest.fixture(autouse=True)
def no_figures() -> Iterator[None]:
    yield
    plt.close("all")


@pytest.mark.parametrize("count", [20, 50, 100, 500])
def test_a_comparison_is_the_recorded_one(digits: dict, count: int) -> None:
    found = labels.compared(digits, *PAIR, count)
    record = recorded_value("05", f"05/accuracy/fine_tuned-scratch/{count}", "digits")
    expected = [record["value"], record["low"], record["high"]]
    assert found["effect"] == pytest.approx(expected, abs=0.0006)


def test_the_source_is_repaid_when_the_ledger_says(digits: dict) -> None:
    record = recorded_value("05", "05/break_even/flops/100", "digits")
    tasks, low, high = labels.compared(digits, *PAIR, 100)["repaid"]
    assert (tasks, low) == pytest.approx((record["value"], record["low"]), rel=5e-3)
    assert high is record["high"] is None


def test_a_probe_is_billed_in_seconds_and_a_network_in_flops(digits: dict) -> None:
    assert labels.compared(digits, *PAIR, 100)["unit"] == "FLOPs"
    assert labels.compared(digits, "SVM on μ", "scratch", 100)["unit"] == "seconds"


def test_the_other_direction_is_the_same_comparison_turned(digits: dict) -> None:
    one = labels.compared(digits, *PAIR, 100)
    other = labels.compared(digits, *reversed(PAIR), 100)
    middle, low, high = one["effect"]
    assert other["effect"] == [-middle, -high, -low]
    assert (one["verdict"], other["verdict"]) == ("supported", "contradicted")
    assert other["costs"] == one["costs"][::-1] and other["repaid"] == one["repaid"]


def test_what_cannot_be_repaid_is_said(digits: dict) -> None:
    def said(method: str, against: str, count: int) -> str:
        found = labels.compared(digits, method, against, count)
        return labels.repaid_in_words(digits, method, against, found)

    assert said("PCA", "scratch", 100) == "What one of the sources cost was not recorded."
    assert said("probe on μ", "SVM on μ", 100).endswith("nothing to repay.")
    assert "saves nothing per task" in said("SVM on μ", "scratch", 500)


def test_what_is_not_recorded_is_named_and_the_rest_is_small(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(labels, "is_recorded", lambda place: place == PLACE)
    data = labels.bill_data("05", *PAIR, 100)
    assert [study["title"] for study in data["studies"]] == [PLACE.title]
    assert "dog/cat → dog/fox" in data["missing"] and len(data["missing"]) == 6
    assert len(json.dumps(data)) < 60_000


def test_without_a_recorded_study_a_line_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(labels, "is_recorded", lambda place: False)
    labels.labels_and_bill("A lead.", "04", "fine-tuned", labels=20)
    assert "No study of chapter 04" in capsys.readouterr().out and not plt.get_fignums()


def test_the_static_figure_says_what_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labels, "is_recorded", lambda place: place == PLACE)
    labels.labels_and_bill("A lead.", "05", *PAIR)
    alt = plots.alt_text(plt.gcf())
    assert alt.startswith("A lead. digits 0–4 → 5–9, 100 labels: VAE fine-tuned − scratch = +1.9")
    assert "repaid after 4,550 tasks [2,090, open]" in alt


@pytest.mark.parametrize(
    ("chapter", "method", "said"), [("06", "scratch", "06"), ("05", "majic", "majic")]
)
def test_an_unknown_name_is_refused(chapter: str, method: str, said: str) -> None:
    with pytest.raises(CourseError, match=said):
        labels.labels_and_bill("A lead.", chapter, method)


@pytest.fixture(scope="module")
def tops() -> dict:
    (place,) = [place for place in labels.places("04") if place.study == "tops"]
    return labels.study_data(place)


def test_the_untouched_source_needs_no_label_and_no_step(tops: dict) -> None:
    needs = {of["name"]: of["needs_labels"] for of in tops["methods"]}
    assert [name for name, needed in needs.items() if not needed] == ["zero labels"]
    found = labels.compared(tops, "zero labels", "scratch", 20)
    cost, of_scratch = found["costs"]
    assert found["unit"] == "FLOPs" and cost == 0 < of_scratch
    price = next(of["price"]["FLOPs"] for of in tops["methods"] if of["name"] == "zero labels")
    assert found["repaid"][0] == pytest.approx(price / of_scratch, abs=0.5)  # whole tasks


def test_what_imagenets_network_cost_is_left_open(tops: dict) -> None:
    found = labels.compared(tops, "ImageNet probe", "scratch", 20)
    assert found["repaid"] is None
    words = labels.repaid_in_words(tops, "ImageNet probe", "scratch", found)
    assert words == "What one of the sources cost was not recorded."
