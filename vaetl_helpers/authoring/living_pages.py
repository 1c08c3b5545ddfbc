"""Living figures on pages: the outputs that hold one, and the script that moves them."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from vaetl_helpers.authoring.pictures import picture_html
from vaetl_helpers.errors import CourseError
from vaetl_helpers.living.figure import LIVING, OFFER, common, script


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


def figure_html(module: str, data: Any, metadata: Mapping[str, Any], png: str) -> str:
    """A living figure as HTML: its picture (PNG in base64), and its data for the page's script.

    `metadata` are the picture's, as in `pictures.picture_html`; its `alt` is the figure's text.

    The picture stays where no script runs, and in print, so it needs no second one for phones.
    """
    alt = metadata.get("alt", "")
    metadata = {name: value for name, value in metadata.items() if "narrow" not in name}
    content = json.dumps({"data": data, "alt": alt}, ensure_ascii=False, separators=(",", ":"))
    content = content.replace("<", "\\u003c")  # else a text could end the script
    return (
        f'<figure class="living" data-module="{html.escape(module)}">'
        f"{picture_html(png, metadata)}"
        f'<script type="application/json">{content}</script></figure>'
    )


def living_output(output: Any) -> str | None:
    """The HTML of a notebook's output that holds a living figure, or None."""
    data = output.get("data", {})
    if LIVING not in data:
        return None
    content = data[LIVING]
    metadata = output.get("metadata", {}).get("image/png", {})
    return figure_html(content["module"], content["data"], metadata, data["image/png"])
