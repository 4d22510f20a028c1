"""The sheet that writes the next cycle's learning rate: shown, agreed to, written, taken back."""

from __future__ import annotations

import asyncio
import os
import threading
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest
from textual.binding import Binding

from raftmon.advice.settings import Settings, Strategy
from raftmon.cli import main
from raftmon.demo.replay import RECORDING, replay
from raftmon.errors import DocumentErrors, RaftmonError, Refused
from raftmon.journal import Journal
from raftmon.model import Problem, Step
from raftmon.monitor import Monitor
from raftmon.override import Override, Undone, difference
from raftmon.tui.app import RaftmonApp
from raftmon.tui.apply_pages import ApplyPages
from raftmon.tui.changer import ConfigChanger
from raftmon.tui.screens.apply import READ_ONLY, ApplySheet
from raftmon.tui.screens.help import HelpSheet
from raftmon.tui.widgets.apply_panel import back_lines, diff_lines, grounds_of, proposal_lines, trouble_lines
from tests import snapshots
from tests.tui_session import LARGE, MEDIUM, SMALL, Session, running

BEFORE, AFTER = b"# RAFT\nlearning_rate: 3.07e-05\noptim: adamw\n", b"# RAFT\nlearning_rate: 1.84e-05\noptim: adamw\n"
PLACE = "state/journal.sqlite3"
T = TypeVar("T")
SIZES = pytest.mark.parametrize("size", [SMALL, MEDIUM, LARGE])


def override(**changes: object) -> Override:
    made = Override(
        config="raft.yaml",
        key="learning_rate",
        trainer="trl",
        cycle=5,
        current=3.07e-5,
        learning_rate=1.84e-5,
        written=1.84e-5,
        applied=False,
        changed=True,
        roll_back_to=None,
        stop=False,
        best_cycle=3,
        authority="stable",
        because=(Step("config", None, "config 3.07e-05"), Step("loss-draws-up", 0.6, "loss-draws-up × 0.6 = 1.84e-05")),
        held_back=(Step("collapse-near", None, "collapse-near asks for: stop; --authority test lets it act"),),
        text="Cycle 5: learning rate 3.07e-05 → 1.84e-05.",
        flag="--learning_rate 1.84e-05",
        diff=difference(BEFORE, AFTER, "raft.yaml"),
        refused=None,
        remedy=None,
        remarks=("`learning_rate` was a text for PyYAML.",),
    )
    return replace(made, **changes)  # type: ignore[arg-type]


UNDONE = Undone("raft.yaml", "learning_rate", 5, difference(AFTER, BEFORE, "raft.yaml"))


class FakeChanger:
    """Hands out what the test chose, and notes what it was asked for; waits while `gate` is closed."""

    def __init__(self, proposal: Override | Exception | None = None) -> None:
        self.proposal: Override | Exception = proposal or override()
        self.result: Override | Exception | None = None
        self.past: Undone | Exception = UNDONE
        self.asked: list[str] = []
        self.threads: set[str] = set()
        self.gate = threading.Event()
        self.gate.set()

    def place(self) -> str:
        return PLACE

    def dry_run(self) -> Override:
        return self._answer("dry run", self.proposal)

    def apply(self, agreed: Override) -> Override:
        assert agreed == self.proposal
        return self._answer("apply", self.result or replace(agreed, applied=True))

    def look_back(self) -> Undone:
        return self._answer("look back", self.past)

    def undo(self, agreed: Undone) -> Undone:
        assert agreed == self.past
        return self._answer("undo", self.past)

    def _answer(self, name: str, answer: T | Exception) -> T:
        self.asked.append(name)
        self.threads.add(threading.current_thread().name)
        assert self.gate.wait(10)
        if isinstance(answer, Exception):
            raise answer
        return answer


async def come_to_rest(session: Session, sheet: ApplySheet) -> None:
    """Wait until the thread has ended and its page is shown."""
    assert await asyncio.to_thread(sheet.at_rest.wait, 10)
    await session.pilot.pause()
    await session.pilot.pause()


async def press(session: Session, *keys: str) -> ApplySheet:
    """Press keys one after the other, each after what the one before began has ended."""
    for key in keys:
        await session.press(key)
        if isinstance(session.app.screen, ApplySheet):
            await come_to_rest(session, session.app.screen)
    sheet = session.app.screen
    assert isinstance(sheet, ApplySheet)
    return sheet


def text(sheet: ApplySheet, width: int = 200) -> str:
    return "\n".join(line.plain for line in sheet.lines(width))


def notices(session: Session) -> list[str]:
    return [notice.message for notice in session.app._notifications]


@SIZES
async def test_without_apply_the_key_says_what_to_do(size: tuple[int, int]) -> None:
    async with running(snapshots.raft(), size) as session:
        await session.press("a")
        assert session.closed_sheets
        assert notices(session) == [READ_ONLY]


