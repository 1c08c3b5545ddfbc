"""Bets: what is asked, what is withheld, what is noted, and how often one was right."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import nbformat
import pytest

from vaetl_helpers import claims, plots, progress
from vaetl_helpers.chapters import chapters_in, course_dir
from vaetl_helpers.errors import CourseError
from vaetl_helpers.output import is_unknown
from vaetl_helpers.practice import bets, curtain, panels
from vaetl_helpers.recorded import recorded_value

SOURCES = Path(__file__).parents[2] / "course" / "source"
CHOICE, NUMBER = "training.random_labels", "training.seeds"
RECORDED = "detection.five_scenes"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, and a person who works in a notebook without controls."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(progress, "is_interactive", lambda: True)
    monkeypatch.setattr(progress, "notebook_kernel", object)
    monkeypatch.setattr(progress, "unwritten", [])
    monkeypatch.setattr(bets, "_truths", {})
    monkeypatch.setattr(bets, "_settled", {})
    for name in ("VAETL_GRADING", "NBGRADER_EXECUTION"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def notes(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / progress.FILE).read_text("utf-8").splitlines()]


# ---------------------------------------------------------------- the questions


@pytest.mark.parametrize("bet", bets.all_bets().values(), ids=bets.all_bets())
def test_a_bet_can_be_answered(bet: bets.Bet) -> None:
    assert bet.question.endswith((".", "?", ")?")), bet.id
    assert bet.choices or bet.unit, "a number needs a unit"
    if bet.bounds:
        assert len(bet.bounds) == len(bet.choices) - 1
        assert list(bet.bounds) == sorted(bet.bounds)
    if bet.record:
        assert isinstance(bet.truth_of(bets._recorded_truth(bet)), str | float)
        assert not is_unknown(recorded_value(**bet.record)), "open at both ends: nothing to bet on"
    if bet.verdict:
        asked = {(question.id, question.data_name) for question in claims.comparisons()}
        assert (bet.verdict["id"], bet.verdict["data"]) in asked


def test_every_chapter_has_four_bets_and_every_claim_has_one_on_its_verdict() -> None:
    numbers = [bet.chapter for bet in bets.all_bets().values()]
    for chapter in chapters_in(course_dir()):
        assert numbers.count(chapter) >= 4, chapter
    by_id = {question.id: question.claim for question in claims.comparisons()}
    decided = {by_id[bet.verdict["id"]] for bet in bets.all_bets().values() if bet.verdict}
    # What training costs has no recorded row: its bet is settled by the reader's own run.
    assert decided | {"cost"} == set(claims.CONTRACT["claims"])
    assert "training.cost" in bets.all_bets()


CALL = re.compile(r'^\s*(predict|settle)\("([a-z0-9_.]+)"', re.MULTILINE)


@pytest.mark.parametrize("path", sorted(SOURCES.glob("*.py")), ids=lambda path: path.stem)
def test_a_source_settles_each_bet_after_it_was_asked(path: Path) -> None:
    calls = CALL.findall(path.read_text("utf-8"))
    number = path.stem.partition("_")[0]
    asked = [id for call, id in calls if call == "predict"]
    settled = [id for call, id in calls if call == "settle"]
    assert sorted(asked) == sorted(set(settled)) == sorted(settled)
    for id in asked:
        assert bets.find(id).chapter == number
        assert calls.index(("predict", id)) < calls.index(("settle", id))
    if asked:
        bets_of = [id for id, bet in bets.all_bets().items() if bet.chapter == number]
        assert sorted(asked) == sorted(bets_of)


# ---------------------------------------------------------------- guesses and truths


def test_a_number_becomes_a_choice_by_the_bounds() -> None:
    bet = bets.find(CHOICE)  # bounds 0.5 and 2
    assert [bet.truth_of(value) for value in (0.1, 0.5, 1.99, 2, 9)] == [
        "learned",
        "partly",
        "partly",
        "refused",
        "refused",
    ]
    assert bet.is_right("learned", "learned") and not bet.is_right("partly", "learned")


def test_an_interval_is_right_where_it_holds_the_truth() -> None:
    bet = bets.find(NUMBER)
    assert bet.is_right(bet.guess_of((0.5, 1)), 0.5) and bet.is_right((0.5, 1), 1.0)
    assert not bet.is_right((0.5, 1), 1.01)
    assert bet.guess_of(["0.5", "2"]) == (0.5, 2.0)


@pytest.mark.parametrize(
    ("id", "guess", "says"),
    [
        (CHOICE, "yes", "take one of 'learned', 'partly', 'refused'"),
        (CHOICE, ["learned"], "is no choice"),
        (NUMBER, 3, "takes two numbers"),
        (NUMBER, (2, 1), "the lower one first"),
        (NUMBER, ("a", "b"), "is no interval"),
        (NUMBER, (1, float("nan")), "is no interval"),
    ],
)
def test_what_is_no_guess_is_refused_in_a_sentence(
    here: Path, id: str, guess: Any, says: str
) -> None:
    with pytest.raises(CourseError, match=re.escape(says)):
        bets.predict(id, guess)
    assert not (here / progress.FILE).exists()


def test_unknown_bets_and_settlements_are_refused(here: Path) -> None:
    with pytest.raises(CourseError, match=r"training\.seeds"):
        bets.predict("training.seed")
    with pytest.raises(CourseError, match="needs a value"):
        bets.settle(CHOICE)
    with pytest.raises(CourseError, match="learned"):
        bets.settle(CHOICE, "yes")
    with pytest.raises(CourseError, match="no probability"):
        bets.predict(CHOICE, "learned", sure=80)
    with pytest.raises(CourseError, match="has no bets"):
        bets.my_bets("17")


def test_the_first_guess_and_the_first_truth_count(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bets.predict(CHOICE, "refused", sure=0.9)
    bets.predict(CHOICE, "learned", sure=0.9)
    bets.settle(CHOICE, 0.07)
    bets.settle(CHOICE, 5.0)  # another seed
    said = capsys.readouterr().out
    assert "your first guess stays" in said and "90 % sure that it is: No" in said
    assert bets.placed()[CHOICE] == bets.Placed("refused", 0.9, False)
    assert [note.get("guess") for note in notes(here)] == ["refused", None]


def test_a_guess_after_the_cells_have_run_is_settled_at_once(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bets.predict(NUMBER)
    assert 'predict("training.seeds", guess=(1, 5))' in capsys.readouterr().out
    bets.settle(NUMBER, 0.8)
    assert "still open" in capsys.readouterr().out and bets.placed() == {}
    bets.predict(NUMBER, guess=(0.2, 1))
    assert "**0.8 points.** You were right, and 80 % sure." in capsys.readouterr().out
    assert bets.placed()[NUMBER] == bets.Placed((0.2, 1.0), 0.8, True)


def test_the_truth_of_a_recorded_bet_comes_from_its_record(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    value = bets._recorded_truth(bets.find(RECORDED))
    bets.predict(RECORDED, guess=(value - 1, value + 1))
    bets.settle(RECORDED)
    assert bets.placed()[RECORDED].right is True
    bets.settle("hardware.peak", float("nan"))
    assert "stays open" in capsys.readouterr().out


@pytest.mark.parametrize("who", ["papermill", "a grader", "nbgrader"])
def test_where_nobody_works_bets_answer_themselves(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], who: str
) -> None:
    monkeypatch.setattr(progress, "is_interactive", lambda: who != "papermill")
    monkeypatch.setenv("VAETL_GRADING", "1" if who == "a grader" else "0")
    if who == "nbgrader":
        monkeypatch.setenv("NBGRADER_EXECUTION", "autograde")
    bets.predict(CHOICE)
    bets.settle(CHOICE, 0.07)
    bets.my_bets("01b")
    bets.calibration()
    said = capsys.readouterr().out
    assert "shuffled labels" in said and "below half a nat" in said and "You" not in said
    assert not (here / progress.FILE).exists()


def test_where_nothing_can_be_written_a_bet_lasts_for_the_session(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / progress.FILE).mkdir()  # no file can be opened there, for root neither
    bets.predict(CHOICE, "learned", sure=0.7)
    bets.settle(CHOICE, 0.07)
    said = capsys.readouterr().out
    assert said.count("cannot be written here") == 1 and "remembered until" in said
    assert "You were right" in said and bets.placed()[CHOICE].right is True


def test_damaged_notes_are_left_out(here: Path) -> None:
    lines = [
        '{"bet": "training.random_labels", "guess": "gone", "sure": 0.8}',
        '{"bet": "training.random_labels", "guess": "learned"}',
        '{"bet": ["training.seeds"], "guess": [1, 2], "sure": 0.8}',
        '{"bet": "training.seeds", "guess": [1, 2], "sure": "very"}',
        '{"bet": "of.an_older_version", "guess": "a", "sure": 0.8}',
        '{"bet": "training.seeds", "right": true}',
        "[1]",
    ]
    (here / progress.FILE).write_text("\n".join(lines), encoding="utf-8")
    assert bets.placed() == {}


# ---------------------------------------------------------------- the curtain


class Cells:
    """What a notebook shows: outputs by display id, as `publish` is asked for them."""

    def __init__(self) -> None:
        self.shown: dict[str, Any] = {}
        self.curtain = curtain.Curtain(self.publish)

    def publish(self, bundle: Any, metadata: Any, display_id: str, update: bool = False) -> None:
        assert update == (display_id in self.shown)
        self.shown[display_id] = bundle

    def output(self, bundle: dict[str, Any]) -> dict[str, Any]:
        """Sends an output; what is seen of it."""
        content = {"data": bundle, "metadata": {"alt": "text"}, "transient": {}}
        sent = self.curtain.message({"msg_type": "display_data", "content": content})
        if sent["content"]["transient"]:
            self.shown[sent["content"]["transient"]["display_id"]] = sent["content"]["data"]
        return sent["content"]["data"]


FIGURE = {"image/png": "…", "text/plain": "<Figure>"}


def test_the_curtain_withholds_figures_until_the_guess() -> None:
    cells = Cells()
    assert cells.output(FIGURE) == FIGURE
    cells.curtain.draw("a")
    assert cells.output(FIGURE) == {"text/plain": curtain.PLACEHOLDER}
    assert cells.output({"text/markdown": "| 1 |"}) == {"text/plain": ""}  # said once a cell
    cells.curtain.text("the secret\n")
    cells.curtain.open("a")
    assert list(cells.shown.values()) == [
        FIGURE,
        {"text/markdown": "| 1 |"},
        {"text/plain": "the secret"},
    ]
    assert cells.output(FIGURE) == FIGURE


def test_the_curtain_falls_with_the_cell_that_settles() -> None:
    cells = Cells()
    cells.curtain.draw("a")
    cells.curtain.settle("a")
    assert cells.output(FIGURE) != FIGURE  # plt.show() is the last line of a cell
    cells.curtain.end_cell()
    assert cells.output(FIGURE) == FIGURE
    cells.curtain.open("a")  # the guess comes later, and brings back what was withheld
    assert list(cells.shown.values()) == [FIGURE]


def test_what_two_bets_withhold_waits_for_both() -> None:
    cells = Cells()
    cells.curtain.draw("a")
    cells.curtain.draw("b")
    cells.output(FIGURE)
    cells.curtain.open("a")
    assert FIGURE not in cells.shown.values()
    cells.curtain.open("b")
    assert FIGURE in cells.shown.values()


def test_controls_and_lines_on_the_data_are_not_withheld() -> None:
    cells = Cells()
    cells.curtain.draw("a")
    control = {curtain.WIDGET: {}, "text/plain": "slider", "text/html": "<b>bar</b>"}
    line = {"text/plain": "MNIST, embedded", "application/vnd.vaetl.data+json": {}}
    assert cells.output(control) == control and cells.output(line) == line


# ---------------------------------------------------------------- how often one was right


def test_my_bets_counts_what_is_settled(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bets.predict(CHOICE, "learned", sure=0.9)
    bets.settle(CHOICE, 0.07)
    bets.predict(NUMBER, guess=(0, 0.1))
    bets.settle(NUMBER, 0.8)
    bets.predict("training.width", "twice")  # not settled yet
    capsys.readouterr()
    bets.my_bets("01b")
    said = capsys.readouterr().out
    assert "right in 1 of 2 bets" in said and "at least 80 % sure, in 1 of 2" in said
    assert "Not placed: training.overfit_accuracy" in said and "training.width" not in said


def test_the_calibration_plot_says_in_words_what_it_shows(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bets.predict(CHOICE, "learned", sure=0.9)
    bets.settle(CHOICE, 0.07)
    bets.predict(NUMBER, guess=(0, 0.1))
    bets.settle(NUMBER, 0.8)
    shown: list[Any] = []
    monkeypatch.setattr(plt, "show", lambda: shown.append(plt.gcf()))
    bets.calibration()
    [figure] = shown
    assert "80 % sure: 0 of 1; 90 % sure: 1 of 1" in plots.alt_text(figure)
    [axis] = figure.axes
    assert axis.get_title() == "Your 2 bets: 1 right"
    plt.close(figure)


def test_levels_group_by_confidence() -> None:
    made = [("a", 0.8, True), ("a", 0.8, False), ("b", 1 / 3, True), ("b", 0.9, None)]
    assert bets.levels([bets.Placed(*one) for one in made]) == [
        bets.Level(0.3, 1, 1),
        bets.Level(0.8, 2, 1),
    ]


def test_wilson_is_the_published_interval() -> None:
    # Newcombe 1998, Statistics in Medicine 17, table I: 81 of 263 and 0 of 20.
    assert bets.wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=2e-4)
    assert bets.wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=2e-4)


def test_a_panel_stays_open_for_what_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    import IPython.display

    monkeypatch.setattr(IPython.display, "display", lambda *_: None)

    def on_answer(guess: Any, sure: float | None) -> str:
        return f"got {bets.find(NUMBER).guess_of(guess)}"

    panel = panels.ask_interval("How far?", "points", on_answer)
    _, low, high, buttons, said = panel.children
    [button] = buttons.children
    button.click()
    assert "Give both ends first" in said.value
    low.value, high.value = "3", "1"
    button.click()
    assert "is no interval" in said.value and not button.disabled
    low.value, high.value = "0,5", "1"
    button.click()
    assert "got (0.5, 1.0)" in said.value and button.disabled and low.disabled


def test_one_may_look_without_a_bet(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import IPython.display

    asked: list[Any] = []
    monkeypatch.setattr(IPython.display, "display", asked.append)
    monkeypatch.setattr(panels, "have_widgets", lambda: True)
    monkeypatch.setattr(panels, "notebook_kernel", lambda: None)
    bets.predict(CHOICE)
    bets.settle(CHOICE, 0.07)
    [panel] = asked
    _, radio, sure, buttons, said = panel.children
    assert [label for label, _ in sure.options][0] == "guessing blindly (33 %)"
    capsys.readouterr()
    buttons.children[1].click()
    assert "No bet" in said.value and radio.disabled and buttons.children[0].disabled
    assert "below half a nat" in capsys.readouterr().out and bets.placed() == {}
    bets.predict(CHOICE)  # it is not asked again
    assert len(asked) == 1 and "You" not in capsys.readouterr().out


def test_the_chapters_notebooks_hold_no_truth_of_a_bet() -> None:
    """A truth typed by hand would be the third argument of nothing: settle takes what was run."""
    for chapter in chapters_in(course_dir()).values():
        for cell in nbformat.read(chapter.path, as_version=4).cells:
            for line in cell.source.splitlines():
                assert not re.match(r'\s*settle\("[^"]+", *[-0-9."]+\)', line), line
