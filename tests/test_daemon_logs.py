"""The daemon's log where it cannot be written."""

from __future__ import annotations

import errno
import io
import json
import threading

import pytest

from raftmon.daemon.logs import Log


class Faulty(io.StringIO):
    """A file on a disk that takes nothing while it has a fault."""

    def __init__(self, fault: Exception) -> None:
        super().__init__()
        self.fault: Exception | None = fault
        self.tried = threading.Semaphore(0)

    def write(self, text: str) -> int:
        fault = self.fault
        self.tried.release()
        if fault is not None:
            raise fault
        return super().write(text)

    def flush(self) -> None:
        fault = self.fault
        if fault is not None:
            self.tried.release()
            raise fault


@pytest.mark.parametrize("fault", [OSError(errno.ENOSPC, "full"), UnicodeError("no such character")])
def test_a_log_on_a_full_disk_goes_on_when_there_is_room_and_says_what_is_missing(fault: Exception) -> None:
    stream = Faulty(fault)
    log = Log(stream, "json", lambda: 0.0)
    for number in range(3):
        log.info("one", f"lost {number}")
        assert stream.tried.acquire(timeout=10.0)
    stream.fault = None
    log.info("two", "goes on")
    log.close(5.0)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["text"] for line in lines] == ["up to 3 lines of this log are missing", "goes on"]
    assert lines[0]["lost"] == 3


def test_what_is_missing_is_also_said_at_the_end() -> None:
    stream = Faulty(OSError(errno.ENOSPC, "full"))
    log = Log(stream, "text", lambda: 0.0)
    log.info("one", "lost")
    assert stream.tried.acquire(timeout=10.0)
    stream.fault = None
    log.close(5.0)
    assert stream.getvalue().endswith("up to 1 lines of this log are missing\n")


@pytest.mark.parametrize("fault", [BrokenPipeError(errno.EPIPE, "gone"), OSError(errno.EBADF, "closed")])
def test_a_log_whose_reader_has_gone_is_not_written_on(fault: Exception) -> None:
    stream = Faulty(fault)
    log = Log(stream, "text", lambda: 0.0)
    log.info("one", "lost")
    assert stream.tried.acquire(timeout=10.0)
    log.info("two", "nobody asks")
    log.close(5.0)
    assert not stream.tried.acquire(blocking=False)
