"""Secrets by reference: a command line and a settings file name the place of a secret, never the secret itself.

What stands on a command line is seen by everybody on the machine (`ps`), and settings are shared; so only the name of
an environment variable or of a file is taken there.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection
from pathlib import Path
from typing import Final

from raftmon.errors import UsageError
from raftmon.model import Problem

__all__ = ["exposed_secret", "is_reference", "names_in_environment", "read_secret"]

_ENVIRONMENT: Final = "env:"
_FILE: Final = "file:"
_MOST_BYTES: Final = 65536
"""No secret is longer; a reference to a log or a device is a slip."""


def is_reference(text: str) -> bool:
    """Tell whether a text names the place of a secret: `env:NAME` or `file:PATH`."""
    return text.startswith((_ENVIRONMENT, _FILE))


def names_in_environment(references: Collection[str]) -> frozenset[str]:
    """Return the variables that hold secrets, of references such as `env:NAME`: no child process is given them."""
    return frozenset(
        reference.strip().removeprefix(_ENVIRONMENT)
        for reference in references
        if reference.strip().startswith(_ENVIRONMENT)
    )


def read_secret(reference: str, where: str = "secret") -> str:
    """Return the secret that a reference names, without white space around it.

    Args:
        reference: `env:NAME` or `file:PATH`.
        where: what the reference was given to, for errors: `--token`.

    Raises:
        UsageError: it is no reference (which is not repeated: it may be the secret), or nothing is there.
    """
    if reference.startswith(_ENVIRONMENT):
        name = reference.removeprefix(_ENVIRONMENT)
        text = os.environ.get(name) if name and "\0" not in name and "=" not in name else None
        if text is None:
            remedy = f"Set it where the process is started, not on its command line: {name or 'NAME'}=... raftmon ..."
            raise UsageError(f"{where} env:{name}", "no such environment variable", remedy)
    elif reference.startswith(_FILE):
        text = _from_file(reference.removeprefix(_FILE), where)
    else:
        remedy = "Name its place instead: env:NAME for an environment variable, file:PATH for a file."
        raise UsageError(where, "a secret is not given on the command line or in settings, where others see it", remedy)
    secret = text.strip()
    if not secret:
        raise UsageError(f"{where} {reference}", "is empty", "Put the secret there, on one line.")
    if not secret.isprintable():
        raise UsageError(f"{where} {reference}", "has line breaks or control characters", "Put one line there.")
    return secret


def exposed_secret(reference: str, where: str = "secret") -> Problem | None:
    """Return what is wrong with a secret's file that every user of the machine may read; None: nothing.

    It is used all the same: secrets that are mounted into a container often have this mode, and nobody else is there.
    """
    if not reference.startswith(_FILE):
        return None
    path = Path(reference.removeprefix(_FILE)).expanduser()
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return None
    if not mode & stat.S_IROTH:
        return None
    return Problem(f"{where} {reference}", "every user of this machine can read this secret", f"chmod 600 {path}")


def _from_file(name: str, where: str) -> str:
    place = f"{where} file:{name}"
    try:
        with Path(name).expanduser().open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
    except OSError as error:
        remedy = "Name a file that the user of this process can read."
        raise UsageError(place, error.strerror or "cannot be read", remedy) from None
    except (ValueError, RuntimeError):
        raise UsageError(place, "no file can have this name", "For example file:/etc/raftmon/token.") from None
    if len(data) > _MOST_BYTES:
        raise UsageError(place, f"is longer than {_MOST_BYTES} bytes", "Name a file with the secret alone.")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise UsageError(place, "is not text", "Name a file with the secret alone, in UTF-8.") from None
