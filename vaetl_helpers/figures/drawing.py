"""The visual language of the course's diagrams: boxes, arrows, labels and braces, as SVG.

A diagram is drawn once, on a ground WIDTH units wide; one style sheet gives it its colours in the
light and in the dark. Colour never stands alone: data are sharp rectangles, what is frozen has a
dashed outline, losses are rounded off, what is drawn at random is a circle.
"""

from __future__ import annotations

import html
import math
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from vaetl_helpers.errors import unknown_name_error

WIDTH = 520  # units of a diagram
SHOWN = 560  # pixels that it has on a page of 700
TEXT, SMALL, SCRIPT = 14, 12.5, 11.2  # sizes in units; on the page a script has 9 points
LINE = 17  # from one line of text to the next
SANS = 'system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", sans-serif'
SERIF = '"STIX Two Text", "Cambria", "Times New Roman", "Noto Serif", "DejaVu Serif", serif'


class Colours(NamedTuple):
    """Line and small text; the tint of what is filled. Text in a box has the colour of ink."""

    line: str
    fill: str


# The hues are those of `plots.COLOURS`; letters in any of them have a contrast of 4.5 or more.
LIGHT = {
    "ground": Colours("none", "#ffffff"),
    "ink": Colours("#1b1f24", "#f4f6f8"),
    "faint": Colours("#59636e", "none"),
    "data": Colours("#0067a3", "#e1f0fa"),
    "trained": Colours("#00704f", "#ddf2ea"),
    "frozen": Colours("#59636e", "#eaedf0"),
    "loss": Colours("#ad4300", "#fde9dc"),
    "chance": Colours("#7430c9", "#efe6fb"),
}
DARK = {
    "ground": Colours("none", "#14171b"),
    "ink": Colours("#e4e7eb", "#22272e"),
    "faint": Colours("#a3adb8", "none"),
    "data": Colours("#6cbcf0", "#12344a"),
    "trained": Colours("#50d0a4", "#103b2e"),
    "frozen": Colours("#a3adb8", "#2c323a"),
    "loss": Colours("#ff9e62", "#4a2813"),
    "chance": Colours("#c6a2ff", "#38245a"),
}
MEANINGS = {
    "data": "data",
    "trained": "trained",
    "frozen": "frozen",
    "loss": "loss and gradient",
    "chance": "drawn at random",
}
MARKS = re.compile(r"\*(?P<italic>[^*]+)\*|_\{(?P<below>[^}]*)\}|\^\{(?P<above>[^}]*)\}")
Point = tuple[float, float]


class Box(NamedTuple):
    """Where a shape stands, for the arrows that begin and end at it."""

    x: float
    y: float
    width: float
    height: float

    @property
    def right(self) -> float:
        return self.x + self.width

    @property
    def bottom(self) -> float:
        return self.y + self.height

    @property
    def middle(self) -> Point:
        return self.x + self.width / 2, self.y + self.height / 2

    def at(self, side: str, shift: float = 0) -> Point:
        """The middle of a side ("left", "right", "top", "bottom"), moved along it by `shift`."""
        across, down = self.middle
        points = {
            "left": (self.x, down + shift),
            "right": (self.right, down + shift),
            "top": (across + shift, self.y),
            "bottom": (across + shift, self.bottom),
        }
        return points[side]


