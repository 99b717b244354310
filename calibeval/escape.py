"""What readers would take for something else, made harmless: the one place for every kind of output.

Names of files, cases and methods come from outside. Markdown, spreadsheets, XML, terminals and CI logs each have marks
that do something; JSON has no number for NaN.
"""

from __future__ import annotations

import math
import re
from typing import Any

_MARKDOWN = str.maketrans({mark: "\\" + mark for mark in "\\|<&`*_~[$"})
_LATEX = {mark: "\\" + mark for mark in "&%$#_{}"} | {
    mark: rf"\text{name}{{}}"
    for mark, name in {
        "\\": "backslash", "~": "asciitilde", "^": "asciicircum", "<": "less", ">": "greater", "|": "bar",
    }.items()
} | {"↑": r"$\uparrow$", "↓": r"$\downarrow$", "→": r"$\to$"}  # fmt: skip
_FORMULA = re.compile(
    r"'*[=+\-@\uff1d\uff0b\uff0d\uff20]"
)  # how a cell begins that a spreadsheet would compute, apostrophes apart
_GUARDED = r"^'('*[=+\-@\uff1d\uff0b\uff0d\uff20])"
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_COLOUR = r"\x1b\[(?:[0-79][0-9;]*)?m"  # but 8, which hides what follows
_CONTROL = re.compile(
    rf"({_COLOUR})|[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]"
)
_COMMAND = re.compile(r"(?m)^(\s*)::|##\[")


def finite(value: Any) -> Any:
    """The value with None where JSON has no number, in containers too."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def markdown(text: str) -> str:
    """Text on one line that Markdown shows as it is, in a table's cell too."""
    return " ".join(text.translate(_MARKDOWN).split())


def latex(text: str) -> str:
    """Text on one line that LaTeX sets as it is."""
    return " ".join("".join(_LATEX.get(mark, mark) for mark in text).split())


def cell(text: str) -> str:
    """Text that a spreadsheet takes for no formula: an apostrophe in front, where it would."""
    return f"'{text}" if _FORMULA.match(text) else text


def uncell(texts: Any) -> Any:
    """Undo `cell` on a pandas series of text."""
    guarded = any(text.startswith("'") for text in texts.unique())  # names come again and again
    return texts.str.replace(_GUARDED, r"\1", regex=True) if guarded else texts


def xml(text: str) -> str:
    """Text of characters that XML can hold."""
    return _NOT_XML.sub("\ufffd", text)


def page(text: str) -> str:
    """Text that a web page shows as it is, once its `<` and `&` are escaped: control characters are written out."""
    return xml(_CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode(), text))


def terminal(text: str) -> str:
    """Text that moves no cursor and hides nothing: control characters but line ends, tabs and colours are shown."""
    return _CONTROL.sub(lambda match: match[1] or match[0].encode("unicode_escape").decode(), text)


def log(text: str) -> str:
    """Text whose lines are no workflow commands to a CI server."""
    return _COMMAND.sub(lambda match: f"{match[1]}\\::" if match[1] is not None else "##\\[", text)
