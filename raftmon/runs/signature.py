"""Names by which a trainer is known: the tags of its logs, or the keys of its config."""

from __future__ import annotations

import functools
import re
from collections.abc import Collection

from raftmon.documents import Fields
from raftmon.slotted import dataclass

__all__ = ["Signature", "pattern_of", "read_signature"]


@dataclass(frozen=True, slots=True)
class Signature:
    """Names that must, may or must not be there; in each ``*`` stands for any characters."""

    all: tuple[str, ...] = ()
    any: tuple[str, ...] = ()
    none: tuple[str, ...] = ()

    def fits(self, names: Collection[str]) -> bool:
        """Tell whether every one of `all`, at least one of `any` and none of `none` is among the names."""
        return (
            all(_has(names, name) for name in self.all)
            and (not self.any or any(_has(names, name) for name in self.any))
            and not any(_has(names, name) for name in self.none)
        )


def read_signature(fields: Fields, subject: str, word: str) -> Signature:
    """Read a signature of a table; one that would fit everything is a defect.

    Args:
        fields: the entry.
        subject: what it is a signature of, for messages: ``run``, ``config``.
        word: what its names are: ``tag``, ``key``.
    """
    signature = Signature(fields.texts("all"), fields.texts("any"), fields.texts("none"))
    if not signature.all and not signature.any:
        fields.complain(f"`{fields.name}` fits every {subject}", f"Name a {word} under `all` or `any`.")
    return signature


@functools.lru_cache(maxsize=1024)
def pattern_of(names: tuple[str, ...]) -> re.Pattern[str]:
    """Return a pattern for any of some names, in which ``*`` stands for any characters; case does not matter."""
    alternatives = (".*".join(map(re.escape, name.split("*"))) for name in names)
    return re.compile("|".join(f"(?:{alternative})" for alternative in alternatives), re.IGNORECASE | re.DOTALL)


def _has(names: Collection[str], name: str) -> bool:
    return any(map(pattern_of((name,)).fullmatch, names)) if "*" in name else name in names
