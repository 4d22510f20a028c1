"""The hook between two cycles: works out the next learning rate and, when told to, writes it into the trainer's config.

::

    from raftmon.hook import pre_cycle

    override = pre_cycle("raft.yaml", "models/raft", apply=True)
    if override.stop: ...

The campaign says what the next cycle should train at (`raftmon.monitor`), the config what it would train at as it is
(`raftmon.trainers`), the journal what was done before (`raftmon.journal`). A write that would damage the file, have no
effect or be lost is refused, and the reason and the remedy are part of what is returned.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Final

from raftmon.advice.campaign_policy import following as following_cycle
from raftmon.advice.settings import Settings, read_settings
from raftmon.coming import (
    ConfigFile,
    first_cycle,
    next_run,
    open_config,
    read_campaign,
    with_schedule,
)
from raftmon.errors import NoEffect, Refused, UsageError
from raftmon.grounds import STATUSES, Status, proposal
from raftmon.journal import Entry, Journal, place_of, plain_path
from raftmon.model import CampaignView, NextCycle, RunView, Step
from raftmon.override import Override, Undone, difference, override_document
from raftmon.remarks import remarks_on_campaign, remarks_on_writing, require_obeyed, without_strategy
from raftmon.remote.address import Logdir, as_logdir
from raftmon.trainers.effect import Process, require_effect, running_processes, running_with
from raftmon.trainers.replace import read_whole, replace_file
from raftmon.trainers.tree import MOST_BYTES

__all__ = ["Override", "Undone", "pre_cycle", "undo"]

MOST_CYCLES: Final = 9_999


def pre_cycle(
    config: Path | str,
    logdir: Logdir | str,
    cycle: int | None = None,
    apply: bool = False,
    *,
    settings: Settings | Path | str | None = None,
    key: str | None = None,
    authority: Status = "stable",
    journal: Journal | Path | str | None = None,
    processes: Callable[[], Iterable[Process]] = running_processes,
    agreed: Override | None = None,
    obeyed: bool = False,
) -> Override:
    """Work out the learning rate of the next cycle, and write it into the trainer's config when told to.

    Args:
        config: the trainer's config, YAML or JSON.
        logdir: directory with the runs of one campaign, or its URL (`s3://bucket/raft`).
        cycle: number of the cycle that comes; None: found from the campaign.
        apply: whether to write.
        settings: the user's, or their file.
        key: dotted key of the learning rate, where the file leaves it open; its value is the rate itself.
        authority: least status of a rule that may move the number, go back or stop.
        journal: where overrides are noted; None: the user's own.
        processes: the programs that run, to see whether a trainer has read the config already.
        agreed: what a person was shown and said yes to; anything else is refused. None: nobody was asked.
        obeyed: whether the caller trains the cycle at the number itself. Then the file stays as it is, and the journal
            notes the number, from which the cycle after that one starts: the same evidence counts once, and stays.

    Raises:
        UsageError: an argument cannot be meant, or the extra `remote` is missing.
        NothingToRead: there is no campaign below `logdir`, or it cannot be reached.
        DocumentErrors: the settings or rules have defects.
    """
    if authority not in STATUSES:
        raise UsageError(f"authority {authority}", "no status of a rule", f"One of: {', '.join(STATUSES)}.")
    if cycle is not None and not 1 <= cycle <= MOST_CYCLES:
        raise UsageError(f"cycle {cycle}", f"cycles count from 1 to {MOST_CYCLES}", "Give one, or leave it out.")
    if apply and obeyed:
        raise UsageError("apply and obeyed", "either the file holds the number or the caller does", "Leave one out.")
    known = settings if isinstance(settings, Settings) else read_settings(Path(settings) if settings else None)
    notes = _journal(journal)
    file = open_config(Path(config), key or known.config_key, notes)
    known = with_schedule(known, file)
    coming = next_run(file, cycle, authority)
    runs = as_logdir(logdir)
    campaign, newest = read_campaign(runs, known, coming)
    following = campaign.next if campaign is not None else first_cycle(known, coming, runs)
    override = _override(file, campaign, following, authority)
    if override.stop or (override.refused is not None and not obeyed):
        return override
    place = campaign.path if campaign is not None else place_of(runs)
    if obeyed:
        return _note(override, file, place, campaign, newest, notes, known.strategy.given)
    return _write(override, file, place, newest, apply, notes, processes, agreed)


def undo(
    config: Path | str,
    journal: Journal | Path | str | None = None,
    *,
    apply: bool = True,
    agreed: Undone | None = None,
) -> Undone:
    """Take back the newest override of a config.

    Args:
        config: the trainer's config.
        journal: where overrides are noted; None: the user's own.
        apply: whether to write; else what would be taken back is returned.
        agreed: what a person was shown and said yes to; anything else is refused. None: nobody was asked.

    Raises:
        UsageError: there is no such file.
        Refused: there is none, or the file was changed since.
    """
    notes = _journal(journal)
    path = Path(config)
    try:
        data = read_whole(path, MOST_BYTES)
    except Refused as error:
        raise UsageError(error.where, error.what, error.remedy) from None
    idle: list[int] = []
    for entry in notes.standing(path):
        if entry.before == entry.after:
            idle.append(entry.id)
            continue
        if data == entry.before and entry.state == "intended":
            if apply:
                notes.finish(entry.id, "failed")  # killed before it was written
            continue
        undone = _undone(path, data, entry, notes)
        if agreed not in (None, undone):
            raise _not_agreed(str(path))
        if apply:
            # An undo that was killed has given the file back already.
            if data == entry.after:
                replace_file(path, entry.after, entry.before)
            for number in (*idle, entry.id):
                notes.undo(number)
        return undone
    raise Refused(str(path), "no override to take back", f"The journal {notes.path} has none for this file.")


def _undone(path: Path, data: bytes, entry: Entry, notes: Journal) -> Undone:
    """Say what it means to take an override back; refused where the file is neither as before nor as after it."""
    if data not in (entry.after, entry.before):
        remedy = f"What it was before is in the journal {notes.path}; change the file by hand."
        raise Refused(str(path), "edited since the override, which can therefore not be taken back", remedy)
    return Undone(str(path), entry.key, entry.cycle, difference(entry.after, entry.before, str(path)))


def _journal(given: Journal | Path | str | None) -> Journal:
    if isinstance(given, Journal):
        return given
    return Journal(Path(given) if given is not None else None)


def _override(
    file: ConfigFile, campaign: CampaignView | None, following: NextCycle | None, authority: Status
) -> Override:
    """Say what the advice means for the file; nothing is written yet."""
    config, trouble = file.config, file.trouble
    rate, target = following.learning_rate if following is not None else None, None
    number = following.cycle if following is not None else None
    if config is not None and rate is not None and number is not None:
        try:
            target = config.to_write(rate, number)
        except Refused as error:
            trouble = trouble or error
    trainer = config.rate_key.trainer if config is not None else None
    if rate is None and trouble is None:
        remedy = "Write one into the config, or give --base-lr."
        trouble = Refused(str(file.path), "no learning rate is known to start from", remedy)
    return Override(
        config=os.fsencode(file.path).decode(errors="replace"),
        key=config.rate_key.key if config is not None else None,
        trainer=trainer.name if trainer is not None else None,
        cycle=number,
        current=config.written.rate if config is not None else None,
        learning_rate=rate,
        written=target,
        applied=False,
        changed=False,
        roll_back_to=following.roll_back_to if following is not None else None,
        stop=following.stop if following is not None else False,
        best_cycle=campaign.best_cycle if campaign is not None else None,
        authority=authority,
        because=following.steps if following is not None else (),
        held_back=tuple(_held_back(campaign, authority)) if campaign is not None else (),
        text=following.text if following is not None else "",
        flag=config.flag(target) if config is not None and target is not None else None,
        diff="",
        refused=f"{trouble.where}: {trouble.what}" if trouble is not None else None,
        remedy=trouble.remedy if trouble is not None else None,
        evidence_factor=following.evidence_factor if following is not None else 1.0,
        acted=following.acted if following is not None else (),
        reference=following.reference if following is not None else None,
    )


def _held_back(campaign: CampaignView, authority: Status) -> Iterable[Step]:
    """Yield what firing rules ask for that may not act."""
    order = list(STATUSES)
    for finding in campaign.firing:
        evidence = finding.evidence
        if evidence is None or order.index(evidence.status) >= order.index(authority) or not proposal(evidence):
            continue
        text = f"{finding.rule} asks for: {proposal(evidence)}; --authority {evidence.status} lets it act"
        yield Step(finding.rule, evidence.multiply, text)


def _write(
    override: Override,
    file: ConfigFile,
    campaign: str,
    newest: RunView | None,
    apply: bool,
    journal: Journal,
    processes: Callable[[], Iterable[Process]],
    agreed: Override | None,
) -> Override:
    """Check that a write would have its effect, and make it where that was asked for."""
    try:
        if file.config is None or override.written is None:
            raise Refused(override.config, "nothing to write", "")
        require_effect(file.config, _working_directory())
        if file.unnoted is not None and apply:
            raise file.unnoted
        remarks = [*remarks_on_writing(override, file, file.config), *remarks_on_campaign(override, newest)]
        remarks += require_obeyed(file, newest, campaign, override)
        _require_not_running(file, processes, override)
        data = file.config.with_rate(override.written)
        diff = difference(file.data, data, override.config)
        told = replace(override, changed=data != file.data, diff=diff, remarks=tuple(remarks))
        if agreed is not None and _substance(told) != _substance(agreed):
            raise _not_agreed(override.config)
        if apply:
            told = replace(told, applied=True)
            with journal.noting(_entry(told, file, data, campaign)):
                if data != file.data:
                    replace_file(file.path, file.data, data)
        return told
    except Refused as error:
        in_vain = isinstance(error, NoEffect) and not error.flag_helps
        flag = None if in_vain else override.flag
        return replace(override, refused=f"{error.where}: {error.what}", remedy=error.remedy, flag=flag)


def _note(
    override: Override,
    file: ConfigFile,
    place: str,
    campaign: CampaignView | None,
    newest: RunView | None,
    journal: Journal,
    is_chosen: bool,
) -> Override:
    """Note a number that the caller trains at: whatever keeps it from being written is no obstacle to that.

    Where a person chose the strategy (`is_chosen`), the file need not hold a rate; elsewhere, and where the file cannot
    be used at all, what is wrong with it stays in `refused`.
    """
    if override.learning_rate is None:
        return override
    told = override if is_chosen else without_strategy(override)
    remarks = list(remarks_on_campaign(override, newest))
    if override.refused is not None and is_chosen and file.config is not None:
        remarks.insert(0, f"{override.refused}: the number is told all the same.")
        told = replace(told, refused=None, remedy=None)
    told = replace(told, remarks=tuple(remarks))
    if campaign is not None and (told.cycle or 0) > following_cycle(campaign.cycles):
        return told  # a look ahead: there will be evidence before that cycle is trained
    noted = replace(told, noted=True)
    try:
        with journal.noting(_entry(noted, file, file.data, place)):
            pass
    except Refused as error:
        what = f"{error.where}: {error.what}; the number is not remembered for the next cycle"
        remarks += [told.refused] if told.refused is not None else []
        return replace(told, refused=what, remedy=error.remedy, remarks=tuple(remarks))
    return noted


def _substance(override: Override) -> tuple[object, ...]:
    """Return what a person says yes to."""
    rates = (override.learning_rate, override.written)
    return (override.cycle, override.key, *rates, override.roll_back_to, override.stop, override.diff)


def _not_agreed(where: str) -> Refused:
    what = "the campaign or the file changed since you looked, and something else would be written now"
    return Refused(where, what, "Look at it again.")


def _entry(override: Override, file: ConfigFile, data: bytes, campaign: str) -> Entry:
    """Return what is noted of an override; one that changes nothing is noted too, for the next cycle."""
    return Entry(
        at=0.0,
        kind="pre-cycle",
        state="intended",
        config=plain_path(file.path),
        campaign=place_of(campaign),
        key=override.key or "",
        cycle=override.cycle,
        learning_rate=override.learning_rate,
        evidence_factor=override.evidence_factor,
        before=file.data,
        after=data,
        document=override_document(override),
    )


def _working_directory() -> Path:
    try:
        return Path.cwd()
    except OSError:
        return Path("/")  # deleted: relative paths in the config lead nowhere


def _require_not_running(file: ConfigFile, processes: Callable[[], Iterable[Process]], override: Override) -> None:
    process = running_with(file.path, processes())
    if process is None:
        return
    what = f"process {process.pid} ({process.name}) runs with this config, which it has read already"
    flag = f" with {override.flag}" if override.flag else ""
    remedy = (
        f"Write when it has ended, or start it anew{flag}; inside it, call raftmon.hook.pre_cycle before each cycle."
    )
    raise Refused(override.config, what, remedy)
