"""Logdirs, the runs in them, and what a run has received.

A run is a directory with event files. Its files are read in the order of their names (which begin with the time of
their creation). A job that was restarted goes back in steps: then the points that it is about to write again are
dropped. Only two things count as a restart: a ``SessionLog.START`` record, and a newer file that gives a tag a step
which an older file of the run had already passed. A step that merely differs between tags, or is repeated, is none.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from raftmon.events.columns import ScalarBatch
from raftmon.events.found import SessionStart
from raftmon.events.tail import EventFile, FileUpdate
from raftmon.model import Problem
from raftmon.runs.clock import MOST, Clock
from raftmon.runs.rhythm import Rhythm
from raftmon.runs.series import Series
from raftmon.runs.tag_limits import TagLimits
from raftmon.slotted import dataclass

if TYPE_CHECKING:
    from raftmon.model import Floats, Ints

__all__ = ["PARTNERS", "Run", "RunUpdate", "is_event_file_name", "is_skipped_directory", "run_key"]

_SKIPPED_DIRECTORIES: Final = frozenset({".git", "__pycache__", "node_modules", ".ipynb_checkpoints"})
_SKIPPED_SUFFIXES: Final = (".meta", ".profile-empty", ".py", ".md", ".txt", ".json", ".yaml", ".yml", ".csv", ".tmp")
PARTNERS: Final = ("validation", "test", "eval")
"""Directories that Keras and TensorFlow write beside ``train`` for the same training."""


def is_event_file_name(name: str) -> bool:
    """Tell whether a file is named like an event file, as TensorBoard does, look-alikes left out."""
    return "tfevents" in name and not name.startswith("._") and not name.endswith(_SKIPPED_SUFFIXES)


def is_skipped_directory(name: str) -> bool:
    """Tell whether directories of this name are not looked into."""
    return name in _SKIPPED_DIRECTORIES


def run_key(directory: str, has_events: Callable[[str], bool]) -> tuple[str, str]:
    """Tell which run a directory's files belong to.

    Args:
        directory: its absolute path.
        has_events: tells of a path whether it is a directory with event files.

    Returns:
        The path of the run's directory, and what to put before each tag: the two writers of one Keras training
        (``train`` and ``validation``) are one run, whose validation tags are told apart by ``validation/``.
    """
    above, _, name = directory.rpartition("/")
    if name == "train" and any(has_events(f"{above}/{partner}") for partner in PARTNERS):
        return above or "/", ""
    if name in PARTNERS and has_events(f"{above}/train"):
        return above or "/", f"{name}/"
    return directory, ""


@dataclass(frozen=True, slots=True)
class RunUpdate:
    """What one poll of a run brought."""

    batches: tuple[ScalarBatch, ...]
    """The new points in the order of the files."""
    rewound: bool
    """Whether earlier points were taken back: whoever follows the run must begin again from its series."""
    more: bool
    """Whether the budget ended before the files did."""
    bytes_read: int

    @property
    def points(self) -> int:
        """Number of new points."""
        return sum(len(batch) for batch in self.batches)


class Run:
    """One run: its files, its series, its texts.

    Args:
        name: path below the logdir.
        path: the run's directory.
        open_file: makes the reader of one event file; a fake in tests.
        limits: on its tags, shared with other runs; None: those of one run.
    """

    def __init__(
        self,
        name: str,
        path: Path,
        open_file: Callable[[Path], EventFile] = EventFile,
        limits: TagLimits | None = None,
    ) -> None:
        self.name = name
        self.path = path
        self.series: dict[str, Series] = {}
        self.texts: dict[str, str] = {}
        self.hparams: dict[str, object] = {}
        self.first_wall_time: float | None = None
        self.last_wall_time: float | None = None
        self.clock = Clock()
        self.rhythm = Rhythm()
        self.tags_refused = 0
        self._limits = limits if limits is not None else TagLimits()
        self._void = False
        self._open_file = open_file
        self._files: dict[Path, tuple[EventFile, str]] = {}
        self._newest_file_of: dict[str, Path] = {}

    def add_file(self, path: Path, tag_prefix: str = "") -> bool:
        """Begin to follow a file; returns whether it is new."""
        if path in self._files:
            return False
        self._files[path] = (self._open_file(path), tag_prefix)
        self._files = dict(sorted(self._files.items(), key=lambda item: (item[0].name, str(item[0]))))
        return True

    def drop_files(self, paths: Iterable[Path]) -> bool:
        """Cease to follow files, as far as they were followed; returns whether any was."""
        dropped = [self._files.pop(path) for path in paths if path in self._files]
        self._void = self._void or bool(dropped)
        return bool(dropped)

    @property
    def files(self) -> list[EventFile]:
        """The readers in the order in which they are read."""
        return [reader for reader, _ in self._files.values()]

    @property
    def problems(self) -> list[Problem]:
        """What is wrong with the files."""
        problems = [reader.problem for reader in self.files if reader.problem is not None]
        problems += [
            Problem(
                str(reader.path),
                f"damaged in {reader.bad_records} place{'s' if reader.bad_records > 1 else ''}; left out",
                "Copy the file again from where it was written, if it is a copy; check the disk if the number grows.",
            )
            for reader in self.files
            if reader.bad_records and reader.problem is None
        ]
        if self.tags_refused:
            remedy = "Log a value under one tag with a step, not under a new tag each time."
            limit = min(len(self.series), self._limits.most_of_run)
            what = f"more than {limit} scalar tags; of the rest, only what plays a role is read"
            if limit < self._limits.most_of_run:
                what = f"{what}: all runs together have {self._limits.most_of_all}"
            problems.append(Problem(str(self.path), what, remedy))
        return problems

    @property
    def last_step(self) -> int | None:
        """Largest newest step of all series; None without points."""
        return max((step for series in self.series.values() if (step := series.last_step) is not None), default=None)

    def poll(self, max_bytes: int) -> RunUpdate:
        """Read what is new in the files.

        Args:
            max_bytes: budget of this call.
        """
        update = self._read(max_bytes) if not self._void else None
        if update is not None:
            return update
        self._void = False
        self._forget()
        anew = self._read(max_bytes) or RunUpdate((), rewound=True, more=True, bytes_read=0)
        return dataclasses.replace(anew, rewound=True)

    def _read(self, max_bytes: int) -> RunUpdate | None:
        """Read the files; None when what one of them gave before is void."""
        batches: list[ScalarBatch] = []
        rewound, more, spent = False, False, 0
        for path, (reader, prefix) in list(self._files.items()):
            if spent >= max_bytes:
                more = True  # nobody has looked whether it has grown
                continue
            update = reader.read(max_bytes - spent)
            if reader.gone:
                del self._files[path]
                if reader.offset:
                    return None
                continue
            spent += update.bytes_read
            if update.reset:
                return None
            more = more or update.more
            rewound = self._take(path, prefix, update, batches) or rewound
        return RunUpdate(tuple(batches), rewound, more, spent)

    def _forget(self) -> None:
        """Begin again with the files that are left: which points came from the lost one is not kept."""
        self._files = {path: (self._open_file(path), prefix) for path, (_, prefix) in self._files.items()}
        self._limits.let_go(len(self.series))
        for kept in (self.series, self.texts, self.hparams, self._newest_file_of):
            kept.clear()
        self.first_wall_time = self.last_wall_time = None
        self.clock, self.rhythm = Clock(), Rhythm()

    def _take(self, path: Path, prefix: str, update: FileUpdate, batches: list[ScalarBatch]) -> bool:
        for text in update.texts:
            self.texts[prefix + text.tag] = text.text
        self.hparams.update(update.hparams)
        rewound = False
        for piece in update.in_order():
            if isinstance(piece, SessionStart):
                rewound = self._rewind_all(piece.step) or rewound
                continue
            batch = piece.renamed(prefix) if prefix else piece
            rewound = self._append(path, batch) or rewound
            batches.append(batch)
        return rewound

    def _append(self, path: Path, batch: ScalarBatch) -> bool:
        """Append points to their series; returns whether an older file's points were dropped."""
        rewound = False
        densest: tuple[Ints, Floats] | None = None
        for tag, steps, times, values in batch.by_tag():
            if densest is None or len(steps) > len(densest[0]):
                densest = steps, times
            series = self.series.get(tag)
            if series is None:
                if not self._limits.admit(tag, len(self.series)):
                    self.tags_refused += 1
                    continue
                series = self.series[tag] = Series()
            newest = self._newest_file_of.setdefault(tag, path)
            if path.name > newest.name:
                self._newest_file_of[tag] = path
                if series.rewind(int(steps[0])):
                    rewound = True
                    self.clock.rewind(int(steps[0]))
            series.append(steps, values)
        if densest is not None:
            self.rhythm.note(path, *densest)
        self._note_newest(batch)
        return rewound

    def let_go(self) -> None:
        """Take in that it is followed no longer."""
        self._limits.let_go(len(self.series))

    def settle(self) -> None:
        """Take as little memory as the promises of `Series` allow: nothing is being written."""
        for series in self.series.values():
            series.settle()

    def _note_newest(self, batch: ScalarBatch) -> None:
        first, wall_time = float(batch.wall_time[0]), float(batch.wall_time[-1])
        if np.isfinite(first) and self.first_wall_time is None:
            self.first_wall_time = first
        if np.isfinite(wall_time):
            self.last_wall_time = max(self.last_wall_time or wall_time, wall_time)
        self.clock.note(*batch.some(MOST))

    def _rewind_all(self, step: int) -> bool:
        dropped = [series.rewind(step) for series in self.series.values()]
        self.clock.rewind(step)
        self.rhythm.rewind(step)
        return any(dropped)
