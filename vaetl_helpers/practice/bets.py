"""Bets: a guess before a run, what came of it, and how good one's confidence is.

`predict` stands before the cells that tell, `settle` after the value is there. `bets.yaml` holds
the questions; no truth is written in it. A guess counts once: the first one, and the first truth
after it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import yaml

from vaetl_helpers import claims, plots, progress, recorded
from vaetl_helpers.errors import CourseError, unknown_name_error
from vaetl_helpers.output import say
from vaetl_helpers.practice import curtain, panels

SURE_OF_INTERVAL = 0.8  # how often the truth is to lie in the interval that one gives
SURE = (0.6, 0.7, 0.8, 0.9, 0.99)  # how sure one may be of a choice, beside a blind guess
VERDICTS = {  # of the claims ledger, as answers to a question
    "supported": "Yes: supported.",
    "no gain": "No: there is no gain worth having.",
    "contradicted": "No: the contrary is shown.",
    "undecided": "Undecided: the recorded runs cannot tell.",
}

Guess = str | tuple[float, float]  # a choice by its name, or the two ends of an interval
Truth = str | float


@dataclass(frozen=True)
class Bet:
    """A question with `choices` by name, or about a number in `unit`.

    A number becomes a choice by `bounds`, which part the choices in their order. The truth comes
    from a recorded number (`record`), from the ledger's verdict (`verdict`, both with id and data),
    or from the cell that settles.
    """

    id: str
    chapter: str
    question: str
    choices: Mapping[str, str] = field(default_factory=dict)
    bounds: Sequence[float] = ()
    unit: str = ""
    record: Mapping[str, str] | None = None
    verdict: Mapping[str, str] | None = None

    def guess_of(self, guess: Any) -> Guess:
        """A guess as it is kept; CourseError where it is none."""
        if self.choices:
            if isinstance(guess, str) and guess in self.choices:
                return guess
            raise CourseError(
                f"{guess!r} is no choice of the bet {self.id}: take one of "
                f"{', '.join(map(repr, self.choices))}."
            )
        ends = _ends(guess)
        if ends is None:
            raise CourseError(
                f"{guess!r} is no interval: the bet {self.id} takes two numbers, the lower one "
                f'first, as in predict("{self.id}", guess=(1, 5)).'
            )
        return ends

    def truth_of(self, value: Any) -> Truth:
        """What a settled value says: the name of a choice, or the number itself."""
        if not self.choices:
            return float(value)
        if isinstance(value, str):
            if value not in self.choices:
                raise unknown_name_error(f"choice of the bet {self.id}", value, self.choices)
            return value
        if not self.bounds:
            raise CourseError(
                f"The bet {self.id} was settled with {value!r}: it takes one of "
                f"{', '.join(map(repr, self.choices))}."
            )
        place = sum(float(value) >= bound for bound in self.bounds)
        return list(self.choices)[place]

    def is_right(self, guess: Guess, truth: Truth) -> bool:
        """Whether the guess was the truth, or the interval holds it."""
        if isinstance(truth, str) or isinstance(guess, str):
            return guess == truth
        low, high = guess
        return float(low) <= truth <= float(high)

    def words(self, answer: Guess | Truth) -> str:
        """A guess or a truth as a person reads it."""
        if isinstance(answer, str):
            return self.choices[answer].rstrip(".")
        unit = f" {self.unit}" if self.unit else ""
        if isinstance(answer, (tuple, list)):
            low, high = answer
            return f"between {low:g} and {high:g}{unit}"
        return f"{answer:.4g}{unit}"

    @property
    def blind(self) -> float:
        """How often a blind guess is right."""
        return 1 / len(self.choices)


def _ends(guess: Any) -> tuple[float, float] | None:
    """The two ends of an interval, or None."""
    try:
        low, high = map(float, guess)
    except (TypeError, ValueError):
        return None
    return (low, high) if low <= high else None


@cache
def all_bets() -> dict[str, Bet]:
    """Every bet of the course by its id, in the order of bets.yaml."""
    path = Path(__file__).with_name("bets.yaml")
    content = yaml.safe_load(path.read_text("utf-8"))
    bets = {}
    for chapter, entries in content.items():
        for id, entry in entries.items():
            if "verdict" in entry:
                entry = {"choices": VERDICTS, **entry}
            bets[id] = Bet(id=id, chapter=chapter, **entry)
    return bets


def find(id: str) -> Bet:
    """The bet with this id; CourseError where there is none."""
    if id not in all_bets():
        raise unknown_name_error("bet", id, all_bets())
    return all_bets()[id]


# ---------------------------------------------------------------- what a learner has guessed


class Placed(NamedTuple):
    """A guess, how sure it was, and whether it was right (None: not settled yet)."""

    guess: Guess
    sure: float
    right: bool | None


def placed(folder: Path | None = None) -> dict[str, Placed]:
    """The learner's bets by id; of each the first guess, and the first outcome after it."""
    by_id: dict[str, Placed] = {}
    for entry in progress.entries(folder):
        id = str(entry.get("bet"))
        if id not in all_bets():
            continue
        earlier = by_id.get(id)
        if earlier is None and "guess" in entry:
            bet = _placed(entry)
            if bet is not None:
                by_id[id] = bet
        elif earlier is not None and earlier.right is None and "right" in entry:
            by_id[id] = earlier._replace(right=bool(entry["right"]))
    return by_id


