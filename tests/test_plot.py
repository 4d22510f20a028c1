"""Charts: what a run gets, how it is drawn, and how the widget keeps what it drew."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from textual.app import App, ComposeResult

from raftmon.tui.figure import Band, Bars, Chart, Curve, Level, draw, drawable_log, nearest
from raftmon.tui.plot import Plot, cursor_parts, fitting
from raftmon.tui.raster import Floats
from raftmon.tui.widgets.charts import chart_of, roles_of
from tests import snapshots


def floats(*values: float) -> Floats:
    return np.array(values, dtype=np.float64)


def picture(chart: Chart, width: int, height: int, *, log: bool = False, cursor: float | None = None) -> list[str]:
    return ["".join(text for text, _ in row) for row in draw(chart, width, height, log=log, cursor=cursor)]


def curve_chart(*values: float, **changes: object) -> Chart:
    y = floats(*values)
    x = np.arange(float(len(y)))
    fields: dict[str, object] = {"role": "loss", "title": "LOSS", "version": 1, "missing": "no loss", **changes}
    return Chart(curves=(Curve(x, y),), faults=x[~np.isfinite(y)], **fields)  # type: ignore[arg-type]


def test_the_loss_of_a_cycle_that_goes_wrong() -> None:
    chart = chart_of("loss", snapshots.live_cycle(), snapshots.raft_campaign())
    assert picture(chart, 40, 7, cursor=6.0) == [
        "    │               ⢸                 ⡤⠏",
        "0.6 ┤⠲⣄             ⢸               ⣠⠏⠁ ",
        "    │ ⠈⠳⢤⡀          ⢸             ⣠⠞⠁   ",
        "0.5 ┤    ⠉⠳⣄⡀       ⢸       ⢠⠼⠉⠓⠦⠞⠁     ",
        "    │       ⠙⠲⣄⡀    ⢸    ⢀⣠⠼⠉           ",
        "    │          ⠉⠓⠦⠤⣄⣀⣠⠤⠖⠚⠉              ",
        "step             5              10      ",
    ]


def test_the_gradient_norm_with_its_clip_line_and_the_unproven_band() -> None:
    chart = chart_of("grad_norm", snapshots.live_cycle(), None)
    assert picture(chart, 44, 9) == [
        "0.6 ┤                                    ⣠⠴⠋",
        "    │                                  ⣠⠞⠁  ",
        "    │                                ⢀⡼⠁    ",
        "0.4 ┤                          ⢠⠼⠉⠓⠲⠴⠋      ",
        "    │⠤⣄⣀ ⣀ ⣀ ⣀ ⣀ ⣀ ⣀ ⣀ ⣀ ⣀ ⣀⢀⣠⠼⠉ ⣀ ⣀clip 0.3",
        "    │  ⠈⠉⠉⠙⠒⠒⠲⠤⠤⢤⣀⡀    ⣀⡤⠴⠒⠋⠉               ",
        "0.2 ┤⠄ ⠄ ⠄ ⠄ ⠄ ⠄ ⠄⠉⠉⠉⠉⠉⠁ ⠄ ⠄ ⠄ ⠄ ⠄ ⠄ ⠄ ⠄ ⠄ ⠄",
        "    │⠅ ⠅ ⠅ ⠅ ⠅0.1–0.2: usual band (unproven)",
        "step               5               10       ",
    ]


def test_verification_rates_with_their_intervals_and_the_best_cycle() -> None:
    chart = chart_of("verification_rate", snapshots.live_cycle(), snapshots.raft_campaign())
    assert picture(chart, 34, 8) == [
        " 40% ┤                ⠈⡏          ",
        "     │          ⣀⡀  ⣠⠴⠚★⢦⡀        ",
        "     │          •⡤⠖⠋⠁ ⠈⠉ ⠙⢦⡀      ",
        " 35% ┤        ⣠⠞⠁⡀         ⠙⢦⡀⡖   ",
        "     │   ⣀⡀⢀⡴⠚⠁              ⠙●   ",
        "     │   •⡴⠋                 ⠐⠓   ",
        " 30% ┤   ⣸⡀                       ",
        "cycle    1      2      3      4   ",
    ]
    assert chart.summary == ("34.1%", "★ best cycle 3", "training prompts")


def test_a_diverged_run_shows_where_it_is_no_number() -> None:
    chart = chart_of("loss", snapshots.diverged().runs[0], None)
    assert chart.warning == "60 NaN 1 inf"
    assert picture(chart, 40, 7, log=True) == [
        "    │                            ⢀⡆     ",
        " 30 ┤                           ⢠⠏      ",
        " 10 ┤                          ⢸⡞       ",
        "    │                          ⢸⠁       ",
        "  3 ┤⠤⠤⢤⣀⣀⡀                    ⡼        ",
        "    │    ⠉⠉⠉⠉⠙⠒⠒⠒⠒⠦⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠇  ××××××",
        "step                 200             400",
    ]


@given(st.lists(st.floats(), max_size=30), st.integers(0, 90), st.integers(0, 30), st.booleans())
def test_a_drawing_has_its_size_whatever_the_values(values: list[float], width: int, height: int, log: bool) -> None:
    chart = curve_chart(*values, levels=(Level(0.3, "clip 0.3"),), band=Band(0.1, 0.2, ("long label", "short")))
    rows = picture(chart, width, height, log=log, cursor=2.0)
    assert [len(row) for row in rows] == [width] * height


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.integers(12, 60), st.integers(3, 20))
def test_bars_have_their_size_whatever_the_rates(rates: list[float], width: int, height: int) -> None:
    x, y = np.arange(float(len(rates))), floats(*rates)
    chart = Chart("v", "V", 1, "", bars=Bars(x, y, y - 0.1, y * math.nan, "•" * len(rates)), percent=True)
    assert [len(row) for row in picture(chart, width, height)] == [width] * height


@pytest.mark.parametrize(("value", "text"), [(9.0, "↑ clip"), (0.5, "clip"), (-9.0, "↓ clip")])
def test_a_level_out_of_view_is_pointed_at(value: float, text: str) -> None:
    chart = curve_chart(0.4, 0.6, 0.5, 0.5, 0.5, levels=(Level(value, "clip"),))
    labelled = [row for row in picture(chart, 60, 10) if "clip" in row]
    assert len(labelled) == 1
    assert text in labelled[0]
    assert ("↑" in labelled[0], "↓" in labelled[0]) == (value > 1, value < 0)


def test_a_near_level_is_brought_into_view_and_a_far_one_does_not_flatten_the_curve() -> None:
    near = picture(curve_chart(1.0, 1.2, 1.1, levels=(Level(1.4, "clip"),)), 40, 8)
    far = picture(curve_chart(1.0, 1.2, 1.1, levels=(Level(100.0, "clip"),)), 40, 8)
    assert any("1.4" in row for row in near)
    assert not any("100" in row for row in far)


def test_a_band_without_room_for_its_label_is_not_drawn() -> None:
    band = Band(0.4, 0.6, ("0.4–0.6: unproven",))
    wide = picture(curve_chart(0.5, 0.5, 0.5, 1.0, band=band), 60, 10)
    dense = picture(curve_chart(*[0.0, 1.0] * 100, band=band), 60, 10)
    assert any("0.4–0.6: unproven" in row for row in wide)
    assert dense == picture(curve_chart(*[0.0, 1.0] * 100), 60, 10)


def test_log_is_refused_where_no_value_is_positive() -> None:
    assert not drawable_log(curve_chart(-1.0, 0.0))
    assert not drawable_log(curve_chart(0.5, percent=True))
    assert picture(curve_chart(-1.0, 0.0), 30, 6, log=True) == picture(curve_chart(-1.0, 0.0), 30, 6)


def test_the_nearest_point_is_the_newest_of_several() -> None:
    assert nearest(Curve(floats(1, 2, 2, 3), floats(1, 2, 3, 4)), 2.1) == 2
    assert nearest(Curve(floats(), floats()), 2.1) is None


def test_the_cursor_reads_every_curve() -> None:
    chart = chart_of("loss", snapshots.pretraining(count=200).runs[0], None)
    value, step, smooth = cursor_parts(chart, 50.2)
    assert (step, smooth.split()[0]) == ("step 50", "ema")
    assert float(value) == pytest.approx(chart.curves[0].y[49], abs=1e-3)
    rates = chart_of("verification_rate", None, snapshots.raft_campaign())
    assert cursor_parts(rates, 50.0) == rates.summary


def test_headings_say_what_fits() -> None:
    assert fitting(("0.66", "ema 0.7", "clip 1"), 40) == "0.66 · ema 0.7 · clip 1"
    assert fitting(("0.66", "ema 0.7", "clip 1"), 16) == "0.66 · ema 0.7"
    assert fitting(("0.66", "ema 0.7", "clip 1"), 2) == ""
    assert fitting((), 9) == ""


def test_other_series_take_the_place_of_missing_ones() -> None:
    campaign = snapshots.raft_campaign()
    plain_run = snapshots.make_run()
    assert roles_of(plain_run, campaign, 4) == ["loss", "grad_norm", "learning_rate", "verification_rate"]
    assert roles_of(snapshots.pretraining().runs[0], None, 4) == ["loss", "grad_norm", "learning_rate", "eval_loss"]
    rl = snapshots.make_run(series={role: snapshots.make_series(role, [1.0]) for role in ("loss", "reward", "entropy")})
    assert roles_of(rl, None, 4) == ["loss", "grad_norm", "reward", "entropy"]
    more = snapshots.make_run(series={r: snapshots.make_series(r, [1.0]) for r in ("zeta", "kl", "epoch", "eval_loss")})
    assert roles_of(more, None, 9) == ["loss", "eval_loss", "kl", "zeta"]
    assert roles_of(snapshots.make_run(series={}), None, 4) == ["loss", "grad_norm", "learning_rate"]
    assert roles_of(None, None, 4)[0] == "loss"


def test_a_missing_series_is_named() -> None:
    run = snapshots.make_run(series={})
    assert chart_of("grad_norm", run, None).missing == "no grad_norm logged"
    assert chart_of("loss", None, None).missing == "nothing to draw yet"
    assert chart_of("verification_rate", run, None).missing == "this run belongs to no campaign"
    campaign = snapshots.raft_campaign(cycles=(snapshots.make_cycle(1, None, 5e-5),))
    assert chart_of("verification_rate", run, campaign).missing == "no cycle has a verification rate"
    tag = snapshots.make_run(series={"loss": snapshots.make_series("loss", [], tag="a/b")})
    assert chart_of("loss", tag, None).missing == "the tag a/b holds no value yet"


def test_short_series_are_not_smoothed() -> None:
    assert [curve.ink for curve in chart_of("loss", snapshots.live_cycle(), None).curves] == ["line"]
    long = snapshots.pretraining(count=400).runs[0]
    assert [curve.ink for curve in chart_of("loss", long, None).curves] == ["raw", "line"]
    assert [curve.ink for curve in chart_of("learning_rate", long, None).curves] == ["line"]


def test_a_chart_is_made_again_only_when_its_data_changed() -> None:
    campaign = snapshots.raft_campaign()
    for role in ("loss", "verification_rate"):
        first = chart_of(role, snapshots.live_cycle(), campaign)
        again = chart_of(role, snapshots.live_cycle(), snapshots.raft_campaign(), {first.version: first})
        assert again is first
    grown = chart_of("loss", snapshots.live_cycle(13), None, {first.version: first})
    assert grown.version != chart_of("loss", snapshots.live_cycle(12), None).version
    lost = snapshots.diverged().runs[1]
    assert chart_of("loss", lost, None).version == chart_of("loss", snapshots.diverged().runs[1], None).version


class PlotApp(App[None]):
    """One plot and nothing else."""

    CSS = "Plot { height: 1fr; }"

    def __init__(self, chart: Chart) -> None:
        super().__init__()
        self.chart = chart

    def compose(self) -> ComposeResult:
        """Make the plot."""
        yield Plot()

    def on_mount(self) -> None:
        """Show the chart."""
        self.query_one(Plot).show(self.chart, log=False, cursor=None, focused=False)


def shown(plot: Plot) -> list[str]:
    return [plot.render_line(y).text for y in range(plot.size.height)]


async def test_the_widget_draws_once_per_version_size_and_view() -> None:
    chart = curve_chart(1.0, 2.0, math.nan, 0.5, summary=("0.5",), warning="1 NaN")
    app = PlotApp(chart)
    async with app.run_test(size=(40, 10)) as pilot:
        plot = app.query_one(Plot)
        assert shown(plot)[0].startswith("LOSS 0.5 ──")
        assert shown(plot)[0].endswith("1 NaN")
        assert shown(plot)[1:] == picture(chart, 40, 9)
        before = plot.drawings
        plot.show(curve_chart(9.0, 9.0), log=False, cursor=None, focused=False)
        plot.refresh()
        await pilot.pause()
        assert plot.drawings == before, "an equal version is the same drawing"
        plot.show(chart, log=True, cursor=None, focused=False)
        await pilot.pause()
        assert plot.drawings == before + 1
        assert shown(plot)[0].endswith("1 NaN log")
        await pilot.resize_terminal(50, 10)
        await pilot.pause()
        assert plot.drawings == before + 2
        assert len(shown(plot)[1]) == 50


@pytest.mark.parametrize(
    ("chart", "text"),
    [
        (curve_chart(), "no loss"),
        (curve_chart(math.nan, math.nan, warning="2 NaN"), "2 NaN: no finite value to draw"),
    ],
)
async def test_an_empty_plot_says_why(chart: Chart, text: str) -> None:
    app = PlotApp(chart)
    async with app.run_test(size=(40, 10)):
        rows = [row for row in shown(app.query_one(Plot))[1:] if row.strip()]
        assert [row.strip() for row in rows] == [text]


async def test_a_tiny_plot_keeps_its_heading() -> None:
    app = PlotApp(curve_chart(1.0, 2.0, summary=("2",)))
    async with app.run_test(size=(9, 3)):
        assert shown(app.query_one(Plot))[0].startswith("LOSS 2")
        assert all(len(row) == 9 for row in shown(app.query_one(Plot)))
