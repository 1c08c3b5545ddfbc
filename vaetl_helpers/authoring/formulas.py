"""LaTeX formulas as MathML, which browsers show without a script."""

from __future__ import annotations

import html
import re
import unicodedata
from xml.etree import ElementTree

from latex2mathml.converter import convert_to_element

from vaetl_helpers.errors import CourseError

# What the converter does not know, by what it does; `align` would number its lines, which Jupyter
# does not.
ENVIRONMENTS = {"aligned": "split", "align": "align*"}
COMMANDS = {r"\arg": r"\operatorname{arg}", r"\sim": r"\thicksim"}
FUNCTIONS = {"arg", "cos", "exp", "lg", "ln", "log", "sin", "tan", "tanh"}


def mathml(latex: str, display: str = "inline") -> str:
    """A formula as MathML; `display` is inline or block.

    Raises CourseError, with the formula, for what cannot be converted.
    """
    latex = latex.strip()
    text = re.sub(r"\\(begin|end)\{equation\*?\}", "", latex)
    for name, replacement in ENVIRONMENTS.items():
        text = re.sub(rf"\\(begin|end)\{{{name}\}}", rf"\\\1{{{replacement}}}", text)
    text = re.sub(r"\\[A-Za-z]+", lambda match: COMMANDS.get(match[0], match[0]), text)
    try:
        tree = convert_to_element(text, display=display)
    except Exception as error:  # the converter has a dozen classes of error without a common parent
        raise CourseError(
            f"The formula ${latex}$ cannot be shown as MathML: simplify its LaTeX."
        ) from error
    for node in tree.iter():
        _mend(node)
        if _lost(node):
            construct = node.text or "a line break outside aligned"
            raise CourseError(
                f"The formula ${latex}$ cannot be shown as MathML: write {construct} otherwise."
            )
    tree.set("alttext", latex)
    return ElementTree.tostring(tree, encoding="unicode")


def _lost(node: ElementTree.Element) -> bool:
    """True where the converter has passed on, unconverted, what it did not know."""
    text = node.text or ""
    return "\\" in text or text == "&" and node.tag != "mtext" or node.get("linebreak") is not None


def _mend(node: ElementTree.Element) -> None:
    """Does in one element what browsers leave out: named alphabets, spaces round functions."""
    text = html.unescape(node.text or "")
    if node.tag == "mtext":
        text = re.sub(r"\\([_%&#$])", r"\1", text)
    node.text = "".join(_letter(letter, node.get("mathvariant", "")) for letter in text) or None
    if node.tag == "mo" and text.isalpha() and len(text) > 1:  # \operatorname, \max
        node.attrib |= {"lspace": "0.1em", "rspace": "0.1em"}
    if node.tag not in {"math", "mrow", "mtd", "mstyle"}:
        return
    for place in reversed(range(1, len(node))):
        left, right = node[place - 1], node[place]
        if (_is_function(left) and right.tag != "mo") or (_is_function(right) and left.tag != "mo"):
            node.insert(place, ElementTree.Element("mspace", width="0.167em"))


def _is_function(node: ElementTree.Element) -> bool:
    return next(node.itertext(), "") in FUNCTIONS


def _letter(letter: str, variant: str) -> str:
    """A letter of the alphabet that `mathvariant` names (bold-italic, script, ...), or itself."""
    words = unicodedata.name(letter, "").split()
    if variant in {"", "normal", "italic", "monospace"} or words[:1] not in (
        ["LATIN"],
        ["GREEK"],
        ["DIGIT"],
    ):
        return letter
    ending = " ".join(
        words if words[0] == "DIGIT" else [word for word in words[1:] if word != "LETTER"]
    )
    alphabet = variant.upper().replace("-", " ").replace("DOUBLE STRUCK", "DOUBLE-STRUCK")
    for name in (f"MATHEMATICAL {alphabet} {ending}", f"{alphabet} {ending}"):
        try:
            return unicodedata.lookup(name)
        except KeyError:
            continue
    return letter
