"""Which sinks a daemon has, and what is kept of them when the settings are read anew."""

from __future__ import annotations

import io
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from raftmon.advice.settings import Settings, read_settings
from raftmon.daemon.crew import TOLD, Crew, Options
from raftmon.daemon.health import Health
from raftmon.daemon.logs import Log
from raftmon.daemon.recorder import Recorder
from raftmon.documents import SHIPPED_RULES
from raftmon.errors import UsageError
from raftmon.timeline import timeline
from tests.receivers import finding, receiving
from tests.test_happenings import NOW, snapshot_of

NOTHING = snapshot_of()


class Place:
    """A directory in which a crew works."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.recorder = Recorder(directory / "journal.sqlite3")
        self.recorder.open([directory])
        self.stream = io.StringIO()
        self.log = Log(self.stream, "json")

    def crew(self, **options: object) -> Crew:
        fields = {"logdirs": (), "settings": None, "rules": SHIPPED_RULES, "journal": None, **options}
        return Crew(Options(**fields), self.recorder, self.log, lambda: Health(True, True, ""))  # type: ignore[arg-type]

    def settings(self, text: str) -> Settings:
        path = self.directory / "raftmon.yaml"
        path.write_text(text)
        path.chmod(0o600)
        return read_settings(path)

    def noted(self, kind: str) -> list[tuple[str, str]]:
        """What the journal holds of a kind: subject and state."""
        self.recorder.turn()
        lines = timeline(self.recorder.history.file)
        return [(line.subject, line.state) for line in lines if line.kind == kind]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    made.log.close(5.0)


def close(crew: Crew, place: Place) -> None:
    for sink in crew.sinks(place.settings("")):
        sink.close(5.0)


def test_what_waits_and_what_was_told_outlives_a_reload(place: Place) -> None:
    with receiving() as receiver:
        crew = place.crew()
        text = f"notify: '{receiver.url}'\n"
        before = crew.sinks(place.settings(text))[0]
        before.take(NOTHING, [finding(run="a")])  # waits for others for ten seconds
        after = crew.sinks(place.settings(text + "retention: 7\n"))[0]
        assert after is not before
        before.close(0.0)
        after.take(NOTHING, [finding(run="a"), finding(run="b")])
        after.close(20.0)
        (message,) = receiver.messages
        assert {run for run in ("a", "b") if f" {run}" in message["message"]} == {"a", "b"}


def test_one_that_is_told_is_noted_with_its_target(place: Place) -> None:
    with receiving() as receiver:
        crew = place.crew(notify=(receiver.url,))
        (notifier, recorder) = crew.sinks(place.settings(""))
        notifier.take(NOTHING, [finding()])
        notifier.close(20.0)
        assert len(receiver.messages) == 1
        assert recorder is place.recorder
    ((subject, state),) = place.noted("daemon")
    assert (subject.startswith("notify json://127.0.0.1"), state) == (True, TOLD)


@pytest.mark.parametrize(
    ("fired_at", "told_at", "messages"), [(-60, -120, 1), (-60, -30, 0), (-60, None, 1), (-7200, None, 0)]
)
def test_what_an_earlier_daemon_noted_and_did_not_tell_is_told(
    place: Place, fired_at: float, told_at: float | None, messages: int
) -> None:
    with receiving() as receiver:
        crew = place.crew(notify=(receiver.url,))
        (notifier, _) = crew.sinks(place.settings(""))
        told = {} if told_at is None else {f"notify json://127.0.0.1:{receiver.port}": NOW + told_at}
        crew.resume([finding(at=NOW + fired_at)], told, NOW)
        notifier.close(20.0)
        assert len(receiver.messages) == messages


def test_a_reload_that_is_refused_leaves_no_thread_and_everything_as_it_was(place: Place) -> None:
    with receiving() as receiver:
        crew = place.crew()
        text = f"notify: '{receiver.url}'\n"
        before = crew.sinks(place.settings(text))
        threads = threading.active_count()
        for _ in range(3):
            with pytest.raises(UsageError, match="there is no rule"):
                crew.sinks(place.settings(text + "on_finding: {no-such-rule: 'true'}\n"))
        assert threading.active_count() == threads
        before[0].take(NOTHING, [finding()])
        before[0].close(20.0)
        assert len(receiver.messages) == 1


def test_commands_that_stay_keep_their_cooldown_and_others_are_made_anew(place: Place) -> None:
    crew = place.crew()
    first = crew.sinks(place.settings("on_finding: {loss-diverges: 'true'}\n"))
    again = crew.sinks(place.settings("on_finding: {loss-diverges: 'true'}\nretention: 3\n"))
    other = crew.sinks(place.settings("on_finding: {loss-diverges: 'false'}\n"))
    none = crew.sinks(place.settings(""))
    assert again[0] is first[0]
    assert other[0] is not first[0]
    assert none == (place.recorder,)


def test_a_command_is_given_no_secret_and_what_it_did_is_noted(
    place: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOOK_URL", "json://127.0.0.1:1/very-secret-words-1234567890")
    seen = tmp_path / "seen"
    command = f'{sys.executable} -c \'import os; open("{seen}", "w").write(repr(dict(os.environ)))\''
    crew = place.crew(notify=("env:HOOK_URL",), on_finding=(f"loss-diverges:{command}",), notify_from="critical")
    notifier, actions, _ = crew.sinks(place.settings(""))
    actions.take(NOTHING, [finding()])
    for sink in (actions, notifier):
        sink.close(20.0)
    assert "'RAFTMON_RULE': 'loss-diverges'" in seen.read_text()
    assert "very-secret" not in seen.read_text()
    assert place.noted("action") == [("loss-diverges", "started"), ("loss-diverges", "done")]


def test_a_muted_finding_runs_no_command(place: Place) -> None:
    place.recorder.history.file.path.parent.mkdir(exist_ok=True)
    from raftmon.journal import Journal

    Journal(place.directory / "journal.sqlite3").mute("/data/cycle_3/logs", "loss-diverges", None)
    place.recorder.open([place.directory])
    crew = place.crew(on_finding=("loss-diverges:true",))
    actions, _ = crew.sinks(place.settings(""))
    actions.take(NOTHING, [finding()])
    actions.close(5.0)
    assert place.noted("action") == []


def test_a_finding_that_fired_before_the_start_runs_nothing_which_is_said(place: Place) -> None:
    crew = place.crew(on_finding=("loss-*:true",))
    actions, _ = crew.sinks(place.settings(""))
    crew.resume([finding(run="a"), finding(run="b", state="resolved"), finding(rule="grad-norm-spikes")], {}, NOW)
    actions.close(5.0)
    place.log.close(5.0)
    assert place.noted("action") == []
    assert "1 findings fired before the start, and no command is run for them: loss-diverges of a" in (
        place.stream.getvalue()
    )
