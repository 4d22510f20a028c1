"""A chart on the screen: heading, axes, curves in braille dots."""

from __future__ import annotations

from typing import ClassVar

from rich.segment import Segment
from textual.content import Content
from textual.strip import Strip

from raftmon.tui.axis import position
from raftmon.tui.figure import Chart, Curve, draw, drawable_log, nearest
from raftmon.tui.text import MUTED, cut_end, metric
from raftmon.tui.widgets.lines import Inked, heading, wrap

__all__ = ["Plot", "top_line"]


class Plot(Inked):
    """One chart, drawn once per (chart version, size, view) and kept as strips."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "ink-raw",
        "ink-line",
        "ink-axis",
        "ink-level",
        "ink-band",
        "ink-bars",
        "ink-mark",
        "ink-cursor",
        "ink-bad",
        "ink-marker",
        "ink-sign",
        *(f"ink-run{slot}" for slot in range(6)),
    }
    DEFAULT_CSS = """
    Plot {
        min-height: 3;
        & > .ink-raw { color: $foreground 32%; }
        & > .ink-line { color: $text-primary; }
        & > .ink-axis { color: $foreground 52%; }
        & > .ink-level { color: $text-warning; }
        & > .ink-band { color: $foreground 45%; }
        & > .ink-bars { color: $text-success; }
        & > .ink-mark { color: $text-success; text-style: bold; }
        & > .ink-cursor { color: $text-accent; }
        & > .ink-bad { color: $text-error; text-style: bold; }
        & > .ink-marker { color: $foreground 45%; }
        & > .ink-sign { color: $text-warning; text-style: bold; }
        /* Okabe & Ito's colours, told apart by colour-blind people, too. */
        & > .ink-run0 { color: #e69f00; }
        & > .ink-run1 { color: #56b4e9; }
        & > .ink-run2 { color: #009e73; }
        & > .ink-run3 { color: #cc79a7; }
        & > .ink-run4 { color: #d55e00; }
        & > .ink-run5 { color: #0072b2; }
    }
    Plot:ansi {
        & > .ink-raw { color: ansi_bright_black; }
        & > .ink-axis { color: ansi_default; text-style: dim; }
        & > .ink-band { color: ansi_bright_black; }
        & > .ink-marker { color: ansi_bright_black; }
        & > .ink-run0 { color: ansi_yellow; }
        & > .ink-run1 { color: ansi_cyan; }
        & > .ink-run2 { color: ansi_green; }
        & > .ink-run3 { color: ansi_magenta; }
        & > .ink-run4 { color: ansi_red; }
        & > .ink-run5 { color: ansi_blue; }
    }
    """

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id)
        self._chart: Chart | None = None
        self._log = False
        self._cursor: float | None = None
        self._window: tuple[float, float] | None = None
        self._focused = False
        self._strips: list[Strip] = []
        self._strips_of: tuple[object, ...] = ()
        self.drawings = 0
        """How often the chart was drawn anew; the cache is at work while this stands still."""

    @property
    def chart(self) -> Chart | None:
        """The chart shown."""
        return self._chart

    def show(
        self,
        chart: Chart,
        *,
        log: bool,
        cursor: float | None,
        focused: bool,
        window: tuple[float, float] | None = None,
    ) -> None:
        """Show a chart; nothing is repainted if its version and the view are the same.

        Args:
            chart: what to show.
            log: logarithmic y axis, where the chart allows it.
            cursor: x of the value cursor, or None.
            focused: whether the keys move the cursor in this chart.
            window: ends of the x axis; None takes all points in.
        """
        before = self._key
        self._chart, self._log, self._cursor, self._focused = chart, log, cursor, focused
        self._window = window
        if before != self._key:
            self.refresh()

    def notify_style_update(self) -> None:
        """Forget the strips: their colours changed."""
        super().notify_style_update()
        self._strips_of = ()

    def render_line(self, y: int) -> Strip:
        """Return one line from the cache, which is filled when anything changed."""
        key = (self._key, self.size)
        if key != self._strips_of:
            self._strips, self._strips_of = self._draw(), key
            self.drawings += 1
        return self._strips[y] if y < len(self._strips) else Strip.blank(self.size.width, self.rich_style)

    @property
    def _key(self) -> tuple[object, ...]:
        return (self._chart.version if self._chart else None, self._log, self._cursor, self._focused, self._window)

    def _draw(self) -> list[Strip]:
        width, height = self.size
        chart = self._chart
        if chart is None or height < 1:
            return []
        style = "bold underline $text-primary" if self._focused else "bold"
        top = top_line(chart, width, log=self._log, cursor=self._cursor, style=style)
        lines = [self.strip(top, width)]
        rows = draw(chart, width, height - 1, log=self._log, cursor=self._cursor, window=self._window)
        if all(ink == "" for row in rows for _, ink in row):
            return lines + self._message(chart, width, height - 1)
        inks = {ink for row in rows for _, ink in row}
        styles = {ink: self.get_component_rich_style(f"ink-{ink}") if ink else self.rich_style for ink in inks}
        return lines + [Strip([Segment(text, styles[ink]) for text, ink in row], width) for row in rows]

    def _message(self, chart: Chart, width: int, height: int) -> list[Strip]:
        """Say in the middle of the box why there is no curve."""
        if chart.empty:
            text = Content.styled(chart.missing, MUTED)
        elif len(chart.faults):
            text = Content.styled(f"{chart.warning}: no finite value to draw", "$text-error")
        else:
            text = Content.styled("too small to draw", MUTED)
        lines = wrap(text, width)
        above = max(0, (height - len(lines)) // 2)
        centred = [Content()] * above + [line.center(width) for line in lines]
        return [self.strip(line, width) for line in centred[:height]]


def cursor_parts(chart: Chart, cursor: float) -> tuple[str, ...]:
    """Return the values under the cursor: ``0.431``, ``ema 0.44``, ``step 812``; the summary where it has none."""
    index = nearest(chart.curves[0], cursor) if chart.x_name != "cycle" and chart.curves else None
    if index is None:
        return chart.summary
    # A run that ended before has no value here.
    reaching = [c for c in chart.others if len(c.x) and c.x.min() <= cursor <= c.x.max()]
    values = [text for text in (_value_at(chart, curve, cursor) for curve in (*chart.curves, *reaching)) if text]
    return (*values[:1], position(chart.x_name, float(chart.curves[0].x[index])), *values[1:])


def fitting(parts: tuple[str, ...], room: int) -> str:
    """Return the longest beginning of the parts that fits into `room` cells; nothing if not even the first one does."""
    for count in range(len(parts), 1, -1):
        text = " · ".join(parts[:count])
        if len(text) < room:
            return text
    return parts[0] if parts and len(parts[0]) <= room else ""


def top_line(chart: Chart, width: int, *, log: bool, cursor: float | None = None, style: str = "bold") -> Content:
    """Return the heading; rather than a number cut in its middle, a short title, then no word on the axis."""
    parts = chart.summary if cursor is None else cursor_parts(chart, cursor)
    right = _right(chart, log)
    for title, end in ((chart.title, right), (chart.short_title, right), (chart.short_title, Content())):
        room = width - len(title) - 1 - (end.cell_length + 1 if end else 0)
        detail = fitting(parts, room)
        if title and (detail or not parts) and (end or not chart.warning):
            return heading(width, title, detail, end, style)
    return heading(width, chart.title, "", right, style)


def _value_at(chart: Chart, curve: Curve, cursor: float) -> str:
    index = nearest(curve, cursor)
    if index is None:
        return ""
    value = metric(chart.role, float(curve.y[index]))
    return f"{curve.name} {value}" if curve.name else value


def _right(chart: Chart, log: bool) -> Content:
    parts = [Content.styled(cut_end(chart.warning, 24), "bold $text-error")] if chart.warning else []
    if log and not chart.percent:
        parts.append(Content.styled("log" if drawable_log(chart) else "log: no positive value", MUTED))
    return Content(" ").join(parts)
