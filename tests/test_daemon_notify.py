"""Notifications to real servers: they arrive once, and one server's trouble is nobody else's."""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from raftmon.daemon.delivery import Delivery, Undelivered
from raftmon.daemon.grouping import Group, Grouping
from raftmon.daemon.notify import Notifier, NotifyExec, Pacing
from raftmon.daemon.pace import Backoff, TokenBucket
from raftmon.daemon.targets import read_targets
from raftmon.model import Problem
from tests.receivers import PATIENCE, finding, receiving, refusing

QUICK = Pacing(window=0.0, first_pause=0.01, longest_pause=0.02)


def until(holds: Callable[[], Any]) -> None:
    """Wait until something holds that another thread brings about, and that nobody tells of."""
    end = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < end
        threading.Event().wait(0.005)


def whats(problems: Any) -> list[str]:
    return [problem.what for problem in problems]


class TestServers:
    """Against HTTP servers of their own."""

    @pytest.fixture(autouse=True)
    def apprise(self) -> None:
        pytest.importorskip("apprise", reason="needs raftmon[notify]")

    def test_firing_and_resolved_arrive(self) -> None:
        with receiving() as receiver:
            notifier = Notifier(read_targets([receiver.url]).targets, pacing=QUICK)
            notifier.take(None, [finding()])
            receiver.until(lambda: len(receiver.messages) == 1)
            notifier.take(None, [finding(state="resolved")])
            receiver.until(lambda: len(receiver.messages) == 2)
            notifier.close(PATIENCE)
        first, second = receiver.messages
        assert first["title"] == "raftmon: HIGH: Loss climbs away from its lowest point · cycle_3/logs"
        assert first["type"] == "failure"
        assert "(loss-diverges, step 120)\n  The loss has climbed 4.6 sigma" in first["message"]
        assert second["title"].startswith("raftmon: resolved: ")
        assert second["type"] == "success"

    def test_below_the_least_severity_or_muted_nothing_is_sent(self) -> None:
        with receiving() as receiver:
            notifier = Notifier(
                read_targets([receiver.url]).targets,
                at_least="high",
                is_muted=lambda happening: happening.name == "muted",
                pacing=QUICK,
            )
            notifier.take(None, [finding(severity="medium"), finding(run="muted"), finding(kind="advice")])
            notifier.take(None, [finding(run="loud", severity="critical")])
            receiver.until(lambda: receiver.tried == 1)
            notifier.close(PATIENCE)
        assert [message["title"].rpartition(" ")[2] for message in receiver.messages] == ["loud"]

    def test_it_is_tried_again_after_a_500_and_arrives_once(self) -> None:
        with receiving(answers=[500, 500, 200]) as receiver:
            notifier = Notifier(read_targets([receiver.url]).targets, pacing=QUICK)
            notifier.take(None, [finding()])
            receiver.until(lambda: receiver.tried == 3)
            until(lambda: not notifier.problems())
            notifier.close(PATIENCE)
        assert len(receiver.messages) == 1

    def test_what_goes_wrong_is_said_and_ends_with_success(self) -> None:
        with receiving(answers=[503]) as receiver:
            pacing = Pacing(window=0.0, first_pause=0.2, longest_pause=0.2)
            notifier = Notifier(read_targets([receiver.url]).targets, pacing=pacing)
            notifier.take(None, [finding()])
            until(notifier.problems)
            (problem,) = notifier.problems()
            assert problem.where == f"notify json://127.0.0.1:{receiver.port}"
            assert problem.what == "answered 503 Service Unavailable"
            until(lambda: not notifier.problems())
            notifier.close(PATIENCE)

    def test_a_server_that_hangs_and_one_that_refuses_delay_nobody(self) -> None:
        with receiving(hangs=True) as hanging, refusing() as port, receiving() as well:
            urls = [hanging.url, f"json://127.0.0.1:{port}/", well.url]
            notifier = Notifier(read_targets(urls).targets, pacing=QUICK)
            notifier.take(None, [finding()])
            well.until(lambda: len(well.messages) == 1)
            until(lambda: len(notifier.problems()) == 2)
            assert set(whats(notifier.problems())) == {"cannot be reached, or gave no answer in time"}
            began = time.monotonic()
            notifier.close(0.5)
            assert time.monotonic() - began < 5.0
        assert hanging.messages == []

    def test_ten_thousand_findings_are_one_message_and_taken_at_once(self) -> None:
        news = [finding(run=f"run_{number}") for number in range(10_000)]
        with receiving() as receiver:
            notifier = Notifier(read_targets([receiver.url]).targets, pacing=Pacing(window=0.2))
            began = time.thread_time()
            notifier.take(None, news)
            assert time.thread_time() - began < 1.0
            receiver.until(lambda: len(receiver.messages) == 1)
            notifier.close(PATIENCE)
        assert "+9,999 more" in receiver.messages[0]["title"]
        assert len(receiver.messages[0]["message"]) < 4_000

    def test_at_the_end_what_waits_is_sent(self) -> None:
        with receiving() as receiver:
            notifier = Notifier(read_targets([receiver.url]).targets, pacing=Pacing(window=3600.0))
            notifier.take(None, [finding()])
            notifier.close(PATIENCE)
            assert len(receiver.messages) == 1

    def test_no_secret_is_in_anything_that_is_shown(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
    ) -> None:
        caplog.set_level(logging.DEBUG)
        shown: list[object] = []
        with receiving(answers=[500, 200]) as receiver:
            address = f"127.0.0.1:{receiver.port}/hooks/sEcReT-path?+X-Api-Key=sEcReT-key&rto=0.2"
            monkeypatch.setenv("RAFTMON_HOOK", f"json://user:sEcReT-password@{address}")
            monkeypatch.setenv(
                "RAFTMON_GONE", f"json://user:sEcReT-password@{address.replace(str(receiver.port), '9')}"
            )
            notifier = Notifier(read_targets(["env:RAFTMON_HOOK", "env:RAFTMON_GONE"]).targets, pacing=QUICK)
            notifier.take(None, [finding()])
            until(lambda: len(notifier.problems()) == 1 and receiver.messages)
            shown += [notifier.problems(), vars(notifier), threading.enumerate(), receiver.messages]
            notifier.close(PATIENCE)
        shown += [caplog.text, capfd.readouterr()]
        assert "sEcReT" not in repr(shown)

    def test_a_run_called_everyone_calls_nobody(self) -> None:
        with receiving() as receiver:
            notifier = Notifier(read_targets([receiver.url]).targets, pacing=QUICK)
            notifier.take(None, [finding(run="@everyone <!channel>")])
            receiver.until(lambda: len(receiver.messages) == 1)
            notifier.close(PATIENCE)
        assert "@" not in repr(receiver.messages)
        assert "<!" not in repr(receiver.messages)