@SIZES
async def test_the_proposal_is_shown_and_nothing_is_written(size: tuple[int, int]) -> None:
    changer = FakeChanger()
    async with running(snapshots.raft(), size, changer) as session:
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
    async with running(snapshots.raft(), size, changer) as session:
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
    async with running(snapshots.raft(), size, changer) as session:
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
    async with running(snapshots.raft(), size, changer) as session:
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
    async with running(snapshots.raft(), size, changer) as session:
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
    async with running(snapshots.raft(), MEDIUM, changer) as session:
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
    async with running(snapshots.raft(), size, changer) as session:
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
    async with running(snapshots.raft(), SMALL, changer) as session:
        sheet = await press(session, *keys)
        shown = " ".join(session.text("#text").split())
        for sentence in ("NOT POSSIBLE", *words):
            assert sentence in shown
        assert "Traceback" not in shown
        assert "again" in sheet.hint()


async def test_a_write_that_was_refused_after_all_is_no_success() -> None:
    changer = FakeChanger()
    changer.result = override(refused="raft.yaml: process 7 runs with this config", remedy="Wait for it.")
    async with running(snapshots.raft(), MEDIUM, changer) as session:
        await press(session, "a", "y")
        assert "WRITTEN" not in session.text()
        assert "process 7 runs with this config" in session.text()


async def test_keys_that_settings_change_are_in_the_hint_and_work() -> None:
    changer = FakeChanger()
    async with running(snapshots.raft(), MEDIUM, changer) as session:
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
    async with running(snapshots.raft(), size, FakeChanger()) as session:
        await press(session, "a", "u", "y", "r")
        await session.press("escape")
        assert session.closed_sheets


def proposed(made: Override, *, stop: bool = False, back: int | None = None) -> str:
    campaign = snapshots.raft_campaign()
    assert campaign.next is not None
    advised = replace(campaign.next, cycle=5, stop=stop, roll_back_to=back)
    return "\n".join(line.plain for line in proposal_lines(made, {}, advised, 120))


def test_what_the_overview_advises_beyond_the_number_is_said() -> None:
    assert "! The advice is to stop and to ship the checkpoint of cycle 3" in proposed(override(), stop=True, back=3)
    assert "! The advice is to stop and to ship the newest checkpoint" in proposed(override(), stop=True)
    assert "! The advice is to begin with the base model" in proposed(override(), back=0)
    assert "! The advice" not in proposed(override())
    assert "! The advice" not in proposed(override(roll_back_to=3), back=3)
    assert "! The advice" not in proposed(override(cycle=6), stop=True)
    assert "↩ begin with the checkpoint of cycle 3: that is yours to do" in proposed(override(roll_back_to=3), back=3)


def test_a_stop_and_a_number_of_its_own() -> None:
    assert "■ STOP, ship cycle 3" in proposed(override(stop=True))
    assert "the campaign should end here" in proposed(override(stop=True))
    assert "to write: 2.17e-5, of which the trainer makes 1.84e-5" in proposed(override(written=2.17e-5))
    assert "right as it is" in proposed(override(changed=False, diff=""))
    assert "only rules of status test or stable move" in proposed(override(authority="test"))


def test_the_evidence_of_a_rule_stands_beside_its_step() -> None:
    run = snapshots.live_cycle()
    grounds = grounds_of(run, None)
    lines = [line.plain for line in proposal_lines(override(), grounds, None, 120)]
    at = next(index for index, line in enumerate(lines) if "loss-draws-up × 0.6" in line)
    assert lines[at + 1].split(" · ")[0].strip() == f"{grounds['loss-draws-up'].status} rule"
    assert "grade B" in lines[at + 1]
    assert "precision 0.92" in lines[at + 1]


def test_a_diff_keeps_signs_indentation_and_long_lines() -> None:
    before = b"training:\n    learning_rate: 5.0e-05  " + b"x" * 40 + b"\n"
    lines = diff_lines(difference(before, before.replace(b"5.0", b"3.61"), "raft.yaml"), 40)
    plain = [line.plain for line in lines]
    assert all(len(line) <= 40 for line in plain)
    assert plain[1] == "   training:"
    assert plain[2].startswith("  -    learning_rate: 5.0e-05")
    assert "".join(line.strip() for line in plain[2:4]).endswith("x" * 40)


def test_nothing_in_a_config_reaches_the_terminal_or_is_markup() -> None:
    diff = difference(b"a: 1\n", b"a: \x1b]0;x\x07[bold]2\n", "raft.yaml")
    made = override(diff=diff, config="\x1b[31mraft.yaml", text="[red]x")
    lines = [*proposal_lines(made, {}, None, 80), *back_lines(replace(UNDONE, diff=diff), "[b]j", 80, done=True)]
    text = "\n".join(line.plain for line in lines)
    assert "\x1b" not in text
    assert "[bold]2" in text
    assert "[b]j" in text


def test_an_error_without_words_is_a_sentence_too() -> None:
    assert "ValueError: an error without words" in trouble_lines(ValueError(), 80)[0].plain
    assert len(trouble_lines(Refused("here", "broken", ""), 80)) == 1