def skipped(folder: Path | None = None) -> set[str]:
    """The bets that the learner did not want to make."""
    return {str(entry["bet"]) for entry in progress.entries(folder) if entry.get("skipped") is True}


def _placed(entry: Mapping[str, Any]) -> Placed | None:
    """None for a line that somebody has changed by hand."""
    try:
        guess = find(entry["bet"]).guess_of(entry["guess"])
        return Placed(guess, float(entry["sure"]), None)
    except (CourseError, KeyError, TypeError, ValueError):
        return None


# ---------------------------------------------------------------- what a notebook calls

# What this session's cells have found, and what settle shows once there is a guess.
_truths: dict[str, Truth] = {}
_settled: dict[str, Callable[[str], None]] = {}


def predict(id: str, guess: Any = None, sure: float | None = None) -> None:
    """Asks for a guess before the cells below tell; what they show is withheld until there is one.

    In a notebook one chooses, or gives the two ends of an interval that one is 80 % sure of.
    `guess` (the name of a choice, or two numbers) and `sure` (0 to 1, of a choice) do without the
    controls. Where no person works (papermill, nbval, grading) it shows the question and hides
    nothing. Raises CourseError for an unknown bet, and for a guess that is none.
    """
    bet = find(id)
    if not progress.is_learner_here():
        panels.show_text(_question(bet))
        return
    earlier = placed().get(id)
    if earlier is not None:
        said = f"{bet.words(earlier.guess)} ({per_cent(earlier.sure)} sure)"
        panels.show_text(f"**Your bet.** {bet.question}\n\nYou said: {said}.")
        if guess is not None:
            say("A bet counts once: your first guess stays.")
    elif guess is not None:
        _place(bet, bet.guess_of(guess), _sureness(bet, sure))
    elif id in skipped():
        panels.show_text(_question(bet))
    else:
        _ask(bet)


def _question(bet: Bet) -> str:
    """The question as Markdown, with its choices."""
    lines = [f"**Bet.** {bet.question}"]
    if bet.choices:
        lines.append("\n".join(f"- {text}" for text in bet.choices.values()))
    else:
        unit = f", in {bet.unit}" if bet.unit else ""
        lines.append(f"Give an interval that you are 80 % sure of{unit}.")
    return "\n\n".join(lines)


def _sureness(bet: Bet, sure: float | None) -> float:
    """How sure a guess is; CourseError for what is no probability."""
    if not bet.choices:
        return SURE_OF_INTERVAL
    if sure is None:
        return bet.blind
    if not 0 <= sure <= 1:
        raise CourseError(f"sure={sure} is no probability: give a number from 0 to 1, such as 0.7.")
    return float(sure)


