"""What is known of the training that is about to start: its config, what was written into it before, its campaign."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from raftmon.advice.campaign_policy import next_cycle
from raftmon.advice.campaigns import NextRun, Start
from raftmon.advice.intent import Intent
from raftmon.advice.obeyed import agrees, rate_in_force
from raftmon.advice.settings import Settings, Strategy
from raftmon.errors import NothingToRead, Refused, UsageError
from raftmon.grounds import Status
from raftmon.journal import Entry, Journal, place_of
from raftmon.mirrored import open_logdirs
from raftmon.model import CampaignView, NextCycle, RunView, Step
from raftmon.remote.address import Address, Logdir
from raftmon.run_config import RunConfig
from raftmon.runs.cycles import cycle_of
from raftmon.trainers.config import TrainerConfig, read_config, schedule_in
from raftmon.trainers.replace import read_whole
from raftmon.trainers.rewrite import rate_text
from raftmon.trainers.tree import MOST_BYTES

__all__ = [
    "ConfigFile",
    "first_cycle",
    "next_run",
    "next_run_anew",
    "open_config",
    "overrides_of",
    "read_campaign",
    "state_of",
    "was_so_when",
    "with_schedule",
]


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
    unnoted: Refused | None = None
    """Why the journal could not be read."""


def open_config(path: Path, key: str | None, journal: Journal) -> ConfigFile:
    """Read a config; what is wrong with its content becomes its `trouble`.

    Raises:
        UsageError: there is no such file, or it cannot be read.
    """
    try:
        data = read_whole(path, MOST_BYTES)
    except Refused as error:
        raise UsageError(error.where, error.what, error.remedy) from None
    entries: tuple[Entry, ...] = ()
    unnoted = trouble = config = None
    try:
        entries = tuple(journal.standing(path))
    except Refused as error:
        unnoted = error
    try:
        config = read_config(data, str(path), key)
        trouble = config.trouble
        schedule_in(config.values, str(path))
    except Refused as error:
        trouble = error
    file = ConfigFile(path, data, config, trouble, entries, unnoted)
    return replace(file, entries=tuple(_in_force(entries, file)))


def with_schedule(settings: Settings, file: ConfigFile) -> Settings:
    """Take a manual schedule from the trainer's config, where the settings have none of their own."""
    strategy = settings.strategy
    if (strategy.given and strategy.kind != "manual") or strategy.schedule:
        return settings
    readable = file.config is not None and file.trouble is None
    schedule = schedule_in(file.config.values, str(file.path)) if readable and file.config is not None else {}
    if schedule:
        return replace(settings, strategy=Strategy("manual", schedule=schedule))
    if strategy.given:
        remedy = "Write `schedule: {cycle_1: 5.0e-5}` below it, or `learning_rate_schedule` in the config."
        raise UsageError("strategy manual", "no schedule in the settings or in the config", remedy)
    return settings


def next_run(file: ConfigFile, cycle: int | None, authority: Status) -> NextRun:
    """Put together what is known of the training that is about to start."""
    return NextRun(
        lambda number, campaign, began, newest: _start(file, campaign, number, began, newest), cycle, authority
    )


def next_run_anew(path: Path, key: str | None, journal: Journal) -> NextRun:
    """Return the same of a config that is read anew each time: whoever follows a campaign sees it change.

    While the file is away, as an editor may have it for a moment, what it said last counts.
    """
    last = open_config(path, key, journal)

    def start(number: int, campaign: str, began: float | None, newest: RunView | None) -> Start:
        nonlocal last
        with contextlib.suppress(UsageError):
            last = open_config(path, key, journal)
        return _start(last, campaign, number, began, newest)

    return NextRun(start, None, "test")


