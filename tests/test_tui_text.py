"""What the panels say: lines as pure functions of views."""

from __future__ import annotations

from dataclasses import replace
from itertools import compress

import pytest

from raftmon.model import Problem
from raftmon.plain import plain
from raftmon.tui.filter import RunFilter, TooSlow
from raftmon.tui.screens.finding import explained, finding_lines
from raftmon.tui.text import cut_end, cut_middle, fit, metric, number, run_name, steps
from raftmon.tui.widgets.advice_panel import advice_lines, verdict_line
from raftmon.tui.widgets.campaign_panel import campaign_lines, next_lines
from raftmon.tui.widgets.lines import heading, wrap
from raftmon.tui.widgets.run_columns import COLUMNS, columns_for, common_directory
from raftmon.tui.widgets.status_bar import Status, status_line
from tests import snapshots
from tests.tui_session import running


@pytest.mark.parametrize(
    ("text", "passing"),
    [
        ("", "cycle_1 cycle_2 SFT"),
        ("cycle", "cycle_1 cycle_2"),
        ("sft", "SFT"),
        ("!cycle", "SFT"),
        ("cycle !_1", "cycle_2"),
        ("/^cycle_[12]$/", "cycle_1 cycle_2"),
        ("!/1$/", "cycle_2 SFT"),
        ("!", "cycle_1 cycle_2 SFT"),
        ("/", ""),
    ],
)
def test_filters(text: str, passing: str) -> None:
    run_filter = RunFilter.parse(text)
    names = ("cycle_1", "cycle_2", "SFT")
    assert list(compress(names, run_filter.passing(names))) == passing.split()
    assert run_filter.error == ""


def test_a_broken_pattern_lets_everything_through_and_says_why() -> None:
    run_filter = RunFilter.parse("x /(/")
    assert run_filter.passing(["anything"]) == [True]
    assert "not a regular expression" in run_filter.error


@pytest.mark.parametrize("pattern", ["a{99999999999999}", "(" * 5000 + ")" * 5000, "[z-a]"])
def test_no_pattern_ends_the_screen(pattern: str) -> None:
    run_filter = RunFilter.parse(f"/{pattern}/")
    assert run_filter.error.startswith("not a regular expression")
    assert run_filter.passing(["anything"]) == [True]


def test_a_pattern_that_takes_for_ever_is_given_up() -> None:
    run_filter = RunFilter.parse("/^(a|aa)+$/")
    with pytest.raises(TooSlow):
        run_filter.passing(["a" * 80 + "b"] * 1000)
    given_up = run_filter.given_up()
    assert given_up.passing(["anything"]) == [True]
    assert "too long" in given_up.error


async def test_a_filter_that_takes_for_ever_shows_all_runs_and_says_so() -> None:
    runs = [replace(run, run="a" * 80 + run.run) for run in snapshots.many(20).runs]
    async with running(snapshots.snapshot(runs)) as session:
        await session.press("slash", *"/^(a|aa)+$/")
        assert "takes too long" in session.text("#filter-error")
        assert len(session.table.shown) == 20


def test_long_names_lose_their_middle() -> None:
    assert cut_middle("cycle_12_final_checkpoint/logs", 15) == "cycle_1…nt/logs"
    assert cut_middle("short", 15) == "short"
    assert cut_middle("日本語の名前", 7) == "日…前"
    assert [cut_middle("abcdef", width) for width in (0, 1, 2, 3)] == ["", "a", "ab", "a…f"]
    assert fit("ab", 4) + "|" == "ab  |"
    assert fit("ab", 4, right=True) == "  ab"
    assert [cut_end("abcdef", width) for width in (0, 1, 3, 9)] == ["", "…", "ab…", "abcdef"]


def test_control_characters_never_reach_the_terminal() -> None:
    mark = "\N{REPLACEMENT CHARACTER}"
    assert plain("a\x1b[31mb\nc\u202ed") == f"a{mark}[31mb{mark}c{mark}d"
    assert plain("é日本 ok") == "é日本 ok"


