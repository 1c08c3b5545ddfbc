"""Pages need nothing from elsewhere, show every formula, and lead nowhere that does not exist."""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import in_browser
import nbformat
import pytest
from bs4 import BeautifulSoup
from in_browser import CHROMIUM
from nbformat.v4 import new_output
from small_course import PARAMETERS, write

from vaetl_helpers.authoring.document import policy
from vaetl_helpers.authoring.formulas import mathml
from vaetl_helpers.authoring.index_page import Table
from vaetl_helpers.authoring.site import write_site
from vaetl_helpers.errors import CourseError

ROOT = Path(__file__).parents[2]
# No name of a host has an address: whatever a page asked for could not arrive.
FLAGS = (*in_browser.FLAGS, "--host-resolver-rules=MAP * ~NOTFOUND")
PHONE, DESKTOP = {"width": 360, "height": 740}, {"width": 1280, "height": 900}
PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJg"
    "gg=="
)
LEAVES = """<meta http-equiv="refresh" content="0;url=https://x.org/"><form action="https://x.org"></form>
<script src="https://x.org/a.js"></script>"""
BADGE = "https://colab.research.google.com/assets/colab-badge.svg"
IMAGE = f'<img src="{BADGE}" alt="A badge">'
COLAB = "https://colab.research.google.com/github/A/B/blob/v1/course/01_first.ipynb"
TEXT = rf"""# Training basics

**Run it yourself:** [Open in Colab]({COLAB}) ·
[Open in Kaggle](https://kaggle.com/x) · <a href="https://a.b/c">{IMAGE}</a>

Minimise $\mathcal{{L}}(\theta) = -\frac{{1}}{{n}} \sum_i \log p_\theta(y_i)$,
see [chapter two](02_second.ipynb#A-part), [the readme](../README.md), [the quiz](#The-quiz) and [a paper](https://arxiv.org/abs/1312.6114).

$$
\begin{{aligned}}
a &= b_1 + c \\
  &< d
\end{{aligned}}
$$

Code keeps its dollars: `$HOME and $PATH`.

```python
price = "$5 and $6"
```

| a | b |
|---|---|
| $x_1$ | 2 |

|   |   |
|---|---|
| key | value |
"""
QUIZ = r"""## The quiz

<details><summary>A. It is $\log 10$ and <code>$x$</code></summary>

Yes, as $$\log 10 = -\log \tfrac{1}{10}.$$

</details>
"""


SECOND = """# Two

## What you will be able to do

- count to 2 with $x$, slowly;
- count on.

## A part

[back](../course/01_first.ipynb)"""
EXERCISE = """def two():
    ### BEGIN SOLUTION
    return 1 + 1
    ### END SOLUTION"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pages and an index, made of notebooks with every kind of output."""
    folder = tmp_path_factory.mktemp("site")
    first = write(folder, "01_first", TEXT, QUIZ, "draw()", "ask()")
    second = write(folder, "02_second", SECOND, EXERCISE, "check()", PARAMETERS)
    notebook = nbformat.read(second, as_version=4)
    notebook.cells[-2].outputs = [new_output("stream", name="stdout", text="correct")]
    nbformat.write(notebook, second)
    notebook = nbformat.read(first, as_version=4)
    notebook.metadata["vaetl"] = notebook.metadata.get("vaetl", {}) | {
        "minutes": {"reading": 50, "exercises": 0, "cpu": 2.5}
    }
    notebook.metadata["widgets"] = {"application/vnd.jupyter.widget-state+json": {"state": {}}}
    draw, ask = notebook.cells[-2:]
    image = {"image/png": PIXEL, "text/plain": "<Figure>"}
    draw.outputs = [
        new_output(
            "display_data", image, metadata={"image/png": {"alt": "Loss falls from 2.3 to 0.4"}}
        ),
        new_output("stream", name="stdout", text="\x1b[31mred\x1b[0m <b> $1 and $2"),
    ]
    ask.outputs = [
        new_output("display_data", data)
        for data in (
            {"application/vnd.jupyter.widget-view+json": {}, "text/plain": "IntSlider"},
            {"application/javascript": "alert(1)"},
            {"text/html": "<table><tr><td>9</td></tr></table>" + LEAVES},
            {"text/latex": r"$\displaystyle \frac{a}{b}$", "text/plain": "a/b"},
        )
    ]
    nbformat.write(notebook, first)
    table = Table(
        "Chapters", ("chapter", "status"), [("01_first", "passed"), ("02_second", "failed")]
    )
    write_site([first, second], folder / "out", "The course", [table])
    return folder / "out"


