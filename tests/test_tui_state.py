"""What a person keeps: the state of the screens, exported series, pictures of the screen."""

from __future__ import annotations

import csv
import io
import math
import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftmon.tui.export import file_stem, said, series_csv, write_new
from raftmon.tui.look import DEFAULT_THEME
from raftmon.tui.state import BrokenState, State, StateFile, default_file
from tests import snapshots
from tests.tui_session import LARGE, MEDIUM, SMALL, running

STATE = State(theme="nord", log=True, chart="grad_norm", filter="cycle")


@pytest.fixture
def state_file(tmp_path: Path) -> StateFile:
    return StateFile(tmp_path / "deep" / "state.json")


@given(st.builds(State, theme=st.none() | st.text(), log=st.booleans(), chart=st.none() | st.text(), filter=st.text()))
def test_a_state_comes_back(tmp_path_factory: pytest.TempPathFactory, state: State) -> None:
    file = StateFile(tmp_path_factory.getbasetemp() / "kept" / "state.json")
    file.write(state)
    assert file.read() == state
    assert [path.name for path in file.path.parent.iterdir()] == ["state.json"]


def test_without_a_file_all_is_as_usual(state_file: StateFile) -> None:
    assert state_file.read() == State()


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b'{"schema": "raftmon/watch-state@2"}', b"\xff\xfe", b"[" * 50_000, b" " * 70_000, b"null"],
)
async def test_a_broken_file_is_ignored_and_said(state_file: StateFile, content: bytes) -> None:
    state_file.path.parent.mkdir()
    state_file.path.write_bytes(content)
    with pytest.raises(BrokenState):
        state_file.read()
    async with running(snapshots.raft(), state=state_file) as session:
        ((notice),) = session.app._notifications
        assert str(state_file.path) in notice.message
        assert "Error" not in notice.message
        assert session.app.theme == DEFAULT_THEME
        await session.press("q")
    assert state_file.read() == State(theme=DEFAULT_THEME, chart="loss")


@given(
    st.dictionaries(
        st.sampled_from(["theme", "log", "chart", "filter"]),
        st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.integers()),
    )
)
def test_values_of_another_form_are_left_out(document: dict[str, object]) -> None:
    state = State.of(document)
    assert state.log is (document.get("log") is True)
    assert isinstance(state.filter, str)


@pytest.mark.parametrize("size", [SMALL, MEDIUM, LARGE])
async def test_the_screens_go_on_where_they_were_left(state_file: StateFile, size: tuple[int, int]) -> None:
    async with running(snapshots.raft(), size, state=state_file) as session:
        await session.press("y", "v", "slash", *"cycle_3", "enter")
        session.app.theme = "nord"
        await session.press("q")
    kept = state_file.read()
    assert kept == State(theme="nord", log=True, chart="grad_norm", filter="cycle_3")
    async with running(snapshots.raft(), size, state=state_file) as session:
        await session.pilot.pause()
        assert session.app.theme == "nord"
        assert session.charts.log_scale
        assert session.charts.plots[0].chart is not None
        assert session.charts.plots[0].chart.role == "grad_norm"
        assert [run.run for run in session.table.shown] == ["models/raft/cycle_3/logs"]


async def test_a_theme_that_is_gone_is_no_fault(state_file: StateFile) -> None:
    state_file.write(replace(STATE, theme="of another version"))
    async with running(snapshots.raft(), state=state_file) as session:
        assert session.app.theme == DEFAULT_THEME


async def test_a_directory_that_cannot_be_written_does_not_hold_up_the_end(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    async with running(snapshots.raft(), state=StateFile(tmp_path / "file" / "state.json")) as session:
        await session.press("q")
        assert session.app.return_value == 0


def test_each_set_of_logdirs_has_its_own(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    assert default_file([tmp_path]) == default_file([tmp_path / "link"])
    assert default_file([tmp_path, Path("a")]) == default_file([Path("a"), tmp_path])
    assert len({default_file(of) for of in ([tmp_path], [tmp_path / "a"], ["s3://a"], ["s3://b"])}) == 4


# ---------------------------------------------------------------------- files


@pytest.mark.parametrize("size", [SMALL, MEDIUM, LARGE])
async def test_the_visible_series_are_exported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]
) -> None:
    monkeypatch.chdir(tmp_path)
    async with running(snapshots.raft(), size) as session:
        await session.press("e", "e")
        run = session.table.selected
        shown = [plot.chart.role for plot in session.charts.plots if plot.chart is not None]
    assert run is not None
    first, second = sorted(tmp_path.iterdir(), key=lambda path: len(path.name))
    assert second.name == first.name.replace(".csv", "-2.csv")
    rows = list(csv.DictReader(io.StringIO(first.read_text())))
    roles = [role for role in shown if role in run.series]
    assert list(dict.fromkeys(row["role"] for row in rows)) == roles
    for role in roles:
        series = run.series[role]
        ours = [row for row in rows if row["role"] == role]
        assert [int(row["step"]) for row in ours] == series.steps.tolist()
        values = [float(row["value"]) for row in ours]
        assert all(
            a == b or (math.isnan(a) and math.isnan(b)) for a, b in zip(values, series.values.tolist(), strict=True)
        )
        assert {row["tag"] for row in ours} == {series.tag}


async def test_the_screen_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    async with running(snapshots.raft()) as session:
        await session.press("s")
    (picture,) = tmp_path.iterdir()
    assert picture.name == "raftmon-screen.svg"
    assert "TOO&#160;HIGH" in picture.read_text()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
async def test_where_nothing_may_be_written_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tmp_path.chmod(0o500)
    async with running(snapshots.raft()) as session:
        await session.press("e")
        ((notice),) = session.app._notifications
        assert notice.title == "Not written"


async def test_without_a_run_there_is_nothing_to_export(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    async with running(snapshots.empty()) as session:
        await session.press("e")
        ((notice),) = session.app._notifications
        assert notice.message == "No series to export."
    assert not list(tmp_path.iterdir())


def test_a_formula_in_a_name_stays_text() -> None:
    run = snapshots.make_run(run="=cmd()")
    lines = series_csv(run, run.series).splitlines()
    assert lines[0] == "run,role,tag,step,value"
    assert all(line.startswith("'=cmd()") for line in lines[1:])


def test_a_thinned_history_is_said(tmp_path: Path) -> None:
    (series,) = (one for one in snapshots.make_run().series.values() if one.role == "loss")
    assert "logged" not in said(tmp_path, [series])
    thinned = replace(series, count=series.count + 1000)
    assert f"of {thinned.count:,} logged" in said(tmp_path, [thinned])


@given(st.text(max_size=200))
def test_a_file_name_is_harmless(name: str) -> None:
    stem = file_stem(name)
    assert stem
    assert stem.isascii()
    assert "/" not in stem
    assert not stem.startswith((".", "-"))
    assert len(stem) <= 80


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    paths = [write_new(tmp_path, "a", ".csv", str(number)) for number in range(3)]
    assert [path.name for path in paths] == ["a.csv", "a-2.csv", "a-3.csv"]
    assert [path.read_text() for path in paths] == ["0", "1", "2"]
