"""What is run when a rule begins to fire, and what is not."""

from __future__ import annotations

import json
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from raftmon.daemon.actions import Actions, OnFinding, read_action
from raftmon.errors import UsageError
from raftmon.happenings import Happening
from tests.receivers import PATIENCE, finding

RULES = ("loss-diverges", "loss-oscillates", "plateau")


class Notes:
    """The journal's lines on actions."""

    def __init__(self) -> None:
        self.lines: list[Happening] = []
        self.changed = threading.Condition()

    def __call__(self, line: Happening) -> None:
        with self.changed:
            self.lines.append(line)
            self.changed.notify_all()

    def states(self) -> list[str]:
        return [line.state for line in self.lines]

    def until(self, *states: str) -> None:
        """Wait until these are the states of all lines, in any order."""
        with self.changed:
            assert self.changed.wait_for(lambda: sorted(self.states()) == sorted(states), PATIENCE), self.states()


class Clock:
    """Time that a test lets pass."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def acting(command: str = "true", rule: str = "loss-*", **options: Any) -> tuple[Actions, Notes]:
    notes = Notes()
    return Actions([read_action(f"{rule}:{command}", RULES)], notes, now=lambda: 7.0, **options), notes


def test_a_rule_and_a_command_are_read() -> None:
    assert read_action("loss-diverges: sh -c 'echo a:b'", RULES) == OnFinding("loss-diverges", ("sh", "-c", "echo a:b"))


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("loss-diverge:true", "Did you mean `loss-diverges`"),
        ("lost-*:true", "there is no rule `lost-*`"),
        ("true", "is not RULE:CMD"),
        (":true", "is not RULE:CMD"),
        ("plateau:", "names no command"),
    ],
)
def test_what_is_no_action_is_refused(value: str, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_action(value, RULES)
    assert says in str(caught.value)


def test_it_runs_when_a_finding_begins_to_fire_and_is_in_the_journal() -> None:
    actions, notes = acting()
    actions.take(None, [finding()])
    notes.until("started", "done")
    actions.close(PATIENCE)
    assert notes.lines[0].kind == "action"
    assert (notes.lines[0].at, notes.lines[0].subject, notes.lines[0].path) == (
        7.0,
        "loss-diverges",
        "/data/cycle_3/logs",
    )
    assert [line.text for line in notes.lines] == ["true", "true: exit status 0"]
    assert actions.problems() == ()


def test_nothing_runs_for_what_does_not_begin_now_or_is_muted_or_of_another_rule() -> None:
    actions, notes = acting(is_muted=lambda happening: happening.name == "muted")
    states = ("pending", "inhibited", "resolved", "inactive", "gone")
    actions.take(None, [finding(state=state) for state in states])
    actions.take(None, [finding(late=True), finding(run="muted"), finding("plateau"), finding(kind="advice")])
    actions.close(PATIENCE)
    assert notes.lines == []


def test_a_dry_run_says_what_it_would_run_and_runs_nothing(tmp_path: Path) -> None:
    actions, notes = acting(f"touch {tmp_path}/ran", dry_run=True)
    actions.take(None, [finding()])
    actions.close(PATIENCE)
    assert [(line.state, line.text) for line in notes.lines] == [("dry-run", f"would run touch {tmp_path}/ran")]
    assert not (tmp_path / "ran").exists()


def test_a_cooldown_for_each_run_and_rule() -> None:
    clock = Clock()
    actions, notes = acting(dry_run=True, clock=clock, cooldown=3600.0)
    for now, run, rule in (
        (0, "a", "loss-diverges"),
        (10, "a", "loss-diverges"),
        (20, "b", "loss-diverges"),
        (30, "a", "loss-oscillates"),
        (3601, "a", "loss-diverges"),
    ):
        clock.now = now
        actions.take(None, [finding(rule, run)])
    assert notes.states() == ["dry-run", "skipped", "dry-run", "dry-run", "dry-run"]
    assert notes.lines[1].text == "true: it ran before, and may again in 3590 s"


def test_no_more_than_some_a_minute_and_one_line_on_the_others() -> None:
    clock = Clock()
    actions, notes = acting(dry_run=True, clock=clock, most=10)
    actions.take(None, [finding(run=f"run_{number}") for number in range(10_000)])
    assert notes.states() == ["dry-run"] * 10 + ["skipped"]
    assert notes.lines[-1].text == "too many at once: true, and 9989 further actions"
    assert [problem.where for problem in actions.problems()] == ["--on-finding"]
    clock.now = 4000.0
    actions.take(None, [finding(run="run_50")])
    assert notes.states()[-1] == "dry-run"
    assert actions.problems() == ()


def test_hostile_values_reach_the_program_as_data_alone(tmp_path: Path) -> None:
    run = "$(touch pwned); `touch pwned` ' \" \n--flag"
    source = (
        "import json, os, sys\n"
        f"with open({str(tmp_path / 'told')!r}, 'w') as file:\n"
        "    values = {name: value for name, value in os.environ.items() if name.startswith('RAFTMON_')}\n"
        "    json.dump([sys.argv[1:], values, json.load(sys.stdin)], file)\n"
    )
    (tmp_path / "act.py").write_text(source)
    notes = Notes()
    action = OnFinding("loss-diverges", (sys.executable, "-S", str(tmp_path / "act.py"), "stop"))
    actions = Actions([action], notes, secrets=["RAFTMON_TOKEN"], environment={"RAFTMON_TOKEN": "sEcReT"})
    actions.take(None, [finding(run=run)])
    notes.until("started", "done")
    actions.close(PATIENCE)
    words, values, message = json.loads((tmp_path / "told").read_text())
    assert words == ["stop"]
    assert values == {
        "RAFTMON_RUN": run,
        "RAFTMON_RULE": "loss-diverges",
        "RAFTMON_PATH": f"/data/{run}",
        "RAFTMON_SEVERITY": "high",
        "RAFTMON_STEP": "120",
    }
    assert message["schema"] == "raftmon/action@1"
    assert message["finding"]["run"] == run


def test_a_failure_is_in_the_journal_and_a_problem_until_it_works() -> None:
    actions, notes = acting("sh -c 'test $RAFTMON_RUN = good || { echo no such job; exit 2; }'")
    actions.take(None, [finding(run="bad")])
    notes.until("started", "failed")
    assert [problem.what for problem in actions.problems()] == ["`sh` failed: exit status 2: no such job"]
    actions.take(None, [finding(run="good")])
    notes.until("started", "failed", "started", "done")
    assert actions.problems() == ()
    actions.close(PATIENCE)


def test_one_that_takes_too_long_is_ended() -> None:
    actions, notes = acting("sleep 100", seconds=0.05)
    actions.take(None, [finding()])
    notes.until("started", "timed-out")
    assert notes.lines[-1].text == "sleep 100: ended, as it ran longer than 0.05 s"
    actions.close(PATIENCE)


def test_a_slow_one_does_not_keep_another_from_running(tmp_path: Path) -> None:
    notes = Notes()
    wait = f"while [ ! -e {tmp_path}/go ]; do sleep 0.01; done"
    slow, quick = OnFinding("loss-diverges", ("sh", "-c", wait)), OnFinding("plateau", ("true",))
    actions = Actions([slow, quick], notes)
    actions.take(None, [finding(), finding("plateau")])
    notes.until("started", "started", "done")
    assert [line.subject for line in notes.lines if line.state == "done"] == ["plateau"]
    (tmp_path / "go").touch()
    notes.until("started", "started", "done", "done")
    actions.close(PATIENCE)
    assert [line.subject for line in notes.lines if line.state == "done"] == ["plateau", "loss-diverges"]


def test_at_the_end_what_runs_is_ended_and_what_waits_is_not_run() -> None:
    actions, notes = acting("sleep 100")
    actions.take(None, [finding(run=f"run_{number}") for number in range(6)])
    notes.until(*["started"] * 4)
    actions.close(0.4)
    notes.until(*["started"] * 4, *["timed-out"] * 4, *["skipped"] * 2)
    assert {line.text for line in notes.lines if line.state == "skipped"} == {"sleep 100: the daemon ended"}
