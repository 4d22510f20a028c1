"""What raftmon raises.

Only a wrong command line, config, settings or rule file is raised; whatever is wrong with the *data* (a bad
record, a file without permission) becomes a `raftmon.model.Problem` in the Snapshot and reading goes on.

::

    RaftmonError                exit code 2
    ├── UsageError              a wrong argument
    ├── DocumentErrors          one or more defects of YAML files: rules, settings, trainer configs
    ├── MissingExtra            a package that is not installed; an ImportError, too
    ├── NothingToRead           no logdir, or no event file in it; exit code 3
    └── Refused                 a config that is not written, because that would harm it or change nothing; exit code 4
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from raftmon.model import Problem

__all__ = ["DocumentErrors", "MissingExtra", "NoEffect", "NothingToRead", "RaftmonError", "Refused", "UsageError"]


class RaftmonError(Exception):
    """Base class: a place, what is wrong there, and what to do about it."""

    exit_code: ClassVar[int] = 2
    """What the process ends with when this reaches the command line."""

    def __init__(self, where: str, what: str, remedy: str) -> None:
        super().__init__(f"{where}: {what}\n  {remedy}" if remedy else f"{where}: {what}")
        self.where = where
        self.what = what
        self.remedy = remedy


class UsageError(RaftmonError):
    """An argument of the command line that cannot be meant."""


class MissingExtra(RaftmonError, ImportError):
    """A package that is not installed, and how to install it; ``except ImportError`` catches it."""


class NothingToRead(RaftmonError):
    """There is no logdir, or no event file in it."""

    exit_code = 3


class Refused(RaftmonError):
    """A file that is not written: the write would damage it, have no effect, or be lost."""

    exit_code = 4


class NoEffect(Refused):
    """A learning rate that the trainer would not use.

    Args:
        where: place.
        what: why not.
        remedy: what to do.
        flag_helps: whether the trainer's command-line override would be used all the same.
    """

    def __init__(self, where: str, what: str, remedy: str, *, flag_helps: bool) -> None:
        super().__init__(where, what, remedy)
        self.flag_helps = flag_helps


class DocumentErrors(RaftmonError):
    """Every defect that was found in a set of YAML files, reported at once."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        if not problems:
            raise ValueError("DocumentErrors needs at least one problem")
        first = problems[0]
        super().__init__(first.where, first.what, first.remedy)
        self.problems = problems

    def __str__(self) -> str:
        return "\n".join(
            f"{problem.where}: {problem.what}" + (f"\n  {problem.remedy}" if problem.remedy else "")
            for problem in self.problems
        )
