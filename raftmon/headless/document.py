"""The JSON form of a snapshot, schema ``raftmon/snapshot@1``: fields are added, never renamed.

Strict JSON: a number that is not finite becomes null.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import msgspec

from raftmon.grounds import Evidence
from raftmon.model import CampaignView, Finding, NextCycle, RunView, Snapshot

__all__ = ["SCHEMA", "campaign_document", "encode", "rule_document", "run_document", "snapshot_document"]

SCHEMA = "raftmon/snapshot@1"


def encode(document: object) -> str:
    """Write a document as one line of strict JSON; file names that are no UTF-8 get a replacement character."""
    try:
        return msgspec.json.encode(document).decode()
    except UnicodeEncodeError:
        return msgspec.json.encode(_readable(msgspec.to_builtins(document))).decode()


def _readable(part: Any) -> Any:
    """Return plain data without the halves of characters in which Python keeps foreign bytes."""
    if isinstance(part, str):
        return part.encode(errors="surrogateescape").decode(errors="replace")
    if isinstance(part, dict):
        return {_readable(key): _readable(value) for key, value in part.items()}
    return [_readable(item) for item in part] if isinstance(part, (list, tuple)) else part


def snapshot_document(snapshot: Snapshot) -> dict[str, Any]:
    """Return a snapshot as plain mappings and lists."""
    return {
        "schema": SCHEMA,
        "logdirs": list(snapshot.logdirs),
        "campaigns": [campaign_document(campaign) for campaign in snapshot.campaigns],
        "runs": [run_document(run) for run in snapshot.runs],
        "rules": _rules(snapshot),
        "problems": [asdict(problem) for problem in snapshot.problems],
        "gpus": [asdict(gpu) for gpu in snapshot.gpus],
    }


def rule_document(evidence: Evidence) -> dict[str, Any]:
    """Return what is known of a rule as plain mappings and lists."""
    return {
        **asdict(evidence),
        "sources": [{"claim": claim or None, "ref": reference} for claim, reference in evidence.sources],
        "criteria": [
            {"depth": c.depth, "joins": c.joins} if c.joins is not None else {**asdict(c), "joins": None}
            for c in evidence.criteria
        ],
    }


def _rules(snapshot: Snapshot) -> dict[str, Any]:
    """Return what is known of the rules that findings name: once a rule, however many runs it was applied to."""
    views: list[RunView | CampaignView] = [*snapshot.runs, *snapshot.campaigns]
    named = {f.rule: f.evidence for view in views for f in view.findings if f.state != "inactive"}
    return {rule: rule_document(evidence) for rule, evidence in sorted(named.items()) if evidence is not None}


def campaign_document(campaign: CampaignView) -> dict[str, Any]:
    """Return a campaign as plain mappings and lists."""
    following = campaign.next
    return {
        "name": campaign.name,
        "path": campaign.path,
        "cycles": [
            {**asdict(cycle), "interval": list(cycle.interval) if cycle.interval else None} for cycle in campaign.cycles
        ],
        "best_cycle": campaign.best_cycle,
        "next": None if following is None else _next(following),
        "findings": [_finding(finding) for finding in campaign.findings if finding.state != "inactive"],
    }


def _next(following: NextCycle) -> dict[str, Any]:
    """Return the advice; what only the journal needs is left out."""
    told = {**asdict(following), "because": list(following.because)}
    return {name: value for name, value in told.items() if name not in ("acted", "held", "reference")}


def run_document(run: RunView) -> dict[str, Any]:
    """Return a run as plain mappings and lists."""
    return {
        "run": run.run,
        "path": run.path,
        "state": run.state,
        "stalled": run.stalled,
        "standstill": asdict(run.standstill) if run.standstill is not None else None,
        "dialect": run.dialect,
        "scenario": run.scenario,
        "campaign": run.campaign,
        "cycle": run.cycle,
        "last_step": run.last_step,
        "last_wall_time": run.last_wall_time,
        "roles": {role: view.tag for role, view in run.series.items()},
        "last": {role: view.last for role, view in run.series.items()},
        "points": {role: view.count for role, view in run.series.items()},
        "other_tags": run.other_tags,
        "config": asdict(run.config),
        "verdict": {**asdict(run.verdict), "reasons": list(run.verdict.reasons)},
        "findings": [_finding(finding) for finding in run.findings if finding.state != "inactive"],
        "advice": [{**asdict(advice), "because": list(advice.because)} for advice in run.advice],
    }


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "rule": finding.rule,
        "title": finding.title,
        "state": finding.state,
        "severity": finding.severity,
        "points_to": finding.points_to,
        "since_step": finding.since_step,
        "readings": {reading.signal: reading.value for reading in finding.readings},
        "thresholds": dict(finding.thresholds),
        "text": finding.text,
        "missing": list(finding.missing),
        "inhibited_by": finding.inhibited_by,
        "status": finding.evidence.status if finding.evidence is not None else None,
        "grade": finding.evidence.grade if finding.evidence is not None else None,
        "precision": finding.evidence.measured.precision if finding.evidence is not None else None,
    }
