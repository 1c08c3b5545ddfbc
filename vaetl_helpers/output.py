"""How lines, tables, numbers and files leave a notebook or a terminal."""

from __future__ import annotations

import math
import os
import re
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO, TypedDict, Unpack


def notebook_kernel() -> Any:
    """The kernel of the notebook that this code runs in, or None."""
    if "IPython" not in sys.modules:
        return None
    from IPython import get_ipython

    return getattr(get_ipython(), "kernel", None)


def is_interactive() -> bool:
    """Whether a person sees the output as it comes.

    They do at a terminal, and in a notebook that could ask them a question: papermill, nbconvert
    and nbval tell the kernel that nobody can answer; JupyterLab and Colab tell it the contrary.
    """
    kernel = notebook_kernel()
    if kernel is None:
        return sys.stdout.isatty()
    return bool(getattr(kernel, "_allow_stdin", False))


def is_on(variable: str) -> bool:
    """Whether a variable of the environment switches something on: 1, true, yes or on."""
    return os.environ.get(variable, "").strip().lower() in ("1", "true", "yes", "on")


# For an output that cannot show them, such as that of a Windows terminal or of a pipe from it.
STAND_INS = {
    "→": "->",
    "–": "-",
    "−": "-",
    "·": "-",
    "…": "...",
    "×": "x",
    "≤": "<=",
    "≥": ">=",
    "≈": "~",
    "■": "#",
    "□": ".",
    "β": "beta",
    "δ": "delta",
}


def say(
    *texts: Any, sep: str = " ", end: str = "\n", file: TextIO | None = None, flush: bool = False
) -> None:
    """Prints as `print` does; a character that the output cannot show becomes a stand-in."""
    stream = sys.stdout if file is None else file
    text = sep.join(map(str, texts)) + end
    print(showable(text, stream), end="", file=stream, flush=flush)