class Clock:
    """Time that a test lets pass."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def delivery(deliver: Callable[[Group], None], clock: Callable[[], float], **options: Any) -> Delivery:
    rate = options.pop("rate", TokenBucket(5, 60))
    grouping = options.pop("grouping", Grouping(window=0))
    backoff = Backoff(first=100.0)
    return Delivery("there", deliver, grouping, rate=rate, backoff=backoff, remedy="Wait.", clock=clock, **options)


def test_one_that_never_answers_is_said_and_does_not_hold_up_the_end() -> None:
    clock, entered, let_go = Clock(), threading.Event(), threading.Event()

    def hang(_: Group) -> None:
        entered.set()
        let_go.wait(PATIENCE)

    there = delivery(hang, clock)
    there.put([(finding(), False)])
    assert entered.wait(PATIENCE)
    assert there.problems() == ()
    clock.now = 100.0
    assert there.problems() == (Problem("there", "has not answered for over 2 min", "Wait."),)
    there.end()
    assert not there.join(0.01)
    let_go.set()
    assert there.join(PATIENCE)


def test_beyond_its_rate_messages_are_joined() -> None:
    clock, groups = Clock(), list[Group]()
    arrived = threading.Semaphore(0)

    def take(group: Group) -> None:
        groups.append(group)
        arrived.release()

    there = delivery(take, clock, rate=TokenBucket(2, 60))
    for run in "ab":
        there.put([(finding(run=run), False)])
        assert arrived.acquire(timeout=PATIENCE)
    until(lambda: there.delivered == 2)
    for run in "cde":
        there.put([(finding(run=run), False)])
    assert not arrived.acquire(timeout=0.05)
    clock.now = 61.0
    there.put([(finding(run="f"), False)])
    assert arrived.acquire(timeout=PATIENCE)
    there.end()
    assert there.join(PATIENCE)
    assert [group.total for group in groups] == [1, 1, 4]


def test_an_unforeseen_error_is_shown_by_its_kind_alone() -> None:
    def fail(_: Group) -> None:
        raise ValueError("https://hooks.example/sEcReT")

    there = delivery(fail, time.monotonic)
    there.put([(finding(), False)])
    until(there.problems)
    assert whats(there.problems()) == ["failed with ValueError"]
    there.end()
    assert there.join(PATIENCE)


def test_what_is_given_up_is_said() -> None:
    def refuse(_: Group) -> None:
        raise Undelivered("is closed", again=False)

    there = delivery(refuse, time.monotonic)
    there.put([(finding(), False)])
    until(there.problems)
    assert whats(there.problems()) == ["is closed", "was never told of some findings"]
    there.end()
    assert there.join(PATIENCE)


def script(path: Path, source: str) -> list[str]:
    path.write_text(source)
    return [sys.executable, "-S", str(path)]


def test_a_command_is_given_the_findings_and_no_secret(tmp_path: Path) -> None:
    words = script(
        tmp_path / "told.py",
        "import os, sys\n"
        f"with open({str(tmp_path / 'part')!r}, 'w') as file: file.write(sys.stdin.read() + str(dict(os.environ)))\n"
        f"os.rename({str(tmp_path / 'part')!r}, {str(tmp_path / 'told')!r})\n",
    )
    environment = {"RAFTMON_SLACK": "sEcReT", "KEPT": "kept"}
    there = NotifyExec(words, secrets=["RAFTMON_SLACK"], environment=environment, pacing=QUICK)
    there.take(None, [finding(), finding(run="other", severity="critical"), finding(severity="low")])
    until((tmp_path / "told").exists)
    there.close(PATIENCE)
    assert there.problems() == ()
    message, _, rest = (tmp_path / "told").read_text().partition("}{")
    told = json.loads(message + "}")
    assert told["schema"] == "raftmon/notification@1"
    assert [found["run"] for found in told["findings"]] == ["other", "cycle_3/logs"]
    assert told["findings"][1]["readings"] == {"loss.drawup": 4.6}
    assert "KEPT" in rest
    assert "sEcReT" not in rest


@pytest.mark.parametrize(("status", "times"), [(75, 2), (3, 1)])
def test_a_command_that_fails_is_said_and_run_again_only_if_it_asks(tmp_path: Path, status: int, times: int) -> None:
    count = tmp_path / "count"
    source = (
        f"import sys\nopen({str(count)!r}, 'a').write('x')\nprint('no scheduler')\n"
        f"sys.exit({status} if len(open({str(count)!r}).read()) == 1 else 0)"
    )
    pacing = Pacing(window=0.0, first_pause=0.3, longest_pause=0.3)
    there = NotifyExec(script(tmp_path / "fails.py", source), pacing=pacing)
    there.take(None, [finding()])
    until(there.problems)
    assert whats(there.problems())[0] == f"exit status {status}: no scheduler"
    until(lambda: times == 1 or not there.problems())
    there.close(PATIENCE)
    assert len(count.read_text()) == times
