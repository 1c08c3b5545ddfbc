"""A living figure: a widget where somebody can move it, otherwise a picture; and on pages a figure
with one script, allowed by its hash.
"""

from __future__ import annotations

import base64
import json
import re
from hashlib import sha256
from pathlib import Path
from typing import Any

import ipywidgets
import matplotlib.pyplot as plt
import pytest
from matplotlib.figure import Figure

from vaetl_helpers import plots
from vaetl_helpers.authoring.build import without_machine_paths
from vaetl_helpers.authoring.document import policy
from vaetl_helpers.authoring.living_pages import figure_html, living_output, page_script
from vaetl_helpers.errors import CourseError
from vaetl_helpers.living import figure

PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJg"
    "gg=="
)
ALT = "A dot on a line, at a third of it."
SMALL = "// A figure for tests.\nexport default { render() {} };\n"


@pytest.fixture
def scripts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the course's common script and a small one, in place of the package's."""
    (tmp_path / "common.js").write_text(figure.common(), encoding="utf-8")
    (tmp_path / "small.js").write_text(SMALL, encoding="utf-8")
    monkeypatch.setattr(figure, "_folder", lambda: tmp_path)
    figure._widget_class.cache_clear()
    return tmp_path


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, Any]]:
    """What a kernel is told to display: bundles and their metadata."""
    seen: list[tuple[Any, Any]] = []

    def display(data: Any, metadata: Any = None, raw: bool = False) -> None:
        assert raw
        seen.append((data, metadata))

    monkeypatch.setattr(figure, "notebook_kernel", lambda: True)
    monkeypatch.setattr("IPython.display.display", display)
    return seen


def drawn() -> Figure:
    return plots.panels(["a dot"], ALT)[0].figure


def watched(monkeypatch: pytest.MonkeyPatch, value: bool = True) -> None:
    monkeypatch.setattr(figure, "is_interactive", lambda: value)


def test_where_somebody_watches_it_is_a_widget_with_the_whole_script(
    scripts: Path, shown: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    watched(monkeypatch)
    figure.show("small", {"x": 1}, drawn(), ALT)
    [(bundle, metadata)] = shown
    assert set(bundle) == {"text/plain", "image/png", figure.WIDGET}
    assert metadata["image/png"]["alt"] == ALT
    view = bundle[figure.WIDGET]
    assert view["version_major"] == 2 and view["model_id"]
    model = ipywidgets.widgets.widget._instances[view["model_id"]]
    assert model.data == {"x": 1} and model.alt == ALT
    assert model._esm == f"{figure.common()}\n{SMALL}"
    assert not plt.get_fignums()


def test_where_nobody_watches_it_is_a_picture_with_its_data(
    scripts: Path, shown: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    watched(monkeypatch, False)
    figure.show("small", {"x": 1}, drawn(), ALT)
    [(bundle, metadata)] = shown
    assert bundle[figure.LIVING] == {"module": "small", "data": {"x": 1}}
    assert figure.WIDGET not in bundle
    assert base64.b64decode(bundle["image/png"]).startswith(b"\x89PNG")
    assert metadata["image/png"]["alt"] == ALT


@pytest.mark.parametrize("what", ["no anywidget", "ipywidgets 7.7.1"])
def test_what_cannot_be_moved_is_a_picture_that_a_screen_reader_hears_of(
    what: str, scripts: Path, shown: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    watched(monkeypatch)
    monkeypatch.setattr(figure, "find_spec", lambda _: None if "no" in what else object())
    if "7.7.1" in what:
        monkeypatch.setattr(figure, "version", lambda _: "7.7.1")
    figure.show("small", {"x": 1}, drawn(), ALT)
    (spoken, _), (bundle, _) = shown
    assert ALT in spoken["text/html"]
    assert "image/png" in bundle and figure.WIDGET not in bundle


def test_a_terminal_keeps_the_figure_for_plt_show(scripts: Path) -> None:
    static = drawn()
    figure.show("small", {}, static, ALT)
    assert plt.fignum_exists(static.number)
    plt.close(static)


def test_an_unknown_figure_is_named_before_anything_is_shown(
    scripts: Path, shown: list[Any]
) -> None:
    with pytest.raises(CourseError, match="living figure.*unknown.*small"):
        figure.show("unknown", {}, Figure(), ALT)
    assert not shown


# ---------------------------------------------------------------- pages


def test_a_page_allows_its_scripts_by_their_hash_and_no_connection() -> None:
    text = "let a = 1;\n"
    digest = base64.b64encode(sha256(text.encode()).digest()).decode()
    rules = dict(rule.strip().partition(" ")[::2] for rule in policy([text]).split(";"))
    assert rules["script-src"] == f"'sha256-{digest}'"
    assert rules["connect-src"] == rules["default-src"] == "'none'"
    assert "script-src" not in policy([])


def test_the_script_of_a_page_holds_each_module_once(scripts: Path) -> None:
    text = page_script(["small", "small"])
    assert text.count("living.small =") == 1 and text.count("function stage(") == 1
    assert "export" not in re.sub("//.*", "", text)
    assert page_script([]) == ""


def test_a_module_that_offers_nothing_is_named(scripts: Path) -> None:
    (scripts / "small.js").write_text("const a = 1;\n", encoding="utf-8")
    with pytest.raises(CourseError, match=r"small\.js must have one line"):
        page_script(["small"])


def test_no_text_can_end_the_data_of_a_figure() -> None:
    alt = 'a "b" </script><script>alert(1)</script>'
    text = figure_html("small", {"x": "</script>"}, {"alt": alt}, PIXEL)
    content = re.search('<script type="application/json">(.*?)</script>', text)
    assert content is not None
    assert json.loads(content[1]) == {"data": {"x": "</script>"}, "alt": alt}
    assert text.count("</script>") == 1


def test_other_outputs_are_none() -> None:
    assert living_output({"data": {"image/png": "aGk="}}) is None


def test_a_build_takes_paths_out_of_texts_and_leaves_data_alone() -> None:
    output = {figure.LIVING: {"data": "/here/a"}, "text/plain": "/here/a"}
    cleaned = without_machine_paths(output, {"/here": "there"})
    assert cleaned == {figure.LIVING: {"data": "/here/a"}, "text/plain": "there/a"}


@pytest.mark.parametrize("name", figure.modules())
def test_every_script_keeps_to_the_contract(name: str) -> None:
    text = figure.script(name)
    code = re.sub(r"//.*", "", text)
    assert not re.search(r"\bimport\b|\bfetch\b|XMLHttpRequest|WebSocket|\beval\b|innerHTML", code)
    assert set(re.findall(r'model\.get\("(\w+)"\)', code)) <= {"data", "alt"}
    assert not re.search(r"model\.(set|on|save_changes|send)\b", code)
    assert "vaetl-drawn" in code or "stage(" in code
    assert page_script([name])
