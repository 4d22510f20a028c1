"""What a mirror needs of a remote file system, and how fsspec gives it.

fsspec and the packages behind it (s3fs, gcsfs, sshfs) are imported when a URL is opened, never before.
"""

from __future__ import annotations

import importlib
import inspect
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

from raftmon.errors import UsageError
from raftmon.remote.address import Address
from raftmon.remote.faults import Failed, Fault
from raftmon.remote.listing import Info, Listing, Tree, entry_of
from raftmon.remote.patience import Patience

__all__ = ["FsspecStore", "Range", "Store"]

CALL_SECONDS: Final = 30.0
"""Given to one listing of a directory or one batch of reads."""
LIST_SECONDS: Final = (60.0, 960.0)
"""Given to the listing of a whole bucket prefix: a request for each thousand objects, one after the other. Twice as
long each time that it was too short, up to the second number."""
NAMES_A_REQUEST: Final = 1000
_LOGGERS: Final = ("aiobotocore", "aiohttp", "asyncio", "asyncssh", "botocore", "fsspec", "gcsfs", "s3fs", "sshfs")
_IN_EXTRA: Final = frozenset({"gcs", "gs", "s3", "s3a", "sftp", "ssh"})
_S3: Final = frozenset({"s3", "s3a"})
_SSH: Final = frozenset({"ssh", "sftp"})


@dataclass(frozen=True, slots=True)
class Range:
    """Bytes of one file."""

    path: str
    """Below the logdir."""
    start: int
    end: int
    """The first byte that is not wanted."""


class Store(Protocol):
    """A remote directory."""

    @property
    def requests(self) -> int:
        """Requests for listings so far that somebody pays for: an object store's."""

    @property
    def refused(self) -> Sequence[str]:
        """Directories that may not be listed."""

    def files(self) -> Listing:
        """Return all files below the directory.

        Raises:
            Exception: `raftmon.remote.faults.fault_of` tells what it means.
        """

    def read(self, ranges: Sequence[Range]) -> list[bytes | BaseException]:
        """Return the bytes of each range, or why it could not be read.

        Raises:
            Exception: none could be read.
        """

    def reconnect(self) -> None:
        """Begin anew at the next call: with a new connection, and credentials read again."""


class FsspecStore:
    """A directory that fsspec can open.

    Args:
        address: where it is.
        options: for the file system, beside those that the user's environment and fsspec's configuration give.
        patience: seconds given to a call.

    Raises:
        UsageError: no package for this kind of URL is installed, or the URL cannot be meant.
    """

    def __init__(
        self, address: Address, options: Mapping[str, Any] | None = None, patience: float = CALL_SECONDS
    ) -> None:
        _require_meant(address)
        self._address = address
        self._options = {
            **_options(address.protocol, _import_file_system(address), "::" in address.url),
            **(options or {}),
        }
        self._call = Patience(patience)
        self._list = Patience(patience * LIST_SECONDS[0] / CALL_SECONDS)
        self._connected: tuple[Any, str] | None = None
        self._tree = Tree(self._ls, time.monotonic)
        self._pages = 0
        self._finds_all = False

    @property
    def requests(self) -> int:
        """Requests for listings so far: pages of names of an object store."""
        return self._pages

    @property
    def refused(self) -> Sequence[str]:
        """Directories that may not be listed."""
        return self._tree.refused

    def files(self) -> Listing:
        """Return all files below the directory."""
        file_system, root = self._connect()
        if not self._finds_all:
            return self._tree.files()
        infos = self._find(file_system, root)
        self._pages += 1 + len(infos) // NAMES_A_REQUEST
        found = {name.removeprefix(root).lstrip("/"): info for name, info in infos.items()}
        if "" in found:
            raise Failed(Fault("absent", "a file, not a directory", "Give the directory that the file lies in."))
        return {
            path: entry_of(info)
            for path, info in found.items()
            if info.get("type") == "file" and not path.endswith("/")
        }

    def read(self, ranges: Sequence[Range]) -> list[bytes | BaseException]:
        """Return the bytes of each range, or why it could not be read."""
        file_system, root = self._connect()
        paths = [f"{root}/{wanted.path}" for wanted in ranges]
        starts, ends = [wanted.start for wanted in ranges], [wanted.end for wanted in ranges]
        if not _knows_ranges(file_system):
            return self._call.call(lambda: [_read(file_system, *one) for one in zip(paths, starts, ends, strict=True)])
        answers: list[bytes | BaseException] = self._call.call(
            lambda: file_system.cat_ranges(paths, starts, ends, on_error="return")
        )
        return answers

    def reconnect(self) -> None:
        """Begin anew at the next call."""
        self._connected = None

    def _find(self, file_system: Any, root: str) -> dict[str, Info]:
        """List all below a prefix."""
        try:
            file_system.invalidate_cache()
            found: dict[str, Info] = self._list.call(lambda: file_system.find(root, detail=True))
        except Failed:
            self._list.seconds = min(LIST_SECONDS[1], 2 * self._list.seconds)
            raise
        file_system.invalidate_cache()  # It would hold all names once more.
        return found

    def _ls(self, path: str) -> list[Info]:
        file_system, root = self._connect()
        where = f"{root}/{path}" if path else root or "/"
        file_system.invalidate_cache()
        found: list[Info] = self._call.call(lambda: file_system.ls(where, detail=True))
        return found

    def _connect(self) -> tuple[Any, str]:
        """Return the file system and the directory in it, connecting where that is still to be done."""
        if self._connected is None:
            import fsspec

            file_system, root = self._call.call(
                lambda: fsspec.core.url_to_fs(self._address.url, **{"skip_instance_cache": True, **self._options})
            )
            # The library's own retries would add to the back-off here, and hide what is wrong.
            if hasattr(file_system, "retries"):
                file_system.retries = 1
            self._finds_all = _has_own_find(file_system)
            self._connected = file_system, root.rstrip("/")
        return self._connected


