"""What may change a config from the screen: worked out, written and taken back by the hook, asked for here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from raftmon.advice.settings import Settings
    from raftmon.grounds import Status
    from raftmon.override import Override, Undone
    from raftmon.remote.address import Logdir

__all__ = ["Changer", "ConfigChanger"]


class Changer(Protocol):
    """Writes the next cycle's learning rate into one config.

    Every method may block for as long as a disk or a network takes, and is therefore called in a thread of its own. All
    of them raise `raftmon.errors.RaftmonError`.
    """

    def place(self) -> str:
        """Return where overrides are noted."""

    def dry_run(self) -> Override:
        """Work out what would be written; touches nothing."""

    def apply(self, agreed: Override) -> Override:
        """Write what a person agreed to; anything else is refused."""

    def look_back(self) -> Undone:
        """Return what `undo` would take back; touches nothing."""

    def undo(self, agreed: Undone) -> Undone:
        """Take back what a person agreed to; anything else is refused."""


@dataclass(frozen=True, slots=True)
class ConfigChanger:
    """The changer of a real config."""

    config: Path
    """The trainer's, of the cycle that comes."""
    logdir: Logdir
    """Of the one campaign that the config belongs to."""
    settings: Settings
    authority: Status = "stable"
    """Least status of a rule that may move the number."""
    journal: Path | None = None
    """Where overrides are noted; None: the user's own."""

    # What is imported here costs time that the first look at the screen need not wait for.
    def place(self) -> str:
        """Return the path of the journal."""
        from raftmon.journal import Journal

        return str(Journal(self.journal).path)

    def dry_run(self) -> Override:
        """Work out the override."""
        return self._pre_cycle(None)

    def apply(self, agreed: Override) -> Override:
        """Write it, if it is still the same."""
        return self._pre_cycle(agreed)

    def look_back(self) -> Undone:
        """Return the newest override that stands."""
        from raftmon.hook import undo

        return undo(self.config, self.journal, apply=False)

    def undo(self, agreed: Undone) -> Undone:
        """Take it back, if it is still the same."""
        from raftmon.hook import undo

        return undo(self.config, self.journal, agreed=agreed)

    def _pre_cycle(self, agreed: Override | None) -> Override:
        from raftmon.hook import pre_cycle

        return pre_cycle(
            self.config,
            self.logdir,
            apply=agreed is not None,
            settings=self.settings,
            key=self.settings.config_key,
            authority=self.authority,
            journal=self.journal,
            agreed=agreed,
        )
