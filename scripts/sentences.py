"""Puts the prose of the course's sources on one sentence a line: a diff then shows what changed.

    python scripts/sentences.py            rewrites course/source/*.py
    python scripts/sentences.py --check    fails, and names the files that would change

Only paragraphs and items of lists in Markdown cells are touched. Headings, tables, formulas that
stand alone, code, quotations and HTML stay as they are. A rendered page stays the same, because
Markdown reads a line break inside a paragraph as a space.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

SOURCES = Path(__file__).parents[1] / "course" / "source"
# A full stop after one of these ends no sentence.
ABBREVIATIONS = {
    "e.g.",
    "i.e.",
    "cf.",
    "al.",
    "Fig.",
    "Eq.",
    "eq.",
    "vs.",
    "No.",
    "Sec.",
    "p.",
    "pp.",
}
NO_END_INSIDE = re.compile(r"`[^`]*`|\$[^$]*\$|\]\([^)]*\)")  # code, formulas, addresses
END = re.compile(r"[.!?][\"'”’)*_]*\s+(?=[\"'“‘(*_`$\[]*[A-Z0-9`$])")
ITEM = re.compile(r"\s*([-*+]|\d+[.)])\s+")
OTHER_BLOCK = re.compile(r"\s*(#|\||>|<|\{|!\[|---|===)")
FENCES = ("```", "$$")


def split_sentences(text: str) -> list[str]:
    """The sentences of a paragraph that stands on one line."""
    masked = NO_END_INSIDE.sub(lambda match: match[0][0] + "x" * (len(match[0]) - 1), text)
    sentences = []
    start = 0
    for match in END.finditer(masked):
        sentence = text[start : match.end()].strip()
        last_word = sentence.split()[-1].lstrip("(*_\"'“‘")
        initial = re.fullmatch(r"[A-Z]\.", last_word)
        begins_block = ITEM.match(text[match.end() :])
        begins_item = sentence == last_word and ITEM.match(sentence + " ")
        if last_word in ABBREVIATIONS or initial or begins_block or begins_item:
            continue
        sentences.append(sentence)
        start = match.end()
    sentences.append(text[start:].strip())
    return sentences


def opens_fence(line: str) -> str | None:
    """The fence of a code block or a formula that begins here and does not end on the line."""
    text = line.strip().rstrip(" .,;")
    for fence in FENCES:
        if text.startswith(fence):
            ends_here = len(text) > len(fence) and text.endswith(fence)
            return None if ends_here else fence
    return None


def is_prose(line: str, in_paragraph: bool) -> bool:
    """Whether a line belongs to a paragraph or to an item of a list."""
    if not line.strip() or line.strip().startswith(FENCES):
        return False
    if OTHER_BLOCK.match(line):
        return False
    is_code = line.startswith("    ") and not in_paragraph
    return not is_code


class Paragraph:
    """The lines of a paragraph, or of an item of a list, until it ends."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.indent = ""

    def add(self, line: str) -> None:
        """Takes a line; the first one decides how far the others are indented."""
        if not self.lines:
            item = ITEM.match(line)
            leading = len(line) - len(line.lstrip())
            self.indent = " " * (item.end() if item else leading)
        self.lines.append(line.rstrip() if not self.lines else line.strip())

    def flush(self) -> list[str]:
        """Its sentences, one a line; it is empty afterwards."""
        if not self.lines:
            return []
        first, *others = split_sentences(" ".join(self.lines).lstrip())
        is_item = ITEM.match(self.lines[0])
        leading = self.lines[0][: len(self.lines[0]) - len(self.lines[0].lstrip())]
        self.lines = []
        return [
            (leading if is_item else self.indent) + first,
            *(self.indent + line for line in others),
        ]


def one_sentence_a_line(lines: list[str]) -> list[str]:
    """The lines of a Markdown cell, without their leading '# ', with a sentence on each."""
    result: list[str] = []
    paragraph = Paragraph()
    fence: str | None = None
    for line in lines:
        if fence:
            result.append(line)
            if fence in line:
                fence = None
        elif is_prose(line, bool(paragraph.lines)):
            if ITEM.match(line):
                result += paragraph.flush()
            paragraph.add(line)
            if line.endswith("  "):  # a line break that is meant
                *sentences, last = paragraph.flush()
                result += [*sentences, last + "  "]
        else:
            result += paragraph.flush()
            result.append(line)
            fence = opens_fence(line)
    return result + paragraph.flush()


def reflow(source: str) -> str:
    """A source in Jupytext's percent format, its Markdown cells reflowed."""
    result: list[str] = []
    cell: list[str] | None = None  # the lines of the Markdown cell that is being read
    for line in [*source.splitlines(), "# %%"]:
        is_marker = line.startswith("# %%")
        if cell is not None and (is_marker or not line.startswith("#")):
            result += [
                f"# {text}".rstrip() if not text.endswith("  ") else f"# {text}"
                for text in one_sentence_a_line(cell)
            ]
            cell = None
        if cell is not None:
            cell.append(line.removeprefix("#").removeprefix(" "))
        else:
            result.append(line)
        if is_marker and "[markdown]" in line:
            cell = []
    return "\n".join(result[:-1]) + "\n"


def main() -> None:
    """Rewrites the sources, or only checks them."""
    differing = []
    for path in sorted(SOURCES.glob("*.py")):
        source = path.read_text("utf-8")
        reflowed = reflow(source)
        if reflowed != source:
            differing.append(path.name)
            if "--check" not in sys.argv:
                path.write_text(reflowed, "utf-8")
    if "--check" in sys.argv and differing:
        sys.exit(
            f"Not one sentence a line: {', '.join(differing)}; run python scripts/sentences.py."
        )


if __name__ == "__main__":
    main()
