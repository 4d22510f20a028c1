"""Lines of text in a box: the base of everything on the screens that is no chart."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import ClassVar, TypeAlias

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.geometry import Size
from textual.reactive import reactive
from textual.strip import Strip
from textual.visual import Visual
from textual.widget import Widget

from raftmon.tui.text import MUTED, cut_end, cut_middle

__all__ = ["Heading", "Inked", "LineBuilder", "LinesView", "heading", "same_lines", "wrap"]

LineBuilder: TypeAlias = Callable[[int], list[Content]]
"""Makes the lines for a width in cells."""


class Inked(Widget):
    """A widget whose content may use the style `raftmon.tui.text.MUTED`."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"muted"}
    DEFAULT_CSS = """
    Inked > .muted { color: $foreground 58%; }
    Inked:ansi > .muted { color: ansi_default; text-style: dim; }
    """
    ALLOW_SELECT = False

    @cached_property
    def _blank_style(self) -> Style:
        # To work it out for each line took a sixth of the time of a paint.
        return self.rich_style

    def strip(self, content: Content, width: int) -> Strip:
        """Return the first line of content, cut or filled with blanks to a width in cells."""
        strips = Visual.to_strips(self, content.truncate(width), width, 1, self.visual_style, apply_selection=False)
        strip = strips[0] if strips else Strip.blank(width, self.rich_style)
        return strip.adjust_cell_length(width, self._blank_style)

    def notify_style_update(self) -> None:
        """Forget what was worked out of the styles."""
        super().notify_style_update()
        self.__dict__.pop("_blank_style", None)

    def over(self, strip: Strip, component: str) -> Strip:
        """Return a strip on the background, and with the attributes, of a component class; its colours stay."""
        style = self.get_component_rich_style(component)
        post = Style(bgcolor=style.bgcolor, bold=style.bold, reverse=style.reverse)
        return Strip([Segment(s.text, (s.style or Style()) + post, s.control) for s in strip], strip.cell_length)


def wrap(content: Content, width: int, indent: int = 0, hang: int | None = None) -> list[Content]:
    """Break content into lines.

    Args:
        content: text without line breaks.
        width: cells of the whole line, indentation included.
        indent: cells before the first line.
        hang: cells before the others; `indent` if None.
    """
    hang = indent if hang is None else hang
    if content.cell_length <= width - indent:
        return [Content(" " * indent) + content]
    room = max(width - max(indent, hang), 8)
    lines = [line.rstrip() for line in content.wrap(room)] or [Content()]
    return [Content(" " * (hang if index else indent)) + line for index, line in enumerate(lines)]


def same_lines(ours: list[Content], others: list[Content]) -> bool:
    """Whether two lists of lines look the same, styles included."""
    return len(ours) == len(others) and all(a.is_same(b) for a, b in zip(ours, others, strict=True))


def heading(width: int, title: str, detail: str = "", right: Content | None = None, style: str = "bold") -> Content:
    """Return the line above a panel: title, detail, a rule, and something at the right end.

    Args:
        width: cells.
        title: never cut while it fits.
        detail: cut in the middle when there is little room; untrusted.
        right: left out when there is no room.
        style: style of the title.
    """
    title = cut_end(title, width)
    tail = Content.assemble(" ", right) if right is not None and right.cell_length else Content()
    room = width - len(title) - 1
    if tail.cell_length + len(detail) > room:
        tail = tail if tail.cell_length < room // 2 else Content()
    detail = cut_middle(detail, room - tail.cell_length)
    start = Content.styled(title, style) + (Content.styled(f" {detail}", MUTED) if detail else Content())
    rule = width - start.cell_length - tail.cell_length - 1
    return start + Content.styled(" " + "─" * rule if rule > 0 else "", MUTED) + tail


