"""What the screens say of runs that stand still, and of the GPUs."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console

from raftmon.headless.document import snapshot_document
from raftmon.headless.follow import changes, follow
from raftmon.headless.report import print_report
from raftmon.model import GpuView, RunView, Snapshot, Standstill
from raftmon.tui.announce import halts
from raftmon.tui.gpu_text import gpu_texts
from raftmon.tui.look import Look, as_ascii
from raftmon.tui.text import STANDSTILLS, STATES, state_of
from raftmon.tui.widgets.run_columns import COLUMNS
from raftmon.tui.widgets.standstill_lines import standstill_lines
from raftmon.tui.widgets.status_bar import Status, StatusBar, status_line
from tests import snapshots
from tests.tui_session import LARGE, MEDIUM, SMALL, running

WHY = "nothing written for over 10 min, usually every 20 s; its process (pid 812) is still there"
STALLED = Standstill("stalled", WHY)


def gpu(index: int = 0, **changes: Any) -> GpuView:
    fields: dict[str, Any] = {
        "name": "NVIDIA H100 80GB HBM3",
        "utilisation": 0.97,
        "memory_used": 61_200_000_000,
        "memory_total": 85_520_809_984,
        "power": 410.0,
        "temperature": 71.0,
        **changes,
    }
    return GpuView(index, **fields)


def halted(still: Standstill | None = STALLED, version: int = 1, **changes: Any) -> Snapshot:
    """The RAFT campaign, whose live cycle stands still."""
    taken = snapshots.raft(version)
    return replace(taken, runs=(replace(taken.runs[0], standstill=still), *taken.runs[1:]), **changes)


def test_every_state_has_a_word_and_a_sign_of_its_own_that_fit() -> None:
    entries = [*STATES.values(), *STANDSTILLS.values()]
    width = next(column.width for column in COLUMNS if column.title == "state")
    assert len({glyph for glyph, _, _ in entries}) == len({word for _, word, _ in entries}) == len(entries)
    assert max(len(word) for _, word, _ in entries) <= width
    assert len({as_ascii(glyph) for glyph, _, _ in entries}) == len(entries)
    assert all(cell_len(glyph) == 1 for glyph, _, _ in entries)


def test_what_stands_still_is_said_instead_of_the_state() -> None:
    run = snapshots.make_run(state="idle")
    assert state_of(run)[1] == "idle"
    assert state_of(replace(run, standstill=STALLED))[1] == "stalled"


@pytest.mark.parametrize("width", [30, 38, 60, 98])
def test_the_evidence_is_wrapped_into_the_panel(width: int) -> None:
    run = snapshots.make_run(state="idle", standstill=STALLED)
    lines = standstill_lines(run, width)
    assert all(line.cell_length <= width for line in lines)
    assert " ".join(" ".join(line.plain for line in lines).split()) == f"◌ STALLED N{WHY[1:]}"
    assert standstill_lines(snapshots.make_run(), width) == standstill_lines(None, width) == []


@pytest.mark.parametrize(
    ("gpus", "texts"),
    [
        ([], []),
        (
            [gpu()],
            [
                "GPU NVIDIA H100 80GB HBM3  97%  57/80 GiB  410 W  71°C",
                "GPU 97%  57/80 GiB  410 W  71°C",
                "GPU 97%  57/80 GiB",
                "GPU 97%",
            ],
        ),
        ([GpuView(0, "Radeon")], ["GPU Radeon  –", "GPU –"]),
        ([gpu(utilisation=None, power=None)], ["GPU NVIDIA H100 80GB HBM3  –  57/80 GiB  71°C"]),
        (
            [gpu(), gpu(1, utilisation=0.0, temperature=75.0)],
            ["2 GPUs NVIDIA H100 80GB HBM3  97 0%  max 57/80 GiB  820 W"],
        ),
        ([gpu(), gpu(1, name="A30", utilisation=None)], ["2 GPUs  97 –%  max 57/80 GiB  820 W  max 71°C"]),
        (
            [gpu(index, utilisation=share) for index, share in enumerate([0.97] * 7 + [0.0])],
            ["8 GPUs NVIDIA H100 80GB HBM3  mean 85% (0–97)  max 57/80 GiB  3.3 kW  max 71°C"],
        ),
        ([gpu(index) for index in range(8)], ["8 GPUs NVIDIA H100 80GB HBM3  97% each  max 57/80 GiB  3.3 kW"]),
        (
            [gpu(index, utilisation=0.5 if index else None) for index in range(5)],
            ["5 GPUs NVIDIA H100 80GB HBM3  mean 50% (50–50, 1 unknown)"],
        ),
        ([gpu(index, utilisation=None) for index in range(5)], ["5 GPUs NVIDIA H100 80GB HBM3  –  max"]),
        (
            [gpu(memory_used=450_000_000, memory_total=8 * 10**9, name="a\x1b[31m")],
            ["GPU a\ufffd[31m  97%  0.4/7.5 GiB"],
        ),
    ],
)
def test_gpus_in_one_line(gpus: list[GpuView], texts: list[str]) -> None:
    said = gpu_texts(gpus)
    assert len(said) >= len(texts)
    assert all(text.startswith(begin) for text, begin in zip(said, texts, strict=False))
    assert [cell_len(text) for text in said] == sorted((cell_len(text) for text in said), reverse=True)


@pytest.mark.parametrize("count", [1, 4, 8])
@pytest.mark.parametrize("width", [80, 120, 200])
def test_the_status_line_has_room_for_the_gpus(width: int, count: int) -> None:
    gpus = tuple(gpu(index, utilisation=0.9 + index / 100) for index in range(count))
    status = Status.of("raftmon", halted(gpus=gpus), paused=False, waiting=False, error="")
    line = status_line(status, width)
    assert line.cell_length == width
    assert ("GPU 90%" if count == 1 else f"{count} GPUs") in line.plain.replace("NVIDIA H100 80GB HBM3  ", "")
    assert "◌ 1 stalled" in line.plain
    assert " live" not in line.plain  # a stalled run is not counted twice
    assert "/data/" in line.plain or width == 80
    assert ("°C" in line.plain) == (width == 200 or (width == 120 and count == 1))


def test_without_room_the_gpus_go_before_the_rest() -> None:
    status = Status.of("raftmon", halted(gpus=(gpu(),)), paused=True, waiting=True, error="it broke")
    assert "GPU" not in status_line(status, 60).plain
    assert "1 stalled" in status_line(status, 110).plain


@pytest.mark.parametrize("size", [SMALL, MEDIUM, LARGE])
async def test_the_screen_says_it_with_word_sign_and_reason(size: tuple[int, int]) -> None:
    async with running(halted(gpus=(gpu(),)), size=size) as session:
        assert "◌ 1 stalled" in session.text(StatusBar)
        assert "GPU" in session.text(StatusBar)
        row = session.text("#runs").splitlines()[1]
        assert "◌" in row
        assert ("stalled" in row) == (size != SMALL)
        assert "◌ STALLED  Nothing written for" in session.text("#advice")
        assert session.selected() == "models/raft/cycle_4/logs"


async def test_a_run_that_stops_rings_once_and_one_that_goes_on_does_not() -> None:
    async with running(halted(None)) as session:
        notices = session.app._notifications
        await session.push(halted(version=2))
        assert [n.title for n in notices] == ["models/raft/cycle_4/logs: stalled"]
        assert [n.message for n in notices] == [f"N{WHY[1:]}"]
        await session.push(halted(Standstill("stalled", "nothing written for over 20 min"), version=3))
        await session.push(halted(None, version=4))
        assert len(notices) == 1


async def test_quiet_is_quiet() -> None:
    async with running(halted(None), look=Look(quiet=True)) as session:
        await session.push(halted(version=2))
        assert len(session.app._notifications) == 0


def names(before: Snapshot | None, after: Snapshot) -> list[str]:
    return [run.run for run, _ in halts(before, after)]


def test_only_what_begins_before_our_eyes_and_is_grave_is_news() -> None:
    cut_off, ended = Standstill("cut_off", "gone"), Standstill("ended", "over")
    ours = ["models/raft/cycle_4/logs"]
    assert names(halted(None), halted()) == ours
    assert names(halted(), halted(cut_off)) == ours
    assert names(halted(), halted(ended)) == []
    assert names(None, halted()) == []
    assert names(replace(halted(None), backfilling=True), halted()) == []
    assert names(replace(halted(None), runs=()), halted()) == []


async def test_a_snapshot_that_differs_in_gpus_alone_is_drawn() -> None:
    first = halted(None, gpus=(gpu(),))
    async with running(first) as session:
        await session.push(replace(first, version=2, gpus=(gpu(utilisation=0.03),)))
        assert "GPU" in session.text(StatusBar)
        assert "3%" in session.text(StatusBar)


def test_the_cursor_stays_on_a_run_that_stalls() -> None:
    run: RunView = snapshots.raft().runs[0]
    from raftmon.tui.widgets.runs_table import _newest

    later = replace(run, path="/later", last_wall_time=9e9, state="live")
    assert _newest([replace(run, state="idle", standstill=STALLED), later], 0) == 0
    assert _newest([replace(run, state="idle"), later], 0) == 1


class Script:
    """Hands out snapshots one after the other."""

    def __init__(self, *taken: Snapshot) -> None:
        self.taken = list(taken)

    def poll(self) -> Snapshot:
        return self.taken.pop(0)

    def wait(self, timeout: float) -> bool:
        return True


def test_programs_are_told_too() -> None:
    document = snapshot_document(halted(gpus=(gpu(),)))
    assert document["runs"][0]["stalled"] == WHY
    assert document["runs"][0]["standstill"] == {"kind": "stalled", "text": WHY}
    assert (document["runs"][1]["stalled"], document["runs"][1]["standstill"]) == (None, None)
    assert document["gpus"][0]["utilisation"] == 0.97
    cut_off = snapshot_document(halted(Standstill("cut_off", "gone")))["runs"][0]
    assert (cut_off["stalled"], cut_off["standstill"]["kind"]) == (None, "cut_off")


def test_a_line_says_that_a_run_stands_still_and_not_again_while_the_span_grows() -> None:
    longer = halted(Standstill("stalled", "nothing written for over 20 min"))
    assert [line for line in changes(halted(None), halted()) if "stalled" in line] == [
        f"models/raft/cycle_4/logs step 12: stalled: {WHY}"
    ]
    assert list(changes(halted(), longer)) == []


def test_what_gpus_do_is_no_news_for_a_log() -> None:
    first = halted(None, gpus=(gpu(),))
    busier = replace(first, version=2, gpus=(gpu(utilisation=0.5),))
    later = replace(busier, version=3, runs=(*first.runs,)[:1])
    script = Script(first, busier, later)
    assert [s.version for s in follow(script, lambda _: not script.taken, pause=lambda: None)] == [1, 3]


def test_the_report_says_it_in_the_place_of_the_state() -> None:
    file = io.StringIO()
    print_report(halted(), Console(width=200, file=file))
    assert f"hf · stalled ({WHY}) · step 12" in " ".join(file.getvalue().split())