def test_numbers() -> None:
    assert [number(v) for v in (None, 0.0, 3.0, 0.4, 12345.0, 3e-5)] == ["–", "0", "3", "0.4", "12.3k", "3e-5"]
    assert number(float("nan")) == "NaN"
    assert metric("learning_rate", 3.614e-5) == "3.61e-5"
    assert metric("learning_rate", 0.0) == "0"
    assert metric("learning_rate", 0.1) == "0.1"
    assert metric("verification_rate", 0.397) == "39.7%"
    assert [metric("loss", v) for v in (0.66, 12.0, 1234.0)] == ["0.6600", "12.00", "1234"]
    assert steps(snapshots.make_run(last_step=None)) == "–"
    assert run_name(snapshots.make_run(".", logdir="/data/one")) == "one"


@pytest.mark.parametrize("width", [20, 40, 60, 78, 98, 118, 158, 198])
def test_the_table_fits_its_width(width: int) -> None:
    columns, name = columns_for(width)
    assert 4 + name + sum(column.width + 2 for column in columns) <= max(width, 18)
    assert [c for c in COLUMNS if c in columns] == columns
    assert width < 60 or {"verdict", "LR", "loss"} <= {c.title for c in columns}
    assert columns_for(width, 100)[1] >= columns_for(width, 5)[1]


def test_the_common_directory_is_left_out() -> None:
    assert common_directory(["a/b/1", "a/b/2"]) == "a/b/"
    assert common_directory(["a/bc/1", "a/bd/2"]) == "a/"
    assert common_directory(["a/b"]) == ""
    assert common_directory(["x", "y"]) == ""
    assert common_directory([]) == ""


def test_headings_keep_their_width() -> None:
    for width in (5, 12, 30, 60):
        line = heading(width, "RUNS", "a/very/long/name/indeed/of/a/run", heading(8, "right"))
        assert line.cell_length <= width
    assert heading(20, "RUNS", "5").plain == "RUNS 5 ─────────────"


def test_wrapped_lines_hang() -> None:
    lines = wrap(heading(40, "one two three four five six"), 20, 0, 4)
    assert all(line.cell_length <= 20 for line in lines)
    assert all(line.plain.startswith("    ") for line in lines[1:])


def test_the_status_line_tells_of_trouble_first() -> None:
    status = Status.of("raftmon", snapshots.raft(), paused=True, waiting=False, error="OSError: gone")
    line = status_line(status, 100).plain
    assert line.index("OSError") < line.index("PAUSED") < line.index("1 problem")
    assert status_line(status, 30).plain.startswith("raftmon")
    assert "starting" in status_line(Status.of("raftmon", None, paused=False, waiting=False, error=""), 60).plain


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"stop": True, "roll_back_to": 3}, "■ STOP, ship cycle 3"),
        ({"stop": True, "roll_back_to": None}, "■ STOP, ship the newest"),
        ({"roll_back_to": 0}, "NEXT CYCLE 5  ↩ roll back to the base model  LR 2.61e-5  proposed"),
        ({"roll_back_to": None, "learning_rate": None}, "NEXT CYCLE 5  LR –  proposed"),
    ],
)
def test_the_next_cycle_in_one_line(changes: dict[str, object], text: str) -> None:
    plan = snapshots.raft_campaign().next
    assert plan is not None
    assert [line.plain for line in next_lines(replace(plan, **changes), 80)] == [text]  # type: ignore[arg-type]


def test_a_long_campaign_shows_its_newest_cycles() -> None:
    cycles = tuple(snapshots.make_cycle(n, 0.3, 5e-5) for n in range(1, 31))
    lines = campaign_lines(snapshots.raft_campaign(cycles=cycles), 30, 118)
    assert "cycle …" in lines[0].plain
    assert "● 30" in lines[0].plain
    assert " 1 " not in lines[0].plain
    assert all(line.cell_length <= 118 for line in lines)


