"""What all pages are made of: head, style sheet, scripts and the policy that the browser keeps."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from pygments.formatters import HtmlFormatter

GENERATOR = '<meta name="generator" content="vaetl">'
# The browser itself refuses whatever a page asks of any machine.
POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; form-action 'none'; "
    "connect-src 'none'"
)


def head(scripts: Sequence[str] = ()) -> str:
    """The lines of HTML that stand first in every page's head; it may run exactly these scripts."""
    return f"""<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy(scripts)}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
{GENERATOR}
<link rel="icon" href="data:,">"""


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


def styles() -> str:
    """The style sheet and the colours of code, light and dark, as an HTML element.

    Any page of this package may use it.
    """
    light = HtmlFormatter(style="xcode").get_style_defs(".highlight")
    dark = HtmlFormatter(style="github-dark").get_style_defs(".highlight")
    sheet = Path(__file__).with_name("site.css").read_text("utf-8")
    in_the_dark = f"@media screen and (prefers-color-scheme: dark) {{\n{dark}\n}}"
    return f"<style>\n{light}\n{in_the_dark}\n{sheet}</style>"


def course_script() -> str:
    """The script that every page of the course runs: search, contents that follow, copying."""
    return Path(__file__).with_name("site.js").read_text("utf-8")


class Frame(NamedTuple):
    """What stands around a page's text, as HTML.

    The bar at its top, the contents beside it, the links below it, and what its script searches
    (JSON). Nothing where empty.
    """

    bar: str = ""
    contents: str = ""
    below: str = ""
    search: str = ""


class Preview(NamedTuple):
    """What a link to the page shows where somebody shares it; `picture` and `address` are URLs."""

    description: str = ""
    picture: str = ""
    picture_alt: str = ""
    address: str = ""


def document(
    title: str,
    body: str,
    frame: Frame | None = None,
    preview: Preview | None = None,
    scripts: Sequence[str] = (),
) -> str:
    """A whole page of HTML fragments (the title is text) that asks for nothing from elsewhere.

    `scripts` are the texts of those that run on it.
    """
    scripts = [text for text in scripts if text]
    frame = frame or Frame()
    lines = [
        "<!doctype html>",
        '<html lang="en">',
        f"<head>\n{head(scripts)}\n<title>{html.escape(title)}</title>",
        _preview_tags(title, preview or Preview()),
        f"{styles()}\n</head>",
        '<body class="course">',
        '<a class="skip" href="#main">Skip to the text</a>',
        frame.bar,
        f'<div class="frame">\n{frame.contents}',
        f'<main id="main" tabindex="-1">\n{body}\n</main>\n</div>',
        frame.below,
        frame.search,
        *map(script_tag, scripts),
        "</body>",
        "</html>\n",
    ]
    return "\n".join(line for line in lines if line)


def _preview_tags(title: str, preview: Preview) -> str:
    """What Mastodon, Slack and others read of a page; a line for each thing that is known."""
    contents = {
        "og:type": "article",
        "og:title": title,
        "og:description": preview.description,
        "og:image": preview.picture,
        "og:image:alt": preview.picture_alt,
        "og:url": preview.address,
    }
    tags = []
    for name, content in contents.items():
        if content:
            tags.append(f'<meta property="{name}" content="{html.escape(content)}">')
    if preview.description:
        tags.append(f'<meta name="description" content="{html.escape(preview.description)}">')
    if preview.picture:
        tags.append('<meta name="twitter:card" content="summary_large_image">')
    return "\n".join(tags)
