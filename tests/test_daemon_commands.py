"""Programs run beside the daemon, with real processes."""

from __future__ import annotations

import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftmon.daemon.commands import Runner, words_of
from raftmon.errors import UsageError
from tests.receivers import PATIENCE


def python(source: str) -> list[str]:
    return [sys.executable, "-S", "-c", source]


def test_words_are_split_like_a_shell_does_and_no_shell_runs() -> None:
    assert words_of("""sh -c 'echo "$RAFTMON_RUN" | cat'""", "--notify-exec") == (
        "sh",
        "-c",
        'echo "$RAFTMON_RUN" | cat',
    )


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("", "names no command"),
        ("''", "names no command"),
        ("echo 'open", "No closing quotation"),
        ("no-such-program --now", "there is no program `no-such-program`"),
        ("/etc/passwd", "there is no program `/etc/passwd` that can be run"),
    ],
)
def test_what_is_no_command_is_refused(command: str, says: str) -> None:
    with pytest.raises(UsageError, match="--notify-exec") as caught:
        words_of(command, "--notify-exec")
    assert says in str(caught.value)


@given(st.text())
def test_any_text_is_a_command_or_refused(command: str) -> None:
    with suppress(UsageError):
        assert words_of(command, "there")


def test_input_environment_and_exit_status() -> None:
    runner = Runner(secrets=["SECRET"], environment={"SECRET": "s", "KEPT": "k"})
    source = "import os, sys; print(sys.stdin.read(), os.environ.get('SECRET'), os.environ['KEPT'], os.environ['RUN'])"
    outcome = runner.run(python(source + "; sys.exit(3)"), b"message", seconds=PATIENCE, values={"RUN": "a\0b;$(c)"})
    assert (outcome.ending, outcome.status) == ("failed", 3)
    assert outcome.text == "exit status 3: message None k ab;$(c)"
    assert runner.run(["true"], b"", seconds=PATIENCE).ok


def test_values_that_are_no_valid_text_come_through() -> None:
    runner = Runner(environment={})
    source = "import os; print(os.environb[b'RUN'], len(os.environb[b'LONG'])); raise SystemExit(1)"
    values = {"RUN": "caf\udce9 \ud800", "LONG": "x" * 10**6}
    assert runner.run(python(source), b"", seconds=PATIENCE, values=values).text.endswith("b'caf? ?' 32768")
    values["RUN"] = "caf\udce9"
    assert runner.run(python(source), b"", seconds=PATIENCE, values=values).text.endswith(r"b'caf\xe9' 32768")


def test_a_program_that_is_not_there_any_more_is_a_failure() -> None:
    outcome = Runner().run(["/nowhere/at/all"], b"", seconds=PATIENCE)
    assert (outcome.ending, outcome.text) == ("failed", "cannot be started: No such file or directory")


def test_one_that_reads_nothing_and_one_that_writes_much_hold_up_nobody() -> None:
    message = b"x" * 10_000_000
    assert Runner().run(["true"], message, seconds=PATIENCE).ok
    source = "import sys; sys.stdout.write('y' * 10_000_000 + '\\nthe end\\x1b[31m'); sys.exit(1)"
    outcome = Runner().run(python(source), message, seconds=PATIENCE)
    assert outcome.text == "exit status 1: the end\N{REPLACEMENT CHARACTER}[31m"


def test_what_it_leaves_behind_does_not_hold_up_its_end() -> None:
    began = time.monotonic()
    assert Runner().run(["sh", "-c", "sleep 20 & exit 0"], b"", seconds=PATIENCE).ok
    assert time.monotonic() - began < 10


def is_gone(pid: int) -> bool:
    """Tell whether a process that need not be a child of this one has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def until_gone(pid: int) -> None:
    end = time.monotonic() + PATIENCE
    while not is_gone(pid):
        assert time.monotonic() < end
        threading.Event().wait(0.01)


def test_at_its_time_limit_the_whole_group_is_ended() -> None:
    outcome = Runner().run(["sh", "-c", "sleep 100 & echo $!; wait"], b"", seconds=0.2)
    assert outcome.ending == "timed-out"
    text, _, pid = outcome.text.rpartition(" ")
    assert text == "ended, as it ran longer than 0.2 s:"
    until_gone(int(pid))


def test_one_that_will_not_end_is_killed_and_the_daemons_end_limits_all(tmp_path: Path) -> None:
    runner = Runner()
    source = (
        "import os, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(os.getpid(), flush=True);"
        f"open({str(tmp_path / 'up')!r}, 'w'); time.sleep(100)"
    )
    outcomes = []
    thread = threading.Thread(target=lambda: outcomes.append(runner.run(python(source), b"", seconds=100)))
    thread.start()
    end = time.monotonic() + PATIENCE
    while not (tmp_path / "up").exists():
        assert time.monotonic() < end
        threading.Event().wait(0.005)
    runner.end_within(0.3)
    thread.join(PATIENCE)
    (outcome,) = outcomes
    assert outcome.text.startswith("ended, as the daemon ended: ")
    until_gone(int(outcome.text.rpartition(" ")[2]))


def test_no_zombie_and_no_open_file_is_left() -> None:
    this = psutil.Process()
    before = this.num_fds(), this.children()
    runner = Runner()
    for command in (["true"], ["false"], ["sleep", "9"], ["/nowhere"]):
        runner.run(command, b"{}", seconds=0.05)
    assert (this.num_fds(), this.children()) == before