@contextlib.contextmanager
def chromium() -> Iterator[Any]:
    """Debian's Chromium without a network."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def course_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pages of the course itself."""
    out = tmp_path_factory.mktemp("course")
    return write_site(
        sorted((ROOT / "course" / "solutions").glob("*.ipynb")), out, "The course"
    ).parent


def page(site: Path, name: str) -> BeautifulSoup:
    return BeautifulSoup((site / f"{name}.html").read_text("utf-8"), "html.parser")


@pytest.mark.parametrize("name", ["01_first", "02_second", "index"])
def test_a_page_asks_for_nothing(site: Path, name: str) -> None:
    soup = page(site, name)
    assert not soup.select("iframe, object, embed, script[src], main meta, main form, main script")
    for attribute in ("src", "srcset"):
        assert all(tag[attribute].startswith("data:") for tag in soup.select(f"[{attribute}]"))
    assert all(tag.name == "a" or tag["href"] == "data:," for tag in soup.select("[href]"))
    assert "url(" not in soup.style.string and "@import" not in soup.style.string
    allowed = soup.find("meta", attrs={"http-equiv": "Content-Security-Policy"})["content"]
    assert allowed == policy([tag.string for tag in soup.select("script[type=module]")])
    assert allowed.startswith("default-src 'none'") and "connect-src 'none'" in allowed


@pytest.mark.parametrize("name", ["01_first", "02_second", "index"])
def test_internal_links_resolve(site: Path, name: str) -> None:
    assert not broken_links(
        {name: page(site, name) for name in ("01_first", "02_second", "index")}, name
    )


def broken_links(pages: dict[str, BeautifulSoup], name: str) -> list[str]:
    """The links of a page that lead to no page or to no place in it."""
    links = [link["href"] for link in pages[name].select("a[href]")]
    broken = []
    for href in (link for link in links if not re.match("https?://", link)):
        file, _, fragment = href.partition("#")
        target = pages.get(file.removesuffix(".html") if file else name)
        if target is None or fragment and not target.find(id=fragment):
            broken.append(href)
    return broken


def test_links_between_notebooks_become_links_between_pages(site: Path) -> None:
    soup = page(site, "01_first")
    assert soup.find("a", string="chapter two")["href"] == "02_second.html#A-part"
    assert soup.find("a", string="the readme") is None and "the readme" in soup.main.get_text()
    assert page(site, "02_second").find("a", string="back")["href"] == "01_first.html"
    assert [a["href"] for a in page(site, "index").main.select("td a")] == [
        "01_first.html",
        "02_second.html",
    ]
    assert soup.select_one("nav.toc a")["href"] == "#The-quiz"
    assert soup.select_one("a[rel=next]")["href"] == "02_second.html"


def test_formulas_become_mathml_and_code_stays(site: Path) -> None:
    soup = page(site, "01_first")
    formulas = [math["alttext"] for math in soup.select("math")]
    assert len(formulas) == 6  # two in the text, one in the table, two in the quiz, one output
    assert len(soup.select("div.formula math mtable mtr")) == 2
    assert soup.select_one("summary math")["alttext"] == r"\log 10"
    assert soup.select_one("summary code").get_text() == "$x$"
    codes = [code.get_text() for code in soup.select("p code")]
    assert codes == ["$HOME and $PATH"] and '"$5 and $6"' in soup.main.get_text()
    for tag in soup.select("code, pre, math"):
        tag.decompose()
    assert "$" not in soup.main.get_text() and "\\" not in soup.main.get_text()


