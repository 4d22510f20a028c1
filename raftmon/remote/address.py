"""Logdirs given as URLs, and how they are called: never with what opens them.

A URL may hold a password (``sftp://me:secret@host/runs``), an access key, or a signature (``https://...?sig=...``).
`Address.url` is for the connection alone; whatever a person or a file gets to see is `Address.shown`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeAlias

__all__ = ["Address", "Logdir", "as_logdir", "is_url", "without_secrets"]

_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*(?:::[A-Za-z*][A-Za-z0-9+.*-]*)*://")
_LINK: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://)")
_PORT: Final = re.compile(r"[^/:@]*:\d{1,5}(?:/|$)")


def is_url(text: str) -> bool:
    """Tell whether a logdir is a URL (``s3://bucket/raft``, ``filecache::gs://bucket``) and no local path."""
    return _URL.match(text) is not None


def without_secrets(url: str) -> str:
    """Return a URL without user, password, query and fragment; all of a chain (``a::b``) is treated so."""
    return "::".join(_link(part) for part in url.split("::"))


def _link(part: str) -> str:
    found = _LINK.match(part)
    if found is None:
        return re.split(r"[?#]", part, maxsplit=1)[0]
    rest = re.split(r"[?#]", part[found.end() :], maxsplit=1)[0]
    host, slash, path = rest.partition("/")
    if "@" in host:
        host = host.rpartition("@")[2]
    elif ":" in host and "@" in path and not _PORT.match(rest):
        # A password with a slash in it: no program can read such a URL, but it may still be printed.
        host, slash, path = path.rpartition("@")[2], "", ""
    return found[1] + host + slash + path


@dataclass(frozen=True, slots=True)
class Address:
    """A logdir that is a URL; as text it is what may be shown."""

    url: str = field(repr=False)
    """As it was given, secrets included."""

    @property
    def shown(self) -> str:
        """The URL without secrets and without a slash at its end."""
        return without_secrets(self.url).rstrip("/")

    @property
    def name(self) -> str:
        """Name of the directory: the last part of the path, or the bucket or host."""
        return self.shown.rpartition("/")[2] or "root"

    @property
    def protocol(self) -> str:
        """What it is opened with: ``s3``, ``sftp``...; of a chain, its last link."""
        return self.url.partition("://")[0].rpartition("::")[2].lower()

    def __str__(self) -> str:
        return self.shown


Logdir: TypeAlias = Path | Address
"""A local directory, or a URL."""


def as_logdir(given: Logdir | str) -> Logdir:
    """Return what a person named: text is a URL where it looks like one, else a path.

    Raises:
        ValueError: the text is empty, as from a variable that is not set.
    """
    if isinstance(given, str):
        if not given:
            raise ValueError("the name of the directory is empty; `.` is the current one")
        return Address(given) if is_url(given) else Path(given)
    return given
