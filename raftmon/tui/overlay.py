"""Which runs are drawn over each other, and the colour and letter that each keeps: pure, without Textual."""

from __future__ import annotations

import zlib
from collections.abc import Mapping

__all__ = ["LETTERS", "Marks"]

LETTERS = "ABCDEF"
"""One for each colour: more could not be told apart."""


class Marks:
    """The marked runs by path, with their places in the palette.

    A place follows from the path, so that a run looks the same tomorrow; where two would share one, the run that was
    marked later takes the next free place.
    """

    def __init__(self) -> None:
        self._places: dict[str, int | None] = {}

    def __contains__(self, path: str) -> bool:
        return path in self._places

    def toggle(self, path: str) -> None:
        """Mark a run, or take its mark away; a run that waited for a place then gets the free one."""
        if path in self._places:
            del self._places[path]
        else:
            self._places[path] = None
        for waiting, place in self._places.items():
            if place is None:
                self._places[waiting] = self._free(waiting)

    @property
    def places(self) -> Mapping[str, int]:
        """Path to place in the palette, in the order of marking."""
        return {path: place for path, place in self._places.items() if place is not None}

    @property
    def left_out(self) -> int:
        """Marked runs for which there is no place."""
        return sum(place is None for place in self._places.values())

    def letter(self, path: str) -> str:
        """Return the letter of a run; ``+`` for one without a place, empty for one that is not marked."""
        if path not in self._places:
            return ""
        place = self._places[path]
        return LETTERS[place] if place is not None else "+"

    def _free(self, path: str) -> int | None:
        taken = set(self._places.values())
        wanted = zlib.crc32(path.encode("utf-8", "surrogateescape"))
        order = ((wanted + index) % len(LETTERS) for index in range(len(LETTERS)))
        return next((place for place in order if place not in taken), None)