def test_badges_are_links_with_a_text(site: Path) -> None:
    soup = page(site, "01_first")
    assert (
        soup.select_one("p.open").get_text(" ", strip=True).startswith("Run it yourself: Open in")
    )
    assert soup.find("a", string="Open in Colab")["href"].startswith(
        "https://colab.research.google.com/github/"
    )
    assert soup.find("a", string="Open in Kaggle")["href"] == "https://kaggle.com/x"
    assert soup.find("a", string="A badge") and BADGE not in str(soup)


def test_figures_are_inline_with_their_text(site: Path) -> None:
    images = page(site, "01_first").select("img")
    assert [image["alt"] for image in images] == ["Loss falls from 2.3 to 0.4"]
    assert images[0]["src"].startswith("data:image/webp;base64,")
    assert images[0]["class"] == ["ink"]  # which the style turns light on a dark screen


def test_a_solution_is_folded_below_the_stub(site: Path) -> None:
    fold = page(site, "02_second").select_one("details:has(> .celltag_solution)")
    assert (
        fold.summary.get_text() == "A solution"
        and fold.pre.get_text() == "def two():\n    return 1 + 1\n"
    )
    stub = fold.find_previous_sibling(class_="code_cell")
    assert stub.pre.get_text() == "def two():\n    return ...  # your code\n"
    assert (
        "correct" in fold.find_next_sibling(class_="code_cell").get_text()
    )  # outputs stay where one sees them
    assert "SOLUTION" not in page(site, "02_second").get_text()


def test_the_index_says_what_the_course_is_and_where_to_begin(site: Path, tmp_path: Path) -> None:
    first, second = (site.parent / f"{name}.ipynb" for name in ("01_first", "02_second"))
    index = page(write_site([first, second], tmp_path / "out", "The course").parent, "index").main
    assert "tests each claim" in index.p.get_text() and "Begin with First." in index.get_text()
    one, two = index.select(".cards > li")
    assert one.a["href"] == "01_first.html" and one.img["alt"] == "Loss falls from 2.3 to 0.4"
    assert "50 minutes to read, 2.5 to run on a laptop" in one.get_text(" ", strip=True)
    assert two.p.get_text() == "You learn to count to 2 with $x$, slowly.".replace(
        "$x$", two.math.get_text()
    )


def test_each_table_has_headers(site: Path) -> None:
    first, second = page(site, "01_first").select("table")[:2]
    assert [cell["scope"] for cell in first.select("th")] == ["col", "col"]
    assert not second.thead and [cell.get_text() for cell in second.select("th[scope=row]")] == [
        "key"
    ]


def test_what_needs_a_script_is_left_out(site: Path) -> None:
    text = (site / "01_first.html").read_text("utf-8")
    assert not re.search("widget|alert\\(|x.org|IntSlider", text)


def test_phone_and_both_colour_schemes(site: Path) -> None:
    soup = page(site, "01_first")
    assert (
        soup.find("meta", attrs={"name": "viewport"})["content"]
        == "width=device-width, initial-scale=1"
    )
    assert soup.find("meta", attrs={"name": "color-scheme"})["content"] == "light dark"
    # the colours of code, those of the page, and figures
    assert soup.style.string.count("prefers-color-scheme: dark") == 3
    assert all(table.parent["class"] == ["scroll"] for table in soup.select("table"))
    assert soup.select_one("details > summary")


