"""A claim on a card: as a question at the top of its chapter, with its verdict at the end.

`question_cards("cost")` and `verdict_cards("cost")` make both from `claims.yaml` and the ledger;
nobody types a number or a verdict. What is not recorded is said to be so.
"""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from vaetl_helpers.app import ledger_text
from vaetl_helpers.app.card_plot import MARK_OF_RUN, MARKS, alt_text, plot_html
from vaetl_helpers.claims import CONTRACT, LIVE, Comparison, Record, Row, comparisons, ledger
from vaetl_helpers.errors import unknown_name_error
from vaetl_helpers.output import notebook_kernel, say

MOST_ROWS = 9  # of a picture; the ledger has them all
NOT_RECORDED = "not recorded"
EMBEDDED = ", embedded"
OWN_MACHINE = "It is measured on the machine that runs this chapter."
OF_THE_RUN = ("", "this machine")  # data that are those of whoever runs the chapter
NO_WORDS = "Its words, in our summary"


def question_cards(*names: str) -> None:
    """Shows each of these claims as a question: its words, its article, what will be measured.

    Raises CourseError for a claim that claims.yaml does not have.
    """
    _show([_Card(name, []) for name in names], is_question=True)


def verdict_cards(*names: str, records: Sequence[Record] = ()) -> None:
    """Shows the verdict on each of these claims, from the ledger's recorded rows.

    `records` are those of the notebook's own run, which show a number but decide nothing. Raises
    CourseError for a claim that claims.yaml does not have.
    """
    rows = ledger(records=records)
    _show([_Card(name, rows) for name in names], is_question=False)


def _show(cards: Sequence[_Card], is_question: bool) -> None:
    text = "\n\n".join(card.text(is_question) for card in cards)
    if not notebook_kernel():
        say(text)
        return
    from IPython.display import display

    display({"text/plain": text, "text/html": cards_html(cards, is_question)}, raw=True)


def cards_html(cards: Sequence[_Card], is_question: bool) -> str:
    """The cards with their style sheet, which touches nothing else on the page."""
    style = re.sub(r"\s*\n\s*", " ", Path(__file__).with_name("card.css").read_text("utf-8"))
    content = "".join(card.html(is_question) for card in cards)
    return f'<style>{style}</style><div class="vc-cards">{content}</div>'


class Verdict(NamedTuple):
    """A verdict on a whole claim: its kind (a key of MARKS, LIVE or NOT_RECORDED) and its words."""

    kind: str
    words: str
    note: str = ""


