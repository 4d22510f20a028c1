"""Where notifications go: the values of `--notify`, and of `notify:` in the settings.

`env:NAME` and `file:PATH` (one URL a line, `#` begins a comment) keep a secret out of `ps` and of the settings. A URL
itself is taken on a command line only if it holds no secret. Targets are shown by their place and scheme alone.
"""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Final

from raftmon.daemon.apprised import Service, open_service, scheme_of
from raftmon.daemon.secret import ENVIRONMENT, FILE, exposed_secret, is_reference, read_secret, text_of_file
from raftmon.errors import UsageError
from raftmon.model import Problem
from raftmon.slotted import dataclass

__all__ = ["Target", "Targets", "read_targets"]

_KNOWN: Final = "Say it as apprise does, for example slack://..., ntfy://..., json://HOST/PATH."


@dataclass(frozen=True, slots=True)
class Target:
    """Somewhere people are told."""

    label: str
    """As it may be shown: ``env:NAME (slack)``, ``json://host``; without secrets."""
    service: Service
    fingerprint: str = ""
    """By which it is known again when the settings are read anew: a digest of its URL."""


@dataclass(frozen=True, slots=True)
class Targets:
    """All of them."""

    targets: tuple[Target, ...]
    problems: tuple[Problem, ...]
    """Files with secrets that other users may read."""


def read_targets(values: Sequence[str], *, settings: Path | None = None) -> Targets:
    """Return the targets that some values name, each URL once.

    Args:
        values: `env:NAME`, `file:PATH` or a URL.
        settings: the settings file in which they stand; None: the command line, where no secret may stand.

    Raises:
        UsageError: a value that is no target, or a secret on the command line; the message holds none.
        MissingExtra: apprise is not installed.
    """
    where = "--notify" if settings is None else f"{settings}: notify"
    targets: dict[str, Target] = {}
    problems: dict[Problem, None] = {}
    for number, value in enumerate(values, 1):
        for url, place in _urls(value.strip(), f"{where} (value {number})"):
            target = _target(url, place, is_reference(value.strip()), number)
            if not is_reference(value.strip()) and target.service.has_secret(url):
                if settings is None:
                    raise _on_the_command_line(number, target)
                problems |= dict.fromkeys(_exposed(settings))
            targets.setdefault(url, target)
        problem = exposed_secret(value.strip(), "notify")
        if problem is not None:
            problems[problem] = None
    return Targets(_distinct(targets.values()), tuple(problems))


def _urls(value: str, where: str) -> Iterator[tuple[str, str]]:
    """Yield URLs, each with its place as it may be shown."""
    if value.startswith(FILE):
        yield from _in_file(value.removeprefix(FILE), where)
    elif value.startswith(ENVIRONMENT):
        yield read_secret(value, where), value
    else:
        yield value, where


def _in_file(name: str, where: str) -> Iterator[tuple[str, str]]:
    place = f"{where} file:{name}"
    lines = [(number, line.strip()) for number, line in enumerate(text_of_file(name, place).splitlines(), 1)]
    urls = [(line, f"file:{name}:{number}") for number, line in lines if line and not line.startswith("#")]
    if not urls:
        raise UsageError(place, "names no target", "Put one URL a line there.")
    yield from urls


def _target(url: str, place: str, referred: bool, number: int) -> Target:
    service = open_service(url)
    if service is None:
        scheme = scheme_of(url)
        what = f"apprise knows no such target: `{scheme}://...`" if scheme else "is no URL, env:NAME or file:PATH"
        raise UsageError(place, what, _KNOWN)
    label = service.label
    digest = hashlib.sha256(url.encode(errors="surrogateescape")).hexdigest()
    if referred:
        return Target(f"{place} ({label})", service, digest)
    return Target(label if "://" in label else f"{label} (notify {number})", service, digest)


def _distinct(targets: Collection[Target]) -> tuple[Target, ...]:
    """Number those that would look the same."""
    seen: dict[str, int] = {}
    found = []
    for target in targets:
        count = seen[target.label] = seen.get(target.label, 0) + 1
        label = target.label if count == 1 else f"{target.label} #{count}"
        found.append(Target(label, target.service, target.fingerprint))
    return tuple(found)


def _on_the_command_line(number: int, target: Target) -> UsageError:
    return UsageError(
        f"--notify (value {number}, {target.label})",
        "this URL holds a secret, and `ps` shows it to everybody on this machine",
        "Put it into an environment variable or a file: --notify env:NAME, --notify file:PATH.",
    )


def _exposed(settings: Path) -> Iterator[Problem]:
    try:
        mode = settings.stat().st_mode
    except OSError:
        return
    if mode & stat.S_IROTH:
        remedy = f"chmod 600 {settings}, or write env:NAME or file:PATH in place of the URL."
        yield Problem(str(settings), "every user of this machine can read the secrets under `notify`", remedy)
