"""What stands below an open bet is withheld: figures, tables, numbers and lines of text.

In place of each output a placeholder is shown, under a display id. Once there is a guess, the
output takes its place, so that the saved notebook holds it where it belongs. Progress bars and
controls are left alone, since nothing may seem to hang.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Bundle = dict[str, Any]  # contents by their MIME type
Publish = Callable[..., None]  # IPython's display: the bundle, its metadata, a display id

PLACEHOLDER = "Hidden until you have placed your bet above."
TELLING = ("text/html", "text/markdown", "text/latex", "application/vnd.vaetl.record+json")
WIDGET = "application/vnd.jupyter.widget-view+json"


@dataclass
class Withheld:
    """An output that waits for the guesses of these bets."""

    display_id: str
    bundle: Bundle
    metadata: dict[str, Any]
    bets: set[str]


@dataclass
class Curtain:
    """Which bets wait for a guess, over which outputs they are drawn, and what they withhold."""

    publish: Publish
    drawn: set[str] = field(default_factory=set)  # bets whose cells are still being run
    falling: set[str] = field(default_factory=set)  # of these, settled in the cell that runs now
    withheld: list[Withheld] = field(default_factory=list)
    count: int = 0
    is_said: bool = False  # whether this cell has said already that something is hidden

    def draw(self, bet: str) -> None:
        """Withholds what the next cells show, until the cell that settles the bet has ended."""
        self.drawn.add(bet)
        self.falling.discard(bet)

    def settle(self, bet: str) -> None:
        """The cell that runs now is the last one whose outputs tell about this bet."""
        if bet in self.drawn:
            self.falling.add(bet)

    def end_cell(self) -> None:
        """A cell has ended."""
        self.drawn -= self.falling
        self.falling.clear()
        self.is_said = False

    def open(self, bet: str) -> None:
        """There is a guess: shows what waited for no other."""
        self.drawn.discard(bet)
        self.falling.discard(bet)
        waiting = self.withheld
        self.withheld = []
        for output in waiting:
            output.bets.discard(bet)
            if output.bets:
                self.withheld.append(output)
            else:
                self.publish(output.bundle, output.metadata, output.display_id, update=True)

    def message(self, message: dict[str, Any]) -> dict[str, Any]:
        """The message of an output as it may be seen now; ipykernel asks before it sends one."""
        content = message["content"]
        is_new = message["msg_type"] == "display_data" and not content["transient"]
        if not self.drawn or not is_new or not is_telling(content["data"]):
            return message
        id = self._keep(content["data"], content["metadata"])
        content["data"] = self._placeholder()
        content["metadata"] = {}
        content["transient"] = {"display_id": id}
        return message

    def text(self, text: str) -> None:
        """Withholds the lines that a cell has printed."""
        bundle = {"text/plain": text.rstrip("\n")}
        id = self._keep(bundle, {})
        self.publish(self._placeholder(), {}, id)

    def _placeholder(self) -> Bundle:
        """The sentence, once a cell; nothing for what else the cell shows."""
        text = "" if self.is_said else PLACEHOLDER
        self.is_said = True
        return {"text/plain": text}

    def _keep(self, bundle: Bundle, metadata: dict[str, Any]) -> str:
        self.count += 1
        id = f"vaetl-bet-{self.count}"
        self.withheld.append(Withheld(id, bundle, metadata, set(self.drawn)))
        return id


def is_telling(bundle: Bundle) -> bool:
    """Whether an output may give a bet away: no control, no progress bar, no line on the data."""
    if WIDGET in bundle:
        return False
    return any(kind.startswith("image/") or kind in TELLING for kind in bundle)


class Printed(io.TextIOBase):
    """Takes the place of sys.stdout during a cell, and keeps what is printed for the curtain."""

    def __init__(self) -> None:
        self.parts: list[str] = []

    encoding = "utf-8"

    def write(self, text: str) -> int:
        self.parts.append(text)
        return len(text)

    def writable(self) -> bool:
        return True


class Stage:
    """A curtain in the kernel of a notebook: it hears of cells, of outputs and of prints."""

    def __init__(self, shell: Any) -> None:
        self.curtain = Curtain(_publish)
        self.printed: Printed | None = None
        self.stdout: Any = None
        shell.display_pub.register_hook(self.curtain.message)
        shell.events.register("pre_run_cell", self._begin)
        shell.events.register("post_run_cell", self._end)

    def _begin(self, *_: Any) -> None:
        if self.curtain.drawn:
            self.stdout = sys.stdout
            self.printed = sys.stdout = Printed()

    def _end(self, *_: Any) -> None:
        if self.printed is not None:
            text = "".join(self.printed.parts)
            if sys.stdout is self.printed:
                sys.stdout = self.stdout
            self.printed = None
            if text.strip():
                self._say(text)
        self.curtain.end_cell()

    def _say(self, text: str) -> None:
        """A guess may have come while the cell ran."""
        if self.curtain.drawn:
            self.curtain.text(text)
        else:
            self.stdout.write(text)


def _publish(
    bundle: Bundle, metadata: dict[str, Any], display_id: str, update: bool = False
) -> None:
    from IPython.display import publish_display_data

    publish_display_data(bundle, metadata, transient={"display_id": display_id}, update=update)


_stages: dict[int, Stage] = {}  # by the shell, of which a kernel has one


def stage() -> Stage | None:
    """The stage of this kernel; None where the kernel cannot withhold an output."""
    from IPython import get_ipython

    shell = get_ipython()
    if shell is None or not hasattr(shell.display_pub, "register_hook"):
        return None
    if id(shell) not in _stages:
        _stages[id(shell)] = Stage(shell)
    return _stages[id(shell)]
