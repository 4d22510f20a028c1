"""Which files of a remote logdir raftmon reads: those are mirrored, and nothing else is ever fetched.

Event files and the verdicts of campaigns are known by their names. Configs and reports have names that any program may
choose (``config.yaml``), so they count only near one of the former; checkpoints never do, but for two small JSON files
of the newest one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from raftmon.remote.listing import Listing, newest_checkpoint
from raftmon.runs.beside import CHECKPOINT_FILES, is_sidecar_name
from raftmon.runs.cycles import is_campaign_file_name, is_cycle_name, is_report_name
from raftmon.runs.logdir import is_event_file_name, is_skipped_directory

__all__ = ["is_appended_to", "is_safe", "select"]

LARGEST_DOCUMENT: Final = 16_000_000
"""Bytes; larger configs and reports are not read from a local logdir either."""


def is_appended_to(path: str) -> bool:
    """Tell whether a file of this name grows at its end, so that only its new bytes need to be fetched."""
    name = path.rpartition("/")[2]
    return is_event_file_name(name) or name.endswith(".jsonl")


def is_safe(path: str) -> bool:
    """Tell whether a path can be one below a local directory: an object's name may be any text, ``..`` included."""
    parts = path.split("/")
    if len(path.encode(errors="replace")) > 3000 or "\0" in path:
        return False
    return all(part not in ("", ".", "..") and len(part.encode(errors="replace")) <= 250 for part in parts)


def select(listing: Listing) -> Listing:
    """Return the files that raftmon reads, in the order in which they are to be fetched: by path, runs by their age."""
    data = [path for path in listing if _is_data(path)]
    near = set(_with_parents(data))
    chosen = [
        *data,
        *(path for path, entry in listing.items() if entry.size <= LARGEST_DOCUMENT and _is_near(path, near)),
    ]
    newest = _newest_checkpoints(listing)
    return {
        path: listing[path]
        for path in sorted(dict.fromkeys(chosen), key=_place)
        if all(directory in newest for directory in _checkpoints_in(path)) and not _is_skipped(path)
    }


def _place(path: str) -> tuple[str, bool, str]:
    """Sort key: a directory's files together, its event files behind the others and in the order of their names."""
    directory, _, name = path.rpartition("/")
    return directory, is_event_file_name(name), name


def _is_data(path: str) -> bool:
    name = path.rpartition("/")[2]
    return is_event_file_name(name) or is_campaign_file_name(name)


def _is_near(path: str, near: set[str]) -> bool:
    """Tell whether a file is a config or report of what lies in `near`."""
    directory, _, name = path.rpartition("/")
    parent, _, own = directory.rpartition("/")
    if name in CHECKPOINT_FILES:
        beside = newest_checkpoint([own]) is not None or own.endswith("_final")
        return directory in near or (beside and parent in near)
    if is_sidecar_name(name):
        return directory in near
    return is_report_name(name) and (directory in near or (is_cycle_name(own) and parent in near))


def _with_parents(paths: Iterable[str]) -> Iterator[str]:
    for path in paths:
        while path:
            path = path.rpartition("/")[0]
            yield path


def _checkpoints_in(path: str) -> Iterator[str]:
    """Yield each directory above a file that is called like a checkpoint."""
    parts = path.split("/")[:-1]
    for index, part in enumerate(parts):
        if newest_checkpoint([part]) is not None:
            yield "/".join(parts[: index + 1])


def _newest_checkpoints(listing: Listing) -> set[str]:
    """Return, of all directories that hold checkpoints, the newest one."""
    beside: dict[str, set[str]] = {}
    for path in listing:
        for directory in _checkpoints_in(path):
            parent, _, own = directory.rpartition("/")
            beside.setdefault(parent, set()).add(own)
    found = ((parent, newest_checkpoint(sorted(names))) for parent, names in beside.items())
    return {f"{parent}/{name}" if parent else str(name) for parent, name in found}


def _is_skipped(path: str) -> bool:
    return any(is_skipped_directory(part) for part in path.split("/")[:-1])
