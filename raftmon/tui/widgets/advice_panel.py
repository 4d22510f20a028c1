"""What raftmon says about a run and its campaign, in words: the verdict, why, what to do, what fires."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from typing import TypeAlias

from textual.content import Content

from raftmon.model import Advice, CampaignView, Finding, RunView, Verdict
from raftmon.tui.text import (
    AUTHORITIES,
    MUTED,
    NOTHING,
    SEVERITIES,
    VERDICTS,
    Part,
    assemble,
    metric,
    number,
    plural,
    sentence,
)
from raftmon.tui.widgets.campaign_panel import next_lines
from raftmon.tui.widgets.lines import wrap

__all__ = ["IsMuted", "advice_lines", "by_severity", "finding_lines", "none_muted", "verdict_line"]

IsMuted: TypeAlias = Callable[[RunView | CampaignView, str], bool]
"""Tells of a run or campaign and the id of a rule whether that finding is muted."""
INDENT = 2
RULE_ID = re.compile(r"[a-z0-9]+(-[a-z0-9]+)+")
"""Tells a rule's id from a sentence."""
HANG = 11
"""Cells before the title of a finding."""
SENTENCES = {
    "too_high": "LEARNING RATE TOO HIGH",
    "too_low": "LEARNING RATE TOO LOW",
    "ok": "LEARNING RATE OK",
    "undecided": "UNDECIDED",
}


def none_muted(view: RunView | CampaignView, rule: str) -> bool:  # noqa: ARG001 - an `IsMuted`
    """Tell that nothing is muted."""
    return False


def by_severity(findings: Iterable[Finding]) -> list[Finding]:
    """Return findings with the gravest first; equal ones keep their order."""
    order = list(SEVERITIES)
    return sorted(findings, key=lambda finding: order.index(finding.severity))


def verdict_line(verdict: Verdict) -> Content:
    """Return the verdict as a badge with its confidence."""
    kind = verdict.learning_rate
    glyph, _, style = VERDICTS[kind]
    badge = "bold reverse" if kind == "undecided" else f"bold reverse {style}"
    sure = f"  {verdict.confidence:.0%} sure" if kind != "undecided" else ""
    return assemble((f" {glyph} {SENTENCES[kind]} ", badge), (sure, "bold"))


def finding_lines(finding: Finding, width: int, *, cycles: bool = False, muted: bool = False) -> list[Content]:
    """Return a finding as severity, title, since when; in one line if that fits.

    Args:
        finding: what was found.
        width: cells.
        cycles: steps are numbers of cycles.
        muted: a person does not want to be called for it.
    """
    glyph, word, style = SEVERITIES[finding.severity]
    since = f"since {'cycle' if cycles else 'step'} {finding.since_step}" if finding.since_step is not None else ""
    state = "" if finding.state == "firing" else finding.state
    title = wrap(assemble((finding.title, MUTED if muted else "")), width, HANG)
    lines = [assemble((f"{glyph} {word}".ljust(HANG), MUTED if muted else style)) + title[0][HANG:], *title[1:]]
    words = " ".join(filter(None, (state, since)))
    when = assemble((" · ".join(filter(None, (words, "muted" if muted else ""))), MUTED))
    if lines[-1].cell_length + when.cell_length + 2 <= width:
        return [*lines[:-1], lines[-1] + Content("  ") + when]
    return lines + wrap(when, width, HANG)


def advice_lines(
    run: RunView | None,
    campaign: CampaignView | None,
    width: int,
    *,
    compact: bool = False,
    is_muted: IsMuted = none_muted,
) -> list[Content]:
    """Return the lines of the panel; what is muted comes last.

    Args:
        run: the selected run, or None.
        campaign: the campaign of that run, or None.
        width: cells.
        compact: leave out blank lines.
        is_muted: tells what is muted.
    """
    lines = [*_all_lines(run, campaign, width, is_muted), *_muted(run, campaign, width, is_muted)]
    return [line for line in lines if line] if compact else lines


def _all_lines(run: RunView | None, campaign: CampaignView | None, width: int, is_muted: IsMuted) -> list[Content]:
    if run is None:
        none = [assemble(("no run selected", MUTED))]
        return _campaign(campaign, width, is_muted) if campaign is not None else none
    ours = [verdict_line(run.verdict), *wrap(assemble(sentence(run.verdict.why)), width)]
    for advice in run.advice:
        ours += [Content(), *_advice(advice, width)]
    ours += _firing(run, width, is_muted)
    theirs = _campaign(campaign, width, is_muted) if campaign is not None else []
    if campaign is not None and run.verdict.learning_rate == "undecided" and _decides(campaign, is_muted):
        ours, theirs = theirs, ours
    gap = [Content()] if ours and theirs else []
    return [*ours, *gap, *theirs, *_quiet(run, width), *_config(run, width)]


def _muted(run: RunView | None, campaign: CampaignView | None, width: int, is_muted: IsMuted) -> list[Content]:
    ours = [f for f in _shown(run) if is_muted(run, f.rule)] if run is not None else []
    theirs = [f for f in by_severity(campaign.firing) if is_muted(campaign, f.rule)] if campaign is not None else []
    lines = [line for finding in ours for line in finding_lines(finding, width, muted=True)]
    lines += [line for finding in theirs for line in finding_lines(finding, width, cycles=True, muted=True)]
    return [Content(), *lines] if lines else []