@pytest.mark.parametrize(
    "latex", [r"\foo{x}", r"\frac{1}{", "a & b", r"\begin{gathered}a\\b\end{gathered}"]
)
def test_a_formula_that_cannot_be_shown_is_named(latex: str, tmp_path: Path) -> None:
    with pytest.raises(CourseError, match=re.escape(latex)):
        mathml(latex)
    with pytest.raises(CourseError, match=re.escape(latex)):
        write_site(
            [write(tmp_path, "01_first", f"# One\n\n${latex}$")], tmp_path / "out", "The course"
        )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("latex", "part"),
    [
        (r"\boldsymbol{\theta}", "𝜽"),
        (r"\mathbb R", "ℝ"),
        (r"\mathcal N", "𝒩"),
        (r"x \sim p", "<mo>∼</mo>"),
        (r"\log x", '<mi>log</mi><mspace width="0.167em" /><mi>x</mi>'),
        (r"\log(x)", "<mi>log</mi><mo"),
        (r"\arg\min_x", "arg"),
        (r"\text{a & b}", "a &amp; b"),
        (r"\texttt{lr\_max}", "lr_max"),
        (r"a < b", "<mo>&lt;</mo>"),
        (r"\begin{equation}x\end{equation}", "<mi>x</mi>"),
    ],
)
def test_what_browsers_leave_out_is_written_out(latex: str, part: str) -> None:
    assert part in mathml(latex)


def test_a_foreign_index_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("mine", encoding="utf-8")
    with pytest.raises(CourseError, match="index.html is no page of this course"):
        write_site([write(tmp_path, "01_first", "# One")], tmp_path, "The course")
    assert (tmp_path / "index.html").read_text("utf-8") == "mine"
    assert write_site([tmp_path / "01_first.ipynb"], tmp_path / "new", "A").exists()
    assert write_site(
        [tmp_path / "01_first.ipynb"], tmp_path / "new", "B"
    ).exists()  # its own it may replace


@pytest.mark.slow
def test_every_formula_of_the_course_is_shown_and_every_link_leads_somewhere(
    course_site: Path,
) -> None:
    pages = {
        path.stem: BeautifulSoup(path.read_text("utf-8"), "html.parser")
        for path in course_site.glob("*.html")
    }
    notebooks = sorted((ROOT / "course" / "solutions").glob("*.ipynb"))
    assert len(pages) == len(notebooks) + 1
    for path in notebooks:
        soup = pages[path.stem]
        assert len(soup.select("math")) == formulas(path), path.name
        assert not soup.select("a[href*='ORG/REPO']")  # links that would lead nowhere
        for tag in soup.select("code, pre, math"):
            tag.decompose()
        assert not re.search(r"\$\$|\\\(|\\\[|\\\w+\{", soup.main.get_text()), path.name
    assert not {name: broken for name in pages if (broken := broken_links(pages, name))}
    assert all(path.stat().st_size < 3e6 for path in course_site.glob("*.html"))


def formulas(path: Path) -> int:
    """How many formulas stand in a notebook's texts and tables, counted without the page's own
    code.
    """
    cells = nbformat.read(path, as_version=4).cells
    texts = [cell.source for cell in cells if cell.cell_type == "markdown"]
    for output in (output for cell in cells for output in cell.get("outputs", ())):
        texts += [
            text
            for kind, text in output.get("data", {}).items()
            if kind in ("text/markdown", "text/latex")
        ]
    plain = (re.sub(r"(?ms)^```.*?^```|`[^`]*`|<code>.*?</code>|\\\$", "", text) for text in texts)
    return sum(len(re.findall(r"\$\$.+?\$\$|\$[^$]+\$", text, re.DOTALL)) for text in plain)


# Letters that are drawn smaller than 12 pixels, formulas apart, and controls too low for a finger
# (WCAG 2.2, 2.5.8).
SMALL = """() => [...document.querySelectorAll('main *')].filter(tag => !tag.closest('math')
  && [...tag.childNodes].some(node => node.nodeType === 3 && node.data.trim())
  && parseFloat(getComputedStyle(tag).fontSize) < 12).map(tag => tag.outerHTML.slice(0, 80))"""
TARGETS = (
    "all => all.filter(tag => tag.checkVisibility() && tag.offsetHeight < 40).map(tag => "
    "tag.textContent)"
)
FLAT = """all => all.filter(tag => tag.getBoundingClientRect().width < 2
  || tag.getBoundingClientRect().height < 2).map(tag => tag.getAttribute('alttext'))"""


