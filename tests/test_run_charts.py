"""What the Run screen draws: windows, axes, markers, marked runs; pure functions only."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from raftmon.model import RunView
from raftmon.tui.axis import duration, position, position_ticks
from raftmon.tui.figure import Chart, Curve, Marker, draw
from raftmon.tui.overlay import LETTERS, Marks
from raftmon.tui.raster import Floats
from raftmon.tui.step_axis import axis_of
from raftmon.tui.viewport import LEAST, Extent, Viewport
from raftmon.tui.widgets.run_charts import Subject, events_of, grid_of, rate_changes, roles_to_draw
from raftmon.tui.widgets.run_legend import legend_lines
from tests import snapshots
from tests.views import linear_schedule, loss_curve, make_finding, make_run, make_series

EXTENTS = st.tuples(st.integers(0, 10_000), st.integers(0, 10_000)).map(lambda p: (float(min(p)), float(max(p))))
MOVES = st.lists(
    st.tuples(st.sampled_from(["zoom", "pan", "show", "window"]), st.floats(-3, 3), st.floats(0, 1)), max_size=12
)


def floats(*values: float) -> Floats:
    return np.array(values, dtype=np.float64)


def chart_of_values(y: Floats, **changes: object) -> Chart:
    return Chart("loss", "LOSS", 1, "no loss", curves=(Curve(np.arange(float(len(y))), y),), **changes)  # type: ignore[arg-type]


def moved(view: Viewport, extent: Extent, move: tuple[str, float, float]) -> Viewport:
    kind, amount, share = move
    about = extent[0] + share * (extent[1] - extent[0])
    if kind == "zoom":
        return view.zoomed(extent, 2.0**amount, about if share > 0.5 else None)
    if kind == "pan":
        return view.panned(extent, amount)
    return view.next_window() if kind == "window" else view.with_in_view(extent, about)


@given(EXTENTS, MOVES)
def test_a_view_stays_within_the_steps(extent: Extent, moves: list[tuple[str, float, float]]) -> None:
    view = Viewport()
    for move in moves:
        view = moved(view, extent, move)
        low, high = view.limits(extent)
        assert low < high
        assert high - low >= min(LEAST, extent[1] - extent[0]) - 1e-6
        if extent[0] < extent[1]:
            assert extent[0] - 1e-6 <= low
            assert high <= extent[1] + 1e-6
        if move[0] == "show" and extent[0] < extent[1]:
            step = extent[0] + move[2] * (extent[1] - extent[0])
            assert low - 1e-6 <= step <= high + 1e-6


def test_zooming_keeps_the_step_under_the_cursor_in_its_place() -> None:
    low, high = Viewport().zoomed((0.0, 1000.0), 0.5, 900.0).limits((0.0, 1000.0))
    assert (low, high) == (450.0, 950.0)
    assert Viewport(piece=(450.0, 950.0)).zoomed((0.0, 1000.0), 2.0) == Viewport()


def test_a_window_over_the_newest_follows_them_and_a_piece_does_not() -> None:
    newest, piece = Viewport(last=100), Viewport(piece=(10.0, 60.0))
    assert newest.limits((0.0, 900.0)) == (800.0, 900.0)
    assert newest.limits((0.0, 950.0)) == (850.0, 950.0)
    assert piece.limits((0.0, 900.0)) == piece.limits((0.0, 950.0)) == (10.0, 60.0)
    assert [v.words((0.0, 900.0)) for v in (Viewport(), newest, piece)] == ["all", "last 100", "10–60"]
    assert newest.limits((0.0, 16.0)) == (0.0, 16.0)


@given(
    st.lists(st.floats(), min_size=2, max_size=120),
    st.floats(0, 1),
    st.floats(0, 1),
    st.tuples(st.integers(14, 60), st.integers(3, 14)),
    st.booleans(),
)
def test_every_point_in_view_shows_in_its_column(
    values: list[float], one: float, other: float, size: tuple[int, int], log: bool
) -> None:
    y = floats(*values)
    low, high = (share * (len(y) - 1) for share in sorted((one, other)))
    assume(high - low > 1e-3)
    rows = draw(chart_of_values(y), *size, log=log, window=(low, high))
    text = ["".join(part for part, _ in row) for row in rows]
    inks = [[ink for part, ink in row for _ in part] for row in rows]
    if all(not line.strip() for line in text):
        return
    left = text[0].index("│") if "│" in text[0] else text[0].index("┤")
    columns = 2 * (size[0] - left - 1)
    used = log and bool(np.any((y > 0) & np.isfinite(y)))
    for x in np.flatnonzero(np.isfinite(y) & ((y > 0) | (not used))):
        if low <= x <= high:
            at = left + 1 + round((x - low) / (high - low) * (columns - 1)) // 2
            assert any(row[at] == "line" for row in inks[:-1]), (x, text)


@given(st.integers(0, 9_999), st.floats(0, 1), st.floats(0.001, 1), st.tuples(st.integers(20, 90), st.integers(5, 20)))
def test_a_spike_of_one_sample_survives_any_zoom(at: int, before: float, share: float, size: tuple[int, int]) -> None:
    y = np.full(10_000, 1.0)
    y[at] = 50.0
    width = share * 9_999.0
    low = min(max(at - before * width, 0.0), 9_999.0 - width)
    rows = draw(chart_of_values(y), *size, window=(low, low + width))
    assume(low <= at <= low + width)
    assert any(ink == "line" for _, ink in rows[0]), "its top is the top of the picture"


def test_a_spike_stays_in_view_behind_its_smoothed_curve() -> None:
    values = [1.0] * 10_000
    values[1234] = 50.0
    chart = Subject(make_run(series={"loss": make_series("loss", values)})).chart("loss")
    rows = draw(chart, 60, 10, window=(1000.0, 2000.0))
    assert any(ink == "raw" for _, ink in rows[0])


def test_a_chart_of_ten_thousand_points_is_drawn_in_ten_milliseconds() -> None:
    chart = Subject(make_run(series={"loss": make_series("loss", loss_curve(10_000))})).chart("loss")
    for window in (None, (4000.0, 4100.0)):
        spent = []
        for _ in range(7):
            start = time.process_time()
            draw(chart, 120, 30, log=window is None, cursor=5000.0, window=window)
            spent.append(time.process_time() - start)
        assert min(spent) < 0.010


def test_the_y_axis_fits_what_is_in_view() -> None:
    chart = chart_of_values(floats(*[100.0] * 50, *np.linspace(1.0, 2.0, 50)))
    picture = "\n".join("".join(part for part, _ in row) for row in draw(chart, 40, 8, window=(50.0, 99.0)))
    assert "1.5 ┤" in picture
    assert "100 ┤" not in picture


def test_a_view_between_two_points_shows_the_line_that_joins_them() -> None:
    rows = draw(chart_of_values(floats(0.0, 10.0)), 40, 8, window=(0.4, 0.6))
    assert any(ink == "line" for row in rows for _, ink in row)


def test_markers_stand_at_the_bottom_and_hide_no_data() -> None:
    chart = chart_of_values(floats(1.0, 1.0, 0.0, 0.0), markers=(Marker(1.0, "η"), Marker(1.0, "◆"), Marker(3.0, "✖")))
    rows = ["".join(part for part, _ in row) for row in draw(chart, 22, 6)]
    bare = ["".join(part for part, _ in row) for row in draw(chart_of_values(chart.curves[0].y), 22, 6)]
    assert rows == [
        "  1 ┤⠉⠉⠉⠉⠉⠙⣆         ⠈",
        "    │     ⠈⠈⢧        ⠈",
        "    │     ⠈ ⠈⢧⡀      ⠈",
        "    │     ◆   ⢳⡀     ✖",
        "  0 ┤     η    ⠹⣄⣀⣀⣀⣀⣀",
        "step 0          2     ",
    ]
    assert all(a == b for a, b in zip("".join(rows), "".join(bare), strict=True) if b.strip())


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (linear_schedule(200, 5e-5), []),
        (linear_schedule(16, 5e-5), []),
        (linear_schedule(200, 5e-5, warmup=20), []),
        (list(5e-5 * (1 + np.cos(np.linspace(0, math.pi, 300))) / 2), []),
        ([5e-5] * 50 + [5e-6] * 50, [51.0]),
        ([5e-5] * 50 + [math.nan] + [5e-6] * 50, [52.0]),
        (linear_schedule(50, 5e-5) + linear_schedule(50, 5e-5), [51.0]),
        ([5e-5, 1e-5], []),
        ([], []),
    ],
)
def test_jumps_of_the_learning_rate_are_found_and_schedules_are_none(
    values: list[float], expected: list[float]
) -> None:
    assert rate_changes(np.arange(1.0, len(values) + 1), floats(*values)) == expected


def test_a_thinned_schedule_has_no_jumps() -> None:
    steps = np.sort(np.concatenate([np.arange(0.0, 4000.0, 40.0), np.arange(39.0, 4000.0, 40.0)]))
    assert rate_changes(steps, 5e-5 * (1.0 - steps / 4000.0)) == []


def test_events_are_what_fires_and_the_gravest_is_last() -> None:
    findings = (
        make_finding("a", title="First", severity="critical", since_step=0),
        make_finding("b", title="Second", severity="low", since_step=5),
        make_finding("c", state="pending", since_step=6),
        make_finding("d", since_step=7, inhibited_by="a"),
    )
    rate = make_series("learning_rate", [5e-5] * 8 + [1e-5] * 8)
    run = make_run(findings=findings, series={"learning_rate": rate})
    assert [(e.step, e.glyph) for e in events_of(run)] == [(9.0, "η"), (5.0, "◇"), (0.0, "✖")]
    (line,) = legend_lines(Subject(run), Marks(), 120, 1)
    assert line.plain == "✖ First (step 0)   ◇ Second (step 5)   η learning rate jumps (step 9)"
    assert legend_lines(Subject(run), Marks(), 40, 1)[0].plain.endswith("…")


def timed_run(name: str = "run", count: int = 100, pause: float = 0.0) -> RunView:
    steps = np.arange(1, count + 1)
    times = 1.7e9 + 60.0 * steps + np.where(steps > 50, pause, 0.0)
    return make_run(
        name,
        series={
            "loss": make_series("loss", loss_curve(count)),
            "epoch": make_series("epoch", list(np.arange(1, count + 1) / 25.0)),
        },
        clock=(steps, times),
    )


def test_steps_become_time_and_epochs() -> None:
    run = timed_run(pause=3600.0)
    time_axis, epochs = axis_of(run, "time"), axis_of(run, "epoch")
    assert time_axis is not None
    assert epochs is not None
    assert time_axis.of(floats(1, 50, 51)).tolist() == [0.0, 2940.0, 6600.0]
    assert epochs.of(floats(0, 25, 110)).tolist() == pytest.approx([0.0, 1.0, 4.4])
    assert axis_of(make_run(), "time") is None
    assert axis_of(make_run(), "epoch") is None
    constant = make_run(series={"epoch": make_series("epoch", [1.0, 1.0])})
    assert axis_of(constant, "epoch") is None


@given(st.lists(st.tuples(st.integers(0, 50), st.floats()), max_size=30))
def test_an_axis_never_goes_back(points: list[tuple[int, float]]) -> None:
    steps, values = [p[0] for p in points], [p[1] for p in points]
    run = make_run(series={"epoch": make_series("epoch", values, steps)})
    axis = axis_of(run, "epoch")
    if axis is not None and np.abs(axis.places).max() < 1e300:
        assert (np.diff(axis.of(np.arange(-10.0, 70.0))) >= 0.0).all()


def test_the_chart_moves_with_its_axis() -> None:
    run = timed_run(pause=3600.0)
    chart = Subject(run, "time").chart("loss")
    assert chart.x_name == "time"
    assert chart.curves[0].x[-1] == 99 * 60.0 + 3600.0
    assert chart.version != Subject(run).chart("loss").version
    bottom = "".join(part for part, _ in draw(chart, 60, 8)[-1])
    assert bottom.split() == ["time", "0", "1h", "2h"]


def test_durations() -> None:
    labels = [duration(s) for s in (0.0, 45.0, 200.0, 3780.0, 187_200.0, -90.0)]
    assert labels == ["0", "45s", "3m20s", "1h03m", "2d04h", "-1m30s"]
    assert [position("step", 8.0), position("epoch", 1.25), position("time", 60.0)] == [
        "step 8",
        "epoch 1.25",
        "1m00s",
    ]


@given(st.floats(-1e8, 1e8), st.floats(-1e8, 1e8), st.integers(1, 12), st.sampled_from(["time", "step", "epoch"]))
def test_ticks_of_an_axis_ascend_and_differ(one: float, other: float, count: int, name: str) -> None:
    low, high = sorted((one, other))
    labels = position_ticks(name, low, high, count)
    assert len(labels) <= count
    values = [value for value, _ in labels]
    assert values == sorted(set(values))
    room = (high - low) * 1e-6
    assert all(low - room <= value <= high + room for value in values)


def test_marked_runs_lie_behind_in_their_own_ink() -> None:
    run, other = timed_run("one"), timed_run("two", count=150)
    subject = Subject(run, others={"C": other})
    chart = subject.chart("loss")
    assert [(c.ink, c.sign, c.name) for c in chart.others] == [("run2", "C", "C ema")]
    assert chart.curves[-1].sign == "❯"
    assert subject.extent == (1.0, 150.0)
    marked = Subject(run, others={"C": other, "A": run}).chart("loss")
    assert (marked.curves[-1].ink, marked.curves[-1].sign) == ("run0", "A")
    assert len(marked.others) == 1
    assert any(ink == "run2" and "C" in part for row in draw(chart, 60, 12) for part, ink in row)


def test_a_marked_run_that_lacks_the_axis_is_said_to() -> None:
    marks = Marks()
    other = make_run("other")
    marks.toggle(other.path)
    letter = marks.letter(other.path)
    subject = Subject(timed_run(), "time", others={letter: other})
    assert subject.chart("loss").others == ()
    assert legend_lines(subject, marks, 90, 1)[0].plain == f"{letter} other (logs no time)"


@given(st.lists(st.integers(0, 11), max_size=40))
def test_marks_have_places_of_their_own(toggles: list[int]) -> None:
    marks = Marks()
    expected: set[str] = set()
    for number in toggles:
        marks.toggle(f"/runs/{number}")
        expected ^= {f"/runs/{number}"}
    assert {path for path in (f"/runs/{n}" for n in range(12)) if path in marks} == expected
    assert len(set(marks.places.values())) == len(marks.places) == min(len(expected), len(LETTERS))
    assert marks.left_out == max(len(expected) - len(LETTERS), 0)


def test_a_run_keeps_its_letter() -> None:
    first, second = Marks(), Marks()
    first.toggle("/runs/a")
    second.toggle("/runs/a")
    second.toggle("/runs/b")
    assert first.letter("/runs/a") == second.letter("/runs/a") != second.letter("/runs/b")
    assert first.letter("/runs/b") == ""


@pytest.mark.parametrize(
    ("count", "width", "height", "expected"),
    [(4, 78, 20, (2, 10)), (3, 78, 20, (2, 10)), (1, 78, 20, (1, 20)), (9, 198, 46, (3, 15)), (7, 78, 20, (2, 10))],
)
def test_the_grid_fits_its_box(count: int, width: int, height: int, expected: tuple[int, int]) -> None:
    assert grid_of(count, width, height) == expected


@given(st.integers(1, 40), st.integers(1, 300), st.integers(1, 100))
def test_a_grid_has_room_for_its_charts(count: int, width: int, height: int) -> None:
    columns, high = grid_of(count, width, height)
    assert 1 <= columns <= count
    assert 1 <= high <= height
    assert columns == 1 or width // columns >= 38


def test_every_series_is_drawn_and_those_beside_the_rate_come_last() -> None:
    run = snapshots.pretraining().runs[0]
    assert roles_to_draw(run)[:3] == ["loss", "grad_norm", "learning_rate"]
    assert roles_to_draw(timed_run()) == ["loss", "epoch"]
    assert set(roles_to_draw(run)) == set(run.series)


def test_a_chart_is_made_again_only_when_something_changed() -> None:
    first = Subject(timed_run()).chart("loss")
    assert Subject(timed_run()).chart("loss", {first.version: first}) is first
    changed = [Subject(timed_run(), smoothed=False), Subject(timed_run(count=101)), Subject(timed_run(), "epoch")]
    changed.append(Subject(timed_run(), others={"A": timed_run("two")}))
    assert all(subject.chart("loss").version != first.version for subject in changed)
