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
from collections.abc import Iterator
from pathlib import Path
from statistics import median, quantiles
from typing import NamedTuple

SOURCES = Path(__file__).parents[1] / "course" / "source"
GOALS = "14–17, –, ≤ 4 %, ≤ 13, –"


class Counts(NamedTuple):
    """What was counted in a text."""

    words: int
    typical: float
    long: float
    in_brackets: float
    colons: float
    semicolons: float


def text_cells(source: str) -> Iterator[str]:
    """The Markdown of a source in the percent format, cell by cell."""
    for cell in re.split(r"^# %%", source, flags=re.M)[1:]:
        head, _, body = cell.partition("\n")
        if "[markdown]" in head:
            yield "\n".join(line.removeprefix("#").removeprefix(" ") for line in body.split("\n"))


def plain(text: str) -> str:
    """The text without formulas, code, tables, headings, HTML and addresses."""
    text = re.sub(r"```.*?```", " ", text, flags=re.S)
    text = re.sub(r"\$\$.*?\$\$", " ", text, flags=re.S)
    text = re.sub(r"\$[^$]*\$", "x", text)
    text = re.sub(r"`[^`]*`", "x", text)
    text = re.sub(r"\]\([^)]*\)", "]", text)
    text = re.sub(r"<[^>]*>", "\n\n", text)
    lines = [line for line in text.split("\n") if not re.match(r"\s*(#|\||\{)", line)]
    return re.sub(r"^\s*([-*]|\d+\.)\s+", "\n\n", "\n".join(lines), flags=re.M)


def sentences(text: str) -> list[list[str]]:
    """The words of each sentence of a plain text."""
    parts = []
    for paragraph in re.split(r"\n\s*\n", text):
        one_line = re.sub(r"\b(e\.g|i\.e|et al|cf|Fig|eq|vs)\.", r"\1", " ".join(paragraph.split()))
        parts += re.split(r"(?<=[.!?])[\"'*)_]*\s+(?=[\"'*(_]*[A-ZÀ-Þ0-9])", one_line)
    found = [re.findall(r"[\w’'–-]*\w[\w’'–-]*", part) for part in parts]
    return [words for words in found if words]


def count(source: str) -> Counts:
    """Counts a source's text cells."""
    text = "\n\n".join(plain(cell) for cell in text_cells(source))
    lengths = [len(words) for words in sentences(text)]
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