def _ask(bet: Bet) -> None:
    stage = curtain.stage()
    if stage is not None:
        stage.curtain.draw(bet.id)
    if not panels.have_widgets():
        say(_how_to_bet(bet))
        return

    def on_bet(guess: Any, sure: float | None) -> str:
        """Places the bet; the text is shown in the panel."""
        _place(bet, bet.guess_of(guess), _sureness(bet, sure), is_quiet=True)
        return f"You said: {bet.words(placed()[bet.id].guess)}."

    def on_skip() -> str:
        """Shows what was withheld, without a bet."""
        progress.add(bet=bet.id, skipped=True)
        _reveal(bet)
        return "No bet on this one."

    if bet.choices:
        levels = [(f"guessing blindly ({per_cent(bet.blind)})", bet.blind)]
        levels += [(f"{per_cent(sure)} sure", sure) for sure in SURE if sure > bet.blind]
        panels.ask_choice(bet.question, bet.choices, levels, on_bet, on_skip)
    else:
        panels.ask_interval(bet.question, bet.unit, on_bet, on_skip)


def _how_to_bet(bet: Bet) -> str:
    """The question, and the call that answers it where there are no controls."""
    lines = [bet.question, *(f'- "{name}": {text}' for name, text in bet.choices.items())]
    if bet.choices:
        call = f'predict("{bet.id}", guess="{next(iter(bet.choices))}", sure=0.7)'
        lines.append(f"Write your choice and how sure you are, as in {call}.")
    else:
        unit = f", in {bet.unit}" if bet.unit else ""
        call = f'predict("{bet.id}", guess=(1, 5))'
        lines.append(f"Write an interval that you are 80 % sure of{unit}, as in {call}.")
    return "\n".join(lines)


def _place(bet: Bet, guess: Guess, sure: float, is_quiet: bool = False) -> None:
    """Notes the guess, shows what was withheld, and settles what a cell has found already."""
    progress.add(bet=bet.id, guess=guess, sure=round(sure, 4))
    if not is_quiet:
        say(f"You said: {bet.words(guess)}.")
    if bet.id in _truths:
        _note_outcome(bet, _truths[bet.id])
    _reveal(bet)


def _reveal(bet: Bet) -> None:
    """Shows what was withheld for this bet, and what came of it if a cell has found that."""
    stage = curtain.stage()
    if stage is not None:
        stage.curtain.open(bet.id)
    show = _settled.pop(bet.id, None)
    if show is not None:
        show(_outcome(bet, _truths[bet.id]))


def settle(id: str, value: Any = None) -> None:
    """Says what has come of the bet, by what the cells above have found or by what is recorded.

    `value` is a number or the name of a choice; without it the bet says where the truth is
    recorded. Raises CourseError where the bet is unknown or the value does not answer it.
    """
    bet = find(id)
    if isinstance(value, float) and math.isnan(value):
        say("The cells above have found no number on this machine, so the bet stays open.")
        return
    try:
        truth = bet.truth_of(_recorded_truth(bet) if value is None else value)
    except CourseError as error:
        if value is not None or not (bet.record or bet.verdict):
            raise
        say(f"The bet stays open: {error}")
        return
    _truths[id] = truth
    if not progress.is_learner_here():
        panels.show_text(_outcome(bet, truth))
        return
    stage = curtain.stage()
    if id in placed() or id in skipped():
        _note_outcome(bet, truth)
        panels.show_text(_outcome(bet, truth))
    else:
        _settled[id] = panels.show_later("Your bet on this is still open: place it above.")
    if stage is not None:
        stage.curtain.settle(id)


def _recorded_truth(bet: Bet) -> Any:
    """The recorded number or verdict that the bet names."""
    if bet.record is not None:
        return recorded.recorded_value(**bet.record)["value"]
    if bet.verdict is not None:
        for row in claims.ledger():
            is_asked = (row.id, row.data) == (bet.verdict["id"], bet.verdict["data"])
            if is_asked and row.source == "recorded":
                return row.verdict
        raise CourseError("no run that decides it has been recorded yet.")
    raise CourseError(f'The bet {bet.id} needs a value: write settle("{bet.id}", value).')


def _note_outcome(bet: Bet, truth: Truth) -> None:
    """Notes whether the guess was right, once."""
    mine = placed().get(bet.id)
    if mine is not None and mine.right is None:
        shown = truth if isinstance(truth, str) else float(f"{truth:.6g}")
        progress.add(bet=bet.id, truth=shown, right=bet.is_right(mine.guess, truth))