def showable(text: str, stream: Any) -> str:
    """The text as the stream can show it: not all of them write UTF-8, and none half characters."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    try:
        text.encode(encoding)
        return text
    except UnicodeEncodeError:
        return "".join(_stand_in(character, encoding) for character in text)


def _stand_in(character: str, encoding: str) -> str:
    """The character itself where the encoding has it."""
    try:
        character.encode(encoding)
        return character
    except UnicodeEncodeError:
        return STAND_INS.get(character, "?")


def emit(line: str, kind: str, content: dict[str, Any]) -> None:
    """Shows a line; a notebook attaches `content` to it as application/vnd.vaetl.<kind>+json."""
    if not notebook_kernel():
        say(line)
        return
    from IPython.display import display

    display({"text/plain": line, f"application/vnd.vaetl.{kind}+json": content}, raw=True)


TEST_IMAGES = "these test images"
VALIDATION_IMAGES = "these validation images"
IMAGES = (TEST_IMAGES, VALIDATION_IMAGES)  # the same in all repeats, and in no interval


def conditions(conditional: Sequence[str]) -> str:
    """What an interval holds for, in words."""
    phrases = []
    for condition in conditional:
        verb = "for" if condition in IMAGES else "conditional on"
        phrases.append(f"{verb} {condition}")
    return "; ".join(phrases)


def record_id(chapter: str, *parts: str | float | Sequence[str]) -> str:
    """The id of a record, as claims.yaml names it: "04/accuracy/fine_tuned-scratch/10_a_class".

    Parts are texts and numbers; names in one tuple, here ("fine-tuned", "scratch"), are compared.
    """
    slugs = []
    for names in parts:
        if isinstance(names, str | float | int):
            names = [str(names)]
        slugs.append("-".join(map(_slug, names)))
    return "/".join([chapter, *slugs])


def _slug(name: str) -> str:
    """Small letters, digits, dots and underscores; Greek letters are spelled out."""
    spelled = name.lower().replace("β", "beta").replace("μ", "mu").replace("+", " plus ")
    return re.sub(r"[^a-z0-9.]+", "_", spelled.replace("'", "")).strip("_")


def record(  # noqa: PLR0913  # the fields of a record, by keyword
    name: str,
    value: float,
    unit: str = "",
    *,
    id: str | None = None,
    low: float | None = None,
    high: float | None = None,
    n: int | None = None,
    se: float | None = None,
    df: float | None = None,
    conditional: Sequence[str] = (),
    data: str | None = None,
) -> dict[str, Any]:
    """A number as `vaetl run` collects it, to be found by its `id` (see `record_id`) and its data.

    `low` and `high` bound its 95 % interval over `n` repeats on `data`; `se` is the standard error,
    of the logarithm for ratios, `df` its degrees of freedom. `conditional` names what the interval
    holds for alone. `name` is what readers see.
    """
    return {
        "id": id,
        "name": name,
        "value": _float_or_none(value),
        "unit": unit,
        "low": _float_or_none(low),
        "high": _float_or_none(high),
        "n": None if n is None else int(n),
        "se": _float_or_none(se),
        "df": _float_or_none(df),
        "conditional": list(conditional),
        "data": data,
    }


def _float_or_none(number: Any) -> float | None:
    return None if number is None else float(number)


class RecordFields(TypedDict, total=False):
    """What `record` takes by keyword, for `report`, which hands it on."""

    id: str | None
    low: float | None
    high: float | None
    n: int | None
    se: float | None
    df: float | None
    conditional: Sequence[str]
    data: str | None


def report(name: str, value: float, unit: str = "", **fields: Unpack[RecordFields]) -> None:
    """Shows a number and attaches it as a `record`, which has the same arguments.

    For many numbers see `show_table`, for effects of a study `show_record`.
    """
    show_record(record(name, value, unit, **fields))


def show_record(content: dict[str, Any]) -> None:
    """Shows a `record` as a line and attaches it."""
    parts = [f"{content['name'].replace('_', ' ')} = {value_text(content)}"]
    notes = []
    if content["data"]:
        notes.append(content["data"])
    if content["conditional"]:
        notes.append(conditions(content["conditional"]))
    if content["n"]:
        notes.append(f"n = {content['n']}")
    if notes:
        parts.append(f"({', '.join(notes)})")
    emit(" ".join(parts), "record", content)


def value_text(content: Mapping[str, Any]) -> str:
    """A record's value, unit and interval as readers see them; a fraction as per cent."""
    if is_unknown(content):
        return UNKNOWN
    numbers = [content.get("value"), content.get("low"), content.get("high")]
    unit = content.get("unit") or ""
    if unit == "fraction":
        unit = "%"
        numbers = [None if number is None else 100 * number for number in numbers]
    value, low, high = number_texts(*numbers)
    words = ["not finite" if numbers[0] is None else value]
    if unit:
        words.append(unit)
    if None not in numbers[1:]:
        words.append(f"[{low}, {high}]")
    return " ".join(words)


UNKNOWN = "unknown"
# Units of ratios, whose null is 1 and whose effect is the logarithm; -1 where fewer is better.
RATIOS = {"times": 1, "tasks": -1}


def is_unknown(content: Any) -> bool:
    """Whether a record, or a row of the ledger, is a ratio that is open at both ends.

    Some of its runs are censored below and some above, so that its value says nothing. A ratio
    that was measured once is none: it has no standard error.
    """
    is_ratio = content["unit"] in RATIOS and content["se"] is not None
    return is_ratio and content["low"] is None and content["high"] is None


DIGITS = 3  # of the largest number of those that are compared
LARGE = ((1e12, " trillion"), (1e9, " billion"), (1e6, " million"))
SMALLEST = 1e-4  # below it, powers of ten
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def number_texts(*numbers: float | None) -> list[str]:
    """Numbers as readers see them everywhere, all with the same decimals: 1,770 or −0.35.

    The largest has three digits. Those that are None are "open", as the end of an interval.
    """
    sizes = [abs(number) for number in numbers if number is not None and math.isfinite(number)]
    largest = max(sizes, default=0)
    for scale, word in LARGE:
        if largest >= scale:
            return [_with_word(number, scale, word, numbers) for number in numbers]
    if 0 < largest < SMALLEST:
        return [_power_of_ten(number) for number in numbers]
    decimals = _decimals(numbers, largest)
    return [_number_text(number, decimals) for number in numbers]


