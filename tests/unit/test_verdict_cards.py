"""Verdict cards: what stands on them comes from claims.yaml and the ledger, and nothing else."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from bs4 import BeautifulSoup
from bs4.element import Tag

from vaetl_helpers import claims, recorded
from vaetl_helpers.app import verdict_card
from vaetl_helpers.app.card_plot import scale_of
from vaetl_helpers.app.verdict_card import cards_html, question_cards, verdict_cards
from vaetl_helpers.claims import CONTRACT, comparisons, ledger
from vaetl_helpers.errors import CourseError

COURSE = Path(__file__).parents[2] / "course" / "source"
OF_CHAPTER = {
    "01c": ["cost"],
    "02": ["acceleration"],
    "03a": ["invention"],
    "03c": ["strangers"],
    "04a": ["transfer"],
    "05": ["performance"],
    "05a": ["overfitting", "efficiency", "fewer_labels"],
}


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package whose recorded runs are in a folder of the test, at first none."""
    (tmp_path / "recorded").mkdir()
    monkeypatch.setattr(recorded, "__file__", str(tmp_path / "recorded.py"))
    return tmp_path / "recorded"


def made(claim: str, low: float, effect: float, high: float, **more: Any) -> dict[str, Any]:
    """The record that a claim's headline asks for, so exact that its interval alone decides."""
    wanted = CONTRACT["claims"][claim]["headline"]
    record = {"id": wanted["id"], "data": wanted["data"], "unit": wanted["unit"], "name": "x"}
    record |= {"value": effect, "low": low, "high": high, "n": 10, "se": 1e-9, "df": 9.0}
    return record | more


def keep(folder: Path, *records: dict[str, Any]) -> None:
    content = {"machine": "m", "date": "2026-01-01", "records": records}
    (folder / "05_all.json").write_text(json.dumps(content), "utf-8")


def shown(*names: str, is_question: bool = False) -> Tag:
    rows = [] if is_question else claims.ledger()
    cards = [verdict_card._Card(name, rows) for name in names]
    return BeautifulSoup(cards_html(cards, is_question), "html.parser")


# ---------------------------------------------------------------- claims.yaml


@pytest.mark.parametrize("claim", CONTRACT["claims"])
def test_a_claim_has_all_that_its_card_shows(claim: str) -> None:
    entry = CONTRACT["claims"][claim]
    assert entry["question"].endswith("?")
    assert entry["change_of_mind"].rstrip().endswith(".")
    assert ("original" in entry) == ("translation" in entry)
    assert entry["article"] in (*CONTRACT["articles"], "neither")
    wanted = entry["headline"]
    asked = [each for each in comparisons() if each.claim == claim]
    found = [each for each in asked if (each.id, each.data) == (wanted["id"], wanted["data"])]
    assert len(found) == 1, "the headline names no row of its claim"
    decides = any(each.primary for each in asked)
    assert found[0].primary == decides, "the headline is one of the rows that decide"


def test_may_stays_may() -> None:
    for entry in CONTRACT["claims"].values():
        hedged = re.search(r"\b(può|possono)\b", entry.get("original", ""))
        assert bool(hedged) == bool(re.search(r"\bmay\b", entry.get("translation", "")))


def test_every_claim_has_a_card_at_the_top_and_one_at_the_end_of_its_chapter() -> None:
    assert sorted(sum(OF_CHAPTER.values(), [])) == sorted(CONTRACT["claims"])
    for chapter, names in OF_CHAPTER.items():
        (path,) = COURSE.glob(f"{chapter}_*.py")
        source, *_ = path.read_text("utf-8").partition("## Appendix")
        arguments = ", ".join(f'"{name}"' for name in names)
        top = source.index(f"question_cards({arguments})")
        end = source.index(f"verdict_cards({arguments}")
        assert top < 0.2 * len(source) and end > 0.7 * len(source), chapter
        assert source.rindex("settle(") < end if "settle(" in source else True, "it would tell"
    for article in CONTRACT["articles"].values():
        assert any(article["title"] in p.read_text("utf-8") for p in COURSE.glob("*.py"))


# ---------------------------------------------------------------- the verdict


@pytest.mark.parametrize(
    ("record", "kind", "words"),
    [
        ((1.4, 1.9, 2.4), "supported", "Supported in the one comparison recorded so far."),
        ((-2.4, -1.9, -1.4), "contradicted", "Contradicted in the one comparison"),
        ((-0.4, 0.1, 0.4), "no gain", "No gain worth having in the one comparison"),
    ],
)
def test_the_verdict_and_its_mark_follow_the_record(
    kept: Path, record: tuple[float, float, float], kind: str, words: str
) -> None:
    keep(kept, made("performance", *record))
    card = shown("performance").select_one(".vc-card")
    assert card is not None and card["data-kind"] == kind
    verdict = card.select_one(".vc-verdict")
    assert verdict is not None and words in verdict.get_text()
    assert "4 more comparisons are not recorded yet." in verdict.get_text(), "no embedded ones"
    mark = card.select_one(".vc-mark")
    assert mark is not None and mark["data-kind"] == kind


