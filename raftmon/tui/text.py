"""Words, glyphs and numbers as the screens show them.

Names and texts that come from event files are untrusted: `plain` takes out what a terminal would obey, and they are
put into `textual.content.Content` as text, never parsed as markup. Nothing is told by colour alone: each state,
verdict and severity has a glyph and a word.
"""

from __future__ import annotations

import math
from typing import TypeAlias

from rich.cells import cell_len, set_cell_size
from textual.content import Content

from raftmon.model import Authority, RunState, RunView, Severity, StandstillKind, VerdictKind
from raftmon.plain import plain
from raftmon.tui.axis import tick_label

__all__ = [
    "AUTHORITIES",
    "CURVE_ROLES",
    "MUTED",
    "NOTHING",
    "RATE_ROLES",
    "SEVERITIES",
    "STANDSTILLS",
    "STATES",
    "VERDICTS",
    "Part",
    "assemble",
    "cut_end",
    "cut_middle",
    "fit",
    "metric",
    "number",
    "plural",
    "run_name",
    "sentence",
    "state_of",
    "steps",
]

MUTED = ".muted"
"""Style of secondary text: a component class of `raftmon.tui.widgets.lines.Inked`."""
NOTHING = "–"
"""Stands for a value that is not known."""

CURVE_ROLES = frozenset({"loss", "grad_norm", "eval_loss", "reward", "entropy", "kl"})
"""Roles whose values are written with a fixed number of digits."""
RATE_ROLES = frozenset({"verification_rate", "heldout_rate"})
"""Roles whose values are shares, written as percentages."""

Part: TypeAlias = str | tuple[str, str]
"""Text, or text with its style."""

VERDICTS: dict[VerdictKind, tuple[str, str, str]] = {
    "too_high": ("▲", "too high", "$text-error"),
    "too_low": ("▼", "too low", "$text-warning"),
    "ok": ("✓", "ok", "$text-success"),
    "undecided": ("?", "undecided", MUTED),
}
"""Glyph, word and style of a verdict on the learning rate."""
STATES: dict[RunState, tuple[str, str, str]] = {
    "live": ("●", "live", "$text-success"),
    "idle": ("◐", "idle", "$text-warning"),
    "finished": ("■", "done", MUTED),
    "empty": ("○", "empty", MUTED),
}
"""Glyph, word and style of a run's state."""
STANDSTILLS: dict[StandstillKind, tuple[str, str, str]] = {
    "stalled": ("◌", "stalled", "bold $text-error"),
    "cut_off": ("⊘", "cut off", "bold $text-warning"),
    "ended": ("□", "ended", MUTED),
}
"""Glyph, word and style of what is known of a run that says nothing."""
SEVERITIES: dict[Severity, tuple[str, str, str]] = {
    "critical": ("✖", "critical", "bold $text-error"),
    "high": ("◆", "high", "$text-error"),
    "medium": ("◆", "medium", "$text-warning"),
    "low": ("◇", "low", "$text-accent"),
    "informational": ("·", "info", MUTED),
}
"""Glyph, word and style of a finding's severity."""
AUTHORITIES: dict[Authority, str] = {
    "show": "shown only",
    "propose": "proposed",
    "apply": "may be applied",
}
"""What may be done with an advice, in words."""


def assemble(*parts: Part | Content) -> Content:
    """Join parts into content; texts are taken as they are, without markup, made printable."""
    return Content.assemble(
        *(
            part
            if isinstance(part, Content)
            else Content.styled(plain(part[0]), part[1])
            if isinstance(part, tuple)
            else Content(plain(part))
            for part in parts
        )
    )


def cut_middle(text: str, width: int) -> str:
    """Return printable text of at most `width` cells; a long one loses its middle, because both ends tell most."""
    text = plain(text)
    if cell_len(text) <= width:
        return text
    if width < 3:
        return set_cell_size(text, max(width, 0))
    head = (width - 1) // 2
    tail = text
    while cell_len(tail) > width - 1 - head:
        tail = tail[1:]
    return f"{set_cell_size(text, head).rstrip()}…{tail}"


def cut_end(text: str, width: int) -> str:
    """Return printable text of at most `width` cells; a long one loses its end."""
    text = plain(text)
    if cell_len(text) <= width:
        return text
    return f"{set_cell_size(text, width - 1).rstrip()}…" if width > 0 else ""


def fit(text: str, width: int, *, right: bool = False) -> str:
    """Return text of exactly `width` cells: cut in the middle, or filled with blanks on the right or left."""
    text = cut_middle(text, width)
    blanks = " " * (width - cell_len(text))
    return blanks + text if right else text + blanks


def sentence(text: str) -> str:
    """Return text that begins with a capital letter."""
    return text[:1].upper() + text[1:]


def number(value: float | None) -> str:
    """Return a value with four significant digits, `NOTHING` for None."""
    if value is None:
        return NOTHING
    if not math.isfinite(value) or value == 0.0 or not 1e-3 <= abs(value) < 1e4:
        return tick_label(value)
    return f"{value:.4g}"


def metric(role: str, value: float | None) -> str:
    """Return the value of a role: learning rates as ``3.61e-5``, rates as percentages, others as `number`."""
    if value is not None and math.isfinite(value):
        if role in RATE_ROLES:
            return f"{value * 100.0:.1f}%"
        if role == "learning_rate" and value != 0.0 and abs(value) < 0.01:
            mantissa, exponent = f"{value:.2e}".split("e")
            return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"
        if role in CURVE_ROLES and 1e-3 <= abs(value) < 1e4:
            # Trailing zeros, so that a column of losses lines up.
            return f"{value:#.4g}".rstrip(".")
    return number(value)


def plural(count: int, noun: str) -> str:
    """Return ``1 run``, ``2 runs``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def state_of(run: RunView) -> tuple[str, str, str]:
    """Return glyph, word and style of what a run does."""
    return STANDSTILLS[run.standstill.kind] if run.standstill is not None else STATES[run.state]


def run_name(run: RunView) -> str:
    """Return the run's name; the logdir itself is called by its directory."""
    return run.run if run.run != "." else run.path.rstrip("/").rpartition("/")[2] or run.path


def steps(run: RunView) -> str:
    """Return ``12/16``, ``12`` where the plan is not known, `NOTHING` without a step."""
    if run.last_step is None:
        return NOTHING
    planned = run.config.max_steps
    return f"{_step(run.last_step)}/{_step(planned)}" if planned else _step(run.last_step)


def _step(step: int) -> str:
    return str(step) if step < 10_000 else tick_label(step)
