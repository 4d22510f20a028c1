"""Pages for people: headings with paragraphs, lists and tables below them, readable from 60 columns on.

Everything is set as `rich.text.Text`: nothing is ever read as markup.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, TypeAlias

from rich.console import Console, Group, RenderableType
from rich.constrain import Constrain
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from raftmon.headless.report import print_parts

__all__ = ["Section", "item", "paragraph", "print_page"]

Section: TypeAlias = tuple[str, list[RenderableType]]
"""Heading and what stands below it; left out when that is empty."""
WIDEST: Final = 100
"""Columns; longer lines are hard to read."""


def paragraph(text: str | Text, indent: int = 2, style: str = "") -> RenderableType:
    """Return text that is broken into lines, each indented."""
    return Padding(text if isinstance(text, Text) else Text(text, style=style), (0, 0, 0, indent))


def item(text: str | Text, indent: int = 2, style: str = "") -> RenderableType:
    """Return an entry of a list; its later lines hang below the first word."""
    grid = Table.grid()
    grid.add_column(width=2, no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row(Text("·", style="dim"), text if isinstance(text, Text) else Text(text, style=style))
    return Padding(grid, (0, 0, 0, indent))


def print_page(console: Console, title: str, about: str, sections: Iterable[Section]) -> None:
    """Print a page.

    Args:
        console: where to.
        title: the first line.
        about: what stands below it, in a few words.
        sections: the rest.
    """
    parts: list[RenderableType] = [paragraph(title, 0, "bold"), paragraph(about, 0, "dim")]
    for heading, content in sections:
        if content:
            parts.append(Group(Text(), Text(heading, style="bold cyan"), *content))
    print_parts(console, [Constrain(part, WIDEST) for part in parts])
