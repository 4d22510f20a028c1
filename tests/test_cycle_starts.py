"""Where cycles begin within a run that holds several, and how the Run screen shows it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftmon.demo.replay import RECORDING, replay
from raftmon.model import CampaignView, RunView, Snapshot
from raftmon.monitor import Monitor
from raftmon.tui.cycle_starts import CycleStart, cycle_starts, cycle_times
from raftmon.tui.figure import Chart, Curve, Marker, draw
from raftmon.tui.look import Look, as_ascii
from raftmon.tui.overlay import Marks
from raftmon.tui.screens.run import RunScreen
from raftmon.tui.widgets.run_charts import Subject
from raftmon.tui.widgets.run_legend import legend_lines
from tests import snapshots
from tests.halo_forge import EXPERIMENTS
from tests.scripted import FIRST, event, header_record, record, scalar_record, simple
from tests.tui_session import LARGE, MEDIUM, SMALL, running
from tests.views import loss_curve, make_run, make_series


def read(directory: Path) -> Snapshot:
    monitor = Monitor([directory])
    snapshot = monitor.poll()
    while snapshot.backfilling:
        snapshot = monitor.poll()
    return snapshot


def recorded(directory: Path) -> Snapshot:
    """Return a campaign that was really trained."""
    if not directory.exists():
        replay(RECORDING, directory, seconds=0)
    return read(directory)


def write(directory: Path, *records: bytes) -> None:
    directory.mkdir(parents=True)
    (directory / "events.out.tfevents.1700000000.host.1.0").write_bytes(header_record() + b"".join(records))


def named(snapshot: Snapshot, name: str) -> RunView:
    return next(run for run in snapshot.runs if run.run == name)


def timed(first: float, last: float, count: int = 41, **changes: object) -> RunView:
    """Return a run whose steps, from 0, follow each other evenly between two wall times."""
    steps = np.arange(count)
    fields = {
        "series": {"loss": make_series("loss", loss_curve(count), list(range(count)))},
        "last_step": count - 1,
        "clock": (steps, np.linspace(first, last, count)),
        "first_wall_time": first,
        "last_wall_time": last,
    }
    return make_run(**{**fields, **changes})  # type: ignore[arg-type]


def campaign_at(path: str, name: str = "raft") -> CampaignView:
    return CampaignView(name, path, (), None, None, ())


def spanning(starts: dict[int, float]) -> Snapshot:
    """Return a campaign with cycles that began at some times, and a run from 0 to 400 s beside them."""
    cycles = [
        make_run(f"raft/cycle_{n}", campaign="raft", cycle=n, first_wall_time=at, last_wall_time=at + 1.0)
        for n, at in starts.items()
    ]
    whole = timed(0.0, 400.0, run="raft/monitor")
    return snapshots.snapshot([whole, *cycles], (campaign_at(whole.path.removesuffix("/monitor")),))


def test_a_cycle_that_is_a_run_of_its_own_gets_no_mark(tmp_path: Path) -> None:
    """As in every campaign of the usual kind."""
    snapshot = recorded(tmp_path / "raft")
    assert len(snapshot.runs) == 10
    for run in snapshot.runs:
        times = cycle_times(snapshot, run)
        assert [cycle for cycle, _ in times] == [n for n in range(1, 11) if n != run.cycle]
        assert cycle_starts(run, times, "time") == cycle_starts(run, times, "step") == ()


def test_a_run_beside_the_cycles_shows_where_each_began(tmp_path: Path) -> None:
    cycles = recorded(tmp_path / "raft")
    began = {run.cycle: run.first_wall_time for run in cycles.runs if run.cycle and run.first_wall_time}
    start, end = began[2] - 0.25, began[9] + 0.25
    points = [
        scalar_record("loss", 1.0 / (step + 1), step, start + (end - start) * step / 1000) for step in range(1001)
    ]
    write(tmp_path / "raft" / "monitor", *points)
    snapshot = read(tmp_path / "raft")
    run = named(snapshot, "monitor")
    assert run.cycle is None

    found = cycle_starts(run, cycle_times(snapshot, run), "step")

    assert [start.cycle for start in found] == list(range(2, 10)), "the first began before, the last after"
    for mark in found:
        assert mark.step == pytest.approx(1000 * (began[mark.cycle] - start) / (end - start), abs=0.01)
    subject = Subject(run, kind="time", cycles=cycle_times(snapshot, run))
    markers = [marker for marker in subject.chart("loss").markers if marker.glyph == "▸"]
    assert [marker.label for marker in markers] == [str(n) for n in range(2, 10)]
    assert [marker.x for marker in markers] == pytest.approx([began[n] - start for n in range(2, 10)], abs=1e-3)


def test_a_cycle_that_is_taken_up_again_shows_what_began_meanwhile() -> None:
    third = timed(0.0, 400.0, run="raft/cycle_3", campaign="raft", cycle=3)
    fourth = make_run("raft/cycle_4", campaign="raft", cycle=4, first_wall_time=100.0)
    snapshot = snapshots.snapshot([third, fourth], (campaign_at(third.path.removesuffix("/cycle_3")),))
    assert cycle_starts(third, cycle_times(snapshot, third), "step") == (CycleStart(4, 10.0),)
    assert cycle_starts(fourth, cycle_times(snapshot, fourth), "step") == ()


def test_a_tracker_whose_steps_are_cycles_shows_them_over_time(tmp_path: Path) -> None:
    """With the times of a campaign of halo-forge's own: each cycle is logged when it is over."""
    cycles = EXPERIMENTS["HumanEval"].cycles
    ends = np.cumsum([cycle.seconds for cycle in cycles])
    points = [
        record(event([simple("cycle/success_rate", c.passed / c.verified), simple("cycle/training_loss", c.loss)],
                     step=number, wall_time=FIRST + end))
        for number, (c, end) in enumerate(zip(cycles, ends.tolist(), strict=True), 1)
    ]  # fmt: skip
    write(tmp_path / "tensorboard", *points)
    run = named(read(tmp_path), "tensorboard")
    assert (run.dialect, run.step_axis) == ("halo-forge", "cycle")

    assert cycle_starts(run, (), "step") == (), "the axis itself counts them"
    assert cycle_starts(run, (), "time") == (CycleStart(2, 1.0), CycleStart(3, 2.0))
    markers = Subject(run, kind="time").chart("loss").markers
    assert [(marker.x, marker.glyph, marker.label) for marker in markers] == [(0.0, "▸", "2"), (1080.0, "▸", "3")]