def overrides_of(file: ConfigFile, campaign: str, began: float | None) -> list[Entry]:
    """Return the overrides of a file that belong to a campaign, the newest first.

    What was noted before its first run began is of another campaign in the same place, but for the override with which
    its first cycle began.

    Args:
        file: the config.
        campaign: the directory.
        began: when its first run began, in seconds since the epoch; None: no run tells.
    """
    place = place_of(campaign)
    mine = [
        entry
        for entry in file.entries
        if entry.kind == "pre-cycle" and (place == entry.campaign or place.startswith(f"{entry.campaign}/"))
    ]
    if began is None:
        return mine
    earlier = [entry for entry in mine if entry.at < began]
    first = earlier[:1] if earlier and earlier[0].cycle == 1 else []
    return [*(entry for entry in mine if entry.at >= began), *first]


def _in_force(entries: Sequence[Entry], file: ConfigFile) -> Iterator[Entry]:
    """Leave out overrides that were noted and never written: their writer was killed in between.

    Whether one was written is told by the rate: other lines of the file may have been edited since.
    """
    later = file.data
    for entry in entries:
        is_there = entry.after == later
        if not is_there and entry.state != "written":
            rate = _rate_in(entry.after, file)
            is_there = rate == _rate_in(later, file) and rate != _rate_in(entry.before, file)
        if entry.state == "written" or is_there:
            yield entry
            later = entry.before


def _start(file: ConfigFile, campaign: str, number: int, began: float | None, newest: RunView | None) -> Start:
    """Begin with the config as it is: it holds what the last override made of it.

    A strategy knows nothing of that, so that it is multiplied by what evidence has made of it up to then. No evidence
    counts twice, however often and for whichever number is asked: overrides say what they have heeded.
    """
    config = file.config
    mine = overrides_of(file, campaign, began)
    last = mine[0] if mine else None
    carried = None
    if last is not None and last.evidence_factor is not None and not agrees(last.evidence_factor, 1.0, 0.005):
        text = f"× {last.evidence_factor:.3g} carried on from cycle {last.cycle}"
        carried = Step("carried", last.evidence_factor, text)
    acted, again = _acted(mine), _acted([entry for entry in mine if entry.cycle == number])
    configured = config.used(number) if config is not None else None
    origin = config.how_used(number) if config is not None else ""
    found = _passed_by(file, newest, mine) or _told(file, newest, mine, number)
    if found is not None:
        configured, origin = found
    return Start(
        configured=configured,
        origin=origin,
        carried=carried,
        config=config.run_config if config is not None else RunConfig(),
        before=_reference(last) if last is not None else None,
        acted=acted,
        again=again,
    )


def _passed_by(file: ConfigFile, newest: RunView | None, mine: Sequence[Entry]) -> tuple[float, str] | None:
    """Return the rate in force, and why, where the newest cycle surely did not take it from the file."""
    found = rate_in_force(newest) if newest is not None else None
    if found is None or newest is None or newest.cycle is None or file.config is None:
        return None
    meant = file.config.used(newest.cycle)
    if meant is None or file.config.rate_key.trainer is None or any(entry.cycle == newest.cycle for entry in mine):
        return None
    if agrees(meant, *found) or not was_so_when(newest.first_wall_time, file):
        return None
    return found[0], f"cycle {newest.cycle} ran at {rate_text(found[0])}, whatever the file says"


def was_so_when(moment: float | None, file: ConfigFile) -> bool:
    """Tell whether the file surely had its present content at a moment: by the journal, or else by its own time."""
    if moment is None:
        return False
    if file.entries and file.entries[0].after == file.data and file.entries[0].at <= moment:
        return True
    try:
        return file.path.stat().st_mtime <= moment
    except OSError:
        return False


def _told(file: ConfigFile, newest: RunView | None, mine: Sequence[Entry], number: int) -> tuple[float, str] | None:
    """Return the rate, and why, that goes on from a number which a loop was told and nobody wrote into the file.

    That is what a file would give which held the number. A rate that a person has changed there since counts more, and
    so does the rate of a cycle that was trained at another one than it was told.
    """
    last, config = (mine[0] if mine else None), file.config
    if last is None or config is None or not last.document.get("noted") or last.learning_rate is None:
        return None
    if _rate_in(last.after, file) != config.written.rate:
        return None
    since = newest.first_wall_time if newest is not None and newest.cycle == last.cycle else None
    ran = rate_in_force(newest) if newest is not None and since is not None and last.at <= since else None
    if ran is not None and not agrees(last.learning_rate, *ran):
        told = rate_text(last.learning_rate)
        return ran[0], f"cycle {last.cycle} ran at {rate_text(ran[0])}, whatever it was told ({told})"
    written = last.document.get("written")
    rate = config.used(number, float(written)) if written is not None else last.learning_rate
    if rate is None:
        return None
    return rate, f"cycle {last.cycle} was told {rate_text(last.learning_rate)}, which gives cycle {number} {rate:.3g}"


