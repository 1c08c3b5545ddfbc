"""Living figures on pages: the outputs that hold one, the page's script, and what it may do."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Iterable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from vaetl_helpers.errors import CourseError
from vaetl_helpers.living.figure import LIVING, OFFER, common, script

# The browser itself refuses whatever a page asks of any machine.
POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; form-action 'none'; "
    "connect-src 'none'"
)


def policy(scripts: Sequence[str]) -> str:
    """The Content-Security-Policy of a page that runs exactly these scripts, and asks for nothing.

    Without scripts none is allowed, by `default-src`.
    """
    if not scripts:
        return POLICY
    hashes = " ".join(f"'sha256-{_digest(text)}'" for text in scripts)
    return f"{POLICY}; script-src {hashes}"


def _digest(text: str) -> str:
    return base64.b64encode(sha256(text.encode()).digest()).decode()


def script_tag(text: str) -> str:
    """A script of the page, as a module: it runs when the page is there."""
    return f'<script type="module">{text}</script>'


def page_script(modules: Iterable[str]) -> str:
    """The one script that moves a page's living figures, or nothing where it has none."""
    names = sorted(set(modules))
    if not names:
        return ""
    parts = [common(), "const living = {};"]
    parts += [f"living.{name} = (() => {{\n{_as_function_body(name)}\n}})();" for name in names]
    parts.append(Path(__file__).with_name("living.js").read_text("utf-8"))
    return "\n".join(parts)


def _as_function_body(name: str) -> str:
    """A module's text as the body of a function, so that the names of two cannot meet."""
    text = script(name)
    beginnings = [line.startswith(OFFER) for line in text.splitlines()]
    if beginnings.count(True) != 1:
        raise CourseError(f"living/js/{name}.js must have one line that begins with `{OFFER}`.")
    return text.replace(f"\n{OFFER}", "\nreturn", 1)


def figure_html(module: str, data: Any, alt: str, png: str) -> str:
    """A living figure as HTML: its picture (PNG in base64), and its data for the page's script.

    The picture stays where no script runs, and in print.
    """
    content = json.dumps({"data": data, "alt": alt}, ensure_ascii=False, separators=(",", ":"))
    content = content.replace("<", "\\u003c")  # else a text could end the script
    return (
        f'<figure class="living" data-module="{html.escape(module)}">'
        f'<img alt="{html.escape(alt)}" src="data:image/png;base64,{png}">'
        f'<script type="application/json">{content}</script></figure>'
    )


def living_output(output: Any) -> str | None:
    """The HTML of a notebook's output that holds a living figure, or None."""
    data = output.get("data", {})
    if LIVING not in data:
        return None
    content = data[LIVING]
    alt = output.get("metadata", {}).get("image/png", {}).get("alt", "")
    png = data["image/png"].replace("\n", "")
    return figure_html(content["module"], content["data"], alt, png)
