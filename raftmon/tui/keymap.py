"""All keys together: which the help lists where, and whether the settings' own ones can be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from textual.binding import Binding
from textual.keys import REPLACED_KEYS, Keys, key_to_character

from raftmon.advice.settings import read_settings
from raftmon.documents import read_fields, suggest
from raftmon.errors import DocumentErrors
from raftmon.model import Problem
from raftmon.tui.bindings import EVERYWHERE, PAUSE, QUIT, SCREENS, bindings_of, key_names, only_bindings
from raftmon.tui.screens.apply import ApplySheet
from raftmon.tui.screens.cycles import CyclesScreen
from raftmon.tui.screens.detail import DetailScreen
from raftmon.tui.screens.finding import FindingSheet
from raftmon.tui.screens.help import BindingGroup, HelpSheet
from raftmon.tui.screens.overview import Overview
from raftmon.tui.screens.problems import ProblemsSheet
from raftmon.tui.screens.rules import RulesSheet
from raftmon.tui.screens.run import RunScreen
from raftmon.tui.screens.sheet import Sheet
from raftmon.tui.widgets.charts_panel import ChartsPanel
from raftmon.tui.widgets.filter_bar import FilterBar
from raftmon.tui.widgets.lines import LinesView
from raftmon.tui.widgets.runs_table import RunsTable

__all__ = ["Defect", "Situation", "defects", "groups", "read_keymap", "situations"]

MODIFIERS = ("alt", "ctrl", "hyper", "meta", "shift", "super")
"""In the order in which Textual names them."""
SAME = {"ctrl+i": "tab", "ctrl+m": "enter", "ctrl+left_square_brace": "escape"}
"""Keys that terminals send as another one."""


@dataclass(frozen=True, slots=True)
class Situation:
    """Bindings that work at the same time."""

    name: str
    """Where, for people."""
    bindings: Sequence[Binding]
    """All of them, those of the panel with the focus first."""
    typing: bool = False
    """Whether keys are typed as text there."""


@dataclass(frozen=True, slots=True)
class Defect:
    """What is wrong with a key that settings give."""

    binding: str
    """Id, as in the settings."""
    what: str
    remedy: str


def groups() -> list[BindingGroup]:
    """Return every binding there is, by where it works; one that several classes have is in one group."""
    apart = {binding.id for binding in SCREENS}
    own = [binding for binding in only_bindings(DetailScreen.BINDINGS) if binding.id not in apart]
    overview = [binding for binding in only_bindings(Overview.BINDINGS) if binding.id not in apart]
    return [
        ("Everywhere", EVERYWHERE),
        ("Overview, Cycles and Run", [*SCREENS, PAUSE]),
        ("Overview", [*overview, QUIT]),
        ("Overview: runs", RunsTable.BINDINGS),
        ("Overview: charts", ChartsPanel.BINDINGS),
        ("Overview: filter line", FilterBar.BINDINGS),
        ("Advice, Cycles, and the text of every sheet", LinesView.BINDINGS),
        ("Cycles and Run", own),
        ("Cycles", CyclesScreen.BINDINGS),
        ("Run", RunScreen.BINDINGS),
        ("Every sheet (what opens over a screen)", [b for b in only_bindings(Sheet.BINDINGS) if b not in EVERYWHERE]),
        ("Sheet WHY, of a finding", FindingSheet.BINDINGS),
        ("Sheet RULES", RulesSheet.BINDINGS),
        ("Sheet PROBLEMS", ProblemsSheet.BINDINGS),
        ("Sheet APPLY", ApplySheet.BINDINGS),
    ]


def situations() -> list[Situation]:
    """Return what works together: on each screen with each of its panels, on each sheet, on the filter line."""
    everywhere = (PAUSE, *EVERYWHERE, QUIT)
    found = [
        Situation(name, (*bindings_of(panel), *bindings_of(Overview), *everywhere))
        for name, panel in (
            ("the runs of the overview", RunsTable),
            ("the advice of the overview", LinesView),
            ("the charts of the overview", ChartsPanel),
        )
    ]
    found += [
        Situation("Cycles", (*bindings_of(LinesView), *bindings_of(CyclesScreen), *everywhere)),
        Situation("Run", (*bindings_of(RunScreen), *everywhere)),
    ]
    sheets: tuple[type[Sheet], ...] = (HelpSheet, FindingSheet, RulesSheet, ProblemsSheet, ApplySheet)
    found += [
        Situation(f"the sheet {sheet.TITLE_TEXT}", (*bindings_of(LinesView), *bindings_of(sheet), *EVERYWHERE))
        for sheet in sheets
    ]
    # Only what comes before the text that is typed.
    typed = [binding for binding in (*bindings_of(FilterBar), *EVERYWHERE) if binding.priority]
    return [*found, Situation("the filter line", typed, typing=True)]


def read_keymap(path: Path | None) -> dict[str, str]:
    """Read the keys by binding id from a settings file; without one there are none.

    Raises:
        DocumentErrors: with every defect of the file, or else with every defect of its keys.
    """
    keymap = dict(read_settings(path).keymap)
    problems: list[Problem] = []
    fields = read_fields(path, problems, may_be_empty=True) if path is not None and keymap else None
    keys = fields.mapping("keymap") if fields is not None else None
    if keys is not None:
        for defect in defects(keymap):
            keys.complain(defect.what, defect.remedy, defect.binding)
    if problems:
        raise DocumentErrors(tuple(problems))
    return keymap


def defects(keymap: Mapping[str, str]) -> list[Defect]:
    """Return what is wrong with keys: ids that no binding has, keys that none is, and two actions on one key.

    Args:
        keymap: keys, with commas between them, by binding id.
    """
    around = situations()
    ids = sorted({binding.id for situation in around for binding in situation.bindings if binding.id})
    found: list[Defect] = []
    for name, keys in keymap.items():
        if name not in ids:
            near, every = suggest(name, ids), f"One of: {', '.join(ids)}."
            found.append(Defect(name, f"`keymap.{name}` is no binding", every if near == every else f"{near} {every}"))
        else:
            found += [Defect(name, f"`keymap.{name}` has {what}", remedy) for what, remedy in _unknown(keys)]
    wrong = {defect.binding for defect in found}
    sound = {name: keys for name, keys in keymap.items() if name not in wrong}
    told: set[frozenset[str]] = set()
    for situation in around:
        for defect, pair in _clashes(situation, sound):
            if pair not in told:
                told.add(pair)
                found.append(defect)
    return found


def _clashes(situation: Situation, keymap: Mapping[str, str]) -> Iterator[tuple[Defect, frozenset[str]]]:
    """Yield the clashes with the pair of what clashes, for whom settings changed the keys of at least one."""
    for binding in situation.bindings:
        name = binding.id or ""
        if name not in keymap:
            continue
        keys = _split(keymap[name])
        typed = [key for key in keys if binding.priority and _character(key)]
        if situation.typing and typed:
            what = f"`keymap.{name}` is `{key_names(typed[0])}`, which is typed as text in {situation.name}"
            yield Defect(name, what, "Choose a key that types nothing, for example f5 or ctrl+x."), frozenset((name,))
        for other in situation.bindings:
            both = keys & _split(keymap.get(other.id or "", other.key))
            # Some share a key on purpose: that of the panel with the focus comes first.
            both -= _split(binding.key) & _split(other.key)
            if both and _action(other) != _action(binding):
                key, called = key_names(min(both)), f"`{other.id}`" if other.id else "fixed"
                what = f"`keymap.{name}` is `{key}`, which is {called} on {situation.name} ({other.tooltip})"
                change = f", or another key for `{other.id}`" if other.id else ""
                yield Defect(name, what, f"Choose another key{change}."), frozenset((name, other.id or other.key))


def _unknown(keys: str) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with each key that no keyboard sends, and the remedy."""
    for key in keys.split(","):
        key = key.strip()
        *modifiers, base = key.split("+") if len(key) > 1 else [key]
        if not key:
            yield "no key", "Name one, for example f5; a comma is `comma`, several keys have commas between them."
        elif key in SAME:
            yield f"`{key}`, which terminals send as `{SAME[key]}`", f"Write {SAME[key]}."
        elif modifiers == ["shift"] and len(base) == 1:
            yield f"`{key}`, which no terminal sends", f"Write {base.upper()}."
        elif not _is_known(base) or modifiers != sorted(set(modifiers) & set(MODIFIERS)):
            yield (
                f"`{key}`, which is no key",
                "For example x, X, f5, ctrl+x, alt+x, shift+left, pagedown, question_mark.",
            )


def _is_known(base: str) -> bool:
    """Tell whether Textual calls a key so, modifiers apart."""
    names = {str(key.value) for key in Keys if not str(key.value).startswith("<")}
    if len(base) == 1:
        return base.isprintable() and not base.isspace()
    return base in names or bool(_character(base))


def _character(key: str) -> str:
    """Return what a key types; nothing for one that types nothing."""
    character = key_to_character(REPLACED_KEYS.get(key, key)) or ""
    # Escape and others are named like control characters.
    return character if character.isprintable() else ""


def _split(keys: str) -> set[str]:
    """Return keys as Textual names them."""
    return {binding.key for binding in Binding.make_bindings([Binding(keys, "none")])} if keys else set()


def _action(binding: Binding) -> str:
    return binding.action.removeprefix("app.")
