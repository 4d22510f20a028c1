"""The sheet that writes the next cycle's learning rate: shown, agreed to, written, taken back."""

from __future__ import annotations

import pytest
from textual.binding import Binding

from raftmon.errors import DocumentErrors, Refused
from raftmon.model import Problem
from raftmon.tui.screens.apply import READ_ONLY, ApplySheet
from raftmon.tui.screens.help import HelpSheet
from tests import snapshots
from tests.apply_session import PLACE, SIZES, FakeChanger, come_to_rest, notices, override, press, text
from tests.tui_session import MEDIUM, SMALL, running


@SIZES
async def test_without_apply_the_key_says_what_to_do(size: tuple[int, int]) -> None:
    async with running(snapshots.raft(), size) as session:
        await session.press("a")
        assert session.closed_sheets
        assert notices(session) == [READ_ONLY]


@SIZES
async def test_the_proposal_is_shown_and_nothing_is_written(size: tuple[int, int]) -> None:
    changer = FakeChanger()
    async with running(snapshots.raft(), size, changer=changer) as session:
        sheet = await press(session, "a")
        first = session.text()
        for words in (
            "APPLY not written yet",
            "CYCLE 5  LR 3.07e-5 → 1.84e-5",
            "-learning_rate: 3.07e-05",
            "+learning_rate: 1.84e-05",
            "loss-draws-up × 0.6 = 1.84e-05",
            "y write",
        ):
            assert words in first
        whole = text(sheet)
        for words in ("asks for: stop", "was a text for PyYAML", "only rules of status stable move the number"):
            assert words in whole
        await session.press("enter")
        assert session.closed_sheets
        assert changer.asked == ["dry run"]
        assert changer.threads == {"raftmon-apply"}


@SIZES
async def test_y_writes_and_says_where(size: tuple[int, int]) -> None:
    changer = FakeChanger()
    async with running(snapshots.raft(), size, changer=changer) as session:
        sheet = await press(session, "a", "y")
        assert changer.asked == ["dry run", "apply"]
        for words in ("✓ WRITTEN", "`learning_rate` in raft.yaml", f"in the journal {PLACE}", "u undo"):
            assert words in session.text()
        assert "y write" not in sheet.hint()
        await press(session, "y")
        assert changer.asked == ["dry run", "apply"]
        assert notices(session) == ["There is nothing to say yes to on this page."]


@SIZES
async def test_u_asks_and_y_takes_back(size: tuple[int, int]) -> None:
    changer = FakeChanger()
    async with running(snapshots.raft(), size, changer=changer) as session:
        await press(session, "a", "u")
        assert changer.asked == ["dry run", "look back"]
        for words in ("TAKE BACK?", "the override of cycle 5", "-learning_rate: 1.84e-05", "y take back"):
            assert words in session.text()
        await press(session, "y")
        assert changer.asked == ["dry run", "look back", "undo"]
        assert "TAKEN BACK" in session.text()
        await press(session, "r")
        assert changer.asked[-1] == "dry run"
        assert "not written yet" in session.text()


@SIZES
async def test_c_copies_the_diff(size: tuple[int, int]) -> None:
    changer = FakeChanger()
    async with running(snapshots.raft(), size, changer=changer) as session:
        sheet = await press(session, "a", "c")
        assert session.app.clipboard == override().diff
        changer.proposal = override(diff="", changed=False)
        sheet = await press(session, "r", "c")
        assert "copy" not in sheet.hint()
        assert notices(session) == ["The diff is on the clipboard.", "There is no diff to copy on this page."]
        assert session.app.clipboard == override().diff


@SIZES
async def test_a_slow_disk_freezes_nothing(size: tuple[int, int]) -> None:
    changer = FakeChanger()
    changer.gate.clear()
    async with running(snapshots.raft(), size, changer=changer) as session:
        await session.press("a")
        sheet = session.app.screen
        assert isinstance(sheet, ApplySheet)
        assert "working out the next cycle's learning rate …" in session.text()
        await session.press("y", "u", "r", "c")
        assert changer.asked in ([], ["dry run"])
        await session.press("a")
        assert session.closed_sheets
        await session.press("j")
        changer.gate.set()
        await come_to_rest(session, sheet)
        assert session.closed_sheets
        assert changer.asked == ["dry run"]