def faults(view: Any, path: Path, phone: bool) -> dict[str, Any]:
    """What is wrong with a page as the browser shows it; nothing where all is well."""
    asked: list[str] = []
    view.on("request", lambda request: asked.append(request.url))
    view.on("console", lambda message: asked.append(message.text))
    view.goto(path.as_uri())
    found = {"wide": max(0, view.evaluate("document.documentElement.scrollWidth - innerWidth"))}
    view.evaluate("document.querySelectorAll('details').forEach(fold => fold.open = true)")
    found["wide with all unfolded"] = max(
        0, view.evaluate("document.documentElement.scrollWidth - innerWidth")
    )
    found["formulas not drawn"] = view.locator("math").evaluate_all(FLAT)
    found["small letters"] = view.evaluate(SMALL)
    found["small targets"] = (
        view.locator("nav a, .open a, summary").evaluate_all(TARGETS) if phone else []
    )
    found["asked for"] = [
        url for url in asked if url != path.as_uri() and not url.startswith("data:")
    ]
    return {what: value for what, value in found.items() if value}


@pytest.mark.slow
@pytest.mark.debian("chromium", CHROMIUM)
def test_chromium_shows_every_page_on_a_phone_and_asks_for_nothing(course_site: Path) -> None:
    pages = sorted(course_site.glob("*.html"))
    screens = ROOT / ".screens"
    screens.mkdir(exist_ok=True)
    with chromium() as browser:
        phone = browser.new_context(viewport=PHONE, color_scheme="dark", offline=True)
        desktop = browser.new_context(
            viewport=DESKTOP, color_scheme="light", offline=True, java_script_enabled=False
        )
        for path in pages:
            view = phone.new_page()
            assert not faults(view, path, phone=True), path.name
            view.close()
        for path in (
            pages
        ):  # without JavaScript there is nothing to measure with, but requests are still seen
            view, asked = desktop.new_page(), []
            view.on("request", lambda request, asked=asked: asked.append(request.url))
            view.goto(path.as_uri())
            assert [url for url in asked if not url.startswith("data:")] == [path.as_uri()]
            view.close()
        for context, name, file in (
            (phone, "03_variational_autoencoder", "site_phone_dark"),
            (desktop, "index", "site_desktop_light"),
        ):
            view = context.new_page()
            view.goto((course_site / f"{name}.html").as_uri())
            view.screenshot(path=screens / f"{file}.png")


BROKEN = """<!doctype html><meta name="viewport" content="width=device-width"><img src="https://example.org/a.png">
<main><p style="font-size: 9px">little</p>
<div style="width: 900px">wide</div><math></math></main><nav><a>low</a></nav>"""


@pytest.mark.debian("chromium", CHROMIUM)
def test_chromium_finds_what_is_wrong_with_a_page(site: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.html").write_text(BROKEN, encoding="utf-8")
    with chromium() as browser:
        view = browser.new_context(viewport=PHONE, offline=True).new_page()
        found = faults(view, tmp_path / "broken.html", phone=True)
        assert set(found) == {
            "wide",
            "wide with all unfolded",
            "formulas not drawn",
            "small letters",
            "small targets",
            "asked for",
        }
        assert (
            faults(
                browser.new_context(viewport=PHONE).new_page(), site / "01_first.html", phone=True
            )
            == {}
        )


@pytest.mark.debian("chromium", CHROMIUM)
def test_the_contents_stand_open_beside_the_text_and_solutions_are_printed(site: Path) -> None:
    with chromium() as browser:
        view = browser.new_page(viewport=DESKTOP)
        view.goto((site / "01_first.html").as_uri())
        assert (
            view.locator("nav.toc a").first.is_visible()
            and not view.locator("nav.toc summary").is_visible()
        )
        view.set_viewport_size(PHONE)
        assert (
            not view.locator("nav.toc a").first.is_visible()
            and view.locator("nav.toc summary").is_visible()
        )
        view.goto((site / "02_second.html").as_uri())
        solution = view.locator(".celltag_solution pre")
        assert not solution.is_visible()
        view.emulate_media(media="print")
        assert solution.is_visible() and not view.locator("nav").first.is_visible()
        assert not view.locator("button.copy").first.is_visible()