class Drawing:
    """A diagram in the making: each method adds one thing and says where it stands.

    Texts may hold `*italic*` for variables, `_{below}` and `^{above}`; `kind` is a key of LIGHT.
    """

    def __init__(self, height: float) -> None:
        self.height = height
        self.parts: list[str] = []

    # ------------------------------------------------------------ shapes with text

    def box(
        self,
        place: tuple[float, float, float, float],
        text: str = "",
        kind: str = "ink",
        note: str = "",
    ) -> Box:
        """A rectangle at (x, y, width, height) with lines of text and, below, of smaller text."""
        box = Box(*place)
        radius = {"data": 0, "loss": min(box.height, 36) / 2}.get(kind, 7)
        shape = (
            f'<rect x="{_n(box.x)}" y="{_n(box.y)}" width="{_n(box.width)}" '
            f'height="{_n(box.height)}" rx="{_n(radius)}"/>'
        )
        self._group(kind, shape, self._lines(box.middle, text, note))
        return box

    def funnel(
        self, place: tuple[float, float, float, float], ends: Point, text: str, kind: str
    ) -> Box:
        """A network that narrows or widens: its left and right ends are `ends` high."""
        box = Box(*place)
        _, middle = box.middle
        left, right = ends[0] / 2, ends[1] / 2
        corners = [
            (box.x, middle - left),
            (box.right, middle - right),
            (box.right, middle + right),
            (box.x, middle + left),
        ]
        points = " ".join(f"{_n(x)},{_n(y)}" for x, y in corners)
        shape = f'<polygon points="{points}" stroke-linejoin="round"/>'
        self._group(kind, shape, self._lines(box.middle, text))
        return box

    def circle(self, centre: Point, radius: float, text: str = "", kind: str = "ink") -> Box:
        """A circle, for one random or computed quantity."""
        x, y = centre
        shape = f'<circle cx="{_n(x)}" cy="{_n(y)}" r="{_n(radius)}"/>'
        self._group(kind, shape, self._lines(centre, text))
        return Box(x - radius, y - radius, 2 * radius, 2 * radius)

    def cells(
        self, origin: Point, counts: tuple[int, int], size: float, kinds: Sequence[str]
    ) -> Box:
        """A grid of small squares (columns, rows), of the `kinds` in turn, column by column."""
        x, y = origin
        columns, rows = counts
        for number in range(columns * rows):
            column, row = divmod(number, rows)
            kind = kinds[number % len(kinds)]
            left, top = x + column * size, y + row * size
            self.bar((left, top, size - 2, size - 2), kind)
        return Box(x, y, columns * size - 2, rows * size - 2)

    def bar(self, place: tuple[float, float, float, float], kind: str) -> Box:
        """A plain rectangle without text: a quantity, or one of many cells."""
        box = Box(*place)
        self.parts.append(
            f'<rect class="{kind} bar" x="{_n(box.x)}" y="{_n(box.y)}" width="{_n(box.width)}" '
            f'height="{_n(box.height)}"/>'
        )
        return box

    def zone(
        self, place: tuple[float, float, float, float], kind: str = "faint", radius: float = 9
    ) -> Box:
        """An empty dashed frame: what belongs together, or where something is missing."""
        box = Box(*place)
        self.parts.append(
            f'<rect class="{kind} zone" x="{_n(box.x)}" y="{_n(box.y)}" width="{_n(box.width)}" '
            f'height="{_n(box.height)}" rx="{_n(radius)}"/>'
        )
        return box

    # ------------------------------------------------------------ text, lines and braces

    def label(
        self, place: Point, text: str, anchor: str = "middle", kind: str = "ink", style: str = ""
    ) -> None:
        """Text on the ground; `style`: "small", "bold" or both; `\\n` begins a new line."""
        x, y = place
        for number, line in enumerate(text.split("\n")):
            self._text((x, y + number * LINE), line, f"{kind} {style}".strip(), anchor)

    def arrow(
        self,
        points: Sequence[Point],
        kind: str = "ink",
        *,
        dashed: bool = False,
        thick: bool = False,
    ) -> None:
        """A line through the points, with rounded corners and a head at its end."""
        tip, before = points[-1], points[-2]
        path = _rounded([*points[:-1], _towards(tip, before, 6)])  # it ends inside the head
        looks = kind
        if dashed:
            looks += " dashed"
        if thick:
            looks += " thick"
        self.parts.append(f'<g class="arrow {looks}"><path d="{path}"/>{_head(tip, before)}</g>')

    def brace(self, start: float, stop: float, y: float, text: str, side: str = "below") -> None:
        """A curly brace from x = start to stop whose tip points at its text."""
        down = 1 if side == "below" else -1
        middle, depth, bend = (start + stop) / 2, 5 * down, 6
        path = (
            f"M{_n(start)} {_n(y)}q0 {depth} {bend} {depth}H{_n(middle - bend)}"
            f"q{bend} 0 {bend} {depth}q0 {-depth} {bend} {-depth}"
            f"H{_n(stop - bend)}q{bend} 0 {bend} {-depth}"
        )
        self.parts.append(f'<path class="rule faint" d="{path}"/>')
        self.label((middle, y + (27 if down > 0 else -17)), text)

    def rule(self, start: Point, stop: Point, kind: str = "faint", dashed: bool = False) -> None:
        """A straight line without heads."""
        looks = f"rule {kind}" + (" dashed" if dashed else "")
        self.parts.append(f'<path class="{looks}" d="{_rounded([start, stop])}"/>')

    def interval(self, low: float, high: float, y: float, kind: str = "data") -> None:
        """An interval with its middle, on a horizontal axis."""
        middle = (low + high) / 2
        path = f"M{_n(low)} {_n(y)}H{_n(high)}"
        for end in (low, high):
            path += f"M{_n(end)} {_n(y - 4)}v8"
        self.parts.append(
            f'<g class="arrow {kind} thick"><path d="{path}"/>'
            f'<circle class="head" cx="{_n(middle)}" cy="{_n(y)}" r="4"/></g>'
        )

    def cross(self, centre: Point, kind: str = "loss", size: float = 7) -> None:
        """A cross, where nothing passes."""
        x, y = centre
        s = size
        self.parts.append(
            f'<path class="cross {kind}" d="M{_n(x - s)} {_n(y - s)}L{_n(x + s)} {_n(y + s)}'
            f'M{_n(x - s)} {_n(y + s)}L{_n(x + s)} {_n(y - s)}"/>'
        )

    def units(self, columns: Sequence[tuple[float, int]], y: float, gap: float) -> None:
        """The units of a network and their connections: (x, how many) by layer, centred at y."""
        layers = []
        for x, count in columns:
            layers.append([(x, y + (i - (count - 1) / 2) * gap) for i in range(count)])
        lines = []
        for i in range(len(layers) - 1):
            for x1, y1 in layers[i]:
                for x2, y2 in layers[i + 1]:
                    lines.append(f"M{_n(x1)} {_n(y1)}L{_n(x2)} {_n(y2)}")
        self.parts.append(f'<path class="threads trained" d="{"".join(lines)}"/>')
        for layer in layers:
            for x, y_unit in layer:
                self.parts.append(
                    f'<circle class="unit trained" cx="{_n(x)}" cy="{_n(y_unit)}" r="4.5"/>'
                )

    def key(self, y: float, kinds: Iterable[str], words: dict[str, str] | None = None) -> None:
        """What the colours mean, in a row centred at height y."""
        meanings = MEANINGS | (words or {})
        entries = [(kind, meanings[kind]) for kind in kinds]
        # A letter has about 0.58 of its size; the gaps between entries take up what is over.
        widths = [20 + 0.58 * SMALL * len(text) for _, text in entries]
        gap = 22
        x = (WIDTH - sum(widths) - gap * (len(entries) - 1)) / 2
        for (kind, text), width in zip(entries, widths, strict=True):
            radius = {"data": 0, "loss": 5.5, "chance": 5.5}.get(kind, 3)
            self.parts.append(
                f'<rect class="{kind}" x="{_n(x)}" y="{_n(y - 9)}" width="11" height="11" '
                f'rx="{_n(radius)}"/>'
            )
            self.label((x + 17, y), text, "start", "faint", "small")
            x += width + gap

    # ------------------------------------------------------------ the file

    def svg(self, name: str, title: str, description: str, scheme: str = "auto") -> str:
        """The whole diagram; `scheme`: "light", "dark", or "auto", what the viewer prefers."""
        if scheme not in ("auto", "light", "dark"):
            raise unknown_name_error("scheme", scheme, ("auto", "light", "dark"))
        sheet = _rules(DARK if scheme == "dark" else LIGHT)
        if scheme == "auto":
            sheet += f"@media screen and (prefers-color-scheme: dark) {{\n{_rules(DARK)}}}\n"
        lines = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {_n(self.height)}" '
            f'width="{SHOWN}" height="{_n(SHOWN / WIDTH * self.height)}" role="img" '
            f'aria-labelledby="{name}-title {name}-desc">',
            f'<title id="{name}-title">{html.escape(title)}</title>',
            f'<desc id="{name}-desc">{html.escape(description)}</desc>',
            f"<style>\n{FIXED}{sheet}</style>",
            f'<rect class="ground" width="{WIDTH}" height="{_n(self.height)}" rx="8"/>',
            *self.parts,
            "</svg>\n",
        ]
        return "\n".join(lines)

    # ------------------------------------------------------------ inside

    def _group(self, kind: str, shape: str, texts: Sequence[str]) -> None:
        self.parts.append(f'<g class="box {kind}">{shape}{"".join(texts)}</g>')

    def _lines(self, middle: Point, text: str, note: str = "") -> list[str]:
        """Lines of text and of smaller text, as a block centred at `middle`."""
        x, y = middle
        lines = [(line, "") for line in text.split("\n") if line]
        lines += [(line, "small") for line in note.split("\n") if line]
        first = y - LINE * (len(lines) - 1) / 2 + 0.35 * TEXT
        return [
            _text_element((x, first + number * LINE), line, f"ink {style}".strip(), "middle")
            for number, (line, style) in enumerate(lines)
        ]

    def _text(self, place: Point, text: str, looks: str, anchor: str) -> None:
        self.parts.append(_text_element(place, text, looks, anchor))


