"""What there is to say about an override beside its number, and whether the cycle before it was obedient."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Final

from raftmon.advice.obeyed import agrees, rate_in_force
from raftmon.coming import ConfigFile, overrides_of, state_of, was_so_when
from raftmon.errors import Refused
from raftmon.model import RunView
from raftmon.override import Override
from raftmon.trainers.config import TrainerConfig
from raftmon.trainers.rewrite import rate_text

__all__ = ["remarks_on_campaign", "remarks_on_writing", "require_obeyed", "without_strategy"]

_CONSTANT: Final = "strategy:constant"
"""The rule, and the first word, of a step that keeps the rate in force."""


def remarks_on_writing(override: Override, file: ConfigFile, config: TrainerConfig) -> Iterator[str]:
    """Yield what else to know of a number that is written into a file."""
    trainer, place = config.rate_key.trainer, config.rate_key.place
    if file.unnoted is not None:
        yield f"{file.unnoted.what} ({file.unnoted.where}): what was written before is not known."
    last = next((entry for entry in file.entries if entry.kind == "pre-cycle"), None)
    wrote = state_of(last.after, file) if last is not None else None
    if wrote is not None and wrote.written.rate != config.written.rate and override.learning_rate != config.rate:
        was, now = (rate_text(rate) if rate else "nothing" for rate in (wrote.written.rate, config.written.rate))
        yield f"`{override.key}` was changed by hand from {was} to {now} since; that is replaced."
    if config.written.is_text:
        yield f"`{override.key}` was a text for PyYAML (YAML 1.1); a number is written."
    if place is None or place.inherited:
        yield f"`{override.key}` is added: the file {'takes it from a merge key' if place else 'has no such key'}."
    if trainer is not None and trainer.process == "campaign":
        yield f"{trainer.title} reads its config once, when it starts: start it anew for cycle {override.cycle}."


def remarks_on_campaign(override: Override, newest: RunView | None) -> Iterator[str]:
    """Yield what else to know of the number of a cycle, whoever hands it to the trainer."""
    if newest is not None and newest.cycle is not None and override.cycle not in (newest.cycle, newest.cycle + 1):
        yield f"The newest cycle that was trained is {newest.cycle}, and the number {override.cycle} was given."
    for finding in newest.firing if newest is not None else ():
        # A rate that a schedule keeps from being reached is changed in vain.
        if finding.points_to == "schedule" and finding.severity not in ("informational", "low"):
            yield f"Cycle {newest.cycle if newest is not None else '?'}: {finding.title}. {finding.text}"


def without_strategy(override: Override) -> Override:
    """Say that the rate in force is kept as the config gives none, where nobody chose a strategy that keeps it."""
    steps = (
        replace(step, rule="in-force", text=step.text.replace(_CONSTANT, "in force, as the config gives none:"))
        if step.rule == _CONSTANT
        else step
        for step in override.because
    )
    return replace(override, because=tuple(steps))


def require_obeyed(file: ConfigFile, newest: RunView | None, campaign: str, override: Override) -> Iterable[str]:
    """Refuse where the newest cycle did not train at the learning rate that this file meant for it.

    Returns:
        A remark where that cannot be told.
    """
    config, key = file.config, override.key
    if newest is None or newest.cycle is None or config is None or config.written.rate is None:
        return ()
    found, cycle = rate_in_force(newest), newest.cycle
    if found is None:
        return (f"The log of cycle {cycle} does not tell whether the trainer takes its learning rate from this file.",)
    observed, share = found
    mine = overrides_of(file, campaign, None)
    meant = [e.learning_rate for e in mine if e.cycle == cycle]
    # What was written for a later cycle was not there yet.
    later = [state_of(e.before, file) for e in mine if (e.cycle or 0) > cycle]
    states = [config.used(cycle, before.rate) for before in later if before is not None]
    known = [rate for rate in (config.used(cycle), *states, *meant) if rate is not None]
    if any(agrees(rate, observed, share) for rate in known):
        return ()
    if config.rate_key.trainer is None:
        words = f"Cycle {cycle} trained at {rate_text(observed)} and `{key}` meant {rate_text(known[-1])} for it"
        return (f"{words}: does the trainer do arithmetic of its own with that key, or does a flag win?",)
    if not was_so_when(newest.first_wall_time, file):
        return (f"Cycle {cycle} trained at {rate_text(observed)}; this file, changed since it began, means another.",)
    what = f"cycle {cycle} trained at {rate_text(observed)}, but `{key}` meant {rate_text(known[-1])} for it"
    remedy = "A command-line flag or a script wins over this file: pass the next rate there, or take the flag out."
    flag = f" The flag: {override.flag}." if override.flag else ""
    by_hand = f" If you changed the file after cycle {cycle} began and it kept an older time, touch it."
    raise Refused(override.config, what, f"{remedy}{flag}{by_hand}")