class _Card:
    """What a card says of a claim, from the contract and from the ledger's rows."""

    def __init__(self, name: str, rows: Sequence[Row]) -> None:
        if name not in CONTRACT["claims"]:
            raise unknown_name_error("claim", name, CONTRACT["claims"])
        self.name = name
        self.entry: Mapping[str, Any] = CONTRACT["claims"][name]
        self.rows = [row for row in rows if row.claim == name]
        self.asked = [each for each in comparisons() if each.claim == name]

    # ------------------------------------------------------------ what is found

    @property
    def headline(self) -> Comparison:
        """The comparison whose number stands on the card."""
        wanted = self.entry["headline"]
        key = wanted["id"], wanted["data"]
        return next(each for each in self.asked if (each.id, each.data) == key)

    def headline_row(self) -> Row | None:
        """Its row: the recorded one, else that of the run at hand, else None."""
        matching = [row for row in self.rows if _answers(row, self.headline)]
        return next(iter(sorted(matching, key=lambda row: row.source == "live")), None)

    def number_row(self) -> Row | None:
        """The row whose number is shown: the headline's, else another that decides; or None."""
        deciding = [row for row in self.rows if row.primary]
        return self.headline_row() or next(iter(deciding), None)

    def pictured(self) -> list[Row]:
        """The rows of the picture: those that decide, else those of the run at hand."""
        number = self.number_row()
        if number is None:
            return []
        same = [row for row in self.rows if row.unit == number.unit]
        return [row for row in same if row.primary == number.primary][:MOST_ROWS]

    def exploratory(self) -> int:
        """How many recorded rows there are that decide nothing."""
        return sum(row.source == "recorded" and not row.primary for row in self.rows)

    def verdict(self) -> Verdict:
        """What all primary rows say together, and what is missing of them."""
        asked = [each for each in self.asked if each.primary]
        counts = Counter(row.verdict for row in self.rows if row.primary)
        found = sum(counts.values())
        # The small sets of the package are for runs of one's own, which decide nothing.
        awaited = sum(not each.data.endswith(EMBEDDED) for each in asked)
        missing = awaited - sum(
            row.primary and not row.data.endswith(EMBEDDED) for row in self.rows
        )
        if not asked and self.headline.data in OF_THE_RUN:
            return Verdict(LIVE, "No verdict: one machine decides nothing.", OWN_MACHINE)
        if not asked:
            note = f"The ledger has {_count(self.exploratory(), 'exploratory row')}."
            return Verdict(NOT_RECORDED, "No verdict: no comparison was fixed beforehand.", note)
        if not found:
            decide = f"{_count(len(asked), 'comparison')} will decide it."
            if self.exploratory():
                decide += (
                    f" The ledger has {_count(self.exploratory(), 'exploratory row')} beside it."
                )
            return Verdict(NOT_RECORDED, "Not recorded yet, so no verdict.", decide)
        verb = "is" if missing == 1 else "are"
        note = f"{_count(missing, 'more comparison')} {verb} not recorded yet." if missing else ""
        if len(counts) == 1:
            (kind,) = counts
            recorded = " recorded so far" if missing else ""
            return Verdict(kind, f"{_verdict_word(kind)} in {_all(found)}{recorded}.", note)
        parts = ", ".join(f"{kind} in {counts[kind]}" for kind in MARKS if counts[kind])
        # What is undecided on one data set is not shown to differ from what is decided on another.
        depends = counts["supported"] and counts["contradicted"]
        words = f"It depends on the data: {parts}." if depends else f"{parts.capitalize()}."
        return Verdict("undecided", words, note)

    # ------------------------------------------------------------ in words

    def source_text(self) -> str:
        """Who says so."""
        article = CONTRACT["articles"].get(self.entry["article"])
        if article is None:
            return "Often said; in neither of the two articles."
        author = f"{article['author']}, " if "author" in article else ""
        return f"{author}“{article['title']}”"

    def missing_text(self) -> str:
        """That the headline is not recorded, where that is so."""
        if self.headline_row() is not None:
            return ""
        where = f", {self.headline.data_name}" if self.headline.data_name else ""
        return f"Not recorded yet: {self.headline.measure}{where}."

    def text(self, is_question: bool) -> str:
        """The card in plain text."""
        lines = [self.entry["question"], f'"{self.entry["sentence"]}"']
        if "original" in self.entry:
            lines.append(f'In Italian: "{self.entry["original"]}"')
            lines.append(f'Word by word: "{self.entry["translation"]}"')
        lines.append(f"Source: {self.source_text()}")
        lines.append(f"What is measured: {self.entry['text']}")
        if is_question:
            return "\n".join(lines)
        verdict = self.verdict()
        lines.append(f"Verdict: {verdict.words} {verdict.note}".rstrip())
        number = self.number_row()
        if number:
            lines.append(f"{_number_text(number)} ({_number_note(number)})")
        lines += filter(None, [self.missing_text()])
        lines.append(f"What would change our mind: {self.entry['change_of_mind']}")
        return "\n".join(lines)

    # ------------------------------------------------------------ as HTML

    def html(self, is_question: bool) -> str:
        """The card as HTML, whose text takes the colour of what shows it."""
        verdict = self.verdict()
        kind = "question" if is_question else verdict.kind
        kicker = "The question" if is_question else "The verdict"
        parts = [
            f'<div class="vc-kicker">{kicker}</div>',
            f'<div class="vc-question">{html.escape(self.entry["question"])}</div>',
            self._quotation(),
        ]
        if is_question:
            parts += [_labelled("What is measured", self.entry["text"]), self._picture([])]
        else:
            parts += [_verdict_html(verdict), self._number(), self._picture(self.pictured())]
            parts.append(_labelled("What would change our mind", self.entry["change_of_mind"]))
        label = html.escape(f"{kicker}: {self.entry['question']}", quote=True)
        return (
            f'<div class="vc-card" data-claim="{self.name}" data-kind="{kind}" role="group" '
            f'aria-label="{label}">{"".join(parts)}</div>'
        )

    def _quotation(self) -> str:
        """The article's words, what they mean, and where they stand."""
        article = CONTRACT["articles"].get(self.entry["article"])
        said = html.escape(self.entry["sentence"])
        if "original" in self.entry:
            original = html.escape(self.entry["original"])
            translation = html.escape(self.entry["translation"])
            quoted = (
                f'<div class="vc-original" lang="it">«{original}»</div>'
                f'<div class="vc-translation">“{translation}”</div>'
            )
        else:
            quoted = f'<div class="vc-translation">{NO_WORDS}: {said}.</div>'
        source = html.escape(self.source_text())
        if article:
            source = f'<a href="{html.escape(article["address"], quote=True)}">{source}</a>'
        return f'<div class="vc-quote">{quoted}<div class="vc-source">{source}</div></div>'

    def _number(self) -> str:
        missing = self.missing_text()
        note = f'<div class="vc-missing">{html.escape(missing)}</div>' if missing else ""
        row = self.number_row()
        if row is None:
            return note
        number, _, interval = _number_text(row).partition(" [")
        interval = f'<span class="vc-interval">[{html.escape(interval)}</span>' if interval else ""
        return (
            f'{note}<div class="vc-number"><b>{html.escape(number)}</b> {interval}</div>'
            f'<div class="vc-note">{html.escape(_number_note(row))}</div>'
        )

    def _picture(self, rows: Sequence[Row]) -> str:
        unit = rows[0].unit if rows else self.entry["headline"]["unit"]
        axis = self.entry.get("axis", "")
        return plot_html(unit, rows, self.entry.get("sides"), alt_text(rows), axis)


