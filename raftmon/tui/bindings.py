"""Keys that more than one screen has: the same key does the same on each of them; and the names of keys."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from textual.binding import Binding, BindingType
from textual.keys import format_key
from textual.screen import Screen

__all__ = [
    "EVERYWHERE",
    "EXPLAIN",
    "FOCUS",
    "HELP",
    "PAUSE",
    "QUIT",
    "SCREENS",
    "SCREENSHOT",
    "VERDICT",
    "bindings_of",
    "key_names",
    "keys_of",
    "only_bindings",
]

SIGNS: Final = {"enter": "enter", "delete": "delete"}
"""Names that say more than Textual's signs."""

HELP: Final = Binding("question_mark", "app.help", "Help", id="help", tooltip="Keys and signs")
PAUSE: Final = Binding("space", "app.pause", "Pause", id="pause", tooltip="Freeze the view; reading goes on")
QUIT: Final = Binding("q", "app.quit_now", "Quit", id="quit", tooltip="Leave raftmon; the training is not touched")

EVERYWHERE: Final[list[Binding]] = [
    HELP,
    Binding(
        "ctrl+p",
        "app.command_palette",
        "Palette",
        show=False,
        priority=True,
        id="palette",
        tooltip="Every action by its name",
    ),
    Binding(
        "ctrl+c",
        "app.quit_now",
        "Quit",
        show=False,
        priority=True,
        id="interrupt",
        tooltip="Leave raftmon, from every screen and sheet",
    ),
    # No id: settings cannot change it, so that there is a way out of any of them.
    Binding(
        "ctrl+q",
        "app.quit_now",
        "Quit",
        show=False,
        priority=True,
        tooltip="Leave raftmon; no setting changes this key",
    ),
]
"""On every screen and sheet, and while one types."""

SCREENS: Final[list[Binding]] = [
    Binding("1", "app.go('overview')", "Overview", show=False, id="overview", tooltip="The overview"),
    Binding(
        "2",
        "app.go('cycles')",
        "Cycles",
        show=False,
        id="cycles",
        tooltip="All cycles of the campaign, and what comes next",
    ),
    Binding(
        "3",
        "app.go('run')",
        "Run",
        show=False,
        id="run",
        tooltip="All charts of the run, zoom, marked runs over it",
    ),
    Binding(
        "r",
        "app.overview('rules')",
        "Rules",
        show=False,
        id="rules",
        tooltip="Every rule, and what it says of this run",
    ),
    Binding(
        "p",
        "app.overview('problems')",
        "Problems",
        id="problems",
        tooltip="Files, rules and configs with problems",
    ),
    Binding(
        "a",
        "app.overview('apply')",
        "Apply",
        show=False,
        id="apply",
        tooltip="Write the next cycle's learning rate (with --config CONFIG --apply)",
    ),
    Binding("c", "app.overview('copy')", "Copy", show=False, id="copy", tooltip="Copy the advice to the clipboard"),
]
"""On the overview, Cycles and Run; what is looked at is what is selected on the overview."""

EXPLAIN: Final = Binding(
    "enter", "app.overview('explain')", "Why", id="explain", tooltip="Explain the findings, the gravest first"
)
VERDICT: Final = Binding(
    "w",
    "app.overview('explain_verdict')",
    "Verdict",
    show=False,
    id="verdict",
    tooltip="What the verdict was weighed from",
)
SCREENSHOT: Final = Binding(
    "s",
    "app.overview('screenshot')",
    "Shot",
    show=False,
    id="screenshot",
    tooltip="Write the screen to an SVG file here",
)
FOCUS: Final[list[Binding]] = [
    Binding("tab", "app.focus_next", "Other panel", show=False, id="focus-next", tooltip="Go to the next panel"),
    Binding("shift+tab", "app.focus_previous", "Back", show=False, id="focus-back", tooltip="Go back a panel"),
]


def only_bindings(bindings: Iterable[BindingType]) -> list[Binding]:
    """Return the bindings among what a class may name so; raftmon names no tuples."""
    return [binding for binding in bindings if isinstance(binding, Binding)]


def bindings_of(owner: type) -> Sequence[Binding]:
    """Return the bindings of a class of raftmon with those it inherits; a key of its own takes the base's away."""
    by_key: dict[str, Binding] = {}
    for base in reversed(owner.__mro__):
        if base.__module__.startswith("raftmon."):
            for binding in only_bindings(base.__dict__.get("BINDINGS", [])):
                by_key |= {key.strip(): binding for key in binding.key.split(",")}
    found = {id(binding): binding for binding in by_key.values()}
    return list(found.values())


def key_names(keys: str) -> str:
    """Return keys as people read them: ``down,plus`` gives ``↓ +``, ``shift+left`` ``shift+←``."""
    return " ".join(_key_name(key.strip()) for key in keys.split(","))


def keys_of(screen: Screen[Any]) -> dict[str, str]:
    """Return the first key that works now, as people read it, by the id of its binding."""
    return {a.binding.id: key_names(key) for key, a in reversed(screen.active_bindings.items()) if a.binding.id}


def _key_name(key: str) -> str:
    modifiers, plus, base = key.rpartition("+")
    return f"{modifiers}{plus}{SIGNS.get(base, format_key(base))}"
