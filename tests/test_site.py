"""The pages need nothing from elsewhere, show every formula, and lead nowhere that does not exist."""

import re
from pathlib import Path

import nbformat
import pytest
from bs4 import BeautifulSoup
from nbformat.v4 import new_output
from small_course import PARAMETERS, write

from vaetl_helpers.authoring.formulas import mathml
from vaetl_helpers.authoring.site import Table, write_site
from vaetl_helpers.runtime import CourseError

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
BADGE = "https://colab.research.google.com/assets/colab-badge.svg"
TEXT = rf"""# Training basics

[![Open in Colab]({BADGE})](https://colab.research.google.com/github/A/B/blob/v1/course/01_first.ipynb)
<a href="https://kaggle.com/x"><img src="https://kaggle.com/static/k.svg" alt="Open in Kaggle"></a>

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
"""
QUIZ = r"""## The quiz

<details><summary>A. It is $\log 10$ and <code>$x$</code></summary>

Yes, as $$\log 10 = -\log \tfrac{1}{10}.$$

</details>
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pages and an index, made of notebooks with every kind of output."""
    folder = tmp_path_factory.mktemp("site")
    first = write(folder, "01_first", TEXT, QUIZ, "draw()", "ask()")
    second = write(folder, "02_second", "# Two\n\n## A part\n\n[back](../course/01_first.ipynb)", PARAMETERS)
    notebook = nbformat.read(first, as_version=4)
    notebook.metadata["widgets"] = {"application/vnd.jupyter.widget-state+json": {"state": {}}}
    draw, ask = notebook.cells[-2:]
    image = {"image/png": PIXEL, "text/plain": "<Figure>"}
    draw.outputs = [
        new_output("display_data", image, metadata={"image/png": {"alt": "Loss falls from 2.3 to 0.4"}}),
        new_output("stream", name="stdout", text="\x1b[31mred\x1b[0m <b> $1 and $2"),
    ]
    ask.outputs = [
        new_output("display_data", data)
        for data in (
            {"application/vnd.jupyter.widget-view+json": {}, "text/plain": "IntSlider"},
            {"application/javascript": "alert(1)"},
            {"text/html": '<table><tr><td>9</td></tr></table><script src="https://x.org/a.js"></script>'},
            {"text/latex": r"$\displaystyle \frac{a}{b}$", "text/plain": "a/b"},
        )
    ]
    nbformat.write(notebook, first)
    table = Table("Chapters", ("chapter", "status"), [("01_first", "passed"), ("02_second", "failed")])
    write_site([first, second], folder / "out", "The course", [table])
    return folder / "out"


def page(site: Path, name: str) -> BeautifulSoup:
    return BeautifulSoup((site / f"{name}.html").read_text("utf-8"), "html.parser")


@pytest.mark.parametrize("name", ["01_first", "02_second", "index"])
def test_a_page_asks_for_nothing(site: Path, name: str) -> None:
    soup = page(site, name)
    assert not soup.select("script, iframe, object, embed, [srcset]")
    assert all(tag["src"].startswith("data:") for tag in soup.select("[src]"))
    assert all(tag.name == "a" or tag["href"] == "data:," for tag in soup.select("[href]"))
    assert "url(" not in soup.style.string and "@import" not in soup.style.string
    policy = soup.find("meta", attrs={"http-equiv": "Content-Security-Policy"})["content"]
    assert policy.startswith("default-src 'none'")


@pytest.mark.parametrize("name", ["01_first", "02_second", "index"])
def test_internal_links_resolve(site: Path, name: str) -> None:
    links = [link["href"] for link in page(site, name).select("a[href]")]
    for href in (link for link in links if not link.startswith("https://")):
        file, _, fragment = href.partition("#")
        target = page(site, Path(file).stem if file else name)
        assert not fragment or target.find(id=fragment), href
    assert not [link for link in links if "ipynb" in link and not link.startswith("https://")]


def test_links_between_notebooks_become_links_between_pages(site: Path) -> None:
    soup = page(site, "01_first")
    assert soup.find("a", string="chapter two")["href"] == "02_second.html#A-part"
    assert soup.find("a", string="the readme") is None and "the readme" in soup.main.get_text()
    assert page(site, "02_second").find("a", string="back")["href"] == "01_first.html"
    assert [a["href"] for a in page(site, "index").main.select("td a")] == ["01_first.html", "02_second.html"]
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
    assert soup.find("a", string="Open in Colab")["href"].startswith("https://colab.research.google.com/github/")
    assert soup.find("a", string="Open in Kaggle")["href"] == "https://kaggle.com/x"
    assert BADGE not in str(soup)


def test_figures_are_inline_with_their_text(site: Path) -> None:
    images = page(site, "01_first").select("img")
    assert [image["alt"] for image in images] == ["Loss falls from 2.3 to 0.4"]
    assert images[0]["src"] == f"data:image/png;base64,{PIXEL}"


def test_what_needs_a_script_is_left_out(site: Path) -> None:
    text = (site / "01_first.html").read_text("utf-8")
    assert not re.search("widget|alert|x.org|IntSlider", text)


def test_phone_and_both_colour_schemes(site: Path) -> None:
    soup = page(site, "01_first")
    assert soup.find("meta", attrs={"name": "viewport"})["content"] == "width=device-width, initial-scale=1"
    assert soup.find("meta", attrs={"name": "color-scheme"})["content"] == "light dark"
    assert soup.style.string.count("prefers-color-scheme: dark") == 2  # the colours of code, and all others
    assert all(table.parent["class"] == ["scroll"] for table in soup.select("table"))
    assert soup.select_one("details > summary")


@pytest.mark.parametrize("latex", [r"\foo{x}", r"\frac{1}{", "a & b", r"\begin{gathered}a\\b\end{gathered}"])
def test_a_formula_that_cannot_be_shown_is_named(latex: str, tmp_path: Path) -> None:
    with pytest.raises(CourseError, match=re.escape(latex)):
        mathml(latex)
    with pytest.raises(CourseError, match=re.escape(latex)):
        write_site([write(tmp_path, "01_first", f"# One\n\n${latex}$")], tmp_path / "out", "The course")
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
    assert write_site([tmp_path / "01_first.ipynb"], tmp_path / "new", "B").exists()  # its own it may replace


@pytest.mark.debian("chromium", "/usr/bin/chromium")
def test_chromium_shows_it_on_a_phone_and_in_the_dark(site: Path) -> None:
    from playwright.sync_api import sync_playwright

    flags = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    flags += " --disable-component-update --disable-sync"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=flags.split())
        view = browser.new_page(viewport={"width": 360, "height": 700}, color_scheme="dark")
        asked, said = [], []
        view.on("request", lambda request: asked.append(request.url))
        view.on("console", lambda message: said.append(message.text))
        view.goto((site / "01_first.html").as_uri())
        assert view.evaluate("document.documentElement.scrollWidth") <= 360
        assert view.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 27)"
        assert view.locator("math").first.bounding_box()["height"] > 10
        assert [url for url in asked if not url.startswith("data:")] == [(site / "01_first.html").as_uri()]
        assert said == []
        browser.close()
