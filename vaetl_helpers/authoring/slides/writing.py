"""Writes decks into a folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from vaetl_helpers.authoring.slides.chapter import chapter_slides
from vaetl_helpers.authoring.slides.deck import Deck, deck_page
from vaetl_helpers.authoring.slides.talk import talk_slides
from vaetl_helpers.chapters import find_number
from vaetl_helpers.errors import CourseError
from vaetl_helpers.output import write_whole

TALK = "talk"


def write_slides(texts: Sequence[str], solutions: Mapping[str, Path], out: Path) -> list[Path]:
    """Writes the decks that are called so, without a name all of them; returns their paths.

    A name is a chapter's, as for every command, or "talk". `solutions` are the solved notebooks by
    chapter. Raises CourseError for another name, and where nothing can be written.
    """
    names = [text if text == TALK else find_number(text, solutions) for text in texts]
    if not names:
        names = [*solutions, TALK]
    written = []
    for name in names:
        if name == TALK:
            stem, deck = TALK, talk_slides(solutions)
        else:
            stem, deck = solutions[name].stem, chapter_slides(solutions[name])
        written.append(_write(out / f"{stem}.html", deck))
    return written


def _write(path: Path, deck: Deck) -> Path:
    page = deck_page(deck)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, page)
    except OSError as error:
        reason = error.strerror or error
        raise CourseError(
            f"{path} cannot be written ({reason}): choose another folder with --out."
        ) from error
    return path
