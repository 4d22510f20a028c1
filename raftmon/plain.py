"""Text from other people's files, made harmless for a terminal."""

from __future__ import annotations

__all__ = ["plain", "plain_lines"]


def plain(text: str) -> str:
    """Return text without control characters, line breaks and other marks that a terminal obeys."""
    return text if text.isprintable() else "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def plain_lines(text: str) -> str:
    """Return text whose lines are `plain`; the breaks between them stay."""
    return "\n".join(plain(line) for line in text.split("\n"))
