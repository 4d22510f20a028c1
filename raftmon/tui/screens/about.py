"""What a sheet is about: one run and its campaign, found again in every snapshot."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from textual.content import Content

from raftmon.model import CampaignView, RunView, Snapshot
from raftmon.slotted import dataclass
from raftmon.tui.text import assemble, run_name
from raftmon.tui.widgets.lines import wrap

__all__ = ["About"]

_View = TypeVar("_View", RunView, CampaignView)


@dataclass(frozen=True, slots=True, eq=False)
class About:
    """A run, a campaign, or both, as they were last seen."""

    run: RunView | None
    """None: there was none yet."""
    campaign: CampaignView | None
    """The run's campaign; None: it belongs to none."""
    gone: str = ""
    """What is no longer there, ``run`` or ``campaign``; empty while all is."""

    @property
    def name(self) -> str:
        """The name for people; empty if it is about nothing yet."""
        return run_name(self.run) if self.run is not None else self.campaign.title if self.campaign is not None else ""

    def now(self, snapshot: Snapshot, run: RunView | None, campaign: CampaignView | None) -> About:
        """Return what is known of the same run and campaign by now.

        Args:
            snapshot: the state of everything.
            run: what is selected on the overview, and
            campaign: its campaign; they are taken where it is the same run, or where there was none.
        """
        if (self.run is None and self.campaign is None) or (run is not None and _path(run) == _path(self.run)):
            return About(run, campaign)
        ours, theirs = _again(self.run, snapshot.runs), _again(self.campaign, snapshot.campaigns)
        lost = self.campaign is not None and theirs is None
        gone = "run" if self.run is not None and ours is None else "campaign" if lost else ""
        if gone == "campaign" and ours is not None:
            return About(ours, None)
        return About(ours or self.run, theirs or self.campaign, gone)

    def lines(self, width: int) -> list[Content]:
        """Return that it is gone, and a blank line; nothing while it is there."""
        if not self.gone:
            return []
        said = f"This {self.gone} is no longer there; what follows was known of it last."
        return [*wrap(assemble(("! ", "bold $text-warning"), said), width, 0, 2), Content()]


def _path(view: RunView | CampaignView | None) -> str | None:
    return view.path if view is not None else None


def _again(view: _View | None, views: Iterable[_View]) -> _View | None:
    return next((other for other in views if other.path == _path(view)), None)
