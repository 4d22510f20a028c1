"""The text form of a snapshot, for people: campaigns first, then each run with its verdict, findings and advice.

Names and tags come from other people's files, so that nothing here is ever read as Rich markup.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Final

import numpy as np
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.measure import Measurement
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from raftmon.advice.learning_rate import format_rate, written_rate
from raftmon.grounds import brief_figures
from raftmon.headless.printable import printable
from raftmon.model import SEVERITIES, CampaignView, CycleView, Finding, RunView, Snapshot

__all__ = ["SEVERITY_STYLES", "make_console", "print_parts", "print_report"]

_VERDICTS: Final = {
    "too_high": ("▲ LR too high", "bold red"),
    "too_low": ("▼ LR too low", "bold blue"),
    "ok": ("● LR right", "bold green"),
    "undecided": ("○ undecided", "yellow"),
}
SEVERITY_STYLES: Final = {
    "critical": "bold red",
    "high": "red",
    "medium": "yellow",
    "low": "cyan",
    "informational": "dim",
}
_PIPE_WIDTH: Final = 110
"""Columns where the output is no terminal."""
_SHOWN_ROLES: Final = 8


def make_console(file: IO[str] | None = None) -> Console:
    """Return a console on stdout: as wide as the terminal, plain where there is none."""
    stream = file if file is not None else sys.stdout
    return Console(file=stream, highlight=False, width=None if stream.isatty() else _PIPE_WIDTH)


def print_report(snapshot: Snapshot, console: Console) -> None:
    """Print everything that a person wants to know of a snapshot."""
    snapshot = printable(snapshot)
    for campaign in snapshot.campaigns:
        print_parts(console, [*campaign_block(campaign), Text()])
    for alike in _grouped(snapshot.runs):
        print_parts(console, [*run_block(alike[0], alike[1:]), Text()])
    if snapshot.problems:
        print_parts(console, problems_block(snapshot))
    print_parts(console, [summary_line(snapshot)])


def print_parts(console: Console, parts: Iterable[RenderableType]) -> None:
    """Print renderables; texts stay on one line, however long: names and paths are there to be copied."""
    for part in parts:
        if console.is_terminal:
            console.print(part, soft_wrap=isinstance(part, Text))
            continue
        with console.capture() as captured:
            console.print(part, soft_wrap=isinstance(part, Text))
        # Rich fills cells up with blanks, which a file or a pipe has no use for.
        console.file.write("".join(line.rstrip() + "\n" for line in captured.get().splitlines()))


def campaign_block(campaign: CampaignView) -> list[RenderableType]:
    """Return the table of a campaign's cycles and what the next one should do."""
    head = Text.assemble(
        ("Campaign ", "bold"), (campaign.title, "bold cyan"), f"  {_count(len(campaign.cycles), 'cycle')}"
    )
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    held_out = any(cycle.held_out for cycle in campaign.cycles)
    for title in ("cycle", "LR", "held-out" if held_out else "verified", "95 % interval", "n"):
        table.add_column(title, justify="right", no_wrap=True)
    if held_out:
        table.add_column("training prompts", justify="right", no_wrap=True)
    table.add_column("unique", justify="right", no_wrap=True)
    table.add_column("")
    for cycle in campaign.cycles:
        table.add_row(*_cycle_cells(cycle, held_out, cycle.cycle == campaign.best_cycle))
    lines: list[RenderableType] = [table]
    lines += [_finding_lines(finding, "cycle") for finding in campaign.firing]
    if campaign.next is not None:
        style = "bold magenta" if campaign.next.authority != "show" else "bold"
        lines.append(_hanging("next", Text(campaign.next.text, style=style)))
        lines.append(_hanging("", Text(" → ".join(campaign.next.because), style="dim")))
    return [head, Padding(Group(*lines), (0, 0, 0, 2))]


def _grouped(runs: Iterable[RunView]) -> list[list[RunView]]:
    """Put neighbours together of which one and the same short thing is to be said."""
    groups: list[list[RunView]] = []
    for run in runs:
        last = groups[-1][-1] if groups else None
        if last is not None and _is_brief(run) and _is_brief(last) and _gist(run) == _gist(last):
            groups[-1].append(run)
        else:
            groups.append([run])
    return groups


def _gist(run: RunView) -> tuple[object, ...]:
    return run.campaign, run.verdict.why, run.dialect, run.state, run.standstill


def run_block(run: RunView, alike: Sequence[RunView] = ()) -> list[RenderableType]:
    """Return what is known of one run; two lines where there is nothing to act on.

    Args:
        run: the run.
        alike: the runs after it of which the same is to be said.
    """
    label, style = _VERDICTS[run.verdict.learning_rate]
    confidence = f" {run.verdict.confidence:.0%}" if run.verdict.learning_rate != "undecided" else ""
    facts = _facts(run)[:2] if alike else _facts(run)
    lines: list[RenderableType] = [
        Text.assemble((f"{label}{confidence}", style), "  ", run.verdict.why),
        Text(" · ".join(facts), style="dim"),
    ]
    if not _is_brief(run):
        lines.append(_hanging("reads", Text(_roles(run), style="dim")))
    lines += [_finding_lines(finding, "step") for finding in run.firing]
    said = {finding.text for finding in run.firing}
    lines += [_hanging("advice", Text(advice.text, style="bold")) for advice in run.advice if advice.text not in said]
    name = f"{run.run} … {alike[-1].run} ({len(alike) + 1} runs)" if alike else run.run
    return [Text(name, style="bold"), Padding(Group(*lines), (0, 0, 0, 2))]


