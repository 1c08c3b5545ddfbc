"""Questions with controls in a notebook (ipywidgets), and texts where there are none."""

from __future__ import annotations

import html
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

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
    on_skip: Callable[[], str] | None = None,
) -> Any:
    """Shows a question with its choices, and how sure one is where `sureness` has levels.

    `on_answer(name, sure)` is called once with the choice, or `on_skip()` where one may do without;
    the text that they return is shown below. Returns the panel.
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
    events = Events(answer, on_answer, on_skip, "Choose one first.")
    return _panel(question, controls, label, events)


def ask_interval(
    question: str,
    unit: str,
    on_answer: Callable[[Any, float | None], str],
    on_skip: Callable[[], str] | None = None,
) -> Any:
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
    return _panel(asked, fields, "Bet", Events(answer, on_answer, on_skip, "Give both ends first."))


class Events(NamedTuple):
    """What the buttons of a panel do, and what is said where nothing was chosen."""

    answer: Callable[[], tuple[Any, float | None]]
    on_answer: Callable[[Any, float | None], str]
    on_skip: Callable[[], str] | None
    missing: str


def _panel(question: str, controls: Sequence[Any], label: str, events: Events) -> Any:
    """A framed question with its buttons; it is shown, and answers once."""
    import ipywidgets
    from IPython.display import display

    buttons = [ipywidgets.Button(description=label, button_style="primary")]
    if events.on_skip is not None:
        buttons.append(ipywidgets.Button(description="Show without a bet"))
    said = ipywidgets.HTMLMath()

    def finish(text: str) -> None:
        said.value = as_html(text)
        for control in (*controls, *buttons):
            control.disabled = True

    def on_click(_: Any) -> None:
        value, sure = events.answer()
        if value is None:
            said.value = as_html(events.missing)
            return
        try:
            finish(events.on_answer(value, sure))
        except CourseError as error:  # what was given is no answer: the panel stays open
            said.value = as_html(str(error))

    buttons[0].on_click(on_click)
    if events.on_skip is not None:
        skip = events.on_skip
        buttons[1].on_click(lambda _: finish(skip()))
    asked = ipywidgets.HTMLMath(as_html(question, "b"))
    panel = ipywidgets.VBox([asked, *controls, ipywidgets.HBox(buttons), said], layout=BOX)
    display(panel)
    return panel


def as_html(text: str, tag: str = "span") -> str:
    """A text for an HTML widget, nothing in it taken for markup; `code` in backticks is marked."""
    pieces = html.escape(text).split("`")
    marked = [f"<code>{p}</code>" if number % 2 else p for number, p in enumerate(pieces)]
    return f"<{tag} style='white-space: normal'>{''.join(marked)}</{tag}>"