@pytest.mark.parametrize(
    ("result", "said"),
    [
        (None, "`learning_rate` is written into raft.yaml for cycle 5."),
        (Refused("raft.yaml", "is locked", "Wait."), "raft.yaml: is locked."),
    ],
)
async def test_what_came_of_a_write_is_said_even_if_the_sheet_is_closed(result: Exception | None, said: str) -> None:
    changer = FakeChanger()
    changer.result = result
    async with running(snapshots.raft(), MEDIUM, changer=changer) as session:
        sheet = await press(session, "a")
        changer.gate.clear()
        await session.press("y")
        assert "writing into raft.yaml …" in session.text()
        await session.press("escape")
        assert session.closed_sheets
        changer.gate.set()
        await come_to_rest(session, sheet)
        assert notices(session) == [said]


@SIZES
async def test_a_refusal_has_its_remedy_and_no_yes(size: tuple[int, int]) -> None:
    refused = override(refused="raft.yaml:4:1: the value stands elsewhere", remedy="Give that file.", diff="")
    changer = FakeChanger(refused)
    async with running(snapshots.raft(), size, changer=changer) as session:
        sheet = await press(session, "a", "y")
        for words in ("✖ REFUSED", "the value stands elsewhere", "→ Give that file."):
            assert words in session.text()
        assert "write" not in sheet.hint()
        assert changer.asked == ["dry run"]


@pytest.mark.parametrize("step", ["proposal", "result", "past"])
@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            Refused("raft.yaml", "edited since", "Change it by hand."),
            ("raft.yaml: edited since", "→ Change it by hand."),
        ),
        (OSError(5, "Input/output error"), ("OSError: [Errno 5] Input/output error", "defect of raftmon")),
        (
            DocumentErrors((Problem("a:1", "one", "do one"), Problem("b:2", "two", "do two"))),
            ("a:1: one", "→ do one", "b:2: two", "→ do two"),
        ),
    ],
)
async def test_errors_are_sentences(step: str, error: Exception, words: tuple[str, ...]) -> None:
    changer = FakeChanger()
    setattr(changer, step, error)
    keys = {"proposal": ("a",), "result": ("a", "y"), "past": ("a", "u")}[step]
    async with running(snapshots.raft(), SMALL, changer=changer) as session:
        sheet = await press(session, *keys)
        shown = " ".join(session.text("#text").split())
        for sentence in ("NOT POSSIBLE", *words):
            assert sentence in shown
        assert "Traceback" not in shown
        assert "again" in sheet.hint()


async def test_a_write_that_was_refused_after_all_is_no_success() -> None:
    changer = FakeChanger()
    changer.result = override(refused="raft.yaml: process 7 runs with this config", remedy="Wait for it.")
    async with running(snapshots.raft(), MEDIUM, changer=changer) as session:
        await press(session, "a", "y")
        assert "WRITTEN" not in session.text()
        assert "process 7 runs with this config" in session.text()


async def test_keys_that_settings_change_are_in_the_hint_and_work() -> None:
    changer = FakeChanger()
    async with running(snapshots.raft(), MEDIUM, changer=changer) as session:
        session.app.set_keymap({"apply-yes": "w", "apply": "A"})
        sheet = await press(session, "A")
        assert sheet.hint().startswith("w write · esc close")
        await press(session, "w")
        assert changer.asked == ["dry run", "apply"]


async def test_help_lists_the_keys() -> None:
    async with running(snapshots.raft()) as session:
        await session.press("question_mark")
        assert isinstance(session.app.screen, HelpSheet)
        shown = "\n".join(line.plain for line in session.app.screen.lines(200))
        for binding in ApplySheet.BINDINGS:
            assert isinstance(binding, Binding)
            assert binding.id
            assert binding.tooltip in shown


@pytest.mark.parametrize("size", [(20, 6), (40, 12)])
async def test_it_fits_any_terminal(size: tuple[int, int]) -> None:
    async with running(snapshots.raft(), size, changer=FakeChanger()) as session:
        await press(session, "a", "u", "y", "r")
        await session.press("escape")
        assert session.closed_sheets