def test_the_best_cycle_stays_in_view() -> None:
    cycles = tuple(snapshots.make_cycle(n, 0.5 if n == 2 else 0.3, 5e-5) for n in range(1, 31))
    first = campaign_lines(snapshots.raft_campaign(cycles=cycles, best_cycle=2), 30, 118)[0].plain
    assert first.split("│")[0].split() == ["cycle", "…", "★", "2", "27", "28", "29", "●", "30"]


def test_what_decides_comes_first() -> None:
    campaign = snapshots.raft_campaign()
    undecided = advice_lines(snapshots.make_run(), campaign, 60)
    assert undecided[0].plain.startswith("NEXT CYCLE 5  ↩ roll back to cycle 3")
    assert advice_lines(snapshots.live_cycle(), campaign, 60)[0].plain.startswith(" ▲ LEARNING RATE TOO HIGH")
    calm = replace(campaign, findings=(), next=None)
    assert advice_lines(snapshots.make_run(), calm, 60)[0].plain == " ? UNDECIDED "


def test_campaigns_in_the_making() -> None:
    bare = snapshots.raft_campaign(cycles=(), next=None)
    assert [line.plain for line in campaign_lines(bare, None, 118)] == ["no cycle yet"]
    first = snapshots.raft_campaign(cycles=(snapshots.make_cycle(1, None, None),), next=None, best_cycle=None)
    assert "no advice for a next cycle" in campaign_lines(first, 1, 118)[0].plain
    assert "cycle 1  verified –  LR –" in campaign_lines(first, 1, 78)[0].plain


@pytest.mark.parametrize("width", [40, 44, 78])
def test_advice_fits_its_width(width: int) -> None:
    run, campaign = snapshots.live_cycle(), snapshots.raft_campaign()
    lines = advice_lines(run, campaign, width)
    assert all(line.cell_length <= width for line in lines)
    compact = advice_lines(run, campaign, width, compact=True)
    assert [line.plain for line in compact] == [line.plain for line in lines if line.plain]
    assert "×0.6" in "".join(line.plain for line in lines)
    assert advice_lines(None, None, width)[0].plain == "no run selected"


def test_a_verdict_has_a_glyph_and_a_word() -> None:
    run = snapshots.live_cycle()
    assert verdict_line(run.verdict).plain == " ▲ LEARNING RATE TOO HIGH   82% sure"
    assert verdict_line(snapshots.UNDECIDED).plain == " ? UNDECIDED "


def test_findings_are_explained_gravest_first() -> None:
    run, campaign = snapshots.live_cycle(), snapshots.raft_campaign()
    order = [(finding.rule, view is campaign) for finding, view in explained(run, campaign)]
    assert order == [
        ("loss-draws-up", False),
        ("cycle-rate-falls", True),
        ("loss-oscillates", False),
        ("grad-norm-rises", False),
        ("plateau", False),
    ]
    waiting = "\n".join(line.plain for line in finding_lines(snapshots.waiting_finding(), False, 60))
    assert "cannot be judged" in waiting
    assert "waits for grad_norm" in waiting
    hidden = snapshots.make_finding(inhibited_by="loss-not-finite")
    assert any("explained by loss-not-finite" in line.plain for line in finding_lines(hidden, False, 60))


async def test_a_screen_without_problems_or_findings_says_so() -> None:
    state = snapshots.snapshot([snapshots.make_run(findings=())])
    async with running(state) as session:
        await session.press("p")
        assert "no problem: every file, rule and config was read" in session.text()
        await session.press("escape", "enter")
        assert "no rule has looked at this run" in session.text()


async def test_many_problems_scroll() -> None:
    problems = tuple(Problem(f"file-{n}", "broken", "mend it") for n in range(50))
    async with running(replace(snapshots.raft(), problems=problems)) as session:
        await session.press("p", "G")
        assert "file-49" in session.text("#text")
        assert "file-0\n" not in session.text("#text")
