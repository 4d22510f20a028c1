"""The finding on a run that stands still: when it fires and ends, what it says, what it leaves alone."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from rich.console import Console

from raftmon.advice.rulebook import SHIPPED_RULES, load_rules
from raftmon.advice.settings import Settings
from raftmon.errors import DocumentErrors
from raftmon.happenings import Ledger, is_news
from raftmon.headless.follow import changes, worst_firing
from raftmon.headless.report import print_report
from raftmon.model import Finding, RunView
from raftmon.monitor import Monitor
from raftmon.runs.watch import Changes
from raftmon.runs.writers import LocalProcesses
from raftmon.surroundings import Surroundings
from raftmon.tui.announce import news
from raftmon.tui.widgets.advice_panel import advice_lines
from tests.scripted import event, record, scalar_record, text
from tests.silent_job import TICK, World
from tests.test_monitor import Clock, FakeWatcher

RULE = "job-stalled"
TO_DO = "Look into the job's own log."


def finding(run: RunView) -> Finding:
    (found,) = (finding for finding in run.findings if finding.rule == RULE)
    return found


def printed(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def state(run: RunView) -> str:
    return finding(run).state


def test_a_paused_job_fires_and_is_resolved_when_it_goes_on(tmp_path: Path) -> None:
    world = World(tmp_path)
    assert state(world.open()) == "unknown"
    assert state(world.train(50)) == "inactive"
    world.process = "stopped"
    found = finding(world.pass_by(30.0))
    assert (found.state, found.severity, found.since_step) == ("firing", "high", 50)
    assert found.text.startswith("Its process (pid 812) is stopped; nothing written for over ")
    assert TO_DO in found.text

    world.process = "running"
    found = finding(world.train(20))
    assert (found.state, found.since_step) == ("resolved", 51)
    assert found.text.startswith("It stands still no longer. Before: its process (pid 812) is stopped")


def test_a_hanging_job_fires_again_after_it_went_on(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.open()
    world.train(50)
    assert state(world.pass_by(280.0)) == "inactive"
    assert state(world.pass_by(600.0)) == "firing"
    assert state(world.train(5)) == "resolved"
    assert finding(world.pass_by(7200.0)).since_step == 55


@pytest.mark.parametrize(("planned", "expected"), [(1000, "firing"), (None, "unknown")])
def test_a_crashed_job_fires_where_it_is_known_that_it_was_not_done(
    tmp_path: Path, planned: int | None, expected: str
) -> None:
    world = World(tmp_path, planned=planned)
    world.open()
    world.train(50)
    world.process = "gone"
    found = finding(world.pass_by(60.0))
    assert found.state == expected
    assert ("at step 50 of 1000" in found.text) == (planned is not None)
    assert bool(found.missing) == (planned is None)


def test_a_crashed_job_that_is_taken_up_again_is_resolved(tmp_path: Path) -> None:
    world = World(tmp_path, planned=1000)
    world.open()
    world.train(50)
    world.process = "gone"
    assert state(world.pass_by(600.0)) == "firing"
    world.process = "running"
    world.path = world.path.with_name(f"events.out.tfevents.{int(world.clock.now)}.here.999.0")
    assert state(world.train(30)) == "resolved"


def test_a_job_that_hung_and_was_ended_does_not_hang_any_more(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.open()
    world.train(50)
    assert state(world.pass_by(900.0)) == "firing"
    world.process = "gone"
    found = finding(world.pass_by(60.0))
    assert found.state == "resolved"
    assert found.text.startswith("Its process has ended.")


def test_a_job_of_another_host_that_never_goes_on_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raftmon.runs.standstill.GIVEN_UP_SECONDS", 900.0)
    world = World(tmp_path, host="there")
    world.open()
    world.train(50)
    assert state(world.pass_by(880.0)) == "firing"
    run = world.pass_by(60.0)
    assert (run.state, run.standstill, state(run)) == ("idle", None, "resolved")
    assert finding(run).text.startswith("It has said nothing for a week")
    assert state(world.pass_by(600.0)) == "resolved"
    assert world.train(5).state == "live"


@pytest.mark.parametrize("process", ["gone", "running"])
def test_a_finished_job_is_quiet(tmp_path: Path, process: str) -> None:
    world = World(tmp_path)
    world.rate = lambda step: 1e-3 * (1.0 - step / 60)
    world.open()
    world.train(60)
    world.process = "gone" if process == "gone" else "running"
    assert state(world.pass_by(7200.0)) == "inactive"


def test_a_job_with_slow_evaluations_is_quiet(tmp_path: Path) -> None:
    world, seen = World(tmp_path, step_seconds=2.0), set()
    world.open()
    for _ in range(4):
        seen.add(state(world.train(150, lambda step: 40.0 if step % 100 == 0 else 0.0)))
    assert seen == {"inactive"}


def test_a_gpu_that_idles_tells_it_sooner(tmp_path: Path) -> None:
    world = World(tmp_path, step_seconds=2.0)
    world.busy = 0.95
    world.open()
    world.train(50)
    world.busy, world.idle_since = 0.0, world.clock.now
    assert state(world.pass_by(170.0)) == "inactive"
    assert "no GPU has worked" in finding(world.pass_by(40.0)).text


def test_an_old_log_that_nobody_saw_growing_is_unknown(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.train(200)
    world.clock.now += 86_400.0
    run = world.open()
    assert state(run) == "unknown"
    assert finding(run).missing == ("a word of its end, or growth while it is watched",)


@pytest.mark.parametrize("jump", [86_400.0, -86_400.0])
def test_a_clock_that_jumps_fires_and_resolves_nothing(tmp_path: Path, jump: float) -> None:
    world = World(tmp_path)
    world.open()
    world.train(50)
    world.clock.now += jump
    assert state(world.look()) == "inactive"
    assert state(world.pass_by(900.0)) == "firing"
    world.clock.now -= jump
    assert state(world.pass_by(60.0)) == "firing"


def test_the_verdict_and_all_else_stay_as_they_are(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.open()
    world.train(100)
    before = world.pass_by(280.0)
    after = world.pass_by(900.0)
    assert (before.state, state(before), state(after)) == ("idle", "inactive", "firing")
    assert (after.verdict, after.advice) == (before.verdict, before.advice)
    assert {f.rule: f for f in after.findings if f.rule != RULE} == {
        f.rule: f for f in before.findings if f.rule != RULE
    }
    assert after.findings[0].rule == RULE


def test_the_settings_switch_it_off(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.train(1)
    settings, around = Settings(rules={RULE: {"enabled": False}}), Surroundings(world, world)
    world.monitor = Monitor([tmp_path], settings=settings, watcher=world.watcher, clock=world.clock, around=around)
    world.train(50)
    run = world.pass_by(900.0)
    assert run.stalled is not None
    assert RULE not in {finding.rule for finding in run.findings}


def test_it_is_said_once(tmp_path: Path) -> None:
    world, ledger = World(tmp_path), Ledger()
    world.open()
    world.train(50)
    world.pass_by(280.0)
    before = world.snapshot()
    ledger.take(before, world.clock.now)
    world.pass_by(900.0)
    stalled = world.snapshot()
    (told,) = filter(is_news, ledger.take(stalled, world.clock.now))
    assert (told.subject, told.state, told.severity) == (RULE, "firing", "high")
    assert worst_firing(stalled) == "high"
    assert len([line for line in changes(before, stalled) if "nothing written" in line.lower()]) == 1
    assert news(before, stalled) == []
    run = stalled.runs[0]
    console = Console(file=io.StringIO(), width=200)
    print_report(stalled, console)
    assert printed(console).lower().count("nothing written") == 1
    assert finding(run).title not in "\n".join(line.plain for line in advice_lines(run, None, 80))
    muted = advice_lines(run, None, 80, is_muted=lambda _, rule: rule == RULE)
    assert finding(run).title in "\n".join(line.plain for line in muted)

    world.train(5)
    ended = world.snapshot()
    (told,) = [one for one in ledger.take(ended, world.clock.now) if is_news(one) and one.subject == RULE]
    assert (told.subject, told.state) == (RULE, "resolved")
    assert news(stalled, ended) == []


def test_a_real_job_is_paused_goes_on_and_is_killed_before_its_planned_end(tmp_path: Path) -> None:
    processes, clock, watcher = LocalProcesses(), Clock(), FakeWatcher()
    clock.now = time.time()
    job = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    path = tmp_path / f"events.out.tfevents.{int(clock.now)}.{processes.host}.{job.pid}.0"
    plan = record(event([text("args/text_summary", json.dumps({"max_steps": 1000}))], wall_time=clock.now))
    path.write_bytes(plan + scalar_record("loss", 1.0, 0, clock.now))
    monitor = Monitor([tmp_path], watcher=watcher, clock=clock, around=Surroundings(processes))

    def after(seconds: float) -> Finding:
        for _ in range(round(seconds / TICK)):
            clock.now += TICK
            monitor.poll()
        return finding(monitor.poll().runs[0])

    def write(step: int) -> Finding:
        with path.open("ab") as file:
            file.write(scalar_record("loss", 1.0, step, clock.now))
        watcher.changes = Changes(frozenset({str(tmp_path)}), everything=False)
        return after(TICK)

    def reach(number: int, status: str) -> None:
        job.send_signal(number)
        while psutil.Process(job.pid).status() != status:
            os.sched_yield()

    try:
        assert {write(step).state for step in range(1, 8)} <= {"unknown", "inactive"}
        reach(signal.SIGSTOP, psutil.STATUS_STOPPED)
        assert after(20.0).text.startswith(f"Its process (pid {job.pid}) is stopped")
        reach(signal.SIGCONT, psutil.STATUS_SLEEPING)
        assert write(8).state == "resolved"
        reach(signal.SIGKILL, psutil.STATUS_ZOMBIE)
        assert after(20.0).text.startswith(f"Its process (pid {job.pid}) is gone, at step 8 of 1000")
    finally:
        job.kill()
        job.wait(10)


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("for: 0 points", "for: 3 points", "time alone moves it"),
        ("scenario: [any]", "scenario: [sft]", "any kind of training"),
        ("when: {", "when: {all: [{signal: loss.points, above: 1}, {", "mixes `loss.points`"),
    ],
)
def test_a_rule_that_time_moves_must_be_one_that_it_can_move(tmp_path: Path, old: str, new: str, what: str) -> None:
    written = (SHIPPED_RULES / f"{RULE}.yaml").read_text().replace(old, new)
    if "all: [" in new:
        written = written.replace("above: $standing}", "above: $standing}]}")
    path = tmp_path / f"{RULE}.yaml"
    path.write_text(written)
    with pytest.raises(DocumentErrors, match=what):
        load_rules(path, tested=False)