def test_only_the_cycles_of_its_own_campaign_count() -> None:
    """Two logdirs whose names begin alike may hold campaigns of one name; a campaign may hold another."""

    def run(path: str, cycle: int | None, at: float) -> RunView:
        return timed(at, at + 400.0, path=path, campaign=None if cycle is None else ".", cycle=cycle)

    runs = [
        run("/d/raft/monitor", None, 0.0),
        run("/d/raft-2/monitor", None, 0.0),
        run("/d/raft/cycle_2", 2, 100.0),
        run("/d/raft-2/cycle_5", 5, 50.0),
        replace(run("/d/raft/inner/cycle_9", 9, 70.0), campaign="inner"),
        run("/d/other", None, 0.0),
    ]
    campaigns = (campaign_at("/d/raft", "."), campaign_at("/d/raft-2", "."), campaign_at("/d/raft/inner", "inner"))
    snapshot = snapshots.snapshot(runs, campaigns)
    assert cycle_times(snapshot, runs[0]) == ((2, 100.0),)
    assert cycle_times(snapshot, runs[1]) == ((5, 50.0),)
    assert cycle_times(snapshot, runs[5]) == ()


def test_a_run_without_times_gets_no_mark() -> None:
    run = make_run()
    assert cycle_starts(run, ((2, 100.0),), "time") == ()
    assert cycle_starts(make_run(step_axis="cycle", series={}), (), "time") == ()


