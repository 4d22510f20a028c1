"""All keys together: which work where, what help and palette say of them, and which ones settings may choose."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from textual.binding import Binding
from textual.command import CommandPalette
from textual.dom import DOMNode
from textual.widgets import Input, OptionList

import raftmon.tui
from raftmon import cli
from raftmon.errors import DocumentErrors
from raftmon.tui.app import RaftmonApp
from raftmon.tui.bindings import bindings_of, key_names
from raftmon.tui.keymap import defects, groups, read_keymap, situations
from raftmon.tui.screens.cycles import CyclesScreen
from raftmon.tui.screens.detail import DetailScreen
from raftmon.tui.screens.finding import FindingSheet
from raftmon.tui.screens.help import HelpSheet, help_lines
from raftmon.tui.screens.overview import Overview
from raftmon.tui.screens.problems import ProblemsSheet
from raftmon.tui.screens.rules import RulesSheet
from raftmon.tui.screens.run import RunScreen
from tests import snapshots
from tests.apply_session import FakeChanger
from tests.tui_session import LARGE, MEDIUM, SMALL, Session, running

SIZES = pytest.mark.parametrize("size", [SMALL, MEDIUM, LARGE])
SHEETS = ("enter", "w", "r", "p", "a", "question_mark")
PLACES: dict[str, type] = {"1": Overview, "2": CyclesScreen, "3": RunScreen}


def owners() -> list[type[DOMNode]]:
    """Return every class of the TUI that has bindings of its own."""
    for module in pkgutil.walk_packages(raftmon.tui.__path__, "raftmon.tui."):
        importlib.import_module(module.name)

    def below(kind: type[DOMNode]) -> Iterator[type[DOMNode]]:
        for one in kind.__subclasses__():
            yield one
            yield from below(one)

    found = {one for one in below(DOMNode) if one.__module__.startswith("raftmon.") and one.__dict__.get("BINDINGS")}
    return sorted(found, key=lambda one: one.__name__)


def own(owner: type) -> list[Binding]:
    bindings = owner.__dict__["BINDINGS"]
    assert all(isinstance(binding, Binding) for binding in bindings)
    return list(bindings)


def named(keymap: dict[str, str]) -> dict[str, str]:
    return {defect.binding: f"{defect.what}. {defect.remedy}" for defect in defects(keymap)}


def test_all_classes_with_keys_are_found() -> None:
    names = {owner.__name__ for owner in owners()}
    assert names >= {"RaftmonApp", "Overview", "CyclesScreen", "RunScreen", "ApplySheet", "RulesSheet", "FilterBar"}


@pytest.mark.parametrize("owner", owners(), ids=lambda owner: str(owner.__name__))
def test_every_binding_is_explained_rebindable_and_in_the_help(owner: type) -> None:
    listed = {(b.action, b.key, b.tooltip) for _, bindings in groups() for b in bindings if isinstance(b, Binding)}
    text = [line.plain for line in help_lines(groups(), {}, 200)]
    for binding in own(owner):
        assert binding.tooltip
        assert binding.description
        assert binding.id or binding.key == "ctrl+q", "the one way out that no setting takes away"
        assert (binding.action, binding.key, binding.tooltip) in listed
        assert any(line.startswith(f"  {key_names(binding.key)} ") and binding.tooltip in line for line in text)


@pytest.mark.parametrize("owner", owners(), ids=lambda owner: str(owner.__name__))
def test_the_keys_of_every_class_are_checked_for_clashes(owner: type) -> None:
    assert any(set(map(id, own(owner))) & set(map(id, one.bindings)) for one in situations()) or all(
        any(binding in bindings_of(one) for one in (CyclesScreen, RunScreen)) for binding in own(owner)
    )


def test_an_id_means_one_action() -> None:
    actions: dict[str, set[str]] = {}
    for owner in owners():
        for binding in own(owner):
            actions.setdefault(binding.id or binding.key, set()).add(binding.action)
    assert not {name: found for name, found in actions.items() if len(found) > 1}


def offered(session: Session) -> dict[str, str]:
    """Return what the palette offers on the present screen: names with their keys."""
    found = list(session.app.get_system_commands(session.app.screen))
    assert len({command.title for command in found}) == len(found)
    assert len(found) > 5
    return {command.title: command.help for command in found}


@SIZES
async def test_every_action_is_in_the_palette_of_its_screen(size: tuple[int, int]) -> None:
    everything: dict[str, str] = {}
    async with running(snapshots.raft(), size, changer=FakeChanger()) as session:
        for keys in ([], ["tab"], ["slash"], ["2"], ["3"], *([key] for key in SHEETS)):
            await session.press(*keys)
            everything |= offered(session)
            assert not {"Maximize", "Screenshot", "Keys", "Quit"} & set(offered(session))
            await session.press("escape")
    for owner in owners():
        titles = {binding.action: binding.tooltip for binding in own(owner)}
        # Keys that do the same are offered once; the palette does not offer itself.
        for action in titles.keys() - {"app.command_palette", "dismiss_sheet"}:
            same = {binding.tooltip for binding in own(owner) if binding.action == action}
            assert same & everything.keys(), (owner, action)
    assert everything["Close what is open"] == "key: esc q enter"


@SIZES
@pytest.mark.parametrize("start", PLACES)
@pytest.mark.parametrize("key", PLACES)
async def test_the_numbers_switch_between_the_screens(size: tuple[int, int], start: str, key: str) -> None:
    async with running(snapshots.raft(), size) as session:
        await session.press(start)
        before = session.app.screen
        assert type(before) is PLACES[start]
        await session.press(key)
        after = session.app.screen
        assert type(after) is PLACES[key]
        assert (after is before) == (start == key)
        assert len(session.app.screen_stack) == (1 if key == "1" else 2)
        if isinstance(after, DetailScreen):
            assert after.run is session.table.selected
            await session.press("escape")
            assert session.closed_sheets


@SIZES
@pytest.mark.parametrize("start", ["2", "3"])
async def test_the_keys_of_all_screens_work_on_the_other_two(size: tuple[int, int], start: str) -> None:
    async with running(snapshots.raft(), size, changer=FakeChanger()) as session:
        await session.press(start)
        screen = session.app.screen
        for key, title in (("r", "RULES"), ("p", "PROBLEMS"), ("a", "APPLY"), ("question_mark", "HELP")):
            await session.press(key)
            assert session.text().startswith(title)
            await session.press("escape")
            assert session.app.screen is screen
        await session.press("c")
        assert "LEARNING RATE TOO HIGH" in session.app.clipboard
        await session.press("space")
        assert session.app.paused


@SIZES
async def test_the_findings_are_explained_on_the_cycles(size: tuple[int, int]) -> None:
    async with running(snapshots.raft(), size) as session:
        await session.press("2", "enter")
        opened = session.app.screen
        assert isinstance(opened, FindingSheet)
        assert "1 of" in session.text()
        await session.press("escape", "w")
        assert "verdict" in session.text()
        await session.press("escape")
        assert isinstance(session.app.screen, CyclesScreen)


@SIZES
async def test_series_and_picture_of_the_run_screen(
    size: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    async with running(snapshots.raft(), size) as session:
        await session.press("3", "e")
        screen = session.app.screen
        assert isinstance(screen, RunScreen)
        roles = [plot.chart.role for plot in screen.plots if plot.chart is not None]
        (table,) = tmp_path.glob("*.csv")
        assert {line.split(",")[1] for line in table.read_text().splitlines()[1:]} <= set(roles)
        await session.press("enter", "e")
        (alone,) = set(tmp_path.glob("*.csv")) - {table}
        assert {line.split(",")[1] for line in alone.read_text().splitlines()[1:]} == {roles[0]}
        await session.press("S")
        (picture,) = tmp_path.glob("*.svg")
        assert "RUN" in picture.read_text()
        await session.press("2", "s")
        assert any("CYCLES" in path.read_text() for path in tmp_path.glob("*.svg"))


@SIZES
@pytest.mark.parametrize("key", SHEETS)
async def test_help_opens_over_every_sheet_and_closes(size: tuple[int, int], key: str) -> None:
    async with running(snapshots.raft(), size, changer=FakeChanger()) as session:
        await session.press(key)
        sheet = session.app.screen
        await session.press("question_mark")
        if key == "question_mark":
            assert session.closed_sheets
        else:
            assert isinstance(session.app.screen, HelpSheet)
            await session.press("question_mark")
            assert session.app.screen is sheet


@pytest.mark.parametrize(
    ("size", "leave"), [(SMALL, "ctrl+c"), (MEDIUM, "ctrl+q"), (LARGE, "ctrl+c")], ids=["small", "medium", "large"]
)
@pytest.mark.parametrize("opened", [*SHEETS, "1", "2", "3", "slash", "ctrl+p"])
async def test_there_is_a_way_out_of_everything(size: tuple[int, int], opened: str, leave: str) -> None:
    async with running(snapshots.raft(), size, changer=FakeChanger()) as session:
        session.app.copy_to_clipboard("mine")
        await session.press(opened, leave)
        assert session.app.clipboard == "mine"
    assert session.app.return_value == 0


@SIZES
async def test_the_filter_line_and_its_keys(size: tuple[int, int]) -> None:
    async with running(snapshots.raft(), size) as session:
        session.app.set_keymap({"filter-keep": "f2", "filter-drop": "f3"})
        await session.press("slash")
        assert session.app.screen.query_one(Input).placeholder.endswith("f2 keeps it, f3 drops it")
        await session.press("4", "f2")
        assert session.focused == "runs"
        assert session.table.filter.text == "4"
        await session.press("slash", "f3")
        assert session.table.filter.text == ""


@SIZES
async def test_the_hints_follow_the_keymap(size: tuple[int, int]) -> None:
    changed = {"close": "f4", "finding-next": "N", "finding-mute": "x", "apply-undo": "U", "lines-down": "f7"}
    async with running(snapshots.raft(), size, changer=FakeChanger()) as session:
        session.app.set_keymap(changed)
        await session.press("enter")
        assert session.text("#hint").split() == (
            ["f4", "close", "·", "x", "mute", "·", "w", "verdict", "·", "←", "N", "findings", "·", "↑", "f7", "scroll"]
        )
        await session.press("f4", "p")
        assert session.text("#hint").split() == ["f4", "close", "·", "↑", "f7", "scroll"]
        await session.press("escape")
        assert isinstance(session.app.screen, ProblemsSheet)


@pytest.mark.parametrize("size", [(5, 2), (1, 1), (99, 2), (1, 28), (19, 8), (20, 7)])
async def test_there_is_no_palette_without_room(size: tuple[int, int]) -> None:
    async with running(snapshots.raft(), size) as session:
        await session.press("ctrl+p")
        assert session.closed_sheets
        assert session.app.bells == 1
        await session.press("pagedown")
        await session.pilot.resize_terminal(80, 24)
        await session.press("ctrl+p")
        assert isinstance(session.app.screen, CommandPalette)
        await session.pilot.resize_terminal(*size)
        await session.press("pagedown", "end")
        assert session.closed_sheets


async def test_the_least_palette_works() -> None:
    async with running(snapshots.raft(), (20, 8)) as session:
        await session.press("ctrl+p", "pagedown", "end", "pageup")
        assert session.app.screen.query_one(OptionList).option_count > 0


def test_every_default_can_be_said_in_the_settings() -> None:
    assert defects({b.id: b.key for owner in owners() for b in own(owner) if b.id}) == []


@pytest.mark.parametrize(
    "keymap",
    [
        {"quit": "ctrl+q"},
        {"pause": "f5", "help": "f1, z, H", "run-enlarge": "enter", "run-pan-back": "shift+left"},
        {"value-back": "left", "cursor-left": "left", "copy": "slash", "filter": "minus,plus", "run-zoom-in": "="}
        | {"run-zoom-out": "underscore"},
        {"log": "x", "run-axis": "X"},
        {"log": "x"},
        {"apply": "A", "apply-yes": "w"},
        {"filter": "?", "help": "/"},
        {"filter-drop": "ctrl+x", "interrupt": "f10", "palette": "ctrl+o"},
    ],
)
def test_keys_that_may_be_chosen(keymap: dict[str, str]) -> None:
    assert defects(keymap) == [] or named(keymap) == {}


@pytest.mark.parametrize(
    ("keymap", "binding", "words"),
    [
        ({"pauze": "f5"}, "pauze", "`keymap.pauze` is no binding. Did you mean `pause`? One of: apply, "),
        ({"filter": "notakey"}, "filter", "`notakey`, which is no key"),
        ({"filter": "f5,"}, "filter", "no key"),
        ({"filter": "shift+ctrl+left"}, "filter", "is no key"),
        ({"filter": "shift+x"}, "filter", "Write X."),
        ({"filter": "ctrl+i"}, "filter", "Write tab."),
        ({"log": "v"}, "log", "`v`, which is `chart` on the runs of the overview (Enlarge the next chart)"),
        ({"log": "f5", "chart": "f5"}, "log", "another key for `chart`"),
        ({"pause": "x"}, "pause", "`run-axis` on Run"),
        ({"copy": "ctrl+q"}, "copy", "fixed"),
        ({"interrupt": "x"}, "interrupt", "typed as text"),
        ({"filter-drop": "d"}, "filter-drop", "typed as text"),
        ({"interrupt": "slash"}, "interrupt", "typed as text"),
        ({"lines-down": "v"}, "lines-down", "`chart` on the advice of the overview"),
    ],
)
def test_keys_that_may_not_be_chosen(keymap: dict[str, str], binding: str, words: str) -> None:
    found = named(keymap)
    assert words in found[binding]
    assert words.count("?") or len(found) == 1


@given(
    st.dictionaries(
        st.sampled_from(["quit", "interrupt", "help", "palette", "log", "pause", "close", "nosuch"]),
        st.text(max_size=12) | st.sampled_from(["q", "ctrl+c", "ctrl+q", "x", "f5", "x,y", "space", "+", "plus"]),
        max_size=4,
    )
)
@settings(max_examples=200, deadline=None)
def test_any_text_is_judged_and_names_what_was_given(keymap: dict[str, str]) -> None:
    found = defects(keymap)
    assert {defect.binding for defect in found} <= keymap.keys()
    assert all(defect.what and defect.remedy for defect in found)
    if not found:
        # Whatever passes leaves the way out to itself.
        assert not any(
            "ctrl+q" in keys.split(",") for name, keys in keymap.items() if name not in ("quit", "interrupt")
        )


@pytest.mark.parametrize("options", [[], ["--web"]])
def test_watch_refuses_them_with_their_places(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str]
) -> None:
    file = tmp_path / "raftmon.yaml"
    file.write_text("keymap:\n  quit: x\n  log: x\n  filter: notakey\n  nosuch: z\n")
    with pytest.raises(SystemExit) as caught:
        cli.main(["watch", str(tmp_path), "--settings", str(file), *options])
    assert caught.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    for place, what in (
        ("3:8", "`keymap.log` is `x`, which is `quit`"),
        ("4:11", "`keymap.filter` has `notakey`"),
        ("5:11", "`keymap.nosuch` is no binding"),
    ):
        assert f"{file}:{place}: {what}" in err


def test_the_keymap_of_sound_settings_is_read(tmp_path: Path) -> None:
    file = tmp_path / "raftmon.yaml"
    file.write_text("keymap: {pause: f5, quit: x, run-axis: X}\n")
    assert read_keymap(file) == {"pause": "f5", "quit": "x", "run-axis": "X"}
    assert read_keymap(None) == {}
    file.write_text("keymap: {pause: f5}\nstrategy: {kind: none}\n")
    with pytest.raises(DocumentErrors, match=r"raftmon\.yaml:2:"):
        read_keymap(file)


async def test_the_way_out_stays_whatever_the_settings_say() -> None:
    async with running(snapshots.raft()) as session:
        session.app.set_keymap({"quit": "x", "interrupt": "f10", "close": "f4", "run-axis": "X"})
        await session.press("r", "ctrl+q")
    assert session.app.return_value == 0


def test_the_rules_sheet_and_the_app_inherit_what_their_bases_have() -> None:
    ids = [binding.id for binding in bindings_of(RulesSheet)]
    assert {"close", "help", "rules-close"} <= set(ids)
    assert len(ids) == len(set(ids))
    assert {binding.id for binding in bindings_of(RaftmonApp)} >= {"pause", "help", "quit", "interrupt", None}


def test_key_names() -> None:
    assert key_names("plus,equals_sign") == "+ ="
    assert key_names("shift+left,H") == "shift+← H"
    assert key_names("?") == "?"
    assert key_names("left_square_bracket,slash,comma,minus,f5") == "[ / , - f5"
