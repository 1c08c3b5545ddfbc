#!/usr/bin/env python
"""Measures whether each notebook is one sitting.

    python scripts/shape.py [--executed FOLDER] [--check] [SOURCE …]

Of each source in course/source:

- words of its text cells, counted as `prose.py` does, without the quiz and what stands from
  "## Appendix" on;
- words before its first figure, which is a diagram in the text or a cell that ends in plt.show();
- intervals such as [0.1, 0.4] that its executed notebook prints before the verdict. The verdict is
  the last section whose title begins with "So, ", or without one the quiz. Executed notebooks are
  those of course/solutions, or of FOLDER;
- minutes to read and for exercises, as its header says.

Ends with status 1 where a limit is missed and `--check` is given.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jupytext
import nbformat
from prose import plain, sentence_lengths
from sentences import SOURCES

WORDS, TO_FIGURE, INTERVALS = 2800, 300, 12
SOLUTIONS = SOURCES.parent / "solutions"
NUMBER = r"[+−-]?[\d.,]+(?:e[+-]?\d+)?|[−-]?∞"
INTERVAL = re.compile(rf"\[({NUMBER}), ({NUMBER})\]")
HEADING = re.compile(r"(?m)^(?=## )")
VERDICT = re.compile(r"## (\d+\. )?So, ")
QUIZ = re.compile(r"## Quiz")


class Shape(NamedTuple):
    """What was counted in a notebook; None where it has no figure, or was not executed."""

    words: int
    to_figure: int | None
    intervals: int | None
    minutes: float

    def misses(self) -> list[str]:
        """The limits that are not kept."""
        missed = []
        if self.words > WORDS:
            missed.append("words")
        if self.to_figure is None or self.to_figure > TO_FIGURE:
            missed.append("first figure")
        if self.intervals is not None and self.intervals > INTERVALS:
            missed.append("intervals")
        return missed


def words_of(text: str) -> int:
    """The words of a piece of Markdown."""
    return sum(sentence_lengths(plain(text)))


def sections(cells: list[Any]) -> list[str]:
    """The text of the notebook, cut at its second-level headings."""
    text = "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    return HEADING.split(text)


def words(cells: list[Any]) -> int:
    """The words of all sections but the quiz, up to the first appendix."""
    total = 0
    for section in sections(cells):
        if section.startswith("## Appendix"):
            break
        if not section.startswith("## Quiz"):
            total += words_of(section)
    return total


def words_to_figure(cells: list[Any]) -> int | None:
    """The words that stand before the first figure."""
    total = 0
    for cell in cells:
        if cell.cell_type == "code" and cell.source.rstrip().endswith("plt.show()"):
            return total
        if cell.cell_type != "markdown":
            continue
        above, diagram, _ = cell.source.partition("{diagram:")
        total += words_of(above)
        if diagram:
            return total
    return None


def printed(cell: Any) -> str:
    """What a cell's outputs say to a reader."""
    texts = []
    for output in cell.get("outputs", ()):
        data = output.get("data", {})
        texts.append(output.get("text", ""))
        texts.append(data.get("text/markdown", data.get("text/plain", "")))
    return "\n".join(texts)


def intervals(path: Path) -> int | None:
    """The intervals that an executed notebook prints before its verdict."""
    if not path.exists():
        return None
    cells = nbformat.read(path, as_version=4).cells
    ends = _sections(cells, VERDICT) or _sections(cells, QUIZ) or [len(cells)]
    return sum(len(INTERVAL.findall(printed(cell))) for cell in cells[: ends[-1]])


def _sections(cells: Sequence[Any], title: re.Pattern[str]) -> list[int]:
    """The places of the text cells in which a section with such a title begins."""
    return [
        place
        for place, cell in enumerate(cells)
        if cell.cell_type == "markdown"
        and any(title.match(part) for part in HEADING.split(cell.source))
    ]


def shape(source: Path, executed: Path) -> Shape:
    """Counts a source and its executed notebook."""
    notebook = jupytext.read(source)
    minutes = notebook.metadata["vaetl"]["minutes"]
    return Shape(
        words=words(notebook.cells),
        to_figure=words_to_figure(notebook.cells),
        intervals=intervals(executed / f"{source.stem}.ipynb"),
        minutes=minutes["reading"] + minutes["exercises"],
    )


def main() -> int:
    """Prints a line for each source."""
    parser = argparse.ArgumentParser(description="Is each notebook one sitting?")
    parser.add_argument("sources", nargs="*", type=Path)
    parser.add_argument("--executed", type=Path, default=SOLUTIONS, help="executed notebooks")
    parser.add_argument("--check", action="store_true", help="fail where a limit is missed")
    arguments = parser.parse_args()
    failed = False
    print(f"{'':34} words  to first figure  intervals  minutes")
    for source in arguments.sources or sorted(SOURCES.glob("*.py")):
        counted = shape(source, arguments.executed)
        to_figure = "none" if counted.to_figure is None else counted.to_figure
        printed_intervals = "not run" if counted.intervals is None else counted.intervals
        print(
            f"{source.stem:34} {counted.words:5}  {to_figure:>15}  {printed_intervals:>9}"
            f"  {counted.minutes:7.0f}  {', '.join(counted.misses())}"
        )
        failed |= bool(counted.misses())
    print(f"{'limits':34} {WORDS:5}  {TO_FIGURE:15}  {INTERVALS:9}    35–60")
    return int(failed and arguments.check)


if __name__ == "__main__":
    sys.exit(main())