def _acted(entries: Sequence[Entry]) -> frozenset[tuple[str, int]]:
    return frozenset((str(rule), int(cycle)) for entry in entries for rule, cycle in entry.document.get("acted", ()))


def _reference(entry: Entry) -> RunConfig | None:
    """Return the configuration that an override was meant for; None where it is not noted."""
    noted = entry.document.get("reference")
    if not isinstance(noted, dict):
        return None
    names = {field.name for field in dataclasses.fields(RunConfig)}
    return RunConfig(**{name: value for name, value in noted.items() if name in names})


def _rate_in(data: bytes, file: ConfigFile) -> float | None:
    parsed = file.config if data == file.data else state_of(data, file)
    return parsed.written.rate if parsed is not None else None


def state_of(data: bytes, file: ConfigFile) -> TrainerConfig | None:
    """Read another state of the file; None where it cannot be read."""
    key = file.config.rate_key if file.config is not None else None
    try:
        return read_config(data, str(file.path), key.key if key is not None and key.trainer is None else None)
    except Refused:
        return None


def read_campaign(logdir: Logdir, settings: Settings, coming: NextRun) -> tuple[CampaignView | None, RunView | None]:
    """Read the campaign below a directory, and the run of its newest cycle; None before the first cycle.

    Raises:
        UsageError: there are several campaigns, or a URL cannot be opened.
        NothingToRead: there is none, or it cannot be reached.
        Refused: only a part of a remote one could be read.
    """
    monitor = open_logdirs([logdir], settings, coming=coming, whole=True)
    try:
        snapshot = monitor.poll()
        while snapshot.backfilling:
            snapshot = monitor.poll()
    finally:
        monitor.close()
    campaigns = [campaign for campaign in snapshot.campaigns if campaign.cycles]
    if len(campaigns) > 1:
        names = ", ".join(campaign.name for campaign in campaigns[:8])
        raise UsageError(
            str(logdir), f"{len(campaigns)} campaigns below: {names}", "Give the directory of the one that is meant."
        )
    if not campaigns:
        if coming.cycle == 1:
            return None, None
        remedy = (
            "Before the first cycle pass --cycle 1; later ones are known by directories such as cycle_3 or by"
            " files such as cycle_3_verified.jsonl."
        )
        name, above = _name_and_parent(logdir)
        if cycle_of(name) is not None:
            remedy = f"This is one cycle: give the directory above it, {above}."
        raise NothingToRead(str(logdir), "no cycles of a campaign here", remedy)
    trained = [cycle.run for cycle in campaigns[0].cycles if cycle.run is not None]
    newest = next((run for run in snapshot.runs if trained and run.run == trained[-1]), None)
    return campaigns[0], newest


def _name_and_parent(logdir: Logdir) -> tuple[str, str]:
    if isinstance(logdir, Address):
        return logdir.name, logdir.shown.rpartition("/")[0]
    path = logdir.resolve()
    return path.name, str(path.parent)


def first_cycle(settings: Settings, coming: NextRun, logdir: Logdir) -> NextCycle | None:
    """Return what a campaign without a cycle begins with: the strategy alone."""
    number = coming.cycle or 1
    start = coming.start(number, place_of(logdir), None, None)
    # Nothing was trained: what was noted in this place before is of another campaign.
    intent = Intent(number, start.configured, start.origin, least=coming.least)
    found = next_cycle((), None, (), {}, settings, None, intent)
    return replace(found, reference=start.config) if found is not None else None
