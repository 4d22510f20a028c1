"""Colours, ASCII, notices, the sheet of rules, and every action in the palette."""

from __future__ import annotations

import ast
from dataclasses import replace
from pathlib import Path

import pytest
from rich.cells import cell_len

from raftmon.tui.announce import news
from raftmon.tui.app import RaftmonApp
from raftmon.tui.look import THEMES, Look, as_ascii, theme_names
from raftmon.tui.screens.rules import RulesSheet, rule_lines
from raftmon.tui.text import SEVERITIES, STANDSTILLS, STATES, VERDICTS
from raftmon.tui.widgets.charts import POINTS
from raftmon.tui.widgets.cycles_table import BACK, BEST, SELECTED
from raftmon.tui.widgets.evidence_lines import HOLDS
from raftmon.tui.widgets.keys_bar import KeysBar
from raftmon.tui.widgets.run_charts import CYCLE_GLYPH, RATE_GLYPH
from raftmon.tui.widgets.status_bar import EMPTY, FULL
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


ROOT = Path(__file__).parent.parent
TABLES: dict[str, list[str]] = {
    "verdicts": [glyph for glyph, _, _ in VERDICTS.values()],
    "states": [glyph for glyph, _, _ in (*STATES.values(), *STANDSTILLS.values())],
    "severities": [glyph for glyph, _, _ in SEVERITIES.values()],
    "cycles": [SELECTED, BEST, BACK],
    "evidence": [glyph for glyph, _ in HOLDS.values()],
    "points of VERIFIED": [*POINTS],
    "marks in a run's charts": [glyph for glyph, _, _ in SEVERITIES.values()] + [RATE_GLYPH, CYCLE_GLYPH, "×", "❯"],
    "dots and points": [*"⠁⠃⠇⡇⡏⡟⡿⣿", *POINTS],
    "status bar": ["↻", "●", "◌", "‖", "✖"],
    "bar of progress": [FULL, EMPTY],
    "sparkline": [*"▁▂▃▄▅▆▇█"],
}


def _signs_in_code() -> set[str]:
    """Return what is not ASCII in the texts of the program, docstrings left out."""
    found: set[str] = set()
    for path in (ROOT / "raftmon").rglob("*.py"):
        if path.parent.name == "daemon":  # shows nothing on a terminal but a log in UTF-8
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        notes = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        texts = [n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and id(n) not in notes]
        found.update(char for text in texts if isinstance(text, str) for char in text if not char.isascii())
    return found


def test_every_sign_has_a_form_in_ascii() -> None:
    signs = _signs_in_code().union(*(path.read_text(encoding="utf-8") for path in (ROOT / "rules").rglob("*.yaml")))
    signs = {sign for sign in signs if not sign.isascii()}
    assert {"✗", "•", "“", "”", "★", "●"} <= signs
    # What stands for an unreadable character is a question.
    assert [sign for sign in sorted(signs) if "?" in as_ascii(sign)] == ["\N{REPLACEMENT CHARACTER}"]


@pytest.mark.parametrize("table", TABLES)
def test_signs_of_a_table_stay_apart_in_ascii(table: str) -> None:
    signs = set(TABLES[table])
    assert len({as_ascii(sign) for sign in signs}) == len(signs)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("3e-5 → 2e-5", "3e-5 ->2e-5"),
        (" → ", " ->"),
        ("  → Do this.", "  > Do this."),
        ("   ±3.1", "  +-3.1"),
        ("± 95 %", "+-95 %"),
        ("x ≤ 3 and y ≥ 4", "x <=3 and y >=4"),
        ("1±2", "1~2"),
        ("←→ findings", "<> findings"),
        ("← → move", "< > move"),
    ],
)
def test_a_blank_gives_room_for_a_better_form(text: str, shown: str) -> None:
    assert as_ascii(text) == shown


async def test_keys_are_named_where_their_sign_cannot_be_printed() -> None:
    async with running(snapshots.raft(), look=Look(ascii=True)) as session:
        assert ("enter", "enter", "Why") in session.app.screen.query_one(KeysBar).shown_keys


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
