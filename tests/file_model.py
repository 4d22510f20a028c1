"""A naive model of what a run has received, whatever happened to its files in the meantime.

The model is told after each poll how far the reader says that it is in each file, and interprets those bytes one by
one, from scratch when the contents that it took were replaced. Where a poll whose budget ended may or may not have
looked at a replaced file, both ways are followed; after a poll that came to its end only one can be left.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from pathlib import Path

from tests.naive_reader import Events, HParams, Point, Start, Text, scan

Look = dict[Path, tuple[tuple[int, int], bytes]]
"""The files of a run as they are: identity (device, inode) and content."""


@dataclass
class FileModel:
    """How far one file was taken in."""

    identity: tuple[int, int] | None = None
    """Device and inode when last looked at; None: nobody has looked yet."""
    taken: bytes = b""
    """The content up to the place where to go on."""
    size: int = 0
    """Size when last looked at."""
    events: Events = field(default_factory=Events)
    lost: int = 0

    def is_void(self, identity: tuple[int, int], content: bytes) -> bool:
        """Whether another file, or another content, stands in its place."""
        another = self.identity is not None and identity != self.identity
        return another or len(content) < self.size or not content.startswith(self.taken)


class RunModel:
    """What one run should hold."""

    def __init__(self) -> None:
        self.files: dict[Path, FileModel] = {}
        self.series: dict[str, list[tuple[int, bytes]]] = {}
        self.texts: dict[str, str] = {}
        self.hparams: dict[str, str] = {}
        self._newest: dict[str, str] = {}

    def is_void(self, look: Look) -> bool:
        """Whether anything that was taken in is void now."""
        if any(file.taken and path not in look for path, file in self.files.items()):
            return True
        return any(path in self.files and self.files[path].is_void(*now) for path, now in look.items())

    def take(self, look: Look, reached: dict[Path, int], *, to_the_end: bool) -> None:
        """Take in each file, in the order of the names, as far as the reader came, or all that is complete."""
        for path, (_, content) in sorted(look.items(), key=lambda item: (item[0].name, str(item[0]))):
            file = self.files.setdefault(path, FileModel())
            end = len(content) if to_the_end else max(len(file.taken), reached.get(path, 0))
            self._take_file(path.name, file, content, end)

    def _take_file(self, name: str, file: FileModel, content: bytes, end: int) -> None:
        found = scan(content[:end], len(file.taken))
        for data in found.records:
            for item in file.events.read(data):
                self._take_item(name, item)
        file.lost += found.damaged
        file.taken = content[: found.sure]

    def _take_item(self, name: str, item: Point | Start | Text | HParams) -> None:
        if isinstance(item, Text):
            self.texts[item.tag] = item.text
        elif isinstance(item, HParams):
            self.hparams.update(item.values)
        elif isinstance(item, Start):
            for tag in self.series:
                self._rewind(tag, item.step)
        else:
            self.series.setdefault(item.tag, [])
            if name > self._newest.setdefault(item.tag, name):
                self._newest[item.tag] = name
                self._rewind(item.tag, item.step)
            self.series[item.tag].append((item.step, item.value))

    def _rewind(self, tag: str, step: int) -> None:
        kept = [point for point in self.series[tag] if point[0] < step]
        self.series[tag] = kept

    @property
    def lost(self) -> set[Path]:
        """The files of which something was lost."""
        return {path for path, file in self.files.items() if file.lost + file.events.bad}


def after_a_poll(
    models: list[RunModel], look: Look, reached: dict[Path, tuple[int, int]], *, more: bool
) -> list[RunModel]:
    """Return what may have been received after a poll.

    Args:
        models: what may have been received before it.
        look: the files.
        reached: offset and size that the reader of each file gives.
        more: whether the poll's budget ended before the files did.
    """
    following = []
    offsets = {path: offset for path, (offset, _) in reached.items()}
    for before in models:
        model = before
        for path in [path for path, file in model.files.items() if not file.taken and path not in {*look, *reached}]:
            del model.files[path]
        void = model.is_void(look)
        if void and more and _can_be_unseen(model, look, reached):
            unseen = copy.deepcopy(model)
            whole = {path: now for path, now in look.items() if not _is_void(model, path, now)}
            unseen.take(whole, offsets, to_the_end=False)
            _note_sizes(unseen, whole, reached)
            following.append(unseen)
        if void:
            model = RunModel()
        model.take(look, offsets, to_the_end=not more)
        _note_sizes(model, look, reached)
        following.append(model)
    return following


def _is_void(model: RunModel, path: Path, now: tuple[tuple[int, int], bytes]) -> bool:
    return path in model.files and model.files[path].is_void(*now)


def _can_be_unseen(model: RunModel, look: Look, reached: dict[Path, tuple[int, int]]) -> bool:
    void = [path for path, now in look.items() if _is_void(model, path, now)]
    still_there = all(path in reached for path, file in model.files.items() if file.taken)
    return still_there and all(reached.get(path, (0, 0))[0] >= len(model.files[path].taken) for path in void)


def _note_sizes(model: RunModel, look: Look, reached: dict[Path, tuple[int, int]]) -> None:
    for path, (identity, content) in look.items():
        if reached.get(path, (0, -1))[1] == len(content):
            model.files[path].size = len(content)
            model.files[path].identity = identity
