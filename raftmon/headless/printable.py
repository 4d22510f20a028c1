"""A snapshot whose texts cannot steer a terminal: names and tags come from other people's files."""

from __future__ import annotations

from dataclasses import replace

from raftmon.model import CampaignView, Finding, Problem, RunView, Snapshot
from raftmon.plain import plain

__all__ = ["printable"]


def printable(snapshot: Snapshot) -> Snapshot:
    """Return the snapshot with every name, tag and text made `plain`; paths stay, they tell runs apart."""
    return replace(
        snapshot,
        runs=tuple(_run(run) for run in snapshot.runs),
        campaigns=tuple(_campaign(campaign) for campaign in snapshot.campaigns),
        problems=tuple(Problem(plain(p.where), plain(p.what), plain(p.remedy)) for p in snapshot.problems),
    )


def _run(run: RunView) -> RunView:
    return replace(
        run,
        run=plain(run.run),
        campaign=plain(run.campaign) if run.campaign is not None else None,
        series={role: replace(view, tag=plain(view.tag)) for role, view in run.series.items()},
        config=replace(run.config, source=plain(run.config.source)),
        verdict=replace(run.verdict, why=plain(run.verdict.why), reasons=tuple(map(plain, run.verdict.reasons))),
        findings=tuple(_finding(finding) for finding in run.findings),
        advice=tuple(replace(advice, text=plain(advice.text)) for advice in run.advice),
    )


def _finding(finding: Finding) -> Finding:
    missing = tuple(map(plain, finding.missing))
    return replace(finding, title=plain(finding.title), text=plain(finding.text), missing=missing)


def _campaign(campaign: CampaignView) -> CampaignView:
    following = campaign.next
    return replace(
        campaign,
        name=plain(campaign.title),
        cycles=tuple(replace(cycle, source=plain(cycle.source)) for cycle in campaign.cycles),
        next=replace(following, text=plain(following.text)) if following is not None else None,
        findings=tuple(_finding(finding) for finding in campaign.findings),
    )
