"""What would be written into a config, why, and what became of it, in lines."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from rich.cells import chop_cells
from textual.content import Content

from raftmon.errors import DocumentErrors, RaftmonError
from raftmon.grounds import STATUSES, Evidence, brief_figures
from raftmon.model import CampaignView, NextCycle, RunView, Step
from raftmon.plain import plain
from raftmon.tui.text import MUTED, NOTHING, Part, assemble, metric
from raftmon.tui.widgets.lines import wrap

if TYPE_CHECKING:
    from raftmon.override import Override, Undone

__all__ = [
    "back_lines",
    "diff_lines",
    "grounds_of",
    "proposal_lines",
    "trouble_lines",
    "working_lines",
    "written_lines",
]

DIFF_STYLES = {"+": "$text-success", "-": "$text-error", "@": MUTED, "\\": MUTED}
"""Style of a line of a diff by its first character; the character itself stays."""
INDENT = 2


def grounds_of(run: RunView | None, campaign: CampaignView | None) -> dict[str, Evidence]:
    """Return what is known of the rules that have looked at a run and its campaign, by their ids."""
    findings = [*(run.findings if run is not None else ()), *(campaign.findings if campaign is not None else ())]
    return {finding.rule: finding.evidence for finding in findings if finding.evidence is not None}


def proposal_lines(
    override: Override, grounds: Mapping[str, Evidence], advised: NextCycle | None, width: int
) -> list[Content]:
    """Return what the next cycle should train at, what changes in the file, and the arithmetic.

    Args:
        override: of a dry run, or one that was refused.
        grounds: what is known of rules, by id.
        advised: what the overview advises, where rules may speak that may not act here; None: nothing.
        width: cells.
    """
    lines = [*_head(override, width), *_outcome(override, width), *_against(override, advised, width)]
    lines += _titled("Changes in the file", diff_lines(override.diff, width))
    lines += _titled("Arithmetic", _steps(override.because, grounds, width, _to_write(override)))
    lines += _titled("Not heeded", _steps(override.held_back, grounds, width))
    lines += _titled("Beware", [line for text in override.remarks for line in _entry((text, ""), width)])
    lines += _titled("Authority", _entry((_authority(override), MUTED), width))
    return lines + (_titled("Advice", wrap(assemble(override.text), width, INDENT)) if override.text else [])


def written_lines(override: Override, place: str, width: int) -> list[Content]:
    """Return what was written where.

    Args:
        override: as it was applied.
        place: of the journal.
        width: cells.
    """
    what = "WRITTEN" if override.changed else "NOTED"
    lines = wrap(assemble((f" ✓ {what} ", "bold reverse $text-success"), "  ", _where(override)), width, 0, INDENT)
    lines += [Content(), *_head(override, width)]
    told = "Noted" if override.changed else "The file is right as it was; that is noted"
    lines += wrap(assemble(f"{told} in the journal {place}."), width)
    lines += _start_from(override, width)
    return lines + _titled("Changed in the file", diff_lines(override.diff, width))


def back_lines(undone: Undone, place: str, width: int, *, done: bool) -> list[Content]:
    """Return what is taken back.

    Args:
        undone: what the last override changed, the other way round.
        place: of the journal.
        width: cells.
        done: whether it is taken back already, or would be.
    """
    what = f"the override of cycle {undone.cycle}" if undone.cycle is not None else "the schedule"
    badge = (" ✓ TAKEN BACK ", "bold reverse $text-success") if done else (" ↩ TAKE BACK? ", "bold reverse")
    lines = wrap(assemble(badge, f"  {what}, `{undone.key}` in {undone.config}"), width, 0, INDENT)
    told = "The file is byte by byte what it was before" if done else "The file becomes byte by byte what it was before"
    lines += [Content(), *wrap(assemble(f"{told}; the journal {place} {'says' if done else 'will say'} so."), width)]
    return lines + _titled("Changed in the file" if done else "Changes in the file", diff_lines(undone.diff, width))


def trouble_lines(error: Exception, width: int) -> list[Content]:
    """Return an error as sentences: place, what, remedy."""
    if isinstance(error, DocumentErrors):
        told = [(problem.where, problem.what, problem.remedy) for problem in error.problems]
    elif isinstance(error, RaftmonError):
        told = [(error.where, error.what, error.remedy)]
    else:
        remedy = "Look into the config before the next cycle starts: this is a defect of raftmon, please report it."
        told = [(type(error).__name__, str(error) or "an error without words", remedy)]
    lines: list[Content] = []
    for where, what, remedy in told:
        lines += [Content()] if lines else []
        lines += _refusal("NOT POSSIBLE", f"{where}: {what}", remedy, width)
    return lines


def working_lines(doing: str, width: int) -> list[Content]:
    """Return what is under way."""
    return wrap(assemble((f"{doing} …", MUTED)), width)


def diff_lines(diff: str, width: int) -> list[Content]:
    """Return a unified diff without the names of the files; what is too long goes on in the next line."""
    lines: list[Content] = []
    for line in diff.split("\n")[2:-1]:
        text = plain(line.rstrip("\r").expandtabs())
        style = DIFF_STYLES.get(text[:1], "")
        for index, piece in enumerate(chop_cells(text, max(width - 2 * INDENT, 8))):
            lines.append(assemble(" " * (2 * INDENT if index else INDENT), (piece, style)))
    return lines


def _head(override: Override, width: int) -> list[Content]:
    name = f"CYCLE {override.cycle}" if override.cycle is not None else "NEXT CYCLE"
    if override.stop:
        best = f", ship cycle {override.best_cycle}" if override.best_cycle is not None else ""
        return wrap(assemble((f"{name}  ", "bold"), (f"■ STOP{best}", "bold $text-error")), width, 0, INDENT)
    parts: list[Part] = [(f"{name}  ", "bold"), ("LR ", MUTED)]
    now, then = (metric("learning_rate", rate) for rate in (override.current, override.learning_rate))
    if override.current is not None and now != then:
        parts += [now, (" → ", MUTED)]
    parts.append((then if override.learning_rate is not None else NOTHING, "bold $text-primary"))
    return [*wrap(assemble(*parts, (f"  {_where(override)}", MUTED)), width, 0, INDENT), *_start_from(override, width)]


def _where(override: Override) -> str:
    return f"`{override.key}` in {override.config}" if override.key is not None else override.config


def _start_from(override: Override, width: int) -> list[Content]:
    """Say which checkpoint to begin with: no config holds that, a person has to do it."""
    if override.roll_back_to is None or override.stop:
        return []
    start = _checkpoint(override.roll_back_to)
    return wrap(assemble((f"↩ begin with {start}: that is yours to do", "bold $text-warning")), width, 0, INDENT)


def _outcome(override: Override, width: int) -> list[Content]:
    if override.refused is not None:
        return [Content(), *_refusal("REFUSED", override.refused, override.remedy, width)]
    if override.stop:
        return _entry(("Nothing is written: the campaign should end here.", "bold"), width, 0)
    if not override.changed:
        return _entry(("✓ The config is right as it is; to confirm only notes that.", "$text-success"), width, 0)
    return []


def _against(override: Override, advised: NextCycle | None, width: int) -> list[Content]:
    """Say where the overview advises more than a number: whoever confirms one has to know."""
    if advised is None or override.stop or override.cycle != advised.cycle:
        return []
    if advised.stop:
        best = "the newest checkpoint" if advised.roll_back_to is None else _checkpoint(advised.roll_back_to)
        what = f"! The advice is to stop and to ship {best}"
    elif advised.roll_back_to is not None and advised.roll_back_to != override.roll_back_to:
        what = f"! The advice is to begin with {_checkpoint(advised.roll_back_to)}"
    else:
        return []
    # The overview asks what rules of status `test` propose.
    why = "that rests on rules which may not act here" if override.authority == "stable" else "look at both"
    return wrap(assemble((f"{what}; {why}.", "bold $text-warning")), width, 0, INDENT)


def _checkpoint(cycle: int) -> str:
    return f"the checkpoint of cycle {cycle}" if cycle else "the base model"


def _refusal(badge: str, what: str, remedy: str | None, width: int) -> list[Content]:
    lines = wrap(assemble((f" ✖ {badge} ", "bold reverse $text-error"), f"  {what}"), width, 0, INDENT)
    return lines + (wrap(assemble(("→ ", "$text-primary"), remedy), width, INDENT, 2 * INDENT) if remedy else [])


def _steps(steps: Iterable[Step], grounds: Mapping[str, Evidence], width: int, last: str = "") -> list[Content]:
    lines: list[Content] = []
    for step in steps:
        lines += _entry((step.text, ""), width)
        if step.rule in grounds:
            lines += wrap(assemble((_founded(grounds[step.rule]), MUTED)), width, 2 * INDENT)
    return lines + (_entry((last, "bold"), width) if last else [])


def _founded(evidence: Evidence) -> str:
    figures = "".join(f" · {text}" for text in brief_figures(evidence.measured)[:1])
    return f"{evidence.status} rule · {evidence.level}, grade {evidence.grade}{figures}"


def _to_write(override: Override) -> str:
    """Say which number stands in the file where it is not the rate itself."""
    written, rate = (metric("learning_rate", value) for value in (override.written, override.learning_rate))
    if override.written is None or written == rate:
        return ""
    return f"to write: {written}, of which the trainer makes {rate}"


def _authority(override: Override) -> str:
    order: list[str] = list(STATUSES)
    enough = order[order.index(override.authority) :] if override.authority in order else [override.authority]
    return f"only rules of status {' or '.join(enough)} move the number here (--authority)"


def _entry(text: tuple[str, str], width: int, indent: int = INDENT) -> list[Content]:
    return wrap(assemble(text), width, indent, indent + INDENT)


def _titled(title: str, lines: list[Content]) -> list[Content]:
    return [Content(), assemble((title, "bold")), *lines] if lines else []