def _outcome(bet: Bet, truth: Truth) -> str:
    """What came of the bet, as Markdown."""
    answer = f"*{bet.question}*\n\n**{bet.words(truth)}.**"
    mine = placed().get(bet.id) if progress.is_learner_here() else None
    if mine is None:
        return answer
    if bet.is_right(mine.guess, truth):
        return f"{answer} You were right, and {per_cent(mine.sure)} sure."
    return f"{answer} You were {per_cent(mine.sure)} sure that it is: {bet.words(mine.guess)}."


def per_cent(share: float) -> str:
    """A share as the course writes it: 80 %."""
    return f"{100 * share:.0f} %"


# ---------------------------------------------------------------- how often one was right


def my_bets(chapter: str) -> None:
    """Says how often the learner's bets of a chapter were right, and of those they were sure of."""
    bets = [bet for bet in all_bets().values() if bet.chapter == chapter]
    if not bets:
        raise CourseError(f"Chapter {chapter} has no bets: name one that has, such as 01.")
    if not progress.is_learner_here():
        say(f"This chapter has {len(bets)} bets. In a notebook, this line says how yours came out.")
        return
    mine = placed()
    settled = [mine[bet.id] for bet in bets if bet.id in mine and mine[bet.id].right is not None]
    right = sum(bool(bet.right) for bet in settled)
    text = f"You were right in {right} of {len(settled)} bets of this chapter"
    certain = [bet for bet in settled if bet.sure >= SURE_OF_INTERVAL]
    if certain:
        hits = sum(bool(bet.right) for bet in certain)
        text += f"; where you were at least 80 % sure, in {hits} of {len(certain)}"
    still_open = [bet.id for bet in bets if bet.id not in mine]
    if still_open:
        text += f". Not placed: {', '.join(still_open)}"
    say(f"{text}.")


class Level(NamedTuple):
    """The bets of one confidence: how many there were, and how many were right."""

    sure: float
    bets: int
    right: int


def levels(bets: Sequence[Placed]) -> list[Level]:
    """The settled bets by their confidence, rounded to ten per cent, the least sure first."""
    by_sure: dict[float, list[bool]] = {}
    for bet in bets:
        if bet.right is not None:
            by_sure.setdefault(round(bet.sure, 1), []).append(bet.right)
    return [Level(sure, len(by_sure[sure]), sum(by_sure[sure])) for sure in sorted(by_sure)]


def calibration(folder: Path | None = None) -> None:
    """Draws how often the learner was right over how sure they were, on all bets of all chapters.

    On the diagonal one is as often right as one says. Bars are 95 % intervals (Wilson's). Without a
    settled bet it says so.
    """
    by_level = levels(list(placed(folder).values()))
    if not by_level:
        say("No bet is settled yet: place one in a notebook, and run this cell again.")
        return
    total = sum(level.bets for level in by_level)
    right = sum(level.right for level in by_level)
    parts = [f"{per_cent(level.sure)} sure: {level.right} of {level.bets}" for level in by_level]
    alt = f"Share of bets that were right over how sure you were. {'; '.join(parts)}."
    axis = plots.panels([f"Your {total} bets: {right} right"], alt, height=4.2, width=5.2)[0]
    axis.plot([0, 100], [0, 100], color=plots.GREY, linewidth=1, label="as often as you say")
    for level in by_level:
        _draw_level(axis, level)
    axis.set(xlabel="how sure you were (%)", ylabel="how often you were right (%)")
    axis.set(xlim=(0, 106), ylim=(-12, 104))  # below 0 stands how many bets there were
    axis.legend(frameon=False, loc="upper left")
    plt.show()


def _draw_level(axis: Any, level: Level) -> None:
    """A dot for the bets of one confidence, its interval, and how many there are."""
    share = level.right / level.bets
    low, high = wilson(level.right, level.bets)
    ends = [[100 * (share - low)], [100 * (high - share)]]
    x, y = 100 * level.sure, 100 * share
    axis.errorbar(x, y, yerr=ends, fmt="o", color=plots.COLOURS[0], capsize=3)
    axis.text(x, -9, f"{level.right} of {level.bets}", ha="center", fontsize=8)


def wilson(hits: int, count: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson's interval (1927) for a proportion, 95 % by default: its ends, from 0 to 1."""
    share = hits / count
    centre = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    spread = z * math.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    half = spread / (1 + z**2 / count)
    return max(0.0, centre - half), min(1.0, centre + half)