def _decimals(numbers: Sequence[float | None], largest: float) -> int:
    """Decimals for three digits of the largest, less those that are 0 in all; −1 rounds to tens."""
    if not largest:
        return 0
    decimals = _decimals_of(largest)
    finite = [number for number in numbers if number is not None and math.isfinite(number)]
    rounded = [round(number, decimals) for number in finite]
    while decimals > 0 and all(round(number, decimals - 1) == number for number in rounded):
        decimals -= 1
    return decimals


def _decimals_of(number: float) -> int:
    """Decimals for three digits of a number that is not 0."""
    rounded = float(f"{abs(number):.{DIGITS - 1}e}")
    return DIGITS - 1 - math.floor(math.log10(rounded))


def _number_text(number: float | None, decimals: int) -> str:
    if number is None:
        return "open"
    if not math.isfinite(number):
        return str(number)
    if decimals < 0 and number:  # 1,770 beside 12, which is no ten
        decimals = min(_decimals_of(number), 0)
    text = f"{round(number, decimals):,.{max(decimals, 0)}f}"
    return text.replace("-", "−") if text.strip("-0.,") else text.lstrip("-")


def _with_word(
    number: float | None, scale: float, word: str, numbers: Sequence[float | None]
) -> str:
    """A number in millions or more: 1.77 billion."""
    scaled = [None if other is None else other / scale for other in numbers]
    largest = max(abs(other) for other in scaled if other is not None and math.isfinite(other))
    if number is None:
        return "open"
    return _number_text(number / scale, _decimals(scaled, largest)) + word


def _power_of_ten(number: float | None) -> str:
    """A number that is nearly nothing: 1.2 × 10⁻⁷."""
    if not number:
        return "open" if number is None else "0"
    mantissa, _, exponent = f"{number:.1e}".partition("e")
    power = str(int(exponent)).translate(SUPERSCRIPTS)
    return f"{mantissa.replace('-', '−')} × 10{power}"


def show_table(
    rows: Mapping[str, str] | Sequence[Sequence[str]],
    header: Sequence[str] = ("", ""),
    records: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Shows a table, as Markdown in a notebook and as text elsewhere.

    `records` are attached to it, out of sight.
    """
    if isinstance(rows, Mapping):
        rows = list(rows.items())
    lines = [header, ["---"] * len(header), *rows]
    text = "\n".join(_markdown_row(cells) for cells in lines)
    if not notebook_kernel():
        say(text)
        return
    from IPython.display import display

    bundle: dict[str, Any] = {"text/plain": text, "text/markdown": text}
    if records:
        bundle["application/vnd.vaetl.record+json"] = list(records)
    display(bundle, raw=True)


def _markdown_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"


def format_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in plain text."""
    table = [header, *rows]
    columns = zip(*table, strict=True)
    widths = [max(map(len, column)) for column in columns]
    lines = []
    for row in table:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def user_path(path: Path | str) -> Path:
    """A path as a person writes it: `~` at its start is their home directory."""
    path = Path(path)
    with suppress(RuntimeError):  # there is no such home directory
        return path.expanduser()
    return path


def write_whole(path: Path | str, content: bytes | str, mode: int = 0o666) -> None:
    """Writes a file whole or not at all: a reader sees the old content or the new one, no half.

    Text is written as UTF-8, its line ends as they are; `mode` are the permissions of the new file,
    before the umask. Raises OSError where it cannot be written; the old file then stays.
    """
    path = user_path(path)
    # What a killed process has left under this name is written over.
    partial = path.with_name(f".{path.name}.partial")
    data = content.encode() if isinstance(content, str) else content
    try:
        partial.unlink(missing_ok=True)  # it may have other permissions
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | getattr(os, "O_BINARY", 0), mode)
        with open(descriptor, "wb") as file:
            file.write(data)
        os.replace(partial, path)
    except BaseException:
        with suppress(OSError):
            partial.unlink()
        raise
