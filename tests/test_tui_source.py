"""A source that is opened late, one that cannot be opened, and a terminal that goes away."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from textual.message import Message

from raftmon.cli import main
from raftmon.errors import RaftmonError, UsageError
from raftmon.model import Snapshot
from raftmon.tui.app import RaftmonApp
from raftmon.tui.source import Follower, LateSource, SnapshotFailed, SourceRefused
from raftmon.tui.terminal import tell_of_hangup
from tests import snapshots
from tests.tui_session import ScriptedSource

PATIENCE = 60.0


class Post(list[Message]):
    """Takes down what is posted."""

    def __call__(self, message: Message) -> bool:
        self.append(message)
        return True


def refused() -> ScriptedSource:
    raise UsageError("rules/x.yaml", "no such key", "Take it out.")


def test_a_late_source_is_opened_by_its_first_poll_and_once() -> None:
    opened: list[ScriptedSource] = []

    def open_source() -> ScriptedSource:
        opened.append(ScriptedSource(snapshots.raft()))
        return opened[-1]

    late = LateSource(open_source)
    assert not late.wait(0.0)
    assert opened == []
    assert late.poll() is late.poll()
    late.close()
    assert [source.closed for source in opened] == [True]


def test_a_source_that_is_closed_while_it_opens_is_closed() -> None:
    source = ScriptedSource(snapshots.raft())

    def open_source() -> ScriptedSource:
        late.close()
        return source

    late = LateSource(open_source)
    late.poll()
    assert source.closed


def test_a_refusal_ends_the_follower_and_is_told() -> None:
    posted = Post()
    Follower(LateSource(refused), posted, 0.0).follow()
    assert [type(message) for message in posted] == [SourceRefused]


def test_an_error_after_the_first_snapshot_ends_nothing() -> None:
    class Failing(ScriptedSource):
        def poll(self) -> Snapshot:
            self.polls += 1
            if self.polls == 2:
                raise UsageError("s3://x", "gone", "")
            if self.polls == 3:
                stopping.set()
            return snapshots.raft()

        def wait(self, timeout: float) -> bool:
            return True

    stopping, posted = threading.Event(), Post()
    source = Failing(snapshots.raft())
    Follower(source, posted, 0.0, stopping=stopping).follow()
    assert source.polls == 3
    assert any(isinstance(message, SnapshotFailed) for message in posted)
    assert not any(isinstance(message, SourceRefused) for message in posted)


async def test_a_source_that_cannot_be_opened_ends_the_screen() -> None:
    app = RaftmonApp(LateSource(refused))
    async with app.run_test() as pilot:
        while app.refusal is None:
            await pilot.pause()
    assert isinstance(app.refusal, UsageError)
    assert app.return_code == 2


def test_what_is_wrong_is_said_after_the_screen_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    error = RaftmonError("rules/x.yaml:3:1", "no such key", "Take it out.")

    def run(app: RaftmonApp) -> int:
        app.refusal = error
        return 2

    monkeypatch.setattr(RaftmonApp, "run", run)
    monkeypatch.setenv("TEXTUAL_DRIVER", "a.browser:Tab")
    with pytest.raises(SystemExit) as ended:
        main(["watch", str(tmp_path)])
    assert ended.value.code == 2
    said = capsys.readouterr()
    assert "rules/x.yaml:3:1: no such key" in said.err
    assert said.out == ""


@pytest.mark.parametrize("command", [["watch", "."], ["demo"]])
def test_without_a_terminal_it_says_so_instead_of_painting_into_the_void(command: list[str], tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "raftmon.cli", *command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
    )
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("raftmon: standard input: is no terminal")
    assert "advise LOGDIR --follow" in ended.stderr


async def test_a_crash_has_an_exit_code() -> None:
    class Broken(RaftmonApp):
        def action_help(self) -> None:
            raise LookupError("a defect")

    app = Broken(ScriptedSource(snapshots.raft()))
    with pytest.raises(LookupError):
        async with app.run_test() as pilot:
            await pilot.press("question_mark")
    assert app.return_code == 1


def test_a_terminal_that_goes_away_is_told_of() -> None:
    ours, theirs = os.openpty()
    gone = threading.Event()
    tell_of_hangup(gone.set, theirs)
    os.write(ours, b"a key")
    assert not gone.is_set()
    os.close(ours)
    assert gone.wait(PATIENCE)
    os.close(theirs)
