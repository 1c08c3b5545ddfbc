"""The drawn ideas: shipped as their scripts draw them, readable, and nothing collides."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from in_browser import CHROMIUM, FLAGS
from nbformat import v4, write
from PIL import Image, ImageColor

from vaetl_helpers import figures
from vaetl_helpers.authoring.assets import draw
from vaetl_helpers.authoring.site import write_site
from vaetl_helpers.errors import CourseError
from vaetl_helpers.figures.catalogue import PICTURES
from vaetl_helpers.figures.drawing import LIGHT, SHOWN, WIDTH, Drawing

ROOT = Path(__file__).parents[2]
NAMES = list(figures.DIAGRAMS)
SVG = "{http://www.w3.org/2000/svg}"
POINTS = 72 / 96  # of a CSS pixel
# What the browser measures of one SVG, in its own units; texts without the space above and below.
MEASURE = """
() => {
  const svg = document.querySelector('svg');
  const luminance = colour => {
    const parts = colour.match(/[\\d.]+/g).slice(0, 3).map(part => part / 255)
      .map(part => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
  };
  const contrast = (one, two) => {
    const [dark, light] = [luminance(one), luminance(two)].sort((a, b) => a - b);
    return (light + 0.05) / (dark + 0.05);
  };
  const style = (element, property) => getComputedStyle(element)[property];
  const name = element => element.textContent.trim() || element.outerHTML.slice(0, 90);
  const box = text => {
    const {x, y, width, height} = text.getBBox();
    return {left: x, right: x + width, top: y + 0.2 * height, bottom: y + 0.8 * height};
  };
  const point = (x, y) => new DOMPoint(x, y);
  const corners = ({left, right, top, bottom}, aside) => [
    point(left - aside, top), point(right + aside, top),
    point(left - aside, bottom), point(right + aside, bottom)];
  const texts = [...svg.querySelectorAll('text')];
  const shapes = [...svg.querySelectorAll('rect, circle, polygon')]
    .filter(shape => style(shape, 'fill') !== 'none');
  const lines = [...svg.querySelectorAll('.arrow > path:first-child, path.rule')];
  const follow = line => {
    const found = [], length = line.getTotalLength();
    for (let at = 0; at <= length; at += 1.5) found.push(line.getPointAtLength(at));
    return found;
  };
  const faults = [];

  for (const text of texts) {
    const {left, right, top, bottom} = box(text);
    const middle = point((left + right) / 2, (top + bottom) / 2);
    if (left < 6 || right > WIDTH - 6 || top < 3 || bottom > svg.viewBox.baseVal.height - 3)
      faults.push(`leaves the picture: ${name(text)}`);
    const own = text.parentNode.matches('.box') ? text.parentNode.firstElementChild : null;
    if (own && !corners(box(text), 3).every(corner => own.isPointInFill(corner)))
      faults.push(`does not fit its box: ${name(text)}`);
    const below = shapes.filter(shape => shape.isPointInFill(middle)
      && shape.compareDocumentPosition(text) & Node.DOCUMENT_POSITION_FOLLOWING).at(-1);
    for (const letters of [text, ...text.querySelectorAll('tspan')]) {
      const found = contrast(style(letters, 'fill'), style(below, 'fill'));
      if (found < 4.5) faults.push(`contrast ${found.toFixed(2)}: ${name(text)}`);
    }
  }
  for (const [number, one] of texts.entries())
    for (const two of texts.slice(number + 1)) {
      const a = box(one), b = box(two);
      if (a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom)
        faults.push(`${name(one)} covers ${name(two)}`);
    }
  for (const shape of shapes.slice(1)) {
    const found = contrast(style(shape, 'stroke') === 'none' ? style(shape, 'fill')
      : style(shape, 'stroke'), style(shapes[0], 'fill'));
    if (found < 3) faults.push(`outline of contrast ${found.toFixed(2)}: ${name(shape)}`);
  }
  const paths = lines.map(follow);
  for (const [number, path] of paths.entries()) {
    const inside = path.slice(3, -3);
    for (const text of texts) {
      const {left, right, top, bottom} = box(text);
      if (inside.some(({x, y}) => left < x && x < right && top < y && y < bottom))
        faults.push(`a line crosses ${name(text)}`);
    }
    if (!lines[number].matches('.arrow > path')) continue;
    for (const shape of svg.querySelectorAll('.box > :first-child'))
      if (inside.some(place => shape.isPointInFill(place)))
        faults.push(`an arrow crosses ${name(shape.parentNode)}`);
    for (const [other, path2] of paths.entries()) {
      if (other <= number || !lines[other].matches('.arrow > path')) continue;
      if (path.slice(8, -8).some(a => path2.slice(8, -8).some(
        b => Math.hypot(a.x - b.x, a.y - b.y) < 1.5)))
        faults.push(`two arrows cross: ${lines[number].outerHTML} ${lines[other].outerHTML}`);
    }
  }
  const sizes = [...svg.querySelectorAll('text, tspan')].map(t => parseFloat(style(t, 'fontSize')));
  return {faults, smallest: Math.min(...sizes), width: svg.getBoundingClientRect().width};
}
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if not Path(CHROMIUM).exists():
        pytest.skip("Chromium is not installed")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield started
        started.close()


@pytest.fixture(scope="module")
def page(browser: Any) -> Any:
    return draw.new_page(browser)


def measured(page: Any, svg: str) -> dict[str, Any]:
    page.set_viewport_size({"width": 700, "height": 700})
    page.set_content(f'<body style="margin: 0">{svg}</body>')
    return page.evaluate(MEASURE.replace("WIDTH", str(WIDTH)))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", NAMES)
def test_diagram_can_be_read(page: Any, name: str, scheme: str) -> None:
    found = measured(page, figures.svg(name, scheme))
    assert found["faults"] == []
    assert found["width"] == SHOWN
    assert found["smallest"] * SHOWN / WIDTH * POINTS >= 9


def faulty(kind: str) -> Drawing:
    """A small drawing with one fault."""
    d = Drawing(200)
    if kind == "does not fit its box":
        d.box((50, 50, 60, 40), "far too long")
    elif kind == "leaves the picture":
        d.label((500, 50), "outside")
    elif kind == "covers":
        d.label((200, 50), "one")
        d.label((210, 52), "two")
    elif kind == "contrast":
        d.label((200, 50), "pale")
        d.parts[-1] = d.parts[-1].replace("<text", '<text style="fill: #999"')
    elif kind == "a line crosses":
        d.arrow([(20, 50), (300, 50)])
        d.label((150, 54), "struck")
    elif kind == "an arrow crosses":
        d.box((100, 30, 60, 40), "")
        d.arrow([(20, 50), (300, 50)])
    elif kind == "two arrows cross":
        d.arrow([(20, 50), (300, 50)])
        d.arrow([(150, 10), (150, 150)])
    return d


@pytest.mark.parametrize(
    "kind",
    [
        "does not fit its box",
        "leaves the picture",
        "covers",
        "contrast",
        "a line crosses",
        "an arrow crosses",
        "two arrows cross",
    ],
)
def test_measure_finds_fault(page: Any, kind: str) -> None:
    drawing = faulty(kind).svg("fault", "A fault", "A drawing with one fault.", "light")
    found = measured(page, drawing)
    assert len(found["faults"]) == 1 and kind in found["faults"][0], found["faults"]


@pytest.mark.parametrize("name", NAMES)
def test_diagram_says_its_idea_in_words(name: str) -> None:
    found = figures.diagram(name)
    svg = ElementTree.fromstring(found.svg())
    title, description = svg.find(f"{SVG}title"), svg.find(f"{SVG}desc")
    assert (title.text, description.text) == (found.title, found.alt)
    assert svg.get("aria-labelledby").split() == [title.get("id"), description.get("id")]
    assert svg.get("role") == "img"
    assert len(found.alt.split()) > 40
    assert found.caption.endswith(".") and found.caption not in found.alt


@pytest.mark.parametrize("name", NAMES)
def test_shipped_picture_is_what_its_script_draws(page: Any, name: str) -> None:
    """The digest says so to the letter; the pixels, since fonts differ, within a blur."""
    content = (PICTURES / f"{name}.png").read_bytes()
    shipped = Image.open(io.BytesIO(content))
    assert shipped.info["Source"] == draw.source_digest(name), (
        "run python -m vaetl_helpers.authoring.assets.draw"
    )
    page.set_viewport_size({"width": SHOWN, "height": 600})
    fresh = draw.screenshot(page, name)
    assert fresh.size == shipped.size == (2 * SHOWN, fresh.height)
    blurred = [
        np.asarray(p.convert("RGB").resize((70, fresh.height // 16), Image.Resampling.BOX), float)
        for p in (fresh, shipped)
    ]
    assert np.abs(blurred[0] - blurred[1]).mean() < 3
    for kind, colours in LIGHT.items():
        shares = [share_of(colours.fill, picture) for picture in (fresh, shipped)]
        assert shares == pytest.approx([shares[0]] * 2, abs=0.003), kind
    assert len(content) < 60_000


def share_of(colour: str, picture: Image.Image) -> float:
    """The share of a picture that has this colour, but for what a palette of 64 may change."""
    if colour == "none":
        return 0.0
    distance = np.abs(np.asarray(picture.convert("RGB"), int) - ImageColor.getrgb(colour))
    return float((distance.max(-1) <= 3).mean())


def test_no_picture_is_left_over() -> None:
    assert sorted(path.stem for path in PICTURES.iterdir()) == sorted(NAMES)
    assert sorted(path.stem for path in draw.DOCS.iterdir()) == sorted(draw.IN_DOCS)


@pytest.mark.parametrize("name", draw.IN_DOCS)
def test_file_in_docs_is_what_its_script_draws(name: str) -> None:
    assert (draw.DOCS / f"{name}.svg").read_text("utf-8") == figures.svg(name)


def test_every_diagram_has_its_place() -> None:
    placed = []
    for source in (ROOT / "course" / "source").glob("*.py"):
        placed += re.findall(r"(?m)^# \{diagram: ([\w-]+)\}$", source.read_text("utf-8"))
    assert len(set(placed)) == len(placed)
    in_docs = set()
    image = re.compile(r"!\[([^\]]+)\]\([./]*figures/([\w-]+)\.svg\)")
    for path in (ROOT / "docs").rglob("*.md"):
        for alt, name in image.findall(path.read_text("utf-8")):
            assert alt == figures.diagram(name).alt, f"{path.name}: the alternative text of {name}"
            in_docs.add(name)
    assert in_docs == set(draw.IN_DOCS)
    assert set(placed) | in_docs == set(NAMES)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(CourseError, match="elbo"):
        figures.svg("elbow")
    with pytest.raises(CourseError, match="auto"):
        figures.svg("elbo", "dim")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with one diagram, as a notebook carries it."""
    folder = tmp_path_factory.mktemp("diagrams")
    cell = v4.new_markdown_cell(f"# A title\n\nLook at it.\n\n{figures.markdown('elbo')}\n")
    write(v4.new_notebook(cells=[cell]), folder / "one.ipynb")
    write_site([folder / "one.ipynb"], folder, "Course")
    return folder / "one.html"


@pytest.mark.parametrize(
    ("scheme", "medium", "is_dark"),
    [("light", "screen", False), ("dark", "screen", True), ("dark", "print", False)],
)
def test_page_shows_light_and_dark(
    browser: Any, site: Path, scheme: str, medium: str, is_dark: bool
) -> None:
    page = browser.new_page(viewport={"width": 390, "height": 700}, color_scheme=scheme)
    page.emulate_media(media=medium, color_scheme=scheme)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(site.as_uri())
    figure = page.locator("figure.diagram")
    assert figure.locator("figcaption").inner_text() == figures.diagram("elbo").caption
    assert figure.locator("img").get_attribute("alt") == figures.diagram("elbo").alt
    pixels = np.asarray(Image.open(io.BytesIO(figure.locator("img").screenshot())).convert("L"))
    assert (np.median(pixels) < 60) == is_dark
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert all(url.startswith(("file:", "data:")) for url in asked)
    page.close()


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("system", ["light", "dark"])
def test_diagram_in_jupyterlab_follows_its_theme(browser: Any, theme: str, system: str) -> None:
    """Whatever the system prefers: the style sheet puts the SVG in place of the picture."""
    page = browser.new_page(color_scheme=system)
    cell = figures.markdown("elbo").replace(" id=", " data-jupyter-id=")
    style = f"<style>{figures.lab_style()}</style>"
    page.set_content(f'<body style="color-scheme: {theme}">{style}{cell}</body>')
    pixels = np.asarray(Image.open(io.BytesIO(page.locator("img").screenshot())).convert("L"))
    assert (np.median(pixels) < 60) == (theme == "dark")
    page.close()