def problems_block(snapshot: Snapshot) -> list[RenderableType]:
    """Return what could not be read, each with its remedy."""
    lines: list[RenderableType] = [Text(f"Problems ({len(snapshot.problems)})", style="bold yellow")]
    for problem in snapshot.problems:
        lines.append(Text(f"  {problem.where}", style="bold"))
        lines.append(Padding(Text(f"{problem.what}. {problem.remedy}"), (0, 0, 0, 4)))
    return [*lines, Text()]


def summary_line(snapshot: Snapshot) -> Text:
    """Return one line that counts runs, verdicts and firing findings."""
    counts = [
        f"{sum(run.verdict.learning_rate == kind for run in snapshot.runs)} {word}"
        for kind, word in (
            ("too_high", "too high"),
            ("too_low", "too low"),
            ("ok", "right"),
            ("undecided", "undecided"),
        )
    ]
    views: list[RunView | CampaignView] = [*snapshot.runs, *snapshot.campaigns]
    remarks = sum(finding.severity == "informational" for view in views for finding in view.firing)
    firing = sum(len(view.firing) for view in views) - remarks
    found = f"{_count(firing, 'finding')} firing" + (f", {_count(remarks, 'remark')}" if remarks else "")
    return Text(f"{_count(len(snapshot.runs), 'run')}: {', '.join(counts)}; {found}", style="dim")


def _is_brief(run: RunView) -> bool:
    """Tell whether a run has nothing to act on: a cycle of a campaign, or a run without a scalar."""
    if run.state == "empty":
        return True
    return run.campaign is not None and not run.firing and run.verdict.learning_rate == "undecided"


def _cycle_cells(cycle: CycleView, held_out: bool, is_best: bool) -> list[Text]:
    cells = [
        str(cycle.cycle),
        format_rate(cycle.learning_rate) if cycle.learning_rate else "–",
        _percent(cycle.verification_rate),
        f"{cycle.interval[0]:.1%} – {cycle.interval[1]:.1%}" if cycle.interval else "–",
        str(cycle.verified) if cycle.verified is not None else "–",
    ]
    if held_out:
        cells.append(_percent(cycle.training_rate))
    cells += [_percent(cycle.unique_fraction), "◀ best" if is_best else ""]
    return [Text(cell, style="bold green" if is_best else "") for cell in cells]


def _finding_lines(finding: Finding, unit: str) -> RenderableType:
    style = SEVERITY_STYLES[finding.severity]
    since = f"  since {unit} {finding.since_step}" if finding.since_step is not None else ""
    title = Text.assemble((finding.title, style), (since, "dim"), ("  " + finding.rule, "dim italic"))
    measured = finding.evidence.measured if finding.evidence is not None else None
    asides = tuple(Text(f"  {aside}", "dim") for aside in brief_figures(measured)) if measured is not None else ()
    lines = Group(_Fitting(title, asides), Text(finding.text))
    return _hanging(_SHORT[finding.severity], lines, style)


@dataclass(frozen=True, slots=True)
class _Fitting:
    """A text with the first of its asides that fits into the same line, or with none."""

    text: Text
    asides: tuple[Text, ...]
    """From the longest to the shortest."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield next((w for w in self._whole() if w.cell_len <= options.max_width), self.text)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement.get(console, options, next(self._whole(), self.text))

    def _whole(self) -> Iterator[Text]:
        return (self.text + aside for aside in self.asides)


_SHORT: Final = dict(zip(SEVERITIES, ("info", "low", "medium", "high", "critical"), strict=True))


def _hanging(label: str, content: RenderableType, style: str = "dim") -> Table:
    """Set a label beside a text that may need several lines."""
    grid = Table.grid(padding=(0, 1, 0, 0))
    grid.add_column(width=8, no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row(Text(label, style=style), content)
    return grid


def _facts(run: RunView) -> list[str]:
    facts = [run.dialect, run.state]
    if run.standstill is not None:
        facts[-1] = run.standstill.kind.replace("_", " ")
        if not any(finding.tells_standstill for finding in run.firing):
            facts[-1] += f" ({run.standstill.text})"
    if run.last_step is not None:
        facts.append(f"step {run.last_step}")
    facts += _learning_rate(run)
    if run.series.get("loss") is not None:
        facts.append(_count(run.series["loss"].count, "loss point"))
    return facts


def _learning_rate(run: RunView) -> list[str]:
    """Say the peak, which is the learning rate that counts, and the present one where it differs."""
    series = run.series.get("learning_rate")
    values = series.values[np.isfinite(series.values)] if series is not None else np.empty(0)
    if not len(values):
        rate = run.config.learning_rate
        return [f"LR {format_rate(rate)} ({run.config.source})"] if rate else []
    peak, now = written_rate(float(values.max())), written_rate(float(values[-1]))
    text = f"LR {format_rate(peak) if peak else 0}"
    return [text if now == peak else f"{text}, now {format_rate(now) if now else 0}"]


def _roles(run: RunView) -> str:
    shown = [f"{role.replace('_', ' ')} = {view.tag}" for role, view in list(run.series.items())[:_SHOWN_ROLES]]
    rest = len(run.series) - len(shown) + run.other_tags
    if not shown:
        return f"{_count(rest, 'tag')}, none with a known role; name them under `tags:` in raftmon.yaml"
    return ", ".join(shown) + (f" and {_count(rest, 'other tag')}" if rest else "")


def _percent(share: float | None) -> str:
    return f"{share:.1%}" if share is not None else "–"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