def _has_own_find(file_system: Any) -> bool:
    """Tell whether a file system lists a whole tree at once; fsspec's own way is a walk."""
    from fsspec.asyn import AsyncFileSystem

    find = getattr(type(file_system), "_find", None)
    return isinstance(file_system, AsyncFileSystem) and find is not AsyncFileSystem._find


def _knows_ranges(file_system: Any) -> bool:
    """Tell whether a file system reads parts of files when asked to; sshfs silently reads all of them."""
    read = getattr(file_system, "_cat_file", None)
    return read is None or "start" in inspect.signature(read).parameters


def _read(file_system: Any, path: str, start: int, end: int) -> bytes | BaseException:
    """Read a part of a file as every file system can."""
    try:
        with file_system.open(path, "rb") as file:
            file.seek(start)
            data: bytes = file.read(end - start)
            return data
    except Exception as error:
        return error


def _require_meant(address: Address) -> None:
    """Raise `UsageError` for a URL that names nothing."""
    rest = address.shown.partition("://")[2]
    if not rest and address.protocol in _IN_EXTRA:
        raise UsageError(f"{address.protocol}://", "no bucket or host is named", "Write it behind the two slashes.")
    try:
        _ = urlsplit(address.url).port
    except ValueError:
        remedy = "A user or password with `:`, `/`, `@` or `%` in it has to be percent-encoded."
        raise UsageError(address.shown, "host and port cannot be told apart", remedy) from None


def _import_file_system(address: Address) -> type:
    """Import what opens a kind of URL, so that a missing package is told before anything else."""
    remedy = "pip install 'raftmon[remote]'"
    try:
        registry = importlib.import_module("fsspec.registry")
        importlib.import_module("fsspec.core")
    except ImportError:
        raise UsageError(address.shown, "needs the extra `remote`", f"{remedy}.") from None
    for name in _LOGGERS:
        # They would write to stderr what nobody asked for: URLs and headers among it.
        logging.getLogger(name).addHandler(logging.NullHandler())
    try:
        found: type = registry.get_filesystem_class(address.protocol)
    except ImportError:
        package = f"{remedy}." if address.protocol in _IN_EXTRA else "Install the package that fsspec needs for it."
        raise UsageError(address.shown, f"nothing here opens {address.protocol}:// URLs", package) from None
    except ValueError:
        known = "s3://, gs://, ssh:// and sftp://, or what other packages teach fsspec."
        raise UsageError(address.shown, f"unknown kind of URL: {address.protocol}://", f"Known: {known}") from None
    return found


def _options(protocol: str, file_system: type, is_chain: bool) -> dict[str, Any]:
    """Return options that keep a file system from waiting long, and from trusting whom it does not know."""
    from fsspec.config import conf

    if is_chain:
        return {}  # They would go to its first link, not to the one that connects.
    configured: Mapping[str, Any] = conf.get(protocol, {})
    if protocol in _S3:
        own = {"connect_timeout": 10, "read_timeout": 20, "retries": {"mode": "standard", "max_attempts": 1}}
        return {"config_kwargs": {**own, **configured.get("config_kwargs", {})}}
    if protocol in _SSH and file_system.__module__.startswith("sshfs") and "known_hosts" not in configured:
        # sshfs' own default asks no host for its key; () means the user's known_hosts.
        return {"known_hosts": (), "connect_timeout": 10, "keepalive_interval": 15}
    return {}
