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

__all__ = [
    "ENVIRONMENT",
    "FILE",
    "exposed_secret",
    "is_reference",
    "names_in_environment",
    "read_secret",
    "text_of_file",
]

ENVIRONMENT: Final = "env:"
FILE: Final = "file:"
_MOST_BYTES: Final = 65536
"""No secret is longer; a reference to a log or a device is a slip."""


def is_reference(text: str) -> bool:
    """Tell whether a text names the place of a secret: `env:NAME` or `file:PATH`."""
    return text.startswith((ENVIRONMENT, FILE))


def names_in_environment(references: Collection[str]) -> frozenset[str]:
    """Return the variables that hold secrets, of references such as `env:NAME`: no child process is given them."""
    return frozenset(
        reference.strip().removeprefix(ENVIRONMENT)
        for reference in references
        if reference.strip().startswith(ENVIRONMENT)
    )


def read_secret(reference: str, where: str = "secret") -> str:
    """Return the secret that a reference names, without white space around it.

    Args:
        reference: `env:NAME` or `file:PATH`.
        where: what the reference was given to, for errors: `--token`.

    Raises:
        UsageError: it is no reference (which is not repeated: it may be the secret), or nothing is there.
    """
    if reference.startswith(ENVIRONMENT):
        name = reference.removeprefix(ENVIRONMENT)
        text = os.environ.get(name) if name and "\0" not in name and "=" not in name else None
        if text is None:
            remedy = f"Set it where the process is started, not on its command line: {name or 'NAME'}=... raftmon ..."
            raise UsageError(f"{where} env:{name}", "no such environment variable", remedy)
    elif reference.startswith(FILE):
        text = text_of_file(reference.removeprefix(FILE), f"{where} {reference}")
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
    if not reference.startswith(FILE):
        return None
    path = Path(reference.removeprefix(FILE)).expanduser()
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return None
    if not mode & stat.S_IROTH:
        return None
    return Problem(f"{where} {reference}", "every user of this machine can read this secret", f"chmod 600 {path}")


def text_of_file(name: str, place: str) -> str:
    """Return the text of a file that holds secrets; errors do not repeat any of it.

    Args:
        name: its path, `~` allowed.
        place: what it was given to, for errors.

    Raises:
        UsageError: it cannot be read, is no regular file (a pipe might keep the daemon waiting), too long or no text.
    """
    try:
        # Without waiting for whoever would write into a pipe.
        descriptor = os.open(Path(name).expanduser(), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:  # noqa: PTH123 - a descriptor has no path
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise UsageError(place, "is no regular file", "Name a file with the secret alone.")
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
        raise UsageError(place, "is no text file", "Name a file with the secret alone, in UTF-8.") from None
