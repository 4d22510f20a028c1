"""From the screen into a real config and back, beside the recorded campaign."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from raftmon.advice.settings import Settings, Strategy
from raftmon.cli import main
from raftmon.demo.replay import RECORDING, replay
from raftmon.errors import RaftmonError
from raftmon.journal import Journal
from raftmon.monitor import Monitor
from raftmon.tui.app import RaftmonApp
from raftmon.tui.apply_pages import ApplyPages
from raftmon.tui.changer import ConfigChanger
from tests import snapshots
from tests.apply_session import SIZES, press, text
from tests.tui_session import MEDIUM, running

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
    async with running(snapshot, size, changer=changer) as session:
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
    async with running(snapshots.raft(), MEDIUM, changer=changer) as session:
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
        (["--apply", "--authority", "test"], "--apply: there is no config to write into"),
        (["--authority", "test"], "--authority: nothing is written without --apply"),
        (["LOGS", "--config", __file__, "--apply"], "2 logdirs, and a config is of one campaign"),
        (["--config", "none.yaml", "--apply"], "none.yaml"),
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

    def run(app: RaftmonApp) -> int:
        opened.append(app)
        return 0

    monkeypatch.setattr(RaftmonApp, "run_in_terminal", run)
    with pytest.raises(SystemExit) as end:
        main(["watch", str(changer.logdir), "--config", str(changer.config), "--apply", "--authority", "test"])
    assert end.value.code == 0
    assert opened[0].title == "raftmon --apply raft.yaml"
    armed = opened[0].changer
    assert isinstance(armed, ConfigChanger)
    assert (armed.config, armed.logdir, armed.authority) == (changer.config, changer.logdir, "test")
    page = ApplyPages(armed, {}).look()
    assert "not valid YAML" in " ".join(line.plain for line in page.build(200))
    assert page.agree is None
