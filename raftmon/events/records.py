"""One record at a time: by its form where that is known, else by the protobuf parser."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from raftmon.events.forms import FORMS
from raftmon.events.found import Collector
from raftmon.events.framing import HEADER_BYTES, OVERHEAD_BYTES, is_intact
from raftmon.events.messages import Message, is_media, read_message
from raftmon.events.single import Single
from raftmon.events.wire import MAX_FORM_BYTES

if TYPE_CHECKING:
    from raftmon.events.block import Block

__all__ = ["MEDIA_BYTES", "UNCHECKED_BYTES", "Records"]

UNCHECKED_BYTES: Final = 4096
"""Longer records that hold nothing but pictures and the like are passed over by their length, and not checked."""
MEDIA_BYTES: Final = 1 << 14
"""By so many bytes of its begin a record is told to be a picture or the like."""
_SKIPPED_BYTES: Final = 1 << 18
"""Longer ones are not even read from the disk."""
_MOST_LESSONS: Final = 1000
"""Attempts to learn a form from records that are read one by one, in one file."""


class Records:
    """Reads the records of one file one by one, and knows what the file has said of its tags.

    Args:
        found: where the points and texts go.

    Attributes:
        bad: damaged or invalid records so far.
        damaged_at: offset in the block of the data of the last damaged record; None: there was none in this block.
        suspect: bytes of the record that was read last, if it is damaged or was not checked; else 0. When no record
            follows it, bytes were lost inside of it.
    """

    def __init__(self, found: Collector) -> None:
        self.bad = 0
        self.suspect = 0
        self.damaged_at: int | None = None
        self._found = found
        self._plugins: dict[str, str] = {}
        self._admitted: set[int] = set()
        self._lessons = _MOST_LESSONS

    def forget_forms(self) -> None:
        """Note that the numbers of forms mean other ones now."""
        self._admitted.clear()

    def known(self, block: Block, at: int, size: int) -> tuple[int, Single, bytes] | None:
        """Find the form of a record.

        Returns:
            Number and reader of its form, and its bytes; None if its form is not known, or its end is missing.
        """
        length = int.from_bytes(block.data[at : at + 8], "little") + OVERHEAD_BYTES
        singles = FORMS.singles.get(length)
        if singles is None or at + length > size:
            return None
        record = bytes(block.data[at : at + length])
        content = int.from_bytes(record, "little")
        for mask, by_constant in singles.items():
            form = by_constant.get(content & mask)
            if form is not None:
                return (*form, record) if self.admits(form[0], name_plugins=True) else None
        return None

    def read(self, single: Single, record: bytes) -> bool:
        """Read a record of a known form; returns False, and does nothing, if its checksum is wrong."""
        found = single.read(record)
        if found is None:
            return False
        step, wall_time, values = found
        for tag, value in values:
            self._found.add_point(tag, step, wall_time, value)
        self.suspect = 0
        return True

    def parse(self, block: Block, at: int, length: int) -> None:
        """Read one record whose form is not known: learn it, or have the record parsed where it has none."""
        intact = None
        if self._lessons and length <= MAX_FORM_BYTES:
            intact = is_intact(bytes(block.data[at : at + length]))
            if intact and self._learn(block, at, length):
                known = self.known(block, at, at + length)
                if known is not None and self.read(*known[1:]):
                    return
        message = self.read_message(block, at, length, intact)
        if message is not None:
            self._found.add_message(message)

    def _learn(self, block: Block, at: int, length: int) -> bool:
        """Learn the form of a record; returns whether it has one, and the numbers of forms mean what they did."""
        generation = FORMS.generation
        self._lessons -= 1
        return FORMS.learn(block, at, length) and FORMS.generation is generation

    def admits(self, number: int, *, name_plugins: bool) -> bool:
        """Tell whether what a form holds are scalars in this file; the plugin of a tag may say otherwise.

        Args:
            number: of the form.
            name_plugins: whether a record of this form has its turn now, and may name the plugin of a tag.
        """
        if number in self._admitted:
            return True
        form = FORMS.forms[number]
        for place in form.places if form is not None else ():
            if place.plugin and name_plugins:
                self._plugins.setdefault(place.tag, place.plugin)
            if place.plugin is not None and self._plugins.get(place.tag) != "scalars":
                return False
        self._admitted.add(number)
        return True

    def read_message(self, block: Block, at: int, length: int, intact: bool | None) -> Message | None:
        """Parse one record; None, and counted, if it is damaged or no valid event.

        Args:
            block: where it lies.
            at: its offset.
            length: its bytes.
            intact: whether its checksum is right; None: not known.
        """
        self.suspect = 0
        media = is_media(block.data[at : at + min(length, MEDIA_BYTES)], length, self._plugins)
        if media and length > UNCHECKED_BYTES:
            # Nothing comes of it, and its checksum would cost more than thousands of scalars.
            self.suspect = length
            return None
        record = bytes(block.data[at : at + length])
        if not (is_intact(record) if intact is None else intact):
            self.bad += 1
            self.suspect = length
            self.damaged_at = at + HEADER_BYTES
            return None
        if media:
            return None
        message = read_message(record[HEADER_BYTES:-4], self._plugins)
        self.bad += message.invalid
        return message

    def may_skip(self, block: Block, at: int, length: int, size: int) -> bool:
        """Tell whether an incomplete record need not be in memory: pictures of megabytes are passed over.

        Args:
            block: where it begins.
            at: its offset.
            length: its bytes.
            size: bytes of content in the block.
        """
        if length <= _SKIPPED_BYTES or not is_media(
            block.data[at : min(at + MEDIA_BYTES, size)], length, self._plugins
        ):
            return False
        self.suspect = length
        return True
