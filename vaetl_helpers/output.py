"""How lines, tables and numbers leave a notebook or a terminal; whether anybody is there to see them."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
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


TEST_IMAGES = "these test images"


def conditions(conditional: Sequence[str]) -> str:
    """What an interval holds for, in words."""
    phrases = []
    for condition in conditional:
        verb = "for" if condition == TEST_IMAGES else "conditional on"
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


def report(  # noqa: PLR0913  # the fields of a record, by keyword
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
) -> None:
    """Shows a number and attaches it as a `record`, which has the same arguments.

    For many numbers see `show_table`, for effects of a study `show_record`.
    """
    content = record(
        name,
        value,
        unit,
        id=id,
        low=low,
        high=high,
        n=n,
        se=se,
        df=df,
        conditional=conditional,
        data=data,
    )
    show_record(content)


def show_record(content: dict[str, Any]) -> None:
    """Shows a `record` as a line and attaches it."""
    parts = [f"{content['name']} = {content['value']:.4g}"]
    if content["low"] is not None and content["high"] is not None:
        parts.append(f"[{content['low']:.4g}, {content['high']:.4g}]")
    if content["unit"]:
        parts.append(content["unit"])
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


def show_table(
    rows: Mapping[str, str] | Sequence[Sequence[str]],
    header: Sequence[str] = ("", ""),
    records: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Shows a table, as Markdown in a notebook and as text elsewhere.

    `records` are attached to it, out of sight.
    """
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