def _text_element(place: Point, text: str, looks: str, anchor: str) -> str:
    x, y = place
    where = "" if anchor == "start" else f' text-anchor="{anchor}"'
    return f'<text class="{looks}" x="{_n(x)}" y="{_n(y)}"{where}>{_marked(text)}</text>'


def _marked(text: str) -> str:
    """Text whose marks have become spans; after a script the line goes back to where it was."""
    pieces = []
    place, shift = 0, 0.0  # shift: how far the line has to go back
    for mark in MARKS.finditer(text):
        plain = text[place : mark.start()]
        if plain:
            pieces.append(_span(plain, "", -shift))
            shift = 0.0
        if mark["italic"] is not None:
            pieces.append(_span(mark["italic"], "it", -shift))
            shift = 0.0
        else:
            level = 3.5 if mark["below"] is not None else -5.0
            script = mark["below"] if mark["below"] is not None else mark["above"]
            pieces.append(_span(script, "script it", level - shift))
            shift = level
        place = mark.end()
    if text[place:]:
        pieces.append(_span(text[place:], "", -shift))
    return "".join(pieces)


def _span(text: str, looks: str, shift: float) -> str:
    escaped = html.escape(text, quote=False)
    if not looks and not shift:
        return escaped
    style = f' class="{looks}"' if looks else ""
    move = f' dy="{_n(shift)}"' if shift else ""
    return f"<tspan{style}{move}>{escaped}</tspan>"


