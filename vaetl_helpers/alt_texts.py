"""The texts of the chapters' figures, which their cells name by an id."""

from __future__ import annotations

import re
from functools import cache
from importlib import resources

import yaml

from vaetl_helpers.errors import unknown_name_error

ID = re.compile(r"\d\d[a-z]?/\w+")  # a chapter's number and a word


def full_text(alt: str) -> str:
    """The alternative text that `alt` names ("03/plane"); any other text stands for itself.

    The texts are in alt_texts.yaml. Raises CourseError for an id that is not there.
    """
    if not ID.fullmatch(alt):
        return alt
    if alt not in known_texts():
        raise unknown_name_error("alternative text", alt, known_texts())
    return known_texts()[alt]


@cache
def known_texts() -> dict[str, str]:
    """All texts by their ids."""
    path = resources.files("vaetl_helpers").joinpath("alt_texts.yaml")
    texts: dict[str, str] = yaml.safe_load(path.read_text("utf-8"))
    return texts
