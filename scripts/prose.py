#!/usr/bin/env python
"""Counts what makes the course's prose hard to read: python scripts/prose.py [SOURCE …]

Of the text cells in course/source, without code, formulas, tables, headings and links' addresses:
words; words per sentence (median, and what nine of ten sentences stay below); the share of the
words that stand in brackets; colons and semicolons per 1,000 words. Sentences end with . ! or ?,
an item of a list is one or more of its own.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from statistics import median, quantiles
from typing import NamedTuple

import jupytext
from sentences import OTHER_BLOCK, SOURCES, split_sentences

GOALS = "14–17, –, ≤ 4 %, ≤ 13, –"


class Counts(NamedTuple):
    """What was counted in a text."""

    words: int
    typical: float
    long: float
    in_brackets: float
    colons: float
    semicolons: float


def plain(text: str) -> str:
    """Markdown without formulas, code, tables, headings, HTML and addresses."""
    text = re.sub(r"```.*?```|\$\$.*?\$\$", " ", text, flags=re.S)
    text = re.sub(r"\$[^$]*\$|`[^`]*`", "x", text)
    text = re.sub(r"\]\([^)]*\)", "]", text)
    text = re.sub(r"<[^>]*>", "\n\n", text)
    lines = [line for line in text.split("\n") if not OTHER_BLOCK.match(line)]
    return re.sub(r"^\s*([-*+]|\d+[.)])\s+", "\n\n", "\n".join(lines), flags=re.M)


def sentence_lengths(text: str) -> list[int]:
    """The number of words of each sentence of a plain text."""
    lengths = []
    for paragraph in re.split(r"\n\s*\n", text):
        for sentence in split_sentences(" ".join(paragraph.split())):
            lengths.append(len(re.findall(r"[\w’'–-]*\w[\w’'–-]*", sentence)))
    return [length for length in lengths if length]


def count(source: str) -> Counts:
    """Counts a source's text cells."""
    cells = jupytext.reads(source, fmt="py:percent").cells
    text = "\n\n".join(plain(cell.source) for cell in cells if cell.cell_type == "markdown")
    lengths = sentence_lengths(text)
    words = sum(lengths)
    asides = re.findall(r"\([^()]*\)", text)
    in_brackets = sum(len(re.findall(r"\w+", aside)) for aside in asides)
    per_thousand = 1000 / max(words, 1)
    return Counts(
        words=words,
        typical=median(lengths),
        long=quantiles(lengths, n=10)[-1],
        in_brackets=100 * in_brackets / max(words, 1),
        colons=text.count(":") * per_thousand,
        semicolons=text.count(";") * per_thousand,
    )


def main(names: list[str]) -> None:
    """Prints a line for each source."""
    paths = [Path(name) for name in names] or sorted(SOURCES.glob("*.py"))
    print(f"{'':34} words  per sentence (9 of 10)  in brackets  colons  semicolons")
    for path in paths:
        c = count(path.read_text("utf-8"))
        print(
            f"{path.stem:34} {c.words:5}  {c.typical:12.0f} ({c.long:.0f})  {c.in_brackets:12.1f} %"
            f"  {c.colons:6.1f}  {c.semicolons:10.1f}"
        )
    print(f"{'goals':34}        {GOALS}")


if __name__ == "__main__":
    main(sys.argv[1:])
