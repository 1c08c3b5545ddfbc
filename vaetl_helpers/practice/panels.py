"""Questions with controls in a notebook (ipywidgets), and texts where there are none."""

from __future__ import annotations

import html
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from vaetl_helpers.errors import CourseError
from vaetl_helpers.output import notebook_kernel, say

WIDE = {"width": "max-content", "max_width": "100%"}
BOX = {"border": "1px solid #8a8a8a", "padding": "0.6em 0.9em", "max_width": "46em"}


def have_widgets() -> bool:
    """Whether controls can be shown: there is a kernel, and ipywidgets is installed."""
    return bool(notebook_kernel()) and importlib.util.find_spec("ipywidgets") is not None


def show_text(markdown: str) -> None:
    """Shows Markdown in a notebook, and the same text elsewhere; no curtain withholds it."""
    show_later(markdown)


def show_later(markdown: str) -> Callable[[str], None]:
    """Shows a text, and returns a function that puts another one in its place."""
    if not notebook_kernel():
        say(markdown)
        return say
    from IPython.display import display

    handle = display(_bundle(markdown), raw=True, display_id=True)
    return lambda text: handle.update(_bundle(text), raw=True)


def _bundle(markdown: str) -> dict[str, str]:
    return {"text/plain": markdown, "text/markdown": markdown}


def ask_choice(
    question: str,
    choices: Mapping[str, str],
    sureness: Sequence[tuple[str, float]],
    on_answer: Callable[[Any, float | None], str],
) -> Any:
    """Shows a question with its choices, and how sure one is where `sureness` has levels.

    `on_answer(name, sure)` is called once with the choice; the text that it returns takes the place
    of the button. Returns the panel.
    """
    import ipywidgets

    names = [(text, name) for name, text in choices.items()]
    radio = ipywidgets.RadioButtons(options=names, value=None, layout=WIDE)
    controls = [radio]
    sure = None
    if sureness:
        sure = ipywidgets.Dropdown(options=sureness, description="I am", layout=WIDE)
        controls.append(sure)

    def answer() -> tuple[Any, float | None]:
        return radio.value, None if sure is None else sure.value

    label = "Bet" if sureness else "Answer"
    return _panel(question, controls, label, answer, on_answer, "Choose one first.")


def ask_interval(question: str, unit: str, on_answer: Callable[[Any, float | None], str]) -> Any:
    """Shows a question about a number, with two fields for an interval one is 80 % sure of."""
    import ipywidgets

    fields = []
    for name in ("at least", "at most"):
        fields.append(ipywidgets.Text(description=name, placeholder=unit, layout={"width": "16em"}))

    def answer() -> tuple[Any, None]:
        texts = [field.value.strip().replace(",", ".") for field in fields]
        return (texts if all(texts) else None), None

    asked = (
        f"{question} Give an interval that you are 80 % sure of{f', in {unit}' if unit else ''}."
    )
    return _panel(asked, fields, "Bet", answer, on_answer, "Give both ends first.")


def _panel(  # noqa: PLR0913  # the parts of a panel
    question: str,
    controls: Sequence[Any],
    label: str,
    answer: Callable[[], tuple[Any, float | None]],
    on_answer: Callable[[Any, float | None], str],
    missing: str,
) -> Any:
    """A framed question with a button; it is shown, and answers once."""
    import ipywidgets
    from IPython.display import display

    button = ipywidgets.Button(description=label, button_style="primary")
    said = ipywidgets.HTMLMath()

    def on_click(_: Any) -> None:
        value, sure = answer()
        if value is None:
            said.value = as_html(missing)
            return
        try:
            said.value = as_html(on_answer(value, sure))
        except CourseError as error:  # what was given is no answer: the panel stays open
            said.value = as_html(str(error))
            return
        for control in (*controls, button):
            control.disabled = True

    button.on_click(on_click)
    parts = [ipywidgets.HTMLMath(as_html(question, "b")), *controls, button, said]
    panel = ipywidgets.VBox(parts, layout=BOX)
    display(panel)
    return panel


def as_html(text: str, tag: str = "span") -> str:
    """A text for an HTML widget, nothing in it taken for markup; `code` in backticks is marked."""
    pieces = html.escape(text).split("`")
    marked = [f"<code>{p}</code>" if number % 2 else p for number, p in enumerate(pieces)]
    return f"<{tag} style='white-space: normal'>{''.join(marked)}</{tag}>"
