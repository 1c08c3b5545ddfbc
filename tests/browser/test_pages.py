"""What a page does by itself: search, contents that follow, copying, dark and narrow figures.

Everything from a file, without a network, under the page's own policy.
"""

from __future__ import annotations

import base64
import io
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest
import torch
from nbformat.v4 import new_output
from PIL import Image
from small_course import write
from test_accessibility import breaches
from test_site import CHROMIUM, DESKTOP, chromium, course_site

from vaetl_helpers import page_figures, plots
from vaetl_helpers.authoring.display_cells import display_cells
from vaetl_helpers.authoring.pictures import dark_twin
from vaetl_helpers.authoring.site import write_site

__all__ = ["course_site"]  # a fixture
pytestmark = pytest.mark.debian("chromium", CHROMIUM)
PHONE = {"width": 390, "height": 844}
FILLER = "Some words that fill the page.\n\n" * 60
FIRST = f"""# First steps

## Gradients descend

{FILLER}

### A quokka's momentum

{FILLER}

## Tables

| data | labels | accuracy of the fine-tuned network | difference and interval | verdict |
|---|---|---|---|---|
| digits | 100 | 88.0 % | 1.14 points [0.59, 1.68] in ten draws of labels | supported |
| clothes | 100 | 71.0 % | 0.20 points [−0.60, 0.90] in ten draws of labels | no gain worth 1 |

{FILLER}"""
SECOND = (
    "# Second\n\n## Momentum of a naïve quokka\n\nNothing else.\n\n## 97.5 % other\n\nA quokka."
)
LONG = "value = " + " + ".join(["a_name_that_is_long"] * 8)
DRAWS = 'axes = plots.panels(["One"], alt="01/x")\naxes[0].plot([1, 2])\n\n\nplt.show()'


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two long pages, with a figure that has a twin for phones."""
    folder = tmp_path_factory.mktemp("pages")
    first = write(folder, "01_first", FIRST, LONG, DRAWS, "after = 1")
    notebook = nbformat.read(first, as_version=4)
    wide = Image.new("RGB", (900, 300), "white")
    wide.paste("black", (100, 100, 200, 200))
    narrow = Image.new("RGB", (400, 700), "white")
    about = {"alt": "A square in a wide figure", "width": 900, "height": 300, "narrow": png(narrow)}
    drawn = new_output("display_data", {"image/png": png(wide)}, metadata={"image/png": about})
    notebook.cells[3].outputs = [drawn]
    nbformat.write(notebook, first)
    second = write(folder, "02_second", SECOND)
    picture = base64.b64decode(png(wide))
    address = "https://example.org/course/"
    write_site([first, second], folder / "out", "The course", address=address, picture=picture)
    return folder / "out"


def png(image: Image.Image) -> str:
    content = io.BytesIO()
    image.save(content, "PNG")
    return base64.b64encode(content.getvalue()).decode()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as started:
        yield started


def opened(browser: Any, path: Path, **options: Any) -> Any:
    """A page of the site; `view.trouble` has what it asked for and what its console said."""
    context = browser.new_context(offline=True, **({"viewport": DESKTOP} | options))
    view = context.new_page()
    view.trouble = []
    view.on("request", lambda request: view.trouble.append(request.url))
    view.on("console", lambda message: view.trouble.append(message.text))
    view.on("pageerror", lambda error: view.trouble.append(str(error)))
    view.goto(path.as_uri())
    return view


def trouble(view: Any) -> list[str]:
    """What the page asked for, apart from itself and its pictures, and what its console said."""
    return [text for text in view.trouble if not text.startswith(("file:", "data:"))]


def test_a_heading_with_a_percent_sign_does_not_stop_the_script(site: Path, browser: Any) -> None:
    """Its anchor is no valid code: decoding it raises, and nothing after it would run."""
    view = opened(browser, site / "02_second.html")
    assert view.locator("nav.toc a", has_text="97.5 %").count() == 1
    assert trouble(view) == []


def test_the_contents_follow_the_reader(site: Path, browser: Any) -> None:
    view = opened(browser, site / "01_first.html")
    inner = view.locator("nav.toc ul ul a")
    for name in ("Gradients-descend", "A-quokka's-momentum", "Tables"):
        view.evaluate("id => document.getElementById(id).scrollIntoView()", name)
        view.wait_for_function(
            "id => document.querySelector('nav.toc [aria-current]')?.hash.slice(1) === "
            "encodeURI(id) || document.querySelector('nav.toc [aria-current]')?.hash === '#' + id",
            arg=name,
        )
        assert inner.is_visible() == (name != "Tables")  # of the section in which the reader is
    box = view.locator("nav.toc").bounding_box()
    assert 0 <= box["y"] < 100  # it has stayed in sight
    assert trouble(view) == []
    view.context.close()


def test_a_search_finds_sections_of_all_pages_without_a_network(site: Path, browser: Any) -> None:
    view = opened(browser, site / "01_first.html")
    view.keyboard.press("/")
    field = view.get_by_label("Search the course")
    field.fill("quok mom")
    results = view.locator("dialog.search li a")
    assert [link.get_attribute("href") for link in results.all()] == [
        "01_first.html#A-quokka's-momentum",
        "02_second.html#Momentum-of-a-naïve-quokka",
    ]
    assert "2 sections" in view.locator("dialog.search [aria-live]").text_content()
    field.fill("NAIVE")  # accents and case do not matter
    assert results.count() == 1
    field.fill("quokka zebra")
    assert results.count() == 0
    assert "No section" in view.locator("dialog.search [aria-live]").text_content()
    field.fill("quokka momentum naive")
    view.keyboard.press("ArrowDown")
    view.keyboard.press("Enter")
    view.wait_for_url("**/02_second.html#*")
    assert view.evaluate("document.getElementById('Momentum-of-a-naïve-quokka') !== null")
    assert trouble(view) == []
    view.context.close()


def test_a_button_copies_the_code_as_it_is(site: Path, browser: Any) -> None:
    view = opened(
        browser, site / "01_first.html", permissions=["clipboard-read", "clipboard-write"]
    )
    code = view.locator(".highlight", has_text="a_name_that_is_long")
    code.hover()
    code.locator("button.copy").click()
    code.get_by_text("Copied").wait_for()
    assert view.evaluate("navigator.clipboard.readText()").strip() == LONG
    view.context.close()


def test_code_scrolls_and_does_not_wrap(site: Path, browser: Any) -> None:
    view = opened(browser, site / "01_first.html", viewport=PHONE)
    code = view.locator(".highlight pre", has_text="a_name_that_is_long")
    assert code.evaluate("tag => tag.scrollWidth > tag.clientWidth")
    assert code.evaluate("tag => tag.clientHeight") < 70  # one line
    assert code.get_attribute("tabindex") == "0"  # and can be scrolled with the arrow keys
    view.context.close()


def test_verdicts_stay_in_sight_on_a_phone(site: Path, browser: Any) -> None:
    view = opened(browser, site / "01_first.html", viewport=PHONE)
    table = view.locator(".scroll", has=view.locator("[data-verdict]"))
    assert table.evaluate("tag => tag.scrollWidth > tag.clientWidth")
    for verdict in ("supported", "no gain"):
        box = table.locator(f"[data-verdict='{verdict}']").bounding_box()
        assert box["x"] > 0 and box["x"] + box["width"] <= PHONE["width"]
    view.context.close()


def test_cells_that_only_draw_are_folded_and_their_figures_are_not(
    site: Path, browser: Any
) -> None:
    view = opened(browser, site / "01_first.html")
    fold = view.locator("details.code")
    first_line = 'axes = plots.panels(["One"], alt="01/x")'
    assert fold.locator("summary").text_content() == f"Code: {first_line}"
    assert not fold.locator("pre").is_visible()
    assert view.locator("figure.plot img").is_visible()
    fold.locator("summary").click()
    assert fold.locator("pre").is_visible()
    view.context.close()


def test_a_phone_gets_the_narrow_figure_and_a_dark_screen_the_dark_one(
    site: Path, browser: Any
) -> None:
    sizes = {}
    for width, scheme in ((390, "light"), (390, "dark"), (1280, "light"), (1280, "dark")):
        view = opened(
            browser,
            site / "01_first.html",
            viewport={"width": width, "height": 800},
            color_scheme=scheme,
        )
        image = view.locator("figure.plot img")
        natural = "tag => tag.decode().then(() => [tag.naturalWidth, tag.naturalHeight])"
        sizes[width, scheme] = tuple(image.evaluate(natural))
        box = image.bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= width
        picture = Image.open(io.BytesIO(image.screenshot())).convert("RGB")
        corner = picture.getpixel((3, 3))
        assert (max(corner) < 60) == (scheme == "dark"), (width, scheme, corner)
        view.context.close()
    assert sizes[390, "light"] == sizes[390, "dark"] == (400, 700)
    assert sizes[1280, "light"] == sizes[1280, "dark"] == (900, 300)


def test_headings_are_links_to_themselves(site: Path, browser: Any) -> None:
    view = opened(browser, site / "01_first.html")
    view.get_by_role("heading", name="Tables").get_by_role("link").click()
    assert view.url.endswith("#Tables")
    top = view.locator("#Tables").bounding_box()["y"]
    bar = view.locator(".bar").bounding_box()
    assert bar["y"] + bar["height"] <= top < 200  # below the bar, not under it
    view.locator("a.top").click()
    view.wait_for_function("window.scrollY < 100")
    view.context.close()


def test_a_link_that_is_shared_shows_a_picture(site: Path, browser: Any) -> None:
    view = opened(browser, site / "02_second.html")
    tags = view.locator("meta[property]").evaluate_all(
        "all => Object.fromEntries(all.map(tag => [tag.getAttribute('property'), tag.content]))"
    )
    assert tags["og:title"] == "Second – The course"
    assert tags["og:image"] == "https://example.org/course/preview.png"
    assert tags["og:url"] == "https://example.org/course/02_second.html"
    assert (site / "preview.png").read_bytes().startswith(b"\x89PNG")
    view.context.close()


def test_without_a_script_there_is_no_button_and_all_can_be_read(site: Path, browser: Any) -> None:
    view = opened(browser, site / "01_first.html", java_script_enabled=False)
    assert view.locator("button:visible").count() == 0
    assert view.locator("nav.toc a").first.is_visible() and view.locator("a.top").is_visible()
    view.context.close()


def test_a_page_in_use_is_built_as_axe_wants_it(site: Path, browser: Any) -> None:
    for name in ("01_first", "index"):
        view = opened(browser, site / f"{name}.html")
        view.keyboard.press("/")
        view.get_by_label("Search the course").fill("quokka")
        view.evaluate("document.querySelectorAll('details').forEach(fold => fold.open = true)")
        assert breaches(view) == set(), name
        view.context.close()


WHITE = """() => [...document.querySelectorAll('body *')].filter(tag => {
  const [r, g, b, a = 1] = getComputedStyle(tag).backgroundColor.match(/[\\d.]+/g).map(Number);
  const box = tag.getBoundingClientRect();  // a thin line is ink, not ground
  return a > .5 && Math.min(r, g, b) > 200 && Math.min(box.width, box.height) > 4
    && tag.checkVisibility();
}).map(tag => tag.outerHTML.slice(0, 90))"""
CUT = """() => [...document.querySelectorAll('main img, main p, main h2, main canvas, main svg')]
  .filter(tag => tag.checkVisibility() && !tag.closest('.scroll, .formula, pre, summary'))
  .filter(tag => { const box = tag.getBoundingClientRect();
    return box.width && (box.left < -1 || box.right > innerWidth + 1); })
  .map(tag => tag.outerHTML.slice(0, 90))"""


@pytest.mark.slow
def test_every_page_of_the_course_fits_a_phone_and_a_dark_screen(
    course_site: Path, browser: Any
) -> None:
    for path in sorted(course_site.glob("*.html")):
        view = opened(browser, path, viewport=PHONE, color_scheme="dark")
        assert view.evaluate("document.documentElement.scrollWidth") <= PHONE["width"], path.name
        assert view.evaluate(CUT) == [], path.name
        assert view.evaluate(WHITE) == [], path.name
        for image in view.locator("main picture img:visible").all():
            assert dark_enough(image.screenshot()), (path.name, image.get_attribute("alt"))
        assert trouble(view) == []
        view.context.close()


def dark_enough(screenshot: bytes) -> bool:
    """Whether the edge of a picture is no white card on a dark page."""
    pixels = np.asarray(Image.open(io.BytesIO(screenshot)).convert("RGB"), dtype=float) / 255
    edge = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    return float(edge.max(axis=1).mean()) < 0.2


@pytest.mark.slow
def test_a_search_of_the_course_finds_what_it_teaches(course_site: Path, browser: Any) -> None:
    view = opened(browser, course_site / "index.html")
    view.keyboard.press("/")
    for query, page in (("elbo", "03_"), ("roofline", "02_"), ("catastrophic forget", "04f_")):
        view.get_by_label("Search the course").fill(query)
        links = view.locator("dialog.search li a").evaluate_all("all => all.map(tag => tag.href)")
        assert any(f"/{page}" in link for link in links), query
    index = view.locator("#search-index").text_content()
    assert len(index) < 200_000 and set(json.loads(index)) == {"pages", "sections", "words"}
    view.context.close()


# ---------------------------------------------------------------- without a browser


def cells(*sources: str) -> list[Any]:
    return [nbformat.v4.new_code_cell(source) for source in sources]


def test_only_cells_whose_work_nobody_needs_are_folded() -> None:
    draws = 'axis = plots.lines(\n    curves,\n    "a",\n)\nplt.show()'
    assert list(display_cells(cells(draws, "x = 1"))) == [0]
    assert list(display_cells(cells(draws, "axis = 2\nprint(axis)"))) == [0]
    assert list(display_cells(cells(draws, "axis.set_title('b')"))) == []  # used below
    assert list(display_cells(cells(draws, "def f():\n    return axis"))) == []
    assert list(display_cells(cells("plots.lines(curves)\nplt.show()"))) == []  # too short to fold
    trains = "history = fit(\n    model,\n    data,\n)\nprint(history)"
    own = "def measure_it():\n    return 1\n\n\nx = 1\n"
    uses_own = "rows = []\nfor i in range(3):\n    rows.append(draws_own(i))\nprint(rows)"
    assert list(display_cells(cells(trains, own))) == []
    assert list(display_cells(cells("def draws_own(i):\n    return i", uses_own))) == []


def test_a_dark_twin_keeps_hues_and_photographs() -> None:
    image = Image.new("RGB", (40, 10), "white")
    image.paste("#0072B2", (10, 0, 20, 10))
    image.paste("black", (20, 0, 30, 10))
    image.paste((200, 60, 30), (30, 0, 40, 10))
    twin = dark_twin(image, [(0.75, 0, 1, 1)])
    white, blue, black, photograph = (twin.getpixel((x, 5)) for x in (5, 15, 25, 35))
    assert white[3] == 0  # the page shows through
    assert blue[2] > blue[0] and blue[2] == max(blue[:3]) and blue[3] > 200
    assert min(black[:3]) > 240 and black[3] > 220
    assert photograph == (200, 60, 30, 255)


def test_panels_are_stacked_for_a_phone_and_put_back() -> None:
    figure, axes = plt.subplots(1, 3, figsize=(12, 3), layout="constrained")
    axes[0].set_title("A title that is much too long to be read in one line on a small phone")
    before = [axis.get_subplotspec() for axis in axes]
    with page_figures.narrowed(figure):
        figure.draw_without_rendering()
        boxes = [axis.get_position() for axis in axes]
        assert boxes[0].y0 > boxes[1].y1 > boxes[1].y0 > boxes[2].y1
        assert figure.get_figwidth() == page_figures.NARROW and "\n" in axes[0].get_title()
    assert [axis.get_subplotspec() for axis in axes] == before
    assert tuple(figure.get_size_inches()) == (12, 3) and "\n" not in axes[0].get_title()
    plt.close(figure)


def test_rows_that_belong_together_stay_so_on_a_phone() -> None:
    figure, axes = plt.subplots(2, 10, figsize=(12, 3))
    for row in axes:
        for axis in row:
            axis.imshow(np.zeros((4, 4)))
            axis.axis("off")
    for row, name in zip(axes, ("original", "reconstruction"), strict=True):
        row[0].text(-0.1, 0.5, name, transform=row[0].transAxes)
    with page_figures.narrowed(figure):
        places = [[axis.get_subplotspec().num1 for axis in row] for row in axes]
        assert places[0] == [*range(5), *range(10, 15)]  # rows of five: 0 and 2 are originals
        assert places[1] == [*range(5, 10), *range(15, 20)]
        assert axes[1][5].get_title(loc="left") == "reconstruction"
    assert axes[1][5].get_title(loc="left") == "" and axes[1][0].texts[0].get_visible()
    plt.close(figure)


def test_a_legend_stands_below_its_panel_on_a_phone_and_is_put_back() -> None:
    figure, axis = plt.subplots(figsize=(6, 3), layout="constrained")
    axis.plot([0, 1], [0, 1], label="one")
    axis.plot([0, 1], [1, 0], label="two")
    legend = axis.legend()
    with page_figures.narrowed(figure):
        figure.draw_without_rendering()
        assert axis.get_legend().get_window_extent().y1 < axis.bbox.y0
        assert figure.get_figheight() > 3
    assert axis.get_legend() is legend and tuple(figure.get_size_inches()) == (6, 3)
    plt.close(figure)


def test_a_key_that_is_wider_than_a_phone_becomes_a_column() -> None:
    figure, axis = plt.subplots(figsize=(8, 3), layout="constrained")
    names = [f"a name that takes its room, number {number}" for number in range(3)]
    lines = [axis.plot([0, 1], [0, 1])[0] for _ in names]
    legend = figure.legend(lines, names, loc="outside lower center", ncols=3)
    with page_figures.narrowed(figure):
        figure.draw_without_rendering()
        [shown] = [key for key in figure.legends if key.get_visible()]
        assert shown.get_window_extent().width < page_figures.NARROW * figure.dpi
    assert figure.legends == [legend] and legend.get_visible()
    plt.close(figure)


def test_long_names_of_ticks_leave_room_for_the_panel_on_a_phone() -> None:
    figure, axis = plt.subplots(figsize=(8, 3), layout="constrained")
    names = ["orientation, 160 labels: one method − another"] * 8
    axis.set_yticks(range(8), names)
    with page_figures.narrowed(figure):
        figure.draw_without_rendering()
        assert axis.bbox.width > 0.4 * page_figures.NARROW * figure.dpi
        boxes = [label.get_window_extent() for label in axis.get_yticklabels()]
        assert all(below.y1 <= above.y0 for below, above in itertools.pairwise(boxes))
    assert [label.get_text() for label in axis.get_yticklabels()] == names
    plt.close(figure)


def test_names_of_lines_are_moved_apart_for_the_panel_as_it_is_stored() -> None:
    curves = {"training": ([1, 2], [1, 0.42]), "validation": ([1, 2], [1, 0.43])}
    axis = plots.lines(curves, "Two lines", "epoch", "loss", "Two lines that end side by side.")
    axis.set_ylim(0, 200)  # after the names were written
    page_figures.space_names(axis.figure)
    axis.figure.draw_without_rendering()
    one, two = (text.get_window_extent() for text in axis.texts)
    assert not one.overlaps(two)
    plt.close(axis.figure)


def test_a_row_is_named_above_the_names_of_its_pictures() -> None:
    images = torch.rand(20, 1, 4, 4)
    tops = [str(number) for number in range(10)]
    figure = plots.image_grid(images, ["one", "two"], "Two rows", "Two rows of noise.", tops=tops)
    with page_figures.narrowed(figure):
        figure.draw_without_rendering()
        first = figure.axes[0]
        assert first.get_title() == "0" and first.get_title(loc="left") == "one\n"
    assert first.get_title(loc="left") == ""
    plt.close(figure)
