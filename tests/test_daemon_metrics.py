"""What of a snapshot becomes a metric, and what leaves again."""

from __future__ import annotations

import dataclasses
import gzip
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import pytest

from raftmon.daemon.exported import MOST_LABEL, Exported, label, logdir_of
from raftmon.daemon.families import FAMILIES, PROCESS
from raftmon.daemon.health import Health
from raftmon.daemon.metrics import REUSE_SECONDS, Metrics
from raftmon.daemon.samples import steps_per_second
from raftmon.model import Advice, Problem, RunView, Snapshot, Standstill, Verdict
from tests.snapshots import raft_campaign
from tests.views import LOGDIR, make_finding, make_run, make_series

pytest.importorskip("prometheus_client", reason="needs the extra `metrics`")

NOW = 1_800_000_000.0
Key = tuple[str, frozenset[tuple[str, str]]]


class Clock:
    """Both clocks of a `Metrics`."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


def parsed(metrics: Metrics) -> dict[Key, float]:
    """Return all samples, as the strict parser of OpenMetrics reads them."""
    from prometheus_client.openmetrics import parser

    parse: Callable[[str], Iterable[Any]] = parser.text_string_to_metric_families
    text = metrics.page("application/openmetrics-text").body.decode()
    samples: dict[Key, float] = {}
    for family in parse(text):
        for sample in family.samples:
            key = sample.name, frozenset(sample.labels.items())
            assert key not in samples, f"twice: {key}"
            samples[key] = sample.value
    return samples


def of(samples: dict[Key, float], name: str, **labels: str) -> list[float]:
    return [value for (key, having), value in samples.items() if key == name and labels.items() <= dict(having).items()]


def snap(*runs: RunView, version: int = 1, **changes: Any) -> Snapshot:
    fields: dict[str, Any] = {"campaigns": (), "problems": (), "polled_at": NOW}
    return Snapshot((LOGDIR,), runs, version=version, **{**fields, **changes})


def live(name: str = "exp/a", **changes: Any) -> RunView:
    return make_run(name, **{"state": "live", "last_wall_time": NOW - 5, "findings": (), "advice": (), **changes})


def shown(*snapshots: Snapshot, clock: Clock | None = None, **arguments: Any) -> dict[Key, float]:
    clock = clock if clock is not None else Clock()
    metrics = Metrics(clock=clock, timer=clock, **arguments)
    for one in snapshots:
        metrics.take(one)
    return parsed(metrics)


def test_all_of_a_run() -> None:
    advice = Advice("learning_rate", 5e-5, 1.5e-5, "propose", ("loss-diverges",), "Lower it.")
    firing = make_finding("loss-diverges", severity="critical")
    explained = make_finding("loss-spikes", inhibited_by="loss-diverges")
    run = live(
        series={"learning_rate": make_series("learning_rate", [5e-5, 4e-5])},
        last_step=20,
        clock=(np.array([1, 10, 20]), np.array([NOW - 200.0, NOW - 65.0, NOW - 5.0])),
        verdict=Verdict("too_high", 0.83, "it climbs"),
        findings=(firing, explained),
        advice=(Advice("checkpoint", None, None, "show", (), "Go back."), advice),
    )
    samples = shown(snap(run))
    where = {"logdir": LOGDIR, "run": "exp/a"}
    assert of(samples, "raftmon_run_state", **where, state="live") == [1]
    assert of(samples, "raftmon_run_last_step", **where) == [20]
    assert of(samples, "raftmon_run_last_point_timestamp_seconds", **where) == [NOW - 5]
    assert of(samples, "raftmon_run_steps_per_second", **where) == [pytest.approx(10 / 60)]
    assert of(samples, "raftmon_run_learning_rate", **where) == [4e-5]
    assert of(samples, "raftmon_run_recommended_learning_rate", **where) == [1.5e-5]
    assert of(samples, "raftmon_run_verdict_confidence", **where, verdict="too_high") == [0.83]
    assert of(samples, "raftmon_run_verdict_confidence") == [0.83]
    assert of(samples, "raftmon_finding_firing", **where, rule="loss-diverges", severity="critical") == [1]
    assert len(of(samples, "raftmon_finding_firing")) == 1


def test_what_is_not_known_or_no_number_is_left_out() -> None:
    series = {"learning_rate": make_series("learning_rate", [1e-4, float("nan")])}
    run = live(series=series, last_step=None, last_wall_time=None, clock=None)
    samples = shown(snap(run))
    for name in ("last_step", "last_point_timestamp_seconds", "steps_per_second", "learning_rate"):
        assert of(samples, f"raftmon_run_{name}") == []
    assert of(samples, "raftmon_run_state") == [1]


def test_a_campaign() -> None:
    run = live("models/raft/cycle_4/logs", campaign="models/raft", cycle=4)
    samples = shown(snap(run, campaigns=(raft_campaign(),)))
    where = {"logdir": LOGDIR, "campaign": "models/raft"}
    assert of(samples, "raftmon_campaign_verification_ratio", **where, cycle="3") == [0.397]
    assert len(of(samples, "raftmon_campaign_verification_ratio", **where)) == 4
    assert of(samples, "raftmon_campaign_newest_verification_ratio", **where) == [0.341]
    assert of(samples, "raftmon_campaign_best_cycle", **where) == [3]
    assert of(samples, "raftmon_campaign_newest_cycle", **where) == [4]
    assert of(samples, "raftmon_campaign_next_learning_rate", **where) == [2.61e-5]
    assert of(samples, "raftmon_campaign_advice", **where, advice="roll_back") == [1]
    assert of(samples, "raftmon_finding_firing", **where, rule="cycle-rate-falls", severity="medium") == [1]


def test_a_campaign_stays_for_a_day_after_its_last_change() -> None:
    old = live("models/raft/cycle_4/logs", campaign="models/raft", state="idle", last_wall_time=NOW - 2e5)
    one, other = raft_campaign(), raft_campaign()
    name, clock = "raftmon_campaign_best_cycle", Clock()
    copy = dataclasses.replace(one)
    assert of(shown(snap(old, campaigns=(one,))), name) == []
    assert of(shown(snap(old, campaigns=(one,)), snap(old, campaigns=(copy,), version=2)), name) == []
    assert of(shown(snap(old, campaigns=(one,)), snap(old, campaigns=(other,), version=2)), name) == [3]
    metrics = Metrics(clock=clock, timer=clock)
    metrics.take(snap(old, campaigns=(one,)))
    metrics.take(snap(old, campaigns=(other,), version=2))
    clock.now += 90_000
    metrics.take(snap(old, campaigns=(other,), version=2))
    assert of(parsed(metrics), name) == []


def test_a_run_that_ended_is_seen_once_more_and_leaves() -> None:
    clock = Clock()
    metrics = Metrics(clock=clock, timer=clock)
    metrics.take(snap(live(last_wall_time=NOW - 5000)))
    assert of(parsed(metrics), "raftmon_run_state", state="live") == [1]
    clock.now += 10
    metrics.take(snap(live(state="idle", last_wall_time=NOW - 5000), version=2))
    samples = parsed(metrics)
    assert of(samples, "raftmon_run_state", state="idle") == [1]
    assert of(samples, "raftmon_run_steps_per_second") == [0]
    clock.now += 601
    metrics.take(snap(live(state="idle", last_wall_time=NOW - 5000), version=2))
    samples = parsed(metrics)
    assert of(samples, "raftmon_run_state") == []
    assert of(samples, "raftmon_runs", state="idle") == [1]


@pytest.mark.parametrize(
    ("state", "standstill", "age", "exported"),
    [
        ("live", "stalled", 1e6, True),
        ("idle", "stalled", 1e6, True),
        ("idle", "cut_off", 80_000, True),
        ("idle", "cut_off", 90_000, False),
        ("idle", "ended", 500, True),
        ("finished", None, 500, True),
        ("finished", None, 700, False),
        ("idle", None, 700, False),
        ("empty", None, None, False),
    ],
)
def test_which_runs_are_exported(state: Any, standstill: Any, age: float | None, exported: bool) -> None:
    still = Standstill(standstill, "nothing written") if standstill is not None else None
    run = live(state=state, standstill=still, last_wall_time=NOW - age if age is not None else None)
    samples = shown(snap(run))
    assert of(samples, "raftmon_run_state", state=standstill or state) == [1] * exported
    assert of(samples, "raftmon_runs", state=standstill or state) == [1]


def test_too_many_runs_are_counted_not_exported() -> None:
    runs = [live(f"r{n}") for n in range(7)] + [live("f", state="finished")]
    samples = shown(snap(*runs), exported=Exported(most_runs=5))
    assert len(of(samples, "raftmon_run_state")) == 5
    assert of(samples, "raftmon_runs_omitted") == [3]
    assert of(samples, "raftmon_runs", state="live") == [7]


def test_runs_that_go_on_are_exported_before_those_that_stand_still() -> None:
    stalled = [live(f"a{n}", standstill=Standstill("stalled", "nothing written")) for n in range(3)]
    ended = live("a9", state="finished")
    samples = shown(snap(*stalled, live("b"), live("c"), ended), exported=Exported(most_runs=3))
    assert of(samples, "raftmon_run_state", state="live") == [1, 1]
    assert of(samples, "raftmon_run_state", state="stalled") == [1]


def test_counters_grow_whatever_the_source_does() -> None:
    lags = (0.05, 0.3, 400.0)
    first = snap(version=9, events_read=100, bytes_read=5000, lags=lags)
    same = snap(version=9, events_read=100, bytes_read=5000, lags=lags, problems=(Problem("a", "b", "c"),))
    anew = snap(version=1, events_read=10, bytes_read=500, lags=(0.05,))
    samples = shown(first, same, anew)
    assert of(samples, "raftmon_events_read_total") == [110]
    assert of(samples, "raftmon_bytes_read_total") == [5500]
    assert of(samples, "raftmon_snapshots_total") == [3]
    assert of(samples, "raftmon_lag_seconds_count") == [4]
    assert of(samples, "raftmon_lag_seconds_bucket", le="0.1") == [2]
    assert of(samples, "raftmon_lag_seconds_bucket", le="0.5") == [3]
    assert of(samples, "raftmon_lag_seconds_bucket", le="300.0") == [3]
    assert of(samples, "raftmon_lag_seconds_sum") == [pytest.approx(400.4)]


def test_of_the_daemon_itself() -> None:
    snapshot = snap(problems=(Problem("a", "b", "c"),))
    samples = shown(
        snapshot, health=lambda: Health(True, False, "reading"), troubles=lambda: {"journal": 2, "notify": 0}
    )
    assert of(samples, "raftmon_live") == [1]
    assert of(samples, "raftmon_ready") == [0]
    assert of(samples, "raftmon_problems") == [1]
    assert of(samples, "raftmon_trouble", part="journal") == [2]
    assert of(samples, "raftmon_trouble", part="notify") == [0]
    assert of(samples, "process_cpu_seconds_total") != []
    assert of(shown(), "raftmon_snapshots_total") == [0]


def test_names_and_labels_are_those_of_the_catalogue() -> None:
    run = live(
        series={"learning_rate": make_series("learning_rate", [5e-5])},
        clock=(np.array([1, 10]), np.array([1.0, 2.0])),
        advice=(Advice("learning_rate", 5e-5, 1.5e-5, "propose", (), ""),),
        findings=(make_finding(),),
        campaign="models/raft",
    )
    snapshot = snap(run, live("models/raft/cycle_1", campaign="models/raft"), campaigns=(raft_campaign(),))
    samples = shown(snapshot, health=lambda: Health(True, True, ""), troubles=lambda: {"journal": 0})
    seen: dict[str, set[str]] = {}
    for name, labels in samples:
        for ending in ("_bucket", "_count", "_sum"):
            name = name.removesuffix(ending) if name.startswith("raftmon_lag") else name
        seen.setdefault(name, set()).update(dict(labels).keys() - {"le"})
    assert {family.stored: set(family.labels) for family in FAMILIES} == {
        name: labels for name, labels in seen.items() if name not in PROCESS
    }
    assert seen.keys() >= set(PROCESS)


@pytest.mark.parametrize(
    "names",
    [
        ("a\nb", "a\tb", 'a"b\\', "a\udc80b", "a\udc81b", "a\0b"),
        ("x" * 5000 + "1", "y" + "x" * 4999 + "1", "ü" * 201, "."),
    ],
)
def test_any_name_becomes_a_label_of_its_own(names: Sequence[str]) -> None:
    samples = shown(snap(*(live(name) for name in names)))
    found = {dict(labels)["run"] for name, labels in samples if name == "raftmon_run_state"}
    assert len(found) == len(names)
    assert all(len(one) <= MOST_LABEL and one.encode() for one in found)


def test_labels_of_usual_names_are_the_names() -> None:
    assert label("exp 7/läuft [1]") == "exp 7/läuft [1]"
    assert logdir_of("/data/runs/exp/a", "exp/a") == "/data/runs"
    assert logdir_of("/data/runs", ".") == "/data/runs"
    assert logdir_of("s3://bucket/raft/a", "a") == "s3://bucket/raft"
    assert logdir_of("/a", "a") == "/"


def test_pace_is_that_of_the_last_minute_by_the_logs_own_clock() -> None:
    steps, times = np.arange(0, 200, 10), np.arange(0.0, 200.0, 10.0)
    assert steps_per_second(live(clock=(steps, times))) == 1.0
    times[-7:] = times[-7] + 5 * np.arange(7)
    assert steps_per_second(live(clock=(steps, times))) == pytest.approx(90 / 60)
    assert steps_per_second(live(clock=(steps[:2], np.array([0.0, 400.0])))) == 10 / 400
    assert steps_per_second(live(clock=(steps[:2], np.array([5.0, 5.0])))) is None
    assert steps_per_second(live(clock=(steps[:1], times[:1]))) is None


def test_formats_and_compression() -> None:
    metrics = Metrics()
    metrics.take(snap(live()))
    for accept, kind, last in (
        ("", "text/plain", ""),
        ("text/html,*/*", "text/plain", ""),
        ("application/openmetrics-text; version=banana", "", ""),
        (
            "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5",
            "application/openmetrics-text",
            "# EOF\n",
        ),
    ):
        page = metrics.page(accept)
        assert page.content_type.startswith(kind)
        assert page.body.decode().endswith(last)
        packed = metrics.page(accept, packed=True)
        assert packed.packed
        assert gzip.decompress(packed.body) == page.body


def test_who_asks_again_at_once_gets_the_same_text() -> None:
    clock = Clock()
    metrics = Metrics(clock=clock, timer=clock)
    metrics.take(snap(live()))
    first = metrics.page()
    metrics.take(snap(live(), live("other"), version=2))
    assert metrics.page() is first
    clock.now += REUSE_SECONDS
    assert b'run="other"' in metrics.page().body


@pytest.mark.parametrize(("cost", "reused"), [(0.0, 0.5), (0.1, 2.0), (60.0, 10.0)])
def test_what_costs_much_is_rendered_seldom_but_not_for_ever(cost: float, reused: float) -> None:
    clock = Clock()

    def troubles() -> dict[str, int]:
        clock.now += cost
        return {"journal": 0}

    metrics = Metrics(troubles=troubles, timer=clock)
    first = metrics.page()
    clock.now += reused - 0.01
    assert metrics.page() is first
    clock.now += 0.02
    assert metrics.page() is not first