def _n(number: float) -> str:
    """A coordinate, as short as it can be."""
    return f"{number:.1f}".removesuffix(".0")


def _towards(start: Point, goal: Point, distance: float) -> Point:
    """The point `distance` from start on the way to the goal."""
    length = math.dist(start, goal)
    share = distance / length
    return start[0] + share * (goal[0] - start[0]), start[1] + share * (goal[1] - start[1])


def _rounded(points: Sequence[Point], radius: float = 9) -> str:
    """A path through the points whose corners are rounded."""
    path = f"M{_n(points[0][0])} {_n(points[0][1])}"
    for before, corner, after in zip(points, points[1:], points[2:], strict=False):
        reach = min(radius, math.dist(before, corner) / 2, math.dist(corner, after) / 2)
        x1, y1 = _towards(corner, before, reach)
        x2, y2 = _towards(corner, after, reach)
        path += f"L{_n(x1)} {_n(y1)}Q{_n(corner[0])} {_n(corner[1])} {_n(x2)} {_n(y2)}"
    return f"{path}L{_n(points[-1][0])} {_n(points[-1][1])}"


def _head(tip: Point, before: Point) -> str:
    """The head of an arrow, a triangle whose tip points away from `before`."""
    x, y = tip
    length = math.dist(tip, before)
    along_x, along_y = (x - before[0]) / length, (y - before[1]) / length
    back_x, back_y = x - 9 * along_x, y - 9 * along_y
    side_x, side_y = -4.5 * along_y, 4.5 * along_x
    corners = [(x, y), (back_x + side_x, back_y + side_y), (back_x - side_x, back_y - side_y)]
    path = "L".join(f"{_n(px)} {_n(py)}" for px, py in corners)
    return f'<path class="head" d="M{path}Z"/>'


FIXED = f"""\
text {{ font: {TEXT}px {SANS}; stroke: none; }}
.small {{ font-size: {SMALL}px; }}
.bold {{ font-weight: 600; }}
.it {{ font-family: {SERIF}; font-style: italic; }}
.script {{ font-size: {SCRIPT}px; }}
.box > *, .arrow, rect, .unit {{ stroke-width: 1.4; }}
.frozen > rect, .frozen > polygon, rect.frozen {{ stroke-dasharray: 5 3; }}
.arrow, .rule, .cross {{ fill: none; stroke-linecap: round; }}
.arrow {{ stroke-width: 1.6; }}
.thick {{ stroke-width: 2.4; }}
.dashed > path, .rule.dashed {{ stroke-dasharray: 5 4; }}
.arrow > .head {{ stroke: none; }}
.rule, .bar {{ stroke-width: 1.1; }}
.cross {{ stroke-width: 3; }}
.zone {{ stroke-width: 1.2; stroke-dasharray: 2 4; stroke-linecap: round; }}
.threads {{ fill: none; stroke-width: 0.7; opacity: 0.55; }}
"""


def _rules(colours: dict[str, Colours]) -> str:
    """The style sheet's part that knows colours."""
    rules = []
    for kind, (line, fill) in colours.items():
        if kind == "ground":
            rules.append(f".ground {{ fill: {fill}; stroke: none; }}")
            continue
        rules += [
            f".box.{kind} > :not(text), rect.{kind}, .unit.{kind} "
            f"{{ fill: {fill}; stroke: {line}; }}",
            f"text.{kind}, .{kind} > .head {{ fill: {line}; }}",
            f".arrow.{kind}, .rule.{kind}, .cross.{kind}, .threads.{kind} {{ stroke: {line}; }}",
        ]
    rules.append("rect.zone { fill: none; }\nrect.bar { stroke-dasharray: none; }")
    return "\n".join(rules) + "\n"
