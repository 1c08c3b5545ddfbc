"""Diagrams on the pages: the SVG, light or dark, in place of the picture that notebooks carry."""

from __future__ import annotations

from bs4 import BeautifulSoup, Tag

from vaetl_helpers import figures


def show_diagrams(soup: BeautifulSoup) -> None:
    """Makes every diagram of a page a figure, with the SVG and, below it, its caption."""
    for image in soup.select(f"img[id^='{figures.MARK}']"):
        name = str(image["id"]).removeprefix(figures.MARK)
        if name in figures.DIAGRAMS:
            _show(soup, image, name)


def _show(soup: BeautifulSoup, image: Tag, name: str) -> None:
    image["src"] = figures.svg_uri(name)
    figure = image.wrap(soup.new_tag("figure", attrs={"class": "diagram"}))
    caption = figure.find_next_sibling("p")
    if caption:
        caption.name = "figcaption"
        figure.append(caption.extract())
