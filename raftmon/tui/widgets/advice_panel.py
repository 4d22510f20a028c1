"""What raftmon says about a run and its campaign, in words: the verdict, why, what to do, what fires."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

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

__all__ = ["advice_lines", "by_severity", "finding_lines", "verdict_line"]

INDENT = 2
HANG = 11
"""Cells before the title of a finding."""
SENTENCES = {
    "too_high": "LEARNING RATE TOO HIGH",
    "too_low": "LEARNING RATE TOO LOW",
    "ok": "LEARNING RATE OK",
    "undecided": "UNDECIDED",
}


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


def finding_lines(finding: Finding, width: int, *, cycles: bool = False) -> list[Content]:
    """Return a finding as severity, title, since when; in one line if that fits.

    Args:
        finding: what was found.
        width: cells.
        cycles: steps are numbers of cycles.
    """
    glyph, word, style = SEVERITIES[finding.severity]
    since = f"since {'cycle' if cycles else 'step'} {finding.since_step}" if finding.since_step is not None else ""
    state = "" if finding.state == "firing" else finding.state
    title = wrap(assemble(finding.title), width, HANG)
    lines = [assemble((f"{glyph} {word}".ljust(HANG), style)) + title[0][HANG:], *title[1:]]
    when = assemble((" ".join(filter(None, (state, since))), MUTED))
    if lines[-1].cell_length + when.cell_length + 2 <= width:
        return [*lines[:-1], lines[-1] + Content("  ") + when]
    return lines + wrap(when, width, HANG)


def advice_lines(
    run: RunView | None, campaign: CampaignView | None, width: int, *, compact: bool = False
) -> list[Content]:
    """Return the lines of the panel.

    Args:
        run: the selected run, or None.
        campaign: the campaign of that run, or None.
        width: cells.
        compact: leave out blank lines.
    """
    lines = _all_lines(run, campaign, width)
    return [line for line in lines if line] if compact else lines


def _all_lines(run: RunView | None, campaign: CampaignView | None, width: int) -> list[Content]:
    if run is None:
        return _campaign(campaign, width) if campaign is not None else [assemble(("no run selected", MUTED))]
    ours = [verdict_line(run.verdict), *wrap(assemble(sentence(run.verdict.why)), width)]
    for advice in run.advice:
        ours += [Content(), *_advice(advice, width)]
    ours += _firing(run, width)
    theirs = _campaign(campaign, width) if campaign is not None else []
    if campaign is not None and run.verdict.learning_rate == "undecided" and _decides(campaign):
        ours, theirs = theirs, ours
    gap = [Content()] if ours and theirs else []
    return [*ours, *gap, *theirs, *_quiet(run, width), *_config(run, width)]


def _decides(campaign: CampaignView) -> bool:
    """Whether the campaign says more than to go on."""
    plan = campaign.next
    return bool(campaign.firing) or (plan is not None and (plan.stop or plan.roll_back_to is not None))


def _advice(advice: Advice, width: int) -> list[Content]:
    name = assemble(("→ ", "bold $text-primary"), (advice.parameter.replace("_", " "), "bold"), "  ")
    authority = assemble((f"  {AUTHORITIES[advice.authority]}", MUTED))
    change, ratio = assemble(*_change(advice)), assemble((_ratio(advice), MUTED))
    first = name + change + ratio + authority
    lines = [first] if first.cell_length <= width else wrap(name + change + authority, width, 0, INDENT)
    lines += wrap(assemble(advice.text), width, INDENT) if advice.text else []
    because = " · ".join(advice.because)
    return lines + (wrap(assemble((because, MUTED)), width, INDENT) if because else [])


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


def _firing(run: RunView, width: int) -> list[Content]:
    shown = by_severity(run.firing) + [f for f in run.findings if f.state == "pending" and f.inhibited_by is None]
    lines = [line for finding in shown for line in finding_lines(finding, width)]
    return [Content(), *lines] if lines else []


def _campaign(campaign: CampaignView, width: int) -> list[Content]:
    lines: list[Content] = []
    plan = campaign.next
    if plan is not None:
        lines += next_lines(plan, width)
        lines += wrap(assemble(plan.text), width, INDENT) if plan.text else []
        because = " · ".join(plan.because)
        lines += wrap(assemble((because, MUTED)), width, INDENT) if because else []
    found = by_severity(campaign.firing)
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
        ("clip", number(config.max_grad_norm)),
        ("LoRA rank", number(config.lora_rank)),
        ("temperature", number(config.temperature)),
    )
    text = " · ".join(f"{name} {value}" for name, value in known if value != NOTHING)
    if not text:
        return [assemble(("config not known", MUTED))]
    return wrap(assemble((f"config: {text}{f' ({config.source})' if config.source else ''}", MUTED)), width)
