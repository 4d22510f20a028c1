"""Which part of the steps is in view: pure, without Textual."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

__all__ = ["LASTS", "Extent", "Viewport"]

Extent: TypeAlias = tuple[float, float]
"""First and last step."""

LASTS = (None, 1000, 100)
"""What the window goes through: all steps, then so many of the newest."""
LEAST = 4.0
"""Steps in view at the closest zoom."""


@dataclass(frozen=True, slots=True)
class Viewport:
    """A window over the steps: all of them, the newest, or a fixed piece."""

    last: int | None = None
    """Show so many of the newest steps, and follow them; None shows all, or the `piece`."""
    piece: Extent | None = None
    """Show these steps."""

    def limits(self, extent: Extent) -> Extent:
        """Return the first and last step in view, the first below the last.

        Args:
            extent: of all steps there are.
        """
        low, high = extent
        if self.piece is not None and high > low:
            return _inside(self.piece, extent)
        if self.last is not None:
            low = max(low, high - self.last)
        # One step alone gets room on both sides.
        return (low, high) if high > low else (low - 0.5, high + 0.5)

    def next_window(self) -> Viewport:
        """Return all, the newest 1000, the newest 100 steps, in turn; a fixed piece is given up for all."""
        if self.piece is not None:
            return Viewport()
        return Viewport(LASTS[(LASTS.index(self.last) + 1) % len(LASTS)])

    def zoomed(self, extent: Extent, factor: float, about: float | None = None) -> Viewport:
        """Return a view of `factor` times as many steps.

        Args:
            extent: of all steps there are.
            factor: below 1 shows fewer steps.
            about: a step that keeps its place; None keeps the middle.
        """
        low, high = self.limits(extent)
        about = (low + high) / 2.0 if about is None or not low <= about <= high else about
        width = max((high - low) * factor, min(LEAST, high - low))
        if width >= extent[1] - extent[0]:
            return Viewport()
        first = about - (about - low) / (high - low) * width
        return Viewport(piece=_inside((first, first + width), extent))

    def panned(self, extent: Extent, share: float) -> Viewport:
        """Return a view moved by a share of its width; at the ends it stops."""
        low, high = self.limits(extent)
        if (low, high) == extent or extent[1] <= extent[0]:
            return self
        by = (high - low) * share
        return Viewport(piece=_inside((low + by, high + by), extent))

    def with_in_view(self, extent: Extent, step: float) -> Viewport:
        """Return a view moved as little as shows a step."""
        low, high = self.limits(extent)
        if low <= step <= high:
            return self
        return self.panned(extent, ((step - low) if step < low else (step - high)) / (high - low))

    def words(self, extent: Extent) -> str:
        """Say what is in view: ``all``, ``last 100``, ``200–300``."""
        if self.piece is not None:
            low, high = self.limits(extent)
            return f"{low:.0f}–{high:.0f}"
        return "all" if self.last is None else f"last {self.last}"


def _inside(piece: Extent, extent: Extent) -> Extent:
    """Return a piece moved into the extent, and no wider than it."""
    width = min(piece[1] - piece[0], extent[1] - extent[0])
    low = min(max(piece[0], extent[0]), extent[1] - width)
    return low, low + width