def test_a_claim_without_records_says_so_and_shows_no_number(kept: Path) -> None:
    keep(kept)
    for claim in CONTRACT["claims"]:
        card = shown(claim)
        assert not card.select(".vc-number, .vc-mark, .vc-bar")
        text = card.get_text()
        assert "Not recorded yet" in text or "No verdict" in text
        assert verdict_card._Card(claim, []).headline.measure in text


def test_what_is_undecided_elsewhere_does_not_depend_on_the_data(kept: Path) -> None:
    other = {"data": "MNIST → Fashion-MNIST, full"}
    keep(kept, made("performance", 1.4, 1.9, 2.4), made("performance", -2.4, 0.9, 4.4, **other))
    text = shown("performance").get_text()
    assert "Supported in 1, undecided in 1." in text and "depends on the data" not in text


def test_data_sets_that_disagree_are_not_averaged(kept: Path) -> None:
    other = {"data": "MNIST → Fashion-MNIST, full"}
    good = made("performance", 1.4, 1.9, 2.4)
    keep(kept, good, made("performance", -2.4, -1.9, -1.4, **other))
    card = shown("performance")
    assert "It depends on the data: supported in 1, contradicted in 1." in card.get_text()
    assert len(card.select(".vc-mark")) == 2
    number = card.select_one(".vc-number")
    assert number is not None and "better by 1.9" in number.get_text(), "the headline's, not a mean"


def test_a_run_of_ones_own_shows_a_number_and_no_verdict(
    kept: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keep(kept)
    verdict_cards("cost", records=[made("cost", 0.9, 1.0, 1.1)])
    text = capsys.readouterr().out
    assert "No verdict: one machine decides nothing." in text
    assert "1.0 times [0.9, 1.1]" in text and "in this run" in text


def test_recorded_runs_that_came_before_their_rule_are_not_called_one_machine(
    kept: Path,
) -> None:
    cheaper = made("strangers", -49.0, -48.0, -47.0, id="03/cost/digits-clothes/vae_of_clothes")
    keep(kept, cheaper)
    text = shown("strangers").get_text()
    assert "No verdict: no comparison was fixed beforehand." in text
    assert "1 exploratory row" in text and "one machine" not in text


def test_exploratory_rows_do_not_stand_for_one_that_is_missing(kept: Path) -> None:
    lever = made("acceleration", 2.1, 2.3, 2.6, id="02/levers/vae/resident")
    keep(kept, lever)
    card = shown("acceleration")
    assert "2.3" not in card.get_text() and "1 exploratory row" in card.get_text()


# ---------------------------------------------------------------- words and picture


def test_a_question_does_not_tell_the_answer(kept: Path) -> None:
    keep(kept, made("performance", 1.4, 1.9, 2.4))
    card = shown("performance", is_question=True)
    assert not card.select(".vc-mark, .vc-bar, .vc-verdict, .vc-number")
    assert "1.9" not in card.get_text()


def test_the_article_is_quoted_in_italian_and_linked() -> None:
    card = shown("overfitting", is_question=True)
    original = card.select_one("[lang=it]")
    assert original is not None and "può generalizzare meglio" in original.get_text()
    assert "may generalise better" in card.get_text()
    link = card.select_one("a")
    assert link is not None and link["href"] == CONTRACT["articles"]["second"]["address"]


@pytest.mark.parametrize("claim", CONTRACT["claims"])
def test_marks_stand_on_the_axis_and_ticks_are_round(claim: str) -> None:
    for is_question in (True, False):
        card = shown(claim, is_question=is_question)
        places = [float(x) for x in re.findall(r"left:(-?[\d.]+)%", str(card))]
        assert places and all(0 <= place <= 100 for place in places)
        axis = card.select(".vc-axis span")
        assert 2 <= len(axis) <= 8


def test_an_open_interval_reaches_the_end_of_the_axis_with_an_arrow(kept: Path) -> None:
    keep(kept, made("transfer", 3.0, 8.0, 20.0) | {"low": None})
    bar = shown("transfer").select_one(".vc-bar")
    assert bar is not None and "vc-open-left" in bar["class"]
    assert "left:0.0%" in str(bar["style"])


def test_a_ratio_and_its_inverse_lie_equally_far_from_no_difference() -> None:
    scale = scale_of("times")
    middle = scale.place(1)
    assert scale.place(4) - middle == pytest.approx(middle - scale.place(1 / 4))
    assert 1.0 in scale.ticks()


def test_a_far_interval_does_not_press_the_others_into_a_line() -> None:
    rows = [row for row in ledger() if row.claim == "overfitting" and row.primary]
    scale = scale_of("nats", rows)
    assert scale.linear == pytest.approx(0.1) and 0 in scale.ticks() and -1 in scale.ticks()
    low, high = (scale.place(end) for end in scale.margin)
    assert high - low > 15, "the margin is wide enough to be seen"
    assert scale.place(-1) < scale.place(-0.1) < low < scale.place(0) < high


def test_a_card_says_what_its_numbers_are_and_which_side_is_better() -> None:
    words = shown("overfitting").select_one(".vc-plot").get_text(" ")
    assert "loss on unseen images at equal training loss, scratch − VAE, in nats" in words
    assert "for the claim: the VAE loses less" in words
    assert "steps of scratch ÷ steps of the VAE, logarithmic axis" in str(shown("efficiency"))


def test_an_unknown_claim_is_refused() -> None:
    with pytest.raises(CourseError, match="claim"):
        question_cards("perform")
