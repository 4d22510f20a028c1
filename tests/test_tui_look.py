"""Colours, ASCII, notices, the sheet of rules, and every action in the palette."""

from __future__ import annotations

from dataclasses import replace

import pytest
from rich.cells import cell_len

from raftmon.tui.announce import news
from raftmon.tui.app import RaftmonApp
from raftmon.tui.look import THEMES, Look, as_ascii, theme_names
from raftmon.tui.screens.rules import RulesSheet, rule_lines
from tests import snapshots
from tests.tui_session import LARGE, MEDIUM, SMALL, ScriptedSource, running


@pytest.mark.parametrize("size", [SMALL, MEDIUM, LARGE])
async def test_nothing_but_ascii_goes_out_to_a_poor_terminal(size: tuple[int, int]) -> None:
    app = RaftmonApp(ScriptedSource(snapshots.raft()), interval=0.001, look=Look(ascii=True))
    async with app.run_test(size=size) as pilot:
        await pilot.pause()
        for key in ("y", "question_mark", "escape", "enter", "escape", "r"):
            await pilot.press(key)
            lines = ["".join(segment.text for segment in strip) for strip in app.screen._compositor.render_strips()]
            assert all(line.isascii() and len(line) == size[0] for line in lines)


@pytest.mark.parametrize("text", ["▲ LR too high", "★ ⣿⠀⡇ 損失 é ½ ±1.2×", "\N{ZERO WIDTH JOINER}", "plain", ""])
def test_ascii_takes_as_many_cells(text: str) -> None:
    assert as_ascii(text).isascii()
    assert len(as_ascii(text)) == cell_len(text)


def test_dots_stay_told_from_blanks() -> None:
    assert as_ascii("⠀") == " "
    assert " " not in as_ascii("⠁⣿⡀")


def test_every_theme_has_a_name_of_its_own() -> None:
    names = theme_names()
    assert len(set(names)) == len(names)
    assert names[: len(THEMES)] == tuple(theme.name for theme in THEMES)


@pytest.mark.parametrize("theme", theme_names())
async def test_each_theme_can_be_chosen(theme: str) -> None:
    app = RaftmonApp(ScriptedSource(snapshots.raft()), interval=0.001, look=Look(theme=theme))
    async with app.run_test(size=SMALL):
        assert app.theme == theme


async def test_the_end_of_a_grave_finding_is_told() -> None:
    alarm = snapshots.raft(2)
    ended = replace(
        alarm,
        version=3,
        runs=tuple(
            replace(run, findings=tuple(replace(finding, state="resolved") for finding in run.findings))
            for run in alarm.runs
        ),
    )
    assert [(item.finding.rule, item.ended) for item in news(alarm, ended)] == [("loss-draws-up", True)]
    async with running(alarm) as session:
        await session.push(ended)
        ((notice),) = session.app._notifications
        assert notice.title.endswith("has ended")
        assert notice.severity == "information"


async def test_quiet_is_quiet() -> None:
    calm, alarm = snapshots.snapshot([snapshots.make_run()]), snapshots.raft(2)
    async with running(calm, look=Look(quiet=True)) as session:
        await session.push(alarm)
        assert len(session.table.shown) == len(alarm.runs) > 1
        assert not session.app._notifications


@pytest.mark.parametrize("size", [SMALL, MEDIUM, LARGE])
async def test_the_sheet_of_rules(size: tuple[int, int]) -> None:
    async with running(snapshots.raft(), size) as session:
        await session.press("r")
        assert isinstance(session.app.screen, RulesSheet)
        shown = session.text()
        assert "RULES" in shown
        assert "fires" in shown
        assert "loss-draws-up" in shown
        await session.press("r")
        assert session.closed_sheets


def test_rules_without_a_run() -> None:
    assert [line.plain for line in rule_lines([], 40)] == ["no rule has looked at this run"]


async def test_the_palette_names_the_keys_as_they_are() -> None:
    async with running(snapshots.raft()) as session:
        session.app.set_keymap({"pause": "f5"})
        offered = {c.title: c.help for c in session.app.get_system_commands(session.app.screen)}
        assert offered["Freeze the view; reading goes on"] == "key: f5"
