"""Which run lies in which campaign, and what runs of several logdirs are called.

Two logdirs may hold campaigns, and runs, of the same names; their paths tell them apart.
"""

from __future__ import annotations

from collections.abc import Sequence

from raftmon.model import CampaignView, RunView, Snapshot

__all__ = ["campaign_around", "campaign_of", "is_cycle_of", "logdir_names"]


def is_cycle_of(run: RunView, campaign: CampaignView) -> bool:
    """Return whether a run is a cycle of this campaign."""
    return run.campaign == campaign.name and _lies_below(run, campaign)


def campaign_of(snapshot: Snapshot, run: RunView | None) -> CampaignView | None:
    """Return the campaign that a run is a cycle of; without a run the first one there is."""
    if run is None:
        return snapshot.campaigns[0] if snapshot.campaigns and not snapshot.runs else None
    return _innermost([campaign for campaign in snapshot.campaigns if is_cycle_of(run, campaign)])


def campaign_around(snapshot: Snapshot, run: RunView) -> CampaignView | None:
    """Return the innermost campaign in whose directory a run lies, as a cycle of it or not."""
    return _innermost([campaign for campaign in snapshot.campaigns if _lies_below(run, campaign)])


def logdir_names(logdirs: Sequence[str]) -> dict[str, str]:
    """Return for each logdir the shortest end of its path that no other one has; nothing where there is only one."""
    names: dict[str, str] = {}
    parts = [logdir.rstrip("/").split("/") for logdir in logdirs]
    for logdir, own in zip(logdirs, parts, strict=True):
        others = [other for other in parts if other != own]
        counts = (count for count in range(1, len(own)) if all(other[-count:] != own[-count:] for other in others))
        names[logdir] = "/".join(own[-next(counts, len(own)) :])
    return names if len(logdirs) > 1 else {}


def _lies_below(run: RunView, campaign: CampaignView) -> bool:
    return f"{run.path}/".startswith(f"{campaign.path.rstrip('/')}/")


def _innermost(campaigns: Sequence[CampaignView]) -> CampaignView | None:
    return max(campaigns, key=lambda campaign: len(campaign.path), default=None)
