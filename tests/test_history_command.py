"""`raftmon history`: for people, programs and spreadsheets, beside a daemon that writes."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftmon.cli import main
from raftmon.commands.history import KINDS
from raftmon.errors import UsageError
from raftmon.happenings import Happening
from raftmon.history import History
from raftmon.journal import Journal
from raftmon.moments import read_moment
from raftmon.timeline import LINE_KINDS
from tests.test_history import FIRING, VERDICT, at
from tests.test_journal import ENTRY

NOW = 1_795_300_000.0


@pytest.fixture(autouse=True)
def greenwich(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.sqlite3"


def run(path: Path, *arguments: str) -> int:
    with pytest.raises(SystemExit) as end:
        main(["history", "--journal", str(path), *arguments])
    code = end.value.code
    assert isinstance(code, int)
    return code


def fill(path: Path) -> None:
    History(path).note(
        [FIRING, VERDICT, dataclasses.replace(FIRING, at=1_002.0, path="/runs/ab", kind="run", state="live")]
    )
    journal = Journal(path, clock=iter([1_003.0, 1_004.0, 1_005.0]).__next__)
    journal.undo(journal.begin(dataclasses.replace(ENTRY, state="written", document={"text": "Lower it."})))
    journal.mute("/runs/a", "nan-loss")


def test_people_get_a_line_for_each(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(path)

    assert run(path) == 0

    assert capsys.readouterr().out.splitlines() == [
        "1970-01-01 00:16:40  /runs/a  finding nan-loss firing (critical) step 12: The loss is no number.",
        "1970-01-01 00:16:41  /runs/a  verdict too_high 90% step 12: It draws up.",
        "1970-01-01 00:16:42  /runs/ab  run nan-loss live (critical) step 12: The loss is no number.",
        "1970-01-01 00:16:43  /c/campaign  override training.learning_rate intended 3.61e-05 cycle 3 in raft.yaml:"
        " Lower it.",
        "1970-01-01 00:16:44  /c/campaign  override training.learning_rate undone 3.61e-05 cycle 3 in raft.yaml",
        "1970-01-01 00:16:45  /runs/a  mute nan-loss muted",
    ]


def test_a_logdir_has_what_is_at_or_below_it(path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs, link = tmp_path / "runs", tmp_path / "link"
    (runs / "a").mkdir(parents=True)
    link.symlink_to(runs)
    url = "s3://user:secret@bucket/raft"
    History(path).note([at(1, "firing", f"{runs}/a"), at(2, "firing", str(runs)), at(3, "firing", "/runs")])
    History(path).note([at(4, "firing", f"{url}/cycle_1")])

    assert run(path, str(link)) == 0
    assert [line.split()[2] for line in capsys.readouterr().out.splitlines()] == ["a", "."]
    assert run(path, url) == 0
    assert [line.split()[2] for line in capsys.readouterr().out.splitlines()] == ["cycle_1"]
    assert run(path, str(tmp_path / "elsewhere")) == 0
    assert capsys.readouterr() == ("", "raftmon: the journal has no such line\n")


def test_json_is_one_strict_document(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    History(path).note(
        [dataclasses.replace(FIRING, readings={"loss": float("nan")}, name="\udcff\x1b[2J", value=float("inf"))]
    )
    Journal(path, clock=lambda: 1_001.5).mute("/runs/a", "nan-loss")

    assert run(path, "--format", "json") == 0

    def refuse(number: str) -> None:
        raise AssertionError(number)

    document = json.loads(capsys.readouterr().out, parse_constant=refuse)
    assert document["schema"] == "raftmon/history@1"
    finding, mute = document["events"]
    assert finding["time"] == "1970-01-01T00:16:40.000000Z"
    assert (finding["readings"], finding["value"], finding["severity"]) == ({"loss": None}, None, "critical")
    assert (mute["kind"], mute["state"], mute["subject"], mute["at"]) == ("mute", "muted", "nan-loss", 1_001.5)
    assert run(path, "--format", "json", "--until", "@1") == 0
    assert json.loads(capsys.readouterr().out)["events"] == []


@pytest.mark.parametrize(
    "text", ["=1+1", "+cmd|' /C calc'!A0", "-2", "@SUM(A1)", "\t=1", "\n=1", "  =1", "\x00=1", "\u3000=1"]
)
def test_no_cell_of_a_table_steers_what_reads_it(path: Path, capsys: pytest.CaptureFixture[str], text: str) -> None:
    History(path).note([dataclasses.replace(FIRING, name=text, text=f"{text},\"\x1b[2J\r\n'", value=-1.5)])

    assert run(path, "--format", "csv") == 0

    out = capsys.readouterr().out
    assert "\x1b" not in out
    (row,) = csv.DictReader(out.splitlines())
    for cell in (row["name"], row["text"]):
        assert cell.startswith("'") or cell.lstrip()[0] not in "=+-@"
        assert cell.isprintable()
    assert (row["value"], row["time"], row["late"]) == ("-1.5", "1970-01-01T00:16:40.000000Z", "False")


def test_only_some_kinds_and_times(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(path)

    assert run(path, "--kind", "mute", "--kind", "verdict") == 0
    assert [line.split()[3] for line in capsys.readouterr().out.splitlines()] == ["verdict", "mute"]
    assert run(path, "--since", "1970-01-01T00:16:42", "--until", "@1004") == 0
    assert [line.split()[3] for line in capsys.readouterr().out.splitlines()] == ["run", "override"]
    assert KINDS == LINE_KINDS


def test_without_a_journal_there_is_nothing_to_read(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(path) == 3
    assert f"{path}: no journal" in capsys.readouterr().err
    path.write_bytes(b"no database " * 100)
    assert run(path) == 4
    assert "the journal cannot be used" in capsys.readouterr().err
    assert run(path, "--since", "soon") == 2
    assert "2h" in capsys.readouterr().err


def test_a_pipe_that_closes_is_no_fault(path: Path) -> None:
    text = "x" * 1_000
    History(path).note([dataclasses.replace(at(n, "firing", rule=str(n)), text=text) for n in range(1_000)])
    root = Path(__file__).parents[1]
    command = [sys.executable, "-m", "raftmon.cli", "history", "--journal", str(path)]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    with subprocess.Popen(
        command, cwd=root, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert "finding 0 firing" in process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(30) == 0


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("45s", NOW - 45),
        ("1.5h", NOW - 5_400),
        (" 3d ", NOW - 259_200),
        ("2w", NOW - 1_209_600),
        ("2026-11-21", 1_795_219_200.0),
        ("2026-11-21T22:26:40Z", NOW),
        ("2026-11-22 00:26:40.5+02:00", NOW + 0.5),
        ("@1795300000", NOW),
    ],
)
def test_moments_as_people_write_them(text: str, moment: float) -> None:
    assert read_moment(text, NOW, "--since") == moment


@pytest.mark.parametrize(
    "text", ["", "h", "-2h", "2 h", "2y", "1795300000", "@", "nan", "2026-13-01", "٣d", "9" * 400 + "d"]
)
def test_what_is_no_moment_is_told_with_what_is_one(text: str) -> None:
    with pytest.raises(UsageError, match="--since") as caught:
        read_moment(text, NOW, "--since")
    assert "2h, 3d" in caught.value.remedy


@given(st.text() | st.from_regex(r"@?[0-9]{1,30}[smhdw]?|[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9:.]{0,20})?", fullmatch=True))
def test_any_text_is_a_moment_or_a_usage_error(text: str) -> None:
    found = None
    with suppress(UsageError):
        found = read_moment(text, NOW, "--since")
    assert found is None or math.isfinite(found)


def test_a_time_that_no_calendar_has_is_still_printed(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    far: Happening = at(1e17, "firing")
    History(path).note([far])

    assert run(path) == 0
    assert capsys.readouterr().out.startswith("@1e+17  /runs/a  finding")
    assert run(path, "--format", "json") == 0
    assert json.loads(capsys.readouterr().out)["events"][0]["time"] is None
