"""What is known of the training that is about to start: its config, what was written into it before, its campaign."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from raftmon.advice.campaign_policy import Intent, next_cycle
from raftmon.advice.campaigns import NextRun, Start
from raftmon.advice.obeyed import agrees
from raftmon.advice.settings import Settings, Strategy
from raftmon.errors import NothingToRead, Refused, UsageError
from raftmon.grounds import Status
from raftmon.journal import Entry, Journal
from raftmon.model import CampaignView, NextCycle, RunConfig, RunView, Step
from raftmon.monitor import Monitor
from raftmon.runs.cycles import cycle_of
from raftmon.trainers.config import TrainerConfig, read_config, schedule_in
from raftmon.trainers.replace import read_whole

__all__ = ["MOST_BYTES", "ConfigFile", "first_cycle", "next_run", "open_config", "read_campaign", "with_schedule"]

MOST_BYTES: Final = 16_000_000
"""Larger files are no configs."""


@dataclass(frozen=True, slots=True, eq=False)
class ConfigFile:
    """The config and what is known of it."""

    path: Path
    data: bytes
    config: TrainerConfig | None
    """None: it cannot be used, see `trouble`."""
    trouble: Refused | None
    entries: tuple[Entry, ...]
    """Overrides of it that stand, the newest first."""


def open_config(path: Path, key: str | None, journal: Journal) -> ConfigFile:
    """Read a config; what is wrong with its content becomes its `trouble`, a file that is not there is raised."""
    try:
        data = read_whole(path, MOST_BYTES)
    except Refused as error:
        raise UsageError(error.where, error.what, error.remedy) from None
    entries: tuple[Entry, ...] = ()
    trouble, config = None, None
    try:
        entries = tuple(journal.standing(path))
        config = read_config(data, str(path), key)
    except Refused as error:
        trouble = error
    return ConfigFile(path, data, config, trouble, entries)


def with_schedule(settings: Settings, file: ConfigFile) -> Settings:
    """Take a manual schedule from the trainer's config, where the settings have none of their own."""
    strategy = settings.strategy
    if (strategy.given and strategy.kind != "manual") or strategy.schedule:
        return settings
    schedule = schedule_in(file.config.values) if file.config is not None else {}
    if schedule:
        return replace(settings, strategy=Strategy("manual", schedule=schedule))
    if strategy.given:
        remedy = (
            "Write `strategy: {kind: manual, schedule: {cycle_1: 5.0e-5}}`, or `learning_rate_schedule` in the config."
        )
        raise UsageError("strategy manual", "no schedule in the settings or in the config", remedy)
    return settings


def next_run(file: ConfigFile, logdir: Path, cycle: int | None, authority: Status) -> NextRun:
    """Put together what is known of the training that is about to start."""
    campaign = os.path.realpath(logdir)
    config = file.config.run_config if file.config is not None else RunConfig()
    key = file.config.rate_key if file.config is not None else None
    given = key.key if key is not None and key.trainer is None else None

    def parsed(data: bytes) -> TrainerConfig | None:
        try:
            return read_config(data, str(file.path), given)
        except Refused:
            return None

    def start(number: int) -> Start:
        data = file.data
        for entry in file.entries:
            # Asked once more for the same cycle: what was written for it then is no start, or it would count twice.
            if entry.kind == "pre-cycle" and entry.cycle == number and entry.after == data:
                data = entry.before
        now = parsed(data)
        earlier = [e for e in file.entries if e.campaign == campaign and e.cycle is not None and e.cycle < number]
        last = earlier[0] if earlier else None
        then = parsed(last.after) if last is not None and last.cycle == number - 1 else None
        carried = None
        if last is not None and last.evidence_factor is not None and not agrees(last.evidence_factor, 1.0, 0.005):
            text = f"× {last.evidence_factor:.3g} carried on from cycle {last.cycle}"
            carried = Step("carried", last.evidence_factor, text)
        return Start(
            configured=now.used(number) if now is not None else None,
            origin=now.how_used(number) if now is not None else "",
            carried=carried,
            before=then.run_config if then is not None else None,
        )

    return NextRun(config, start, cycle, authority)


def read_campaign(logdir: Path, settings: Settings, coming: NextRun) -> tuple[CampaignView | None, RunView | None]:
    """Read the campaign below a directory, and the run of its newest cycle; None before the first cycle."""
    monitor = Monitor([Path(os.path.abspath(logdir))], settings=settings, coming=coming)  # noqa: PTH100
    snapshot = monitor.poll()
    while snapshot.backfilling:
        snapshot = monitor.poll()
    campaigns = [campaign for campaign in snapshot.campaigns if campaign.cycles]
    if len(campaigns) > 1:
        names = ", ".join(campaign.name for campaign in campaigns[:8])
        raise UsageError(
            str(logdir), f"{len(campaigns)} campaigns below: {names}", "Give --logdir the one that is meant."
        )
    if not campaigns:
        if coming.cycle is not None:
            return None, None
        remedy = (
            "Before the first cycle pass --cycle 1; later ones are known by directories such as cycle_3 or by"
            " files such as cycle_3_verified.jsonl."
        )
        if cycle_of(logdir.resolve().name) is not None:
            remedy = f"This is one cycle: give the directory above it, {logdir.resolve().parent}."
        raise NothingToRead(str(logdir), "no cycles of a campaign here", remedy)
    trained = [cycle.run for cycle in campaigns[0].cycles if cycle.run is not None]
    newest = next((run for run in snapshot.runs if trained and run.run == trained[-1]), None)
    return campaigns[0], newest


def first_cycle(settings: Settings, coming: NextRun) -> NextCycle | None:
    """Return what a campaign without a cycle begins with: the strategy alone."""
    number = coming.cycle or 1
    start = coming.start(number)
    intent = Intent(number, start.configured, start.origin, start.carried, None, coming.least)
    return next_cycle((), None, (), {}, settings, None, intent)
