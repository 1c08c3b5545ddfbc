"""The course without good eyes, without a mouse, and with other colour vision: pages, figures,
palettes.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest
import torch
from bs4 import BeautifulSoup
from matplotlib.colors import to_rgb
from matplotlib.text import Text
from test_site import CHROMIUM, PHONE, ROOT, chromium, course_site, site

from vaetl_helpers import plots
from vaetl_helpers.authoring.document import document
from vaetl_helpers.authoring.lint import figures

__all__ = ["course_site", "site"]  # fixtures
SOLUTIONS = sorted((ROOT / "course" / "solutions").glob("*.ipynb"))
# Machado, Oliveira and Fernandes 2009, doi:10.1109/TVCG.2009.113, severity 1.0: for linear RGB.
VISION = {
    "normal": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
# From linear sRGB to XYZ (IEC 61966-2-1), divided by the white D65.
XYZ = np.array([[0.4339, 0.3762, 0.1899], [0.2126, 0.7152, 0.0722], [0.0178, 0.1095, 0.8727]])


def linear(colour: Any) -> np.ndarray:
    """Linear RGB of a colour as matplotlib names it."""
    parts = np.array(to_rgb(colour))
    return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)


def contrast(colour: Any, ground: Any = "white") -> float:
    """The contrast ratio of WCAG 2.1, from 1 to 21."""
    dark, light = sorted(linear(c) @ XYZ[1] for c in (colour, ground))
    return (light + 0.05) / (dark + 0.05)


def distance(one: Any, two: Any, vision: str) -> float:
    """How far apart two colours are in CIELAB (ΔE of 1976; about 2 can just be seen) for one kind
    of vision.
    """
    labs = []
    for colour in (one, two):
        seen = np.clip(np.array(VISION[vision]) @ linear(colour), 0, 1)
        xyz = XYZ @ seen
        x, y, z = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
        labs.append(np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)]))
    return float(np.linalg.norm(labs[0] - labs[1]))


def too_near(colours: tuple[str, ...], styles: tuple[str, ...]) -> list[tuple[str, str, str]]:
    """Pairs that somebody could confuse: below 15, and below 25 where the lines have the same style
    too.
    """
    looks = list(zip(colours, styles, strict=True))
    return [
        (one, two, vision)
        for vision in VISION
        for (one, dash), (two, other) in itertools.combinations(looks, 2)
        if distance(one, two, vision) < (25 if dash == other else 15)
    ]


def test_everybody_can_tell_the_colours_apart() -> None:
    assert too_near(plots.COLOURS, plots.STYLES) == []
    okabe_ito = (
        *plots.COLOURS[:4],
        *plots.ON_GREY,
        "black",
    )  # its pale colours are near others of the same style
    assert {vision for *_, vision in too_near(okabe_ito, plots.STYLES)} >= {"deuteranopia"}
    assert {vision for *_, vision in too_near(("#c45a5a", "#5a8a4a"), ("-", "-"))} == {
        "protanopia",
        "deuteranopia",
    }


def test_verdicts_differ_by_mark_and_colour() -> None:
    marks, colours = zip(*plots.VERDICTS.values(), strict=True)
    assert len(set(marks)) == len(marks) and too_near(colours, marks) == []


def test_the_measures_are_the_published_ones() -> None:
    assert contrast("black") == pytest.approx(21) and contrast("#767676") == pytest.approx(
        4.54, abs=0.01
    )
    assert distance("black", "white", "normal") == pytest.approx(100, abs=0.1)
    assert distance("#ff0000", "#00ff00", "normal") == pytest.approx(170.6, abs=1)
    for matrix in VISION.values():  # nobody sees a colour in white or grey
        assert np.allclose(np.sum(matrix, axis=1), 1, atol=1e-5)


def test_lines_and_letters_of_figures_stand_out_from_white() -> None:
    assert all(contrast(colour) >= 3 for colour in plots.COLOURS)
    assert contrast(plots.GREY) >= 4.5
    codes, labels = torch.randn(40, 2), torch.arange(40) % 10
    axes = [
        plots.lines(
            {"one": ([1, 2], [1, 2]), "two": ([1, 2], [2, 1])},
            "Two lines",
            "x",
            "y",
            "Two lines that cross.",
        ),
        plots.bars(
            {"a": 1, "b": 2}, ["1 s", "2 s"], "Bars", "seconds", "A short bar and a long one."
        ),
        plots.latent_scatter(codes, labels, "Codes", "A cloud of numerals."),
    ]
    for axis in axes:
        words = [text for text in axis.figure.findobj(Text) if text.get_text()]
        assert len(words) >= 3 and all(contrast(text.get_color()) >= 4.5 for text in words)
        assert all(contrast(points.get_facecolor()[0]) >= 3 for points in axis.collections)
    plt.close("all")


@pytest.mark.parametrize("path", SOLUTIONS, ids=lambda path: path.stem)
def test_a_figure_without_a_text_is_found(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    assert list(figures(notebook)) == []
    outputs = (output for cell in notebook.cells for output in cell.get("outputs", ()))
    drawn = [output for output in outputs if "image/png" in output.get("data", {})]
    if not drawn:
        return
    about = drawn[-1].metadata.pop("image/png")
    assert any("no alternative text" in message for message in figures(notebook))
    for poor in ("A figure", about["alt"][:5]):
        drawn[-1].metadata["image/png"] = {"alt": poor}
        assert any("must say what the figure shows" in message for message in figures(notebook))


def test_a_text_that_repeats_the_title_is_found() -> None:
    cell = (
        'plots.panels(["The loss falls over the epochs"], alt="The loss falls over the '
        'epochs.")\nplt.show()'
    )
    alt = {"image/png": {"alt": "The loss falls over the epochs."}}
    image = nbformat.v4.new_output("display_data", {"image/png": "AA"}, metadata=alt)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell, outputs=[image])])
    assert any("not in the words of its title" in message for message in figures(notebook))


# Text against what lies behind it; large letters (24 px, or 18.66 px and bold) need 3, others 4.5.
# Signs beside a verdict's word and marks of its interval are pictures, which need 3.
CONTRAST = """() => {
  const parse = text => text.match(/[\\d.]+/g).map(Number);
  const part = v => v <= .04045 * 255 ? v / 255 / 12.92 : ((v / 255 + .055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => .2126 * part(r) + .7152 * part(g) + .0722 * part(b);
  const ground = tag => { for (; tag; tag = tag.parentElement) {
    const c = parse(getComputedStyle(tag).backgroundColor);
    if (c.length < 4 || c[3] > 0) return c; } return [255, 255, 255]; };
  const found = {};
  for (const tag of document.querySelectorAll('body *')) {
    if (![...tag.childNodes].some(node => node.nodeType === 3 && node.data.trim())) continue;
    const style = getComputedStyle(tag), size = parseFloat(style.fontSize);
    const isLarge = size >= 24 || size >= 18.66 && style.fontWeight >= 700;
    const need = isLarge || tag.matches('.vc-sign, .vc-mark') ? 3 : 4.5;
    const [dark, pale] = [light(parse(style.color)), light(ground(tag))].sort((a, b) => a - b);
    const ratio = (pale + .05) / (dark + .05);
    const name = `${style.color} on ${ground(tag)}`;
    found[name] = Math.min(found[name] ?? 99, ratio / need);
  }
  return found;
}"""


def pale(view: Any) -> dict[str, float]:
    """Pairs of colours of a page whose letters are too hard to read, with their share of the
    contrast they need.
    """
    view.evaluate("document.querySelectorAll('details').forEach(fold => fold.open = true)")
    return {pair: share for pair, share in view.evaluate(CONTRAST).items() if share < 1}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as started:
        yield started


def breaches(view: Any) -> set[str]:
    """What axe-core finds, contrast apart, which it takes long for; `pale` looks at that."""
    from axe_playwright_python.sync_playwright import Axe

    options = {"resultTypes": ["violations"], "rules": {"color-contrast": {"enabled": False}}}
    violations = Axe().run(view, options=options).response["violations"]
    return {f"{found['id']}: {found['nodes'][0]['html'][:90]}" for found in violations}


@pytest.mark.slow
@pytest.mark.debian("chromium", CHROMIUM)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_letters_are_easy_to_read(course_site: Path, site: Path, browser: Any, scheme: str) -> None:
    view = browser.new_page(viewport=PHONE, color_scheme=scheme)
    for path in (*sorted(course_site.glob("*.html")), site / "01_first.html"):
        view.goto(path.as_uri())
        assert pale(view) == {}, path.name
    view.close()


@pytest.mark.slow
@pytest.mark.debian("chromium", CHROMIUM)
def test_pages_are_built_as_axe_wants_them(course_site: Path, site: Path, browser: Any) -> None:
    view = browser.new_page(viewport=PHONE)
    for path in (*sorted(course_site.glob("*.html")), site / "index.html"):
        view.goto(path.as_uri())
        assert breaches(view) == set(), path.name
        soup = BeautifulSoup(path.read_text("utf-8"), "html.parser")
        assert all(
            len(image["alt"]) >= 20 and "No description" not in image["alt"]
            for image in soup.select("img")
        )
        words = {link.get_text(" ", strip=True).lower() for link in soup.select("a")}
        assert not words & {"", "here", "click here", "link", "this", "more"}
    view.close()


@pytest.mark.debian("chromium", CHROMIUM)
def test_what_is_wrong_with_a_page_is_found(browser: Any, tmp_path: Path) -> None:
    body = (
        '<h1>One</h1><h3>Three</h3><img src="data:,"><a href="#x"></a><p style="color: '
        '#999">pale</p>'
    )
    text = document("Broken", body).replace('<html lang="en">', "<html>")
    (tmp_path / "broken.html").write_text(text, encoding="utf-8")
    view = browser.new_page(viewport=PHONE)
    view.goto((tmp_path / "broken.html").as_uri())
    assert {found.partition(":")[0] for found in breaches(view)} >= {
        "heading-order",
        "image-alt",
        "link-name",
        "html-has-lang",
    }
    assert list(pale(view)) == ["rgb(153, 153, 153) on 255,255,255"]
    view.close()


@pytest.mark.debian("chromium", CHROMIUM)
def test_a_page_can_be_used_by_keyboard(site: Path, browser: Any) -> None:
    view = browser.new_page(viewport=PHONE)
    view.goto((site / "01_first.html").as_uri())
    focused = (
        "() => [document.activeElement.textContent, "
        "getComputedStyle(document.activeElement).outlineStyle, "
        "document.activeElement.getBoundingClientRect().left >= 0]"
    )
    view.keyboard.press("Tab")
    assert view.evaluate(focused) == ["Skip to the text", "solid", True]
    for _ in range(8):
        view.keyboard.press("Tab")
        assert view.evaluate(focused)[1:] == ["solid", True]
    view.goto((site / "01_first.html").as_uri())
    view.keyboard.press("Tab")
    view.keyboard.press("Enter")
    assert view.evaluate("document.activeElement.id") == "main"
    view.close()