def test_a_schedule_that_is_taken_back_is_called_so() -> None:
    changer = FakeChanger()
    changer.past = replace(UNDONE, cycle=None)
    page = ApplyPages(changer, {}).look_back()
    assert "the schedule" in page.build(80)[0].plain


DEMO = (
    "# RAFT\nmodel_name_or_path: tiny\nlearning_rate: 1.2e-03   # of every cycle\r\noptim: adamw_torch\noutput_dir: out"
)


def real(directory: Path) -> ConfigChanger:
    """Return the changer of a real config beside the recorded campaign."""
    replay(RECORDING, directory / "raft", seconds=0.0)
    config = directory / "raft.yaml"
    config.write_bytes(DEMO.encode())
    os.utime(config, (1, 1))
    settings = Settings(strategy=Strategy("exponential", decay=0.85))
    return ConfigChanger(config, directory / "raft", settings, journal=directory / "journal.sqlite3")


@SIZES
async def test_from_the_recorded_campaign_into_a_real_file_and_back(tmp_path: Path, size: tuple[int, int]) -> None:
    changer = real(tmp_path)
    monitor = Monitor([tmp_path / "raft"])
    snapshot = monitor.poll()
    monitor.close()
    async with running(snapshot, size, changer) as session:
        sheet = await press(session, "a")
        assert "-learning_rate: 1.2e-03   # of every cycle" in text(sheet)
        assert "! The advice is to stop and to ship the checkpoint of cycle 5" in text(sheet)
        assert changer.config.read_bytes() == DEMO.encode()
        assert not (tmp_path / "journal.sqlite3").exists()

        await press(session, "y")
        assert "✓ WRITTEN" in session.text()
        assert changer.config.read_bytes() == DEMO.replace("1.2e-03", "4.0e-04").encode()
        noted = Journal(changer.journal).entries()
        assert [(entry.cycle, entry.state, entry.undone_at) for entry in noted] == [(11, "written", None)]

        await press(session, "u")
        assert changer.config.read_bytes() == DEMO.replace("1.2e-03", "4.0e-04").encode()
        await press(session, "y")
        assert "TAKEN BACK" in session.text()
        assert changer.config.read_bytes() == DEMO.encode()
        assert Journal(changer.journal).entries()[0].undone_at is not None

        await press(session, "u")
        assert "no override to take back" in session.text()


async def test_what_changed_behind_the_screen_is_not_written(tmp_path: Path) -> None:
    changer = real(tmp_path)
    async with running(snapshots.raft(), MEDIUM, changer) as session:
        await press(session, "a")
        edited = DEMO.replace("1.2e-03", "1.0e-03").encode()
        changer.config.write_bytes(edited)
        await press(session, "y")
        assert "changed since you looked" in session.text()
        assert changer.config.read_bytes() == edited
        assert not (tmp_path / "journal.sqlite3").exists()

        await press(session, "r", "y", "u")
        changer.config.write_bytes(changer.config.read_bytes() + b"\n# edited\n")
        await press(session, "y")
        assert "edited since the override" in " ".join(session.text().split())
        assert changer.config.read_bytes().endswith(b"# edited\n")


def test_the_real_changer_raises_what_the_screen_can_say(tmp_path: Path) -> None:
    changer = replace(real(tmp_path), config=tmp_path / "none.yaml")
    with pytest.raises(RaftmonError, match=r"none\.yaml"):
        changer.dry_run()
    with pytest.raises(RaftmonError, match=r"none\.yaml"):
        changer.look_back()
    assert changer.place() == str(tmp_path / "journal.sqlite3")


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["--authority", "test"], "--authority: nothing is written without --apply"),
        (["--journal", "j"], "--journal: nothing is written without --apply"),
        (["LOGS", "--apply", "raft.yaml"], "2 logdirs, and a config is of one campaign"),
        (["--apply", "none.yaml"], "none.yaml"),
    ],
)
def test_wrong_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], what: str) -> None:
    with pytest.raises(SystemExit) as end:
        main(["watch", str(tmp_path), *words])
    assert end.value.code == 2
    assert what in capsys.readouterr().err


def test_the_option_arms_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changer = real(tmp_path)
    # A config that cannot be used as it is does not keep anybody from watching: the sheet says why.
    changer.config.write_text("optim: [")
    opened: list[RaftmonApp] = []
    monkeypatch.setattr(RaftmonApp, "run", lambda app: opened.append(app))
    with pytest.raises(SystemExit) as end:
        main(["watch", str(changer.logdir), "--apply", str(changer.config), "--authority", "test"])
    assert end.value.code == 0
    assert opened[0].title == "raftmon --apply raft.yaml"
    armed = opened[0].changer
    assert isinstance(armed, ConfigChanger)
    assert (armed.config, armed.logdir, armed.authority) == (changer.config, changer.logdir, "test")
    page = ApplyPages(armed, {}).look()
    assert "not valid YAML" in " ".join(line.plain for line in page.build(200))
    assert page.agree is None
