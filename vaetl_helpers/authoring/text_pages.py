"""Pages of text beside the chapters: the glossary, cheat sheets, and what came after.

They are Markdown in `docs/`, and become pages by the same way as a notebook's text.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

GLOSSARY = "glossary.md"
SHEET = "sheet_"  # begins the name of a cheat sheet: sheet_03.md
CAME_AFTER = {  # which chapters a page of what came after belongs to
    "after_1_vq_and_depth": ("03b", "03c"),
    "after_2_latent_diffusion": ("03a", "05"),
    "after_3_representation_autoencoders": ("05a", "05b"),
    "after_4_lora": ("04b", "04e"),
    "after_5_setfit": ("04b",),
    "after_6_zero_shot": ("04", "04d"),
    "after_7_self_supervision": ("04", "05a"),
    "after_8_vtab": ("05", "05a"),
}


class Texts(NamedTuple):
    """The Markdown files of the pages beside the chapters; the glossary is None where missing."""

    glossary: Path | None = None
    sheets: Sequence[Path] = ()
    after: Sequence[Path] = ()

    @property
    def paths(self) -> list[Path]:
        """All of them, in the order of the index."""
        return [*self.sheets, *self.after, *filter(None, [self.glossary])]


def texts_beside(course: Path) -> Texts:
    """The texts of the `docs` beside the course, in a checkout and in an installation."""
    docs = course.parent / "docs"
    glossary = docs / GLOSSARY
    return Texts(
        glossary if glossary.exists() else None,
        sorted(docs.glob(f"sheets/{SHEET}*.md")),
        sorted(docs.glob("after/*.md")),
    )


def sheet_of(chapter: str) -> str:
    """The name of a chapter's cheat sheet, without its suffix."""
    return f"{SHEET}{chapter}"
