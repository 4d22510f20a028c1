"""From bytes in event files to an alert that somebody gets: three real daemons, a real Prometheus and Alertmanager."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.alerting import Daemon, Job, Receiver, Stack, eventually, missing_tools
from tests.test_deploy import targets

pytest.importorskip("prometheus_client", reason="needs the extra `metrics`")
pytestmark = pytest.mark.skipif(
    bool(missing_tools()), reason=f"not installed: {missing_tools()} (Debian: prometheus, prometheus-alertmanager)"
)

CRITICAL = "RaftmonFindingCritical"


def panels() -> list[str]:
    """Return what the dashboard asks, of all daemons and logdirs."""
    return [expr.replace("$instance", ".*").replace("$logdir", ".*") for _, expr in targets()]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


def test_a_finding_travels_from_bytes_to_an_alert_and_back(tmp_path: Path, receiver: Receiver) -> None:
    logdirs = [tmp_path / name for name in ("one", "two", "three")]
    jobs = [Job(logdir / "exp" / "run", seed) for seed, logdir in enumerate(logdirs)]
    one, two, three = map(str, logdirs)
    for job in jobs:
        job.learns()
    with ExitStack() as stack:
        daemons = [Daemon(tmp_path, logdir) for logdir in logdirs]
        for daemon in daemons:
            stack.callback(daemon.end)
        world = stack.enter_context(Stack(tmp_path, [daemon.address() for daemon in daemons], receiver))
        eventually("all are scraped", lambda: len(world.ask("raftmon_run_last_step == 80")) == 3)
        for expr in panels():
            world.ask(expr)  # raises what Prometheus cannot work out
        eventually("Alertmanager answers", lambda: world.alerts() is not None)
        # Nobody is to be called for the second one.
        silence = eventually(
            "a silence",
            lambda: world.amtool("silence", "add", f"logdir={two}", "-c", "known", "-a", "test", "-d", "1h"),
        )

        jobs[1].diverges()
        eventually("the silence holds", lambda: world.alerts().get((CRITICAL, two)) == "suppressed")
        jobs[0].diverges()
        fired = receiver.wait_for("/on-call", "firing", CRITICAL, one)
        assert fired["labels"]["rule"] == "loss-diverges"
        assert fired["labels"]["run"] == "exp/run"
        assert fired["annotations"]["summary"] == "loss-diverges (exp/run)"
        assert not [alert for alert in receiver.seen if alert[3] == two]

        world.amtool("silence", "expire", silence)
        receiver.wait_for("/on-call", "firing", CRITICAL, two)

        jobs[0].recovers()
        assert receiver.wait_for("/on-call", "resolved", CRITICAL, one)["labels"] == fired["labels"]

        daemons[2].end()
        receiver.wait_for("/on-call", "firing", "RaftmonDaemonDown", "")
        assert not [alert for alert in receiver.seen if alert[3] == three]
        assert world.alerts()[CRITICAL, two] == "active"