def _decides(campaign: CampaignView, is_muted: IsMuted) -> bool:
    """Whether the campaign says more than to go on."""
    plan = campaign.next
    loud = any(not is_muted(campaign, finding.rule) for finding in campaign.firing)
    return loud or (plan is not None and (plan.stop or plan.roll_back_to is not None))


def _advice(advice: Advice, width: int) -> list[Content]:
    name = assemble(("→ ", "bold $text-primary"), (advice.parameter.replace("_", " "), "bold"), "  ")
    authority = assemble((f"  {AUTHORITIES[advice.authority]}", MUTED))
    change, ratio = assemble(*_change(advice)), assemble((_ratio(advice), MUTED))
    first = name + change + ratio + authority
    lines = [first] if first.cell_length <= width else wrap(name + change + authority, width, 0, INDENT)
    lines += wrap(assemble(advice.text), width, INDENT) if advice.text else []
    because = _because(advice.because)
    return lines + (wrap(assemble((because, MUTED)), width, INDENT) if because else [])


def _because(entries: Iterable[str]) -> str:
    """Return what led to an advice, rules named as such."""
    entries = list(entries)
    rules = [entry for entry in entries if RULE_ID.fullmatch(entry)]
    words = [entry for entry in entries if entry not in rules]
    named = [f"{'rules' if len(rules) > 1 else 'rule'}: {', '.join(rules)}"] if rules else []
    return " · ".join([*words, *named])


def _change(advice: Advice) -> list[Part]:
    if advice.proposed is not None:
        proposed = metric(advice.parameter, advice.proposed)
        return [metric(advice.parameter, advice.current), (" → ", MUTED), (proposed, "bold $text-primary")]
    if advice.current is not None:
        return ["hold ", (metric(advice.parameter, advice.current), "bold")]
    return []


def _ratio(advice: Advice) -> str:
    current, proposed = advice.current, advice.proposed
    return f"  ×{number(round(proposed / current, 2))}" if current and proposed and proposed != current else ""


def _shown(run: RunView) -> list[Finding]:
    return by_severity(run.firing) + [f for f in run.findings if f.state == "pending" and f.inhibited_by is None]


def _firing(run: RunView, width: int, is_muted: IsMuted) -> list[Content]:
    # What the run's standstill says stands above all of this already.
    said = [finding for finding in _shown(run) if not (finding.tells_standstill and run.standstill is not None)]
    shown = [finding for finding in said if not is_muted(run, finding.rule)]
    lines = [line for finding in shown for line in finding_lines(finding, width)]
    return [Content(), *lines] if lines else []


def _campaign(campaign: CampaignView, width: int, is_muted: IsMuted) -> list[Content]:
    lines: list[Content] = []
    plan = campaign.next
    if plan is not None:
        lines += next_lines(plan, width)
        lines += wrap(assemble(plan.text), width, INDENT) if plan.text else []
        because = _because(plan.because)
        lines += wrap(assemble((because, MUTED)), width, INDENT) if because else []
    found = [finding for finding in by_severity(campaign.firing) if not is_muted(campaign, finding.rule)]
    lines += [line for finding in found for line in finding_lines(finding, width, cycles=True)]
    return lines


def _quiet(run: RunView, width: int) -> list[Content]:
    """Say what the other rules do: silence may mean health or missing data."""
    states = Counter(finding.state for finding in run.findings)
    quiet = states["inactive"] + states["resolved"]
    parts = [f"{plural(quiet, 'rule')} quiet"] if quiet else []
    explained = sum(1 for f in run.findings if f.state == "firing" and f.inhibited_by is not None)
    parts += [f"{explained} explained by another"] if explained else []
    missing = Counter(name for f in run.findings if f.state == "unknown" for name in f.missing)
    waiting = ", ".join(f"{name} ({plural(count, 'rule')})" for name, count in missing.most_common(4))
    parts += [f"waiting for {waiting}"] if waiting else []
    return [Content(), *wrap(assemble((" · ".join(parts), MUTED)), width)] if parts else []


def _config(run: RunView, width: int) -> list[Content]:
    config = run.config
    batch = [str(n) for n in (config.batch_size, config.gradient_accumulation) if n is not None]
    known = (
        ("LR", metric("learning_rate", config.learning_rate)),
        ("schedule", config.scheduler or NOTHING),
        ("warm-up", number(config.warmup_steps)),
        ("batch", "×".join(batch) or NOTHING),
        ("usual clip" if config.usual_clip else "clip", number(config.max_grad_norm)),
        ("LoRA rank", number(config.lora_rank)),
        ("temperature", number(config.temperature)),
    )
    said = [f"{name} {value}" for name, value in known if value != NOTHING]
    text = " · ".join(said)
    if config.usual_clip and len(said) == 1:
        return wrap(assemble((f"config not known; {text} by default of {run.dialect}", MUTED)), width)
    if not text:
        return [assemble(("config not known", MUTED))]
    return wrap(assemble((f"config: {text}{f' ({config.source})' if config.source else ''}", MUTED)), width)
