"""How lines, tables, numbers and files leave a notebook or a terminal; is anybody there to see it?"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any


def notebook_kernel() -> Any:
    """The kernel of the notebook that this code runs in, or None."""
    if "IPython" not in sys.modules:
        return None
    from IPython import get_ipython

    return getattr(get_ipython(), "kernel", None)


def is_interactive() -> bool:
    """Whether a person sees the output as it comes: a terminal, or a notebook that could ask them a question.

    papermill, nbconvert and nbval tell the kernel that nobody can answer; JupyterLab and Colab tell it the contrary.
    """
    kernel = notebook_kernel()
    return bool(getattr(kernel, "_allow_stdin", False)) if kernel else sys.stdout.isatty()


def emit(line: str, kind: str, content: dict[str, Any]) -> None:
    """Shows a line and, in a notebook, attaches `content` to it as application/vnd.vaetl.<kind>+json."""
    if not notebook_kernel():
        print(line)
        return
    from IPython.display import display

    display({"text/plain": line, f"application/vnd.vaetl.{kind}+json": content}, raw=True)


def record(
    name: str,
    value: float,
    unit: str = "",
    low: float | None = None,
    high: float | None = None,
    n: int | None = None,
    data: str | None = None,
) -> dict[str, Any]:
    """A number as `vaetl run` collects it; `low` and `high` bound its 95 % interval over `n` repeats on `data`."""
    value, low, high = (None if number is None else float(number) for number in (value, low, high))
    n = None if n is None else int(n)
    return {
        "name": name,
        "value": value,
        "unit": unit,
        "low": low,
        "high": high,
        "n": n,
        "data": data,
    }


def report(name: str, value: float, unit: str = "", *interval: float | None, **more: Any) -> None:
    """Shows a number and attaches it as a `record`, which has the same arguments; for many, see `show_table`."""
    content = record(name, value, unit, *interval, **more)
    low, high, n, data = (content[key] for key in ("low", "high", "n", "data"))
    between = "" if low is None or high is None else f" [{low:.4g}, {high:.4g}]"
    notes = ", ".join(note for note in (data, n and f"n = {n}") if note)
    emit(
        f"{name} = {content['value']:.4g}{between}{unit and f' {unit}'}{notes and f' ({notes})'}",
        "record",
        content,
    )


def show_table(
    rows: Mapping[str, str] | Sequence[Sequence[str]],
    header: Sequence[str] = ("", ""),
    records: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Shows a table, as Markdown in a notebook and as text elsewhere; `records` are attached to it, out of sight."""
    rows = list(rows.items()) if isinstance(rows, Mapping) else rows
    text = "\n".join(
        "| " + " | ".join(map(str, row)) + " |" for row in (header, ["---"] * len(header), *rows)
    )
    if not notebook_kernel():
        print(text)
        return
    from IPython.display import display

    attached = {"application/vnd.vaetl.record+json": list(records)} if records else {}
    display({"text/plain": text, "text/markdown": text} | attached, raw=True)


def format_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in plain text."""
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    lines = [
        "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in [header, *rows]
    ]
    return "\n".join(line.rstrip() for line in lines)


def write_whole(path: Path | str, content: bytes | str, mode: int = 0o666) -> None:
    """Writes a file whole or not at all: a reader sees the old content or the new one, never a half.

    Text is written as UTF-8, its line ends as they are; `mode` are the permissions of the new file,
    before the umask. Raises OSError where it cannot be written; the old file then stays.
    """
    path = Path(path)
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
