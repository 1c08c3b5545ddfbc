"""Slides of the chapters and of a talk over the whole course: pages that need no network."""

from vaetl_helpers.authoring.slides.chapter import chapter_slides
from vaetl_helpers.authoring.slides.deck import Deck, Slide, deck_page
from vaetl_helpers.authoring.slides.talk import talk_slides
from vaetl_helpers.authoring.slides.writing import write_slides

__all__ = ["Deck", "Slide", "chapter_slides", "deck_page", "talk_slides", "write_slides"]
