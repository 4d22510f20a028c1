"""How the screens look, whatever they show: colours, and signs that a poor terminal can print.

The colours of the two themes of our own are those of Okabe and Ito, "Color Universal Design" (2008), which people with
any kind of colour blindness tell apart; a sign stands beside each of them all the same.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from typing import Final

from rich.cells import cell_len
from rich.segment import Segment
from textual.color import Color
from textual.filter import LineFilter
from textual.theme import BUILTIN_THEMES, Theme

from raftmon.slotted import dataclass

__all__ = ["DEFAULT_THEME", "THEMES", "Ascii", "Look", "as_ascii", "theme_names"]

DEFAULT_THEME: Final = "raftmon-dark"
THEMES: Final = (
    Theme(
        name=DEFAULT_THEME,
        primary="#56B4E9",
        secondary="#0072B2",
        accent="#CC79A7",
        warning="#E69F00",
        error="#E8743B",
        success="#2DB58B",
        foreground="#e0e0e0",
        background="#101317",
        surface="#191d23",
    ),
    Theme(
        name="raftmon-light",
        primary="#0072B2",
        secondary="#56B4E9",
        accent="#A3447A",
        warning="#8A5F00",
        error="#B54708",
        success="#00704F",
        foreground="#202428",
        background="#fbfbf9",
        surface="#eeeeea",
        dark=False,
    ),
)

_BRAILLE: Final = range(0x2800, 0x2900)
_BY_DOTS: Final = " .:-=+$&#"
"""Characters for none to eight dots; none of them is a sign that stands in a chart."""
_SIGNS: Final = {
    **dict(zip("▁▂▃▄▅▆▇█", "_.,-=+*#", strict=True)),
    **dict.fromkeys("▌▐▎▏▕╵╷│┃┤├‖↕", "|"),
    **dict.fromkeys("▔╴╶─━–—−", "-"),
    **dict.fromkeys("❯→›", ">"),
    **dict.fromkeys("←↩‹◀⏎", "<"),
    **dict.fromkeys("“”", '"'),
    "░": ".",
    # Verdicts and arrows
    **dict.fromkeys("▲↑", "^"),
    **dict.fromkeys("▼↓", "v"),
    "✓": "+",
    "✗": "-",
    # States, and points of a campaign
    "●": "@",
    "◐": "o",
    "■": "#",
    "○": ".",
    "◌": "!",
    "⊘": "/",
    "□": "=",
    "★": "*",
    "•": "o",
    # Severities, and other marks in charts
    "✖": "X",
    "◆": "!",
    "◇": "%",
    "·": ".",
    "▸": "[",
    "η": "n",
    "×": "x",
    # Others
    "↻": ">",
    "°": "'",
    "…": "~",
    "±": "~",
    "≤": "<",
    "≥": ">",
    "√": "/",
    "π": "p",
    "\N{REPLACEMENT CHARACTER}": "?",
}
"""Signs of one cell each."""
_LONG: Final = {"±": "+-", "≤": "<=", "≥": ">=", "→": "->"}
"""Better forms of two cells, written where a blank beside the sign can be had."""
_WITH_BLANK: Final = re.compile(
    # A blank of several before it, or the one behind it; an arrow that begins a line is a bullet, and no change.
    r"(?<= ) [±≤≥]|[±≤≥] | [±≤≥](?! )|(?:(?<=[^\s←↑↓→] )|(?<=^ ))→ (?=$|[^\s←↑↓→])"
)


@dataclass(frozen=True, slots=True)
class Look:
    """What a person chose for the terminal at hand."""

    theme: str | None = None
    """Name of one of `THEMES` or of Textual's own; None: the one that was chosen last, or else `DEFAULT_THEME`."""
    ascii: bool = False
    """Whether only ASCII may be printed."""
    quiet: bool = False
    """Whether nothing pops up and no bell rings."""


def theme_names() -> tuple[str, ...]:
    """Return the names of all themes, our own first."""
    return (*(theme.name for theme in THEMES), *BUILTIN_THEMES)


def as_ascii(text: str) -> str:
    """Return text that takes as many cells and has only ASCII in it."""
    return text if text.isascii() else "".join(map(_as_ascii, _WITH_BLANK.sub(_long, text)))


def _long(found: re.Match[str]) -> str:
    return _LONG[found[0].strip()]


@cache
def _as_ascii(char: str) -> str:
    if char.isascii():
        return char
    if ord(char) in _BRAILLE:
        return _BY_DOTS[(ord(char) - _BRAILLE.start).bit_count()]
    width = cell_len(char)
    plain = _SIGNS.get(char) or unicodedata.normalize("NFKD", char).encode("ascii", "ignore").decode()
    return plain if len(plain) == width else "?" * width


class Ascii(LineFilter):
    """Replaces what a poor terminal cannot print, in every line that goes out."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:  # noqa: ARG002 - Textual's
        """Return the segments of a line in ASCII."""
        return [Segment(as_ascii(text), style, control) for text, style, control in segments]
