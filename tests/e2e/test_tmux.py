"""The real `raftmon watch` in a terminal of tmux: keys go in, what a person would see comes out."""

import shlex
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.scripted import header_record, scalar_record

pytestmark = pytest.mark.skipif(shutil.which("tmux") is None, reason="drives a terminal of tmux")

PATIENCE = 60.0
TRIES = 600
FILE = "events.out.tfevents.1700000000.host.1.0"


class Tmux:
    """A tmux server of its own with one window, in which a command runs."""

    def __init__(self, socket: Path, command: list[str], end: Path, size: tuple[int, int] = (120, 30)) -> None:
        self._socket, self._end = socket, end
        self._pause = threading.Event()
        line = f"{shlex.join(command)}; echo $? > {shlex.quote(str(end))}"
        width, height = map(str, size)
        self.tmux("-f", "/dev/null", "new-session", "-d", "-x", width, "-y", height, "/bin/sh", "-c", line)

    def tmux(self, *arguments: str) -> str:
        """Run tmux and return what it prints."""
        command = ["tmux", "-S", str(self._socket), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=PATIENCE).stdout

    def screen(self) -> str:
        """Return the text on the screen."""
        return self.tmux("capture-pane", "-p")

    def press(self, key: str) -> None:
        """Press a key, by tmux's name of it."""
        self.tmux("send-keys", key)

    def until(self, holds: Callable[[str], bool]) -> str:
        """Look at the screen until something holds; returns the screen."""
        text = ""
        for _ in range(TRIES):
            text = self.screen()
            if holds(text):
                return text
            self._pause.wait(PATIENCE / TRIES)
        raise AssertionError(f"never came; the screen:\n{text}")

    def exit_code(self) -> int:
        """Wait for the end of the command and return its exit code."""
        for _ in range(TRIES):
            if self._end.exists() and (text := self._end.read_text().strip()):
                return int(text)
            self._pause.wait(PATIENCE / TRIES)
        raise AssertionError(f"it goes on; the screen:\n{self.screen()}")

    def close(self) -> None:
        """End the server with all that runs in it."""
        subprocess.run(["tmux", "-S", str(self._socket), "kill-server"], check=False, capture_output=True)


def append(logdir: Path, run: str, first: int, last: int) -> None:
    """Let a run log some steps, as a trainer does."""
    file = logdir / run / FILE
    file.parent.mkdir(parents=True, exist_ok=True)
    if not file.exists():
        file.write_bytes(header_record())
    with file.open("ab", buffering=0) as grown:
        for step in range(first, last + 1):
            grown.write(
                scalar_record("train/loss", 2.0 - 0.01 * step, step) + scalar_record("train/grad_norm", 1.0, step)
            )


@pytest.fixture
def logdir(tmp_path: Path) -> Path:
    path = tmp_path / "runs"
    path.mkdir()
    return path


@pytest.fixture
def terminal(
    tmp_path: Path, logdir: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[Tmux]:
    home = tmp_path / "home"
    home.mkdir()
    # A person's own settings must not matter, and the server hands on what it was started with.
    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_DATA_HOME"):
        monkeypatch.setenv(name, str(home))
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    monkeypatch.delenv("TMUX", raising=False)
    command = [sys.executable, "-m", "raftmon.cli", "watch", str(logdir)]
    terminal = Tmux(tmp_path / "s", command, tmp_path / "rc", getattr(request, "param", (120, 30)))
    yield terminal
    terminal.close()


def test_a_person_watches_a_growing_logdir(terminal: Tmux, logdir: Path) -> None:
    terminal.until(lambda text: "waiting for event files" in text)

    append(logdir, "first", 1, 20)
    shown = terminal.until(lambda text: "first" in text and "LOSS 1.8" in text)
    assert "UNDECIDED" in shown
    assert "1 run " in shown

    terminal.press("?")
    terminal.until(lambda text: "HELP" in text and "esc close" in text)
    terminal.press("Escape")
    terminal.until(lambda text: "esc close" not in text and "ADVICE" in text)

    append(logdir, "first", 21, 40)
    terminal.until(lambda text: "LOSS 1.6" in text and step_of(text, "first") == "40")

    append(logdir, "second", 1, 7)
    terminal.until(lambda text: "2 runs" in text and step_of(text, "second") == "7")

    terminal.press("Space")
    terminal.until(lambda text: "PAUSED" in text)
    append(logdir, "first", 41, 50)
    assert step_of(terminal.until(lambda text: "newer data waits" in text), "first") == "40"
    terminal.press("Space")
    terminal.until(lambda text: "PAUSED" not in text and step_of(text, "first") == "50")

    terminal.press("q")
    assert terminal.exit_code() == 0


@pytest.mark.parametrize("terminal", [(80, 24), (120, 30), (200, 50)], indirect=True)
@pytest.mark.parametrize("leave", ["C-c", "C-q"])
def test_a_person_goes_through_the_screens(terminal: Tmux, logdir: Path, leave: str) -> None:
    append(logdir, "raft/cycle_1", 1, 20)
    terminal.until(lambda text: "cycle_1" in text and "LOSS 1.8" in text)

    terminal.press("2")
    terminal.until(lambda text: "CYCLES raft" in text and "Other panel" in text)
    terminal.press("3")
    terminal.until(lambda text: "RUN" in text and "2 series" in text and "x Axis" in text)
    append(logdir, "raft/cycle_1", 21, 40)
    terminal.until(lambda text: "1.6" in text)
    terminal.press("r")
    terminal.until(lambda text: "RULES" in text and "esc close" in text)
    terminal.press("?")
    terminal.until(lambda text: "HELP" in text and "Everywhere" in text)
    terminal.press("?")
    terminal.until(lambda text: "RULES" in text and "HELP" not in text)
    terminal.press(leave)
    assert terminal.exit_code() == 0


def step_of(text: str, run: str) -> str | None:
    """Return the step in a run's row of the table."""
    rows = [line.split() for line in text.splitlines()]
    heads = next((row for row in rows if "RUNS" in row), [])
    row = next((row for row in rows if run in row[:3]), None)
    return next((word for word in row if word.isdigit()), None) if row is not None and "step" in heads else None
