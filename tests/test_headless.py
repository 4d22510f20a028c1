"""The front end without a screen: text, JSON, changes, the JSON contract."""

import dataclasses
import io
import json
import math
from collections.abc import Iterator

import pytest

from raftmon.headless.document import encode, snapshot_document
from raftmon.headless.follow import changes, follow, worst_firing
from raftmon.headless.report import make_console, print_report
from raftmon.model import Snapshot, Verdict
from raftmon.plain import plain
from tests import snapshots

CYCLE_KEYS = {"cycle", "run", "learning_rate", "verification_rate", "verified", "kept"}
NEXT_KEYS = {"cycle", "learning_rate", "authority", "because", "roll_back_to", "stop"}
RUN_KEYS = {"run", "state", "dialect", "cycle", "last_step", "verdict", "findings", "advice"}
FINDING_KEYS = {"rule", "state", "severity", "since_step", "readings"}
ADVICE_KEYS = {"parameter", "current", "proposed", "authority", "because", "text"}


def text_of(snapshot: Snapshot) -> str:
    file = io.StringIO()
    print_report(snapshot, make_console(file))
    return file.getvalue()


def test_the_json_contract() -> None:
    document = json.loads(encode(snapshot_document(snapshots.raft())))

    assert document["schema"] == "raftmon/snapshot@1"
    (campaign,) = document["campaigns"]
    assert {"name", "cycles", "best_cycle", "next"} <= campaign.keys()
    assert campaign["cycles"][0].keys() >= CYCLE_KEYS
    assert campaign["next"].keys() >= NEXT_KEYS
    live = next(run for run in document["runs"] if run["state"] == "live")
    assert live.keys() >= RUN_KEYS
    assert {"learning_rate", "confidence", "why"} <= live["verdict"].keys()
    assert live["findings"][0].keys() >= FINDING_KEYS
    assert live["advice"][0].keys() >= ADVICE_KEYS
    assert all({"where", "what", "remedy"} == problem.keys() for problem in document["problems"])


def test_json_is_strict_where_numbers_are_not_finite() -> None:
    run = snapshots.make_run(series={"loss": snapshots.make_series("loss", [1.0, math.nan])})
    written = encode(snapshot_document(dataclasses.replace(snapshots.empty(), runs=(run,))))

    assert "NaN" not in written
    assert json.loads(written)["runs"][0]["last"]["loss"] is None


def test_a_name_that_is_no_utf8_is_no_reason_to_fail() -> None:
    run = snapshots.make_run("bad\udcff/lr10²")
    document = json.loads(encode(snapshot_document(Snapshot(("runs",), (run,), (), (), version=1))))
    assert document["runs"][0]["run"] == "bad\ufffd/lr10²"


def test_the_report_says_what_matters() -> None:
    snapshot = snapshots.raft()
    told = text_of(snapshot)

    assert "Campaign models/raft" in told
    assert "◀ best" in told
    assert "LR too high" in told
    for run in snapshot.runs:
        assert run.run in told
        assert run.verdict.why.split()[0] in told
    for problem in snapshot.problems:
        assert problem.where in told
    assert all(line == line.rstrip() for line in told.splitlines())


def test_cycles_of_which_the_same_is_said_are_said_once() -> None:
    quiet = [snapshots.make_run(f"cycle_{n}/logs", campaign="raft", cycle=n, findings=(), advice=()) for n in (1, 2, 3)]
    undecided = Verdict("undecided", 0.33, "one cycle does not tell")
    runs = tuple(dataclasses.replace(run, verdict=undecided) for run in quiet)

    told = text_of(dataclasses.replace(snapshots.empty(), runs=runs))

    assert told.count("one cycle does not tell") == 1
    assert "cycle_1/logs … cycle_3/logs" in told


def test_names_from_files_are_never_markup() -> None:
    told = text_of(snapshots.hostile())

    for run in snapshots.hostile().runs:
        assert plain(run.run) in told
    followed = "\n".join(changes(None, snapshots.hostile()))
    for text in (told, followed):
        assert [line for line in text.split("\n") if not line.isprintable()] == []


def test_a_long_path_stays_on_one_line() -> None:
    problem = dataclasses.replace(snapshots.raft().problems[0], where="/data/" + "x" * 300)

    assert problem.where in text_of(dataclasses.replace(snapshots.empty(), problems=(problem,)))


class Scripted:
    """A source that hands out snapshots in turn."""

    def __init__(self, *found: Snapshot) -> None:
        self.left = list(found)
        self.waits = 0

    def poll(self) -> Snapshot:
        return self.left.pop(0) if len(self.left) > 1 else self.left[0]

    def wait(self, timeout: float) -> bool:
        self.waits += 1
        return True


def test_follow_yields_each_version_once() -> None:
    one, two = snapshots.empty(version=1), snapshots.raft(version=2)
    source = Scripted(one, one, two, two, two)
    looks: Iterator[bool] = iter([False, False, False, False, True])

    assert [snapshot.version for snapshot in follow(source, lambda _: next(looks), pause=lambda: None)] == [1, 2]
    assert source.waits == 4


def test_changes_are_told_once() -> None:
    first = list(changes(None, snapshots.raft()))

    assert any("cycle 3: 39.7% of 2992 verified" in line for line in first)
    assert any("learning rate too high" in line for line in first)
    assert any(" next: " in line for line in first)
    assert list(changes(snapshots.raft(), snapshots.raft(version=2))) == []


def test_a_finding_that_fires_and_resolves_is_told_both_times() -> None:
    before, fired = snapshots.make_run(), snapshots.make_finding()
    calm, firing = (
        dataclasses.replace(snapshots.empty(), runs=(dataclasses.replace(before, findings=findings),))
        for findings in ((), (fired,))
    )
    resolved = dataclasses.replace(fired, state="resolved")
    over = dataclasses.replace(snapshots.empty(), runs=(dataclasses.replace(before, findings=(resolved,)),))

    assert any(f"{fired.severity} {fired.rule} firing" in line for line in changes(calm, firing))
    assert any(f"{fired.rule} resolved" in line for line in changes(firing, over))


@pytest.mark.parametrize(("snapshot", "worst"), [(snapshots.empty(), None), (snapshots.raft(), "high")])
def test_worst_firing(snapshot: Snapshot, worst: str | None) -> None:
    assert worst_firing(snapshot) == worst
