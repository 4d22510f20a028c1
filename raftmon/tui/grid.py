"""The characters of a drawing under construction, each with what it belongs to."""

from __future__ import annotations

from itertools import groupby
from typing import Literal, TypeAlias

__all__ = ["Grid", "Ink", "Row"]

_Part: TypeAlias = Literal["", "raw", "line", "axis", "level", "band", "bars", "mark", "cursor", "bad"]
_Sign: TypeAlias = Literal["marker", "sign", "run0", "run1", "run2", "run3", "run4", "run5"]
Ink: TypeAlias = _Part | _Sign
"""What a character belongs to; a widget gives each its style."""
Row: TypeAlias = list[tuple[str, Ink]]
"""One line of a drawing as runs of equal ink."""


class Grid:
    """Characters and inks under construction."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self.chars = [[" "] * width for _ in range(height)]
        self.inks: list[list[Ink]] = [[""] * width for _ in range(height)]

    def put(self, row: int, column: int, text: str, ink: Ink) -> None:
        """Write text; what lies outside is cut off."""
        for at, char in enumerate(text, column):
            if 0 <= at < self.width and 0 <= row < self.height:
                self.chars[row][at], self.inks[row][at] = char, ink

    def free(self, row: int, column: int, length: int) -> bool:
        """Whether text would hide nothing but levels and bands."""
        inks = self.inks[row][max(column - 1, 0) : column + length + 1]
        return 0 <= column <= self.width - length and all(ink in ("", "level", "band") for ink in inks)

    def unused(self, row: int, column: int, length: int) -> bool:
        """Whether text would hide no data, and nothing else that was written."""
        inks = self.inks[row][column : column + length]
        return len(inks) == length and all(ink in ("", "marker", "band", "level") for ink in inks)

    def erase(self, ink: Ink) -> None:
        """Blank all characters of an ink."""
        for chars, inks in zip(self.chars, self.inks, strict=True):
            for at, found in enumerate(inks):
                if found == ink:
                    chars[at], inks[at] = " ", ""

    def rows(self) -> list[Row]:
        """Return the lines as runs of equal ink."""
        lines: list[Row] = []
        for chars, inks in zip(self.chars, self.inks, strict=True):
            at = 0
            line: Row = []
            for ink, run in groupby(inks):
                length = len(list(run))
                line.append(("".join(chars[at : at + length]), ink))
                at += length
            lines.append(line)
        return lines