@given(
    st.lists(st.tuples(st.integers(0, 30), st.floats(-50, 500)), max_size=12),
    st.lists(st.floats(0, 400), min_size=2, max_size=20),
)
def test_marks_lie_within_the_run_and_in_the_order_of_time(times: list[tuple[int, float]], clock: list[float]) -> None:
    run = replace(timed(0.0, 400.0), clock=(np.arange(len(clock)), np.array(clock)))
    found = cycle_starts(run, tuple(times), "time")
    assert sorted(mark.cycle for mark in found) == sorted(n for n, at in times if 0 < at <= 400)
    assert all(0 <= mark.step <= len(clock) - 1 for mark in found)
    at = dict(reversed(times))
    if len(at) == len(times):
        by_time = sorted(found, key=lambda mark: (at[mark.cycle], mark.step))
        assert [mark.step for mark in by_time] == sorted(mark.step for mark in found)


@pytest.mark.parametrize("at", [{2: 100.0}, {2: 100.0, 3: 200.0}, {2: 100.0, 4: 200.0, 5: 300.0}])
def test_the_legend_names_them(at: dict[int, float]) -> None:
    snapshot = spanning(at)
    run = snapshot.runs[0]
    subject = Subject(run, cycles=cycle_times(snapshot, run))
    (line,) = legend_lines(subject, Marks(), 100, 1)
    expected = {1: "cycle 2 begins", 2: "cycles 2–3 begin", 3: "cycles 2, 4, 5 begin"}[len(at)]
    assert line.plain == f"▸ {expected} (step 10)"
    assert as_ascii(line.plain).startswith("[ cycle")


def test_the_number_stands_beside_the_mark_where_it_hides_no_data() -> None:
    y = np.array([1.0, 1.0, 0.0, 0.0])
    chart = Chart("loss", "LOSS", 1, "", curves=(Curve(np.arange(4.0), y),), markers=(Marker(1.0, "▸", "12"),))
    rows = ["".join(part for part, _ in row) for row in draw(chart, 22, 6)]
    assert rows == [
        "  1 ┤⠉⠉⠉⠉⠉⠙⣆          ",
        "    │     ⠈⠈⢧         ",
        "    │     ⠈ ⠈⢧⡀       ",
        "    │     ⠈   ⢳⡀      ",
        "  0 ┤     ▸12  ⠹⣄⣀⣀⣀⣀⣀",
        "step 0          2     ",
    ]
    crowded = replace(chart, markers=(Marker(3.0, "▸", "12"),))
    assert [part for row in draw(crowded, 22, 6) for part, ink in row if ink == "sign"] == ["▸"]


def test_neighbours_do_not_write_over_each_other() -> None:
    y = np.array([1.0, 0.0, 0.0, 0.0])
    markers = tuple(Marker(x, "▸", str(n)) for n, x in ((8, 2.0), (9, 2.08), (10, 2.2)))
    chart = Chart("loss", "LOSS", 1, "", curves=(Curve(np.arange(4.0), y),), markers=markers)
    text = "\n".join("".join(part for part, _ in row) for row in draw(chart, 40, 10))
    assert all(f"▸{n}" in text for n in (8, 9, 10))


@pytest.mark.parametrize("size", [SMALL, MEDIUM, LARGE])
@pytest.mark.parametrize("ascii_only", [False, True])
async def test_the_run_screen_marks_them_on_every_axis(size: tuple[int, int], ascii_only: bool) -> None:
    async with running(spanning({2: 100.0, 3: 250.0}), size, look=Look(ascii=ascii_only)) as session:
        await session.press("home", "3")
        screen = session.app.screen
        assert isinstance(screen, RunScreen)
        assert screen.run is not None
        assert screen.run.run == "raft/monitor"
        for _ in range(2):
            shown = session.text()
            assert "▸2" in shown
            assert "▸3" in shown
            assert "cycles 2–3 begin (step 10)" in shown
            await session.press("x")


async def test_a_cycle_that_begins_while_one_looks_is_marked() -> None:
    async with running(spanning({2: 100.0})) as session:
        await session.press("home", "3")
        assert "▸3" not in session.text()
        await session.push(replace(spanning({2: 100.0, 3: 250.0}), version=2))
        assert "▸3" in session.text()