def _answers(row: Row, comparison: Comparison) -> bool:
    return (row.id, row.data) == (comparison.id, comparison.data_name)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _all(number: int) -> str:
    """All of so many comparisons."""
    few = {1: "the one comparison", 2: "both comparisons"}
    return few.get(number, f"all {number} comparisons")


def _verdict_word(kind: str) -> str:
    return "No gain worth having" if kind == "no gain" else kind.capitalize()


def _number_text(row: Row) -> str:
    """The effect in the claim's own words where it is decided, else as a plain number."""
    if row.verdict in ("supported", "contradicted"):
        return ledger_text.size(row)
    return ledger_text.shown(row)


def _number_note(row: Row) -> str:
    """What the number compares, on which data, over how many repeats."""
    kind = "decides" if row.primary else "exploratory"
    if row.source == "live":
        kind = "in this run"
    where = f"{row.data}, " if row.data else ""
    return f"{where}{row.question}; 95\u00a0% interval, n\u00a0=\u00a0{row.n}, {kind}"


def _verdict_html(verdict: Verdict) -> str:
    mark = MARKS.get(verdict.kind, MARK_OF_RUN if verdict.kind == LIVE else "○")
    note = f' <span class="vc-note">{html.escape(verdict.note)}</span>' if verdict.note else ""
    return (
        f'<div class="vc-verdict"><span class="vc-sign" aria-hidden="true">{mark}</span> '
        f"<b>{html.escape(verdict.words)}</b>{note}</div>"
    )


def _labelled(label: str, text: str) -> str:
    return f'<div class="vc-text"><b>{label}.</b> {html.escape(text)}</div>'