class Heading(Inked):
    """One line above a panel: a title, what it is about, and something at the right end."""

    DEFAULT_CSS = "Heading { height: 1; }"

    def __init__(self, title: str, *, id: str | None = None) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id)
        self._title = title
        self._detail = ""
        self._right = Content()
        self._style = "bold"

    def show(self, detail: str = "", right: Content | None = None, *, title: str | None = None) -> None:
        """Change the line; nothing is repainted if it stays the same.

        Args:
            detail: what the panel is about; untrusted text.
            right: at the right end.
            title: a new title, or None to keep it.
        """
        right = right if right is not None else Content()
        title = self._title if title is None else title
        if (title, detail) != (self._title, self._detail) or not right.is_same(self._right):
            self._title, self._detail, self._right = title, detail, right
            self.refresh()

    def mark(self, focused: bool) -> None:
        """Show by colour and underline that the panel below has the focus."""
        style = "bold underline $text-primary" if focused else "bold"
        if style != self._style:
            self._style = style
            self.refresh()

    def render_line(self, y: int) -> Strip:  # noqa: ARG002 - there is one line only
        """Draw the line."""
        width = self.size.width
        return self.strip(heading(width, self._title, self._detail, self._right, self._style), width)


class LinesView(Inked, can_focus=True, inherit_bindings=False):
    """Lines of text, scrolled by keys and wheel, with a bar at the right edge when there are more."""

    DEFAULT_CSS = """
    LinesView { height: 1fr; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down,j", "scroll_lines(1)", "Down", show=False, id="lines-down", tooltip="Scroll one line down"),
        Binding("up,k", "scroll_lines(-1)", "Up", show=False, id="lines-up", tooltip="Scroll one line up"),
        Binding("pagedown", "scroll_page(1)", "Page down", show=False, id="lines-page-down", tooltip="One page down"),
        Binding("pageup", "scroll_page(-1)", "Page up", show=False, id="lines-page-up", tooltip="One page up"),
        Binding("home,g", "scroll_to_end(-1)", "Top", show=False, id="lines-top", tooltip="Go to the first line"),
        Binding("end,G", "scroll_to_end(1)", "Bottom", show=False, id="lines-bottom", tooltip="Go to the last line"),
    ]
    top: reactive[int] = reactive(0)
    """First line shown."""

    def __init__(self, build: LineBuilder | None = None, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self._build: LineBuilder = build or (lambda _: [])
        self._lines: list[Content] = []
        self._built_for = -1

    @property
    def lines(self) -> list[Content]:
        """The lines at the present width."""
        if self._built_for != self.size.width:
            self._built_for = self.size.width
            self._lines = self._build(self._text_width)
        return self._lines

    def show(self, build: LineBuilder, *, from_top: bool = False) -> None:
        """Show other lines; nothing is repainted if they look the same.

        Args:
            build: makes them.
            from_top: scroll to the first line.
        """
        self._build = build
        if from_top:
            self.top = 0
        if self.size.width:
            lines, before = build(self._text_width), self.lines
            self._lines = lines
            if len(lines) != len(before) and self.styles.is_auto_height:
                self.refresh(layout=True)
            elif not same_lines(lines, before):
                self.refresh()

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:  # noqa: ARG002
        """Return the number of lines at a width."""
        return len(self._build(max(width - 2, 1)))

    def on_resize(self) -> None:
        """Keep the scroll position inside the lines."""
        self.top = self.validate_top(self.top)

    def validate_top(self, top: int) -> int:
        """Keep the last page full."""
        return max(0, min(top, len(self.lines) - self.size.height)) if self.size else max(top, 0)

    def render_line(self, y: int) -> Strip:
        """Draw one line, and its part of the bar."""
        width, index = self.size.width, self.top + y
        content = self.lines[index] if index < len(self.lines) else Content()
        if len(self.lines) <= self.size.height:
            return self.strip(content, width)
        return self.strip(
            content.truncate(width - 1).pad_right(max(width - 1 - content.cell_length, 0)) + self._bar(y), width
        )

    def action_scroll_lines(self, count: int) -> None:
        """Scroll by lines."""
        self.top += count

    def action_scroll_page(self, count: int) -> None:
        """Scroll by pages."""
        self.top += count * max(self.size.height - 1, 1)

    def action_scroll_to_end(self, direction: int) -> None:
        """Scroll to the first or last line."""
        self.top = len(self.lines) if direction > 0 else 0

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        """Scroll by the wheel."""
        event.stop()
        self.top += 2

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        """Scroll by the wheel."""
        event.stop()
        self.top -= 2

    @property
    def _text_width(self) -> int:
        return max(self.size.width - 2, 1)

    def _bar(self, y: int) -> Content:
        height, count = self.size.height, len(self.lines)
        size = max(1, height * height // count)
        start = round(self.top / max(count - height, 1) * (height - size))
        return Content.styled("┃", MUTED) if start <= y < start + size else Content(" ")
